//! `sempre worker deployment …`: deployments, their versions, and which version has the work.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use sempre_api::v1::{
    common::Payload,
    deployment::{RoutingConfig, WorkerDeploymentVersion, worker_deployment_info::WorkerDeploymentVersionSummary},
    enums::{TaskQueueType, WorkerDeploymentVersionStatus},
    workflowservice::{
        CreateWorkerDeploymentRequest, CreateWorkerDeploymentVersionRequest, DeleteWorkerDeploymentRequest,
        DeleteWorkerDeploymentVersionRequest, DescribeWorkerDeploymentRequest, DescribeWorkerDeploymentVersionRequest,
        ListWorkerDeploymentsRequest, SetWorkerDeploymentCurrentVersionRequest, SetWorkerDeploymentManagerRequest,
        SetWorkerDeploymentRampingVersionRequest, UpdateWorkerDeploymentVersionMetadataRequest,
        set_worker_deployment_manager_request::NewManagerIdentity,
    },
};

use crate::cli::{
    Failure,
    deployment::check,
    input::json_payload,
    output::{Cell, Table, short_name},
    session::{self, Session},
    values::parse_json_pair,
};

#[derive(Subcommand)]
pub(crate) enum DeploymentCommand {
    /// List the deployments of a namespace
    List,
    /// Show a deployment, its versions and which of them has the work
    Describe(Named),
    /// Create a deployment before its workers come
    Create(Named),
    /// Delete a deployment that has no versions
    Delete(Named),
    /// Show a version: its task queues, and whether runs are still pinned to it
    DescribeVersion(DescribeVersion),
    /// Create a version before its workers come
    CreateVersion(Version),
    /// Delete a version that nobody needs any more
    DeleteVersion(DeleteVersion),
    /// Have the workers of a version replay open runs, and tell which they cannot go on with: `sempre deployment check`
    Check(check::Options),
    /// Give new work to a version
    SetCurrentVersion(SetCurrent),
    /// Give a part of new work to a version
    SetRampingVersion(SetRamping),
    /// Change what is noted of a version
    UpdateVersionMetadata(Metadata),
    /// Who alone may change a deployment
    #[command(subcommand, arg_required_else_help = true)]
    ManagerIdentity(ManagerCommand),
}

#[derive(Args)]
pub(crate) struct Named {
    /// The deployment
    #[arg(short = 'd', long, value_name = "NAME", alias = "deployment-name")]
    name: String,
}

#[derive(Args)]
pub(crate) struct Version {
    /// The deployment
    #[arg(long, value_name = "NAME")]
    deployment_name: String,
    /// Its build
    #[arg(long, value_name = "ID")]
    build_id: String,
}

impl Version {
    fn to_api(&self) -> Option<WorkerDeploymentVersion> {
        Some(WorkerDeploymentVersion { deployment_name: self.deployment_name.clone(), build_id: self.build_id.clone() })
    }
}

#[derive(Args)]
pub(crate) struct DescribeVersion {
    #[command(flatten)]
    version: Version,
    /// With the backlogs and rates of its task queues
    #[arg(long)]
    report_task_queue_stats: bool,
}

#[derive(Args)]
pub(crate) struct DeleteVersion {
    #[command(flatten)]
    version: Version,
    /// Even if runs may still be pinned to it
    #[arg(long)]
    skip_drainage: bool,
}

/// A version, or workers without one.
#[derive(Args)]
pub(crate) struct Target {
    /// The deployment
    #[arg(long, value_name = "NAME")]
    deployment_name: String,
    /// Its build
    #[arg(long, value_name = "ID", required_unless_present_any = ["unversioned", "delete"], conflicts_with = "unversioned")]
    build_id: Option<String>,
    /// Workers without a version instead of a build
    #[arg(long)]
    unversioned: bool,
    /// Also if task queues of the current version are unknown to the new one
    #[arg(long)]
    ignore_missing_task_queues: bool,
    /// Also if no worker of the version has come yet
    #[arg(long)]
    allow_no_pollers: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Args)]
pub(crate) struct SetCurrent {
    #[command(flatten)]
    target: Target,
    /// First do as `sempre deployment check` does, and change nothing unless it passes
    #[arg(long, conflicts_with_all = ["unversioned", "allow_no_pollers"])]
    check: bool,
    #[arg(long, hide = true)]
    delete: bool,
}

#[derive(Args)]
pub(crate) struct SetRamping {
    #[command(flatten)]
    target: Target,
    /// Share of the workflow ids, 0 to 100
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, hide_default_value = true)]
    percentage: f32,
    /// End the ramp
    #[arg(long)]
    delete: bool,
}

#[derive(Args)]
pub(crate) struct Metadata {
    #[command(flatten)]
    version: Version,
    /// An entry as KEY=JSON; can be repeated
    #[arg(long, value_name = "KEY=JSON", value_parser = parse_json_pair)]
    metadata: Vec<(String, serde_json::Value)>,
    /// A key to remove; can be repeated
    #[arg(long, value_name = "KEY")]
    remove_entries: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum ManagerCommand {
    /// Let one identity alone change the deployment
    Set(SetManager),
    /// Let everybody change it
    Unset(Manager),
}

#[derive(Args)]
pub(crate) struct Manager {
    /// The deployment
    #[arg(long, value_name = "NAME")]
    deployment_name: String,
}

#[derive(Args)]
pub(crate) struct SetManager {
    #[command(flatten)]
    of: Manager,
    /// Who
    #[arg(long, value_name = "IDENTITY", required_unless_present = "self_")]
    manager_identity: Option<String>,
    /// The caller
    #[arg(long = "self", id = "self_", conflicts_with = "manager_identity")]
    this: bool,
}

fn status(summary: &WorkerDeploymentVersionSummary) -> String {
    let status = WorkerDeploymentVersionStatus::try_from(summary.status).unwrap_or_default();
    short_name(status.as_str_name(), "WORKER_DEPLOYMENT_VERSION_STATUS_")
}

fn build(version: Option<&WorkerDeploymentVersion>) -> String {
    version.map_or_else(|| "(unversioned)".into(), |version| version.build_id.clone())
}

/// A ramp in words; empty: there is none.
#[allow(deprecated, reason = "only the old text tells a ramp to no version from no ramp")]
fn ramp(config: &RoutingConfig) -> String {
    if config.ramping_deployment_version.is_none() && config.ramping_version.is_empty() {
        return String::new();
    }
    format!("{} {} %", build(config.ramping_deployment_version.as_ref()), config.ramping_version_percentage)
}

pub(super) async fn run(session: &mut Session, command: DeploymentCommand) -> Result<(), Failure> {
    match command {
        DeploymentCommand::List => list(session).await,
        DeploymentCommand::Describe(options) => describe(session, options.name).await,
        DeploymentCommand::Create(options) => {
            let request = CreateWorkerDeploymentRequest {
                namespace: session.namespace(),
                deployment_name: options.name,
                identity: session.identity(),
                request_id: session::request_id(),
            };
            session.client().await?.workflow.create_worker_deployment(request).await?;
            session.out.line("Worker deployment created")
        }
        DeploymentCommand::Delete(options) => {
            let request = DeleteWorkerDeploymentRequest {
                namespace: session.namespace(),
                deployment_name: options.name,
                identity: session.identity(),
            };
            session.client().await?.workflow.delete_worker_deployment(request).await?;
            session.out.line("Worker deployment deleted")
        }
        DeploymentCommand::DescribeVersion(options) => describe_version(session, options).await,
        DeploymentCommand::CreateVersion(version) => {
            let request = CreateWorkerDeploymentVersionRequest {
                namespace: session.namespace(),
                deployment_version: version.to_api(),
                identity: session.identity(),
                request_id: session::request_id(),
                ..Default::default()
            };
            session.client().await?.workflow.create_worker_deployment_version(request).await?;
            session.out.line("Worker deployment version created")
        }
        DeploymentCommand::DeleteVersion(options) => {
            let request = DeleteWorkerDeploymentVersionRequest {
                namespace: session.namespace(),
                deployment_version: options.version.to_api(),
                skip_drainage: options.skip_drainage,
                identity: session.identity(),
                ..Default::default()
            };
            session.client().await?.workflow.delete_worker_deployment_version(request).await?;
            session.out.line("Worker deployment version deleted")
        }
        DeploymentCommand::Check(options) => check::run(session, options).await,
        DeploymentCommand::SetCurrentVersion(options) => {
            if let Some(build_id) = options.target.build_id.clone().filter(|_| options.check) {
                let deployment_name = options.target.deployment_name.clone();
                check::run(session, check::Options { deployment_name, build_id, extent: check::Extent::default() }).await?;
            }
            set_current(session, options.target).await
        }
        DeploymentCommand::SetRampingVersion(options) => set_ramping(session, options).await,
        DeploymentCommand::UpdateVersionMetadata(options) => update_metadata(session, options).await,
        DeploymentCommand::ManagerIdentity(ManagerCommand::Set(options)) => {
            let new = if options.this {
                NewManagerIdentity::Self_(true)
            } else {
                NewManagerIdentity::ManagerIdentity(options.manager_identity.unwrap_or_default())
            };
            set_manager(session, options.of.deployment_name, new).await
        }
        DeploymentCommand::ManagerIdentity(ManagerCommand::Unset(options)) => {
            set_manager(session, options.deployment_name, NewManagerIdentity::ManagerIdentity(String::new())).await
        }
    }
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let mut token = bytes::Bytes::new();
    let mut table = Table::new(&["Name", "CreateTime", "Current", "Ramping"]);
    session.out.begin_list()?;
    loop {
        let request = ListWorkerDeploymentsRequest { namespace: session.namespace(), next_page_token: token, ..Default::default() };
        let page = session.client().await?.workflow.list_worker_deployments(request).await?.into_inner();
        let mut rows = Vec::new();
        for deployment in page.worker_deployments {
            session.out.message(&deployment)?;
            let created = session.out.time(deployment.create_time.as_ref());
            let config = deployment.routing_config.unwrap_or_default();
            let current = build(config.current_deployment_version.as_ref());
            rows.push([deployment.name, created, current, ramp(&config)].map(Cell::from).to_vec());
        }
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = page.next_page_token;
        if token.is_empty() {
            return session.out.end_list();
        }
    }
}

async fn describe(session: &mut Session, name: String) -> Result<(), Failure> {
    let request = DescribeWorkerDeploymentRequest { namespace: session.namespace(), deployment_name: name };
    let answer = session.client().await?.workflow.describe_worker_deployment(request).await?.into_inner();
    session.out.message(&answer)?;
    let info = answer.worker_deployment_info.unwrap_or_default();
    let config = info.routing_config.unwrap_or_default();
    let created = session.out.time(info.create_time.as_ref());
    session.out.card(&[
        ("Name", info.name.into()),
        ("CreateTime", created.into()),
        ("CurrentVersion", build(config.current_deployment_version.as_ref()).into()),
        ("RampingVersion", ramp(&config).into()),
        ("LastModifierIdentity", info.last_modifier_identity.into()),
        ("ManagerIdentity", info.manager_identity.into()),
    ])?;
    let mut table = Table::new(&["BuildId", "Status", "CreateTime"]);
    let mut rows = Vec::new();
    for summary in &info.version_summaries {
        let created = session.out.time(summary.create_time.as_ref());
        rows.push([build(summary.deployment_version.as_ref()), status(summary), created].map(Cell::from).to_vec());
    }
    if rows.is_empty() { Ok(()) } else { session.out.table(&mut table, &rows) }
}

async fn describe_version(session: &mut Session, options: DescribeVersion) -> Result<(), Failure> {
    let request = DescribeWorkerDeploymentVersionRequest {
        namespace: session.namespace(),
        deployment_version: options.version.to_api(),
        report_task_queue_stats: options.report_task_queue_stats,
        ..Default::default()
    };
    let answer = session.client().await?.workflow.describe_worker_deployment_version(request).await?.into_inner();
    session.out.message(&answer)?;
    let info = answer.worker_deployment_version_info.unwrap_or_default();
    let status = WorkerDeploymentVersionStatus::try_from(info.status).unwrap_or_default();
    let created = session.out.time(info.create_time.as_ref());
    let metadata = info.metadata.unwrap_or_default().entries;
    let metadata: Vec<_> = metadata.iter().map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value.data))).collect();
    session.out.card(&[
        ("DeploymentName", info.deployment_name.into()),
        ("BuildId", build(info.deployment_version.as_ref()).into()),
        ("Status", short_name(status.as_str_name(), "WORKER_DEPLOYMENT_VERSION_STATUS_").into()),
        ("CreateTime", created.into()),
        ("RampPercentage", info.ramp_percentage.to_string().into()),
        ("Metadata", metadata.join(" ").into()),
    ])?;
    let mut table = Table::new(&["TaskQueue", "Type", "Backlog"]);
    let row = |queue: &sempre_api::v1::workflowservice::describe_worker_deployment_version_response::VersionTaskQueue| {
        let kind = short_name(TaskQueueType::try_from(queue.r#type).unwrap_or_default().as_str_name(), "TASK_QUEUE_TYPE_");
        let backlog = queue.stats.as_ref().map(|stats| stats.approximate_backlog_count.to_string()).unwrap_or_default();
        [queue.name.clone(), kind, backlog].map(Cell::from).to_vec()
    };
    let rows: Vec<_> = answer.version_task_queues.iter().map(row).collect();
    if rows.is_empty() { Ok(()) } else { session.out.table(&mut table, &rows) }
}

async fn set_current(session: &mut Session, target: Target) -> Result<(), Failure> {
    let build_id = target.build_id.unwrap_or_default();
    let to = if build_id.is_empty() { "workers without a version" } else { &build_id };
    session.confirm(&format!("Give new work of {} to {to}?", target.deployment_name), target.yes).await?;
    let request = SetWorkerDeploymentCurrentVersionRequest {
        namespace: session.namespace(),
        deployment_name: target.deployment_name,
        build_id,
        identity: session.identity(),
        ignore_missing_task_queues: target.ignore_missing_task_queues,
        allow_no_pollers: target.allow_no_pollers,
        ..Default::default()
    };
    let answer = session.client().await?.workflow.set_worker_deployment_current_version(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line("Current version set")
}

async fn set_ramping(session: &mut Session, options: SetRamping) -> Result<(), Failure> {
    let target = options.target;
    let (build_id, percentage) =
        if options.delete { (String::new(), 0.0) } else { (target.build_id.unwrap_or_default(), options.percentage) };
    session.confirm(&format!("Change the ramp of {}?", target.deployment_name), target.yes).await?;
    let request = SetWorkerDeploymentRampingVersionRequest {
        namespace: session.namespace(),
        deployment_name: target.deployment_name,
        build_id,
        percentage,
        identity: session.identity(),
        ignore_missing_task_queues: target.ignore_missing_task_queues,
        allow_no_pollers: target.allow_no_pollers,
        ..Default::default()
    };
    let answer = session.client().await?.workflow.set_worker_deployment_ramping_version(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line(if options.delete { "Ramping version unset" } else { "Ramping version set" })
}

async fn update_metadata(session: &mut Session, options: Metadata) -> Result<(), Failure> {
    let entries: BTreeMap<String, Payload> = options.metadata.into_iter().map(|(key, value)| (key, json_payload(&value))).collect();
    let request = UpdateWorkerDeploymentVersionMetadataRequest {
        namespace: session.namespace(),
        deployment_version: options.version.to_api(),
        upsert_entries: entries,
        remove_entries: options.remove_entries,
        identity: session.identity(),
        ..Default::default()
    };
    let answer = session.client().await?.workflow.update_worker_deployment_version_metadata(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line("Metadata updated")
}

async fn set_manager(session: &mut Session, deployment_name: String, new: NewManagerIdentity) -> Result<(), Failure> {
    let request = SetWorkerDeploymentManagerRequest {
        namespace: session.namespace(),
        deployment_name,
        identity: session.identity(),
        new_manager_identity: Some(new),
        ..Default::default()
    };
    let answer = session.client().await?.workflow.set_worker_deployment_manager(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line("Manager identity set")
}

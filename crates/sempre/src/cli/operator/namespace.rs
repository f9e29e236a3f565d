//! `operator namespace …`.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::{
    Duration,
    sempre::v1::{DescribeNamespaceLimitsRequest, NamespaceLimit},
    v1::{
        enums::{ArchivalState, NamespaceState, ReplicationState},
        namespace::{NamespaceConfig, UpdateNamespaceInfo},
        operatorservice::DeleteNamespaceRequest,
        replication::{ClusterReplicationConfig, NamespaceReplicationConfig},
        workflowservice::{
            DescribeNamespaceRequest, DescribeNamespaceResponse, ListNamespacesRequest, RegisterNamespaceRequest, UpdateNamespaceRequest,
        },
    },
};

use crate::cli::{
    Failure,
    output::{Cell, Hue, Table, short_name},
    session::Session,
    values,
};

/// Namespaces asked for at once.
const PAGE_SIZE: i32 = 100;

#[derive(Subcommand)]
pub(crate) enum NamespaceCommand {
    /// Make a namespace
    Create(Box<Create>),
    /// Describe a namespace
    Describe(Describe),
    /// Show how much a namespace uses of what it may
    Limits(Limits),
    /// List all namespaces
    List,
    /// Change a namespace
    Update(Box<Update>),
    /// Delete a namespace and all that is in it
    Delete(Delete),
}

/// What `create` and `update` share.
#[derive(Args)]
struct Shared {
    /// The older way of --namespace
    #[arg(value_name = "NAMESPACE", hide = true)]
    name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who owns it
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// Data kept with it; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::parse_pair)]
    data: Vec<(String, String)>,
    /// Active cluster, for global namespaces
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    active_cluster: String,
    /// Cluster that holds it; may be given several times
    #[arg(long, value_name = "NAME")]
    cluster: Vec<String>,
    /// Whether histories are archived
    #[arg(long, value_enum, value_name = "STATE")]
    history_archival_state: Option<Archival>,
    /// Where histories are archived
    #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
    history_uri: String,
    /// Whether lists are archived
    #[arg(long, value_enum, value_name = "STATE")]
    visibility_archival_state: Option<Archival>,
    /// Where lists are archived
    #[arg(long, value_name = "URI", default_value = "", hide_default_value = true)]
    visibility_uri: String,
}

#[derive(Args)]
pub(crate) struct Create {
    #[command(flatten)]
    shared: Shared,
    /// How long closed workflows are kept
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration, default_value = "72h")]
    retention: Duration,
    /// Make a global namespace
    #[arg(long)]
    global: bool,
}

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    shared: Shared,
    /// How long closed workflows are kept
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    retention: Option<Duration>,
    /// Make it a global namespace
    #[arg(long, conflicts_with = "active_cluster")]
    promote_global: bool,
    /// State of its replication
    #[arg(long, value_enum, value_name = "STATE")]
    replication_state: Option<Replication>,
}

#[derive(Args)]
pub(crate) struct Describe {
    /// The older way of --namespace
    #[arg(value_name = "NAMESPACE", hide = true)]
    name: Option<String>,
    /// The namespace by its id
    #[arg(long, value_name = "UUID")]
    namespace_id: Option<String>,
}

#[derive(Args)]
pub(crate) struct Limits {
    /// The older way of --namespace
    #[arg(value_name = "NAMESPACE", hide = true)]
    name: Option<String>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The older way of --namespace
    #[arg(value_name = "NAMESPACE", hide = true)]
    name: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Archival {
    Disabled,
    Enabled,
}

#[derive(Clone, Copy, ValueEnum)]
enum Replication {
    Normal,
    Handover,
}

fn archival(state: Option<Archival>) -> i32 {
    let state = match state {
        None => ArchivalState::Unspecified,
        Some(Archival::Disabled) => ArchivalState::Disabled,
        Some(Archival::Enabled) => ArchivalState::Enabled,
    };
    state as i32
}

fn clusters(names: &[String]) -> Vec<ClusterReplicationConfig> {
    names.iter().map(|name| ClusterReplicationConfig { cluster_name: name.clone(), ..ClusterReplicationConfig::default() }).collect()
}

/// The namespace that is meant: named in place, or by the flag, a variable or the profile.
fn meant(session: &Session, placed: Option<&String>, flagged: Option<&String>) -> Result<String, Failure> {
    match (placed, flagged) {
        (Some(_), Some(_)) => Err(Failure::usage("the namespace is named twice; give it with --namespace only")),
        (Some(name), None) => Ok(name.clone()),
        (None, _) => Ok(session.namespace()),
    }
}

pub(super) async fn run(session: &mut Session, command: NamespaceCommand, flagged: Option<String>) -> Result<(), Failure> {
    let flagged = flagged.as_ref();
    match command {
        NamespaceCommand::Create(create) => {
            let name = meant(session, create.shared.name.as_ref(), flagged)?;
            self::create(session, *create, name).await
        }
        NamespaceCommand::Describe(describe) => {
            let id = describe.namespace_id.clone().unwrap_or_default();
            let named = describe.name.is_some() || flagged.is_some();
            if !id.is_empty() && named {
                return Err(Failure::usage("give --namespace or --namespace-id, not both"));
            }
            let namespace = if id.is_empty() { meant(session, describe.name.as_ref(), flagged)? } else { String::new() };
            let request = DescribeNamespaceRequest { namespace, id, ..Default::default() };
            let answer = session.client().await?.workflow.describe_namespace(request).await?.into_inner();
            session.out.message(&answer)?;
            card(session, &answer)
        }
        NamespaceCommand::Limits(limits) => {
            let namespace = meant(session, limits.name.as_ref(), flagged)?;
            self::limits(session, namespace).await
        }
        NamespaceCommand::List => list(session).await,
        NamespaceCommand::Update(update) => {
            let name = meant(session, update.shared.name.as_ref(), flagged)?;
            self::update(session, *update, name).await
        }
        NamespaceCommand::Delete(delete) => {
            let name = meant(session, delete.name.as_ref(), flagged)?;
            session
                .confirm_by(&format!("Delete namespace {name} and all that is in it? Type its name to confirm:"), &name, delete.yes)
                .await?;
            let request = DeleteNamespaceRequest { namespace: name.clone(), ..Default::default() };
            let answer = session.client().await?.operator.delete_namespace(request).await?.into_inner();
            session.out.message(&answer)?;
            session.out.line_in(Hue::Good, format!("Namespace {name} has been deleted."))
        }
    }
}

async fn limits(session: &mut Session, namespace: String) -> Result<(), Failure> {
    let request = DescribeNamespaceLimitsRequest { namespace };
    let answer = session.client().await?.inspect.describe_namespace_limits(request).await?.into_inner();
    session.out.message(&answer)?;
    let rows: Vec<Vec<Cell>> = answer.limits.iter().map(limit_row).collect();
    session.out.table(&mut Table::new(&["Limit", "Used", "Max", "Burst", "Refused"]), &rows)
}

/// A limit for people: what there is no limit of has no number.
fn limit_row(limit: &NamespaceLimit) -> Vec<Cell> {
    let number = |of: f64| if of > 0.0 { of.to_string() } else { "-".to_owned() };
    vec![
        limit.key.as_str().into(),
        limit.used.to_string().into(),
        number(limit.max).into(),
        number(limit.burst).into(),
        limit.refused.to_string().into(),
    ]
}

async fn create(session: &mut Session, create: Create, name: String) -> Result<(), Failure> {
    let shared = create.shared;
    let request = RegisterNamespaceRequest {
        namespace: name.clone(),
        description: shared.description.unwrap_or_default(),
        owner_email: shared.email.unwrap_or_default(),
        workflow_execution_retention_period: Some(create.retention),
        clusters: clusters(&shared.cluster),
        active_cluster_name: shared.active_cluster,
        data: shared.data.into_iter().collect(),
        is_global_namespace: create.global,
        history_archival_state: archival(shared.history_archival_state),
        history_archival_uri: shared.history_uri,
        visibility_archival_state: archival(shared.visibility_archival_state),
        visibility_archival_uri: shared.visibility_uri,
        ..Default::default()
    };
    session.client().await?.workflow.register_namespace(request).await?;
    session.out.line_in(Hue::Good, format!("Namespace {name} successfully registered."))
}

async fn update(session: &mut Session, update: Update, name: String) -> Result<(), Failure> {
    let shared = update.shared;
    let mut client = session.client().await?.workflow;
    let request = if update.promote_global {
        UpdateNamespaceRequest { namespace: name.clone(), promote_namespace: true, ..Default::default() }
    } else if !shared.active_cluster.is_empty() {
        let replication = NamespaceReplicationConfig { active_cluster_name: shared.active_cluster, ..Default::default() };
        UpdateNamespaceRequest { namespace: name.clone(), replication_config: Some(replication), ..Default::default() }
    } else {
        // The call sets description and owner anew, so what is not given is kept as it is.
        let request = DescribeNamespaceRequest { namespace: name.clone(), ..Default::default() };
        let today = client.describe_namespace(request).await?.into_inner();
        let info = today.namespace_info.unwrap_or_default();
        let retention = today.config.and_then(|config| config.workflow_execution_retention_ttl);
        let state = match update.replication_state {
            None => ReplicationState::Unspecified,
            Some(Replication::Normal) => ReplicationState::Normal,
            Some(Replication::Handover) => ReplicationState::Handover,
        };
        UpdateNamespaceRequest {
            namespace: name.clone(),
            update_info: Some(UpdateNamespaceInfo {
                description: shared.description.unwrap_or(info.description),
                owner_email: shared.email.unwrap_or(info.owner_email),
                data: shared.data.into_iter().collect(),
                ..Default::default()
            }),
            config: Some(NamespaceConfig {
                workflow_execution_retention_ttl: update.retention.or(retention),
                history_archival_state: archival(shared.history_archival_state),
                history_archival_uri: shared.history_uri,
                visibility_archival_state: archival(shared.visibility_archival_state),
                visibility_archival_uri: shared.visibility_uri,
                ..Default::default()
            }),
            replication_config: Some(NamespaceReplicationConfig {
                clusters: clusters(&shared.cluster),
                state: state as i32,
                ..Default::default()
            }),
            ..Default::default()
        }
    };
    let answer = client.update_namespace(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line_in(Hue::Good, format!("Namespace {name} update succeeded."))
}

async fn list(session: &mut Session) -> Result<(), Failure> {
    let mut token = bytes::Bytes::new();
    session.out.begin_list()?;
    loop {
        let request = ListNamespacesRequest { page_size: PAGE_SIZE, next_page_token: token, ..Default::default() };
        let page = session.client().await?.workflow.list_namespaces(request).await?.into_inner();
        for namespace in &page.namespaces {
            session.out.message(namespace)?;
            card(session, namespace)?;
            session.out.line("")?;
        }
        token = page.next_page_token;
        if token.is_empty() {
            return session.out.end_list();
        }
    }
}

fn card(session: &mut Session, answer: &DescribeNamespaceResponse) -> Result<(), Failure> {
    let info = answer.namespace_info.clone().unwrap_or_default();
    let config = answer.config.clone().unwrap_or_default();
    let replication = answer.replication_config.clone().unwrap_or_default();
    let state = NamespaceState::try_from(info.state).unwrap_or_default();
    let archival = |state: i32| short_name(ArchivalState::try_from(state).unwrap_or_default().as_str_name(), "ARCHIVAL_STATE_");
    let data: Vec<_> = info.data.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let clusters: Vec<_> = replication.clusters.iter().map(|cluster| cluster.cluster_name.as_str()).collect();
    let retention = config.workflow_execution_retention_ttl.as_ref().map(values::duration_text).unwrap_or_default();
    let entries: [(&str, Cell); 12] = [
        ("NamespaceInfo.Name", info.name.into()),
        ("NamespaceInfo.Id", info.id.into()),
        ("NamespaceInfo.Description", info.description.into()),
        ("NamespaceInfo.OwnerEmail", info.owner_email.into()),
        ("NamespaceInfo.State", short_name(state.as_str_name(), "NAMESPACE_STATE_").into()),
        ("NamespaceInfo.Data", data.join(", ").into()),
        ("Config.WorkflowExecutionRetentionTtl", retention.into()),
        ("ReplicationConfig.ActiveClusterName", replication.active_cluster_name.into()),
        ("ReplicationConfig.Clusters", clusters.join(", ").into()),
        ("Config.HistoryArchivalState", archival(config.history_archival_state).into()),
        ("Config.VisibilityArchivalState", archival(config.visibility_archival_state).into()),
        ("IsGlobalNamespace", answer.is_global_namespace.to_string().into()),
    ];
    session.out.card(&entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_limit_shows_none() {
        let of = |max| NamespaceLimit { key: "k".into(), used: 3, max, ..NamespaceLimit::default() };
        let text = |limit: &NamespaceLimit| format!("{:?}", limit_row(limit));
        assert!(text(&of(0.0)).contains("\"-\""), "{}", text(&of(0.0)));
        assert!(text(&of(0.5)).contains("\"0.5\""), "{}", text(&of(0.5)));
    }
}

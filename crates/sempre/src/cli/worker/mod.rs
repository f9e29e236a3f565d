//! `sempre worker …`: the workers that tell the server of themselves, and their versions.

mod deployment;

use clap::{Args, Subcommand};
use sempre_api::v1::{
    enums::WorkerStatus,
    worker::{WorkerPollerInfo, WorkerSlotsInfo},
    workflowservice::{CountWorkersRequest, DescribeWorkerRequest, ListWorkersRequest},
};

use super::{
    Failure,
    flags::CommonFlags,
    flags::Family,
    output::{Cell, Table, short_name},
    session::{self, Session},
    values,
};

#[derive(Subcommand)]
pub(crate) enum WorkerCommand {
    /// List the workers of a namespace
    List(List),
    /// Count the workers of a namespace
    Count(Query),
    /// Describe one worker
    Describe(Describe),
    /// Versions of workers, and which of them has the work
    #[command(subcommand, arg_required_else_help = true)]
    Deployment(deployment::DeploymentCommand),
}

#[derive(Args)]
pub(crate) struct Query {
    /// Filter, such as: TaskQueue = 'orders'
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,
    /// Include the server's own workers
    #[arg(long)]
    include_system_workers: bool,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    filter: Query,
    /// Stop after this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Describe {
    /// The worker
    #[arg(long, value_name = "KEY")]
    worker_instance_key: String,
}

pub(crate) fn run(common: CommonFlags, family: Family<WorkerCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        WorkerCommand::List(options) => list(session, options).await,
        WorkerCommand::Count(options) => {
            let request = CountWorkersRequest {
                namespace: session.namespace(),
                query: options.query,
                include_system_workers: options.include_system_workers,
            };
            let answer = session.client().await?.workflow.count_workers(request).await?.into_inner();
            session.out.message(&answer)?;
            session.out.line(format!("Total: {}", answer.count))
        }
        WorkerCommand::Describe(options) => describe(session, options.worker_instance_key).await,
        WorkerCommand::Deployment(command) => deployment::run(session, command).await,
    })
}

fn status(status: i32) -> String {
    short_name(WorkerStatus::try_from(status).unwrap_or_default().as_str_name(), "WORKER_STATUS_")
}

async fn list(session: &mut Session, options: List) -> Result<(), Failure> {
    let (mut left, mut token) = (if options.limit == 0 { usize::MAX } else { options.limit }, bytes::Bytes::new());
    let mut table = Table::new(&["WorkerInstanceKey", "Status", "TaskQueue", "WorkerIdentity", "HostName", "StartTime"]);
    session.out.begin_list()?;
    loop {
        let request = ListWorkersRequest {
            namespace: session.namespace(),
            next_page_token: token,
            query: options.filter.query.clone(),
            include_system_workers: options.filter.include_system_workers,
            ..Default::default()
        };
        let mut page = session.client().await?.workflow.list_workers(request).await?.into_inner();
        page.workers.truncate(left);
        left -= page.workers.len();
        let mut rows = Vec::new();
        for worker in page.workers {
            session.out.message(&worker)?;
            let start = session.out.time(worker.start_time.as_ref());
            let cells =
                [worker.worker_instance_key, status(worker.status), worker.task_queue, worker.worker_identity, worker.host_name, start];
            rows.push(cells.map(Cell::from).to_vec());
        }
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = page.next_page_token;
        if token.is_empty() || left == 0 {
            return session.out.end_list();
        }
    }
}

async fn describe(session: &mut Session, worker_instance_key: String) -> Result<(), Failure> {
    let request = DescribeWorkerRequest { namespace: session.namespace(), worker_instance_key };
    let answer = session.client().await?.workflow.describe_worker(request).await?.into_inner();
    session.out.message(&answer)?;
    let worker = answer.worker_info.and_then(|info| info.worker_heartbeat).unwrap_or_default();
    let host = worker.host_info.clone().unwrap_or_default();
    let (start, heard) = (session.out.time(worker.start_time.as_ref()), session.out.time(worker.heartbeat_time.as_ref()));
    let version = worker.deployment_version.clone().unwrap_or_default();
    session.out.card(&[
        ("WorkerInstanceKey", worker.worker_instance_key.into()),
        ("WorkerIdentity", worker.worker_identity.into()),
        ("Status", status(worker.status).into()),
        ("TaskQueue", worker.task_queue.into()),
        ("Sdk", format!("{} {}", worker.sdk_name, worker.sdk_version).trim().into()),
        ("DeploymentName", version.deployment_name.into()),
        ("BuildId", version.build_id.into()),
        ("HostName", host.host_name.into()),
        ("ProcessId", host.process_id.into()),
        ("StartTime", start.into()),
        ("HeartbeatTime", heard.into()),
        ("SinceHeartbeat", worker.elapsed_since_last_heartbeat.as_ref().map(values::duration_text).unwrap_or_default().into()),
        ("WorkflowTaskSlots", slots(worker.workflow_task_slots_info.as_ref()).into()),
        ("ActivityTaskSlots", slots(worker.activity_task_slots_info.as_ref()).into()),
        ("NexusTaskSlots", slots(worker.nexus_task_slots_info.as_ref()).into()),
        ("LocalActivitySlots", slots(worker.local_activity_slots_info.as_ref()).into()),
        ("WorkflowPollers", pollers(worker.workflow_poller_info.as_ref()).into()),
        ("StickyPollers", pollers(worker.workflow_sticky_poller_info.as_ref()).into()),
        ("ActivityPollers", pollers(worker.activity_poller_info.as_ref()).into()),
        ("StickyCacheSize", worker.current_sticky_cache_size.to_string().into()),
    ])
}

fn slots(info: Option<&WorkerSlotsInfo>) -> String {
    let Some(info) = info else { return String::new() };
    let (used, free) = (info.current_used_slots, info.current_available_slots);
    format!("{used} used, {free} free, {} tasks done, {} failed", info.total_processed_tasks, info.total_failed_tasks)
}

fn pollers(info: Option<&WorkerPollerInfo>) -> String {
    info.map(|info| info.current_pollers.to_string()).unwrap_or_default()
}

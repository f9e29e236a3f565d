//! Nexus operations that belong to no workflow: start, execute, result, describe, list, count, cancel, terminate, delete.

use clap::Args;
use sempre_api::{
    Duration,
    v1::{
        enums::{NexusOperationExecutionStatus, NexusOperationIdConflictPolicy, NexusOperationIdReusePolicy, NexusOperationWaitStage},
        nexus::NexusOperationExecutionListInfo,
        sdk::UserMetadata,
        workflowservice::{
            CountNexusOperationExecutionsRequest, DeleteNexusOperationExecutionRequest, DescribeNexusOperationExecutionRequest,
            ListNexusOperationExecutionsRequest, PollNexusOperationExecutionRequest, RequestCancelNexusOperationExecutionRequest,
            StartNexusOperationExecutionRequest, TerminateNexusOperationExecutionRequest, poll_nexus_operation_execution_response::Outcome,
        },
    },
};
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    alone::{End, IdConflictPolicy, IdReusePolicy, Reason},
    input::{self, InputFlags},
    output::{Cell, Hue, bare, short_name},
    pages::{self, Count, Extent},
    session::{Session, request_id},
    values,
};

/// What is said of an input that an operation cannot take.
const ONE_INPUT: &str = "an operation takes one input: give --input or --input-file once";

/// What an operation is started with.
#[derive(Args)]
pub(crate) struct New {
    /// Endpoint that leads to its handler
    #[arg(long, value_name = "NAME")]
    endpoint: String,
    /// Service of the operation
    #[arg(long, value_name = "NAME")]
    service: String,
    /// What is to be done
    #[arg(long, value_name = "NAME")]
    operation: String,
    /// The operation; without it a new id is made
    #[arg(long, value_name = "ID")]
    operation_id: Option<String>,
    /// How long it may take
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_close_timeout: Option<Duration>,
    /// How long it may take until its handler has started it, or done it at once
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_start_timeout: Option<Duration>,
    /// How long it may take once its handler has started it
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    start_to_close_timeout: Option<Duration>,
    /// What to do when a closed operation had the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    id_reuse_policy: Option<IdReusePolicy>,
    /// What to do when a running operation has the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    id_conflict_policy: Option<IdConflictPolicy>,
    /// Search attribute; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    search_attribute: Vec<(String, Value)>,
    /// Header that reaches the handler; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::parse_pair)]
    nexus_header: Vec<(String, String)>,
    /// One line about the operation, for user interfaces
    #[arg(long, value_name = "TEXT")]
    static_summary: Option<String>,
    #[command(flatten)]
    input: InputFlags,
}

/// One operation.
#[derive(Args)]
pub(crate) struct Reference {
    /// The operation
    #[arg(long, value_name = "ID")]
    operation_id: String,
    /// The run; without it the latest one
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    run_id: String,
}

#[derive(Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    reference: Reference,
    /// Write what the server says as it is
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// List filter, such as: Endpoint = 'payments' AND ExecutionStatus = 'Running'
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,
    #[command(flatten)]
    extent: Extent,
}

/// An end that is asked for.
#[derive(Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    reference: Reference,
    #[command(flatten)]
    why: Reason,
}

#[derive(Args)]
pub(crate) struct Delete {
    #[command(flatten)]
    reference: Reference,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl New {
    fn request(&self, session: &Session) -> Result<StartNexusOperationExecutionRequest, Failure> {
        let summary = self.static_summary.as_deref().map(|text| input::json_payload(&text.into()));
        let reuse = match self.id_reuse_policy {
            None => NexusOperationIdReusePolicy::Unspecified,
            Some(IdReusePolicy::AllowDuplicate) => NexusOperationIdReusePolicy::AllowDuplicate,
            Some(IdReusePolicy::AllowDuplicateFailedOnly) => NexusOperationIdReusePolicy::AllowDuplicateFailedOnly,
            Some(IdReusePolicy::RejectDuplicate) => NexusOperationIdReusePolicy::RejectDuplicate,
        };
        let conflict = match self.id_conflict_policy {
            None => NexusOperationIdConflictPolicy::Unspecified,
            Some(IdConflictPolicy::Fail) => NexusOperationIdConflictPolicy::Fail,
            Some(IdConflictPolicy::UseExisting) => NexusOperationIdConflictPolicy::UseExisting,
        };
        let mut inputs = self.input.payloads()?.unwrap_or_default().payloads;
        if inputs.len() > 1 {
            return Err(Failure::new(ONE_INPUT));
        }
        Ok(StartNexusOperationExecutionRequest {
            namespace: session.namespace(),
            identity: session.identity(),
            request_id: request_id(),
            operation_id: self.operation_id.clone().unwrap_or_else(request_id),
            endpoint: self.endpoint.clone(),
            service: self.service.clone(),
            operation: self.operation.clone(),
            schedule_to_close_timeout: self.schedule_to_close_timeout,
            schedule_to_start_timeout: self.schedule_to_start_timeout,
            start_to_close_timeout: self.start_to_close_timeout,
            input: inputs.pop(),
            id_reuse_policy: reuse as i32,
            id_conflict_policy: conflict as i32,
            search_attributes: input::search_attributes(&self.search_attribute),
            nexus_header: self.nexus_header.iter().cloned().collect(),
            user_metadata: summary.map(|summary| UserMetadata { summary: Some(summary), details: None }),
            ..Default::default()
        })
    }

    /// Starts it and tells so, unless `quiet`. Gives its id and run.
    async fn start(&self, session: &mut Session, quiet: bool) -> Result<(String, String), Failure> {
        let request = self.request(session)?;
        let id = request.operation_id.clone();
        let run_id = session.client().await?.workflow.start_nexus_operation_execution(request).await?.into_inner().run_id;
        if !quiet {
            let namespace = session.namespace();
            session.out.title("Started Nexus Operation:")?;
            session.out.record(vec![
                ("endpoint", json!(self.endpoint)),
                ("service", json!(self.service)),
                ("operation", json!(self.operation)),
                ("operationId", json!(id)),
                ("runId", json!(run_id)),
                ("namespace", json!(namespace)),
            ])?;
        }
        Ok((id, run_id))
    }
}

pub(super) async fn start(session: &mut Session, options: &New) -> Result<(), Failure> {
    options.start(session, false).await.map(drop)
}

pub(super) async fn execute(session: &mut Session, options: &New) -> Result<(), Failure> {
    let quiet = session.out.is_json();
    let (id, run_id) = options.start(session, quiet).await?;
    wait(session, id, run_id).await
}

pub(super) async fn result(session: &mut Session, options: &Reference) -> Result<(), Failure> {
    wait(session, options.operation_id.clone(), options.run_id.clone()).await
}

/// Waits for the end and tells how it was; one that is no result makes the command fail.
async fn wait(session: &mut Session, operation_id: String, run_id: String) -> Result<(), Failure> {
    let request = PollNexusOperationExecutionRequest {
        namespace: session.namespace(),
        operation_id: operation_id.clone(),
        run_id,
        wait_stage: NexusOperationWaitStage::Closed as i32,
    };
    let mut client = session.client().await?.workflow;
    let (run_id, outcome) = loop {
        let answer = client.poll_nexus_operation_execution(request.clone()).await?.into_inner();
        if let Some(outcome) = answer.outcome {
            break (answer.run_id, outcome);
        }
    };
    let end = match outcome {
        Outcome::Result(payload) => End::Result(session.out.json_of(&payload)),
        Outcome::Failure(failure) => End::Failure(failure.into()),
    };
    end.tell(session, "operation", [("operationId", json!(operation_id)), ("runId", json!(run_id))])
}

pub(super) async fn describe(session: &mut Session, options: &Describe) -> Result<(), Failure> {
    let request = DescribeNexusOperationExecutionRequest {
        namespace: session.namespace(),
        operation_id: options.reference.operation_id.clone(),
        run_id: options.reference.run_id.clone(),
        ..Default::default()
    };
    let answer = session.client().await?.workflow.describe_nexus_operation_execution(request).await?.into_inner();
    let info = answer.info.unwrap_or_default();
    if options.raw {
        return session.out.raw_message(&info);
    }
    session.out.message(&info)?;
    let span = |duration: &Option<Duration>| duration.as_ref().map(values::duration_text).unwrap_or_default();
    let state = match info.close_time {
        None => short_name(info.state().as_str_name(), "PENDING_NEXUS_OPERATION_STATE_"),
        Some(_) => String::new(),
    };
    let canceled = info.cancellation_info.clone().unwrap_or_default();
    let cancellation = match &info.cancellation_info {
        None => String::new(),
        Some(info) => short_name(info.state().as_str_name(), "NEXUS_OPERATION_CANCELLATION_STATE_"),
    };
    let times = [info.schedule_time, info.close_time, info.expiration_time, info.next_attempt_schedule_time, canceled.requested_time];
    let [scheduled, closed, expires, next, requested] = times.map(|time| session.out.time(time.as_ref()));
    let summary = info.user_metadata.as_ref().and_then(|metadata| metadata.summary.as_ref());
    let summary = summary.map(|summary| bare(&session.out.json_of(summary))).unwrap_or_default();
    session.out.title("Nexus Operation:")?;
    session.out.card(&[
        ("OperationId", info.operation_id.as_str().into()),
        ("RunId", info.run_id.as_str().into()),
        ("Endpoint", info.endpoint.as_str().into()),
        ("Service", info.service.as_str().into()),
        ("Operation", info.operation.as_str().into()),
        ("Status", status_cell(info.status())),
        ("State", state.into()),
        ("Attempt", info.attempt.to_string().into()),
        ("ScheduledTime", scheduled.into()),
        ("CloseTime", closed.into()),
        ("ExpirationTime", expires.into()),
        ("NextAttemptTime", next.into()),
        ("LastFailure", info.last_attempt_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default().into()),
        ("BlockedReason", info.blocked_reason.as_str().into()),
        ("OperationToken", info.operation_token.as_str().into()),
        ("Cancellation", cancellation.into()),
        ("CancelRequestTime", requested.into()),
        ("CancelReason", canceled.reason.as_str().into()),
        ("Identity", info.identity.as_str().into()),
        ("Summary", summary.into()),
        ("ScheduleToCloseTimeout", span(&info.schedule_to_close_timeout).into()),
        ("ScheduleToStartTimeout", span(&info.schedule_to_start_timeout).into()),
        ("StartToCloseTimeout", span(&info.start_to_close_timeout).into()),
    ])
}

fn status_cell(status: NexusOperationExecutionStatus) -> Cell {
    use NexusOperationExecutionStatus as S;
    let hue = match status {
        S::Running => Hue::Running,
        S::Completed => Hue::Good,
        S::Failed | S::TimedOut => Hue::Bad,
        _ => Hue::Odd,
    };
    Cell::in_hue(short_name(status.as_str_name(), "NEXUS_OPERATION_EXECUTION_STATUS_"), hue)
}

pub(super) async fn list(session: &mut Session, options: &List) -> Result<(), Failure> {
    let (mut client, namespace) = (session.client().await?.workflow, session.namespace());
    let page = async |page_size, next_page_token| {
        let (namespace, query) = (namespace.clone(), options.query.clone());
        let request = ListNexusOperationExecutionsRequest { namespace, page_size, next_page_token, query };
        let page = client.list_nexus_operation_executions(request).await?.into_inner();
        Ok((page.operations, page.next_page_token))
    };
    let row = |session: &Session, info: &NexusOperationExecutionListInfo| {
        let time = session.out.time(info.schedule_time.as_ref());
        let names = [&info.operation_id, &info.endpoint, &info.service, &info.operation];
        let cells = names.map(|name| Cell::from(name.as_str()));
        [status_cell(info.status())].into_iter().chain(cells).chain([time.into()]).collect()
    };
    let columns = &["Status", "OperationId", "Endpoint", "Service", "Operation", "StartTime"];
    pages::list(session, &options.extent, columns, page, row).await
}

pub(super) async fn count(session: &mut Session, options: &Count) -> Result<(), Failure> {
    let request = CountNexusOperationExecutionsRequest { namespace: session.namespace(), query: options.query.clone() };
    let mut answer = session.client().await?.workflow.count_nexus_operation_executions(request).await?.into_inner();
    pages::without_types(answer.groups.iter_mut().flat_map(|group| &mut group.group_values));
    session.out.message(&answer)?;
    pages::count(session, answer.count, answer.groups.iter().map(|group| (group.count, &group.group_values)))
}

pub(super) async fn cancel(session: &mut Session, options: &Stop) -> Result<(), Failure> {
    let request = RequestCancelNexusOperationExecutionRequest {
        namespace: session.namespace(),
        operation_id: options.reference.operation_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        request_id: request_id(),
        reason: options.why.reason.clone().unwrap_or_default(),
    };
    session.client().await?.workflow.request_cancel_nexus_operation_execution(request).await?;
    session.out.line("Cancellation requested")
}

pub(super) async fn terminate(session: &mut Session, options: &Stop) -> Result<(), Failure> {
    let request = TerminateNexusOperationExecutionRequest {
        namespace: session.namespace(),
        operation_id: options.reference.operation_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        request_id: request_id(),
        reason: options.why.or_usual(session),
    };
    session.client().await?.workflow.terminate_nexus_operation_execution(request).await?;
    session.out.line("Nexus Operation terminated")
}

pub(super) async fn delete(session: &mut Session, options: &Delete) -> Result<(), Failure> {
    let Reference { operation_id, run_id } = &options.reference;
    let run = if run_id.is_empty() { String::new() } else { format!(", run {run_id}") };
    session.confirm(&format!("Delete Nexus operation {operation_id}{run}?"), options.yes).await?;
    let request =
        DeleteNexusOperationExecutionRequest { namespace: session.namespace(), operation_id: operation_id.clone(), run_id: run_id.clone() };
    session.client().await?.workflow.delete_nexus_operation_execution(request).await?;
    session.out.line("Nexus Operation deleted")
}

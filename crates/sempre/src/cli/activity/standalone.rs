//! Activities that belong to no workflow: start, execute, result, describe, list, count, cancel, terminate, delete. Names and flags as in
//! Temporal's CLI.

use clap::Args;
use sempre_api::{
    Duration,
    v1::{
        activity::{ActivityExecutionListInfo, activity_execution_outcome::Value as Outcome},
        common::{ActivityType, Payloads, Priority, RetryPolicy},
        enums::{ActivityExecutionStatus, ActivityIdConflictPolicy, ActivityIdReusePolicy, TaskQueueKind},
        sdk::UserMetadata,
        taskqueue::TaskQueue,
        workflowservice::{
            CountActivityExecutionsRequest, DeleteActivityExecutionRequest, DescribeActivityExecutionRequest,
            ListActivityExecutionsRequest, PollActivityExecutionRequest, RequestCancelActivityExecutionRequest,
            StartActivityExecutionRequest, TerminateActivityExecutionRequest,
        },
    },
};
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    alone::{End, IdConflictPolicy, IdReusePolicy, Reason},
    input::{self, InputFlags},
    output::{Cell, Hue, short_name},
    pages::{self, Count, Extent},
    session::{Session, request_id},
    values,
};

#[derive(Args)]
pub(crate) struct Start {
    #[command(flatten)]
    new: New,
}

#[derive(Args)]
pub(crate) struct Execute {
    #[command(flatten)]
    new: New,
}

/// What an activity is started with.
#[derive(Args)]
struct New {
    /// The activity; without it a new id is made
    #[arg(short, long, value_name = "ID")]
    activity_id: Option<String>,
    /// Type of the activity
    #[arg(long, value_name = "NAME")]
    r#type: String,
    /// Task queue of its workers
    #[arg(short, long, value_name = "NAME")]
    task_queue: String,
    /// How long it may take, retries and all
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_close_timeout: Option<Duration>,
    /// How long it may wait for a worker
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    schedule_to_start_timeout: Option<Duration>,
    /// How long an attempt may take
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    start_to_close_timeout: Option<Duration>,
    /// How long an attempt may be silent
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    heartbeat_timeout: Option<Duration>,
    /// First time between attempts
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    retry_initial_interval: Option<Duration>,
    /// Longest time between attempts
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    retry_maximum_interval: Option<Duration>,
    /// By what the time between attempts grows
    #[arg(long, value_name = "NUMBER")]
    retry_backoff_coefficient: Option<f64>,
    /// How many attempts there may be
    #[arg(long, value_name = "NUMBER")]
    retry_maximum_attempts: Option<i32>,
    /// Wait this long before the first attempt
    #[arg(long, value_name = "DURATION", value_parser = values::parse_duration)]
    start_delay: Option<Duration>,
    /// What to do when a closed activity had the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    id_reuse_policy: Option<IdReusePolicy>,
    /// What to do when a running activity has the same id
    #[arg(long, value_enum, value_name = "POLICY", ignore_case = true)]
    id_conflict_policy: Option<IdConflictPolicy>,
    /// Search attribute; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    search_attribute: Vec<(String, Value)>,
    /// Header that reaches the activity; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    headers: Vec<(String, Value)>,
    /// One line about the activity, for user interfaces
    #[arg(long, value_name = "TEXT")]
    static_summary: Option<String>,
    /// More about the activity, for user interfaces
    #[arg(long, value_name = "TEXT")]
    static_details: Option<String>,
    /// Priority of its tasks: 1 comes first, 5 last
    #[arg(long, value_name = "NUMBER")]
    priority_key: Option<i32>,
    /// Key among which task queues share their workers fairly
    #[arg(long, value_name = "KEY")]
    fairness_key: Option<String>,
    /// Weight of the fairness key
    #[arg(long, value_name = "NUMBER")]
    fairness_weight: Option<f32>,
    #[command(flatten)]
    input: InputFlags,
}

/// One activity.
#[derive(Args)]
pub(crate) struct Reference {
    /// The activity
    #[arg(short, long, value_name = "ID")]
    activity_id: String,
    /// The run; without it the latest one
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    run_id: String,
}

#[derive(Args)]
pub(crate) struct Describe {
    #[command(flatten)]
    reference: Reference,
    /// Write the server's whole answer
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// List filter, such as: ActivityType = 'Charge' AND ExecutionStatus = 'Running'
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
    fn request(&self, session: &Session) -> Result<StartActivityExecutionRequest, Failure> {
        let payload = |text: &Option<String>| text.as_deref().map(|text| input::json_payload(&text.into()));
        let (summary, details) = (payload(&self.static_summary), payload(&self.static_details));
        let retries = self.retry_initial_interval.is_some()
            || self.retry_maximum_interval.is_some()
            || self.retry_backoff_coefficient.is_some()
            || self.retry_maximum_attempts.is_some();
        let ranked = self.priority_key.is_some() || self.fairness_key.is_some() || self.fairness_weight.is_some();
        let reuse = match self.id_reuse_policy {
            None => ActivityIdReusePolicy::Unspecified,
            Some(IdReusePolicy::AllowDuplicate) => ActivityIdReusePolicy::AllowDuplicate,
            Some(IdReusePolicy::AllowDuplicateFailedOnly) => ActivityIdReusePolicy::AllowDuplicateFailedOnly,
            Some(IdReusePolicy::RejectDuplicate) => ActivityIdReusePolicy::RejectDuplicate,
        };
        let conflict = match self.id_conflict_policy {
            None => ActivityIdConflictPolicy::Unspecified,
            Some(IdConflictPolicy::Fail) => ActivityIdConflictPolicy::Fail,
            Some(IdConflictPolicy::UseExisting) => ActivityIdConflictPolicy::UseExisting,
        };
        Ok(StartActivityExecutionRequest {
            namespace: session.namespace(),
            identity: session.identity(),
            request_id: request_id(),
            activity_id: self.activity_id.clone().unwrap_or_else(request_id),
            activity_type: Some(ActivityType { name: self.r#type.clone() }),
            task_queue: Some(TaskQueue { name: self.task_queue.clone(), kind: TaskQueueKind::Normal as i32, ..TaskQueue::default() }),
            schedule_to_close_timeout: self.schedule_to_close_timeout,
            schedule_to_start_timeout: self.schedule_to_start_timeout,
            start_to_close_timeout: self.start_to_close_timeout,
            heartbeat_timeout: self.heartbeat_timeout,
            retry_policy: retries.then(|| RetryPolicy {
                initial_interval: self.retry_initial_interval,
                maximum_interval: self.retry_maximum_interval,
                backoff_coefficient: self.retry_backoff_coefficient.unwrap_or_default(),
                maximum_attempts: self.retry_maximum_attempts.unwrap_or_default(),
                ..RetryPolicy::default()
            }),
            input: self.input.payloads()?,
            id_reuse_policy: reuse as i32,
            id_conflict_policy: conflict as i32,
            search_attributes: input::search_attributes(&self.search_attribute),
            header: input::header(&self.headers),
            user_metadata: (summary.is_some() || details.is_some()).then_some(UserMetadata { summary, details }),
            priority: ranked.then(|| Priority {
                priority_key: self.priority_key.unwrap_or_default(),
                fairness_key: self.fairness_key.clone().unwrap_or_default(),
                fairness_weight: self.fairness_weight.unwrap_or_default(),
            }),
            start_delay: self.start_delay,
            ..Default::default()
        })
    }

    /// Starts it. Gives its id and run.
    async fn start(&self, session: &mut Session) -> Result<(String, String), Failure> {
        let request = self.request(session)?;
        let id = request.activity_id.clone();
        let answer = session.client().await?.workflow.start_activity_execution(request).await?.into_inner();
        Ok((id, answer.run_id))
    }
}

pub(super) async fn start(session: &mut Session, options: &Start) -> Result<(), Failure> {
    let (id, run_id) = options.new.start(session).await?;
    let namespace = session.namespace();
    session.out.title("Running activity:")?;
    session.out.record(vec![
        ("activityId", json!(id)),
        ("runId", json!(run_id)),
        ("type", json!(options.new.r#type)),
        ("namespace", json!(namespace)),
        ("taskQueue", json!(options.new.task_queue)),
    ])
}

pub(super) async fn execute(session: &mut Session, options: &Execute) -> Result<(), Failure> {
    let (id, run_id) = options.new.start(session).await?;
    wait(session, id, run_id).await
}

pub(super) async fn result(session: &mut Session, options: &Reference) -> Result<(), Failure> {
    wait(session, options.activity_id.clone(), options.run_id.clone()).await
}

/// Waits for the end and tells how it was; one that is no result makes the command fail.
async fn wait(session: &mut Session, activity_id: String, run_id: String) -> Result<(), Failure> {
    let request = PollActivityExecutionRequest { namespace: session.namespace(), activity_id: activity_id.clone(), run_id };
    let mut client = session.client().await?.workflow;
    let (run_id, outcome) = loop {
        let answer = client.poll_activity_execution(request.clone()).await?.into_inner();
        if let Some(outcome) = answer.outcome {
            break (answer.run_id, outcome);
        }
    };
    let end = match outcome.value {
        Some(Outcome::Result(payloads)) => End::Result(friendly(session, &payloads)),
        Some(Outcome::Failure(failure)) => End::Failure(failure.into()),
        None => End::Unknown,
    };
    end.tell(session, "activity", [("activityId", json!(activity_id)), ("runId", json!(run_id))])
}

/// One value as itself, several as a list.
fn friendly(session: &Session, payloads: &Payloads) -> Value {
    match payloads.payloads.as_slice() {
        [] => Value::Null,
        [one] => session.out.json_of(one),
        _ => session.out.json_of(payloads),
    }
}

pub(super) async fn describe(session: &mut Session, options: &Describe) -> Result<(), Failure> {
    let request = DescribeActivityExecutionRequest {
        namespace: session.namespace(),
        activity_id: options.reference.activity_id.clone(),
        run_id: options.reference.run_id.clone(),
        include_input: true,
        include_outcome: true,
        include_heartbeat_details: true,
        include_last_failure: true,
        ..Default::default()
    };
    let answer = session.client().await?.workflow.describe_activity_execution(request).await?.into_inner();
    if options.raw {
        return session.out.raw_message(&answer);
    }
    session.out.message(&answer)?;
    let info = answer.info.unwrap_or_default();
    let span = |duration: &Option<Duration>| duration.as_ref().map(values::duration_text).unwrap_or_default();
    let state = short_name(info.run_state().as_str_name(), "PENDING_ACTIVITY_STATE_");
    let (schedule, started, close) = (
        session.out.time(info.schedule_time.as_ref()),
        session.out.time(info.last_started_time.as_ref()),
        session.out.time(info.close_time.as_ref()),
    );
    session.out.title("Activity:")?;
    session.out.card(&[
        ("ActivityId", info.activity_id.as_str().into()),
        ("RunId", info.run_id.as_str().into()),
        ("Type", info.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default().into()),
        ("Status", status_cell(info.status())),
        ("RunState", if info.close_time.is_some() { String::new() } else { state }.into()),
        ("TaskQueue", info.task_queue.as_str().into()),
        ("Attempt", info.attempt.to_string().into()),
        ("ScheduleTime", schedule.into()),
        ("LastStartedTime", started.into()),
        ("CloseTime", close.into()),
        ("LastWorkerIdentity", info.last_worker_identity.as_str().into()),
        ("LastFailure", info.last_failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default().into()),
        ("CanceledReason", info.canceled_reason.as_str().into()),
        ("ScheduleToCloseTimeout", span(&info.schedule_to_close_timeout).into()),
        ("ScheduleToStartTimeout", span(&info.schedule_to_start_timeout).into()),
        ("StartToCloseTimeout", span(&info.start_to_close_timeout).into()),
        ("HeartbeatTimeout", span(&info.heartbeat_timeout).into()),
    ])
}

fn status_cell(status: ActivityExecutionStatus) -> Cell {
    use ActivityExecutionStatus as S;
    let hue = match status {
        S::Running => Hue::Running,
        S::Completed => Hue::Good,
        S::Failed | S::TimedOut => Hue::Bad,
        _ => Hue::Odd,
    };
    Cell::in_hue(short_name(status.as_str_name(), "ACTIVITY_EXECUTION_STATUS_"), hue)
}

pub(super) async fn list(session: &mut Session, options: &List) -> Result<(), Failure> {
    let (mut client, namespace) = (session.client().await?.workflow, session.namespace());
    let page = async |page_size, next_page_token| {
        let (namespace, query) = (namespace.clone(), options.query.clone());
        let request = ListActivityExecutionsRequest { namespace, page_size, next_page_token, query };
        let page = client.list_activity_executions(request).await?.into_inner();
        Ok((page.executions, page.next_page_token))
    };
    let row = |session: &Session, info: &ActivityExecutionListInfo| {
        let kind = info.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
        let time = session.out.time(info.schedule_time.as_ref());
        vec![status_cell(info.status()), info.activity_id.as_str().into(), kind.into(), time.into()]
    };
    pages::list(session, &options.extent, &["Status", "ActivityId", "Type", "StartTime"], page, row).await
}

pub(super) async fn count(session: &mut Session, options: &Count) -> Result<(), Failure> {
    let request = CountActivityExecutionsRequest { namespace: session.namespace(), query: options.query.clone() };
    let mut answer = session.client().await?.workflow.count_activity_executions(request).await?.into_inner();
    pages::without_types(answer.groups.iter_mut().flat_map(|group| &mut group.group_values));
    session.out.message(&answer)?;
    pages::count(session, answer.count, answer.groups.iter().map(|group| (group.count, &group.group_values)))
}

pub(super) async fn cancel(session: &mut Session, options: &Stop) -> Result<(), Failure> {
    let request = RequestCancelActivityExecutionRequest {
        namespace: session.namespace(),
        activity_id: options.reference.activity_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        request_id: request_id(),
        reason: options.why.or_usual(session),
    };
    session.client().await?.workflow.request_cancel_activity_execution(request).await?;
    session.out.line("Activity cancellation requested")
}

pub(super) async fn terminate(session: &mut Session, options: &Stop) -> Result<(), Failure> {
    let request = TerminateActivityExecutionRequest {
        namespace: session.namespace(),
        activity_id: options.reference.activity_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        request_id: request_id(),
        reason: options.why.or_usual(session),
    };
    session.client().await?.workflow.terminate_activity_execution(request).await?;
    session.out.line("Activity terminated")
}

pub(super) async fn delete(session: &mut Session, options: &Delete) -> Result<(), Failure> {
    let Reference { activity_id, run_id } = &options.reference;
    let run = if run_id.is_empty() { String::new() } else { format!(", run {run_id}") };
    session.confirm(&format!("Delete activity {activity_id}{run}?"), options.yes).await?;
    let request =
        DeleteActivityExecutionRequest { namespace: session.namespace(), activity_id: activity_id.clone(), run_id: run_id.clone() };
    session.client().await?.workflow.delete_activity_execution(request).await?;
    session.out.line("Delete activity succeeded")
}

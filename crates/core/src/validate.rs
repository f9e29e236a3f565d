//! Checks of requests and commands that need no state, and their normal form (spec 01 §3.1, 03 §2, 09).
//!
//! Texts are part of the API. Functions that serve requests and commands alike return the text only; the
//! caller makes a refusal or a failed workflow task of it.

use alloc::{
    format,
    string::{String, ToString},
    vec::Vec,
};

use prost::Message;
use sempre_api::{
    Duration,
    v1::{
        command::ScheduleActivityTaskCommandAttributes,
        common::{Memo, Payloads, Priority, RetryPolicy},
        enums::{TaskQueueKind, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
        sdk::UserMetadata,
        taskqueue::TaskQueue,
        workflowservice::StartWorkflowExecutionRequest,
    },
};

mod callbacks;
mod links;
mod search_attributes;
mod signal_with_start;

pub use callbacks::{
    AddressRule, CALLBACK_HEADER_MAX, CALLBACK_URL_MAX, SYSTEM_CALLBACK_URL, callbacks, operation_callbacks, update_callbacks, webhook,
};
pub use links::{LINK_BYTES_MAX, LINKS_MAX, links, of_operation as links_of_operation, of_update as links_of_update};
pub use search_attributes::{
    SEARCH_ATTRIBUTE_BYTES_MAX, SEARCH_ATTRIBUTES_BYTES_MAX, SEARCH_ATTRIBUTES_MAX, search_attribute_names, search_attribute_sizes,
    search_attribute_types, search_attributes, search_fields,
};
pub use signal_with_start::signal_with_start;

use crate::{
    Context, Limits, Refusal, Span, Timestamp, cron::CronTable, refusal::text::BLOB_TOO_LARGE, retry, time::InvalidSpan, time_skipping,
};

/// Callbacks that are attached are told apart by the request that attached them.
pub(crate) const CALLBACKS_NEED_REQUEST_ID: &str = "attaching request ID is required for attaching completion callbacks";

/// Bytes of a fairness key (spec 05 §5).
pub const FAIRNESS_KEY_MAX: usize = 64;
/// Queue names of the server itself begin so.
pub const RESERVED_QUEUE_PREFIX: &str = "/_sys/";

/// A request that names no workflow id.
pub const WORKFLOW_ID_NOT_SET: &str = "WorkflowId is not set on request.";
/// A start without a workflow type.
pub const WORKFLOW_TYPE_NOT_SET: &str = "WorkflowType is not set on request.";
/// A memo over the limit.
pub const MEMO_TOO_LARGE: &str = "Memo size exceeds limit.";
/// A cron schedule that does not parse.
pub const INVALID_CRON: &str = "invalid CronSchedule.";
/// A cron schedule that never fires.
pub const CRON_WITHOUT_TICK: &str = "invalid CronSchedule, no time can be found to satisfy the schedule";
/// Checks a start and brings it to its normal form: policies, retry policy, queue kind, timeouts and request
/// id are as the run will have them (spec 01 §3.1, in its order).
pub fn start(request: &mut StartWorkflowExecutionRequest, cx: &mut Context<'_>) -> Result<(), Refusal> {
    let limits = cx.limits;
    default_policies(request, WorkflowIdConflictPolicy::Fail);
    required(&request.workflow_id, WORKFLOW_ID_NOT_SET)?;
    at_most(&request.workflow_id, "WorkflowId length exceeds limit.", limits)?;
    if let Some(policy) = &mut request.retry_policy {
        retry_policy(policy).map_err(Refusal::InvalidArgument)?;
    }
    start_delay(request)?;
    cron(&request.cron_schedule, cx.now, cx.cron).map_err(Refusal::invalid)?;
    let workflow_type = request.workflow_type.as_ref().map_or("", |t| &t.name);
    required(workflow_type, WORKFLOW_TYPE_NOT_SET)?;
    at_most(workflow_type, "WorkflowType length exceeds limit.", limits)?;
    task_queue(&mut request.task_queue, None, limits).map_err(Refusal::InvalidArgument)?;
    start_timeouts(request, limits)?;
    if request.request_id.is_empty() {
        request.request_id = cx.ids.uuid();
    }
    at_most(&request.request_id, "RequestId length exceeds limit.", limits)?;
    at_most(&request.identity, "Identity length exceeds limit.", limits)?;
    id_policies(request)?;
    if request.on_conflict_options.as_ref().is_some_and(|o| o.attach_completion_callbacks && !o.attach_request_id) {
        return Err(Refusal::invalid(CALLBACKS_NEED_REQUEST_ID));
    }
    search_attributes(request.search_attributes.as_ref()).map_err(Refusal::InvalidArgument)?;
    priority(request.priority.as_ref()).map_err(Refusal::InvalidArgument)?;
    callbacks(&mut request.completion_callbacks, limits)?;
    links::of_start(request)?;
    start_payloads(request, limits)
}

/// Time skipping, and the sizes of what the user sends: the last checks of a start.
fn start_payloads(request: &mut StartWorkflowExecutionRequest, limits: &Limits) -> Result<(), Refusal> {
    time_skipping::check(request.time_skipping_config.as_ref(), limits)?;
    request.time_skipping_config = request.time_skipping_config.take().map(|config| time_skipping::normal(config, limits));
    user_metadata(request.user_metadata.as_ref(), limits).map_err(Refusal::InvalidArgument)?;
    blob(request.input.as_ref(), limits)?;
    memo(request.memo.as_ref(), limits).map_err(Refusal::invalid)
}

/// Id policies that are left open (spec 01 §3.1.1); `conflict` is what the call does by default.
#[expect(deprecated, reason = "TERMINATE_IF_RUNNING is what old clients send")]
fn default_policies(request: &mut StartWorkflowExecutionRequest, conflict: WorkflowIdConflictPolicy) {
    if request.workflow_id_conflict_policy() == WorkflowIdConflictPolicy::Unspecified {
        if request.workflow_id_reuse_policy() == WorkflowIdReusePolicy::TerminateIfRunning {
            request.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate);
            request.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting);
        } else {
            request.set_workflow_id_conflict_policy(conflict);
        }
    }
    if request.workflow_id_reuse_policy() == WorkflowIdReusePolicy::Unspecified {
        request.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::AllowDuplicate);
    }
}

/// Checks the parts of a signal (spec 04 §2.1, 01 §4).
pub fn signal(name: &str, request_id: &str, identity: &str, input: Option<&Payloads>, limits: &Limits) -> Result<(), Refusal> {
    required(name, "SignalName is not set on request.")?;
    at_most(name, "SignalName length exceeds limit.", limits)?;
    at_most(request_id, "RequestId length exceeds limit.", limits)?;
    at_most(identity, "Identity length exceeds limit.", limits)?;
    blob(input, limits)
}

/// A field that must be there.
pub fn required(value: &str, text: &'static str) -> Result<(), Refusal> {
    if value.is_empty() { Err(Refusal::invalid(text)) } else { Ok(()) }
}

/// A name or id within the length limit.
pub fn at_most(value: &str, text: &'static str, limits: &Limits) -> Result<(), Refusal> {
    if value.len() > limits.id_length_max { Err(Refusal::invalid(text)) } else { Ok(()) }
}

/// Payloads of a request within the limit.
pub fn blob(payloads: Option<&Payloads>, limits: &Limits) -> Result<(), Refusal> {
    if payloads.is_some_and(|p| p.encoded_len() > limits.blob_size_max) { Err(Refusal::invalid(BLOB_TOO_LARGE)) } else { Ok(()) }
}

/// Memo within the limit.
pub fn memo(memo: Option<&Memo>, limits: &Limits) -> Result<(), &'static str> {
    if memo.is_some_and(|m| m.encoded_len() > limits.memo_size_max) { Err(MEMO_TOO_LARGE) } else { Ok(()) }
}

/// Fills the policy's defaults, then checks it.
pub fn retry_policy(policy: &mut RetryPolicy) -> Result<(), String> {
    retry::fill_defaults(policy);
    retry::validate(policy)
}

/// Priority and fairness within their ranges.
pub fn priority(priority: Option<&Priority>) -> Result<(), String> {
    let Some(priority) = priority else { return Ok(()) };
    if priority.priority_key < 0 {
        return Err("priority key can't be negative".into());
    }
    if priority.fairness_key.len() > FAIRNESS_KEY_MAX {
        return Err("fairness key length exceeds limit".into());
    }
    if priority.fairness_weight.is_nan() || priority.fairness_weight < 0.0 {
        return Err("must be greater than zero".into());
    }
    Ok(())
}

/// Summary and details within their sizes.
pub fn user_metadata(metadata: Option<&UserMetadata>, limits: &Limits) -> Result<(), String> {
    let Some(metadata) = metadata else { return Ok(()) };
    let fields = [("summary", &metadata.summary, limits.summary_size_max), ("details", &metadata.details, limits.details_size_max)];
    for (name, payload, limit) in fields {
        let bytes = payload.as_ref().map_or(0, Message::encoded_len);
        if bytes > limit {
            return Err(format!("user_metadata.{name} exceeds size limit. Length={bytes} Limit={limit}"));
        }
    }
    Ok(())
}

/// Checks a queue and fills what is open: an empty name becomes `default`, the kind NORMAL.
pub fn task_queue(queue: &mut Option<TaskQueue>, default: Option<&str>, limits: &Limits) -> Result<(), String> {
    let unset = if queue.is_some() { "missing task queue name" } else { "taskQueue is not set" };
    let queue = queue.get_or_insert_default();
    if queue.name.is_empty() {
        queue.name = default.filter(|d| !d.is_empty()).ok_or(unset)?.to_string();
    }
    // Before the name is looked at: refusals show the queue (`shown_queue`).
    if queue.kind == TaskQueueKind::Unspecified as i32 {
        queue.kind = TaskQueueKind::Normal as i32;
    }
    task_queue_name(&queue.name, limits)?;
    Ok(())
}

/// A queue as refusals of commands show it: the fields that are set, in the text form of protobuf.
pub fn shown_queue(queue: Option<&TaskQueue>) -> String {
    let Some(queue) = queue else { return String::new() };
    let mut fields = Vec::new();
    if !queue.name.is_empty() {
        fields.push(format!("name:{:?}", queue.name));
    }
    if queue.kind != TaskQueueKind::Unspecified as i32 {
        fields.push(format!("kind:{}", queue.kind().as_str_name()));
    }
    if !queue.normal_name.is_empty() {
        fields.push(format!("normal_name:{:?}", queue.normal_name));
    }
    fields.join(" ")
}

/// A queue's name: set, not too long, not the server's own.
pub fn task_queue_name(name: &str, limits: &Limits) -> Result<(), &'static str> {
    if name.is_empty() {
        Err("taskQueue is not set")
    } else if name.len() > limits.id_length_max {
        Err("taskQueue length exceeds limit")
    } else if name.starts_with(RESERVED_QUEUE_PREFIX) {
        Err("task queue name cannot start with reserved prefix /_sys/")
    } else {
        Ok(())
    }
}

/// A cron schedule (or none): it must parse and fire at least once more.
pub fn cron(spec: &str, now: Timestamp, table: &dyn CronTable) -> Result<(), &'static str> {
    if spec.is_empty() {
        return Ok(());
    }
    match table.next(spec, now) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(CRON_WITHOUT_TICK),
        Err(_) => Err(INVALID_CRON),
    }
}

/// A duration field that is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidTimeout {
    /// Its name in the API, in camel case.
    pub field: &'static str,
    /// What is wrong.
    pub why: InvalidSpan,
}

/// Brings a workflow's three timeouts to their normal form: none over [`Span::MAX`], the run at most as long as the execution, the
/// task by default 10 s and at most 120 s and the run (spec 01 §3.1). Zero stays what it was.
pub fn workflow_timeouts(
    execution: &mut Option<Duration>,
    run: &mut Option<Duration>,
    task: &mut Option<Duration>,
    limits: &Limits,
) -> Result<(), InvalidTimeout> {
    let read = |field, value: &Option<Duration>| Span::from_api(value.as_ref()).map_err(|why| InvalidTimeout { field, why });
    let execution_span = read("WorkflowExecutionTimeout", execution)?;
    let run_span = read("WorkflowRunTimeout", run)?;
    let task_span = read("WorkflowTaskTimeout", task)?;
    if !execution_span.is_zero() {
        *execution = Some(execution_span.to_api());
    }
    let run_span = min_set(run_span, execution_span);
    if !run_span.is_zero() {
        *run = Some(run_span.to_api());
    }
    let task_span = task_span.some().unwrap_or(limits.task_timeout_default).min(limits.task_timeout_max);
    *task = Some(min_set(task_span, run_span).to_api());
    Ok(())
}

/// The shorter of two timeouts, of which either may be unset (zero).
fn min_set(a: Span, b: Span) -> Span {
    match (a.some(), b.some()) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b).unwrap_or_default(),
    }
}

/// Checks an activity to be scheduled and brings it to the form its Scheduled event shows (spec 03 §2).
///
/// `default_queue` is the workflow's, for a queue without a name (without any queue the command is refused);
/// `run_timeout` zero means none.
pub fn activity(
    a: &mut ScheduleActivityTaskCommandAttributes,
    default_queue: &str,
    run_timeout: Span,
    limits: &Limits,
) -> Result<(), String> {
    if a.task_queue.is_none() {
        return Err("taskQueue is not set".into());
    }
    task_queue(&mut a.task_queue, Some(default_queue), limits)?;
    let id = a.activity_id.as_str();
    let activity_type = a.activity_type.as_ref().map_or("", |t| &t.name);
    if id.is_empty() {
        return Err("activityId is not set".into());
    }
    if activity_type.is_empty() {
        return Err("activityType is not set".into());
    }
    retry_policy(a.retry_policy.get_or_insert_default())?;
    let limit = limits.id_length_max;
    for (name, value) in [("activityId", id), ("activityType", activity_type)] {
        if value.len() > limit {
            return Err(format!("{name} exceeds length limit. Length={} Limit={limit}", value.len()));
        }
    }
    priority(a.priority.as_ref()).map_err(|e| format!("invalid priorities: {e}"))?;

    let read = |name: &str, value: &Option<Duration>| Span::from_api(value.as_ref()).map_err(|e| format!("invalid {name}: {e}"));
    let mut schedule_to_close = read("ScheduleToCloseTimeout", &a.schedule_to_close_timeout)?;
    let mut schedule_to_start = read("ScheduleToStartTimeout", &a.schedule_to_start_timeout)?;
    let mut start_to_close = read("StartToCloseTimeout", &a.start_to_close_timeout)?;
    let mut heartbeat = read("HeartbeatTimeout", &a.heartbeat_timeout)?;
    if !schedule_to_close.is_zero() {
        schedule_to_start = min_set(schedule_to_start, schedule_to_close);
        start_to_close = min_set(start_to_close, schedule_to_close);
    } else if !start_to_close.is_zero() {
        schedule_to_close = run_timeout;
        schedule_to_start = schedule_to_start.some().unwrap_or(run_timeout);
    } else {
        return Err(format!(
            "a valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. ActivityId={id} ActivityType={activity_type}"
        ));
    }
    if !run_timeout.is_zero() {
        for timeout in [&mut schedule_to_close, &mut schedule_to_start, &mut start_to_close, &mut heartbeat] {
            *timeout = (*timeout).min(run_timeout);
        }
    }
    heartbeat = heartbeat.min(start_to_close);
    a.schedule_to_close_timeout = Some(schedule_to_close.to_api());
    a.schedule_to_start_timeout = Some(schedule_to_start.to_api());
    a.start_to_close_timeout = Some(start_to_close.to_api());
    a.heartbeat_timeout = Some(heartbeat.to_api());
    Ok(())
}

/// Priority of a child: each unset field is the parent's (spec 05 §5).
pub fn merge_priority(parent: Option<&Priority>, own: Option<&Priority>) -> Option<Priority> {
    let (Some(parent), Some(own)) = (parent, own) else { return own.or(parent).cloned() };
    Some(Priority {
        priority_key: if own.priority_key != 0 { own.priority_key } else { parent.priority_key },
        fairness_key: if own.fairness_key.is_empty() { parent.fairness_key.clone() } else { own.fairness_key.clone() },
        fairness_weight: if own.fairness_weight != 0.0 { own.fairness_weight } else { parent.fairness_weight },
    })
}

/// Brings the three timeouts of a start to their normal form.
fn start_timeouts(request: &mut StartWorkflowExecutionRequest, limits: &Limits) -> Result<(), Refusal> {
    workflow_timeouts(
        &mut request.workflow_execution_timeout,
        &mut request.workflow_run_timeout,
        &mut request.workflow_task_timeout,
        limits,
    )
    .map_err(|e| Refusal::InvalidArgument(format!("An invalid {}Seconds is set on request. cause: {}", e.field, e.why)))
}

fn start_delay(request: &StartWorkflowExecutionRequest) -> Result<(), Refusal> {
    let delay = &request.workflow_start_delay;
    if delay.is_some() && !request.cron_schedule.is_empty() {
        return Err(Refusal::invalid("CronSchedule and WorkflowStartDelay may not be used together."));
    }
    Span::from_api(delay.as_ref())
        .map(|_| ())
        .map_err(|e| Refusal::InvalidArgument(format!("An invalid WorkflowStartDelaySeconds is set on request. cause: {e}")))
}

#[expect(deprecated, reason = "TERMINATE_IF_RUNNING is what old clients send")]
fn id_policies(request: &StartWorkflowExecutionRequest) -> Result<(), Refusal> {
    match (request.workflow_id_reuse_policy(), request.workflow_id_conflict_policy()) {
        (WorkflowIdReusePolicy::TerminateIfRunning, _) => Err(Refusal::invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIDConflictPolicy",
        )),
        (WorkflowIdReusePolicy::RejectDuplicate, WorkflowIdConflictPolicy::TerminateExisting) => Err(Refusal::invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        )),
        _ => Ok(()),
    }
}

/// What tests of checks and commands apply things with.
#[cfg(test)]
pub(crate) mod fakes {
    use crate::{
        IdSource, Span, Timestamp,
        cron::{CronTable, InvalidCron},
        nexus::EndpointTable,
    };
    use alloc::string::String;

    /// Ids that count up.
    pub(crate) struct Ids(pub(crate) u8);

    impl IdSource for Ids {
        fn random(&mut self) -> [u8; 16] {
            self.0 += 1;
            [self.0; 16]
        }
    }

    /// One endpoint, `endpoint`.
    pub(crate) struct Endpoints;

    impl EndpointTable for Endpoints {
        fn id_of(&self, name: &str) -> Option<String> {
            (name == "endpoint").then(|| "endpoint-id".into())
        }
    }

    /// `hourly` fires every hour, `never` parses and does not fire, nothing else parses.
    pub(crate) struct Cron;

    impl CronTable for Cron {
        fn next(&self, spec: &str, after: Timestamp) -> Result<Option<Timestamp>, InvalidCron> {
            match spec {
                "hourly" => Ok(Some(after + Span::seconds(3600))),
                "never" => Ok(None),
                _ => Err(InvalidCron),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec};

    use sempre_api::v1::{
        common::{ActivityType, Callback, Link, Payload, SearchAttributes, WorkflowType, link},
        workflow::OnConflictOptions,
    };

    use super::*;
    use crate::{NamespaceId, input::NamespaceView};

    const NEGATIVE: Duration = Duration { seconds: -1, nanos: 0 };

    fn request() -> StartWorkflowExecutionRequest {
        StartWorkflowExecutionRequest {
            workflow_id: "w".into(),
            workflow_type: Some(WorkflowType { name: "T".into() }),
            task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
            request_id: "r".into(),
            ..Default::default()
        }
    }

    fn checked(mut request: StartWorkflowExecutionRequest) -> Result<StartWorkflowExecutionRequest, Refusal> {
        let namespace = NamespaceView {
            id: NamespaceId::default(),
            name: "default".into(),
            retention: Span::seconds(1),
            search_attributes: BTreeMap::new(),
            deployments: Default::default(),
            flow: crate::flow::rule::no_rules(),
            rules: crate::rules::no_rules(),
            search_attribute_names: Default::default(),
            bad_binaries: Default::default(),
        };
        let limits = Limits::default();
        let mut ids = fakes::Ids(0);
        let mut cx = Context {
            now: Timestamp(0),
            ids: &mut ids,
            limits: &limits,
            cron: &fakes::Cron,
            endpoints: &fakes::Endpoints,
            ranks: &crate::transition::NoRanks,
            gate: &crate::flow::NoGate,
            namespace: &namespace,
        };
        start(&mut request, &mut cx).map(|()| request)
    }

    fn text(change: impl FnOnce(&mut StartWorkflowExecutionRequest)) -> String {
        let mut request = request();
        change(&mut request);
        match checked(request) {
            Ok(_) => String::new(),
            Err(Refusal::InvalidArgument(text)) => text,
            Err(other) => format!("{other:?}"),
        }
    }

    fn seconds(s: i64) -> Option<Duration> {
        Some(Span::seconds(s).to_api())
    }

    #[test]
    fn a_plain_start_gets_its_defaults() {
        let mut plain = request();
        plain.request_id = String::new();
        let got = checked(plain).expect("valid");
        assert_eq!(got.workflow_id_conflict_policy(), WorkflowIdConflictPolicy::Fail);
        assert_eq!(got.workflow_id_reuse_policy(), WorkflowIdReusePolicy::AllowDuplicate);
        assert_eq!(got.task_queue.expect("queue").kind, TaskQueueKind::Normal as i32);
        assert_eq!(got.request_id.len(), 36);
        assert_eq!(got.workflow_task_timeout, seconds(10));
        assert_eq!((got.workflow_run_timeout, got.workflow_execution_timeout, got.retry_policy), (None, None, None));
    }

    #[test]
    #[expect(deprecated, reason = "TERMINATE_IF_RUNNING is what old clients send")]
    fn id_policies_are_combined() {
        let old = WorkflowIdReusePolicy::TerminateIfRunning;
        let got = checked(StartWorkflowExecutionRequest { workflow_id_reuse_policy: old as i32, ..request() }).expect("valid");
        assert_eq!(got.workflow_id_conflict_policy(), WorkflowIdConflictPolicy::TerminateExisting);
        assert_eq!(got.workflow_id_reuse_policy(), WorkflowIdReusePolicy::AllowDuplicate);
        let both = text(|r| {
            r.set_workflow_id_reuse_policy(old);
            r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        });
        assert!(both.contains("TERMINATE_IF_RUNNING cannot be used together"), "{both}");
        let reject = text(|r| {
            r.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate);
            r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting);
        });
        assert!(reject.contains("REJECT_DUPLICATE cannot be used together"), "{reject}");
    }

    #[test]
    fn texts_of_refused_starts() {
        let long = "x".repeat(1001);
        assert_eq!(text(|_| ()), "");
        assert_eq!(text(|r| r.workflow_id.clear()), "WorkflowId is not set on request.");
        assert_eq!(text(|r| r.workflow_id = long.clone()), "WorkflowId length exceeds limit.");
        assert_eq!(
            text(|r| r.retry_policy = Some(RetryPolicy { backoff_coefficient: 0.5, ..Default::default() })),
            "BackoffCoefficient cannot be less than 1 on retry policy."
        );
        assert_eq!(
            text(|r| {
                r.workflow_start_delay = seconds(1);
                r.cron_schedule = "hourly".into();
            }),
            "CronSchedule and WorkflowStartDelay may not be used together."
        );
        assert!(text(|r| r.workflow_start_delay = Some(NEGATIVE)).ends_with("cause: negative duration"));
        assert_eq!(text(|r| r.cron_schedule = "hourly".into()), "");
        assert_eq!(text(|r| r.cron_schedule = "x".into()), "invalid CronSchedule.");
        assert_eq!(text(|r| r.cron_schedule = "never".into()), "invalid CronSchedule, no time can be found to satisfy the schedule");
        assert_eq!(text(|r| r.workflow_type = None), "WorkflowType is not set on request.");
        assert_eq!(text(|r| r.workflow_type = Some(WorkflowType { name: long.clone() })), "WorkflowType length exceeds limit.");
        assert_eq!(text(|r| r.task_queue = None), "taskQueue is not set");
        let queue = |name: &str| Some(TaskQueue { name: name.into(), ..Default::default() });
        assert_eq!(text(|r| r.task_queue = queue("")), "missing task queue name");
        assert_eq!(text(|r| r.task_queue = queue(&long)), "taskQueue length exceeds limit");
        assert_eq!(text(|r| r.task_queue = queue("/_sys/q/1")), "task queue name cannot start with reserved prefix /_sys/");
        assert!(text(|r| r.workflow_run_timeout = Some(NEGATIVE)).contains("WorkflowRunTimeout"));
        assert_eq!(text(|r| r.request_id = long.clone()), "RequestId length exceeds limit.");
        assert_eq!(text(|r| r.identity = long.clone()), "Identity length exceeds limit.");
        let options = OnConflictOptions { attach_completion_callbacks: true, ..Default::default() };
        assert!(text(|r| r.on_conflict_options = Some(options)).starts_with("attaching request ID is required"));
        let payload = |bytes: usize| Payload { data: vec![b'x'; bytes].into(), ..Default::default() };
        let payloads = |bytes: usize| Some(Payloads { payloads: vec![payload(bytes)] });
        assert_eq!(text(|r| r.input = payloads(2 << 20)), "Blob data size exceeds limit.");
        assert_eq!(text(|r| r.input = payloads((2 << 20) - 100)), "");
        let fields: BTreeMap<_, _> = [("k".to_string(), payload(2 << 20))].into();
        assert_eq!(text(|r| r.memo = Some(Memo { fields })), "Memo size exceeds limit.");
        let indexed_fields: BTreeMap<_, _> = (0..101).map(|n| (n.to_string(), payload(1))).collect();
        assert_eq!(
            text(|r| r.search_attributes = Some(SearchAttributes { indexed_fields })),
            "number of search attributes 101 exceeds limit 100"
        );
        let indexed_fields: BTreeMap<_, _> = [("k".to_string(), payload(2049))].into();
        assert_eq!(
            text(|r| r.search_attributes = Some(SearchAttributes { indexed_fields })),
            "search attribute k value size 2049 exceeds size limit 2048"
        );
        let indexed_fields: BTreeMap<_, _> = (0..30).map(|n| (n.to_string(), payload(2000))).collect();
        assert!(text(|r| r.search_attributes = Some(SearchAttributes { indexed_fields })).starts_with("total size of search attributes"));
        let metadata = |bytes| Some(UserMetadata { summary: Some(payload(bytes)), details: None });
        assert_eq!(text(|r| r.user_metadata = metadata(500)), "user_metadata.summary exceeds size limit. Length=503 Limit=400");
        let key = |priority_key| Some(Priority { priority_key, ..Default::default() });
        assert_eq!(text(|r| r.priority = key(-1)), "priority key can't be negative");
        let fairness = |fairness_key: &str| Some(Priority { fairness_key: fairness_key.into(), ..Default::default() });
        assert_eq!(text(|r| r.priority = fairness(&long)), "fairness key length exceeds limit");
        let weight = Some(Priority { fairness_weight: -1.0, ..Default::default() });
        assert_eq!(text(|r| r.priority = weight), "must be greater than zero");
        assert_eq!(text(|r| r.links = vec![Link::default(); 11]), "cannot attach more than 10 links per request, got 11");
        let link =
            Link { variant: Some(link::Variant::WorkflowEvent(link::WorkflowEvent { namespace: "n".repeat(4000), ..Default::default() })) };
        assert!(text(|r| r.links = vec![link]).starts_with("link exceeds allowed size of 4000, got 40"));
    }

    #[test]
    fn what_is_not_built_is_unimplemented() {
        let cases: [fn(&mut StartWorkflowExecutionRequest); 2] =
            [|r| r.completion_callbacks = vec![Callback::default()], |r| r.time_skipping_config = Some(Default::default())];
        for change in cases {
            let mut request = request();
            change(&mut request);
            assert!(matches!(checked(request), Err(Refusal::Unimplemented(_))));
        }
        let mut skipping = request();
        skipping.time_skipping_config = Some(Default::default());
        assert_eq!(checked(skipping), Err(Refusal::Unimplemented(time_skipping::DISABLED.into())));
    }

    #[test]
    fn timeouts_of_a_workflow() {
        // (execution, run, task) → (run, task); 0 = unset.
        let cases = [
            ((0, 0, 0), (0, 10)),
            ((60, 0, 0), (60, 10)),
            ((60, 90, 0), (60, 10)),
            ((90, 60, 0), (60, 10)),
            ((0, 5, 0), (5, 5)),
            ((3, 5, 4), (3, 3)),
            ((0, 0, 500), (0, 120)),
            ((0, 0, 7), (0, 7)),
        ];
        for ((execution, run, task), expected) in cases {
            let span = |s: i64| (s != 0).then(|| Span::seconds(s).to_api());
            let (mut r, mut t) = (span(run), span(task));
            workflow_timeouts(&mut span(execution), &mut r, &mut t, &Limits::default()).expect("valid");
            assert_eq!((r, t), (span(expected.0), span(expected.1)), "{execution} {run} {task}");
        }
        let got = workflow_timeouts(&mut None, &mut None, &mut Some(NEGATIVE), &Limits::default());
        assert_eq!(got, Err(InvalidTimeout { field: "WorkflowTaskTimeout", why: InvalidSpan::Negative }));
        let (mut execution, mut run, mut task) = (Some(Duration { seconds: i64::MAX, nanos: 0 }), None, None);
        workflow_timeouts(&mut execution, &mut run, &mut task, &Limits::default()).expect("valid");
        let century = Some(Span::MAX.to_api());
        assert_eq!((execution, run), (century, century), "a century at most");
    }

    fn an_activity(s2c: i64, s2s: i64, stc: i64, heartbeat: i64) -> ScheduleActivityTaskCommandAttributes {
        ScheduleActivityTaskCommandAttributes {
            activity_id: "a".into(),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: Some(TaskQueue::default()),
            schedule_to_close_timeout: seconds(s2c),
            schedule_to_start_timeout: seconds(s2s),
            start_to_close_timeout: seconds(stc),
            heartbeat_timeout: seconds(heartbeat),
            ..Default::default()
        }
    }

    #[test]
    fn timeouts_of_an_activity() {
        // run, (schedule-to-close, schedule-to-start, start-to-close, heartbeat) → the same four.
        let cases = [
            (0, (9, 0, 0, 0), (9, 9, 9, 0)),
            (0, (9, 3, 12, 10), (9, 3, 9, 9)),
            (0, (9, 20, 4, 5), (9, 9, 4, 4)),
            (0, (0, 0, 4, 0), (0, 0, 4, 0)),
            (30, (0, 0, 4, 1), (30, 30, 4, 1)),
            (30, (0, 50, 40, 35), (30, 30, 30, 30)),
            (30, (100, 0, 0, 0), (30, 30, 30, 0)),
        ];
        for (run, given, expected) in cases {
            let mut a = an_activity(given.0, given.1, given.2, given.3);
            activity(&mut a, "q", Span::seconds(run), &Limits::default()).expect("valid");
            let e = an_activity(expected.0, expected.1, expected.2, expected.3);
            assert_eq!(a.schedule_to_close_timeout, e.schedule_to_close_timeout, "{run} {given:?}");
            assert_eq!(a.schedule_to_start_timeout, e.schedule_to_start_timeout, "{run} {given:?}");
            assert_eq!(a.start_to_close_timeout, e.start_to_close_timeout, "{run} {given:?}");
            assert_eq!(a.heartbeat_timeout, e.heartbeat_timeout, "{run} {given:?}");
            assert_eq!(a.task_queue.expect("queue").name, "q");
            assert_eq!(a.retry_policy.expect("policy").maximum_interval, seconds(100));
        }
    }

    #[test]
    fn texts_of_refused_activities() {
        type Change = fn(&mut ScheduleActivityTaskCommandAttributes);
        let cases: [(Change, &str); 12] = [
            (|a| a.task_queue = Some(TaskQueue { name: "x".repeat(1001), ..Default::default() }), "taskQueue length exceeds limit"),
            (|a| a.activity_id.clear(), "activityId is not set"),
            (|a| a.activity_type = None, "activityType is not set"),
            (
                |a| a.retry_policy = Some(RetryPolicy { maximum_attempts: -1, ..Default::default() }),
                "MaximumAttempts cannot be negative on retry policy.",
            ),
            (|a| a.activity_id = "x".repeat(1001), "activityId exceeds length limit. Length=1001 Limit=1000"),
            (
                |a| a.activity_type = Some(ActivityType { name: "x".repeat(1001) }),
                "activityType exceeds length limit. Length=1001 Limit=1000",
            ),
            (
                |a| a.priority = Some(Priority { priority_key: -1, ..Default::default() }),
                "invalid priorities: priority key can't be negative",
            ),
            (|a| a.schedule_to_close_timeout = Some(NEGATIVE), "invalid ScheduleToCloseTimeout: negative duration"),
            (|a| a.schedule_to_start_timeout = Some(NEGATIVE), "invalid ScheduleToStartTimeout: negative duration"),
            (|a| a.start_to_close_timeout = Some(NEGATIVE), "invalid StartToCloseTimeout: negative duration"),
            (|a| a.heartbeat_timeout = Some(NEGATIVE), "invalid HeartbeatTimeout: negative duration"),
            (
                |a| a.start_to_close_timeout = None,
                "a valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand. ActivityId=a ActivityType=A",
            ),
        ];
        for (change, text) in cases {
            let mut a = an_activity(0, 0, 5, 0);
            change(&mut a);
            assert_eq!(activity(&mut a, "q", Span::ZERO, &Limits::default()).err().as_deref(), Some(text));
        }
    }

    #[test]
    fn texts_of_refused_signals() {
        let limits = Limits::default();
        let long = "x".repeat(1001);
        let text = |name: &str, request: &str, identity: &str| signal(name, request, identity, None, &limits).err();
        assert_eq!(text("s", "", ""), None);
        assert_eq!(text("", "", ""), Some(Refusal::invalid("SignalName is not set on request.")));
        assert_eq!(text(&long, "", ""), Some(Refusal::invalid("SignalName length exceeds limit.")));
        assert_eq!(text("s", &long, ""), Some(Refusal::invalid("RequestId length exceeds limit.")));
        assert_eq!(text("s", "", &long), Some(Refusal::invalid("Identity length exceeds limit.")));
    }

    #[test]
    fn priorities_merge_field_by_field() {
        let p = |priority_key, key: &str, fairness_weight| Priority { priority_key, fairness_key: key.into(), fairness_weight };
        assert_eq!(merge_priority(None, None), None);
        assert_eq!(merge_priority(Some(&p(1, "a", 2.0)), None), Some(p(1, "a", 2.0)));
        assert_eq!(merge_priority(None, Some(&p(1, "a", 2.0))), Some(p(1, "a", 2.0)));
        assert_eq!(merge_priority(Some(&p(1, "a", 2.0)), Some(&p(0, "b", 0.0))), Some(p(1, "b", 2.0)));
        assert_eq!(merge_priority(Some(&p(1, "a", 2.0)), Some(&p(4, "", 3.0))), Some(p(4, "a", 3.0)));
    }
}

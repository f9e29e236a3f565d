//! StartActivityExecution: checks, id policies, the first two events (spec 03 §12.1).

use alloc::{boxed::Box, collections::BTreeMap, format};

use sempre_api::v1::{
    command::ScheduleActivityTaskCommandAttributes,
    common::{Link, WorkflowType, link},
    enums::{ActivityIdConflictPolicy, ActivityIdReusePolicy},
    history::{ActivityTaskScheduledEventAttributes, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
    workflowservice::{StartActivityExecutionRequest, StartActivityExecutionResponse},
};

use super::{Standalone, activity_id};
use crate::{
    Context, Execution, Refusal, RunId, RunKey, Span, StartOutcome, Transition, WorkflowKey, activity,
    alone::{
        self,
        start::{First, Found, Reuse, StartRequest},
    },
    attach::Attached,
    state::{derived::search_of_start, progress::ProgressMain},
    step::Step,
    transition::{CurrentRecord, Reply},
    validate,
};

/// The id is taken.
const ALREADY_STARTED: &str = "activity execution already started";
/// Input over the limit.
const INPUT_TOO_LARGE: &str = "input exceeds length limit";
/// Callbacks are off, as they are by default on the reference server.
const NO_CALLBACKS: &str = "completion callbacks of activities are not enabled";

/// Starts an activity, or says why not. `current` is the record of the id's last run, `open` that run if it has not ended.
pub fn start(
    current: Option<&CurrentRecord>,
    open: Option<&mut Execution>,
    key: &WorkflowKey,
    mut request: StartActivityExecutionRequest,
    cx: &mut Context<'_>,
) -> Result<StartOutcome, Refusal> {
    let delay = check(&mut request, cx)?;
    let request = match alone::start::find(current, open, request, cx)? {
        Found::Run(run, existing) => {
            return Ok(StartOutcome { existing: existing.map(|attached| *attached), ..answer(key, run, false, cx) });
        }
        Found::Nothing(request) => request,
    };
    let run = cx.ids.run_id(cx.now);
    let outcome = answer(key, run, true, cx);
    let created = create(RunKey { workflow: key.clone(), run }, request, delay, cx);
    Ok(StartOutcome { created: Some(Box::new(created)), ..outcome })
}

impl StartRequest for StartActivityExecutionRequest {
    fn request_id(&self) -> &str {
        &self.request_id
    }

    fn shares_open(&self) -> bool {
        self.id_conflict_policy() == ActivityIdConflictPolicy::UseExisting
    }

    fn reuse(&self) -> Reuse {
        match self.id_reuse_policy() {
            ActivityIdReusePolicy::RejectDuplicate => Reuse::Never,
            ActivityIdReusePolicy::AllowDuplicateFailedOnly => Reuse::AfterFailure,
            ActivityIdReusePolicy::AllowDuplicate | ActivityIdReusePolicy::Unspecified => Reuse::Always,
        }
    }

    fn attached(self) -> Option<Attached> {
        Attached::to_activity(self)
    }

    fn taken_by(current: &CurrentRecord) -> Refusal {
        Refusal::ActivityAlreadyStarted {
            message: ALREADY_STARTED.into(),
            start_request_id: current.start_request_id.clone(),
            run_id: format!("{}", current.run()),
        }
    }
}

fn answer(key: &WorkflowKey, run: RunId, started: bool, cx: &Context<'_>) -> StartOutcome {
    let run_id = format!("{run}");
    let activity = link::Activity {
        namespace: cx.namespace.name.clone(),
        activity_id: activity_id(key).unwrap_or_default().into(),
        run_id: run_id.clone(),
    };
    let link = Some(Link { variant: Some(link::Variant::Activity(activity)) });
    let response = StartActivityExecutionResponse { run_id, started, link };
    StartOutcome { reply: Ok(Reply::ActivityStarted(Box::new(response))), existing: None, created: None }
}

/// Checks a request and brings it to its normal form. Returns the start delay.
fn check(request: &mut StartActivityExecutionRequest, cx: &mut Context<'_>) -> Result<Span, Refusal> {
    let limits = cx.limits;
    let mut options = ScheduleActivityTaskCommandAttributes {
        activity_id: request.activity_id.clone(),
        activity_type: request.activity_type.clone(),
        task_queue: request.task_queue.take(),
        schedule_to_close_timeout: request.schedule_to_close_timeout,
        schedule_to_start_timeout: request.schedule_to_start_timeout,
        start_to_close_timeout: request.start_to_close_timeout,
        heartbeat_timeout: request.heartbeat_timeout,
        retry_policy: request.retry_policy.take(),
        priority: request.priority.clone(),
        ..Default::default()
    };
    validate::activity(&mut options, "", Span::ZERO, limits).map_err(Refusal::InvalidArgument)?;
    request.task_queue = options.task_queue;
    request.schedule_to_close_timeout = options.schedule_to_close_timeout;
    request.schedule_to_start_timeout = options.schedule_to_start_timeout;
    request.start_to_close_timeout = options.start_to_close_timeout;
    request.heartbeat_timeout = options.heartbeat_timeout;
    request.retry_policy = options.retry_policy;
    if request.request_id.is_empty() {
        request.request_id = cx.ids.uuid();
    }
    length("request ID", &request.request_id, limits.id_length_max)?;
    length("identity", &request.identity, limits.id_length_max)?;
    if validate::blob(request.input.as_ref(), limits).is_err() {
        return Err(Refusal::invalid(INPUT_TOO_LARGE));
    }
    let delay =
        Span::from_api(request.start_delay.as_ref()).map_err(|why| Refusal::InvalidArgument(format!("invalid StartDelay: {why}")))?;
    validate::user_metadata(request.user_metadata.as_ref(), limits).map_err(Refusal::InvalidArgument)?;
    validate::search_attributes(request.search_attributes.as_ref()).map_err(Refusal::InvalidArgument)?;
    validate::search_attribute_types(request.search_attributes.as_mut(), cx.namespace, &BTreeMap::new())
        .map_err(Refusal::InvalidArgument)?;
    validate::links(&request.links)?;
    if !request.completion_callbacks.is_empty() {
        return Err(Refusal::Unimplemented(NO_CALLBACKS.into()));
    }
    if let Err(unknown) = ActivityIdReusePolicy::try_from(request.id_reuse_policy) {
        return Err(Refusal::InvalidArgument(format!("unsupported ID reuse policy: {}", unknown.0)));
    }
    if let Err(unknown) = ActivityIdConflictPolicy::try_from(request.id_conflict_policy) {
        return Err(Refusal::InvalidArgument(format!("unsupported ID conflict policy: {}", unknown.0)));
    }
    Ok(delay)
}

/// An id within the length limit, in the words that calls about these activities use.
pub fn length(name: &str, value: &str, limit: usize) -> Result<(), Refusal> {
    if value.len() <= limit {
        return Ok(());
    }
    Err(Refusal::InvalidArgument(format!("{name} exceeds length limit. Length={} Limit={limit}", value.len())))
}

fn create(key: RunKey, request: StartActivityExecutionRequest, delay: Span, cx: &mut Context<'_>) -> (Execution, Transition) {
    let started = WorkflowExecutionStartedEventAttributes {
        workflow_type: request.activity_type.as_ref().map(|kind| WorkflowType { name: kind.name.clone() }),
        task_queue: request.task_queue.clone(),
        identity: request.identity,
        first_workflow_task_backoff: delay.to_api_option(),
        search_attributes: search_of_start(request.search_attributes),
        ..Default::default()
    };
    let first = First { request_id: request.request_id, links: request.links, user_metadata: request.user_metadata, started };
    let scheduled = ActivityTaskScheduledEventAttributes {
        activity_id: request.activity_id,
        activity_type: request.activity_type,
        task_queue: request.task_queue,
        header: request.header,
        input: request.input,
        schedule_to_close_timeout: request.schedule_to_close_timeout,
        schedule_to_start_timeout: request.schedule_to_start_timeout,
        start_to_close_timeout: request.start_to_close_timeout,
        heartbeat_timeout: request.heartbeat_timeout,
        retry_policy: request.retry_policy,
        priority: request.priority,
        ..Default::default()
    };
    let own = |main: &mut ProgressMain| main.standalone = Some(Box::new(Standalone { start_delay: delay.0, ..Default::default() }));
    let schedule = |step: &mut Step<'_, '_>| {
        let id = step.event(Attributes::ActivityTaskScheduledEventAttributes(Box::new(scheduled)));
        activity::schedule_after(step, id, delay);
    };
    alone::start::create(key, first, own, schedule, cx)
}

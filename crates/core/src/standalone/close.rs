//! What ends an activity without workflow: the end of its last attempt, a cancel request before any, a termination.

use alloc::{boxed::Box, format, string::String, vec};

use sempre_api::v1::{
    activity::{ActivityExecutionOutcome, activity_execution_outcome::Value},
    common::{Payload, Payloads},
    enums::{RetryState, TimeoutType},
    failure::{CanceledFailureInfo, Failure, failure::FailureInfo},
    history::{
        ActivityTaskCancelRequestedEventAttributes, WorkflowExecutionCanceledEventAttributes, WorkflowExecutionCompletedEventAttributes,
        WorkflowExecutionFailedEventAttributes, WorkflowExecutionTimedOutEventAttributes, history_event::Attributes,
    },
};

use super::{SCHEDULED_EVENT_ID, part};
use crate::{
    Refusal, Reply, activity,
    alone::close::{terminated, was_terminated_by},
    close, retry,
    step::Step,
    visibility::json_string,
};

type Answer = Result<Result<Reply, Refusal>, Refusal>;

/// Message of the failure of a canceled activity.
const CANCELED: &str = "Activity canceled";
/// A worker that says failed and not why.
const NO_FAILURE: &str = "activity task failed without failure details";

/// RequestCancelActivityExecution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CancelActivityRun {
    /// Who asks.
    pub identity: String,
    /// Idempotency key; never empty.
    pub request_id: String,
    /// Why.
    pub reason: String,
}

/// TerminateActivityExecution.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TerminateActivityRun {
    /// Who asks.
    pub identity: String,
    /// Idempotency key; never empty.
    pub request_id: String,
    /// Why.
    pub reason: String,
}

/// Records a cancel request. An activity that no worker has is canceled by it.
pub(crate) fn cancel(step: &mut Step<'_, '_>, request: CancelActivityRun) -> Answer {
    require_open(step)?;
    let main = &step.run.state.progress.main;
    if !main.cancel_request_id.is_empty() {
        if main.cancel_request_id == request.request_id {
            return Ok(Ok(Reply::Done));
        }
        let text = format!("cancellation already requested with request ID {}", main.cancel_request_id);
        return Err(Refusal::FailedPrecondition(text));
    }
    let requested = step.event(Attributes::ActivityTaskCancelRequestedEventAttributes(ActivityTaskCancelRequestedEventAttributes {
        scheduled_event_id: SCHEDULED_EVENT_ID,
        workflow_task_completed_event_id: 0,
    }));
    let main = &mut step.run.state.progress.main;
    main.cancel_request_id = request.request_id;
    if let Some(own) = &mut main.standalone {
        own.cancel_identity = request.identity;
        own.cancel_reason.clone_from(&request.reason);
    }
    step.touch();
    let details = Payload {
        metadata: [("encoding".into(), bytes::Bytes::from_static(b"json/plain"))].into(),
        data: json_string(&request.reason).into_bytes().into(),
        ..Default::default()
    };
    activity::cancel_unless_started(step, SCHEDULED_EVENT_ID, requested, Payloads { payloads: vec![details] });
    Ok(Ok(Reply::Done))
}

/// Closes the activity now. The worker that has it hears of it with its next call.
pub(crate) fn terminate(step: &mut Step<'_, '_>, request: TerminateActivityRun) -> Answer {
    let before = part(&step.run.state).map_or("", |own| own.terminate_request_id.as_str());
    if was_terminated_by(before, &request.request_id)? {
        return Ok(Ok(Reply::Done));
    }
    require_open(step)?;
    if let Some(own) = &mut step.run.state.progress.main.standalone {
        own.terminate_request_id = request.request_id;
    }
    let (failure, event) = terminated(request.identity, request.reason);
    end(step, Value::Failure(failure), RetryState::Unspecified, event);
    Ok(Ok(Reply::Done))
}

fn require_open(step: &Step<'_, '_>) -> Result<(), Refusal> {
    if step.run.is_open() {
        return Ok(());
    }
    Err(Refusal::FailedPrecondition(format!("invalid transition from {:?}", step.run.status())))
}

/// The activity has ended as `closing` says, which in a workflow would be its closing event: that is the end of the run.
pub(crate) fn closed(step: &mut Step<'_, '_>, closing: Attributes) {
    let failed =
        |failure: Option<Failure>| Value::Failure(failure.unwrap_or_else(|| Failure { message: NO_FAILURE.into(), ..Default::default() }));
    let (value, retry_state, event) = match closing {
        Attributes::ActivityTaskCompletedEventAttributes(a) => {
            last_attempt(step, None, Some(a.identity));
            let event = WorkflowExecutionCompletedEventAttributes::default();
            (
                Value::Result(a.result.unwrap_or_default()),
                RetryState::Unspecified,
                Attributes::WorkflowExecutionCompletedEventAttributes(event),
            )
        }
        Attributes::ActivityTaskFailedEventAttributes(a) => {
            let retry_state = a.retry_state();
            last_attempt(step, a.failure.clone(), Some(a.identity));
            let event = WorkflowExecutionFailedEventAttributes { retry_state: a.retry_state, ..Default::default() };
            (failed(a.failure), retry_state, Attributes::WorkflowExecutionFailedEventAttributes(event))
        }
        Attributes::ActivityTaskTimedOutEventAttributes(mut a) => {
            let retry_state = a.retry_state();
            // Nobody asks of whose side such a failure is.
            a.failure.iter_mut().for_each(|failure| failure.source.clear());
            if let Some(own) = a.failure.as_ref().filter(|failure| is_of_attempt(failure)) {
                last_attempt(step, Some(Failure { cause: None, ..own.clone() }), None);
            }
            let event = WorkflowExecutionTimedOutEventAttributes { retry_state: a.retry_state, ..Default::default() };
            (failed(a.failure), retry_state, Attributes::WorkflowExecutionTimedOutEventAttributes(event))
        }
        Attributes::ActivityTaskCanceledEventAttributes(a) => {
            let identity = part(&step.run.state).map_or_else(String::new, |own| own.cancel_identity.clone());
            let info = CanceledFailureInfo { details: a.details, identity };
            let failure =
                Failure { message: CANCELED.into(), failure_info: Some(FailureInfo::CanceledFailureInfo(info)), ..Default::default() };
            let event = WorkflowExecutionCanceledEventAttributes::default();
            (Value::Failure(failure), RetryState::Unspecified, Attributes::WorkflowExecutionCanceledEventAttributes(event))
        }
        // No other event closes an activity.
        _ => return,
    };
    end(step, value, retry_state, event);
}

/// It is what became of one attempt, not of the activity as a whole.
fn is_of_attempt(failure: &Failure) -> bool {
    matches!(&failure.failure_info, Some(FailureInfo::TimeoutFailureInfo(info))
        if matches!(info.timeout_type(), TimeoutType::StartToClose | TimeoutType::Heartbeat))
}

/// What a description says of the attempt that was the last.
fn last_attempt(step: &mut Step<'_, '_>, failure: Option<Failure>, identity: Option<String>) {
    let (now, limit) = (step.now().0, step.cx.limits.activity_failure_max);
    activity::change(step, SCHEDULED_EVENT_ID, |progress| {
        progress.last_attempt_complete_time = now;
        if let Some(failure) = failure {
            progress.last_failure = Some(Box::new(retry::truncate_failure(failure, limit)));
        }
        if let Some(identity) = identity.filter(|identity| !identity.is_empty()) {
            progress.identity = identity;
        }
    });
}

fn end(step: &mut Step<'_, '_>, value: Value, retry_state: RetryState, event: Attributes) {
    if let Some(own) = &mut step.run.state.progress.main.standalone {
        own.outcome = Some(Box::new(ActivityExecutionOutcome { value: Some(value), retry_state: retry_state as i32 }));
    }
    close::standalone(step, event);
}

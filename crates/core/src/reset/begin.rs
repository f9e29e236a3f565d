//! How a new run goes on from the events it was given: what history does not determine is made anew.

use alloc::{
    boxed::Box,
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use sempre_api::v1::{
    enums::{RetryState, WorkflowTaskFailedCause},
    failure::{Failure, ResetWorkflowFailureInfo, failure::FailureInfo},
    history::{
        ActivityTaskFailedEventAttributes, HistoryEvent, WorkflowTaskFailedEventAttributes, WorkflowTaskStartedEventAttributes,
        history_event::Attributes,
    },
};

use super::{ResetRequest, fork::Parts};
use crate::{
    ChildStart, Refusal, activity, child, command, external,
    state::Task,
    step::Step,
    task::{self, SERVER_IDENTITY},
    transition::{ExternalCancel, ExternalSignal, OutboxMessage},
};

/// Request id of a start that no poll has made.
const NO_POLL: &str = "emptyUuid";

/// The task at the reset point has failed. Refuses a point at which none is pending.
pub(super) fn fail_task(step: &mut Step<'_, '_>, request: &ResetRequest, base_run_id: String) -> Result<(), Refusal> {
    let main = &step.run.state.derived.main;
    let mut scheduled_event_id = main.task_scheduled_event_id;
    let mut started_event_id = main.task_started_event_id;
    if scheduled_event_id == 0 && request.fork.is_some() {
        let start = &step.run.state.derived.start;
        let task = Task { queue: start.task_queue().into(), timeout: start.task_timeout().0, attempt: 1, ..Default::default() };
        let normal: String = start.task_queue().into();
        scheduled_event_id = step.event(task::scheduled_attributes(&task, &normal));
    }
    if scheduled_event_id == 0 {
        return Err(Refusal::invalid(format!(
            "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {}",
            request.finish_event_id
        )));
    }
    if started_event_id == 0 {
        let (suggest_continue_as_new, suggest_continue_as_new_reasons) = task::start::suggestion(step);
        started_event_id = step.event(Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
            scheduled_event_id,
            identity: SERVER_IDENTITY.into(),
            request_id: NO_POLL.into(),
            suggest_continue_as_new,
            suggest_continue_as_new_reasons,
            history_size_bytes: step.run.state.derived.main.history_size,
            ..Default::default()
        }));
    }
    let new_run_id = step.run.key.run.to_string();
    step.event(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
        scheduled_event_id,
        started_event_id,
        cause: WorkflowTaskFailedCause::ResetWorkflow as i32,
        failure: Some(failure(&request.reason)),
        identity: SERVER_IDENTITY.into(),
        base_run_id,
        new_run_id,
        ..Default::default()
    }));
    Ok(())
}

/// The failure that stands for a reset. History holds no heartbeats, so it carries none.
fn failure(reason: &str) -> Failure {
    Failure {
        message: reason.into(),
        failure_info: Some(FailureInfo::ResetWorkflowFailureInfo(ResetWorkflowFailureInfo::default())),
        ..Default::default()
    }
}

/// Activities that history has as started have failed; the others are offered anew with their full timeouts.
pub(super) fn take_over_activities(step: &mut Step<'_, '_>, reason: &str, parts: &Parts) {
    let pending: Vec<(i64, i64)> = step.run.state.derived.activities.iter().map(|(id, info)| (*id, info.started_event_id)).collect();
    let now = step.now();
    for (scheduled_event_id, started_event_id) in pending {
        if started_event_id == 0 {
            activity::take_over(step, scheduled_event_id, now);
            continue;
        }
        step.buffer(Attributes::ActivityTaskFailedEventAttributes(ActivityTaskFailedEventAttributes {
            failure: Some(failure(reason)),
            scheduled_event_id,
            started_event_id,
            identity: parts.activity_identities.get(&scheduled_event_id).cloned().unwrap_or_default(),
            retry_state: RetryState::NonRetryableFailure as i32,
            ..Default::default()
        }));
    }
}

/// Asks other runs again for what was not answered up to here, by the request ids of the runs that asked first. A child whose
/// start is known is asked for its end: the news of that may have come to a run that was closed.
pub(super) fn ask_again(step: &mut Step<'_, '_>, requests: BTreeMap<i64, HistoryEvent>) {
    for (id, event) in requests {
        let Some(writer) = step.run.state.progress.reset.as_ref().and_then(|reset| reset.writer_of(id)).map(String::from) else {
            continue;
        };
        match event.attributes {
            Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)) => {
                match child::start_of(&step.run.state, id) {
                    ChildStart::Over => continue,
                    ChildStart::Known => {
                        child::ask_for_end(step, id);
                        continue;
                    }
                    ChildStart::Awaited | ChildStart::ResetTo(_) => {}
                }
                let mut start = command::start_child_again(step, id, *a);
                start.request.user_metadata = event.user_metadata;
                start.request.request_id = child::request_id(&writer, id);
                step.message(OutboxMessage::StartChild(Box::new(start)));
            }
            Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(a)) => {
                let target = a.workflow_execution.unwrap_or_default();
                if target.workflow_id == step.run.key.workflow.workflow_id {
                    continue;
                }
                let parent = a.child_workflow_only.then(|| child::known_parent_of(step, &target.workflow_id)).flatten();
                step.message(OutboxMessage::Signal(Box::new(ExternalSignal {
                    initiated_event_id: id,
                    workflow_id: target.workflow_id,
                    run_id: target.run_id,
                    child_only: a.child_workflow_only,
                    parent,
                    request_id: external::request_id(&writer, id),
                    name: a.signal_name,
                    input: a.input,
                    header: a.header,
                })));
            }
            Some(Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a)) => {
                let target = a.workflow_execution.unwrap_or_default();
                if target.workflow_id == step.run.key.workflow.workflow_id {
                    continue;
                }
                let parent = a.child_workflow_only.then(|| child::known_parent_of(step, &target.workflow_id)).flatten();
                step.message(OutboxMessage::Cancel(Box::new(ExternalCancel {
                    initiated_event_id: id,
                    workflow_id: target.workflow_id,
                    run_id: target.run_id,
                    child_only: a.child_workflow_only,
                    parent,
                    request_id: external::request_id(&writer, id),
                    reason: a.reason,
                })));
            }
            _ => {}
        }
    }
}

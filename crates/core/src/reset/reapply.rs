//! Events after the reset point that the new run is told again (spec 01 §12.3).

use sempre_api::v1::{
    enums::UpdateAdmittedEventOrigin,
    history::{HistoryEvent, WorkflowExecutionSignaledEventAttributes, history_event::Attributes},
    workflow::post_reset_operation::SignalWorkflow,
};

use super::Exclude;
use crate::{attach, child, input::SignalRequest, nexus, signal, step::Step, transition::UpdateStatus, update};

/// Events of this kind are applied again.
pub(super) fn is_eligible(event: &HistoryEvent, exclude: Exclude) -> bool {
    if exclude.all() {
        return false;
    }
    match &event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(_)) => !exclude.signals,
        Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(_)) => !exclude.updates,
        // Without its request it was admitted by an event of its own before.
        Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => !exclude.updates && a.accepted_request.is_some(),
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(_)) => true,
        Some(attributes) if nexus::is_news(attributes) => !exclude.nexus,
        _ => is_of_child(event),
    }
}

/// Started, not started, or ended: news of a child that its parent has initiated before.
pub(super) fn is_of_child(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            Attributes::StartChildWorkflowExecutionFailedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionStartedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionCompletedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionFailedEventAttributes(_)
                | Attributes::ChildWorkflowExecutionCanceledEventAttributes(_)
                | Attributes::ChildWorkflowExecutionTimedOutEventAttributes(_)
                | Attributes::ChildWorkflowExecutionTerminatedEventAttributes(_)
        )
    )
}

/// News of what was asked for before the event, by its number in the run: only those of the base run mean anything, and
/// none of them will come again.
pub(super) fn is_of_pending(event: &HistoryEvent) -> bool {
    is_of_child(event) || event.attributes.as_ref().is_some_and(nexus::is_news)
}

/// Tells the run of an event of an earlier run.
pub(super) fn apply(step: &mut Step<'_, '_>, event: &HistoryEvent, exclude: Exclude) {
    if !is_eligible(event, exclude) {
        return;
    }
    let attributes = match event.attributes.clone() {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) => return signaled(step, a, event),
        Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(a)) => {
            let origin = a.origin();
            return a.request.into_iter().for_each(|request| update::readmit(step, request, origin));
        }
        Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
            let origin = UpdateAdmittedEventOrigin::Reapply;
            return a.accepted_request.into_iter().for_each(|request| update::readmit(step, request, origin));
        }
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a))
            if !a.attached_completion_callbacks.is_empty() && is_attached(step, &a.attached_request_id) =>
        {
            return;
        }
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(mut a)) => {
            // What was attached to updates stays with those that the new run has and that are not over in it.
            let had = a.workflow_update_options.len();
            a.workflow_update_options.retain(|options| {
                let known = update::status(step.run, &options.update_id);
                matches!(known, Some(UpdateStatus::Admitted | UpdateStatus::Accepted))
                    && !update::is_attached(step.run, &options.update_id, &options.attached_request_id)
            });
            if had > 0 && a.workflow_update_options.is_empty() {
                return;
            }
            let attributes = Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a);
            let now = step.now();
            return step.buffer_event(HistoryEvent {
                event_time: Some(now.to_api()),
                worker_may_ignore: true,
                links: event.links.clone(),
                attributes: Some(attributes),
                ..Default::default()
            });
        }
        Some(attributes) if nexus::is_news(&attributes) => {
            if nexus::wants(&step.run.state, &attributes) {
                let event_time = Some(step.now().to_api());
                let links = event.links.clone();
                step.buffer_event(HistoryEvent { event_time, links, attributes: Some(attributes), ..Default::default() });
            }
            return;
        }
        Some(attributes) => {
            let Some(attributes) = of_child(step, attributes) else { return };
            attributes
        }
        None => return,
    };
    step.buffer(attributes);
}

/// The run is known by this request id already.
fn is_attached(step: &Step<'_, '_>, request_id: &str) -> bool {
    let state = &step.run.state;
    !request_id.is_empty()
        && (state.progress.main.start_request_id == request_id || attach::request_ids(state).iter().any(|id| id == request_id))
}

/// Once per request id: a caller without an answer may have signaled two runs of the chain, and this run is told by one of them.
fn signaled(step: &mut Step<'_, '_>, a: WorkflowExecutionSignaledEventAttributes, event: &HistoryEvent) {
    if !a.request_id.is_empty() && step.run.signal_ids.contains(&a.request_id) {
        return;
    }
    signal::record_only(
        step,
        SignalRequest {
            name: a.signal_name,
            input: a.input,
            header: a.header,
            identity: a.identity,
            request_id: a.request_id,
            links: event.links.clone(),
            ..Default::default()
        },
    );
}

/// A signal that is sent with the reset.
pub(super) fn signal_after(step: &mut Step<'_, '_>, operation: SignalWorkflow) {
    let request_id = step.cx.ids.uuid();
    signal::record_only(
        step,
        SignalRequest {
            name: operation.signal_name,
            input: operation.input,
            header: operation.header,
            request_id,
            links: operation.links,
            ..Default::default()
        },
    );
}

/// News of a child, if it was initiated before the reset point and the run does not have them yet. The id of the Started
/// event is filled in when the event is written.
fn of_child(step: &Step<'_, '_>, mut attributes: Attributes) -> Option<Attributes> {
    let initiated_event_id = match &mut attributes {
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => {
            a.workflow_task_completed_event_id = 0;
            a.initiated_event_id
        }
        Attributes::ChildWorkflowExecutionStartedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => a.initiated_event_id,
        _ => return None,
    };
    let state = &step.run.state;
    let child = child::pending(state, initiated_event_id)?;
    let starts = matches!(
        attributes,
        Attributes::ChildWorkflowExecutionStartedEventAttributes(_) | Attributes::StartChildWorkflowExecutionFailedEventAttributes(_)
    );
    // A start is told once, an end only after a start.
    (starts != child::started_run(state, child).is_some()).then_some(attributes)
}

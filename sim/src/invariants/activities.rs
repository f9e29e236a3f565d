//! Nothing is closed twice: an activity, a timer, a child, a message to another run has one closing event at most, after its own.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::v1::history::{HistoryEvent, history_event::Attributes};

use crate::ending::{Ending, name};

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        let mut closed: BTreeMap<i64, &str> = BTreeMap::new();
        let mut begun = BTreeSet::new();
        for event in &run.events {
            let whose = || format!("{} {} event {}", run.key.workflow.workflow_id, run.id, event.event_id);
            if opens(event) {
                begun.insert(event.event_id);
            }
            let Some(of) = closes(event) else { continue };
            if !begun.contains(&of) {
                found.push(format!("{}: {} of {of}, which was not begun", whose(), name(event)));
            }
            if let Some(before) = closed.insert(of, name(event)) {
                found.push(format!("{}: {} of {of}, which has had {before}", whose(), name(event)));
            }
        }
    }
    found
}

fn opens(event: &HistoryEvent) -> bool {
    matches!(
        &event.attributes,
        Some(
            Attributes::ActivityTaskScheduledEventAttributes(_)
                | Attributes::TimerStartedEventAttributes(_)
                | Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_)
        )
    )
}

/// The event that an event closes.
fn closes(event: &HistoryEvent) -> Option<i64> {
    Some(match event.attributes.as_ref()? {
        Attributes::ActivityTaskCompletedEventAttributes(a) => a.scheduled_event_id,
        Attributes::ActivityTaskFailedEventAttributes(a) => a.scheduled_event_id,
        Attributes::ActivityTaskTimedOutEventAttributes(a) => a.scheduled_event_id,
        Attributes::ActivityTaskCanceledEventAttributes(a) => a.scheduled_event_id,
        Attributes::TimerFiredEventAttributes(a) => a.started_event_id,
        Attributes::TimerCanceledEventAttributes(a) => a.started_event_id,
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => a.initiated_event_id,
        Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a) => a.initiated_event_id,
        Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => a.initiated_event_id,
        _ => return None,
    })
}

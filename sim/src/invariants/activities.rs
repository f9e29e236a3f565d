//! Nothing is closed twice: an activity, a timer, a child, a message to another run has one closing event at most, after its own;
//! and an activity's result is that of the attempt that was the last.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::v1::history::{HistoryEvent, history_event::Attributes};

use crate::{
    ending::{Ending, Run, name},
    script::text_of,
};

/// The attempt whose worker gave this result.
fn attempt_of(result: &str) -> Option<i32> {
    result.rsplit('-').nth(1)?.parse().ok()
}

/// The result of an activity is that of its last attempt: a worker that was given up has lost.
fn by_last_attempt(run: &Run) -> Vec<String> {
    let mut found = Vec::new();
    for event in &run.events {
        let Some(Attributes::ActivityTaskCompletedEventAttributes(a)) = &event.attributes else { continue };
        let started = run.events.iter().find(|event| event.event_id == a.started_event_id).and_then(|event| event.attributes.as_ref());
        let Some(Attributes::ActivityTaskStartedEventAttributes(started)) = started else { continue };
        let by = attempt_of(&text_of(a.result.as_ref()));
        if by != Some(started.attempt) {
            let whose = format!("{} {} event {}", run.key.workflow.workflow_id, run.id, event.event_id);
            found.push(format!("{whose}: the result of attempt {by:?} closes attempt {}", started.attempt));
        }
    }
    found
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        // An operator's reset counts attempts from 1 again.
        if !ending.oracle.activities_reset.contains(&run.key.workflow.workflow_id) {
            found.extend(by_last_attempt(run));
        }
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

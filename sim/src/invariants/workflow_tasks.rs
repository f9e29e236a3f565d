//! A run has one pending workflow task at most: Scheduled, Started and the end of tasks come in turn.

use sempre_api::v1::history::history_event::Attributes;

use crate::ending::Ending;

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        let mut pending: Option<(i64, Option<i64>)> = None;
        for event in &run.events {
            let whose = || format!("{} {} event {}", run.key.workflow.workflow_id, run.id, event.event_id);
            let ended = match &event.attributes {
                Some(Attributes::WorkflowTaskScheduledEventAttributes(_)) => {
                    if let Some(pending) = pending {
                        found.push(format!("{}: a task is scheduled while {pending:?} is pending", whose()));
                    }
                    pending = Some((event.event_id, None));
                    continue;
                }
                Some(Attributes::WorkflowTaskStartedEventAttributes(a)) => {
                    if pending != Some((a.scheduled_event_id, None)) {
                        found.push(format!("{}: task {} is started while {pending:?} is pending", whose(), a.scheduled_event_id));
                    }
                    pending = Some((a.scheduled_event_id, Some(event.event_id)));
                    continue;
                }
                Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => (a.scheduled_event_id, a.started_event_id),
                Some(Attributes::WorkflowTaskFailedEventAttributes(a)) => (a.scheduled_event_id, a.started_event_id),
                Some(Attributes::WorkflowTaskTimedOutEventAttributes(a)) => (a.scheduled_event_id, a.started_event_id),
                _ => continue,
            };
            let of_pending = pending.is_some_and(|(scheduled, started)| scheduled == ended.0 && started.unwrap_or(0) == ended.1);
            if !of_pending {
                found.push(format!("{}: the end of task {ended:?} while {pending:?} is pending", whose()));
            }
            pending = None;
        }
    }
    found
}

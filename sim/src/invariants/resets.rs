//! Resets: one request makes one run; that run begins with the events of its base, byte for byte, up to the point of the reset.

use std::collections::BTreeSet;

use sempre_api::v1::{enums::WorkflowTaskFailedCause, history::history_event::Attributes};

use crate::ending::{Ending, Run};

/// A reset that a history tells of.
struct Point<'a> {
    /// Its event.
    event_id: i64,
    /// Scheduled event of the task that it failed.
    scheduled: i64,
    base: &'a str,
    new: &'a str,
    reason: &'a str,
}

fn points(run: &Run) -> impl Iterator<Item = Point<'_>> {
    run.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::WorkflowTaskFailedEventAttributes(a)) if a.cause == WorkflowTaskFailedCause::ResetWorkflow as i32 => {
            let reason = a.failure.as_ref().map(|failure| &failure.message[..]).unwrap_or_default();
            let (event_id, scheduled) = (event.event_id, a.scheduled_event_id);
            Some(Point { event_id, scheduled, base: &a.base_run_id, new: &a.new_run_id, reason })
        }
        _ => None,
    })
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for reset in &ending.oracle.resets {
        let made: BTreeSet<&str> = ending
            .of_workflow(&reset.workflow)
            .flat_map(points)
            .filter(|point| point.reason == reset.marker)
            .map(|point| point.new)
            .collect();
        if made.len() > 1 {
            found.push(format!("one reset, {}, made {made:?}", reset.marker));
        }
        if reset.acknowledged && reset.run.as_ref().is_none_or(|run| !made.contains(&run[..])) {
            found.push(format!("reset {} was answered with {:?} and made {made:?}", reset.marker, reset.run));
        }
    }
    for run in &ending.runs {
        // Earlier points were copied with the events of the base.
        let Some(point) = points(run).last().filter(|point| point.new == run.id) else { continue };
        let whose = || format!("{} {} reset at event {}", run.key.workflow.workflow_id, run.id, point.event_id);
        let Some(base) = ending.run(point.base) else {
            found.push(format!("{}: its base {} is not there", whose(), point.base));
            continue;
        };
        for (copied, event) in run.events.iter().zip(&base.events).take_while(|(copied, _)| copied.event_id < point.scheduled) {
            if copied != event {
                found.push(format!("{}: event {} is not that of its base", whose(), copied.event_id));
                break;
            }
        }
    }
    found
}

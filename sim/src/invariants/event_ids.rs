//! Event ids go from 1 without a gap; a closed run has one close event, and it is the last; a row of a history lies under the id of
//! its first event.

use sempre_core::keys;

use crate::ending::{Ending, closes, events_of};

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        let whose = format!("{} {}", run.key.workflow.workflow_id, run.id);
        if let Some((n, event)) = run.events.iter().enumerate().find(|(n, event)| event.event_id != *n as i64 + 1) {
            found.push(format!("{whose} has event {} at place {}", event.event_id, n + 1));
        }
        for (ordinal, row) in ending.tables.stream(&keys::run(run.key.workflow.slot(), run.key.run), 0, usize::MAX) {
            let first = events_of(row).first().map_or(0, |event| event.event_id);
            if first != ordinal as i64 {
                found.push(format!("{whose} has a row of history under {ordinal} that begins with event {first}"));
            }
        }
        let ends = run.events.iter().filter(|event| closes(event)).count();
        let last = run.events.last().is_some_and(closes);
        if run.open && ends != 0 || !run.open && (ends != 1 || !last) {
            found.push(format!("{whose} is {} and has {ends} close events", if run.open { "open" } else { "closed" }));
        }
    }
    found
}

//! Pauses: a run is paused and goes on in turn, and no workflow task is scheduled or handed out in between.

use crate::ending::{Ending, closes, name};

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        let mut paused = false;
        for event in &run.events {
            let (name, whose) = (name(event), || format!("{} {} event {}", run.key.workflow.workflow_id, run.id, event.event_id));
            match name {
                "WORKFLOW_EXECUTION_PAUSED" | "WORKFLOW_EXECUTION_UNPAUSED" => {
                    let now = name == "WORKFLOW_EXECUTION_PAUSED";
                    if now == paused {
                        found.push(format!("{}: {name} twice", whose()));
                    }
                    paused = now;
                }
                "WORKFLOW_TASK_SCHEDULED" | "WORKFLOW_TASK_STARTED" if paused => found.push(format!("{}: {name} of a paused run", whose())),
                _ if closes(event) => paused = false,
                _ => {}
            }
        }
    }
    found
}

//! Nothing that was acknowledged is lost: it is in a history, whatever has crashed since.

use sempre_api::v1::history::history_event::Attributes;

use crate::{
    ending::{Ending, Run, holding, name},
    oracle::Asked,
};

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (request_id, start) in &ending.oracle.starts {
        let Some(run) = &start.run else { continue };
        // A call that also signals or updates may have found another run.
        let made = ending
            .run(run)
            .is_some_and(|run| !request_id.starts_with("start-") || start.signal.is_some() || run.holding(&start.marker) > 0);
        if !made {
            found.push(format!("the start {request_id} of {run}"));
        }
        if let Some(signal) = &start.signal
            && !ending.of_workflow(&start.workflow).any(|run| holds(run, signal, "WORKFLOW_EXECUTION_SIGNALED"))
        {
            found.push(format!("signal {signal} of {request_id}"));
        }
    }
    for signal in acknowledged(&ending.oracle.signals) {
        if !is_there(ending, signal, "WORKFLOW_EXECUTION_SIGNALED") {
            found.push(format!("signal {} of {} {:?}", signal.marker, signal.workflow, signal.run));
        }
    }
    for cancel in acknowledged(&ending.oracle.cancels) {
        // The request that came first gives the event; a later one is told the same.
        let mut runs = ending.of_workflow(&cancel.workflow).filter(|run| cancel.run.as_ref().is_none_or(|id| *id == run.id));
        if !runs.any(|run| run.events.iter().any(|event| name(event) == "WORKFLOW_EXECUTION_CANCEL_REQUESTED")) {
            found.push(format!("cancel {} of {} {:?}", cancel.marker, cancel.workflow, cancel.run));
        }
    }
    for end in acknowledged(&ending.oracle.terminations) {
        if !is_there(ending, end, "WORKFLOW_EXECUTION_TERMINATED") {
            found.push(format!("termination {} of {} {:?}", end.marker, end.workflow, end.run));
        }
    }
    for result in acknowledged(&ending.oracle.results) {
        if !is_there(ending, result, "ACTIVITY_TASK_COMPLETED") {
            found.push(format!("result {} of {} {:?}", result.marker, result.workflow, result.run));
        }
    }
    for completion in &ending.oracle.completions {
        let run = ending.run(&completion.run);
        let completed = run.and_then(|run| {
            run.events.iter().find(|event| match &event.attributes {
                Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => a.started_event_id == completion.started,
                _ => false,
            })
        });
        if completed.is_none() {
            found.push(format!("completion of task {} of {}", completion.started, completion.run));
        }
        for name in &completion.names {
            if run.is_none_or(|run| run.holding(name) == 0) {
                found.push(format!("command {name} of task {} of {}", completion.started, completion.run));
            }
        }
    }
    found
}

fn acknowledged(asked: &[Asked]) -> impl Iterator<Item = &Asked> {
    asked.iter().filter(|asked| asked.acknowledged)
}

fn is_there(ending: &Ending, asked: &Asked, event: &str) -> bool {
    let mut runs = ending.of_workflow(&asked.workflow).filter(|run| asked.run.as_ref().is_none_or(|id| *id == run.id));
    runs.any(|run| holds(run, &asked.marker, event))
}

/// An event of this name holds the text.
fn holds(run: &Run, text: &str, event: &str) -> bool {
    run.events.iter().any(|e| name(e) == event && holding(e, text))
}

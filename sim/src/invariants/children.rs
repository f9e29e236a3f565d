//! What a run is told of others is true: a child that it heard of has it as its parent, its end is the end of the child's chain, and
//! a signal that it was told of has arrived, and no run has it twice. One that is delivered again may find the next run of the chain, which
//! does not know what the one before it was sent (spec 04 §2.1).

use sempre_api::v1::{
    common::WorkflowExecution,
    history::{HistoryEvent, history_event::Attributes},
};

use crate::{
    ending::{Ending, Run, name},
    script::text_of,
};

/// The end of a child as its parent was told, and how the child's history must end.
fn end_of(event: &HistoryEvent) -> Option<(&WorkflowExecution, &'static str)> {
    let (execution, end) = match event.attributes.as_ref()? {
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => (&a.workflow_execution, "WORKFLOW_EXECUTION_COMPLETED"),
        Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => (&a.workflow_execution, "WORKFLOW_EXECUTION_FAILED"),
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => (&a.workflow_execution, "WORKFLOW_EXECUTION_CANCELED"),
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => (&a.workflow_execution, "WORKFLOW_EXECUTION_TIMED_OUT"),
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => (&a.workflow_execution, "WORKFLOW_EXECUTION_TERMINATED"),
        _ => return None,
    };
    Some((execution.as_ref()?, end))
}

fn first_of(run: &Run) -> &str {
    run.started().map(|started| &started.first_execution_run_id[..]).unwrap_or_default()
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        for event in &run.events {
            let whose = || format!("{} {} event {} ({})", run.key.workflow.workflow_id, run.id, event.event_id, name(event));
            if let Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(a)) = &event.attributes {
                let child = a.workflow_execution.as_ref().and_then(|child| ending.run(&child.run_id));
                let parent = child.and_then(Run::started).and_then(|started| started.parent_workflow_execution.as_ref());
                if parent.is_none_or(|parent| parent.workflow_id != run.key.workflow.workflow_id) {
                    found.push(format!("{}: the child's parent is {parent:?}", whose()));
                }
            }
            if let Some((child, end)) = end_of(event) {
                let mut chain = ending
                    .of_workflow(&child.workflow_id)
                    .filter(|other| ending.run(&child.run_id).is_some_and(|run| first_of(run) == first_of(other)));
                if !chain.any(|run| run.events.last().is_some_and(|event| name(event) == end)) {
                    found.push(format!("{}: no run of that child has ended so", whose()));
                }
            }
            if let Some(Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a)) = &event.attributes {
                let initiated = run.events.iter().find(|event| event.event_id == a.initiated_event_id);
                let Some(Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(asked)) =
                    initiated.and_then(|event| event.attributes.as_ref())
                else {
                    found.push(format!("{}: it was not asked for", whose()));
                    continue;
                };
                let (text, target) = (text_of(asked.input.as_ref()), asked.workflow_execution.clone().unwrap_or_default().workflow_id);
                let times: Vec<usize> = ending.of_workflow(&target).map(|run| signals(run, &text)).collect();
                let copied = [&target, &run.key.workflow.workflow_id].into_iter().any(|id| ending.oracle.reset.contains(id));
                if times.iter().all(|times| *times == 0) || times.iter().any(|times| *times > 1) && !copied {
                    found.push(format!("{}: {target} has the signal {text} {times:?} times", whose()));
                }
            }
        }
    }
    found
}

fn signals(run: &Run, text: &str) -> usize {
    let is = |event: &&HistoryEvent| match &event.attributes {
        Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) => text_of(a.input.as_ref()) == text,
        _ => false,
    };
    run.events.iter().filter(is).count()
}

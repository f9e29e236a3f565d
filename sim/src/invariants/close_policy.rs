//! A parent's close does to its children what their policies say: those to terminate are terminated, those to cancel are asked to
//! cancel, the others are left alone; and nothing is done before the parent has closed.
//!
//! A child that ends by itself about when its parent does may have been quicker than the news. Once nothing fails any more, news do not
//! take longer than [`NEWS`]: whoever is open so long after its parent must have had them.

use sempre_api::v1::{
    enums::ParentClosePolicy as Policy,
    history::{HistoryEvent, WorkflowExecutionStartedEventAttributes, history_event::Attributes},
};

use crate::ending::{Ending, Run, closes};

/// Longer than all tries of a message, and all work before it, take in a world where nothing fails, ns.
const NEWS: i64 = 120 * 1_000_000_000;
/// How the server says why it terminates a child.
const REASON: &str = "by parent close policy";

/// A run that somebody has as a child, and what its parent has written of it.
struct Child<'e> {
    run: &'e Run,
    start: &'e WorkflowExecutionStartedEventAttributes,
    parent: &'e Run,
    policy: Policy,
}

impl<'e> Child<'e> {
    fn of(ending: &'e Ending, run: &'e Run) -> Option<Self> {
        let start = run.started()?;
        let parent = ending.run(&start.parent_workflow_execution.as_ref()?.run_id)?;
        let initiated = parent.events.iter().find(|event| event.event_id == start.parent_initiated_event_id)?;
        let Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(asked) = initiated.attributes.as_ref()? else { return None };
        Some(Self { run, start, parent, policy: asked.parent_close_policy() })
    }

    /// The parent's close, whether or not another run of its chain follows.
    fn parent_end(&self) -> Option<&'e HistoryEvent> {
        self.parent.events.last().filter(|event| closes(event))
    }

    /// This event is what the policy does.
    fn is_news(&self, event: &HistoryEvent) -> Option<Policy> {
        match event.attributes.as_ref()? {
            Attributes::WorkflowExecutionTerminatedEventAttributes(a) if a.reason == REASON => Some(Policy::Terminate),
            // Commands of a parent name the event that asks.
            Attributes::WorkflowExecutionCancelRequestedEventAttributes(a)
                if a.external_initiated_event_id == 0
                    && a.external_workflow_execution.as_ref().is_some_and(|by| by.workflow_id == self.parent.key.workflow.workflow_id) =>
            {
                Some(Policy::RequestCancel)
            }
            _ => None,
        }
    }

    /// The parent knew of its end, or of another run as this child.
    fn is_over(&self) -> bool {
        let initiated_id = self.start.parent_initiated_event_id;
        self.parent.events.iter().any(|event| match &event.attributes {
            Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(a)) => {
                let known = a.workflow_execution.as_ref().map(|known| &known.run_id);
                a.initiated_event_id == initiated_id && known != Some(&self.start.first_execution_run_id)
            }
            Some(Attributes::StartChildWorkflowExecutionFailedEventAttributes(a)) => a.initiated_event_id == initiated_id,
            Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(a)) => a.initiated_event_id == initiated_id,
            Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(a)) => a.initiated_event_id == initiated_id,
            Some(Attributes::ChildWorkflowExecutionCanceledEventAttributes(a)) => a.initiated_event_id == initiated_id,
            Some(Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a)) => a.initiated_event_id == initiated_id,
            Some(Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a)) => a.initiated_event_id == initiated_id,
            _ => false,
        })
    }
}

fn at(event: &HistoryEvent) -> i64 {
    event.event_time.as_ref().map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos))
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for child in ending.runs.iter().filter_map(|run| Child::of(ending, run)) {
        let (id, policy) = (&child.run.id, child.policy);
        // Its parent may have been followed by the run that a reset made, which the news name as well.
        let reset = ending.oracle.reset.contains(&child.parent.key.workflow.workflow_id);
        for event in &child.run.events {
            let Some(done) = child.is_news(event) else { continue };
            if done != policy {
                found.push(format!("child {id} has the policy {policy:?}, and {done:?} was done to it"));
            }
            let closed = child.parent_end().is_some_and(|end| ending.oracle.clock_went_back || at(end) <= at(event));
            if !closed && !reset {
                found.push(format!("child {id} was treated as if its parent had closed, which had not"));
            }
        }
        let (Some(parent_end), Some(own_end)) = (child.parent_end(), child.run.events.last().filter(|event| closes(event))) else {
            continue;
        };
        let outlives_news = at(own_end) > at(parent_end).max(ending.healed_at) + NEWS;
        let copied = reset || ending.oracle.reset.contains(&child.run.key.workflow.workflow_id);
        if !outlives_news || copied || child.is_over() {
            continue;
        }
        let reached = match policy {
            Policy::Abandon => true,
            Policy::Terminate | Policy::Unspecified => child.run.events.iter().any(|event| child.is_news(event).is_some()),
            // Who was asked already is not asked again; and a chain may go on after it was.
            Policy::RequestCancel => ending
                .of_workflow(&child.run.key.workflow.workflow_id)
                .filter(|run| run.started().is_some_and(|start| start.first_execution_run_id == child.start.first_execution_run_id))
                .flat_map(|run| &run.events)
                .any(|event| matches!(event.attributes, Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(_)))),
        };
        if !reached {
            found.push(format!("child {id} with the policy {policy:?} was open long after its parent, and nothing was done to it"));
        }
    }
    found
}

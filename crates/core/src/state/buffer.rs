//! Events that wait for the started workflow task to end before they get an id (spec 01 §2.2–2.3).

use alloc::vec::Vec;

use prost::Message;
use sempre_api::v1::history::{
    HistoryEvent, history_event::Attributes, workflow_execution_options_updated_event_attributes::WorkflowUpdateOptionsUpdate,
};

use super::derived::is_linked_signal;

/// Buffered events in order of arrival; their `event_id` is 0.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buffer {
    /// The events.
    pub events: Vec<HistoryEvent>,
    /// How many of them are in the store already (rows 0..stored).
    pub stored: usize,
    /// Stored rows no longer match (an event was taken out): write all again.
    pub rewritten: bool,
}

impl Buffer {
    /// Takes all events out; the stored rows no longer match.
    pub fn take(&mut self) -> Vec<HistoryEvent> {
        self.rewritten = true;
        core::mem::take(&mut self.events)
    }

    /// Encoded bytes of all events.
    pub fn bytes(&self) -> usize {
        self.events.iter().map(Message::encoded_len).sum()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The activity's closing event is here, so it is no longer pending for anyone who asks.
    pub fn closes_activity(&self, scheduled_event_id: i64) -> bool {
        self.attributes().any(|a| match a {
            Attributes::ActivityTaskCompletedEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            Attributes::ActivityTaskFailedEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            Attributes::ActivityTaskTimedOutEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            Attributes::ActivityTaskCanceledEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            _ => false,
        })
    }

    /// The timer has fired, here.
    pub fn fires_timer(&self, started_event_id: i64) -> bool {
        self.attributes().any(|a| matches!(a, Attributes::TimerFiredEventAttributes(a) if a.started_event_id == started_event_id))
    }

    /// Removes the timer's firing; true if it was here.
    pub fn remove_timer_fired(&mut self, started_event_id: i64) -> bool {
        let before = self.events.len();
        self.events
            .retain(|e| !matches!(&e.attributes, Some(Attributes::TimerFiredEventAttributes(a)) if a.started_event_id == started_event_id));
        let removed = self.events.len() != before;
        self.rewritten |= removed;
        removed
    }

    /// First run id of the child if its Started event is here.
    pub fn child_started(&self, initiated_event_id: i64) -> Option<&str> {
        self.attributes().find_map(|a| match a {
            Attributes::ChildWorkflowExecutionStartedEventAttributes(a) if a.initiated_event_id == initiated_event_id => {
                a.workflow_execution.as_ref().map(|e| e.run_id.as_str())
            }
            _ => None,
        })
    }

    /// The child's end (or failed start) is here.
    pub fn closes_child(&self, initiated_event_id: i64) -> bool {
        self.attributes().any(|a| closed_child(a) == Some(initiated_event_id))
    }

    /// The Nexus operation's end is here.
    pub fn closes_operation(&self, scheduled_event_id: i64) -> bool {
        self.attributes().any(|a| closed_operation(a) == Some(scheduled_event_id))
    }

    /// The Nexus operation's Started event, if it is here: when (ns), and the handler's token.
    pub fn operation_started(&self, scheduled_event_id: i64) -> Option<(i64, &str)> {
        self.events.iter().find_map(|event| match &event.attributes {
            Some(Attributes::NexusOperationStartedEventAttributes(a)) if a.scheduled_event_id == scheduled_event_id => {
                let time = event.event_time.as_ref().map(crate::Timestamp::from_api).unwrap_or_default();
                Some((time.0, a.operation_token.as_str()))
            }
            _ => None,
        })
    }

    /// What a handler said to a request to cancel is here.
    pub fn answers_operation_cancel(&self, scheduled_event_id: i64) -> bool {
        self.attributes().any(|a| match a {
            Attributes::NexusOperationCancelRequestCompletedEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            Attributes::NexusOperationCancelRequestFailedEventAttributes(a) => a.scheduled_event_id == scheduled_event_id,
            _ => false,
        })
    }

    /// The result of the external request is here.
    pub fn answers_external(&self, initiated_event_id: i64) -> bool {
        self.attributes().any(|a| {
            let id = match a {
                Attributes::ExternalWorkflowExecutionSignaledEventAttributes(a) => a.initiated_event_id,
                Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
                Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => a.initiated_event_id,
                Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
                _ => return false,
            };
            id == initiated_event_id
        })
    }

    /// A cancel request of the run itself is here.
    pub fn cancel_requested(&self) -> bool {
        self.attributes().any(|a| matches!(a, Attributes::WorkflowExecutionCancelRequestedEventAttributes(_)))
    }

    /// Request ids that the events here attach to the run.
    pub fn attached_request_ids(&self) -> impl Iterator<Item = &str> {
        self.attributes().filter_map(|a| match a {
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a) if !a.attached_request_id.is_empty() => {
                Some(a.attached_request_id.as_str())
            }
            _ => None,
        })
    }

    /// Request ids of the signals here that came with links.
    pub fn linked_signals(&self) -> impl Iterator<Item = &str> {
        self.events.iter().filter_map(|event| match &event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) if is_linked_signal(event, &a.request_id) => {
                Some(a.request_id.as_str())
            }
            _ => None,
        })
    }

    /// The last pause or unpause of the run that waits here.
    pub fn pause_change(&self) -> Option<&HistoryEvent> {
        self.events.iter().rev().find(|event| {
            use Attributes::{WorkflowExecutionPausedEventAttributes as Paused, WorkflowExecutionUnpausedEventAttributes as Unpaused};
            matches!(event.attributes, Some(Paused(_) | Unpaused(_)))
        })
    }

    /// Completion callbacks that the events here attach to the run.
    pub fn attached_callbacks(&self) -> usize {
        let of = |a: &Attributes| match a {
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a) => a.attached_completion_callbacks.len(),
            _ => 0,
        };
        self.attributes().map(of).sum()
    }

    /// What the events here attach to updates.
    pub fn update_options(&self) -> impl Iterator<Item = &WorkflowUpdateOptionsUpdate> {
        self.attributes().flat_map(|a| match a {
            Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a) => a.workflow_update_options.as_slice(),
            _ => &[],
        })
    }

    /// Signals waiting here.
    pub fn signals(&self) -> usize {
        self.attributes().filter(|a| matches!(a, Attributes::WorkflowExecutionSignaledEventAttributes(_))).count()
    }

    fn attributes(&self) -> impl Iterator<Item = &Attributes> {
        self.events.iter().filter_map(|e| e.attributes.as_ref())
    }
}

fn closed_child(attributes: &Attributes) -> Option<i64> {
    Some(match attributes {
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(a) => a.initiated_event_id,
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a) => a.initiated_event_id,
        _ => return None,
    })
}

/// The Nexus operation that an event ends, by its Scheduled event.
pub(crate) fn closed_operation(attributes: &Attributes) -> Option<i64> {
    Some(match attributes {
        Attributes::NexusOperationCompletedEventAttributes(a) => a.scheduled_event_id,
        Attributes::NexusOperationFailedEventAttributes(a) => a.scheduled_event_id,
        Attributes::NexusOperationCanceledEventAttributes(a) => a.scheduled_event_id,
        Attributes::NexusOperationTimedOutEventAttributes(a) => a.scheduled_event_id,
        _ => return None,
    })
}

/// Closings of activities, children and Nexus operations come last when the buffer is flushed (spec 01 §2.3).
pub fn is_closing(attributes: &Attributes) -> bool {
    match attributes {
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(_) => false,
        Attributes::ActivityTaskCompletedEventAttributes(_)
        | Attributes::ActivityTaskFailedEventAttributes(_)
        | Attributes::ActivityTaskTimedOutEventAttributes(_)
        | Attributes::ActivityTaskCanceledEventAttributes(_) => true,
        other => closed_child(other).or_else(|| closed_operation(other)).is_some(),
    }
}

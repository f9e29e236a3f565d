//! Where a fork leaves its base, and where the workflow tasks of a history are.
//!
//! A fork names any event; the new run begins with the longest part of the history up to it that a worker can replay:
//!
//! | the event | kept |
//! |---|---|
//! | a workflow task was scheduled or started last | up to the event: that task is done again |
//! | a workflow task ended, all its commands are there | up to the event: a new task is added |
//! | in the midst of a task's commands, which cannot be parted | up to the start of that task: it is done again |
//! | the run was closed by a task's command | up to the start of that task |
//! | the run was closed otherwise | up to the event before |
//! | any, and the new run gets another input | up to the start of the first task at most: what follows came of the old input |
//!
//! What was not kept, up to the event, is told the new run again if it is of the kinds that a reset tells again (signals,
//! updates' requests, options); news of children that are kept are told in any case, for they will not come again.

use sempre_api::v1::{
    common::Payloads,
    history::{HistoryEvent, history_event::Attributes},
};

/// What makes a fork of a reset.
#[derive(Clone, Debug, PartialEq)]
pub struct ForkOrder {
    /// Events of the base run after this one, and of runs that followed it, have never been; `None`: they are told the new
    /// run again, as a reset does.
    pub until: Option<i64>,
    /// Input instead of the base run's.
    pub input: Option<Payloads>,
}

/// Finds the first event that a fork does not keep, in a base run's events, read in their order.
#[derive(Debug)]
pub struct Cut {
    /// The event named.
    wanted: i64,
    first_task_only: bool,
    cut: i64,
    /// First event after the start of the last task.
    restart: i64,
    /// A task has completed, and no other was scheduled since: what comes may be its commands.
    commands: bool,
    ended: bool,
}

impl Cut {
    /// For a fork at `event_id`; `another_input`: the new run gets one.
    pub fn new(event_id: i64, another_input: bool) -> Self {
        Self { wanted: event_id, first_task_only: another_input, cut: 0, restart: 0, commands: false, ended: false }
    }

    /// Takes the next event. False: no further one is needed.
    pub fn read(&mut self, event: &HistoryEvent) -> bool {
        let Some(attributes) = event.attributes.as_ref().filter(|_| !self.ended) else { return !self.ended };
        if event.event_id > self.wanted {
            if self.commands && is_command(attributes) {
                self.cut = self.restart;
                self.ended = true;
            }
            self.ended |= !self.commands || matches!(attributes, Attributes::WorkflowTaskScheduledEventAttributes(_));
            return !self.ended;
        }
        self.cut = event.event_id + 1;
        match attributes {
            Attributes::WorkflowTaskScheduledEventAttributes(_) => self.commands = false,
            Attributes::WorkflowTaskStartedEventAttributes(_) => {
                self.restart = event.event_id + 1;
                self.ended = self.first_task_only;
            }
            Attributes::WorkflowTaskCompletedEventAttributes(_) => self.commands = true,
            Attributes::WorkflowExecutionTerminatedEventAttributes(_) | Attributes::WorkflowExecutionTimedOutEventAttributes(_) => {
                self.cut = event.event_id;
                self.ended = true;
            }
            other if closes(other) => {
                self.cut = self.restart;
                self.ended = true;
            }
            _ => {}
        }
        !self.ended
    }

    /// The first event that is not kept. `None`: there is no event to keep.
    pub fn found(&self) -> Option<i64> {
        (self.cut > 1).then_some(self.cut)
    }
}

fn closes(attributes: &Attributes) -> bool {
    matches!(
        attributes,
        Attributes::WorkflowExecutionCompletedEventAttributes(_)
            | Attributes::WorkflowExecutionFailedEventAttributes(_)
            | Attributes::WorkflowExecutionCanceledEventAttributes(_)
            | Attributes::WorkflowExecutionContinuedAsNewEventAttributes(_)
    )
}

/// An event that a worker's command (or message) makes: with the others of its task it is all or nothing.
fn is_command(attributes: &Attributes) -> bool {
    closes(attributes)
        || matches!(
            attributes,
            Attributes::ActivityTaskScheduledEventAttributes(_)
                | Attributes::ActivityTaskCancelRequestedEventAttributes(_)
                | Attributes::TimerStartedEventAttributes(_)
                | Attributes::TimerCanceledEventAttributes(_)
                | Attributes::MarkerRecordedEventAttributes(_)
                | Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_)
                | Attributes::UpsertWorkflowSearchAttributesEventAttributes(_)
                | Attributes::WorkflowPropertiesModifiedEventAttributes(_)
                | Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(_)
                | Attributes::WorkflowExecutionUpdateRejectedEventAttributes(_)
                | Attributes::WorkflowExecutionUpdateCompletedEventAttributes(_)
                | Attributes::NexusOperationScheduledEventAttributes(_)
                | Attributes::NexusOperationCancelRequestedEventAttributes(_)
        )
}

/// The first and the last workflow task of a history, as a reset names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskEnds {
    first_completed: i64,
    last_completed: i64,
    first_scheduled: i64,
    last_scheduled: i64,
}

impl TaskEnds {
    /// Takes the next event.
    pub fn read(&mut self, event: &HistoryEvent) {
        let (first, last) = match &event.attributes {
            Some(Attributes::WorkflowTaskCompletedEventAttributes(_)) => (&mut self.first_completed, &mut self.last_completed),
            Some(Attributes::WorkflowTaskScheduledEventAttributes(_)) => (&mut self.first_scheduled, &mut self.last_scheduled),
            _ => return,
        };
        if *first == 0 {
            *first = event.event_id;
        }
        *last = event.event_id;
    }

    /// The first task's completion was seen.
    pub fn has_completed(&self) -> bool {
        self.first_completed != 0
    }

    /// The finish event of the first task: its completion, or what comes after its schedule if none was completed.
    pub fn first(&self) -> Option<i64> {
        finish(self.first_completed, self.first_scheduled)
    }

    /// As [`TaskEnds::first`], of the last task.
    pub fn last(&self) -> Option<i64> {
        finish(self.last_completed, self.last_scheduled)
    }
}

fn finish(completed: i64, scheduled: i64) -> Option<i64> {
    match (completed, scheduled) {
        (0, 0) => None,
        (0, scheduled) => Some(scheduled + 1),
        (completed, _) => Some(completed),
    }
}

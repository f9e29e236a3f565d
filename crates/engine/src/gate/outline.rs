//! What a history has done, in a few words: which part of it workers have been through, and its shape.
//!
//! The shape is the set of steps that follow one another, each by its kind and what it names (activity type, signal name,
//! patch id). A run that has been through a loop ten times has the shape of one that has been through it twice, so that a
//! few runs stand for many. Bookkeeping of workflow tasks and attempts has no part in it.

use std::{
    collections::BTreeSet,
    hash::{DefaultHasher, Hash, Hasher},
};

use sempre_api::v1::{
    enums::EventType,
    history::{HistoryEvent, history_event::Attributes},
};
use sempre_core::patch;

/// A history as far as it was read; fed with its events in order.
#[derive(Debug, Default)]
pub(crate) struct Outline {
    /// The first event that no completed workflow task has been told of or has made: 0 when none was completed.
    pub(crate) end: i64,
    /// The start of the last completed workflow task.
    pub(crate) started: i64,
    steps: BTreeSet<u64>,
    /// Steps since the last completed task.
    fresh: Vec<u64>,
    last: u64,
    /// The events of the last completed task may go on.
    in_batch: bool,
}

impl Outline {
    pub(crate) fn event(&mut self, event: &HistoryEvent) {
        if let Some(Attributes::WorkflowTaskCompletedEventAttributes(task)) = &event.attributes {
            self.end = event.event_id + 1;
            self.started = task.started_event_id;
            self.in_batch = true;
            self.steps.extend(self.fresh.drain(..));
            return;
        }
        self.in_batch &= is_made_by_task(event.event_type());
        if !is_step(event.event_type()) {
            return;
        }
        let next = hash(&(event.event_type, name(event)));
        let step = hash(&(self.last, next));
        self.last = next;
        if self.in_batch {
            self.end = event.event_id + 1;
            self.steps.insert(step);
        } else {
            self.fresh.push(step);
        }
    }

    /// Equal for histories of the same shape.
    pub(crate) fn shape(&self) -> u64 {
        hash(&self.steps)
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// A completed workflow task writes such events, and nothing else does.
fn is_made_by_task(kind: EventType) -> bool {
    matches!(
        kind,
        EventType::ActivityTaskScheduled
            | EventType::ActivityTaskCancelRequested
            | EventType::TimerStarted
            | EventType::TimerCanceled
            | EventType::MarkerRecorded
            | EventType::StartChildWorkflowExecutionInitiated
            | EventType::SignalExternalWorkflowExecutionInitiated
            | EventType::RequestCancelExternalWorkflowExecutionInitiated
            | EventType::UpsertWorkflowSearchAttributes
            | EventType::WorkflowPropertiesModified
            | EventType::NexusOperationScheduled
            | EventType::NexusOperationCancelRequested
            | EventType::WorkflowExecutionUpdateAccepted
            | EventType::WorkflowExecutionUpdateCompleted
            | EventType::WorkflowExecutionUpdateRejected
    )
}

fn is_step(kind: EventType) -> bool {
    !matches!(
        kind,
        EventType::WorkflowTaskScheduled
            | EventType::WorkflowTaskStarted
            | EventType::WorkflowTaskCompleted
            | EventType::WorkflowTaskFailed
            | EventType::WorkflowTaskTimedOut
            | EventType::ActivityTaskStarted
            | EventType::WorkflowExecutionOptionsUpdated
    )
}

/// What an event names; empty: nothing that code would tell apart.
pub(crate) fn name(event: &HistoryEvent) -> String {
    use Attributes as A;
    match event.attributes.as_ref() {
        Some(A::ActivityTaskScheduledEventAttributes(a)) => a.activity_type.as_ref().map(|kind| kind.name.clone()),
        Some(A::StartChildWorkflowExecutionInitiatedEventAttributes(a)) => a.workflow_type.as_ref().map(|kind| kind.name.clone()),
        Some(A::WorkflowExecutionSignaledEventAttributes(a)) => Some(a.signal_name.clone()),
        Some(A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a)) => Some(a.signal_name.clone()),
        Some(A::NexusOperationScheduledEventAttributes(a)) => Some(format!("{}.{}", a.service, a.operation)),
        Some(A::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
            a.accepted_request.as_ref().and_then(|request| request.input.as_ref()).map(|input| input.name.clone())
        }
        Some(A::MarkerRecordedEventAttributes(a)) => Some(match patch::of_marker(a) {
            Some(patch) => format!("{} {}", a.marker_name, patch.id),
            None => a.marker_name.clone(),
        }),
        _ => None,
    }
    .unwrap_or_default()
}

/// An event for people: `ActivityTaskScheduled charge`.
pub(crate) fn described(event: &HistoryEvent) -> String {
    let words = event.event_type().as_str_name().trim_start_matches("EVENT_TYPE_");
    let mut text = String::new();
    for word in words.split('_') {
        let (first, rest) = word.split_at(word.len().min(1));
        text.push_str(first);
        text.push_str(&rest.to_lowercase());
    }
    let name = name(event);
    if name.is_empty() { text } else { format!("{text} {name}") }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        common::ActivityType,
        history::{
            ActivityTaskScheduledEventAttributes, TimerStartedEventAttributes, WorkflowExecutionSignaledEventAttributes,
            WorkflowTaskCompletedEventAttributes,
        },
    };

    use super::*;

    /// A history in a few letters: t = a workflow task (three events), a/b = activities, d = timer, s = signal, x = the
    /// first two events of a task.
    fn outline(letters: &str) -> Outline {
        let mut outline = Outline::default();
        let mut id = 0;
        let mut tell = |kind: EventType, attributes: Option<Attributes>| {
            id += 1;
            let attributes = attributes.map(|attributes| match attributes {
                Attributes::WorkflowTaskCompletedEventAttributes(mut task) => {
                    task.started_event_id = id - 1;
                    Attributes::WorkflowTaskCompletedEventAttributes(task)
                }
                other => other,
            });
            outline.event(&HistoryEvent { event_id: id, event_type: kind as i32, attributes, ..HistoryEvent::default() });
        };
        for letter in letters.chars() {
            match letter {
                't' | 'x' => {
                    tell(EventType::WorkflowTaskScheduled, None);
                    tell(EventType::WorkflowTaskStarted, None);
                    if letter == 't' {
                        let task = WorkflowTaskCompletedEventAttributes::default();
                        tell(EventType::WorkflowTaskCompleted, Some(Attributes::WorkflowTaskCompletedEventAttributes(Box::new(task))));
                    }
                }
                'd' => {
                    let timer = TimerStartedEventAttributes::default();
                    tell(EventType::TimerStarted, Some(Attributes::TimerStartedEventAttributes(timer)));
                }
                's' => {
                    let signal = WorkflowExecutionSignaledEventAttributes { signal_name: "go".into(), ..Default::default() };
                    tell(EventType::WorkflowExecutionSignaled, Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)));
                }
                name => {
                    let activity_type = Some(ActivityType { name: name.into() });
                    let activity = ActivityTaskScheduledEventAttributes { activity_type, ..Default::default() };
                    tell(EventType::ActivityTaskScheduled, Some(Attributes::ActivityTaskScheduledEventAttributes(Box::new(activity))));
                }
            }
        }
        outline
    }

    #[test]
    fn what_no_completed_task_has_seen_is_not_replayed() {
        let seen = |letters| {
            let outline = outline(letters);
            (outline.started, outline.end)
        };
        assert_eq!(seen("x"), (0, 0), "nothing was completed");
        assert_eq!(seen("tad"), (2, 6));
        assert_eq!(seen("tads"), (2, 6), "a signal that nobody was told of");
        assert_eq!(seen("tadsx"), (2, 6), "a task under way");
        assert_eq!(seen("tsxxt"), (10, 12), "tasks that failed before one that did not");
        assert_eq!(seen("tadst"), (8, 10));
    }

    #[test]
    fn loops_have_one_shape_and_other_steps_another() {
        let shape = |letters| outline(letters).shape();
        assert_eq!(shape("tastasta"), shape("tastastastastasta"));
        assert_eq!(shape("ta"), shape("tas"), "what is not replayed has no part in it");
        assert_ne!(shape("ta"), shape("tast"));
        assert_ne!(shape("ta"), shape("tb"));
        assert_ne!(shape("tab"), shape("tba"));
        assert_ne!(shape("ta"), shape("td"));
    }
}

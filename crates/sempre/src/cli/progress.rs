//! Events of a run in plain words, those that matter to the one who watches.

use std::collections::BTreeMap;

use sempre_api::v1::history::{HistoryEvent, history_event::Attributes};
use sempre_core::Timestamp;

use super::{history, output::Hue};

/// What earlier events called things that later ones name by number.
#[derive(Default)]
pub(crate) struct Story {
    /// Names by the event that scheduled or initiated them.
    names: BTreeMap<i64, String>,
}

impl Story {
    /// The event as one line; nothing for the bookkeeping of workflow tasks that go well.
    pub(crate) fn tell(&mut self, event: &HistoryEvent) -> Option<(String, Option<Hue>)> {
        let text = self.words(event)?;
        Some((text, history::hue(event.event_type())))
    }

    fn words(&mut self, event: &HistoryEvent) -> Option<String> {
        use Attributes as A;
        let id = event.event_id;
        let cause = |failure: &Option<sempre_api::v1::failure::Failure>| match failure {
            Some(failure) if !failure.message.is_empty() => format!(": {}", failure.message.lines().next().unwrap_or_default()),
            _ => String::new(),
        };
        Some(match event.attributes.as_ref()? {
            A::WorkflowExecutionStartedEventAttributes(a) => {
                let name = a.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
                if a.attempt > 1 { format!("{name} started, attempt {}", a.attempt) } else { format!("{name} started") }
            }
            A::WorkflowExecutionCompletedEventAttributes(_) => "completed".to_owned(),
            A::WorkflowExecutionFailedEventAttributes(a) => format!("failed{}", cause(&a.failure)),
            A::WorkflowExecutionTimedOutEventAttributes(_) => "timed out".to_owned(),
            A::WorkflowExecutionCanceledEventAttributes(_) => "canceled".to_owned(),
            A::WorkflowExecutionTerminatedEventAttributes(a) if a.reason.is_empty() => "terminated".to_owned(),
            A::WorkflowExecutionTerminatedEventAttributes(a) => format!("terminated: {}", a.reason),
            A::WorkflowExecutionContinuedAsNewEventAttributes(a) => format!("continued as new run {}", a.new_execution_run_id),
            A::WorkflowExecutionCancelRequestedEventAttributes(_) => "cancellation requested".to_owned(),
            A::WorkflowExecutionSignaledEventAttributes(a) => format!("signal {}", a.signal_name),
            A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => {
                let name = a.accepted_request.as_ref().and_then(|request| request.input.as_ref()).map(|input| input.name.clone());
                let name = name.unwrap_or_else(|| a.protocol_instance_id.clone());
                self.names.insert(id, name.clone());
                format!("update {name} accepted")
            }
            A::WorkflowExecutionUpdateCompletedEventAttributes(a) => format!("update {} completed", self.name(a.accepted_event_id)),
            A::WorkflowTaskFailedEventAttributes(a) => format!("workflow task failed{}", cause(&a.failure)),
            A::WorkflowTaskTimedOutEventAttributes(_) => "workflow task timed out".to_owned(),
            A::ActivityTaskScheduledEventAttributes(a) => {
                let name = a.activity_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
                let text = format!("activity {name} scheduled");
                self.names.insert(id, name);
                text
            }
            A::ActivityTaskStartedEventAttributes(a) if a.attempt > 1 => {
                let cause = cause(&a.last_failure);
                format!("activity {} started, attempt {} after a failure{cause}", self.name(a.scheduled_event_id), a.attempt)
            }
            // The start of an activity is written with its end.
            A::ActivityTaskStartedEventAttributes(_) => return None,
            A::ActivityTaskCompletedEventAttributes(a) => format!("activity {} completed", self.name(a.scheduled_event_id)),
            A::ActivityTaskFailedEventAttributes(a) => format!("activity {} failed{}", self.name(a.scheduled_event_id), cause(&a.failure)),
            A::ActivityTaskTimedOutEventAttributes(a) => {
                format!("activity {} timed out{}", self.name(a.scheduled_event_id), cause(&a.failure))
            }
            A::ActivityTaskCancelRequestedEventAttributes(a) => format!("activity {} asked to cancel", self.name(a.scheduled_event_id)),
            A::ActivityTaskCanceledEventAttributes(a) => format!("activity {} canceled", self.name(a.scheduled_event_id)),
            A::TimerStartedEventAttributes(a) => {
                let length = a.start_to_fire_timeout.as_ref().map(super::values::duration_text).unwrap_or_default();
                self.names.insert(id, length.clone());
                format!("timer of {length} started")
            }
            A::TimerFiredEventAttributes(a) => format!("timer of {} fired", self.name(a.started_event_id)),
            A::TimerCanceledEventAttributes(a) => format!("timer of {} canceled", self.name(a.started_event_id)),
            A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
                let name = a.workflow_type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
                self.names.insert(id, format!("{name} {}", a.workflow_id));
                return None;
            }
            A::StartChildWorkflowExecutionFailedEventAttributes(a) => format!("child {} could not start", self.name(a.initiated_event_id)),
            A::ChildWorkflowExecutionStartedEventAttributes(a) => format!("child {} started", self.name(a.initiated_event_id)),
            A::ChildWorkflowExecutionCompletedEventAttributes(a) => format!("child {} completed", self.name(a.initiated_event_id)),
            A::ChildWorkflowExecutionFailedEventAttributes(a) => {
                format!("child {} failed{}", self.name(a.initiated_event_id), cause(&a.failure))
            }
            A::ChildWorkflowExecutionCanceledEventAttributes(a) => format!("child {} canceled", self.name(a.initiated_event_id)),
            A::ChildWorkflowExecutionTimedOutEventAttributes(a) => format!("child {} timed out", self.name(a.initiated_event_id)),
            A::ChildWorkflowExecutionTerminatedEventAttributes(a) => format!("child {} terminated", self.name(a.initiated_event_id)),
            A::NexusOperationScheduledEventAttributes(a) => {
                self.names.insert(id, format!("{}.{}", a.service, a.operation));
                format!("Nexus operation {} scheduled", self.name(id))
            }
            A::NexusOperationCompletedEventAttributes(a) => format!("Nexus operation {} completed", self.name(a.scheduled_event_id)),
            A::NexusOperationFailedEventAttributes(a) => format!("Nexus operation {} failed", self.name(a.scheduled_event_id)),
            A::NexusOperationTimedOutEventAttributes(a) => format!("Nexus operation {} timed out", self.name(a.scheduled_event_id)),
            A::NexusOperationCanceledEventAttributes(a) => format!("Nexus operation {} canceled", self.name(a.scheduled_event_id)),
            A::WorkflowExecutionPausedEventAttributes(_) => "paused".to_owned(),
            A::WorkflowExecutionUnpausedEventAttributes(_) => "unpaused".to_owned(),
            A::WorkflowExecutionTimeSkippingTransitionedEventAttributes(a) => {
                let ends = a.target_time.as_ref().zip(event.event_time.as_ref());
                let by = ends.map(|(to, from)| Timestamp::from_api(to).since(Timestamp::from_api(from)).to_api());
                let skipped = by.map(|by| format!("time skipped by {}", super::values::duration_text(&by)));
                let over = a.disabled_after_fast_forward.then(|| "fast-forward over".to_owned());
                skipped.into_iter().chain(over).collect::<Vec<_>>().join(", ")
            }
            _ => return None,
        })
    }

    fn name(&self, event_id: i64) -> &str {
        self.names.get(&event_id).map_or("?", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        common::ActivityType,
        enums::EventType,
        failure::Failure,
        history::{
            ActivityTaskFailedEventAttributes, ActivityTaskScheduledEventAttributes,
            WorkflowExecutionTimeSkippingTransitionedEventAttributes, WorkflowTaskStartedEventAttributes,
        },
    };

    use super::*;

    fn event(event_id: i64, kind: EventType, attributes: Attributes) -> HistoryEvent {
        HistoryEvent { event_id, event_type: kind as i32, attributes: Some(attributes), ..HistoryEvent::default() }
    }

    #[test]
    fn later_events_are_told_by_the_names_of_earlier_ones() {
        let mut story = Story::default();
        let scheduled =
            ActivityTaskScheduledEventAttributes { activity_type: Some(ActivityType { name: "Pay".into() }), ..Default::default() };
        let scheduled = Attributes::ActivityTaskScheduledEventAttributes(Box::new(scheduled));
        let told = story.tell(&event(5, EventType::ActivityTaskScheduled, scheduled));
        assert_eq!(told, Some(("activity Pay scheduled".into(), None)));
        let failed = ActivityTaskFailedEventAttributes {
            scheduled_event_id: 5,
            failure: Some(Failure { message: "declined\nmore".into(), ..Default::default() }),
            ..Default::default()
        };
        let told = story.tell(&event(7, EventType::ActivityTaskFailed, Attributes::ActivityTaskFailedEventAttributes(failed)));
        assert_eq!(told, Some(("activity Pay failed: declined".into(), Some(Hue::Bad))));
        let task = Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes::default());
        assert_eq!(story.tell(&event(3, EventType::WorkflowTaskStarted, task)), None);
    }

    #[test]
    fn skips_are_told_by_how_far_they_go() {
        let time = |seconds| Some(sempre_api::Timestamp { seconds, nanos: 500_000_000 });
        let told = |target_time, disabled_after_fast_forward| {
            let skip = WorkflowExecutionTimeSkippingTransitionedEventAttributes {
                target_time,
                disabled_after_fast_forward,
                ..WorkflowExecutionTimeSkippingTransitionedEventAttributes::default()
            };
            let attributes = Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(skip);
            let skip = event(6, EventType::WorkflowExecutionTimeSkippingTransitioned, attributes);
            Story::default().tell(&HistoryEvent { event_time: time(1000), ..skip }).map(|(text, _)| text)
        };
        assert_eq!(told(time(4600), false).as_deref(), Some("time skipped by 1h"));
        assert_eq!(told(time(1090), true).as_deref(), Some("time skipped by 1m 30s, fast-forward over"));
        assert_eq!(told(None, true).as_deref(), Some("fast-forward over"));
    }
}

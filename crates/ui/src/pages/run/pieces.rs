//! What an event is part of: the activity, timer, child or other thing that it begins, moves on or ends.
//!
//! The timeline draws these things as bars, the grouped history as lines. One event is looked at alone; who reads many puts
//! them together by their key, the id of the event that began the thing.

use sempre_api::v1::{
    enums::{EventType, TimeoutType},
    history::{HistoryEvent, history_event::Attributes as A},
};

use crate::show::{headline, plain_text, words};

/// What kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Run,
    WorkflowTask,
    Activity,
    Timer,
    Child,
    Nexus,
    Signal,
    Update,
    External,
    Marker,
    Other,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Run => "workflow",
            Self::WorkflowTask => "task",
            Self::Activity => "activity",
            Self::Timer => "timer",
            Self::Child => "child",
            Self::Nexus => "nexus",
            Self::Signal => "signal",
            Self::Update => "update",
            Self::External => "external",
            Self::Marker => "marker",
            Self::Other => "other",
        }
    }
}

/// How a thing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Completed,
    Failed,
    TimedOut,
    Canceled,
    Terminated,
    /// Nothing that succeeds or fails.
    Done,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Canceled => "canceled",
            Self::Terminated => "terminated",
            Self::Done => "done",
        }
    }

    pub(crate) fn tone(self) -> &'static str {
        match self {
            Self::Completed => "green",
            Self::Failed | Self::TimedOut => "red",
            Self::Canceled => "yellow",
            Self::Terminated => "orange",
            Self::Done => "blue",
        }
    }
}

/// What an event does to a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The thing begins; its key is this event's id.
    Open { kind: Kind, name: String },
    /// Something happens to it.
    Step { key: i64, what: &'static str },
    /// It ends, perhaps with more to say.
    Close { key: i64, outcome: Outcome, text: String },
    /// It begins and ends at once.
    Point { kind: Kind, name: String, outcome: Outcome },
}

fn timeout(kind: i32) -> String {
    words(TimeoutType::try_from(kind).unwrap_or_default().as_str_name(), "TIMEOUT_TYPE_").to_lowercase()
}

/// What an event does.
pub(crate) fn of(event: &HistoryEvent) -> Piece {
    use Outcome as O;
    let summary = event.user_metadata.as_ref().and_then(|metadata| metadata.summary.as_ref()).map(plain_text);
    let named = |name: &str| match &summary {
        Some(summary) if !summary.is_empty() => format!("{name} · {summary}"),
        _ => name.to_owned(),
    };
    let open = |kind: Kind, name: &str| Piece::Open { kind, name: named(name) };
    let point = |kind: Kind, name: &str| Piece::Point { kind, name: named(name), outcome: O::Done };
    let close = |key: i64, outcome: O| Piece::Close { key, outcome, text: String::new() };
    let failed = |key: i64, outcome: O, failure: &Option<sempre_api::v1::failure::Failure>| Piece::Close {
        key,
        outcome,
        text: failure.as_ref().map(headline).unwrap_or_default(),
    };
    let step = |key: i64, what: &'static str| Piece::Step { key, what };
    let kind_of = |kind: &Option<sempre_api::v1::common::WorkflowType>| kind.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
    let id_of = |execution: &Option<sempre_api::v1::common::WorkflowExecution>| {
        execution.as_ref().map(|execution| execution.workflow_id.clone()).unwrap_or_default()
    };
    let Some(attributes) = &event.attributes else { return point(Kind::Other, &event_name(event)) };
    match attributes {
        A::WorkflowExecutionStartedEventAttributes(a) => open(Kind::Run, &kind_of(&a.workflow_type)),
        A::WorkflowExecutionCompletedEventAttributes(_) => close(1, O::Completed),
        A::WorkflowExecutionFailedEventAttributes(a) => failed(1, O::Failed, &a.failure),
        A::WorkflowExecutionTimedOutEventAttributes(_) => close(1, O::TimedOut),
        A::WorkflowExecutionCanceledEventAttributes(_) => close(1, O::Canceled),
        A::WorkflowExecutionTerminatedEventAttributes(a) => Piece::Close { key: 1, outcome: O::Terminated, text: a.reason.clone() },
        A::WorkflowExecutionContinuedAsNewEventAttributes(_) => Piece::Close { key: 1, outcome: O::Done, text: "continued as new".into() },

        A::WorkflowTaskScheduledEventAttributes(_) => open(Kind::WorkflowTask, "Workflow task"),
        A::WorkflowTaskStartedEventAttributes(a) => step(a.scheduled_event_id, "started"),
        A::WorkflowTaskCompletedEventAttributes(a) => close(a.scheduled_event_id, O::Completed),
        A::WorkflowTaskTimedOutEventAttributes(a) => {
            Piece::Close { key: a.scheduled_event_id, outcome: O::TimedOut, text: timeout(a.timeout_type) }
        }
        A::WorkflowTaskFailedEventAttributes(a) => failed(a.scheduled_event_id, O::Failed, &a.failure),

        A::ActivityTaskScheduledEventAttributes(a) => {
            open(Kind::Activity, a.activity_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default())
        }
        A::ActivityTaskStartedEventAttributes(a) => step(a.scheduled_event_id, "started"),
        A::ActivityTaskCompletedEventAttributes(a) => close(a.scheduled_event_id, O::Completed),
        A::ActivityTaskFailedEventAttributes(a) => failed(a.scheduled_event_id, O::Failed, &a.failure),
        A::ActivityTaskTimedOutEventAttributes(a) => failed(a.scheduled_event_id, O::TimedOut, &a.failure),
        A::ActivityTaskCancelRequestedEventAttributes(a) => step(a.scheduled_event_id, "cancel requested"),
        A::ActivityTaskCanceledEventAttributes(a) => close(a.scheduled_event_id, O::Canceled),

        A::TimerStartedEventAttributes(a) => {
            open(Kind::Timer, &format!("Timer {} ({})", a.timer_id, crate::show::duration(a.start_to_fire_timeout.as_ref())))
        }
        A::TimerFiredEventAttributes(a) => close(a.started_event_id, O::Completed),
        A::TimerCanceledEventAttributes(a) => close(a.started_event_id, O::Canceled),

        A::StartChildWorkflowExecutionInitiatedEventAttributes(a) => {
            open(Kind::Child, &format!("{} {}", kind_of(&a.workflow_type), a.workflow_id))
        }
        A::StartChildWorkflowExecutionFailedEventAttributes(a) => close(a.initiated_event_id, O::Failed),
        A::ChildWorkflowExecutionStartedEventAttributes(a) => step(a.initiated_event_id, "started"),
        A::ChildWorkflowExecutionCompletedEventAttributes(a) => close(a.initiated_event_id, O::Completed),
        A::ChildWorkflowExecutionFailedEventAttributes(a) => failed(a.initiated_event_id, O::Failed, &a.failure),
        A::ChildWorkflowExecutionCanceledEventAttributes(a) => close(a.initiated_event_id, O::Canceled),
        A::ChildWorkflowExecutionTimedOutEventAttributes(a) => close(a.initiated_event_id, O::TimedOut),
        A::ChildWorkflowExecutionTerminatedEventAttributes(a) => close(a.initiated_event_id, O::Terminated),

        A::NexusOperationScheduledEventAttributes(a) => open(Kind::Nexus, &format!("{}.{}", a.service, a.operation)),
        A::NexusOperationStartedEventAttributes(a) => step(a.scheduled_event_id, "started"),
        A::NexusOperationCompletedEventAttributes(a) => close(a.scheduled_event_id, O::Completed),
        A::NexusOperationFailedEventAttributes(a) => failed(a.scheduled_event_id, O::Failed, &a.failure),
        A::NexusOperationCanceledEventAttributes(a) => close(a.scheduled_event_id, O::Canceled),
        A::NexusOperationTimedOutEventAttributes(a) => failed(a.scheduled_event_id, O::TimedOut, &a.failure),
        A::NexusOperationCancelRequestedEventAttributes(a) => step(a.scheduled_event_id, "cancel requested"),
        A::NexusOperationCancelRequestCompletedEventAttributes(a) => step(a.scheduled_event_id, "cancel delivered"),
        A::NexusOperationCancelRequestFailedEventAttributes(a) => step(a.scheduled_event_id, "cancel failed"),

        A::SignalExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            open(Kind::External, &format!("Signal {} to {}", a.signal_name, id_of(&a.workflow_execution)))
        }
        A::SignalExternalWorkflowExecutionFailedEventAttributes(a) => close(a.initiated_event_id, O::Failed),
        A::ExternalWorkflowExecutionSignaledEventAttributes(a) => close(a.initiated_event_id, O::Completed),
        A::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(a) => {
            open(Kind::External, &format!("Cancel {}", id_of(&a.workflow_execution)))
        }
        A::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => close(a.initiated_event_id, O::Failed),
        A::ExternalWorkflowExecutionCancelRequestedEventAttributes(a) => close(a.initiated_event_id, O::Completed),

        A::WorkflowExecutionSignaledEventAttributes(a) => point(Kind::Signal, &a.signal_name),
        A::WorkflowExecutionUpdateAdmittedEventAttributes(a) => point(Kind::Update, &update_name(a.request.as_ref())),
        A::WorkflowExecutionUpdateAcceptedEventAttributes(a) => open(Kind::Update, &update_name(a.accepted_request.as_ref())),
        A::WorkflowExecutionUpdateCompletedEventAttributes(a) => {
            use sempre_api::v1::update::outcome::Value;
            match a.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()) {
                Some(Value::Failure(failure)) => Piece::Close { key: a.accepted_event_id, outcome: O::Failed, text: headline(failure) },
                _ => close(a.accepted_event_id, O::Completed),
            }
        }
        A::WorkflowExecutionUpdateRejectedEventAttributes(a) => {
            Piece::Point { kind: Kind::Update, name: named(&update_name(a.rejected_request.as_ref())), outcome: O::Failed }
        }
        A::MarkerRecordedEventAttributes(a) => {
            let outcome = if a.failure.is_some() { O::Failed } else { O::Done };
            Piece::Point { kind: Kind::Marker, name: named(&marker_name(a)), outcome }
        }
        _ => point(Kind::Other, &event_name(event)),
    }
}

fn update_name(request: Option<&sempre_api::v1::update::Request>) -> String {
    request.and_then(|request| request.input.as_ref()).map(|input| input.name.clone()).unwrap_or_default()
}

/// A marker by what SDKs write into it: local activities and versions have names of their own.
fn marker_name(marker: &sempre_api::v1::history::MarkerRecordedEventAttributes) -> String {
    let text = |name: &str| {
        let payload = marker.details.get(name).and_then(|all| all.payloads.first());
        payload.and_then(|payload| serde_json::from_slice::<serde_json::Value>(&payload.data).ok())
    };
    let named = |value: serde_json::Value, field: &str| value.get(field).and_then(|name| name.as_str()).map(str::to_owned);
    let inner = match marker.marker_name.as_str() {
        "core_local_activity" => text("data").and_then(|data| named(data, "activity_type")),
        "core_patch" => text("patch-data").and_then(|data| named(data, "id")),
        "LocalActivity" => text("data").and_then(|data| named(data, "ActivityType")),
        "Version" => text("change-id").and_then(|id| id.as_str().map(str::to_owned)),
        _ => None,
    };
    match inner {
        Some(inner) => format!("{inner} ({})", marker.marker_name),
        None => marker.marker_name.clone(),
    }
}

/// `Activity task scheduled`.
pub(crate) fn event_name(event: &HistoryEvent) -> String {
    words(EventType::try_from(event.event_type).unwrap_or_default().as_str_name(), "EVENT_TYPE_")
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        common::ActivityType,
        failure::Failure,
        history::{ActivityTaskFailedEventAttributes, ActivityTaskScheduledEventAttributes, WorkflowExecutionSignaledEventAttributes},
    };

    use super::*;

    fn event(attributes: A) -> HistoryEvent {
        HistoryEvent { event_id: 5, attributes: Some(attributes), ..Default::default() }
    }

    #[test]
    fn events_of_an_activity_have_one_key() {
        let scheduled =
            ActivityTaskScheduledEventAttributes { activity_type: Some(ActivityType { name: "pay".into() }), ..Default::default() };
        let open = of(&event(A::ActivityTaskScheduledEventAttributes(Box::new(scheduled))));
        assert_eq!(open, Piece::Open { kind: Kind::Activity, name: "pay".into() });
        let failure = Some(Failure { message: "declined".into(), ..Default::default() });
        let failed = ActivityTaskFailedEventAttributes { scheduled_event_id: 5, failure, ..Default::default() };
        let close = of(&event(A::ActivityTaskFailedEventAttributes(failed)));
        assert_eq!(close, Piece::Close { key: 5, outcome: Outcome::Failed, text: "Failure: declined".into() });
    }

    #[test]
    fn signals_are_points_and_unknown_events_have_a_name() {
        let signaled = WorkflowExecutionSignaledEventAttributes { signal_name: "go".into(), ..Default::default() };
        let point = of(&event(A::WorkflowExecutionSignaledEventAttributes(signaled)));
        assert_eq!(point, Piece::Point { kind: Kind::Signal, name: "go".into(), outcome: Outcome::Done });
        assert!(matches!(of(&HistoryEvent::default()), Piece::Point { kind: Kind::Other, .. }));
    }
}

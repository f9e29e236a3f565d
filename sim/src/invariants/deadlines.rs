//! A deadline never acts early: timers, time-outs of activities, of workflow tasks and of runs, by the times of the events.
//!
//! A reset gives a run its whole time again, and the activities that it takes over theirs: it counts from the reset, whatever its
//! base waited for before its first task and whatever the clock said when its base began.

use std::collections::BTreeMap;

use sempre_api::{
    Duration, Timestamp,
    v1::{
        enums::{TimeoutType, WorkflowTaskFailedCause},
        history::{HistoryEvent, history_event::Attributes},
    },
};

use crate::ending::Ending;

fn at(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| time.seconds * 1_000_000_000 + i64::from(time.nanos))
}

fn span(span: Option<&Duration>) -> i64 {
    span.map_or(0, |span| span.seconds * 1_000_000_000 + i64::from(span.nanos))
}

/// A timeout; one that is not set never comes.
fn set(timeout: Option<&Duration>) -> i64 {
    Some(span(timeout)).filter(|span| *span > 0).unwrap_or(i64::MAX)
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for run in &ending.runs {
        let events: BTreeMap<i64, &HistoryEvent> = run.events.iter().map(|event| (event.event_id, event)).collect();
        for event in &run.events {
            let workflow = &run.key.workflow.workflow_id;
            let is_activity = matches!(event.attributes, Some(Attributes::ActivityTaskTimedOutEventAttributes(_)));
            if is_activity && ending.oracle.options_changed.contains(workflow) {
                // Its timeouts are not those of its Scheduled event.
                continue;
            }
            let Some(due) = due(event, &events) else { continue };
            let now = at(event.event_time.as_ref());
            if now < due {
                let early = (due - now) / 1_000_000;
                found.push(format!("{} {} event {} comes {early} ms early", run.key.workflow.workflow_id, run.id, event.event_id));
            }
        }
    }
    found
}

/// The earliest time of an event that a deadline makes.
fn due(event: &HistoryEvent, events: &BTreeMap<i64, &HistoryEvent>) -> Option<i64> {
    let time_of = |id: i64| events.get(&id).map(|event| at(event.event_time.as_ref()));
    match event.attributes.as_ref()? {
        Attributes::TimerFiredEventAttributes(fired) => {
            let Attributes::TimerStartedEventAttributes(started) = events.get(&fired.started_event_id)?.attributes.as_ref()? else {
                return None;
            };
            Some(time_of(fired.started_event_id)? + span(started.start_to_fire_timeout.as_ref()))
        }
        Attributes::ActivityTaskTimedOutEventAttributes(timed_out) => {
            let Attributes::ActivityTaskScheduledEventAttributes(scheduled) =
                events.get(&timed_out.scheduled_event_id)?.attributes.as_ref()?
            else {
                return None;
            };
            let failure = timed_out.failure.as_ref()?;
            let info = match failure.failure_info.as_ref()? {
                sempre_api::v1::failure::failure::FailureInfo::TimeoutFailureInfo(info) => info,
                _ => return None,
            };
            match TimeoutType::try_from(info.timeout_type).ok()? {
                // With the retry that would have come too late, it may end before the whole time has passed.
                TimeoutType::ScheduleToClose => None,
                TimeoutType::StartToClose => {
                    Some(time_of(timed_out.started_event_id)?.saturating_add(set(scheduled.start_to_close_timeout.as_ref())))
                }
                // No event tells when a retry was offered: after the Scheduled event, unless the clock was set back.
                TimeoutType::ScheduleToStart if failure.cause.is_some() && !are_in_order(events) => None,
                TimeoutType::ScheduleToStart => {
                    // The reset offers anew what was scheduled before it, and copies what had timed out by then.
                    let reset = last_reset(events, event.event_id).map_or(0, |reset| reset.event_id);
                    let offered = time_of(timed_out.scheduled_event_id.max(reset))?;
                    Some(offered.saturating_add(set(scheduled.schedule_to_start_timeout.as_ref())))
                }
                TimeoutType::Heartbeat => {
                    Some(time_of(timed_out.started_event_id)?.saturating_add(set(scheduled.heartbeat_timeout.as_ref())))
                }
                TimeoutType::Unspecified => None,
            }
        }
        Attributes::WorkflowTaskTimedOutEventAttributes(timed_out)
            if TimeoutType::try_from(timed_out.timeout_type) == Ok(TimeoutType::StartToClose) =>
        {
            let Attributes::WorkflowTaskScheduledEventAttributes(scheduled) =
                events.get(&timed_out.scheduled_event_id)?.attributes.as_ref()?
            else {
                return None;
            };
            Some(time_of(timed_out.started_event_id)? + span(scheduled.start_to_close_timeout.as_ref()))
        }
        Attributes::WorkflowExecutionTimedOutEventAttributes(_) => run_due(events),
        _ => None,
    }
}

/// The times of the events say nothing of a clock that was set back.
fn are_in_order(events: &BTreeMap<i64, &HistoryEvent>) -> bool {
    events.values().is_sorted_by_key(|event| at(event.event_time.as_ref()))
}

/// The event of the last reset before an event: of the one that made the run, or of one before, copied with the events of its base.
fn last_reset<'e>(events: &BTreeMap<i64, &'e HistoryEvent>, before: i64) -> Option<&'e HistoryEvent> {
    let is_reset = |event: &&HistoryEvent| match &event.attributes {
        Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => failed.cause == WorkflowTaskFailedCause::ResetWorkflow as i32,
        _ => false,
    };
    events.range(..before).rev().map(|(_, event)| *event).find(is_reset)
}

/// The earliest time at which the run times out.
fn run_due(events: &BTreeMap<i64, &HistoryEvent>) -> Option<i64> {
    let first = events.get(&1)?;
    let Attributes::WorkflowExecutionStartedEventAttributes(started) = first.attributes.as_ref()? else { return None };
    let positive = |span: i64| Some(span).filter(|span| *span > 0);
    let run = positive(span(started.workflow_run_timeout.as_ref()));
    let (run, chain) = match last_reset(events, i64::MAX) {
        Some(reset) => {
            let begun = at(reset.event_time.as_ref());
            let chain = positive(span(started.workflow_execution_timeout.as_ref()));
            (run.map(|span| begun + span), chain.map(|span| begun + span))
        }
        None => {
            let begun = at(first.event_time.as_ref()) + span(started.first_workflow_task_backoff.as_ref());
            (run.map(|span| begun + span), positive(at(started.workflow_execution_expiration_time.as_ref())))
        }
    };
    match (run, chain) {
        (Some(a), Some(b)) => Some(a.min(b)),
        // A run without a timeout has no time to end at.
        (a, b) => Some(a.or(b).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::{
        failure::{Failure, TimeoutFailureInfo, failure::FailureInfo},
        history::{
            ActivityTaskScheduledEventAttributes, ActivityTaskTimedOutEventAttributes, WorkflowExecutionStartedEventAttributes,
            WorkflowExecutionTimedOutEventAttributes, WorkflowTaskFailedEventAttributes,
        },
    };

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    /// Events with ids from 1, at these seconds.
    fn history(events: impl IntoIterator<Item = (i64, Attributes)>) -> Vec<HistoryEvent> {
        let event = |(id, (seconds, attributes))| HistoryEvent {
            event_id: id,
            event_time: Some(Timestamp { seconds, nanos: 0 }),
            attributes: Some(attributes),
            ..Default::default()
        };
        (1..).zip(events).map(event).collect()
    }

    /// The earliest time of the last event, in seconds.
    fn due_of_last(events: &[HistoryEvent]) -> Option<i64> {
        due_of(events.len(), events)
    }

    fn due_of(id: usize, events: &[HistoryEvent]) -> Option<i64> {
        let by_id = events.iter().map(|event| (event.event_id, event)).collect();
        due(&events[id - 1], &by_id).map(|at| at / SECOND)
    }

    fn seconds(seconds: i64) -> Option<Duration> {
        Some(Duration { seconds, nanos: 0 })
    }

    /// A run of an hour at most, of a chain that may take until 9000; its first task waits for 100 s.
    fn started() -> Attributes {
        Attributes::WorkflowExecutionStartedEventAttributes(Box::new(WorkflowExecutionStartedEventAttributes {
            workflow_run_timeout: seconds(3600),
            workflow_execution_timeout: seconds(4000),
            workflow_execution_expiration_time: Some(Timestamp { seconds: 9000, nanos: 0 }),
            first_workflow_task_backoff: seconds(100),
            ..Default::default()
        }))
    }

    fn reset() -> Attributes {
        let cause = WorkflowTaskFailedCause::ResetWorkflow as i32;
        Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes { cause, ..Default::default() })
    }

    fn timed_out() -> Attributes {
        Attributes::WorkflowExecutionTimedOutEventAttributes(WorkflowExecutionTimedOutEventAttributes::default())
    }

    #[test]
    fn a_run_has_its_time_after_its_back_off() {
        assert_eq!(due_of_last(&history([(5000, started()), (8700, timed_out())])), Some(8700));
        assert_eq!(due_of_last(&history([(6000, started()), (9000, timed_out())])), Some(9000), "the chain's time is shorter");
    }

    #[test]
    fn a_run_that_a_reset_made_has_its_whole_time_from_the_last_reset() {
        assert_eq!(due_of_last(&history([(5000, started()), (5050, reset()), (6000, reset()), (9600, timed_out())])), Some(9600));
        // The clock was set back between the start and the reset.
        assert_eq!(due_of_last(&history([(5000, started()), (2000, reset()), (5600, timed_out())])), Some(5600));
    }

    #[test]
    fn a_retry_has_its_time_from_its_own_offer_which_a_clock_set_back_makes_early() {
        let scheduled = Attributes::ActivityTaskScheduledEventAttributes(Box::new(ActivityTaskScheduledEventAttributes {
            schedule_to_start_timeout: seconds(50),
            ..Default::default()
        }));
        let timed_out = |is_retry: bool| {
            let info = TimeoutFailureInfo { timeout_type: TimeoutType::ScheduleToStart as i32, ..Default::default() };
            let cause = is_retry.then(|| Box::new(Failure::default()));
            let failure = Failure { failure_info: Some(FailureInfo::TimeoutFailureInfo(info)), cause, ..Default::default() };
            Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes {
                failure: Some(failure),
                scheduled_event_id: 2,
                ..Default::default()
            })
        };
        assert_eq!(due_of_last(&history([(5000, started()), (5100, scheduled.clone()), (5040, timed_out(true))])), None);
        assert_eq!(due_of_last(&history([(5000, started()), (5100, scheduled.clone()), (5120, timed_out(true))])), Some(5150));
        assert_eq!(due_of_last(&history([(5000, started()), (5100, scheduled), (5040, timed_out(false))])), Some(5150));
    }

    #[test]
    fn an_activity_that_a_reset_has_taken_over_is_offered_for_its_whole_time_again() {
        let scheduled = Attributes::ActivityTaskScheduledEventAttributes(Box::new(ActivityTaskScheduledEventAttributes {
            schedule_to_start_timeout: seconds(50),
            ..Default::default()
        }));
        let timed_out = |scheduled_event_id| {
            let info = TimeoutFailureInfo { timeout_type: TimeoutType::ScheduleToStart as i32, ..Default::default() };
            let failure = Failure { failure_info: Some(FailureInfo::TimeoutFailureInfo(info)), ..Default::default() };
            Attributes::ActivityTaskTimedOutEventAttributes(ActivityTaskTimedOutEventAttributes {
                failure: Some(failure),
                scheduled_event_id,
                ..Default::default()
            })
        };
        let taken_over = [(5000, started()), (5100, scheduled.clone()), (2000, reset()), (2050, timed_out(2))];
        assert_eq!(due_of_last(&history(taken_over)), Some(2050));
        let before = [(5000, started()), (5100, scheduled.clone()), (5150, timed_out(2)), (6000, reset())];
        assert_eq!(due_of(3, &history(before)), Some(5150), "copied by the reset");
        let of_its_own = [(5000, started()), (2000, reset()), (2010, scheduled), (2060, timed_out(3))];
        assert_eq!(due_of_last(&history(of_its_own)), Some(2060));
    }
}

//! A deadline never acts early: timers, time-outs of activities, of workflow tasks and of runs, by the times of the events.

use std::collections::BTreeMap;

use sempre_api::{
    Duration, Timestamp,
    v1::{
        enums::TimeoutType,
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
            let info = match timed_out.failure.as_ref()?.failure_info.as_ref()? {
                sempre_api::v1::failure::failure::FailureInfo::TimeoutFailureInfo(info) => info,
                _ => return None,
            };
            match TimeoutType::try_from(info.timeout_type).ok()? {
                // With the retry that would have come too late, it may end before the whole time has passed.
                TimeoutType::ScheduleToClose => None,
                TimeoutType::StartToClose => {
                    Some(time_of(timed_out.started_event_id)?.saturating_add(set(scheduled.start_to_close_timeout.as_ref())))
                }
                TimeoutType::ScheduleToStart => {
                    Some(time_of(timed_out.scheduled_event_id)?.saturating_add(set(scheduled.schedule_to_start_timeout.as_ref())))
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
        Attributes::WorkflowExecutionTimedOutEventAttributes(_) => {
            let first = events.get(&1)?;
            let Attributes::WorkflowExecutionStartedEventAttributes(started) = first.attributes.as_ref()? else { return None };
            let run = Some(span(started.workflow_run_timeout.as_ref())).filter(|span| *span > 0);
            let begun = at(first.event_time.as_ref());
            let back_off = span(started.first_workflow_task_backoff.as_ref());
            let chain = Some(at(started.workflow_execution_expiration_time.as_ref())).filter(|at| *at > 0);
            let run = run.map(|span| begun + back_off + span);
            match (run, chain) {
                (Some(a), Some(b)) => Some(a.min(b)),
                // A run without a timeout has no time to end at.
                (a, b) => Some(a.or(b).unwrap_or(i64::MAX)),
            }
        }
        _ => None,
    }
}

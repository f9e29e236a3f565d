//! The sentence that says what a run waits for, and why: asks for what [`crate::why`] wants to know.

use std::collections::BTreeSet;

use sempre_api::{
    Timestamp,
    sempre::v1::DescribeWaitingStartRequest,
    v1::{
        enums::TaskQueueType,
        history::{HistoryEvent, history_event::Attributes},
        taskqueue::TaskQueue,
        workflowservice::{DescribeTaskQueueRequest, DescribeWorkflowExecutionResponse, GetWorkflowExecutionHistoryReverseRequest},
    },
};

use super::Place;
use crate::{
    show,
    visit::{Problem, Visit},
    why::{self, Around, Reader},
};

/// The newest events that are looked through for timers and failures. A timer that is older is known by the search attribute
/// that the server sets once a run has waited for a minute.
const EVENTS_MAX: usize = 512;
/// Set in runs that flow rules are about.
const FLOW_RULES: &str = "SempreFlowRules";

/// The sentence.
pub(super) async fn sentence(
    visit: &Visit<'_>,
    place: &Place<'_>,
    description: &DescribeWorkflowExecutionResponse,
) -> Result<String, Problem> {
    let around = look_around(visit, place, description).await?;
    let time = |at: &Timestamp| match show::timestamp(at) {
        Some(known) => format!("{} ({})", visit.times.text(Some(at)), visit.times.age(known)),
        None => visit.times.text(Some(at)),
    };
    Ok(why::sentence(description, &around, &time, Reader::Page))
}

async fn look_around(visit: &Visit<'_>, place: &Place<'_>, description: &DescribeWorkflowExecutionResponse) -> Result<Around, Problem> {
    let mut around = Around::default();
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    if !why::is_open(&info) {
        return Ok(around);
    }
    if info.search_attributes.as_ref().is_some_and(|fields| fields.indexed_fields.contains_key(FLOW_RULES)) {
        let execution = place.execution();
        let namespace = place.namespace.to_owned();
        let request = DescribeWaitingStartRequest { namespace, workflow_id: execution.workflow_id, run_id: execution.run_id };
        around.flow = visit.ask(request).await?.start;
        if around.flow.is_some() {
            return Ok(around);
        }
    }
    if let Some((name, kind)) = why::queue(description) {
        around.pollers = Some((name.clone(), pollers(visit, place.namespace, name, kind).await?));
    }
    if why::has_failing_task(description) {
        let newest = newest(visit, place).await?;
        around.task_failure = newest.into_iter().find_map(|event| match event.attributes {
            Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) => failed.failure.map(|failure| failure.message),
            _ => None,
        });
    } else if why::may_wait_for_timer(description) {
        let waits = info.search_attributes.as_ref().and_then(|all| all.indexed_fields.get("SempreWaitingUntil"));
        let until = waits.and_then(|value| show::search_attribute(value).parse::<jiff::Timestamp>().ok());
        around.next_timer = match until {
            Some(until) => Some(Timestamp { seconds: until.as_second(), nanos: until.subsec_nanosecond() }),
            None => next_timer(newest(visit, place).await?),
        };
    }
    Ok(around)
}

pub(crate) async fn pollers(visit: &Visit<'_>, namespace: &str, name: String, kind: TaskQueueType) -> Result<usize, Problem> {
    let request = DescribeTaskQueueRequest {
        namespace: namespace.to_owned(),
        task_queue: Some(TaskQueue { name, ..Default::default() }),
        task_queue_type: kind.into(),
        ..Default::default()
    };
    Ok(visit.ask(request).await?.pollers.len())
}

/// The newest events, newest first.
async fn newest(visit: &Visit<'_>, place: &Place<'_>) -> Result<Vec<HistoryEvent>, Problem> {
    let mut request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: place.namespace.to_owned(),
        execution: Some(place.execution()),
        maximum_page_size: 256,
        ..Default::default()
    };
    let mut all = Vec::new();
    while all.len() < EVENTS_MAX {
        let answer = visit.ask(request.clone()).await?;
        let events = answer.history.unwrap_or_default().events();
        all.extend(events.map_err(|error| Problem(tonic::Status::internal(format!("a history that cannot be read: {error}"))))?);
        if answer.next_page_token.is_empty() {
            break;
        }
        request.next_page_token = answer.next_page_token;
    }
    Ok(all)
}

/// When the first of the timers that neither fired nor were canceled fires.
fn next_timer(newest_first: Vec<HistoryEvent>) -> Option<Timestamp> {
    let mut over = BTreeSet::new();
    let mut next: Option<Timestamp> = None;
    for event in newest_first {
        match event.attributes {
            Some(Attributes::TimerFiredEventAttributes(timer)) => drop(over.insert(timer.started_event_id)),
            Some(Attributes::TimerCanceledEventAttributes(timer)) => drop(over.insert(timer.started_event_id)),
            Some(Attributes::TimerStartedEventAttributes(timer)) if !over.contains(&event.event_id) => {
                let due = event.event_time.zip(timer.start_to_fire_timeout);
                let due = due.map(|(at, length)| Timestamp { seconds: at.seconds.saturating_add(length.seconds), nanos: 0 });
                next = match (next, due) {
                    (Some(next), Some(due)) => Some(if due.seconds < next.seconds { due } else { next }),
                    (next, due) => next.or(due),
                };
            }
            _ => {}
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::history::{TimerFiredEventAttributes, TimerStartedEventAttributes};

    use super::*;

    #[test]
    fn only_open_timers_count() {
        let started = |event_id: i64, length: i64| HistoryEvent {
            event_id,
            event_time: Some(Timestamp { seconds: 100, nanos: 0 }),
            attributes: Some(Attributes::TimerStartedEventAttributes(TimerStartedEventAttributes {
                start_to_fire_timeout: Some(sempre_api::Duration { seconds: length, nanos: 0 }),
                ..Default::default()
            })),
            ..Default::default()
        };
        let fired = HistoryEvent {
            event_id: 9,
            attributes: Some(Attributes::TimerFiredEventAttributes(TimerFiredEventAttributes {
                started_event_id: 5,
                ..Default::default()
            })),
            ..Default::default()
        };
        let next = next_timer(vec![fired, started(7, 60), started(6, 50), started(5, 1)]);
        assert_eq!(next.map(|at| at.seconds), Some(150));
        assert_eq!(next_timer(vec![]), None);
    }
}

//! What hurts an open run, and what a failed one died of, as search attributes: for lists and for DescribeWorkflowExecution.
//!
//! | attribute | type | there while |
//! |---|---|---|
//! | `SempreHealth` | Keyword: `workflow-task-failing`, else `activity-retrying` | one of these is so; a run without it is well |
//! | `SempreWorkflowTaskFailures` | Int: failures and timeouts of workflow tasks in a row | there was one |
//! | `SempreActivityAttempt` | Int: the highest attempt of a pending activity | that is above 1 |
//! | `SempreLastFailure` | Text: cause and message of the last failed workflow task, else of that activity's last attempt | one of these is so |
//! | | in a closed run: the messages of the failure that it ended with and of what caused that | it has failed |
//!
//! Describe shows them as they are. Lists show them as of the first failure and of each doubling of the number (and of
//! any other change that is listed), so that a storm of retries is no storm of records: a number in a list is never more,
//! and at worst a little more than half, of what it is.

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
};

use bytes::Bytes;
use sempre_api::v1::{common::Payload, failure::Failure};

use super::{AttributeType, json_string};
use crate::{activity, state::State, task::problems};

/// What hurts most.
pub const HEALTH: &str = "SempreHealth";
/// Failures and timeouts of workflow tasks in a row.
pub const TASK_FAILURES: &str = "SempreWorkflowTaskFailures";
/// The highest attempt of a pending activity.
pub const ACTIVITY_ATTEMPT: &str = "SempreActivityAttempt";
/// What went wrong last.
pub const LAST_FAILURE: &str = "SempreLastFailure";

/// Workers that poll the task queue of an open run for workflow tasks. Of the queue and not of the run: records never have
/// it, whoever answers a question knows it.
pub const QUEUE_POLLERS: &str = "SempreTaskQueuePollers";
/// Seconds that the oldest workflow task on that queue waits; none when none does. Like the pollers.
pub const QUEUE_BACKLOG_AGE: &str = "SempreTaskQueueBacklogAge";

/// Bytes of a failure's text that are shown.
const FAILURE_BYTES_MAX: usize = 512;

pub(crate) fn payload(kind: AttributeType, json: String) -> Payload {
    Payload {
        metadata: [("encoding".into(), Bytes::from_static(b"json/plain")), ("type".into(), Bytes::from_static(kind.name().as_bytes()))]
            .into(),
        data: json.into_bytes().into(),
        ..Default::default()
    }
}

/// True at 1 and at each doubling: lists are told then.
pub(crate) fn is_told(count: i32) -> bool {
    count > 0 && count.unsigned_abs().is_power_of_two()
}

/// Adds what hurts an open run.
pub(crate) fn add(state: &State, fields: &mut BTreeMap<String, Payload>) {
    let failures = state.progress.main.task_problems;
    let retrying = activity::most_tried(state);
    let health = match (failures, &retrying) {
        (1.., _) => "workflow-task-failing",
        (_, Some(_)) => "activity-retrying",
        _ => return,
    };
    fields.insert(HEALTH.into(), payload(AttributeType::Keyword, json_string(health)));
    let mut last = None;
    if let Some((progress, name)) = retrying {
        fields.insert(ACTIVITY_ATTEMPT.into(), payload(AttributeType::Int, progress.attempt.to_string()));
        let message = progress.last_failure.as_deref().map_or("", |failure| failure.message.as_str());
        last = Some(format!("{name}: {message}"));
    }
    if failures > 0 {
        fields.insert(TASK_FAILURES.into(), payload(AttributeType::Int, failures.to_string()));
        last = state
            .progress
            .main
            .last_problem
            .as_ref()
            .map(|problem| format!("{}: {}", problems::name(problem), state.progress.main.last_problem_message))
            .or(last);
    }
    if let Some(last) = last {
        fields.insert(LAST_FAILURE.into(), payload(AttributeType::Text, json_string(cut(&last))));
    }
}

/// Adds what a closed run died of.
pub(crate) fn add_end(state: &State, fields: &mut BTreeMap<String, Payload>) {
    let failure = &state.derived.main.close_failure;
    if !failure.is_empty() {
        fields.insert(LAST_FAILURE.into(), payload(AttributeType::Text, json_string(failure)));
    }
}

/// What a failure says, and its causes after it: the first often says only that an activity or a child has failed.
pub(crate) fn told(failure: &Failure) -> String {
    let mut text = String::new();
    let mut next = Some(failure);
    while let Some(failure) = next.filter(|_| text.len() < FAILURE_BYTES_MAX) {
        if !failure.message.is_empty() {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(cut(&failure.message));
        }
        next = failure.cause.as_deref();
    }
    cut(&text).into()
}

/// At most [`FAILURE_BYTES_MAX`] bytes, at a border of characters.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(FAILURE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

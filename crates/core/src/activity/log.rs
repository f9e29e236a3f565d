//! Writes down what became of each attempt (see [`crate::state::attempt_log`] for what is kept, where and how long).

use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use prost::Message;
use sempre_api::v1::{
    activity::activity_execution_outcome::Value,
    enums::{TimeoutType, WorkflowExecutionStatus},
    failure::{Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes},
};

use super::pending;
use crate::{
    Execution, Timestamp, standalone,
    state::{
        ActivityInfo, ActivityProgress, AttemptLog, AttemptOutcome, AttemptRecord,
        attempt_log::{HEARTBEAT_BYTES_MAX, LOGS_KEPT, MESSAGE_BYTES_MAX, NAME_BYTES_MAX, push_bounded},
    },
    step::Step,
};

/// The current attempt has ended and another follows: its record stays with the activity.
pub(super) fn retried(progress: &mut ActivityProgress, now: Timestamp, failure: Option<&Failure>) {
    let record = record(progress, now, failed_outcome(failure), failure);
    push_bounded(&mut progress.attempts, &mut progress.attempts_dropped, record);
}

/// The activity closes. A log is written only if there were attempts before this one.
pub(super) fn closed(step: &mut Step<'_, '_>, scheduled_event_id: i64, closing: &Attributes) {
    let kept = step.run.state.progress.activities.get(&scheduled_event_id).is_some_and(|p| !p.attempts.is_empty());
    if kept {
        let (outcome, failure) = outcome_of(closing);
        write(step, scheduled_event_id, outcome, failure);
    }
}

/// The run closes over a pending activity: history will say nothing of it, so an attempt in a worker's hands is
/// written down even if it is the first.
pub(super) fn run_closed(step: &mut Step<'_, '_>, scheduled_event_id: i64) {
    let state = &step.run.state;
    if pending(state, scheduled_event_id).is_some_and(|(_, p)| p.is_started() || !p.attempts.is_empty()) {
        write(step, scheduled_event_id, AttemptOutcome::RunClosed, None);
    }
}

fn write(step: &mut Step<'_, '_>, scheduled_event_id: i64, outcome: AttemptOutcome, failure: Option<&Failure>) {
    let state = &step.run.state;
    let Some(info) = state.derived.activities.get(&scheduled_event_id) else { return };
    let Some(progress) = state.progress.activities.get(&scheduled_event_id) else { return };
    let mut log = log_of(info, progress);
    log.push(record(progress, step.now(), outcome, failure));
    let main = &mut step.run.state.progress.main;
    let place = main.attempt_logs % LOGS_KEPT;
    main.attempt_logs += 1;
    step.run.state.dirty.attempt_logs.push((place, log));
    step.touch();
}

fn log_of(info: &ActivityInfo, progress: &ActivityProgress) -> AttemptLog {
    let scheduled = info.scheduled();
    AttemptLog {
        scheduled_event_id: info.scheduled_event_id,
        activity_id: scheduled.activity_id.clone(),
        activity_type: scheduled.activity_type.as_ref().map_or_else(String::new, |t| t.name.clone()),
        attempts: progress.attempts.clone(),
        dropped: progress.attempts_dropped,
    }
}

fn record(progress: &ActivityProgress, now: Timestamp, outcome: AttemptOutcome, failure: Option<&Failure>) -> AttemptRecord {
    // Details of an earlier attempt's heartbeat are in that attempt's record.
    let beat = progress.is_started() && progress.heartbeat_time >= progress.started_time;
    let details = progress.heartbeat_details.as_ref().filter(|_| beat);
    let heartbeat_bytes = details.map_or(0, Message::encoded_len);
    let failure_type = match failure.and_then(|f| f.failure_info.as_ref()) {
        Some(FailureInfo::ApplicationFailureInfo(info)) => cut(&info.r#type, NAME_BYTES_MAX),
        _ => String::new(),
    };
    AttemptRecord {
        attempt: progress.token_attempt(),
        scheduled_time: progress.scheduled_time,
        started_time: progress.started_time,
        ended_time: now.0,
        identity: cut(&progress.identity, NAME_BYTES_MAX),
        outcome: outcome as i32,
        failure_message: failure.map_or_else(String::new, |f| cut(&f.message, MESSAGE_BYTES_MAX)),
        failure_type,
        heartbeat_time: if beat { progress.heartbeat_time } else { 0 },
        heartbeat_details: details.filter(|_| heartbeat_bytes <= HEARTBEAT_BYTES_MAX).map(|d| d.encode_to_vec().into()).unwrap_or_default(),
        heartbeat_bytes: heartbeat_bytes as i64,
    }
}

/// At most `max` bytes, at a border of characters.
fn cut(text: &str, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_string()
}

fn failed_outcome(failure: Option<&Failure>) -> AttemptOutcome {
    let Some(FailureInfo::TimeoutFailureInfo(info)) = failure.and_then(|f| f.failure_info.as_ref()) else {
        return AttemptOutcome::Failed;
    };
    match info.timeout_type() {
        TimeoutType::ScheduleToStart => AttemptOutcome::TimedOutScheduleToStart,
        TimeoutType::ScheduleToClose => AttemptOutcome::TimedOutScheduleToClose,
        TimeoutType::Heartbeat => AttemptOutcome::TimedOutHeartbeat,
        TimeoutType::StartToClose | TimeoutType::Unspecified => AttemptOutcome::TimedOutStartToClose,
    }
}

fn outcome_of(closing: &Attributes) -> (AttemptOutcome, Option<&Failure>) {
    match closing {
        Attributes::ActivityTaskCompletedEventAttributes(_) => (AttemptOutcome::Completed, None),
        Attributes::ActivityTaskFailedEventAttributes(a) => (AttemptOutcome::Failed, a.failure.as_ref()),
        Attributes::ActivityTaskTimedOutEventAttributes(a) => (failed_outcome(a.failure.as_ref()), a.failure.as_ref()),
        Attributes::ActivityTaskCanceledEventAttributes(_) => (AttemptOutcome::Canceled, None),
        _ => (AttemptOutcome::Unspecified, None),
    }
}

impl Execution {
    /// The attempts of the pending activities: those that have ended, and the one that runs or waits. Of a closed activity without
    /// workflow, whose history tells of no attempt, all that are kept.
    pub fn pending_attempts(&self) -> Vec<AttemptLog> {
        let state = &self.state;
        if !self.is_open() {
            return self.attempts_of_closed().into_iter().collect();
        }
        let all = state.derived.activities.keys().filter_map(|id| pending(state, *id));
        all.map(|(info, progress)| {
            let mut log = log_of(info, progress);
            let outcome = if progress.is_started() { AttemptOutcome::Running } else { AttemptOutcome::Waiting };
            log.push(record(progress, Timestamp(0), outcome, None));
            log
        })
        .collect()
    }

    /// Of an activity without workflow that is closed; `None` if no worker has had it.
    fn attempts_of_closed(&self) -> Option<AttemptLog> {
        let own = standalone::part(&self.state)?;
        let info = self.state.derived.activities.get(&standalone::SCHEDULED_EVENT_ID)?;
        let progress = self.state.progress.activities.get(&standalone::SCHEDULED_EVENT_ID)?;
        let failure = match own.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()) {
            Some(Value::Failure(failure)) => Some(failure),
            _ => None,
        };
        let main = &self.state.derived.main;
        let outcome = match WorkflowExecutionStatus::try_from(main.status).unwrap_or_default() {
            WorkflowExecutionStatus::Completed => AttemptOutcome::Completed,
            WorkflowExecutionStatus::Canceled => AttemptOutcome::Canceled,
            WorkflowExecutionStatus::Terminated => AttemptOutcome::RunClosed,
            _ => failed_outcome(failure),
        };
        let mut log = log_of(info, progress);
        if progress.is_started() || !log.attempts.is_empty() {
            // What closed it is told of the attempt unless it was no failure of its own.
            let failure = failure.filter(|_| !matches!(outcome, AttemptOutcome::Canceled | AttemptOutcome::RunClosed));
            log.push(record(progress, Timestamp(main.close_time), outcome, failure));
            return Some(log);
        }
        None
    }
}

/// Makes logs of the activities that a history closes with one attempt, which has no record of its own.
#[derive(Debug, Default)]
pub struct AttemptsOfHistory {
    open: Vec<AttemptLog>,
    closed: Vec<AttemptLog>,
}

impl AttemptsOfHistory {
    /// Takes the next event.
    pub fn event(&mut self, event: &HistoryEvent) {
        let Some(attributes) = &event.attributes else { return };
        let time = event.event_time.as_ref().map(Timestamp::from_api).unwrap_or_default().0;
        match attributes {
            Attributes::ActivityTaskScheduledEventAttributes(a) => self.open.push(AttemptLog {
                scheduled_event_id: event.event_id,
                activity_id: a.activity_id.clone(),
                activity_type: a.activity_type.as_ref().map_or_else(String::new, |t| t.name.clone()),
                attempts: alloc::vec![AttemptRecord { attempt: 1, scheduled_time: time, ..Default::default() }],
                dropped: 0,
            }),
            Attributes::ActivityTaskStartedEventAttributes(a) => {
                let Some(log) = self.open.iter_mut().find(|log| log.scheduled_event_id == a.scheduled_event_id) else { return };
                log.dropped = i64::from(a.attempt.max(1)) - 1;
                if let Some(record) = log.attempts.last_mut() {
                    record.attempt = a.attempt;
                    record.started_time = time;
                    record.identity = cut(&a.identity, NAME_BYTES_MAX);
                    if a.attempt > 1 {
                        record.scheduled_time = 0;
                    }
                }
            }
            Attributes::ActivityTaskCompletedEventAttributes(a) => self.close(a.scheduled_event_id, time, attributes),
            Attributes::ActivityTaskFailedEventAttributes(a) => self.close(a.scheduled_event_id, time, attributes),
            Attributes::ActivityTaskTimedOutEventAttributes(a) => self.close(a.scheduled_event_id, time, attributes),
            Attributes::ActivityTaskCanceledEventAttributes(a) => self.close(a.scheduled_event_id, time, attributes),
            _ => {}
        }
    }

    fn close(&mut self, scheduled_event_id: i64, time: i64, closing: &Attributes) {
        let Some(at) = self.open.iter().position(|log| log.scheduled_event_id == scheduled_event_id) else { return };
        let mut log = self.open.swap_remove(at);
        let (outcome, failure) = outcome_of(closing);
        if let Some(record) = log.attempts.last_mut() {
            let ended = AttemptRecord { ended_time: time, outcome: outcome as i32, ..core::mem::take(record) };
            let failed = self::record(&ActivityProgress::default(), Timestamp(time), outcome, failure);
            *record = AttemptRecord { failure_message: failed.failure_message, failure_type: failed.failure_type, ..ended };
        }
        self.closed.push(log);
    }

    /// The closed activities, in the order of their ends.
    pub fn closed(self) -> Vec<AttemptLog> {
        self.closed
    }
}

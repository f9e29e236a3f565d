//! From scheduling to a worker's hands: offers, starts, the poll response (spec 03 §4, §10).

use alloc::{
    boxed::Box,
    string::{String, ToString},
    sync::Arc,
    vec::Vec,
};

use bytes::Bytes;
use sempre_api::v1::{common::WorkflowType, enums::TimeoutType, workflowservice::PollActivityTaskQueueResponse};

use super::{Answer, change, options::Options, pending};
use crate::{
    Reply, Span, TaskToken, Timestamp,
    input::Poller,
    planted::{self, Bug},
    rules, standalone,
    state::{ActivityProgress, rows::Kind},
    step::{Standing, Step},
    task,
    transition::{QueueKind, QueueName},
    validate,
    versioning::{self, start::Admission},
};

/// After ActivityTaskScheduled was written: makes its progress and offers the first attempt (unless eager).
///
/// An eager attempt is not offered: [`start_eager`] takes it in the same transition. Should nobody do so, it
/// is due now and the next wake-up offers it.
pub(crate) fn schedule(step: &mut Step<'_, '_>, scheduled_event_id: i64, eager: bool) {
    let stamp = step.next_stamp();
    let progress = ActivityProgress { attempt: 1, stamp, scheduled_time: step.now().0, ..Default::default() };
    step.run.state.progress.activities.insert(scheduled_event_id, Arc::new(progress));
    step.run.state.dirty.mark(Kind::Attempt, scheduled_event_id);
    step.touch();
    if !eager && !step.run.is_paused() {
        offer(step, scheduled_event_id);
    }
}

/// As [`schedule`], for an attempt that is due after a delay; timeouts count from then.
pub(crate) fn schedule_after(step: &mut Step<'_, '_>, scheduled_event_id: i64, delay: Span) {
    if delay.is_zero() {
        return schedule(step, scheduled_event_id, false);
    }
    schedule(step, scheduled_event_id, true);
    let begin = step.now() + delay;
    change(step, scheduled_event_id, |p| {
        p.taken_over = begin.0;
        p.scheduled_time = begin.0;
    });
}

/// An activity among the events that a reset gave the run: as [`schedule`], and its timeouts count from `now`.
pub(crate) fn take_over(step: &mut Step<'_, '_>, scheduled_event_id: i64, now: Timestamp) {
    schedule(step, scheduled_event_id, false);
    change(step, scheduled_event_id, |p| p.taken_over = now.0);
}

/// Offers the current attempt to its queue.
pub(super) fn offer(step: &mut Step<'_, '_>, scheduled_event_id: i64) {
    let Some((queue, standing)) = place(step, scheduled_event_id) else { return };
    let now = step.now();
    let line = task::line_of(&queue);
    change(step, scheduled_event_id, |p| (p.offered_at, p.ranked, p.line) = (now.0, false, line));
    let stamp = step.run.state.progress.activities.get(&scheduled_event_id).map_or(0, |p| p.stamp);
    step.offer(queue, String::new(), scheduled_event_id, stamp, standing);
}

/// Takes the current attempt's offer back, if there is one.
pub(super) fn withdraw(step: &mut Step<'_, '_>, scheduled_event_id: i64) {
    let progress = step.run.state.progress.activities.get(&scheduled_event_id);
    let (offered_at, ranked) = progress.map_or((0, false), |p| (p.offered_at, p.ranked));
    if offered_at == 0 {
        return;
    }
    if let Some((queue, standing)) = place(step, scheduled_event_id) {
        let line = step.run.state.progress.activities.get(&scheduled_event_id).and_then(|p| p.line.as_ref());
        let queue = step.offered_queue(&queue.name, QueueKind::Activity, false, line);
        step.withdraw(&queue, standing.priority, ranked, offered_at, scheduled_event_id);
    }
    change(step, scheduled_event_id, |p| (p.offered_at, p.ranked, p.line) = (0, false, None));
}

/// The run is paused: what no worker has is no longer on offer.
pub(crate) fn hold_all(step: &mut Step<'_, '_>) {
    for id in waiting(step) {
        withdraw(step, id);
        let stamp = step.next_stamp();
        change(step, id, |p| p.stamp = stamp);
    }
}

/// The run is no longer paused: what is due is offered; what waits for a retry goes on waiting.
pub(crate) fn release_all(step: &mut Step<'_, '_>) {
    let now = step.now();
    for id in waiting(step) {
        let due = pending(&step.run.state, id).is_some_and(|(_, p)| p.waits_for_retry() && p.pause.is_none() && p.due() <= now);
        if due {
            let stamp = step.next_stamp();
            change(step, id, |p| p.stamp = stamp);
            offer(step, id);
        }
    }
}

/// The current attempt, which no worker has, becomes due at `due`: at once, or when its time comes. What was
/// offered before is obsolete. While it or the run is paused nothing is offered.
pub(super) fn reschedule(step: &mut Step<'_, '_>, scheduled_event_id: i64, due: Timestamp) {
    withdraw(step, scheduled_event_id);
    let stamp = step.next_stamp();
    change(step, scheduled_event_id, |p| {
        p.stamp = stamp;
        p.scheduled_time = due.0;
    });
    let paused = step.run.is_paused() || pending(&step.run.state, scheduled_event_id).is_none_or(|(_, p)| p.pause.is_some());
    if !paused && due <= step.now() {
        offer(step, scheduled_event_id);
    }
}

/// Pending activities that no worker has.
fn waiting(step: &Step<'_, '_>) -> Vec<i64> {
    let state = &step.run.state;
    let ids = state.progress.activities.keys().copied();
    ids.filter(|id| pending(state, *id).is_some_and(|(_, progress)| !progress.is_started())).collect()
}

/// Takes the offers of all activities back. Returns which had one.
pub(crate) fn withdraw_all(step: &mut Step<'_, '_>) -> Vec<i64> {
    let offered = step.run.state.progress.activities.iter().filter(|(_, p)| p.offered_at != 0);
    let ids: Vec<i64> = offered.map(|(id, _)| *id).collect();
    ids.iter().for_each(|id| withdraw(step, *id));
    ids
}

/// Offers the attempts of these activities again.
pub(crate) fn offer_again(step: &mut Step<'_, '_>, ids: Vec<i64>) {
    ids.into_iter().for_each(|id| offer(step, id));
}

/// Queue of the activity's offers, and how they stand there.
fn place(step: &Step<'_, '_>, scheduled_event_id: i64) -> Option<(QueueName, Standing)> {
    let derived = &step.run.state.derived;
    let progress = step.run.state.progress.activities.get(&scheduled_event_id)?;
    let options = Options::of(derived.activities.get(&scheduled_event_id)?, progress);
    let own = Some(options.task_queue()).filter(|name| !name.is_empty());
    let queue = step.queue(own.unwrap_or_else(|| derived.start.task_queue()), QueueKind::Activity, false);
    Some((queue, Standing::new(derived.priority(), options.priority())))
}

/// A poller takes the attempt that was offered with `stamp`.
pub(crate) fn start(step: &mut Step<'_, '_>, scheduled_event_id: i64, stamp: u32, poller: Poller) -> Answer {
    let Some((_, progress)) = pending(&step.run.state, scheduled_event_id).filter(|_| step.run.is_open()) else {
        return Ok(Ok(Reply::Obsolete));
    };
    if progress.stamp != stamp {
        return Ok(Ok(Reply::Obsolete));
    }
    if progress.is_started() && !planted::is(Bug::ActivitiesGivenTwice) {
        let repeated = progress.request_id == poller.request_id && !poller.request_id.is_empty();
        let task = repeated.then(|| given(step, scheduled_event_id)).flatten();
        return Ok(Ok(task.map_or(Reply::Obsolete, Reply::ActivityTask)));
    }
    // Later attempts were looked at before they were offered.
    if progress.attempt <= 1 && rules::pauses(step, scheduled_event_id) {
        return Ok(Ok(Reply::Obsolete));
    }
    let queue = place(step, scheduled_event_id).map(|(queue, _)| queue.name).unwrap_or_default();
    match versioning::start::activity_task(step, &queue, &poller) {
        Admission::Taken => {}
        Admission::Held => {
            withdraw(step, scheduled_event_id);
            return Ok(Ok(Reply::Obsolete));
        }
        Admission::Obsolete => {
            // It was made before the version had the queue: the next is for the version's workers.
            withdraw(step, scheduled_event_id);
            let stamp = step.next_stamp();
            change(step, scheduled_event_id, |p| p.stamp = stamp);
            offer(step, scheduled_event_id);
            return Ok(Ok(Reply::Obsolete));
        }
    }
    begin(step, scheduled_event_id, poller);
    let task = given(step, scheduled_event_id);
    Ok(Ok(task.map_or(Reply::Obsolete, Reply::ActivityTask)))
}

/// The poll that took the current attempt has gone without it: it was no attempt, and is due again at once.
pub(crate) fn lost(step: &mut Step<'_, '_>, scheduled_event_id: i64, request_id: &str) -> Answer {
    let progress = pending(&step.run.state, scheduled_event_id).map(|(_, progress)| progress);
    let taken = progress.filter(|p| step.run.is_open() && p.is_started() && p.request_id == request_id);
    let Some(due) = taken.map(|p| p.due()) else { return Ok(Ok(Reply::Obsolete)) };
    change(step, scheduled_event_id, |p| {
        p.started_time = 0;
        p.identity = String::new();
        p.request_id = String::new();
        p.worker_version = None;
    });
    reschedule(step, scheduled_event_id, due);
    Ok(Ok(Reply::Done))
}

/// Starts an eager attempt in the completing worker's hands (spec 03 §10). Call after all commands.
pub(crate) fn start_eager(step: &mut Step<'_, '_>, scheduled_event_id: i64, identity: &str) -> Option<PollActivityTaskQueueResponse> {
    let (_, progress) = pending(&step.run.state, scheduled_event_id)?;
    if progress.is_started() {
        return None;
    }
    let request_id = step.cx.ids.uuid();
    begin(step, scheduled_event_id, Poller { identity: identity.into(), request_id, ..Poller::default() });
    given(step, scheduled_event_id).map(|task| *task)
}

/// The attempt is in a worker's hands now. No event: history learns of it when the activity closes.
fn begin(step: &mut Step<'_, '_>, scheduled_event_id: i64, poller: Poller) {
    withdraw(step, scheduled_event_id);
    let now = step.now();
    if let Some(own) = &mut step.run.state.progress.main.standalone {
        (own.sdk_name, own.sdk_version) = (poller.sdk.name, poller.sdk.version);
    }
    change(step, scheduled_event_id, |p| {
        p.started_time = now.0;
        p.identity = poller.identity;
        p.request_id = poller.request_id;
        p.reset = false;
        p.token_attempt = 0;
        p.worker_version = poller.worker_version;
    });
}

/// What the worker is given.
fn given(step: &Step<'_, '_>, scheduled_event_id: i64) -> Option<Box<PollActivityTaskQueueResponse>> {
    let (info, progress) = pending(&step.run.state, scheduled_event_id)?;
    let (scheduled, start) = (info.scheduled(), &step.run.state.derived.start);
    let options = Options::of(info, progress);
    let key = &step.run.key;
    let token = TaskToken {
        namespace_id: Bytes::copy_from_slice(&key.workflow.namespace.0.0),
        workflow_id: key.workflow.workflow_id.clone(),
        run_id: Bytes::copy_from_slice(&key.run.0.0),
        scheduled_event_id,
        started_event_id: 0,
        attempt: progress.token_attempt(),
        started_time: progress.started_time,
        activity_id: scheduled.activity_id.clone(),
    };
    let workflow = standalone::activity_id(&key.workflow).is_none();
    Some(Box::new(PollActivityTaskQueueResponse {
        task_token: token.to_bytes(),
        workflow_namespace: step.cx.namespace.name.clone(),
        workflow_type: workflow.then(|| WorkflowType { name: start.workflow_type().into() }),
        workflow_execution: workflow.then(|| key.to_api()),
        activity_run_id: if workflow { String::new() } else { key.run.to_string() },
        activity_type: scheduled.activity_type.clone(),
        activity_id: scheduled.activity_id.clone(),
        header: scheduled.header.clone(),
        input: scheduled.input.clone(),
        heartbeat_details: progress.heartbeat_details.clone(),
        scheduled_time: Some(progress.first_scheduled(info).to_api()),
        current_attempt_scheduled_time: Some(progress.due().to_api()),
        started_time: Some(Timestamp(progress.started_time).to_api()),
        attempt: progress.attempt,
        schedule_to_close_timeout: options.duration(TimeoutType::ScheduleToClose),
        start_to_close_timeout: options.duration(TimeoutType::StartToClose),
        heartbeat_timeout: options.duration(TimeoutType::Heartbeat),
        retry_policy: options.retry_policy().cloned(),
        priority: validate::merge_priority(step.run.state.derived.priority(), options.priority()),
        ..Default::default()
    }))
}

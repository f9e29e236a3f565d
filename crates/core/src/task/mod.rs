//! The workflow task: scheduling, sticky queues, attempts, timeouts (spec 02 §1).
//!
//! | state | input | next |
//! |---|---|---|
//! | none | news for the workflow | scheduled (real, or transient when attempt > 1 and nothing new) |
//! | scheduled | poll | started |
//! | scheduled on a sticky queue | schedule-to-start timeout | TimedOut event, scheduled on the normal queue |
//! | started | the poll has gone without it | on offer again, started as before: history knows the start ([`lost`]) |
//! | started | completion | none, or scheduled or started again |
//! | started | failure, bad commands, start-to-close timeout | scheduled with attempt + 1 (1 if the run was sticky) |
//! | any | close | none |
//!
//! Speculative tasks have a table of their own ([`speculative`]), and completions in pages ([`pages`]).

pub(crate) mod complete;
pub(crate) mod fail;
pub(crate) mod lost;
pub(crate) mod pages;
pub(crate) mod problems;
pub(crate) mod speculative;
pub(crate) mod start;

use alloc::{boxed::Box, string::String, vec::Vec};

use sempre_api::v1::{
    deployment::WorkerDeploymentVersion,
    enums::{TaskQueueKind, TimeoutType, WorkflowTaskFailedCause},
    history::{
        HistoryEvent, WorkflowTaskFailedEventAttributes, WorkflowTaskScheduledEventAttributes, WorkflowTaskStartedEventAttributes,
        WorkflowTaskTimedOutEventAttributes, history_event::Attributes,
    },
    taskqueue::TaskQueue,
};

use crate::{
    Refusal, Reply, Span, TaskToken, Timestamp, event_type, flow,
    planted::{self, Bug},
    refusal::text,
    state::{State, Task},
    step::Step,
    transition::{QueueKind, QueueName},
    versioning,
};

/// Attempt from which each further try gets more time (spec 02 §1.1).
const BACKOFF_ATTEMPT_FIRST: i32 = 4;
/// Extra time of that attempt; doubles with each further one.
const BACKOFF_INITIAL: Span = Span::seconds(5);
/// Identity of events that the server writes by itself.
pub(crate) const SERVER_IDENTITY: &str = "history-service";

/// Schedules a workflow task if none is pending, the run is open and its first task is not delayed.
pub(crate) fn schedule_if_needed(step: &mut Step<'_, '_>) {
    let main = &step.run.state.progress.main;
    if step.run.is_open() && main.task.is_none() && main.first_task_at == 0 && !main.held && !flow::hold::is_held(&step.run.state) {
        schedule(step, ScheduleHow::Offered);
    }
}

/// What happens to a freshly scheduled task.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScheduleHow {
    /// Offered to its queue.
    Offered,
    /// Kept: the caller starts it in the same transition (eager start, inline task).
    Kept,
}

/// Schedules a workflow task. Flushes the buffer first; an attempt above 1 with nothing new is transient.
/// A paused run gets none: its unpausing schedules one (spec 01 §15).
pub(crate) fn schedule(step: &mut Step<'_, '_>, how: ScheduleHow) {
    debug_assert!(step.run.state.progress.main.task.is_none());
    if step.run.is_paused() {
        return;
    }
    let mut attempt = step.run.state.progress.main.attempt.max(1);
    if !step.run.state.progress.buffer.is_empty() {
        step.flush();
        attempt = 1;
    }
    let now = step.now();
    if step.run.state.progress.main.sticky.is_some() && versioning::leaves_sticky(step) {
        step.run.state.progress.main.sticky = None;
    }
    let state = &step.run.state;
    let normal: String = state.derived.start.task_queue().into();
    let (queue, sticky_timeout) = match &state.progress.main.sticky {
        Some(sticky) => (sticky.queue.clone(), sticky.schedule_to_start.max(1)),
        None => (normal.clone(), 0),
    };
    let timeout = attempt_timeout(step, attempt);
    let transient = attempt > 1;
    let stamp = step.next_stamp();
    let mut task = Task {
        transient,
        scheduled_event_id: step.run.next_event_id(),
        attempt,
        scheduled_time: now.0,
        original_scheduled_time: now.0,
        timeout: timeout.0,
        stamp,
        queue: queue.clone(),
        sticky_timeout,
        ..Default::default()
    };
    if !transient {
        let attributes = scheduled_attributes(&task, &normal);
        task.scheduled_event_id = step.event(attributes);
    }
    if how == ScheduleHow::Offered {
        task.offered_at = step.wall().0;
        let name = step.queue(&queue, QueueKind::Workflow, sticky_timeout > 0);
        task.line = line_of(&name);
        let normal_name = if sticky_timeout > 0 { normal } else { String::new() };
        let standing = step.workflow_standing();
        step.offer(name, normal_name, task.scheduled_event_id, stamp, standing);
    }
    let main = &mut step.run.state.progress.main;
    main.attempt = attempt;
    main.task = Some(Box::new(task));
    step.touch();
}

/// Start-to-close timeout of an attempt (spec 02 §1.1): the server's brake on failing tasks.
fn attempt_timeout(step: &mut Step<'_, '_>, attempt: i32) -> Span {
    let base = step.run.state.derived.start.task_timeout();
    if attempt < BACKOFF_ATTEMPT_FIRST {
        return base;
    }
    let doublings = (attempt - BACKOFF_ATTEMPT_FIRST).min(20) as u32;
    let extra = BACKOFF_INITIAL.0.saturating_mul(1i64 << doublings).min(step.cx.limits.task_retry_interval_max.0);
    // Up to 20 % less, so that many failing runs do not come back in step.
    let random = u16::from_le_bytes([step.cx.ids.random()[0], step.cx.ids.random()[1]]);
    Span(base.0 + extra - extra / 5 * i64::from(random) / i64::from(u16::MAX))
}

/// Attributes of the task's Scheduled event.
pub(crate) fn scheduled_attributes(task: &Task, normal_queue: &str) -> Attributes {
    let sticky = task.sticky().is_some();
    Attributes::WorkflowTaskScheduledEventAttributes(WorkflowTaskScheduledEventAttributes {
        task_queue: Some(TaskQueue {
            name: task.queue.clone(),
            kind: if sticky { TaskQueueKind::Sticky } else { TaskQueueKind::Normal } as i32,
            normal_name: if sticky { normal_queue.into() } else { String::new() },
        }),
        start_to_close_timeout: Span(task.timeout).to_api_option(),
        attempt: task.attempt,
    })
}

/// Attributes of the task's Started event.
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
pub(crate) fn started_attributes(task: &Task) -> Attributes {
    Attributes::WorkflowTaskStartedEventAttributes(WorkflowTaskStartedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        identity: task.identity.clone(),
        request_id: task.request_id.clone(),
        suggest_continue_as_new: task.suggest_continue_as_new,
        suggest_continue_as_new_reasons: task.suggest_reasons.clone(),
        history_size_bytes: task.history_size,
        worker_version: task.worker_version.clone(),
        target_worker_deployment_version_changed: task.target_changed,
        ..Default::default()
    })
}

/// An event with its type, time and id, not written.
fn virtual_event(id: i64, time: i64, attributes: Attributes) -> HistoryEvent {
    HistoryEvent {
        event_id: id,
        task_id: id,
        event_time: Some(Timestamp(time).to_api()),
        event_type: event_type::of(&attributes) as i32,
        attributes: Some(attributes),
        ..Default::default()
    }
}

/// The Scheduled and Started events of a transient or speculative task: not in history until it completes.
pub(crate) fn virtual_events(state: &State) -> Vec<HistoryEvent> {
    let Some(task) = state.progress.main.task.as_deref().filter(|t| t.is_virtual()) else { return Vec::new() };
    if !state.derived.is_open() || task.scheduled_event_id != state.derived.main.next_event_id {
        return Vec::new();
    }
    let normal = state.derived.start.task_queue();
    let mut events = alloc::vec![virtual_event(task.scheduled_event_id, task.scheduled_time, scheduled_attributes(task, normal))];
    if task.is_started() {
        events.push(virtual_event(task.started_event_id, task.started_time, started_attributes(task)));
    }
    events
}

/// The line that an offer is on, as the task remembers it.
pub(crate) fn line_of(queue: &QueueName) -> Option<WorkerDeploymentVersion> {
    queue.version.as_ref().map(|version| version.to_api())
}

/// Takes the offer of the pending task back (it is started, or gone). True when there was one.
pub(crate) fn withdraw_offer(step: &mut Step<'_, '_>) -> bool {
    let Some(task) = step.run.state.progress.main.task.as_mut() else { return false };
    let (offered_at, ranked) = (core::mem::take(&mut task.offered_at), core::mem::take(&mut task.ranked));
    if offered_at == 0 {
        return false;
    }
    let line = task.line.take();
    let (queue, sticky, id) = (task.queue.clone(), task.sticky().is_some(), task.scheduled_event_id);
    let name = step.offered_queue(&queue, QueueKind::Workflow, sticky, line.as_ref());
    let priority = step.workflow_standing().priority;
    step.withdraw(&name, priority, ranked, offered_at, id);
    true
}

/// A pending task whose offer was withdrawn goes to the normal queue when it is offered again.
pub(crate) fn leave_sticky_queue(step: &mut Step<'_, '_>) {
    let normal: String = step.run.state.derived.start.task_queue().into();
    if let Some(task) = step.run.state.progress.main.task.as_mut().filter(|task| !task.is_started()) {
        task.sticky_timeout = 0;
        task.queue = normal;
    }
}

/// Offers the pending task whose offer was withdrawn, to the same queue.
pub(crate) fn offer_again(step: &mut Step<'_, '_>) {
    let now = step.wall();
    let Some(task) = step.run.state.progress.main.task.as_mut() else { return };
    task.offered_at = now.0;
    let (queue, sticky, id, stamp) = (task.queue.clone(), task.sticky().is_some(), task.scheduled_event_id, task.stamp);
    let normal_name = if sticky { step.run.state.derived.start.task_queue().into() } else { String::new() };
    let (name, standing) = (step.queue(&queue, QueueKind::Workflow, sticky), step.workflow_standing());
    if let Some(task) = step.run.state.progress.main.task.as_mut() {
        task.line = line_of(&name);
    }
    step.offer(name, normal_name, id, stamp, standing);
}

/// Ends the pending task without an event: its offer goes, nothing is pending.
pub(crate) fn clear(step: &mut Step<'_, '_>) {
    withdraw_offer(step);
    step.run.state.progress.main.task = None;
    step.touch();
}

/// The task a token names, or NOT_FOUND (spec 02 §2.1).
pub(crate) fn named_by<'t>(step: &'t Step<'_, '_>, token: &TaskToken) -> Result<&'t Task, Refusal> {
    let task = step.run.state.progress.main.task.as_deref().filter(|task| {
        step.run.is_open()
            && task.is_started()
            && !task.lost
            && (planted::is(Bug::StaleTaskTokens)
                || task.scheduled_event_id == token.scheduled_event_id
                    && task.started_event_id == token.started_event_id
                    && task.attempt == token.attempt
                    && task.started_time == token.started_time)
    });
    task.ok_or_else(|| Refusal::not_found(text::WORKFLOW_TASK_NOT_FOUND))
}

/// Token of the started task.
pub(crate) fn token(step: &Step<'_, '_>, task: &Task) -> TaskToken {
    let key = &step.run.key;
    TaskToken {
        namespace_id: bytes::Bytes::copy_from_slice(&key.workflow.namespace.0.0),
        workflow_id: key.workflow.workflow_id.clone(),
        run_id: bytes::Bytes::copy_from_slice(&key.run.0.0),
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        started_time: task.started_time,
        activity_id: String::new(),
    }
}

/// Counts a failure or timeout for the next attempt; a sticky run starts over at 1 (spec 02 §1.4).
pub(crate) fn count_failure(step: &mut Step<'_, '_>) {
    let main = &mut step.run.state.progress.main;
    if main.sticky.take().is_some() {
        main.attempt = 1;
    } else {
        main.attempt = main.attempt.max(1) + 1;
        main.task_problems += 1;
    }
    step.touch();
}

/// Writes WorkflowTaskFailed for the started task (attempt 1 only: transient ones leave no trace),
/// and clears the task. The caller schedules the next.
pub(crate) fn fail_started(step: &mut Step<'_, '_>, failed: WorkflowTaskFailedEventAttributes) {
    speculative::convert_by(step, &failed.identity);
    // One that is started may be on offer again.
    withdraw_offer(step);
    let Some(task) = step.run.state.progress.main.task.take() else { return };
    if !task.transient {
        step.event(Attributes::WorkflowTaskFailedEventAttributes(WorkflowTaskFailedEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            ..failed
        }));
    }
    step.touch();
}

/// Fails a started task because the run is closed over its head (terminate, timeouts; spec 01 §6.1).
/// A merely scheduled or a transient one just goes.
pub(crate) fn force_close(step: &mut Step<'_, '_>) {
    if step.task_started() {
        fail_started(
            step,
            WorkflowTaskFailedEventAttributes {
                cause: WorkflowTaskFailedCause::ForceCloseCommand as i32,
                identity: SERVER_IDENTITY.into(),
                ..Default::default()
            },
        );
        step.flush();
    } else {
        clear(step);
    }
}

/// More buffered events than allowed: the started task fails, the buffer is flushed, a new task is
/// scheduled (spec 01 §2.4).
pub(crate) fn enforce_buffer_limits(step: &mut Step<'_, '_>) {
    let buffer = &step.run.state.progress.buffer;
    let limits = step.cx.limits;
    if !step.task_started() || buffer.events.len() <= limits.buffered_events_max && buffer.bytes() <= limits.buffered_bytes_max {
        return;
    }
    force_close(step);
    step.run.state.progress.main.attempt = 1;
    schedule_if_needed(step);
}

/// Does what is due of the task's timeouts.
pub(crate) fn wake(step: &mut Step<'_, '_>) {
    use crate::deadline::TaskTimeout;
    let Some((at, which)) = crate::deadline::task(&step.run.state) else { return };
    let early = if planted::is(Bug::TaskTimeoutsEarly) { Span::seconds(5) } else { Span::ZERO };
    if at > step.now() + early {
        return;
    }
    let timeout_type = match which {
        TaskTimeout::ScheduleToStart => TimeoutType::ScheduleToStart,
        TaskTimeout::StartToClose => TimeoutType::StartToClose,
    };
    speculative::convert(step);
    withdraw_offer(step);
    let Some(task) = step.run.state.progress.main.task.take() else { return };
    if !task.transient {
        step.event(Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
            scheduled_event_id: task.scheduled_event_id,
            started_event_id: task.started_event_id,
            timeout_type: timeout_type as i32,
        }));
    }
    match which {
        TaskTimeout::ScheduleToStart => {
            let main = &mut step.run.state.progress.main;
            main.sticky = None;
            main.attempt = 1;
            step.touch();
        }
        TaskTimeout::StartToClose => {
            count_failure(step);
            problems::timed_out(step, timeout_type);
        }
    }
    schedule(step, ScheduleHow::Offered);
}

/// Forgets the sticky worker. A task that waits on its queue moves to the normal one.
pub(crate) fn reset_sticky(step: &mut Step<'_, '_>) -> Result<Result<Reply, Refusal>, Refusal> {
    step.require_open()?;
    if step.run.state.progress.main.sticky.take().is_some() {
        step.touch();
    }
    move_to_normal(step);
    Ok(Ok(Reply::Done))
}

/// A task that waits on the sticky queue moves to the normal one. True when a task is pending, wherever it is.
pub(crate) fn move_to_normal(step: &mut Step<'_, '_>) -> bool {
    let Some(task) = step.run.state.progress.main.task.as_ref() else { return false };
    if !task.is_started() && task.sticky().is_some() {
        speculative::convert(step);
        withdraw_offer(step);
        let (now, stamp) = (step.wall(), step.next_stamp());
        let normal: String = step.run.state.derived.start.task_queue().into();
        if let Some(task) = step.run.state.progress.main.task.as_mut() {
            task.sticky_timeout = 0;
            task.queue = normal.clone();
            task.stamp = stamp;
            task.offered_at = now.0;
            let id = task.scheduled_event_id;
            let (queue, standing) = (step.queue(&normal, QueueKind::Workflow, false), step.workflow_standing());
            if let Some(task) = step.run.state.progress.main.task.as_mut() {
                task.line = line_of(&queue);
            }
            step.offer(queue, String::new(), id, stamp, standing);
        }
    }
    true
}

/// The first task is no longer held back: the parent has recorded the start (spec 04 §4.2 step 4).
pub(crate) fn release_first(step: &mut Step<'_, '_>) -> Result<Result<Reply, Refusal>, Refusal> {
    step.require_open()?;
    if !step.run.state.progress.main.held {
        return Ok(Ok(Reply::Done));
    }
    step.run.state.progress.main.held = false;
    step.touch();
    // Unless it has to wait for its time still: a cancel request meanwhile has ended that.
    schedule_if_needed(step);
    Ok(Ok(Reply::Done))
}

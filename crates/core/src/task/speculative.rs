//! Speculative workflow tasks: they bring updates to a worker without writing history (spec 02 §3).
//!
//! | state | what happens | next |
//! |---|---|---|
//! | none | an update is admitted | scheduled in memory; the offer has no row |
//! | scheduled | a poller takes it | started in memory |
//! | scheduled | anything else changes the run | Scheduled written: a normal task, its offer gets a row |
//! | scheduled | nobody takes it in time | Scheduled and TimedOut written, a normal task follows |
//! | started | completed with rejections only | gone without a trace |
//! | started | anything else: commands, acceptance, failure, timeout, another change of the run | Scheduled and Started written, then as any task |
//! | any | the memory is lost | none; those who wait for its updates send them again |
//!
//! Its ids are the next free ones. They stay right because the first event that anybody writes makes the task a
//! normal one ([`convert`], called by [`Step::write`]).

use alloc::{boxed::Box, string::String};

use sempre_api::v1::{protocol::Message, workflowservice::RespondWorkflowTaskCompletedRequest};

use super::{ScheduleHow, schedule, scheduled_attributes, started_attributes};
use crate::{
    Span, Timestamp,
    state::Task,
    step::Step,
    transition::{Offer, OfferKey, QueueKind},
    update, versioning,
};

/// How long a speculative task waits for a poller of the normal queue (spec 02 §1.1).
const START_WITHIN: Span = Span::seconds(5);

/// Schedules a speculative task. None may be pending.
pub(crate) fn schedule_speculative(step: &mut Step<'_, '_>, how: ScheduleHow) {
    if !step.run.state.progress.buffer.is_empty() {
        return schedule(step, how);
    }
    let now = step.now();
    let stamp = step.next_stamp();
    let state = &step.run.state;
    let normal: String = state.derived.start.task_queue().into();
    let sticky = state.progress.main.sticky.as_ref().filter(|_| !versioning::leaves_sticky(step));
    let (queue, sticky_timeout) = match sticky {
        Some(sticky) => (sticky.queue.clone(), sticky.schedule_to_start.max(1)),
        None => (normal.clone(), 0),
    };
    let sticky = sticky_timeout > 0;
    let task = Task {
        speculative: true,
        scheduled_event_id: step.run.next_event_id(),
        attempt: 1,
        scheduled_time: now.0,
        original_scheduled_time: now.0,
        timeout: state.derived.start.task_timeout().0,
        stamp,
        queue: queue.clone(),
        sticky_timeout,
        start_within: if sticky { 0 } else { START_WITHIN.0 },
        ..Default::default()
    };
    // Not a change that has to be written.
    step.run.state.progress.main.task = Some(Box::new(task));
    step.made_speculative = true;
    if how == ScheduleHow::Offered {
        offer(step);
    }
}

/// Offers the scheduled speculative task.
fn offer(step: &mut Step<'_, '_>) {
    let Some(task) = step.run.state.progress.main.task.as_deref() else { return };
    let (sticky, stamp) = (task.sticky().is_some(), task.stamp);
    let queue = step.queue(&task.queue, QueueKind::Workflow, sticky);
    let (priority, fairness) = step.workflow_standing().into_parts();
    let offered = Timestamp(task.scheduled_time) - step.skipped;
    let key =
        OfferKey { queue: queue.hash64(), priority, time: offered, run: step.run.key.run, scheduled_event_id: task.scheduled_event_id };
    let normal_name = if sticky { step.run.state.derived.start.task_queue().into() } else { String::new() };
    let routing = step.routing(&queue.name, queue.kind);
    let run = step.run.key.clone();
    let offer = Offer { key, queue, normal_name, run, stamp, volatile: true, routing, fairness, offered };
    step.out.volatile_offer = Some(Box::new(offer));
}

/// The started speculative task is scheduled again, on the normal queue: nothing of its start was written, and its poll
/// has gone.
pub(super) fn start_over(step: &mut Step<'_, '_>) {
    let (now, stamp) = (step.now(), step.next_stamp());
    let queue: String = step.run.state.derived.start.task_queue().into();
    let Some(task) = step.run.state.progress.main.task.as_deref_mut() else { return };
    *task = Task {
        queue,
        stamp,
        scheduled_time: now.0,
        sticky_timeout: 0,
        start_within: START_WITHIN.0,
        started_event_id: 0,
        started_time: 0,
        request_id: String::new(),
        identity: String::new(),
        worker_version: None,
        ..task.clone()
    };
    step.run.state.progress.main.sticky = None;
    step.made_speculative = true;
    offer(step);
}

/// Makes a pending speculative task a normal one: writes its events, with the times at which they happened. Another change
/// of the run does so: the Started event then names nobody, as the reference has it.
pub(crate) fn convert(step: &mut Step<'_, '_>) {
    convert_by(step, "");
}

/// As [`convert`], for what is done to the task itself: by a worker, or by the server in its place.
pub(crate) fn convert_by(step: &mut Step<'_, '_>, identity: &str) {
    let normal: String = step.run.state.derived.start.task_queue().into();
    let Some(task) = step.run.state.progress.main.task.as_deref_mut().filter(|task| task.speculative) else { return };
    task.speculative = false;
    let skipped = step.skipped;
    let mut events = alloc::vec![(task.scheduled_time, scheduled_attributes(task, &normal))];
    if task.is_started() {
        task.identity = identity.into();
        events.push((task.started_time, started_attributes(task)));
    } else {
        task.offered_at = (Timestamp(task.scheduled_time) - skipped).0;
    }
    let task = task.clone();
    step.out.volatile_offer = None;
    for (time, attributes) in events {
        step.event_at(Timestamp(time), attributes);
    }
    if !task.is_started() {
        let queue = step.queue(&task.queue, QueueKind::Workflow, task.sticky().is_some());
        if let Some(task) = step.run.state.progress.main.task.as_mut() {
            task.line = super::line_of(&queue);
        }
        let normal_name = if task.sticky().is_some() { normal } else { String::new() };
        step.offer_at(Timestamp(task.offered_at), queue, normal_name, task.scheduled_event_id, task.stamp, step.workflow_standing());
    }
    // An update may be the first to wake a run whose start is delayed.
    step.run.state.progress.main.first_task_at = 0;
    step.touch();
}

/// The completion of `task` leaves no trace (spec 02 §3.3): it rejects updates, or ignores them, and nothing else.
pub(crate) fn is_discarded(step: &Step<'_, '_>, task: &Task, request: &RespondWorkflowTaskCompletedRequest) -> bool {
    if !task.speculative || !request.commands.is_empty() || request.force_create_new_workflow_task {
        return false;
    }
    let may_repeat_events = request.capabilities.is_some_and(|c| c.discard_speculative_workflow_task_with_events);
    let allowed = 2 + if may_repeat_events { step.cx.limits.discarded_events_max } else { 0 };
    let main = &step.run.state.derived.main;
    main.next_event_id <= main.previous_started_event_id + allowed
        && request.messages.iter().all(|message: &Message| update::is_rejection(message))
}

/// Ends a task that leaves no trace.
pub(crate) fn discard(step: &mut Step<'_, '_>) {
    step.run.state.progress.main.task = None;
}

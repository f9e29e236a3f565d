//! A started workflow task whose poll has gone before it was answered: nobody has it, so it goes to the next poll.
//!
//! Its start may be in history, so it stays started there; only who has it, and since when, is forgotten. It is no
//! failed attempt, and no timeout runs until the next poller takes it.

use alloc::string::String;

use super::{offer_again, speculative};
use crate::{Refusal, Reply, input::Poller, step::Step};

/// Offers the task again, if that poll took it. To the normal queue: the sticky worker was there no more.
pub(crate) fn workflow_task(step: &mut Step<'_, '_>, request_id: &str) -> Result<Result<Reply, Refusal>, Refusal> {
    let open = step.run.is_open();
    let task = step.run.state.progress.main.task.as_deref_mut();
    let Some(task) = task.filter(|task| open && task.is_started() && !task.lost && task.request_id == request_id) else {
        return Ok(Ok(Reply::Obsolete));
    };
    task.sticky_timeout = 0;
    if task.speculative {
        speculative::start_over(step);
        return Ok(Ok(Reply::Done));
    }
    task.lost = true;
    let stamp = step.next_stamp();
    let queue: String = step.run.state.derived.start.task_queue().into();
    if let Some(task) = step.run.state.progress.main.task.as_deref_mut() {
        task.stamp = stamp;
        task.queue = queue;
    }
    step.run.state.progress.main.sticky = None;
    offer_again(step);
    step.touch();
    Ok(Ok(Reply::Done))
}

/// The next poller has it.
pub(crate) fn found(step: &mut Step<'_, '_>, poller: Poller) {
    let now = step.now();
    if !step.run.state.progress.main.task.as_deref().is_some_and(|task| task.lost) {
        return;
    }
    super::withdraw_offer(step);
    if let Some(task) = step.run.state.progress.main.task.as_deref_mut() {
        task.lost = false;
        task.started_time = now.0;
        task.request_id = poller.request_id;
        task.identity = poller.identity;
        task.worker_version = poller.worker_version;
    }
    step.touch();
}

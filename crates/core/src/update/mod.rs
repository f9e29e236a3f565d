//! Updates: messages with an answer (spec 02 §7).
//!
//! | state | where it is kept | next |
//! |---|---|---|
//! | admitted | memory ([`Waiting`]), or an UpdateAdmitted event after a reset | sent with the next workflow task |
//! | sent | memory | accepted, rejected (no trace), rejected unread, aborted, sent again with the next attempt |
//! | accepted | UpdateAccepted event, row | completed; failed when the run closes |
//! | completed | UpdateCompleted event, row | – |
//!
//! Whoever waits is told by `Transition::update_news`. Those who ask later get the outcome from the UpdateCompleted
//! event: no outcome is kept in state.

mod abort;
mod attach;
mod message;
mod validate;
mod with_start;

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};

use prost::{Message as _, Name};
use sempre_api::{
    Any,
    v1::{
        protocol::{Message, message::SequencingId},
        update::Request,
    },
};

pub(crate) use abort::{closed_before_completion, forget_unwatched, run_closed, task_failed};
pub(crate) use attach::{flushed, is_attached};
pub(crate) use message::{Messages, apply as apply_message, check_bodies, is_rejection, reject_unprocessed};
pub use validate::{poll as validate_poll, update as validate};
pub use with_start::{UpdateWithStart, update_with_start};

use crate::{
    Execution, Limits, Refusal, Reply, flow,
    input::UpdateRequest,
    refusal::text,
    state::State,
    step::Step,
    task::{self, ScheduleHow},
    transition::{UpdateNews, UpdateStatus},
};

/// Attempt of the pending task from which updates are refused: the workflow is failing.
const FAILING_ATTEMPT: i32 = 3;

/// An update that is admitted and not accepted yet.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    /// Its id.
    id: String,
    /// What the worker is sent. `None`: an UpdateAdmitted event in history brings it.
    request: Option<Arc<Request>>,
    /// A worker has been given it.
    sent: bool,
    /// Calls that have attached callbacks since; only of an update with a request.
    attached: Vec<Arc<Request>>,
}

/// Whether updates that a worker has been given already are sent again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    /// The worker that had them has lost them: failed, timed out.
    Yes,
    /// It has them still: the task is a heartbeat.
    No,
}

fn id_of(request: &Request) -> &str {
    request.meta.as_ref().map_or("", |meta| &meta.update_id)
}

impl Waiting {
    pub(crate) fn new(request: Box<Request>) -> Self {
        Self { id: id_of(&request).into(), request: Some(Arc::from(request)), sent: false, attached: Vec::new() }
    }

    /// An event has admitted it.
    fn admitted(id: String) -> Self {
        Self { id, request: None, sent: false, attached: Vec::new() }
    }

    /// It would be lost with the memory, or the fact that it was sent would be.
    pub(crate) fn is_in_memory_only(&self) -> bool {
        self.request.is_some() || self.sent
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        2 * self.id.len() + self.request.iter().chain(&self.attached).map(|request| request.encoded_len()).sum::<usize>()
    }
}

/// Updates that only events have admitted (spec 02 §7.6): found again when a run is loaded.
pub(crate) fn admitted_by_events(state: &State) -> Vec<Waiting> {
    if !state.derived.is_open() {
        return Vec::new();
    }
    let rejected = &state.progress.main.rejected_updates;
    let waiting = state.derived.updates.all_only_admitted().filter(|(number, _)| !rejected.contains(number));
    waiting.map(|(_, id)| Waiting::admitted(id.into())).collect()
}

/// Writes (or buffers) the event that admits an update again after a reset: durable, and part of the history that the next workflow
/// task brings to the worker, so the update is not sent as a message as well. The caller schedules that task.
///
/// An id that the run knows already stays what it is: ids are a run's own, and a chain may use one again.
pub(crate) fn readmit(step: &mut Step<'_, '_>, request: Request, origin: sempre_api::v1::enums::UpdateAdmittedEventOrigin) {
    use sempre_api::v1::history::{HistoryEvent, WorkflowExecutionUpdateAdmittedEventAttributes, history_event::Attributes};
    let id = String::from(id_of(&request));
    if step.run.state.derived.updates.get(&id).is_some() || step.run.updates.iter().any(|u| u.id == id) {
        return;
    }
    let now = step.now();
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        links: request.links.clone(),
        attributes: Some(Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(Box::new(
            WorkflowExecutionUpdateAdmittedEventAttributes { request: Some(request), origin: origin as i32 },
        ))),
        ..Default::default()
    });
    step.run.updates.push(Waiting::admitted(id));
}

/// How far the update is, if the run knows it.
pub fn status(run: &Execution, update_id: &str) -> Option<UpdateStatus> {
    if run.updates.iter().any(|u| u.id == update_id) {
        return Some(UpdateStatus::Admitted);
    }
    let info = run.state.derived.updates.get(update_id)?;
    Some(match info {
        info if info.completed_event_id != 0 => UpdateStatus::Completed { event_id: info.completed_event_id },
        info if info.accepted_event_id == 0 => return None,
        _ if run.is_open() => UpdateStatus::Accepted,
        _ => UpdateStatus::Failed(Box::new(abort::closed_before_completion())),
    })
}

/// Admits an update, or finds it (spec 02 §7.2; the checks are in its order).
pub(crate) fn update(step: &mut Step<'_, '_>, input: UpdateRequest) -> Result<Result<Reply, Refusal>, Refusal> {
    let first_run_id = &step.run.state.derived.start.event().first_execution_run_id;
    if !input.first_run_id.is_empty() && input.first_run_id != *first_run_id {
        return Err(Refusal::not_found(text::EXECUTION_NOT_FOUND));
    }
    let known = status(step.run, id_of(&input.request));
    if !step.run.is_open() {
        return known.map(|status| Ok(Reply::Update(status))).ok_or_else(Refusal::closed);
    }
    if step.run.is_paused() {
        return Err(Refusal::FailedPrecondition("Workflow is paused. Cannot update the workflow.".into()));
    }
    let main = &step.run.state.progress.main;
    if main.attempt >= FAILING_ATTEMPT {
        return Err(Refusal::WorkflowNotReady("Unable to perform workflow execution update due to Workflow Task in failed state.".into()));
    }
    if main.closing && step.task_started() {
        return Err(Refusal::busy(text::CLOSING));
    }
    if let Some(status) = known {
        if !matches!(status, UpdateStatus::Completed { .. }) {
            attach::attach(step, input.request)?;
        }
        return Ok(Ok(Reply::Update(status)));
    }
    step.cx.gate.room_for_more(step.cx.namespace, step.cx.limits)?;
    attach::check_limits(step.run, &input.request, step.cx.limits)?;
    check_limits(step.run, &input.request, step.cx.limits)?;
    step.run.updates.push(Waiting::new(input.request));
    let main = &step.run.state.progress.main;
    // A task that waits for a poller brings it; after one that runs another follows. A child whose parent has not
    // recorded the start gets its first task later.
    if main.task.is_none() && !main.held && !flow::hold::is_held(&step.run.state) {
        task::speculative::schedule_speculative(step, ScheduleHow::Offered);
    }
    Ok(Ok(Reply::Update(UpdateStatus::Admitted)))
}

/// How far an update is (PollWorkflowExecutionUpdate).
pub(crate) fn poll(step: &mut Step<'_, '_>, update_id: &str) -> Result<Result<Reply, Refusal>, Refusal> {
    let status = status(step.run, update_id).ok_or_else(|| Refusal::not_found(format!("update {update_id:?} not found")))?;
    Ok(Ok(Reply::Update(status)))
}

/// Admitted and not completed: those that wait, and the accepted ones. What was rejected is neither.
fn in_flight(run: &Execution) -> usize {
    run.updates.len() + run.state.derived.updates.running()
}

fn check_limits(run: &Execution, request: &Request, limits: &Limits) -> Result<(), Refusal> {
    use sempre_api::v1::enums::ResourceExhaustedCause::ConcurrentLimit;
    let max = limits.updates_in_flight_max;
    if max != 0 && in_flight(run) >= max {
        let message = format!("limit on number of concurrent in-flight updates has been reached ({max})");
        return Err(Refusal::ResourceExhausted { cause: ConcurrentLimit, message });
    }
    check_total(run, limits)?;
    let max = limits.updates_in_flight_bytes_max;
    let accepted = run.state.derived.updates.iter().filter(|u| u.is_running()).map(|u| 2 * u.update_id.len());
    if max != 0 && run.updates.iter().map(Waiting::bytes).chain(accepted).sum::<usize>() + request.encoded_len() >= max {
        let message = format!("limit on total payload size of in-flight updates has been reached ({max} bytes)");
        return Err(Refusal::ResourceExhausted { cause: ConcurrentLimit, message });
    }
    Ok(())
}

fn check_total(run: &Execution, limits: &Limits) -> Result<(), Refusal> {
    let max = limits.updates_max;
    if max != 0 && in_flight(run) + run.state.derived.updates.completed() >= max {
        return Err(Refusal::FailedPrecondition(format!(
            "The limit on the total number of distinct updates in this workflow has been reached ({max}). Make sure any duplicate updates \
             share an Update ID so the server can deduplicate them, and consider rejecting updates that you aren't going to process. You \
             can also Continue-as-New to avoid this; we recommend you check Continue-as-New Suggested in your Workflow."
        )));
    }
    Ok(())
}

/// The run has so many updates that it should continue as new (spec 01 §10).
pub(crate) fn suggests_continue_as_new(run: &Execution, limits: &Limits) -> bool {
    if run.updates.is_empty() && run.state.derived.updates.is_empty() {
        return false;
    }
    let from = (limits.updates_max * limits.updates_suggest_permille).div_ceil(1000);
    from != 0 && in_flight(run) + run.state.derived.updates.completed() >= from
}

/// A workflow task has something to bring.
pub(crate) fn has_messages(run: &Execution) -> bool {
    run.updates.iter().any(|u| u.request.is_some())
}

/// The messages that go with the task that was just started; they count as sent.
pub(crate) fn send(run: &mut Execution, resend: Resend) -> Vec<Message> {
    let started_event_id = run.state.progress.main.task.as_ref().map_or(0, |task| task.started_event_id);
    let mut messages = Vec::new();
    for update in &mut run.updates {
        if update.sent && resend == Resend::No {
            continue;
        }
        update.sent = true;
        let Some(request) = &update.request else { continue };
        messages.push(Message {
            id: message_id(&update.id),
            protocol_instance_id: update.id.clone(),
            sequencing_id: Some(SequencingId::EventId(started_event_id - 1)),
            body: Some(Any { type_url: format!("type.googleapis.com/{}", Request::full_name()), value: request.encode_to_vec() }),
        });
    }
    messages
}

/// Id of the message that brings an update to a worker.
fn message_id(update_id: &str) -> String {
    format!("{update_id}/request")
}

/// What became of an update: replaces earlier news of this transition.
fn tell(step: &mut Step<'_, '_>, update_id: &str, news: UpdateNews) {
    step.out.update_news.retain(|(id, _)| id != update_id);
    step.out.update_news.push((update_id.into(), news));
}

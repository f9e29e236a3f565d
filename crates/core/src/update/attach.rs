//! Calls about an update that is there already attach their completion callbacks to it (spec 08 §5.7).
//!
//! | the update is | the callbacks are |
//! |---|---|
//! | in memory only | kept with it; an event after UpdateAccepted brings them into history |
//! | admitted by an event, accepted | attached at once: one OptionsUpdated event, no workflow task |
//! | completed, rejected, its run closed | not attached: the call's own answer has the outcome |
//!
//! A repeated request id attaches nothing again.

use alloc::{boxed::Box, format, string::String, sync::Arc, vec, vec::Vec};

use sempre_api::v1::{
    history::{
        HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes, history_event::Attributes,
        workflow_execution_options_updated_event_attributes::WorkflowUpdateOptionsUpdate,
    },
    update::Request,
};

use super::id_of;
use crate::{Execution, Limits, Refusal, callbacks, step::Step, transition::UpdateNews};

/// Attaches the callbacks of this request to the update of its id, which is admitted or accepted.
pub(super) fn attach(step: &mut Step<'_, '_>, request: Box<Request>) -> Result<(), Refusal> {
    let id = String::from(id_of(&request));
    if request.completion_callbacks.is_empty() || is_attached(step.run, &id, &request.request_id) {
        return Ok(());
    }
    check_limits(step.run, &request, step.cx.limits)?;
    let in_memory = step.run.updates.iter_mut().find(|update| update.id == id && update.request.is_some());
    match in_memory {
        Some(waiting) => waiting.attached.push(Arc::from(request)),
        None => {
            let event = event(step, &id, &request);
            step.buffer_event(event);
        }
    }
    Ok(())
}

/// The update is accepted: what calls have attached to it since it was sent gets into history.
pub(super) fn accepted(step: &mut Step<'_, '_>, id: &str, attached: Vec<Arc<Request>>) {
    for request in attached {
        let event = event(step, id, &request);
        step.write(event);
    }
}

/// Callbacks of updates may have been written after the end of their update, in the same transition: they are told now.
pub(crate) fn flushed(step: &mut Step<'_, '_>, updates: &[WorkflowUpdateOptionsUpdate]) {
    for update in updates {
        let id = update.update_id.as_str();
        let news = step.out.update_news.iter().find(|(told, _)| told == id).map(|(_, news)| news.clone());
        match news {
            Some(UpdateNews::Completed(_)) => callbacks::update_completed(step, id),
            Some(UpdateNews::Rejected(outcome)) => callbacks::update_rejected(step, id, &outcome),
            _ => {}
        }
    }
}

fn event(step: &Step<'_, '_>, id: &str, request: &Request) -> HistoryEvent {
    let update = WorkflowUpdateOptionsUpdate {
        update_id: id.into(),
        attached_request_id: request.request_id.clone(),
        attached_completion_callbacks: request.completion_callbacks.clone(),
    };
    HistoryEvent {
        event_time: Some(step.now().to_api()),
        links: request.links.clone(),
        worker_may_ignore: true,
        attributes: Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(Box::new(
            WorkflowExecutionOptionsUpdatedEventAttributes {
                identity: request.meta.as_ref().map(|meta| meta.identity.clone()).unwrap_or_default(),
                workflow_update_options: vec![update],
                ..Default::default()
            },
        ))),
        ..Default::default()
    }
}

/// This request id has brought its callbacks already.
pub(crate) fn is_attached(run: &Execution, update_id: &str, request_id: &str) -> bool {
    let known = |request: &Request| request.request_id == request_id;
    let in_memory = run.updates.iter().filter(|update| update.id == update_id);
    let in_memory = in_memory.flat_map(|update| update.request.iter().chain(&update.attached)).any(|request| known(request));
    let (derived, buffer) = (&run.state.derived, &run.state.progress.buffer);
    in_memory
        || derived.callbacks.values().any(|info| info.update_id == update_id && info.request_id == request_id)
        || buffer.update_options().any(|update| update.update_id == update_id && update.attached_request_id == request_id)
}

/// Refuses callbacks beyond what an update and a run may have; also those of an update that is new.
pub(super) fn check_limits(run: &Execution, request: &Request, limits: &Limits) -> Result<(), Refusal> {
    let new = request.completion_callbacks.len();
    if new == 0 {
        return Ok(());
    }
    let id = id_of(request);
    let (mut of_update, mut all) = (0, 0);
    let mut count = |update_id: &str, callbacks: usize| {
        all += callbacks;
        of_update += if update_id == id { callbacks } else { 0 };
    };
    for info in run.state.derived.callbacks.values().filter(|info| !info.is_of_chain()) {
        count(&info.update_id, 1);
    }
    for update in run.state.progress.buffer.update_options() {
        count(&update.update_id, update.attached_completion_callbacks.len());
    }
    for waiting in &run.updates {
        let requests = waiting.request.iter().chain(&waiting.attached);
        count(&waiting.id, requests.map(|request| request.completion_callbacks.len()).sum());
    }
    let over = |limit: usize, attached: usize, what: &str| {
        let text = format!("cannot attach more than {limit} callbacks to {what} ({attached} callbacks already attached)");
        if attached + new > limit { Err(Refusal::FailedPrecondition(text)) } else { Ok(()) }
    };
    over(limits.update_callbacks_max, of_update, "an update")?;
    over(limits.updates_callbacks_max, all, "the updates of a workflow")
}

//! What a start attaches to the run it finds open: request id, completion callbacks, links (spec 01 §3.3.2).
//!
//! It becomes one `WorkflowExecutionOptionsUpdated` event, buffered while a workflow task is started. The workflow
//! need not hear of it: no task follows.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::v1::{
    common::{Callback, Link},
    enums::EventType,
    history::{HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes, history_event::Attributes},
    workflow::OnConflictOptions,
    workflowservice::{StartActivityExecutionRequest, StartNexusOperationExecutionRequest, StartWorkflowExecutionRequest},
};

use crate::{
    Context, Execution, Refusal, Reply, Transition, WorkflowKey,
    limits::{ATTACHED_LINKS_MAX, ATTACHED_REQUEST_IDS_MAX},
    start::request_link,
    state::State,
    step::Step,
};

/// What is attached; empty parts are not.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    request_id: String,
    callbacks: Vec<Callback>,
    links: Vec<Link>,
}

impl Attached {
    /// As [`Attached::new`], of an activity that belongs to no workflow. `None`: nothing.
    pub(crate) fn to_activity(request: StartActivityExecutionRequest) -> Option<Self> {
        let options = request.on_conflict_options?;
        let attached = Self {
            request_id: if options.attach_request_id { request.request_id } else { String::new() },
            callbacks: if options.attach_completion_callbacks { request.completion_callbacks } else { Vec::new() },
            links: if options.attach_links { request.links } else { Vec::new() },
        };
        (!attached.request_id.is_empty() || !attached.callbacks.is_empty() || !attached.links.is_empty()).then_some(attached)
    }

    /// As [`Attached::new`], of a Nexus operation that belongs to no workflow. `None`: nothing.
    pub(crate) fn to_operation(request: StartNexusOperationExecutionRequest) -> Option<Self> {
        let options = request.on_conflict_options?;
        let attached = Self {
            request_id: if options.attach_request_id { request.request_id } else { String::new() },
            callbacks: if options.attach_completion_callbacks { request.completion_callbacks } else { Vec::new() },
            links: if options.attach_links { request.links } else { Vec::new() },
        };
        (!attached.request_id.is_empty() || !attached.callbacks.is_empty() || !attached.links.is_empty()).then_some(attached)
    }

    /// The parts of the request that its options select.
    pub(crate) fn new(request: StartWorkflowExecutionRequest, options: OnConflictOptions) -> Self {
        Self {
            request_id: if options.attach_request_id { request.request_id } else { String::new() },
            callbacks: if options.attach_completion_callbacks { request.completion_callbacks } else { Vec::new() },
            links: if options.attach_links { request.links } else { Vec::new() },
        }
    }
}

/// Attaches to an open run.
pub(crate) fn attach(run: &mut Execution, attached: Attached, cx: &mut Context<'_>) -> Result<Transition, Refusal> {
    let mut step = Step::new(run, cx);
    step.require_open()?;
    step.cx.gate.room_for_more(step.cx.namespace, step.cx.limits)?;
    callbacks_within_limit(&step, attached.callbacks.len())?;
    let main = &mut step.run.state.progress.main;
    let of_activity = main.standalone.as_mut().map(|own| &mut own.attached_links);
    let of_operation = main.operation.as_mut().map(|own| &mut own.attached_links);
    if let Some(links) = of_activity.or(of_operation) {
        links.extend_from_slice(&attached.links);
        let forgotten = links.len().saturating_sub(ATTACHED_LINKS_MAX);
        links.drain(..forgotten);
    }
    let now = step.now();
    step.buffer_event(HistoryEvent {
        event_time: Some(now.to_api()),
        links: attached.links,
        worker_may_ignore: true,
        attributes: Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(Box::new(
            WorkflowExecutionOptionsUpdatedEventAttributes {
                attached_request_id: attached.request_id,
                attached_completion_callbacks: attached.callbacks,
                ..Default::default()
            },
        ))),
        ..Default::default()
    });
    step.out.current = Some(step.current_record());
    Ok(step.finish(Ok(Reply::Done)))
}

fn callbacks_within_limit(step: &Step<'_, '_>, new: usize) -> Result<(), Refusal> {
    let (state, limit) = (&step.run.state, step.cx.limits.callbacks_max);
    let attached = state.derived.callbacks.values().filter(|info| info.is_of_chain()).count() + state.progress.buffer.attached_callbacks();
    if new > 0 && attached + new > limit {
        let what = if step.run.is_operation() { "a Nexus operation" } else { "a workflow" };
        let text = format!("cannot attach more than {limit} callbacks to {what} ({attached} callbacks already attached)");
        return Err(Refusal::FailedPrecondition(text));
    }
    Ok(())
}

/// Request ids attached to the run, oldest first, those of buffered events last.
pub(crate) fn request_ids(state: &State) -> Vec<String> {
    let attached = state.derived.request_ids.values().filter(|attached| attached.update_id.is_empty() && !attached.is_of_signal());
    let mut ids: Vec<String> = attached.map(|attached| attached.request_id.clone()).collect();
    ids.extend(state.progress.buffer.attached_request_ids().map(String::from));
    let forgotten = ids.len().saturating_sub(ATTACHED_REQUEST_IDS_MAX);
    ids.drain(..forgotten);
    ids
}

/// A link to the event that attached this request id.
pub(crate) fn link(key: &WorkflowKey, run_id: &str, request_id: &str, cx: &Context<'_>) -> Link {
    request_link(key, run_id, request_id, EventType::WorkflowExecutionOptionsUpdated, cx)
}

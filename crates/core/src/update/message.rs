//! What a worker says of updates when it completes a workflow task: acceptance, rejection, response (spec 02 §7.3).

use alloc::{boxed::Box, format, string::String, vec::Vec};

use prost::Message as _;
use sempre_api::v1::{
    common::Link,
    enums::WorkflowTaskFailedCause::BadUpdateWorkflowExecutionMessage,
    history::{
        HistoryEvent, WorkflowExecutionUpdateAcceptedEventAttributes, WorkflowExecutionUpdateCompletedEventAttributes,
        history_event::Attributes,
    },
    protocol::Message,
    update::{Acceptance, Outcome, Rejection, Request, Response, outcome::Value},
};

use super::{Waiting, abort, attach, check_total, message_id, tell};
use crate::{
    Refusal, callbacks,
    command::{CommandFailure, Completion},
    retry,
    step::Step,
    transition::UpdateNews,
    validate,
};

/// The protocol whose messages these are.
const PROTOCOL: &str = "temporal.api.update.v1";

/// The messages of a completion; each is taken once.
#[derive(Debug, Default)]
pub(crate) struct Messages(Vec<Message>);

impl Messages {
    pub(crate) fn new(messages: Vec<Message>) -> Self {
        Self(messages)
    }

    /// The message that a command names.
    pub(crate) fn take(&mut self, id: &str) -> Option<Message> {
        let at = self.0.iter().position(|message| message.id == id)?;
        Some(self.0.remove(at))
    }

    /// Those that no command has named.
    pub(crate) fn take_rest(&mut self) -> Vec<Message> {
        core::mem::take(&mut self.0)
    }
}

/// Full name of the message in the body.
fn body_name(message: &Message) -> &str {
    message.body.as_ref().map_or("", |body| body.type_url.rsplit('/').next().unwrap_or_default())
}

/// Refuses messages that cannot be told apart; the task does not fail by it.
pub(crate) fn check_bodies(messages: &[Message]) -> Result<(), Refusal> {
    for message in messages {
        let name = body_name(message);
        if message.body.is_none() {
            return Err(Refusal::invalid("nil message body"));
        } else if name.is_empty() {
            return Err(Refusal::invalid("no message name specified"));
        } else if !name.contains('.') {
            return Err(Refusal::invalid(format!("failed to extract protocol type: no . found in {name:?}")));
        }
    }
    Ok(())
}

/// The message rejects an update.
pub(crate) fn is_rejection(message: &Message) -> bool {
    body_name(message).strip_prefix(PROTOCOL) == Some(".Rejection")
}

fn bad(text: impl Into<String>) -> CommandFailure {
    CommandFailure::new(BadUpdateWorkflowExecutionMessage, text)
}

fn decoded<M: prost::Message + Default>(message: &Message) -> Result<M, CommandFailure> {
    let bytes = message.body.as_ref().map_or(&[][..], |body| &body.value);
    M::decode(bytes).map_err(|error| bad(format!("unable to unmarshal request: {error}")))
}

/// Does what one message says.
pub(crate) fn apply(step: &mut Step<'_, '_>, completion: &mut Completion, message: &Message) -> Result<(), CommandFailure> {
    let name = body_name(message);
    if message.body.as_ref().is_some_and(|body| body.encoded_len() > step.cx.limits.blob_size_max) {
        return Err(CommandFailure::too_large(BadUpdateWorkflowExecutionMessage, format!("Message type {name} exceeds size limit.")));
    }
    let (protocol, kind) = name.rsplit_once('.').unwrap_or_default();
    if protocol != PROTOCOL {
        return Err(bad(format!("unsupported protocol type {protocol}")));
    }
    let id = message.protocol_instance_id.as_str();
    let mut state = state_of(step, completion, id);
    if state.is_none() {
        resurrect(step, message, kind)?;
        state = state_of(step, completion, id);
    }
    let Some(state) = state else {
        return Err(bad(format!(
            "update {id} wasn't found on the server. This is most likely a transient error which will be resolved automatically by retries"
        )));
    };
    if !step.run.is_open() && kind != "Rejection" {
        // Closed by a command of this completion: what is not completed was aborted with that.
        return Ok(());
    }
    let expect = |allowed: &[&str]| match allowed.contains(&state) {
        true => Ok(()),
        false => {
            Err(bad(format!("invalid state transition attempted for Update {id}: received *update.{kind} message while in state {state}")))
        }
    };
    match kind {
        "Acceptance" => {
            let acceptance: Acceptance = decoded(message)?;
            expect(&["Sent", "Admitted"])?;
            accept(step, id, &acceptance)
        }
        "Rejection" => {
            let rejection: Rejection = decoded(message)?;
            expect(&["Sent", "Admitted"])?;
            completion.rejected.push(id.into());
            reject(step, id, Outcome { value: Some(Value::Failure(rejection.failure.unwrap_or_default())) });
            Ok(())
        }
        "Response" => {
            let response: Response = decoded(message)?;
            expect(&["Accepted", "ProvisionallyAccepted"])?;
            respond(step, id, response)
        }
        other => Err(bad(format!("Message type *update.{other} not supported"))),
    }
}

/// The update's state, as texts name it.
fn state_of(step: &Step<'_, '_>, completion: &Completion, id: &str) -> Option<&'static str> {
    if let Some(waiting) = step.run.updates.iter().find(|u| u.id == id) {
        return Some(if waiting.sent { "Sent" } else { "Admitted" });
    }
    let now = |event_id: i64| event_id > completion.completed_event_id;
    match step.run.state.derived.updates.get(id) {
        Some(info) if now(info.completed_event_id) => Some("ProvisionallyCompleted"),
        Some(info) if info.completed_event_id != 0 => Some("Completed"),
        Some(info) if now(info.accepted_event_id) => Some("ProvisionallyAccepted"),
        Some(info) if info.accepted_event_id != 0 => Some("Accepted"),
        _ => completion.rejected.iter().any(|rejected| rejected == id).then_some("ProvisionallyCompleted"),
    }
}

/// An update that was forgotten comes back with the worker's answer, if that brings the request.
fn resurrect(step: &mut Step<'_, '_>, message: &Message, kind: &str) -> Result<(), CommandFailure> {
    let request = match kind {
        "Acceptance" => decoded::<Acceptance>(message)?.accepted_request,
        "Rejection" => decoded::<Rejection>(message)?.rejected_request,
        _ => None,
    };
    let Some(request) = request else { return Ok(()) };
    if let Err(Refusal::FailedPrecondition(text)) = check_total(step.run, step.cx.limits) {
        return Err(bad(text));
    }
    // It comes from a worker: whom to tell is checked as if a client had said so.
    let mut request = Box::new(request);
    let checked = validate::update_callbacks(&mut request.completion_callbacks, step.cx.limits);
    if let Err(Refusal::InvalidArgument(text) | Refusal::Unimplemented(text) | Refusal::FailedPrecondition(text)) =
        checked.and_then(|()| attach::check_limits(step.run, &request, step.cx.limits))
    {
        return Err(bad(text));
    }
    let id = message.protocol_instance_id.clone();
    step.run.updates.push(Waiting { id, ..Waiting::new(request) });
    Ok(())
}

fn not_set(kind: &str, field: &str) -> CommandFailure {
    bad(format!("invalid *update.{kind}: {field} is not set"))
}

fn accept(step: &mut Step<'_, '_>, id: &str, acceptance: &Acceptance) -> Result<(), CommandFailure> {
    if acceptance.accepted_request_sequencing_event_id == 0 {
        return Err(not_set("Acceptance", "accepted_request_sequencing_event_id"));
    }
    if acceptance.accepted_request_message_id.is_empty() {
        return Err(not_set("Acceptance", "accepted_request_message_id"));
    }
    let Some(at) = step.run.updates.iter().position(|u| u.id == id) else { return Ok(()) };
    let waiting = step.run.updates.remove(at);
    let now = step.now();
    step.write(HistoryEvent {
        event_time: Some(now.to_api()),
        links: waiting.request.as_deref().map(links_of).unwrap_or_default(),
        attributes: Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(Box::new(
            WorkflowExecutionUpdateAcceptedEventAttributes {
                protocol_instance_id: id.into(),
                accepted_request_message_id: message_id(id),
                accepted_request_sequencing_event_id: acceptance.accepted_request_sequencing_event_id,
                // The UpdateAdmitted event has the request of the others.
                accepted_request: waiting.request.map(|request| Request::clone(&request)),
            },
        ))),
        ..Default::default()
    });
    attach::accepted(step, id, waiting.attached);
    tell(step, id, UpdateNews::Accepted);
    Ok(())
}

/// Links of a request, and those that only its callbacks bring: whoever asked by a Nexus operation is named by these.
fn links_of(request: &Request) -> Vec<Link> {
    let mut links = request.links.clone();
    for link in request.completion_callbacks.iter().flat_map(|callback| &callback.links) {
        if !links.contains(link) {
            links.push(link.clone());
        }
    }
    links
}

/// No event is written: to the workflow and its history the update never happened. One that an event has admitted is
/// marked, for it would come back when the run is loaded.
fn reject(step: &mut Step<'_, '_>, id: &str, outcome: Outcome) {
    if let Some(number) = step.run.state.derived.updates.only_admitted(id)
        && !step.run.state.progress.main.rejected_updates.contains(&number)
    {
        step.run.state.progress.main.rejected_updates.push(number);
        step.touch();
    }
    step.run.updates.retain(|u| u.id != id);
    callbacks::update_rejected(step, id, &outcome);
    tell(step, id, UpdateNews::Rejected(Box::new(outcome)));
}

fn respond(step: &mut Step<'_, '_>, id: &str, mut response: Response) -> Result<(), CommandFailure> {
    let update_id = match &response.meta {
        None => return Err(not_set("Response", "meta")),
        Some(meta) => meta.update_id.as_str(),
    };
    if update_id.is_empty() {
        return Err(not_set("Response", "meta.update_id"));
    }
    if update_id != id {
        return Err(bad(format!("invalid *update.Response: meta.update_id != {id}")));
    }
    let Some(outcome) = &mut response.outcome else { return Err(not_set("Response", "outcome")) };
    if let Some(Value::Failure(failure)) = &mut outcome.value {
        retry::cut_causes(failure);
    }
    let outcome = outcome.clone();
    let accepted_event_id = step.run.state.derived.updates.get(id).map_or(0, |u| u.accepted_event_id);
    step.event(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(WorkflowExecutionUpdateCompletedEventAttributes {
        meta: response.meta,
        accepted_event_id,
        outcome: response.outcome,
    }));
    callbacks::update_completed(step, id);
    tell(step, id, UpdateNews::Completed(Box::new(outcome)));
    Ok(())
}

/// The worker has answered its task and said nothing of updates that it was given: it does not know updates. They
/// would come back with every task otherwise.
pub(crate) fn reject_unprocessed(step: &mut Step<'_, '_>) {
    let ignored: Vec<String> = step.run.updates.iter().filter(|u| u.sent).map(|u| u.id.clone()).collect();
    for id in ignored {
        let outcome = abort::server_failure(
            "UnprocessedUpdate",
            "Workflow Update is rejected because it wasn't processed by worker. Probably, Workflow Update is not supported by the worker.",
        );
        reject(step, &id, outcome);
    }
}

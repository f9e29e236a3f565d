//! What workers say of updates.

use prost::Name;
use sempre_api::{
    Any,
    v1::{
        command::{Command, ProtocolMessageCommandAttributes, command::Attributes},
        enums::CommandType,
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Meta, Outcome, Rejection, Request, Response, outcome::Value},
    },
};

use crate::scene::{Task, failure, payloads};

fn packed<M: Name>(id: &str, what: &str, body: &M) -> Message {
    Message {
        id: format!("{id}/{what}"),
        protocol_instance_id: id.into(),
        body: Some(Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: body.encode_to_vec() }),
        ..Default::default()
    }
}

/// The message that brought the update: its id, the event it follows, the request.
fn brought(task: &Task, id: &str) -> (String, i64, Option<Request>) {
    let message = task.poll.messages.iter().find(|m| m.protocol_instance_id == id).cloned().unwrap_or_default();
    let sequencing = match message.sequencing_id {
        Some(SequencingId::EventId(id)) => id,
        _ => 0,
    };
    let request = message.body.and_then(|body| <Request as prost::Message>::decode(body.value.as_slice()).ok());
    (message.id, sequencing, request)
}

/// Accepts it, as SDKs do: with the request.
pub fn accept(task: &Task, id: &str) -> Message {
    let (accepted_request_message_id, accepted_request_sequencing_event_id, accepted_request) = brought(task, id);
    packed(id, "accept", &Acceptance { accepted_request_message_id, accepted_request_sequencing_event_id, accepted_request })
}

/// Rejects it.
pub fn reject(task: &Task, id: &str) -> Message {
    let (rejected_request_message_id, rejected_request_sequencing_event_id, rejected_request) = brought(task, id);
    let failure = Some(failure("not now"));
    packed(id, "reject", &Rejection { rejected_request_message_id, rejected_request_sequencing_event_id, rejected_request, failure })
}

/// Completes it.
pub fn respond(id: &str) -> Message {
    response(id, Value::Success(payloads("\"done\"").unwrap_or_default()))
}

/// Completes it with a failure.
pub fn fail_update(id: &str) -> Message {
    response(id, Value::Failure(failure("the handler failed")))
}

fn response(id: &str, value: Value) -> Message {
    let meta = Some(Meta { update_id: id.into(), identity: "client".into() });
    packed(id, "complete", &Response { meta, outcome: Some(Outcome { value: Some(value) }) })
}

/// The command that gives a message its place.
pub fn place(message: &Message) -> Command {
    let attributes = ProtocolMessageCommandAttributes { message_id: message.id.clone() };
    Command {
        command_type: CommandType::ProtocolMessage as i32,
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
        ..Default::default()
    }
}

//! How a simulated workflow answers updates: by the number in the update's id it rejects one, accepts it for later, or completes it
//! at once, whoever asks and however often.

use std::collections::BTreeMap;

use prost::{Message as _, Name};
use sempre_api::{
    Any,
    v1::{
        command::{Command, ProtocolMessageCommandAttributes, command::Attributes},
        enums::CommandType,
        history::{HistoryEvent, history_event::Attributes as Event},
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Meta, Outcome, Rejection, Request, Response, outcome::Value},
    },
};

use crate::{
    random::{Random, mix},
    script::{failure, payloads, text_of},
};

/// What is said to the updates that a task brings, and to those accepted before.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    /// To be sent with the completion.
    pub messages: Vec<Message>,
    /// Commands that give them their places.
    pub commands: Vec<Command>,
    /// Texts by which they are found again in history.
    pub names: Vec<String>,
    /// Nothing of it is to be found in history.
    pub only_rejects: bool,
}

/// The text of the result of an update.
#[must_use]
pub fn result(id: &str) -> String {
    format!("<done-{id}>")
}

/// The text of the rejection of an update.
#[must_use]
pub fn rejection(id: &str) -> String {
    format!("rejected {id}")
}

fn fate(id: &str) -> u64 {
    let bytes: Vec<u64> = id.bytes().map(u64::from).collect();
    mix(&bytes) >> 7 & 7
}

/// A workflow rejects this update, always.
#[must_use]
pub fn rejects(id: &str) -> bool {
    fate(id) < 2
}

fn packed<M: Name>(instance: &str, what: &str, body: &M) -> Message {
    Message {
        id: format!("{instance}/{what}"),
        protocol_instance_id: instance.into(),
        body: Some(Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: body.encode_to_vec() }),
        ..Default::default()
    }
}

fn response(id: &str) -> Message {
    let outcome = Outcome { value: Some(Value::Success(payloads(&result(id)))) };
    packed(id, "complete", &Response { meta: Some(Meta { update_id: id.into(), ..Default::default() }), outcome: Some(outcome) })
}

fn place(message: &Message) -> Command {
    let attributes = ProtocolMessageCommandAttributes { message_id: message.id.clone() };
    Command {
        command_type: CommandType::ProtocolMessage as i32,
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// Updates that were accepted and have no outcome, by this history.
fn unanswered(events: &[HistoryEvent]) -> Vec<String> {
    let mut open = BTreeMap::new();
    for event in events {
        match &event.attributes {
            Some(Event::WorkflowExecutionUpdateAcceptedEventAttributes(a)) => {
                open.insert(event.event_id, a.protocol_instance_id.clone());
            }
            Some(Event::WorkflowExecutionUpdateCompletedEventAttributes(a)) => drop(open.remove(&a.accepted_event_id)),
            _ => {}
        }
    }
    open.into_values().collect()
}

/// The answers of a workflow with this history to what its task brings.
#[must_use]
pub fn answer(events: &[HistoryEvent], requests: &[Message], random: &mut Random) -> Answers {
    let mut answers = Answers { only_rejects: !requests.is_empty(), ..Answers::default() };
    for id in unanswered(events) {
        if random.permille(700) {
            answers.names.push(result(&id));
            answers.messages.push(response(&id));
            answers.only_rejects = false;
        }
    }
    for message in requests {
        let id = &message.protocol_instance_id;
        let Some(request) = message.body.as_ref().and_then(|body| Request::decode(&body.value[..]).ok()) else { continue };
        let Some(SequencingId::EventId(sequencing)) = message.sequencing_id else { continue };
        if rejects(id) {
            let body = Rejection {
                rejected_request_message_id: message.id.clone(),
                rejected_request_sequencing_event_id: sequencing,
                rejected_request: Some(request),
                failure: Some(failure(&rejection(id), true)),
            };
            answers.messages.push(packed(id, "reject", &body));
            continue;
        }
        answers.only_rejects = false;
        answers.names.push(text_of(request.input.as_ref().and_then(|input| input.args.as_ref())));
        let body = Acceptance {
            accepted_request_message_id: message.id.clone(),
            accepted_request_sequencing_event_id: sequencing,
            accepted_request: Some(request),
        };
        answers.messages.push(packed(id, "accept", &body));
        if fate(id) >= 4 {
            answers.names.push(result(id));
            answers.messages.push(response(id));
        }
    }
    answers.commands = answers.messages.iter().map(place).collect();
    answers
}

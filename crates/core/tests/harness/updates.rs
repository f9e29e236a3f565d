//! Updates, as clients send them and workers answer them.

use prost::Name;
use sempre_api::{
    Any,
    v1::{
        command::{Command, ProtocolMessageCommandAttributes, command::Attributes},
        common::Payloads,
        enums::CommandType,
        protocol::{Message, message::SequencingId},
        update::{Acceptance, Input as UpdateInput, Meta, Outcome, Rejection, Request, Response, outcome::Value},
    },
};
use sempre_core::{
    Input, Refusal, Reply,
    input::UpdateRequest,
    transition::{UpdateNews, UpdateStatus},
};

use super::{Completed, WorkflowTask, World, failure, payloads};

/// A request with this id to handler `handler`.
pub fn update_request(id: &str) -> Request {
    Request {
        meta: Some(Meta { update_id: id.into(), identity: "client".into() }),
        input: Some(UpdateInput { name: "handler".into(), args: payloads("args"), header: None }),
        ..Default::default()
    }
}

fn packed<M: Name>(instance: &str, id: String, body: &M) -> Message {
    Message {
        id,
        protocol_instance_id: instance.into(),
        body: Some(Any { type_url: format!("type.googleapis.com/{}", M::full_name()), value: body.encode_to_vec() }),
        ..Default::default()
    }
}

/// The worker accepts the update of that message.
pub fn accept(request: &Message) -> Message {
    let Some(SequencingId::EventId(sequencing)) = request.sequencing_id else { panic!("a request is sequenced") };
    let body = Acceptance {
        accepted_request_message_id: request.id.clone(),
        accepted_request_sequencing_event_id: sequencing,
        accepted_request: None,
    };
    packed(&request.protocol_instance_id, format!("{}/accept", request.protocol_instance_id), &body)
}

/// The worker rejects the update of that message.
pub fn reject(request: &Message, why: &str) -> Message {
    let body = Rejection { rejected_request_message_id: request.id.clone(), failure: Some(failure(why)), ..Default::default() };
    packed(&request.protocol_instance_id, format!("{}/reject", request.protocol_instance_id), &body)
}

/// The worker completes the update.
pub fn respond(id: &str, result: &str) -> Message {
    let body = Response { meta: Some(Meta { update_id: id.into(), ..Default::default() }), outcome: Some(success(result)) };
    packed(id, format!("{id}/complete"), &body)
}

/// Any message.
pub fn message<M: Name>(instance: &str, id: &str, body: &M) -> Message {
    packed(instance, id.into(), body)
}

/// The command that gives the message its place.
pub fn place(message: &Message) -> Command {
    let attributes = ProtocolMessageCommandAttributes { message_id: message.id.clone() };
    Command {
        command_type: CommandType::ProtocolMessage as i32,
        attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// An outcome.
pub fn success(text: &str) -> Outcome {
    Outcome { value: Some(Value::Success(Payloads::clone(payloads(text).as_ref().expect("some")))) }
}

/// What the news says, short: `accepted`, `success …`, `failure …`, `aborted …`, `continued …`, `lost`.
pub fn news_text(news: &UpdateNews) -> String {
    match news {
        UpdateNews::Accepted => "accepted".into(),
        UpdateNews::Completed(outcome) | UpdateNews::Rejected(outcome) => match &outcome.value {
            Some(Value::Success(p)) => format!("success {}", String::from_utf8_lossy(&p.payloads[0].data)),
            Some(Value::Failure(f)) => format!("failure {}", f.message),
            None => "completed".into(),
        },
        UpdateNews::Aborted(refusal) => format!("aborted {refusal:?}"),
        UpdateNews::Continued(refusal) => format!("continued {refusal:?}"),
        UpdateNews::Lost => "lost".into(),
    }
}

impl World {
    /// Sends an update to the current run.
    pub fn update(&mut self, workflow_id: &str, update_id: &str) -> Result<UpdateStatus, Refusal> {
        self.update_with(workflow_id, UpdateRequest { request: Box::new(update_request(update_id)), first_run_id: String::new() })
    }

    pub fn update_with(&mut self, workflow_id: &str, request: UpdateRequest) -> Result<UpdateStatus, Refusal> {
        match self.apply(workflow_id, Input::Update(Box::new(request)))? {
            Reply::Update(status) => Ok(status),
            other => panic!("not an answer to an update: {other:?}"),
        }
    }

    pub fn poll_update(&mut self, workflow_id: &str, update_id: &str) -> Result<UpdateStatus, Refusal> {
        match self.apply(workflow_id, Input::PollUpdate { update_id: update_id.into() })? {
            Reply::Update(status) => Ok(status),
            other => panic!("not an answer to a poll: {other:?}"),
        }
    }

    /// Completes the task with these messages, each after a command that places it, and with other commands behind.
    pub fn answer_updates(
        &mut self,
        task: &WorkflowTask,
        messages: impl IntoIterator<Item = Message>,
        commands: impl IntoIterator<Item = Command>,
    ) -> Result<Completed, Refusal> {
        let messages: Vec<Message> = messages.into_iter().collect();
        let places: Vec<Command> = messages.iter().map(place).chain(commands).collect();
        self.complete_with(task, places, |request| request.messages = messages)
    }

    /// Completes the task with messages that no command places.
    pub fn answer_without_commands(
        &mut self,
        task: &WorkflowTask,
        messages: impl IntoIterator<Item = Message>,
    ) -> Result<Completed, Refusal> {
        self.complete_with(task, [], |request| request.messages = messages.into_iter().collect())
    }

    /// The news of updates since the last call, `id: news` each.
    pub fn take_update_news(&mut self) -> Vec<String> {
        self.update_news.drain(..).map(|(id, news)| format!("{id}: {}", news_text(&news))).collect()
    }

    /// Forgets updates of the current run that nobody waits for; `watched` has the ids of the others.
    pub fn forget_updates(&mut self, workflow_id: &str, watched: &[&str]) {
        let run = self.current_run(workflow_id);
        self.runs.get_mut(&run).expect("a run").execution.forget_updates(|id| watched.contains(&id));
    }
}

//! The end of an operation that went on, as its callback tells it (spec 08 §5.4 step 6, §5.6).

use sempre_api::v1::common::{Callback, Link, callback};
use sempre_core::{
    Input, Refusal, RunKey, Timestamp,
    input::OperationCompletion,
    nexus::{NOT_FOUND, token},
    state::callback::Outcome,
    transition::{CallbackCall, CallbackResult, OutboxMessage},
    validate::SYSTEM_CALLBACK_URL,
};

use super::operations::TOKEN_MAX;
use crate::{
    Engine,
    peers::record::{Answer, Letter, Request},
    shared::{Shared, internal},
};

/// Header of a callback with the operation's name at its handler's side.
const OPERATION_TOKEN_HEADER: &str = "nexus-operation-token";

/// How an operation ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Completion {
    /// The handler's name for it; may be empty.
    pub operation_token: String,
    /// When it was started, if that is known.
    pub start_time: Option<Timestamp>,
    /// What the handler's side points to.
    pub links: Vec<Link>,
    /// How.
    pub outcome: Outcome,
}

impl Engine {
    /// The end of an operation, told by this token of its callback; a namespace that is named must be the token's.
    ///
    /// INVALID_ARGUMENT: the token is not one, or something is too large. NOT_FOUND: the operation is over, or its caller is
    /// gone.
    pub async fn complete_nexus_operation(&self, namespace: Option<&str>, token: &str, completion: Completion) -> Result<(), Refusal> {
        self.shared.complete_nexus_operation(namespace, token, completion).await
    }
}

impl Shared {
    pub(crate) async fn complete_nexus_operation(
        &self,
        namespace: Option<&str>,
        token: &str,
        completion: Completion,
    ) -> Result<(), Refusal> {
        let token = self.meta.signer().read(token).ok_or_else(|| Refusal::invalid("invalid callback token"))?;
        let run = token.run();
        let known = self.namespaces.by_id(run.workflow.namespace).filter(|_| !self.namespaces.is_gone(run.workflow.namespace));
        let known = known.ok_or_else(|| Refusal::not_found(format!("namespace \"{}\" not found", run.workflow.namespace)))?;
        if namespace.is_some_and(|name| name != known.view.name) {
            return Err(Refusal::invalid("invalid callback token"));
        }
        let length = completion.operation_token.len();
        if length > TOKEN_MAX {
            return Err(Refusal::InvalidArgument(format!("operation token length exceeds allowed limit ({length}/{TOKEN_MAX})")));
        }
        if completion.outcome.result.as_ref().map_or(0, prost::Message::encoded_len) > self.settings.limits.blob_size_max {
            return Err(Refusal::invalid("result exceeds size limit"));
        }
        let completion = OperationCompletion {
            scheduled_event_id: token.scheduled_event_id,
            request_id: token.request_id,
            token: completion.operation_token,
            start_time: completion.start_time,
            links: completion.links,
            outcome: completion.outcome,
        };
        let input = || Input::CompleteOperation(Box::new(completion.clone()));
        match self.apply(run.workflow.clone(), Some(run.run), input()).await {
            // The run may have been reset: the operation is the new run's then.
            Err(Refusal::NotFound(text)) if text != NOT_FOUND => self.apply(run.workflow, None, input()).await.map(drop),
            told => told.map(drop),
        }
    }

    /// Tells a caller in this server, or at another node, if that is where the callback goes. `sender`: the run whose callback it is.
    pub(crate) async fn tell_caller(&self, sender: &RunKey, call: &CallbackCall) -> Option<CallbackResult> {
        let nexus = callback_here(call)?;
        let token = self.peers.as_ref().and_then(|_| nexus.header.get(token::CALLBACK_TOKEN_HEADER));
        let token = token.and_then(|token| self.meta.signer().read(token));
        if let Some(away) = token.and_then(|token| self.away(&token.run().workflow)) {
            return Some(match away.ask(Request::Letter(Letter::new(sender, OutboxMessage::Callback(Box::new(call.clone()))))).await {
                Ok(Answer::Callback(result)) => result.result().unwrap_or_else(|| untold(&internal("what comes of a callback"))),
                Ok(_) => untold(&internal("what comes of a callback")),
                Err(refusal) => untold(&refusal),
            });
        }
        self.tell_caller_here(call).await
    }

    /// As [`Shared::tell_caller`], of a caller whose shard is here.
    pub(crate) async fn tell_caller_here(&self, call: &CallbackCall) -> Option<CallbackResult> {
        let nexus = callback_here(call)?;
        let header = |name: &str| nexus.header.get(name).cloned().unwrap_or_default();
        let completion = Completion {
            operation_token: header(OPERATION_TOKEN_HEADER),
            start_time: Some(Timestamp(call.start_time)),
            links: call.link.clone().into_iter().collect(),
            outcome: call.outcome.clone().unwrap_or_default(),
        };
        let told = self.complete_nexus_operation(None, &header(token::CALLBACK_TOKEN_HEADER), completion).await;
        Some(match told {
            Ok(()) => CallbackResult::Delivered,
            Err(Refusal::InvalidArgument(text)) => CallbackResult::Refused(format!("handler error (BAD_REQUEST): {text}")),
            Err(Refusal::NotFound(text)) => CallbackResult::Refused(format!("handler error (NOT_FOUND): {text}")),
            Err(refusal) => untold(&refusal),
        })
    }
}

/// The callback, if it is for a caller of this data.
fn callback_here(call: &CallbackCall) -> Option<&callback::Nexus> {
    match &call.callback {
        Some(Callback { variant: Some(callback::Variant::Nexus(nexus)), .. }) if nexus.url == SYSTEM_CALLBACK_URL => Some(nexus),
        _ => None,
    }
}

fn untold(refusal: &Refusal) -> CallbackResult {
    tracing::debug!(?refusal, "the caller of an operation could not be told of its end");
    CallbackResult::Undelivered("handler error (UNAVAILABLE): service unavailable".into())
}

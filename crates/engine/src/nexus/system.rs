//! Operations of the server itself, for workflows that ask the endpoint `__temporal_system`.

use sempre_api::v1::{
    common::Link,
    failure::{Failure, ServerFailureInfo, failure::FailureInfo},
    workflowservice::SignalWithStartWorkflowExecutionRequest,
};
use sempre_core::{
    Refusal, RunKey, WorkflowKey,
    nexus::system::{self, Problem},
    transition::{OperationCall, OperationResult, OutboxMessage},
};

use super::handler_failure;
use crate::{
    peers::record::{Answer, Letter, Request},
    shared::{Shared, internal},
};

/// Carries out an operation where its workflow is; its request id makes it the same one when it is asked for again.
pub(super) async fn start(shared: &Shared, caller: &RunKey, call: &OperationCall) -> OperationResult {
    let request = match request_of(shared, caller, call) {
        Ok(request) => request,
        Err(refused) => return refused,
    };
    let workflow = WorkflowKey { namespace: caller.workflow.namespace, workflow_id: request.workflow_id.clone() };
    let Some(away) = shared.away(&workflow) else { return start_here(shared, request).await };
    match away.ask(Request::Letter(Letter::new(caller, OutboxMessage::StartOperation(Box::new(call.clone()))))).await {
        Ok(Answer::Operation(result)) => result.result().unwrap_or_else(|| result_of(internal("the result of an operation"))),
        Ok(_) => result_of(internal("the result of an operation")),
        Err(refusal) => result_of(refusal),
    }
}

/// What an operation asks for; `Err`: nothing that could be done.
pub(crate) fn request_of(
    shared: &Shared,
    caller: &RunKey,
    call: &OperationCall,
) -> Result<SignalWithStartWorkflowExecutionRequest, OperationResult> {
    let a = call.scheduled();
    let namespace = shared.namespaces.view(caller.workflow.namespace).name.clone();
    let mut request = system::request(&a.service, &a.operation, a.input.as_ref(), &namespace).map_err(refused)?;
    request.request_id = a.request_id;
    request.links = call.link.clone().into_iter().collect();
    Ok(request)
}

/// As [`start`], of a workflow whose shard is here.
pub(crate) async fn start_here(shared: &Shared, request: SignalWithStartWorkflowExecutionRequest) -> OperationResult {
    match shared.signal_with_start(request).await {
        Ok(response) => {
            let links: Vec<Link> = response.signal_link.clone().into_iter().collect();
            OperationResult::Completed { result: Some(system::result(&response)), links }
        }
        Err(refusal) => result_of(refusal),
    }
}

fn result_of(refusal: Refusal) -> OperationResult {
    let (kind, retryable) = (kind(&refusal), refusal.may_pass());
    let failure = Box::new(server_failure(format!("{kind}: {}", text(refusal)), retryable));
    if retryable { OperationResult::Undelivered(failure) } else { OperationResult::Refused(failure) }
}

fn refused(problem: Problem) -> OperationResult {
    OperationResult::Refused(Box::new(match problem {
        Problem::NotFound(text) => handler_failure("NOT_FOUND", text),
        Problem::BadInput(text) => handler_failure("BAD_REQUEST", text),
        Problem::Invalid(text) => server_failure(format!("InvalidArgument: {text}"), false),
    }))
}

fn server_failure(message: String, retryable: bool) -> Failure {
    let info = ServerFailureInfo { non_retryable: !retryable };
    Failure { message, failure_info: Some(FailureInfo::ServerFailureInfo(info)), ..Default::default() }
}

/// What clients call such a refusal.
fn kind(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::InvalidArgument(_) | Refusal::QueryFailed { .. } => "InvalidArgument",
        Refusal::NotFound(_) => "NotFound",
        Refusal::NamespaceNotFound(_) => "NamespaceNotFound",
        Refusal::NamespaceInvalidState { .. } => "NamespaceInvalidState",
        Refusal::AlreadyStarted { .. } => "WorkflowExecutionAlreadyStarted",
        Refusal::PermissionDenied(_) => "PermissionDenied",
        Refusal::Unimplemented(_) => "Unimplemented",
        Refusal::FailedPrecondition(_) => "FailedPrecondition",
        Refusal::WorkflowNotReady(_) => "WorkflowNotReady",
        Refusal::ResourceExhausted { .. } | Refusal::Overloaded(_) => "ResourceExhausted",
        Refusal::Aborted(_) | Refusal::BufferLost(_) => "Aborted",
        Refusal::Unavailable(_) | Refusal::Elsewhere { .. } => "Unavailable",
        Refusal::DeadlineExceeded(_) => "DeadlineExceeded",
        Refusal::OutOfRange(_) => "OutOfRange",
        // A signal with a start is none of these.
        Refusal::NamespaceAlreadyExists(_)
        | Refusal::ActivityAlreadyStarted { .. }
        | Refusal::OperationAlreadyStarted { .. }
        | Refusal::AlreadyExists(_)
        | Refusal::MultiOperation(_) => "AlreadyExists",
    }
}

fn text(refusal: Refusal) -> String {
    match refusal {
        Refusal::AlreadyStarted { message, .. } | Refusal::ResourceExhausted { message, .. } => message,
        Refusal::NamespaceNotFound(namespace) => format!("Namespace {namespace} is not found."),
        Refusal::NamespaceInvalidState { state, allowed, .. } => format!("Namespace has invalid state: {state}. Must be {allowed}."),
        Refusal::Overloaded(text) => text.to_owned(),
        Refusal::Elsewhere { shard } => sempre_core::refusal::text::elsewhere(shard),
        Refusal::InvalidArgument(text)
        | Refusal::NotFound(text)
        | Refusal::PermissionDenied(text)
        | Refusal::Unimplemented(text)
        | Refusal::FailedPrecondition(text)
        | Refusal::WorkflowNotReady(text)
        | Refusal::Aborted(text)
        | Refusal::BufferLost(text)
        | Refusal::Unavailable(text)
        | Refusal::DeadlineExceeded(text)
        | Refusal::OutOfRange(text)
        | Refusal::NamespaceAlreadyExists(text)
        | Refusal::AlreadyExists(text) => text,
        Refusal::QueryFailed { message, .. }
        | Refusal::ActivityAlreadyStarted { message, .. }
        | Refusal::OperationAlreadyStarted { message, .. } => message,
        Refusal::MultiOperation(_) => String::new(),
    }
}

//! How much an input weighs: a bound for what it can add to the rows of its run.

use prost::Message;
use sempre_core::{
    Input, StartInput,
    input::SignalRequest,
    transition::{Delivery, OperationCancelResult, OperationResult},
};

fn of<M: Message>(message: Option<&M>) -> usize {
    message.map_or(0, Message::encoded_len)
}

fn signal(request: &SignalRequest) -> usize {
    request.name.len() + of(request.input.as_ref()) + of(request.header.as_ref())
}

fn delivered(delivery: &Delivery) -> usize {
    match delivery {
        Delivery::Operation { result: OperationResult::Completed { result, .. }, .. } => of(result.as_ref()),
        Delivery::Operation { result: OperationResult::Failed(f) | OperationResult::Canceled(f), .. } => f.encoded_len(),
        Delivery::Operation { result: OperationResult::Refused(f) | OperationResult::Undelivered(f), .. } => f.encoded_len(),
        Delivery::OperationCancel { result: OperationCancelResult::Refused(f) | OperationCancelResult::Undelivered(f), .. } => {
            f.encoded_len()
        }
        _ => 0,
    }
}

/// Bytes of payloads that an input brings. What is always small counts as nothing.
pub(crate) fn input_bytes(input: &Input) -> usize {
    match input {
        Input::Signal(request) => signal(request),
        Input::Terminate(request) => request.reason.len() + of(request.details.as_ref()),
        Input::RequestCancel(request) => request.reason.len(),
        // The reason is written twice: as what it is, and in the failure that the activity ends with.
        Input::CancelActivityRun(request) => 2 * request.reason.len(),
        Input::TerminateActivityRun(request) => 2 * request.reason.len(),
        Input::CancelOperationRun(request) => request.reason.len(),
        Input::TerminateOperationRun(request) => 2 * request.reason.len(),
        Input::CompleteWorkflowTask(_, request) if request.intermediate_page => 0,
        Input::CompleteWorkflowTask(_, request) => request.encoded_len(),
        Input::FailWorkflowTask(_, request) => request.encoded_len(),
        Input::CompleteActivity { result: details, .. } | Input::CancelActivity { details, .. } | Input::Heartbeat { details, .. } => {
            of(details.as_ref())
        }
        Input::FailActivity { failure, last_heartbeat_details, .. } => of(failure.as_deref()) + of(last_heartbeat_details.as_ref()),
        Input::Query { query, .. } => query.encoded_len(),
        Input::Pause(request) | Input::Unpause(request) | Input::PauseActivity(_, request) => request.reason.len() + request.identity.len(),
        Input::CompleteOperation(completion) => completion.outcome.encoded_len(),
        Input::Delivered { delivery, .. } => delivered(delivery),
        Input::ChildClosed(news) => news.close_event.encoded_len(),
        Input::UpdateActivityOptions(_, request) => of(request.options.as_ref()),
        Input::StartWorkflowTask { .. }
        | Input::StartActivityTask { .. }
        | Input::WorkflowTaskLost { .. }
        | Input::ActivityTaskLost { .. }
        | Input::UnpauseActivity(..)
        | Input::ResetActivity(..)
        | Input::RunActivityNow(_)
        | Input::ResetSticky
        | Input::DropQuery { .. }
        // Kept in memory; what is written of it comes with a completion.
        | Input::Update(_)
        | Input::PollUpdate { .. }
        | Input::Wake
        | Input::ReleaseFirstTask | Input::FlowRelease
        | Input::UpdateOptions(_) => 0,
    }
}

/// Bytes of a page of a completion that is to be kept until the last one comes; 0 for every other input.
pub(crate) fn page_bytes(input: &Input) -> usize {
    match input {
        Input::CompleteWorkflowTask(_, request) if request.intermediate_page => request.encoded_len(),
        _ => 0,
    }
}

/// Bytes of payloads that a start brings.
pub(crate) fn start_bytes(input: &StartInput) -> usize {
    let child = input.child_of.as_ref().map_or(0, |child| child.request.encoded_len());
    input.request.encoded_len() + child + input.signal.as_deref().map_or(0, signal)
}

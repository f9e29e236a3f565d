//! How both kinds of runs without workflow are terminated.

use alloc::{format, string::String};

use sempre_api::v1::{
    failure::{Failure, TerminatedFailureInfo, failure::FailureInfo},
    history::{WorkflowExecutionTerminatedEventAttributes, history_event::Attributes},
};

use crate::Refusal;

/// Whether the run was terminated by this request already; `before` is the request id that did it. Refused if it was another.
pub(crate) fn was_terminated_by(before: &str, request_id: &str) -> Result<bool, Refusal> {
    if before.is_empty() {
        return Ok(false);
    }
    if before != request_id {
        return Err(Refusal::FailedPrecondition(format!("already terminated with request ID {before}")));
    }
    Ok(true)
}

/// What whoever waits for the run is told of its termination, and the event.
pub(crate) fn terminated(identity: String, reason: String) -> (Failure, Attributes) {
    let failure = Failure {
        message: reason.clone(),
        failure_info: Some(FailureInfo::TerminatedFailureInfo(TerminatedFailureInfo { identity: identity.clone() })),
        ..Default::default()
    };
    let terminated = WorkflowExecutionTerminatedEventAttributes { reason, details: None, identity };
    (failure, Attributes::WorkflowExecutionTerminatedEventAttributes(terminated))
}

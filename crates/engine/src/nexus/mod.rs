//! Nexus operations between a caller's run and a handler (spec 08 §5.4–5.5).
//!
//! A caller's outbox asks for the start of an operation, or its cancel (`operations`). An endpoint leads to workers that
//! poll, or to a URL. Workers get a task, in memory only, and answer it (`calls`); what goes to a URL is sent by the
//! [`OperationSender`] that the engine was given. The end of an operation that goes on comes back by its callback
//! (`complete`): from a run of this server without leaving it, from elsewhere over HTTP.
//!
//! Nothing is stored but the caller's outbox: a request may be made more than once, always by the same request id.

pub(crate) mod breaker;
pub(crate) mod calls;
mod complete;
mod dispatch;
pub(crate) mod endpoints;
pub(crate) mod operations;
mod sender;
pub(crate) mod signature;
pub(crate) mod system;

pub use complete::Completion;
pub use dispatch::{Destination, Handled};
pub(crate) use sender::NoSender;
pub use sender::{OperationSender, RequestToCancel, RequestToStart};

use sempre_api::v1::{
    enums::NexusHandlerErrorRetryBehavior,
    failure::{ApplicationFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
};

/// Types of handler errors that are final, unless the handler says otherwise.
const FINAL: [&str; 6] = ["BAD_REQUEST", "UNAUTHENTICATED", "UNAUTHORIZED", "NOT_FOUND", "CONFLICT", "NOT_IMPLEMENTED"];

/// The failure of a handler, or of what stands between.
pub fn handler_failure(kind: &str, message: impl Into<String>) -> Failure {
    let info = NexusHandlerFailureInfo { r#type: kind.into(), ..Default::default() };
    Failure { message: message.into(), failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), ..Default::default() }
}

/// The failure of a request that was never answered as it should.
pub fn call_failure(message: impl Into<String>, retryable: bool) -> Failure {
    let info = ApplicationFailureInfo { r#type: "CallError".into(), non_retryable: !retryable, ..Default::default() };
    Failure { message: message.into(), failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() }
}

/// Whether a handler's failure may be over next time.
pub fn is_retryable(failure: &Failure) -> bool {
    match &failure.failure_info {
        Some(FailureInfo::NexusHandlerFailureInfo(info)) => match info.retry_behavior() {
            NexusHandlerErrorRetryBehavior::Retryable => true,
            NexusHandlerErrorRetryBehavior::NonRetryable => false,
            NexusHandlerErrorRetryBehavior::Unspecified => !FINAL.contains(&info.r#type.as_str()),
        },
        Some(FailureInfo::ApplicationFailureInfo(info)) => !info.non_retryable,
        _ => true,
    }
}

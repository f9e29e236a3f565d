//! Who asks endpoints at URLs: given by hand, since the engine knows no sockets.

use std::collections::BTreeMap;

use futures::{FutureExt, future::BoxFuture};
use sempre_api::v1::nexus;
use sempre_core::{
    Span,
    transition::{OperationCancelResult, OperationResult},
};

use super::call_failure;

/// A request to start an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestToStart {
    /// The endpoint's URL, from its record.
    pub url: String,
    /// Namespace of the caller, for the URL of the callback: its name, and its id.
    pub caller_namespace: (String, String),
    /// What is asked; without a callback, which the sender knows how to name.
    pub request: nexus::StartOperationRequest,
    /// Value of the callback's token header.
    pub callback_token: String,
    /// Header of the request.
    pub header: BTreeMap<String, String>,
    /// Time for the request.
    pub timeout: Span,
    /// Bytes of a result.
    pub result_bytes_max: usize,
    /// Bytes of an operation token.
    pub token_bytes_max: usize,
}

/// A request to cancel an operation.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestToCancel {
    /// The endpoint's URL, from its record.
    pub url: String,
    /// Which.
    pub request: nexus::CancelOperationRequest,
    /// Header of the request.
    pub header: BTreeMap<String, String>,
    /// Time for the request.
    pub timeout: Span,
}

/// Asks endpoints at URLs. A request may be made more than once.
pub trait OperationSender: Send + Sync + 'static {
    /// Makes one request to start; resolves within its time.
    fn start(&self, request: RequestToStart) -> BoxFuture<'static, OperationResult>;
    /// Makes one request to cancel; resolves within its time.
    fn cancel(&self, request: RequestToCancel) -> BoxFuture<'static, OperationCancelResult>;
}

/// For engines without a way out: requests wait, and say so.
pub(crate) struct NoSender;

const NO_WAY_OUT: &str = "this engine asks no endpoints at URLs";

impl OperationSender for NoSender {
    fn start(&self, _: RequestToStart) -> BoxFuture<'static, OperationResult> {
        futures::future::ready(OperationResult::Undelivered(Box::new(call_failure(NO_WAY_OUT, true)))).boxed()
    }

    fn cancel(&self, _: RequestToCancel) -> BoxFuture<'static, OperationCancelResult> {
        futures::future::ready(OperationCancelResult::Undelivered(Box::new(call_failure(NO_WAY_OUT, true)))).boxed()
    }
}

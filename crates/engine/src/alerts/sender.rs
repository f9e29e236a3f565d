//! Who sends alerts: given by hand, since the engine knows no sockets.

use futures::{FutureExt, future::BoxFuture};
use sempre_api::sempre::v1::Alert;
use sempre_core::Timestamp;

/// One attempt to deliver an alert.
#[derive(Clone, PartialEq)]
pub struct AlertCall {
    /// Where it goes. May hold a password.
    pub url: String,
    /// With what it is signed.
    pub secret: String,
    /// What is told.
    pub alert: Alert,
    /// When it is sent.
    pub now: Timestamp,
}

/// Sends alerts. One may be sent more than once.
pub trait AlertSender: Send + Sync + 'static {
    /// Makes one attempt; resolves within a bounded time. `Err`: nobody has taken it, and why; no secret is in the text.
    fn send(&self, call: AlertCall) -> BoxFuture<'static, Result<(), String>>;
}

/// For engines without a way out: alerts wait.
pub(crate) struct NoSender;

impl AlertSender for NoSender {
    fn send(&self, _: AlertCall) -> BoxFuture<'static, Result<(), String>> {
        futures::future::ready(Err("this engine sends no alerts".into())).boxed()
    }
}

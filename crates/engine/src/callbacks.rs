//! Who sends completion callbacks: given by hand, since the engine knows no sockets.

use futures::{FutureExt, future::BoxFuture};
use sempre_core::transition::{CallbackCall, CallbackResult};

/// Tells somebody outside how a chain of runs ended. An attempt may be made more than once.
pub trait CallbackSender: Send + Sync + 'static {
    /// Makes one attempt; resolves in bounded time.
    fn send(&self, call: CallbackCall) -> BoxFuture<'static, CallbackResult>;
}

/// For engines without a way out: callbacks wait, and say so.
pub(crate) struct NoSender;

impl CallbackSender for NoSender {
    fn send(&self, _: CallbackCall) -> BoxFuture<'static, CallbackResult> {
        futures::future::ready(CallbackResult::Undelivered("this engine sends no completion callbacks".into())).boxed()
    }
}

//! Bodies of calls that are answered, or refused, before all of it has come.
//!
//! HTTP/2 resets a stream that is let go before its end. What comes of it afterwards is answered by a reset again, and the guard against
//! peers that make a server reset ends the connection after a thousand of these, with all other calls on it. So what is left of a body
//! is read to its end and thrown away, for [`READ_FOR`] and as long as the memory for calls has room for it; then it is reset.
#![expect(clippy::disallowed_methods, reason = "how long callers are waited for is counted by the wall clock")]

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::{runtime::Handle, time::timeout};

use crate::room::{Over, Room};

/// How long the rest of a body may take.
const READ_FOR: Duration = Duration::from_secs(3);
/// What a stream is counted as whose call is over: its task, and what the protocol keeps of it. What comes of it is not kept.
const STREAM_BYTES: u64 = 1 << 10;

/// Who has the memory for calls.
pub(crate) trait HasRoom: Send + Sync + 'static {
    fn room(&self) -> &Arc<Room>;
}

/// A body whose rest is read when it is dropped.
pub(crate) struct ReadOn<B, R>
where
    B: Body + Send + Unpin + 'static,
    R: HasRoom,
{
    /// `None`: it has ended.
    body: Option<B>,
    owner: Arc<R>,
}

impl<B, R> ReadOn<B, R>
where
    B: Body + Send + Unpin + 'static,
    R: HasRoom,
{
    pub(crate) fn new(body: B, owner: &Arc<R>) -> Self {
        Self { body: Some(body), owner: Arc::clone(owner) }
    }
}

impl<B, R> Body for ReadOn<B, R>
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    R: HasRoom,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            // Nothing comes any more.
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl<B, R> Drop for ReadOn<B, R>
where
    B: Body + Send + Unpin + 'static,
    R: HasRoom,
{
    fn drop(&mut self) {
        let Some(mut body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // Most have come by now.
        if read(&mut body).now_or_never().is_some() {
            return;
        }
        if let (Some(stays), Ok(runtime)) = (self.owner.room().stay(Over::Late, STREAM_BYTES), Handle::try_current()) {
            runtime.spawn(async move {
                let _ = timeout(READ_FOR, read(&mut body)).await;
                drop(stays);
            });
        }
    }
}

/// Reads a body to its end, or till it breaks, and keeps nothing of it.
pub(crate) async fn read(body: &mut (impl Body + Unpin)) {
    while matches!(body.frame().await, Some(Ok(_))) {
        tokio::task::coop::consume_budget().await;
    }
}

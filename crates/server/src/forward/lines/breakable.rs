//! A connection that can be broken from here, with all that is under way on it: what is asked over a dead one is known to be lost before the
//! other side, or the system, has said so.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::oneshot,
};

/// See the module. Reading fails once it is broken, or when nobody is left who could break it.
pub(super) struct Breakable<S> {
    stream: S,
    /// `None`: it is broken.
    broken: Option<oneshot::Receiver<()>>,
}

/// Breaks a connection. Clones are the same.
#[derive(Clone)]
pub(super) struct Breaker(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Breaker {
    pub(super) fn cut(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl<S> Breakable<S> {
    pub(super) fn new(stream: S) -> (Self, Breaker) {
        let (sender, receiver) = oneshot::channel();
        (Self { stream, broken: Some(receiver) }, Breaker(Arc::new(Mutex::new(Some(sender)))))
    }

    /// Whoever reads is woken when that changes.
    fn is_broken(&mut self, cx: &mut Context<'_>) -> bool {
        let is_broken = self.broken.as_mut().is_none_or(|broken| Pin::new(broken).poll(cx).is_ready());
        if is_broken {
            self.broken = None;
        }
        is_broken
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breakable<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_broken(cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other node is not reached")));
        }
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breakable<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

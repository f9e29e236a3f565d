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

/// See the module. Reading and writing fail once it is broken. That nobody is left who could break it does not break it: what is under way on a
/// connection that takes no more calls goes on.
pub(super) struct Breakable<S> {
    stream: S,
    is_broken: bool,
    /// `None`: nothing comes there any more.
    breaks: Option<oneshot::Receiver<()>>,
}

/// Breaks a connection. Clones are the same.
#[derive(Clone)]
pub(super) struct Breaker(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl Breaker {
    pub(super) fn cut(&self) {
        if let Some(sender) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Refused: the connection has ended.
            let _ = sender.send(());
        }
    }
}

impl<S> Breakable<S> {
    pub(super) fn new(stream: S) -> (Self, Breaker) {
        let (sender, receiver) = oneshot::channel();
        (Self { stream, is_broken: false, breaks: Some(receiver) }, Breaker(Arc::new(Mutex::new(Some(sender)))))
    }

    /// Whoever reads or writes is woken when that changes.
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(Poll::Ready(broken)) = self.breaks.as_mut().map(|breaks| Pin::new(breaks).poll(cx)) {
            (self.is_broken, self.breaks) = (broken.is_ok(), None);
        }
        if self.is_broken { Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the other node is not reached")) } else { Ok(()) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Breakable<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Breakable<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.check(cx)?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_connection_is_broken_by_who_says_so_and_not_by_who_forgets_it() {
        let (mut other, here) = duplex(4);
        let (mut forgotten, breaker) = Breakable::new(here);
        drop(breaker);
        other.write_all(b"more").await.unwrap();
        let mut bytes = [0; 4];
        forgotten.read_exact(&mut bytes).await.unwrap();
        forgotten.write_all(&bytes).await.unwrap();

        let (_silent, here) = duplex(4);
        let (mut broken, breaker) = Breakable::new(here);
        let reads = async {
            let read = broken.read_u8().await.map(drop);
            (read.map_err(|error| error.kind()), broken)
        };
        let ((read, mut broken), ()) = tokio::join!(reads, async { breaker.cut() });
        assert_eq!(read, Err(io::ErrorKind::ConnectionAborted));
        assert!(broken.write_all(b"5 of 4").await.is_err() && broken.read_u8().await.is_err(), "for good");

        // One whose buffer is full is not waited for.
        let (_full, here) = duplex(4);
        let (mut broken, breaker) = Breakable::new(here);
        let (written, ()) = tokio::join!(broken.write_all(b"more than 4"), async { breaker.cut() });
        assert_eq!(written.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionAborted));
    }
}

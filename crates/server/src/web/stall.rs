//! A stream whose reader must not stand still: a write that makes no way for a while fails, so that who asks and does not
//! read keeps no connection.
#![expect(clippy::disallowed_methods, reason = "the other side reads by the wall clock")]

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// See the module.
pub(super) struct Patient<S> {
    stream: S,
    wait: Duration,
    /// When the write that waits has waited enough.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, wait: Duration) -> Self {
        Self { stream, wait, until: None }
    }

    /// What became of a write, and how long one has waited.
    fn told<T>(&mut self, cx: &mut Context<'_>, told: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if told.is_ready() {
            self.until = None;
            return told;
        }
        let wait = self.wait;
        ready!(self.until.get_or_insert_with(|| Box::pin(sleep(wait))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let told = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.told(cx, told)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let told = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.told(cx, told)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = Pin::new(&mut self.stream).poll_flush(cx);
        self.told(cx, told)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let told = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.told(cx, told)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_write_fails_when_nobody_reads() {
        let (stream, mut other) = tokio::io::duplex(4);
        let mut stream = Patient::new(stream, Duration::from_millis(50));
        stream.write_all(b"abcd").await.expect("there is room");
        assert_eq!(stream.write_all(b"e").await.expect_err("nobody reads").kind(), io::ErrorKind::TimedOut);
        let mut read = [0; 4];
        other.read_exact(&mut read).await.expect("what was written");
        stream.write_all(b"efgh").await.expect("there is room again");
    }
}

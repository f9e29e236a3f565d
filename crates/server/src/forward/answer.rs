//! The body of another node's answer on its way to the caller: the same messages, each in one piece, and the same trailers.
//!
//! One that ends before its trailers is lost: the caller is told UNAVAILABLE by trailers of ours.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::{Counts, lost};
use crate::{frames::PREFIX_BYTES, router::Response};

/// See the module.
pub(crate) struct Relayed<B> {
    inner: B,
    /// Of a message that has not come whole.
    buffer: BytesMut,
    /// The trailers that wait for what is before them; `Some(None)`: there is nothing more to come.
    end: Option<Option<HeaderMap>>,
    counts: Arc<Counts>,
}

/// The answer of another node as that of this one.
pub(crate) fn relayed<B>(answer: http::Response<B>, counts: &Arc<Counts>) -> Response
where
    B: Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: std::fmt::Display,
{
    // A refusal has its status in the headers, and nothing after them.
    if answer.headers().contains_key(Status::GRPC_STATUS) {
        return answer.map(|_| tonic::body::Body::empty());
    }
    answer.map(|inner| tonic::body::Body::new(Relayed { inner, buffer: BytesMut::new(), end: None, counts: Arc::clone(counts) }))
}

impl<B> Relayed<B> {
    /// The next whole message of the buffer, with its prefix.
    fn message(&mut self) -> Option<Bytes> {
        let (&[_, a, b, c, d], _) = self.buffer.split_first_chunk::<PREFIX_BYTES>()?;
        let length = PREFIX_BYTES + u32::from_be_bytes([a, b, c, d]) as usize;
        (self.buffer.len() >= length).then(|| self.buffer.split_to(length).freeze())
    }
}

impl<B> Body for Relayed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        loop {
            if let Some(message) = this.message() {
                return Poll::Ready(Some(Ok(Frame::data(message))));
            }
            if let Some(end) = &mut this.end {
                return Poll::Ready(end.take().map(|trailers| Ok(Frame::trailers(trailers))));
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if this.buffer.is_empty() && is_one_message(&data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Ok(data) => this.buffer.extend_from_slice(&data),
                    Err(frame) => match frame.into_trailers() {
                        Ok(trailers) if this.buffer.is_empty() => this.end = Some(Some(trailers)),
                        Ok(_) => this.broken("its last message is not whole"),
                        Err(_) => {}
                    },
                },
                Some(Err(error)) => this.broken(&error),
                None => this.broken("it ended without a status"),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.end, Some(None))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<B> Relayed<B> {
    fn broken(&mut self, reason: impl std::fmt::Display) {
        tracing::debug!(%reason, "an answer of another node was lost");
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        self.buffer.clear();
        let mut trailers = HeaderMap::new();
        // A text without anything that headers cannot have.
        let _ = lost().add_header(&mut trailers);
        self.end = Some(Some(trailers));
    }
}

fn is_one_message(data: &[u8]) -> bool {
    let Some((&[_, a, b, c, d], rest)) = data.split_first_chunk::<PREFIX_BYTES>() else { return false };
    rest.len() == u32::from_be_bytes([a, b, c, d]) as usize
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt, executor::block_on, stream};
    use http_body_util::{BodyExt, StreamBody};

    use super::*;

    type Step = Result<Frame<Bytes>, String>;

    fn data(bytes: &[u8]) -> Step {
        Ok(Frame::data(Bytes::copy_from_slice(bytes)))
    }

    fn trailers() -> Step {
        Ok(Frame::trailers([(http::HeaderName::from_static("grpc-status"), "0".parse().unwrap())].into_iter().collect()))
    }

    /// Pieces of data, and the status.
    fn read(steps: Vec<Step>) -> (Vec<Vec<u8>>, Option<String>) {
        let body = StreamBody::new(stream::iter(steps).boxed());
        let counts = Arc::default();
        let mut body = relayed(http::Response::new(body), &counts).into_body();
        let (mut pieces, mut status) = (Vec::new(), None);
        while let Some(frame) = block_on(body.frame()) {
            match frame.unwrap().into_data() {
                Ok(data) => pieces.push(data.to_vec()),
                Err(frame) => status = frame.trailers_ref().map(|trailers| trailers["grpc-status"].to_str().unwrap().to_owned()),
            }
        }
        assert!(body.is_end_stream());
        assert_eq!(counts.lost.load(Ordering::Relaxed), u64::from(status.as_deref() == Some("14")));
        (pieces, status)
    }

    const ONE: &[u8] = b"\0\0\0\0\x03one";
    const TWO: &[u8] = b"\0\0\0\0\x00";

    #[test]
    fn messages_come_whole_however_they_were_cut() {
        let all = [ONE, TWO].concat();
        for step in 1..=all.len() {
            let steps = all.chunks(step).map(data).chain([trailers()]).collect();
            assert_eq!(read(steps), (vec![ONE.to_vec(), TWO.to_vec()], Some("0".into())), "{step}");
        }
    }

    #[test]
    fn an_answer_that_breaks_off_is_unavailable() {
        let unavailable = Some("14".to_owned());
        assert_eq!(read(vec![data(ONE), Err("gone".into())]), (vec![ONE.to_vec()], unavailable.clone()));
        assert_eq!(read(vec![data(ONE)]), (vec![ONE.to_vec()], unavailable.clone()));
        assert_eq!(read(vec![data(&ONE[..6]), trailers()]), (vec![], unavailable.clone()));
        assert_eq!(read(vec![]), (vec![], unavailable));
    }

    #[test]
    fn a_refusal_has_no_body() {
        let answer = http::Response::builder().header("grpc-status", "5").body(StreamBody::new(stream::iter(Vec::<Step>::new())));
        let (parts, mut body) = relayed(answer.unwrap(), &Arc::default()).into_parts();
        assert_eq!(parts.headers["grpc-status"], "5");
        assert!(block_on(body.frame()).is_none());
    }
}

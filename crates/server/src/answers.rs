//! Long answers to callers that take gzip (spec 09 §4.2): the encoding is named, and messages that gain by it are packed.
//!
//! A caller that says `grpc-accept-encoding: gzip` is told `grpc-encoding: gzip`; which messages are packed says each
//! one's flag. Short ones, which most are, go as they are: packing them costs more than their bytes.

use std::{
    io::Write,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{BufMut, Bytes};
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tokio::task::JoinHandle;
use tonic::Status;

use crate::frames::PREFIX_BYTES;

/// Messages from this length on are packed.
const PACKED_FROM_BYTES: usize = 16 << 10;
/// Messages from this length on are packed beside the threads that answer calls, which they would hold up.
const ASIDE_FROM_BYTES: usize = 128 << 10;

type Response = http::Response<tonic::body::Body>;

/// Whether a caller takes answers packed by gzip.
pub(crate) fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = |value: &HeaderValue| value.to_str().is_ok_and(|list| list.split(',').any(|name| name.trim() == "gzip"));
    headers.get_all("grpc-accept-encoding").iter().any(named)
}

/// The same answer with its long messages packed.
pub(crate) fn packed(answer: Response) -> Response {
    // A refusal has no message.
    if answer.headers().contains_key("grpc-status") || answer.headers().contains_key("grpc-encoding") {
        return answer;
    }
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert("grpc-encoding", HeaderValue::from_static("gzip"));
    http::Response::from_parts(parts, tonic::body::Body::new(Packed { inner: body, aside: None }))
}

struct Packed {
    inner: tonic::body::Body,
    /// A message that is being packed.
    aside: Option<JoinHandle<Bytes>>,
}

impl Body for Packed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.aside.is_none() {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Ok(frame)) => frame,
                other => return Poll::Ready(other),
            };
            let data = match frame.into_data() {
                Ok(data) if data.len() >= PACKED_FROM_BYTES && is_one_plain_message(&data) => data,
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(other) => return Poll::Ready(Some(Ok(other))),
            };
            if data.len() < ASIDE_FROM_BYTES {
                return Poll::Ready(Some(Ok(Frame::data(pack(data)))));
            }
            this.aside = Some(tokio::task::spawn_blocking(move || pack(data)));
        }
        let Some(aside) = &mut this.aside else { return Poll::Ready(None) };
        let packed = ready!(Pin::new(aside).poll(cx));
        this.aside = None;
        Poll::Ready(Some(match packed {
            Ok(data) => Ok(Frame::data(data)),
            Err(error) => Err(Status::unavailable(format!("the answer could not be packed: {error}"))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.aside.is_none() && self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The codec hands out what it has; only a chunk that is one message is looked at.
fn is_one_plain_message(data: &[u8]) -> bool {
    let Some((&[flags, a, b, c, d], rest)) = data.split_first_chunk::<PREFIX_BYTES>() else { return false };
    flags == 0 && rest.len() == u32::from_be_bytes([a, b, c, d]) as usize
}

/// A message packed, or as it was if that is not shorter.
fn pack(plain: Bytes) -> Bytes {
    let mut bytes = Vec::with_capacity(plain.len() / 2);
    bytes.put_bytes(0, PREFIX_BYTES);
    let mut encoder = GzEncoder::new(bytes, Compression::fast());
    // Memory takes everything.
    let Ok(mut bytes) = encoder.write_all(&plain[PREFIX_BYTES..]).and_then(|()| encoder.finish()) else { return plain };
    if bytes.len() >= plain.len() {
        return plain;
    }
    let length = (bytes.len() - PREFIX_BYTES) as u32;
    bytes[0] = 1;
    bytes[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (http::header::HeaderName::from_static("grpc-accept-encoding"), value.parse().expect("a value")))
            .collect()
    }

    #[test]
    fn gzip_is_taken_by_whoever_names_it() {
        for taken in [&["gzip"][..], &["identity, deflate, gzip"], &["identity", "gzip,identity"]] {
            assert!(takes_gzip(&headers(taken)), "{taken:?}");
        }
        for refused in [&[][..], &["identity"], &["xgzip"], &["gzip2,zstd"]] {
            assert!(!takes_gzip(&headers(refused)), "{refused:?}");
        }
    }

    #[test]
    fn what_does_not_gain_stays_as_it_is() {
        let mut noise = 1u64;
        let mut plain = vec![0, 0, 0, 0x40, 0];
        plain.extend((0..0x4000).map(|_| {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (noise >> 56) as u8
        }));
        assert!(is_one_plain_message(&plain));
        assert_eq!(pack(plain.clone().into()), plain);
        assert!(!is_one_plain_message(&plain[..100]));
    }
}

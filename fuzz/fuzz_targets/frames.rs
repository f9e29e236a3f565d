//! Any bytes as the body of a gRPC request, plain and compressed: no message above the bound comes out, and what comes out does not
//! depend on the pieces in which it came.
#![no_main]

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{executor::block_on, future::poll_fn};
use http_body::{Body, Frame};
use libfuzzer_sys::fuzz_target;
use sempre_server::frames::{BoundedMessages, MESSAGE_BYTES_MAX};

struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}

/// All that comes out, and whether it ended well.
fn read(bytes: &[u8], step: usize, encoding: &str) -> (Vec<u8>, bool) {
    let pieces = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
    let request = http::Request::builder().header("grpc-encoding", encoding).body(Pieces(pieces)).expect("a request");
    let mut body = BoundedMessages::new(request).into_body();
    let mut out = Vec::new();
    while let Some(frame) = block_on(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))) {
        let Ok(frame) = frame else { return (out, false) };
        if let Ok(data) = frame.into_data() {
            assert!(data.len() <= MESSAGE_BYTES_MAX + 5 + bytes.len());
            out.extend_from_slice(&data);
        }
    }
    (out, true)
}

fuzz_target!(|data: &[u8]| {
    let Some((&step, rest)) = data.split_first() else { return };
    for encoding in ["gzip", "identity"] {
        let whole = read(rest, rest.len().max(1), encoding);
        let pieces = read(rest, usize::from(step) + 1, encoding);
        if whole.1 && pieces.1 {
            assert_eq!(whole.0, pieces.0);
        }
        assert_eq!(whole.1, pieces.1, "{encoding}: well or not does not depend on the pieces");
    }
});

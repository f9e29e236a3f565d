//! The messages of a request body: bounded, and gzip undone, before anything decodes them (spec 09 §1.2, §4.2).
//!
//! A message longer than the limit is refused as soon as its length is known, a compressed one as soon
//! as it has grown beyond the limit, with the texts that clients know not to retry. Nothing is reserved
//! on the word of a length field. What passes is uncompressed.

use std::{
    io::Read,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut, Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use crate::{
    access::Check,
    meter::Meter,
    room::Held,
    start_gate::{Refused, Turn, Whose},
    status,
};

/// Longest message that is taken, before and after decompression.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// So much of a body is not counted by itself.
const UNCOUNTED_BYTES: usize = 1 << 10;

/// How long a body may take to come, from the moment when it has to be waited for.
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// The same for a body that anybody may send, and how long its message may be: those that there are have next to nothing.
const BODY_OF_ANYBODY_WITHIN: Duration = Duration::from_secs(3);
const MESSAGE_OF_ANYBODY_BYTES_MAX: usize = 4 << 10;

/// A length-prefixed message starts with one byte of flags and four of length.
pub(crate) const PREFIX_BYTES: usize = 5;

/// A request body that yields whole, bounded, uncompressed messages.
pub struct BoundedMessages<B> {
    inner: B,
    buffer: BytesMut,
    gzip: bool,
    finished: bool,
    /// Looks at each message before anything decodes it.
    check: Option<Box<Check>>,
    /// Counts the call by its message.
    meter: Option<Box<Meter>>,
    /// In whose line a start waits that says this.
    line: Option<Box<LineOf>>,
    /// What of it is counted as held in memory; `None`: nobody counts.
    held: Option<Arc<Held>>,
    /// Bytes that have come and are not counted yet.
    uncounted: usize,
    /// How long the rest of it may take.
    within: Duration,
    /// The longest message that is taken.
    message_bytes_max: usize,
    /// When it must be there; `None`: nobody has waited yet.
    due: Option<Pin<Box<Sleep>>>,
    /// Trailers that wait for the rest of the buffer to leave.
    trailers: Option<Frame<Bytes>>,
    /// What has come of a start that needs a turn before it goes on.
    before_gate: Option<BeforeGate>,
}

/// Tells by a message in whose line a start waits.
type LineOf = dyn Fn(&[u8]) -> Whose + Send + Sync;

/// See [`BoundedMessages::before_gate`].
struct BeforeGate {
    /// The message, with its prefix. Empty: it has been given up.
    came: Bytes,
    /// `None`: the body has not ended yet.
    turn: Option<Waits>,
}

type Waits = Pin<Box<dyn Future<Output = Result<Turn, Refused>> + Send>>;

impl<B> BoundedMessages<B> {
    /// Reads `inner`; takes the encoding header away when it is gzip, since what comes out is plain.
    pub fn new(request: http::Request<B>) -> http::Request<Self> {
        let (mut parts, inner) = request.into_parts();
        let gzip = parts.headers.get("grpc-encoding").is_some_and(|encoding| encoding == "gzip");
        if gzip {
            parts.headers.remove("grpc-encoding");
        }
        let body = Self {
            inner,
            buffer: BytesMut::new(),
            gzip,
            finished: false,
            check: None,
            meter: None,
            line: None,
            held: None,
            uncounted: 0,
            within: BODY_WITHIN,
            message_bytes_max: MESSAGE_BYTES_MAX,
            due: None,
            trailers: None,
            before_gate: None,
        };
        http::Request::from_parts(parts, body)
    }

    /// Anybody may send it: it is short, and comes soon.
    pub(crate) fn is_by_anybody(&mut self) {
        (self.within, self.message_bytes_max) = (BODY_OF_ANYBODY_WITHIN, MESSAGE_OF_ANYBODY_BYTES_MAX);
    }

    /// From now on each message is looked at before it leaves.
    pub(crate) fn check(&mut self, check: Check) {
        self.check = Some(Box::new(check));
    }

    /// From now on the call is counted by its message.
    pub(crate) fn meter(&mut self, meter: Meter) {
        self.meter = Some(Box::new(meter));
    }

    /// A start that has to wait for its turn does so in the line that this tells by its message.
    pub(crate) fn stand_in_line(&mut self, line: impl Fn(&[u8]) -> Whose + Send + Sync + 'static) {
        self.line = Some(Box::new(line));
    }

    /// What comes from now on is counted as held by the call.
    pub(crate) fn hold(&mut self, held: Arc<Held>) {
        self.held = Some(held);
    }

    /// By what it is counted.
    pub(crate) fn held(&self) -> Option<Arc<Held>> {
        self.held.clone()
    }

    /// More of the body has to come; ready when it has not come in time.
    #[expect(clippy::disallowed_methods, reason = "callers are waited for by the wall clock")]
    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Status> {
        let within = self.within;
        ready!(self.due.get_or_insert_with(|| Box::pin(sleep(within))).as_mut().poll(cx));
        self.finished = true;
        self.buffer = BytesMut::new();
        Poll::Ready(Status::deadline_exceeded("the body did not come in time"))
    }

    /// So many bytes more are in memory.
    fn grow(&mut self, bytes: usize) -> Result<(), Status> {
        let Some(held) = &self.held else { return Ok(()) };
        self.uncounted += bytes;
        // Less, in all, is a part of what every call is counted as.
        if self.uncounted <= UNCOUNTED_BYTES {
            return Ok(());
        }
        held.grow(std::mem::take(&mut self.uncounted) as u64)
    }

    /// Refuses what is to leave, if it is looked at: a message with its prefix, or what cannot be one.
    fn checked(&mut self, data: Bytes) -> Result<Bytes, Status> {
        // The next message, if there may be one, has its own time.
        self.due = None;
        if self.check.is_some() || self.meter.is_some() {
            let message = plain_message(&data);
            self.check.as_ref().map_or(Ok(()), |check| check.message(&message))?;
            // A start is counted when it is its turn: one that is refused before has not been made.
            if self.held.as_ref().is_none_or(|held| held.needs_turn().is_none()) {
                self.meter.as_mut().map_or(Ok(()), |meter| meter.message(&message))?;
            }
        }
        Ok(data)
    }

    /// The next whole message of the buffer, with its prefix; `None` when more bytes are needed.
    fn next_message(&mut self) -> Result<Option<Bytes>, Status> {
        let Some((flags, length)) = prefix(&self.buffer) else { return Ok(None) };
        if length > self.message_bytes_max {
            return Err(status::message_too_large(length as u64, self.message_bytes_max));
        }
        if self.buffer.len() < PREFIX_BYTES + length {
            return Ok(None);
        }
        let message = self.buffer.split_to(PREFIX_BYTES + length).freeze();
        match flags {
            1 if self.gzip => {
                let plain = inflate(&message[PREFIX_BYTES..], self.message_bytes_max)?;
                self.grow(plain.len())?;
                Ok(Some(plain))
            }
            // Other flags, and compression without a known encoding, are the codec's to refuse.
            _ => Ok(Some(message)),
        }
    }
}

/// Flags and length of the message that `bytes` begin with.
fn prefix(bytes: &[u8]) -> Option<(u8, usize)> {
    let (&[flags, a, b, c, d], _) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
    Some((flags, u32::from_be_bytes([a, b, c, d]) as usize))
}

/// The message of gzip `bytes`, with a prefix, if it is no longer than that.
fn inflate(bytes: &[u8], message_bytes_max: usize) -> Result<Bytes, Status> {
    let guess = (bytes.len() * 4).clamp(256, message_bytes_max + 1);
    let mut plain = Vec::with_capacity(PREFIX_BYTES + guess);
    plain.put_bytes(0, PREFIX_BYTES);
    let mut decoder = GzDecoder::new(bytes).take(message_bytes_max as u64 + 1);
    let length = decoder
        .read_to_end(&mut plain)
        .map_err(|error| Status::internal(format!("grpc: failed to decompress the received message: {error}")))?;
    if length > message_bytes_max {
        return Err(status::decompressed_too_large(message_bytes_max));
    }
    plain[1..PREFIX_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    Ok(plain.into())
}

impl<B> Body for BoundedMessages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.before_gate.is_none() {
            let came = ready!(this.poll_next(cx));
            // What is no message starts nothing.
            let Some(data) = came.as_ref().and_then(|came| came.as_ref().ok()?.data_ref()) else { return Poll::Ready(came) };
            if this.held.as_ref().is_none_or(|held| held.needs_turn().is_none()) {
                return Poll::Ready(came);
            }
            this.before_gate = Some(BeforeGate { came: data.clone(), turn: None });
        }
        this.poll_turn(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.before_gate.is_none() && self.buffer.is_empty() && self.trailers.is_none() && (self.finished || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

impl<B> BoundedMessages<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    /// Waits for the turn of what has come, once nothing more comes: a turn is not for waiting for the end of a body.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        loop {
            let Some(held) = self.held.clone() else { return Poll::Ready(None) };
            let Some(waits) = &mut self.before_gate else { return Poll::Ready(None) };
            let Some(turn) = &mut waits.turn else {
                if let Err(refused) = ready!(self.poll_end(cx)) {
                    return Poll::Ready(Some(self.give_up(refused)));
                }
                let (Some(waits), Some((gate, wait))) = (&mut self.before_gate, held.needs_turn()) else { return Poll::Ready(None) };
                let (whose, bytes) = (self.line.as_ref().and_then(|line| line(&plain_message(&waits.came))), held.bytes());
                waits.turn = Some(Box::pin(async move { gate.enter(whose, bytes, wait).await }));
                continue;
            };
            match ready!(turn.as_mut().poll(cx)) {
                Ok(turn) => {
                    held.let_in(turn);
                    let came = self.before_gate.take().map(|waits| waits.came).unwrap_or_default();
                    if let Err(refused) = self.meter.as_mut().map_or(Ok(()), |meter| meter.message(&plain_message(&came))) {
                        held.give_turn_back();
                        return Poll::Ready(Some(self.give_up(refused)));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(came))));
                }
                Err(refused) if refused.may_be_told() => return Poll::Ready(Some(self.give_up(status::starts_wait()))),
                Err(refused) => {
                    // What it holds goes at once; it is told later, so that it does not come again at once.
                    waits.came = Bytes::new();
                    waits.turn = Some(Box::pin(async move { Err(refused.wait().await) }));
                    self.buffer = BytesMut::new();
                    held.let_go_of_body();
                }
            }
        }
    }

    /// Nothing more is read.
    fn give_up(&mut self, refused: Status) -> Result<Frame<Bytes>, Status> {
        self.finished = true;
        self.before_gate = None;
        self.buffer = BytesMut::new();
        Err(refused)
    }

    /// Ready when the body has ended behind its one message.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        while !self.finished {
            let Poll::Ready(frame) = Pin::new(&mut self.inner).poll_frame(cx) else { return self.poll_late(cx).map(Err) };
            match frame.transpose().map_err(|error| Status::from_error(error.into()))?.map(Frame::into_data) {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(_)) => return Poll::Ready(Err(Status::invalid_argument("a start is one message, and more came"))),
                Some(Err(trailers)) => {
                    self.trailers = Some(trailers);
                    self.finished = true;
                }
                None => self.finished = true,
            }
        }
        let more = !self.buffer.is_empty();
        Poll::Ready(if more { Err(Status::invalid_argument("a start is one message, and more came")) } else { Ok(()) })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self;
        loop {
            match this.next_message() {
                Ok(Some(message)) => return Poll::Ready(Some(this.checked(message).map(Frame::data))),
                Ok(None) => {}
                Err(status) => {
                    this.finished = true;
                    this.buffer.clear();
                    return Poll::Ready(Some(Err(status)));
                }
            }
            if this.finished {
                // An unfinished message goes on as it is; the codec says what it thinks of it.
                if !this.buffer.is_empty() {
                    let rest = std::mem::take(&mut this.buffer).freeze();
                    return Poll::Ready(Some(this.checked(rest).map(Frame::data)));
                }
                return Poll::Ready(this.trailers.take().map(Ok));
            }
            let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) else {
                return this.poll_late(cx).map(|late| Some(Err(late)));
            };
            match frame {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if let Err(full) = this.grow(data.len()) {
                            this.finished = true;
                            this.buffer = BytesMut::new();
                            return Poll::Ready(Some(Err(full)));
                        }
                        if this.buffer.is_empty() && is_one_plain_message(&data, this.message_bytes_max) {
                            return Poll::Ready(Some(this.checked(data).map(Frame::data)));
                        }
                        this.buffer.extend_from_slice(&data);
                    }
                    Err(trailers) => {
                        this.trailers = Some(trailers);
                        this.finished = true;
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(Status::from_error(error.into())))),
                None => this.finished = true,
            }
        }
    }
}

/// What is said in a frame that is to leave. The codec refuses what is no plain message: it needs not be looked at.
fn plain_message(data: &Bytes) -> Bytes {
    if is_one_plain_message(data, MESSAGE_BYTES_MAX) { data.slice(PREFIX_BYTES..) } else { Bytes::new() }
}

/// True for the usual case that needs no copy: one chunk that is one bounded, uncompressed message.
fn is_one_plain_message(data: &Bytes, message_bytes_max: usize) -> bool {
    prefix(data).is_some_and(|(flags, length)| flags == 0 && length <= message_bytes_max && data.len() == PREFIX_BYTES + length)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, io::Write};

    use flate2::{Compression, write::GzEncoder};
    use futures::executor::block_on;
    use http_body_util::BodyExt;
    use sempre_core::{NamespaceId, ids::Uuid};
    use sempre_engine::CallClass;
    use tonic::Code;

    use super::*;
    use crate::{classes::Kind, room::Room, start_gate::StartGate};

    struct Chunks(VecDeque<Bytes>);

    impl Body for Chunks {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(self.get_mut().0.pop_front().map(|chunk| Ok(Frame::data(chunk))))
        }
    }

    fn message(flags: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![flags];
        bytes.put_u32(payload.len() as u32);
        bytes.put_slice(payload);
        bytes
    }

    fn gzip(payload: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(payload).expect("memory");
        encoder.finish().expect("memory")
    }

    /// Everything the body yields when its input comes in chunks of `step` bytes.
    fn read(bytes: &[u8], step: usize, encoding: &str) -> Result<Vec<u8>, Status> {
        let chunks = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
        let request = http::Request::builder().header("grpc-encoding", encoding).body(Chunks(chunks)).expect("a request");
        let request = BoundedMessages::new(request);
        assert_eq!(request.headers().contains_key("grpc-encoding"), encoding != "gzip");
        let mut body = request.into_body();
        let mut out = Vec::new();
        while let Some(frame) = block_on(futures::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))) {
            out.extend_from_slice(&frame?.into_data().expect("data"));
        }
        assert!(body.is_end_stream());
        Ok(out)
    }

    #[test]
    fn plain_messages_pass_unchanged_however_they_are_cut() {
        let bytes = [message(0, b"one"), message(0, b""), message(0, &[7; 1000])].concat();
        for step in [1, 2, 5, 8, 100, bytes.len()] {
            assert_eq!(read(&bytes, step, "identity").expect("passes"), bytes);
        }
    }

    #[test]
    fn a_body_that_comes_in_small_pieces_is_counted_as_any_other() {
        let room = crate::room::Room::new(1 << 20);
        let held = room.enter(crate::classes::Kind::of(crate::access::WORKFLOW, "StartWorkflowExecution"), 0).expect("room");
        let before = room.used().1;
        // It announces more than it sends.
        let bytes = &message(0, &[7; 100_000])[..90_000];
        let chunks = bytes.chunks(100).map(Bytes::copy_from_slice).collect();
        let mut body = BoundedMessages::new(http::Request::new(Chunks(chunks))).into_body();
        body.hold(held);
        let _ = block_on(futures::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        let counted = room.used().1 - before;
        assert!((90_000 - UNCOUNTED_BYTES as u64..=90_000).contains(&counted), "{counted}");
    }

    #[test]
    fn gzip_is_undone() {
        let bytes = [message(1, &gzip(b"one")), message(0, b"two"), message(1, &gzip(&[7; 100_000]))].concat();
        let plain = [message(0, b"one"), message(0, b"two"), message(0, &[7; 100_000])].concat();
        for step in [1, 7, bytes.len()] {
            assert_eq!(read(&bytes, step, "gzip").expect("passes"), plain);
        }
    }

    #[test]
    fn the_limit_itself_passes_and_one_more_does_not() {
        let largest = vec![1; MESSAGE_BYTES_MAX];
        assert_eq!(read(&message(0, &largest), 16384, "identity").expect("passes").len(), MESSAGE_BYTES_MAX + 5);
        assert_eq!(read(&message(1, &gzip(&largest)), 16384, "gzip").expect("passes").len(), MESSAGE_BYTES_MAX + 5);

        let status = read(&message(0, &[1; MESSAGE_BYTES_MAX + 1])[..5], 5, "identity").expect_err("too long");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message larger than max (4194305 vs. 4194304)");

        let status = read(&message(1, &gzip(&[1; MESSAGE_BYTES_MAX + 1])), 16384, "gzip").expect_err("too long");
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.message(), "grpc: received message after decompression larger than max 4194304");
    }

    #[test]
    fn what_anybody_may_send_is_short_whole_or_in_pieces_packed_or_not() {
        let of = |length: usize, gzipped: bool, step: usize| {
            let bytes = if gzipped { message(1, &gzip(&vec![7; length])) } else { message(0, &vec![7; length]) };
            let chunks = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
            let encoding = if gzipped { "gzip" } else { "identity" };
            let request = http::Request::builder().header("grpc-encoding", encoding).body(Chunks(chunks)).expect("a request");
            let mut body = BoundedMessages::new(request).into_body();
            body.is_by_anybody();
            let frame = block_on(futures::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).expect("something");
            frame.map(|frame| frame.into_data().expect("data").len()).map_err(|refused| refused.code())
        };
        for gzipped in [false, true] {
            for step in [100, 1 << 20] {
                assert_eq!(of(MESSAGE_OF_ANYBODY_BYTES_MAX, gzipped, step), Ok(PREFIX_BYTES + MESSAGE_OF_ANYBODY_BYTES_MAX));
                assert_eq!(of(MESSAGE_OF_ANYBODY_BYTES_MAX + 1, gzipped, step), Err(Code::ResourceExhausted), "{gzipped} {step}");
            }
        }
    }

    /// A body of which nothing more comes.
    struct Stuck;

    impl Body for Stuck {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Pending
        }
    }

    const WAIT: Duration = Duration::from_secs(10);

    fn start_before(gate: &Arc<StartGate>) -> Arc<Held> {
        let held = Room::new(1 << 20).enter(Kind { class: CallClass::Start, waits: false, by_anybody: false }, 0).expect("room");
        held.stand_before(gate, None);
        held
    }

    #[tokio::test]
    async fn a_body_that_does_not_come_is_waited_for_without_a_turn_and_not_for_ever() {
        let gate = StartGate::new(1 << 20);
        let all = gate.free();
        let mut body = BoundedMessages::new(http::Request::new(Stuck)).into_body();
        body.hold(start_before(&gate));
        body.within = Duration::from_millis(20);
        let mut late = std::pin::pin!(body.frame());
        assert!(futures::poll!(&mut late).is_pending());
        assert_eq!((gate.free(), gate.waiting()), (all, 0), "others have the turns");
        let late = late.await.expect("an end").expect_err("too late");
        assert_eq!(late.code(), Code::DeadlineExceeded);
    }

    /// A body of one chunk that does not end.
    struct Open(Option<Bytes>);

    impl Body for Open {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            self.0.take().map_or(Poll::Pending, |chunk| Poll::Ready(Some(Ok(Frame::data(chunk)))))
        }
    }

    #[tokio::test]
    async fn a_start_has_no_turn_before_its_body_has_ended() {
        let gate = StartGate::new(1 << 20);
        let all = gate.free();
        let mut body = BoundedMessages::new(http::Request::new(Open(Some(message(0, b"start").into())))).into_body();
        body.hold(start_before(&gate));
        body.within = Duration::from_millis(20);
        let mut late = std::pin::pin!(body.frame());
        assert!(futures::poll!(&mut late).is_pending());
        assert_eq!((gate.free(), gate.waiting()), (all, 0), "others have the turns");
        assert_eq!(late.await.expect("an end").expect_err("too late").code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "how long callers wait is counted by the wall clock")]
    async fn a_start_that_is_shed_holds_nothing_until_it_is_told() {
        let gate = StartGate::new(0);
        let mut inside = Vec::new();
        while gate.free() > 0 {
            inside.push(gate.enter(None, 1, WAIT).await.expect("a turn"));
        }
        let room = Room::new(1 << 20);
        let held = room.enter(Kind { class: CallClass::Start, waits: false, by_anybody: false }, 0).expect("room");
        held.stand_before(&gate, Some(Duration::from_secs(2)));
        let mut body = BoundedMessages::new(http::Request::new(Chunks([message(0, &[7; 50_000]).into()].into()))).into_body();
        body.hold(held);
        let begun = tokio::time::Instant::now();
        let mut refused = std::pin::pin!(body.frame());
        assert!(futures::poll!(&mut refused).is_pending());
        assert_eq!((gate.waiting(), gate.refused(), room.used().1), (0, 1, crate::room::CALL_BYTES));
        let refused = refused.await.expect("an end").expect_err("too many");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        // Before its caller gives up, and not much: whoever tries again at once would have the server do nothing else.
        let told = begun.elapsed();
        assert!(told >= Duration::from_millis(1500) && told < Duration::from_secs(2), "{told:?}");
    }

    #[tokio::test]
    async fn a_start_waits_for_its_turn_in_the_line_of_the_namespace_that_it_names() {
        let gate = StartGate::new(1 << 20);
        let all = gate.free();
        let namespace = |n: u8| Some(NamespaceId(Uuid([n; 16])));
        let mut inside = Vec::new();
        while gate.free() > 0 {
            inside.push(gate.enter(None, 1, WAIT).await.expect("a turn"));
        }
        // The message says whose it is: one byte.
        let start = |n: u8| {
            let held = start_before(&gate);
            let chunk = Bytes::from(message(0, &[n]));
            let mut body = BoundedMessages::new(http::Request::new(Chunks([chunk].into()))).into_body();
            body.hold(Arc::clone(&held));
            body.stand_in_line(move |message| namespace(message[0]));
            (held, body)
        };
        let (_first, mut first) = start(1);
        let (second_held, mut second) = start(1);
        let (other_held, mut other) = start(2);
        let (mut first, mut second, mut other) = (Box::pin(first.frame()), Box::pin(second.frame()), Box::pin(other.frame()));
        for _ in 0..3 {
            assert!(futures::poll!(&mut first).is_pending());
            assert!(futures::poll!(&mut second).is_pending());
            assert!(futures::poll!(&mut other).is_pending());
        }
        assert_eq!(gate.waiting(), 3);
        inside.truncate(all - 2);
        let came = |frame: Option<Result<Frame<Bytes>, Status>>| frame.expect("a frame").expect("passes").into_data().ok();
        assert_eq!(came(other.await), Some(message(0, &[2]).into()), "the other namespace's start is the second");
        assert_eq!(came(first.await), Some(message(0, &[1]).into()));
        assert!(futures::poll!(&mut second).is_pending());
        // It keeps its turn until its call gives it back.
        other_held.give_turn_back();
        assert_eq!(came(second.await), Some(message(0, &[1]).into()));
        assert!(second_held.needs_turn().is_none());
        drop(second_held);
    }

    #[test]
    fn a_length_alone_reserves_nothing() {
        let mut request = BoundedMessages::new(http::Request::new(Chunks(VecDeque::new())));
        let body = request.body_mut();
        body.buffer.extend_from_slice(&message(0, &[0; MESSAGE_BYTES_MAX])[..5]);
        assert!(body.next_message().expect("not too long").is_none());
        assert!(body.buffer.capacity() < 1024);
    }

    #[test]
    fn damaged_gzip_and_broken_ends_are_told() {
        let status = read(&message(1, b"not gzip at all"), 16384, "gzip").expect_err("damaged");
        assert_eq!(status.code(), Code::Internal);
        let bytes = &message(0, b"cut off")[..8];
        assert_eq!(read(bytes, 3, "identity").expect("passes on"), bytes);
    }
}

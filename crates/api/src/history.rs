//! History as it is stored and sent: encoded events, handed on without decoding.
//!
//! Stands in for the generated `temporal.api.history.v1.History` in every message. On the wire it
//! is the same: a message whose field 1 is the repeated event. A stored batch *is* a sequence of
//! such fields, so a page of history is the concatenation of stored batches.

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::{
    DecodeError, Message,
    encoding::{self, DecodeContext, WireType},
};

use crate::v1::history::HistoryEvent;

/// A sequence of encoded events: chunks of `field 1, length, event` frames in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Each chunk holds whole frames only.
    pub chunks: Vec<Bytes>,
}

impl History {
    /// Encodes `events` into one chunk.
    pub fn from_events<'a>(events: impl IntoIterator<Item = &'a HistoryEvent>) -> Self {
        let mut frames = BytesMut::new();
        for event in events {
            encode_event(event, &mut frames);
        }
        Self { chunks: if frames.is_empty() { Vec::new() } else { alloc::vec![frames.freeze()] } }
    }

    /// Decodes all events. Fails on bytes that are not a sequence of event frames.
    pub fn events(&self) -> Result<Vec<HistoryEvent>, DecodeError> {
        let mut events = Vec::new();
        for chunk in &self.chunks {
            let mut rest = chunk.clone();
            while let Some(frame) = next_frame(&mut rest)? {
                events.push(HistoryEvent::decode(frame_body(frame)?)?);
            }
        }
        Ok(events)
    }

    /// Bytes of all chunks.
    pub fn size(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// True when there is no event.
    pub fn is_empty(&self) -> bool {
        self.chunks.iter().all(Bytes::is_empty)
    }
}

/// Appends one event as a frame to `frames`.
pub fn encode_event(event: &HistoryEvent, frames: &mut BytesMut) {
    encoding::message::encode(1, event, frames);
}

/// Splits the next whole frame (tag, length and event) off `rest`; `None` at the end.
pub fn next_frame(rest: &mut Bytes) -> Result<Option<Bytes>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let mut peek: &[u8] = rest;
    let before = peek.len();
    let (tag, wire) = encoding::decode_key(&mut peek)?;
    if tag != 1 || wire != WireType::LengthDelimited {
        return Err(not_a_frame());
    }
    let length = usize::try_from(encoding::decode_varint(&mut peek)?).map_err(|_| not_a_frame())?;
    if length > peek.len() {
        return Err(not_a_frame());
    }
    Ok(Some(rest.split_to(before - peek.len() + length)))
}

/// The event's own bytes inside a frame.
pub fn frame_body(mut frame: Bytes) -> Result<Bytes, DecodeError> {
    encoding::decode_key(&mut frame)?;
    encoding::decode_varint(&mut frame)?;
    Ok(frame)
}

fn not_a_frame() -> DecodeError {
    // Decoding an empty varint is the one way to build this error type without its private constructor.
    encoding::decode_varint(&mut Bytes::new()).err().unwrap_or_else(|| unreachable!("an empty varint cannot decode"))
}

impl Message for History {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        for chunk in &self.chunks {
            buf.put_slice(chunk);
        }
    }

    fn merge_field(&mut self, tag: u32, wire: WireType, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        if tag != 1 {
            return encoding::skip_field(wire, tag, buf, ctx);
        }
        let mut body = Bytes::new();
        encoding::bytes::merge(wire, &mut body, buf, ctx)?;
        let mut frame = BytesMut::with_capacity(body.len() + 6);
        encoding::encode_key(1, WireType::LengthDelimited, &mut frame);
        encoding::encode_varint(body.len() as u64, &mut frame);
        frame.put_slice(&body);
        self.chunks.push(frame.freeze());
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.size()
    }

    fn clear(&mut self) {
        self.chunks.clear();
    }
}

impl prost::Name for History {
    const NAME: &'static str = "History";
    const PACKAGE: &'static str = "temporal.api.history.v1";
}

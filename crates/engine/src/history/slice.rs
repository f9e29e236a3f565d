//! Cuts pages out of stored history on event borders, without decoding events.

use bytes::{Buf, Bytes};
use prost::encoding::decode_varint;
use sempre_api::{frame_body, next_frame};

/// Stored bytes that are not a sequence of event frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

/// How much one page holds. The first event always fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageLimit {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// A page being filled: events `first..end`, as far as the limit allows.
#[derive(Debug)]
pub(crate) struct Page {
    /// Whole frames, in order.
    pub(crate) chunks: Vec<Bytes>,
    /// The first event that is not in `chunks`.
    pub(crate) next: i64,
    end: i64,
    limit: PageLimit,
    events: usize,
    bytes: usize,
    full: bool,
}

impl Page {
    pub(crate) fn new(first: i64, end: i64, limit: PageLimit) -> Self {
        Self { chunks: Vec::new(), next: first, end, limit, events: 0, bytes: 0, full: false }
    }

    /// Nothing more to add: the end or the limit is reached.
    pub(crate) fn is_done(&self) -> bool {
        self.full || self.next >= self.end
    }

    /// True when every wanted event is in.
    pub(crate) fn is_complete(&self) -> bool {
        self.next >= self.end
    }

    /// Adds what is wanted of one stored row. Rows come in order; events before the page are skipped.
    pub(crate) fn add(&mut self, row: &Bytes) -> Result<(), Damaged> {
        let mut rest = row.clone();
        let mut from = None;
        let mut to = 0;
        while !self.is_done() {
            let at = row.len() - rest.len();
            let Some(frame) = next_frame(&mut rest).map_err(|_| Damaged)? else { break };
            let length = frame.len();
            let id = event_id(frame)?;
            if id < self.next {
                continue;
            }
            if id != self.next {
                return Err(Damaged);
            }
            if self.events > 0 && (self.events >= self.limit.events || self.bytes + length > self.limit.bytes) {
                self.full = true;
                break;
            }
            from.get_or_insert(at);
            to = at + length;
            self.next += 1;
            self.events += 1;
            self.bytes += length;
        }
        if let Some(from) = from {
            self.chunks.push(row.slice(from..to));
        }
        Ok(())
    }
}

/// The id inside a frame: field 1 of the event, which is encoded first.
pub(crate) fn event_id(frame: Bytes) -> Result<i64, Damaged> {
    const EVENT_ID_KEY: u8 = 0x08;
    let mut body = frame_body(frame).map_err(|_| Damaged)?;
    if !body.has_remaining() || body.get_u8() != EVENT_ID_KEY {
        return Err(Damaged);
    }
    decode_varint(&mut body).map(|id| id as i64).map_err(|_| Damaged)
}

/// The frames of all chunks, last first.
pub(crate) fn reversed(chunks: &[Bytes]) -> Result<Vec<Bytes>, Damaged> {
    let mut frames = Vec::new();
    for chunk in chunks {
        let mut rest = chunk.clone();
        while let Some(frame) = next_frame(&mut rest).map_err(|_| Damaged)? {
            frames.push(frame);
        }
    }
    frames.reverse();
    Ok(frames)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use bytes::BytesMut;
    use sempre_api::{History, v1::history::HistoryEvent};

    pub(crate) fn row(ids: std::ops::RangeInclusive<i64>) -> Bytes {
        let mut frames = BytesMut::new();
        for event_id in ids {
            sempre_api::encode_event(&HistoryEvent { event_id, task_id: 7, ..Default::default() }, &mut frames);
        }
        frames.freeze()
    }

    fn ids(page: &Page) -> Vec<i64> {
        History { chunks: page.chunks.clone() }.events().unwrap().iter().map(|e| e.event_id).collect()
    }

    const WIDE: PageLimit = PageLimit { events: 256, bytes: 1 << 20 };

    #[test]
    fn takes_the_wanted_events_only() {
        let mut page = Page::new(2, 6, WIDE);
        page.add(&row(1..=3)).unwrap();
        page.add(&row(4..=9)).unwrap();
        assert_eq!((ids(&page), page.next, page.is_complete()), (vec![2, 3, 4, 5], 6, true));
    }

    #[test]
    fn stops_at_the_limit_inside_a_row_and_goes_on_from_there() {
        let mut page = Page::new(1, 10, PageLimit { events: 4, bytes: 1 << 20 });
        page.add(&row(1..=9)).unwrap();
        assert_eq!((ids(&page), page.next, page.is_done(), page.is_complete()), (vec![1, 2, 3, 4], 5, true, false));
        let mut page = Page::new(5, 10, WIDE);
        page.add(&row(1..=9)).unwrap();
        assert_eq!(ids(&page), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn one_event_always_fits() {
        let mut page = Page::new(1, 3, PageLimit { events: 256, bytes: 1 });
        page.add(&row(1..=2)).unwrap();
        assert_eq!((ids(&page), page.next), (vec![1], 2));
    }

    #[test]
    fn a_gap_is_damage() {
        let mut page = Page::new(1, 9, WIDE);
        page.add(&row(1..=3)).unwrap();
        assert_eq!(page.add(&row(5..=6)), Err(Damaged));
        assert_eq!(Page::new(1, 9, WIDE).add(&Bytes::from_static(b"\x12\x00")), Err(Damaged));
    }

    #[test]
    fn reverses_frames() {
        let chunks = reversed(&[row(1..=2), row(3..=3)]).unwrap();
        let ids: Vec<_> = History { chunks }.events().unwrap().iter().map(|e| e.event_id).collect();
        assert_eq!(ids, [3, 2, 1]);
    }
}

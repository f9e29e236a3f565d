//! The newest events of a cached run, so that a sticky worker's next task needs no read.

use std::collections::VecDeque;

use sempre_core::transition::HistoryBatch;

use super::slice::{Page, PageLimit};

/// Bytes of one run's tail.
const TAIL_BYTES_MAX: usize = 64 << 10;

/// The last batches of a run, without gap up to its newest event.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    batches: VecDeque<HistoryBatch>,
    bytes: usize,
}

impl Tail {
    pub(crate) fn push(&mut self, batch: HistoryBatch) {
        if self.batches.back().is_some_and(|last| last.last_event_id + 1 != batch.first_event_id) {
            self.batches.clear();
            self.bytes = 0;
        }
        self.bytes += batch.frames.len();
        self.batches.push_back(batch);
        while self.bytes > TAIL_BYTES_MAX {
            let Some(old) = self.batches.pop_front() else { break };
            self.bytes -= old.frames.len();
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The page from `first` up to `end`, if all of it is here.
    pub(crate) fn page(&self, first: i64, end: i64, limit: PageLimit) -> Option<Page> {
        let mut page = Page::new(first, end, limit);
        if page.is_complete() {
            return Some(page);
        }
        if self.batches.front()?.first_event_id > first {
            return None;
        }
        for batch in self.batches.iter().skip_while(|b| b.last_event_id < first) {
            if page.is_done() {
                break;
            }
            // Damage here would be ours; the store's copy is read instead.
            page.add(&batch.frames).ok()?;
        }
        page.is_done().then_some(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::slice::tests::row;

    fn batch(first: i64, last: i64) -> HistoryBatch {
        HistoryBatch { first_event_id: first, last_event_id: last, frames: row(first..=last) }
    }

    const WIDE: PageLimit = PageLimit { events: 256, bytes: 1 << 20 };

    #[test]
    fn answers_only_what_it_holds() {
        let mut tail = Tail::default();
        tail.push(batch(4, 6));
        tail.push(batch(7, 7));
        assert!(tail.page(3, 8, WIDE).is_none());
        assert!(tail.page(5, 9, WIDE).is_none());
        assert_eq!(tail.page(5, 8, WIDE).unwrap().next, 8);
        assert!(tail.page(8, 8, WIDE).unwrap().chunks.is_empty());
    }

    #[test]
    fn forgets_the_oldest() {
        let mut tail = Tail::default();
        for id in 1..=20_000 {
            tail.push(batch(id, id));
        }
        assert!(tail.bytes() <= TAIL_BYTES_MAX);
        assert!(tail.page(1, 20_001, WIDE).is_none());
        assert!(tail.page(19_900, 20_001, WIDE).is_some());
    }
}

//! The near deadlines of a shard: a window of the durable rows, slot by slot.
//!
//! Each slot is covered up to some time: rows up to it are in memory, later ones only in the store. A slot is
//! read further when its cover comes near. A row that memory has but the run does not want any more costs one
//! look at the run; a row that is missing in memory cannot be, below the cover.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use sempre_core::{
    RunId, SlotId, Span, Timestamp, WorkflowKey,
    keys::{self, RunRecord},
};
use sempre_store::{CommitError, Pending, Store, StoreError, Table};

/// How far ahead rows are kept in memory.
const WINDOW: Span = Span::seconds(300);
/// Rows of one slot read at once.
const ROWS: usize = 128;
/// Pause after a read that failed.
const RETRY: Span = Span::seconds(1);
/// Slots read in one step.
pub(crate) const SLOTS_A_STEP: usize = 16;

/// Rows read from one slot.
pub(crate) struct SlotRows {
    pub(crate) slot: u16,
    /// The slot is covered up to here.
    pub(crate) covered: Timestamp,
    /// There are more.
    pub(crate) crowded: bool,
    pub(crate) rows: Vec<(Timestamp, RunId, WorkflowKey)>,
}

#[derive(Clone, Copy)]
struct Cover {
    to: Timestamp,
    /// The slot had more rows than are read at once: it is read further only when these are used up.
    crowded: bool,
}

impl Cover {
    /// When the slot is to be read further.
    fn read_at(self) -> Timestamp {
        if self.crowded { self.to } else { Timestamp(self.to.0.saturating_sub(WINDOW.0 / 2)) }
    }
}

/// See the module.
pub(crate) struct Deadlines {
    due: BTreeMap<(Timestamp, RunId), WorkflowKey>,
    /// Deadlines of what runs have in memory only (speculative workflow tasks): no rows.
    memory: BTreeMap<(Timestamp, RunId), WorkflowKey>,
    /// Cover of each slot of the shard.
    covered: BTreeMap<u16, Cover>,
    /// When the first slot is to be read further; kept because every round of the shard asks.
    read_at: Option<Timestamp>,
    reading: bool,
    /// The last read failed: not again before this time.
    retry_at: Option<Timestamp>,
}

impl Deadlines {
    /// Nothing covered yet.
    pub(crate) fn new(slots: impl Iterator<Item = u16>) -> Self {
        let mut deadlines = Self {
            read_at: None,
            due: BTreeMap::new(),
            memory: BTreeMap::new(),
            covered: slots.map(|s| (s, Cover { to: Timestamp(-1), crowded: false })).collect(),
            reading: false,
            retry_at: None,
        };
        deadlines.plan();
        deadlines
    }

    fn plan(&mut self) {
        self.read_at = self.covered.values().map(|cover| cover.read_at()).min();
    }

    /// A row was (or will be, with the open batch) changed.
    pub(crate) fn change(&mut self, workflow: &WorkflowKey, run: RunId, old: Option<Timestamp>, new: Option<Timestamp>) {
        if let Some(old) = old {
            self.due.remove(&(old, run));
        }
        if let Some(new) = new
            && self.covered.get(&workflow.slot().0).is_some_and(|cover| new <= cover.to)
        {
            self.due.insert((new, run), workflow.clone());
        }
    }

    /// Puts a row back that must be looked at again later.
    pub(crate) fn retry(&mut self, workflow: &WorkflowKey, run: RunId, at: Timestamp) {
        self.due.insert((at, run), workflow.clone());
    }

    /// The deadline of what a run has in memory only has changed.
    pub(crate) fn change_memory(&mut self, workflow: &WorkflowKey, run: RunId, old: Option<Timestamp>, new: Option<Timestamp>) {
        if let Some(old) = old {
            self.memory.remove(&(old, run));
        }
        if let Some(new) = new {
            self.memory.insert((new, run), workflow.clone());
        }
    }

    /// Takes the earliest run whose deadline in memory has passed.
    pub(crate) fn pop_memory(&mut self, now: Timestamp) -> Option<(RunId, WorkflowKey)> {
        let entry = self.memory.first_entry().filter(|e| e.key().0 <= now)?;
        let ((_, run), workflow) = entry.remove_entry();
        Some((run, workflow))
    }

    /// Takes the earliest row that is due.
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, RunId, WorkflowKey)> {
        let entry = self.due.first_entry().filter(|e| e.key().0 <= now)?;
        let ((at, run), workflow) = entry.remove_entry();
        Some((at, run, workflow))
    }

    /// When the shard must look here again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let row = self.due.first_key_value().map(|((at, _), _)| *at);
        let read = if self.reading { None } else { self.read_at.max(self.read_at.and(self.retry_at)) };
        let memory = self.memory.first_key_value().map(|((at, _), _)| *at);
        row.into_iter().chain(read).chain(memory).min()
    }

    /// The slots to read next, with where to begin, and the time up to which; marks the read as under way.
    pub(crate) fn claim(&mut self, now: Timestamp) -> Option<(Vec<(u16, Timestamp)>, Timestamp)> {
        if self.reading || self.retry_at.is_some_and(|at| at > now) || self.read_at.is_none_or(|at| at > now) {
            return None;
        }
        let slots: Vec<_> = self.covered.iter().filter(|(_, c)| c.read_at() <= now).take(SLOTS_A_STEP).map(|(s, c)| (*s, c.to)).collect();
        if slots.is_empty() {
            return None;
        }
        let to = now + WINDOW;
        // Covered from now on: rows made while the read is under way come in by `change`.
        for (slot, _) in &slots {
            self.covered.insert(*slot, Cover { to, crowded: false });
        }
        self.reading = true;
        self.plan();
        Some((slots, to))
    }

    /// Takes what was read. `Err`: the slots are read again, a little later.
    pub(crate) fn take(&mut self, slots: &[(u16, Timestamp)], read: Result<Vec<SlotRows>, StoreError>, now: Timestamp) {
        self.reading = false;
        self.retry_at = read.is_err().then(|| now + RETRY);
        match read {
            Ok(read) => {
                for slot in read {
                    for (at, run, workflow) in slot.rows {
                        self.due.insert((at, run), workflow);
                    }
                    self.covered.insert(slot.slot, Cover { to: slot.covered, crowded: slot.crowded });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "deadlines could not be read");
                for (slot, covered) in slots {
                    self.covered.insert(*slot, Cover { to: *covered, crowded: true });
                }
            }
        }
        self.plan();
    }
}

/// Reads the rows of `slots` up to `to`, after `barrier`: rows that are on their way to the store must be seen.
pub(crate) async fn read(
    store: Arc<dyn Store>,
    barrier: Option<Pending<Result<(), CommitError>>>,
    slots: Vec<(u16, Timestamp)>,
    to: Timestamp,
) -> (Vec<(u16, Timestamp)>, Result<Vec<SlotRows>, StoreError>) {
    if let Some(barrier) = barrier
        && let Err(error) = barrier.await
    {
        return (slots, Err(error.into()));
    }
    let mut read = Vec::with_capacity(slots.len());
    for (slot, covered) in &slots {
        match read_slot(&*store, *slot, *covered, to).await {
            Ok(rows) => read.push(rows),
            Err(error) => return (slots, Err(error)),
        }
    }
    (slots, Ok(read))
}

async fn read_slot(store: &dyn Store, slot: u16, covered: Timestamp, to: Timestamp) -> Result<SlotRows, StoreError> {
    let after = |t: Timestamp| keys::deadline_from(slot, Timestamp(t.0.saturating_add(1)));
    let rows = store.scan(Table::Deadline, &after(covered), &after(to), ROWS).await?;
    let full = rows.len() == ROWS;
    let mut parsed = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        match (keys::parse_deadline(&key), RunRecord::decode(value).ok().and_then(|r| r.workflow())) {
            (Some((at, run)), Some(workflow)) => parsed.push((at, run, workflow)),
            _ => tracing::error!(key = ?key, "a deadline row is damaged"),
        }
    }
    // Rows of the last time may have been cut in two: that time counts as not covered, and is read again.
    let covered = match parsed.last() {
        Some((last, ..)) if full => Timestamp(last.0 - 1),
        _ => to,
    };
    Ok(SlotRows { slot, covered, crowded: full, rows: parsed })
}

/// The slot of a deadline row that must go.
pub(crate) fn row_key(workflow: &WorkflowKey, at: Timestamp, run: RunId) -> Vec<u8> {
    let slot: SlotId = workflow.slot();
    keys::deadline(slot, at, run)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use sempre_core::ids::Uuid;
    use sempre_store::{CommitBatch, Fence, memory::MemoryStore};

    fn workflow(n: u32) -> WorkflowKey {
        WorkflowKey { workflow_id: format!("w{n}"), ..Default::default() }
    }

    fn run(n: u32) -> RunId {
        let mut id = [0; 16];
        id[12..].copy_from_slice(&n.to_be_bytes());
        RunId(Uuid(id))
    }

    fn store_with(rows: &[(i64, u32)]) -> Arc<dyn Store> {
        let store = MemoryStore::new();
        let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
        for (seconds, n) in rows {
            let w = workflow(*n);
            batch.put(Table::Deadline, &row_key(&w, Timestamp::from_millis(seconds * 1000), run(*n)), &RunRecord::new(&w).encode_to_vec());
        }
        store.commit(batch).now_or_never().unwrap().unwrap();
        Arc::new(store)
    }

    fn fill(deadlines: &mut Deadlines, store: &Arc<dyn Store>, now: Timestamp) {
        while let Some((slots, to)) = deadlines.claim(now) {
            let (slots, rows) = read(store.clone(), None, slots, to).now_or_never().unwrap();
            deadlines.take(&slots, rows, now);
        }
    }

    #[test]
    fn a_failed_read_is_repeated_after_a_pause() {
        let store = store_with(&[(1, 1)]);
        let mut deadlines = Deadlines::new(0..1);
        let now = Timestamp::from_millis(10_000);
        let (slots, _) = deadlines.claim(now).unwrap();
        deadlines.take(&slots, Err(StoreError::Closed), now);
        assert!(deadlines.claim(now).is_none());
        assert_eq!(deadlines.next(), Some(now + RETRY));
        let mut deadlines = Deadlines::new(0..1024);
        let (slots, _) = deadlines.claim(now).unwrap();
        deadlines.take(&slots, Err(StoreError::Closed), now);
        fill(&mut deadlines, &store, now + RETRY);
        assert!(deadlines.pop_due(now + RETRY).is_some());
    }

    #[test]
    fn fires_stored_and_new_ones_in_order_and_only_near_ones_are_kept() {
        let store = store_with(&[(5, 1), (1, 2), (100_000, 3)]);
        let mut deadlines = Deadlines::new(0..1024);
        fill(&mut deadlines, &store, Timestamp(0));
        assert_eq!(deadlines.due.len(), 2);
        deadlines.change(&workflow(4), run(4), None, Some(Timestamp::from_millis(3000)));
        deadlines.change(&workflow(5), run(5), None, Some(Timestamp::from_millis(900_000_000)));
        deadlines.change(&workflow(1), run(1), Some(Timestamp::from_millis(5000)), None);
        let late = Timestamp::from_millis(10_000);
        let fired: Vec<_> = std::iter::from_fn(|| deadlines.pop_due(late)).map(|(_, r, _)| r).collect();
        assert_eq!(fired, [run(2), run(4)]);
        let much_later = Timestamp::from_millis(100_000_000);
        fill(&mut deadlines, &store, much_later);
        assert!(deadlines.pop_due(much_later).is_some_and(|(_, r, _)| r == run(3)));
        assert!(deadlines.pop_due(much_later).is_none());
    }

    #[test]
    fn a_slot_with_many_overdue_rows_is_read_in_steps_and_none_is_missed() {
        // All in one slot: the same workflow with many runs, several at the same time.
        let store = MemoryStore::new();
        let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
        let w = workflow(1);
        for n in 0..500 {
            batch.put(Table::Deadline, &row_key(&w, Timestamp::from_millis(i64::from(n / 3)), run(n)), &RunRecord::new(&w).encode_to_vec());
        }
        store.commit(batch).now_or_never().unwrap().unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let mut deadlines = Deadlines::new([w.slot().0].into_iter());
        let now = Timestamp::from_millis(10_000);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..50 {
            if let Some((slots, to)) = deadlines.claim(now) {
                let (slots, rows) = read(store.clone(), None, slots, to).now_or_never().unwrap();
                deadlines.take(&slots, rows, now);
            }
            while let Some((_, r, _)) = deadlines.pop_due(now) {
                seen.insert(r);
            }
        }
        assert_eq!(seen.len(), 500);
    }
}

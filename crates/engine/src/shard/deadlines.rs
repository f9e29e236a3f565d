//! The near deadlines of a shard: a window of the durable rows, slot by slot.
//!
//! Each slot is covered up to some time: rows up to it are in memory, later ones only in the store. A slot is
//! read further when its cover comes near. A row that memory has but the run does not want any more costs one
//! look at the run; a row that is missing in memory cannot be, below the cover.
//!
//! Rows of closed runs whose retention ends are apart: they may be late, so that many of them at once do not hold up
//! what is due otherwise. Their deletion has a budget ([`EXPIRED_A_SECOND`]), and memory keeps only the earliest
//! [`EXPIRED_MAX`] of them; slots of which some were left in the store are read again when half of those are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message as _;
use sempre_core::{
    RunId, SlotId, Span, Timestamp, WorkflowKey,
    keys::{self, RunRecord},
};
use sempre_store::{CommitError, Pending, Store, StoreError, Table};

/// How far ahead rows are kept in memory.
const WINDOW: Span = Span::seconds(300);
/// And when time may jump to the earliest of them.
const WINDOW_OF_VIRTUAL_TIME: Span = Span(i64::MAX);
/// Rows of one slot read at once.
const ROWS: usize = 128;
/// Pause after a read that failed.
const RETRY: Span = Span::seconds(1);
/// Ends of retention kept in memory.
const EXPIRED_MAX: usize = 20_000;
/// Runs of one shard whose retention has ended and that are deleted in one second, unless calls come so fast that their
/// share (see the runner) is more.
pub(crate) const EXPIRED_A_SECOND: usize = 2000;
const SECOND: Span = Span::seconds(1);
/// Slots read in one step.
pub(crate) const SLOTS_A_STEP: usize = 16;

/// Rows read from one slot.
pub(crate) struct SlotRows {
    pub(crate) slot: u16,
    /// The slot is covered up to here.
    pub(crate) covered: Timestamp,
    /// There are more.
    pub(crate) crowded: bool,
    pub(crate) rows: Vec<(Timestamp, RunId, WorkflowKey, Kind)>,
}

/// What a row's run waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Something that must not be late.
    Live,
    /// The end of its retention.
    Retained,
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
        match self.to {
            // All time is covered.
            Timestamp(i64::MAX) => self.to,
            to if self.crowded => to,
            to => Timestamp(to.0.saturating_sub(WINDOW.0 / 2)),
        }
    }
}

/// See the module.
pub(crate) struct Deadlines {
    due: BTreeMap<(Timestamp, RunId), WorkflowKey>,
    /// Deadlines of what runs have in memory only (speculative workflow tasks): no rows.
    memory: BTreeMap<(Timestamp, RunId), WorkflowKey>,
    /// Closed runs, by the end of their retention.
    expired: BTreeMap<(Timestamp, RunId), WorkflowKey>,
    /// Slots that have more of them than memory.
    left: BTreeSet<u16>,
    /// Since when runs have been counted against the budget, and how many.
    spent: (Timestamp, usize),
    /// Cover of each slot of the shard.
    covered: BTreeMap<u16, Cover>,
    /// When the first slot is to be read further; kept because every round of the shard asks.
    read_at: Option<Timestamp>,
    reading: bool,
    /// The last read failed: not again before this time.
    retry_at: Option<Timestamp>,
    window: Span,
    /// Closed runs stay: time is virtual, and a test that skips a year wants to see what it has done.
    keeps_closed: bool,
}

impl Deadlines {
    /// Nothing covered yet.
    pub(crate) fn new(slots: impl Iterator<Item = u16>) -> Self {
        let mut deadlines = Self {
            read_at: None,
            due: BTreeMap::new(),
            memory: BTreeMap::new(),
            expired: BTreeMap::new(),
            left: BTreeSet::new(),
            spent: (Timestamp(0), 0),
            covered: slots.map(|s| (s, Cover { to: Timestamp(-1), crowded: false })).collect(),
            reading: false,
            retry_at: None,
            window: WINDOW,
            keeps_closed: false,
        };
        deadlines.plan();
        deadlines
    }

    /// As [`Deadlines::new`], for virtual time: everything in memory, whatever its time; closed runs stay.
    pub(crate) fn of_virtual_time(slots: impl Iterator<Item = u16>) -> Self {
        Self { window: WINDOW_OF_VIRTUAL_TIME, keeps_closed: true, ..Self::new(slots) }
    }

    fn plan(&mut self) {
        self.read_at = self.covered.values().map(|cover| cover.read_at()).min();
    }

    /// A row was (or will be, with the open batch) changed.
    pub(crate) fn change(&mut self, workflow: &WorkflowKey, run: RunId, old: Option<Timestamp>, new: Option<(Timestamp, Kind)>) {
        if let Some(old) = old {
            self.due.remove(&(old, run));
            self.expired.remove(&(old, run));
        }
        if let Some((new, kind)) = new
            && self.covered.get(&workflow.slot().0).is_some_and(|cover| new <= cover.to)
        {
            self.keep(new, run, workflow.clone(), kind);
        }
    }

    fn keep(&mut self, at: Timestamp, run: RunId, workflow: WorkflowKey, kind: Kind) {
        if kind == Kind::Live {
            self.due.insert((at, run), workflow);
            return;
        }
        if self.keeps_closed {
            return;
        }
        self.expired.insert((at, run), workflow);
        if self.expired.len() > EXPIRED_MAX
            && let Some((_, workflow)) = self.expired.pop_last()
        {
            self.left.insert(workflow.slot().0);
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

    /// Takes the closed run whose retention has ended first. `free`: whatever was taken before.
    pub(crate) fn pop_expired(&mut self, now: Timestamp, free: bool) -> Option<(Timestamp, RunId, WorkflowKey)> {
        if now.since(self.spent.0) >= SECOND {
            self.spent = (now, 0);
        }
        if !free && self.spent.1 >= EXPIRED_A_SECOND {
            return None;
        }
        let entry = self.expired.first_entry().filter(|e| e.key().0 <= now)?;
        let ((at, run), workflow) = entry.remove_entry();
        self.spent.1 += 1;
        Some((at, run, workflow))
    }

    /// When [`Deadlines::pop_expired`] has something next, as far as memory knows.
    fn next_expired(&self) -> Option<Timestamp> {
        let first = self.expired.first_key_value().map(|((at, _), _)| *at)?;
        Some(if self.spent.1 >= EXPIRED_A_SECOND { first.max(self.spent.0 + SECOND) } else { first })
    }

    /// Slots with rows of closed runs that memory has no place for are read again, a few at a time.
    fn uncover_left(&mut self) {
        if self.left.is_empty() || self.expired.len() > EXPIRED_MAX / 2 {
            return;
        }
        for _ in 0..SLOTS_A_STEP {
            let Some(slot) = self.left.pop_first() else { break };
            self.covered.insert(slot, Cover { to: Timestamp(-1), crowded: true });
        }
        self.plan();
    }

    /// The earliest time at which something happens to a run; the beginning of time while that is not known.
    pub(crate) fn next_of_runs(&self) -> Option<Timestamp> {
        let read = if self.reading { Some(Timestamp(0)) } else { self.read_at };
        self.due.first_key_value().map(|((at, _), _)| *at).into_iter().chain(read.filter(|at| at.0 < i64::MAX)).min()
    }

    /// When the shard must look here again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        let row = self.due.first_key_value().map(|((at, _), _)| *at);
        let read = if self.reading { None } else { self.read_at.max(self.read_at.and(self.retry_at)) };
        let memory = self.memory.first_key_value().map(|((at, _), _)| *at);
        row.into_iter().chain(read).chain(memory).chain(self.next_expired()).min()
    }

    /// The slots to read next, with where to begin, and the time up to which; marks the read as under way.
    pub(crate) fn claim(&mut self, now: Timestamp) -> Option<(Vec<(u16, Timestamp)>, Timestamp)> {
        if !self.reading {
            self.uncover_left();
        }
        if self.reading || self.retry_at.is_some_and(|at| at > now) || self.read_at.is_none_or(|at| at > now) {
            return None;
        }
        let slots: Vec<_> = self.covered.iter().filter(|(_, c)| c.read_at() <= now).take(SLOTS_A_STEP).map(|(s, c)| (*s, c.to)).collect();
        if slots.is_empty() {
            return None;
        }
        let to = now + self.window;
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
                    for (at, run, workflow, kind) in slot.rows {
                        self.keep(at, run, workflow, kind);
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
        let record = RunRecord::decode(value).ok().and_then(|record| Some((record.workflow()?, record.retained)));
        match (keys::parse_deadline(&key), record) {
            (Some((at, run)), Some((workflow, retained))) => {
                parsed.push((at, run, workflow, if retained { Kind::Retained } else { Kind::Live }));
            }
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
        deadlines.change(&workflow(4), run(4), None, Some((Timestamp::from_millis(3000), Kind::Live)));
        deadlines.change(&workflow(5), run(5), None, Some((Timestamp::from_millis(900_000_000), Kind::Live)));
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
    fn closed_runs_wait_for_their_budget_and_hold_up_nothing_else() {
        let store = MemoryStore::new();
        let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
        let count = EXPIRED_MAX as u32 + 5000;
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
        for n in 0..count {
            let w = workflow(n % 3000);
            let record = RunRecord { retained: true, ..RunRecord::new(&w) };
            batch.put(Table::Deadline, &row_key(&w, Timestamp::from_millis(1000 + i64::from(n)), run(n)), &record.encode_to_vec());
        }
        let timer = workflow(7);
        batch.put(Table::Deadline, &row_key(&timer, Timestamp::from_millis(90_000), run(count)), &RunRecord::new(&timer).encode_to_vec());
        store.commit(batch).now_or_never().unwrap().unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let mut deadlines = Deadlines::new(0..1024);
        let mut now = Timestamp::from_millis(100_000);
        fill(&mut deadlines, &store, now);
        let (at, fired, w) = deadlines.pop_due(now).expect("a timer behind thousands of closed runs fires at once");
        assert_eq!(fired, run(count));
        delete(&store, &row_key(&w, at, fired));
        assert!(deadlines.pop_due(now).is_none());
        assert_eq!(deadlines.expired.len(), EXPIRED_MAX);
        let mut gone = BTreeSet::new();
        for _ in 0..count {
            fill(&mut deadlines, &store, now);
            assert!(deadlines.expired.len() <= EXPIRED_MAX);
            let before = gone.len();
            while let Some((at, r, w)) = deadlines.pop_expired(now, false) {
                assert!(gone.insert(r), "each once: its row is deleted");
                delete(&store, &row_key(&w, at, r));
            }
            assert!(gone.len() - before <= EXPIRED_A_SECOND);
            if gone.len() == count as usize {
                break;
            }
            assert_eq!(deadlines.next(), Some(now + SECOND), "it goes on when the second is over");
            now = now + SECOND;
        }
        assert_eq!(gone.len(), count as usize);
        assert!(deadlines.pop_expired(now, true).is_none());
    }

    fn delete(store: &Arc<dyn Store>, key: &[u8]) {
        let epoch = store.acquire(0).now_or_never().unwrap().unwrap();
        let mut batch = CommitBatch::new(Fence { shard: 0, epoch });
        batch.delete(Table::Deadline, key);
        store.commit(batch).now_or_never().unwrap().unwrap();
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

//! Writes an overlay that was put aside to the cold store, in the background (`docs/storage-format.md`, "Checkpoint").

#![expect(clippy::disallowed_methods, reason = "paces the disk by elapsed time; no decision about data depends on it")]

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::channel::oneshot;

use crate::{Fence, StoreError, Table, split_stream_key};

use super::{
    Shared,
    cold::{Change, ColdReader, ColdSnapshot, ColdWriter},
    filter::{Filter, FilterKeeper},
    limits::{CHUNK_BYTES_MAX, RETRY_DELAYS, SLICE_BYTES},
    overlay::{Overlay, Rows},
    record::Position,
};

impl Change<'_> {
    fn bytes(&self) -> usize {
        match self {
            Change::Put { key, value, .. } => key.len() + value.len(),
            Change::Delete { key, .. } => key.len(),
            Change::Chunk { first, value, .. } => first.len() + value.len(),
        }
    }
}

/// Who waits for everything committed so far to be in the cold store.
pub(crate) enum Waiter {
    Done(oneshot::Sender<Result<(), StoreError>>),
    /// Wants to look at the cold store as it is then: between two checkpoints.
    Snapshot(oneshot::Sender<Result<ColdSnapshot, StoreError>>),
}

impl Waiter {
    /// It is there, and no checkpoint is running. One that has gone away is none of our business.
    pub(crate) fn done(self, reader: &ColdReader) {
        match self {
            Waiter::Done(sender) => drop(sender.send(Ok(()))),
            Waiter::Snapshot(sender) => drop(sender.send(reader.snapshot())),
        }
    }

    pub(crate) fn failed(self, error: StoreError) {
        match self {
            Waiter::Done(sender) => drop(sender.send(Err(error))),
            Waiter::Snapshot(sender) => drop(sender.send(Err(error))),
        }
    }
}

/// An overlay to be written.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) overlay: Arc<Overlay>,
    /// The last record in it.
    pub(crate) position: Position,
    pub(crate) epochs: Vec<Fence>,
    pub(crate) rows: usize,
    pub(crate) started: Instant,
}

/// What the committer and the checkpoint thread tell each other.
#[derive(Default)]
pub(crate) struct Checkpoints {
    state: Mutex<State>,
    pub(crate) changed: Condvar,
    /// Rows of the current job that were written.
    pub(crate) applied: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct State {
    /// Set by the committer, removed by the thread when it is done.
    pub(crate) job: Option<Job>,
    /// Who wants to know about the current job; told at its end or first failure.
    pub(crate) waiters: Vec<Waiter>,
    /// The last checkpoint done; taken by the committer.
    pub(crate) finished: Option<Position>,
    /// Why the last attempt at the current job failed.
    pub(crate) error: Option<String>,
    /// Whether the thread ends after the current slice.
    pub(crate) stop: bool,
    /// Whether the thread tidies up when it ends: the store was closed, not dropped.
    pub(crate) tidy: bool,
}

impl Checkpoints {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a job is waiting or running.
    pub(crate) fn is_busy(&self) -> bool {
        self.lock().job.is_some()
    }

    pub(crate) fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    /// Like [`Checkpoints::stop`] with everything written.
    pub(crate) fn close(&self) {
        self.lock().tidy = true;
        self.stop();
    }
}

/// The body of the checkpoint thread.
pub(crate) fn run(shared: &Shared, mut cold: ColdWriter) {
    let mut keeper = FilterKeeper::new(&shared.cold_keys);
    rebuild(&mut keeper, &cold);
    while let Some(job) = next_job(&shared.checkpoints) {
        let mut attempts = 0;
        while let Err(error) = write(shared, &mut cold, &job) {
            shared.counters.checkpoint_failures.fetch_add(1, Ordering::Relaxed);
            if !give_up_or_wait(shared, &error, attempts) {
                return;
            }
            attempts += 1;
        }
        finish(shared, &mut keeper, &job);
        if keeper.is_full() {
            rebuild(&mut keeper, &cold);
        }
    }
    if shared.checkpoints.lock().tidy {
        cold.close();
    }
}

fn rebuild(keeper: &mut FilterKeeper<'_>, cold: &ColdWriter) {
    if let Err(error) = keeper.rebuild(cold) {
        tracing::warn!(%error, "the keys of the cold store cannot be looked up, more will be written than needed");
    }
}

fn next_job(checkpoints: &Checkpoints) -> Option<Job> {
    let mut state = checkpoints.lock();
    loop {
        match (state.stop, &state.job) {
            (true, _) => return None,
            (false, Some(job)) => return Some(job.clone()),
            (false, None) => state = checkpoints.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
        }
    }
}

/// Tells everybody about a failure; false if there is to be no other attempt.
fn give_up_or_wait(shared: &Shared, error: &StoreError, attempts: usize) -> bool {
    let mut state = shared.checkpoints.lock();
    if state.stop {
        return false;
    }
    tracing::warn!(%error, attempts, "checkpoint failed, nothing is lost, it will be tried again");
    state.error = Some(error.to_string());
    for waiter in state.waiters.drain(..) {
        waiter.failed(StoreError::Rejected { reason: error.to_string() });
    }
    shared.checkpoints.changed.notify_all();
    let delay = RETRY_DELAYS[attempts.min(RETRY_DELAYS.len() - 1)];
    let until = Instant::now() + delay;
    while !state.stop {
        let now = Instant::now();
        if now >= until {
            return true;
        }
        state = shared.checkpoints.changed.wait_timeout(state, until - now).unwrap_or_else(PoisonError::into_inner).0;
    }
    false
}

fn finish(shared: &Shared, keeper: &mut FilterKeeper<'_>, job: &Job) {
    let filter = shared.cold_keys.filter();
    for table in Filter::TABLES {
        let rows = job.overlay.table(table);
        rows.iter().filter(|(_, entry)| entry.value.is_some()).for_each(|(key, _)| keeper.add(&filter, table, key));
    }
    shared.overlays.write().unwrap_or_else(PoisonError::into_inner).swapped = None;
    shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(rows = job.rows, seq = job.position.seq, elapsed = ?job.started.elapsed(), "checkpoint");
    let mut state = shared.checkpoints.lock();
    // While the job is there no other begins: what these see is the whole of it and nothing else.
    for waiter in state.waiters.drain(..) {
        waiter.done(&shared.reader);
    }
    state.job = None;
    state.error = None;
    state.finished = Some(job.position);
    drop(state);
    shared.checkpoints.changed.notify_all();
    // The committer may be waiting for work with a full overlay; the lock makes sure that it is not between its look and its wait.
    drop(shared.queue());
    shared.queue_changed.notify_all();
}

/// Writes slices, then the position. Doing it again after a failure gives the same rows.
fn write(shared: &Shared, cold: &mut ColdWriter, job: &Job) -> Result<(), StoreError> {
    shared.checkpoints.applied.store(0, Ordering::Relaxed);
    let tables: Vec<(Table, RwLockReadGuard<'_, Rows>)> = Table::ALL.iter().map(|&table| (table, job.overlay.table(table))).collect();
    let mut changes = tables.iter().flat_map(|(table, rows)| changes(*table, rows)).peekable();
    while changes.peek().is_some() {
        if shared.checkpoints.lock().stop {
            return Err(StoreError::Closed);
        }
        let mut slice = Vec::new();
        let mut bytes = 0;
        let mut rows = 0;
        while slice.len() < shared.options.slice_rows
            && bytes < SLICE_BYTES
            && let Some((change, merged)) = changes.next()
        {
            bytes += change.bytes();
            rows += merged;
            slice.push(change);
        }
        cold.apply(&slice)?;
        shared.counters.cold_rows.fetch_add(slice.len() as u64, Ordering::Relaxed);
        shared.checkpoints.applied.fetch_add(rows, Ordering::Relaxed);
    }
    cold.finish(job.position, &job.epochs)
}

/// The changes of a table in key order, each with the number of rows of the overlay that are in it.
fn changes(table: Table, rows: &Rows) -> impl Iterator<Item = (Change<'_>, usize)> {
    let mut rows = rows.iter().peekable();
    std::iter::from_fn(move || {
        let (first, entry) = rows.next()?;
        let Some(value) = &entry.value else { return Some((Change::Delete { table, key: first }, 1)) };
        let (mut last, mut chunk, mut merged) = (first, Vec::new(), 1);
        let mut len = value.len();
        while table == Table::History
            && let Some((key, next)) = rows.next_if(|(key, next)| {
                is_neighbour(first, key) && next.value.as_ref().is_some_and(|next| len + next.len() <= CHUNK_BYTES_MAX)
            })
        {
            if merged == 1 {
                chunk.extend_from_slice(value);
            }
            let next = next.value.as_ref().map_or(&[][..], |next| next);
            chunk.extend_from_slice(next);
            len += next.len();
            (last, merged) = (key, merged + 1);
        }
        if merged == 1 {
            return Some((Change::Put { table, key: first, value }, 1));
        }
        Some((Change::Chunk { first, last, value: chunk }, merged))
    })
}

/// Whether two history rows are of one stream.
fn is_neighbour(first: &[u8], next: &[u8]) -> bool {
    match (split_stream_key(first), split_stream_key(next)) {
        (Some((prefix, _)), Some((next_prefix, _))) => prefix == next_prefix,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::{OpRef, stream_key};

    use super::*;

    type HistoryRow<'a> = (&'a [u8], u64, Option<&'a [u8]>);

    fn history(rows: &[HistoryRow<'_>]) -> Overlay {
        let overlay = Overlay::default();
        for (prefix, ordinal, value) in rows {
            let key = stream_key(prefix, *ordinal);
            let op = match value {
                Some(value) => OpRef::Put { table: Table::History, key: &key, value },
                None => OpRef::Delete { table: Table::History, key: &key },
            };
            overlay.apply(op, |_, _| false);
        }
        overlay
    }

    fn shown(overlay: &Overlay) -> Vec<String> {
        let rows = overlay.table(Table::History);
        let show = |(change, merged): (Change<'_>, usize)| match change {
            Change::Put { key, value, .. } => format!("put {} {}b", key[key.len() - 1], value.len()),
            Change::Delete { key, .. } => format!("delete {}", key[key.len() - 1]),
            Change::Chunk { first, last, value } => {
                format!("{merged} rows {}..{} {}b", first[first.len() - 1], last[last.len() - 1], value.len())
            }
        };
        changes(Table::History, &rows).map(show).collect()
    }

    #[test]
    fn rows_of_one_stream_are_merged() {
        let overlay =
            history(&[(b"a", 1, Some(b"xx")), (b"a", 4, Some(b"y")), (b"b", 1, Some(b"z")), (b"b", 2, None), (b"b", 3, Some(b"z"))]);
        assert_eq!(shown(&overlay), ["2 rows 1..4 3b", "put 1 1b", "delete 2", "put 3 1b"]);
    }

    #[test]
    fn merged_rows_have_a_bound() {
        let half = vec![0; CHUNK_BYTES_MAX / 2];
        let overlay = history(&[(b"a", 1, Some(&half)), (b"a", 2, Some(&half)), (b"a", 3, Some(b"x"))]);
        assert_eq!(shown(&overlay), ["2 rows 1..2 65536b", "put 3 1b"]);
    }
}

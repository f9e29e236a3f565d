//! The one thread that writes the log: takes what is enqueued, makes it durable with one record, shows it, answers.
//!
//! It alone decides when the overlay is put aside, so that this happens between two records.

#![expect(clippy::disallowed_methods, reason = "paces the disk by elapsed time; no decision about data depends on it")]

use std::{
    collections::VecDeque,
    sync::{PoisonError, atomic::Ordering},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::channel::oneshot;

use crate::{
    CommitError, Fence, StoreError, Table,
    batch::{HEADER_LEN, Ops},
    fence::Fences,
};

use super::{
    Overlays, Shared,
    checkpoint::{Job, Waiter},
    files::is_out_of_files,
    limits::{DELAY_MAX, FILL_MAX, FILL_SLACK, GROUP_BYTES_MAX},
    log::{AppendError, Log},
    record::{Position, padded_len},
};

/// What waits for the committer.
#[derive(Default)]
pub(crate) struct Queue {
    pub(crate) items: VecDeque<Item>,
    pub(crate) bytes: usize,
    pub(crate) fences: Fences,
    pub(crate) phase: Phase,
    /// Who wants to know when the store is closed.
    pub(crate) closers: Vec<oneshot::Sender<Result<(), StoreError>>>,
}

/// Whether the store takes anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Open,
    /// What is enqueued is committed, nothing new is taken.
    Closing,
    Closed,
    /// Dropped without being closed: like a kill.
    Aborted,
}

pub(crate) enum Item {
    Batch(Entry),
    Checkpoint(Waiter),
}

pub(crate) struct Entry {
    pub(crate) fence: Fence,
    /// Header and operations.
    pub(crate) encoded: Bytes,
    pub(crate) reply: Reply,
}

pub(crate) enum Reply {
    Commit(oneshot::Sender<Result<(), CommitError>>),
    /// The epoch is in the fence; such a batch is written although it has no operations.
    Acquire(oneshot::Sender<Result<u64, StoreError>>),
}

impl Entry {
    /// Answers; a caller that has gone away is none of our business.
    pub(crate) fn answer(self, result: Result<(), CommitError>) {
        match self.reply {
            Reply::Commit(sender) => drop(sender.send(result)),
            Reply::Acquire(sender) => drop(sender.send(result.map(|()| self.fence.epoch).map_err(StoreError::from))),
        }
    }

    fn is_written(&self) -> bool {
        self.encoded.len() > HEADER_LEN || matches!(self.reply, Reply::Acquire(_))
    }
}

enum Next {
    Group(Vec<Entry>),
    Checkpoint(Waiter),
    /// Nothing to commit, but an overlay to put aside.
    Swap,
    Close,
    Abort,
}

pub(crate) struct Committer<'a> {
    shared: &'a Shared,
    log: Log,
    group_bytes_max: usize,
    /// Bytes of the log since the overlay was put aside last.
    log_bytes: u64,
    /// The last record of the overlay put aside last.
    swapped: Position,
    last_commit: Instant,
    /// Wait for the next checkpoint to begin.
    requests: Vec<Waiter>,
}

impl<'a> Committer<'a> {
    pub(crate) fn new(shared: &'a Shared, log: Log, checkpoint: Position, log_bytes: u64) -> Self {
        let group_bytes_max = GROUP_BYTES_MAX.min(shared.batch_bytes_max);
        Committer { shared, log, group_bytes_max, log_bytes, swapped: checkpoint, last_commit: Instant::now(), requests: Vec::new() }
    }

    /// Runs until the store is closed or dropped; ends the checkpoint thread too.
    pub(crate) fn run(mut self, checkpoints: JoinHandle<()>) {
        let closed = loop {
            match self.next() {
                Next::Group(group) => self.commit(group),
                Next::Checkpoint(waiter) => self.requests.push(waiter),
                Next::Swap => {}
                Next::Close => break Some(self.close()),
                Next::Abort => break None,
            }
            self.swap_if_wanted();
        };
        if closed.is_none() {
            self.shared.reader.close();
            self.shared.checkpoints.stop();
        }
        let joined = checkpoints.join();
        let closed =
            closed.map(|result| if joined.is_err() { Err(StoreError::Failed { reason: CHECKPOINT_PANIC.into() }) } else { result });
        drop(self.log);
        let folder = self.shared.folder.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(folder) = folder {
            folder.release();
        }
        if let Some(mut result) = closed {
            let mut queue = self.shared.queue();
            queue.phase = Phase::Closed;
            for waiter in queue.closers.drain(..) {
                let _ = waiter.send(std::mem::replace(&mut result, Ok(())));
            }
        }
    }

    /// Waits for something to do.
    fn next(&self) -> Next {
        let mut queue = self.shared.queue();
        loop {
            if queue.phase == Phase::Aborted {
                return Next::Abort;
            }
            match queue.items.pop_front() {
                Some(Item::Checkpoint(waiter)) => return Next::Checkpoint(waiter),
                Some(Item::Batch(first)) => return Next::Group(self.gather(&mut queue, first)),
                None if queue.phase == Phase::Closing => return Next::Close,
                None => {}
            }
            let busy = self.shared.checkpoints.is_busy();
            if !busy && self.wants_swap() {
                return Next::Swap;
            }
            if busy || self.log.last() == self.swapped {
                queue = self.shared.queue_changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let idle = self.shared.options.idle_checkpoint.saturating_sub(self.last_commit.elapsed());
            queue = self.shared.queue_changed.wait_timeout(queue, idle).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Takes batches off the queue up to the bound of one record, answering those that cannot be committed.
    fn gather(&self, queue: &mut Queue, first: Entry) -> Vec<Entry> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(entry) = next {
            queue.bytes -= entry.encoded.len();
            bytes += entry.encoded.len();
            match self.shared.check_failed().and_then(|()| queue.fences.check_unbroken(entry.fence)) {
                Ok(()) => group.push(entry),
                Err(error) => entry.answer(Err(error)),
            }
            let fits = |entry: &Entry| bytes + entry.encoded.len() <= self.group_bytes_max;
            next = match queue.items.pop_front() {
                Some(Item::Batch(entry)) if fits(&entry) => Some(entry),
                Some(item) => {
                    queue.items.push_front(item);
                    None
                }
                None => None,
            };
        }
        group
    }

    fn commit(&mut self, group: Vec<Entry>) {
        let payload = || group.iter().filter(|entry| entry.is_written()).map(|entry| &entry.encoded);
        let payload_len: usize = payload().map(Bytes::len).sum();
        if payload_len > 0 {
            if let Err(reason) = self.hold_back(payload_len) {
                return self.refuse(group, &CommitError::Rejected { reason });
            }
            match self.log.append(payload()) {
                Ok(bytes) => {
                    self.log_bytes += bytes;
                    self.shared.counters.syncs.fetch_add(1, Ordering::Relaxed);
                    self.shared.counters.log_bytes.fetch_add(bytes, Ordering::Relaxed);
                    self.shared.counters.log_bytes_live.fetch_add(bytes, Ordering::Relaxed);
                }
                Err(AppendError::Full(error)) => {
                    let reason = if is_out_of_files(&error) {
                        tracing::warn!(%error, "no file of the log can be opened, commits are rejected until the server may open files again");
                        format!("the log cannot go on until the server may open files again ({error})")
                    } else {
                        tracing::warn!(%error, "disk full, commits are rejected until there is room");
                        format!("disk full: there is no room for the log ({error})")
                    };
                    return self.refuse(group, &CommitError::Rejected { reason });
                }
                Err(AppendError::Broken(error)) => {
                    let reason = format!("the log cannot be written ({error})");
                    tracing::error!(%error, "the log cannot be written, the store takes no more commits");
                    self.shared.fail(&reason);
                    return self.refuse(group, &CommitError::Unknown { reason });
                }
            }
        }
        self.publish(&group);
        self.shared.counters.commits.fetch_add(group.len() as u64, Ordering::Relaxed);
        self.last_commit = Instant::now();
        for entry in group {
            entry.answer(Ok(()));
        }
    }

    fn refuse(&self, group: Vec<Entry>, error: &CommitError) {
        let mut queue = self.shared.queue();
        for entry in &group {
            queue.fences.fail(entry.fence);
        }
        drop(queue);
        for entry in group {
            entry.answer(Err(error.clone()));
        }
    }

    /// Makes what is durable visible.
    fn publish(&self, group: &[Entry]) {
        let Overlays { active, swapped } = self.shared.overlays();
        let filter = self.shared.cold_keys.filter();
        let absent_below = |table: Table, key: &[u8]| {
            filter.is_absent(table, key) && !swapped.as_ref().is_some_and(|overlay| overlay.table(table).contains_key(key))
        };
        for entry in group {
            for op in Ops::new(&entry.encoded[HEADER_LEN..]) {
                active.apply(op.expect("a batch holds only what put and delete encoded"), absent_below);
            }
        }
    }

    /// How full the overlay and the log are, as a part of their bounds.
    fn fill(&self) -> f64 {
        let options = &self.shared.options;
        let overlay = self.shared.overlays().active.bytes() as f64 / options.overlay_bytes as f64;
        overlay.max(self.log_bytes as f64 / options.log_bytes as f64)
    }

    fn wants_swap(&self) -> bool {
        let is_idle = || self.last_commit.elapsed() >= self.shared.options.idle_checkpoint;
        !self.requests.is_empty() || self.fill() >= 1.0 || (self.log.last() != self.swapped && is_idle())
    }

    fn swap_if_wanted(&mut self) {
        let finished = self.shared.checkpoints.lock().finished.take();
        if let Some(position) = finished {
            self.log.release(position);
            self.shared.counters.log_bytes_live.store(self.log_bytes, Ordering::Relaxed);
        }
        if self.wants_swap() && !self.shared.checkpoints.is_busy() {
            self.swap();
        }
    }

    /// Puts the overlay aside and has it written.
    fn swap(&mut self) {
        let waiters = std::mem::take(&mut self.requests);
        if self.log.last() == self.swapped {
            for waiter in waiters {
                waiter.done(&self.shared.reader);
            }
            return;
        }
        let epochs = self.shared.queue().fences.epochs();
        let overlay = {
            let mut overlays = self.shared.overlays.write().unwrap_or_else(PoisonError::into_inner);
            let overlay = std::mem::take(&mut overlays.active);
            overlays.swapped = Some(overlay.clone());
            overlay
        };
        self.swapped = self.log.last();
        self.log_bytes = 0;
        let job = Job { rows: overlay.rows(), overlay, position: self.swapped, epochs, started: Instant::now() };
        let mut state = self.shared.checkpoints.lock();
        self.shared.checkpoints.applied.store(0, Ordering::Relaxed);
        state.job = Some(job);
        state.error = None;
        state.waiters = waiters;
        drop(state);
        self.shared.checkpoints.changed.notify_all();
    }

    /// Slows commits while a checkpoint is running: as the fill runs ahead of its progress, one part of the bound takes up to
    /// twice the time that the checkpoint takes for such a part. At `FILL_MAX` waits for its end.
    fn hold_back(&self, payload_len: usize) -> Result<(), String> {
        let started = Instant::now();
        let checkpoints = &self.shared.checkpoints;
        let mut owed: Option<Duration> = None;
        let mut state = checkpoints.lock();
        let result = loop {
            let Some(job) = &state.job else { break Ok(()) };
            if state.stop {
                break Err(StoreError::Closed.to_string());
            }
            let fill = self.fill();
            let waited = started.elapsed();
            let wait = if fill >= FILL_MAX {
                if let Some(error) = &state.error {
                    break Err(format!("checkpoints fail and memory is full: {error}"));
                }
                DELAY_MAX
            } else {
                let progress = checkpoints.applied.load(Ordering::Relaxed) as f64 / job.rows.max(1) as f64;
                let owed = *owed.get_or_insert_with(|| self.delay(payload_len, fill - progress, progress, job.started.elapsed()));
                if waited >= owed {
                    break Ok(());
                }
                owed - waited
            };
            state = checkpoints.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        };
        drop(state);
        let waited = started.elapsed();
        if waited > Duration::from_micros(50) {
            self.shared.counters.delay_us.fetch_add(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        result
    }

    fn delay(&self, payload_len: usize, ahead: f64, progress: f64, elapsed: Duration) -> Duration {
        let lag = ahead - FILL_SLACK;
        if lag <= 0.0 {
            return Duration::ZERO;
        }
        let options = &self.shared.options;
        let part = (payload_len as f64 / options.overlay_bytes as f64).max(padded_len(payload_len) as f64 / options.log_bytes as f64);
        let whole = elapsed.as_secs_f64() / progress.max(0.05);
        Duration::from_secs_f64((part * whole * (4.0 * lag).min(2.0)).min(DELAY_MAX.as_secs_f64()))
    }

    /// Everything that is enqueued is committed; writes it down.
    fn close(&mut self) -> Result<(), StoreError> {
        let mut result = self.shared.check_failed().map_err(StoreError::from);
        if result.is_ok() {
            result = self.wait_for_job();
        }
        if result.is_ok() {
            self.swap();
            result = self.wait_for_job();
        }
        for waiter in self.requests.drain(..) {
            waiter.failed(StoreError::Closed);
        }
        // First: SQLite's log is written back when nobody reads.
        self.shared.reader.close();
        if result.is_ok() {
            self.shared.checkpoints.close();
        } else {
            self.shared.checkpoints.stop();
        }
        result
    }

    /// Waits for the end of the current checkpoint or its next failure.
    fn wait_for_job(&self) -> Result<(), StoreError> {
        let checkpoints = &self.shared.checkpoints;
        let mut state = checkpoints.lock();
        loop {
            match (&state.job, &state.error) {
                (None, _) => return Ok(()),
                (Some(_), Some(error)) => {
                    return Err(StoreError::Rejected { reason: format!("the last checkpoint failed, the log has it all: {error}") });
                }
                (Some(_), None) if self.shared.check_failed().is_err() => {
                    return Err(StoreError::Failed { reason: CHECKPOINT_PANIC.into() });
                }
                (Some(_), None) => {
                    state = checkpoints.changed.wait_timeout(state, DELAY_MAX).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }
}

/// Why nothing goes on after a bug in the background.
pub(crate) const CHECKPOINT_PANIC: &str = "the checkpoint thread ended by a bug";

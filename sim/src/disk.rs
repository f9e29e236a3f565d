//! A disk that outlives processes, and the store that one process keeps on it.
//!
//! The store holds to the numbered contract of `sempre-store` and to nothing more: commits take time, fail surely or with an
//! unknown outcome, are acknowledged later than they are durable; a crash keeps some first part of what was being written. Reads
//! may see what is not durable yet, or may not: each world has one of the two.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound::{Excluded, Included},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{self, BoxFuture, ready},
};
use sempre_core::planted::{self, Bug};
use sempre_store::{
    BATCH_BYTES_MAX, CommitBatch, CommitError, Fence, OpRef, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table,
    split_stream_key, stream_key,
};
use tokio::sync::{Notify, oneshot};

use crate::{executor::give_way, plan::DiskFaults, random::Random, time::Time, trace::Trace};

/// From here on shards are of what there is once. Each node has its own of them: what is written there, schedules and jobs, is not in worlds
/// of several nodes.
const SINGLES: u32 = u32::MAX - 1024;

/// Rows of all tables.
#[derive(Clone, Default)]
pub struct Tables([BTreeMap<Bytes, Bytes>; Table::ALL.len()]);

impl Tables {
    /// One table.
    #[must_use]
    pub fn table(&self, table: Table) -> &BTreeMap<Bytes, Bytes> {
        &self.0[usize::from(table.id())]
    }

    fn apply(&mut self, batch: &CommitBatch) {
        for op in batch.ops() {
            match op {
                OpRef::Put { table, key, value } => {
                    self.0[usize::from(table.id())].insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
                }
                OpRef::Delete { table, key } => {
                    self.0[usize::from(table.id())].remove(key);
                }
            }
        }
    }

    /// Rows of a history stream from the one that holds `from` on.
    #[must_use]
    pub fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> Vec<(u64, Bytes)> {
        let (low, high) = (stream_key(prefix, 0), stream_key(prefix, u64::MAX));
        let wanted = stream_key(prefix, from);
        let of_stream = |key: &Bytes| key.len() == prefix.len() + 8;
        let table = self.table(Table::History);
        let before = table.range::<[u8], _>((Included(&low[..]), Included(&wanted[..]))).rev();
        let floor = before.map(|(key, _)| key).find(|key| of_stream(key));
        let start = floor.map_or(&low[..], |key| &key[..]);
        let mut rows = Vec::new();
        let mut bytes = 0;
        for (key, value) in table.range::<[u8], _>((Included(start), Included(&high[..]))) {
            let Some((_, ordinal)) = split_stream_key(key).filter(|_| of_stream(key)) else { continue };
            rows.push((ordinal, value.clone()));
            bytes += value.len();
            if bytes > max_bytes {
                break;
            }
        }
        rows
    }

    /// Rows with `from <= key < to`.
    #[must_use]
    pub fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Rows {
        if from >= to {
            return Vec::new();
        }
        let range = self.table(table).range::<[u8], _>((Included(from), Excluded(to)));
        range.take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// A row whose key begins with `prefix` holds these bytes.
    #[must_use]
    pub fn holds(&self, prefix: &[u8], bytes: &[u8]) -> bool {
        [Table::History, Table::State].into_iter().any(|table| {
            let rows = self.table(table).range::<[u8], _>((Included(prefix), std::ops::Bound::Unbounded));
            let mut rows = rows.take_while(|(key, _)| key.starts_with(prefix));
            rows.any(|(_, value)| value.windows(bytes.len()).any(|window| window == bytes))
        })
    }

    fn hash(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in self.0.iter().flatten().flat_map(|(key, value)| key.iter().chain(value.iter())) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        hash
    }
}

#[derive(Default)]
struct Durable {
    tables: Tables,
    epochs: BTreeMap<u32, u64>,
    /// The node that may acquire a shard, in a world of several.
    placed: BTreeMap<u32, usize>,
    crashes: u64,
    unknown: u64,
    refused: u64,
    fenced: u64,
}

/// What survives.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Durable>>);

impl Disk {
    fn durable(&self) -> MutexGuard<'_, Durable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that is durable now.
    #[must_use]
    pub fn tables(&self) -> Tables {
        self.durable().tables.clone()
    }

    /// Looks at what is durable now.
    pub fn with_tables<T>(&self, look: impl FnOnce(&Tables) -> T) -> T {
        look(&self.durable().tables)
    }

    /// See [`Tables::holds`].
    #[must_use]
    pub fn holds(&self, prefix: &[u8], bytes: &[u8]) -> bool {
        self.durable().tables.holds(prefix, bytes)
    }

    /// A hash of every durable byte.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.durable().tables.hash()
    }

    /// The node that has a shard, or is to have it.
    #[must_use]
    pub fn placed(&self, shard: u32) -> Option<usize> {
        self.durable().placed.get(&shard).copied()
    }

    /// From now on this node may acquire the shard, and what was committed under an earlier epoch is refused.
    pub fn place(&self, shard: u32, node: usize) {
        let mut durable = self.durable();
        durable.placed.insert(shard, node);
        *durable.epochs.entry(shard).or_default() += 1;
    }

    /// Commits of those who had lost their shard.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        self.durable().fenced
    }

    /// Commits whose outcome was unknown, and those refused.
    #[must_use]
    pub fn faults(&self) -> (u64, u64) {
        let durable = self.durable();
        (durable.unknown, durable.refused)
    }
}

/// What waits for the committer.
enum Item {
    Batch(u64, CommitBatch, oneshot::Sender<Result<(), CommitError>>),
    Acquire(u32, u64, oneshot::Sender<Result<u64, StoreError>>),
}

#[derive(Default)]
struct State {
    /// What reads see.
    view: Tables,
    /// Epochs given, durable or not.
    epochs: BTreeMap<u32, u64>,
    /// Newest epoch of a shard of which a batch failed, and the number of that batch.
    broken: BTreeMap<u32, (u64, u64)>,
    /// Batches so far.
    batches: u64,
    queue: VecDeque<Item>,
    /// Being written: durable in part after a crash.
    writing: Vec<CommitBatch>,
    failed: Option<String>,
    /// No room on the disk until then.
    full_until: i64,
    commits: u64,
}

/// The store of one process.
pub struct SimStore {
    disk: Disk,
    /// Which of several nodes over one disk has it. Reads then see what is durable, whoever wrote it.
    node: Option<usize>,
    state: Mutex<State>,
    dead: std::sync::atomic::AtomicBool,
    work: Notify,
    faults: Mutex<DiskFaults>,
    random: Mutex<Random>,
    time: Time,
    trace: Arc<Trace>,
    name: u64,
}

const EARLIER: &str = "an earlier batch of this epoch was not committed; acquire the shard again";

impl SimStore {
    /// Opens the disk for process `name`, alone or as one of several nodes. [`SimStore::run`] must run for commits to happen.
    #[must_use]
    pub fn open(
        disk: Disk,
        node: Option<usize>,
        faults: DiskFaults,
        random: Random,
        time: Time,
        trace: Arc<Trace>,
        name: u64,
    ) -> Arc<Self> {
        let view = if node.is_some() { Tables::default() } else { disk.tables() };
        let state = Mutex::new(State { view, ..State::default() });
        let dead = std::sync::atomic::AtomicBool::new(false);
        let (faults, random) = (Mutex::new(faults), Mutex::new(random));
        Arc::new(Self { disk, node, state, dead, work: Notify::new(), faults, random, time, trace, name })
    }

    /// The shard's number on the disk.
    fn number(&self, shard: u32) -> u32 {
        if shard < SINGLES { shard } else { shard - 2048 * self.node.unwrap_or(0) as u32 }
    }

    fn may_acquire(&self, durable: &Durable, shard: u32) -> bool {
        self.node.is_none_or(|node| shard >= SINGLES || durable.placed.get(&shard) == Some(&node))
    }

    /// The epoch is the shard's: what is committed under it is of the owner.
    fn is_owner(&self, durable: &Durable, fence: Fence) -> bool {
        planted::is(Bug::LateCommitsTaken) || durable.epochs.get(&self.number(fence.shard)) == Some(&fence.epoch)
    }

    /// What reads see.
    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> T {
        if self.node.is_some() { self.disk.with_tables(read) } else { read(&self.state().view) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut Random, &DiskFaults) -> T) -> T {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner).clone();
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner), &faults)
    }

    fn read_early(&self) -> bool {
        self.node.is_none() && self.draw(|_, faults| faults.reads_early)
    }

    fn is_dead(&self) -> bool {
        self.dead.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// From now on nothing fails.
    pub fn heal(&self) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *faults = faults.healed();
        drop(faults);
        self.state().full_until = 0;
    }

    /// The process dies: what is being written is durable up to some batch, what waits is lost.
    pub fn crash(&self) {
        self.dead.store(true, std::sync::atomic::Ordering::SeqCst);
        let mut state = self.state();
        let writing = std::mem::take(&mut state.writing);
        state.queue.clear();
        let kept = self.draw(|random, _| random.below(writing.len() as u64 + 1)) as usize;
        let mut durable = self.disk.durable();
        durable.crashes += 1;
        for batch in &writing[..kept] {
            if self.is_owner(&durable, batch.fence()) {
                durable.tables.apply(batch);
            }
        }
        self.trace
            .line(self.time.now(), format_args!("disk: process {} is dead, {kept} of {} batches are there", self.name, writing.len()));
    }

    /// The committer: takes what waits, some at a time, in order.
    pub async fn run(self: Arc<Self>) {
        loop {
            while self.state().queue.is_empty() {
                self.work.notified().await;
            }
            let group = self.draw(|random, _| random.between(1, 8)) as usize;
            let (mut batches, mut acquired) = (Vec::new(), None);
            {
                let mut state = self.state();
                while batches.len() < group {
                    match state.queue.pop_front() {
                        None => break,
                        Some(Item::Batch(number, batch, reply)) => {
                            if let Err(error) = admit(&state, batch.fence(), number) {
                                let _ = reply.send(Err(error));
                                continue;
                            }
                            batches.push((number, batch, reply));
                        }
                        Some(Item::Acquire(shard, epoch, reply)) => {
                            if batches.is_empty() {
                                acquired = Some((shard, epoch, reply));
                            } else {
                                state.queue.push_front(Item::Acquire(shard, epoch, reply));
                            }
                            break;
                        }
                    }
                }
                state.writing = batches.iter().map(|(_, batch, _)| batch.clone()).collect();
            }
            let (pause, fate, ack) = self.draw(|random, faults| (faults.latency(random), faults.fate(random), faults.ack_delay(random)));
            self.time.sleep(pause).await;
            if let Some((shard, epoch, reply)) = acquired {
                let _ = reply.send(self.own(shard, epoch));
                continue;
            }
            let answers: Vec<Result<(), CommitError>> = self.settle(batches.iter().map(|(number, batch, _)| (*number, batch)), fate);
            if !ack.is_zero() {
                self.time.sleep(ack).await;
            }
            for ((_, _, reply), answer) in batches.into_iter().zip(answers) {
                let _ = reply.send(answer);
            }
        }
    }

    /// An acquisition comes to the disk.
    fn own(&self, shard: u32, epoch: u64) -> Result<u64, StoreError> {
        let mut state = self.state();
        let mut durable = self.disk.durable();
        if !self.may_acquire(&durable, shard) {
            return Err(StoreError::Elsewhere { shard });
        }
        let known = durable.epochs.entry(self.number(shard)).or_default();
        let epoch = epoch.max(*known + 1);
        *known = epoch;
        state.epochs.insert(shard, epoch);
        Ok(epoch)
    }

    fn settle<'a>(&self, batches: impl Iterator<Item = (u64, &'a CommitBatch)>, fate: Fate) -> Vec<Result<(), CommitError>> {
        let mut state = self.state();
        let mut durable = self.disk.durable();
        let early = self.read_early();
        let mut answers = Vec::new();
        for (number, batch) in batches {
            let fence = batch.fence();
            let owner = self.is_owner(&durable, fence);
            let applies = matches!(fate, Fate::Done | Fate::Unknown { applied: true });
            if applies && owner {
                durable.tables.apply(batch);
                state.commits += 1;
                if !early {
                    state.view.apply(batch);
                }
            }
            let answer = match fate {
                Fate::Done if owner => Ok(()),
                Fate::Done => {
                    durable.fenced += 1;
                    self.trace.line(self.time.now(), format_args!("disk: shard {} has another owner", fence.shard));
                    Err(CommitError::Fenced)
                }
                Fate::Unknown { .. } => {
                    durable.unknown += 1;
                    Err(CommitError::Unknown { reason: "simulated".into() })
                }
                Fate::Refused => {
                    durable.refused += 1;
                    Err(CommitError::Rejected { reason: "simulated".into() })
                }
                Fate::Broken => Err(CommitError::Failed { reason: "simulated".into() }),
            };
            if answer.is_err() {
                state.fail(fence, number);
            }
            answers.push(answer);
        }
        if fate != Fate::Done {
            self.trace.line(self.time.now(), format_args!("disk: {} batches: {fate:?}", answers.len()));
        }
        if fate == Fate::Broken {
            state.failed = Some("simulated".into());
        }
        state.writing.clear();
        if early && fate != Fate::Done {
            // What reads have seen of the refused ones goes.
            let mut view = durable.tables.clone();
            for item in &state.queue {
                if let Item::Batch(number, batch, _) = item
                    && admit(&state, batch.fence(), *number).is_ok()
                {
                    view.apply(batch);
                }
            }
            state.view = view;
        }
        answers
    }

    /// Reads take a while, and may fail.
    async fn before_read(&self) -> Result<(), StoreError> {
        if self.is_dead() {
            future::pending::<()>().await;
        }
        let (turns, fails) = self.draw(|random, faults| (faults.read_turns(random), random.permille(faults.read_error)));
        for _ in 0..turns {
            give_way().await;
        }
        if fails { Err(StoreError::Rejected { reason: "simulated".into() }) } else { Ok(()) }
    }
}

/// What becomes of a group of batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Durable.
    Done,
    /// Durable or not, and nobody is told.
    Unknown {
        /// Which.
        applied: bool,
    },
    /// Surely not durable.
    Refused,
    /// Nor is anything else from now on.
    Broken,
}

impl State {
    /// Later batches of the epoch fail too; what was taken before is still committed (contract 8).
    fn fail(&mut self, fence: Fence, number: u64) {
        let broken = self.broken.entry(fence.shard).or_insert((fence.epoch, number));
        // One that was refused at once may have been called before one that was taken earlier fails.
        if broken.0 < fence.epoch || broken.0 == fence.epoch && number < broken.1 {
            *broken = (fence.epoch, number);
        }
    }
}

fn admit(state: &State, fence: Fence, number: u64) -> Result<(), CommitError> {
    if let Some(reason) = &state.failed {
        return Err(CommitError::Failed { reason: reason.clone() });
    }
    match state.broken.get(&fence.shard) {
        Some((epoch, first)) if fence.epoch < *epoch || fence.epoch == *epoch && number > *first => {
            Err(CommitError::Rejected { reason: EARLIER.into() })
        }
        _ => Ok(()),
    }
}

impl Store for SimStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        if self.is_dead() {
            return future::pending().boxed();
        }
        let mut state = self.state();
        if let Some(reason) = &state.failed {
            return ready(Err(StoreError::Failed { reason: reason.clone() })).boxed();
        }
        if self.time.now() < state.full_until {
            return ready(Err(StoreError::Rejected { reason: "disk full: simulated".into() })).boxed();
        }
        let durable = self.disk.durable();
        if !self.may_acquire(&durable, shard) {
            return ready(Err(StoreError::Elsewhere { shard })).boxed();
        }
        let known = durable.epochs.get(&self.number(shard)).copied().unwrap_or(0);
        let epoch = state.epochs.entry(shard).or_default();
        *epoch = known.max(*epoch) + 1;
        let epoch = *epoch;
        drop(durable);
        let (reply, answer) = oneshot::channel();
        state.queue.push_back(Item::Acquire(shard, epoch, reply));
        drop(state);
        self.work.notify_one();
        async move {
            match answer.await {
                Ok(answer) => answer,
                Err(_) => future::pending().await,
            }
        }
        .boxed()
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        if self.is_dead() {
            return future::pending().boxed();
        }
        let fence = batch.fence();
        let mut state = self.state();
        if state.epochs.get(&fence.shard) != Some(&fence.epoch) {
            return ready(Err(CommitError::Fenced)).boxed();
        }
        state.batches += 1;
        let number = state.batches;
        if let Err(error) = admit(&state, fence, number) {
            return ready(Err(error)).boxed();
        }
        let (refused, full) = self.draw(|random, faults| (random.permille(faults.refused_at_once), faults.full(random)));
        if let Some(span) = full {
            state.full_until = self.time.now() + span.0;
            self.trace.line(self.time.now(), format_args!("disk: full for {} ms", span.0 / 1_000_000));
        }
        let full = self.time.now() < state.full_until;
        if batch.bytes() > BATCH_BYTES_MAX || refused || full {
            state.fail(fence, number);
            let reason = if full { "disk full: simulated" } else { "simulated" };
            self.trace.line(self.time.now(), format_args!("disk: refused a batch of shard {}", fence.shard));
            return ready(Err(CommitError::Rejected { reason: reason.into() })).boxed();
        }
        if self.read_early() {
            state.view.apply(&batch);
        }
        let (reply, answer) = oneshot::channel();
        state.queue.push_back(Item::Batch(number, batch, reply));
        drop(state);
        self.work.notify_one();
        async move {
            match answer.await {
                Ok(answer) => answer,
                // The process is dead.
                Err(_) => future::pending().await,
            }
        }
        .boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let key = key.to_vec();
        async move {
            self.before_read().await?;
            Ok(self.read(|tables| tables.table(table).get(&key[..]).cloned()))
        }
        .boxed()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let (from, to) = (from.to_vec(), to.to_vec());
        async move {
            self.before_read().await?;
            Ok(self.read(|tables| tables.scan(table, &from, &to, limit)))
        }
        .boxed()
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        let prefix = prefix.to_vec();
        async move {
            self.before_read().await?;
            Ok(self.read(|tables| tables.stream(&prefix, from, max_bytes)))
        }
        .boxed()
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        ready(Err(StoreError::Rejected { reason: "the simulated disk gives no snapshots".into() })).boxed()
    }

    fn stats(&self) -> StoreStats {
        StoreStats { commits: self.state().commits, ..StoreStats::default() }
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

/// The durable rows as a store, for those who only read.
pub struct Frozen(pub Tables);

impl Store for Frozen {
    fn acquire(&self, _: u32) -> Pending<Result<u64, StoreError>> {
        ready(Err(StoreError::Closed)).boxed()
    }

    fn commit(&self, _: CommitBatch) -> Pending<Result<(), CommitError>> {
        ready(Err(CommitError::Rejected { reason: "frozen".into() })).boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        ready(Ok(self.0.table(table).get(key).cloned())).boxed()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        ready(Ok(self.0.scan(table, from, to, limit))).boxed()
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        ready(Ok(self.0.stream(prefix, from, max_bytes))).boxed()
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        ready(Err(StoreError::Closed)).boxed()
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        ready(Ok(())).boxed()
    }
}

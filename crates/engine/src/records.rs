//! Small durable records of one kind in table Meta, all of them in memory. Changes are visible as soon as their call
//! returned, and carried out one after the other.
//!
//! | a change's commit | then |
//! |---|---|
//! | is acknowledged | memory shows it |
//! | fails, or its fate is unknown | a new epoch begins, everything is read again and put in force, and the change counts as done if it is there |
//! | … and that read fails | the change is refused, and it is read until that works, by whoever comes first: the next change, or a task |
//! | is refused because another node has the single shard | memory shows what the store has, and changes are refused with [`Refusal::Elsewhere`] |
//!
//! A change goes on when its caller leaves: between the commit and its effect in memory nothing may stop.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use prost::Message;
use sempre_core::{Refusal, Span};
use sempre_store::{CommitBatch, Fence, Store, StoreError, Table};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{Clock, Spawner, once::Once, shard::load::prefix_end};

/// Waits between reads after a commit in doubt.
const BACKOFF_FIRST: Span = Span::millis(100);
const BACKOFF_MAX: Span = Span::seconds(10);

/// The number under which a kind of records is committed is far from those of shards, and not that of `namespaces` or `meta`.
pub(crate) const NEXUS_ENDPOINTS: Kind = Kind { owner: u32::MAX - 10, prefix: b'n', what: "a Nexus endpoint" };

/// See [`NEXUS_ENDPOINTS`].
pub(crate) const BATCH_JOBS: Kind = Kind { owner: u32::MAX - 11, prefix: b'b', what: "a batch job" };

/// See [`NEXUS_ENDPOINTS`].
pub(crate) const DEPLOYMENTS: Kind = Kind { owner: u32::MAX - 30, prefix: b'd', what: "a worker deployment" };

/// See [`NEXUS_ENDPOINTS`].
pub(crate) const FLOW_RULES: Kind = Kind { owner: u32::MAX - 40, prefix: b'f', what: "a flow rule" };

/// See [`NEXUS_ENDPOINTS`].
pub(crate) const API_KEYS: Kind = Kind { owner: u32::MAX - 50, prefix: b'k', what: "an API key" };

/// See [`NEXUS_ENDPOINTS`].
pub(crate) const ALERT_RULES: Kind = Kind { owner: u32::MAX - 62, prefix: b'a', what: "an alert rule" };

/// A kind of records: who commits them, where they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) owner: u32,
    /// First byte of their keys.
    prefix: u8,
    /// For texts.
    what: &'static str,
}

/// Records by what follows the prefix in their keys.
pub(crate) type Shown<R> = BTreeMap<Vec<u8>, Arc<R>>;

/// What is to become of records, in one commit.
#[derive(Debug)]
pub(crate) struct Change<R> {
    /// `None`: it goes.
    pub(crate) records: Vec<(Vec<u8>, Option<R>)>,
    /// Rows of Meta outside the prefix, which memory does not hold.
    pub(crate) beside: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl<R> Change<R> {
    pub(crate) fn put(key: Vec<u8>, record: R) -> Self {
        Self { records: vec![(key, Some(record))], beside: Vec::new() }
    }

    pub(crate) fn remove(key: Vec<u8>) -> Self {
        Self { records: vec![(key, None)], beside: Vec::new() }
    }
}

/// Puts changed records in force, given by their keys, before their change counts as done.
type After<R> = Box<dyn Fn(&Shown<R>, &[Vec<u8>]) + Send + Sync>;

/// See the module.
pub(crate) struct Records<R> {
    shared: Arc<Parts<R>>,
}

struct Parts<R> {
    kind: Kind,
    once: Arc<Once>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    spawner: Arc<dyn Spawner>,
    shown: RwLock<Shown<R>>,
    /// Records that could not be read.
    damaged: AtomicUsize,
    after: OnceLock<After<R>>,
    /// One change at a time; holds the right to commit.
    writer: Arc<Mutex<Writer>>,
}

struct Writer {
    fence: Fence,
    /// A commit has not been acknowledged: memory may lack what the store has. Or another node has the right to commit.
    doubt: bool,
    /// Somebody reads again until the doubt is over.
    retries: bool,
}

impl Kind {
    fn key(self, rest: &[u8]) -> Vec<u8> {
        [&[self.prefix], rest].concat()
    }

    fn failed(self) -> Refusal {
        Refusal::Unavailable(format!("{} could not be written", self.what))
    }

    fn refused(self, error: &StoreError) -> Refusal {
        if let StoreError::Elsewhere { shard } = error { Refusal::Elsewhere { shard: *shard } } else { self.failed() }
    }

    /// All records, and how many cannot be read.
    async fn load<R: Message + Default>(self, store: &dyn Store) -> Result<(Shown<R>, usize), StoreError> {
        let (mut shown, mut damaged) = (Shown::new(), 0);
        for (key, row) in store.scan(Table::Meta, &[self.prefix], &prefix_end(&[self.prefix]), usize::MAX).await? {
            match R::decode(row) {
                Ok(record) => drop(shown.insert(key[1..].to_vec(), Arc::new(record))),
                Err(error) => {
                    damaged += 1;
                    tracing::error!(%error, key = ?key, "the record of {} is damaged", self.what);
                }
            }
        }
        Ok((shown, damaged))
    }
}

impl<R: Message + Default + Clone + PartialEq + 'static> Records<R> {
    /// Reads all records of the kind. `clock` is that of the wall.
    pub(crate) async fn open(
        kind: Kind,
        once: Arc<Once>,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
    ) -> Result<Self, StoreError> {
        let epoch = once.acquire(&*store, kind.owner).await?;
        let (shown, damaged) = kind.load(&*store).await?;
        let (shown, damaged) = (RwLock::new(shown), AtomicUsize::new(damaged));
        let fence = Fence { shard: kind.owner, epoch: epoch.unwrap_or_default() };
        let writer = Arc::new(Mutex::new(Writer { fence, doubt: epoch.is_none(), retries: false }));
        Ok(Self { shared: Arc::new(Parts { kind, once, store, clock, spawner, shown, damaged, after: OnceLock::new(), writer }) })
    }

    /// Calls `after` for all records now, and for those that a change has changed. Once.
    pub(crate) fn after_changes(&self, after: After<R>) {
        let shown = self.read();
        let keys: Vec<Vec<u8>> = shown.keys().cloned().collect();
        after(&shown, &keys);
        // Set twice, the first would stay: it is the same.
        let _ = self.shared.after.set(after);
    }

    /// All records. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shown<R>> {
        self.shared.read()
    }

    /// Records that are there and cannot be read.
    pub(crate) fn damaged(&self) -> usize {
        self.shared.damaged.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<R>> {
        self.read().get(key).cloned()
    }

    /// A row outside the prefix that a change has put.
    pub(crate) async fn beside(&self, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        let Parts { kind, store, .. } = &*self.shared;
        store.get(Table::Meta, key).await.map_err(|error| {
            tracing::warn!(%error, "{} could not be read", kind.what);
            Refusal::Unavailable(format!("{} could not be read", kind.what))
        })
    }

    /// Changes records; `decide` sees the newest ones.
    pub(crate) async fn change<T: Send>(
        &self,
        decide: impl FnOnce(&Shown<R>) -> Result<(Change<R>, T), Refusal> + Send,
    ) -> Result<T, Refusal> {
        let parts = &self.shared;
        let mut writer: OwnedMutexGuard<Writer> = parts.writer.clone().lock_owned().await;
        parts.once.check(parts.kind.owner)?;
        parts.settle(&mut writer).await.map_err(|error| parts.kind.refused(&error))?;
        let (change, answer) = decide(&self.read())?;
        if change.records.is_empty() {
            return Ok(answer);
        }
        let (sender, receiver) = oneshot::channel();
        let write = parts.clone();
        let task = async move {
            let result = write.write(&mut writer, change).await;
            if writer.doubt && write.once.has(write.kind.owner) && !std::mem::replace(&mut writer.retries, true) {
                write.spawner.spawn("sempre records in doubt", Box::pin(retry(Arc::downgrade(&write))));
            }
            drop(writer);
            // The caller may have left.
            let _ = sender.send(result);
        };
        parts.spawner.spawn("sempre record", Box::pin(task));
        receiver.await.unwrap_or_else(|_| Err(parts.kind.failed()))?;
        Ok(answer)
    }
}

/// What a single shard of records is told, whatever their kind.
pub(crate) trait Single: Send + Sync {
    /// Acquires the right to commit, and reads what there is.
    fn take_up(&self) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Finishes the change that is under way; others are refused from then on.
    fn give_up(&self) -> BoxFuture<'_, ()>;

    /// Reads what another node has changed.
    #[cfg(feature = "postgres")]
    fn reread(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}

impl<R: Message + Default + Clone + PartialEq + 'static> Single for Records<R> {
    fn take_up(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let parts = &self.shared;
        async move {
            let mut writer = parts.writer.lock().await;
            writer.doubt = true;
            parts.settle(&mut writer).await?;
            parts.once.come(parts.kind.owner);
            Ok(())
        }
        .boxed()
    }

    fn give_up(&self) -> BoxFuture<'_, ()> {
        let parts = &self.shared;
        async move {
            let mut writer = parts.writer.lock().await;
            writer.doubt = true;
            parts.once.go(parts.kind.owner);
        }
        .boxed()
    }

    #[cfg(feature = "postgres")]
    fn reread(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        let parts = &self.shared;
        async move {
            let _writer = parts.writer.lock().await;
            if parts.once.has(parts.kind.owner) {
                return Ok(());
            }
            let (loaded, damaged) = parts.kind.load::<R>(&*parts.store).await?;
            let differs = |key: &&Vec<u8>, shown: &Shown<R>| shown.get(*key) != loaded.get(*key);
            let changed: BTreeSet<Vec<u8>> = {
                let shown = parts.read();
                shown.keys().chain(loaded.keys()).filter(|key| differs(key, &shown)).cloned().collect()
            };
            parts.replace(loaded, damaged);
            if !changed.is_empty() {
                parts.put_in_force(&changed.into_iter().collect::<Vec<_>>());
            }
            Ok(())
        }
        .boxed()
    }
}

impl<R: Message + Default + PartialEq> Parts<R> {
    fn read(&self) -> RwLockReadGuard<'_, Shown<R>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, loaded: Shown<R>, damaged: usize) {
        self.damaged.store(damaged, Ordering::Release);
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    }

    fn put_in_force(&self, keys: &[Vec<u8>]) {
        if let Some(after) = self.after.get() {
            after(&self.read(), keys);
        }
    }

    /// After a commit in doubt: begins a new epoch, reads what the store has, and puts it in force. Where another node has the right to
    /// commit, that is found out, and what the store has is in force too.
    async fn settle(&self, writer: &mut Writer) -> Result<(), StoreError> {
        if !writer.doubt {
            return Ok(());
        }
        let reload = async {
            let epoch = match self.store.acquire(self.kind.owner).await {
                Ok(epoch) => Some(epoch),
                Err(StoreError::Elsewhere { .. }) => None,
                Err(error) => return Err(error),
            };
            Ok::<_, StoreError>((epoch, self.kind.load(&*self.store).await?))
        };
        let (epoch, (loaded, damaged)): (Option<u64>, (Shown<R>, usize)) =
            reload.await.inspect_err(|error| tracing::warn!(%error, "the records of {} could not be read again", self.kind.what))?;
        let keys: BTreeSet<Vec<u8>> = self.read().keys().chain(loaded.keys()).cloned().collect();
        self.replace(loaded, damaged);
        if let Some(epoch) = epoch {
            writer.fence.epoch = epoch;
            writer.doubt = false;
        } else {
            self.once.go(self.kind.owner);
        }
        self.put_in_force(&keys.into_iter().collect::<Vec<_>>());
        epoch.map(drop).ok_or(StoreError::Elsewhere { shard: self.kind.owner })
    }

    /// Writes a change, then shows it and puts it in force.
    async fn write(&self, writer: &mut Writer, change: Change<R>) -> Result<(), Refusal> {
        let kind = self.kind;
        let mut batch = CommitBatch::new(writer.fence);
        for (key, record) in &change.records {
            match record {
                Some(record) => batch.put(Table::Meta, &kind.key(key), &record.encode_to_vec()),
                None => batch.delete(Table::Meta, &kind.key(key)),
            }
        }
        for (key, row) in &change.beside {
            match row {
                Some(row) => batch.put(Table::Meta, key, row),
                None => batch.delete(Table::Meta, key),
            }
        }
        // Until memory has it too, should this task end half-way.
        writer.doubt = true;
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%error, "{} could not be written", kind.what);
            let settled = self.settle(writer).await.map_err(|error| kind.refused(&error));
            if matches!(settled, Err(Refusal::Unavailable(_))) {
                return settled;
            }
            let shown = self.read();
            let done = change.records.iter().all(|(key, record)| shown.get(key).map(|r| &**r) == record.as_ref());
            return if done { Ok(()) } else { settled.and_then(|()| Err(kind.failed())) };
        }
        let keys: Vec<Vec<u8>> = change.records.iter().map(|(key, _)| key.clone()).collect();
        let mut shown = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        for (key, record) in change.records {
            match record {
                Some(record) => drop(shown.insert(key, Arc::new(record))),
                None => drop(shown.remove(&key)),
            }
        }
        drop(shown);
        writer.doubt = false;
        self.put_in_force(&keys);
        Ok(())
    }
}

/// Reads again until that works: nobody may come who changes anything, and what is on the disk has to be in force.
async fn retry<R: Message + Default + PartialEq>(parts: Weak<Parts<R>>) {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let Some(clock) = parts.upgrade().map(|parts| parts.clock.clone()) else { return };
        clock.sleep_until(clock.now() + backoff).await;
        backoff = Span((backoff.0 * 2).min(BACKOFF_MAX.0));
        let Some(parts) = parts.upgrade() else { return };
        let mut writer = parts.writer.lock().await;
        let settled = parts.settle(&mut writer).await;
        if matches!(settled, Ok(()) | Err(StoreError::Closed | StoreError::Failed { .. } | StoreError::Elsewhere { .. })) {
            writer.retries = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_of_the_format_names_who_commits_which_records() {
        let described = include_str!("../../../docs/storage-format.md");
        for kind in [NEXUS_ENDPOINTS, BATCH_JOBS, DEPLOYMENTS, FLOW_RULES, API_KEYS, ALERT_RULES] {
            let below = u64::from(u32::MAX - kind.owner) + 1;
            let key = format!("| `{}`, ", char::from(kind.prefix));
            let rows: Vec<&str> = described.lines().filter(|line| line.starts_with(&key)).collect();
            assert_eq!(rows.len(), 1, "rows of `{}`", char::from(kind.prefix));
            assert!(rows[0].ends_with(&format!("committed under 2³² − {below} |")), "{}: 2³² − {below}", kind.what);
        }
    }
}

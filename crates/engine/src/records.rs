//! Small durable records of one kind in table Meta, all of them in memory. Changes are visible as soon as their call
//! returned, and carried out one after the other.
//!
//! | a change's commit | then |
//! |---|---|
//! | is acknowledged | memory shows it |
//! | fails, or its fate is unknown | a new epoch begins, everything is read again, and the change counts as done if it is there |
//!
//! A change goes on when its caller leaves: between the commit and its effect in memory nothing may stop.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use prost::Message;
use sempre_core::Refusal;
use sempre_store::{CommitBatch, Fence, Store, StoreError, Table};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{Spawner, shard::load::prefix_end};

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
    owner: u32,
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
    kind: Kind,
    store: Arc<dyn Store>,
    spawner: Arc<dyn Spawner>,
    shown: Arc<RwLock<Shown<R>>>,
    after: Arc<OnceLock<After<R>>>,
    /// One change at a time; holds the right to commit.
    writer: Arc<Mutex<Writer>>,
}

struct Writer {
    fence: Fence,
    /// A commit has not been acknowledged: memory may lack what the store has.
    doubt: bool,
}

impl Kind {
    fn key(self, rest: &[u8]) -> Vec<u8> {
        [&[self.prefix], rest].concat()
    }

    fn failed(self) -> Refusal {
        Refusal::Unavailable(format!("{} could not be written", self.what))
    }

    async fn load<R: Message + Default>(self, store: &dyn Store) -> Result<Shown<R>, StoreError> {
        let mut shown = Shown::new();
        for (key, row) in store.scan(Table::Meta, &[self.prefix], &prefix_end(&[self.prefix]), usize::MAX).await? {
            match R::decode(row) {
                Ok(record) => drop(shown.insert(key[1..].to_vec(), Arc::new(record))),
                Err(error) => tracing::error!(%error, key = ?key, "the record of {} is damaged", self.what),
            }
        }
        Ok(shown)
    }

    /// After a commit in doubt: begins a new epoch and reads what the store has.
    async fn settle<R: Message + Default>(self, store: &dyn Store, shown: &RwLock<Shown<R>>, writer: &mut Writer) -> Result<(), Refusal> {
        if !writer.doubt {
            return Ok(());
        }
        let reload = async {
            let epoch = store.acquire(self.owner).await?;
            Ok::<_, StoreError>((epoch, self.load(store).await?))
        };
        let (epoch, loaded) = reload.await.map_err(|error| {
            tracing::warn!(%error, "the records of {} could not be read again", self.what);
            self.failed()
        })?;
        *shown.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        *writer = Writer { fence: Fence { shard: self.owner, epoch }, doubt: false };
        Ok(())
    }
}

impl<R: Message + Default + Clone + PartialEq + 'static> Records<R> {
    /// Reads all records of the kind.
    pub(crate) async fn open(kind: Kind, store: Arc<dyn Store>, spawner: Arc<dyn Spawner>) -> Result<Self, StoreError> {
        let fence = Fence { shard: kind.owner, epoch: store.acquire(kind.owner).await? };
        let shown = Arc::new(RwLock::new(kind.load(&*store).await?));
        Ok(Self { kind, store, spawner, shown, after: Arc::default(), writer: Arc::new(Mutex::new(Writer { fence, doubt: false })) })
    }

    /// Calls `after` for all records now, and for those that a change has changed. Once.
    pub(crate) fn after_changes(&self, after: After<R>) {
        let shown = self.read();
        let keys: Vec<Vec<u8>> = shown.keys().cloned().collect();
        after(&shown, &keys);
        // Set twice, the first would stay: it is the same.
        let _ = self.after.set(after);
    }

    /// All records. Not to be held across an await.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Shown<R>> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<R>> {
        self.read().get(key).cloned()
    }

    /// A row outside the prefix that a change has put.
    pub(crate) async fn beside(&self, key: &[u8]) -> Result<Option<Bytes>, Refusal> {
        self.store.get(Table::Meta, key).await.map_err(|error| {
            tracing::warn!(%error, "{} could not be read", self.kind.what);
            Refusal::Unavailable(format!("{} could not be read", self.kind.what))
        })
    }

    /// Changes records; `decide` sees the newest ones.
    pub(crate) async fn change<T: Send>(
        &self,
        decide: impl FnOnce(&Shown<R>) -> Result<(Change<R>, T), Refusal> + Send,
    ) -> Result<T, Refusal> {
        let mut writer: OwnedMutexGuard<Writer> = self.writer.clone().lock_owned().await;
        self.kind.settle(&*self.store, &self.shown, &mut writer).await?;
        let (change, answer) = decide(&self.read())?;
        if change.records.is_empty() {
            return Ok(answer);
        }
        let (sender, receiver) = oneshot::channel();
        let (kind, store, shown, after) = (self.kind, self.store.clone(), self.shown.clone(), self.after.clone());
        let task = async move {
            let keys: Vec<Vec<u8>> = change.records.iter().map(|(key, _)| key.clone()).collect();
            let result = write(kind, &*store, &shown, &mut writer, change).await;
            if let Some(after) = after.get() {
                let shown = shown.read().unwrap_or_else(PoisonError::into_inner);
                // After a commit in doubt everything was read again.
                let all: Vec<Vec<u8>> = if result.is_ok() { Vec::new() } else { shown.keys().cloned().collect() };
                after(&shown, &[keys, all].concat());
            }
            drop(writer);
            // The caller may have left.
            let _ = sender.send(result);
        };
        self.spawner.spawn("sempre record", Box::pin(task));
        receiver.await.unwrap_or_else(|_| Err(self.kind.failed()))?;
        Ok(answer)
    }
}

/// Writes a change, then shows it.
async fn write<R: Message + Default + PartialEq>(
    kind: Kind,
    store: &dyn Store,
    shown: &RwLock<Shown<R>>,
    writer: &mut Writer,
    change: Change<R>,
) -> Result<(), Refusal> {
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
    if let Err(error) = store.commit(batch).await {
        tracing::warn!(%error, "{} could not be written", kind.what);
        kind.settle(store, shown, writer).await?;
        let shown = shown.read().unwrap_or_else(PoisonError::into_inner);
        let done = change.records.iter().all(|(key, record)| shown.get(key).map(|r| &**r) == record.as_ref());
        return done.then_some(()).ok_or_else(|| kind.failed());
    }
    let mut shown = shown.write().unwrap_or_else(PoisonError::into_inner);
    for (key, record) in change.records {
        match record {
            Some(record) => drop(shown.insert(key, Arc::new(record))),
            None => drop(shown.remove(&key)),
        }
    }
    writer.doubt = false;
    Ok(())
}

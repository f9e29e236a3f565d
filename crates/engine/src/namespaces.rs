//! Namespaces: durable records, all of them in memory. Changes are visible as soon as their call returned.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;
use prost::Message;
use sempre_core::{NamespaceId, NamespaceView, Refusal, Span, ids::Uuid};
use sempre_store::{CommitBatch, Fence, Store, StoreError, Table};
use tokio::sync::Mutex;

/// The number under which namespaces are committed; far from those of shards.
const OWNER: u32 = u32::MAX;
/// Shortest retention of a namespace.
pub(crate) const RETENTION_MIN: Span = Span::seconds(3600);
const NAME_MAX: usize = 1000;

/// `NamespaceState`.
pub(crate) const REGISTERED: i32 = 1;
pub(crate) const DEPRECATED: i32 = 2;
pub(crate) const DELETED: i32 = 3;

/// One namespace, as stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct NamespaceRecord {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) id: Bytes,
    #[prost(string, tag = "2")]
    pub(crate) name: String,
    #[prost(int32, tag = "3")]
    pub(crate) state: i32,
    #[prost(string, tag = "4")]
    pub(crate) description: String,
    #[prost(string, tag = "5")]
    pub(crate) owner_email: String,
    /// Nanoseconds.
    #[prost(int64, tag = "6")]
    pub(crate) retention: i64,
    #[prost(btree_map = "string, string", tag = "7")]
    pub(crate) data: BTreeMap<String, String>,
    /// Name to `IndexedValueType`.
    #[prost(btree_map = "string, int32", tag = "8")]
    pub(crate) search_attributes: BTreeMap<String, i32>,
}

impl NamespaceRecord {
    pub(crate) fn namespace_id(&self) -> NamespaceId {
        NamespaceId(Uuid(self.id.as_ref().try_into().unwrap_or_default()))
    }
}

/// A namespace in memory.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) record: NamespaceRecord,
    pub(crate) view: Arc<NamespaceView>,
}

impl Namespace {
    fn new(record: NamespaceRecord) -> Arc<Self> {
        let view = Arc::new(NamespaceView { id: record.namespace_id(), name: record.name.clone(), retention: Span(record.retention) });
        Arc::new(Self { record, view })
    }

    pub(crate) fn id(&self) -> NamespaceId {
        self.view.id
    }
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<String, Arc<Namespace>>,
    by_id: HashMap<NamespaceId, Arc<Namespace>>,
}

/// See the module.
pub(crate) struct Namespaces {
    store: Arc<dyn Store>,
    inner: RwLock<Inner>,
    /// One change at a time; holds the right to commit.
    writer: Mutex<Fence>,
}

impl Namespaces {
    /// Reads all namespaces.
    pub(crate) async fn open(store: Arc<dyn Store>) -> Result<Self, StoreError> {
        let epoch = store.acquire(OWNER).await?;
        let mut inner = Inner::default();
        for (key, row) in store.scan(Table::Namespace, &[], &[u8::MAX; 17], usize::MAX).await? {
            match NamespaceRecord::decode(row) {
                Ok(record) => inner.put(record),
                Err(error) => tracing::error!(%error, key = ?key, "a namespace record is damaged"),
            }
        }
        Ok(Self { store, inner: RwLock::new(inner), writer: Mutex::new(Fence { shard: OWNER, epoch }) })
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// By name, whatever its state.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Namespace>, Refusal> {
        if name.is_empty() {
            return Err(Refusal::invalid("Namespace not set on request."));
        }
        if name.len() > NAME_MAX {
            return Err(Refusal::invalid("Namespace length exceeds limit."));
        }
        self.read().by_name.get(name).cloned().ok_or_else(|| Refusal::NamespaceNotFound(name.to_owned()))
    }

    /// By name, for calls that go on in a deprecated namespace.
    pub(crate) fn usable(&self, name: &str) -> Result<Arc<Namespace>, Refusal> {
        self.in_state(name, &[REGISTERED, DEPRECATED], "Registered, Deprecated")
    }

    /// By name, for calls that start something.
    pub(crate) fn registered(&self, name: &str) -> Result<Arc<Namespace>, Refusal> {
        self.in_state(name, &[REGISTERED], "Registered")
    }

    fn in_state(&self, name: &str, allowed: &[i32], text: &'static str) -> Result<Arc<Namespace>, Refusal> {
        let namespace = self.find(name)?;
        if allowed.contains(&namespace.record.state) {
            return Ok(namespace);
        }
        let state = if namespace.record.state == DELETED { "Deleted" } else { "Deprecated" };
        Err(Refusal::NamespaceInvalidState { namespace: name.to_owned(), state, allowed: text })
    }

    /// By id.
    pub(crate) fn by_id(&self, id: NamespaceId) -> Option<Arc<Namespace>> {
        self.read().by_id.get(&id).cloned()
    }

    /// The id of a name that a run used; empty means the run's own.
    pub(crate) fn id_of(&self, name: &str, own: NamespaceId) -> Option<NamespaceId> {
        if name.is_empty() {
            return Some(own);
        }
        let inner = self.read();
        // A renamed (deleted) namespace's runs still mean themselves by the old name.
        let found = inner.by_name.get(name).map(|n| n.id());
        found.or_else(|| inner.by_id.get(&own).filter(|n| n.record.state == DELETED).map(|n| n.id()))
    }

    /// What core needs to know. Runs of a namespace that is gone keep running out under its id.
    pub(crate) fn view(&self, id: NamespaceId) -> Arc<NamespaceView> {
        match self.read().by_id.get(&id) {
            Some(namespace) => namespace.view.clone(),
            None => Arc::new(NamespaceView { id, name: format!("{}", id), retention: RETENTION_MIN }),
        }
    }

    /// All, by name, from after `after` on.
    pub(crate) fn list(&self, after: &str, limit: usize, deleted: bool) -> Vec<Arc<Namespace>> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let inner = self.read();
        inner.by_name.range::<str, _>(range).map(|(_, n)| n.clone()).filter(|n| deleted || n.record.state != DELETED).take(limit).collect()
    }

    /// Adds a namespace.
    pub(crate) async fn register(&self, record: NamespaceRecord) -> Result<(), Refusal> {
        let mut fence = self.writer.lock().await;
        if self.read().by_name.contains_key(&record.name) {
            return Err(Refusal::NamespaceAlreadyExists(format!("Namespace \"{}\" already exists", record.name)));
        }
        self.save(&mut fence, record).await
    }

    /// Changes a namespace; `change` sees the newest record.
    pub(crate) async fn update(
        &self,
        id: NamespaceId,
        change: impl FnOnce(&mut NamespaceRecord) -> Result<(), Refusal>,
    ) -> Result<Arc<Namespace>, Refusal> {
        let mut fence = self.writer.lock().await;
        let gone = || Refusal::NamespaceNotFound(format!("{}", id));
        let mut record = self.by_id(id).ok_or_else(gone)?.record.clone();
        let before = record.clone();
        change(&mut record)?;
        if record != before {
            self.save(&mut fence, record).await?;
        }
        self.by_id(id).ok_or_else(gone)
    }

    async fn save(&self, fence: &mut Fence, record: NamespaceRecord) -> Result<(), Refusal> {
        let mut batch = CommitBatch::new(*fence);
        batch.put(Table::Namespace, &record.id, &record.encode_to_vec());
        if let Err(error) = self.store.commit(batch).await {
            tracing::warn!(%error, "a namespace could not be written");
            // The epoch is spent; the next change begins under a new one.
            if let Ok(epoch) = self.store.acquire(OWNER).await {
                fence.epoch = epoch;
            }
            return Err(Refusal::Unavailable("the namespace could not be written".into()));
        }
        self.write().put(record);
        Ok(())
    }
}

impl Inner {
    fn put(&mut self, record: NamespaceRecord) {
        let namespace = Namespace::new(record);
        if let Some(old) = self.by_id.insert(namespace.id(), namespace.clone())
            && old.record.name != namespace.record.name
        {
            self.by_name.remove(&old.record.name);
        }
        self.by_name.insert(namespace.record.name.clone(), namespace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use sempre_store::memory::MemoryStore;

    fn record(n: u8, name: &str) -> NamespaceRecord {
        NamespaceRecord {
            id: Bytes::copy_from_slice(&[n; 16]),
            name: name.into(),
            state: REGISTERED,
            retention: RETENTION_MIN.0,
            ..Default::default()
        }
    }

    #[test]
    fn register_find_rename_and_reopen() {
        let all = async {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let namespaces = Namespaces::open(store.clone()).await.unwrap();
            namespaces.register(record(1, "a")).await.unwrap();
            let again = namespaces.register(record(2, "a")).await;
            assert_eq!(again, Err(Refusal::NamespaceAlreadyExists("Namespace \"a\" already exists".into())));
            let id = namespaces.usable("a").unwrap().id();
            namespaces
                .update(id, |r| {
                    r.name = "b".into();
                    r.state = DELETED;
                    Ok(())
                })
                .await
                .unwrap();
            assert_eq!(namespaces.find("a").unwrap_err(), Refusal::NamespaceNotFound("a".into()));
            assert!(matches!(namespaces.usable("b"), Err(Refusal::NamespaceInvalidState { state: "Deleted", .. })));
            assert_eq!(namespaces.find("").unwrap_err(), Refusal::invalid("Namespace not set on request."));
            drop(namespaces);
            let reopened = Namespaces::open(store).await.unwrap();
            assert_eq!(reopened.find("b").unwrap().id(), id);
            assert!(reopened.list("", 10, false).is_empty());
            assert_eq!(reopened.list("", 10, true).len(), 1);
        };
        all.now_or_never().expect("the memory store never waits");
    }
}

//! Namespaces: durable records, all of them in memory. Changes are visible as soon as their call returned.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{namespace::BadBinaryInfo, rules::WorkflowRule};
use sempre_core::{
    Deployments, Limits, NamespaceId, NamespaceView, Refusal, Span,
    flow::{FlowRules, rule::no_rules},
    ids::Uuid,
    rules,
    visibility::{AttributeType, Attributes, Registry},
};
use sempre_store::{CommitBatch, Fence, Store, StoreError, Table};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{Spawner, once::Once, usage::Usage};

/// The number under which namespaces are committed; far from those of shards.
pub(crate) const OWNER: u32 = u32::MAX;
/// Shortest retention of a namespace.
pub(crate) const RETENTION_MIN: Span = Span::seconds(3600);

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
    /// Field to `IndexedValueType`: [`Registry::live`].
    #[prost(btree_map = "string, int32", tag = "8")]
    pub(crate) search_attributes: BTreeMap<String, i32>,
    /// Counts registrations: tells which of two is older.
    #[prost(uint64, tag = "9")]
    pub(crate) number: u64,
    /// Field to name, where they differ: [`Registry::names`].
    #[prost(btree_map = "string, string", tag = "10")]
    pub(crate) search_attribute_names: BTreeMap<String, String>,
    /// Former name to field: [`Registry::former`].
    #[prost(btree_map = "string, string", tag = "11")]
    pub(crate) former_search_attributes: BTreeMap<String, String>,
    /// Field to `IndexedValueType`: [`Registry::removed`].
    #[prost(btree_map = "string, int32", tag = "12")]
    pub(crate) removed_search_attributes: BTreeMap<String, i32>,
    /// By checksum.
    #[prost(btree_map = "string, message", tag = "30")]
    pub(crate) bad_binaries: BTreeMap<String, BadBinaryInfo>,
    /// Workflow rules, by id.
    #[prost(btree_map = "string, message", tag = "40")]
    pub(crate) workflow_rules: BTreeMap<String, WorkflowRule>,
    /// When it was deleted, nanoseconds; 0 = it is not.
    #[prost(int64, tag = "31")]
    pub(crate) deleted_at: i64,
    /// How long the record stays after the data is gone, nanoseconds.
    #[prost(int64, tag = "32")]
    pub(crate) delete_delay: i64,
    /// When its data was gone, nanoseconds; 0 = it is not.
    #[prost(int64, tag = "33")]
    pub(crate) emptied_at: i64,
}

impl NamespaceRecord {
    pub(crate) fn namespace_id(&self) -> NamespaceId {
        NamespaceId(Uuid(self.id.as_ref().try_into().unwrap_or_default()))
    }

    /// Its custom search attributes.
    pub(crate) fn attributes(&self) -> Registry {
        Registry {
            live: self.search_attributes.clone(),
            removed: self.removed_search_attributes.clone(),
            names: self.search_attribute_names.clone(),
            former: self.former_search_attributes.clone(),
        }
    }

    /// Changes them; a refusal changes nothing.
    pub(crate) fn change_attributes(&mut self, change: impl FnOnce(&mut Registry) -> Result<(), Refusal>) -> Result<(), Refusal> {
        let mut registry = self.attributes();
        change(&mut registry)?;
        let Registry { live, removed, names, former } = registry;
        self.search_attributes = live;
        self.removed_search_attributes = removed;
        self.search_attribute_names = names;
        self.former_search_attributes = former;
        Ok(())
    }
}

/// A namespace in memory.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) record: NamespaceRecord,
    pub(crate) view: Arc<NamespaceView>,
    /// Of the record.
    pub(crate) attributes: Registry,
    usage: Arc<Usage>,
}

impl Namespace {
    fn new(record: NamespaceRecord, deployments: Arc<Deployments>, flow: Arc<FlowRules>, usage: Arc<Usage>) -> Arc<Self> {
        let types = record.search_attributes.iter();
        let attributes = record.attributes();
        let view = Arc::new(NamespaceView {
            id: record.namespace_id(),
            name: record.name.clone(),
            retention: Span(record.retention),
            search_attributes: types.filter_map(|(name, kind)| Some((name.clone(), AttributeType::from_api(*kind)?))).collect(),
            deployments,
            flow,
            rules: rules_of(&record, &attributes),
            search_attribute_names: record.search_attribute_names.clone(),
            bad_binaries: record.bad_binaries.keys().cloned().collect(),
        });
        Arc::new(Self { record, view, attributes, usage })
    }

    pub(crate) fn id(&self) -> NamespaceId {
        self.view.id
    }

    /// The type of a search attribute of its own, by its field.
    pub(crate) fn field_type(&self, field: &str) -> Option<AttributeType> {
        self.view.search_attributes.get(field).copied()
    }
}

/// The workflow rules of a record, as steps see them.
fn rules_of(record: &NamespaceRecord, attributes: &Registry) -> Arc<[rules::WorkflowRule]> {
    let rules = record.workflow_rules.iter().filter_map(|(id, rule)| match rules::WorkflowRule::of(rule, attributes) {
        Ok(rule) => Some(rule),
        Err(error) => {
            // It was checked when it was made; a search attribute may have gone since.
            tracing::warn!(%error, id, namespace = record.name, "a workflow rule cannot be used");
            None
        }
    });
    rules.collect()
}

impl Attributes for Namespace {
    fn attribute(&self, name: &str) -> Option<AttributeType> {
        self.attributes.kind(name)
    }

    fn stored<'a>(&'a self, name: &'a str) -> &'a str {
        self.attributes.field(name)
    }
}

#[derive(Debug, Default)]
struct Inner {
    by_name: BTreeMap<String, Arc<Namespace>>,
    by_id: HashMap<NamespaceId, Arc<Namespace>>,
    /// The worker deployments of those that have any, also of namespaces that are not known (any more).
    deployments: HashMap<NamespaceId, Arc<Deployments>>,
    /// The flow rules of those that have any, in the same way.
    flow: HashMap<NamespaceId, Arc<FlowRules>>,
    /// What they use of what they may.
    usage: HashMap<NamespaceId, Arc<Usage>>,
}

/// See the module.
pub(crate) struct Namespaces {
    once: Arc<Once>,
    store: Arc<dyn Store>,
    spawner: Arc<dyn Spawner>,
    inner: Arc<RwLock<Inner>>,
    /// One change at a time; holds the right to commit.
    writer: Arc<Mutex<Writer>>,
    /// Longest name that is looked for, bytes.
    name_length_max: usize,
}

struct Writer {
    fence: Fence,
    /// A commit has not been acknowledged: memory may lack what the store has. Or another node has the right to commit.
    doubt: bool,
}

/// All records, the oldest first. `Err` if one cannot be read: without it its name is free, and whoever takes it, as every start of a
/// server takes that of its default, gets another id and finds none of the runs.
async fn load(store: &dyn Store) -> Result<Inner, StoreError> {
    let rows = store.scan(Table::Namespace, &[], &[u8::MAX; 17], usize::MAX).await?;
    let mut records = rows.into_iter().map(|(key, row)| read(&key, row)).collect::<Result<Vec<_>, _>>()?;
    records.sort_by_key(|record| record.number);
    let mut inner = Inner::default();
    records.into_iter().for_each(|record| inner.put(record));
    Ok(inner)
}

/// A row of table Namespace: under the id that is in it, or it is none.
fn read(key: &[u8], row: Bytes) -> Result<NamespaceRecord, StoreError> {
    NamespaceRecord::decode(row).ok().filter(|record| record.id == key).ok_or_else(|| {
        let id = key.try_into().map_or_else(|_| format!("{key:02x?}"), |id| Uuid(id).to_string());
        StoreError::Unreadable { what: format!("the record of the namespace with the id {id}") }
    })
}

/// The records that cannot be read, each by what is to be said of it.
pub(crate) async fn unreadable(store: &dyn Store) -> Result<Vec<String>, StoreError> {
    let rows = store.scan(Table::Namespace, &[], &[u8::MAX; 17], usize::MAX).await?;
    Ok(rows.into_iter().filter_map(|(key, row)| read(&key, row).err()).map(|error| error.to_string()).collect())
}

/// What becomes of a namespace.
enum Change {
    Put(Box<NamespaceRecord>),
    Remove(NamespaceId),
}

impl Change {
    fn is_done(&self, inner: &Inner) -> bool {
        match self {
            Self::Put(record) => inner.by_id.get(&record.namespace_id()).is_some_and(|n| n.record == **record),
            Self::Remove(id) => !inner.by_id.contains_key(id),
        }
    }
}

/// Writes a change, then shows it.
async fn write(store: &dyn Store, once: &Once, inner: &RwLock<Inner>, writer: &mut Writer, change: Change) -> Result<(), Refusal> {
    let mut batch = CommitBatch::new(writer.fence);
    match &change {
        Change::Put(record) => batch.put(Table::Namespace, &record.id, &record.encode_to_vec()),
        Change::Remove(id) => batch.delete(Table::Namespace, &id.0.0),
    }
    // Until memory has it too, should this task end half-way.
    writer.doubt = true;
    if let Err(error) = store.commit(batch).await {
        tracing::warn!(%error, "a namespace could not be written");
        let settled = settle(store, once, inner, writer).await.map_err(|error| refused(&error));
        if matches!(settled, Err(Refusal::Unavailable(_))) {
            return settled;
        }
        let is_done = change.is_done(&inner.read().unwrap_or_else(PoisonError::into_inner));
        return if is_done { Ok(()) } else { settled.and_then(|()| Err(failed())) };
    }
    let mut inner = inner.write().unwrap_or_else(PoisonError::into_inner);
    match change {
        Change::Put(record) => inner.put(*record),
        Change::Remove(id) => inner.remove(id),
    }
    writer.doubt = false;
    Ok(())
}

fn failed() -> Refusal {
    Refusal::Unavailable("the namespace could not be written".into())
}

fn refused(error: &StoreError) -> Refusal {
    if let StoreError::Elsewhere { shard } = error { Refusal::Elsewhere { shard: *shard } } else { failed() }
}

/// After a commit in doubt: begins a new epoch and reads what the store has. Where another node has the right to commit, that is
/// found out, and memory shows what the store has too.
async fn settle(store: &dyn Store, once: &Once, inner: &RwLock<Inner>, writer: &mut Writer) -> Result<(), StoreError> {
    if !writer.doubt {
        return Ok(());
    }
    let reload = async {
        let epoch = match store.acquire(OWNER).await {
            Ok(epoch) => Some(epoch),
            Err(StoreError::Elsewhere { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok::<_, StoreError>((epoch, load(store).await?))
    };
    let (epoch, loaded) = reload.await.inspect_err(|error| tracing::warn!(%error, "namespaces could not be read again"))?;
    replace(inner, loaded);
    let Some(epoch) = epoch else {
        once.go(OWNER);
        return Err(StoreError::Elsewhere { shard: OWNER });
    };
    *writer = Writer { fence: Fence { shard: OWNER, epoch }, doubt: false };
    Ok(())
}

/// Shows what was read.
fn replace(inner: &RwLock<Inner>, loaded: Inner) {
    let mut inner = inner.write().unwrap_or_else(PoisonError::into_inner);
    let (deployments, flow) = (std::mem::take(&mut inner.deployments), std::mem::take(&mut inner.flow));
    let usage = std::mem::take(&mut inner.usage);
    *inner = loaded.with(deployments, flow, usage);
}

impl Namespaces {
    /// Reads all namespaces.
    pub(crate) async fn open(once: Arc<Once>, store: Arc<dyn Store>, spawner: Arc<dyn Spawner>) -> Result<Self, StoreError> {
        let epoch = once.acquire(&*store, OWNER).await?;
        let inner = Arc::new(RwLock::new(load(&*store).await?));
        let writer = Writer { fence: Fence { shard: OWNER, epoch: epoch.unwrap_or_default() }, doubt: epoch.is_none() };
        let name_length_max = Limits::default().id_length_max;
        Ok(Self { once, store, spawner, inner, writer: Arc::new(Mutex::new(writer)), name_length_max })
    }

    /// With this length of names, bytes (`limit.maxIDLength`).
    pub(crate) fn with_names_of(self, name_length_max: usize) -> Self {
        Self { name_length_max, ..self }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// By name, whatever its state.
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Namespace>, Refusal> {
        if name.is_empty() {
            return Err(Refusal::invalid("Namespace not set on request."));
        }
        if name.len() > self.name_length_max {
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

    /// Some of them, by name.
    pub(crate) fn first(&self, limit: usize) -> Vec<Arc<Namespace>> {
        self.read().by_name.values().take(limit).cloned().collect()
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
            None => Arc::new(NamespaceView {
                id,
                name: format!("{}", id),
                retention: RETENTION_MIN,
                search_attributes: BTreeMap::new(),
                deployments: Arc::default(),
                flow: no_rules(),
                rules: rules::no_rules(),
                search_attribute_names: BTreeMap::new(),
                bad_binaries: BTreeSet::new(),
            }),
        }
    }

    /// Gives a namespace its worker deployments, as steps see them from now on; returns those before.
    pub(crate) fn set_deployments(&self, id: NamespaceId, deployments: Arc<Deployments>) -> Arc<Deployments> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        let old = inner.deployments.insert(id, deployments).unwrap_or_default();
        if let Some(namespace) = inner.by_id.get(&id).cloned() {
            inner.put(namespace.record.clone());
        }
        old
    }

    /// Gives a namespace its flow rules, as starts see them from now on.
    pub(crate) fn set_flow(&self, id: NamespaceId, rules: Arc<FlowRules>) {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        inner.flow.insert(id, rules);
        if let Some(namespace) = inner.by_id.get(&id).cloned() {
            inner.put(namespace.record.clone());
        }
    }

    /// What a namespace uses, known or not.
    pub(crate) fn usage(&self, id: NamespaceId) -> Arc<Usage> {
        if let Some(usage) = self.read().usage.get(&id) {
            return usage.clone();
        }
        self.inner.write().unwrap_or_else(PoisonError::into_inner).usage.entry(id).or_default().clone()
    }

    /// The id of the namespace of that name. Clones nothing.
    pub(crate) fn named(&self, name: &str) -> Option<NamespaceId> {
        self.read().by_name.get(name).map(|namespace| namespace.id())
    }

    /// What the namespace of that name uses; `None` if there is none. Clones nothing.
    pub(crate) fn with_usage<T>(&self, name: &str, look: impl FnOnce(&Usage) -> T) -> Option<T> {
        let inner = self.read();
        inner.by_name.get(name).map(|namespace| look(&namespace.usage))
    }

    /// All, by name, from after `after` on.
    pub(crate) fn list(&self, after: &str, limit: usize, deleted: bool) -> Vec<Arc<Namespace>> {
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let inner = self.read();
        inner.by_name.range::<str, _>(range).map(|(_, n)| n.clone()).filter(|n| deleted || n.record.state != DELETED).take(limit).collect()
    }

    /// Adds a namespace.
    pub(crate) async fn register(&self, mut record: NamespaceRecord) -> Result<(), Refusal> {
        let writer = self.begin().await?;
        if self.read().by_name.contains_key(&record.name) {
            return Err(Refusal::NamespaceAlreadyExists(format!("Namespace \"{}\" already exists", record.name)));
        }
        record.number = self.read().by_id.values().map(|n| n.record.number).max().unwrap_or_default() + 1;
        self.save(writer, Change::Put(Box::new(record))).await
    }

    /// Removes the record of a deleted namespace whose data is gone.
    pub(crate) async fn remove(&self, id: NamespaceId) -> Result<(), Refusal> {
        let writer = self.begin().await?;
        match self.by_id(id) {
            Some(namespace) if namespace.record.state == DELETED => self.save(writer, Change::Remove(id)).await,
            _ => Ok(()),
        }
    }

    /// Those that are deleted and still have a record.
    pub(crate) fn deleted(&self) -> Vec<Arc<Namespace>> {
        let mut deleted: Vec<_> = self.read().by_id.values().filter(|n| n.record.state == DELETED).cloned().collect();
        deleted.sort_by_key(|n| n.record.number);
        deleted
    }

    /// Nothing new begins in it: it is deleted, or was never there.
    pub(crate) fn is_gone(&self, id: NamespaceId) -> bool {
        self.read().by_id.get(&id).is_none_or(|n| n.record.state == DELETED)
    }

    /// Changes a namespace; `change` sees the newest record.
    pub(crate) async fn update(
        &self,
        id: NamespaceId,
        change: impl FnOnce(&mut NamespaceRecord) -> Result<(), Refusal>,
    ) -> Result<Arc<Namespace>, Refusal> {
        let writer = self.begin().await?;
        let gone = || Refusal::NamespaceNotFound(format!("{}", id));
        let mut record = self.by_id(id).ok_or_else(gone)?.record.clone();
        let before = record.clone();
        change(&mut record)?;
        if record != before {
            self.save(writer, Change::Put(Box::new(record))).await?;
        }
        self.by_id(id).ok_or_else(gone)
    }

    async fn begin(&self) -> Result<OwnedMutexGuard<Writer>, Refusal> {
        let mut writer = self.writer.clone().lock_owned().await;
        self.once.check(OWNER)?;
        settle(&*self.store, &self.once, &self.inner, &mut writer).await.map_err(|error| refused(&error))?;
        Ok(writer)
    }

    /// Acquires the right to commit, and reads what there is.
    pub(crate) async fn take_up(&self) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().await;
        writer.doubt = true;
        settle(&*self.store, &self.once, &self.inner, &mut writer).await?;
        self.once.come(OWNER);
        Ok(())
    }

    /// Reads what another node has changed.
    #[cfg(feature = "postgres")]
    pub(crate) async fn reread(&self) -> Result<(), StoreError> {
        let _writer = self.writer.lock().await;
        if !self.once.has(OWNER) {
            replace(&self.inner, load(&*self.store).await?);
        }
        Ok(())
    }

    /// Finishes the change that is under way; others are refused from then on.
    pub(crate) async fn give_up(&self) {
        let mut writer = self.writer.lock().await;
        writer.doubt = true;
        self.once.go(OWNER);
    }

    /// Goes on when the caller leaves: between the commit and its effect in memory nothing may stop.
    async fn save(&self, mut writer: OwnedMutexGuard<Writer>, change: Change) -> Result<(), Refusal> {
        let (sender, receiver) = oneshot::channel();
        let (store, once, inner) = (self.store.clone(), self.once.clone(), self.inner.clone());
        let task = async move {
            let result = write(&*store, &once, &inner, &mut writer, change).await;
            drop(writer);
            // The caller may have left.
            let _ = sender.send(result);
        };
        self.spawner.spawn("sempre namespace", Box::pin(task));
        receiver.await.unwrap_or_else(|_| Err(Refusal::Unavailable("the namespace could not be written".into())))
    }
}

impl Inner {
    /// What was read does not have them.
    fn with(
        mut self,
        deployments: HashMap<NamespaceId, Arc<Deployments>>,
        flow: HashMap<NamespaceId, Arc<FlowRules>>,
        usage: HashMap<NamespaceId, Arc<Usage>>,
    ) -> Self {
        self.deployments = deployments;
        self.flow = flow;
        self.usage = usage;
        let records: Vec<NamespaceRecord> = self.by_id.values().map(|namespace| namespace.record.clone()).collect();
        records.into_iter().for_each(|record| self.put(record));
        self
    }

    fn remove(&mut self, id: NamespaceId) {
        if let Some(namespace) = self.by_id.remove(&id)
            && self.by_name.get(&namespace.record.name).is_some_and(|n| n.id() == id)
        {
            self.by_name.remove(&namespace.record.name);
        }
        // A shard that has counted in it keeps it.
        self.usage.remove(&id);
    }

    /// Two of one name: the first put keeps it; the other is known by its id only.
    fn put(&mut self, record: NamespaceRecord) {
        let deployments = self.deployments.get(&record.namespace_id()).cloned().unwrap_or_default();
        let flow = self.flow.get(&record.namespace_id()).cloned().unwrap_or_else(no_rules);
        let usage = self.usage.entry(record.namespace_id()).or_default().clone();
        let namespace = Namespace::new(record, deployments, flow, usage);
        let (id, name) = (namespace.id(), &namespace.record.name);
        if let Some(old) = self.by_id.insert(id, namespace.clone())
            && old.record.name != *name
            && self.by_name.get(&old.record.name).is_some_and(|n| n.id() == id)
        {
            self.by_name.remove(&old.record.name);
        }
        match self.by_name.get(name) {
            Some(first) if first.id() != id => {
                tracing::warn!(name, kept = %first.id(), ignored = %id, "two namespaces have the same name");
            }
            _ => drop(self.by_name.insert(name.clone(), namespace)),
        }
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

    /// Runs tasks where they are spawned: the memory store never waits.
    struct AtOnce;

    impl Spawner for AtOnce {
        fn spawn(&self, _: &'static str, task: futures::future::BoxFuture<'static, ()>) {
            task.now_or_never().expect("the memory store never waits");
        }
    }

    /// Keeps tasks until they are asked for.
    #[derive(Default)]
    struct Later(std::sync::Mutex<Vec<futures::future::BoxFuture<'static, ()>>>);

    impl Spawner for Later {
        fn spawn(&self, _: &'static str, task: futures::future::BoxFuture<'static, ()>) {
            self.0.lock().unwrap().push(task);
        }
    }

    #[test]
    fn a_change_whose_caller_leaves_is_carried_out_before_the_next() {
        let later = Arc::new(Later::default());
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let namespaces = Namespaces::open(Arc::new(Once::new()), store, later.clone()).now_or_never().unwrap().unwrap();
        assert!(namespaces.register(record(1, "a")).now_or_never().is_none());
        let mut again = std::pin::pin!(namespaces.register(record(2, "a")));
        assert!(again.as_mut().now_or_never().is_none(), "the first is not done yet");
        let task = later.0.lock().unwrap().pop().unwrap();
        task.now_or_never().unwrap();
        assert!(matches!(again.now_or_never(), Some(Err(Refusal::NamespaceAlreadyExists(_)))));
        assert_eq!(namespaces.find("a").unwrap().id(), record(1, "a").namespace_id());
    }

    #[test]
    fn of_two_with_one_name_the_older_keeps_it() {
        let all = async {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let mut batch = CommitBatch::new(Fence { shard: 0, epoch: store.acquire(0).await.unwrap() });
            for (id, number) in [(1, 8), (2, 7), (3, 9)] {
                let record = NamespaceRecord { number, ..record(id, "a") };
                batch.put(Table::Namespace, &record.id, &record.encode_to_vec());
            }
            store.commit(batch).await.unwrap();
            let namespaces = Namespaces::open(Arc::new(Once::new()), store, Arc::new(AtOnce)).await.unwrap();
            let id = |n| record(n, "a").namespace_id();
            assert_eq!(namespaces.find("a").unwrap().id(), id(2));
            namespaces
                .update(id(3), |r| {
                    r.name = "b".into();
                    Ok(())
                })
                .await
                .unwrap();
            assert_eq!((namespaces.find("a").unwrap().id(), namespaces.find("b").unwrap().id()), (id(2), id(3)));
            assert_eq!(namespaces.by_id(id(1)).unwrap().id(), id(1), "its runs go on");
        };
        all.now_or_never().expect("the memory store never waits");
    }

    #[test]
    fn register_find_rename_and_reopen() {
        let all = async {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let namespaces = Namespaces::open(Arc::new(Once::new()), store.clone(), Arc::new(AtOnce)).await.unwrap();
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
            let reopened = Namespaces::open(Arc::new(Once::new()), store, Arc::new(AtOnce)).await.unwrap();
            assert_eq!(reopened.find("b").unwrap().id(), id);
            assert!(reopened.list("", 10, false).is_empty());
            assert_eq!(reopened.list("", 10, true).len(), 1);
        };
        all.now_or_never().expect("the memory store never waits");
    }
}

//! What is kept for the server as a whole, in table Meta: who it is, and the settings of its task queues.
//!
//! Few records, all of them in memory. Changes are visible as soon as their call returned.
//!
//! | key | value |
//! |---|---|
//! | `cluster-id` | the id's text |
//! | `token-key` | [`KeyRecord`]: what callback tokens are signed with |
//! | `q`, namespace id (16), type of the queue (1, as in the API), its name | [`ConfigRecord`] |

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use prost::Message;
use sempre_api::v1::{
    enums::{ResourceExhaustedCause, TaskQueueType},
    taskqueue::TaskQueueConfig,
};
use sempre_core::{
    IdSource, NamespaceId, Refusal, Span,
    ids::Uuid,
    transition::{QueueKind, QueueName},
};
use sempre_store::{CommitBatch, CommitError, Fence, Store, StoreError, Table};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{Clock, Spawner, ids::SeededIds, nexus::signature::Signer, once::Once};

/// The number under which these records are committed; far from those of shards, and not that of namespaces.
pub(crate) const OWNER: u32 = u32::MAX - 1;
const CLUSTER_ID: &[u8] = b"cluster-id";
const TOKEN_KEY: &[u8] = b"token-key";
const CONFIG: u8 = b'q';
/// Between two looks whether another node has made the records of new data, and how often it is looked.
const MADE_LOOK: Span = Span::millis(100);
const MADE_LOOKS_MAX: usize = 100;
/// Task queues that can have settings.
const CONFIGS_MAX: usize = 100_000;

/// Settings removed in one commit.
const REMOVED_AT_ONCE: usize = 1000;

/// Settings of a task queue, as stored.
#[derive(Clone, PartialEq, Message)]
struct ConfigRecord {
    #[prost(message, optional, tag = "1")]
    config: Option<TaskQueueConfig>,
}

/// The key of callback tokens, as stored.
#[derive(Clone, PartialEq, Message)]
struct KeyRecord {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    // 2 was until when tokens without a signature were taken.
}

/// The key of a queue's settings. Sticky queues have none.
fn config_key(queue: &QueueName) -> Vec<u8> {
    let kind = match queue.kind {
        QueueKind::Workflow => TaskQueueType::Workflow,
        QueueKind::Activity => TaskQueueType::Activity,
        QueueKind::Nexus => TaskQueueType::Nexus,
    };
    let mut key = vec![CONFIG];
    key.extend_from_slice(&queue.namespace.0.0);
    key.push(kind as u8);
    key.extend_from_slice(queue.name.as_bytes());
    key
}

pub(crate) fn parse_config_key(key: &[u8]) -> Option<QueueName> {
    let rest = key.strip_prefix(&[CONFIG])?;
    let (namespace, rest) = rest.split_first_chunk::<16>()?;
    let (kind, name) = rest.split_first()?;
    let kind = match TaskQueueType::try_from(i32::from(*kind)).ok()? {
        TaskQueueType::Workflow => QueueKind::Workflow,
        TaskQueueType::Activity => QueueKind::Activity,
        TaskQueueType::Nexus => QueueKind::Nexus,
        TaskQueueType::Unspecified => return None,
    };
    Some(QueueName {
        namespace: NamespaceId(Uuid(*namespace)),
        name: String::from_utf8(name.to_vec()).ok()?,
        kind,
        sticky: false,
        version: None,
    })
}

/// A queue and its settings.
pub(crate) type Config = (QueueName, Arc<TaskQueueConfig>);

type Configs = BTreeMap<QueueName, Arc<TaskQueueConfig>>;

/// See the module.
pub(crate) struct Meta {
    once: Arc<Once>,
    store: Arc<dyn Store>,
    spawner: Arc<dyn Spawner>,
    cluster_id: String,
    signer: Signer,
    configs: Arc<RwLock<Configs>>,
    /// One change at a time; holds the right to commit.
    writer: Arc<Mutex<Writer>>,
}

struct Writer {
    fence: Fence,
    /// A commit has not been acknowledged: memory may lack what the store has. Or another node has the right to commit.
    doubt: bool,
}

async fn load(store: &dyn Store) -> Result<Configs, StoreError> {
    let mut configs = Configs::new();
    for (key, row) in store.scan(Table::Meta, &[CONFIG], &[CONFIG + 1], usize::MAX).await? {
        match (parse_config_key(&key), ConfigRecord::decode(row)) {
            (Some(queue), Ok(record)) => drop(configs.insert(queue, Arc::new(record.config.unwrap_or_default()))),
            (queue, _) => {
                tracing::error!(?queue, key = ?key, "the settings of a task queue are damaged; it has none until they are set anew")
            }
        }
    }
    Ok(configs)
}

/// Whether new data has got what it gets once.
async fn is_made(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.get(Table::Meta, CLUSTER_ID).await?.is_some() && store.get(Table::Meta, TOKEN_KEY).await?.is_some())
}

/// The id of the data, made when it is new.
async fn cluster_id(store: &dyn Store, fence: Fence, ids: &mut SeededIds) -> Result<String, StoreError> {
    if let Some(id) = store.get(Table::Meta, CLUSTER_ID).await? {
        return String::from_utf8(id.to_vec()).map_err(|_| StoreError::Failed { reason: "the cluster id is damaged".into() });
    }
    let id = ids.uuid();
    let mut batch = CommitBatch::new(fence);
    batch.put(Table::Meta, CLUSTER_ID, id.as_bytes());
    commit(store, batch).await?;
    Ok(id)
}

async fn commit(store: &dyn Store, batch: CommitBatch) -> Result<(), StoreError> {
    store.commit(batch).await.map_err(|error| match error {
        CommitError::Rejected { reason } => StoreError::Rejected { reason },
        other => StoreError::Failed { reason: other.to_string() },
    })
}

/// What callback tokens are signed with: `new` where there is no key yet.
async fn signer(store: &dyn Store, fence: Fence, new: [u8; 32]) -> Result<Signer, StoreError> {
    if let Some(row) = store.get(Table::Meta, TOKEN_KEY).await? {
        let record = KeyRecord::decode(row).ok().filter(|record| record.key.len() == new.len());
        let record = record.ok_or_else(|| StoreError::Failed { reason: "the key of callback tokens is damaged".into() })?;
        return Ok(Signer::new(&record.key));
    }
    let mut batch = CommitBatch::new(fence);
    let record = KeyRecord { key: new.to_vec() };
    batch.put(Table::Meta, TOKEN_KEY, &record.encode_to_vec());
    commit(store, batch).await?;
    Ok(Signer::new(&record.key))
}

/// Writes a record, then shows it.
async fn write(
    (store, once): (&dyn Store, &Once),
    configs: &RwLock<Configs>,
    writer: &mut Writer,
    queue: QueueName,
    config: TaskQueueConfig,
) -> Result<Arc<TaskQueueConfig>, Refusal> {
    let mut batch = CommitBatch::new(writer.fence);
    batch.put(Table::Meta, &config_key(&queue), &ConfigRecord { config: Some(config.clone()) }.encode_to_vec());
    // Until memory has it too, should this task end half-way.
    writer.doubt = true;
    if let Err(error) = store.commit(batch).await {
        tracing::warn!(%error, "the settings of a task queue could not be written");
        let settled = settle(store, once, configs, writer).await.map_err(|error| refused(&error));
        if let Err(refusal @ Refusal::Unavailable(_)) = settled {
            return Err(refusal);
        }
        let done = configs.read().unwrap_or_else(PoisonError::into_inner).get(&queue).filter(|known| ***known == config).cloned();
        return done.map_or_else(|| settled.and_then(|()| Err(failed())), Ok);
    }
    let config = Arc::new(config);
    configs.write().unwrap_or_else(PoisonError::into_inner).insert(queue, config.clone());
    writer.doubt = false;
    Ok(config)
}

fn failed() -> Refusal {
    Refusal::Unavailable("the settings of the task queue could not be written".into())
}

fn refused(error: &StoreError) -> Refusal {
    if let StoreError::Elsewhere { shard } = error { Refusal::Elsewhere { shard: *shard } } else { failed() }
}

/// After a commit in doubt: begins a new epoch and reads what the store has. Where another node has the right to commit, that is
/// found out, and memory shows what the store has too.
async fn settle(store: &dyn Store, once: &Once, configs: &RwLock<Configs>, writer: &mut Writer) -> Result<(), StoreError> {
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
    let (epoch, loaded) =
        reload.await.inspect_err(|error| tracing::warn!(%error, "the settings of task queues could not be read again"))?;
    *configs.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    let Some(epoch) = epoch else {
        once.go(OWNER);
        return Err(StoreError::Elsewhere { shard: OWNER });
    };
    *writer = Writer { fence: Fence { shard: OWNER, epoch }, doubt: false };
    Ok(())
}

impl Meta {
    /// Reads the records; gives new data an id out of `ids`, and this key, which is random, to sign callback tokens with. Where another
    /// node has the right to do that, waits until it is done.
    pub(crate) async fn open(
        once: Arc<Once>,
        store: Arc<dyn Store>,
        (clock, spawner): (&dyn Clock, Arc<dyn Spawner>),
        mut ids: SeededIds,
        new_key: [u8; 32],
    ) -> Result<Self, StoreError> {
        let mut epoch = once.acquire(&*store, OWNER).await?;
        let mut looks = 0;
        while epoch.is_none() && !is_made(&*store).await? {
            looks += 1;
            if looks > MADE_LOOKS_MAX {
                return Err(StoreError::Elsewhere { shard: OWNER });
            }
            clock.sleep_until(clock.now() + MADE_LOOK).await;
            // That one may be gone.
            epoch = once.acquire(&*store, OWNER).await?;
        }
        let fence = Fence { shard: OWNER, epoch: epoch.unwrap_or_default() };
        let cluster_id = cluster_id(&*store, fence, &mut ids).await?;
        let signer = signer(&*store, fence, new_key).await?;
        let configs = Arc::new(RwLock::new(load(&*store).await?));
        let writer = Arc::new(Mutex::new(Writer { fence, doubt: epoch.is_none() }));
        Ok(Self { once, store, spawner, cluster_id, signer, configs, writer })
    }

    /// Acquires the right to commit, and reads what there is: gives the settings that have changed.
    pub(crate) async fn take_up(&self) -> Result<Vec<Config>, StoreError> {
        let mut writer = self.writer.lock().await;
        let before = self.configs();
        writer.doubt = true;
        settle(&*self.store, &self.once, &self.configs, &mut writer).await?;
        self.once.come(OWNER);
        Ok(self.changed(before))
    }

    /// Reads what another node has changed: gives the settings that have.
    #[cfg(feature = "postgres")]
    pub(crate) async fn reread(&self) -> Result<Vec<Config>, StoreError> {
        let _writer = self.writer.lock().await;
        if self.once.has(OWNER) {
            return Ok(Vec::new());
        }
        let before = self.configs();
        *self.configs.write().unwrap_or_else(PoisonError::into_inner) = load(&*self.store).await?;
        Ok(self.changed(before))
    }

    /// Finishes the change that is under way; others are refused from then on.
    pub(crate) async fn give_up(&self) {
        let mut writer = self.writer.lock().await;
        writer.doubt = true;
        self.once.go(OWNER);
    }

    /// The settings that are others than before; of queues that have none any more, those of all.
    fn changed(&self, before: Vec<Config>) -> Vec<Config> {
        let (before, now): (Configs, Configs) = (before.into_iter().collect(), self.configs().into_iter().collect());
        let gone = before.keys().filter(|queue| !now.contains_key(queue)).map(|queue| (queue.clone(), Arc::default()));
        let new = now.iter().filter(|(queue, config)| before.get(queue) != Some(config));
        gone.chain(new.map(|(queue, config)| (queue.clone(), config.clone()))).collect()
    }

    /// Names the data, for ever.
    pub(crate) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Signs callback tokens, and knows them again.
    pub(crate) fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The settings of a queue, if any were made.
    pub(crate) fn config(&self, queue: &QueueName) -> Option<Arc<TaskQueueConfig>> {
        self.configs.read().unwrap_or_else(PoisonError::into_inner).get(queue).cloned()
    }

    /// All settings.
    pub(crate) fn configs(&self) -> Vec<(QueueName, Arc<TaskQueueConfig>)> {
        let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
        configs.iter().map(|(queue, config)| (queue.clone(), config.clone())).collect()
    }

    async fn begin(&self) -> Result<OwnedMutexGuard<Writer>, Refusal> {
        let mut writer = self.writer.clone().lock_owned().await;
        self.once.check(OWNER)?;
        settle(&*self.store, &self.once, &self.configs, &mut writer).await.map_err(|error| refused(&error))?;
        Ok(writer)
    }

    /// Forgets the settings of a namespace's queues; gives those that had any.
    pub(crate) async fn remove_configs(&self, namespace: NamespaceId) -> Result<Vec<QueueName>, Refusal> {
        let mut writer = self.begin().await?;
        let queues: Vec<QueueName> = {
            let configs = self.configs.read().unwrap_or_else(PoisonError::into_inner);
            configs.keys().filter(|queue| queue.namespace == namespace).take(REMOVED_AT_ONCE).cloned().collect()
        };
        let mut batch = CommitBatch::new(writer.fence);
        for queue in &queues {
            batch.delete(Table::Meta, &config_key(queue));
        }
        // Memory and store may differ until the next change, should this end half-way.
        writer.doubt = true;
        self.store.commit(batch).await.map_err(|error| {
            tracing::warn!(%error, "the settings of task queues could not be removed");
            failed()
        })?;
        let mut configs = self.configs.write().unwrap_or_else(PoisonError::into_inner);
        for queue in &queues {
            configs.remove(queue);
        }
        writer.doubt = false;
        Ok(queues)
    }

    /// Changes the settings of a queue; `change` sees the newest, `done` what has become durable.
    pub(crate) async fn update_config(
        &self,
        queue: QueueName,
        change: impl FnOnce(&mut TaskQueueConfig) -> Result<(), Refusal>,
        done: impl FnOnce(&TaskQueueConfig) + Send + 'static,
    ) -> Result<Arc<TaskQueueConfig>, Refusal> {
        let mut writer = self.begin().await?;
        let known = self.config(&queue);
        if known.is_none() && self.configs.read().unwrap_or_else(PoisonError::into_inner).len() >= CONFIGS_MAX {
            let message = format!("more than {CONFIGS_MAX} task queues with settings");
            return Err(Refusal::ResourceExhausted { cause: ResourceExhaustedCause::PersistenceStorageLimit, message });
        }
        let mut config = known.as_deref().cloned().unwrap_or_default();
        change(&mut config)?;
        // Goes on when the caller leaves: between the commit and its effect nothing may stop.
        let (sender, receiver) = oneshot::channel();
        let (store, once, configs) = (self.store.clone(), self.once.clone(), self.configs.clone());
        let task = async move {
            let result = write((&*store, &once), &configs, &mut writer, queue, config).await;
            if let Ok(config) = &result {
                done(config);
            }
            drop(writer);
            // The caller may have left.
            let _ = sender.send(result);
        };
        self.spawner.spawn("sempre task queue settings", Box::pin(task));
        receiver.await.unwrap_or_else(|_| Err(failed()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use sempre_store::memory::MemoryStore;

    /// Runs tasks where they are spawned: the memory store never waits.
    struct AtOnce;

    impl Spawner for AtOnce {
        fn spawn(&self, _: &'static str, task: futures::future::BoxFuture<'static, ()>) {
            task.now_or_never().expect("the memory store never waits");
        }
    }

    /// Nobody has to wait.
    struct Never;

    impl Clock for Never {
        fn now(&self) -> sempre_core::Timestamp {
            sempre_core::Timestamp(0)
        }

        fn sleep_until(&self, _: sempre_core::Timestamp) -> futures::future::BoxFuture<'static, ()> {
            panic!("nobody has to wait")
        }
    }

    fn queue(name: &str, kind: QueueKind) -> QueueName {
        QueueName { namespace: NamespaceId(Uuid([9; 16])), name: name.into(), kind, sticky: false, version: None }
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        for queue in [queue("q", QueueKind::Workflow), queue("", QueueKind::Activity), queue("ü/x", QueueKind::Activity)] {
            assert_eq!(parse_config_key(&config_key(&queue)), Some(queue));
        }
        assert_eq!(parse_config_key(CLUSTER_ID), None);
        assert_eq!(parse_config_key(&[CONFIG; 17]), None);
    }

    #[test]
    fn the_id_and_the_settings_outlive_the_process() {
        let all = async {
            let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
            let open = |seed| {
                let with: (&dyn Clock, Arc<dyn Spawner>) = (&Never, Arc::new(AtOnce));
                Meta::open(Arc::new(Once::new()), store.clone(), with, SeededIds::new(seed, 0), [1; 32])
            };
            let meta = open(1).await.unwrap();
            let q = queue("q", QueueKind::Activity);
            assert!(meta.config(&q).is_none());
            let told = Arc::new(std::sync::Mutex::new(0));
            for n in 1..=2_u8 {
                let told = told.clone();
                let change = |config: &mut TaskQueueConfig| {
                    config.fairness_weight_overrides.insert(format!("{n}"), f32::from(n));
                    Ok(())
                };
                let config = meta
                    .update_config(q.clone(), change, move |config| *told.lock().unwrap() = config.fairness_weight_overrides.len())
                    .await;
                assert_eq!(config.unwrap().fairness_weight_overrides.len(), usize::from(n));
            }
            assert_eq!(*told.lock().unwrap(), 2);
            let again = open(2).await.unwrap();
            assert_eq!(again.cluster_id(), meta.cluster_id());
            assert_eq!(again.config(&q), meta.config(&q));
            assert_eq!(again.configs().len(), 1);
            // The first has lost the right to write, takes it back, and sees what there is.
            assert!(meta.update_config(q.clone(), |_| Ok(()), |_| {}).await.is_ok());
        };
        all.now_or_never().expect("the memory store never waits");
    }
}

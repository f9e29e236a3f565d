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
    IdSource, NamespaceId, Refusal,
    ids::Uuid,
    transition::{QueueKind, QueueName},
};
use sempre_store::{CommitBatch, CommitError, Fence, Store, StoreError, Table};
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use crate::{Spawner, ids::SeededIds, nexus::signature::Signer};

/// The number under which these records are committed; far from those of shards, and not that of namespaces.
pub(crate) const OWNER: u32 = u32::MAX - 1;
const CLUSTER_ID: &[u8] = b"cluster-id";
const TOKEN_KEY: &[u8] = b"token-key";
const CONFIG: u8 = b'q';
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

type Configs = BTreeMap<QueueName, Arc<TaskQueueConfig>>;

/// See the module.
pub(crate) struct Meta {
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
    /// A commit has not been acknowledged: memory may lack what the store has.
    doubt: bool,
}

async fn load(store: &dyn Store) -> Result<Configs, StoreError> {
    let mut configs = Configs::new();
    for (key, row) in store.scan(Table::Meta, &[CONFIG], &[CONFIG + 1], usize::MAX).await? {
        match (parse_config_key(&key), ConfigRecord::decode(row)) {
            (Some(queue), Ok(record)) => drop(configs.insert(queue, Arc::new(record.config.unwrap_or_default()))),
            _ => tracing::error!(key = ?key, "the settings of a task queue are damaged"),
        }
    }
    Ok(configs)
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
    store: &dyn Store,
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
        settle(store, configs, writer).await?;
        let configs = configs.read().unwrap_or_else(PoisonError::into_inner);
        return configs.get(&queue).filter(|known| ***known == config).cloned().ok_or_else(failed);
    }
    let config = Arc::new(config);
    configs.write().unwrap_or_else(PoisonError::into_inner).insert(queue, config.clone());
    writer.doubt = false;
    Ok(config)
}

fn failed() -> Refusal {
    Refusal::Unavailable("the settings of the task queue could not be written".into())
}

/// After a commit in doubt: begins a new epoch and reads what the store has.
async fn settle(store: &dyn Store, configs: &RwLock<Configs>, writer: &mut Writer) -> Result<(), Refusal> {
    if !writer.doubt {
        return Ok(());
    }
    let reload = async {
        let epoch = store.acquire(OWNER).await?;
        Ok::<_, StoreError>((epoch, load(store).await?))
    };
    let (epoch, loaded) = reload.await.map_err(|error| {
        tracing::warn!(%error, "the settings of task queues could not be read again");
        failed()
    })?;
    *configs.write().unwrap_or_else(PoisonError::into_inner) = loaded;
    *writer = Writer { fence: Fence { shard: OWNER, epoch }, doubt: false };
    Ok(())
}

impl Meta {
    /// Reads the records; gives new data an id out of `ids`, and this key, which is random, to sign callback tokens with.
    pub(crate) async fn open(
        store: Arc<dyn Store>,
        spawner: Arc<dyn Spawner>,
        mut ids: SeededIds,
        new_key: [u8; 32],
    ) -> Result<Self, StoreError> {
        let fence = Fence { shard: OWNER, epoch: store.acquire(OWNER).await? };
        let cluster_id = cluster_id(&*store, fence, &mut ids).await?;
        let signer = signer(&*store, fence, new_key).await?;
        let configs = Arc::new(RwLock::new(load(&*store).await?));
        Ok(Self { store, spawner, cluster_id, signer, configs, writer: Arc::new(Mutex::new(Writer { fence, doubt: false })) })
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

    /// Forgets the settings of a namespace's queues; gives those that had any.
    pub(crate) async fn remove_configs(&self, namespace: NamespaceId) -> Result<Vec<QueueName>, Refusal> {
        let mut writer: OwnedMutexGuard<Writer> = self.writer.clone().lock_owned().await;
        settle(&*self.store, &self.configs, &mut writer).await?;
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
        let mut writer: OwnedMutexGuard<Writer> = self.writer.clone().lock_owned().await;
        settle(&*self.store, &self.configs, &mut writer).await?;
        let known = self.config(&queue);
        if known.is_none() && self.configs.read().unwrap_or_else(PoisonError::into_inner).len() >= CONFIGS_MAX {
            let message = format!("more than {CONFIGS_MAX} task queues with settings");
            return Err(Refusal::ResourceExhausted { cause: ResourceExhaustedCause::PersistenceStorageLimit, message });
        }
        let mut config = known.as_deref().cloned().unwrap_or_default();
        change(&mut config)?;
        // Goes on when the caller leaves: between the commit and its effect nothing may stop.
        let (sender, receiver) = oneshot::channel();
        let (store, configs) = (self.store.clone(), self.configs.clone());
        let task = async move {
            let result = write(&*store, &configs, &mut writer, queue, config).await;
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
            let open = |seed| Meta::open(store.clone(), Arc::new(AtOnce), SeededIds::new(seed, 0), [1; 32]);
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

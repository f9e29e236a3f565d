//! Opens, holds and closes an engine.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::{
    IdSource, SlotId, Span, Timestamp,
    ids::{SLOT_COUNT, Uuid},
    keys,
};
use sempre_store::{Fence, Store, StoreError, Table};
use tokio::sync::{Notify, Semaphore, mpsc, watch};

use crate::{
    AlertSender, CallbackSender, Clock, Lease, Peers, Settings, Spawner, Stats, VirtualTime,
    alerts::{self, Alerts},
    batch::Batches,
    callbacks::NoSender,
    calls::{access::ApiKeys, queue_config::settings_of},
    cron::Cron,
    deployments,
    flow::{self, Flow},
    gate,
    homes::Homes,
    ids::SeededIds,
    listing::{self, Listing},
    matching::{Matching, queries::Queries},
    meta::Meta,
    namespaces::Namespaces,
    nexus::{self, OperationSender, breaker::Breakers, calls::NexusCalls},
    notices::{self, Notices},
    once::Once,
    rebuild::Rebuild,
    records::{self, Records},
    recovery::{self, Owed},
    removal,
    schedules::{self, Schedules},
    shard::{
        keeper::{self, Begin},
        listing::Listed,
        message::Message,
        runner::Runner,
    },
    shards::Shards,
    shared::Shared,
    usage,
    visibility::{Index, IndexError, memory::MemoryIndex},
    watched::Watched,
    workers::Workers,
};

/// Streams of ids, by consumer; shards have their own (see the runner).
const POLL_STREAM: u64 = 1;
const NAMESPACE_STREAM: u64 = 2;
const PROCESS_STREAM: u64 = 3;
const QUERY_STREAM: u64 = 4;
const META_STREAM: u64 = 5;
const SCHEDULE_STREAM: u64 = 6;
const NEXUS_STREAM: u64 = 60;
/// Resets that may be under way; more wait.
const RESETS_AT_ONCE: usize = 8;

/// A running engine. Clones are the same engine; it stops when [`Engine::shutdown`] is called or the last clone is dropped.
#[derive(Clone)]
pub struct Engine {
    pub(crate) shared: Arc<Shared>,
    owner: Arc<Owner>,
}

/// What only the facade has; its end is the end of the engine.
struct Owner {
    shared: Arc<Shared>,
    polls: std::sync::Mutex<SeededIds>,
    namespaces: std::sync::Mutex<SeededIds>,
    schedules: std::sync::Mutex<SeededIds>,
    /// Tells this process's query tokens from those of others.
    process: u64,
    /// Ends of the shard runners.
    ended: tokio::sync::Mutex<Vec<watch::Receiver<bool>>>,
}

/// An engine that is not kept alive, for its own tasks.
#[derive(Clone)]
pub(crate) struct WeakEngine {
    pub(crate) shared: Arc<Shared>,
    owner: Weak<Owner>,
}

impl WeakEngine {
    /// The engine, unless it is gone.
    pub(crate) fn get(&self) -> Option<Engine> {
        Some(Engine { shared: self.shared.clone(), owner: self.owner.upgrade()? })
    }
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index of runs refused.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The settings contradict each other.
    #[error("the engine cannot be opened with these settings: {0}")]
    Settings(&'static str),
}

/// Opens the index of runs for the data that this id names.
pub type OpenIndex = Box<dyn FnOnce(Uuid) -> BoxFuture<'static, Result<Arc<dyn Index>, IndexError>> + Send>;

/// Parts of an engine that are given by hand.
pub struct Components {
    /// Sends completion callbacks.
    pub callbacks: Arc<dyn CallbackSender>,
    /// Sends alerts.
    pub alerts: Arc<dyn AlertSender>,
    /// Asks Nexus endpoints at URLs.
    pub operations: Arc<dyn OperationSender>,
    /// Opens the index that lists and counts are answered from.
    pub index: OpenIndex,
    /// All shards are taken up while the engine opens; otherwise none is, and [`Engine::take_up`] takes them one by one.
    pub takes_shards: bool,
    /// Of a node among several: until when it may answer without a commit. `None`: nobody else has the store.
    pub lease: Option<Arc<dyn Lease>>,
    /// Of a node among several: the way to the engines of the others. `None`: what is for a shard elsewhere waits until it is here.
    pub peers: Option<Arc<dyn Peers>>,
    /// Random bytes: what callback tokens of new data are signed with. Data that has a key keeps it.
    pub token_key: [u8; 32],
}

/// Callbacks are not sent; the index is in memory; all shards are taken up; the key of callback tokens is known to everybody, as
/// tests want it.
impl Default for Components {
    fn default() -> Self {
        Self {
            callbacks: Arc::new(NoSender),
            alerts: Arc::new(alerts::sender::NoSender),
            operations: Arc::new(nexus::NoSender),
            index: Box::new(|_| futures::future::ready(Ok(Arc::new(MemoryIndex::new()) as Arc<dyn Index>)).boxed()),
            takes_shards: true,
            lease: None,
            peers: None,
            token_key: [0; 32],
        }
    }
}

impl Engine {
    /// Takes ownership of the store's shards, unless told otherwise, and serves. Reading what the last process left goes on beside.
    ///
    /// `seed` must differ from process to process, except in simulations.
    pub async fn open(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
        seed: u64,
        settings: Settings,
    ) -> Result<Engine, OpenError> {
        Self::open_with(store, clock, spawner, seed, settings, Components::default()).await
    }

    /// As [`Engine::open`], with parts given by hand.
    pub async fn open_with(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        spawner: Arc<dyn Spawner>,
        seed: u64,
        mut settings: Settings,
        components: Components,
    ) -> Result<Engine, OpenError> {
        if settings.shards == 0 || settings.shards > u32::from(SLOT_COUNT) {
            return Err(OpenError::Settings("there must be 1 to 1024 shards"));
        }
        if settings.inbox_max == 0 || settings.batch_inputs_max == 0 || settings.commits_in_flight_max == 0 {
            return Err(OpenError::Settings("inbox, batch and commits in flight must not be zero"));
        }
        let virtual_time = clock.virtual_time();
        let wall = virtual_time.as_ref().map_or_else(|| clock.clone(), VirtualTime::wall);
        if virtual_time.is_some() && !is_empty(&*store).await? {
            // What the runs in it have in hand is not known, and its times may be of another clock.
            return Err(OpenError::Settings("time can only be skipped over an empty store"));
        }
        if virtual_time.is_some() {
            // Time must not be skipped only to tell that somebody waits.
            settings.limits.waits_told_after = Span::ZERO;
            settings.of_namespaces.values_mut().for_each(|own| own.limits.waits_told_after = Span::ZERO);
        }
        let watched = Watched::new(store);
        let store: Arc<dyn Store> = watched.clone();
        let stats: Arc<Stats> = Arc::default();
        let once = Arc::new(Once::new());
        let namespaces = Namespaces::open(once.clone(), store.clone(), spawner.clone()).await?.with_names_of(settings.limits.id_length_max);
        let ids = SeededIds::new(seed, META_STREAM);
        let meta = Meta::open(once.clone(), store.clone(), (&*wall, spawner.clone()), ids, components.token_key).await?;
        let endpoints = Records::open(records::NEXUS_ENDPOINTS, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?;
        let deployments = Records::open(records::DEPLOYMENTS, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?;
        let flow_rules = Records::open(records::FLOW_RULES, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?;
        let api_keys = ApiKeys::new(Records::open(records::API_KEYS, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?);
        let batches = Batches::new(Records::open(records::BATCH_JOBS, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?);
        let alert_rules = Records::open(records::ALERT_RULES, once.clone(), store.clone(), wall.clone(), spawner.clone()).await?;
        let (shards, inboxes) = Shards::new(settings.shards, settings.inbox_max);
        let all = components.takes_shards;
        let (schedules, schedule_inbox) = Schedules::new(virtual_time.clone());
        let process = Self::process_of(seed);
        let index = (components.index)(Uuid::parse(meta.cluster_id()).unwrap_or_default()).await?;
        match components.lease {
            Some(_) => drop(once.acquire(&*store, listing::OWNER).await?),
            None => once.come(listing::OWNER),
        }
        let others = components.lease.clone().map(|lease| (store.clone(), lease));
        let listing = Listing::new(index, others, wall.clone(), &*spawner, &shards);
        // Of shards that are taken up later each reads its own.
        let listed = if all { listing.open(&*store).await? } else { Vec::new() };
        let makes_whole = once.has(listing::OWNER);
        if makes_whole && listing.visibility.needs_rebuild().is_some() && is_empty(&*store).await? {
            // There is nothing to read.
            listing.visibility.begin_rebuild().await?;
            listing.visibility.flush().await;
            listing.visibility.finish_rebuild().await?;
        }
        let flow = Flow::new(virtual_time.clone());
        let notices = Notices::open(&*store, settings.notices_kept).await?;
        let homes = components.peers.is_some().then(|| Homes::new(shards.here.clone()));
        let window_max = settings.queue_window_max;
        let shared = Arc::new(Shared {
            matching: Matching::new(wall.clone(), spawner.clone(), stats.clone(), shards.here.clone(), homes.clone(), window_max),
            homes,
            queries: Queries::new(SeededIds::new(seed, QUERY_STREAM)),
            cron: Cron,
            once,
            lease: components.lease,
            peers: components.peers,
            resets: Semaphore::new(RESETS_AT_ONCE),
            removal: Notify::new(),
            checks: Arc::new(Semaphore::new(gate::CHECKS_AT_ONCE)),
            backup: Arc::new(Semaphore::new(1)),
            shards,
            stopping: AtomicBool::new(false),
            fatal: watch::Sender::new(None),
            store,
            clock,
            wall,
            virtual_time,
            spawner,
            settings,
            seed,
            process,
            stats,
            namespaces,
            meta,
            endpoints,
            deployments,
            api_keys,
            batches,
            flow_rules,
            flow,
            notices,
            alerts: Alerts::new(alert_rules),
            alert_sender: components.alerts,
            workers: Workers::default(),
            callbacks: components.callbacks,
            operations: components.operations,
            breakers: Breakers::default(),
            callback_breakers: Breakers::default(),
            nexus_calls: NexusCalls::new(SeededIds::new(seed, NEXUS_STREAM)),
            listing,
            schedules,
        });
        watched.tell(&shared);
        if let Some(homes) = &shared.homes {
            homes.attach(&shared);
        }
        if shared.lease.is_none() {
            // Nobody else tells of them; they acquire it themselves.
            shared.once.come(alerts::runner::OWNER);
        }
        deployments::begin(&shared);
        flow::begin(&shared);
        alerts::begin(&shared);
        for (queue, config) in shared.meta.configs() {
            shared.matching.set_up(&queue, settings_of(&config));
        }
        let keepers = if all {
            take_all(&shared, inboxes, listed).await?
        } else {
            match usage::rows::sum(&*shared.store).await? {
                usage::rows::Sum::Of(_) => {}
                usage::rows::Sum::None if is_empty(&*shared.store).await? => {}
                usage::rows::Sum::None => return Err(OpenError::Settings("data of an older version is opened with all its shards first")),
                usage::rows::Sum::Unreadable(_) => {
                    return Err(OpenError::Settings("data whose numbers of open runs cannot be read is opened with all its shards first"));
                }
            }
            inboxes.into_iter().map(Begin::Absent).collect()
        };
        let mut ended = Vec::new();
        for (shard, begin) in keepers.into_iter().enumerate() {
            let (end, wait) = watch::channel(false);
            ended.push(wait);
            let failed = shared.clone();
            let keep = keeper::keep(shared.clone(), shard as u32, begin);
            let run = async move {
                // A shard that is gone would refuse for ever: better that the process ends and is started again.
                if AssertUnwindSafe(keep).catch_unwind().await.is_err() {
                    failed.fail(format!("shard {shard} has stopped by a panic"));
                }
                let _ = end.send(true);
            };
            shared.spawner.spawn("sempre shard", run.boxed());
        }
        let epoch = shared.once.acquire(&*shared.store, schedules::OWNER).await?;
        let keep = schedules::keeper::keep(shared.clone(), epoch, schedule_inbox);
        let (end, wait) = watch::channel(false);
        ended.push(wait);
        let failed = shared.clone();
        let run = async move {
            if AssertUnwindSafe(keep).catch_unwind().await.is_err() {
                failed.fail("schedules have stopped by a panic".into());
            }
            let _ = end.send(true);
        };
        shared.spawner.spawn("sempre schedules", run.boxed());
        let slots = if all { vec![(0, SLOT_COUNT)] } else { Vec::new() };
        shared.spawner.spawn("sempre recovery", recovery::read(shared.clone(), slots.clone(), Owed::All).boxed());
        shared.spawner.spawn("sempre flow rules", flow::runner::run(shared.clone()).boxed());
        shared.spawner.spawn("sempre recovery of flow rules", flow::load::read(shared.clone(), slots).boxed());
        shared.spawner.spawn("sempre keeper of notices", notices::keeper::run(shared.clone()).boxed());
        shared.spawner.spawn("sempre removal of namespaces", removal::run(shared.clone()).boxed());
        shared.spawner.spawn("sempre watch of the index", Rebuild::watch(Arc::downgrade(&shared)).boxed());
        if let Some(failed) = shared.store.until_failed() {
            let watched = Arc::downgrade(&shared);
            let watch = async move {
                let reason = failed.await;
                if let Some(shared) = watched.upgrade() {
                    shared.fail(format!("the store has failed: {reason}"));
                }
            };
            shared.spawner.spawn("sempre watch of the store", watch.boxed());
        }
        if let Some(reason) = shared.listing.visibility.needs_rebuild().filter(|_| makes_whole) {
            tracing::warn!(reason, "the index of runs cannot be used as it is and is made anew; lists wait until it is whole");
            Rebuild::start(&shared, &reason);
        }
        let owner = Owner {
            polls: std::sync::Mutex::new(SeededIds::new(seed, POLL_STREAM)),
            namespaces: std::sync::Mutex::new(SeededIds::new(seed, NAMESPACE_STREAM)),
            schedules: std::sync::Mutex::new(SeededIds::new(seed, SCHEDULE_STREAM)),
            process,
            ended: tokio::sync::Mutex::new(ended),
            shared: shared.clone(),
        };
        let engine = Engine { shared, owner: Arc::new(owner) };
        let runner = alerts::runner::run(engine.shared.clone(), engine.downgrade());
        engine.shared.spawner.spawn("sempre alerts", runner.boxed());
        engine.resume_batches();
        Ok(engine)
    }

    /// Takes no new calls, answers open polls empty, finishes what is in flight, closes the store.
    pub async fn shutdown(&self) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::Release);
        shared.removal.notify_one();
        shared.batches.wake_all();
        shared.flow.wake();
        shared.notices.wake();
        shared.alerts.changed.notify_one();
        shared.matching.close();
        if let Some(homes) = &shared.homes {
            homes.leave();
        }
        shared.schedules.stop().await;
        for inbox in shared.shards.inboxes() {
            // A closed inbox belongs to a shard that has ended.
            let _ = inbox.send(Message::Stop).await;
        }
        for ended in self.owner.ended.lock().await.iter_mut() {
            let _ = ended.wait_for(|ended| *ended).await;
        }
        // Only now: that there was no answer must not be committed as one.
        shared.nexus_calls.close();
        shared.listing.visibility.close().await;
        if let Err(error) = shared.store.close().await {
            tracing::error!(%error, "the store could not be closed");
        }
    }

    /// Resolves with the reason when the engine cannot go on; the process should exit.
    pub async fn fatal(&self) -> String {
        let mut fatal = self.shared.fatal.subscribe();
        let reason = fatal.wait_for(Option::is_some).await.ok().and_then(|reason| reason.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Names the data, for as long as it exists.
    pub fn cluster_id(&self) -> &str {
        self.shared.meta.cluster_id()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }

    /// The engine's time.
    pub fn now(&self) -> Timestamp {
        self.shared.now()
    }

    /// Time as callers feel it, by which their deadlines are counted: the same, unless time is skipped.
    pub fn wall_now(&self) -> Timestamp {
        self.shared.wall_now()
    }

    /// The engine's clock, if it is virtual.
    pub fn virtual_time(&self) -> Option<&VirtualTime> {
        self.shared.virtual_time.as_ref()
    }

    /// The store's own numbers.
    pub fn store_stats(&self) -> sempre_store::StoreStats {
        self.shared.store.stats()
    }

    /// The shard of a slot, for logs.
    pub fn shard_of(&self, slot: SlotId) -> usize {
        self.shared.shard_of(slot)
    }

    pub(crate) fn poll_id(&self) -> String {
        self.owner.polls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).uuid()
    }

    pub(crate) fn namespace_id(&self) -> sempre_core::ids::Uuid {
        let mut ids = self.owner.namespaces.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sempre_core::ids::Uuid::parse(&ids.uuid()).unwrap_or_default()
    }

    /// With the ids of schedules.
    pub(crate) fn with_schedule_ids<T>(&self, use_ids: impl FnOnce(&mut SeededIds) -> T) -> T {
        use_ids(&mut self.owner.schedules.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    pub(crate) fn downgrade(&self) -> WeakEngine {
        WeakEngine { shared: self.shared.clone(), owner: Arc::downgrade(&self.owner) }
    }

    /// The number by which tokens of queries and of Nexus tasks tell this process from others.
    pub fn process(&self) -> u64 {
        self.owner.process
    }

    /// That number of an engine that is opened with this seed.
    #[must_use]
    pub fn process_of(seed: u64) -> u64 {
        SeededIds::new(seed, PROCESS_STREAM).next_u64()
    }
}

/// Acquires all shards, and reads what each has to know before anything else.
async fn take_all(shared: &Arc<Shared>, inboxes: Vec<mpsc::Receiver<Message>>, listed: Vec<Listed>) -> Result<Vec<Begin>, StoreError> {
    let mut fences = Vec::new();
    for shard in 0..shared.settings.shards {
        fences.push(Fence { shard, epoch: shared.store.acquire(shard).await? });
    }
    usage::rows::open(&*shared.store, &fences).await?;
    let mut keepers = Vec::new();
    for ((fence, inbox), listed) in fences.iter().zip(inboxes).zip(listed) {
        let mut runner = Runner::new(shared.clone(), fence.shard, fence.epoch, inbox, listed);
        runner.reread_usage().await?;
        keepers.push(Begin::Here(Box::new(runner)));
    }
    fences.into_iter().for_each(|fence| shared.shards.here.come(fence));
    Ok(keepers)
}

/// There are no runs.
async fn is_empty(store: &dyn Store) -> Result<bool, StoreError> {
    Ok(store.scan(Table::State, &keys::slot(0), &keys::slot(SLOT_COUNT), 1).await?.is_empty())
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.removal.notify_one();
        self.shared.batches.wake_all();
        self.shared.flow.wake();
        self.shared.notices.wake();
        self.shared.alerts.changed.notify_one();
        self.shared.matching.close();
        self.shared.schedules.try_stop();
        for inbox in self.shared.shards.inboxes() {
            // A full inbox: the shard ends with the runtime.
            let _ = inbox.try_send(Message::Stop);
        }
    }
}

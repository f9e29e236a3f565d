//! The way of a run's picture from the shards to the index of runs, and back: what the index has durably.
//!
//! [`crate::visibility::Visibility`] shows pictures; here is what the engine adds: the shards learn which of their rows
//! the index has made needless, and a rebuild never brings back a run that was deleted while it went on.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use sempre_core::{
    NamespaceId, Refusal, RunId, Span,
    ids::SLOT_COUNT,
    keys,
    visibility::{Record, format_datetime},
};
use sempre_store::{Store, StoreError};
use tokio::sync::{broadcast, mpsc};

use crate::{
    Clock, Engine, Lease, Spawner, all_rows,
    rebuild::Rebuild,
    shard::{
        listing::{self, Listed},
        message::Message,
    },
    shards::{Here, Shards},
    shared::Shared,
    visibility::{Index, IndexError, Taken, Update, Visibility},
    watchers::Watchers,
};

/// The number of the single shard whose node makes the index whole when it is not; nothing is committed under it.
pub(crate) const OWNER: u32 = u32::MAX - 70;

/// Runs that may be deleted during a rebuild; after more it begins again.
const DELETED_MAX: usize = 1_000_000;

/// Between two looks at whether a namespace's runs still wait for the index.
const LOOK_AGAIN: Span = Span::millis(250);

/// What clients are told while nothing can be done; the reason follows.
const HELD_BACK: &str = "the visibility index takes no records";

/// See the module.
pub(crate) struct Listing {
    pub(crate) visibility: Visibility,
    pub(crate) rebuild: Rebuild,
    /// By shard: what the index has since the shard last looked. At most what the shard has put.
    taken: Arc<Vec<Mutex<Vec<Taken>>>>,
    /// A rebuild reads runs: deletions are remembered.
    reading: AtomicBool,
    /// Since it began, something that waited was forgotten because its shard has left. Locked while it is.
    let_go: Mutex<bool>,
    deleted: Mutex<HashSet<RunId>>,
    pub(crate) watchers: Watchers,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Listing {
    /// Puts an index to work for that many shards. With a lease other nodes bring their runs to the same index.
    pub(crate) fn new(
        index: Arc<dyn Index>,
        others: Option<(Arc<dyn Store>, Arc<dyn Lease>)>,
        clock: Arc<dyn Clock>,
        spawner: &dyn Spawner,
        shards: &Shards,
    ) -> Self {
        let inboxes: Vec<mpsc::Sender<Message>> = shards.inboxes().to_vec();
        let taken: Arc<Vec<Mutex<Vec<Taken>>>> = Arc::new(inboxes.iter().map(|_| Mutex::default()).collect());
        let queues = taken.clone();
        let on_taken = move |all: Vec<Taken>| {
            let mut told = vec![false; inboxes.len()];
            for taken in all {
                let shard = usize::from(taken.key.workflow.slot().0) % queues.len();
                lock(&queues[shard]).push(taken);
                told[shard] = true;
            }
            for (inbox, _) in inboxes.iter().zip(told).filter(|(_, told)| *told) {
                // A full inbox: the shard commits soon, and looks.
                let _ = inbox.try_send(Message::Taken);
            }
        };
        let of_all = others.map(|(store, lease)| all_rows::of_all(store, lease));
        let visibility = Visibility::among(index, of_all, clock, spawner, Box::new(on_taken));
        Self {
            visibility,
            rebuild: Rebuild::default(),
            taken,
            reading: AtomicBool::new(false),
            let_go: Mutex::default(),
            deleted: Mutex::default(),
            watchers: Watchers::new(),
        }
    }

    /// Reads the rows that an earlier process has left, shows them, and says which shard has which.
    pub(crate) async fn open(&self, store: &dyn Store) -> Result<Vec<Listed>, StoreError> {
        let mut listed: Vec<Listed> = self.taken.iter().map(|_| Listed::new()).collect();
        let (mut from, to) = (keys::slot(0), keys::slot(SLOT_COUNT));
        while let Some(rows) = listing::page(store, &mut from, &to).await? {
            self.visibility.room().await;
            for (slot, update) in &rows {
                listed[usize::from(slot.0) % self.taken.len()].insert(update.key.run, update.version);
            }
            self.visibility.put(rows.into_iter().map(|(_, update)| update).collect());
        }
        Ok(listed)
    }

    /// Lists show this from now on. The commit that it is from is durable.
    pub(crate) fn show(&self, updates: Vec<Update>) {
        if updates.is_empty() {
            return;
        }
        self.watchers.tell(updates.iter().filter_map(|update| update.record.as_ref()));
        if !self.reading.load(Ordering::SeqCst) {
            return self.visibility.put(updates);
        }
        let mut deleted = lock(&self.deleted);
        deleted.extend(updates.iter().filter(|update| update.record.is_none()).map(|update| update.key.run));
        self.visibility.put(updates);
    }

    /// Why no change of a run is taken.
    pub(crate) fn held_back(&self) -> Refusal {
        let why = self
            .visibility
            .failure()
            .map_or_else(String::new, |failure| format!(" since {} ({})", format_datetime(failure.since), failure.error));
        Refusal::Unavailable(format!("{HELD_BACK}{why}; work goes on when it does, `sempre visibility status` tells more"))
    }

    /// What the index has taken of a shard's runs since the last call.
    pub(crate) fn taken(&self, shard: usize) -> Vec<Taken> {
        std::mem::take(&mut *lock(&self.taken[shard]))
    }

    /// From now on deletions are remembered: what is read of the store from here on is held against them.
    pub(crate) fn begin_reading(&self) {
        lock(&self.deleted).clear();
        *lock(&self.let_go) = false;
        self.reading.store(true, Ordering::SeqCst);
    }

    /// A shard has left: forgets what waits of its runs, and what the index has taken of them. What was not taken is in the
    /// shard's rows, which whoever has it next shows.
    pub(crate) fn let_go(&self, here: &Here, shard: u32) {
        let mut let_go = lock(&self.let_go);
        *let_go |= self.visibility.let_go(|run| here.shard_of(run.workflow.slot()) == shard as usize);
        lock(&self.taken[shard as usize]).clear();
    }

    /// What waited was forgotten since [`Listing::begin_reading`]: what was read of the store may be among it.
    pub(crate) fn has_let_go(&self) -> bool {
        *lock(&self.let_go)
    }

    /// Shows what was read of the store, except runs that were deleted since. False: too many were.
    pub(crate) fn show_read(&self, mut updates: Vec<Update>) -> bool {
        let deleted = lock(&self.deleted);
        updates.retain(|update| !deleted.contains(&update.key.run));
        self.visibility.put(updates);
        deleted.len() <= DELETED_MAX
    }

    /// Forgets a namespace whose runs are gone. What waits of it gets to the index first: then the shards' rows go too.
    pub(crate) async fn forget(&self, shared: &Shared, namespace: NamespaceId) -> Result<(), IndexError> {
        while self.visibility.waits(namespace) {
            if shared.stopping.load(Ordering::Acquire) {
                return Err(IndexError::Closed);
            }
            shared.clock.sleep_until(shared.now() + LOOK_AGAIN).await;
        }
        self.visibility.purge(namespace).await
    }

    /// Deletions need not be remembered any more.
    pub(crate) fn end_reading(&self) {
        self.reading.store(false, Ordering::SeqCst);
        *lock(&self.deleted) = HashSet::new();
    }
}

impl Engine {
    /// Every change of a run that lists show, from now on, when it is durable. The same change may come again; the deletion of
    /// a run does not come.
    pub fn watch_runs(&self) -> broadcast::Receiver<Arc<Record>> {
        self.shared.listing.watchers.all()
    }
}

//! The homes of task queues: of several nodes, the one where a queue's tasks meet its polls (`docs/cluster.md`).
//!
//! A queue's home is the shard of [`sempre_core::transition::QueueName::home`]; whoever has that shard keeps the queue in [`Matching`],
//! with the offers of all runs, wherever these are. Who has a run writes the row of an offer as ever, and then says so at the home.
//!
//! | an offer | is told to its home | until |
//! |---|---|---|
//! | that has become durable, or is in memory only | at once, many in one message | the home has said that it has it |
//! | found in the store, when its run's shard is taken up or begins again | as well | as well |
//! | of a run whose shard has gone | no more | whoever has the shard tells it |
//! | of a sticky queue whose worker is not there | by the sticky queue's home, to that of the normal queue | as well, for [`RELAY_MAX`]: the run itself moves it on, too |
//!
//! | a home | |
//! |---|---|
//! | is taken up | the rows of its queues are read, of all runs ([`load`]): what it is told from then on comes beside |
//! | is given up | its queues are forgotten, their polls end |
//! | gives an offer to a poll | has the run's owner start the task ([`claim`]); an offer that is not wanted any more was out of date |
//!
//! What a home holds are hints: rows of the owners say what there is, and owners decide. A server alone has none of this.

pub(crate) mod asks;
pub(crate) mod claim;
pub(crate) mod lines;
mod load;
pub(crate) mod record;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak, atomic::Ordering},
};

use futures::FutureExt;
use sempre_core::{
    Span, Timestamp,
    transition::{OfferKey, home_of},
};
use tokio::sync::Notify;

use self::{load::Loads, record::OfferMessage};
use crate::{
    matching::{Arrival, Matching, held::Queued},
    peers::record::{Offers, Request},
    recovery::{self, Owed},
    shard::{message::Started, runner::slots},
    shards::Here,
    shared::Shared,
};

/// Offers in one message.
const BATCH_MAX: usize = 500;
/// Offers that wait to be told, for all homes together; of more only that they are there is remembered.
const WAITING_MAX: usize = 100_000;
/// First and longest pause after a home that could not be told.
const PAUSE_FIRST: Span = Span::millis(50);
const PAUSE_MAX: Span = Span::seconds(1);
/// How long an offer that was passed on from a sticky queue is tried for.
const RELAY_MAX: Span = Span::seconds(10);
/// How long the polls of a home that moves take to find it: until then it is not said that nobody polls.
const POLLS_COME_MAX: Span = Span::seconds(5);

/// See the module.
pub(crate) struct Homes {
    here: Arc<Here>,
    shared: OnceLock<Weak<Shared>>,
    to: Mutex<Waiting>,
    /// Fewer wait.
    told: Notify,
    loads: Loads,
    /// When those that are here came.
    since: Mutex<BTreeMap<u32, Timestamp>>,
    /// One has gone, or the engine stops.
    left: Notify,
}

#[derive(Default)]
struct Waiting {
    by_home: BTreeMap<u32, ToHome>,
    /// Offers in there.
    offers: usize,
    /// Of some only the row is there: all are read again when the others are told.
    left_over: bool,
}

#[derive(Default)]
struct ToHome {
    offers: BTreeMap<OfferKey, Telling>,
    gone: Vec<OfferKey>,
    is_sending: bool,
}

/// An offer that is to be told.
#[derive(Clone)]
struct Telling {
    queued: Queued,
    arrival: Arrival,
    /// Of an offer that was passed on, when that ends.
    relayed_until: Option<Timestamp>,
}

impl Homes {
    pub(crate) fn new(here: Arc<Here>) -> Arc<Self> {
        Arc::new(Self {
            here,
            shared: OnceLock::new(),
            to: Mutex::default(),
            told: Notify::new(),
            loads: Loads::default(),
            since: Mutex::default(),
            left: Notify::new(),
        })
    }

    /// From now on it can reach the others.
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        // Set once, when the engine opens.
        let _ = self.shared.set(Arc::downgrade(shared));
    }

    fn shared(&self) -> Option<Arc<Shared>> {
        self.shared.get()?.upgrade().filter(|shared| !shared.stopping.load(Ordering::Acquire))
    }

    fn to(&self) -> MutexGuard<'_, Waiting> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves while there is room for more: who reads many offers waits here, so that none of them is left over.
    pub(crate) async fn room(&self) {
        loop {
            let mut told = std::pin::pin!(self.told.notified());
            // Listens from here on: what is told between the look and the wait is noticed.
            told.as_mut().enable();
            if self.to().offers < WAITING_MAX / 2 || self.shared().is_none() {
                return;
            }
            told.await;
        }
    }

    /// The home of a queue that has this hash is here.
    pub(crate) fn is_here(&self, hash: u64) -> bool {
        self.here.has(home_of(hash))
    }

    /// Has the home of an offer told of it, if its run is here.
    pub(crate) fn tell(self: &Arc<Self>, queued: Queued, arrival: Arrival) {
        if self.here.has_workflow(&queued.offer.run.workflow) {
            self.put(queued, arrival, None);
        }
    }

    /// As [`Homes::tell`], of any run: the queue that it was told for has become another.
    pub(crate) fn relay(self: &Arc<Self>, queued: Queued, arrival: Arrival) {
        let Some(shared) = self.shared() else { return };
        let until = (!self.here.has_workflow(&queued.offer.run.workflow)).then(|| shared.wall_now() + RELAY_MAX);
        self.put(queued, arrival, until);
    }

    fn put(self: &Arc<Self>, queued: Queued, arrival: Arrival, relayed_until: Option<Timestamp>) {
        let home = self.here.shard_of(home_of(queued.offer.key.queue)) as u32;
        let mut to = self.to();
        if to.offers >= WAITING_MAX {
            to.left_over = true;
            return;
        }
        let of = to.by_home.entry(home).or_default();
        of.gone.retain(|gone| *gone != queued.row);
        let is_new = of.offers.insert(queued.row.clone(), Telling { queued, arrival, relayed_until }).is_none();
        let begins = !std::mem::replace(&mut of.is_sending, true);
        to.offers += usize::from(is_new);
        drop(to);
        if begins {
            self.begin(home);
        }
    }

    /// The offer of a row has gone. That need not come to its home: who is given it there finds out.
    pub(crate) fn withdraw(self: &Arc<Self>, row: &OfferKey) {
        let home = self.here.shard_of(home_of(row.queue)) as u32;
        let mut to = self.to();
        let of = to.by_home.entry(home).or_default();
        let was_waiting = of.offers.remove(row).is_some();
        if of.gone.len() < BATCH_MAX {
            of.gone.push(row.clone());
        }
        let begins = !std::mem::replace(&mut of.is_sending, true);
        to.offers -= usize::from(was_waiting);
        drop(to);
        if begins {
            self.begin(home);
        }
    }

    fn begin(self: &Arc<Self>, home: u32) {
        match self.shared() {
            Some(shared) => shared.spawner.spawn("sempre offers to another node", self.clone().send(home).boxed()),
            // Rows are read by whoever has the shards next.
            None => drop(self.to().by_home.remove(&home)),
        }
    }

    /// Tells a home until there is nothing more to tell.
    async fn send(self: Arc<Self>, home: u32) {
        let mut pause = PAUSE_FIRST;
        loop {
            let Some(shared) = self.shared() else { return drop(self.to().by_home.remove(&home)) };
            let Some((offers, gone)) = self.next_batch(&shared, home) else { return };
            if self.here.is(home as usize) {
                // It has come here.
                offers.iter().for_each(|telling| shared.matching.enqueue(telling.queued.clone(), telling.arrival));
                gone.iter().for_each(|row| shared.matching.withdraw(row));
                self.told(home, &offers);
                continue;
            }
            let message = Offers {
                offers: offers.iter().map(|telling| OfferMessage::new(&telling.queued, telling.arrival)).collect(),
                gone: gone.iter().map(record::key_bytes).collect(),
            };
            let told = match shared.away_shard(home) {
                Some(away) => away.ask(Request::Offers(message)).await.map(drop),
                None => continue,
            };
            match told {
                Ok(()) => {
                    self.told(home, &offers);
                    pause = PAUSE_FIRST;
                }
                Err(refusal) => {
                    tracing::debug!(?refusal, home, offers = offers.len(), "the home of a task queue could not be told of offers");
                    shared.wall.sleep_until(shared.wall_now() + pause).await;
                    pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
                }
            }
        }
    }

    /// What is to be told next. `None`: nothing, and nobody tells this home from now on.
    fn next_batch(&self, shared: &Arc<Shared>, home: u32) -> Option<(Vec<Telling>, Vec<OfferKey>)> {
        let now = shared.wall_now();
        let mut to = self.to();
        let of = to.by_home.get_mut(&home)?;
        let before = of.offers.len();
        of.offers.retain(|_, telling| match telling.relayed_until {
            Some(until) => now < until,
            None => self.here.has_workflow(&telling.queued.offer.run.workflow),
        });
        let dropped = before - of.offers.len();
        let offers: Vec<Telling> = of.offers.values().take(BATCH_MAX).cloned().collect();
        let gone = std::mem::take(&mut of.gone);
        to.offers -= dropped;
        self.told.notify_waiters();
        if !offers.is_empty() || !gone.is_empty() {
            return Some((offers, gone));
        }
        to.by_home.remove(&home);
        let rereads = to.offers == 0 && std::mem::take(&mut to.left_over);
        drop(to);
        if rereads {
            let shards = shared.shards.count();
            let here = (0..shards).filter(|shard| self.here.is(*shard));
            let slots = here.flat_map(|shard| slots(shard as u32, shards)).map(|slot| (slot, slot + 1)).collect();
            shared.spawner.spawn("sempre recovery of offers", recovery::read(shared.clone(), slots, Owed::Offers).boxed());
        }
        None
    }

    /// The home has these. One that was offered anew meanwhile is still to be told.
    fn told(&self, home: u32, offers: &[Telling]) {
        let mut to = self.to();
        let Some(of) = to.by_home.get_mut(&home) else { return };
        let mut gone = 0;
        for telling in offers {
            let row = &telling.queued.row;
            if of.offers.get(row).is_some_and(|known| known.queued.offer.stamp == telling.queued.offer.stamp) {
                gone += usize::from(of.offers.remove(row).is_some());
            }
        }
        to.offers -= gone;
        self.told.notify_waiters();
    }

    /// A home has come: what is in the store of its queues is read.
    pub(crate) fn come(self: &Arc<Self>, home: u32) {
        if let Some(shared) = self.shared() {
            self.since.lock().unwrap_or_else(PoisonError::into_inner).insert(home, shared.wall_now());
            load::begin(self, &shared, home);
        }
    }

    /// A home has gone, or the engine stops: what waits for that looks.
    pub(crate) fn leave(&self) {
        self.left.notify_waiters();
    }

    /// Until when polls of a queue that has this hash may be on their way to its home, which has come here.
    fn expects_polls_until(&self, hash: u64) -> Timestamp {
        let home = self.here.shard_of(home_of(hash)) as u32;
        let since = self.since.lock().unwrap_or_else(PoisonError::into_inner).get(&home).copied();
        since.map_or(Timestamp(0), |since| since + POLLS_COME_MAX)
    }

    /// Resolves when the home of a queue that has this hash is not here, or the engine stops.
    async fn until_gone(&self, hash: u64) {
        loop {
            let mut left = std::pin::pin!(self.left.notified());
            // Listens from here on: what goes between the look and the wait is noticed.
            left.as_mut().enable();
            if !self.is_here(hash) || self.shared().is_none() {
                return;
            }
            left.await;
        }
    }
}

/// Another node tells of offers: this is the home of their queues.
pub(crate) fn take(matching: &Arc<Matching<Started>>, offers: Offers) -> Option<()> {
    let gone: Vec<OfferKey> = offers.gone.iter().map(|row| record::key_of(row)).collect::<Option<_>>()?;
    let told: Vec<(Queued, Arrival)> = offers.offers.into_iter().map(OfferMessage::queued).collect::<Option<_>>()?;
    // What has gone was told before what is there by now, maybe under the same key.
    gone.iter().for_each(|row| matching.withdraw(row));
    for (queued, arrival) in told {
        matching.take_told(queued, arrival);
    }
    Some(())
}

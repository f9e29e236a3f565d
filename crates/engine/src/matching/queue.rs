//! One task queue: a bounded window of its line of offers, and the line of pollers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use sempre_core::{
    RunId, Span, Timestamp,
    input::Poller,
    transition::{OfferKey, QueueName},
};
use tokio::sync::oneshot;

use super::{Handed, held::Queued, queries::QueryTask};

/// Pollers remembered per queue; the longest unseen is forgotten first.
const POLLERS_MAX: usize = 1000;
/// How long a poller is shown after its last poll.
const POLLER_SHOWN: Span = Span::seconds(300);

/// An offer's place in the line: priority, then age. Independent of the queue, so that an offer keeps its place
/// when it moves from a sticky to a normal queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) priority: u8,
    pub(crate) time: Timestamp,
    pub(crate) run: RunId,
    pub(crate) scheduled_event_id: i64,
}

impl Place {
    pub(crate) fn of(key: &OfferKey) -> Self {
        Self { priority: key.priority, time: key.time, run: key.run, scheduled_event_id: key.scheduled_event_id }
    }
}

/// One waiting poll.
#[derive(Debug)]
pub(crate) struct Waiter<S: Send + 'static> {
    pub(crate) id: u64,
    pub(crate) poller: Poller,
    pub(crate) sender: oneshot::Sender<Handed<S>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<S: Send + 'static> {
    pub(crate) name: Arc<QueueName>,
    pub(crate) offers: BTreeMap<Place, Queued>,
    /// Set when the store holds offers that are not in memory: all of them come after this place.
    pub(crate) loaded_to: Option<Place>,
    /// A page is being read.
    pub(crate) paging: bool,
    /// Offers behind the window that came while a page was read: the read may have missed them.
    pub(crate) late: Vec<Queued>,
    pub(crate) waiters: VecDeque<Waiter<S>>,
    pub(crate) queries: VecDeque<QueryTask>,
    pub(crate) pollers: BTreeMap<String, Timestamp>,
    pub(crate) last_poll: Option<Timestamp>,
    pub(crate) used: Timestamp,
}

impl<S: Send + 'static> Queue<S> {
    fn new(name: QueueName, now: Timestamp) -> Self {
        Self {
            name: Arc::new(name),
            offers: BTreeMap::new(),
            loaded_to: None,
            paging: false,
            late: Vec::new(),
            waiters: VecDeque::new(),
            queries: VecDeque::new(),
            pollers: BTreeMap::new(),
            last_poll: None,
            used: now,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.offers.len()
    }

    /// Older offers than a new one exist, in memory or in the store.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.offers.is_empty() || self.loaded_to.is_some()
    }

    /// Adds an offer in its place. One behind the window stays in the store only; the window may push its last out.
    pub(crate) fn insert(&mut self, queued: Queued, window_max: usize) {
        let place = Place::of(&queued.row);
        if self.loaded_to.is_some_and(|to| place > to) {
            if self.paging {
                self.late.push(queued);
            }
            return;
        }
        self.offers.insert(place, queued);
        while self.offers.len() > window_max {
            self.offers.pop_last();
            self.loaded_to = self.offers.keys().next_back().copied();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        self.offers.pop_first().map(|(_, queued)| queued)
    }

    pub(crate) fn remove(&mut self, place: &Place) -> bool {
        self.offers.remove(place).is_some()
    }

    /// The longest waiting poll whose client is still there.
    pub(crate) fn next_waiter(&mut self) -> Option<Waiter<S>> {
        loop {
            let waiter = self.waiters.pop_front()?;
            if !waiter.sender.is_closed() {
                return Some(waiter);
            }
        }
    }

    pub(crate) fn drop_gone_waiters(&mut self) {
        self.waiters.retain(|w| !w.sender.is_closed());
    }

    /// Takes a poll out of the line. False when it was not in it.
    pub(crate) fn leave(&mut self, id: u64, now: Timestamp) -> bool {
        self.last_poll = self.last_poll.max(Some(now));
        self.used = now;
        let Some(at) = self.waiters.iter().position(|w| w.id == id) else { return false };
        self.waiters.remove(at);
        true
    }

    pub(crate) fn saw_poller(&mut self, identity: &str, now: Timestamp) {
        self.last_poll = Some(now);
        self.used = now;
        match self.pollers.get_mut(identity) {
            Some(seen) => *seen = now,
            None => {
                if self.pollers.len() >= POLLERS_MAX {
                    let oldest = self.pollers.iter().min_by_key(|(_, seen)| **seen).map(|(identity, _)| identity.clone());
                    oldest.and_then(|identity| self.pollers.remove(&identity));
                }
                self.pollers.insert(identity.to_owned(), now);
            }
        }
    }

    /// Counts waiting polls as seen now, and forgets pollers that are long gone.
    pub(crate) fn refresh_pollers(&mut self, now: Timestamp) {
        self.drop_gone_waiters();
        for waiter in &self.waiters {
            if let Some(seen) = self.pollers.get_mut(&waiter.poller.identity) {
                *seen = now;
            }
        }
        self.pollers.retain(|_, seen| now.since(*seen) < POLLER_SHOWN);
    }

    pub(crate) fn is_idle(&mut self, now: Timestamp, idle_max: Span) -> bool {
        self.drop_gone_waiters();
        self.queries.retain(QueryTask::is_wanted);
        !self.has_backlog() && !self.paging && self.waiters.is_empty() && self.queries.is_empty() && now.since(self.used) >= idle_max
    }
}

/// Queues by the hash of their name. Names that share a hash share nothing else: the hash is no secret and can be
/// made to collide.
#[derive(Debug)]
pub(crate) struct Queues<S: Send + 'static> {
    by_hash: HashMap<u64, Vec<Queue<S>>>,
}

impl<S: Send + 'static> Queues<S> {
    pub(crate) fn new() -> Self {
        Self { by_hash: HashMap::new() }
    }

    pub(crate) fn get(&mut self, hash: u64, name: &QueueName) -> Option<&mut Queue<S>> {
        self.with_hash(hash).find(|queue| *queue.name == *name)
    }

    /// The queue; a new one if there is none yet.
    pub(crate) fn open(&mut self, hash: u64, name: &QueueName, now: Timestamp) -> &mut Queue<S> {
        let queues = self.by_hash.entry(hash).or_default();
        let at = queues.iter().position(|queue| *queue.name == *name).unwrap_or_else(|| {
            queues.push(Queue::new(name.clone(), now));
            queues.len() - 1
        });
        &mut queues[at]
    }

    pub(crate) fn remove(&mut self, hash: u64, name: &QueueName) -> Option<Queue<S>> {
        let queues = self.by_hash.get_mut(&hash)?;
        let at = queues.iter().position(|queue| *queue.name == *name)?;
        let queue = queues.swap_remove(at);
        if queues.is_empty() {
            self.by_hash.remove(&hash);
        }
        Some(queue)
    }

    pub(crate) fn with_hash(&mut self, hash: u64) -> impl Iterator<Item = &mut Queue<S>> {
        self.by_hash.get_mut(&hash).into_iter().flatten()
    }

    pub(crate) fn all(&mut self) -> impl Iterator<Item = &mut Queue<S>> {
        self.by_hash.values_mut().flatten()
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut Queue<S>) -> bool) {
        self.by_hash.retain(|_, queues| {
            queues.retain_mut(&mut keep);
            !queues.is_empty()
        });
    }
}

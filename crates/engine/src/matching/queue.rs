//! One task queue: a bounded window of its line of offers, and the line of pollers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use sempre_core::{
    Route, RunId, Span, Timestamp,
    input::Poller,
    transition::{OfferKey, QueueName},
};
use tokio::sync::oneshot;

use super::{
    Handed,
    caller::{Caller, Instance},
    held::Queued,
    levels::Levels,
    limiter::Limiter,
    pollers::Pollers,
    queries::QueryTask,
    scaling::AdviceGate,
};
use crate::nexus::calls::NexusTask;

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
    pub(crate) instance: Option<Instance>,
    pub(crate) sender: oneshot::Sender<Handed<S>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Queue<S: Send + 'static> {
    pub(crate) name: Arc<QueueName>,
    pub(crate) offers: BTreeMap<Place, Queued>,
    /// Set when the store holds offers that are not in memory: all of them come after this place.
    pub(crate) loaded_to: Option<Place>,
    /// Offers behind the window that the store does not have (tasks in memory only). They come in when the window does; none
    /// while all offers are in memory.
    pub(crate) volatile: BTreeMap<Place, Queued>,
    /// A page is being read.
    pub(crate) paging: bool,
    /// Offers behind the window that came while a page was read: the read may have missed them.
    pub(crate) late: Vec<Queued>,
    pub(crate) waiters: VecDeque<Waiter<S>>,
    pub(crate) queries: VecDeque<QueryTask>,
    pub(crate) nexus: VecDeque<NexusTask>,
    pub(crate) pollers: Pollers,
    pub(crate) levels: Levels,
    pub(crate) limiter: Limiter,
    pub(crate) advice: AdviceGate,
    /// The one timer that counts, and when it rings: somebody may be given an offer then.
    pub(crate) alarm: Option<(u64, Timestamp)>,
    pub(crate) last_poll: Option<Timestamp>,
    pub(crate) used: Timestamp,
    /// Where its tasks go; `None`: to workers without a version. Lines have none.
    pub(crate) route: Option<Arc<Route>>,
    /// Windows that it may hold in memory (see [`super::routes`]).
    pub(crate) windows: usize,
}

impl<S: Send + 'static> Queue<S> {
    fn new(name: QueueName, now: Timestamp) -> Self {
        Self {
            name: Arc::new(name),
            offers: BTreeMap::new(),
            loaded_to: None,
            volatile: BTreeMap::new(),
            paging: false,
            late: Vec::new(),
            waiters: VecDeque::new(),
            queries: VecDeque::new(),
            nexus: VecDeque::new(),
            pollers: Pollers::default(),
            levels: Levels::default(),
            limiter: Limiter::default(),
            advice: AdviceGate::default(),
            alarm: None,
            last_poll: None,
            used: now,
            route: None,
            windows: 1,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.offers.len()
    }

    /// Older offers than a new one exist, in memory or in the store.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.offers.is_empty() || self.loaded_to.is_some()
    }

    /// Offers that wait, in memory and in the store.
    pub(crate) fn backlog(&self) -> u64 {
        self.levels.backlog()
    }

    /// Adds an offer in its place. One behind the window stays in the store only; the window may push its last out. Of those
    /// that no store has as many are kept as the window holds: one more is left to its timeout.
    pub(crate) fn insert(&mut self, queued: Queued, window_max: usize, now: Timestamp) {
        let window_max = window_max * self.windows;
        let place = Place::of(&queued.row);
        if self.loaded_to.is_some_and(|to| place > to) {
            if queued.offer.volatile {
                self.keep_volatile(place, queued, window_max, now);
                return;
            }
            self.levels.store(place.priority, place.time, now);
            if self.paging {
                self.late.push(queued);
            }
            return;
        }
        if self.offers.insert(place, queued).is_none() {
            self.levels.enter(place.priority, now);
        }
        while self.offers.len() > window_max {
            if let Some((last, queued)) = self.offers.pop_last() {
                self.levels.leave(last.priority);
                if queued.offer.volatile {
                    self.keep_volatile(last, queued, window_max, now);
                } else {
                    self.levels.store(last.priority, last.time, now);
                }
            }
            self.loaded_to = self.offers.keys().next_back().copied();
        }
    }

    fn keep_volatile(&mut self, place: Place, queued: Queued, window_max: usize, now: Timestamp) {
        if self.volatile.len() < window_max && self.volatile.insert(place, queued).is_none() {
            self.levels.store(place.priority, place.time, now);
        }
    }

    /// Takes in what was read from the store, which reaches to `read_to` (`None`: to the end).
    pub(crate) fn take_page(&mut self, page: impl Iterator<Item = Queued>, read_to: Option<Place>, window_max: usize, now: Timestamp) {
        self.loaded_to = read_to;
        let late = std::mem::take(&mut self.late);
        let behind = read_to.map(|to| self.volatile.split_off(&to)).unwrap_or_default();
        let reached = std::mem::replace(&mut self.volatile, behind);
        for queued in page.chain(late).chain(reached.into_values()) {
            let place = Place::of(&queued.row);
            if !self.offers.contains_key(&place) {
                self.levels.unstore(place.priority);
            }
            self.insert(queued, window_max, now);
        }
        if self.loaded_to.is_none() {
            self.levels.all_in_memory();
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Queued> {
        let (place, queued) = self.offers.pop_first()?;
        self.levels.leave(place.priority);
        Some(queued)
    }

    /// Forgets an offer. True when it was in memory.
    pub(crate) fn remove(&mut self, place: &Place) -> bool {
        if self.offers.remove(place).is_some() {
            self.levels.leave(place.priority);
            return true;
        }
        self.volatile.remove(place);
        if self.loaded_to.is_some_and(|to| *place > to) {
            self.levels.unstore(place.priority);
        }
        false
    }

    /// The longest waiting poll whose client is still there.
    pub(crate) fn next_waiter(&mut self, now: Timestamp) -> Option<Waiter<S>> {
        loop {
            let waiter = self.waiters.pop_front()?;
            if !waiter.sender.is_closed() {
                self.still_there(&waiter.poller.identity, now);
                return Some(waiter);
            }
        }
    }

    fn still_there(&mut self, identity: &str, now: Timestamp) {
        self.last_poll = Some(now);
        self.pollers.still_there(identity, now);
    }

    pub(crate) fn drop_gone_waiters(&mut self) {
        self.waiters.retain(|w| !w.sender.is_closed());
    }

    /// Takes a poll out of the line. False when it was not in it.
    pub(crate) fn leave(&mut self, id: u64, now: Timestamp) -> bool {
        self.used = now;
        let Some(at) = self.waiters.iter().position(|w| w.id == id) else { return false };
        if let Some(waiter) = self.waiters.remove(at) {
            self.still_there(&waiter.poller.identity, now);
        }
        true
    }

    pub(crate) fn saw_poller(&mut self, identity: &str, caller: &Caller, now: Timestamp) {
        self.last_poll = Some(now);
        self.used = now;
        self.pollers.saw(identity, caller, now);
    }

    /// Counts waiting polls as seen now, and forgets pollers that are long gone.
    pub(crate) fn refresh_pollers(&mut self, now: Timestamp) {
        self.drop_gone_waiters();
        for waiter in &self.waiters {
            self.pollers.still_there(&waiter.poller.identity, now);
        }
        self.pollers.expire(now);
    }

    pub(crate) fn is_idle(&mut self, now: Timestamp, idle_max: Span) -> bool {
        self.drop_gone_waiters();
        self.queries.retain(QueryTask::is_wanted);
        self.nexus.retain(NexusTask::is_wanted);
        !self.has_backlog()
            && !self.paging
            && self.waiters.is_empty()
            && self.queries.is_empty()
            && self.nexus.is_empty()
            && now.since(self.used) >= idle_max
    }
}

/// When the first offer of a priority was offered.
pub(crate) fn oldest(offers: &BTreeMap<Place, Queued>, priority: u8) -> Option<Timestamp> {
    let first = Place { priority, time: Timestamp(i64::MIN), run: RunId::default(), scheduled_event_id: i64::MIN };
    let (place, _) = offers.range(first..).next()?;
    (place.priority == priority).then_some(place.time)
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

    /// The queue, and whether it is a new one because there was none yet.
    pub(crate) fn open(&mut self, hash: u64, name: &QueueName, now: Timestamp) -> (&mut Queue<S>, bool) {
        let queues = self.by_hash.entry(hash).or_default();
        let known = queues.iter().position(|queue| *queue.name == *name);
        let at = known.unwrap_or_else(|| {
            queues.push(Queue::new(name.clone(), now));
            queues.len() - 1
        });
        (&mut queues[at], known.is_none())
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

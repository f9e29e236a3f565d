//! The messages a shard has to deliver, in memory: which are under way, and which wait.
//!
//! Messages go out in the order in which the sender has said them, and many at once. In one process those to one target come there in
//! that order. On the way to another node they could overtake each other, so of a node among several each waits for the one before
//! ([`Lane`]).

use std::{
    collections::{HashMap, HashSet, VecDeque, hash_map::Entry},
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use sempre_core::{RunId, RunKey, WorkflowKey, transition::OutboxEntry};

use super::delivery::{Tried, deliver, target};
use crate::shared::Shared;

/// Deliveries of one shard under way at once, not counting those that wait for their next try.
const ACTIVE_MAX: usize = 64;
/// Messages of one shard kept in memory; more are read again from the store when these are done.
const QUEUED_MAX: usize = 10_000;

type Delivered = (RunKey, u64, Option<Lane>);
type Queued = (RunKey, OutboxEntry, Tried);
/// The messages of one run to one workflow.
type Lane = (RunId, WorkflowKey);

/// The messages a shard has to deliver.
pub(crate) struct Outbox {
    queued: VecDeque<Queued>,
    /// Of a node among several: those that wait for the one before them, by lane. Each lane has one that is under way.
    lanes: HashMap<Lane, VecDeque<Queued>>,
    /// How many these are.
    held: usize,
    /// Those whose lane has become free for them.
    released: VecDeque<(Queued, Lane)>,
    /// Those that were said while others were read from the store, which were said before them.
    later: VecDeque<(RunKey, OutboxEntry)>,
    /// Queued, for now or later, or under way.
    known: HashSet<(RunId, u64)>,
    active: FuturesUnordered<BoxFuture<'static, Delivered>>,
    /// Of those, the ones that wait for their next try: they must not hold up the others.
    pausing: Arc<AtomicUsize>,
    /// Messages were left in the store because too many were queued.
    pub(crate) left_over: bool,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            queued: VecDeque::new(),
            lanes: HashMap::new(),
            held: 0,
            released: VecDeque::new(),
            later: VecDeque::new(),
            known: HashSet::new(),
            active: FuturesUnordered::new(),
            pausing: Arc::default(),
            left_over: false,
        }
    }

    /// Takes a message that has just become durable.
    pub(crate) fn push(&mut self, sender: RunKey, entry: OutboxEntry) {
        self.take(sender, entry, Tried::Never);
    }

    /// Takes a message that was found in the store.
    pub(crate) fn push_again(&mut self, sender: RunKey, entry: OutboxEntry) {
        self.take(sender, entry, Tried::Perhaps);
    }

    /// Takes a message that has just become durable, while those of before are being read: it does not overtake them.
    pub(crate) fn push_later(&mut self, sender: RunKey, entry: OutboxEntry) {
        if self.later.len() >= QUEUED_MAX || self.left_over {
            self.left_over = true;
        } else if self.known.insert((sender.run, entry.id)) {
            self.later.push_back((sender, entry));
        }
    }

    /// Those of before have been read, or as many as there was room for: then what was said later waits in the store with the others.
    pub(crate) fn all_read(&mut self) {
        let later = self.later.drain(..);
        if self.left_over {
            later.for_each(|(sender, entry)| _ = self.known.remove(&(sender.run, entry.id)));
        } else {
            self.queued.extend(later.map(|(sender, entry)| (sender, entry, Tried::Never)));
        }
    }

    fn take(&mut self, sender: RunKey, entry: OutboxEntry, tried: Tried) {
        // What was left over comes first.
        if self.len() >= QUEUED_MAX || self.left_over && tried == Tried::Never {
            self.left_over = true;
        } else if self.known.insert((sender.run, entry.id)) {
            self.queued.push_back((sender, entry, tried));
        }
    }

    /// The sender has dealt with a message: one that is still queued is not sent.
    pub(crate) fn forget(&mut self, sender: &RunKey, id: u64) {
        if !self.known.contains(&(sender.run, id)) {
            return;
        }
        let later = self.later.len();
        self.later.retain(|(s, e)| !(s.run == sender.run && e.id == id));
        if self.later.len() < later {
            self.known.remove(&(sender.run, id));
            return;
        }
        let is_it = |(s, e, _): &Queued| s.run == sender.run && e.id == id;
        let waiting = self.lanes.iter_mut().filter(|((run, _), _)| *run == sender.run).map(|(_, waiting)| waiting);
        let mut is_held = false;
        for queue in [&mut self.queued].into_iter().chain(waiting) {
            let before = queue.len();
            if queue.iter().any(is_it) {
                queue.retain(|one| !is_it(one));
                self.known.remove(&(sender.run, id));
                self.held -= if is_held { before - queue.len() } else { 0 };
                return;
            }
            is_held = true;
        }
    }

    /// It is time to read what was left in the store.
    pub(crate) fn runs_low(&self) -> bool {
        self.left_over && self.len() < QUEUED_MAX / 2
    }

    /// Those that wait for others.
    fn len(&self) -> usize {
        self.queued.len() + self.held
    }

    /// Starts as many deliveries as may be under way.
    pub(crate) fn start(&mut self, shared: &Arc<Shared>) {
        while self.active.len() < ACTIVE_MAX + self.pausing.load(Ordering::Relaxed).min(QUEUED_MAX)
            && let Some(((sender, entry, tried), lane)) = self.next_to_start(shared)
        {
            let delivery = deliver(shared.clone(), self.pausing.clone(), sender, entry, tried);
            self.active.push(delivery.map(|(sender, id)| (sender, id, lane)).boxed());
        }
    }

    /// The next one that waits for nothing.
    fn next_to_start(&mut self, shared: &Shared) -> Option<(Queued, Option<Lane>)> {
        if let Some((next, lane)) = self.released.pop_front() {
            return Some((next, Some(lane)));
        }
        loop {
            let next = self.queued.pop_front()?;
            let lane = shared.peers.as_ref().and_then(|_| target(shared, &next.0, &next.1.message)).map(|target| (next.0.run, target));
            let Some(lane) = lane else { return Some((next, None)) };
            match self.lanes.entry(lane) {
                Entry::Occupied(mut waiting) => {
                    waiting.get_mut().push_back(next);
                    self.held += 1;
                }
                Entry::Vacant(free) => {
                    let lane = free.key().clone();
                    free.insert(VecDeque::new());
                    return Some((next, Some(lane)));
                }
            }
        }
    }

    /// One of the lane has ended: the next may go.
    fn free(&mut self, lane: Lane) {
        let Entry::Occupied(mut waiting) = self.lanes.entry(lane) else { return };
        match waiting.get_mut().pop_front() {
            Some(next) => {
                self.held -= 1;
                self.released.push_back((next, waiting.key().clone()));
            }
            None => drop(waiting.remove()),
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        !self.active.is_empty()
    }

    /// Something is on its way, and does not merely wait for its next try.
    pub(crate) fn is_delivering(&self) -> bool {
        !self.queued.is_empty()
            || !self.released.is_empty()
            || !self.later.is_empty()
            || self.active.len() > self.pausing.load(Ordering::Relaxed)
    }

    /// Waits until a delivery has ended, or more may be under way, if more are to be (`begins`).
    pub(crate) async fn next(&mut self, begins: bool) {
        let ended = poll_fn(|cx| match self.active.poll_next_unpin(cx) {
            Poll::Ready(ended) => Poll::Ready(ended),
            // One that was polled just now waits for something that may take long.
            Poll::Pending if begins && self.may_start() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        if let Some((sender, id, lane)) = ended.await {
            self.known.remove(&(sender.run, id));
            lane.into_iter().for_each(|lane| self.free(lane));
        }
    }

    fn may_start(&self) -> bool {
        let waits = !self.queued.is_empty() || !self.released.is_empty();
        waits && self.active.len() < ACTIVE_MAX + self.pausing.load(Ordering::Relaxed).min(QUEUED_MAX)
    }

    /// Forgets everything; the store still has it.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::transition::OutboxMessage;

    use super::*;

    #[test]
    fn what_was_left_over_is_read_when_half_is_delivered() {
        let mut outbox = Outbox::new();
        for id in 0..=QUEUED_MAX as u64 {
            let (sender, entry) = entry(id);
            outbox.push(sender, entry);
        }
        assert!(outbox.left_over && !outbox.runs_low());
        outbox.queued.truncate(QUEUED_MAX / 2);
        assert!(!outbox.runs_low());
        outbox.queued.pop_front();
        assert!(outbox.runs_low());
    }

    fn entry(id: u64) -> (RunKey, OutboxEntry) {
        let message = OutboxMessage::ReleaseChild { workflow_id: "w".into(), run_id: String::new() };
        (RunKey { workflow: WorkflowKey::default(), run: RunId::default() }, OutboxEntry { id, message })
    }

    fn queued(outbox: &Outbox) -> Vec<(u64, Tried)> {
        outbox.queued.iter().map(|(_, entry, tried)| (entry.id, *tried)).collect()
    }

    #[test]
    fn what_is_said_while_others_are_read_comes_behind_them_and_needs_no_other_read() {
        let mut outbox = Outbox::new();
        let [said, again, dealt_with] = [entry(2), entry(3), entry(4)];
        outbox.push_later(said.0, said.1);
        outbox.push_later(again.0.clone(), again.1.clone());
        outbox.push_later(dealt_with.0.clone(), dealt_with.1);
        // The read finds one of before, and one that was said meanwhile.
        let before = entry(1);
        outbox.push_again(before.0, before.1);
        outbox.push_again(again.0, again.1);
        outbox.forget(&dealt_with.0, 4);
        assert_eq!(queued(&outbox), [(1, Tried::Perhaps)]);
        assert!(outbox.is_delivering());
        outbox.all_read();
        assert_eq!(queued(&outbox), [(1, Tried::Perhaps), (2, Tried::Never), (3, Tried::Never)]);
        assert!(!outbox.left_over, "all of them are there");
        assert_eq!(outbox.known.len(), 3);
    }

    #[test]
    fn what_is_said_beyond_the_bound_while_others_are_read_is_read_in_its_turn() {
        let mut outbox = Outbox::new();
        for id in 0..=QUEUED_MAX as u64 {
            let (sender, entry) = entry(id);
            outbox.push_later(sender, entry);
        }
        outbox.all_read();
        assert!(outbox.queued.is_empty() && outbox.known.is_empty() && outbox.runs_low(), "they are all read again");
    }

    #[test]
    fn what_is_said_later_does_not_overtake_what_found_no_room() {
        let mut outbox = Outbox::new();
        let later = entry(u64::MAX);
        outbox.push_later(later.0, later.1);
        for id in 0..=QUEUED_MAX as u64 {
            let (sender, entry) = entry(id);
            outbox.push_again(sender, entry);
        }
        outbox.all_read();
        assert_eq!((outbox.queued.len(), outbox.known.len()), (QUEUED_MAX, QUEUED_MAX));
    }
}

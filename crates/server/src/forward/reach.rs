//! Which other nodes this one reaches: it asks each again and again whether it is there, over the lines that calls take.
//!
//! | a node | is |
//! |---|---|
//! | has answered lately, or has come only now | reached |
//! | has answered nothing for as long as a lease lasts | not reached: calls to it are not sent, those under way are lost, and the others are told |
//! | answers again | reached |
//!
//! Each probe is answered with whether the other has had answers of this node lately, so that a node knows whether they reach it
//! ([`Reach::apart`]); it is not given work before that.
//!
//! Silence counts only while this node itself is on time: one that stood still has heard nobody, so that time does not count, and then each has
//! time for [`EXCUSED`] more probes.
//!
//! A probe is one call of a method without a body, of which only the port for nodes knows; `sempre-reached` in the answer is 1 or 0. A node of
//! a version that does not know the method answers something else, and is reached: it does not say what it reaches.
#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use sempre_core::ids::Uuid;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

use super::{
    call::{self, Answered, Sender},
    identity::KeyPrint,
    lines::{Lines, Sent},
    owners::{Node, Owners},
};
use crate::router::Response;

/// The path of the method.
pub(super) const PATH: &str = "/sempre.node/Reach";
const REACHED: HeaderName = HeaderName::from_static("sempre-reached");
/// Probes of a node in the time after which it is not reached.
const PROBES: u32 = 6;
/// How much more often a node asks that is not ready: it waits for the answers.
const HASTE: u32 = 5;
/// Of those, so many more when this node stood still for longer than from one to the next.
const EXCUSED: u32 = 2;
/// Probes of one node that wait for their answers: one on a dead connection does not hold up the next, which takes another.
const UNDER_WAY_MAX: usize = 6;

/// What is known of another node.
struct Peer {
    node: Arc<Node>,
    /// Silence counts from here on: its last answer, or when it came, and later by what this node was late since.
    since: Instant,
    /// When it last answered.
    heard: Option<Instant>,
    /// Whether it said then that this node answers.
    hears: bool,
    is_unreached: bool,
    under_way: usize,
}

/// What is known of all, by given times.
struct Table {
    silence: Duration,
    peers: BTreeMap<KeyPrint, Peer>,
}

impl Table {
    fn new(silence: Duration) -> Self {
        Self { silence, peers: BTreeMap::new() }
    }

    /// These are the other nodes now. Those that have come.
    fn follow(&mut self, now: Instant, nodes: Vec<Arc<Node>>) -> Vec<Arc<Node>> {
        let keys: BTreeSet<KeyPrint> = nodes.iter().map(|node| node.key).collect();
        self.peers.retain(|key, _| keys.contains(key));
        let mut new = Vec::new();
        for node in nodes {
            if let Some(peer) = self.peers.get_mut(&node.key) {
                peer.node = node;
                continue;
            }
            let peer = Peer { node: Arc::clone(&node), since: now, heard: None, hears: false, is_unreached: false, under_way: 0 };
            self.peers.insert(node.key, peer);
            new.push(node);
        }
        new
    }

    /// It has answered, and said whether this node answers it. True: it was not reached before.
    fn answered(&mut self, now: Instant, key: &KeyPrint, hears: bool) -> bool {
        let Some(peer) = self.peers.get_mut(key) else { return false };
        (peer.since, peer.heard, peer.hears) = (now, Some(now), hears);
        std::mem::take(&mut peer.is_unreached)
    }

    /// This node itself was late by so much: silence of that time does not count.
    fn late(&mut self, now: Instant, late: Duration) {
        let pause = self.silence / PROBES;
        let excused = if late > pause { pause * EXCUSED } else { Duration::ZERO };
        for peer in self.peers.values_mut() {
            let at_least = (now + excused).checked_sub(self.silence).unwrap_or(now);
            peer.since = (peer.since + late).max(at_least).min(now);
        }
    }

    fn silent_at(&self, peer: &Peer) -> Instant {
        peer.since + self.silence
    }

    /// Those that are not reached from now on.
    fn count(&mut self, now: Instant) -> Vec<Arc<Node>> {
        let silent = self.peers.iter().filter(|(_, peer)| !peer.is_unreached && self.silent_at(peer) <= now);
        let silent: Vec<KeyPrint> = silent.map(|(key, _)| *key).collect();
        let mark = |key: &KeyPrint| {
            let peer = self.peers.get_mut(key)?;
            peer.is_unreached = true;
            Some(Arc::clone(&peer.node))
        };
        silent.iter().filter_map(mark).collect()
    }

    /// When that may change next, if nobody answers.
    fn next(&self) -> Option<Instant> {
        self.peers.values().filter(|peer| !peer.is_unreached).map(|peer| self.silent_at(peer)).min()
    }

    /// It has answered, not long ago.
    fn has_heard(&self, now: Instant, key: &KeyPrint) -> bool {
        let heard = self.peers.get(key).and_then(|peer| peer.heard);
        heard.is_some_and(|heard| now.saturating_duration_since(heard) < self.silence)
    }

    fn unreached(&self) -> BTreeSet<Uuid> {
        self.peers.values().filter(|peer| peer.is_unreached).map(|peer| peer.node.id).collect()
    }
}

/// A node between which and this one something does not get through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Apart {
    pub(crate) node: Arc<Node>,
    /// This one reaches it; it does not reach this one.
    pub(crate) is_reached: bool,
}

/// See the module.
pub(crate) struct Reach {
    owners: Arc<dyn Owners>,
    lines: Arc<Lines>,
    silence: Duration,
    table: Mutex<Table>,
    unreached: watch::Sender<BTreeSet<Uuid>>,
    /// It waits for nothing: it asks at leisure.
    is_ready: AtomicBool,
}

impl Reach {
    pub(super) fn new(owners: Arc<dyn Owners>, lines: Arc<Lines>, silence: Duration) -> Self {
        let (table, unreached) = (Mutex::new(Table::new(silence)), watch::Sender::default());
        Self { owners, lines, silence, table, unreached, is_ready: AtomicBool::new(false) }
    }

    /// The other nodes that this one does not reach, and what becomes of them.
    pub(crate) fn watch(&self) -> watch::Receiver<BTreeSet<Uuid>> {
        self.unreached.subscribe()
    }

    /// How many nodes this one does not reach.
    pub(crate) fn unreached(&self) -> usize {
        self.unreached.borrow().len()
    }

    /// This node serves from now on.
    pub(crate) fn set_ready(&self) {
        self.is_ready.store(true, Ordering::Release);
    }

    /// Those of these nodes that this one does not reach, or that do not reach this one, as far as was heard lately.
    pub(crate) fn apart(&self, nodes: &[Arc<Node>]) -> Vec<Apart> {
        let (table, now) = (self.table(), Instant::now());
        let apart = |node: &Arc<Node>| {
            let is_reached = table.has_heard(now, &node.key);
            let hears = is_reached && table.peers.get(&node.key).is_some_and(|peer| peer.hears);
            (!hears).then(|| Apart { node: Arc::clone(node), is_reached })
        };
        nodes.iter().filter_map(apart).collect()
    }

    /// Answers the node with this key, which asks whether this one is there.
    pub(super) fn answer(&self, key: &KeyPrint) -> Response {
        let is_reached = self.table().has_heard(Instant::now(), key);
        let mut answer = http::Response::new(tonic::body::Body::empty());
        answer.headers_mut().insert(REACHED, HeaderValue::from(u16::from(is_reached)));
        answer
    }

    /// Asks, for as long as it is waited for.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut probes = JoinSet::new();
        let (mut turn, mut planned) = (Instant::now(), Instant::now());
        loop {
            let (now, version) = (Instant::now(), self.owners.version());
            if let Some(late) = now.checked_duration_since(planned).filter(|late| !late.is_zero()) {
                self.table().late(now, late);
            }
            let mut asked = self.look(now);
            if now >= turn {
                asked = self.table().peers.values().map(|peer| Arc::clone(&peer.node)).collect();
                turn = now + self.pause();
            }
            for node in asked {
                if self.begin(&node) {
                    probes.spawn(Arc::clone(&self).probe(node));
                }
            }
            planned = self.table().next().map_or(turn, |next| next.min(turn));
            tokio::select! {
                () = sleep_until(planned) => {}
                () = self.owners.newer(version) => {}
            }
            while probes.try_join_next().is_some() {}
        }
    }

    fn pause(&self) -> Duration {
        let pause = self.silence / PROBES;
        if self.is_ready.load(Ordering::Acquire) { pause } else { pause / HASTE }
    }

    /// Who is there, and who is not reached any more. Those that have come.
    fn look(&self, now: Instant) -> Vec<Arc<Node>> {
        let mut table = self.table();
        let new = table.follow(now, self.owners.others());
        for node in table.count(now) {
            self.lines.set_unreached(&node, true);
            match self.owners.serves(&node.key) {
                true => {
                    tracing::warn!(node = %node.id, address = node.address, "a node is not reached: it has answered nothing for as long as a lease lasts")
                }
                false => {
                    tracing::info!(node = %node.id, address = node.address, "a node that does not serve yet, or is going, is not reached")
                }
            }
        }
        self.tell(&table);
        new
    }

    /// False: enough of them are under way.
    fn begin(&self, node: &Node) -> bool {
        let mut table = self.table();
        let Some(peer) = table.peers.get_mut(&node.key).filter(|peer| peer.under_way < UNDER_WAY_MAX) else { return false };
        peer.under_way += 1;
        true
    }

    async fn probe(self: Arc<Self>, node: Arc<Node>) {
        let request = call::between_nodes(PATH, Bytes::new(), Sender { hop: 1, version: self.owners.version() });
        let hears = match timeout(self.silence, self.lines.probe(&node, request)).await {
            // What it does not say is no reason to wait.
            Ok(Sent::Answered(answered)) => Some(told(answered).unwrap_or(true)),
            Ok(Sent::Not(_) | Sent::Lost(_) | Sent::GivenUp) | Err(_) => None,
        };
        let mut table = self.table();
        if let Some(peer) = table.peers.get_mut(&node.key) {
            peer.under_way = peer.under_way.saturating_sub(1);
        }
        let Some(hears) = hears else { return };
        if table.answered(Instant::now(), &node.key, hears) {
            self.lines.set_unreached(&node, false);
            self.tell(&table);
            tracing::info!(node = %node.id, address = node.address, "a node is reached again");
        }
    }

    fn tell(&self, table: &Table) {
        let now = table.unreached();
        self.unreached.send_if_modified(|before| {
            let is_other = *before != now;
            *before = now;
            is_other
        });
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a node has answers of this one, by its answer to a probe. `None`: it does not say.
pub(super) fn told<B>(answered: Answered<B>) -> Option<bool> {
    match answered {
        Answered::Call(answer) => answer.headers().get(REACHED).map(|reached| reached != "0"),
        // It does not know this one yet, or any more.
        Answered::NoNode => Some(false),
        Answered::Elsewhere(_) | Answered::Junk(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SILENCE: Duration = Duration::from_secs(3);

    fn node(id: u8) -> Arc<Node> {
        let key = format!("{id:064x}").parse().unwrap();
        Arc::new(Node { id: Uuid([id; 16]), address: format!("host-{id}:1"), key })
    }

    /// A table with these nodes, and its begin.
    fn table(ids: &[u8]) -> (Table, Instant) {
        let (mut table, begin) = (Table::new(SILENCE), Instant::now());
        let nodes: Vec<_> = ids.iter().map(|id| node(*id)).collect();
        assert_eq!(table.follow(begin, nodes.clone()), nodes);
        (table, begin)
    }

    fn at(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn who_answers_nothing_for_as_long_as_a_lease_is_not_reached_until_it_answers() {
        let (mut table, begin) = table(&[1, 2]);
        assert_eq!(table.next(), Some(at(begin, 3000)));
        assert!(!table.answered(at(begin, 1000), &node(1).key, true));
        assert_eq!(table.count(at(begin, 2999)), []);
        assert_eq!(table.count(at(begin, 3000)), [node(2)], "counted from when it came");
        assert_eq!(table.count(at(begin, 3001)), [], "once");
        assert_eq!((table.unreached(), table.next()), ([node(2).id].into(), Some(at(begin, 4000))));
        assert_eq!(table.count(at(begin, 4000)), [node(1)]);
        assert_eq!(table.next(), None);
        assert!(table.answered(at(begin, 5000), &node(2).key, true));
        assert!(!table.answered(at(begin, 5001), &node(2).key, true), "once");
        assert_eq!(table.unreached(), [node(1).id].into());
        // It has gone, and another has come.
        assert_eq!(table.follow(at(begin, 5000), vec![node(2), node(3)]), [node(3)]);
        assert_eq!(table.unreached(), [].into());
        assert!(!table.answered(at(begin, 6000), &node(1).key, true), "who is not there is nobody");
        assert_eq!(table.count(at(begin, 8000)), [node(3)]);
    }

    #[test]
    fn who_was_late_himself_does_not_count_that_time() {
        let (mut table, begin) = table(&[1, 2]);
        assert!(!table.answered(at(begin, 500), &node(1).key, true));
        assert_eq!(table.count(at(begin, 3000)), [node(2)]);
        // A little late: what was counted stays, and who was not reached is not.
        table.late(at(begin, 3200), Duration::from_millis(200));
        assert_eq!((table.count(at(begin, 3699)), table.unreached()), (vec![], [node(2).id].into()));
        assert_eq!(table.next(), Some(at(begin, 3700)));
        // It stood still: whoever has answered meanwhile is heard before he is taken for silent.
        table.late(at(begin, 9000), Duration::from_millis(5500));
        assert_eq!(table.next(), Some(at(begin, 10_000)), "two probes");
        assert_eq!((table.count(at(begin, 9999)), table.unreached()), (vec![], [node(2).id].into()));
        assert_eq!(table.count(at(begin, 10_000)), [node(1)]);
        // An answer that was there before it found that it was late.
        assert!(table.answered(at(begin, 20_000), &node(1).key, true));
        table.late(at(begin, 20_001), Duration::from_millis(9000));
        assert_eq!(table.next(), Some(at(begin, 23_001)), "never later than from now on");
    }

    #[test]
    fn a_node_has_been_heard_of_for_as_long_as_a_lease() {
        let (mut table, begin) = table(&[1]);
        let key = node(1).key;
        assert!(!table.has_heard(begin, &key));
        table.answered(at(begin, 100), &key, true);
        assert!(table.has_heard(at(begin, 3099), &key) && !table.has_heard(at(begin, 3100), &key));
        table.late(at(begin, 4000), Duration::from_secs(1));
        assert!(!table.has_heard(at(begin, 4000), &key), "what was not heard is not heard by being late");
        assert!(!table.has_heard(begin, &node(2).key));
    }
}

//! Where the shards are, by the picture that the store keeps of the nodes.
//!
//! | asked | answered by |
//! |---|---|
//! | whose a shard is that is this node's | a bit, and the lease: nothing is locked or allocated |
//! | anything else | what was made of the newest picture |
//!
//! A shard is here only while the lease lasts: after that somebody else may have it whom the picture does not show.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::ids::{SLOT_COUNT, Uuid};
use sempre_store::postgres::{
    member::Membership,
    picture::{self, Picture},
    placement::{NodeId, SINGLE_FIRST},
};
use tokio::sync::watch;

use crate::forward::{Found, KeyPrint, Node, Of, Owner, Owners};

/// A bit for each shard: no more are spread than there are slots, and the single ones are the last numbers that there are.
const WORDS: usize = (SLOT_COUNT as usize + (u32::MAX - SINGLE_FIRST) as usize + 1).div_ceil(64);

/// The shards of one node, for those who ask while that changes.
struct Bits([AtomicU64; WORDS]);

impl Bits {
    fn place(shard: u32) -> Option<(usize, u64)> {
        let bit = match shard.checked_sub(SINGLE_FIRST) {
            Some(single) => usize::from(SLOT_COUNT) + single as usize,
            None if shard < u32::from(SLOT_COUNT) => shard as usize,
            None => return None,
        };
        Some((bit / 64, 1 << (bit % 64)))
    }

    fn has(&self, shard: u32) -> bool {
        Self::place(shard).is_some_and(|(word, bit)| self.0[word].load(Ordering::Acquire) & bit != 0)
    }

    fn set(&self, shards: impl Iterator<Item = u32>) {
        let mut words = [0; WORDS];
        for (word, bit) in shards.filter_map(Self::place) {
            words[word] |= bit;
        }
        self.0.iter().zip(words).for_each(|(word, bits)| word.store(bits, Ordering::Release));
    }
}

/// What was made of a picture.
#[derive(Default)]
struct Known {
    version: u64,
    picture: Arc<Picture>,
    /// Nodes that can be called, this one too.
    nodes: BTreeMap<NodeId, Arc<Node>>,
    processes: BTreeMap<u64, NodeId>,
    keys: BTreeSet<KeyPrint>,
    /// Keys of nodes that are ready, and not about to go.
    serving: BTreeSet<KeyPrint>,
}

impl Known {
    fn of(picture: Arc<Picture>) -> Self {
        let mut known = Self { version: picture.version().cast_unsigned(), ..Self::default() };
        for node in picture.nodes() {
            let Some(called) = called(node) else {
                tracing::debug!(node = %node.id, name = node.name, "this node says no key by which it can be called");
                continue;
            };
            known.keys.insert(called.key);
            if node.is_ready && !node.is_leaving {
                known.serving.insert(called.key);
            }
            known.processes.insert(node.process, node.id);
            known.nodes.insert(node.id, Arc::new(called));
        }
        known.picture = picture;
        known
    }
}

/// As forwarding knows a node. `None`: it says nothing by which it can be called.
fn called(node: &picture::Node) -> Option<Node> {
    Some(Node { id: Uuid(node.id.0.to_be_bytes()), address: node.address.clone(), key: node.key.parse().ok()? })
}

/// The picture's id of a node that can be called.
pub(super) fn id_of(node: Uuid) -> NodeId {
    NodeId(u128::from_be_bytes(node.0))
}

/// What one node knows, whether or not its lease lasts.
struct Table {
    me: NodeId,
    process: u64,
    /// Of the bits: it is read before them, and written behind them.
    version: AtomicU64,
    here: Bits,
    known: watch::Sender<Arc<Known>>,
}

impl Table {
    fn new(me: NodeId, process: u64) -> Self {
        let here = Bits(std::array::from_fn(|_| AtomicU64::new(0)));
        Self { me, process, version: AtomicU64::new(0), here, known: watch::Sender::default() }
    }

    fn show(&self, picture: Arc<Picture>) {
        self.here.set(picture.of(self.me));
        let known = Known::of(picture);
        self.version.store(known.version, Ordering::Release);
        self.known.send_replace(Arc::new(known));
    }

    fn find(&self, of: Of, is_current: impl Fn() -> bool) -> Found {
        let here = || if is_current() { Owner::Here } else { Owner::Nobody };
        let version = self.version.load(Ordering::Acquire);
        match of {
            Of::Shard(shard) if self.here.has(shard) => return Found { owner: here(), version },
            Of::Process(process) if process == self.process => return Found { owner: Owner::Here, version },
            Of::Shard(_) | Of::Process(_) => {}
        }
        let known = self.known.borrow();
        let at = |node: &NodeId| known.nodes.get(node).map(|node| Owner::At(Arc::clone(node)));
        let owner = match of {
            Of::Shard(shard) => match known.picture.holders().get(&shard) {
                Some(Some(holder)) if *holder == self.me => here(),
                Some(Some(holder)) => at(holder).unwrap_or(Owner::Nobody),
                Some(None) | None => Owner::Nobody,
            },
            // Of one that no node has, too.
            Of::Process(process) => known.processes.get(&process).and_then(at).unwrap_or(Owner::Here),
        };
        Found { owner, version: known.version }
    }
}

/// See the module.
pub(crate) struct Pictured {
    table: Table,
    membership: Membership,
}

impl Pictured {
    /// `process` is the number of this process. Tells what is known now; [`Pictured::follow`] keeps it so.
    pub(crate) fn new(membership: Membership, process: u64) -> Self {
        let table = Table::new(membership.id(), process);
        table.show(membership.picture());
        Self { table, membership }
    }

    /// How long a node that is silent is waited for.
    pub(crate) fn lease(&self) -> Duration {
        self.membership.lease()
    }

    /// Tells the others whom this node does not reach.
    pub(crate) fn set_unreached(&self, nodes: impl IntoIterator<Item = Uuid>) {
        self.membership.set_unreached(nodes.into_iter().map(id_of).collect());
    }

    /// Follows the picture for as long as it is waited for.
    pub(crate) async fn follow(self: Arc<Self>) {
        let mut pictures = self.membership.watch();
        loop {
            let picture = pictures.borrow_and_update().clone();
            self.table.show(picture);
            if pictures.changed().await.is_err() {
                return;
            }
        }
    }
}

impl Owners for Pictured {
    fn find(&self, of: Of) -> Found {
        self.table.find(of, || self.membership.is_current())
    }

    fn version(&self) -> u64 {
        self.table.known.borrow().version
    }

    fn others(&self) -> Vec<Arc<Node>> {
        let known = self.table.known.borrow();
        known.nodes.iter().filter(|(node, _)| **node != self.table.me).map(|(_, node)| Arc::clone(node)).collect()
    }

    fn serves(&self, key: &KeyPrint) -> bool {
        self.table.known.borrow().serving.contains(key)
    }

    fn is_node(&self, key: &KeyPrint) -> bool {
        self.table.known.borrow().keys.contains(key)
    }

    fn newer(&self, version: u64) -> BoxFuture<'_, ()> {
        let mut known = self.table.known.subscribe();
        // The sender lives as long as this.
        async move { drop(known.wait_for(|known| known.version > version).await) }.boxed()
    }

    fn look(&self) {
        self.membership.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);
    const OLD: NodeId = NodeId(3);
    const LAST: u32 = u32::MAX;

    fn key(of: NodeId) -> String {
        format!("{:064x}", of.0)
    }

    fn node(id: NodeId, key: String) -> picture::Node {
        let process = id.0 as u64 * 100;
        picture::Node { id, name: String::new(), address: format!("host-{}:1", id.0), key, process, is_ready: true, is_leaving: false }
    }

    fn picture(version: i64, holders: &[(u32, Option<NodeId>)]) -> Arc<Picture> {
        let nodes = vec![node(ME, key(ME)), node(OTHER, key(OTHER)), node(OLD, String::new())];
        Arc::new(Picture::new(version, nodes, holders.iter().copied().collect()))
    }

    fn table() -> Table {
        let table = Table::new(ME, 100);
        let holders = [(0, Some(ME)), (1, Some(OTHER)), (2, None), (3, Some(OLD)), (63, Some(OTHER)), (64, Some(ME))];
        table.show(picture(5, &[&holders[..], &[(SINGLE_FIRST, Some(OTHER)), (LAST, Some(ME))]].concat()));
        table
    }

    fn at(found: Found) -> Option<String> {
        match found.owner {
            Owner::At(node) => Some(node.address.clone()),
            Owner::Here => Some("here".into()),
            Owner::Nobody => None,
        }
    }

    #[test]
    fn a_shard_is_here_only_while_the_lease_lasts() {
        let table = table();
        for shard in [0, 64, LAST] {
            assert_eq!(table.find(Of::Shard(shard), || true), Found { owner: Owner::Here, version: 5 }, "{shard}");
            assert_eq!(table.find(Of::Shard(shard), || false), Found { owner: Owner::Nobody, version: 5 }, "{shard}");
        }
    }

    #[test]
    fn others_are_found_by_their_shards_and_whom_nobody_can_call_has_none() {
        let table = table();
        for shard in [1, 63, SINGLE_FIRST] {
            assert_eq!(at(table.find(Of::Shard(shard), || false)).as_deref(), Some("host-2:1"), "{shard}");
        }
        for shard in [2, 3, 4, 1023, 1024, SINGLE_FIRST - 1, SINGLE_FIRST + 1] {
            assert_eq!(at(table.find(Of::Shard(shard), || true)), None, "{shard}");
        }
        let known = table.known.borrow();
        assert_eq!(known.nodes.keys().copied().collect::<Vec<_>>(), [ME, OTHER]);
        assert_eq!(known.keys, BTreeSet::from([key(ME).parse().unwrap(), key(OTHER).parse().unwrap()]));
        assert_eq!(known.nodes[&OTHER].id.to_string(), OTHER.to_string());
        assert_eq!(id_of(known.nodes[&OTHER].id), OTHER);
    }

    #[test]
    fn a_process_is_found_by_its_number_and_one_that_has_gone_is_here() {
        let table = table();
        assert_eq!(at(table.find(Of::Process(100), || false)).as_deref(), Some("here"));
        assert_eq!(at(table.find(Of::Process(200), || false)).as_deref(), Some("host-2:1"));
        assert_eq!(at(table.find(Of::Process(7), || false)).as_deref(), Some("here"));
    }

    #[test]
    fn a_newer_picture_counts_at_once() {
        let table = table();
        table.show(picture(6, &[(0, Some(OTHER)), (1, Some(ME)), (2, Some(ME))]));
        let found = |shard| at(table.find(Of::Shard(shard), || true));
        assert_eq!(
            [found(0), found(1), found(2), found(64), found(LAST)].map(|at| at.unwrap_or_default()),
            ["host-2:1", "here", "here", "", ""]
        );
        assert_eq!((table.find(Of::Shard(1), || true).version, table.find(Of::Shard(0), || true).version), (6, 6));
    }
}

//! Who shares a schema, and what is whose, at one moment.

use std::collections::BTreeMap;

use super::placement::{Holders, NodeId, place};

/// A server among those that share a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// New with each start.
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// Where the others reach it.
    pub address: String,
    /// What it shows when it is called, as [`super::member::NodeOptions`] has it.
    pub key: String,
    /// The number of its process.
    pub process: u64,
    /// It can serve; until then it is given nothing.
    pub is_ready: bool,
    /// It is about to go, and is given nothing more.
    pub is_leaving: bool,
}

/// See the module. What is whose may have changed since; that a commit is its owner's is the fence's work.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    version: i64,
    nodes: BTreeMap<NodeId, Node>,
    holders: Holders,
    placed: BTreeMap<u32, NodeId>,
}

impl Picture {
    /// A picture, and where each shard belongs by it.
    #[must_use]
    pub fn new(version: i64, nodes: Vec<Node>, holders: Holders) -> Self {
        let stay = nodes.iter().filter(|node| node.is_ready && !node.is_leaving).map(|node| node.id).collect();
        let placed = place(&stay, &holders);
        Self { version, nodes: nodes.into_iter().map(|node| (node.id, node)).collect(), holders, placed }
    }

    /// Grows with each change.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// Everybody who is there, or whose lease has not run out yet.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// What is whose: all shards.
    #[must_use]
    pub fn holders(&self) -> &Holders {
        &self.holders
    }

    /// Who has a shard. `None`: nobody for the moment, or there is no such shard.
    #[must_use]
    pub fn holder(&self, shard: u32) -> Option<&Node> {
        self.nodes.get(&(*self.holders.get(&shard)?)?)
    }

    /// The shards of a node.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = u32> {
        self.holders.iter().filter(move |(_, holder)| **holder == Some(node)).map(|(shard, _)| *shard)
    }

    /// The shards that a node is to have.
    pub fn placed_at(&self, node: NodeId) -> impl Iterator<Item = u32> {
        self.placed.iter().filter(move |(_, at)| **at == node).map(|(shard, _)| *shard)
    }

    /// Every shard is at the node where it belongs.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.holders.iter().all(|(shard, holder)| holder.is_some() && *holder == self.placed.get(shard).copied())
    }

    /// Shards that a node has and another is to have: to whom.
    #[must_use]
    pub fn to_give(&self, node: NodeId) -> Vec<(u32, NodeId)> {
        self.of(node).filter_map(|shard| Some((shard, *self.placed.get(&shard)?))).filter(|(_, to)| *to != node).collect()
    }

    /// Whether a node is to get a shard that somebody else still has.
    pub(super) fn awaits(&self, node: NodeId) -> bool {
        self.placed.iter().any(|(shard, to)| *to == node && self.holders.get(shard) != Some(&Some(node)))
    }

    /// Shards that nobody has: who is to have them.
    pub(super) fn free(&self) -> Vec<(u32, NodeId)> {
        self.placed.iter().filter(|(shard, _)| self.holders.get(shard) == Some(&None)).map(|(shard, to)| (*shard, *to)).collect()
    }
}

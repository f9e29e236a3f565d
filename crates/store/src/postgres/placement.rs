//! Where each shard belongs: a pure function of who is there and what is whose.
//!
//! Shards are of two classes: those that are spread, whose ids begin at 0, and single ones ([`SINGLE_FIRST`] and above), each the one owner
//! of something that there is once. Of each class every node gets as many as every other, or one more. A shard stays where it is
//! unless its node has more than that, so nothing moves that need not. All nodes come to the same answer by the same picture.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

/// The first id of shards that are not of those that are spread.
pub const SINGLE_FIRST: u32 = u32::MAX - 1023;

/// A server among those that share a schema; random, and new with each start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u128);

impl NodeId {
    /// Reads the form of a UUID.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: String = text.split('-').collect();
        (digits.len() == 32).then(|| u128::from_str_radix(&digits, 16).ok().map(NodeId)).flatten()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = format!("{:032x}", self.0);
        write!(formatter, "{}-{}-{}-{}-{}", &digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..])
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Who has a shard: `None`, nobody.
pub type Holders = BTreeMap<u32, Option<NodeId>>;

/// The node that each shard belongs to; none has one while there are no nodes. `nodes` are those that may have shards: a holder
/// that is not among them is on its way out, or gone.
#[must_use]
pub fn place(nodes: &BTreeSet<NodeId>, holders: &Holders) -> BTreeMap<u32, NodeId> {
    let mut placed = BTreeMap::new();
    let mut totals: BTreeMap<NodeId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    let (spread, single): (Vec<_>, Vec<_>) =
        holders.iter().map(|(shard, holder)| (*shard, *holder)).partition(|(shard, _)| *shard < SINGLE_FIRST);
    for class in [spread, single] {
        place_class(&class, &mut totals, &mut placed);
    }
    placed
}

/// Places the shards of one class and adds them to `totals`, which has all nodes.
fn place_class(shards: &[(u32, Option<NodeId>)], totals: &mut BTreeMap<NodeId, usize>, placed: &mut BTreeMap<u32, NodeId>) {
    let Some(least) = shards.len().checked_div(totals.len()) else { return };
    let mut room = shares(shards, least, totals);
    for (node, share) in &room {
        *totals.entry(*node).or_default() += *share;
    }
    let mut homeless = Vec::new();
    for (shard, holder) in shards {
        match holder.and_then(|holder| Some((holder, room.get_mut(&holder).filter(|room| **room > 0)?))) {
            Some((holder, room)) => {
                *room -= 1;
                placed.insert(*shard, holder);
            }
            None => homeless.push(*shard),
        }
    }
    // Neighbours go to different nodes.
    for shard in homeless {
        let Some((node, room)) = room.iter_mut().max_by_key(|(node, room)| (**room, Reverse(**node))) else { return };
        *room = room.saturating_sub(1);
        placed.insert(shard, *node);
    }
}

/// How many of a class each node gets. What is left after everybody has got the same goes to those who have more than that already, and then
/// to those who have the fewest of the class before.
fn shares(shards: &[(u32, Option<NodeId>)], least: usize, totals: &BTreeMap<NodeId, usize>) -> BTreeMap<NodeId, usize> {
    let has = |node: NodeId| shards.iter().filter(|(_, holder)| *holder == Some(node)).count();
    let mut order: Vec<NodeId> = totals.keys().copied().collect();
    order.sort_by_key(|node| (has(*node) <= least, totals.get(node).copied(), *node));
    let more = shards.len() - least * order.len();
    order.into_iter().enumerate().map(|(at, node)| (node, least + usize::from(at < more))).collect()
}

#[cfg(test)]
mod tests;

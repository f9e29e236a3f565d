//! Placement by random pictures, and the protocol around it as a model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

fn nodes(max: usize) -> impl Strategy<Value = BTreeSet<NodeId>> {
    prop::collection::btree_set(any::<u128>().prop_map(NodeId), 0..=max)
}

/// Nodes, and shards that some of them, nobody, or nodes that are gone have.
fn picture() -> impl Strategy<Value = (BTreeSet<NodeId>, Holders)> {
    let holder = prop_oneof![1 => Just(None), 1 => any::<u128>().prop_map(|gone| Some(Err(gone))), 6 => any::<prop::sample::Index>().prop_map(|index| Some(Ok(index)))];
    let shard = prop_oneof![8 => 0..80_u32, 1 => SINGLE_FIRST..=u32::MAX];
    (nodes(7), prop::collection::btree_map(shard, holder, 0..90)).prop_map(|(nodes, holders)| {
        let list: Vec<NodeId> = nodes.iter().copied().collect();
        let of = |holder: Option<Result<prop::sample::Index, u128>>| match holder {
            Some(Ok(index)) if !list.is_empty() => Some(*index.get(&list)),
            Some(Err(gone)) => Some(NodeId(gone)),
            _ => None,
        };
        let holders = holders.into_iter().map(|(shard, holder)| (shard, of(holder))).collect();
        (nodes, holders)
    })
}

fn counts<'a>(nodes: &BTreeSet<NodeId>, placed: impl Iterator<Item = &'a NodeId>) -> Vec<usize> {
    let mut counts: BTreeMap<NodeId, usize> = nodes.iter().map(|node| (*node, 0)).collect();
    placed.for_each(|node| *counts.get_mut(node).unwrap() += 1);
    counts.into_values().collect()
}

/// How many shards of a class can stay at most, whoever gets the ones that are left over.
fn stay_max(nodes: &BTreeSet<NodeId>, class: &Holders) -> usize {
    let least = class.len() / nodes.len();
    let has = |node: &NodeId| class.values().filter(|holder| **holder == Some(*node)).count();
    let with_more = nodes.iter().filter(|node| has(node) > least).count();
    nodes.iter().map(|node| has(node).min(least)).sum::<usize>() + with_more.min(class.len() % nodes.len())
}

fn is_even(counts: &[usize], by: usize) -> bool {
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= by
}

proptest! {
    #[test]
    fn every_shard_has_a_node_none_has_too_many_and_nothing_moves_without_need((nodes, holders) in picture()) {
        let placed = place(&nodes, &holders);
        if nodes.is_empty() {
            prop_assert!(placed.is_empty());
            return Ok(());
        }
        prop_assert!(placed.keys().eq(holders.keys()));
        for single in [false, true] {
            let class: Holders = holders.iter().filter(|(shard, _)| (**shard >= SINGLE_FIRST) == single).map(|(a, b)| (*a, *b)).collect();
            let counts = counts(&nodes, class.keys().map(|shard| &placed[shard]));
            prop_assert!(is_even(&counts, 1), "{counts:?}");
            let stay = class.iter().filter(|(shard, holder)| **holder == Some(placed[shard])).count();
            prop_assert_eq!(stay, stay_max(&nodes, &class));
        }
        prop_assert!(is_even(&counts(&nodes, placed.values()), 2));
        // Done is done.
        let after: Holders = placed.iter().map(|(shard, node)| (*shard, Some(*node))).collect();
        prop_assert_eq!(place(&nodes, &after), placed);
    }

    #[test]
    fn a_node_more_takes_its_share_and_only_that(count in 1..9_u128, shards in 1..200_u32, new in 100..200_u128) {
        let mut nodes: BTreeSet<NodeId> = (0..count).map(NodeId).collect();
        let first = place(&nodes, &(0..shards).map(|shard| (shard, None)).collect());
        nodes.insert(NodeId(new));
        let holders: Holders = first.iter().map(|(shard, node)| (*shard, Some(*node))).collect();
        let second = place(&nodes, &holders);
        for (shard, node) in &second {
            prop_assert!(*node == first[shard] || *node == NodeId(new));
        }
        let moved = second.values().filter(|node| **node == NodeId(new)).count();
        prop_assert_eq!(moved, shards as usize / nodes.len());
        // And when it goes again, only its own move.
        nodes.remove(&NodeId(new));
        let holders: Holders = second.iter().map(|(shard, node)| (*shard, Some(*node))).collect();
        let third = place(&nodes, &holders);
        prop_assert!(second.iter().all(|(shard, node)| *node == NodeId(new) || third[shard] == *node));
    }
}

#[test]
fn ids_are_written_as_the_database_does() {
    let text = "0188a3c4-0000-7abc-8def-00112233445f";
    assert_eq!(NodeId::parse(text).unwrap().to_string(), text);
    assert_eq!(NodeId::parse("no id"), None);
    assert_eq!(NodeId(1).to_string(), "00000000-0000-0000-0000-000000000001");
}

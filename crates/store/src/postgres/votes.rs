//! Which node is to go, as the others do not reach it: a pure function of what each says.
//!
//! | a node | counts |
//! |---|---|
//! | is ready, not about to go, and its lease lasts | as one of those who say whom they do not reach, and may be told to go |
//! | is anything else | for nothing, whatever it says and whatever is said of it |
//! | says nothing (a program that knows nothing of this) | as one that reaches all, and is never told to go: it would not hear of it |
//!
//! A node is to go when more than half of the others that count do not reach it. Of several the one that most do not reach, then the one
//! with the greatest id; while one is to go, and its lease lasts, nobody else is: when it has gone all is looked at anew. So of two that do
//! not reach each other one goes; of three the one that is cut off; a single broken link among three or more makes nobody go.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::NodeId;

/// What counts of a node, as the database has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What is left of its lease in milliseconds; below zero: it has run out.
    pub left_ms: i64,
    /// It can serve.
    pub is_ready: bool,
    /// It is about to go.
    pub is_leaving: bool,
    /// It was told to go, as most of the others do not reach it.
    pub is_ousted: bool,
    /// The nodes that it does not reach. `None`: it does not say.
    pub unreached: Option<BTreeSet<NodeId>>,
}

impl Standing {
    /// Its lease lasts: nobody has its place.
    #[must_use]
    pub fn lasts(&self) -> bool {
        self.left_ms > 0
    }

    fn counts(&self) -> bool {
        self.is_ready && !self.is_leaving && !self.is_ousted && self.lasts()
    }

    /// Whether it says that it does not reach that one.
    #[must_use]
    pub fn misses(&self, node: NodeId) -> bool {
        self.unreached.as_ref().is_some_and(|unreached| unreached.contains(&node))
    }
}

/// The node that is to go, if there is one, and those that do not reach it.
#[must_use]
pub fn to_go(nodes: &BTreeMap<NodeId, Standing>) -> Option<(NodeId, BTreeSet<NodeId>)> {
    if nodes.values().any(|node| node.is_ousted && node.lasts()) {
        return None;
    }
    let counting: BTreeMap<NodeId, &Standing> = nodes.iter().filter(|(_, node)| node.counts()).map(|(id, node)| (*id, node)).collect();
    let voters = |victim: NodeId| -> BTreeSet<NodeId> {
        counting.iter().filter(|(id, node)| **id != victim && node.misses(victim)).map(|(id, _)| *id).collect()
    };
    let hears = counting.iter().filter(|(_, node)| node.unreached.is_some()).map(|(id, _)| *id);
    let candidates = hears.map(|id| (id, voters(id))).filter(|(_, voters)| voters.len() * 2 > counting.len() - 1);
    candidates.max_by_key(|(id, voters)| (voters.len(), *id))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn serving(unreached: &[u128]) -> Standing {
        let unreached = Some(unreached.iter().map(|id| NodeId(*id)).collect());
        Standing { left_ms: 2500, is_ready: true, is_leaving: false, is_ousted: false, unreached }
    }

    /// Nodes 1, 2, and so on, by whom each does not reach.
    fn nodes(unreached: &[&[u128]]) -> BTreeMap<NodeId, Standing> {
        (1..).zip(unreached).map(|(id, unreached)| (NodeId(id), serving(unreached))).collect()
    }

    fn goes(nodes: &BTreeMap<NodeId, Standing>) -> Option<(u128, Vec<u128>)> {
        to_go(nodes).map(|(id, voters)| (id.0, voters.iter().map(|id| id.0).collect()))
    }

    #[test]
    fn the_one_that_is_cut_off_goes() {
        for (unreached, expected) in [
            (&[&[][..]][..], None),
            (&[&[1]], None),
            (&[&[], &[]], None),
            // Of two that do not reach each other one goes; if one of them reaches the other, it is the one that is not reached.
            (&[&[2], &[1]], Some((2, vec![1]))),
            (&[&[], &[1]], Some((1, vec![2]))),
            // Three: one is cut off, in both directions, in one, or by one of two.
            (&[&[3], &[3], &[1, 2]], Some((3, vec![1, 2]))),
            (&[&[2, 3], &[1], &[1]], Some((1, vec![2, 3]))),
            (&[&[3], &[3], &[]], Some((3, vec![1, 2]))),
            (&[&[3], &[], &[1]], None),
            (&[&[2], &[1], &[]], None),
            (&[&[2, 3], &[], &[]], None),
            // Nobody reaches anybody: one after the other.
            (&[&[2, 3], &[1, 3], &[1, 2]], Some((3, vec![1, 2]))),
            // Two halves.
            (&[&[3, 4], &[3, 4], &[1, 2], &[1, 2]], Some((4, vec![1, 2]))),
            // The one that most do not reach, though another has a greater id.
            (&[&[2, 5], &[5], &[2, 5], &[2], &[2]], Some((2, vec![1, 3, 4, 5]))),
            // Half is not more than half.
            (&[&[5], &[5], &[], &[], &[]], None),
            (&[&[9], &[9], &[9]], None),
        ] {
            assert_eq!(goes(&nodes(unreached)), expected, "{unreached:?}");
        }
    }

    #[test]
    fn who_does_not_count_says_nothing_and_is_not_told_to_go() {
        let silent = |node: &mut Standing| node.left_ms = 0;
        let unready = |node: &mut Standing| node.is_ready = false;
        let leaving = |node: &mut Standing| node.is_leaving = true;
        for change in [silent, unready, leaving] {
            // A voter: the others are two, and one of them is not enough.
            let mut five = nodes(&[&[5], &[5], &[], &[], &[]]);
            five.values_mut().take(1).for_each(change);
            assert_eq!(goes(&five), None);
            // One that is silent about it: the two are more than half of three.
            let mut five = nodes(&[&[5], &[5], &[], &[], &[]]);
            change(five.get_mut(&NodeId(4)).unwrap());
            assert_eq!(goes(&five), Some((5, vec![1, 2])));
            // The one that is not reached.
            let mut three = nodes(&[&[3], &[3], &[]]);
            change(three.get_mut(&NodeId(3)).unwrap());
            assert_eq!(goes(&three), None);
        }
        // A program that knows nothing of this: it votes for nobody, and does not go.
        let mut three = nodes(&[&[3], &[3], &[]]);
        three.get_mut(&NodeId(3)).unwrap().unreached = None;
        assert_eq!(goes(&three), None);
        let mut three = nodes(&[&[3], &[3], &[]]);
        three.get_mut(&NodeId(2)).unwrap().unreached = None;
        assert_eq!(goes(&three), None);
    }

    #[test]
    fn while_one_is_to_go_nobody_else_is() {
        let mut five = nodes(&[&[4, 5], &[4, 5], &[4, 5], &[], &[]]);
        assert_eq!(goes(&five), Some((5, vec![1, 2, 3])));
        five.get_mut(&NodeId(5)).unwrap().is_ousted = true;
        assert_eq!(goes(&five), None);
        five.get_mut(&NodeId(5)).unwrap().left_ms = -1;
        assert_eq!(goes(&five), Some((4, vec![1, 2, 3])));
        five.remove(&NodeId(5));
        assert_eq!(goes(&five), Some((4, vec![1, 2, 3])));
    }

    proptest! {
        /// One after the other goes until nobody is to go. Who goes was not reached by most; whom everybody reaches stays, and so does somebody.
        #[test]
        fn it_ends_with_those_that_most_of_the_rest_reach(
            said in prop::collection::vec(prop::collection::btree_set(1..8_u128, 0..7), 1..8),
        ) {
            let said: Vec<Vec<u128>> = said.into_iter().map(|unreached| unreached.into_iter().collect()).collect();
            let mut left = nodes(&said.iter().map(Vec::as_slice).collect::<Vec<_>>());
            while let Some((gone, voters)) = to_go(&left) {
                prop_assert!(voters.len() * 2 > left.len() - 1 && !voters.contains(&gone));
                prop_assert!(voters.iter().all(|voter| left[voter].misses(gone)));
                left.remove(&gone);
            }
            prop_assert!(!left.is_empty());
            for id in (1..=said.len() as u128).map(NodeId) {
                let is_missed = (1..).zip(&said).any(|(by, unreached)| NodeId(by) != id && unreached.contains(&id.0));
                prop_assert!(is_missed || left.contains_key(&id), "{id} is reached by all, and has gone");
            }
            for id in left.keys() {
                let voters = left.iter().filter(|(by, node)| *by != id && node.misses(*id)).count();
                prop_assert!(voters * 2 < left.len(), "{id} is not reached by most of those who are left");
            }
        }
    }
}

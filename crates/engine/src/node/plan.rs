//! What a node has to do by a picture: a pure function.

use std::collections::{BTreeMap, BTreeSet};

use sempre_store::postgres::{picture::Picture, placement::NodeId};

/// What is to become of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// It is this node's, and not served.
    TakeUp,
    /// It is this node's, and is to be that one's.
    Give(NodeId),
    /// It is served here, and somebody else's.
    LetGo,
}

/// The moves, in the order of their haste: what nobody may serve any more, what nobody serves, what is served and goes.
///
/// `given` are shards that were given, with the version of the picture by which that began: one of that version does not show it, and says
/// nothing about them. Every newer one may show it, or that a shard is back already.
pub(super) fn plan(picture: &Picture, me: NodeId, here: &BTreeSet<u32>, given: &BTreeMap<u32, i64>) -> Vec<(u32, Move)> {
    let to_give: BTreeMap<u32, NodeId> = picture.to_give(me).into_iter().collect();
    let mine: BTreeSet<u32> = picture.of(me).collect();
    let lost = here.difference(&mine).map(|shard| (*shard, Move::LetGo));
    let absent = mine.iter().filter(|shard| !here.contains(shard) && !to_give.contains_key(shard)).map(|shard| (*shard, Move::TakeUp));
    let gives = to_give.iter().map(|(shard, to)| (*shard, Move::Give(*to)));
    let is_known = |(shard, _): &(u32, Move)| given.get(shard) != Some(&picture.version());
    lost.chain(absent).chain(gives).filter(is_known).collect()
}

#[cfg(test)]
mod tests {
    use sempre_store::postgres::picture::Node;

    use super::*;

    const ME: NodeId = NodeId(1);
    const OTHER: NodeId = NodeId(2);

    fn picture(nodes: &[(NodeId, bool)], holders: &[(u32, Option<NodeId>)]) -> Picture {
        picture_of(7, nodes, holders)
    }

    fn picture_of(version: i64, nodes: &[(NodeId, bool)], holders: &[(u32, Option<NodeId>)]) -> Picture {
        let node = |(id, is_leaving): &(NodeId, bool)| Node {
            id: *id,
            name: String::new(),
            address: String::new(),
            key: String::new(),
            process: 0,
            is_ready: true,
            is_leaving: *is_leaving,
        };
        Picture::new(version, nodes.iter().map(node).collect(), holders.iter().copied().collect())
    }

    #[test]
    fn what_is_here_and_anothers_goes_first_then_what_is_absent_comes_then_what_is_served_moves() {
        let holders = [(0, Some(ME)), (1, Some(ME)), (2, Some(ME)), (3, Some(ME)), (4, Some(OTHER))];
        let picture = picture(&[(ME, false), (OTHER, false)], &holders);
        let moves = plan(&picture, ME, &[0, 1, 3, 4].into(), &BTreeMap::new());
        assert_eq!(moves, [(4, Move::LetGo), (2, Move::TakeUp), (3, Move::Give(OTHER))]);
    }

    #[test]
    fn what_is_absent_and_to_be_anothers_is_given_without_being_taken_up() {
        let moves = plan(&picture(&[(ME, true), (OTHER, false)], &[(0, Some(ME)), (1, None)]), ME, &BTreeSet::new(), &BTreeMap::new());
        assert_eq!(moves, [(0, Move::Give(OTHER))]);
    }

    #[test]
    fn who_is_about_to_go_and_alone_keeps_what_it_has() {
        assert_eq!(plan(&picture(&[(ME, true)], &[(0, Some(ME))]), ME, &[0].into(), &BTreeMap::new()), []);
    }

    #[test]
    fn what_was_given_is_left_alone_by_the_picture_by_which_that_began_and_taken_up_by_a_newer_one_that_shows_it_back() {
        let (both, mine) = ([(ME, false), (OTHER, false)], [(0, Some(ME)), (1, Some(ME))]);
        let given = BTreeMap::from([(1, 7)]);
        assert_eq!(plan(&picture_of(7, &both, &mine), ME, &[0, 1].into(), &BTreeMap::new()), [(1, Move::Give(OTHER))]);
        assert_eq!(plan(&picture_of(7, &both, &mine), ME, &[0].into(), &given), [], "it shows what was before");
        // The other has died, and no picture comes after this one.
        assert_eq!(plan(&picture_of(9, &both[..1], &mine), ME, &[0].into(), &given), [(1, Move::TakeUp)]);
    }
}

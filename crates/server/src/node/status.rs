//! What a node says of the cluster: who is there and what is whose by its picture, and how long each is waited for and who does not reach whom by the database.

use std::{collections::BTreeMap, time::Duration};

use sempre_api::sempre::v1::{ClusterNode, DescribeClusterResponse};
use sempre_core::Span;
use sempre_engine::node::Node;
use sempre_store::postgres::{
    picture::{self, Picture},
    placement::{NodeId, SINGLE_FIRST},
    votes::Standing,
};
use tokio::time::timeout;

/// How long the database is waited for; the rest is known without it.
const LEASES_MAX: Duration = Duration::from_secs(2);

/// As [`Picture`] says, and the leases and who does not reach whom as the database says now.
pub(crate) async fn described(node: &Node) -> DescribeClusterResponse {
    let standings = match timeout(LEASES_MAX, node.standings()).await {
        Ok(standings) => standings.map_err(|error| error.to_string()),
        Err(_) => Err("the database does not answer".to_owned()),
    };
    let mut told = of(&node.membership().picture(), node.membership().id());
    match standings {
        Ok(standings) => stand(&mut told, &standings),
        Err(reason) => told.leases_unknown = reason,
    }
    told
}

/// Tells what the database says of nodes.
fn stand(told: &mut DescribeClusterResponse, standings: &BTreeMap<NodeId, Standing>) {
    for node in &mut told.nodes {
        let Some(id) = NodeId::parse(&node.id) else { continue };
        node.lease_left = standings.get(&id).map(|standing| Span::millis(standing.left_ms).to_api());
        // What is said by one whose time is over is not so any more.
        let says_so = |(by, standing): &(&NodeId, &Standing)| **by != id && standing.lasts() && standing.misses(id);
        node.unreached_by = standings.iter().filter(says_so).map(|(by, _)| by.to_string()).collect();
    }
}

fn of(picture: &Picture, me: NodeId) -> DescribeClusterResponse {
    let number = |shards: usize| i32::try_from(shards).unwrap_or(i32::MAX);
    let classes = |shards: &mut dyn Iterator<Item = u32>| {
        let (spread, single): (Vec<u32>, Vec<u32>) = shards.partition(|shard| *shard < SINGLE_FIRST);
        (number(spread.len()), number(single.len()))
    };
    let node = |node: &picture::Node| {
        let (shards, single_shards) = classes(&mut picture.of(node.id));
        let (shards_placed, single_shards_placed) = classes(&mut picture.placed_at(node.id));
        ClusterNode {
            id: node.id.to_string(),
            name: node.name.clone(),
            address: node.address.clone(),
            lease_left: None,
            ready: node.is_ready,
            leaving: node.is_leaving,
            shards,
            shards_placed,
            single_shards,
            single_shards_placed,
            unreached_by: Vec::new(),
        }
    };
    let (shards, single_shards) = classes(&mut picture.holders().keys().copied());
    DescribeClusterResponse {
        shared: true,
        answered_by: me.to_string(),
        version: picture.version(),
        nodes: picture.nodes().map(node).collect(),
        shards,
        single_shards,
        unowned: number(picture.holders().values().filter(|holder| holder.is_none()).count()),
        settled: picture.is_settled(),
        leases_unknown: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_told_with_what_each_has_and_is_to_have() {
        let node = |id: u128, is_ready, is_leaving| picture::Node {
            id: NodeId(id),
            name: format!("n{id}"),
            address: format!("host-{id}:7234"),
            key: String::new(),
            process: 0,
            is_ready,
            is_leaving,
        };
        let (stays, goes) = (NodeId(1), NodeId(2));
        let holders = [(0, Some(stays)), (1, Some(goes)), (2, None), (SINGLE_FIRST, Some(goes)), (u32::MAX, Some(stays))];
        let picture = Picture::new(9, vec![node(1, true, false), node(2, true, true), node(3, false, false)], holders.into());
        let told = of(&picture, stays);
        assert_eq!((told.shared, told.version, told.shards, told.single_shards, told.unowned, told.settled), (true, 9, 3, 2, 1, false));
        assert_eq!(told.answered_by, stays.to_string());
        let numbers = |node: &ClusterNode| (node.shards, node.shards_placed, node.single_shards, node.single_shards_placed);
        assert_eq!(told.nodes.iter().map(numbers).collect::<Vec<_>>(), [(1, 3, 1, 2), (1, 0, 1, 0), (0, 0, 0, 0)]);
        assert_eq!(
            told.nodes.iter().map(|node| (node.ready, node.leaving)).collect::<Vec<_>>(),
            [(true, false), (true, true), (false, false)]
        );
        assert_eq!((told.nodes[1].name.as_str(), told.nodes[1].address.as_str()), ("n2", "host-2:7234"));

        let standing = |left_ms, unreached: &[NodeId]| Standing {
            left_ms,
            is_ready: true,
            is_leaving: false,
            is_ousted: false,
            unreached: Some(unreached.iter().copied().collect()),
        };
        let mut told = told;
        let (third, over) = (NodeId(3), NodeId(4));
        let standings = [(stays, standing(2500, &[goes, third])), (goes, standing(1, &[third])), (over, standing(0, &[stays]))];
        stand(&mut told, &standings.into());
        let by = |node: usize| told.nodes[node].unreached_by.clone();
        assert_eq!((by(0), by(1), by(2)), (vec![], vec![stays.to_string()], vec![stays.to_string(), goes.to_string()]));
        assert_eq!((told.nodes[0].lease_left, told.nodes[2].lease_left), (Some(Span::millis(2500).to_api()), None));

        let holders = [(0, Some(stays)), (u32::MAX, Some(stays))];
        assert!(of(&Picture::new(10, vec![node(1, true, false)], holders.into()), stays).settled);
    }
}

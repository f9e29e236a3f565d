//! `sempre cluster`: the servers that share their data, and how much each of them has.

use clap::Subcommand;
use sempre_api::sempre::v1::{ClusterNode, DescribeClusterRequest};

use super::{
    Failure,
    flags::{CommonFlags, Family},
    output::{Cell, Hue, Table},
    session::{self, Session},
};

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Tell who shares the data with the server, how long each is waited for, and how much it has of what there is
    Status,
}

pub(crate) fn run(common: CommonFlags, family: Family<ClusterCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match &family.command {
        ClusterCommand::Status => status(session).await,
    })
}

async fn status(session: &mut Session) -> Result<(), Failure> {
    let mut now = session.client().await?.operate.describe_cluster(DescribeClusterRequest {}).await?.into_inner();
    session.out.message(&now)?;
    if !now.shared {
        return session.out.line("the server has its data alone");
    }
    now.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let rows: Vec<_> = now.nodes.iter().map(|node| row(node, &now.answered_by)).collect();
    session.out.table(&mut Table::new(&["Name", "Address", "State", "Lease", "Shards", "Singles", "Id"]), &rows)?;
    for text in now.nodes.iter().filter_map(|node| unreached(node, &now.nodes)) {
        session.out.line_in(Hue::Bad, text)?;
    }
    let unowned = if now.unowned == 0 { "each has a node".to_owned() } else { format!("{} have no node", now.unowned) };
    let settled = if now.settled { "nothing is about to move" } else { "some are about to move" };
    session
        .out
        .line(format!("{} shards and {} single ones: {unowned}, {settled} (version {})", now.shards, now.single_shards, now.version))?;
    if now.leases_unknown.is_empty() {
        return Ok(());
    }
    session.out.line_in(Hue::Bad, format!("the leases are not known: {}", now.leases_unknown))
}

/// By whom a node is not reached, if it is so.
fn unreached(node: &ClusterNode, all: &[ClusterNode]) -> Option<String> {
    let name = |id: &String| all.iter().find(|node| node.id == *id).map_or(id.as_str(), |node| node.name.as_str()).to_owned();
    let by: Vec<String> = node.unreached_by.iter().map(name).collect();
    (!by.is_empty()).then(|| format!("{} at {} is not reached by {}", node.name, node.address, by.join(", ")))
}

fn row(node: &ClusterNode, answered_by: &str) -> Vec<Cell> {
    let name = if node.id == answered_by { format!("{} (answers)", node.name) } else { node.name.clone() };
    let is_over = node.lease_left.is_some_and(|left| left.seconds < 0 || left.nanos < 0);
    let state = match (is_over, node.leaving, node.ready) {
        (true, ..) => Cell::in_hue("silent", Hue::Bad),
        (_, true, _) => Cell::in_hue("leaving", Hue::Odd),
        (_, _, false) => Cell::in_hue("opening", Hue::Running),
        _ => Cell::in_hue("serving", Hue::Good),
    };
    let lease = node.lease_left.map_or_else(String::new, |left| format!("{:.1}s", left.seconds as f64 + f64::from(left.nanos) / 1e9));
    // What it has, and what it is to have if that is something else.
    let shards = |has: i32, placed: i32| if has == placed { has.to_string() } else { format!("{has} -> {placed}") };
    vec![
        name.into(),
        node.address.as_str().into(),
        state,
        lease.into(),
        shards(node.shards, node.shards_placed).into(),
        shards(node.single_shards, node.single_shards_placed).into(),
        node.id.as_str().into(),
    ]
}

#[cfg(test)]
mod tests {
    use sempre_core::Span;

    use super::*;

    fn told(node: &ClusterNode) -> Vec<String> {
        row(node, "b").iter().map(|cell| cell.text().to_owned()).collect()
    }

    #[test]
    fn who_is_not_reached_is_told_with_those_who_do_not_reach_it() {
        let node = |id: &str, unreached_by: &[&str]| ClusterNode {
            id: id.into(),
            name: format!("n-{id}"),
            address: "host:1".into(),
            unreached_by: unreached_by.iter().map(|&by| by.to_owned()).collect(),
            ..ClusterNode::default()
        };
        let all = [node("a", &[]), node("b", &["a", "gone"])];
        let told: Vec<_> = all.iter().map(|node| unreached(node, &all)).collect();
        assert_eq!(told, [None, Some("n-b at host:1 is not reached by n-a, gone".to_owned())]);
    }

    #[test]
    fn each_node_is_a_row() {
        let node = ClusterNode {
            id: "a".into(),
            name: "one".into(),
            address: "host:1".into(),
            lease_left: Some(Span::millis(2940).to_api()),
            ready: true,
            leaving: false,
            shards: 32,
            shards_placed: 22,
            single_shards: 4,
            single_shards_placed: 4,
            unreached_by: Vec::new(),
        };
        assert_eq!(told(&node), ["one", "host:1", "serving", "2.9s", "32 -> 22", "4", "a"]);
        assert_eq!(told(&ClusterNode { ready: false, ..node.clone() })[2], "opening");
        assert_eq!(told(&ClusterNode { leaving: true, ..node.clone() })[2], "leaving");
        let silent = Some(Span::millis(-200).to_api());
        assert_eq!(told(&ClusterNode { leaving: true, lease_left: silent, ..node.clone() })[2..4], ["silent", "-0.2s"]);
        assert_eq!(told(&ClusterNode { id: "b".into(), lease_left: None, ..node })[..4], ["one (answers)", "host:1", "serving", ""]);
    }
}

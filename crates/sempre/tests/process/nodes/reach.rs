//! A node that the others do not reach, though it reaches the database and them.

use std::{process::Command, sync::Arc, time::Instant};

use serde_json::Value;

use super::{
    ended,
    probes::Probes,
    started, take_over_max,
    town::{Host, LONGEST, NODES, Town, a_little},
    until_even,
};
use crate::support::{command, output};

/// The nodes as one of them tells of them.
async fn nodes(host: &Host) -> Vec<Value> {
    let address = host.running.address.clone();
    let told = tokio::task::spawn_blocking(move || output(["cluster", "status", "--address", &address, "--output", "json"]));
    let told = told.await.expect("no panic");
    assert_eq!(told.status.code(), Some(0), "{}", String::from_utf8_lossy(&told.stderr));
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    told["nodes"].as_array().expect("nodes").clone()
}

/// Waits until what one of them tells of the nodes is so.
async fn until(host: &Host, is_so: impl Fn(&[Value]) -> bool) {
    let begun = Instant::now();
    loop {
        let nodes = nodes(host).await;
        if is_so(&nodes) {
            return;
        }
        assert!(begun.elapsed() < LONGEST, "never so: {nodes:#?}");
        a_little().await;
    }
}

/// This one waits, and the other two do not reach it.
fn waits(nodes: &[Value], name: &str) -> bool {
    let node = nodes.iter().find(|node| node["name"] == name);
    node.is_some_and(|node| node["ready"] != true && node["unreachedBy"].as_array().is_some_and(|by| by.len() == NODES - 1))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_others_do_not_reach_gives_its_place_up_and_waits_until_they_do() {
    let Some(town) = Town::new().await else { return };
    let mut hosts = futures::future::join_all((0..NODES).map(|place| started(&town, place))).await;
    let probes = Probes::new(&town).await;
    until_even(&town).await;
    let host = hosts.remove(1);
    let ways = Arc::clone(&town);
    let way = &ways.ways(host.place).node;
    way.set_silent(true);
    let took = probes.until_served(Some(host.place)).await;
    eprintln!("every shard took a write after {took:?}");
    assert!(took < take_over_max(), "{took:?}");
    let (log, place) = ended(&town, host, Some(1)).await;
    let why = format!("other servers do not reach this one at 127.0.0.1:{} (", way.port);
    assert!(log.contains(&why) && log.contains("they have taken what it had"), "{log}");
    let others = std::fs::read_to_string(hosts[0].log()).expect("a log");
    assert!(others.contains("a node is not reached"), "{others}");

    // While that lasts one that is started in its place waits; told to stop it goes, and leaves nothing behind.
    let mut waiting = command(town.arguments(place, "waits")).spawn().expect("it starts");
    until(&hosts[0], |nodes| waits(nodes, "waits")).await;
    let told = output(["cluster", "status", "--address", &hosts[1].running.address]);
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(told.contains(&format!("waits at 127.0.0.1:{} is not reached by ", way.port)), "{told}");
    let term = Command::new("kill").args(["-TERM", &waiting.id().to_string()]).status();
    assert!(term.expect("kill is there").success());
    let code = tokio::task::spawn_blocking(move || waiting.wait()).await.expect("no panic").expect("it ends").code();
    assert_eq!(code, Some(0));
    assert!(!town.has_row("waits"), "nobody waits for its lease");

    let (starts, log) = (Arc::clone(&town), town.log_of("late"));
    let late = tokio::task::spawn_blocking(move || starts.start_named(place, "late", &[]));
    until(&hosts[1], |nodes| waits(nodes, "late")).await;
    let begun = Instant::now();
    let wanted = "this node waits until it reaches more than half of the nodes that serve";
    while !std::fs::read_to_string(&log).is_ok_and(|log| log.contains(wanted) && log.contains(" does not reach this one")) {
        assert!(begun.elapsed() < LONGEST, "it does not say that it waits");
        a_little().await;
    }
    assert!(!late.is_finished(), "it is not ready");
    way.set_silent(false);
    hosts.push(late.await.expect("it starts"));
    until_even(&town).await;
    until(&hosts[0], |nodes| nodes.iter().all(|node| node.get("unreachedBy").is_none_or(|by| by.as_array().is_none_or(Vec::is_empty))))
        .await;
    probes.until_served(None).await;
    probes.check().await;
    for host in hosts {
        host.running.signal("TERM");
        ended(&town, host, Some(0)).await;
    }
}

//! Several nodes over one disk: who has which shard, and what becomes of it when its node is silent (`docs/cluster.md`).
//!
//! The database's part, leases and places, is the world's: it sees who is silent, and lets the others wait for as long as a lease lasts.
//! The network's part, sending a call on to whoever has the shard, is done here as well, since nodes do not do it yet.
//!
//! | | |
//! |---|---|
//! | a node goes on ([`follow`]) | takes up what is placed at it, gives up what is not any more |
//! | a node is silent, dead or standing still, for a lease | its shards are placed at another, with a greater epoch: what it still commits is refused |
//! | a shard is moved ([`give`]) | its node gives it up, then it is placed at the other |
//! | an engine has another do something | by the network, to who has the shard ([`crate::network::Post`]) |
//! | the world is healed | all shards are moved to the first node, which is the only one that is polled then |

use std::{collections::BTreeMap, sync::Arc};

use futures::FutureExt;
use sempre_core::Span;
use sempre_engine::Engine;

use crate::{
    executor::Group,
    random::{Random, mix},
    world::{CALLERS, Process, World, lock},
};

/// How long others wait for a node that is silent.
const LEASE: Span = Span::seconds(3);
/// How often it is looked who is silent.
const LOOK: Span = Span::millis(500);
/// A node looks at least so often what is to be its own, ms.
const FOLLOW_MS: u64 = 500;

/// What is known of nodes.
#[derive(Default)]
pub(crate) struct Nodes {
    /// Shards that are about to be given up, by their nodes.
    giving: BTreeMap<u32, usize>,
}

/// Places all shards, and looks after silent nodes from then on. Of a node that is alone nothing is done.
pub(crate) fn start(world: &Arc<World>) {
    if world.nodes() == 1 {
        return;
    }
    for shard in 0..world.plan.shards {
        world.disk.place(shard, shard as usize % world.nodes());
    }
    world.spawn_beside("leases", leases(world.clone()));
}

/// The node that a call reaches, if it serves.
pub(crate) fn reached(world: &World, random: &mut Random) -> Option<Process> {
    // A healed world has everything at the first.
    world.process(if world.is_healed() { 0 } else { world.some_node(random) })
}

/// Who has a shard that was found to be elsewhere.
pub(crate) fn owner(world: &World, shard: u32) -> Option<Process> {
    world.process(world.disk.placed(shard)?)
}

/// Looks after the shards of a node for as long as the process lives.
pub(crate) fn follow(world: &Arc<World>, node: usize, group: Group, engine: &Engine) {
    if world.nodes() == 1 {
        return;
    }
    let random = Random::new(world.plan.seed, mix(&[CALLERS + 770, group]));
    world.executor.spawn(group, "follower", follower(world.clone(), node, engine.clone(), random).boxed());
}

async fn follower(world: Arc<World>, node: usize, engine: Engine, mut random: Random) {
    loop {
        for shard in 0..world.plan.shards {
            if lock(&world.nodes).giving.get(&shard) == Some(&node) {
                continue;
            }
            let here = engine.shards().contains(&shard);
            match world.disk.placed(shard) == Some(node) {
                true if !here => match engine.take_up(shard).await {
                    Ok(()) => world.tell(format_args!("shard {shard} is taken up by node {node}")),
                    Err(error) => world.tell(format_args!("shard {shard} is not taken up by node {node}: {error}")),
                },
                false if here => {
                    world.tell(format_args!("node {node} hears that it has lost shard {shard}"));
                    if let Err(error) = engine.give_up(shard).await {
                        world.tell(format_args!("shard {shard} is not given up: {error}"));
                    }
                }
                _ => {}
            }
        }
        world.time.sleep(Span::millis(random.between(10, FOLLOW_MS) as i64)).await;
    }
}

/// Moves a shard to a node.
pub(crate) async fn give(world: &World, shard: u32, to: usize) {
    let Some(from) = world.disk.placed(shard).filter(|from| *from != to) else { return };
    let Some(Process { group, engine }) = world.process(from) else { return };
    if lock(&world.nodes).giving.contains_key(&shard) {
        return;
    }
    lock(&world.nodes).giving.insert(shard, from);
    world.tell(format_args!("shard {shard} is to be given up by process {group} for node {to}"));
    let given = engine.give_up(shard).await;
    lock(&world.nodes).giving.remove(&shard);
    match given {
        // Meanwhile its node may have been silent for too long.
        Ok(()) if world.disk.placed(shard) == Some(from) => {
            world.tell(format_args!("shard {shard} is given to node {to}"));
            world.disk.place(shard, to);
        }
        Ok(()) => {}
        Err(error) => world.tell(format_args!("shard {shard} is not given up: {error}")),
    }
}

async fn leases(world: Arc<World>) {
    let mut silent = vec![None; world.nodes()];
    loop {
        world.time.sleep(LOOK).await;
        for (node, silent) in silent.iter_mut().enumerate() {
            let answers = world.process(node).is_some_and(|process| !world.executor.is_still(process.group));
            *silent = if answers { None } else { silent.or(Some(world.time.now())) };
        }
        for shard in 0..world.plan.shards {
            let Some(node) = world.disk.placed(shard) else { continue };
            let is_gone = silent[node].is_some_and(|since| since + LEASE.0 <= world.time.now());
            let to = if world.is_healed() { Some(0) } else { (0..world.nodes()).find(|node| silent[*node].is_none()) };
            let Some(to) = to.filter(|to| *to != node && silent[*to].is_none()) else { continue };
            if is_gone {
                world.tell(format_args!("node {node} is silent: shard {shard} is placed at node {to}"));
                world.disk.place(shard, to);
            } else if world.is_healed() {
                give(&world, shard, to).await;
            }
        }
    }
}

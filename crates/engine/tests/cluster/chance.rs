//! Nodes that come, drain, die and stand still, by a seed, while work goes on: nothing acknowledged is lost or done twice, no shard is
//! served by two, and in the end everything is served and every workflow has ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    clients::Clients,
    host::{Asleep, Host, OUTSIDE, Town},
};

/// Nodes at once.
const MOST: usize = 4;
const LEASE: Duration = Duration::from_millis(1500);

/// Another than 1: SEMPRE_NODES_SEED.
fn seed() -> u64 {
    std::env::var("SEMPRE_NODES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// How many faults instead of 16: SEMPRE_NODES_FAULTS.
fn faults() -> usize {
    std::env::var("SEMPRE_NODES_FAULTS").ok().and_then(|faults| faults.parse().ok()).unwrap_or(16)
}

struct World {
    town: Arc<Town>,
    clients: Arc<Clients>,
    random: fastrand::Rng,
    hosts: Vec<Host>,
    asleep: Vec<(Asleep, Instant)>,
    joined: usize,
    done: [usize; 5],
}

impl World {
    fn join(&mut self) {
        self.joined += 1;
        let host = Host::join(&self.town, &format!("n{}", self.joined));
        self.clients.serve(&host.member);
        self.hosts.push(host);
    }

    fn take(&mut self) -> Host {
        let at = self.random.usize(..self.hosts.len());
        self.hosts.remove(at)
    }

    /// Those go on whose time has come; who was taken for dead has ended.
    fn wake(&mut self, all: bool) {
        let (due, still): (Vec<_>, Vec<_>) = self.asleep.drain(..).partition(|(_, until)| all || *until <= Instant::now());
        self.asleep = still;
        for (asleep, _) in due {
            let host = asleep.wake();
            if host.lives_on() {
                self.clients.serve(&host.member);
                self.hosts.push(host);
            } else {
                let reason = host.ended();
                assert!(reason.contains("taken"), "{reason}");
                self.done[4] += 1;
            }
        }
    }

    fn harm(&mut self) {
        self.wake(false);
        match self.random.u32(..8) {
            _ if self.hosts.len() < 2 => {
                self.done[0] += 1;
                self.join();
            }
            0..=2 if self.hosts.len() < MOST => {
                self.done[0] += 1;
                self.join();
            }
            3 | 4 => {
                self.done[1] += 1;
                self.take().drain();
            }
            5 => {
                self.done[2] += 1;
                self.take().kill();
            }
            _ => {
                self.done[3] += 1;
                // Shorter or longer than a lease.
                let until = Instant::now() + Duration::from_millis(self.random.u64(..4000));
                let asleep = self.take().stand_still();
                self.asleep.push((asleep, until));
            }
        }
        let until = Instant::now() + Duration::from_millis(self.random.u64(..1000));
        while Instant::now() < until {
            self.town.check_owners();
            OUTSIDE.block_on(self.town.wait_a_little());
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_whatever_happens_to_the_nodes() {
    let Some(town) = Town::new(LEASE) else { return };
    let first = Host::join(&town, "n0");
    town.until("the first has everything", Town::is_settled);
    let clients = Clients::new(&town, &first.member);
    clients.serve(&first.member);
    let random = fastrand::Rng::with_seed(seed());
    let mut world = World { town, clients, random, hosts: vec![first], asleep: Vec::new(), joined: 0, done: [0; 5] };
    let load = world.clients.go(4);
    for _ in 0..faults() {
        world.harm();
    }
    world.wake(true);
    if world.hosts.is_empty() {
        world.join();
    }
    let took = world.town.until("all is served", Town::is_settled);
    let started = world.clients.started();
    world.town.until("work goes on", |_| world.clients.started() > started);
    let seen = world.clients.stop(load);
    let [joined, drained, killed, stood, dead] = world.done;
    println!("seed {}: {joined} came, {drained} drained, {killed} died, {stood} stood still, {dead} for too long", seed());
    println!("{seen}; served by all {took:?} after the last");
    world.hosts.into_iter().for_each(Host::drain);
}

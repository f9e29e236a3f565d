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

/// Of so many faults one is a death and one a sleep that is taken for one, whatever the seed says of the others.
const EVERY: usize = 8;

/// What is done to the nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    Join,
    Drain,
    Die,
    /// For a time that may be shorter or longer than a lease.
    Stand,
    /// Until the others have taken it for dead.
    Outlast,
}

/// The faults of a seed, in their order.
fn plan(random: &mut fastrand::Rng, faults: usize) -> Vec<Fault> {
    let any = |random: &mut fastrand::Rng| match random.u32(..8) {
        0..=2 => Fault::Join,
        3 | 4 => Fault::Drain,
        5 => Fault::Die,
        _ => Fault::Stand,
    };
    let mut plan: Vec<Fault> = (0..faults).map(|_| any(random)).collect();
    for (at, fault) in plan.iter_mut().enumerate() {
        match at % EVERY {
            0 => *fault = Fault::Die,
            1 => *fault = Fault::Outlast,
            _ => {}
        }
    }
    random.shuffle(&mut plan);
    plan
}

struct World {
    town: Arc<Town>,
    clients: Arc<Clients>,
    random: fastrand::Rng,
    hosts: Vec<Host>,
    /// Until when; `None`: until it is taken for dead.
    asleep: Vec<(Asleep, Option<Instant>)>,
    joined: usize,
    done: Done,
}

/// What has happened.
#[derive(Default)]
struct Done {
    joined: usize,
    drained: usize,
    died: usize,
    stood: usize,
    /// Of these, those that others had taken for dead.
    outlasted: usize,
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

    /// Others see that it is there no more.
    fn is_taken_for_dead(town: &Town, asleep: &Asleep) -> bool {
        town.picture().is_some_and(|picture| picture.nodes().all(|node| node.id != asleep.host.member.id()))
    }

    /// Those go on whose time has come; who was taken for dead has ended.
    fn wake(&mut self, all: bool) {
        if all {
            let waits = |(asleep, until): &(Asleep, Option<Instant>)| until.is_none() && !Self::is_taken_for_dead(&self.town, asleep);
            self.town.until("who sleeps for too long is taken for dead", |_| !self.asleep.iter().any(waits));
        }
        let town = self.town.clone();
        let is_due = |(asleep, until): &(Asleep, Option<Instant>)| match until {
            Some(until) => all || *until <= Instant::now(),
            None => Self::is_taken_for_dead(&town, asleep),
        };
        let (due, still): (Vec<_>, Vec<_>) = self.asleep.drain(..).partition(is_due);
        self.asleep = still;
        for (asleep, _) in due {
            let host = asleep.wake();
            if host.lives_on() {
                self.clients.serve(&host.member);
                self.hosts.push(host);
            } else {
                let reason = host.ended();
                assert!(reason.contains("taken"), "{reason}");
                self.done.outlasted += 1;
            }
        }
    }

    fn harm(&mut self, fault: Fault) {
        self.wake(false);
        // Somebody stays who goes on, and can take others for dead.
        if self.hosts.len() < 2 || fault == Fault::Join && self.hosts.len() < MOST {
            self.done.joined += 1;
            self.join();
        }
        match fault {
            Fault::Join => {}
            Fault::Drain => {
                self.done.drained += 1;
                self.take().drain();
            }
            Fault::Die => {
                self.done.died += 1;
                self.take().kill();
            }
            Fault::Stand | Fault::Outlast => {
                self.done.stood += 1;
                let until = Instant::now() + Duration::from_millis(self.random.u64(..4000));
                let asleep = self.take().stand_still();
                self.asleep.push((asleep, Some(until).filter(|_| fault == Fault::Stand)));
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
    let mut random = fastrand::Rng::with_seed(seed());
    let plan = plan(&mut random, faults());
    let mut world = World { town, clients, random, hosts: vec![first], asleep: Vec::new(), joined: 0, done: Done::default() };
    let load = world.clients.go(4);
    for fault in plan {
        world.harm(fault);
    }
    world.wake(true);
    let took = world.town.until("all is served", Town::is_settled);
    let started = world.clients.started();
    world.town.until("work goes on", |_| world.clients.started() > started);
    let seen = world.clients.stop(load);
    let Done { joined, drained, died, stood, outlasted } = world.done;
    println!("seed {}: {joined} came, {drained} drained, {died} died, {stood} stood still, {outlasted} for too long", seed());
    let least = [faults().div_ceil(EVERY), faults().saturating_sub(1).div_ceil(EVERY)];
    assert!(died >= least[0] && outlasted >= least[1], "{died} died and {outlasted} outlasted their leases, of {least:?}");
    println!("{seen}; served by all {took:?} after the last");
    world.hosts.into_iter().for_each(Host::drain);
}

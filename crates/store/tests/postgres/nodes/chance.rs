//! Nodes that stand still, are cut off, die, drain and come, by a seed, while all commit: at most one writer by epoch, nothing
//! acknowledged lost, and in the end everything is served again.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_postgres_cluster::Cluster;

use super::host::{Book, Host, all_shards, settle};
use crate::{
    proxy::{Loss, Proxy},
    support::{Random, postgres::cluster},
};

/// Places for servers; in each, one after the other.
const PLACES: usize = 4;

/// A place: the way to the database, and what the one who is there is to do.
struct Place {
    proxy: Mutex<Arc<Proxy>>,
    /// Ways of those who have died, with what they had sent.
    dead: Mutex<Vec<Arc<Proxy>>>,
    /// Drain and come again.
    leave: AtomicBool,
    /// Vanish and come again.
    die: AtomicBool,
    /// It is said that it does not reach others, by their numbers among those it knows: a bit for each.
    misses: AtomicU64,
}

impl Place {
    fn new(cluster: &Cluster) -> Self {
        let proxy = Mutex::new(Arc::new(Proxy::start(cluster.port())));
        Self { proxy, dead: Mutex::default(), leave: AtomicBool::default(), die: AtomicBool::default(), misses: AtomicU64::default() }
    }

    fn proxy(&self) -> Arc<Proxy> {
        self.proxy.lock().unwrap().clone()
    }

    /// Who was here says nothing any more, not even that he goes.
    fn bury(&self, cluster: &Cluster) {
        let old = std::mem::replace(&mut *self.proxy.lock().unwrap(), Arc::new(Proxy::start(cluster.port())));
        old.freeze(true);
        self.dead.lock().unwrap().push(old);
    }
}

/// Servers in one place until the end.
fn serve(place: &Place, cluster: &Cluster, schema: &str, name: &str, book: &Book, ends: &AtomicBool) {
    let mut host: Option<Host> = None;
    while !ends.load(Ordering::Acquire) {
        let Some(mut serving) = host.take() else {
            // The database may be out of reach.
            host = Host::join(&cluster.address_at(place.proxy().port, schema), name, book).ok();
            continue;
        };
        let misses = place.misses.load(Ordering::Acquire);
        let others = serving.picture().nodes().map(|node| node.id).filter(|id| *id != serving.id()).collect::<Vec<_>>();
        let missed = (0..).zip(others).filter(|(number, _)| misses & (1 << number) != 0);
        serving.membership().set_unreached(missed.map(|(_, id)| id).collect());
        if place.leave.swap(false, Ordering::AcqRel) {
            // Another may have taken what it has meanwhile: then there is nothing to drain.
            serving.try_drain();
        } else if place.die.swap(false, Ordering::AcqRel) {
            place.bury(cluster);
            drop(serving);
        } else if serving.serve().is_ok() {
            // What was refused is let go; a store that has failed says so at the next step.
            let _ = serving.commit();
            host = Some(serving);
        }
    }
    if let Some(host) = host {
        host.end();
    }
}

fn harm(places: &[Place], random: &mut Random) {
    let place = &places[random.below(places.len() as u64) as usize];
    match random.below(10) {
        0 | 1 => {
            place.proxy().freeze(true);
            // Shorter or longer than a lease.
            std::thread::sleep(Duration::from_millis(random.below(2500)));
            place.proxy().freeze(false);
        }
        2 => place.proxy().cut(),
        3..=5 => {
            let function = ["commit_1", "give_2", "acquire_1", "place_1", "reap_1", "go_1", "oust_1"][random.below(7) as usize];
            place.proxy().lose_next_of(function, [Loss::Answer, Loss::Request, Loss::Late][random.below(3) as usize]);
        }
        6 => place.leave.store(true, Ordering::Release),
        7 | 8 => {
            let missing = if random.below(2) == 0 { std::slice::from_ref(place) } else { places };
            missing.iter().for_each(|place| place.misses.store(random.below(8), Ordering::Release));
            std::thread::sleep(Duration::from_millis(random.below(600)));
            missing.iter().for_each(|place| place.misses.store(0, Ordering::Release));
        }
        _ => place.die.store(true, Ordering::Release),
    }
    std::thread::sleep(Duration::from_millis(random.below(150)));
}

fn run(cluster: &Cluster, seed: u64, faults: usize) {
    let schema = format!("chance_{seed}");
    let (book, ends) = (Book::default(), AtomicBool::new(false));
    let places: Vec<Place> = (0..PLACES).map(|_| Place::new(cluster)).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for (number, place) in places.iter().enumerate() {
            let (cluster, schema, book, ends) = (cluster, &schema, &book, &ends);
            scope.spawn(move || serve(place, cluster, schema, &format!("place {number}"), book, ends));
        }
        let mut random = Random::new(seed);
        (0..faults).for_each(|_| harm(&places, &mut random));
        ends.store(true, Ordering::Release);
    });
    let (acknowledged, took) = (book.len(), begun.elapsed());
    let mut hosts: Vec<Host> = ["x", "y"].map(|name| Host::join(&cluster.address_of(&schema), name, &book).unwrap()).into();
    settle(&mut hosts);
    // What the dead had sent arrives.
    places.iter().flat_map(|place| place.dead.lock().unwrap().clone()).for_each(|proxy| proxy.freeze(false));
    for _ in 0..20 {
        hosts.iter_mut().for_each(|host| host.commit().unwrap());
    }
    book.check(&hosts[0].store);
    let writers = book.writers();
    println!("seed {seed}: {acknowledged} acknowledged under {faults} faults in {took:?}, {writers} owners that wrote");
    assert!(acknowledged > all_shards().count() * 10, "work went on: {acknowledged}");
    assert!(writers > (faults / 20).clamp(2, 3) * all_shards().count(), "owners changed: {writers}");
}

/// Another than 1: SEMPRE_NODES_SEED.
fn seed() -> u64 {
    std::env::var("SEMPRE_NODES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[test]
fn at_most_one_writes_to_a_shard_whatever_happens_to_the_nodes() {
    let Some(cluster) = cluster() else { return };
    run(&cluster, seed(), 60);
}

/// What an administrator may have set for the role; see `faults::settings_of_the_role_do_no_harm`.
#[test]
fn nor_if_each_call_sees_one_picture_only() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = cluster.unwrap();
    cluster.sql("ALTER ROLE plain SET default_transaction_isolation = 'repeatable read'").unwrap();
    run(&cluster, seed() + 1000, 20);
    cluster.sql("ALTER ROLE plain SET default_transaction_isolation = 'serializable'").unwrap();
    run(&cluster, seed() + 2000, 20);
}

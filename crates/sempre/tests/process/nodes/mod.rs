//! Several servers over one PostgreSQL, as processes that are killed, stand still, and are told to stop, while clients and workers go on.
//!
//! Skipped, with a line that says so, where PostgreSQL is not installed. Workers poll one node at a time, and have the tasks of all.
#![expect(clippy::disallowed_methods, reason = "processes and clients are waited for by the wall clock")]

mod clients;
mod flags;
mod probes;
mod proxy;
mod reach;
mod town;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::GetWorkflowExecutionHistoryRequest;

use self::{
    clients::{Clients, NAMESPACE, execution, signals},
    probes::Probes,
    town::{Host, LEASE, LONGEST, NODES, Town, a_little},
};

/// What is done to one node at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// It dies, and another is started in its place.
    Kill,
    /// It stands still until others have what it had; then it goes on, and finds out.
    Outlast,
    /// It stands still for less than its lease.
    Pause,
    /// It is told to stop, and another is started in its place.
    Restart,
    /// It is cut off from the database for longer than its lease.
    CutOff,
    /// The others do not reach it: it gives its place up, and another is started in its place when they would.
    Unreached,
    /// The database ends as a crash ends it, and is started again.
    Database,
    /// All die at once, and others are started in their places at once.
    AllDie,
}

const ALL: [Fault; 8] =
    [Fault::Kill, Fault::Outlast, Fault::Restart, Fault::CutOff, Fault::AllDie, Fault::Pause, Fault::Database, Fault::Unreached];

/// How long something may take: what is promised, where `SEMPRE_PROMISED_TIMES` is set; else as long as on a slow machine that does much else.
fn promised(seconds: u64) -> Duration {
    Duration::from_secs(if std::env::var_os("SEMPRE_PROMISED_TIMES").is_some() { seconds } else { seconds * 4 })
}

/// How long it may take until every shard takes a write again that was one's who is gone.
pub(crate) fn take_over_max() -> Duration {
    promised(5)
}

/// A seed other than 1: SEMPRE_NODES_SEED.
fn seed() -> u64 {
    std::env::var("SEMPRE_NODES_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// How many faults instead of one of each of the first five: SEMPRE_NODES_FAULTS.
fn faults() -> usize {
    std::env::var("SEMPRE_NODES_FAULTS").ok().and_then(|faults| faults.parse().ok()).unwrap_or(5)
}

/// The faults of a seed, in their order: of each so many.
fn plan(random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut plan: Vec<Fault> = ALL.into_iter().cycle().take(faults()).collect();
    random.shuffle(&mut plan);
    plan
}

struct World {
    town: Arc<Town>,
    probes: Probes,
    hosts: Vec<Host>,
    random: fastrand::Rng,
    /// How long it took until every shard was served again, by fault.
    took: Vec<(Fault, Duration)>,
}

impl World {
    async fn harm(&mut self, fault: Fault) {
        let begun = Instant::now();
        let host = self.hosts.remove(self.random.usize(..self.hosts.len()));
        let ways = self.town.clone();
        let ways = ways.ways(host.place);
        // How long each call took says the same: they begin when the harm is done.
        let took = match fault {
            Fault::Kill => {
                host.running.signal("KILL");
                let took = self.probes.until_served(None).await;
                self.replace(host, None).await;
                took
            }
            Fault::Outlast => {
                host.running.signal("STOP");
                // That a process says nothing its clients find out by themselves.
                let took = self.probes.until_served(Some(host.place)).await;
                host.running.signal("CONT");
                self.ask_zombie(&host).await;
                self.replace_lost(host).await;
                took
            }
            Fault::Pause => {
                host.running.signal("STOP");
                tokio::time::sleep(LEASE / 3).await;
                host.running.signal("CONT");
                self.hosts.push(host);
                self.probes.until_served(None).await
            }
            Fault::Restart => {
                host.running.signal("TERM");
                let took = self.probes.until_served(None).await;
                let log = self.replace(host, Some(0)).await;
                assert!(log.contains("the node is about to go") && !log.contains("has not given everything"), "{log}");
                took
            }
            Fault::CutOff => {
                ways.database.set_silent(true);
                let took = self.probes.until_served(Some(host.place)).await;
                self.ask_zombie(&host).await;
                ways.database.set_silent(false);
                self.ask_zombie(&host).await;
                self.replace_lost(host).await;
                took
            }
            Fault::Unreached => {
                ways.node.set_silent(true);
                let took = self.probes.until_served(Some(host.place)).await;
                let (log, place) = ended(&self.town, host, Some(1)).await;
                assert!(
                    log.contains("error: the server had to stop: the store has failed: other servers do not reach this one at "),
                    "{log}"
                );
                ways.node.set_silent(false);
                self.hosts.push(started(&self.town, place).await);
                took
            }
            Fault::Database => {
                self.hosts.push(host);
                let cluster = self.town.cluster.clone();
                let again = tokio::task::spawn_blocking(move || {
                    cluster.stop("immediate").expect("stopped");
                    cluster.start_again().expect("started");
                });
                again.await.expect("no panic");
                self.probes.until_served(None).await
            }
            Fault::AllDie => {
                self.hosts.push(host);
                self.hosts.iter().for_each(|host| host.running.signal("KILL"));
                let mut places = Vec::new();
                for host in std::mem::take(&mut self.hosts) {
                    places.push(ended(&self.town, host, None).await.1);
                }
                let starts = places.into_iter().map(|place| started(&self.town, place));
                self.hosts = futures::future::join_all(starts).await;
                self.probes.until_served(None).await;
                begun.elapsed()
            }
        };
        if matches!(fault, Fault::Kill | Fault::Outlast | Fault::CutOff | Fault::Unreached) {
            assert!(took < take_over_max(), "{fault:?}: every shard took a write again after {took:?}");
        }
        self.took.push((fault, took));
    }

    /// It ends by itself, as others have taken what it had, and another is started.
    async fn replace_lost(&mut self, host: Host) {
        let log = self.replace(host, Some(1)).await;
        assert!(log.contains("error: the server had to stop: the store has failed: ") && log.contains(" taken "), "{log}");
    }

    /// A node that wakes after its lease says nothing that is not so any more.
    async fn ask_zombie(&self, host: &Host) {
        let Some(client) = self.town.client_at(host.place) else { return };
        let ask = async |id: &String| {
            let request =
                GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: execution(id), ..Default::default() };
            let Ok(answer) = client.clone().get_workflow_execution_history(request).await else { return };
            let events = answer.into_inner().history.expect("a history").events().expect("events");
            assert_eq!(signals(&events), self.probes.wanted(id), "{id}: what others have acknowledged");
        };
        futures::future::join_all(self.probes.ids().iter().map(ask)).await;
    }

    /// Waits for its end, which has this code, and starts another. What it has logged.
    async fn replace(&mut self, host: Host, code: Option<i32>) -> String {
        let (log, place) = ended(&self.town, host, code).await;
        self.hosts.push(started(&self.town, place).await);
        log
    }
}

/// Each node has its share: what is done to one of them is felt.
async fn until_even(town: &Arc<Town>) {
    let begun = Instant::now();
    loop {
        let looks = Arc::clone(town);
        if tokio::task::spawn_blocking(move || looks.is_even()).await.expect("no panic") {
            return;
        }
        assert!(begun.elapsed() < LONGEST, "the shards are not spread");
        a_little().await;
    }
}

async fn started(town: &Arc<Town>, place: usize) -> Host {
    let town = Arc::clone(town);
    tokio::task::spawn_blocking(move || town.start(place)).await.expect("it starts")
}

/// Waits until the process has ended, with this code. What it has logged, and its place.
async fn ended(town: &Town, host: Host, code: Option<i32>) -> (String, usize) {
    let (log, place) = (host.log().to_owned(), host.place);
    let waited = tokio::time::timeout(LONGEST, tokio::task::spawn_blocking(move || host.running.wait()));
    let ended = waited.await.expect("it ends").expect("no panic");
    town.forget(place);
    let log = std::fs::read_to_string(log).expect("a log");
    assert_eq!(ended, code, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    (log, place)
}

/// The middle one and the longest.
fn told(mut took: Vec<Duration>) -> String {
    took.sort();
    match (took.get(took.len() / 2), took.last()) {
        (Some(middle), Some(longest)) => format!("{} times, middle {middle:?}, longest {longest:?}", took.len()),
        _ => "never".into(),
    }
}

/// Each node in its turn is told to stop, while work goes on, and another starts in its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_call_that_is_made_again() {
    let Some(town) = Town::new().await else { return };
    let mut hosts = futures::future::join_all((0..NODES).map(|place| started(&town, place))).await;
    let (clients, workers) = Clients::new(&town);
    let going = clients.go(4);
    for _ in 0..NODES {
        until_even(&town).await;
        let before = clients.started();
        let host = hosts.remove(0);
        host.running.signal("TERM");
        let (_, place) = ended(&town, host, Some(0)).await;
        hosts.push(started(&town, place).await);
        while clients.started() < before + 4 {
            a_little().await;
        }
    }
    let longest = clients.longest();
    eprintln!("{}", clients.stop(going, workers).await);
    town.errors().iter().for_each(|(what, times)| eprintln!("{times} times: {what}"));
    assert!(longest < promised(3), "a call took {longest:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_die_stand_still_and_are_replaced_and_nothing_acknowledged_is_lost_or_done_twice() {
    let Some(town) = Town::new().await else { return };
    // All at once, over a schema that is not there yet.
    let hosts = futures::future::join_all((0..NODES).map(|place| started(&town, place))).await;
    let (seed, begun) = (seed(), Instant::now());
    let probes = Probes::new(&town).await;
    let (clients, workers) = Clients::new(&town);
    let going = clients.go(4);
    let mut random = fastrand::Rng::with_seed(seed);
    let plan = plan(&mut random);
    let mut world = World { town: Arc::clone(&town), probes, hosts, random, took: Vec::new() };
    for (number, fault) in plan.iter().enumerate() {
        until_even(&town).await;
        let before = clients.started();
        eprintln!("{number}: {fault:?} after {before} runs, {:?}", begun.elapsed());
        world.harm(*fault).await;
        while clients.started() < before + 4 {
            a_little().await;
        }
    }
    let seen = clients.stop(going, workers).await;
    world.probes.check().await;
    eprintln!("seed {seed}, {} faults in {:?}: {seen}", plan.len(), begun.elapsed());
    for fault in ALL {
        let took: Vec<_> = world.took.iter().filter(|(of, _)| *of == fault).map(|(_, took)| *took).collect();
        eprintln!("{fault:?}: every shard took a write after: {}", told(took));
    }
}

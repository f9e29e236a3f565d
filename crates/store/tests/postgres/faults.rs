//! Lost answers, ended connections, restarts, locks.

use std::time::Duration;

use futures::executor::block_on;
use sempre_postgres_cluster::Cluster;
use sempre_store::{Store, Table};

use crate::{
    ledger::{Ledger, load},
    proxy::{Loss, Proxy},
    support::{
        Random,
        postgres::{Database, cluster, open_at},
    },
};

/// A store whose connections go through a proxy.
fn through_proxy(schema: &str) -> Option<(Proxy, Cluster, String)> {
    let cluster = cluster()?;
    let proxy = Proxy::start(cluster.port());
    let address = cluster.address_at(proxy.port, schema);
    Some((proxy, cluster, address))
}

#[test]
fn a_commit_whose_answer_is_lost_is_settled_before_it_is_acknowledged() {
    let Some((proxy, _cluster, address)) = through_proxy("lost_answers") else { return };
    let store = open_at(&address).unwrap();
    let mut ledger = Ledger::open(&store, 1);
    for _ in 0..5 {
        for loss in [Loss::Answer, Loss::Request, Loss::Late] {
            proxy.lose_next(loss);
            ledger.commit(&store).unwrap();
            assert!(proxy.has_lost());
            ledger.check(&store);
            ledger.commit(&store).unwrap();
            if loss == Loss::Late {
                proxy.wait_for_late();
                ledger.check(&store);
                ledger.commit(&store).unwrap();
            }
        }
    }
    ledger.check(&store);
    block_on(store.close()).unwrap();
}

#[test]
fn a_late_commit_of_an_owner_before_changes_nothing() {
    let Some((proxy, _cluster, address)) = through_proxy("late_owner") else { return };
    let store = open_at(&address).unwrap();
    let mut ledger = Ledger::open(&store, 1);
    ledger.commit(&store).unwrap();
    proxy.lose_next(Loss::Late);
    // Nobody waits for it, and the shard has a new epoch before it arrives.
    let mut abandoned = Ledger::open(&store, 1);
    abandoned.commit(&store).unwrap();
    let mut ledger = Ledger::open(&store, 1);
    proxy.wait_for_late();
    ledger.check(&store);
    ledger.commit(&store).unwrap();
    ledger.check(&store);
}

#[test]
fn connections_that_end_under_load_cost_nothing_but_time() {
    let Some((proxy, _cluster, address)) = through_proxy("cuts") else { return };
    let store = open_at(&address).unwrap();
    let time = Duration::from_secs(4);
    let end = std::time::Instant::now() + time;
    let mut cuts = 0;
    let count = load(&store, 4, time, || {
        let mut random = Random::new(9);
        while std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_micros(2000 + random.below(60_000)));
            proxy.cut();
            cuts += 1;
        }
    });
    println!("{count} batches acknowledged, {cuts} cuts");
}

#[test]
fn a_restart_of_the_database_under_load_costs_nothing_but_time() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = cluster.unwrap();
    let store = open_at(&cluster.address()).unwrap();
    let count = load(&store, 3, Duration::from_secs(6), || {
        for mode in ["fast", "immediate", "fast"] {
            std::thread::sleep(Duration::from_millis(600));
            cluster.stop(mode).unwrap();
            cluster.start_again().unwrap();
        }
    });
    println!("{count} batches acknowledged, 3 restarts");
}

#[test]
fn locks_of_others_are_waited_for() {
    let Some((_proxy, cluster, address)) = through_proxy("locks") else { return };
    let store = open_at(&address).unwrap();
    load(&store, 2, Duration::from_secs(3), || {
        for table in ["state", "shard", "history", "node"] {
            let lock = format!("BEGIN; LOCK TABLE locks.{table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.4); COMMIT");
            cluster.sql(&lock).unwrap();
        }
    });
}

/// What an administrator may have set for the role: strict isolation, impatience, and answers before the disk has them.
#[test]
fn settings_of_the_role_do_no_harm() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = cluster.unwrap();
    cluster
        .sql(
            "ALTER ROLE plain SET default_transaction_isolation = 'serializable'; ALTER ROLE plain SET statement_timeout = '150ms'; \
             ALTER ROLE plain SET lock_timeout = '100ms'; ALTER ROLE plain SET synchronous_commit = off; ALTER ROLE plain SET search_path = ''",
        )
        .unwrap();
    let store = open_at(&cluster.address_of("settings")).unwrap();
    load(&store, 4, Duration::from_secs(3), || {
        let lock = "BEGIN; LOCK TABLE settings.state IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(0.5); COMMIT";
        cluster.sql(lock).unwrap();
    });
    // What the commit itself is told.
    let arrays = ",'{}'::bytea[]".repeat(3 * Table::ALL.len());
    let shown = cluster
        .sql(&format!("SET synchronous_commit = off; BEGIN; SELECT settings.commit_1(99, 1, 1{arrays}); SHOW synchronous_commit; ROLLBACK"))
        .unwrap();
    assert_eq!(shown.lines().collect::<Vec<_>>(), ["0", "on"]);
}

/// What nobody waits for any more does not go on in the database.
#[test]
fn a_read_that_nobody_wants_is_stopped_in_the_database() {
    let Some(database) = Database::new() else { return };
    let store = database.open();
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let sql = |text: &str| database.cluster.sql(text).unwrap();
    let cluster = database.cluster.clone();
    let lock = format!("BEGIN; LOCK TABLE {schema}.state IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT");
    let locking = std::thread::spawn(move || cluster.sql(&lock).map(drop).unwrap());
    let locked = format!("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{schema}.state'::regclass");
    while sql(&locked) == "0" {}
    let waiting = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{schema}%scan_1%'");
    let scan = store.scan(Table::State, &[], &[0xff], 10);
    let until = |wanted: &str| assert!((0..400).any(|_| sql(&waiting) == wanted), "never {wanted}");
    until("1");
    drop(scan);
    until("0");
    assert_ne!(sql(&locked), "0", "it did not end by itself");
    locking.join().unwrap();
    assert!(block_on(store.scan(Table::State, &[], &[0xff], 10)).unwrap().is_empty());
}

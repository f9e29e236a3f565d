//! One server at a time, and none that has lost its place writes.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use sempre_store::{CommitError, Store, StoreError};

use crate::{
    ledger::Ledger,
    proxy::Proxy,
    support::postgres::{Database, cluster, open_at},
};

#[test]
fn a_second_server_is_refused_while_the_first_lives() {
    let Some(database) = Database::new() else { return };
    let store = database.open();
    let error = open_at(&database.address).unwrap_err();
    assert!(matches!(error, StoreError::Owned { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("is in use by another server (process ") && text.contains("Stop it first"), "{text}");
    let mut ledger = Ledger::open(&store, 1);
    ledger.commit(&store).unwrap();
    block_on(store.close()).unwrap();
    let begun = Instant::now();
    drop(database.open());
    assert!(begun.elapsed() < Duration::from_millis(900), "a schema that was given back is taken at once");
}

/// A server that was silent for longer than its lease finds that another has gone on, and that nothing of it is written.
#[test]
fn a_server_that_wakes_after_its_lease_writes_nothing() {
    let Some(cluster) = cluster() else { return };
    let proxy = Proxy::start(cluster.port());
    let first = open_at(&cluster.address_at(proxy.port, "zombie")).unwrap();
    let mut old = Ledger::open(&first, 1);
    old.commit(&first).unwrap();
    let failed = first.until_failed().unwrap();
    proxy.freeze(true);
    let begun = Instant::now();
    let second = open_at(&cluster.address_of("zombie")).unwrap();
    let waited = begun.elapsed();
    // Before the new one has even asked for the shard.
    proxy.freeze(false);
    let refused = old.commit(&first).unwrap_err();
    assert!(matches!(refused, CommitError::Fenced | CommitError::Failed { .. }), "{refused:?}");
    let mut new = Ledger::open(&second, 1);
    new.commit(&second).unwrap();
    new.check(&second);
    let error = block_on(first.acquire(1)).unwrap_err();
    assert!(matches!(&error, StoreError::Failed { reason } if reason.contains("another server has taken")), "{error:?}");
    new.check(&second);
    assert!(block_on(failed).contains("another server has taken"), "also when nothing is committed");
    println!("taken over after {waited:?}");
    assert!(waited < Duration::from_secs(5));
}

/// The old server asks for a shard at the same moment: what it is given is worth nothing after the schema is taken.
#[test]
fn a_shard_that_is_given_out_while_the_schema_is_taken_is_fenced_too() {
    let Some(database) = Database::new() else { return };
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let proxy = Proxy::start(database.cluster.port());
    let first = open_at(&database.cluster.address_at(proxy.port, schema)).unwrap();
    proxy.freeze(true);
    let holder = database.cluster.sql(&format!("SELECT id FROM {schema}.node")).unwrap();
    let acquire = format!("BEGIN; SELECT {schema}.acquire_1(77, '{holder}'); SELECT pg_sleep(3); COMMIT");
    let cluster = database.cluster.clone();
    let acquiring = std::thread::spawn(move || cluster.sql(&acquire).unwrap());
    let has_begun = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(3)'";
    while database.cluster.sql(has_begun).unwrap() == "0" {}
    let second = open_at(&database.address).unwrap();
    let given = acquiring.join().unwrap();
    assert!(given.starts_with("(1,"), "the first epoch: {given}");
    let epoch = database.cluster.sql(&format!("SELECT epoch FROM {schema}.shard WHERE id = 77")).unwrap();
    assert_eq!(epoch, "2", "raised as every other shard's");
    proxy.freeze(false);
    drop((first, second));
}

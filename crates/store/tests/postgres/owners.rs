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

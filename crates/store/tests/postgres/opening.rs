//! What a schema has to be, and what is left alone.

use futures::executor::block_on;
use sempre_postgres_cluster::Cluster;
use sempre_store::{
    CommitBatch, Store, StoreError, Table,
    postgres::{PostgresOptions, PostgresReader},
};

use crate::{
    ledger::Ledger,
    support::{
        contents,
        postgres::{Database, cluster, open_at, runtime},
    },
};

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let Some(cluster) = cluster() else { return };
    let address = cluster.address_of("newer");
    block_on(open_at(&address).unwrap().close()).unwrap();
    let ours = cluster.sql("SELECT format FROM newer.format").unwrap();
    cluster.sql("UPDATE newer.format SET format = format + 5").unwrap();
    let theirs = cluster.sql("SELECT format FROM newer.format").unwrap();
    let owner = cluster.sql("SELECT * FROM newer.node").unwrap();
    let text = open_at(&address).unwrap_err().to_string();
    let formats = format!("has format {theirs}, this program supports formats up to {ours}");
    assert!(text.contains("schema newer of postgres://") && text.contains(&formats), "{text}");
    assert!(text.ends_with("Nothing was changed. Use a newer version of the program."), "{text}");
    assert_eq!(cluster.sql("SELECT * FROM newer.node").unwrap(), owner);
    cluster.sql(&format!("UPDATE newer.format SET format = {ours}")).unwrap();
    open_at(&address).unwrap();
}

#[test]
fn a_schema_of_something_else_is_refused_and_left_alone() {
    let Some(cluster) = cluster() else { return };
    cluster.sql("CREATE SCHEMA other AUTHORIZATION plain; CREATE TABLE other.state (a integer)").unwrap();
    let text = open_at(&cluster.address_of("other")).unwrap_err().to_string();
    assert!(text.contains("it holds tables of something else. Nothing was changed."), "{text}");
    assert_eq!(cluster.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'other'").unwrap(), "1");
}

#[test]
fn an_empty_schema_that_somebody_made_is_used() {
    let Some(cluster) = cluster() else { return };
    cluster.sql("CREATE ROLE guest LOGIN; CREATE SCHEMA prepared AUTHORIZATION guest").unwrap();
    let address = |schema| cluster.address_of(schema).replace("plain@", "guest@");
    let text = open_at(&address("unprepared")).unwrap_err().to_string();
    assert!(text.contains("permission denied for database work"), "{text}");
    let store = open_at(&address("prepared")).unwrap();
    let mut ledger = Ledger::open(&store, 1);
    ledger.commit(&store).unwrap();
    ledger.check(&store);
}

#[test]
fn two_that_make_the_schema_at_once_make_one() {
    let Some(database) = Database::new() else { return };
    let opened: Vec<_> = std::thread::scope(|scope| {
        let opening: Vec<_> = (0..6).map(|_| scope.spawn(|| open_at(&database.address))).collect();
        opening.into_iter().map(|opening| opening.join().unwrap()).collect()
    });
    assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1);
    assert!(opened.iter().all(|opened| matches!(opened, Ok(_) | Err(StoreError::Owned { .. }))), "{opened:?}");
}

#[test]
fn what_cannot_be_reached_is_told() {
    let Some(cluster) = cluster() else { return };
    let closed = cluster.address_at(1, "nowhere");
    let text = open_at(&closed).unwrap_err().to_string();
    assert!(text.starts_with("cannot connect to schema nowhere of postgres://127.0.0.1:1/work: "), "{text}");
    let stranger = cluster.address_of("nowhere").replace("plain@", "stranger:secret@");
    let text = open_at(&stranger).unwrap_err().to_string();
    assert!(text.contains("role \"stranger\" does not exist") && !text.contains("secret"), "{text}");
    let missing = cluster.address_of("nowhere").replace("/work?", "/missing?");
    let text = open_at(&missing).unwrap_err().to_string();
    assert!(text.contains("database \"missing\" does not exist"), "{text}");
}

#[test]
fn a_database_that_does_not_write_to_disk_is_refused() {
    let Some(cluster) = Cluster::start_set(&["fsync=off"]) else { return };
    let text = open_at(&cluster.unwrap().address()).unwrap_err().to_string();
    assert!(text.contains("its setting fsync is off"), "{text}");
}

/// A check may look at what a server works on: one moment of it, and it changes nothing.
#[test]
fn readers_show_one_moment_while_the_owner_goes_on() {
    let Some(database) = Database::new() else { return };
    let options = || PostgresOptions::parse(&database.address, None).unwrap();
    let open = || runtime().block_on(PostgresReader::open(options(), runtime().handle().clone()));
    let text = open().unwrap_err().to_string();
    assert!(text.contains("there is nothing in it"), "{text}");
    let store = database.open();
    let mut ledger = Ledger::open(&store, 1);
    ledger.commit(&store).unwrap();
    let reader = open().unwrap();
    let before = contents(&reader);
    assert!(before == contents(&store));
    ledger.commit(&store).unwrap();
    assert!(before == contents(&reader) && before != contents(&store));
    assert!(block_on(reader.acquire(1)).is_err());
    assert!(block_on(reader.commit(CommitBatch::new(ledger.fence))).is_err());
    let report = block_on(reader.report()).unwrap();
    assert!(report.owner.is_some_and(|owner| owner.starts_with("process ")));
    assert_eq!(report.tables.len(), Table::ALL.len() + 4);
    assert_eq!(report.synchronous_commit, "on");
}

#[test]
fn what_a_copy_that_did_not_end_has_left_is_refused() {
    let Some(database) = Database::new() else { return };
    let store = database.open();
    block_on(store.set_incomplete(Some("somebody filled it"))).unwrap();
    block_on(store.close()).unwrap();
    let text = open_at(&database.address).unwrap_err().to_string();
    assert!(text.contains("cannot be used: somebody filled it, and that did not end. Drop the schema and begin again."), "{text}");
}

//! The index in PostgreSQL: what is there after a restart, what another server may not do, what is damaged or of another program.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use fastrand::Rng;
use futures::executor::block_on;
use sempre_core::ids::Uuid;
use sempre_engine::visibility::{Change, Index, IndexError, postgres::PostgresIndex, sqlite::Tuning};
use sempre_store::{
    Store,
    postgres::{PostgresOptions, PostgresStore, member::NodeOptions},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use crate::{
    data::{namespace, ready, record, run},
    indexes::{OWNER, Server, server},
};

fn put(n: u8) -> Change {
    Change::Put { version: 1, record: record(&mut Rng::with_seed(n.into()), namespace(1), run(n)).into() }
}

fn count(index: &PostgresIndex) -> Result<u64, IndexError> {
    block_on(index.count(namespace(1), None, &BTreeSet::new()))
}

fn reopened(server: &Server, store: PostgresStore, address: &str) -> PostgresStore {
    block_on(store.close()).unwrap();
    server.open(address)
}

/// A store and an index with five runs.
fn filled(server: &Server, address: &str) -> (PostgresStore, PostgresIndex) {
    let store = server.open(address);
    let index = server.index(&store, Tuning::default());
    ready(&index);
    block_on(index.apply((0..5).map(put).collect())).unwrap();
    assert_eq!(count(&index), Ok(5));
    (store, index)
}

fn assert_needs_rebuild(index: &PostgresIndex, why: &str) {
    let reason = index.needs_rebuild().expect("a rebuild is needed");
    assert!(reason.contains(why), "{reason}");
    assert_eq!(count(index), Err(IndexError::NeedsRebuild { reason }), "not silently empty");
    ready(index);
    block_on(index.apply(vec![put(1)])).unwrap();
    assert_eq!(count(index), Ok(1), "nothing old is left");
}

#[test]
fn it_is_there_again_after_a_restart() {
    let Some(server) = server() else { return };
    let address = server.cluster.address();
    let (store, index) = filled(server, &address);
    block_on(index.close());
    assert_eq!(count(&index), Err(IndexError::Closed));
    let store = reopened(server, store, &address);
    let index = server.index(&store, Tuning::default());
    assert_eq!((index.needs_rebuild(), count(&index)), (None, Ok(5)));
    // New rows get numbers that no old one has.
    block_on(index.apply((3..9).map(put).collect())).unwrap();
    assert_eq!(count(&index), Ok(9));
    let stats = block_on(index.stats()).unwrap();
    assert_eq!(stats.records, 9);
    assert!(stats.bytes > 8192, "{stats:?}");
}

#[test]
fn a_server_that_has_lost_the_schema_changes_nothing() {
    let Some(server) = server() else { return };
    let address = server.cluster.address();
    let (old_store, old) = filled(server, &address);
    // As if the old one had been silent for too long: somebody else had the schema since, it does not know.
    let schema = old_store.beside().schema().to_owned();
    server.cluster.sql(&format!("UPDATE {schema}.node SET id = gen_random_uuid(), until = clock_timestamp() - interval '1 s'")).unwrap();
    let store = server.open(&address);
    let index = server.index(&store, Tuning::default());
    block_on(index.apply(vec![Change::Delete { namespace: namespace(1), run: run(1) }])).unwrap();
    let refused = block_on(old.apply(vec![put(1), put(8)])).unwrap_err();
    assert!(matches!(&refused, IndexError::Failed { reason, .. } if reason.contains("another server has taken")), "{refused:?}");
    assert!(block_on(old.purge(namespace(1))).is_err());
    assert!(block_on(old.begin_rebuild()).is_err());
    assert_eq!(count(&index), Ok(4));
    let late = server.runtime.block_on(PostgresIndex::open(old_store.beside(), OWNER));
    assert!(matches!(late.err(), Some(IndexError::Failed { .. })), "nor does it make tables");
}

/// Two that write to the same tables, as nodes do: one after the other, and of two rebuilds the second counts.
#[test]
fn of_two_writers_who_has_begun_the_last_rebuild_finishes_it_and_the_other_finds_out() {
    let Some(server) = server() else { return };
    let store = server.open(&server.cluster.address());
    let [a, b] = [0, 1].map(|_| server.index(&store, Tuning::default()));
    assert!(a.needs_rebuild().is_some() && b.needs_rebuild().is_some());
    block_on(a.begin_rebuild()).unwrap();
    block_on(a.apply(vec![put(1)])).unwrap();
    block_on(b.begin_rebuild()).unwrap();
    let refused = block_on(a.finish_rebuild()).unwrap_err();
    assert!(matches!(&refused, IndexError::Failed { reason, .. } if reason.contains("another node has begun a rebuild")), "{refused:?}");
    assert!(b.needs_rebuild().is_some(), "it is not whole yet");
    block_on(b.apply(vec![put(2)])).unwrap();
    // Marked by the newest rebuild, whoever writes it.
    block_on(a.apply(vec![put(3)])).unwrap();
    block_on(b.finish_rebuild()).unwrap();
    assert_eq!(count(&b), Ok(2), "what was put since the second has begun");
    block_on(a.apply(vec![put(4)])).unwrap();
    assert_eq!((a.needs_rebuild(), count(&a), count(&b)), (None, Ok(3), Ok(3)));
}

/// Two nodes that share a schema, each with the index as it has it. It is whole, and has one run.
fn of_two_nodes(server: &Server) -> [(PostgresStore, PostgresIndex); 2] {
    // A lease that a busy machine does not miss.
    let address = server.cluster.address().replace("lease_ms=1000", "lease_ms=5000");
    let node = |name: &str| {
        let options = PostgresOptions::parse(&address, None).unwrap();
        let as_node = NodeOptions { name: name.into(), shards: 1, singles: vec![u32::MAX], ..NodeOptions::default() };
        let store = server.runtime.block_on(PostgresStore::join(options, as_node, server.runtime.handle().clone())).unwrap();
        let index = server.runtime.block_on(PostgresIndex::open(store.beside_node(), OWNER)).unwrap();
        (store, index)
    };
    let (store, a) = node("a");
    ready(&a);
    block_on(a.apply(vec![put(1)])).unwrap();
    let b = node("b");
    assert_eq!((count(&a), count(&b.1)), (Ok(1), Ok(1)));
    [(store, a), b]
}

/// Waits for it, as long as anything may take.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test that hangs fails by the wall clock")]
fn soon<T>(server: &Server, what: impl Future<Output = T>) -> T {
    server.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), what).await }).expect("it comes")
}

/// Waits until it is so.
#[track_caller]
#[expect(clippy::disallowed_methods, reason = "a test that hangs fails by the wall clock")]
fn until(server: &Server, what: &str, is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never so: {what}");
        // Until the database has answered something.
        server.cluster.sql("SELECT 1").unwrap();
    }
}

#[test]
fn a_node_does_not_answer_from_tables_that_another_has_made_anew_until_they_are_whole() {
    let Some(server) = server() else { return };
    let [(store, a), (_other, b)] = of_two_nodes(server);
    let schema = store.beside().schema().to_owned();
    server.cluster.sql(&format!("DROP TABLE {schema}.attr_order")).unwrap();
    assert!(matches!(block_on(b.apply((5..15).map(put).collect())), Err(IndexError::NeedsRebuild { .. })));
    block_on(b.begin_rebuild()).unwrap();
    // The first has heard of nothing.
    assert!(matches!(count(&a), Err(IndexError::NeedsRebuild { .. })), "not what is there so far: {:?}", count(&a));
    assert!(a.needs_rebuild().is_some());
    block_on(b.apply(vec![put(2), put(3)])).unwrap();
    block_on(b.finish_rebuild()).unwrap();
    until(server, "it learns that they are", || a.needs_rebuild().is_none());
    assert_eq!((count(&a), count(&b)), (Ok(2), Ok(2)));
}

#[test]
fn a_node_that_nobody_asks_learns_that_the_index_is_not_whole_any_more() {
    let Some(server) = server() else { return };
    let [(store, a), (_other, b)] = of_two_nodes(server);
    let schema = store.beside().schema().to_owned();
    let needs = a.until_needs_rebuild();
    server.cluster.sql(&format!("DROP TABLE {schema}.attr_order")).unwrap();
    assert!(matches!(block_on(b.apply((5..15).map(put).collect())), Err(IndexError::NeedsRebuild { .. })));
    // Who has found the damage makes new tables, though it is not the one that fills them.
    soon(server, needs);
    ready(&a);
    block_on(a.apply(vec![put(1)])).unwrap();
    until(server, "the other learns that it is whole", || b.needs_rebuild().is_none());
    block_on(b.apply(vec![put(2)])).unwrap();
    assert_eq!((count(&a), count(&b)), (Ok(2), Ok(2)));
}

#[test]
fn of_two_nodes_that_find_the_same_damage_one_makes_new_tables() {
    let Some(server) = server() else { return };
    let [(store, a), (_other, b)] = of_two_nodes(server);
    let schema = store.beside().schema().to_owned();
    server.cluster.sql(&format!("DROP TABLE {schema}.attr_order")).unwrap();
    for index in [&a, &b] {
        assert!(matches!(block_on(index.apply((5..15).map(put).collect())), Err(IndexError::NeedsRebuild { .. })));
    }
    block_on(a.begin_rebuild()).unwrap();
    let made = format!("SELECT '{schema}.index_info'::regclass::oid");
    let made = || server.cluster.sql(&made).unwrap();
    let first = made();
    block_on(a.apply(vec![put(1), put(2)])).unwrap();
    block_on(a.finish_rebuild()).unwrap();
    until(server, "the other sees that they are others", || b.needs_rebuild().is_none());
    block_on(b.apply(vec![put(3)])).unwrap();
    assert_eq!((count(&a), count(&b)), (Ok(3), Ok(3)));
    assert_eq!(made(), first);
}

/// A write that goes well says nothing of what a read has found meanwhile.
#[test]
fn damage_that_a_read_finds_while_something_is_written_is_not_forgotten_when_that_is_done() {
    let Some(server) = server() else { return };
    let (store, index) = filled(server, &server.cluster.address());
    let schema = store.beside().schema().to_owned();
    let sql = |text: &str| server.cluster.sql(&text.replace("{s}", &schema)).unwrap();
    sql("UPDATE {s}.run SET record = '\\xff'");
    // A lock of somebody else holds up the write.
    let (ended, end) = channel();
    let text = format!("BEGIN; SELECT 1 FROM {schema}.index_info FOR UPDATE; SELECT pg_sleep(4) /* holds {schema} */; COMMIT");
    std::thread::spawn(move || ended.send(server.cluster.sql(&text).map(drop)));
    let some = |what: &str| sql(&format!("SELECT count(*) FROM pg_stat_activity WHERE {what}")) != "0";
    until(server, "it is locked", || some("wait_event = 'PgSleep' AND query LIKE '%holds {s} %'"));
    let written = index.apply(vec![put(9)]);
    until(server, "it waits", || some("wait_event_type = 'Lock' AND query LIKE '%\"{s}\".index_info FOR UPDATE%'"));
    let read = block_on(index.list(namespace(1), None, None, 10, &BTreeSet::new()));
    assert!(matches!(read, Err(IndexError::NeedsRebuild { .. })), "{read:?}");
    assert!(end.try_recv().is_err(), "and it still waits");
    block_on(written).unwrap();
    end.recv().unwrap().unwrap();
    assert!(index.needs_rebuild().is_some());
    assert!(matches!(count(&index), Err(IndexError::NeedsRebuild { .. })));
    assert!(matches!(block_on(index.apply(vec![put(9)])), Err(IndexError::NeedsRebuild { .. })));
    assert_needs_rebuild(&index, "damaged");
}

#[test]
fn what_is_not_whole_is_made_anew() {
    let Some(server) = server() else { return };
    let address = server.cluster.address();
    let (store, index) = filled(server, &address);
    let schema = store.beside().schema().to_owned();
    let sql = |text: &str| server.cluster.sql(&text.replace("{s}", &schema)).unwrap();

    // While it is in use: reads and writes find out.
    sql("DROP TABLE {s}.attr_order");
    assert!(matches!(block_on(index.apply((5..15).map(put).collect())), Err(IndexError::NeedsRebuild { .. })));
    assert_needs_rebuild(&index, "damaged");
    sql("DROP TABLE {s}.counter");
    assert!(matches!(count(&index), Err(IndexError::NeedsRebuild { .. })));
    assert_needs_rebuild(&index, "damaged");
    block_on(index.close());

    let open = |store: PostgresStore| {
        let store = reopened(server, store, &address);
        let index = server.index(&store, Tuning::default());
        (store, index)
    };
    sql("DROP TABLE {s}.run");
    let (store, index) = open(store);
    assert_needs_rebuild(&index, "damaged");
    block_on(index.close());
    sql("DROP TABLE {s}.index_info");
    let (store, index) = open(store);
    assert_needs_rebuild(&index, "damaged");
    block_on(index.begin_rebuild()).unwrap();
    block_on(index.close());
    let (store, index) = open(store);
    assert_eq!(index.needs_rebuild(), None, "a whole one stays whole while it is made anew");
    block_on(index.close());
    sql("UPDATE {s}.index_info SET complete = false");
    let (store, index) = open(store);
    assert_needs_rebuild(&index, "not finished");
    block_on(index.close());
    sql("UPDATE {s}.index_info SET format = 0");
    let (store, index) = open(store);
    assert_needs_rebuild(&index, "older format");
    block_on(index.close());
    let store = reopened(server, store, &address);
    let index = server.runtime.block_on(PostgresIndex::open(store.beside(), Uuid([4; 16]))).unwrap();
    assert_needs_rebuild(&index, "another store");
    block_on(index.close());

    sql("UPDATE {s}.index_info SET format = 77");
    let store = reopened(server, store, &address);
    let error = server.runtime.block_on(PostgresIndex::open(store.beside(), OWNER)).err().expect("refused");
    assert!(matches!(error, IndexError::NewerFormat { found: 77, supported: 1, .. }), "{error}");
    assert_eq!(sql("SELECT count(*) FROM {s}.run"), "1", "and untouched");
}

#[test]
fn it_goes_on_when_the_database_was_away() {
    let Some(cluster) = sempre_postgres_cluster::Cluster::start() else { return };
    let Some(shared) = server() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = Server { cluster: cluster.unwrap(), runtime };
    let (_store, index) = filled(&server, &server.cluster.address());
    server.cluster.stop("immediate").unwrap();
    assert!(matches!(block_on(index.apply(vec![put(7)])), Err(IndexError::Failed { .. })));
    assert!(matches!(count(&index), Err(IndexError::Failed { .. })));
    server.cluster.start_again().unwrap();
    block_on(index.apply(vec![put(7)])).unwrap();
    assert_eq!(count(&index), Ok(6));
    assert_ne!(shared.cluster.port(), server.cluster.port());
}

/// A lock of somebody else on a table of the schema, for some seconds. Gives what waits for its end.
fn lock(server: &'static Server, schema: &str, table: &str) -> Receiver<std::io::Result<()>> {
    let (ended, end) = channel();
    let text = format!("BEGIN; LOCK TABLE {schema}.{table} IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(4); COMMIT");
    std::thread::spawn(move || ended.send(server.cluster.sql(&text).map(drop)));
    let is_there = format!("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND relation = '{schema}.{table}'::regclass");
    while server.cluster.sql(&is_there).unwrap() == "0" {}
    end
}

/// Tables that take long to be made anew do not cost the server its lease.
#[test]
fn the_lease_is_renewed_while_tables_are_made() {
    let Some(server) = server() else { return };
    let (store, index) = filled(server, &server.cluster.address());
    block_on(index.close());
    let schema = store.beside().schema().to_owned();
    let sql = |text: &str| server.cluster.sql(&text.replace("{s}", &schema)).unwrap();
    sql("DROP TABLE {s}.attr_order");
    let end = lock(server, &schema, "run");
    let beside = store.beside();
    let opening = server.runtime.spawn(async move { PostgresIndex::open(beside, OWNER).await });
    let waits = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{schema}\".run%'");
    while sql(&waits) == "0" {}
    sql("SET lock_timeout = '500ms'; UPDATE {s}.node SET until = until");
    assert_ne!(sql(&waits), "0", "the tables are not made yet");
    end.recv().unwrap().unwrap();
    let index = server.runtime.block_on(opening).unwrap().unwrap();
    assert_needs_rebuild(&index, "damaged");
}

/// A way to the database that may get silent.
struct Way {
    port: u16,
    silent: watch::Sender<bool>,
}

impl Way {
    fn to(server: &Server) -> Self {
        let target = server.cluster.port();
        let silent = watch::Sender::new(false);
        let listener = server.runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_silent = silent.clone();
        server.runtime.spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut silent = is_silent.subscribe();
                ways.spawn(async move {
                    if !*silent.borrow() {
                        let mut there = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
                        tokio::select! {
                            _ = copy_bidirectional(&mut client, &mut there) => return,
                            _ = silent.wait_for(|is| *is) => {}
                        }
                    }
                    // Open, and nothing comes.
                    std::future::pending::<()>().await;
                });
            }
        });
        Self { port, silent }
    }
}

/// The threads for reads are not held by a database that does not answer, neither on a connection that is there nor on a new one.
#[test]
fn a_read_ends_in_its_time_though_the_database_is_silent() {
    let Some(server) = server() else { return };
    let way = Way::to(server);
    let store = server.open(&server.cluster.address_at(way.port, "silent"));
    let tuning = Tuning { quick_time: Duration::from_millis(100), read_time_max: Duration::from_secs(1), ..Tuning::default() };
    let index = server.index(&store, tuning);
    ready(&index);
    assert_eq!(count(&index), Ok(0));
    way.silent.send_replace(true);
    for _ in 0..2 {
        assert_eq!(count(&index), Err(IndexError::TooLong { seconds: 1 }));
    }
}

/// Statements of reads that nobody waits for any more do not go on in the database.
#[test]
fn a_read_that_nobody_wants_is_stopped_in_the_database() {
    let Some(server) = server() else { return };
    let address = server.cluster.address();
    let (store, index) = filled(server, &address);
    let schema = store.beside().schema().to_owned();
    let sql = |text: &str| server.cluster.sql(&text.replace("{s}", &schema)).unwrap();
    // A lock of somebody else makes it wait as long as one likes.
    let holder = lock(server, &schema, "part");
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%division FROM part%'";
    let until = |wanted: &str| {
        for _ in 0..400 {
            if sql(waiting) == wanted {
                return;
            }
        }
        panic!("never {wanted}");
    };
    let read = index.count(namespace(1), None, &BTreeSet::new());
    until("1");
    drop(read);
    until("0");
    assert!(holder.try_recv().is_err(), "it did not end by itself");
    holder.recv().unwrap().unwrap();
    assert_eq!(count(&index), Ok(5));
}

//! Several nodes that share a schema: shards spread over them, and none commits to what is not its own.

mod chance;
mod host;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use futures::executor::block_on;
use sempre_postgres_cluster::Cluster;
use sempre_store::{
    CommitError, Store, StoreError, Table,
    postgres::placement::{NodeId, SINGLE_FIRST},
};

use self::host::{Book, Host, SHARDS, SINGLES, all_shards, settle};
use crate::{
    ledger::Ledger,
    proxy::Proxy,
    support::postgres::{Database, cluster, open_at, runtime},
};

/// A lease that a busy machine does not miss.
fn calm(address: &str) -> String {
    address.replace("lease_ms=1000", "lease_ms=2500")
}

fn join_all(address: &str, names: &[&str], book: &Book) -> Vec<Host> {
    names.iter().map(|name| Host::join(address, name, book).unwrap()).collect()
}

/// Waits for what the wall clock brings.
fn soon(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never so");
        std::thread::yield_now();
    }
}

/// How many of each class every node has.
fn counts(has: &BTreeMap<u32, NodeId>) -> Vec<(usize, usize)> {
    let mut counts: BTreeMap<NodeId, (usize, usize)> = BTreeMap::new();
    for (shard, node) in has {
        let (spread, single) = counts.entry(*node).or_default();
        *(if *shard < SINGLE_FIRST { spread } else { single }) += 1;
    }
    let mut counts: Vec<_> = counts.into_values().collect();
    counts.sort_unstable();
    counts
}

#[test]
fn shards_are_spread_and_another_node_is_given_none_of_them() {
    let Some(database) = Database::new() else { return };
    let book = Book::default();
    let mut hosts = join_all(&calm(&database.address), &["a", "b", "c"], &book);
    let has = settle(&mut hosts);
    assert_eq!(counts(&has), [(5, 1), (5, 1), (6, 1)]);
    for host in &mut hosts {
        host.commit().unwrap();
        let others = has.iter().find(|(_, node)| **node != host.id()).map(|(shard, _)| *shard).unwrap();
        let error = block_on(host.store.acquire(others)).unwrap_err();
        assert!(matches!(error, StoreError::Elsewhere { shard } if shard == others), "{error}");
        let holder = host.picture().holder(others).unwrap().clone();
        assert_eq!((holder.id, &holder.address), (has[&others], &format!("{}:7233", holder.name)));
        assert_eq!((holder.key, holder.process), (format!("key of {}", holder.name), u64::MAX));
    }
    assert_eq!(book.len(), all_shards().count());
    book.check(&hosts[0].store);
    assert!(matches!(block_on(hosts[0].store.acquire(SHARDS)), Err(StoreError::Elsewhere { .. })), "there is no such shard");
}

#[test]
fn a_node_that_joins_gets_its_share_and_the_others_keep_the_rest() {
    let Some(database) = Database::new() else { return };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b"], &book);
    let before = settle(&mut hosts);
    let epochs: Vec<_> = hosts.iter().map(Host::epochs).collect();
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    hosts.push(Host::join(&address, "c", &book).unwrap());
    let after = settle(&mut hosts);
    assert_eq!(counts(&after), [(5, 1), (5, 1), (6, 1)]);
    let new = hosts[2].id();
    for (shard, node) in &after {
        assert!(*node == new || *node == before[shard], "shard {shard} moved between nodes that stay");
    }
    for (host, before) in hosts.iter().zip(epochs) {
        assert!(host.epochs().iter().all(|(shard, epoch)| before[shard] == *epoch), "what stays is not interrupted");
    }
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[2].store);
    assert_eq!(book.len(), 2 * all_shards().count());
}

#[test]
fn a_node_that_drains_leaves_nothing_behind_and_nobody_waits_for_its_lease() {
    let Some(database) = Database::new() else { return };
    let book = Book::default();
    // Nobody could wait for this one.
    let address = database.address.replace("lease_ms=1000", "lease_ms=60000");
    let mut hosts = join_all(&address, &["a", "b", "c"], &book);
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let begun = Instant::now();
    hosts.remove(1).drain();
    hosts.iter().for_each(|host| host.membership().look());
    let has = settle(&mut hosts);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert_eq!(counts(&has), [(8, 1), (8, 2)]);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[0].store);
    // The last one that goes has nobody to give to; what it leaves is there for who comes.
    hosts.drain(..).for_each(Host::end);
    let mut hosts = join_all(&address, &["d"], &book);
    settle(&mut hosts);
    hosts[0].commit().unwrap();
    book.check(&hosts[0].store);
    assert_eq!(book.len(), 3 * all_shards().count());
}

/// With the lease that a node has unless it is told otherwise.
#[test]
fn what_a_node_had_that_is_gone_is_served_within_five_seconds() {
    let Some(cluster) = cluster() else { return };
    let (book, proxy) = (Book::default(), Proxy::start(cluster.port()));
    let usual = |port| cluster.address_at(port, "takeover").replace("&lease_ms=1000", "");
    let mut hosts = join_all(&usual(cluster.port()), &["a", "b"], &book);
    hosts.push(Host::join(&usual(proxy.port), "c", &book).unwrap());
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let gone = hosts.pop().unwrap();
    proxy.freeze(true);
    let begun = Instant::now();
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let taken_over = begun.elapsed();
    println!("taken over after {taken_over:?}");
    assert!(taken_over < Duration::from_secs(5), "{taken_over:?}");
    assert!(taken_over > Duration::from_secs(2), "not before its lease has run out: {taken_over:?}");
    book.check(&hosts[0].store);
    drop((gone, proxy));
}

#[test]
fn a_node_that_wakes_after_its_lease_writes_nothing_and_ends() {
    let Some(cluster) = cluster() else { return };
    let (book, proxy) = (Book::default(), Proxy::start(cluster.port()));
    let mut hosts = join_all(&cluster.address_of("sleepers"), &["a"], &book);
    hosts.push(Host::join(&cluster.address_at(proxy.port, "sleepers"), "b", &book).unwrap());
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let mut sleeper = hosts.pop().unwrap();
    let failed = sleeper.store.until_failed().unwrap();
    assert!(sleeper.membership().is_current());
    proxy.freeze(true);
    settle(&mut hosts);
    assert!(!sleeper.membership().is_current(), "it knows by itself that it may have been removed");
    let before: Vec<u64> = all_shards().map(|shard| hosts[0].last(shard)).collect();
    proxy.freeze(false);
    let refused = sleeper.commit().unwrap_err();
    assert!(matches!(refused, CommitError::Fenced | CommitError::Failed { .. }), "{refused:?}");
    assert!(block_on(failed).contains("other servers have taken"), "also when nothing is committed");
    assert!(matches!(block_on(sleeper.store.acquire(0)), Err(StoreError::Failed { .. })));
    assert_eq!(all_shards().map(|shard| hosts[0].last(shard)).collect::<Vec<_>>(), before);
    hosts[0].commit().unwrap();
    book.check(&hosts[0].store);
}

/// A database that is away for longer than a lease is nobody's death.
#[test]
fn nobody_is_taken_for_dead_after_a_time_without_the_database() {
    let Some(cluster) = Cluster::start() else { return };
    let (book, cluster) = (Book::default(), cluster.unwrap());
    let mut hosts = join_all(&cluster.address_of("away"), &["a", "b", "c"], &book);
    let before = settle(&mut hosts);
    cluster.stop("fast").unwrap();
    soon(|| hosts.iter().all(|host| !host.membership().is_current()));
    std::thread::sleep(Duration::from_millis(1200));
    cluster.start_again().unwrap();
    soon(|| hosts.iter().all(|host| host.membership().is_current()));
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    assert_eq!(settle(&mut hosts), before);
    book.check(&hosts[0].store);
}

/// What they have heard of each other meanwhile is of a time in which they may have been cut off from each other, too.
#[test]
fn nobody_is_told_to_go_after_a_time_without_the_database_and_the_others() {
    let Some(cluster) = Cluster::start() else { return };
    let (book, cluster) = (Book::default(), cluster.unwrap());
    let mut hosts = join_all(&cluster.address_of("away"), &["a", "b", "c"], &book);
    let before = settle(&mut hosts);
    let failed: Vec<_> = hosts.iter().map(|host| runtime().spawn(host.store.until_failed().unwrap())).collect();
    cluster.stop("fast").unwrap();
    soon(|| hosts.iter().all(|host| !host.membership().is_current()));
    say(&hosts, &[&[1, 2], &[0, 2], &[0, 1]]);
    std::thread::sleep(Duration::from_millis(500));
    cluster.start_again().unwrap();
    soon(|| hosts.iter().all(|host| host.membership().is_current()));
    // They hear of each other a moment later than they have the database again.
    std::thread::sleep(Duration::from_millis(300));
    say(&hosts, &[&[], &[], &[]]);
    std::thread::sleep(Duration::from_millis(1500));
    assert!(failed.iter().all(|failed| !failed.is_finished()));
    assert_eq!(settle(&mut hosts), before);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[0].store);
}

#[test]
fn one_alone_and_nodes_keep_each_other_out_and_each_goes_on_with_what_the_other_left() {
    let Some(database) = Database::new() else { return };
    let book = Book::default();
    let alone = database.open();
    let mut ledger = Ledger::open(&alone, 40);
    ledger.commit(&alone).unwrap();
    let error = Host::join(&database.address, "a", &book).err().expect("refused");
    assert!(matches!(error, StoreError::Alone { .. }), "{error}");
    block_on(alone.close()).unwrap();

    let mut hosts = join_all(&calm(&database.address), &["a", "b"], &book);
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let error = open_at(&database.address).unwrap_err();
    assert!(matches!(&error, StoreError::Shared { holder, .. } if holder == "a" || holder == "b"), "{error}");
    assert!(hosts.iter_mut().all(|host| host.commit().is_ok()));
    hosts.drain(..).for_each(Host::end);

    let alone = database.open();
    ledger = Ledger::open(&alone, 40);
    ledger.commit(&alone).unwrap();
    ledger.check(&alone);
    book.check(&alone);
}

#[test]
fn a_commit_that_is_under_way_when_its_shard_is_given_comes_first_and_no_other_after() {
    let Some(database) = Database::new() else { return };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b"], &book);
    let has = settle(&mut hosts);
    let shard = *has.iter().find(|(_, node)| **node == hosts[0].id()).map(|(shard, _)| shard).unwrap();
    let mut ledger = Ledger::open(&hosts[0].store, shard);
    let pending: Vec<_> = (0..20).map(|_| ledger.begin(&hosts[0].store)).collect();
    let given = hosts[0].store.give(shard, hosts[1].id());
    let mut late = ledger.clone();
    assert_eq!(late.commit(&hosts[0].store), Err(CommitError::Fenced), "from the call on");
    block_on(given).unwrap();
    pending.into_iter().for_each(|commit| block_on(commit).unwrap());
    let mut next = Ledger::open(&hosts[1].store, shard);
    ledger.check(&hosts[1].store);
    next.commit(&hosts[1].store).unwrap();
    next.check(&hosts[1].store);
    assert_eq!(late.commit(&hosts[0].store), Err(CommitError::Fenced));
    assert!(matches!(block_on(hosts[0].store.acquire(shard)), Err(StoreError::Elsewhere { .. })));
    // Once more is none of its business.
    let again = block_on(hosts[0].store.give(shard, hosts[0].id()));
    assert!(matches!(again, Err(StoreError::Elsewhere { .. })), "{again:?}");
    next.commit(&hosts[1].store).unwrap();
}

/// A call for an epoch that was sent twice, the second of which comes late: the epoch that its sender knows is not the shard's any more.
#[test]
fn a_shard_is_given_also_if_its_epoch_is_another_than_its_owner_knows() {
    let Some(database) = Database::new() else { return };
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b"], &book);
    let has = settle(&mut hosts);
    let shard = *has.iter().find(|(_, node)| **node == hosts[0].id()).map(|(shard, _)| shard).unwrap();
    database.cluster.sql(&format!("SELECT {schema}.acquire_1({shard}, '{}')", hosts[0].id())).unwrap();
    block_on(hosts[0].store.give(shard, hosts[1].id())).unwrap();
    assert!(block_on(hosts[1].store.acquire(shard)).is_ok(), "it is there");
    assert!(matches!(block_on(hosts[0].store.acquire(shard)), Err(StoreError::Elsewhere { .. })));
}

#[test]
fn what_lies_beside_is_written_by_the_node_that_has_its_shard() {
    let Some(database) = Database::new() else { return };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b"], &book);
    let has = settle(&mut hosts);
    let single = SINGLES[0];
    let (owner, other) = if has[&single] == hosts[0].id() { (0, 1) } else { (1, 0) };
    let proves = |host: &Host| {
        let beside = host.store.beside_shard(single);
        runtime().block_on(async {
            let session = beside.connect().await.unwrap();
            !session.client().query_typed(&beside.proof(), &[]).await.unwrap().is_empty()
        })
    };
    assert!(proves(&hosts[owner]) && !proves(&hosts[other]));
    block_on(hosts[owner].store.give(single, hosts[other].id())).unwrap();
    assert!(!proves(&hosts[owner]) && proves(&hosts[other]));
    let is_there = |beside: &sempre_store::postgres::Beside| {
        runtime().block_on(async { !beside.connect().await.unwrap().client().query_typed(&beside.proof(), &[]).await.unwrap().is_empty() })
    };
    let of_all = [hosts[0].store.beside_node(), hosts[1].store.beside_node()];
    assert!(of_all.iter().all(is_there), "each may, as long as it is there");
    let beside = hosts[0].store.beside();
    let rows = runtime().block_on(async { beside.connect().await.unwrap().client().query_typed(&beside.proof(), &[]).await.unwrap() });
    assert!(rows.is_empty(), "nobody has the whole");
    hosts.remove(1).end();
    assert!(is_there(&of_all[0]) && !is_there(&of_all[1]));
}

/// The first of two hosts takes connections and says nothing: the second is asked, and the lease lasts.
#[test]
fn a_host_that_says_nothing_costs_no_node_its_place() {
    let Some(cluster) = cluster() else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = format!("127.0.0.1:{},127.0.0.1:{}", silent.local_addr().unwrap().port(), cluster.port());
    let address = cluster.address_of("silent");
    let (head, schema) = (address.split("@").next().unwrap(), address.split("schema=").nth(1).unwrap());
    let (book, two) = (Book::default(), format!("{head}@{ports}/work?application_name=silent&schema={schema}"));
    let mut hosts = vec![Host::join(&two, "a", &book).unwrap()];
    hosts.push(Host::join(&address, "b", &book).unwrap());
    let has = settle(&mut hosts);
    // The connection that renews goes; others of the same lease look on for some leases.
    let pids = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'silent'";
    cluster.sql(pids).unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    soon(|| Instant::now() > until);
    assert!(hosts.iter().all(|host| host.membership().is_current()));
    assert_eq!(settle(&mut hosts), has);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[0].store);
}

/// A call that comes late, by hand: its sender is not who it was.
#[test]
fn calls_that_come_late_take_nothing_from_anybody() {
    let Some(database) = Database::new() else { return };
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b"], &book);
    let has = settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let sql = |text: &str| database.cluster.sql(text).unwrap();
    let (a, b) = (hosts[0].id(), hosts[1].id());
    let shard = *has.iter().find(|(_, node)| **node == a).unwrap().0;
    let row = |shard: u32| sql(&format!("SELECT epoch, node FROM {schema}.shard WHERE id = {shard}"));
    let before = row(shard);
    let epoch = hosts[0].epochs()[&shard];
    sql(&format!("SELECT {schema}.give_2('{a}', {shard}, {}, '{b}')", epoch - 1));
    assert_eq!(row(shard), before, "of an epoch before");
    // Everybody's lease has run out but that of b, which had looked before they were renewed.
    let nodes = || sql(&format!("SELECT count(*) FROM {schema}.node"));
    sql(&format!("SELECT {schema}.reap_1('{b}', clock_timestamp() - interval '1 s')"));
    assert_eq!(nodes(), "2", "renewed since");
    sql(&format!("SELECT {schema}.reap_1(gen_random_uuid(), clock_timestamp() + interval '1 hour')"));
    assert_eq!(nodes(), "2", "who is not there removes nobody");
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[0].store);
}

/// Each says whom it does not reach, by names.
fn say(hosts: &[Host], unreached: &[&[usize]]) {
    for (host, unreached) in hosts.iter().zip(unreached) {
        host.membership().set_unreached(unreached.iter().map(|other| hosts[*other].id()).collect());
    }
}

#[test]
fn a_node_that_most_others_do_not_reach_goes_at_once_and_says_why() {
    let Some(database) = Database::new() else { return };
    let book = Book::default();
    // Nobody could wait for this one.
    let address = database.address.replace("lease_ms=1000", "lease_ms=60000");
    let mut hosts = join_all(&address, &["a", "b", "c"], &book);
    settle(&mut hosts);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    let failed = runtime().spawn(hosts[2].store.until_failed().unwrap());
    let begun = Instant::now();
    say(&hosts, &[&[2], &[2], &[0, 1]]);
    let mut gone = hosts.pop().unwrap();
    // It renews its lease twice in this test, as leases go.
    soon(|| {
        gone.membership().look();
        failed.is_finished()
    });
    let why = block_on(failed).unwrap();
    assert!(why.starts_with("other servers do not reach this one at c:7233 ("), "{why}");
    assert!(why.contains("a at a:7233") && why.contains("b at b:7233") && why.contains("they have taken what it had in schema "), "{why}");
    assert!(!gone.membership().is_current(), "it says nothing from memory");
    assert!(matches!(gone.commit(), Err(CommitError::Failed { .. } | CommitError::Fenced)));
    let has = settle(&mut hosts);
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody has waited for its lease");
    assert_eq!(counts(&has), [(8, 1), (8, 2)]);
    hosts.iter_mut().for_each(|host| host.commit().unwrap());
    book.check(&hosts[0].store);
    // What is said of who has gone is of no consequence.
    let standings = runtime().block_on(hosts[0].store.standings()).unwrap();
    assert!(standings.len() == 2 && standings.values().all(|standing| standing.misses(gone.id()) && !standing.is_leaving));
}

#[test]
fn one_of_two_that_do_not_reach_each_other_stays_and_a_broken_link_among_three_makes_nobody_go() {
    let Some(database) = Database::new() else { return };
    let (book, address) = (Book::default(), calm(&database.address));
    let mut hosts = join_all(&address, &["a", "b", "c"], &book);
    let before = settle(&mut hosts);
    say(&hosts, &[&[1], &[0], &[]]);
    let standings = || runtime().block_on(hosts[2].store.standings()).unwrap();
    soon(|| standings()[&hosts[0].id()].misses(hosts[1].id()) && standings()[&hosts[1].id()].misses(hosts[0].id()));
    // Some renewals later they are all there.
    let until = Instant::now() + Duration::from_millis(1500);
    soon(|| Instant::now() > until);
    assert_eq!(settle(&mut hosts), before);
    hosts.remove(2).drain();
    // Now they are two, and the one with the greater id goes.
    hosts.sort_by_key(Host::id);
    let gone = hosts.pop().unwrap();
    let why = block_on(gone.store.until_failed().unwrap());
    assert!(why.contains("other servers do not reach this one at "), "{why}");
    assert_eq!(counts(&settle(&mut hosts)), [(16, 3)]);
    hosts[0].commit().unwrap();
    book.check(&hosts[0].store);
}

/// The word that a node is to go, by hand: late, from the wrong one, of too few, of those who do not say so any more.
#[test]
fn that_a_node_is_to_go_is_asked_again_where_it_is_decided() {
    let Some(database) = Database::new() else { return };
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let sql = |text: String| database.cluster.sql(&text).unwrap();
    let address = database.address.replace("lease_ms=1000", "lease_ms=60000");
    let host = Host::join(&address, "nobody is left", &Book::default()).unwrap();
    host.end();
    // Rows of nodes that are no processes: nobody renews or changes them but this test.
    let ids: Vec<NodeId> = (1..=5).map(NodeId).collect();
    let [a, b, c, d, e] = ids[..] else { panic!("five") };
    let make = |unreached: &[(NodeId, NodeId)]| {
        sql(format!("DELETE FROM {schema}.node"));
        for id in &ids {
            let said: Vec<_> = unreached.iter().filter(|(by, _)| by == id).map(|(_, of)| format!("'{of}'")).collect();
            sql(format!(
                "INSERT INTO {schema}.node (id, name, address, alone, ready, unreached, until)
                 VALUES ('{id}', '', '', false, true, ARRAY[{}]::uuid[], clock_timestamp() + interval '1 min')",
                said.join(",")
            ));
        }
    };
    let oust = |by: NodeId, victim: NodeId, voters: &[NodeId]| {
        let voters: Vec<_> = voters.iter().map(|id| format!("'{id}'")).collect();
        sql(format!("SELECT {schema}.oust_1('{by}', '{victim}', ARRAY[{}]::uuid[])", voters.join(","))) == "t"
    };
    let version = || sql(format!("SELECT version FROM {schema}.cluster"));
    let marked = || sql(format!("SELECT count(*) FROM {schema}.node WHERE ousted IS NOT NULL OR leaving"));
    let of_e = [(a, e), (b, e), (c, e)];
    let change = |id: NodeId, what: &str| sql(format!("UPDATE {schema}.node SET {what} WHERE id = '{id}'"));
    let over = "until = clock_timestamp() - interval '1 s'";
    for (who, what, why) in [
        (a, over, "the lease of who asks is over"),
        (c, over, "a voter's lease is over"),
        (c, "leaving = true", "a voter is about to go"),
        (c, "ready = false", "a voter is not ready"),
        (c, "unreached = '{}'", "a voter does not say so any more"),
        (c, "unreached = NULL", "a voter says nothing"),
        (e, over, "its lease is over: it is removed anyway"),
        (e, "leaving = true", "it goes anyway"),
        (e, "ready = false", "it has nothing"),
        (e, "unreached = NULL", "it would not hear of it"),
    ] {
        make(&of_e);
        change(who, what);
        let before = (version(), marked());
        assert!(!oust(a, e, &[a, b, c]), "{why}");
        assert_eq!((version(), marked()), before, "{why}");
    }
    make(&of_e);
    assert!(!oust(a, e, &[a, b]), "half is not more than half");
    assert!(!oust(a, e, &[a, b, d]), "one of them reaches it");
    assert!(!oust(a, e, &[a, b, b]), "each is one");
    assert!(!oust(NodeId(9), e, &[a, b, c]), "who is not there says nothing");
    assert_eq!(marked(), "0");
    let before = version();
    assert!(oust(d, e, &[a, b, c]));
    assert_ne!(version(), before, "all look");
    let before = version();
    assert!(!oust(d, e, &[a, b, c]), "once");
    // One more, while that one has not gone.
    for by in [a, b, c] {
        change(by, &format!("unreached = ARRAY['{d}', '{e}']::uuid[]"));
    }
    assert!(!oust(a, d, &[a, b, c]), "one at a time");
    assert_eq!((version(), marked()), (before, "1".into()));
    change(e, over);
    assert!(oust(a, d, &[a, b, c]), "it says nothing any more");
}

/// A commit in doubt, asked for again when its shard has been freed, and when another has it.
#[test]
fn a_commit_in_doubt_is_settled_until_the_next_owner_writes() {
    let Some(database) = Database::new() else { return };
    let Some(schema) = database.address.split("schema=").nth(1).and_then(|rest| rest.split('&').next()) else { panic!("no schema") };
    let mut hosts = join_all(&calm(&database.address), &["a"], &Book::default());
    settle(&mut hosts);
    let sql = |text: &str| database.cluster.sql(text).unwrap();
    let epoch = hosts[0].epochs()[&3];
    let arrays = ",'{}'::bytea[]".repeat(3 * Table::ALL.len());
    let commit = |seq: u64| sql(&format!("SELECT {schema}.commit_1(3, {epoch}, {seq}{arrays})"));
    assert_eq!(commit(1), "1", "done");
    assert_eq!(commit(1), "2", "was done");
    hosts.remove(0).end();
    assert_eq!((commit(1), commit(2)), ("2".into(), "0".into()), "freed: the one was done, the other never will be");
    let mut next = join_all(&calm(&database.address), &["b"], &Book::default());
    settle(&mut next);
    assert_eq!((commit(1), commit(2)), ("-1".into(), "0".into()), "nobody knows any more who wrote the first");
}

//! The dedup store in PostgreSQL: what it keeps, with several users, and when its connection is lost.
//!
//! Skipped, with a line that says so, where PostgreSQL is not installed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may unwrap and spawn")]

use std::time::Duration;

use sempre_patterns::idempotent::{
    Attempt, Claim, Class, DedupStore, Fenced, Key, once,
    postgres::{
        PostgresDedup, Turn,
        tokio_postgres::{self, Client, NoTls},
    },
};
use sempre_postgres_cluster::Cluster;
use temporalio_sdk::activities::ActivityError;

fn cluster() -> Option<Cluster> {
    Cluster::start().map(|cluster| cluster.unwrap())
}

/// Without the options that are the server's own.
fn address(cluster: &Cluster) -> String {
    let address = cluster.address();
    let (plain, _) = address.split_once("&schema=").unwrap();
    plain.to_owned()
}

async fn client(cluster: &Cluster) -> Client {
    let (client, connection) = tokio_postgres::connect(&address(cluster), NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_keeps_what_a_dedup_store_must() {
    let Some(cluster) = cluster() else { return };
    let store = PostgresDedup::connect(&address(&cluster)).await.unwrap();

    let key = Key::new("invoice 7");
    assert_eq!(store.begin(&key).await.unwrap(), Claim::First);
    assert_eq!(store.begin(&key).await.unwrap(), Claim::Again);
    store.finish(&key, b"paid").await.unwrap();
    store.finish(&key, b"paid again").await.unwrap();
    assert_eq!(store.begin(&key).await.unwrap(), Claim::Done(b"paid".to_vec()));
    assert_eq!(store.begin(&Key::new("invoice 8")).await.unwrap(), Claim::First);

    let [untouched, begun, done] = ["untouched", "begun", "done"].map(Key::new);
    store.begin(&begun).await.unwrap();
    store.begin(&done).await.unwrap();
    store.finish(&done, b"it").await.unwrap();
    for _ in 0..2 {
        assert_eq!(store.fence(&untouched).await.unwrap(), Fenced::Untouched);
        assert_eq!(store.fence(&begun).await.unwrap(), Fenced::Begun);
        assert_eq!(store.fence(&done).await.unwrap(), Fenced::Done(b"it".to_vec()));
        for key in [&untouched, &begun, &done] {
            assert_eq!(store.begin(key).await.unwrap(), Claim::Fenced);
        }
    }
    // The attempt that was under way finishes after all.
    store.finish(&begun, b"late").await.unwrap();
    assert_eq!(store.fence(&begun).await.unwrap(), Fenced::Done(b"late".to_vec()));

    // Many at once: one is the first.
    let key = Key::new("raced");
    let race = (0..16).map(|_| {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move { store.begin(&key).await.unwrap() })
    });
    let mut claims = Vec::new();
    for claim in race.collect::<Vec<_>>() {
        claims.push(claim.await.unwrap());
    }
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::First).count(), 1);
    assert_eq!(claims.iter().filter(|claim| **claim == Claim::Again).count(), 15);

    // Two that make the table at once do not get in each other's way.
    let address = address(&cluster);
    let (one, other) = tokio::join!(PostgresDedup::connect(&address), PostgresDedup::connect(&address));
    assert_eq!(one.unwrap().begin(&key).await.unwrap(), Claim::Again);
    let store = other.unwrap();
    assert_eq!(store.forget(Duration::from_secs(3600)).await.unwrap(), 0);
    client(&cluster).await.execute("UPDATE processed SET begun_at = begun_at - interval '2 hours' WHERE key = 'raced'", &[]).await.unwrap();
    assert_eq!(store.forget(Duration::from_secs(3600)).await.unwrap(), 1);
    assert_eq!(store.begin(&key).await.unwrap(), Claim::First);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_made_again() {
    let Some(cluster) = cluster() else { return };
    let store = PostgresDedup::connect(&address(&cluster)).await.unwrap();
    let key = Key::new("k");
    assert_eq!(store.begin(&key).await.unwrap(), Claim::First);
    let client = client(&cluster).await;
    let others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    client.query_one(&format!("SELECT count(pg_terminate_backend(pid)) {others}"), &[]).await.unwrap();
    // They end when they get to it.
    while client.query_one(&format!("SELECT count(*) {others}"), &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The call that notices may fail; what follows does not.
    let _ = store.begin(&key).await;
    assert_eq!(store.begin(&key).await.unwrap(), Claim::Again);
    let value = once(&store, &key, async |attempt| {
        assert_eq!(attempt, Attempt::Again);
        Ok::<_, ActivityError>(7)
    });
    assert_eq!(value.await.unwrap(), 7);
    assert_eq!(once(&store, &key, async |_| -> Result<i32, ActivityError> { panic!("it has happened") }).await.unwrap(), 7);
}

async fn add(client: &mut Client, key: &Key, n: i64, fails: bool) -> Result<i64, ActivityError> {
    match PostgresDedup::in_one(client, key).await? {
        Turn::Done(n) => Ok(n),
        Turn::Yours(turn) => {
            turn.transaction().execute("INSERT INTO effects VALUES ($1)", &[&n]).await.unwrap();
            if fails {
                return Err(Class::Retryable.error("not this time"));
            }
            turn.finish(n).await
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_effect_in_the_same_database_happens_with_its_memory_or_not_at_all() {
    let Some(cluster) = cluster() else { return };
    let store = PostgresDedup::connect(&address(&cluster)).await.unwrap();
    let (mut one, mut other, key) = (client(&cluster).await, client(&cluster).await, Key::new("k"));
    one.batch_execute("CREATE TABLE effects (n BIGINT)").await.unwrap();
    assert!(add(&mut one, &key, 1, true).await.is_err());
    // Two at once: one waits for the other, and has its result.
    let (a, b) = tokio::join!(add(&mut one, &key, 2, false), add(&mut other, &key, 3, false));
    let (a, b) = (a.unwrap(), b.unwrap());
    assert_eq!(a, b);
    assert_eq!(add(&mut one, &key, 4, false).await.unwrap(), a);
    let all: i64 = one.query_one("SELECT sum(n)::bigint FROM effects", &[]).await.unwrap().get(0);
    assert_eq!(all, a);
    assert_eq!(store.fence(&key).await.unwrap(), Fenced::Done(a.to_string().into_bytes()));
    assert!(add(&mut one, &key, 5, false).await.is_err(), "it has been undone");
}

//! The memory of effects in an SQLite file.
//!
//! Table `processed`, one row per key: `state` is 0 begun, 1 done; `fenced` is what was known when it was fenced (null: it is not);
//! `result` is what was finished.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

pub use rusqlite;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::ActivityError;

use super::{Claim, Class, DedupStore, Fenced, Key, StoreError};

/// How long a transaction waits for one of another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS processed (
    key      TEXT PRIMARY KEY NOT NULL,
    state    INTEGER NOT NULL,
    fenced   INTEGER,
    result   BLOB NOT NULL DEFAULT x'',
    begun_at INTEGER NOT NULL DEFAULT (unixepoch())
) STRICT, WITHOUT ROWID;";

const BEGUN: i64 = 0;
const DONE: i64 = 1;
/// Value of `fenced` of a key that nobody had begun.
const UNTOUCHED: i64 = 2;

/// A [`DedupStore`] in SQLite. Clones are the same store; several processes may share a file.
#[derive(Clone)]
pub struct SqliteDedup {
    connection: Arc<Mutex<Connection>>,
}

impl SqliteDedup {
    /// Opens a file, or makes it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::of(Connection::open(path).map_err(wrong)?)
    }

    /// One that is gone with the process: for tests.
    pub fn in_memory() -> Result<Self, StoreError> {
        Self::of(Connection::open_in_memory().map_err(wrong)?)
    }

    /// Uses a connection to a database that holds other tables too: those that [`in_one`](Self::in_one) writes.
    pub fn of(connection: Connection) -> Result<Self, StoreError> {
        connection.busy_timeout(BUSY_TIMEOUT).map_err(wrong)?;
        // In a file: one sync per transaction, readers do not wait. In memory it says `memory`.
        connection.query_row("PRAGMA journal_mode = wal", [], |_| Ok(())).map_err(wrong)?;
        connection.execute_batch("PRAGMA synchronous = full").map_err(wrong)?;
        connection.execute_batch(SCHEMA).map_err(wrong)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Has `effect` and the memory of it in one transaction: it happens exactly once, or, with an error, not at all. Later calls
    /// give the result of the first. `effect` writes with the transaction it is given, and nowhere else.
    pub async fn in_one<T, F>(&self, key: &Key, effect: F) -> Result<T, ActivityError>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        F: FnOnce(&Transaction<'_>) -> Result<T, ActivityError> + Send + 'static,
    {
        let key = key.clone();
        let outcome = self.transact(move |tx| {
            match begin(tx, &key)? {
                Claim::Done(result) => return Ok(serde_json::from_slice(&result).map_err(ActivityError::from)),
                Claim::Fenced => return Ok(Err(Class::BusinessRule.error(format!("`{key}` has been undone")))),
                // Begun and not finished cannot be left behind by this; by another user of the same key it can, and then it is
                // for the one who asks.
                Claim::First | Claim::Again => {}
            }
            let value = match effect(tx) {
                Ok(value) => value,
                Err(error) => return Err(Abort::Effect(error)),
            };
            match serde_json::to_vec(&value) {
                Ok(result) => finish(tx, &key, &result)?,
                Err(error) => return Err(Abort::Effect(error.into())),
            }
            Ok(Ok(value))
        });
        match outcome.await {
            Ok(outcome) => outcome,
            Err(Abort::Effect(error)) => Err(error),
            Err(Abort::Store(error)) => Err(wrong(error).into()),
        }
    }

    /// Forgets keys that were begun longer ago than `age`: longer than any attempt of theirs can still come. Says how many.
    pub async fn forget(&self, age: Duration) -> Result<usize, StoreError> {
        let seconds = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
        self.call(move |tx| tx.execute("DELETE FROM processed WHERE begun_at < unixepoch() - ?1", [seconds])).await
    }

    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.transact(move |tx| work(tx)).await.map_err(wrong)
    }

    /// A transaction that is rolled back on an error, on a thread that may block.
    async fn transact<T, E>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Send + 'static,
    {
        let connection = self.connection.clone();
        let done = tokio::task::spawn_blocking(move || {
            // A panic in an effect has rolled its transaction back: the connection is good.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&tx)?;
            tx.commit()?;
            Ok(value)
        });
        match done.await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is shutting down: nobody waits for this.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl DedupStore for SqliteDedup {
    async fn begin(&self, key: &Key) -> Result<Claim, StoreError> {
        let key = key.clone();
        self.call(move |tx| begin(tx, &key)).await
    }

    async fn finish(&self, key: &Key, result: &[u8]) -> Result<(), StoreError> {
        let (key, result) = (key.clone(), result.to_vec());
        self.call(move |tx| finish(tx, &key, &result)).await
    }

    async fn fence(&self, key: &Key) -> Result<Fenced, StoreError> {
        let key = key.clone();
        self.call(move |tx| fence(tx, &key)).await
    }
}

struct Row {
    state: i64,
    fenced: Option<i64>,
    result: Vec<u8>,
}

fn row(tx: &Transaction<'_>, key: &Key) -> rusqlite::Result<Option<Row>> {
    let mut statement = tx.prepare_cached("SELECT state, fenced, result FROM processed WHERE key = ?1")?;
    statement.query_row([key.as_str()], |row| Ok(Row { state: row.get(0)?, fenced: row.get(1)?, result: row.get(2)? })).optional()
}

fn begin(tx: &Transaction<'_>, key: &Key) -> rusqlite::Result<Claim> {
    Ok(match row(tx, key)? {
        None => {
            tx.execute("INSERT INTO processed (key, state) VALUES (?1, ?2)", params![key.as_str(), BEGUN])?;
            Claim::First
        }
        Some(Row { fenced: Some(_), .. }) => Claim::Fenced,
        Some(Row { state: DONE, result, .. }) => Claim::Done(result),
        Some(_) => Claim::Again,
    })
}

fn finish(tx: &Transaction<'_>, key: &Key, result: &[u8]) -> rusqlite::Result<()> {
    tx.execute(
        "INSERT INTO processed (key, state, result) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET state = excluded.state, result = excluded.result WHERE state <> excluded.state",
        params![key.as_str(), DONE, result],
    )?;
    Ok(())
}

fn fence(tx: &Transaction<'_>, key: &Key) -> rusqlite::Result<Fenced> {
    let known = row(tx, key)?;
    let fenced = known.as_ref().map_or(UNTOUCHED, |row| row.fenced.unwrap_or(row.state));
    tx.execute(
        "INSERT INTO processed (key, state, fenced) VALUES (?1, ?2, ?3) ON CONFLICT (key) DO UPDATE SET fenced = excluded.fenced",
        params![key.as_str(), BEGUN, fenced],
    )?;
    Ok(match known {
        // What came in after the fence counts too: somebody has to undo it.
        Some(row) if row.state == DONE => Fenced::Done(row.result),
        _ if fenced == UNTOUCHED => Fenced::Untouched,
        _ => Fenced::Begun,
    })
}

/// Why a transaction was rolled back.
enum Abort {
    Store(rusqlite::Error),
    Effect(ActivityError),
}

impl From<rusqlite::Error> for Abort {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error)
    }
}

fn wrong(error: rusqlite::Error) -> StoreError {
    StoreError(error.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> SqliteDedup {
        SqliteDedup::in_memory().unwrap()
    }

    #[tokio::test]
    async fn a_key_is_begun_then_done_with_its_first_result() {
        let (store, key) = (store(), Key::new("invoice 7"));
        assert_eq!(store.begin(&key).await.unwrap(), Claim::First);
        assert_eq!(store.begin(&key).await.unwrap(), Claim::Again);
        store.finish(&key, b"paid").await.unwrap();
        store.finish(&key, b"paid again").await.unwrap();
        assert_eq!(store.begin(&key).await.unwrap(), Claim::Done(b"paid".to_vec()));
        assert_eq!(store.begin(&Key::new("invoice 8")).await.unwrap(), Claim::First);
    }

    #[tokio::test]
    async fn a_fence_forbids_and_says_what_there_is_to_undo() {
        let store = store();
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
        assert_eq!(store.begin(&begun).await.unwrap(), Claim::Fenced);
    }

    #[tokio::test]
    async fn an_effect_in_the_same_database_happens_with_its_memory_or_not_at_all() {
        let (store, key) = (store(), Key::new("k"));
        store.connection.lock().unwrap().execute_batch("CREATE TABLE effects (n INTEGER)").unwrap();
        let write = |n: i64, fails: bool| {
            store.in_one(&key, move |tx| {
                tx.execute("INSERT INTO effects VALUES (?1)", [n])?;
                if fails { Err(Class::Retryable.error("not this time")) } else { Ok(n) }
            })
        };
        assert!(write(1, true).await.is_err());
        assert_eq!(write(2, false).await.unwrap(), 2);
        assert_eq!(write(3, false).await.unwrap(), 2);
        let all: i64 = store.connection.lock().unwrap().query_row("SELECT sum(n) FROM effects", [], |row| row.get(0)).unwrap();
        assert_eq!(all, 2);
        store.fence(&key).await.unwrap();
        assert!(write(4, false).await.is_err());
    }

    #[tokio::test]
    async fn two_users_of_a_file_see_one_memory_and_old_keys_can_be_forgotten() {
        let folder = std::env::temp_dir().join(format!("sempre-patterns-dedup-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("dedup.sqlite");
        let (one, other, key) = (SqliteDedup::open(&path).unwrap(), SqliteDedup::open(&path).unwrap(), Key::new("k"));
        assert_eq!(one.begin(&key).await.unwrap(), Claim::First);
        assert_eq!(other.begin(&key).await.unwrap(), Claim::Again);
        assert_eq!(one.forget(Duration::from_secs(3600)).await.unwrap(), 0);
        one.connection.lock().unwrap().execute("UPDATE processed SET begun_at = begun_at - 7200", []).unwrap();
        assert_eq!(one.forget(Duration::from_secs(3600)).await.unwrap(), 1);
        assert_eq!(other.begin(&key).await.unwrap(), Claim::First);
        drop((one, other));
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

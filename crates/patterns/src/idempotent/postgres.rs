//! The memory of effects in PostgreSQL.
//!
//! Table `processed`, one row per key: `state` is 0 begun, 1 done; `fenced` is what was known when it was fenced (null: it is not);
//! `result` is what was finished. It is made if it is not there, in the first schema of the connection's search path.
//!
//! Each call is one statement that decides by the unique key, or two of which the second only reads: any number of processes
//! may share the table, also behind a pooler that gives out connections by transaction.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use serde::{Serialize, de::DeserializeOwned};
use temporalio_sdk::activities::ActivityError;
use tokio::sync::Mutex;
pub use tokio_postgres;
use tokio_postgres::{Client, NoTls, Row, Transaction};

use super::{Claim, Class, DedupStore, Fenced, Key, StoreError};

/// Locked while the table is made: two that make it at once would get in each other's way.
const MAKING: i64 = 7_368_455_313_020_127_847;

const BEGUN: i16 = 0;
const DONE: i16 = 1;
/// Value of `fenced` of a key that nobody had begun.
const UNTOUCHED: i16 = 2;

type Connect = dyn Fn() -> BoxFuture<'static, Result<Client, StoreError>> + Send + Sync;

/// A [`DedupStore`] in PostgreSQL. Clones are the same store. It keeps one connection, and makes another when that one is lost: the
/// call that notices fails, and the next attempt of the activity goes on.
#[derive(Clone)]
pub struct PostgresDedup {
    connect: Arc<Connect>,
    client: Arc<Mutex<Option<Arc<Client>>>>,
}

impl PostgresDedup {
    /// Connects without TLS: to this machine, or in a network of its own. `address` is a URL or `key=value` pairs.
    #[expect(clippy::disallowed_methods, reason = "the task that drives a connection is its client's, and ends with it")]
    pub async fn connect(address: &str) -> Result<Self, StoreError> {
        let config: tokio_postgres::Config = address.parse().map_err(wrong)?;
        Self::with(move || {
            let config = config.clone();
            async move {
                let (client, connection) = config.connect(NoTls).await.map_err(wrong)?;
                // Ends with the client. What goes wrong is told to whoever asks next.
                tokio::spawn(connection);
                Ok(client)
            }
        })
        .await
    }

    /// Connects as the caller does it: with TLS, through a pooler. `connect` drives the connection it makes.
    pub async fn with<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Result<Self, StoreError>
    where
        F: Future<Output = Result<Client, StoreError>> + Send + 'static,
    {
        let store = Self { connect: Arc::new(move || Box::pin(connect())), client: Arc::default() };
        make_table(&*store.client().await?).await?;
        Ok(store)
    }

    async fn client(&self) -> Result<Arc<Client>, StoreError> {
        let mut client = self.client.lock().await;
        if let Some(client) = client.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let new = Arc::new((self.connect)().await?);
        *client = Some(new.clone());
        Ok(new)
    }

    /// Calls with the kept connection. One on which a call found that it is lost is not given to another call: whether the
    /// client has noticed by then is chance.
    async fn call<T>(&self, call: impl AsyncFnOnce(&Client) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let client = self.client().await?;
        let result = call(&client).await;
        if let Err(error) = &result
            && lost(error)
        {
            let mut kept = self.client.lock().await;
            if kept.as_ref().is_some_and(|kept| Arc::ptr_eq(kept, &client)) {
                *kept = None;
            }
        }
        result
    }

    /// Begins an effect that is a write to this very database, on a connection of the caller's: effect and memory are one
    /// transaction, so it happens exactly once. Another who begins the same key meanwhile waits.
    ///
    /// ```
    /// # use sempre_patterns::idempotent::{Key, postgres::{Turn, PostgresDedup, tokio_postgres::Client}, Class};
    /// # use temporalio_sdk::activities::ActivityError;
    /// async fn book(client: &mut Client, key: &Key, cents: i64) -> Result<i64, ActivityError> {
    ///     match PostgresDedup::in_one(client, key).await? {
    ///         Turn::Done(balance) => Ok(balance),
    ///         Turn::Yours(turn) => {
    ///             let sql = "UPDATE account SET cents = cents + $1 RETURNING cents";
    ///             let row = turn.transaction().query_one(sql, &[&cents]).await.map_err(|e| Class::Retryable.error(e))?;
    ///             turn.finish(row.get(0)).await
    ///         }
    ///     }
    /// }
    /// ```
    pub async fn in_one<'c, T: DeserializeOwned>(client: &'c mut Client, key: &Key) -> Result<Turn<'c, T>, ActivityError> {
        let transaction = client.transaction().await.map_err(wrong)?;
        let claim = loop {
            if insert(&transaction, key).await? {
                break Claim::First;
            }
            let sql = "SELECT state, fenced, result FROM processed WHERE key = $1 FOR UPDATE";
            if let Some(row) = transaction.query_opt(sql, &[&key.as_str()]).await.map_err(wrong)? {
                break claim(&row);
            }
            // It was forgotten in between.
        };
        match claim {
            Claim::Done(result) => Ok(Turn::Done(serde_json::from_slice(&result)?)),
            Claim::Fenced => Err(Class::BusinessRule.error(format!("`{key}` has been undone"))),
            // Begun and not finished cannot be left behind by this; by another user of the same key it can, and then it is
            // for the one who asks.
            Claim::First | Claim::Again => Ok(Turn::Yours(InOne { transaction, key: key.clone() })),
        }
    }

    /// Forgets keys that were begun longer ago than `age`: longer than any attempt of theirs can still come. Says how many.
    pub async fn forget(&self, age: Duration) -> Result<u64, StoreError> {
        let sql = "DELETE FROM processed WHERE begun_at < now() - make_interval(secs => $1)";
        self.call(async |client| client.execute(sql, &[&age.as_secs_f64()]).await.map_err(wrong)).await
    }
}

/// Whose turn it is to have an effect; see [`PostgresDedup::in_one`].
pub enum Turn<'c, T> {
    /// It has happened, with this result.
    Done(T),
    /// The caller's.
    Yours(InOne<'c>),
}

/// A transaction that will hold an effect and the memory of it. Dropped, it leaves neither.
pub struct InOne<'c> {
    transaction: Transaction<'c>,
    key: Key,
}

impl<'c> InOne<'c> {
    /// What the effect writes with.
    pub fn transaction(&self) -> &Transaction<'c> {
        &self.transaction
    }

    /// Commits the effect with its result, and gives that back. An error may come after the commit: the next attempt finds out.
    pub async fn finish<T: Serialize>(self, value: T) -> Result<T, ActivityError> {
        let result = serde_json::to_vec(&value)?;
        let sql = "UPDATE processed SET state = $2, result = $3 WHERE key = $1";
        self.transaction.execute(sql, &[&self.key.as_str(), &DONE, &result]).await.map_err(wrong)?;
        self.transaction.commit().await.map_err(wrong)?;
        Ok(value)
    }
}

impl DedupStore for PostgresDedup {
    async fn begin(&self, key: &Key) -> Result<Claim, StoreError> {
        self.call(async |client| {
            loop {
                if insert(client, key).await? {
                    return Ok(Claim::First);
                }
                let sql = "SELECT state, fenced, result FROM processed WHERE key = $1";
                if let Some(row) = client.query_opt(sql, &[&key.as_str()]).await.map_err(wrong)? {
                    return Ok(claim(&row));
                }
                // It was forgotten in between.
            }
        })
        .await
    }

    async fn finish(&self, key: &Key, result: &[u8]) -> Result<(), StoreError> {
        let sql = "INSERT INTO processed AS p (key, state, result) VALUES ($1, $2, $3)
            ON CONFLICT (key) DO UPDATE SET state = excluded.state, result = excluded.result WHERE p.state <> excluded.state";
        self.call(async |client| client.execute(sql, &[&key.as_str(), &DONE, &result]).await.map_err(wrong)).await?;
        Ok(())
    }

    async fn fence(&self, key: &Key) -> Result<Fenced, StoreError> {
        let sql = "INSERT INTO processed AS p (key, state, fenced) VALUES ($1, $2, $3)
            ON CONFLICT (key) DO UPDATE SET fenced = COALESCE(p.fenced, p.state) RETURNING state, fenced, result";
        let row = self.call(async |client| client.query_one(sql, &[&key.as_str(), &BEGUN, &UNTOUCHED]).await.map_err(wrong)).await?;
        let (state, fenced): (i16, i16) = (row.get(0), row.get(1));
        Ok(match (state, fenced) {
            // What came in after the fence counts too: somebody has to undo it.
            (DONE, _) => Fenced::Done(row.get(2)),
            (_, UNTOUCHED) => Fenced::Untouched,
            _ => Fenced::Begun,
        })
    }
}

async fn make_table(client: &Client) -> Result<(), StoreError> {
    // Statements in one text are one transaction.
    let sql = format!(
        "SELECT pg_advisory_xact_lock({MAKING});
        CREATE TABLE IF NOT EXISTS processed (
            key      TEXT COLLATE \"C\" PRIMARY KEY,
            state    SMALLINT NOT NULL,
            fenced   SMALLINT,
            result   BYTEA NOT NULL DEFAULT '',
            begun_at TIMESTAMPTZ NOT NULL DEFAULT now()
        )"
    );
    client.batch_execute(&sql).await.map_err(wrong)
}

/// The key is new.
async fn insert(client: &impl tokio_postgres::GenericClient, key: &Key) -> Result<bool, StoreError> {
    let sql = "INSERT INTO processed (key, state) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING";
    Ok(client.execute(sql, &[&key.as_str(), &BEGUN]).await.map_err(wrong)? == 1)
}

fn claim(row: &Row) -> Claim {
    let (state, fenced): (i16, Option<i16>) = (row.get(0), row.get(1));
    match (state, fenced) {
        (_, Some(_)) => Claim::Fenced,
        (DONE, None) => Claim::Done(row.get(2)),
        _ => Claim::Again,
    }
}

/// An error of the connection, not of a statement: none that the server told, or one that says that it ends the connection.
fn lost(error: &StoreError) -> bool {
    let told = error.0.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::as_db_error);
    told.is_none_or(|error| error.code().code().starts_with("57P"))
}

fn wrong(error: tokio_postgres::Error) -> StoreError {
    StoreError(error.into())
}

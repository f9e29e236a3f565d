//! The content at one moment, read only, whether or not a server uses the schema: for checks.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    FutureExt,
    future::{self, BoxFuture},
};
use tokio::runtime::Handle;

use super::{
    PostgresOptions,
    connections::Connection,
    limits::KEY_MAX,
    read::{self, Source},
    schema::{self, SchemaError},
    snapshot,
    statements::Statements,
    trouble::Trouble,
};
use crate::{CommitBatch, CommitError, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table};

const READ_ONLY: &str = "the data was opened for reading only";

/// A store that takes no commits and shows one moment; see the module. The database keeps that moment until it is dropped.
pub struct PostgresReader {
    inner: Arc<Inner>,
    options: PostgresOptions,
    runtime: Handle,
}

struct Inner {
    connection: Connection,
    statements: Statements,
}

/// What can be told of a schema and its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Version of PostgreSQL.
    pub version: String,
    /// Bytes of each table with its index.
    pub tables: Vec<(String, u64)>,
    /// Rows that are gone but not tidied up, as far as the database knows.
    pub dead_rows: u64,
    /// Who uses it now.
    pub owner: Option<String>,
    /// When the database answers a commit (`synchronous_commit`) unless it is told otherwise.
    pub synchronous_commit: String,
}

impl std::fmt::Debug for PostgresReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresReader").field("options", &self.options).finish_non_exhaustive()
    }
}

impl PostgresReader {
    /// Opens a schema of exactly this program's format.
    pub async fn open(options: PostgresOptions, runtime: Handle) -> Result<Self, StoreError> {
        let (opening, on) = (options.clone(), runtime.clone());
        let opened = runtime.spawn(async move {
            let (place, schema) = (opening.place(), &opening.schema);
            let failed = |trouble: Trouble| StoreError::Database { action: "read", place: place.into(), reason: trouble.into_reason() };
            let connection = snapshot::open(&opening, &on).await.map_err(failed)?;
            schema::check(connection.client(), schema, place).await.map_err(|error| match error {
                SchemaError::Unfit(error) => error,
                SchemaError::Trouble(trouble) => failed(trouble),
            })?;
            Ok::<_, StoreError>(Inner { connection, statements: Statements::new(schema) })
        });
        let inner = opened.await.map_err(|error| StoreError::Failed { reason: error.to_string() })??;
        Ok(Self { inner: Arc::new(inner), options, runtime })
    }

    /// What can be told without reading the data.
    pub async fn report(&self) -> Result<Report, StoreError> {
        let (inner, options) = (self.inner.clone(), self.options.clone());
        self.read(async move {
            report(&inner.connection, &options.schema).await.map_err(|trouble| StoreError::Database {
                action: "ask about",
                place: options.place().into(),
                reason: trouble.into_reason(),
            })
        })
        .await
    }

    fn read<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        self.runtime.spawn(read).map(|done| done.unwrap_or(Err(StoreError::Closed))).boxed()
    }
}

async fn report(connection: &Connection, schema: &str) -> Result<Report, Trouble> {
    let settings = "SELECT current_setting('server_version'), current_setting('synchronous_commit')";
    let row = connection.ask(settings, &[]).await?.pop().ok_or_else(|| Trouble::Refused("it told nothing of itself".into()))?;
    let (version, synchronous_commit) = (row.try_get(0)?, row.try_get(1)?);
    let owner = format!("SELECT string_agg(name, ', ' ORDER BY name) FROM \"{schema}\".node WHERE until > clock_timestamp()");
    let owner = connection.ask(&owner, &[]).await?.first().map(|row| row.try_get(0)).transpose()?.flatten();
    let sizes = format!(
        "SELECT relname::text, pg_total_relation_size(relid), n_dead_tup FROM pg_stat_user_tables WHERE schemaname = '{schema}' ORDER BY 2 DESC"
    );
    let (mut tables, mut dead_rows) = (Vec::new(), 0);
    for row in connection.ask(&sizes, &[]).await? {
        let (name, bytes, dead): (String, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        tables.push((name, bytes.unsigned_abs()));
        dead_rows += dead.unsigned_abs();
    }
    Ok(Report { version, tables, dead_rows, owner, synchronous_commit })
}

impl Store for PostgresReader {
    fn acquire(&self, _shard: u32) -> Pending<Result<u64, StoreError>> {
        future::ready(Err(StoreError::Rejected { reason: READ_ONLY.into() })).boxed()
    }

    fn commit(&self, _batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        future::ready(Err(CommitError::Rejected { reason: READ_ONLY.into() })).boxed()
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        let (inner, key) = (self.inner.clone(), key.to_vec());
        self.read(async move {
            let rows = read::get(Source::One(&inner.connection), &inner.statements, table, &[&key]).await?;
            Ok(rows.into_iter().next().map(|(_, value)| value))
        })
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let (inner, from, to) = (self.inner.clone(), from.to_vec(), to.to_vec());
        self.read(async move { read::scan(Source::One(&inner.connection), &inner.statements, table, &from, &to, limit).await })
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        let (inner, prefix) = (self.inner.clone(), prefix.to_vec());
        self.read(async move { read::stream(Source::One(&inner.connection), &inner.statements, &prefix, from, max_bytes).await })
    }

    /// Another moment than the one that reads show.
    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        let snapshot = snapshot::begin(self.options.clone());
        snapshot.map(|begun| begun.map(|snapshot| Box::new(snapshot) as Box<dyn Snapshot>)).boxed()
    }

    fn key_bytes_max(&self) -> usize {
        KEY_MAX
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        future::ready(Ok(())).boxed()
    }
}

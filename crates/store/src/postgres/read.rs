//! Reads, tried again while the database is away for a moment.
#![expect(clippy::disallowed_methods, reason = "how long a database may be silent is a matter of the wall clock")]

use std::time::Instant;

use bytes::Bytes;
use tokio::time::sleep;
use tokio_postgres::{Row, types::ToSql, types::Type};

use super::{
    connections::{Connection, Connections, Parameters, longer},
    limits::{KEY_MAX, PAUSE_FIRST, PAUSE_MAX, READ_MAX},
    statements::Statements,
    trouble::Trouble,
};
use crate::{Rows, StoreError, Table, split_stream_key, stream_key};

/// Greater than every key.
pub(super) fn last_key() -> Vec<u8> {
    vec![u8::MAX; KEY_MAX + 1]
}

/// A number as PostgreSQL has it; what is more is more than it could ever count.
pub(super) fn bigint(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whom reads ask.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// One of the connections that reads share, and another if that one is gone.
    Any(&'a Connections),
    /// This connection, whose transaction is the picture that is read.
    One(&'a Connection),
}

async fn ask(source: Source<'_>, statement: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, StoreError> {
    let connections = match source {
        Source::Any(connections) => connections,
        Source::One(connection) => {
            let rows = connection.ask(statement, parameters).await;
            return rows.map_err(|trouble| StoreError::Rejected { reason: trouble.into_reason() });
        }
    };
    let (begun, mut pause) = (Instant::now(), PAUSE_FIRST);
    let trouble = loop {
        let trouble = match connections.reader().await {
            Ok(connection) => match connection.ask(statement, parameters).await {
                Ok(rows) => return Ok(rows),
                Err(trouble) => {
                    connections.drop_reader(&connection).await;
                    trouble
                }
            },
            Err(trouble) => trouble,
        };
        if matches!(trouble, Trouble::Refused(_)) || begun.elapsed() > READ_MAX {
            break trouble;
        }
        sleep(pause).await;
        pause = longer(pause, PAUSE_MAX);
    };
    Err(StoreError::Rejected { reason: trouble.into_reason() })
}

fn pairs(rows: &[Row]) -> Result<Rows, Trouble> {
    let bytes = |row: &Row, column| -> Result<Bytes, Trouble> { Ok(Bytes::copy_from_slice(row.try_get::<_, &[u8]>(column)?)) };
    rows.iter().map(|row| Ok((bytes(row, 0)?, bytes(row, 1)?))).collect()
}

fn taken(rows: &[Row]) -> Result<Rows, StoreError> {
    pairs(rows).map_err(|trouble| StoreError::Rejected { reason: trouble.into_reason() })
}

/// Rows of some keys, in no order.
pub(super) async fn get(source: Source<'_>, statements: &Statements, table: Table, keys: &[&[u8]]) -> Result<Rows, StoreError> {
    let table = i32::from(table.id());
    taken(&ask(source, &statements.get, &[(&table, Type::INT4), (&keys, Type::BYTEA_ARRAY)]).await?)
}

/// A statement for rows of a range and its parameters.
struct Range<'a> {
    table: i32,
    from: &'a [u8],
    to: &'a [u8],
    rows: i64,
    bytes: i64,
}

impl Range<'_> {
    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 5] {
        [(&self.table, Type::INT4), (&self.from, Type::BYTEA), (&self.to, Type::BYTEA), (&self.rows, Type::INT8), (&self.bytes, Type::INT8)]
    }
}

pub(super) async fn scan(
    source: Source<'_>,
    statements: &Statements,
    table: Table,
    from: &[u8],
    to: &[u8],
    limit: usize,
) -> Result<Rows, StoreError> {
    if from >= to || limit == 0 {
        return Ok(Rows::new());
    }
    let range = Range { table: table.id().into(), from, to, rows: bigint(limit), bytes: i64::MAX };
    taken(&ask(source, &statements.scan, &range.parameters()).await?)
}

/// Rows from a key on, on one connection, until so many bytes are passed.
pub(super) async fn page(
    connection: &Connection,
    statements: &Statements,
    table: Table,
    from: &[u8],
    max_bytes: usize,
) -> Result<Rows, Trouble> {
    let to = last_key();
    let range = Range { table: table.id().into(), from, to: &to, rows: i64::MAX, bytes: bigint(max_bytes) };
    pairs(&connection.ask(&statements.scan, &range.parameters()).await?)
}

pub(super) async fn stream(
    source: Source<'_>,
    statements: &Statements,
    prefix: &[u8],
    from: u64,
    max_bytes: usize,
) -> Result<Vec<(u64, Bytes)>, StoreError> {
    let (low, wanted, high) = (stream_key(prefix, 0), stream_key(prefix, from), stream_key(prefix, u64::MAX));
    let (low, wanted, high) = (low.as_slice(), wanted.as_slice(), high.as_slice());
    let len = i32::try_from(low.len()).unwrap_or(i32::MAX);
    let bytes = bigint(max_bytes);
    let parameters: [(&(dyn ToSql + Sync), Type); 5] =
        [(&low, Type::BYTEA), (&wanted, Type::BYTEA), (&high, Type::BYTEA), (&len, Type::INT4), (&bytes, Type::INT8)];
    let rows = taken(&ask(source, &statements.stream, &parameters).await?)?;
    Ok(rows.into_iter().filter_map(|(key, value)| split_stream_key(&key).map(|(_, ordinal)| (ordinal, value))).collect())
}

//! The tables of the index: those of the file (`sqlite/schema.rs`), in the schema of the store.
//!
//! The index is derived, so there are no steps from format to format: tables of an older format are dropped and made anew, and the
//! index is in need of a rebuild.
//!
//! Values of search attributes are `bytea` whose order by bytes is that of the values ([`DIALECT`]); one column and one index
//! serve all types.
#![expect(clippy::disallowed_methods, reason = "how long a database may be silent is a matter of the wall clock")]

use sempre_core::{
    ids::Uuid,
    visibility::{AttributeType, Value},
};
use sempre_store::postgres::Session;
use tokio::time::timeout;
use tokio_postgres::{Error, Row, SimpleQueryRow, types::Type};

use super::{
    super::{
        index::IndexError,
        sql::{Dialect, Sql},
    },
    ANSWER_MAX,
};

/// The format that this program writes, and the newest one that it reads.
const FORMAT: i64 = 1;
/// Bytes of an attribute's value that are kept to look for it: entries of PostgreSQL's indexes have at most a third of a page. Only
/// words of texts can be longer, by the letters that get longer as they are made small; those that begin alike are one.
const VALUE_BYTES_MAX: usize = 2500;

/// The tables, in the order in which they are dropped: all who read or write have a lock on the first before they take one on another, so
/// who drops them never waits for somebody who waits for him.
const TABLES: [&str; 7] = ["index_info", "run", "attr_run", "attr_order", "counter", "field", "part"];

fn tables(s: &str) -> String {
    format!(
        "CREATE TABLE {s}.index_info (one boolean PRIMARY KEY DEFAULT true CHECK (one), format bigint NOT NULL, owner uuid NOT NULL,
           generation bigint NOT NULL, complete boolean NOT NULL);
         CREATE TABLE {s}.part (id bigserial PRIMARY KEY, namespace bytea NOT NULL, division bytea);
         CREATE INDEX part_namespace ON {s}.part (namespace);
         CREATE TABLE {s}.field (id bigserial PRIMARY KEY, part bigint NOT NULL, name bytea NOT NULL, kind bigint NOT NULL,
           UNIQUE (part, name, kind));
         CREATE TABLE {s}.run (
           id bigserial PRIMARY KEY, part bigint NOT NULL, c bigint NOT NULL, s bigint NOT NULL, run_id bytea NOT NULL,
           version bigint NOT NULL, generation bigint NOT NULL,
           workflow_id bytea NOT NULL, workflow_type bytea NOT NULL, status bigint NOT NULL, task_queue bytea NOT NULL,
           execution_time bigint NOT NULL, execution_duration bigint,
           history_length bigint NOT NULL, history_size_bytes bigint NOT NULL, state_transition_count bigint NOT NULL,
           parent_workflow_id bytea, parent_run_id bytea, root_workflow_id bytea, root_run_id bytea, record bytea NOT NULL)
           WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
         CREATE UNIQUE INDEX run_key ON {s}.run (run_id, part);
         CREATE INDEX run_order ON {s}.run (part, c, s, run_id);
         CREATE INDEX run_type ON {s}.run (part, workflow_type, status, c, s, run_id);
         CREATE INDEX run_status ON {s}.run (part, status, c, s, run_id);
         CREATE INDEX run_workflow ON {s}.run (part, workflow_id, c, s, run_id);
         CREATE INDEX run_start ON {s}.run (part, s, c, run_id);
         CREATE TABLE {s}.attr_run (run bigint NOT NULL, field bigint NOT NULL, value bytea NOT NULL, PRIMARY KEY (run, field, value))
           WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
         CREATE TABLE {s}.attr_order (field bigint NOT NULL, value bytea NOT NULL, c bigint NOT NULL, s bigint NOT NULL,
           run_id bytea NOT NULL, run bigint NOT NULL, PRIMARY KEY (field, value, c, s, run_id, run))
           WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
         CREATE TABLE {s}.counter (part bigint NOT NULL, workflow_type bytea NOT NULL, status bigint NOT NULL, runs bigint NOT NULL,
           PRIMARY KEY (part, workflow_type, status)) WITH (fillfactor = 20, autovacuum_vacuum_scale_factor = 0.02);"
    )
}

pub(super) static DIALECT: Dialect =
    Dialect { indexed_by: None, join: " JOIN ", run_id_text: "convert_to(encode(r.run_id,'hex')::uuid::text,'UTF8')", attribute, plain };

/// A scalar as bytes whose order is that of the values of its type.
fn attribute(value: &Value) -> Sql {
    let number = |n: i64| (n.cast_unsigned() ^ SIGN).to_be_bytes().to_vec();
    Sql::Blob(match value {
        Value::Text(text) | Value::Keyword(text) => text.as_bytes()[..text.len().min(VALUE_BYTES_MAX)].to_vec(),
        Value::Int(n) => number(*n),
        Value::Bool(is) => number(i64::from(*is)),
        Value::Datetime(at) => number(at.0),
        Value::Double(n) => {
            // There is one zero.
            let bits = if *n == 0.0 { 0 } else { n.to_bits() };
            let bits = if bits & SIGN == 0 { bits ^ SIGN } else { !bits };
            bits.to_be_bytes().to_vec()
        }
        // Has no single value.
        Value::KeywordList(_) => return Sql::Null,
    })
}

const SIGN: u64 = 1 << 63;

/// What [`attribute`] was made of, by its type.
fn plain(kind: AttributeType, stored: Sql) -> Sql {
    let Sql::Blob(bytes) = stored else { return stored };
    let number = |bytes: &[u8]| bytes.try_into().ok().map(u64::from_be_bytes);
    let plain = match kind {
        AttributeType::Int | AttributeType::Bool | AttributeType::Datetime => {
            number(&bytes).map(|n| Sql::Integer((n ^ SIGN).cast_signed()))
        }
        AttributeType::Double => number(&bytes).map(|n| Sql::Real(f64::from_bits(if n & SIGN == 0 { !n } else { n ^ SIGN }))),
        AttributeType::Text | AttributeType::Keyword | AttributeType::KeywordList => None,
    };
    plain.unwrap_or(Sql::Blob(bytes))
}

/// What an opening found.
pub(super) struct Opened {
    pub(super) needs_rebuild: Option<String>,
    pub(super) info: Info,
}

/// What the tables say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) format: i64,
    /// That rows are written with.
    pub(super) generation: i64,
    /// They hold everything.
    pub(super) is_whole: bool,
    /// Tables that are made anew have another number.
    pub(super) made: i64,
}

impl Info {
    const COLUMNS: &str = "format, generation, complete, tableoid::bigint";

    /// The statement that asks for it.
    pub(super) fn text(schema: &str) -> String {
        format!("SELECT {} FROM \"{schema}\".index_info", Self::COLUMNS)
    }

    fn of_row(row: &Row) -> Result<Self, Error> {
        Ok(Self { format: row.try_get(0)?, generation: row.try_get(1)?, is_whole: row.try_get(2)?, made: row.try_get(3)? })
    }

    /// Of an answer whose values are texts.
    pub(super) fn of_texts(row: &SimpleQueryRow) -> Result<Self, Trouble> {
        let number = |at: usize| {
            let text: Option<&str> = row.try_get(at)?;
            text.and_then(|text| text.parse().ok()).ok_or_else(|| Trouble::Damaged("its row of index_info has no number".into()))
        };
        Ok(Self { format: number(0)?, generation: number(1)?, is_whole: row.try_get(2)? == Some("t"), made: number(3)? })
    }

    /// Other programs may have other tables under the same names.
    pub(super) fn check_format(self) -> Result<Self, Trouble> {
        match self.format {
            FORMAT => Ok(self),
            other => Err(Trouble::Failed(format!("another program has made its tables anew, in format {other}"))),
        }
    }
}

/// Asks for it; with a lock, until the transaction ends.
pub(super) async fn info(session: &Session, schema: &str, locks: bool) -> Result<Info, Trouble> {
    let text = Info::text(schema) + if locks { " FOR UPDATE" } else { "" };
    let rows = in_time(session.client().query_typed(&text, &[]), session).await?;
    let row = rows.first().ok_or_else(|| Trouble::Damaged("its row of index_info is missing".into()))?;
    Info::of_row(row)?.check_format()
}

/// Why there is no answer.
pub(super) enum Trouble {
    /// What is there cannot be what was written.
    Damaged(String),
    /// It may work later.
    Failed(String),
}

impl Trouble {
    pub(super) fn into_error(self, action: &'static str) -> IndexError {
        match self {
            Trouble::Damaged(reason) => IndexError::NeedsRebuild { reason: format!("its tables are damaged: {reason}") },
            Trouble::Failed(reason) => IndexError::Failed { action, reason },
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let Some(refusal) = error.as_db_error() else {
            let mut text = error.to_string();
            if let Some(source) = std::error::Error::source(&error) {
                text = format!("{text}: {source}");
            }
            return Trouble::Failed(text);
        };
        let code = refusal.code().code();
        let text = format!("{} ({code})", refusal.message());
        // A table or column is not there (42), a row contradicts another (23), pages do not hold together (XX).
        match code.get(..2) {
            Some("23") => Trouble::Damaged(text),
            _ if matches!(code, "42P01" | "42703" | "XX001" | "XX002" | "3F000") => Trouble::Damaged(text),
            _ => Trouble::Failed(text),
        }
    }
}

/// As far as the database answers in time.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, Error>>, session: &Session) -> Result<T, Trouble> {
    match timeout(ANSWER_MAX, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => {
            session.cancel();
            Err(Trouble::Failed(format!("no answer for {} s", ANSWER_MAX.as_secs())))
        }
    }
}

/// Makes the tables, or looks at those that are there. Those that have the number `damaged` are dropped.
pub(super) async fn open(session: &Session, schema: &str, proof: &str, owner: Uuid, damaged: Option<i64>) -> Result<Opened, IndexError> {
    let failed = |trouble: Trouble| trouble.into_error("open its tables");
    begin(session, schema).await.map_err(failed)?;
    // Nobody else makes tables at the same time.
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('sempre index ' || $1, 0))";
    in_time(session.client().query_typed(lock, &[(&schema, Type::TEXT)]), session).await.map_err(failed)?;
    let found = in_time(look(session, owner), session).await.map_err(failed)?;
    let reason = match found {
        Found::Ours(info) if damaged != Some(info.made) => {
            commit(session, proof).await.map_err(failed)?;
            return Ok(Opened { needs_rebuild: (!info.is_whole).then(|| "the last rebuild was not finished".to_owned()), info });
        }
        Found::Other(format) if format > FORMAT => {
            return Err(IndexError::NewerFormat {
                path: format!("schema {schema}"),
                found: u32::try_from(format).unwrap_or(u32::MAX),
                supported: u32::try_from(FORMAT).unwrap_or_default(),
            });
        }
        Found::Ours(_) => "its tables were damaged",
        Found::Other(_) => "its tables had an older format",
        Found::OfAnother => "its tables were of another store",
        Found::Damaged => "its tables were damaged",
        Found::Nothing => "it is new",
    };
    let s = format!("\"{schema}\"");
    let drop: String = TABLES.map(|table| format!("DROP TABLE IF EXISTS {s}.{table} CASCADE;")).concat();
    let statements = format!(
        "{drop} {} INSERT INTO {s}.index_info (format, owner, generation, complete)
           VALUES ({FORMAT}, '{owner}'::uuid, (extract(epoch FROM clock_timestamp()) * 1000)::bigint, false)",
        tables(&s)
    );
    in_time(session.client().batch_execute(&statements), session).await.map_err(failed)?;
    // Not one that tables of before had: what a writer remembers of those is forgotten.
    let info = info(session, schema, false).await.map_err(failed)?;
    commit(session, proof).await.map_err(failed)?;
    Ok(Opened { needs_rebuild: Some(reason.to_owned()), info })
}

/// What a schema holds of an index.
enum Found {
    Nothing,
    /// Of this format and store.
    Ours(Info),
    OfAnother,
    /// Of this format.
    Other(i64),
    Damaged,
}

async fn look(session: &Session, owner: Uuid) -> Result<Found, Error> {
    let client = session.client();
    let there =
        "SELECT count(*), count(*) FILTER (WHERE to_regclass(t) IS NOT NULL), to_regclass('index_info') IS NOT NULL FROM unnest($1) t";
    let row = client.query_typed_one(there, &[(&TABLES.as_slice(), Type::TEXT_ARRAY)]).await?;
    let (all, found, has_info): (i64, i64, bool) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if !has_info {
        return Ok(if found == 0 { Found::Nothing } else { Found::Damaged });
    }
    let info = client.query_typed(&format!("SELECT {}, owner::text FROM index_info", Info::COLUMNS), &[]).await?;
    let Some(row) = info.first() else { return Ok(Found::Damaged) };
    let info = Info::of_row(row)?;
    if info.format != FORMAT {
        return Ok(Found::Other(info.format));
    }
    if all != found {
        return Ok(Found::Damaged);
    }
    let of: String = row.try_get(4)?;
    if of != owner.to_string() {
        return Ok(Found::OfAnother);
    }
    Ok(Found::Ours(info))
}

/// What a writer is told that may write no more.
const TAKEN: &str = "another server has taken the schema";

/// How long the writer may say nothing within a transaction, in milliseconds: one that stands still must not hold what it has locked, the
/// proof that the schema is its own above all, for longer than a node's lease.
const SILENCE_MS_MAX: u32 = 3000;

/// Begins a transaction of the writer. It is on the disk when it has ended, whatever the role or the database has been told: a server
/// that outlives a crash of the database does not tell the index anything twice.
pub(super) async fn begin(session: &Session, schema: &str) -> Result<(), Trouble> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT set_config('synchronous_commit', 'on', true)
           WHERE current_setting('synchronous_commit') = 'off'; SET LOCAL search_path = \"{schema}\", pg_catalog; {PLANS};
         SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0;
         SET LOCAL idle_in_transaction_session_timeout = {SILENCE_MS_MAX}"
    );
    in_time(session.client().batch_execute(&begin), session).await
}

/// Ends a transaction of the writer, which may have taken long: only now the schema is shown to be ours still, as that stands in the way of
/// renewing its lease until the transaction has ended. Where it is not, dropping the session undoes all.
pub(super) async fn commit(session: &Session, proof: &str) -> Result<(), Trouble> {
    if in_time(session.client().query_typed(proof, &[]), session).await?.is_empty() {
        return Err(Trouble::Failed(TAKEN.into()));
    }
    in_time(session.client().batch_execute("COMMIT"), session).await
}

/// Every walk has an index whose order is that of the walk, and its plan has been made already (`super::super::sql`). Left to itself, the
/// planner would collect and sort all that passes where it thinks that few do.
pub(super) const PLANS: &str = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_hashjoin = off; \
    SET LOCAL enable_mergejoin = off; SET LOCAL join_collapse_limit = 1; SET LOCAL max_parallel_workers_per_gather = 0; SET LOCAL jit = off";

/// What all the tables hold. They are asked for by name, without the privileges of an administrator.
pub(super) fn stats_text() -> String {
    let sizes = TABLES.map(|table| format!("pg_total_relation_size('{table}'::regclass)")).join("+");
    format!("SELECT CAST(coalesce(sum(runs), 0) AS bigint), {sizes} FROM counter")
}

#[cfg(test)]
mod tests {
    use sempre_core::Timestamp;

    use super::*;

    #[test]
    fn bytes_have_the_order_of_values_and_are_read_back() {
        let ints = [i64::MIN, -2, -1, 0, 1, 42, i64::MAX];
        let doubles = [f64::NEG_INFINITY, f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, f64::MIN_POSITIVE, 1.0, 2.5e300, f64::INFINITY];
        let texts = ["", "a", "ab", "b", "\u{e9}"];
        let rows: [(AttributeType, Vec<Value>); 4] = [
            (AttributeType::Int, ints.map(Value::Int).into()),
            (AttributeType::Datetime, ints.map(|n| Value::Datetime(Timestamp(n))).into()),
            (AttributeType::Double, doubles.map(Value::Double).into()),
            (AttributeType::Keyword, texts.map(|text| Value::Keyword(text.into())).into()),
        ];
        for (kind, values) in rows {
            let stored: Vec<Sql> = values.iter().map(attribute).collect();
            assert!(stored.is_sorted_by(|a, b| matches!((a, b), (Sql::Blob(a), Sql::Blob(b)) if a < b)), "{stored:?}");
            for (value, stored) in values.iter().zip(stored) {
                assert_eq!(plain(kind, stored), super::super::super::sql::scalar(value));
            }
        }
        assert_eq!(attribute(&Value::Double(-0.0)), attribute(&Value::Double(0.0)));
        assert_eq!(attribute(&Value::Keyword("x".repeat(5000))), Sql::Blob(vec![b'x'; VALUE_BYTES_MAX]));
    }
}

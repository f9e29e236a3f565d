//! What indexes in SQL databases have in common: how a filter becomes statements, which way leads to the runs, what a read may cost.
//!
//! ```text
//! Filter ─► plan: walks along indexes ─► Database: runs the statements ─► read: lists, counts, groups
//!              └─ condition: what is asked of each run
//! ```
//!
//! The tables are those of `sqlite/schema.rs` and `postgres/schema.rs`: the same names, the same columns. What differs between
//! the two databases is in their [`Database`] and its [`Dialect`], and nothing of it decides what a filter means.

mod condition;
pub(super) mod limits;
pub(super) mod names;
pub(super) mod orders;
mod plan;
pub(super) mod read;
pub(super) mod readers;
pub(super) mod reads;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message as _;
use sempre_core::{
    NamespaceId, RunId,
    visibility::{AttributeType, Record, Value},
};

use super::index::{IndexError, IndexStats};

pub(super) use self::condition::{NoCondition, Text};
pub use self::plan::Tuning;

/// Kind of the fields of every run that are kept like attributes; no type of an attribute.
pub(super) const SYSTEM_KIND: i64 = 100;
/// The parent's workflow id, for runs that have one.
pub(super) const PARENT: &str = "ParentWorkflowId";
/// The root's workflow id, for runs that have another root than themselves.
pub(super) const ROOT: &str = "RootWorkflowId";

/// A value as it is stored, bound or read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sql {
    Null,
    Integer(i64),
    Real(f64),
    /// Also texts: they are compared bytewise.
    Blob(Vec<u8>),
}

/// `c`, `s` and the run: a place in list order.
pub(super) type Place = (i64, i64, RunId);

/// A walk to places and records that has to be told its order yet: that of the place's columns of this table.
pub(super) struct Walk {
    pub(super) text: Text,
    pub(super) of: &'static str,
}

/// What the texts of two databases differ in.
pub(super) struct Dialect {
    /// Between the name of a table and the index it must be walked by; `None`: the database is not told.
    pub(super) indexed_by: Option<&'static str>,
    /// Between two tables of which the first leads.
    pub(super) join: &'static str,
    /// The textual form of the id of the run `r`.
    pub(super) run_id_text: &'static str,
    /// A scalar as a search attribute's column has it.
    pub(super) attribute: fn(&Value) -> Sql,
    /// What such a column has, as a plain value of the type.
    pub(super) plain: fn(AttributeType, Sql) -> Sql,
}

/// One consistent picture of the tables, and the way to ask it.
pub(super) trait Database {
    /// How it is spoken to.
    fn dialect(&self) -> &'static Dialect;

    /// All rows of an answer that has few.
    fn rows(&self, text: &Text) -> Result<Vec<Vec<Sql>>, NoCondition>;

    /// The first records of some walks, in list order: each run once, without the hidden ones.
    fn merge(&self, walks: Vec<Walk>, limit: usize, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition>;

    /// Keeps in `first` the first ones, at most `limit`, of what is there and what the statement finds: place and row, in any order.
    fn first_ones(&self, text: Text, limit: usize, hidden: &BTreeSet<RunId>, first: &mut BTreeMap<Place, i64>) -> Result<(), NoCondition>;

    /// The records of some rows, in that order.
    fn records_at(&self, rows: &[i64]) -> Result<Vec<Arc<Record>>, NoCondition>;

    /// The records of those runs of a namespace that are there, in any order.
    fn records_of(&self, namespace: NamespaceId, runs: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition>;

    /// What all of the index holds.
    fn stats(&self) -> Result<IndexStats, NoCondition>;

    /// Begins something that has so many steps, or as many as it wants.
    fn allow(&self, steps: Option<u64>) -> Result<(), NoCondition>;

    /// Whether it was stopped because it had no more.
    fn ran_out(&self) -> Result<bool, NoCondition>;
}

/// The only row of an answer that has one.
pub(super) fn one(database: &(impl Database + ?Sized), text: &Text) -> Result<Vec<Sql>, NoCondition> {
    database.rows(text)?.into_iter().next().ok_or_else(|| NoCondition::Damaged("a row is missing".into()))
}

/// A number in a row.
pub(super) fn int(row: &[Sql], at: usize) -> Result<i64, NoCondition> {
    match row.get(at) {
        Some(Sql::Integer(number)) => Ok(*number),
        other => Err(NoCondition::Damaged(format!("{other:?} is no number"))),
    }
}

/// Bytes in a row.
pub(super) fn bytes(row: &[Sql], at: usize) -> Result<&[u8], NoCondition> {
    match row.get(at) {
        Some(Sql::Blob(bytes)) => Ok(bytes),
        other => Err(NoCondition::Damaged(format!("{other:?} is no text"))),
    }
}

/// A record in a row.
pub(super) fn record(bytes: &[u8]) -> Result<Arc<Record>, NoCondition> {
    Record::decode(bytes).map(Arc::new).map_err(|error| NoCondition::Damaged(error.to_string()))
}

/// A text as it is stored.
pub(super) fn blob(text: &str) -> Sql {
    Sql::Blob(text.as_bytes().to_vec())
}

/// A scalar as the columns of every run have it.
pub(super) fn scalar(value: &Value) -> Sql {
    match value {
        Value::Text(text) | Value::Keyword(text) => blob(text),
        Value::Int(n) => Sql::Integer(*n),
        Value::Double(n) => Sql::Real(*n),
        Value::Bool(b) => Sql::Integer(i64::from(*b)),
        Value::Datetime(at) => Sql::Integer(at.0),
        // Has no single value.
        Value::KeywordList(_) => Sql::Null,
    }
}

/// The values that an attribute's rows have, each once.
pub(super) fn elements(value: &Value, dialect: &Dialect) -> Vec<Sql> {
    let of = |texts: BTreeSet<String>| texts.into_iter().map(|text| (dialect.attribute)(&Value::Keyword(text))).collect::<Vec<_>>();
    match value {
        Value::Text(text) => {
            let words: BTreeSet<String> = sempre_core::visibility::words(text).collect();
            if words.is_empty() { vec![blob("")] } else { of(words) }
        }
        Value::KeywordList(list) => of(list.iter().cloned().collect()),
        scalar_value => vec![(dialect.attribute)(scalar_value)],
    }
}

/// The number of a value's type, as in the API.
pub(super) fn kind_of(value: &Value) -> i64 {
    i64::from(value.kind().to_api() as i32)
}

/// Workflow and run id of the root, each empty where it is the run's own.
pub(super) fn roots(record: &Record) -> (&str, &str) {
    let (workflow, run) = (record.root_workflow_id.as_str(), record.root_run_id.as_str());
    let of = super::index::run_of(record);
    let own_run = !run.is_empty() && RunId::parse(run) == Some(of) && of.to_string() == run;
    (if workflow == record.workflow_id { "" } else { workflow }, if own_run { "" } else { run })
}

impl NoCondition {
    /// Why an index did not answer.
    pub(super) fn into_error(self, action: &'static str) -> IndexError {
        match self {
            Self::TooComplex => IndexError::TooComplex,
            Self::Damaged(reason) => IndexError::NeedsRebuild { reason: format!("it is damaged: {reason}") },
            Self::Failed(reason) => IndexError::Failed { action, reason },
        }
    }
}

//! SQLite as the planner and the reads see it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::c_int,
    sync::Arc,
};

use rusqlite::{
    CachedStatement, Connection, OptionalExtension, Rows, ToSql, params, params_from_iter,
    types::{ToSqlOutput, Value as Stored, ValueRef},
};
use sempre_core::{NamespaceId, RunId, visibility::Record};

use super::{
    super::{
        index::IndexStats,
        sql::{
            self, Database, Dialect, NoCondition, Place, Sql, Text,
            limits::{Limits, Stopped},
            record, scalar,
        },
    },
    schema::{is_damage, stats},
    write::run_at,
};

/// Most steps of SQLite's machine between two looks: some tens of microseconds.
const LOOK_STEPS_MAX: u64 = 2000;

pub(super) static DIALECT: Dialect = Dialect {
    indexed_by: Some(" INDEXED BY "),
    join: " CROSS JOIN ",
    run_id_text: "CAST(lower(substr(hex(r.run_id),1,8)||'-'||substr(hex(r.run_id),9,4)||'-'||substr(hex(r.run_id),13,4)\
        ||'-'||substr(hex(r.run_id),17,4)||'-'||substr(hex(r.run_id),21)) AS BLOB)",
    attribute: scalar,
    plain: |_, stored| stored,
};

/// A read transaction, and what it may cost.
pub(in crate::visibility) struct Sqlite<'a> {
    pub(super) connection: &'a Connection,
    pub(super) limits: &'a Limits,
}

impl ToSql for Sql {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Sql::Null => ToSqlOutput::Owned(Stored::Null),
            Sql::Integer(number) => ToSqlOutput::Owned(Stored::Integer(*number)),
            Sql::Real(number) => ToSqlOutput::Owned(Stored::Real(*number)),
            Sql::Blob(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
        })
    }
}

impl From<ValueRef<'_>> for Sql {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Sql::Null,
            ValueRef::Integer(number) => Sql::Integer(number),
            ValueRef::Real(number) => Sql::Real(number),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Sql::Blob(bytes.to_vec()),
        }
    }
}

impl From<rusqlite::Error> for NoCondition {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) { NoCondition::Damaged(error.to_string()) } else { NoCondition::Failed(error.to_string()) }
    }
}

/// One walk under way, with the place it stands at.
struct Walk<'a> {
    rows: Rows<'a>,
    place: Place,
    /// The encoded record; a buffer that is used again.
    record: Vec<u8>,
}

impl Walk<'_> {
    /// Goes to the next row; false at the end.
    fn next(&mut self) -> rusqlite::Result<bool> {
        let Some(row) = self.rows.next()? else { return Ok(false) };
        self.place = (row.get(0)?, row.get(1)?, run_at(row, 2)?);
        self.record.clear();
        self.record.extend_from_slice(row.get_ref(3)?.as_blob()?);
        Ok(true)
    }
}

impl Database for Sqlite<'_> {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn rows(&self, text: &Text) -> Result<Vec<Vec<Sql>>, NoCondition> {
        let mut statement = self.connection.prepare_cached(&text.sql)?;
        let columns = statement.column_count();
        let mut rows = statement.query(params_from_iter(&text.values))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push((0..columns).map(|at| Ok(row.get_ref(at)?.into())).collect::<rusqlite::Result<_>>()?);
        }
        Ok(all)
    }

    /// Walks stop where the answer is full.
    fn merge(&self, walks: Vec<sql::Walk>, limit: usize, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        let texts = walks.into_iter().map(|sql::Walk { mut text, of }| {
            text.push(&format!(" ORDER BY {of}.c, {of}.s, {of}.run_id"));
            text
        });
        let texts: Vec<Text> = texts.collect();
        let mut statements: Vec<CachedStatement<'_>> =
            texts.iter().map(|text| self.connection.prepare_cached(&text.sql)).collect::<rusqlite::Result<_>>()?;
        let mut walks = Vec::new();
        for (statement, text) in statements.iter_mut().zip(texts) {
            let mut walk =
                Walk { rows: statement.query(params_from_iter(text.values))?, place: (0, 0, RunId::default()), record: Vec::new() };
            if walk.next()? {
                walks.push(walk);
            }
        }
        let mut records = Vec::new();
        let mut last: Option<Place> = None;
        while records.len() < limit {
            let first = walks.iter().enumerate().min_by_key(|(_, walk)| walk.place).map(|(at, walk)| (at, walk.place));
            let Some((at, place)) = first else { break };
            // A run that is in two walks is at the same place in both.
            if last != Some(place) && !hidden.contains(&place.2) {
                records.push(record(&walks[at].record)?);
            }
            last = Some(place);
            if !walks[at].next()? {
                drop(walks.swap_remove(at));
            }
        }
        Ok(records)
    }

    fn first_ones(&self, text: Text, limit: usize, hidden: &BTreeSet<RunId>, first: &mut BTreeMap<Place, i64>) -> Result<(), NoCondition> {
        let mut statement = self.connection.prepare_cached(&text.sql)?;
        let mut rows = statement.query(params_from_iter(text.values))?;
        while let Some(row) = rows.next()? {
            let place: Place = (row.get(0)?, row.get(1)?, run_at(row, 2)?);
            let late = first.len() >= limit && first.last_key_value().is_some_and(|(last, _)| *last < place);
            if late || hidden.contains(&place.2) {
                continue;
            }
            first.insert(place, row.get(3)?);
            if first.len() > limit {
                first.pop_last();
            }
        }
        Ok(())
    }

    fn records_at(&self, rows: &[i64]) -> Result<Vec<Arc<Record>>, NoCondition> {
        let mut statement = self.connection.prepare_cached("SELECT record FROM run WHERE id=?")?;
        rows.iter().map(|id| statement.query_row([id], |row| Ok(record(row.get_ref(0)?.as_blob()?)))?).collect()
    }

    fn records_of(&self, namespace: NamespaceId, runs: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        let mut statement = self.connection.prepare_cached(
            "SELECT r.record FROM run r INDEXED BY run_key CROSS JOIN part p ON p.id=r.part WHERE r.run_id=? AND p.namespace=?",
        )?;
        let mut found = Vec::new();
        for run in runs {
            let of = params![run.0.0.as_slice(), namespace.0.0.as_slice()];
            let there = statement.query_row(of, |row| Ok(record(row.get_ref(0)?.as_blob()?))).optional()?;
            found.extend(there.transpose()?);
        }
        Ok(found)
    }

    fn stats(&self) -> Result<IndexStats, NoCondition> {
        Ok(stats(self.connection)?)
    }

    fn allow(&self, steps: Option<u64>) -> Result<(), NoCondition> {
        self.limits.allow(steps);
        Ok(())
    }

    fn ran_out(&self) -> Result<bool, NoCondition> {
        Ok(self.limits.stopped() == Some(Stopped::Steps))
    }
}

/// A read transaction within limits. Neither its begin nor its end is under them: what stops the read would stop the end as well, and the
/// connection would stay in the transaction. `first` are the fewest steps that will be allowed.
pub(super) fn bounded<T>(
    limits: &Arc<Limits>,
    connection: &mut Connection,
    first: u64,
    read: impl for<'a> FnOnce(&Sqlite<'a>) -> Result<T, NoCondition>,
) -> Result<T, NoCondition> {
    connection.execute_batch("BEGIN")?;
    let result = match hold(limits, connection, first) {
        Ok(()) => read(&Sqlite { connection, limits }),
        Err(error) => Err(error.into()),
    };
    release(connection)?;
    // Some errors have ended it already.
    if !connection.is_autocommit() {
        connection.execute_batch("ROLLBACK")?;
    }
    result
}

/// Puts the limits on a connection, until [`release`].
fn hold(limits: &Arc<Limits>, connection: &mut Connection, first: u64) -> rusqlite::Result<()> {
    let (limits, steps) = (limits.clone(), LOOK_STEPS_MAX.min(first).max(1));
    connection.progress_handler(steps as c_int, Some(move || limits.look(steps)))
}

/// Takes all limits off a connection.
fn release(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.progress_handler(0, None::<fn() -> bool>)
}

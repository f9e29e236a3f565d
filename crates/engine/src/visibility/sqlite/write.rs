//! What one writer does to the tables, a transaction for each batch.

use std::collections::BTreeMap;

use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};
use sempre_core::{NamespaceId, RunId, visibility::Record};

use super::{
    super::{
        index::{Change, Position, namespace_of, run_of},
        sql::{
            Sql, blob,
            names::{self, Named, Names},
            roots,
        },
    },
    database::DIALECT,
};

/// Runs that one transaction removes of a namespace, or at the end of a rebuild.
pub(super) const PURGE_RUNS_MAX: usize = 1000;
/// What is known of the row of a run.
struct Row {
    id: i64,
    part: i64,
    version: i64,
    generation: i64,
    workflow_id: Vec<u8>,
    workflow_type: Vec<u8>,
    status: i32,
    c: i64,
    s: i64,
}

/// A value of a field, ordered so that sets of them can be compared.
#[derive(Clone, PartialEq)]
pub(super) struct Attribute {
    pub(super) field: i64,
    pub(super) value: Sql,
}

/// The changes of one transaction, and what is remembered from one to the next.
#[derive(Default)]
pub(super) struct Writer {
    names: Names,
    /// What the counters have to grow by at the end of the transaction.
    counts: BTreeMap<(i64, Vec<u8>, i32), i64>,
    /// Marks the rows that this rebuild, or a put since, has written.
    pub(super) generation: i64,
}

impl Writer {
    /// One transaction; when it fails, nothing has happened.
    pub(super) fn transaction<T>(
        &mut self,
        connection: &Connection,
        work: impl FnOnce(&mut Self, &Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let transaction = rusqlite::Transaction::new_unchecked(connection, rusqlite::TransactionBehavior::Immediate)?;
        let result = work(self, &transaction).and_then(|value| {
            self.write_counts(&transaction)?;
            transaction.commit()?;
            Ok(value)
        });
        if result.is_err() {
            // Ids that were given in this transaction do not exist.
            self.forget();
        }
        result
    }

    fn forget(&mut self) {
        self.names.forget();
        self.counts.clear();
    }

    pub(super) fn apply(&mut self, connection: &Connection, changes: &[Change]) -> rusqlite::Result<()> {
        for change in changes {
            match change {
                Change::Put { version, record } => self.put(connection, version.cast_signed(), record)?,
                Change::Delete { namespace, run } => {
                    if let Some(row) = find(connection, *namespace, *run)? {
                        self.delete(connection, *run, &row)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, connection: &Connection, version: i64, record: &Record) -> rusqlite::Result<()> {
        let (namespace, run) = (namespace_of(record), run_of(record));
        let old = find(connection, namespace, run)?;
        if old.as_ref().is_some_and(|old| old.generation == self.generation && old.version > version) {
            return Ok(());
        }
        let (division, named) = names::of_record(record, &DIALECT);
        let part = self.part(connection, namespace, division)?;
        let Position { close, start, .. } = Position::of(record);
        let (c, s) = (!close, !start);
        let attributes = self.attributes(connection, part, named)?;

        let kept = match &old {
            Some(old) => {
                *self.counts.entry((old.part, old.workflow_type.clone(), old.status)).or_default() -= 1;
                let before = attributes_of(connection, old.id)?;
                let same_place = (old.part, old.c, old.s) == (part, c, s);
                let kept: Vec<Attribute> =
                    if same_place { before.iter().filter(|one| attributes.contains(one)).cloned().collect() } else { Vec::new() };
                for gone in before.iter().filter(|one| !kept.contains(one)) {
                    remove_attribute(connection, gone, run, old)?;
                }
                kept
            }
            None => Vec::new(),
        };
        let id = write_row(connection, old.as_ref(), part, (c, s), (version, self.generation), record)?;
        for new in attributes.iter().filter(|one| !kept.contains(one)) {
            connection.prepare_cached("INSERT INTO attr_run VALUES(?,?,?)")?.execute(params![id, new.field, new.value])?;
            let row = params![new.field, new.value, c, s, run.0.0.as_slice(), id];
            connection.prepare_cached("INSERT INTO attr_order VALUES(?,?,?,?,?,?)")?.execute(row)?;
        }
        *self.counts.entry((part, record.workflow_type.clone().into_bytes(), record.status)).or_default() += 1;
        Ok(())
    }

    fn delete(&mut self, connection: &Connection, run: RunId, row: &Row) -> rusqlite::Result<()> {
        for attribute in attributes_of(connection, row.id)? {
            remove_attribute(connection, &attribute, run, row)?;
        }
        connection.prepare_cached("DELETE FROM run WHERE id=?")?.execute([row.id])?;
        *self.counts.entry((row.part, row.workflow_type.clone(), row.status)).or_default() -= 1;
        Ok(())
    }

    /// Removes some runs of a namespace; true when there are more.
    pub(super) fn purge(&mut self, connection: &Connection, namespace: NamespaceId) -> rusqlite::Result<bool> {
        let runs: Vec<RunId> = connection
            .prepare_cached("SELECT r.run_id FROM part p CROSS JOIN run r ON r.part=p.id WHERE p.namespace=? LIMIT ?")?
            .query_map(params![namespace.0.0.as_slice(), limit(PURGE_RUNS_MAX)], |row| run_at(row, 0))?
            .collect::<rusqlite::Result<_>>()?;
        for run in &runs {
            if let Some(row) = find(connection, namespace, *run)? {
                self.delete(connection, *run, &row)?;
            }
        }
        if !runs.is_empty() {
            return Ok(true);
        }
        let parts = "(SELECT id FROM part WHERE namespace=?)";
        for sql in [
            format!("DELETE FROM counter WHERE part IN {parts}"),
            format!("DELETE FROM field WHERE part IN {parts}"),
            "DELETE FROM part WHERE namespace=?".to_owned(),
        ] {
            connection.execute(&sql, [namespace.0.0.as_slice()])?;
        }
        self.forget();
        Ok(false)
    }

    /// Begins a rebuild: what is there is old from now on.
    pub(super) fn begin_rebuild(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute("UPDATE info SET value=value+1 WHERE name='generation'", [])?;
        self.generation = generation(connection)?;
        Ok(())
    }

    /// Removes some of the rows that are old after `after`; the row to go on after, `None` at the end.
    pub(super) fn sweep(&mut self, connection: &Connection, after: i64) -> rusqlite::Result<Option<i64>> {
        // The rows looked at are bounded, not those removed: a healthy index has nothing to remove.
        let mut statement = connection.prepare_cached(
            "SELECT r.id, r.run_id, r.generation, p.namespace FROM run r CROSS JOIN part p ON p.id=r.part WHERE r.id>? ORDER BY r.id LIMIT ?",
        )?;
        let looked = 10 * PURGE_RUNS_MAX;
        let rows: Vec<(i64, RunId, i64, NamespaceId)> = statement
            .query_map(params![after, limit(looked)], |row| Ok((row.get(0)?, run_at(row, 1)?, row.get(2)?, namespace_at(row, 3)?)))?
            .collect::<rusqlite::Result<_>>()?;
        let old: Vec<_> = rows.iter().filter(|(_, _, generation, _)| *generation < self.generation).take(PURGE_RUNS_MAX).collect();
        for (_, run, _, namespace) in &old {
            if let Some(row) = find(connection, *namespace, *run)? {
                self.delete(connection, *run, &row)?;
            }
        }
        Ok(if old.len() == PURGE_RUNS_MAX {
            old.last().map(|(id, ..)| *id)
        } else if rows.len() == looked {
            rows.last().map(|(id, ..)| *id)
        } else {
            None
        })
    }

    /// Ends a rebuild: counts once, and says that everything is here.
    pub(super) fn finish_rebuild(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection.execute_batch(
            "DELETE FROM counter;
             INSERT INTO counter SELECT part, workflow_type, status, count(*) FROM run GROUP BY 1, 2, 3;
             UPDATE info SET value=1 WHERE name='complete';",
        )
    }

    fn write_counts(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for ((part, workflow_type, status), by) in std::mem::take(&mut self.counts) {
            if by == 0 {
                continue;
            }
            let left: i64 = connection
                .prepare_cached("INSERT INTO counter VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET runs=runs+excluded.runs RETURNING runs")?
                .query_row(params![part, workflow_type, status, by], |row| row.get(0))?;
            if left == 0 {
                let key = params![part, workflow_type, status];
                connection.prepare_cached("DELETE FROM counter WHERE part=? AND workflow_type=? AND status=?")?.execute(key)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, connection: &Connection, namespace: NamespaceId, division: Option<String>) -> rusqlite::Result<i64> {
        let key = (namespace, division);
        if let Some(id) = self.names.parts.get(&key) {
            return Ok(id);
        }
        let row = params![namespace.0.0.as_slice(), key.1.as_deref().map(str::as_bytes)];
        let found = connection.query_row("SELECT id FROM part WHERE namespace=? AND division IS ?", row, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                connection.execute("INSERT INTO part(namespace, division) VALUES(?,?)", row)?;
                connection.last_insert_rowid()
            }
        };
        self.names.parts.remember(key, id);
        Ok(id)
    }

    fn field(&mut self, connection: &Connection, part: i64, name: &str, kind: i64) -> rusqlite::Result<i64> {
        let key = (part, name.to_owned(), kind);
        if let Some(id) = self.names.fields.get(&key) {
            return Ok(id);
        }
        let row = params![part, key.1.as_bytes(), kind];
        let found = connection.query_row("SELECT id FROM field WHERE part=? AND name=? AND kind=?", row, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => {
                connection.execute("INSERT INTO field(part, name, kind) VALUES(?,?,?)", row)?;
                connection.last_insert_rowid()
            }
        };
        self.names.fields.remember(key, id);
        Ok(id)
    }

    /// The rows that a record's attributes make.
    fn attributes(&mut self, connection: &Connection, part: i64, named: Vec<Named<'_>>) -> rusqlite::Result<Vec<Attribute>> {
        let mut rows = Vec::new();
        for Named { name, kind, values } in named {
            let field = self.field(connection, part, name, kind)?;
            rows.extend(values.into_iter().map(|value| Attribute { field, value }));
        }
        Ok(rows)
    }
}

/// The generation that rows are written with.
pub(super) fn generation(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT value FROM info WHERE name='generation'", [], |row| row.get(0))
}

const FIND: &str = "SELECT r.id, r.part, r.version, r.generation, r.workflow_id, r.workflow_type, r.status, r.c, r.s
     FROM run r INDEXED BY run_key CROSS JOIN part p ON p.id=r.part WHERE r.run_id=? AND p.namespace=?";

fn find(connection: &Connection, namespace: NamespaceId, run: RunId) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(FIND)?
        .query_row(params![run.0.0.as_slice(), namespace.0.0.as_slice()], |row| {
            Ok(Row {
                id: row.get(0)?,
                part: row.get(1)?,
                version: row.get(2)?,
                generation: row.get(3)?,
                workflow_id: row.get(4)?,
                workflow_type: row.get(5)?,
                status: row.get(6)?,
                c: row.get(7)?,
                s: row.get(8)?,
            })
        })
        .optional()
}

fn attributes_of(connection: &Connection, id: i64) -> rusqlite::Result<Vec<Attribute>> {
    connection
        .prepare_cached("SELECT field, value FROM attr_run WHERE run=?")?
        .query_map([id], |row| Ok(Attribute { field: row.get(0)?, value: row.get_ref(1)?.into() }))?
        .collect()
}

fn remove_attribute(connection: &Connection, attribute: &Attribute, run: RunId, row: &Row) -> rusqlite::Result<()> {
    let Attribute { field, value } = attribute;
    connection.prepare_cached("DELETE FROM attr_run WHERE run=? AND field=? AND value=?")?.execute(params![row.id, field, value])?;
    connection
        .prepare_cached("DELETE FROM attr_order WHERE field=? AND value=? AND c=? AND s=? AND run_id=? AND run=?")?
        .execute(params![field, value, row.c, row.s, run.0.0.as_slice(), row.id])?;
    Ok(())
}

/// Writes the row of a run, over the one it has if it has one; gives its id.
fn write_row(
    connection: &Connection,
    old: Option<&Row>,
    part: i64,
    (c, s): (i64, i64),
    (version, generation): (i64, i64),
    record: &Record,
) -> rusqlite::Result<i64> {
    let none_if_empty = |text: &str| if text.is_empty() { Sql::Null } else { blob(text) };
    let run = run_of(record);
    let indexed = params![
        part,
        c,
        s,
        run.0.0.as_slice(),
        record.workflow_id.as_bytes(),
        record.workflow_type.as_bytes(),
        record.status,
        version,
        generation,
        record.task_queue.as_bytes(),
        record.execution_time,
        record.execution_duration(),
        record.history_length,
        record.history_size_bytes,
        record.state_transition_count,
        none_if_empty(&record.parent_workflow_id),
        none_if_empty(&record.parent_run_id),
        none_if_empty(roots(record).0),
        none_if_empty(roots(record).1),
        record.encode_to_vec(),
        old.map(|old| old.id),
    ];
    let Some(old) = old else {
        let sql = "INSERT INTO run(part, c, s, run_id, workflow_id, workflow_type, status, version, generation, task_queue,
            execution_time, execution_duration, history_length, history_size_bytes, state_transition_count,
            parent_workflow_id, parent_run_id, root_workflow_id, root_run_id, record, id)
            VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";
        connection.prepare_cached(sql)?.execute(indexed)?;
        return Ok(connection.last_insert_rowid());
    };
    // SQLite writes every index that has a column of the list again, whether or not its value changes.
    let same = (old.part, old.c, old.s, old.status) == (part, c, s, record.status)
        && old.workflow_id == record.workflow_id.as_bytes()
        && old.workflow_type == record.workflow_type.as_bytes();
    let sql = if same {
        "UPDATE run SET version=?8, generation=?9, task_queue=?10,
            execution_time=?11, execution_duration=?12, history_length=?13, history_size_bytes=?14, state_transition_count=?15,
            parent_workflow_id=?16, parent_run_id=?17, root_workflow_id=?18, root_run_id=?19, record=?20 WHERE id=?21"
    } else {
        "UPDATE run SET part=?1, c=?2, s=?3, run_id=?4, workflow_id=?5, workflow_type=?6, status=?7,
            version=?8, generation=?9, task_queue=?10,
            execution_time=?11, execution_duration=?12, history_length=?13, history_size_bytes=?14, state_transition_count=?15,
            parent_workflow_id=?16, parent_run_id=?17, root_workflow_id=?18, root_run_id=?19, record=?20 WHERE id=?21"
    };
    connection.prepare_cached(sql)?.execute(indexed)?;
    Ok(old.id)
}

fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn uuid_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<sempre_core::ids::Uuid> {
    let bytes = row.get_ref(at)?.as_blob()?;
    let length = bytes.len();
    Ok(sempre_core::ids::Uuid(bytes.try_into().map_err(|_| rusqlite::Error::IntegralValueOutOfRange(at, length as i64))?))
}

/// A run id in a column.
pub(super) fn run_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<RunId> {
    uuid_at(row, at).map(RunId)
}

fn namespace_at(row: &rusqlite::Row<'_>, at: usize) -> rusqlite::Result<NamespaceId> {
    uuid_at(row, at).map(NamespaceId)
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;
    use sempre_core::ids::Uuid;

    use super::*;
    use crate::visibility::sqlite::schema;

    #[test]
    fn looking_up_a_run_is_prepared_once() {
        let connection = schema::in_memory(Uuid([1; 16])).unwrap().connection;
        for run in 0..10 {
            assert!(find(&connection, NamespaceId(Uuid([run; 16])), RunId(Uuid([run; 16]))).unwrap().is_none());
        }
        let statement = connection.prepare_cached(FIND).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 10);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}

//! Answers from the tables, each in one read transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use prost::Message;
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows, params, params_from_iter, types::Value as Sql};
use sempre_core::{
    NamespaceId, RunId, Timestamp,
    visibility::{AttributeType, Field, Filter, Record, SystemField, Value},
};

use super::{
    super::index::{Groups, IndexStats, Position},
    condition::{Names, NoCondition, Text, value_of},
    plan::{Branch, Part, Plan, Purpose, Read, Tuning, field, parts, plan},
    write::run_at,
};

type Place = (i64, i64, RunId);

/// What is read: a consistent picture of the file.
pub(super) struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
    pub(super) namespace: NamespaceId,
    pub(super) tuning: Tuning,
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

fn decode(bytes: &[u8]) -> rusqlite::Result<Arc<Record>> {
    let error = |error: prost::DecodeError| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error));
    Record::decode(bytes).map(Arc::new).map_err(error)
}

impl Snapshot<'_> {
    fn parts(&self) -> rusqlite::Result<Vec<Part>> {
        parts(self.connection, self.namespace.0.0.as_slice())
    }

    pub(super) fn list(
        &self,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Result<Vec<Arc<Record>>, NoCondition> {
        let mut ordered: Vec<(Plan, Vec<Branch>)> = Vec::new();
        // The first ones of all walks that are not in list order; a set, so that none is there twice.
        let mut sorted: BTreeMap<Place, i64> = BTreeMap::new();
        for part in self.parts()? {
            let Some(mut plan) = plan(self.connection, &part, filter, after, Purpose::List, self.tuning)? else { continue };
            let branches = std::mem::take(&mut plan.branches);
            if plan.ordered {
                ordered.push((plan, branches));
            } else {
                for branch in &branches {
                    self.first_ones(&plan, branch, limit, hidden, &mut sorted)?;
                }
            }
        }
        let mut texts = Vec::new();
        for (plan, branches) in &ordered {
            texts.extend(branches.iter().map(|branch| branch.sql(Read::Records, &plan.bounds, plan.residual.as_ref())));
        }
        self.merge(texts, sorted, limit, hidden)
    }

    /// Walks a branch that is not in list order, and keeps the first ones.
    fn first_ones(
        &self,
        plan: &Plan,
        branch: &Branch,
        limit: usize,
        hidden: &BTreeSet<RunId>,
        sorted: &mut BTreeMap<Place, i64>,
    ) -> rusqlite::Result<()> {
        let text = branch.sql(Read::Places, &plan.bounds, plan.residual.as_ref());
        let mut statement = self.connection.prepare_cached(&text.sql)?;
        let mut rows = statement.query(params_from_iter(text.values))?;
        while let Some(row) = rows.next()? {
            let place: Place = (row.get(0)?, row.get(1)?, run_at(row, 2)?);
            let late = sorted.len() >= limit && sorted.last_key_value().is_some_and(|(last, _)| *last < place);
            if late || hidden.contains(&place.2) {
                continue;
            }
            sorted.insert(place, row.get(3)?);
            if sorted.len() > limit {
                sorted.pop_last();
            }
        }
        Ok(())
    }

    /// The records of all walks in list order. Walks stop where the answer is full.
    fn merge(
        &self,
        texts: Vec<Text>,
        sorted: BTreeMap<Place, i64>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Result<Vec<Arc<Record>>, NoCondition> {
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
        let mut sorted = sorted.into_iter().peekable();
        let mut records = Vec::new();
        let mut last: Option<Place> = None;
        while records.len() < limit {
            let first = walks.iter().enumerate().min_by_key(|(_, walk)| walk.place).map(|(at, walk)| (at, walk.place));
            let from_sorted = match (sorted.peek(), first) {
                (Some((place, _)), Some((_, other))) => *place < other,
                (sorted, _) => sorted.is_some(),
            };
            if from_sorted {
                let Some((place, id)) = sorted.next() else { break };
                if last != Some(place) {
                    let mut statement = self.connection.prepare_cached("SELECT record FROM run WHERE id=?")?;
                    records.push(statement.query_row([id], |row| decode(row.get_ref(0)?.as_blob()?))?);
                }
                last = Some(place);
                continue;
            }
            let Some((at, place)) = first else { break };
            // A run that is in two walks is at the same place in both.
            if last != Some(place) && !hidden.contains(&place.2) {
                records.push(decode(&walks[at].record)?);
            }
            last = Some(place);
            if !walks[at].next()? {
                drop(walks.swap_remove(at));
            }
        }
        Ok(records)
    }

    pub(super) fn count(&self, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Result<u64, NoCondition> {
        let mut runs = 0;
        for part in self.parts()? {
            let Some(plan) = plan(self.connection, &part, filter, None, Purpose::Count, self.tuning)? else { continue };
            runs += match &plan.groups {
                Some(groups) => groups.iter().map(|group| group.runs).sum(),
                None => self.count_of(&plan)?,
            };
        }
        let hidden = self.hidden(filter, hidden)?.len() as u64;
        Ok(runs.saturating_sub(hidden))
    }

    fn count_of(&self, plan: &Plan) -> Result<u64, NoCondition> {
        if plan.branches.is_empty() {
            return Ok(0);
        }
        let mut runs = 0;
        let texts = if plan.overlapping {
            let mut text = Text::default();
            text.push("SELECT count(*) FROM (").add(&rows(plan)).push(")");
            vec![text]
        } else {
            plan.branches.iter().map(|branch| branch.sql(Read::Count, &plan.bounds, plan.residual.as_ref())).collect()
        };
        for text in texts {
            let mut statement = self.connection.prepare_cached(&text.sql)?;
            let found: i64 = statement.query_row(params_from_iter(text.values), |row| row.get(0))?;
            runs += found.cast_unsigned();
        }
        Ok(runs)
    }

    pub(super) fn count_by(&self, filter: Option<&Filter>, by: &Field, hidden: &BTreeSet<RunId>) -> Result<Groups, NoCondition> {
        if by.has_elements() {
            return Err(NoCondition::TooComplex);
        }
        let mut groups: Groups = Vec::new();
        for part in self.parts()? {
            let Some(plan) = plan(self.connection, &part, filter, None, Purpose::Count, self.tuning)? else { continue };
            match (&plan.groups, by) {
                (Some(found), Field::System(SystemField::ExecutionStatus)) => {
                    for group in found {
                        add(&mut groups, Some(Value::Int(group.status.into())), group.runs.cast_signed());
                    }
                }
                (Some(_), _) => {
                    // What decides is only the groups, but they are not asked for.
                    let all = Plan { groups: None, ..self.walk_of_groups(&part, filter)? };
                    self.count_part_by(&part, &all, by, &mut groups)?;
                }
                (None, _) => self.count_part_by(&part, &plan, by, &mut groups)?,
            }
        }
        for record in self.hidden(filter, hidden)? {
            add(&mut groups, record.value(by), -1);
        }
        groups.retain(|(_, runs)| *runs > 0);
        Ok(groups)
    }

    /// A plan that walks runs although the counters know how many there are.
    fn walk_of_groups(&self, part: &Part, filter: Option<&Filter>) -> Result<Plan, NoCondition> {
        let plan = plan(self.connection, part, filter, None, Purpose::List, self.tuning)?;
        plan.ok_or(NoCondition::Sqlite(rusqlite::Error::QueryReturnedNoRows))
    }

    fn count_part_by(&self, part: &Part, plan: &Plan, by: &Field, groups: &mut Groups) -> Result<(), NoCondition> {
        if plan.branches.is_empty() {
            return Ok(());
        }
        let lookup = |name: &str, kind: i64| field(self.connection, part.id, name, kind);
        let names = Names { division: part.division.as_deref(), field: &lookup };
        let mut text = Text::default();
        text.push("SELECT ");
        if *by == Field::System(SystemField::CloseTime) {
            // Only where it is compared have open runs one.
            text.push("nullif(~r.c, ").bind(Sql::Integer(i64::MAX)).push(")");
        } else {
            value_of(&mut text, by, &names)?;
        }
        text.push(", count(*) FROM (").add(&rows(plan)).push(") d CROSS JOIN run r ON r.id=d.id GROUP BY 1");
        let mut statement = self.connection.prepare_cached(&text.sql)?;
        let mut rows = statement.query(params_from_iter(text.values))?;
        while let Some(row) = rows.next()? {
            let value = from_stored(by.kind(), by, row.get(0)?)?;
            add(groups, value, row.get(1)?);
        }
        Ok(())
    }

    /// What the index has of hidden runs that match.
    fn hidden(&self, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> rusqlite::Result<Vec<Arc<Record>>> {
        let mut found = Vec::new();
        for run in hidden {
            let record = self.get(*run)?;
            found.extend(record.filter(|record| filter.is_none_or(|filter| filter.matches(record))));
        }
        Ok(found)
    }

    pub(super) fn get(&self, run: RunId) -> rusqlite::Result<Option<Arc<Record>>> {
        self.connection
            .prepare_cached(
                "SELECT r.record FROM run r INDEXED BY run_key CROSS JOIN part p ON p.id=r.part WHERE r.run_id=? AND p.namespace=?",
            )?
            .query_row(params![run.0.0.as_slice(), self.namespace.0.0.as_slice()], |row| decode(row.get_ref(0)?.as_blob()?))
            .optional()
    }
}

/// What the whole file holds.
pub(super) fn stats(connection: &Connection) -> rusqlite::Result<IndexStats> {
    let records: i64 = connection.query_row("SELECT coalesce(sum(runs), 0) FROM counter", [], |row| row.get(0))?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = pragma("page_count")? * pragma("page_size")?;
    Ok(IndexStats { records: records.cast_unsigned(), bytes: bytes.cast_unsigned() })
}

/// The rows of all walks of a plan, each once.
fn rows(plan: &Plan) -> Text {
    let mut text = Text::default();
    for (at, branch) in plan.branches.iter().enumerate() {
        text.push(match (at, plan.overlapping) {
            (0, _) => "",
            (_, true) => " UNION ",
            (_, false) => " UNION ALL ",
        });
        text.add(&branch.sql(Read::Rows, &plan.bounds, plan.residual.as_ref()));
    }
    text
}

fn add(groups: &mut Groups, value: Option<Value>, runs: i64) {
    match groups.iter_mut().find(|(other, _)| *other == value) {
        Some((_, sum)) => *sum = sum.saturating_add_signed(runs),
        None => groups.push((value, runs.max(0).cast_unsigned())),
    }
}

/// A stored scalar as a value of its field.
fn from_stored(kind: AttributeType, by: &Field, stored: Sql) -> rusqlite::Result<Option<Value>> {
    let status = *by == Field::System(SystemField::ExecutionStatus);
    Ok(Some(match (stored, kind) {
        (Sql::Null, _) => return Ok(None),
        (Sql::Integer(n), _) if status => Value::Int(n),
        (Sql::Integer(n), AttributeType::Bool) => Value::Bool(n != 0),
        (Sql::Integer(n), AttributeType::Datetime) => Value::Datetime(Timestamp(n)),
        (Sql::Integer(n), _) => Value::Int(n),
        (Sql::Real(n), _) => Value::Double(n),
        (Sql::Blob(bytes), _) => Value::Keyword(text(bytes)?),
        (Sql::Text(text), _) => Value::Keyword(text),
    }))
}

fn text(bytes: Vec<u8>) -> rusqlite::Result<String> {
    String::from_utf8(bytes).map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, Box::new(error)))
}

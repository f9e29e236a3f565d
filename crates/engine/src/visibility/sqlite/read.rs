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
    limits::{Limits, Stopped},
    plan::{Bounds, Part, Plan, Purpose, Read, Tuning, Way, field, parts, plan},
    write::run_at,
};

/// How many times the steps of the first turn each of the bounded turns has, where there are two ways. A step of the
/// first way is the dearer one: mostly it looks up a row.
const TURNS: [u64; 3] = [1, 100, 1000];
/// Where there is more to ask of each run, so many times the runs are looked at at the ends of a wide range.
const SAMPLE_MORE: usize = 4;

type Place = (i64, i64, RunId);

/// What is read: a consistent picture of the file.
pub(super) struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
    pub(super) namespace: NamespaceId,
    pub(super) tuning: Tuning,
    pub(super) limits: &'a Limits,
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
        let mut all = Vec::new();
        for part in self.parts()? {
            let Some(plan) = plan(self.connection, &part, filter, after, Purpose::List, self.tuning)? else { continue };
            let records = self.list_part(&plan, limit, hidden)?;
            if !records.is_empty() {
                all.push(records);
            }
        }
        if all.len() == 1 {
            return Ok(all.pop().unwrap_or_default());
        }
        let mut all: Vec<Arc<Record>> = all.into_iter().flatten().collect();
        all.sort_by_cached_key(|record| Position::of(record));
        all.truncate(limit);
        Ok(all)
    }

    /// The first ones of a part. Where there are two ways, each goes further than the other did before.
    fn list_part(&self, plan: &Plan, limit: usize, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        let Some(other) = &plan.other else { return self.along(&plan.way, &plan.bounds, false, limit, hidden) };
        for (way, wide, more) in [(&plan.way, false, TURNS[0]), (other, true, TURNS[1]), (&plan.way, false, TURNS[2])] {
            self.limits.allow(Some(self.tuning.first_turn_steps.saturating_mul(more)));
            let found = self.along(way, &plan.bounds, wide, limit, hidden);
            let stopped = found.is_err() && self.limits.stopped() == Some(Stopped::Steps);
            self.limits.allow(None);
            if !stopped {
                return found;
            }
        }
        self.along(other, &plan.bounds, true, limit, hidden)
    }

    /// The first ones along one way.
    fn along(
        &self,
        way: &Way,
        bounds: &Bounds,
        wide: bool,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Result<Vec<Arc<Record>>, NoCondition> {
        let residual = way.residual.as_ref();
        if way.ordered {
            return self.merge(way.branches.iter().map(|branch| branch.sql(Read::Records, bounds, residual)).collect(), limit, hidden);
        }
        // A set, so that none is there twice.
        let mut first = BTreeMap::new();
        if wide {
            // Often late runs are at one end. What is found there keeps most of the others out without a look at them.
            let rows = self.tuning.sample_rows.max(limit) * if residual.is_some() { SAMPLE_MORE } else { 1 };
            for branch in &way.branches {
                for highest in [false, true] {
                    self.first_ones(branch.end_sql(rows, highest, bounds, residual), limit, hidden, &mut first)?;
                }
            }
        }
        for branch in &way.branches {
            let last = first.last_key_value().filter(|_| first.len() >= limit);
            let (c, s) = last.map_or((i64::MAX, i64::MAX), |((c, s, _), _): (&Place, _)| (*c, *s));
            self.first_ones(branch.sql(Read::Places, &bounds.up_to(c, s), residual), limit, hidden, &mut first)?;
        }
        let mut statement = self.connection.prepare_cached("SELECT record FROM run WHERE id=?")?;
        let records = first.values().map(|id| statement.query_row([id], |row| decode(row.get_ref(0)?.as_blob()?)));
        Ok(records.collect::<rusqlite::Result<_>>()?)
    }

    /// Walks what is not in list order, and keeps the first ones.
    fn first_ones(&self, text: Text, limit: usize, hidden: &BTreeSet<RunId>, first: &mut BTreeMap<Place, i64>) -> rusqlite::Result<()> {
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

    /// The records of all walks in list order. Walks stop where the answer is full.
    fn merge(&self, texts: Vec<Text>, limit: usize, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
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
        let way = &plan.way;
        if way.branches.is_empty() {
            return Ok(0);
        }
        let mut runs = 0;
        let texts = if way.overlapping {
            let mut text = Text::default();
            text.push("SELECT count(*) FROM (").add(&rows(plan)).push(")");
            vec![text]
        } else {
            way.branches.iter().map(|branch| branch.sql(Read::Count, &plan.bounds, way.residual.as_ref())).collect()
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
        if plan.way.branches.is_empty() {
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
    for (at, branch) in plan.way.branches.iter().enumerate() {
        text.push(match (at, plan.way.overlapping) {
            (0, _) => "",
            (_, true) => " UNION ",
            (_, false) => " UNION ALL ",
        });
        text.add(&branch.sql(Read::Rows, &plan.bounds, plan.way.residual.as_ref()));
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

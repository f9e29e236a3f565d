//! Answers from the tables, each in one read transaction.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sempre_core::{
    NamespaceId, RunId, Timestamp,
    visibility::{AttributeType, Field, Filter, Record, SystemField, Value},
};

use super::{
    super::index::{Groups, Position},
    Database, Place, Sql,
    condition::{Names, NoCondition, Text, is_stored_apart, value_of},
    int, one,
    plan::{Bounds, Part, Plan, Purpose, Read, Tuning, Way, field, parts, plan},
};

/// How many times the steps of the first turn each of the bounded turns has, where there are two ways. A step of the
/// first way is the dearer one: mostly it looks up a row.
const TURNS: [u64; 3] = [1, 100, 1000];
/// Where there is more to ask of each run, so many times the runs are looked at at the ends of a wide range.
const SAMPLE_MORE: usize = 4;

/// What is read: a consistent picture.
pub(in crate::visibility) struct Snapshot<'a, D> {
    pub(in crate::visibility) database: &'a D,
    pub(in crate::visibility) namespace: NamespaceId,
    pub(in crate::visibility) tuning: Tuning,
}

impl<D: Database> Snapshot<'_, D> {
    fn parts(&self) -> Result<Vec<Part>, NoCondition> {
        parts(self.database, self.namespace.0.0.as_slice())
    }

    pub(in crate::visibility) fn list(
        &self,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Result<Vec<Arc<Record>>, NoCondition> {
        let mut all = Vec::new();
        for part in self.parts()? {
            let Some(plan) = plan(self.database, &part, filter, after, Purpose::List, self.tuning)? else { continue };
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
            self.database.allow(Some(self.tuning.first_turn_steps.saturating_mul(more)))?;
            let found = self.along(way, &plan.bounds, wide, limit, hidden);
            let ran_out = found.is_err() && self.database.ran_out()?;
            if found.is_ok() {
                self.database.allow(None)?;
            }
            if !ran_out {
                return found;
            }
        }
        self.database.allow(None)?;
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
        let dialect = self.database.dialect();
        if way.ordered {
            let walks = way.branches.iter().map(|branch| branch.walk(bounds, residual, dialect)).collect();
            return self.database.merge(walks, limit, hidden);
        }
        // A set, so that none is there twice.
        let mut first = BTreeMap::new();
        if wide {
            // Often late runs are at one end. What is found there keeps most of the others out without a look at them.
            let rows = self.tuning.sample_rows.max(limit) * if residual.is_some() { SAMPLE_MORE } else { 1 };
            for branch in &way.branches {
                for highest in [false, true] {
                    self.database.first_ones(branch.end_sql(rows, highest, bounds, residual, dialect), limit, hidden, &mut first)?;
                }
            }
        }
        for branch in &way.branches {
            let last = first.last_key_value().filter(|_| first.len() >= limit);
            let (c, s) = last.map_or((i64::MAX, i64::MAX), |((c, s, _), _): (&Place, _)| (*c, *s));
            self.database.first_ones(branch.sql(Read::Places, &bounds.up_to(c, s), residual, dialect), limit, hidden, &mut first)?;
        }
        self.database.records_at(&first.into_values().collect::<Vec<_>>())
    }

    pub(in crate::visibility) fn count(&self, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Result<u64, NoCondition> {
        let mut runs = 0;
        for part in self.parts()? {
            let Some(plan) = plan(self.database, &part, filter, None, Purpose::Count, self.tuning)? else { continue };
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
            text.push("SELECT count(*) FROM (").add(&self.rows(plan)).push(") x");
            vec![text]
        } else {
            let dialect = self.database.dialect();
            way.branches.iter().map(|branch| branch.sql(Read::Count, &plan.bounds, way.residual.as_ref(), dialect)).collect()
        };
        for text in texts {
            runs += int(&one(self.database, &text)?, 0)?.cast_unsigned();
        }
        Ok(runs)
    }

    pub(in crate::visibility) fn count_by(
        &self,
        filter: Option<&Filter>,
        by: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Result<Groups, NoCondition> {
        if by.has_elements() {
            return Err(NoCondition::TooComplex);
        }
        let mut groups: Groups = Vec::new();
        for part in self.parts()? {
            let Some(plan) = plan(self.database, &part, filter, None, Purpose::Count, self.tuning)? else { continue };
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
        let plan = plan(self.database, part, filter, None, Purpose::List, self.tuning)?;
        plan.ok_or_else(|| NoCondition::Damaged("a part has counters and no runs".into()))
    }

    fn count_part_by(&self, part: &Part, plan: &Plan, by: &Field, groups: &mut Groups) -> Result<(), NoCondition> {
        if plan.way.branches.is_empty() {
            return Ok(());
        }
        let lookup = |name: &str, kind: i64| field(self.database, part.id, name, kind);
        let names = Names { division: part.division.as_deref(), field: &lookup, dialect: self.database.dialect() };
        let mut text = Text::default();
        text.push("SELECT ");
        if *by == Field::System(SystemField::CloseTime) {
            // Only where it is compared have open runs one.
            text.push("nullif(~r.c, ").bind(Sql::Integer(i64::MAX)).push(")");
        } else {
            value_of(&mut text, by, &names)?;
        }
        text.push(", count(*) FROM (").add(&self.rows(plan)).push(") d").push(names.dialect.join);
        text.push("run r ON r.id=d.id GROUP BY 1");
        for row in self.database.rows(&text)? {
            let stored = row.first().cloned().unwrap_or(Sql::Null);
            let plain = if is_stored_apart(by) { (names.dialect.plain)(by.kind(), stored) } else { stored };
            add(groups, value_from(by.kind(), by, plain)?, int(&row, 1)?);
        }
        Ok(())
    }

    /// What the index has of hidden runs that match.
    fn hidden(&self, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        if hidden.is_empty() {
            return Ok(Vec::new());
        }
        let mut found = self.database.records_of(self.namespace, hidden)?;
        found.retain(|record| filter.is_none_or(|filter| filter.matches(record)));
        Ok(found)
    }

    pub(in crate::visibility) fn get(&self, run: RunId) -> Result<Option<Arc<Record>>, NoCondition> {
        Ok(self.database.records_of(self.namespace, &BTreeSet::from([run]))?.pop())
    }

    /// The rows of all walks of a plan, each once.
    fn rows(&self, plan: &Plan) -> Text {
        let mut text = Text::default();
        for (at, branch) in plan.way.branches.iter().enumerate() {
            text.push(match (at, plan.way.overlapping) {
                (0, _) => "",
                (_, true) => " UNION ",
                (_, false) => " UNION ALL ",
            });
            text.add(&branch.sql(Read::Rows, &plan.bounds, plan.way.residual.as_ref(), self.database.dialect()));
        }
        text
    }
}

fn add(groups: &mut Groups, value: Option<Value>, runs: i64) {
    match groups.iter_mut().find(|(other, _)| *other == value) {
        Some((_, sum)) => *sum = sum.saturating_add_signed(runs),
        None => groups.push((value, runs.max(0).cast_unsigned())),
    }
}

/// A scalar that was stored as a value of its field.
fn value_from(kind: AttributeType, by: &Field, stored: Sql) -> Result<Option<Value>, NoCondition> {
    let status = *by == Field::System(SystemField::ExecutionStatus);
    Ok(Some(match (stored, kind) {
        (Sql::Null, _) => return Ok(None),
        (Sql::Integer(n), _) if status => Value::Int(n),
        (Sql::Integer(n), AttributeType::Bool) => Value::Bool(n != 0),
        (Sql::Integer(n), AttributeType::Datetime) => Value::Datetime(Timestamp(n)),
        (Sql::Integer(n), _) => Value::Int(n),
        (Sql::Real(n), _) => Value::Double(n),
        (Sql::Blob(bytes), _) => Value::Keyword(String::from_utf8(bytes).map_err(|error| NoCondition::Damaged(error.to_string()))?),
    }))
}

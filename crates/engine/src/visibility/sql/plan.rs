//! How a filter is answered: by which index the runs of a part are walked, and what is left to ask of each.
//!
//! A filter is taken apart into what must all be true. Four kinds of that need not be asked of runs at all:
//!
//! - conditions on nothing but the division are the same for the whole part;
//! - conditions on nothing but division, type and status are asked of the counters, which tells the groups of runs that
//!   pass and how many they are;
//! - comparisons of the close time bound the walk in list order;
//! - one of the others may have an index of its own, which is walked instead.
//!
//! | walk | order of the runs | used when |
//! |---|---|---|
//! | groups | list order, merged | always possible |
//! | a value (id, attribute, word) | list order, merged | it has fewer runs than the groups |
//! | a range (start time, prefix, attribute) | any; the first ones are kept and sorted | it has at most [`Tuning::sort_runs_max`] runs; a wider one is the *other way* |
//!
//! Nobody knows beforehand whether a walk in list order meets enough runs of a wide range soon, or passes by a million
//! others first. So both are tried in turn, each further than before ([`super::read`]): the cost is a few times that of
//! the better one.
//!
//! SQLite's own planner is told the index each time: it knows neither the counters nor what order is worth. PostgreSQL's cannot be
//! told, but each of the walks has one index that suits it best.

use std::time::Duration;

use bytes::Bytes;
use sempre_api::v1::common::Payload;
use sempre_core::{
    RunId,
    ids::Uuid,
    visibility::{AttributeType, Comparison, Field, Filter, NAMESPACE_DIVISION, Record, SystemField, Value, json_string},
};

use super::{
    super::index::Position,
    Database, Dialect, PARENT, ROOT, SYSTEM_KIND, Sql, Walk, blob, bytes,
    condition::{Names, NoCondition, Text, condition, is_division, looked_for, prefix_end},
    int, one,
};

/// When which walk is used. Nobody tunes it; tests make the numbers small.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Runs of a range that are looked at to find the first ones of them.
    pub sort_runs_max: u64,
    /// Walks that are merged; a condition with more values has no index.
    pub branches_max: usize,
    /// Steps of the first turn, where there are two ways to the runs: of SQLite's machine, or of 50 ns each.
    pub first_turn_steps: u64,
    /// Runs at each end of a wide range that are looked at first; at least a page.
    pub sample_rows: usize,
    /// Time of a read before it has to make room for others, and goes on among the slow ones.
    pub quick_time: Duration,
    /// Time of a read, from the call on, before it is given up.
    pub read_time_max: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            sort_runs_max: 10_000,
            branches_max: 64,
            first_turn_steps: 20_000,
            sample_rows: 2000,
            quick_time: Duration::from_millis(100),
            read_time_max: Duration::from_secs(10),
        }
    }
}

/// Between which places of the list order runs are looked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    /// Behind this place: `c`, `s`, run id (none = before the first run of the place).
    after: (i64, i64, Option<RunId>),
    /// Up to this `c` and, of those with the same, this `s`.
    last: (i64, i64),
}

impl Bounds {
    pub(super) fn new(after: Option<&Position>) -> Self {
        let after = after.map_or((i64::MIN, i64::MIN, None), |at| (!at.close, !at.start, Some(at.run)));
        Self { after, last: (i64::MAX, i64::MAX) }
    }

    /// Close times from `low` to `high`, both included.
    fn close(&mut self, low: i64, high: i64) {
        self.after = self.after.max((!high, i64::MIN, None));
        self.last = self.last.min((!low, i64::MAX));
    }

    /// As a condition on a place and its `c`.
    fn add(&self, text: &mut Text, place: &str, c: &str) {
        if self.after != Self::new(None).after {
            let (after_c, after_s, after_run) = self.after;
            let after_run = after_run.map_or_else(Vec::new, |run| run.0.0.to_vec());
            text.push(" AND ").push(place).push(">(");
            text.bind(Sql::Integer(after_c)).push(",").bind(Sql::Integer(after_s)).push(",").bind(Sql::Blob(after_run)).push(")");
        }
        match self.last {
            (i64::MAX, _) => {}
            (last, i64::MAX) => {
                text.push(" AND ").push(c).push("<=").bind(Sql::Integer(last));
            }
            // The first one keeps most out at less cost.
            (last_c, last_s) => {
                text.push(" AND ").push(c).push("<=").bind(Sql::Integer(last_c)).push(" AND ").push(place).push("<=(");
                text.bind(Sql::Integer(last_c)).push(",").bind(Sql::Integer(last_s)).push(",").bind(Sql::Blob(vec![0xff; 16])).push(")");
            }
        }
    }

    /// Not behind this `c` and `s`.
    pub(super) fn up_to(self, c: i64, s: i64) -> Self {
        Self { last: self.last.min((c, s)), ..self }
    }

    fn nothing(&mut self) {
        self.last = (i64::MIN, i64::MAX);
        self.after = (i64::MAX, i64::MAX, None);
    }

    /// Takes a condition on the close time; false if it is none, or not one of a range.
    fn take(&mut self, filter: &Filter) -> bool {
        const CLOSE: Field = Field::System(SystemField::CloseTime);
        match filter {
            Filter::Compare(field, comparison, Value::Datetime(at)) if *field == CLOSE => {
                let (below, above) = (at.0.checked_sub(1), at.0.checked_add(1));
                match (comparison, below, above) {
                    (Comparison::Equal, ..) => self.close(at.0, at.0),
                    (Comparison::LessOrEqual, ..) => self.close(i64::MIN, at.0),
                    (Comparison::GreaterOrEqual, ..) => self.close(at.0, i64::MAX),
                    (Comparison::Less, Some(below), _) => self.close(i64::MIN, below),
                    (Comparison::Greater, _, Some(above)) => self.close(above, i64::MAX),
                    (Comparison::Less | Comparison::Greater, ..) => self.nothing(),
                    (Comparison::NotEqual, ..) => return false,
                }
                true
            }
            Filter::Between { field, low: Value::Datetime(low), high: Value::Datetime(high), negated: false } if *field == CLOSE => {
                self.close(low.0, high.0);
                true
            }
            Filter::IsNull { field, negated } if *field == CLOSE => {
                if *negated {
                    self.close(i64::MIN, i64::MAX - 1)
                } else {
                    self.close(i64::MAX, i64::MAX)
                }
                true
            }
            _ => false,
        }
    }
}

/// Of the indexes that wide ranges are walked by, the columns they have (`super::schema`).
const INDEX_COLUMNS: [(&str, &[&str]); 2] = [
    ("run_workflow", &["id", "c", "s", "run_id", "status", "workflow_type", "workflow_id"]),
    ("run_start", &["id", "c", "s", "run_id", "status", "workflow_type"]),
];

/// The columns of the row `r` that a piece of SQL names; one may come more than once.
fn columns(sql: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    sql.match_indices("r.").filter_map(move |(at, _)| {
        let rest = &sql[at + 2..];
        (!sql[..at].ends_with(word)).then(|| &rest[..rest.find(|c| !word(c)).unwrap_or(rest.len())])
    })
}

/// One walk along an index.
#[derive(Clone, Debug)]
pub(super) enum Branch {
    /// Rows of `run`; the index has them in the order of `by`, and those that are equal in list order.
    Run { index: &'static str, keys: Text, by: &'static str },
    /// Rows of `attr_order`.
    Attribute { keys: Text },
}

/// What is read of each run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Read {
    /// Place and record.
    Records,
    /// Place and row, in any order.
    Places,
    /// The row.
    Rows,
    /// Only how many there are.
    Count,
    /// How many there are, but no further than to this number.
    CountTo(u64),
}

impl Branch {
    fn run(index: &'static str, by: &'static str, part: i64, keys: &[(&str, Sql)]) -> Self {
        let mut text = Text::default();
        text.push("r.part=").bind(Sql::Integer(part));
        for (sql, value) in keys {
            text.push(" AND ").push(sql).bind(value.clone());
        }
        Self::Run { index, keys: text, by }
    }

    fn attribute(field: i64, keys: &[(&str, Sql)]) -> Self {
        let mut text = Text::default();
        text.push("a.field=").bind(Sql::Integer(field));
        for (sql, value) in keys {
            text.push(" AND ").push(sql).bind(value.clone());
        }
        Self::Attribute { keys: text }
    }

    /// A statement for those of `rows` runs at one end of the walk's own order that pass: a look, bounded whatever passes.
    pub(super) fn end_sql(&self, rows: usize, highest: bool, bounds: &Bounds, residual: Option<&Text>, dialect: &Dialect) -> Text {
        let asked: Vec<&str> = residual.map(|text| columns(&text.sql).collect()).unwrap_or_default();
        // What the index has need not be looked up, run by run.
        let has: &[&str] = match self {
            Self::Run { index, .. } => INDEX_COLUMNS.iter().find(|(name, _)| name == index).map_or(&[], |(_, columns)| columns),
            Self::Attribute { .. } => &["id", "c", "s", "run_id"],
        };
        let covered = !has.is_empty() && asked.iter().all(|column| has.contains(column));
        let mut text = Text::default();
        text.push("SELECT r.c, r.s, r.run_id, r.id FROM (SELECT ");
        let has: &[&str] = if covered { has } else { &["id"] };
        for (at, column) in has.iter().enumerate() {
            text.push(if at == 0 { "" } else { ", " });
            match (self, *column) {
                (Self::Run { .. }, column) => text.push("r.").push(column),
                (Self::Attribute { .. }, "id") => text.push("a.run"),
                (Self::Attribute { .. }, column) => text.push("a.").push(column),
            };
            text.push(" AS ").push(column);
        }
        let by = match self {
            Self::Run { index, keys, by } => {
                from_run(&mut text, index, dialect).push(" WHERE ").add(keys);
                by
            }
            Self::Attribute { keys } => {
                text.push(" FROM attr_order a WHERE ").add(keys);
                "a.value"
            }
        };
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        text.push(" ORDER BY ").push(by).push(if highest { " DESC LIMIT " } else { " LIMIT " }).bind(Sql::Integer(rows));
        text.push(if covered { ") r WHERE TRUE" } else { ") x" });
        if !covered {
            text.push(dialect.join).push("run r ON r.id=x.id WHERE TRUE");
        }
        bounds.add(&mut text, "(r.c,r.s,r.run_id)", "r.c");
        if let Some(residual) = residual {
            text.push(" AND ").add(residual);
        }
        text
    }

    /// A walk to records, which goes in list order.
    pub(super) fn walk(&self, bounds: &Bounds, residual: Option<&Text>, dialect: &Dialect) -> Walk {
        let of = match self {
            Self::Run { .. } => "r",
            Self::Attribute { .. } => "a",
        };
        Walk { text: self.sql(Read::Records, bounds, residual, dialect), of }
    }

    /// The statement of the walk.
    pub(super) fn sql(&self, read: Read, bounds: &Bounds, residual: Option<&Text>, dialect: &Dialect) -> Text {
        let mut text = Text::default();
        let (run, keys) = match self {
            Self::Run { keys, .. } => (true, keys),
            Self::Attribute { keys } => (false, keys),
        };
        if matches!(read, Read::CountTo(_)) {
            text.push("SELECT count(*) FROM (");
        }
        text.push(match (read, run) {
            (Read::Records, true) => "SELECT r.c, r.s, r.run_id, r.record",
            (Read::Records, false) => "SELECT a.c, a.s, a.run_id, r.record",
            (Read::Places, true) => "SELECT r.c, r.s, r.run_id, r.id",
            (Read::Places, false) => "SELECT a.c, a.s, a.run_id, a.run",
            (Read::Rows, true) => "SELECT r.id AS id",
            (Read::Rows, false) => "SELECT a.run AS id",
            (Read::Count, _) => "SELECT count(*)",
            (Read::CountTo(_), _) => "SELECT 1",
        });
        match self {
            Self::Run { index, .. } => from_run(&mut text, index, dialect),
            Self::Attribute { .. } if residual.is_some() || read == Read::Records => {
                text.push(" FROM attr_order a").push(dialect.join).push("run r ON r.id=a.run")
            }
            Self::Attribute { .. } => text.push(" FROM attr_order a"),
        };
        let (place, c) = if run { ("(r.c,r.s,r.run_id)", "r.c") } else { ("(a.c,a.s,a.run_id)", "a.c") };
        text.push(" WHERE ").add(keys);
        bounds.add(&mut text, place, c);
        if let Some(residual) = residual {
            text.push(" AND ").add(residual);
        }
        match read {
            Read::CountTo(most) => text.push(" LIMIT ").bind(Sql::Integer(most.cast_signed())).push(") x"),
            _ => &mut text,
        };
        text
    }
}

/// The rows of `run`, along an index.
fn from_run<'a>(text: &'a mut Text, index: &str, dialect: &Dialect) -> &'a mut Text {
    text.push(" FROM run r");
    if let Some(by) = dialect.indexed_by {
        text.push(by).push(index);
    }
    text
}

/// A way to the runs of one part.
#[derive(Debug, Default)]
pub(super) struct Way {
    pub(super) branches: Vec<Branch>,
    /// Each branch walks in list order.
    pub(super) ordered: bool,
    /// A run may be in several branches.
    pub(super) overlapping: bool,
    /// What has to be asked of each run yet.
    pub(super) residual: Option<Text>,
}

/// How the runs of one part are found.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) way: Way,
    /// Through a wide range, not in list order.
    pub(super) other: Option<Way>,
    pub(super) bounds: Bounds,
    /// The groups that pass, if nothing but groups decides: then the counters have the answer.
    pub(super) groups: Option<Vec<Group>>,
}

/// Runs of a part with one status that pass what is asked of groups.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) status: i32,
    pub(super) runs: u64,
    /// They are all the runs of the part with this status.
    whole: bool,
}

/// What may be walked instead of the groups.
struct Drive {
    branches: Vec<Branch>,
    ordered: bool,
    overlapping: bool,
    /// It has the runs for which its condition is true, and no others.
    exact: bool,
}

/// What a plan is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Purpose {
    /// The first ones in list order.
    List,
    /// All, in any order.
    Count,
}

/// One part of a namespace.
pub(super) struct Part {
    pub(super) id: i64,
    pub(super) division: Option<String>,
}

impl Part {
    /// A run of the part, as far as the division goes.
    fn picture(&self) -> Record {
        let payload = |division: &String| Payload {
            metadata: [("type".to_owned(), Bytes::from_static(AttributeType::Keyword.name().as_bytes()))].into(),
            data: json_string(division).into_bytes().into(),
            ..Payload::default()
        };
        let division = self.division.iter().map(|division| (NAMESPACE_DIVISION.to_owned(), payload(division)));
        Record { search_attributes: division.collect(), ..Record::default() }
    }
}

/// The parts of a namespace.
pub(super) fn parts(database: &impl Database, namespace: &[u8]) -> Result<Vec<Part>, NoCondition> {
    let mut text = Text::default();
    text.push("SELECT id, division FROM part WHERE namespace=").bind(Sql::Blob(namespace.to_vec()));
    let part = |row: &Vec<Sql>| {
        let division = match row.get(1) {
            Some(Sql::Null) => None,
            // What was written was a text.
            _ => Some(String::from_utf8_lossy(bytes(row, 1)?).into_owned()),
        };
        Ok(Part { id: int(row, 0)?, division })
    };
    database.rows(&text)?.iter().map(part).collect()
}

/// The number of an attribute in a part.
pub(super) fn field(database: &impl Database, part: i64, name: &str, kind: i64) -> Result<Option<i64>, NoCondition> {
    let mut text = Text::default();
    text.push("SELECT id FROM field WHERE part=").bind(Sql::Integer(part)).push(" AND name=").bind(blob(name));
    text.push(" AND kind=").bind(Sql::Integer(kind));
    database.rows(&text)?.first().map(|row| int(row, 0)).transpose()
}

/// The plan for a part; `None` if no run of it passes.
pub(super) fn plan<D: Database>(
    database: &D,
    part: &Part,
    filter: Option<&Filter>,
    after: Option<&Position>,
    purpose: Purpose,
    tuning: Tuning,
) -> Result<Option<Plan>, NoCondition> {
    let lookup = |name: &str, kind: i64| field(database, part.id, name, kind);
    let names = Names { division: part.division.as_deref(), field: &lookup, dialect: database.dialect() };
    let mut all = Vec::new();
    conjuncts(filter, &mut all);
    let (of_division, mut all): (Vec<&Filter>, Vec<&Filter>) = all.into_iter().partition(|filter| is_of(filter, &is_division));
    let picture = part.picture();
    if !of_division.iter().all(|filter| filter.matches(&picture)) {
        return Ok(None);
    }
    let mut bounds = Bounds::new(after);
    all.retain(|filter| !bounds.take(filter));
    let bounded = bounds != Bounds::new(None);
    let (of_groups, rest): (Vec<&Filter>, Vec<&Filter>) = all.into_iter().partition(|filter| is_of(filter, &is_of_group));
    let group_condition = together(&of_groups, &names)?;
    let groups = groups(database, part.id, group_condition.as_ref())?;
    if groups.is_empty() {
        return Ok(None);
    }
    if rest.is_empty() && !bounded && purpose == Purpose::Count {
        return Ok(Some(Plan { way: Way::default(), other: None, bounds, groups: Some(groups) }));
    }
    let builder = Builder { database, part: part.id, names: &names, tuning };
    let group_runs: u64 = groups.iter().map(|group| group.runs).sum();

    // The cheapest of the others, if it is cheaper than the groups.
    let mut best: Option<(u64, usize, Drive)> = None;
    let mut wide: Option<(usize, Drive)> = None;
    for (at, filter) in rest.iter().enumerate() {
        let Some(drive) = builder.drive(filter)? else { continue };
        let runs = builder.runs(&drive)?;
        if !drive.ordered && purpose == Purpose::List && runs > tuning.sort_runs_max {
            wide.get_or_insert((at, drive));
        } else if runs < best.as_ref().map_or(group_runs, |(runs, ..)| *runs) {
            best = Some((runs, at, drive));
        }
    }
    let way_of = |at: usize, drive: Drive| -> Result<Way, NoCondition> {
        let mut asked: Vec<&Filter> = rest.iter().enumerate().filter(|(other, _)| *other != at || !drive.exact).map(|(_, f)| *f).collect();
        asked.extend(&of_groups);
        let Drive { branches, ordered, overlapping, .. } = drive;
        Ok(Way { branches, ordered, overlapping, residual: together(&asked, &names)? })
    };
    let few = best.as_ref().map_or(group_runs, |(runs, ..)| *runs) <= tuning.sort_runs_max;
    let other = match wide {
        Some((at, drive)) if !few => Some(way_of(at, drive)?),
        _ => None,
    };
    let way = match best {
        Some((_, at, drive)) => way_of(at, drive)?,
        None => match builder.group_branches(&groups, group_condition.as_ref())? {
            Some(branches) => Way { branches, ordered: true, overlapping: false, residual: together(&rest, &names)? },
            None => {
                let every: Vec<&Filter> = rest.iter().chain(&of_groups).copied().collect();
                let branches = vec![Branch::run("run_order", "r.c", part.id, &[])];
                Way { branches, ordered: true, overlapping: false, residual: together(&every, &names)? }
            }
        },
    };
    Ok(Some(Plan { way, other, bounds, groups: None }))
}

/// What must all be true.
fn conjuncts<'a>(filter: Option<&'a Filter>, all: &mut Vec<&'a Filter>) {
    match filter {
        Some(Filter::And(inner)) => inner.iter().for_each(|filter| conjuncts(Some(filter), all)),
        Some(other) => all.push(other),
        None => {}
    }
}

/// All of them as one condition; `None` when there are none.
fn together(filters: &[&Filter], names: &Names<'_>) -> Result<Option<Text>, NoCondition> {
    if filters.is_empty() {
        return Ok(None);
    }
    let mut text = Text::default();
    text.push("(");
    condition(&mut text, &Filter::And(filters.iter().map(|filter| (*filter).clone()).collect()), names)?;
    text.push(")");
    Ok(Some(text))
}

/// What all runs of a part with one type and status have in common.
fn is_of_group(field: &Field) -> bool {
    is_division(field) || matches!(field, Field::System(SystemField::WorkflowType | SystemField::ExecutionStatus))
}

/// True for conditions that look at nothing but such fields.
fn is_of(filter: &Filter, such: &dyn Fn(&Field) -> bool) -> bool {
    match filter {
        Filter::And(inner) | Filter::Or(inner) => inner.iter().all(|filter| is_of(filter, such)),
        Filter::Not(inner) => is_of(inner, such),
        Filter::Compare(field, ..)
        | Filter::In { field, .. }
        | Filter::Between { field, .. }
        | Filter::IsNull { field, .. }
        | Filter::StartsWith { field, .. } => such(field),
    }
}

/// The groups that pass a condition. It names columns of a row `r` of `run` that rows of `counter` have as well.
fn groups(database: &impl Database, part: i64, condition: Option<&Text>) -> Result<Vec<Group>, NoCondition> {
    let mut text = Text::default();
    match condition {
        None => text.push("SELECT r.status, CAST(sum(r.runs) AS bigint), 1 FROM counter r"),
        Some(condition) => {
            text.push("SELECT r.status, CAST(sum(CASE WHEN ").add(condition).push(" THEN r.runs ELSE 0 END) AS bigint), min(CASE WHEN ");
            text.add(condition).push(" THEN 1 ELSE 0 END) FROM counter r")
        }
    };
    text.push(" WHERE r.part=").bind(Sql::Integer(part)).push(" GROUP BY r.status");
    let group = |row: &Vec<Sql>| {
        let status = i32::try_from(int(row, 0)?).map_err(|error| NoCondition::Damaged(error.to_string()))?;
        Ok::<_, NoCondition>(Group { status, runs: int(row, 1)?.max(0).cast_unsigned(), whole: int(row, 2)? != 0 })
    };
    let groups: Vec<Group> = database.rows(&text)?.iter().map(group).collect::<Result<_, _>>()?;
    if groups.iter().all(|group| group.whole) {
        return Ok(groups);
    }
    Ok(groups.into_iter().filter(|group| group.runs > 0).collect())
}

struct Builder<'a, D> {
    database: &'a D,
    part: i64,
    names: &'a Names<'a>,
    tuning: Tuning,
}

impl<D: Database> Builder<'_, D> {
    /// The walks along groups, `None` if they are too many.
    fn group_branches(&self, groups: &[Group], condition: Option<&Text>) -> Result<Option<Vec<Branch>>, NoCondition> {
        let Some(condition) = condition else { return Ok(Some(vec![Branch::run("run_order", "r.c", self.part, &[])])) };
        let mut text = Text::default();
        text.push("SELECT count(DISTINCT status) FROM counter WHERE part=").bind(Sql::Integer(self.part));
        let statuses = int(&one(self.database, &text)?, 0)?;
        if groups.iter().all(|group| group.whole) && statuses == groups.len() as i64 {
            return Ok(Some(vec![Branch::run("run_order", "r.c", self.part, &[])]));
        }
        let mut branches = Vec::new();
        for group in groups {
            let status = Sql::Integer(group.status.into());
            if group.whole {
                branches.push(Branch::run("run_status", "r.status", self.part, &[("r.status=", status)]));
                continue;
            }
            let mut text = Text::default();
            text.push("SELECT r.workflow_type FROM counter r WHERE r.part=").bind(Sql::Integer(self.part));
            text.push(" AND r.status=").bind(status.clone()).push(" AND ").add(condition);
            text.push(" LIMIT ").bind(Sql::Integer(self.tuning.branches_max as i64 + 1));
            for row in self.database.rows(&text)? {
                let keys = [("r.workflow_type=", Sql::Blob(bytes(&row, 0)?.to_vec())), ("r.status=", status.clone())];
                branches.push(Branch::run("run_type", "r.workflow_type", self.part, &keys));
            }
            if branches.len() > self.tuning.branches_max {
                return Ok(None);
            }
        }
        Ok(Some(branches))
    }

    /// How many runs a walk has, not counted much further than to where that matters.
    fn runs(&self, drive: &Drive) -> Result<u64, NoCondition> {
        let mut runs = 0;
        for branch in &drive.branches {
            let text = branch.sql(Read::CountTo(self.tuning.sort_runs_max + 1), &Bounds::new(None), None, self.database.dialect());
            runs += int(&one(self.database, &text)?, 0)?.cast_unsigned();
            if runs > self.tuning.sort_runs_max {
                return Ok(runs);
            }
        }
        Ok(runs)
    }

    fn field(&self, name: &str, kind: i64) -> Result<Option<i64>, NoCondition> {
        (self.names.field)(name, kind)
    }

    /// An index that has the runs for which a condition is true.
    fn drive(&self, filter: &Filter) -> Result<Option<Drive>, NoCondition> {
        let drive = match filter {
            Filter::Compare(field, Comparison::Equal, value) => self.values(field, std::slice::from_ref(value))?,
            Filter::In { field, values, negated: false } => self.values(field, values)?,
            Filter::Compare(field, comparison, value) => {
                let value = self.names.stored(field, value);
                match comparison {
                    Comparison::Less => self.range(field, &[("<", value)])?,
                    Comparison::LessOrEqual => self.range(field, &[("<=", value)])?,
                    Comparison::Greater => self.range(field, &[(">", value)])?,
                    Comparison::GreaterOrEqual => self.range(field, &[(">=", value)])?,
                    Comparison::Equal | Comparison::NotEqual => None,
                }
            }
            Filter::Between { field, low, high, negated: false } => {
                self.range(field, &[(">=", self.names.stored(field, low)), ("<=", self.names.stored(field, high))])?
            }
            Filter::StartsWith { field, prefix, negated: false } => {
                let mut ends = vec![(">=", blob(prefix))];
                ends.extend(prefix_end(prefix).map(|end| ("<", end)));
                self.range(field, &ends)?
            }
            // Those that have the attribute at all.
            Filter::IsNull { field, negated: true } if matches!(field, Field::Attribute { .. }) => self.range(field, &[])?,
            Filter::Or(any) => {
                let mut or = Drive { branches: Vec::new(), ordered: true, overlapping: any.len() > 1, exact: true };
                for filter in any {
                    let Some(drive) = self.drive(filter)? else { return Ok(None) };
                    or.ordered &= drive.ordered;
                    or.overlapping |= drive.overlapping;
                    or.exact &= drive.exact;
                    or.branches.extend(drive.branches);
                }
                Some(or)
            }
            Filter::And(all) => {
                let mut best: Option<(u64, Drive)> = None;
                for filter in all {
                    let Some(drive) = self.drive(filter)? else { continue };
                    let runs = self.runs(&drive)?;
                    if best.as_ref().is_none_or(|(fewest, _)| runs < *fewest) {
                        best = Some((runs, Drive { exact: drive.exact && all.len() == 1, ..drive }));
                    }
                }
                best.map(|(_, drive)| drive)
            }
            Filter::Not(_) | Filter::In { .. } | Filter::Between { .. } | Filter::IsNull { .. } | Filter::StartsWith { .. } => None,
        };
        Ok(drive.filter(|drive| drive.branches.len() <= self.tuning.branches_max))
    }

    /// The walks of single values.
    fn values(&self, field: &Field, values: &[Value]) -> Result<Option<Drive>, NoCondition> {
        let distinct = |branches: Vec<Branch>| Some(Drive { branches, ordered: true, overlapping: false, exact: true });
        let stored = if field.has_elements() {
            looked_for(field, values, self.names.dialect)
        } else {
            each_once(values.iter().map(|value| self.names.stored(field, value)))
        };
        if stored.len() > self.tuning.branches_max {
            return Ok(None);
        }
        let of = |number: Option<i64>| number.into_iter().flat_map(|number| stored.iter().map(move |v| (number, v)));
        let attribute = |number| of(number).map(|(number, value)| Branch::attribute(number, &[("a.value=", value.clone())])).collect();
        let workflow = || -> Vec<Branch> {
            stored
                .iter()
                .map(|value| Branch::run("run_workflow", "r.workflow_id", self.part, &[("r.workflow_id=", value.clone())]))
                .collect()
        };
        Ok(match field {
            field if is_division(field) => None,
            Field::Attribute { name, kind } => {
                let number = self.field(name, i64::from(kind.to_api() as i32))?;
                distinct(attribute(number)).map(|drive| Drive { overlapping: field.has_elements() && stored.len() > 1, ..drive })
            }
            Field::System(SystemField::WorkflowId) => distinct(workflow()),
            Field::System(SystemField::StartTime) => {
                let turned = |value: &Sql| if let Sql::Integer(at) = value { Sql::Integer(!at) } else { Sql::Null };
                let walk = |value| Branch::run("run_start", "r.s", self.part, &[("r.s=", turned(value))]);
                distinct(stored.iter().map(walk).collect()).map(|drive| Drive { ordered: true, ..drive })
            }
            Field::System(SystemField::RunId) => {
                let ids = values.iter().filter_map(|value| match value {
                    // Other spellings of an id are other texts.
                    Value::Keyword(text) => Uuid::parse(text).filter(|id| id.to_string() == *text),
                    _ => None,
                });
                let ids: std::collections::BTreeSet<Uuid> = ids.collect();
                let walk = |id: Uuid| Branch::run("run_key", "r.run_id", self.part, &[("r.run_id=", Sql::Blob(id.0.to_vec()))]);
                distinct(ids.into_iter().map(walk).collect())
            }
            Field::System(SystemField::ParentWorkflowId) => distinct(attribute(self.field(PARENT, SYSTEM_KIND)?)),
            Field::System(SystemField::RootWorkflowId) => {
                let mut branches: Vec<Branch> = attribute(self.field(ROOT, SYSTEM_KIND)?);
                for mut branch in workflow() {
                    if let Branch::Run { keys, .. } = &mut branch {
                        keys.push(" AND r.root_workflow_id IS NULL");
                    }
                    branches.push(branch);
                }
                distinct(branches)
            }
            Field::System(_) => None,
        })
    }

    /// The walk of a range: operators and values.
    fn range(&self, field: &Field, ends: &[(&str, Sql)]) -> Result<Option<Drive>, NoCondition> {
        let one = |branch| Some(Drive { branches: vec![branch], ordered: false, overlapping: false, exact: true });
        // Of `names`: the column with each of the operators that a range can have.
        let keys = |names: [&'static str; 4]| -> Vec<(&'static str, Sql)> {
            let name = |op: &str| match op {
                "<" => names[0],
                "<=" => names[1],
                ">" => names[2],
                _ => names[3],
            };
            ends.iter().map(|(op, value)| (name(op), value.clone())).collect()
        };
        Ok(match field {
            field if field.has_elements() || is_division(field) => None,
            Field::Attribute { name, kind } => match self.field(name, i64::from(kind.to_api() as i32))? {
                None => Some(Drive { branches: Vec::new(), ordered: true, overlapping: false, exact: true }),
                Some(number) => one(Branch::attribute(number, &keys(["a.value<", "a.value<=", "a.value>", "a.value>="]))),
            },
            Field::System(SystemField::WorkflowId) => {
                let names = ["r.workflow_id<", "r.workflow_id<=", "r.workflow_id>", "r.workflow_id>="];
                one(Branch::run("run_workflow", "r.workflow_id", self.part, &keys(names)))
            }
            Field::System(SystemField::StartTime) => {
                let mut turned = Vec::new();
                for (op, value) in ends {
                    let Sql::Integer(at) = value else { return Ok(None) };
                    let op = match *op {
                        "<" => "r.s>",
                        "<=" => "r.s>=",
                        ">" => "r.s<",
                        _ => "r.s<=",
                    };
                    turned.push((op, Sql::Integer(!at)));
                }
                one(Branch::run("run_start", "r.s", self.part, &turned))
            }
            Field::System(_) => None,
        })
    }
}

/// Scalars as they are stored, without repetitions: a run must not be in two walks.
fn each_once(values: impl Iterator<Item = Sql>) -> Vec<Sql> {
    let mut once: Vec<Sql> = Vec::new();
    for value in values {
        if !once.contains(&value) {
            once.push(value);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use super::columns;

    #[test]
    fn columns_of_the_run_are_told_from_other_names() {
        let sql = "(r.status=? AND (~r.s)>=? AND EXISTS(SELECT 1 FROM attr_run WHERE run=r.id) AND coalesce(r.root_run_id,hr.x)";
        assert_eq!(columns(sql).collect::<Vec<_>>(), ["status", "s", "id", "root_run_id"]);
    }
}

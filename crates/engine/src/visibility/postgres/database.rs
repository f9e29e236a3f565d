//! PostgreSQL as the planner and the reads see it: one read-only transaction, asked from a thread that waits.
//!
//! What a read may cost is time: the thread looks at the limits while it waits, and has the statement stopped. A turn that may
//! take only so many steps is a savepoint with a time limit that the database keeps by itself.
#![expect(clippy::disallowed_methods, reason = "how long a database may be silent is a matter of the wall clock")]

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
    time::Duration,
};

use sempre_core::{NamespaceId, RunId, ids::Uuid, visibility::Record};
use sempre_store::postgres::Session;
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{
    Row, SimpleQueryMessage,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{
    super::{
        index::IndexStats,
        sql::{Database, Dialect, NoCondition, Place, Sql, Text, Walk, bytes, int, limits::Limits, one, record},
    },
    schema::{DIALECT, Info, PLANS, Trouble, stats_text},
};

/// Between two looks at the limits while a statement is under way.
const LOOK: Duration = Duration::from_millis(2);
/// How much longer than the read the database itself may go on: only what no program stops needs that.
const BACKSTOP: Duration = Duration::from_secs(5);
/// What the protocol can count: a condition is in every walk.
const PARAMETERS_MAX: usize = u16::MAX as usize;
/// How often it is tried to end a turn.
const END_TRIES_MAX: usize = 20;
/// Why there is no answer that nobody waits for any more.
pub(super) const GIVEN_UP: &str = "it was given up";
/// Time of a step, in nanoseconds.
const STEP_NS: u64 = 50;

type Parameter = (Box<dyn ToSql + Sync + Send>, Type);

/// A read transaction, and what it may cost.
pub(in crate::visibility) struct Pg<'a> {
    session: &'a Session,
    runtime: &'a Handle,
    limits: &'a Limits,
    /// Steps of the turn under way.
    turn: Cell<Option<u64>>,
    ran_out: Cell<bool>,
    /// The connection cannot be used again.
    broken: Cell<bool>,
}

impl From<Trouble> for NoCondition {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Damaged(reason) => NoCondition::Damaged(reason),
            Trouble::Failed(reason) => NoCondition::Failed(reason),
        }
    }
}

fn parameter(value: &Sql) -> Parameter {
    match value {
        Sql::Null => (Box::new(None::<Vec<u8>>), Type::BYTEA),
        Sql::Integer(number) => (Box::new(*number), Type::INT8),
        Sql::Real(number) => (Box::new(*number), Type::FLOAT8),
        Sql::Blob(bytes) => (Box::new(bytes.clone()), Type::BYTEA),
    }
}

/// The question marks numbered, from `first` on.
fn numbered(sql: &str, first: usize) -> String {
    let mut text = String::with_capacity(sql.len() + 16);
    for (at, piece) in sql.split('?').enumerate() {
        if at > 0 {
            // Writing to a string cannot fail.
            let _ = write!(text, "${}", first + at - 1);
        }
        text.push_str(piece);
    }
    text
}

fn value(row: &Row, at: usize) -> Result<Sql, NoCondition> {
    let wrong = |error: tokio_postgres::Error| NoCondition::Damaged(error.to_string());
    let column = row.columns().get(at).map(|column| column.type_().clone());
    Ok(match column {
        Some(Type::INT8) => row.try_get::<_, Option<i64>>(at).map_err(wrong)?.map_or(Sql::Null, Sql::Integer),
        Some(Type::INT4) => row.try_get::<_, Option<i32>>(at).map_err(wrong)?.map_or(Sql::Null, |n| Sql::Integer(n.into())),
        Some(Type::BYTEA) => row.try_get::<_, Option<Vec<u8>>>(at).map_err(wrong)?.map_or(Sql::Null, Sql::Blob),
        // A value that no run can have is a null of no type, which the database calls a text.
        Some(Type::TEXT) if row.try_get::<_, Option<&str>>(at).map_err(wrong)?.is_none() => Sql::Null,
        other => return Err(NoCondition::Damaged(format!("a column has the type {other:?}"))),
    })
}

/// Waits on the calling thread, and looks at the limits meanwhile. `None`: one of them came first.
pub(super) fn within<T>(limits: &Limits, runtime: &Handle, answer: impl Future<Output = T>) -> Option<T> {
    runtime.block_on(async {
        let mut answer = std::pin::pin!(answer);
        loop {
            if let Ok(answered) = timeout(LOOK, &mut answer).await {
                return Some(answered);
            }
            if limits.look(0) {
                return None;
            }
        }
    })
}

impl<'a> Pg<'a> {
    /// On a connection whose picture has begun.
    pub(super) fn of_begun(session: &'a Session, runtime: &'a Handle, limits: &'a Limits) -> Self {
        Self { session, runtime, limits, turn: Cell::default(), ran_out: Cell::default(), broken: Cell::default() }
    }

    /// Begins the picture; gives what the tables in it say of themselves. `None`: they are not in it yet, as another node has just made them.
    pub(super) fn begin(session: &Session, runtime: &Handle, schema: &str, limits: &Limits) -> Result<Option<Info>, NoCondition> {
        let pg = Pg::of_begun(session, runtime, limits);
        let time = (limits.left() + BACKSTOP).as_millis();
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL search_path = \"{schema}\", pg_catalog; {PLANS};
             SET LOCAL statement_timeout = {time}; {}",
            Info::text(schema)
        );
        let answers = pg.wait(session.client().simple_query(&begin))?;
        let mut rows = answers.iter().filter_map(|answer| if let SimpleQueryMessage::Row(row) = answer { Some(row) } else { None });
        let info = rows.next().map(Info::of_texts).transpose()?;
        Ok(info.map(Info::check_format).transpose()?)
    }

    /// Ends it. False: the connection cannot be used again.
    pub(super) fn end(self) -> bool {
        !self.broken.get() && self.execute("ROLLBACK").is_ok() && self.session.is_usable()
    }

    /// Waits for an answer, and looks at the limits meanwhile.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, NoCondition> {
        match within(self.limits, self.runtime, answer) {
            Some(Ok(answer)) => Ok(answer),
            None => {
                self.session.cancel();
                // The request may come late, and would stop whatever the connection does then.
                self.broken.set(true);
                Err(NoCondition::Failed(GIVEN_UP.into()))
            }
            Some(Err(error)) => {
                if self.turn.get().is_some() && error.code() == Some(&SqlState::QUERY_CANCELED) {
                    self.ran_out.set(true);
                }
                Err(Trouble::from(error).into())
            }
        }
    }

    /// Statements of the transaction itself, whatever the limits say.
    fn execute(&self, statements: &str) -> Result<(), NoCondition> {
        let answer = self.session.client().batch_execute(statements);
        let answered = self.runtime.block_on(async { timeout(BACKSTOP, answer).await });
        match answered {
            Ok(answered) => answered.map_err(|error| Trouble::from(error).into()),
            Err(_) => {
                self.broken.set(true);
                Err(NoCondition::Failed("no answer".into()))
            }
        }
    }

    /// Undoes the savepoint, and with it the time limit, which the undoing itself may still hit.
    fn end_turn(&self) -> Result<(), NoCondition> {
        let mut ended = self.execute("ROLLBACK TO SAVEPOINT turn");
        for _ in 0..END_TRIES_MAX {
            if ended.is_ok() || self.broken.get() {
                break;
            }
            ended = self.execute("ROLLBACK TO SAVEPOINT turn");
        }
        ended.and_then(|()| self.execute("RELEASE SAVEPOINT turn"))
    }

    fn ask(&self, sql: &str, parameters: &[Parameter]) -> Result<Vec<Vec<Sql>>, NoCondition> {
        if self.turn.get() == Some(0) {
            self.ran_out.set(true);
            return Err(NoCondition::Failed("it has no more steps".into()));
        }
        if self.limits.look(0) {
            return Err(NoCondition::Failed("it was given up".into()));
        }
        if parameters.len() > PARAMETERS_MAX {
            return Err(NoCondition::TooComplex);
        }
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            parameters.iter().map(|(value, kind)| (&**value as &(dyn ToSql + Sync), kind.clone())).collect();
        let rows = self.wait(self.session.client().query_typed(sql, &parameters))?;
        rows.iter().map(|row| (0..row.len()).map(|at| value(row, at)).collect()).collect()
    }

    /// Asks with the hidden runs as the table `hidden`, the first parameter.
    fn ask_without(&self, sql: &str, values: &[Sql], hidden: &BTreeSet<RunId>) -> Result<Vec<Vec<Sql>>, NoCondition> {
        let ids: Vec<Vec<u8>> = hidden.iter().map(|run| run.0.0.to_vec()).collect();
        let mut parameters: Vec<Parameter> = vec![(Box::new(ids), Type::BYTEA_ARRAY)];
        parameters.extend(values.iter().map(parameter));
        self.ask(&format!("WITH hidden AS (SELECT unnest($1) AS id) {}", numbered(sql, 2)), &parameters)
    }
}

/// A run's id in a row.
fn run_id(bytes: &[u8]) -> Result<RunId, NoCondition> {
    let wrong = |_| NoCondition::Damaged(format!("an id has {} bytes", bytes.len()));
    bytes.try_into().map(|id| RunId(Uuid(id))).map_err(wrong)
}

fn bound(limit: usize) -> Sql {
    Sql::Integer(i64::try_from(limit).unwrap_or(i64::MAX))
}

impl Database for Pg<'_> {
    fn dialect(&self) -> &'static Dialect {
        &DIALECT
    }

    fn rows(&self, text: &Text) -> Result<Vec<Vec<Sql>>, NoCondition> {
        let parameters: Vec<Parameter> = text.values.iter().map(parameter).collect();
        self.ask(&numbered(&text.sql, 1), &parameters)
    }

    /// Each walk gives as many as could be wanted of it. A run that is in two walks is at the same place in both.
    fn merge(&self, walks: Vec<Walk>, limit: usize, hidden: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        if walks.is_empty() {
            return Ok(Vec::new());
        }
        let distinct = if walks.len() > 1 { "DISTINCT ON (c, s, run_id) " } else { "" };
        let mut all = Text::default();
        all.push("SELECT ").push(distinct).push("c, s, run_id, record FROM (");
        for (at, Walk { text, of }) in walks.into_iter().enumerate() {
            all.push(if at == 0 { "(" } else { " UNION ALL (" }).add(&text);
            all.push(&format!(" AND {of}.run_id NOT IN (SELECT id FROM hidden) ORDER BY {of}.c, {of}.s, {of}.run_id LIMIT "));
            all.bind(bound(limit)).push(")");
        }
        all.push(") w(c, s, run_id, record) ORDER BY c, s, run_id LIMIT ").bind(bound(limit));
        self.ask_without(&all.sql, &all.values, hidden)?.iter().map(|row| record(bytes(row, 3)?)).collect()
    }

    fn first_ones(&self, text: Text, limit: usize, hidden: &BTreeSet<RunId>, first: &mut BTreeMap<Place, i64>) -> Result<(), NoCondition> {
        let mut all = Text::default();
        // What is inside is planned for itself, by what leads to few runs, and not for the order in which they are wanted.
        all.push("SELECT c, s, run_id, id FROM (").add(&text).push(" OFFSET 0) x(c, s, run_id, id)");
        all.push(" WHERE run_id NOT IN (SELECT id FROM hidden) ORDER BY c, s, run_id LIMIT ").bind(bound(limit));
        for row in self.ask_without(&all.sql, &all.values, hidden)? {
            first.insert((int(&row, 0)?, int(&row, 1)?, run_id(bytes(&row, 2)?)?), int(&row, 3)?);
            if first.len() > limit {
                first.pop_last();
            }
        }
        Ok(())
    }

    fn records_at(&self, rows: &[i64]) -> Result<Vec<Arc<Record>>, NoCondition> {
        let sql = "SELECT (SELECT r.record FROM run r WHERE r.id = u.id) FROM unnest($1) WITH ORDINALITY u(id, n) ORDER BY n";
        let parameters: [Parameter; 1] = [(Box::new(rows.to_vec()), Type::INT8_ARRAY)];
        self.ask(sql, &parameters)?.iter().map(|row| record(bytes(row, 0)?)).collect()
    }

    fn records_of(&self, namespace: NamespaceId, runs: &BTreeSet<RunId>) -> Result<Vec<Arc<Record>>, NoCondition> {
        let sql = "SELECT x.record FROM unnest($2) u(run), LATERAL (SELECT r.record FROM run r JOIN part p ON p.id = r.part
            WHERE r.run_id = u.run AND p.namespace = $1 LIMIT 1) x";
        let ids: Vec<Vec<u8>> = runs.iter().map(|run| run.0.0.to_vec()).collect();
        let parameters: [Parameter; 2] = [(Box::new(namespace.0.0.to_vec()), Type::BYTEA), (Box::new(ids), Type::BYTEA_ARRAY)];
        self.ask(sql, &parameters)?.iter().map(|row| record(bytes(row, 0)?)).collect()
    }

    fn stats(&self) -> Result<IndexStats, NoCondition> {
        let mut text = Text::default();
        text.push(&stats_text());
        let row = one(self, &text)?;
        let number = |at| Ok::<_, NoCondition>(int(&row, at)?.max(0).cast_unsigned());
        Ok(IndexStats { records: number(0)?, bytes: number(1)? })
    }

    fn allow(&self, steps: Option<u64>) -> Result<(), NoCondition> {
        if self.turn.take().is_some() {
            self.end_turn()?;
        }
        if let Some(steps) = steps {
            let millis = (steps.saturating_mul(STEP_NS) / 1_000_000).clamp(1, i32::MAX as u64);
            self.execute(&format!("SAVEPOINT turn; SET LOCAL statement_timeout = {millis}"))?;
        }
        self.turn.set(steps);
        Ok(())
    }

    fn ran_out(&self) -> Result<bool, NoCondition> {
        let ran_out = self.ran_out.take() && self.limits.stopped().is_none();
        if ran_out {
            self.turn.set(None);
            self.end_turn()?;
        }
        Ok(ran_out)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn question_marks_are_numbered() {
        assert_eq!(super::numbered("a=? AND b IN (?,?)", 2), "a=$2 AND b IN ($3,$4)");
        assert_eq!(super::numbered("none", 1), "none");
    }
}

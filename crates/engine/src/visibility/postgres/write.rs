//! What the one writer does to the tables: a transaction for each batch, a statement for each kind of change in it.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use sempre_core::{NamespaceId, RunId, ids::Uuid, visibility::Record};
use sempre_store::postgres::Session;
use tokio_postgres::{
    Row as Answer,
    types::{ToSql, Type},
};

use super::{
    super::{
        index::{Change, Position, namespace_of, run_of},
        sql::{
            Sql,
            names::{self, Named, Names},
            roots,
        },
    },
    schema::{DIALECT, Trouble, in_time},
};

/// Runs that one transaction removes of a namespace, or at the end of a rebuild.
const PURGE_RUNS_MAX: usize = 1000;

/// The writer's memory from one transaction to the next.
#[derive(Default)]
pub(super) struct Writer {
    names: Names,
    /// Marks the rows that this rebuild, or a put since, has written.
    pub(super) generation: i64,
}

/// A namespace's run.
type Key = (NamespaceId, RunId);
/// Counters: part, type, status.
type Counts = BTreeMap<(i64, Vec<u8>, i64), i64>;

/// What is known of the row of a run.
#[derive(Clone)]
struct Row {
    id: i64,
    part: i64,
    version: i64,
    generation: i64,
    workflow_type: Vec<u8>,
    status: i64,
    c: i64,
    s: i64,
    run: RunId,
}

/// A row of the attributes: field and value.
type Attribute = (i64, Vec<u8>);

/// The columns of `run`, as arrays of one statement.
#[derive(Default)]
struct Rows {
    id: Vec<i64>,
    part: Vec<i64>,
    c: Vec<i64>,
    s: Vec<i64>,
    run_id: Vec<Vec<u8>>,
    version: Vec<i64>,
    generation: Vec<i64>,
    workflow_id: Vec<Vec<u8>>,
    workflow_type: Vec<Vec<u8>>,
    status: Vec<i64>,
    task_queue: Vec<Vec<u8>>,
    execution_time: Vec<i64>,
    execution_duration: Vec<Option<i64>>,
    history_length: Vec<i64>,
    history_size_bytes: Vec<i64>,
    state_transition_count: Vec<i64>,
    parent_workflow_id: Vec<Option<Vec<u8>>>,
    parent_run_id: Vec<Option<Vec<u8>>>,
    root_workflow_id: Vec<Option<Vec<u8>>>,
    root_run_id: Vec<Option<Vec<u8>>>,
    record: Vec<Vec<u8>>,
}

/// Rows of `attr_order`, which have all that rows of `attr_run` have.
#[derive(Default)]
struct AttributeRows {
    field: Vec<i64>,
    value: Vec<Vec<u8>>,
    c: Vec<i64>,
    s: Vec<i64>,
    run_id: Vec<Vec<u8>>,
    run: Vec<i64>,
}

impl AttributeRows {
    fn push(&mut self, (field, value): Attribute, (c, s): (i64, i64), run: RunId, row: i64) {
        self.field.push(field);
        self.value.push(value);
        self.c.push(c);
        self.s.push(s);
        self.run_id.push(run.0.0.to_vec());
        self.run.push(row);
    }
}

const UPSERT: &str = "INSERT INTO run AS r (id, part, c, s, run_id, version, generation, workflow_id, workflow_type, status, task_queue,
      execution_time, execution_duration, history_length, history_size_bytes, state_transition_count,
      parent_workflow_id, parent_run_id, root_workflow_id, root_run_id, record)
    SELECT * FROM unnest($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21)
    ON CONFLICT (id) DO UPDATE SET part = excluded.part, c = excluded.c, s = excluded.s, run_id = excluded.run_id,
      version = excluded.version, generation = excluded.generation, workflow_id = excluded.workflow_id,
      workflow_type = excluded.workflow_type, status = excluded.status, task_queue = excluded.task_queue,
      execution_time = excluded.execution_time, execution_duration = excluded.execution_duration,
      history_length = excluded.history_length, history_size_bytes = excluded.history_size_bytes,
      state_transition_count = excluded.state_transition_count, parent_workflow_id = excluded.parent_workflow_id,
      parent_run_id = excluded.parent_run_id, root_workflow_id = excluded.root_workflow_id,
      root_run_id = excluded.root_run_id, record = excluded.record";

/// Rows are found one by one, each by the primary key, whatever the database thinks of the size of the table.
const REMOVE_FROM_RUN: &str = "DELETE FROM attr_run WHERE ctid = ANY (ARRAY(SELECT x.place FROM unnest($1, $2, $3) u(run, field, value),
    LATERAL (SELECT a.ctid AS place FROM attr_run a WHERE a.run = u.run AND a.field = u.field AND a.value = u.value LIMIT 1) x))";
const REMOVE_FROM_ORDER: &str = "DELETE FROM attr_order WHERE ctid = ANY (ARRAY(SELECT x.place
    FROM unnest($1, $2, $3, $4, $5, $6) u(field, value, c, s, run_id, run),
    LATERAL (SELECT a.ctid AS place FROM attr_order a WHERE a.field = u.field AND a.value = u.value AND a.c = u.c AND a.s = u.s
      AND a.run_id = u.run_id AND a.run = u.run LIMIT 1) x))";

const FIND: &str = "SELECT u.namespace, u.run_id, x.* FROM unnest($1, $2) u(namespace, run_id),
    LATERAL (SELECT r.id, r.part, r.version, r.generation, r.workflow_type, r.status, r.c, r.s
      FROM run r JOIN part p ON p.id = r.part WHERE r.run_id = u.run_id AND p.namespace = u.namespace LIMIT 1) x";

async fn ask(session: &Session, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Answer>, Trouble> {
    in_time(session.client().query_typed(sql, parameters), session).await
}

fn id<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Trouble> {
    bytes.try_into().map_err(|_| Trouble::Damaged(format!("an id has {} bytes", bytes.len())))
}

impl Writer {
    /// What the row of `index_info` says: another node may have begun a rebuild, or made the tables anew.
    pub(super) fn follow(&mut self, generation: i64) {
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.forget();
        }
    }

    /// One that knows nothing but the generation.
    pub(super) fn new(generation: i64) -> Self {
        Self { generation, ..Self::default() }
    }

    /// What was given in a transaction that failed does not exist.
    pub(super) fn forget(&mut self) {
        self.names.forget();
    }

    /// Changes in their order: those of different runs together.
    pub(super) async fn apply(&mut self, session: &Session, changes: &[Change]) -> Result<(), Trouble> {
        let mut from = 0;
        let mut seen = BTreeSet::new();
        for (at, change) in changes.iter().enumerate() {
            if !seen.insert(key(change)) {
                self.apply_distinct(session, &changes[from..at]).await?;
                seen = BTreeSet::from([key(change)]);
                from = at;
            }
        }
        self.apply_distinct(session, &changes[from..]).await
    }

    async fn apply_distinct(&mut self, session: &Session, changes: &[Change]) -> Result<(), Trouble> {
        if changes.is_empty() {
            return Ok(());
        }
        let old = find(session, changes.iter().map(key)).await?;
        let mut before = attributes_of(session, old.values().map(|row| row.id).collect()).await?;
        let is_new = |change: &&Change| matches!(change, Change::Put { .. }) && !old.contains_key(&key(change));
        let mut ids = row_ids(session, changes.iter().filter(is_new).count()).await?;
        let (mut rows, mut new, mut gone) = (Rows::default(), AttributeRows::default(), AttributeRows::default());
        let (mut counts, mut deleted) = (Counts::new(), Vec::new());
        for change in changes {
            let found = old.get(&key(change));
            let (version, record) = match change {
                Change::Put { version, record } => (version.cast_signed(), record),
                Change::Delete { .. } => {
                    let Some(row) = found else { continue };
                    for attribute in before.remove(&row.id).unwrap_or_default() {
                        gone.push(attribute, (row.c, row.s), row.run, row.id);
                    }
                    *counts.entry((row.part, row.workflow_type.clone(), row.status)).or_default() -= 1;
                    deleted.push(row.id);
                    continue;
                }
            };
            if found.is_some_and(|old| old.generation == self.generation && old.version > version) {
                continue;
            }
            let (division, named) = names::of_record(record, &DIALECT);
            let part = self.part(session, namespace_of(record), division).await?;
            let Position { close, start, run } = Position::of(record);
            let (c, s) = (!close, !start);
            let attributes = self.attributes(session, part, named).await?;
            let id = match found {
                Some(old) => {
                    *counts.entry((old.part, old.workflow_type.clone(), old.status)).or_default() -= 1;
                    let had = before.remove(&old.id).unwrap_or_default();
                    let same_place = (old.part, old.c, old.s) == (part, c, s);
                    for attribute in had.iter().filter(|one| !same_place || !attributes.contains(one)) {
                        gone.push(attribute.clone(), (old.c, old.s), run, old.id);
                    }
                    for attribute in attributes.iter().filter(|one| !same_place || !had.contains(one)) {
                        new.push(attribute.clone(), (c, s), run, old.id);
                    }
                    old.id
                }
                None => {
                    let id = ids.pop().ok_or_else(|| Trouble::Failed("it gave too few numbers for rows".into()))?;
                    attributes.into_iter().for_each(|attribute| new.push(attribute, (c, s), run, id));
                    id
                }
            };
            *counts.entry((part, record.workflow_type.clone().into_bytes(), record.status.into())).or_default() += 1;
            rows.push(id, part, (c, s), (version, self.generation), record);
        }
        remove_attributes(session, &gone).await?;
        if !deleted.is_empty() {
            ask(session, "DELETE FROM run WHERE id = ANY ($1)", &[(&deleted, Type::INT8_ARRAY)]).await?;
        }
        if !rows.id.is_empty() {
            ask(session, UPSERT, &rows.parameters()).await?;
        }
        add_attributes(session, &new).await?;
        write_counts(session, counts).await
    }

    /// Removes some runs of a namespace; true when there are more.
    pub(super) async fn purge(&mut self, session: &Session, namespace: NamespaceId) -> Result<bool, Trouble> {
        let of = namespace.0.0.as_slice();
        let runs = format!("SELECT r.run_id FROM part p JOIN run r ON r.part = p.id WHERE p.namespace = $1 LIMIT {PURGE_RUNS_MAX}");
        let runs = ask(session, &runs, &[(&of, Type::BYTEA)]).await?;
        if !runs.is_empty() {
            let delete = |row: &Answer| Ok::<_, Trouble>(Change::Delete { namespace, run: RunId(Uuid(id(row.try_get(0)?)?)) });
            let changes: Vec<Change> = runs.iter().map(delete).collect::<Result<_, Trouble>>()?;
            self.apply_distinct(session, &changes).await?;
            return Ok(true);
        }
        for sql in [
            "DELETE FROM counter WHERE part IN (SELECT id FROM part WHERE namespace = $1)",
            "DELETE FROM field WHERE part IN (SELECT id FROM part WHERE namespace = $1)",
            "DELETE FROM part WHERE namespace = $1",
        ] {
            ask(session, sql, &[(&of, Type::BYTEA)]).await?;
        }
        self.forget();
        Ok(false)
    }

    /// Begins a rebuild: what is there is old from now on.
    pub(super) async fn begin_rebuild(&mut self, session: &Session) -> Result<(), Trouble> {
        let row = ask(session, "UPDATE index_info SET generation = generation + 1 RETURNING generation", &[]).await?;
        let row = row.first().ok_or_else(|| Trouble::Damaged("its row of index_info is missing".into()))?;
        self.generation = row.try_get(0)?;
        Ok(())
    }

    /// Removes some of the rows that are old after `after`; the row to go on after, `None` at the end.
    pub(super) async fn sweep(&mut self, session: &Session, after: i64) -> Result<Option<i64>, Trouble> {
        // The rows looked at are bounded, not those removed: a healthy index has nothing to remove.
        let looked = 10 * PURGE_RUNS_MAX;
        let text = format!(
            "SELECT r.id, r.run_id, r.generation, p.namespace FROM (SELECT id, run_id, generation, part FROM run WHERE id > $1
               ORDER BY id LIMIT {looked}) r JOIN part p ON p.id = r.part ORDER BY r.id"
        );
        let rows = ask(session, &text, &[(&after, Type::INT8)]).await?;
        let (mut old, mut last) = (Vec::new(), None);
        for row in &rows {
            last = Some(row.try_get::<_, i64>(0)?);
            if row.try_get::<_, i64>(2)? < self.generation {
                let (run, namespace) = (RunId(Uuid(id(row.try_get(1)?)?)), NamespaceId(Uuid(id(row.try_get(3)?)?)));
                old.push(Change::Delete { namespace, run });
            }
            if old.len() == PURGE_RUNS_MAX {
                break;
            }
        }
        let more = old.len() == PURGE_RUNS_MAX || rows.len() == looked;
        self.apply_distinct(session, &old).await?;
        Ok(last.filter(|_| more))
    }

    /// Ends a rebuild: counts once, and says that everything is here.
    pub(super) async fn finish_rebuild(&mut self, session: &Session) -> Result<(), Trouble> {
        for sql in [
            "DELETE FROM counter",
            "INSERT INTO counter SELECT part, workflow_type, status, count(*) FROM run GROUP BY 1, 2, 3",
            "UPDATE index_info SET complete = true",
        ] {
            session.client().query_typed(sql, &[]).await?;
        }
        Ok(())
    }

    async fn part(&mut self, session: &Session, namespace: NamespaceId, division: Option<String>) -> Result<i64, Trouble> {
        let key = (namespace, division);
        if let Some(id) = self.names.parts.get(&key) {
            return Ok(id);
        }
        let (of, division) = (namespace.0.0.as_slice(), key.1.as_deref().map(str::as_bytes));
        let parameters: [(&(dyn ToSql + Sync), Type); 2] = [(&of, Type::BYTEA), (&division, Type::BYTEA)];
        let find = "SELECT id FROM part WHERE namespace = $1 AND division IS NOT DISTINCT FROM $2";
        let mut found = ask(session, find, &parameters).await?;
        if found.is_empty() {
            found = ask(session, "INSERT INTO part (namespace, division) VALUES ($1, $2) RETURNING id", &parameters).await?;
        }
        let id = found.first().ok_or_else(|| Trouble::Damaged("a part has no number".into()))?.try_get(0)?;
        self.names.parts.remember(key, id);
        Ok(id)
    }

    async fn field(&mut self, session: &Session, part: i64, name: &str, kind: i64) -> Result<i64, Trouble> {
        let key = (part, name.to_owned(), kind);
        if let Some(id) = self.names.fields.get(&key) {
            return Ok(id);
        }
        let bytes = name.as_bytes();
        let parameters: [(&(dyn ToSql + Sync), Type); 3] = [(&part, Type::INT8), (&bytes, Type::BYTEA), (&kind, Type::INT8)];
        let mut found = ask(session, "SELECT id FROM field WHERE part = $1 AND name = $2 AND kind = $3", &parameters).await?;
        if found.is_empty() {
            found = ask(session, "INSERT INTO field (part, name, kind) VALUES ($1, $2, $3) RETURNING id", &parameters).await?;
        }
        let id = found.first().ok_or_else(|| Trouble::Damaged("a field has no number".into()))?.try_get(0)?;
        self.names.fields.remember(key, id);
        Ok(id)
    }

    /// The rows that a record's attributes make, each once.
    async fn attributes(&mut self, session: &Session, part: i64, named: Vec<Named<'_>>) -> Result<BTreeSet<Attribute>, Trouble> {
        let mut rows = BTreeSet::new();
        for Named { name, kind, values } in named {
            let field = self.field(session, part, name, kind).await?;
            rows.extend(values.into_iter().filter_map(stored).map(|value| (field, value)));
        }
        Ok(rows)
    }
}

fn stored(value: Sql) -> Option<Vec<u8>> {
    if let Sql::Blob(bytes) = value { Some(bytes) } else { None }
}

fn key(change: &Change) -> Key {
    match change {
        Change::Put { record, .. } => (namespace_of(record), run_of(record)),
        Change::Delete { namespace, run } => (*namespace, *run),
    }
}

impl Rows {
    fn push(&mut self, id: i64, part: i64, (c, s): (i64, i64), (version, generation): (i64, i64), record: &Record) {
        let unless_empty = |text: &str| (!text.is_empty()).then(|| text.as_bytes().to_vec());
        self.id.push(id);
        self.part.push(part);
        self.c.push(c);
        self.s.push(s);
        self.run_id.push(run_of(record).0.0.to_vec());
        self.version.push(version);
        self.generation.push(generation);
        self.workflow_id.push(record.workflow_id.as_bytes().to_vec());
        self.workflow_type.push(record.workflow_type.as_bytes().to_vec());
        self.status.push(record.status.into());
        self.task_queue.push(record.task_queue.as_bytes().to_vec());
        self.execution_time.push(record.execution_time);
        self.execution_duration.push(record.execution_duration());
        self.history_length.push(record.history_length);
        self.history_size_bytes.push(record.history_size_bytes);
        self.state_transition_count.push(record.state_transition_count);
        self.parent_workflow_id.push(unless_empty(&record.parent_workflow_id));
        self.parent_run_id.push(unless_empty(&record.parent_run_id));
        self.root_workflow_id.push(unless_empty(roots(record).0));
        self.root_run_id.push(unless_empty(roots(record).1));
        self.record.push(record.encode_to_vec());
    }

    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 21] {
        let (numbers, texts) = (Type::INT8_ARRAY, Type::BYTEA_ARRAY);
        [
            (&self.id, numbers.clone()),
            (&self.part, numbers.clone()),
            (&self.c, numbers.clone()),
            (&self.s, numbers.clone()),
            (&self.run_id, texts.clone()),
            (&self.version, numbers.clone()),
            (&self.generation, numbers.clone()),
            (&self.workflow_id, texts.clone()),
            (&self.workflow_type, texts.clone()),
            (&self.status, numbers.clone()),
            (&self.task_queue, texts.clone()),
            (&self.execution_time, numbers.clone()),
            (&self.execution_duration, numbers.clone()),
            (&self.history_length, numbers.clone()),
            (&self.history_size_bytes, numbers.clone()),
            (&self.state_transition_count, numbers),
            (&self.parent_workflow_id, texts.clone()),
            (&self.parent_run_id, texts.clone()),
            (&self.root_workflow_id, texts.clone()),
            (&self.root_run_id, texts.clone()),
            (&self.record, texts),
        ]
    }
}

/// Numbers for new rows.
async fn row_ids(session: &Session, rows: usize) -> Result<Vec<i64>, Trouble> {
    if rows == 0 {
        return Ok(Vec::new());
    }
    let rows = i64::try_from(rows).unwrap_or(i64::MAX);
    let sql = "SELECT nextval('run_id_seq'::regclass) FROM generate_series(1, $1)";
    let ids = ask(session, sql, &[(&rows, Type::INT8)]).await?;
    ids.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// The rows of those runs that are there.
async fn find(session: &Session, keys: impl Iterator<Item = Key>) -> Result<BTreeMap<Key, Row>, Trouble> {
    let (mut namespaces, mut runs) = (Vec::new(), Vec::new());
    for (namespace, run) in keys {
        namespaces.push(namespace.0.0.to_vec());
        runs.push(run.0.0.to_vec());
    }
    let answers = ask(session, FIND, &[(&namespaces, Type::BYTEA_ARRAY), (&runs, Type::BYTEA_ARRAY)]).await?;
    let mut rows = BTreeMap::new();
    for row in &answers {
        let (namespace, run) = (NamespaceId(Uuid(id(row.try_get(0)?)?)), RunId(Uuid(id(row.try_get(1)?)?)));
        let found = Row {
            id: row.try_get(2)?,
            part: row.try_get(3)?,
            version: row.try_get(4)?,
            generation: row.try_get(5)?,
            workflow_type: row.try_get(6)?,
            status: row.try_get(7)?,
            c: row.try_get(8)?,
            s: row.try_get(9)?,
            run,
        };
        rows.insert((namespace, run), found);
    }
    Ok(rows)
}

/// What attributes some rows have.
async fn attributes_of(session: &Session, rows: Vec<i64>) -> Result<BTreeMap<i64, BTreeSet<Attribute>>, Trouble> {
    let mut attributes: BTreeMap<i64, BTreeSet<Attribute>> = BTreeMap::new();
    if rows.is_empty() {
        return Ok(attributes);
    }
    let sql = "SELECT a.run, a.field, a.value FROM unnest($1) u(run), LATERAL (SELECT * FROM attr_run a WHERE a.run = u.run OFFSET 0) a";
    for row in &ask(session, sql, &[(&rows, Type::INT8_ARRAY)]).await? {
        attributes.entry(row.try_get(0)?).or_default().insert((row.try_get(1)?, row.try_get(2)?));
    }
    Ok(attributes)
}

async fn remove_attributes(session: &Session, gone: &AttributeRows) -> Result<(), Trouble> {
    if gone.run.is_empty() {
        return Ok(());
    }
    let (numbers, texts) = (Type::INT8_ARRAY, Type::BYTEA_ARRAY);
    let of_run: [(&(dyn ToSql + Sync), Type); 3] = [(&gone.run, numbers.clone()), (&gone.field, numbers), (&gone.value, texts)];
    ask(session, REMOVE_FROM_RUN, &of_run).await?;
    ask(session, REMOVE_FROM_ORDER, &gone.parameters()).await?;
    Ok(())
}

async fn add_attributes(session: &Session, new: &AttributeRows) -> Result<(), Trouble> {
    if new.run.is_empty() {
        return Ok(());
    }
    let (numbers, texts) = (Type::INT8_ARRAY, Type::BYTEA_ARRAY);
    let of_run: [(&(dyn ToSql + Sync), Type); 3] = [(&new.run, numbers.clone()), (&new.field, numbers), (&new.value, texts)];
    ask(session, "INSERT INTO attr_run SELECT * FROM unnest($1, $2, $3)", &of_run).await?;
    ask(session, "INSERT INTO attr_order SELECT * FROM unnest($1, $2, $3, $4, $5, $6)", &new.parameters()).await?;
    Ok(())
}

impl AttributeRows {
    fn parameters(&self) -> [(&(dyn ToSql + Sync), Type); 6] {
        let (numbers, texts) = (Type::INT8_ARRAY, Type::BYTEA_ARRAY);
        [
            (&self.field, numbers.clone()),
            (&self.value, texts.clone()),
            (&self.c, numbers.clone()),
            (&self.s, numbers.clone()),
            (&self.run_id, texts),
            (&self.run, numbers),
        ]
    }
}

async fn write_counts(session: &Session, counts: Counts) -> Result<(), Trouble> {
    let (mut parts, mut types, mut statuses, mut by) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for ((part, workflow_type, status), runs) in counts {
        if runs != 0 {
            parts.push(part);
            types.push(workflow_type);
            statuses.push(status);
            by.push(runs);
        }
    }
    if by.is_empty() {
        return Ok(());
    }
    let (numbers, texts) = (Type::INT8_ARRAY, Type::BYTEA_ARRAY);
    let parameters: [(&(dyn ToSql + Sync), Type); 4] =
        [(&parts, numbers.clone()), (&types, texts.clone()), (&statuses, numbers.clone()), (&by, numbers.clone())];
    let add = "INSERT INTO counter AS o SELECT * FROM unnest($1, $2, $3, $4)
        ON CONFLICT (part, workflow_type, status) DO UPDATE SET runs = o.runs + excluded.runs RETURNING runs";
    let left = ask(session, add, &parameters).await?;
    let mut empty = false;
    for row in &left {
        empty |= row.try_get::<_, i64>(0)? == 0;
    }
    if empty {
        let remove = "DELETE FROM counter WHERE ctid = ANY (ARRAY(SELECT x.place FROM unnest($1, $2, $3) u(part, workflow_type, status),
            LATERAL (SELECT o.ctid AS place FROM counter o WHERE o.part = u.part AND o.workflow_type = u.workflow_type
              AND o.status = u.status AND o.runs = 0 LIMIT 1) x))";
        ask(session, remove, &parameters[..3]).await?;
    }
    Ok(())
}

//! The tables and functions in the database, and how they come about: one step per format, each in a transaction of its own.
//!
//! | the schema | what happens |
//! |---|---|
//! | is missing or empty | it is made |
//! | is of an older format | the steps that are missing are taken, one by one; a step that was cut off is taken again as a whole |
//! | is of this format | nothing |
//! | is of a newer format | refused, untouched |
//! | holds something else | refused, untouched |
//! | is what a copy that did not end has left | refused, untouched |
//!
//! Steps leave alone what an older program that still runs uses: functions have the number of the format that brought them.
//! Two programs that come at once take turns (an advisory lock within the transaction, which poolers understand).
//! `docs/postgresql.md` describes the tables for readers.
#![expect(clippy::disallowed_methods, reason = "how long somebody else's lock is waited for is a matter of the wall clock")]

mod nodes;

use std::path::PathBuf;

use tokio::time::sleep;
use tokio_postgres::{Client, types::Type};

use super::{
    limits::{FORMAT, LOCK_MAX, LOCK_TRIES_MAX, PAUSE_MAX},
    trouble::Trouble,
};
use crate::{StoreError, Table};

/// A step to the next format: the statements of one transaction, given the schema's name.
type Step = fn(&str) -> String;

/// The first step makes format 1 of nothing, and so on.
const STEPS: [Step; FORMAT as usize] = [format_1, format_2, format_3];

/// A lock was not to be had in time, as the text of a refusal ends.
const LOCKED: &str = "(55P03)";

/// Why the schema cannot be used.
pub(super) enum SchemaError {
    /// The database did not do as asked.
    Trouble(Trouble),
    /// What is there is not for this program.
    Unfit(StoreError),
}

impl From<tokio_postgres::Error> for SchemaError {
    fn from(error: tokio_postgres::Error) -> Self {
        SchemaError::Trouble(error.into())
    }
}

/// The table's name in the schema.
pub(super) fn name(table: Table) -> &'static str {
    match table {
        Table::Meta => "meta",
        Table::Current => "current",
        Table::State => "state",
        Table::History => "history",
        Table::Offer => "offer",
        Table::Outbox => "outbox",
        Table::Deadline => "deadline",
        Table::Namespace => "namespace",
        Table::Visibility => "visibility",
        Table::Schedule => "schedule",
        Table::Flow => "flow",
        Table::Notice => "notice",
    }
}

/// Brings the schema to the format of this program.
pub(super) async fn migrate(client: &Client, schema: &str, place: &str) -> Result<(), SchemaError> {
    migrate_by(client, schema, place, &STEPS).await
}

async fn migrate_by(client: &Client, schema: &str, place: &str, steps: &[Step]) -> Result<(), SchemaError> {
    let mut tries = 0;
    loop {
        match step(client, schema, place, steps).await {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // Somebody reads or writes what it changes, or brings it up himself.
            Err(SchemaError::Trouble(Trouble::Again(reason))) if reason.ends_with(LOCKED) && tries < LOCK_TRIES_MAX => {
                tracing::debug!(place, reason, "the schema cannot be brought to the next format now");
                tries += 1;
                sleep(PAUSE_MAX).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Takes the next step, if there is one.
async fn step(client: &Client, schema: &str, place: &str, steps: &[Step]) -> Result<bool, SchemaError> {
    // Looking costs no lock; most openings end here.
    if format(client, schema, place, steps.len()).await? == Some(steps.len()) {
        return Ok(false);
    }
    // Nodes that are there renew their leases meanwhile: neither a lock that is waited for nor a process that stops here may keep them from it
    // for long.
    let limits = format!("SET LOCAL lock_timeout = {}; SET LOCAL idle_in_transaction_session_timeout = 5000", LOCK_MAX.as_millis());
    client.batch_execute(&format!("BEGIN ISOLATION LEVEL READ COMMITTED; {limits}")).await?;
    let done = locked_step(client, schema, place, steps).await;
    let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = client.batch_execute(end).await;
    done?;
    ended?;
    Ok(true)
}

async fn locked_step(client: &Client, schema: &str, place: &str, steps: &[Step]) -> Result<(), SchemaError> {
    let lock = "SELECT pg_advisory_xact_lock(hashtextextended('sempre schema ' || $1, 0))";
    client.query_typed(lock, &[(&schema, Type::TEXT)]).await?;
    let found = format(client, schema, place, steps.len()).await?;
    let next = found.unwrap_or(0);
    let Some(step) = steps.get(next) else { return Ok(()) };
    if found.is_none() && client.query_typed("SELECT 1 FROM pg_namespace WHERE nspname = $1", &[(&schema, Type::TEXT)]).await?.is_empty() {
        client.batch_execute(&format!("CREATE SCHEMA \"{schema}\"")).await?;
    }
    tracing::info!(place, from = next, to = next + 1, "the schema is brought to the next format");
    client.batch_execute(&step(schema)).await?;
    client.batch_execute(&format!("UPDATE \"{schema}\".format SET format = {}", next + 1)).await?;
    Ok(())
}

/// The format that is there; `None` in a schema that is missing or empty.
async fn format(client: &Client, schema: &str, place: &str, supported: usize) -> Result<Option<usize>, SchemaError> {
    let count = "SELECT count(*), count(*) FILTER (WHERE c.relname = 'format'), count(*) FILTER (WHERE c.relname = 'node') FROM pg_class c \
                 JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1";
    let row = client.query_typed_one(count, &[(&schema, Type::TEXT)]).await?;
    let (all, ours, has_nodes): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    if all == 0 {
        return Ok(None);
    }
    let not_ours = |what: &str| {
        let what = what.into();
        SchemaError::Unfit(StoreError::NotOurSchema { place: place.into(), what })
    };
    if ours == 0 {
        return Err(not_ours("it holds tables of something else"));
    }
    let rows = client.query_typed(&format!("SELECT format, incomplete FROM \"{schema}\".format"), &[]).await?;
    if has_nodes == 0 {
        return Err(not_ours("it was made before the first release, by a program that did not know its table `node`"));
    }
    let [row] = &rows[..] else { return Err(not_ours("its table `format` has not exactly one row")) };
    let found: i32 = row.try_get(0).map_err(|_| not_ours("its table `format` holds no number"))?;
    if let Ok(Some(what)) = row.try_get::<_, Option<String>>(1) {
        return Err(not_ours(&format!("{what}, and that did not end. Drop the schema and begin again")));
    }
    match usize::try_from(found) {
        Ok(found) if found <= supported => Ok(Some(found)),
        _ => Err(SchemaError::Unfit(StoreError::NewerFormat {
            path: PathBuf::from(place),
            found: u32::try_from(found).unwrap_or_default(),
            supported: u32::try_from(supported).unwrap_or(FORMAT),
        })),
    }
}

/// Says that the content is not whole until somebody says otherwise: nobody opens it meanwhile.
pub(super) async fn set_incomplete(client: &Client, schema: &str, what: Option<&str>) -> Result<(), Trouble> {
    client.query_typed(&format!("UPDATE \"{schema}\".format SET incomplete = $1"), &[(&what, Type::TEXT)]).await?;
    Ok(())
}

/// Whether the format is exactly that of this program, for those who only read.
pub(super) async fn check(client: &Client, schema: &str, place: &str) -> Result<(), SchemaError> {
    let supported = STEPS.len();
    let what = match format(client, schema, place, supported).await? {
        Some(found) if found == supported => return Ok(()),
        Some(found) => format!("it has format {found}, and a server of this version has to bring it to {supported} first"),
        None => "there is nothing in it".into(),
    };
    Err(SchemaError::Unfit(StoreError::NotOurSchema { place: place.into(), what }))
}

/// How a table is kept. Rows that change often leave room beside them, so that a change needs no new entry of the index, and
/// are tidied up early: most rows of these tables live for a moment.
fn storage(table: Table) -> &'static str {
    match table {
        Table::State | Table::Current => {
            "fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1"
        }
        Table::Offer | Table::Outbox | Table::Deadline | Table::Visibility | Table::Schedule | Table::Flow => {
            "autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.1"
        }
        Table::Meta | Table::History | Table::Namespace | Table::Notice => "autovacuum_vacuum_insert_scale_factor = 0.1",
    }
}

/// Settings of every function: no plan is made from statistics, which are always wrong about tables that fill and empty all the
/// time. Every statement has one good plan, by the primary key.
const PLANS: &str = "SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off";

fn format_1(schema: &str) -> String {
    let s = format!("\"{schema}\"");
    let tables: String = Table::ALL
        .map(|table| {
            let (name, storage) = (name(table), storage(table));
            format!("CREATE TABLE {s}.{name} (key bytea PRIMARY KEY, value bytea NOT NULL) WITH ({storage});\n")
        })
        .concat();
    let (commit, get, scan) = (commit_1(&s), get_1(&s), scan_1(&s));
    let (nodes, of_nodes) = (nodes::tables(&s), nodes::functions(&s));
    format!(
        "CREATE TABLE {s}.format (one boolean PRIMARY KEY DEFAULT true CHECK (one), format integer NOT NULL,
                                 incomplete text);
         INSERT INTO {s}.format (format) VALUES (0);
         {nodes}         {tables}
         {commit}
         {get}
         {scan}
         CREATE FUNCTION {s}.settle_1(p_shard bigint, p_epoch bigint, p_seq bigint) RETURNS integer LANGUAGE plpgsql AS $$
         DECLARE it record;
         BEGIN
           -- The write makes the answer wait for disk and standbys as the commit itself should have.
           UPDATE {s}.shard SET base = base WHERE id = p_shard RETURNING epoch, seq, base INTO it;
           IF NOT FOUND THEN RETURN 0; END IF;
           IF it.epoch = p_epoch THEN RETURN CASE WHEN it.seq >= p_seq THEN 2 ELSE 0 END; END IF;
           IF it.base < p_seq THEN RETURN 0; END IF;
           RETURN CASE WHEN it.epoch = p_epoch + 1 THEN 2 ELSE -1 END;
         END $$;
         {of_nodes}
         CREATE FUNCTION {s}.stream_1(p_low bytea, p_from bytea, p_high bytea, p_len integer, p_bytes bigint)
         RETURNS TABLE (k bytea, v bytea) LANGUAGE plpgsql STABLE {PLANS} AS $$
         DECLARE begins bytea; total bigint := 0;
         BEGIN
           SELECT t.key INTO begins FROM {s}.history t
           WHERE t.key >= p_low AND t.key <= p_from AND length(t.key) = p_len ORDER BY t.key DESC LIMIT 1;
           FOR k, v IN SELECT t.key, t.value FROM {s}.history t
               WHERE t.key >= coalesce(begins, p_low) AND t.key <= p_high AND length(t.key) = p_len ORDER BY t.key LOOP
             RETURN NEXT;
             total := total + length(v);
             EXIT WHEN total > p_bytes;
           END LOOP;
         END $$;"
    )
}

fn format_2(schema: &str) -> String {
    nodes::format_2(&format!("\"{schema}\""))
}

fn format_3(schema: &str) -> String {
    nodes::format_3(&format!("\"{schema}\""))
}

/// One commit: the fence first, then the rows of each table. 1: done, 2: was done before, 0: fenced and not done, -1: fenced,
/// and nobody knows any more whether it was done before.
fn commit_1(s: &str) -> String {
    let parameters: String = Table::ALL.map(|table| format!(", k{id} bytea[], v{id} bytea[], d{id} bytea[]", id = table.id())).concat();
    let rows: String = Table::ALL
        .map(|table| {
            let (name, id) = (name(table), table.id());
            format!(
                "IF cardinality(d{id}) > 0 THEN DELETE FROM {s}.{name} WHERE key = ANY (d{id}); END IF;
                 IF cardinality(k{id}) > 0 THEN
                   INSERT INTO {s}.{name} (key, value) SELECT * FROM unnest(k{id}, v{id})
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value;
                 END IF;\n"
            )
        })
        .concat();
    format!(
        "CREATE FUNCTION {s}.commit_1(p_shard bigint, p_epoch bigint, p_seq bigint{parameters})
         RETURNS integer LANGUAGE plpgsql {PLANS} AS $$
         BEGIN
           -- Whatever the role or the database has been told: what is answered is on disk.
           IF current_setting('synchronous_commit') = 'off' THEN PERFORM set_config('synchronous_commit', 'on', true); END IF;
           UPDATE {s}.shard SET seq = p_seq WHERE id = p_shard AND epoch = p_epoch AND seq = p_seq - 1;
           IF NOT FOUND THEN RETURN {s}.settle_1(p_shard, p_epoch, p_seq); END IF;
           {rows}
           RETURN 1;
         END $$;"
    )
}

/// Values of some keys of a table, in no order; keys without a row are left out.
fn get_1(s: &str) -> String {
    let cases: String = Table::ALL
        .map(|table| {
            let (name, id) = (name(table), table.id());
            format!("WHEN {id} THEN RETURN QUERY SELECT t.key, t.value FROM {s}.{name} t WHERE t.key = ANY (p_keys);\n")
        })
        .concat();
    format!(
        "CREATE FUNCTION {s}.get_1(p_table integer, p_keys bytea[]) RETURNS TABLE (k bytea, v bytea)
         LANGUAGE plpgsql STABLE {PLANS} AS $$ BEGIN CASE p_table {cases} END CASE; END $$;"
    )
}

/// Rows of a range of a table in order, until there are so many or so many bytes.
fn scan_1(s: &str) -> String {
    let cases: String = Table::ALL
        .map(|table| {
            let (name, id) = (name(table), table.id());
            format!(
                "WHEN {id} THEN
                   FOR k, v IN SELECT t.key, t.value FROM {s}.{name} t WHERE t.key >= p_from AND t.key < p_to ORDER BY t.key LIMIT p_rows LOOP
                     RETURN NEXT;
                     total := total + length(k) + length(v);
                     EXIT WHEN total >= p_bytes;
                   END LOOP;\n"
            )
        })
        .concat();
    format!(
        "CREATE FUNCTION {s}.scan_1(p_table integer, p_from bytea, p_to bytea, p_rows bigint, p_bytes bigint)
         RETURNS TABLE (k bytea, v bytea) LANGUAGE plpgsql STABLE {PLANS} AS $$
         DECLARE total bigint := 0;
         BEGIN CASE p_table {cases} END CASE; END $$;"
    )
}

#[cfg(test)]
mod tests {
    use sempre_postgres_cluster::Cluster;

    use super::*;
    use crate::{
        Store,
        postgres::{PostgresOptions, PostgresStore, connections::Connection, member::NodeOptions, placement::NodeId},
    };

    fn two(schema: &str) -> String {
        format!("CREATE TABLE {schema}.two (a integer)")
    }

    fn three(schema: &str) -> String {
        format!("CREATE TABLE {schema}.three (a integer); ALTER TABLE {schema}.two ADD COLUMN b integer")
    }

    fn three_cut_off(schema: &str) -> String {
        format!("CREATE TABLE {schema}.three (a integer); SELECT 1 / 0")
    }

    /// One that came by a program of format 1, and is still there.
    #[tokio::test]
    async fn a_node_that_says_nothing_of_itself_is_seen_by_those_who_do() {
        let Some(cluster) = Cluster::start() else { return };
        let cluster = cluster.unwrap();
        let (options, runtime) = (PostgresOptions::parse(&cluster.address_of("old"), None).unwrap(), tokio::runtime::Handle::current());
        let connection = Connection::open(&options, &runtime).await.unwrap_or_else(|trouble| panic!("{trouble:?}"));
        assert!(migrate_by(connection.client(), "old", "place", &[format_1]).await.is_ok());
        let (old, lease_ms) = (NodeId(7), 60_000);
        cluster.sql(&format!("SELECT old.join_1('{old}', 'old', 'old:7233', {lease_ms}, 4, ARRAY[]::bigint[])")).unwrap();
        let (name, address, key) = ("new".to_owned(), "new:7233".to_owned(), "a key".to_owned());
        let new = NodeOptions { name, address, key, process: 1 << 63, shards: 4, singles: Vec::new() };
        let store = PostgresStore::join(options, new, runtime).await.unwrap();
        let membership = store.membership().unwrap();
        let mut known: Vec<_> = membership.picture().nodes().map(|node| (node.name.clone(), node.key.clone(), node.process)).collect();
        known.sort();
        assert_eq!(known, [("new".to_owned(), "a key".to_owned(), 1 << 63), ("old".to_owned(), String::new(), 0)]);
    }

    /// One that runs on while a newer program brings the schema up: it renews its lease as ever, and is told to go by nobody, as it would not
    /// hear of it.
    #[tokio::test]
    async fn a_node_of_format_2_goes_on_beside_newer_ones() {
        let Some(cluster) = Cluster::start() else { return };
        let cluster = cluster.unwrap();
        let address = cluster.address_of("old").replace("lease_ms=1000", "lease_ms=60000");
        let (options, runtime) = (PostgresOptions::parse(&address, None).unwrap(), tokio::runtime::Handle::current());
        let connection = Connection::open(&options, &runtime).await.unwrap_or_else(|trouble| panic!("{trouble:?}"));
        assert!(migrate_by(connection.client(), "old", "place", &STEPS[..2]).await.is_ok());
        let join = |id: NodeId| format!("SELECT old.join_2('{id}', 'old', 'old:7233', 'key', 1, 60000, 4, ARRAY[]::bigint[])");
        let (first, second) = (NodeId(7), NodeId(8));
        cluster.sql(&join(first)).unwrap();
        cluster.sql(&join(second)).unwrap();
        cluster.sql(&format!("SELECT old.ready_2('{second}')")).unwrap();
        let (name, address, key) = ("new".to_owned(), "new:7233".to_owned(), "a key".to_owned());
        let new = NodeOptions { name, address, key, process: 1 << 63, shards: 4, singles: Vec::new() };
        let store = PostgresStore::join(options, new, runtime).await.unwrap();
        store.ready().await.unwrap();
        let membership = store.membership().unwrap();
        let me = membership.id();
        membership.set_unreached([first, second].into());
        let mut pictures = membership.watch();
        let sees = pictures.wait_for(|picture| picture.nodes().filter(|node| node.is_ready && !node.is_leaving).count() == 3);
        drop(sees.await.unwrap());
        let standings = loop {
            let standings = store.standings().await.unwrap();
            if standings[&me].misses(first) {
                break standings;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(standings[&first].unreached, None, "it does not say");
        // Even if the other says so, too, by hand.
        cluster.sql(&format!("UPDATE old.node SET unreached = ARRAY['{first}'::uuid] WHERE id = '{second}'")).unwrap();
        let oust = format!("SELECT old.oust_1('{me}', '{first}', ARRAY['{me}', '{second}']::uuid[])");
        assert_eq!(cluster.sql(&oust).unwrap(), "f");
        let renew = format!("UPDATE old.node SET until = clock_timestamp() + interval '1 hour' WHERE id = '{first}'");
        cluster.sql(&renew).unwrap();
        let is_renewed = format!("SELECT until > clock_timestamp() + interval '30 min' FROM old.node WHERE id = '{first}'");
        assert_eq!(cluster.sql(&is_renewed).unwrap(), "t");
        assert_eq!(cluster.sql(&format!("SELECT leaving FROM old.node WHERE id = '{first}'")).unwrap(), "f");
        // It did not hear of it because it says nothing; one that does, does.
        cluster.sql(&format!("UPDATE old.node SET unreached = '{{}}' WHERE id = '{first}'")).unwrap();
        let ousts = || cluster.sql(&format!("SELECT leaving, cardinality(ousted) FROM old.node WHERE id = '{first}'")).unwrap();
        cluster.sql(&oust).unwrap();
        assert_eq!(ousts(), "t|2");
    }

    #[tokio::test]
    async fn a_step_that_waits_for_a_lock_keeps_nobody_from_his_lease() {
        let Some(cluster) = Cluster::start() else { return };
        let cluster = cluster.unwrap();
        let (options, runtime) = (PostgresOptions::parse(&cluster.address_of("busy"), None).unwrap(), tokio::runtime::Handle::current());
        let open = async || Connection::open(&options, &runtime).await.unwrap_or_else(|trouble| panic!("{trouble:?}"));
        let (steps, reads, renews) = (open().await, open().await, open().await);
        assert!(migrate_by(steps.client(), "busy", "place", &STEPS[..2]).await.is_ok());
        reads.client().batch_execute("BEGIN; SELECT * FROM busy.node").await.unwrap();
        let mut migrating = std::pin::pin!(migrate(steps.client(), "busy", "place"));
        // Most of these come while it waits.
        let renewals = async {
            for _ in 0..20 {
                renews.client().batch_execute("UPDATE busy.node SET until = clock_timestamp()").await.unwrap();
                sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            _ = &mut migrating => panic!("somebody reads the table"),
            renewed = tokio::time::timeout(std::time::Duration::from_secs(60), renewals) => renewed.unwrap(),
        }
        reads.client().batch_execute("COMMIT").await.unwrap();
        assert!(migrating.await.is_ok());
        assert_eq!(cluster.sql("SELECT format FROM busy.format").unwrap(), FORMAT.to_string());
    }

    #[tokio::test]
    async fn what_format_1_holds_is_there_in_the_newest() {
        let Some(cluster) = Cluster::start() else { return };
        let cluster = cluster.unwrap();
        let options = PostgresOptions::parse(&cluster.address_of("old"), None).unwrap();
        let runtime = tokio::runtime::Handle::current();
        let connection = Connection::open(&options, &runtime).await.unwrap_or_else(|trouble| panic!("{trouble:?}"));
        assert!(migrate_by(connection.client(), "old", "place", &STEPS[..1]).await.is_ok());
        // As a server of that format leaves it that was killed: its row is there, and two of its shards.
        let left = "INSERT INTO old.meta VALUES ('key', 'value');
                    INSERT INTO old.node SELECT id, 'process 7', '', true, false, now() - interval '1 s' FROM old.mine;
                    INSERT INTO old.shard SELECT shard, 3, 5, 4, id FROM old.mine, generate_series(0, 1) shard;
                    DROP TABLE old.mine";
        cluster.sql(&format!("CREATE TABLE old.mine AS SELECT gen_random_uuid() id; {left}")).unwrap();

        let store = PostgresStore::open(options, runtime).await.unwrap();
        assert_eq!(store.get(Table::Meta, b"key").await.unwrap().as_deref(), Some(&b"value"[..]));
        let epoch = store.acquire(0).await.unwrap();
        assert!(epoch > 3, "{epoch} is not greater than the one before");
        assert_eq!(cluster.sql("SELECT format FROM old.format; SELECT alone, ready, key, process FROM old.node").unwrap(), "3\nt|t||");
        store.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_schema_of_any_format_gets_to_any_later_one_and_no_earlier() {
        let Some(cluster) = Cluster::start() else { return };
        let cluster = cluster.unwrap();
        let options = PostgresOptions::parse(&cluster.address(), None).unwrap();
        let connection =
            Connection::open(&options, &tokio::runtime::Handle::current()).await.unwrap_or_else(|trouble| panic!("{trouble:?}"));
        let client = connection.client();
        let migrate = async |schema: &str, steps: &[Step]| migrate_by(client, schema, "place", steps).await;
        let columns = |schema: &str| {
            let columns = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema";
            cluster.sql(&format!("{columns} = '{schema}' ORDER BY 1, 2; SELECT format FROM {schema}.format")).unwrap()
        };

        assert!(migrate("direct", &[format_1, two, three]).await.is_ok());
        let wanted = columns("direct");
        assert!(wanted.ends_with("\n3"), "{wanted}");

        assert!(migrate("stepwise", &[format_1]).await.is_ok());
        let first = columns("stepwise");
        // The step that fails leaves what the steps before it made, and nothing of its own.
        assert!(matches!(migrate("stepwise", &[format_1, two, three_cut_off]).await, Err(SchemaError::Trouble(_))));
        let between = columns("stepwise");
        assert!(between.ends_with("\n2") && between.contains("two|a") && !between.contains("three|"), "{between}");
        for _ in 0..2 {
            assert!(migrate("stepwise", &[format_1, two, three]).await.is_ok());
            assert_eq!(columns("stepwise"), wanted);
        }
        let refused = migrate("stepwise", &[format_1]).await;
        assert!(matches!(refused, Err(SchemaError::Unfit(StoreError::NewerFormat { found: 3, supported: 1, .. }))));
        assert_eq!(columns("stepwise"), wanted);
        assert_ne!(first, wanted);
    }
}

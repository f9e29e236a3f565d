//! Which server the schema belongs to, by the clock of the database alone.
//!
//! | the row of the owner | a server that opens | the owner |
//! |---|---|---|
//! | is missing, given back, or has run out | takes it, and with it every shard of the one before | |
//! | is renewed while it looks | is refused | renews it |
//! | is somebody else's now | | stops: its commits are refused since that moment |
//!
//! That two servers never write at once does not rest on time: taking the row raises the epoch of every shard, every commit names
//! its epoch, and a shard is given out only while the row cannot be taken.
#![expect(clippy::disallowed_methods, reason = "how long a lease lasts is a matter of the wall clock")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_postgres::types::Type;

use super::{
    connections::{Connection, Connections},
    trouble::Trouble,
    writer::Shared,
};
use crate::StoreError;

/// How long an opening waits at most for a lease to run out.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a lease of somebody else.
const LOOK: Duration = Duration::from_millis(100);

/// Takes the schema for this process; gives the id under which it has it.
pub(super) async fn take(connections: &Connections) -> Result<String, StoreError> {
    let options = connections.options();
    let failed = |trouble: Trouble| StoreError::Database {
        action: "take ownership of",
        place: options.place().into(),
        reason: trouble.into_reason(),
    };
    let connection = connections.borrow().await.map_err(failed)?;
    let holder = ask_id(connection.get()).await.map_err(failed)?;
    let begun = Instant::now();
    let mut seen: Option<Other> = None;
    loop {
        if try_take(connections, connection.get(), &holder).await.map_err(failed)? {
            connection.keep();
            return Ok(holder);
        }
        let Some(other) = look(connections, connection.get()).await.map_err(failed)? else { continue };
        let renewed = seen.as_ref().is_some_and(|seen| seen.until != other.until);
        if renewed || begun.elapsed() > WAIT_MAX {
            return Err(StoreError::Owned { place: options.place().into(), holder: other.name });
        }
        if seen.is_none() {
            tracing::info!(
                place = options.place(),
                holder = other.name,
                "another server has it; if that one is gone, it lets go in a moment"
            );
        }
        seen = Some(other);
        sleep(LOOK).await;
    }
}

/// The lease of somebody else.
struct Other {
    name: String,
    until: String,
}

async fn ask_id(connection: &Connection) -> Result<String, Trouble> {
    let row = connection.ask("SELECT gen_random_uuid()::text", &[]).await?.pop();
    Ok(row.ok_or_else(|| Trouble::Refused("it gave no id".into()))?.try_get(0)?)
}

fn millis(lease: Duration) -> f64 {
    lease.as_secs_f64() * 1000.0
}

/// False: it is somebody else's. The shards are fenced by a statement of its own, which sees every shard there is at that
/// moment: one that was made while the first statement waited for it (`acquire_1` holds the owner's row until it is done) would
/// not be in the picture that the first one has.
async fn try_take(connections: &Connections, connection: &Connection, holder: &str) -> Result<bool, Trouble> {
    let options = connections.options();
    let schema = &options.schema;
    let take = format!(
        "INSERT INTO \"{schema}\".owner AS o (holder, name, until)
         VALUES ($1::text::uuid, concat('process ', $2, coalesce(' at ' || host(inet_client_addr()), ' of the database''s machine')),
                 clock_timestamp() + $3 * interval '1 ms')
         ON CONFLICT (one) DO UPDATE SET holder = excluded.holder, name = excluded.name, until = excluded.until
         WHERE o.until < clock_timestamp() OR o.holder = excluded.holder
         RETURNING 1"
    );
    let (process, lease) = (std::process::id().to_string(), millis(options.lease));
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
        [(&holder, Type::TEXT), (&process, Type::TEXT), (&lease, Type::FLOAT8)];
    connection.ask("BEGIN ISOLATION LEVEL READ COMMITTED", &[]).await?;
    let taken = !connection.ask(&take, &parameters).await?.is_empty();
    if taken {
        connection.ask(&format!("UPDATE \"{schema}\".shard SET epoch = epoch + 1, base = seq"), &[]).await?;
    }
    connection.ask("COMMIT", &[]).await?;
    Ok(taken)
}

async fn look(connections: &Connections, connection: &Connection) -> Result<Option<Other>, Trouble> {
    let schema = &connections.options().schema;
    let rows = connection.ask(&format!("SELECT name, until::text FROM \"{schema}\".owner"), &[]).await?;
    rows.first().map(|row| Ok(Other { name: row.try_get(0)?, until: row.try_get(1)? })).transpose()
}

/// Renews the lease until the store is dropped; a lost one is the end of the store. On a connection of its own: no long read
/// and no commit is in its way.
pub(super) async fn keep(shared: Arc<Shared>) {
    let lease = shared.connections.options().lease;
    let (mut connection, mut told) = (None, false);
    loop {
        sleep(lease / 3).await;
        match set_until(&shared, &mut connection, millis(lease)).await {
            Ok(true) => told = false,
            Ok(false) => {
                return shared
                    .fail(&format!("another server has taken {}; this one was silent for too long", shared.connections.options().place()));
            }
            Err(trouble) if !told => {
                tracing::warn!(reason = trouble.reason(), "the database cannot be asked to renew the lease");
                told = true;
            }
            Err(_) => {}
        }
    }
}

/// Gives the schema back, so that the next need not wait.
pub(super) async fn release(shared: &Shared) {
    // Whoever comes next waits a little.
    let _ = set_until(shared, &mut None, -1.0).await;
}

/// False: somebody else has it. The connection is made if there is none, and dropped if it fails.
async fn set_until(shared: &Shared, kept: &mut Option<Connection>, millis: f64) -> Result<bool, Trouble> {
    let options = shared.connections.options();
    let statement = format!(
        "UPDATE \"{}\".owner SET until = clock_timestamp() + $2 * interval '1 ms' WHERE holder = $1::text::uuid RETURNING 1",
        options.schema
    );
    let connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::open(options, shared.connections.runtime()).await?,
    };
    let rows = connection.ask(&statement, &[(&shared.holder, Type::TEXT), (&millis, Type::FLOAT8)]).await?;
    *kept = Some(connection);
    Ok(!rows.is_empty())
}

//! A server that has the whole schema, by the clock of the database alone. Several that share one: [`super::member`].
//!
//! | the rows of others in `node` | a server that opens | the one that was there |
//! |---|---|---|
//! | there are none, or they have run out | removes them, and takes every shard | |
//! | one is renewed while it looks | is refused | renews it |
//! | its own is gone | | stops: its commits are refused since that moment |
//!
//! That two servers never write at once does not rest on time: taking the schema raises the epoch of every shard, every commit names
//! its epoch, and a shard is given out only while the row of who asks cannot be removed.
#![expect(clippy::disallowed_methods, reason = "how long a lease lasts is a matter of the wall clock")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_postgres::types::Type;

use super::{
    connections::{Connection, Connections, Parameters},
    member::NodeOptions,
    nodes,
    trouble::Trouble,
    writer::Shared,
};
use crate::StoreError;

/// How long an opening waits at most for a lease to run out.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at a lease of somebody else.
const LOOK: Duration = Duration::from_millis(100);

/// How a server comes into a schema.
pub(super) enum Way<'a> {
    /// It has the schema alone.
    Alone,
    /// It is one of several.
    Node(&'a NodeOptions),
}

/// Comes into the schema; gives the id under which this process is there.
pub(super) async fn take(connections: &Connections, way: Way<'_>) -> Result<String, StoreError> {
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
        let taken = match way {
            Way::Alone => try_take(connections, connection.get(), &holder).await,
            Way::Node(node) => nodes::join(connections.options(), connection.get(), &holder, node).await,
        };
        if taken.map_err(failed)? {
            connection.keep();
            return Ok(holder);
        }
        let Some(other) = look(connections, connection.get()).await.map_err(failed)? else { continue };
        let renewed = seen.as_ref().is_some_and(|seen| seen.until != other.until);
        if renewed || begun.elapsed() > WAIT_MAX {
            let (place, holder) = (options.place().into(), other.name);
            return Err(match way {
                Way::Node(_) => StoreError::Alone { place, holder },
                Way::Alone if !other.is_alone => StoreError::Shared { place, holder },
                Way::Alone => StoreError::Owned { place, holder },
            });
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
    is_alone: bool,
}

pub(super) async fn ask_id(connection: &Connection) -> Result<String, Trouble> {
    let row = connection.ask("SELECT gen_random_uuid()::text", &[]).await?.pop();
    Ok(row.ok_or_else(|| Trouble::Refused("it gave no id".into()))?.try_get(0)?)
}

pub(super) fn millis(lease: Duration) -> f64 {
    lease.as_secs_f64() * 1000.0
}

/// False: somebody else is there.
async fn try_take(connections: &Connections, connection: &Connection, holder: &str) -> Result<bool, Trouble> {
    let options = connections.options();
    let take = format!(
        "SELECT \"{}\".alone_1($1::text::uuid, concat('process ', $2, coalesce(' at ' || host(inet_client_addr()), ' of the database''s machine')), $3)",
        options.schema
    );
    let (process, lease) = (std::process::id().to_string(), millis(options.lease_alone()));
    let parameters: &Parameters<'_> = &[(&holder, Type::TEXT), (&process, Type::TEXT), (&lease, Type::FLOAT8)];
    come(connection, &take, parameters).await
}

/// Asks for a place. Whatever the role has been told, each statement of the function sees what is there when it begins: a shard that
/// somebody who is to be removed was given while it waited must be among those that are fenced.
pub(super) async fn come(connection: &Connection, statement: &str, parameters: &Parameters<'_>) -> Result<bool, Trouble> {
    connection.ask("BEGIN ISOLATION LEVEL READ COMMITTED", &[]).await?;
    // If this process stops here for long, nobody waits for it.
    connection.ask("SET LOCAL idle_in_transaction_session_timeout = 5000", &[]).await?;
    let has_come = connection.ask(statement, parameters).await?.first().map(|row| row.try_get(0)).transpose()?;
    connection.ask("COMMIT", &[]).await?;
    Ok(has_come.unwrap_or(false))
}

async fn look(connections: &Connections, connection: &Connection) -> Result<Option<Other>, Trouble> {
    let schema = &connections.options().schema;
    let rows = connection.ask(&format!("SELECT name, until::text, alone FROM \"{schema}\".node ORDER BY until DESC LIMIT 1"), &[]).await?;
    rows.first().map(|row| Ok(Other { name: row.try_get(0)?, until: row.try_get(1)?, is_alone: row.try_get(2)? })).transpose()
}

/// Renews the lease until the store is dropped; a lost one is the end of the store. On a connection of its own: no long read
/// and no commit is in its way.
pub(super) async fn keep(shared: Arc<Shared>) {
    let lease = shared.connections.options().lease_alone();
    let (mut connection, mut told) = (None, false);
    loop {
        sleep(lease / 3).await;
        match renew(&shared, &mut connection, millis(lease)).await {
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

/// Gives back what this server has, so that the next need not wait.
pub(super) async fn release(shared: &Shared) {
    let options = shared.connections.options();
    // Whoever comes next waits a little.
    let Ok(connection) = Connection::open(options, shared.connections.runtime()).await else { return };
    let _ = nodes::go(options, &connection, &shared.holder).await;
}

/// False: it has been removed. The connection is made if there is none, and dropped if it fails.
async fn renew(shared: &Shared, kept: &mut Option<Connection>, millis: f64) -> Result<bool, Trouble> {
    let options = shared.connections.options();
    let statement = format!(
        "UPDATE \"{}\".node SET until = clock_timestamp() + $2 * interval '1 ms' WHERE id = $1::text::uuid RETURNING 1",
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

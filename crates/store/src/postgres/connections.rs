//! Connections: made when they are needed, kept, given up at the first doubt.
//!
//! Statements have no names and need no setting of a session, so that a pooler may give every one another server connection;
//! each is one round trip. What is worth planning once is inside the functions of the schema, whose plans the server
//! connections keep.
#![expect(clippy::disallowed_methods, reason = "how long a database may be silent is a matter of the wall clock")]

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, SemaphorePermit},
    task::AbortHandle,
    time::timeout,
};
use tokio_postgres::{CancelToken, Client, Config, Row, types::ToSql, types::Type};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PostgresOptions,
    limits::{ANSWER_MAX, CONNECT_MAX, READERS, VERSION_MIN},
    trouble::Trouble,
};

/// Parameters of a statement with their types.
pub(super) type Parameters<'a> = [(&'a (dyn ToSql + Sync), Type)];

/// One connection; dropping it closes it.
pub(super) struct Connection {
    client: Client,
    task: AbortHandle,
    cancel: CancelToken,
    tls: MakeRustlsConnect,
    runtime: Handle,
}

/// A statement under way. When nobody waits for its answer any more, the database is told: it would go on with it, and hold
/// what it holds, however long that takes.
struct UnderWay<'a>(Option<&'a Connection>);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0 {
            connection.cancel();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(super) async fn open(options: &PostgresOptions, runtime: &Handle) -> Result<Self, Trouble> {
        Self::open_within(options, runtime, CONNECT_MAX).await
    }

    /// Several hosts are tried one after the other, each for so long.
    pub(super) async fn open_within(options: &PostgresOptions, runtime: &Handle, each: Duration) -> Result<Self, Trouble> {
        let mut trouble = Trouble::Lost("no answer".into());
        for config in options.each_host() {
            trouble = match timeout(each, Self::try_open(&config, options, runtime)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(trouble)) => trouble,
                Err(_) => Trouble::Lost("no answer".into()),
            };
        }
        Err(trouble)
    }

    async fn try_open(config: &Config, options: &PostgresOptions, runtime: &Handle) -> Result<Self, Trouble> {
        let (client, connection) = config.connect(options.tls.clone()).await?;
        let task = runtime.spawn(async move {
            // Who uses the client is told the same.
            let _ = connection.await;
        });
        let (cancel, tls) = (client.cancel_token(), options.tls.clone());
        let connection = Self { client, task: task.abort_handle(), cancel, tls, runtime: runtime.clone() };
        connection.check().await?;
        Ok(connection)
    }

    /// Looks at what the promises rest on.
    async fn check(&self) -> Result<(), Trouble> {
        let settings = "SELECT current_setting('server_version_num')::integer, current_setting('server_version'), current_setting('fsync')";
        let row = self.ask(settings, &[]).await?.pop().ok_or_else(|| Trouble::Refused("it told nothing of itself".into()))?;
        let (number, version, fsync): (i32, String, String) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if u32::try_from(number).unwrap_or_default() < VERSION_MIN {
            return Err(Trouble::Refused(format!(
                "it is PostgreSQL {version}, and {} is the oldest that can be used",
                VERSION_MIN / 10_000
            )));
        }
        if fsync == "off" {
            let text = "its setting fsync is off: what is acknowledged could be lost. Set it to on";
            return Err(Trouble::Refused(text.into()));
        }
        Ok(())
    }

    /// One statement, one transaction, one round trip.
    pub(super) async fn ask(&self, statement: &str, parameters: &Parameters<'_>) -> Result<Vec<Row>, Trouble> {
        let mut under_way = UnderWay(Some(self));
        match timeout(ANSWER_MAX, self.client.query_typed(statement, parameters)).await {
            Ok(rows) => {
                under_way.0 = None;
                Ok(rows?)
            }
            Err(_) => Err(Trouble::Lost(format!("no answer for {} s", ANSWER_MAX.as_secs()))),
        }
    }

    /// Tells the database to stop what this connection has under way, if it has; others of the connection that begin meanwhile may
    /// be stopped in its place, and are asked again. That goes by another connection, beside.
    pub(super) fn cancel(&self) {
        let (cancel, tls) = (self.cancel.clone(), self.tls.clone());
        self.runtime.spawn(async move {
            // If it cannot be told, the statement ends by itself at some time.
            let _ = timeout(CONNECT_MAX, cancel.cancel_query(tls)).await;
        });
    }

    /// For what takes several statements in one session.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.client.is_closed()
    }
}

/// The connections of a store.
pub(super) struct Connections {
    options: PostgresOptions,
    runtime: Handle,
    /// Those for commits that nobody uses at the moment.
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
    /// Those that reads share.
    readers: [tokio::sync::Mutex<Option<Arc<Connection>>>; READERS],
    next_reader: AtomicUsize,
}

/// A connection for one user alone; goes back when it is [`Borrowed::keep`]t, else it is closed.
pub(super) struct Borrowed<'a> {
    connection: Connection,
    owner: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Borrowed<'_> {
    pub(super) fn get(&self) -> &Connection {
        &self.connection
    }

    /// It answered well: the next may use it.
    pub(super) fn keep(self) {
        if self.connection.is_usable() {
            self.owner.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.connection);
        }
    }
}

impl Connections {
    pub(super) fn new(options: PostgresOptions, runtime: Handle) -> Self {
        let permits = Semaphore::new(options.connections);
        Self { options, runtime, idle: Mutex::default(), permits, readers: Default::default(), next_reader: AtomicUsize::new(0) }
    }

    pub(super) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// A connection for one user alone, when there is one.
    pub(super) async fn borrow(&self) -> Result<Borrowed<'_>, Trouble> {
        let closed = |_| Trouble::Refused("the store is closed".into());
        let permit = self.permits.acquire().await.map_err(closed)?;
        let idle = {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            idle.retain(Connection::is_usable);
            idle.pop()
        };
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::open(&self.options, &self.runtime).await?,
        };
        Ok(Borrowed { connection, owner: self, _permit: permit })
    }

    /// One of the connections that reads share.
    pub(super) async fn reader(&self) -> Result<Arc<Connection>, Trouble> {
        let number = self.next_reader.fetch_add(1, Ordering::Relaxed) % READERS;
        let mut place = self.readers[number].lock().await;
        if let Some(connection) = place.as_ref().filter(|connection| connection.is_usable()) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(Connection::open(&self.options, &self.runtime).await?);
        *place = Some(connection.clone());
        Ok(connection)
    }

    /// A connection of these answered as none should; the next read gets another.
    pub(super) async fn drop_reader(&self, bad: &Arc<Connection>) {
        for place in &self.readers {
            let mut place = place.lock().await;
            if place.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, bad)) {
                *place = None;
            }
        }
    }

    /// Closes what nobody uses; no more are given out.
    pub(super) async fn close(&self) {
        self.permits.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for place in &self.readers {
            *place.lock().await = None;
        }
    }
}

/// The pause after `pause`.
pub(super) fn longer(pause: Duration, max: Duration) -> Duration {
    (pause * 2).min(max)
}

//! The index in tables of the store's schema in PostgreSQL: one writer task, threads for reads (`super::sql`).
//!
//! It is written in transactions of its own, fed by the rows that the store commits together with each change of a run ("not in the
//! index yet"), which go after the index has it. Both are in one database: whatever moment of it a crash leaves, or a backup
//! gives back, the index and what it lacks are of the same moment, and go on from there.
//!
//! Only who has the schema writes: the last statement of every transaction proves it ([`Beside::proof`]). Several nodes that share it
//! write one after the other, as each begins by locking the row of `index_info`, which also says by whose rebuild rows are marked.

mod database;
mod schema;
mod write;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt, channel::oneshot};
use sempre_core::{NamespaceId, ids::Uuid};
use sempre_store::{
    Pending,
    postgres::{Beside, Session},
};
use tokio::sync::mpsc;

use self::{
    database::{GIVEN_UP, Pg, within},
    schema::{Opened, Trouble, in_time},
    write::Writer,
};
use super::{
    index::{Change, IndexError},
    sql::{
        NoCondition, Tuning,
        limits::Limits,
        orders::{ORDERS_MAX, Order, Ordered},
        readers::{QUICK_THREADS, Readers, SLOW_THREADS},
        reads::{Reads, Source},
    },
};

/// Idle connections for reads that are kept.
const READERS_MAX: usize = QUICK_THREADS + SLOW_THREADS;
/// How long a statement of the writer may take before its connection is given up.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether another node has made it whole.
const LOOK: Duration = Duration::from_millis(500);

/// An index in PostgreSQL; see the module.
pub struct PostgresIndex {
    orders: mpsc::Sender<Order>,
    reads: Reads<Shared>,
}

/// What its parts have in common.
pub(super) struct Shared {
    beside: Beside,
    owner: Uuid,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    needs_rebuild: Option<String>,
    /// The tables cannot be used any more; a rebuild begins with new ones.
    damaged: bool,
    closed: bool,
    idle: Vec<Session>,
}

impl PostgresIndex {
    /// Opens the tables beside a store, or makes them. `owner` names the store that it is the index of.
    pub async fn open(beside: Beside, owner: Uuid) -> Result<Self, IndexError> {
        Self::open_tuned(beside, owner, Tuning::default()).await
    }

    /// As [`PostgresIndex::open`], with other numbers.
    pub async fn open_tuned(beside: Beside, owner: Uuid, tuning: Tuning) -> Result<Self, IndexError> {
        let runtime = beside.runtime().clone();
        let opening = beside.clone();
        let opened = runtime.spawn(async move {
            let session = connect(&opening).await?;
            let opened = schema::open(&session, opening.schema(), &opening.proof(), owner, false).await?;
            Ok::<_, IndexError>((session, opened))
        });
        let failed = |error: tokio::task::JoinError| IndexError::Failed { action: "open its tables", reason: error.to_string() };
        let (session, Opened { needs_rebuild, generation }) = opened.await.map_err(failed)??;
        let shared = Arc::new(Shared { beside, owner, state: Mutex::new(State { needs_rebuild, ..State::default() }) });
        let readers = Arc::new(Readers::start(tuning.quick_time)?);
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let writer = Writer::new(generation);
        let worker = Worker { shared: shared.clone(), readers: readers.clone(), session: Some(session), writer, begun: None };
        runtime.spawn(worker.run(receiver));
        Ok(Self { reads: Reads { source: shared, readers, tuning }, orders })
    }
}

async fn connect(beside: &Beside) -> Result<Session, IndexError> {
    beside.connect().await.map_err(|reason| IndexError::Failed { action: "connect to its database", reason })
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tables are damaged.
    fn lose(&self, reason: &str) {
        tracing::error!(reason, "the visibility index is damaged");
        let mut state = self.state();
        state.damaged = true;
        state.needs_rebuild.get_or_insert_with(|| reason.to_owned());
    }

    /// A picture on an idle connection, or on a new one.
    fn begin<'a>(&'a self, session: &'a mut Option<Session>, limits: &'a Limits) -> Result<Pg<'a>, IndexError> {
        let action = "begin a read";
        loop {
            let idle = {
                let mut state = self.state();
                if state.closed {
                    return Err(IndexError::Closed);
                }
                state.idle.pop()
            };
            let is_new = idle.is_none();
            let connected = match idle {
                Some(idle) => idle,
                None => within(limits, self.beside.runtime(), connect(&self.beside))
                    .ok_or_else(|| IndexError::Failed { action, reason: GIVEN_UP.into() })??,
            };
            // One that has been idle may have been ended by the other side.
            match Pg::begin(&connected, self.beside.runtime(), self.beside.schema(), limits).map(drop) {
                Ok(()) => {}
                Err(error) if is_new || limits.stopped().is_some() => return Err(error.into_error(action)),
                Err(_) => continue,
            }
            let session = session.insert(connected);
            return Ok(Pg::of_begun(session, self.beside.runtime(), limits));
        }
    }
}

impl Source for Shared {
    type Database<'a> = Pg<'a>;

    fn needs_rebuild(&self) -> Option<String> {
        self.state().needs_rebuild.clone()
    }

    fn with<T>(
        &self,
        action: &'static str,
        limits: &Arc<Limits>,
        _tuning: Tuning,
        read: impl for<'a> FnOnce(&Pg<'a>) -> Result<T, NoCondition>,
    ) -> Result<T, IndexError> {
        let mut session = None;
        let pg = self.begin(&mut session, limits)?;
        let result = read(&pg).map_err(|error| error.into_error(action));
        let is_usable = pg.end();
        if let Err(IndexError::NeedsRebuild { reason }) = &result {
            self.lose(reason);
        }
        let mut state = self.state();
        if is_usable && !state.closed && state.idle.len() < READERS_MAX {
            state.idle.extend(session);
        }
        result
    }
}

impl Ordered for PostgresIndex {
    type Source = Shared;

    fn reads(&self) -> &Reads<Shared> {
        &self.reads
    }

    fn give(&self, order: Order) -> Result<(), IndexError> {
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => IndexError::Busy,
            mpsc::error::TrySendError::Closed(_) => IndexError::Closed,
        })
    }

    fn close(&self) -> Pending<()> {
        // A full queue is emptied first; closed before is closed as well.
        let (orders, (reply, answer)) = (self.orders.clone(), oneshot::channel());
        async move {
            if orders.send(Order::Close(reply)).await.is_ok() {
                let _ = answer.await;
            }
        }
        .boxed()
    }
}

/// The writer task.
struct Worker {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// `None` after a failure.
    session: Option<Session>,
    writer: Writer,
    /// The mark of the rebuild that was begun here last.
    begun: Option<i64>,
}

/// What a transaction does.
#[derive(Clone, Copy)]
enum Work<'a> {
    Apply(&'a [Change]),
    Purge(NamespaceId),
    Begin,
    Sweep(i64),
    Finish,
    /// Nothing is changed: is it whole by now?
    Look,
}

/// What it gives.
enum Done {
    Nothing,
    /// There is more to purge.
    More(bool),
    /// The row to go on after.
    After(Option<i64>),
}

impl Worker {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        // A caller that has gone away is none of our business.
        while let Some(order) = self.next(&mut orders).await {
            match order {
                Order::Apply(changes, reply) => {
                    let result = self.write("write a batch", Work::Apply(&changes)).await;
                    let _ = reply.send(result.map(drop));
                }
                Order::Purge(namespace, reply) => {
                    let result = self.write("remove a namespace", Work::Purge(namespace)).await;
                    let _ = reply.send(result.map(|done| matches!(done, Done::More(true))));
                }
                Order::Begin(reply) => {
                    let result = self.begin().await;
                    let _ = reply.send(result);
                }
                Order::Finish(reply) => {
                    let result = self.finish().await;
                    let _ = reply.send(result);
                }
                Order::Close(reply) => {
                    orders.close();
                    self.close().await;
                    let _ = reply.send(Ok(()));
                    return;
                }
            }
        }
        self.close().await;
    }

    /// The next order. Until another node has made the index whole, looks for that meanwhile.
    #[expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
        loop {
            let waits = {
                let state = self.shared.state();
                state.needs_rebuild.is_some() && !state.damaged
            };
            if !waits {
                return orders.recv().await;
            }
            if let Ok(order) = tokio::time::timeout(LOOK, orders.recv()).await {
                return order;
            }
            if let Err(error) = self.write("look whether it is whole", Work::Look).await {
                tracing::debug!(%error, "it is not known whether the visibility index is whole by now");
            }
        }
    }

    async fn close(&mut self) {
        {
            let mut state = self.shared.state();
            state.closed = true;
            state.idle.clear();
        }
        self.session = None;
        let readers = self.readers.clone();
        // It waits for threads, which wait for answers that come by this runtime.
        let _ = tokio::task::spawn_blocking(move || readers.close()).await;
    }

    /// One transaction.
    async fn write(&mut self, action: &'static str, work: Work<'_>) -> Result<Done, IndexError> {
        if self.shared.state().damaged {
            let reason = self.shared.state().needs_rebuild.clone().unwrap_or_default();
            return Err(IndexError::NeedsRebuild { reason });
        }
        let session = match self.session.take().filter(Session::is_usable) {
            Some(session) => session,
            None => connect(&self.shared.beside).await?,
        };
        match self.transaction(&session, work).await {
            Ok(done) => {
                self.session = Some(session);
                Ok(done)
            }
            Err(trouble) => {
                // With its connection goes the transaction. What was given in it does not exist.
                self.writer.forget();
                let error = trouble.into_error(action);
                if let IndexError::NeedsRebuild { reason } = &error {
                    self.shared.lose(reason);
                }
                Err(error)
            }
        }
    }

    async fn transaction(&mut self, session: &Session, work: Work<'_>) -> Result<Done, Trouble> {
        schema::begin(session, self.shared.beside.schema()).await?;
        // An earlier transaction of this writer, whose answer did not come, may still be under way, or one of another node: what it did
        // must be seen.
        let info = "SELECT generation, complete FROM index_info FOR UPDATE";
        let info = in_time(session.client().query_typed(info, &[]), session).await?;
        let info = info.first().ok_or_else(|| Trouble::Damaged("its row of index_info is missing".into()))?;
        self.writer.follow(info.try_get(0)?);
        let is_whole: bool = info.try_get(1)?;
        if matches!(work, Work::Sweep(_) | Work::Finish) && self.begun != Some(self.writer.generation) {
            return Err(Trouble::Failed("another node has begun a rebuild since".into()));
        }
        let done = match work {
            Work::Apply(changes) => self.writer.apply(session, changes).await.map(|()| Done::Nothing)?,
            Work::Purge(namespace) => Done::More(self.writer.purge(session, namespace).await?),
            Work::Begin => {
                self.writer.begin_rebuild(session).await?;
                self.begun = Some(self.writer.generation);
                Done::Nothing
            }
            Work::Sweep(after) => Done::After(self.writer.sweep(session, after).await?),
            Work::Finish => self.writer.finish_rebuild(session).await.map(|()| Done::Nothing)?,
            Work::Look => Done::Nothing,
        };
        schema::commit(session, &self.shared.beside.proof()).await?;
        let mut state = self.shared.state();
        // A read may have found damage meanwhile.
        if is_whole && !state.damaged && state.needs_rebuild.take().is_some() {
            tracing::info!("another node has made the visibility index whole");
        }
        Ok(done)
    }

    async fn begin(&mut self) -> Result<(), IndexError> {
        if self.shared.state().damaged {
            let session = connect(&self.shared.beside).await?;
            let beside = &self.shared.beside;
            let opened = schema::open(&session, beside.schema(), &beside.proof(), self.shared.owner, true).await?;
            self.writer = Writer::new(opened.generation);
            self.session = Some(session);
            self.shared.state().damaged = false;
        }
        self.write("begin a rebuild", Work::Begin).await.map(drop)
    }

    async fn finish(&mut self) -> Result<(), IndexError> {
        let mut after = Some(i64::MIN);
        while let Some(from) = after {
            after = match self.write("sweep after a rebuild", Work::Sweep(from)).await? {
                Done::After(next) => next,
                Done::Nothing | Done::More(_) => None,
            };
        }
        self.write("finish a rebuild", Work::Finish).await?;
        self.shared.state().needs_rebuild = None;
        Ok(())
    }
}

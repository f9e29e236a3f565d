//! The index in tables of the store's schema in PostgreSQL: one writer task, threads for reads (`super::sql`).
//!
//! It is written in transactions of its own, fed by the rows that the store commits together with each change of a run ("not in the
//! index yet"), which go after the index has it. Both are in one database: whatever moment of it a crash leaves, or a backup
//! gives back, the index and what it lacks are of the same moment, and go on from there.
//!
//! Only who has the schema writes: the last statement of every transaction proves it ([`Beside::proof`]). Several nodes that share it
//! write one after the other, as each begins by locking the row of `index_info`, which also says by whose rebuild rows are marked.
//!
//! | among nodes | is found out by the row of `index_info` |
//! |---|---|
//! | another has made it whole | at the next write, or look: each half a second while it is not |
//! | another has made new tables, which are not whole yet | at the next write or read, as each has that row in its picture; at the latest by a look, each 2 s |
//! | it is damaged, here | new tables are made at the next look, unless they have been since |
#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

mod database;
mod schema;
mod write;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, channel::oneshot};
use sempre_core::{NamespaceId, ids::Uuid};
use sempre_store::{
    Pending,
    postgres::{Beside, Session},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use self::{
    database::{GIVEN_UP, Pg, within},
    schema::{Info, Opened, Trouble},
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
/// How often it is looked whether it is still whole, when nothing is written.
const LOOK_WHOLE: Duration = Duration::from_secs(2);
/// Why lists wait at a node that is not the one that makes it whole.
const NOT_WHOLE: &str = "its tables were made anew";

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
    /// It needs no rebuild. Changed with the state.
    is_whole: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    needs_rebuild: Option<String>,
    /// The tables cannot be used any more; a rebuild begins with new ones.
    damaged: bool,
    /// The tables that are known: [`Info::made`].
    made: i64,
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
            let opened = schema::open(&session, opening.schema(), &opening.proof(), owner, None).await?;
            Ok::<_, IndexError>((session, opened))
        });
        let failed = |error: tokio::task::JoinError| IndexError::Failed { action: "open its tables", reason: error.to_string() };
        let (session, Opened { needs_rebuild, info }) = opened.await.map_err(failed)??;
        let is_whole = watch::Sender::new(needs_rebuild.is_none());
        let state = Mutex::new(State { needs_rebuild, made: info.made, ..State::default() });
        let shared = Arc::new(Shared { beside, owner, state, is_whole });
        let readers = Arc::new(Readers::start(tuning.quick_time)?);
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let worker = Worker {
            shared: shared.clone(),
            readers: readers.clone(),
            session: Some(session),
            writer: Writer::new(info.generation),
            begun: None,
            looked: Instant::now(),
        };
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

    fn set_needs_rebuild(&self, state: &mut State, reason: Option<String>) {
        state.needs_rebuild = reason;
        let is_whole = state.needs_rebuild.is_none();
        self.is_whole.send_if_modified(|before| std::mem::replace(before, is_whole) != is_whole);
    }

    /// The tables are damaged: those that are known, unless it was found in others.
    fn lose(&self, reason: &str, made: Option<i64>) {
        let mut state = self.state();
        if made.is_some_and(|made| made != state.made) {
            return;
        }
        if !std::mem::replace(&mut state.damaged, true) {
            tracing::error!(reason, "the visibility index is damaged");
        }
        if state.needs_rebuild.is_none() {
            self.set_needs_rebuild(&mut state, Some(reason.to_owned()));
        }
    }

    /// What the tables say of themselves by now.
    fn see(&self, info: Info) {
        let mut state = self.state();
        if std::mem::replace(&mut state.made, info.made) != info.made {
            // What was damaged is not there any more.
            state.damaged = false;
        }
        // Damage that was found in these tables meanwhile is not gone because somebody has finished something.
        if state.damaged || info.is_whole == state.needs_rebuild.is_none() {
            return;
        }
        if info.is_whole {
            tracing::info!("the visibility index is whole by now");
            self.set_needs_rebuild(&mut state, None);
        } else {
            tracing::warn!("the visibility index is not whole any more: another node has made its tables anew");
            self.set_needs_rebuild(&mut state, Some(NOT_WHOLE.into()));
        }
    }

    /// By what the tables say in a picture: it can be read.
    fn check(&self, info: Option<Info>) -> Result<Info, IndexError> {
        if let Some(info) = info {
            self.see(info);
            if info.is_whole {
                return Ok(info);
            }
        }
        Err(IndexError::NeedsRebuild { reason: NOT_WHOLE.into() })
    }

    /// A picture on an idle connection, or on a new one, and what the tables say of themselves in it.
    fn begin<'a>(&'a self, session: &'a mut Option<Session>, limits: &'a Limits) -> Result<(Pg<'a>, Option<Info>), IndexError> {
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
            let info = match Pg::begin(&connected, self.beside.runtime(), self.beside.schema(), limits) {
                Ok(info) => info,
                Err(error) if is_new || limits.stopped().is_some() => return Err(error.into_error(action)),
                Err(_) => continue,
            };
            let session = session.insert(connected);
            return Ok((Pg::of_begun(session, self.beside.runtime(), limits), info));
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
        let lose = |error: &IndexError, made| {
            if let IndexError::NeedsRebuild { reason } = error {
                self.lose(reason, made);
            }
        };
        let mut session = None;
        let (pg, info) = self.begin(&mut session, limits).inspect_err(|error| lose(error, None))?;
        let result = self.check(info).and_then(|info| {
            let answer = read(&pg).map_err(|error| error.into_error(action));
            answer.inspect_err(|error| lose(error, Some(info.made)))
        });
        let is_usable = pg.end();
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

    fn until_needs_rebuild(&self) -> Pending<()> {
        let mut is_whole = self.reads.source.is_whole.subscribe();
        async move {
            if is_whole.wait_for(|is_whole| !is_whole).await.is_err() {
                // Nobody has it any more.
                std::future::pending::<()>().await;
            }
        }
        .boxed()
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
    /// When it last read what the tables say of themselves.
    looked: Instant,
}

/// What a transaction does.
#[derive(Clone, Copy)]
enum Work<'a> {
    Apply(&'a [Change]),
    Purge(NamespaceId),
    Begin,
    Sweep(i64),
    Finish,
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

    /// The next order. Among nodes it looks meanwhile how the tables are.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>) -> Option<Order> {
        while self.shared.beside.is_shared() {
            let pause = if self.shared.state().needs_rebuild.is_some() { LOOK } else { LOOK_WHOLE };
            let left = pause.saturating_sub(self.looked.elapsed());
            // Who is asked all the time, and can do nothing because of damage, looks all the same.
            if !left.is_zero()
                && let Ok(order) = timeout(left, orders.recv()).await
            {
                return order;
            }
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "it is not known how the visibility index is by now");
            }
            self.looked = Instant::now();
        }
        orders.recv().await
    }

    /// How the tables are by now; new ones instead of damaged ones.
    async fn look(&mut self) -> Result<(), IndexError> {
        if self.shared.state().damaged {
            return self.renew().await;
        }
        let session = self.session().await?;
        let info = match schema::info(&session, self.shared.beside.schema(), false).await {
            Ok(info) => info,
            Err(trouble) => return Err(self.failed(trouble.into_error("look whether it is whole"))),
        };
        self.session = Some(session);
        self.shared.see(info);
        Ok(())
    }

    /// Makes new tables, unless they are other ones by now than those in which damage was found.
    async fn renew(&mut self) -> Result<(), IndexError> {
        let made = self.shared.state().made;
        let session = connect(&self.shared.beside).await?;
        let beside = &self.shared.beside;
        let opened = schema::open(&session, beside.schema(), &beside.proof(), self.shared.owner, Some(made)).await?;
        self.writer = Writer::new(opened.info.generation);
        self.session = Some(session);
        let mut state = self.shared.state();
        (state.made, state.damaged) = (opened.info.made, false);
        self.shared.set_needs_rebuild(&mut state, opened.needs_rebuild);
        Ok(())
    }

    /// A connection for a transaction. It is given back when that has ended well.
    async fn session(&mut self) -> Result<Session, IndexError> {
        match self.session.take().filter(Session::is_usable) {
            Some(session) => Ok(session),
            None => connect(&self.shared.beside).await,
        }
    }

    /// The connection is dropped, and with it the transaction. What was given in it does not exist.
    fn failed(&mut self, error: IndexError) -> IndexError {
        self.writer.forget();
        if let IndexError::NeedsRebuild { reason } = &error {
            self.shared.lose(reason, None);
        }
        error
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
        let session = self.session().await?;
        match self.transaction(&session, work).await {
            Ok(done) => {
                self.session = Some(session);
                Ok(done)
            }
            Err(trouble) => Err(self.failed(trouble.into_error(action))),
        }
    }

    async fn transaction(&mut self, session: &Session, work: Work<'_>) -> Result<Done, Trouble> {
        let schema = self.shared.beside.schema();
        schema::begin(session, schema).await?;
        // An earlier transaction of this writer, whose answer did not come, may still be under way, or one of another node: what it did
        // must be seen.
        let mut info = schema::info(session, schema, true).await?;
        self.writer.follow(info.generation);
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
            Work::Finish => {
                self.writer.finish_rebuild(session).await?;
                info.is_whole = true;
                Done::Nothing
            }
        };
        schema::commit(session, &self.shared.beside.proof()).await?;
        self.shared.see(info);
        self.looked = Instant::now();
        Ok(done)
    }

    async fn begin(&mut self) -> Result<(), IndexError> {
        if self.shared.state().damaged {
            self.renew().await?;
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
        self.write("finish a rebuild", Work::Finish).await.map(drop)
    }
}

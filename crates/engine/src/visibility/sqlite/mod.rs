//! The index in a file of its own: SQLite, one writer thread, threads for reads beside it (`super::sql`).
//!
//! Readers see the last transaction of the writer and are never held up by it (write-ahead log); the writer folds its
//! log back every 32 MiB. Without a file there is one connection that all take in turn.

mod database;
mod schema;
mod write;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use futures::FutureExt;
use rusqlite::Connection;
use sempre_core::ids::Uuid;
use sempre_store::Pending;

use self::{
    database::Sqlite,
    schema::{Opened, failed},
    write::Writer,
};
use super::{
    index::IndexError,
    sql::{
        NoCondition,
        limits::Limits,
        orders::{ORDERS_MAX, Order, Ordered, order},
        readers::{QUICK_THREADS, Readers, SLOW_THREADS},
        reads::{Reads, Source},
    },
};

pub use super::sql::Tuning;

/// The file's name in a data folder.
pub const FILE_NAME: &str = "visibility.db";
/// Idle connections for reads that are kept.
const READERS_MAX: usize = QUICK_THREADS + SLOW_THREADS;

/// An index in SQLite; see the module.
pub struct SqliteIndex {
    orders: SyncSender<Order>,
    reads: Reads<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What its parts have in common.
pub(super) struct Shared {
    place: Place,
    owner: Uuid,
    state: Mutex<State>,
}

enum Place {
    File(PathBuf),
    Memory(Mutex<Connection>),
}

#[derive(Default)]
struct State {
    needs_rebuild: Option<String>,
    /// The file cannot be used any more; a rebuild begins with a new one.
    damaged: bool,
    closed: bool,
    /// Connections of the file that was there before are not taken back.
    file: u64,
    idle: Vec<Connection>,
}

impl SqliteIndex {
    /// Opens the file, or makes it. `owner` names the store that it is the index of.
    pub fn open(path: &Path, owner: Uuid) -> Result<Self, IndexError> {
        let opened = schema::open(path, owner)?;
        Self::start(Place::File(path.to_owned()), owner, Some(opened.connection), opened.needs_rebuild, Tuning::default())
    }

    /// An index that is gone with the process.
    pub fn in_memory(owner: Uuid) -> Result<Self, IndexError> {
        Self::in_memory_tuned(owner, Tuning::default())
    }

    /// As [`SqliteIndex::in_memory`], with other numbers.
    pub fn in_memory_tuned(owner: Uuid, tuning: Tuning) -> Result<Self, IndexError> {
        let opened = schema::in_memory(owner)?;
        Self::start(Place::Memory(Mutex::new(opened.connection)), owner, None, opened.needs_rebuild, tuning)
    }

    fn start(
        place: Place,
        owner: Uuid,
        connection: Option<Connection>,
        needs_rebuild: Option<String>,
        tuning: Tuning,
    ) -> Result<Self, IndexError> {
        let shared = Arc::new(Shared { place, owner, state: Mutex::new(State { needs_rebuild, ..State::default() }) });
        let readers = Arc::new(Readers::start(tuning.quick_time)?);
        let (orders, receiver) = sync_channel(ORDERS_MAX);
        let mut worker = Worker { shared: shared.clone(), readers: readers.clone(), connection, writer: Writer::default() };
        worker.remember_generation()?;
        let thread = std::thread::Builder::new()
            .name("sempre-visibility".into())
            .spawn(move || worker.run(&receiver))
            .map_err(|error| IndexError::Failed { action: "start its thread", reason: error.to_string() })?;
        let reads = Reads { source: shared, readers, tuning };
        Ok(Self { orders, reads, thread: Mutex::new(Some(thread)) })
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Shared {
    type Database<'a> = Sqlite<'a>;

    fn needs_rebuild(&self) -> Option<String> {
        self.state().needs_rebuild.clone()
    }

    /// One read transaction.
    fn with<T>(
        &self,
        action: &'static str,
        limits: &Arc<Limits>,
        tuning: Tuning,
        read: impl for<'a> FnOnce(&Sqlite<'a>) -> Result<T, NoCondition>,
    ) -> Result<T, IndexError> {
        let bounded = |connection: &mut Connection| database::bounded(limits, connection, tuning.first_turn_steps, read);
        let path = match &self.place {
            Place::Memory(connection) => {
                if self.state().closed {
                    return Err(IndexError::Closed);
                }
                let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                return bounded(&mut connection).map_err(|error| error.into_error(action));
            }
            Place::File(path) => path,
        };
        let (idle, file) = {
            let mut state = self.state();
            if state.closed {
                return Err(IndexError::Closed);
            }
            (state.idle.pop(), state.file)
        };
        let mut connection = idle.map_or_else(|| schema::reader(path), Ok).map_err(failed("open its file for reading"))?;
        let result = bounded(&mut connection).map_err(|error| error.into_error(action));
        let mut state = self.state();
        if let Err(IndexError::NeedsRebuild { reason }) = &result {
            tracing::error!(reason, "the visibility index is damaged");
            state.damaged |= state.file == file;
            state.needs_rebuild.get_or_insert_with(|| reason.clone());
        }
        // One whose picture could not be ended would give that old one to whoever has it next.
        if connection.is_autocommit() && state.file == file && !state.closed && state.idle.len() < READERS_MAX {
            state.idle.push(connection);
        }
        result
    }
}

impl Ordered for SqliteIndex {
    type Source = Shared;

    fn reads(&self) -> &Reads<Shared> {
        &self.reads
    }

    fn give(&self, order: Order) -> Result<(), IndexError> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => IndexError::Busy,
            TrySendError::Disconnected(_) => IndexError::Closed,
        })
    }

    fn close(&self) -> Pending<()> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let closing = order(self, Order::Close);
        async move {
            // Closed before is closed as well.
            let _ = closing.await;
            // The thread ends after its answer.
            drop(thread);
        }
        .boxed()
    }
}

/// The writer thread.
struct Worker {
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    /// `None` without a file, and after the file was lost.
    connection: Option<Connection>,
    writer: Writer,
}

impl Worker {
    fn run(mut self, orders: &Receiver<Order>) {
        // A caller that has gone away is none of our business.
        while let Ok(order) = orders.recv() {
            match order {
                Order::Apply(changes, reply) => {
                    let result = self.write("write a batch", |writer, connection| writer.apply(connection, &changes));
                    let _ = reply.send(result);
                }
                Order::Purge(namespace, reply) => {
                    let result = self.write("remove a namespace", |writer, connection| writer.purge(connection, namespace));
                    let _ = reply.send(result);
                }
                Order::Begin(reply) => {
                    let result = self.begin();
                    let _ = reply.send(result);
                }
                Order::Finish(reply) => {
                    let result = self.finish();
                    let _ = reply.send(result);
                }
                Order::Close(reply) => {
                    self.close();
                    let _ = reply.send(Ok(()));
                    return;
                }
            }
        }
        self.close();
    }

    fn close(&mut self) {
        self.readers.close();
        let mut state = self.shared.state();
        state.closed = true;
        state.idle.clear();
        drop(state);
        // The last connection folds the write-ahead log back.
        self.connection = None;
    }

    fn remember_generation(&mut self) -> Result<(), IndexError> {
        self.write("read its state", |writer, connection| {
            writer.generation = write::generation(connection)?;
            Ok(())
        })
    }

    /// One transaction.
    fn write<T>(
        &mut self,
        action: &'static str,
        work: impl FnOnce(&mut Writer, &Connection) -> rusqlite::Result<T>,
    ) -> Result<T, IndexError> {
        let result = match (&self.shared.place, &self.connection) {
            (Place::Memory(connection), _) => {
                let connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
                self.writer.transaction(&connection, work)
            }
            (Place::File(_), Some(connection)) => self.writer.transaction(connection, work),
            (Place::File(_), None) => {
                let reason = self.shared.state().needs_rebuild.clone().unwrap_or_default();
                return Err(IndexError::NeedsRebuild { reason });
            }
        };
        let result = result.map_err(failed(action));
        if let Err(IndexError::NeedsRebuild { reason }) = &result {
            self.lose(reason.clone());
        }
        result
    }

    /// The file is damaged.
    fn lose(&mut self, reason: String) {
        tracing::error!(reason, "the visibility index is damaged");
        // If this cannot be written either, the next opening will find the damage as well, or the next read.
        if let Some(connection) = self.connection.take() {
            let _ = connection.execute("UPDATE info SET value=0 WHERE name='complete'", []);
        }
        let mut state = self.shared.state();
        state.damaged = true;
        state.needs_rebuild = Some(reason);
    }

    fn begin(&mut self) -> Result<(), IndexError> {
        if let Place::File(path) = &self.shared.place
            && (self.shared.state().damaged || self.connection.is_none())
        {
            self.connection = None;
            {
                let mut state = self.shared.state();
                state.idle.clear();
                state.file += 1;
            }
            schema::recreate(path, self.shared.owner)?;
            let Opened { connection, .. } = schema::open(path, self.shared.owner)?;
            self.connection = Some(connection);
            self.writer = Writer::default();
            self.shared.state().damaged = false;
        }
        self.write("begin a rebuild", |writer, connection| writer.begin_rebuild(connection))
    }

    fn finish(&mut self) -> Result<(), IndexError> {
        let mut after = Some(i64::MIN);
        while let Some(from) = after {
            after = self.write("sweep after a rebuild", |writer, connection| writer.sweep(connection, from))?;
        }
        self.write("finish a rebuild", |writer, connection| writer.finish_rebuild(connection))?;
        let mut state = self.shared.state();
        // A read may have found damage meanwhile.
        if !state.damaged {
            state.needs_rebuild = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicBool, time::Duration};

    use futures::executor::block_on;

    use super::{
        super::{
            Index,
            sql::{
                Database, Sql, Text,
                limits::{Wanted, end_of},
            },
        },
        *,
    };

    const HOUR: Duration = Duration::from_secs(3600);

    fn one(sqlite: &Sqlite<'_>) -> Result<Vec<Vec<Sql>>, NoCondition> {
        let mut text = Text::default();
        text.push("SELECT count(*) FROM info");
        sqlite.rows(&text)
    }

    /// A read that nobody wants any more from within; then one that somebody wants.
    fn read_twice(shared: &Shared) {
        let tuning = Tuning { first_turn_steps: 0, ..Tuning::default() };
        let wants = Arc::new(());
        let limits = || Limits::new(end_of(HOUR), None, Wanted(Arc::downgrade(&wants)), Arc::<AtomicBool>::default());
        assert!(shared.with("read", &limits(), tuning, one).is_ok());
        let unwanted = Arc::new(());
        let stops = Limits::new(end_of(HOUR), None, Wanted(Arc::downgrade(&unwanted)), Arc::<AtomicBool>::default());
        let stopped = shared.with("read", &stops, tuning, |sqlite| {
            one(sqlite)?;
            drop(unwanted);
            one(sqlite)
        });
        assert!(matches!(stopped, Err(IndexError::Failed { .. })), "{stopped:?}");
        let after = shared.with("read", &limits(), tuning, one);
        assert!(after.is_ok(), "{after:?}");
    }

    /// What stops a read must not stop the end of its transaction: the connection would stay in it.
    #[test]
    fn a_read_that_is_stopped_ends_its_transaction_in_memory() {
        let index = SqliteIndex::in_memory(Uuid([1; 16])).unwrap();
        read_twice(&index.reads.source);
        block_on(Index::begin_rebuild(&index)).unwrap();
    }

    /// An index in a file of its own, which goes when that is done.
    fn in_a_file(name: &str, test: impl FnOnce(&SqliteIndex)) {
        let folder = std::env::temp_dir().join(format!("sempre-visibility-{}-{name}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let index = SqliteIndex::open(&folder.join(FILE_NAME), Uuid([1; 16])).unwrap();
        test(&index);
        block_on(Index::close(&index));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_read_that_is_stopped_ends_its_transaction_in_a_file() {
        in_a_file("stopped", |index| {
            read_twice(&index.reads.source);
            assert!(index.reads.source.state().idle.iter().all(Connection::is_autocommit), "what is kept is in no transaction");
        });
    }

    #[test]
    fn damage_that_a_read_finds_during_a_rebuild_is_not_forgotten_at_its_end() {
        in_a_file("damaged", |index| {
            block_on(Index::begin_rebuild(index)).unwrap();
            let wants = Arc::new(());
            let limits = Limits::new(end_of(HOUR), None, Wanted(Arc::downgrade(&wants)), Arc::<AtomicBool>::default());
            let read = index.reads.source.with("read", &limits, Tuning::default(), |_| Err::<(), _>(NoCondition::Damaged("a page".into())));
            assert!(matches!(read, Err(IndexError::NeedsRebuild { .. })), "{read:?}");
            block_on(Index::finish_rebuild(index)).unwrap();
            assert!(Index::needs_rebuild(index).is_some());
            // The next one makes a new file.
            block_on(Index::begin_rebuild(index)).unwrap();
            block_on(Index::finish_rebuild(index)).unwrap();
            assert_eq!(Index::needs_rebuild(index), None);
        });
    }
}

//! The content at one moment: one transaction that only reads, on a connection and a thread of its own.

use std::{
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
};

use futures::channel::oneshot;

use super::{PostgresOptions, connections::Connection, read::page, statements::Statements, trouble::Trouble};
use crate::{Snapshot, SnapshotRows, StoreError, Table};

/// Begins the picture that all reads of a connection see from now on.
pub(super) const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// A question to the thread: how many bytes, and where the answer goes.
type Question = (usize, SyncSender<Result<SnapshotRows, Trouble>>);

/// See the module. The thread ends when it is dropped.
pub(super) struct PostgresSnapshot {
    questions: SyncSender<Question>,
    place: String,
}

impl Snapshot for PostgresSnapshot {
    fn next(&mut self, max_bytes: usize) -> Result<SnapshotRows, StoreError> {
        let failed = |reason: String| StoreError::Database { action: "read a snapshot of", place: self.place.clone(), reason };
        let ended = || failed("its thread has ended".into());
        let (answer, answered) = mpsc::sync_channel(1);
        self.questions.send((max_bytes, answer)).map_err(|_| ended())?;
        answered.recv().map_err(|_| ended())?.map_err(|trouble| failed(trouble.into_reason()))
    }
}

/// Begins one; resolves when its moment has come.
pub(super) async fn begin(options: PostgresOptions) -> Result<PostgresSnapshot, StoreError> {
    let place = options.place().to_owned();
    let failed = |reason: String| StoreError::Database { action: "take a snapshot of", place: options.place().into(), reason };
    let (questions, asked) = mpsc::sync_channel(1);
    let (begun, has_begun) = oneshot::channel();
    let for_thread = options.clone();
    let spawned = thread::Builder::new().name("store-snapshot".into()).spawn(move || serve(&for_thread, begun, &asked));
    spawned.map_err(|error| failed(error.to_string()))?;
    let begun = has_begun.await.unwrap_or_else(|_| Err(Trouble::Lost("its thread has ended".into())));
    begun.map_err(|trouble| failed(trouble.into_reason()))?;
    Ok(PostgresSnapshot { questions, place })
}

fn serve(options: &PostgresOptions, begun: oneshot::Sender<Result<(), Trouble>>, questions: &Receiver<Question>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Who asked may have gone away; so it is with every answer here.
            let _ = begun.send(Err(Trouble::Refused(error.to_string())));
            return;
        }
    };
    let connection = match runtime.block_on(open(options, runtime.handle())) {
        Ok(connection) => connection,
        Err(trouble) => {
            let _ = begun.send(Err(trouble));
            return;
        }
    };
    let mut reader = Reader { connection, statements: Statements::new(&options.schema), tables: Table::ALL.to_vec(), from: Vec::new() };
    reader.tables.reverse();
    let _ = begun.send(Ok(()));
    while let Ok((max_bytes, answer)) = questions.recv() {
        let _ = answer.send(runtime.block_on(reader.next(max_bytes)));
    }
}

/// A connection whose reads all see one moment.
pub(super) async fn open(options: &PostgresOptions, runtime: &tokio::runtime::Handle) -> Result<Connection, Trouble> {
    let connection = Connection::open(options, runtime).await?;
    connection.client().batch_execute(BEGIN).await?;
    // The moment is that of the first statement.
    connection.ask("SELECT 1", &[]).await?;
    Ok(connection)
}

struct Reader {
    connection: Connection,
    statements: Statements,
    /// Those that are not read to their end, the next one last.
    tables: Vec<Table>,
    from: Vec<u8>,
}

impl Reader {
    async fn next(&mut self, max_bytes: usize) -> Result<SnapshotRows, Trouble> {
        while let Some(table) = self.tables.last().copied() {
            let rows = page(&self.connection, &self.statements, table, &self.from, max_bytes.max(1)).await?;
            match rows.last() {
                Some((last, _)) => {
                    self.from = [last.as_ref(), &[0]].concat();
                    return Ok(rows.into_iter().map(|(key, value)| (table, key, value)).collect());
                }
                None => {
                    self.tables.pop();
                    self.from.clear();
                }
            }
        }
        Ok(SnapshotRows::new())
    }
}

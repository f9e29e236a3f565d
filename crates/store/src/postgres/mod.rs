//! A store in one schema of a PostgreSQL database, for one server alone or for several nodes that share it.
//!
//! ```text
//! commit ─► queue of the shard ─► its task: everything that waits in one statement ─► commit of the database ─► answer
//! reads ──► a connection that all reads share
//! ```
//!
//! Each table of the contract is a table of the database: key and value. A statement is one call of a function of the schema
//! ([`schema`]): it raises the shard's number if shard and epoch are as they must be, and only then writes rows, so that a server
//! that has lost the shard writes nothing, and a statement whose answer was lost can be sent again until it is known what
//! became of it. `docs/postgresql.md` tells what is relied on.

mod beside;
mod connections;
mod gets;
mod group;
mod lease;
mod limits;
pub mod member;
#[cfg(test)]
mod model;
mod nodes;
mod options;
pub mod picture;
pub mod placement;
mod read;
mod reader;
mod schema;
mod snapshot;
mod statements;
mod tls;
mod trouble;
pub mod votes;
mod writer;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
};

use bytes::Bytes;
use futures::{
    FutureExt,
    channel::oneshot,
    future::{self, BoxFuture},
};
use tokio::{
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

use self::{
    connections::Connections,
    lease::Way,
    limits::KEY_MAX,
    member::{Keeper, Membership, NodeOptions},
    placement::{NodeId, SINGLE_FIRST},
    read::Source,
    schema::SchemaError,
    votes::Standing,
    writer::Shared,
};
use crate::{CommitBatch, CommitError, Pending, Rows, Snapshot, Store, StoreError, StoreStats, Table};

pub use beside::{Beside, Session};
pub use options::PostgresOptions;
pub use reader::{PostgresReader, Report};

/// See the module.
pub struct PostgresStore {
    shared: Arc<Shared>,
    /// The tasks of the shards.
    tasks: Mutex<Vec<JoinHandle<()>>>,
    lease: AbortHandle,
    /// If it shares the schema.
    membership: Option<Membership>,
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PostgresStore").field("options", self.shared.connections.options()).finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the schema, or makes it, and takes it for this process alone. The store's tasks run on `runtime`.
    pub async fn open(options: PostgresOptions, runtime: Handle) -> Result<Self, StoreError> {
        let opening = runtime.clone();
        let opened = opening.spawn(async move {
            let connections = Connections::new(options, runtime);
            prepare(&connections).await?;
            let holder = lease::take(&connections, Way::Alone).await?;
            Ok::<_, StoreError>(Arc::new(Shared::new(connections, holder)))
        });
        let shared = opened.await.map_err(|error| StoreError::Failed { reason: error.to_string() })??;
        let lease = shared.connections.runtime().spawn(lease::keep(shared.clone())).abort_handle();
        Ok(Self { shared, tasks: Mutex::default(), lease, membership: None })
    }

    /// Opens the schema, or makes it, and takes a place in it among other nodes. It is given its share of the shards when it says that it is
    /// [ready](PostgresStore::ready), or at once if nobody else is. A shard can be acquired once it is this node's, which
    /// [`PostgresStore::membership`] tells.
    pub async fn join(options: PostgresOptions, node: NodeOptions, runtime: Handle) -> Result<Self, StoreError> {
        let is_single = |shard: &u32| *shard >= SINGLE_FIRST;
        if node.shards == 0 || is_single(&node.shards) || !node.singles.iter().all(is_single) {
            return Err(StoreError::Options { what: "the numbers of the shards are out of range".into() });
        }
        let opening = runtime.clone();
        let opened = opening.spawn(async move {
            let connections = Connections::new(options, runtime);
            prepare(&connections).await?;
            let holder = lease::take(&connections, Way::Node(&node)).await?;
            let gave_none = || StoreError::Failed { reason: format!("the database gave the id {holder}") };
            let lease = connections.options().lease_of_node();
            let membership = Membership::new(NodeId::parse(&holder).ok_or_else(gave_none)?, lease);
            let shared = Arc::new(Shared::new(connections, holder));
            let mut keeper = Keeper::new(shared.clone(), membership.clone());
            if let Err(error) = keeper.begin().await {
                lease::release(&shared).await;
                return Err(error);
            }
            Ok::<_, StoreError>((shared, membership, keeper))
        });
        let (shared, membership, keeper) = opened.await.map_err(|error| StoreError::Failed { reason: error.to_string() })??;
        let lease = shared.connections.runtime().spawn(keeper.run()).abort_handle();
        Ok(Self { shared, tasks: Mutex::default(), lease, membership: Some(membership) })
    }

    /// What it knows of the nodes that it shares the schema with. `None`: it has the schema alone.
    #[must_use]
    pub fn membership(&self) -> Option<&Membership> {
        self.membership.as_ref()
    }

    /// Hands a shard to another node, as soon as what is enqueued is committed. From the call on, batches of the shard are refused with
    /// [`CommitError::Fenced`]. If the other node is not there any more, whoever finds the shard free places it. [`StoreError::Elsewhere`] says
    /// that it is not this node's any more, perhaps because it was given before. After another error it may be this node's still, and can be
    /// acquired or given again.
    pub fn give(&self, shard: u32, to: NodeId) -> Pending<Result<(), StoreError>> {
        let (sender, receiver) = oneshot::channel();
        match self.shared.enqueue_give(shard, to, sender) {
            Ok(is_new) => self.start_task(shard, is_new),
            Err(error) => return future::ready(Err(error)).boxed(),
        }
        receiver.map(|result| result.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    /// Says that this node can serve what it is given.
    pub async fn ready(&self) -> Result<(), StoreError> {
        self.say(Word::Ready).await
    }

    /// Says that this node is about to go: it is given nothing more, and what it has is placed on others, to be given to them.
    pub async fn leave(&self) -> Result<(), StoreError> {
        self.say(Word::Leave).await
    }

    async fn say(&self, word: Word) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        self.read(async move {
            // Said twice it is said once.
            let said = writer::until_answered(&shared, || word.say(&shared)).await;
            said.map_err(|error| match error {
                StoreError::Rejected { reason } => {
                    StoreError::Database { action: word.action(), place: shared.connections.options().place().into(), reason }
                }
                other => other,
            })
        })
        .await?;
        if let Some(membership) = &self.membership {
            membership.look();
        }
        Ok(())
    }

    /// By node, what is left of its lease by the database's clock, and which others it does not reach.
    pub async fn standings(&self) -> Result<BTreeMap<NodeId, Standing>, StoreError> {
        let shared = self.shared.clone();
        self.read(async move {
            let options = shared.connections.options();
            let failed = |trouble: trouble::Trouble| StoreError::Database {
                action: "ask who is there in",
                place: options.place().into(),
                reason: trouble.into_reason(),
            };
            let connection = shared.connections.borrow().await.map_err(failed)?;
            let standings = nodes::standings(options, connection.get()).await.map_err(failed)?;
            connection.keep();
            Ok(standings)
        })
        .await
    }

    /// Starts the task of a shard that has none.
    fn start_task(&self, shard: u32, is_new: bool) {
        if is_new {
            let task = self.shared.connections.runtime().spawn(writer::run(self.shared.clone(), shard));
            self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        }
    }

    /// The way to what else lies in the schema and belongs to whoever has it. Of several nodes none has it.
    #[must_use]
    pub fn beside(&self) -> Beside {
        let (schema, holder) = (&self.shared.connections.options().schema, &self.shared.holder);
        let proof = format!("SELECT 1 FROM \"{schema}\".node WHERE id = '{holder}'::uuid AND alone FOR KEY SHARE");
        self.beside_by(proof)
    }

    /// The way to what else lies in the schema and belongs to all nodes that are there, as long as this one is.
    #[must_use]
    pub fn beside_node(&self) -> Beside {
        let (schema, holder) = (&self.shared.connections.options().schema, &self.shared.holder);
        // Who removes the node waits for the transaction to end: what it wrote comes before what others do with what the node had.
        let proof = format!("SELECT 1 FROM \"{schema}\".node WHERE id = '{holder}'::uuid AND NOT alone FOR KEY SHARE");
        self.beside_by(proof)
    }

    /// The way to what else lies in the schema and belongs to the node that has this shard.
    #[must_use]
    pub fn beside_shard(&self, shard: u32) -> Beside {
        let (schema, holder) = (&self.shared.connections.options().schema, &self.shared.holder);
        let proof = format!("SELECT 1 FROM \"{schema}\".shard WHERE id = {shard} AND node = '{holder}'::uuid FOR SHARE");
        self.beside_by(proof)
    }

    fn beside_by(&self, proof: String) -> Beside {
        let connections = &self.shared.connections;
        Beside::new(connections.options().clone(), connections.runtime().clone(), proof, self.membership.is_some())
    }

    /// What people are told of where it is.
    #[must_use]
    pub fn place(&self) -> &str {
        self.shared.connections.options().place()
    }

    /// Says that the content is not whole, and why; until that is taken back (`None`) nobody can open the schema.
    pub async fn set_incomplete(&self, what: Option<&str>) -> Result<(), StoreError> {
        let (shared, what) = (self.shared.clone(), what.map(ToOwned::to_owned));
        self.read(async move {
            let options = shared.connections.options();
            let failed = |trouble: trouble::Trouble| StoreError::Database {
                action: "mark",
                place: options.place().into(),
                reason: trouble.into_reason(),
            };
            let connection = shared.connections.borrow().await.map_err(failed)?;
            schema::set_incomplete(connection.get().client(), &options.schema, what.as_deref()).await.map_err(failed)?;
            connection.keep();
            Ok(())
        })
        .await
    }

    /// Runs a read on the store's runtime, so that it can be waited for anywhere. It ends with the future that is given back.
    fn read<T: Send + 'static>(
        &self,
        read: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, StoreError>> {
        if let Err(error) = self.shared.check_open() {
            return future::ready(Err(error)).boxed();
        }
        let task = self.shared.connections.runtime().spawn(read);
        let wanted = Wanted(task.abort_handle());
        async move {
            let _wanted = wanted;
            task.await.unwrap_or(Err(StoreError::Closed))
        }
        .boxed()
    }
}

/// What a node says of itself.
#[derive(Clone, Copy)]
enum Word {
    Ready,
    Leave,
}

impl Word {
    fn action(self) -> &'static str {
        match self {
            Word::Ready => "take a share in",
            Word::Leave => "leave",
        }
    }

    async fn say(self, shared: &Shared) -> Result<(), trouble::Trouble> {
        let options = shared.connections.options();
        let connection = shared.connections.borrow().await?;
        match self {
            Word::Ready => nodes::ready(options, connection.get(), &shared.holder).await?,
            Word::Leave => nodes::leave(options, connection.get(), &shared.holder).await?,
        }
        connection.keep();
        Ok(())
    }
}

/// Ends a read that nobody waits for any more.
struct Wanted(AbortHandle);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects and brings the schema to the format of this program.
async fn prepare(connections: &Connections) -> Result<(), StoreError> {
    let options = connections.options();
    let (place, schema) = (options.place(), &options.schema);
    let failed = |action| move |reason| StoreError::Database { action, place: place.into(), reason };
    let connection = connections.borrow().await.map_err(|trouble| failed("connect to")(trouble.into_reason()))?;
    match schema::migrate(connection.get().client(), schema, place).await {
        Ok(()) => {
            connection.keep();
            Ok(())
        }
        Err(SchemaError::Unfit(error)) => Err(error),
        Err(SchemaError::Trouble(trouble)) => Err(failed("prepare")(trouble.into_reason())),
    }
}

impl Store for PostgresStore {
    fn acquire(&self, shard: u32) -> Pending<Result<u64, StoreError>> {
        let (sender, receiver) = oneshot::channel();
        match self.shared.enqueue_acquire(shard, sender) {
            Ok(is_new) => self.start_task(shard, is_new),
            Err(error) => return future::ready(Err(error)).boxed(),
        }
        receiver.map(|result| result.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    fn commit(&self, batch: CommitBatch) -> Pending<Result<(), CommitError>> {
        let (sender, receiver) = oneshot::channel();
        match self.shared.enqueue(batch, sender) {
            Ok(()) => {
                let dropped = || CommitError::Unknown { reason: "the store was dropped before it answered".into() };
                receiver.map(move |result| result.unwrap_or_else(|_| Err(dropped()))).boxed()
            }
            Err(error) => future::ready(Err(error)).boxed(),
        }
    }

    fn get(&self, table: Table, key: &[u8]) -> BoxFuture<'_, Result<Option<Bytes>, StoreError>> {
        if let Err(error) = self.shared.check_open() {
            return future::ready(Err(error)).boxed();
        }
        let answer = gets::get(&self.shared, table, key);
        answer.map(|answered| answered.unwrap_or(Err(StoreError::Closed))).boxed()
    }

    fn scan(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> BoxFuture<'_, Result<Rows, StoreError>> {
        let (shared, from, to) = (self.shared.clone(), from.to_vec(), to.to_vec());
        self.read(async move { read::scan(Source::Any(&shared.connections), &shared.statements, table, &from, &to, limit).await })
    }

    fn stream(&self, prefix: &[u8], from: u64, max_bytes: usize) -> BoxFuture<'_, Result<Vec<(u64, Bytes)>, StoreError>> {
        let (shared, prefix) = (self.shared.clone(), prefix.to_vec());
        self.read(async move { read::stream(Source::Any(&shared.connections), &shared.statements, &prefix, from, max_bytes).await })
    }

    fn snapshot(&self) -> Pending<Result<Box<dyn Snapshot>, StoreError>> {
        if let Err(error) = self.shared.check_open() {
            return future::ready(Err(error)).boxed();
        }
        let snapshot = snapshot::begin(self.shared.connections.options().clone());
        snapshot.map(|begun| begun.map(|snapshot| Box::new(snapshot) as Box<dyn Snapshot>)).boxed()
    }

    fn key_bytes_max(&self) -> usize {
        KEY_MAX
    }

    fn until_failed(&self) -> Option<BoxFuture<'static, String>> {
        Some(self.shared.until_failed().boxed())
    }

    fn stats(&self) -> StoreStats {
        let counters = &self.shared.counters;
        StoreStats {
            commits: counters.commits.load(Ordering::Relaxed),
            syncs: counters.statements.load(Ordering::Relaxed),
            log_bytes: counters.bytes.load(Ordering::Relaxed),
            ..StoreStats::default()
        }
    }

    fn close(&self) -> Pending<Result<(), StoreError>> {
        self.shared.begin_close();
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let (shared, lease, membership) = (self.shared.clone(), self.lease.clone(), self.membership.clone());
        let closing = self.shared.connections.runtime().spawn(async move {
            for task in tasks {
                // A task that has ended by a bug has dropped what it had; those who waited know.
                let _ = task.await;
            }
            if !lease.is_finished() {
                lease.abort();
                if let Some(membership) = membership {
                    membership.end();
                }
                lease::release(&shared).await;
            }
            shared.connections.close().await;
        });
        closing.map(|closed| closed.map_err(|error| StoreError::Failed { reason: error.to_string() })).boxed()
    }
}

impl Drop for PostgresStore {
    /// Without a close before, like a kill, except that the schema is given back if there is time for it: what is enqueued is
    /// dropped, what was acknowledged is found again.
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        if let Some(membership) = &self.membership {
            membership.end();
        }
        if !self.lease.is_finished() {
            self.lease.abort();
            let shared = self.shared.clone();
            self.shared.connections.runtime().spawn(async move { lease::release(&shared).await });
        }
    }
}

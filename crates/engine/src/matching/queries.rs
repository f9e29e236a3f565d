//! Queries that wait for an answer: who asked, and what a worker is given.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::common::Payloads;
use sempre_core::{
    NamespaceId, Refusal, RunKey,
    ids::Uuid,
    transition::{QueryRoute, QueueName},
};
use tokio::sync::oneshot;

/// What a query came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A worker answered, or the query failed.
    Answer(Result<Option<Payloads>, Refusal>),
    /// It was buffered on its run and no task will carry it: ask a worker directly.
    Direct(Box<QueryRoute>),
}

type Askers = Arc<Mutex<HashMap<u64, oneshot::Sender<Outcome>>>>;

fn lock(askers: &Askers) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Outcome>>> {
    askers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queries of this process that wait.
#[derive(Debug, Default)]
pub(crate) struct Queries {
    askers: Askers,
    last_id: AtomicU64,
}

impl Queries {
    /// A new question; forgotten when the guard is dropped.
    pub(crate) fn ask(&self) -> Asker {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        Asker { id, receiver: self.listen(id), askers: self.askers.clone() }
    }

    fn listen(&self, id: u64) -> oneshot::Receiver<Outcome> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.askers).insert(id, sender);
        receiver
    }

    /// Tells the asker. False when nobody waits any more.
    pub(crate) fn resolve(&self, id: u64, outcome: Outcome) -> bool {
        let asker = lock(&self.askers).remove(&id);
        asker.is_some_and(|asker| asker.send(outcome).is_ok())
    }
}

/// Somebody who waits for the outcome of a query.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) id: u64,
    receiver: oneshot::Receiver<Outcome>,
    askers: Askers,
}

impl Asker {
    pub(crate) async fn outcome(&mut self) -> Outcome {
        let gone = || Outcome::Answer(Err(Refusal::Unavailable("buffered query cleared, please retry".into())));
        (&mut self.receiver).await.unwrap_or_else(|_| gone())
    }

    /// Waits anew under the same id, after an outcome that was not the last.
    pub(crate) fn listen_again(&mut self) {
        let (sender, receiver) = oneshot::channel();
        lock(&self.askers).insert(self.id, sender);
        self.receiver = receiver;
    }

    /// What a worker is given.
    pub(crate) fn task(&self, run: RunKey, route: Arc<QueryRoute>, sticky: bool) -> QueryTask {
        QueryTask { id: self.id, run, route, sticky, askers: self.askers.clone() }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        lock(&self.askers).remove(&self.id);
    }
}

/// A query for a worker's poll.
#[derive(Clone, Debug)]
pub(crate) struct QueryTask {
    pub(crate) id: u64,
    pub(crate) run: RunKey,
    pub(crate) route: Arc<QueryRoute>,
    /// Offered to the worker that holds the run: it needs no history.
    pub(crate) sticky: bool,
    askers: Askers,
}

impl QueryTask {
    /// The queue it is offered on.
    pub(crate) fn queue(&self) -> &QueueName {
        match &self.route.sticky {
            Some((queue, _)) if self.sticky => queue,
            _ => &self.route.normal,
        }
    }

    /// The asker still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        lock(&self.askers).get(&self.id).is_some_and(|asker| !asker.is_closed())
    }
}

/// Tells a query token from a task token and from junk.
const MAGIC: u32 = 0x5e41_7402;

/// The token of a query task: means something to this process only.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueryToken {
    #[prost(fixed32, tag = "1")]
    magic: u32,
    #[prost(bytes = "bytes", tag = "2")]
    namespace_id: Bytes,
    #[prost(uint64, tag = "3")]
    pub(crate) query: u64,
    /// The process that asked.
    #[prost(fixed64, tag = "4")]
    pub(crate) process: u64,
}

impl QueryToken {
    pub(crate) fn new(namespace: NamespaceId, query: u64, process: u64) -> Self {
        Self { magic: MAGIC, namespace_id: Bytes::copy_from_slice(&namespace.0.0), query, process }
    }

    pub(crate) fn parse(bytes: &Bytes) -> Option<Self> {
        Self::decode(bytes.clone()).ok().filter(|t| t.magic == MAGIC && t.namespace_id.len() == 16)
    }

    pub(crate) fn namespace(&self) -> NamespaceId {
        NamespaceId(Uuid(self.namespace_id.as_ref().try_into().unwrap_or_default()))
    }

    pub(crate) fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }
}

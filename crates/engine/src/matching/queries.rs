//! Queries that wait for an answer: who asked, and what a worker is given.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
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

use crate::ids::SeededIds;

/// What a query came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A worker answered, or the query failed.
    Answer(Result<Option<Payloads>, Refusal>),
    /// It was buffered on its run and no task will carry it: ask a worker directly.
    Direct(Box<QueryRoute>),
}

/// Who waits, and in which namespace.
#[derive(Debug)]
struct Listener {
    namespace: NamespaceId,
    sender: oneshot::Sender<Outcome>,
}

type Askers = Arc<Mutex<HashMap<u64, Listener>>>;

fn lock(askers: &Askers) -> MutexGuard<'_, HashMap<u64, Listener>> {
    askers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queries of this process that wait.
#[derive(Debug)]
pub(crate) struct Queries {
    askers: Askers,
    ids: Mutex<SeededIds>,
}

impl Queries {
    pub(crate) fn new(ids: SeededIds) -> Self {
        Self { askers: Askers::default(), ids: Mutex::new(ids) }
    }

    /// A new question in a namespace; forgotten when the guard is dropped.
    pub(crate) fn ask(&self, namespace: NamespaceId) -> Asker {
        let (sender, receiver) = oneshot::channel();
        let mut askers = lock(&self.askers);
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        // No counter: what one worker is given says nothing about what others are given.
        let id = loop {
            let id = ids.next_u64();
            if !askers.contains_key(&id) {
                break id;
            }
        };
        askers.insert(id, Listener { namespace, sender });
        Asker { id, namespace, receiver, askers: self.askers.clone() }
    }

    /// Tells the asker. False when nobody waits any more.
    pub(crate) fn resolve(&self, id: u64, outcome: Outcome) -> bool {
        let asker = lock(&self.askers).remove(&id);
        asker.is_some_and(|asker| asker.sender.send(outcome).is_ok())
    }

    /// A worker's answer. False when nobody in its namespace waits for it.
    pub(crate) fn answer(&self, id: u64, namespace: NamespaceId, answer: Result<Option<Payloads>, Refusal>) -> bool {
        let asker = match lock(&self.askers).entry(id) {
            Entry::Occupied(asker) if asker.get().namespace == namespace => asker.remove(),
            _ => return false,
        };
        asker.sender.send(Outcome::Answer(answer)).is_ok()
    }
}

/// Somebody who waits for the outcome of a query.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) id: u64,
    namespace: NamespaceId,
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
        lock(&self.askers).insert(self.id, Listener { namespace: self.namespace, sender });
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
        lock(&self.askers).get(&self.id).is_some_and(|asker| !asker.sender.is_closed())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_namespace_that_asked_can_answer() {
        let queries = Queries::new(SeededIds::new(1, 1));
        let (own, other) = (NamespaceId(Uuid([1; 16])), NamespaceId(Uuid([2; 16])));
        let (asker, next) = (queries.ask(own), queries.ask(own));
        assert!(asker.id.abs_diff(next.id) > 1);
        assert!(!queries.answer(asker.id, other, Ok(None)));
        assert!(queries.answer(asker.id, own, Ok(None)));
        assert!(!queries.answer(asker.id, own, Ok(None)), "once");
        let id = next.id;
        drop(next);
        assert!(!queries.answer(id, own, Ok(None)));
    }
}

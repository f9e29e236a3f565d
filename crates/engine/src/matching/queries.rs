//! Queries that wait for an answer: who asked, and what a worker is given.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::common::Payloads;
use sempre_core::{
    NamespaceId, Refusal, RunKey,
    ids::Uuid,
    transition::{QueryRoute, QueueName},
};

use crate::{
    ids::SeededIds,
    listeners::{Listeners, Listening, Wanted},
};

/// What a query came to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A worker answered, or the query failed; with the `WorkflowTaskFailedCause` that the worker gave.
    Answer(Result<Option<Payloads>, Refusal>, i32),
    /// It was buffered on its run and no task will carry it: ask a worker directly.
    Direct(Box<QueryRoute>),
}

/// The queries of this process that wait.
#[derive(Debug)]
pub(crate) struct Queries(Listeners<Outcome>);

impl Queries {
    pub(crate) fn new(ids: SeededIds) -> Self {
        Self(Listeners::new(ids))
    }

    /// A new question in a namespace; forgotten when the guard is dropped.
    pub(crate) fn ask(&self, namespace: NamespaceId) -> Asker {
        Asker(self.0.listen(namespace))
    }

    /// Tells the asker. False when nobody waits any more.
    pub(crate) fn resolve(&self, id: u64, outcome: Outcome) -> bool {
        self.0.tell(id, outcome)
    }

    /// A worker's answer. False when nobody in its namespace waits for it.
    pub(crate) fn answer(&self, id: u64, namespace: NamespaceId, answer: Result<Option<Payloads>, Refusal>, cause: i32) -> bool {
        self.0.answer(id, namespace, Outcome::Answer(answer, cause))
    }
}

/// Somebody who waits for the outcome of a query.
#[derive(Debug)]
pub(crate) struct Asker(Listening<Outcome>);

impl Asker {
    pub(crate) fn id(&self) -> u64 {
        self.0.id()
    }

    pub(crate) async fn outcome(&mut self) -> Outcome {
        let gone = || Outcome::Answer(Err(Refusal::Unavailable("buffered query cleared, please retry".into())), 0);
        self.0.news().await.unwrap_or_else(gone)
    }

    /// Waits anew under the same id, after an outcome that was not the last.
    pub(crate) fn listen_again(&mut self) {
        self.0.listen_again();
    }

    /// What a worker is given.
    pub(crate) fn task(&self, run: RunKey, route: Arc<QueryRoute>, sticky: bool) -> QueryTask {
        QueryTask { id: self.id(), what: What::Here { run, route, sticky }, asker: self.0.wanted() }
    }

    /// The same for a query of another node, which has made what the worker is given.
    pub(crate) fn task_of_another(&self, queue: QueueName, workflow_id: String, answer: Bytes) -> QueryTask {
        QueryTask { id: self.id(), what: What::Away { queue, workflow_id, answer }, asker: self.0.wanted() }
    }
}

/// A query for a worker's poll.
#[derive(Clone, Debug)]
pub(crate) struct QueryTask {
    pub(crate) id: u64,
    pub(crate) what: What,
    asker: Wanted<Outcome>,
}

/// What is asked, and where.
#[derive(Clone, Debug)]
pub(crate) enum What {
    /// By this node.
    Here {
        run: RunKey,
        route: Arc<QueryRoute>,
        /// Offered to the worker that holds the run: it needs no history.
        sticky: bool,
    },
    /// By another.
    Away {
        queue: QueueName,
        workflow_id: String,
        /// What the poll is answered, in bytes.
        answer: Bytes,
    },
}

impl QueryTask {
    /// The queue it is offered on.
    pub(crate) fn queue(&self) -> &QueueName {
        match &self.what {
            What::Here { route, sticky, .. } => match &route.sticky {
                Some((queue, _)) if *sticky => queue,
                _ => &route.normal,
            },
            What::Away { queue, .. } => queue,
        }
    }

    /// Whose run is asked.
    pub(crate) fn workflow_id(&self) -> &str {
        match &self.what {
            What::Here { run, .. } => &run.workflow.workflow_id,
            What::Away { workflow_id, .. } => workflow_id,
        }
    }

    /// The asker still waits.
    pub(crate) fn is_wanted(&self) -> bool {
        self.asker.is_wanted()
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

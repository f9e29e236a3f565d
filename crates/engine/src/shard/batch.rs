//! The batch that is being filled, and what leaves when it is durable.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::v1::common::Payloads;
use sempre_core::{
    NamespaceId, Refusal, RunId, RunKey, Timestamp,
    transition::{Offer, OfferKey, OutboxEntry, QueryRoute, UpdateNews},
};
use sempre_store::{CommitBatch, Fence};
use tokio::sync::oneshot;

use super::message::{Answer, ReplyTo, RunMessage, Started, UpdateWatcher};
use crate::{matching::Reserved, visibility::Update};

/// Something that leaves the shard after a commit. Carries all it needs.
pub(crate) enum Output {
    Answer(ReplyTo, Result<Answer, Refusal>),
    /// A task for a poller that was taken out of its line.
    Hand(Reserved<Started>, Box<Started>),
    /// A durable offer.
    Offer(Offer),
    /// An offer whose row is gone.
    Withdraw(OfferKey),
    /// A message to another run.
    Deliver(RunKey, OutboxEntry),
    QueryAnswer(u64, Result<Option<Payloads>, Refusal>),
    QueryDirect(u64, Box<QueryRoute>),
    /// Somebody who waits for an update.
    UpdateNews(UpdateWatcher, UpdateNews),
    /// A watcher of history.
    Notify(oneshot::Sender<()>),
    /// What was noted of a run for the flow rules is on disk.
    FlowNoted(RunId),
    /// A run that flow rules were about is none any more.
    FlowGone(RunId),
    /// Somebody who waits for the commits of this epoch.
    Settled(oneshot::Sender<u64>, u64),
    /// A message of the shard to itself.
    Again(Box<RunMessage>),
}

/// The batch being filled.
pub(crate) struct OpenBatch {
    pub(crate) commit: CommitBatch,
    pub(crate) outputs: Vec<Output>,
    /// Offers made in this batch, by the key core knows; the offer itself may have moved to the normal queue.
    pub(crate) offers: BTreeMap<OfferKey, Offer>,
    /// Runs whose state rows are to be written: place in the cache, run.
    pub(crate) runs: Vec<(usize, sempre_core::RunId)>,
    /// Workflows whose current pointer is to be written.
    pub(crate) currents: Vec<usize>,
    /// Runs with a changed deadline.
    pub(crate) deadlines: Vec<(usize, sempre_core::RunId)>,
    /// Runs whose picture for lists is to be written.
    pub(crate) listed: Vec<(usize, sempre_core::RunId)>,
    /// What lists show once the batch is durable.
    pub(crate) updates: Vec<Update>,
    /// Value of the row of its notices, and how many they are.
    pub(crate) notices: Vec<u8>,
    pub(crate) notice_count: u64,
    /// Whose they are.
    pub(crate) notice_of: BTreeSet<NamespaceId>,
    /// Workflows with rows in this batch.
    pub(crate) workflows: Vec<usize>,
    pub(crate) inputs: u64,
    /// Bytes expected of the rows that are added when the batch is closed.
    pub(crate) expected: usize,
}

impl OpenBatch {
    pub(crate) fn new(fence: Fence) -> Self {
        Self {
            commit: CommitBatch::new(fence),
            outputs: Vec::new(),
            offers: BTreeMap::new(),
            runs: Vec::new(),
            currents: Vec::new(),
            deadlines: Vec::new(),
            listed: Vec::new(),
            updates: Vec::new(),
            notices: Vec::new(),
            notice_count: 0,
            notice_of: BTreeSet::new(),
            workflows: Vec::new(),
            inputs: 0,
            expected: 0,
        }
    }

    /// Bytes as far as they are known before the batch is closed.
    pub(crate) fn bytes(&self) -> usize {
        self.commit.bytes() + self.expected
    }

    /// Nothing to write and nothing to say.
    pub(crate) fn is_idle(&self) -> bool {
        self.commit.is_empty() && self.outputs.is_empty() && self.workflows.is_empty()
    }
}

/// A batch on its way to the disk.
pub(crate) struct InFlight {
    /// The last number of its notices, if it has any.
    pub(crate) notices: Option<u64>,
    /// What lists show from then on.
    pub(crate) updates: Vec<Update>,
    pub(crate) outputs: Vec<Output>,
    /// What had nothing to write and came behind it: the commit was sent before, and proves nothing of it.
    pub(crate) unproved: Vec<Output>,
    pub(crate) workflows: Vec<usize>,
    pub(crate) inputs: u64,
    pub(crate) bytes: u64,
    /// When it was sent.
    pub(crate) sent: Timestamp,
}

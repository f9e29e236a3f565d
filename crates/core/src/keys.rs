//! Keys of a run's rows. Every key begins with the slot, so that a slot is a range of every table.
//!
//! | table | key after the slot (2 bytes, big-endian) | value |
//! |---|---|---|
//! | Current | namespace id (16), workflow id | [`crate::transition::CurrentRecord`] |
//! | State | run id (16), row kind (1), number (8) | see [`crate::state::rows`] |
//! | History | run id (16), first event id (8) | event frames |
//! | Offer | queue hash (8), priority (1; plus 8 when ranked), time or rank (8), run id (16), scheduled event id (8) | [`OfferRecord`] |
//! | Outbox | run id (16), number (8) | [`OutboxRecord`] |
//! | Deadline | time (8), run id (16) | [`RunRecord`] |
//! | Visibility | run id (16) | [`crate::visibility::Row`] |
//! | Schedule | see [`schedules`] | |
//! | Flow | run id (16) | [`crate::flow::FlowRecord`] |
//!
//! Numbers are big-endian so that byte order is their order.

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::deployment::WorkerDeploymentVersion;

use crate::{
    NamespaceId, Routing, RunId, RunKey, SlotId, Timestamp, Version, WorkflowKey,
    ids::Uuid,
    transition::{Fairness, Offer, OfferKey, QueueKind, QueueName, RANKED},
};

fn begin(slot: SlotId, capacity: usize) -> Vec<u8> {
    let mut key = Vec::with_capacity(2 + capacity);
    key.extend_from_slice(&slot.0.to_be_bytes());
    key
}

/// First key of a slot, and so the end of the slot before.
pub fn slot(slot: u16) -> Vec<u8> {
    slot.to_be_bytes().to_vec()
}

/// Current-run pointer.
pub fn current(workflow: &WorkflowKey) -> Vec<u8> {
    let mut key = begin(workflow.slot(), 16 + workflow.workflow_id.len());
    key.extend_from_slice(&workflow.namespace.0.0);
    key.extend_from_slice(workflow.workflow_id.as_bytes());
    key
}

/// The run of a row whose key begins with it: in State, History, Outbox and Visibility.
pub fn parse_run(key: &[u8]) -> Option<RunId> {
    Some(RunId(Uuid(key.get(2..18)?.try_into().ok()?)))
}

/// Prefix of a run's rows in State, History and Outbox; its row in Visibility and Flow.
pub fn run(slot: SlotId, run: RunId) -> Vec<u8> {
    let mut key = begin(slot, 16 + 9);
    key.extend_from_slice(&run.0.0);
    key
}

/// End of a run's rows in State that are its state; what is kept beside it follows ([`crate::state::rows::BESIDE_STATE`]).
pub fn state_end(slot: SlotId, run_id: RunId) -> Vec<u8> {
    let mut key = run(slot, run_id);
    key.push(crate::state::rows::BESIDE_STATE);
    key
}

/// One state row.
pub fn state(slot: SlotId, run_id: RunId, kind: u8, number: u64) -> Vec<u8> {
    let mut key = run(slot, run_id);
    key.push(kind);
    key.extend_from_slice(&number.to_be_bytes());
    key
}

/// Kind and number of a state row from its key.
pub fn parse_state(key: &[u8]) -> Option<(u8, u64)> {
    let rest = key.get(18..)?;
    Some((*rest.first()?, u64::from_be_bytes(rest.get(1..)?.try_into().ok()?)))
}

/// One history row.
pub fn history(slot: SlotId, run_id: RunId, first_event_id: i64) -> Vec<u8> {
    let mut key = run(slot, run_id);
    key.extend_from_slice(&(first_event_id as u64).to_be_bytes());
    key
}

/// One outbox row.
pub fn outbox(slot: SlotId, run_id: RunId, id: u64) -> Vec<u8> {
    let mut key = run(slot, run_id);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

/// Run id and number of an outbox row.
pub fn parse_outbox(key: &[u8]) -> Option<(RunId, u64)> {
    let run = key.get(2..18)?.try_into().ok()?;
    Some((RunId(Uuid(run)), u64::from_be_bytes(key.get(18..)?.try_into().ok()?)))
}

/// A run's deadline row.
pub fn deadline(slot: SlotId, at: Timestamp, run_id: RunId) -> Vec<u8> {
    let mut key = begin(slot, 24);
    key.extend_from_slice(&(at.0 as u64).to_be_bytes());
    key.extend_from_slice(&run_id.0.0);
    key
}

/// First key of a slot's deadlines at or after `at`.
pub fn deadline_from(slot: u16, at: Timestamp) -> Vec<u8> {
    let mut key = begin(SlotId(slot), 8);
    key.extend_from_slice(&(at.0.max(0) as u64).to_be_bytes());
    key
}

/// Time and run of a deadline row.
pub fn parse_deadline(key: &[u8]) -> Option<(Timestamp, RunId)> {
    let at = u64::from_be_bytes(key.get(2..10)?.try_into().ok()?);
    Some((Timestamp(at as i64), RunId(Uuid(key.get(10..26)?.try_into().ok()?))))
}

/// An offer's row.
pub fn offer(slot: SlotId, key: &OfferKey) -> Vec<u8> {
    let mut out = begin(slot, 41);
    out.extend_from_slice(&key.queue.to_be_bytes());
    out.push(key.priority);
    out.extend_from_slice(&(key.time.0 as u64).to_be_bytes());
    out.extend_from_slice(&key.run.0.0);
    out.extend_from_slice(&(key.scheduled_event_id as u64).to_be_bytes());
    out
}

/// First key of a queue's offers in a slot.
pub fn offer_queue(slot: u16, queue: u64) -> Vec<u8> {
    let mut key = begin(SlotId(slot), 8);
    key.extend_from_slice(&queue.to_be_bytes());
    key
}

/// First key of a queue's ranked offers in a slot: after all others of the queue.
pub fn offer_queue_ranked(slot: u16, queue: u64) -> Vec<u8> {
    let mut key = offer_queue(slot, queue);
    key.push(RANKED);
    key
}

/// The place an offer row stands for.
pub fn parse_offer(key: &[u8]) -> Option<OfferKey> {
    Some(OfferKey {
        queue: u64::from_be_bytes(key.get(2..10)?.try_into().ok()?),
        priority: *key.get(10)?,
        time: Timestamp(u64::from_be_bytes(key.get(11..19)?.try_into().ok()?) as i64),
        run: RunId(Uuid(key.get(19..35)?.try_into().ok()?)),
        scheduled_event_id: u64::from_be_bytes(key.get(35..43)?.try_into().ok()?) as i64,
    })
}

/// The workflow a run belongs to: value of a deadline row.
#[derive(Clone, PartialEq, Message)]
pub struct RunRecord {
    /// Namespace id, 16 bytes.
    #[prost(bytes = "bytes", tag = "1")]
    pub namespace_id: Bytes,
    /// Workflow id.
    #[prost(string, tag = "2")]
    pub workflow_id: String,
    /// In a deadline row: there is no run yet, only events that a reset has copied for it; at that time they go.
    #[prost(bool, tag = "30")]
    pub staged: bool,
    /// In a deadline row: the run is closed and waits for nothing but the end of its retention, which may be late.
    #[prost(bool, tag = "31")]
    pub retained: bool,
}

impl RunRecord {
    /// From a key.
    pub fn new(workflow: &WorkflowKey) -> Self {
        Self { namespace_id: Bytes::copy_from_slice(&workflow.namespace.0.0), workflow_id: workflow.workflow_id.clone(), ..Self::default() }
    }

    /// Back to a key. `None` when damaged.
    pub fn workflow(&self) -> Option<WorkflowKey> {
        Some(WorkflowKey {
            namespace: NamespaceId(Uuid(self.namespace_id.as_ref().try_into().ok()?)),
            workflow_id: self.workflow_id.clone(),
        })
    }
}

/// Value of an offer row.
#[derive(Clone, PartialEq, Message)]
pub struct OfferRecord {
    /// The run's workflow.
    #[prost(message, optional, tag = "1")]
    pub run: Option<RunRecord>,
    /// Queue name.
    #[prost(string, tag = "2")]
    pub queue: String,
    /// Activity queue.
    #[prost(bool, tag = "3")]
    pub activity: bool,
    /// Sticky queue.
    #[prost(bool, tag = "4")]
    pub sticky: bool,
    /// Normal queue's name.
    #[prost(string, tag = "5")]
    pub normal_name: String,
    /// Stamp.
    #[prost(uint32, tag = "6")]
    pub stamp: u32,
    /// The version whose workers alone may have it.
    #[prost(message, optional, tag = "7")]
    pub pinned: Option<WorkerDeploymentVersion>,
    /// To the ramping version, if there is one.
    #[prost(bool, tag = "8")]
    pub ramping: bool,
    /// Fairness key.
    #[prost(string, tag = "9")]
    pub fairness_key: String,
    /// Fairness weight; 0 = none is named.
    #[prost(float, tag = "10")]
    pub fairness_weight: f32,
    /// When it was offered, ns, if the key has a rank in the place of that.
    #[prost(int64, tag = "11")]
    pub offered: i64,
}

impl OfferRecord {
    /// The row's value.
    pub fn new(offer: &Offer) -> Self {
        Self {
            run: Some(RunRecord::new(&offer.run.workflow)),
            queue: offer.queue.name.clone(),
            activity: offer.queue.kind == QueueKind::Activity,
            sticky: offer.queue.sticky,
            normal_name: offer.normal_name.clone(),
            stamp: offer.stamp,
            pinned: offer.routing.as_ref().and_then(|routing| routing.pinned.as_ref()).map(|version| version.to_api()),
            ramping: offer.routing.as_ref().is_some_and(|routing| routing.ramping),
            fairness_key: offer.fairness.as_ref().map_or_else(String::new, |fairness| fairness.key.clone()),
            fairness_weight: offer.fairness.as_ref().map_or(0.0, |fairness| fairness.weight),
            offered: if offer.key.is_ranked() { offer.offered.0 } else { 0 },
        }
    }

    /// Back to an offer. `None` when damaged.
    pub fn offer(self, key: OfferKey) -> Option<Offer> {
        let workflow = self.run?.workflow()?;
        let pinned = self.pinned.as_ref().map(|version| Arc::new(Version::from_api(version)));
        let routing = (pinned.is_some() || self.ramping).then(|| Arc::new(Routing { pinned: pinned.clone(), ramping: self.ramping }));
        let fair = !self.fairness_key.is_empty() || self.fairness_weight != 0.0;
        Some(Offer {
            fairness: fair.then(|| Box::new(Fairness { key: self.fairness_key, weight: self.fairness_weight })),
            offered: if key.is_ranked() { Timestamp(self.offered) } else { key.time },
            queue: QueueName {
                namespace: workflow.namespace,
                name: self.queue,
                kind: if self.activity { QueueKind::Activity } else { QueueKind::Workflow },
                sticky: self.sticky,
                version: pinned.filter(|_| !self.sticky),
            },
            routing,
            normal_name: self.normal_name,
            run: RunKey { workflow, run: key.run },
            stamp: self.stamp,
            volatile: false,
            key,
        })
    }
}

mod outbox_record;
pub mod schedules;
pub use outbox_record::OutboxRecord;

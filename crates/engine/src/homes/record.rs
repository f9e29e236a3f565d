//! Offers, polls and queues in bytes, on their way between an owner and a home.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{common::WorkerVersionStamp, deployment::WorkerDeploymentVersion};
use sempre_core::{
    NamespaceId, SlotId, Version,
    ids::Uuid,
    input::{Poller, Sdk},
    keys::{self, OfferRecord},
    transition::{OfferKey, QueueKind, QueueName},
};

use crate::matching::{Arrival, held::Queued};

/// An offer.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct OfferMessage {
    /// As it is stored.
    #[prost(message, optional, tag = "1")]
    record: Option<OfferRecord>,
    /// Its place, as the key of its row has it.
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
    /// That of the row, if it is another.
    #[prost(bytes = "bytes", tag = "3")]
    row: Bytes,
    /// It has no row.
    #[prost(bool, tag = "4")]
    volatile: bool,
    /// It was offered before.
    #[prost(bool, tag = "5")]
    is_known: bool,
}

/// A task queue.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct QueueRecord {
    #[prost(bytes = "bytes", tag = "1")]
    namespace_id: Bytes,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(enumeration = "Kind", tag = "3")]
    kind: i32,
    #[prost(bool, tag = "4")]
    sticky: bool,
    #[prost(message, optional, tag = "5")]
    version: Option<WorkerDeploymentVersion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unknown = 0,
    Workflow = 1,
    Activity = 2,
    Nexus = 3,
}

impl QueueRecord {
    pub(crate) fn new(queue: &QueueName) -> Self {
        let kind = match queue.kind {
            QueueKind::Workflow => Kind::Workflow,
            QueueKind::Activity => Kind::Activity,
            QueueKind::Nexus => Kind::Nexus,
        };
        Self {
            namespace_id: Bytes::copy_from_slice(&queue.namespace.0.0),
            name: queue.name.clone(),
            kind: kind as i32,
            sticky: queue.sticky,
            version: queue.version.as_ref().map(|version| version.to_api()),
        }
    }

    /// `None`: damaged, or of a newer version.
    pub(crate) fn queue(self) -> Option<QueueName> {
        let kind = match Kind::try_from(self.kind).ok()? {
            Kind::Unknown => return None,
            Kind::Workflow => QueueKind::Workflow,
            Kind::Activity => QueueKind::Activity,
            Kind::Nexus => QueueKind::Nexus,
        };
        Some(QueueName {
            namespace: NamespaceId(Uuid(self.namespace_id.as_ref().try_into().ok()?)),
            name: self.name,
            kind,
            sticky: self.sticky,
            version: self.version.as_ref().map(|version| Arc::new(Version::from_api(version))),
        })
    }
}

/// A poll.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PollerRecord {
    #[prost(string, tag = "1")]
    identity: String,
    #[prost(string, tag = "2")]
    request_id: String,
    #[prost(message, optional, tag = "3")]
    worker_version: Option<WorkerVersionStamp>,
    #[prost(message, optional, tag = "4")]
    version: Option<WorkerDeploymentVersion>,
    #[prost(string, tag = "5")]
    sdk_name: String,
    #[prost(string, tag = "6")]
    sdk_version: String,
}

pub(crate) fn key_bytes(key: &OfferKey) -> Bytes {
    keys::offer(SlotId(0), key).into()
}

/// `None`: damaged.
pub(crate) fn key_of(bytes: &[u8]) -> Option<OfferKey> {
    keys::parse_offer(bytes)
}

impl OfferMessage {
    pub(crate) fn new(queued: &Queued, arrival: Arrival) -> Self {
        let Queued { offer, row } = queued;
        Self {
            record: Some(OfferRecord::new(offer)),
            key: key_bytes(&offer.key),
            row: if *row == offer.key { Bytes::new() } else { key_bytes(row) },
            volatile: offer.volatile,
            is_known: arrival != Arrival::New,
        }
    }

    /// `None`: damaged.
    pub(crate) fn queued(self) -> Option<(Queued, Arrival)> {
        let key = key_of(&self.key)?;
        let row = if self.row.is_empty() { key.clone() } else { key_of(&self.row)? };
        let mut offer = self.record?.offer(key)?;
        // Where it belongs is said twice, and both must agree: queues are found by the one and named by the other.
        if offer.queue.hash64() != offer.key.queue || row.run != offer.run.run {
            return None;
        }
        offer.volatile = self.volatile;
        let arrival = if self.is_known { Arrival::Known } else { Arrival::New };
        Some((Queued { offer, row }, arrival))
    }
}

impl PollerRecord {
    pub(crate) fn new(poller: &Poller) -> Self {
        Self {
            identity: poller.identity.clone(),
            request_id: poller.request_id.clone(),
            worker_version: poller.worker_version.clone(),
            version: poller.version.as_ref().map(|version| version.to_api()),
            sdk_name: poller.sdk.name.clone(),
            sdk_version: poller.sdk.version.clone(),
        }
    }

    pub(crate) fn poller(self) -> Poller {
        Poller {
            identity: self.identity,
            request_id: self.request_id,
            worker_version: self.worker_version,
            version: self.version.as_ref().map(|version| Arc::new(Version::from_api(version))),
            sdk: Sdk { name: self.sdk_name, version: self.sdk_version },
        }
    }
}

#[cfg(test)]
mod tests {
    use sempre_core::{
        Routing, RunId, RunKey, Timestamp, WorkflowKey,
        transition::{Fairness, Offer, RANKED},
    };

    use super::*;
    use crate::matching::held::make_normal;

    const NAMESPACE: NamespaceId = NamespaceId(Uuid([7; 16]));

    fn queue(sticky: bool) -> QueueName {
        QueueName { namespace: NAMESPACE, name: "q".into(), kind: QueueKind::Workflow, sticky, version: None }
    }

    fn version() -> Arc<Version> {
        Arc::new(Version { deployment: "d".into(), build_id: "b".into() })
    }

    fn queued(change: impl FnOnce(&mut Offer)) -> Queued {
        let run = RunKey { workflow: WorkflowKey { namespace: NAMESPACE, workflow_id: "w".into() }, run: RunId(Uuid([9; 16])) };
        let key = OfferKey { queue: 0, priority: 3, time: Timestamp(5), run: run.run, scheduled_event_id: 2 };
        let mut offer = Offer {
            key,
            queue: queue(false),
            normal_name: String::new(),
            run,
            stamp: 4,
            volatile: false,
            routing: None,
            fairness: None,
            offered: Timestamp(5),
        };
        change(&mut offer);
        offer.key.queue = offer.queue.hash64();
        Queued { row: offer.key.clone(), offer }
    }

    #[test]
    fn an_offer_is_the_same_at_its_home() {
        let mut moved = queued(|offer| (offer.queue, offer.normal_name) = (queue(true), "normal".into()));
        make_normal(&mut moved.offer);
        assert_ne!(moved.row, moved.offer.key);
        let all = [
            queued(|_| {}),
            queued(|offer| offer.queue.kind = QueueKind::Activity),
            queued(|offer| offer.volatile = true),
            queued(|offer| (offer.queue, offer.normal_name) = (queue(true), "normal".into())),
            queued(|offer| {
                offer.routing = Some(Arc::new(Routing { pinned: Some(version()), ramping: false }));
                offer.queue.version = Some(version());
            }),
            queued(|offer| {
                offer.key.priority |= RANKED;
                offer.fairness = Some(Box::new(Fairness { key: "k".into(), weight: 2.0 }));
                offer.offered = Timestamp(3);
            }),
            moved,
        ];
        for queued in all {
            for arrival in [Arrival::New, Arrival::Known] {
                let bytes = OfferMessage::new(&queued, arrival).encode_to_vec();
                let again = OfferMessage::decode(bytes.as_slice()).unwrap().queued();
                assert_eq!(again, Some((queued.clone(), arrival)));
            }
        }
        // One that comes back is told as known.
        assert_eq!(OfferMessage::new(&queued(|_| {}), Arrival::Back).queued().unwrap().1, Arrival::Known);
    }

    #[test]
    fn an_offer_that_contradicts_itself_is_none() {
        let good = OfferMessage::new(&queued(|_| {}), Arrival::New);
        let other = OfferMessage::new(&queued(|offer| offer.queue.name = "other".into()), Arrival::New);
        assert!(good.clone().queued().is_some());
        assert_eq!(OfferMessage { key: other.key.clone(), ..good.clone() }.queued(), None, "the place is in another queue");
        assert_eq!(OfferMessage { key: Bytes::from_static(b"short"), ..good.clone() }.queued(), None);
        assert_eq!(OfferMessage { row: Bytes::from_static(b"short"), ..good.clone() }.queued(), None);
        assert_eq!(OfferMessage { record: None, ..good }.queued(), None);
    }

    #[test]
    fn polls_and_queues_are_the_same_at_the_other_node() {
        let poller = Poller {
            identity: "worker".into(),
            request_id: "r".into(),
            worker_version: Some(WorkerVersionStamp { build_id: "b".into(), use_versioning: false }),
            version: Some(version()),
            sdk: Sdk { name: "temporal-go".into(), version: "1".into() },
        };
        let again = PollerRecord::decode(PollerRecord::new(&poller).encode_to_vec().as_slice()).unwrap().poller();
        assert_eq!(again, poller);
        for queue in [queue(false), queue(true), queue(false).line(Some(&version()))] {
            assert_eq!(QueueRecord::decode(QueueRecord::new(&queue).encode_to_vec().as_slice()).unwrap().queue(), Some(queue));
        }
        assert_eq!(QueueRecord::default().queue(), None);
    }
}

//! What is written comes back as it was: keys, records, tokens.

use bytes::Bytes;
use proptest::{collection::vec, option, prelude::any, strategy::Strategy};
use prost::Message;
use sempre_core::{
    NamespaceId, RunId, RunKey, TaskToken, Timestamp, WorkflowKey,
    ids::Uuid,
    keys::{self, OfferRecord, OutboxRecord},
    transition::{CurrentRecord, Fairness, Offer, OfferKey, OutboxEntry, QueueKind, QueueName, RANKED},
};

fn run_key() -> impl Strategy<Value = RunKey> {
    (any::<[u8; 16]>(), ".{0,12}", any::<[u8; 16]>()).prop_map(|(namespace, workflow_id, run)| RunKey {
        workflow: WorkflowKey { namespace: NamespaceId(Uuid(namespace)), workflow_id },
        run: RunId(Uuid(run)),
    })
}

fn offer() -> impl Strategy<Value = Offer> {
    let fairness = option::of((".{1,12}", 0.0..10f32)).prop_map(|named| named.map(|(key, weight)| Box::new(Fairness { key, weight })));
    let key = (1..=5u8, 0..i64::MAX, 1..i64::MAX, option::of(0..i64::MAX));
    (run_key(), ".{0,12}", ".{0,12}", any::<(bool, bool)>(), key, fairness, any::<u32>()).prop_map(
        |(run, name, normal_name, (activity, sticky), (level, time, scheduled_event_id, ranked), fairness, stamp)| {
            let kind = if activity { QueueKind::Activity } else { QueueKind::Workflow };
            let queue = QueueName { namespace: run.workflow.namespace, name, kind, sticky, version: None };
            let priority = if ranked.is_some() { level | RANKED } else { level };
            let key = OfferKey { queue: queue.hash64(), priority, time: Timestamp(time), run: run.run, scheduled_event_id };
            let offered = ranked.map_or(key.time, Timestamp);
            Offer { key, queue, normal_name, run, stamp, volatile: false, routing: None, fairness, offered }
        },
    )
}

/// The offer is the same after it was written and read.
pub(crate) fn offer_round_trips(offer: &Offer) {
    let key = keys::parse_offer(&keys::offer(offer.run.workflow.slot(), &offer.key)).expect("a key");
    let record = OfferRecord::decode(OfferRecord::new(offer).encode_to_vec().as_slice()).expect("a record");
    assert_eq!(record.offer(key).as_ref(), Some(offer), "an offer is read as it was written");
}

/// The message is the same after it was written and read.
pub(crate) fn message_round_trips(sender: &RunKey, entry: &OutboxEntry) {
    let key = keys::outbox(sender.workflow.slot(), sender.run, entry.id);
    assert_eq!(keys::parse_outbox(&key), Some((sender.run, entry.id)));
    let record = OutboxRecord::decode(OutboxRecord::new(sender, entry).encode_to_vec().as_slice()).expect("a record");
    let workflow = record.sender.as_ref().and_then(|s| s.workflow());
    assert_eq!(workflow.as_ref(), Some(&sender.workflow), "a message names its sender");
    assert_eq!(record.message().as_ref(), Some(&entry.message), "a message is read as it was written");
}

/// The record is the same after it was written and read.
pub(crate) fn current_round_trips(record: &CurrentRecord) {
    assert_eq!(CurrentRecord::decode(record.encode_to_vec().as_slice()).as_ref(), Ok(record));
}

/// The token is the same after a worker gave it back.
pub(crate) fn token_round_trips(token: &TaskToken) {
    assert_eq!(TaskToken::parse(&token.to_bytes()).as_ref(), Some(token));
}

#[test]
fn offers_are_read_as_they_were_written() {
    super::check(&offer(), |offer| offer_round_trips(&offer));
}

/// Byte order of keys is the order of offers: a queue, those without ranks, then priority, then age or rank.
#[test]
fn offers_of_a_queue_are_in_order() {
    super::check(&(offer(), offer()), |(one, other)| {
        let other = OfferKey { queue: one.key.queue, ..other.key };
        let slot = one.run.workflow.slot();
        assert_eq!(keys::offer(slot, &one.key).cmp(&keys::offer(slot, &other)), one.key.cmp(&other));
    });
}

#[test]
fn current_records_are_read_as_they_were_written() {
    let attached = proptest::collection::vec(".{0,20}", 0..3);
    let strategy = (any::<[u8; 16]>(), 0..10i32, ".{0,20}", ".{0,40}", any::<i64>(), attached, ".{0,20}");
    super::check(&strategy, |(run, status, start_request_id, first_run_id, start_time, attached_request_ids, chain_request_id)| {
        let run_id = Bytes::copy_from_slice(&run);
        let record = CurrentRecord { run_id, status, start_request_id, first_run_id, start_time, attached_request_ids, chain_request_id };
        current_round_trips(&record);
        assert_eq!(record.run(), RunId(Uuid(run)));
    });
}

#[test]
fn tokens_come_back_as_they_went() {
    let strategy = (run_key(), any::<(i64, i64, i32, i64)>(), ".{0,12}");
    super::check(&strategy, |(run, (scheduled_event_id, started_event_id, attempt, started_time), activity_id)| {
        let token = TaskToken {
            namespace_id: Bytes::copy_from_slice(&run.workflow.namespace.0.0),
            workflow_id: run.workflow.workflow_id.clone(),
            run_id: Bytes::copy_from_slice(&run.run.0.0),
            scheduled_event_id,
            started_event_id,
            attempt,
            started_time,
            activity_id,
        };
        token_round_trips(&token);
        assert_eq!(token.run_key(), Some(run));
    });
}

/// A token from outside is either one of ours or none: never a panic, never another run.
#[test]
fn any_bytes_are_a_token_or_none() {
    super::check(&vec(any::<u8>(), 0..80), |bytes| {
        if let Some(token) = TaskToken::parse(&Bytes::from(bytes)) {
            assert!(token.run_key().is_some());
            token_round_trips(&token);
        }
    });
}

#[test]
fn other_keys_are_read_as_they_were_written() {
    let strategy = (run_key(), 0..i64::MAX, any::<(u8, u64)>());
    super::check(&strategy, |(run, at, (kind, number))| {
        let slot = run.workflow.slot();
        assert_eq!(keys::parse_deadline(&keys::deadline(slot, Timestamp(at), run.run)), Some((Timestamp(at), run.run)));
        assert_eq!(keys::parse_state(&keys::state(slot, run.run, kind, number)), Some((kind, number)));
        assert_eq!(keys::parse_outbox(&keys::outbox(slot, run.run, number)), Some((run.run, number)));
        assert_eq!(RunId::parse(&run.run.to_string()), Some(run.run));
    });
}

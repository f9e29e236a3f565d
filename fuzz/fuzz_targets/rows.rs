//! Any bytes as rows of the store: as all rows of a run, which either make no state or one that can be asked, written, and examined;
//! and as rows of every other table.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use prost::Message;
use sempre_core::{
    RunId,
    audit::Audit,
    flow::{FlowRecord, RuleRecord},
    ids::Uuid,
    keys::{self, OfferRecord, OutboxRecord, RunRecord},
    schedule,
    state::{AttemptLog, State},
    transition::CurrentRecord,
    visibility,
};

/// Kinds of rows of a run.
const KINDS: [u8; 18] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 13, 14, 15, 20, 21, 140];

/// A record that decodes is encoded to one that decodes to the same.
fn same<M: Message + Default + PartialEq>(value: &Bytes) -> Option<M> {
    let record = M::decode(value.clone()).ok()?;
    let again = M::decode(record.encode_to_vec().as_slice()).expect("what was encoded");
    assert!(again == record || again.encode_to_vec() == record.encode_to_vec(), "a record is not what was written of it");
    Some(record)
}

/// Kind (1), number (1), length (2), value; then the next.
fn run(mut data: &[u8]) {
    let mut rows = Vec::new();
    while let Some((&[kind, number, low, high], rest)) = data.split_first_chunk::<4>() {
        let len = usize::from(high) << 8 | usize::from(low);
        let (value, rest) = rest.split_at(len.min(rest.len()));
        data = rest;
        let kind = if kind < 0x80 { KINDS[usize::from(kind) % KINDS.len()] } else { kind };
        rows.push((kind, u64::from(number), Bytes::copy_from_slice(value)));
    }
    let run = RunId(Uuid([7; 16]));
    if let Ok((mut state, _)) = State::load(rows.clone()) {
        let _ = state.size();
        assert!(state.take_rows().is_empty(), "what was loaded is clean");
    }
    if let Ok(mut audit) = Audit::new(run, rows.clone()) {
        for (_, _, frame) in rows.into_iter().filter(|(kind, ..)| *kind > 200) {
            audit.event(frame);
        }
        let row = visibility::Row::of(audit.execution());
        let _ = (row.record.map(|record| record.to_api()), audit.offers(), audit.finish());
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((what, rest)) = data.split_first() else { return };
    if what % 2 == 0 {
        return run(rest);
    }
    let (key, value) = rest.split_at(usize::from(what / 2).min(rest.len()));
    let _ = (keys::parse_run(key), keys::parse_state(key), keys::parse_outbox(key), keys::parse_deadline(key), keys::parse_offer(key));
    let _ = (keys::schedules::parse(key), keys::schedules::parse_due(key), keys::schedules::parse_key(key));
    sempre_engine::fuzzing::rows(key, value);
    let value = Bytes::copy_from_slice(value);
    if let Some(record) = same::<RunRecord>(&value) {
        let _ = record.workflow();
    }
    if let Some(record) = same::<CurrentRecord>(&value) {
        let _ = record.run();
    }
    if let (Some(record), Some(key)) = (same::<OfferRecord>(&value), keys::parse_offer(key)) {
        let _ = record.offer(key);
    }
    if let Some(record) = same::<OutboxRecord>(&value) {
        let _ = record.message();
    }
    if let Some(row) = same::<visibility::Row>(&value) {
        let _ = row.workflow();
    }
    same::<FlowRecord>(&value);
    same::<RuleRecord>(&value);
    same::<AttemptLog>(&value);
    let mut frames = value.clone();
    while let Ok(Some(frame)) = sempre_api::next_frame(&mut frames) {
        let _ = sempre_api::frame_body(frame);
    }
    let now = sempre_core::Timestamp(1_700_000_000_000_000_000);
    if let (Some(definition), Some(state)) = (same::<schedule::state::Definition>(&value), same::<schedule::state::State>(&value)) {
        let mut schedule = schedule::Schedule::load(definition, state, &sempre_engine::zones::Database);
        let _ = (schedule::describe(&schedule, now), schedule::list_entry(&schedule, now), schedule.wake_at(now), schedule.size());
        schedule.advance(now);
    }
});

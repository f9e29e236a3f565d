//! Rows of table Notice that hold alerts, by the first byte of their keys; all are written by the runner.
//!
//! | key | value |
//! |---|---|
//! | `c` | the number (8 bytes) of the notice up to which all were judged |
//! | `a`, number of the alert (8) | [`AlertRecord`] |
//! | `r`, [`memory`](super::rule::RuleRecord::memory) of a rule (16), run id (16) | nothing: the rule has told of the open run |
//! | `l`, memory of a rule (16), run id (16) | nothing: the rule could not tell of the open run, and has counted it |
//! | `s`, rule (16) | [`Standing`] |
//!
//! Numbers of alerts are not used twice: the newest row stays, and a number is part of the cursor's row too (8 bytes more).

use bytes::Bytes;
use prost::Message;
use sempre_core::{RunId, ids::Uuid};
use sempre_store::{CommitBatch, Store, StoreError, Table};

use super::{
    memory::Kind,
    state::{AlertRecord, Change, Standing, State},
};

const ALERT: u8 = b'a';
const CURSOR: &[u8] = b"c";
const LEFT_OUT: u8 = b'l';
const RAISED: u8 = b'r';
const STANDING: u8 = b's';
/// Rows read at once.
const ROWS: usize = 1000;

fn key(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[kind], parts.concat().as_slice()].concat()
}

/// The first byte of rows of runs.
fn first(kind: Kind) -> u8 {
    match kind {
        Kind::Raised => RAISED,
        Kind::LeftOut => LEFT_OUT,
    }
}

/// Adds a change to a commit. `last`: the greatest number of an alert that the commit knows.
pub(super) fn write(batch: &mut CommitBatch, change: &Change, last: u64) {
    match change {
        Change::Cursor(to) => batch.put(Table::Notice, CURSOR, &[to.to_be_bytes(), last.to_be_bytes()].concat()),
        Change::Put(alert) => batch.put(Table::Notice, &key(ALERT, &[&alert.number.to_be_bytes()]), &alert.encode_to_vec()),
        Change::Drop(number) => batch.delete(Table::Notice, &key(ALERT, &[&number.to_be_bytes()])),
        Change::Remember(kind, memory, run) => batch.put(Table::Notice, &key(first(*kind), &[&memory.0, &run.0.0]), &[]),
        Change::Forget(kind, memory, run) => batch.delete(Table::Notice, &key(first(*kind), &[&memory.0, &run.0.0])),
        Change::Standing(rule, standing) if standing.is_empty() => batch.delete(Table::Notice, &key(STANDING, &[&rule.0])),
        Change::Standing(rule, standing) => batch.put(Table::Notice, &key(STANDING, &[&rule.0]), &standing.encode_to_vec()),
    }
}

/// Reads everything.
pub(super) async fn load(store: &dyn Store) -> Result<State, StoreError> {
    let mut state = State::default();
    if let Some(row) = store.get(Table::Notice, CURSOR).await? {
        let number = |at: usize| row.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        state.cursor = number(0).ok_or_else(damaged)?;
        state.last = number(8).ok_or_else(damaged)?;
    }
    for kind in [ALERT, LEFT_OUT, RAISED, STANDING] {
        let (mut from, to) = (vec![kind], [kind + 1]);
        loop {
            let rows = store.scan(Table::Notice, &from, &to, ROWS).await?;
            let Some((last, _)) = rows.last() else { break };
            from = [last.as_ref(), &[0]].concat();
            for (key, value) in rows {
                // The others must not wait for one. Its number is not given again.
                match read(kind, &key, value) {
                    Some(change) => state.apply(change),
                    None => tracing::error!(?key, "a row of alerts is damaged and is left alone"),
                }
                if let Some(number) = key.get(1..).filter(|_| kind == ALERT).and_then(|number| number.try_into().ok()) {
                    state.last = state.last.max(u64::from_be_bytes(number));
                }
            }
        }
    }
    Ok(state)
}

fn damaged() -> StoreError {
    StoreError::Failed { reason: "a row of alerts is damaged".into() }
}

pub(crate) fn read(kind: u8, key: &[u8], value: Bytes) -> Option<Change> {
    let id = |from: usize| Some(Uuid(key.get(from..from + 16)?.try_into().ok()?));
    match kind {
        ALERT => Some(Change::Put(Box::new(AlertRecord::decode(value).ok()?))),
        LEFT_OUT => Some(Change::Remember(Kind::LeftOut, id(1)?, RunId(id(17)?))),
        RAISED => Some(Change::Remember(Kind::Raised, id(1)?, RunId(id(17)?))),
        _ => Some(Change::Standing(id(1)?, Standing::decode(value).ok()?)),
    }
}

//! Keys of schedules: all schedules of a namespace are in one slot, so that a list is one scan in the order of ids.
//!
//! | key after the slot (2 bytes, big-endian) | value |
//! |---|---|
//! | 1, namespace id (16), schedule id | [`crate::schedule::state::Definition`] |
//! | 2, namespace id (16), schedule id | [`crate::schedule::state::State`] |
//! | 3, time (8), namespace id (16), schedule id | empty: look at the schedule at this time |
//! | 4, namespace id (16), schedule id | empty: the schedule owes a start or a stop |

use alloc::{string::String, vec::Vec};

use crate::{NamespaceId, SlotId, Timestamp, WorkflowKey, ids::Uuid};

const DEFINITION: u8 = 1;
const STATE: u8 = 2;
const DUE: u8 = 3;
const OWES: u8 = 4;

/// One schedule.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ScheduleKey {
    /// Its namespace.
    pub namespace: NamespaceId,
    /// Its id.
    pub schedule_id: String,
}

/// The slot of a namespace's schedules.
pub fn slot_of_schedules(namespace: NamespaceId) -> SlotId {
    WorkflowKey { namespace, workflow_id: String::new() }.slot()
}

fn begin(slot: SlotId, kind: u8) -> Vec<u8> {
    let mut key = slot.0.to_be_bytes().to_vec();
    key.push(kind);
    key
}

fn of_schedule(kind: u8, key: &ScheduleKey) -> Vec<u8> {
    let mut row = of_namespace(kind, key.namespace);
    row.extend_from_slice(key.schedule_id.as_bytes());
    row
}

fn of_namespace(kind: u8, namespace: NamespaceId) -> Vec<u8> {
    let mut row = begin(slot_of_schedules(namespace), kind);
    row.extend_from_slice(&namespace.0.0);
    row
}

/// What a row of a schedule is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// What a client has said.
    Definition,
    /// What the schedule remembers.
    State,
    /// When to look at it.
    Due(Timestamp),
    /// It owes something.
    Owes,
}

/// Any row, and its schedule.
pub fn parse(key: &[u8]) -> Option<(Row, ScheduleKey)> {
    let row = match *key.get(2)? {
        DEFINITION => Row::Definition,
        STATE => Row::State,
        OWES => Row::Owes,
        DUE => return parse_due(key).map(|(at, schedule)| (Row::Due(at), schedule)),
        _ => return None,
    };
    Some((row, parse_schedule(key.get(3..)?)?))
}

fn parse_schedule(rest: &[u8]) -> Option<ScheduleKey> {
    let (namespace, id) = rest.split_first_chunk::<16>()?;
    Some(ScheduleKey { namespace: NamespaceId(Uuid(*namespace)), schedule_id: String::from_utf8(id.to_vec()).ok()? })
}

/// What a client has said of a schedule.
pub fn definition(key: &ScheduleKey) -> Vec<u8> {
    of_schedule(DEFINITION, key)
}

/// What a schedule remembers.
pub fn state(key: &ScheduleKey) -> Vec<u8> {
    of_schedule(STATE, key)
}

/// When to look at a schedule.
pub fn due(key: &ScheduleKey, at: Timestamp) -> Vec<u8> {
    let mut row = due_from(slot_of_schedules(key.namespace), at);
    row.extend_from_slice(&key.namespace.0.0);
    row.extend_from_slice(key.schedule_id.as_bytes());
    row
}

/// That a schedule owes something.
pub fn owes(key: &ScheduleKey) -> Vec<u8> {
    of_schedule(OWES, key)
}

/// First key of a slot's due rows at or after a time.
pub fn due_from(slot: SlotId, at: Timestamp) -> Vec<u8> {
    let mut row = begin(slot, DUE);
    row.extend_from_slice(&(at.0.max(0) as u64).to_be_bytes());
    row
}

/// The end of a slot's due rows, and the first key of its rows of what is owed; and the end of those.
pub fn owed_range(slot: SlotId) -> (Vec<u8>, Vec<u8>) {
    (begin(slot, OWES), begin(slot, OWES + 1))
}

/// First key of a namespace's definitions behind a schedule id, and their end.
pub fn definitions_after(namespace: NamespaceId, after: &str) -> (Vec<u8>, Vec<u8>) {
    let mut from = definition(&ScheduleKey { namespace, schedule_id: after.into() });
    if !after.is_empty() {
        from.push(0);
    }
    let mut to = of_namespace(DEFINITION, namespace);
    // The next greater number of 16 bytes, or the next kind of rows.
    while to.len() > 3 && to.last() == Some(&u8::MAX) {
        to.pop();
    }
    if let Some(last) = to.last_mut() {
        *last += 1;
    }
    (from, to)
}

/// Time and schedule of a due row.
pub fn parse_due(key: &[u8]) -> Option<(Timestamp, ScheduleKey)> {
    let rest = key.get(2..)?.strip_prefix(&[DUE])?;
    let (at, rest) = rest.split_first_chunk::<8>()?;
    Some((Timestamp(u64::from_be_bytes(*at) as i64), parse_schedule(rest)?))
}

/// Schedule of any other row.
pub fn parse_key(key: &[u8]) -> Option<ScheduleKey> {
    parse_schedule(key.get(3..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: u8, id: &str) -> ScheduleKey {
        ScheduleKey { namespace: NamespaceId(Uuid([namespace; 16])), schedule_id: id.into() }
    }

    #[test]
    fn keys_are_read_as_they_were_written() {
        let one = key(7, "ü/x");
        assert_eq!(parse_due(&due(&one, Timestamp(99))), Some((Timestamp(99), one.clone())));
        for row in [definition(&one), state(&one), owes(&one)] {
            assert_eq!(parse_key(&row), Some(one.clone()));
            assert_eq!(parse_due(&row), None);
        }
        assert_eq!(parse_key(&[0; 10]), None);
        let rows = [(definition(&one), Row::Definition), (state(&one), Row::State), (owes(&one), Row::Owes)];
        for (key, row) in rows.into_iter().chain([(due(&one, Timestamp(99)), Row::Due(Timestamp(99)))]) {
            assert_eq!(parse(&key), Some((row, one.clone())));
        }
        assert_eq!((parse(&[0, 0, 9, 1]), parse(&[0])), (None, None));
    }

    #[test]
    fn ranges_hold_what_they_should() {
        for namespace in [0, 7, 255] {
            let (from, to) = definitions_after(NamespaceId(Uuid([namespace; 16])), "");
            let first = definition(&key(namespace, "a"));
            assert!(from <= first && first < to && state(&key(namespace, "a")) >= to);
            let (from, _) = definitions_after(NamespaceId(Uuid([namespace; 16])), "a");
            assert!(first < from && from <= definition(&key(namespace, "a\0")));
        }
        let slot = slot_of_schedules(key(1, "").namespace);
        let (from, to) = owed_range(slot);
        assert!(from <= owes(&key(1, "")) && owes(&key(1, "zzz")) < to);
        assert!(due_from(slot, Timestamp(5)) <= due(&key(1, "a"), Timestamp(5)));
        assert!(due(&key(1, "a"), Timestamp(5)) < due_from(slot, Timestamp(6)) && due_from(slot, Timestamp(i64::MAX)) < from);
    }
}

//! Schedules out of the store.

use prost::Message as _;
use sempre_core::{
    Refusal, SlotId, Timestamp,
    keys::schedules::{self as keys, ScheduleKey},
    schedule::{
        Schedule, UNUSABLE,
        state::{Definition, State},
    },
};
use sempre_store::{Store, StoreError, Table};

use crate::zones::Database;

/// Why a schedule could not be had.
pub(crate) enum LoadError {
    Store(StoreError),
    /// A row is missing, or says nothing.
    Damaged,
}

impl From<StoreError> for LoadError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// What clients hear of a damaged schedule; it can be deleted.
pub(crate) fn damaged() -> Refusal {
    Refusal::FailedPrecondition(format!("{UNUSABLE}: its rows are damaged"))
}

/// A schedule out of its rows. `Ok(None)`: there is none.
pub(crate) async fn load(store: &dyn Store, key: &ScheduleKey) -> Result<Option<Schedule>, LoadError> {
    let Some(definition) = store.get(Table::Schedule, &keys::definition(key)).await? else { return Ok(None) };
    let Some(state) = store.get(Table::Schedule, &keys::state(key)).await? else { return Err(LoadError::Damaged) };
    match (Definition::decode(definition), State::decode(state)) {
        (Ok(definition), Ok(state)) => Ok(Some(Schedule::load(definition, state, &Database))),
        _ => Err(LoadError::Damaged),
    }
}

/// The first due rows of a slot, up to a time.
pub(super) async fn due(store: &dyn Store, slot: SlotId, to: Timestamp, most: usize) -> Result<Vec<(Timestamp, ScheduleKey)>, StoreError> {
    let to = keys::due_from(slot, Timestamp(to.0.saturating_add(1)));
    let rows = store.scan(Table::Schedule, &keys::due_from(slot, Timestamp(0)), &to, most).await?;
    Ok(rows.iter().filter_map(|(key, _)| keys::parse_due(key)).collect())
}

/// When a slot is to be looked at next.
pub(super) async fn next_due(store: &dyn Store, slot: SlotId) -> Result<Option<Timestamp>, StoreError> {
    Ok(due(store, slot, Timestamp(i64::MAX - 1), 1).await?.first().map(|(at, _)| *at))
}

/// Schedules of a slot that owe something, behind `after`.
pub(super) async fn owing(
    store: &dyn Store,
    slot: SlotId,
    after: Option<&ScheduleKey>,
    most: usize,
) -> Result<Vec<ScheduleKey>, StoreError> {
    let (mut from, to) = keys::owed_range(slot);
    if let Some(after) = after {
        from = keys::owes(after);
        from.push(0);
    }
    let rows = store.scan(Table::Schedule, &from, &to, most).await?;
    Ok(rows.iter().filter_map(|(key, _)| keys::parse_key(key)).collect())
}

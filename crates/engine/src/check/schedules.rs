//! The rows of schedules of one slot, held against each other.
//!
//! - definition and state are there together, can be read, name the schedule of their key, and are in its namespace's slot;
//! - there is one due row, at the time that the state says, or none when it says none;
//! - a schedule that owes something has the row that says so, and no other has;
//! - its spec can be used here: the time zone is known.
//!
//! A due row without a schedule is no damage: it is what a damaged schedule leaves that was deleted, and goes when it is
//! due.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use sempre_core::{
    Timestamp,
    audit::Finding,
    keys::schedules::{self as keys, Row, ScheduleKey},
    schedule::{
        Schedule,
        state::{Definition, State},
    },
};
use sempre_store::{StoreError, Table};

use super::Slot;
use crate::zones::Database;

/// Rows of one slot; definitions and states come first in the order of keys, so that only times are kept.
#[derive(Default)]
struct Rows {
    definitions: BTreeMap<ScheduleKey, Definition>,
    states: BTreeMap<ScheduleKey, State>,
    due: BTreeMap<ScheduleKey, Vec<Timestamp>>,
    owes: BTreeSet<ScheduleKey>,
    /// Told already.
    damaged: BTreeSet<ScheduleKey>,
}

impl Slot<'_> {
    pub(super) async fn schedules(&mut self) -> Result<(), StoreError> {
        let mut rows = Rows::default();
        for (key, value) in self.rows(Table::Schedule).await? {
            let Some((row, schedule)) = keys::parse(&key) else {
                self.damaged("schedule", &key);
                continue;
            };
            match row {
                Row::Definition => match Definition::decode(value) {
                    Ok(definition) => drop(rows.definitions.insert(schedule, definition)),
                    Err(error) => self.of_schedule(&mut rows.damaged, &schedule, format!("its definition cannot be read: {error}")),
                },
                Row::State => match State::decode(value) {
                    Ok(state) => drop(rows.states.insert(schedule, state)),
                    Err(error) => self.of_schedule(&mut rows.damaged, &schedule, format!("its state cannot be read: {error}")),
                },
                Row::Due(at) => rows.due.entry(schedule).or_default().push(at),
                Row::Owes => drop(rows.owes.insert(schedule)),
            }
        }
        for (key, definition) in core::mem::take(&mut rows.definitions) {
            self.counts.schedules += 1;
            match rows.states.remove(&key) {
                Some(state) => self.schedule(&key, definition, state, &mut rows),
                None if rows.damaged.contains(&key) => {}
                None => self.of_schedule(&mut rows.damaged, &key, "it has a definition and no state".into()),
            }
        }
        for key in core::mem::take(&mut rows.states).into_keys() {
            if !rows.damaged.contains(&key) {
                self.of_schedule(&mut rows.damaged, &key, "it has a state and no definition".into());
            }
        }
        Ok(())
    }

    fn of_schedule(&mut self, damaged: &mut BTreeSet<ScheduleKey>, key: &ScheduleKey, detail: String) {
        damaged.insert(key.clone());
        self.problem(None, Finding::new(format!("schedule {:?}", key.schedule_id), detail));
    }

    fn schedule(&mut self, key: &ScheduleKey, definition: Definition, state: State, rows: &mut Rows) {
        let mut wrong = Vec::new();
        if definition.namespace_id.as_ref() != key.namespace.0.0 || definition.schedule_id != key.schedule_id {
            wrong.push(format!("its definition is that of {:?}", definition.schedule_id));
        }
        let slot = keys::slot_of_schedules(key.namespace).0;
        if slot != self.slot {
            wrong.push(format!("is in slot {}, belongs into {slot}", self.slot));
        }
        let due = rows.due.remove(key).unwrap_or_default();
        let expected = (state.wake_at != 0).then_some(Timestamp(state.wake_at));
        if due.as_slice() != expected.as_slice() {
            wrong.push(format!("wants to be looked at at {expected:?}, its rows say {due:?}"));
        }
        let (says, has) = (state.owes, rows.owes.contains(key));
        if says != has {
            wrong.push(format!("owes something: {says}, there is a row that says so: {has}"));
        }
        let schedule = Schedule::load(definition, state, &Database);
        if schedule.owes() && !says {
            wrong.push("owes a start, a stop or a look, and does not say so".into());
        }
        if let Some(why) = schedule.unusable() {
            wrong.push(format!("cannot be used here: {why}"));
        }
        for detail in wrong {
            self.of_schedule(&mut rows.damaged, key, detail);
        }
    }
}

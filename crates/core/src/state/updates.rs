//! Updates of a run as history has them: admitted (only by a reset), accepted, completed.

use alloc::{collections::BTreeMap, string::String, sync::Arc};

use prost::Message;

/// Updates of a run that are in history. Costs nothing in a run that has none; copies share.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Updates(Option<Arc<Table>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    /// By number of their row: the first event of each.
    rows: BTreeMap<i64, UpdateInfo>,
    /// Number by update id.
    ids: BTreeMap<String, i64>,
    /// How many are completed.
    completed: usize,
    /// How many are accepted and not completed.
    running: usize,
}

/// One update (row kind 11).
#[derive(Clone, PartialEq, Message)]
pub struct UpdateInfo {
    /// Its id.
    #[prost(string, tag = "1")]
    pub update_id: String,
    /// Its UpdateAdmitted event; 0 = none (admission leaves no event except after a reset).
    #[prost(int64, tag = "2")]
    pub admitted_event_id: i64,
    /// Its UpdateAccepted event; 0 = not accepted.
    #[prost(int64, tag = "3")]
    pub accepted_event_id: i64,
    /// Its UpdateCompleted event, which has the outcome; 0 = not completed.
    #[prost(int64, tag = "4")]
    pub completed_event_id: i64,
}

impl UpdateInfo {
    /// Accepted, and the workflow owes an outcome.
    pub fn is_running(&self) -> bool {
        self.accepted_event_id != 0 && self.completed_event_id == 0
    }
}

impl Table {
    fn count(&mut self, before: (bool, bool), after: (bool, bool)) {
        self.completed = self.completed + usize::from(after.0) - usize::from(before.0);
        self.running = self.running + usize::from(after.1) - usize::from(before.1);
    }
}

/// Completed, running.
fn stage(info: &UpdateInfo) -> (bool, bool) {
    (info.completed_event_id != 0, info.is_running())
}

impl Updates {
    /// No update is in history.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Updates in history.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.rows.len())
    }

    /// How many of them are completed.
    pub fn completed(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.completed)
    }

    /// How many of them are accepted and not completed.
    pub fn running(&self) -> usize {
        self.0.as_ref().map_or(0, |table| table.running)
    }

    /// Number of the row of the update of that id, if it is admitted and nothing else.
    pub(crate) fn only_admitted(&self, update_id: &str) -> Option<i64> {
        let number = *self.0.as_ref()?.ids.get(update_id)?;
        self.row(number).filter(|info| info.accepted_event_id == 0).map(|_| number)
    }

    /// Numbers and ids of those that are admitted and nothing else, in their order.
    pub(crate) fn all_only_admitted(&self) -> impl Iterator<Item = (i64, &str)> {
        let rows = self.0.iter().flat_map(|table| table.rows.iter());
        rows.filter(|(_, info)| info.accepted_event_id == 0).map(|(number, info)| (*number, info.update_id.as_str()))
    }

    /// The update of that id.
    pub fn get(&self, update_id: &str) -> Option<&UpdateInfo> {
        let table = self.0.as_ref()?;
        table.rows.get(table.ids.get(update_id)?)
    }

    /// All of them, in the order in which they came into history.
    pub fn iter(&self) -> impl Iterator<Item = &UpdateInfo> {
        self.0.iter().flat_map(|table| table.rows.values())
    }

    /// The row of that number.
    pub(super) fn row(&self, number: i64) -> Option<&UpdateInfo> {
        self.0.as_ref()?.rows.get(&number)
    }

    /// Puts the row of that number back, which was read.
    pub(super) fn insert(&mut self, number: i64, info: UpdateInfo) {
        let table = Arc::make_mut(self.0.get_or_insert_default());
        table.count((false, false), stage(&info));
        table.ids.insert(info.update_id.clone(), number);
        table.rows.insert(number, info);
    }

    /// Changes the update of that id; one that is new begins with event `first`. Returns its number.
    pub(super) fn change(&mut self, update_id: &str, first: i64, change: impl FnOnce(&mut UpdateInfo)) -> i64 {
        let table = Arc::make_mut(self.0.get_or_insert_default());
        let number = *table.ids.entry(update_id.into()).or_insert(first);
        let info = table.rows.entry(number).or_insert_with(|| UpdateInfo { update_id: update_id.into(), ..Default::default() });
        let before = stage(info);
        change(info);
        let after = stage(info);
        table.count(before, after);
        number
    }
}

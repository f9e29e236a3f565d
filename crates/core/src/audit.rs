//! Holds what is stored of a run against its history: the proof that history alone determines the derived half.
//!
//! [`Audit`] is given a run's state rows and then its events, one by one; it keeps no event. What must hold:
//!
//! 1. the rows make a state, of the workflow in whose slot they lie;
//! 2. event ids begin at 1 and have no gaps;
//! 3. all events together rebuild the derived half of the rows exactly;
//! 4. the two halves speak of the same task and the same activities;
//! 5. what the run waits for is covered: its deadline row is not later than the first thing that is due, and
//!    a task that nobody has was offered.
//!
//! It only looks; repairing is not its business.

use alloc::{borrow::ToOwned, format, string::String, vec::Vec};
use core::fmt::Debug;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::history::HistoryEvent;

use crate::{
    Execution, NamespaceId, RunId, RunKey, Timestamp, WorkflowKey, deadline,
    ids::Uuid,
    nexus,
    state::{
        Derived, State,
        rows::{Dirty, LoadError},
    },
};

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which part of the run: a field's path such as `main.history_size`, or `events`, `task`, `deadline`.
    pub what: String,
    /// What was found, with both sides where there are two.
    pub detail: String,
}

impl Finding {
    /// A finding about `what`.
    pub fn new(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { what: what.into(), detail: detail.into() }
    }
}

/// An offer row that the run says it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnOffer {
    /// The Scheduled event of the task (for a task in memory only: the id it would get).
    pub scheduled_event_id: i64,
    /// The stamp that the row must carry.
    pub stamp: u32,
    /// An activity's, else the workflow task's.
    pub activity: bool,
}

/// One run under examination.
#[derive(Debug)]
pub struct Audit {
    run: Execution,
    rebuilt: Derived,
    findings: Vec<Finding>,
    /// History is damaged: what follows from it means nothing.
    broken: bool,
}

/// Findings of one kind that are told one by one; a run with more is damaged as a whole.
const DIFFERENCES_MAX: usize = 20;

impl Audit {
    /// Begins with the rows of a run (kind, number, value). `Err` when they make no state.
    pub fn new(run: RunId, rows: Vec<(u8, u64, Bytes)>) -> Result<Self, LoadError> {
        let (state, _) = State::load(rows.clone())?;
        let namespace = state.progress.main.namespace_id.as_ref().try_into().unwrap_or_default();
        let workflow =
            WorkflowKey { namespace: NamespaceId(Uuid(namespace)), workflow_id: state.derived.start.event().workflow_id.clone() };
        let run = Execution::load(RunKey { workflow, run }, rows)?;
        Ok(Self { run, rebuilt: Derived::default(), findings: Vec::new(), broken: false })
    }

    /// Which run the rows say they are.
    pub fn key(&self) -> &RunKey {
        self.run.key()
    }

    /// The run as its rows have it.
    pub fn execution(&self) -> &Execution {
        &self.run
    }

    /// The next frame of its history. Returns the event's id, 0 when it cannot be read.
    pub fn event(&mut self, frame: Bytes) -> i64 {
        if self.broken {
            return 0;
        }
        let bytes = frame.len();
        let event = sempre_api::frame_body(frame).and_then(HistoryEvent::decode);
        let expected = self.rebuilt.main.next_event_id.max(1);
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                self.damaged(format!("event {expected} cannot be read: {error}"));
                return 0;
            }
        };
        if event.event_id != expected {
            self.damaged(format!("event {expected} is missing: event {} follows the one before it", event.event_id));
            return event.event_id;
        }
        if !self.rebuilt.is_open() {
            self.damaged(format!("event {} follows the close event", event.event_id));
            return event.event_id;
        }
        self.rebuilt.apply_event(&event, bytes, &mut Dirty::default());
        event.event_id
    }

    /// History cannot be read on; nothing else is derived from it.
    pub fn damaged(&mut self, detail: String) {
        self.broken = true;
        self.findings.push(Finding::new("events", detail));
    }

    /// Offer rows that must exist.
    pub fn offers(&self) -> Vec<OwnOffer> {
        let state = self.run.state();
        let mut offers = Vec::new();
        if !self.run.is_open() {
            return offers;
        }
        if let Some(task) = state.progress.main.task.as_deref().filter(|task| task.offered_at != 0) {
            offers.push(OwnOffer { scheduled_event_id: task.scheduled_event_id, stamp: task.stamp, activity: false });
        }
        for (id, progress) in &state.progress.activities {
            if progress.offered_at != 0 {
                offers.push(OwnOffer { scheduled_event_id: *id, stamp: progress.stamp, activity: true });
            }
        }
        offers
    }

    /// After the last event: everything that does not hold.
    pub fn finish(mut self) -> Vec<Finding> {
        if !self.broken {
            let stored = &self.run.state().derived;
            self.rebuilt.reset_points.as_written_before(&stored.reset_points);
            self.rebuilt.main.as_written_before(&stored.main);
            differences(stored, &self.rebuilt, &mut self.findings);
        }
        self.halves();
        self.waits();
        self.findings
    }

    /// Both halves speak of the same things.
    fn halves(&mut self) {
        if !self.run.is_open() {
            return;
        }
        let State { derived, progress, .. } = self.run.state();
        let (main, task) = (&derived.main, progress.main.task.as_deref());
        // A retry keeps the id that it was scheduled with while news take that id.
        let in_history = task.filter(|task| !task.is_virtual());
        let pending = in_history.map_or((0, 0), |task| (task.scheduled_event_id, task.started_event_id));
        let told = (main.task_scheduled_event_id, main.task_started_event_id);
        let mut found = Vec::new();
        if pending != told {
            found.push(Finding::new("task", format!("pending task has events {pending:?}, history has {told:?} (scheduled, started)")));
        }
        for id in derived.activities.keys().filter(|id| !progress.activities.contains_key(id)) {
            found.push(Finding::new(format!("activities[{id}]"), "pending by history, but there is no row of its attempts"));
        }
        for id in progress.activities.keys().filter(|id| !derived.activities.contains_key(id)) {
            found.push(Finding::new(format!("attempts[{id}]"), "there is a row of its attempts, but by history it is not pending"));
        }
        // An operation that is not started is asked for, or will be.
        for id in derived.operations.keys() {
            let asked = progress.operations.get(id).is_some_and(|requests| requests.start.message != 0 || requests.start.next_time != 0);
            let known = nexus::pending(self.run.state(), *id).is_none_or(|info| nexus::started(self.run.state(), info).is_some());
            if !asked && !known {
                found.push(Finding::new(format!("operations[{id}]"), "pending and not started, but nothing asks for its start"));
            }
        }
        for id in progress.operations.keys().filter(|id| !derived.operations.contains_key(id)) {
            found.push(Finding::new(format!("requests[{id}]"), "there is a row of its requests, but by history it is not pending"));
        }
        self.findings.append(&mut found);
    }

    /// Everything that waits for the clock or for a worker is awaited.
    fn waits(&mut self) {
        let armed = self.run.armed_deadline();
        let due = deadline::on_the_wall(self.run.state());
        let late = match (armed, due) {
            (Some(armed), Some(due)) => armed > due,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if late {
            self.findings.push(Finding::new("deadline", format!("due {}, but to be woken {}", moment(due), moment(armed))));
        }
    }
}

fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("at {} ns", at.0))
}

/// Tells the parts of the derived half in which `stored` and `rebuilt` are not equal.
fn differences(stored: &Derived, rebuilt: &Derived, found: &mut Vec<Finding>) {
    if stored == rebuilt {
        return;
    }
    let before = found.len();
    lines("", stored, rebuilt, found);
    if found.len() == before {
        found.push(Finding::new("derived", "stored and rebuilt state are not equal, but print the same"));
    }
}

/// Compares by the pretty text of both sides, whose indentation is the path of a field: every field that a state has
/// or will have takes part.
fn lines(root: &str, stored: &impl Debug, rebuilt: &impl Debug, found: &mut Vec<Finding>) {
    let (stored, rebuilt) = (format!("{stored:#?}"), format!("{rebuilt:#?}"));
    let (stored, rebuilt) = (paths(root, &stored), paths(root, &rebuilt));
    let (mut left, mut right) = (stored.iter().peekable(), rebuilt.iter().peekable());
    let mut told = 0;
    while told < DIFFERENCES_MAX {
        let finding = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
                continue;
            }
            (Some(a), Some(b)) if a.0 == b.0 => {
                let finding = Finding::new(a.0.clone(), format!("stored {}, by history {}", a.1, b.1));
                left.next();
                right.next();
                finding
            }
            (Some(a), _) if !rebuilt.iter().any(|b| a.0 == b.0) => {
                let finding = Finding::new(a.0.clone(), format!("stored {}, not by history", a.1));
                left.next();
                finding
            }
            (_, Some(b)) => {
                let finding = Finding::new(b.0.clone(), format!("by history {}, not stored", b.1));
                right.next();
                finding
            }
            (Some(_), None) => {
                left.next();
                continue;
            }
        };
        found.push(finding);
        told += 1;
    }
}

/// `(path, value)` of each line of a pretty debug text.
fn paths(root: &str, text: &str) -> Vec<(String, String)> {
    let mut path: Vec<(String, usize)> = Vec::new();
    let mut out = Vec::new();
    for line in text.lines() {
        let depth = (line.len() - line.trim_start().len()) / 4;
        let line = line.trim().trim_end_matches(',');
        path.truncate(depth);
        let place = path.last_mut().map_or(0, |(_, count)| core::mem::replace(count, *count + 1));
        let (name, value) = match line.split_once(": ") {
            Some((name, value)) => (name.to_owned(), value),
            None => (format!("{place}"), line),
        };
        let opens = matches!(value.chars().last(), Some('{' | '[' | '('));
        if matches!(value, "{}" | "[]") || matches!(value.chars().next(), Some('}' | ']' | ')')) {
            continue;
        }
        if !opens {
            let names = path.iter().skip(1).map(|(name, _)| name.as_str()).chain([name.as_str()]);
            let joined: Vec<&str> = core::iter::once(root).filter(|root| !root.is_empty()).chain(names).collect();
            out.push((joined.join("."), value.to_owned()));
        }
        while path.len() < depth {
            path.push((String::new(), 0));
        }
        path.push((name, 0));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Main;

    #[test]
    fn what_older_versions_did_not_keep_is_no_difference() {
        let says = |failure: &str| Main { close_failure: failure.into(), ..Default::default() };
        for (stored, left) in [("", ""), ("no route", "no route"), ("no", "no route")] {
            let mut rebuilt = says("no route");
            rebuilt.as_written_before(&says(stored));
            assert_eq!(rebuilt.close_failure, left);
        }
    }

    #[test]
    fn a_difference_is_told_by_the_path_of_its_field() {
        let stored = Derived { main: Main { signal_count: 3, ..Default::default() }, ..Default::default() };
        let mut rebuilt = stored.clone();
        rebuilt.main.signal_count = 4;
        let timer = crate::state::TimerInfo { timer_id: "t: {".into(), started_event_id: 5, fire_at: 1 };
        rebuilt.timers.insert(5, timer);
        let mut found = Vec::new();
        differences(&stored, &rebuilt, &mut found);
        assert_eq!(found[0], Finding::new("main.signal_count", "stored 3, by history 4"));
        assert_eq!(found[1], Finding::new("timers.5.timer_id", "by history \"t: {\", not stored"));
        assert_eq!(found[3], Finding::new("timers.5.fire_at", "by history 1, not stored"));
        assert_eq!(found.len(), 4, "{found:?}");
        let mut none = Vec::new();
        differences(&stored, &stored.clone(), &mut none);
        assert!(none.is_empty());
    }
}

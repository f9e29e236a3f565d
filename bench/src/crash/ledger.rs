//! What the clients know for certain: acknowledged calls, and tasks they were handed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Everything known, by workflow id.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    workflows: BTreeMap<u64, Known>,
    violations: Vec<String>,
    acknowledged: u64,
    unknown: u64,
    /// What calls were told that had no other answer, and how often.
    refusals: BTreeMap<String, u64>,
}

/// Different texts that are kept.
const TEXTS_MAX: usize = 100;

/// What is known of one workflow.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Run id of the acknowledged start.
    pub(crate) run_id: Option<String>,
    /// Request ids of acknowledged signals.
    pub(crate) signals: BTreeSet<String>,
    /// Started event ids of acknowledged workflow task completions.
    pub(crate) completed_tasks: BTreeSet<i64>,
    /// Last acknowledged heartbeat.
    pub(crate) heartbeat: u64,
    /// The activity's completion was acknowledged.
    pub(crate) activity_completed: bool,
    /// The closing completion was acknowledged.
    pub(crate) closed: bool,
    /// Attempts of the activity that were handed out.
    attempts: BTreeSet<i32>,
    /// Workflow tasks that were handed out: started event id and attempt.
    tasks: BTreeSet<(i64, i32)>,
}

/// The workflow id of a number.
pub(crate) fn workflow_id(number: u64) -> String {
    format!("crash-{number:06}")
}

/// The number of a workflow id.
pub(crate) fn number(workflow_id: &str) -> Option<u64> {
    workflow_id.strip_prefix("crash-")?.parse().ok()
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records an acknowledged call.
    pub(crate) fn acknowledged(&self, workflow: u64, record: impl FnOnce(&mut Known)) {
        let mut inner = self.lock();
        inner.acknowledged += 1;
        record(inner.workflows.entry(workflow).or_default());
    }

    /// A call whose answer was lost, or was that it may be tried again: it may have happened or not.
    pub(crate) fn unknown(&self, told: &str) {
        let mut inner = self.lock();
        inner.unknown += 1;
        if inner.refusals.len() < TEXTS_MAX || inner.refusals.contains_key(told) {
            *inner.refusals.entry(told.to_owned()).or_default() += 1;
        }
    }

    /// How many calls have been acknowledged.
    pub(crate) fn acknowledgements(&self) -> u64 {
        self.lock().acknowledged
    }

    /// How many calls were told something with this in it.
    pub(crate) fn refusals_with(&self, text: &str) -> u64 {
        self.lock().refusals.iter().filter(|(told, _)| told.contains(text)).map(|(_, count)| count).sum()
    }

    /// How many calls were acknowledged.
    pub(crate) fn acknowledged_calls(&self) -> u64 {
        self.lock().acknowledged
    }

    /// What calls were told, and how often.
    pub(crate) fn refusals(&self) -> Vec<String> {
        self.lock().refusals.iter().map(|(told, count)| format!("{count} times: {told}")).collect()
    }

    /// An activity attempt was handed out, with the heartbeat it was told.
    pub(crate) fn activity_task(&self, workflow: u64, attempt: i32, told: u64) {
        let mut inner = self.lock();
        let known = inner.workflows.entry(workflow).or_default();
        let heartbeat = known.heartbeat;
        let fresh = known.attempts.insert(attempt);
        if !fresh {
            inner.violations.push(format!("{}: activity attempt {attempt} was handed out twice", workflow_id(workflow)));
        }
        if told < heartbeat {
            inner.violations.push(format!(
                "{}: attempt {attempt} was told heartbeat {told}, but {heartbeat} had been acknowledged",
                workflow_id(workflow)
            ));
        }
    }

    /// A workflow task was handed out.
    pub(crate) fn workflow_task(&self, workflow: u64, started_event_id: i64, attempt: i32) {
        let mut inner = self.lock();
        let fresh = inner.workflows.entry(workflow).or_default().tasks.insert((started_event_id, attempt));
        if !fresh {
            inner
                .violations
                .push(format!("{}: workflow task {started_event_id} attempt {attempt} was handed out twice", workflow_id(workflow)));
        }
    }

    /// Fails if a worker saw something that must not be.
    pub(crate) fn check(&self) -> Result<(), String> {
        let inner = self.lock();
        if inner.violations.is_empty() { Ok(()) } else { Err(inner.violations.join("\n")) }
    }

    /// A copy of what is known of a workflow.
    pub(crate) fn known(&self, workflow: u64) -> Known {
        self.lock().workflows.get(&workflow).cloned().unwrap_or_default()
    }

    /// The newest `count` workflows.
    pub(crate) fn recent(&self, count: usize) -> Vec<u64> {
        self.lock().workflows.keys().rev().take(count).copied().collect()
    }

    /// All workflows.
    pub(crate) fn all(&self) -> Vec<u64> {
        self.lock().workflows.keys().copied().collect()
    }

    /// A line of counts.
    pub(crate) fn summary(&self) -> String {
        let inner = self.lock();
        let count = |of: fn(&Known) -> bool| inner.workflows.values().filter(|k| of(k)).count();
        let signals: usize = inner.workflows.values().map(|k| k.signals.len()).sum();
        format!(
            "{} starts, {signals} signals, {} activity completions, {} workflows closed; {} calls acknowledged, {} answers lost",
            count(|k| k.run_id.is_some()),
            count(|k| k.activity_completed),
            count(|k| k.closed),
            inner.acknowledged,
            inner.unknown,
        )
    }
}

//! Flow rules of the namespaces (docs/flow.md): durable records, and the lines of starts that wait (`sempre_core::flow`).
//!
//! Lines are in memory. A shard asks them while it makes a run ([`Gate`]), notes what it writes of runs, and tells when that
//! is on disk; the runner carries out what they say ([`runner`]); after a start, and after a failed commit, they are made
//! out of table Flow ([`load`]).

pub(crate) mod load;
pub(crate) mod runner;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sempre_core::{
    Limits, NamespaceId, NamespaceView, Refusal, RunId, RunKey, Timestamp,
    flow::{Admission, Admitted, FlowProgress, FlowRules, Gate, Order, Rule, RuleRecord, lines::Lines},
    ids::Uuid,
};
use tokio::sync::Notify;

use crate::{
    VirtualTime,
    records::{Change, Records, Shown},
    shards::Here,
    shared::Shared,
    virtual_time::Hold,
};

/// The key of a rule's record.
pub(crate) fn key(namespace: NamespaceId, name: &str) -> Vec<u8> {
    [namespace.0.0.as_slice(), name.as_bytes()].concat()
}

fn namespace_of(key: &[u8]) -> Option<NamespaceId> {
    Some(NamespaceId(Uuid(*key.first_chunk::<16>()?)))
}

/// The rules of a namespace, by name.
pub(crate) fn of_namespace(shown: &Shown<RuleRecord>, namespace: NamespaceId) -> impl Iterator<Item = &Arc<RuleRecord>> {
    shown.range(namespace.0.0.to_vec()..).take_while(move |(key, _)| namespace_of(key) == Some(namespace)).map(|(_, record)| record)
}

/// Puts the records in force, now and after each change.
pub(crate) fn begin(shared: &Arc<Shared>) {
    shared.flow.lines().begin_loading();
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.flow_rules.after_changes(Box::new(move |shown, keys| {
        let Some(shared) = weak.upgrade() else { return };
        let mut namespaces: Vec<NamespaceId> = keys.iter().filter_map(|key| namespace_of(key)).collect();
        namespaces.sort_unstable();
        namespaces.dedup();
        for namespace in namespaces {
            let rules: Arc<FlowRules> =
                of_namespace(shown, namespace).filter_map(|record| Rule::of(record)).map(Arc::new).collect::<Vec<_>>().into();
            // Those that come before the first row is read were there before this process.
            let at_start = shared.flow.begins();
            shared.flow.lines().set_rules(shared.now(), namespace, &rules, at_start);
            shared.namespaces.set_flow(namespace, rules);
        }
        shared.flow.wake();
    }));
    shared.flow.inner().begun = true;
}

/// Forgets the rules of a namespace that is deleted.
pub(crate) async fn forget(rules: &Records<RuleRecord>, namespace: NamespaceId) -> Result<(), Refusal> {
    rules
        .change(|shown| {
            let keys = of_namespace(shown, namespace).map(|record| (key(namespace, &record.rule.clone().unwrap_or_default().name), None));
            Ok((Change { records: keys.collect(), beside: Vec::new() }, ()))
        })
        .await
}

#[derive(Default)]
struct Inner {
    begun: bool,
    /// Time does not jump before the runner has seen what has changed.
    hold: Option<Hold>,
}

/// The lines of all rules, for all parts of the engine.
pub(crate) struct Flow {
    lines: Mutex<Lines>,
    inner: Mutex<Inner>,
    changed: Notify,
    virtual_time: Option<VirtualTime>,
}

impl Flow {
    pub(crate) fn new(virtual_time: Option<VirtualTime>) -> Self {
        Self { lines: Mutex::default(), inner: Mutex::default(), changed: Notify::new(), virtual_time }
    }

    /// Not to be held across an await.
    pub(crate) fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begins(&self) -> bool {
        !self.inner().begun
    }

    /// Has the runner look.
    pub(crate) fn wake(&self) {
        if let Some(virtual_time) = &self.virtual_time {
            self.inner().hold.get_or_insert_with(|| virtual_time.hold());
        }
        self.changed.notify_one();
    }

    /// See [`Lines::note`].
    pub(crate) fn note(&self, run: RunKey, progress: &FlowProgress) {
        self.lines().note(run, progress);
    }

    /// See [`Lines::settled`].
    pub(crate) fn settled(&self, run: RunId) {
        let mut lines = self.lines();
        lines.settled(run);
        let works = lines.has_work();
        drop(lines);
        if works {
            self.wake();
        }
    }

    /// See [`Lines::gone`].
    pub(crate) fn gone(&self, run: RunId) {
        self.lines().gone(run);
        self.wake();
    }

    /// See [`Lines::permits`].
    pub(crate) fn permits(&self, run: RunId, permit: u64) -> bool {
        self.lines().permits(run, permit)
    }

    /// A shard has lost its memory: what is known of its runs is read again.
    pub(crate) fn lose(&self, here: &Here, shard: u32) {
        let mut lines = self.lines();
        lines.begin_loading();
        lines.forget(|run| here.shard_of(run.workflow.slot()) == shard as usize);
    }

    /// A shard is not here any more: its runs count for no line, as far as is known here. `loading`: they were to be read again.
    pub(crate) fn leave(&self, here: &Here, shard: u32, loading: bool) {
        let mut lines = self.lines();
        lines.forget(|run| here.shard_of(run.workflow.slot()) == shard as usize);
        if loading {
            lines.finish_loading();
        }
        drop(lines);
        self.wake();
    }

    /// A shard is taken up, and what is known of its runs is about to be read.
    pub(crate) fn begin_loading(&self) {
        self.lines().begin_loading();
    }

    fn pump(&self, now: Timestamp, max: usize) -> Vec<Order> {
        self.lines().pump(now, max)
    }
}

impl Gate for Shared {
    fn admit(&self, admission: &Admission<'_>) -> Result<Admitted, Refusal> {
        self.flow.admit(admission)
    }

    fn room(&self, namespace: &NamespaceView, limits: &Limits, replaces: bool) -> Result<(), Refusal> {
        if limits.open_runs_max == 0 && limits.storage_bytes_max == 0 {
            return Ok(());
        }
        self.namespaces.usage(namespace.id).room_for_run(namespace, limits, replaces)
    }

    fn room_for_more(&self, namespace: &NamespaceView, limits: &Limits) -> Result<(), Refusal> {
        if limits.storage_bytes_max == 0 {
            return Ok(());
        }
        self.namespaces.usage(namespace.id).room_for_bytes(namespace, limits)
    }
}

impl Flow {
    fn admit(&self, admission: &Admission<'_>) -> Result<Admitted, Refusal> {
        let mut lines = self.lines();
        let admitted = lines.admit(admission)?;
        let works = lines.has_work();
        drop(lines);
        if works {
            self.wake();
        }
        Ok(admitted)
    }
}

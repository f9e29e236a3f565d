//! Alerts: rules about what is to be told, and their delivery to webhooks (docs/alerts.md).
//!
//! | rule | fires | seen by |
//! |---|---|---|
//! | each run | for a run that begins to be selected | every notice, behind a cursor that is committed with the alerts |
//! | list | when the query begins to select runs, for as long as the rule holds back | counts, every few seconds; without `hold` also every notice |
//!
//! One task ([`runner`]) owns all rows of it. An alert is written before it is sent and sent until it is taken: a crash
//! between both sends it again, under the same id.

pub(crate) mod judge;
pub(crate) mod rows;
pub(crate) mod rule;
pub(crate) mod runner;
pub(crate) mod sender;
pub(crate) mod state;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use sempre_core::{NamespaceId, Refusal};
use tokio::sync::Notify;

use self::{rule::RuleRecord, state::State};
use crate::{
    records::{Change, Records, Shown},
    shared::Shared,
};

/// What all parts of the engine see of alerts.
pub(crate) struct Alerts {
    pub(crate) rules: Records<RuleRecord>,
    /// What is committed. Changed by the runner only.
    state: Mutex<State>,
    /// The runner is to look: rules, an alert by hand, the end.
    pub(crate) changed: Notify,
    /// Alerts that somebody asked for: taken by the runner.
    pub(crate) asked: Mutex<Vec<state::Asked>>,
}

impl Alerts {
    pub(crate) fn new(rules: Records<RuleRecord>) -> Self {
        Self { rules, state: Mutex::default(), changed: Notify::new(), asked: Mutex::default() }
    }

    /// Not to be held across an await.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of a rule's record.
pub(crate) fn key(namespace: NamespaceId, name: &str) -> Vec<u8> {
    [namespace.0.0.as_slice(), name.as_bytes()].concat()
}

/// The rules of a namespace, by name.
pub(crate) fn of_namespace(shown: &Shown<RuleRecord>, namespace: NamespaceId) -> impl Iterator<Item = &Arc<RuleRecord>> {
    let prefix = namespace.0.0.to_vec();
    shown.range(prefix.clone()..).take_while(move |(key, _)| key.starts_with(&prefix)).map(|(_, record)| record)
}

/// Has the runner look after each change of the rules.
pub(crate) fn begin(shared: &Arc<Shared>) {
    let weak: Weak<Shared> = Arc::downgrade(shared);
    shared.alerts.rules.after_changes(Box::new(move |_, _| {
        if let Some(shared) = weak.upgrade() {
            shared.alerts.changed.notify_one();
        }
    }));
}

/// Forgets the rules of a namespace that is deleted; the runner takes their rows away.
pub(crate) async fn forget(alerts: &Alerts, namespace: NamespaceId) -> Result<(), Refusal> {
    let decide = |shown: &Shown<RuleRecord>| {
        let records = of_namespace(shown, namespace).map(|record| (key(namespace, record.name()), None));
        Ok((Change { records: records.collect(), beside: Vec::new() }, ()))
    };
    alerts.rules.change(decide).await?;
    match alerts.state().knows(namespace) {
        true => {
            alerts.changed.notify_one();
            Err(Refusal::Unavailable("alerts of the namespace are still being taken away".into()))
        }
        false => Ok(()),
    }
}

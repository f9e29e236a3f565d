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
pub(crate) mod memory;
pub(crate) mod rows;
pub(crate) mod rule;
pub(crate) mod runner;
pub(crate) mod sender;
pub(crate) mod state;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, AtomicI64},
};

use sempre_core::{NamespaceId, Refusal};
use tokio::sync::Notify;

use self::{
    rule::RuleRecord,
    state::{Asked, State},
};
use crate::{
    records::{Change, Records, Shown},
    shared::{STOPPING, Shared},
};

/// What all parts of the engine see of alerts.
pub(crate) struct Alerts {
    pub(crate) rules: Records<RuleRecord>,
    /// What is committed. Changed by the runner only.
    state: Mutex<State>,
    /// The runner is to look: rules, an alert by hand, the end.
    pub(crate) changed: Notify,
    asked: Mutex<AskedFor>,
    /// Settings have declared rules, which calls do not change.
    pub(crate) declared: AtomicBool,
    /// Since when settings hold rules that cannot be put in force, ns; 0: they hold none such.
    pub(crate) file_refused: AtomicI64,
}

/// Alerts that somebody asked for and that wait to be written; more are refused.
const ASKED_MAX: usize = 4096;

/// Taken by the runner.
#[derive(Default)]
struct AskedFor {
    waiting: Vec<Asked>,
    /// Nobody takes them any more.
    closed: bool,
}

impl Alerts {
    pub(crate) fn new(rules: Records<RuleRecord>) -> Self {
        Self {
            rules,
            state: Mutex::default(),
            changed: Notify::new(),
            asked: Mutex::default(),
            declared: AtomicBool::new(false),
            file_refused: AtomicI64::new(0),
        }
    }

    fn asked(&self) -> MutexGuard<'_, AskedFor> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the runner for an alert. It drops what it cannot write.
    pub(crate) fn ask(&self, one: Asked) -> Result<(), Refusal> {
        let mut asked = self.asked();
        if asked.closed {
            return Err(Refusal::Unavailable(STOPPING.into()));
        }
        if asked.waiting.len() >= ASKED_MAX {
            asked.waiting.retain(|asked| !asked.reply.is_closed());
            if asked.waiting.len() >= ASKED_MAX {
                return Err(Refusal::Unavailable("too many alerts have been asked for and wait to be written; try again".into()));
            }
        }
        asked.waiting.push(one);
        drop(asked);
        self.changed.notify_one();
        Ok(())
    }

    /// Takes at most so many of what was asked for, without what nobody waits for any more, and tells whether there is more.
    pub(crate) fn take_asked(&self, most: usize) -> (Vec<Asked>, bool) {
        let mut asked = self.asked();
        let some = asked.waiting.len().min(most);
        let taken = asked.waiting.drain(..some).filter(|asked| !asked.reply.is_closed()).collect();
        (taken, !asked.waiting.is_empty())
    }

    /// Drops all that was asked for: those who did hear of it.
    pub(crate) fn drop_asked(&self) {
        self.asked().waiting.clear();
    }

    /// The same, and nothing more is taken.
    pub(crate) fn close_asked(&self) {
        let mut asked = self.asked();
        asked.closed = true;
        asked.waiting.clear();
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

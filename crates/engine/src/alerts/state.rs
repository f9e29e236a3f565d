//! What is known of alerts: in memory what the rows say, and how deliveries go.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message;
use sempre_api::sempre::v1::{Alert, AlertState};
use sempre_core::{NamespaceId, RunId, Span, Timestamp, ids::Uuid, visibility::Record};

use super::{
    memory::{Kind, Runs},
    rule::RuleRecord,
};

/// Alerts of one rule that may wait; more are counted and left out.
pub(crate) const WAITING_MAX: usize = 10_000;
/// Bytes of all alerts that wait. Of these a rule may take as many as it leaves free: the webhook of one that is down for long
/// takes half, those of two a third each, and there is always room for another. What comes beyond is left out too.
pub(crate) const WAITING_BYTES_MAX: usize = 64 << 20;
/// What an alert takes in memory besides its texts.
const ALERT_BYTES: usize = 512;
/// Alerts that are remembered after their delivery, over all rules.
pub(crate) const ENDED_MAX: usize = 1000;

/// An alert, as stored.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct AlertRecord {
    /// Names it, together with the id of the data: grows over all alerts.
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) rule_uid: Bytes,
    #[prost(string, tag = "3")]
    pub(crate) rule: String,
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) namespace_id: Bytes,
    #[prost(enumeration = "AlertState", tag = "5")]
    pub(crate) state: i32,
    #[prost(string, tag = "6")]
    pub(crate) query: String,
    /// ns.
    #[prost(int64, tag = "7")]
    pub(crate) time: i64,
    #[prost(uint64, tag = "8")]
    pub(crate) notice: u64,
    #[prost(int64, tag = "9")]
    pub(crate) count: i64,
    #[prost(message, optional, tag = "10")]
    pub(crate) run: Option<Record>,
    /// When it was delivered or given up, ns; 0: it waits.
    #[prost(int64, tag = "11")]
    pub(crate) ended: i64,
    #[prost(bool, tag = "12")]
    pub(crate) given_up: bool,
    /// Of the last attempt, once it was given up.
    #[prost(string, tag = "13")]
    pub(crate) last_error: String,
}

/// Of a rule about a list, while the query selects runs; of any rule, while alerts were left out.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Standing {
    /// Since when runs are selected, ns; 0: none are.
    #[prost(int64, tag = "1")]
    pub(crate) since: i64,
    /// It was told.
    #[prost(bool, tag = "2")]
    pub(crate) told: bool,
    /// Alerts left out since the last one that told of such.
    #[prost(int64, tag = "3")]
    pub(crate) left_out: i64,
    /// Whose.
    #[prost(bytes = "bytes", tag = "4")]
    pub(crate) namespace_id: Bytes,
    /// [`RuleRecord::memory`] of the rule as it was; empty: its uid.
    #[prost(bytes = "bytes", tag = "5")]
    pub(crate) memory: Bytes,
}

impl Standing {
    /// It is of the rule as it is.
    pub(crate) fn is_of(&self, rule: &RuleRecord) -> bool {
        let memory = if self.memory.is_empty() { rule.uid() } else { uid(&self.memory) };
        memory == rule.memory()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.since == 0 && self.left_out == 0
    }
}

/// An alert that somebody asked for.
pub(crate) struct Asked {
    pub(crate) rule: Arc<RuleRecord>,
    /// Told the alert when it is durable.
    pub(crate) reply: tokio::sync::oneshot::Sender<AlertRecord>,
}

/// How attempts to send one alert go; not stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tries {
    pub(crate) count: u32,
    /// Not before.
    pub(crate) again: Timestamp,
    pub(crate) error: String,
}

/// How attempts of a rule go; not stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    pub(crate) failures: u32,
    pub(crate) again: Timestamp,
    /// When one that was never tried may be tried: it may be another's fault that the last one failed.
    pub(crate) fresh: Timestamp,
    /// How many that were never tried before were tried and not taken.
    pub(crate) fresh_failures: u32,
    pub(crate) error: String,
}

/// One change of the state, and of its rows.
pub(crate) enum Change {
    Cursor(u64),
    Put(Box<AlertRecord>),
    Drop(u64),
    /// By [`RuleRecord::memory`].
    Remember(Kind, Uuid, RunId),
    Forget(Kind, Uuid, RunId),
    Standing(Uuid, Standing),
}

/// See the module.
#[derive(Default)]
pub(crate) struct State {
    /// Notices up to this were judged.
    pub(crate) cursor: u64,
    /// The greatest number of an alert.
    pub(crate) last: u64,
    pub(crate) alerts: BTreeMap<u64, Arc<AlertRecord>>,
    pub(crate) ended: BTreeSet<u64>,
    /// By rule: what waits, with the time before which it is not sent again. What was never sent comes first.
    pub(crate) waiting: HashMap<Uuid, BTreeSet<(Timestamp, u64)>>,
    /// Of all that wait.
    pub(crate) waiting_bytes: usize,
    /// By rule.
    pub(crate) waiting_bytes_of: HashMap<Uuid, usize>,
    /// Open runs that rules have told of.
    pub(crate) raised: Runs,
    /// Open runs that rules could not tell of, and have counted.
    pub(crate) left_out: Runs,
    pub(crate) standing: HashMap<Uuid, Standing>,
    /// By alert: attempts of this process.
    pub(crate) tries: HashMap<u64, Tries>,
    /// By rule about a list: the last notice of a run that its query selects. Not stored.
    pub(crate) selected_at: HashMap<Uuid, u64>,
    /// By rule: what goes wrong at its webhook.
    pub(crate) trouble: HashMap<Uuid, Trouble>,
    /// By rule: why its query cannot be asked.
    pub(crate) problems: HashMap<Uuid, String>,
    /// By rule: why its query could not be counted last.
    pub(crate) uncounted: HashMap<Uuid, String>,
}

pub(crate) fn uid(bytes: &Bytes) -> Uuid {
    Uuid(bytes.as_ref().try_into().unwrap_or_default())
}

impl State {
    /// What the rows say, read again by a process that knows more than they do.
    pub(crate) fn after(self, before: Self) -> Self {
        // Counts that are under way may be older than what was seen before the store failed.
        Self { selected_at: before.selected_at, ..self }
    }

    /// Takes a change that is durable, or was read.
    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Cursor(to) => self.cursor = to,
            Change::Put(alert) => {
                let (number, rule) = (alert.number, uid(&alert.rule_uid));
                self.last = self.last.max(number);
                self.forget_waiting(number);
                if alert.ended == 0 {
                    let again = self.again(number);
                    self.waiting.entry(rule).or_default().insert((again, number));
                    self.waiting_bytes += alert.size();
                    *self.waiting_bytes_of.entry(rule).or_default() += alert.size();
                } else {
                    self.ended.insert(number);
                    self.tries.remove(&number);
                }
                self.alerts.insert(number, Arc::from(alert));
            }
            Change::Drop(number) => {
                self.forget_waiting(number);
                self.alerts.remove(&number);
                self.ended.remove(&number);
                self.tries.remove(&number);
            }
            Change::Remember(kind, memory, run) => self.runs(kind).remember(memory, run),
            Change::Forget(kind, memory, run) => self.runs(kind).forget(memory, run),
            Change::Standing(rule, standing) if standing.is_empty() => drop(self.standing.remove(&rule)),
            Change::Standing(rule, standing) => drop(self.standing.insert(rule, standing)),
        }
    }

    fn runs(&mut self, kind: Kind) -> &mut Runs {
        match kind {
            Kind::Raised => &mut self.raised,
            Kind::LeftOut => &mut self.left_out,
        }
    }

    /// An alert is about to wait no more, or to be another.
    fn forget_waiting(&mut self, number: u64) {
        let Some(alert) = self.alerts.get(&number).filter(|alert| alert.ended == 0) else { return };
        let (rule, bytes) = (uid(&alert.rule_uid), alert.size());
        self.waiting_bytes = self.waiting_bytes.saturating_sub(bytes);
        if let Some(of_rule) = self.waiting_bytes_of.get_mut(&rule) {
            *of_rule = of_rule.saturating_sub(bytes);
        }
        let again = self.again(number);
        if let Some(waiting) = self.waiting.get_mut(&rule) {
            waiting.remove(&(again, number));
        }
    }

    /// Before this an alert is not sent again.
    fn again(&self, number: u64) -> Timestamp {
        self.tries.get(&number).map_or_else(Timestamp::default, |tries| tries.again)
    }

    /// An alert was not taken: others are tried before it is tried again.
    pub(crate) fn not_taken(&mut self, number: u64, pause: impl FnOnce(u32) -> Span, now: Timestamp, error: String) {
        let Some(rule) = self.alerts.get(&number).filter(|alert| alert.ended == 0).map(|alert| uid(&alert.rule_uid)) else { return };
        let waiting = self.waiting.entry(rule).or_default();
        let tries = self.tries.entry(number).or_default();
        waiting.remove(&(tries.again, number));
        *tries = Tries { count: tries.count.saturating_add(1), again: now + pause(tries.count), error };
        waiting.insert((tries.again, number));
    }

    /// So many bytes more may wait for a rule, beside those that are planned: of all, and of it.
    pub(crate) fn room_for(&self, rule: Uuid, (planned, planned_of_rule): (usize, usize)) -> usize {
        let free = WAITING_BYTES_MAX.saturating_sub(self.waiting_bytes + planned);
        let taken = self.waiting_bytes_of.get(&rule).copied().unwrap_or_default() + planned_of_rule;
        // What it takes must not be more than what is free afterwards.
        free.saturating_sub(taken) / 2
    }

    pub(crate) fn waits(&self, rule: Uuid) -> usize {
        self.waiting.get(&rule).map_or(0, BTreeSet::len)
    }

    /// There is a row that names the namespace.
    pub(crate) fn knows(&self, namespace: NamespaceId) -> bool {
        let is = |bytes: &Bytes| bytes.as_ref() == namespace.0.0;
        self.alerts.values().any(|alert| is(&alert.namespace_id)) || self.standing.values().any(|one| is(&one.namespace_id))
    }

    /// What belongs to rules that are gone, or to what they were, at most so much.
    pub(crate) fn orphans(&self, is_there: impl Fn(Uuid) -> bool, is_memory: impl Fn(Uuid) -> bool, most: usize) -> Vec<Change> {
        let is_gone = |rule: &Uuid| !is_there(*rule);
        let waiting =
            self.waiting.iter().filter(|(rule, _)| is_gone(rule)).flat_map(|(_, waiting)| waiting.iter().map(|(_, number)| number));
        let is_of_gone = |number: &u64| self.alerts.get(number).is_some_and(|alert| is_gone(&uid(&alert.rule_uid)));
        let ended = self.ended.iter().filter(|number| is_of_gone(number));
        let alerts = waiting.chain(ended).map(|number| Change::Drop(*number));
        let of = |kind: Kind| move |(memory, run)| Change::Forget(kind, memory, run);
        let raised = self.raised.orphans(&is_memory).map(of(Kind::Raised));
        let left_out = self.left_out.orphans(&is_memory).map(of(Kind::LeftOut));
        let standing = self.standing.keys().filter(|rule| is_gone(rule)).map(|rule| Change::Standing(*rule, Standing::default()));
        alerts.chain(raised).chain(left_out).chain(standing).take(most).collect()
    }

    /// Forgets in memory what only memory has of rules that are gone.
    pub(crate) fn forget_rules(&mut self, is_there: impl Fn(Uuid) -> bool) {
        self.trouble.retain(|rule, _| is_there(*rule));
        self.problems.retain(|rule, _| is_there(*rule));
        self.uncounted.retain(|rule, _| is_there(*rule));
        self.waiting.retain(|rule, waiting| is_there(*rule) || !waiting.is_empty());
        self.waiting_bytes_of.retain(|rule, bytes| is_there(*rule) || *bytes > 0);
        self.selected_at.retain(|rule, _| is_there(*rule));
        self.raised.trim();
        self.left_out.trim();
    }
}

impl AlertRecord {
    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        self.encoded_len() + ALERT_BYTES
    }

    /// As it is told; search attributes by field. `id` of the data.
    pub(crate) fn to_api(&self, cluster_id: &str, namespace: &str) -> Alert {
        Alert {
            id: format!("{cluster_id}-{}", self.number),
            state: self.state,
            rule: self.rule.clone(),
            namespace: namespace.to_owned(),
            query: self.query.clone(),
            time: Some(Timestamp(self.time).to_api()),
            notice: self.notice as i64,
            count: self.count,
            run: self.run.as_ref().map(Record::to_api),
        }
    }
}

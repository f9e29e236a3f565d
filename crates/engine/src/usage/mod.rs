//! What each namespace uses of what it may: open runs, bytes of history, calls.
//!
//! | what | where | changed |
//! |---|---|---|
//! | what all shards have of a namespace | [`Usage`], in memory | by the shards as soon as they know, and by its calls |
//! | what one shard has of it | a row of Meta ([`rows`]) | in the commit of the runs that it counts |
//!
//! After a crash the rows say what the runs say: both were one commit. Counting takes no lock and allocates nothing.

mod rate;
pub(crate) mod rows;

use std::sync::atomic::{AtomicI64, Ordering};

use sempre_api::v1::enums::ResourceExhaustedCause;
use sempre_core::{Execution, Limits, NamespaceView, Refusal, Timestamp};

use self::rate::Bucket;
pub use self::rate::{CALL_CLASSES, CallClass, Rates};
use crate::{Counter, Settings};

/// What clients are told of a namespace with too many calls.
const RATE_TEXT: &str = "namespace rate limit exceeded";
/// What they are told of one with too many starts, or reads of lists.
const STARTS_TEXT: &str = "namespace rate limit of starts exceeded";
const LISTS_TEXT: &str = "namespace rate limit of lists exceeded";

/// Something that a namespace may use up to a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limited {
    /// Calls in a second (`frontend.namespaceRPS`).
    Calls,
    /// Calls in a second that start runs (`sempre.limit.startsPerSecond`).
    Starts,
    /// Calls in a second that read lists (`frontend.namespaceRPS.visibility`).
    Lists,
    /// Open runs (`sempre.limit.openRuns`).
    OpenRuns,
    /// Bytes of history (`sempre.limit.storageBytes`).
    StorageBytes,
    /// Bytes of one payload (`limit.blobSize.error`): nothing is used up.
    BlobBytes,
}

impl Limited {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Limited; 6] =
        [Limited::Calls, Limited::Starts, Limited::Lists, Limited::OpenRuns, Limited::StorageBytes, Limited::BlobBytes];

    /// The key of the dynamic configuration that sets it.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Limited::Calls => "frontend.namespaceRPS",
            Limited::Starts => "sempre.limit.startsPerSecond",
            Limited::Lists => "frontend.namespaceRPS.visibility",
            Limited::OpenRuns => "sempre.limit.openRuns",
            Limited::StorageBytes => "sempre.limit.storageBytes",
            Limited::BlobBytes => "limit.blobSize.error",
        }
    }
}

/// What a namespace uses. Only the engine changes it.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    open_runs: AtomicI64,
    history_bytes: AtomicI64,
    calls: Bucket,
    starts: Bucket,
    lists: Bucket,
    /// Calls refused, by what there was too much of; in the order of [`Limited::ALL`].
    refused: [Counter; Limited::ALL.len()],
}

/// How much a namespace uses of something, and how much it may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LimitUse {
    /// Of what.
    pub of: Limited,
    /// Used now; of rates, the part of the burst that is used up, in calls.
    pub used: u64,
    /// As much as there may be; of rates, in a second. 0: there is no limit.
    pub max: f64,
    /// Of rates: calls that may come at once.
    pub burst: f64,
    /// Calls that were refused for it since the server began.
    pub refused: u64,
}

/// What a run counts for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) open_runs: i64,
    pub(crate) history_bytes: i64,
}

impl Counted {
    /// `None`: there is no such run.
    pub(crate) fn of(run: Option<&Execution>) -> Self {
        run.map_or(Self::default(), |run| Self {
            open_runs: i64::from(run.is_open()),
            history_bytes: run.state().derived.main.history_size,
        })
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self { open_runs: self.open_runs + other.open_runs, history_bytes: self.history_bytes + other.history_bytes }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { open_runs: self.open_runs - other.open_runs, history_bytes: self.history_bytes - other.history_bytes }
    }
}

impl Usage {
    /// Runs have come, gone or changed.
    pub(crate) fn add(&self, change: Counted) {
        self.open_runs.fetch_add(change.open_runs, Ordering::Relaxed);
        self.history_bytes.fetch_add(change.history_bytes, Ordering::Relaxed);
    }

    fn open_runs(&self) -> u64 {
        self.open_runs.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    fn history_bytes(&self) -> u64 {
        self.history_bytes.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    fn refuse(&self, of: Limited, cause: ResourceExhaustedCause, message: String) -> Refusal {
        self.refused[of as usize].add(1);
        Refusal::ResourceExhausted { cause, message }
    }

    /// A call comes: counts it, or refuses it.
    pub(crate) fn call(&self, class: CallClass, rates: &Rates, now: Timestamp) -> Result<(), Refusal> {
        let refuse = |of, text: &str| Err(self.refuse(of, ResourceExhaustedCause::RpsLimit, text.to_owned()));
        if class == CallClass::List {
            return match self.lists.take(rates.lists(), class.reserve(), now) {
                true => Ok(()),
                false => refuse(Limited::Lists, LISTS_TEXT),
            };
        }
        if class == CallClass::Start && !self.starts.has(rates.starts(), now) {
            return refuse(Limited::Starts, STARTS_TEXT);
        }
        if !self.calls.take(rates.calls(), class.reserve(), now) {
            return refuse(Limited::Calls, RATE_TEXT);
        }
        if class == CallClass::Start && !self.starts.take(rates.starts(), 0, now) {
            return refuse(Limited::Starts, STARTS_TEXT);
        }
        Ok(())
    }

    /// Whether a client may start a run; one that `replaces` another makes them no more.
    pub(crate) fn room_for_run(&self, namespace: &NamespaceView, limits: &Limits, replaces: bool) -> Result<(), Refusal> {
        let (open, max) = (self.open_runs(), limits.open_runs_max);
        if max > 0 && open >= max && !replaces {
            let text = format!("namespace {:?} has {open} open runs, the limit is {max}", namespace.name);
            return Err(self.refuse(Limited::OpenRuns, ResourceExhaustedCause::ConcurrentLimit, text));
        }
        self.room_for_bytes(namespace, limits)
    }

    /// Whether a client may add to the history of runs.
    pub(crate) fn room_for_bytes(&self, namespace: &NamespaceView, limits: &Limits) -> Result<(), Refusal> {
        let (bytes, max) = (self.history_bytes(), limits.storage_bytes_max);
        if max > 0 && bytes >= max {
            let text = format!("namespace {:?} has {bytes} bytes of history, the limit is {max}", namespace.name);
            return Err(self.refuse(Limited::StorageBytes, ResourceExhaustedCause::PersistenceStorageLimit, text));
        }
        Ok(())
    }

    /// How much of each limit is used.
    pub(crate) fn of_limits(&self, limits: &Limits, rates: &Rates, now: Timestamp) -> Vec<LimitUse> {
        let use_of = |of: Limited| {
            let (used, max, burst) = match of {
                Limited::Calls => (self.calls.used(rates.calls(), now), rates.calls, rates.calls().burst()),
                Limited::Starts => (self.starts.used(rates.starts(), now), rates.starts, rates.starts().burst()),
                Limited::Lists => (self.lists.used(rates.lists(), now), rates.lists, rates.lists().burst()),
                Limited::OpenRuns => (self.open_runs(), limits.open_runs_max as f64, 0.0),
                Limited::StorageBytes => (self.history_bytes(), limits.storage_bytes_max as f64, 0.0),
                Limited::BlobBytes => (0, limits.blob_size_max as f64, 0.0),
            };
            LimitUse { of, used, max, burst, refused: self.refused[of as usize].get() }
        };
        Limited::ALL.map(use_of).to_vec()
    }
}

/// Limits of one namespace, where they are not those of all.
#[derive(Clone, Debug, PartialEq)]
pub struct NamespaceLimits {
    /// Bounds that decide about its runs.
    pub limits: Limits,
    /// How often it may be called.
    pub rates: Rates,
}

impl Settings {
    /// Bounds that decide about the runs of a namespace.
    #[must_use]
    pub fn limits_of(&self, namespace: &str) -> &Limits {
        self.of_namespaces.get(namespace).map_or(&self.limits, |own| &own.limits)
    }

    /// How often a namespace may be called.
    #[must_use]
    pub fn rates_of(&self, namespace: &str) -> &Rates {
        self.of_namespaces.get(namespace).map_or(&self.rates, |own| &own.rates)
    }

    /// Whether calls must be counted at all.
    #[must_use]
    pub fn has_rates(&self) -> bool {
        self.rates.are_some() || self.of_namespaces.values().any(|own| own.rates.are_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> NamespaceView {
        NamespaceView {
            id: Default::default(),
            name: "n".into(),
            retention: Default::default(),
            search_attributes: Default::default(),
            deployments: Default::default(),
            flow: sempre_core::flow::rule::no_rules(),
            rules: sempre_core::rules::no_rules(),
            search_attribute_names: Default::default(),
            bad_binaries: Default::default(),
        }
    }

    #[test]
    fn there_is_room_up_to_the_limit() {
        let (usage, view) = (Usage::default(), view());
        let limits = Limits { open_runs_max: 2, storage_bytes_max: 100, ..Limits::default() };
        let run = Counted { open_runs: 1, history_bytes: 40 };
        usage.add(run);
        usage.room_for_run(&view, &limits, false).unwrap();
        usage.add(run);
        let full = usage.room_for_run(&view, &limits, false).unwrap_err();
        let message = "namespace \"n\" has 2 open runs, the limit is 2".into();
        assert_eq!(full, Refusal::ResourceExhausted { cause: ResourceExhaustedCause::ConcurrentLimit, message });
        usage.room_for_run(&view, &limits, true).expect("one that replaces another makes no more");
        usage.add(Counted { open_runs: -1, history_bytes: 20 });
        let full = usage.room_for_run(&view, &limits, true).unwrap_err();
        let message = "namespace \"n\" has 100 bytes of history, the limit is 100".into();
        assert_eq!(full, Refusal::ResourceExhausted { cause: ResourceExhaustedCause::PersistenceStorageLimit, message });
        usage.room_for_run(&view, &Limits::default(), false).expect("no limit unless one is set");
        let uses = usage.of_limits(&limits, &Rates::default(), Timestamp(0));
        let told: Vec<_> = uses.iter().map(|u| (u.of, u.used, u.max as u64, u.refused)).collect();
        assert_eq!(told[3..5], [(Limited::OpenRuns, 1, 2, 1), (Limited::StorageBytes, 100, 100, 1)]);
    }

    #[test]
    fn starts_and_lists_have_limits_of_their_own() {
        let usage = Usage::default();
        let rates = Rates { starts: 1.0, lists: 2.0, burst_ratio: 1.0, ..Rates::default() };
        let call = |class, now| usage.call(class, &rates, Timestamp(now));
        call(CallClass::Start, 0).unwrap();
        let told = Refusal::ResourceExhausted { cause: ResourceExhaustedCause::RpsLimit, message: STARTS_TEXT.into() };
        assert_eq!(call(CallClass::Start, 1).unwrap_err(), told);
        call(CallClass::Start, 1_000_000_000).unwrap();
        call(CallClass::List, 0).unwrap();
        call(CallClass::List, 0).unwrap();
        assert!(call(CallClass::List, 0).is_err());
        for class in [CallClass::Complete, CallClass::Poll, CallClass::Other] {
            (0..100).for_each(|_| call(class, 0).unwrap());
        }
        assert_eq!(usage.refused.each_ref().map(Counter::get), [0, 1, 1, 0, 0, 0]);
    }
}

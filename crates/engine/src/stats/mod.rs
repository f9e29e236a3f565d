//! Counters for metrics and tests; written with relaxed order, read at any time.

mod events;
mod histogram;
mod types;

use std::sync::atomic::{AtomicU64, Ordering};

pub use events::EventCounts;
pub use histogram::{Histogram, HistogramReading, LATENCIES, LIVES};
pub(crate) use types::KnownTypes;
pub use types::{OTHER, TYPES_MAX, TypeStats, Typed, Types};

/// A number that only the engine changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }
}

/// What the engine has done since it was opened.
#[derive(Debug, Default)]
pub struct Stats {
    /// Inputs that changed something.
    pub transitions: Counter,
    /// Inputs that were refused.
    pub refusals: Counter,
    /// Commits acknowledged.
    pub commits: Counter,
    /// Inputs in acknowledged commits; divided by `commits`: the mean batch.
    pub commit_inputs: Counter,
    /// Bytes of acknowledged commits.
    pub commit_bytes: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
    /// Runs started by schedules.
    pub scheduled_starts: Counter,
    /// Tasks handed to a waiting poller in the transition that made them.
    pub sync_matches: Counter,
    /// Tasks that were started for a poll which had gone, and are on offer again.
    pub lost_polls: Counter,
    /// Tasks handed out from a backlog.
    pub backlog_matches: Counter,
    /// Workflow tasks that had to join a backlog although workers poll its queue: those who do the work are behind.
    pub tasks_left: Counter,
    /// Workflow tasks handed out from such a backlog.
    pub tasks_caught_up: Counter,
    /// Offers in memory now.
    pub backlog: Counter,
    /// Polls that wait now.
    pub pollers: Counter,
    /// Inputs that found their run in memory.
    pub cache_hits: Counter,
    /// Inputs whose run was read from the store.
    pub cache_misses: Counter,
    /// Runs evicted from memory.
    pub cache_evictions: Counter,
    /// Messages refused because an inbox was full.
    pub overloads: Counter,
    /// Messages delivered from outboxes.
    pub deliveries: Counter,
    /// Runs of deleted namespaces that were deleted with them.
    pub runs_removed: Counter,
    /// Deadlines that fired.
    pub deadlines: Counter,
    /// From sending a commit to its acknowledgement.
    pub commit_waits: Histogram,
    /// From scheduling a workflow task to its start.
    pub workflow_task_waits: Histogram,
    /// From scheduling an attempt of an activity to its start.
    pub activity_task_waits: Histogram,
    /// Shards of runs that were taken up, given up, and found to be another node's.
    pub shards_taken_up: Counter,
    /// See [`Stats::shards_taken_up`].
    pub shards_given_up: Counter,
    /// See [`Stats::shards_taken_up`].
    pub shards_lost: Counter,
    /// How long it took to take a shard up.
    pub take_up_waits: Histogram,
    /// Events written, by type.
    pub events: EventCounts,
    /// What happened to workflows and activities, by type.
    pub types: Types,
    /// Polls answered with a task.
    pub polls_answered: Counter,
    /// Polls answered empty.
    pub polls_empty: Counter,
    /// Attempts at which a webhook took an alert.
    pub alerts_taken: Counter,
    /// Attempts at which it did not.
    pub alerts_not_taken: Counter,
    /// Alerts that nobody has taken for days.
    pub alerts_given_up: Counter,
}

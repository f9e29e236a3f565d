//! What an index of runs must do; [`super::Visibility`] puts what it has not taken yet on top of it.
//!
//! An index is derived: all of it can be made again from the store. It keeps the latest [`Record`] of each run of each
//! namespace, and answers by the same rules as [`Filter`]'s own reading of a record.
//!
//! # Contract
//!
//! 1. **Changes** of one call are applied as a whole, calls in their order; the answer comes when they would survive a
//!    crash. Applying changes again does no harm: a put of an older version than the index has is ignored.
//! 2. **Reads** are one consistent picture each, and see at least what was answered before the call. A read that takes too
//!    long, or whose answer nobody waits for, is given up; too many at once are refused.
//! 3. **List order** is close time (open runs first, as if closed at the end of time) from late to early, start time from
//!    late to early, run id; [`Position`] is a place in it. A page after a position costs the same wherever it is.
//! 4. **Hidden** runs are left out of every answer: the caller has something newer about them.
//! 5. **Honest.** An index that does not hold everything (new, damaged, of another store) says so by
//!    [`Index::needs_rebuild`] and refuses reads, until a rebuild has been finished.
//! 6. **Rebuild** is [`Index::begin_rebuild`], a put of every run there is, [`Index::finish_rebuild`]. What was not put
//!    in between is gone then. Reads of an index that needs no rebuild go on meanwhile.

use std::{collections::BTreeSet, sync::Arc};

use sempre_core::{
    NamespaceId, RunId,
    visibility::{Field, Filter, Record, Value},
};
use sempre_store::Pending;

/// A change of what lists show.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The run's picture from now on.
    Put {
        /// Grows with each change of the run.
        version: u64,
        /// The picture; namespace and run ids have 16 bytes.
        record: Arc<Record>,
    },
    /// The run is gone.
    Delete {
        /// Its namespace.
        namespace: NamespaceId,
        /// The run.
        run: RunId,
    },
}

/// A place in the list order: that of the run it is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Close time, ns; `i64::MAX` for open runs.
    pub close: i64,
    /// Start time, ns.
    pub start: i64,
    /// The run.
    pub run: RunId,
}

impl Position {
    /// Where `record` stands.
    pub fn of(record: &Record) -> Self {
        let close = if record.is_open() { i64::MAX } else { record.close_time };
        Self { close, start: record.start_time, run: run_of(record) }
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.close.cmp(&self.close).then(other.start.cmp(&self.start)).then(self.run.cmp(&other.run))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The run of a record; the zero run if its bytes are none.
pub fn run_of(record: &Record) -> RunId {
    RunId(sempre_core::ids::Uuid(record.run_id.as_ref().try_into().unwrap_or_default()))
}

/// The namespace of a record; the zero one if its bytes are none.
pub fn namespace_of(record: &Record) -> NamespaceId {
    NamespaceId(sempre_core::ids::Uuid(record.namespace_id.as_ref().try_into().unwrap_or_default()))
}

/// Groups of a count: a value of the field, `None` for runs without one, and how many runs have it.
pub type Groups = Vec<(Option<Value>, u64)>;

/// Counts one more with this value.
pub(crate) fn add_to_group(groups: &mut Groups, value: Option<Value>) {
    match groups.iter_mut().find(|(other, _)| *other == value) {
        Some((_, runs)) => *runs += 1,
        None => groups.push((value, 1)),
    }
}

/// The largest group first.
pub(crate) fn sort_groups(groups: &mut Groups) {
    groups.sort_by(|(a, runs_of_a), (b, runs_of_b)| runs_of_b.cmp(runs_of_a).then_with(|| format!("{a:?}").cmp(&format!("{b:?}"))));
}

/// What an index holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexStats {
    /// Runs.
    pub records: u64,
    /// Bytes on disk or in memory.
    pub bytes: u64,
}

/// Why an index did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// It does not hold everything; only a rebuild helps.
    #[error("the visibility index must be rebuilt: {reason}")]
    NeedsRebuild {
        /// Why.
        reason: String,
    },
    /// The file was written by a newer program; it was not touched.
    #[error(
        "the visibility index in {path} has format {found}, this program supports formats up to {supported}. Use a newer version of the program."
    )]
    NewerFormat {
        /// The file.
        path: String,
        /// Its format.
        found: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// The filter has more parts than the index can look for at once.
    #[error("the query is too complex")]
    TooComplex,
    /// Too many reads wait; later there may be room.
    #[error("too many reads of the visibility index")]
    Busy,
    /// No index helps with the filter, and looking at every run took too long.
    #[error(
        "the query was given up after {seconds} s because no index answers it. Add a condition that few runs pass, with = or IN on WorkflowId, WorkflowType, ExecutionStatus or a search attribute, or a narrow range of StartTime or CloseTime"
    )]
    TooLong {
        /// The limit.
        seconds: u64,
    },
    /// Something failed that may work later, a full disk for example.
    #[error("the visibility index failed to {action}: {reason}")]
    Failed {
        /// What was tried.
        action: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// It was closed.
    #[error("the visibility index is closed")]
    Closed,
}

/// An index of runs that keeps the contract of this module. Nothing is done on the caller's thread that may take long.
pub trait Index: Send + Sync + 'static {
    /// Applies changes in order (contract 1). Enqueued by the call, whether or not the answer is waited for.
    fn apply(&self, changes: Vec<Change>) -> Pending<Result<(), IndexError>>;

    /// Removes some runs of a namespace; true when there are more. A namespace is removed by repeating it.
    fn purge(&self, namespace: NamespaceId) -> Pending<Result<bool, IndexError>>;

    /// Runs that match, in list order after `after`, at most `limit` (contract 2 to 5).
    fn list(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Vec<Arc<Record>>, IndexError>>;

    /// How many runs match.
    fn count(&self, namespace: NamespaceId, filter: Option<&Filter>, hidden: &BTreeSet<RunId>) -> Pending<Result<u64, IndexError>>;

    /// How many runs match, by the value of a field; no empty groups, in no order.
    fn count_by(
        &self,
        namespace: NamespaceId,
        filter: Option<&Filter>,
        field: &Field,
        hidden: &BTreeSet<RunId>,
    ) -> Pending<Result<Groups, IndexError>>;

    /// One run.
    fn get(&self, namespace: NamespaceId, run: RunId) -> Pending<Result<Option<Arc<Record>>, IndexError>>;

    /// Why it must be rebuilt, if it must (contract 5).
    fn needs_rebuild(&self) -> Option<String>;

    /// Resolves when it must be rebuilt. Where nobody else writes the index, whoever asks it finds out, and this may never resolve.
    fn until_needs_rebuild(&self) -> Pending<()> {
        Box::pin(std::future::pending())
    }

    /// Begins a rebuild (contract 6); a rebuild under way begins again.
    fn begin_rebuild(&self) -> Pending<Result<(), IndexError>>;

    /// Ends a rebuild.
    fn finish_rebuild(&self) -> Pending<Result<(), IndexError>>;

    /// What it holds.
    fn stats(&self) -> Pending<Result<IndexStats, IndexError>>;

    /// Finishes what is enqueued and releases what is held; then everything is refused.
    fn close(&self) -> Pending<()>;
}

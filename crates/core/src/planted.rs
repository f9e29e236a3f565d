//! Bugs planted on purpose, to see whether the simulator finds them.
//!
//! Only with the feature `planted`, which no build that is shipped has; without it every question has a constant answer, and nothing
//! of this is left. With it there is one global: which bug is planted in this process, none at first.

macro_rules! bugs {
    ($($(#[doc = $story:literal])+ $name:ident,)+) => {
        /// A bug.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Bug {
            $($(#[doc = $story])+ $name,)+
        }

        impl Bug {
            /// Every bug, with its story.
            pub const ALL: &[(Bug, &str)] = &[$((Bug::$name, concat!($($story),+)),)+];
        }
    };
}

bugs! {
    /// Answers, tasks and messages leave before their commit.
    EffectsBeforeCommit,
    /// Tasks alone leave before their commit.
    TasksBeforeCommit,
    /// Attempts of activities alone leave before their commit.
    AttemptsBeforeCommit,
    /// Answers to failures of activities leave before their commit.
    FailuresBeforeCommit,
    /// Answers to heartbeats leave before the commits that they rest on.
    HeartbeatsBeforeCommit,
    /// A commit whose outcome is unknown counts as done.
    UnknownIsDone,
    /// What rested on a failed commit stays in the cache.
    CacheSurvivesFailure,
    /// After a failed commit, what is owed is not read again.
    NothingReadAfterFailure,
    /// After a start, offers are not read.
    OffersNotRecovered,
    /// After a start, messages to other runs are not read.
    MessagesNotRecovered,
    /// Offers get no row.
    OfferRowsLost,
    /// Messages to other runs get no row.
    MessageRowsLost,
    /// What flow rules know of runs gets no row.
    FlowRowsLost,
    /// After a start, rows of flow rules are not read.
    FlowNotRecovered,
    /// Messages that are done with keep their row.
    MessageRowsStay,
    /// Deadlines get no row.
    DeadlineRowsLost,
    /// Old deadlines keep their row.
    DeadlineRowsStay,
    /// The pointer to the current run is not written.
    PointerRowsLost,
    /// State rows that are gone stay on the disk.
    StateRowsStay,
    /// Events are written under the key of the one before.
    HistoryKeysOffByOne,
    /// Lists are not told of changes.
    ListsNotTold,
    /// Lists are not told of search attributes that change.
    AttributesNotListed,
    /// A search attribute that is taken away stays.
    AttributesStay,
    /// All tries of a poll have one name.
    PollsKeepTheirName,
    /// An offer whose poller has gone does not go back to its queue.
    OffersDroppedWithPollers,
    /// Request ids of signals are not looked up.
    SignalsForgotten,
    /// Request ids of starts are not looked up.
    StartsForgotten,
    /// A workflow task that one poller has is given to the next as well.
    TasksGivenTwice,
    /// An activity that one poller has is given to the next as well.
    ActivitiesGivenTwice,
    /// The token of any task of a run is good for the pending one.
    StaleTaskTokens,
    /// The token of any attempt of an activity is good for the current one.
    StaleActivityTokens,
    /// Timers fire up to a second early.
    TimersEarly,
    /// Activities time out after three quarters of their time.
    ActivityTimeoutsEarly,
    /// Workflow tasks time out up to five seconds early.
    TaskTimeoutsEarly,
    /// Runs time out up to five seconds early.
    RunTimeoutsEarly,
    /// A parent's close does not cancel children.
    ChildrenNotCanceled,
    /// A parent's close does not terminate children.
    ChildrenNotTerminated,
    /// A parent's close terminates the children that it should cancel.
    ChildrenTerminatedForCancel,
    /// A parent's close cancels the children that it should leave alone.
    AbandonedChildrenCanceled,
    /// A child whose start is heard of after its parent's close is left alone.
    LateChildrenForgotten,
    /// Of several buffered events the last is lost.
    BufferLosesLast,
    /// Retries of activities are not waited for.
    RetriesForgotten,
    /// The parent is not told that its child runs.
    ChildStartsUnheard,
    /// A reset asks no child that was started already whether it has ended.
    StartedChildrenNotAsked,
    /// Answers of other runs to signals and cancels are dropped.
    ExternalAnswersDropped,
    /// Commits of a node that has lost the shard are taken.
    LateCommitsTaken,
}

#[cfg(feature = "planted")]
static PLANTED: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(u32::MAX);

/// Plants a bug in this process, or none.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.store(bug.map_or(u32::MAX, |bug| bug as u32), core::sync::atomic::Ordering::SeqCst);
}

/// Whether this bug is planted.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug as u32
}

/// Whether this bug is planted: no.
#[cfg(not(feature = "planted"))]
#[inline(always)]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}

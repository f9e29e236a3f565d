//! What is known of a run without reading its history, in two halves.
//!
//! [`Derived`] is determined by history: [`Derived::apply_event`] is the only thing that changes it,
//! for a live event as for a rebuild. [`Progress`] is everything else: attempts between events,
//! heartbeats, the pending task's dispatch, events that wait in the buffer.
//!
//! On disk each half is cut into rows so that a small change writes a small row ([`rows`]).

pub mod attempt_log;
pub mod buffer;
pub mod callback;
pub mod derived;
pub mod operation;
pub mod progress;
pub mod reset;
pub mod reset_points;
pub mod rows;
pub mod time_skipping;
pub mod updates;

pub use attempt_log::{AttemptLog, AttemptOutcome, AttemptRecord};
pub use buffer::Buffer;
pub use derived::{
    ActivityInfo, AttachedId, ChildInfo, Derived, ExternalInfo, ExternalKind, Fields, Main, PauseInfo, StartInfo, TimerInfo,
};
pub use operation::{Attempts, CancelAnswer, OperationInfo, OperationProgress};
pub use progress::{ActivityPause, ActivityProgress, Progress, Sticky, Task};
pub use reset::{EarlierReset, EarlierRun, ResetChild, ResetInfo};
pub use reset_points::{ResetPoint, ResetPoints};
pub use time_skipping::{FastForward, TimeSkipping};
pub use updates::{UpdateInfo, Updates};

/// Both halves and what of them has to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// What history determines.
    pub derived: Derived,
    /// What it does not.
    pub progress: Progress,
    /// Rows to write with the next commit. Set wherever a row's content changes.
    pub dirty: rows::Dirty,
}

//! Schedules, pure: when they are due, what they start, what they remember (spec 07).
//!
//! [`Spec`] says when: made from the canonical form of what a client gave, with time zones of the engine.
//! [`Schedule`] decides: it is given the time, calls of clients and news of what it has started, and changes its two
//! rows ([`state`]), which say what is to be done. Nothing here reads a clock or a file.

mod calendar;
mod civil;
mod describe;
mod news;
mod overlaps;
mod parse;
mod spec;
mod start;
pub mod state;
mod step;
mod validate;
mod zone;

pub use describe::{UNUSABLE, describe, list_damaged, list_entry, matching_times, record, skipped};
pub use news::{Ended, StartFailure};
pub use parse::{CONFLICTING_ZONES, YEARS};
pub use spec::{Next, SPEC_PARTS_MAX, Spec, Time, canonical};
pub use start::{start_request, watch_of, workflow_id};
pub use step::{CATCHUP_DEFAULT, CATCHUP_MIN, Schedule, TOO_MANY_BACKFILLS};
pub use validate::{belongings, definition, in_the_way, not_found, patch, schedule_id};
pub use zone::{Stretch, Utc, Zone, Zones};

use crate::Span;

/// Bytes of a calendar's comment.
pub const COMMENT_BYTES_MAX: usize = 200;
/// Bytes of notes.
pub const NOTES_BYTES_MAX: usize = 1000;
/// Excluded times that one search for the next time passes by before it gives up.
pub const EXCLUDED_MAX: usize = 10_000;
/// Starts that may wait; the next is dropped.
pub const BUFFER_MAX: usize = 1000;
/// Times taken in one step; more wait for the next.
pub const TIMES_A_STEP: usize = 100;
/// Times of backfills taken in one step.
pub const BACKFILLS_A_STEP: usize = 100;
/// Backfills that are not done.
pub const BACKFILLS_MAX: usize = 100;
/// Starts that are remembered.
pub const RECENT_MAX: usize = 10;
/// Reasons for actions not taken that are remembered, with as many actions each as came one after another.
pub const LEFT_OUT_MAX: usize = 10;
/// How often a schedule that cannot be used is looked at again: what it lacks may have come.
pub const UNUSABLE_AGAIN: Span = Span::seconds(600);
/// Request ids of calls that are remembered.
pub const REQUESTS_MAX: usize = 10;
/// Times shown of what is to come.
pub const FUTURE_MAX: usize = 10;
/// Times that one ListScheduleMatchingTimes gives.
pub const MATCHING_MAX: usize = 1000;
/// How long a schedule with nothing left to do is kept.
pub const IDLE_RETENTION: Span = Span::seconds(7 * 24 * 3600);
/// Workflow ids that the reference server gives its schedules; the schedule id is the rest.
pub const WORKFLOW_ID_PREFIX: &str = "temporal-sys-scheduler:";

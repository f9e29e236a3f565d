//! Activities: attempts, completion, retries, heartbeats, cancellation, timeouts (spec 03).
//!
//! | state | input | next |
//! |---|---|---|
//! | — | ScheduleActivityTask | offered (eager: started) |
//! | offered | poll | started; no event |
//! | offered | schedule-to-start or schedule-to-close timeout | closed: TimedOut |
//! | offered, waiting | RequestCancelActivityTask | closed: Canceled |
//! | offered, waiting | CompleteById | closed: Started (made up), Completed |
//! | started | its poll has gone without it | offered: it was no attempt |
//! | started | heartbeat | started |
//! | started | completed, canceled | closed: Started, Completed or Canceled |
//! | started | failed, start-to-close or heartbeat timeout | waiting with attempt + 1, or closed: Started, Failed or TimedOut |
//! | started, waiting | schedule-to-close timeout | closed: TimedOut |
//! | waiting | its time has come | offered |
//! | any | the run closes | gone, without an event |
//!
//! What operators do to them is in [`operate`] and [`options`]; what a pause of the run does, in [`crate::pause`].
//!
//! An attempt is no event: history learns of a start when the activity closes. An activity whose closing
//! event waits in the buffer is closed for everyone but history ([`pending`]).

mod close;
mod dispatch;
mod failure;
mod log;
pub(crate) mod operate;
pub(crate) mod options;
mod respond;
mod select;
mod timeout;

use alloc::sync::Arc;

use crate::{
    Refusal, Reply,
    state::{ActivityInfo, ActivityProgress, State, rows::Kind},
    step::Step,
};

pub(crate) use close::{cancel_if_not_started, cancel_unless_started, drop_all};
pub(crate) use dispatch::{
    hold_all, lost, offer_again, release_all, schedule, schedule_after, start, start_eager, take_over, withdraw_all,
};
pub use log::AttemptsOfHistory;
pub use operate::{ResetActivity, UnpauseActivity};
pub(crate) use operate::{most_tried, paused_types};
pub(crate) use options::Options;
pub use options::OptionsUpdate;
pub(crate) use respond::{cancel, complete, fail, heartbeat};
pub use select::ActivitySelector;
pub(crate) use timeout::{next_deadline, wake};

type Answer = Result<Result<Reply, Refusal>, Refusal>;

/// The activity if it is pending: scheduled, and no closing event written or buffered.
fn pending(state: &State, scheduled_event_id: i64) -> Option<(&Arc<ActivityInfo>, &Arc<ActivityProgress>)> {
    let info = state.derived.activities.get(&scheduled_event_id)?;
    let progress = state.progress.activities.get(&scheduled_event_id)?;
    (!state.progress.buffer.closes_activity(scheduled_event_id)).then_some((info, progress))
}

/// Changes the activity's progress and marks its row.
pub(crate) fn change(step: &mut Step<'_, '_>, scheduled_event_id: i64, how: impl FnOnce(&mut ActivityProgress)) {
    if let Some(progress) = step.run.state.progress.activities.get_mut(&scheduled_event_id) {
        how(Arc::make_mut(progress));
        step.run.state.dirty.mark(Kind::Attempt, scheduled_event_id);
        step.touch();
    }
}

//! `sempre activity …`: the activities of workflows, attempt by attempt.

mod attempts;
mod operate;
mod respond;

use clap::Subcommand;

use super::{Failure, flags::CommonFlags, flags::Family, session};

#[derive(Subcommand)]
pub(crate) enum ActivityCommand {
    /// List the attempts of a run's activities: worker, times, outcome, failure, last heartbeat
    Attempts(attempts::Options),
    /// Complete an activity with a result
    Complete(respond::Complete),
    /// Fail an activity for good
    Fail(respond::Fail),
    /// Pause an activity: no further attempt begins
    Pause(operate::Pause),
    /// Let a paused activity go on
    Unpause(operate::Unpause),
    /// Begin an activity again from its first attempt
    Reset(operate::Reset),
    /// Change timeouts, retries or task queue of a pending activity
    UpdateOptions(Box<operate::UpdateOptions>),
}

pub(crate) fn run(common: CommonFlags, family: Family<ActivityCommand>) -> Result<(), Failure> {
    use ActivityCommand as C;
    session::run(common, &family.client, async |session| match family.command {
        C::Attempts(options) => attempts::run(session, &options).await,
        C::Complete(options) => respond::complete(session, &options).await,
        C::Fail(options) => respond::fail(session, &options).await,
        C::Pause(options) => operate::pause(session, &options).await,
        C::Unpause(options) => operate::unpause(session, &options).await,
        C::Reset(options) => operate::reset(session, &options).await,
        C::UpdateOptions(options) => operate::update_options(session, &options).await,
    })
}

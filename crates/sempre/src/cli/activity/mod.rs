//! `sempre activity …`: activities of workflows, attempt by attempt, and those that belong to none.

mod attempts;
mod operate;
mod respond;
mod standalone;

use clap::Subcommand;

use super::{Failure, flags::CommonFlags, flags::Family, pages::Count, session};

#[derive(Subcommand)]
pub(crate) enum ActivityCommand {
    /// Start an activity that belongs to no workflow
    Start(Box<standalone::Start>),
    /// Start an activity that belongs to no workflow and wait for its result
    Execute(Box<standalone::Execute>),
    /// Wait for the result of an activity that belongs to no workflow
    Result(standalone::Reference),
    /// Show an activity that belongs to no workflow
    Describe(standalone::Describe),
    /// List activities that belong to no workflow
    List(standalone::List),
    /// Count activities that belong to no workflow
    Count(Count),
    /// Ask an activity that belongs to no workflow to stop
    Cancel(standalone::Stop),
    /// Close an activity that belongs to no workflow at once
    Terminate(standalone::Stop),
    /// Delete an activity that belongs to no workflow
    Delete(standalone::Delete),
    /// List the attempts of a run's activities, or of one that belongs to no workflow: worker, times, outcome, failure, last heartbeat
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
        C::Start(options) => standalone::start(session, &options).await,
        C::Execute(options) => standalone::execute(session, &options).await,
        C::Result(options) => standalone::result(session, &options).await,
        C::Describe(options) => standalone::describe(session, &options).await,
        C::List(options) => standalone::list(session, &options).await,
        C::Count(options) => standalone::count(session, &options).await,
        C::Cancel(options) => standalone::cancel(session, &options).await,
        C::Terminate(options) => standalone::terminate(session, &options).await,
        C::Delete(options) => standalone::delete(session, &options).await,
        C::Attempts(options) => attempts::run(session, &options).await,
        C::Complete(options) => respond::complete(session, &options).await,
        C::Fail(options) => respond::fail(session, &options).await,
        C::Pause(options) => operate::pause(session, &options).await,
        C::Unpause(options) => operate::unpause(session, &options).await,
        C::Reset(options) => operate::reset(session, &options).await,
        C::UpdateOptions(options) => operate::update_options(session, &options).await,
    })
}

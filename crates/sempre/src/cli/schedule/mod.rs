//! `sempre schedule …`: workflows that are started by the clock.

mod create;
mod describe;
mod list;
mod patch;
mod skipped;
mod spec;

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::v1::enums;

use super::{Failure, flags::CommonFlags, flags::Family, session};

#[derive(Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Make a schedule
    Create(Box<create::Create>),
    /// Describe a schedule
    Describe(Id),
    /// List the schedules
    List(list::Options),
    /// Replace a schedule by a new definition
    Update(Box<create::Update>),
    /// Pause a schedule, or let it go on
    Toggle(patch::Toggle),
    /// Take the schedule's action now
    Trigger(patch::Trigger),
    /// Take the schedule's actions of a time that has passed
    Backfill(patch::Backfill),
    /// Delete a schedule
    Delete(Id),
    /// List the times in a range at which a schedule acts
    ListMatchingTimes(list::MatchingTimes),
    /// List the actions of a schedule that were not taken, and why
    Skipped(skipped::Options),
}

/// Which schedule.
#[derive(Args, Clone, Debug)]
pub(crate) struct Id {
    /// The schedule
    #[arg(short, long, value_name = "ID")]
    schedule_id: String,
}

/// What happens when the last action's workflow still runs.
#[derive(Args, Clone, Copy, Debug)]
struct Overlap {
    /// What to do when the workflow of the action before still runs
    #[arg(long, value_enum, value_name = "POLICY", default_value_t = Policy::Skip, ignore_case = true)]
    overlap_policy: Policy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum Policy {
    Skip,
    BufferOne,
    BufferAll,
    CancelOther,
    TerminateOther,
    AllowAll,
}

impl Overlap {
    fn value(self) -> i32 {
        use enums::ScheduleOverlapPolicy as P;
        let policy = match self.overlap_policy {
            Policy::Skip => P::Skip,
            Policy::BufferOne => P::BufferOne,
            Policy::BufferAll => P::BufferAll,
            Policy::CancelOther => P::CancelOther,
            Policy::TerminateOther => P::TerminateOther,
            Policy::AllowAll => P::AllowAll,
        };
        policy as i32
    }
}

pub(crate) fn run(common: CommonFlags, family: Family<ScheduleCommand>) -> Result<(), Failure> {
    use ScheduleCommand as C;
    session::run(common, &family.client, async |session| match family.command {
        C::Create(options) => create::create(session, &options).await,
        C::Describe(id) => describe::run(session, &id).await,
        C::List(options) => list::run(session, &options).await,
        C::Update(options) => create::update(session, &options).await,
        C::Toggle(options) => patch::toggle(session, &options).await,
        C::Trigger(options) => patch::trigger(session, &options).await,
        C::Backfill(options) => patch::backfill(session, &options).await,
        C::Delete(id) => patch::delete(session, &id).await,
        C::ListMatchingTimes(options) => list::matching_times(session, &options).await,
        C::Skipped(options) => skipped::run(session, &options).await,
    })
}

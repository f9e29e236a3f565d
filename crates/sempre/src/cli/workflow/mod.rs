//! `sempre workflow …`: start runs, look at them, steer them.

mod cancel;
mod count;
mod delete;
mod describe;
mod execute;
mod fix_history;
mod fork;
mod list;
mod patches;
mod pause;
mod query;
mod reset;
pub(super) mod result;
mod show;
mod signal;
mod signal_with_start;
pub(crate) mod start;
mod target;
mod terminate;
mod trace;
mod update;
mod update_options;
mod update_with_start;
mod why;

use clap::{Args, Subcommand};
use sempre_api::v1::common::WorkflowExecution;

pub(crate) use result::value as result_value;
pub(crate) use target::{Many, ask_about, preview, start_batch, told_job};

use super::{Failure, flags::CommonFlags, flags::Family, pages::Count, session};

#[derive(Subcommand)]
pub(crate) enum WorkflowCommand {
    /// Start a workflow and return
    Start(Box<start::Options>),
    /// Start a workflow, show its progress and wait for its result
    Execute(Box<execute::Options>),
    /// List workflows
    List(list::Options),
    /// Show the history of a run
    Show(show::Options),
    /// Describe a run: state, times, what it waits for
    Describe(describe::Options),
    /// Count workflows
    Count(Count),
    /// Send a signal to a workflow, or to all that match a query
    Signal(signal::Options),
    /// Send a signal to a workflow, which is started if it does not run
    SignalWithStart(Box<signal_with_start::Options>),
    /// Ask a workflow a question
    Query(query::Options),
    /// Show a workflow's stack trace, as its worker tells it
    Stack(query::StackOptions),
    /// Show what a workflow says of itself: its queries, signals, updates, details
    Metadata(query::MetadataOptions),
    /// Send an update to a workflow and look at what became of it
    #[command(subcommand, arg_required_else_help = true)]
    Update(update::UpdateCommand),
    /// Send an update to a workflow, which is started if it does not run, and wait until it is accepted
    StartUpdateWithStart(Box<update_with_start::StartOptions>),
    /// Send an update to a workflow, which is started if it does not run, and wait for its result
    ExecuteUpdateWithStart(Box<update_with_start::ExecuteOptions>),
    /// Ask a workflow, or all that match a query, to stop
    Cancel(cancel::Options),
    /// Close a workflow, or all that match a query, at once
    Terminate(terminate::Options),
    /// Delete a workflow, or all that match a query, with their histories
    Delete(delete::Options),
    /// Go on from an earlier point of a workflow in a new run
    Reset(Box<reset::Options>),
    /// Go on from any event of a workflow in a new run, with another input if wanted
    Fork(fork::Options),
    /// Tell in one sentence what a workflow waits for
    Why(why::Options),
    /// Wait for a workflow's result
    Result(result::Options),
    /// Watch a workflow and its children as they go
    Trace(trace::Options),
    /// Tell which patches in workflow code (`patched`, `GetVersion`) runs still need, and which are safe to remove
    ///
    /// From the search attribute TemporalChangeVersion, and from the markers in a bounded number of histories; what was read is
    /// said.
    Patches(patches::Options),
    /// Pause a workflow
    Pause(pause::Options),
    /// Let a paused workflow go on
    Unpause(pause::Options),
    /// Change how a workflow chooses the version of its workers
    UpdateOptions(update_options::Options),
    /// Write a history that an older tool saved in the form of today
    FixHistoryJson(fix_history::Options),
}

/// One workflow.
#[derive(Args, Clone, Debug)]
pub(crate) struct Reference {
    /// The workflow
    #[arg(short, long, value_name = "ID")]
    pub(crate) workflow_id: String,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub(crate) run_id: String,
}

impl Reference {
    pub(crate) fn execution(&self) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.workflow_id.clone(), run_id: self.run_id.clone() }
    }
}

pub(crate) fn run(common: CommonFlags, family: Family<WorkflowCommand>) -> Result<(), Failure> {
    use WorkflowCommand as C;
    session::run(common, &family.client, async |session| match family.command {
        C::Start(options) => start::run(session, &options).await,
        C::Execute(options) => execute::run(session, &options).await,
        C::List(options) => list::run(session, &options).await,
        C::Show(options) => show::run(session, &options).await,
        C::Describe(options) => describe::run(session, &options).await,
        C::Count(options) => count::run(session, &options).await,
        C::Signal(options) => signal::run(session, &options).await,
        C::SignalWithStart(options) => signal_with_start::run(session, &options).await,
        C::Query(options) => query::run(session, &options).await,
        C::Stack(options) => query::stack(session, &options).await,
        C::Metadata(options) => query::metadata(session, &options).await,
        C::Update(command) => update::run(session, &command).await,
        C::StartUpdateWithStart(options) => update_with_start::start(session, &options).await,
        C::ExecuteUpdateWithStart(options) => update_with_start::execute(session, &options).await,
        C::Cancel(options) => cancel::run(session, &options).await,
        C::Terminate(options) => terminate::run(session, &options).await,
        C::Delete(options) => delete::run(session, &options).await,
        C::Reset(options) => reset::run(session, &options).await,
        C::Fork(options) => fork::run(session, &options).await,
        C::Why(options) => why::run(session, &options).await,
        C::Result(options) => result::run(session, &options).await,
        C::Trace(options) => trace::run(session, &options).await,
        C::Patches(options) => patches::run(session, options).await,
        C::Pause(options) => pause::pause(session, &options).await,
        C::Unpause(options) => pause::unpause(session, &options).await,
        C::UpdateOptions(options) => update_options::run(session, &options).await,
        C::FixHistoryJson(options) => fix_history::run(session, &options),
    })
}

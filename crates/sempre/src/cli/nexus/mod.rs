//! `sempre nexus operation …`: Nexus operations that belong to no workflow. Names and flags as in Temporal's CLI.

mod operation;

use clap::Subcommand;

use super::{Failure, flags::CommonFlags, flags::Family, pages::Count, session};

#[derive(Subcommand)]
pub(crate) enum NexusCommand {
    /// Nexus operations that belong to no workflow
    #[command(subcommand)]
    Operation(OperationCommand),
}

#[derive(Subcommand)]
pub(crate) enum OperationCommand {
    /// Start an operation
    Start(Box<operation::New>),
    /// Start an operation and wait for its result
    Execute(Box<operation::New>),
    /// Wait for the result of an operation
    Result(operation::Reference),
    /// Show an operation
    Describe(operation::Describe),
    /// List operations
    List(operation::List),
    /// Count operations
    Count(Count),
    /// Ask the handler of an operation to stop it
    Cancel(operation::Stop),
    /// Close an operation at once; its handler does not hear of it
    Terminate(operation::Stop),
    /// Delete an operation
    Delete(operation::Delete),
}

pub(crate) fn run(common: CommonFlags, family: Family<NexusCommand>) -> Result<(), Failure> {
    use OperationCommand as C;
    let NexusCommand::Operation(command) = family.command;
    session::run(common, &family.client, async |session| match command {
        C::Start(options) => operation::start(session, &options).await,
        C::Execute(options) => operation::execute(session, &options).await,
        C::Result(options) => operation::result(session, &options).await,
        C::Describe(options) => operation::describe(session, &options).await,
        C::List(options) => operation::list(session, &options).await,
        C::Count(options) => operation::count(session, &options).await,
        C::Cancel(options) => operation::cancel(session, &options).await,
        C::Terminate(options) => operation::terminate(session, &options).await,
        C::Delete(options) => operation::delete(session, &options).await,
    })
}

//! `sempre task-queue …`: who polls, what waits, at which rate.

mod config;
mod describe;
mod list_partition;

use clap::{Subcommand, ValueEnum};
use sempre_api::v1::{enums::TaskQueueType, taskqueue::TaskQueue};

pub(crate) use describe::ask;

use super::{Failure, flags::CommonFlags, flags::Family, session};

#[derive(Subcommand)]
pub(crate) enum TaskQueueCommand {
    /// Show who polls a task queue and what waits in it
    Describe(describe::Options),
    /// List the partitions of a task queue
    ListPartition(list_partition::Options),
    /// Rate limits of a task queue
    #[command(subcommand, arg_required_else_help = true)]
    Config(config::ConfigCommand),
}

/// Kinds of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    Workflow,
    Activity,
    Nexus,
}

impl From<Kind> for TaskQueueType {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Workflow => Self::Workflow,
            Kind::Activity => Self::Activity,
            Kind::Nexus => Self::Nexus,
        }
    }
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue { name: name.to_owned(), ..TaskQueue::default() })
}

pub(crate) fn run(common: CommonFlags, family: Family<TaskQueueCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        TaskQueueCommand::Describe(options) => describe::run(session, &options).await,
        TaskQueueCommand::ListPartition(options) => list_partition::run(session, &options).await,
        TaskQueueCommand::Config(command) => config::run(session, command).await,
    })
}

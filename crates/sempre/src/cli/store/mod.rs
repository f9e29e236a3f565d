//! `sempre store …`: commands on the data itself.

pub(crate) mod check;

use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Prove that everything stored of each workflow run follows from its history
    Check(check::Options),
}

pub(crate) fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(options) => check::run(&options),
    }
}

//! `sempre store …`: commands on the data itself.

pub(crate) mod check;
#[cfg(feature = "postgres")]
mod copy;

use clap::Subcommand;

use super::Failure;

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// Prove that everything stored of each workflow run follows from its history
    Check(check::Options),
    /// Copy the data of a folder into a PostgreSQL database, or back, and compare both
    #[cfg(feature = "postgres")]
    Copy(copy::Options),
}

pub(crate) fn run(command: StoreCommand) -> Result<(), Failure> {
    match command {
        StoreCommand::Check(options) => check::run(&options),
        #[cfg(feature = "postgres")]
        StoreCommand::Copy(options) => copy::run(&options),
    }
}

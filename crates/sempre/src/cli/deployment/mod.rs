//! `sempre deployment …`: versions of workers against the runs that there are.

pub(crate) mod check;

use clap::Subcommand;

use super::{
    Failure,
    flags::{CommonFlags, Family},
    session,
};

#[derive(Subcommand)]
pub(crate) enum DeploymentCommand {
    /// Have the workers of a version replay open runs, and tell which they cannot go on with
    ///
    /// To be run before the version is made current: its workers are started first and get no tasks yet. A sample of the
    /// open runs, chosen by the shapes of their histories, is replayed; no run is changed. Exit code 0: all of it was
    /// replayed without a difference. 1: the version cannot go on with a run. 3: something was not answered.
    Check(check::Options),
}

pub(crate) fn run(common: CommonFlags, family: Family<DeploymentCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match family.command {
        DeploymentCommand::Check(options) => check::run(session, options).await,
    })
}

//! `sempre visibility rebuild`: has a running server make the index of runs anew, and tells how far it is.
#![expect(clippy::disallowed_methods, reason = "a command waits by the wall clock")]

use std::time::Duration;

use clap::{Args, Subcommand};
use sempre_api::sempre::v1::{DescribeVisibilityRequest, RebuildVisibilityRequest};

use super::{
    Failure,
    flags::{CommonFlags, Family},
    session::{self, Session},
};

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Subcommand)]
pub(crate) enum VisibilityCommand {
    /// Make the index of lists and counts anew from the runs themselves, while the server goes on
    Rebuild(Options),
}

#[derive(Args)]
pub(crate) struct Options {
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub(crate) fn run(common: CommonFlags, family: Family<VisibilityCommand>) -> Result<(), Failure> {
    let VisibilityCommand::Rebuild(options) = family.command;
    session::run(common, &family.client, async |session| rebuild(session, &options).await)
}

async fn rebuild(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let mut client = session.client().await?.operate;
    let began = client.rebuild_visibility(RebuildVisibilityRequest {}).await?.into_inner().rebuild.unwrap_or_default();
    if options.detach {
        return session.out.line("the rebuild goes on in the server");
    }
    let mut told = 0;
    loop {
        let now = client.describe_visibility(DescribeVisibilityRequest {}).await?.into_inner().rebuild.unwrap_or_default();
        if now.finished > began.finished {
            let (runs, damaged) = (now.runs, now.damaged);
            return session.out.line(format!("{runs} runs are in the index, {damaged} were left out because their rows are damaged"));
        }
        let tenths = now.slots_done * 10 / 1024;
        if tenths > told {
            told = tenths;
            session.out.line(format!("{} % of the slots, {} runs", tenths * 10, now.runs))?;
        }
        tokio::time::sleep(LOOK).await;
    }
}

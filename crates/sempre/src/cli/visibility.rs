//! `sempre visibility`: how the index of runs is doing; has a running server make it anew, and tells how far that is.
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
    /// Tell whether the index of lists and counts is whole and takes what happens
    Status,
}

#[derive(Args)]
pub(crate) struct Options {
    /// Do not wait for its end
    #[arg(long)]
    detach: bool,
}

pub(crate) fn run(common: CommonFlags, family: Family<VisibilityCommand>) -> Result<(), Failure> {
    session::run(common, &family.client, async |session| match &family.command {
        VisibilityCommand::Rebuild(options) => rebuild(session, options).await,
        VisibilityCommand::Status => status(session).await,
    })
}

async fn status(session: &mut Session) -> Result<(), Failure> {
    let now = session.client().await?.operate.describe_visibility(DescribeVisibilityRequest {}).await?.into_inner();
    session.out.message(&now)?;
    let rebuild = now.rebuild.unwrap_or_default();
    let index = if rebuild.running {
        format!("being made anew, {} of 1024 slots are done", rebuild.slots_done)
    } else if now.needs_rebuild.is_empty() {
        "whole".to_owned()
    } else {
        format!("must be made anew: {}", now.needs_rebuild)
    };
    let mut entries = vec![("Index", index.into())];
    if let Some(index) = &now.index {
        entries.push(("Runs", index.runs.to_string().into()));
        entries.push(("Bytes", index.bytes.to_string().into()));
    }
    entries.push(("Waiting", format!("{} records, {} bytes", now.waiting_records, now.waiting_bytes).into()));
    if let Some(failure) = &now.failure {
        let since = session.out.time(failure.since.as_ref());
        entries.push(("Failing", format!("since {since}, {} times, last: {}", failure.times, failure.reason).into()));
    }
    let work = if now.holds_work_back { "held back until the index takes records" } else { "goes on" };
    entries.push(("Work", work.into()));
    session.out.card(&entries)
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

//! `sempre workflow patches`: which branches of versioned workflow code runs still need.
#![expect(clippy::disallowed_methods, reason = "progress is told by the wall clock; nothing is decided by it")]

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use clap::Args;
use sempre_api::sempre::v1::{ListPatchesRequest, PatchAdvice, PatchProgress, PatchUse, WorkflowTypePatches};

use crate::cli::{
    Failure,
    output::{Cell, Hue, Table},
    session::Session,
};

/// Between two lines of progress.
const TELL: Duration = Duration::from_secs(1);

#[derive(Args)]
pub(crate) struct Options {
    /// Only this workflow type; can be repeated [default: all]
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only this patch
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    patch_id: String,
    /// Histories read of each workflow type, open runs first; -1 is none [default: 1000]
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true, allow_negative_numbers = true)]
    histories_per_type: i32,
}

pub(crate) async fn run(session: &mut Session, options: Options) -> Result<(), Failure> {
    let request = ListPatchesRequest {
        namespace: session.namespace(),
        workflow_types: options.types,
        patch_id: options.patch_id,
        histories_per_type: options.histories_per_type,
    };
    let mut messages = session.client().await?.version.list_patches(request).await?.into_inner();
    let (mut told, terminal) = (Instant::now(), io::stderr().is_terminal());
    let (mut read, mut found) = (Vec::new(), false);
    session.out.begin_list()?;
    while let Some(message) = messages.message().await? {
        if let Some(progress) = message.progress.filter(|_| terminal && told.elapsed() >= TELL) {
            told = Instant::now();
            // Progress that cannot be told harms nobody.
            let _ = writeln!(io::stderr(), "{}", how_far(&progress));
        }
        let Some(kind) = message.r#type else { continue };
        found |= !kind.patches.is_empty();
        read.push(what_was_read(&kind));
        if !kind.patches.is_empty() {
            session.out.message(&kind)?;
            show(session, &kind)?;
        }
    }
    session.out.end_list()?;
    if !found {
        session.out.line("no run has met a patch, as far as was read:")?;
    }
    for line in read {
        session.out.line(line)?;
    }
    Ok(())
}

fn how_far(progress: &PatchProgress) -> String {
    let PatchProgress { types_total, types_done, workflow_type, records_read, histories_read } = progress;
    format!("{types_done} of {types_total} types, at {workflow_type}: {records_read} runs looked at, {histories_read} histories read")
}

fn what_was_read(kind: &WorkflowTypePatches) -> String {
    let (open, closed) = (kind.open_runs, kind.closed_runs);
    let cut = if kind.truncated { ", and not all that matter" } else { "" };
    format!(
        "{}: {open} open and {closed} closed runs; of the index {} records were read{cut}, of histories those of {} open and {} closed runs",
        kind.workflow_type, kind.records_read, kind.open_histories_read, kind.closed_histories_read
    )
}

fn advice(told: &PatchUse) -> Cell {
    match told.advice() {
        PatchAdvice::Remove => Cell::in_hue("safe to remove", Hue::Good),
        PatchAdvice::Deprecate => Cell::in_hue("deprecate", Hue::Running),
        PatchAdvice::Keep | PatchAdvice::Unspecified => Cell::in_hue("keep", Hue::Odd),
    }
}

/// The id, and the version of a change that has versions.
fn name(told: &PatchUse) -> String {
    match told.version {
        None => told.patch_id.clone(),
        Some(version) => format!("{} version {version}", told.patch_id),
    }
}

fn show(session: &mut Session, kind: &WorkflowTypePatches) -> Result<(), Failure> {
    session.out.title(&kind.workflow_type)?;
    let mut table = Table::new(&["Patch", "Advice", "OpenWith", "Deprecated", "OpenWithout", "ClosedWith", "RetainedUntil"]);
    let mut rows = Vec::new();
    for told in &kind.patches {
        let until = session.out.time(told.retained_until.as_ref());
        let mut cells = vec![Cell::from(name(told)), advice(told)];
        let numbers = [told.open_with, told.open_deprecated, told.open_without, told.closed_with];
        cells.extend(numbers.map(|number| Cell::from(number.to_string())));
        cells.push(until.into());
        rows.push(cells);
    }
    session.out.table(&mut table, &rows)?;
    for told in &kind.patches {
        let run = if told.workflow_id.is_empty() { String::new() } else { format!(", such as {} {}", told.workflow_id, told.run_id) };
        session.out.line(format!("  {}: {}, because {}{run}", name(told), advice(told).text(), told.because))?;
    }
    Ok(())
}

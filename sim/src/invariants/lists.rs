//! Lists and counts show what the runs are, once all is quiet: every filter picks what a look at every run picks.

use std::collections::BTreeMap;

use sempre_api::v1::enums::WorkflowExecutionStatus as Status;

use super::attributes;
use crate::{
    ending::{Ending, Run, name},
    lists::{QUERIES, Seen},
    script::{STAGE, TASKS},
};

/// The status of a run by its last event.
fn status(run: &Run) -> i32 {
    let status = match run.events.last().map(name) {
        Some("WORKFLOW_EXECUTION_COMPLETED") => Status::Completed,
        Some("WORKFLOW_EXECUTION_FAILED") => Status::Failed,
        Some("WORKFLOW_EXECUTION_TIMED_OUT") => Status::TimedOut,
        Some("WORKFLOW_EXECUTION_CANCELED") => Status::Canceled,
        Some("WORKFLOW_EXECUTION_TERMINATED") => Status::Terminated,
        Some("WORKFLOW_EXECUTION_CONTINUED_AS_NEW") => Status::ContinuedAsNew,
        _ => Status::Running,
    };
    status as i32
}

fn kind(run: &Run) -> &str {
    run.started().and_then(|started| started.workflow_type.as_ref()).map(|kind| &kind.name[..]).unwrap_or_default()
}

fn seen(run: &Run) -> Seen<'_> {
    let said = attributes::of(run);
    Seen {
        status: status(run),
        kind: kind(run),
        workflow: &run.key.workflow.workflow_id,
        stage: said.get(STAGE).map(|stage| stage.trim_matches('"').to_owned()),
        tasks: said.get(TASKS).and_then(|tasks| tasks.parse().ok()),
    }
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let Some(lists) = &ending.lists else { return Vec::new() };
    let mut found = Vec::new();
    for (query, picks) in QUERIES {
        let expected: BTreeMap<&str, (i32, i64)> =
            ending.runs.iter().filter(|run| picks(&seen(run))).map(|run| (&run.id[..], (status(run), run.events.len() as i64))).collect();
        let rows = lists.listed.get(query).map(Vec::as_slice).unwrap_or_default();
        let mut listed: BTreeMap<&str, (i32, i64)> = BTreeMap::new();
        for row in rows {
            let id = row.execution.as_ref().map(|execution| &execution.run_id[..]).unwrap_or_default();
            if listed.insert(id, (row.status, row.history_length)).is_some() {
                found.push(format!("the list of {query:?} shows {id} twice"));
            }
        }
        for (id, run) in &expected {
            match listed.get(id) {
                None => found.push(format!("the list of {query:?} lacks {id}, which is {run:?}")),
                // An open run's length is not listed.
                Some(row) if row.0 != run.0 || run.0 != Status::Running as i32 && row.1 != run.1 => {
                    found.push(format!("the list of {query:?} shows {id} as {row:?}, and it is {run:?}"));
                }
                Some(_) => {}
            }
        }
        for id in listed.keys().filter(|id| !expected.contains_key(*id)) {
            found.push(format!("the list of {query:?} shows {id}, which does not match"));
        }
        if lists.counted.get(query) != Some(&(expected.len() as i64)) {
            found.push(format!("the count of {query:?} is {:?}, and {} runs match", lists.counted.get(query), expected.len()));
        }
    }
    found
}

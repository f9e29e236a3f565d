//! A task is started by one poller per attempt: no two have been handed the same one.

use crate::{ending::Ending, oracle::Handed};

/// Attempts of an activity that an operator resets are counted from 1 again.
fn counts_again(ending: &Ending, task: &Handed) -> bool {
    match task {
        Handed::Workflow(..) => false,
        Handed::Activity(run, ..) => {
            ending.run(run).is_some_and(|run| ending.oracle.activities_reset.contains(&run.key.workflow.workflow_id))
        }
    }
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    ending
        .oracle
        .handed
        .iter()
        .filter(|(task, times)| **times > 1 && !counts_again(ending, task))
        .map(|(task, times)| format!("{task:?} was handed out {times} times"))
        .collect()
}

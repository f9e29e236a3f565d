//! Batch jobs: one that was begun ends, with every workflow done or failed, and it signals a run once.

use crate::ending::Ending;

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (id, job) in &ending.oracle.jobs {
        if job.acknowledged && job.ended.is_none() {
            found.push(format!("{id} was begun and has not ended"));
        }
        if !job.signals {
            continue;
        }
        for run in ending.runs.iter().filter(|run| !ending.oracle.reset.contains(&run.key.workflow.workflow_id)) {
            let times = run.holding(&job.marker);
            if times > 1 {
                found.push(format!("{id} signaled {} {} {times} times", run.key.workflow.workflow_id, run.id));
            }
        }
        // A workflow that is closed by then counts as done.
        if let Some((all, done, failed)) = job.ended.filter(|(all, done, failed)| !job.by_query && done + failed != *all) {
            found.push(format!("{id} has ended with {done} of {all} done, {failed} failed"));
        }
    }
    found
}

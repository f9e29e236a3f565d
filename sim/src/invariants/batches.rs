//! Batch jobs: one that was begun ends; it signals a run once, and what it says it has done is done.

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
        let mut signaled = 0;
        for run in ending.runs.iter().filter(|run| !ending.oracle.reset.contains(&run.key.workflow.workflow_id)) {
            let times = run.holding(&job.marker);
            signaled += times;
            if times > 1 {
                found.push(format!("{id} signaled {} {} {times} times", run.key.workflow.workflow_id, run.id));
            }
        }
        if let Some((all, done, failed)) = job.ended
            && (done + failed != all || ending.oracle.reset.is_empty() && (signaled as i64) < done)
        {
            found.push(format!("{id} has done {done} of {all}, {failed} failed; {signaled} runs have its signal"));
        }
    }
    found
}

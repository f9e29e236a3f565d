//! A request id has one effect, however often the request was sent: one chain of runs, one signal in a run.

use std::collections::BTreeSet;

use crate::ending::Ending;

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    // A start is known again for as long as its chain is the current one of its workflow id.
    for start in ending.oracle.starts.values().filter(|start| !ending.oracle.started_again.contains(&start.workflow)) {
        let workflow = &start.workflow;
        let chains: BTreeSet<_> =
            ending.of_workflow(workflow).filter_map(|run| run.started()).map(|started| started.first_execution_run_id.clone()).collect();
        if chains.len() > 1 {
            found.push(format!("one start of {workflow} made the chains {chains:?}"));
        }
        if let Some(signal) = start.signal.as_ref().filter(|_| !ending.oracle.reset.contains(workflow)) {
            let times: usize = ending.of_workflow(workflow).map(|run| run.holding(signal)).sum();
            if times > 1 {
                found.push(format!("one signal with start, {signal}, signaled {times} times"));
            }
        }
    }
    for signal in &ending.oracle.signals {
        let mut total = 0;
        for run in ending.of_workflow(&signal.workflow) {
            let count = run.holding(&signal.marker);
            total += count;
            if count > 1 {
                found.push(format!("signal {} is {count} times in {} {}", signal.marker, signal.workflow, run.id));
            }
        }
        if signal.run.is_some() && total > 1 && !ending.oracle.reset.contains(&signal.workflow) {
            found.push(format!("signal {} to one run is in {total} places", signal.marker));
        }
    }
    for result in ending.oracle.results.iter().filter(|result| !ending.oracle.reset.contains(&result.workflow)) {
        let count: usize = ending.of_workflow(&result.workflow).map(|run| run.holding(&result.marker)).sum();
        if count > 1 {
            found.push(format!("result {} is {count} times in history", result.marker));
        }
    }
    found
}

//! Schedules: the actions that one says it has taken are the chains it has started, no more than it may; and chains do not overlap
//! where its policy says so.

use std::collections::{BTreeMap, BTreeSet};

use sempre_api::v1::enums::ScheduleOverlapPolicy as Policy;

use crate::ending::{Ending, Run};

fn time(run: &Run, last: bool) -> i64 {
    let event = if last { run.events.last() } else { run.events.first() };
    event.and_then(|event| event.event_time).map_or(0, |at| at.seconds * 1_000_000_000 + i64::from(at.nanos))
}

pub(super) fn check(ending: &Ending) -> Vec<String> {
    let mut found = Vec::new();
    for (id, schedule) in &ending.oracle.schedules {
        let marker = format!("<in-{id}>");
        let mut chains: BTreeMap<String, Vec<&Run>> = BTreeMap::new();
        for run in ending.runs.iter().filter(|run| run.key.workflow.workflow_id.starts_with(id) && run.holding(&marker) > 0) {
            let first = run.started().map(|started| started.first_execution_run_id.clone()).unwrap_or_default();
            chains.entry(first).or_default().push(run);
        }
        let most = schedule.actions + schedule.triggers;
        if chains.len() as u64 > most {
            found.push(format!("{id} started {} chains and may take {most} actions", chains.len()));
        }
        if schedule.taken.is_some_and(|taken| taken != chains.len() as i64) {
            found.push(format!("{id} says it has taken {:?} actions, and there are {} chains", schedule.taken, chains.len()));
        }
        let apart = schedule.policy != Policy::AllowAll as i32 && !schedule.overlaps && !ending.oracle.clock_went_back;
        if !apart {
            continue;
        }
        let mut spans: BTreeSet<(i64, i64)> = BTreeSet::new();
        for runs in chains.values() {
            let begins = runs.iter().map(|run| time(run, false)).min().unwrap_or_default();
            let ends = runs.iter().map(|run| time(run, true)).max().unwrap_or_default();
            spans.insert((begins, ends));
        }
        for ((_, ends), (begins, _)) in spans.iter().zip(spans.iter().skip(1)) {
            if begins < ends {
                found.push(format!(
                    "{id} (policy {}) started a chain {} ms before the last one had ended",
                    schedule.policy,
                    (ends - begins) / 1_000_000
                ));
            }
        }
    }
    found
}

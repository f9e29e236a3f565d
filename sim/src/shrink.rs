//! Makes a failing world smaller for as long as it still fails: fewer workflows, calls and steps, one kind of trouble after the other
//! left out.

use crate::{Outcome, Plan, run};

/// What a shrink may cost.
const RUNS_MAX: u64 = 200;

/// Numbers that must not be zero.
const AT_LEAST_ONE: &[&str] = &["workflows", "workers", "shards", "nodes", "commits-in-flight"];

/// The smallest plan found that fails, and how it fails.
#[must_use]
pub fn shrink(plan: &Plan, outcome: Outcome) -> (Plan, Outcome) {
    let (mut plan, mut outcome) = (plan.clone(), outcome);
    let mut runs = 0;
    loop {
        let mut smaller = false;
        for (name, value) in plan.numbers() {
            let least = u64::from(AT_LEAST_ONE.contains(&name));
            for next in [least, value / 2, value.saturating_sub(1)] {
                if next >= value || next < least || runs >= RUNS_MAX {
                    continue;
                }
                let mut tried = plan.clone();
                tried.set(name, next);
                runs += 1;
                let found = run(&tried, false);
                if !found.violations.is_empty() {
                    (plan, outcome, smaller) = (tried, found, true);
                    break;
                }
            }
        }
        if !smaller {
            return (plan, outcome);
        }
    }
}

/// The command line of a plan: its seed, and what is not as the seed has it.
#[must_use]
pub fn command(plan: &Plan) -> String {
    let mut text = format!("cargo run --release -p sempre-sim -- run {} --log", plan.seed);
    for ((name, value), (_, drawn)) in plan.numbers().into_iter().zip(Plan::of(plan.seed).numbers()) {
        if value != drawn {
            text.push_str(&format!(" --set {name}={value}"));
        }
    }
    text
}

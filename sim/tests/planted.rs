//! A planted bug is found, made smaller, and shown again by the command line that is printed; without it the same world is well.
//! One test, since which bug is planted is global to the process.

#![cfg(feature = "planted")]
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use sempre_core::planted::{Bug, plant};
use sempre_sim::{Plan, mutants::hunt, run, shrink};

/// The plan that a command line names.
fn plan_of(command: &str) -> Plan {
    let mut words = command.rsplit_once(" run ").expect("a command").1.split(' ');
    let mut plan = Plan::of(words.next().and_then(|seed| seed.parse().ok()).expect("a seed"));
    for setting in words.filter_map(|word| word.split_once('=')) {
        assert!(plan.set(setting.0, setting.1.parse().expect("a number")), "{setting:?}");
    }
    plan
}

#[test]
fn a_planted_bug_is_shown_by_the_printed_command_and_by_nothing_else() {
    plant(Some(Bug::SignalsForgotten));
    let failing = (0..60).map(Plan::of).map(|plan| (plan.clone(), run(&plan, false))).find(|(_, outcome)| !outcome.violations.is_empty());
    let (plan, outcome) = failing.expect("a world in which it matters that a signal comes twice");
    let (small, shown) = shrink::shrink(&plan, outcome);
    assert!(
        small.workflows <= plan.workflows
            && small.numbers().iter().map(|(_, n)| n).sum::<u64>() < plan.numbers().iter().map(|(_, n)| n).sum()
    );
    let again = plan_of(&shrink::command(&small));
    assert_eq!(run(&again, false).violations, shown.violations, "{}", shrink::command(&small));
    plant(None);
    assert_eq!(run(&again, false).violations, [""; 0], "the control");
    // Only worlds with flow rules can find these.
    for bug in [Bug::FlowRowsLost, Bug::FlowNotRecovered] {
        assert!(hunt(bug, 100, 1).is_some(), "{bug:?}");
    }
    // What is said to activities, and done to children, is held against the disk by rules of its own.
    for bug in [Bug::HeartbeatsBeforeCommit, Bug::ChildrenTerminatedForCancel] {
        assert!(hunt(bug, 100, 1).is_some(), "{bug:?}");
    }
    // And only several nodes these.
    assert!(hunt(Bug::LateCommitsTaken, 100, 1).is_some());
}

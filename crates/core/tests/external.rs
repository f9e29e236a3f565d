//! Signals and cancels to other workflows: spec 04 §3, check 6 of §9.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_core::Input;
use sempre_core::transition::{Delivery, OutboxMessage};

const HEAD: &str = "
    1 WorkflowExecutionStarted
    2 WorkflowTaskScheduled
    3 WorkflowTaskStarted {scheduled 2}
    4 WorkflowTaskCompleted {scheduled 2, started 3}
";

#[test]
fn a_signal_reaches_its_target_and_the_sender_knows() {
    let mut world = World::new();
    world.begin("target", []);
    world.begin("wf", [signal_external("target", "hello").command()]);
    world.deliver();
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 SignalExternalWorkflowExecutionInitiated {{to target, name hello, wtc 4}}
        6 ExternalWorkflowExecutionSignaled {{initiated 5, to target}}
        7 WorkflowTaskScheduled
    "
        ),
    );
    assert_history(
        &world,
        "target",
        &format!(
            "{HEAD}
        5 WorkflowExecutionSignaled {{name hello, from wf/1}}
        6 WorkflowTaskScheduled
    "
        ),
    );
}

#[test]
fn a_signal_delivered_twice_is_taken_once() {
    let mut world = World::new();
    world.begin("target", []);
    world.begin("wf", [signal_external("target", "hello").command()]);
    world.deliver_one_unheard();
    world.deliver();
    assert_eq!(world.run("target").events().len(), 6);
    assert_eq!(world.run("wf").events().len(), 7);
}

#[test]
fn nobody_there_fails_the_signal() {
    let mut world = World::new();
    world.begin("closed", [complete()]);
    for target in ["nobody", "closed"] {
        world.begin(&format!("to-{target}"), [signal_external(target, "hello").command()]);
        world.deliver();
        assert_history(
            &world,
            &format!("to-{target}"),
            &format!(
                "{HEAD}
            5 SignalExternalWorkflowExecutionInitiated {{to {target}, name hello, wtc 4}}
            6 SignalExternalWorkflowExecutionFailed {{initiated 5, ExternalWorkflowExecutionNotFound, wtc 0, to {target}}}
            7 WorkflowTaskScheduled
        "
            ),
        );
        world.terminate(&format!("to-{target}"), "enough").unwrap();
    }
}

/// 04 §9.6
#[test]
fn a_workflow_cannot_signal_itself() {
    let mut world = World::new();
    world.begin("wf", [signal_external("wf", "hello").command()]);
    world.deliver();
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 SignalExternalWorkflowExecutionInitiated {{to wf, name hello, wtc 4}}
        6 SignalExternalWorkflowExecutionFailed {{initiated 5, ExternalWorkflowExecutionNotFound, wtc 0, to wf}}
        7 WorkflowTaskScheduled
    "
        ),
    );
}

#[test]
fn a_cancel_request_reaches_its_target() {
    let mut world = World::new();
    world.begin("target", []);
    world.begin("wf", [cancel_external("target").command()]);
    world.deliver();
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 RequestCancelExternalWorkflowExecutionInitiated {{to target, wtc 4}}
        6 ExternalWorkflowExecutionCancelRequested {{initiated 5, to target}}
        7 WorkflowTaskScheduled
    "
        ),
    );
    assert_history(
        &world,
        "target",
        &format!(
            "{HEAD}
        5 WorkflowExecutionCancelRequested {{cause enough, from wf/1}}
        6 WorkflowTaskScheduled
    "
        ),
    );
}

#[test]
fn cancelling_a_closed_workflow_succeeds_and_an_unknown_one_fails() {
    let mut world = World::new();
    world.begin("closed", [complete()]);
    world.begin("wf", [cancel_external("closed").command(), cancel_external("nobody").command()]);
    world.deliver();
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 RequestCancelExternalWorkflowExecutionInitiated {{to closed, wtc 4}}
        6 RequestCancelExternalWorkflowExecutionInitiated {{to nobody, wtc 4}}
        7 ExternalWorkflowExecutionCancelRequested {{initiated 5, to closed}}
        8 WorkflowTaskScheduled
        9 RequestCancelExternalWorkflowExecutionFailed {{initiated 6, ExternalWorkflowExecutionNotFound, wtc 0, to nobody}}
    "
        ),
    );
}

#[test]
fn only_children_can_be_asked_for() {
    let mut world = World::new();
    world.begin("target", []);
    world.begin("wf", [with(signal_external("target", "hello"), |s| s.child_workflow_only = true).command()]);
    world.deliver();
    assert_eq!(world.run("target").events().len(), 4);
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 SignalExternalWorkflowExecutionInitiated {{to target, name hello, wtc 4}}
        6 SignalExternalWorkflowExecutionFailed {{initiated 5, ExternalWorkflowExecutionNotFound, wtc 0, to target}}
        7 WorkflowTaskScheduled
    "
        ),
    );
}

#[test]
fn a_target_full_of_signals_has_a_cause_of_its_own() {
    let mut world = World::new();
    world.limits.signals_max = 0;
    world.begin("target", []);
    world.begin("wf", [signal_external("target", "hello").command()]);
    world.deliver();
    assert_history(
        &world,
        "wf",
        &format!(
            "{HEAD}
        5 SignalExternalWorkflowExecutionInitiated {{to target, name hello, wtc 4}}
        6 SignalExternalWorkflowExecutionFailed {{initiated 5, SignalCountLimitExceeded, wtc 0, to target}}
        7 WorkflowTaskScheduled
    "
        ),
    );
}

#[test]
fn a_closed_sender_only_drops_the_message() {
    let mut world = World::new();
    world.begin("wf", [signal_external("nobody", "hello").command()]);
    world.terminate("wf", "enough").unwrap();
    world.deliver();
    assert!(world.outbox.is_empty());
    assert_eq!(world.run("wf").events().len(), 6);
}

#[test]
fn an_answer_given_twice_is_one_event() {
    let mut world = World::new();
    world.begin("target", []);
    world.begin("wf", [signal_external("target", "hello").command(), timer("t", secs(60))]);
    let entry = world.outbox[0].1.clone();
    assert!(matches!(entry.message, OutboxMessage::Signal(_)));
    world.deliver();
    world.work([]);
    // The engine crashed after the commit and before it knew: the row is gone, the news comes again.
    let delivery = Delivery::Done { initiated_event_id: 5 };
    let events = world.run("wf").events().len();
    world.outbox.push((world.run("wf").execution.key().clone(), entry.clone()));
    world.apply("wf", Input::Delivered { outbox_id: entry.id, delivery }).unwrap();
    assert_eq!(world.run("wf").events().len(), events);
}

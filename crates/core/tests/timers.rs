//! Timers: spec 04 §1 and checks 1–2 of §9.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_core::{Refusal, Span};

#[test]
fn a_timer_fires_at_its_time_and_not_before() {
    let mut world = World::new();
    world.begin("wf", [timer("t", secs(60))]);
    world.advance(Span(secs(60).0 - 1));
    assert_eq!(world.run("wf").events().len(), 5);
    world.advance(Span(1));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 TimerFired {id t, started 5}
        7 WorkflowTaskScheduled
    ",
    );
}

/// 04 §9.1
#[test]
fn timers_due_together_bring_one_task() {
    let mut world = World::new();
    world.begin("wf", [timer("later", secs(3)), timer("b", secs(2)), timer("a", secs(2))]);
    world.sleep(secs(10));
    world.advance(Span::ZERO);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id later, wtc 4}
        6 TimerStarted {id b, wtc 4}
        7 TimerStarted {id a, wtc 4}
        8 TimerFired {id b, started 6}
        9 TimerFired {id a, started 7}
        10 TimerFired {id later, started 5}
        11 WorkflowTaskScheduled
    ",
    );
}

/// 04 §9.2
#[test]
fn cancelling_a_timer_that_fired_unseen_takes_the_firing_back() {
    let mut world = World::new();
    world.begin("wf", [timer("t", secs(2))]);
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(3));
    world.complete(&task, [cancel_timer("t"), complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 TimerCanceled {id t, started 5, wtc 9}
        11 WorkflowExecutionCompleted {wtc 9}
    ",
    );
}

/// 04 §1.2
#[test]
fn a_fired_timer_waits_for_the_running_task() {
    let mut world = World::new();
    world.begin("wf", [timer("t", secs(2))]);
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(3));
    world.complete(&task, [timer("next", secs(5))]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 TimerStarted {id next, wtc 9}
        11 TimerFired {id t, started 5}
        12 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn a_cancelled_timer_never_fires_and_frees_its_id() {
    let mut world = World::new();
    world.begin("wf", [timer("t", secs(5)), cancel_timer("t"), timer("t", secs(60))]);
    world.advance(secs(30));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 TimerCanceled {id t, started 5, wtc 4}
        7 TimerStarted {id t, wtc 4}
    ",
    );
}

#[test]
fn an_unknown_timer_cannot_be_cancelled() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let refusal = world.complete_with(&task, [cancel_timer("t")], |_| {}).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::InvalidArgument(
            "BadCancelTimerAttributes: invalid history builder state for action: add-timer-canceled-event, TimerID: t".into()
        )
    );
}

#[test]
fn a_zero_timer_fires_at_once() {
    let mut world = World::new();
    world.begin("wf", [timer("t", Span::ZERO)]);
    world.advance(Span::ZERO);
    assert_eq!(world.run("wf").events().len(), 7);
}

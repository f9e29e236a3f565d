//! Forks: a reset to any event, with or without another input (the rule is in `reset/point.rs`).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    common::Payloads,
    enums::{ParentClosePolicy, WorkflowExecutionStatus},
    history::history_event::Attributes,
};
use sempre_core::{Input, Span, input::TerminateRequest};

/// Two commands, a signal, a task that recorded a marker, and another signal whose task waits.
fn base(world: &mut World) {
    world.begin("w", [activity("a").command(), timer("t", Span::seconds(3600))]);
    world.signal("w", "s").unwrap();
    world.work([marker("m")]);
    world.signal("w", "late").unwrap();
    assert_history(
        world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 TimerStarted {id t, wtc 4}
        7 WorkflowExecutionSignaled {name s}
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted {scheduled 8}
        10 WorkflowTaskCompleted {scheduled 8, started 9}
        11 MarkerRecorded {name m, wtc 10}
        12 WorkflowExecutionSignaled {name late}
        13 WorkflowTaskScheduled
    ",
    );
}

/// Names of the new run's events.
fn forked(event_id: i64) -> (World, Vec<String>) {
    let mut world = World::new();
    base(&mut world);
    world.fork("w", event_id, None).unwrap();
    let names = names(&world);
    (world, names)
}

fn names(world: &World) -> Vec<String> {
    let name = |event: &sempre_api::v1::history::HistoryEvent| format!("{:?}", event.event_type());
    world.run("w").events().iter().map(name).collect()
}

const TASK: [&str; 3] = ["WorkflowTaskScheduled", "WorkflowTaskStarted", "WorkflowTaskFailed"];

#[test]
fn the_commands_of_a_task_are_not_parted() {
    for event_id in [4, 5] {
        let (_, names) = forked(event_id);
        assert_eq!(names, ["WorkflowExecutionStarted", TASK[0], TASK[1], TASK[2], TASK[0]], "at {event_id}");
    }
    let (_, names) = forked(10);
    assert_eq!(names[7..], [TASK[0], TASK[1], TASK[2], TASK[0]]);
}

#[test]
fn what_is_kept_after_a_task_goes_on_as_it_was() {
    let (mut world, names) = forked(6);
    assert_eq!(names[4..6], ["ActivityTaskScheduled", "TimerStarted"]);
    assert_eq!(names[6..], [TASK[0], TASK[1], TASK[2], TASK[0]], "a task is added and fails, so that workers see the new run");
    assert_history_of(
        &world,
        "w",
        2,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 TimerStarted {id t, wtc 4}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
    ",
    );
    let activity = world.poll_activity().expect("it is offered anew");
    world.complete_activity(&activity, "done").unwrap();
    world.work([complete()]);
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::Completed);
}

#[test]
fn a_signal_a_scheduled_and_a_started_task_are_boundaries_too() {
    let (_, names) = forked(7);
    assert_eq!(names[6..], ["WorkflowExecutionSignaled", TASK[0], TASK[1], TASK[2], TASK[0]]);
    for event_id in [8, 9] {
        let (_, names) = forked(event_id);
        assert_eq!(names[6..], ["WorkflowExecutionSignaled", TASK[0], TASK[1], TASK[2], TASK[0]], "at {event_id}");
    }
    let (_, names) = forked(13);
    assert_eq!(names[11..], ["WorkflowExecutionSignaled", TASK[0], TASK[1], TASK[2], TASK[0]]);
    let (_, names) = forked(1);
    assert_eq!(names, ["WorkflowExecutionStarted", TASK[0], TASK[1], TASK[2], TASK[0]]);
}

#[test]
fn later_signals_have_never_been_unless_they_are_wanted() {
    let mut world = World::new();
    base(&mut world);
    world.fork_with("w", 6, None, true).unwrap();
    let signals = names(&world).into_iter().filter(|name| name == "WorkflowExecutionSignaled").count();
    assert_eq!(signals, 2);
    assert_eq!(world.run("w").events().len(), 12);
}

#[test]
fn the_end_of_a_closed_run_is_not_kept() {
    let mut world = World::new();
    world.begin("w", [marker("m"), complete()]);
    assert_eq!(world.run("w").events().len(), 6);
    for event_id in [5, 6] {
        let mut world = World::new();
        world.begin("w", [marker("m"), complete()]);
        world.fork("w", event_id, None).unwrap();
        assert_eq!(names(&world), ["WorkflowExecutionStarted", TASK[0], TASK[1], TASK[2], TASK[0]]);
    }
    let mut world = World::new();
    world.begin("w", [timer("t", Span::seconds(5))]);
    let terminate = TerminateRequest { reason: "enough".into(), ..Default::default() };
    world.apply("w", Input::Terminate(Box::new(terminate))).unwrap();
    world.fork("w", 6, None).unwrap();
    assert_eq!(names(&world)[3..], ["WorkflowTaskCompleted", "TimerStarted", TASK[0], TASK[1], TASK[2], TASK[0]]);
    world.advance(Span::seconds(5));
    world.work([complete()]);
    assert!(names(&world).contains(&"TimerFired".to_owned()), "what was pending goes on");
}

fn input_of(world: &World) -> Option<Payloads> {
    match world.run("w").events().remove(0).attributes {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => started.input,
        other => panic!("not a start: {other:?}"),
    }
}

#[test]
fn with_another_input_nothing_after_the_first_task_is_kept() {
    for (event_id, signals) in [(2, 0), (6, 0), (7, 1), (11, 1), (13, 2)] {
        let mut world = World::new();
        base(&mut world);
        let old = input_of(&world);
        let input = payloads("another");
        world.fork("w", event_id, input.clone()).unwrap();
        assert!(old != input && input_of(&world) == input);
        let mut expected = vec!["WorkflowExecutionStarted", TASK[0], TASK[1], TASK[2]];
        expected.extend(vec!["WorkflowExecutionSignaled"; signals]);
        expected.push(TASK[0]);
        assert_eq!(names(&world), expected, "at {event_id}: signals up to it are told again");
        world.work([complete()]);
    }
}

#[test]
fn a_child_that_ended_after_the_event_is_told_of() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver_one();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    world.deliver();
    world.work([complete()]);
    world.deliver();
    assert_eq!(names(&world)[4..6], ["StartChildWorkflowExecutionInitiated", "ChildWorkflowExecutionStarted"]);
    assert_eq!(names(&world)[9], "ChildWorkflowExecutionCompleted");
    world.fork("w", 6, None).unwrap();
    assert_eq!(
        names(&world)[5..],
        ["ChildWorkflowExecutionStarted", TASK[0], TASK[1], TASK[2], "ChildWorkflowExecutionCompleted", TASK[0]]
    );
}

#[test]
fn any_event_will_do() {
    for event_id in 1..=13 {
        let (mut world, _) = forked(event_id);
        world.work([complete()]);
        assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::Completed, "at {event_id}");
        // And again, out of what is closed now.
        world.fork("w", 3, None).unwrap();
        world.work([complete()]);
    }
}

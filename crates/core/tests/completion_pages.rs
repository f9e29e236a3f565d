//! Completions that come in pages: spec 02 §2.8.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::command::Command;
use sempre_core::Refusal;

const MISSING: &str = "Pages of the workflow task completion are missing, send all of them again.";

/// A run with a started task, in a namespace whose completions may come in pages.
fn started() -> (World, WorkflowTask) {
    let mut world = World::new();
    world.limits.completion_pages = true;
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    (world, task)
}

fn send(world: &mut World, task: &WorkflowTask, number: i32, commands: impl IntoIterator<Item = Command>) -> Result<(), Refusal> {
    let answer = world.complete_with(task, commands, |request| {
        request.intermediate_page = true;
        request.page_number = number;
    })?;
    assert!(answer.inline.is_none() && answer.activities.is_empty());
    Ok(())
}

fn finish(world: &mut World, task: &WorkflowTask, number: i32, commands: impl IntoIterator<Item = Command>) -> Result<Completed, Refusal> {
    world.complete_with(task, commands, |request| request.page_number = number)
}

fn lost() -> Refusal {
    Refusal::BufferLost(MISSING.into())
}

#[test]
fn pages_are_put_together_by_their_numbers() {
    let (mut world, task) = started();
    send(&mut world, &task, 1, [marker("c"), marker("d")]).unwrap();
    send(&mut world, &task, 0, [marker("a"), marker("b")]).unwrap();
    assert_eq!(world.run("wf").events().len(), 3, "nothing is written before the last page");
    assert!(world.run("wf").execution.has_memory_state() && world.run("wf").execution.pages_weight() > 0);
    finish(&mut world, &task, 2, [complete()]).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name a, wtc 4}
        6 MarkerRecorded {name b, wtc 4}
        7 MarkerRecorded {name c, wtc 4}
        8 MarkerRecorded {name d, wtc 4}
        9 WorkflowExecutionCompleted {wtc 4}
    ",
    );
    assert!(!world.run("wf").execution.has_memory_state());
}

/// The official core sends every command before the last page
#[test]
fn the_last_page_may_have_no_commands() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    send(&mut world, &task, 1, [complete()]).unwrap();
    finish(&mut world, &task, 2, []).unwrap();
    assert!(!world.run("wf").execution.is_open());
}

#[test]
fn a_page_that_comes_again_counts_once() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("first")]).unwrap();
    let weight = world.run("wf").execution.pages_weight();
    send(&mut world, &task, 0, [marker("second")]).unwrap();
    assert_eq!(world.run("wf").execution.pages_weight(), weight);
    finish(&mut world, &task, 1, [complete()]).unwrap();
    assert!(history_text(&world, world.current_run("wf")).contains("5 MarkerRecorded {name first, wtc 4}\n"));
    assert_eq!(world.run("wf").events().len(), 6);
}

#[test]
fn a_last_page_before_the_others_is_refused_and_changes_nothing() {
    let (mut world, task) = started();
    assert_eq!(finish(&mut world, &task, 1, [complete()]).unwrap_err(), lost());
    send(&mut world, &task, 1, [marker("b")]).unwrap();
    assert_eq!(finish(&mut world, &task, 2, [complete()]).unwrap_err(), lost());
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    finish(&mut world, &task, 2, [complete()]).unwrap();
    assert!(!world.run("wf").execution.is_open());
}

#[test]
fn pages_are_lost_with_the_memory_and_can_be_sent_again() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    world.restart();
    assert_eq!(finish(&mut world, &task, 1, [complete()]).unwrap_err(), lost());
    assert_eq!(world.run("wf").events().len(), 3, "the task has not failed");
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    finish(&mut world, &task, 1, [complete()]).unwrap();
    assert!(!world.run("wf").execution.is_open());
}

#[test]
fn pages_end_with_their_task() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    world.advance(secs(10));
    assert!(!world.run("wf").execution.has_memory_state(), "the task has timed out");
    let refused = send(&mut world, &task, 1, [marker("b")]).unwrap_err();
    assert_eq!(refused, Refusal::NotFound("Workflow task not found.".into()));
    let second = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(finish(&mut world, &second, 1, [complete()]).unwrap_err(), lost(), "pages of another attempt are not taken");
    send(&mut world, &second, 0, [marker("a")]).unwrap();
    finish(&mut world, &second, 1, [complete()]).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskTimedOut {scheduled 2, started 3, StartToClose}
        5 WorkflowTaskScheduled {attempt 2}
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 MarkerRecorded {name a, wtc 7}
        9 WorkflowExecutionCompleted {wtc 7}
    ",
    );
}

#[test]
fn pages_end_with_their_run() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    world.terminate("wf", "enough").unwrap();
    assert!(!world.run("wf").execution.has_memory_state());
}

#[test]
fn a_completion_in_one_piece_takes_no_pages_that_came_before() {
    let (mut world, task) = started();
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    world.complete(&task, [complete()]);
    assert_eq!(world.run("wf").events().len(), 5);
}

/// The worker would send the same again
#[test]
fn pages_over_the_limit_end_the_run() {
    let (mut world, task) = started();
    world.limits.completion_pages_max = 100;
    send(&mut world, &task, 0, [marker("a")]).unwrap();
    let refused = send(&mut world, &task, 1, [marker(&"b".repeat(100))]).unwrap_err();
    let text = "RequestTooLarge: the pages of the workflow task completion exceed the limit of 100 bytes";
    assert_eq!(refused, Refusal::invalid(text));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, RequestTooLarge, failure 'RequestTooLarge: the pages of the workflow task completion exceed the limit of 100 bytes'}
        5 WorkflowExecutionTerminated {reason RequestTooLarge: the pages of the workflow task completion exceed the limit of 100 bytes}
    ",
    );
    assert!(!world.run("wf").execution.has_memory_state());
}

#[test]
fn commands_of_a_page_are_checked_when_it_comes() {
    let (mut world, task) = started();
    let Refusal::InvalidArgument(text) = send(&mut world, &task, 0, [complete(), marker("a")]).unwrap_err() else { panic!("refused") };
    assert!(text.starts_with("invalid command sequence"), "{text}");
    // And together, when the last has come.
    send(&mut world, &task, 0, [complete()]).unwrap();
    let Refusal::InvalidArgument(text) = finish(&mut world, &task, 1, [marker("a")]).unwrap_err() else { panic!("refused") };
    assert!(text.starts_with("invalid command sequence"), "{text}");
    assert_eq!(world.run("wf").events().len(), 3);
}

#[test]
fn pages_are_refused_where_they_are_not_announced() {
    let (mut world, task) = started();
    world.limits.completion_pages = false;
    let disabled = Refusal::FailedPrecondition("Workflow task completion pagination is not enabled for this namespace.".into());
    assert_eq!(send(&mut world, &task, 0, [marker("a")]).unwrap_err(), disabled);
    assert_eq!(finish(&mut world, &task, 1, [complete()]).unwrap_err(), disabled);
    world.complete(&task, [complete()]);
}

#[test]
fn a_page_has_no_negative_number() {
    let (mut world, task) = started();
    let negative = Refusal::invalid("PageNumber cannot be negative.");
    assert_eq!(send(&mut world, &task, -1, [marker("a")]).unwrap_err(), negative);
    assert_eq!(finish(&mut world, &task, -1, [complete()]).unwrap_err(), negative);
}

//! Runs that grow too large, and workflow tasks that keep failing: spec 01 §2.5, 02 §1.4, 09 §2.3.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    command::{ModifyWorkflowPropertiesCommandAttributes, RecordMarkerCommandAttributes},
    common::Memo,
    enums::{SuggestContinueAsNewReason, WorkflowExecutionStatus, WorkflowTaskFailedCause},
    history::history_event::Attributes,
};
use sempre_core::{Refusal, input::SignalRequest};

fn large(bytes: usize) -> String {
    "x".repeat(bytes)
}

fn marker(bytes: usize) -> RecordMarkerCommandAttributes {
    let details = [("data".to_string(), payloads(&large(bytes)).unwrap())].into();
    RecordMarkerCommandAttributes { marker_name: "m".into(), details, ..Default::default() }
}

/// 01 §2.5: the signal that is one too many leaves no trace but the end
#[test]
fn a_history_over_its_count_ends_the_run_without_the_step() {
    let mut world = World::new();
    world.limits.history_count_max = 6;
    world.begin("wf", []);
    world.signal("wf", "go").unwrap();
    let one_more = SignalRequest { name: "go".into(), request_id: "mine".into(), ..Default::default() };
    let refused = world.signal_with("wf", one_more.clone()).unwrap_err();
    assert_eq!(refused, Refusal::invalid("Workflow history count exceeds limit."));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
        7 WorkflowExecutionTerminated {reason Workflow history count exceeds limit.}
    ",
    );
    let Some(Attributes::WorkflowExecutionTerminatedEventAttributes(end)) = world.run("wf").events().pop().unwrap().attributes else {
        panic!("the run is terminated")
    };
    assert_eq!(end.identity, "history-service");
    // It was not recorded, so asking again is not "done already".
    assert_eq!(world.signal_with("wf", one_more).unwrap_err(), Refusal::closed());
}

/// 01 §2.5
#[test]
fn a_history_over_its_size_ends_the_run() {
    let mut world = World::new();
    world.limits.history_size_max = 20_000;
    world.begin("wf", []);
    let signal = |bytes| SignalRequest { name: "go".into(), input: payloads(&large(bytes)), ..Default::default() };
    world.signal_with("wf", signal(10_000)).unwrap();
    let refused = world.signal_with("wf", signal(10_000)).unwrap_err();
    assert_eq!(refused, Refusal::invalid("Workflow history size exceeds limit."));
    assert_eq!(world.run("wf").events().len(), 7);
    assert_eq!(world.run("wf").execution.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §2.5, §6.1: a task in a worker's hands fails before the end
#[test]
fn a_poll_whose_task_passes_the_limit_gets_another() {
    // Started (1) and TaskScheduled (2) are all that fits: the start of the task would be one too many.
    let mut world = World::new();
    world.limits.history_count_max = 2;
    world.start("wf");
    let offer = world.offers.first().cloned().unwrap();
    let poller = world.poller();
    assert!(world.start_workflow_task(&offer, poller).is_none(), "not this run's task, and no error either");
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated {reason Workflow history count exceeds limit.}
    ",
    );
}

#[test]
fn a_completion_over_the_limit_is_undone() {
    let mut world = World::new();
    world.limits.history_count_max = 6;
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&task, [timer("1", secs(5)), timer("2", secs(5)), timer("3", secs(5))], |_| {});
    assert_eq!(refused.unwrap_err(), Refusal::invalid("Workflow history count exceeds limit."));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionTerminated {reason Workflow history count exceeds limit.}
    ",
    );
}

/// 01 §2.5: a run that ends itself is not over any limit
#[test]
fn the_last_completion_may_pass_the_limit() {
    let mut world = World::new();
    world.limits.history_count_max = 4;
    world.begin("wf", [complete()]);
    assert_eq!(world.run("wf").execution.status(), WorkflowExecutionStatus::Completed);
}

/// What comes from the clock and from other runs is not lost: it is in history before the end
#[test]
fn news_that_passes_the_limit_stays() {
    let mut world = World::new();
    world.limits.history_count_max = 6;
    world.begin("wf", [timer("1", secs(5))]);
    world.advance(secs(5));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id 1, wtc 4}
        6 TimerFired {id 1, started 5}
        7 WorkflowTaskScheduled
        8 WorkflowExecutionTerminated {reason Workflow history count exceeds limit.}
    ",
    );
}

/// 01 §2.5: what history holds of pending things counts
#[test]
fn a_state_over_its_size_ends_the_run() {
    let mut world = World::new();
    world.limits.state_size_max = 20_000;
    let bulky = |id: &str| with(activity(id), |a| a.input = payloads(&large(8_000))).command();
    world.begin("wf", [bulky("1"), bulky("2")]);
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&task, [bulky("3")], |_| {}).unwrap_err();
    assert_eq!(refused, Refusal::invalid("Workflow mutable state size exceeds limit."));
    let Some(Attributes::WorkflowExecutionTerminatedEventAttributes(end)) = world.run("wf").events().pop().unwrap().attributes else {
        panic!("the run is terminated")
    };
    assert_eq!(end.reason, "Workflow mutable state size exceeds limit.");
}

/// 01 §2.5: a long history with nothing pending is no large state
#[test]
fn a_small_state_of_a_long_history_is_let_be() {
    let mut world = World::new();
    world.limits.state_size_max = 20_000;
    world.begin("wf", [marker(9_000).command()]);
    for _ in 0..3 {
        world.signal("wf", "go").unwrap();
        world.work([marker(9_000).command()]);
    }
    assert!(world.run("wf").execution.is_open());
}

/// Heartbeats are in no event, and count all the same
#[test]
fn heartbeats_that_add_up_end_the_run() {
    let mut world = World::new();
    world.limits.state_size_max = 20_000;
    world.limits.pending_activities_max = 4;
    world.begin("wf", ["1", "2", "3"].map(|id| activity(id).command()));
    let tasks: Vec<_> = (0..3).map(|_| world.poll_activity().unwrap()).collect();
    world.heartbeat(&tasks[0], &large(8_000)).unwrap();
    world.heartbeat(&tasks[1], &large(8_000)).unwrap();
    let refused = world.heartbeat(&tasks[2], &large(8_000)).unwrap_err();
    assert_eq!(refused, Refusal::invalid("Workflow mutable state size exceeds limit."));
    assert!(!world.run("wf").execution.is_open());
}

/// 01 §2.5, last line
#[test]
fn a_completion_that_writes_too_much_at_once_ends_the_run() {
    let mut world = World::new();
    world.limits.transaction_size_max = 10_000;
    world.begin("wf", [marker(6_000).command()]);
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&task, [marker(6_000).command(), marker(6_000).command()], |_| {}).unwrap_err();
    let Refusal::InvalidArgument(text) = refused else { panic!("{refused:?}") };
    assert!(text.starts_with("transaction size of 12") && text.ends_with(" bytes exceeds limit of 10000 bytes"), "{text}");
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name m, wtc 4}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ForceCloseCommand}
        10 WorkflowExecutionTerminated {reason Transaction size exceeds limit.}
    ",
    );
}

/// DESIGN promise 7: nobody is killed; the run says why it stands still and how to go on
#[test]
fn a_run_over_a_limit_may_be_paused_instead() {
    let mut world = World::new();
    world.limits.history_count_max = 6;
    world.limits.pause_over_limits = true;
    world.begin("wf", []);
    world.signal("wf", "go").unwrap();
    let refused = world.signal("wf", "on").unwrap_err();
    assert_eq!(refused, Refusal::invalid("Workflow history count exceeds limit."));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskFailed {scheduled 6, started 7, WorkflowPauseRequestedBeforeTaskStarted}
        9 WorkflowExecutionPaused {by history-service, reason Workflow history count exceeds limit. Raise the limit and unpause the run, or terminate it.}
    ",
    );
    let unpause = || sempre_core::Input::Unpause(Box::new(sempre_core::input::PauseRequest::by_server("raised".into())));
    assert_eq!(world.apply("wf", unpause()).unwrap_err(), Refusal::invalid("Workflow history count exceeds limit."));
    assert_eq!(world.run("wf").events().len(), 9);
    world.limits.history_count_max = 100;
    world.apply("wf", unpause()).unwrap();
    world.work([complete()]);
    assert_eq!(world.run("wf").execution.status(), WorkflowExecutionStatus::Completed);
}

/// A completion that is too large is undone and its task ended; the result of an activity is kept while the run stands still
#[test]
fn a_paused_run_over_its_limit_loses_no_result() {
    let mut world = World::new();
    world.limits.pause_over_limits = true;
    world.begin("wf", [activity("1").command()]);
    let task = world.poll_activity().unwrap();
    world.signal("wf", "go").unwrap();
    world.limits.history_count_max = 9;
    let large = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&large, [timer("1", secs(5)), timer("2", secs(5)), timer("3", secs(5))], |_| {});
    assert_eq!(refused.unwrap_err(), Refusal::invalid("Workflow history count exceeds limit."));
    world.complete_activity(&task, "result").unwrap();
    world.limits.history_count_max = 100;
    world.apply("wf", sempre_core::Input::Unpause(Box::new(sempre_core::input::PauseRequest::by_server("raised".into())))).unwrap();
    let again = world.poll_workflow(QUEUE).unwrap();
    world.complete(&again, [complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id 1, wtc 4}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ForceCloseCommand}
        10 WorkflowExecutionPaused {by history-service, reason Workflow history count exceeds limit. Raise the limit and unpause the run, or terminate it.}
        11 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        12 ActivityTaskCompleted {scheduled 5, started 11, result result}
        13 WorkflowExecutionUnpaused {by history-service, reason raised}
        14 WorkflowTaskScheduled
        15 WorkflowTaskStarted {scheduled 14}
        16 WorkflowTaskCompleted {scheduled 14, started 15}
        17 WorkflowExecutionCompleted {wtc 16}
    ",
    );
}

/// 09 §2.2: the memo as it would be
#[test]
fn a_memo_over_the_limit_ends_the_run() {
    let mut world = World::new();
    world.limits.memo_size_max = 10_000;
    let memo = |name: &str| ModifyWorkflowPropertiesCommandAttributes {
        upserted_memo: Some(Memo { fields: [(name.to_string(), payload(&large(6_000)))].into() }),
    };
    world.begin("wf", [memo("a").command()]);
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let text = "BadModifyWorkflowPropertiesAttributes: ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.";
    assert_eq!(world.complete_with(&task, [memo("b").command()], |_| {}).unwrap_err(), Refusal::invalid(text));
    assert_eq!(world.run("wf").execution.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §10: said to the worker with each task
#[test]
fn continue_as_new_is_suggested_with_its_reasons() {
    let mut world = World::new();
    world.limits.history_count_suggest = 8;
    world.limits.history_size_suggest = 1_000;
    let reasons = |world: &mut World| {
        let task = world.poll_workflow(QUEUE).unwrap();
        let started = task.events.last().unwrap().clone();
        world.complete(&task, [marker(1_000).command()]);
        world.signal("wf", "go").unwrap();
        let Some(Attributes::WorkflowTaskStartedEventAttributes(a)) = started.attributes else { panic!("a started task") };
        assert_eq!(a.suggest_continue_as_new, !a.suggest_continue_as_new_reasons.is_empty());
        assert!(a.history_size_bytes > 0);
        a.suggest_continue_as_new_reasons().collect::<Vec<_>>()
    };
    world.start("wf");
    assert_eq!(reasons(&mut world), []);
    assert_eq!(reasons(&mut world), [SuggestContinueAsNewReason::HistorySizeTooLarge, SuggestContinueAsNewReason::TooManyHistoryEvents]);
}

fn problems(world: &World) -> Option<String> {
    let description = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    let payload = description.search_attributes.unwrap().indexed_fields.remove("TemporalReportedProblems")?;
    assert_eq!(payload.metadata["type"], "KeywordList");
    Some(String::from_utf8(payload.data.to_vec()).unwrap())
}

/// 02 §1.4: from the fifth in a row, until one is completed
#[test]
fn tasks_that_keep_failing_are_reported() {
    let mut world = World::new();
    world.start("wf");
    for _ in 0..4 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).unwrap();
        assert_eq!(problems(&world), None);
    }
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).unwrap();
    let failed = r#"["category=WorkflowTaskFailed","cause=WorkflowTaskFailedCauseNonDeterministicError"]"#;
    assert_eq!(problems(&world).as_deref(), Some(failed));
    world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(60));
    let timed_out = r#"["category=WorkflowTaskTimedOut","cause=WorkflowTaskTimedOutCauseStartToClose"]"#;
    assert_eq!(problems(&world).as_deref(), Some(timed_out));
    world.restart();
    world.work([]);
    assert_eq!(problems(&world), None);
}

/// 02 §1.4: the first failure of a sticky worker does not count
#[test]
fn a_failure_that_only_costs_the_sticky_worker_is_not_counted() {
    let mut world = World::new();
    world.limits.task_problems_reported = 1;
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow("mine").unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    assert_eq!(problems(&world), None);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    assert!(problems(&world).is_some());
}

/// 09 §5.2: a threshold of 0 switches the report off
#[test]
fn reports_can_be_off() {
    let mut world = World::new();
    world.limits.task_problems_reported = 0;
    world.start("wf");
    for _ in 0..8 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).unwrap();
    }
    assert_eq!(problems(&world), None);
}

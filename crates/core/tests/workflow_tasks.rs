//! The workflow task: the worked histories of spec 02 §10 and the checks of §11.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    enums::{CommandType, WorkflowTaskFailedCause},
    sdk::WorkflowTaskCompletedMetadata,
    workflowservice::RespondWorkflowTaskCompletedRequest,
};
use sempre_core::{Input, Refusal, input::Poller};

fn not_found<T: std::fmt::Debug>(answer: Result<T, Refusal>) {
    match answer {
        Err(Refusal::NotFound(text)) => assert_eq!(text, "Workflow task not found."),
        other => panic!("expected NOT_FOUND, got {other:?}"),
    }
}

/// 02 §10.1
#[test]
fn a_minimal_run_has_five_events() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionCompleted {wtc 4}
    ",
    );
    assert!(world.offers.is_empty());
}

/// 02 §10.2
#[test]
fn a_signal_to_an_idle_run_brings_a_task() {
    let mut world = World::new();
    world.begin("wf", []);
    world.signal("wf", "go").unwrap();
    world.work([complete()]);
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
        8 WorkflowTaskCompleted {scheduled 6, started 7}
        9 WorkflowExecutionCompleted {wtc 8}
    ",
    );
}

/// 02 §10.3
#[test]
fn a_signal_while_a_task_runs_waits_for_its_end() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("wf", "go").unwrap();
    assert_eq!(world.run("wf").events().len(), 3, "the signal has no id yet");
    world.complete(&task, [timer("t", secs(60))]);
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
    ",
    );
}

/// 02 §10.4
#[test]
fn a_close_is_refused_while_a_signal_waits() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("wf", "go").unwrap();
    let refusal = world.complete_with(&task, [complete()], |_| {}).unwrap_err();
    assert_eq!(refusal, Refusal::InvalidArgument("UnhandledCommand".into()));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, UnhandledCommand, failure 'UnhandledCommand'}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
    ",
    );
    // While the refused close is outstanding no new signal may come between.
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(matches!(world.signal("wf", "again"), Err(Refusal::ResourceExhausted { .. })));
    world.complete(&task, [complete()]);
    assert!(!world.run("wf").execution.is_open());
}

/// 02 §10.5
#[test]
fn failing_attempts_leave_no_trace_until_one_succeeds() {
    let mut world = World::new();
    world.start("wf");
    for attempt in 1..=2 {
        let task = world.poll_workflow(QUEUE).unwrap();
        assert_eq!(task.response.attempt, attempt);
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    }
    assert_eq!(world.run("wf").events().len(), 4);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.started_event_id, 6);
    world.complete(&task, [complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, WorkflowWorkerUnhandledFailure, failure 'task failed'}
        5 WorkflowTaskScheduled {attempt 3}
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowExecutionCompleted {wtc 7}
    ",
    );
}

/// 02 §11: a signal during a transient attempt
#[test]
fn news_during_a_transient_attempt_end_the_series() {
    let mut world = World::new();
    world.start("wf");
    for _ in 1..=2 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.signal("wf", "go").ok();
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    }
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, WorkflowWorkerUnhandledFailure, failure 'task failed'}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskFailed {scheduled 6, started 7, WorkflowWorkerUnhandledFailure, failure 'task failed'}
        9 WorkflowExecutionSignaled {name go}
        10 WorkflowTaskScheduled
    ",
    );
}

/// 02 §1.2: events came between the scheduling and the start of a transient task
#[test]
fn a_transient_task_becomes_real_when_something_was_written_before_its_start() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.attempt, 1);
    world.complete(&task, []);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, WorkflowWorkerUnhandledFailure, failure 'task failed'}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskCompleted {scheduled 6, started 7}
    ",
    );
}

/// 02 §10.6
#[test]
fn a_task_that_a_sticky_worker_does_not_take_goes_to_the_normal_queue() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.signal("wf", "go").unwrap();
    assert!(world.offers.iter().all(|o| o.queue.sticky && o.normal_name == QUEUE));
    world.advance(secs(5));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.events.len(), 9, "a normal task brings all of history");
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled {sticky mine}
        7 WorkflowTaskTimedOut {scheduled 6, started 0, ScheduleToStart}
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted {scheduled 8}
    ",
    );
}

/// 02 §10.6, second half
#[test]
fn a_sticky_worker_that_dies_at_work_costs_no_attempt() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow("mine").unwrap();
    assert_eq!(task.events.first().map(|e| e.event_id), Some(4), "a sticky task brings what is new");
    assert_eq!(task.response.previous_started_event_id, 3);
    world.advance(secs(10));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled {sticky mine}
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskTimedOut {scheduled 6, started 7, StartToClose}
        9 WorkflowTaskScheduled
    ",
    );
    not_found(world.complete_with(&task, [complete()], |_| {}));
}

/// 02 §10.7
#[test]
fn a_heartbeat_brings_the_next_task_with_its_answer() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let answer = world
        .complete_with(&task, [], |r| {
            r.force_create_new_workflow_task = true;
            r.return_new_workflow_task = true;
            r.sticky_attributes = sticky("mine");
        })
        .unwrap();
    let task = answer.inline.expect("an inline task");
    assert_eq!(task.events.first().map(|e| e.event_id), Some(4), "an inline task is partial");
    world.complete(&task, [marker("local"), complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled {sticky mine}
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 MarkerRecorded {name local, wtc 7}
        9 WorkflowExecutionCompleted {wtc 7}
    ",
    );
}

/// 02 §2.2 step 1, §11: the limit counts from the first task of the chain
#[test]
fn heartbeats_end_after_thirty_minutes() {
    let mut world = World::new();
    world.start("wf");
    let mut task = world.poll_workflow(QUEUE).unwrap();
    let beat = |r: &mut sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest| {
        r.force_create_new_workflow_task = true;
        r.return_new_workflow_task = true;
    };
    for _ in 0..225 {
        world.advance(secs(8));
        task = world.complete_with(&task, [], beat).unwrap().inline.unwrap();
    }
    world.advance(secs(8));
    let refusal = world.complete_with(&task, [], beat).unwrap_err();
    assert_eq!(refusal, Refusal::NotFound("workflow task heartbeat timeout".into()));
    let events = world.run("wf").events();
    let tail: Vec<_> = events[events.len() - 2..].iter().map(|e| line(&world, e)).collect();
    assert_eq!(tail[0].split(' ').next(), Some("WorkflowTaskTimedOut"));
    assert_eq!(tail[1], "WorkflowTaskScheduled");
}

/// 02 §10.11
#[test]
fn terminating_fails_a_running_task_first() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.terminate("wf", "enough").unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionTerminated {reason enough}
    ",
    );
    not_found(world.complete_with(&task, [complete()], |_| {}));
    assert_eq!(world.terminate("wf", "again").unwrap_err(), Refusal::closed());
}

/// 02 §10.11, second half
#[test]
fn terminating_before_the_task_is_started_leaves_one_event() {
    let mut world = World::new();
    world.start("wf");
    world.terminate("wf", "enough").unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated {reason enough}
    ",
    );
    assert!(world.offers.is_empty(), "nothing is left to poll");
}

/// 02 §10.12
#[test]
fn a_run_timeout_fails_a_running_task_first() {
    let mut world = World::new();
    world
        .start_with(with(start_request("wf"), |r| {
            r.workflow_run_timeout = duration(5);
            r.workflow_task_timeout = duration(10);
        }))
        .unwrap();
    world.poll_workflow(QUEUE).unwrap();
    // The task timeout is capped at the run's, so let the signal be what the closing run flushes.
    world.sleep(secs(5));
    world.signal("wf", "late").unwrap();
    world.advance(secs(0));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionSignaled {name late}
        6 WorkflowExecutionTimedOut {RetryPolicyNotSet}
    ",
    );
}

/// 02 §10.13
#[test]
fn nondeterminism_is_told_once() {
    let mut world = World::new();
    world.start("wf");
    for _ in 0..4 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::NonDeterministicError).unwrap();
    }
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, NonDeterministicError, failure 'task failed'}
    ",
    );
    assert!(world.run("wf").execution.is_open());
    assert_eq!(world.run("wf").execution.describe(world.now).pending_workflow_task.unwrap().attempt, 5);
}

/// 02 §10.15
#[test]
fn cancelling_twice_is_one_event() {
    let mut world = World::new();
    world.begin("wf", []);
    world.request_cancel("wf", "first").unwrap();
    world.request_cancel("wf", "second").unwrap();
    world.work([cancel()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionCancelRequested {cause first}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskCompleted {scheduled 6, started 7}
        9 WorkflowExecutionCanceled {wtc 8}
    ",
    );
    world.request_cancel("wf", "closed runs take it without effect").unwrap();
}

/// 02 §11
#[test]
fn a_task_is_completed_once() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    not_found(world.complete_with(&task, [], |_| {}));
}

/// 02 §11
#[test]
fn a_task_that_timed_out_cannot_be_completed() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(10));
    not_found(world.complete_with(&task, [complete()], |_| {}));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskTimedOut {scheduled 2, started 3, StartToClose}
    ",
    );
    assert_eq!(world.poll_workflow(QUEUE).unwrap().response.attempt, 2);
}

/// 02 §1.2
#[test]
fn the_same_poll_gets_the_same_task_again_and_another_poll_none() {
    let mut world = World::new();
    world.start("wf");
    let offer = world.offers[0].clone();
    let poller = |id: &str| Poller { identity: WORKER.into(), request_id: id.into(), ..Poller::default() };
    let first = world.start_workflow_task(&offer, poller("one")).unwrap();
    world.sleep(secs(1));
    let again = world.start_workflow_task(&offer, poller("one")).unwrap();
    assert_eq!(first.response, again.response);
    assert!(world.start_workflow_task(&offer, poller("two")).is_none());
}

/// 02 §2.3
#[test]
fn a_bad_command_fails_the_task_and_undoes_the_others() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let commands = [activity("a").command(), timer("t", secs(5)), timer("t", secs(6))];
    let refusal = world.complete_with(&task, commands, |_| {}).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::InvalidArgument(
            "StartTimerDuplicateId: invalid history builder state for action: add-timer-started-event, TimerID: t".into()
        )
    );
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, StartTimerDuplicateId, failure 'StartTimerDuplicateId: invalid history builder state for action: add-timer-started-event, TimerID: t'}
    ",
    );
    assert!(world.poll_activity().is_none(), "the undone activity is not offered");
    // A bad command of a later attempt changes nothing: the task runs into its timeout.
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [timer("t", secs(5)), timer("t", secs(6))], |_| {}).unwrap_err();
    world.complete(&task, [timer("t", secs(5))]);
    assert_eq!(world.run("wf").events().len(), 8);
}

/// 02 §2.4
#[test]
fn a_close_command_must_be_the_last() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let refusal = world.complete_with(&task, [complete(), timer("t", secs(5))], |_| {}).unwrap_err();
    assert!(matches!(&refusal, Refusal::InvalidArgument(text) if text.starts_with("invalid command sequence: ")), "{refusal:?}");
    let unknown = with(complete(), |c| c.command_type = CommandType::Unspecified as i32);
    assert!(matches!(world.complete_with(&task, [unknown], |_| {}), Err(Refusal::InvalidArgument(_))));
    world.complete(&task, [complete()]);
}

/// 02 §9
#[test]
fn sdk_metadata_comes_back_in_history() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let metadata = WorkflowTaskCompletedMetadata { core_used_flags: vec![1, 2], ..Default::default() };
    world.complete_with(&task, [], |r| r.sdk_metadata = Some(metadata.clone())).unwrap();
    let event = world.run("wf").events().remove(3);
    match event.attributes {
        Some(sempre_api::v1::history::history_event::Attributes::WorkflowTaskCompletedEventAttributes(a)) => {
            assert_eq!(a.sdk_metadata, Some(metadata));
        }
        other => panic!("not the completion: {other:?}"),
    }
}

/// 01 §2.4
#[test]
fn too_many_buffered_events_fail_the_running_task() {
    let mut world = World::new();
    world.limits.buffered_events_max = 3;
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    for _ in 0..4 {
        world.signal("wf", "go").unwrap();
    }
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowExecutionSignaled {name go}
        8 WorkflowExecutionSignaled {name go}
        9 WorkflowTaskScheduled
    ",
    );
    not_found(world.complete_with(&task, [], |_| {}));
}

/// 02 §1.1: from attempt 4 a failing task gets more time, with up to 20 % less at random
#[test]
fn late_attempts_get_more_time() {
    let mut world = World::new();
    world.start("wf");
    let mut waits = Vec::new();
    for _ in 0..6 {
        let task = world.poll_workflow(QUEUE).unwrap();
        let due = world.run("wf").deadline.unwrap();
        waits.push(due.since(world.now));
        assert_eq!(task.response.attempt as usize, waits.len());
        world.advance(waits[waits.len() - 1]);
    }
    assert_eq!(waits[..3], [secs(10); 3]);
    for (wait, extra) in waits[3..].iter().zip([5, 10, 20]) {
        let (least, most) = (10_000 + extra * 800, 10_000 + extra * 1000);
        assert!((least..=most).contains(&(wait.0 / 1_000_000)), "{wait:?} for {extra}");
    }
}

/// 01 §3.4
#[test]
fn an_eager_start_brings_the_first_task() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_eager_execution = true);
    let input = sempre_core::StartInput { request: Box::new(request), signal: None, child_of: None, watcher: None };
    let (_, task) = world.start_input(input).unwrap();
    let task = task.expect("an eager task");
    assert_eq!(task.events.len(), 3);
    assert!(world.offers.is_empty());
    world.complete(&task, [complete()]);
    assert!(!world.run("wf").execution.is_open());
}

/// 02 §5
#[test]
fn resetting_stickiness_sends_the_next_task_to_the_normal_queue() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.apply("wf", Input::ResetSticky).unwrap();
    world.signal("wf", "go").unwrap();
    assert_eq!(world.poll_workflow(QUEUE).unwrap().events.len(), 7);
}

/// 02 §2.2 step 4
#[test]
fn a_binary_that_is_marked_bad_completes_nothing() {
    let mut world = World::new();
    world.start("wf");
    world.namespace.bad_binaries.insert("bad".into());
    let task = world.poll_workflow(QUEUE).unwrap();
    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
    let by = |sum: &'static str| move |r: &mut RespondWorkflowTaskCompletedRequest| r.binary_checksum = sum.into();
    let refused = world.complete_with(&task, [complete()], by("bad")).unwrap_err();
    assert_eq!(refused, Refusal::invalid("BadBinary: binary bad is marked as bad deployment"));
    // Nothing but what is said: one without commands is not taken either, and of an attempt that is not in history nothing is written.
    let again = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&again, [], by("bad")).unwrap_err();
    assert_eq!(refused, Refusal::invalid("BadBinary: binary bad is marked as bad deployment"));
    world.complete_with(&again, [complete()], by("good")).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, BadBinary, failure 'BadBinary: binary bad is marked as bad deployment'}
        5 WorkflowTaskScheduled {attempt 2}
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowExecutionCompleted {wtc 7}
    ",
    );
}

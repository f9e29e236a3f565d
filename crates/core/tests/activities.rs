//! Activities: the worked histories of spec 03 §15 and the checks of §17.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{common::RetryPolicy, enums::PendingActivityState, workflow::PendingActivityInfo};
use sempre_core::{
    Input, Refusal, Reply, Span,
    input::{ActivityTarget, Poller},
};

const GONE: &str = "invalid activityID or activity already timed out or invoking workflow is completed";

fn gone<T: std::fmt::Debug>(answer: Result<T, Refusal>) {
    match answer {
        Err(Refusal::NotFound(text)) => assert_eq!(text, GONE),
        other => panic!("expected NOT_FOUND, got {other:?}"),
    }
}

fn pending(world: &World) -> PendingActivityInfo {
    let mut all = world.run("wf").execution.describe(world.now).pending_activities;
    assert_eq!(all.len(), 1, "one pending activity");
    all.remove(0)
}

/// The rest of a history that began with one task and one activity, from event 6 on.
#[track_caller]
fn assert_tail(world: &World, expected: &str) {
    let head = "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
    ";
    assert_history(world, "wf", &format!("{head}\n{expected}"));
}

/// 03 §15
#[test]
fn success_writes_started_and_completed_together() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let started = world.now;
    let task = world.poll_activity().unwrap();
    assert_eq!(world.run("wf").events().len(), 5, "a start is no event");
    assert_eq!((task.response.activity_id.as_str(), task.response.attempt), ("a", 1));
    assert_eq!(task.response.input, payloads("input"));
    assert_eq!(task.response.workflow_namespace, "default");
    world.advance(secs(3));
    world.complete_activity(&task, "yes").unwrap();
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
    assert_eq!(world.run("wf").events()[5].event_time, Some(started.to_api()), "Started has its real time");
    gone(world.complete_activity(&task, "twice"));
}

/// 03 §15
#[test]
fn attempts_that_fail_leave_no_events() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    for (attempt, wait) in [(1, 1), (2, 2)] {
        let task = world.poll_activity().unwrap();
        assert_eq!(task.response.attempt, attempt);
        world.fail_activity(&task, failure(&format!("no {attempt}"))).unwrap();
        world.advance(Span(secs(wait).0 - 1));
        assert!(world.poll_activity().is_none(), "the back-off is not over");
        world.advance(Span(1));
    }
    assert_eq!(world.run("wf").events().len(), 5);
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 3, by worker, last failure 'no 2'}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §15
#[test]
fn the_last_attempt_that_fails_closes() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(2)).command()]);
    for attempt in 1..=2 {
        let task = world.poll_activity().unwrap();
        world.fail_activity(&task, failure(&format!("no {attempt}"))).unwrap();
        world.advance(secs(1));
    }
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 2, by worker, last failure 'no 1'}
        7 ActivityTaskFailed {scheduled 5, started 6, failure 'no 2', MaximumAttemptsReached}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §15
#[test]
fn an_activity_that_nobody_takes_times_out_without_a_start() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.schedule_to_start_timeout = duration(3)).command()]);
    world.advance(secs(3));
    assert!(world.poll_activity().is_none());
    assert_tail(
        &world,
        "
        6 ActivityTaskTimedOut {scheduled 5, started 0, failure 'activity ScheduleToStart timeout', Timeout}
        7 WorkflowTaskScheduled
    ",
    );
}

/// 03 §15, §3
#[test]
fn start_to_close_timeouts_are_retried() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(2)).command()]);
    let first = world.poll_activity().unwrap();
    world.advance(secs(10));
    let info = pending(&world);
    assert_eq!(info.attempt, 2);
    assert_eq!(info.last_failure.unwrap().message, "activity StartToClose timeout");
    assert_eq!(info.last_worker_identity, WORKER);
    assert_eq!(info.current_retry_interval, duration(1));
    gone(world.complete_activity(&first, "late"));
    world.advance(secs(1));
    let second = world.poll_activity().unwrap();
    world.heartbeat(&second, "half").unwrap();
    world.advance(secs(10));
    assert_tail(&world, "
        6 ActivityTaskStarted {scheduled 5, attempt 2, by worker, last failure 'activity StartToClose timeout'}
        7 ActivityTaskTimedOut {scheduled 5, started 6, failure 'activity StartToClose timeout', cause 'activity StartToClose timeout', heartbeat half, MaximumAttemptsReached}
        8 WorkflowTaskScheduled
    ");
}

/// 03 §15, §8
#[test]
fn cancelling_before_a_start_closes_at_once() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    world.signal("wf", "go").unwrap();
    world.work([cancel_activity(5)]);
    assert!(world.poll_activity().is_none());
    assert_tail(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 ActivityTaskCanceled {scheduled 5, started 0, requested 10, details \"ACTIVITY_ID_NOT_STARTED\"}
        12 WorkflowTaskScheduled
    ",
    );
}

/// The workflow does not wait for the cancelled activity: both commands in one completion.
#[test]
fn a_run_may_close_in_the_completion_that_cancels_an_unstarted_activity() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    world.request_cancel("wf", "enough").unwrap();
    world.work([cancel_activity(5), cancel()]);
    assert_tail(
        &world,
        "
        6 WorkflowExecutionCancelRequested {cause enough}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 WorkflowExecutionCanceled {wtc 9}
    ",
    );
}

/// 03 §15, §17.6
#[test]
fn a_running_activity_learns_of_the_cancel_by_heartbeat() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    assert!(!world.heartbeat(&task, "1").unwrap());
    let refusal = world.cancel_activity(&task, "early").unwrap_err();
    let text = "unable to mark activity as canceled without activity being request canceled first";
    assert_eq!(refusal, Refusal::InvalidArgument(text.into()));
    world.signal("wf", "go").unwrap();
    world.work([cancel_activity(5)]);
    assert!(world.heartbeat(&task, "2").unwrap());
    assert!(world.heartbeat(&task, "3").unwrap());
    assert_eq!(pending(&world).state(), PendingActivityState::CancelRequested);
    world.cancel_activity(&task, "cleaned up").unwrap();
    assert_tail(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        12 ActivityTaskCanceled {scheduled 5, started 11, requested 10, details cleaned up}
        13 WorkflowTaskScheduled
    ",
    );
}

/// 03 §6.2
#[test]
fn a_failure_after_a_cancel_request_is_not_retried() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.signal("wf", "go").unwrap();
    world.work([cancel_activity(5)]);
    world.fail_activity(&task, failure("no")).unwrap();
    assert_tail(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        12 ActivityTaskFailed {scheduled 5, started 11, failure 'no', CancelRequested}
        13 WorkflowTaskScheduled
    ",
    );
}

/// 03 §15
#[test]
fn cancelling_while_it_waits_for_a_retry_is_as_before_a_start() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    world.signal("wf", "go").unwrap();
    world.work([cancel_activity(5)]);
    world.advance(secs(60));
    assert!(world.poll_activity().is_none(), "no retry");
    assert_tail(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 ActivityTaskCanceled {scheduled 5, started 0, requested 10, details \"ACTIVITY_ID_NOT_STARTED\"}
        12 WorkflowTaskScheduled
    ",
    );
}

/// 03 §15, 01 §2.3
#[test]
fn closings_come_last_out_of_the_buffer() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command(), activity("b").command()]);
    let (a, b) = (world.poll_activity().unwrap(), world.poll_activity().unwrap());
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_activity(&a, "A").unwrap();
    world.signal("wf", "between").unwrap();
    world.complete_activity(&b, "B").unwrap();
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty(), "closed for everyone");
    gone(world.heartbeat(&a, "late"));
    world.complete(&task, [marker("m")]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 ActivityTaskScheduled {id b, wtc 4}
        7 WorkflowExecutionSignaled {name go}
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted {scheduled 8}
        10 WorkflowTaskCompleted {scheduled 8, started 9}
        11 MarkerRecorded {name m, wtc 10}
        12 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        13 WorkflowExecutionSignaled {name between}
        14 ActivityTaskStarted {scheduled 6, attempt 1, by worker}
        15 ActivityTaskCompleted {scheduled 5, started 12, result A}
        16 ActivityTaskCompleted {scheduled 6, started 14, result B}
        17 WorkflowTaskScheduled
    ",
    );
}

/// 02 §2.5: the finish is only buffered
#[test]
fn cancelling_an_activity_whose_end_is_buffered_still_writes_the_request() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let running = world.poll_activity().unwrap();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_activity(&running, "yes").unwrap();
    world.complete(&task, [cancel_activity(5)]);
    assert_tail(
        &world,
        "
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ActivityTaskCancelRequested {scheduled 5, wtc 9}
        11 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        12 ActivityTaskCompleted {scheduled 5, started 11, result yes}
        13 WorkflowTaskScheduled
    ",
    );
}

fn by_id(id: &str) -> ActivityTarget {
    ActivityTarget::Id(id.into())
}

/// 03 §15
#[test]
fn a_completion_by_id_makes_up_the_start() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let input = Input::CompleteActivity { target: by_id("a"), result: payloads("yes"), identity: "client".into() };
    world.apply("wf", input).unwrap();
    assert!(world.poll_activity().is_none());
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by client}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §5, §16
#[test]
fn other_calls_by_id_need_a_started_activity() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let beat = |id: &str| Input::Heartbeat { target: by_id(id), details: None, identity: "client".into() };
    gone(world.apply("wf", beat("a")));
    let fail = Input::FailActivity { target: by_id("a"), failure: None, last_heartbeat_details: None, identity: String::new() };
    gone(world.apply("wf", fail));
    match world.apply("wf", beat("b")) {
        Err(Refusal::NotFound(text)) => assert!(text.starts_with("cannot find pending activity with ActivityID b, "), "{text}"),
        other => panic!("expected NOT_FOUND, got {other:?}"),
    }
    world.poll_activity().unwrap();
    world.apply("wf", beat("a")).unwrap();
}

/// 03 §15
#[test]
fn closing_the_run_drops_its_activities() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command(), activity("b").command()]);
    let task = world.poll_activity().unwrap();
    world.signal("wf", "go").unwrap();
    world.work([complete()]);
    assert!(world.poll_activity().is_none(), "offers are taken back");
    assert_eq!(world.heartbeat(&task, "late").unwrap_err(), Refusal::closed());
    assert_eq!(world.complete_activity(&task, "late").unwrap_err(), Refusal::closed());
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
    world.advance(secs(60));
    assert_eq!(world.run("wf").events().len(), 11, "nothing follows the close");
}

/// 03 §17.1
#[test]
fn waits_grow_to_the_maximum_without_jitter() {
    let mut world = World::new();
    let policy =
        RetryPolicy { maximum_interval: duration(3), initial_interval: duration(1), backoff_coefficient: 2.0, ..Default::default() };
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = Some(policy)).command()]);
    let mut waits = Vec::new();
    for _ in 0..5 {
        let task = world.poll_activity().unwrap();
        world.fail_activity(&task, failure("no")).unwrap();
        let wait = world.run("wf").deadline.unwrap().since(world.now);
        world.advance(wait);
        waits.push(wait);
    }
    assert_eq!(waits, [1, 2, 3, 3, 3].map(secs));
}

/// 03 §17.2
#[test]
fn an_explicit_delay_is_not_capped() {
    let mut world = World::new();
    let policy = RetryPolicy { maximum_interval: duration(3), ..Default::default() };
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = Some(policy)).command()]);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure_with("no", |f| f.next_retry_delay = duration(10))).unwrap();
    assert_eq!(world.run("wf").deadline.unwrap().since(world.now), secs(10));
    let info = pending(&world);
    assert_eq!(info.next_attempt_schedule_time, Some((world.now + secs(10)).to_api()));
    assert_eq!(info.state(), PendingActivityState::Scheduled);
}

/// 03 §17.3
#[test]
fn a_failure_whose_retry_would_come_too_late_closes() {
    let mut world = World::new();
    let policy = RetryPolicy { initial_interval: duration(10), ..Default::default() };
    let command = with(activity("a"), |a| {
        a.retry_policy = Some(policy);
        a.schedule_to_close_timeout = duration(5);
    });
    world.begin("wf", [command.command()]);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskFailed {scheduled 5, started 6, failure 'no', Timeout}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §17.4
#[test]
fn some_failures_are_not_retried() {
    let policy = || RetryPolicy { non_retryable_error_types: vec!["Fatal".into()], ..Default::default() };
    let by_type = failure_with("typed", |f| f.r#type = "Fatal".into());
    let by_flag = failure_with("flagged", |f| f.non_retryable = true);
    for sent in [by_type, by_flag] {
        let mut world = World::new();
        world.begin("wf", [with(activity("a"), |a| a.retry_policy = Some(policy())).command()]);
        let task = world.poll_activity().unwrap();
        let message = sent.message.clone();
        world.fail_activity(&task, sent).unwrap();
        assert_tail(
            &world,
            &format!(
                "
            6 ActivityTaskStarted {{scheduled 5, attempt 1, by worker}}
            7 ActivityTaskFailed {{scheduled 5, started 6, failure '{message}', NonRetryableFailure}}
            8 WorkflowTaskScheduled
        "
            ),
        );
    }
}

/// 03 §17.5
#[test]
fn heartbeat_details_outlive_attempts() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.heartbeat(&task, "half").unwrap();
    for wait in [1, 2] {
        let attempt = pending(&world).attempt;
        let task = if attempt == 1 { task.clone() } else { world.poll_activity().unwrap() };
        if attempt > 1 {
            assert_eq!(task.response.heartbeat_details, payloads("half"));
        }
        world.fail_activity(&task, failure("no")).unwrap();
        world.advance(secs(wait));
    }
    assert_eq!(world.poll_activity().unwrap().response.heartbeat_details, payloads("half"));
}

/// 03 §7
#[test]
fn heartbeats_keep_an_activity_alive() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.start_to_close_timeout = duration(60);
        a.heartbeat_timeout = duration(4);
        a.retry_policy = retry(1);
    });
    world.begin("wf", [command.command()]);
    let task = world.poll_activity().unwrap();
    for n in 0..5 {
        world.advance(secs(3));
        world.heartbeat(&task, &format!("{n}")).unwrap();
    }
    world.advance(secs(4));
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskTimedOut {scheduled 5, started 6, failure 'activity Heartbeat timeout', heartbeat 4, MaximumAttemptsReached}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §3
#[test]
fn the_schedule_to_close_timeout_spans_all_attempts() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.schedule_to_close_timeout = duration(5);
        a.start_to_close_timeout = duration(2);
    });
    world.begin("wf", [command.command()]);
    world.poll_activity().unwrap();
    world.advance(secs(3));
    assert_eq!(pending(&world).attempt, 2);
    world.advance(secs(2));
    assert_tail(&world, "
        6 ActivityTaskTimedOut {scheduled 5, started 0, failure 'Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying', cause 'activity StartToClose timeout', Timeout}
        7 WorkflowTaskScheduled
    ");
}

/// 03 §3
#[test]
fn a_start_to_close_timeout_with_no_time_left_closes() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.schedule_to_close_timeout = duration(5);
        a.start_to_close_timeout = duration(4);
        a.retry_policy = Some(RetryPolicy { initial_interval: duration(2), ..Default::default() });
    });
    world.begin("wf", [command.command()]);
    world.poll_activity().unwrap();
    world.advance(secs(4));
    assert_tail(&world, "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskTimedOut {scheduled 5, started 6, failure 'Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying', Timeout}
        8 WorkflowTaskScheduled
    ");
}

/// 03 §17.7
#[test]
fn of_equal_timeouts_schedule_to_close_fires() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.schedule_to_close_timeout = duration(5);
        a.start_to_close_timeout = duration(5);
        a.retry_policy = retry(1);
    });
    world.begin("wf", [command.command()]);
    world.advance(secs(1));
    world.poll_activity().unwrap();
    world.advance(secs(4));
    assert_tail(&world, "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskTimedOut {scheduled 5, started 6, failure 'Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying', Timeout}
        8 WorkflowTaskScheduled
    ");
}

/// 03 §17.7: taken at once, as an eager activity is, it still was scheduled before it was started
#[test]
fn taken_at_once_schedule_to_close_fires_all_the_same() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.schedule_to_close_timeout = duration(5);
        a.start_to_close_timeout = duration(5);
        a.retry_policy = retry(1);
    });
    world.begin("wf", [command.command()]);
    world.poll_activity().unwrap();
    world.advance(secs(5));
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskTimedOut {scheduled 5, started 6, failure 'Not enough time to schedule next retry before activity ScheduleToClose timeout, giving up retrying', Timeout}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §3: order of (time, scheduled id) over activities, one task after all
#[test]
fn timeouts_of_several_activities_come_in_order() {
    let mut world = World::new();
    let wait = |id: &str, seconds| with(activity(id), |a| a.schedule_to_start_timeout = duration(seconds)).command();
    world.begin("wf", [wait("a", 3), wait("b", 2), wait("c", 3)]);
    world.sleep(secs(10));
    world.advance(secs(0));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 ActivityTaskScheduled {id b, wtc 4}
        7 ActivityTaskScheduled {id c, wtc 4}
        8 ActivityTaskTimedOut {scheduled 6, started 0, failure 'activity ScheduleToStart timeout', Timeout}
        9 ActivityTaskTimedOut {scheduled 5, started 0, failure 'activity ScheduleToStart timeout', Timeout}
        10 ActivityTaskTimedOut {scheduled 7, started 0, failure 'activity ScheduleToStart timeout', Timeout}
        11 WorkflowTaskScheduled
    ",
    );
}

/// 03 §17.9, §10
#[test]
fn an_eager_activity_comes_with_the_completion() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let answer = world.complete(&task, [with(activity("a"), |a| a.request_eager_execution = true).command()]);
    assert!(world.poll_activity().is_none(), "it is not offered");
    assert_eq!(answer.activities.len(), 1);
    world.complete_activity(&answer.activities[0], "yes").unwrap();
    assert_tail(
        &world,
        "
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §10: the answer got lost
#[test]
fn a_lost_eager_activity_is_retried_through_the_queue() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.request_eager_execution = true).command()]);
    world.advance(secs(11));
    assert_eq!(world.poll_activity().unwrap().response.attempt, 2);
}

/// 03 §10: not granted
#[test]
fn eager_execution_can_be_off() {
    let mut world = World::new();
    world.limits.eager_activities = false;
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let answer = world.complete(&task, [with(activity("a"), |a| a.request_eager_execution = true).command()]);
    assert!(answer.activities.is_empty());
    assert!(world.poll_activity().is_some());
}

/// 03 §4, §17.11
#[test]
fn one_poller_gets_an_attempt() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let offer = world.offers[0].clone();
    let poller = |id: &str| Poller { identity: WORKER.into(), request_id: id.into(), ..Poller::default() };
    let first = world.start_activity_task(&offer, poller("one")).unwrap();
    world.sleep(secs(1));
    assert_eq!(world.start_activity_task(&offer, poller("one")).unwrap().response, first.response, "the same answer again");
    assert!(world.start_activity_task(&offer, poller("two")).is_none());
    // The offer of attempt 1 is worth nothing for attempt 2.
    world.fail_activity(&first, failure("no")).unwrap();
    assert!(world.start_activity_task(&offer, poller("one")).is_none());
    world.advance(secs(1));
    assert!(world.start_activity_task(&offer, poller("three")).is_none());
    assert_eq!(world.poll_activity().unwrap().response.attempt, 2);
}

/// 03 §17.8
#[test]
fn calls_by_id_after_continue_as_new_mean_the_new_run() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let old = world.poll_activity().unwrap();
    world.signal("wf", "go").unwrap();
    world.work([continue_as_new().command()]);
    world.work([activity("a").command()]);
    let input = Input::CompleteActivity { target: by_id("a"), result: payloads("yes"), identity: "client".into() };
    world.apply("wf", input).unwrap();
    let input = Input::CompleteActivity { target: old.target(), result: payloads("no"), identity: WORKER.into() };
    let run = old.token.run_key().unwrap().run;
    assert_eq!(world.apply_to(run, input).unwrap_err(), Refusal::closed());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {Workflow}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 ActivityTaskStarted {scheduled 5, attempt 1, by client}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 03 §5, 09 §2.1
#[test]
fn what_is_too_large_fails_the_activity() {
    let huge = "x".repeat(2000);
    type Call = fn(&ActivityTask, &str) -> Input;
    let calls: [(&str, Call); 2] = [
        ("Complete result exceeds size limit.", |task, huge| Input::CompleteActivity {
            target: task.target(),
            result: payloads(huge),
            identity: WORKER.into(),
        }),
        ("Heartbeat details exceed size limit.", |task, huge| Input::Heartbeat {
            target: task.target(),
            details: payloads(huge),
            identity: WORKER.into(),
        }),
    ];
    for (text, call) in calls {
        let mut world = World::new();
        world.limits.blob_size_max = 1000;
        world.begin("wf", [activity("a").command()]);
        let task = world.poll_activity().unwrap();
        let reply = world.apply("wf", call(&task, &huge)).unwrap();
        assert!(!matches!(reply, Reply::Heartbeat { cancel_requested: false, .. }));
        assert_tail(
            &world,
            &format!(
                "
            6 ActivityTaskStarted {{scheduled 5, attempt 1, by worker}}
            7 ActivityTaskFailed {{scheduled 5, started 6, failure '{text}', NonRetryableFailure}}
            8 WorkflowTaskScheduled
        "
            ),
        );
    }
}

/// 03 §5
#[test]
fn failures_too_large_are_cut_and_reported_back() {
    let mut world = World::new();
    world.limits.blob_size_max = 1000;
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    let input = Input::FailActivity {
        target: task.target(),
        failure: Some(Box::new(failure(&"x".repeat(2000)))),
        last_heartbeat_details: payloads(&"y".repeat(2000)),
        identity: WORKER.into(),
    };
    match world.apply("wf", input).unwrap() {
        Reply::ActivityFailed { failures } => {
            let texts: Vec<_> = failures.iter().map(|f| f.message.as_str()).collect();
            assert_eq!(texts, ["Heartbeat details exceed size limit.", "Failure exceeds size limit."]);
        }
        other => panic!("not an answer to a failure: {other:?}"),
    }
    assert_eq!(world.run("wf").events()[6].event_type(), sempre_api::v1::enums::EventType::ActivityTaskFailed);
}

/// 03 §6.9
#[test]
fn the_stored_failure_is_cut_but_not_the_final_one() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(2)).command()]);
    let long = "x".repeat(10_000);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure(&long)).unwrap();
    let kept = pending(&world).last_failure.unwrap();
    assert_eq!(kept.message, "Failure exceeds size limit.");
    assert!(prost::Message::encoded_len(&kept) <= world.limits.activity_failure_max);
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure(&long)).unwrap();
    assert!(line(&world, &world.run("wf").events()[6]).contains(&long));
}

/// 03 §5
#[test]
fn a_worker_may_only_send_application_failures() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    let refusal = world.fail_activity(&task, Default::default()).unwrap_err();
    assert_eq!(refusal, Refusal::InvalidArgument("Failure must have ApplicationFailureInfo.".into()));
    // None at all is fine, and is retried.
    let input =
        Input::FailActivity { target: task.target(), failure: None, last_heartbeat_details: payloads("half"), identity: WORKER.into() };
    world.apply("wf", input).unwrap();
    world.advance(secs(1));
    assert_eq!(world.poll_activity().unwrap().response.heartbeat_details, payloads("half"));
}

/// A deadline that a heartbeat makes later is not moved: the early wake-up finds nothing to do.
#[test]
fn heartbeats_do_not_move_the_deadline_row() {
    let mut world = World::new();
    let command = with(activity("a"), |a| {
        a.start_to_close_timeout = duration(60);
        a.heartbeat_timeout = duration(10);
    });
    world.begin("wf", [command.command()]);
    let task = world.poll_activity().unwrap();
    let armed = world.run("wf").deadline;
    world.advance(secs(5));
    world.heartbeat(&task, "1").unwrap();
    assert_eq!(world.run("wf").deadline, armed);
    world.advance(secs(5));
    assert_eq!(pending(&world).attempt, 1);
    assert_eq!(world.run("wf").deadline, Some(world.now + secs(5)));
}

/// 03 §2: an activity id may be used again after its end
#[test]
fn an_activity_id_may_be_used_again_after_its_end() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let first = world.poll_activity().unwrap();
    world.complete_activity(&first, "1").unwrap();
    world.work([activity("a").command()]);
    let second = world.poll_activity().unwrap();
    world.complete_activity(&second, "2").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let commands = [activity("b").command(), activity("b").command()];
    let refusal = world.complete_with(&task, commands, |_| {}).unwrap_err();
    assert_eq!(
        refusal,
        Refusal::InvalidArgument(
            "ScheduleActivityDuplicateId: invalid history builder state for action: add-activitytask-scheduled-event, ActivityID: b".into()
        )
    );
}

/// 03 §11: whoever says how the attempt went, it was the worker that had it
#[test]
fn the_last_worker_of_a_retried_activity_is_the_one_that_had_it() {
    let mut world = World::new();
    world.begin(
        "wf",
        [with(activity("a"), |a| a.retry_policy = Some(RetryPolicy { initial_interval: duration(1), ..Default::default() })).command()],
    );
    world.poll_activity().unwrap();
    let fail = Input::FailActivity {
        target: by_id("a"),
        failure: Some(Box::new(failure("no"))),
        last_heartbeat_details: None,
        identity: "somebody else".into(),
    };
    world.apply("wf", fail).unwrap();
    let pending = world.run("wf").execution.describe(world.now).pending_activities.remove(0);
    assert_eq!((pending.attempt, pending.last_worker_identity.as_str()), (2, WORKER));
}

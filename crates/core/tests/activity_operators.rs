//! Pause, unpause, reset and other options of pending activities: spec 03 §9, §17.10.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    activity::ActivityOptions,
    common::{Priority, RetryPolicy},
    enums::PendingActivityState as State,
    history::history_event::Attributes,
    taskqueue::TaskQueue,
    workflow::{PendingActivityInfo, pending_activity_info::pause_info::PausedBy},
};
use sempre_core::{
    Input, Refusal, Reply, Span,
    input::{ActivitySelector, ActivityTarget, OptionsUpdate, PauseRequest, ResetActivity, UnpauseActivity},
    transition::QueueKind,
};

fn id(id: &str) -> ActivitySelector {
    ActivitySelector::Id(id.into())
}

fn pause_by(world: &mut World, which: ActivitySelector, request_id: &str) -> Result<Reply, Refusal> {
    let request = PauseRequest { identity: "operator".into(), reason: "why".into(), request_id: request_id.into() };
    world.apply("wf", Input::PauseActivity(which, Box::new(request)))
}

fn pause(world: &mut World) {
    pause_by(world, id("a"), "p").unwrap();
}

fn unpause_with(world: &mut World, change: impl FnOnce(&mut UnpauseActivity)) {
    let request = with(UnpauseActivity::default(), change);
    world.apply("wf", Input::UnpauseActivity(id("a"), Box::new(request))).unwrap();
}

fn unpause(world: &mut World) {
    unpause_with(world, |_| {});
}

fn reset_with(world: &mut World, change: impl FnOnce(&mut ResetActivity)) {
    let request = with(ResetActivity::default(), change);
    world.apply("wf", Input::ResetActivity(id("a"), Box::new(request))).unwrap();
}

fn update(world: &mut World, paths: &[&str], change: impl FnOnce(&mut ActivityOptions)) -> Result<ActivityOptions, Refusal> {
    let update = OptionsUpdate {
        options: Some(with(ActivityOptions::default(), change)),
        mask: Some(paths.iter().map(|path| (*path).to_string()).collect()),
        ..Default::default()
    };
    answer(world.apply("wf", Input::UpdateActivityOptions(id("a"), Box::new(update))))
}

fn answer(reply: Result<Reply, Refusal>) -> Result<ActivityOptions, Refusal> {
    match reply? {
        Reply::ActivityOptions(options) => Ok(*options),
        other => panic!("not options: {other:?}"),
    }
}

fn restore(world: &mut World) -> ActivityOptions {
    let update = OptionsUpdate { restore_original: true, ..Default::default() };
    answer(world.apply("wf", Input::UpdateActivityOptions(id("a"), Box::new(update)))).unwrap()
}

fn pending(world: &World) -> PendingActivityInfo {
    let mut all = world.run("wf").execution.describe(world.now).pending_activities;
    assert_eq!(all.len(), 1, "one pending activity");
    all.remove(0)
}

/// Answer to a heartbeat: cancel requested, paused, reset.
fn heartbeat(world: &mut World, task: &ActivityTask) -> (bool, bool, bool) {
    let input = Input::Heartbeat { target: task.target(), details: payloads("beat"), identity: WORKER.into() };
    match world.apply("wf", input).unwrap() {
        Reply::Heartbeat { cancel_requested, paused, reset } => (cancel_requested, paused, reset),
        other => panic!("not an answer to a heartbeat: {other:?}"),
    }
}

fn began() -> World {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    world
}

/// A run with activity `a` in its second attempt, in a worker's hands.
fn second_attempt() -> (World, ActivityTask) {
    let mut world = began();
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no 1")).unwrap();
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 2);
    (world, task)
}

fn not_found(answer: Result<Reply, Refusal>) {
    let text = "Can't find pending activity with such ID. Invalid activityID or activity already completed";
    assert_eq!(answer.unwrap_err(), Refusal::not_found(text));
}

#[test]
fn paused_before_its_start_it_is_not_offered() {
    let mut world = began();
    let offer = world.offers[0].clone();
    pause(&mut world);
    let poller = world.poller();
    assert!(world.start_activity_task(&offer, poller).is_none(), "an offer on its way is obsolete");
    world.advance(secs(3600));
    assert!(world.poll_activity().is_none());
    let info = pending(&world);
    assert_eq!((info.state(), info.paused), (State::Paused, true));
    unpause(&mut world);
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "yes").unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        7 ActivityTaskCompleted {scheduled 5, started 6, result yes}
        8 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn paused_while_it_runs_the_worker_is_told_and_may_complete_it() {
    let mut world = began();
    let task = world.poll_activity().unwrap();
    assert_eq!(heartbeat(&mut world, &task), (false, false, false));
    pause(&mut world);
    assert_eq!(heartbeat(&mut world, &task), (false, true, false));
    assert_eq!(pending(&world).state(), State::PauseRequested);
    world.complete_activity(&task, "yes").unwrap();
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
}

/// 03 §17.10
#[test]
fn paused_while_it_runs_a_failure_raises_the_attempt_and_waits() {
    let mut world = began();
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    world.fail_activity(&task, failure("no 1")).unwrap();
    let info = pending(&world);
    assert_eq!((info.state(), info.attempt, info.last_failure.unwrap().message.as_str()), (State::Paused, 2, "no 1"));
    assert_eq!((info.next_attempt_schedule_time, info.current_retry_interval), (None, None));
    world.advance(secs(600));
    assert!(world.poll_activity().is_none());
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().response.attempt, 2, "at once");
}

#[test]
fn a_last_attempt_that_fails_while_paused_does_not_close_the_activity() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(1)).command()]);
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    world.fail_activity(&task, failure("no")).unwrap();
    assert_eq!(pending(&world).attempt, 2);
    unpause(&mut world);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no again")).unwrap();
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty(), "no longer paused, it is over");
}

#[test]
fn a_failure_that_is_not_to_be_retried_closes_a_paused_activity() {
    let mut world = began();
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    world.fail_activity(&task, failure_with("never", |info| info.non_retryable = true)).unwrap();
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
}

#[test]
fn paused_during_a_back_off_its_time_passes_without_an_offer() {
    let (mut world, task) = second_attempt();
    world.fail_activity(&task, failure("no 2")).unwrap();
    pause(&mut world);
    world.advance(secs(60));
    assert!(world.poll_activity().is_none());
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().response.attempt, 3);
}

#[test]
fn unpaused_before_its_back_off_is_over_it_is_offered_at_once() {
    let (mut world, task) = second_attempt();
    world.fail_activity(&task, failure("no 2")).unwrap();
    pause(&mut world);
    unpause(&mut world);
    assert_eq!(world.poll_activity().unwrap().response.attempt, 3);
}

#[test]
fn unpaused_with_a_reset_it_begins_again() {
    let (mut world, task) = second_attempt();
    heartbeat(&mut world, &task);
    world.fail_activity(&task, failure("no 2")).unwrap();
    pause(&mut world);
    unpause_with(&mut world, |r| {
        r.reset_attempts = true;
        r.reset_heartbeat = true;
    });
    let task = world.poll_activity().unwrap();
    assert_eq!((task.response.attempt, task.response.heartbeat_details), (1, None));
}

#[test]
fn unpaused_without_a_reset_it_keeps_attempt_and_heartbeat() {
    let (mut world, task) = second_attempt();
    heartbeat(&mut world, &task);
    world.fail_activity(&task, failure("no 2")).unwrap();
    pause(&mut world);
    unpause(&mut world);
    let task = world.poll_activity().unwrap();
    assert_eq!((task.response.attempt, task.response.heartbeat_details), (3, payloads("beat")));
}

#[test]
fn attempts_reset_while_a_worker_has_one_leave_its_token_good() {
    let (mut world, task) = second_attempt();
    pause(&mut world);
    unpause_with(&mut world, |r| r.reset_attempts = true);
    assert_eq!(pending(&world).attempt, 1);
    assert_eq!(heartbeat(&mut world, &task), (false, false, false));
    world.fail_activity(&task, failure("no 2")).unwrap();
    assert_eq!(pending(&world).attempt, 2);
    assert!(world.complete_activity(&task, "late").is_err(), "and only as long as it runs");
}

#[test]
fn a_jitter_delays_the_dispatch() {
    let mut world = began();
    pause(&mut world);
    unpause_with(&mut world, |r| r.jitter = secs(10));
    let due = pending(&world).next_attempt_schedule_time;
    assert!(due.is_some(), "the seed of this test gives some delay");
    assert!(world.poll_activity().is_none());
    world.advance(secs(10));
    assert!(world.poll_activity().is_some());
}

#[test]
fn a_paused_activity_has_no_timeouts() {
    let mut world = World::new();
    let limited = with(activity("a"), |a| {
        a.schedule_to_close_timeout = duration(30);
        a.heartbeat_timeout = duration(5);
    });
    world.begin("wf", [limited.command()]);
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    world.advance(secs(60));
    assert_eq!(pending(&world).state(), State::PauseRequested);
    assert_eq!(heartbeat(&mut world, &task), (false, true, false));
    unpause(&mut world);
    world.advance(Span(1));
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty(), "they are due as soon as it is not");
}

#[test]
fn a_pause_is_idempotent_by_its_request_id() {
    let mut world = began();
    pause(&mut world);
    pause(&mut world);
    let refused = pause_by(&mut world, id("a"), "other").unwrap_err();
    assert_eq!(refused, Refusal::FailedPrecondition("activity is already paused".into()));
    assert!(pause_by(&mut world, id("a"), "").is_err());
    pause_by(&mut world, ActivitySelector::Type("Activity".into()), "other").unwrap();
    let info = pending(&world).pause_info.unwrap();
    assert_eq!(info.pause_time, Some(world.now.to_api()));
    match info.paused_by.unwrap() {
        PausedBy::Manual(by) => assert_eq!((by.identity.as_str(), by.reason.as_str()), ("operator", "why")),
        other => panic!("paused by {other:?}"),
    }
}

#[test]
fn activities_are_meant_by_id_by_type_or_all() {
    let mut world = World::new();
    let other = with(activity("c"), |a| a.activity_type.as_mut().unwrap().name = "Other".into());
    world.begin("wf", [activity("a").command(), activity("b").command(), other.command()]);
    let paused = |world: &World| -> Vec<String> {
        let all = world.run("wf").execution.describe(world.now).pending_activities;
        all.into_iter().filter(|info| info.paused).map(|info| info.activity_id).collect()
    };
    pause_by(&mut world, ActivitySelector::Type("Activity".into()), "p").unwrap();
    assert_eq!(paused(&world), ["a", "b"]);
    let info = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    let shown = &info.search_attributes.unwrap().indexed_fields["TemporalPauseInfo"];
    assert_eq!(shown.data, r#"["property:activityType=Activity"]"#);
    pause_by(&mut world, id("c"), "p").unwrap();
    assert_eq!(paused(&world), ["a", "b", "c"]);
    world.apply("wf", Input::UnpauseActivity(ActivitySelector::All, Box::default())).unwrap();
    assert!(paused(&world).is_empty());
    assert_eq!((0..3).filter(|_| world.poll_activity().is_some()).count(), 3);
}

#[test]
fn one_that_waits_for_its_next_attempt_is_run_now_with_that_attempt() {
    let run_now = |world: &mut World| world.apply("wf", Input::RunActivityNow(id("a")));
    let (mut world, task) = second_attempt();
    let refused = |answer: Result<Reply, Refusal>, text: &str| assert_eq!(answer.unwrap_err(), Refusal::FailedPrecondition(text.into()));
    refused(run_now(&mut world), "a worker has the activity now");
    world.fail_activity(&task, failure("no 2")).unwrap();
    assert!(world.poll_activity().is_none(), "the third attempt is due in two seconds");
    run_now(&mut world).unwrap();
    // Twice is once.
    run_now(&mut world).unwrap();
    let third = world.poll_activity().unwrap();
    assert_eq!((third.response.attempt, world.poll_activity().is_none()), (3, true));
    assert_eq!(pending(&world).last_failure.unwrap().message, "no 2");
    world.advance(secs(2));
    assert!(world.poll_activity().is_none(), "when it was due before, nothing comes");
    world.fail_activity(&third, failure("no 3")).unwrap();
    pause(&mut world);
    refused(run_now(&mut world), "activity is paused: unpause it to have it run");
    unpause(&mut world);
    let fourth = world.poll_activity().unwrap();
    world.complete_activity(&fourth, "yes").unwrap();
    not_found(run_now(&mut world));
}

#[test]
fn none_is_run_now_while_its_run_is_paused() {
    let run_now = |world: &mut World| world.apply("wf", Input::RunActivityNow(id("a")));
    let (mut world, task) = second_attempt();
    world.fail_activity(&task, failure("no 2")).unwrap();
    world.pause("wf");
    let text = "workflow is paused: unpause it to have its activities run";
    assert_eq!(run_now(&mut world).unwrap_err(), Refusal::FailedPrecondition(text.into()));
    world.unpause("wf");
    assert!(world.poll_activity().is_none(), "the third attempt is due when it was");
    run_now(&mut world).unwrap();
    assert_eq!(world.poll_activity().unwrap().response.attempt, 3);
}

#[test]
fn one_on_offer_that_is_run_now_keeps_its_place_in_the_line_and_its_time() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.schedule_to_start_timeout = duration(5)).command()]);
    world.advance(secs(3));
    let offers = world.offers.clone();
    assert!(matches!(world.apply("wf", Input::RunActivityNow(id("a"))), Ok(Reply::Done)));
    assert_eq!((offers.len(), world.offers == offers), (1, true), "it is neither withdrawn nor offered anew");
    world.advance(secs(2));
    assert!(world.poll_activity().is_none());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 ActivityTaskTimedOut {scheduled 5, started 0, failure 'activity ScheduleToStart timeout', Timeout}
        7 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn none_that_is_meant_is_not_found() {
    let mut world = began();
    not_found(pause_by(&mut world, id("x"), "p"));
    not_found(pause_by(&mut world, ActivitySelector::Type("x".into()), "p"));
    not_found(world.apply("wf", Input::UnpauseActivity(id("x"), Box::default())));
    not_found(world.apply("wf", Input::ResetActivity(id("x"), Box::default())));
    not_found(
        world.apply("wf", Input::UpdateActivityOptions(id("x"), Box::new(OptionsUpdate { restore_original: true, ..Default::default() }))),
    );
    let task = world.poll_activity().unwrap();
    let held = world.poll_workflow(QUEUE);
    assert!(held.is_none());
    world.signal("wf", "s").unwrap();
    let started = world.poll_workflow(QUEUE).unwrap();
    world.complete_activity(&task, "yes").unwrap();
    not_found(pause_by(&mut world, id("a"), "p"));
    world.complete(&started, []);
    world.terminate("wf", "enough").unwrap();
    assert_eq!(pause_by(&mut world, id("a"), "p").unwrap_err(), Refusal::closed());
}

#[test]
fn a_reset_during_a_back_off_offers_the_first_attempt_at_once() {
    let (mut world, task) = second_attempt();
    heartbeat(&mut world, &task);
    world.fail_activity(&task, failure("no 2")).unwrap();
    reset_with(&mut world, |r| r.reset_heartbeat = true);
    let task = world.poll_activity().unwrap();
    assert_eq!((task.response.attempt, task.response.heartbeat_details.clone()), (1, None));
    assert_eq!(heartbeat(&mut world, &task), (false, false, false), "the new attempt is none that was reset");
}

#[test]
fn a_reset_of_a_running_attempt_is_told_by_heartbeats_and_forgets_at_its_end() {
    let (mut world, task) = second_attempt();
    heartbeat(&mut world, &task);
    reset_with(&mut world, |r| r.reset_heartbeat = true);
    assert_eq!(pending(&world).attempt, 1);
    assert_eq!(heartbeat(&mut world, &task), (false, false, true));
    world.fail_activity(&task, failure("as told")).unwrap();
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    assert_eq!((task.response.attempt, task.response.heartbeat_details.clone()), (2, None));
    assert_eq!(heartbeat(&mut world, &task), (false, false, false));
}

#[test]
fn a_reset_running_attempt_may_complete_the_activity() {
    let (mut world, task) = second_attempt();
    reset_with(&mut world, |_| {});
    world.complete_activity(&task, "yes").unwrap();
    let events = world.run("wf").events();
    assert_eq!(line(&world, &events[5]), "ActivityTaskStarted {scheduled 5, attempt 1, by worker, last failure 'no 1'}");
}

#[test]
fn a_reset_unpauses_unless_told_otherwise() {
    let mut world = began();
    pause(&mut world);
    reset_with(&mut world, |r| r.keep_paused = true);
    assert!(pending(&world).paused);
    assert!(world.poll_activity().is_none());
    reset_with(&mut world, |_| {});
    assert!(!pending(&world).paused);
    assert!(world.poll_activity().is_some());
}

#[test]
fn a_reset_can_restore_the_options() {
    let mut world = began();
    update(&mut world, &["task_queue.name"], |o| o.task_queue = Some(TaskQueue { name: "other".into(), ..Default::default() })).unwrap();
    assert!(world.poll_activity().is_none());
    reset_with(&mut world, |r| r.restore_original_options = true);
    assert!(world.poll_activity().is_some());
}

#[test]
fn another_queue_takes_the_offer_along() {
    let mut world = began();
    let options = update(&mut world, &["task_queue.name", "priority.priority_key"], |o| {
        o.task_queue = Some(TaskQueue { name: "other".into(), ..Default::default() });
        o.priority = Some(Priority { priority_key: 1, ..Default::default() });
    })
    .unwrap();
    assert_eq!(options.task_queue.unwrap().name, "other");
    let [offer] = &world.offers[..] else { panic!("one offer: {:?}", world.offers) };
    assert_eq!((offer.queue.name.as_str(), offer.queue.kind, offer.key.priority), ("other", QueueKind::Activity, 1));
    let offer = offer.clone();
    let poller = world.poller();
    let task = world.start_activity_task(&offer, poller).unwrap();
    assert_eq!(task.response.priority.unwrap().priority_key, 1);
}

#[test]
fn a_shorter_timeout_holds_for_the_running_attempt() {
    let mut world = began();
    let task = world.poll_activity().unwrap();
    world.advance(secs(1));
    let options = update(&mut world, &["startToCloseTimeout"], |o| o.start_to_close_timeout = duration(2)).unwrap();
    assert_eq!(options.start_to_close_timeout, duration(2));
    world.advance(secs(1));
    assert_eq!(pending(&world).attempt, 2, "timed out after 2 s");
    assert!(world.complete_activity(&task, "late").is_err());
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.start_to_close_timeout, duration(2));
}

#[test]
fn another_retry_policy_moves_the_waiting_retry() {
    let (mut world, task) = second_attempt();
    world.fail_activity(&task, failure("no 2")).unwrap();
    let policy = RetryPolicy { initial_interval: duration(10), ..Default::default() };
    update(&mut world, &["retry_policy.initial_interval"], |o| o.retry_policy = Some(policy)).unwrap();
    let info = pending(&world);
    assert_eq!(info.current_retry_interval, duration(20), "10 s doubled once");
    world.advance(secs(19));
    assert!(world.poll_activity().is_none());
    world.advance(secs(1));
    assert_eq!(world.poll_activity().unwrap().response.attempt, 3);
}

#[test]
fn fewer_attempts_hold_for_the_running_one() {
    let (mut world, task) = second_attempt();
    let policy = RetryPolicy { maximum_attempts: 2, ..Default::default() };
    update(&mut world, &["retryPolicy.maximumAttempts"], |o| o.retry_policy = Some(policy)).unwrap();
    assert_eq!(pending(&world).maximum_attempts, 2);
    world.fail_activity(&task, failure("no 2")).unwrap();
    let events = world.run("wf").events();
    assert_eq!(line(&world, &events[6]), "ActivityTaskFailed {scheduled 5, started 6, failure 'no 2', MaximumAttemptsReached}");
}

#[test]
fn a_whole_policy_keeps_the_error_types() {
    let mut world = World::new();
    let policy = RetryPolicy { non_retryable_error_types: vec!["Fatal".into()], ..Default::default() };
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = Some(policy)).command()]);
    let policy = RetryPolicy { initial_interval: duration(3), backoff_coefficient: 1.0, ..Default::default() };
    let options = update(&mut world, &["retry_policy"], |o| o.retry_policy = Some(policy)).unwrap();
    let policy = options.retry_policy.unwrap();
    assert_eq!((policy.initial_interval, policy.maximum_interval), (duration(3), duration(300)));
    assert_eq!(policy.non_retryable_error_types, ["Fatal"]);
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.retry_policy.as_ref().unwrap().initial_interval, duration(3));
    world.fail_activity(&task, failure_with("no", |info| info.r#type = "Fatal".into())).unwrap();
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
}

#[test]
fn options_can_be_restored() {
    let mut world = began();
    let original = pending(&world).activity_options.unwrap();
    update(&mut world, &["heartbeat_timeout", "schedule_to_close_timeout"], |o| {
        o.heartbeat_timeout = duration(3);
        o.schedule_to_close_timeout = duration(60);
    })
    .unwrap();
    let info = pending(&world);
    assert!(info.expiration_time.is_some());
    let changed = info.activity_options.unwrap();
    assert_eq!((changed.heartbeat_timeout, changed.schedule_to_start_timeout), (duration(3), duration(60)), "brought to normal form");
    let restored = restore(&mut world);
    let queue = TaskQueue { name: QUEUE.into(), ..Default::default() };
    assert_eq!(restored, ActivityOptions { task_queue: Some(queue), ..original.clone() });
    assert_eq!(pending(&world).activity_options.unwrap(), original);
}

#[test]
fn updates_that_make_no_sense_are_refused_and_change_nothing() {
    let mut world = began();
    let invalid = |answer: Result<ActivityOptions, Refusal>| match answer {
        Err(Refusal::InvalidArgument(text)) => text,
        other => panic!("expected INVALID_ARGUMENT, got {other:?}"),
    };
    let send =
        |world: &mut World, update: OptionsUpdate| answer(world.apply("wf", Input::UpdateActivityOptions(id("a"), Box::new(update))));
    let options = Some(ActivityOptions::default());
    let both = OptionsUpdate { mask: Some(vec!["priority".into()]), restore_original: true, ..Default::default() };
    assert_eq!(invalid(send(&mut world, both)), "Both UpdateMask and RestoreOriginal are provided");
    assert_eq!(invalid(send(&mut world, OptionsUpdate::default())), "ActivityOptions are not provided");
    assert_eq!(invalid(send(&mut world, OptionsUpdate { options, ..Default::default() })), "UpdateMask is not provided");
    assert_eq!(invalid(update(&mut world, &["task_queue.name"], |_| {})), "TaskQueue is not provided");
    assert_eq!(invalid(update(&mut world, &["priority.fairness_key"], |_| {})), "Priority is not provided");
    assert_eq!(invalid(update(&mut world, &["retry_policy.maximum_attempts"], |_| {})), "RetryPolicy is not provided");
    assert_eq!(invalid(update(&mut world, &["start_delay"], |_| {})), "unknown path in UpdateMask: start_delay");
    let none = invalid(update(&mut world, &["start_to_close_timeout"], |_| {}));
    assert!(none.starts_with("a valid StartToClose or ScheduleToCloseTimeout is not set on ScheduleActivityTaskCommand."), "{none}");
    let low = Some(RetryPolicy { backoff_coefficient: 0.5, ..Default::default() });
    let text = invalid(update(&mut world, &["retry_policy.backoff_coefficient"], |o| o.retry_policy = low));
    assert_eq!(text, "BackoffCoefficient cannot be less than 1 on retry policy.");
}

#[test]
fn operations_with_a_request_id_have_one_effect() {
    let (mut world, task) = second_attempt();
    reset_with(&mut world, |r| r.request_id = "r".into());
    world.fail_activity(&task, failure("no")).unwrap();
    assert_eq!(pending(&world).attempt, 2);
    reset_with(&mut world, |r| r.request_id = "r".into());
    assert_eq!(pending(&world).attempt, 2, "the same reset again");
    reset_with(&mut world, |r| r.request_id = "another".into());
    assert_eq!(pending(&world).attempt, 1);
}

#[test]
fn a_paused_activity_can_be_cancelled_and_completed_by_id() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command(), activity("b").command()]);
    pause(&mut world);
    pause_by(&mut world, id("b"), "p").unwrap();
    let input = Input::CompleteActivity { target: ActivityTarget::Id("b".into()), result: payloads("yes"), identity: "client".into() };
    world.apply("wf", input).unwrap();
    world.work([cancel_activity(5)]);
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
}

#[test]
fn a_paused_activity_stays_paused_when_its_run_is_paused_and_resumed() {
    let mut world = began();
    pause(&mut world);
    world.apply("wf", Input::Pause(Box::default())).unwrap();
    unpause(&mut world);
    assert!(world.poll_activity().is_none(), "the run is still paused");
    pause(&mut world);
    world.apply("wf", Input::Unpause(Box::default())).unwrap();
    assert!(world.poll_activity().is_none(), "the activity still is");
    unpause(&mut world);
    assert!(world.poll_activity().is_some());
}

/// With the first attempt again nothing has failed before it
#[test]
fn a_reset_forgets_the_last_failure() {
    for reset in [(|world| reset_with(world, |_| {})) as fn(&mut World), |world| {
        pause(world);
        unpause_with(world, |r| r.reset_attempts = true);
    }] {
        let mut world = World::new();
        world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(5)).command()]);
        let task = world.poll_activity().unwrap();
        world.fail_activity(&task, failure("once")).unwrap();
        assert!(pending(&world).last_failure.is_some());
        reset(&mut world);
        assert_eq!((pending(&world).attempt, pending(&world).last_failure), (1, None));
        let task = world.poll_activity().unwrap();
        world.complete_activity(&task, "done").unwrap();
        let started = world.run("wf").events().into_iter().find_map(|event| match event.attributes {
            Some(Attributes::ActivityTaskStartedEventAttributes(a)) => Some(a),
            _ => None,
        });
        assert_eq!(started.unwrap().last_failure, None);
    }
}

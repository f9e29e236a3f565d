//! Paused runs: spec 01 §15.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    enums::{PendingActivityState, WorkflowExecutionStatus as Status, WorkflowTaskFailedCause},
    query::WorkflowQuery,
    workflow::PendingActivityInfo,
};
use sempre_core::{Input, Refusal, Reply, Span, Timestamp};

fn pause(world: &mut World) {
    world.pause("wf");
    assert!(world.run("wf").execution.is_paused());
    assert_eq!(status(world), Status::Paused);
}

fn unpause(world: &mut World) {
    world.unpause("wf");
    assert!(!world.run("wf").execution.is_paused());
    assert_eq!(status(world), Status::Running);
}

fn status(world: &World) -> Status {
    let run = world.run("wf");
    assert_eq!(world.current["wf"].status, run.execution.status() as i32, "the pointer says the same");
    run.execution.describe(world.now).workflow_execution_info.unwrap().status()
}

fn pending(world: &World) -> PendingActivityInfo {
    let mut all = world.run("wf").execution.describe(world.now).pending_activities;
    assert_eq!(all.len(), 1, "one pending activity");
    all.remove(0)
}

fn precondition(answer: Result<Reply, Refusal>, text: &str) {
    match answer {
        Err(Refusal::FailedPrecondition(said)) => assert_eq!(said, text),
        other => panic!("expected FAILED_PRECONDITION, got {other:?}"),
    }
}

fn pause_info(world: &World) -> Option<String> {
    let info = world.run("wf").execution.describe(world.now).workflow_execution_info.unwrap();
    let payload = info.search_attributes?.indexed_fields.get("TemporalPauseInfo").cloned()?;
    assert_eq!(payload.metadata["type"], "KeywordList");
    Some(String::from_utf8(payload.data.to_vec()).unwrap())
}

#[test]
fn a_scheduled_task_ends_and_comes_again_after_the_pause() {
    let mut world = World::new();
    world.start("wf");
    let offer = world.offers[0].clone();
    pause(&mut world);
    assert!(world.offers.is_empty(), "nothing is on offer");
    let poller = world.poller();
    assert!(world.start_workflow_task(&offer, poller).is_none(), "an offer on its way is obsolete");
    world.signal("wf", "s").unwrap();
    world.advance(secs(3600));
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    let task = world.work([complete()]);
    assert!(task.inline.is_none());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, WorkflowPauseRequestedBeforeTaskStarted}
        5 WorkflowExecutionPaused {by operator, reason why}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowExecutionUnpaused {by operator, reason why}
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted {scheduled 8}
        10 WorkflowTaskCompleted {scheduled 8, started 9}
        11 WorkflowExecutionCompleted {wtc 10}
    ",
    );
    let ignorable: Vec<_> = world.run("wf").events().iter().filter(|e| e.worker_may_ignore).map(|e| e.event_id).collect();
    assert_eq!(ignorable, [5, 7]);
}

#[test]
fn a_started_task_is_answered_and_nothing_follows() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    pause(&mut world);
    assert_eq!(world.run("wf").events().len(), 3, "the event waits for the task");
    world.signal("wf", "s").unwrap();
    let forced = world.complete_with(&task, [], |r| r.force_create_new_workflow_task = true);
    assert!(matches!(forced, Err(Refusal::FailedPrecondition(text))
        if text == "Workflow is paused and force create new workflow task is not allowed."));
    world.complete(&task, [timer("t", secs(5))]);
    assert_eq!(status(&world), Status::Paused);
    world.advance(secs(60));
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    assert!(world.poll_workflow(QUEUE).is_some());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 WorkflowExecutionPaused {by operator, reason why}
        7 WorkflowExecutionSignaled {name s}
        8 TimerFired {id t, started 5}
        9 WorkflowExecutionUnpaused {by operator, reason why}
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted {scheduled 10}
    ",
    );
}

#[test]
fn a_pause_that_ends_while_the_task_runs_leaves_both_events_after_it() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    pause(&mut world);
    unpause(&mut world);
    world.restart();
    assert_eq!(status(&world), Status::Running);
    world.complete(&task, []);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionPaused {by operator, reason why}
        6 WorkflowExecutionUnpaused {by operator, reason why}
        7 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn a_started_task_that_fails_or_times_out_is_not_repeated_while_paused() {
    for times_out in [false, true] {
        let mut world = World::new();
        world.start("wf");
        let task = world.poll_workflow(QUEUE).unwrap();
        pause(&mut world);
        if times_out {
            world.advance(secs(60));
        } else {
            world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
        }
        assert!(world.poll_workflow(QUEUE).is_none());
        world.restart();
        unpause(&mut world);
        let again = world.poll_workflow(QUEUE).unwrap();
        assert_eq!(again.response.started_event_id, 8, "events: {}", history_text(&world, world.current_run("wf")));
    }
}

#[test]
fn commands_that_fail_the_task_of_a_paused_run_schedule_none() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    pause(&mut world);
    let refused = world.complete_with(&task, [complete()], |_| {});
    assert!(matches!(refused, Err(Refusal::InvalidArgument(text)) if text == "UnhandledCommand"));
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    world.work([complete()]);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, UnhandledCommand, failure 'UnhandledCommand'}
        5 WorkflowExecutionPaused {by operator, reason why}
        6 WorkflowExecutionUnpaused {by operator, reason why}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 WorkflowExecutionCompleted {wtc 9}
    ",
    );
}

#[test]
fn a_retry_of_a_failing_task_goes_without_a_trace_and_counts_from_one_again() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    assert_eq!(world.run("wf").events().len(), 4, "attempt 2 has no events yet");
    pause(&mut world);
    assert_eq!(world.run("wf").events().len(), 5);
    unpause(&mut world);
    assert_eq!(world.poll_workflow(QUEUE).unwrap().response.attempt, 1);
}

#[test]
fn a_task_on_a_sticky_queue_is_taken_back() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.signal("wf", "s").unwrap();
    pause(&mut world);
    world.advance(secs(60));
    assert!(world.offers.is_empty(), "and does not time out there");
    unpause(&mut world);
    assert!(world.poll_workflow("mine").is_some());
}

#[test]
fn a_delayed_start_waits_for_its_time_and_for_the_end_of_the_pause() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(10))).unwrap();
    pause(&mut world);
    unpause(&mut world);
    assert!(world.poll_workflow(QUEUE).is_none(), "its time has not come");
    pause_again(&mut world);
    world.advance(secs(20));
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    assert!(world.poll_workflow(QUEUE).is_some());
}

fn pause_again(world: &mut World) {
    world.apply("wf", Input::Pause(operator("another"))).unwrap();
}

#[test]
fn the_same_request_is_the_same_pause_and_another_is_refused() {
    let mut world = World::new();
    world.begin("wf", []);
    precondition(world.apply("wf", Input::Unpause(operator("u"))), "workflow is not paused.");
    pause(&mut world);
    pause(&mut world);
    precondition(world.apply("wf", Input::Pause(operator("other"))), "workflow is already paused.");
    precondition(world.apply("wf", Input::Pause(operator(""))), "workflow is already paused.");
    assert_eq!(world.run("wf").events().len(), 5);
    unpause(&mut world);
    precondition(world.apply("wf", Input::Unpause(operator("unpause"))), "workflow is not paused.");
    for (field, text) in [(0, "identity is too long."), (1, "reason is too long."), (2, "request id is too long.")] {
        let mut long = operator("r");
        *[&mut long.identity, &mut long.reason, &mut long.request_id][field] = "x".repeat(1001);
        assert!(matches!(world.apply("wf", Input::Pause(long)), Err(Refusal::InvalidArgument(said)) if said == text));
    }
    world.terminate("wf", "enough").unwrap();
    assert_eq!(world.apply("wf", Input::Pause(operator("p"))).unwrap_err(), Refusal::closed());
    assert_eq!(world.apply("wf", Input::Unpause(operator("p"))).unwrap_err(), Refusal::closed());
}

#[test]
fn describe_tells_who_paused_and_why() {
    let mut world = World::new();
    world.begin("wf", []);
    assert_eq!(pause_info(&world), None);
    pause(&mut world);
    let info = world.run("wf").execution.describe(world.now).workflow_extended_info.unwrap().pause_info.unwrap();
    assert_eq!((info.identity.as_str(), info.reason.as_str(), info.paused_time), ("operator", "why", Some(world.now.to_api())));
    assert_eq!(pause_info(&world).unwrap(), r#"["Workflow:wf","Reason:why"]"#);
    unpause(&mut world);
    assert!(world.run("wf").execution.describe(world.now).workflow_extended_info.unwrap().pause_info.is_none());
    assert_eq!(pause_info(&world), None);
}

#[test]
fn queries_are_rejected_with_the_status() {
    let mut world = World::new();
    world.begin("wf", []);
    let query = || Input::Query { id: 1, query: Box::new(WorkflowQuery::default()), reject_condition: 0, until: Timestamp(i64::MAX) };
    pause(&mut world);
    assert!(matches!(world.apply("wf", query()), Ok(Reply::QueryRejected { status }) if status == Status::Paused as i32));
    unpause(&mut world);
    assert!(matches!(world.apply("wf", query()), Ok(Reply::QueryBuffered)));
    pause_again(&mut world);
    assert!(
        matches!(&world.query_answers[..], [(1, Err(Refusal::WorkflowNotReady(_)))]),
        "a query that waited for a task that is gone is refused"
    );
}

#[test]
fn a_paused_run_can_be_cancelled_terminated_and_times_out() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_run_timeout = duration(100))).unwrap();
    pause(&mut world);
    world.request_cancel("wf", "stop").unwrap();
    assert!(world.offers.is_empty());
    world.advance(secs(100));
    assert_eq!(status(&world), Status::TimedOut);
    let mut world = World::new();
    world.begin("wf", []);
    pause(&mut world);
    world.terminate("wf", "enough").unwrap();
    assert_eq!(status(&world), Status::Terminated);
    assert!(!world.run("wf").execution.is_paused());
}

#[test]
fn an_offered_activity_is_taken_back_and_offered_again() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let offer = world.offers[0].clone();
    pause(&mut world);
    let poller = world.poller();
    assert!(world.start_activity_task(&offer, poller).is_none());
    assert!(world.poll_activity().is_none());
    let info = pending(&world);
    assert_eq!((info.state(), info.paused), (PendingActivityState::Scheduled, false), "the run is paused, not the activity");
    world.advance(secs(1000));
    unpause(&mut world);
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 1);
    let poller = world.poller();
    assert!(world.start_activity_task(&offer, poller).is_none(), "the old offer stays obsolete");
}

#[test]
fn a_running_activity_goes_on_and_its_retry_waits() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    assert!(!world.heartbeat(&task, "half").unwrap());
    world.fail_activity(&task, failure("no")).unwrap();
    world.advance(secs(60));
    assert!(world.poll_activity().is_none());
    assert_eq!(pending(&world).attempt, 2);
    unpause(&mut world);
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 2);
    world.complete_activity(&task, "yes").unwrap();
}

#[test]
fn a_retry_that_is_not_due_when_the_pause_ends_waits_for_its_time() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    pause(&mut world);
    unpause(&mut world);
    world.advance(Span(secs(1).0 - 1));
    assert!(world.poll_activity().is_none());
    world.advance(Span(1));
    assert_eq!(world.poll_activity().unwrap().response.attempt, 2);
}

#[test]
fn a_result_during_the_pause_is_recorded_and_its_task_comes_after() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    let task = world.poll_activity().unwrap();
    pause(&mut world);
    world.complete_activity(&task, "yes").unwrap();
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 WorkflowExecutionPaused {by operator, reason why}
        7 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        8 ActivityTaskCompleted {scheduled 5, started 7, result yes}
        9 WorkflowExecutionUnpaused {by operator, reason why}
        10 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn activities_scheduled_by_a_paused_run_wait_even_if_eager() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    pause(&mut world);
    let eager = with(activity("b"), |a| a.request_eager_execution = true);
    let done = world.complete(&task, [activity("a").command(), eager.command()]);
    assert!(done.activities.is_empty());
    assert!(world.poll_activity().is_none());
    world.advance(secs(1));
    unpause(&mut world);
    assert_eq!([world.poll_activity(), world.poll_activity()].into_iter().flatten().count(), 2);
}

#[test]
fn an_activity_that_nobody_may_start_still_times_out() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.schedule_to_close_timeout = duration(30)).command()]);
    pause(&mut world);
    world.advance(secs(30));
    assert!(world.run("wf").execution.describe(world.now).pending_activities.is_empty());
    assert!(world.poll_workflow(QUEUE).is_none());
    unpause(&mut world);
    assert!(world.poll_workflow(QUEUE).is_some());
}

#[test]
fn a_new_start_finds_the_paused_run_in_its_way() {
    let mut world = World::new();
    world.begin("wf", []);
    pause(&mut world);
    assert!(matches!(world.start_with(start_request("wf")), Err(Refusal::AlreadyStarted { .. })));
    let used = world
        .start_with(with(start_request("wf"), |r| {
            r.workflow_id_conflict_policy = sempre_api::v1::enums::WorkflowIdConflictPolicy::UseExisting as i32;
        }))
        .unwrap();
    assert!(!used.started);
    assert_eq!(used.status(), Status::Paused);
}

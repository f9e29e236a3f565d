//! Tasks that were started for a poll which has gone: nobody has them, so they are no attempts.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, updates::*, *};
use sempre_api::v1::enums::{PendingActivityState, PendingWorkflowTaskState, WorkflowTaskFailedCause};
use sempre_core::{Input, Refusal, Reply, transition::UpdateStatus};

/// The last poll has gone without the workflow task that it took.
fn lose(world: &mut World) {
    let poll = world.polls;
    lose_to(world, poll);
}

/// That poll has gone.
fn lose_to(world: &mut World, poll: u64) {
    let request_id = format!("poll-{poll}");
    assert!(matches!(world.apply("wf", Input::WorkflowTaskLost { request_id }), Ok(Reply::Done)));
}

fn lose_activity(world: &mut World, scheduled_event_id: i64) {
    let request_id = format!("poll-{}", world.polls);
    assert!(matches!(world.apply("wf", Input::ActivityTaskLost { scheduled_event_id, request_id }), Ok(Reply::Done)));
}

#[test]
fn a_lost_workflow_task_goes_to_the_next_poll_with_all_its_time() {
    let mut world = World::new();
    world.start("wf");
    let lost = world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(9));
    lose(&mut world);
    let pending = world.run("wf").execution.describe(world.now).pending_workflow_task.unwrap();
    assert_eq!((pending.state(), pending.attempt), (PendingWorkflowTaskState::Scheduled, 1));
    world.restart();
    world.advance(secs(100));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.response.started_event_id, task.response.attempt), (3, 1));
    let stale = world.complete_with(&lost, [complete()], |_| {}).unwrap_err();
    assert_eq!(stale, Refusal::NotFound("Workflow task not found.".into()), "nobody has that token");
    world.advance(secs(9));
    world.complete(&task, [complete()]);
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
}

#[test]
fn a_task_found_again_times_out_as_any_other() {
    let mut world = World::new();
    world.start("wf");
    world.poll_workflow(QUEUE).unwrap();
    lose(&mut world);
    world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(10));
    assert_eq!(world.poll_workflow(QUEUE).unwrap().response.attempt, 2);
}

#[test]
fn only_the_poll_that_has_it_can_lose_a_task() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    let obsolete =
        |world: &mut World, id: &str| matches!(world.apply("wf", Input::WorkflowTaskLost { request_id: id.into() }), Ok(Reply::Obsolete));
    assert!(obsolete(&mut world, "another"));
    world.complete(&task, [activity("a").command()]);
    assert!(obsolete(&mut world, "poll-1"), "it is completed");
    let activity = world.poll_activity().unwrap();
    let id = 5;
    let other = Input::ActivityTaskLost { scheduled_event_id: id, request_id: "another".into() };
    assert!(matches!(world.apply("wf", other), Ok(Reply::Obsolete)));
    world.complete_activity(&activity, "done").unwrap();
    let late = Input::ActivityTaskLost { scheduled_event_id: id, request_id: format!("poll-{}", world.polls) };
    assert!(matches!(world.apply("wf", late), Ok(Reply::Obsolete)));
}

#[test]
fn news_for_a_lost_task_waits_for_its_end_as_before() {
    let mut world = World::new();
    world.start("wf");
    world.poll_workflow(QUEUE).unwrap();
    let poll = world.polls;
    world.signal("wf", "before").unwrap();
    lose_to(&mut world, poll);
    world.signal("wf", "after").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name before}
        6 WorkflowExecutionSignaled {name after}
        7 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn a_lost_retry_keeps_its_attempt() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    assert_eq!(world.poll_workflow(QUEUE).unwrap().response.attempt, 2);
    lose(&mut world);
    world.restart();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.attempt, 2);
    world.complete(&task, [complete()]);
}

#[test]
fn a_task_lost_by_a_sticky_worker_is_offered_to_all() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [timer("t", secs(1))], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.advance(secs(1));
    world.poll_workflow("mine").unwrap();
    lose(&mut world);
    assert!(world.poll_workflow("mine").is_none());
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [complete()]);
}

/// 02 §3: nothing of it was written, and nothing is
#[test]
fn a_lost_speculative_task_is_scheduled_again_in_memory() {
    let mut world = World::new();
    world.begin("wf", []);
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted));
    let rows = world.run("wf").stored().0.clone();
    world.poll_workflow(QUEUE).unwrap();
    lose(&mut world);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(*world.run("wf").stored().0, rows);
    let request = task.response.messages[0].clone();
    assert_eq!(request.protocol_instance_id, "u", "the update is sent again");
    world.answer_updates(&task, [accept(&request), respond("u", "done")], []).unwrap();
    assert_eq!(world.take_update_news(), ["u: success done"]);
}

#[test]
fn ends_and_resets_take_the_offer_of_a_lost_task_back() {
    let ends: [fn(&mut World); 2] = [
        |w| drop(w.terminate("wf", "enough").unwrap()),
        |w| {
            w.limits.buffered_events_max = 0;
            w.signal("wf", "s").unwrap();
        },
    ];
    for end in ends {
        let mut world = World::new();
        world.start("wf");
        world.poll_workflow(QUEUE).unwrap();
        lose(&mut world);
        end(&mut world);
        let offers = world.offers.len();
        assert_eq!(offers, usize::from(world.run("wf").execution.is_open()), "only a task that is wanted is on offer");
    }
}

#[test]
fn a_lost_activity_was_no_attempt() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(1)).command()]);
    let lost = world.poll_activity().unwrap();
    lose_activity(&mut world, 5);
    let pending = world.run("wf").execution.describe(world.now).pending_activities.remove(0);
    assert_eq!((pending.state(), pending.attempt, pending.last_started_time), (PendingActivityState::Scheduled, 1, None));
    world.restart();
    world.advance(secs(1));
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 1);
    assert!(matches!(world.complete_activity(&lost, "no"), Err(Refusal::NotFound(_))), "nobody has that token");
    world.complete_activity(&task, "done").unwrap();
}

#[test]
fn a_lost_activity_of_a_paused_run_waits_for_the_end_of_the_pause() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    world.poll_activity().unwrap();
    world.pause("wf");
    lose_activity(&mut world, 5);
    assert!(world.poll_activity().is_none());
    world.unpause("wf");
    assert_eq!(world.poll_activity().unwrap().response.attempt, 1);
}

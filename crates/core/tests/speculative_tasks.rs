//! Speculative workflow tasks: spec 02 §1 and §3.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, updates::*, *};
use sempre_api::v1::{
    enums::WorkflowTaskFailedCause,
    history::history_event::Attributes,
    protocol::Message,
    workflowservice::{RespondWorkflowTaskCompletedRequest, respond_workflow_task_completed_request::Capabilities},
};
use sempre_core::{Input, Refusal, Reply, transition::UpdateStatus};

fn only(task: &WorkflowTask) -> Message {
    assert_eq!(task.response.messages.len(), 1);
    task.response.messages[0].clone()
}

fn idle() -> World {
    let mut world = World::new();
    world.begin("wf", []);
    world
}

/// Completes with these messages and returns `reset_history_event_id`.
fn reset_id(world: &mut World, task: &WorkflowTask, change: impl FnOnce(&mut RespondWorkflowTaskCompletedRequest)) -> i64 {
    let mut request = RespondWorkflowTaskCompletedRequest { identity: WORKER.into(), ..Default::default() };
    change(&mut request);
    let run = task.token.run_key().unwrap().run;
    match world.apply_to(run, Input::CompleteWorkflowTask(task.token.clone(), Box::new(request))).unwrap() {
        Reply::WorkflowTaskCompleted { response, .. } => response.reset_history_event_id,
        other => panic!("not an answer to a completion: {other:?}"),
    }
}

/// 02 §3.1, §1.3
#[test]
fn its_events_come_with_the_task_and_are_not_in_history() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    assert!(world.offers[0].volatile);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.events.len(), 6);
    assert_eq!(world.run("wf").events().len(), 4);
    assert_eq!(world.run("wf").execution.virtual_events().len(), 2, "a worker that reads history gets them too");
}

/// 02 §3.2
#[test]
fn a_signal_makes_a_scheduled_one_normal() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    world.signal("wf", "go").unwrap();
    assert_eq!(world.offers.len(), 1);
    assert!(!world.offers[0].volatile, "its offer has a row now");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&only(&task)), respond("u", "done")], []).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskStarted {scheduled 5}
        8 WorkflowTaskCompleted {scheduled 5, started 7}
        9 WorkflowExecutionUpdateAccepted {id u, sequencing 6}
        10 WorkflowExecutionUpdateCompleted {id u, accepted 9, success done}
    ",
    );
}

/// 02 §3.2
#[test]
fn a_signal_makes_a_started_one_normal_and_waits_for_its_end() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("wf", "go").unwrap();
    assert_eq!(world.run("wf").events().len(), 6);
    // Even a rejection leaves its task in history now.
    let id = reset_id(&mut world, &task, |r| r.messages = vec![reject(&only(&task), "no")]);
    assert_eq!(id, 0);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowExecutionSignaled {name go}
        9 WorkflowTaskScheduled
    ",
    );
}

/// 02 §3.2: any change of the run counts, also one without an event
#[test]
fn an_activity_attempt_makes_it_normal() {
    let mut world = World::new();
    world.begin("wf", [activity("a").command()]);
    world.update("wf", "u").unwrap();
    world.poll_activity().unwrap();
    assert_eq!(world.run("wf").events().len(), 6);
    assert_eq!(world.offers.len(), 1);
    world.restart();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(task.response.messages.is_empty(), "the update is lost, the task is not");
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted), "its caller sends it again");
    let done = world.complete_with(&task, [], |r| r.return_new_workflow_task = true).unwrap();
    let task = done.inline.unwrap();
    assert_eq!(only(&task).protocol_instance_id, "u");
}

/// 02 §3.3
#[test]
fn a_discarded_task_says_where_to_roll_back_to() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let id = reset_id(&mut world, &task, |r| r.messages = vec![reject(&only(&task), "no")]);
    assert_eq!(id, 3, "the last completed task's start");
    assert_eq!(world.run("wf").events().len(), 4);
    // A later task takes the ids that were not used.
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.response.previous_started_event_id, task.response.started_event_id), (3, 7));
}

/// 02 §3.3
#[test]
fn an_ignored_update_is_discarded_as_well() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(reset_id(&mut world, &task, |_| {}), 3);
    assert!(world.take_update_news()[0].contains("wasn't processed by worker"));
}

/// 02 §3.3: events between
#[test]
fn events_since_the_last_task_are_kept_unless_the_worker_can_take_them_twice() {
    for (capable, events, discarded) in [(false, 1, false), (true, 1, true), (true, 10, true), (true, 11, false)] {
        let mut world = World::new();
        world.begin("wf", (0..events).map(|n| marker(&format!("m{n}"))));
        let before = world.run("wf").events().len();
        world.update("wf", "u").unwrap();
        let task = world.poll_workflow(QUEUE).unwrap();
        let id = reset_id(&mut world, &task, |r| {
            r.messages = vec![reject(&only(&task), "no")];
            r.capabilities = Some(Capabilities { discard_speculative_workflow_task_with_events: capable });
        });
        assert_eq!(id, if discarded { 3 } else { 0 }, "{capable} {events}");
        assert_eq!(world.run("wf").events().len(), before + if discarded { 0 } else { 3 });
    }
}

/// 02 §3.3: commands
#[test]
fn commands_beside_a_rejection_are_written() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let id = reset_id(&mut world, &task, |r| {
        r.messages = vec![reject(&only(&task), "no")];
        r.commands = vec![marker("m")];
    });
    assert_eq!(id, 0);
    assert!(history_text(&world, world.current_run("wf")).ends_with(" 8 MarkerRecorded {name m, wtc 7}\n"));
}

/// 02 §3.3: heartbeats
#[test]
fn a_heartbeat_is_written_and_the_next_task_is_normal() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    reset_id(&mut world, &task, |r| r.force_create_new_workflow_task = true);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 WorkflowTaskScheduled
    ",
    );
}

/// 02 §1.1, §3.1
#[test]
fn one_that_nobody_takes_times_out_and_becomes_normal() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    world.advance(secs(4));
    assert_eq!(world.run("wf").events().len(), 4);
    world.advance(secs(1));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowTaskTimedOut {scheduled 5, started 0, ScheduleToStart}
        7 WorkflowTaskScheduled
    ",
    );
    world.advance(secs(600));
    assert_eq!(world.run("wf").events().len(), 7, "the normal one waits as long as it takes");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(only(&task).protocol_instance_id, "u");
}

/// 02 §1.1: sticky
#[test]
fn one_for_a_sticky_worker_waits_as_long_as_that_worker_asked() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world
        .complete_with(&task, [], |r| {
            r.sticky_attributes = with(sticky("mine"), |s| s.as_mut().unwrap().schedule_to_start_timeout = duration(7))
        })
        .unwrap();
    world.update("wf", "u").unwrap();
    assert_eq!(world.offers[0].queue.name, "mine");
    world.advance(secs(6));
    assert_eq!(world.run("wf").events().len(), 4);
    world.advance(secs(1));
    assert!(history_text(&world, world.current_run("wf")).contains("5 WorkflowTaskScheduled {sticky mine}\n 6 WorkflowTaskTimedOut {scheduled 5, started 0, ScheduleToStart}\n 7 WorkflowTaskScheduled\n"));
}

/// 02 §1.1: the wait goes on when it becomes normal
#[test]
fn one_that_became_normal_still_times_out_when_nobody_takes_it() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    world.advance(secs(2));
    world.signal("wf", "go").unwrap();
    world.restart();
    world.advance(secs(3));
    let text = history_text(&world, world.current_run("wf"));
    assert!(text.ends_with(" 7 WorkflowTaskTimedOut {scheduled 5, started 0, ScheduleToStart}\n 8 WorkflowTaskScheduled\n"), "{text}");
}

/// 02 §3.4
#[test]
fn one_whose_worker_does_not_answer_times_out() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(10));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskTimedOut {scheduled 5, started 6, StartToClose}
    ",
    );
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.response.attempt, only(&task).protocol_instance_id.as_str()), (2, "u"));
    world.answer_updates(&task, [accept(&only(&task)), respond("u", "done")], []).unwrap();
    assert!(history_text(&world, world.current_run("wf")).contains("11 WorkflowExecutionUpdateAccepted {id u, sequencing 8}"));
}

/// 02 §3.4
#[test]
fn one_that_fails_is_written_with_its_failure() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, sempre_api::v1::enums::WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    let text = history_text(&world, world.current_run("wf"));
    assert!(text.ends_with(" 6 WorkflowTaskStarted {scheduled 5}\n 7 WorkflowTaskFailed {scheduled 5, started 6, WorkflowWorkerUnhandledFailure, failure 'task failed'}\n"), "{text}");
}

/// 02 §3.2: lost memory
#[test]
fn a_restart_loses_it_and_the_worker_that_had_it_is_told() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.restart();
    let late = world.answer_updates(&task, [accept(&only(&task))], []).unwrap_err();
    assert_eq!(late, Refusal::NotFound("Workflow task not found.".into()));
    assert_eq!(world.run("wf").events().len(), 4);
    assert!(world.poll_update("wf", "u").is_err());
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&only(&task)), respond("u", "done")], []).unwrap();
    assert_eq!(world.take_update_news(), ["u: success done"]);
}

/// 02 §2.2 step 7
#[test]
fn updates_that_came_while_a_task_ran_are_returned_with_its_answer() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "u").unwrap();
    let done = world.complete_with(&task, [timer("t", secs(60))], |r| {
        r.return_new_workflow_task = true;
        r.sticky_attributes = sticky("mine");
    });
    let next = done.unwrap().inline.unwrap();
    assert_eq!(world.run("wf").events().len(), 5, "the new task is speculative");
    assert_eq!((next.response.started_event_id, only(&next).protocol_instance_id.as_str()), (7, "u"));
    let id = reset_id(&mut world, &next, |r| {
        r.messages = vec![reject(&only(&next), "no")];
        r.capabilities = Some(Capabilities { discard_speculative_workflow_task_with_events: true });
        r.sticky_attributes = sticky("mine");
    });
    assert_eq!((id, world.run("wf").events().len()), (3, 5));
}

/// 02 §2.2 step 7: without return_new_workflow_task
#[test]
fn a_worker_that_wants_no_task_with_its_answer_gets_a_normal_one() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "u").unwrap();
    world.complete(&task, []);
    assert_eq!(world.run("wf").events().len(), 5);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(only(&task).protocol_instance_id, "u");
}

/// Discarded, and the next one is there at once.
#[test]
fn one_speculative_task_after_the_other() {
    let mut world = idle();
    world.update("wf", "a").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "b").unwrap();
    let messages = vec![reject(&only(&task), "no")];
    let done = world.complete_with(&task, [], |r| {
        r.messages = messages;
        r.return_new_workflow_task = true;
    });
    let next = done.unwrap().inline.unwrap();
    assert_eq!((next.response.started_event_id, only(&next).protocol_instance_id.as_str()), (6, "b"));
    assert_eq!(world.run("wf").events().len(), 4);
    world.answer_updates(&next, [accept(&only(&next)), respond("b", "done")], []).unwrap();
    assert_eq!(world.take_update_news(), ["a: failure no", "b: success done"]);
    assert_eq!(world.run("wf").events().len(), 9);
}

/// 02 §1.2
#[test]
fn the_same_poll_gets_the_same_speculative_task() {
    let mut world = idle();
    world.update("wf", "u").unwrap();
    let offer = world.offers[0].clone();
    let poller = world.poller();
    let first = world.start_workflow_task(&offer, poller.clone()).unwrap();
    let again = world.start_workflow_task(&offer, poller).unwrap();
    assert_eq!(first.response, again.response);
    let other = world.poller();
    assert!(world.start_workflow_task(&offer, other).is_none());
}

/// A run whose start is delayed: the update does not wait for it.
#[test]
fn an_update_wakes_a_run_whose_start_is_delayed() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(3600))).unwrap();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&only(&task)), respond("u", "done")], []).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {backoff 3600.0s}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionUpdateAccepted {id u, sequencing 2}
        6 WorkflowExecutionUpdateCompleted {id u, accepted 5, success done}
    ",
    );
    world.advance(secs(3600));
    assert!(world.offers.is_empty(), "the first task has been");
}

/// Stickiness forgotten while a speculative task waits on the sticky queue.
#[test]
fn resetting_stickiness_makes_it_normal_on_the_normal_queue() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    world.update("wf", "u").unwrap();
    world.apply("wf", Input::ResetSticky).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(only(&task).protocol_instance_id, "u");
    assert!(world.poll_workflow("mine").is_none());
}

/// As the reference has it: the Started event names who ended the task, nobody when something else made it normal
#[test]
fn its_started_event_names_who_ended_it() {
    type End = fn(&mut World, &WorkflowTask);
    let cases: [(&str, End, &str); 5] = [
        ("completed", |world, task| drop(world.answer_updates(task, [accept(&only(task))], []).unwrap()), WORKER),
        ("failed", |world, task| drop(world.fail_task(task, WorkflowTaskFailedCause::NonDeterministicError).unwrap()), WORKER),
        ("terminated", |world, _| drop(world.terminate("wf", "enough").unwrap()), "history-service"),
        ("signalled", |world, _| drop(world.signal("wf", "go").unwrap()), ""),
        ("timed out", |world, _| world.advance(secs(10)), ""),
    ];
    for (what, end, identity) in cases {
        let mut world = idle();
        world.update("wf", "u").unwrap();
        let task = world.poll_workflow(QUEUE).unwrap();
        end(&mut world, &task);
        let events = world.run("wf").events();
        match &events[5].attributes {
            Some(Attributes::WorkflowTaskStartedEventAttributes(a)) => assert_eq!(a.identity, identity, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

//! Updates: spec 02 §7, §10 (histories 8 to 10), and 09.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, updates::*, *};
use sempre_api::v1::{
    enums::{SuggestContinueAsNewReason, WorkflowTaskFailedCause},
    history::history_event::Attributes,
    protocol::Message,
    update::{Acceptance, Response, outcome::Value},
};
use sempre_core::{
    Refusal,
    input::UpdateRequest,
    transition::{UpdateNews, UpdateStatus},
};

/// The update of that id among the task's messages.
#[track_caller]
fn request(task: &WorkflowTask, id: &str) -> Message {
    task.response.messages.iter().find(|m| m.protocol_instance_id == id).cloned().expect("the task brings the update")
}

fn ids(task: &WorkflowTask) -> Vec<&str> {
    task.response.messages.iter().map(|m| m.protocol_instance_id.as_str()).collect()
}

/// A run `wf` that has done its first task, and the speculative task that brings update `u` to a worker.
fn with_update() -> (World, WorkflowTask) {
    let mut world = World::new();
    world.begin("wf", []);
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    (world, task)
}

/// A run with an accepted update `u`.
fn with_accepted() -> World {
    let (mut world, task) = with_update();
    world.answer_updates(&task, [accept(&request(&task, "u"))], [timer("t", secs(600))]).unwrap();
    assert_eq!(world.take_update_news(), ["u: accepted"]);
    world
}

/// 02 §10.8
#[test]
fn an_update_on_an_idle_run_is_accepted_and_completed_at_once() {
    let (mut world, task) = with_update();
    assert_eq!(world.run("wf").events().len(), 4, "nothing is written until the worker answers");
    assert_eq!((task.response.started_event_id, task.response.previous_started_event_id, task.response.attempt), (6, 3, 1));
    world.answer_updates(&task, [accept(&request(&task, "u")), respond("u", "done")], []).unwrap();
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
        8 WorkflowExecutionUpdateAccepted {id u, sequencing 5}
        9 WorkflowExecutionUpdateCompleted {id u, accepted 8, success done}
    ",
    );
    assert_eq!(world.take_update_news(), ["u: success done"], "one news: the last stage");
    assert_eq!(world.poll_update("wf", "u"), Ok(UpdateStatus::Completed { event_id: 9 }));
}

/// 02 §7.3: the message
#[test]
fn the_message_names_the_update_and_what_comes_before_it() {
    let (_, task) = with_update();
    let message = request(&task, "u");
    assert_eq!((message.id.as_str(), message.protocol_instance_id.as_str()), ("u/request", "u"));
    assert_eq!(message.sequencing_id, Some(sempre_api::v1::protocol::message::SequencingId::EventId(5)));
    let body = message.body.unwrap();
    assert_eq!(body.type_url, "type.googleapis.com/temporal.api.update.v1.Request");
    assert_eq!(<sempre_api::v1::update::Request as prost::Message>::decode(body.value.as_slice()).unwrap(), update_request("u"));
}

/// 02 §10.8, rejected; §3.3
#[test]
fn a_rejected_update_leaves_no_trace() {
    let (mut world, task) = with_update();
    let rows = world.run("wf").stored().0.clone();
    let refused = world.answer_without_commands(&task, [reject(&request(&task, "u"), "no")]).unwrap();
    assert!(refused.inline.is_none());
    assert_eq!(world.run("wf").events().len(), 4);
    assert_eq!(*world.run("wf").stored().0, rows, "no row either");
    assert_eq!(world.take_update_news(), ["u: failure no"]);
    let unknown = world.poll_update("wf", "u").unwrap_err();
    assert_eq!(unknown, Refusal::NotFound("update \"u\" not found".into()));
    // The id may be used again: to the run it never happened.
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted));
}

/// 02 §10.9
#[test]
fn an_update_rides_on_a_task_that_is_scheduled_already() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "u").unwrap();
    assert_eq!(world.offers.len(), 1, "no second task");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&request(&task, "u")), respond("u", "done")], [complete()]).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionUpdateAccepted {id u, sequencing 2}
        6 WorkflowExecutionUpdateCompleted {id u, accepted 5, success done}
        7 WorkflowExecutionCompleted {wtc 4}
    ",
    );
}

/// 02 §10.10
#[test]
fn an_update_accepted_in_one_task_is_completed_in_a_later_one() {
    let (mut world, task) = with_update();
    world.answer_updates(&task, [accept(&request(&task, "u"))], [timer("t", secs(1))]).unwrap();
    assert_eq!(world.poll_update("wf", "u"), Ok(UpdateStatus::Accepted));
    world.restart();
    assert_eq!(world.poll_update("wf", "u"), Ok(UpdateStatus::Accepted), "the row brings it back");
    world.advance(secs(1));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(task.response.messages.is_empty());
    world.answer_updates(&task, [respond("u", "late")], []).unwrap();
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
        8 WorkflowExecutionUpdateAccepted {id u, sequencing 5}
        9 TimerStarted {id t, wtc 7}
        10 TimerFired {id t, started 9}
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted {scheduled 11}
        13 WorkflowTaskCompleted {scheduled 11, started 12}
        14 WorkflowExecutionUpdateCompleted {id u, accepted 8, success late}
    ",
    );
    assert_eq!(world.take_update_news(), ["u: accepted", "u: success late"]);
}

/// 02 §7.3: order by admission
#[test]
fn two_updates_are_sent_in_the_order_of_their_admission() {
    let mut world = World::new();
    world.start("wf");
    for id in ["z", "a"] {
        world.update("wf", id).unwrap();
    }
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(ids(&task), ["z", "a"]);
    let messages = [accept(&request(&task, "a")), respond("a", "1"), reject(&request(&task, "z"), "no")];
    world.answer_updates(&task, messages, []).unwrap();
    assert_eq!(world.take_update_news(), ["a: success 1", "z: failure no"]);
}

/// 02 §7.3: the place of messages among commands
#[test]
fn commands_give_messages_their_place_and_others_come_last() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "a").unwrap();
    world.update("wf", "b").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let (a, b) = (accept(&request(&task, "a")), accept(&request(&task, "b")));
    let done = respond("a", "1");
    let commands = [marker("first"), place(&a), marker("second"), place(&done)];
    world.complete_with(&task, commands, |r| r.messages = vec![b, done, a]).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name first, wtc 4}
        6 WorkflowExecutionUpdateAccepted {id a, sequencing 2}
        7 MarkerRecorded {name second, wtc 4}
        8 WorkflowExecutionUpdateCompleted {id a, accepted 6, success 1}
        9 WorkflowExecutionUpdateAccepted {id b, sequencing 2}
    ",
    );
}

/// 02 §7.3: no command at all
#[test]
fn messages_without_commands_count_all_the_same() {
    let (mut world, task) = with_update();
    world.answer_without_commands(&task, [accept(&request(&task, "u")), respond("u", "done")]).unwrap();
    assert_eq!(world.take_update_news(), ["u: success done"]);
    assert_eq!(world.run("wf").events().len(), 9);
}

/// 02 §7.3: unprocessed
#[test]
fn an_update_that_the_worker_ignores_is_rejected() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "u").unwrap();
    world.work([timer("t", secs(60))]);
    let (id, news) = world.update_news.remove(0);
    let UpdateNews::Rejected(outcome) = news else { panic!("not rejected") };
    let Some(Value::Failure(failure)) = outcome.value else { panic!("not a failure") };
    assert_eq!((id.as_str(), failure.source.as_str()), ("u", "Server"));
    assert!(failure.message.starts_with("Workflow Update is rejected because it wasn't processed by worker."), "{}", failure.message);
    assert!(format!("{:?}", failure.failure_info).contains("UnprocessedUpdate"));
    assert!(world.offers.is_empty(), "no further task");
}

/// 02 §7.3: heartbeats
#[test]
fn a_heartbeat_keeps_the_updates_of_its_task_and_brings_new_ones_only() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "old").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "new").unwrap();
    let beat = |r: &mut sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest| {
        r.force_create_new_workflow_task = true;
        r.return_new_workflow_task = true;
    };
    let next = world.complete_with(&task, [], beat).unwrap().inline.unwrap();
    assert_eq!(ids(&next), ["new"]);
    assert!(world.take_update_news().is_empty());
    let messages = [accept(&request(&task, "old")), accept(&request(&next, "new"))];
    world.answer_updates(&next, messages, []).unwrap();
    assert_eq!(world.take_update_news(), ["old: accepted", "new: accepted"]);
}

/// 02 §7.2: dedup in each stage
#[test]
fn the_same_id_is_the_same_update_in_every_stage() {
    let mut world = World::new();
    world.begin("wf", []);
    world.update("wf", "u").unwrap();
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(ids(&task), ["u"], "once");
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Admitted), "sent");
    world.answer_updates(&task, [accept(&request(&task, "u"))], []).unwrap();
    assert_eq!(world.update("wf", "u"), Ok(UpdateStatus::Accepted));
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(task.response.messages.is_empty());
    world.answer_updates(&task, [respond("u", "done")], [complete()]).unwrap();
    let Ok(UpdateStatus::Completed { event_id }) = world.update("wf", "u") else { panic!("not completed") };
    assert!(matches!(
        &world.run("wf").events()[event_id as usize - 1].attributes,
        Some(Attributes::WorkflowExecutionUpdateCompletedEventAttributes(_))
    ));
    assert_eq!(world.update("wf", "other"), Err(Refusal::NotFound("workflow execution already completed".into())));
}

/// 02 §7.5: close, accepted
#[test]
fn an_accepted_update_fails_when_the_run_closes() {
    let mut world = with_accepted();
    world.terminate("wf", "enough").unwrap();
    let text = "Workflow Update failed because the Workflow completed before the Update completed.";
    assert_eq!(world.take_update_news(), [format!("u: failure {text}")]);
    world.restart();
    let Ok(UpdateStatus::Failed(outcome)) = world.poll_update("wf", "u") else { panic!("not failed") };
    assert!(format!("{outcome:?}").contains("AcceptedUpdateCompletedWorkflow"));
    assert!(matches!(world.update("wf", "u"), Ok(UpdateStatus::Failed(_))));
}

/// 02 §7.5: close, admitted and sent
#[test]
fn updates_that_are_not_accepted_are_aborted_when_the_run_closes() {
    let (mut world, _task) = with_update();
    world.update("wf", "second").unwrap();
    world.terminate("wf", "enough").unwrap();
    let aborted = "aborted NotFound(\"workflow update was aborted by closing workflow\")";
    assert_eq!(world.take_update_news(), [format!("u: {aborted}"), format!("second: {aborted}")]);
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
        7 WorkflowTaskFailed {scheduled 5, started 6, ForceCloseCommand}
        8 WorkflowExecutionTerminated {reason enough}
    ",
    );
}

/// 02 §7.5: terminated while the speculative task waits
#[test]
fn a_scheduled_speculative_task_goes_without_a_trace_when_the_run_is_terminated() {
    let mut world = World::new();
    world.begin("wf", []);
    world.update("wf", "u").unwrap();
    world.terminate("wf", "enough").unwrap();
    assert_eq!(world.run("wf").events().len(), 5);
    assert!(world.poll_workflow(QUEUE).is_none(), "its offer is obsolete");
    assert!(world.take_update_news()[0].starts_with("u: aborted NotFound"));
}

/// 02 §11: acceptance before the close
#[test]
fn acceptance_and_close_in_one_completion() {
    let (mut world, task) = with_update();
    world.answer_updates(&task, [accept(&request(&task, "u"))], [complete()]).unwrap();
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
        8 WorkflowExecutionUpdateAccepted {id u, sequencing 5}
        9 WorkflowExecutionCompleted {wtc 7}
    ",
    );
    let news = world.take_update_news();
    assert_eq!(news.len(), 1);
    assert!(news[0].contains("completed before the Update completed"), "{news:?}");
}

/// 02 §7.3: messages after the close
#[test]
fn messages_behind_a_close_command_change_nothing_but_rejections_count() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "a").unwrap();
    world.update("wf", "b").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let messages = vec![accept(&request(&task, "a")), reject(&request(&task, "b"), "no")];
    world.complete_with(&task, [complete()], |r| r.messages = messages).unwrap();
    assert_eq!(world.run("wf").events().len(), 5, "started, three of the task, completed");
    let news = world.take_update_news();
    assert!(news[0] == "b: failure no" && news[1].starts_with("a: aborted NotFound"), "{news:?}");
}

/// 02 §7.5: events hold up a close (§2.5), updates do not
#[test]
fn a_run_may_close_over_an_update_that_came_while_the_task_ran() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "u").unwrap();
    world.complete(&task, [complete()]);
    assert_eq!(world.take_update_news(), ["u: aborted NotFound(\"workflow update was aborted by closing workflow\")"]);
}

#[test]
fn updates_that_nobody_waits_for_are_forgotten_unless_a_worker_has_them() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "a").unwrap();
    world.update("wf", "b").unwrap();
    world.forget_updates("wf", &["b"]);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(ids(&task), ["b"]);
    world.update("wf", "c").unwrap();
    world.forget_updates("wf", &[]);
    assert_eq!(world.poll_update("wf", "b"), Ok(UpdateStatus::Admitted), "the worker has it");
    assert!(world.poll_update("wf", "c").is_err());
    world.answer_updates(&task, [accept(&request(&task, "b"))], []).unwrap();
    assert!(!world.run("wf").execution.has_memory_state());
    // Sent to a worker that did not answer.
    world.update("wf", "d").unwrap();
    world.poll_workflow(QUEUE).unwrap();
    world.advance(secs(10));
    world.forget_updates("wf", &[]);
    assert!(!world.run("wf").execution.has_memory_state());
    assert_eq!(ids(&world.poll_workflow(QUEUE).unwrap()), Vec::<&str>::new());
}

/// 02 §7.5: continue-as-new
#[test]
fn updates_are_sent_on_to_the_run_that_continues() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "seen").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.update("wf", "new").unwrap();
    world.answer_updates(&task, [accept(&request(&task, "seen"))], [continue_as_new().command()]).unwrap();
    let news = world.take_update_news();
    assert!(news[0].starts_with("new: continued ResourceExhausted { cause: BusyWorkflow"), "{news:?}");
    assert!(news[1].starts_with("seen: failure Workflow Update failed because"), "{news:?}");
    // The new run knows nothing of them.
    assert_eq!(world.update("wf", "new"), Ok(UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(ids(&task), ["new"]);
}

/// 02 §7.5: bad commands
#[test]
fn updates_of_a_task_that_fails_by_its_commands_are_aborted() {
    let (mut world, task) = with_update();
    world.update("wf", "later").unwrap();
    let bad = world.answer_updates(&task, [accept(&request(&task, "u"))], [timer("", secs(1))]).unwrap_err();
    assert!(matches!(bad, Refusal::InvalidArgument(text) if text.starts_with("BadStartTimerAttributes")));
    let news = world.take_update_news();
    let text = "Unable to perform workflow execution update due to unexpected workflow task failure.";
    assert_eq!(news, [format!("u: aborted WorkflowNotReady({text:?})"), "later: lost".into()]);
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
        7 WorkflowTaskFailed {scheduled 5, started 6, BadStartTimerAttributes, failure 'BadStartTimerAttributes: TimerId is not set on StartTimerCommand.'}
    ",
    );
}

/// 02 §7.5: the same on a later attempt, of which history shows nothing
#[test]
fn updates_of_a_failing_retry_are_aborted_too() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.response.attempt, ids(&task)), (2, vec!["u"]));
    let before = world.run("wf").events().len();
    world.answer_updates(&task, [respond("u", "done")], []).unwrap_err();
    assert_eq!(world.run("wf").events().len(), before);
    assert!(world.take_update_news()[0].starts_with("u: aborted WorkflowNotReady"));
}

/// What a failing retry had done shows in no list: nothing of it is committed.
#[test]
fn a_failing_retry_that_had_canceled_an_activity_lists_nothing() {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(5)).command()]);
    let attempt = world.poll_activity().unwrap();
    world.fail_activity(&attempt, failure("once")).unwrap();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let (before, records) = (world.run("wf").events().len(), world.run("wf").records);
    world.answer_updates(&task, [], [cancel_activity(5), timer("", secs(1))]).unwrap_err();
    assert_eq!((world.run("wf").events().len(), world.run("wf").records), (before, records));
}

/// A worker that fails its task gets the updates again with the next attempt.
#[test]
fn updates_are_sent_again_after_a_failure_reported_by_the_worker() {
    let (mut world, task) = with_update();
    world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    assert!(world.take_update_news().is_empty());
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.response.attempt, ids(&task)), (2, vec!["u"]));
    world.answer_updates(&task, [accept(&request(&task, "u")), respond("u", "done")], []).unwrap();
    assert_eq!(world.take_update_news(), ["u: success done"]);
}

/// 02 §7.2
#[test]
fn a_failing_workflow_takes_no_updates() {
    let mut world = World::new();
    world.start("wf");
    for _ in 0..2 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    }
    let text = "Unable to perform workflow execution update due to Workflow Task in failed state.";
    assert_eq!(world.update("wf", "u"), Err(Refusal::WorkflowNotReady(text.into())));
}

/// 02 §7.2
#[test]
fn a_workflow_that_tries_to_close_takes_no_updates() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("wf", "go").unwrap();
    world.complete_with(&task, [complete()], |_| {}).unwrap_err();
    assert_eq!(world.update("wf", "before"), Ok(UpdateStatus::Admitted), "the task is not started yet");
    world.poll_workflow(QUEUE).unwrap();
    let busy = world.update("wf", "u").unwrap_err();
    assert!(matches!(busy, Refusal::ResourceExhausted { message, .. } if message.contains("workflow is closing")));
}

/// 02 §7.1
#[test]
fn an_update_for_another_chain_is_not_found() {
    let mut world = World::new();
    world.begin("wf", []);
    let request = UpdateRequest { request: Box::new(update_request("u")), first_run_id: "other".into() };
    assert_eq!(world.update_with("wf", request), Err(Refusal::NotFound("workflow execution not found".into())));
    let own = world.run("wf").execution.first_run_id().to_owned();
    let request = UpdateRequest { request: Box::new(update_request("u")), first_run_id: own };
    assert_eq!(world.update_with("wf", request), Ok(UpdateStatus::Admitted));
}

/// 09 §2.3
#[test]
fn updates_in_flight_are_limited() {
    let mut world = with_accepted();
    for n in 0..9 {
        world.update("wf", &format!("more-{n}")).unwrap();
    }
    let text = "limit on number of concurrent in-flight updates has been reached (10)";
    let cause = sempre_api::v1::enums::ResourceExhaustedCause::ConcurrentLimit;
    assert_eq!(world.update("wf", "eleventh"), Err(Refusal::ResourceExhausted { cause, message: text.into() }));
    assert_eq!(world.update("wf", "more-3"), Ok(UpdateStatus::Admitted), "a known one is no more");
    world.limits.updates_in_flight_max = 0;
    assert_eq!(world.update("wf", "eleventh"), Ok(UpdateStatus::Admitted), "0 is no limit");
    world.limits.updates_in_flight_bytes_max = 100;
    let text = "limit on total payload size of in-flight updates has been reached (100 bytes)";
    assert_eq!(world.update("wf", "large"), Err(Refusal::ResourceExhausted { cause, message: text.into() }));
}

/// 09 §2.3, 01 §10
#[test]
fn updates_of_a_run_are_limited_and_continue_as_new_is_suggested() {
    let mut world = World::new();
    world.limits.updates_max = 3;
    world.begin("wf", []);
    for n in 0..3 {
        let id = format!("u{n}");
        world.update("wf", &id).unwrap();
        let task = world.poll_workflow(QUEUE).unwrap();
        world.answer_updates(&task, [accept(&request(&task, &id)), respond(&id, "done")], []).unwrap();
    }
    let Err(Refusal::FailedPrecondition(text)) = world.update("wf", "u3") else { panic!("not refused") };
    assert!(text.starts_with("The limit on the total number of distinct updates in this workflow has been reached (3). Make sure any"));
    assert!(matches!(world.update("wf", "u1"), Ok(UpdateStatus::Completed { .. })));
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let Some(Attributes::WorkflowTaskStartedEventAttributes(started)) = &task.events.last().unwrap().attributes else { panic!() };
    assert!(started.suggest_continue_as_new);
    assert_eq!(started.suggest_continue_as_new_reasons, [SuggestContinueAsNewReason::TooManyUpdates as i32]);
}

/// The text of a completion that fails by its messages.
#[track_caller]
fn fails(world: &mut World, task: &WorkflowTask, messages: Vec<Message>, commands: Vec<sempre_api::v1::command::Command>) -> String {
    match world.complete_with(task, commands, |r| r.messages = messages) {
        Err(Refusal::InvalidArgument(text)) => text,
        other => panic!("not refused: {other:?}"),
    }
}

/// 02 §2.5
#[test]
fn a_command_must_name_a_message_that_is_there() {
    let (mut world, task) = with_update();
    let text = fails(&mut world, &task, vec![], vec![place(&respond("u", "x"))]);
    assert_eq!(text, "BadUpdateWorkflowExecutionMessage: ProtocolMessageCommand referenced absent message ID u/complete");
    let last = world.run("wf").events().pop().unwrap();
    let Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) = last.attributes else { panic!("not failed") };
    assert_eq!(failed.cause, WorkflowTaskFailedCause::BadUpdateWorkflowExecutionMessage as i32);
}

/// 02 §7.3
#[test]
fn a_response_needs_an_acceptance() {
    let (mut world, task) = with_update();
    let text = fails(&mut world, &task, vec![respond("u", "x")], vec![]);
    let expected = "BadUpdateWorkflowExecutionMessage: invalid state transition attempted for Update u: \
                    received *update.Response message while in state Sent";
    assert_eq!(text, expected);
}

/// 02 §7.3
#[test]
fn an_update_is_answered_once() {
    for (second, state) in [(1, "ProvisionallyAccepted"), (2, "ProvisionallyCompleted")] {
        let (mut world, task) = with_update();
        let accepted = accept(&request(&task, "u"));
        let messages = [vec![accepted.clone(), accepted.clone()], vec![accepted.clone(), respond("u", "x"), respond("u", "y")]];
        let text = fails(&mut world, &task, messages[second - 1].clone(), vec![]);
        assert!(text.ends_with(&format!("while in state {state}")), "{text}");
        assert!(world.take_update_news()[0].starts_with("u: aborted WorkflowNotReady"), "what the failed task said does not count");
    }
}

/// 02 §7.3
#[test]
fn messages_must_be_whole() {
    let cases: [(Message, &str); 4] = [
        (message("u", "m", &Acceptance::default()), "invalid *update.Acceptance: accepted_request_sequencing_event_id is not set"),
        (
            message("u", "m", &Acceptance { accepted_request_sequencing_event_id: 5, ..Default::default() }),
            "invalid *update.Acceptance: accepted_request_message_id is not set",
        ),
        (message("u", "m", &update_request("u")), "Message type *update.Request not supported"),
        (message("u", "m", &WorkflowTypeForTest::default()), "unsupported protocol type temporal.api.common.v1"),
    ];
    for (message, expected) in cases {
        let (mut world, task) = with_update();
        assert_eq!(fails(&mut world, &task, vec![message], vec![]), format!("BadUpdateWorkflowExecutionMessage: {expected}"));
    }
    let (mut world, task) = with_update();
    let events = world.run("wf").events().len();
    assert_eq!(fails(&mut world, &task, vec![Message::default()], vec![]), "nil message body");
    assert_eq!(world.run("wf").events().len(), events, "the task goes on");
}

use sempre_api::v1::common::WorkflowType as WorkflowTypeForTest;

/// 02 §7.3
#[test]
fn a_response_must_be_whole() {
    let (mut world, task) = with_update();
    let accepted = accept(&request(&task, "u"));
    let text = fails(&mut world, &task, vec![accepted, message("u", "m", &Response::default())], vec![]);
    assert_eq!(text, "BadUpdateWorkflowExecutionMessage: invalid *update.Response: meta is not set");
}

/// 02 §7.3: lost updates
#[test]
fn a_forgotten_update_comes_back_with_the_answer_that_brings_its_request() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.restart();
    let body = Acceptance {
        accepted_request_message_id: "u/request".into(),
        accepted_request_sequencing_event_id: 2,
        accepted_request: Some(update_request("u")),
    };
    world.answer_updates(&task, [message("u", "m", &body)], []).unwrap();
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionUpdateAccepted {id u, sequencing 2}
    ",
    );
    let Some(Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(a)) = world.run("wf").events().pop().unwrap().attributes else {
        panic!("not accepted")
    };
    assert_eq!(a.accepted_request, Some(update_request("u")));
}

/// 02 §7.3: lost updates
#[test]
fn a_forgotten_update_without_its_request_fails_the_task() {
    let mut world = World::new();
    world.start("wf");
    world.update("wf", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.restart();
    let text = fails(&mut world, &task, vec![accept(&request(&task, "u"))], vec![]);
    assert!(text.starts_with("BadUpdateWorkflowExecutionMessage: update u wasn't found on the server. This is most likely"), "{text}");
}

/// 09 §2.2
#[test]
fn a_message_that_is_too_large_ends_the_run() {
    let (mut world, task) = with_update();
    world.limits.blob_size_max = 300;
    let messages = vec![accept(&request(&task, "u")), respond("u", &"x".repeat(400))];
    let text = fails(&mut world, &task, messages, vec![]);
    assert_eq!(text, "BadUpdateWorkflowExecutionMessage: Message type temporal.api.update.v1.Response exceeds size limit.");
    assert!(!world.run("wf").execution.is_open());
}

/// An accepted update takes a signal and a query in its stride; its outcome may be a failure.
#[test]
fn an_update_may_fail() {
    let mut world = with_accepted();
    world.signal("wf", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let outcome = sempre_api::v1::update::Outcome { value: Some(Value::Failure(failure("broken"))) };
    let meta = Some(sempre_api::v1::update::Meta { update_id: "u".into(), ..Default::default() });
    world.answer_updates(&task, [message("u", "m", &Response { meta, outcome: Some(outcome) })], []).unwrap();
    assert_eq!(world.take_update_news(), ["u: failure broken"]);
    assert!(history_text(&world, world.current_run("wf")).contains("UpdateCompleted {id u, accepted 8, failure 'broken'}"));
}

/// 01 §15: paused runs
#[test]
fn a_paused_run_takes_no_updates_and_keeps_those_it_has() {
    let mut world = World::new();
    world.begin("wf", []);
    world.update("wf", "u").unwrap();
    world.apply("wf", sempre_core::Input::Pause(Default::default())).unwrap();
    assert!(
        matches!(world.update("wf", "v"), Err(Refusal::FailedPrecondition(text)) if text == "Workflow is paused. Cannot update the workflow.")
    );
    assert!(world.poll_workflow(QUEUE).is_none());
    world.apply("wf", sempre_core::Input::Unpause(Default::default())).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(ids(&task), ["u"]);
}

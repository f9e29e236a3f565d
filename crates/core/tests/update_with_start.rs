//! Update-with-start: spec 01 §5.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, updates::*, *};
use sempre_api::v1::{
    enums::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::{
    Refusal,
    refusal::{MultiOperation, Operation},
    transition::UpdateStatus,
};

fn sharing() -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting))
}

/// Answers the update that the next task brings.
fn answer(world: &mut World) {
    let task = world.poll_workflow(QUEUE).unwrap();
    let request = task.response.messages[0].clone();
    let id = request.protocol_instance_id.clone();
    world.answer_updates(&task, [accept(&request), respond(&id, "done")], []).unwrap();
}

#[track_caller]
fn multi<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> MultiOperation {
    match answer {
        Err(Refusal::MultiOperation(multi)) => *multi,
        other => panic!("not refused as one of several: {other:?}"),
    }
}

#[test]
fn the_first_task_of_the_new_run_brings_the_update() {
    let mut world = World::new();
    let (started, update) = world.update_with_start(start_request("wf"), "u").unwrap();
    assert_eq!((started.started, update), (true, UpdateStatus::Admitted));
    answer(&mut world);
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
    ",
    );
}

#[test]
fn an_open_run_is_updated_if_the_policy_shares_it() {
    let mut world = World::new();
    world.begin("wf", []);
    let (started, update) = world.update_with_start(sharing(), "u").unwrap();
    assert_eq!((started.started, started.run_id, update), (false, world.current_run("wf").to_string(), UpdateStatus::Admitted));
    assert!(world.offers[0].volatile, "a speculative task");
    answer(&mut world);
    assert_eq!(world.take_update_news(), ["u: success done"]);
}

#[test]
fn an_open_run_in_the_way_refuses_the_start_and_so_the_update() {
    let mut world = World::new();
    world.begin("wf", []);
    let refused = multi(world.update_with_start(start_request("wf"), "u"));
    assert_eq!(refused.update, Operation::NotTried);
    assert!(matches!(refused.start, Operation::Refused(r) if matches!(*r, Refusal::AlreadyStarted { .. })));
}

#[test]
fn the_same_start_again_finds_its_run_whatever_the_policy() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "once".into());
    let (first, _) = world.update_with_start(request.clone(), "u").unwrap();
    let (again, update) = world.update_with_start(request, "u").unwrap();
    assert_eq!((first.run_id, again.started, update), (again.run_id, false, UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.messages.len(), 1);
}

#[test]
fn a_known_update_is_found_whatever_the_policy_and_a_completed_one_even_in_a_closed_run() {
    let mut world = World::new();
    world.update_with_start(start_request("wf"), "u").unwrap();
    assert_eq!(world.update_with_start(start_request("wf"), "u").unwrap().1, UpdateStatus::Admitted);
    answer(&mut world);
    assert_eq!(world.update_with_start(start_request("wf"), "u").unwrap().1, UpdateStatus::Completed { event_id: 6 });
    world.terminate("wf", "enough").unwrap();
    let (started, update) = world.update_with_start(start_request("wf"), "u").unwrap();
    assert_eq!((started.started, update), (false, UpdateStatus::Completed { event_id: 6 }));
    assert_eq!(world.chains["wf"].len(), 1);
}

#[test]
fn a_closed_run_makes_room_for_a_new_one_if_the_policy_allows() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    let refusing = with(start_request("wf"), |r| r.set_workflow_id_reuse_policy(WorkflowIdReusePolicy::RejectDuplicate));
    assert_eq!(multi(world.update_with_start(refusing, "u")).update, Operation::NotTried);
    let (started, _) = world.update_with_start(start_request("wf"), "u").unwrap();
    assert!(started.started);
    answer(&mut world);
    assert_eq!(world.chains["wf"].len(), 2);
}

#[test]
fn a_run_in_the_way_is_terminated_if_the_policy_says_so() {
    let mut world = World::new();
    world.begin("wf", []);
    let request = with(start_request("wf"), |r| r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting));
    assert!(world.update_with_start(request, "u").unwrap().0.started);
    answer(&mut world);
    assert!(history_text(&world, world.chains["wf"][0]).contains("WorkflowExecutionTerminated"));
}

#[test]
fn an_update_that_the_open_run_refuses_is_the_reason() {
    let mut world = World::new();
    world.limits.updates_in_flight_max = 1;
    world.begin("wf", []);
    world.update("wf", "first").unwrap();
    let refused = multi(world.update_with_start(sharing(), "u"));
    assert_eq!(refused.start, Operation::NotTried);
    assert!(matches!(refused.update, Operation::Refused(r) if matches!(*r, Refusal::ResourceExhausted { .. })));
}

#[test]
fn a_start_that_is_not_valid_starts_nothing() {
    let mut world = World::new();
    let refused = multi(world.update_with_start(with(start_request("wf"), |r| r.workflow_type = None), "u"));
    assert!(matches!(refused.start, Operation::Refused(r) if matches!(&*r, Refusal::InvalidArgument(_))));
    assert!(world.runs.is_empty());
}

#[test]
fn a_closed_run_of_the_same_start_cannot_take_the_update() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "once".into());
    world.start_with(request.clone()).unwrap();
    world.work([complete()]);
    let refused = multi(world.update_with_start(request, "u"));
    assert!(matches!(refused.start, Operation::Refused(r) if matches!(&*r, Refusal::Unavailable(_))));
}

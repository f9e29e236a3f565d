//! Starting over an existing run: spec 01 §3.3.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    enums::{WorkflowExecutionStatus, WorkflowIdConflictPolicy, WorkflowIdReusePolicy},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::Refusal;

fn on_conflict(policy: WorkflowIdConflictPolicy) -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.workflow_id_conflict_policy = policy as i32)
}

fn reuse(policy: WorkflowIdReusePolicy) -> StartWorkflowExecutionRequest {
    with(start_request("wf"), |r| r.workflow_id_reuse_policy = policy as i32)
}

#[track_caller]
fn already_started(answer: Result<impl std::fmt::Debug, Refusal>, world: &World, begins: &str) {
    match answer {
        Err(Refusal::AlreadyStarted { message, run_id, start_request_id, first_run_id }) => {
            assert!(message.starts_with(begins), "{message}");
            assert_eq!(run_id, world.current_run("wf").to_string());
            assert_eq!(first_run_id, run_id);
            assert_eq!(start_request_id, world.current["wf"].start_request_id);
        }
        other => panic!("expected ALREADY_EXISTS, got {other:?}"),
    }
}

/// 01 §3.3.2
#[test]
fn a_second_start_of_an_open_run_fails() {
    let mut world = World::new();
    world.start("wf");
    let answer = world.start_with(start_request("wf"));
    let run = world.current_run("wf");
    already_started(answer, &world, &format!("Workflow execution is already running. WorkflowId: wf, RunId: {run}."));
}

/// 01 §3.3.1
#[test]
fn the_same_request_gets_the_same_run_open_or_closed() {
    let mut world = World::new();
    let request = with(start_request("wf"), |r| r.request_id = "mine".into());
    let first = world.start_with(request.clone()).unwrap();
    assert!(first.started);
    assert_eq!(first.first_execution_run_id, first.run_id);
    assert_eq!(world.start_with(request.clone()).unwrap(), first);
    world.work([complete()]);
    let again = world.start_with(request).unwrap();
    assert_eq!((again.run_id.clone(), again.started, again.status()), (first.run_id, true, WorkflowExecutionStatus::Completed));
    assert_eq!(world.chains["wf"].len(), 1);
}

/// 01 §3.3.2
#[test]
fn use_existing_names_the_open_run() {
    let mut world = World::new();
    world.start("wf");
    let answer = world.start_with(on_conflict(WorkflowIdConflictPolicy::UseExisting)).unwrap();
    assert!(!answer.started);
    assert_eq!(answer.run_id, world.current_run("wf").to_string());
    assert_eq!(answer.status(), WorkflowExecutionStatus::Running);
    assert_eq!(world.run("wf").events().len(), 2);
}

/// 01 §3.3.2
#[test]
fn terminate_existing_closes_one_and_starts_another() {
    let mut world = World::new();
    world.start("wf");
    world.poll_workflow(QUEUE).unwrap();
    assert!(world.start_with(on_conflict(WorkflowIdConflictPolicy::TerminateExisting)).unwrap().started);
    assert_history_of(
        &world,
        "wf",
        1,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionTerminated {reason TerminateIfRunning WorkflowIdReusePolicy}
    ",
    );
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
    ",
    );
}

/// 01 §3.1.1
#[test]
fn the_old_terminate_if_running_is_terminate_existing() {
    let mut world = World::new();
    world.start("wf");
    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
    let policy = WorkflowIdReusePolicy::TerminateIfRunning;
    assert!(world.start_with(reuse(policy)).unwrap().started);
    assert_eq!(world.chains["wf"].len(), 2);
}

/// 01 §3.3.3
#[test]
fn a_closed_run_may_be_followed_by_default() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    assert!(world.start_with(start_request("wf")).unwrap().started);
}

/// 01 §3.3.3
#[test]
fn failed_only_looks_at_how_the_last_run_ended() {
    let policy = WorkflowIdReusePolicy::AllowDuplicateFailedOnly;
    let mut world = World::new();
    world.begin("wf", [fail("no")]);
    assert!(world.start_with(reuse(policy)).unwrap().started);
    world.terminate("wf", "enough").unwrap();
    assert!(world.start_with(reuse(policy)).unwrap().started);
    world.work([complete()]);
    let answer = world.start_with(reuse(policy));
    already_started(answer, &world, "Workflow execution already finished successfully.");
}

/// 01 §3.3.3
#[test]
fn reject_duplicate_never_starts_again() {
    let mut world = World::new();
    world.begin("wf", [fail("no")]);
    let answer = world.start_with(reuse(WorkflowIdReusePolicy::RejectDuplicate));
    already_started(answer, &world, "Workflow execution already finished.");
}

/// 01 §3.1.9
#[test]
fn some_policies_do_not_go_together() {
    let mut world = World::new();
    let request = with(on_conflict(WorkflowIdConflictPolicy::TerminateExisting), |r| {
        r.workflow_id_reuse_policy = WorkflowIdReusePolicy::RejectDuplicate as i32;
    });
    assert!(matches!(world.start_with(request), Err(Refusal::InvalidArgument(_))));
}

/// 01 §3.1
#[test]
fn starts_are_checked() {
    type Change = fn(&mut StartWorkflowExecutionRequest);
    let cases: [(Change, &str); 5] = [
        (|r| r.workflow_id = String::new(), "WorkflowId is not set on request."),
        (|r| r.workflow_type = None, "WorkflowType is not set on request."),
        (
            |r| {
                r.cron_schedule = "* * * * *".into();
                r.workflow_start_delay = duration(1);
            },
            "CronSchedule and WorkflowStartDelay may not be used together.",
        ),
        (|r| r.cron_schedule = "bad".into(), "invalid CronSchedule."),
        (|r| r.task_queue = None, "taskQueue is not set"),
    ];
    for (change, text) in cases {
        let mut world = World::new();
        match world.start_with(with(start_request("wf"), change)) {
            Err(Refusal::InvalidArgument(message)) => assert!(message.contains(text), "{message} instead of {text}"),
            other => panic!("expected '{text}', got {other:?}"),
        }
    }
}

/// 01 §3.1, last paragraph
#[test]
fn timeouts_are_capped_by_the_larger_ones() {
    let mut world = World::new();
    world
        .start_with(with(start_request("wf"), |r| {
            r.workflow_execution_timeout = duration(30);
            r.workflow_run_timeout = duration(60);
            r.workflow_task_timeout = duration(500);
        }))
        .unwrap();
    let config = world.run("wf").execution.describe(world.now).execution_config.unwrap();
    assert_eq!(config.workflow_run_timeout, duration(30));
    assert_eq!(config.default_workflow_task_timeout, duration(30));
}

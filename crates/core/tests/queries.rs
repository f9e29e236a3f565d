//! Queries: spec 02 §6.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, *};
use sempre_api::v1::{
    enums::{QueryRejectCondition, QueryResultType, WorkflowExecutionStatus, WorkflowTaskFailedCause},
    query::{WorkflowQuery, WorkflowQueryResult},
};
use sempre_core::{Input, Refusal, Reply};

fn ask(world: &mut World, id: u64) -> Result<Reply, Refusal> {
    ask_unless(world, id, QueryRejectCondition::None)
}

fn ask_unless(world: &mut World, id: u64, condition: QueryRejectCondition) -> Result<Reply, Refusal> {
    let query = Box::new(WorkflowQuery { query_type: "state".into(), ..Default::default() });
    let until = world.now + secs(10);
    world.apply("wf", Input::Query { id, query, reject_condition: condition as i32, until })
}

fn answered(text: &str) -> WorkflowQueryResult {
    WorkflowQueryResult { result_type: QueryResultType::Answered as i32, answer: payloads(text), ..Default::default() }
}

/// 02 §6.2
#[test]
fn an_idle_run_is_asked_directly() {
    let mut world = World::new();
    world.begin("wf", []);
    let Ok(Reply::QueryDirect(route)) = ask(&mut world, 1) else { panic!("not direct") };
    assert!(route.sticky.is_none());
    assert_eq!((route.window.from, route.window.next), (1, 5));
    assert_eq!(world.run("wf").events().len(), 4, "nothing enters history");
}

/// 02 §6.2
#[test]
fn a_closed_run_is_asked_directly() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    assert!(matches!(ask(&mut world, 1), Ok(Reply::QueryDirect(_))));
}

/// 02 §6.3
#[test]
fn a_run_with_a_task_is_asked_by_it() {
    let mut world = World::new();
    world.start("wf");
    assert!(matches!(ask(&mut world, 7), Ok(Reply::QueryBuffered)));
    let full = ask(&mut world, 8).unwrap_err();
    assert!(matches!(&full, Refusal::ResourceExhausted { message, .. } if message.starts_with("consistent query buffer is full")));
    let task = world.poll_workflow(QUEUE).unwrap();
    let key = task.response.queries.keys().next().cloned().expect("the task carries the query");
    world.complete_with(&task, [complete()], |r| r.query_results = [(key, answered("42"))].into()).unwrap();
    assert_eq!(world.query_answers, [(7, Ok(payloads("42")))]);
}

/// 02 §6.3
#[test]
fn a_failed_query_says_why() {
    let mut world = World::new();
    world.start("wf");
    ask(&mut world, 1).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let failed =
        WorkflowQueryResult { result_type: QueryResultType::Failed as i32, error_message: "no such query".into(), ..Default::default() };
    world.complete_with(&task, [], |r| r.query_results = [("1".into(), failed)].into()).unwrap();
    assert_eq!(world.query_answers, [(1, Err(Refusal::QueryFailed { message: "no such query".into(), failure: None }))]);
}

/// 02 §6.3
#[test]
fn a_query_that_the_task_did_not_answer_goes_directly() {
    let mut world = World::new();
    world.start("wf");
    ask(&mut world, 1).unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    assert_eq!(world.queries_released.len(), 1);
    assert!(!world.run("wf").execution.has_memory_state());
}

/// 02 §6.1 (1)
#[test]
fn conditions_reject_closed_runs() {
    let mut world = World::new();
    world.begin("wf", [fail("no")]);
    for condition in [QueryRejectCondition::NotOpen, QueryRejectCondition::NotCompletedCleanly] {
        match ask_unless(&mut world, 1, condition) {
            Ok(Reply::QueryRejected { status }) => assert_eq!(status, WorkflowExecutionStatus::Failed as i32),
            other => panic!("expected a rejection, got {other:?}"),
        }
    }
    let mut world = World::new();
    world.begin("wf", [complete()]);
    assert!(matches!(ask_unless(&mut world, 1, QueryRejectCondition::NotCompletedCleanly), Ok(Reply::QueryDirect(_))));
}

/// 02 §6.1 (3)
#[test]
fn a_run_that_never_ran_cannot_answer() {
    let mut world = World::new();
    world.start("wf");
    ask(&mut world, 1).unwrap();
    world.terminate("wf", "enough").unwrap();
    let text = "Workflow execution closed before WorkflowTaskStarted event";
    assert_eq!(world.query_answers, [(1, Err(Refusal::WorkflowNotReady(text.into())))]);
    assert_eq!(ask(&mut world, 2).unwrap_err(), Refusal::WorkflowNotReady(text.into()));
}

/// 02 §6.1 (5)
#[test]
fn a_failing_workflow_is_not_asked() {
    let mut world = World::new();
    world.start("wf");
    for _ in 0..2 {
        let task = world.poll_workflow(QUEUE).unwrap();
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    }
    let text = "Unable to query workflow due to Workflow Task in failed state.";
    assert_eq!(ask(&mut world, 1).unwrap_err(), Refusal::WorkflowNotReady(text.into()));
}

/// 02 §6.1: of a run that begins later, only what can be told before the asker goes.
#[test]
fn a_first_task_is_waited_for_unless_it_comes_too_late() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(60))).unwrap();
    assert_eq!(ask(&mut world, 1).unwrap_err(), Refusal::WorkflowNotReady("Workflow task is not scheduled yet.".into()));
    world.advance(secs(51));
    assert!(matches!(ask(&mut world, 2), Ok(Reply::QueryBuffered)));
    world.advance(secs(9));
    let task = world.poll_workflow(QUEUE).unwrap();
    let key = task.response.queries.keys().next().cloned().expect("the task carries the query");
    world.complete_with(&task, [complete()], |r| r.query_results = [(key, answered("42"))].into()).unwrap();
    assert_eq!(world.query_answers, [(2, Ok(payloads("42")))]);
}

/// 02 §6.2
#[test]
fn a_sticky_worker_is_asked_first() {
    let mut world = World::new();
    world.start("wf");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("mine")).unwrap();
    let Ok(Reply::QueryDirect(route)) = ask(&mut world, 1) else { panic!("not direct") };
    assert_eq!(route.sticky.map(|(queue, wait)| (queue.name, wait)), Some(("mine".into(), secs(5))));
    assert_eq!(route.normal.name, QUEUE);
}

/// The asker has gone: the next task carries nothing.
#[test]
fn a_dropped_query_is_not_carried() {
    let mut world = World::new();
    world.start("wf");
    ask(&mut world, 1).unwrap();
    world.apply("wf", Input::DropQuery { id: 1 }).unwrap();
    assert!(world.poll_workflow(QUEUE).unwrap().response.queries.is_empty());
}

/// As the reference has it: only new queries are refused
#[test]
fn a_query_that_waits_is_answered_by_a_task_that_has_failed_before() {
    let mut world = World::new();
    world.start("wf");
    ask(&mut world, 1).unwrap();
    for _ in 0..3 {
        let task = world.poll_workflow(QUEUE).unwrap();
        assert_eq!(task.response.queries.len(), 1);
        world.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).unwrap();
    }
    assert!(matches!(ask(&mut world, 2), Err(Refusal::WorkflowNotReady(_))));
    let task = world.poll_workflow(QUEUE).unwrap();
    let key = task.response.queries.keys().next().cloned().expect("the task carries the query");
    world.complete_with(&task, [], |r| r.query_results = [(key, answered("42"))].into()).unwrap();
    assert_eq!(world.query_answers, [(1, Ok(payloads("42")))]);
}

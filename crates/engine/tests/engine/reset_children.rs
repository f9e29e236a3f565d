//! Children that ended while nobody was there to hear it: a run that a reset makes from their closed parent asks for their end.

use std::sync::atomic::Ordering::SeqCst;

use sempre_api::v1::{
    command::{
        Command, ContinueAsNewWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes,
        StartChildWorkflowExecutionCommandAttributes, command::Attributes,
    },
    common::{RetryPolicy, WorkflowType},
    enums::{CommandType, ParentClosePolicy},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    history::{HistoryEvent, history_event},
    workflowservice::*,
};
use sempre_core::{RunId, Span, chain_end::END_NOT_KNOWN};
use sempre_store::Table;

use crate::support::*;

fn child() -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: "child".into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: Some(queue()),
        parent_close_policy: ParentClosePolicy::Abandon as i32,
        retry_policy: Some(RetryPolicy { maximum_attempts: 2, ..Default::default() }),
        ..Default::default()
    };
    command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes)))
}

fn continue_as_new() -> Vec<Command> {
    let attributes = Box::<ContinueAsNewWorkflowExecutionCommandAttributes>::default();
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(attributes);
    vec![command(CommandType::ContinueAsNewWorkflowExecution, attributes)]
}

fn fail() -> Vec<Command> {
    let failure_info = Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default()));
    let failure = Some(Failure { message: "once".into(), failure_info, ..Default::default() });
    let attributes = Attributes::FailWorkflowExecutionCommandAttributes(FailWorkflowExecutionCommandAttributes { failure });
    vec![command(CommandType::FailWorkflowExecution, attributes)]
}

fn id(task: &PollWorkflowTaskQueueResponse) -> &str {
    &task.workflow_execution.as_ref().unwrap().workflow_id
}

fn run_of(task: &PollWorkflowTaskQueueResponse) -> String {
    task.workflow_execution.as_ref().unwrap().run_id.clone()
}

/// A parent that has closed and left its child alone: where a reset can begin, and the child's first task.
async fn left_alone(w: &World) -> (i64, PollWorkflowTaskQueueResponse) {
    w.start("parent").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![child()]).await;
    let (first, second) = (w.poll().await, w.poll().await);
    let (parent, child) = if id(&first) == "parent" { (first, second) } else { (second, first) };
    w.complete(&parent.task_token, done()).await;
    w.settle().await;
    (parent.started_event_id + 1, child)
}

fn reset_request(finish: i64) -> ResetWorkflowExecutionRequest {
    ResetWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("parent", "")),
        reason: "again".into(),
        workflow_task_finish_event_id: finish,
        request_id: "reset".into(),
        ..Default::default()
    }
}

async fn reset(w: &World, finish: i64) {
    soon(w.engine.reset_workflow(reset_request(finish))).await.unwrap();
    w.settle().await;
}

/// What the parent was told of its child's end: names of events.
async fn told(w: &World) -> Vec<&'static str> {
    let names = w.names("parent").await;
    let started = names.iter().position(|name| *name == "CHILD_WORKFLOW_EXECUTION_STARTED").unwrap();
    names[started + 1..].iter().filter(|name| name.starts_with("CHILD_WORKFLOW_EXECUTION_")).copied().collect()
}

async fn delete(w: &World, run: &str) {
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution("child", run)) };
    soon(w.engine.delete_workflow(request)).await.unwrap();
    w.settle().await;
}

const COMPLETED: &str = "CHILD_WORKFLOW_EXECUTION_COMPLETED";

#[tokio::test]
async fn a_run_made_by_a_reset_hears_of_a_child_that_ended_before() {
    for (first, stranger) in [(done(), false), (continue_as_new(), false), (fail(), false), (continue_as_new(), true)] {
        let w = world().await;
        let (finish, task) = left_alone(&w).await;
        let ends = first == done();
        w.complete(&task.task_token, first).await;
        if !ends {
            w.advance(Span::seconds(2)).await;
            let task = w.poll().await;
            assert_eq!(id(&task), "child");
            w.complete(&task.task_token, done()).await;
        }
        w.settle().await;
        if stranger {
            w.try_start(StartWorkflowExecutionRequest { request_id: "other".into(), ..start_request("child") }).await.unwrap();
        }
        reset(&w, finish).await;
        assert_eq!(told(&w).await, [COMPLETED]);
        assert!(w.store.rows(Table::Outbox).is_empty(), "nothing is owed any more");
    }
}

/// The child could not be read until the server had been started anew: the question is a row.
#[tokio::test]
async fn a_question_outlives_the_server() {
    let mut w = world().await;
    let (finish, task) = left_alone(&w).await;
    let run = run_of(&task);
    w.complete(&task.task_token, done()).await;
    w.reopen().await;
    *w.store.unreadable.lock().unwrap() = RunId::parse(&run);
    reset(&w, finish).await;
    assert_eq!(told(&w).await, [""; 0]);
    assert_eq!(w.store.rows(Table::Outbox).len(), 1);
    w.crash().await;
    *w.store.unreadable.lock().unwrap() = None;
    w.advance(Span::seconds(1)).await;
    assert_eq!(told(&w).await, [COMPLETED]);
    assert!(w.store.rows(Table::Outbox).is_empty(), "nothing is owed any more");
}

/// The commit of the news is in doubt, so that they come twice.
#[tokio::test]
async fn an_end_that_is_told_twice_is_recorded_once() {
    let w = world().await;
    let (finish, task) = left_alone(&w).await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    w.store.held.store(true, SeqCst);
    let engine = w.engine.clone();
    let resetting = tokio::spawn(async move { engine.reset_workflow(reset_request(finish)).await });
    w.settle().await;
    // The next commit after this one is that of the news.
    w.store.doubt.store(1, SeqCst);
    w.store.held.store(false, SeqCst);
    w.store.permits.add_permits(1);
    resetting.await.unwrap().unwrap();
    w.settle().await;
    assert_eq!(w.store.doubt.load(SeqCst), 0, "the news are on disk, and nobody knows");
    w.advance(Span::seconds(1)).await;
    assert_eq!(told(&w).await, [COMPLETED]);
    assert!(w.store.rows(Table::Outbox).is_empty(), "nothing is owed any more");
}

/// A chain is not over because its first run is gone.
#[tokio::test]
async fn a_child_that_goes_on_is_heard_of_at_its_end() {
    let w = world().await;
    let (finish, task) = left_alone(&w).await;
    w.complete(&task.task_token, continue_as_new()).await;
    delete(&w, &run_of(&task)).await;
    w.advance(Span::seconds(2)).await;
    let next = w.poll().await;
    assert_eq!(id(&next), "child");
    reset(&w, finish).await;
    assert_eq!(told(&w).await, [""; 0]);
    assert!(w.store.rows(Table::Outbox).is_empty(), "the question is answered");
    w.complete(&next.task_token, done()).await;
    w.settle().await;
    assert_eq!(told(&w).await, [COMPLETED]);
}

#[tokio::test]
async fn a_child_that_is_gone_has_failed_for_a_run_made_by_a_reset() {
    let w = world().await;
    let (finish, task) = left_alone(&w).await;
    w.complete(&task.task_token, done()).await;
    delete(&w, &run_of(&task)).await;
    reset(&w, finish).await;
    assert_eq!(told(&w).await, ["CHILD_WORKFLOW_EXECUTION_FAILED"]);
    let failure = |event: &HistoryEvent| match &event.attributes {
        Some(history_event::Attributes::ChildWorkflowExecutionFailedEventAttributes(a)) => a.failure.clone(),
        _ => None,
    };
    let failure = w.history("parent").await.iter().find_map(failure).unwrap();
    assert_eq!(failure.message, END_NOT_KNOWN);
    assert!(matches!(failure.failure_info, Some(FailureInfo::ServerFailureInfo(info)) if info.non_retryable));
    assert!(w.store.rows(Table::Outbox).is_empty(), "nothing is owed any more");
}

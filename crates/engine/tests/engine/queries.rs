use sempre_api::v1::{
    common::{Link, link},
    enums::{QueryRejectCondition, QueryResultType, WorkflowExecutionStatus},
    query::{WorkflowQuery, WorkflowQueryResult},
    workflowservice::*,
};
use sempre_core::{Refusal, Span};

use crate::support::*;

fn query_request() -> QueryWorkflowRequest {
    QueryWorkflowRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
        ..Default::default()
    }
}

type Asked = tokio::task::JoinHandle<Result<QueryWorkflowResponse, Refusal>>;

fn ask(w: &World, wait: Span) -> Asked {
    let engine = w.engine.clone();
    let deadline = engine.now() + wait;
    tokio::spawn(async move { engine.query_workflow(query_request(), Some(deadline)).await })
}

async fn answer(w: &World, task: &PollWorkflowTaskQueueResponse) -> Result<(), Refusal> {
    let request = RespondQueryTaskCompletedRequest {
        task_token: task.task_token.clone(),
        completed_type: QueryResultType::Answered as i32,
        query_result: Some(payloads("42")),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    soon(w.engine.respond_query_task_completed(request)).await.map(drop)
}

async fn idle() -> World {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![]).await;
    w
}

#[tokio::test]
async fn an_idle_run_is_asked_through_a_poller_with_full_history() {
    let w = idle().await;
    let poll = w.poll_beside();
    w.settle().await;
    let asked = ask(&w, Span::seconds(30));
    let task = soon(poll).await.unwrap();
    assert_eq!(task.query.as_ref().unwrap().query_type, "state");
    assert_eq!(names(&task.history.clone().unwrap().events().unwrap()).len(), 4);
    answer(&w, &task).await.unwrap();
    let response = soon(asked).await.unwrap().unwrap();
    assert_eq!(response.query_result, Some(payloads("42")));
    let run = task.workflow_execution.clone().unwrap();
    let workflow = link::Workflow { namespace: NAMESPACE.into(), workflow_id: run.workflow_id, run_id: run.run_id, reason: "Query".into() };
    assert_eq!(response.link, Some(Link { variant: Some(link::Variant::Workflow(workflow)) }), "the run that answered");
    assert_eq!(answer(&w, &task).await.unwrap_err(), Refusal::NotFound("query task not found, or already expired".into()));
    assert_eq!(w.names("a").await.len(), 4, "a query is no event");
}

#[tokio::test]
async fn a_sticky_worker_is_asked_without_history() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![]).await;
    let sticky = w.poll_sticky_beside();
    w.settle().await;
    let asked = ask(&w, Span::seconds(30));
    let task = soon(sticky).await.unwrap();
    assert!(task.history.clone().unwrap().is_empty());
    answer(&w, &task).await.unwrap();
    assert!(soon(asked).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_sticky_worker_that_does_not_answer_is_replaced() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![]).await;
    let silent = w.poll_sticky_beside();
    let normal = w.poll_beside();
    w.settle().await;
    let asked = ask(&w, Span::seconds(30));
    w.settle().await;
    assert!(silent.is_finished());
    w.advance(Span::seconds(10)).await;
    let task = soon(normal).await.unwrap();
    assert_eq!(task.history.clone().unwrap().events().unwrap()[0].event_id, 1);
    answer(&w, &task).await.unwrap();
    assert!(soon(asked).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_query_rides_on_the_pending_task() {
    let w = idle().await;
    w.signal("a", "go").await.unwrap();
    let asked = ask(&w, Span::seconds(30));
    w.settle().await;
    let second = ask(&w, Span::seconds(30));
    assert!(matches!(soon(second).await.unwrap(), Err(Refusal::ResourceExhausted { .. })), "one buffered query a run");
    let task = w.poll().await;
    assert_eq!((task.query.is_some(), task.queries.len()), (false, 1));
    let id = task.queries.keys().next().unwrap().clone();
    let result = WorkflowQueryResult { result_type: QueryResultType::Answered as i32, answer: Some(payloads("42")), ..Default::default() };
    let request =
        RespondWorkflowTaskCompletedRequest { task_token: task.task_token, query_results: [(id, result)].into(), ..Default::default() };
    soon(w.engine.respond_workflow_task_completed(request)).await.unwrap();
    assert_eq!(soon(asked).await.unwrap().unwrap().query_result, Some(payloads("42")));
}

#[tokio::test]
async fn a_buffered_query_that_no_task_answers_goes_to_a_worker_directly() {
    let w = idle().await;
    w.signal("a", "go").await.unwrap();
    let asked = ask(&w, Span::seconds(30));
    w.settle().await;
    let task = w.poll().await;
    let poll = w.poll_beside();
    w.settle().await;
    w.complete(&task.task_token, vec![]).await;
    let direct = soon(poll).await.unwrap();
    assert!(direct.query.is_some());
    answer(&w, &direct).await.unwrap();
    assert!(soon(asked).await.unwrap().is_ok());
}

#[tokio::test]
async fn nobody_answers() {
    let w = idle().await;
    // The worker polled just now: it may come back.
    let asked = ask(&w, Span::seconds(60));
    w.advance(Span::seconds(19)).await;
    assert!(!asked.is_finished());
    w.advance(Span::seconds(2)).await;
    let gone = Refusal::FailedPrecondition("no poller seen for task queue recently, worker may be down".into());
    assert_eq!(soon(asked).await.unwrap().unwrap_err(), gone);
    // A worker that takes the query and is silent.
    let poll = w.poll_beside();
    w.settle().await;
    let asked = ask(&w, Span::seconds(5));
    soon(poll).await.unwrap();
    w.advance(Span::seconds(5)).await;
    let late = Refusal::DeadlineExceeded("query timed out before a worker could process it".into());
    assert_eq!(soon(asked).await.unwrap().unwrap_err(), late);
}

#[tokio::test]
async fn a_closed_run_answers_or_is_rejected() {
    let w = idle().await;
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    let request = QueryWorkflowRequest { query_reject_condition: QueryRejectCondition::NotOpen as i32, ..query_request() };
    let response = soon(w.engine.query_workflow(request, None)).await.unwrap();
    assert_eq!(response.query_rejected.unwrap().status, WorkflowExecutionStatus::Completed as i32);
    let poll = w.poll_beside();
    w.settle().await;
    let asked = ask(&w, Span::seconds(30));
    let task = soon(poll).await.unwrap();
    answer(&w, &task).await.unwrap();
    assert!(soon(asked).await.unwrap().is_ok());
}

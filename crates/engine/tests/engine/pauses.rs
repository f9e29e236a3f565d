use sempre_api::v1::{
    enums::{QueryRejectCondition, WorkflowExecutionStatus as Status},
    query::WorkflowQuery,
    workflowservice::*,
};
use sempre_core::Refusal;

use crate::support::*;

fn pause(request_id: &str) -> PauseWorkflowExecutionRequest {
    PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "a".into(),
        identity: "operator".into(),
        reason: "why".into(),
        request_id: request_id.into(),
        ..Default::default()
    }
}

fn unpause() -> UnpauseWorkflowExecutionRequest {
    UnpauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "a".into(), ..Default::default() }
}

async fn status(w: &World) -> Status {
    let request = DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: Some(execution("a", "")) };
    soon(w.engine.describe_workflow(request)).await.unwrap().workflow_execution_info.unwrap().status()
}

#[tokio::test]
async fn a_paused_run_gives_no_task_until_it_is_unpaused() {
    let w = world().await;
    w.start("a").await;
    soon(w.engine.pause_workflow(pause("p"))).await.unwrap();
    soon(w.engine.pause_workflow(pause("p"))).await.unwrap();
    let twice = soon(w.engine.pause_workflow(pause("q"))).await;
    assert!(matches!(twice, Err(Refusal::FailedPrecondition(text)) if text == "workflow is already paused."));
    assert_eq!(status(&w).await, Status::Paused);
    let query = QueryWorkflowRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        query: Some(WorkflowQuery { query_type: "q".into(), ..Default::default() }),
        query_reject_condition: QueryRejectCondition::None as i32,
    };
    let rejected = soon(w.engine.query_workflow(query, None)).await.unwrap();
    assert_eq!(rejected.query_rejected.unwrap().status(), Status::Paused);
    let poll = w.poll_beside();
    w.settle().await;
    assert!(!poll.is_finished(), "no task while paused");
    soon(w.engine.unpause_workflow(unpause())).await.unwrap();
    let task = soon(poll).await.unwrap();
    assert_eq!(task.attempt, 1);
    assert_eq!(status(&w).await, Status::Running);
    let twice = soon(w.engine.unpause_workflow(unpause())).await;
    assert!(matches!(twice, Err(Refusal::FailedPrecondition(text)) if text == "workflow is not paused."));
}

#[tokio::test]
async fn a_pause_outlives_the_process() {
    let mut w = world().await;
    w.start("a").await;
    soon(w.engine.pause_workflow(pause("p"))).await.unwrap();
    w.reopen().await;
    assert_eq!(status(&w).await, Status::Paused);
    soon(w.engine.unpause_workflow(unpause())).await.unwrap();
    w.poll().await;
}

/// The pause waits behind the task, and the pointer to the current run says already what the run's events do not.
#[tokio::test]
async fn a_store_with_a_pause_behind_a_task_in_a_workers_hands_holds_together() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    soon(w.engine.pause_workflow(pause("p"))).await.unwrap();
    assert_eq!(problems(&*w.store.inner).1, [""; 0]);
    w.complete(&task.task_token, vec![]).await;
    assert_eq!(problems(&*w.store.inner).1, [""; 0]);
    soon(w.engine.unpause_workflow(unpause())).await.unwrap();
    assert_eq!(problems(&*w.store.inner).1, [""; 0]);
    w.complete(&w.poll().await.task_token, done()).await;
}

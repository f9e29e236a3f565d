//! ResetWorkflowExecution and UpdateWorkflowExecutionOptions on the wire.

use std::time::Duration;

use sempre_api::{
    FieldMask,
    v1::{
        common::{Priority, WorkflowExecution, WorkflowType},
        enums::EventType,
        taskqueue::TaskQueue,
        workflow::WorkflowExecutionOptions,
        workflowservice::{
            GetWorkflowExecutionHistoryRequest, ResetWorkflowExecutionRequest, RespondWorkflowTaskCompletedRequest,
            StartWorkflowExecutionRequest, UpdateWorkflowExecutionOptionsRequest,
        },
    },
};
use tonic::Code;

use crate::{polls::poll, support::TestServer};

fn target() -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() })
}

fn reset(finish: i64) -> ResetWorkflowExecutionRequest {
    ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: target(),
        reason: "a bad deploy".into(),
        workflow_task_finish_event_id: finish,
        request_id: "r".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_workflow_is_reset() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "start".into(),
        ..Default::default()
    };
    client.start_workflow_execution(start).await.expect("starts");
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(10)))).await.expect("a task").into_inner();
    let done = RespondWorkflowTaskCompletedRequest { namespace: "default".into(), task_token: task.task_token, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("completes");

    for (request, code, text) in [
        (
            ResetWorkflowExecutionRequest { request_id: String::new(), ..reset(4) },
            Code::InvalidArgument,
            "RequestId is not set on request.",
        ),
        (reset(5), Code::InvalidArgument, "Workflow task finish ID must be > 1 && <= workflow last event ID."),
        (
            reset(2),
            Code::InvalidArgument,
            "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: 2",
        ),
    ] {
        let status = client.reset_workflow_execution(request).await.expect_err("refused");
        assert_eq!((status.code(), status.message()), (code, text));
    }
    let run_id = client.reset_workflow_execution(reset(4)).await.expect("resets").into_inner().run_id;
    assert_eq!(client.reset_workflow_execution(reset(4)).await.expect("told again").into_inner().run_id, run_id);

    let options = UpdateWorkflowExecutionOptionsRequest {
        namespace: "default".into(),
        workflow_execution: target(),
        workflow_execution_options: Some(WorkflowExecutionOptions {
            priority: Some(Priority { priority_key: 2, ..Default::default() }),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths: vec!["priority.priority_key".into()] }),
        identity: "client".into(),
    };
    let updated = client.update_workflow_execution_options(options).await.expect("updates").into_inner();
    assert_eq!(updated.workflow_execution_options.and_then(|o| o.priority).map(|p| p.priority_key), Some(2));

    let history = GetWorkflowExecutionHistoryRequest { namespace: "default".into(), execution: target(), ..Default::default() };
    let history = client.get_workflow_execution_history(history).await.expect("history").into_inner().history.expect("set");
    let types: Vec<_> = history.events().expect("events").iter().map(|e| e.event_type()).collect();
    assert_eq!(
        types,
        [
            EventType::WorkflowExecutionStarted,
            EventType::WorkflowTaskScheduled,
            EventType::WorkflowTaskStarted,
            EventType::WorkflowTaskFailed,
            EventType::WorkflowTaskScheduled,
            EventType::WorkflowExecutionOptionsUpdated,
        ]
    );
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(10)))).await.expect("a task").into_inner();
    assert_eq!(task.workflow_execution.map(|e| e.run_id), Some(run_id));
}

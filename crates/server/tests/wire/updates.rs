//! Updates on the wire: codes, texts and details.

use sempre_api::v1::{
    common::{WorkflowExecution, WorkflowType},
    errordetails::MultiOperationExecutionFailure,
    taskqueue::TaskQueue,
    update::{Input, Meta, Request, UpdateRef},
    workflowservice::{
        CountWorkflowExecutionsRequest, ExecuteMultiOperationRequest, PollWorkflowExecutionUpdateRequest, StartWorkflowExecutionRequest,
        TerminateWorkflowExecutionRequest, UpdateWorkflowExecutionRequest,
        execute_multi_operation_request::{Operation, operation::Operation as Asked},
    },
};
use tonic::Code;

use crate::support::{TestServer, read};

fn execution() -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() })
}

fn start() -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        ..Default::default()
    }
}

fn update() -> UpdateWorkflowExecutionRequest {
    UpdateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(),
        request: Some(Request {
            meta: Some(Meta { update_id: "u".into(), ..Default::default() }),
            input: Some(Input { name: "handler".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[tokio::test]
async fn updates_that_cannot_be_are_refused_as_the_sdks_expect() {
    let server = TestServer::start().await;
    let unknown = server.workflow().update_workflow_execution(update()).await.expect_err("no run");
    assert_eq!(unknown.code(), Code::NotFound);
    server.workflow().start_workflow_execution(start()).await.expect("starts");
    let poll = PollWorkflowExecutionUpdateRequest {
        namespace: "default".into(),
        update_ref: Some(UpdateRef { workflow_execution: execution(), update_id: "u".into() }),
        ..Default::default()
    };
    let unknown = server.workflow().poll_workflow_execution_update(poll).await.expect_err("no update");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "update \"u\" not found"));
    let other_chain = UpdateWorkflowExecutionRequest { first_execution_run_id: "other".into(), ..update() };
    let unknown = server.workflow().update_workflow_execution(other_chain).await.expect_err("no such chain");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "workflow execution not found"));
    // A waiting caller hears of the end of the run.
    let mut client = server.workflow();
    let waiting = tokio::spawn(async move { client.update_workflow_execution(update()).await });
    let terminate =
        TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution(), ..Default::default() };
    let mut request = tonic::Request::new(update());
    request.set_timeout(std::time::Duration::from_millis(300));
    let late = server.workflow().update_workflow_execution(request).await.expect_err("no worker");
    assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late}");
    server.workflow().terminate_workflow_execution(terminate).await.expect("terminates");
    let aborted = waiting.await.expect("no panic").expect_err("aborted");
    assert_eq!((aborted.code(), aborted.message()), (Code::NotFound, "workflow update was aborted by closing workflow"));
    let closed = server.workflow().update_workflow_execution(update()).await.expect_err("closed");
    let (code, text, detail) = read(&closed);
    assert_eq!((code, text.as_str()), (Code::NotFound, "workflow execution already completed"));
    assert_eq!(detail.map(|(name, _)| name).as_deref(), Some("NotFoundFailure"));
}

fn update_with_start(start: StartWorkflowExecutionRequest, update: UpdateWorkflowExecutionRequest) -> ExecuteMultiOperationRequest {
    let operations = [Asked::StartWorkflow(start), Asked::UpdateWorkflow(update)];
    let operations = operations.map(|operation| Operation { operation: Some(operation) }).into();
    ExecuteMultiOperationRequest { namespace: "default".into(), operations, ..Default::default() }
}

/// They take a turn at the gate of starts like any other start, and must not keep it while they wait for a worker that may never come.
#[tokio::test]
async fn updates_with_start_that_wait_for_workers_keep_no_start_out() {
    /// More than starts may be inside at once.
    const CALLS: usize = 300;
    let server = TestServer::start().await;
    let wait = |n: usize| {
        let workflow_id = format!("w{n}");
        let named = Some(WorkflowExecution { workflow_id: workflow_id.clone(), run_id: String::new() });
        let start = StartWorkflowExecutionRequest { workflow_id, ..start() };
        let request = update_with_start(start, UpdateWorkflowExecutionRequest { workflow_execution: named, ..update() });
        let mut client = server.workflow();
        tokio::spawn(async move { client.execute_multi_operation(request).await })
    };
    let calls: Vec<_> = (0..CALLS).map(wait).collect();
    let all_are_made = async {
        let count = CountWorkflowExecutionsRequest { namespace: "default".into(), ..Default::default() };
        while server.workflow().count_workflow_executions(count.clone()).await.expect("counts").into_inner().count < CALLS as i64 {}
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), all_are_made).await.expect("all of them are made");
    server.workflow().start_workflow_execution(start()).await.expect("starts");
    for call in &calls {
        assert!(!call.is_finished(), "nobody has answered");
        call.abort();
    }
}

#[tokio::test]
async fn an_update_with_start_says_what_became_of_each_operation() {
    let server = TestServer::start().await;
    server.workflow().start_workflow_execution(start()).await.expect("starts");
    let request = update_with_start(start(), update());
    let refused = server.workflow().execute_multi_operation(request).await.expect_err("is running");
    let (code, text, detail) = read(&refused);
    assert_eq!((code, text.as_str()), (Code::AlreadyExists, "Update-with-Start could not be executed."));
    let (name, value) = detail.expect("a detail");
    assert_eq!(name, "MultiOperationExecutionFailure");
    let failure: MultiOperationExecutionFailure = prost::Message::decode(value).expect("decodes");
    let [start, update] = &failure.statuses[..] else { panic!("two statuses") };
    assert_eq!((start.code, update.code), (Code::AlreadyExists as i32, Code::Aborted as i32));
    assert!(start.details[0].type_url.ends_with("WorkflowExecutionAlreadyStartedFailure"));
    assert!(update.details[0].type_url.ends_with("temporal.api.failure.v1.MultiOperationExecutionAborted"));
}

//! Pauses on the wire: codes, texts, capability.

use sempre_api::v1::{
    common::{WorkflowExecution, WorkflowType},
    enums::WorkflowExecutionStatus,
    taskqueue::TaskQueue,
    workflowservice::{
        DescribeNamespaceRequest, DescribeWorkflowExecutionRequest, PauseActivityRequest, PauseWorkflowExecutionRequest,
        StartWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest, UpdateActivityOptionsRequest, pause_activity_request,
        update_activity_options_request,
    },
};
use sempre_server::ServerSettings;
use tonic::Code;

use crate::support::TestServer;

fn execution() -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() })
}

fn start() -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: "type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "request".into(),
        ..Default::default()
    }
}

fn pause() -> PauseWorkflowExecutionRequest {
    PauseWorkflowExecutionRequest { namespace: "default".into(), workflow_id: "wf".into(), request_id: "p".into(), ..Default::default() }
}

#[tokio::test]
async fn a_run_is_paused_and_unpaused() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    client.start_workflow_execution(start()).await.expect("starts");
    client.pause_workflow_execution(pause()).await.expect("pauses");
    let again = client.pause_workflow_execution(PauseWorkflowExecutionRequest { request_id: "q".into(), ..pause() }).await;
    let again = again.expect_err("is paused");
    assert_eq!((again.code(), again.message()), (Code::FailedPrecondition, "workflow is already paused."));
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: execution() };
    let described = client.describe_workflow_execution(describe).await.expect("known").into_inner();
    assert_eq!(described.workflow_execution_info.expect("info").status(), WorkflowExecutionStatus::Paused);
    assert!(described.workflow_extended_info.expect("info").pause_info.is_some());
    let unpause = UnpauseWorkflowExecutionRequest { namespace: "default".into(), workflow_id: "wf".into(), ..Default::default() };
    client.unpause_workflow_execution(unpause.clone()).await.expect("unpauses");
    let again = client.unpause_workflow_execution(unpause).await.expect_err("is not paused");
    assert_eq!((again.code(), again.message()), (Code::FailedPrecondition, "workflow is not paused."));
}

#[tokio::test]
async fn pausing_is_announced_and_can_be_switched_off() {
    for on in [true, false] {
        let mut settings = ServerSettings::default();
        settings.engine.limits.workflow_pause = on;
        let server = TestServer::start_with(settings).await;
        let mut client = server.workflow();
        let describe = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
        let info = client.describe_namespace(describe).await.expect("known").into_inner().namespace_info.expect("info");
        assert_eq!(info.capabilities.expect("capabilities").workflow_pause, on);
        if !on {
            let off = client.pause_workflow_execution(pause()).await.expect_err("off");
            assert_eq!((off.code(), off.message()), (Code::Unimplemented, "workflow pause is not enabled for namespace: default"));
        }
    }
}

#[tokio::test]
async fn activities_that_are_not_pending_are_not_found() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    client.start_workflow_execution(start()).await.expect("starts");
    let text = "Can't find pending activity with such ID. Invalid activityID or activity already completed";
    let request = PauseActivityRequest {
        namespace: "default".into(),
        execution: execution(),
        activity: Some(pause_activity_request::Activity::Id("a".into())),
        ..Default::default()
    };
    let missing = client.pause_activity(request.clone()).await.expect_err("none");
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, text));
    let unnamed = client.pause_activity(PauseActivityRequest { activity: None, ..request }).await.expect_err("unnamed");
    let text = "Either Activity.Id or Activity.Type should be set on request.";
    assert_eq!((unnamed.code(), unnamed.message()), (Code::InvalidArgument, text));
    let request = UpdateActivityOptionsRequest {
        namespace: "default".into(),
        execution: execution(),
        activity: Some(update_activity_options_request::Activity::Id("a".into())),
        ..Default::default()
    };
    let empty = client.update_activity_options(request).await.expect_err("no options");
    assert_eq!((empty.code(), empty.message()), (Code::InvalidArgument, "ActivityOptions are not provided"));
}

//! Pauses on the wire: codes, texts, capability.

use std::time::Duration;

use sempre_api::{
    FieldMask,
    v1::{
        activity::ActivityOptions,
        command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
        common::{ActivityType, WorkflowExecution, WorkflowType},
        enums::{CommandType, PendingActivityState, WorkflowExecutionStatus},
        taskqueue::TaskQueue,
        workflow::PendingActivityInfo,
        workflowservice::{
            DescribeNamespaceRequest, DescribeWorkflowExecutionRequest, PauseActivityExecutionRequest, PauseActivityRequest,
            PauseWorkflowExecutionRequest, ResetActivityExecutionRequest, RespondWorkflowTaskCompletedRequest,
            StartWorkflowExecutionRequest, UnpauseActivityExecutionRequest, UnpauseWorkflowExecutionRequest,
            UpdateActivityExecutionOptionsRequest, UpdateActivityOptionsRequest, pause_activity_request, update_activity_options_request,
        },
    },
};
use sempre_core::Span;
use sempre_server::ServerSettings;
use tonic::Code;

use crate::{polls::poll, support::TestServer};

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

/// A run with one activity that is offered, and the activity's id.
async fn with_activity(server: &TestServer) {
    let mut client = server.workflow();
    client.start_workflow_execution(start()).await.expect("starts");
    let task = client.poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await.expect("a task").into_inner();
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "act".into() }),
        task_queue: Some(TaskQueue::default()),
        start_to_close_timeout: Some(Span::seconds(10).to_api()),
        ..Default::default()
    };
    let command = Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes))),
        ..Default::default()
    };
    let done = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands: vec![command], ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("completes");
}

async fn activity(server: &TestServer) -> PendingActivityInfo {
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: execution() };
    let described = server.workflow().describe_workflow_execution(describe).await.expect("known").into_inner();
    described.pending_activities.into_iter().next().expect("one is pending")
}

#[tokio::test]
async fn an_activity_of_a_workflow_is_operated_by_its_own_name() {
    let server = TestServer::start().await;
    with_activity(&server).await;
    let mut client = server.workflow();
    let (namespace, workflow_id, activity_id) = (String::from("default"), String::from("wf"), String::from("a"));
    let pause = PauseActivityExecutionRequest {
        namespace: namespace.clone(),
        workflow_id: workflow_id.clone(),
        activity_id: activity_id.clone(),
        request_id: "p".into(),
        reason: "look".into(),
        ..Default::default()
    };
    client.pause_activity_execution(pause.clone()).await.expect("pauses");
    client.pause_activity_execution(pause.clone()).await.expect("the same request");
    let again = client.pause_activity_execution(PauseActivityExecutionRequest { request_id: "q".into(), ..pause.clone() }).await;
    let again = again.expect_err("is paused");
    assert_eq!((again.code(), again.message()), (Code::FailedPrecondition, "activity is already paused"));
    assert_eq!(activity(&server).await.state(), PendingActivityState::Paused);

    let update = UpdateActivityExecutionOptionsRequest {
        namespace: namespace.clone(),
        workflow_id: workflow_id.clone(),
        activity_id: activity_id.clone(),
        activity_options: Some(ActivityOptions { start_to_close_timeout: Some(Span::seconds(77).to_api()), ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["start_to_close_timeout".into()] }),
        ..Default::default()
    };
    let options = client.update_activity_execution_options(update).await.expect("changes").into_inner().activity_options;
    assert_eq!(options.and_then(|options| options.start_to_close_timeout), Some(Span::seconds(77).to_api()));

    let reset = ResetActivityExecutionRequest {
        namespace: namespace.clone(),
        workflow_id: workflow_id.clone(),
        activity_id: activity_id.clone(),
        keep_paused: true,
        restore_original_options: true,
        ..Default::default()
    };
    client.reset_activity_execution(reset).await.expect("resets");
    let info = activity(&server).await;
    assert!(info.paused);
    assert_eq!(info.activity_options.and_then(|options| options.start_to_close_timeout), Some(Span::seconds(10).to_api()));

    let unpause = UnpauseActivityExecutionRequest { namespace, workflow_id, activity_id, ..Default::default() };
    client.unpause_activity_execution(unpause).await.expect("goes on");
    assert_eq!(activity(&server).await.state(), PendingActivityState::Scheduled);

    let missing = PauseActivityExecutionRequest { activity_id: "b".into(), ..pause.clone() };
    let missing = client.pause_activity_execution(missing).await.expect_err("none");
    let text = "Can't find pending activity with such ID. Invalid activityID or activity already completed";
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, text));
    let alone = PauseActivityExecutionRequest { workflow_id: String::new(), ..pause };
    let alone = client.pause_activity_execution(alone).await.expect_err("of no workflow");
    assert_eq!((alone.code(), alone.message()), (Code::NotFound, "activity not found for ID: a"));
}

//! Completions larger than one message, in pages.

use std::time::Duration;

use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes, command::Attributes},
    common::{Payload, Payloads, WorkflowExecution},
    enums::{CommandType, EventType},
    namespace::NamespaceInfo,
    workflowservice::{DescribeNamespaceRequest, GetWorkflowExecutionHistoryReverseRequest, RespondWorkflowTaskCompletedRequest},
};
use sempre_server::{ServerSettings, dynamic::DynamicConfig};
use tonic::Code;

use crate::{
    messages::start,
    polls::poll,
    support::{TestServer, read},
};

async fn server(assignments: &[&str]) -> TestServer {
    let mut settings = ServerSettings::default();
    let config = DynamicConfig::parse(assignments.iter().copied()).expect("JSON");
    assert_eq!(config.apply(&mut settings).expect("values"), Vec::<String>::new());
    TestServer::start_with(settings).await
}

async fn namespace(server: &TestServer) -> NamespaceInfo {
    let request = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
    server.workflow().describe_namespace(request).await.expect("described").into_inner().namespace_info.expect("info")
}

fn command(kind: CommandType, attributes: Attributes) -> Command {
    Command { command_type: kind as i32, attributes: Some(attributes), ..Default::default() }
}

fn marker(bytes: usize) -> Command {
    let data = Payloads { payloads: vec![Payload { data: vec![b'x'; bytes].into(), ..Default::default() }] };
    let attributes = RecordMarkerCommandAttributes {
        marker_name: "m".into(),
        details: [("data".to_owned(), data)].into_iter().collect(),
        ..Default::default()
    };
    command(CommandType::RecordMarker, Attributes::RecordMarkerCommandAttributes(attributes))
}

fn complete() -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes::default();
    command(CommandType::CompleteWorkflowExecution, Attributes::CompleteWorkflowExecutionCommandAttributes(attributes))
}

#[tokio::test]
async fn a_completion_larger_than_a_message_comes_in_pages() {
    let server = server(&["history.enableWorkflowTaskCompletionPagination=true", "system.transactionSizeLimit=33554432"]).await;
    let info = namespace(&server).await;
    assert!(info.capabilities.expect("capabilities").workflow_task_completion_pagination);
    assert_eq!(info.limits.expect("limits").workflow_task_completion_size_limit_error, 40 << 20);
    server.workflow().start_workflow_execution(start(0)).await.expect("starts");
    let task = server.workflow().poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await.expect("a task").into_inner();
    let page = |number: i32, intermediate_page: bool, commands: Vec<Command>| RespondWorkflowTaskCompletedRequest {
        namespace: "default".into(),
        task_token: task.task_token.clone(),
        commands,
        page_number: number,
        intermediate_page,
        ..Default::default()
    };
    let status = server.workflow().respond_workflow_task_completed(page(3, false, vec![complete()])).await.expect_err("too early");
    let (code, text, detail) = read(&status);
    assert_eq!((code, text.as_str()), (Code::Aborted, "Pages of the workflow task completion are missing, send all of them again."));
    assert_eq!(detail.map(|(name, _)| name).as_deref(), Some("WorkflowTaskCompletionBufferLostFailure"));
    for number in 0..3 {
        let markers = vec![marker(1 << 20), marker(1 << 20), marker(1 << 20)];
        let answer = server.workflow().respond_workflow_task_completed(page(number, true, markers)).await.expect("kept").into_inner();
        assert_eq!(answer, Default::default());
    }
    server.workflow().respond_workflow_task_completed(page(3, false, vec![complete()])).await.expect("complete");
    let request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: "default".into(),
        execution: Some(WorkflowExecution { workflow_id: "wid".into(), ..Default::default() }),
        maximum_page_size: 1,
        ..Default::default()
    };
    let history = server.workflow().get_workflow_execution_history_reverse(request).await.expect("read").into_inner();
    let last = history.history.and_then(|history| history.events().ok()).and_then(|mut events| events.pop()).expect("an event");
    assert_eq!((last.event_id, last.event_type()), (4 + 9 + 1, EventType::WorkflowExecutionCompleted));
}

#[tokio::test]
async fn pages_are_not_announced_unless_they_are_taken() {
    let server = server(&[]).await;
    let info = namespace(&server).await;
    assert!(!info.capabilities.expect("capabilities").workflow_task_completion_pagination);
    assert_eq!(info.limits.expect("limits").workflow_task_completion_size_limit_error, 4 << 20);
}

#[tokio::test]
async fn no_setting_lets_a_completion_write_more_than_a_commit_takes() {
    let server = server(&["history.enableWorkflowTaskCompletionPagination=true", "system.transactionSizeLimit=1073741824"]).await;
    server.workflow().start_workflow_execution(start(0)).await.expect("starts");
    let task = server.workflow().poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await.expect("a task").into_inner();
    let page = |number: i32, intermediate_page: bool| RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token.clone(),
        commands: vec![marker(1 << 20), marker(1 << 20), marker(1 << 20)],
        page_number: number,
        intermediate_page,
        ..Default::default()
    };
    for number in 0..4 {
        server.workflow().respond_workflow_task_completed(page(number, true)).await.expect("kept");
    }
    let status = server.workflow().respond_workflow_task_completed(page(4, false)).await.expect_err("too large");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().ends_with("bytes exceeds limit of 12582912 bytes"), "{}", status.message());
}

//! Activities that belong to no workflow, on the wire: errors with their details, waits that end before the caller's patience.

use prost::Message;
use sempre_api::v1::{
    common::ActivityType,
    errordetails::ActivityExecutionAlreadyStartedFailure,
    taskqueue::TaskQueue,
    workflowservice::{
        DescribeActivityExecutionRequest, DescribeNamespaceRequest, PollActivityExecutionRequest, PollActivityExecutionResponse,
        PollActivityTaskQueueRequest, StartActivityExecutionRequest,
    },
};
use sempre_core::Span;
use tonic::{Code, Request};

use crate::support::TestServer;

const NAMESPACE: &str = "default";

fn request() -> StartActivityExecutionRequest {
    StartActivityExecutionRequest {
        namespace: NAMESPACE.into(),
        activity_id: "a".into(),
        request_id: "r".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        start_to_close_timeout: Some(Span::seconds(10).to_api()),
        ..Default::default()
    }
}

#[tokio::test]
async fn who_is_in_the_way_is_named() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let first = client.start_activity_execution(request()).await.expect("starts").into_inner();
    let again = StartActivityExecutionRequest { request_id: "other".into(), ..request() };
    let refused = client.start_activity_execution(again).await.expect_err("it runs");
    assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, "activity execution already started"));
    let details = sempre_api::google::rpc::Status::decode(refused.details()).expect("decodes").details;
    assert!(details[0].type_url.ends_with("ActivityExecutionAlreadyStartedFailure"));
    let failure = ActivityExecutionAlreadyStartedFailure::decode(&*details[0].value).expect("decodes");
    assert_eq!((failure.start_request_id.as_str(), failure.run_id), ("r", first.run_id));
    let unset = StartActivityExecutionRequest { start_to_close_timeout: None, ..request() };
    assert_eq!(client.start_activity_execution(unset).await.expect_err("no timeout").code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_wait_ends_empty_before_the_caller_gives_up() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    client.start_activity_execution(request()).await.expect("starts");
    let mut poll =
        Request::new(PollActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() });
    poll.set_timeout(std::time::Duration::from_millis(1200));
    let answer = client.poll_activity_execution(poll).await.expect("in time").into_inner();
    assert_eq!(answer, PollActivityExecutionResponse::default());
}

#[tokio::test]
async fn clients_are_told_that_there_are_such_activities() {
    let server = TestServer::start().await;
    let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let info = server.workflow().describe_namespace(request).await.expect("there").into_inner().namespace_info.expect("info");
    let capabilities = info.capabilities.expect("capabilities");
    assert!(capabilities.standalone_activities && capabilities.standalone_activity_start_delay);
    assert!(capabilities.standalone_activity_operator_commands && capabilities.standalone_activity_batch_operations);
}

#[tokio::test]
async fn the_sdk_of_the_worker_is_the_one_its_polls_name() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    client.start_activity_execution(request()).await.expect("starts");
    let mut poll = Request::new(PollActivityTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        ..Default::default()
    });
    poll.set_timeout(std::time::Duration::from_secs(10));
    poll.metadata_mut().insert("client-name", "temporal-go".parse().expect("a value"));
    poll.metadata_mut().insert("client-version", "1.30.0".parse().expect("a value"));
    client.poll_activity_task_queue(poll).await.expect("comes");
    let describe = DescribeActivityExecutionRequest { namespace: NAMESPACE.into(), activity_id: "a".into(), ..Default::default() };
    let info = client.describe_activity_execution(describe).await.expect("is there").into_inner().info.expect("info");
    assert_eq!((info.sdk_name.as_str(), info.sdk_version.as_str()), ("temporal-go", "1.30.0"));
}

//! Nexus operations that belong to no workflow, on the wire: errors with their details, waits that end before the caller's
//! patience.

use prost::Message;
use sempre_api::v1::{
    errordetails::NexusOperationExecutionAlreadyStartedFailure,
    nexus::{EndpointSpec, EndpointTarget, endpoint_target},
    operatorservice::CreateNexusEndpointRequest,
    workflowservice::{
        DescribeNamespaceRequest, DescribeNexusOperationExecutionRequest, PollNexusOperationExecutionRequest,
        PollNexusOperationExecutionResponse, StartNexusOperationExecutionRequest,
    },
};
use tonic::{Code, Request};

use crate::support::TestServer;

const NAMESPACE: &str = "default";

fn request() -> StartNexusOperationExecutionRequest {
    StartNexusOperationExecutionRequest {
        namespace: NAMESPACE.into(),
        operation_id: "o".into(),
        request_id: "r".into(),
        endpoint: "endpoint".into(),
        service: "service".into(),
        operation: "operation".into(),
        ..Default::default()
    }
}

async fn with_endpoint() -> TestServer {
    let server = TestServer::start().await;
    let worker = endpoint_target::Worker { namespace: NAMESPACE.into(), task_queue: "handlers".into() };
    let target = Some(EndpointTarget { variant: Some(endpoint_target::Variant::Worker(worker)) });
    let spec = Some(EndpointSpec { name: "endpoint".into(), target, description: None });
    server.operator().create_nexus_endpoint(CreateNexusEndpointRequest { spec }).await.expect("an endpoint");
    server
}

#[tokio::test]
async fn who_is_in_the_way_is_named() {
    let server = with_endpoint().await;
    let mut client = server.workflow();
    let first = client.start_nexus_operation_execution(request()).await.expect("starts").into_inner();
    let again = StartNexusOperationExecutionRequest { request_id: "other".into(), ..request() };
    let refused = client.start_nexus_operation_execution(again).await.expect_err("it runs");
    let text = format!("nexus operation execution already started: request_id=r, run_id={}", first.run_id);
    assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, text.as_str()));
    let details = sempre_api::google::rpc::Status::decode(refused.details()).expect("decodes").details;
    assert!(details[0].type_url.ends_with("NexusOperationExecutionAlreadyStartedFailure"));
    let failure = NexusOperationExecutionAlreadyStartedFailure::decode(&*details[0].value).expect("decodes");
    assert_eq!((failure.start_request_id.as_str(), failure.run_id), ("r", first.run_id));
    let unknown = StartNexusOperationExecutionRequest { endpoint: "nowhere".into(), ..request() };
    let refused = client.start_nexus_operation_execution(unknown).await.expect_err("no such endpoint");
    assert_eq!((refused.code(), refused.message()), (Code::NotFound, "could not find Nexus endpoint by name: nowhere"));
}

#[tokio::test]
async fn a_wait_ends_empty_before_the_caller_gives_up() {
    let server = with_endpoint().await;
    let mut client = server.workflow();
    client.start_nexus_operation_execution(request()).await.expect("starts");
    let poll = PollNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: "o".into(), ..Default::default() };
    let mut poll = Request::new(poll);
    poll.set_timeout(std::time::Duration::from_millis(1200));
    let answer = client.poll_nexus_operation_execution(poll).await.expect("in time").into_inner();
    assert_eq!(answer, PollNexusOperationExecutionResponse::default());
    let describe = DescribeNexusOperationExecutionRequest { namespace: NAMESPACE.into(), operation_id: "o".into(), ..Default::default() };
    let described = client.describe_nexus_operation_execution(describe).await.expect("there").into_inner();
    assert_eq!(described.info.expect("info").operation_id, "o");
}

#[tokio::test]
async fn clients_are_told_that_there_are_such_operations() {
    let server = TestServer::start().await;
    let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let info = server.workflow().describe_namespace(request).await.expect("there").into_inner().namespace_info.expect("info");
    assert!(info.capabilities.expect("capabilities").standalone_nexus_operation);
}

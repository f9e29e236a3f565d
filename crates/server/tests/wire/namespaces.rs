//! Namespaces on the wire, and the checks that come before a request's body.

use prost::Message;
use sempre_api::v1::{
    enums::IndexedValueType,
    errordetails::NamespaceNotFoundFailure,
    operatorservice::ListSearchAttributesRequest,
    workflowservice::{
        DescribeNamespaceRequest, GetClusterInfoRequest, GetSystemInfoRequest, PollWorkflowTaskQueueRequest, RegisterNamespaceRequest,
        SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest,
    },
};
use sempre_server::ServerSettings;
use tonic::{Code, Request};

use crate::support::{TestServer, read};

#[tokio::test]
async fn an_unknown_namespace_is_told_before_what_is_wrong_in_the_body() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let namespace = || "nowhere".to_owned();
    let answers = [
        client.start_workflow_execution(StartWorkflowExecutionRequest { namespace: namespace(), ..Default::default() }).await.map(drop),
        client.signal_workflow_execution(SignalWorkflowExecutionRequest { namespace: namespace(), ..Default::default() }).await.map(drop),
        client.poll_workflow_task_queue(PollWorkflowTaskQueueRequest { namespace: namespace(), ..Default::default() }).await.map(drop),
        client.describe_namespace(DescribeNamespaceRequest { namespace: namespace(), ..Default::default() }).await.map(drop),
    ];
    for answer in answers {
        let (code, message, detail) = read(&answer.expect_err("unknown"));
        assert_eq!((code, message.as_str()), (Code::NotFound, "Namespace nowhere is not found."));
        let (name, value) = detail.expect("a detail");
        assert_eq!(name, "NamespaceNotFoundFailure");
        assert_eq!(NamespaceNotFoundFailure::decode(value).expect("decodes"), NamespaceNotFoundFailure { namespace: namespace() });
    }
}

#[tokio::test]
async fn a_namespace_is_needed_and_has_a_length() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    let empty = client.start_workflow_execution(StartWorkflowExecutionRequest::default()).await.expect_err("no namespace");
    assert_eq!((empty.code(), empty.message()), (Code::InvalidArgument, "Namespace is empty."));
    let request = StartWorkflowExecutionRequest { namespace: "n".repeat(1001), ..Default::default() };
    let long = client.start_workflow_execution(request).await.expect_err("too long");
    assert_eq!((long.code(), long.message()), (Code::InvalidArgument, "Namespace length exceeds limit."));
}

#[tokio::test]
async fn a_workflow_id_has_a_length() {
    let server = TestServer::start().await;
    let request = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".repeat(1001),
        workflow_type: Some(sempre_api::v1::common::WorkflowType { name: "type".into() }),
        task_queue: Some(sempre_api::v1::taskqueue::TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "request".into(),
        ..Default::default()
    };
    let status = server.workflow().start_workflow_execution(request).await.expect_err("too long");
    assert_eq!(status.code(), Code::InvalidArgument);
    // What SDK suites look for in the text.
    assert!(status.message().starts_with("WorkflowId ") && status.message().contains("length"), "{status}");
}

#[tokio::test]
async fn settings_are_shown_as_limits_and_capabilities() {
    let mut settings = ServerSettings { namespaces: vec!["default".into(), "orders".into()], ..ServerSettings::default() };
    settings.engine.limits.blob_size_max = 16 << 10;
    settings.engine.limits.eager_start = false;
    settings.search_attributes = vec![("CustomIntField".into(), IndexedValueType::Int)];
    let server = TestServer::start_with(settings).await;
    for namespace in ["default", "orders"] {
        let request = DescribeNamespaceRequest { namespace: namespace.into(), ..Default::default() };
        let answer = server.workflow().describe_namespace(request).await.expect("known").into_inner();
        let info = answer.namespace_info.expect("info");
        assert_eq!(info.name, namespace);
        let limits = info.limits.expect("limits");
        assert_eq!((limits.blob_size_limit_error, limits.memo_size_limit_error), (16 << 10, 2 << 20));
        let capabilities = info.capabilities.expect("capabilities");
        assert!(!capabilities.eager_workflow_start && capabilities.sync_update && capabilities.async_update);
        assert!(capabilities.workflow_update_callbacks && capabilities.reported_problems_search_attribute);
        let request = ListSearchAttributesRequest { namespace: namespace.into() };
        let answer = server.operator().list_search_attributes(request).await.expect("known").into_inner();
        assert_eq!(answer.custom_attributes.get("CustomIntField"), Some(&i32::from(IndexedValueType::Int)));
    }
}

#[tokio::test]
async fn a_registered_namespace_is_there_at_once() {
    let server = TestServer::start().await;
    let request = RegisterNamespaceRequest {
        namespace: "fresh".into(),
        workflow_execution_retention_period: Some(sempre_api::Duration { seconds: 86_400, nanos: 0 }),
        ..Default::default()
    };
    server.workflow().register_namespace(request.clone()).await.expect("registers");
    let again = server.workflow().register_namespace(request).await.expect_err("exists");
    let (code, _, detail) = read(&again);
    assert_eq!((code, detail.map(|(name, _)| name).as_deref()), (Code::AlreadyExists, Some("NamespaceAlreadyExistsFailure")));
    let request = DescribeNamespaceRequest { namespace: "fresh".into(), ..Default::default() };
    let info = server.workflow().describe_namespace(request).await.expect("known").into_inner().namespace_info;
    assert!(info.expect("info").capabilities.is_some());
}

#[tokio::test]
async fn what_the_server_says_of_itself_is_true() {
    let server = TestServer::start().await;
    let info = server.workflow().get_system_info(GetSystemInfoRequest {}).await.expect("answers").into_inner();
    let capabilities = info.capabilities.expect("capabilities");
    assert!(capabilities.signal_and_query_header && capabilities.internal_error_differentiation && capabilities.eager_workflow_start);
    assert!(capabilities.supports_schedules && capabilities.build_id_based_versioning && capabilities.nexus);
    let cluster = server.workflow().get_cluster_info(GetClusterInfoRequest {}).await.expect("answers").into_inner();
    assert_eq!((cluster.server_version, cluster.persistence_store.as_str()), (info.server_version, "memory"));
}

#[tokio::test]
async fn a_client_that_is_too_new_is_refused() {
    let server = TestServer::start().await;
    let mut request = Request::new(StartWorkflowExecutionRequest { namespace: "default".into(), ..Default::default() });
    request.metadata_mut().insert("client-name", "temporal-go".parse().expect("a value"));
    request.metadata_mut().insert("client-version", "2.0.0".parse().expect("a value"));
    let (code, _, detail) = read(&server.workflow().start_workflow_execution(request).await.expect_err("too new"));
    assert_eq!((code, detail.map(|(name, _)| name).as_deref()), (Code::FailedPrecondition, Some("ClientVersionNotSupportedFailure")));
}

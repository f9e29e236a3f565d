//! Health and reflection.

use sempre_api::grpc::health::v1::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic::Code;

use crate::support::{TestServer, raw_call};

#[tokio::test]
async fn health_says_serving_for_the_names_that_are_asked_for() {
    let server = TestServer::start().await;
    let mut client = HealthClient::new(server.channel.clone());
    for service in [
        "",
        "temporal.api.workflowservice.v1.WorkflowService",
        "temporal.api.operatorservice.v1.OperatorService",
        "temporal.server.api.adminservice.v1.AdminService",
    ] {
        let answer = client.check(HealthCheckRequest { service: service.into() }).await.expect("known");
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let status = client.check(HealthCheckRequest { service: "other".into() }).await.expect_err("unknown");
    assert_eq!(status.code(), Code::NotFound);

    let mut watch = client.watch(HealthCheckRequest::default()).await.expect("watches").into_inner();
    let first = watch.message().await.expect("one message").expect("one message");
    assert_eq!(first.status(), ServingStatus::Serving);
}

#[tokio::test]
async fn reflection_names_the_services() {
    let server = TestServer::start().await;
    // ServerReflectionRequest { list_services: "*" }: field 7.
    let request = b"\x3a\x01*";
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let answer = raw_call(&server.channel, &path, request, false).await.expect("answers").expect("one message");
        for service in ["temporal.api.workflowservice.v1.WorkflowService", "grpc.health.v1.Health", "sempre.v1.InspectService"] {
            assert!(answer.windows(service.len()).any(|bytes| bytes == service.as_bytes()), "{version} {service}");
        }
    }
}

//! The gRPC health service: SDKs and probes ask it before they begin (spec 09 §4.2).
//!
//! While calls are answered at all, every service of ours serves; a server that shuts down does not answer.

use futures::{StreamExt, stream};
use sempre_api::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health};
use tonic::{Request, Response, Status, codegen::BoxStream};

/// The names that are asked for; the empty one is the server as a whole.
const NAMES: &[&str] = &[
    "",
    "temporal.api.workflowservice.v1.WorkflowService",
    "temporal.api.operatorservice.v1.OperatorService",
    "temporal.server.api.adminservice.v1.AdminService",
];

#[derive(Debug)]
pub(crate) struct HealthService;

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if NAMES.contains(&request.get_ref().service.as_str()) {
            return Ok(Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() }));
        }
        Err(Status::not_found("unknown service"))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<BoxStream<HealthCheckResponse>>, Status> {
        let known = NAMES.contains(&request.get_ref().service.as_str());
        let status = if known { ServingStatus::Serving } else { ServingStatus::ServiceUnknown };
        // One message, then silence: the status does not change while the connection stands.
        let first = stream::once(async move { Ok(HealthCheckResponse { status: status.into() }) });
        Ok(Response::new(Box::pin(first.chain(stream::pending()))))
    }
}

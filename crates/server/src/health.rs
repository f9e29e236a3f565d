//! The gRPC health service: SDKs and probes ask it before they begin (spec 09 §4.2).
//!
//! While calls are answered at all, every service of ours serves, except while no change of a run can be taken (the index
//! of runs fails for good); a server that shuts down does not answer.

use futures::stream;
use sempre_api::grpc::health::v1::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus, health_server::Health};
use sempre_engine::Engine;
use tonic::{Request, Response, Status, codegen::BoxStream};

/// The names that are asked for; the empty one is the server as a whole.
const NAMES: &[&str] = &[
    "",
    "temporal.api.workflowservice.v1.WorkflowService",
    "temporal.api.operatorservice.v1.OperatorService",
    "temporal.server.api.adminservice.v1.AdminService",
];

pub(crate) struct HealthService {
    pub(crate) engine: Engine,
}

fn status(held_back: bool) -> HealthCheckResponse {
    let status = if held_back { ServingStatus::NotServing } else { ServingStatus::Serving };
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        if NAMES.contains(&request.get_ref().service.as_str()) {
            return Ok(Response::new(status(self.engine.held_back().is_some())));
        }
        Err(Status::not_found("unknown service"))
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<BoxStream<HealthCheckResponse>>, Status> {
        if !NAMES.contains(&request.get_ref().service.as_str()) {
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            // One message, then silence: what is unknown stays so.
            let first = stream::once(async move { Ok(unknown) });
            return Ok(Response::new(Box::pin(futures::StreamExt::chain(first, stream::pending()))));
        }
        let changes = stream::unfold((self.engine.clone(), None), async |(engine, told): (Engine, Option<bool>)| {
            if let Some(told) = told {
                engine.until_held_back(!told).await;
            }
            let now = told.map_or_else(|| engine.held_back().is_some(), |told| !told);
            Some((Ok(status(now)), (engine, Some(now))))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

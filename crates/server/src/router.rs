//! From an HTTP request to the service it names; what holds for every call is done here.
//!
//! Bounds the message (`frames`), keeps to the caller's deadline, and turns a panic into a masked
//! INTERNAL instead of a broken connection. Knows no method.
#![expect(clippy::disallowed_methods, reason = "a caller's deadline is counted by the wall clock")]

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt;
use http_body::Body;
use sempre_api::{
    grpc::health::v1::health_server::HealthServer,
    sempre::v1::{
        flow_service_server::FlowServiceServer, inspect_service_server::InspectServiceServer, operate_service_server::OperateServiceServer,
        steer_service_server::SteerServiceServer, storage_service_server::StorageServiceServer,
        version_service_server::VersionServiceServer,
    },
    v1::{
        operatorservice::operator_service_server::OperatorServiceServer, testservice::test_service_server::TestServiceServer,
        workflowservice::workflow_service_server::WorkflowServiceServer,
    },
};
use sempre_core::Refusal;
use tokio::time::Instant;
use tonic::{Code, Status, codegen::Service};

use crate::{
    deadline,
    frames::{BoundedMessages, MESSAGE_BYTES_MAX},
    frontend::Frontend,
    health::HealthService,
    long_calls::LongCalls,
    reflection::{self, Reflection},
    requests::Requests,
    status,
    test_service::TimeService,
};

type Response = http::Response<tonic::body::Body>;

/// All services of one server; cheap to clone.
#[derive(Clone)]
pub(crate) struct Router {
    workflow: WorkflowServiceServer<Frontend>,
    operator: OperatorServiceServer<Frontend>,
    test: TestServiceServer<TimeService>,
    flow: FlowServiceServer<Frontend>,
    inspect: InspectServiceServer<Frontend>,
    steer: SteerServiceServer<Frontend>,
    storage: StorageServiceServer<Frontend>,
    operate: OperateServiceServer<Frontend>,
    version: VersionServiceServer<Frontend>,
    health: HealthServer<HealthService>,
    reflection: Arc<Reflection>,
    requests: Arc<Requests>,
    long_calls: Arc<LongCalls>,
}

impl Router {
    pub(crate) fn new(frontend: Frontend) -> Self {
        let time = TimeService::new(frontend.engine.virtual_time().cloned());
        let health = HealthService { engine: frontend.engine.clone() };
        let long_calls = Arc::clone(&frontend.long_calls);
        let frontend = Arc::new(frontend);
        // The codec's own limit must not be the one that refuses: it would do so with the wrong code.
        let decode_max = MESSAGE_BYTES_MAX + 1;
        Self {
            workflow: WorkflowServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            operator: OperatorServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            steer: SteerServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            storage: StorageServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            flow: FlowServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            inspect: InspectServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            version: VersionServiceServer::from_arc(Arc::clone(&frontend)).max_decoding_message_size(decode_max),
            operate: OperateServiceServer::from_arc(frontend).max_decoding_message_size(decode_max),
            test: TestServiceServer::new(time),
            health: HealthServer::new(health),
            reflection: Arc::default(),
            requests: Arc::new(Requests::new()),
            long_calls,
        }
    }

    /// Calls that may take long, whichever way they come.
    pub(crate) fn long_calls(&self) -> &Arc<LongCalls> {
        &self.long_calls
    }

    /// What has been called.
    pub(crate) fn requests(&self) -> &Requests {
        &self.requests
    }

    /// Answers one call. Dropping the future gives the call up.
    pub(crate) async fn call<B>(&self, request: http::Request<B>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let count = self.requests.begin(request.uri().path());
        let begun = Instant::now();
        let response = self.answer(request).await;
        // What is refused says so before its body.
        let code = response.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        count.end(code, begun.elapsed());
        response
    }

    async fn answer<B>(&self, request: http::Request<B>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let path = request.uri().path().to_owned();
        let timeout = deadline::timeout(request.headers());
        let answer = AssertUnwindSafe(self.dispatch(BoundedMessages::new(request))).catch_unwind();
        let answer = match timeout {
            None => answer.await,
            Some(span) => match tokio::time::timeout(Duration::from_nanos(span.0.unsigned_abs()), answer).await {
                Ok(answer) => answer,
                Err(_) => {
                    let refusal = Refusal::DeadlineExceeded("context deadline exceeded".into());
                    return status::from_refusal(refusal).into_http();
                }
            },
        };
        answer.unwrap_or_else(|panic| status::masked(&path, panic_text(panic.as_ref())).into_http())
    }

    async fn dispatch<B>(&self, request: http::Request<BoundedMessages<B>>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let path = request.uri().path();
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service);
        // The generated services keep their settings in themselves; a clone is a few words.
        let answer = match service {
            "temporal.api.workflowservice.v1.WorkflowService" => self.workflow.clone().call(request).await,
            "temporal.api.operatorservice.v1.OperatorService" => self.operator.clone().call(request).await,
            "temporal.api.testservice.v1.TestService" => self.test.clone().call(request).await,
            "sempre.v1.FlowService" => self.flow.clone().call(request).await,
            "sempre.v1.InspectService" => self.inspect.clone().call(request).await,
            "sempre.v1.SteerService" => self.steer.clone().call(request).await,
            "sempre.v1.StorageService" => self.storage.clone().call(request).await,
            "sempre.v1.OperateService" => self.operate.clone().call(request).await,
            "sempre.v1.VersionService" => self.version.clone().call(request).await,
            "grpc.health.v1.Health" => self.health.clone().call(request).await,
            reflection::V1 => self.reflection.v1(request.map(tonic::body::Body::new)).await,
            reflection::V1_ALPHA => self.reflection.v1alpha(request.map(tonic::body::Body::new)).await,
            _ => Ok(Status::unimplemented(format!("unknown service {service}")).into_http()),
        };
        answer.unwrap_or_else(|never| match never {})
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without text")
}

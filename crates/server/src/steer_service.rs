//! SteerService: what Sempre does to runs beyond Temporal's API (`crates/api/proto/sempre/v1/steer.proto`).

use sempre_api::sempre::v1::{
    ForkWorkflowExecutionRequest, ForkWorkflowExecutionResponse, PreviewBatchOperationRequest, PreviewBatchOperationResponse,
    RunActivityNowRequest, RunActivityNowResponse, StartBatchForkRequest, StartBatchForkResponse, steer_service_server::SteerService,
};
use tonic::Request;

use crate::frontend::{Answer, Frontend, answer};

#[tonic::async_trait]
impl SteerService for Frontend {
    async fn fork_workflow_execution(&self, request: Request<ForkWorkflowExecutionRequest>) -> Answer<ForkWorkflowExecutionResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.fork_workflow(call.body).await)
    }

    async fn preview_batch_operation(&self, request: Request<PreviewBatchOperationRequest>) -> Answer<PreviewBatchOperationResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.preview_batch(call.body).await)
    }

    async fn start_batch_fork(&self, request: Request<StartBatchForkRequest>) -> Answer<StartBatchForkResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.start_batch_fork(call.body).await)
    }

    async fn run_activity_now(&self, request: Request<RunActivityNowRequest>) -> Answer<RunActivityNowResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.run_activity_now(call.body).await)
    }
}

//! InspectService: what Sempre knows beyond Temporal's API (`crates/api/proto/sempre/v1/inspect.proto`).

use sempre_api::sempre::v1::{
    DescribeNamespaceLimitsRequest, DescribeNamespaceLimitsResponse, ListActivityAttemptsRequest, ListActivityAttemptsResponse,
    ListPolledQueuesRequest, ListPolledQueuesResponse, ListSkippedActionsRequest, ListSkippedActionsResponse,
    inspect_service_server::InspectService,
};
use tonic::Request;

use crate::frontend::{Answer, Frontend, answer};

#[tonic::async_trait]
impl InspectService for Frontend {
    async fn list_activity_attempts(&self, request: Request<ListActivityAttemptsRequest>) -> Answer<ListActivityAttemptsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_activity_attempts(call.body).await)
    }

    async fn list_skipped_actions(&self, request: Request<ListSkippedActionsRequest>) -> Answer<ListSkippedActionsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_skipped_actions(call.body).await)
    }

    async fn list_polled_queues(&self, request: Request<ListPolledQueuesRequest>) -> Answer<ListPolledQueuesResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.list_polled_queues(&call.body))
    }

    async fn describe_namespace_limits(&self, request: Request<DescribeNamespaceLimitsRequest>) -> Answer<DescribeNamespaceLimitsResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.describe_namespace_limits(call.body).await)
    }
}

//! OperateService: what operators do beyond Temporal's API (`crates/api/proto/sempre/v1/operate.proto`).

use sempre_api::sempre::v1::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeVisibilityRequest, DescribeVisibilityResponse, RebuildVisibilityRequest,
    RebuildVisibilityResponse, RenameSearchAttributeRequest, RenameSearchAttributeResponse, VisibilityFailure, VisibilityIndex,
    VisibilityRebuild, operate_service_server::OperateService,
};
use sempre_engine::{IndexStatus, RebuildProgress};
use tonic::Request;

use crate::{
    client_version,
    frontend::{Answer, Frontend, answer},
};

fn number<N: TryInto<i64>>(n: N) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

fn rebuild(progress: RebuildProgress) -> Option<VisibilityRebuild> {
    Some(VisibilityRebuild {
        running: progress.running,
        slots_done: progress.slots.into(),
        runs: number(progress.runs),
        damaged: number(progress.damaged),
        finished: number(progress.finished),
    })
}

fn described(status: IndexStatus) -> DescribeVisibilityResponse {
    DescribeVisibilityResponse {
        rebuild: rebuild(status.rebuild),
        waiting_records: number(status.waiting_records),
        waiting_bytes: number(status.waiting_bytes),
        index: status.stats.map(|stats| VisibilityIndex { runs: number(stats.records), bytes: number(stats.bytes) }),
        failure: status.failure.map(|failure| VisibilityFailure {
            since: Some(failure.since.to_api()),
            times: number(failure.times),
            reason: failure.error.to_string(),
        }),
        holds_work_back: status.holds_work_back,
        needs_rebuild: status.needs_rebuild.unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl OperateService for Frontend {
    async fn rebuild_visibility(&self, request: Request<RebuildVisibilityRequest>) -> Answer<RebuildVisibilityResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(self.engine.rebuild_visibility().map(|progress| RebuildVisibilityResponse { rebuild: rebuild(progress) }))
    }

    async fn describe_visibility(&self, request: Request<DescribeVisibilityRequest>) -> Answer<DescribeVisibilityResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(Ok(described(self.engine.visibility_status().await)))
    }

    async fn describe_cluster(&self, request: Request<DescribeClusterRequest>) -> Answer<DescribeClusterResponse> {
        client_version::check(request.metadata().as_ref())?;
        #[cfg(feature = "postgres")]
        if let Some(node) = &self.node {
            return answer(Ok(crate::node::status::described(node).await));
        }
        answer(Ok(DescribeClusterResponse::default()))
    }

    async fn rename_search_attribute(&self, request: Request<RenameSearchAttributeRequest>) -> Answer<RenameSearchAttributeResponse> {
        let call = self.admit(request).await?;
        answer(self.engine.rename_search_attribute(call.body).await)
    }
}

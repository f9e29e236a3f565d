//! OperateService: what operators do beyond Temporal's API (`crates/api/proto/sempre/v1/operate.proto`).

use sempre_api::sempre::v1::{
    DescribeVisibilityRequest, DescribeVisibilityResponse, RebuildVisibilityRequest, RebuildVisibilityResponse, VisibilityRebuild,
    operate_service_server::OperateService,
};
use sempre_engine::RebuildProgress;
use tonic::Request;

use crate::{
    client_version,
    frontend::{Answer, Frontend, answer},
};

fn rebuild(progress: RebuildProgress) -> Option<VisibilityRebuild> {
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    Some(VisibilityRebuild {
        running: progress.running,
        slots_done: progress.slots.into(),
        runs: count(progress.runs),
        damaged: count(progress.damaged),
        finished: count(progress.finished),
    })
}

#[tonic::async_trait]
impl OperateService for Frontend {
    async fn rebuild_visibility(&self, request: Request<RebuildVisibilityRequest>) -> Answer<RebuildVisibilityResponse> {
        client_version::check(request.metadata().as_ref())?;
        answer(Ok(RebuildVisibilityResponse { rebuild: rebuild(self.engine.rebuild_visibility()) }))
    }

    async fn describe_visibility(&self, request: Request<DescribeVisibilityRequest>) -> Answer<DescribeVisibilityResponse> {
        client_version::check(request.metadata().as_ref())?;
        let (records, bytes) = self.engine.visibility_waiting();
        answer(Ok(DescribeVisibilityResponse {
            rebuild: rebuild(self.engine.visibility_progress()),
            waiting_records: i64::try_from(records).unwrap_or(i64::MAX),
            waiting_bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        }))
    }
}

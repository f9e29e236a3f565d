//! Task queues as operators and workers see them.

use sempre_api::v1::{
    enums::TaskQueueType,
    taskqueue::{PollerInfo, TaskQueueStats, TaskQueueStatus},
    workflowservice::{DescribeTaskQueueRequest, DescribeTaskQueueResponse, ShutdownWorkerRequest, ShutdownWorkerResponse},
};
use sempre_core::{
    Refusal,
    transition::{QueueKind, QueueName},
};

use super::polls::queue_of;
use crate::Engine;

impl Engine {
    /// `ShutdownWorker`: the worker's sticky queue is unloaded, so that its runs go to others at once.
    pub async fn shutdown_worker(&self, request: ShutdownWorkerRequest) -> Result<ShutdownWorkerResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        if !request.sticky_task_queue.is_empty() {
            let queue = QueueName { namespace: namespace.id(), name: request.sticky_task_queue, kind: QueueKind::Workflow, sticky: true };
            self.shared.matching.unload_sticky(&queue);
        }
        Ok(ShutdownWorkerResponse::default())
    }

    /// `DescribeTaskQueue`: pollers of the last five minutes and the backlog.
    #[allow(deprecated, reason = "the status block is what older clients ask for")]
    pub async fn describe_task_queue(&self, request: DescribeTaskQueueRequest) -> Result<DescribeTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let kind = if request.task_queue_type == TaskQueueType::Activity as i32 { QueueKind::Activity } else { QueueKind::Workflow };
        let queue = queue_of(&namespace, request.task_queue, kind)?;
        let view = self.shared.matching.view(&queue);
        let now = self.now();
        let backlog = view.backlog as i64;
        let mut pollers = view.pollers;
        pollers.sort_by_key(|(_, seen)| std::cmp::Reverse(*seen));
        let pollers = pollers
            .into_iter()
            .map(|(identity, seen)| PollerInfo {
                identity,
                last_access_time: Some(seen.to_api()),
                rate_per_second: 100_000.0,
                ..Default::default()
            })
            .collect();
        let stats = request.report_stats.then(|| TaskQueueStats {
            approximate_backlog_count: backlog,
            approximate_backlog_age: Some(view.oldest.map_or(sempre_core::Span::ZERO, |t| now.since(t)).to_api()),
            ..Default::default()
        });
        let task_queue_status =
            request.include_task_queue_status.then(|| TaskQueueStatus { backlog_count_hint: backlog, ..Default::default() });
        Ok(DescribeTaskQueueResponse { pollers, stats, task_queue_status, ..Default::default() })
    }
}

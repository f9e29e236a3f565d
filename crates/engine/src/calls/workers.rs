//! Workers: what they say of themselves, and that they leave (spec 05 §8, §14).

use std::sync::Arc;

use bytes::Bytes;
use sempre_api::v1::{
    enums::TaskQueueType,
    worker::{WorkerHeartbeat, WorkerInfo, WorkerListInfo},
    workflowservice::{
        CountWorkersRequest, CountWorkersResponse, DescribeWorkerRequest, DescribeWorkerResponse, ListWorkersRequest, ListWorkersResponse,
        RecordWorkerHeartbeatRequest, RecordWorkerHeartbeatResponse, ShutdownWorkerRequest, ShutdownWorkerResponse,
    },
};
use sempre_core::{
    Refusal,
    transition::{QueueKind, QueueName},
};

use super::describe_queue::kind_of;
use crate::{Engine, matching::caller::Instance, namespaces::Namespace, workers::filter::Filter};

/// Workers of one page; a larger or no page size gives as many.
const PAGE_MAX: usize = 1000;
/// First byte of page tokens; the key of the page's last worker follows.
const TOKEN_MARK: u8 = 0x77;

fn token_after(key: &str) -> Bytes {
    [&[TOKEN_MARK], key.as_bytes()].concat().into()
}

pub(super) fn parse_token(token: &[u8]) -> Result<Option<&str>, Refusal> {
    if token.is_empty() {
        return Ok(None);
    }
    let key = token.strip_prefix(&[TOKEN_MARK]).and_then(|key| std::str::from_utf8(key).ok());
    key.map(Some).ok_or_else(|| Refusal::invalid("invalid next_page_token"))
}

fn info(worker: &Arc<WorkerHeartbeat>) -> WorkerInfo {
    WorkerInfo { worker_heartbeat: Some((**worker).clone()) }
}

fn list_info(worker: &Arc<WorkerHeartbeat>) -> WorkerListInfo {
    let worker = (**worker).clone();
    let host = worker.host_info.unwrap_or_default();
    WorkerListInfo {
        worker_instance_key: worker.worker_instance_key,
        worker_identity: worker.worker_identity,
        task_queue: worker.task_queue,
        deployment_version: worker.deployment_version,
        sdk_name: worker.sdk_name,
        sdk_version: worker.sdk_version,
        status: worker.status,
        start_time: worker.start_time,
        host_name: host.host_name,
        worker_grouping_key: host.worker_grouping_key,
        process_id: host.process_id,
        plugins: worker.plugins,
        drivers: worker.drivers,
    }
}

impl Engine {
    /// `RecordWorkerHeartbeat`. Taken and forgotten where heartbeats are switched off.
    pub async fn record_worker_heartbeat(&self, request: RecordWorkerHeartbeatRequest) -> Result<RecordWorkerHeartbeatResponse, Refusal> {
        if self.shared.settings.worker_heartbeats {
            let namespace = self.namespace(&request.namespace)?;
            self.shared.workers.record(namespace.id(), request.worker_heartbeat, self.wall_now());
        }
        Ok(RecordWorkerHeartbeatResponse::default())
    }

    /// `ListWorkers`, in the order of their keys. No worker here is the system's own.
    #[allow(deprecated, reason = "older clients read the old list")]
    pub async fn list_workers(&self, request: ListWorkersRequest) -> Result<ListWorkersResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let filter = Filter::parse(&request.query)?;
        let after = parse_token(&request.next_page_token)?;
        let max = usize::try_from(request.page_size).ok().filter(|size| *size > 0).map_or(PAGE_MAX, |size| size.min(PAGE_MAX));
        let listed = self.shared.workers.list(namespace.id(), &filter, after, max, self.wall_now());
        let last = listed.workers.last().filter(|_| listed.more);
        Ok(ListWorkersResponse {
            workers_info: listed.workers.iter().map(info).collect(),
            workers: listed.workers.iter().map(list_info).collect(),
            next_page_token: last.map(|worker| token_after(&worker.worker_instance_key)).unwrap_or_default(),
        })
    }

    /// `CountWorkers`.
    pub async fn count_workers(&self, request: CountWorkersRequest) -> Result<CountWorkersResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let filter = Filter::parse(&request.query)?;
        let count = self.shared.workers.count(namespace.id(), &filter, self.wall_now());
        Ok(CountWorkersResponse { count: i64::try_from(count).unwrap_or(i64::MAX) })
    }

    /// `DescribeWorker`: its last heartbeat.
    pub async fn describe_worker(&self, request: DescribeWorkerRequest) -> Result<DescribeWorkerResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let known = self.shared.workers.get(namespace.id(), &request.worker_instance_key, self.wall_now());
        let worker = known.ok_or_else(|| Refusal::not_found(format!("Worker {} not found", request.worker_instance_key)))?;
        Ok(DescribeWorkerResponse { worker_info: Some(info(&worker)) })
    }

    /// `ShutdownWorker`: the worker's polls end, and its sticky queue is unloaded, so that its runs go to others at once.
    ///
    /// Polls end on all queues when the request names the worker's process and a queue. On the queue that it names, the
    /// worker is no longer shown as a poller. Its last heartbeat is kept like any other.
    pub async fn shutdown_worker(&self, request: ShutdownWorkerRequest) -> Result<ShutdownWorkerResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let matching = &self.shared.matching;
        if self.shared.settings.end_polls_on_shutdown
            && !request.task_queue.is_empty()
            && let Some(instance) = Instance::new(namespace.id(), &request.worker_instance_key)
        {
            matching.end_polls(instance);
            self.forget_worker(&namespace, &request);
        }
        if self.shared.settings.worker_heartbeats {
            self.shared.workers.record(namespace.id(), request.worker_heartbeat, self.wall_now());
        }
        if !request.sticky_task_queue.is_empty() {
            let queue = QueueName {
                namespace: namespace.id(),
                name: request.sticky_task_queue,
                kind: QueueKind::Workflow,
                sticky: true,
                version: None,
            };
            matching.unload_sticky(&queue);
        }
        Ok(ShutdownWorkerResponse::default())
    }

    /// Shows the worker no longer on its queue.
    fn forget_worker(&self, namespace: &Namespace, request: &ShutdownWorkerRequest) {
        let both = [TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32];
        let types = if request.task_queue_types.is_empty() { &both[..] } else { &request.task_queue_types };
        for kind in types.iter().filter_map(|task_type| kind_of(*task_type)) {
            let queue = QueueName { namespace: namespace.id(), name: request.task_queue.clone(), kind, sticky: false, version: None };
            self.shared.matching.forget_poller(&queue, &request.identity);
        }
    }
}

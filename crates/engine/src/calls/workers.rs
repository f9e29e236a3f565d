//! Workers that come and go.

use sempre_api::v1::{
    enums::TaskQueueType,
    workflowservice::{ShutdownWorkerRequest, ShutdownWorkerResponse},
};
use sempre_core::{
    Refusal,
    transition::{QueueKind, QueueName},
};

use super::describe_queue::kind_of;
use crate::{Engine, matching::caller::Instance, namespaces::Namespace};

impl Engine {
    /// `ShutdownWorker`: the worker's polls end, and its sticky queue is unloaded, so that its runs go to others at once.
    ///
    /// Polls end on all queues when the request names the worker's process and a queue. On the queue that it names, the
    /// worker is no longer shown as a poller.
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
        if !request.sticky_task_queue.is_empty() {
            let queue = QueueName { namespace: namespace.id(), name: request.sticky_task_queue, kind: QueueKind::Workflow, sticky: true };
            matching.unload_sticky(&queue);
        }
        Ok(ShutdownWorkerResponse::default())
    }

    /// Shows the worker no longer on its queue.
    fn forget_worker(&self, namespace: &Namespace, request: &ShutdownWorkerRequest) {
        let both = [TaskQueueType::Workflow as i32, TaskQueueType::Activity as i32];
        let types = if request.task_queue_types.is_empty() { &both[..] } else { &request.task_queue_types };
        for kind in types.iter().filter_map(|task_type| kind_of(*task_type)) {
            let queue = QueueName { namespace: namespace.id(), name: request.task_queue.clone(), kind, sticky: false };
            self.shared.matching.forget_poller(&queue, &request.identity);
        }
    }
}

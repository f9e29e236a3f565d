//! Long polls for Nexus tasks (spec 05 §2, §14).

use sempre_api::v1::workflowservice::{PollNexusTaskQueueRequest, PollNexusTaskQueueResponse};
use sempre_core::{Refusal, Timestamp};

use super::{check_identity, polls::checked_queue};
use crate::{
    Engine,
    matching::{caller::Instance, idle::Idle},
    shard::message::Started,
};

impl Engine {
    /// `PollNexusTaskQueue`. Waits like the other polls, and always comes back empty (no token): nothing makes Nexus
    /// tasks yet, for Nexus endpoints and operations are not built. Workers send this poll unasked, though, and one that
    /// was refused would sit in their client's retry pause and hold up their shutdown.
    ///
    /// It ends early when its worker shuts down or the server stops. The worker is not shown as a poller of the queue.
    /// Heartbeats of workers that come with the poll are recorded.
    pub async fn poll_nexus_task(
        &self,
        request: PollNexusTaskQueueRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollNexusTaskQueueResponse, Refusal> {
        if let Some(mut idle) = self.enter_nexus_poll(request)? {
            let shared = &self.shared;
            let until = shared.wait_until(shared.settings.poll_wait, deadline);
            tokio::select! {
                biased;
                () = idle.ended() => {}
                () = shared.wall.sleep_until(until) => {}
            }
        }
        Ok(PollNexusTaskQueueResponse::default())
    }

    /// Checks the request and lets go of it: the wait holds nothing of it.
    fn enter_nexus_poll(&self, request: PollNexusTaskQueueRequest) -> Result<Option<Idle<Started>>, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        check_identity(&request.identity)?;
        checked_queue(request.task_queue)?;
        if self.shared.settings.worker_heartbeats && !request.worker_heartbeat.is_empty() {
            self.shared.workers.record(namespace.id(), request.worker_heartbeat, self.wall_now());
        }
        Ok(self.shared.matching.idle(Instance::new(namespace.id(), &request.worker_instance_key)))
    }
}

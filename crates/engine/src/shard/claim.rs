//! A started task on its way to the worker whose poll it was started for.
//!
//! The task is durable before it is on its way. If the poll has gone, wherever the task is by then (in an output, in a
//! channel that nobody reads, beside a history that is being read), the run is told, and offers it to the next poll.

use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

use sempre_core::{Input, RunKey, transition::QueueKind};

use crate::shared::Shared;

/// See the module. Dropped undelivered, the run is told.
pub(crate) struct Claim {
    told: Option<(RunKey, Input)>,
    shared: Arc<Shared>,
}

impl Claim {
    /// The task of `kind` that this run has started for the poll of this request id.
    pub(crate) fn new(shared: Arc<Shared>, run: RunKey, kind: QueueKind, scheduled_event_id: i64, request_id: String) -> Self {
        let input = match kind {
            QueueKind::Workflow => Input::WorkflowTaskLost { request_id },
            // No run starts Nexus tasks.
            QueueKind::Activity | QueueKind::Nexus => Input::ActivityTaskLost { scheduled_event_id, request_id },
        };
        Self { told: Some((run, input)), shared }
    }

    /// The poll is being answered with it.
    pub(crate) fn delivered(mut self) {
        self.told = None;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some((run, input)) = self.told.take() else { return };
        // After a shutdown, and when the shard has no room for it, its timeout brings the task back.
        if !self.shared.stopping.load(Ordering::Acquire) {
            self.shared.stats.lost_polls.add(1);
            self.shared.order(run, input);
        }
    }
}

impl fmt::Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Claim").field(&self.told).finish()
    }
}

//! PollWorkflowExecutionTimeSkipping: waits for the end of a run's fast-forward, along its chain (spec 08 §6.2).

use sempre_api::v1::{
    common::TimeSkippingFastForwardInfo,
    enums::FastForwardPollingResult as Polled,
    workflowservice::{PollWorkflowExecutionTimeSkippingRequest, PollWorkflowExecutionTimeSkippingResponse},
};
use sempre_core::{
    Refusal, RunId, Timestamp, WorkflowKey,
    time_skipping::{self, FastForwardStatus},
};
use tokio::sync::oneshot;

use super::workflow_of;
use crate::{
    Engine,
    shard::message::{Ask, Body, FastForward},
    shared::internal,
};

const UNKNOWN: &str = "the requested fast_forward_id does not match the execution's current fast-forward";
const RESET: &str = "the fast-forward was reset";
const ENDED: &str = "the execution ended before the fast-forward completed";
const DISABLED: &str = "time skipping was disabled before the fast-forward completed";

impl Engine {
    async fn fast_forward(
        &self,
        workflow: &WorkflowKey,
        run: Option<RunId>,
        id: &str,
        watch: oneshot::Sender<()>,
    ) -> Result<(RunId, FastForward), Refusal> {
        let answer = self.shared.ask(workflow.clone(), run, Ask::FastForward(id.to_owned(), watch)).await?;
        match answer.body {
            Body::FastForward(found) => Ok((answer.run, *found)),
            _ => Err(internal("a fast-forward")),
        }
    }

    /// `PollWorkflowExecutionTimeSkipping`.
    pub async fn poll_time_skipping(
        &self,
        request: PollWorkflowExecutionTimeSkippingRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollWorkflowExecutionTimeSkippingResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (workflow, mut run) = workflow_of(namespace.id(), request.workflow_execution)?;
        time_skipping::check_enabled(&self.shared.settings.limits)?;
        if request.fast_forward_id.trim().is_empty() {
            return Err(Refusal::invalid(time_skipping::ID_NOT_SET));
        }
        let until = self.shared.wait_until(self.shared.settings.history_wait, deadline);
        let mut target = None;
        loop {
            let (watch, changed) = oneshot::channel();
            let (found_run, found) = self.fast_forward(&workflow, run, &request.fast_forward_id, watch).await?;
            run = Some(found_run);
            let info = found.info;
            let failed = match found.status {
                FastForwardStatus::Unknown => UNKNOWN,
                _ if is_other(&mut target, info.as_ref()) => RESET,
                FastForwardStatus::Completed => return Ok(answer(info, Polled::FastForwardCompleted, "")),
                FastForwardStatus::Closed if found.successor.is_some() => {
                    run = found.successor;
                    continue;
                }
                FastForwardStatus::Closed => ENDED,
                FastForwardStatus::Disabled => DISABLED,
                FastForwardStatus::Pending => {
                    if self.shared.wait(changed, until).await {
                        continue;
                    }
                    return Ok(answer(info, Polled::PollTimeout, ""));
                }
            };
            return Ok(answer(info, Polled::FastForwardFailed, failed));
        }
    }
}

/// It ends elsewhere than when it was first looked at.
fn is_other(first: &mut Option<sempre_api::Timestamp>, info: Option<&TimeSkippingFastForwardInfo>) -> bool {
    let target = info.and_then(|info| info.target_time);
    *first.get_or_insert_with(|| target.unwrap_or_default()) != target.unwrap_or_default()
}

fn answer(info: Option<TimeSkippingFastForwardInfo>, result: Polled, failed: &str) -> PollWorkflowExecutionTimeSkippingResponse {
    PollWorkflowExecutionTimeSkippingResponse {
        fast_forward_polling_result: result as i32,
        failed_reason: failed.into(),
        fast_forward_info: info,
    }
}

//! Pausing and resuming runs (spec 01 §15).

use sempre_api::v1::{
    common::WorkflowExecution,
    workflowservice::{
        PauseWorkflowExecutionRequest, PauseWorkflowExecutionResponse, UnpauseWorkflowExecutionRequest, UnpauseWorkflowExecutionResponse,
    },
};
use sempre_core::{Input, Refusal, input::PauseRequest};

use super::looked_up;
use crate::Engine;

impl Engine {
    /// `PauseWorkflowExecution`.
    pub async fn pause_workflow(&self, request: PauseWorkflowExecutionRequest) -> Result<PauseWorkflowExecutionResponse, Refusal> {
        if !self.shared.settings.limits.workflow_pause {
            return Err(Refusal::Unimplemented(format!("workflow pause is not enabled for namespace: {}", request.namespace)));
        }
        let namespace = self.namespace(&request.namespace)?;
        let execution = WorkflowExecution { workflow_id: request.workflow_id, run_id: request.run_id };
        let (workflow, run) = looked_up(namespace.id(), Some(execution))?;
        let pause = PauseRequest { identity: request.identity, reason: request.reason, request_id: request.request_id };
        self.shared.apply(workflow, run, Input::Pause(Box::new(pause))).await?;
        Ok(PauseWorkflowExecutionResponse {})
    }

    /// `UnpauseWorkflowExecution`. Works also where pausing is switched off.
    pub async fn unpause_workflow(&self, request: UnpauseWorkflowExecutionRequest) -> Result<UnpauseWorkflowExecutionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let execution = WorkflowExecution { workflow_id: request.workflow_id, run_id: request.run_id };
        let (workflow, run) = looked_up(namespace.id(), Some(execution))?;
        let unpause = PauseRequest { identity: request.identity, reason: request.reason, request_id: request.request_id };
        self.shared.apply(workflow, run, Input::Unpause(Box::new(unpause))).await?;
        Ok(UnpauseWorkflowExecutionResponse {})
    }
}

//! `workflow pause` and `workflow unpause`.

use clap::Args;
use sempre_api::v1::workflowservice::{PauseWorkflowExecutionRequest, UnpauseWorkflowExecutionRequest};

use super::Reference;
use crate::cli::{
    Failure,
    session::{Session, request_id},
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

pub(crate) async fn pause(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = PauseWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id: options.reference.workflow_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        reason: options.reason.clone(),
        request_id: request_id(),
    };
    session.client().await?.workflow.pause_workflow_execution(request).await?;
    session.out.line("Workflow paused")
}

pub(crate) async fn unpause(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = UnpauseWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id: options.reference.workflow_id.clone(),
        run_id: options.reference.run_id.clone(),
        identity: session.identity(),
        reason: options.reason.clone(),
        request_id: request_id(),
    };
    session.client().await?.workflow.unpause_workflow_execution(request).await?;
    session.out.line("Workflow unpaused")
}

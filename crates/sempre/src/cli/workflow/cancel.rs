//! `workflow cancel`: asks one workflow or many to stop.

use clap::Args;
use sempre_api::v1::{
    batch::BatchOperationCancellation,
    workflowservice::{RequestCancelWorkflowExecutionRequest, start_batch_operation_request::Operation},
};

use super::Many;
use crate::cli::{
    Failure,
    session::{Session, request_id},
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Many,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let Some(execution) = options.target.one() else {
        let operation = BatchOperationCancellation { identity: session.identity() };
        return options.target.batch(session, Operation::CancellationOperation(operation)).await;
    };
    let request = RequestCancelWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution),
        identity: session.identity(),
        request_id: request_id(),
        reason: options.target.reason.clone().unwrap_or_default(),
        ..Default::default()
    };
    session.client().await?.workflow.request_cancel_workflow_execution(request).await?;
    session.out.line("Canceled workflow")
}

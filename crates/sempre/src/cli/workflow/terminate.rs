//! `workflow terminate`: closes one workflow or many at once.

use clap::Args;
use sempre_api::v1::{
    batch::BatchOperationTermination,
    workflowservice::{TerminateWorkflowExecutionRequest, start_batch_operation_request::Operation},
};

use super::Many;
use crate::cli::{Failure, session::Session};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Many,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let Some(execution) = options.target.one() else {
        let operation = BatchOperationTermination { identity: session.identity(), ..Default::default() };
        return options.target.batch(session, Operation::TerminationOperation(operation)).await;
    };
    let request = TerminateWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution),
        reason: options.target.reason(session),
        identity: session.identity(),
        ..Default::default()
    };
    session.client().await?.workflow.terminate_workflow_execution(request).await?;
    session.out.line("Workflow terminated")
}

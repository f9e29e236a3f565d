//! `workflow delete`: deletes one workflow or many, after asking.

use clap::Args;
use sempre_api::v1::{
    batch::BatchOperationDeletion,
    workflowservice::{DeleteWorkflowExecutionRequest, start_batch_operation_request::Operation},
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
        let operation = BatchOperationDeletion { identity: session.identity() };
        return options.target.batch(session, Operation::DeletionOperation(operation)).await;
    };
    let run = if execution.run_id.is_empty() { String::new() } else { format!(", run {}", execution.run_id) };
    session.confirm(&format!("Delete workflow {}{run} with its history?", execution.workflow_id), options.target.yes).await?;
    let request = DeleteWorkflowExecutionRequest { namespace: session.namespace(), workflow_execution: Some(execution) };
    session.client().await?.workflow.delete_workflow_execution(request).await?;
    session.out.line("Delete workflow succeeded")
}

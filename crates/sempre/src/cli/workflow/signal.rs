//! `workflow signal`: sends a signal to one workflow or to many.

use clap::Args;
use sempre_api::v1::{
    batch::BatchOperationSignal,
    workflowservice::{SignalWorkflowExecutionRequest, start_batch_operation_request::Operation},
};

use super::Many;
use crate::cli::{
    Failure,
    input::{self, InputFlags},
    session::{Session, request_id},
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Many,
    /// Name of the signal
    #[arg(long, alias = "type", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    input: InputFlags,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let (input, header) = (options.input.payloads()?, input::header(&options.target.headers));
    let Some(execution) = options.target.one() else {
        let identity = session.identity();
        let operation = BatchOperationSignal { signal: options.name.clone(), input, header, identity };
        return options.target.batch(session, Operation::SignalOperation(operation)).await;
    };
    let request = SignalWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution),
        signal_name: options.name.clone(),
        input,
        identity: session.identity(),
        request_id: request_id(),
        header,
        ..Default::default()
    };
    session.client().await?.workflow.signal_workflow_execution(request).await?;
    session.out.line("Signal workflow succeeded")
}

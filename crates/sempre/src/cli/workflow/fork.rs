//! `workflow fork`: goes on from any event of a run, in a new run; of many, when a query names them.

use clap::Args;
use prost::Message;
use sempre_api::sempre::v1::{ForkWorkflowExecutionRequest, StartBatchForkRequest};
use sempre_api::v1::{batch::BatchOperationDeletion, workflowservice::start_batch_operation_request::Operation};
use serde_json::json;

use super::{ask_about, preview, told_job};
use crate::cli::{
    Failure,
    input::InputFlags,
    session::{Session, request_id},
};

#[derive(Args)]
pub(crate) struct Options {
    /// The workflow
    #[arg(short, long, value_name = "ID", required_unless_present = "query", conflicts_with = "query")]
    workflow_id: Option<String>,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", requires = "workflow_id", default_value = "", hide_default_value = true)]
    run_id: String,
    /// List filter: fork all workflows that match, as a batch operation
    #[arg(short, long, value_name = "QUERY")]
    query: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// With a query: how many workflows a second
    #[arg(long, value_name = "NUMBER", conflicts_with = "workflow_id")]
    rps: Option<f32>,
    /// With a query: only tell how many workflows it would be, and some of them
    #[arg(long, conflicts_with = "workflow_id")]
    dry_run: bool,
    /// The last event that has been, for the new run; without it the last one there is
    #[arg(short, long, value_name = "NUMBER", default_value_t = 0, hide_default_value = true)]
    event_id: i64,
    /// Tell the new run signals, updates and options of later events too
    #[arg(long)]
    apply_later_events: bool,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// With another input, which begins the workflow anew
    #[command(flatten)]
    input: InputFlags,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let reason = options.reason.clone().unwrap_or_else(|| session.usual_reason());
    let input = options.input.payloads()?.map(|input| input.encode_to_vec().into());
    let Some(workflow_id) = options.workflow_id.clone() else {
        let query = options.query.clone().unwrap_or_default();
        if options.dry_run {
            // Deletions too take what the query finds, open and closed.
            return preview(session, query, Operation::DeletionOperation(BatchOperationDeletion { identity: session.identity() })).await;
        }
        if !options.yes {
            ask_about(session, &query).await?;
        }
        let job_id = request_id();
        let request = StartBatchForkRequest {
            namespace: session.namespace(),
            job_id: job_id.clone(),
            reason,
            identity: session.identity(),
            visibility_query: query,
            max_operations_per_second: options.rps.unwrap_or_default(),
            event_id: options.event_id,
            input,
            apply_later_events: options.apply_later_events,
            ..Default::default()
        };
        session.client().await?.steer.start_batch_fork(request).await?;
        return told_job(session, &job_id);
    };
    let request = ForkWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id: workflow_id.clone(),
        run_id: options.run_id.clone(),
        event_id: options.event_id,
        input,
        apply_later_events: options.apply_later_events,
        reason,
        identity: session.identity(),
        request_id: request_id(),
    };
    let answer = session.client().await?.steer.fork_workflow_execution(request).await?.into_inner();
    session.out.record(vec![
        ("workflowId", json!(workflow_id)),
        ("runId", json!(answer.run_id)),
        ("keptEventId", json!(answer.kept_event_id)),
    ])
}

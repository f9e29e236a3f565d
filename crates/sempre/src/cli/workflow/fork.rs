//! `workflow fork`: goes on from any event of a run, in a new run.

use clap::Args;
use prost::Message;
use sempre_api::sempre::v1::ForkWorkflowExecutionRequest;
use serde_json::json;

use super::Reference;
use crate::cli::{
    Failure,
    input::InputFlags,
    session::{Session, request_id},
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
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
    let request = ForkWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id: options.reference.workflow_id.clone(),
        run_id: options.reference.run_id.clone(),
        event_id: options.event_id,
        input: options.input.payloads()?.map(|input| input.encode_to_vec().into()),
        apply_later_events: options.apply_later_events,
        reason: options.reason.clone().unwrap_or_else(|| session.usual_reason()),
        identity: session.identity(),
        request_id: request_id(),
    };
    let answer = session.client().await?.steer.fork_workflow_execution(request).await?.into_inner();
    session.out.record(vec![
        ("workflowId", json!(options.reference.workflow_id)),
        ("runId", json!(answer.run_id)),
        ("keptEventId", json!(answer.kept_event_id)),
    ])
}

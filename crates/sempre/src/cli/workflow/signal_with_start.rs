//! `workflow signal-with-start`: sends a signal to a workflow, which is started if it does not run.

use clap::Args;
use sempre_api::v1::workflowservice::SignalWithStartWorkflowExecutionRequest;
use serde_json::json;

use super::start::{self, SharedStart, StartFlags};
use crate::cli::{
    Failure,
    input::{InputFlags, named_input},
    session::Session,
};

named_input!(SignalInput, "signal-input", "signal-input-file", "signal-input-meta", "signal-input-base64", "signal");

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    shared: SharedStart,
    #[command(flatten)]
    start: StartFlags,
    #[command(flatten)]
    input: InputFlags,
    /// Name of the signal
    #[arg(long, alias = "signal-type", value_name = "NAME")]
    signal_name: String,
    #[command(flatten)]
    signal: SignalInput,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    if options.shared.workflow_id.is_none() {
        return Err(Failure::usage("--workflow-id is needed: it says which workflow gets the signal"));
    }
    let start = start::request(session, &options.shared, &options.start, &options.input)?;
    let workflow_id = start.workflow_id.clone();
    let request = SignalWithStartWorkflowExecutionRequest {
        namespace: start.namespace,
        workflow_id: start.workflow_id,
        workflow_type: start.workflow_type,
        task_queue: start.task_queue,
        input: start.input,
        workflow_execution_timeout: start.workflow_execution_timeout,
        workflow_run_timeout: start.workflow_run_timeout,
        workflow_task_timeout: start.workflow_task_timeout,
        identity: start.identity,
        request_id: start.request_id,
        workflow_id_reuse_policy: start.workflow_id_reuse_policy,
        workflow_id_conflict_policy: start.workflow_id_conflict_policy,
        signal_name: options.signal_name.clone(),
        signal_input: options.signal.payloads()?,
        cron_schedule: start.cron_schedule,
        memo: start.memo,
        search_attributes: start.search_attributes,
        header: start.header,
        workflow_start_delay: start.workflow_start_delay,
        user_metadata: start.user_metadata,
        priority: start.priority,
        ..Default::default()
    };
    let answer = session.client().await?.workflow.signal_with_start_workflow_execution(request).await?.into_inner();
    let namespace = session.namespace();
    session.out.title("Running execution:")?;
    session.out.record(vec![
        ("workflowId", json!(workflow_id)),
        ("runId", json!(answer.run_id)),
        ("type", json!(options.shared.r#type)),
        ("namespace", json!(namespace)),
    ])
}

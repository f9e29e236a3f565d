//! `workflow start-update-with-start` and `execute-update-with-start`: an update to a workflow that is started if it does
//! not run, in one step.

use clap::{Args, ValueEnum};
use sempre_api::v1::common::WorkflowExecution;
use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    update::{Outcome, UpdateRef, WaitPolicy},
    workflowservice::{
        ExecuteMultiOperationRequest, UpdateWorkflowExecutionRequest,
        execute_multi_operation_request::{Operation, operation},
        execute_multi_operation_response::response,
    },
};
use serde_json::{Value, json};

use super::{
    start::{self, SharedStart, StartFlags},
    update,
};
use crate::cli::{
    Failure,
    input::{InputFlags, named_input},
    output::Record,
    session::{Session, request_id},
};

named_input!(UpdateInput, "update-input", "update-input-file", "update-input-meta", "update-input-base64", "update");

#[derive(Args)]
pub(crate) struct StartOptions {
    #[command(flatten)]
    common: Common,
    /// How far the update must have come
    #[arg(long, value_enum, value_name = "STAGE")]
    update_wait_for_stage: WaitForStage,
}

#[derive(Args)]
pub(crate) struct ExecuteOptions {
    #[command(flatten)]
    common: Common,
}

/// The stages that a start may wait for.
#[derive(Clone, Copy, ValueEnum)]
enum WaitForStage {
    Accepted,
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    shared: SharedStart,
    #[command(flatten)]
    start: StartFlags,
    #[command(flatten)]
    input: InputFlags,
    /// Name of the update
    #[arg(long, alias = "update-type", value_name = "NAME")]
    update_name: String,
    /// Id of the update; without it a new one is made
    #[arg(long, value_name = "ID")]
    update_id: Option<String>,
    /// First run of the chain that must be meant
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    update_first_execution_run_id: String,
    /// The run that must be meant
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    run_id: String,
    #[command(flatten)]
    update: UpdateInput,
}

pub(crate) async fn start(session: &mut Session, options: &StartOptions) -> Result<(), Failure> {
    let WaitForStage::Accepted = options.update_wait_for_stage;
    let sent = send(session, &options.common, Stage::Accepted).await?;
    update::refuse_failed(sent.outcome.as_ref())?;
    let record = record(session, &options.common, &sent);
    session.out.title("Running execution:")?;
    session.out.record(record)
}

pub(crate) async fn execute(session: &mut Session, options: &ExecuteOptions) -> Result<(), Failure> {
    let sent = send(session, &options.common, Stage::Completed).await?;
    let outcome = match sent.outcome.clone() {
        Some(outcome) => outcome,
        None => {
            update::wait(session, UpdateRef { workflow_execution: Some(sent.execution.clone()), update_id: sent.update_id.clone() }).await?
        }
    };
    update::refuse_failed(Some(&outcome))?;
    let mut record = record(session, &options.common, &sent);
    record.push(("updateResult", update::success(session, &outcome)));
    session.out.title("Running execution:")?;
    session.out.record(record)
}

struct Sent {
    execution: WorkflowExecution,
    update_id: String,
    outcome: Option<Outcome>,
}

async fn send(session: &mut Session, common: &Common, stage: Stage) -> Result<Sent, Failure> {
    if common.shared.workflow_id.is_none() {
        return Err(Failure::usage("--workflow-id is needed: it says which workflow gets the update"));
    }
    if common.start.id_conflict_policy.is_none() {
        return Err(Failure::usage("--id-conflict-policy is needed: it says what happens when the workflow runs already"));
    }
    let start = start::request(session, &common.shared, &common.start, &common.input)?;
    let update_id = common.update_id.clone().unwrap_or_else(request_id);
    let execution = WorkflowExecution { workflow_id: start.workflow_id.clone(), run_id: common.run_id.clone() };
    let update = UpdateWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution.clone()),
        first_execution_run_id: common.update_first_execution_run_id.clone(),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
        request: Some(update::request(session, &update_id, &common.update_name, common.update.payloads()?, &[])),
    };
    let operation = |operation| Operation { operation: Some(operation) };
    let request = ExecuteMultiOperationRequest {
        namespace: session.namespace(),
        operations: vec![operation(operation::Operation::StartWorkflow(start)), operation(operation::Operation::UpdateWorkflow(update))],
        ..Default::default()
    };
    // An answer that says admitted has waited as long as the server lets one call wait.
    loop {
        let answer = session.client().await?.workflow.execute_multi_operation(request.clone()).await?.into_inner();
        let (mut run_id, mut updated) = (String::new(), None);
        for response in answer.responses.into_iter().filter_map(|response| response.response) {
            match response {
                response::Response::StartWorkflow(started) => run_id = started.run_id,
                response::Response::UpdateWorkflow(answer) => updated = Some(answer),
            }
        }
        let updated = updated.unwrap_or_default();
        if updated.outcome.is_some() || updated.stage() >= Stage::Accepted {
            return Ok(Sent { execution: WorkflowExecution { run_id, ..execution }, update_id, outcome: updated.outcome });
        }
    }
}

fn record(session: &Session, common: &Common, sent: &Sent) -> Record {
    let text = |text: &str| -> Value { json!(text) };
    vec![
        ("workflowId", text(&sent.execution.workflow_id)),
        ("runId", text(&sent.execution.run_id)),
        ("type", text(&common.shared.r#type)),
        ("namespace", text(&session.settings.namespace)),
        ("updateName", text(&common.update_name)),
        ("updateId", text(&sent.update_id)),
    ]
}

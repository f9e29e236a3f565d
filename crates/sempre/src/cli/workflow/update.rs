//! `workflow update …`: sends an update, waits for it, looks at it.

use clap::{Args, Subcommand, ValueEnum};
use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    update::{Input, Meta, Outcome, Request, UpdateRef, WaitPolicy, outcome},
    workflowservice::{PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest},
};
use serde_json::{Value, json};

use super::{
    Reference,
    result::{failure_text, friendly},
};
use crate::cli::{
    Failure,
    input::{self, InputFlags},
    output::{Record, short_name},
    session::{Session, request_id},
    values,
};

#[derive(Subcommand)]
pub(crate) enum UpdateCommand {
    /// Send an update and wait until it is accepted or rejected
    Start(StartOptions),
    /// Send an update and wait for its result
    Execute(ExecuteOptions),
    /// Wait for the result of an update
    Result(Targeting),
    /// Show where an update stands
    Describe(Targeting),
}

#[derive(Args)]
pub(crate) struct StartOptions {
    #[command(flatten)]
    starting: Starting,
    #[command(flatten)]
    input: InputFlags,
    /// How far the update must have come
    #[arg(long, value_enum, value_name = "STAGE")]
    wait_for_stage: WaitForStage,
}

/// The stages that a start may wait for.
#[derive(Clone, Copy, ValueEnum)]
pub(super) enum WaitForStage {
    Accepted,
}

#[derive(Args)]
pub(crate) struct ExecuteOptions {
    #[command(flatten)]
    starting: Starting,
    #[command(flatten)]
    input: InputFlags,
}

#[derive(Args)]
struct Starting {
    #[command(flatten)]
    reference: Reference,
    /// Name of the update
    #[arg(long, alias = "type", value_name = "NAME")]
    name: String,
    /// Id of the update; without it a new one is made
    #[arg(long, value_name = "ID")]
    update_id: Option<String>,
    /// First run of the chain that must be meant
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    first_execution_run_id: String,
    /// Header; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    headers: Vec<(String, Value)>,
}

#[derive(Args)]
pub(crate) struct Targeting {
    #[command(flatten)]
    reference: Reference,
    /// Id of the update
    #[arg(long, value_name = "ID")]
    update_id: String,
}

pub(crate) async fn run(session: &mut Session, command: &UpdateCommand) -> Result<(), Failure> {
    match command {
        UpdateCommand::Start(options) => {
            let WaitForStage::Accepted = options.wait_for_stage;
            let id = options.starting.update_id.clone().unwrap_or_else(request_id);
            let outcome = send(session, &options.starting, &options.input, &id, Stage::Accepted).await?;
            refuse_failed(outcome.as_ref())?;
            session.out.record(vec![("name", json!(options.starting.name)), ("updateId", json!(id))])
        }
        UpdateCommand::Execute(options) => {
            let id = options.starting.update_id.clone().unwrap_or_else(request_id);
            let outcome = send(session, &options.starting, &options.input, &id, Stage::Completed).await?;
            let execution = options.starting.reference.execution();
            let outcome = match outcome {
                Some(outcome) => outcome,
                None => wait(session, UpdateRef { workflow_execution: Some(execution), update_id: id.clone() }).await?,
            };
            refuse_failed(Some(&outcome))?;
            let result = success(session, &outcome);
            session.out.record(vec![("name", json!(options.starting.name)), ("updateId", json!(id)), ("result", result)])
        }
        UpdateCommand::Result(options) => result(session, options).await,
        UpdateCommand::Describe(options) => describe(session, options).await,
    }
}

async fn send(
    session: &mut Session,
    starting: &Starting,
    input: &InputFlags,
    update_id: &str,
    stage: Stage,
) -> Result<Option<Outcome>, Failure> {
    let request = UpdateWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_execution: Some(starting.reference.execution()),
        first_execution_run_id: starting.first_execution_run_id.clone(),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
        request: Some(request(session, update_id, &starting.name, input.payloads()?, &starting.headers)),
    };
    // An answer that says admitted has waited as long as the server lets one call wait.
    loop {
        let answer = session.client().await?.workflow.update_workflow_execution(request.clone()).await?.into_inner();
        if answer.outcome.is_some() || answer.stage() >= Stage::Accepted {
            return Ok(answer.outcome);
        }
    }
}

/// The update itself, the same for starts with an update.
pub(super) fn request(
    session: &Session,
    update_id: &str,
    name: &str,
    args: Option<sempre_api::v1::common::Payloads>,
    headers: &[(String, Value)],
) -> Request {
    Request {
        meta: Some(Meta { update_id: update_id.to_owned(), identity: session.identity() }),
        input: Some(Input { header: input::header(headers), name: name.to_owned(), args }),
        ..Request::default()
    }
}

/// Waits for the outcome of an update.
pub(super) async fn wait(session: &mut Session, update_ref: UpdateRef) -> Result<Outcome, Failure> {
    loop {
        let request = PollWorkflowExecutionUpdateRequest {
            namespace: session.namespace(),
            update_ref: Some(update_ref.clone()),
            identity: session.identity(),
            wait_policy: Some(WaitPolicy { lifecycle_stage: Stage::Completed as i32 }),
        };
        let answer = session.client().await?.workflow.poll_workflow_execution_update(request).await?.into_inner();
        if let Some(outcome) = answer.outcome {
            return Ok(outcome);
        }
    }
}

/// An update that failed or was rejected makes the command fail.
pub(super) fn refuse_failed(outcome: Option<&Outcome>) -> Result<(), Failure> {
    match outcome.and_then(|outcome| outcome.value.as_ref()) {
        Some(outcome::Value::Failure(failure)) => Err(Failure::new(format_args!("the update failed: {}", one_line(&failure.message)))),
        _ => Ok(()),
    }
}

fn one_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The result of an update that succeeded.
pub(super) fn success(session: &Session, outcome: &Outcome) -> Value {
    match &outcome.value {
        Some(outcome::Value::Success(payloads)) => friendly(session, Some(payloads)),
        _ => Value::Null,
    }
}

async fn result(session: &mut Session, options: &Targeting) -> Result<(), Failure> {
    let execution = options.reference.execution();
    let outcome = wait(session, UpdateRef { workflow_execution: Some(execution), update_id: options.update_id.clone() }).await?;
    let mut record: Record = vec![("updateId", json!(options.update_id))];
    record.extend(told(session, Some(&outcome)));
    session.out.record(record)?;
    match refuse_failed(Some(&outcome)) {
        Ok(()) => Ok(()),
        Err(_) => Err(Failure::new("the update failed")),
    }
}

async fn describe(session: &mut Session, options: &Targeting) -> Result<(), Failure> {
    let execution = options.reference.execution();
    let request = PollWorkflowExecutionUpdateRequest {
        namespace: session.namespace(),
        update_ref: Some(UpdateRef { workflow_execution: Some(execution), update_id: options.update_id.clone() }),
        identity: session.identity(),
        wait_policy: None,
    };
    let answer = session.client().await?.workflow.poll_workflow_execution_update(request).await?.into_inner();
    let mut record: Record = vec![("updateId", json!(options.update_id))];
    record.extend(told(session, answer.outcome.as_ref()));
    let stage = short_name(answer.stage().as_str_name(), "UPDATE_WORKFLOW_EXECUTION_LIFECYCLE_STAGE_");
    record.push(("stage", json!(stage)));
    session.out.record(record)
}

/// `result` or `failure`, as far as there is one.
fn told(session: &Session, outcome: Option<&Outcome>) -> Option<(&'static str, Value)> {
    let outcome = outcome?;
    match outcome.value.as_ref()? {
        outcome::Value::Success(_) => Some(("result", success(session, outcome))),
        outcome::Value::Failure(failure) if session.out.is_json() => Some(("failure", session.out.json_of(failure))),
        outcome::Value::Failure(failure) => Some(("failure", json!(failure_text(failure, "").trim_end().trim_start_matches("Message: ")))),
    }
}

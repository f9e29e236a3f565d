//! `workflow query`, and the two queries that every worker answers: `stack` and `metadata`.

use clap::{Args, ValueEnum};
use sempre_api::{
    json::{self, Payloads},
    v1::{
        enums::QueryRejectCondition,
        query::WorkflowQuery,
        sdk::{WorkflowInteractionDefinition, WorkflowMetadata},
        workflowservice::{QueryWorkflowRequest, QueryWorkflowResponse},
    },
};
use serde_json::Value;

use super::{Reference, list, result::friendly};
use crate::cli::{
    Failure,
    input::{self, InputFlags},
    output::{Hue, Table, bare},
    session::Session,
    values,
};

const STACK: &str = "__stack_trace";
const METADATA: &str = "__temporal_workflow_metadata";

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
    /// Name of the query
    #[arg(long, alias = "type", value_name = "NAME")]
    name: String,
    #[command(flatten)]
    input: InputFlags,
    #[command(flatten)]
    reject: Reject,
    /// Header; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    headers: Vec<(String, Value)>,
}

#[derive(Args)]
pub(crate) struct StackOptions {
    #[command(flatten)]
    reference: Reference,
    #[command(flatten)]
    reject: Reject,
}

#[derive(Args)]
pub(crate) struct MetadataOptions {
    #[command(flatten)]
    reference: Reference,
    #[command(flatten)]
    reject: Reject,
    /// Header; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    headers: Vec<(String, Value)>,
}

#[derive(Args, Clone, Copy)]
struct Reject {
    /// Do not ask a workflow in such a state
    #[arg(long, value_enum, value_name = "CONDITION", ignore_case = true)]
    reject_condition: Option<RejectCondition>,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum RejectCondition {
    NotOpen,
    NotCompletedCleanly,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let query =
        WorkflowQuery { query_type: options.name.clone(), query_args: options.input.payloads()?, header: input::header(&options.headers) };
    let answer = ask(session, &options.reference, query, options.reject).await?;
    print(session, &answer)
}

pub(crate) async fn stack(session: &mut Session, options: &StackOptions) -> Result<(), Failure> {
    let query = WorkflowQuery { query_type: STACK.to_owned(), ..WorkflowQuery::default() };
    let answer = ask(session, &options.reference, query, options.reject).await?;
    if !session.out.is_text() {
        return session.out.message(&answer);
    }
    // A trace has lines, and is read as such.
    session.out.title("Query result:")?;
    let shown = bare(&friendly(session, answer.query_result.as_ref()));
    session.out.line(shown)
}

pub(crate) async fn metadata(session: &mut Session, options: &MetadataOptions) -> Result<(), Failure> {
    let query = WorkflowQuery { query_type: METADATA.to_owned(), header: input::header(&options.headers), ..WorkflowQuery::default() };
    let answer = ask(session, &options.reference, query, options.reject).await?;
    session.out.message(&answer)?;
    let data = answer.query_result.iter().flat_map(|result| &result.payloads).next().map(|payload| payload.data.clone());
    let value: Value = serde_json::from_slice(&data.unwrap_or_default()).map_err(|_| odd())?;
    let metadata: WorkflowMetadata = json::from_value(value, Payloads::Shorthand).map_err(|_| odd())?;
    let definition = metadata.definition.unwrap_or_default();
    session.out.title("Metadata:")?;
    definitions(session, "Query Definitions:", &definition.query_definitions)?;
    definitions(session, "Signal Definitions:", &definition.signal_definitions)?;
    definitions(session, "Update Definitions:", &definition.update_definitions)?;
    if !metadata.current_details.is_empty() {
        session.out.title("Current Details:")?;
        session.out.line(format!("  {}", metadata.current_details))?;
    }
    Ok(())
}

fn odd() -> Failure {
    Failure::new("the worker's answer is not the metadata of a workflow; its SDK may be too old for it")
}

fn definitions(session: &mut Session, title: &str, definitions: &[WorkflowInteractionDefinition]) -> Result<(), Failure> {
    if definitions.is_empty() {
        return Ok(());
    }
    session.out.title(title)?;
    let rows: Vec<_> = definitions.iter().map(|of| vec![of.name.as_str().into(), of.description.as_str().into()]).collect();
    session.out.table(&mut Table::new(&["Name", "Description"]), &rows)
}

async fn ask(session: &mut Session, reference: &Reference, query: WorkflowQuery, reject: Reject) -> Result<QueryWorkflowResponse, Failure> {
    let condition = match reject.reject_condition {
        None => QueryRejectCondition::Unspecified,
        Some(RejectCondition::NotOpen) => QueryRejectCondition::NotOpen,
        Some(RejectCondition::NotCompletedCleanly) => QueryRejectCondition::NotCompletedCleanly,
    };
    let request = QueryWorkflowRequest {
        namespace: session.namespace(),
        execution: Some(reference.execution()),
        query: Some(query),
        query_reject_condition: condition as i32,
    };
    let answer = session.client().await?.workflow.query_workflow(request).await?.into_inner();
    match &answer.query_rejected {
        None => Ok(answer),
        Some(rejected) => {
            let status = list::status(rejected.status());
            Err(Failure::new(format_args!("the query was rejected: the workflow is {}", status.text().to_lowercase())))
        }
    }
}

fn print(session: &mut Session, answer: &QueryWorkflowResponse) -> Result<(), Failure> {
    session.out.message(answer)?;
    session.out.line_in(Hue::Title, "Query result:")?;
    let shown = friendly(session, answer.query_result.as_ref()).to_string();
    session.out.card(&[("QueryResult", shown.into())])
}

//! One workflow, or all that match a query: then the server does the work as a batch operation.

use clap::Args;
use prost::Message;
use sempre_api::sempre::v1::PreviewBatchOperationRequest;
use sempre_api::v1::{
    common::WorkflowExecution,
    workflowservice::{CountWorkflowExecutionsRequest, StartBatchOperationRequest, start_batch_operation_request::Operation},
};
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    output::Table,
    session::{Session, request_id},
    values,
};

/// Workflows that a dry run shows.
const PREVIEWED: i32 = 20;

/// Flags of commands that take one workflow or a query.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Many {
    /// The workflow
    #[arg(short, long, value_name = "ID", required_unless_present = "query", conflicts_with = "query")]
    pub(crate) workflow_id: Option<String>,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", requires = "workflow_id")]
    pub(crate) run_id: Option<String>,
    /// List filter: all workflows that match
    #[arg(short, long, value_name = "QUERY")]
    pub(crate) query: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// With a query: how many workflows a second
    #[arg(long, value_name = "NUMBER", conflicts_with = "workflow_id")]
    pub(crate) rps: Option<f32>,
    /// With a query: only tell how many workflows it would be, and some of them
    #[arg(long, conflicts_with = "workflow_id")]
    pub(crate) dry_run: bool,
    /// Header; may be given several times
    #[arg(long, value_name = "KEY=JSON", value_parser = values::parse_json_pair)]
    pub(crate) headers: Vec<(String, Value)>,
}

impl Many {
    /// The one workflow; `None` when a query stands for many.
    pub(crate) fn one(&self) -> Option<WorkflowExecution> {
        let workflow_id = self.workflow_id.clone()?;
        Some(WorkflowExecution { workflow_id, run_id: self.run_id.clone().unwrap_or_default() })
    }

    /// The given reason, or the usual one.
    pub(crate) fn reason(&self, session: &Session) -> String {
        self.reason.clone().unwrap_or_else(|| session.usual_reason())
    }

    /// Starts a batch operation on what matches the query, after asking.
    pub(crate) async fn batch(&self, session: &mut Session, operation: Operation) -> Result<(), Failure> {
        let query = self.query.clone().unwrap_or_default();
        if self.dry_run {
            return preview(session, query, operation).await;
        }
        if !self.yes {
            ask_about(session, &query).await?;
        }
        let reason = self.reason(session);
        start_batch(session, query, reason, self.rps, operation).await
    }
}

/// Asks whether a batch operation on what matches the query is to be started.
pub(crate) async fn ask_about(session: &mut Session, query: &str) -> Result<(), Failure> {
    let count = CountWorkflowExecutionsRequest { namespace: session.namespace(), query: query.to_owned() };
    let count = session.client().await?.workflow.count_workflow_executions(count).await?.into_inner().count;
    session.confirm(&format!("Start a batch operation on about {count} workflow(s)?"), false).await
}

/// Tells what a batch operation would act on now.
pub(crate) async fn preview(session: &mut Session, visibility_query: String, operation: Operation) -> Result<(), Failure> {
    let start = StartBatchOperationRequest {
        namespace: session.namespace(),
        visibility_query,
        job_id: request_id(),
        reason: session.usual_reason(),
        operation: Some(operation),
        ..Default::default()
    };
    let request =
        PreviewBatchOperationRequest { namespace: session.namespace(), start: start.encode_to_vec().into(), sample_size: PREVIEWED };
    let answer = session.client().await?.steer.preview_batch_operation(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line(format!("It would act on {} workflow(s)", answer.total))?;
    let rows: Vec<_> = answer.sample.iter().map(|run| vec![run.workflow_id.as_str().into(), run.run_id.as_str().into()]).collect();
    if rows.is_empty() { Ok(()) } else { session.out.table(&mut Table::new(&["WorkflowId", "RunId"]), &rows) }
}

/// Tells the id of a job that was started.
pub(crate) fn told_job(session: &mut Session, job_id: &str) -> Result<(), Failure> {
    if session.out.is_json() {
        return session.out.record(vec![("batchJobId", json!(job_id))]);
    }
    session.out.line(format!("Started batch for job ID: {job_id}"))
}

/// Starts a batch operation and tells its job id.
pub(crate) async fn start_batch(
    session: &mut Session,
    visibility_query: String,
    reason: String,
    rps: Option<f32>,
    operation: Operation,
) -> Result<(), Failure> {
    let job_id = request_id();
    let request = StartBatchOperationRequest {
        namespace: session.namespace(),
        visibility_query,
        job_id: job_id.clone(),
        reason,
        max_operations_per_second: rps.unwrap_or_default(),
        operation: Some(operation),
        ..Default::default()
    };
    session.client().await?.workflow.start_batch_operation(request).await?;
    told_job(session, &job_id)
}

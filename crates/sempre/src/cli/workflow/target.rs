//! One workflow, or all that match a query: then the server does the work as a batch operation.

use clap::Args;
use sempre_api::v1::{
    common::WorkflowExecution,
    workflowservice::{CountWorkflowExecutionsRequest, StartBatchOperationRequest, start_batch_operation_request::Operation},
};
use serde_json::{Value, json};

use crate::cli::{
    Failure,
    session::{Session, request_id},
    values,
};

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
        if !self.yes {
            let count = CountWorkflowExecutionsRequest { namespace: session.namespace(), query: query.clone() };
            let count = session.client().await?.workflow.count_workflow_executions(count).await?.into_inner().count;
            session.confirm(&format!("Start a batch operation on about {count} workflow(s)?"), false).await?;
        }
        let reason = self.reason(session);
        start_batch(session, query, reason, self.rps, operation).await
    }
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
    if session.out.is_json() {
        return session.out.record(vec![("batchJobId", json!(job_id))]);
    }
    session.out.line(format!("Started batch for job ID: {job_id}"))
}

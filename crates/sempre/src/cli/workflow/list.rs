//! `workflow list`: the workflows that match a query, newest first, page by page.

use clap::Args;
use sempre_api::v1::{
    enums::WorkflowExecutionStatus,
    workflow::WorkflowExecutionInfo,
    workflowservice::{ListArchivedWorkflowExecutionsRequest, ListWorkflowExecutionsRequest},
};

use crate::cli::{
    Failure,
    output::{Cell, Hue, short_name},
    pages::{self, Extent},
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    /// List filter, such as: WorkflowType = 'Order' AND ExecutionStatus = 'Running'
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,
    /// List archived workflows
    #[arg(long)]
    archived: bool,
    #[command(flatten)]
    extent: Extent,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let (mut client, namespace) = (session.client().await?.workflow, session.namespace());
    let page = async |page_size, next_page_token| {
        let (namespace, query) = (namespace.clone(), options.query.clone());
        if options.archived {
            let request = ListArchivedWorkflowExecutionsRequest { namespace, page_size, next_page_token, query };
            let page = client.list_archived_workflow_executions(request).await?.into_inner();
            return Ok((page.executions, page.next_page_token));
        }
        let request = ListWorkflowExecutionsRequest { namespace, page_size, next_page_token, query };
        let page = client.list_workflow_executions(request).await?.into_inner();
        Ok((page.executions, page.next_page_token))
    };
    pages::list(session, &options.extent, &["Status", "WorkflowId", "Type", "StartTime"], page, row).await
}

fn row(session: &Session, info: &WorkflowExecutionInfo) -> Vec<Cell> {
    let id = info.execution.as_ref().map(|execution| execution.workflow_id.as_str()).unwrap_or_default();
    let kind = info.r#type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default();
    vec![status(info.status()), id.into(), kind.into(), session.out.time(info.start_time.as_ref()).into()]
}

/// The status of a run, coloured.
pub(super) fn status(status: WorkflowExecutionStatus) -> Cell {
    use WorkflowExecutionStatus as S;
    let hue = match status {
        S::Running | S::ContinuedAsNew => Hue::Running,
        S::Completed => Hue::Good,
        S::Failed | S::TimedOut => Hue::Bad,
        _ => Hue::Odd,
    };
    Cell::in_hue(short_name(status.as_str_name(), "WORKFLOW_EXECUTION_STATUS_"), hue)
}

//! `workflow list`: the workflows that match a query, newest first, page by page.

use clap::Args;
use sempre_api::v1::{
    enums::WorkflowExecutionStatus,
    workflow::WorkflowExecutionInfo,
    workflowservice::{ListArchivedWorkflowExecutionsRequest, ListWorkflowExecutionsRequest},
};

use crate::cli::{
    Failure,
    output::{Cell, Hue, Table, short_name},
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
    /// Stop after this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
    /// How many to ask for at once
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    page_size: i32,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let client = session.client().await?.workflow;
    let (mut left, mut token) = (if options.limit == 0 { usize::MAX } else { options.limit }, bytes::Bytes::new());
    let page_size = options.page_size.min(i32::try_from(left).unwrap_or(i32::MAX));
    let mut table = Table::new(&["Status", "WorkflowId", "Type", "StartTime"]);
    session.out.begin_list()?;
    loop {
        let mut client = client.clone();
        let (namespace, query) = (session.namespace(), options.query.clone());
        let (mut executions, next) = if options.archived {
            let request = ListArchivedWorkflowExecutionsRequest { namespace, page_size, next_page_token: token, query };
            let page = client.list_archived_workflow_executions(request).await?.into_inner();
            (page.executions, page.next_page_token)
        } else {
            let request = ListWorkflowExecutionsRequest { namespace, page_size, next_page_token: token, query };
            let page = client.list_workflow_executions(request).await?.into_inner();
            (page.executions, page.next_page_token)
        };
        executions.truncate(left);
        left -= executions.len();
        for execution in &executions {
            session.out.message(execution)?;
        }
        let rows: Vec<_> = executions.iter().map(|execution| row(session, execution)).collect();
        if !rows.is_empty() {
            session.out.table(&mut table, &rows)?;
        }
        token = next;
        if token.is_empty() || left == 0 {
            return session.out.end_list();
        }
    }
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

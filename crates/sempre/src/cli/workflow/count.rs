//! `workflow count`: how many workflows match a query, in groups if it says so.

use clap::Args;
use sempre_api::v1::workflowservice::CountWorkflowExecutionsRequest;

use crate::cli::{Failure, output::bare, session::Session};

#[derive(Args)]
pub(crate) struct Options {
    /// List filter; GROUP BY ExecutionStatus counts each status
    #[arg(short, long, value_name = "QUERY", default_value = "", hide_default_value = true)]
    query: String,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = CountWorkflowExecutionsRequest { namespace: session.namespace(), query: options.query.clone() };
    let mut answer = session.client().await?.workflow.count_workflow_executions(request).await?.into_inner();
    // The type of an indexed value is no news here, and without it a value has its short form.
    for value in answer.groups.iter_mut().flat_map(|group| &mut group.group_values) {
        value.metadata.remove("type");
    }
    session.out.message(&answer)?;
    session.out.line(format!("Total: {}", answer.count))?;
    for group in &answer.groups {
        let values: Vec<_> = group.group_values.iter().map(|value| bare(&session.out.json_of(value))).collect();
        session.out.line(format!("Group total: {}, values: {}", group.count, values.join(", ")))?;
    }
    Ok(())
}

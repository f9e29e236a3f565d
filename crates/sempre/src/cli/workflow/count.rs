//! `workflow count`: how many workflows match a query, in groups if it says so.

use sempre_api::v1::workflowservice::CountWorkflowExecutionsRequest;

use crate::cli::{
    Failure,
    pages::{self, Count},
    session::Session,
};

pub(crate) async fn run(session: &mut Session, options: &Count) -> Result<(), Failure> {
    let request = CountWorkflowExecutionsRequest { namespace: session.namespace(), query: options.query.clone() };
    let mut answer = session.client().await?.workflow.count_workflow_executions(request).await?.into_inner();
    pages::without_types(answer.groups.iter_mut().flat_map(|group| &mut group.group_values));
    session.out.message(&answer)?;
    pages::count(session, answer.count, answer.groups.iter().map(|group| (group.count, &group.group_values)))
}

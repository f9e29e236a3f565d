//! Whom a run belongs to: its parent and root, its children, and the chain of runs before and after it.

use maud::{Markup, html};
use sempre_api::v1::{
    common::WorkflowExecution,
    workflow::WorkflowExecutionInfo,
    workflowservice::{DescribeWorkflowExecutionResponse, ListWorkflowExecutionsRequest},
};

use super::{Place, events_from};
use crate::{
    show,
    visit::{Problem, Visit},
};

/// Relatives that are shown of each kind.
const SHOWN: i32 = 200;

async fn list(visit: &Visit<'_>, place: &Place<'_>, query: String) -> Result<(Vec<WorkflowExecutionInfo>, bool), Problem> {
    let request = ListWorkflowExecutionsRequest { namespace: place.namespace.to_owned(), page_size: SHOWN, query, ..Default::default() };
    let answer = visit.ask(request).await?;
    Ok((answer.executions, !answer.next_page_token.is_empty()))
}

/// A text of the filter language.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

pub(super) async fn part(visit: &Visit<'_>, place: &Place<'_>, description: &DescribeWorkflowExecutionResponse) -> Result<Markup, Problem> {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let (children, chain, first) = futures::join!(
        list(visit, place, format!("ParentWorkflowId = {} AND ParentRunId = {}", quoted(place.id), quoted(place.run))),
        list(visit, place, format!("WorkflowId = {}", quoted(place.id))),
        events_from(visit, place, 1, 1)
    );
    let ((children, more_children), (chain, more_chain), first) = (children?, chain?, first?);
    let root = info.root_execution.as_ref().filter(|root| root.run_id != place.run);
    let parent = info.parent_execution.as_ref();
    let started = first.into_iter().next().and_then(|event| match event.attributes {
        Some(sempre_api::v1::history::history_event::Attributes::WorkflowExecutionStartedEventAttributes(started)) => Some(started),
        _ => None,
    });
    let before = started.map(|started| started.continued_execution_run_id).filter(|run| !run.is_empty());
    Ok(html! {
        section.panel #family data-live { h2 { "Parent and children" }
            ul.relatives {
                @if let Some(root) = root.filter(|root| parent.is_none_or(|parent| parent.run_id != root.run_id)) { li { span.muted { "Root " } (link(visit, place, root)) ul { (below_root(visit, place, &info, parent, &children)) } } }
                @else { (below_root(visit, place, &info, parent, &children)) }
            }
            @if more_children { p.muted { "and more; a filter on ParentWorkflowId lists them all." } }
            @if parent.is_none() && children.is_empty() { p.muted { "It has neither a parent nor children." } }
        }
        section.panel #chain data-live { h2 { "Runs of this workflow id" }
            @if let Some(before) = before { p.muted { "Continued from run " a.id.mono href=(visit.link(&["namespaces", place.namespace, "workflows", place.id, &before])) { (before) } } }
            div.table-wrap { table {
                thead { tr { th { "Run" } th { "Status" } th { "Started" } th { "Closed" } } }
                tbody { @for run in &chain {
                    @let (id, run_id) = show::ids(run.execution.as_ref());
                    tr data-key=(run_id) { th scope="row" data-label="Run" { a.id.mono href=(visit.link(&["namespaces", place.namespace, "workflows", id, run_id])) { (run_id) } @if run_id == place.run { " " (show::badge("gray", "this one")) } }
                        td data-label="Status" { (show::status(run.status())) } td data-label="Started" { (visit.times.show(run.start_time.as_ref())) } td data-label="Closed" { (visit.times.show(run.close_time.as_ref())) } }
                } }
            } }
            @if more_chain { p.muted { "and more" } }
        }
    })
}

fn below_root(
    visit: &Visit,
    place: &Place,
    info: &WorkflowExecutionInfo,
    parent: Option<&WorkflowExecution>,
    children: &[WorkflowExecutionInfo],
) -> Markup {
    let own = html! {
        li { strong.id { (place.id) } " " (show::status(info.status())) span.muted { " this run" }
            @if !children.is_empty() {
                ul { @for child in children {
                    li { @if let Some(execution) = &child.execution { (link(visit, place, execution)) } " " (show::status(child.status())) " "
                        span.muted { (child.r#type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default()) ", started " (visit.times.show(child.start_time.as_ref())) } }
                } }
            }
        }
    };
    match parent {
        Some(parent) => html! { li { span.muted { "Parent " } (link(visit, place, parent)) ul { (own) } } },
        None => own,
    }
}

fn link(visit: &Visit, place: &Place, execution: &WorkflowExecution) -> Markup {
    let link = visit.link(&["namespaces", place.namespace, "workflows", &execution.workflow_id, &execution.run_id]);
    html! { a.id href=(link) title=(execution.workflow_id) { (execution.workflow_id) } }
}

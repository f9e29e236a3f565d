//! Whom a run belongs to: the tree of runs below its root, and the chain of runs before and after it.

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
/// Generations that are shown.
const DEPTH: usize = 30;

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
    let root = info.root_execution.clone().unwrap_or_else(|| place.execution());
    let (family, chain, first) = futures::join!(
        list(visit, place, format!("RootWorkflowId = {} AND RootRunId = {}", quoted(&root.workflow_id), quoted(&root.run_id))),
        list(visit, place, format!("WorkflowId = {}", quoted(place.id))),
        events_from(visit, place, 1, 1)
    );
    let ((family, more_family), (chain, more_chain), first) = (family?, chain?, first?);
    let family = Family::new(family, info);
    let started = first.into_iter().next().and_then(|event| match event.attributes {
        Some(sempre_api::v1::history::history_event::Attributes::WorkflowExecutionStartedEventAttributes(started)) => Some(started),
        _ => None,
    });
    let before = started.map(|started| started.continued_execution_run_id).filter(|run| !run.is_empty());
    Ok(html! {
        section.panel #family data-live { h2 { "Parent and children" }
            ul.relatives { @for top in family.tops() {
                @match top.parent_execution.as_ref() {
                    Some(parent) => { li data-key=(format!("above {}", parent.run_id)) { span.muted { "Parent " } (link(visit, place, parent)) ul { (branch(visit, place, &family, top, 1)) } } }
                    None => { (branch(visit, place, &family, top, 0)) }
                }
            } }
            @if more_family { p.muted { "and more; a filter on RootWorkflowId lists them all." } }
            @if family.0.len() == 1 && family.0[0].parent_execution.is_none() { p.muted { "It has neither a parent nor children." } }
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

/// A run and those that descend from it.
fn branch(visit: &Visit, place: &Place, family: &Family, run: &WorkflowExecutionInfo, depth: usize) -> Markup {
    let (id, run_id) = show::ids(run.execution.as_ref());
    let children = family.children(run_id);
    html! {
        li data-key=(run_id) {
            @if run_id == place.run { strong.id { (id) } } @else if let Some(execution) = &run.execution { (link(visit, place, execution)) }
            " " (show::status(run.status())) " "
            @if run_id == place.run { span.muted { "this run" } }
            @else { span.muted { (run.r#type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default()) ", started " (visit.times.show(run.start_time.as_ref())) } }
            @if !children.is_empty() {
                @if depth < DEPTH { ul { @for child in children { (branch(visit, place, family, child, depth + 1)) } } }
                @else { " " span.muted { "and its children" } }
            }
        }
    }
}

/// The runs that have one root, as far as they are shown.
struct Family(Vec<WorkflowExecutionInfo>);

impl Family {
    /// Of a list, newest first; the run itself is one of them also if the list is too long for it.
    fn new(mut listed: Vec<WorkflowExecutionInfo>, own: WorkflowExecutionInfo) -> Self {
        let run_id = |info: &WorkflowExecutionInfo| show::ids(info.execution.as_ref()).1.to_owned();
        if !listed.iter().any(|info| run_id(info) == run_id(&own)) {
            listed.push(own);
        }
        listed.reverse();
        Self(listed)
    }

    fn parent(run: &WorkflowExecutionInfo) -> &str {
        show::ids(run.parent_execution.as_ref()).1
    }

    fn children(&self, run_id: &str) -> Vec<&WorkflowExecutionInfo> {
        self.0.iter().filter(|run| Self::parent(run) == run_id).collect()
    }

    /// Those whose parent is not among them: the root, and what is cut off from it.
    fn tops(&self) -> Vec<&WorkflowExecutionInfo> {
        let is_there = |run_id: &str| self.0.iter().any(|run| show::ids(run.execution.as_ref()).1 == run_id);
        self.0.iter().filter(|run| !is_there(Self::parent(run))).collect()
    }
}

fn link(visit: &Visit, place: &Place, execution: &WorkflowExecution) -> Markup {
    let link = visit.link(&["namespaces", place.namespace, "workflows", &execution.workflow_id, &execution.run_id]);
    html! { a.id href=(link) title=(execution.workflow_id) { (execution.workflow_id) } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(id: &str, parent: &str) -> WorkflowExecutionInfo {
        let execution = |id: &str| Some(WorkflowExecution { workflow_id: id.into(), run_id: id.into() });
        WorkflowExecutionInfo {
            execution: execution(id),
            parent_execution: (!parent.is_empty()).then(|| execution(parent)).flatten(),
            ..Default::default()
        }
    }

    fn ids(runs: &[&WorkflowExecutionInfo]) -> Vec<String> {
        runs.iter().map(|run| show::ids(run.execution.as_ref()).0.to_owned()).collect()
    }

    #[test]
    fn runs_of_one_root_are_a_tree_and_what_a_cut_list_lacks_is_no_end_of_it() {
        let family = Family::new(vec![run("c2", "b"), run("c1", "b"), run("b", "a"), run("a", "")], run("b", "a"));
        assert_eq!(ids(&family.tops()), ["a"]);
        assert_eq!(
            (ids(&family.children("a")), ids(&family.children("b"))),
            (vec!["b".to_owned()], vec!["c1".to_owned(), "c2".to_owned()])
        );
        // The list ended before the run's parent and the run itself.
        let family = Family::new(vec![run("c2", "b")], run("own", "x"));
        assert_eq!(ids(&family.tops()), ["own", "c2"]);
    }
}

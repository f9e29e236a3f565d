//! The list of runs: a filter in the query language, counts, columns, pages, and what can be done to many.

use maud::{Markup, html};
use sempre_api::v1::{
    enums::IndexedValueType,
    operatorservice::ListSearchAttributesRequest,
    workflow::WorkflowExecutionInfo,
    workflowservice::{ListWorkflowExecutionsRequest, ListWorkflowExecutionsResponse},
};
use serde_json::{Map, Value};

use super::{
    columns::{self, Column},
    counts, welcome,
};
use crate::{
    answer::prefer,
    layout::{Page, Section, heading, page_token, pager, runs_stream},
    route::Answer,
    show::{self, words},
    visit::{Problem, Visit},
};

/// Runs on a page, unless the query says otherwise, and at most.
const PAGE: i32 = 50;
const PAGE_MAX: i32 = 500;

/// Queries that are worth a name in every namespace.
const VIEWS: [(&str, &str); 6] = [
    ("All", ""),
    ("Running", "ExecutionStatus = 'Running'"),
    ("Failed or timed out", "ExecutionStatus IN ('Failed', 'TimedOut')"),
    ("Hurting", "SempreHealth IS NOT NULL"),
    ("Waiting for a signal", "SempreWaitingFor = 'signal'"),
    ("Without workers", "SempreTaskQueuePollers = 0 AND SempreTaskQueueBacklogAge > 60"),
];

/// Names and types of the attributes that a filter may use.
async fn attributes(visit: &Visit<'_>, namespace: &str) -> (Map<String, Value>, Vec<String>) {
    let request = ListSearchAttributesRequest { namespace: namespace.to_owned() };
    // Without them there is no completion; the list itself is still there.
    let Ok(answer) = visit.ask(request).await else { return Default::default() };
    let custom: Vec<String> = answer.custom_attributes.keys().cloned().collect();
    let all = answer.system_attributes.into_iter().chain(answer.custom_attributes);
    let word =
        |kind: i32| words(IndexedValueType::try_from(kind).unwrap_or_default().as_str_name(), "INDEXED_VALUE_TYPE_").replace(' ', "");
    (all.map(|(name, kind)| (name, Value::String(word(kind)))).collect(), custom)
}

/// The list.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let query = visit.query("query").trim();
    let size = visit.query("size").parse().unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let request = ListWorkflowExecutionsRequest {
        namespace: namespace.to_owned(),
        page_size: size,
        next_page_token: page_token(visit),
        query: query.to_owned(),
    };
    let (listed, counted, (attributes, custom)) =
        futures::join!(visit.ask(request), counts::read(visit, namespace, query, true), attributes(visit, namespace));
    // A query that is wrong stays in its field, with what is wrong about it.
    let (listed, error) = match listed {
        Ok(listed) => (listed, None),
        Err(problem) if query.is_empty() || problem.0.code() != tonic::Code::InvalidArgument => return Err(problem),
        Err(problem) => (ListWorkflowExecutionsResponse::default(), Some(problem)),
    };
    let counted = counted.ok().flatten();
    let (chosen, keep) = columns::chosen(visit);
    let first_run = query.is_empty() && listed.executions.is_empty() && visit.query("page").is_empty();
    let here = visit.link(&["namespaces", namespace, "workflows"]);
    let body = html! {
        (heading(html! { "Workflows" }, html! {
            a.button href=(visit.link(&["namespaces", namespace, "start-workflow"])) data-dialog { "Start workflow" }
        }))
        (filter(visit, namespace, query, &attributes, &listed.executions, error.as_ref()))
        @if first_run {
            div #rows data-live { (welcome::part(visit, namespace)) }
        } @else if error.is_none() {
            (counts::show(visit, namespace, query, counted.as_ref()))
            form #bulk method="get" action=(here) {
                input type="hidden" name="query" value=(query);
                div.toolbar {
                    (bulk_buttons(visit, namespace))
                    span.grow {}
                }
            }
            div.toolbar.after { (columns::picker(&here, query, &chosen, &custom)) }
            (table(visit, namespace, &chosen, &listed.executions))
            (pager(visit, &["namespaces", namespace, "workflows"], &[("query", query), ("size", visit.query("size"))], &listed.next_page_token))
        }
    };
    let live = if error.is_some() { Default::default() } else { runs_stream(visit, namespace, query) };
    let mut answer = Page::new(namespace, Section::Workflows, format!("Workflows · {namespace}"), body).live(live).answer(visit);
    if let Some(columns) = keep {
        prefer(&mut answer, columns::COOKIE, &columns);
    }
    Ok(answer)
}

/// The counts alone, for pages that did not wait for them.
pub(crate) async fn counts_part(visit: &Visit<'_>, namespace: &str) -> Answer {
    let query = visit.query("query").trim();
    let counted = counts::read(visit, namespace, query, false).await;
    let part = match &counted {
        Ok(Some(counted)) => counts::show(visit, namespace, query, Some(counted)),
        Ok(None) => html! { div.counts #counts data-live { span.muted { "Counting takes too long; a narrower filter helps." } } },
        Err(problem) => html! { div.counts #counts data-live { span.muted { (problem.0.message()) } } },
    };
    Ok(Page::new(namespace, Section::Workflows, "Counts", part).answer(visit))
}

fn filter(
    visit: &Visit,
    namespace: &str,
    query: &str,
    attributes: &Map<String, Value>,
    runs: &[WorkflowExecutionInfo],
    error: Option<&Problem>,
) -> Markup {
    let mut types: Vec<&str> = runs.iter().filter_map(|info| info.r#type.as_ref()).map(|kind| kind.name.as_str()).collect();
    types.sort_unstable();
    types.dedup();
    let list = |query: &str| visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query)]);
    html! {
        form.filter method="get" action=(list("")) role="search" {
            div.filter-field {
                label.visually-hidden for="filter" { "Filter" }
                input #filter type="text" name="query" value=(query) placeholder="Filter, such as WorkflowType = 'Order' AND ExecutionStatus = 'Running'"
                    autocomplete="off" spellcheck="false" autocapitalize="off" data-attributes=(Value::Object(attributes.clone())) data-types=(serde_json::json!(types))
                    aria-invalid=[error.map(|_| "true")] aria-describedby=[error.map(|_| "filter-error")];
                @if !query.is_empty() { a.clear href=(list("")) aria-label="Clear the filter" { "✕" } }
            }
            button type="submit" { "Filter" }
            details.menu.right.views {
                summary.button { "Views" }
                div.menu-body {
                    ul.menu-list { @for (name, view) in VIEWS { li { a href=(list(view)) aria-current=[(view == query).then_some("true")] { (name) } } } }
                    div.own-views data-views=(namespace) hidden {
                        p.menu-title { "Your views" }
                        ul.menu-list {}
                        div.view-save { input type="text" placeholder="Name" aria-label="Name of the view" maxlength="60"; button type="button" { "Save this filter" } }
                    }
                }
            }
        }
        @if let Some(problem) = error { p.error #filter-error role="alert" { (problem.0.message()) } }
    }
}

fn bulk_buttons(visit: &Visit, namespace: &str) -> Markup {
    let button = |operation: &str, name: &str| {
        let link = visit.link(&["namespaces", namespace, "bulk", operation]);
        html! { button type="submit" form="bulk" formaction=(link) { (name) } }
    };
    html! {
        span.bulk-what data-bulk { "All that match:" }
        (button("cancel", "Cancel")) (button("terminate", "Terminate")) (button("signal", "Signal")) (button("reset", "Reset")) (button("delete", "Delete"))
    }
}

/// The runs. `form` of the boxes is that of [`bulk_buttons`].
fn table(visit: &Visit, namespace: &str, columns: &[Column], runs: &[WorkflowExecutionInfo]) -> Markup {
    html! {
        div.table-wrap {
            table.runs {
                thead { tr {
                    th.box { input type="checkbox" data-all aria-label="Select all on this page"; }
                    @for column in columns { th.number[column.is_number()] { (column.title()) } }
                } }
                tbody #rows data-live {
                    @for info in runs {
                        @let (id, run) = show::ids(info.execution.as_ref());
                        tr data-key=(run) {
                            td.box { input type="checkbox" form="bulk" name="run" value=(format!("{run} {id}")) aria-label=(format!("Select {id}")); }
                            @for column in columns { (column.cell(visit, namespace, info)) }
                        }
                    }
                    @if runs.is_empty() {
                        tr data-key="none" { td colspan=(columns.len() + 1) { (show::empty("No runs here", html! { p { "No run matches this filter. " a href=(visit.link(&["namespaces", namespace, "workflows"])) { "Show all" } } })) } }
                    }
                }
            }
        }
    }
}

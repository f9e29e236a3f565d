//! Questions to the workflow's code: what a worker answers now. The stack trace is one of them.

use maud::{Markup, html};
use sempre_api::{
    json::{self as api_json, Payloads as Form},
    v1::{
        common::Payloads, enums::TaskQueueType, query::WorkflowQuery, workflow::WorkflowExecutionInfo,
        workflowservice::QueryWorkflowRequest,
    },
};

use super::{Place, wait::pollers};
use crate::{
    layout::json_field,
    show,
    visit::{Problem, Visit},
};

/// How long a worker may take to answer.
const WAIT_MS: u32 = 8000;
const STACK: &str = "__stack_trace";
/// What workflow code says of itself.
const METADATA: &str = "__temporal_workflow_metadata";

/// What the worker's code says that it understands.
#[derive(Default)]
pub(super) struct Words {
    pub(super) queries: Vec<(String, String)>,
    pub(super) signals: Vec<(String, String)>,
    pub(super) updates: Vec<(String, String)>,
    details: String,
}

pub(super) async fn ask(visit: &Visit<'_>, place: &Place<'_>, name: &str, input: Option<Payloads>, wait: u32) -> Result<Payloads, Problem> {
    let request = QueryWorkflowRequest {
        namespace: place.namespace.to_owned(),
        execution: Some(place.execution()),
        query: Some(WorkflowQuery { query_type: name.to_owned(), query_args: input, ..Default::default() }),
        ..Default::default()
    };
    let answer = visit.ask_within(request, wait).await?;
    Ok(answer.query_result.unwrap_or_default())
}

/// Asks a worker, if there is one and it answers soon.
pub(super) async fn words(visit: &Visit<'_>, place: &Place<'_>, wait: u32) -> Words {
    let Ok(answer) = ask(visit, place, METADATA, None, wait).await else { return Words::default() };
    let value =
        answer.payloads.first().and_then(|payload| serde_json::from_slice::<serde_json::Value>(&payload.data).ok()).unwrap_or_default();
    let names = |kind: &str| {
        let all = value.pointer(&format!("/definition/{kind}")).and_then(|all| all.as_array()).cloned().unwrap_or_default();
        let text = |one: &serde_json::Value, field: &str| one.get(field).and_then(|name| name.as_str()).unwrap_or_default().to_owned();
        all.iter()
            .map(|one| (text(one, "name"), text(one, "description")))
            .filter(|(name, _)| !name.is_empty() && !name.starts_with("__"))
            .collect()
    };
    let details = value.get("currentDetails").and_then(|details| details.as_str()).unwrap_or_default().to_owned();
    Words { queries: names("queryDefinitions"), signals: names("signalDefinitions"), updates: names("updateDefinitions"), details }
}

pub(super) async fn part(visit: &Visit<'_>, place: &Place<'_>, info: &WorkflowExecutionInfo) -> Result<Markup, Problem> {
    let workers = pollers(visit, place.namespace, info.task_queue.clone(), TaskQueueType::Workflow).await?;
    let asked = visit.query("query");
    if workers == 0 {
        return Ok(
            html! { section.panel { (show::empty("No worker to ask", html! { p { "Queries are answered by a worker of task queue " a href=(visit.link(&["namespaces", place.namespace, "task-queues", &info.task_queue])) { (info.task_queue) } ", and none polls it." } })) } },
        );
    }
    let input = visit.input();
    let answer = async {
        match (asked, &input) {
            ("", _) | (_, Err(_)) => None,
            (asked, Ok(input)) => Some(ask(visit, place, asked, input.clone(), WAIT_MS).await),
        }
    };
    let stack = async { if asked.is_empty() { Some(ask(visit, place, STACK, None, WAIT_MS).await) } else { None } };
    let (words, answer, stack) = futures::join!(words(visit, place, WAIT_MS), answer, stack);
    let here = place.link(visit, &["queries"]);
    Ok(html! {
        section.panel { h2 { "Ask" }
            form.query-form method="get" action=(here) {
                label.field { span.label { "Query" } input type="text" name="query" value=(asked) list="queries" required autocomplete="off" spellcheck="false"; }
                datalist id="queries" { @for (name, text) in &words.queries { option value=(name) { (text) } } option value=(STACK) {} }
                (json_field("input", "Input", visit.field("input")))
                button.primary type="submit" { "Ask the worker" }
            }
            @if !words.queries.is_empty() {
                p.chips { @for (name, text) in &words.queries { a.chip href=(visit.link_with(&["namespaces", place.namespace, "workflows", place.id, place.run, "queries"], &[("query", name)])) title=(text) { (name) } } }
            }
        }
        @if let Err(problem) = &input { p.error role="alert" { (problem.0.message()) } }
        @if let Some(answer) = &answer { section.panel { h2 { "Answer to " code { (asked) } } (result(answer)) } }
        @if !words.details.is_empty() { section.panel { h2 { "Current details" } p.text { (words.details) } } }
        @if let Some(stack) = &stack { section.panel { h2 { "Stack trace" } (trace(stack)) } }
    })
}

fn result(answer: &Result<Payloads, Problem>) -> Markup {
    match answer {
        Ok(payloads) => show::payloads(Some(payloads)),
        Err(problem) => html! { p.error role="alert" { (problem.0.message()) } },
    }
}

fn trace(answer: &Result<Payloads, Problem>) -> Markup {
    let text = answer.as_ref().ok().and_then(|payloads| payloads.payloads.first()).and_then(|payload| {
        let value = api_json::to_value(payload, Form::Shorthand);
        value.as_str().map(str::to_owned)
    });
    match text {
        Some(text) if !text.trim().is_empty() => html! { pre.payload tabindex="0" { (text.trim()) } },
        Some(_) => html! { p.muted { "Empty: the workflow's code waits nowhere." } },
        None => result(answer),
    }
}

//! The page of a run: what is true of it on top, then one of its views.

pub(crate) mod actions;
mod activity;
pub(crate) mod attempts;
mod forms;
mod history;
mod metadata;
mod pending;
pub(crate) mod pieces;
mod queries;
mod relations;
mod summary;
pub(crate) mod timeline;
mod updates;
mod wait;

use bytes::Bytes;
use maud::{Markup, html};
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::WorkflowExecutionStatus,
    history::HistoryEvent,
    workflowservice::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, GetWorkflowExecutionHistoryRequest},
};

use crate::{
    answer::redirect,
    layout::{Live, Page, Section, action, crumbs},
    route::Answer,
    show,
    visit::{Problem, Visit, written},
    why,
};

pub(crate) use relations::quoted;

/// Activities have attempts and heartbeats that history does not tell of: an open run is read again that often.
const LOOK_SECONDS: u32 = 5;

/// A run by what its links say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'p> {
    pub(crate) namespace: &'p str,
    pub(crate) id: &'p str,
    pub(crate) run: &'p str,
}

impl Place<'_> {
    pub(crate) fn execution(&self) -> WorkflowExecution {
        WorkflowExecution { workflow_id: self.id.to_owned(), run_id: self.run.to_owned() }
    }

    /// The link to one of its views or actions.
    pub(crate) fn link(&self, visit: &Visit, below: &[&str]) -> String {
        visit.link(&[&["namespaces", self.namespace, "workflows", self.id, self.run], below].concat())
    }
}

/// Views of a run: the path, the name.
const TABS: [(&str, &str); 6] = [
    ("", "Summary"),
    ("history", "History"),
    ("relationships", "Relations"),
    ("queries", "Queries"),
    ("updates", "Updates"),
    ("metadata", "Metadata"),
];

/// Links of Temporal's UI that are called otherwise here.
const OTHER_NAMES: [(&str, &str); 7] = [
    ("timeline", ""),
    ("workers", ""),
    ("pending-activities", ""),
    ("call-stack", "queries"),
    ("stack-trace", "queries"),
    ("memo", "metadata"),
    ("search-attributes", "metadata"),
];

pub(crate) async fn describe(visit: &Visit<'_>, place: &Place<'_>) -> Result<DescribeWorkflowExecutionResponse, Problem> {
    let request = DescribeWorkflowExecutionRequest { namespace: place.namespace.to_owned(), execution: Some(place.execution()) };
    visit.ask(request).await
}

/// Events of a page of history, and where it goes on.
pub(crate) async fn events(visit: &Visit<'_>, request: GetWorkflowExecutionHistoryRequest) -> Result<(Vec<HistoryEvent>, Bytes), Problem> {
    let answer = visit.ask(request).await?;
    let events = answer.history.unwrap_or_default().events();
    let events = events.map_err(|error| Problem(tonic::Status::internal(format!("a history that cannot be read: {error}"))))?;
    Ok((events, answer.next_page_token))
}

/// Events from this id on, at most so many.
pub(crate) async fn events_from(visit: &Visit<'_>, place: &Place<'_>, from: i64, count: usize) -> Result<Vec<HistoryEvent>, Problem> {
    let token = visit.ui.0.backend.history_from(place.run, from.max(1));
    let mut next_page_token = token.ok_or_else(|| Problem::invalid(format!("{:?} is not the id of a run", place.run)))?;
    let mut all = Vec::new();
    while all.len() < count {
        let request = GetWorkflowExecutionHistoryRequest {
            namespace: place.namespace.to_owned(),
            execution: Some(place.execution()),
            maximum_page_size: i32::try_from(count - all.len()).unwrap_or(i32::MAX).min(256),
            next_page_token,
            ..Default::default()
        };
        let (events, next) = events(visit, request).await?;
        all.extend(events);
        if next.is_empty() {
            break;
        }
        next_page_token = next;
    }
    all.truncate(count);
    Ok(all)
}

/// On to the current run of a workflow id.
pub(crate) async fn current(visit: &Visit<'_>, namespace: &str, id: &str) -> Answer {
    let description = describe(visit, &Place { namespace, id, run: "" }).await?;
    let info = description.workflow_execution_info.unwrap_or_default();
    let (id, run) = show::ids(info.execution.as_ref());
    Ok(redirect(&visit.link(&["namespaces", namespace, "workflows", id, run])))
}

/// A view of a run.
pub(crate) async fn page(visit: &Visit<'_>, place: &Place<'_>, tab: &str) -> Answer {
    if let Some((_, here)) = OTHER_NAMES.iter().find(|(name, _)| *name == tab) {
        let below: &[&str] = if here.is_empty() { &[] } else { &[here] };
        return Ok(redirect(&place.link(visit, below)));
    }
    if !TABS.iter().any(|(name, _)| *name == tab) {
        return Err(Problem(tonic::Status::not_found("A run has no such view.")));
    }
    let description = describe(visit, place).await?;
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let view = async {
        match tab {
            "history" => history::part(visit, place, &info).await,
            "relationships" => relations::part(visit, place, &description).await,
            "queries" => queries::part(visit, place, &info).await,
            "updates" => updates::part(visit, place, &info).await,
            "metadata" => Ok(metadata::part(visit, &description)),
            _ => summary::part(visit, place, &description).await,
        }
    };
    let (sentence, view) = futures::join!(wait::sentence(visit, place, &description), view);
    let view = view?;
    let open = why::is_open(&info);
    let body = html! {
        (crumbs(&[("Workflows", visit.link(&["namespaces", place.namespace, "workflows"]))]))
        (head(visit, place, &description, &sentence?))
        nav.tabs aria-label="Views of the run" {
            @for (name, title) in TABS {
                @let below: &[&str] = if name.is_empty() { &[] } else { &[name] };
                a href=(place.link(visit, below)) aria-current=[(name == tab).then_some("page")] { (title) }
            }
        }
        (view)
    };
    // Queries are answered by workers, each time anew: not unless somebody asks.
    let live = if open && tab != "queries" { stream(visit, place, info.history_length) } else { Live::Still };
    Ok(Page::new(place.namespace, Section::Workflows, format!("{} · {}", place.id, place.namespace), body).live(live).answer(visit))
}

/// What is told of the run after what the page shows.
fn stream(visit: &Visit, place: &Place, last: i64) -> Live {
    let link = visit.link(&["api", "v1", "namespaces", place.namespace, "workflows", place.id, "history-stream"]);
    let after = format!("{}/{}", place.run, last.max(1));
    let query = written(&[("runId", place.run), ("lastEventId", after.as_str())]);
    Live::StreamAndEvery(format!("{link}?{query}"), LOOK_SECONDS)
}

fn head(visit: &Visit, place: &Place, description: &DescribeWorkflowExecutionResponse, sentence: &str) -> Markup {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let open = why::is_open(&info);
    let paused = info.status() == WorkflowExecutionStatus::Paused;
    let link = |name: &str| place.link(visit, &["do", name]);
    let like = visit.link_with(&["namespaces", place.namespace, "start-workflow"], &[("like", &format!("{} {}", place.run, place.id))]);
    let attribute = |name: &str| {
        let value = info.search_attributes.as_ref().and_then(|all| all.indexed_fields.get(name));
        value.map(show::search_attribute).unwrap_or_default()
    };
    html! {
        div.heading.run-head {
            h1 { (show::copyable(place.id)) }
            div.actions #run-actions data-live {
                @if open { (action(&link("signal"), "Signal", "")) (action(&link("update"), "Update", "")) }
                (action(&link("query"), "Query", ""))
                @if open { (action(&link("cancel"), "Cancel", "")) (action(&link("terminate"), "Terminate", "red")) }
                details.menu.right {
                    summary.button { "More" }
                    div.menu-body { ul.menu-list {
                        @if open && !paused { li { a href=(link("pause")) data-dialog { "Pause" } } }
                        @if paused { li { a href=(link("unpause")) data-dialog { "Unpause" } } }
                        li { a href=(link("reset")) data-dialog { "Reset to a workflow task" } }
                        li { a href=(link("fork")) data-dialog { "Fork at an event" } }
                        li { a href=(like) data-dialog { "Start like this one" } }
                        li { a href=(visit.link(&["api", "v1", "namespaces", place.namespace, "workflows", place.id, "history"]) + "?execution.runId=" + place.run) { "History as JSON" } }
                        li { a href=(link("delete")) data-dialog data-tone="red" { "Delete" } }
                    } }
                }
            }
        }
        div.run-line #run-line data-live {
            (show::status(info.status())) (show::health(&attribute("SempreHealth")))
            @if description.workflow_extended_info.as_ref().is_some_and(|info| info.cancel_requested) && open { (show::badge("yellow", "Cancel requested")) }
            span.id { (info.r#type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default()) }
            span.muted { "on " a href=(visit.link(&["namespaces", place.namespace, "task-queues", &info.task_queue])) { (info.task_queue) } }
            span.muted { "started " (visit.times.show(info.start_time.as_ref())) }
            @if !open { span.muted { "took " (show::duration(info.execution_duration.as_ref().or(between(&info).as_ref()))) } }
        }
        p.why #why data-live data-open[open] { (sentence) }
    }
}

/// From the start to the end.
fn between(info: &sempre_api::v1::workflow::WorkflowExecutionInfo) -> Option<sempre_api::Duration> {
    let millis = show::millis(info.close_time.as_ref()?) - show::millis(info.start_time.as_ref()?);
    Some(sempre_api::Duration { seconds: millis / 1000, nanos: i32::try_from(millis % 1000).unwrap_or_default() * 1_000_000 })
}

//! Columns of the list of runs: which there are, which the viewer wants, what stands in them.

use maud::{Markup, html};
use sempre_api::v1::workflow::WorkflowExecutionInfo;

use crate::{
    show::{self, Times},
    visit::Visit,
};

/// Keeps what was chosen last.
pub(crate) const COOKIE: &str = "sempre_columns";
/// Those that are shown unless others are chosen.
const USUAL: &str = "status,id,type,state,started,closed";
/// Columns that a list may have.
const MAX: usize = 16;

/// Columns that every run has: the name in links, the title.
const KNOWN: [(&str, &str); 15] = [
    ("status", "Status"),
    ("id", "Workflow id"),
    ("run", "Run id"),
    ("type", "Type"),
    ("state", "What it does"),
    ("started", "Started"),
    ("closed", "Closed"),
    ("duration", "Took"),
    ("queue", "Task queue"),
    ("length", "Events"),
    ("size", "History size"),
    ("parent", "Parent"),
    ("root", "Root"),
    ("deployment", "Deployment"),
    ("transitions", "Transitions"),
];

/// What is in a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    Known(&'static str, &'static str),
    Attribute(String),
}

impl Column {
    fn parse(name: &str) -> Option<Self> {
        if let Some(attribute) = name.strip_prefix('@') {
            return (!attribute.is_empty()).then(|| Self::Attribute(attribute.to_owned()));
        }
        KNOWN.iter().find(|(known, _)| *known == name).map(|(name, title)| Self::Known(name, title))
    }

    fn name(&self) -> String {
        match self {
            Self::Known(name, _) => (*name).to_owned(),
            Self::Attribute(attribute) => format!("@{attribute}"),
        }
    }

    pub(crate) fn title(&self) -> &str {
        match self {
            Self::Known(_, title) => title,
            Self::Attribute(attribute) => attribute,
        }
    }

    /// It stands to the right.
    pub(crate) fn is_number(&self) -> bool {
        matches!(self, Self::Known("length" | "size" | "transitions" | "duration", _))
    }

    /// The cell of a run.
    pub(crate) fn cell(&self, visit: &Visit, namespace: &str, info: &WorkflowExecutionInfo) -> Markup {
        let (id, run) = show::ids(info.execution.as_ref());
        let times: &Times = &visit.times;
        let link = |id: &str, run: &str| visit.link(&["namespaces", namespace, "workflows", id, run]);
        let name = match self {
            Self::Attribute(attribute) => {
                let value = info.search_attributes.as_ref().and_then(|all| all.indexed_fields.get(attribute));
                return html! { td data-label=(attribute) { @if let Some(value) = value { (show::id(&show::search_attribute(value))) } } };
            }
            Self::Known(name, _) => *name,
        };
        let content = match name {
            "status" => show::status(info.status()),
            "id" => return html! { th scope="row" data-label=(self.title()) { a.id href=(link(id, run)) title=(id) { (id) } } },
            "run" => html! { a.id.mono href=(link(id, run)) title=(run) { (run) } },
            "type" => html! { (show::id(info.r#type.as_ref().map_or("", |kind| kind.name.as_str()))) },
            "state" => state(times, info),
            "started" => times.show(info.start_time.as_ref()),
            "closed" => times.show(info.close_time.as_ref()),
            "duration" => html! { (show::duration(info.execution_duration.as_ref())) },
            "queue" => {
                html! { a.id href=(visit.link(&["namespaces", namespace, "task-queues", &info.task_queue])) title=(info.task_queue) { (info.task_queue) } }
            }
            "length" => html! { (show::count(info.history_length)) },
            "size" => html! { (show::bytes(info.history_size_bytes)) },
            "transitions" => html! { (show::count(info.state_transition_count)) },
            "deployment" => html! { (show::id(&info.worker_deployment_name)) },
            "parent" => related(visit, namespace, info.parent_execution.as_ref()),
            _ => related(visit, namespace, info.root_execution.as_ref().filter(|root| root.run_id != run)),
        };
        html! { td.number[self.is_number()] data-label=(self.title()) { (content) } }
    }
}

fn related(visit: &Visit, namespace: &str, execution: Option<&sempre_api::v1::common::WorkflowExecution>) -> Markup {
    let (id, run) = show::ids(execution);
    html! { @if !id.is_empty() { a.id href=(visit.link(&["namespaces", namespace, "workflows", id, run])) title=(id) { (id) } } }
}

/// What hurts an open run, or what it waits for; what a failed one died of.
fn state(times: &Times, info: &WorkflowExecutionInfo) -> Markup {
    let attribute = |name: &str| {
        let value = info.search_attributes.as_ref().and_then(|all| all.indexed_fields.get(name));
        value.map(show::search_attribute).unwrap_or_default()
    };
    let (health, failure, waits) = (attribute("SempreHealth"), attribute("SempreLastFailure"), attribute("SempreWaitingFor"));
    let failure = html! { @if !failure.is_empty() { span.id.muted title=(failure) { (failure) } } };
    if !health.is_empty() {
        return html! { span.state { (show::health(&health)) (failure) } };
    }
    if !failure.0.is_empty() {
        return html! { span.state { (failure) } };
    }
    if waits.is_empty() {
        return html! {};
    }
    let since: Option<jiff::Timestamp> = attribute("SempreWaitingSince").parse().ok();
    html! { span.muted { "Waits for " (waits.replace('-', " ")) @if let Some(since) = since { ", " (times.age(since).trim_end_matches(" ago")) } } }
}

/// The columns that the viewer wants, and the text that stands for them if it is to be kept.
pub(crate) fn chosen(visit: &Visit) -> (Vec<Column>, Option<String>) {
    let asked: Vec<&str> = visit.queries("cols").flat_map(|names| names.split(',')).collect();
    let asked = asked.join(",");
    let kept = visit.cookie(COOKIE);
    let parse = |names: &str| {
        let mut columns: Vec<Column> = names.split(',').filter_map(Column::parse).take(MAX).collect();
        // Without its id a run cannot be opened.
        if !columns.iter().any(|column| matches!(column, Column::Known("id" | "run", _))) {
            columns.insert(0, Column::Known("id", "Workflow id"));
        }
        columns
    };
    match (asked.as_str(), kept) {
        ("", "") => (parse(USUAL), None),
        ("", kept) => (parse(kept), None),
        (asked, _) => {
            let columns = parse(asked);
            let text = columns.iter().map(Column::name).collect::<Vec<_>>().join(",");
            (columns, Some(text))
        }
    }
}

/// The form that chooses them; it comes back to the same list.
pub(crate) fn picker(link: &str, query: &str, chosen: &[Column], attributes: &[String]) -> Markup {
    let custom = attributes.iter().map(|name| Column::Attribute(name.clone()));
    let all = KNOWN.iter().map(|(name, title)| Column::Known(name, title)).chain(custom);
    html! {
        details.menu.right {
            summary.button { "Columns" }
            form.menu-body method="get" action=(link) {
                input type="hidden" name="query" value=(query);
                div.menu-list {
                    @for column in all {
                        label.check { input type="checkbox" name="cols" value=(column.name()) checked[chosen.contains(&column)]; span { (column.title()) } }
                    }
                }
                div.form-end { button.primary type="submit" { "Show these" }
                    a.button href=(format!("{link}?{}", crate::visit::written(&[("query", query), ("cols", USUAL)]))) { "Usual ones" } }
            }
        }
    }
}

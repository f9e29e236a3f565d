//! The first view of a run: what is pending, the timeline, input and result, the facts.

use maud::{Markup, html};
use sempre_api::v1::{
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::{DescribeWorkflowExecutionResponse, GetWorkflowExecutionHistoryReverseRequest},
};

use super::{Place, events_from, pending};
use crate::{
    show::{self, duration, facts},
    visit::{Problem, Visit},
    why,
};

pub(super) async fn part(visit: &Visit<'_>, place: &Place<'_>, description: &DescribeWorkflowExecutionResponse) -> Result<Markup, Problem> {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let open = why::is_open(&info);
    let last = async { if open { Ok(None) } else { newest(visit, place).await } };
    let (first, last) = futures::join!(events_from(visit, place, 1, 1), last);
    let (first, last) = (first?.into_iter().next(), last?);
    Ok(html! {
        (pending::part(visit, place, description))
        (timeline(visit, place, open, info.history_length))
        div.two {
            section.panel { h2 { "Input" } (input(first.as_ref())) }
            section.panel #result data-live { h2 { "Result" } (result(visit, place, last.as_ref(), open)) }
        }
        section.panel #facts data-live { h2 { "Facts" } (about(visit, place, description, first.as_ref())) }
    })
}

async fn newest(visit: &Visit<'_>, place: &Place<'_>) -> Result<Option<HistoryEvent>, Problem> {
    let request = GetWorkflowExecutionHistoryReverseRequest {
        namespace: place.namespace.to_owned(),
        execution: Some(place.execution()),
        maximum_page_size: 1,
        ..Default::default()
    };
    let events = visit.ask(request).await?.history.unwrap_or_default().events();
    Ok(events.map_err(|error| Problem(tonic::Status::internal(format!("a history that cannot be read: {error}"))))?.into_iter().next())
}

fn timeline(visit: &Visit, place: &Place, open: bool, events: i64) -> Markup {
    // As high as its rows will be, more or less: the page must not jump when they are drawn.
    let size = match events {
        ..16 => "small",
        16..40 => "medium",
        _ => "large",
    };
    let script = visit.link(&["ui", visit.ui.0.assets.name("timeline.js")]);
    html! {
        section.panel {
            div.panel-head { h2 #timeline-title { "Timeline" } span.muted.timeline-count data-timeline-count { (show::counted(events, "event", "events")) }
                span.grow {}
                div.timeline-tools hidden data-timeline-tools {
                    label.check { input type="checkbox" data-timeline-tasks; span { "Workflow tasks" } }
                    button type="button" data-zoom="in" title="Zoom in (+)" aria-label="Zoom in" { "+" }
                    button type="button" data-zoom="out" title="Zoom out (-)" aria-label="Zoom out" { "−" }
                    button type="button" data-zoom="all" title="All (0)" { "All" }
                }
            }
            div.timeline data-size=(size) data-timeline=(place.link(visit, &["timeline.json"])) data-history=(place.link(visit, &["history"]))
                data-open[open] data-script=(script) role="region" aria-labelledby="timeline-title" tabindex="0" {
                p.muted.timeline-wait { "Reading the history…" noscript { " The timeline is drawn by a script. " a href=(place.link(visit, &["history"])) { "The history" } " tells the same." } }
            }
        }
    }
}

fn input(first: Option<&HistoryEvent>) -> Markup {
    match first.and_then(|event| event.attributes.as_ref()) {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) => show::payloads(started.input.as_ref()),
        _ => html! { p.muted { "Not known" } },
    }
}

fn result(visit: &Visit, place: &Place, last: Option<&HistoryEvent>, open: bool) -> Markup {
    use Attributes as A;
    if open {
        return html! { p.muted { "None yet: the workflow is open." } };
    }
    match last.and_then(|event| event.attributes.as_ref()) {
        Some(A::WorkflowExecutionCompletedEventAttributes(a)) => show::payloads(a.result.as_ref()),
        Some(A::WorkflowExecutionFailedEventAttributes(a)) => html! { @if let Some(failure) = &a.failure { (show::failure(failure)) } },
        Some(A::WorkflowExecutionCanceledEventAttributes(a)) => html! { p { "Canceled" } (show::payloads(a.details.as_ref())) },
        Some(A::WorkflowExecutionTerminatedEventAttributes(a)) => html! {
            p { "Terminated by " (a.identity) @if !a.reason.is_empty() { ": " (a.reason) } } (show::payloads(a.details.as_ref()))
        },
        Some(A::WorkflowExecutionTimedOutEventAttributes(_)) => html! { p { "It did not end in time." } },
        Some(A::WorkflowExecutionContinuedAsNewEventAttributes(a)) => html! {
            p { "Continued as run " a.id.mono href=(visit.link(&["namespaces", place.namespace, "workflows", place.id, &a.new_execution_run_id])) { (a.new_execution_run_id) } }
            (show::payloads(a.input.as_ref()))
        },
        _ => html! { p.muted { "Not known" } },
    }
}

fn about(visit: &Visit, place: &Place, description: &DescribeWorkflowExecutionResponse, first: Option<&HistoryEvent>) -> Markup {
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    let config = description.execution_config.clone().unwrap_or_default();
    let times = &visit.times;
    let mut pairs = vec![
        ("Run id", show::copyable(place.run)),
        ("Started", times.full(info.start_time.as_ref())),
        ("Closed", times.full(info.close_time.as_ref())),
        ("Events", html! { (show::count(info.history_length)) ", " (show::bytes(info.history_size_bytes)) }),
    ];
    if let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = first.and_then(|event| event.attributes.as_ref()) {
        pairs.push(("Started by", html! { (started.identity) }));
        if started.attempt > 1 {
            pairs.push(("Attempt", html! { (started.attempt) }));
        }
        if !started.cron_schedule.is_empty() {
            pairs.push(("Cron", html! { (started.cron_schedule) }));
        }
    }
    if let Some(delayed) = info.execution_time.as_ref().filter(|at| info.start_time.as_ref() != Some(at)) {
        pairs.push(("First task due", times.full(Some(delayed))));
    }
    for (name, length) in [("Run timeout", config.workflow_run_timeout), ("Execution timeout", config.workflow_execution_timeout)] {
        if length.is_some_and(|length| length.seconds > 0) {
            pairs.push((name, html! { (duration(length.as_ref())) }));
        }
    }
    if !info.worker_deployment_name.is_empty() {
        let link = visit.link(&["namespaces", place.namespace, "worker-deployments", &info.worker_deployment_name]);
        pairs.push(("Deployment", html! { a href=(link) { (info.worker_deployment_name) } }));
    }
    if let Some(metadata) = &config.user_metadata {
        if let Some(summary) = &metadata.summary {
            pairs.push(("Summary", html! { (show::plain_text(summary)) }));
        }
        if let Some(details) = &metadata.details {
            pairs.push(("Details", html! { span.text { (show::plain_text(details)) } }));
        }
    }
    facts(&pairs)
}

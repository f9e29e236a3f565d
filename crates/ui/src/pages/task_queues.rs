//! Task queues: what waits in them, for how long, who polls them.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sempre_api::v1::{
    deployment::WorkerDeploymentVersion,
    enums::TaskQueueType,
    taskqueue::{TaskQueue, TaskQueueStats},
    workflowservice::{DescribeNamespaceRequest, DescribeTaskQueueRequest, DescribeTaskQueueResponse},
};

use super::run::quoted;
use crate::{
    backend::QueueSummary,
    layout::{Live, Page, Section, crumbs, heading},
    route::Answer,
    show::{self, badge, duration},
    visit::{Problem, Visit},
};

const KINDS: [(TaskQueueType, &str); 3] =
    [(TaskQueueType::Workflow, "Workflow tasks"), (TaskQueueType::Activity, "Activity tasks"), (TaskQueueType::Nexus, "Nexus tasks")];
/// Queues that are listed.
const SHOWN: usize = 1000;
const LOOK_SECONDS: u32 = 3;

/// All that have tasks or pollers.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    visit.ask(DescribeNamespaceRequest { namespace: namespace.to_owned(), ..Default::default() }).await?;
    let filter = visit.query("name");
    let mut queues: BTreeMap<String, Vec<QueueSummary>> = BTreeMap::new();
    for queue in visit.ui.0.backend.queues(namespace) {
        if queue.name.contains(filter) && !queue.name.starts_with("/_sys/") {
            queues.entry(queue.name.clone()).or_default().push(queue);
        }
    }
    let mut queues: Vec<(String, Vec<QueueSummary>)> = queues.into_iter().collect();
    let backlog = |parts: &[QueueSummary]| parts.iter().map(|part| part.backlog).sum::<u64>();
    queues.sort_by(|(a, a_parts), (b, b_parts)| (backlog(b_parts), a).cmp(&(backlog(a_parts), b)));
    let body = html! {
        (heading(html! { "Task queues" }, html! {}))
        form.filter method="get" role="search" { input type="text" name="name" value=(filter) placeholder="Part of a name" aria-label="Part of a name"; button type="submit" { "Filter" } }
        div.table-wrap { table {
            thead { tr { th { "Name" } th { "Workflow tasks" } th { "Activity tasks" } th { "Nexus tasks" } th { "Oldest" } th { "Pollers" } } }
            tbody #rows data-live {
                @for (name, parts) in queues.iter().take(SHOWN) {
                    @let of = |kind: TaskQueueType| parts.iter().find(|part| part.kind == kind);
                    @let oldest = parts.iter().filter_map(|part| part.oldest_seconds).max();
                    @let pollers: usize = parts.iter().map(|part| part.pollers).sum();
                    tr data-key=(name) {
                        th scope="row" { a.id href=(visit.link(&["namespaces", namespace, "task-queues", name])) title=(name) { (name) } }
                        @for (kind, title) in KINDS { td data-label=(title) { (waiting(of(kind))) } }
                        td data-label="Oldest" { @if let Some(seconds) = oldest { (duration(Some(&sempre_api::Duration { seconds, nanos: 0 }))) } @else { span.muted { "–" } } }
                        td data-label="Pollers" { @if pollers == 0 { (badge("red", "None")) } @else { (pollers) } }
                    }
                }
                @if queues.is_empty() { tr data-key="none" { td colspan="6" { (show::empty("No task queues", html! { p { "A queue is here while it has tasks or workers poll it." } })) } } }
            }
        } }
    };
    Ok(Page::new(namespace, Section::TaskQueues, format!("Task queues · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn waiting(part: Option<&QueueSummary>) -> Markup {
    html! { @match part { Some(part) if part.backlog > 0 => { b { (show::count(i64::try_from(part.backlog).unwrap_or(i64::MAX))) } } _ => { span.muted { "0" } } } }
}

async fn describe(visit: &Visit<'_>, namespace: &str, name: &str, kind: TaskQueueType) -> Result<DescribeTaskQueueResponse, Problem> {
    let request = DescribeTaskQueueRequest {
        namespace: namespace.to_owned(),
        task_queue: Some(TaskQueue { name: name.to_owned(), ..Default::default() }),
        task_queue_type: kind.into(),
        report_stats: true,
        report_config: true,
        ..Default::default()
    };
    visit.ask(request).await
}

/// One of them.
pub(crate) async fn one(visit: &Visit<'_>, namespace: &str, name: &str) -> Answer {
    let [(workflow, _), (activity, _), (nexus, _)] = KINDS;
    let (workflow, activity, nexus) = futures::join!(
        describe(visit, namespace, name, workflow),
        describe(visit, namespace, name, activity),
        describe(visit, namespace, name, nexus)
    );
    let all = [workflow?, activity?, nexus?];
    let runs = visit.link_with(&["namespaces", namespace, "workflows"], &[("query", &format!("TaskQueue = {}", quoted(name)))]);
    let body = html! {
        (crumbs(&[("Task queues", visit.link(&["namespaces", namespace, "task-queues"]))]))
        (heading(show::copyable(name), html! { a.button href=(runs) { "Its workflows" } a.button href=(visit.link_with(&["namespaces", namespace, "start-workflow"], &[("queue", name)])) data-dialog { "Start workflow" } }))
        div.cards #stats data-live { @for ((_, title), answer) in KINDS.iter().zip(&all) { (card(title, answer)) } }
        section.panel #versions data-live { @if let Some(versioning) = &all[0].versioning_info {
            h2 { "Versions" } p { "Current: " (version(versioning.current_deployment_version.as_ref()))
                @if versioning.ramping_deployment_version.is_some() { ", ramping: " (version(versioning.ramping_deployment_version.as_ref())) " with " (versioning.ramping_version_percentage) " %" } }
        } @else { p.muted { "No deployment has set a version for this queue." } } }
        section.panel { h2 { "Pollers" }
            div.table-wrap { table {
                thead { tr { th { "Worker" } th { "Polls for" } th { "Last poll" } th { "Deployment version" } th { "Rate" } } }
                tbody #pollers data-live {
                    @for ((_, title), answer) in KINDS.iter().zip(&all) {
                        @for poller in &answer.pollers {
                            @let version = poller.deployment_options.as_ref().filter(|options| !options.deployment_name.is_empty());
                            tr data-key=(format!("{title} {}", poller.identity)) {
                                th scope="row" { (show::id(&poller.identity)) } td data-label="Polls for" { (title) } td data-label="Last poll" { (visit.times.show(poller.last_access_time.as_ref())) }
                                td data-label="Deployment version" { @if let Some(version) = version { (version.deployment_name) " " (version.build_id) } }
                                td data-label="Rate" { @if poller.rate_per_second > 0.0 && poller.rate_per_second < 100_000.0 { (poller.rate_per_second) "/s" } }
                            }
                        }
                    }
                    @if all.iter().all(|answer| answer.pollers.is_empty()) { tr data-key="none" { td colspan="5" { (show::empty("No worker polls this queue", html! { p { "Tasks wait until one does." } })) } } }
                }
            } }
        }
    };
    Ok(Page::new(namespace, Section::TaskQueues, format!("{name} · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn card(title: &str, answer: &DescribeTaskQueueResponse) -> Markup {
    let stats: TaskQueueStats = answer.stats.unwrap_or_default();
    let limit =
        answer.effective_rate_limit.as_ref().map(|limit| limit.requests_per_second).filter(|limit| *limit > 0.0 && *limit < 100_000.0);
    html! {
        section.panel.card { h2 { (title) }
            p.big { b { (show::count(stats.approximate_backlog_count)) } " waiting" }
            dl.facts {
                div { dt { "Oldest" } dd { (if stats.approximate_backlog_count > 0 { duration(stats.approximate_backlog_age.as_ref()) } else { "–".into() }) } }
                div { dt { "Added" } dd { (rate(stats.tasks_add_rate)) } }
                div { dt { "Handed out" } dd { (rate(stats.tasks_dispatch_rate)) } }
                div { dt { "Pollers" } dd { (answer.pollers.len()) } }
                @if let Some(limit) = limit { div { dt { "Limit" } dd { (rate(limit)) } } }
            }
            @if !answer.stats_by_priority_key.is_empty() && answer.stats_by_priority_key.len() > 1 {
                details { summary { "By priority" } dl.facts { @for (priority, stats) in &answer.stats_by_priority_key { div { dt { (priority) } dd { (show::count(stats.approximate_backlog_count)) } } } } }
            }
        }
    }
}

fn version(version: Option<&WorkerDeploymentVersion>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| format!("{} {}", version.deployment_name, version.build_id))
}

fn rate(per_second: f32) -> String {
    format!("{per_second:.1}/s")
}

//! Workers that send heartbeats: where they are, what they run, how busy they are.

use maud::{Markup, html};
use sempre_api::v1::{
    enums::WorkerStatus,
    worker::{WorkerPollerInfo, WorkerSlotsInfo},
    workflowservice::{DescribeWorkerRequest, ListWorkersRequest},
};

use crate::{
    layout::{Live, Page, Section, crumbs, heading, page_token, pager},
    route::Answer,
    show::{self, badge, facts, words},
    visit::Visit,
};

const PAGE: i32 = 100;
const LOOK_SECONDS: u32 = 5;

fn status(status: i32) -> Markup {
    let status = WorkerStatus::try_from(status).unwrap_or_default();
    let tone = match status {
        WorkerStatus::Running => "green",
        WorkerStatus::ShuttingDown => "yellow",
        _ => "gray",
    };
    badge(tone, &words(status.as_str_name(), "WORKER_STATUS_"))
}

/// All of them.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let query = visit.query("query");
    let request = ListWorkersRequest {
        namespace: namespace.to_owned(),
        page_size: PAGE,
        next_page_token: page_token(visit),
        query: query.to_owned(),
        ..Default::default()
    };
    let answer = visit.ask(request).await?;
    let body = html! {
        (heading(html! { "Workers" }, html! {}))
        form.filter method="get" role="search" { input type="text" name="query" value=(query) placeholder="Filter, such as TaskQueue = 'orders'" aria-label="Filter" spellcheck="false"; button type="submit" { "Filter" } }
        div.table-wrap { table {
            thead { tr { th { "Worker" } th { "Status" } th { "Task queue" } th { "SDK" } th { "Host" } th { "Deployment version" } th { "Started" } } }
            tbody #rows data-live {
                @for worker in &answer.workers {
                    tr data-key=(worker.worker_instance_key) {
                        th scope="row" { a.id href=(visit.link(&["namespaces", namespace, "workers", &worker.worker_instance_key])) title=(worker.worker_identity) { (worker.worker_identity) } }
                        td data-label="Status" { (status(worker.status)) }
                        td data-label="Task queue" { a.id href=(visit.link(&["namespaces", namespace, "task-queues", &worker.task_queue])) title=(worker.task_queue) { (worker.task_queue) } }
                        td data-label="SDK" { (worker.sdk_name) " " (worker.sdk_version) }
                        td data-label="Host" { (show::id(&worker.host_name)) @if !worker.process_id.is_empty() { " " span.muted { "process " (worker.process_id) } } }
                        td data-label="Deployment version" { @if let Some(version) = &worker.deployment_version { (version.deployment_name) " " (version.build_id) } }
                        td data-label="Started" { (visit.times.show(worker.start_time.as_ref())) }
                    }
                }
                @if answer.workers.is_empty() { tr data-key="none" { td colspan="7" { (show::empty("No workers here", html! { p { "Workers of SDKs that send heartbeats are listed. Others are seen as pollers of their " a href=(visit.link(&["namespaces", namespace, "task-queues"])) { "task queues" } "." } })) } } }
            }
        } }
        (pager(visit, &["namespaces", namespace, "workers"], &[("query", query)], &answer.next_page_token))
    };
    Ok(Page::new(namespace, Section::Workers, format!("Workers · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

/// One of them.
pub(crate) async fn one(visit: &Visit<'_>, namespace: &str, key: &str) -> Answer {
    let answer = visit.ask(DescribeWorkerRequest { namespace: namespace.to_owned(), worker_instance_key: key.to_owned() }).await?;
    let worker = answer.worker_info.unwrap_or_default().worker_heartbeat.unwrap_or_default();
    let host = worker.host_info.clone().unwrap_or_default();
    let slots = [
        ("Workflow tasks", &worker.workflow_task_slots_info, &worker.workflow_poller_info),
        ("Activities", &worker.activity_task_slots_info, &worker.activity_poller_info),
        ("Local activities", &worker.local_activity_slots_info, &None),
        ("Nexus tasks", &worker.nexus_task_slots_info, &worker.nexus_poller_info),
    ];
    let seen = i64::from(worker.total_sticky_cache_hit) + i64::from(worker.total_sticky_cache_miss);
    let about = facts(&[
        (
            "Task queue",
            html! { a href=(visit.link(&["namespaces", namespace, "task-queues", &worker.task_queue])) { (worker.task_queue) } },
        ),
        ("SDK", html! { (worker.sdk_name) " " (worker.sdk_version) }),
        ("Host", html! { (host.host_name) @if !host.process_id.is_empty() { ", process " (host.process_id) } }),
        ("CPU and memory of the host", html! { (percent(host.current_host_cpu_usage)) ", " (percent(host.current_host_mem_usage)) }),
        ("Started", visit.times.full(worker.start_time.as_ref())),
        ("Last heartbeat", visit.times.full(worker.heartbeat_time.as_ref())),
        (
            "Runs in its cache",
            html! { (show::count(i64::from(worker.current_sticky_cache_size))) @if seen > 0 { span.muted { ", found " (i64::from(worker.total_sticky_cache_hit) * 100 / seen) " % of the time" } } },
        ),
        (
            "Deployment version",
            html! { @match &worker.deployment_version { Some(version) => { (version.deployment_name) " " (version.build_id) } None => { span.muted { "none" } } } },
        ),
        ("Instance", show::copyable(&worker.worker_instance_key)),
    ]);
    let body = html! {
        (crumbs(&[("Workers", visit.link(&["namespaces", namespace, "workers"]))]))
        (heading(html! { (show::id(&worker.worker_identity)) " " (status(worker.status)) }, html! {}))
        div.cards #slots data-live { @for (title, slots, poller) in slots { @if let Some(slots) = slots { (card(visit, title, slots, poller.as_ref())) } } }
        section.panel #facts data-live { (about) }
    };
    Ok(Page::new(namespace, Section::Workers, format!("{} · {namespace}", worker.worker_identity), body)
        .live(Live::Every(LOOK_SECONDS))
        .answer(visit))
}

fn card(visit: &Visit, title: &str, slots: &WorkerSlotsInfo, poller: Option<&WorkerPollerInfo>) -> Markup {
    let total = slots.current_used_slots + slots.current_available_slots;
    html! {
        section.panel.card { h2 { (title) }
            p.big { b { (slots.current_used_slots) } " of " (total) " slots" }
            meter aria-label=(format!("{title}: used slots")) min="0" max=(total.max(1)) value=(slots.current_used_slots) {}
            dl.facts {
                div { dt { "Processed" } dd { (show::count(i64::from(slots.total_processed_tasks))) } }
                div { dt { "Failed" } dd { (show::count(i64::from(slots.total_failed_tasks))) } }
                @if let Some(poller) = poller {
                    div { dt { "Pollers" } dd { (poller.current_pollers) @if poller.is_autoscaling { span.muted { ", by need" } } } }
                    div { dt { "Last task" } dd { (visit.times.show(poller.last_successful_poll_time.as_ref())) } }
                }
            }
        }
    }
}

fn percent(share: f32) -> String {
    format!("{:.0} %", share * 100.0)
}

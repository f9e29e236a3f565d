//! Schedules: the list of a namespace, and what all their pages share.

pub(crate) mod actions;
pub(crate) mod edit;
pub(crate) mod one;
mod spec;

use maud::{Markup, html};
use sempre_api::v1::workflowservice::ListSchedulesRequest;

use crate::{
    layout::{Live, Page, Section, heading, page_token, pager},
    route::Answer,
    show::{self, badge},
    visit::Visit,
};

const PAGE: i32 = 50;
const LOOK_SECONDS: u32 = 5;

/// What is done when a run of the schedule is still open.
pub(crate) const OVERLAPS: [(&str, &str); 6] = [
    ("SCHEDULE_OVERLAP_POLICY_SKIP", "Leave the new one out"),
    ("SCHEDULE_OVERLAP_POLICY_BUFFER_ONE", "Start one when it ends"),
    ("SCHEDULE_OVERLAP_POLICY_BUFFER_ALL", "Start all, one after the other"),
    ("SCHEDULE_OVERLAP_POLICY_CANCEL_OTHER", "Cancel it first"),
    ("SCHEDULE_OVERLAP_POLICY_TERMINATE_OTHER", "Terminate it first"),
    ("SCHEDULE_OVERLAP_POLICY_ALLOW_ALL", "Start the new one beside it"),
];

/// All of them.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let query = visit.query("query").trim();
    let request = ListSchedulesRequest {
        namespace: namespace.to_owned(),
        maximum_page_size: PAGE,
        next_page_token: page_token(visit),
        query: query.to_owned(),
    };
    let answer = visit.ask(request).await?;
    let create = visit.link(&["namespaces", namespace, "schedules", "create"]);
    let body = html! {
        (heading(html! { "Schedules" }, html! { a.button.primary href=(create) { "Create schedule" } }))
        form.filter method="get" role="search" { input type="text" name="query" value=(query) placeholder="Filter, such as TemporalSchedulePaused = true" aria-label="Filter" spellcheck="false"; button type="submit" { "Filter" } }
        div.table-wrap { table {
            thead { tr { th { "Schedule" } th { "State" } th { "When" } th { "Starts" } th { "Last" } th { "Next" } } }
            tbody #rows data-live {
                @for schedule in &answer.schedules {
                    @let info = schedule.info.clone().unwrap_or_default();
                    tr data-key=(schedule.schedule_id) {
                        th scope="row" data-label="Schedule" { a.id href=(visit.link(&["namespaces", namespace, "schedules", &schedule.schedule_id])) title=(schedule.schedule_id) { (schedule.schedule_id) } }
                        td data-label="State" { (state(info.paused)) }
                        td data-label="When" { @if let Some(spec) = &info.spec { (show::id(&spec::text(spec).join("; "))) } }
                        td data-label="Starts" { (show::id(info.workflow_type.as_ref().map(|kind| kind.name.as_str()).unwrap_or_default())) }
                        td data-label="Last" { (visit.times.show(info.recent_actions.last().and_then(|action| action.actual_time.as_ref()))) }
                        td data-label="Next" { @if info.paused { span.muted { "–" } } @else { (visit.times.show(info.future_action_times.first())) } }
                    }
                }
                @if answer.schedules.is_empty() {
                    tr data-key="none" { td colspan="6" { (show::empty("No schedules here", html! { p { "A schedule starts a workflow again and again. " a href=(create) { "Create one" } } })) } }
                }
            }
        } }
        (pager(visit, &["namespaces", namespace, "schedules"], &[("query", query)], &answer.next_page_token))
    };
    Ok(Page::new(namespace, Section::Schedules, format!("Schedules · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

pub(crate) fn state(paused: bool) -> Markup {
    if paused { badge("yellow", "Paused") } else { badge("green", "Running") }
}

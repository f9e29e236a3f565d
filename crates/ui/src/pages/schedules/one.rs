//! One schedule: when it acts, what it did, what it will do.

use maud::{Markup, html};
use sempre_api::{
    sempre::v1::{ListSkippedActionsRequest, SkipReason},
    v1::{
        enums::{ScheduleOverlapPolicy, WorkflowExecutionStatus},
        schedule::{ScheduleInfo, schedule_action::Action},
        workflowservice::{DescribeScheduleRequest, DescribeScheduleResponse},
    },
};

use super::{OVERLAPS, spec, state};
use crate::{
    layout::{Live, Page, Section, action, crumbs, heading},
    pages::run::quoted,
    route::Answer,
    show::{self, duration, facts, words},
    visit::{Problem, Visit},
};

const LOOK_SECONDS: u32 = 3;

pub(super) async fn describe(visit: &Visit<'_>, namespace: &str, id: &str) -> Result<DescribeScheduleResponse, Problem> {
    visit.ask(DescribeScheduleRequest { namespace: namespace.to_owned(), schedule_id: id.to_owned() }).await
}

/// The page.
pub(crate) async fn page(visit: &Visit<'_>, namespace: &str, id: &str) -> Answer {
    let skipped = ListSkippedActionsRequest { namespace: namespace.to_owned(), schedule_id: id.to_owned() };
    let (answer, skipped) = futures::join!(describe(visit, namespace, id), visit.ask(skipped));
    let (answer, skipped) = (answer?, skipped?.skipped);
    let schedule = answer.schedule.clone().unwrap_or_default();
    let info = answer.info.clone().unwrap_or_default();
    let paused = schedule.state.as_ref().is_some_and(|state| state.paused);
    let link = |action: &str| visit.link(&["namespaces", namespace, "schedules", id, "do", action]);
    let runs = visit.link_with(&["namespaces", namespace, "workflows"], &[("query", &format!("TemporalScheduledById = {}", quoted(id)))]);
    let body = html! {
        (crumbs(&[("Schedules", visit.link(&["namespaces", namespace, "schedules"]))]))
        (heading(html! { (show::copyable(id)) }, html! {
            (action(&link("trigger"), "Trigger", "")) (action(&link("backfill"), "Backfill", ""))
            @if paused { (action(&link("unpause"), "Unpause", "")) } @else { (action(&link("pause"), "Pause", "")) }
            a.button href=(visit.link(&["namespaces", namespace, "schedules", id, "edit"])) { "Edit" }
            a.button href=(runs) { "Its workflows" }
            (action(&link("delete"), "Delete", "red"))
        }))
        div #state data-live {
            p.run-line { (state(paused)) @if let Some(state) = schedule.state.as_ref().filter(|state| !state.notes.is_empty()) { span.muted { (state.notes) } } }
        }
        div.two {
            section.panel #upcoming data-live { h2 { "Upcoming" } (upcoming(visit, &info, paused)) }
            section.panel #recent data-live { h2 { "Recent" } (recent(visit, namespace, &info)) }
        }
        section.panel #facts data-live { h2 { "Facts" } (about(visit, &answer)) }
        section.panel #skipped data-live { h2 { "Left out" }
            @if skipped.is_empty() { p.muted { "No action was left out." } }
            @else { div.table-wrap { table {
                thead { tr { th { "Why" } th { "How many" } th { "Due first" } th { "Due last" } } }
                tbody { @for skipped in skipped.iter().rev() {
                    tr { td { (words(SkipReason::try_from(skipped.reason).unwrap_or_default().as_str_name(), "SKIP_REASON_")) } td { (show::count(skipped.count)) }
                        td { (visit.times.show(skipped.first_schedule_time.as_ref())) } td { (visit.times.show(skipped.last_schedule_time.as_ref())) } }
                } }
            } } }
        }
        section.panel { h2 { "Input" } @match schedule.action.as_ref().and_then(|action| action.action.as_ref()) {
            Some(Action::StartWorkflow(start)) => { (show::payloads(start.input.as_ref())) }
            None => { p.muted { "None" } }
        } }
    };
    Ok(Page::new(namespace, Section::Schedules, format!("{id} · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn upcoming(visit: &Visit, info: &ScheduleInfo, paused: bool) -> Markup {
    html! {
        @if paused { p.muted { "None while it is paused." } }
        @else if info.future_action_times.is_empty() { p.muted { "None" } }
        @else { ul.sample { @for at in &info.future_action_times { li { (visit.times.full(Some(at))) } } } }
    }
}

fn recent(visit: &Visit, namespace: &str, info: &ScheduleInfo) -> Markup {
    html! {
        @if info.recent_actions.is_empty() { p.muted { "None yet" } }
        ul.sample { @for action in info.recent_actions.iter().rev() {
            @let (id, run) = show::ids(action.start_workflow_result.as_ref());
            @let status = WorkflowExecutionStatus::try_from(action.start_workflow_status).unwrap_or_default();
            li { @if status != WorkflowExecutionStatus::Unspecified { (show::status(status)) " " } a.id href=(visit.link(&["namespaces", namespace, "workflows", id, run])) title=(id) { (id) } " " span.muted { (visit.times.show(action.actual_time.as_ref())) } }
        } }
    }
}

fn about(visit: &Visit, answer: &DescribeScheduleResponse) -> Markup {
    let schedule = answer.schedule.clone().unwrap_or_default();
    let info = answer.info.clone().unwrap_or_default();
    let spec = schedule.spec.clone().unwrap_or_default();
    let policies = schedule.policies.unwrap_or_default();
    let overlap = ScheduleOverlapPolicy::try_from(policies.overlap_policy).unwrap_or_default();
    let overlap = OVERLAPS.iter().find(|(name, _)| *name == overlap.as_str_name()).map_or(OVERLAPS[0].1, |(_, text)| *text);
    let mut pairs = vec![
        ("When", html! { @for rule in spec::text(&spec) { div { (rule) } } }),
        ("Time zone", html! { (if spec.timezone_name.is_empty() { "UTC" } else { &spec.timezone_name }) }),
        ("Jitter", html! { (duration(spec.jitter.as_ref())) }),
        ("While one is open", html! { (overlap) }),
        ("Catches up", html! { (duration(policies.catchup_window.as_ref())) }),
        ("Pauses on failure", html! { (if policies.pause_on_failure { "yes" } else { "no" }) }),
        ("Actions", html! { (show::count(info.action_count)) }),
        ("Made", visit.times.full(info.create_time.as_ref())),
        ("Changed", visit.times.full(info.update_time.as_ref())),
    ];
    if let Some(Action::StartWorkflow(start)) = schedule.action.and_then(|action| action.action) {
        pairs.push(("Starts", html! { (start.workflow_type.map(|kind| kind.name).unwrap_or_default()) }));
        pairs.push(("Workflow id", html! { (start.workflow_id) }));
        pairs.push(("Task queue", html! { (start.task_queue.map(|queue| queue.name).unwrap_or_default()) }));
    }
    if let Some(state) = schedule.state.filter(|state| state.limited_actions) {
        pairs.push(("Actions left", html! { (show::count(state.remaining_actions)) }));
    }
    facts(&pairs)
}

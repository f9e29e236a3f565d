//! Activities that belong to no workflow: the list, one of them, and what can be done to it.

use maud::{Markup, html};
use sempre_api::{
    sempre::v1::ListActivityAttemptsRequest,
    v1::{
        activity::{ActivityExecutionInfo, activity_execution_outcome::Value as Outcome},
        enums::{ActivityExecutionStatus as Status, PendingActivityState},
        workflowservice::{
            DeleteActivityExecutionRequest, DescribeActivityExecutionRequest, DescribeActivityExecutionResponse,
            ListActivityExecutionsRequest, PauseActivityExecutionRequest, RequestCancelActivityExecutionRequest,
            ResetActivityExecutionRequest, TerminateActivityExecutionRequest, UnpauseActivityExecutionRequest,
        },
    },
};
use uuid::Uuid;

use crate::{
    answer::redirect,
    layout::{Form, Live, Page, Section, action, crumbs, heading, page_token, pager, text_field},
    route::Answer,
    show::{self, badge, facts, words},
    visit::{IDENTITY, Problem, Visit},
};

const PAGE: i32 = 100;
const LIST_LOOK_SECONDS: u32 = 5;
const LOOK_SECONDS: u32 = 2;

fn status(status: Status) -> Markup {
    let tone = match status {
        Status::Running => "blue",
        Status::Completed => "green",
        Status::Failed | Status::TimedOut => "red",
        Status::Paused => "yellow",
        _ => "gray",
    };
    badge(tone, &words(status.as_str_name(), "ACTIVITY_EXECUTION_STATUS_"))
}

fn is_open(status: Status) -> bool {
    matches!(status, Status::Running | Status::Paused | Status::Unspecified)
}

/// All of them, by a query.
pub(crate) async fn list(visit: &Visit<'_>, namespace: &str) -> Answer {
    let query = visit.query("query").to_owned();
    let request = ListActivityExecutionsRequest {
        namespace: namespace.to_owned(),
        page_size: PAGE,
        next_page_token: page_token(visit),
        query: query.clone(),
    };
    let answer = visit.ask(request).await?;
    let here = visit.link(&["namespaces", namespace, "activities"]);
    let body = html! {
        (heading(html! { "Activities" }, html! {}))
        form.inline method="get" action=(here) role="search" {
            label.field { span.label { "Filter" } input type="search" name="query" value=(query) placeholder="ActivityType = 'Charge' AND ExecutionStatus = 'Running'" autocomplete="off" spellcheck="false"; }
            button type="submit" { "Show" }
        }
        div.table-wrap { table {
            thead { tr { th { "Activity" } th { "Status" } th { "Type" } th { "Task queue" } th { "Scheduled" } th { "Closed" } } }
            tbody #rows data-live {
                @for one in &answer.executions {
                    tr data-key=(one.run_id) {
                        th scope="row" { a.id href=(visit.link(&["namespaces", namespace, "activities", &one.activity_id, &one.run_id])) title=(one.activity_id) { (one.activity_id) } }
                        td data-label="Status" { (status(one.status())) }
                        td data-label="Type" { (one.activity_type.clone().unwrap_or_default().name) }
                        td data-label="Task queue" { (one.task_queue) }
                        td data-label="Scheduled" { (visit.times.show(one.schedule_time.as_ref())) }
                        td data-label="Closed" { (visit.times.show(one.close_time.as_ref())) }
                    }
                }
                @if answer.executions.is_empty() { tr data-key="none" { td colspan="6" { (show::empty("No activities", html! { p { "Activities that belong to no workflow are here; those of workflows are on the pages of their runs." } })) } } }
            }
        } }
        (pager(visit, &["namespaces", namespace, "activities"], &[("query", query.as_str())], &answer.next_page_token))
    };
    Ok(Page::new(namespace, Section::Activities, format!("Activities · {namespace}"), body)
        .live(Live::Every(LIST_LOOK_SECONDS))
        .answer(visit))
}

async fn describe(visit: &Visit<'_>, namespace: &str, id: &str, run: &str) -> Result<DescribeActivityExecutionResponse, Problem> {
    let request = DescribeActivityExecutionRequest {
        namespace: namespace.to_owned(),
        activity_id: id.to_owned(),
        run_id: run.to_owned(),
        include_input: true,
        include_outcome: true,
        include_heartbeat_details: true,
        include_last_failure: true,
        ..Default::default()
    };
    visit.ask(request).await
}

/// What it does now, in one sentence.
fn sentence(visit: &Visit<'_>, info: &ActivityExecutionInfo) -> String {
    let time = |at: &Option<sempre_api::Timestamp>| visit.times.text(at.as_ref());
    let most = info.retry_policy.as_ref().map_or(0, |policy| policy.maximum_attempts);
    let attempt = if most > 0 { format!("attempt {} of {most}", info.attempt) } else { format!("attempt {}", info.attempt) };
    match (is_open(info.status()), info.run_state()) {
        (false, _) => format!("It closed {} with {attempt}.", time(&info.close_time)),
        (true, PendingActivityState::Started) => {
            format!("{} works on {attempt}, begun {}.", or(&info.last_worker_identity, "A worker"), time(&info.last_started_time))
        }
        (true, PendingActivityState::Paused) => format!("It is paused before {attempt}."),
        (true, PendingActivityState::PauseRequested) => format!("It is paused when {attempt} ends."),
        (true, PendingActivityState::CancelRequested) => format!("It was asked to cancel; {attempt} has not ended."),
        (true, _) if info.next_attempt_schedule_time.is_some() => {
            format!("It waits for {attempt}, due {}.", time(&info.next_attempt_schedule_time))
        }
        (true, _) => format!("It waits for a worker of task queue {} to take {attempt}.", info.task_queue),
    }
}

fn or<'t>(text: &'t str, other: &'t str) -> &'t str {
    if text.is_empty() { other } else { text }
}

/// One of them.
pub(crate) async fn one(visit: &Visit<'_>, namespace: &str, id: &str, run: &str) -> Answer {
    let answer = describe(visit, namespace, id, run).await?;
    let info = answer.info.clone().unwrap_or_default();
    let log = ListActivityAttemptsRequest {
        namespace: namespace.to_owned(),
        activity_id: id.to_owned(),
        run_id: run.to_owned(),
        ..Default::default()
    };
    let log = visit.ask(log).await?.activities;
    let open = is_open(info.status());
    let paused = matches!(info.run_state(), PendingActivityState::Paused | PendingActivityState::PauseRequested);
    let link = |act: &str| visit.link(&["namespaces", namespace, "activities", id, run, "do", act]);
    let actions = html! {
        @if open {
            @if paused { (action(&link("unpause"), "Unpause", "")) } @else { (action(&link("pause"), "Pause", "")) }
            (action(&link("reset"), "Reset", "")) (action(&link("cancel"), "Cancel", "")) (action(&link("terminate"), "Terminate", "red"))
        } @else { (action(&link("delete"), "Delete", "red")) }
    };
    let about = facts(&[
        ("Type", html! { (info.activity_type.clone().unwrap_or_default().name) }),
        ("Task queue", html! { a href=(visit.link(&["namespaces", namespace, "task-queues", &info.task_queue])) { (info.task_queue) } }),
        ("Scheduled", visit.times.full(info.schedule_time.as_ref())),
        ("Closed", visit.times.full(info.close_time.as_ref())),
        ("Schedule to close", html! { (show::duration(info.schedule_to_close_timeout.as_ref())) }),
        ("Schedule to start", html! { (show::duration(info.schedule_to_start_timeout.as_ref())) }),
        ("Start to close", html! { (show::duration(info.start_to_close_timeout.as_ref())) }),
        ("Heartbeat", html! { (show::duration(info.heartbeat_timeout.as_ref())) }),
        ("Run id", show::copyable(&info.run_id)),
    ]);
    let attempts = facts(&[
        ("Attempt", html! { (info.attempt) }),
        ("Last started", visit.times.full(info.last_started_time.as_ref())),
        ("Last worker", html! { (info.last_worker_identity) }),
        ("Last attempt ended", visit.times.full(info.last_attempt_complete_time.as_ref())),
        ("Next attempt", visit.times.full(info.next_attempt_schedule_time.as_ref())),
        ("Heartbeats", html! { (show::count(info.total_heartbeat_count)) }),
        ("Last heartbeat", visit.times.full(info.last_heartbeat_time.as_ref())),
    ]);
    let body = html! {
        (crumbs(&[("Activities", visit.link(&["namespaces", namespace, "activities"]))]))
        (heading(html! { (id) }, actions))
        section.panel #now data-live { p.big { (status(info.status())) " " (sentence(visit, &info)) } }
        section.panel #attempts data-live {
            h2 { "Attempts" } (attempts)
            (show::attempts(&visit.times, log.first()))
            @if let Some(failure) = &info.last_failure { h3 { "Last failure" } (show::failure(failure)) }
            @if info.heartbeat_details.is_some() { h3 { "Heartbeat details" } (show::payloads(info.heartbeat_details.as_ref())) }
        }
        section.panel #values data-live {
            h2 { "Input" } (show::payloads(answer.input.as_ref()))
            @match answer.outcome.as_ref().and_then(|outcome| outcome.value.as_ref()) {
                Some(Outcome::Result(result)) => { h2 { "Result" } (show::payloads(Some(result))) }
                Some(Outcome::Failure(failure)) => { h2 { "Failure" } (show::failure(failure)) }
                None => {}
            }
        }
        section.panel #facts data-live { (about) }
    };
    let live = if open { Live::Every(LOOK_SECONDS) } else { Live::Still };
    Ok(Page::new(namespace, Section::Activities, format!("{id} · {namespace}"), body).live(live).answer(visit))
}

fn asked(act: &str) -> Result<(&'static str, &'static str, &'static str), Problem> {
    Ok(match act {
        "pause" => ("Pause", "No further attempt begins until it is unpaused.", "Pause it"),
        "unpause" => ("Unpause", "Attempts begin again.", "Unpause it"),
        "reset" => ("Reset", "It begins anew, with its first attempt.", "Reset it"),
        "cancel" => ("Cancel", "Its worker is asked to cancel it.", "Cancel it"),
        "terminate" => ("Terminate", "It ends at once, and its worker is not asked.", "Terminate it"),
        "delete" => ("Delete", "Nothing is left of it.", "Delete it"),
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to an activity."))),
    })
}

/// The form of an action.
pub(crate) async fn form(visit: &Visit<'_>, namespace: &str, id: &str, run: &str, act: &str) -> Answer {
    let (title, text, send) = asked(act)?;
    describe(visit, namespace, id, run).await?;
    let page = visit.link(&["namespaces", namespace, "activities", id, run]);
    let reasoned = matches!(act, "pause" | "unpause" | "cancel" | "terminate");
    let form = Form {
        title,
        text: html! { p { (text) } p { code { (id) } } },
        to: visit.link(&["namespaces", namespace, "activities", id, run, "do", act]),
        fields: html! { @if reasoned { (text_field("reason", "Why", visit.field("reason"), "")) } },
        send,
        danger: matches!(act, "terminate" | "delete"),
        back: page.clone(),
    };
    let body =
        html! { (crumbs(&[("Activities", visit.link(&["namespaces", namespace, "activities"])), (id, page)])) (form.show(visit, None)) };
    Ok(Page::new(namespace, Section::Activities, format!("{title} · {id}"), body).answer(visit))
}

/// Does it.
pub(crate) async fn send(visit: &Visit<'_>, namespace: &str, id: &str, run: &str, act: &str) -> Answer {
    asked(act)?;
    let (of, activity_id, run_id) = (namespace.to_owned(), id.to_owned(), run.to_owned());
    let (identity, reason, request_id) = (IDENTITY.to_owned(), visit.field("reason").to_owned(), Uuid::new_v4().to_string());
    match act {
        "pause" => {
            let request =
                PauseActivityExecutionRequest { namespace: of, activity_id, run_id, identity, reason, request_id, ..Default::default() };
            visit.ask(request).await?;
        }
        "unpause" => {
            let request =
                UnpauseActivityExecutionRequest { namespace: of, activity_id, run_id, identity, reason, request_id, ..Default::default() };
            visit.ask(request).await?;
        }
        "reset" => {
            let request = ResetActivityExecutionRequest { namespace: of, activity_id, run_id, identity, request_id, ..Default::default() };
            visit.ask(request).await?;
        }
        "cancel" => {
            let request = RequestCancelActivityExecutionRequest { namespace: of, activity_id, run_id, identity, request_id, reason };
            visit.ask(request).await?;
        }
        "terminate" => {
            let request = TerminateActivityExecutionRequest { namespace: of, activity_id, run_id, identity, request_id, reason };
            visit.ask(request).await?;
        }
        _ => {
            visit.ask(DeleteActivityExecutionRequest { namespace: of, activity_id, run_id }).await?;
            return Ok(redirect(&visit.link_with(&["namespaces", namespace, "activities"], &[("done", "activity-delete")])));
        }
    }
    let done = format!("activity-{act}");
    Ok(redirect(&visit.link_with(&["namespaces", namespace, "activities", id, run], &[("done", done.as_str())])))
}

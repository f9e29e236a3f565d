//! What needs somebody: runs that fail, hang or have no workers, put together by type and message.

use std::collections::BTreeMap;

use maud::{Markup, html};
use sempre_api::v1::{
    enums::WorkflowExecutionStatus,
    workflow::WorkflowExecutionInfo,
    workflowservice::{CountWorkflowExecutionsRequest, ListWorkflowExecutionsRequest},
};

use super::{run::quoted, unpolled};
use crate::{
    layout::{Live, Page, Section, heading},
    route::Answer,
    show,
    visit::{Problem, Visit, in_time},
};

/// Runs of each kind that are looked at: the newest.
const LOOKED_AT: i32 = 500;
/// What counting the runs of a kind of which there are more may take; the page goes without the number then.
const COUNT_MS: u32 = 25;
/// Runs of a group that are shown.
const SHOWN: usize = 5;
const LOOK_SECONDS: u32 = 10;

/// What may be wrong: the title, what it means, the filter.
const TROUBLES: [(&str, &str, &str); 5] = [
    (
        "Workflow tasks fail",
        "The code of these workflows fails or does not fit their history. They stand still until it is mended.",
        "SempreHealth = 'workflow-task-failing'",
    ),
    ("Activities are retried", "Their last attempts failed. They are tried again.", "SempreHealth = 'activity-retrying'"),
    (
        "No worker polls",
        "Their workflow tasks wait on queues that nobody polls.",
        "SempreTaskQueuePollers = 0 AND SempreTaskQueueBacklogAge > 60",
    ),
    ("Paused", "They go on when somebody unpauses them.", "ExecutionStatus = 'Paused'"),
    ("Failed lately", "They ended badly within the last day.", ""),
];

/// Runs alike.
struct Group {
    kind: String,
    message: String,
    runs: Vec<WorkflowExecutionInfo>,
}

/// Runs with a trouble.
struct Trouble {
    query: String,
    /// `None`: more than are looked at, and counting them would take too long.
    count: Option<i64>,
    groups: Vec<Group>,
}

/// The filter of a trouble.
fn filter(visit: &Visit, given: &str) -> String {
    if !given.is_empty() {
        return given.to_owned();
    }
    let day_ago = visit.times.now - jiff::SignedDuration::from_hours(24);
    format!("ExecutionStatus IN ('Failed', 'TimedOut') AND CloseTime > '{}'", day_ago.strftime("%Y-%m-%dT%H:%M:00Z"))
}

async fn look(visit: &Visit<'_>, namespace: &str, query: String) -> Result<Trouble, Problem> {
    let count = CountWorkflowExecutionsRequest { namespace: namespace.to_owned(), query: query.clone() };
    let list =
        ListWorkflowExecutionsRequest { namespace: namespace.to_owned(), page_size: LOOKED_AT, query: query.clone(), ..Default::default() };
    let (count, list) = futures::join!(visit.ask_within(count, COUNT_MS), visit.ask(list));
    let list = list?;
    let count =
        if list.next_page_token.is_empty() { Some(list.executions.len() as i64) } else { in_time(count)?.map(|answer| answer.count) };
    let mut groups: BTreeMap<(String, String), Vec<WorkflowExecutionInfo>> = BTreeMap::new();
    for info in list.executions {
        let kind = info.r#type.as_ref().map(|kind| kind.name.clone()).unwrap_or_default();
        let message = message(&info);
        groups.entry((kind, alike(&message))).or_default().push(info);
    }
    let mut groups: Vec<Group> = groups.into_iter().map(|((kind, message), runs)| Group { kind, message, runs }).collect();
    groups.sort_by(|a, b| (b.runs.len(), &a.kind, &a.message).cmp(&(a.runs.len(), &b.kind, &b.message)));
    Ok(Trouble { query, count, groups })
}

/// What went wrong with a run, as far as that is known.
fn message(info: &WorkflowExecutionInfo) -> String {
    let failure = info.search_attributes.as_ref().and_then(|all| all.indexed_fields.get("SempreLastFailure"));
    match failure.map(show::search_attribute) {
        Some(failure) => failure,
        None if info.status() == WorkflowExecutionStatus::TimedOut => "it timed out".to_owned(),
        None => String::new(),
    }
}

fn how_many(count: Option<i64>) -> String {
    count.map_or_else(|| format!("more than {LOOKED_AT} runs"), |count| show::counted(count, "run", "runs"))
}

/// A message without the numbers that make each one different.
fn alike(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let mut text = String::new();
    for letter in first.chars() {
        match letter {
            digit if digit.is_ascii_digit() => {
                if !text.ends_with('#') {
                    text.push('#');
                }
            }
            letter => text.push(letter),
        }
    }
    text
}

/// The page.
pub(crate) async fn page(visit: &Visit<'_>, namespace: &str) -> Answer {
    let looks = TROUBLES.map(|(_, _, given)| look(visit, namespace, filter(visit, given)));
    let all: Vec<Trouble> = futures::future::try_join_all(looks).await?;
    let unpolled = unpolled::panel(visit, namespace);
    let nothing = unpolled.is_none() && all.iter().all(|trouble| trouble.count == Some(0));
    let body = html! {
        (heading(html! { "Attention" }, html! {}))
        div #troubles data-live {
            @if nothing { section.panel.calm data-key="none" { (show::empty("Nothing needs you", html! { p { "No run fails, hangs without a worker, or is paused." } })) } }
            @if let Some(panel) = &unpolled { (panel) }
            @for ((title, text, _), Trouble { query, count, groups }) in TROUBLES.iter().zip(&all) {
                @if *count != Some(0) {
                    section.panel data-key=(title) {
                        div.panel-head { h2 { (title) } a href=(visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query)])) { (how_many(*count)) } }
                        p.muted { (text) }
                        @for group in groups.iter().take(20) { (one(visit, namespace, query, group)) }
                        @if groups.len() > 20 { p.muted { "and " (groups.len() - 20) " other kinds" } }
                        @if count.is_none_or(|count| count > i64::from(LOOKED_AT)) { p.muted { "Put together from the newest " (LOOKED_AT) "." } }
                    }
                }
            }
        }
    };
    Ok(Page::new(namespace, Section::Attention, format!("Attention · {namespace}"), body).live(Live::Every(LOOK_SECONDS)).answer(visit))
}

fn one(visit: &Visit, namespace: &str, query: &str, group: &Group) -> Markup {
    let of_type = format!("{query} AND WorkflowType = {}", quoted(&group.kind));
    html! {
        div.trouble {
            p.trouble-head { b { (show::count(group.runs.len() as i64)) } " " a href=(visit.link_with(&["namespaces", namespace, "workflows"], &[("query", of_type.as_str())])) { (group.kind) }
                @if !group.message.is_empty() { " " code.message { (group.message) } } }
            ul.sample {
                @for info in group.runs.iter().take(SHOWN) {
                    @let (id, run) = show::ids(info.execution.as_ref());
                    li { a.id href=(visit.link(&["namespaces", namespace, "workflows", id, run])) title=(id) { (id) } " " span.muted { (visit.times.show(info.close_time.as_ref().or(info.start_time.as_ref()))) } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_counted_in_time_is_more_than_is_looked_at() {
        assert_eq!([Some(1), Some(1200), None].map(how_many), ["1 run", "1,200 runs", "more than 500 runs"]);
    }

    #[test]
    fn a_run_that_timed_out_says_so_and_one_of_an_older_version_says_nothing() {
        let ended = |status| message(&WorkflowExecutionInfo { status: status as i32, ..Default::default() });
        assert_eq!(ended(WorkflowExecutionStatus::TimedOut), "it timed out");
        assert_eq!(ended(WorkflowExecutionStatus::Failed), "");
    }

    #[test]
    fn messages_that_differ_in_numbers_are_alike() {
        assert_eq!(alike("no row 123 in shard 4\nmore"), "no row # in shard #");
        assert_eq!(alike(""), "");
    }
}

//! How many runs of a list there are by state, and by what hurts them; each is a link to those.

use maud::{Markup, html};
use sempre_api::v1::workflowservice::{CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse};

use crate::{
    show::{self, count},
    visit::{Problem, Visit, in_time},
};

/// What counts may take before the page goes without them; a script asks again.
const AT_ONCE_MS: u32 = 25;
/// What they may take then.
const LATER_MS: u32 = 10_000;

const STATUSES: [(&str, &str, &str); 8] = [
    ("Running", "Running", "blue"),
    ("Completed", "Completed", "green"),
    ("Failed", "Failed", "red"),
    ("TimedOut", "Timed out", "red"),
    ("Terminated", "Terminated", "orange"),
    ("Canceled", "Canceled", "yellow"),
    ("ContinuedAsNew", "Continued as new", "gray"),
    ("Paused", "Paused", "yellow"),
];

/// Counts by state and by health of the runs that match.
pub(crate) struct Counts {
    by_status: Vec<(String, i64)>,
    by_health: Vec<(String, i64)>,
    alone: i64,
}

impl Counts {
    pub(crate) fn total(&self) -> i64 {
        self.by_status.iter().map(|(_, count)| count).sum()
    }
}

/// Reads them; `None`: not in the time there is while a page waits.
pub(crate) async fn read(visit: &Visit<'_>, namespace: &str, query: &str, at_once: bool) -> Result<Option<Counts>, Problem> {
    let limit = if at_once { AT_ONCE_MS } else { LATER_MS };
    let ask = |query: String| {
        let request = CountWorkflowExecutionsRequest { namespace: namespace.to_owned(), query };
        visit.ask_within(request, limit)
    };
    let with = |condition: &str| if query.trim().is_empty() { condition.to_owned() } else { format!("({query}) AND {condition}") };
    let by_status =
        if query.trim().is_empty() { "GROUP BY ExecutionStatus".to_owned() } else { format!("{query} GROUP BY ExecutionStatus") };
    let (by_status, by_health, alone) = futures::join!(
        ask(by_status),
        ask(with("SempreHealth IS NOT NULL GROUP BY SempreHealth")),
        ask(with("SempreTaskQueuePollers = 0 AND SempreTaskQueueBacklogAge > 60"))
    );
    Ok(match (in_time(by_status)?, in_time(by_health)?, in_time(alone)?) {
        (Some(by_status), Some(by_health), Some(alone)) => {
            Some(Counts { by_status: groups(&by_status), by_health: groups(&by_health), alone: alone.count })
        }
        _ => None,
    })
}

fn groups(answer: &CountWorkflowExecutionsResponse) -> Vec<(String, i64)> {
    let name = |group: &sempre_api::v1::workflowservice::count_workflow_executions_response::AggregationGroup| {
        group.group_values.first().map(show::plain_text).unwrap_or_default()
    };
    answer.groups.iter().map(|group| (name(group), group.count)).collect()
}

/// The counts, or room for them.
pub(crate) fn show(visit: &Visit, namespace: &str, query: &str, counts: Option<&Counts>) -> Markup {
    let list = |query: &str| visit.link_with(&["namespaces", namespace, "workflows"], &[("query", query)]);
    let (base, status) = without_status(query);
    let narrowed = |condition: &str| if base.is_empty() { condition.to_owned() } else { format!("{base} AND {condition}") };
    let Some(counts) = counts else {
        let link = visit.link_with(&["namespaces", namespace, "counts"], &[("query", query)]);
        return html! { div.counts #counts data-live data-load=(link) { span.muted { "Counting…" } } };
    };
    let of =
        |all: &[(String, i64)], name: &str| all.iter().find(|(found, _)| found.replace(' ', "") == name).map_or(0, |(_, count)| *count);
    html! {
        div.counts #counts data-live {
            a href=(list(base)) aria-current=[(status.is_empty()).then_some("true")] { b { (count(counts.total())) } " " (if status.is_empty() { "runs" } else { "of these" }) }
            @for (name, text, tone) in STATUSES {
                @let number = of(&counts.by_status, name);
                @if number > 0 || name == status {
                    a href=(list(&narrowed(&format!("ExecutionStatus = '{name}'")))) aria-current=[(name == status).then_some("true")] {
                        span.dot data-tone=(tone) aria-hidden="true" {} b { (count(number)) } " " (text)
                    }
                }
            }
            @for (health, number) in &counts.by_health {
                a.hurts href=(list(&narrowed(&format!("SempreHealth = '{health}'")))) { b { (count(*number)) } " " (health.replace('-', " ")) }
            }
            @if counts.alone > 0 {
                a.hurts href=(list(&narrowed("SempreTaskQueuePollers = 0 AND SempreTaskQueueBacklogAge > 60"))) { b { (count(counts.alone)) } " without workers" }
            }
        }
    }
}

/// A query that ends with one of this page's own conditions, without it; and the state that it named.
fn without_status(query: &str) -> (&str, &str) {
    let query = query.trim();
    for (name, _, _) in STATUSES {
        let condition = format!("ExecutionStatus = '{name}'");
        if let Some(rest) = query.strip_suffix(condition.as_str()) {
            let rest = rest.trim_end();
            if rest.is_empty() {
                return ("", name);
            }
            if let Some(rest) = rest.strip_suffix(" AND") {
                return (rest.trim_end(), name);
            }
        }
    }
    (query, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_changed_not_added() {
        assert_eq!(without_status("ExecutionStatus = 'Failed'"), ("", "Failed"));
        assert_eq!(without_status("WorkflowType = 'A' AND ExecutionStatus = 'Failed' "), ("WorkflowType = 'A'", "Failed"));
        assert_eq!(
            without_status("WorkflowType = 'A' OR ExecutionStatus = 'Failed'"),
            ("WorkflowType = 'A' OR ExecutionStatus = 'Failed'", "")
        );
        assert_eq!(without_status(" "), ("", ""));
    }
}

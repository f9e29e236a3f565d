//! How values look: times, lengths, payloads, failures, states. Nothing here asks the server.

mod attempts;
mod failure;
mod icon;
mod payload;
mod time;
mod tree;

use maud::{Markup, html};
use sempre_api::v1::{common::WorkflowExecution, enums::WorkflowExecutionStatus};

pub(crate) use attempts::attempts;
pub(crate) use failure::{failure, headline};
pub(crate) use icon::icon;
pub(crate) use payload::{one, payloads, plain_text, search_attribute};
pub(crate) use time::{TimeStyle, Times, bytes, duration, millis, timestamp};
pub(crate) use tree::tree;

/// `WORKFLOW_EXECUTION_STATUS_TIMED_OUT` → `Timed out`.
pub(crate) fn words(full: &str, prefix: &str) -> String {
    let text = full.strip_prefix(prefix).unwrap_or(full).replace('_', " ").to_ascii_lowercase();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A state of a run, as a coloured word.
pub(crate) fn status(status: WorkflowExecutionStatus) -> Markup {
    use WorkflowExecutionStatus as S;
    let tone = match status {
        S::Running => "blue",
        S::Completed => "green",
        S::Failed | S::TimedOut => "red",
        S::Terminated => "orange",
        S::Canceled | S::Paused => "yellow",
        S::ContinuedAsNew | S::Unspecified => "gray",
    };
    badge(tone, &words(status.as_str_name(), "WORKFLOW_EXECUTION_STATUS_"))
}

/// A coloured word. The colour says nothing that the word does not.
pub(crate) fn badge(tone: &str, text: &str) -> Markup {
    html! { span.badge data-tone=(tone) { (text) } }
}

/// What hurts a run.
pub(crate) fn health(health: &str) -> Markup {
    match health {
        "workflow-task-failing" => badge("red", "Workflow task failing"),
        "activity-retrying" => badge("orange", "Activity retrying"),
        "" => html! {},
        other => badge("orange", other),
    }
}

/// A long id, whole for whoever selects it, cut where there is no room.
pub(crate) fn id(text: &str) -> Markup {
    html! { span.id title=(text) { (text) } }
}

/// Something that one click copies.
pub(crate) fn copyable(text: &str) -> Markup {
    html! {
        span.copyable { span.id title=(text) { (text) }
            (copy_button(text)) }
    }
}

/// Copies a text; a script shows it where it can.
pub(crate) fn copy_button(text: &str) -> Markup {
    html! { button.copy type="button" data-copy=(text) aria-label="Copy" title="Copy" hidden { (icon("copy")) (icon("done")) } }
}

/// Name and value pairs.
pub(crate) fn facts(pairs: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } }
    }
}

/// What is there when there is nothing.
pub(crate) fn empty(title: &str, text: Markup) -> Markup {
    html! { div.empty { p.empty-title { (title) } div.empty-text { (text) } } }
}

/// 1234567 → `1,234,567`.
pub(crate) fn count(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).unwrap_or_default()).collect();
    format!("{}{}", if number < 0 { "-" } else { "" }, groups.join(","))
}

/// `1 run`, `2 runs`.
pub(crate) fn counted(number: i64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// The ids of a run, empty where there is none.
pub(crate) fn ids(execution: Option<&WorkflowExecution>) -> (&str, &str) {
    execution.map_or(("", ""), |execution| (execution.workflow_id.as_str(), execution.run_id.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_counts() {
        assert_eq!(words("WORKFLOW_EXECUTION_STATUS_TIMED_OUT", "WORKFLOW_EXECUTION_STATUS_"), "Timed out");
        assert_eq!([0, 7, 1000, 1_234_567, -12_345].map(count), ["0", "7", "1,000", "1,234,567", "-12,345"]);
        assert_eq!((counted(1, "run", "runs"), counted(2000, "run", "runs")), ("1 run".into(), "2,000 runs".into()));
    }

    #[test]
    fn what_users_wrote_is_escaped() {
        let evil = "<script>alert('x')</script>\"&";
        for markup in [id(evil), copyable(evil), badge("red", evil), health(evil)] {
            let text = markup.into_string();
            assert!(!text.contains("<script") && !text.contains("\"&\"") && text.contains("&lt;script&gt;"), "{text}");
        }
    }
}

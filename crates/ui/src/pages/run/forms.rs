//! The forms of what can be done to a run.

use maud::{Markup, html};

use super::{Place, queries::Words};
use crate::{
    layout::{check_field, json_field, required_field, select_field, text_field},
    visit::{Problem, Visit},
};

/// What a form says and asks for.
pub(super) struct Asked {
    pub(super) title: &'static str,
    pub(super) text: &'static str,
    pub(super) fields: Markup,
    pub(super) send: &'static str,
    pub(super) danger: bool,
}

/// Points that a reset may go back to.
pub(super) const RESET_TO: [(&str, &str); 3] =
    [("last", "The last workflow task"), ("first", "The first workflow task"), ("event", "The workflow task of this event:")];

/// The form of an action; what was written into it stays.
pub(super) fn of(visit: &Visit, place: &Place, action: &str, words: &Words, last_event: i64) -> Result<Asked, Problem> {
    let value = |name: &str| visit.field(name).to_owned();
    let reason = || text_field("reason", "Reason", &value("reason"), "Kept in the history.");
    let named = |kind: &str, known: &[(String, String)]| {
        html! {
            label.field { span.label { "Name of the " (kind) } input type="text" name="name" value=(value("name")) list="names" required autocomplete="off" spellcheck="false"; }
            datalist id="names" { @for (name, text) in known { option value=(name) { (text) } } }
            (json_field("input", "Input", &value("input")))
        }
    };
    let activity = html! { input type="hidden" name="activity" value=(value("activity")); };
    let asked = |title, text, fields, send, danger| Ok(Asked { title, text, fields, send, danger });
    match action {
        "signal" => asked(
            "Signal",
            "A signal is written into the history. Nothing comes back.",
            named("signal", &words.signals),
            "Send the signal",
            false,
        ),
        "update" => asked(
            "Update",
            "An update runs a handler of the workflow and waits for its answer, which is shown here.",
            named("update", &words.updates),
            "Send the update",
            false,
        ),
        "query" => {
            asked("Query", "A worker answers from the workflow's state. Nothing is written.", named("query", &words.queries), "Ask", false)
        }
        "cancel" => {
            asked("Cancel", "The workflow is asked to stop; its code decides what it does about that.", reason(), "Ask it to cancel", false)
        }
        "terminate" => {
            asked("Terminate", "The workflow is closed at once. Its code is not asked and cannot clean up.", reason(), "Terminate it", true)
        }
        "reset" => asked(
            "Reset",
            "A new run goes on from an earlier workflow task. An open run is terminated for it. Signals and updates after that point are applied again.",
            html! {
                (select_field("to", "Go on from", &value("to"), &RESET_TO))
                (text_field("event", "Event", &value("event"), "Only for the last choice: the id of any event of that workflow task or after it."))
                (reason())
                (check_field("no-signals", "Leave out later signals", visit.is_set("no-signals")))
                (check_field("no-updates", "Leave out later updates", visit.is_set("no-updates")))
            },
            "Reset it",
            true,
        ),
        "fork" => asked(
            "Fork",
            "A new run of the same id goes on from any event, of an open or a closed run. An open run is terminated for it.",
            html! {
                (text_field("event", "After event", &if value("event").is_empty() { last_event.to_string() } else { value("event") }, "The last event that has been, for the new run."))
                (check_field("later", "Apply signals and updates after it again", visit.is_set("later")))
                (check_field("other-input", "With another input: nothing after the first workflow task is kept then", visit.is_set("other-input")))
                (json_field("input", "The other input", &value("input")))
                (reason())
            },
            "Fork it",
            true,
        ),
        "pause" => asked("Pause", "Workers get no tasks of it until it is unpaused. Signals are kept.", reason(), "Pause it", false),
        "unpause" => asked("Unpause", "It goes on where it was.", reason(), "Unpause it", false),
        "delete" => asked(
            "Delete",
            "The run goes with its history; an open one is terminated first. Nothing brings it back.",
            html! { p.id { (place.id) } },
            "Delete it",
            true,
        ),
        "activity-pause" => asked(
            "Pause the activity",
            "No attempt begins until it is unpaused. A running one goes on.",
            html! { (activity) (reason()) },
            "Pause it",
            false,
        ),
        "activity-unpause" => asked(
            "Unpause the activity",
            "Its next attempt begins at once.",
            html! { (activity) (check_field("reset-attempts", "Begin with attempt 1", false)) (check_field("reset-heartbeat", "Forget the last heartbeat", false)) },
            "Unpause it",
            false,
        ),
        "activity-run-now" => asked(
            "Run the activity now",
            "The attempt that waits is offered to workers at once, with the number it has. Nothing else of it changes.",
            html! { (activity) },
            "Run it now",
            false,
        ),
        "activity-reset" => asked(
            "Reset the activity",
            "It begins with attempt 1, at once. A running attempt is not stopped, but its result no longer counts.",
            html! { (activity) (check_field("reset-heartbeat", "Forget the last heartbeat", false)) (check_field("keep-paused", "Stay paused", false)) (check_field("original", "With its original options", false)) },
            "Reset it",
            false,
        ),
        "activity-complete" => asked(
            "Complete the activity",
            "The workflow goes on as if a worker had answered this.",
            html! { (activity) (json_field("input", "Result", &value("input"))) },
            "Complete it",
            false,
        ),
        "activity-fail" => asked(
            "Fail the activity",
            "The workflow goes on as if a worker had failed. It is tried again if its retry policy says so.",
            html! { (activity) (required_field("reason", "Message", &value("reason"), "")) (text_field("type", "Type", &value("type"), "Such as the name of an exception.")) (check_field("final", "Do not try again", true)) },
            "Fail it",
            true,
        ),
        "activity-options" => asked(
            "Change the activity's options",
            "What is left empty stays as it is. They hold from the next attempt on.",
            html! {
                (activity)
                (text_field("queue", "Task queue", &value("queue"), ""))
                (text_field("start-to-close", "Start to close", &value("start-to-close"), "Such as 90s or 1h."))
                (text_field("schedule-to-close", "Schedule to close", &value("schedule-to-close"), ""))
                (text_field("schedule-to-start", "Schedule to start", &value("schedule-to-start"), ""))
                (text_field("heartbeat", "Heartbeat", &value("heartbeat"), ""))
                (text_field("initial-interval", "First retry after", &value("initial-interval"), ""))
                (text_field("maximum-interval", "Longest time between retries", &value("maximum-interval"), ""))
                (text_field("maximum-attempts", "Attempts at most", &value("maximum-attempts"), "0: as many as it takes."))
            },
            "Change them",
            false,
        ),
        _ => Err(Problem(tonic::Status::not_found("Nothing of that name can be done to a run."))),
    }
}

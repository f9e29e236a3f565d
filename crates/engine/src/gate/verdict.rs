//! What a worker's answer to a replay means (docs/deployments.md has what each SDK answers).

use sempre_api::{
    sempre::v1::ReplayOutcome,
    v1::{common::Payloads, enums::WorkflowTaskFailedCause},
};
use sempre_core::Refusal;

/// The query that makes a worker replay. SDKs that know it answer it themselves, before any handler or interceptor of the
/// user; those that do not refuse it by its name, which they can do only after the replay.
pub(crate) const QUERY: &str = "__temporal_workflow_metadata";

/// How SDKs begin the message of a replay that differs.
const RULE: &str = "TMPRL1100";

/// What the SDKs on the common core say when the worker itself has taken the run further meanwhile.
const EXPIRED: &str = "Query expired";

/// Bytes of a worker's message that are passed on.
const MESSAGE_MAX: usize = 2000;

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The code does what the history has.
    Same,
    /// It does not, or nobody told.
    Problem { outcome: ReplayOutcome, message: String },
}

/// The verdict of an answer; `cause` is a `WorkflowTaskFailedCause` that came with it.
pub(crate) fn of_answer(answer: Result<Option<Payloads>, Refusal>, cause: i32) -> Verdict {
    let problem = |outcome, message: &str| Verdict::Problem { outcome, message: cut(message) };
    match answer {
        Ok(_) => Verdict::Same,
        Err(Refusal::QueryFailed { message, failure }) => {
            let cause = WorkflowTaskFailedCause::try_from(cause).unwrap_or_default();
            let failure = failure.map(|failure| failure.message).unwrap_or_default();
            let said = if message.is_empty() { failure } else { message };
            if said.contains(EXPIRED) {
                problem(ReplayOutcome::Unanswered, &said)
            } else if cause == WorkflowTaskFailedCause::NonDeterministicError || differs(&said) {
                problem(ReplayOutcome::NonDeterministic, &said)
            } else if cause == WorkflowTaskFailedCause::Unspecified && said.contains(QUERY) {
                Verdict::Same
            } else {
                problem(ReplayOutcome::Failed, &said)
            }
        }
        Err(refusal) => problem(ReplayOutcome::Unanswered, &format!("{refusal:?}")),
    }
}

fn differs(said: &str) -> bool {
    let lower = said.to_lowercase();
    said.contains(RULE) || lower.contains("nondeterminis") || lower.contains("non-determinis")
}

fn cut(message: &str) -> String {
    message[..message.floor_char_boundary(MESSAGE_MAX)].to_owned()
}

/// What a worker's message says of the event that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The event's id.
    pub(crate) event_id: Option<i64>,
    /// Else what the event names: its activity's type or id, its workflow id, its patch.
    pub(crate) named: Option<String>,
    /// What the code does instead; empty when the message does not say.
    pub(crate) command: String,
}

/// Reads the messages of the SDKs. What is not understood is left out: the message goes to the caller in any case.
pub(crate) fn told(message: &str) -> Told {
    let event_id = ["HistoryEvent(id: ", "history event position ", "eventId=", "EventId:", "event id "].iter().find_map(|before| {
        let rest = &message[message.find(before)? + before.len()..];
        let digits = rest.trim_start();
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        digits[..end].parse().ok()
    });
    let patch = between(message, "patch marker encountered for change ", ",");
    let named = between(message, "of scheduled event '", "'").or_else(|| between(message, "of recorded marker '", "'"));
    // Go: `history event is ActivityTaskScheduled: (ActivityId:5, …`
    let named = named.or_else(|| between(message, ": (ActivityId:", ",")).or(patch);
    Told { event_id, named: named.map(str::to_owned), command: command(message, patch) }
}

fn between<'m>(message: &'m str, before: &str, after: &str) -> Option<&'m str> {
    let rest = &message[message.find(before)? + before.len()..];
    Some(&rest[..rest.find(after)?])
}

fn command(message: &str, patch: Option<&str>) -> String {
    if let Some(patch) = patch {
        return format!("no call of patched or deprecate_patch for {patch}");
    }
    if message.contains("No command scheduled for event")
        || message.contains("missing replay command")
        || message.contains("did not produce that")
    {
        return "none".to_owned();
    }
    // `… does not match activity type of activity command 'b'`
    if let Some(rest) = message.find("does not match ").map(|at| &message[at..])
        && let (Some(what), Some(name)) = (between(rest, "does not match ", " of "), between(rest, "command '", "'"))
    {
        return format!("{what} {name}");
    }
    for before in ["replay command is ", "extra replay command for "] {
        if let Some(at) = message.find(before) {
            return message[at + before.len()..].lines().next().unwrap_or_default().to_owned();
        }
    }
    // `Timer machine does not handle this event: …`
    if let Some(at) = message.find(" machine does not handle this event").or_else(|| message.find(" machine cannot handle this event")) {
        let before = &message[..at];
        let machine = before.rsplit(": ").next().unwrap_or(before);
        return machine.to_lowercase();
    }
    String::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(message: &str, cause: WorkflowTaskFailedCause) -> Verdict {
        of_answer(Err(Refusal::QueryFailed { message: message.into(), failure: None }), cause as i32)
    }

    fn outcome(verdict: Verdict) -> Option<ReplayOutcome> {
        match verdict {
            Verdict::Same => None,
            Verdict::Problem { outcome, .. } => Some(outcome),
        }
    }

    #[test]
    fn answers_of_workers() {
        use WorkflowTaskFailedCause::{NonDeterministicError, Unspecified, WorkflowWorkerUnhandledFailure};
        assert_eq!(of_answer(Ok(None), 0), Verdict::Same);
        let unknown = failed("Query handler for '__temporal_workflow_metadata' expected but not found, known queries: []", Unspecified);
        assert_eq!(unknown, Verdict::Same, "the worker had to replay to know");
        let differs = "[TMPRL1100] Nondeterminism error: No command scheduled for event HistoryEvent(id: 5, TimerStarted)";
        assert_eq!(outcome(failed(differs, NonDeterministicError)), Some(ReplayOutcome::NonDeterministic));
        assert_eq!(outcome(failed(differs, Unspecified)), Some(ReplayOutcome::NonDeterministic), "older workers give no cause");
        let no_type = failed("Workflow class Pay is not registered on this worker", WorkflowWorkerUnhandledFailure);
        assert_eq!(outcome(no_type), Some(ReplayOutcome::Failed));
        let named = failed("it broke in __temporal_workflow_metadata", WorkflowWorkerUnhandledFailure);
        assert_eq!(outcome(named), Some(ReplayOutcome::Failed), "a task that failed is no refusal of a query");
        let further = failed("Fatal error: Query expired", WorkflowWorkerUnhandledFailure);
        assert_eq!(outcome(further), Some(ReplayOutcome::Unanswered), "it has the run already");
        let late = of_answer(Err(Refusal::DeadlineExceeded("late".into())), 0);
        assert_eq!(outcome(late), Some(ReplayOutcome::Unanswered));
    }

    #[test]
    fn messages_name_the_event_and_the_command() {
        let check = |message: &str, event_id: Option<i64>, named: Option<&str>, command: &str| {
            let expected = Told { event_id, named: named.map(str::to_owned), command: command.into() };
            assert_eq!(told(message), expected, "{message}");
        };
        let rule = "[TMPRL1100] Nondeterminism error: ";
        check(&format!("{rule}No command scheduled for event HistoryEvent(id: 5, TimerStarted)"), Some(5), None, "none");
        check(
            &format!("{rule}Activity machine does not handle this event: HistoryEvent(id: 12, TimerStarted)"),
            Some(12),
            None,
            "activity",
        );
        let kind = "Activity type of scheduled event 'a' does not match activity type of activity command 'b'";
        check(&format!("{rule}{kind}"), None, Some("a"), "activity type b");
        let child = "Child workflow id of scheduled event 'c-1' does not match child workflow id of command 'c-2'";
        check(&format!("{rule}{child}"), None, Some("c-1"), "child workflow id c-2");
        let patch = "Non-deprecated patch marker encountered for change new-fee, but there is no corresponding change command!";
        check(&format!("{rule}{patch}"), None, Some("new-fee"), "no call of patched or deprecate_patch for new-fee");
        let go = "nondeterministic workflow: history event is ActivityTaskScheduled: (ActivityId:5, Header:()), replay command is StartTimer: (TimerId:5)";
        check(&format!("[TMPRL1100] {go}"), None, Some("5"), "StartTimer: (TimerId:5)");
        let go = "Workflow panic: [TMPRL1100] During replay, a matching Activity command was expected in history event position 5. However, the \
                  replayed code did not produce that. Possible causes are nondeterministic workflow definition code.";
        check(go, Some(5), None, "none");
        check("it broke", None, None, "");
    }
}

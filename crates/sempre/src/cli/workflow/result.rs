//! `workflow result`: waits for a workflow's end and tells how it ended.

use clap::Args;
use sempre_api::v1::{
    common::{Payloads, WorkflowExecution},
    failure::Failure as WorkflowFailure,
    history::{HistoryEvent, history_event::Attributes},
};
use serde_json::{Value, json};

use super::Reference;
use crate::cli::{
    Failure, history,
    output::{Cell, Hue},
    session::Session,
    values,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
}

/// What is told of a run beside its end.
#[derive(Default)]
pub(crate) struct Named {
    pub(crate) execution: WorkflowExecution,
    pub(crate) more: Vec<(&'static str, Value)>,
    pub(crate) took_millis: Option<i64>,
    pub(crate) history: Option<Value>,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let client = session.client().await?;
    let execution = options.reference.execution();
    let close = history::close_event(&client, &session.settings.namespace, &execution).await?;
    let more = vec![("namespace", json!(session.settings.namespace))];
    print(session, &Named { execution, more, ..Named::default() }, &close)
}

/// How the run ended, in one word.
pub(crate) fn status(close: &HistoryEvent) -> (&'static str, Hue) {
    use sempre_api::v1::enums::EventType as E;
    match close.event_type() {
        E::WorkflowExecutionCompleted => ("COMPLETED", Hue::Good),
        E::WorkflowExecutionFailed => ("FAILED", Hue::Bad),
        E::WorkflowExecutionTimedOut => ("TIMEOUT", Hue::Bad),
        E::WorkflowExecutionCanceled => ("CANCELED", Hue::Odd),
        E::WorkflowExecutionTerminated => ("TERMINATED", Hue::Odd),
        E::WorkflowExecutionContinuedAsNew => ("CONTINUED_AS_NEW", Hue::Running),
        _ => ("UNKNOWN", Hue::Odd),
    }
}

/// The result of a run that completed.
pub(crate) fn payloads(close: &HistoryEvent) -> Option<&Payloads> {
    match close.attributes.as_ref()? {
        Attributes::WorkflowExecutionCompletedEventAttributes(attributes) => attributes.result.as_ref(),
        _ => None,
    }
}

/// One value as itself, several as a list.
pub(crate) fn friendly(session: &Session, payloads: Option<&Payloads>) -> Value {
    match payloads {
        None => Value::Null,
        Some(payloads) => match payloads.payloads.as_slice() {
            [one] => session.out.json_of(one),
            _ => session.out.json_of(payloads),
        },
    }
}

/// Tells how the run ended; a run that did not complete makes the command fail.
pub(crate) fn print(session: &mut Session, named: &Named, close: &HistoryEvent) -> Result<(), Failure> {
    let (word, _) = status(close);
    if session.out.is_json() {
        let mut record = vec![("workflowId", json!(named.execution.workflow_id)), ("runId", json!(named.execution.run_id))];
        record.extend(named.more.iter().cloned());
        record.extend(named.took_millis.map(|took| ("durationMillis", json!(took))));
        record.push(("status", json!(word)));
        record.push(("closeEvent", session.out.json_of(close)));
        if payloads(close).is_some() {
            record.push(("result", friendly(session, payloads(close))));
        }
        record.extend(named.history.clone().map(|history| ("history", history)));
        session.out.record(record)?;
    } else {
        print_text(session, named.took_millis, close)?;
    }
    value(session, close).map(drop)
}

/// The result; a run that did not complete is a failure.
pub(crate) fn value(session: &Session, close: &HistoryEvent) -> Result<Value, Failure> {
    if status(close).0 != "COMPLETED" {
        return Err(Failure::new(format_args!("the workflow did not complete: {}", reason(close))));
    }
    Ok(friendly(session, payloads(close)))
}

/// The end as a card.
pub(crate) fn print_text(session: &mut Session, took_millis: Option<i64>, close: &HistoryEvent) -> Result<(), Failure> {
    let (word, hue) = status(close);
    let result = payloads(close);
    let encoding = result.and_then(|result| result.payloads.first()).and_then(|payload| payload.metadata.get("encoding"));
    let encoding = encoding.map(|encoding| String::from_utf8_lossy(encoding).into_owned()).unwrap_or_default();
    let took = took_millis.map(|took| sempre_api::Duration { seconds: took / 1_000, nanos: (took % 1_000) as i32 * 1_000_000 });
    let shown = result.map(|result| friendly(session, Some(result)).to_string()).unwrap_or_default();
    session.out.title("Results:")?;
    session.out.card(&[
        ("RunTime", took.as_ref().map(values::duration_text).unwrap_or_default().into()),
        ("Status", Cell::in_hue(word, hue)),
        ("Result", shown.into()),
        ("ResultEncoding", encoding.into()),
    ])?;
    if let Some(failure) = failure(close) {
        session.out.line_in(Hue::Bad, "  Failure:")?;
        let text = failure_text(failure, "    ");
        session.out.text(&text)?;
    }
    Ok(())
}

fn failure(close: &HistoryEvent) -> Option<&WorkflowFailure> {
    match close.attributes.as_ref()? {
        Attributes::WorkflowExecutionFailedEventAttributes(attributes) => attributes.failure.as_ref(),
        _ => None,
    }
}

/// A failure and its causes, each a step further in.
pub(crate) fn failure_text(failure: &WorkflowFailure, indent: &str) -> String {
    let mut text = format!("{indent}Message: {}\n", failure.message);
    if !failure.stack_trace.trim().is_empty() {
        text += &format!("{indent}StackTrace:\n");
        for line in failure.stack_trace.trim_end().lines() {
            text += &format!("{indent}    {line}\n");
        }
    }
    if let Some(cause) = &failure.cause {
        text += &format!("{indent}Cause:\n{}", failure_text(cause, &format!("{indent}    ")));
    }
    text
}

/// Why it did not complete, in a few words.
fn reason(close: &HistoryEvent) -> String {
    let word = status(close).0.to_lowercase().replace('_', " ");
    match (failure(close), close.attributes.as_ref()) {
        (Some(failure), _) => format!("{word}, {}", first_line(&failure.message)),
        (None, Some(Attributes::WorkflowExecutionTerminatedEventAttributes(attributes))) if !attributes.reason.is_empty() => {
            format!("{word}, {}", first_line(&attributes.reason))
        }
        _ => word,
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

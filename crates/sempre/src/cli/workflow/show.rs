//! `workflow show`: the history of a run, as it is or along with the run.

use clap::Args;
use sempre_api::{
    History, Timestamp,
    json::Payloads,
    v1::{common::WorkflowExecution, enums::EventType, history::HistoryEvent},
};
use serde_json::Value;

use super::{Reference, result};
use crate::cli::{
    Failure,
    history::{self, Events, Read},
    output::{Cell, bare},
    session::Session,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
    /// Go on until the run, and all that it continues as, is closed
    #[arg(short, long)]
    follow: bool,
    /// Show all fields of each event
    #[arg(long)]
    detailed: bool,
    /// Show the newest event first
    #[arg(long, conflicts_with = "follow")]
    reverse: bool,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let execution = options.reference.execution();
    let read = match (options.follow, options.reverse) {
        (true, _) => Read::Follow,
        (_, true) => Read::Reverse,
        _ => Read::All,
    };
    if session.out.is_text() {
        session.out.title("Progress:")?;
        let last = print_progress(session, &execution, read, options.detailed).await?;
        if let Some(close) = last.filter(|event| result::status(event).0 != "UNKNOWN") {
            session.out.line("")?;
            result::print_text(session, None, &close)?;
        }
        return Ok(());
    }
    let mut events = Events::new(session.client().await?, session.namespace(), execution, read);
    let mut all = Vec::new();
    while let Some(event) = events.next().await? {
        all.push(event);
    }
    // Payloads in full, whatever the flags say: SDKs replay these files and know no shorthand.
    session.out.value(&sempre_api::json::to_value(&History::from_events(&all), Payloads::Full))
}

/// Prints the events of a run as they come; gives the one that closed it, if it is closed.
pub(super) async fn print_progress(
    session: &mut Session,
    execution: &WorkflowExecution,
    read: Read,
    detailed: bool,
) -> Result<Option<HistoryEvent>, Failure> {
    let mut execution = execution.clone();
    let mut close = None;
    if !detailed {
        session.out.line(format!("  {:>4}  {:<20}  {}", "ID", "Time", "Type"))?;
    }
    'runs: loop {
        let mut events = Events::new(session.client().await?, session.namespace(), execution.clone(), read);
        while let Some(event) = events.next().await? {
            if detailed {
                print_details(session, &event)?;
            } else {
                let text = format!("  {:>4}  {:<20}  ", event.event_id, time(event.event_time.as_ref()));
                session.out.text(&text)?;
                match history::hue(event.event_type()) {
                    Some(hue) => session.out.line_in(hue, history::name(&event))?,
                    None => session.out.line(history::name(&event))?,
                }
            }
            let next = history::continued_as(&event).filter(|_| read != Read::Reverse);
            if closes(event.event_type()) {
                close = Some(event);
            }
            if let Some(run_id) = next {
                execution.run_id = run_id;
                continue 'runs;
            }
        }
        return Ok(close);
    }
}

fn closes(kind: EventType) -> bool {
    use EventType as E;
    matches!(
        kind,
        E::WorkflowExecutionCompleted
            | E::WorkflowExecutionFailed
            | E::WorkflowExecutionTimedOut
            | E::WorkflowExecutionCanceled
            | E::WorkflowExecutionTerminated
            | E::WorkflowExecutionContinuedAsNew
    )
}

/// Whole seconds: the point of a column of times is to be compared.
fn time(time: Option<&Timestamp>) -> String {
    time.map(|time| Timestamp { seconds: time.seconds, nanos: 0 }.to_string()).unwrap_or_default()
}

fn print_details(session: &mut Session, event: &HistoryEvent) -> Result<(), Failure> {
    session.out.title(format!("--------------- [{}] {} ---------------", event.event_id, history::name(event)))?;
    let value = session.out.json_of(event);
    let mut lines = Vec::new();
    flatten("", &value, &mut lines);
    let entries: Vec<(&str, Cell)> = lines.iter().map(|(name, value)| (name.as_str(), Cell::from(value.as_str()))).collect();
    session.out.card(&entries)
}

/// Every value inside with its path. The long name of the event's kind of attributes says nothing new.
fn flatten(path: &str, value: &Value, to: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                let name = if name.ends_with("EventAttributes") { "" } else { name.as_str() };
                let path = [path, name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
                flatten(&path, value, to);
            }
        }
        value => to.push((path.to_owned(), bare(value))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn details_are_paths_and_values() {
        let mut lines = Vec::new();
        flatten(
            "",
            &json!({ "eventId": "1", "timerFiredEventAttributes": { "timerId": "t", "in": { "x": [1, 2] }, "e": {} } }),
            &mut lines,
        );
        let shown: Vec<_> = lines.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["eventId=1", "timerId=t", "in.x=[1,2]", "e={}"]);
    }
}

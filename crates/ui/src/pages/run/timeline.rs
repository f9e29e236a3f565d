//! What the timeline is drawn of, in parts: the script asks for the next one until there is none.

use sempre_api::{
    sempre::v1::{AttemptOutcome, ListActivityAttemptsRequest},
    v1::history::HistoryEvent,
};
use serde_json::{Value, json};

use super::{Place, events_from, pieces};
use crate::{
    answer,
    route::Answer,
    show::{self, millis},
    visit::Visit,
};

/// Events looked at for one part.
const PART: usize = 4096;
/// Letters of a name that are drawn.
const NAME_MAX: usize = 120;

/// One part: what events from `from` on do, and where the next one begins. With `attempts`, the attempts of activities
/// instead.
pub(crate) async fn part(visit: &Visit<'_>, place: &Place<'_>) -> Answer {
    if !visit.query("attempts").is_empty() {
        return attempts(visit, place).await;
    }
    let from: i64 = visit.query("from").parse().unwrap_or(1);
    let events = events_from(visit, place, from, PART).await?;
    let next = (events.len() == PART).then(|| events.last().map(|event| event.event_id + 1)).flatten();
    let last = events.last().map_or(from - 1, |event| event.event_id);
    let pieces: Vec<Value> = events.iter().map(written).collect();
    Ok(answer::json(&json!({ "pieces": pieces, "last": last, "next": next })))
}

/// One event, in short: `[event, time, "o", kind, name]`, `[event, time, "s", key, what]`, `[event, time, "c", key, outcome, text]`,
/// `[event, time, "p", kind, name, outcome]`.
fn written(event: &HistoryEvent) -> Value {
    let (id, at) = (event.event_id, event.event_time.as_ref().map_or(0, millis));
    match pieces::of(event) {
        pieces::Piece::Open { kind, name } => json!([id, at, "o", kind.name(), cut(&name)]),
        pieces::Piece::Step { key, what } => json!([id, at, "s", key, what]),
        pieces::Piece::Close { key, outcome, text } => json!([id, at, "c", key, outcome.name(), cut(&text)]),
        pieces::Piece::Point { kind, name, outcome } => json!([id, at, "p", kind.name(), cut(&name), outcome.name()]),
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(NAME_MAX.min(text.len()))]
}

async fn attempts(visit: &Visit<'_>, place: &Place<'_>) -> Answer {
    let request = ListActivityAttemptsRequest {
        namespace: place.namespace.to_owned(),
        workflow_id: place.id.to_owned(),
        run_id: place.run.to_owned(),
        activity_id: String::new(),
    };
    let answer = visit.ask(request).await?;
    let activities: Vec<Value> = answer
        .activities
        .iter()
        .map(|activity| {
            let attempts: Vec<Value> = activity
                .attempts
                .iter()
                .map(|attempt| {
                    let outcome = AttemptOutcome::try_from(attempt.outcome).unwrap_or_default();
                    let outcome = show::words(outcome.as_str_name(), "ATTEMPT_OUTCOME_").to_lowercase();
                    json!([
                        attempt.attempt,
                        attempt.started_time.as_ref().map(millis),
                        attempt.ended_time.as_ref().map(millis),
                        outcome,
                        cut(&attempt.failure_message)
                    ])
                })
                .collect();
            json!([activity.scheduled_event_id, attempts])
        })
        .collect();
    Ok(answer::json(&json!({ "attempts": activities })))
}

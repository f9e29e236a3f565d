//! `sempre activity attempts`: what became of each attempt of a run's activities, or of one that belongs to no workflow.

use clap::Args;
use sempre_api::sempre::v1::{ActivityAttempt, ActivityAttempts, ListActivityAttemptsRequest, ListActivityAttemptsResponse};
use serde_json::json;

use crate::cli::{Failure, session::Session};

#[derive(Args)]
pub(crate) struct Options {
    /// The workflow; without it the activity belongs to none
    #[arg(short, long, default_value = "", hide_default_value = true, required_unless_present = "activity_id")]
    workflow_id: String,
    /// The run, of the activity if it belongs to no workflow; without it the current one
    #[arg(short, long, default_value = "")]
    run_id: String,
    /// One activity only
    #[arg(long, default_value = "")]
    activity_id: String,
    /// Print JSON; the same as --output json
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let request = ListActivityAttemptsRequest {
        namespace: session.namespace(),
        workflow_id: options.workflow_id.clone(),
        run_id: options.run_id.clone(),
        activity_id: options.activity_id.clone(),
    };
    let answer = session.client().await?.inspect.list_activity_attempts(request).await?.into_inner();
    if options.json || session.out.is_json() {
        return session.out.raw_value(&as_json(&answer));
    }
    let text = as_text(&answer);
    session.out.text(&text)
}

fn as_text(answer: &ListActivityAttemptsResponse) -> String {
    let mut text = format!("Run {}\n", answer.run_id);
    if answer.truncated {
        text += "Older activities are left out.\n";
    }
    if answer.activities.is_empty() {
        text += "No attempts.\n";
    }
    for activity in &answer.activities {
        text += &format!("{} ({}), event {}\n", activity.activity_id, activity.activity_type, activity.scheduled_event_id);
        if activity.dropped > 0 {
            text += &format!("  {} earlier attempts are no longer kept\n", activity.dropped);
        }
        for attempt in &activity.attempts {
            text += &line(attempt);
        }
    }
    text
}

fn line(attempt: &ActivityAttempt) -> String {
    let mut line = format!("  {:>3}  {:<20}", attempt.attempt, outcome(attempt));
    for (name, time) in [
        ("due", &attempt.scheduled_time),
        ("started", &attempt.started_time),
        ("ended", &attempt.ended_time),
        ("heartbeat", &attempt.heartbeat_time),
    ] {
        if let Some(time) = time {
            line += &format!("  {name} {time}");
        }
    }
    if !attempt.worker_identity.is_empty() {
        line += &format!("  by {}", attempt.worker_identity);
    }
    if !attempt.failure_type.is_empty() || !attempt.failure_message.is_empty() {
        // One line each, whatever the message holds.
        line += &format!("  {}: {}", attempt.failure_type, attempt.failure_message.escape_debug());
    }
    line + "\n"
}

/// `timed out start to close` for `ATTEMPT_OUTCOME_TIMED_OUT_START_TO_CLOSE`.
fn outcome(attempt: &ActivityAttempt) -> String {
    attempt.outcome().as_str_name().trim_start_matches("ATTEMPT_OUTCOME_").replace('_', " ").to_lowercase()
}

fn as_json(answer: &ListActivityAttemptsResponse) -> serde_json::Value {
    let activities: Vec<_> = answer.activities.iter().map(activity_json).collect();
    json!({ "run_id": answer.run_id, "truncated": answer.truncated, "activities": activities })
}

fn activity_json(activity: &ActivityAttempts) -> serde_json::Value {
    let time = |time: &Option<sempre_api::Timestamp>| time.as_ref().map(ToString::to_string);
    let attempts: Vec<_> = activity
        .attempts
        .iter()
        .map(|attempt| {
            json!({
                "attempt": attempt.attempt,
                "outcome": outcome(attempt),
                "worker_identity": attempt.worker_identity,
                "scheduled_time": time(&attempt.scheduled_time),
                "started_time": time(&attempt.started_time),
                "ended_time": time(&attempt.ended_time),
                "failure_message": attempt.failure_message,
                "failure_type": attempt.failure_type,
                "heartbeat_time": time(&attempt.heartbeat_time),
                "heartbeat_bytes": attempt.heartbeat_bytes,
                "heartbeat_details": heartbeat(attempt),
            })
        })
        .collect();
    json!({
        "activity_id": activity.activity_id,
        "activity_type": activity.activity_type,
        "scheduled_event_id": activity.scheduled_event_id,
        "dropped": activity.dropped,
        "attempts": attempts,
    })
}

/// The payloads' bytes as text, where they are text.
fn heartbeat(attempt: &ActivityAttempt) -> Option<Vec<String>> {
    let payloads = <sempre_api::v1::common::Payloads as prost::Message>::decode(attempt.heartbeat_details.clone()).ok()?;
    let texts = payloads.payloads.iter().map(|p| String::from_utf8_lossy(&p.data).into_owned());
    (attempt.heartbeat_bytes > 0).then(|| texts.collect())
}

#[cfg(test)]
mod tests {
    use sempre_core::Timestamp;

    use super::*;

    #[test]
    fn an_attempt_is_one_line() {
        let attempt = ActivityAttempt {
            attempt: 2,
            started_time: Some(Timestamp::from_millis(1_500).to_api()),
            worker_identity: "w".into(),
            outcome: sempre_api::sempre::v1::AttemptOutcome::TimedOutStartToClose as i32,
            failure_type: "Odd".into(),
            failure_message: "a\nb".into(),
            ..Default::default()
        };
        assert_eq!(line(&attempt), "    2  timed out start to close  started 1970-01-01T00:00:01.500Z  by w  Odd: a\\nb\n");
    }
}

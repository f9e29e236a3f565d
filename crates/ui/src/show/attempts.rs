//! The attempts of an activity: who had them, when, and what became of them.

use maud::{Markup, html};
use prost::Message;
use sempre_api::{
    sempre::v1::{ActivityAttempt, ActivityAttempts, AttemptOutcome},
    v1::common::Payloads,
};

use super::{Times, badge, bytes, count, empty, id, payloads, words};

/// A row for each that is kept, the newest last.
pub(crate) fn attempts(times: &Times, log: Option<&ActivityAttempts>) -> Markup {
    let (all, dropped) = log.map_or((&[][..], 0), |log| (&log.attempts[..], log.dropped));
    html! {
        @if dropped > 0 { p.muted { (count(dropped)) " earlier attempts are no longer kept." } }
        div.table-wrap { table.attempts {
            thead { tr { th { "Attempt" } th { "Outcome" } th { "Worker" } th { "Started" } th { "Ended" } th { "Failure" } th { "Heartbeat" } } }
            tbody {
                @for attempt in all { (row(times, attempt)) }
                @if all.is_empty() { tr { td colspan="7" { (empty("No attempts", html! { p { "No worker has had it." } })) } } }
            }
        } }
    }
}

fn row(times: &Times, attempt: &ActivityAttempt) -> Markup {
    let outcome = attempt.outcome();
    let tone = match outcome {
        AttemptOutcome::Completed => "green",
        AttemptOutcome::Running => "blue",
        AttemptOutcome::Waiting | AttemptOutcome::RunClosed | AttemptOutcome::Unspecified => "gray",
        AttemptOutcome::Canceled => "yellow",
        _ => "red",
    };
    html! {
        tr {
            th scope="row" data-label="Attempt" { (attempt.attempt) }
            td data-label="Outcome" { (badge(tone, &words(outcome.as_str_name(), "ATTEMPT_OUTCOME_"))) }
            td data-label="Worker" { (id(&attempt.worker_identity)) }
            td data-label="Started" { (times.show(attempt.started_time.as_ref())) }
            td data-label="Ended" { (times.show(attempt.ended_time.as_ref())) }
            td data-label="Failure" {
                @if !attempt.failure_type.is_empty() { b { (attempt.failure_type) } ": " }
                (attempt.failure_message)
            }
            td data-label="Heartbeat" { (heartbeat(times, attempt)) }
        }
    }
}

/// When the last one came, and with what. Details that are too large are not kept.
fn heartbeat(times: &Times, attempt: &ActivityAttempt) -> Markup {
    let details = Payloads::decode(attempt.heartbeat_details.clone()).ok().filter(|_| !attempt.heartbeat_details.is_empty());
    html! {
        @if attempt.heartbeat_time.is_some() { (times.show(attempt.heartbeat_time.as_ref())) }
        @match &details {
            Some(details) => { details.inline-details { summary { "Details" } (payloads(Some(details))) } }
            None => { @if attempt.heartbeat_bytes > 0 { " " span.muted { (bytes(attempt.heartbeat_bytes)) ", not kept" } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::{Timestamp, v1::common::Payload};

    use super::*;
    use crate::show::TimeStyle;

    #[test]
    fn an_attempt_is_told_whole_and_escaped() {
        let times = Times { now: jiff::Timestamp::UNIX_EPOCH, zone: jiff::tz::TimeZone::UTC, zone_is_known: true, style: TimeStyle::Utc };
        let details = Payload { metadata: [("encoding".to_owned(), "json/plain".into())].into(), data: "7".into(), ..Payload::default() };
        let failed = ActivityAttempt {
            attempt: 3,
            outcome: AttemptOutcome::TimedOutHeartbeat.into(),
            worker_identity: "<i>w".into(),
            started_time: Some(Timestamp { seconds: 1, nanos: 0 }),
            failure_type: "<u>Odd".into(),
            failure_message: "<s>no".into(),
            heartbeat_time: Some(Timestamp { seconds: 2, nanos: 0 }),
            heartbeat_details: Payloads { payloads: vec![details] }.encode_to_vec().into(),
            ..ActivityAttempt::default()
        };
        let large = ActivityAttempt { attempt: 4, heartbeat_bytes: 5000, ..ActivityAttempt::default() };
        let log = ActivityAttempts { attempts: vec![failed, large], dropped: 2, ..ActivityAttempts::default() };
        let text = attempts(&times, Some(&log)).into_string();
        for told in
            ["2 earlier attempts", ">3<", "Timed out heartbeat", "&lt;i&gt;w", "&lt;u&gt;Odd", "&lt;s&gt;no", ">7<", "5.0 kB, not kept"]
        {
            assert!(text.contains(told), "{told}: {text}");
        }
        for raw in ["<i>w", "<u>Odd", "<s>no"] {
            assert!(!text.contains(raw), "{raw}: {text}");
        }
        assert!(attempts(&times, None).into_string().contains("No worker has had it"));
    }
}

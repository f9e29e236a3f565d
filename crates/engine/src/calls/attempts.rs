//! The log of activity attempts of a run: what is kept beside history, and what history alone says.

use std::collections::BTreeMap;

use prost::Message as _;
use sempre_api::{
    History,
    sempre::v1::{ActivityAttempt, ActivityAttempts, ListActivityAttemptsRequest, ListActivityAttemptsResponse},
};
use sempre_core::{
    AttemptsOfHistory, Refusal, RunKey, Timestamp, keys,
    state::{AttemptLog, AttemptRecord, rows::Kind},
};
use sempre_store::Table;

use super::by_ids;
use crate::{
    Engine,
    history::{read::PAGE_BYTES, slice::PageLimit},
    shard::{
        load::prefix_end,
        message::{Ask, Body, ViewRequest},
    },
    shared::internal,
};

/// Activities of one answer.
const ACTIVITIES_MAX: usize = 1000;
/// Events that one answer looks at, the newest ones: closed activities that were scheduled before them are left out.
const EVENTS_MAX: i64 = 10_000;
/// Events read at once.
const PAGE: PageLimit = PageLimit { events: 1000, bytes: PAGE_BYTES };

impl Engine {
    /// `InspectService.ListActivityAttempts`. Reads the newest events of the run, page by page.
    pub async fn list_activity_attempts(&self, request: ListActivityAttemptsRequest) -> Result<ListActivityAttemptsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?.id();
        let (workflow, run) = match (request.workflow_id.as_str(), request.activity_id.as_str()) {
            ("", activity_id) if !activity_id.is_empty() => self.activity(&request.namespace, activity_id, &request.run_id)?,
            _ => by_ids(namespace, request.workflow_id, &request.run_id)?,
        };
        // In this order: an activity that closes meanwhile is found again further down, and the later answer counts.
        let answer = self.shared.ask(workflow.clone(), run, Ask::Attempts).await?;
        let Body::Attempts(pending) = answer.body else { return Err(internal("attempts")) };
        let key = RunKey { workflow, run: answer.run };
        let mut logs: BTreeMap<i64, AttemptLog> = pending.into_iter().map(|log| (log.scheduled_event_id, log)).collect();
        let (_, view) = self.shared.view(&key.workflow, Some(key.run), ViewRequest::default()).await?;
        let (from, end) = ((view.next_event_id - EVENTS_MAX).max(1), view.next_event_id);
        logs.extend(self.attempts_in_history(&key, from, end).await?.into_iter().map(|log| (log.scheduled_event_id, log)));
        logs.extend(self.attempt_rows(&key).await?.into_iter().map(|log| (log.scheduled_event_id, log)));
        let wanted = |log: &AttemptLog| request.activity_id.is_empty() || log.activity_id == request.activity_id;
        let logs: Vec<_> = logs.into_values().filter(wanted).collect();
        let left_out = logs.len().saturating_sub(ACTIVITIES_MAX);
        Ok(ListActivityAttemptsResponse {
            run_id: key.run.to_string(),
            activities: logs.into_iter().skip(left_out).map(activity).collect(),
            truncated: left_out > 0 || from > 1,
        })
    }

    /// Logs of closed activities that had more than one attempt, and of those that the run closed over.
    async fn attempt_rows(&self, key: &RunKey) -> Result<Vec<AttemptLog>, Refusal> {
        let mut from = keys::run(key.workflow.slot(), key.run);
        from.push(Kind::AttemptLog as u8);
        let rows = self.shared.store.scan(Table::State, &from, &prefix_end(&from), usize::MAX).await;
        let rows = rows.map_err(|error| Refusal::Unavailable(error.to_string()))?;
        let decoded = rows.into_iter().map(|(_, value)| AttemptLog::decode(value));
        decoded.collect::<Result<_, _>>().map_err(|_| internal("an attempt log that can be read"))
    }

    async fn attempts_in_history(&self, key: &RunKey, from: i64, end: i64) -> Result<Vec<AttemptLog>, Refusal> {
        let (mut attempts, mut next) = (AttemptsOfHistory::default(), from);
        while next < end {
            let page = self.shared.read_page(key, next, end, PAGE).await?;
            next = page.next;
            let events = History { chunks: page.chunks }.events().map_err(|_| internal("history that can be read"))?;
            events.iter().for_each(|event| attempts.event(event));
        }
        Ok(attempts.closed())
    }
}

fn activity(log: AttemptLog) -> ActivityAttempts {
    ActivityAttempts {
        scheduled_event_id: log.scheduled_event_id,
        activity_id: log.activity_id,
        activity_type: log.activity_type,
        attempts: log.attempts.into_iter().map(attempt).collect(),
        dropped: log.dropped,
    }
}

fn attempt(record: AttemptRecord) -> ActivityAttempt {
    let time = |nanos: i64| (nanos != 0).then(|| Timestamp(nanos).to_api());
    ActivityAttempt {
        attempt: record.attempt,
        scheduled_time: time(record.scheduled_time),
        started_time: time(record.started_time),
        ended_time: time(record.ended_time),
        worker_identity: record.identity,
        // The numbers are the same, tested below.
        outcome: record.outcome,
        failure_message: record.failure_message,
        failure_type: record.failure_type,
        heartbeat_time: time(record.heartbeat_time),
        heartbeat_details: record.heartbeat_details,
        heartbeat_bytes: record.heartbeat_bytes,
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::sempre::v1::AttemptOutcome as Api;
    use sempre_core::state::AttemptOutcome as Core;

    #[test]
    fn outcomes_have_the_same_numbers_on_the_wire() {
        for number in 0..=11 {
            let (core, api) = (Core::try_from(number).ok(), Api::try_from(number).ok());
            assert_eq!(core.map(|c| format!("{c:?}")), api.map(|a| format!("{a:?}")), "{number}");
        }
    }
}

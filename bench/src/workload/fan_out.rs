//! D: workflows that schedule many activities at once and end when all are done.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::{PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse};
use sempre_bench::api;

use super::{each, ended, nonce, start};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

const ACTIVITIES: u64 = 1000;

/// Schedules all, waits for all.
struct FanOut {
    width: u64,
    /// Activities done, by workflow. An activity counts as done before its result is sent: the last workflow task can come
    /// before the worker learns that the result was taken, and there is none after it.
    done: Mutex<HashMap<String, u64>>,
}

impl Script for FanOut {
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        if task.previous_started_event_id == 0 {
            let all = (1..=self.width).map(|n| api::schedule_activity(&n.to_string(), Duration::from_secs(60), None));
            return Decision::of(all.collect());
        }
        let id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.get(id).is_some_and(|done| *done >= self.width) { Decision::done() } else { Decision::default() }
    }

    fn activity(&self, task: &PollActivityTaskQueueResponse) {
        let id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        *self.done.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default() += 1;
    }
}

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let width = options.count.unwrap_or(ACTIVITIES);
    let client = server.client()?;
    let crew = Arc::new(Crew::sticky(&client, 64, FanOut { width, done: Mutex::default() }));
    let word = nonce();
    let meter = server.meter()?;
    let begun = Instant::now();
    let mut latencies_us = Vec::new();
    while begun.elapsed().as_secs() < options.seconds {
        let batch = latencies_us.len();
        let more: Vec<u64> = each(in_flight as u64, in_flight, |n| {
            let (crew, mut client, id) = (crew.clone(), client.clone(), format!("fan-{word}-{batch}-{n}"));
            async move {
                let end = crew.end_of(&id);
                let begun = Instant::now();
                start(&mut client, crew.queue(), &id).await?;
                ended(end).await.map_err(|error| crew.reason(error))?;
                Ok(begun.elapsed().as_micros() as u64)
            }
        })
        .await?;
        latencies_us.extend(more);
    }
    let spent = meter.end()?;
    let refused = crew.refused()?;
    // Latency is that of a workflow, from its start to its end; the unit is an activity.
    let units = latencies_us.len() as u64 * width;
    Ok(Outcome { unit: "activity", units, latencies_us, spent, more: [("refused", refused as f64)].into_iter().collect() })
}

//! B: activities one after the other in one workflow, whose worker keeps it (a sticky queue, as SDKs use).
//!
//! A step is from one answered workflow task to the next workflow task at the worker: two commits (the task that schedules
//! the activity; the activity's result), three calls. Beside it the floor of that: one bare round trip, measured on the same
//! connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::{GetSystemInfoRequest, PollWorkflowTaskQueueResponse};
use sempre_bench::api::{self, Client};

use super::{each, ended, nonce, start};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::{Outcome, median},
    target::Running,
};

const STEPS: u64 = 100;
/// Calls for the bare round trip.
const ROUND_TRIPS: usize = 200;

/// How far a workflow is, and when its last task came.
type Progress = HashMap<String, (u64, Instant)>;

#[derive(Default)]
struct Shared {
    progress: Mutex<Progress>,
    latencies_us: Mutex<Vec<u64>>,
}

struct Steps {
    steps: u64,
    shared: Arc<Shared>,
}

impl Script for Steps {
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        let now = Instant::now();
        let id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        let mut progress = self.shared.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let (done, since) = progress.remove(id).unwrap_or((0, now));
        if done > 0 {
            let took = now.duration_since(since).as_micros() as u64;
            self.shared.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
        if done == self.steps {
            return Decision::done();
        }
        progress.insert(id.to_owned(), (done + 1, now));
        Decision::of(vec![api::schedule_activity(&(done + 1).to_string(), Duration::from_secs(10), None)])
    }
}

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let steps = options.count.unwrap_or(STEPS);
    let mut client = server.client()?;
    let shared = Arc::new(Shared::default());
    let crew = Arc::new(Crew::sticky(&client, in_flight, Steps { steps, shared: shared.clone() }));
    let round_trip_us = round_trip(&mut client).await?;
    let word = nonce();
    // One to warm up.
    let one = |id: String| {
        let (crew, mut client) = (crew.clone(), client.clone());
        async move {
            let end = crew.end_of(&id);
            start(&mut client, crew.queue(), &id).await?;
            ended(end).await
        }
    };
    one(format!("warm-{word}")).await?;
    shared.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).clear();
    let meter = server.meter()?;
    let begun = Instant::now();
    let mut batch = 0;
    while begun.elapsed().as_secs() < options.seconds {
        batch += 1;
        each(in_flight as u64, in_flight, |n| one(format!("steps-{word}-{batch}-{n}"))).await?;
    }
    let spent = meter.end()?;
    crew.refused()?;
    let latencies_us = std::mem::take(&mut *shared.latencies_us.lock().unwrap_or_else(PoisonError::into_inner));
    let units = latencies_us.len() as u64;
    let more = [("bare call ms", round_trip_us / 1000.0)].into_iter().collect();
    Ok(Outcome { unit: "step", units, latencies_us, spent, more })
}

/// The median of a call that writes nothing, microseconds.
async fn round_trip(client: &mut Client) -> Result<f64, Failure> {
    let mut times = Vec::with_capacity(ROUND_TRIPS);
    for _ in 0..ROUND_TRIPS {
        let begun = Instant::now();
        client.get_system_info(GetSystemInfoRequest::default()).await?;
        times.push(begun.elapsed().as_micros() as f64);
    }
    Ok(median(times))
}

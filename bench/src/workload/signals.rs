//! C: signals, to one workflow or to a thousand, some under way at once.
//!
//! The worker keeps its runs and answers their tasks with nothing. A run takes 8,000 signals (servers take 10,000); then
//! comes the next. What is counted is acknowledged signals.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    common::WorkflowExecution,
    workflowservice::{PollWorkflowTaskQueueResponse, SignalWorkflowExecutionRequest},
};
use sempre_bench::api::{self, Client, NAMESPACE};

use super::{each, nonce, start};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

/// Signals that one run gets.
const SIGNALS_PER_RUN: u64 = 8000;
/// Entities of the wide form.
const ENTITIES: u64 = 1000;

/// Takes note.
struct Listener {
    tasks: Arc<AtomicU64>,
}

impl Script for Listener {
    fn decide(&self, _: &PollWorkflowTaskQueueResponse) -> Decision {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        Decision::default()
    }
}

/// All signals to one run at a time.
pub(super) async fn one(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    run(options, in_flight, server, 1).await
}

/// Signals to all of a thousand runs, in turn.
pub(super) async fn many(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    run(options, in_flight, server, options.count.unwrap_or(ENTITIES)).await
}

async fn run(options: &Options, in_flight: usize, server: &mut Running, entities: u64) -> Result<Outcome, Failure> {
    let client = server.client()?;
    let tasks = Arc::new(AtomicU64::new(0));
    let crew = Arc::new(Crew::sticky(&client, 16, Listener { tasks: tasks.clone() }));
    let word = nonce();
    // Runs for the longest measurement that is likely; one that is not used costs little.
    let generations = match entities {
        1 => 2 + options.seconds * 5,
        _ => 1,
    };
    each(entities * generations, 64, |n| {
        let (crew, mut client, id) = (crew.clone(), client.clone(), format!("entity-{word}-{n}"));
        async move { start(&mut client, crew.queue(), &id).await }
    })
    .await?;
    let next = Arc::new(AtomicU64::new(0));
    let meter = server.meter()?;
    let tasks_before = tasks.load(Ordering::Relaxed);
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let latencies = each(in_flight as u64, in_flight, |_| {
        let (mut client, next, word) = (client.clone(), next.clone(), word.clone());
        async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let entity = if entities == 1 { n / SIGNALS_PER_RUN } else { n % entities };
                if entity >= entities * generations {
                    return Err("more signals than there are runs for: give fewer --seconds".into());
                }
                let begun = Instant::now();
                signal(&mut client, &format!("entity-{word}-{entity}"), n).await?;
                latencies.push(begun.elapsed().as_micros() as u64);
            }
            Ok(latencies)
        }
    })
    .await?;
    let spent = meter.end()?;
    let refused = crew.refused()?;
    let latencies_us = latencies.concat();
    let units = latencies_us.len() as u64;
    let per_task = units as f64 / (tasks.load(Ordering::Relaxed) - tasks_before).max(1) as f64;
    let more = [("signals/task", per_task), ("refused", refused as f64)].into_iter().collect();
    Ok(Outcome { unit: "signal", units, latencies_us, spent, more })
}

/// Sends a signal.
pub(super) async fn signal(client: &mut Client, id: &str, n: u64) -> Result<(), Failure> {
    client
        .signal_workflow_execution(SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(WorkflowExecution { workflow_id: id.to_owned(), run_id: String::new() }),
            signal_name: "news".into(),
            input: Some(api::payloads("\"a short piece of news\"")),
            identity: "bench-starter".into(),
            request_id: format!("s-{n}"),
            ..Default::default()
        })
        .await?;
    Ok(())
}

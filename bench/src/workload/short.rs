//! A: short workflows with one activity, some in flight.
//!
//! The seven calls of such a workflow are made by hand: start; poll and complete a workflow task, an activity, a workflow
//! task. Latency is from the start call to the acknowledged completion of the workflow.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::PollWorkflowTaskQueueResponse;
use sempre_bench::{
    api::{self, Client},
    process::cpu_seconds_with_children,
};

use super::nonce;
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

/// First task: schedule the activity. Second: complete the workflow.
pub(super) struct OneActivity;

impl Script for OneActivity {
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        match task.previous_started_event_id {
            0 => Decision::of(vec![api::schedule_activity("1", Duration::from_secs(10), None)]),
            _ => Decision::done(),
        }
    }
}

#[derive(Default)]
struct Load {
    latencies_us: Mutex<Vec<u64>>,
    counting: AtomicBool,
    started: AtomicU64,
    /// Nothing new is started any more.
    ending: AtomicBool,
}

/// How long the workflows that are under way at the end may take. A peer that stays up for other measurements would have them on its hands:
/// their tasks time out and are given out again, to workers that are not there.
const REST_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let client = server.client()?;
    let crew = Arc::new(Crew::new(&client, in_flight, OneActivity));
    let load = Arc::new(Load::default());
    let mut starters = tokio::task::JoinSet::new();
    let word = nonce();
    for _ in 0..in_flight {
        starters.spawn(starter(load.clone(), crew.clone(), client.clone(), word.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = database(server)?;
    let meter = server.meter()?;
    load.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    load.counting.store(false, Ordering::Relaxed);
    let spent = meter.end()?;
    let after = database(server)?;
    if let Some(ended) = starters.try_join_next() {
        ended?.map_err(|error| crew.reason(error))?;
    }
    load.ending.store(true, Ordering::Relaxed);
    let rest = async {
        while let Some(ended) = starters.join_next().await {
            ended?.map_err(|error| crew.reason(error))?;
        }
        Ok::<_, Failure>(())
    };
    tokio::time::timeout(REST_MAX, rest).await.map_err(|_| format!("workflows are not done {} s after the end", REST_MAX.as_secs()))??;
    crew.refused()?;
    let latencies_us = std::mem::take(&mut *load.latencies_us.lock().map_err(|_| "a starter panicked")?);
    let units = latencies_us.len() as u64;
    if units == 0 {
        return Err("no workflow was completed".into());
    }
    let mut outcome = Outcome { unit: "workflow", units, latencies_us, spent, ..Outcome::default() };
    if server.database().is_some() {
        outcome.more.insert("database CPU ms", (after.0 - before.0) * 1000.0 / units as f64);
        outcome.more.insert("statements", (after.1 - before.1) / units as f64);
    }
    Ok(outcome)
}

/// CPU seconds of a database that has the data, and statements of commits that it was sent.
fn database(server: &Running) -> Result<(f64, f64), Failure> {
    let Some((cluster, schema)) = server.database() else { return Ok((0.0, 0.0)) };
    let statements = cluster.sql(&format!("SELECT sum(seq) FROM {schema}.shard"))?;
    Ok((cpu_seconds_with_children(cluster.pid()?)?, statements.parse()?))
}

/// Starts a workflow, waits for its end, and again.
async fn starter(load: Arc<Load>, crew: Arc<Crew>, mut client: Client, word: String) -> Result<(), Failure> {
    while !load.ending.load(Ordering::Relaxed) {
        let id = format!("wf-{word}-{}", load.started.fetch_add(1, Ordering::Relaxed));
        let end = crew.end_of(&id);
        let begun = Instant::now();
        super::start(&mut client, crew.queue(), &id).await?;
        end.await.map_err(|_| "the worker has ended")?;
        if load.counting.load(Ordering::Relaxed) {
            let latency = begun.elapsed().as_micros() as u64;
            load.latencies_us.lock().map_err(|_| "a starter panicked")?.push(latency);
        }
    }
    Ok(())
}

//! F: many open workflows that wait, half of them for a timer, half for a signal.
//!
//! They are made; the server (if it is ours) is stopped and started on them; then one in a hundred is woken by a signal and
//! ends. What is counted is the woken ones; the making and the start have their own figures.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use sempre_api::v1::{
    command::{Command, StartTimerCommandAttributes, command::Attributes},
    enums::CommandType,
    workflowservice::PollWorkflowTaskQueueResponse,
};
use sempre_bench::{api, process::Usage};

use super::{each, ended, nonce, signals::signal, start};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

const OPEN: u64 = 1_000_000;
/// One of so many is woken.
const WOKEN_OF: u64 = 100;
/// Longer than any measurement.
const TIMER: Duration = Duration::from_secs(24 * 3600);

/// Waits; ends with its second task.
struct Sleeper;

impl Script for Sleeper {
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        if task.previous_started_event_id > 0 {
            return Decision::done();
        }
        let id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        let timer = id.ends_with(['0', '2', '4', '6', '8']);
        Decision::of(timer.then(start_timer).into_iter().collect())
    }
}

fn start_timer() -> Command {
    Command {
        command_type: CommandType::StartTimer as i32,
        attributes: Some(Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: "1".into(),
            start_to_fire_timeout: Some(api::duration(TIMER)),
        })),
        ..Default::default()
    }
}

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let open = options.count.unwrap_or(OPEN).max(WOKEN_OF);
    let client = server.client()?;
    let word = nonce();
    let mut outcome = Outcome { unit: "wake-up", ..Outcome::default() };

    let meter = server.meter()?;
    let crew = Crew::new(&client, 64, Sleeper);
    let queue = crew.queue().to_owned();
    each(open, in_flight, |n| {
        let (mut client, queue, id) = (client.clone(), queue.clone(), format!("idle-{word}-{n}"));
        async move { start(&mut client, &queue, &id).await }
    })
    .await?;
    // A task in the worker's hands would come again, and take the signal that is to wake its run.
    while crew.answered() < open {
        crew.refused()?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let made = meter.end()?;
    crew.refused()?;
    outcome.more.insert("made/s", open as f64 / made.seconds);
    outcome.more.insert("CPU ms to make one", made.cpu_seconds * 1000.0 / open as f64);
    drop(crew);

    // What it keeps in memory once they have been left alone.
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let resident = |server: &Running| -> Result<f64, Failure> {
        Ok(server.pids.iter().map(|pid| Usage::of(*pid)).sum::<std::io::Result<Kib>>()?.0 as f64 / 1024.0)
    };
    outcome.more.insert("RSS MiB idle", resident(server)?);
    if let Some(start_ms) = server.restart()? {
        outcome.more.insert("start-up ms", start_ms);
        let mut client = server.client()?;
        let begun = Instant::now();
        signal(&mut client, &format!("idle-{word}-0"), open).await?;
        outcome.more.insert("first answer ms", begun.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(Duration::from_secs(1)).await;
        outcome.more.insert("RSS MiB after start", resident(server)?);
    }

    let client = server.client()?;
    let crew = Arc::new(Crew::at(&client, 64, &queue, Sleeper));
    let meter = server.meter()?;
    // The first was signalled already.
    outcome.latencies_us = each(open / WOKEN_OF - 1, in_flight, |n| {
        let (crew, mut client, id) = (crew.clone(), client.clone(), format!("idle-{word}-{}", (n + 1) * WOKEN_OF));
        async move {
            let end = crew.end_of(&id);
            let begun = Instant::now();
            signal(&mut client, &id, n).await?;
            ended(end).await?;
            Ok(begun.elapsed().as_micros() as u64)
        }
    })
    .await?;
    outcome.spent = meter.end()?;
    crew.refused()?;
    outcome.units = outcome.latencies_us.len() as u64;
    Ok(outcome)
}

/// Resident memory, summed.
struct Kib(u64);

impl std::iter::Sum<Usage> for Kib {
    fn sum<I: Iterator<Item = Usage>>(usages: I) -> Self {
        Self(usages.map(|usage| usage.rss_kib).sum())
    }
}

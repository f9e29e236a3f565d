//! Overload: ten times the starts that the server can take to their end, and what becomes of the work.
//!
//! | phase | what | for |
//! |---|---|---|
//! | peak | short workflows, so many in flight: what is sustainable | `--seconds` |
//! | flood | starts at ten times that rate, whether they are answered or not; the same workers | three times `--seconds` |
//! | after | one start at a time | until it takes as long as before the flood |
//!
//! Useful is what workers complete. A start that is refused with RESOURCE_EXHAUSTED is not tried again: somebody else's comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::workflowservice::PollWorkflowTaskQueueResponse;
use sempre_bench::api::{self, Client};
use tonic::Code;

use super::{TASK_TIMEOUT, nonce};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

/// Times the peak.
const TIMES: f64 = 10.0;
/// Starts that may be unanswered: a client that waits for nobody has an end, too.
const UNANSWERED_MAX: u64 = 20_000;
/// Connections of the flood.
const CONNECTIONS: usize = 16;
/// Between two bursts of the flood.
const TICK: Duration = Duration::from_millis(5);
/// How long it is waited for the latency of before.
const AFTER_MAX: Duration = Duration::from_secs(120);

/// One workflow task, which completes the workflow, and is counted.
struct Counted(Arc<AtomicU64>);

impl Script for Counted {
    fn decide(&self, _: &PollWorkflowTaskQueueResponse) -> Decision {
        self.0.fetch_add(1, Ordering::Relaxed);
        Decision::done()
    }
}

#[derive(Default)]
struct Flood {
    sent: AtomicU64,
    taken: AtomicU64,
    refused: AtomicU64,
    failed: AtomicU64,
    answered: AtomicU64,
}

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let client = server.client()?;
    let word = nonce();
    let done: Arc<AtomicU64> = Arc::default();
    let crew = Arc::new(Crew::at(&client, in_flight, &format!("overload-{word}"), Counted(done.clone())));
    // Peak: starters that wait for the end of each.
    let mut starters = tokio::task::JoinSet::new();
    for n in 0..in_flight {
        let (mut client, crew, word) = (client.clone(), crew.clone(), word.clone());
        starters.spawn(async move {
            for turn in 0_u64.. {
                let id = format!("peak-{word}-{n}-{turn}");
                let end = crew.end_of(&id);
                super::start(&mut client, crew.queue(), &id).await?;
                super::ended(end).await?;
            }
            Ok::<(), Failure>(())
        });
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, begun) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let peak = (done.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    if let Some(ended) = starters.try_join_next() {
        ended??;
    }
    starters.shutdown().await;
    let normal = quiet(&client, &crew, &word).await?;

    let flood = Arc::new(Flood::default());
    // On a thread of their own: those who flood the server are not its workers.
    let flooders = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let meter = server.meter()?;
    let before = done.load(Ordering::Relaxed);
    let seconds = 3 * options.seconds;
    let clients: Result<Vec<_>, _> = {
        let _inside = flooders.enter();
        (0..CONNECTIONS).map(|_| server.client()).collect()
    };
    let sent = match clients {
        Ok(clients) => {
            let (flood, queue, word) = (flood.clone(), crew.queue().to_owned(), word.clone());
            let flooding = async move { send(&flood, &clients, &queue, &word, peak * TIMES, Duration::from_secs(seconds)).await };
            flooders.spawn(flooding).await.map_err(|error| Failure::from(error.to_string()))
        }
        Err(error) => Err(error),
    };
    flooders.shutdown_background();
    sent?;
    let useful = (done.load(Ordering::Relaxed) - before) as f64 / seconds as f64;
    let spent = meter.end()?;
    let after = back_to(normal, &client, crew.queue(), &word).await?;
    let (left, begun) = (done.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let drained = (done.load(Ordering::Relaxed) - left) as f64 / begun.elapsed().as_secs_f64();
    crew.refused()?;

    let count = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
    let mut outcome = Outcome { unit: "workflow", units: done.load(Ordering::Relaxed) - before, spent, ..Outcome::default() };
    outcome.more.insert("peak a second", peak);
    outcome.more.insert("useful a second in the flood", useful);
    outcome.more.insert("useful, percent of the peak", 100.0 * useful / peak.max(f64::MIN_POSITIVE));
    outcome.more.insert("starts sent", count(&flood.sent));
    outcome.more.insert("starts taken", count(&flood.taken));
    outcome.more.insert("starts refused", count(&flood.refused));
    outcome.more.insert("starts failed otherwise", count(&flood.failed));
    outcome.more.insert("useful a second after the flood", drained);
    outcome.more.insert("normal start ms", normal.as_secs_f64() * 1000.0);
    outcome.more.insert("normal again after ms", after.as_secs_f64() * 1000.0);
    Ok(outcome)
}

/// Median of starts, one at a time.
async fn quiet(client: &Client, crew: &Crew, word: &str) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for n in 0..50 {
        let begun = Instant::now();
        super::start(&mut client.clone(), crew.queue(), &format!("quiet-{word}-{n}")).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// Sends starts at a rate, and waits for none of them.
async fn send(flood: &Arc<Flood>, clients: &[Client], queue: &str, word: &str, rate: f64, span: Duration) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    while begun.elapsed() < span {
        tick.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
        loop {
            let sent = flood.sent.load(Ordering::Relaxed);
            if sent >= due || sent - flood.answered.load(Ordering::Relaxed) >= UNANSWERED_MAX {
                break;
            }
            flood.sent.fetch_add(1, Ordering::Relaxed);
            let mut client = clients[sent as usize % clients.len()].clone();
            let id = format!("flood-{word}-{sent}");
            let request = api::start_request(&id, queue, &id, TASK_TIMEOUT);
            let flood = flood.clone();
            tokio::spawn(async move {
                let counter = match client.start_workflow_execution(request).await {
                    Ok(_) => &flood.taken,
                    Err(status) if status.code() == Code::ResourceExhausted => &flood.refused,
                    Err(_) => &flood.failed,
                };
                counter.fetch_add(1, Ordering::Relaxed);
                flood.answered.fetch_add(1, Ordering::Relaxed);
            });
        }
    }
}

/// How long it takes until five starts in a row take no more than twice what they took before, and a few milliseconds.
async fn back_to(normal: Duration, client: &Client, queue: &str, word: &str) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let (mut good, mut n) = (0, 0);
    while begun.elapsed() < AFTER_MAX {
        let one = Instant::now();
        let id = format!("after-{word}-{n}");
        n += 1;
        let started = client.clone().start_workflow_execution(api::start_request(&id, queue, &id, TASK_TIMEOUT)).await;
        good = if started.is_ok() && one.elapsed() <= normal * 2 + Duration::from_millis(5) { good + 1 } else { 0 };
        if good == 5 {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("starts do not take as long as before {} s after the flood", AFTER_MAX.as_secs()).into())
}

//! Overload: ten times the starts that the server can take to their end, and what becomes of the work.
//!
//! | phase | what | for |
//! |---|---|---|
//! | peak | short workflows, so many in flight: what is sustainable | `--seconds` |
//! | flood | starts at ten times that rate, whether they are answered or not; the same workers | three times `--seconds` |
//! | after | one start at a time | until it takes as long as before the flood |
//!
//! Those who flood a server have machines of their own: `--sender-core` gives the flood a core, which nothing else should be run on.
//! Useful is what workers complete. A start that is refused with RESOURCE_EXHAUSTED is not tried again: somebody else's comes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use rustix::thread::{CpuSet, sched_setaffinity};
use sempre_api::v1::{
    common::{Payload, Payloads},
    workflowservice::{PollWorkflowTaskQueueResponse, StartWorkflowExecutionRequest},
};
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
    let starts = Starts { word: nonce(), input: input(options.input_bytes) };
    let done: Arc<AtomicU64> = Arc::default();
    let crew = Arc::new(Crew::at(&client, in_flight, &format!("overload-{}", starts.word), Counted(done.clone())));
    // Peak: starters that wait for the end of each.
    let mut starters = tokio::task::JoinSet::new();
    for n in 0..in_flight {
        let (mut client, crew, starts) = (client.clone(), crew.clone(), starts.clone());
        starters.spawn(async move {
            for turn in 0_u64.. {
                let request = starts.request("peak", crew.queue(), format!("{n}-{turn}"));
                let end = crew.end_of(&request.workflow_id);
                client.start_workflow_execution(request).await?;
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
    let normal = quiet(&client, &crew, &starts).await?;

    let flood = Arc::new(Flood::default());
    // On a thread of their own: those who flood the server are not its workers.
    let core = options.sender_core;
    check(core)?;
    let flooders =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().on_thread_start(move || _ = stay_on(core)).build()?;
    let meter = server.meter()?;
    let before = done.load(Ordering::Relaxed);
    let seconds = 3 * options.seconds;
    let clients: Result<Vec<_>, _> = {
        let _inside = flooders.enter();
        (0..CONNECTIONS).map(|_| server.client()).collect()
    };
    let sent = match clients {
        Ok(clients) => {
            let (flood, queue, starts, unanswered) = (flood.clone(), crew.queue().to_owned(), starts.clone(), options.unanswered);
            let flooding =
                async move { send(&flood, &clients, &queue, &starts, unanswered, peak * TIMES, Duration::from_secs(seconds)).await };
            flooders.spawn(flooding).await.map_err(|error| Failure::from(error.to_string()))
        }
        Err(error) => Err(error),
    };
    flooders.shutdown_background();
    sent?;
    let useful = (done.load(Ordering::Relaxed) - before) as f64 / seconds as f64;
    let spent = meter.end()?;
    let after = back_to(normal, &client, crew.queue(), &starts).await?;
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

/// The starts of a run of the benchmark.
#[derive(Clone)]
struct Starts {
    word: String,
    /// `None`: the usual, short one.
    input: Option<Payloads>,
}

impl Starts {
    fn request(&self, phase: &str, queue: &str, name: String) -> StartWorkflowExecutionRequest {
        let id = format!("{phase}-{}-{name}", self.word);
        let mut request = api::start_request(&id, queue, &id, TASK_TIMEOUT);
        if let Some(input) = &self.input {
            request.input = Some(input.clone());
        }
        request
    }
}

/// One payload of so many bytes, which copies share.
fn input(bytes: usize) -> Option<Payloads> {
    (bytes > 0).then(|| {
        let data: Bytes = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
        Payloads { payloads: vec![Payload { data, ..Payload::default() }] }
    })
}

/// Fails if there is no such core.
fn check(core: Option<usize>) -> Result<(), Failure> {
    // A thread that ends with that.
    let tried = std::thread::spawn(move || stay_on(core)).join().map_err(|_| "the thread ended early")?;
    tried.map_err(|error| format!("--sender-core: {error}").into())
}

/// Has this thread run on that core only.
fn stay_on(core: Option<usize>) -> Result<(), rustix::io::Errno> {
    let Some(core) = core else { return Ok(()) };
    if core >= CpuSet::MAX_CPU {
        return Err(rustix::io::Errno::INVAL);
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)
}

/// Median of starts, one at a time.
async fn quiet(client: &Client, crew: &Crew, starts: &Starts) -> Result<Duration, Failure> {
    let mut took = Vec::new();
    for n in 0..50 {
        let begun = Instant::now();
        client.clone().start_workflow_execution(starts.request("quiet", crew.queue(), n.to_string())).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2])
}

/// Sends starts at a rate, and waits for none of them.
async fn send(flood: &Arc<Flood>, clients: &[Client], queue: &str, starts: &Starts, unanswered: u64, rate: f64, span: Duration) {
    let begun = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    while begun.elapsed() < span {
        tick.tick().await;
        let due = (begun.elapsed().as_secs_f64() * rate) as u64;
        loop {
            let sent = flood.sent.load(Ordering::Relaxed);
            if sent >= due || sent - flood.answered.load(Ordering::Relaxed) >= unanswered {
                break;
            }
            flood.sent.fetch_add(1, Ordering::Relaxed);
            let mut client = clients[sent as usize % clients.len()].clone();
            let request = starts.request("flood", queue, sent.to_string());
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
async fn back_to(normal: Duration, client: &Client, queue: &str, starts: &Starts) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let (mut good, mut n) = (0, 0);
    while begun.elapsed() < AFTER_MAX {
        let one = Instant::now();
        let started = client.clone().start_workflow_execution(starts.request("after", queue, n.to_string())).await;
        n += 1;
        good = if started.is_ok() && one.elapsed() <= normal * 2 + Duration::from_millis(5) { good + 1 } else { 0 };
        if good == 5 {
            return Ok(begun.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("starts do not take as long as before {} s after the flood", AFTER_MAX.as_secs()).into())
}

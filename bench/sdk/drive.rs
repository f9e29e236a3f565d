//! Load from inside a program: workflows, some in flight; what `bench/figures/load.py` is for Python. A file of its own, because the programs that
//! need it are of workspaces that share nothing.
//!
//! Prints `begin` and `end` around what is counted and waits for a line each time, so that whoever reads can take the processes' figures at
//! these moments; then one line of JSON: `units`, and `latencies_us` of whole workflows.

use std::{
    error::Error,
    future::Future,
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::task::JoinSet;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

const WARM_UP: Duration = Duration::from_secs(1);

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) workload: Workload,
    in_flight: usize,
    seconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// A: those that end within the time are counted.
    Short,
    /// B: so many steps in a workflow. Workflows are counted whole.
    Steps(u32),
}

impl Plan {
    /// `short|steps IN_FLIGHT SECONDS STEPS`.
    pub(crate) fn parse(words: &[&str]) -> Option<Self> {
        let [workload, in_flight, seconds, steps] = words else { return None };
        let steps = steps.parse().ok().filter(|steps| *steps > 0)?;
        let workload = match *workload {
            "short" => Workload::Short,
            "steps" => Workload::Steps(steps),
            _ => return None,
        };
        Some(Self { workload, in_flight: in_flight.parse().ok().filter(|n| *n > 0)?, seconds: seconds.parse().ok().filter(|n| *n > 0)? })
    }
}

struct Load<W> {
    /// Runs the workflow of a key to its end.
    one: W,
    /// Keys are new with every run on the same server.
    word: String,
    next: AtomicU64,
    counting: AtomicBool,
    latencies_us: Mutex<Vec<u64>>,
}

/// Makes the load, and prints what came of it.
pub(crate) async fn drive<W, F>(plan: &Plan, one: W) -> Result<(), Failure>
where
    W: Fn(String) -> F + Send + Sync + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let word = format!("{:x}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    let load = Arc::new(Load { one, word, next: AtomicU64::new(0), counting: AtomicBool::new(false), latencies_us: Mutex::default() });
    let mut starters = JoinSet::new();
    let each = match plan.workload {
        Workload::Short => {
            (0..plan.in_flight).for_each(|_| drop(starters.spawn(again_and_again(load.clone(), None))));
            tokio::time::sleep(WARM_UP).await;
            say("begin").await?;
            load.counting.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(plan.seconds)).await;
            load.counting.store(false, Ordering::Relaxed);
            say("end").await?;
            while let Some(ended) = starters.try_join_next() {
                ended??;
            }
            starters.abort_all();
            1
        }
        Workload::Steps(steps) => {
            (load.one)(format!("warm-{}", load.word)).await?;
            say("begin").await?;
            load.counting.store(true, Ordering::Relaxed);
            let until = Instant::now() + Duration::from_secs(plan.seconds);
            (0..plan.in_flight).for_each(|_| drop(starters.spawn(again_and_again(load.clone(), Some(until)))));
            while let Some(ended) = starters.join_next().await {
                ended??;
            }
            say("end").await?;
            u64::from(steps)
        }
    };
    let latencies = std::mem::take(&mut *load.latencies_us.lock().unwrap_or_else(PoisonError::into_inner));
    let words: Vec<String> = latencies.iter().map(u64::to_string).collect();
    println!("{{\"units\": {}, \"latencies_us\": [{}]}}", latencies.len() as u64 * each, words.join(","));
    Ok(())
}

async fn again_and_again<W, F>(load: Arc<Load<W>>, until: Option<Instant>) -> Result<(), Failure>
where
    W: Fn(String) -> F,
    F: Future<Output = Result<(), Failure>>,
{
    while until.is_none_or(|until| Instant::now() < until) {
        let key = format!("wf-{}-{}", load.word, load.next.fetch_add(1, Ordering::Relaxed));
        let begun = Instant::now();
        (load.one)(key).await?;
        if load.counting.load(Ordering::Relaxed) {
            let latency = begun.elapsed().as_micros() as u64;
            load.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
        }
    }
    Ok(())
}

/// Says a word, and waits until it was heard.
async fn say(word: &str) -> Result<(), Failure> {
    println!("{word}");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

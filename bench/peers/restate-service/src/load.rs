//! Workflows over the ingress, some in flight, each on a connection of its own that is kept.
//!
//! Prints `begin` and `end` around what is counted and waits for a line each time, so that whoever reads can take the processes' figures at
//! these moments; then one line of JSON: `units`, and `latencies_us` of whole workflows.

use std::{
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};

use crate::Failure;

const WARM_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Workload {
    Short,
    Steps,
}

pub(crate) struct Load {
    address: String,
    workload: Workload,
    in_flight: usize,
    seconds: Duration,
    steps: u32,
    /// Keys are new with every run on the same server.
    word: String,
    next: AtomicU64,
    counting: AtomicBool,
    latencies_us: Mutex<Vec<u64>>,
}

impl Load {
    pub(crate) fn parse(address: &str, workload: &str, in_flight: &str, seconds: &str, steps: &str) -> Option<Arc<Self>> {
        let workload = match workload {
            "short" => Workload::Short,
            "steps" => Workload::Steps,
            _ => return None,
        };
        let seconds: f64 = seconds.parse().ok()?;
        Some(Arc::new(Self {
            address: address.to_owned(),
            workload,
            in_flight: in_flight.parse().ok().filter(|n| *n > 0)?,
            seconds: Duration::try_from_secs_f64(seconds).ok()?,
            steps: steps.parse().ok()?,
            word: format!("{}-{:?}", std::process::id(), std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?),
            next: AtomicU64::new(0),
            counting: AtomicBool::new(false),
            latencies_us: Mutex::default(),
        }))
    }

    pub(crate) async fn run(self: Arc<Self>) -> Result<(), Failure> {
        match self.workload {
            Workload::Short => self.for_some_seconds().await?,
            Workload::Steps => self.whole_workflows().await?,
        }
        let latencies = std::mem::take(&mut *self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner));
        let each = if self.workload == Workload::Steps { u64::from(self.steps) } else { 1 };
        let words: Vec<String> = latencies.iter().map(u64::to_string).collect();
        println!("{{\"units\": {}, \"latencies_us\": [{}]}}", latencies.len() as u64 * each, words.join(","));
        Ok(())
    }

    /// Counts what ends meanwhile.
    async fn for_some_seconds(self: &Arc<Self>) -> Result<(), Failure> {
        let mut starters = JoinSet::new();
        for _ in 0..self.in_flight {
            let load = self.clone();
            starters.spawn(async move { load.again_and_again(None).await });
        }
        tokio::time::sleep(WARM_UP).await;
        say("begin").await?;
        self.counting.store(true, Ordering::Relaxed);
        tokio::time::sleep(self.seconds).await;
        self.counting.store(false, Ordering::Relaxed);
        say("end").await?;
        while let Some(ended) = starters.try_join_next() {
            ended??;
        }
        starters.abort_all();
        Ok(())
    }

    /// Counts workflows from their start to their end, until the time is over.
    async fn whole_workflows(self: &Arc<Self>) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        self.one(&mut connection).await?;
        say("begin").await?;
        self.counting.store(true, Ordering::Relaxed);
        let until = Instant::now() + self.seconds;
        let mut starters = JoinSet::new();
        for _ in 0..self.in_flight {
            let load = self.clone();
            starters.spawn(async move { load.again_and_again(Some(until)).await });
        }
        while let Some(ended) = starters.join_next().await {
            ended??;
        }
        say("end").await?;
        Ok(())
    }

    async fn again_and_again(&self, until: Option<Instant>) -> Result<(), Failure> {
        let mut connection = self.connect().await?;
        while until.is_none_or(|until| Instant::now() < until) {
            let begun = Instant::now();
            self.one(&mut connection).await?;
            if self.counting.load(Ordering::Relaxed) {
                let latency = begun.elapsed().as_micros() as u64;
                self.latencies_us.lock().unwrap_or_else(PoisonError::into_inner).push(latency);
            }
        }
        Ok(())
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Failure> {
        let stream = TcpStream::connect(&self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Starts a workflow and waits for its result.
    async fn one(&self, connection: &mut SendRequest<Full<Bytes>>) -> Result<(), Failure> {
        let key = format!("{}-{}", self.word, self.next.fetch_add(1, Ordering::Relaxed));
        let (service, body) = match self.workload {
            Workload::Short => ("Short", Bytes::new()),
            Workload::Steps => ("Steps", Bytes::from(self.steps.to_string())),
        };
        let mut request = Request::post(format!("/{service}/{key}/run")).header("host", &self.address);
        if !body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        connection.ready().await?;
        let response = connection.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if status.is_success() && body == "\"done\"" {
            return Ok(());
        }
        Err(format!("a workflow of {service} answered {status}: {}", String::from_utf8_lossy(&body)).into())
    }
}

/// Says a word, and waits until it was heard.
async fn say(word: &str) -> Result<(), Failure> {
    println!("{word}");
    std::io::stdout().flush()?;
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;
    Ok(())
}

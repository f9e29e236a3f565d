//! Harness of the conformance programs: a server to test against, and one worker of the official SDK per test.
//!
//! The server is named by the environment:
//! - `SEMPRE_ADDRESS=host:port` uses a server that already runs;
//! - `SEMPRE_BIN=path` starts that binary on a free port, once for all tests that run at the same time;
//! - with neither, the `sempre` of the same build is started.
//!
//! Nothing in here may know how the server works: what is asked, is asked over TCP with the SDK.
#![allow(clippy::disallowed_methods, reason = "a client of a server in another process: it waits by the wall clock")]

mod server;

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, UntypedWorkflow, WorkflowFetchHistoryOptions, WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::history::v1::HistoryEvent;
use temporalio_sdk::runtime::RuntimeOptions;
use temporalio_sdk::{Runtime, Worker, WorkerOptions, WorkerOptionsBuilder};

pub use server::{Server, binary};

/// What a conformance test returns: the first thing that went wrong, if any.
pub type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// No behaviour tested here needs longer; a test that does hangs.
const CASE_DURATION_MAX: Duration = Duration::from_secs(60);

/// One test: a client, and names nobody else uses.
pub struct Case {
    /// A client of the default namespace.
    pub client: Client,
    /// The task queue and the prefix of the workflow ids of this test.
    pub name: String,
    server: Arc<Server>,
}

impl Case {
    /// Connects to the server; `name` is made unique.
    pub async fn new(name: &str) -> Outcome<Self> {
        let server = Server::shared()?;
        // A server may listen before it is able to answer.
        let client = eventually("the server answers", async || Ok(connect(server.address()).await.ok())).await?;
        let name = format!("{name}-{}", unique());
        Ok(Self { client, name, server })
    }

    /// `host:port` of the server.
    pub fn address(&self) -> &str {
        self.server.address()
    }

    /// Worker options for the task queue of this test.
    pub fn worker(&self) -> WorkerOptionsBuilder {
        WorkerOptions::new(self.name.clone())
    }

    /// Start options for workflow id `id` on the task queue of this test.
    pub fn start(&self, id: &str) -> WorkflowStartOptions {
        WorkflowStartOptions::new(self.name.clone(), self.id(id)).build()
    }

    /// The workflow id behind the short name `id`.
    pub fn id(&self, id: &str) -> String {
        format!("{}-{id}", self.name)
    }

    /// Runs a worker while `body` runs, then shuts it down in order.
    pub async fn run<T>(&self, options: WorkerOptions, body: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
        let mut worker = Worker::new(&runtime, self.client.clone(), options)?;
        let stop = worker.shutdown_handle();
        let work = async { worker.run().await.expect("the worker runs until it is stopped") };
        let body = async {
            let outcome = body.await;
            stop();
            outcome
        };
        let both = async { tokio::join!(work, body).1 };
        tokio::time::timeout(CASE_DURATION_MAX, both).await.map_err(|_| format!("{}: not done after {CASE_DURATION_MAX:?}", self.name))?
    }

    /// The events of the current run of the workflow, or of run `run_id`.
    pub async fn events(&self, workflow_id: &str, run_id: Option<&str>) -> Outcome<Vec<HistoryEvent>> {
        let handle = match run_id {
            None => self.client.get_workflow_handle::<UntypedWorkflow>(workflow_id),
            Some(run_id) => temporalio_client::WorkflowHandle::new(
                self.client.clone(),
                temporalio_client::WorkflowExecutionInfo::builder().namespace("default").workflow_id(workflow_id).run_id(run_id).build(),
            ),
        };
        Ok(handle.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await?)
    }

    /// The names of those events, one word per event: `WorkflowExecutionStarted`.
    pub async fn event_names(&self, workflow_id: &str) -> Outcome<Vec<String>> {
        Ok(self.events(workflow_id, None).await?.iter().map(event_name).collect())
    }
}

/// Connects a client of the default namespace.
pub async fn connect(address: &str) -> Outcome<Client> {
    let options = ConnectionOptions::new(format!("http://{address}").parse::<temporalio_client::Url>()?).identity("conformance").build();
    let connection = Connection::connect(options).await?;
    Ok(Client::new(connection, ClientOptions::new("default").build())?)
}

/// `EVENT_TYPE_TIMER_FIRED` as `TimerFired`.
pub fn event_name(event: &HistoryEvent) -> String {
    let name = event.event_type().as_str_name();
    let words = name.strip_prefix("EVENT_TYPE_").unwrap_or(name).split('_');
    words
        .map(|word| {
            let (head, tail) = word.split_at(word.len().min(1));
            format!("{head}{}", tail.to_lowercase())
        })
        .collect()
}

/// Asks until the answer is there. For what the protocol lets become visible later, as lists may.
pub async fn eventually<T, F: Future<Output = Outcome<Option<T>>>>(what: &str, mut ask: impl FnMut() -> F) -> Outcome<T> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(20) {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Err(format!("never happened: {what}").into())
}

/// Fails with both values when they differ.
pub fn same<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Outcome {
    if found == wanted {
        return Ok(());
    }
    Err(format!("{what}:\n  found  {found:?}\n  wanted {wanted:?}").into())
}

/// Fails unless `holds`.
pub fn check(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(format!("does not hold: {what}").into()) }
}

fn unique() -> String {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is past 1970");
    format!("{:x}-{:x}", std::process::id(), since.as_nanos())
}

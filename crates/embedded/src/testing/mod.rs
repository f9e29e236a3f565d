//! Tests of workflows in virtual time.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let test = sempre_embedded::testing::TestEnvironment::start().await?;
//! let client = test.client();
//! // A worker, and a workflow that sleeps for a year: its result is there at once.
//! # let _ = client;
//! # Ok(())
//! # }
//! ```
//!
//! Time stands (that is, passes as in the world) until somebody waits for a result: of a workflow, or of an update. While
//! somebody does, it jumps to the next timer, retry, back-off, schedule or timeout whenever no task is in a worker's
//! hands. So a workflow that waits for a signal that nobody sends meets its timeout at once, if it has one. A running
//! activity holds time: it takes as long as it takes. [`TestEnvironment::sleep`] lets time go for a while without a
//! result to wait for, [`TestEnvironment::advance`] moves it whatever is in hand.
//!
//! Nothing is shared between environments, so any number of them run beside each other.
//!
//! [`TestEnvironment::builder`] runs a test under faults: workers that crash, activities that are done twice, heartbeats that are lost,
//! signals that come late; and replays every history that the test has made. See [`Faults`].

#[cfg(feature = "faults")]
mod faults;
#[cfg(feature = "faults")]
mod history;
#[cfg(feature = "faults")]
mod life;
#[cfg(feature = "faults")]
mod trial;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::FutureExt;
use prost::Message;
use sempre_api::v1::{enums::HistoryEventFilterType, workflowservice::GetWorkflowExecutionHistoryRequest};
use sempre_core::Span;
use sempre_engine::{Clock, Unbalanced, VirtualTime};
use temporalio_client::{Client, callback_based::GrpcRequest};
#[cfg(feature = "faults")]
use temporalio_common::WorkflowDefinition;
#[cfg(feature = "faults")]
use temporalio_sdk::workflow_replayer::WorkflowReplayerOptions;
#[cfg(feature = "faults")]
use temporalio_workflow::workflows::WorkflowImplementation;

use crate::{Builder, Carry, ClientError, Sempre, StartError, Wire};

#[cfg(feature = "faults")]
pub use faults::{Fault, Faults};
#[cfg(feature = "faults")]
pub use trial::{Failed, Outcome, Passed, Trial};

const NAMESPACE: &str = "default";

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The server did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// There is no client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Why histories do not replay: which one, and what the official replayer says of it.
#[cfg(feature = "faults")]
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReplayError(String);

/// A server of its own, in memory, in virtual time. See the module.
#[derive(Clone)]
pub struct TestEnvironment {
    sempre: Sempre,
    time: VirtualTime,
    waits: Arc<Waits>,
    client: Client,
    /// What stands between its clients and the server.
    wire: Option<Wire>,
}

impl TestEnvironment {
    /// Starts one.
    pub async fn start() -> Result<Self, TestError> {
        Self::start_with(Sempre::builder()).await
    }

    /// Starts one with other settings. Data is in memory whatever they say.
    pub async fn start_with(builder: Builder) -> Result<Self, TestError> {
        let sempre = builder.for_tests().start().await?;
        let time = sempre.engine().virtual_time().expect("it was started with virtual time").clone();
        let waits = Arc::new(Waits { time: time.clone(), state: Mutex::new(State { skips: true, count: 0, unlocked: false }) });
        let client = client(&sempre, &waits, NAMESPACE, None).await?;
        Ok(Self { sempre, time, waits, client, wire: None })
    }

    /// A test that runs under faults, and whose histories are replayed.
    #[cfg(feature = "faults")]
    pub fn builder() -> Trial {
        Trial::default()
    }

    /// The same environment; calls of its clients go over a wire.
    #[cfg(feature = "faults")]
    async fn over(mut self, wire: Wire) -> Result<Self, ClientError> {
        self.client = client(&self.sempre, &self.waits, NAMESPACE, Some(wire.clone())).await?;
        self.wire = Some(wire);
        Ok(self)
    }

    /// The client of namespace `default`, for starting workflows and for workers.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A client of another namespace, which is made if it is not there. All namespaces have one time.
    pub async fn client_of(&self, namespace: &str) -> Result<Client, ClientError> {
        client(&self.sempre, &self.waits, namespace, self.wire.clone()).await
    }

    /// The server.
    pub fn server(&self) -> &Sempre {
        &self.sempre
    }

    /// Virtual time now.
    pub fn now(&self) -> SystemTime {
        let nanos = u64::try_from(self.time.now().0).unwrap_or_default();
        UNIX_EPOCH + Duration::from_nanos(nanos)
    }

    /// Lets time go until `span` has passed: what is due in between happens in its order, and workers have all the time
    /// they need for it. Then time stands again.
    pub async fn sleep(&self, span: Duration) {
        if self.time.unlock_for(nanos(span)).await.is_err() {
            // Time is unlocked already.
            self.time.sleep(nanos(span)).await;
        }
    }

    /// Moves time by `span` at once, whatever is in hand: a running activity may miss its heartbeat, a workflow task its
    /// timeout. What was due in between is late.
    pub fn advance(&self, span: Duration) {
        self.time.advance(nanos(span));
    }

    /// Resolves when nothing is in a worker's hands or on its way to one, and all that was due has been dealt with. With a
    /// task that no worker polls for it never does.
    pub async fn idle(&self) {
        self.time.idle().await;
    }

    /// Replays the histories of all runs of a workflow, in namespace `default`, with the official replayer; gives how many. For tests that
    /// run workers of their own; [`builder`](Self::builder) does it by itself.
    #[cfg(feature = "faults")]
    pub async fn replay<W>(&self) -> Result<usize, ReplayError>
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        let mut options = WorkflowReplayerOptions::new().build();
        options.register_workflow::<W>().map_err(|error| ReplayError(format!("`{}` cannot be registered: {error}", W::name())))?;
        let runs = history::of_all_runs(&self.client).await.map_err(ReplayError)?;
        let mut runs = history::worked_on(&runs);
        runs.retain(|run| run.workflow_type == W::name());
        history::replay(options, &runs).await.map_err(ReplayError)
    }

    /// Holds time once more, even while somebody waits for a result.
    pub fn lock(&self) {
        self.time.lock();
    }

    /// Takes a lock away. In the beginning there is one.
    pub fn unlock(&self) -> Result<(), Unbalanced> {
        self.time.unlock()
    }

    /// Whether time is let go while somebody waits for a result; it is, in the beginning.
    pub fn set_auto_skip(&self, skips: bool) {
        self.waits.change(|state| state.skips = skips);
    }

    /// Stops the server. Stop workers first.
    pub async fn shutdown(&self) {
        self.sempre.shutdown().await;
    }
}

async fn client(sempre: &Sempre, waits: &Arc<Waits>, namespace: &str, wire: Option<Wire>) -> Result<Client, ClientError> {
    let waits = waits.clone();
    let Some(wire) = wire else {
        return sempre.client_with(namespace, Arc::new(move |request| waits.begin(request))).await;
    };
    let waiting = move |request: GrpcRequest, carry: Carry| {
        let (wait, answer) = (waits.begin(&request), wire(request, carry));
        async move {
            let answer = answer.await;
            drop(wait);
            answer
        }
        .boxed()
    };
    sempre.client_over(namespace, Arc::new(waiting)).await
}

fn nanos(span: Duration) -> Span {
    Span(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX))
}

/// The calls that wait for results. While there is one, time is unlocked: once, however many there are.
struct Waits {
    time: VirtualTime,
    state: Mutex<State>,
}

struct State {
    skips: bool,
    count: usize,
    unlocked: bool,
}

impl Waits {
    fn begin(self: &Arc<Self>, request: &GrpcRequest) -> Option<Wait> {
        is_wait(&request.rpc, &request.proto).then(|| {
            self.change(|state| state.count += 1);
            Wait(self.clone())
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let wanted = state.skips && state.count > 0;
        if wanted && !state.unlocked {
            // A test that has unlocked time itself needs no more of it.
            state.unlocked = self.time.unlock().is_ok();
        } else if !wanted && state.unlocked {
            self.time.lock();
            state.unlocked = false;
        }
    }
}

struct Wait(Arc<Waits>);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.change(|state| state.count -= 1);
    }
}

/// The call waits for the result of a workflow or of an update.
fn is_wait(rpc: &str, proto: &Bytes) -> bool {
    match rpc {
        "GetWorkflowExecutionHistory" => {
            let close = HistoryEventFilterType::CloseEvent as i32;
            let request = GetWorkflowExecutionHistoryRequest::decode(proto.clone());
            request.is_ok_and(|request| request.wait_new_event && request.history_event_filter_type == close)
        }
        "UpdateWorkflowExecution" | "PollWorkflowExecutionUpdate" => true,
        _ => false,
    }
}

//! Workers that die.
//!
//! A *point* is a moment between two things that are done to a history: before and after each call that writes events, and after
//! each poll that gave a task. A worker that dies at a point is cut off there (the call is lost, or its answer is) and its process,
//! here a runtime of its own, is torn down in the middle of what it did. As only calls and the passing of time write events, a death
//! at each point is a death between any two events: of those that workers write; of those that clients do, too, where they share the
//! worker's process ([`Points::aborting`]).

use std::{
    sync::{Arc, Mutex, Once},
    thread::JoinHandle,
    time::Duration,
};

use futures::TryStreamExt;
use sempre_embedded::{Carry, Sempre, Wire, testing::TestEnvironment};
use temporalio_client::{Client, WorkflowExecutionInfo, WorkflowFetchHistoryOptions, WorkflowListOptions, callback_based::GrpcRequest};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_sdk::{Runtime, Worker, WorkerOptions, runtime::RuntimeOptions};
use tokio::sync::{oneshot, watch};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

pub(crate) const QUEUE: &str = "patterns";
/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longer than any timeout of a task or of an activity's attempt in these tests.
const LONGER_THAN_TIMEOUTS: Duration = Duration::from_secs(60);

/// Calls that write events.
fn writes(rpc: &str) -> bool {
    const OF_CLIENTS: [&str; 4] =
        ["StartWorkflowExecution", "SignalWorkflowExecution", "UpdateWorkflowExecution", "RequestCancelWorkflowExecution"];
    rpc.starts_with("RespondWorkflowTask") || rpc.starts_with("RespondActivityTask") || OF_CLIENTS.contains(&rpc)
}

/// Counts points, and cuts off at one.
pub(crate) struct Points {
    passed: Mutex<Vec<String>>,
    die_at: Option<usize>,
    /// Dying is the end of this process.
    aborts: bool,
    dead: watch::Sender<bool>,
}

impl Points {
    fn new(die_at: Option<usize>) -> Arc<Self> {
        Arc::new(Self { passed: Mutex::default(), die_at, aborts: false, dead: watch::Sender::new(false) })
    }

    /// Aborts the process at a point.
    pub(crate) fn aborting(die_at: Option<usize>) -> Arc<Self> {
        Arc::new(Self { passed: Mutex::default(), die_at, aborts: true, dead: watch::Sender::new(false) })
    }

    pub(crate) fn count(&self) -> usize {
        self.passed.lock().unwrap().len()
    }

    /// For one that lived: were there calls that its wire has not counted, it would have come to its point unseen. `completed` is how many
    /// workflow tasks were completed in its life, as histories have it ([`tasks_completed`]).
    pub(crate) fn none_is_missed(&self, completed: usize) {
        let passed = self.passed.lock().unwrap();
        let counted = passed.iter().filter(|point| *point == "before RespondWorkflowTaskCompleted").count();
        assert!(
            completed <= counted,
            "{completed} workflow tasks were completed, at {counted} points, death at {:?}: {passed:?}",
            self.die_at,
        );
    }

    /// Whether this is where it dies.
    fn pass(&self, name: String) -> bool {
        let mut passed = self.passed.lock().unwrap();
        passed.push(name);
        let dies = self.die_at == Some(passed.len() - 1);
        if dies && self.aborts {
            std::process::abort();
        }
        if dies {
            self.dead.send_replace(true);
        }
        dies
    }

    async fn died(&self) {
        // An error: it can never die any more, as the sender is gone.
        let _ = self.dead.subscribe().wait_for(|dead| *dead).await;
    }

    pub(crate) fn wire(self: Arc<Self>) -> Wire {
        Arc::new(move |request: GrpcRequest, carry: Carry| {
            let points = self.clone();
            Box::pin(async move {
                let rpc = request.rpc.clone();
                let writes = writes(&rpc);
                if *points.dead.borrow() || (writes && points.pass(format!("before {rpc}"))) {
                    return std::future::pending().await;
                }
                let answer = tokio::select! {
                    answer = carry(request) => answer,
                    () = points.died() => std::future::pending().await,
                };
                let takes = rpc.starts_with("Poll") && answer.as_ref().is_ok_and(|answer| !answer.proto.is_empty());
                if (writes || takes) && points.pass(format!("after {rpc}")) {
                    return std::future::pending().await;
                }
                answer
            })
        })
    }
}

/// How many workflow tasks have been completed, as the histories of all runs have it. Only workers complete them, by a call each.
pub(crate) async fn tasks_completed(client: &Client) -> Outcome<usize> {
    let runs: Vec<_> = client.list_workflows("", WorkflowListOptions::default()).try_collect().await?;
    let mut completed = 0;
    for run in runs {
        let run = WorkflowExecutionInfo::builder().namespace("default").workflow_id(run.id()).run_id(run.run_id()).build();
        let events = run.bind_untyped(client.clone()).fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await?;
        let is_one = |attributes: &Option<Attributes>| matches!(attributes, Some(Attributes::WorkflowTaskCompletedEventAttributes(_)));
        completed += events.iter().filter(|event| is_one(&event.attributes)).count();
    }
    Ok(completed)
}

/// A test whose deaths do not come about shows little. Some do not: runs do not all have as many points.
pub(crate) fn half_came_about(died: usize, of: usize, what: &str) {
    assert!(died > 0 && 2 * died >= of, "{died} of {of} {what} came about, and at least half are to");
}

/// A worker in a process of its own, so to speak.
struct Life {
    thread: JoinHandle<()>,
    stop: oneshot::Sender<()>,
}

impl Life {
    fn begin(server: Sempre, points: Arc<Points>, options: WorkerOptions) -> Self {
        static QUIET: Once = Once::new();
        QUIET.call_once(quiet);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            runtime.block_on(async {
                let client = server.client_over("default", points.wire()).await.unwrap();
                let sdk = Runtime::from_current_tokio(RuntimeOptions::default()).unwrap();
                let mut worker = Worker::new(&sdk, client, options).unwrap();
                tokio::select! {
                    ended = worker.run() => panic!("a worker that nobody stopped has ended: {ended:?}"),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        Self { thread, stop }
    }

    async fn kill(self) {
        let _ = self.stop.send(());
        tokio::task::spawn_blocking(|| self.thread.join().expect("the worker did not panic")).await.unwrap();
    }
}

/// The SDK's thread of workflows panics when the worker is torn down under it, as it is when it dies. That is not news.
fn quiet() {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some("workflow-processing") {
            hook(info);
        }
    }));
}

/// What has come of a body whose workers died.
pub(crate) struct Lived<T> {
    pub(crate) value: T,
    /// The points that the first worker passed.
    pub(crate) points: Vec<String>,
    /// How many workers have died. Those that were to and have not had no such point: the body had ended before.
    pub(crate) deaths: usize,
}

/// Runs `body` with one worker after the other: each dies at its point, counted from its own beginning, the last one lives.
pub(crate) async fn with_deaths<T>(
    test: &TestEnvironment,
    deaths: &[usize],
    options: impl Fn() -> WorkerOptions,
    body: impl Future<Output = Outcome<T>>,
) -> Outcome<Lived<T>> {
    let all = async {
        tokio::pin!(body);
        let mut first = None;
        for (died, death) in deaths.iter().copied().map(Some).chain([None]).enumerate() {
            let points = Points::new(death);
            first.get_or_insert(points.clone());
            let life = Life::begin(test.server().clone(), points.clone(), options());
            let ended = tokio::select! {
                outcome = &mut body => Some(outcome),
                () = points.died() => None,
            };
            life.kill().await;
            if let Some(outcome) = ended {
                let dead = *points.dead.borrow();
                // A later worker begins while what one before it had sent may still be done.
                if died == 0 && death.is_some() && !dead {
                    let completed = tasks_completed(test.client()).await?;
                    assert!(completed > 0, "it has come to its end, and no history says how");
                    points.none_is_missed(completed);
                }
                let died = died + usize::from(dead);
                let points = first.expect("there was one").passed.lock().unwrap().clone();
                return Ok(Lived { value: outcome?, points, deaths: died });
            }
            // What it had in hand times out; nobody else would notice that it died.
            test.advance(LONGER_THAN_TIMEOUTS);
        }
        unreachable!("the last one does not die")
    };
    tokio::time::timeout(PATIENCE, all).await.map_err(|_| format!("hangs, with deaths at {deaths:?}"))?
}

/// A death at each point in turn. `run` says whether the worker has died; one that has not has had no such point. Runs of the same do not
/// all have the same number of points (what is cancelled while it runs may be told at once or later), so this goes to the last of
/// `points`, which one of them had, and further until a worker lives. Gives how many have died: at least half.
pub(crate) async fn everywhere(points: &[String], run: impl AsyncFn(usize) -> Outcome<bool>) -> Outcome<usize> {
    let (mut died, mut tried) = (0, 0);
    for point in 0.. {
        let name = points.get(point).map_or("later than in the first run", String::as_str);
        let dead = run(point).await.map_err(|error| format!("death {name} ({point}): {error}"))?;
        (died, tried) = (died + usize::from(dead), tried + 1);
        if !dead && point + 1 >= points.len() {
            break;
        }
    }
    half_came_about(died, tried, "deaths, at each point in turn,");
    Ok(died)
}

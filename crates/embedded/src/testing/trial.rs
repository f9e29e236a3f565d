//! Runs a test once without faults, once for each plan of faults, and makes the faults of one that fails fewer and smaller.
#![expect(clippy::disallowed_methods, reason = "a test that hangs is given up by the wall clock")]

use std::{error::Error, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use sempre_core::Span;
use temporalio_client::callback_based::GrpcRequest;
use temporalio_common::WorkflowDefinition;
use temporalio_sdk::{WorkerOptions, workflow_replayer::WorkflowReplayerOptions};
use temporalio_workflow::workflows::WorkflowImplementation;

use super::{
    Fault, Faults, TestEnvironment,
    faults::{Extent, Plan},
    history::{self, Run},
    life::{Course, Life},
};
use crate::{Builder, Carry, Sempre, Wire};

/// What the body of a test gives.
pub type Outcome = Result<(), Box<dyn Error>>;

/// Beyond this a test hangs.
const PATIENCE: Duration = Duration::from_secs(60);

type ForWorker = Arc<dyn Fn(&mut WorkerOptions) -> Result<(), String>>;
type ForReplayer = Arc<dyn Fn(&mut WorkflowReplayerOptions) -> Result<(), String>>;

/// A test under faults.
///
/// ```no_run
/// # use sempre_embedded::testing::{Failed, Faults, TestEnvironment};
/// # use temporalio_sdk::{WorkerOptions, WorkflowContext, WorkflowResult};
/// # #[temporalio_macros::workflow]
/// # #[derive(Default)]
/// # struct Order;
/// # #[temporalio_macros::workflow_methods]
/// # impl Order { #[run] async fn run(_ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> { Ok(1) } }
/// # async fn example() -> Result<(), Failed> {
/// TestEnvironment::builder()
///     .faults(Faults::seeds(0..20).crashes(2))
///     .workflow::<Order>()
///     .run(|| WorkerOptions::new("orders").build(), async |test| {
///         let options = temporalio_client::WorkflowStartOptions::new("orders", "order-1").build();
///         let order = test.client().start_workflow(Order::run, (), options).await?;
///         assert_eq!(order.get_result(Default::default()).await?, 1);
///         Ok(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// The body is run with a server and a worker of its own: first without faults, which shows how many places there are for them, then
/// for each plan of faults. Where it fails (by an error, a panic, or by hanging), faults are left out one by one as long as it still
/// does, and those that are left come earlier, or by less, as long as it does with no longer a history; [`Failed`] has what is left, the
/// seed, and the histories. Each history that a run has made is replayed by the official
/// replayer; one of a workflow that was not given by [`workflow`](Trial::workflow) fails the test, as nobody can replay it.
///
/// The worker polls namespace `default`. It is made anew by the closure after each crash: what it only keeps in memory is lost, as in
/// life; what stands for the world outside is shared by the closures.
#[must_use = "nothing runs until `run` is called"]
pub struct Trial {
    server: Builder,
    faults: Faults,
    replays: bool,
    patience: Duration,
    known: Vec<String>,
    for_worker: Vec<ForWorker>,
    for_replayer: Vec<ForReplayer>,
}

impl Default for Trial {
    fn default() -> Self {
        Self {
            server: Sempre::builder(),
            faults: Faults::none(),
            replays: true,
            patience: PATIENCE,
            known: Vec::new(),
            for_worker: Vec::new(),
            for_replayer: Vec::new(),
        }
    }
}

/// What a test under faults has come through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Passed {
    /// How often the body was run, with and without faults.
    pub runs: usize,
    /// Faults that have happened.
    pub faults: usize,
    /// The points of a run without faults at which the worker can die, by what it does there: the first is `Fault::Crash { point: 0 }`.
    pub points: Vec<String>,
    /// Histories that were replayed.
    pub replayed: usize,
}

/// A test that failed: how, under which faults, and the history that shows it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Failed {
    /// What the body said, or the replay.
    pub reason: String,
    /// The seed, if the faults were drawn from one.
    pub seed: Option<u64>,
    /// The faults without any of which it passes.
    pub faults: Vec<Fault>,
    /// What has happened of them, in order.
    pub happened: Vec<String>,
    /// The histories of all runs, as text.
    pub histories: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.faults.is_empty(), self.seed) {
            (true, _) => writeln!(f, "the test fails without any fault: {}", self.reason)?,
            (false, Some(seed)) => writeln!(f, "the test fails under faults of seed {seed}: {}", self.reason)?,
            (false, None) => writeln!(f, "the test fails under faults: {}", self.reason)?,
        }
        if !self.faults.is_empty() {
            writeln!(f, "the fewest faults that show it: Faults::exactly({:?})", self.faults)?;
            for happened in &self.happened {
                writeln!(f, "  {happened}")?;
            }
        }
        write!(f, "histories:\n{}", self.histories)
    }
}

/// A test that returns it prints it thus.
impl fmt::Debug for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for Failed {}

/// One run of the body.
struct Ran {
    outcome: Result<usize, String>,
    seen: Extent,
    points: Vec<String>,
    happened: Vec<String>,
    runs: Vec<Run>,
}

impl Trial {
    /// The faults; none unless they are given.
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Settings of the server. Data is in memory and time virtual whatever they say.
    pub fn server(mut self, server: Builder) -> Self {
        self.server = server;
        self
    }

    /// Registers a workflow, with the workers and with the replayer.
    pub fn workflow<W>(mut self) -> Self
    where
        W: WorkflowImplementation,
        <W::Run as WorkflowDefinition>::Input: Send,
    {
        self.known.push(W::name().to_owned());
        let told = |error: &dyn fmt::Display| format!("`{}` cannot be registered: {error}", W::name());
        self.for_worker.push(Arc::new(move |options| options.register_workflow::<W>().map(drop).map_err(|error| told(&error))));
        self.for_replayer.push(Arc::new(move |options| options.register_workflow::<W>().map(drop).map_err(|error| told(&error))));
        self
    }

    /// Histories are not replayed: for workflows that are known not to.
    pub fn without_replay(mut self) -> Self {
        self.replays = false;
        self
    }

    /// After how long a run of the body is taken to hang; 60 s unless it is given. Real time.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Starts an environment without workers and faults.
    pub async fn start(self) -> Result<TestEnvironment, super::TestError> {
        TestEnvironment::start_with(self.server).await
    }

    /// Runs the test. Must be called in a tokio runtime.
    pub async fn run(self, worker: impl Fn() -> WorkerOptions, body: impl AsyncFn(&TestEnvironment) -> Outcome) -> Result<Passed, Failed> {
        let smooth = self.once(&worker, &body, Vec::new()).await;
        let mut passed = Passed { points: smooth.points.clone(), ..Passed::default() };
        passed.count(&smooth).map_err(|reason| failed(reason, None, Vec::new(), &smooth))?;
        for plan in self.faults.plans(smooth.seen) {
            let ran = self.once(&worker, &body, plan.faults.clone()).await;
            if passed.count(&ran).is_err() {
                return Err(self.fewest(&worker, &body, plan, ran).await);
            }
        }
        Ok(passed)
    }

    /// Leaves faults out one by one, as long as the test still fails; then makes those that are left smaller, as long as it fails with no
    /// longer a history.
    async fn fewest(
        &self,
        worker: &impl Fn() -> WorkerOptions,
        body: &impl AsyncFn(&TestEnvironment) -> Outcome,
        plan: Plan,
        ran: Ran,
    ) -> Failed {
        let Plan { seed, mut faults } = plan;
        let (mut shown, mut at) = (ran, 0);
        while at < faults.len() && faults.len() > 1 {
            let mut fewer = faults.clone();
            fewer.remove(at);
            let again = self.once(worker, body, fewer.clone()).await;
            if again.outcome.is_err() {
                (faults, shown) = (fewer, again);
            } else {
                at += 1;
            }
        }
        for at in 0..faults.len() {
            let mut tries = faults[at].smaller().into_iter();
            while let Some(smaller) = tries.next() {
                if faults.contains(&smaller) {
                    continue;
                }
                let mut instead = faults.clone();
                instead[at] = smaller;
                let again = self.once(worker, body, instead.clone()).await;
                // A fault that does not happen shows nothing.
                let happened = again.happened.len() >= shown.happened.len();
                if again.outcome.is_err() && happened && again.events() <= shown.events() {
                    (faults, shown, tries) = (instead, again, smaller.smaller().into_iter());
                }
            }
        }
        let reason = shown.outcome.as_ref().err().cloned().unwrap_or_default();
        failed(reason, seed, faults, &shown)
    }

    async fn once(&self, worker: &impl Fn() -> WorkerOptions, body: &impl AsyncFn(&TestEnvironment) -> Outcome, faults: Vec<Fault>) -> Ran {
        let course = Course::new(faults);
        let mut runs = Vec::new();
        let outcome = match self.environment(&course).await {
            Err(reason) => Err(reason),
            Ok(test) => {
                let lived = tokio::time::timeout(self.patience, self.with_lives(worker, body, &test, &course)).await;
                let lived = lived.unwrap_or_else(|_| Err(format!("it hangs: it has not ended after {:?}", self.patience)));
                let read = history::of_all_runs(&test.client).await;
                let outcome = match (lived, read) {
                    (Err(reason), read) => {
                        runs = read.unwrap_or_default();
                        Err(reason)
                    }
                    (Ok(()), Err(reason)) => Err(reason),
                    (Ok(()), Ok(read)) => {
                        runs = read;
                        self.replay(&runs).await
                    }
                };
                test.shutdown().await;
                outcome
            }
        };
        Ran { outcome, seen: course.seen(), points: course.points(), happened: course.happened(), runs }
    }

    /// An environment whose clients' signals may come late.
    async fn environment(&self, course: &Arc<Course>) -> Result<TestEnvironment, String> {
        let test = TestEnvironment::start_with(self.server.clone()).await.map_err(|error| error.to_string())?;
        let (course, time) = (course.clone(), test.time.clone());
        let wire: Wire = Arc::new(move |request: GrpcRequest, carry: Carry| {
            let late = if request.rpc == "SignalWorkflowExecution" { course.signal() } else { None };
            let Some(by) = late else { return carry(request) };
            course.tell(format!("a signal came late by {by:?}"));
            let (time, span) = (time.clone(), super::nanos(by));
            async move {
                if time.unlock_for(span).await.is_err() {
                    time.sleep(span).await;
                }
                carry(request).await
            }
            .boxed()
        });
        test.over(wire).await.map_err(|error| error.to_string())
    }

    /// Runs the body with one worker after the other.
    async fn with_lives(
        &self,
        worker: &impl Fn() -> WorkerOptions,
        body: &impl AsyncFn(&TestEnvironment) -> Outcome,
        test: &TestEnvironment,
        course: &Arc<Course>,
    ) -> Result<(), String> {
        let options = || {
            let mut options = worker();
            self.for_worker.iter().try_for_each(|register| register(&mut options)).map(|()| options)
        };
        let body = AssertUnwindSafe(body(test)).catch_unwind();
        futures::pin_mut!(body);
        loop {
            let life = Life::begin(test, course, options()?);
            let ended = async {
                let wall = test.time.wall();
                while !life.has_ended() {
                    wall.sleep_until(wall.now() + LOOK).await;
                }
            };
            enum Next<T> {
                Done(T),
                Died,
                Ended,
            }
            let next = tokio::select! {
                biased;
                outcome = &mut body => Next::Done(outcome),
                () = life.died() => Next::Died,
                () = ended => Next::Ended,
            };
            let left = life.end().await;
            match next {
                Next::Done(outcome) => {
                    left?;
                    return told(outcome);
                }
                Next::Ended => return Err(left.err().unwrap_or_else(|| "the worker ended by itself".to_owned())),
                // What it had in hand times out; nobody else would notice that it died. The body goes on meanwhile.
                Next::Died => {
                    let left = left?;
                    let given_up = async {
                        test.forget_worker().await;
                        test.time_out(left, false).await;
                    };
                    futures::pin_mut!(given_up);
                    tokio::select! {
                        biased;
                        outcome = &mut body => return told(outcome),
                        () = given_up => {}
                    }
                }
            }
        }
    }

    async fn replay(&self, runs: &[Run]) -> Result<usize, String> {
        if !self.replays {
            return Ok(0);
        }
        let runs = history::worked_on(runs);
        if let Some(run) = runs.iter().find(|run| !self.known.contains(&run.workflow_type)) {
            let Run { workflow_id, workflow_type, .. } = run;
            let mend = "register it by `.workflow::<…>()` of the test, not on `WorkerOptions`, or turn replays off by `.without_replay()`";
            return Err(format!("the history of `{workflow_id}` cannot be replayed: the test does not know `{workflow_type}`; {mend}"));
        }
        let mut options = WorkflowReplayerOptions::new().build();
        self.for_replayer.iter().try_for_each(|register| register(&mut options))?;
        history::replay(options, &runs).await
    }
}

impl Ran {
    /// How long its histories are.
    fn events(&self) -> usize {
        self.runs.iter().map(|run| run.events.len()).sum()
    }
}

/// Between two looks whether a worker has ended.
const LOOK: Span = Span(20_000_000);

impl Passed {
    fn count(&mut self, ran: &Ran) -> Result<(), String> {
        self.runs += 1;
        self.faults += ran.happened.len();
        self.replayed += ran.outcome.clone()?;
        Ok(())
    }
}

/// What a body has said, if it has not panicked.
fn told(outcome: Result<Outcome, Box<dyn std::any::Any + Send>>) -> Result<(), String> {
    match outcome {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("it panicked: {}", text.unwrap_or_else(|| "without a text".to_owned())))
        }
    }
}

fn failed(reason: String, seed: Option<u64>, faults: Vec<Fault>, ran: &Ran) -> Failed {
    let histories = ran.runs.iter().map(history::text).collect();
    Failed { reason, seed, faults, happened: ran.happened.clone(), histories }
}

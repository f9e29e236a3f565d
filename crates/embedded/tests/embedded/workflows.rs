//! The workflows that tests run, and a worker for them.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use temporalio_client::{Client, WorkflowStartOptions};
use temporalio_common::RetryPolicy;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ApplicationFailure, Runtime, SyncWorkflowContext, Worker, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    runtime::RuntimeOptions,
};

pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Beyond this something hangs.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const QUEUE: &str = "queue";
pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Default)]
pub(crate) struct Ledger {
    entries: AtomicU32,
}

#[activities]
impl Ledger {
    /// Writes an entry; says how many there are.
    #[activity]
    pub(crate) async fn enter(self: Arc<Self>, _ctx: ActivityContext, _month: u32) -> Result<u32, ActivityError> {
        Ok(self.entries.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Succeeds at the third attempt.
    #[activity]
    pub(crate) async fn stumble(self: Arc<Self>, ctx: ActivityContext, _unused: u32) -> Result<u32, ActivityError> {
        match ctx.info().attempt {
            attempt @ 1..3 => Err(ActivityError::application(ApplicationFailure::new(format!("attempt {attempt}")))),
            attempt => Ok(attempt),
        }
    }
}

fn attempt() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(3600))
}

/// A year: an entry every thirty days, and the rest of it.
#[workflow]
#[derive(Default)]
pub(crate) struct Year;

#[workflow_methods]
impl Year {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>, months: u32) -> WorkflowResult<u32> {
        let mut entries = 0;
        for month in 0..months {
            ctx.timer(30 * DAY).await;
            entries = ctx.execute_activity(Ledger::enter, month, attempt()).await?;
        }
        ctx.timer(5 * DAY).await;
        Ok(entries)
    }
}

/// An activity that fails twice, a day apart.
#[workflow]
#[derive(Default)]
pub(crate) struct Stumbles;

#[workflow_methods]
impl Stumbles {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        let policy = RetryPolicy::builder().initial_interval(DAY).backoff_coefficient(1.0).build();
        let options = ActivityOptions::with_start_to_close_timeout(Duration::from_secs(3600)).retry_policy(policy).build();
        Ok(ctx.execute_activity(Ledger::stumble, 0u32, options).await?)
    }
}

/// Waits for a signal, however long.
#[workflow]
#[derive(Default)]
pub(crate) struct Waits {
    told: bool,
}

#[workflow_methods]
impl Waits {
    #[run]
    pub(crate) async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        ctx.wait_condition(|state| state.told).await?;
        Ok("told".into())
    }

    #[signal]
    pub(crate) fn tell(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.told = true;
    }
}

fn options() -> Outcome<WorkerOptions> {
    Ok(WorkerOptions::new(QUEUE)
        .register_activities(Ledger::default())
        .register_workflow::<Year>()?
        .register_workflow::<Stumbles>()?
        .register_workflow::<Waits>()?
        .build())
}

pub(crate) fn start(id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(QUEUE, id).build()
}

/// Runs a worker while `body` runs.
pub(crate) async fn with_worker<T>(client: &Client, body: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = Runtime::from_current_tokio(RuntimeOptions::default())?;
    let mut worker = Worker::new(&runtime, client.clone(), options()?)?;
    let stop = worker.shutdown_handle();
    let work = async { worker.run().await.expect("the worker runs until it is stopped") };
    let body = async {
        let outcome = body.await;
        stop();
        outcome
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(work, body).1 }).await?
}

//! Saga: steps that are undone in reverse order when a later one fails.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use sempre_patterns::saga::{Saga, SagaOptions};
//! # use temporalio_macros::{activities, workflow, workflow_methods};
//! # use temporalio_sdk::{WorkflowContext, WorkflowResult, activities::{ActivityContext, ActivityError}};
//! # pub struct Shop;
//! # #[activities]
//! # impl Shop {
//! #     #[activity] pub async fn charge(_: ActivityContext, _order: String) -> Result<(), ActivityError> { Ok(()) }
//! #     #[activity] pub async fn refund(_: ActivityContext, _order: String) -> Result<(), ActivityError> { Ok(()) }
//! #     #[activity] pub async fn ship(_: ActivityContext, _order: String) -> Result<String, ActivityError> { Ok("parcel".into()) }
//! # }
//! # #[workflow]
//! # #[derive(Default)]
//! # pub struct Order;
//! #[workflow_methods]
//! impl Order {
//!     #[run]
//!     pub async fn run(ctx: &mut WorkflowContext<Self>, order: String) -> WorkflowResult<String> {
//!         let options = SagaOptions::new(Duration::from_secs(60));
//!         let outcome = Saga::run(ctx, options, async |saga| {
//!             saga.step("charge").undo_by(Shop::refund, order.clone()).run(Shop::charge, order.clone()).await?;
//!             saga.step("ship").run(Shop::ship, order.clone()).await
//!         });
//!         Ok(outcome.await?.value)
//!     }
//! }
//! ```
//!
//! - A compensation is registered before its step runs, so a step that failed, timed out or was cancelled is undone too:
//!   it may have had its effect. What it takes must be known before the step: give bookings their ids yourself. One without a
//!   compensation is told as [`unknown`](Report::unknown) then.
//! - Compensations run one after the other, the last registered first, each retried by its own policy, and also when the
//!   workflow has been cancelled. One that fails for good does not stop the others.
//! - Steps beside each other: `join!` or `join_all` of the SDK over several `run`s. All of them end before the first
//!   compensation runs; they are undone in the reverse of the order in which they began.
//! - A workflow that is *terminated*, or meets its run timeout, undoes nothing: the server does not ask it. Give sagas no run
//!   timeout.
//! - Activities run at least once. Steps and compensations have their effect once by [`crate::idempotent`], which also
//!   keeps an attempt that comes late from having its effect after the compensation ([`fence`](crate::idempotent::DedupStore::fence)).

mod error;
mod report;

use std::{cell::RefCell, time::Duration};

use futures::future::LocalBoxFuture;
use temporalio_common::{ActivityDefinition, RetryPolicy, data_converters::TemporalDeserializable};
use temporalio_sdk::{ActivityCancellationType, ActivityExecutionError, ActivityOptions, WorkflowCancellationToken, WorkflowContext};

pub use error::{Failed, SagaError};
pub use report::{Forward, Report, StepReport, Undo};

/// How long a compensation is tried again before the saga goes on without it, if nothing else is said.
const UNDO_SPAN: Duration = Duration::from_secs(24 * 3600);
/// The longest pause between two attempts of a compensation, if nothing else is said.
const UNDO_PAUSE_MAX: Duration = Duration::from_secs(60);

/// With which options steps and compensations run, unless they have their own.
#[derive(Clone, Debug)]
pub struct SagaOptions {
    /// Of steps. The SDK's retry policy tries for ever unless it says otherwise, and a step that is tried for ever never fails.
    pub step: ActivityOptions,
    /// Of compensations.
    pub undo: ActivityOptions,
}

impl SagaOptions {
    /// Each attempt of a step may take `attempt`, and it has five. Each attempt of a compensation may take as long; it is
    /// tried for a day.
    pub fn new(attempt: Duration) -> Self {
        let five = RetryPolicy::builder().maximum_attempts(5).build();
        let patient = RetryPolicy::builder().maximum_interval(UNDO_PAUSE_MAX).build();
        let both =
            temporalio_common::ActivityCloseTimeouts::ScheduleAndStartToClose { start_to_close: attempt, schedule_to_close: UNDO_SPAN };
        Self {
            step: ActivityOptions::with_start_to_close_timeout(attempt).retry_policy(five).build(),
            undo: ActivityOptions::with_close_timeouts(both).retry_policy(patient).build(),
        }
    }

    /// With other options for steps.
    #[must_use]
    pub fn step(mut self, options: ActivityOptions) -> Self {
        self.step = options;
        self
    }

    /// With other options for compensations. Let them end some time: a compensation that is tried for ever keeps those before it
    /// from running.
    #[must_use]
    pub fn undo(mut self, options: ActivityOptions) -> Self {
        self.undo = options;
        self
    }
}

/// A saga whose body went through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completed<T> {
    /// What the body gave.
    pub value: T,
    /// What happened to each step.
    pub report: Report,
}

type Compensation = Box<dyn FnOnce() -> LocalBoxFuture<'static, Result<(), ActivityExecutionError>>>;

struct Entry {
    report: StepReport,
    undo: Option<Compensation>,
}

/// A saga under way. See the module.
pub struct Saga<W> {
    ctx: WorkflowContext<W>,
    options: SagaOptions,
    log: RefCell<Vec<Entry>>,
}

impl<W: 'static> Saga<W> {
    /// Runs `body`; if it fails or gives up, undoes what it has begun. The answer says of each step what became of it. `?` on it
    /// in a workflow fails the workflow with the report as details, or ends it as cancelled ([`Failed`]).
    pub async fn run<T>(
        ctx: &WorkflowContext<W>,
        options: SagaOptions,
        body: impl AsyncFnOnce(&Self) -> Result<T, SagaError>,
    ) -> Result<Completed<T>, Failed> {
        let saga = Self { ctx: ctx.clone(), options, log: RefCell::default() };
        match body(&saga).await {
            Ok(value) => Ok(Completed { value, report: saga.report() }),
            Err(cause) => {
                saga.undo_all().await;
                Err(Failed { cause, report: saga.report() })
            }
        }
    }

    /// A step; it runs by [`Step::run`].
    pub fn step(&self, name: impl Into<String>) -> Step<'_, W> {
        Step { saga: self, name: name.into(), options: self.options.step.clone(), undo: None }
    }

    /// What has become of each step that has begun, in the order in which they did. For queries keep a copy in the state of
    /// the workflow.
    pub fn report(&self) -> Report {
        Report { steps: self.log.borrow().iter().map(|entry| entry.report.clone()).collect() }
    }

    /// The workflow the saga runs in.
    pub fn ctx(&self) -> &WorkflowContext<W> {
        &self.ctx
    }

    async fn undo_all(&self) {
        // What is registered when this begins is all there will be: the body has ended.
        let last = self.log.borrow().len();
        for index in (0..last).rev() {
            let Some(undo) = self.log.borrow_mut()[index].undo.take() else { continue };
            let outcome = undo().await;
            self.log.borrow_mut()[index].report.undo = match outcome {
                Ok(()) => Undo::Undone,
                Err(error) => Undo::Failed(reason(&error)),
            };
        }
    }
}

/// A step that is being described.
#[must_use = "a step runs by `run`"]
pub struct Step<'s, W> {
    saga: &'s Saga<W>,
    name: String,
    options: ActivityOptions,
    undo: Option<Compensation>,
}

impl<W: 'static> Step<'_, W> {
    /// Other options for this step. Whatever they say about cancellation, a step is over only when its activity is.
    pub fn options(mut self, options: ActivityOptions) -> Self {
        self.options = options;
        self
    }

    /// What undoes the step. It must also be right if the step has not had its effect.
    pub fn undo_by<A>(self, activity: A, input: impl Into<A::Input>) -> Self
    where
        A: ActivityDefinition + 'static,
        A::Output: TemporalDeserializable,
    {
        let options = self.saga.options.undo.clone();
        self.undo_with(options, activity, input)
    }

    /// [`undo_by`](Self::undo_by) with other options.
    pub fn undo_with<A>(mut self, mut options: ActivityOptions, activity: A, input: impl Into<A::Input>) -> Self
    where
        A: ActivityDefinition + 'static,
        A::Output: TemporalDeserializable,
    {
        let (ctx, input) = (self.saga.ctx.clone(), input.into());
        self.undo = Some(Box::new(move || {
            // A token of its own: a cancelled workflow still undoes.
            options.cancellation_token = Some(WorkflowCancellationToken::new());
            Box::pin(async move { ctx.execute_activity(activity, input, options).await.map(drop) })
        }));
        self
    }

    /// Registers the compensation, then runs the step. After the workflow has been cancelled no step begins.
    ///
    /// A future of this that is dropped before its end leaves a step that may still be running when it is undone: wait for
    /// what you begin.
    pub async fn run<A>(self, activity: A, input: impl Into<A::Input>) -> Result<A::Output, SagaError>
    where
        A: ActivityDefinition,
        A::Output: TemporalDeserializable,
    {
        let Self { saga, name, mut options, undo } = self;
        let token = saga.ctx.cancellation_token();
        if token.is_cancelled() {
            return Err(SagaError::Cancelled { reason: token.reason() });
        }
        let undoes = if undo.is_some() { Undo::NotAsked } else { Undo::Nothing };
        let report = StepReport { step: name.clone(), forward: Forward::Running, undo: undoes };
        let index = saga.log.borrow().len();
        saga.log.borrow_mut().push(Entry { report, undo });

        options.cancellation_type = ActivityCancellationType::WaitCancellationCompleted;
        let outcome = saga.ctx.execute_activity(activity, input, options).await;
        let (forward, outcome) = match outcome {
            Ok(output) => (Forward::Done, Ok(output)),
            Err(error) if error.as_cancelled().is_some() => (Forward::Cancelled, Err(SagaError::Cancelled { reason: token.reason() })),
            Err(error) => (Forward::Failed(reason(&error)), Err(SagaError::Step { step: name, error: Box::new(error) })),
        };
        saga.log.borrow_mut()[index].report.forward = forward;
        outcome
    }
}

/// The innermost message of an activity's error: what the activity itself said.
fn reason(error: &ActivityExecutionError) -> String {
    let said = error.cause().map(|cause| cause.failure().message.clone());
    said.filter(|said| !said.is_empty()).unwrap_or_else(|| error.to_string())
}

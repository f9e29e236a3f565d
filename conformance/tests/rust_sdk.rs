//! The official Rust SDK against the server, one behaviour per test.
//!
//! Each test has its own task queue and worker. Where a history cannot vary, the whole of it is asserted.
#![allow(clippy::disallowed_methods, reason = "a client of a server in another process: it waits by the wall clock")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sempre_conformance::{Case, Outcome, check, event_name, eventually, same};
use temporalio_client::errors::{WorkflowGetResultError, WorkflowInteractionError, WorkflowQueryError, WorkflowStartError};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::{
    QueryRejectCondition, WorkflowCancelOptions, WorkflowDescribeOptions, WorkflowExecutionStatus, WorkflowGetResultOptions,
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy, WorkflowQueryOptions, WorkflowSignalOptions, WorkflowTerminateOptions, tonic,
};
use temporalio_common::error::IncomingError;
use temporalio_common::protos::temporal::api::common::v1::WorkflowType;
use temporalio_common::protos::temporal::api::enums::v1::{EventType, IndexedValueType};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::operatorservice::v1::AddSearchAttributesRequest;
use temporalio_common::protos::temporal::api::taskqueue::v1::TaskQueue;
use temporalio_common::protos::temporal::api::workflowservice::v1::StartWorkflowExecutionRequest;
use temporalio_common::search_attributes::{SearchAttributeKey, SearchAttributes};
use temporalio_common::{MemoValue, MemoValues, RetryPolicy};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, ApplicationFailure, CancellableFuture, ChildWorkflowOptions,
    ContinueAsNewOptions, LocalActivityOptions, ParentClosePolicy, SignalWorkflowOptions, SyncWorkflowContext, TimerResult,
    WorkflowCancellationToken, WorkflowContext, WorkflowContextView, WorkflowResult, WorkflowTermination,
};
use tokio::sync::Notify;

/// A timer that fires in no test.
const NEVER: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(100);
const ATTEMPT: Duration = Duration::from_secs(30);

fn quick_retry(attempts: u32) -> RetryPolicy {
    RetryPolicy::builder().initial_interval(Duration::from_millis(50)).backoff_coefficient(1.0).maximum_attempts(attempts).build()
}

fn activity() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(ATTEMPT)
}

fn result() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::default()
}

fn words(list: &[&str]) -> Vec<String> {
    list.iter().map(|word| (*word).to_owned()).collect()
}

/// What all activities of these tests share with the test that runs them.
#[derive(Default)]
struct Steps {
    attempts: AtomicU32,
    started: Notify,
}

#[activities]
impl Steps {
    #[activity]
    async fn greet(self: Arc<Self>, _ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Ok(format!("Hello, {name}!"))
    }

    #[activity]
    async fn fail_times(self: Arc<Self>, ctx: ActivityContext, times: u32) -> Result<u32, ActivityError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if ctx.info().attempt <= times {
            return Err(ActivityError::application(ApplicationFailure::new("not yet")));
        }
        Ok(ctx.info().attempt)
    }

    #[activity]
    async fn decline(self: Arc<Self>, _ctx: ActivityContext, card: String) -> Result<(), ActivityError> {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        Err(ActivityError::application(
            ApplicationFailure::builder(format!("card {card} declined")).type_name("Declined".to_owned()).non_retryable(true).build(),
        ))
    }

    /// Counts to `goal`, fails in the middle, and goes on from what the heartbeat kept.
    #[activity]
    async fn count(self: Arc<Self>, ctx: ActivityContext, goal: u32) -> Result<(u32, u32), ActivityError> {
        let kept: u32 = ctx.heartbeat_details().deserialize()?.unwrap_or(0);
        for step in kept + 1..=goal {
            ctx.record_heartbeat(step).await?;
            if ctx.info().attempt == 1 && step == goal / 2 {
                return Err(ActivityError::application(ApplicationFailure::new("half way")));
            }
        }
        Ok((kept, ctx.info().attempt))
    }

    /// Works until it is told to stop.
    #[activity]
    async fn work(self: Arc<Self>, ctx: ActivityContext) -> Result<(), ActivityError> {
        self.started.notify_one();
        loop {
            ctx.record_heartbeat("working".to_owned()).await?;
            let stop = tokio::time::timeout(Duration::from_millis(20), ctx.cancelled());
            if stop.await.is_ok() {
                return Err(ActivityError::cancelled_with_details("put down".to_owned()));
            }
        }
    }
}

#[workflow]
#[derive(Default)]
struct Hello;

#[workflow_methods]
impl Hello {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        Ok(ctx.execute_activity(Steps::greet, name, activity()).await?)
    }
}

#[tokio::test]
async fn hello() -> Outcome {
    let case = Case::new("hello").await?;
    let options = case.worker().register_workflow::<Hello>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Hello::run, "Sempre".to_owned(), case.start("a")).await?;
        same("result", handle.get_result(result()).await?, "Hello, Sempre!".to_owned())?;
        same(
            "history",
            case.event_names(&case.id("a")).await?,
            words(&[
                "WorkflowExecutionStarted",
                "WorkflowTaskScheduled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "ActivityTaskScheduled",
                "ActivityTaskStarted",
                "ActivityTaskCompleted",
                "WorkflowTaskScheduled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "WorkflowExecutionCompleted",
            ]),
        )?;
        let about = handle.describe(WorkflowDescribeOptions::default()).await?;
        same("status", about.status(), WorkflowExecutionStatus::Completed)?;
        same("history length", about.history_length(), 11)?;
        same("type", about.workflow_type(), "Hello")?;
        same("queue", about.task_queue(), &case.name)?;
        check("close after start", about.close_time() >= about.start_time())
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Retried;

#[workflow_methods]
impl Retried {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, times: u32) -> WorkflowResult<u32> {
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT).retry_policy(quick_retry(5));
        Ok(ctx.execute_activity(Steps::fail_times, times, options.build()).await?)
    }
}

#[tokio::test]
async fn activity_is_retried_until_it_succeeds() -> Outcome {
    let case = Case::new("retry").await?;
    let options = case.worker().register_workflow::<Retried>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Retried::run, 2, case.start("a")).await?;
        same("attempt that succeeded", handle.get_result(result()).await?, 3)?;
        let events = case.events(&case.id("a"), None).await?;
        let started: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.attributes {
                Some(Attributes::ActivityTaskStartedEventAttributes(it)) => Some(it),
                _ => None,
            })
            .collect();
        same("started events", started.len(), 1)?;
        same("attempt in history", started[0].attempt, 3)?;
        let last = started[0].last_failure.as_ref().map(|failure| failure.message.clone());
        same("last failure in history", last, Some("not yet".to_owned()))
    })
    .await
}

#[tokio::test]
async fn activity_fails_after_its_last_attempt() -> Outcome {
    let case = Case::new("retry-end").await?;
    let options = case.worker().register_workflow::<Retried>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Retried::run, 9, case.start("a")).await?;
        let Err(WorkflowGetResultError::Failed(error)) = handle.get_result(result()).await else {
            return Err("the workflow did not fail".into());
        };
        let IncomingError::Activity(activity) = &*error else {
            return Err(format!("not an activity failure: {error:?}").into());
        };
        let state = format!("{:?}", activity.retry_state());
        check(&format!("retry state {state}"), state.contains("MaximumAttemptsReached"))?;
        same("activity type", activity.activity_type(), Some("Steps::fail_times"))
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Declined;

#[workflow_methods]
impl Declined {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT).retry_policy(quick_retry(5));
        Ok(ctx.execute_activity(Steps::decline, "4711".to_owned(), options.build()).await?)
    }
}

#[tokio::test]
async fn non_retryable_failure_ends_activity_and_workflow() -> Outcome {
    let case = Case::new("declined").await?;
    let options = case.worker().register_workflow::<Declined>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Declined::run, (), case.start("a")).await?;
        let Err(WorkflowGetResultError::Failed(error)) = handle.get_result(result()).await else {
            return Err("the workflow did not fail".into());
        };
        let IncomingError::Activity(activity) = &*error else {
            return Err(format!("not an activity failure: {error:?}").into());
        };
        let state = format!("{:?}", activity.retry_state());
        check(&format!("retry state {state}"), state.contains("NonRetryableFailure"))?;
        let Some(IncomingError::Application(cause)) = activity.cause() else {
            return Err(format!("no application failure: {error:?}").into());
        };
        same("type", cause.type_name(), Some("Declined"))?;
        check("non-retryable", cause.is_non_retryable())?;
        check("message", cause.to_string().contains("card 4711 declined"))?;
        let names = case.event_names(&case.id("a")).await?;
        same("failed once", names.iter().filter(|name| *name == "ActivityTaskFailed").count(), 1)?;
        same("last event", names.last().map(String::as_str), Some("WorkflowExecutionFailed"))
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Counting;

#[workflow_methods]
impl Counting {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, goal: u32) -> WorkflowResult<(u32, u32)> {
        let options =
            ActivityOptions::with_start_to_close_timeout(ATTEMPT).heartbeat_timeout(Duration::from_secs(10)).retry_policy(quick_retry(3));
        Ok(ctx.execute_activity(Steps::count, goal, options.build()).await?)
    }
}

#[tokio::test]
async fn heartbeat_details_reach_the_next_attempt() -> Outcome {
    let case = Case::new("heartbeat").await?;
    let options = case.worker().register_workflow::<Counting>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Counting::run, 10, case.start("a")).await?;
        same("kept details and attempt", handle.get_result(result()).await?, (5, 2))
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Timers;

#[workflow_methods]
impl Timers {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<(bool, bool)> {
        let long = ctx.timer(NEVER);
        let fired = ctx.timer(SOON).await == TimerResult::Fired;
        long.cancel();
        let canceled = long.await == TimerResult::Cancelled;
        Ok((fired, canceled))
    }
}

#[tokio::test]
async fn timer_fires_and_timer_is_canceled() -> Outcome {
    let case = Case::new("timer").await?;
    case.run(case.worker().register_workflow::<Timers>()?.build(), async {
        let handle = case.client.start_workflow(Timers::run, (), case.start("a")).await?;
        same("fired, canceled", handle.get_result(result()).await?, (true, true))?;
        same(
            "history",
            case.event_names(&case.id("a")).await?,
            words(&[
                "WorkflowExecutionStarted",
                "WorkflowTaskScheduled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "TimerStarted",
                "TimerStarted",
                "TimerFired",
                "WorkflowTaskScheduled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "TimerCanceled",
                "WorkflowExecutionCompleted",
            ]),
        )
    })
    .await
}

/// Adds up signals until it is told to finish.
#[workflow]
#[derive(Default)]
struct Adder {
    sum: i64,
    done: bool,
}

#[workflow_methods]
impl Adder {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<i64> {
        ctx.wait_condition(|state| state.done).await?;
        Ok(ctx.state(|state| state.sum))
    }

    #[signal]
    fn add(&mut self, _ctx: &mut SyncWorkflowContext<Self>, amount: i64) {
        self.sum += amount;
    }

    #[signal]
    fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.done = true;
    }

    #[query]
    fn sum(&self, _ctx: &WorkflowContextView) -> i64 {
        self.sum
    }
}

#[tokio::test]
async fn signals_arrive_in_order_and_once() -> Outcome {
    let case = Case::new("signal").await?;
    case.run(case.worker().register_workflow::<Adder>()?.build(), async {
        let handle = case.client.start_workflow(Adder::run, (), case.start("a")).await?;
        for amount in [1, 20, 300] {
            handle.signal(Adder::add, amount, WorkflowSignalOptions::default()).await?;
        }
        for _ in 0..2 {
            let same_request = WorkflowSignalOptions::builder().request_id("once".to_owned());
            handle.signal(Adder::add, 4000, same_request.build()).await?;
        }
        handle.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        same("sum", handle.get_result(result()).await?, 4321)?;
        let late = handle.signal(Adder::add, 1, WorkflowSignalOptions::default()).await;
        check(&format!("a signal to a closed workflow is refused: {late:?}"), matches!(late, Err(WorkflowInteractionError::NotFound(_))))
    })
    .await
}

#[tokio::test]
async fn query_sees_open_and_closed_workflows() -> Outcome {
    let case = Case::new("query").await?;
    case.run(case.worker().register_workflow::<Adder>()?.build(), async {
        let handle = case.client.start_workflow(Adder::run, (), case.start("a")).await?;
        handle.signal(Adder::add, 7, WorkflowSignalOptions::default()).await?;
        same("open", handle.query(Adder::sum, (), WorkflowQueryOptions::default()).await?, 7)?;
        let before = case.event_names(&case.id("a")).await?;
        same("again", handle.query(Adder::sum, (), WorkflowQueryOptions::default()).await?, 7)?;
        same("a query writes no event", case.event_names(&case.id("a")).await?, before)?;
        handle.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        handle.get_result(result()).await?;
        same("closed", handle.query(Adder::sum, (), WorkflowQueryOptions::default()).await?, 7)?;
        let only_open = WorkflowQueryOptions::builder().reject_condition(QueryRejectCondition::NotOpen);
        let refused = handle.query(Adder::sum, (), only_open.build()).await;
        check(
            &format!("rejected when not open: {refused:?}"),
            matches!(refused, Err(WorkflowQueryError::Rejected { status: Some(WorkflowExecutionStatus::Completed) })),
        )
    })
    .await
}

#[tokio::test]
async fn signal_with_start_starts_once() -> Outcome {
    let case = Case::new("signal-start").await?;
    case.run(case.worker().register_workflow::<Adder>()?.build(), async {
        let client = &case.client;
        let first = client.signal_with_start_workflow(Adder::run, (), Adder::add, 1, case.start("a")).await?;
        let second = client.signal_with_start_workflow(Adder::run, (), Adder::add, 2, case.start("a")).await?;
        same("run", second.run_id().map(str::to_owned), first.run_id().map(str::to_owned))?;
        second.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        same("sum", first.get_result(result()).await?, 3)?;
        let names = case.event_names(&case.id("a")).await?;
        same(
            "the signal precedes the first workflow task",
            &names[1..3],
            &words(&["WorkflowExecutionSignaled", "WorkflowTaskScheduled"])[..],
        )
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Parent;

#[workflow_methods]
impl Parent {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, child: String) -> WorkflowResult<i64> {
        let started = ctx.start_child_workflow(Adder::run, (), ChildWorkflowOptions::workflow_id(child)).await?;
        started.signal(Adder::add, 42, SignalWorkflowOptions::default()).await.map_err(failed)?;
        started.signal(Adder::finish, (), SignalWorkflowOptions::default()).await.map_err(failed)?;
        Ok(started.result().await?)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> WorkflowTermination {
    ApplicationFailure::non_retryable(error).into()
}

#[tokio::test]
async fn child_workflow_is_signaled_and_returns() -> Outcome {
    let case = Case::new("child").await?;
    let options = case.worker().register_workflow::<Parent>()?.register_workflow::<Adder>()?;
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Parent::run, case.id("child"), case.start("a")).await?;
        same("result of the child", handle.get_result(result()).await?, 42)?;
        let child = case.client.get_workflow_handle::<Adder>(case.id("child"));
        let about = child.describe(WorkflowDescribeOptions::default()).await?;
        same("parent", about.parent_id().map(str::to_owned), Some(case.id("a")))?;
        let names = case.event_names(&case.id("a")).await?;
        for name in [
            "StartChildWorkflowExecutionInitiated",
            "ChildWorkflowExecutionStarted",
            "SignalExternalWorkflowExecutionInitiated",
            "ExternalWorkflowExecutionSignaled",
            "ChildWorkflowExecutionCompleted",
        ] {
            check(name, names.iter().any(|found| found == name))?;
        }
        Ok(())
    })
    .await
}

/// Starts one child per policy and leaves.
#[workflow]
#[derive(Default)]
struct Leaver;

#[workflow_methods]
impl Leaver {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, child: String) -> WorkflowResult<()> {
        for (name, policy) in [
            ("terminated", ParentClosePolicy::Terminate),
            ("canceled", ParentClosePolicy::RequestCancel),
            ("abandoned", ParentClosePolicy::Abandon),
        ] {
            let options = ChildWorkflowOptions::builder().workflow_id(format!("{child}-{name}")).parent_close_policy(policy);
            ctx.start_child_workflow(Adder::run, (), options.build()).await?;
        }
        Ok(())
    }
}

#[tokio::test]
async fn parent_close_policy_reaches_the_children() -> Outcome {
    let case = Case::new("close-policy").await?;
    let options = case.worker().register_workflow::<Leaver>()?.register_workflow::<Adder>()?;
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Leaver::run, case.id("child"), case.start("a")).await?;
        handle.get_result(result()).await?;
        let child = |name: &str| case.client.get_workflow_handle::<Adder>(case.id(&format!("child-{name}")));
        let terminated = child("terminated").get_result(result()).await;
        check(&format!("terminated: {terminated:?}"), matches!(terminated, Err(WorkflowGetResultError::Terminated { .. })))?;
        let canceled = child("canceled").get_result(result()).await;
        check(&format!("canceled: {canceled:?}"), matches!(canceled, Err(WorkflowGetResultError::Cancelled { .. })))?;
        let abandoned = child("abandoned");
        abandoned.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        same("abandoned", abandoned.get_result(result()).await?, 0)
    })
    .await
}

/// Signals one workflow and cancels another.
#[workflow]
#[derive(Default)]
struct Neighbour;

#[workflow_methods]
impl Neighbour {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, targets: (String, String)) -> WorkflowResult<String> {
        let (signaled, canceled) = targets;
        let other = ctx.external_workflow(signaled.clone(), None);
        other.signal(Adder::add, 5, SignalWorkflowOptions::default()).await.map_err(failed)?;
        ctx.external_workflow(canceled, None).cancel(Some("no longer needed".to_owned())).await.map_err(failed)?;
        let nobody = ctx.external_workflow(format!("{signaled}-nobody"), None);
        let refused = nobody.signal(Adder::add, 5, SignalWorkflowOptions::default()).await;
        Ok(if refused.is_err() { "nobody refused".to_owned() } else { "nobody signaled".to_owned() })
    }
}

#[tokio::test]
async fn workflow_signals_and_cancels_others() -> Outcome {
    let case = Case::new("external").await?;
    let options = case.worker().register_workflow::<Neighbour>()?.register_workflow::<Adder>()?;
    case.run(options.build(), async {
        let client = &case.client;
        let signaled = client.start_workflow(Adder::run, (), case.start("signaled")).await?;
        let canceled = client.start_workflow(Adder::run, (), case.start("canceled")).await?;
        let targets = (case.id("signaled"), case.id("canceled"));
        let handle = client.start_workflow(Neighbour::run, targets, case.start("a")).await?;
        same("result", handle.get_result(result()).await?, "nobody refused".to_owned())?;
        let end = canceled.get_result(result()).await;
        check(&format!("canceled: {end:?}"), matches!(end, Err(WorkflowGetResultError::Cancelled { .. })))?;
        signaled.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        same("sum", signaled.get_result(result()).await?, 5)
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Laps;

#[workflow_methods]
impl Laps {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, laps: (u32, u32)) -> WorkflowResult<u32> {
        let (lap, last) = laps;
        if lap < last {
            ctx.continue_as_new((lap + 1, last), ContinueAsNewOptions::default())?;
        }
        Ok(lap)
    }
}

#[tokio::test]
async fn continue_as_new_makes_a_chain() -> Outcome {
    let case = Case::new("continue").await?;
    case.run(case.worker().register_workflow::<Laps>()?.build(), async {
        let handle = case.client.start_workflow(Laps::run, (1, 3), case.start("a")).await?;
        same("last lap", handle.get_result(result()).await?, 3)?;
        let first_only = WorkflowGetResultOptions::builder().follow_runs(false).build();
        let first = handle.get_result(first_only).await;
        check(&format!("first run: {first:?}"), matches!(first, Err(WorkflowGetResultError::ContinuedAsNew)))?;
        let first_run = handle.run_id().ok_or("the start returned no run id")?.to_owned();
        let last = case.events(&case.id("a"), None).await?;
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) = &last[0].attributes else {
            return Err("no started event".into());
        };
        same("first run of the chain", &started.first_execution_run_id, &first_run)?;
        check("continued from another run", started.continued_execution_run_id != first_run)
    })
    .await
}

/// Waits to be canceled, then cleans up with an activity.
#[workflow]
#[derive(Default)]
struct Cleaner;

#[workflow_methods]
impl Cleaner {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
        if ctx.timer(NEVER).await == TimerResult::Fired {
            return Ok(());
        }
        let detached = ActivityOptions::with_start_to_close_timeout(ATTEMPT).cancellation_token(WorkflowCancellationToken::new()).build();
        let cleaned = ctx.execute_activity(Steps::greet, "cleaner".to_owned(), detached).await?;
        Err(WorkflowTermination::cancelled_with_details(cleaned))
    }
}

#[tokio::test]
async fn canceled_workflow_cleans_up() -> Outcome {
    let case = Case::new("cancel").await?;
    let options = case.worker().register_workflow::<Cleaner>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Cleaner::run, (), case.start("a")).await?;
        let reason = WorkflowCancelOptions::builder().reason("changed my mind").build();
        handle.cancel(reason).await?;
        let Err(WorkflowGetResultError::Cancelled { details }) = handle.get_result(result()).await else {
            return Err("the workflow was not canceled".into());
        };
        same("details", details.deserialize::<String>()?, "Hello, cleaner!".to_owned())?;
        let events = case.events(&case.id("a"), None).await?;
        let causes: Vec<_> = events
            .iter()
            .filter_map(|event| match &event.attributes {
                Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(it)) => Some(it.cause.as_str()),
                _ => None,
            })
            .collect();
        same("cancel requests", causes, vec!["changed my mind"])?;
        same("end", events.last().map(event_name).as_deref(), Some("WorkflowExecutionCanceled"))
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Stopper;

#[workflow_methods]
impl Stopper {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<String> {
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT)
            .heartbeat_timeout(Duration::from_secs(10))
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted);
        match ctx.execute_activity(Steps::work, (), options.build()).await {
            Err(ActivityExecutionError::Cancelled(_)) => Ok("stopped".to_owned()),
            Err(error) => Err(error.into()),
            Ok(()) => Ok("ended by itself".to_owned()),
        }
    }
}

#[tokio::test]
async fn heartbeat_tells_the_activity_to_stop() -> Outcome {
    let case = Case::new("activity-cancel").await?;
    let steps = Arc::new(Steps::default());
    let options =
        case.worker().max_heartbeat_throttle_interval(SOON).register_workflow::<Stopper>()?.register_activity::<steps::Work>(steps.clone());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Stopper::run, (), case.start("a")).await?;
        steps.started.notified().await;
        handle.cancel(WorkflowCancelOptions::default()).await?;
        same("result", handle.get_result(result()).await?, "stopped".to_owned())?;
        let names = case.event_names(&case.id("a")).await?;
        let of_activity: Vec<_> = names.into_iter().filter(|name| name.starts_with("ActivityTask")).collect();
        same(
            "events of the activity",
            of_activity,
            words(&["ActivityTaskScheduled", "ActivityTaskCancelRequested", "ActivityTaskStarted", "ActivityTaskCanceled"]),
        )
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Local;

#[workflow_methods]
impl Local {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, name: String) -> WorkflowResult<String> {
        let options = LocalActivityOptions::builder().start_to_close_timeout(ATTEMPT).build();
        Ok(ctx.execute_local_activity(Steps::greet, name, options).await?)
    }
}

#[tokio::test]
async fn local_activity_leaves_a_marker() -> Outcome {
    let case = Case::new("local").await?;
    let options = case.worker().register_workflow::<Local>()?.register_activities(Steps::default());
    case.run(options.build(), async {
        let handle = case.client.start_workflow(Local::run, "here".to_owned(), case.start("a")).await?;
        same("result", handle.get_result(result()).await?, "Hello, here!".to_owned())?;
        same(
            "history",
            case.event_names(&case.id("a")).await?,
            words(&[
                "WorkflowExecutionStarted",
                "WorkflowTaskScheduled",
                "WorkflowTaskStarted",
                "WorkflowTaskCompleted",
                "MarkerRecorded",
                "WorkflowExecutionCompleted",
            ]),
        )
    })
    .await
}

#[tokio::test]
async fn terminated_workflow_is_closed_at_once() -> Outcome {
    let case = Case::new("terminate").await?;
    case.run(case.worker().register_workflow::<Adder>()?.build(), async {
        let handle = case.client.start_workflow(Adder::run, (), case.start("a")).await?;
        let reason = || WorkflowTerminateOptions::builder().reason("out of budget").build();
        handle.terminate(reason()).await?;
        let end = handle.get_result(result()).await;
        check(&format!("{end:?}"), matches!(end, Err(WorkflowGetResultError::Terminated { .. })))?;
        let about = handle.describe(WorkflowDescribeOptions::default()).await?;
        same("status", about.status(), WorkflowExecutionStatus::Terminated)?;
        let events = case.events(&case.id("a"), None).await?;
        let Some(Attributes::WorkflowExecutionTerminatedEventAttributes(last)) = events.last().and_then(|event| event.attributes.as_ref())
        else {
            return Err("the last event is another one".into());
        };
        same("reason", last.reason.as_str(), "out of budget")?;
        let again = handle.terminate(reason()).await;
        check(&format!("again: {again:?}"), matches!(again, Err(WorkflowInteractionError::NotFound(_))))
    })
    .await
}

#[tokio::test]
async fn start_obeys_conflict_and_reuse_policies() -> Outcome {
    let case = Case::new("start").await?;
    case.run(case.worker().register_workflow::<Adder>()?.build(), async {
        let client = &case.client;
        let first = client.start_workflow(Adder::run, (), case.start("a")).await?;
        let first_run = first.run_id().map(str::to_owned);

        let mut options = case.start("a");
        options.id_conflict_policy = WorkflowIdConflictPolicy::Fail;
        let Err(WorkflowStartError::AlreadyStarted { run_id, .. }) = client.start_workflow(Adder::run, (), options).await else {
            return Err("FAIL did not fail".into());
        };
        same("run named by the failure", run_id, first_run.clone())?;

        let mut options = case.start("a");
        options.id_conflict_policy = WorkflowIdConflictPolicy::UseExisting;
        let existing = client.start_workflow(Adder::run, (), options).await?;
        same("USE_EXISTING", existing.run_id().map(str::to_owned), first_run.clone())?;

        let mut options = case.start("a");
        options.id_conflict_policy = WorkflowIdConflictPolicy::TerminateExisting;
        let second = client.start_workflow(Adder::run, (), options).await?;
        check("TERMINATE_EXISTING starts a new run", second.run_id().map(str::to_owned) != first_run)?;
        let end = first.get_result(WorkflowGetResultOptions::builder().follow_runs(false).build()).await;
        check(&format!("first run: {end:?}"), matches!(end, Err(WorkflowGetResultError::Terminated { .. })))?;

        second.signal(Adder::finish, (), WorkflowSignalOptions::default()).await?;
        second.get_result(result()).await?;
        for policy in [WorkflowIdReusePolicy::RejectDuplicate, WorkflowIdReusePolicy::AllowDuplicateFailedOnly] {
            let mut options = case.start("a");
            options.id_reuse_policy = policy;
            let again = client.start_workflow(Adder::run, (), options).await;
            check(&format!("{policy:?} after a success"), matches!(again, Err(WorkflowStartError::AlreadyStarted { .. })))?;
        }
        let third = client.start_workflow(Adder::run, (), case.start("a")).await?;
        third.terminate(WorkflowTerminateOptions::default()).await?;
        let mut options = case.start("a");
        options.id_reuse_policy = WorkflowIdReusePolicy::AllowDuplicateFailedOnly;
        let fourth = client.start_workflow(Adder::run, (), options).await?;
        Ok(fourth.terminate(WorkflowTerminateOptions::default()).await?)
    })
    .await
}

/// The SDK makes a request id of its own for each start; a client that repeats a call sends the same one.
#[tokio::test]
async fn repeated_start_request_has_one_effect() -> Outcome {
    let case = Case::new("start-twice").await?;
    let request = StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: case.id("a"),
        workflow_type: Some(WorkflowType { name: "Adder".to_owned() }),
        task_queue: Some(TaskQueue { name: case.name.clone(), ..Default::default() }),
        identity: "conformance".to_owned(),
        request_id: "the same".to_owned(),
        ..Default::default()
    };
    let mut client = case.client.clone();
    let first = client.start_workflow_execution(tonic::Request::new(request.clone())).await?.into_inner();
    let second = client.start_workflow_execution(tonic::Request::new(request)).await?.into_inner();
    check("the first call starts", first.started)?;
    same("run", &second.run_id, &first.run_id)?;
    let handle = case.client.get_workflow_handle::<Adder>(case.id("a"));
    handle.terminate(WorkflowTerminateOptions::default()).await?;
    same("starts", case.event_names(&case.id("a")).await?.iter().filter(|name| *name == "WorkflowExecutionStarted").count(), 1)
}

#[workflow]
#[derive(Default)]
struct Stubborn;

#[workflow_methods]
impl Stubborn {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, times: u32) -> WorkflowResult<u32> {
        let attempt = ctx.info().attempt();
        if attempt <= times {
            return Err(ApplicationFailure::new(format!("attempt {attempt}")).into());
        }
        Ok(attempt)
    }
}

#[tokio::test]
async fn failed_workflow_is_retried_as_a_new_run() -> Outcome {
    let case = Case::new("workflow-retry").await?;
    case.run(case.worker().register_workflow::<Stubborn>()?.build(), async {
        let mut options = case.start("a");
        options.retry_policy = Some(quick_retry(3));
        let handle = case.client.start_workflow(Stubborn::run, 2, options).await?;
        same("attempt", handle.get_result(result()).await?, 3)?;
        let first = case.events(&case.id("a"), handle.run_id()).await?;
        let Some(Attributes::WorkflowExecutionFailedEventAttributes(failed)) = first.last().and_then(|event| event.attributes.as_ref())
        else {
            return Err("the first run did not fail".into());
        };
        check("the failure names the next run", !failed.new_execution_run_id.is_empty())?;

        let mut options = case.start("b");
        options.retry_policy = Some(quick_retry(2));
        let handle = case.client.start_workflow(Stubborn::run, 9, options).await?;
        let Err(WorkflowGetResultError::Failed(error)) = handle.get_result(result()).await else {
            return Err("the workflow did not fail".into());
        };
        check(&format!("last attempt: {error}"), error.to_string().contains("attempt 2"))
    })
    .await
}

const STAGE: SearchAttributeKey<String> = SearchAttributeKey::keyword("ConformanceStage");
const PARCELS: SearchAttributeKey<i64> = SearchAttributeKey::int("ConformanceParcels");

#[workflow]
#[derive(Default)]
struct Labelled {
    done: bool,
}

#[workflow_methods]
impl Labelled {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<(String, String)> {
        let owner: String = ctx.memo().get("owner")?.unwrap_or_default();
        let stage = ctx.search_attributes().get(&STAGE).unwrap_or_default();
        ctx.upsert_search_attributes([STAGE.value_set("packed".to_owned()), PARCELS.value_set(3)]);
        ctx.upsert_memo([("owner", None), ("weight", Some(MemoValue::new(12_u32)))])?;
        ctx.wait_condition(|state| state.done).await?;
        Ok((owner, stage))
    }

    #[signal]
    fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.done = true;
    }
}

#[tokio::test]
async fn memo_and_search_attributes_are_changed() -> Outcome {
    let case = Case::new("labels").await?;
    let request = AddSearchAttributesRequest {
        namespace: "default".to_owned(),
        search_attributes: [
            ("ConformanceStage".to_owned(), IndexedValueType::Keyword as i32),
            ("ConformanceParcels".to_owned(), IndexedValueType::Int as i32),
        ]
        .into(),
    };
    let mut operator = case.client.connection().operator_service();
    match operator.add_search_attributes(tonic::Request::new(request)).await {
        Ok(_) => {}
        Err(status) if status.code() == tonic::Code::AlreadyExists => {}
        Err(status) => return Err(status.into()),
    }
    case.run(case.worker().register_workflow::<Labelled>()?.build(), async {
        let mut options = case.start("a");
        let mut memo = MemoValues::new();
        memo.insert("owner", "Ada".to_owned());
        options.memo = Some(memo);
        options.search_attributes = Some(SearchAttributes::new([STAGE.value_set("new".to_owned())]));
        let handle = case.client.start_workflow(Labelled::run, (), options).await?;
        // Lists and counts come with visibility, which is not built yet.
        let about = eventually("the attributes are changed", || async {
            let about = handle.describe(WorkflowDescribeOptions::default()).await?;
            Ok(about.search_attributes().get(&PARCELS).is_some().then_some(about))
        })
        .await?;
        same("memo", about.memo().get::<u32>("weight")?, Some(12))?;
        same("parcels", about.search_attributes().get(&PARCELS), Some(3))?;
        same("memo keys", about.memo().keys().collect::<Vec<_>>(), vec!["weight"])?;
        same("attribute", about.search_attributes().get(&STAGE), Some("packed".to_owned()))?;
        handle.signal(Labelled::finish, (), WorkflowSignalOptions::default()).await?;
        same("at the start", handle.get_result(result()).await?, ("Ada".to_owned(), "new".to_owned()))?;
        let events = case.events(&case.id("a"), None).await?;
        for wanted in [EventType::UpsertWorkflowSearchAttributes, EventType::WorkflowPropertiesModified] {
            check(wanted.as_str_name(), events.iter().any(|event| event.event_type() == wanted))?;
        }
        Ok(())
    })
    .await
}

#[workflow]
#[derive(Default)]
struct Patched;

#[workflow_methods]
impl Patched {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<bool> {
        let new_way = ctx.patched("new-way");
        ctx.timer(SOON).await;
        Ok(new_way && ctx.patched("new-way"))
    }
}

#[tokio::test]
async fn patch_is_remembered_by_a_marker() -> Outcome {
    let case = Case::new("patch").await?;
    case.run(case.worker().register_workflow::<Patched>()?.build(), async {
        let handle = case.client.start_workflow(Patched::run, (), case.start("a")).await?;
        same("new way", handle.get_result(result()).await?, true)?;
        let names = case.event_names(&case.id("a")).await?;
        same("markers", names.iter().filter(|name| *name == "MarkerRecorded").count(), 1)
    })
    .await
}

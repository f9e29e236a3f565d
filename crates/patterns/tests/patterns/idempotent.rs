//! Keys that survive resets, long work that goes on where it was, classes of errors.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sempre_embedded::testing::TestEnvironment;
use sempre_patterns::idempotent::{
    Class, Key, class_of,
    heartbeat::{beating, resume},
};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    UntypedWorkflow, WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions, grpc::WorkflowService, tonic::Request,
};
use temporalio_common::{
    RetryPolicy,
    protos::temporal::api::{common::v1::WorkflowExecution, workflowservice::v1::ResetWorkflowExecutionRequest},
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityCancellationType, ActivityExecutionError, ActivityOptions, ApplicationFailure, ContinueAsNewOptions, SyncWorkflowContext,
    WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};
use tokio::sync::Notify;

use crate::{
    life::{Lived, Outcome, QUEUE, with_deaths},
    world::{Ask, Fails, World},
};

const ATTEMPT: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3600);
/// Pieces of the long work.
const PIECES: u32 = 6;

/// Long work, errors, names.
#[derive(Clone, Default)]
struct Works {
    /// Which pieces were done, attempt by attempt.
    pieces: Arc<Mutex<Vec<Vec<u32>>>>,
    begun: Arc<Notify>,
    dropped: Arc<AtomicBool>,
}

/// Tells when it is dropped.
struct Told(Arc<AtomicBool>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whether the server knows of a heartbeat of the activity.
async fn is_known(ctx: &ActivityContext) -> Result<bool, ActivityError> {
    let workflow = ctx.workflow_handle::<UntypedWorkflow>().expect("a workflow asks");
    let described = workflow.describe(Default::default()).await?;
    Ok(described.raw().pending_activities.iter().any(|pending| pending.heartbeat_details.is_some()))
}

#[activities]
impl Works {
    #[activity]
    async fn name(self: Arc<Self>, ctx: ActivityContext) -> Result<Key, ActivityError> {
        Ok(Key::of_activity(ctx.info()))
    }

    /// All pieces; the first attempt fails at one, if it is given.
    #[activity]
    async fn grind(self: Arc<Self>, ctx: ActivityContext, fails_at: Option<u32>) -> Result<(), ActivityError> {
        self.pieces.lock().unwrap().push(Vec::new());
        let ctx = &ctx;
        resume(ctx, 0u32, async |piece| {
            self.pieces.lock().unwrap().last_mut().expect("this attempt").push(piece);
            if ctx.info().attempt == 1 && fails_at == Some(piece) {
                return Err(Class::Retryable.error("a stone in the mill"));
            }
            // The first heartbeats are on their way; from the third piece on the server has one.
            while piece == 2 && !is_known(ctx).await? {}
            Ok(Some(piece + 1).filter(|next| *next < PIECES))
        })
        .await
    }

    /// Works without end, or not at all.
    #[activity]
    async fn brood(self: Arc<Self>, ctx: ActivityContext, for_ever: bool) -> Result<u32, ActivityError> {
        let told = Told(self.dropped.clone());
        let begun = self.begun.clone();
        let work = async move {
            let _told = told;
            begun.notify_one();
            if for_ever { std::future::pending().await } else { Ok(7) }
        };
        beating(&ctx, Duration::from_millis(20), work).await
    }

    #[activity]
    async fn fail(self: Arc<Self>, _ctx: ActivityContext, how: String) -> Result<(), ActivityError> {
        let own = |permanent| {
            let failure = ApplicationFailure::builder(Box::<dyn std::error::Error + Send + Sync>::from("odd"));
            ActivityError::application(failure.type_name("Odd".to_owned()).non_retryable(permanent).build())
        };
        Err(match how.as_str() {
            "retryable" => Class::Retryable.error("busy"),
            "validation" => Class::Validation.error("no such day"),
            "rule" => Class::BusinessRule.error("sold out"),
            "permanent" => Class::Permanent.error("gone"),
            "own" => own(false),
            "own, permanent" => own(true),
            "timeout" => std::future::pending().await,
            other => unreachable!("{other}"),
        })
    }

    /// Goes through at the second attempt; which comes when the first one said.
    #[activity]
    async fn wait_your_turn(self: Arc<Self>, ctx: ActivityContext) -> Result<u32, ActivityError> {
        match ctx.info().attempt {
            1 => Err(Class::retry_after(2 * HOUR, "come again in two hours")),
            attempt => Ok(attempt),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Keys {
    run: Key,
    chain: Key,
    activity: Key,
}

/// Has an effect, makes keys, waits to be told to go on; then as many more runs.
#[workflow]
#[derive(Default)]
pub struct Keyed {
    told: bool,
}

#[workflow_methods]
impl Keyed {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, asked: (u32, Vec<Keys>)) -> WorkflowResult<Vec<Keys>> {
        let (more, mut all) = asked;
        let (run, chain) = (Key::of_run(ctx, "pay"), Key::of_chain(ctx, "pay"));
        let ask = Ask { key: run.clone(), step: format!("pay {more}"), fails: Fails::Never, cancels: false };
        ctx.execute_activity(World::act, ask, ActivityOptions::start_to_close_timeout(ATTEMPT)).await?;
        let activity = ctx.execute_activity(Works::name, (), ActivityOptions::start_to_close_timeout(ATTEMPT)).await?;
        all.push(Keys { run, chain, activity });
        if more == 0 {
            return Ok(all);
        }
        ctx.wait_condition(|keyed| keyed.told).await?;
        match ctx.continue_as_new((more - 1, all), ContinueAsNewOptions::default())? {}
    }

    #[signal]
    pub fn go_on(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
        self.told = true;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_a_run_survives_its_reset_and_the_effect_is_had_once() -> Outcome {
    let (test, world, works) = (TestEnvironment::start().await?, World::new(), Works::default());
    let options = || {
        let options = WorkerOptions::new(QUEUE).register_activities(world.clone()).register_activities(works.clone());
        options.register_workflow::<Keyed>().unwrap().build()
    };
    let result = async || -> Outcome<Vec<Keys>> {
        let handle = test.client().get_workflow_handle::<Keyed>("keyed");
        handle.signal(Keyed::go_on, (), WorkflowSignalOptions::default()).await?;
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await?)
    };
    let body = async {
        let first = test.client().start_workflow(Keyed::run, (1, Vec::new()), WorkflowStartOptions::new(QUEUE, "keyed").build()).await?;
        let before = result().await?;
        // To the end of the first workflow task: both activities run again, in a run with another id.
        let request = ResetWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: "keyed".to_owned(),
                run_id: first.run_id().ok_or("no run")?.to_owned(),
            }),
            workflow_task_finish_event_id: 4,
            request_id: "reset".to_owned(),
            ..ResetWorkflowExecutionRequest::default()
        };
        let reset = test.client().clone().reset_workflow_execution(Request::new(request)).await?.into_inner();
        assert_ne!(Some(reset.run_id.as_str()), first.run_id());
        Ok((before, result().await?))
    };
    let Lived { value: (before, after), .. } = with_deaths(&test, &[], options, body).await?;
    // A reset: the run's own key and the chain's stay, the activity's does not.
    assert_eq!((&before[0].run, &before[0].chain), (&after[0].run, &after[0].chain));
    assert_ne!(before[0].activity, after[0].activity);
    // The next run of a chain: the run's is another one, the chain's stays.
    assert_ne!(before[0].run, before[1].run);
    assert_eq!(before[0].chain, before[1].chain);
    // The effect of the run that was reset was had once; the next run of either chain is a run of its own.
    assert_eq!(world.effects(), ["do pay 1", "do pay 0", "do pay 0"]);
    test.shutdown().await;
    Ok(())
}

/// Does the long work.
#[workflow]
#[derive(Default)]
pub struct Grinds;

#[workflow_methods]
impl Grinds {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, fails_at: Option<u32>) -> WorkflowResult<()> {
        let options = ActivityOptions::with_start_to_close_timeout(ATTEMPT).heartbeat_timeout(ATTEMPT).build();
        Ok(ctx.execute_activity(Works::grind, fails_at, options).await?)
    }
}

/// What was done attempt by attempt, the points, and how many workers died.
async fn grind(fails_at: Option<u32>, deaths: &[usize]) -> Outcome<(Vec<Vec<u32>>, Vec<String>, usize)> {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    let handle = test.client().start_workflow(Grinds::run, fails_at, WorkflowStartOptions::new(QUEUE, "grinds").build()).await?;
    let options = || WorkerOptions::new(QUEUE).register_activities(works.clone()).register_workflow::<Grinds>().unwrap().build();
    let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await?) };
    let lived = with_deaths(&test, deaths, options, body).await?;
    test.shutdown().await;
    let pieces = works.pieces.lock().unwrap().clone();
    Ok((pieces, lived.points, lived.deaths))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn long_work_goes_on_where_an_attempt_failed_and_near_where_one_died() -> Outcome {
    let (smooth, points, _) = grind(None, &[]).await?;
    assert_eq!(smooth, [(0..PIECES).collect::<Vec<_>>()]);
    let (pieces, ..) = grind(Some(4), &[]).await?;
    // With the answer that it failed the server gets the newest position.
    assert_eq!(pieces, [(0..=4).collect::<Vec<_>>(), (4..PIECES).collect()]);
    let death = points.iter().position(|point| point == "before RespondActivityTaskCompleted").ok_or("no such point")?;
    let (pieces, _, died) = grind(None, &[death]).await?;
    assert_eq!((died, pieces.len()), (1, 2), "{pieces:?}");
    // A death sends nothing: what the SDK had sent by then counts.
    let from = pieces[1][0];
    assert!(from > 0, "{pieces:?}");
    assert_eq!(pieces[1], (from..PIECES).collect::<Vec<_>>());
    Ok(())
}

/// Runs an activity that broods, and says how it ended.
#[workflow]
#[derive(Default)]
pub struct Broods;

#[workflow_methods]
impl Broods {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, for_ever: bool) -> WorkflowResult<String> {
        let options = ActivityOptions::with_start_to_close_timeout(HOUR)
            .heartbeat_timeout(ATTEMPT)
            .cancellation_type(ActivityCancellationType::WaitCancellationCompleted)
            .build();
        Ok(match ctx.execute_activity(Works::brood, for_ever, options).await {
            Ok(value) => format!("came to {value}"),
            Err(error) => format!("{:?}", class_of(&error)),
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_beats_hears_of_its_cancellation_and_is_dropped() -> Outcome {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    let options = || {
        let options = WorkerOptions::new(QUEUE).max_heartbeat_throttle_interval(Duration::from_millis(20));
        options.register_activities(works.clone()).register_workflow::<Broods>().unwrap().build()
    };
    let start = |id: &str| WorkflowStartOptions::new(QUEUE, id).build();
    let body = async {
        let short = test.client().start_workflow(Broods::run, false, start("short")).await?;
        assert_eq!(short.get_result(WorkflowGetResultOptions::default()).await?, "came to 7");
        works.begun.notified().await;
        works.dropped.store(false, Ordering::SeqCst);
        let long = test.client().start_workflow(Broods::run, true, start("long")).await?;
        works.begun.notified().await;
        assert!(!works.dropped.load(Ordering::SeqCst));
        long.cancel(Default::default()).await?;
        Ok(long.get_result(WorkflowGetResultOptions::default()).await?)
    };
    let Lived { value, .. } = with_deaths(&test, &[], options, body).await?;
    // A cancelled activity has no class.
    assert_eq!(value, "None");
    assert!(works.dropped.load(Ordering::SeqCst));
    test.shutdown().await;
    Ok(())
}

/// Tells of each way to fail its class.
#[workflow]
#[derive(Default)]
pub struct Classes;

#[workflow_methods]
impl Classes {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<Vec<String>> {
        let mut told = Vec::new();
        for how in ["retryable", "validation", "rule", "permanent", "own", "own, permanent", "timeout"] {
            let once = RetryPolicy::builder().maximum_attempts(1).build();
            let span = Duration::from_millis(300);
            let options = ActivityOptions::with_start_to_close_timeout(if how == "timeout" { span } else { ATTEMPT });
            let ended = ctx.execute_activity(Works::fail, how.to_owned(), options.retry_policy(once).build()).await;
            told.push(format!("{how}: {}", named(&ended.expect_err("it fails"))));
        }
        let again = ctx.execute_activity(Works::wait_your_turn, (), ActivityOptions::start_to_close_timeout(ATTEMPT)).await?;
        told.push(format!("attempt {again}"));
        Ok(told)
    }
}

fn named(error: &ActivityExecutionError) -> &'static str {
    class_of(error).map_or("none", Class::type_name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_tells_errors_apart_and_the_other_side_says_when_to_come_again() -> Outcome {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    let handle = test.client().start_workflow(Classes::run, (), WorkflowStartOptions::new(QUEUE, "classes").build()).await?;
    let options = || WorkerOptions::new(QUEUE).register_activities(works.clone()).register_workflow::<Classes>().unwrap().build();
    let begin = test.now();
    let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await?) };
    let Lived { value, .. } = with_deaths(&test, &[], options, body).await?;
    let told = [
        "retryable: Retryable",
        "validation: Validation",
        "rule: BusinessRule",
        "permanent: Permanent",
        "own: Retryable",
        "own, permanent: Permanent",
        "timeout: Retryable",
        "attempt 2",
    ];
    assert_eq!(value, told);
    let took = test.now().duration_since(begin)?;
    assert!((2 * HOUR..3 * HOUR).contains(&took), "{took:?}");
    test.shutdown().await;
    Ok(())
}

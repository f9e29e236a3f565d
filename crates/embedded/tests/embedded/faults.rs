//! Tests under faults: what survives them passes, what does not is told with the fewest and smallest faults that show it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sempre_embedded::testing::{Failed, Fault, Faults, TestEnvironment, Trial};
use temporalio_client::{WorkflowGetResultOptions, WorkflowSignalOptions, WorkflowStartOptions};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, SyncWorkflowContext, WorkerOptions, WorkflowContext, WorkflowResult,
    activities::{ActivityContext, ActivityError},
};

use crate::workflows::DAY;

const QUEUE: &str = "faults";

/// The world outside: it outlives workers.
#[derive(Clone, Default)]
struct World {
    charges: Arc<Mutex<Vec<String>>>,
    beats: Arc<AtomicU32>,
}

#[activities]
impl World {
    /// Charges, however often it was charged already; says how often.
    #[activity]
    async fn charge(self: Arc<Self>, _ctx: ActivityContext, key: String) -> Result<u32, ActivityError> {
        let mut charges = self.charges.lock().expect("nobody panics with it");
        charges.push(key.clone());
        Ok(u32::try_from(charges.iter().filter(|charged| **charged == key).count())?)
    }

    /// Beats six times; says at which attempt it came through.
    #[activity]
    async fn beat(self: Arc<Self>, ctx: ActivityContext, _unused: u32) -> Result<u32, ActivityError> {
        for beat in 0..6u32 {
            ctx.record_heartbeat(beat).await?;
            self.beats.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(60)).await;
            if ctx.is_cancelled() {
                return Err(ActivityError::cancelled());
            }
        }
        Ok(ctx.info().attempt)
    }
}

/// Charges, waits a month, charges again; notes the signals that it gets.
#[workflow]
#[derive(Default)]
struct Months {
    notes: Vec<String>,
}

#[workflow_methods]
impl Months {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, signals: usize) -> WorkflowResult<Vec<String>> {
        for month in 0..2 {
            let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
            ctx.execute_activity(World::charge, format!("month {month}"), options).await?;
            ctx.timer(30 * DAY).await;
        }
        ctx.wait_condition(|state| state.notes.len() >= signals).await?;
        Ok(ctx.state(|state| state.notes.clone()))
    }

    #[signal]
    fn note(&mut self, _ctx: &mut SyncWorkflowContext<Self>, note: String) {
        self.notes.push(note);
    }
}

#[workflow]
#[derive(Default)]
struct Beats;

#[workflow_methods]
impl Beats {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        let options =
            ActivityOptions::with_start_to_close_timeout(Duration::from_secs(3600)).heartbeat_timeout(Duration::from_secs(30)).build();
        Ok(ctx.execute_activity(World::beat, 0u32, options).await?)
    }
}

static TURNS: AtomicU32 = AtomicU32::new(0);

/// Does something else each time it is run.
#[workflow]
#[derive(Default)]
struct Fickle;

#[workflow_methods]
impl Fickle {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<u32> {
        let turn = TURNS.fetch_add(1, Ordering::Relaxed);
        if turn.is_multiple_of(2) {
            ctx.timer(DAY).await;
        } else {
            let options = ActivityOptions::start_to_close_timeout(Duration::from_secs(60));
            ctx.execute_activity(World::charge, "fickle", options).await?;
        }
        Ok(turn)
    }
}

fn months() -> Trial {
    TestEnvironment::builder().workflow::<Months>()
}

fn worker(world: &World) -> WorkerOptions {
    WorkerOptions::new(QUEUE).register_activities(world.clone()).build()
}

fn start(id: &str) -> WorkflowStartOptions {
    WorkflowStartOptions::new(QUEUE, id).build()
}

fn result() -> WorkflowGetResultOptions {
    WorkflowGetResultOptions::default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_comes_through_a_crash_at_every_point() -> Result<(), Failed> {
    let world = World::default();
    let passed = months()
        .faults(Faults::every_crash())
        .run(
            || worker(&world),
            async |test| {
                world.charges.lock().unwrap().clear();
                let before = test.now();
                let handle = test.client().start_workflow(Months::run, 0usize, start("months")).await?;
                assert_eq!(handle.get_result(result()).await?, Vec::<String>::new());
                let mut charged = world.charges.lock().unwrap().clone();
                charged.dedup();
                assert_eq!(charged, ["month 0", "month 1"]);
                assert!(test.now().duration_since(before)? < 61 * DAY);
                Ok(())
            },
        )
        .await?;
    println!("{passed:?}");
    assert!(passed.points.len() > 15, "{passed:?}");
    assert_eq!(passed.points[..2], ["after PollWorkflowTaskQueue", "before RespondWorkflowTaskCompleted, a workflow task of `months`"]);
    assert_eq!(passed.runs, 1 + passed.points.len());
    assert_eq!(passed.replayed, passed.runs);
    // Where a run has fewer points than the one that was counted, the last crash does not happen.
    assert!(passed.faults + 3 > passed.points.len(), "{passed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counts_on_doing_things_once_is_told_with_the_one_fault_that_shows_it() {
    let world = World::default();
    let failed = months()
        .faults(Faults::seeds(0..5).crashes(1).duplicate_activities(1).late_signals(1))
        .run(
            || worker(&world),
            async |test| {
                world.charges.lock().unwrap().clear();
                let handle = test.client().start_workflow(Months::run, 1usize, start("months")).await?;
                handle.signal(Months::note, "a".to_owned(), WorkflowSignalOptions::default()).await?;
                handle.get_result(result()).await?;
                let charges = world.charges.lock().unwrap().len();
                if charges == 2 { Ok(()) } else { Err(format!("charged {charges} times").into()) }
            },
        )
        .await
        .expect_err("an activity that is done twice charges twice");
    println!("{failed}");
    assert_eq!(failed.reason, "charged 3 times");
    assert!(failed.seed.is_some_and(|seed| seed < 5), "{:?}", failed.seed);
    assert!(matches!(failed.faults.as_slice(), [Fault::DuplicateActivity { .. } | Fault::Crash { .. }]), "{:?}", failed.faults);
    let text = failed.to_string();
    assert!(text.contains("Faults::exactly([") && text.contains("activity_task_scheduled World::charge"), "{text}");
    assert!(text.contains("activity_task_started, attempt 2"), "{text}");
    // The same again, from what was printed.
    let again = months()
        .faults(Faults::exactly(failed.faults.clone()))
        .run(
            || worker(&world),
            async |test| {
                world.charges.lock().unwrap().clear();
                let handle = test.client().start_workflow(Months::run, 1usize, start("months")).await?;
                handle.signal(Months::note, "a".to_owned(), WorkflowSignalOptions::default()).await?;
                handle.get_result(result()).await?;
                let charges = world.charges.lock().unwrap().len();
                if charges == 2 { Ok(()) } else { Err(format!("charged {charges} times").into()) }
            },
        )
        .await;
    assert_eq!(again.expect_err("the same fault").reason, "charged 3 times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_later_fault_has_shown_is_told_with_the_earliest_that_shows_it() {
    let world = World::default();
    let failed = months()
        .faults(Faults::exactly([Fault::DuplicateActivity { answer: 1 }]))
        .run(
            || worker(&world),
            async |test| {
                world.charges.lock().unwrap().clear();
                let handle = test.client().start_workflow(Months::run, 0usize, start("months")).await?;
                handle.get_result(result()).await?;
                let charges = world.charges.lock().unwrap().len();
                if charges == 2 { Ok(()) } else { Err(format!("charged {charges} times").into()) }
            },
        )
        .await
        .expect_err("an activity that is done twice charges twice");
    assert_eq!(failed.faults, [Fault::DuplicateActivity { answer: 0 }]);
    assert_eq!(failed.reason, "charged 3 times");
    assert_eq!(*world.charges.lock().unwrap(), ["month 0", "month 0", "month 1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_activity_whose_answer_is_lost_is_done_twice_without_waiting() -> Result<(), Failed> {
    let world = World::default();
    let passed = months()
        .faults(Faults::exactly([Fault::DuplicateActivity { answer: 1 }]))
        .run(
            || worker(&world),
            async |test| {
                world.charges.lock().unwrap().clear();
                let handle = test.client().start_workflow(Months::run, 0usize, start("months")).await?;
                handle.get_result(result()).await?;
                Ok(())
            },
        )
        .await?;
    assert_eq!((passed.runs, passed.faults, passed.replayed), (2, 1, 2));
    assert_eq!(*world.charges.lock().unwrap(), ["month 0", "month 1", "month 1"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_whose_heartbeats_are_lost_is_followed_by_another() -> Result<(), Failed> {
    let world = World::default();
    let attempts = Mutex::new(Vec::new());
    let passed = TestEnvironment::builder()
        .workflow::<Beats>()
        .faults(Faults::exactly([Fault::LostHeartbeats { heartbeat: 0 }]))
        .run(
            || worker(&world),
            async |test| {
                let handle = test.client().start_workflow(Beats::run, (), start("beats")).await?;
                let attempt = handle.get_result(result()).await?;
                attempts.lock().unwrap().push(attempt);
                Ok(())
            },
        )
        .await?;
    assert_eq!(passed.faults, 1);
    assert_eq!(attempts.into_inner().unwrap(), [1, 2]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_that_comes_late_comes_after_one_that_was_sent_later() {
    let world = World::default();
    let failed = months()
        .faults(Faults::exactly([Fault::LateSignal { signal: 0, by: Duration::from_secs(600) }]))
        .run(
            || worker(&world),
            async |test| {
                let handle = test.client().start_workflow(Months::run, 2usize, start("months")).await?;
                let send = |note: &str| handle.signal(Months::note, note.to_owned(), WorkflowSignalOptions::default());
                let (first, second) = tokio::join!(send("first"), send("second"));
                first?;
                second?;
                let notes = handle.get_result(result()).await?;
                if notes == ["first", "second"] { Ok(()) } else { Err(format!("noted {notes:?}").into()) }
            },
        )
        .await
        .expect_err("the order differs");
    assert_eq!(failed.reason, r#"noted ["second", "first"]"#);
    let [Fault::LateSignal { signal: 0, by }] = failed.faults[..] else { panic!("{:?}", failed.faults) };
    assert!(by <= Duration::from_secs(600), "{by:?}");
    assert_eq!(failed.happened, [format!("a signal came late by {by:?}")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_does_not_replay_fails_a_test_that_passes() {
    let world = World::default();
    let failed = TestEnvironment::builder()
        .workflow::<Fickle>()
        .run(
            || worker(&world),
            async |test| {
                let handle = test.client().start_workflow(Fickle::run, (), start("fickle")).await?;
                handle.get_result(result()).await?;
                Ok(())
            },
        )
        .await
        .expect_err("a replay takes the other turn");
    assert!(failed.reason.contains("`fickle`") && failed.reason.contains("nondeterminis"), "{}", failed.reason);
    assert!(failed.faults.is_empty() && failed.histories.contains("timer_started"), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_that_nobody_can_replay_fails_a_test_that_passes_unless_it_says_so() {
    let world = World::default();
    let worker = || WorkerOptions::new(QUEUE).register_activities(world.clone()).register_workflow::<Months>().unwrap().build();
    let body = async |test: &TestEnvironment| {
        test.client().start_workflow(Months::run, 0usize, start("months")).await?.get_result(result()).await?;
        Ok(())
    };
    let failed = TestEnvironment::builder().run(worker, body).await.expect_err("the test does not know the workflow");
    assert!(failed.reason.contains("the history of `months` cannot be replayed: the test does not know `Months`"), "{}", failed.reason);
    let passed = TestEnvironment::builder().without_replay().run(worker, body).await.unwrap();
    assert_eq!((passed.runs, passed.replayed), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_environment_replays_what_is_asked_for() {
    let world = World::default();
    let told = TestEnvironment::builder()
        .workflow::<Months>()
        .workflow::<Fickle>()
        .without_replay()
        .run(
            || worker(&world),
            async |test| {
                assert_eq!(test.replay::<Months>().await?, 0);
                for id in ["one", "two"] {
                    test.client().start_workflow(Months::run, 0usize, start(id)).await?.get_result(result()).await?;
                }
                assert_eq!(test.replay::<Months>().await?, 2);
                test.client().start_workflow(Fickle::run, (), start("fickle")).await?.get_result(result()).await?;
                assert_eq!(test.replay::<Months>().await?, 2);
                let error = test.replay::<Fickle>().await.expect_err("a replay takes the other turn").to_string();
                assert!(error.contains("`fickle`") && error.contains("nondeterminis"), "{error}");
                Ok(())
            },
        )
        .await;
    told.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_panics_or_hangs_fails() {
    let world = World::default();
    let panics = months().run(|| worker(&world), async |_| panic!("at the disco")).await;
    assert_eq!(panics.expect_err("it panics").reason, "it panicked: at the disco");
    let patience = Duration::from_millis(300);
    let hangs = months().patience(patience).run(|| worker(&world), async |_| std::future::pending().await).await;
    assert_eq!(hangs.expect_err("it hangs").reason, "it hangs: it has not ended after 300ms");
}

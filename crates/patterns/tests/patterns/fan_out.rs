//! Fan-outs: bounds, policies, order, trees, deaths.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use sempre_embedded::testing::TestEnvironment;
use sempre_patterns::{
    fan_out::{FanOut, Gauge, Outcomes, Policy, Progress, batches},
    idempotent::Class,
};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    WorkflowCancelOptions, WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowQueryOptions, WorkflowStartOptions,
    errors::WorkflowGetResultError,
};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, WorkerOptions, WorkflowContext, WorkflowContextView, WorkflowResult,
    activities::{ActivityContext, ActivityError},
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
};

use crate::life::{Lived, Outcome, QUEUE, half_came_about, with_deaths};

/// Which numbers there are, which are bad, and what that means.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Job {
    numbers: Vec<u64>,
    bad: Vec<u64>,
    running_max: usize,
    /// `None`: fail fast.
    at_least: Option<usize>,
}

impl Job {
    fn policy(&self) -> Policy {
        match self.at_least {
            None => Policy::FailFast,
            Some(0) => Policy::CollectAll,
            Some(enough) => Policy::AtLeast(enough),
        }
    }
}

#[derive(Default)]
struct Seen {
    running: usize,
    running_most: usize,
    times: BTreeMap<u64, usize>,
}

#[derive(Clone, Default)]
struct Works {
    seen: Arc<Mutex<Seen>>,
}

#[activities]
impl Works {
    /// Doubles, unless the number is bad.
    #[activity]
    async fn double(self: Arc<Self>, ctx: ActivityContext, (n, bad): (u64, bool)) -> Result<u64, ActivityError> {
        {
            let mut seen = self.seen.lock().unwrap();
            seen.running += 1;
            seen.running_most = seen.running_most.max(seen.running);
            *seen.times.entry(n).or_default() += 1;
        }
        // The higher come back first.
        let pause = tokio::time::sleep(Duration::from_millis(20u64.saturating_sub(n % 20)));
        let cancelled = tokio::select! {
            () = pause => false,
            () = ctx.cancelled() => true,
        };
        self.seen.lock().unwrap().running -= 1;
        match cancelled {
            true => Err(ActivityError::cancelled()),
            false if bad => Err(Class::BusinessRule.error(format!("{n} is bad"))),
            false => Ok(2 * n),
        }
    }
}

fn attempt() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(Duration::from_secs(10))
}

#[workflow]
#[derive(Default)]
struct Doubles;

#[workflow_methods]
impl Doubles {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, job: Job) -> WorkflowResult<Outcomes<u64>> {
        let items: Vec<_> = job.numbers.iter().map(|n| (*n, job.bad.contains(n))).collect();
        Ok(FanOut::new(job.running_max).policy(job.policy()).activities(ctx, Works::double, items, attempt()).await?)
    }
}

/// A child for each five numbers; the sum of the doubles.
#[workflow]
#[derive(Default)]
struct Tree {
    gauge: Gauge,
}

#[workflow_methods]
impl Tree {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, job: Job) -> WorkflowResult<u64> {
        let gauge = ctx.state(|tree| tree.gauge.clone());
        let part = |numbers| Job { numbers, ..job.clone() };
        let parts: Vec<_> = batches(job.numbers.clone(), 5).into_iter().map(part).collect();
        let id = ctx.workflow_id().to_owned();
        let fan = FanOut::new(2).gauge(&gauge);
        let sums = fan.children(ctx, Doubles::run, parts, ChildWorkflowOptions::default(), |place| format!("{id}/{place}")).await?;
        Ok(sums.values().flat_map(Outcomes::values).sum())
    }

    #[query]
    fn progress(&self, _ctx: &WorkflowContextView) -> Progress {
        self.gauge.read()
    }
}

/// A child for each five numbers, which fails with the first bad one; what that means here, the job says.
#[workflow]
#[derive(Default)]
struct Parts;

#[workflow_methods]
impl Parts {
    #[run]
    async fn run(ctx: &mut WorkflowContext<Self>, job: Job) -> WorkflowResult<Outcomes<Outcomes<u64>>> {
        let part = |numbers| Job { numbers, at_least: None, ..job.clone() };
        let parts: Vec<_> = batches(job.numbers.clone(), 5).into_iter().map(part).collect();
        let id = ctx.workflow_id().to_owned();
        let fan = FanOut::new(job.running_max).policy(job.policy());
        Ok(fan.children(ctx, Doubles::run, parts, ChildWorkflowOptions::default(), |place| format!("{id}/{place}")).await?)
    }
}

fn options(works: &Works) -> WorkerOptions {
    let options = WorkerOptions::new(QUEUE).max_cached_workflows(0).register_activities(works.clone());
    let options = options.register_workflow::<Doubles>().unwrap().register_workflow::<Tree>().unwrap();
    options.register_workflow::<Parts>().unwrap().build()
}

fn job(numbers: impl IntoIterator<Item = u64>, bad: &[u64], at_least: Option<usize>) -> Job {
    Job { numbers: numbers.into_iter().collect(), bad: bad.to_vec(), running_max: 7, at_least }
}

async fn doubles(job: Job) -> Outcome<(Result<Outcomes<u64>, WorkflowGetResultError>, Seen)> {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    let handle = test.client().start_workflow(Doubles::run, job, WorkflowStartOptions::new(QUEUE, "doubles").build()).await?;
    let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await) };
    let Lived { value: ended, .. } = with_deaths(&test, &[], || options(&works), body).await?;
    let replayer = WorkflowReplayer::new(WorkflowReplayerOptions::new().register_workflow::<Doubles>()?.build())?;
    replayer.replay_workflow(handle.fetch_history(WorkflowFetchHistoryOptions::default())).await?;
    test.shutdown().await;
    Ok((ended, std::mem::take(&mut works.seen.lock().unwrap())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_run_at_a_time_and_results_are_in_order() -> Outcome {
    let (ended, seen) = doubles(job(0..60, &[], None)).await?;
    assert_eq!(ended?.values().copied().collect::<Vec<_>>(), (0..60).map(|n| 2 * n).collect::<Vec<_>>());
    assert!((2..=7).contains(&seen.running_most), "{}", seen.running_most);
    assert!(seen.times.values().all(|times| *times == 1));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_failure_ends_it_or_all_have_their_turn_or_enough_do() -> Outcome {
    let (ended, seen) = doubles(job(0..60, &[10, 11], None)).await?;
    let error = ended.unwrap_err().to_string();
    assert!(error.contains(" is bad") && error.contains("of 60 done"), "{error}");
    assert!(seen.times.len() < 30, "what has not begun does not: {}", seen.times.len());

    let (ended, seen) = doubles(job(0..20, &[3, 4], Some(0))).await?;
    let outcomes = ended?;
    assert_eq!(outcomes.failures().collect::<Vec<_>>(), [(3, "3 is bad"), (4, "4 is bad")]);
    assert_eq!((outcomes.values().count(), seen.times.len()), (18, 20));

    let (ended, _) = doubles(job(0..20, &[3, 4], Some(18))).await?;
    assert_eq!(ended?.values().count(), 18);
    let (ended, _) = doubles(job(0..20, &[3, 4], Some(19))).await?;
    assert!(ended.is_err());
    let (ended, seen) = doubles(job(0..20, &[], Some(21))).await?;
    assert!(ended.is_err() && seen.times.is_empty());
    let (ended, _) = doubles(job([], &[], None)).await?;
    assert!(ended?.of.is_empty());
    Ok(())
}

/// Three children of five numbers. `before`: something that is there before they are.
async fn parts(
    bad: &[u64],
    at_least: Option<usize>,
    before: impl AsyncFn(&TestEnvironment) -> Outcome,
) -> Outcome<Result<Outcomes<Outcomes<u64>>, WorkflowGetResultError>> {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    before(&test).await?;
    let start = WorkflowStartOptions::new(QUEUE, "parts").build();
    let handle = test.client().start_workflow(Parts::run, job(0..15, bad, at_least), start).await?;
    let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await) };
    let Lived { value: ended, .. } = with_deaths(&test, &[], || options(&works), body).await?;
    test.shutdown().await;
    Ok(ended)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_fails_counts_as_an_item_that_failed() -> Outcome {
    let nothing = async |_: &TestEnvironment| -> Outcome { Ok(()) };
    let places = |outcomes: &Outcomes<Outcomes<u64>>| outcomes.failures().map(|(place, why)| (place, why.to_owned())).collect::<Vec<_>>();

    let outcomes = parts(&[7], Some(0), nothing).await??;
    let sums: Vec<u64> = outcomes.values().map(|part| part.values().sum()).collect();
    assert_eq!(sums, [20, 120]);
    let failed = places(&outcomes);
    assert!(matches!(failed.as_slice(), [(1, why)] if why.contains("7 is bad")), "{failed:?}");

    assert_eq!(parts(&[7], Some(2), nothing).await??.values().count(), 2);
    for at_least in [Some(3), None] {
        let error = parts(&[7], at_least, nothing).await?.unwrap_err().to_string();
        assert!(error.contains("1 failed") && error.contains("item 1: ") && error.contains("7 is bad"), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_cannot_start_counts_as_an_item_that_failed() -> Outcome {
    let taken = async |test: &TestEnvironment| -> Outcome {
        let options = WorkflowStartOptions::new("a queue that nobody polls", "parts/1").build();
        test.client().start_workflow(Doubles::run, job([], &[], None), options).await?;
        Ok(())
    };
    let outcomes = parts(&[], Some(0), taken).await??;
    let failed: Vec<_> = outcomes.failures().collect();
    assert!(matches!(failed.as_slice(), [(1, why)] if why.contains("parts/1") && why.contains("AlreadyExists")), "{failed:?}");
    assert_eq!(outcomes.values().count(), 2);
    assert!(parts(&[], None, taken).await?.unwrap_err().to_string().contains("item 1: "));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_comes_to_its_end_wherever_the_worker_dies() -> Outcome {
    let run = async |deaths: &[usize]| -> Outcome<(Vec<String>, usize)> {
        let (test, works) = (TestEnvironment::start().await?, Works::default());
        let handle =
            test.client().start_workflow(Tree::run, job(0..15, &[], None), WorkflowStartOptions::new(QUEUE, "tree").build()).await?;
        let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await?) };
        let Lived { value: sum, points, deaths: died } = with_deaths(&test, deaths, || options(&works), body).await?;
        assert_eq!(sum, 210);
        test.shutdown().await;
        Ok((points, died))
    };
    let (points, _) = run(&[]).await?;
    // Each point of the first tenth and the last, and every fourth between: they are all alike.
    let (first, last) = (points.len() / 10, points.len() - points.len() / 10);
    let chosen: Vec<_> = (0..points.len()).filter(|point| *point < first || *point >= last || point % 4 == 0).collect();
    let mut died = 0;
    for point in chosen.iter().copied() {
        died += run(&[point]).await.map_err(|error| format!("death {} ({point}): {error}", points[point]))?.1;
    }
    // Children run beside each other, so a run may have some points fewer than the first.
    println!("{died} deaths at {} of {} points", chosen.len(), points.len());
    half_came_about(died, chosen.len(), "deaths");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_tree_cancels_its_children_and_says_how_far_it_was() -> Outcome {
    let (test, works) = (TestEnvironment::start().await?, Works::default());
    let handle = test.client().start_workflow(Tree::run, job(0..500, &[], None), WorkflowStartOptions::new(QUEUE, "tree").build()).await?;
    let body = async {
        loop {
            let progress = handle.query(Tree::progress, (), WorkflowQueryOptions::default()).await?;
            assert!(progress.total == 100 && progress.running <= 2 && progress.failed == 0, "{progress}");
            if progress.done >= 3 {
                break;
            }
        }
        handle.cancel(WorkflowCancelOptions::default()).await?;
        Ok(handle.get_result(WorkflowGetResultOptions::default()).await)
    };
    let Lived { value: ended, .. } = with_deaths(&test, &[], || options(&works), body).await?;
    let Err(WorkflowGetResultError::Cancelled { details }) = ended else { panic!("{ended:?}") };
    let progress = details.deserialize::<Progress>()?;
    assert!(progress.total == 100 && (3..100).contains(&progress.done) && progress.running == 0, "{progress}");
    assert!(works.seen.lock().unwrap().times.len() < 500);
    Ok(())
}

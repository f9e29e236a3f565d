//! Sagas whose worker dies between any two events.

use std::time::Duration;

use sempre_embedded::testing::TestEnvironment;
use sempre_patterns::{
    idempotent::Key,
    saga::{Report, Saga, SagaOptions},
};
use serde::{Deserialize, Serialize};
use temporalio_client::{
    WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHistory, WorkflowStartOptions, errors::WorkflowGetResultError,
};
use temporalio_common::protos::temporal::api::history::v1::{HistoryEvent, history_event::Attributes};
use temporalio_macros::{workflow, workflow_methods};
use temporalio_sdk::{
    ApplicationFailure, WorkerOptions, WorkflowContext, WorkflowResult,
    workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions},
    workflows,
};

use crate::{
    life::{Lived, Outcome, QUEUE, everywhere, half_came_about, with_deaths},
    world::{Ask, Fails, World},
};

/// What goes wrong in a trip.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// Longest attempt of an activity.
    pub(crate) attempt: Duration,
    /// The step that fails, and when.
    pub(crate) fails: Option<(String, Fails)>,
    /// The step whose compensation fails for good.
    pub(crate) stuck: Option<String>,
    /// The step whose compensation fails twice before it works.
    pub(crate) slow: Option<String>,
    /// The step at whose effect the workflow is cancelled.
    pub(crate) cancelled_at: Option<String>,
    /// The step at whose compensation the workflow is cancelled.
    pub(crate) cancelled_at_undo: Option<String>,
    /// The step that has no compensation.
    pub(crate) bare: Option<String>,
    /// The customer does not want it after all.
    pub(crate) gives_up: bool,
}

pub(crate) const SMOOTH: Plan = Plan {
    attempt: Duration::from_secs(10),
    fails: None,
    stuck: None,
    slow: None,
    cancelled_at: None,
    cancelled_at_undo: None,
    bare: None,
    gives_up: false,
};

#[workflow]
#[derive(Default)]
pub struct Trip;

/// A hotel; flight and car beside each other; a ticket.
#[workflow_methods]
impl Trip {
    #[run]
    pub async fn run(ctx: &mut WorkflowContext<Self>, plan: Plan) -> WorkflowResult<Vec<String>> {
        let done = Saga::run(ctx, SagaOptions::new(plan.attempt), async |saga| {
            let step = async |name: &str| {
                let key = Key::of_run(ctx, name);
                let fails = plan.fails.as_ref().filter(|(step, _)| step == name).map_or(Fails::Never, |(_, when)| *when);
                let undo_fails = match Some(name) {
                    name if plan.stuck.as_deref() == name => Fails::BeforeItsEffect,
                    name if plan.slow.as_deref() == name => Fails::Twice,
                    _ => Fails::Never,
                };
                let cancels = plan.cancelled_at.as_deref() == Some(name);
                let ask = Ask { key, step: name.to_owned(), fails, cancels };
                let undo = Ask { fails: undo_fails, cancels: plan.cancelled_at_undo.as_deref() == Some(name), ..ask.clone() };
                let step = saga.step(name);
                let step = if plan.bare.as_deref() == Some(name) { step } else { step.undo_by(World::undo, undo) };
                step.run(World::act, ask).await
            };
            let hotel = step("hotel").await?;
            let (flight, car) = workflows::join!(step("flight"), step("car"));
            let (flight, car) = (flight?, car?);
            if plan.gives_up {
                return Err(ApplicationFailure::new("it rains there").into());
            }
            let ticket = step("ticket").await?;
            Ok(vec![hotel, flight, car, ticket])
        });
        Ok(done.await?.value)
    }
}

fn options(world: &World) -> WorkerOptions {
    // No cache: each task is a replay from the first event.
    WorkerOptions::new(QUEUE).max_cached_workflows(0).register_activities(world.clone()).register_workflow::<Trip>().unwrap().build()
}

pub(crate) struct Ended {
    pub(crate) result: Result<Vec<String>, WorkflowGetResultError>,
    pub(crate) effects: Vec<String>,
    pub(crate) points: Vec<String>,
    pub(crate) deaths: usize,
    pub(crate) events: Vec<HistoryEvent>,
}

async fn run(plan: &Plan, deaths: &[usize]) -> Outcome<Ended> {
    let test = TestEnvironment::start().await?;
    let world = World::new();
    let start = WorkflowStartOptions::new(QUEUE, "trip").build();
    let handle = test.client().start_workflow(Trip::run, plan.clone(), start).await?;
    let body = async { Ok(handle.get_result(WorkflowGetResultOptions::default()).await) };
    let Lived { value: result, points, deaths: died } = with_deaths(&test, deaths, || options(&world), body).await?;
    let history = || handle.fetch_history(WorkflowFetchHistoryOptions::default());
    replay(history()).await?;
    let ended = Ended { result, effects: world.effects(), points, deaths: died, events: history().into_events().await? };
    test.shutdown().await;
    Ok(ended)
}

/// Either all, or each that was begun is undone; nothing twice; undone in reverse; and the report says so.
pub(crate) fn check(plan: &Plan, ended: &Ended) {
    let effects = &ended.effects;
    let count = |what: String| effects.iter().filter(|effect| **effect == what).count();
    let place = |what: String| effects.iter().position(|effect| *effect == what);
    let report = ended.result.as_ref().err().map(|error| Report::of(error).unwrap_or_else(|| panic!("no report in {error:?}")));
    for step in ["hotel", "flight", "car", "ticket"] {
        let (done, undone) = (count(format!("do {step}")), count(format!("undo {step}")));
        let stuck = plan.stuck.as_deref() == Some(step);
        match &report {
            None => assert_eq!((done, undone), (1, 0), "{step}: {effects:?}"),
            Some(report) => {
                assert_eq!(undone, if stuck { 0 } else { done }, "{step}: {effects:?}");
                assert!(done <= 1, "{step}: {effects:?}");
                let begun = report.steps.iter().any(|it| it.step == step);
                assert_eq!(report.undone().any(|it| it == step), begun && !stuck, "{step}: {report:?}");
                assert_eq!(report.not_undone().any(|it| it == step), begun && stuck, "{step}: {report:?}");
                assert!(begun || done == 0, "{step} has an effect and is not in {report:?}");
            }
        }
    }
    let undone = |step: &str| place(format!("undo {step}"));
    let order: Vec<_> = ["ticket", "car", "flight", "hotel"].into_iter().filter_map(undone).collect();
    assert!(order.is_sorted(), "{effects:?}");
}

/// Of a run whose worker lived: what it has written into the history it has written at points.
fn every_answer_is_a_point(ended: &Ended) {
    let answers = ended.events.iter().filter(|event| {
        matches!(
            event.attributes,
            Some(
                Attributes::WorkflowTaskCompletedEventAttributes(_)
                    | Attributes::ActivityTaskCompletedEventAttributes(_)
                    | Attributes::ActivityTaskFailedEventAttributes(_)
                    | Attributes::ActivityTaskCanceledEventAttributes(_)
            )
        )
    });
    let (answers, points) = (answers.count(), ended.points.iter().filter(|point| point.starts_with("before Respond")).count());
    assert!(answers > 0 && points >= answers, "{answers} answers at {points} points: {:?}", ended.points);
}

/// A worker that dies at each point in turn, and then at pairs of them.
async fn dies_everywhere(plan: &Plan) -> Outcome<Ended> {
    let smooth = run(plan, &[]).await?;
    check(plan, &smooth);
    every_answer_is_a_point(&smooth);
    let died = everywhere(&smooth.points, async |point| {
        let ended = run(plan, &[point]).await?;
        check(plan, &ended);
        assert_eq!(ended.result.is_ok(), smooth.result.is_ok(), "death at {point}: {:?}", ended.result);
        if ended.deaths == 0 {
            every_answer_is_a_point(&ended);
        }
        Ok(ended.deaths == 1)
    });
    let died = died.await?;
    // The second dies as far into what is left as the first: pairs at every distance from the beginning.
    let (mut pairs, mut both) = (0, 0);
    for point in (0..smooth.points.len()).step_by(3) {
        let ended = run(plan, &[point, point / 2]).await.map_err(|error| format!("deaths at {point}, {}: {error}", point / 2))?;
        check(plan, &ended);
        (pairs, both) = (pairs + 1, both + usize::from(ended.deaths == 2));
    }
    // Where the first died late, what is left has not so many points that the second dies too.
    half_came_about(both, pairs, "pairs of deaths");
    println!("{} events, {died} deaths at {} points, {both} of {pairs} pairs of them: {plan:?}", smooth.events.len(), smooth.points.len());
    Ok(smooth)
}

/// The official replayer finds nothing to complain of.
async fn replay(history: WorkflowHistory) -> Outcome {
    let replayer = WorkflowReplayer::new(WorkflowReplayerOptions::new().register_workflow::<Trip>()?.build())?;
    Ok(replayer.replay_workflow(history).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_steps_are_done_once_wherever_the_worker_dies() -> Outcome {
    let ended = dies_everywhere(&SMOOTH).await?;
    assert_eq!(ended.result.unwrap(), ["hotel!", "flight!", "car!", "ticket!"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn begun_steps_are_undone_once_wherever_the_worker_dies() -> Outcome {
    for when in [Fails::BeforeItsEffect, Fails::AfterItsEffect] {
        let plan = Plan { fails: Some(("ticket".into(), when)), ..SMOOTH };
        let ended = dies_everywhere(&plan).await?;
        let error = ended.result.unwrap_err();
        assert!(error.to_string().contains("step `ticket`: "), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_steps_beside_each_other_fails_and_a_compensation_that_is_stuck_stops_no_other() -> Outcome {
    let plan = Plan { fails: Some(("flight".into(), Fails::AfterItsEffect)), stuck: Some("car".into()), ..SMOOTH };
    let ended = dies_everywhere(&plan).await?;
    let error = ended.result.unwrap_err();
    let report = Report::of(&error).unwrap();
    assert_eq!(report.to_string(), "done: car; undone: hotel, flight; not undone: car");
    assert_eq!(ended.effects.last().unwrap(), "undo hotel");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compensation_that_fails_is_tried_again_until_it_works() -> Outcome {
    let plan = Plan { fails: Some(("ticket".into(), Fails::BeforeItsEffect)), slow: Some("flight".into()), ..SMOOTH };
    let ended = dies_everywhere(&plan).await?;
    let report = Report::of(&ended.result.unwrap_err()).unwrap();
    assert_eq!(report.undone().collect::<Vec<_>>(), ["hotel", "flight", "car", "ticket"]);
    let attempts = ended.events.iter().filter_map(|event| match &event.attributes {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
        _ => None,
    });
    assert_eq!(attempts.filter(|attempt| *attempt > 1).collect::<Vec<_>>(), [3]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_workflow_undoes_and_is_cancelled() -> Outcome {
    let plan = Plan { cancelled_at: Some("car".into()), ..SMOOTH };
    let ended = dies_everywhere(&plan).await?;
    assert!(matches!(ended.result, Err(WorkflowGetResultError::Cancelled { .. })), "{:?}", ended.result);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_is_cancelled_while_it_undoes_goes_on_undoing() -> Outcome {
    let plan = Plan { fails: Some(("ticket".into(), Fails::AfterItsEffect)), cancelled_at_undo: Some("ticket".into()), ..SMOOTH };
    let ended = dies_everywhere(&plan).await?;
    let asked =
        ended.events.iter().position(|it| matches!(it.attributes, Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(_))));
    let scheduled = ended.events.iter().rposition(|it| matches!(it.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(_))));
    assert!(asked.is_some() && asked < scheduled, "what it undoes it undoes after the cancellation: {asked:?}, {scheduled:?}");
    // It did not fail by the cancellation.
    let error = ended.result.unwrap_err();
    assert!(matches!(error, WorkflowGetResultError::Failed(_)) && error.to_string().contains("step `ticket`: "), "{error}");
    let report = Report::of(&error).unwrap();
    assert_eq!(report.undone().collect::<Vec<_>>(), ["hotel", "flight", "car", "ticket"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_that_failed_and_has_no_compensation_is_told_as_unknown() -> Outcome {
    let plan = Plan { fails: Some(("ticket".into(), Fails::AfterItsEffect)), bare: Some("ticket".into()), ..SMOOTH };
    let ended = run(&plan, &[]).await?;
    let error = ended.result.unwrap_err();
    let report = Report::of(&error).unwrap();
    assert_eq!(report.to_string(), "done: nothing; undone: hotel, flight, car; unknown: ticket");
    assert!(error.to_string().contains("unknown: ticket"), "{error}");
    // It has had its effect, and nobody has undone it.
    let of_ticket: Vec<_> = ended.effects.iter().filter(|effect| effect.ends_with("ticket")).collect();
    assert_eq!(of_ticket, ["do ticket"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_gives_up_is_undone() -> Outcome {
    let plan = Plan { gives_up: true, ..SMOOTH };
    let ended = run(&plan, &[]).await?;
    check(&plan, &ended);
    let error = ended.result.unwrap_err().to_string();
    assert!(error.contains("it rains there; done: nothing; undone: hotel, flight, car"), "{error}");
    let undone = ended.events.iter().filter(|event| matches!(&event.attributes, Some(Attributes::ActivityTaskScheduledEventAttributes(it)) if it.activity_type.as_ref().is_some_and(|it| it.name.ends_with("undo"))));
    assert_eq!(undone.count(), 3);
    Ok(())
}

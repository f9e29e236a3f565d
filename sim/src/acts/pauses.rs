//! Pauses of runs; whoever pauses one sees to it that it goes on.

use std::sync::Arc;

use futures::FutureExt;
use sempre_api::v1::workflowservice::{
    PauseWorkflowExecutionRequest, UnpauseActivityRequest, UnpauseWorkflowExecutionRequest, unpause_activity_request,
};
use sempre_core::Span;

use super::{ask, execution};
use crate::{
    ending,
    executor::WORLD,
    network::Call,
    random::Random,
    world::{CALLERS, NAMESPACE, World, lock},
};

/// Rounds in which whoever mends a healed world looks for what is paused.
const ROUNDS: u64 = 4;

pub(crate) async fn pause(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    lock(&world.oracle).paused.insert(workflow.to_owned());
    let request = PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: workflow.into(),
        run_id: run.into(),
        identity: "operator".into(),
        reason: "simulated".into(),
        request_id: format!("pause-{workflow}-{k}"),
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("pause", move |engine| {
            let request = request.clone();
            async move { engine.pause_workflow(request).await }
        })
    })
    .await;
    let pause = Span::millis(random.between(1, 15_000) as i64);
    world.time.sleep(pause).await;
    unpause(world, random, workflow, run, &format!("unpause-{workflow}-{k}")).await;
}

async fn unpause(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, request_id: &str) {
    let request = UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: workflow.into(),
        run_id: run.into(),
        identity: "operator".into(),
        reason: "simulated".into(),
        request_id: request_id.into(),
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("unpause", move |engine| {
            let request = request.clone();
            async move { engine.unpause_workflow(request).await }
        })
    })
    .await;
}

/// Once all is healed, what somebody has paused goes on: its pause may have been done without an answer.
pub(crate) fn mend(world: &Arc<World>) {
    let mut random = Random::new(world.plan.seed, CALLERS + 900);
    let at = world.clone();
    let task = async move {
        for round in 0..ROUNDS {
            let paused: Vec<String> = lock(&at.oracle).paused.iter().cloned().collect();
            for workflow in paused {
                let runs = ending::runs_of(&at, &execution(&workflow, ""));
                for run in runs.iter().filter(|run| run.open) {
                    unpause(&at, &mut random, &workflow, &run.id, &format!("mend-{round}")).await;
                    unpause_activities(&at, &mut random, &workflow, &run.id).await;
                }
            }
            at.time.sleep(Span::seconds(30)).await;
        }
    };
    world.executor.spawn(WORLD, "mender", task.boxed());
}

pub(super) async fn unpause_activities(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str) {
    let request = UnpauseActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(workflow, run)),
        identity: "operator".into(),
        activity: Some(unpause_activity_request::Activity::UnpauseAll(true)),
        ..Default::default()
    };
    ask(world, random, || {
        let request = request.clone();
        Call::new("unpause activities", move |engine| {
            let request = request.clone();
            async move { engine.unpause_activity(request).await }
        })
    })
    .await;
}

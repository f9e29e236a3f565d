//! What clients and operators do to workflows beyond starts, signals and ends: a file for each family of calls.

use std::sync::Arc;

use sempre_api::v1::common::WorkflowExecution;
use sempre_core::Span;

use crate::{
    network::{Answer, Call, call},
    random::Random,
    world::World,
};

pub(crate) mod activities;
pub(crate) mod batches;
pub(crate) mod feed;
pub(crate) mod flow;
pub(crate) mod pauses;
pub(crate) mod resets;
pub(crate) mod schedules;
pub(crate) mod updates;

/// Tries of a call whose fate is unknown; then it stays unknown.
const TRIES: u64 = 8;

pub(crate) fn execution(workflow: &str, run: &str) -> WorkflowExecution {
    WorkflowExecution { workflow_id: workflow.into(), run_id: run.into() }
}

/// Asks until there is an answer, or the patience is over.
pub(crate) async fn ask<T: Send + 'static>(world: &Arc<World>, random: &mut Random, make: impl Fn() -> Call<T>) -> Answer<T> {
    for _ in 0..TRIES {
        match call(world, random, make()).await {
            Answer::Refused(refusal) if refusal.may_pass() => {}
            Answer::Unknown => {}
            known => return known,
        }
        if random.permille(150) {
            return Answer::Unknown;
        }
        let pause = Span::millis(random.between(20, 3000) as i64);
        world.time.sleep(pause).await;
    }
    Answer::Unknown
}

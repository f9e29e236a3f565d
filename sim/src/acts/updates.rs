//! Updates: what a client is told of one, and polls for what came of it.

use std::sync::Arc;

use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    update::{Input, Meta, Outcome, Request, UpdateRef, WaitPolicy, outcome::Value},
    workflowservice::*,
};
use sempre_core::Span;

use super::{ask, execution};
use crate::{
    network::{Answer, Call},
    oracle::{Said, Update},
    random::Random,
    script::{payloads, text_of},
    worker::missing,
    world::{NAMESPACE, World, lock},
};

/// How long the caller of an update waits.
const PATIENCE: Span = Span::seconds(10);

/// The request of an update; its input is its marker.
pub(crate) fn request(id: &str) -> Request {
    Request {
        meta: Some(Meta { update_id: id.into(), identity: "client".into() }),
        input: Some(Input { name: "handler".into(), args: Some(payloads(&marker(id))), header: None }),
        ..Default::default()
    }
}

fn marker(id: &str) -> String {
    format!("<{id}>")
}

pub(crate) fn said(outcome: Option<&Outcome>) -> Option<Said> {
    Some(match outcome?.value.as_ref()? {
        Value::Success(payloads) => Said::Success(text_of(Some(payloads))),
        Value::Failure(failure) => Said::Failure(failure.message.clone()),
    })
}

/// What an answer says must be durable when it leaves.
pub(crate) fn unjustified(world: &World, reference: Option<&UpdateRef>, stage: i32, outcome: Option<&Outcome>) -> Option<String> {
    let reference = reference?;
    let execution = reference.workflow_execution.as_ref()?;
    match said(outcome) {
        Some(Said::Success(text)) => missing(world, execution, &text),
        Some(Said::Failure(_)) => None,
        None if stage >= Stage::Accepted as i32 => missing(world, execution, &marker(&reference.update_id)),
        None => None,
    }
}

pub(crate) fn note(world: &World, workflow: &str, reference: Option<&UpdateRef>, stage: i32, outcome: Option<&Outcome>) {
    let Some(reference) = reference else { return };
    let run = reference.workflow_execution.as_ref().map(|execution| execution.run_id.clone()).unwrap_or_default();
    let said = said(outcome);
    world.tell(format_args!("update {} of {workflow} {run}: stage {stage}, {said:?}", reference.update_id));
    let accepted = stage >= Stage::Accepted as i32;
    lock(&world.oracle).updates.push(Update { workflow: workflow.into(), run, id: reference.update_id.clone(), accepted, said });
}

/// One update, and perhaps polls for its outcome.
pub(crate) async fn update(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let id = format!("upd-{workflow}-{k}");
    let stage = if random.permille(500) { Stage::Accepted } else { Stage::Completed };
    let wait = Some(WaitPolicy { lifecycle_stage: stage as i32 });
    let asked = UpdateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow, run)),
        wait_policy: wait,
        request: Some(request(&id)),
        ..Default::default()
    };
    let answer = ask(world, random, || {
        let (asked, at, clock) = (asked.clone(), world.clone(), world.clone());
        Call::new("update", move |engine| {
            let (asked, deadline) = (asked.clone(), clock.time.server_deadline(PATIENCE));
            async move { engine.update_workflow(asked, Some(deadline)).await }
        })
        .looked(move |done: &UpdateWorkflowExecutionResponse| unjustified(&at, done.update_ref.as_ref(), done.stage, done.outcome.as_ref()))
    })
    .await;
    let Answer::Done(done) = answer else { return };
    note(world, workflow, done.update_ref.as_ref(), done.stage, done.outcome.as_ref());
    if !random.permille(400) {
        return;
    }
    let polled = PollWorkflowExecutionUpdateRequest {
        namespace: NAMESPACE.into(),
        update_ref: done.update_ref,
        wait_policy: Some(WaitPolicy { lifecycle_stage: Stage::Completed as i32 }),
        ..Default::default()
    };
    let answer = ask(world, random, || {
        let (polled, at, clock) = (polled.clone(), world.clone(), world.clone());
        Call::new("poll update", move |engine| {
            let (polled, deadline) = (polled.clone(), clock.time.server_deadline(PATIENCE));
            async move { engine.poll_update(polled, Some(deadline)).await }
        })
        .looked(move |done: &PollWorkflowExecutionUpdateResponse| {
            unjustified(&at, done.update_ref.as_ref(), done.stage, done.outcome.as_ref())
        })
    })
    .await;
    if let Answer::Done(done) = answer {
        note(world, workflow, done.update_ref.as_ref(), done.stage, done.outcome.as_ref());
    }
}

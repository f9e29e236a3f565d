//! Resets of runs to one of their workflow tasks.

use std::sync::Arc;

use sempre_api::v1::{
    enums::ResetReapplyExcludeType,
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::{GetWorkflowExecutionHistoryRequest, ResetWorkflowExecutionRequest, ResetWorkflowExecutionResponse},
};
use sempre_engine::HistoryReader;

use super::{ask, execution};
use crate::{
    network::{Answer, Call},
    oracle::Asked,
    random::Random,
    worker::missing,
    world::{NAMESPACE, World, lock},
};

/// Events before which a run may be cut.
fn is_point(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            Attributes::WorkflowTaskCompletedEventAttributes(_)
                | Attributes::WorkflowTaskFailedEventAttributes(_)
                | Attributes::WorkflowTaskTimedOutEventAttributes(_)
        )
    )
}

/// Resets the run that is named to one of its tasks.
pub(crate) async fn reset(world: &Arc<World>, random: &mut Random, workflow: &str, run: &str, k: u64) {
    let read =
        GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: Some(execution(workflow, run)), ..Default::default() };
    let answer = ask(world, random, || {
        let read = read.clone();
        Call::new("history", move |engine| {
            let read = read.clone();
            async move { engine.get_history(read, HistoryReader::default(), None).await }
        })
    })
    .await;
    let Answer::Done(page) = answer else { return };
    let events = page.history.map(|history| history.events().unwrap_or_default()).unwrap_or_default();
    let points: Vec<i64> = events.iter().filter(|event| is_point(event)).map(|event| event.event_id).collect();
    let Some(point) = random.pick(&points).copied() else { return };
    let marker = format!("<res-{workflow}-{k}>");
    let mut asked = Asked {
        workflow: workflow.into(),
        run: None,
        marker: marker.clone(),
        request_id: format!("reset-{workflow}-{k}"),
        acknowledged: false,
    };
    let exclude = if random.permille(300) { vec![ResetReapplyExcludeType::Signal as i32] } else { Vec::new() };
    let request = ResetWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow, run)),
        reason: marker.clone(),
        workflow_task_finish_event_id: point,
        request_id: asked.request_id.clone(),
        reset_reapply_exclude_types: exclude,
        identity: "operator".into(),
        ..Default::default()
    };
    lock(&world.oracle).reset.insert(workflow.to_owned());
    let answer = ask(world, random, || {
        let (request, at, workflow, marker) = (request.clone(), world.clone(), workflow.to_owned(), marker.clone());
        Call::new("reset", move |engine| {
            let request = request.clone();
            async move { engine.reset_workflow(request).await }
        })
        .looked(move |done: &ResetWorkflowExecutionResponse| missing(&at, &execution(&workflow, &done.run_id), &marker))
    })
    .await;
    if let Answer::Done(done) = answer {
        world.tell(format_args!("{workflow} {run} is reset to before {point}: {}", done.run_id));
        (asked.run, asked.acknowledged) = (Some(done.run_id), true);
    }
    lock(&world.oracle).resets.push(asked);
}

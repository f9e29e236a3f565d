//! The ledger held against the histories.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use sempre_api::v1::{
    common::WorkflowExecution,
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::DescribeWorkflowExecutionRequest,
};
use sempre_bench::api::{self, Client};
use tonic::Status;

use crate::{
    Failure,
    ledger::{Known, Ledger, workflow_id},
    work::{SIGNALS, activity_result, may_pass, outcome},
};

/// How long what may be tried again is: the shard of one run may go on later than the service.
const PATIENCE: Duration = Duration::from_secs(15);

/// Asks until there is an answer, or a refusal that no waiting mends.
async fn patiently<T>(ask: impl AsyncFn() -> Result<T, Status>) -> Result<T, Status> {
    let begun = Instant::now();
    loop {
        match ask().await {
            Err(status) if may_pass(&status) && begun.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(50)).await,
            done => return done,
        }
    }
}

/// Everything that was acknowledged for these workflows is in their histories, once.
pub(crate) async fn acknowledged(client: &Client, ledger: &Ledger, workflows: &[u64]) -> Result<(), Failure> {
    for &workflow in workflows {
        // What is known before the history is read must be in it.
        let known = ledger.known(workflow);
        let Some(run_id) = known.run_id.clone() else { continue };
        let id = workflow_id(workflow);
        let events = patiently(async || api::history(&mut client.clone(), &id, &run_id).await)
            .await
            .map_err(|status| format!("{id}: the acknowledged run {run_id} cannot be read: {status}"))?;
        heartbeat_kept(client, &known, &id, &run_id).await?;
        check(&known, &events).map_err(|problem| format!("{id} run {run_id}: {problem}\n{}", listing(&events)))?;
    }
    Ok(())
}

/// A pending activity still has the last acknowledged heartbeat, or a later one.
async fn heartbeat_kept(client: &Client, known: &Known, id: &str, run_id: &str) -> Result<(), Failure> {
    if known.heartbeat == 0 {
        return Ok(());
    }
    let request = DescribeWorkflowExecutionRequest {
        namespace: api::NAMESPACE.into(),
        execution: Some(WorkflowExecution { workflow_id: id.into(), run_id: run_id.into() }),
    };
    let described = patiently(async || client.clone().describe_workflow_execution(request.clone()).await).await?.into_inner();
    for activity in described.pending_activities {
        let kept: u64 = api::text(activity.heartbeat_details.as_ref()).parse().unwrap_or(0);
        if kept < known.heartbeat {
            return Err(format!("{id}: heartbeat {} was acknowledged, {kept} is kept", known.heartbeat).into());
        }
    }
    Ok(())
}

/// Every one of these workflows has completed with the right result.
pub(crate) async fn ended(client: &Client, ledger: &Ledger, workflows: &[u64]) -> Result<(), Failure> {
    for &workflow in workflows {
        let id = workflow_id(workflow);
        let run_id = ledger.known(workflow).run_id.ok_or_else(|| format!("{id}: its start was never acknowledged"))?;
        let events =
            patiently(async || api::history(&mut client.clone(), &id, &run_id).await).await.map_err(|status| format!("{id}: {status}"))?;
        let result = match events.last().and_then(|e| e.attributes.as_ref()) {
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(a)) => api::text(a.result.as_ref()),
            _ => return Err(format!("{id}: not completed\n{}", listing(&events)).into()),
        };
        if result != outcome(SIGNALS, &activity_result(workflow)) {
            return Err(format!("{id}: wrong result {result}\n{}", listing(&events)).into());
        }
    }
    Ok(())
}

fn check(known: &Known, events: &[HistoryEvent]) -> Result<(), String> {
    let mut signals: BTreeMap<&str, u32> = BTreeMap::new();
    let mut closings: BTreeMap<i64, u32> = BTreeMap::new();
    let mut starts: BTreeMap<i64, u32> = BTreeMap::new();
    let mut tasks = Vec::new();
    let mut completed = false;
    let mut closed_at = None;
    for (at, event) in events.iter().enumerate() {
        if event.event_id != at as i64 + 1 {
            return Err(format!("event id {} stands at place {}", event.event_id, at + 1));
        }
        match &event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(a)) => *signals.entry(&a.request_id).or_default() += 1,
            Some(Attributes::WorkflowTaskCompletedEventAttributes(a)) => tasks.push(a.started_event_id),
            Some(Attributes::ActivityTaskStartedEventAttributes(a)) => *starts.entry(a.scheduled_event_id).or_default() += 1,
            Some(Attributes::ActivityTaskCompletedEventAttributes(a)) => {
                completed = true;
                *closings.entry(a.scheduled_event_id).or_default() += 1;
            }
            Some(Attributes::ActivityTaskFailedEventAttributes(a)) => *closings.entry(a.scheduled_event_id).or_default() += 1,
            Some(Attributes::ActivityTaskTimedOutEventAttributes(a)) => *closings.entry(a.scheduled_event_id).or_default() += 1,
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(_)) => closed_at = Some(at + 1),
            _ => {}
        }
    }
    // While a worker has the workflow task, what arrives is kept (durably) in the buffer and is not yet history.
    let task_started = events.last().is_some_and(|e| matches!(e.attributes, Some(Attributes::WorkflowTaskStartedEventAttributes(_))));
    if let Some(id) = known.signals.iter().find(|id| !signals.contains_key(id.as_str()))
        && !task_started
    {
        return Err(format!("the acknowledged signal {id} is missing"));
    }
    if let Some((id, count)) = signals.iter().find(|(_, count)| **count != 1) {
        return Err(format!("the signal {id} is there {count} times"));
    }
    if let Some(id) = known.completed_tasks.iter().find(|id| !tasks.contains(id)) {
        return Err(format!("the acknowledged completion of the workflow task started by event {id} is missing"));
    }
    if known.activity_completed && !completed && !task_started {
        return Err("the acknowledged completion of the activity is missing".into());
    }
    if let Some((id, count)) = closings.iter().chain(&starts).find(|(_, count)| **count != 1) {
        return Err(format!("the activity scheduled by event {id} has {count} started or closing events"));
    }
    if known.closed && closed_at.is_none() {
        return Err("the acknowledged end is missing".into());
    }
    match closed_at {
        Some(at) if at != events.len() => Err(format!("event {at} closes the run, but is not the last")),
        _ => Ok(()),
    }
}

fn listing(events: &[HistoryEvent]) -> String {
    events.iter().map(|e| format!("{:>4} {}\n", e.event_id, e.event_type().as_str_name())).collect()
}

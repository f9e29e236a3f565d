//! What schedules ask for: starts and stops of runs, and looks at them, by the engine's own calls, wherever the runs are.
//!
//! Every one may be carried out twice, with the same request id and so with one effect.

use std::sync::{Arc, atomic::Ordering};

use sempre_api::v1::{
    common::Callback,
    enums::{HistoryEventFilterType, WorkflowExecutionStatus as Status},
    history::history_event::Attributes,
    workflowservice::{GetWorkflowExecutionHistoryRequest, StartWorkflowExecutionRequest},
};
use sempre_core::{
    Input, NamespaceId, Refusal, Reply, RunId, Span, StartInput, WorkflowKey,
    input::{CancelRequest, TerminateRequest},
    keys::{RunRecord, schedules::ScheduleKey},
    schedule::{
        Ended,
        state::{Running, Stop as StopKind},
    },
};

use crate::{
    HistoryReader,
    namespaces::REGISTERED,
    peers::record::{self, Answer, Request},
    shard::message::{Ask, Body},
    shared::{STOPPING, Shared, internal},
};

/// Tries of one start before the schedule is told of its failure.
const TRIES: u32 = 5;
const BACKOFF_FIRST: Span = Span::millis(50);
const BACKOFF_MAX: Span = Span::seconds(10);

/// Statuses of chains that have ended.
pub(crate) const CLOSED: [i32; 5] =
    [Status::Completed as i32, Status::Failed as i32, Status::Canceled as i32, Status::Terminated as i32, Status::TimedOut as i32];

/// What has become of something.
pub(super) enum Outcome {
    Started {
        workflow_id: String,
        run_id: String,
    },
    AlreadyStarted,
    /// A start that was looked for.
    NotThere,
    Failed {
        text: String,
        for_good: bool,
    },
    Stopped,
    /// Of the runs looked at, those that are over and those that are not there, by the numbers of their starts.
    Looked {
        ended: Vec<(u64, Ended)>,
        gone: Vec<u64>,
    },
}

/// What is to be done.
pub(super) enum Effect {
    Start(Box<Start>),
    /// Has this start been carried out?
    Find(Box<Start>),
    Stop(Box<StopRun>),
    /// Which of these runs are open?
    Look(Vec<Running>),
}

/// A start.
pub(super) struct Start {
    pub(super) request: StartWorkflowExecutionRequest,
    pub(super) watcher: Option<Callback>,
}

/// A stop.
pub(super) struct StopRun {
    pub(super) running: Running,
    pub(super) uid: String,
    pub(super) identity: String,
}

pub(super) async fn carry_out(shared: Arc<Shared>, key: ScheduleKey, effect: Effect) -> Outcome {
    match effect {
        Effect::Start(start) => start_run(&shared, &key, *start).await,
        Effect::Find(start) => find_run(&shared, &key, *start).await,
        Effect::Stop(stop) => stop_run(&shared, &key, *stop).await,
        Effect::Look(running) => look(&shared, &key, running).await,
    }
}

/// Waits longer each time. `false` when the engine stops.
async fn pause(shared: &Shared, backoff: &mut Span) -> bool {
    if shared.stopping.load(Ordering::Acquire) {
        return false;
    }
    shared.clock.sleep_until(shared.now() + *backoff).await;
    *backoff = Span((backoff.0 * 2).min(BACKOFF_MAX.0));
    !shared.stopping.load(Ordering::Acquire)
}

async fn start_run(shared: &Shared, key: &ScheduleKey, start: Start) -> Outcome {
    let registered = shared.namespaces.by_id(key.namespace).is_some_and(|namespace| namespace.record.state == REGISTERED);
    if !registered {
        return Outcome::Failed { text: "the namespace takes no new workflows".into(), for_good: true };
    }
    let workflow = WorkflowKey { namespace: key.namespace, workflow_id: start.request.workflow_id.clone() };
    let mut backoff = BACKOFF_FIRST;
    let mut refused = Refusal::Unavailable(STOPPING.into());
    for _ in 0..TRIES {
        let (request, watcher) = (start.request.clone(), start.watcher.clone());
        let started = match shared.away(&workflow) {
            None => start_here(shared, workflow.clone(), request, watcher).await,
            Some(away) => {
                let start = record::Start { workflow: Some(RunRecord::new(&workflow)), request: Some(request), watcher };
                text_of(away.ask_once(Request::Start(Box::new(start))).await).and_then(|run| run.ok_or_else(|| internal("a start")))
            }
        };
        match started {
            Ok(run_id) => return Outcome::Started { workflow_id: workflow.workflow_id, run_id },
            // Not an earlier try of this start: a chain knows the request that began it.
            Err(Refusal::AlreadyStarted { .. }) => return Outcome::AlreadyStarted,
            Err(refusal) if refusal.may_pass() => {
                refused = refusal;
                if !pause(shared, &mut backoff).await {
                    break;
                }
            }
            Err(refusal) => {
                tracing::warn!(?refusal, schedule = key.schedule_id, "the action of a schedule was refused");
                return Outcome::Failed { text: text(refusal), for_good: true };
            }
        }
    }
    Outcome::Failed { text: text(refused), for_good: false }
}

/// Starts a run whose shard is here; gives the first run of its chain.
pub(crate) async fn start_here(
    shared: &Shared,
    workflow: WorkflowKey,
    request: StartWorkflowExecutionRequest,
    watcher: Option<Callback>,
) -> Result<String, Refusal> {
    let input = StartInput { request: Box::new(request), signal: None, child_of: None, watcher: watcher.map(Box::new) };
    match shared.ask_reply(workflow, None, Ask::Start(Box::new(input))).await? {
        (_, Reply::Started { response, .. }, _) if response.first_execution_run_id.is_empty() => Ok(response.run_id),
        (_, Reply::Started { response, .. }, _) => Ok(response.first_execution_run_id),
        _ => Err(internal("a start")),
    }
}

/// What another node has answered that was asked for a run.
fn text_of(answer: Result<Answer, Refusal>) -> Result<Option<String>, Refusal> {
    match answer? {
        Answer::Text(text) => Ok(Some(text)),
        Answer::Done(()) => Ok(None),
        _ => Err(internal("a run")),
    }
}

/// Looks for the run of a start that may have been carried out: the workflow id's chain, if that request has begun it. While starts under
/// one workflow id take turns, only a client's can have come after it.
async fn find_run(shared: &Shared, key: &ScheduleKey, start: Start) -> Outcome {
    let workflow = WorkflowKey { namespace: key.namespace, workflow_id: start.request.workflow_id };
    let failed = |refusal| {
        // It is looked for until it is known, and others under its workflow id wait for that.
        let (schedule, workflow) = (&key.schedule_id, &workflow.workflow_id);
        tracing::warn!(?refusal, schedule, workflow, "a start in doubt could not be looked for");
        Outcome::Failed { text: text(refusal), for_good: false }
    };
    let request_id = start.request.request_id;
    let found = match shared.away(&workflow) {
        None => find_here(shared, workflow.clone(), request_id).await,
        Some(away) => {
            let asked = record::StartedBy { workflow: Some(RunRecord::new(&workflow)), request_id };
            text_of(away.ask_once(Request::Find(asked)).await)
        }
    };
    match found {
        Ok(Some(run_id)) => Outcome::Started { workflow_id: workflow.workflow_id, run_id },
        Ok(None) => Outcome::NotThere,
        Err(refusal) => failed(refusal),
    }
}

/// The first run of the workflow's current chain, if this request has begun it; the workflow's shard is here.
pub(crate) async fn find_here(shared: &Shared, workflow: WorkflowKey, request_id: String) -> Result<Option<String>, Refusal> {
    // The first run may be gone; the chain still knows the request that began it.
    let run = match shared.ask_reply(workflow.clone(), None, Ask::WasStartedBy(request_id)).await {
        Ok((run, Reply::Done, _)) => run,
        Ok(_) | Err(Refusal::NotFound(_)) => return Ok(None),
        Err(refusal) => return Err(refusal),
    };
    match shared.ask(workflow, Some(run), Ask::Describe).await?.body {
        Body::Description(description) => Ok(Some(description.workflow_execution_info.map(|info| info.first_run_id).unwrap_or_default())),
        _ => Err(internal("a description")),
    }
}

/// The client's words for it.
fn text(refusal: Refusal) -> String {
    match refusal {
        Refusal::InvalidArgument(text)
        | Refusal::NotFound(text)
        | Refusal::FailedPrecondition(text)
        | Refusal::Unimplemented(text)
        | Refusal::Unavailable(text)
        | Refusal::ResourceExhausted { message: text, .. } => text,
        Refusal::Overloaded(text) => text.into(),
        Refusal::Elsewhere { shard } => sempre_core::refusal::text::elsewhere(shard),
        other => format!("{other:?}"),
    }
}

async fn stop_run(shared: &Shared, key: &ScheduleKey, stop: StopRun) -> Outcome {
    let StopRun { running, uid, identity } = stop;
    let workflow = WorkflowKey { namespace: key.namespace, workflow_id: running.workflow_id.clone() };
    let cancels = running.stop() == StopKind::Cancel;
    let mut backoff = BACKOFF_FIRST;
    loop {
        let asked = record::Stop {
            workflow: Some(RunRecord::new(&workflow)),
            first_run_id: running.run_id.clone(),
            identity: identity.clone(),
            cancel_request_id: if cancels { format!("{uid}-cancel-{}", running.number) } else { String::new() },
        };
        let stopped = match shared.away(&workflow) {
            None => stop_here(shared, workflow.clone(), asked).await,
            Some(away) => away.ask_once(Request::Stop(asked)).await.map(drop),
        };
        match stopped {
            Err(refusal) if refusal.may_pass() => {
                if !pause(shared, &mut backoff).await {
                    return Outcome::Failed { text: text(refusal), for_good: false };
                }
            }
            // What is refused is gone.
            _ => return Outcome::Stopped,
        }
    }
}

/// Stops the current run of a workflow whose shard is here.
pub(crate) async fn stop_here(shared: &Shared, workflow: WorkflowKey, stop: record::Stop) -> Result<(), Refusal> {
    let record::Stop { first_run_id, identity, cancel_request_id, .. } = stop;
    let input = if cancel_request_id.is_empty() {
        Input::Terminate(Box::new(TerminateRequest {
            reason: "terminated by schedule overlap policy".into(),
            identity,
            first_run_id,
            ..TerminateRequest::default()
        }))
    } else {
        Input::RequestCancel(Box::new(CancelRequest {
            reason: "cancelled by schedule overlap policy".into(),
            identity,
            request_id: cancel_request_id,
            first_run_id,
            ..CancelRequest::default()
        }))
    };
    shared.apply(workflow, None, input).await.map(drop)
}

/// What is found out about a chain of runs.
pub(crate) enum Found {
    /// `WorkflowExecutionStatus` of its last run.
    Status(i32),
    Gone,
    /// Nobody can tell now.
    Unknown,
}

/// The state of a chain, wherever it is: that of the current run if it is of the chain, else of its first.
pub(crate) async fn chain(shared: &Shared, namespace: NamespaceId, workflow_id: &str, first_run_id: &str) -> Found {
    let workflow = WorkflowKey { namespace, workflow_id: workflow_id.to_owned() };
    let found = match shared.away(&workflow) {
        None => chain_here(shared, workflow, first_run_id).await,
        Some(away) => match away.ask_once(Request::Chain(chain_record(&workflow, first_run_id, 0))).await {
            Ok(Answer::Status(status)) => Ok(Found::Status(status)),
            Ok(Answer::Done(())) => Ok(Found::Gone),
            Ok(_) => Err(internal("the state of a chain")),
            Err(refusal) => Err(refusal),
        },
    };
    found.unwrap_or(Found::Unknown)
}

fn chain_record(workflow: &WorkflowKey, first_run_id: &str, status: i32) -> record::Chain {
    record::Chain { workflow: Some(RunRecord::new(workflow)), first_run_id: first_run_id.to_owned(), status }
}

/// As [`chain`], where its shard is here.
pub(crate) async fn chain_here(shared: &Shared, workflow: WorkflowKey, first_run_id: &str) -> Result<Found, Refusal> {
    for run in [None, RunId::parse(first_run_id)] {
        match shared.ask(workflow.clone(), run, Ask::Describe).await {
            Ok(answer) => {
                if let Body::Description(description) = answer.body
                    && let Some(info) = description.workflow_execution_info
                    && info.first_run_id == first_run_id
                {
                    return Ok(Found::Status(info.status));
                }
            }
            Err(Refusal::NotFound(_)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    Ok(Found::Gone)
}

/// How a chain that is over has ended: its own callback may never tell. `None`: it is not there any more.
async fn end_of(shared: &Shared, namespace: NamespaceId, running: &Running, status: i32) -> Result<Option<Ended>, Refusal> {
    let workflow = WorkflowKey { namespace, workflow_id: running.workflow_id.clone() };
    let Some(away) = shared.away(&workflow) else { return end_here(shared, workflow, &running.run_id, status).await };
    match away.ask_once(Request::End(chain_record(&workflow, &running.run_id, status))).await? {
        Answer::Ended(ended) => Ok(Some(ended.ended())),
        Answer::Done(()) => Ok(None),
        _ => Err(internal("the end of a chain")),
    }
}

/// As [`end_of`], where its shard is here.
pub(crate) async fn end_here(shared: &Shared, workflow: WorkflowKey, first_run_id: &str, status: i32) -> Result<Option<Ended>, Refusal> {
    let namespace = workflow.namespace;
    let mut ended = Ended { workflow_id: workflow.workflow_id.clone(), run_id: first_run_id.to_owned(), status, ..Ended::default() };
    // The last run of the chain is the current one, or else its first is its only one.
    for run in [None, RunId::parse(first_run_id)] {
        let answer = match shared.ask(workflow.clone(), run, Ask::Describe).await {
            Ok(answer) => answer,
            Err(Refusal::NotFound(_)) => continue,
            Err(refusal) => return Err(refusal),
        };
        let Body::Description(description) = answer.body else { return Err(internal("a description")) };
        let Some(execution) = description
            .workflow_execution_info
            .filter(|info| info.first_run_id == first_run_id && info.status == status)
            .and_then(|info| info.execution)
        else {
            continue;
        };
        ended.run_id.clone_from(&execution.run_id);
        let request = GetWorkflowExecutionHistoryRequest {
            execution: Some(execution),
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            ..Default::default()
        };
        let reader = HistoryReader { follows_next_run_id: true, ..HistoryReader::default() };
        let history = match shared.get_history(namespace, request, reader, None).await {
            Ok(response) => response.history.unwrap_or_default(),
            Err(Refusal::NotFound(_)) => continue,
            Err(refusal) => return Err(refusal),
        };
        let events = history.events().map_err(|_| internal("a close event"))?;
        match events.into_iter().next().and_then(|event| event.attributes) {
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(completed)) => ended.result = completed.result,
            Some(Attributes::WorkflowExecutionFailedEventAttributes(failed)) => ended.failure = failed.failure,
            _ => {}
        }
        return Ok(Some(ended));
    }
    Ok(None)
}

async fn look(shared: &Shared, key: &ScheduleKey, running: Vec<Running>) -> Outcome {
    let (mut ended, mut gone) = (Vec::new(), Vec::new());
    for running in &running {
        let mut backoff = BACKOFF_FIRST;
        for tries_left in (0..TRIES).rev() {
            match chain(shared, key.namespace, &running.workflow_id, &running.run_id).await {
                Found::Status(status) if CLOSED.contains(&status) => match end_of(shared, key.namespace, running, status).await {
                    Ok(Some(end)) => ended.push((running.number, end)),
                    Ok(None) => gone.push(running.number),
                    Err(_) if tries_left > 0 && pause(shared, &mut backoff).await => continue,
                    // It is not open, and must not be taken for it.
                    Err(refusal) => return Outcome::Failed { text: text(refusal), for_good: false },
                },
                // Between two runs of a chain, too.
                Found::Status(_) => {}
                Found::Gone => gone.push(running.number),
                Found::Unknown => {
                    if pause(shared, &mut backoff).await {
                        continue;
                    }
                    return Outcome::Failed { text: STOPPING.into(), for_good: false };
                }
            }
            break;
        }
    }
    // A run that nobody could tell of is taken for what it was thought to be: open.
    Outcome::Looked { ended, gone }
}

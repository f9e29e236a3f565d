//! What schedules ask for: starts and stops of runs, and looks at them, by the engine's own calls.
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
    keys::schedules::ScheduleKey,
    schedule::{
        Ended,
        state::{Running, Stop},
    },
};

use crate::{
    HistoryReader,
    namespaces::REGISTERED,
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
        let input = StartInput {
            request: Box::new(start.request.clone()),
            signal: None,
            child_of: None,
            watcher: start.watcher.clone().map(Box::new),
        };
        match shared.ask_reply(workflow.clone(), None, Ask::Start(Box::new(input))).await {
            Ok((_, Reply::Started { response, .. }, _)) => {
                let first = if response.first_execution_run_id.is_empty() { response.run_id } else { response.first_execution_run_id };
                return Outcome::Started { workflow_id: workflow.workflow_id, run_id: first };
            }
            Ok(_) => refused = internal("a start"),
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
    // The first run may be gone; the chain still knows the request that began it.
    let run = match shared.ask_reply(workflow.clone(), None, Ask::WasStartedBy(start.request.request_id)).await {
        Ok((run, Reply::Done, _)) => run,
        Ok(_) | Err(Refusal::NotFound(_)) => return Outcome::NotThere,
        Err(refusal) => return failed(refusal),
    };
    match shared.ask(workflow.clone(), Some(run), Ask::Describe).await.map(|answer| answer.body) {
        Ok(Body::Description(description)) => {
            let run_id = description.workflow_execution_info.map(|info| info.first_run_id).unwrap_or_default();
            Outcome::Started { workflow_id: workflow.workflow_id, run_id }
        }
        Ok(_) => failed(internal("a description")),
        Err(refusal) => failed(refusal),
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
    let mut backoff = BACKOFF_FIRST;
    loop {
        let first_run_id = running.run_id.clone();
        let input = if running.stop() == Stop::Cancel {
            Input::RequestCancel(Box::new(CancelRequest {
                reason: "cancelled by schedule overlap policy".into(),
                identity: identity.clone(),
                request_id: format!("{uid}-cancel-{}", running.number),
                first_run_id,
                ..CancelRequest::default()
            }))
        } else {
            Input::Terminate(Box::new(TerminateRequest {
                reason: "terminated by schedule overlap policy".into(),
                identity: identity.clone(),
                first_run_id,
                ..TerminateRequest::default()
            }))
        };
        match shared.apply(workflow.clone(), None, input).await {
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

/// What is found out about a chain of runs.
pub(crate) enum Found {
    /// `WorkflowExecutionStatus` of its last run.
    Status(i32),
    Gone,
    /// Nobody can tell now.
    Unknown,
}

/// The state of a chain: that of the current run if it is of the chain, else of its first.
pub(crate) async fn chain(shared: &Shared, namespace: NamespaceId, workflow_id: &str, first_run_id: &str) -> Found {
    let workflow = WorkflowKey { namespace, workflow_id: workflow_id.to_owned() };
    for run in [None, RunId::parse(first_run_id)] {
        match shared.ask(workflow.clone(), run, Ask::Describe).await {
            Ok(answer) => {
                if let Body::Description(description) = answer.body
                    && let Some(info) = description.workflow_execution_info
                    && info.first_run_id == first_run_id
                {
                    return Found::Status(info.status);
                }
            }
            Err(Refusal::NotFound(_)) => {}
            Err(_) => return Found::Unknown,
        }
    }
    Found::Gone
}

/// How a chain that is over has ended: its own callback may never tell. `None`: it is not there any more.
async fn end_of(shared: &Shared, namespace: NamespaceId, running: &Running, status: i32) -> Result<Option<Ended>, Refusal> {
    let workflow_id = &running.workflow_id;
    let mut ended = Ended { workflow_id: workflow_id.clone(), run_id: running.run_id.clone(), status, ..Ended::default() };
    // The last run of the chain is the current one, or else its first is its only one.
    let workflow = WorkflowKey { namespace, workflow_id: workflow_id.clone() };
    for run in [None, RunId::parse(&running.run_id)] {
        let answer = match shared.ask(workflow.clone(), run, Ask::Describe).await {
            Ok(answer) => answer,
            Err(Refusal::NotFound(_)) => continue,
            Err(refusal) => return Err(refusal),
        };
        let Body::Description(description) = answer.body else { return Err(internal("a description")) };
        let Some(execution) = description
            .workflow_execution_info
            .filter(|info| info.first_run_id == running.run_id && info.status == status)
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

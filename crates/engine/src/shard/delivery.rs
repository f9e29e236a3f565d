//! Delivers a message to its target, wherever that is, at least once, and tells the sender what became of it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use sempre_api::v1::{
    common::{Payloads, callback},
    enums::{SignalExternalWorkflowExecutionFailedCause as SignalCause, StartChildWorkflowExecutionFailedCause as ChildCause},
};
use sempre_core::{
    ChildHeir, ChildStart, Input, Refusal, Reply, RunId, RunKey, Span, StartInput, WorkflowKey,
    input::{CancelRequest, ChildClosed, ExternalSource, SignalRequest, TerminateRequest},
    keys::{RunRecord, schedules::ScheduleKey},
    refusal::text,
    schedule::{Ended, state::Watch, watch_of},
    transition::{CallbackCall, CallbackResult, Delivery, OperationCall, OutboxEntry, OutboxMessage, StartChild},
};

use super::{
    child_end, load,
    message::{Ask, Body},
};
use crate::{
    nexus::operations,
    peers::{
        Away,
        record::{Abandon, Answer, Letter, Letterhead, Request, StartedBy, message_of, run_of},
    },
    shared::{Shared, internal},
    singles,
};

const BACKOFF_FIRST: Span = Span::millis(50);
const BACKOFF_MAX: Span = Span::seconds(10);
/// Longest pause while the target's shard is on its way from node to node.
const MOVES_MAX: Span = Span::millis(400);
/// Who asks, on behalf of another run.
const IDENTITY: &str = "history-service";
/// Resets of one parent after each other that the news of a child follow.
const RESETS_FOLLOWED_MAX: usize = 1000;
/// Runs before the current one of a chain in which a signal is looked for that may have come.
const RUNS_LOOKED_AT_MAX: usize = 100;
/// How far the clocks by which runs began may be apart, or have been set back.
const CLOCKS_APART_MS: u64 = 10 * 60 * 1000;
const CLOSE_POLICY_REASON: &str = "by parent close policy";
/// A message that has not come to another node by then holds up the others no longer.
const SLOW_AFTER: Span = Span::millis(200);

/// Whether a message may have reached its target before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tried {
    Never,
    Perhaps,
}

/// Delivers it; ends when the sender has dealt with what came of it.
pub(super) async fn deliver(
    shared: Arc<Shared>,
    pausing: Arc<AtomicUsize>,
    sender: RunKey,
    entry: OutboxEntry,
    mut tried: Tried,
) -> (RunKey, u64) {
    let OutboxEntry { id, message } = entry;
    let mut backoff = BACKOFF_FIRST;
    let mut delivery = loop {
        let result = match &message {
            OutboxMessage::Callback(call) => Ok(call_back(&shared, &pausing, &sender, call).await),
            OutboxMessage::StartOperation(call) => Ok(start_operation(&shared, &pausing, &sender, call).await),
            OutboxMessage::CancelOperation(call) => Ok(cancel_operation(&shared, &pausing, &sender, call).await),
            OutboxMessage::StartChild(child) if tried == Tried::Perhaps => {
                start_child_again(&shared, &pausing, &sender, child, &message).await
            }
            message => attempt(&shared, &pausing, &sender, message, tried).await,
        };
        match result {
            Ok(delivery) => break delivery,
            Err(refusal) => {
                if !(matches!(message, OutboxMessage::Signal(_)) && is_untried(&refusal)) {
                    tried = Tried::Perhaps;
                }
                tracing::debug!(?refusal, run = %sender.run, id, "a message between runs is tried again");
                if matches!(refusal, Refusal::Elsewhere { .. }) {
                    // It moves: that takes a moment.
                    backoff = backoff.min(MOVES_MAX);
                }
                pause(&shared, &pausing, &mut backoff).await;
            }
        }
    };
    let mut backoff = BACKOFF_FIRST;
    loop {
        let told = shared.ask_reply(sender.workflow.clone(), Some(sender.run), Ask::Delivered(id, delivery.clone())).await;
        match told {
            Ok((_, Reply::Obsolete, _)) => {
                if let (OutboxMessage::StartChild(child), Delivery::ChildStarted { run_id, .. }) = (&message, &delivery) {
                    abandoned(&shared, &pausing, &sender, child, run_id).await;
                }
                delivery = Delivery::Ok;
            }
            Ok((_, Reply::ResetTo(heir), _)) => {
                delivery = match (&message, delivery) {
                    (OutboxMessage::StartChild(child), Delivery::ChildStarted { initiated_event_id, run_id }) => {
                        match ask_heir(&shared, &pausing, &sender, heir, child, &run_id).await {
                            ChildHeir::Closed => Delivery::ChildLeft { initiated_event_id, run_id },
                            ChildHeir::Ends => {
                                abandoned(&shared, &pausing, &sender, child, &run_id).await;
                                Delivery::Ok
                            }
                            _ => Delivery::Ok,
                        }
                    }
                    _ => Delivery::Ok,
                };
            }
            Err(refusal) if refusal.may_pass() => pause(&shared, &pausing, &mut backoff).await,
            Err(refusal) => {
                tracing::warn!(?refusal, run = %sender.run, id, "a sender refused to hear of its message");
                break;
            }
            Ok(_) => break,
        }
    }
    shared.stats.deliveries.add(1);
    (sender, id)
}

/// What the run that was made by a reset says to a child that was started for the one in whose place it is. It asks for the same child, but
/// may have been refused it before.
async fn ask_heir(shared: &Shared, pausing: &AtomicUsize, sender: &RunKey, mut heir: RunId, child: &StartChild, run_id: &str) -> ChildHeir {
    let mut backoff = BACKOFF_FIRST;
    loop {
        let ask = Ask::ChildHeir(child.initiated_event_id, run_id.to_owned());
        match shared.ask(sender.workflow.clone(), Some(heir), ask).await.map(|answer| answer.body) {
            Ok(Body::ChildHeir(ChildHeir::ResetTo(next))) => heir = next,
            Ok(Body::ChildHeir(ChildHeir::Undecided)) => pause(shared, pausing, &mut backoff).await,
            Ok(Body::ChildHeir(said)) => return said,
            Err(refusal) if refusal.may_pass() => pause(shared, pausing, &mut backoff).await,
            Ok(_) => tracing::error!("an answer of another kind to who lets a child go"),
            // It was deleted.
            Err(_) => return ChildHeir::Closed,
        }
    }
}

/// A child whose parent was deleted before it heard of the start, or knows another run as that child: nobody would ever
/// let its first task go.
async fn abandoned(shared: &Shared, pausing: &AtomicUsize, sender: &RunKey, child: &StartChild, run_id: &str) {
    let Some(namespace) = shared.namespaces.id_of(&child.request.namespace, sender.workflow.namespace) else { return };
    let workflow = WorkflowKey { namespace, workflow_id: child.request.workflow_id.clone() };
    let mut backoff = BACKOFF_FIRST;
    loop {
        let ended = match shared.away(&workflow) {
            None => abandon_here(shared, sender, workflow.clone(), run_id).await.is_ok(),
            Some(away) => {
                let (parent, workflow) = (Some(Letterhead::new(sender)), Some(RunRecord::new(&workflow)));
                let asked = away.ask(Request::Abandon(Abandon { parent, workflow, run_id: run_id.to_owned() }));
                quiet(beside(shared, pausing, asked).await.map(drop)).is_ok()
            }
        };
        if ended {
            return;
        }
        pause(shared, pausing, &mut backoff).await;
    }
}

/// Ends a child that nobody waits for, if that run is it.
pub(crate) async fn abandon_here(shared: &Shared, parent: &RunKey, workflow: WorkflowKey, run_id: &str) -> Result<Delivery, Refusal> {
    let request = TerminateRequest {
        reason: CLOSE_POLICY_REASON.into(),
        identity: IDENTITY.into(),
        parent: Some(parent.clone()),
        ..TerminateRequest::default()
    };
    quiet(tell(shared, workflow, run_id, Input::Terminate(Box::new(request))).await)
}

/// The current run of the workflow, if its chain was begun by this request.
pub(crate) async fn started_by_here(shared: &Shared, workflow: WorkflowKey, request_id: String) -> Result<Option<RunId>, Refusal> {
    match shared.ask_reply(workflow, None, Ask::WasStartedBy(request_id)).await {
        Ok((run, Reply::Done, _)) => Ok(Some(run)),
        Ok(_) | Err(Refusal::NotFound(_)) => Ok(None),
        Err(refusal) => Err(refusal),
    }
}

/// As [`started_by_here`], wherever the workflow is.
async fn started_by(shared: &Shared, pausing: &AtomicUsize, workflow: WorkflowKey, request_id: String) -> Result<Option<RunId>, Refusal> {
    let Some(away) = shared.away(&workflow) else { return started_by_here(shared, workflow, request_id).await };
    let asked = Request::StartedBy(StartedBy { workflow: Some(RunRecord::new(&workflow)), request_id });
    match beside(shared, pausing, away.ask(asked)).await? {
        Answer::Run(run) => run_of(&run).map(Some).ok_or_else(|| internal("a run")),
        Answer::Done(()) => Ok(None),
        _ => Err(internal("whether a request has begun a chain")),
    }
}

/// Waits for another node; after a moment that holds up no other message.
async fn beside<T>(shared: &Shared, pausing: &AtomicUsize, asked: impl Future<Output = T>) -> T {
    let mut asked = std::pin::pin!(asked);
    tokio::select! {
        biased;
        answer = &mut asked => return answer,
        () = shared.wall.sleep_until(shared.wall_now() + SLOW_AFTER) => {}
    }
    pausing.fetch_add(1, Ordering::Relaxed);
    let answer = asked.await;
    pausing.fetch_sub(1, Ordering::Relaxed);
    answer
}

/// The start may have been made before, without an answer. Its parent is asked whether it still waits for it: the child may
/// have ended since, and its workflow id may be somebody else's, whose run a start that terminates what is open would end.
async fn start_child_again(
    shared: &Shared,
    pausing: &AtomicUsize,
    sender: &RunKey,
    child: &StartChild,
    message: &OutboxMessage,
) -> Result<Delivery, Refusal> {
    let mut asked = sender.run;
    let known = loop {
        let ask = Ask::ChildStart(child.initiated_event_id);
        match shared.ask(sender.workflow.clone(), Some(asked), ask).await.map(|answer| answer.body) {
            Ok(Body::ChildStart(ChildStart::ResetTo(run))) => asked = run,
            Ok(Body::ChildStart(known)) => break known,
            Ok(_) => return Err(internal("what is known of a child")),
            Err(Refusal::NotFound(_)) => break ChildStart::Over,
            Err(refusal) => return Err(refusal),
        }
    };
    match known {
        ChildStart::Awaited => return attempt(shared, pausing, sender, message, Tried::Perhaps).await,
        ChildStart::Known => return Ok(Delivery::Ok),
        ChildStart::Over | ChildStart::ResetTo(_) => {}
    }
    // Nobody waits for it. If it is there, nobody would let its first task go.
    let Some(namespace) = shared.namespaces.id_of(&child.request.namespace, sender.workflow.namespace) else { return Ok(Delivery::Ok) };
    let workflow = WorkflowKey { namespace, workflow_id: child.request.workflow_id.clone() };
    if let Some(run) = started_by(shared, pausing, workflow, child.request.request_id.clone()).await? {
        abandoned(shared, pausing, sender, child, &run.to_string()).await;
    }
    Ok(Delivery::Ok)
}

async fn pause(shared: &Shared, pausing: &AtomicUsize, backoff: &mut Span) {
    pausing.fetch_add(1, Ordering::Relaxed);
    shared.clock.sleep_until(shared.now() + *backoff).await;
    pausing.fetch_sub(1, Ordering::Relaxed);
    *backoff = Span((backoff.0 * 2).min(BACKOFF_MAX.0));
}

/// Somebody outside may take long to answer: that must not hold up messages between runs.
async fn call_back(shared: &Shared, pausing: &AtomicUsize, sender: &RunKey, call: &CallbackCall) -> Delivery {
    let _hold = shared.hold();
    pausing.fetch_add(1, Ordering::Relaxed);
    let result = match call.callback.as_ref().and_then(watch_of) {
        Some(watch) => tell_schedule(shared, sender, watch, call).await,
        None => tell_outside(shared, sender, call).await,
    };
    pausing.fetch_sub(1, Ordering::Relaxed);
    Delivery::Callback { number: call.number, attempt: call.attempt, result }
}

/// An endpoint may take long to answer, too.
async fn start_operation(shared: &Shared, pausing: &AtomicUsize, caller: &RunKey, call: &OperationCall) -> Delivery {
    let _hold = shared.hold();
    pausing.fetch_add(1, Ordering::Relaxed);
    let result = operations::start(shared, caller, call).await;
    pausing.fetch_sub(1, Ordering::Relaxed);
    Delivery::Operation { scheduled_event_id: call.scheduled_event_id, attempt: call.attempt, result }
}

/// As [`start_operation`].
async fn cancel_operation(shared: &Shared, pausing: &AtomicUsize, caller: &RunKey, call: &OperationCall) -> Delivery {
    let _hold = shared.hold();
    pausing.fetch_add(1, Ordering::Relaxed);
    let result = operations::cancel(shared, caller, call).await;
    pausing.fetch_sub(1, Ordering::Relaxed);
    Delivery::OperationCancel { scheduled_event_id: call.scheduled_event_id, attempt: call.attempt, result }
}

/// A caller in this server, or somebody outside, by the sender that the engine was given.
async fn tell_outside(shared: &Shared, sender: &RunKey, call: &CallbackCall) -> CallbackResult {
    match with_outcome(shared, sender, call.clone()).await {
        Ok(call) => match shared.tell_caller(sender, &call).await {
            Some(result) => result,
            None => send_outside(shared, sender, call).await,
        },
        Err(refusal) => {
            tracing::warn!(?refusal, run = %sender.run, "the outcome of an update could not be read");
            CallbackResult::Undelivered("the outcome of the update could not be read".into())
        }
    }
}

/// One attempt, if the host does not seem to be down.
async fn send_outside(shared: &Shared, sender: &RunKey, call: CallbackCall) -> CallbackResult {
    let namespace = sender.workflow.namespace;
    let Some(host) = host_of(&call).map(String::from) else { return shared.callbacks.send(call).await };
    if let Some(until) = shared.callback_breakers.blocked(namespace, &host, shared.now()) {
        return CallbackResult::Blocked(until);
    }
    let result = shared.callbacks.send(call).await;
    match &result {
        CallbackResult::Undelivered(_) => shared.callback_breakers.failed(namespace, &host, shared.now()),
        _ => shared.callback_breakers.answered(namespace, &host),
    }
    result
}

/// Scheme and host of its URL, without what names a user.
fn host_of(call: &CallbackCall) -> Option<&str> {
    let Some(callback::Variant::Nexus(nexus)) = call.callback.as_ref()?.variant.as_ref() else { return None };
    let (_, rest) = nexus.url.split_once("://")?;
    let end = nexus.url.len() - rest.len() + rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let host = &nexus.url[..end];
    Some(host.rsplit_once('@').map_or(host, |(_, host)| host))
}

/// The outcome of a completed update is in its event, which never changes.
async fn with_outcome(shared: &Shared, sender: &RunKey, mut call: CallbackCall) -> Result<CallbackCall, Refusal> {
    if call.outcome.is_none() && call.outcome_event_id != 0 {
        let completed = shared.update_completed(sender, call.outcome_event_id).await?;
        call.outcome = Some(sempre_core::update_outcome(completed.outcome, completed.time));
    }
    Ok(call)
}

/// A callback for a schedule or a caller whose shard is here.
pub(crate) async fn call_back_here(shared: &Shared, sender: &RunKey, call: &CallbackCall) -> Result<CallbackResult, Refusal> {
    match call.callback.as_ref().and_then(watch_of) {
        Some(watch) => Ok(tell_schedule_here(shared, sender, watch, call).await),
        None => shared.tell_caller_here(call).await.ok_or_else(|| Refusal::invalid("the callback is for nobody in this server")),
    }
}

/// The chain was started by a schedule: its result goes to the next.
async fn tell_schedule(shared: &Shared, sender: &RunKey, watch: Watch, call: &CallbackCall) -> CallbackResult {
    let Some(away) = shared.away_single(singles::SCHEDULES) else { return tell_schedule_here(shared, sender, watch, call).await };
    match away.ask(Request::Letter(Letter::new(sender, OutboxMessage::Callback(Box::new(call.clone()))))).await {
        Ok(Answer::Callback(result)) => result.result().unwrap_or_else(untold),
        told => {
            tracing::debug!(?told, schedule = watch.schedule_id, "the schedule of a run that has ended could not be told");
            untold()
        }
    }
}

fn untold() -> CallbackResult {
    CallbackResult::Undelivered("the schedule could not be told".into())
}

async fn tell_schedule_here(shared: &Shared, sender: &RunKey, watch: Watch, call: &CallbackCall) -> CallbackResult {
    let key = ScheduleKey { namespace: sender.workflow.namespace, schedule_id: watch.schedule_id.clone() };
    let outcome = call.outcome.clone().unwrap_or_default();
    let ended = Ended {
        workflow_id: sender.workflow.workflow_id.clone(),
        run_id: sender.run.to_string(),
        status: call.status,
        result: outcome.result.map(|result| Payloads { payloads: vec![result] }),
        failure: outcome.failure,
    };
    match shared.schedules.ended(key, watch, ended).await {
        true => CallbackResult::Delivered,
        false => untold(),
    }
}

/// The workflow that a message is for; of a child, if its namespace is there. `None`: it is for no run.
pub(crate) fn target(shared: &Shared, sender: &RunKey, message: &OutboxMessage) -> Option<WorkflowKey> {
    let neighbour = |workflow_id: &String| Some(WorkflowKey { namespace: sender.workflow.namespace, workflow_id: workflow_id.clone() });
    match message {
        OutboxMessage::StartChild(child) => {
            let namespace = shared.namespaces.id_of(&child.request.namespace, sender.workflow.namespace)?;
            Some(WorkflowKey { namespace, workflow_id: child.request.workflow_id.clone() })
        }
        OutboxMessage::Signal(signal) => neighbour(&signal.workflow_id),
        OutboxMessage::Cancel(cancel) => neighbour(&cancel.workflow_id),
        OutboxMessage::AskChild(child) => neighbour(&child.workflow_id),
        OutboxMessage::ReleaseChild { workflow_id, .. }
        | OutboxMessage::TerminateChild { workflow_id, .. }
        | OutboxMessage::CancelChild { workflow_id, .. } => neighbour(workflow_id),
        OutboxMessage::ChildClosed { parent, .. } => Some(parent.workflow.clone()),
        OutboxMessage::Callback(_) | OutboxMessage::StartOperation(_) | OutboxMessage::CancelOperation(_) => None,
    }
}

/// One try, wherever the target is. `Err` is tried again.
async fn attempt(
    shared: &Shared,
    pausing: &AtomicUsize,
    sender: &RunKey,
    message: &OutboxMessage,
    tried: Tried,
) -> Result<Delivery, Refusal> {
    let away = shared.peers.as_ref().and_then(|_| target(shared, sender, message));
    let Some(away) = away.as_ref().and_then(|target| shared.away(target)) else {
        return attempt_here(shared, sender, message, tried).await;
    };
    // Apart, so that what stays here does not carry it along.
    Box::pin(attempt_away(shared, pausing, away, sender, message, tried)).await
}

/// One try at a target whose shard another node has.
async fn attempt_away(
    shared: &Shared,
    pausing: &AtomicUsize,
    away: Away<'_>,
    sender: &RunKey,
    message: &OutboxMessage,
    tried: Tried,
) -> Result<Delivery, Refusal> {
    let letter = Letter::new(sender, message.clone()).tried(tried);
    match beside(shared, pausing, away.ask(Request::Letter(letter))).await? {
        Answer::Delivery(delivery) => delivery.delivery().ok_or_else(|| internal("what comes of a message to a run")),
        Answer::Done(()) if matches!(message, OutboxMessage::AskChild(_)) => Ok(Delivery::Ok),
        Answer::News(news) => match message_of(news) {
            Some(OutboxMessage::ChildClosed { news, .. }) => quiet(child_closed(shared, sender.clone(), &news).await),
            _ => Err(internal("news of a child")),
        },
        _ => Err(internal("what comes of a message to a run")),
    }
}

/// One try at a target whose shard is here. `Err` is tried again.
pub(crate) async fn attempt_here(shared: &Shared, sender: &RunKey, message: &OutboxMessage, tried: Tried) -> Result<Delivery, Refusal> {
    let neighbour = |workflow_id: &str| WorkflowKey { namespace: sender.workflow.namespace, workflow_id: workflow_id.to_owned() };
    match message {
        OutboxMessage::StartChild(child) => {
            let initiated_event_id = child.initiated_event_id;
            let Some(namespace) = shared.namespaces.id_of(&child.request.namespace, sender.workflow.namespace) else {
                return Ok(Delivery::ChildNotStarted { initiated_event_id, cause: ChildCause::NamespaceNotFound as i32 });
            };
            if shared.namespaces.is_gone(namespace) {
                return Ok(Delivery::ChildNotStarted { initiated_event_id, cause: ChildCause::NamespaceNotFound as i32 });
            }
            let workflow = WorkflowKey { namespace, workflow_id: child.request.workflow_id.clone() };
            let input = StartInput { request: Box::default(), signal: None, child_of: Some(child.clone()), watcher: None };
            match shared.ask_reply(workflow, None, Ask::Start(Box::new(input))).await {
                Ok((_, Reply::Started { response, .. }, _)) => Ok(Delivery::ChildStarted { initiated_event_id, run_id: response.run_id }),
                Ok(_) => Err(internal("a started child")),
                Err(Refusal::AlreadyStarted { .. }) => {
                    Ok(Delivery::ChildNotStarted { initiated_event_id, cause: ChildCause::WorkflowAlreadyExists as i32 })
                }
                Err(Refusal::NamespaceNotFound(_)) => {
                    Ok(Delivery::ChildNotStarted { initiated_event_id, cause: ChildCause::NamespaceNotFound as i32 })
                }
                Err(Refusal::FailedPrecondition(_) | Refusal::InvalidArgument(_)) if child.request.versioning_override.is_some() => {
                    Ok(Delivery::ChildNotStarted { initiated_event_id, cause: ChildCause::InvalidVersioningOverride as i32 })
                }
                Err(refusal) => {
                    if !refusal.may_pass() {
                        tracing::warn!(?refusal, run = %sender.run, "a child could not be started");
                    }
                    Err(refusal)
                }
            }
        }
        OutboxMessage::Signal(signal) => {
            let workflow = neighbour(&signal.workflow_id);
            // A reset sends again what the run before may have sent.
            let writer = writer_of(&signal.request_id).unwrap_or(sender.run);
            let perhaps = tried == Tried::Perhaps || writer != sender.run;
            if perhaps && signal.run_id.is_empty() && has_come(shared, writer, &workflow, &signal.request_id).await? {
                return Ok(Delivery::Done { initiated_event_id: signal.initiated_event_id });
            }
            let request = SignalRequest {
                name: signal.name.clone(),
                input: signal.input.clone(),
                header: signal.header.clone(),
                identity: IDENTITY.into(),
                request_id: signal.request_id.clone(),
                links: Vec::new(),
                source: Some(ExternalSource {
                    run: sender.clone(),
                    initiated_event_id: signal.initiated_event_id,
                    child_only: signal.child_only,
                    reset_parent: signal.parent,
                }),
                with_start: false,
            };
            let told = tell(shared, workflow, &signal.run_id, Input::Signal(Box::new(request))).await;
            external(signal.initiated_event_id, told, false)
        }
        OutboxMessage::Cancel(cancel) => {
            let request = CancelRequest {
                reason: cancel.reason.clone(),
                identity: IDENTITY.into(),
                request_id: cancel.request_id.clone(),
                source: Some(ExternalSource {
                    run: sender.clone(),
                    initiated_event_id: cancel.initiated_event_id,
                    child_only: cancel.child_only,
                    reset_parent: cancel.parent,
                }),
                ..CancelRequest::default()
            };
            let told = tell(shared, neighbour(&cancel.workflow_id), &cancel.run_id, Input::RequestCancel(Box::new(request))).await;
            external(cancel.initiated_event_id, told, true)
        }
        OutboxMessage::Callback(_) | OutboxMessage::StartOperation(_) | OutboxMessage::CancelOperation(_) => {
            Err(internal("a message to a run"))
        }
        OutboxMessage::ReleaseChild { workflow_id, run_id } => {
            quiet(tell(shared, neighbour(workflow_id), run_id, Input::ReleaseFirstTask).await)
        }
        OutboxMessage::ChildClosed { parent, news } => quiet(child_closed(shared, parent.clone(), news).await),
        OutboxMessage::AskChild(child) => match child_end::news(shared, sender, child).await? {
            // As the child would tell it, and idempotent like that: it may tell it as well.
            Some(news) => quiet(child_closed(shared, sender.clone(), &news).await),
            None => Ok(Delivery::Ok),
        },
        OutboxMessage::TerminateChild { workflow_id, first_run_id, parent } => {
            let request = TerminateRequest {
                reason: CLOSE_POLICY_REASON.into(),
                identity: IDENTITY.into(),
                first_run_id: first_run_id.clone(),
                parent: Some(sender.clone()),
                reset_parent: *parent,
                ..TerminateRequest::default()
            };
            quiet(tell(shared, neighbour(workflow_id), "", Input::Terminate(Box::new(request))).await)
        }
        OutboxMessage::CancelChild { workflow_id, first_run_id, parent } => {
            let request = CancelRequest {
                identity: IDENTITY.into(),
                // The same for every try, so that a repeated one has no second effect.
                request_id: format!("{}:close-policy", sender.run),
                first_run_id: first_run_id.clone(),
                parent: Some(sender.clone()),
                reset_parent: *parent,
                ..CancelRequest::default()
            };
            quiet(tell(shared, neighbour(workflow_id), "", Input::RequestCancel(Box::new(request))).await)
        }
    }
}

/// Whether a signal that was sent before has come to the current run, or to one in whose place it goes on: the run that it came to may
/// have continued as new since. Runs that had ended before the one began that asked for it cannot have it.
async fn has_come(shared: &Shared, writer: RunId, workflow: &WorkflowKey, request_id: &str) -> Result<bool, Refusal> {
    let mut run = None;
    for _ in 0..RUNS_LOOKED_AT_MAX {
        let answer = match shared.ask(workflow.clone(), run, Ask::SawSignal(request_id.to_owned())).await {
            Ok(answer) => answer,
            Err(Refusal::NotFound(_)) => return Ok(false),
            Err(Refusal::Unavailable(text)) if run.is_some() && text == load::DAMAGED => {
                tracing::warn!(workflow = workflow.workflow_id, "whether a signal has come to a run that is damaged is not known");
                return Ok(false);
            }
            Err(refusal) => return Err(refusal),
        };
        match answer.body {
            Body::SawSignal(true, _) => return Ok(true),
            Body::SawSignal(false, Some(before)) if answer.run.unix_ms() + CLOCKS_APART_MS >= writer.unix_ms() => run = Some(before),
            Body::SawSignal(false, _) => return Ok(false),
            _ => return Err(internal("whether a signal has come")),
        }
    }
    Ok(false)
}

/// The run that asked for a signal to another workflow, by the signal's request id.
fn writer_of(request_id: &str) -> Option<RunId> {
    request_id.split_once(':').and_then(|(run, _)| RunId::parse(run))
}

/// Who was asked has done nothing, and will not.
fn is_untried(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Overloaded(_) | Refusal::ResourceExhausted { .. } | Refusal::Elsewhere { .. })
}

/// Tells a parent of the end of its child; a parent that was reset names the run that has taken its place.
async fn child_closed(shared: &Shared, mut parent: RunKey, news: &ChildClosed) -> Result<(), Refusal> {
    for _ in 0..RESETS_FOLLOWED_MAX {
        let input = Input::ChildClosed(Box::new(news.clone()));
        match shared.apply_to(parent.clone(), input).await?.1 {
            Reply::ResetTo(run) => parent.run = run,
            _ => return Ok(()),
        }
    }
    Ok(())
}

async fn tell(shared: &Shared, workflow: WorkflowKey, run_id: &str, input: Input) -> Result<(), Refusal> {
    let run = match run_id {
        "" => None,
        text => Some(RunId::parse(text).ok_or_else(|| Refusal::not_found(sempre_core::refusal::text::EXECUTION_NOT_FOUND))?),
    };
    shared.apply(workflow, run, input).await.map(drop)
}

/// The outcome of a signal or a cancel request (causes of both have the same numbers).
fn external(initiated_event_id: i64, told: Result<(), Refusal>, cancel: bool) -> Result<Delivery, Refusal> {
    let cause = match told {
        Ok(()) => return Ok(Delivery::Done { initiated_event_id }),
        Err(refusal) if refusal.may_pass() => return Err(refusal),
        // Cancelling what is closed already has succeeded.
        Err(Refusal::NotFound(message)) if cancel && message == text::ALREADY_COMPLETED => {
            return Ok(Delivery::Done { initiated_event_id });
        }
        Err(Refusal::NamespaceNotFound(_)) => SignalCause::NamespaceNotFound,
        Err(Refusal::InvalidArgument(_)) if !cancel => SignalCause::SignalCountLimitExceeded,
        Err(_) => SignalCause::ExternalWorkflowExecutionNotFound,
    };
    Ok(Delivery::Failed { initiated_event_id, cause: cause as i32 })
}

/// The outcome of a message whose target may be gone.
fn quiet(told: Result<(), Refusal>) -> Result<Delivery, Refusal> {
    match told {
        Err(refusal) if refusal.may_pass() => Err(refusal),
        Err(refusal @ (Refusal::NotFound(_) | Refusal::FailedPrecondition(_))) => {
            tracing::debug!(?refusal, "the target of a message is gone");
            Ok(Delivery::Ok)
        }
        Err(refusal) => {
            tracing::warn!(?refusal, "the target refused a message");
            Ok(Delivery::Ok)
        }
        Ok(()) => Ok(Delivery::Ok),
    }
}

#[cfg(test)]
mod tests {
    use sempre_api::v1::common::Callback;

    use super::*;

    #[test]
    fn a_callback_has_the_breaker_of_its_host() {
        let call = |url: &str| {
            let nexus = callback::Nexus { url: url.into(), ..Default::default() };
            CallbackCall {
                callback: Some(Callback { variant: Some(callback::Variant::Nexus(nexus)), ..Default::default() }),
                ..Default::default()
            }
        };
        for url in ["http://h:1/a?b", "http://h:1", "http://h:1?x=http://o", "http://h:1#@f"] {
            assert_eq!(host_of(&call(url)), Some("http://h:1"), "{url}");
        }
        assert_eq!(host_of(&call("https://user:p@h/x@y")), Some("h"));
        assert_eq!(host_of(&call("nothing")), None);
    }
}

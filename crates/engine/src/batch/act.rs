//! One operation on one run: the calls that a client would make, with request ids that are the same each time.

#![allow(deprecated, reason = "old fields that clients send")]

use futures::{StreamExt, TryStreamExt, stream};
use sempre_api::{
    sempre::v1::StartBatchForkRequest,
    v1::{
        batch::{
            BatchOperationReset, batch_operation_reset_activities, batch_operation_unpause_activities,
            batch_operation_update_activity_options,
        },
        common::{WorkflowExecution, reset_options},
        enums::ResetType,
        workflowservice::{
            DeleteActivityExecutionRequest, DeleteWorkflowExecutionRequest, DescribeWorkflowExecutionRequest,
            RequestCancelActivityExecutionRequest, RequestCancelWorkflowExecutionRequest, ResetActivityRequest,
            ResetWorkflowExecutionRequest, SignalWorkflowExecutionRequest, TerminateActivityExecutionRequest,
            TerminateWorkflowExecutionRequest, UnpauseActivityRequest, UpdateActivityOptionsRequest, UpdateWorkflowExecutionOptionsRequest,
            reset_activity_request, start_batch_operation_request::Operation, unpause_activity_request, update_activity_options_request,
        },
    },
};
use sempre_core::{
    NamespaceId, Refusal, RunId, RunKey, WorkflowKey,
    keys::RunRecord,
    reset::TaskEnds,
    standalone::{self, Described, Shows},
};

use super::{
    OrderRecord,
    check::{Acts, Target},
};
use crate::{
    Engine,
    calls::{fork::ForkOptions, workflow_of},
    peers::record::{self, Answer, Request, TargetRecord},
    shard::message::{Ask, Body, ViewRequest},
    shared::internal,
};

/// Targets looked up at once when a job begins.
const LOOKS_AT_ONCE: usize = 16;

/// What is the same for all calls of a job.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The namespace's name as it is now.
    pub(crate) namespace: String,
    /// First part of request ids.
    pub(crate) token: String,
    pub(crate) reason: String,
}

impl Caller {
    /// The same for each try, and another one for each run and job.
    fn request_id(&self, target: &Target) -> String {
        let of = if target.run_id.is_empty() { format!("{:016x}", hash(&target.workflow_id)) } else { target.run_id.clone() };
        format!("{}:{of}", self.token)
    }
}

/// FNV-1a: request ids have a length limit that workflow ids may fill.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// When a target was dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acted {
    Now,
    /// The job has made the run itself, or has made another run from it, and its query has found it again.
    Before,
}

impl From<TargetRecord> for Target {
    fn from(record: TargetRecord) -> Self {
        let TargetRecord { workflow_id, run_id, chain } = record;
        Self { workflow_id, run_id, chain }
    }
}

impl From<Target> for TargetRecord {
    fn from(target: Target) -> Self {
        let Target { workflow_id, run_id, chain } = target;
        Self { workflow_id, run_id, chain }
    }
}

/// Acts on one run, wherever it is. NOT_FOUND: it is gone, closed, or has no such activity.
pub(super) async fn act(engine: &Engine, caller: &Caller, order: &OrderRecord, target: &Target) -> Result<Acted, Refusal> {
    let namespace = engine.shared.namespaces.usable(&caller.namespace)?.id();
    let key = key_of(namespace, order.acts(), &target.workflow_id);
    let Some(away) = engine.shared.away(&key) else { return act_here(engine, caller, order, target).await };
    let Caller { namespace, token, reason } = caller.clone();
    let act = record::Act { namespace, token, reason, order: Some(order.without_targets()), target: Some(target.clone().into()) };
    match away.ask_once(Request::Act(Box::new(act))).await? {
        Answer::Acted(true) => Ok(Acted::Before),
        Answer::Acted(false) => Ok(Acted::Now),
        _ => Err(internal("what a batch job has done")),
    }
}

/// Under what a target's run is filed.
fn key_of(namespace: NamespaceId, acts: Acts, id: &str) -> WorkflowKey {
    match acts {
        Acts::OnWorkflows => WorkflowKey { namespace, workflow_id: id.to_owned() },
        Acts::OnActivities => standalone::key(namespace, id),
    }
}

/// As [`act`], on a run whose shard is here.
pub(crate) async fn act_here(engine: &Engine, caller: &Caller, order: &OrderRecord, target: &Target) -> Result<Acted, Refusal> {
    if target.run_id.is_empty() && !target.chain.is_empty() {
        let target = match order.acts() {
            Acts::OnWorkflows => of_chain(engine, caller, target).await?,
            Acts::OnActivities => Target { run_id: target.chain.clone(), ..target.clone() },
        };
        // Made before a crash, and not counted then: it is done.
        if !(order.makes_runs() && is_own(engine, caller, &target).await?) {
            act_now(engine, caller, order, &target).await?;
        }
        return Ok(Acted::Now);
    }
    if order.makes_runs() && !order.selection().is_empty() && is_own(engine, caller, target).await? {
        return Ok(Acted::Before);
    }
    act_now(engine, caller, order, target).await.map(|()| Acted::Now)
}

/// The run of a target's chain that is current. NOT_FOUND: the current run is of another chain, or there is none.
async fn of_chain(engine: &Engine, caller: &Caller, target: &Target) -> Result<Target, Refusal> {
    let namespace = engine.shared.namespaces.usable(&caller.namespace)?;
    let (run_id, chain) = current(engine, namespace.id(), &target.workflow_id).await?;
    if chain != target.chain {
        return Err(Refusal::not_found("the run that was current when the job began is closed"));
    }
    Ok(Target { run_id, ..target.clone() })
}

/// The current run, and the first one of its chain.
async fn current(engine: &Engine, namespace: NamespaceId, workflow_id: &str) -> Result<(String, String), Refusal> {
    let workflow = WorkflowKey { namespace, workflow_id: workflow_id.to_owned() };
    let Body::Description(description) = engine.shared.ask(workflow, None, Ask::Describe).await?.body else {
        return Err(internal("a description"));
    };
    let info = description.workflow_execution_info.unwrap_or_default();
    Ok((info.execution.unwrap_or_default().run_id, info.first_run_id))
}

/// An activity that belongs to no workflow, and the run that a target means.
async fn activity(engine: &Engine, namespace: NamespaceId, target: &Target) -> Result<(RunId, Box<Described>), Refusal> {
    let key = standalone::key(namespace, &target.workflow_id);
    let run = RunId::parse(&target.run_id);
    let answer = engine.shared.ask(key, run, Ask::DescribeActivity(Shows::default(), None)).await?;
    match answer.body {
        Body::Activity(described) => Ok((answer.run, described)),
        _ => Err(internal("a description of an activity")),
    }
}

/// What a call came to that ends an activity: one that has ended meanwhile is gone, and so done with.
async fn unless_closed(engine: &Engine, caller: &Caller, target: &Target, called: Result<(), Refusal>) -> Result<(), Refusal> {
    match called {
        Err(refusal @ Refusal::FailedPrecondition(_)) => {
            let namespace = engine.shared.namespaces.usable(&caller.namespace)?.id();
            let (_, described) = activity(engine, namespace, target).await?;
            let key = standalone::key(namespace, &target.workflow_id);
            Err(if described.is_open { refusal } else { standalone::not_found(&key) })
        }
        called => called,
    }
}

/// Looks up what listed targets without a run mean now.
pub(crate) async fn chains(engine: &Engine, namespace: NamespaceId, acts: Acts, targets: &[Target]) -> Result<Vec<String>, Refusal> {
    if targets.iter().all(|target| !target.run_id.is_empty()) {
        return Ok(Vec::new());
    }
    let look = |target: Target| async move {
        if !target.run_id.is_empty() {
            return Ok(String::new());
        }
        match chain(engine, namespace, acts, target.workflow_id).await {
            Ok(chain) => Ok(chain),
            // There is none: one that is started later is not meant.
            Err(Refusal::NotFound(_)) => Ok(RunId::default().to_string()),
            Err(refusal) => Err(refusal),
        }
    };
    stream::iter(targets.to_vec()).map(look).buffered(LOOKS_AT_ONCE).try_collect().await
}

/// What a target without a run means now, wherever it is.
async fn chain(engine: &Engine, namespace: NamespaceId, acts: Acts, id: String) -> Result<String, Refusal> {
    let target = WorkflowKey { namespace, workflow_id: id };
    let Some(away) = engine.shared.away(&key_of(namespace, acts, &target.workflow_id)) else {
        return chain_here(engine, acts, &target).await;
    };
    let asked = record::ChainOf { target: Some(RunRecord::new(&target)), is_activity: acts == Acts::OnActivities };
    match away.ask_once(Request::ChainOf(asked)).await? {
        Answer::Text(chain) => Ok(chain),
        _ => Err(internal("the chain of a target")),
    }
}

/// As [`chain`], where its shard is here. The target is named as the job names it.
pub(crate) async fn chain_here(engine: &Engine, acts: Acts, target: &WorkflowKey) -> Result<String, Refusal> {
    match acts {
        Acts::OnWorkflows => current(engine, target.namespace, &target.workflow_id).await.map(|(_, chain)| chain),
        Acts::OnActivities => {
            let named = Target { workflow_id: target.workflow_id.clone(), ..Target::default() };
            activity(engine, target.namespace, &named).await.map(|(run, _)| run.to_string())
        }
    }
}

/// Whether a reset or fork of this job has made the run or one before it, or was made from it.
async fn is_own(engine: &Engine, caller: &Caller, target: &Target) -> Result<bool, Refusal> {
    let namespace = engine.shared.namespaces.usable(&caller.namespace)?;
    let execution = WorkflowExecution { workflow_id: target.workflow_id.clone(), run_id: target.run_id.clone() };
    let (workflow, run) = workflow_of(namespace.id(), Some(execution))?;
    let (_, view) = engine.shared.view(&workflow, run, ViewRequest::default()).await?;
    let ours = |request_id: &String| request_id.strip_prefix(&caller.token).is_some_and(|rest| rest.starts_with(':'));
    let Some(resets) = view.resets else { return Ok(false) };
    Ok(ours(&resets.made_by) || ours(&resets.left_by) || resets.earlier.iter().any(|earlier| ours(&earlier.request_id)))
}

async fn act_now(engine: &Engine, caller: &Caller, order: &OrderRecord, target: &Target) -> Result<(), Refusal> {
    if let Some(request) = &order.fork {
        return fork(engine, caller, request, target).await;
    }
    let Some(operation) = order.start.as_ref().and_then(|start| start.operation.clone()) else {
        return Err(Refusal::invalid("the job has no operation"));
    };
    let namespace = caller.namespace.clone();
    let reason = caller.reason.clone();
    let request_id = caller.request_id(target);
    let execution = Some(WorkflowExecution { workflow_id: target.workflow_id.clone(), run_id: target.run_id.clone() });
    match operation {
        Operation::TerminationOperation(o) => {
            let request = TerminateWorkflowExecutionRequest {
                namespace,
                workflow_execution: execution,
                reason,
                details: o.details,
                identity: o.identity,
                ..Default::default()
            };
            engine.terminate(request).await.map(drop)
        }
        Operation::CancellationOperation(o) => {
            let request = RequestCancelWorkflowExecutionRequest {
                namespace,
                workflow_execution: execution,
                identity: o.identity,
                request_id,
                reason,
                ..Default::default()
            };
            engine.request_cancel(request).await.map(drop)
        }
        Operation::DeletionOperation(_) => {
            engine.delete_workflow(DeleteWorkflowExecutionRequest { namespace, workflow_execution: execution }).await.map(drop)
        }
        Operation::SignalOperation(o) => {
            let request = SignalWorkflowExecutionRequest {
                namespace,
                workflow_execution: execution,
                signal_name: o.signal,
                input: o.input,
                header: o.header,
                identity: o.identity,
                request_id,
                ..Default::default()
            };
            engine.signal_workflow(request).await.map(drop)
        }
        Operation::ResetOperation(o) => reset(engine, caller, o, target).await,
        Operation::UpdateWorkflowOptionsOperation(o) => {
            let request = UpdateWorkflowExecutionOptionsRequest {
                namespace,
                workflow_execution: execution,
                workflow_execution_options: o.workflow_execution_options,
                update_mask: o.update_mask,
                identity: o.identity,
            };
            engine.update_workflow_options(request).await.map(drop)
        }
        Operation::UnpauseActivitiesOperation(o) => {
            use batch_operation_unpause_activities::Activity;
            let activity = o.activity.map(|activity| match activity {
                Activity::Type(name) => unpause_activity_request::Activity::Type(name),
                Activity::MatchAll(all) => unpause_activity_request::Activity::UnpauseAll(all),
            });
            let request = UnpauseActivityRequest {
                namespace,
                execution,
                identity: o.identity,
                activity,
                reset_attempts: o.reset_attempts,
                reset_heartbeat: o.reset_heartbeat,
                jitter: o.jitter,
            };
            engine.unpause_activity(request).await.map(drop)
        }
        Operation::ResetActivitiesOperation(o) => {
            use batch_operation_reset_activities::Activity;
            let activity = o.activity.map(|activity| match activity {
                Activity::Type(name) => reset_activity_request::Activity::Type(name),
                Activity::MatchAll(all) => reset_activity_request::Activity::MatchAll(all),
            });
            let request = ResetActivityRequest {
                namespace,
                execution,
                identity: o.identity,
                activity,
                reset_heartbeat: o.reset_heartbeat,
                keep_paused: o.keep_paused,
                jitter: o.jitter,
                restore_original_options: o.restore_original_options,
            };
            engine.reset_activity(request).await.map(drop)
        }
        Operation::UpdateActivityOptionsOperation(o) => {
            use batch_operation_update_activity_options::Activity;
            let activity = o.activity.map(|activity| match activity {
                Activity::Type(name) => update_activity_options_request::Activity::Type(name),
                Activity::MatchAll(all) => update_activity_options_request::Activity::MatchAll(all),
            });
            let request = UpdateActivityOptionsRequest {
                namespace,
                execution,
                identity: o.identity,
                activity_options: o.activity_options,
                update_mask: o.update_mask,
                activity,
                restore_original: o.restore_original,
            };
            engine.update_activity_options(request).await.map(drop)
        }
        Operation::CancelActivitiesOperation(o) => {
            let request = RequestCancelActivityExecutionRequest {
                namespace,
                activity_id: target.workflow_id.clone(),
                run_id: target.run_id.clone(),
                identity: o.identity,
                request_id,
                reason: if o.reason.is_empty() { reason } else { o.reason },
            };
            let called = engine.cancel_activity(request).await.map(drop);
            unless_closed(engine, caller, target, called).await
        }
        Operation::TerminateActivitiesOperation(o) => {
            let request = TerminateActivityExecutionRequest {
                namespace,
                activity_id: target.workflow_id.clone(),
                run_id: target.run_id.clone(),
                identity: o.identity,
                request_id,
                reason: if o.reason.is_empty() { reason } else { o.reason },
            };
            let called = engine.terminate_activity(request).await.map(drop);
            unless_closed(engine, caller, target, called).await
        }
        Operation::DeleteActivitiesOperation(_) => {
            let request =
                DeleteActivityExecutionRequest { namespace, activity_id: target.workflow_id.clone(), run_id: target.run_id.clone() };
            engine.delete_activity(request).await.map(drop)
        }
    }
}

async fn fork(engine: &Engine, caller: &Caller, request: &StartBatchForkRequest, target: &Target) -> Result<(), Refusal> {
    let shared = &engine.shared;
    let namespace = shared.namespaces.usable(&caller.namespace)?;
    let execution = WorkflowExecution { workflow_id: target.workflow_id.clone(), run_id: target.run_id.clone() };
    let (workflow, run) = workflow_of(namespace.id(), Some(execution))?;
    let options = ForkOptions {
        event_id: request.event_id,
        input: ForkOptions::input(request.input.as_ref(), &shared.settings.limits)?,
        apply_later_events: request.apply_later_events,
        reason: caller.reason.clone(),
        request_id: caller.request_id(target),
    };
    shared.fork(workflow, run, options).await.map(drop)
}

/// Where a reset goes back to.
enum To {
    First,
    Last,
    Event(i64),
    Build(String),
}

async fn reset(engine: &Engine, caller: &Caller, operation: BatchOperationReset, target: &Target) -> Result<(), Refusal> {
    use reset_options::Target as Given;
    let reapply = operation.options.as_ref().map_or(operation.reset_reapply_type, |options| options.reset_reapply_type);
    let options = operation.options.unwrap_or_default();
    let to = match options.target {
        Some(Given::FirstWorkflowTask(())) => To::First,
        Some(Given::LastWorkflowTask(())) => To::Last,
        Some(Given::WorkflowTaskId(id)) => To::Event(id),
        Some(Given::BuildId(id)) => To::Build(id),
        None if operation.reset_type == ResetType::FirstWorkflowTask as i32 => To::First,
        None => To::Last,
    };
    let (run_id, finish) = place(engine, caller, target, to, options.current_run_only).await?;
    let request = ResetWorkflowExecutionRequest {
        namespace: caller.namespace.clone(),
        workflow_execution: Some(WorkflowExecution { workflow_id: target.workflow_id.clone(), run_id }),
        reason: caller.reason.clone(),
        workflow_task_finish_event_id: finish,
        request_id: caller.request_id(target),
        reset_reapply_type: reapply,
        reset_reapply_exclude_types: options.reset_reapply_exclude_types,
        post_reset_operations: operation.post_reset_operations,
        identity: operation.identity,
    };
    engine.reset_workflow(request).await.map(drop)
}

/// The run to reset, and its finish event.
async fn place(engine: &Engine, caller: &Caller, target: &Target, to: To, current_run_only: bool) -> Result<(String, i64), Refusal> {
    let namespace = engine.shared.namespaces.usable(&caller.namespace)?;
    let execution = WorkflowExecution { workflow_id: target.workflow_id.clone(), run_id: target.run_id.clone() };
    let (workflow, run) = workflow_of(namespace.id(), Some(execution.clone()))?;
    if let To::Event(id) = to {
        return Ok((target.run_id.clone(), id));
    }
    let (run, view) = engine.shared.view(&workflow, run, ViewRequest::default()).await?;
    if let To::Build(build_id) = to {
        let request = DescribeWorkflowExecutionRequest { namespace: caller.namespace.clone(), execution: Some(execution) };
        let info = engine.describe_workflow(request).await?.workflow_execution_info.unwrap_or_default();
        let points = info.auto_reset_points.unwrap_or_default().points;
        let known = points
            .into_iter()
            .find(|point| point.build_id == build_id && point.resettable && (!current_run_only || point.run_id == run.to_string()));
        let known = known.ok_or_else(|| Refusal::FailedPrecondition(format!("can't find reset point for build id {build_id:?}")))?;
        return Ok((known.run_id, known.first_workflow_task_completed_id));
    }
    let mut ends = TaskEnds::default();
    let stop_early = matches!(to, To::First);
    let key = RunKey { workflow, run };
    engine
        .shared
        .read_events(&key, view.next_event_id, |event| {
            ends.read(event);
            !(stop_early && ends.has_completed())
        })
        .await?;
    let found = if stop_early { ends.first() } else { ends.last() };
    let finish = found.ok_or_else(|| Refusal::FailedPrecondition("unable to find any scheduled or completed task".into()))?;
    Ok((run.to_string(), finish))
}

//! Queries: rejected, carried by a workflow task, or sent to a worker directly (spec 02 §6).

use alloc::{boxed::Box, collections::BTreeMap, string::String, vec::Vec};

use sempre_api::v1::{
    common::{Payloads, WorkflowType},
    enums::{QueryRejectCondition, QueryResultType, TaskQueueKind, WorkflowExecutionStatus},
    query::{WorkflowQuery, WorkflowQueryResult},
    taskqueue::TaskQueue,
    workflowservice::PollWorkflowTaskQueueResponse,
};

use crate::{
    Refusal, Reply, Span, Timestamp, flow,
    step::Step,
    transition::{HistoryWindow, QueryRoute, QueueKind},
};

/// Attempt of the pending task from which new queries are refused: the workflow is failing. Those that wait go on waiting,
/// for as long as those who asked do.
const FAILING_ATTEMPT: i32 = 3;

/// Decides what happens to a query.
pub(crate) fn query(
    step: &mut Step<'_, '_>,
    id: u64,
    query: Box<WorkflowQuery>,
    reject_condition: i32,
    until: Timestamp,
) -> Result<Result<Reply, Refusal>, Refusal> {
    let status = step.run.status();
    let open = step.run.is_open();
    let rejected = match QueryRejectCondition::try_from(reject_condition).unwrap_or_default() {
        QueryRejectCondition::NotOpen => !open,
        QueryRejectCondition::NotCompletedCleanly => !open && status != WorkflowExecutionStatus::Completed,
        _ => false,
    };
    if rejected {
        return Ok(Ok(Reply::QueryRejected { status: status as i32 }));
    }
    if step.run.is_paused() {
        return Ok(Ok(Reply::QueryRejected { status: WorkflowExecutionStatus::Paused as i32 }));
    }
    let (derived, progress) = (&step.run.state.derived.main, &step.run.state.progress.main);
    let completed_tasks = derived.completed_tasks > 0;
    if !open && !completed_tasks {
        return Err(Refusal::WorkflowNotReady("Workflow execution closed before WorkflowTaskStarted event".into()));
    }
    // A first task that is near is waited for: the run has only just gone on as this one.
    if open && !derived.had_task && progress.task.is_none() && step.run.state.derived.execution_time() > until + step.skipped {
        return Err(Refusal::WorkflowNotReady("Workflow task is not scheduled yet.".into()));
    }
    if flow::hold::is_held(&step.run.state) {
        return Err(Refusal::WorkflowNotReady("Workflow waits for its turn by a flow rule: it has not begun.".into()));
    }
    if progress.task.as_ref().is_some_and(|t| t.attempt >= FAILING_ATTEMPT) {
        return Err(Refusal::WorkflowNotReady("Unable to query workflow due to Workflow Task in failed state.".into()));
    }
    if completed_tasks && (!open || progress.task.is_none()) {
        let route = route(step, *query);
        return Ok(Ok(Reply::QueryDirect(Box::new(route))));
    }
    if step.run.queries.len() >= step.cx.limits.buffered_queries_max {
        return Err(Refusal::busy(
            "consistent query buffer is full, this may be caused by too many queries and workflow not able to process query fast enough",
        ));
    }
    step.run.queries.insert(id, query);
    Ok(Ok(Reply::QueryBuffered))
}

/// The asker has gone.
pub(crate) fn drop_query(step: &mut Step<'_, '_>, id: u64) -> Result<Result<Reply, Refusal>, Refusal> {
    step.run.queries.remove(&id);
    Ok(Ok(Reply::Done))
}

/// A query that a completed task has answered.
pub(crate) struct Answered {
    id: u64,
    query: Box<WorkflowQuery>,
    answer: Result<Option<Payloads>, Refusal>,
}

/// Takes the queries that a completion answers out of those that wait.
pub(crate) fn take_answered(step: &mut Step<'_, '_>, results: BTreeMap<String, WorkflowQueryResult>) -> Vec<Answered> {
    let limit = step.cx.limits.blob_size_max;
    let mut answered = Vec::new();
    for (key, result) in results {
        let Ok(id) = key.parse::<u64>() else { continue };
        let Some(query) = step.run.queries.remove(&id) else { continue };
        let too_large = result.answer.as_ref().is_some_and(|a| prost::Message::encoded_len(a) > limit);
        let answer = if too_large {
            Err(Refusal::QueryFailed { message: crate::refusal::text::BLOB_TOO_LARGE.into(), failure: None })
        } else if result.result_type() == QueryResultType::Answered {
            Ok(result.answer)
        } else {
            Err(Refusal::QueryFailed { message: result.error_message, failure: result.failure.map(Box::new) })
        };
        answered.push(Answered { id, query, answer });
    }
    answered
}

/// Hands the answers to those who asked.
pub(crate) fn answer(step: &mut Step<'_, '_>, answered: Vec<Answered>) {
    step.out.query_answers.extend(answered.into_iter().map(|a| (a.id, a.answer)));
}

/// The completion was refused: its answers do not count, the queries wait on.
pub(crate) fn put_back(step: &mut Step<'_, '_>, answered: Vec<Answered>) {
    step.run.queries.extend(answered.into_iter().map(|a| (a.id, a.query)));
}

/// No task will carry the waiting queries: they go to a worker directly, or are refused if the run
/// closed before any task was completed.
pub(crate) fn release_all(step: &mut Step<'_, '_>) {
    for (id, query) in core::mem::take(&mut step.run.queries) {
        if step.run.state.derived.main.completed_tasks > 0 {
            let route = route(step, *query);
            step.out.queries_released.push((id, route));
        } else {
            let refusal = Refusal::WorkflowNotReady("Workflow execution closed before WorkflowTaskStarted event".into());
            step.out.query_answers.push((id, Err(refusal)));
        }
    }
}

/// No task will carry the waiting queries for now: they are refused.
pub(crate) fn refuse_waiting(step: &mut Step<'_, '_>, why: &str) {
    for (id, _) in core::mem::take(&mut step.run.queries) {
        step.out.query_answers.push((id, Err(Refusal::WorkflowNotReady(why.into()))));
    }
}

fn route(step: &Step<'_, '_>, query: WorkflowQuery) -> QueryRoute {
    let state = &step.run.state;
    let normal = state.derived.start.task_queue();
    let sticky = state
        .progress
        .main
        .sticky
        .as_ref()
        .filter(|_| step.run.is_open())
        .map(|sticky| (step.queue(&sticky.queue, QueueKind::Workflow, true), Span(sticky.schedule_to_start)));
    let task = PollWorkflowTaskQueueResponse {
        workflow_execution: Some(step.run.key.to_api()),
        workflow_type: Some(WorkflowType { name: state.derived.start.workflow_type().into() }),
        previous_started_event_id: state.derived.main.previous_started_event_id,
        started_event_id: 0,
        attempt: 1,
        query: Some(query.clone()),
        workflow_execution_task_queue: Some(TaskQueue {
            name: normal.into(),
            kind: TaskQueueKind::Normal as i32,
            normal_name: String::new(),
        }),
        ..Default::default()
    };
    QueryRoute {
        sticky,
        normal: step.queue(normal, QueueKind::Workflow, false),
        query,
        task: Box::new(task),
        window: HistoryWindow { from: 1, next: state.derived.main.next_event_id, virtual_events: Vec::new() },
    }
}

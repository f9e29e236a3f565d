//! A poller takes the pending workflow task (spec 02 §1.2–1.3).

use alloc::{boxed::Box, vec::Vec};

use sempre_api::v1::{
    common::WorkflowType,
    enums::{SuggestContinueAsNewReason, TaskQueueKind},
    query::WorkflowQuery,
    taskqueue::TaskQueue,
    workflowservice::PollWorkflowTaskQueueResponse,
};

use super::{scheduled_attributes, started_attributes, token, virtual_events, withdraw_offer};
use crate::{
    Refusal, Reply, Timestamp,
    input::Poller,
    planted::{self, Bug},
    state::Task,
    step::Step,
    transition::HistoryWindow,
    update, versioning,
};

/// Starts the pending task for a poller, or says that the offer is obsolete.
pub(crate) fn start(
    step: &mut Step<'_, '_>,
    scheduled_event_id: i64,
    stamp: u32,
    sticky: bool,
    poller: Poller,
) -> Result<Result<Reply, Refusal>, Refusal> {
    let task = step.run.state.progress.main.task.as_deref();
    let wanted = task.is_some_and(|task| {
        step.run.is_open()
            // A retry that became a task of its own when it was started has another id than its offer.
            && (task.scheduled_event_id == scheduled_event_id || task.is_started())
            && task.stamp == stamp
            && (!task.is_started() || task.lost || task.request_id == poller.request_id || planted::is(Bug::TasksGivenTwice))
            && (!sticky || task.sticky().is_some())
    });
    if !wanted || !versioning::start::may_take_workflow_task(step, &poller) {
        return Ok(Ok(Reply::Obsolete));
    }
    let stays_sticky = sticky && step.run.state.progress.main.sticky.is_some();
    if !step.task_started() {
        let speculative = step.run.state.progress.main.task.as_ref().is_some_and(|task| task.speculative);
        if speculative && !update::has_messages(step.run) {
            // No messages for speculative workflow task (spec 02 §3.5).
            return Ok(Ok(Reply::Obsolete));
        }
        if !stays_sticky && step.run.state.progress.main.sticky.take().is_some() && !speculative {
            step.touch();
        }
        begin(step, poller);
    } else {
        super::lost::found(step, poller);
    }
    let (response, window) = response(step, stays_sticky, update::Resend::Yes);
    Ok(Ok(Reply::WorkflowTask { response: Box::new(response), window }))
}

/// Puts the scheduled task into a worker's hands: writes its events unless it is transient.
pub(crate) fn begin(step: &mut Step<'_, '_>, poller: Poller) {
    withdraw_offer(step);
    let now = step.now();
    let (suggest, reasons) = suggestion(step);
    let target_changed = versioning::start::target_changed(step);
    let history_size = step.run.state.derived.main.history_size;
    let Some(mut task) = step.run.state.progress.main.task.take() else { return };
    task.request_id = poller.request_id;
    task.identity = poller.identity;
    task.worker_version = poller.worker_version;
    task.started_time = now.0;
    task.history_size = history_size;
    task.suggest_continue_as_new = suggest;
    task.suggest_reasons = reasons;
    task.target_changed = target_changed;
    if task.transient && task.scheduled_event_id != step.run.next_event_id() {
        // Something was written since: the retry becomes a task of its own, in history (spec 02 §1.2).
        task.transient = false;
        task.attempt = 1;
        step.run.state.progress.main.attempt = 1;
        task.timeout = step.run.state.derived.start.task_timeout().0;
        let scheduled = scheduled_attributes(&task, step.run.state.derived.start.task_queue());
        task.scheduled_event_id = step.event(scheduled);
    }
    task.started_event_id = if task.is_virtual() { task.scheduled_event_id + 1 } else { step.event(started_attributes(&task)) };
    let speculative = task.speculative;
    step.run.state.progress.main.task = Some(task);
    if !speculative {
        step.touch();
        versioning::start::workflow_task_started(step, poller.version.as_ref());
    }
}

pub(crate) fn suggestion(step: &Step<'_, '_>) -> (bool, Vec<i32>) {
    let (main, limits) = (&step.run.state.derived.main, step.cx.limits);
    let mut reasons = Vec::new();
    if main.history_size >= limits.history_size_suggest as i64 {
        reasons.push(SuggestContinueAsNewReason::HistorySizeTooLarge as i32);
    }
    if main.next_event_id >= limits.history_count_suggest {
        reasons.push(SuggestContinueAsNewReason::TooManyHistoryEvents as i32);
    }
    if update::suggests_continue_as_new(step.run, limits) {
        reasons.push(SuggestContinueAsNewReason::TooManyUpdates as i32);
    }
    (!reasons.is_empty(), reasons)
}

/// The poll response for the started task, without history.
pub(crate) fn response(step: &mut Step<'_, '_>, sticky: bool, resend: update::Resend) -> (PollWorkflowTaskQueueResponse, HistoryWindow) {
    let messages = update::send(step.run, resend);
    let state = &step.run.state;
    let empty = Task::default();
    let task = state.progress.main.task.as_deref().unwrap_or(&empty);
    let previous = state.derived.main.previous_started_event_id;
    let queries = step.run.queries.iter().map(|(id, query)| (query_key(*id), WorkflowQuery::clone(query))).collect();
    let response = PollWorkflowTaskQueueResponse {
        task_token: token(step, task).to_bytes(),
        workflow_execution: Some(step.run.key.to_api()),
        workflow_type: Some(WorkflowType { name: state.derived.start.workflow_type().into() }),
        previous_started_event_id: previous,
        started_event_id: task.started_event_id,
        attempt: task.attempt,
        queries,
        messages,
        workflow_execution_task_queue: Some(TaskQueue {
            name: state.derived.start.task_queue().into(),
            kind: TaskQueueKind::Normal as i32,
            normal_name: alloc::string::String::new(),
        }),
        scheduled_time: Some(Timestamp(task.scheduled_time).to_api()),
        started_time: Some(Timestamp(task.started_time).to_api()),
        ..Default::default()
    };
    let window = HistoryWindow {
        from: if sticky { previous + 1 } else { 1 },
        next: state.derived.main.next_event_id,
        virtual_events: virtual_events(state),
    };
    (response, window)
}

/// A query's key in `queries` and `query_results`.
pub(crate) fn query_key(id: u64) -> alloc::string::String {
    alloc::format!("{id}")
}

//! RespondWorkflowTaskCompleted (spec 02 §2).

use alloc::{boxed::Box, format, string::String, sync::Arc, vec::Vec};

use sempre_api::v1::{
    command::Command,
    enums::{TimeoutType, WorkflowTaskFailedCause},
    failure::{Failure, ServerFailureInfo, failure::FailureInfo},
    history::{
        HistoryEvent, WorkflowTaskCompletedEventAttributes, WorkflowTaskFailedEventAttributes, WorkflowTaskTimedOutEventAttributes,
        history_event::Attributes,
    },
    workflowservice::{PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest, RespondWorkflowTaskCompletedResponse},
};

use super::{
    ScheduleHow, count_failure, fail_started, named_by, pages, problems, schedule, scheduled_attributes, speculative,
    start::{begin, response},
    started_attributes,
};
use crate::{
    Refusal, Reply, Span, TaskToken, Timestamp, Version, activity,
    command::{self, CommandFailure, Completion},
    input::Poller,
    pause, query, size,
    state::{Sticky, Task},
    step::{Saved, Step},
    transition::HistoryWindow,
    update,
    versioning::{self, start::Worker},
};

/// Poll request id of tasks that are started in the reply to a completion.
const INLINE_REQUEST_ID: &str = "request-from-RespondWorkflowTaskCompleted";
/// Sticky schedule-to-start timeout when the worker names none.
const STICKY_TIMEOUT_DEFAULT: Span = Span::seconds(10);

/// Carries out a completion.
pub(crate) fn complete(
    step: &mut Step<'_, '_>,
    token: &TaskToken,
    mut request: RespondWorkflowTaskCompletedRequest,
) -> Result<Result<Reply, Refusal>, Refusal> {
    if request.intermediate_page {
        return pages::keep(step, token, request);
    }
    let task = named_by(step, token)?.clone();
    pages::merge(step, &task, &mut request)?;
    if request.force_create_new_workflow_task && step.run.is_paused() {
        return Err(Refusal::FailedPrecondition(pause::NO_FORCED_TASK.into()));
    }
    command::check_sequence(&request.commands)?;
    update::check_bodies(&request.messages)?;
    let worker = versioning::start::worker(&request)?;
    let heartbeat = request.force_create_new_workflow_task && request.commands.is_empty() && request.messages.is_empty();
    if heartbeat && step.now() > Timestamp(task.original_scheduled_time) + step.cx.limits.task_heartbeat_max {
        return Ok(heartbeat_timed_out(step, &task));
    }
    if let Some(failure) = bad_binary(step, &request) {
        let saved = step.save();
        return commands_failed(step, *saved, &task, &request, failure);
    }
    let discarded = speculative::is_discarded(step, &task, &request);
    // Commands and messages may fail half-way; everything they did is then undone.
    let saved = (!request.commands.is_empty() || !request.messages.is_empty()).then(|| step.save());
    let mut completion = Completion {
        completed_event_id: 0,
        identity: request.identity.clone(),
        had_buffered: !step.run.state.progress.buffer.is_empty(),
        eager: Vec::new(),
        force_task: false,
        children_started: Vec::new(),
        messages: update::Messages::new(core::mem::take(&mut request.messages)),
        rejected: Vec::new(),
    };
    if discarded {
        speculative::discard(step);
    } else {
        completion.completed_event_id = write_completed(step, &task, &request, &worker);
    }
    step.run.state.progress.main.sticky = sticky(&request);
    // Before the commands: a run that closes releases the queries that nobody has answered.
    let answered = query::take_answered(step, core::mem::take(&mut request.query_results));
    if let Err(failure) = carry_out(step, &mut completion, core::mem::take(&mut request.commands)) {
        query::put_back(step, answered);
        return match saved {
            Some(saved) => commands_failed(step, *saved, &task, &request, failure),
            None => Err(Refusal::invalid(failure_text(&failure))),
        };
    }
    if !request.force_create_new_workflow_task && step.run.is_open() {
        update::reject_unprocessed(step);
    }
    if let Some(saved) = saved
        && let Err(refusal) = size::enforce_transaction(step, saved)
    {
        query::put_back(step, answered);
        query::release_all(step);
        return Ok(Err(refusal));
    }
    let activity_tasks = if step.run.is_open() {
        let identity = request.identity.clone();
        completion.eager.iter().filter_map(|id| activity::start_eager(step, *id, &identity)).collect()
    } else {
        Vec::new()
    };
    query::answer(step, answered);
    let inline = next_task(step, &task, &request, &completion, heartbeat);
    let reset_history_event_id = if discarded { step.run.state.derived.main.previous_started_event_id } else { 0 };
    let mut answer = RespondWorkflowTaskCompletedResponse { activity_tasks, reset_history_event_id, ..Default::default() };
    let window = inline.map(|(task, window)| {
        answer.workflow_task = Some(task);
        window
    });
    Ok(Ok(Reply::WorkflowTaskCompleted { response: Box::new(answer), inline: window }))
}

/// The worker's binary is one that the namespace has marked bad (spec 02 §2.2 step 4).
#[allow(deprecated, reason = "binary_checksum: what old workers send")]
fn bad_binary(step: &Step<'_, '_>, request: &RespondWorkflowTaskCompletedRequest) -> Option<CommandFailure> {
    let binary = &request.binary_checksum;
    step.cx
        .namespace
        .bad_binaries
        .contains(binary)
        .then(|| CommandFailure::new(WorkflowTaskFailedCause::BadBinary, format!("binary {binary} is marked as bad deployment")))
}

/// Commands in their order, each with the message it names; then the other messages (spec 02 §7.3).
fn carry_out(step: &mut Step<'_, '_>, completion: &mut Completion, commands: Vec<Command>) -> Result<(), CommandFailure> {
    for command in commands {
        if !step.run.is_open() {
            break;
        }
        command::apply(step, completion, command)?;
    }
    for message in completion.messages.take_rest() {
        update::apply_message(step, completion, &message)?;
    }
    Ok(())
}

/// Writes WorkflowTaskCompleted, before it the Scheduled and Started of a transient task; ends the task.
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
fn write_completed(step: &mut Step<'_, '_>, task: &Task, request: &RespondWorkflowTaskCompletedRequest, worker: &Worker) -> i64 {
    materialize(step, task, &request.identity);
    let change = versioning::start::before_completed(step, worker);
    let id = step.event(Attributes::WorkflowTaskCompletedEventAttributes(Box::new(WorkflowTaskCompletedEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        identity: request.identity.clone(),
        binary_checksum: request.binary_checksum.clone(),
        worker_version: request.worker_version_stamp.clone(),
        sdk_metadata: request.sdk_metadata.clone(),
        metering_metadata: request.metering_metadata,
        deployment_version: worker.version.as_ref().map(Version::to_api),
        versioning_behavior: worker.behavior as i32,
        worker_deployment_name: worker.deployment_name.clone(),
        ..Default::default()
    })));
    let main = &mut step.run.state.progress.main;
    main.task = None;
    main.attempt = 1;
    main.closing = false;
    problems::over(main);
    versioning::start::after_completed(step, &change);
    id
}

/// Writes the events of a transient or speculative task, with the times at which they happened.
fn materialize(step: &mut Step<'_, '_>, task: &Task, identity: &str) {
    speculative::convert_by(step, identity);
    if !task.transient {
        return;
    }
    let normal: String = step.run.state.derived.start.task_queue().into();
    for (time, attributes) in [(task.scheduled_time, scheduled_attributes(task, &normal)), (task.started_time, started_attributes(task))] {
        let event = HistoryEvent { event_time: Some(Timestamp(time).to_api()), attributes: Some(attributes), ..Default::default() };
        step.write(event);
    }
}

fn sticky(request: &RespondWorkflowTaskCompletedRequest) -> Option<Sticky> {
    let attributes = request.sticky_attributes.as_ref()?;
    let queue = attributes.worker_task_queue.as_ref().map(|q| q.name.clone()).filter(|name| !name.is_empty())?;
    let wait = Span::from_api(attributes.schedule_to_start_timeout.as_ref()).ok().and_then(Span::some);
    Some(Sticky { queue, schedule_to_start: wait.unwrap_or(STICKY_TIMEOUT_DEFAULT).0 })
}

/// Schedules the next task if one is needed; starts it at once if the worker takes it with the answer.
#[allow(deprecated, reason = "worker_version_stamp: what unversioned workers still send")]
fn next_task(
    step: &mut Step<'_, '_>,
    task: &Task,
    request: &RespondWorkflowTaskCompletedRequest,
    completion: &Completion,
    heartbeat: bool,
) -> Option<(PollWorkflowTaskQueueResponse, HistoryWindow)> {
    if !step.run.is_open() {
        query::release_all(step);
        return None;
    }
    let needed = request.force_create_new_workflow_task
        || completion.had_buffered
        || completion.force_task
        || versioning::in_transition(&step.run.state)
        || !step.run.state.progress.buffer.is_empty();
    let inline = request.return_new_workflow_task;
    if step.run.is_paused() {
        query::release_all(step);
        return None;
    }
    if needed {
        schedule(step, if inline { ScheduleHow::Kept } else { ScheduleHow::Offered });
    } else if !update::has_messages(step.run) {
        query::release_all(step);
        return None;
    } else if inline {
        // Updates that came while the task ran.
        speculative::schedule_speculative(step, ScheduleHow::Kept);
    } else {
        schedule(step, ScheduleHow::Offered);
    }
    if heartbeat && let Some(next) = step.run.state.progress.main.task.as_mut() {
        next.original_scheduled_time = task.original_scheduled_time;
    }
    if !inline {
        return None;
    }
    let poller = Poller {
        identity: request.identity.clone(),
        request_id: INLINE_REQUEST_ID.into(),
        worker_version: request.worker_version_stamp.clone(),
        version: Version::of_worker(request.deployment_options.as_ref()).map(Arc::new),
        ..Poller::default()
    };
    begin(step, poller);
    // The worker that sent a heartbeat has the updates of its task still.
    let resend = if request.force_create_new_workflow_task { update::Resend::No } else { update::Resend::Yes };
    // It has just shown that it holds the run: only what is new, sticky or not.
    Some(response(step, true, resend))
}

/// The worker kept a task alive with heartbeats for too long (spec 02 §2.2 step 1).
fn heartbeat_timed_out(step: &mut Step<'_, '_>, task: &Task) -> Result<Reply, Refusal> {
    materialize(step, task, &task.identity);
    step.event(Attributes::WorkflowTaskTimedOutEventAttributes(WorkflowTaskTimedOutEventAttributes {
        scheduled_event_id: task.scheduled_event_id,
        started_event_id: task.started_event_id,
        timeout_type: TimeoutType::StartToClose as i32,
    }));
    let main = &mut step.run.state.progress.main;
    main.task = None;
    main.sticky = None;
    main.attempt = 1;
    schedule(step, ScheduleHow::Offered);
    Err(Refusal::not_found("workflow task heartbeat timeout"))
}

fn failure_text(failure: &CommandFailure) -> String {
    if failure.message.is_empty() { format!("{:?}", failure.cause) } else { format!("{:?}: {}", failure.cause, failure.message) }
}

/// A command was refused: undo, write WorkflowTaskFailed, schedule the next task (spec 02 §2.3).
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
pub(super) fn commands_failed(
    step: &mut Step<'_, '_>,
    saved: Saved,
    task: &Task,
    request: &RespondWorkflowTaskCompletedRequest,
    failure: CommandFailure,
) -> Result<Result<Reply, Refusal>, Refusal> {
    step.restore(saved);
    update::task_failed(step);
    let message = failure_text(&failure);
    let refusal = Refusal::invalid(message.clone());
    let unhandled = failure.cause == WorkflowTaskFailedCause::UnhandledCommand;
    if task.transient && !unhandled && !failure.terminate {
        // Nothing is written; those who wait for updates are told.
        return if step.out.update_news.is_empty() { Err(refusal) } else { Ok(Err(refusal)) };
    }
    fail_started(
        step,
        WorkflowTaskFailedEventAttributes {
            cause: failure.cause as i32,
            failure: Some(Failure {
                message: message.clone(),
                failure_info: Some(FailureInfo::ServerFailureInfo(ServerFailureInfo { non_retryable: false })),
                ..Default::default()
            }),
            identity: request.identity.clone(),
            binary_checksum: request.binary_checksum.clone(),
            worker_version: request.worker_version_stamp.clone(),
            ..Default::default()
        },
    );
    if failure.terminate {
        step.flush();
        size::end(step, &message, None);
        return Ok(Err(refusal));
    }
    count_failure(step);
    problems::failed(step, failure.cause, &message);
    step.run.state.progress.main.closing = unhandled;
    schedule(step, ScheduleHow::Offered);
    Ok(Err(refusal))
}

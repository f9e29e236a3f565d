//! Commands of a completed workflow task, one file each (spec 02 §2.3–2.7).
//!
//! Each file: check, bring to normal form, write the event, do what follows from it. A failed command
//! fails the task; what earlier commands of the completion did is undone by the caller.

mod cancel_activity;
mod cancel_external;
mod cancel_operation;
mod cancel_timer;
mod cancel_workflow;
mod complete_workflow;
mod continue_as_new;
mod fail_workflow;
mod failure;
mod modify_properties;
mod protocol_message;
mod record_marker;
mod schedule_activity;
mod schedule_operation;
mod sequence;
mod signal_external;
mod start_child;
mod start_timer;
mod target;
mod upsert_search_attributes;

#[cfg(test)]
mod tests;

use alloc::{format, string::String, vec::Vec};

use sempre_api::v1::{
    command::{Command, command::Attributes},
    enums::{CommandType, WorkflowTaskFailedCause as Cause},
    history::{HistoryEvent, history_event::Attributes as EventAttributes},
    sdk::{EventGroupMarker, UserMetadata},
};

pub(crate) use failure::CommandFailure;
pub(crate) use sequence::check_sequence;
pub(crate) use start_child::again as start_child_again;

use crate::{step::Step, update::Messages, validate};

/// What the commands of one completion share.
#[derive(Debug)]
pub(crate) struct Completion {
    /// Id of the WorkflowTaskCompleted event.
    pub(crate) completed_event_id: i64,
    /// Who completed.
    pub(crate) identity: String,
    /// Events were buffered when the task completed: close commands are refused.
    pub(crate) had_buffered: bool,
    /// Scheduled event ids of activities to be started eagerly.
    pub(crate) eager: Vec<i64>,
    /// An unstarted activity was cancelled, or an external request failed at once: a new workflow task is needed.
    pub(crate) force_task: bool,
    /// Workflow ids of children started by this completion.
    pub(crate) children_started: Vec<String>,
    /// Messages of the completion that are not dealt with yet.
    pub(crate) messages: Messages,
    /// Ids of updates that it has rejected.
    pub(crate) rejected: Vec<String>,
}

/// What the SDK notes on a command for people: goes to the event as it is.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) user_metadata: Option<UserMetadata>,
    pub(crate) event_group_markers: Vec<EventGroupMarker>,
}

/// Carries out one command. The run may have closed by it; later close commands are ignored by the caller.
pub(crate) fn apply(step: &mut Step<'_, '_>, completion: &mut Completion, command: Command) -> Result<(), CommandFailure> {
    let asked = command.command_type();
    let notes = Notes { user_metadata: command.user_metadata, event_group_markers: command.event_group_markers };
    let attributes = match command.attributes {
        Some(attributes) if type_of(&attributes) == asked => attributes,
        _ => return Err(not_set(asked)),
    };
    validate::user_metadata(notes.user_metadata.as_ref(), step.cx.limits).map_err(|text| CommandFailure::new(cause_of(asked), text))?;
    match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(a) => schedule_activity::apply(step, completion, *a, notes),
        Attributes::RequestCancelActivityTaskCommandAttributes(a) => cancel_activity::apply(step, completion, a, notes),
        Attributes::StartTimerCommandAttributes(a) => start_timer::apply(step, completion, a, notes),
        Attributes::CancelTimerCommandAttributes(a) => cancel_timer::apply(step, completion, a, notes),
        Attributes::RecordMarkerCommandAttributes(a) => record_marker::apply(step, completion, a, notes),
        Attributes::StartChildWorkflowExecutionCommandAttributes(a) => start_child::apply(step, completion, *a, notes),
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(a) => signal_external::apply(step, completion, a, notes),
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(a) => cancel_external::apply(step, completion, a, notes),
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(a) => upsert_search_attributes::apply(step, completion, a, notes),
        Attributes::ModifyWorkflowPropertiesCommandAttributes(a) => modify_properties::apply(step, completion, a, notes),
        Attributes::CompleteWorkflowExecutionCommandAttributes(a) => complete_workflow::apply(step, completion, a, notes),
        Attributes::FailWorkflowExecutionCommandAttributes(a) => fail_workflow::apply(step, completion, a, notes),
        Attributes::CancelWorkflowExecutionCommandAttributes(a) => cancel_workflow::apply(step, completion, a, notes),
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(a) => continue_as_new::apply(step, completion, *a, notes),
        Attributes::ProtocolMessageCommandAttributes(a) => protocol_message::apply(step, completion, a),
        Attributes::ScheduleNexusOperationCommandAttributes(a) => schedule_operation::apply(step, completion, a, notes),
        Attributes::RequestCancelNexusOperationCommandAttributes(a) => cancel_operation::apply(step, completion, a, notes),
    }
}

/// How the texts of commands begin that name something which is not there, or is there already.
fn invalid_state(action: &str) -> String {
    format!("invalid history builder state for action: {action}")
}

/// Writes a command's event with its notes. Returns its id.
fn write(step: &mut Step<'_, '_>, attributes: EventAttributes, notes: Notes) -> i64 {
    let now = step.now();
    step.write(HistoryEvent {
        event_time: Some(now.to_api()),
        user_metadata: notes.user_metadata,
        event_group_markers: notes.event_group_markers,
        attributes: Some(attributes),
        ..Default::default()
    })
}

/// Close commands are refused while events wait that the workflow has not seen (spec 02 §2.5). Updates that were admitted
/// while the task ran do not hold up a close, in Temporal neither: its server has the check switched off
/// (RespondWorkflowTaskCompleted, 1.31), and they are aborted or sent on to the next run.
fn refuse_close_over_buffer(step: &Step<'_, '_>, completion: &Completion) -> Result<(), CommandFailure> {
    if completion.had_buffered || unseen(step, completion) {
        return Err(CommandFailure::new(Cause::UnhandledCommand, ""));
    }
    Ok(())
}

/// Events wait that are not this completion's own making: the end of an activity that it cancelled, the failure of
/// a request to itself (answered after the commit if it went the usual way) do not hold up a close.
fn unseen(step: &Step<'_, '_>, completion: &Completion) -> bool {
    let own = |attributes: &EventAttributes| {
        let made_by = match attributes {
            EventAttributes::SignalExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
            EventAttributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(a) => a.initiated_event_id,
            EventAttributes::ActivityTaskCanceledEventAttributes(a) => a.latest_cancel_requested_event_id,
            _ => return false,
        };
        made_by > completion.completed_event_id
    };
    !step.run.state.progress.buffer.events.iter().all(|e| e.attributes.as_ref().is_some_and(own))
}

/// The texts of pending limits.
fn within_limit(cause: Cause, what: &str, pending: usize, limit: usize) -> Result<(), CommandFailure> {
    if pending < limit {
        return Ok(());
    }
    let text = format!("the number of {what}, {pending}, has reached the per-workflow limit of {limit}");
    Err(CommandFailure::new(cause, text))
}

fn not_set(command: CommandType) -> CommandFailure {
    match command {
        CommandType::ScheduleNexusOperation => return CommandFailure::new(cause_of(command), schedule_operation::NOT_SET),
        CommandType::RequestCancelNexusOperation => return CommandFailure::new(cause_of(command), cancel_operation::NOT_SET),
        _ => {}
    }
    let name = sequence::name(command);
    CommandFailure::new(cause_of(command), format!("{name}CommandAttributes is not set on {name}Command."))
}

fn cause_of(command: CommandType) -> Cause {
    match command {
        CommandType::ScheduleActivityTask => Cause::BadScheduleActivityAttributes,
        CommandType::RequestCancelActivityTask => Cause::BadRequestCancelActivityAttributes,
        CommandType::StartTimer => Cause::BadStartTimerAttributes,
        CommandType::CancelTimer => Cause::BadCancelTimerAttributes,
        CommandType::RecordMarker => Cause::BadRecordMarkerAttributes,
        CommandType::StartChildWorkflowExecution => Cause::BadStartChildExecutionAttributes,
        CommandType::SignalExternalWorkflowExecution => Cause::BadSignalWorkflowExecutionAttributes,
        CommandType::RequestCancelExternalWorkflowExecution => Cause::BadRequestCancelExternalWorkflowExecutionAttributes,
        CommandType::UpsertWorkflowSearchAttributes => Cause::BadSearchAttributes,
        CommandType::ModifyWorkflowProperties => Cause::BadModifyWorkflowPropertiesAttributes,
        CommandType::CompleteWorkflowExecution => Cause::BadCompleteWorkflowExecutionAttributes,
        CommandType::FailWorkflowExecution => Cause::BadFailWorkflowExecutionAttributes,
        CommandType::CancelWorkflowExecution => Cause::BadCancelWorkflowExecutionAttributes,
        CommandType::ContinueAsNewWorkflowExecution => Cause::BadContinueAsNewAttributes,
        CommandType::ProtocolMessage => Cause::BadUpdateWorkflowExecutionMessage,
        CommandType::ScheduleNexusOperation => Cause::BadScheduleNexusOperationAttributes,
        CommandType::RequestCancelNexusOperation => Cause::BadRequestCancelNexusOperationAttributes,
        CommandType::Unspecified => Cause::Unspecified,
    }
}

fn type_of(attributes: &Attributes) -> CommandType {
    match attributes {
        Attributes::ScheduleActivityTaskCommandAttributes(_) => CommandType::ScheduleActivityTask,
        Attributes::StartTimerCommandAttributes(_) => CommandType::StartTimer,
        Attributes::CompleteWorkflowExecutionCommandAttributes(_) => CommandType::CompleteWorkflowExecution,
        Attributes::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        Attributes::RequestCancelActivityTaskCommandAttributes(_) => CommandType::RequestCancelActivityTask,
        Attributes::CancelTimerCommandAttributes(_) => CommandType::CancelTimer,
        Attributes::CancelWorkflowExecutionCommandAttributes(_) => CommandType::CancelWorkflowExecution,
        Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => CommandType::RequestCancelExternalWorkflowExecution,
        Attributes::RecordMarkerCommandAttributes(_) => CommandType::RecordMarker,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(_) => CommandType::ContinueAsNewWorkflowExecution,
        Attributes::StartChildWorkflowExecutionCommandAttributes(_) => CommandType::StartChildWorkflowExecution,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(_) => CommandType::SignalExternalWorkflowExecution,
        Attributes::UpsertWorkflowSearchAttributesCommandAttributes(_) => CommandType::UpsertWorkflowSearchAttributes,
        Attributes::ProtocolMessageCommandAttributes(_) => CommandType::ProtocolMessage,
        Attributes::ModifyWorkflowPropertiesCommandAttributes(_) => CommandType::ModifyWorkflowProperties,
        Attributes::ScheduleNexusOperationCommandAttributes(_) => CommandType::ScheduleNexusOperation,
        Attributes::RequestCancelNexusOperationCommandAttributes(_) => CommandType::RequestCancelNexusOperation,
    }
}

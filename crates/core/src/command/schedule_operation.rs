//! ScheduleNexusOperation (spec 08 §5.2).

use alloc::{boxed::Box, format, string::String};

use prost::Message;
use sempre_api::v1::{
    command::ScheduleNexusOperationCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{NexusOperationScheduledEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, write};
use crate::{
    Span,
    nexus::{
        self,
        schedule::{self, BadHeader, NAME_MAX},
    },
    step::Step,
};

const CAUSE: Cause = Cause::BadScheduleNexusOperationAttributes;
/// What a command without attributes is told.
pub(super) const NOT_SET: &str = "empty ScheduleNexusOperationCommandAttributes";

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: ScheduleNexusOperationCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let endpoint_id = endpoint(step, &a)?;
    for (field, value) in [("Service", &a.service), ("Operation", &a.operation)] {
        if value.len() > NAME_MAX {
            return Err(failure(format!("{field} exceeds length limit of {NAME_MAX}")));
        }
    }
    let [schedule_to_close, schedule_to_start, start_to_close] = timeouts(step, &a)?;
    if a.input.as_ref().map_or(0, Message::encoded_len) > step.cx.limits.blob_size_max && a.endpoint != nexus::SYSTEM_ENDPOINT {
        return Err(CommandFailure::too_large(CAUSE, "ScheduleNexusOperationCommandAttributes.Input exceeds size limit"));
    }
    let nexus_header = schedule::header(&a.nexus_header).map_err(bad_header)?;
    let limit = step.cx.limits.pending_operations_max;
    if nexus::pending_count(&step.run.state, limit) >= limit {
        let text = format!("workflow has reached the pending nexus operation limit of {limit} for this namespace");
        return Err(CommandFailure::new(Cause::PendingNexusOperationsLimitExceeded, text));
    }
    let request_id = step.cx.ids.uuid();
    let id = write(
        step,
        Attributes::NexusOperationScheduledEventAttributes(Box::new(NexusOperationScheduledEventAttributes {
            endpoint: a.endpoint,
            service: a.service,
            operation: a.operation,
            input: a.input,
            schedule_to_close_timeout: schedule_to_close,
            nexus_header,
            workflow_task_completed_event_id: completion.completed_event_id,
            request_id,
            endpoint_id,
            schedule_to_start_timeout: schedule_to_start,
            start_to_close_timeout: start_to_close,
        })),
        notes,
    );
    nexus::send_start(step, id);
    Ok(())
}

/// Texts begin with the name of the message.
fn failure(rest: impl core::fmt::Display) -> CommandFailure {
    CommandFailure::new(CAUSE, format!("ScheduleNexusOperationCommandAttributes.{rest}"))
}

/// The endpoint's id; empty for the server's own.
fn endpoint(step: &Step<'_, '_>, a: &ScheduleNexusOperationCommandAttributes) -> Result<String, CommandFailure> {
    if a.endpoint == nexus::SYSTEM_ENDPOINT {
        if !a.nexus_header.is_empty() {
            return Err(failure(format!("NexusHeader must be empty when using {} endpoint", nexus::SYSTEM_ENDPOINT)));
        }
        let asked = nexus::system::request(&a.service, &a.operation, a.input.as_ref(), &step.cx.namespace.name);
        return asked.map(|_| String::new()).map_err(|problem| CommandFailure::new(CAUSE, problem.text()));
    }
    let found = step.cx.endpoints.id_of(&a.endpoint);
    found.ok_or_else(|| CommandFailure::new(CAUSE, format!("endpoint {:?} not found", a.endpoint)))
}

/// Schedule-to-close at most the run's and the server's; the others at most that.
fn timeouts(step: &Step<'_, '_>, a: &ScheduleNexusOperationCommandAttributes) -> Result<[Option<sempre_api::Duration>; 3], CommandFailure> {
    let read = |name: &str, value: &Option<sempre_api::Duration>| {
        Span::from_api(value.as_ref()).map_err(|why| failure(format!("{name} is invalid: {why}")))
    };
    let mut to_close = read("ScheduleToCloseTimeout", &a.schedule_to_close_timeout)?;
    let mut to_start = read("ScheduleToStartTimeout", &a.schedule_to_start_timeout)?;
    let mut from_start = read("StartToCloseTimeout", &a.start_to_close_timeout)?;
    let run = Span::from_api(step.run.state.derived.start.event().workflow_run_timeout.as_ref()).unwrap_or_default();
    if !run.is_zero() && (to_close.is_zero() || to_close > run) {
        to_close = run;
    }
    let longest = step.cx.limits.operation_timeout_max;
    if !longest.is_zero() && to_close > longest {
        to_close = longest;
    }
    if !to_close.is_zero() {
        to_start = to_start.min(to_close);
        from_start = from_start.min(to_close);
    }
    // What was set to zero stays as it was sent.
    let written = |span: Span, sent: &Option<sempre_api::Duration>| span.to_api_option().or(*sent);
    Ok([
        written(to_close, &a.schedule_to_close_timeout),
        written(to_start, &a.schedule_to_start_timeout),
        written(from_start, &a.start_to_close_timeout),
    ])
}

fn bad_header(refused: BadHeader) -> CommandFailure {
    failure(match refused {
        BadHeader::Reserved(name) => format!("NexusHeader contains a disallowed header key: {name:?}"),
        BadHeader::TooLarge => "NexusHeader exceeds size limit".into(),
    })
}

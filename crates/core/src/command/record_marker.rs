//! RecordMarker.

use alloc::format;

use prost::Message;
use sempre_api::v1::{
    command::RecordMarkerCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{MarkerRecordedEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, write};
use crate::step::Step;

const CAUSE: Cause = Cause::BadRecordMarkerAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: RecordMarkerCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let name = &a.marker_name;
    if name.is_empty() {
        return Err(CommandFailure::new(CAUSE, "MarkerName is not set on RecordMarkerCommand."));
    }
    let limit = step.cx.limits.id_length_max;
    if name.len() > limit {
        let length = name.len();
        let text = format!("MarkerName on RecordMarkerCommand exceeds length limit. MarkerName={name} Length={length} Limit={limit}");
        return Err(CommandFailure::new(CAUSE, text));
    }
    let bytes: usize = a.details.iter().map(|(key, payloads)| key.len() + payloads.encoded_len()).sum();
    if bytes > step.cx.limits.blob_size_max {
        return Err(CommandFailure::too_large(CAUSE, "RecordMarkerCommandAttributes.Details exceeds size limit."));
    }
    let attributes = MarkerRecordedEventAttributes {
        marker_name: a.marker_name,
        details: a.details,
        workflow_task_completed_event_id: completion.completed_event_id,
        header: a.header,
        failure: a.failure,
    };
    write(step, Attributes::MarkerRecordedEventAttributes(attributes), notes);
    Ok(())
}

//! ModifyWorkflowProperties (spec 04 §5).

use prost::Message;
use sempre_api::v1::{
    command::ModifyWorkflowPropertiesCommandAttributes,
    common::Memo,
    enums::WorkflowTaskFailedCause as Cause,
    history::{WorkflowPropertiesModifiedEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, write};
use crate::{state::derived::merge_fields, step::Step};

const CAUSE: Cause = Cause::BadModifyWorkflowPropertiesAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: ModifyWorkflowPropertiesCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let Some(changes) = &a.upserted_memo else {
        return Err(CommandFailure::new(CAUSE, "UpsertedMemo is not set on ModifyWorkflowPropertiesCommand."));
    };
    if changes.fields.is_empty() {
        return Err(CommandFailure::new(CAUSE, "UpsertedMemo.Fields is not set on ModifyWorkflowPropertiesCommand."));
    }
    let limits = step.cx.limits;
    if changes.encoded_len() > limits.memo_size_max {
        let text = "ModifyWorkflowPropertiesCommandAttributes exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    let mut merged = Memo { fields: step.run.state.derived.attributes.memo.clone() };
    merge_fields(&mut merged.fields, &changes.fields);
    if merged.encoded_len() > limits.memo_size_max {
        let text = "ModifyWorkflowPropertiesCommandAttributes. Memo exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    let attributes = WorkflowPropertiesModifiedEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        upserted_memo: a.upserted_memo,
    };
    write(step, Attributes::WorkflowPropertiesModifiedEventAttributes(attributes), notes);
    Ok(())
}

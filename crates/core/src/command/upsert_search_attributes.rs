//! UpsertWorkflowSearchAttributes (spec 04 §5).

use prost::Message;
use sempre_api::v1::{
    command::UpsertWorkflowSearchAttributesCommandAttributes,
    enums::WorkflowTaskFailedCause as Cause,
    history::{UpsertWorkflowSearchAttributesEventAttributes, history_event::Attributes},
};

use super::{CommandFailure, Completion, Notes, write};
use crate::{state::derived::merge_fields, step::Step, validate};

const CAUSE: Cause = Cause::BadSearchAttributes;

pub(super) fn apply(
    step: &mut Step<'_, '_>,
    completion: &mut Completion,
    a: UpsertWorkflowSearchAttributesCommandAttributes,
    notes: Notes,
) -> Result<(), CommandFailure> {
    let Some(mut changes) = a.search_attributes else {
        let text = "SearchAttributes is not set on UpsertWorkflowSearchAttributesCommand.";
        return Err(CommandFailure::new(CAUSE, text));
    };
    if changes.indexed_fields.is_empty() {
        let text = "IndexedFields is not set on UpsertWorkflowSearchAttributesCommand.";
        return Err(CommandFailure::new(CAUSE, text));
    }
    let carried = &step.run.state.derived.attributes.search;
    validate::search_attribute_types(Some(&mut changes), step.cx.namespace, carried).map_err(|text| CommandFailure::new(CAUSE, text))?;
    if changes.encoded_len() > step.cx.limits.blob_size_max {
        let text = "UpsertWorkflowSearchAttributesCommandAttributes exceeds size limit.";
        return Err(CommandFailure::too_large(CAUSE, text));
    }
    let too_large = |text| CommandFailure::too_large(CAUSE, text);
    let mut merged = step.run.state.derived.attributes.search.clone();
    merge_fields(&mut merged, &changes.indexed_fields);
    validate::search_attribute_sizes(&merged).map_err(too_large)?;
    let attributes = UpsertWorkflowSearchAttributesEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        search_attributes: Some(changes),
    };
    write(step, Attributes::UpsertWorkflowSearchAttributesEventAttributes(attributes), notes);
    Ok(())
}

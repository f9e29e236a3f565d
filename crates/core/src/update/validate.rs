//! What must hold of the calls about updates before a run is asked (spec 02 §7.1, 09 §1.4).

use alloc::string::{String, ToString};

use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    update::UpdateRef,
    workflowservice::{PollWorkflowExecutionUpdateRequest, UpdateWorkflowExecutionRequest},
};

use crate::{Limits, Refusal, validate};

/// Checks an update and gives it an id if it has none. Returns the stage to wait for.
pub fn update(request: &mut UpdateWorkflowExecutionRequest, mut new_id: impl FnMut() -> String, limits: &Limits) -> Result<Stage, Refusal> {
    let update = request.request.as_mut();
    let invalid = |text: &str| Err(Refusal::invalid(text.to_string()));
    let Some(update) = update else { return invalid("Update meta is not set on request.") };
    let Some(meta) = &mut update.meta else { return invalid("Update meta is not set on request.") };
    if meta.update_id.len() > limits.id_length_max {
        return invalid("UpdateId length exceeds limit.");
    }
    if meta.update_id.is_empty() {
        meta.update_id = new_id();
    }
    let Some(input) = &update.input else { return invalid("Update input is not set on request.") };
    if input.name.is_empty() {
        return invalid("Update name is not set on request.");
    }
    validate::blob(input.args.as_ref(), limits)?;
    if update.request_id.len() > limits.id_length_max {
        return invalid("RequestId length exceeds limit.");
    }
    validate::update_callbacks(&mut update.completion_callbacks, limits)?;
    validate::links_of_update(update)?;
    if update.request_id.is_empty() && !update.completion_callbacks.is_empty() {
        update.request_id = new_id();
    }
    match request.wait_policy.as_ref().map_or(Stage::Unspecified, |policy| policy.lifecycle_stage()) {
        Stage::Unspecified | Stage::Accepted => Ok(Stage::Accepted),
        Stage::Completed => Ok(Stage::Completed),
        Stage::Admitted => Err(Refusal::PermissionDenied(
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.".into(),
        )),
    }
}

/// Checks a poll for an update. Returns the update and the stage to wait for ([`Stage::Unspecified`]: none).
pub fn poll(request: PollWorkflowExecutionUpdateRequest) -> Result<(UpdateRef, Stage), Refusal> {
    let stage = request.wait_policy.as_ref().map_or(Stage::Unspecified, |policy| policy.lifecycle_stage());
    let update = request.update_ref.ok_or_else(|| Refusal::invalid("UpdateRef is not set on request."))?;
    Ok((update, stage))
}

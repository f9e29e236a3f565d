//! What a schedule must be to be taken (spec 07 §1, §4).

use alloc::{collections::BTreeMap, format, string::String};

use prost::Message as _;
use sempre_api::v1::{
    common::{Memo, SearchAttributes},
    enums::{ScheduleOverlapPolicy, WorkflowIdReusePolicy},
    schedule::{Schedule as Given, SchedulePatch, SchedulePolicies, schedule_action::Action},
    workflow::NewWorkflowExecutionInfo,
};

use super::{
    NOTES_BYTES_MAX, WORKFLOW_ID_PREFIX,
    spec::{Spec, canonical},
    start::{SUFFIX_BYTES, of_action},
    state::Definition,
    step::{CATCHUP_DEFAULT, CATCHUP_MIN, Schedule},
    zone::Zones,
};
use crate::{Context, Limits, NamespaceView, Refusal, Span, refusal::text::BLOB_TOO_LARGE, validate};

/// A schedule that does not exist.
pub fn not_found() -> Refusal {
    Refusal::not_found("schedule not found")
}

/// A workflow was to be started under the id that the reference server gives a schedule's own.
pub fn in_the_way(schedule: &Schedule, workflow_id: &str) -> Refusal {
    let Definition { uid, request_id, .. } = &schedule.definition;
    Refusal::AlreadyStarted {
        message: format!("Workflow execution is already running. WorkflowId: {workflow_id}, RunId: {uid}."),
        start_request_id: request_id.clone(),
        run_id: uid.clone(),
        first_run_id: uid.clone(),
    }
}

/// The id of a schedule.
pub fn schedule_id(id: &str, limits: &Limits) -> Result<(), Refusal> {
    validate::required(id, "ScheduleId is not set on request.")?;
    if WORKFLOW_ID_PREFIX.len() + id.len() > limits.id_length_max {
        return Err(Refusal::invalid("ScheduleId length exceeds limit."));
    }
    Ok(())
}

/// Checks what a client says of a schedule, and puts its normal form into `definition`.
pub fn definition(definition: &mut Definition, given: &Given, zones: &dyn Zones, cx: &mut Context<'_>) -> Result<(), Refusal> {
    let invalid = |text: String| Refusal::InvalidArgument(format!("Invalid schedule spec: {text}"));
    let spec = canonical(given.spec.clone().unwrap_or_default()).map_err(invalid)?;
    Spec::new(&spec, String::new(), zones).map_err(invalid)?;
    let action = action(given, cx)?;
    let policies = policies(given.policies.unwrap_or_default())?;
    if given.state.as_ref().is_some_and(|state| state.notes.len() > NOTES_BYTES_MAX) {
        return Err(notes_too_long());
    }
    definition.spec = Some(spec);
    definition.action = Some(action);
    definition.policies = Some(policies);
    Ok(())
}

fn action(given: &Given, cx: &mut Context<'_>) -> Result<NewWorkflowExecutionInfo, Refusal> {
    let action = given.action.as_ref().and_then(|action| action.action.as_ref());
    let Some(Action::StartWorkflow(action)) = action else {
        return Err(Refusal::invalid("Only StartWorkflow action is supported for schedules"));
    };
    if action.workflow_id.len() + SUFFIX_BYTES > cx.limits.id_length_max {
        return Err(Refusal::invalid("WorkflowId length exceeds limit."));
    }
    if !action.cron_schedule.is_empty() {
        return Err(Refusal::invalid("Scheduled workflow must not contain CronSchedule"));
    }
    if !matches!(action.workflow_id_reuse_policy(), WorkflowIdReusePolicy::Unspecified | WorkflowIdReusePolicy::AllowDuplicate) {
        return Err(Refusal::invalid("Scheduled workflow must not contain WorkflowIDReusePolicy"));
    }
    let bytes = action.input.as_ref().map_or(0, prost::Message::encoded_len) + action.memo.as_ref().map_or(0, |memo| memo.encoded_len());
    if bytes > cx.limits.blob_size_max {
        return Err(Refusal::invalid(BLOB_TOO_LARGE));
    }
    // What a start would be refused for is refused now. The start brings the rest to its normal form.
    validate::start(&mut of_action(action.clone(), &cx.namespace.name), cx)?;
    let mut action = action.clone();
    own_types(action.search_attributes.as_mut(), cx.namespace)?;
    Ok(action)
}

fn own_types(attributes: Option<&mut SearchAttributes>, namespace: &NamespaceView) -> Result<(), Refusal> {
    validate::search_attribute_types(attributes, namespace, &BTreeMap::new()).map_err(Refusal::InvalidArgument)
}

/// Checks what belongs to the schedule itself, and writes the types into its search attributes.
pub fn belongings(
    attributes: &mut Option<SearchAttributes>,
    memo: Option<&Memo>,
    namespace: &NamespaceView,
    limits: &Limits,
) -> Result<(), Refusal> {
    validate::search_attributes(attributes.as_ref()).map_err(Refusal::InvalidArgument)?;
    own_types(attributes.as_mut(), namespace)?;
    validate::memo(memo, limits).map_err(Refusal::invalid)
}

fn policies(mut policies: SchedulePolicies) -> Result<SchedulePolicies, Refusal> {
    if policies.overlap_policy() == ScheduleOverlapPolicy::Unspecified {
        policies.set_overlap_policy(ScheduleOverlapPolicy::Skip);
    }
    let window = Span::from_api(policies.catchup_window.as_ref())
        .map_err(|why| Refusal::InvalidArgument(format!("invalid CatchupWindow: {why}")))?;
    policies.catchup_window = Some(window.some().map_or(CATCHUP_DEFAULT, |window| window.max(CATCHUP_MIN)).to_api());
    Ok(policies)
}

fn notes_too_long() -> Refusal {
    Refusal::invalid("Schedule notes exceeds limit.")
}

/// Checks a patch.
pub fn patch(patch: Option<&SchedulePatch>) -> Result<&SchedulePatch, Refusal> {
    let patch = patch.ok_or_else(|| Refusal::invalid("Patch is not set on request."))?;
    if patch.pause.len() > NOTES_BYTES_MAX || patch.unpause.len() > NOTES_BYTES_MAX {
        return Err(notes_too_long());
    }
    Ok(patch)
}

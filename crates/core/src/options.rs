//! UpdateWorkflowExecutionOptions (spec 01 §13): options of an open run that can be changed from outside.
//!
//! `priority` whole or by field; `versioning_override` and `time_skipping_config` as a whole.

use alloc::{boxed::Box, format, string::String, vec::Vec};

use sempre_api::{
    FieldMask,
    v1::{
        common::Priority,
        history::{HistoryEvent, WorkflowExecutionOptionsUpdatedEventAttributes, history_event::Attributes},
        workflow::{VersioningOverride, WorkflowExecutionOptions},
        workflowservice::UpdateWorkflowExecutionOptionsResponse,
    },
};

use crate::{
    Limits, Refusal, Reply, activity,
    step::Step,
    task, time_skipping, validate,
    versioning::{self, overrides},
};

/// A request to change options.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OptionsRequest {
    /// The options to take over.
    pub options: Option<WorkflowExecutionOptions>,
    /// Which of them.
    pub mask: Option<FieldMask>,
    /// Who asks.
    pub identity: String,
}

/// What a path of the mask names.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Path {
    Priority,
    PriorityKey,
    FairnessKey,
    FairnessWeight,
    VersioningOverride,
    TimeSkipping,
}

/// Refuses what no run could make right.
pub fn check(options: Option<&WorkflowExecutionOptions>, mask: Option<&FieldMask>, limits: &Limits) -> Result<(), Refusal> {
    let mask = mask.ok_or_else(|| Refusal::invalid("UpdateMask is required"))?;
    let options = options.ok_or_else(|| Refusal::invalid("WorkflowExecutionOptions is required"))?;
    paths(mask)?;
    validate::priority(options.priority.as_ref()).map_err(Refusal::InvalidArgument)?;
    time_skipping::check(options.time_skipping_config.as_ref(), limits)
}

fn paths(mask: &FieldMask) -> Result<Vec<Path>, Refusal> {
    mask.paths.iter().map(|path| parse(path)).collect()
}

fn parse(path: &str) -> Result<Path, Refusal> {
    const OVERRIDE_FIELDS: [&str; 5] = ["behavior", "deployment", "pinned_version", "pinned", "auto_upgrade"];
    Ok(match path {
        "priority" => Path::Priority,
        "priority.priority_key" => Path::PriorityKey,
        "priority.fairness_key" => Path::FairnessKey,
        "priority.fairness_weight" => Path::FairnessWeight,
        "versioning_override" => Path::VersioningOverride,
        "time_skipping_config" => Path::TimeSkipping,
        other => {
            let part_of = |field: &str| other.strip_prefix(field).and_then(|rest| rest.strip_prefix('.'));
            if let Some(field) = part_of("versioning_override") {
                if OVERRIDE_FIELDS.iter().any(|known| field == *known || field.starts_with(&format!("{known}."))) {
                    let text = "error applying update_options: versioning_override fields must be updated together";
                    return Err(Refusal::invalid(text));
                }
            } else if part_of("time_skipping_config").is_some() {
                let text = "error applying update_options: time_skipping_config must be updated as a whole";
                return Err(Refusal::invalid(text));
            }
            let message = "temporal.api.workflow.v1.WorkflowExecutionOptions";
            return Err(Refusal::invalid(format!("error parsing UpdateMask: proto: invalid path {other:?} for message {message:?}")));
        }
    })
}

/// Changes the options of an open run; no task is made for it.
pub(crate) fn request(step: &mut Step<'_, '_>, request: OptionsRequest) -> Result<Result<Reply, Refusal>, Refusal> {
    check(request.options.as_ref(), request.mask.as_ref(), step.cx.limits)?;
    step.require_open()?;
    let update_time = Some(step.now().to_api());
    let merged = update(step, request.options.as_ref(), request.mask.as_ref(), request.identity)?;
    let answer = UpdateWorkflowExecutionOptionsResponse { workflow_execution_options: Some(merged), update_time };
    Ok(Ok(Reply::Options(Box::new(answer))))
}

/// Merges the masked options into the run's and writes the event if that changes anything. Returns the merged ones.
pub(crate) fn update(
    step: &mut Step<'_, '_>,
    options: Option<&WorkflowExecutionOptions>,
    mask: Option<&FieldMask>,
    identity: String,
) -> Result<WorkflowExecutionOptions, Refusal> {
    check(options, mask, step.cx.limits)?;
    let asked = options.and_then(|options| options.priority.clone());
    let (old, old_override) = (current(step), current_override(step));
    let (mut priority, mut versioning_override) = (old.clone(), old_override.clone());
    let old_time = time_skipping::config(&step.run.state);
    // A fast-forward counts from now, even if it is the same as before.
    let (mut time, mut time_updated) = (old_time.clone(), false);
    for path in mask.map(paths).transpose()?.unwrap_or_default() {
        let given = asked.clone().unwrap_or_default();
        match path {
            Path::Priority => priority.clone_from(&asked),
            Path::PriorityKey => priority.get_or_insert_default().priority_key = given.priority_key,
            Path::FairnessKey => priority.get_or_insert_default().fairness_key = given.fairness_key,
            Path::FairnessWeight => priority.get_or_insert_default().fairness_weight = given.fairness_weight,
            Path::VersioningOverride => {
                let asked = options.and_then(|options| options.versioning_override.as_ref());
                let queue = step.run.state.derived.start.task_queue();
                overrides::check(asked, &step.cx.namespace.deployments, queue)?;
                versioning_override = asked.and_then(overrides::normal);
            }
            Path::TimeSkipping => {
                let asked = options.and_then(|options| options.time_skipping_config.clone());
                time = asked.map(|config| time_skipping::normal(config, step.cx.limits));
                time_updated = time != old_time || time.as_ref().is_some_and(|config| config.fast_forward_config.is_some());
            }
        }
    }
    if priority != old || versioning_override != old_override || time_updated {
        let now = step.now();
        step.buffer_event(HistoryEvent {
            event_time: Some(now.to_api()),
            worker_may_ignore: true,
            attributes: Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(Box::new(
                WorkflowExecutionOptionsUpdatedEventAttributes {
                    // The event says the whole of the options.
                    unset_versioning_override: versioning_override.is_none(),
                    versioning_override: versioning_override.clone(),
                    identity,
                    // An absent priority would mean "as before".
                    priority: Some(priority.clone().unwrap_or_default()),
                    time_skipping_config: time.clone(),
                    time_skipping_config_updated: time_updated,
                    ..Default::default()
                },
            ))),
            ..Default::default()
        });
    }
    let versioning_override = versioning_override.map(overrides::with_old_fields);
    Ok(WorkflowExecutionOptions { priority, versioning_override, time_skipping_config: time })
}

/// The run's override, with an update that still waits in the buffer.
fn current_override(step: &Step<'_, '_>) -> Option<VersioningOverride> {
    let buffered = step.run.state.progress.buffer.events.iter().rev().find_map(|event| match &event.attributes {
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) if a.unset_versioning_override => Some(None),
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) => a.versioning_override.clone().map(Some),
        _ => None,
    });
    let known = || step.run.state.derived.main.versioning.as_ref().and_then(|info| info.versioning_override.clone());
    buffered.unwrap_or_else(known)
}

/// The run's priority, with an update that still waits in the buffer.
fn current(step: &Step<'_, '_>) -> Option<Priority> {
    let buffered = step.run.state.progress.buffer.events.iter().rev().find_map(|event| match &event.attributes {
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) => a.priority.clone(),
        _ => None,
    });
    buffered.or_else(|| step.run.state.derived.priority().cloned()).filter(|priority| *priority != Priority::default())
}

/// A priority that says nothing is none.
fn is_the_same(a: Option<&Priority>, b: Option<&Priority>) -> bool {
    let said = |priority: Option<&Priority>| priority.cloned().unwrap_or_default();
    said(a) == said(b)
}

/// Writes an OptionsUpdated event. Offers stand in line by priority: those that wait move when it changes.
pub(crate) fn write(step: &mut Step<'_, '_>, event: HistoryEvent) {
    let (versions, changes) = match &event.attributes {
        Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) => {
            let versions = versioning::start::moves_with(step, a);
            (versions, versions || a.priority.as_ref().is_some_and(|to| !is_the_same(Some(to), step.run.state.derived.priority())))
        }
        _ => (false, false),
    };
    if !changes {
        step.write(event);
        return;
    }
    // A speculative task gets its events before this one, and its offer with them.
    task::speculative::convert(step);
    let task = task::withdraw_offer(step);
    let activities = activity::withdraw_all(step);
    step.write(event);
    if versions {
        versioning::start::options_changed(step);
        task::leave_sticky_queue(step);
    }
    if task {
        task::offer_again(step);
    }
    activity::offer_again(step, activities);
}

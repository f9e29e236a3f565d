//! What a run passes on to its children and to the next run of its chain (spec 05 §9.2).

use prost::Message;
use sempre_api::v1::{
    deployment::{InheritedAutoUpgradeInfo, WorkerDeploymentVersion},
    enums::{ContinueAsNewVersioningBehavior, VersioningBehavior},
    history::{DeclinedTargetVersionUpgrade, WorkflowExecutionStartedEventAttributes},
    workflow::VersioningOverride,
};

use super::{Effective, Target, effective, info, overrides, progress, revision};
use crate::{step::Step, transition::QueueKind};

/// What a new run begins with.
#[derive(Clone, PartialEq, Message)]
pub struct Inherited {
    /// It begins pinned to this version.
    #[prost(message, optional, tag = "1")]
    pub pinned: Option<WorkerDeploymentVersion>,
    /// It begins on automatic upgrade, from this version on.
    #[prost(message, optional, tag = "2")]
    pub auto_upgrade: Option<InheritedAutoUpgradeInfo>,
}

/// The run's version, if the queue of the new run has it too.
fn version_for(step: &Step<'_, '_>, effective: &Effective, queue: &str) -> Option<WorkerDeploymentVersion> {
    let version = effective.version.as_ref()?;
    let same = queue == step.run.state.derived.start.task_queue();
    (same || step.cx.namespace.deployments.has(version, QueueKind::Workflow, queue)).then(|| version.to_api())
}

/// The run's own override, if it is pinned and the queue of the new run has its version.
fn pinned_override(step: &Step<'_, '_>, queue: &str) -> Option<VersioningOverride> {
    let own = info(&step.run.state)?.versioning_override.as_ref().filter(|own| overrides::is_pinned(own))?;
    version_for(step, &effective(&step.run.state), queue).map(|_| own.clone())
}

fn auto_upgrade(step: &Step<'_, '_>, effective: &Effective, queue: &str, initial: i32) -> Option<InheritedAutoUpgradeInfo> {
    let revision = revision(&step.run.state);
    let version = version_for(step, effective, queue).filter(|_| revision != 0)?;
    Some(InheritedAutoUpgradeInfo {
        source_deployment_version: Some(version),
        source_deployment_revision_number: revision,
        continue_as_new_initial_versioning_behavior: initial,
    })
}

/// For a child on `queue`: what it begins with, and the override it is given unless it has one of its own.
pub(crate) fn of_child(step: &Step<'_, '_>, queue: &str) -> (Inherited, Option<VersioningOverride>) {
    let effective = effective(&step.run.state);
    let inherited = match effective.behavior {
        VersioningBehavior::Unspecified => Inherited::default(),
        VersioningBehavior::Pinned => Inherited { pinned: version_for(step, &effective, queue), auto_upgrade: None },
        VersioningBehavior::AutoUpgrade => Inherited { pinned: None, auto_upgrade: auto_upgrade(step, &effective, queue, 0) },
    };
    (inherited, pinned_override(step, queue))
}

/// Forgets what the run itself began with.
fn clear(attributes: &mut WorkflowExecutionStartedEventAttributes) {
    attributes.versioning_override = None;
    attributes.inherited_pinned_version = None;
    attributes.inherited_auto_upgrade_info = None;
    attributes.declined_target_version_upgrade = None;
}

/// For the run that a continue-as-new makes.
pub(crate) fn continue_as_new(
    step: &Step<'_, '_>,
    attributes: &mut WorkflowExecutionStartedEventAttributes,
    initial: ContinueAsNewVersioningBehavior,
) {
    clear(attributes);
    let effective = effective(&step.run.state);
    let queue = attributes.task_queue.as_ref().map_or("", |queue| queue.name.as_str());
    attributes.versioning_override = pinned_override(step, queue);
    attributes.declined_target_version_upgrade = declined(step);
    let stays = initial == ContinueAsNewVersioningBehavior::Unspecified;
    match effective.behavior {
        VersioningBehavior::Pinned if stays => {
            attributes.inherited_pinned_version = version_for(step, &effective, queue);
        }
        VersioningBehavior::Pinned | VersioningBehavior::AutoUpgrade => {
            attributes.inherited_auto_upgrade_info = auto_upgrade(step, &effective, queue, initial as i32);
        }
        VersioningBehavior::Unspecified => {}
    }
}

/// Where the run could have gone: it was told and did not go, or an earlier run did not.
fn declined(step: &Step<'_, '_>) -> Option<DeclinedTargetVersionUpgrade> {
    let progress = progress(&step.run.state)?;
    let target = progress.told.as_ref().or(progress.declined.as_ref())?;
    Some(DeclinedTargetVersionUpgrade { deployment_version: target.version.clone(), ..Default::default() })
}

/// For the next run of a retry (`retry`) or of cron.
pub(crate) fn again(step: &Step<'_, '_>, attributes: &mut WorkflowExecutionStartedEventAttributes, retry: bool) {
    let began = attributes.clone();
    clear(attributes);
    let effective = effective(&step.run.state);
    let own = info(&step.run.state).and_then(|info| info.versioning_override.as_ref());
    attributes.versioning_override = own.filter(|own| overrides::is_pinned(own)).cloned();
    if !retry {
        return;
    }
    attributes.declined_target_version_upgrade = began.declined_target_version_upgrade;
    match effective.behavior {
        VersioningBehavior::Pinned if began.inherited_pinned_version.is_some() => {
            attributes.inherited_pinned_version = effective.version.as_ref().map(|version| version.to_api());
        }
        VersioningBehavior::AutoUpgrade => {
            let initial = began.inherited_auto_upgrade_info.map_or(0, |info| info.continue_as_new_initial_versioning_behavior);
            let queue = step.run.state.derived.start.task_queue();
            attributes.inherited_auto_upgrade_info = auto_upgrade(step, &effective, queue, initial);
        }
        _ => {}
    }
}

/// What a new run remembers of its event 1 beside history.
pub(crate) fn remembered(attributes: &WorkflowExecutionStartedEventAttributes) -> Option<Target> {
    let continues = !attributes.continued_execution_run_id.is_empty() && attributes.inherited_pinned_version.is_some();
    let declined = attributes.declined_target_version_upgrade.as_ref().filter(|_| continues)?;
    Some(Target { version: declined.deployment_version.clone() })
}

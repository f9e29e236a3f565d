//! Worker versioning of a run (spec 05 §9.2): which worker version has its tasks, and how that changes.
//!
//! | the run is | its workflow tasks go to | its activities go to |
//! |---|---|---|
//! | not versioned | the version its queue names, else workers without a version | the same, by their queue |
//! | pinned | its version | its version; if that has never polled their queue, as for a run that is not versioned |
//! | on automatic upgrade | the version its queue names | the version their queue names |
//! | overridden once | the override's version, until a task completes there | as without the override |
//!
//! A task that is started by another version than the run's begins a *transition*: the run counts as on automatic upgrade
//! to that version, and its activities wait until a workflow task completes there. Which version completed a task, and
//! with which behavior, is in history; a transition is not.

pub mod attributes;
pub(crate) mod inherit;
pub(crate) mod overrides;
pub(crate) mod start;

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use prost::Message;
use sempre_api::v1::{
    deployment::WorkerDeploymentVersion,
    enums::{ContinueAsNewVersioningBehavior, VersioningBehavior},
    history::{
        WorkflowExecutionOptionsUpdatedEventAttributes, WorkflowExecutionStartedEventAttributes, WorkflowTaskCompletedEventAttributes,
    },
    workflow::{DeploymentVersionTransition, VersioningOverride, WorkflowExecutionVersioningInfo},
};

use crate::{Routing, Version, deployment::UNVERSIONED, state::State, step::Step, transition::QueueKind};

/// Versions that a run remembers to have used; the oldest go first.
const USED_MAX: usize = 100;

/// What history says of the run's versions. A run that has nothing of it has none.
#[derive(Clone, PartialEq, Message)]
pub struct Versioning {
    /// `VersioningBehavior` that the last completed task named, or that was inherited.
    #[prost(enumeration = "VersioningBehavior", tag = "1")]
    pub behavior: i32,
    /// The version that completed it, or that was inherited.
    #[prost(message, optional, tag = "2")]
    pub version: Option<WorkerDeploymentVersion>,
    /// Takes precedence.
    #[prost(message, optional, tag = "3")]
    pub versioning_override: Option<VersioningOverride>,
    /// The deployment that lists show: also of workers that name one without asking for versioned work.
    #[prost(string, tag = "4")]
    pub deployment_name: String,
    /// Where the continue-as-new that made the run wants its first task.
    #[prost(enumeration = "ContinueAsNewVersioningBehavior", tag = "5")]
    pub initial: i32,
    /// Revision of the routing config by which the run before went.
    #[prost(int64, tag = "6")]
    pub revision: i64,
    /// Versions that completed tasks, `name:build`, oldest first.
    #[prost(string, repeated, tag = "7")]
    pub used: Vec<String>,
}

/// A version, or the absence of one, that somebody has been told of or is on the way to.
#[derive(Clone, PartialEq, Message)]
pub struct Target {
    /// `None`: workers without a version.
    #[prost(message, optional, tag = "1")]
    pub version: Option<WorkerDeploymentVersion>,
}

/// What history does not say.
#[derive(Clone, PartialEq, Message)]
pub struct VersioningProgress {
    /// The version that the run is on the way to.
    #[prost(message, optional, tag = "1")]
    pub transition: Option<Target>,
    /// Revision of the routing config by which the last transition began; `None`: see [`Versioning::revision`].
    #[prost(int64, optional, tag = "2")]
    pub revision: Option<i64>,
    /// Where the run, which is pinned, was last told that it could go.
    #[prost(message, optional, tag = "3")]
    pub told: Option<Target>,
    /// Where an earlier run of the chain could have gone and did not.
    #[prost(message, optional, tag = "4")]
    pub declined: Option<Target>,
}

/// What counts now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Effective {
    pub(crate) behavior: VersioningBehavior,
    pub(crate) version: Option<Arc<Version>>,
}

fn version_of(version: Option<&WorkerDeploymentVersion>) -> Option<Arc<Version>> {
    version.map(|version| Arc::new(Version::from_api(version)))
}

fn info(state: &State) -> Option<&Versioning> {
    state.derived.main.versioning.as_deref()
}

fn progress(state: &State) -> Option<&VersioningProgress> {
    state.progress.main.versioning.as_deref()
}

/// Behavior and version that count: a transition, else an override, else what the last completed task said.
pub(crate) fn effective(state: &State) -> Effective {
    if let Some(transition) = progress(state).and_then(|progress| progress.transition.as_ref()) {
        return Effective { behavior: VersioningBehavior::AutoUpgrade, version: version_of(transition.version.as_ref()) };
    }
    let Some(info) = info(state) else { return Effective::default() };
    let stored = if info.behavior() == VersioningBehavior::Unspecified { None } else { info.version.as_ref() };
    match info.versioning_override.as_ref().and_then(overrides::kind) {
        Some(overrides::Kind::Pinned(version)) => Effective { behavior: VersioningBehavior::Pinned, version: version_of(Some(version)) },
        Some(overrides::Kind::AutoUpgrade) => Effective { behavior: VersioningBehavior::AutoUpgrade, version: version_of(stored) },
        Some(overrides::Kind::OneTime(_)) | None => Effective { behavior: info.behavior(), version: version_of(stored) },
    }
}

/// The version of an override that holds for one task.
fn one_time(state: &State) -> Option<Arc<Version>> {
    match overrides::kind(info(state)?.versioning_override.as_ref()?)? {
        overrides::Kind::OneTime(version) => version_of(Some(version)),
        _ => None,
    }
}

/// The first task of a run that a continue-as-new sent to the ramping version.
fn first_to_ramping(state: &State) -> bool {
    state.derived.main.completed_tasks == 0
        && info(state).is_some_and(|info| info.initial() == ContinueAsNewVersioningBehavior::UseRampingVersion)
}

/// The revision of the routing config by which the run goes; 0 = none.
pub(crate) fn revision(state: &State) -> i64 {
    let own = progress(state).and_then(|progress| progress.revision);
    own.unwrap_or_else(|| info(state).map_or(0, |info| info.revision))
}

/// How the run's workflow tasks find their workers.
pub(crate) fn workflow_routing(state: &State) -> Option<Arc<Routing>> {
    if state.derived.main.versioning.is_none() && state.progress.main.versioning.is_none() {
        return None;
    }
    let pinned = one_time(state).or_else(|| {
        let effective = effective(state);
        effective.version.filter(|_| effective.behavior == VersioningBehavior::Pinned)
    });
    let ramping = pinned.is_none() && first_to_ramping(state);
    (pinned.is_some() || ramping).then(|| Arc::new(Routing { pinned, ramping }))
}

/// How the tasks of an activity on `queue` find their workers.
pub(crate) fn activity_routing(step: &Step<'_, '_>, queue: &str) -> Option<Arc<Routing>> {
    let state = &step.run.state;
    state.derived.main.versioning.as_ref()?;
    let effective = effective(state);
    let pinned = effective.version.filter(|version| {
        effective.behavior == VersioningBehavior::Pinned && step.cx.namespace.deployments.has(version, QueueKind::Activity, queue)
    });
    pinned.map(|pinned| Arc::new(Routing { pinned: Some(pinned), ramping: false }))
}

/// The run is on its way to a version: its activities wait.
pub(crate) fn in_transition(state: &State) -> bool {
    progress(state).is_some_and(|progress| progress.transition.is_some())
}

/// The worker that holds the run in its cache is no longer the one that its next task goes to.
pub(crate) fn leaves_sticky(step: &Step<'_, '_>) -> bool {
    let state = &step.run.state;
    let effective = effective(state);
    if let Some(target) = one_time(state) {
        return effective.version.as_ref() != Some(&target);
    }
    if effective.behavior == VersioningBehavior::Pinned {
        return false;
    }
    let queue = state.derived.start.task_queue();
    let Some(route) = step.cx.namespace.deployments.route(QueueKind::Workflow, queue) else { return effective.version.is_some() };
    route.target(&step.run.key.workflow.workflow_id, first_to_ramping(state)).0 != effective.version.as_ref()
}

impl Versioning {
    /// From event 1.
    pub(crate) fn started(a: &WorkflowExecutionStartedEventAttributes) -> Option<Box<Self>> {
        let mut info = Self { versioning_override: a.versioning_override.as_ref().and_then(overrides::normal), ..Self::default() };
        if let Some(version) = &a.inherited_pinned_version {
            info.version = Some(version.clone());
            info.set_behavior(VersioningBehavior::Pinned);
        } else if let Some(inherited) = &a.inherited_auto_upgrade_info {
            info.version.clone_from(&inherited.source_deployment_version);
            info.revision = inherited.source_deployment_revision_number;
            info.initial = inherited.continue_as_new_initial_versioning_behavior;
            info.set_behavior(VersioningBehavior::AutoUpgrade);
        }
        info.name_deployment();
        info.unless_empty()
    }

    /// From an event that says that a task was completed.
    pub(crate) fn completed(known: Option<Box<Self>>, a: &WorkflowTaskCompletedEventAttributes) -> Option<Box<Self>> {
        if known.is_none() && a.worker_deployment_name.is_empty() && a.deployment_version.is_none() {
            return None;
        }
        let mut info = known.unwrap_or_default();
        info.deployment_name.clone_from(&a.worker_deployment_name);
        info.behavior = a.versioning_behavior;
        info.version = if info.behavior() == VersioningBehavior::Unspecified { None } else { a.deployment_version.clone() };
        let target = info.versioning_override.as_ref().and_then(overrides::kind);
        if let (Some(overrides::Kind::OneTime(target)), Some(version)) = (target, &a.deployment_version)
            && target == version
        {
            info.versioning_override = None;
        }
        if let Some(version) = &a.deployment_version {
            let text = alloc::format!("{}", Version::from_api(version));
            if !info.used.contains(&text) {
                info.used.push(text);
                let forgotten = info.used.len().saturating_sub(USED_MAX);
                info.used.drain(..forgotten);
            }
        }
        info.unless_empty()
    }

    /// From an event that says that options were changed.
    pub(crate) fn options_updated(known: Option<Box<Self>>, a: &WorkflowExecutionOptionsUpdatedEventAttributes) -> Option<Box<Self>> {
        let changes = a.unset_versioning_override || a.versioning_override.is_some();
        if !changes || known.is_none() && a.versioning_override.is_none() {
            return known;
        }
        let mut info = known.unwrap_or_default();
        let had = info.versioning_override.take();
        if !a.unset_versioning_override {
            info.versioning_override = a.versioning_override.as_ref().and_then(overrides::normal);
        }
        if had != info.versioning_override {
            info.name_deployment();
        }
        info.unless_empty()
    }

    /// The deployment is that of the version.
    fn name_deployment(&mut self) {
        let version = match self.versioning_override.as_ref().and_then(overrides::kind) {
            Some(overrides::Kind::Pinned(version)) => Some(version),
            _ => self.version.as_ref(),
        };
        self.deployment_name = version.map_or_else(String::new, |version| version.deployment_name.clone());
    }

    fn unless_empty(self) -> Option<Box<Self>> {
        (self != Self::default()).then(|| Box::new(self))
    }
}

/// `versioning_info` of a described run.
#[allow(deprecated, reason = "old clients read the versions as texts")]
pub(crate) fn described(state: &State) -> Option<WorkflowExecutionVersioningInfo> {
    let (info, progress) = (info(state), progress(state));
    let told = info.filter(|info| {
        // A deployment's name alone is no version.
        info.behavior != 0 || info.version.is_some() || info.versioning_override.is_some() || !info.used.is_empty()
    });
    if told.is_none() && progress.is_none_or(|progress| progress.transition.is_none()) {
        return None;
    }
    let default = Versioning::default();
    let info = told.unwrap_or(&default);
    let dotted = |version: &WorkerDeploymentVersion| Version::from_api(version).dotted();
    let transition = progress.and_then(|progress| progress.transition.as_ref()).map(|target| DeploymentVersionTransition {
        deployment_version: target.version.clone(),
        version: target.version.as_ref().map_or_else(|| UNVERSIONED.into(), dotted),
    });
    Some(WorkflowExecutionVersioningInfo {
        behavior: info.behavior,
        deployment_version: info.version.clone(),
        version: info.version.as_ref().map_or_else(String::new, dotted),
        versioning_override: info.versioning_override.clone().map(overrides::with_old_fields),
        version_transition: transition,
        revision_number: revision(state),
        continue_as_new_initial_versioning_behavior: info.initial,
        ..Default::default()
    })
}

/// `worker_deployment_name` of a described run.
pub(crate) fn deployment_name(state: &State) -> String {
    info(state).map_or_else(String::new, |info| info.deployment_name.clone())
}

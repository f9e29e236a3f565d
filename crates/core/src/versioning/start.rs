//! A worker takes a task: may it, and is the run on its way to that worker's version from now on?

use alloc::{boxed::Box, sync::Arc};

use sempre_api::v1::{enums::VersioningBehavior, workflowservice::RespondWorkflowTaskCompletedRequest};

use super::{Effective, Target, Versioning, effective, first_to_ramping, info, one_time, progress};
use crate::{Refusal, Version, activity, input::Poller, state::State, step::Step, task, transition::QueueKind};

/// Refusal text for a completion that names a behavior without a version.
const BEHAVIOR_ALONE: &str = "versioning behavior cannot be specified without deployment options being set with versioned mode";

/// What becomes of the run's versions beside history; an entry is made when there is something to say.
fn change(step: &mut Step<'_, '_>, f: impl FnOnce(&mut super::VersioningProgress)) {
    let known = &mut step.run.state.progress.main.versioning;
    let mut progress = known.take().unwrap_or_default();
    f(&mut progress);
    *known = (*progress != super::VersioningProgress::default()).then_some(progress);
}

/// The run has anything to do with versions.
fn is_versioned(state: &State) -> bool {
    state.derived.main.versioning.is_some() || state.progress.main.versioning.is_some()
}

/// False: the offer was made when other workers were to have the task.
pub(crate) fn may_take_workflow_task(step: &Step<'_, '_>, poller: &Poller) -> bool {
    let state = &step.run.state;
    if !is_versioned(state) {
        return true;
    }
    if let Some(target) = one_time(state) {
        return poller.version.as_ref() == Some(&target);
    }
    let effective = effective(state);
    effective.behavior != VersioningBehavior::Pinned || poller.version == effective.version
}

/// Before the Started event: is the worker to be told that the run, which is pinned, could go elsewhere? True with each
/// task, until an earlier run of the chain has declined that place.
pub(crate) fn target_changed(step: &mut Step<'_, '_>) -> bool {
    if !is_versioned(&step.run.state) {
        return false;
    }
    let now = effective(&step.run.state);
    let overridden = info(&step.run.state).is_some_and(|info| info.versioning_override.is_some());
    let target = target(step);
    if now.behavior == VersioningBehavior::Unspecified {
        return false;
    }
    if overridden || now.behavior == VersioningBehavior::Pinned && target == now.version {
        change(step, |progress| (progress.told, progress.declined) = (None, None));
        return false;
    }
    if now.behavior != VersioningBehavior::Pinned {
        return false;
    }
    let target = Target { version: target.map(|version| version.to_api()) };
    if progress(&step.run.state).is_some_and(|progress| progress.declined.as_ref() == Some(&target)) {
        return false;
    }
    change(step, |progress| (progress.told, progress.declined) = (Some(target), None));
    true
}

/// Where the run's queue would send it, were it not pinned.
fn target(step: &Step<'_, '_>) -> Option<Arc<Version>> {
    let state = &step.run.state;
    let (queue, id) = (state.derived.start.task_queue(), &step.run.key.workflow.workflow_id);
    step.cx.namespace.deployments.target(QueueKind::Workflow, queue, id, first_to_ramping(state)).0.cloned()
}

/// The revision of the queue's routing config that sends work to a version.
fn revision_of(step: &Step<'_, '_>, kind: QueueKind, queue: &str, version: Option<&Arc<Version>>) -> i64 {
    let id = &step.run.key.workflow.workflow_id;
    let (target, revision) = step.cx.namespace.deployments.target(kind, queue, id, first_to_ramping(&step.run.state));
    if target == version { revision } else { 0 }
}

/// A workflow task that is in history has been started by this version.
pub(crate) fn workflow_task_started(step: &mut Step<'_, '_>, version: Option<&Arc<Version>>) {
    if version.is_none() && !is_versioned(&step.run.state) || effective(&step.run.state).version.as_ref() == version {
        return;
    }
    let queue: alloc::string::String = step.run.state.derived.start.task_queue().into();
    let revision = revision_of(step, QueueKind::Workflow, &queue, version);
    begin_transition(step, version, revision);
}

/// The run is on its way to a version from now on; the worker that holds it is not of that version.
fn begin_transition(step: &mut Step<'_, '_>, version: Option<&Arc<Version>>, revision: i64) {
    let version = version.map(|version| version.to_api());
    change(step, |progress| {
        progress.transition = Some(Target { version });
        progress.revision = Some(revision);
    });
    step.run.state.progress.main.sticky = None;
    step.listed();
    step.touch();
}

/// What to do with an activity's offer that a worker would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The worker may have it.
    Taken,
    /// Not before a workflow task has been completed by the version that the run is on the way to.
    Held,
    /// The offer was made when other workers were to have the task.
    Obsolete,
}

/// Whether a worker of this version may have an attempt; may begin a transition, which needs a workflow task.
pub(crate) fn activity_task(step: &mut Step<'_, '_>, queue: &str, poller: &Poller) -> Admission {
    if poller.version.is_none() && !is_versioned(&step.run.state) {
        return Admission::Taken;
    }
    if progress(&step.run.state).is_some_and(|progress| progress.transition.is_some()) {
        return Admission::Held;
    }
    let Effective { behavior, version } = effective(&step.run.state);
    if poller.version == version {
        return Admission::Taken;
    }
    let deployments = &step.cx.namespace.deployments;
    if behavior == VersioningBehavior::Pinned {
        // An activity on a queue that the version has never polled goes its own way.
        let own = version.is_some_and(|version| deployments.has(&version, QueueKind::Activity, queue));
        return if own { Admission::Obsolete } else { Admission::Taken };
    }
    if target(step) != poller.version {
        return Admission::Taken;
    }
    let revision = revision_of(step, QueueKind::Activity, queue, poller.version.as_ref());
    begin_transition(step, poller.version.as_ref(), revision);
    if task::move_to_normal(step) {
        return Admission::Held;
    }
    task::schedule_if_needed(step);
    Admission::Held
}

/// The parts of a completion that say who the worker is.
pub(crate) struct Worker {
    /// Its version; `None`: it asked for unversioned work.
    pub(crate) version: Option<Version>,
    pub(crate) deployment_name: alloc::string::String,
    pub(crate) behavior: VersioningBehavior,
}

/// Who completes; refuses what contradicts itself.
#[allow(deprecated, reason = "what workers of the preview send")]
pub(crate) fn worker(request: &RespondWorkflowTaskCompletedRequest) -> Result<Worker, Refusal> {
    let options = request.deployment_options.as_ref();
    let preview = request.deployment.as_ref().filter(|old| !old.series_name.is_empty() && !old.build_id.is_empty());
    let version = Version::of_worker(options)
        .or_else(|| preview.map(|old| Version { deployment: old.series_name.clone(), build_id: old.build_id.clone() }));
    let mut behavior = request.versioning_behavior();
    if options.is_some() && version.is_none() {
        // A worker names its default behavior also when it does not ask for versioned work.
        behavior = VersioningBehavior::Unspecified;
    }
    if behavior != VersioningBehavior::Unspecified && version.is_none() {
        return Err(Refusal::invalid(BEHAVIOR_ALONE));
    }
    let deployment_name = match (&version, options) {
        (_, Some(options)) => options.deployment_name.clone(),
        (Some(version), None) => version.deployment.clone(),
        (None, None) => alloc::string::String::new(),
    };
    Ok(Worker { version, deployment_name, behavior })
}

/// What changes with the record of a completed task.
pub(crate) struct Change {
    /// Offers of activities are taken back before the event and made again after it.
    moves: bool,
    ends_transition: bool,
    /// Lists show it.
    shows: bool,
}

/// Before the completed event is written.
pub(crate) fn before_completed(step: &mut Step<'_, '_>, worker: &Worker) -> Change {
    let state = &step.run.state;
    if worker.version.is_none() && !is_versioned(state) {
        let shows = !worker.deployment_name.is_empty();
        return Change { moves: false, ends_transition: false, shows };
    }
    let version = worker.version.as_ref().map(|version| version.to_api());
    let transition = progress(state).and_then(|progress| progress.transition.as_ref());
    let ends_transition = transition.is_some_and(|target| target.version == version);
    let before = effective(state);
    let mut simulated = Simulated::new(state);
    if ends_transition {
        simulated.transition = None;
    }
    let attributes = sempre_api::v1::history::WorkflowTaskCompletedEventAttributes {
        deployment_version: version,
        versioning_behavior: worker.behavior as i32,
        worker_deployment_name: worker.deployment_name.clone(),
        ..Default::default()
    };
    simulated.info = Versioning::completed(simulated.info, &attributes);
    let shows = simulated.info != step.run.state.derived.main.versioning;
    let state = &step.run.state;
    let moves = ends_transition || simulated.effective(state) != before;
    if moves {
        activity::hold_all(step);
    }
    Change { moves, ends_transition, shows }
}

/// The halves of a state that decide about versions, as they would be.
struct Simulated {
    info: Option<Box<Versioning>>,
    transition: Option<Target>,
}

impl Simulated {
    fn new(state: &State) -> Self {
        let transition = progress(state).and_then(|progress| progress.transition.clone());
        Self { info: state.derived.main.versioning.clone(), transition }
    }

    fn effective(self, state: &State) -> Effective {
        let mut other = State { derived: Default::default(), progress: Default::default(), dirty: Default::default() };
        other.derived.main.versioning = self.info;
        other.progress.main.versioning = state.progress.main.versioning.clone().map(|mut progress| {
            progress.transition = self.transition;
            progress
        });
        effective(&other)
    }
}

/// After the completed event was written.
pub(crate) fn after_completed(step: &mut Step<'_, '_>, ch: &Change) {
    if ch.ends_transition {
        change(step, |progress| progress.transition = None);
    }
    if ch.shows {
        step.listed();
    }
    if ch.moves && step.run.is_open() && !step.run.is_paused() {
        activity::release_all(step);
    }
}

/// Tasks on offer go to other workers once this event is in history.
pub(crate) fn moves_with(step: &mut Step<'_, '_>, event: &sempre_api::v1::history::WorkflowExecutionOptionsUpdatedEventAttributes) -> bool {
    let before = effective(&step.run.state);
    let once = one_time(&step.run.state);
    let mut simulated = Simulated::new(&step.run.state);
    simulated.info = Versioning::options_updated(simulated.info, event);
    let after_once = simulated.info.as_ref().and_then(|info| info.versioning_override.clone());
    let after_once = after_once.as_ref().and_then(super::overrides::kind).and_then(|kind| match kind {
        super::overrides::Kind::OneTime(version) => super::version_of(Some(version)),
        _ => None,
    });
    simulated.effective(&step.run.state) != before || after_once != once
}

/// After such an event: a transition that was under way is off, and nobody holds the run.
pub(crate) fn options_changed(step: &mut Step<'_, '_>) {
    change(step, |progress| progress.transition = None);
    step.run.state.progress.main.sticky = None;
    step.listed();
}

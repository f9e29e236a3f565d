//! Changes of a deployment, as its calls ask for them: who may, what is refused, what follows. Pure.

use bytes::Bytes;
use sempre_api::v1::{
    deployment::{RoutingConfig, VersionDrainageInfo, WorkerDeploymentVersion},
    enums::VersionDrainageStatus,
};
use sempre_core::{Refusal, Timestamp, Version, deployment::UNVERSIONED};

use super::record::{DeploymentRecord, VersionRecord, dotted};

/// Versions of a deployment.
pub(crate) const VERSIONS_MAX: usize = 100;
/// Task queues of a version.
pub(crate) const QUEUES_MAX: usize = 100;
/// Versions of a task queue, of all deployments.
pub(crate) const QUEUE_VERSIONS_MAX: usize = 200;

/// Texts that clients see.
pub(crate) mod text {
    pub(crate) const TOKEN: &str = "conflict token mismatch";
    pub(crate) const TOO_MANY: &str = "could not add version: too many versions in deployment and none are eligible for deletion";

    pub(crate) fn no_deployment(name: &str) -> String {
        format!("no Worker Deployment found with name '{name}'; does your Worker Deployment have pollers?")
    }

    pub(crate) fn no_version(build_id: &str, deployment: &str) -> String {
        format!("build ID '{build_id}' not found in Worker Deployment '{deployment}'")
    }

    pub(super) fn manager(manager: &str, identity: &str) -> String {
        format!(
            "ManagerIdentity '{manager}' is set and does not match user identity '{identity}'; to proceed, set your own identity as the ManagerIdentity, remove the ManagerIdentity, or wait for the other client to do so"
        )
    }

    pub(crate) fn missing(version: &str, role: &str) -> String {
        format!(
            "proposed {role} version '{version}' is missing active task queues from the current version; these would become unversioned if it is set as the {role} version"
        )
    }
}

/// Who asks for a change of routing, and on what condition.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) identity: String,
    /// Empty: whatever the state.
    pub(crate) token: Bytes,
    pub(crate) ignore_missing_queues: bool,
    pub(crate) allow_no_pollers: bool,
}

/// Whether a queue that the current version has and the new one has not would be missed; by name and type.
pub(crate) type IsMissed<'a> = &'a dyn Fn(&str, i32) -> bool;

/// What was before.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Before {
    pub(crate) version: Option<WorkerDeploymentVersion>,
    /// The old text of `version`.
    pub(crate) text: String,
    pub(crate) percentage: f32,
}

/// A ramp's target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RampTo {
    Nothing,
    Unversioned,
    Version(String),
}

impl DeploymentRecord {
    fn check_token(&self, token: &Bytes) -> Result<(), Refusal> {
        if !token.is_empty() && *token != self.token() {
            return Err(Refusal::FailedPrecondition(text::TOKEN.into()));
        }
        Ok(())
    }

    pub(crate) fn check_manager(&self, identity: &str) -> Result<(), Refusal> {
        if !self.manager.is_empty() && self.manager != identity {
            return Err(Refusal::FailedPrecondition(text::manager(&self.manager, identity)));
        }
        Ok(())
    }

    fn changed(&mut self, identity: &str) {
        self.changes += 1;
        self.last_modifier = identity.into();
    }

    fn check_queues(&self, new: &str, role: &str, is_missed: IsMissed<'_>) -> Result<(), Refusal> {
        let Some(current) = self.current().filter(|current| *current != new).and_then(|current| self.versions.get(current)) else {
            return Ok(());
        };
        let known = self.versions.get(new);
        let missed = current
            .queues
            .iter()
            .any(|queue| known.is_none_or(|known| !known.has(&queue.name, queue.r#type)) && is_missed(&queue.name, queue.r#type));
        if missed {
            let version = Version::from_api(&self.version(new)).to_string();
            return Err(Refusal::FailedPrecondition(text::missing(&version, role)));
        }
        Ok(())
    }

    /// The oldest version that nobody needs, as far as is known: no run is pinned to it, no worker polls for it (`is_idle`).
    pub(crate) fn dispensable(&self, is_idle: &dyn Fn(&str) -> bool) -> Option<String> {
        let drained =
            |version: &VersionRecord| version.drainage.as_ref().is_none_or(|drainage| drainage.status() == VersionDrainageStatus::Drained);
        let unused = |id: &str| self.current() != Some(id) && self.ramping() != Some(id);
        let mut candidates: Vec<_> = self.versions.iter().filter(|(id, version)| unused(id) && drained(version)).collect();
        candidates.sort_by_key(|(_, version)| version.create_time);
        candidates.into_iter().map(|(id, _)| id).find(|id| is_idle(id)).cloned()
    }

    /// Adds a version; room is made for it by forgetting one that nobody needs (`is_idle`).
    pub(crate) fn add_version(&mut self, build_id: &str, version: VersionRecord, is_idle: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
        if self.versions.len() >= VERSIONS_MAX {
            let oldest = self.dispensable(is_idle).ok_or_else(|| Refusal::FailedPrecondition(text::TOO_MANY.into()))?;
            self.versions.remove(&oldest);
        }
        self.versions.insert(build_id.into(), version);
        Ok(())
    }

    /// A version that nobody has seen yet gets a record, if the caller allows that.
    fn ensure(&mut self, build_id: &str, asked: &Asked, now: Timestamp, is_idle: &dyn Fn(&str) -> bool) -> Result<(), Refusal> {
        if self.versions.contains_key(build_id) {
            return Ok(());
        }
        self.add_version(
            build_id,
            VersionRecord { create_time: now.0, last_modifier: asked.identity.clone(), ..VersionRecord::default() },
            is_idle,
        )
    }

    fn activated(&mut self, build_id: &str, identity: &str, now: Timestamp, f: impl FnOnce(&mut VersionRecord)) {
        if let Some(version) = self.versions.get_mut(build_id) {
            if version.first_activation == 0 {
                version.first_activation = now.0;
            }
            version.routing_changed = now.0;
            version.drainage = None;
            version.last_deactivation = 0;
            version.last_modifier = identity.into();
            f(version);
        }
    }

    fn deactivated(&mut self, build_id: &str, now: Timestamp) {
        if let Some(version) = self.versions.get_mut(build_id) {
            (version.current_since, version.ramping_since) = (0, 0);
            version.routing_changed = now.0;
            version.last_deactivation = now.0;
            version.drainage = Some(VersionDrainageInfo {
                status: VersionDrainageStatus::Draining as i32,
                last_changed_time: Some(now.to_api()),
                last_checked_time: Some(now.to_api()),
            });
        }
    }

    /// SetWorkerDeploymentCurrentVersion. `None`: workers without a version.
    #[allow(deprecated, reason = "old clients read the versions as texts")]
    pub(crate) fn set_current(
        &mut self,
        new: Option<&str>,
        asked: &Asked,
        now: Timestamp,
        is_missed: IsMissed<'_>,
        is_idle: &dyn Fn(&str) -> bool,
    ) -> Result<Before, Refusal> {
        let old = self.current().map(str::to_owned);
        let config = self.routing();
        let before = Before { text: config.current_version.clone(), version: config.current_deployment_version.clone(), percentage: 0.0 };
        if old.as_deref() == new && self.last_modifier == asked.identity {
            return Ok(before);
        }
        self.check_token(&asked.token)?;
        if let Some(build_id) = new.filter(|id| !self.versions.contains_key(*id) && !asked.allow_no_pollers) {
            return Err(Refusal::not_found(text::no_version(build_id, &self.name)));
        }
        self.check_manager(&asked.identity)?;
        if let Some(build_id) = new {
            self.ensure(build_id, asked, now, is_idle)?;
            if !asked.ignore_missing_queues {
                self.check_queues(build_id, "current", is_missed)?;
            }
        }
        self.changed(&asked.identity);
        if old.as_deref() == new {
            return Ok(before);
        }
        let version = new.map(|build_id| self.version(build_id));
        let mut config = RoutingConfig {
            current_version: dotted(version.as_ref()),
            current_deployment_version: version.clone(),
            current_version_changed_time: Some(now.to_api()),
            revision_number: config.revision_number + 1,
            ..config
        };
        let ramp_ends = match new {
            Some(build_id) => self.ramping() == Some(build_id),
            None => self.ramps_to_unversioned(),
        };
        if ramp_ends {
            end_ramp(&mut config, now);
        }
        self.routing = Some(config);
        if let Some(build_id) = new {
            self.activated(build_id, &asked.identity, now, |version| {
                version.current_since = now.0;
                version.last_current = now.0;
                version.ramping_since = 0;
            });
        }
        if let Some(old) = old {
            self.deactivated(&old, now);
        }
        Ok(before)
    }

    /// SetWorkerDeploymentRampingVersion.
    #[allow(deprecated, reason = "old clients read the versions as texts")]
    pub(crate) fn set_ramping(
        &mut self,
        to: &RampTo,
        percentage: f32,
        asked: &Asked,
        now: Timestamp,
        is_missed: IsMissed<'_>,
        is_idle: &dyn Fn(&str) -> bool,
    ) -> Result<Before, Refusal> {
        let config = self.routing();
        let before = Before {
            text: config.ramping_version.clone(),
            version: config.ramping_deployment_version.clone(),
            percentage: config.ramping_version_percentage,
        };
        let old = self.ramping().map(str::to_owned);
        let same = match to {
            RampTo::Nothing => old.is_none() && !self.ramps_to_unversioned(),
            RampTo::Unversioned => self.ramps_to_unversioned(),
            RampTo::Version(build_id) => old.as_deref() == Some(build_id),
        };
        let same_percentage = config.ramping_version_percentage.to_bits() == percentage.to_bits();
        if same && same_percentage && self.last_modifier == asked.identity {
            return Ok(before);
        }
        self.check_token(&asked.token)?;
        let already = match to {
            RampTo::Version(build_id) => self.current() == Some(build_id.as_str()),
            RampTo::Unversioned => self.current().is_none() && percentage != 0.0,
            RampTo::Nothing => false,
        };
        let named = match to {
            RampTo::Version(build_id) => Some(self.version(build_id)),
            RampTo::Unversioned | RampTo::Nothing => None,
        };
        if already {
            let text = format!("requested ramping version {} is already current", dotted(named.as_ref()));
            return Err(Refusal::FailedPrecondition(text));
        }
        if let RampTo::Version(build_id) = to
            && !self.versions.contains_key(build_id)
            && !asked.allow_no_pollers
        {
            return Err(Refusal::not_found(text::no_version(build_id, &self.name)));
        }
        self.check_manager(&asked.identity)?;
        if let RampTo::Version(build_id) = to {
            self.ensure(build_id, asked, now, is_idle)?;
            if !same && !asked.ignore_missing_queues {
                self.check_queues(build_id, "ramping", is_missed)?;
            }
        }
        self.changed(&asked.identity);
        if same && same_percentage {
            return Ok(before);
        }
        let mut config = RoutingConfig { revision_number: config.revision_number + 1, ..config };
        if *to == RampTo::Nothing {
            end_ramp(&mut config, now);
        } else {
            config.ramping_version = dotted(named.as_ref());
            config.ramping_deployment_version = named;
            config.ramping_version_percentage = percentage;
            config.ramping_version_percentage_changed_time = Some(now.to_api());
            if !same {
                config.ramping_version_changed_time = Some(now.to_api());
            }
        }
        self.routing = Some(config);
        if let RampTo::Version(build_id) = to {
            self.activated(build_id, &asked.identity, now, |version| {
                if !same {
                    version.ramping_since = now.0;
                }
            });
        }
        if let Some(old) = old.filter(|_| !same) {
            self.deactivated(&old, now);
        }
        Ok(before)
    }

    /// SetWorkerDeploymentManager. Returns the one before.
    pub(crate) fn set_manager(&mut self, manager: &str, identity: &str, token: &Bytes) -> Result<String, Refusal> {
        if self.manager == manager && self.last_modifier == identity {
            return Ok(self.manager.clone());
        }
        self.check_token(token)?;
        let before = std::mem::replace(&mut self.manager, manager.into());
        self.changed(identity);
        Ok(before)
    }
}

#[allow(deprecated, reason = "old clients read the versions as texts")]
fn end_ramp(config: &mut RoutingConfig, now: Timestamp) {
    config.ramping_version = String::new();
    config.ramping_deployment_version = None;
    config.ramping_version_percentage = 0.0;
    config.ramping_version_changed_time = Some(now.to_api());
    config.ramping_version_percentage_changed_time = Some(now.to_api());
}

/// The version that a text of the old form names, which must be of this deployment. `None`: no version.
pub(crate) fn parse(text: &str, deployment: &str) -> Result<Option<String>, Refusal> {
    let version = Version::parse(text).map_err(|why| Refusal::invalid(format!("invalid version string: {why}")))?;
    match version {
        Some(version) if version.deployment != deployment => {
            Err(Refusal::invalid(format!("invalid version string '{text}' does not match deployment name '{deployment}'")))
        }
        version => Ok(version.map(|version| version.build_id)),
    }
}

/// What a call of the old form says when it names no version.
pub(crate) fn is_unversioned(text: &str) -> bool {
    text == UNVERSIONED
}

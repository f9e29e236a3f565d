//! Versioning overrides: their forms, old and new, and what is wrong with one.

use alloc::{format, string::String};

use sempre_api::v1::{
    deployment::WorkerDeploymentVersion,
    enums::VersioningBehavior,
    workflow::{
        VersioningOverride,
        versioning_override::{Override, PinnedOverride, PinnedOverrideBehavior},
    },
};

use crate::{Deployments, Refusal, Version, transition::QueueKind};

/// An override in its new form.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind<'a> {
    Pinned(&'a WorkerDeploymentVersion),
    AutoUpgrade,
    OneTime(&'a WorkerDeploymentVersion),
}

/// Of one in the new form ([`normal`]).
pub(crate) fn kind(of: &VersioningOverride) -> Option<Kind<'_>> {
    Some(match of.r#override.as_ref()? {
        Override::Pinned(pinned) => Kind::Pinned(pinned.version.as_ref()?),
        Override::AutoUpgrade(true) => Kind::AutoUpgrade,
        Override::AutoUpgrade(false) => return None,
        Override::OneTime(once) => Kind::OneTime(once.target_deployment_version.as_ref()?),
    })
}

pub(crate) fn is_pinned(of: &VersioningOverride) -> bool {
    matches!(kind(of), Some(Kind::Pinned(_)))
}

/// The same override with the fields of the new form only. `None`: it says nothing.
#[allow(deprecated, reason = "what old clients send")]
pub(crate) fn normal(given: &VersioningOverride) -> Option<VersioningOverride> {
    let kind = match (&given.r#override, given.behavior()) {
        (Some(known), _) => known.clone(),
        (None, VersioningBehavior::AutoUpgrade) => Override::AutoUpgrade(true),
        (None, VersioningBehavior::Pinned) => {
            let version = match &given.deployment {
                Some(old) => Some(WorkerDeploymentVersion { deployment_name: old.series_name.clone(), build_id: old.build_id.clone() }),
                None => Version::parse(&given.pinned_version).ok().flatten().map(|version| version.to_api()),
            };
            Override::Pinned(PinnedOverride { behavior: PinnedOverrideBehavior::Pinned as i32, version })
        }
        (None, VersioningBehavior::Unspecified) => return None,
    };
    Some(VersioningOverride { r#override: Some(kind), ..Default::default() })
}

/// The old fields beside the new ones, as clients are told.
#[allow(deprecated, reason = "what old clients read")]
pub(crate) fn with_old_fields(mut given: VersioningOverride) -> VersioningOverride {
    let (behavior, pinned) = match kind(&given) {
        Some(Kind::AutoUpgrade) => (VersioningBehavior::AutoUpgrade, String::new()),
        Some(Kind::Pinned(version)) => (VersioningBehavior::Pinned, Version::from_api(version).dotted()),
        _ => return given,
    };
    given.set_behavior(behavior);
    given.pinned_version = pinned;
    given
}

fn in_queue(version: &WorkerDeploymentVersion, deployments: &Deployments, queue: &str) -> Result<(), Refusal> {
    let version = Version::from_api(version);
    if deployments.has(&version, QueueKind::Workflow, queue) {
        return Ok(());
    }
    let text = format!("Pinned version '{version}' is not present in task queue '{queue}' of type 'Workflow'");
    Err(Refusal::FailedPrecondition(text))
}

/// Refuses an override that means nothing, or names a version that has never polled the run's queue.
#[allow(deprecated, reason = "what old clients send")]
pub(crate) fn check(given: Option<&VersioningOverride>, deployments: &Deployments, queue: &str) -> Result<(), Refusal> {
    let Some(given) = given else { return Ok(()) };
    match &given.r#override {
        Some(Override::AutoUpgrade(true)) => return Ok(()),
        Some(Override::Pinned(pinned)) => {
            let version = pinned.version.as_ref().ok_or_else(|| Refusal::invalid("must provide version if override is pinned."))?;
            if pinned.behavior() == PinnedOverrideBehavior::Unspecified {
                return Err(Refusal::invalid("must specify pinned override behavior if override is pinned."));
            }
            return in_queue(version, deployments, queue);
        }
        Some(Override::OneTime(once)) => {
            let version = once.target_deployment_version.as_ref();
            let version = version.ok_or_else(|| Refusal::invalid("must provide target deployment version if override is one-time."))?;
            return in_queue(version, deployments, queue);
        }
        Some(Override::AutoUpgrade(false)) | None => {}
    }
    match (VersioningBehavior::try_from(given.behavior), &given.deployment, given.pinned_version.as_str()) {
        (Ok(VersioningBehavior::Pinned), Some(old), _) => {
            let invalid = |text: &str| Err(Refusal::invalid(text));
            match (old.series_name.as_str(), old.build_id.as_str()) {
                ("", _) => invalid("deployment name cannot be empty"),
                (name, _) if name.contains(['.', ':']) => invalid("deployment name cannot contain '.' or ':'"),
                (_, "") => invalid("deployment build ID cannot be empty"),
                _ => Ok(()),
            }
        }
        (Ok(VersioningBehavior::Pinned), None, "") => {
            Err(Refusal::invalid("must provide deployment (deprecated) or pinned version if behavior is 'PINNED'"))
        }
        (Ok(VersioningBehavior::Pinned), None, text) => match Version::parse(text) {
            Ok(Some(version)) => in_queue(&version.to_api(), deployments, queue),
            Ok(None) => Ok(()),
            Err(_) => {
                Err(Refusal::invalid(format!("invalid version string {text:?}, expected format is \"<deployment_name>.<build_id>\"")))
            }
        },
        (Ok(VersioningBehavior::AutoUpgrade), Some(_), _) => Err(Refusal::invalid("only provide deployment if behavior is 'PINNED'")),
        (Ok(VersioningBehavior::AutoUpgrade), None, "") => Ok(()),
        (Ok(VersioningBehavior::AutoUpgrade), None, _) => Err(Refusal::invalid("only provide pinned version if behavior is 'PINNED'")),
        (Ok(VersioningBehavior::Unspecified), ..) => Err(Refusal::invalid("override behavior is required")),
        (Err(_), ..) => Err(Refusal::invalid(format!("override behavior {} not recognized", given.behavior))),
    }
}

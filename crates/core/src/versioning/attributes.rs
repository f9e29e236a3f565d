//! The search attributes that tell of a run's versions (spec 05 §9.2).

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use bytes::Bytes;
use sempre_api::v1::{common::Payload, deployment::WorkerDeploymentVersion, enums::VersioningBehavior};

use super::{Versioning, info, overrides};
use crate::{Version, state::State, visibility::json_string};

/// Name of the deployment.
pub const DEPLOYMENT: &str = "TemporalWorkerDeployment";
/// `name:build`.
pub const VERSION: &str = "TemporalWorkerDeploymentVersion";
/// `Pinned` or `AutoUpgrade`.
pub const BEHAVIOR: &str = "TemporalWorkflowVersioningBehavior";
/// All versions that completed tasks.
pub const USED: &str = "TemporalUsedWorkerDeploymentVersions";
/// `pinned:name:build` of a run that is pinned.
pub const BUILD_IDS: &str = "BuildIds";

fn payload(kind: &'static str, json: String) -> Payload {
    let metadata = [("encoding", Bytes::from_static(b"json/plain")), ("type", Bytes::from_static(kind.as_bytes()))];
    Payload {
        metadata: metadata.map(|(name, value)| (name.to_string(), value)).into(),
        data: json.into_bytes().into(),
        ..Default::default()
    }
}

fn list(values: &[String]) -> Payload {
    let quoted: Vec<String> = values.iter().map(|value| json_string(value)).collect();
    payload("KeywordList", format!("[{}]", quoted.join(",")))
}

/// Behavior and version that lists show: of the override, else of the last completed task. Not of a transition.
fn shown(info: &Versioning) -> (VersioningBehavior, Option<&WorkerDeploymentVersion>) {
    match info.versioning_override.as_ref().and_then(overrides::kind) {
        Some(overrides::Kind::Pinned(version)) => (VersioningBehavior::Pinned, Some(version)),
        Some(overrides::Kind::AutoUpgrade) => (VersioningBehavior::AutoUpgrade, info.version.as_ref()),
        Some(overrides::Kind::OneTime(_)) | None => (info.behavior(), info.version.as_ref()),
    }
}

/// Adds them.
pub(crate) fn add(state: &State, fields: &mut BTreeMap<String, Payload>) {
    let Some(info) = info(state) else { return };
    let (behavior, version) = shown(info);
    let mut put = |name: &str, payload: Payload| drop(fields.insert(name.into(), payload));
    let deployment = version.map_or(info.deployment_name.as_str(), |version| version.deployment_name.as_str());
    if !deployment.is_empty() {
        put(DEPLOYMENT, payload("Keyword", json_string(deployment)));
    }
    if let Some(version) = version {
        let text = Version::from_api(version).to_string();
        if behavior == VersioningBehavior::Pinned {
            put(BUILD_IDS, list(&[format!("pinned:{text}")]));
        }
        put(VERSION, payload("Keyword", json_string(&text)));
    }
    let word = match behavior {
        VersioningBehavior::Pinned => Some("Pinned"),
        VersioningBehavior::AutoUpgrade => Some("AutoUpgrade"),
        VersioningBehavior::Unspecified => None,
    };
    if let Some(word) = word {
        put(BEHAVIOR, payload("Keyword", json_string(word)));
    }
    if !info.used.is_empty() {
        put(USED, list(&info.used));
    }
}

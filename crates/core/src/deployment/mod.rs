//! Worker deployments as a step sees them: which queues have which versions, and where each queue sends new work
//! (spec 05 §9). A snapshot of the namespace, given with [`crate::NamespaceView`]; who keeps the records is the engine.

mod ramp;

use alloc::{
    collections::{BTreeMap, BTreeSet},
    string::String,
    sync::Arc,
};
use core::fmt;

use sempre_api::v1::{
    deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
    enums::WorkerVersioningMode,
};

pub use ramp::{fingerprint32, ramp_threshold};

use crate::{Timestamp, transition::QueueKind};

/// How older texts name the absence of a version.
pub const UNVERSIONED: &str = "__unversioned__";

/// A version of a worker deployment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Name of the deployment.
    pub deployment: String,
    /// Build id.
    pub build_id: String,
}

impl Version {
    /// From the API's form.
    pub fn from_api(version: &WorkerDeploymentVersion) -> Self {
        Self { deployment: version.deployment_name.clone(), build_id: version.build_id.clone() }
    }

    /// The API's form.
    pub fn to_api(&self) -> WorkerDeploymentVersion {
        WorkerDeploymentVersion { deployment_name: self.deployment.clone(), build_id: self.build_id.clone() }
    }

    /// What a worker says it is; `None` unless it asks for versioned work.
    pub fn of_worker(options: Option<&WorkerDeploymentOptions>) -> Option<Self> {
        let options = options.filter(|options| options.worker_versioning_mode() == WorkerVersioningMode::Versioned)?;
        Some(Self { deployment: options.deployment_name.clone(), build_id: options.build_id.clone() })
    }

    /// The form of older APIs: `name.build`.
    pub fn dotted(&self) -> String {
        alloc::format!("{}.{}", self.deployment, self.build_id)
    }

    /// Reads `name.build` or `name:build`, whichever sign comes first. `Ok(None)` is [`UNVERSIONED`].
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        if text == UNVERSIONED {
            return Ok(None);
        }
        let Some(at) = text.find(['.', ':']) else {
            return Err(alloc::format!("expected delimiter ':' or '.' not found in version string {text}"));
        };
        let (deployment, build_id) = (&text[..at], &text[at + 1..]);
        if deployment.is_empty() {
            return Err(alloc::format!("deployment name is empty in version string {text}"));
        }
        if build_id.is_empty() {
            return Err(alloc::format!("build id is empty in version string {text}"));
        }
        Ok(Some(Self { deployment: deployment.into(), build_id: build_id.into() }))
    }
}

/// `name:build`, as search attributes have it.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.deployment, self.build_id)
    }
}

/// What a run that is versioned tells a queue of its task. Runs that are not have none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Routing {
    /// Only workers of this version may have it. `None`: the queue decides, by its [`Route`].
    pub pinned: Option<Arc<Version>>,
    /// To the ramping version, if there is one, whatever the percentage (a first task after continue-as-new).
    pub ramping: bool,
}

/// A ramp: part of the work goes to another version.
#[derive(Clone, Debug, PartialEq)]
pub struct Ramp {
    /// `None`: workers without a version.
    pub version: Option<Arc<Version>>,
    /// Of the workflow ids, 0 to 100.
    pub percentage: f32,
    /// Revision of the routing config that says so.
    pub revision: i64,
}

/// Where a queue sends the tasks of runs that are not pinned.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Route {
    /// `None`: workers without a version.
    pub current: Option<Arc<Version>>,
    /// Revision of the routing config that says so.
    pub revision: i64,
    /// The rest, if any.
    pub ramp: Option<Ramp>,
    /// When that was last changed.
    pub changed: Timestamp,
}

impl Route {
    /// The version that has the tasks of this workflow id, and the revision by which it does. The same id always falls on
    /// the same side of a percentage.
    pub fn target(&self, workflow_id: &str, ramping: bool) -> (Option<&Arc<Version>>, i64) {
        let current = (self.current.as_ref(), self.revision);
        let Some(ramp) = &self.ramp else { return current };
        let target = (ramp.version.as_ref(), ramp.revision);
        if ramping && ramp.version.is_some() {
            return target;
        }
        if ramp.percentage <= 0.0 {
            return current;
        }
        if ramp.percentage >= 100.0 || ramp_threshold(workflow_id) <= f64::from(ramp.percentage) { target } else { current }
    }
}

/// The deployments of a namespace, by task queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deployments {
    /// Queues whose work goes to a version, or may.
    pub routes: BTreeMap<QueueKind, BTreeMap<String, Arc<Route>>>,
    /// The versions whose workers have polled a queue.
    pub members: BTreeMap<QueueKind, BTreeMap<String, BTreeSet<Arc<Version>>>>,
}

impl Deployments {
    /// Where the queue sends new work; `None`: to workers without a version.
    pub fn route(&self, kind: QueueKind, queue: &str) -> Option<&Arc<Route>> {
        self.routes.get(&kind)?.get(queue)
    }

    /// Whether workers of this version have polled the queue.
    pub fn has(&self, version: &Version, kind: QueueKind, queue: &str) -> bool {
        self.members.get(&kind).and_then(|queues| queues.get(queue)).is_some_and(|versions| versions.contains(version))
    }

    /// The version that has the tasks of a workflow id on this queue, and by which revision.
    pub fn target(&self, kind: QueueKind, queue: &str, workflow_id: &str, ramping: bool) -> (Option<&Arc<Version>>, i64) {
        self.route(kind, queue).map_or((None, 0), |route| route.target(workflow_id, ramping))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    fn version(build: &str) -> Arc<Version> {
        Arc::new(Version { deployment: "d".into(), build_id: build.into() })
    }

    #[test]
    fn texts_of_versions() {
        let v = Version { deployment: "d".into(), build_id: "1.0".into() };
        assert_eq!((v.to_string().as_str(), v.dotted().as_str()), ("d:1.0", "d.1.0"));
        assert_eq!(Version::parse("d.1.0"), Ok(Some(v.clone())));
        assert_eq!(Version::parse("d:1.0"), Ok(Some(v)));
        assert_eq!(Version::parse(UNVERSIONED), Ok(None));
        assert_eq!(Version::parse("d"), Err("expected delimiter ':' or '.' not found in version string d".into()));
        assert_eq!(Version::parse(".1"), Err("deployment name is empty in version string .1".into()));
        assert_eq!(Version::parse("d."), Err("build id is empty in version string d.".into()));
    }

    #[test]
    fn a_ramp_takes_its_part_of_the_ids_and_the_same_ones_each_time() {
        let route = |percentage| Route {
            current: Some(version("1")),
            revision: 4,
            ramp: Some(Ramp { version: Some(version("2")), percentage, revision: 5 }),
            ..Route::default()
        };
        let on_ramp = |percentage| {
            let route = route(percentage);
            (0..1000).filter(|n| route.target(&alloc::format!("order-{n}"), false) == (Some(&version("2")), 5)).count()
        };
        assert_eq!((on_ramp(0.0), on_ramp(100.0)), (0, 1000));
        let third = on_ramp(30.0);
        assert!((250..350).contains(&third), "{third}");
        for n in 0..1000 {
            let id = alloc::format!("order-{n}");
            // Who is on a small ramp is on a larger one.
            assert!(route(10.0).target(&id, false).1 <= route(30.0).target(&id, false).1);
        }
        assert_eq!(route(0.0).target("x", true), (Some(&version("2")), 5));
        assert_eq!(Route { current: Some(version("1")), ..Route::default() }.target("x", true), (Some(&version("1")), 0));
    }
}

//! From records to routes: which version has the work of each task queue.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sempre_api::v1::{
    deployment::{RoutingConfig, WorkerDeploymentVersion},
    enums::TaskQueueType,
};
use sempre_core::{
    Deployments, NamespaceId, Route, Timestamp, Version,
    deployment::Ramp,
    transition::{QueueKind, QueueName},
};

use super::record::DeploymentRecord;

/// What a queue of this type carries.
fn kind(task_type: i32) -> Option<QueueKind> {
    match TaskQueueType::try_from(task_type) {
        Ok(TaskQueueType::Workflow) => Some(QueueKind::Workflow),
        Ok(TaskQueueType::Activity) => Some(QueueKind::Activity),
        Ok(TaskQueueType::Nexus) => Some(QueueKind::Nexus),
        Ok(TaskQueueType::Unspecified) | Err(_) => None,
    }
}

/// The newest word about a queue, among the deployments that know it. A deployment whose version has the queue counts
/// before one that sends its work to workers without a version.
#[derive(Default)]
struct Newest<'r> {
    at: Timestamp,
    config: Option<&'r RoutingConfig>,
    /// It is about a version that has the queue.
    member: bool,
}

impl<'r> Newest<'r> {
    fn hear(&mut self, at: Option<&sempre_api::Timestamp>, config: &'r RoutingConfig, version: Option<bool>) {
        let at = at.map(Timestamp::from_api).unwrap_or_default();
        if at <= self.at {
            return;
        }
        match version {
            Some(true) => (self.at, self.config, self.member) = (at, Some(config), true),
            None if !self.member => (self.at, self.config) = (at, Some(config)),
            Some(false) | None => {}
        }
    }
}

/// What core and matching know of a namespace's deployments.
pub(crate) fn snapshot<'r>(records: impl Iterator<Item = &'r DeploymentRecord>) -> Deployments {
    let records: Vec<&DeploymentRecord> = records.collect();
    let mut members: BTreeMap<QueueKind, BTreeMap<String, BTreeSet<Arc<Version>>>> = BTreeMap::new();
    for record in &records {
        for (build_id, version) in &record.versions {
            let id = Arc::new(Version { deployment: record.name.clone(), build_id: build_id.clone() });
            for queue in &version.queues {
                if let Some(kind) = kind(queue.r#type) {
                    members.entry(kind).or_default().entry(queue.name.clone()).or_default().insert(id.clone());
                }
            }
        }
    }
    let mut routes: BTreeMap<QueueKind, BTreeMap<String, Arc<Route>>> = BTreeMap::new();
    for (kind, queues) in &members {
        for (queue, versions) in queues {
            if let Some(route) = route(&records, versions) {
                routes.entry(*kind).or_default().insert(queue.clone(), Arc::new(route));
            }
        }
    }
    Deployments { routes, members }
}

fn route(records: &[&DeploymentRecord], versions: &BTreeSet<Arc<Version>>) -> Option<Route> {
    let known = |version: &Version| versions.iter().find(|known| ***known == *version).cloned();
    let has = |version: Option<&WorkerDeploymentVersion>| version.map(|version| known(&Version::from_api(version)).is_some());
    let (mut current, mut ramp) = (Newest::default(), Newest::default());
    for record in records.iter().filter(|record| versions.iter().any(|version| version.deployment == record.name)) {
        let Some(config) = &record.routing else { continue };
        current.hear(config.current_version_changed_time.as_ref(), config, has(config.current_deployment_version.as_ref()));
        ramp.hear(config.ramping_version_percentage_changed_time.as_ref(), config, has(config.ramping_deployment_version.as_ref()));
    }
    let find = |version: Option<&WorkerDeploymentVersion>| version.and_then(|version| known(&Version::from_api(version)));
    let ramped = ramp.config.and_then(|config| {
        let version = find(config.ramping_deployment_version.as_ref());
        let percentage = config.ramping_version_percentage;
        (version.is_some() || percentage > 0.0).then_some(Ramp { version, percentage, revision: config.revision_number })
    });
    let route = Route {
        current: current.config.and_then(|config| find(config.current_deployment_version.as_ref())),
        revision: current.config.map_or(0, |config| config.revision_number),
        ramp: ramped,
        changed: current.at.max(ramp.at),
    };
    (route.changed != Timestamp::default()).then_some(route)
}

/// The queues whose route is another one, and the new one.
pub(crate) fn changes(namespace: NamespaceId, old: &Deployments, new: &Deployments) -> Vec<(QueueName, Option<Arc<Route>>)> {
    let mut changes = Vec::new();
    for kind in [QueueKind::Workflow, QueueKind::Activity, QueueKind::Nexus] {
        let empty = BTreeMap::new();
        let (old, new) = (old.routes.get(&kind).unwrap_or(&empty), new.routes.get(&kind).unwrap_or(&empty));
        for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
            if old.get(name) != new.get(name) {
                let queue = QueueName { namespace, name: name.clone(), kind, sticky: false, version: None };
                changes.push((queue, new.get(name).cloned()));
            }
        }
    }
    changes
}

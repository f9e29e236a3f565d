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

/// What a queue of this type carries; Nexus queues have no routes.
fn kind(task_type: i32) -> Option<QueueKind> {
    match TaskQueueType::try_from(task_type) {
        Ok(TaskQueueType::Workflow) => Some(QueueKind::Workflow),
        Ok(TaskQueueType::Activity) => Some(QueueKind::Activity),
        _ => None,
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
        match version {
            Some(true) if !self.member || at > self.at => (self.at, self.config, self.member) = (at, Some(config), true),
            None if !self.member && at > self.at => (self.at, self.config) = (at, Some(config)),
            Some(_) | None => {}
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
    for kind in [QueueKind::Workflow, QueueKind::Activity] {
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

#[cfg(test)]
mod tests {
    use sempre_api::v1::deployment::worker_deployment_version_info::VersionTaskQueueInfo;

    use super::{super::record::VersionRecord, *};

    /// A deployment whose version 1 has the queue. `current` and `ramping`: whether it has the work, and since when.
    fn deployment(name: &str, current: (bool, i64), ramping: (bool, i64)) -> DeploymentRecord {
        let mut record = DeploymentRecord::new(name, Timestamp(1));
        let queue = VersionTaskQueueInfo { name: "q".into(), r#type: TaskQueueType::Activity as i32 };
        record.versions.insert("1".into(), VersionRecord { queues: vec![queue], ..VersionRecord::default() });
        let version = |wanted: bool| wanted.then(|| WorkerDeploymentVersion { deployment_name: name.into(), build_id: "1".into() });
        let time = |at: i64| (at != 0).then(|| Timestamp(at).to_api());
        record.routing = Some(RoutingConfig {
            current_deployment_version: version(current.0),
            current_version_changed_time: time(current.1),
            ramping_deployment_version: version(ramping.0),
            ramping_version_percentage: if ramping.0 { 10.0 } else { 0.0 },
            ramping_version_percentage_changed_time: time(ramping.1),
            ..RoutingConfig::default()
        });
        record
    }

    /// Who has the queue, and who a share of it.
    fn who(records: [&DeploymentRecord; 2]) -> (Option<String>, Option<String>) {
        let snapshot = snapshot(records.into_iter());
        let route = snapshot.routes.get(&QueueKind::Activity).and_then(|routes| routes.get("q")).expect("a route");
        let name = |version: &Arc<Version>| version.deployment.clone();
        (route.current.as_ref().map(name), route.ramp.as_ref().and_then(|ramp| ramp.version.as_ref()).map(name))
    }

    #[test]
    fn a_deployment_that_has_the_queue_counts_before_one_that_gave_it_up_whatever_their_names() {
        for (left, gone) in [("a", "z"), ("z", "a")] {
            // The other gave the work back later: that says nothing about who has it now.
            let (left, gone) = (deployment(left, (true, 5), (true, 6)), deployment(gone, (false, 9), (false, 9)));
            let expected = (Some(left.name.clone()), Some(left.name.clone()));
            assert_eq!(who([&left, &gone]), expected);
            assert_eq!(who([&gone, &left]), expected);
        }
    }

    #[test]
    fn the_newest_of_those_that_have_the_queue_counts() {
        let (old, new) = (deployment("a", (true, 5), (false, 0)), deployment("b", (true, 6), (false, 0)));
        assert_eq!(who([&old, &new]), (Some("b".into()), None));
        assert_eq!(who([&new, &old]), (Some("b".into()), None));
        // None has it: workers without a version do.
        let (old, new) = (deployment("a", (false, 5), (false, 0)), deployment("b", (false, 6), (false, 0)));
        assert_eq!(who([&old, &new]), (None, None));
    }
}

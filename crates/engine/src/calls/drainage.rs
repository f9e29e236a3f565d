//! Whether runs are still pinned to versions that went out of use (spec 05 §9.4). Nothing looks by itself: it is looked when
//! somebody wants to know, and when a deployment is full and a new version needs the place of an old one.
//!
//! | a version is | and | then |
//! |---|---|---|
//! | draining | the grace has passed since it went out of use, or the interval since the last look; no open run is pinned to it | drained |
//! | drained | the interval has passed since the last look, or it is about to be forgotten; a run was pinned to it meanwhile | draining |
//! | inactive | it is about to be forgotten; a run is pinned to it | draining |

use std::sync::Arc;

use sempre_api::v1::{deployment::VersionDrainageInfo, enums::VersionDrainageStatus, workflowservice::CountWorkflowExecutionsRequest};
use sempre_core::{Refusal, Span, Timestamp, Version};

use crate::{
    Engine,
    deployments::{key, record::DeploymentRecord, steer::VERSIONS_MAX},
    homes::lines::Known,
    namespaces::Namespace,
    records::Change,
};

/// It is time to look again.
fn is_due(drainage: &VersionDrainageInfo, grace: Span, interval: Span, now: Timestamp) -> bool {
    let checked = drainage.last_checked_time.as_ref().map(Timestamp::from_api).unwrap_or_default();
    match drainage.status() {
        // Nobody has looked since it went out of use.
        VersionDrainageStatus::Draining if drainage.last_checked_time == drainage.last_changed_time => now.since(checked) >= grace,
        VersionDrainageStatus::Draining | VersionDrainageStatus::Drained => now.since(checked) >= interval,
        VersionDrainageStatus::Unspecified => false,
    }
}

/// What is known after a look that has found so many pinned runs.
fn after_look(before: Option<VersionDrainageInfo>, pinned: i64, now: Timestamp) -> Option<VersionDrainageInfo> {
    let status = if pinned > 0 { VersionDrainageStatus::Draining } else { VersionDrainageStatus::Drained };
    let now = Some(now.to_api());
    match before {
        // It was never in use: nothing drains but what was pinned to it by name.
        None => (pinned > 0).then_some(VersionDrainageInfo { status: status as i32, last_changed_time: now, last_checked_time: now }),
        Some(before) if before.status() == status => Some(VersionDrainageInfo { last_checked_time: now, ..before }),
        Some(_) => Some(VersionDrainageInfo { status: status as i32, last_changed_time: now, last_checked_time: now }),
    }
}

impl Engine {
    /// A deployment whose versions' drainage has been looked at, if it is time.
    pub(super) async fn described(&self, namespace: &Namespace, name: &str) -> Result<Option<Arc<DeploymentRecord>>, Refusal> {
        let Some(record) = self.shared.deployments.get(&key(namespace.id(), name)) else { return Ok(None) };
        let (now, settings) = (self.now(), &self.shared.settings);
        let due = record.versions.iter().filter(|(_, version)| {
            let drainage = version.drainage.as_ref();
            drainage.is_some_and(|drainage| is_due(drainage, settings.drainage_grace, settings.drainage_interval, now))
        });
        let due: Vec<String> = due.map(|(build_id, _)| build_id.clone()).collect();
        self.looked(namespace, record, due).await
    }

    /// The same, before a version is forgotten: what is known of it is no older than this call.
    pub(super) async fn described_now(
        &self,
        namespace: &Namespace,
        name: &str,
        build_id: &str,
    ) -> Result<Option<Arc<DeploymentRecord>>, Refusal> {
        let Some(record) = self.described(namespace, name).await? else { return Ok(None) };
        // One that drains has its grace: a task that is with its worker may be about to pin a run.
        let known = record.versions.get(build_id);
        let looks = known.is_some_and(|known| {
            known.drainage.as_ref().is_none_or(|drainage| drainage.status() == VersionDrainageStatus::Drained)
                && record.current() != Some(build_id)
                && record.ramping() != Some(build_id)
        });
        let build_ids = if looks { vec![build_id.to_owned()] } else { Vec::new() };
        self.looked(namespace, record, build_ids).await
    }

    /// Before a version may be added: when the deployment is full, what is known of the one that would be forgotten is made
    /// true. One that runs have been pinned to meanwhile is none, and the next one is looked at. Gives what the homes of the deployment's queues
    /// know, if it is full.
    pub(super) async fn make_room(&self, namespace: &Namespace, name: &str, build_id: &str) -> Result<Known, Refusal> {
        let is_full = |record: &DeploymentRecord| record.versions.len() >= VERSIONS_MAX && !record.versions.contains_key(build_id);
        let known = self.shared.deployments.get(&key(namespace.id(), name));
        if !known.is_some_and(|record| is_full(&record)) {
            return Ok(Known::default());
        }
        let lines = self.known_lines(namespace.id(), name).await;
        let Some(mut record) = self.described(namespace, name).await? else { return Ok(lines) };
        for _ in 0..VERSIONS_MAX {
            let idle = |build_id: &str| self.is_idle(namespace.id(), &record, build_id, &lines);
            let Some(oldest) = record.dispensable(&idle).filter(|_| is_full(&record)) else { return Ok(lines) };
            let Some(looked_at) = self.described_now(namespace, name, &oldest).await? else { return Ok(lines) };
            let idle = |build_id: &str| self.is_idle(namespace.id(), &looked_at, build_id, &lines);
            if looked_at.dispensable(&idle).as_ref() == Some(&oldest) {
                return Ok(lines);
            }
            record = looked_at;
        }
        Ok(lines)
    }

    /// Looks whether runs are pinned to these versions, and notes it.
    async fn looked(
        &self,
        namespace: &Namespace,
        record: Arc<DeploymentRecord>,
        build_ids: Vec<String>,
    ) -> Result<Option<Arc<DeploymentRecord>>, Refusal> {
        if build_ids.is_empty() {
            return Ok(Some(record));
        }
        let now = self.now();
        let mut found = Vec::new();
        for build_id in build_ids {
            let before = record.versions.get(&build_id).and_then(|version| version.drainage);
            let version = Version { deployment: record.name.clone(), build_id };
            let pinned = self.pinned_runs(namespace, &version).await?;
            found.push((version.build_id, before, pinned));
        }
        let id = key(namespace.id(), &record.name);
        let looked_at = self.shared.deployments.change(|shown| {
            let Some(known) = shown.get(&id) else { return Ok((Change { records: Vec::new(), beside: Vec::new() }, None)) };
            let mut record = (**known).clone();
            for (build_id, before, pinned) in found {
                let is_in_use = record.current() == Some(build_id.as_str()) || record.ramping() == Some(build_id.as_str());
                // Another call may have changed it while the runs were counted: what was found is old news then.
                if let Some(version) = record.versions.get_mut(&build_id).filter(|version| !is_in_use && version.drainage == before) {
                    version.drainage = after_look(before, pinned, now);
                }
            }
            if record == **known {
                return Ok((Change { records: Vec::new(), beside: Vec::new() }, Some(known.clone())));
            }
            Ok((Change::put(id.clone(), record.clone()), Some(Arc::new(record))))
        });
        looked_at.await
    }

    /// Open runs that are pinned to a version; a paused one is open.
    async fn pinned_runs(&self, namespace: &Namespace, version: &Version) -> Result<i64, Refusal> {
        let quoted = version.to_string().replace('\\', "\\\\").replace('\'', "\\'");
        let query = format!(
            "TemporalWorkerDeploymentVersion = '{quoted}' AND TemporalWorkflowVersioningBehavior = 'Pinned' AND (ExecutionStatus = 'Running' OR ExecutionStatus = 'Paused')"
        );
        let request = CountWorkflowExecutionsRequest { namespace: namespace.record.name.clone(), query };
        Ok(self.count_workflows(request).await?.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(Span::seconds(seconds).0)
    }

    fn info(status: VersionDrainageStatus, changed: i64, checked: i64) -> VersionDrainageInfo {
        VersionDrainageInfo {
            status: status as i32,
            last_changed_time: Some(at(changed).to_api()),
            last_checked_time: Some(at(checked).to_api()),
        }
    }

    #[test]
    fn when_it_is_looked_and_what_follows() {
        use VersionDrainageStatus::{Drained, Draining};
        let due = |info: &VersionDrainageInfo, now| is_due(info, Span::seconds(10), Span::seconds(100), at(now));
        assert_eq!([9, 10].map(|now| due(&info(Draining, 0, 0), now)), [false, true], "the grace");
        assert_eq!([109, 110].map(|now| due(&info(Draining, 0, 10), now)), [false, true]);
        assert_eq!([109, 110].map(|now| due(&info(Drained, 10, 10), now)), [false, true]);
        assert_eq!(after_look(Some(info(Draining, 0, 0)), 1, at(10)), Some(info(Draining, 0, 10)));
        assert_eq!(after_look(Some(info(Draining, 0, 0)), 0, at(10)), Some(info(Drained, 10, 10)));
        assert_eq!(after_look(Some(info(Drained, 10, 10)), 0, at(110)), Some(info(Drained, 10, 110)));
        assert_eq!(after_look(Some(info(Drained, 10, 10)), 2, at(110)), Some(info(Draining, 110, 110)));
        assert_eq!((after_look(None, 0, at(7)), after_look(None, 1, at(7))), (None, Some(info(Draining, 7, 7))));
    }
}

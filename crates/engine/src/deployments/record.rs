//! A worker deployment as it is stored, and as it is shown.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;
use sempre_api::v1::{
    common::Payload,
    deployment::{
        RoutingConfig, VersionDrainageInfo, VersionMetadata, WorkerDeploymentInfo, WorkerDeploymentVersion, WorkerDeploymentVersionInfo,
        worker_deployment_info::WorkerDeploymentVersionSummary, worker_deployment_version_info::VersionTaskQueueInfo,
    },
    enums::{RoutingConfigUpdateState, VersionDrainageStatus, WorkerDeploymentVersionStatus as Status},
    workflowservice::list_worker_deployments_response::WorkerDeploymentSummary,
};
use sempre_core::{Timestamp, Version, deployment::UNVERSIONED};

/// One deployment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct DeploymentRecord {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// ns.
    #[prost(int64, tag = "2")]
    pub(crate) create_time: i64,
    #[prost(message, optional, tag = "3")]
    pub(crate) routing: Option<RoutingConfig>,
    /// Grows with each change that its callers are to see: the conflict token.
    #[prost(uint64, tag = "4")]
    pub(crate) changes: u64,
    #[prost(string, tag = "5")]
    pub(crate) last_modifier: String,
    #[prost(string, tag = "6")]
    pub(crate) manager: String,
    /// Of the call that created it; empty: a worker's poll did.
    #[prost(string, tag = "7")]
    pub(crate) create_request_id: String,
    /// By build id.
    #[prost(btree_map = "string, message", tag = "8")]
    pub(crate) versions: BTreeMap<String, VersionRecord>,
}

/// One version.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct VersionRecord {
    /// ns, as all times here; 0 = never.
    #[prost(int64, tag = "1")]
    pub(crate) create_time: i64,
    #[prost(int64, tag = "2")]
    pub(crate) routing_changed: i64,
    #[prost(int64, tag = "3")]
    pub(crate) current_since: i64,
    #[prost(int64, tag = "4")]
    pub(crate) ramping_since: i64,
    #[prost(int64, tag = "5")]
    pub(crate) first_activation: i64,
    #[prost(int64, tag = "6")]
    pub(crate) last_current: i64,
    #[prost(int64, tag = "7")]
    pub(crate) last_deactivation: i64,
    /// Whether runs are still pinned to it; none while it is current or ramping, or was never either.
    #[prost(message, optional, tag = "8")]
    pub(crate) drainage: Option<VersionDrainageInfo>,
    /// The queues that its workers have polled.
    #[prost(message, repeated, tag = "9")]
    pub(crate) queues: Vec<VersionTaskQueueInfo>,
    #[prost(btree_map = "string, message", tag = "10")]
    pub(crate) metadata: BTreeMap<String, Payload>,
    #[prost(string, tag = "11")]
    pub(crate) last_modifier: String,
    /// Of the call that created it; empty: a worker's poll did.
    #[prost(string, tag = "12")]
    pub(crate) create_request_id: String,
}

impl VersionRecord {
    pub(crate) fn has(&self, name: &str, task_type: i32) -> bool {
        self.queues.iter().any(|queue| queue.name == name && queue.r#type == task_type)
    }
}

fn time(nanos: i64) -> Option<sempre_api::Timestamp> {
    (nanos != 0).then(|| Timestamp(nanos).to_api())
}

/// `name.build`, or the word for no version.
pub(crate) fn dotted(version: Option<&WorkerDeploymentVersion>) -> String {
    version.map_or_else(|| UNVERSIONED.into(), |version| Version::from_api(version).dotted())
}

impl DeploymentRecord {
    /// A new one: all its work goes to workers without a version.
    #[allow(deprecated, reason = "old clients read the versions as texts")]
    pub(crate) fn new(name: &str, now: Timestamp) -> Self {
        let routing = RoutingConfig { current_version: UNVERSIONED.into(), ..RoutingConfig::default() };
        Self { name: name.into(), create_time: now.0, routing: Some(routing), changes: 1, ..Self::default() }
    }

    pub(crate) fn token(&self) -> Bytes {
        Bytes::copy_from_slice(&[self.create_time.to_be_bytes(), self.changes.to_be_bytes()].concat())
    }

    pub(crate) fn routing(&self) -> RoutingConfig {
        self.routing.clone().unwrap_or_default()
    }

    pub(crate) fn current(&self) -> Option<&str> {
        Some(&self.routing.as_ref()?.current_deployment_version.as_ref()?.build_id)
    }

    pub(crate) fn ramping(&self) -> Option<&str> {
        Some(&self.routing.as_ref()?.ramping_deployment_version.as_ref()?.build_id)
    }

    /// Workers without a version have part of the work.
    #[allow(deprecated, reason = "an absent version is no ramp at all, or one to no version")]
    pub(crate) fn ramps_to_unversioned(&self) -> bool {
        self.routing.as_ref().is_some_and(|routing| routing.ramping_deployment_version.is_none() && routing.ramping_version == UNVERSIONED)
    }

    pub(crate) fn version(&self, build_id: &str) -> WorkerDeploymentVersion {
        WorkerDeploymentVersion { deployment_name: self.name.clone(), build_id: build_id.into() }
    }

    pub(crate) fn status(&self, build_id: &str, version: &VersionRecord) -> Status {
        if self.current() == Some(build_id) {
            return Status::Current;
        }
        if self.ramping() == Some(build_id) {
            return Status::Ramping;
        }
        match version.drainage.as_ref().map(VersionDrainageInfo::status) {
            Some(VersionDrainageStatus::Draining) => Status::Draining,
            Some(VersionDrainageStatus::Drained) => Status::Drained,
            Some(VersionDrainageStatus::Unspecified) | None if version.queues.is_empty() && !version.create_request_id.is_empty() => {
                Status::Created
            }
            Some(VersionDrainageStatus::Unspecified) | None => Status::Inactive,
        }
    }

    #[allow(deprecated, reason = "old clients read the version as a text")]
    fn summary(&self, build_id: &str, version: &VersionRecord) -> WorkerDeploymentVersionSummary {
        let id = self.version(build_id);
        WorkerDeploymentVersionSummary {
            version: dotted(Some(&id)),
            status: self.status(build_id, version) as i32,
            deployment_version: Some(id),
            create_time: time(version.create_time),
            drainage_status: version.drainage.as_ref().map_or(0, |drainage| drainage.status),
            drainage_info: version.drainage,
            current_since_time: time(version.current_since),
            ramping_since_time: time(version.ramping_since),
            routing_update_time: time(version.routing_changed),
            first_activation_time: time(version.first_activation),
            last_current_time: time(version.last_current),
            last_deactivation_time: time(version.last_deactivation),
            ..WorkerDeploymentVersionSummary::default()
        }
    }

    /// As DescribeWorkerDeployment shows it: versions newest first.
    pub(crate) fn info(&self) -> WorkerDeploymentInfo {
        let mut versions: Vec<_> = self.versions.iter().collect();
        versions.sort_by_key(|(_, version)| std::cmp::Reverse(version.create_time));
        WorkerDeploymentInfo {
            name: self.name.clone(),
            version_summaries: versions.into_iter().map(|(build_id, version)| self.summary(build_id, version)).collect(),
            create_time: time(self.create_time),
            routing_config: self.routing.clone(),
            last_modifier_identity: self.last_modifier.clone(),
            manager_identity: self.manager.clone(),
            // A change is in force everywhere before its call returns.
            routing_config_update_state: RoutingConfigUpdateState::Completed as i32,
        }
    }

    /// As ListWorkerDeployments shows it.
    pub(crate) fn listed(&self) -> WorkerDeploymentSummary {
        let of = |build_id: Option<&str>| build_id.and_then(|id| self.versions.get(id).map(|version| self.summary(id, version)));
        let latest = self.versions.iter().max_by_key(|(_, version)| version.create_time);
        WorkerDeploymentSummary {
            name: self.name.clone(),
            create_time: time(self.create_time),
            routing_config: self.routing.clone(),
            latest_version_summary: latest.map(|(id, version)| self.summary(id, version)),
            current_version_summary: of(self.current()),
            ramping_version_summary: of(self.ramping()),
        }
    }

    /// As DescribeWorkerDeploymentVersion shows a version.
    #[allow(deprecated, reason = "old clients read the version as a text")]
    pub(crate) fn version_info(&self, build_id: &str, version: &VersionRecord) -> WorkerDeploymentVersionInfo {
        let id = self.version(build_id);
        let ramping = self.ramping() == Some(build_id);
        WorkerDeploymentVersionInfo {
            version: dotted(Some(&id)),
            status: self.status(build_id, version) as i32,
            deployment_version: Some(id),
            deployment_name: self.name.clone(),
            create_time: time(version.create_time),
            routing_changed_time: time(version.routing_changed),
            current_since_time: time(version.current_since),
            ramping_since_time: time(version.ramping_since),
            first_activation_time: time(version.first_activation),
            last_current_time: time(version.last_current),
            last_deactivation_time: time(version.last_deactivation),
            ramp_percentage: if ramping { self.routing().ramping_version_percentage } else { 0.0 },
            task_queue_infos: version.queues.clone(),
            drainage_info: version.drainage,
            metadata: Some(VersionMetadata { entries: version.metadata.clone() }),
            last_modifier_identity: version.last_modifier.clone(),
            ..WorkerDeploymentVersionInfo::default()
        }
    }
}

//! What this server says about itself: version, capabilities, limits (spec 08 §1.3, §2).
//!
//! SDKs change their behaviour by these flags, so they are true only for what works here today.

use sempre_api::v1::{
    namespace::{NamespaceInfo, namespace_info},
    operatorservice::ClusterMetadata,
    version::{ReleaseInfo, VersionInfo},
    workflowservice::{GetClusterInfoResponse, GetSystemInfoResponse, get_system_info_response},
};
use sempre_core::Limits;

use crate::{SERVER_VERSION, client_version, frames::MESSAGE_BYTES_MAX, server::ServerSettings};

/// What lists and counts are answered from.
const VISIBILITY_STORE: &str = "sqlite";

/// Answers that do not depend on the request.
#[derive(Clone, Debug)]
pub(crate) struct SystemFacts {
    limits: Limits,
    end_polls_on_shutdown: bool,
    worker_heartbeats: bool,
    schedules: bool,
    store_name: &'static str,
    cluster_id: String,
}

impl SystemFacts {
    pub(crate) fn new(settings: &ServerSettings, cluster_id: String) -> Self {
        Self {
            limits: settings.engine.limits.clone(),
            end_polls_on_shutdown: settings.engine.end_polls_on_shutdown,
            worker_heartbeats: settings.engine.worker_heartbeats,
            schedules: settings.engine.schedules,
            store_name: settings.store_name,
            cluster_id,
        }
    }

    pub(crate) fn system_info(&self) -> GetSystemInfoResponse {
        GetSystemInfoResponse {
            server_version: SERVER_VERSION.into(),
            capabilities: Some(get_system_info_response::Capabilities {
                signal_and_query_header: true,
                internal_error_differentiation: true,
                activity_failure_include_heartbeat: true,
                supports_schedules: self.schedules,
                encoded_failure_attributes: true,
                // Build ids are told apart in histories. Tasks are not: a worker that asks for that is refused.
                build_id_based_versioning: true,
                upsert_memo: true,
                eager_workflow_start: self.limits.eager_start,
                sdk_metadata: true,
                count_group_by_execution_status: true,
                nexus: true,
                server_scaled_deployments: false,
                server_scaled_provider_cloud_run: false,
            }),
        }
    }

    pub(crate) fn cluster_info(&self) -> GetClusterInfoResponse {
        let clients = client_version::SUPPORTED_CLIENTS.iter();
        GetClusterInfoResponse {
            supported_clients: clients.map(|(name, range)| ((*name).to_owned(), (*range).to_owned())).collect(),
            server_version: SERVER_VERSION.into(),
            cluster_id: self.cluster_id.clone(),
            version_info: Some(VersionInfo {
                current: Some(ReleaseInfo {
                    version: SERVER_VERSION.into(),
                    release_time: None,
                    notes: format!("Sempre {}", env!("CARGO_PKG_VERSION")),
                }),
                ..VersionInfo::default()
            }),
            cluster_name: "active".into(),
            history_shard_count: i32::from(sempre_core::ids::SLOT_COUNT),
            persistence_store: self.store_name.into(),
            visibility_store: VISIBILITY_STORE.into(),
            initial_failover_version: 1,
            failover_version_increment: 10,
        }
    }

    /// The one cluster, as a list of clusters shows it.
    pub(crate) fn cluster(&self, address: &str) -> ClusterMetadata {
        let info = self.cluster_info();
        ClusterMetadata {
            cluster_name: info.cluster_name,
            cluster_id: info.cluster_id,
            address: address.to_owned(),
            initial_failover_version: info.initial_failover_version,
            history_shard_count: info.history_shard_count,
            is_connection_enabled: true,
            ..ClusterMetadata::default()
        }
    }

    /// Fills in what holds for every namespace of this server.
    pub(crate) fn complete(&self, info: &mut NamespaceInfo) {
        // What the engine says of its own parts stays.
        let of_engine = info.capabilities.take().unwrap_or_default();
        info.capabilities = Some(namespace_info::Capabilities {
            eager_workflow_start: self.limits.eager_start,
            worker_heartbeats: self.worker_heartbeats,
            worker_poll_complete_on_shutdown: self.end_polls_on_shutdown,
            poller_autoscaling: true,
            workflow_pause: self.limits.workflow_pause,
            sync_update: true,
            async_update: true,
            workflow_update_callbacks: true,
            workflow_task_completion_pagination: self.limits.completion_pages,
            ..of_engine
        });
        info.limits = Some(namespace_info::Limits {
            blob_size_limit_error: as_i64(self.limits.blob_size_max),
            memo_size_limit_error: as_i64(self.limits.memo_size_max),
            // Of the pages together, or of the one message that there is without them.
            workflow_task_completion_size_limit_error: match self.limits.completion_pages {
                true => as_i64(self.limits.completion_pages_max),
                false => as_i64(MESSAGE_BYTES_MAX),
            },
        });
        info.supports_schedules = self.schedules;
    }
}

fn as_i64(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

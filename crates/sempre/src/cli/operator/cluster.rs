//! `operator cluster …`.

use clap::{Args, Subcommand};
use sempre_api::{
    grpc::health::v1::{HealthCheckRequest, health_check_response::ServingStatus},
    v1::{
        operatorservice::{AddOrUpdateRemoteClusterRequest, ListClustersRequest, RemoveRemoteClusterRequest},
        workflowservice::{GetClusterInfoRequest, GetSystemInfoRequest},
    },
};
use serde_json::json;

use crate::cli::{
    Failure,
    output::{Cell, Hue, Table},
    session::Session,
};

/// The service whose health is asked for.
const SERVICE: &str = "temporal.api.workflowservice.v1.WorkflowService";

#[derive(Subcommand)]
pub(crate) enum ClusterCommand {
    /// Tell whether the server serves
    Health,
    /// Describe the server
    Describe(Describe),
    /// Show the server's version and capabilities
    System,
    /// List the clusters that the server knows
    List(List),
    /// Add or change a remote cluster
    Upsert(Upsert),
    /// Remove a remote cluster
    Remove(Remove),
}

#[derive(Args)]
pub(crate) struct Describe {
    /// Show shards and versions too
    #[arg(long)]
    detail: bool,
}

#[derive(Args)]
pub(crate) struct List {
    /// Stop after this many; 0 is all
    #[arg(long, value_name = "COUNT", default_value_t = 0, hide_default_value = true)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Upsert {
    /// Address of the remote cluster
    #[arg(long, value_name = "HOST:PORT")]
    frontend_address: String,
    /// Connect to it
    #[arg(long)]
    enable_connection: bool,
    /// Replicate to it
    #[arg(long)]
    enable_replication: bool,
}

#[derive(Args)]
pub(crate) struct Remove {
    /// Name of the remote cluster
    #[arg(long, value_name = "NAME")]
    name: String,
}

pub(super) async fn run(session: &mut Session, command: ClusterCommand) -> Result<(), Failure> {
    let mut client = session.client().await?;
    match command {
        ClusterCommand::Health => {
            let answer = client.health.check(HealthCheckRequest { service: SERVICE.to_owned() }).await?.into_inner();
            let status = answer.status().as_str_name();
            if answer.status() != ServingStatus::Serving {
                return Err(Failure::new(format_args!("the server is there but does not serve: {status}")));
            }
            if session.out.is_json() {
                return session.out.record(vec![("status", json!(status))]);
            }
            session.out.line_in(Hue::Good, status)
        }
        ClusterCommand::Describe(describe) => {
            let answer = client.workflow.get_cluster_info(GetClusterInfoRequest {}).await?.into_inner();
            session.out.message(&answer)?;
            let mut row: Vec<Cell> =
                [&answer.cluster_name, &answer.persistence_store, &answer.visibility_store].map(|text| Cell::from(text.as_str())).to_vec();
            let mut table = Table::new(&["ClusterName", "PersistenceStore", "VisibilityStore"]);
            if describe.detail {
                table = Table::new(&["ClusterName", "PersistenceStore", "VisibilityStore", "HistoryShardCount", "ServerVersion"]);
                row.extend([answer.history_shard_count.to_string().into(), answer.server_version.into()]);
            }
            session.out.table(&mut table, &[row])
        }
        ClusterCommand::System => {
            let answer = client.workflow.get_system_info(GetSystemInfoRequest {}).await?.into_inner();
            session.out.message(&answer)?;
            let can = answer.capabilities.unwrap_or_default();
            let row = [
                answer.server_version,
                can.supports_schedules.to_string(),
                can.upsert_memo.to_string(),
                can.eager_workflow_start.to_string(),
            ];
            let mut table = Table::new(&["ServerVersion", "SupportsSchedules", "UpsertMemo", "EagerWorkflowStart"]);
            session.out.table(&mut table, &[row.map(Cell::from).to_vec()])
        }
        ClusterCommand::List(list) => self::list(session, list.limit).await,
        ClusterCommand::Upsert(upsert) => {
            let request = AddOrUpdateRemoteClusterRequest {
                frontend_address: upsert.frontend_address.clone(),
                enable_remote_cluster_connection: upsert.enable_connection,
                enable_replication: upsert.enable_replication,
                ..Default::default()
            };
            client.operator.add_or_update_remote_cluster(request).await?;
            if session.out.is_json() {
                return session.out.record(vec![("frontendAddress", json!(upsert.frontend_address))]);
            }
            session.out.line_in(Hue::Good, format!("Upserted cluster {}", upsert.frontend_address))
        }
        ClusterCommand::Remove(remove) => {
            client.operator.remove_remote_cluster(RemoveRemoteClusterRequest { cluster_name: remove.name.clone() }).await?;
            if session.out.is_json() {
                return session.out.record(vec![("clusterName", json!(remove.name))]);
            }
            session.out.line_in(Hue::Good, format!("Removed cluster {}", remove.name))
        }
    }
}

async fn list(session: &mut Session, limit: usize) -> Result<(), Failure> {
    let (mut left, mut token) = (if limit == 0 { usize::MAX } else { limit }, bytes::Bytes::new());
    let mut table = Table::new(&["Name", "ClusterId", "Address", "HistoryShardCount", "IsConnectionEnabled", "IsReplicationEnabled"]);
    session.out.begin_list()?;
    loop {
        let request = ListClustersRequest { next_page_token: token, ..Default::default() };
        let mut page = session.client().await?.operator.list_clusters(request).await?.into_inner();
        page.clusters.truncate(left);
        left -= page.clusters.len();
        let mut rows = Vec::new();
        for cluster in page.clusters {
            session.out.message(&cluster)?;
            let (shards, connected, replicated) = (
                cluster.history_shard_count.to_string(),
                cluster.is_connection_enabled.to_string(),
                cluster.is_replication_enabled.to_string(),
            );
            rows.push([cluster.cluster_name, cluster.cluster_id, cluster.address, shards, connected, replicated].map(Cell::from).to_vec());
        }
        session.out.table(&mut table, &rows)?;
        token = page.next_page_token;
        if token.is_empty() || left == 0 {
            return session.out.end_list();
        }
    }
}

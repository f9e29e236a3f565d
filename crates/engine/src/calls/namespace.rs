//! Calls about namespaces (spec 08 §1).

use bytes::Bytes;
use sempre_api::v1::{
    namespace::{BadBinaries, BadBinaryInfo, NamespaceConfig, NamespaceInfo, namespace_info},
    operatorservice::{DeleteNamespaceRequest, DeleteNamespaceResponse},
    replication::{ClusterReplicationConfig, NamespaceReplicationConfig},
    workflowservice::{
        DeprecateNamespaceRequest, DeprecateNamespaceResponse, DescribeNamespaceRequest, DescribeNamespaceResponse, ListNamespacesRequest,
        ListNamespacesResponse, RegisterNamespaceRequest, RegisterNamespaceResponse, UpdateNamespaceRequest, UpdateNamespaceResponse,
    },
};
use sempre_core::{NamespaceId, Refusal, Span, ids::Uuid, validate};

use crate::{
    Engine,
    namespaces::{DELETED, DEPRECATED, Namespace, NamespaceRecord, REGISTERED, RETENTION_MIN},
};

/// The one cluster's name, as the dev server of the reference calls it.
const CLUSTER: &str = "active";
const LIST_PAGE: usize = 100;
const STATE_TEXT: &str = "Invalid namespace state update.";
const RETENTION_TEXT: &str = "A valid retention period is not set on request.";

fn retention(duration: Option<&sempre_api::Duration>) -> Result<Span, Refusal> {
    Span::from_api(duration).ok().filter(|r| *r >= RETENTION_MIN).ok_or_else(|| Refusal::invalid(RETENTION_TEXT))
}

impl Engine {
    /// `RegisterNamespace`.
    pub async fn register_namespace(&self, request: RegisterNamespaceRequest) -> Result<RegisterNamespaceResponse, Refusal> {
        if request.namespace.is_empty() {
            return Err(Refusal::invalid("Namespace not set on request."));
        }
        validate::at_most(&request.namespace, "Namespace length exceeds limit.", &self.shared.settings.limits)?;
        if request.is_global_namespace {
            return Err(Refusal::invalid("Cannot register global namespace when not enabled"));
        }
        let retention = retention(request.workflow_execution_retention_period.as_ref())?;
        let record = NamespaceRecord {
            id: Bytes::copy_from_slice(&self.namespace_id().0),
            name: request.namespace,
            state: REGISTERED,
            description: request.description,
            owner_email: request.owner_email,
            retention: retention.0,
            data: request.data,
            ..Default::default()
        };
        self.shared.namespaces.register(record).await?;
        Ok(RegisterNamespaceResponse::default())
    }

    /// Makes sure that a namespace of this name exists.
    pub async fn ensure_namespace(&self, name: &str, retention: Span) -> Result<(), Refusal> {
        if self.shared.namespaces.find(name).is_ok() {
            return Ok(());
        }
        let request = RegisterNamespaceRequest {
            namespace: name.to_owned(),
            workflow_execution_retention_period: Some(retention.to_api()),
            ..Default::default()
        };
        match self.register_namespace(request).await {
            Ok(_) | Err(Refusal::NamespaceAlreadyExists(_)) => Ok(()),
            Err(refusal) => Err(refusal),
        }
    }

    /// The name behind a namespace id.
    pub fn namespace_name(&self, id: NamespaceId) -> Option<String> {
        self.shared.namespaces.by_id(id).map(|n| n.view.name.clone())
    }

    /// `DescribeNamespace`, by name or id.
    pub async fn describe_namespace(&self, request: DescribeNamespaceRequest) -> Result<DescribeNamespaceResponse, Refusal> {
        let namespace = match (request.namespace.as_str(), request.id.as_str()) {
            ("", "") => return Err(Refusal::invalid("Namespace not set on request.")),
            (name, "") => self.shared.namespaces.find(name)?,
            ("", id) => {
                let found = Uuid::parse(id).and_then(|id| self.shared.namespaces.by_id(NamespaceId(id)));
                found.ok_or_else(|| Refusal::NamespaceNotFound(id.to_owned()))?
            }
            _ => return Err(Refusal::invalid("GetNamespace operation failed. Both ID and Name specified in request.")),
        };
        Ok(self.description(&namespace))
    }

    fn description(&self, namespace: &Namespace) -> DescribeNamespaceResponse {
        let record = &namespace.record;
        let limits = self.shared.settings.limits_of(&record.name);
        let info = NamespaceInfo {
            name: record.name.clone(),
            state: record.state,
            description: record.description.clone(),
            owner_email: record.owner_email.clone(),
            data: record.data.clone(),
            id: format!("{}", namespace.id()),
            // Only what is there: SDKs change their ways by these.
            capabilities: Some(namespace_info::Capabilities {
                eager_workflow_start: limits.eager_start,
                sync_update: true,
                async_update: true,
                standalone_activities: self.shared.settings.standalone_activities,
                standalone_nexus_operation: self.shared.settings.standalone_operations,
                standalone_activity_start_delay: self.shared.settings.standalone_activities,
                standalone_activity_operator_commands: self.shared.settings.standalone_activities,
                standalone_activity_batch_operations: self.shared.settings.standalone_activities,
                reported_problems_search_attribute: limits.task_problems_reported > 0,
                ..Default::default()
            }),
            limits: Some(namespace_info::Limits {
                blob_size_limit_error: limits.blob_size_max as i64,
                memo_size_limit_error: limits.memo_size_max as i64,
                ..Default::default()
            }),
            supports_schedules: self.shared.settings.schedules,
        };
        let (names, fields) = (&namespace.attributes, record.search_attributes.keys());
        DescribeNamespaceResponse {
            namespace_info: Some(info),
            config: Some(NamespaceConfig {
                workflow_execution_retention_ttl: Some(Span(record.retention).to_api()),
                history_archival_state: 1,
                visibility_archival_state: 1,
                bad_binaries: (!record.bad_binaries.is_empty()).then(|| BadBinaries { binaries: record.bad_binaries.clone() }),
                custom_search_attribute_aliases: fields.map(|field| (field.clone(), names.name(field).to_owned())).collect(),
                ..Default::default()
            }),
            replication_config: Some(NamespaceReplicationConfig {
                active_cluster_name: CLUSTER.into(),
                clusters: vec![ClusterReplicationConfig { cluster_name: CLUSTER.into(), ..Default::default() }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// `ListNamespaces`.
    pub async fn list_namespaces(&self, request: ListNamespacesRequest) -> Result<ListNamespacesResponse, Refusal> {
        let size = usize::try_from(request.page_size).ok().filter(|n| *n > 0).unwrap_or(LIST_PAGE).min(1000);
        let after = std::str::from_utf8(&request.next_page_token).map_err(|_| Refusal::invalid("Invalid NextPageToken."))?;
        let deleted = request.namespace_filter.is_some_and(|f| f.include_deleted);
        let page = self.shared.namespaces.list(after, size, deleted);
        let next_page_token = match page.last() {
            Some(last) if page.len() == size => Bytes::copy_from_slice(last.record.name.as_bytes()),
            _ => Bytes::new(),
        };
        Ok(ListNamespacesResponse { namespaces: page.iter().map(|n| self.description(n)).collect(), next_page_token })
    }

    /// `UpdateNamespace`.
    pub async fn update_namespace(&self, request: UpdateNamespaceRequest) -> Result<UpdateNamespaceResponse, Refusal> {
        let namespace = self.shared.namespaces.find(&request.namespace)?;
        let config = request.config.unwrap_or_default();
        let retention = match config.workflow_execution_retention_ttl.as_ref() {
            Some(ttl) => Some(retention(Some(ttl))?),
            None => None,
        };
        let (now, bad_binaries_max) = (self.now(), self.shared.settings.bad_binaries_max);
        let info = request.update_info.unwrap_or_default();
        let updated = self
            .shared
            .namespaces
            .update(namespace.id(), |record| {
                match info.state {
                    0 => {}
                    state if state == record.state => {}
                    DEPRECATED if record.state == REGISTERED => record.state = DEPRECATED,
                    _ => return Err(Refusal::invalid(STATE_TEXT)),
                }
                if !info.description.is_empty() {
                    record.description = info.description;
                }
                if !info.owner_email.is_empty() {
                    record.owner_email = info.owner_email;
                }
                record.data.extend(info.data);
                record.change_attributes(|all| {
                    let mut aliases: Vec<_> = config.custom_search_attribute_aliases.iter().collect();
                    // Names that are given up in the same call are free for others.
                    aliases.sort_by_key(|(_, name)| !name.is_empty());
                    aliases.into_iter().try_for_each(|(field, name)| all.alias(field, name))
                })?;
                if let Some(retention) = retention {
                    record.retention = retention.0;
                }
                for (checksum, info) in config.bad_binaries.into_iter().flat_map(|bad| bad.binaries) {
                    record.bad_binaries.insert(checksum, BadBinaryInfo { create_time: Some(now.to_api()), ..info });
                }
                if record.bad_binaries.len() > bad_binaries_max {
                    let text = format!("Total resetBinaries cannot exceed the max limit: {bad_binaries_max}");
                    return Err(Refusal::invalid(text));
                }
                let gone = request.delete_bad_binary;
                if !gone.is_empty() && record.bad_binaries.remove(&gone).is_none() {
                    return Err(Refusal::invalid(format!("Bad binary checksum {gone} doesn't exists.")));
                }
                Ok(())
            })
            .await?;
        let description = self.description(&updated);
        Ok(UpdateNamespaceResponse {
            namespace_info: description.namespace_info,
            config: description.config,
            replication_config: description.replication_config,
            ..Default::default()
        })
    }

    /// `DeprecateNamespace`: no new starts, the rest goes on.
    pub async fn deprecate_namespace(&self, request: DeprecateNamespaceRequest) -> Result<DeprecateNamespaceResponse, Refusal> {
        let namespace = self.shared.namespaces.find(&request.namespace)?;
        self.shared
            .namespaces
            .update(namespace.id(), |record| {
                if record.state == DELETED {
                    return Err(Refusal::invalid(STATE_TEXT));
                }
                record.state = DEPRECATED;
                Ok(())
            })
            .await?;
        Ok(DeprecateNamespaceResponse::default())
    }

    /// `OperatorService.DeleteNamespace`: the name is free at once. The data goes in the background ([`crate::removal`]), then
    /// the record.
    pub async fn delete_namespace(&self, request: DeleteNamespaceRequest) -> Result<DeleteNamespaceResponse, Refusal> {
        let delay = Span::from_api(request.namespace_delete_delay.as_ref())
            .map_err(|why| Refusal::invalid(format!("invalid NamespaceDeleteDelay: {why}")))?;
        let described = DescribeNamespaceRequest { namespace: request.namespace, id: request.namespace_id, ..Default::default() };
        let info = self.describe_namespace(described).await?.namespace_info.unwrap_or_default();
        if info.name == "temporal-system" {
            return Err(Refusal::FailedPrecondition("namespace is protected".into()));
        }
        let id = NamespaceId(Uuid::parse(&info.id).unwrap_or_default());
        if let Some(endpoint) = self.endpoint_to(id) {
            let text = format!("cannot delete namespace {:?}: it is the target of the Nexus endpoint {endpoint:?}", info.name);
            return Err(Refusal::FailedPrecondition(text));
        }
        let now = self.now();
        let shared = self.shared.clone();
        let deleted = async move {
            let change = |record: &mut NamespaceRecord| {
                if record.state != DELETED {
                    record.state = DELETED;
                    // The whole id: a shortened one could meet a name that is taken.
                    record.name = format!("{}-deleted-{id}", record.name);
                    record.deleted_at = now.0;
                    record.delete_delay = delay.0;
                }
                Ok(())
            };
            let deleted = shared.namespaces.update(id, change).await?;
            shared.removal.notify_one();
            Ok(deleted)
        };
        let deleted = self.shared.to_the_end("sempre deletion of a namespace", deleted).await?;
        Ok(DeleteNamespaceResponse { deleted_namespace: deleted.record.name.clone() })
    }
}

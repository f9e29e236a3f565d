//! Worker deployments and their versions (spec 05 §9.3).

use std::{collections::BTreeSet, sync::Arc};

use sempre_api::v1::{
    deployment::{VersionMetadata, WorkerDeploymentOptions, WorkerDeploymentVersion, worker_deployment_version_info::VersionTaskQueueInfo},
    enums::{ResourceExhaustedCause, TaskQueueType, VersionDrainageStatus, WorkerVersioningMode},
    workflowservice::{
        CreateWorkerDeploymentRequest, CreateWorkerDeploymentResponse, CreateWorkerDeploymentVersionRequest,
        CreateWorkerDeploymentVersionResponse, DeleteWorkerDeploymentRequest, DeleteWorkerDeploymentResponse,
        DeleteWorkerDeploymentVersionRequest, DeleteWorkerDeploymentVersionResponse, DescribeWorkerDeploymentRequest,
        DescribeWorkerDeploymentResponse, DescribeWorkerDeploymentVersionRequest, DescribeWorkerDeploymentVersionResponse,
        ListWorkerDeploymentsRequest, ListWorkerDeploymentsResponse, SetWorkerDeploymentCurrentVersionRequest,
        SetWorkerDeploymentCurrentVersionResponse, SetWorkerDeploymentManagerRequest, SetWorkerDeploymentManagerResponse,
        SetWorkerDeploymentRampingVersionRequest, SetWorkerDeploymentRampingVersionResponse, UpdateWorkerDeploymentVersionMetadataRequest,
        UpdateWorkerDeploymentVersionMetadataResponse, describe_worker_deployment_version_response::VersionTaskQueue,
        set_worker_deployment_manager_request::NewManagerIdentity,
    },
};
use sempre_core::{
    NamespaceId, Refusal, Timestamp, Version,
    deployment::UNVERSIONED,
    transition::{QueueKind, QueueName},
};

use super::describe_queue::{all_stats, kind_of, stats_by_priority};
use crate::{
    Engine,
    deployments::{
        key, of_namespace,
        record::{DeploymentRecord, VersionRecord},
        steer::{self, Asked, QUEUE_VERSIONS_MAX, QUEUES_MAX, RampTo, text},
    },
    homes::{lines::Known, record::QueueRecord},
    namespaces::Namespace,
    peers::record::Request,
    records::{Change, DEPLOYMENTS},
};

/// Deployments of a namespace.
const DEPLOYMENTS_MAX: usize = 100;
/// Longest name of a deployment and longest build id, in bytes: together with what the reference puts around them they are
/// the id of a workflow there.
const NAME_MAX: usize = (1000 - "temporal-sys-worker-deployment-version::".len()) / 2;
const PAGE_MAX: usize = 1000;

/// Refuses what cannot be part of a version; `what` names it.
fn check_name(what: &str, name: &str) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::invalid(format!("{what} cannot be empty")));
    }
    if name.len() > NAME_MAX {
        return Err(Refusal::invalid(format!("size of {what} larger than the maximum allowed")));
    }
    if what == DEPLOYMENT_NAME
        && let Some(sign) = ['.', ':'].into_iter().find(|sign| name.contains(*sign))
    {
        return Err(Refusal::invalid(format!("worker deployment name cannot contain '{sign}'")));
    }
    if name.starts_with("__") {
        return Err(Refusal::invalid(format!("{what} cannot start with '__'")));
    }
    Ok(())
}

const DEPLOYMENT_NAME: &str = "WorkerDeploymentName";
const BUILD_ID: &str = "BuildID";

fn check_version(version: Option<&WorkerDeploymentVersion>) -> Result<Version, Refusal> {
    let version = version.ok_or_else(|| Refusal::invalid("deployment version cannot be nil"))?;
    check_name(DEPLOYMENT_NAME, &version.deployment_name)?;
    check_name(BUILD_ID, &version.build_id)?;
    Ok(Version::from_api(version))
}

/// The version of a call that takes it in both forms.
fn version_of(version: Option<&WorkerDeploymentVersion>, old: &str) -> Result<Version, Refusal> {
    let parsed = match version {
        Some(version) => Some(Version::from_api(version)),
        None => Version::parse(old).ok().flatten(),
    };
    parsed.ok_or_else(|| Refusal::invalid(format!("invalid version string {old:?}, expected format is \"<deployment_name>.<build_id>\"")))
}

fn exhausted(message: String) -> Refusal {
    Refusal::ResourceExhausted { cause: ResourceExhaustedCause::WorkerDeploymentLimits, message }
}

fn no_version() -> Refusal {
    Refusal::not_found("Worker Deployment Version not found")
}

fn task_type(kind: QueueKind) -> TaskQueueType {
    match kind {
        QueueKind::Workflow => TaskQueueType::Workflow,
        QueueKind::Activity => TaskQueueType::Activity,
        QueueKind::Nexus => TaskQueueType::Nexus,
    }
}

impl Engine {
    /// Who polls: the worker's version, which is put on record when it is new to the queue. `normal_name` of a workflow poll's
    /// queue.
    pub(super) async fn worker(
        &self,
        namespace: &Namespace,
        options: Option<&WorkerDeploymentOptions>,
        queue: &QueueName,
        normal_name: Option<&str>,
    ) -> Result<Option<Arc<Version>>, Refusal> {
        let Some(options) = options else { return Ok(None) };
        if queue.sticky && normal_name.is_some_and(str::is_empty) {
            return Err(Refusal::invalid(
                "NormalName must be set on sticky queue when UseVersioning is true or DeploymentOptions are set.",
            ));
        }
        if options.worker_versioning_mode() != WorkerVersioningMode::Versioned {
            return Ok(None);
        }
        if options.deployment_name.is_empty() || options.build_id.is_empty() {
            return Err(Refusal::invalid("Both deployment name and build id must be set when versioning is enabled."));
        }
        check_name(DEPLOYMENT_NAME, &options.deployment_name)?;
        check_name(BUILD_ID, &options.build_id)?;
        let version = Version { deployment: options.deployment_name.clone(), build_id: options.build_id.clone() };
        let name = normal_name.filter(|_| queue.sticky).unwrap_or(&queue.name);
        if !namespace.view.deployments.has(&version, queue.kind, name) {
            match self.shared.away_single(DEPLOYMENTS.owner) {
                None => self.put_on_record(namespace, &version, queue.kind, name).await?,
                Some(away) => {
                    let version = Some(Arc::new(version.clone()));
                    let line = QueueName { namespace: namespace.id(), name: name.to_owned(), kind: queue.kind, sticky: false, version };
                    away.ask(Request::Worker(QueueRecord::new(&line))).await?;
                }
            }
        }
        Ok(Some(Arc::new(version)))
    }

    /// A version's workers poll a queue for the first time; deployments are here.
    pub(crate) async fn put_on_record(
        &self,
        namespace: &Namespace,
        version: &Version,
        kind: QueueKind,
        queue: &str,
    ) -> Result<(), Refusal> {
        let lines = self.make_room(namespace, &version.deployment, &version.build_id).await?;
        self.register(namespace.id(), version, kind, queue, &lines).await
    }

    /// The record itself.
    async fn register(
        &self,
        namespace: NamespaceId,
        version: &Version,
        kind: QueueKind,
        queue: &str,
        lines: &Known,
    ) -> Result<(), Refusal> {
        let now = self.now();
        let queue = VersionTaskQueueInfo { name: queue.to_owned(), r#type: task_type(kind) as i32 };
        let registered = self.shared.deployments.change(|shown| {
            let mut record = match shown.get(&key(namespace, &version.deployment)) {
                Some(known) => (**known).clone(),
                None => {
                    if of_namespace(shown, namespace).count() >= DEPLOYMENTS_MAX {
                        return Err(exhausted(format!("reached maximum deployments in namespace ({DEPLOYMENTS_MAX})")));
                    }
                    DeploymentRecord::new(&version.deployment, now)
                }
            };
            if !record.versions.contains_key(&version.build_id) {
                let new = VersionRecord { create_time: now.0, ..VersionRecord::default() };
                let idle = |build_id: &str| self.is_idle(namespace, &record, build_id, lines);
                let mut grown = record.clone();
                grown.add_version(&version.build_id, new, &idle)?;
                record = grown;
            }
            let Some(known) = record.versions.get(&version.build_id) else { return Err(no_version()) };
            if known.has(&queue.name, queue.r#type) {
                return Ok((Change { records: Vec::new(), beside: Vec::new() }, ()));
            }
            if known.queues.len() >= QUEUES_MAX {
                let text = format!("maximum number of task queues ({QUEUES_MAX}) have been registered in deployment version");
                return Err(exhausted(text));
            }
            // Of this deployment those that are left, where a new version took the place of an old one.
            let others = of_namespace(shown, namespace).filter(|other| other.name != version.deployment);
            let with_queue = others.flat_map(|other| other.versions.values()).chain(record.versions.values());
            if with_queue.filter(|version| version.has(&queue.name, queue.r#type)).count() >= QUEUE_VERSIONS_MAX {
                let text = format!(
                    "maximum number of deployment versions ({QUEUE_VERSIONS_MAX}) have been registered in task queue {:?}; delete versions that are not needed any more",
                    queue.name
                );
                return Err(exhausted(text));
            }
            let Some(known) = record.versions.get_mut(&version.build_id) else { return Err(no_version()) };
            known.queues.push(queue);
            Ok((Change::put(key(namespace, &version.deployment), record), ()))
        });
        registered.await
    }

    /// What the homes know of the lines of a deployment's queues. A server alone asks nobody.
    pub(super) async fn known_lines(&self, namespace: NamespaceId, deployment: &str) -> Known {
        let record = self.shared.homes.as_ref().and_then(|_| self.shared.deployments.get(&key(namespace, deployment)));
        let Some(record) = record else { return Known::default() };
        let mut lines = BTreeSet::new();
        for (build_id, version) in &record.versions {
            let id = Arc::new(Version { deployment: deployment.to_owned(), build_id: build_id.clone() });
            for queue in &version.queues {
                let Some(kind) = kind_of(queue.r#type) else { continue };
                let line = QueueName { namespace, name: queue.name.clone(), kind, sticky: false, version: Some(id.clone()) };
                lines.insert(line.plain());
                lines.insert(line);
            }
        }
        self.shared.ask_homes(lines).await
    }

    /// No worker of the version has polled lately.
    pub(super) fn is_idle(&self, namespace: NamespaceId, record: &DeploymentRecord, build_id: &str, lines: &Known) -> bool {
        let Some(version) = record.versions.get(build_id) else { return true };
        let id = Arc::new(Version { deployment: record.name.clone(), build_id: build_id.to_owned() });
        version.queues.iter().filter_map(|queue| Some((kind_of(queue.r#type)?, queue))).all(|(kind, queue)| {
            let line = QueueName { namespace, name: queue.name.clone(), kind, sticky: false, version: Some(id.clone()) };
            !lines.is_polled(&self.shared, &line)
        })
    }

    /// A queue of the current version would be missed by a version that has not got it: it has work, and is no other
    /// deployment's by now.
    fn is_missed(&self, namespace: &Namespace, deployment: &str, (name, task_type): (&str, i32), lines: &Known) -> bool {
        let Some(kind) = kind_of(task_type) else { return false };
        let route = namespace.view.deployments.route(kind, name);
        let current = route.and_then(|route| route.current.as_ref());
        if current.is_none_or(|current| current.deployment != deployment) {
            return false;
        }
        let queue = QueueName { namespace: namespace.id(), name: name.into(), kind, sticky: false, version: None };
        lines.has_work(&self.shared, &queue)
    }

    /// Changes a deployment that exists, or that `allow_new` lets exist.
    async fn steer<T: Send>(
        &self,
        namespace: &Namespace,
        name: &str,
        allow_new: bool,
        f: impl FnOnce(&mut DeploymentRecord, Timestamp) -> Result<T, Refusal> + Send,
    ) -> Result<(bytes::Bytes, T), Refusal> {
        let (id, now) = (namespace.id(), self.now());
        let changed = self.shared.deployments.change(|shown| {
            let mut record = match shown.get(&key(id, name)) {
                Some(known) => (**known).clone(),
                None if allow_new && of_namespace(shown, id).count() < DEPLOYMENTS_MAX => DeploymentRecord::new(name, now),
                None if allow_new => return Err(exhausted(format!("reached maximum deployments in namespace ({DEPLOYMENTS_MAX})"))),
                None => return Err(Refusal::not_found(text::no_deployment(name))),
            };
            let answer = f(&mut record, now)?;
            let token = record.token();
            if shown.get(&key(id, name)).is_some_and(|known| **known == record) {
                return Ok((Change { records: Vec::new(), beside: Vec::new() }, (token, answer)));
            }
            Ok((Change::put(key(id, name), record), (token, answer)))
        });
        changed.await
    }

    /// `SetWorkerDeploymentCurrentVersion`.
    #[allow(deprecated, reason = "old clients name the version as a text")]
    pub async fn set_current_version(
        &self,
        request: SetWorkerDeploymentCurrentVersionRequest,
    ) -> Result<SetWorkerDeploymentCurrentVersionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let name = request.deployment_name;
        if name.is_empty() {
            return Err(Refusal::invalid("deployment name cannot be empty"));
        }
        let new = match request.version.as_str() {
            "" if request.build_id.is_empty() => None,
            "" => Some(request.build_id),
            text => steer::parse(text, &name)?,
        };
        check_name(DEPLOYMENT_NAME, &name)?;
        let asked = Asked {
            identity: request.identity,
            token: request.conflict_token,
            ignore_missing_queues: request.ignore_missing_task_queues,
            allow_no_pollers: request.allow_no_pollers,
        };
        let allow_new = asked.allow_no_pollers && new.is_some();
        if let Some(build_id) = new.as_deref().filter(|_| allow_new) {
            self.make_room(&namespace, &name, build_id).await?;
        }
        let lines = self.known_lines(namespace.id(), &name).await;
        let steered = self.steer(&namespace, &name, allow_new, |record, now| {
            let before = record.clone();
            let idle = |build_id: &str| self.is_idle(namespace.id(), &before, build_id, &lines);
            let missed = |queue: &str, kind: i32| self.is_missed(&namespace, &name, (queue, kind), &lines);
            record.set_current(new.as_deref(), &asked, now, &missed, &idle)
        });
        let (conflict_token, before) = steered.await?;
        Ok(SetWorkerDeploymentCurrentVersionResponse {
            conflict_token,
            previous_version: before.text,
            previous_deployment_version: before.version,
        })
    }

    /// `SetWorkerDeploymentRampingVersion`.
    #[allow(deprecated, reason = "old clients name the version as a text")]
    pub async fn set_ramping_version(
        &self,
        request: SetWorkerDeploymentRampingVersionRequest,
    ) -> Result<SetWorkerDeploymentRampingVersionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let (name, percentage) = (request.deployment_name, request.percentage);
        // Not a number is not between either.
        if !(0.0..=100.0).contains(&percentage) {
            return Err(Refusal::invalid("Percentage must be between 0 and 100 (inclusive)"));
        }
        let to = match (request.version.as_str(), request.build_id.as_str()) {
            ("", "") if percentage > 0.0 => RampTo::Unversioned,
            ("", "") => RampTo::Nothing,
            ("", build_id) => RampTo::Version(build_id.into()),
            (text, "") if steer::is_unversioned(text) && percentage == 0.0 => RampTo::Nothing,
            (text, _) => steer::parse(text, &name)?.map_or(RampTo::Unversioned, RampTo::Version),
        };
        check_name(DEPLOYMENT_NAME, &name)?;
        let asked = Asked {
            identity: request.identity,
            token: request.conflict_token,
            ignore_missing_queues: request.ignore_missing_task_queues,
            allow_no_pollers: request.allow_no_pollers,
        };
        let allow_new = asked.allow_no_pollers && matches!(to, RampTo::Version(_));
        if let RampTo::Version(build_id) = &to
            && allow_new
        {
            self.make_room(&namespace, &name, build_id).await?;
        }
        let lines = self.known_lines(namespace.id(), &name).await;
        let steered = self.steer(&namespace, &name, allow_new, |record, now| {
            let before = record.clone();
            let idle = |build_id: &str| self.is_idle(namespace.id(), &before, build_id, &lines);
            let missed = |queue: &str, kind: i32| self.is_missed(&namespace, &name, (queue, kind), &lines);
            record.set_ramping(&to, percentage, &asked, now, &missed, &idle)
        });
        let (conflict_token, before) = steered.await?;
        Ok(SetWorkerDeploymentRampingVersionResponse {
            conflict_token,
            previous_version: before.text,
            previous_percentage: before.percentage,
            previous_deployment_version: before.version,
        })
    }

    /// `SetWorkerDeploymentManager`.
    #[allow(deprecated, reason = "old clients read the identity before")]
    pub async fn set_deployment_manager(
        &self,
        request: SetWorkerDeploymentManagerRequest,
    ) -> Result<SetWorkerDeploymentManagerResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        check_name(DEPLOYMENT_NAME, &request.deployment_name)?;
        let manager = match request.new_manager_identity {
            Some(NewManagerIdentity::ManagerIdentity(manager)) => manager,
            Some(NewManagerIdentity::Self_(true)) => request.identity.clone(),
            Some(NewManagerIdentity::Self_(false)) | None => String::new(),
        };
        let steered = self.steer(&namespace, &request.deployment_name, false, |record, _| {
            record.set_manager(&manager, &request.identity, &request.conflict_token)
        });
        let (conflict_token, previous_manager_identity) = steered.await?;
        Ok(SetWorkerDeploymentManagerResponse { conflict_token, previous_manager_identity })
    }

    /// `CreateWorkerDeployment`: once by request id.
    pub async fn create_deployment(&self, request: CreateWorkerDeploymentRequest) -> Result<CreateWorkerDeploymentResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let name = request.deployment_name;
        check_name(DEPLOYMENT_NAME, &name)?;
        let request_id = if request.request_id.is_empty() { self.poll_id() } else { request.request_id };
        let steered = self.steer(&namespace, &name, true, |record, now| {
            if *record != DeploymentRecord::new(&name, now) {
                if record.create_request_id == request_id {
                    return Ok(());
                }
                return Err(Refusal::AlreadyExists(format!("Worker Deployment with name {name:?} already exists")));
            }
            record.create_request_id = request_id;
            record.last_modifier = request.identity;
            Ok(())
        });
        let (conflict_token, ()) = steered.await?;
        Ok(CreateWorkerDeploymentResponse { conflict_token })
    }

    /// `CreateWorkerDeploymentVersion`: once by request id. A compute configuration is refused with UNIMPLEMENTED.
    pub async fn create_deployment_version(
        &self,
        request: CreateWorkerDeploymentVersionRequest,
    ) -> Result<CreateWorkerDeploymentVersionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let version = check_version(request.deployment_version.as_ref())?;
        if request.compute_config.is_some() {
            return Err(Refusal::Unimplemented("compute configurations are not supported by this server".into()));
        }
        let request_id = if request.request_id.is_empty() { self.poll_id() } else { request.request_id };
        let lines = self.make_room(&namespace, &version.deployment, &version.build_id).await?;
        let steered = self.steer(&namespace, &version.deployment, false, |record, now| {
            if let Some(known) = record.versions.get(&version.build_id) {
                if known.create_request_id == request_id {
                    return Ok(());
                }
                return Err(Refusal::AlreadyExists(format!("Worker Deployment Version {:?} already exists", version.to_string())));
            }
            let new = VersionRecord {
                create_time: now.0,
                create_request_id: request_id,
                last_modifier: request.identity,
                ..VersionRecord::default()
            };
            let before = record.clone();
            record.add_version(&version.build_id, new, &|build_id| self.is_idle(namespace.id(), &before, build_id, &lines))
        });
        steered.await?;
        Ok(CreateWorkerDeploymentVersionResponse {})
    }

    /// `DescribeWorkerDeployment`.
    pub async fn describe_deployment(&self, request: DescribeWorkerDeploymentRequest) -> Result<DescribeWorkerDeploymentResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        check_name(DEPLOYMENT_NAME, &request.deployment_name)?;
        let record = self.described(&namespace, &request.deployment_name).await?;
        let record = record.ok_or_else(|| Refusal::not_found(text::no_deployment(&request.deployment_name)))?;
        Ok(DescribeWorkerDeploymentResponse { conflict_token: record.token(), worker_deployment_info: Some(record.info()) })
    }

    /// `DescribeWorkerDeploymentVersion`.
    #[allow(deprecated, reason = "old clients name the version as a text")]
    pub async fn describe_deployment_version(
        &self,
        request: DescribeWorkerDeploymentVersionRequest,
    ) -> Result<DescribeWorkerDeploymentVersionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let version = version_of(request.deployment_version.as_ref(), &request.version)?;
        check_version(Some(&version.to_api()))?;
        let record = self.described(&namespace, &version.deployment).await?.ok_or_else(no_version)?;
        let known = record.versions.get(&version.build_id).ok_or_else(no_version)?;
        let now = self.now();
        let line = Arc::new(version.clone());
        let queue = |queue: &VersionTaskQueueInfo| {
            let view = kind_of(queue.r#type).filter(|_| request.report_task_queue_stats).and_then(|kind| {
                let name = QueueName { namespace: namespace.id(), name: queue.name.clone(), kind, sticky: false, version: None };
                self.shared.matching.view_of_version(&name, &line)
            });
            VersionTaskQueue {
                name: queue.name.clone(),
                r#type: queue.r#type,
                stats: request.report_task_queue_stats.then(|| all_stats(view.as_ref(), now)),
                stats_by_priority_key: if request.report_task_queue_stats {
                    stats_by_priority(view.as_ref(), now)
                } else {
                    Default::default()
                },
            }
        };
        Ok(DescribeWorkerDeploymentVersionResponse {
            version_task_queues: known.queues.iter().map(queue).collect(),
            worker_deployment_version_info: Some(record.version_info(&version.build_id, known)),
        })
    }

    /// `ListWorkerDeployments`, by name.
    pub async fn list_deployments(&self, request: ListWorkerDeploymentsRequest) -> Result<ListWorkerDeploymentsResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let size = usize::try_from(request.page_size).ok().filter(|size| (1..=PAGE_MAX).contains(size)).unwrap_or(PAGE_MAX);
        let after = String::from_utf8(request.next_page_token.to_vec()).map_err(|_| Refusal::invalid("invalid next page token"))?;
        let names: Vec<String> = {
            let shown = self.shared.deployments.read();
            of_namespace(&shown, namespace.id()).map(|record| record.name.clone()).filter(|name| *name > after).take(size + 1).collect()
        };
        let more = names.len() > size;
        let mut worker_deployments = Vec::new();
        for name in names.iter().take(size) {
            worker_deployments.extend(self.described(&namespace, name).await?.map(|record| record.listed()));
        }
        let next_page_token = if more { names[size - 1].clone().into() } else { bytes::Bytes::new() };
        Ok(ListWorkerDeploymentsResponse { next_page_token, worker_deployments })
    }

    /// `DeleteWorkerDeploymentVersion`. One that is not there is as good as deleted.
    #[allow(deprecated, reason = "old clients name the version as a text")]
    pub async fn delete_deployment_version(
        &self,
        request: DeleteWorkerDeploymentVersionRequest,
    ) -> Result<DeleteWorkerDeploymentVersionResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let version = version_of(request.deployment_version.as_ref(), &request.version)?;
        check_name(DEPLOYMENT_NAME, &version.deployment)?;
        if self.described_now(&namespace, &version.deployment, &version.build_id).await?.is_none() {
            return Err(Refusal::not_found(text::no_deployment(&version.deployment)));
        }
        let refused = |why: &str| Err(Refusal::FailedPrecondition(format!("version '{version}' cannot be deleted since it {why}")));
        let lines = self.known_lines(namespace.id(), &version.deployment).await;
        let steered = self.steer(&namespace, &version.deployment, false, |record, _| {
            let Some(known) = record.versions.get(&version.build_id) else { return Ok(()) };
            let id = Some(version.build_id.as_str());
            if record.current() == id || record.ramping() == id {
                return refused("is current or ramping");
            }
            record.check_manager(&request.identity)?;
            let draining = known.drainage.as_ref().is_some_and(|drainage| drainage.status() == VersionDrainageStatus::Draining);
            if draining && !request.skip_drainage {
                return refused("is draining");
            }
            if !self.is_idle(namespace.id(), record, &version.build_id, &lines) {
                return refused("has active pollers");
            }
            record.versions.remove(&version.build_id);
            record.changes += 1;
            record.last_modifier.clone_from(&request.identity);
            Ok(())
        });
        steered.await?;
        Ok(DeleteWorkerDeploymentVersionResponse {})
    }

    /// `DeleteWorkerDeployment`. One that is not there is as good as deleted.
    pub async fn delete_deployment(&self, request: DeleteWorkerDeploymentRequest) -> Result<DeleteWorkerDeploymentResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        check_name(DEPLOYMENT_NAME, &request.deployment_name)?;
        let id = key(namespace.id(), &request.deployment_name);
        let deleted = self.shared.deployments.change(|shown| {
            let Some(record) = shown.get(&id) else { return Ok((Change { records: Vec::new(), beside: Vec::new() }, ())) };
            if !record.versions.is_empty() {
                return Err(Refusal::FailedPrecondition("deployment has versions, can't be deleted".into()));
            }
            Ok((Change::remove(id.clone()), ()))
        });
        deleted.await?;
        Ok(DeleteWorkerDeploymentResponse {})
    }

    /// `UpdateWorkerDeploymentVersionMetadata`.
    #[allow(deprecated, reason = "old clients name the version as a text")]
    pub async fn update_version_metadata(
        &self,
        request: UpdateWorkerDeploymentVersionMetadataRequest,
    ) -> Result<UpdateWorkerDeploymentVersionMetadataResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let version = version_of(request.deployment_version.as_ref(), &request.version)?;
        let steered = self.steer(&namespace, &version.deployment, false, |record, _| {
            let not_found = || Refusal::not_found(text::no_version(&version.build_id, &version.deployment));
            let known = record.versions.get_mut(&version.build_id).ok_or_else(not_found)?;
            known.metadata.extend(request.upsert_entries);
            for name in &request.remove_entries {
                known.metadata.remove(name);
            }
            known.last_modifier = request.identity;
            Ok(known.metadata.clone())
        });
        let (_, entries) = steered.await?;
        Ok(UpdateWorkerDeploymentVersionMetadataResponse { metadata: Some(VersionMetadata { entries }) })
    }
}

/// How a queue without a version is called in the old form.
pub(super) fn dotted(version: Option<&Arc<Version>>) -> String {
    version.map_or_else(|| UNVERSIONED.into(), |version| version.dotted())
}

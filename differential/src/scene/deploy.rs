//! Worker deployments, and workers of a version, as a script has them.

use sempre_api::v1::{
    deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
    enums::{RoutingConfigUpdateState, TaskQueueType, VersioningBehavior, WorkerVersioningMode},
    workflowservice::*,
};
use tonic::{Response, Status};

use super::{NAMESPACE, Scene, Stop, Task};

/// How often it is looked whether the reference has spread a change over its parts, and the milliseconds between.
const LOOKS: u32 = 200;
const LOOKS_EVERY: u64 = 100;

type Poll = tokio::task::JoinHandle<Result<Response<PollWorkflowTaskQueueResponse>, Status>>;

impl Scene {
    /// The scene's deployment.
    #[must_use]
    pub fn deployment(&self) -> String {
        // No dot may be in it.
        self.id("pay").replace('.', "-")
    }

    /// A version of it.
    #[must_use]
    pub fn version(&self, build: &str) -> Option<WorkerDeploymentVersion> {
        Some(WorkerDeploymentVersion { deployment_name: self.deployment(), build_id: build.into() })
    }

    fn options(&self, build: &str) -> Option<WorkerDeploymentOptions> {
        Some(WorkerDeploymentOptions {
            deployment_name: self.deployment(),
            build_id: build.into(),
            worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
        })
    }

    /// A poll of a version's worker beside the script; see [`Scene::taken`].
    #[must_use]
    pub fn worker_beside(&self, build: &str) -> Poll {
        let request = PollWorkflowTaskQueueRequest { deployment_options: self.options(build), ..Self::poll_request(self.queue()) };
        let mut client = self.client();
        tokio::spawn(async move { client.poll_workflow_task_queue(Self::patient(request)).await })
    }

    /// Waits until workers of these versions are known.
    pub async fn known(&self, builds: &[&str]) -> Result<(), Stop> {
        for _ in 0..LOOKS {
            let info = self.deployment_now().await.unwrap_or_default();
            let has =
                |build: &&str| info.version_summaries.iter().any(|v| v.deployment_version.as_ref().is_some_and(|v| v.build_id == **build));
            if builds.iter().all(has) {
                return Ok(());
            }
            self.sleep(LOOKS_EVERY).await;
        }
        Err(Stop("the versions never became known".into()))
    }

    /// Waits until the last change of routing is in force everywhere.
    pub async fn spread(&self) -> Result<(), Stop> {
        for _ in 0..LOOKS {
            let info = self.deployment_now().await.unwrap_or_default();
            if info.routing_config_update_state() == RoutingConfigUpdateState::Completed {
                // The state is told before the last queue has heard of it.
                self.sleep(500).await;
                return Ok(());
            }
            self.sleep(LOOKS_EVERY).await;
        }
        Err(Stop("routing never came into force".into()))
    }

    async fn deployment_now(&self) -> Option<sempre_api::v1::deployment::WorkerDeploymentInfo> {
        let request = DescribeWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: self.deployment() };
        self.client().describe_worker_deployment(Self::request(request)).await.ok()?.into_inner().worker_deployment_info
    }

    /// The deployment, with its versions in the order of their builds.
    pub async fn describe_deployment(&self) -> Result<(), Status> {
        let request = DescribeWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: self.deployment() };
        let mut answer = self.client().describe_worker_deployment(Self::request(request)).await;
        if let Ok(answer) = &mut answer
            && let Some(info) = &mut answer.get_mut().worker_deployment_info
        {
            info.version_summaries.sort_by_key(|v| v.deployment_version.as_ref().map(|v| v.build_id.clone()));
        }
        self.record("describe deployment", answer).map(drop)
    }

    /// A version.
    pub async fn describe_version(&self, build: &str) -> Result<(), Status> {
        let request = DescribeWorkerDeploymentVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_version: self.version(build),
            ..Default::default()
        };
        self.record("describe version", self.client().describe_worker_deployment_version(Self::request(request)).await).map(drop)
    }

    /// Where the main queue sends new work.
    pub async fn describe_queue(&self) -> Result<(), Status> {
        let request = DescribeTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: self.queue(),
            task_queue_type: TaskQueueType::Workflow as i32,
            ..Default::default()
        };
        self.record("describe queue", self.client().describe_task_queue(Self::request(request)).await).map(drop)
    }

    /// Sets the current version; an empty build is workers without one.
    pub async fn set_current(&self, build: &str, change: impl FnOnce(&mut SetWorkerDeploymentCurrentVersionRequest)) -> Result<(), Status> {
        let mut request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_name: self.deployment(),
            build_id: build.into(),
            identity: "operator".into(),
            ..Default::default()
        };
        change(&mut request);
        self.record("set current", self.client().set_worker_deployment_current_version(Self::request(request)).await).map(drop)
    }

    /// Sets the ramping version.
    pub async fn set_ramping(
        &self,
        build: &str,
        percentage: f32,
        change: impl FnOnce(&mut SetWorkerDeploymentRampingVersionRequest),
    ) -> Result<(), Status> {
        let mut request = SetWorkerDeploymentRampingVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_name: self.deployment(),
            build_id: build.into(),
            percentage,
            identity: "operator".into(),
            ..Default::default()
        };
        change(&mut request);
        self.record("set ramping", self.client().set_worker_deployment_ramping_version(Self::request(request)).await).map(drop)
    }

    /// Deletes a version.
    pub async fn delete_version(&self, build: &str, skip_drainage: bool) -> Result<(), Status> {
        let request = DeleteWorkerDeploymentVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_version: self.version(build),
            skip_drainage,
            identity: "operator".into(),
            ..Default::default()
        };
        self.record("delete version", self.client().delete_worker_deployment_version(Self::request(request)).await).map(drop)
    }

    /// What a version's worker says of itself in a completion.
    pub fn completes_as(&self, build: &str, behavior: VersioningBehavior) -> impl FnOnce(&mut RespondWorkflowTaskCompletedRequest) + use<> {
        let options = self.options(build);
        move |request| {
            request.deployment_options = options;
            request.versioning_behavior = behavior as i32;
        }
    }

    /// A version's worker takes what comes next and completes it without commands.
    pub async fn worked_by(&self, poll: Poll, build: &str, behavior: VersioningBehavior) -> Result<Task, Stop> {
        let task = self.taken(poll).await?;
        self.complete_with(&task, [], self.completes_as(build, behavior)).await?;
        Ok(task)
    }
}

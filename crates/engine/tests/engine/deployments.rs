//! Worker deployments from outside (spec 05 §9): records, routing, drainage, and what survives a restart.
#![allow(deprecated, reason = "what older clients send and read is there as well")]

use sempre_api::v1::{
    deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
    enums::{VersionDrainageStatus, VersioningBehavior, WorkerDeploymentVersionStatus as Status, WorkerVersioningMode},
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_engine::Clock as _;
use tokio::task::JoinHandle;

use crate::support::*;

const DEPLOYMENT: &str = "payments";

fn options(build: &str) -> WorkerDeploymentOptions {
    WorkerDeploymentOptions {
        deployment_name: DEPLOYMENT.into(),
        build_id: build.into(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    }
}

fn version(build: &str) -> WorkerDeploymentVersion {
    WorkerDeploymentVersion { deployment_name: DEPLOYMENT.into(), build_id: build.into() }
}

fn current(build: &str) -> SetWorkerDeploymentCurrentVersionRequest {
    SetWorkerDeploymentCurrentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_name: DEPLOYMENT.into(),
        build_id: build.into(),
        identity: "operator".into(),
        ..Default::default()
    }
}

fn ramping(build: &str, percentage: f32) -> SetWorkerDeploymentRampingVersionRequest {
    SetWorkerDeploymentRampingVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_name: DEPLOYMENT.into(),
        build_id: build.into(),
        percentage,
        identity: "operator".into(),
        ..Default::default()
    }
}

fn precondition(text: &str) -> Refusal {
    Refusal::FailedPrecondition(text.into())
}

impl World {
    /// A poll of a version's worker beside the test; it is in line when this returns.
    async fn worker(&self, build: &str) -> JoinHandle<PollWorkflowTaskQueueResponse> {
        let request = PollWorkflowTaskQueueRequest { deployment_options: Some(options(build)), ..poll_request() };
        let engine = self.engine.clone();
        let task = tokio::spawn(async move { engine.poll_workflow_task(request, None).await.unwrap() });
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        task
    }

    async fn finish(&self, task: &PollWorkflowTaskQueueResponse, build: &str, behavior: VersioningBehavior) {
        let request = RespondWorkflowTaskCompletedRequest {
            task_token: task.task_token.clone(),
            identity: "worker".into(),
            deployment_options: Some(options(build)),
            versioning_behavior: behavior as i32,
            ..Default::default()
        };
        soon(self.engine.respond_workflow_task_completed(request)).await.unwrap();
    }

    async fn deployment(&self) -> DescribeWorkerDeploymentResponse {
        let request = DescribeWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: DEPLOYMENT.into() };
        soon(self.engine.describe_deployment(request)).await.unwrap()
    }

    async fn statuses(&self) -> Vec<(String, Status)> {
        let info = self.deployment().await.worker_deployment_info.unwrap();
        let mut all: Vec<_> = info.version_summaries.iter().map(|v| (v.deployment_version.clone().unwrap().build_id, v.status())).collect();
        all.sort();
        all
    }

    async fn delete_version(&self, build: &str, skip_drainage: bool) -> Result<(), Refusal> {
        let request = DeleteWorkerDeploymentVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_version: Some(version(build)),
            skip_drainage,
            identity: "operator".into(),
            ..Default::default()
        };
        soon(self.engine.delete_deployment_version(request)).await.map(drop)
    }
}

#[tokio::test]
async fn polls_make_versions_and_the_current_one_gets_new_work() {
    let mut w = world().await;
    let (mut one, two) = (w.worker("1").await, w.worker("2").await);
    assert_eq!(w.statuses().await, [("1".into(), Status::Inactive), ("2".into(), Status::Inactive)]);
    w.start("w").await;
    assert!(!one.is_finished(), "nothing is sent to versions yet");
    let before = soon(w.engine.set_current_version(current("1"))).await.unwrap();
    assert_eq!((before.previous_version.as_str(), before.previous_deployment_version), ("__unversioned__", None));
    let task = soon(&mut one).await.unwrap();
    assert_eq!(task.workflow_execution.clone().unwrap().workflow_id, "w");
    w.finish(&task, "1", VersioningBehavior::Pinned).await;
    soon(w.engine.set_current_version(current("2"))).await.unwrap();
    assert_eq!(w.statuses().await, [("1".into(), Status::Draining), ("2".into(), Status::Current)]);
    w.start("x").await;
    assert_eq!(soon(two).await.unwrap().workflow_execution.unwrap().workflow_id, "x");
    // The pinned run stays with its version, also after a restart.
    w.signal("w", "s").await.unwrap();
    w.reopen().await;
    assert_eq!(w.statuses().await, [("1".into(), Status::Draining), ("2".into(), Status::Current)]);
    let two = w.worker("2").await;
    let task = soon(w.worker("1").await).await.unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, "w");
    w.start("y").await;
    assert_eq!(soon(two).await.unwrap().workflow_execution.unwrap().workflow_id, "y");
}

#[tokio::test]
async fn a_ramp_to_all_and_its_end() {
    let w = world().await;
    let (_one, two) = (w.worker("1").await, w.worker("2").await);
    soon(w.engine.set_current_version(current("1"))).await.unwrap();
    let refused = soon(w.engine.set_ramping_version(ramping("1", 10.0))).await.unwrap_err();
    assert_eq!(refused, precondition("requested ramping version payments.1 is already current"));
    let refused = soon(w.engine.set_ramping_version(ramping("2", 101.0))).await.unwrap_err();
    assert_eq!(refused, Refusal::InvalidArgument("Percentage must be between 0 and 100 (inclusive)".into()));
    soon(w.engine.set_ramping_version(ramping("2", 100.0))).await.unwrap();
    let config = w.deployment().await.worker_deployment_info.unwrap().routing_config.unwrap();
    assert_eq!((config.ramping_version.as_str(), config.revision_number), ("payments.2", 2));
    w.start("w").await;
    let task = soon(two).await.unwrap();
    assert_eq!(task.workflow_execution.unwrap().workflow_id, "w");
    // To be current ends a version's ramp.
    soon(w.engine.set_current_version(current("2"))).await.unwrap();
    let config = w.deployment().await.worker_deployment_info.unwrap().routing_config.unwrap();
    assert_eq!((config.ramping_version.as_str(), config.ramping_deployment_version), ("", None));
    assert_eq!(w.statuses().await, [("1".into(), Status::Draining), ("2".into(), Status::Current)]);
}

#[tokio::test]
async fn tokens_managers_and_versions_nobody_knows() {
    let w = world().await;
    let missing = soon(w.engine.set_current_version(current("1"))).await.unwrap_err();
    let text = "no Worker Deployment found with name 'payments'; does your Worker Deployment have pollers?";
    assert_eq!(missing, Refusal::NotFound(text.into()));
    drop(w.worker("1").await);
    let stale = w.deployment().await.conflict_token;
    soon(w.engine.set_current_version(current("1"))).await.unwrap();
    let again = soon(w.engine.set_current_version(current("1"))).await.unwrap();
    assert_eq!(again.conflict_token, w.deployment().await.conflict_token, "no change, no new token");
    let request = SetWorkerDeploymentCurrentVersionRequest { conflict_token: stale, ..current("") };
    assert_eq!(soon(w.engine.set_current_version(request)).await.unwrap_err(), precondition("conflict token mismatch"));
    let unknown = soon(w.engine.set_current_version(current("9"))).await.unwrap_err();
    assert_eq!(unknown, Refusal::NotFound("build ID '9' not found in Worker Deployment 'payments'".into()));
    let request = SetWorkerDeploymentCurrentVersionRequest { allow_no_pollers: true, ignore_missing_task_queues: true, ..current("9") };
    soon(w.engine.set_current_version(request)).await.unwrap();
    let request = SetWorkerDeploymentManagerRequest {
        namespace: NAMESPACE.into(),
        deployment_name: DEPLOYMENT.into(),
        identity: "boss".into(),
        new_manager_identity: Some(set_worker_deployment_manager_request::NewManagerIdentity::Self_(true)),
        ..Default::default()
    };
    soon(w.engine.set_deployment_manager(request)).await.unwrap();
    let refused = soon(w.engine.set_current_version(current("1"))).await.unwrap_err();
    assert!(
        matches!(refused, Refusal::FailedPrecondition(text) if text.starts_with("ManagerIdentity 'boss' is set and does not match user identity 'operator'"))
    );
}

#[tokio::test]
async fn a_version_is_drained_when_no_run_is_pinned_to_it_and_only_then_deleted() {
    let w = world().await;
    let (one, _two) = (w.worker("1").await, w.worker("2").await);
    soon(w.engine.set_current_version(current("1"))).await.unwrap();
    w.start("w").await;
    let task = soon(one).await.unwrap();
    w.finish(&task, "1", VersioningBehavior::Pinned).await;
    assert_eq!(
        w.delete_version("1", true).await.unwrap_err(),
        precondition("version 'payments:1' cannot be deleted since it is current or ramping")
    );
    soon(w.engine.set_current_version(current("2"))).await.unwrap();
    assert_eq!(
        w.delete_version("1", false).await.unwrap_err(),
        precondition("version 'payments:1' cannot be deleted since it is draining")
    );
    assert_eq!(
        w.delete_version("1", true).await.unwrap_err(),
        precondition("version 'payments:1' cannot be deleted since it has active pollers")
    );
    w.advance(Span::seconds(181)).await;
    assert_eq!(w.statuses().await[0].1, Status::Draining, "a run is pinned to it");
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(sempre_api::v1::common::WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    w.advance(Span::seconds(181)).await;
    let info = w.deployment().await.worker_deployment_info.unwrap();
    let drained = info.version_summaries.iter().find(|v| v.status() == Status::Drained).unwrap();
    assert_eq!(drained.drainage_info.as_ref().unwrap().status(), VersionDrainageStatus::Drained);
    w.advance(Span::seconds(300)).await;
    w.delete_version("1", false).await.unwrap();
    assert_eq!(w.statuses().await, [("2".into(), Status::Current)]);
    let request =
        DeleteWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: DEPLOYMENT.into(), identity: String::new() };
    assert_eq!(soon(w.engine.delete_deployment(request)).await.unwrap_err(), precondition("deployment has versions, can't be deleted"));
}

#[tokio::test]
async fn deployments_are_created_once_by_request_id_and_listed_by_name() {
    let w = world().await;
    let create = |name: &str, id: &str| CreateWorkerDeploymentRequest {
        namespace: NAMESPACE.into(),
        deployment_name: name.into(),
        identity: "operator".into(),
        request_id: id.into(),
    };
    for name in ["b", "a", "c"] {
        soon(w.engine.create_deployment(create(name, "r"))).await.unwrap();
    }
    soon(w.engine.create_deployment(create("a", "r"))).await.unwrap();
    let refused = soon(w.engine.create_deployment(create("a", "other"))).await.unwrap_err();
    assert_eq!(refused, Refusal::AlreadyExists("Worker Deployment with name \"a\" already exists".into()));
    let refused = soon(w.engine.create_deployment(create("a.b", ""))).await.unwrap_err();
    assert_eq!(refused, Refusal::InvalidArgument("worker deployment name cannot contain '.'".into()));
    let list =
        |page: &bytes::Bytes| ListWorkerDeploymentsRequest { namespace: NAMESPACE.into(), page_size: 2, next_page_token: page.clone() };
    let first = soon(w.engine.list_deployments(list(&bytes::Bytes::new()))).await.unwrap();
    let second = soon(w.engine.list_deployments(list(&first.next_page_token))).await.unwrap();
    let names: Vec<_> = first.worker_deployments.iter().chain(&second.worker_deployments).map(|d| d.name.as_str()).collect();
    assert_eq!((names, second.next_page_token.is_empty()), (vec!["a", "b", "c"], true));
    let version = CreateWorkerDeploymentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_version: Some(WorkerDeploymentVersion { deployment_name: "a".into(), build_id: "1".into() }),
        identity: "operator".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    soon(w.engine.create_deployment_version(version.clone())).await.unwrap();
    soon(w.engine.create_deployment_version(version)).await.unwrap();
    let request = DescribeWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: "a".into() };
    let info = soon(w.engine.describe_deployment(request)).await.unwrap().worker_deployment_info.unwrap();
    assert_eq!(info.version_summaries[0].status(), Status::Created);
}

/// A poll of a version's worker that is over at once.
async fn polled(w: &World, deployment: &str, build: &str) -> Result<(), Refusal> {
    let deployment_options = WorkerDeploymentOptions { deployment_name: deployment.into(), ..options(build) };
    let request = PollWorkflowTaskQueueRequest { deployment_options: Some(deployment_options), ..poll_request() };
    soon(w.engine.poll_workflow_task(request, Some(w.clock.now()))).await.map(drop)
}

fn pinned_start(id: &str, build: &str) -> StartWorkflowExecutionRequest {
    use sempre_api::v1::workflow::{VersioningOverride, versioning_override};
    let pinned = versioning_override::PinnedOverride {
        behavior: versioning_override::PinnedOverrideBehavior::Pinned as i32,
        version: Some(version(build)),
    };
    let versioning = VersioningOverride { r#override: Some(versioning_override::Override::Pinned(pinned)), ..Default::default() };
    StartWorkflowExecutionRequest { versioning_override: Some(versioning), ..start_request(id) }
}

/// Makes a version that a run is pinned to, and one behind the other as many as a deployment has at most.
async fn full(w: &World) {
    let one = w.worker("000").await;
    soon(w.engine.set_current_version(current("000"))).await.unwrap();
    w.start("w").await;
    let task = soon(one).await.unwrap();
    w.finish(&task, "000", VersioningBehavior::Pinned).await;
    for n in 1..100 {
        w.clock_tick();
        let request = SetWorkerDeploymentCurrentVersionRequest {
            allow_no_pollers: true,
            ignore_missing_task_queues: true,
            ..current(&format!("{n:03}"))
        };
        soon(w.engine.set_current_version(request)).await.unwrap();
    }
}

#[tokio::test]
async fn a_full_deployment_forgets_its_oldest_drained_version_though_nobody_has_looked() {
    let w = world().await;
    full(&w).await;
    let refused = polled(&w, DEPLOYMENT, "100").await.unwrap_err();
    assert_eq!(
        refused,
        precondition("could not add version: too many versions in deployment and none are eligible for deletion"),
        "the grace has not passed"
    );
    w.advance(Span::seconds(400)).await;
    polled(&w, DEPLOYMENT, "100").await.unwrap();
    let all = w.statuses().await;
    assert_eq!(all.len(), 100);
    assert_eq!(all[0], ("000".into(), Status::Draining), "a run is pinned to it");
    assert_eq!(all[1].0, "002", "the oldest of those that nobody needs has gone");
    assert_eq!(all[99], ("100".into(), Status::Inactive));
    // What was drained at the last look is not forgotten when a run has been pinned to it since.
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("w", "")),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    w.advance(Span::seconds(181)).await;
    assert_eq!(w.statuses().await[0], ("000".into(), Status::Drained));
    soon(w.engine.start_workflow(pinned_start("x", "000"))).await.unwrap();
    let request = CreateWorkerDeploymentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_version: Some(version("101")),
        ..Default::default()
    };
    soon(w.engine.create_deployment_version(request)).await.unwrap();
    let request =
        SetWorkerDeploymentRampingVersionRequest { allow_no_pollers: true, ignore_missing_task_queues: true, ..ramping("102", 5.0) };
    soon(w.engine.set_ramping_version(request)).await.unwrap();
    let all = w.statuses().await;
    assert_eq!((all.len(), all[0].0.as_str(), all[1].0.as_str(), all[99].0.as_str()), (100, "000", "004", "102"));
    assert_eq!(all[0].1, Status::Draining);
}

#[tokio::test]
async fn a_run_that_is_pinned_to_a_drained_version_makes_it_drain_again() {
    let w = world().await;
    drop((w.worker("1").await, w.worker("2").await));
    soon(w.engine.set_current_version(current("1"))).await.unwrap();
    soon(w.engine.set_current_version(current("2"))).await.unwrap();
    w.advance(Span::seconds(400)).await;
    assert_eq!(w.statuses().await[0].1, Status::Drained);
    soon(w.engine.start_workflow(pinned_start("w", "1"))).await.unwrap();
    w.settle().await;
    assert_eq!(w.statuses().await[0].1, Status::Drained, "it was looked just now");
    assert_eq!(
        w.delete_version("1", false).await.unwrap_err(),
        precondition("version 'payments:1' cannot be deleted since it is draining"),
        "before a deletion it is looked again"
    );
    let info = w.deployment().await.worker_deployment_info.unwrap();
    let drainage = info.version_summaries.iter().find_map(|v| v.drainage_info).unwrap();
    assert_eq!((drainage.status(), drainage.last_changed_time), (VersionDrainageStatus::Draining, Some(w.clock.now().to_api())));
    // A run that is paused is open.
    let pause = PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "w".into(),
        identity: "operator".into(),
        request_id: "p".into(),
        ..Default::default()
    };
    soon(w.engine.pause_workflow(pause)).await.unwrap();
    w.advance(Span::seconds(181)).await;
    assert_eq!(w.statuses().await[0].1, Status::Draining);
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("w", "")),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    w.advance(Span::seconds(181)).await;
    assert_eq!(w.statuses().await[0].1, Status::Drained);
    // By itself, too, when somebody looks after the interval.
    soon(w.engine.start_workflow(pinned_start("x", "1"))).await.unwrap();
    w.advance(Span::seconds(181)).await;
    assert_eq!(w.statuses().await[0].1, Status::Draining);
}

#[tokio::test]
async fn a_queue_has_so_many_versions_whatever_their_deployments() {
    let w = world().await;
    for deployment in ["a", "b"] {
        for n in 0..100 {
            polled(&w, deployment, &n.to_string()).await.unwrap();
        }
    }
    let refused = polled(&w, "c", "1").await.unwrap_err();
    assert!(
        matches!(&refused, Refusal::ResourceExhausted { message, .. } if message.contains("(200)") && message.contains("\"queue\"")),
        "{refused:?}"
    );
    polled(&w, "a", "1").await.unwrap();
}

#[tokio::test]
async fn a_versions_backlog_is_its_own() {
    let w = world().await;
    let (one, two) = (w.worker("1").await, w.worker("2").await);
    soon(w.engine.set_current_version(current("1"))).await.unwrap();
    w.start("w").await;
    let task = soon(one).await.unwrap();
    w.finish(&task, "1", VersioningBehavior::Pinned).await;
    soon(w.engine.set_current_version(current("2"))).await.unwrap();
    two.abort();
    w.settle().await;
    w.signal("w", "s").await.unwrap();
    for id in ["x", "y"] {
        w.start(id).await;
    }
    let backlog = async |build: &str| {
        let request = DescribeWorkerDeploymentVersionRequest {
            namespace: NAMESPACE.into(),
            deployment_version: Some(version(build)),
            report_task_queue_stats: true,
            ..Default::default()
        };
        let queues = soon(w.engine.describe_deployment_version(request)).await.unwrap().version_task_queues;
        queues[0].stats.unwrap().approximate_backlog_count
    };
    assert_eq!((backlog("1").await, backlog("2").await), (1, 2));
    soon(w.engine.set_ramping_version(ramping("1", 100.0))).await.unwrap();
    assert_eq!((backlog("1").await, backlog("2").await), (3, 0));
}

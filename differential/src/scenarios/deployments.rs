//! Worker deployments: which version has the work, and what a run keeps of it.

use sempre_api::{
    FieldMask,
    v1::{
        enums::VersioningBehavior::{AutoUpgrade, Pinned},
        workflow::{
            VersioningOverride, WorkflowExecutionOptions,
            versioning_override::{Override, PinnedOverride, PinnedOverrideBehavior},
        },
        workflowservice::{CreateWorkerDeploymentRequest, DeleteWorkerDeploymentRequest, UpdateWorkflowExecutionOptionsRequest},
    },
};

use super::scenarios;
use crate::scene::{Done, NAMESPACE, Scene};

scenarios!("deployments":
    nobody_knows, created_by_call, refusals, pinned_to_its_version, upgraded, overridden, unversioned_again, deleted,
);

async fn nobody_knows(s: Scene) -> Done {
    s.describe_deployment().await.ok();
    s.describe_version("1").await.ok();
    s.set_current("1", |_| {}).await.ok();
    s.set_ramping("1", 5.0, |_| {}).await.ok();
    s.set_current("1", |r| r.deployment_name = String::new()).await.ok();
    s.set_current("1", |r| r.deployment_name = "a.b".into()).await.ok();
    s.set_ramping("1", 101.0, |_| {}).await.ok();
    s.delete_version("1", false).await.ok();
    Ok(())
}

async fn created_by_call(s: Scene) -> Done {
    let create = |id: &str| CreateWorkerDeploymentRequest {
        namespace: NAMESPACE.into(),
        deployment_name: s.deployment(),
        identity: "operator".into(),
        request_id: id.into(),
    };
    for id in ["one", "one", "other"] {
        let answer = s.client().create_worker_deployment(create(id)).await;
        s.record("create", answer).ok();
    }
    s.describe_deployment().await?;
    let request =
        DeleteWorkerDeploymentRequest { namespace: NAMESPACE.into(), deployment_name: s.deployment(), identity: "operator".into() };
    s.record("delete", s.client().delete_worker_deployment(request).await)?;
    Ok(())
}

async fn refusals(s: Scene) -> Done {
    let _polls = (s.worker_beside("1"), s.worker_beside("2"));
    s.known(&["1", "2"]).await?;
    s.describe_deployment().await?;
    s.set_current("1", |_| {}).await?;
    s.set_current("1", |_| {}).await?;
    s.set_current("2", |r| r.conflict_token = b"stale".as_slice().into()).await.ok();
    s.set_current("9", |_| {}).await.ok();
    s.set_ramping("1", 5.0, |_| {}).await.ok();
    s.set_ramping("9", 5.0, |_| {}).await.ok();
    s.set_ramping("2", 30.0, |_| {}).await?;
    s.spread().await?;
    s.describe_deployment().await?;
    s.describe_queue().await?;
    s.set_ramping("", 0.0, |_| {}).await?;
    s.spread().await?;
    s.describe_deployment().await?;
    Ok(())
}

async fn pinned_to_its_version(s: Scene) -> Done {
    let (one, two) = (s.worker_beside("1"), s.worker_beside("2"));
    s.known(&["1", "2"]).await?;
    s.set_current("1", |_| {}).await?;
    s.spread().await?;
    s.describe_queue().await?;
    s.start("a").await?;
    s.worked_by(one, "1", Pinned).await?;
    s.describe("a").await?;
    s.set_current("2", |_| {}).await?;
    s.spread().await?;
    s.describe_deployment().await?;
    s.describe_version("1").await?;
    s.start("b").await?;
    s.worked_by(two, "2", Pinned).await?;
    s.signal("a", "news").await?;
    let one = s.worker_beside("1");
    s.worked_by(one, "1", Pinned).await?;
    s.terminate("a").await?;
    s.terminate("b").await?;
    Ok(())
}

async fn upgraded(s: Scene) -> Done {
    let (one, two) = (s.worker_beside("1"), s.worker_beside("2"));
    s.known(&["1", "2"]).await?;
    s.set_current("1", |_| {}).await?;
    s.spread().await?;
    s.start("a").await?;
    s.worked_by(one, "1", AutoUpgrade).await?;
    s.set_ramping("2", 100.0, |_| {}).await?;
    s.spread().await?;
    s.signal("a", "news").await?;
    let task = s.taken(two).await?;
    s.describe("a").await?;
    s.complete_with(&task, [], s.completes_as("2", AutoUpgrade)).await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    Ok(())
}

async fn overridden(s: Scene) -> Done {
    let (one, two) = (s.worker_beside("1"), s.worker_beside("2"));
    s.known(&["1", "2"]).await?;
    s.set_current("1", |_| {}).await?;
    s.spread().await?;
    s.start("a").await?;
    s.worked_by(one, "1", AutoUpgrade).await?;
    let pinned = |build: &str| {
        let pinned = PinnedOverride { behavior: PinnedOverrideBehavior::Pinned as i32, version: s.version(build) };
        Some(VersioningOverride { r#override: Some(Override::Pinned(pinned)), ..Default::default() })
    };
    let update = |versioning_override: Option<VersioningOverride>| UpdateWorkflowExecutionOptionsRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(s.execution("a")),
        workflow_execution_options: Some(WorkflowExecutionOptions { versioning_override, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["versioning_override".into()] }),
        identity: "client".into(),
    };
    for asked in [Some(VersioningOverride::default()), pinned("9"), pinned("2")] {
        let answer = s.client().update_workflow_execution_options(update(asked)).await;
        s.record("update options", answer).ok();
    }
    s.describe("a").await?;
    s.signal("a", "news").await?;
    s.worked_by(two, "2", AutoUpgrade).await?;
    s.record("update options", s.client().update_workflow_execution_options(update(None)).await)?;
    s.describe("a").await?;
    s.start_with("b", |r| r.versioning_override = pinned("9")).await.ok();
    s.start_with("c", |r| r.versioning_override = pinned("2")).await?;
    s.describe("c").await?;
    s.terminate("a").await?;
    s.terminate("c").await?;
    Ok(())
}

async fn unversioned_again(s: Scene) -> Done {
    let one = s.worker_beside("1");
    s.known(&["1"]).await?;
    s.set_current("1", |_| {}).await?;
    s.spread().await?;
    s.start("a").await?;
    s.worked_by(one, "1", AutoUpgrade).await?;
    s.set_current("", |_| {}).await?;
    s.spread().await?;
    s.signal("a", "news").await?;
    s.work([]).await?;
    s.describe("a").await?;
    s.describe_deployment().await?;
    s.terminate("a").await?;
    Ok(())
}

async fn deleted(s: Scene) -> Done {
    let _polls = (s.worker_beside("1"), s.worker_beside("2"));
    s.known(&["1", "2"]).await?;
    s.set_current("1", |_| {}).await?;
    s.spread().await?;
    s.delete_version("1", true).await.ok();
    s.delete_version("2", true).await.ok();
    s.set_current("2", |_| {}).await?;
    s.spread().await?;
    s.delete_version("1", false).await.ok();
    s.delete_version("1", true).await.ok();
    s.delete_version("9", true).await.ok();
    Ok(())
}

//! `workflow update-options`: which version of its workers a workflow goes to.

use clap::{Args, ValueEnum};
use sempre_api::{
    FieldMask,
    v1::{
        batch::BatchOperationUpdateWorkflowExecutionOptions,
        deployment::WorkerDeploymentVersion,
        workflow::{
            VersioningOverride, WorkflowExecutionOptions,
            versioning_override::{OneTimeOverride, Override, PinnedOverride, PinnedOverrideBehavior},
        },
        workflowservice::{UpdateWorkflowExecutionOptionsRequest, start_batch_operation_request::Operation},
    },
};

use super::Many;
use crate::cli::{Failure, session::Session};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    target: Many,
    #[command(flatten)]
    versioning: Versioning,
}

/// A choice of a version of workers.
#[derive(Args, Clone, Debug)]
pub(super) struct Versioning {
    /// How the version is chosen
    #[arg(long, value_enum, value_name = "BEHAVIOR", ignore_case = true)]
    versioning_override_behavior: Behavior,
    /// Deployment of the workers, for pinned and one_time
    #[arg(long, value_name = "NAME")]
    versioning_override_deployment_name: Option<String>,
    /// Build of the workers, for pinned and one_time
    #[arg(long, value_name = "ID")]
    versioning_override_build_id: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Behavior {
    /// As the workflow itself says
    Unspecified,
    /// One version for good
    Pinned,
    /// One version for the next workflow task
    OneTime,
    /// The current version, whatever it is
    AutoUpgrade,
}

impl Versioning {
    /// The options, and which of them are meant.
    pub(super) fn options(&self) -> Result<(WorkflowExecutionOptions, FieldMask), Failure> {
        let version = match (&self.versioning_override_deployment_name, &self.versioning_override_build_id) {
            (Some(name), Some(build_id)) => Some(WorkerDeploymentVersion { deployment_name: name.clone(), build_id: build_id.clone() }),
            (None, None) => None,
            _ => return Err(Failure::usage("a version has a deployment name and a build id: give both flags")),
        };
        let chosen = match (self.versioning_override_behavior, version) {
            (Behavior::Unspecified, None) => None,
            (Behavior::AutoUpgrade, None) => Some(Override::AutoUpgrade(true)),
            (Behavior::Pinned, Some(version)) => {
                let behavior = PinnedOverrideBehavior::Pinned as i32;
                Some(Override::Pinned(PinnedOverride { behavior, version: Some(version) }))
            }
            (Behavior::OneTime, Some(version)) => Some(Override::OneTime(OneTimeOverride { target_deployment_version: Some(version) })),
            (_, None) => {
                return Err(Failure::usage("this behavior needs --versioning-override-deployment-name and --versioning-override-build-id"));
            }
            (_, Some(_)) => return Err(Failure::usage("only pinned and one_time take a deployment name and a build id")),
        };
        let versioning_override = chosen.map(|chosen| VersioningOverride { r#override: Some(chosen), ..VersioningOverride::default() });
        let options = WorkflowExecutionOptions { versioning_override, ..WorkflowExecutionOptions::default() };
        Ok((options, FieldMask { paths: vec!["versioning_override".to_owned()] }))
    }
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let (wanted, mask) = options.versioning.options()?;
    let identity = session.identity();
    let Some(execution) = options.target.one() else {
        let operation =
            BatchOperationUpdateWorkflowExecutionOptions { identity, workflow_execution_options: Some(wanted), update_mask: Some(mask) };
        return options.target.batch(session, Operation::UpdateWorkflowOptionsOperation(operation)).await;
    };
    let request = UpdateWorkflowExecutionOptionsRequest {
        namespace: session.namespace(),
        workflow_execution: Some(execution),
        workflow_execution_options: Some(wanted),
        update_mask: Some(mask),
        identity,
    };
    let answer = session.client().await?.workflow.update_workflow_execution_options(request).await?.into_inner();
    session.out.message(&answer)?;
    session.out.line("Update workflow options succeeded")
}

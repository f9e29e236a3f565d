//! The gate before a deploy, by the official Rust SDK: workers of a version replay open runs before it gets the work.
//!
//! `sempre deployment check` is asked, as a deploy script asks it; the server must be Sempre.
#![allow(clippy::disallowed_methods, reason = "a client of a server in another process: it waits by the wall clock")]
#![allow(missing_docs, unreachable_pub, reason = "the macros of the SDK make public items for each workflow and activity")]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use sempre_conformance::{Case, Outcome, binary, check, eventually, same};
use temporalio_client::grpc::WorkflowService;
use temporalio_client::{WorkflowGetResultOptions, WorkflowSignalOptions, tonic};
use temporalio_common::protos::temporal::api::{
    deployment::v1::WorkerDeploymentVersion as ApiVersion,
    workflowservice::v1::{DescribeWorkerDeploymentVersionRequest, SetWorkerDeploymentCurrentVersionRequest},
};
use temporalio_common::worker::{VersioningBehavior, WorkerDeploymentOptions, WorkerDeploymentVersion};
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{ActivityOptions, SyncWorkflowContext, WorkflowContext, WorkflowResult};

const ATTEMPT: Duration = Duration::from_secs(30);

struct Till;

#[activities]
impl Till {
    #[activity]
    async fn charge(self: Arc<Self>, _ctx: ActivityContext, what: String) -> Result<String, ActivityError> {
        Ok(format!("charged {what}"))
    }

    #[activity]
    async fn refund(self: Arc<Self>, _ctx: ActivityContext, what: String) -> Result<String, ActivityError> {
        Ok(format!("refunded {what}"))
    }
}

fn options() -> ActivityOptions {
    ActivityOptions::start_to_close_timeout(ATTEMPT)
}

// Programs of one workflow type, `Order`, each in a module so that all can be called the same.

mod charges {
    use super::*;

    #[workflow]
    #[derive(Default)]
    pub struct Order {
        done: bool,
    }

    #[workflow_methods]
    impl Order {
        #[run]
        pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
            ctx.execute_activity(Till::charge, "card".to_owned(), options()).await?;
            ctx.wait_condition(|state| state.done).await?;
            Ok(())
        }

        #[signal]
        pub fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
            self.done = true;
        }
    }
}

mod refunds {
    use super::*;

    #[workflow]
    #[derive(Default)]
    pub struct Order {
        done: bool,
    }

    #[workflow_methods]
    impl Order {
        #[run]
        pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
            ctx.execute_activity(Till::refund, "card".to_owned(), options()).await?;
            ctx.wait_condition(|state| state.done).await?;
            Ok(())
        }

        #[signal]
        pub fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
            self.done = true;
        }
    }
}

mod waits_first {
    use super::*;

    #[workflow]
    #[derive(Default)]
    pub struct Order {
        done: bool,
    }

    #[workflow_methods]
    impl Order {
        #[run]
        pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
            ctx.timer(Duration::from_secs(1)).await;
            ctx.execute_activity(Till::charge, "card".to_owned(), options()).await?;
            ctx.wait_condition(|state| state.done).await?;
            Ok(())
        }

        #[signal]
        pub fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
            self.done = true;
        }
    }
}

mod patched {
    use super::*;

    #[workflow]
    #[derive(Default)]
    pub struct Order {
        done: bool,
    }

    #[workflow_methods]
    impl Order {
        #[run]
        pub async fn run(ctx: &mut WorkflowContext<Self>) -> WorkflowResult<()> {
            if ctx.patched("refund-instead") {
                ctx.execute_activity(Till::refund, "card".to_owned(), options()).await?;
            } else {
                ctx.execute_activity(Till::charge, "card".to_owned(), options()).await?;
            }
            ctx.wait_condition(|state| state.done).await?;
            Ok(())
        }

        #[signal]
        pub fn finish(&mut self, _ctx: &mut SyncWorkflowContext<Self>) {
            self.done = true;
        }
    }
}

/// Of a worker of a version.
fn versioned(case: &Case, build: &str) -> WorkerDeploymentOptions {
    let version = WorkerDeploymentVersion::builder().deployment_name(case.name.clone()).build_id(build).build();
    let versioned = WorkerDeploymentOptions::new(version).use_worker_versioning(true);
    versioned.default_versioning_behavior(VersioningBehavior::AutoUpgrade).build()
}

async fn known(case: &Case, build: &str) -> Outcome {
    let version = ApiVersion { deployment_name: case.name.clone(), build_id: build.to_owned() };
    let request =
        DescribeWorkerDeploymentVersionRequest { namespace: "default".to_owned(), deployment_version: Some(version), ..Default::default() };
    eventually("the version is known", async || {
        let answer = case.client.clone().describe_worker_deployment_version(tonic::Request::new(request.clone())).await;
        Ok(answer.ok().filter(|answer| answer.get_ref().version_task_queues.iter().any(|queue| queue.r#type == 1)).map(drop))
    })
    .await
}

/// Exit code and answer of the command.
async fn asked(case: &Case, build: &str) -> Outcome<(Option<i32>, String)> {
    let mut command = Command::new(binary()?);
    command.args(["deployment", "check", "--output", "json", "--deployment-name", &case.name, "--build-id", build]);
    command.args(["--address", case.address()]);
    let done = tokio::task::spawn_blocking(move || command.output()).await??;
    Ok((done.status.code(), String::from_utf8(done.stdout)? + &String::from_utf8(done.stderr)?))
}

/// Version 1 is current and has an open run that has charged.
async fn begun(name: &str) -> Outcome<Case> {
    let case = Case::new(name).await?;
    let options = case.worker().deployment_options(versioned(&case, "1")).register_workflow::<charges::Order>()?.register_activities(Till);
    case.run(options.build(), async {
        known(&case, "1").await?;
        let request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: "default".to_owned(),
            deployment_name: case.name.clone(),
            build_id: "1".to_owned(),
            identity: "test".to_owned(),
            ignore_missing_task_queues: true,
            ..Default::default()
        };
        case.client.clone().set_worker_deployment_current_version(tonic::Request::new(request)).await?;
        case.client.start_workflow(charges::Order::run, (), case.start("a")).await?;
        eventually("it has charged", async || {
            let names = case.event_names(&case.id("a")).await?;
            let charged = names.iter().any(|name| name == "ActivityTaskCompleted");
            Ok((charged && names.last().is_some_and(|name| name == "WorkflowTaskCompleted")).then_some(()))
        })
        .await
    })
    .await?;
    Ok(case)
}

fn told(answer: &str, what: &str) -> Outcome {
    check(&format!("{what} in {answer}"), answer.contains(what))
}

#[tokio::test]
async fn a_planted_change_is_caught_and_its_event_named() -> Outcome {
    let case = begun("gate-differs").await?;
    let before = case.event_names(&case.id("a")).await?;
    let options = case.worker().deployment_options(versioned(&case, "2")).register_workflow::<refunds::Order>()?.register_activities(Till);
    case.run(options.build(), async {
        known(&case, "2").await?;
        let (code, answer) = asked(&case, "2").await?;
        same("exit code", code, Some(1))?;
        for what in [
            "REPLAY_OUTCOME_NON_DETERMINISTIC",
            r#""eventId": "5""#,
            "ActivityTaskScheduled Till::charge",
            "activity type Till::refund",
            "TMPRL1100",
        ] {
            told(&answer, what)?;
        }
        Ok(())
    })
    .await?;
    let options =
        case.worker().deployment_options(versioned(&case, "3")).register_workflow::<waits_first::Order>()?.register_activities(Till);
    case.run(options.build(), async {
        known(&case, "3").await?;
        let (code, answer) = asked(&case, "3").await?;
        same("exit code", code, Some(1))?;
        told(&answer, r#""eventId": "5""#)?;
        told(&answer, r#""command": "timer""#)
    })
    .await?;
    same("history", case.event_names(&case.id("a")).await?, before)
}

#[tokio::test]
async fn a_harmless_change_passes_and_the_run_goes_on_with_it() -> Outcome {
    let case = begun("gate-same").await?;
    let options = case.worker().deployment_options(versioned(&case, "2")).register_workflow::<patched::Order>()?.register_activities(Till);
    case.run(options.build(), async {
        known(&case, "2").await?;
        let (code, answer) = asked(&case, "2").await?;
        same(&answer, code, Some(0))?;
        told(&answer, r#""runsReplayed": "1""#)?;
        let request = SetWorkerDeploymentCurrentVersionRequest {
            namespace: "default".to_owned(),
            deployment_name: case.name.clone(),
            build_id: "2".to_owned(),
            identity: "test".to_owned(),
            ..Default::default()
        };
        case.client.clone().set_worker_deployment_current_version(tonic::Request::new(request)).await?;
        let handle = case.client.get_workflow_handle::<patched::Order>(case.id("a"));
        handle.signal(patched::Order::finish, (), WorkflowSignalOptions::default()).await?;
        handle.get_result(WorkflowGetResultOptions::default()).await?;
        Ok(())
    })
    .await
}

//! `activity complete` and `activity fail`: what a worker would answer, by hand.

use clap::Args;
use sempre_api::v1::{
    common::Payloads,
    failure::{ApplicationFailureInfo, Failure as ActivityFailure, failure::FailureInfo},
    workflowservice::{RespondActivityTaskCompletedByIdRequest, RespondActivityTaskFailedByIdRequest},
};

use crate::cli::{Failure, input, session::Session};

#[derive(Args)]
pub(crate) struct Complete {
    #[command(flatten)]
    of: Of,
    /// Its result as JSON
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    result: String,
}

#[derive(Args)]
pub(crate) struct Fail {
    #[command(flatten)]
    of: Of,
    /// Details as JSON
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    detail: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

#[derive(Args)]
struct Of {
    /// The activity
    #[arg(short, long, value_name = "ID")]
    activity_id: String,
    /// Its workflow
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    workflow_id: String,
    /// The run; without it the current one
    #[arg(short, long, value_name = "ID", default_value = "", hide_default_value = true)]
    run_id: String,
}

fn payloads(text: Option<&String>) -> Result<Option<Payloads>, Failure> {
    let texts: Vec<String> = text.into_iter().cloned().collect();
    input::build(&texts, &[], &[], false)
}

pub(super) async fn complete(session: &mut Session, options: &Complete) -> Result<(), Failure> {
    let request = RespondActivityTaskCompletedByIdRequest {
        namespace: session.namespace(),
        workflow_id: options.of.workflow_id.clone(),
        run_id: options.of.run_id.clone(),
        activity_id: options.of.activity_id.clone(),
        result: payloads(Some(&options.result))?,
        identity: session.identity(),
        ..Default::default()
    };
    session.client().await?.workflow.respond_activity_task_completed_by_id(request).await?;
    session.out.line("Activity completed")
}

pub(super) async fn fail(session: &mut Session, options: &Fail) -> Result<(), Failure> {
    let info = ApplicationFailureInfo { non_retryable: true, details: payloads(options.detail.as_ref())?, ..Default::default() };
    let failure = ActivityFailure {
        message: options.reason.clone(),
        source: "CLI".to_owned(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Default::default()
    };
    let request = RespondActivityTaskFailedByIdRequest {
        namespace: session.namespace(),
        workflow_id: options.of.workflow_id.clone(),
        run_id: options.of.run_id.clone(),
        activity_id: options.of.activity_id.clone(),
        failure: Some(failure),
        identity: session.identity(),
        ..Default::default()
    };
    session.client().await?.workflow.respond_activity_task_failed_by_id(request).await?;
    session.out.line("Activity failed")
}

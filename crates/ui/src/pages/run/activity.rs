//! What can be done to a pending activity of a run.

use sempre_api::{
    FieldMask,
    sempre::v1::RunActivityNowRequest,
    v1::{
        activity::ActivityOptions,
        common::RetryPolicy,
        failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
        taskqueue::TaskQueue,
        workflowservice::{
            PauseActivityRequest, ResetActivityRequest, RespondActivityTaskCompletedByIdRequest, RespondActivityTaskFailedByIdRequest,
            UnpauseActivityRequest, UpdateActivityOptionsRequest, pause_activity_request, reset_activity_request, unpause_activity_request,
            update_activity_options_request,
        },
    },
};
use uuid::Uuid;

use super::Place;
use crate::{
    json,
    visit::{IDENTITY, Problem, Visit},
};

/// Does it.
pub(super) async fn send(visit: &Visit<'_>, place: &Place<'_>, action: &str) -> Result<(), Problem> {
    let namespace = place.namespace.to_owned();
    let execution = Some(place.execution());
    let identity = IDENTITY.to_owned();
    let id = visit.field("activity").to_owned();
    if id.is_empty() {
        return Err(Problem::invalid("The form does not say which activity is meant."));
    }
    match action {
        "activity-pause" => {
            let activity = Some(pause_activity_request::Activity::Id(id));
            let (reason, request_id) = (visit.field("reason").to_owned(), Uuid::new_v4().to_string());
            visit.ask(PauseActivityRequest { namespace, execution, identity, reason, request_id, activity }).await?;
        }
        "activity-unpause" => {
            let request = UnpauseActivityRequest {
                namespace,
                execution,
                identity,
                reset_attempts: visit.is_set("reset-attempts"),
                reset_heartbeat: visit.is_set("reset-heartbeat"),
                activity: Some(unpause_activity_request::Activity::Id(id)),
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "activity-run-now" => {
            let (workflow_id, run_id) = (place.id.to_owned(), place.run.to_owned());
            visit.ask(RunActivityNowRequest { namespace, workflow_id, run_id, activity_id: id, identity }).await?;
        }
        "activity-reset" => {
            let request = ResetActivityRequest {
                namespace,
                execution,
                identity,
                reset_heartbeat: visit.is_set("reset-heartbeat"),
                keep_paused: visit.is_set("keep-paused"),
                restore_original_options: visit.is_set("original"),
                activity: Some(reset_activity_request::Activity::Id(id)),
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "activity-complete" => {
            let request = RespondActivityTaskCompletedByIdRequest {
                namespace,
                workflow_id: place.id.to_owned(),
                run_id: place.run.to_owned(),
                activity_id: id,
                result: visit.input()?,
                identity,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "activity-fail" => {
            let info = ApplicationFailureInfo {
                r#type: visit.field("type").to_owned(),
                non_retryable: visit.is_set("final"),
                ..Default::default()
            };
            let failure = Failure {
                message: visit.field("reason").to_owned(),
                source: IDENTITY.to_owned(),
                failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
                ..Default::default()
            };
            let request = RespondActivityTaskFailedByIdRequest {
                namespace,
                workflow_id: place.id.to_owned(),
                run_id: place.run.to_owned(),
                activity_id: id,
                failure: Some(failure),
                identity,
                ..Default::default()
            };
            visit.ask(request).await?;
        }
        "activity-options" => {
            let (activity_options, paths) = options(visit)?;
            let request = UpdateActivityOptionsRequest {
                namespace,
                execution,
                identity,
                activity_options: Some(activity_options),
                update_mask: Some(FieldMask { paths }),
                restore_original: false,
                activity: Some(update_activity_options_request::Activity::Id(id)),
            };
            visit.ask(request).await?;
        }
        _ => return Err(Problem(tonic::Status::not_found("Nothing of that name can be done to a run."))),
    }
    Ok(())
}

/// The options that were written, and which they are.
fn options(visit: &Visit) -> Result<(ActivityOptions, Vec<String>), Problem> {
    let mut paths = Vec::new();
    let mut length = |field: &str, path: &str| -> Result<_, Problem> {
        let length = json::duration(visit.field(field))?;
        if length.is_some() {
            paths.push(path.to_owned());
        }
        Ok(length)
    };
    let mut options = ActivityOptions {
        start_to_close_timeout: length("start-to-close", "start_to_close_timeout")?,
        schedule_to_close_timeout: length("schedule-to-close", "schedule_to_close_timeout")?,
        schedule_to_start_timeout: length("schedule-to-start", "schedule_to_start_timeout")?,
        heartbeat_timeout: length("heartbeat", "heartbeat_timeout")?,
        ..Default::default()
    };
    let mut retry = RetryPolicy {
        initial_interval: length("initial-interval", "retry_policy.initial_interval")?,
        maximum_interval: length("maximum-interval", "retry_policy.maximum_interval")?,
        ..Default::default()
    };
    if visit.is_set("maximum-attempts") {
        retry.maximum_attempts = visit.number("maximum-attempts")?;
        paths.push("retry_policy.maximum_attempts".to_owned());
    }
    if paths.iter().any(|path| path.starts_with("retry_policy")) {
        options.retry_policy = Some(retry);
    }
    if visit.is_set("queue") {
        options.task_queue = Some(TaskQueue { name: visit.field("queue").to_owned(), ..Default::default() });
        paths.push("task_queue.name".to_owned());
    }
    if paths.is_empty() {
        return Err(Problem::invalid("All fields are empty, so there is nothing to change."));
    }
    Ok((options, paths))
}

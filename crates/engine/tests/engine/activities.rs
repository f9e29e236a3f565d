use sempre_api::v1::{
    command::{ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, RetryPolicy},
    enums::CommandType,
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    workflowservice::*,
};
use sempre_core::{Refusal, Span};

use crate::support::*;

fn activity() -> sempre_api::v1::command::Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "act".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        heartbeat_timeout: Some(Span::seconds(20).to_api()),
        retry_policy: Some(RetryPolicy {
            initial_interval: Some(Span::seconds(1).to_api()),
            backoff_coefficient: 2.0,
            ..Default::default()
        }),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

fn failure() -> Failure {
    Failure {
        message: "no".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())),
        ..Default::default()
    }
}

async fn scheduled() -> World {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity()]).await;
    w
}

#[tokio::test]
async fn fails_is_retried_and_completes() {
    let w = scheduled().await;
    let first = w.poll_activity().await;
    assert_eq!((first.attempt, first.activity_id.as_str()), (1, "act"));
    let failed = RespondActivityTaskFailedRequest { task_token: first.task_token.clone(), failure: Some(failure()), ..Default::default() };
    soon(w.engine.respond_activity_task_failed(failed.clone())).await.unwrap();
    assert!(matches!(soon(w.engine.respond_activity_task_failed(failed)).await, Err(Refusal::NotFound(_))));
    w.advance(Span::seconds(1)).await;
    let second = w.poll_activity().await;
    assert_eq!(second.attempt, 2);
    let poll = w.poll_beside();
    w.settle().await;
    let completed =
        RespondActivityTaskCompletedRequest { task_token: second.task_token, result: Some(payloads("yes")), ..Default::default() };
    soon(w.engine.respond_activity_task_completed(completed)).await.unwrap();
    let task = soon(poll).await.unwrap();
    let events = names(&task.history.unwrap().events().unwrap());
    assert_eq!(events[4..7], ["ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"]);
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn heartbeats_keep_it_alive_and_their_details_reach_the_next_attempt() {
    let w = scheduled().await;
    let first = w.poll_activity().await;
    w.advance(Span::seconds(15)).await;
    let beat =
        RecordActivityTaskHeartbeatRequest { task_token: first.task_token.clone(), details: Some(payloads("half")), ..Default::default() };
    let answer = soon(w.engine.record_activity_heartbeat(beat.clone())).await.unwrap();
    assert!(!answer.cancel_requested);
    w.advance(Span::seconds(14)).await;
    soon(w.engine.record_activity_heartbeat(beat.clone())).await.unwrap();
    // Start-to-close.
    w.advance(Span::seconds(1)).await;
    assert!(matches!(soon(w.engine.record_activity_heartbeat(beat)).await, Err(Refusal::NotFound(_))));
    w.advance(Span::seconds(1)).await;
    let second = w.poll_activity().await;
    assert_eq!((second.attempt, second.heartbeat_details), (2, Some(payloads("half"))));
}

#[tokio::test]
async fn can_be_completed_by_id() {
    let w = scheduled().await;
    w.poll_activity().await;
    let request = RespondActivityTaskCompletedByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: "a".into(),
        activity_id: "act".into(),
        result: Some(payloads("yes")),
        ..Default::default()
    };
    let empty = RespondActivityTaskCompletedByIdRequest { activity_id: String::new(), ..request.clone() };
    assert_eq!(
        soon(w.engine.respond_activity_task_completed_by_id(empty)).await.unwrap_err(),
        Refusal::invalid("ActivityId is not set on request.")
    );
    soon(w.engine.respond_activity_task_completed_by_id(request)).await.unwrap();
    let task = w.poll().await;
    assert!(names(&task.history.unwrap().events().unwrap()).contains(&"ACTIVITY_TASK_COMPLETED"));
}

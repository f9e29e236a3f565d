use std::sync::atomic::Ordering::SeqCst;

use sempre_api::v1::{
    command::{ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Priority, RetryPolicy},
    enums::CommandType,
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;
use sempre_store::Table;

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

/// A place in the line of a fairness key may be had twice: by an attempt that was taken, and by the next.
#[tokio::test]
async fn an_offer_that_comes_back_late_does_not_take_the_place_of_the_next_attempt() {
    let mut w = world_with(Settings { shards: 1, ..settings() }).await;
    let run = w.start("a").await;
    let task = w.poll().await;
    let mut fair = activity();
    if let Some(Attributes::ScheduleActivityTaskCommandAttributes(a)) = &mut fair.attributes {
        a.priority = Some(Priority { fairness_key: "k".into(), ..Default::default() });
        a.retry_policy.as_mut().unwrap().initial_interval = Some(Span::millis(100).to_api());
    }
    w.complete(&task.task_token, vec![fair]).await;
    *w.store.unreadable.lock().unwrap() = sempre_core::RunId::parse(&run);
    w.reopen().await;
    let early = w.poll_activity_beside();
    w.settle().await;
    assert!(!early.is_finished(), "the run cannot be read: its offer stays away for a second");
    *w.store.unreadable.lock().unwrap() = None;
    // The shard begins again, and reads its offers.
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(start_request("b")).await.is_err());
    let first = soon(early).await.unwrap();
    let failed = RespondActivityTaskFailedRequest { task_token: first.task_token, failure: Some(failure()), ..Default::default() };
    soon(w.engine.respond_activity_task_failed(failed)).await.unwrap();
    w.advance(Span::millis(100)).await;
    assert_eq!(w.store.rows(Table::Offer).len(), 1, "the next attempt waits");
    w.advance(Span::millis(900)).await;
    let poll = w.poll_activity_beside();
    w.settle().await;
    assert_eq!(soon(poll).await.unwrap().attempt, 2);
}

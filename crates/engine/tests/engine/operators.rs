use sempre_api::v1::{
    activity::ActivityOptions,
    command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::ActivityType,
    enums::{CommandType, PendingActivityState as State},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    taskqueue::TaskQueue,
    workflow::PendingActivityInfo,
    workflowservice::*,
};
use sempre_core::{Refusal, Span};

use crate::support::*;

fn activity(eager: bool) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "act".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        request_eager_execution: eager,
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

async fn scheduled() -> World {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity(false)]).await;
    w
}

async fn pending(w: &World) -> PendingActivityInfo {
    w.describe("a").await.unwrap().pending_activities.remove(0)
}

fn pause() -> PauseActivityRequest {
    PauseActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        activity: Some(pause_activity_request::Activity::Id("act".into())),
        identity: "operator".into(),
        ..Default::default()
    }
}

fn unpause() -> UnpauseActivityRequest {
    UnpauseActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        activity: Some(unpause_activity_request::Activity::UnpauseAll(true)),
        ..Default::default()
    }
}

async fn beat(w: &World, task: &PollActivityTaskQueueResponse) -> RecordActivityTaskHeartbeatResponse {
    let request = RecordActivityTaskHeartbeatRequest { task_token: task.task_token.clone(), ..Default::default() };
    soon(w.engine.record_activity_heartbeat(request)).await.unwrap()
}

#[tokio::test]
async fn a_paused_activity_reaches_no_poller_until_it_is_unpaused() {
    let mut w = scheduled().await;
    soon(w.engine.pause_activity(pause())).await.unwrap();
    assert_eq!(pending(&w).await.state(), State::Paused);
    w.reopen().await;
    let engine = w.engine.clone();
    let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()), ..Default::default() };
    let poll = tokio::spawn(async move { engine.poll_activity_task(request, None).await.unwrap() });
    w.settle().await;
    assert!(!poll.is_finished(), "nothing to do while paused");
    soon(w.engine.unpause_activity(unpause())).await.unwrap();
    assert_eq!(soon(poll).await.unwrap().activity_id, "act");
}

#[tokio::test]
async fn a_worker_hears_of_pause_and_reset_by_its_heartbeats() {
    let w = scheduled().await;
    let task = w.poll_activity().await;
    soon(w.engine.pause_activity(pause())).await.unwrap();
    assert!(beat(&w, &task).await.activity_paused);
    soon(w.engine.unpause_activity(unpause())).await.unwrap();
    let reset = ResetActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        activity: Some(reset_activity_request::Activity::MatchAll(true)),
        ..Default::default()
    };
    soon(w.engine.reset_activity(reset)).await.unwrap();
    let told = beat(&w, &task).await;
    assert!(told.activity_reset && !told.activity_paused);
    let failure =
        Failure { failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo::default())), ..Default::default() };
    let failed = RespondActivityTaskFailedRequest { task_token: task.task_token, failure: Some(failure), ..Default::default() };
    soon(w.engine.respond_activity_task_failed(failed)).await.unwrap();
    assert_eq!(pending(&w).await.attempt, 2);
}

#[tokio::test]
async fn other_options_move_the_task_to_another_queue() {
    let w = scheduled().await;
    let update = UpdateActivityOptionsRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("a", "")),
        activity: Some(update_activity_options_request::Activity::Type("Act".into())),
        activity_options: Some(ActivityOptions {
            task_queue: Some(TaskQueue { name: "other".into(), ..Default::default() }),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["task_queue.name".into()] }),
        ..Default::default()
    };
    let answer = soon(w.engine.update_activity_options(update)).await.unwrap();
    assert_eq!(answer.activity_options.unwrap().task_queue.unwrap().name, "other");
    let request = PollActivityTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(TaskQueue { name: "other".into(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(soon(w.engine.poll_activity_task(request, None)).await.unwrap().activity_id, "act");
}

#[tokio::test]
async fn calls_that_name_no_activity_are_refused() {
    let w = scheduled().await;
    let none = soon(w.engine.pause_activity(PauseActivityRequest { activity: None, ..pause() })).await;
    let text = "Either Activity.Id or Activity.Type should be set on request.";
    assert!(matches!(none, Err(Refusal::InvalidArgument(said)) if said == text));
    let not_all = UnpauseActivityRequest { activity: Some(unpause_activity_request::Activity::UnpauseAll(false)), ..unpause() };
    assert!(matches!(soon(w.engine.unpause_activity(not_all)).await, Err(Refusal::InvalidArgument(said)) if said == text));
    let unknown = PauseActivityRequest { execution: Some(execution("x", "")), ..pause() };
    assert!(matches!(soon(w.engine.pause_activity(unknown)).await, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn an_eager_activity_comes_with_the_answer_and_reaches_no_poller() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    let answer = w.complete(&task.task_token, vec![activity(true)]).await;
    let [eager] = &answer.activity_tasks[..] else { panic!("one eager task") };
    assert_eq!((eager.activity_id.as_str(), eager.attempt), ("act", 1));
    let info = pending(&w).await;
    assert_eq!((info.state(), info.last_worker_identity.as_str()), (State::Started, "worker"));
    let poll = w.poll_beside();
    let done =
        RespondActivityTaskCompletedRequest { task_token: eager.task_token.clone(), identity: "worker".into(), ..Default::default() };
    soon(w.engine.respond_activity_task_completed(done)).await.unwrap();
    assert_eq!(soon(poll).await.unwrap().started_event_id, 9);
}

#[tokio::test]
async fn a_lost_eager_activity_times_out_and_goes_to_the_queue() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    assert_eq!(w.complete(&task.task_token, vec![activity(true)]).await.activity_tasks.len(), 1);
    w.advance(Span::seconds(30)).await;
    w.advance(Span::seconds(1)).await;
    assert_eq!(w.poll_activity().await.attempt, 2);
}

#[tokio::test]
async fn eager_activities_can_be_switched_off() {
    let mut settings = settings();
    settings.limits.eager_activities = false;
    let w = world_with(settings).await;
    w.start("a").await;
    let task = w.poll().await;
    assert!(w.complete(&task.task_token, vec![activity(true)]).await.activity_tasks.is_empty());
    assert_eq!(w.poll_activity().await.attempt, 1);
}

//! `activity …`, of an activity whose worker is silent.

use sempre_api::v1::{
    command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::ActivityType,
    enums::CommandType,
    workflowservice::{PollActivityTaskQueueRequest, workflow_service_client::WorkflowServiceClient},
};
use tonic::{Request, transport::Channel};

use super::{Server, poll, queue, respond};

/// A server with a workflow that waits for activity "pay", which a worker has taken.
async fn paying() -> (Server, WorkflowServiceClient<Channel>) {
    let server = Server::start();
    server.text(&["workflow", "start", "--type", "T", "-t", "queue", "-w", "w"]);
    let mut client = server.client().await;
    let task = poll(&mut client, "queue").await;
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "pay".into(),
        activity_type: Some(ActivityType { name: "Pay".into() }),
        task_queue: Some(sempre_api::v1::taskqueue::TaskQueue::default()),
        start_to_close_timeout: Some(sempre_api::Duration { seconds: 100, nanos: 0 }),
        ..Default::default()
    };
    let command = Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        ..Default::default()
    };
    respond(&mut client, task, vec![command]).await;
    let mut request =
        Request::new(PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue("queue"), ..Default::default() });
    request.set_timeout(std::time::Duration::from_secs(20));
    let task = client.poll_activity_task_queue(request).await.expect("a task").into_inner();
    assert_eq!(task.activity_id, "pay");
    (server, client)
}

const OF: &[&str] = &["-a", "pay", "-w", "w"];

#[tokio::test]
async fn an_activity_is_completed_by_hand() {
    let (server, _) = paying().await;
    assert_eq!(
        server.text(&[&["activity", "complete"], OF, &["--result", r#"{"paid":true}"#, "--identity", "me"]].concat()),
        "Activity completed\n"
    );
    let history = server.json(&["workflow", "show", "-w", "w"]);
    let events = history["events"].as_array().expect("events");
    let completed = &events[6]["activityTaskCompletedEventAttributes"];
    assert_eq!(completed["identity"], "me", "{history}");
    // {"paid":true} in base64: histories are for replayers.
    assert_eq!(completed["result"]["payloads"][0]["data"], "eyJwYWlkIjp0cnVlfQ==");
    let (code, told) = server.failure(&[&["activity", "complete"], OF, &["--result", "1"]].concat());
    assert_eq!(code, Some(1), "{told}");
}

#[tokio::test]
async fn an_activity_is_failed_by_hand() {
    let (server, _) = paying().await;
    server.text(&[&["activity", "fail"], OF, &["--reason", "card declined", "--detail", "7"]].concat());
    let history = server.json(&["workflow", "show", "-w", "w"]);
    let failure = &history["events"][6]["activityTaskFailedEventAttributes"]["failure"];
    assert_eq!(failure["message"], "card declined", "{history}");
    assert_eq!(failure["applicationFailureInfo"]["nonRetryable"], true, "{history}");
    assert_eq!(failure["applicationFailureInfo"]["details"]["payloads"][0]["data"], "Nw==", "{history}");
}

#[tokio::test]
async fn an_activity_is_paused_changed_reset_and_let_go() {
    let (server, _) = paying().await;
    let pending = || server.json(&["workflow", "describe", "-w", "w"])["pendingActivities"][0].clone();
    assert_eq!(server.text(&[&["activity", "pause"], OF, &["--reason", "lunch"]].concat()), "Activity paused\n");
    assert_eq!(pending()["state"], "PENDING_ACTIVITY_STATE_PAUSE_REQUESTED", "a worker has it");
    assert_eq!(pending()["paused"], true);
    assert_eq!(server.text(&[&["activity", "unpause"], OF].concat()), "Activity unpaused\n");
    assert_eq!(pending()["state"], "PENDING_ACTIVITY_STATE_STARTED");
    assert_eq!(server.text(&[&["activity", "reset"], OF].concat()), "Activity reset\n");
    let line = [&["activity", "update-options"], OF, &["--start-to-close-timeout", "30s", "--retry-maximum-attempts", "4"]].concat();
    let card = server.text(&line);
    assert!(card.contains("StartToCloseTimeout     30s\n") && card.contains("MaximumAttempts         4\n"), "{card}");
    let changed = server.json(&line);
    assert_eq!(changed["activityOptions"]["startToCloseTimeout"], "30s", "{changed}");
    let (code, told) = server.failure(&[&["activity", "update-options"], OF].concat());
    assert_eq!((code, told.as_str()), (Some(2), "no option is given; see `sempre activity update-options --help`."));
    let (code, told) = server.failure(&["activity", "pause", "-a", "other", "-w", "w"]);
    assert_eq!(code, Some(1), "{told}");
}

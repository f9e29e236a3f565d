//! `sempre activity attempts` against a server.

use sempre_api::v1::{
    command::{Command, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, WorkflowType},
    enums::CommandType,
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    taskqueue::TaskQueue,
    workflowservice::{
        PollActivityTaskQueueRequest, PollWorkflowTaskQueueRequest, RespondActivityTaskCompletedRequest, RespondActivityTaskFailedRequest,
        RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest, workflow_service_client::WorkflowServiceClient,
    },
};
use tonic::{
    Request,
    transport::{Channel, Endpoint},
};

use crate::support::{Running, failure, output};

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "queue".into(), ..Default::default() })
}

fn poll<T>(body: T) -> Request<T> {
    let mut request = Request::new(body);
    request.set_timeout(std::time::Duration::from_secs(20));
    request
}

/// Runs an activity that fails once, then succeeds.
async fn fails_once(client: &mut WorkflowServiceClient<Channel>) {
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "order".into(),
        workflow_type: Some(WorkflowType { name: "Order".into() }),
        task_queue: queue(),
        request_id: "r".into(),
        ..Default::default()
    };
    client.start_workflow_execution(start).await.expect("starts");
    let request = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue(), ..Default::default() };
    let task = client.poll_workflow_task_queue(poll(request)).await.expect("a task").into_inner();
    let activity = ScheduleActivityTaskCommandAttributes {
        activity_id: "pay".into(),
        activity_type: Some(ActivityType { name: "Pay".into() }),
        task_queue: Some(TaskQueue::default()),
        start_to_close_timeout: Some(sempre_api::Duration { seconds: 10, nanos: 0 }),
        ..Default::default()
    };
    let commands = vec![Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(activity))),
        ..Default::default()
    }];
    let done = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    client.respond_workflow_task_completed(done).await.expect("completes");
    let request =
        PollActivityTaskQueueRequest { namespace: "default".into(), task_queue: queue(), identity: "till-1".into(), ..Default::default() };
    let task = client.poll_activity_task_queue(poll(request.clone())).await.expect("a task").into_inner();
    let no = Failure {
        message: "card declined".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo { r#type: "Declined".into(), ..Default::default() })),
        ..Default::default()
    };
    let failed = RespondActivityTaskFailedRequest { task_token: task.task_token, failure: Some(no), ..Default::default() };
    client.respond_activity_task_failed(failed).await.expect("fails");
    let task = client.poll_activity_task_queue(poll(request)).await.expect("a task").into_inner();
    let done = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
    client.respond_activity_task_completed(done).await.expect("completes");
}

#[tokio::test]
async fn attempts_are_listed_after_the_activity_has_closed() {
    let server = Running::start(["server", "start-dev", "--port=0"]);
    let endpoint = Endpoint::new(format!("http://{}", server.address)).expect("a URL");
    fails_once(&mut WorkflowServiceClient::new(endpoint.connect().await.expect("it answers"))).await;
    let address = format!("--address={}", server.address);
    let shown = output(["activity", "attempts", &address, "--workflow-id=order"]);
    assert!(shown.status.success(), "{shown:?}");
    let text = String::from_utf8(shown.stdout).expect("text");
    assert!(text.contains("pay (Pay), event 5\n"), "{text}");
    assert!(text.contains("    1  failed") && text.contains("by till-1  Declined: card declined\n"), "{text}");
    assert!(text.contains("    2  completed"), "{text}");
    let shown = output(["activity", "attempts", &address, "--workflow-id=order", "--activity-id=pay", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(json["activities"][0]["attempts"][0]["failure_type"], "Declined");
    let unknown = failure(["activity", "attempts", &address, "--workflow-id=nothing"]);
    assert_eq!(unknown, "workflow not found for ID: nothing.");
    // Of one that belongs to no workflow.
    let started = output(["activity", "start", &address, "--activity-id=own", "--type=Pay", "-t=nobody", "--start-to-close-timeout=9s"]);
    assert!(started.status.success(), "{started:?}");
    let shown = output(["activity", "attempts", &address, "--activity-id=own"]);
    let text = String::from_utf8(shown.stdout).expect("text");
    assert!(text.contains("own (Pay), event 2\n    1  waiting"), "{text}");
    let unknown = failure(["activity", "attempts", &address, "--activity-id=nothing"]);
    assert_eq!(unknown, "activity not found for ID: nothing.");
}

#[test]
fn no_server_is_told_plainly() {
    assert_eq!(failure(["activity", "attempts", "--address=127.0.0.1:1", "--workflow-id=a"]), "no server answers at 127.0.0.1:1.");
}

//! `nexus operation …`, with a handler by hand.

use sempre_api::v1::{
    nexus::{Response, StartOperationResponse, request, response, start_operation_response::Variant},
    workflowservice::{
        PollNexusTaskQueueRequest, PollNexusTaskQueueResponse, RespondNexusTaskCompletedRequest,
        workflow_service_client::WorkflowServiceClient,
    },
};
use tonic::{Request, transport::Channel};

use super::{Server, payloads, queue};

/// A server with an endpoint whose handlers poll task queue "handlers".
async fn with_endpoint() -> (Server, WorkflowServiceClient<Channel>) {
    let server = Server::start();
    let target = ["--target-namespace", "default", "--target-task-queue", "handlers"];
    server.text(&[&["operator", "nexus", "endpoint", "create", "--name", "pay"], &target[..]].concat());
    let client = server.client().await;
    (server, client)
}

const NEW: &[&str] = &["--endpoint", "pay", "--service", "Payments", "--operation", "charge"];

async fn take(client: &mut WorkflowServiceClient<Channel>) -> PollNexusTaskQueueResponse {
    let request = PollNexusTaskQueueRequest { namespace: "default".into(), task_queue: queue("handlers"), ..Default::default() };
    let mut request = Request::new(request);
    request.set_timeout(std::time::Duration::from_secs(20));
    client.poll_nexus_task_queue(request).await.expect("a task").into_inner()
}

async fn answer(client: &mut WorkflowServiceClient<Channel>, task: PollNexusTaskQueueResponse, variant: Variant) {
    let response = response::Variant::StartOperation(StartOperationResponse { variant: Some(variant) });
    let completed = RespondNexusTaskCompletedRequest {
        namespace: "default".into(),
        task_token: task.task_token,
        response: Some(Response { variant: Some(response) }),
        ..Default::default()
    };
    client.respond_nexus_task_completed(completed).await.expect("it waits for the answer");
}

fn done(json: &'static str) -> Variant {
    let payload = payloads(json).expect("payloads").payloads.pop();
    Variant::SyncSuccess(sempre_api::v1::nexus::start_operation_response::Sync { payload, ..Default::default() })
}

fn goes_on(token: &str) -> Variant {
    let started = sempre_api::v1::nexus::start_operation_response::Async { operation_token: token.into(), ..Default::default() };
    Variant::AsyncSuccess(started)
}

#[tokio::test]
async fn an_operation_is_started_shown_and_its_result_waited_for() {
    let (server, mut client) = with_endpoint().await;
    let line = [
        &["nexus", "operation", "start", "--operation-id", "o", "-i", r#"{"sum":7}"#],
        NEW,
        &["--nexus-header", "k=v", "--schedule-to-close-timeout", "60s", "--static-summary", "a charge"],
    ]
    .concat();
    let started = server.text(&line);
    assert!(started.starts_with("Started Nexus Operation:\n") && started.contains("OperationId  o\n"), "{started}");
    let task = take(&mut client).await;
    let Some(request::Variant::StartOperation(asked)) = task.request.as_ref().and_then(|request| request.variant.clone()) else {
        panic!("a start")
    };
    assert_eq!((asked.service.as_str(), asked.operation.as_str()), ("Payments", "charge"));
    assert_eq!(&asked.payload.expect("an input").data[..], br#"{"sum":7}"#);
    let waiting = server.json(&["nexus", "operation", "describe", "--operation-id", "o"]);
    assert_eq!(waiting["state"], "PENDING_NEXUS_OPERATION_STATE_SCHEDULED", "{waiting}");
    assert_eq!((&waiting["endpoint"], &waiting["nexusHeader"]["k"]), (&"pay".into(), &"v".into()), "{waiting}");
    answer(&mut client, task, done(r#"{"paid":true}"#)).await;
    let text = server.text(&["nexus", "operation", "result", "--operation-id", "o"]);
    assert!(text.contains("Status  COMPLETED\n") && text.contains(r#"Result  {"paid":true}"#), "{text}");
    let json = server.json(&["nexus", "operation", "result", "--operation-id", "o"]);
    assert_eq!((&json["status"], &json["result"]["paid"]), (&"COMPLETED".into(), &true.into()), "{json}");
    let card = server.text(&["nexus", "operation", "describe", "--operation-id", "o"]);
    for line in ["Status                  Completed\n", "ScheduleToCloseTimeout  1m\n", "Summary                 a charge\n"] {
        assert!(card.contains(line), "{card}");
    }
    let raw = server.text(&["nexus", "operation", "describe", "--operation-id", "o", "--raw"]);
    assert!(raw.contains(r#""status": "NEXUS_OPERATION_EXECUTION_STATUS_COMPLETED""#), "{raw}");
    let (code, told) = server.failure(&[&["nexus", "operation", "start", "-i", "1", "-i", "2"], NEW].concat());
    assert_eq!((code, told.as_str()), (Some(1), "an operation takes one input: give --input or --input-file once."));
    let (code, told) = server.failure(&["nexus", "operation", "describe", "--operation-id", "other"]);
    assert_eq!(code, Some(1));
    assert!(told.contains("operation not found for ID: other"), "{told}");
}

#[tokio::test]
async fn execute_waits_and_fails_as_the_operation_does() {
    let (server, mut client) = with_endpoint().await;
    let line = [&["nexus", "operation", "execute", "--operation-id", "good"], NEW].concat();
    let mut child = server.command(&line).stdout(std::process::Stdio::piped()).spawn().expect("the binary runs");
    let task = take(&mut client).await;
    answer(&mut client, task, done("7")).await;
    let output = tokio::task::spawn_blocking(move || {
        let status = child.wait().expect("it ends");
        (status, std::io::read_to_string(child.stdout.take().expect("piped")).expect("text"))
    });
    let (status, text) = output.await.expect("it waits");
    assert!(status.success() && text.contains("Result  7"), "{text}");

    let timed = ["--schedule-to-close-timeout", "1s"];
    let (code, told) = server.failure(&[&["nexus", "operation", "execute", "--operation-id", "late"], NEW, &timed].concat());
    assert_eq!((code, told.as_str()), (Some(1), "the operation did not complete: operation timed out."));
}

#[tokio::test]
async fn operations_are_listed_counted_stopped_and_deleted() {
    let (server, mut client) = with_endpoint().await;
    for id in ["a", "b"] {
        server.text(&[&["nexus", "operation", "start", "--operation-id", id], NEW].concat());
        let task = take(&mut client).await;
        answer(&mut client, task, goes_on("token")).await;
    }
    assert_eq!(server.text(&["nexus", "operation", "cancel", "--operation-id", "a", "--reason", "enough"]), "Cancellation requested\n");
    let cancel = take(&mut client).await;
    assert!(
        matches!(cancel.request.and_then(|request| request.variant), Some(request::Variant::CancelOperation(asked)) if asked.operation_token == "token")
    );
    let shown = server.json(&["nexus", "operation", "describe", "--operation-id", "a"]);
    assert_eq!(shown["cancellationInfo"]["reason"], "enough", "{shown}");
    assert_eq!(shown["operationToken"], "token", "{shown}");
    assert_eq!(server.text(&["nexus", "operation", "terminate", "--operation-id", "b"]), "Nexus Operation terminated\n");
    let (code, told) = server.failure(&["nexus", "operation", "result", "--operation-id", "b"]);
    assert_eq!(code, Some(1));
    assert!(told.starts_with("the operation did not complete: "), "{told}");
    let table = server.text(&["nexus", "operation", "list", "-q", "Endpoint = 'pay'"]);
    let first: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(first, ["Status", "OperationId", "Endpoint", "Service", "Operation", "StartTime"], "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    let listed = server.json(&["nexus", "operation", "list", "-q", "ExecutionStatus = 'Terminated'"]);
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["operationId"]), (Some(1), &"b".into()), "{listed}");
    let counted = server.text(&["nexus", "operation", "count", "-q", "GROUP BY ExecutionStatus"]);
    assert!(counted.starts_with("Total: 2\n") && counted.contains("Group total: 1, values: Terminated\n"), "{counted}");
    let refused = server.answering(&["nexus", "operation", "delete", "--operation-id", "b"], "n\n");
    assert!(!refused.status.success());
    assert_eq!(server.text(&["nexus", "operation", "delete", "--operation-id", "b", "-y"]), "Nexus Operation deleted\n");
    assert_eq!(server.text(&["nexus", "operation", "count"]), "Total: 1\n");
    assert_eq!(server.text(&["workflow", "count"]), "Total: 0\n", "they are no workflows");
}

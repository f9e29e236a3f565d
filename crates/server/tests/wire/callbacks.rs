//! Completion callbacks over HTTP.

use std::time::Duration;

use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, FailWorkflowExecutionCommandAttributes, command::Attributes},
    common::{Callback, Payload, Payloads, WorkflowExecution, WorkflowType, callback},
    enums::{CallbackState, CommandType},
    failure::{ApplicationFailureInfo, Failure, failure::FailureInfo},
    taskqueue::TaskQueue,
    workflow::CallbackInfo,
    workflowservice::{
        DescribeWorkflowExecutionRequest, PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
    },
};
use sempre_core::validate::AddressRule;
use sempre_server::ServerSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use tonic::{Code, Request};

use crate::support::TestServer;

/// Takes requests and answers them with these statuses in turn; gives what came, head and body.
async fn outside(answers: &'static [&'static str]) -> (u16, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let (sender, receiver) = mpsc::channel(16);
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut got = String::new();
            while !is_whole(&got) {
                let mut bytes = [0; 4096];
                let read = stream.read(&mut bytes).await.expect("a request");
                got.push_str(&String::from_utf8_lossy(&bytes[..read]));
                if read == 0 {
                    break;
                }
            }
            let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").as_bytes()).await;
            let _ = sender.send(got).await;
        }
    });
    (port, receiver)
}

fn is_whole(request: &str) -> bool {
    if !request.starts_with("POST") {
        // Somebody who speaks another language; he is answered all the same.
        return !request.is_empty();
    }
    let Some((head, body)) = request.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").and_then(|n| n.parse().ok()));
    body.len() >= length.unwrap_or(0)
}

async fn server() -> TestServer {
    let mut settings = ServerSettings::default();
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "127.0.0.1:*".into(), allow_insecure: true }];
    TestServer::start_with(settings).await
}

fn start(url: String) -> StartWorkflowExecutionRequest {
    let header = [("Nexus-Callback-Token".to_string(), "secret".to_string())].into();
    let callback = Callback { variant: Some(callback::Variant::Nexus(callback::Nexus { url, header })), ..Default::default() };
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        completion_callbacks: vec![callback],
        ..Default::default()
    }
}

async fn run(server: &TestServer, url: String, end: Attributes) {
    server.workflow().start_workflow_execution(start(url)).await.expect("a start");
    let mut poll = Request::new(PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        ..Default::default()
    });
    poll.set_timeout(Duration::from_secs(20));
    let task = server.workflow().poll_workflow_task_queue(poll).await.expect("a task").into_inner();
    let command_type = match &end {
        Attributes::FailWorkflowExecutionCommandAttributes(_) => CommandType::FailWorkflowExecution,
        _ => CommandType::CompleteWorkflowExecution,
    };
    let command = Command { command_type: command_type as i32, attributes: Some(end), ..Default::default() };
    let completed = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands: vec![command], ..Default::default() };
    server.workflow().respond_workflow_task_completed(completed).await.expect("the end");
}

async fn until_state(server: &TestServer, state: CallbackState) -> CallbackInfo {
    loop {
        let execution = Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() });
        let request = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution };
        let described = server.workflow().describe_workflow_execution(request).await.expect("a description").into_inner();
        let info = described.callbacks.into_iter().next().expect("a callback");
        if info.state() == state {
            return info;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn has(request: &str, line: &str) {
    assert!(request.to_lowercase().contains(&line.to_lowercase()), "{line} is not in {request}");
}

#[tokio::test]
async fn a_result_is_posted_until_it_is_taken() {
    let server = server().await;
    let (port, mut came) = outside(&["503 Service Unavailable", "200 OK"]).await;
    let payload = Payload {
        metadata: [("encoding".to_string(), bytes::Bytes::from_static(b"json/plain"))].into(),
        data: bytes::Bytes::from_static(b"\"done\""),
        ..Default::default()
    };
    let result = Some(Payloads { payloads: vec![payload] });
    let end = Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes { result });
    run(&server, format!("http://127.0.0.1:{port}/back?x=1"), end).await;
    let first = came.recv().await.expect("a request");
    let info = until_state(&server, CallbackState::BackingOff).await;
    assert_eq!(
        info.last_attempt_failure.expect("a failure").message,
        "handler error (UNAVAILABLE): unexpected response status: \"503 Service Unavailable\""
    );
    assert_eq!(came.recv().await.expect("the same again"), first);
    assert_eq!(until_state(&server, CallbackState::Succeeded).await.attempt, 2);
    has(&first, "POST /back?x=1 HTTP/1.1");
    has(&first, &format!("host: 127.0.0.1:{port}"));
    has(&first, "nexus-operation-state: succeeded");
    has(&first, "nexus-callback-token: secret");
    has(&first, "content-type: application/json");
    has(&first, "nexus-operation-start-time: ");
    has(&first, "nexus-operation-close-time: ");
    has(&first, "nexus-link: <temporal:///namespaces/default/workflows/wf/");
    assert!(first.ends_with("\r\n\r\n\"done\""), "{first}");
}

#[tokio::test]
async fn a_failure_is_posted_and_a_refusal_is_final() {
    let server = server().await;
    let (port, mut came) = outside(&["404 Not Found"]).await;
    let info = ApplicationFailureInfo { r#type: "T".into(), ..Default::default() };
    let failure = Failure { message: "no".into(), failure_info: Some(FailureInfo::ApplicationFailureInfo(info)), ..Default::default() };
    let end = FailWorkflowExecutionCommandAttributes { failure: Some(failure) };
    run(&server, format!("http://127.0.0.1:{port}"), Attributes::FailWorkflowExecutionCommandAttributes(end)).await;
    let request = came.recv().await.expect("a request");
    has(&request, "nexus-operation-state: failed");
    let body = request.split_once("\r\n\r\n").expect("a body").1;
    let expected = serde_json::json!({
        "details": { "applicationFailureInfo": { "type": "T" } },
        "message": "no",
        "metadata": { "type": "temporal.api.failure.v1.Failure" },
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(body).expect("JSON"), expected);
    assert_eq!(until_state(&server, CallbackState::Failed).await.attempt, 1);
}

#[tokio::test]
async fn https_is_spoken_or_the_attempt_fails() {
    let server = server().await;
    // Answers without TLS.
    let (port, _came) = outside(&["200 OK"]).await;
    let end = Attributes::CompleteWorkflowExecutionCommandAttributes(CompleteWorkflowExecutionCommandAttributes::default());
    run(&server, format!("https://127.0.0.1:{port}"), end).await;
    let failure = until_state(&server, CallbackState::BackingOff).await.last_attempt_failure.expect("a failure").message;
    assert!(failure.starts_with("no secure connection") || failure.starts_with("the system has no root certificates"), "{failure}");
}

#[tokio::test]
async fn nothing_outside_is_called_by_default() {
    let server = TestServer::start().await;
    let status = server.workflow().start_workflow_execution(start("http://127.0.0.1:1/".into())).await.expect_err("not allowed");
    let text = "invalid url: url does not match any configured callback address: http://127.0.0.1:1/";
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
}

//! Limits of namespaces and of memory, as clients see them.

use std::time::{Duration, Instant};

use sempre_api::{
    sempre::v1::{DescribeNamespaceLimitsRequest, inspect_service_client::InspectServiceClient},
    v1::{
        taskqueue::TaskQueue,
        workflowservice::{
            DescribeNamespaceRequest, ListWorkflowExecutionsRequest, PollWorkflowTaskQueueRequest, RespondWorkflowTaskCompletedRequest,
            StartWorkflowExecutionRequest,
        },
    },
};
use sempre_engine::{NamespaceLimits, Rates};
use sempre_server::{AuthSettings, ServerSettings};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Request};

use crate::{
    messages::start,
    support::{TestServer, read, until},
};

fn rated(rates: Rates) -> ServerSettings {
    let mut settings = ServerSettings::default();
    settings.namespaces.push("other".into());
    settings.engine.rates = rates;
    settings
}

fn poll() -> Request<PollWorkflowTaskQueueRequest> {
    let task_queue = Some(TaskQueue { name: "queue".into(), ..TaskQueue::default() });
    let mut request = Request::new(PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue, ..Default::default() });
    request.set_timeout(Duration::from_secs(60));
    request
}

fn started(n: usize) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest { workflow_id: format!("w{n}"), request_id: format!("r{n}"), ..start(10) }
}

#[tokio::test]
async fn a_namespace_that_calls_too_often_is_told_as_clients_know_it() {
    let server = TestServer::start_with(rated(Rates { calls: 0.001, burst_ratio: 8000.0, ..Rates::default() })).await;
    let describe = |namespace: &str| DescribeNamespaceRequest { namespace: namespace.into(), ..Default::default() };
    let mut refused = None;
    for n in 0..20 {
        if let Err(status) = server.workflow().start_workflow_execution(started(n)).await {
            assert_eq!(n, 7, "starts leave an eighth of the burst to completions");
            refused = Some(status);
            break;
        }
    }
    let (code, text, detail) = read(refused.as_ref().expect("too many"));
    assert_eq!((code, text.as_str()), (Code::ResourceExhausted, "namespace rate limit exceeded"));
    // Cause RPS_LIMIT, scope NAMESPACE.
    assert_eq!(detail.expect("a detail"), ("ResourceExhaustedFailure".to_owned(), b"\x08\x01\x10\x01".to_vec().into()));
    let refused = refused.expect("too many");
    assert_eq!(refused.metadata().get("x-resource-exhausted-cause").expect("a cause"), "RpsLimit");
    assert_eq!(refused.metadata().get("x-resource-exhausted-scope").expect("a scope"), "Namespace");
    // Who polls or looks leaves more; completions have what is left; lists are not counted here.
    assert_eq!(server.workflow().poll_workflow_task_queue(poll()).await.expect_err("too many").code(), Code::ResourceExhausted);
    let answer = RespondWorkflowTaskCompletedRequest { namespace: "default".into(), ..Default::default() };
    let told = server.workflow().respond_workflow_task_completed(answer.clone()).await.expect_err("it has no token");
    assert_eq!(told.code(), Code::InvalidArgument);
    let told = server.workflow().respond_workflow_task_completed(answer).await.expect_err("too many");
    assert_eq!(told.code(), Code::ResourceExhausted);
    let list = ListWorkflowExecutionsRequest { namespace: "default".into(), ..Default::default() };
    server.workflow().list_workflow_executions(list).await.expect("lists are counted by themselves");
    // Another namespace has its own, and one that is not there is told so.
    server.workflow().describe_namespace(describe("other")).await.expect("another namespace");
    assert_eq!(server.workflow().describe_namespace(describe("nobody")).await.expect_err("unknown").code(), Code::NotFound);
}

#[tokio::test]
async fn what_is_used_of_limits_can_be_seen() {
    let mut settings = rated(Rates { starts: 1.0, burst_ratio: 3.0, ..Rates::default() });
    let mut own = NamespaceLimits { limits: settings.engine.limits.clone(), rates: Rates::default() };
    own.limits.open_runs_max = 1;
    settings.engine.of_namespaces.insert("other".into(), own);
    let server = TestServer::start_with(settings).await;
    server.workflow().start_workflow_execution(started(1)).await.expect("starts");
    let other = |n| StartWorkflowExecutionRequest { namespace: "other".into(), ..started(n) };
    server.workflow().start_workflow_execution(other(1)).await.expect("starts");
    let refused = server.workflow().start_workflow_execution(other(2)).await.expect_err("one too many");
    assert_eq!(read(&refused).2.expect("a detail").1, b"\x08\x02\x10\x01".to_vec());
    let limits = async |namespace: &str| {
        let request = DescribeNamespaceLimitsRequest { namespace: namespace.into() };
        let answer = InspectServiceClient::new(server.channel.clone()).describe_namespace_limits(request).await.expect("answers");
        let limits = answer.into_inner().limits.into_iter();
        limits.map(|limit| (limit.key, limit.used, limit.max, limit.burst, limit.refused)).collect::<Vec<_>>()
    };
    let default = limits("default").await;
    assert_eq!(default[1], ("sempre.limit.startsPerSecond".into(), default[1].1, 1.0, 3.0, 0));
    assert!(default[1].1 <= 1);
    assert_eq!(default[3], ("sempre.limit.openRuns".into(), 1, 0.0, 0.0, 0));
    assert!(default[4].1 > 10 && default[4].2 == 0.0, "{:?}", default[4]);
    assert_eq!(limits("other").await[3], ("sempre.limit.openRuns".into(), 1, 1.0, 0.0, 1));
}

#[tokio::test]
async fn bodies_are_refused_before_they_fill_memory() {
    let settings = ServerSettings { call_bytes_max: 4 << 20, ..ServerSettings::default() };
    let server = TestServer::start_with(settings).await;
    // An eighth is for calls that are over, half of the rest for work, and of that three quarters for starts: 1.3 MiB.
    server.workflow().start_workflow_execution(start(1 << 20)).await.expect("it fits");
    let refused = server.workflow().start_workflow_execution(start(1600 << 10)).await.expect_err("it does not");
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "the server has no memory left for such calls, try again"));
    assert_eq!(read(&refused).2.expect("a detail").1, b"\x08\x03\x10\x02".to_vec(), "SYSTEM_OVERLOADED, SYSTEM");
    // What was refused is not held.
    let again = StartWorkflowExecutionRequest { workflow_id: "again".into(), request_id: "again".into(), ..start(1 << 20) };
    server.workflow().start_workflow_execution(again).await.expect("it fits");
}

#[tokio::test]
async fn polls_take_no_room_from_work() {
    // An eighth is for calls that are over, half of the rest for what waits, and three quarters of that for polls: five.
    let mut settings = ServerSettings { call_bytes_max: 104 << 10, ..ServerSettings::default() };
    settings.engine.poll_wait = sempre_core::Span::seconds(30);
    let server = TestServer::start_with(settings).await;
    let mut open = Vec::new();
    for n in 0..5 {
        let mut client = server.workflow();
        open.push(tokio::spawn(async move { client.poll_workflow_task_queue(poll()).await }));
        until(|| server.engine.stats().pollers.get() == n + 1).await;
    }
    let begun = Instant::now();
    let refused = server.workflow().poll_workflow_task_queue(poll()).await.expect_err("there is no room");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(begun.elapsed() >= Duration::from_secs(3), "who is told at once comes again at once");
    let mut hasty = poll();
    hasty.set_timeout(Duration::from_secs(2));
    let refused = server.workflow().poll_workflow_task_queue(hasty).await.expect_err("there is no room");
    assert_eq!(refused.code(), Code::ResourceExhausted, "before its time is over");
    server.workflow().start_workflow_execution(started(1)).await.expect("work has its own");
    open.pop().expect("a poll").abort();
    until(|| server.engine.stats().pollers.get() <= 4).await;
    // The one that was handed the task, or that was given up, has made room.
    let mut client = server.workflow();
    let last = tokio::spawn(async move { client.poll_workflow_task_queue(poll()).await });
    until(|| last.is_finished() || server.engine.stats().pollers.get() >= 4).await;
    assert!(!last.is_finished());
}

/// Status line of a POST over HTTP whose body is so long; it is sent as far as it is read.
async fn post(server: &TestServer, bytes: usize, credentials: &str) -> String {
    let address = server.http.expect("it answers HTTP");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let body = format!("{{\"identity\":\"{}\"}}", "x".repeat(bytes));
    let path = "/api/v1/namespaces/default/workflows/w";
    let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n{credentials}\r\n", body.len());
    stream.write_all(head.as_bytes()).await.expect("sent");
    // The rest may not be wanted.
    let _ = stream.write_all(body.as_bytes()).await;
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.expect("answered");
    String::from_utf8_lossy(&answer[..read]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn bodies_over_http_are_counted_too() {
    let http_address = Some(([127, 0, 0, 1], 0).into());
    let settings = ServerSettings { call_bytes_max: 1 << 20, http_address, ..ServerSettings::default() };
    let server = TestServer::start_with(settings).await;
    assert_eq!(post(&server, 3 << 20, "").await, "HTTP/1.1 429 Too Many Requests");
    // A short one fits, and says what is missing.
    assert_eq!(post(&server, 10, "").await, "HTTP/1.1 400 Bad Request");
}

#[tokio::test]
async fn who_is_not_known_is_refused_before_his_body_is_read() {
    let folder = std::env::temp_dir().join(format!("sempre-unread-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("writable");
    let auth = Some(AuthSettings { admin_key_file: Some(folder.join("admin.key")), rules_file: None });
    let http_address = Some(([127, 0, 0, 1], 0).into());
    let server = TestServer::start_with(ServerSettings { auth, http_address, ..ServerSettings::default() }).await;
    let address = server.http.expect("it answers HTTP");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    // A body is announced and never comes.
    let head = format!("POST /api/v1/namespaces/default/workflows/w HTTP/1.1\r\nhost: {address}\r\ncontent-length: 1000000\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = [0; 4096];
    let read = stream.read(&mut answer).await.expect("answered");
    assert!(answer[..read].starts_with(b"HTTP/1.1 403 Forbidden"), "{}", String::from_utf8_lossy(&answer[..read]));
    std::fs::remove_dir_all(&folder).expect("its own");
}

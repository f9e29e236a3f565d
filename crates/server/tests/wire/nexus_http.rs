//! Nexus over HTTP: operations of this server's handlers for callers elsewhere, operations of handlers elsewhere for this
//! server's workflows, and the callbacks that end those.

use std::{collections::BTreeMap, net::SocketAddr};

use sempre_api::v1::{
    command::{Command, ScheduleNexusOperationCommandAttributes, command::Attributes},
    common::{Payload, WorkflowExecution, WorkflowType},
    enums::{CommandType, TaskQueueType},
    failure::{ApplicationFailureInfo, CanceledFailureInfo, Failure, NexusHandlerFailureInfo, failure::FailureInfo},
    history::{HistoryEvent, history_event::Attributes as Event},
    nexus::{
        CancelOperationRequest, CancelOperationResponse, EndpointSpec, EndpointTarget, Link, Request as NexusRequest, Response,
        StartOperationRequest, StartOperationResponse, endpoint_target,
        request::Variant,
        response,
        start_operation_response::{Async, Sync, Variant as Answer},
    },
    operatorservice::CreateNexusEndpointRequest,
    taskqueue::TaskQueue,
    workflowservice::{
        DescribeTaskQueueRequest, GetWorkflowExecutionHistoryRequest, PollNexusTaskQueueRequest, PollWorkflowTaskQueueRequest,
        RespondNexusTaskCompletedRequest, RespondNexusTaskFailedRequest, RespondWorkflowTaskCompletedRequest,
        StartWorkflowExecutionRequest,
    },
};
use sempre_engine::Rates;
use sempre_server::ServerSettings;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::Request;

use crate::support::TestServer;

const LINK: &str =
    "temporal:///namespaces/n/workflows/w/r/history?eventID=5&eventType=NexusOperationScheduled&referenceType=EventReference";
const LINK_TYPE: &str = "temporal.api.common.v1.Link.WorkflowEvent";

async fn server() -> TestServer {
    server_with(Rates::default()).await
}

async fn server_with(rates: Rates) -> TestServer {
    let mut settings = ServerSettings { http_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..ServerSettings::default() };
    settings.engine.rates = rates;
    TestServer::start_with(settings).await
}

/// An answer over HTTP: status, headers in lower case, body.
#[derive(Debug)]
struct Answered {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

impl Answered {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

async fn send(server: &TestServer, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
    let address = server.http.expect("it answers HTTP");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let length = body.len();
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok()).expect("a status");
    let headers = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    Answered { status, headers, body: body.to_owned() }
}

async fn post(server: &TestServer, path: &str, headers: &[(&str, &str)], body: &str) -> Answered {
    send(server, "POST", path, headers, body).await
}

/// An endpoint of this name; its id.
async fn endpoint(server: &TestServer, name: &str, variant: endpoint_target::Variant) -> String {
    let spec = EndpointSpec { name: name.into(), target: Some(EndpointTarget { variant: Some(variant) }), ..Default::default() };
    let made = server.operator().create_nexus_endpoint(CreateNexusEndpointRequest { spec: Some(spec) }).await.expect("made");
    made.into_inner().endpoint.expect("an endpoint").id
}

fn to_queue() -> endpoint_target::Variant {
    endpoint_target::Variant::Worker(endpoint_target::Worker { namespace: "default".into(), task_queue: "queue".into() })
}

/// What a worker does with the next request.
enum Does {
    Starts(Answer),
    Cancels,
    Fails(Failure),
}

/// A poll as workers make it: with a deadline.
fn patient<T>(poll: T) -> Request<T> {
    let mut request = Request::new(poll);
    request.set_timeout(std::time::Duration::from_secs(60));
    request
}

/// A worker that takes one request; gives what came.
async fn work(server: &TestServer, does: Does) -> NexusRequest {
    let mut client = server.workflow();
    let namespace = "default".to_owned();
    let queue = Some(TaskQueue { name: "queue".into(), ..Default::default() });
    let poll = PollNexusTaskQueueRequest { namespace: namespace.clone(), task_queue: queue, identity: "w".into(), ..Default::default() };
    let task = client.poll_nexus_task_queue(patient(poll)).await.expect("a task").into_inner();
    let task_token = task.task_token;
    assert!(!task_token.is_empty(), "a task came");
    let answer = |variant| RespondNexusTaskCompletedRequest {
        namespace: namespace.clone(),
        identity: "w".into(),
        task_token: task_token.clone(),
        response: Some(Response { variant: Some(variant) }),
        ..Default::default()
    };
    match does {
        Does::Starts(variant) => {
            let start = StartOperationResponse { variant: Some(variant) };
            client.respond_nexus_task_completed(answer(response::Variant::StartOperation(start))).await.expect("taken");
        }
        Does::Cancels => {
            client
                .respond_nexus_task_completed(answer(response::Variant::CancelOperation(CancelOperationResponse {})))
                .await
                .expect("taken");
        }
        Does::Fails(failure) => {
            let failed = RespondNexusTaskFailedRequest {
                namespace: namespace.clone(),
                identity: "w".into(),
                task_token: task_token.clone(),
                failure: Some(failure),
                ..Default::default()
            };
            client.respond_nexus_task_failed(failed).await.expect("taken");
        }
    }
    task.request.expect("a request")
}

fn json_payload(data: &'static str) -> Payload {
    Payload { metadata: [("encoding".to_owned(), "json/plain".into())].into(), data: data.into(), ..Default::default() }
}

fn started(request: &NexusRequest) -> &StartOperationRequest {
    match &request.variant {
        Some(Variant::StartOperation(start)) => start,
        other => panic!("no start: {other:?}"),
    }
}

/// Statuses of so many requests, which no worker answers in their time.
async fn statuses(server: &TestServer, path: &str, requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        let headers = [("content-type", "application/json"), ("Request-Timeout", "1ms"), ("Nexus-Operation-Token", "token")];
        statuses.push(post(server, path, &headers, "1").await.status);
    }
    statuses
}

#[tokio::test]
async fn starts_over_http_count_as_starts_of_the_namespace_whose_workers_they_are_for() {
    let server = server_with(Rates { starts: 0.001, burst_ratio: 2000.0, ..Rates::default() }).await;
    let id = endpoint(&server, "endpoint", to_queue()).await;
    let path = format!("/nexus/endpoints/{id}/services/s/o");
    assert_eq!(statuses(&server, &path, 3).await, [520, 520, 429]);
    assert_eq!(statuses(&server, "/namespaces/default/task-queues/q/nexus-services/s/o", 1).await, [429]);
    assert_eq!(statuses(&server, &format!("{path}/cancel"), 1).await, [520], "a cancel starts nothing");
    assert_eq!(statuses(&server, "/nexus/endpoints/none/services/s/o", 1).await, [404]);
}

#[tokio::test]
async fn requests_over_http_count_as_calls() {
    let server = server_with(Rates { calls: 0.001, burst_ratio: 8000.0, ..Rates::default() }).await;
    let path = "/namespaces/default/task-queues/q/nexus-services/s/o";
    let cancels = statuses(&server, &format!("{path}/cancel"), 7).await;
    assert_eq!(cancels, [520, 520, 520, 520, 520, 520, 429], "they leave two eighths of the burst to others");
    assert_eq!(statuses(&server, path, 2).await, [520, 429], "and starts leave one");
}

#[tokio::test]
async fn an_operation_is_started_at_an_endpoint_and_answered_at_once() {
    let server = server().await;
    let id = endpoint(&server, "endpoint", to_queue()).await;
    let link = Link { url: LINK.into(), r#type: LINK_TYPE.into() };
    let done = Answer::SyncSuccess(Sync { payload: Some(json_payload("\"done\"")), links: vec![link.clone()] });
    let path = format!("/nexus/endpoints/{id}/services/my%20service/my%2Foperation?callback=http%3A%2F%2Fme%2Fhere%3Fa%3Db");
    let link_header = format!("<{LINK}>; type=\"{LINK_TYPE}\"");
    let headers = [
        ("content-type", "application/json"),
        ("Nexus-Request-Id", "request"),
        ("Nexus-Callback-Token", "secret"),
        ("Nexus-Link", &link_header),
        ("Request-Timeout", "9s"),
        ("x-own", "mine"),
    ];
    let (answer, request) = tokio::join!(post(&server, &path, &headers, "\"in\""), work(&server, Does::Starts(done)));
    assert_eq!((answer.status, answer.body.as_str()), (200, "\"done\""), "{answer:?}");
    assert_eq!((answer.header("content-type"), answer.header("nexus-link")), ("application/json", link_header.as_str()));

    let start = started(&request);
    assert_eq!((start.service.as_str(), start.operation.as_str()), ("my service", "my/operation"));
    assert_eq!((start.request_id.as_str(), start.callback.as_str()), ("request", "http://me/here?a=b"));
    assert_eq!(start.callback_header, [("token".to_owned(), "secret".to_owned())].into());
    assert_eq!((start.payload.clone(), start.links.clone()), (Some(json_payload("\"in\"")), vec![link]));
    assert_eq!((request.endpoint.as_str(), request.header["x-own"].as_str()), ("endpoint", "mine"));
    assert!(!request.header.keys().any(|name| name.starts_with("content-") || name.starts_with("nexus-callback-")), "{:?}", request.header);
    let left: f64 = request.header["request-timeout"].trim_end_matches('s').parse().expect("seconds");
    assert!(left > 1.0 && left <= 8.0, "{left}");
    assert_eq!(request.capabilities.map(|able| able.temporal_failure_responses), Some(false));
}

#[tokio::test]
async fn an_operation_that_goes_on_is_named_and_can_be_canceled() {
    let server = server().await;
    let base = "/namespaces/default/task-queues/queue/nexus-services/s/o";
    let goes_on = Answer::AsyncSuccess(Async { operation_token: "token".into(), ..Default::default() });
    let (answer, request) = tokio::join!(post(&server, base, &[], ""), work(&server, Does::Starts(goes_on)));
    assert_eq!((answer.status, answer.header("content-type")), (201, "application/json"), "{answer:?}");
    assert_eq!(answer.json(), serde_json::json!({ "token": "token", "state": "running" }));
    let null = Payload { metadata: [("encoding".to_owned(), "binary/null".into())].into(), ..Default::default() };
    assert_eq!(started(&request).payload, Some(null));

    let path = format!("{base}/cancel");
    let headers = [("Nexus-Operation-Token", "token")];
    let (answer, request) = tokio::join!(post(&server, &path, &headers, ""), work(&server, Does::Cancels));
    assert_eq!((answer.status, answer.body.as_str()), (202, ""), "{answer:?}");
    let Some(Variant::CancelOperation(CancelOperationRequest { service, operation, operation_token, .. })) = request.variant else {
        panic!("a cancel")
    };
    assert_eq!((service.as_str(), operation.as_str(), operation_token.as_str()), ("s", "o", "token"));
    assert!(!request.header.contains_key("nexus-operation-token"), "{:?}", request.header);
    for old in [format!("{base}/to%2Fken/cancel"), format!("{base}/cancel?token=to%2Fken")] {
        let (answer, request) = tokio::join!(post(&server, &old, &[], ""), work(&server, Does::Cancels));
        assert_eq!(answer.status, 202, "{answer:?}");
        let Some(Variant::CancelOperation(cancel)) = request.variant else { panic!("a cancel") };
        assert_eq!(cancel.operation_token, "to/ken", "{old}");
    }

    let nameless = post(&server, &path, &[], "").await;
    assert_eq!((nameless.status, nameless.json()["message"].as_str()), (400, Some("missing operation token")));
}

#[tokio::test]
async fn content_of_others_and_headers_between_servers() {
    let server = server().await;
    let path = "/namespaces/default/task-queues/queue/nexus-services/s/o";
    let metadata = [("encoding", "unknown/nexus-content"), ("type", "text/plain"), ("language", "en")];
    let metadata = metadata.map(|(name, value)| (name.to_owned(), bytes::Bytes::from_static(value.as_bytes())));
    let payload = Payload { metadata: metadata.into(), data: "hi".into(), ..Default::default() };
    let done = Does::Starts(Answer::SyncSuccess(Sync { payload: Some(payload.clone()), links: vec![] }));
    let headers = [
        ("content-type", "text/plain"),
        ("content-language", "en"),
        ("accept-encoding", "gzip"),
        ("x-forwarded-for", "10.0.0.1"),
        ("xdc-redirection", "false"),
        ("temporal-nexus-failure-support", "true"),
        ("x-own", "first"),
        ("x-own", "second"),
    ];
    let (answer, request) = tokio::join!(post(&server, path, &headers, "hi"), work(&server, done));
    assert_eq!((answer.status, answer.body.as_str()), (200, "hi"), "{answer:?}");
    assert_eq!((answer.header("content-type"), answer.header("content-language")), ("text/plain", "en"));
    assert_eq!(started(&request).payload, Some(payload));
    let told: Vec<&str> = request.header.keys().map(String::as_str).collect();
    assert_eq!(told, ["Request-Timeout", "connection", "request-timeout", "x-own"]);
    assert_eq!(request.header["x-own"], "first");
}

/// Waits until so many requests wait for a worker.
async fn until_waiting(server: &TestServer, count: i64) {
    loop {
        let request = DescribeTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
            task_queue_type: TaskQueueType::Nexus as i32,
            report_stats: true,
            ..Default::default()
        };
        let told = server.workflow().describe_task_queue(request).await.expect("described").into_inner();
        if told.stats.map_or(0, |stats| stats.approximate_backlog_count) == count {
            return;
        }
    }
}

#[tokio::test]
async fn requests_to_handlers_are_bounded_and_end_with_the_server() {
    let mut settings = ServerSettings { http_address: Some(SocketAddr::from(([127, 0, 0, 1], 0))), ..ServerSettings::default() };
    settings.engine.long_calls_max = 1;
    let server = TestServer::start_with(settings).await;
    let address = server.http.expect("it answers HTTP");
    let path = "/namespaces/default/task-queues/queue/nexus-services/s/o";
    let request = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let ask = async || {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request.as_bytes()).await.expect("sent");
        stream
    };
    // Who goes away has given its request up.
    let gone = ask().await;
    until_waiting(&server, 1).await;
    drop(gone);
    until_waiting(&server, 0).await;

    let mut waits = ask().await;
    until_waiting(&server, 1).await;
    let more = post(&server, path, &[], "").await;
    assert_eq!((more.status, more.json()["message"].as_str()), (429, Some("resource exhausted")), "{more:?}");
    let stopped = server.stop();
    let mut answer = String::new();
    let soon = std::time::Duration::from_secs(8);
    tokio::time::timeout(soon, waits.read_to_string(&mut answer)).await.expect("soon").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("service unavailable"), "{answer}");
    tokio::time::timeout(soon, stopped).await.expect("soon").expect("no panic").expect("stops cleanly");
}

#[tokio::test]
async fn failures_are_told_in_nexus_form() {
    let server = server().await;
    let path = "/namespaces/default/task-queues/queue/nexus-services/s/o";
    let cause = |info| Failure { message: "why".into(), failure_info: Some(info), ..Default::default() };
    let application = || cause(FailureInfo::ApplicationFailureInfo(ApplicationFailureInfo { r#type: "T".into(), ..Default::default() }));
    let support = [("temporal-nexus-failure-support", "true")];

    let fails = Does::Starts(Answer::Failure(application()));
    let (answer, request) = tokio::join!(post(&server, path, &support, ""), work(&server, fails));
    assert_eq!((answer.status, answer.header("nexus-operation-state")), (424, "failed"), "{answer:?}");
    let json = answer.json();
    assert_eq!((&json["metadata"]["type"], &json["details"]["state"]), (&"nexus.OperationError".into(), &"failed".into()));
    assert_eq!((&json["cause"]["message"], &json["cause"]["metadata"]["type"]), (&"why".into(), &"temporal.api.failure.v1.Failure".into()));
    assert_eq!(request.capabilities.map(|able| able.temporal_failure_responses), Some(true));

    let canceled = Does::Starts(Answer::Failure(cause(FailureInfo::CanceledFailureInfo(CanceledFailureInfo::default()))));
    let (answer, _) = tokio::join!(post(&server, path, &[], ""), work(&server, canceled));
    assert_eq!((answer.status, answer.header("nexus-operation-state")), (424, "canceled"), "{answer:?}");
    assert_eq!(answer.json()["message"], "why", "who knows no wrapping is told what is in it");

    for (kind, retry, status, header) in [("CONFLICT", 0, 409, ""), ("UNAVAILABLE", 2, 503, "false"), ("NOT_FOUND", 1, 404, "true")] {
        let info = NexusHandlerFailureInfo { r#type: kind.into(), retry_behavior: retry };
        let failure = Failure {
            message: "no".into(),
            failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)),
            cause: Some(Box::new(application())),
            ..Default::default()
        };
        let (answer, _) = tokio::join!(post(&server, path, &support, ""), work(&server, Does::Fails(failure)));
        assert_eq!((answer.status, answer.header("nexus-request-retryable")), (status, header), "{answer:?}");
        let json = answer.json();
        assert_eq!((&json["message"], &json["metadata"]["type"]), (&"no".into(), &"nexus.HandlerError".into()), "{json}");
        assert_eq!((&json["details"]["type"], &json["cause"]["message"]), (&kind.into(), &"why".into()), "{json}");
    }
}

#[tokio::test]
async fn requests_that_lead_nowhere_say_so() {
    let server = server().await;
    let external = endpoint_target::Variant::External(endpoint_target::External { url: "http://127.0.0.1:1/x".into() });
    let id = endpoint(&server, "elsewhere", external).await;
    let unknown = "00000000-0000-0000-0000-000000000001";
    let queue = "/namespaces/default/task-queues/queue/nexus-services/s/o";
    for (path, headers, status, text) in [
        (format!("/nexus/endpoints/{unknown}/services/s/o"), &[][..], 404, "nexus endpoint not found"),
        (format!("/nexus/endpoints/{id}/services/s/o"), &[], 400, "invalid endpoint target"),
        (format!("/nexus/endpoints/{id}/services/s"), &[], 404, "not found"),
        ("/namespaces/nowhere/task-queues/queue/nexus-services/s/o".into(), &[], 404, "namespace not found: \"nowhere\""),
        (format!("/namespaces/{}/task-queues/queue/nexus-services/s/o", "n".repeat(1001)), &[], 400, "Namespace length exceeds limit."),
        (queue.into(), &[("request-timeout", "soon")], 400, "invalid request timeout header"),
        (queue.into(), &[("nexus-link", "nothing")], 400, "invalid \"Nexus-Link\" header"),
        // Nobody polls: what was asked for is over before its second is up.
        (queue.into(), &[("request-timeout", "1100ms")], 520, "upstream timeout"),
        (
            "/nexus/callback".into(),
            &[("nexus-operation-state", "failed"), ("content-type", "text/plain")],
            400,
            "invalid request content type: \"text/plain\"",
        ),
        (
            "/nexus/callback".into(),
            &[("nexus-operation-state", "succeeded"), ("nexus-operation-start-time", "Mon, 01 Jan 2300 00:00:00 GMT")],
            400,
            "failed to parse operation start time header",
        ),
        ("/nexus/callback".into(), &[("nexus-operation-state", "lost")], 400, "invalid request operation state: \"lost\""),
        (
            "/nexus/callback".into(),
            &[("nexus-operation-state", "succeeded"), ("temporal-callback-token", "junk")],
            400,
            "invalid callback token",
        ),
    ] {
        let answer = post(&server, &path, headers, "").await;
        assert_eq!((answer.status, answer.json()["message"].as_str()), (status, Some(text)), "{path} {headers:?} {answer:?}");
    }
    let answer = send(&server, "GET", queue, &[], "").await;
    assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some("invalid request method: expected POST, got \"GET\"")));
    let answer = post(&server, "/elsewhere", &[], "").await;
    assert_eq!((answer.status, answer.json()["code"].as_i64()), (404, Some(5)));
    let large = "x".repeat(2 * 1024 * 1024);
    let answer = post(&server, queue, &[("content-type", "application/octet-stream")], &large).await;
    assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some("input exceeds size limit")));
}

/// A workflow that has asked an endpoint for an operation.
async fn call(server: &TestServer, endpoint: &str) {
    let mut client = server.workflow();
    let queue = Some(TaskQueue { name: "callers".into(), ..Default::default() });
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "wf".into(),
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: queue.clone(),
        request_id: "start".into(),
        ..Default::default()
    };
    client.start_workflow_execution(start).await.expect("started");
    let poll = PollWorkflowTaskQueueRequest { namespace: "default".into(), task_queue: queue, ..Default::default() };
    let task = client.poll_workflow_task_queue(patient(poll)).await.expect("a task").into_inner();
    let schedule = ScheduleNexusOperationCommandAttributes {
        endpoint: endpoint.into(),
        service: "s".into(),
        operation: "o".into(),
        input: Some(json_payload("\"in\"")),
        nexus_header: [("own".to_owned(), "mine".to_owned())].into(),
        ..Default::default()
    };
    let command = Command {
        command_type: CommandType::ScheduleNexusOperation as i32,
        attributes: Some(Attributes::ScheduleNexusOperationCommandAttributes(schedule)),
        ..Default::default()
    };
    let completed = RespondWorkflowTaskCompletedRequest {
        namespace: "default".into(),
        task_token: task.task_token,
        commands: vec![command],
        ..Default::default()
    };
    client.respond_workflow_task_completed(completed).await.expect("taken");
}

/// The run's events once there are so many.
async fn history(server: &TestServer, count: usize) -> Vec<HistoryEvent> {
    let mut client = server.workflow();
    let request = GetWorkflowExecutionHistoryRequest {
        namespace: "default".into(),
        execution: Some(WorkflowExecution { workflow_id: "wf".into(), run_id: String::new() }),
        ..Default::default()
    };
    loop {
        let answer = client.get_workflow_execution_history(request.clone()).await.expect("a history").into_inner();
        let events = answer.history.expect("a history").events().expect("events");
        if events.len() >= count {
            return events;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_operation_elsewhere_is_started_and_ended_by_its_callback() {
    let server = server().await;
    let here = endpoint(&server, "here", to_queue()).await;
    // The other server is this one.
    let url = format!("http://{}/nexus/endpoints/{here}/services", server.http.expect("it answers HTTP"));
    endpoint(&server, "there", endpoint_target::Variant::External(endpoint_target::External { url })).await;
    call(&server, "there").await;
    let link = Link { url: LINK.into(), r#type: LINK_TYPE.into() };
    let goes_on = Answer::AsyncSuccess(Async { operation_token: "token".into(), links: vec![link], ..Default::default() });
    let request = work(&server, Does::Starts(goes_on)).await;
    let start = started(&request);
    assert_eq!((start.service.as_str(), start.operation.as_str()), ("s", "o"));
    assert_eq!(start.payload, Some(json_payload("\"in\"")));
    assert_eq!((request.header["own"].as_str(), start.links.len()), ("mine", 1));
    let http = server.http.expect("it answers HTTP");
    assert_eq!(start.callback, format!("http://{http}/namespaces/default/nexus/callback"));

    let events = history(&server, 6).await;
    let Some(Event::NexusOperationScheduledEventAttributes(scheduled)) = &events[4].attributes else { panic!("{:?}", events[4]) };
    assert_eq!(start.request_id, scheduled.request_id);
    let Some(Event::NexusOperationStartedEventAttributes(begun)) = &events[5].attributes else { panic!("{:?}", events[5]) };
    assert_eq!((begun.operation_token.as_str(), events[5].links.len()), ("token", 1));

    // The handler's side sends what it was given, whatever the names are.
    let path = start.callback.strip_prefix(&format!("http://{http}")).expect("its own address");
    let (name, token) = start.callback_header.iter().next().expect("a token");
    assert_eq!(name, "temporal-callback-token");
    let elsewhere = [("nexus-operation-state", "succeeded"), (name.as_str(), token.as_str()), ("content-type", "application/json")];
    let answer = post(&server, "/namespaces/other/nexus/callback", &elsewhere, "1").await;
    assert_eq!((answer.status, answer.json()["message"].as_str()), (400, Some("invalid callback token")));
    let answer = post(&server, path, &elsewhere, "1").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    let events = history(&server, 8).await;
    let Some(Event::NexusOperationCompletedEventAttributes(done)) = &events[7].attributes else { panic!("{:?}", events[7]) };
    assert_eq!(done.result, Some(json_payload("1")));
    let again = post(&server, path, &elsewhere, "1").await;
    assert_eq!((again.status, again.json()["message"].as_str()), (404, Some("operation not found")));
}

#[tokio::test]
async fn an_operation_elsewhere_fails_as_its_handler_or_its_callback_says() {
    let server = server().await;
    let here = endpoint(&server, "here", to_queue()).await;
    let url = format!("http://{}/nexus/endpoints/{here}/services", server.http.expect("it answers HTTP"));
    endpoint(&server, "there", endpoint_target::Variant::External(endpoint_target::External { url })).await;
    call(&server, "there").await;
    let info = NexusHandlerFailureInfo { r#type: "BAD_REQUEST".into(), retry_behavior: 1 };
    let busy = Failure { message: "busy".into(), failure_info: Some(FailureInfo::NexusHandlerFailureInfo(info)), ..Default::default() };
    let first = work(&server, Does::Fails(busy)).await;
    // The same again, after a second.
    let goes_on = Answer::AsyncSuccess(Async { operation_token: "token".into(), ..Default::default() });
    let second = work(&server, Does::Starts(goes_on)).await;
    assert_eq!(started(&first).request_id, started(&second).request_id);
    history(&server, 6).await;
    let (_, token) = started(&second).callback_header.iter().next().expect("a token");
    let headers = [("nexus-operation-state", "canceled"), ("temporal-callback-token", token), ("content-type", "application/json")];
    let answer = post(&server, "/nexus/callback", &headers, r#"{"message":"enough"}"#).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
    let events = history(&server, 8).await;
    let Some(Event::NexusOperationCanceledEventAttributes(canceled)) = &events[7].attributes else { panic!("{:?}", events[7]) };
    let cause = canceled.failure.as_ref().and_then(|failure| failure.cause.as_ref()).expect("a cause");
    assert!(matches!(cause.failure_info, Some(FailureInfo::CanceledFailureInfo(_))), "{cause:?}");
    assert_eq!(cause.message, "enough");
}

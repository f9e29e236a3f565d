//! The API over HTTP: forms, refusals, streams, and that it goes the way of every other call.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use sempre_server::ServerSettings;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::support::TestServer;

/// Sends one request on a connection of its own; the answer's body has not been read.
pub(crate) async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> http::Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("the server listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    #[expect(clippy::disallowed_methods, reason = "ends with its connection")]
    tokio::spawn(connection);
    sender.send_request(request).await.expect("an answer")
}

pub(crate) fn request(address: SocketAddr, verb: Method, target: &str, headers: &[(&str, &str)], body: &str) -> Request<Full<Bytes>> {
    let mut request = Request::builder().method(verb).uri(target);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        request = request.header("host", address.to_string());
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("a request")
}

/// Status code, headers, text.
pub(crate) async fn text(address: SocketAddr, request: Request<Full<Bytes>>) -> (StatusCode, http::HeaderMap, String) {
    let (parts, body) = send(address, request).await.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, String::from_utf8(body.into()).expect("text"))
}

pub(crate) async fn json_of(address: SocketAddr, verb: Method, target: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let (status, _, text) = text(address, request(address, verb, target, &[], &body)).await;
    (status.as_u16(), serde_json::from_str(&text).expect("JSON"))
}

async fn server() -> (TestServer, SocketAddr) {
    let settings = ServerSettings { http_address: Some(([127, 0, 0, 1], 0).into()), ..ServerSettings::default() };
    let server = TestServer::start_with(settings).await;
    let address = server.http.expect("an HTTP port");
    (server, address)
}

async fn start(address: SocketAddr, id: &str) -> String {
    let body = json!({ "workflowType": { "name": "T" }, "taskQueue": { "name": "q" }, "input": [{ "n": 1 }], "requestId": id });
    let (status, answer) = json_of(address, Method::POST, &format!("/api/v1/namespaces/default/workflows/{id}"), &body).await;
    assert_eq!(status, 200, "{answer}");
    answer["runId"].as_str().expect("a run id").to_owned()
}

#[tokio::test]
async fn a_run_is_started_signalled_described_and_terminated() {
    let (_server, address) = server().await;
    let run_id = start(address, "w%2F1").await;
    let base = "/api/v1/namespaces/default/workflows/w%2F1";
    let (status, _) = json_of(address, Method::POST, &format!("{base}/signal/go"), &json!({ "input": ["x"] })).await;
    assert_eq!(status, 200);
    let (_, described) = json_of(address, Method::GET, base, &Value::Null).await;
    assert_eq!(described["workflowExecutionInfo"]["execution"], json!({ "workflowId": "w/1", "runId": run_id }));
    assert_eq!(described["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING");
    let (_, history) = json_of(address, Method::GET, &format!("{base}/history?maximumPageSize=2"), &Value::Null).await;
    assert_eq!(history["history"]["events"][0]["workflowExecutionStartedEventAttributes"]["input"], json!([{ "n": 1 }]));
    let (status, _) = json_of(address, Method::POST, &format!("{base}/terminate"), &json!({ "reason": "r" })).await;
    assert_eq!(status, 200);
    let (_, list) =
        json_of(address, Method::GET, "/api/v1/namespaces/default/workflows?query=ExecutionStatus%3D%22Terminated%22", &Value::Null).await;
    assert_eq!(list["executions"][0]["execution"]["runId"], json!(run_id));
}

#[tokio::test]
async fn the_same_checks_as_for_grpc() {
    let (server, address) = server().await;
    // A namespace that is not there, a name that is too long, a message that is too large, a deadline that passes.
    let (status, refused) =
        json_of(address, Method::GET, &format!("/api/v1/namespaces/{}/workflows", "n".repeat(2000)), &Value::Null).await;
    assert_eq!((status, &refused["message"]), (400, &json!("Namespace length exceeds limit.")));
    let body = json!({ "reason": "x".repeat(5 << 20) });
    let (status, refused) = json_of(address, Method::POST, "/api/v1/namespaces/default/workflows/w/cancel", &body).await;
    assert_eq!((status, refused), (400, json!({ "code": 3, "message": "http: request body too large" })));
    start(address, "w").await;
    let history = "/api/v1/namespaces/default/workflows/w/history?waitNewEvent=true";
    let (_, first) = json_of(address, Method::GET, history, &Value::Null).await;
    let token: String = first["nextPageToken"].as_str().expect("a token").replace('+', "%2B").replace('=', "%3D");
    let next = request(address, Method::GET, &format!("{history}&nextPageToken={token}"), &[("grpc-timeout", "1500m")], "");
    let (status, _, answer) = text(address, next).await;
    assert_eq!(status, 200, "{answer}");
    let late = request(address, Method::GET, &format!("{history}&nextPageToken={token}"), &[("grpc-timeout", "1m")], "");
    assert!(matches!(text(address, late).await.0.as_u16(), 200 | 504));
    drop(server);
}

#[tokio::test]
async fn a_call_whose_time_is_over_when_it_comes_is_not_done() {
    let (_server, address) = server().await;
    start(address, "w").await;
    let base = "/api/v1/namespaces/default/workflows/w";
    let late = request(address, Method::POST, &format!("{base}/terminate"), &[("grpc-timeout", "0m")], "{}");
    let (status, _, answer) = text(address, late).await;
    assert_eq!((status.as_u16(), answer.as_str()), (504, r#"{"code":4,"message":"context deadline exceeded"}"#));
    let (_, described) = json_of(address, Method::GET, base, &Value::Null).await;
    assert_eq!(described["workflowExecutionInfo"]["status"], "WORKFLOW_EXECUTION_STATUS_RUNNING");
}

#[tokio::test]
async fn browsers_that_were_tricked_are_refused() {
    let (_server, address) = server().await;
    for headers in [[("origin", "http://evil.example")], [("host", "evil.example")]] {
        let (status, _, body) = text(address, request(address, Method::GET, "/api/v1/namespaces", &headers, "")).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
        assert!(body.starts_with(r#"{"code":7,"#), "{body}");
    }
}

#[tokio::test]
async fn a_wrong_verb_is_told_the_right_ones() {
    let (_server, address) = server().await;
    let (status, headers, body) = text(address, request(address, Method::PUT, "/api/v1/namespaces", &[], "")).await;
    assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    let allow = headers.get(header::ALLOW).and_then(|allow| allow.to_str().ok()).expect("Allow");
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert_eq!(body, r#"{"code":12,"message":"Method Not Allowed"}"#);
}

#[tokio::test]
async fn the_document_is_served() {
    let (_server, address) = server().await;
    for path in ["/api/v1/openapi.json", "/openapi.json", "/openapi.yaml"] {
        let (status, document) = json_of(address, Method::GET, path, &Value::Null).await;
        assert_eq!((status, &document["openapi"]), (200, &json!("3.0.3")), "{path}");
    }
}

#[tokio::test]
async fn flow_rules_limits_and_attempts_have_routes() {
    let (_server, address) = server().await;
    let base = "/api/v1/namespaces/default";
    let ask = async |verb: Method, path: &str, body: Value| {
        let (status, answer) = json_of(address, verb, &format!("{base}/{path}"), &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    };
    let rule = json!({ "rule": { "name": "one", "match": { "all": true }, "maxOpen": 1 } });
    ask(Method::POST, "flow-rules", rule).await;
    start(address, "first").await;
    start(address, "second").await;
    let waiting = ask(Method::GET, "workflows/second/waiting-start", Value::Null).await;
    assert_eq!(waiting["start"]["rule"], "one", "{waiting}");
    assert_eq!(ask(Method::GET, "flow-rules", Value::Null).await["rules"][0]["rule"]["name"], "one");
    assert_eq!(ask(Method::GET, "flow-rules/one", Value::Null).await["rule"]["rule"]["maxOpen"], 1);
    ask(Method::DELETE, "flow-rules/one", Value::Null).await;
    let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
    assert!(is_empty(&ask(Method::GET, "flow-rules", Value::Null).await["rules"]));
    let limits = ask(Method::GET, "limits", Value::Null).await;
    assert!(limits["limits"].as_array().is_some_and(|all| !all.is_empty()), "{limits}");
    let activity = json!({ "activityType": { "name": "A" }, "taskQueue": { "name": "q" }, "startToCloseTimeout": "60s", "requestId": "r" });
    ask(Method::POST, "activities/a", activity).await;
    let attempts = ask(Method::GET, "activities/a/attempts", Value::Null).await;
    assert_eq!(attempts["activities"][0]["attempts"][0]["outcome"], "ATTEMPT_OUTCOME_WAITING", "{attempts}");
    assert!(is_empty(&ask(Method::GET, "workflows/first/activity-attempts", Value::Null).await["activities"]));
}

/// Events of a stream, as they come.
struct Events {
    body: Incoming,
    text: String,
}

impl Events {
    async fn open(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        let answer = send(address, request(address, Method::GET, target, headers, "")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        Self { body: answer.into_body(), text: String::new() }
    }

    /// Kind, id, data; comments and the like are passed over. `None` at the end.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let line = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
                if event.starts_with("event: ") {
                    return Some((line("event: "), line("id: "), serde_json::from_str(&line("data: ")).expect("JSON")));
                }
            }
            let frame = tokio::time::timeout(Duration::from_secs(30), self.body.frame()).await.expect("an event in time")?;
            self.text.push_str(std::str::from_utf8(frame.expect("a frame").data_ref().expect("data")).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_history_is_streamed_to_its_end_and_resumed() {
    let (_server, address) = server().await;
    let run_id = start(address, "w").await;
    let base = "/api/v1/namespaces/default/workflows/w";
    let target = format!("{base}/history-stream");
    let mut events = Events::open(address, &target, &[]).await;
    for number in 1..=2 {
        let (kind, id, event) = events.next().await.expect("an event");
        assert_eq!((kind.as_str(), id), ("history", format!("{run_id}/{number}")));
        assert_eq!(event["eventId"], number.to_string());
    }
    json_of(address, Method::POST, &format!("{base}/signal/go"), &json!({ "input": ["x"] })).await;
    let (_, id, event) = events.next().await.expect("an event");
    assert_eq!(event["workflowExecutionSignaledEventAttributes"]["input"], json!(["x"]));
    drop(events);
    json_of(address, Method::POST, &format!("{base}/terminate"), &json!({})).await;
    // A new run of the same workflow does not confuse the one who comes back.
    start(address, "w").await;
    let mut events = Events::open(address, &target, &[("last-event-id", &id)]).await;
    let (_, last, event) = events.next().await.expect("an event");
    assert_eq!(event["eventType"], "EVENT_TYPE_WORKFLOW_EXECUTION_TERMINATED");
    assert_eq!(events.next().await.expect("the end").0, "end");
    assert_eq!(events.next().await, None);
    let mut events = Events::open(address, &target, &[("last-event-id", &last)]).await;
    assert_eq!(events.next().await.expect("the end").0, "end");
    let (status, _) = json_of(address, Method::GET, "/api/v1/namespaces/default/workflows/none/history-stream", &Value::Null).await;
    assert_eq!(status, 404);
    let (status, _, _) = text(address, request(address, Method::GET, &target, &[("last-event-id", "x")], "")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_list_of_runs_stays_true() {
    let (_server, address) = server().await;
    let old = start(address, "old").await;
    let query = "query=ExecutionStatus%3D%22Running%22";
    let mut events = Events::open(address, &format!("/api/v1/namespaces/default/workflow-stream?{query}"), &[]).await;
    assert_eq!(events.next().await.expect("the beginning").0, "begin");
    let (kind, _, run) = events.next().await.expect("the run that was there");
    assert_eq!((kind.as_str(), &run["execution"]["runId"]), ("run", &json!(old)));
    assert_eq!(events.next().await.expect("all told").0, "ready");
    let new = start(address, "new").await;
    let (kind, _, run) = events.next().await.expect("the new run");
    assert_eq!((kind.as_str(), &run["execution"]["runId"]), ("run", &json!(new)));
    json_of(address, Method::POST, "/api/v1/namespaces/default/workflows/old/terminate", &json!({})).await;
    let (kind, _, run) = events.next().await.expect("the run that is gone");
    assert_eq!((kind.as_str(), run), ("left", json!({ "workflowId": "old", "runId": old })));
    for (target, code) in [("nope/workflow-stream", 404), ("default/workflow-stream?query=Nonsense%3D1", 400)] {
        assert_eq!(json_of(address, Method::GET, &format!("/api/v1/namespaces/{target}"), &Value::Null).await.0, code, "{target}");
    }
}

#[tokio::test]
async fn streams_end_with_the_server() {
    let (server, address) = server().await;
    start(address, "w").await;
    let mut history = Events::open(address, "/api/v1/namespaces/default/workflows/w/history-stream", &[]).await;
    let mut runs = Events::open(address, "/api/v1/namespaces/default/workflow-stream", &[]).await;
    history.next().await.expect("an event");
    runs.next().await.expect("an event");
    let stopped = server.stop();
    while history.next().await.is_some() {}
    while runs.next().await.is_some() {}
    stopped.await.expect("joined").expect("stopped well");
}

/// Calls of GetWorkflowExecutionHistory that wait.
async fn pending(address: SocketAddr, wanted: &str) -> bool {
    let line = format!("service_pending_requests{{operation=\"GetWorkflowExecutionHistory\",service_name=\"frontend\"}} {wanted}\n");
    for _ in 0..100 {
        if text(address, request(address, Method::GET, "/metrics", &[], "")).await.2.contains(&line) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    false
}

#[tokio::test]
async fn a_client_that_leaves_gives_its_call_up() {
    let (_server, address) = server().await;
    start(address, "w").await;
    let target =
        "/api/v1/namespaces/default/workflows/w/history?waitNewEvent=true&historyEventFilterType=HISTORY_EVENT_FILTER_TYPE_CLOSE_EVENT";
    let mut client = TcpStream::connect(address).await.expect("the server listens");
    let asked = format!("GET {target} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    client.write_all(asked.as_bytes()).await.expect("sent");
    assert!(pending(address, "1").await, "it waits");
    drop(client);
    assert!(pending(address, "0").await, "it is given up");
}

#[tokio::test]
async fn more_payloads_than_a_message_may_have_are_refused() {
    let (_server, address) = server().await;
    let many = json!({ "workflowType": { "name": "T" }, "taskQueue": { "name": "q" }, "input": vec![1; 1_000_000] });
    let (status, refused) = json_of(address, Method::POST, "/api/v1/namespaces/default/workflows/w", &many).await;
    assert_eq!((status, &refused["code"]), (400, &json!(3)), "{refused}");
    assert!(refused["message"].as_str().is_some_and(|text| text.ends_with("its payloads have more than 4194304 bytes")), "{refused}");
}

#[tokio::test]
async fn notices_are_streamed_and_go_on_behind_the_last_one() {
    let (_server, address) = server().await;
    start(address, "before").await;
    let target = "/api/v1/namespaces/default/notice-stream";
    let mut events = Events::open(address, target, &[]).await;
    start(address, "w").await;
    let (kind, first, notice) = events.next().await.expect("what happens from now on");
    assert_eq!((kind.as_str(), &notice["kind"]), ("notice", &json!("NOTICE_KIND_STARTED")));
    assert_eq!((&notice["run"]["execution"]["workflowId"], &notice["number"]), (&json!("w"), &json!(first)));
    drop(events);
    json_of(address, Method::POST, "/api/v1/namespaces/default/workflows/w/terminate", &json!({})).await;
    start(address, "later").await;
    let mut events = Events::open(address, target, &[("last-event-id", &first)]).await;
    let (_, _, closed) = events.next().await.expect("what was missed");
    assert_eq!((&closed["kind"], &closed["run"]["status"]), (&json!("NOTICE_KIND_CLOSED"), &json!("WORKFLOW_EXECUTION_STATUS_TERMINATED")));
    let (_, _, later) = events.next().await.expect("what was missed");
    assert_eq!(later["run"]["execution"]["workflowId"], "later");
    let mut events = Events::open(address, &format!("{target}?from=oldest"), &[]).await;
    assert_eq!(events.next().await.expect("the oldest").2["run"]["execution"]["workflowId"], "before");
    let (status, _, told) = text(address, request(address, Method::GET, target, &[("last-event-id", "1000")], "")).await;
    assert!(status == StatusCode::BAD_REQUEST && told.contains("list the runs anew"), "{status} {told}");
    let (status, _, _) = text(address, request(address, Method::GET, target, &[("last-event-id", "x")], "")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let (status, _, _) = text(address, request(address, Method::GET, "/api/v1/namespaces/none/notice-stream", &[], "")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

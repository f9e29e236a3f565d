//! The same requests over HTTP to this server and, recorded, to the reference (Temporal's server 1.31.2).
//!
//! `golden/http.txt` is written by this test and never by hand: with `SEMPRE_HTTP_RECORD=HOST:PORT` (and a reference there
//! that has no runs) it asks there and records. Ids, times and tokens are taken out on both sides.

use std::{fmt::Write, net::SocketAddr, path::PathBuf};

use http::Method;
use sempre_server::ServerSettings;
use serde_json::Value;

use crate::{
    http::{request, text},
    support::TestServer,
};

/// How far answers must be the same.
#[derive(Clone, Copy, PartialEq)]
enum Same {
    /// All of it.
    All,
    /// Not the words of a message that tells where a text could not be read.
    ButWords,
    /// Nothing, for this reason: then it must differ.
    Not(&'static str),
}

struct Case {
    verb: &'static str,
    target: &'static str,
    headers: &'static [(&'static str, &'static str)],
    body: &'static str,
    same: Same,
}

const fn case(verb: &'static str, target: &'static str, body: &'static str) -> Case {
    Case { verb, target, headers: &[], body, same: Same::All }
}

const fn but_words(case: Case) -> Case {
    Case { same: Same::ButWords, ..case }
}

const fn not(reason: &'static str, case: Case) -> Case {
    Case { same: Same::Not(reason), ..case }
}

const fn with(headers: &'static [(&'static str, &'static str)], case: Case) -> Case {
    Case { headers, ..case }
}

const START: &str = r#"{"workflowType":{"name":"T"},"taskQueue":{"name":"q"},"requestId":"r","identity":"me",
    "input":[{"n":1},null,"x",[1.5,true]],"workflowRunTimeout":"3600.500s","memo":{"fields":{"m":"kept"}}}"#;
const START_AGAIN: &str = r#"{"workflowType":{"name":"T"},"taskQueue":{"name":"q"},"requestId":"other"}"#;
const PLAIN_START: &str = r#"{"workflow_type":{"name":"T"},"task_queue":{"name":"q"},"request_id":"r2","input":{"payloads":[
    {"metadata":{"encoding":"YmluYXJ5L3BsYWlu"},"data":"AAE="}]}}"#;

/// In this order.
const CASES: &[Case] = &[
    case("GET", "/nope", ""),
    case("GET", "/api/v1/namespaces/nope", ""),
    case("GET", "/api/v1/namespaces/nope/workflows", ""),
    not("HTTP asks for 405 and an Allow header", case("DELETE", "/api/v1/namespaces", "")),
    case("POST", "/api/v1/namespaces/default/workflows/w1", START),
    case("POST", "/namespaces/default/workflows/w1", START_AGAIN),
    case("POST", "/api/v1/namespaces/default/workflows/w2", PLAIN_START),
    case("GET", "/api/v1/namespaces/default/workflows/w1/history", ""),
    case("GET", "/api/v1/namespaces/default/workflows/w2/history", ""),
    case("GET", "/api/v1/namespaces/default/workflows/w1/history?noPayloadShorthand", ""),
    with(
        &[("accept", "application/json+pretty+no-payload-shorthand")],
        case("GET", "/api/v1/namespaces/default/workflows/w2/history?historyEventFilterType=1", ""),
    ),
    case("GET", "/api/v1/namespaces/default/workflows/w1/history?execution.run_id=x", ""),
    case("GET", "/api/v1/namespaces/default/workflows/none/history", ""),
    case("POST", "/api/v1/namespaces/default/workflows/w1/signal/s%20s", r#"{"input":["in"],"identity":"me"}"#),
    case("POST", "/api/v1/namespaces/default/workflows/w1/signal/none", r#"{"workflowExecution":{"workflowId":"w2","runId":"x"}}"#),
    case("POST", "/api/v1/namespaces/default/workflows/none/cancel", ""),
    case("POST", "/api/v1/namespaces/default/workflows/w1/cancel", r#"{"reason":"r","requestId":"c"}"#),
    case("POST", "/api/v1/namespaces/default/workflows/w1/terminate", r#"{"reason":"done","details":[{"why":"x"}]}"#),
    case("POST", "/api/v1/namespaces/default/workflows/w1/terminate", "{}"),
    case("GET", "/api/v1/namespaces/default/workflows/w1/history", ""),
    case("GET", "/api/v1/namespaces/default/workflows/w1/history-reverse?maximumPageSize=1", ""),
    case("POST", "/api/v1/namespaces/default/workflows/w3", ""),
    but_words(case("POST", "/api/v1/namespaces/default/workflows/w3", "{")),
    but_words(case("POST", "/api/v1/namespaces/default/workflows/w3", "[]")),
    but_words(case("POST", "/api/v1/namespaces/default/workflows/w3", r#"{"nom":1}"#)),
    but_words(case("POST", "/api/v1/namespaces/default/workflows/w3", r#"{"workflowType":"T"}"#)),
    but_words(case("GET", "/api/v1/namespaces/default/workflows?pageSize=x", "")),
    case("GET", "/api/v1/namespaces/default/workflows?query=a&query=b", ""),
    but_words(case("GET", "/api/v1/namespaces/default/workflows?nextPageToken=!", "")),
    but_words(case("GET", "/api/v1/namespaces/default/schedules/s/matching-times?startTime=bad", "")),
    case("GET", "/api/v1/namespaces/default/workflows?query=Nonsense%3D1", ""),
    with(&[("grpc-timeout", "1x")], case("GET", "/api/v1/namespaces", "")),
    with(&[("client-name", "temporal-go"), ("client-version", "99.0.0")], case("GET", "/api/v1/namespaces/default", "")),
    not(
        "it is another version",
        with(&[("grpc-metadata-supported-server-versions", ">=99.0.0")], case("GET", "/api/v1/namespaces/default", "")),
    ),
    not("an id with a slash in it can be named", case("GET", "/api/v1/namespaces/default/workflows/a%2Fb", "")),
    not("schedules are no workflows here", case("GET", "/api/v1/namespaces/default/schedules/none", "")),
    case("GET", "/api/v1/namespaces/default/batch-operations/none", ""),
    case("POST", "/api/v1/namespaces", r#"{"namespace":""}"#),
    case("POST", "/api/v1/namespaces/default/workflows/w1/query/q", r#"{"query":{"queryArgs":[1]}}"#),
    case("POST", "/api/v1/namespaces/default/workflows/none/update/u", r#"{"request":{"input":{"args":["a"]}}}"#),
    not(
        "the rate of the system is another",
        case("GET", "/api/v1/namespaces/default/task-queues/q?taskQueueType=TASK_QUEUE_TYPE_WORKFLOW", ""),
    ),
];

fn file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden/http.txt")
}

/// Takes out what is new each time, and what is newer than the reference's API.
fn normalise(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for name in ["taskId", "link", "firstExecutionRunId", "eventTime", "requestIdReferences"] {
                fields.remove(name);
            }
            // A duration of zero is none.
            fields.retain(|_, value| value != "0s");
            for (name, value) in fields.iter_mut() {
                match name.as_str() {
                    "nextPageToken" => *value = "TOKEN".into(),
                    _ if name.ends_with("Time") => *value = "TIME".into(),
                    // A payload of nothing: the reference gives it in full, here it is null.
                    "input" if value.is_array() => {
                        for value in value.as_array_mut().into_iter().flatten() {
                            if *value == serde_json::json!({ "metadata": { "encoding": "YmluYXJ5L251bGw=" } }) {
                                *value = Value::Null;
                            }
                            normalise(value);
                        }
                    }
                    _ => normalise(value),
                }
            }
            // In the order of their names.
            let sorted: std::collections::BTreeMap<String, Value> = std::mem::take(fields).into_iter().collect();
            fields.extend(sorted);
        }
        Value::Array(all) => all.iter_mut().for_each(normalise),
        Value::String(text) => *text = without_ids(text),
        _ => {}
    }
}

fn without_ids(text: &str) -> String {
    let is_id = |part: &str| {
        part.len() == 36
            && part.chars().enumerate().all(|(at, c)| if matches!(at, 8 | 13 | 18 | 23) { c == '-' } else { c.is_ascii_hexdigit() })
    };
    text.split_inclusive([' ', '/', ':', ',', '"'])
        .map(|part| if is_id(part.trim_end_matches([' ', '/', ':', ',', '"', '.'])) { "ID " } else { part })
        .collect()
}

async fn ask(address: SocketAddr, case: &Case) -> String {
    let verb = Method::from_bytes(case.verb.as_bytes()).expect("a verb");
    let (status, headers, body) = text(address, request(address, verb, case.target, case.headers, case.body)).await;
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // The reference says that it is anything.
    let kind = if kind == "*" { "application/json" } else { kind };
    let mut value: Value = serde_json::from_str(&body).unwrap_or(Value::String(body));
    normalise(&mut value);
    if case.same == Same::ButWords {
        value["message"] = "WORDS".into();
    }
    format!("{} {kind}\n{}\n", status.as_u16(), serde_json::to_string_pretty(&value).expect("JSON"))
}

#[tokio::test]
async fn answers_over_http_are_those_of_the_reference() {
    let recorded = std::env::var("SEMPRE_HTTP_RECORD").ok();
    let settings = ServerSettings { http_address: Some(([127, 0, 0, 1], 0).into()), ..ServerSettings::default() };
    let server = TestServer::start_with(settings).await;
    let address = match &recorded {
        Some(address) => address.parse().expect("HOST:PORT"),
        None => server.http.expect("an HTTP port"),
    };
    let mut written = String::new();
    for case in CASES {
        let answer = ask(address, case).await;
        let headers: Vec<_> = case.headers.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let body = case.body.split_whitespace().collect::<Vec<_>>().join(" ");
        writeln!(written, "### {} {}{} {body}\n{answer}", case.verb, case.target, headers.concat()).expect("a string");
    }
    if recorded.is_some() {
        return std::fs::write(file(), written).expect("written");
    }
    let golden = std::fs::read_to_string(file()).expect("recorded facts");
    let parts = |text: &str| text.split("### ").skip(1).map(str::to_owned).collect::<Vec<_>>();
    let (golden, written) = (parts(&golden), parts(&written));
    assert_eq!(golden.len(), CASES.len(), "record again");
    let mut wrong = Vec::new();
    for ((case, golden), written) in CASES.iter().zip(golden).zip(written) {
        match case.same {
            Same::Not(reason) if golden == written => wrong.push(format!("not different any more ({reason}): {golden}")),
            Same::All | Same::ButWords if golden != written => wrong.push(format!("--- reference\n{golden}--- here\n{written}")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

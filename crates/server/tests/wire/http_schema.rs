//! Every route of the OpenAPI document is asked for what its schema allows, for its bounds, and for what it does not allow: no answer is
//! an error of the server, nor late where the document does not say that it may be. What is asked for is made of the document alone, the
//! same at each run.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::SocketAddr,
    time::Duration,
};

use http::Method;
use sempre_core::validate::AddressRule;
use sempre_server::ServerSettings;
use serde_json::{Map, Value, json};

use crate::{
    http::{json_of, request, text},
    support::TestServer,
};

/// Fields of fields of fields are filled in, and no deeper.
const DEPTH_MAX: usize = 4;
/// Requests by chance of each route.
const BY_CHANCE: u64 = 4;

/// What values are made.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Style {
    Typical,
    /// Nothing that may be left out.
    Nothing,
    /// The least, the greatest, the longest.
    Bounds,
    /// Another type than the schema has.
    Wrong,
    Chance,
}

struct Maker<'d> {
    document: &'d Value,
    style: Style,
    seed: u64,
}

impl Maker<'_> {
    /// A number below `max`, another each time.
    fn chance(&mut self, max: u64) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.seed >> 33) % max
    }

    /// One of each style, or of all of them by chance.
    fn pick(&mut self, typical: Value, least: Value, greatest: Value, wrong: Value) -> Value {
        let all = [typical, least, greatest, wrong];
        let at = match self.style {
            Style::Typical | Style::Nothing => 0,
            Style::Bounds => 1 + self.chance(2),
            Style::Wrong => 3,
            // What is wrong hides all else.
            Style::Chance => self.chance(3),
        };
        all[at as usize].clone()
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap_or_default();
            let schema = self.document["components"]["schemas"][name].clone();
            return self.value(&schema, depth);
        }
        if let Some(names) = schema["enum"].as_array() {
            let (first, last) = (names[0].clone(), names[names.len() - 1].clone());
            return self.pick(names[names.len().min(2) - 1].clone(), first, last, json!("NO_SUCH_NAME"));
        }
        if let Some(any) = schema["anyOf"].as_array() {
            return self.value(&any[0].clone(), depth);
        }
        let long = || json!("é".repeat(3000));
        match (schema["type"].as_str(), schema["format"].as_str()) {
            (Some("boolean"), _) => self.pick(json!(true), json!(false), json!(true), json!("maybe")),
            (Some("integer"), Some("int32")) => self.pick(json!(1), json!(i32::MIN), json!(i32::MAX), json!("many")),
            (Some("integer"), _) => self.pick(json!(1), json!(0), json!(u32::MAX), json!(-1)),
            (Some("number"), _) => self.pick(json!(1.5), json!(-1e308), json!(3.4e38), json!({})),
            (Some("string"), Some("int64")) => self.pick(json!("1"), json!(i64::MIN.to_string()), json!(i64::MAX.to_string()), json!("x")),
            (Some("string"), Some("uint64")) => self.pick(json!("1"), json!("0"), json!(u64::MAX.to_string()), json!("-1")),
            (Some("string"), Some("byte")) => self.pick(json!("eA=="), json!(""), json!("eHh4eHh4".repeat(500)), json!("%")),
            (Some("string"), Some("date-time")) => {
                let (least, greatest) = (json!("0001-01-01T00:00:00Z"), json!("9999-12-31T23:59:59.999999999Z"));
                self.pick(json!("2026-01-01T00:00:00Z"), least, greatest, json!("yesterday"))
            }
            (Some("string"), _) if !schema["pattern"].is_null() => {
                self.pick(json!("10s"), json!("-315576000000s"), json!("315576000000.999999999s"), json!("soon"))
            }
            (Some("string"), _) => self.pick(json!("x"), json!(""), long(), json!(["x"])),
            (Some("array"), _) => {
                let items = schema["items"].clone();
                let count = match self.style {
                    Style::Bounds => 3 * self.chance(2),
                    Style::Wrong => return json!("no list"),
                    _ => 1,
                };
                Value::Array((0..count).map(|_| self.value(&items, depth + 1)).collect())
            }
            (Some("object"), _) => self.object(schema, depth),
            _ => self.pick(json!({ "n": 1 }), Value::Null, json!([[[]]]), json!("x")),
        }
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let mut object = Map::new();
        if self.style == Style::Nothing || depth >= DEPTH_MAX {
            return Value::Object(object);
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if self.style == Style::Chance && self.chance(2) == 0 {
                continue;
            }
            object.insert(name.clone(), self.value(property, depth + 1));
        }
        if schema["additionalProperties"].is_object() {
            object.insert("key".to_owned(), self.value(&schema["additionalProperties"].clone(), depth + 1));
        }
        if self.style == Style::Wrong && depth == 0 {
            object.insert("noSuchField".to_owned(), json!(1));
        }
        Value::Object(object)
    }
}

fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        // Writing into a text does not fail.
        let _ = if byte.is_ascii_alphanumeric() { write!(all, "{}", char::from(byte)) } else { write!(all, "%{byte:02X}") };
        all
    })
}

/// Path and query, and the body.
fn asked(maker: &mut Maker<'_>, path: &str, operation: &Value) -> (String, String) {
    let (mut target, mut query) = (path.to_owned(), Vec::new());
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().expect("a name");
        if parameter["in"] == "path" {
            let value = match (name, maker.style) {
                ("namespace", _) => "default".to_owned(),
                (_, Style::Bounds | Style::Wrong) => "é/%".repeat(400),
                _ => "x".to_owned(),
            };
            target = target.replace(&format!("{{{name}}}"), &escaped(&value));
            continue;
        }
        if maker.style == Style::Nothing || maker.style == Style::Chance && maker.chance(2) == 0 {
            continue;
        }
        let value = maker.value(&parameter["schema"], 1);
        let one = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        query.extend(values.iter().map(|value| format!("{}={}", escaped(name), escaped(&one(value)))));
    }
    if !query.is_empty() {
        target = format!("{target}?{}", query.join("&"));
    }
    let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
    let body = if schema.is_null() { String::new() } else { maker.value(schema, 0).to_string() };
    (target, body)
}

/// What is built and may say all the same that it is not: for a namespace, or for a part of what it takes.
const SWITCHED_OFF: [&str; 2] = ["PollWorkflowExecutionTimeSkipping", "CreateWorkerDeploymentVersion"];

/// A route is not built, in whole or in part: then it may say so.
fn may_be_missing(operation: &Value) -> bool {
    let id = operation["operationId"].as_str().unwrap_or_default().trim_end_matches(char::is_numeric);
    SWITCHED_OFF.contains(&id) || operation["tags"].as_array().into_iter().flatten().any(|tag| tag == "not built" || tag == "built in part")
}

/// Longer than any call may take that waits for nothing.
const PATIENCE: Duration = Duration::from_secs(60);

/// The answer; nothing if none comes.
async fn ask(address: SocketAddr, verb: &Method, target: &str, body: &str, may_be_late: bool) -> Option<(u16, String)> {
    // Who would wait does not wait for long.
    let bound = if may_be_late { &[("grpc-timeout", "1S")][..] } else { &[] };
    let answer = tokio::time::timeout(PATIENCE, text(address, request(address, verb.clone(), target, bound, body))).await;
    answer.ok().map(|(status, _, answer)| (status.as_u16(), answer))
}

#[tokio::test]
async fn no_request_that_the_document_allows_or_does_not_is_an_error_of_the_server() {
    let mut settings = ServerSettings { http_address: Some(([127, 0, 0, 1], 0).into()), ..ServerSettings::default() };
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "*".into(), allow_insecure: true }];
    let server = TestServer::start_with(settings).await;
    let address = server.http.expect("an HTTP port");
    let (status, document) = json_of(address, Method::GET, "/api/v1/openapi.json", &Value::Null).await;
    assert_eq!(status, 200);
    let mut answered: BTreeMap<u16, usize> = BTreeMap::new();
    let mut taken = BTreeSet::new();
    let mut wrong = Vec::new();
    for (at, (path, operations)) in document["paths"].as_object().expect("paths").iter().enumerate() {
        for (verb, operation) in operations.as_object().expect("operations") {
            let verb = Method::from_bytes(verb.to_uppercase().as_bytes()).expect("a verb");
            let styles = [Style::Typical, Style::Nothing, Style::Bounds, Style::Wrong];
            let styles = styles.into_iter().map(|style| (style, 0)).chain((0..BY_CHANCE).map(|n| (Style::Chance, n)));
            for (style, n) in styles {
                let seed = at as u64 * 1000 + n;
                let (target, body) = asked(&mut Maker { document: &document, style, seed }, path, operation);
                let may_be_late = operation["responses"]["504"].is_object();
                let answer = ask(address, &verb, &target, &body, may_be_late).await;
                let (status, answer) = answer.unwrap_or_else(|| panic!("{style:?} {seed}: no answer to {verb} {target} {body}"));
                *answered.entry(status).or_default() += 1;
                let is_missing = status == 501 && may_be_missing(operation);
                let is_late = status == 504 && may_be_late;
                if status >= 500 && !is_late && !is_missing {
                    let cut = |text: &str| text.chars().take(600).collect::<String>();
                    wrong.push(format!("{style:?} {seed}: {verb} {} {}\n  {status} {}", cut(&target), cut(&body), cut(&answer)));
                }
                if status == 200 {
                    taken.insert(operation["operationId"].as_str().unwrap_or_default().trim_end_matches(char::is_numeric).to_owned());
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What is asked for reaches what is behind the routes: some of it is done, some is refused for what it says.
    for method in ["ListAlertRules", "ListAlerts", "ListNotices", "ListNexusOperationExecutions", "CountWorkflowExecutions"] {
        assert!(taken.contains(method), "{method} is not among {taken:?}");
    }
    assert!(answered[&200] > 50 && answered[&400] > 100 && answered[&404] > 50, "{answered:?}");
    let (status, _) = json_of(address, Method::GET, "/api/v1/namespaces/default", &Value::Null).await;
    assert_eq!(status, 200, "the namespace is still there");
}

//! Alert rules over HTTP, and those of a file that changes while the server runs.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use http::Method;
use sempre_core::validate::AddressRule;
use sempre_server::{Server, ServerError, ServerSettings};
use sempre_store::memory::MemoryStore;
use serde_json::{Value, json};

use crate::{
    http::{json_of, request, text},
    support::TestServer,
};

const RULES: &str = "/api/v1/namespaces/default/alert-rules";

fn settings() -> ServerSettings {
    let mut settings =
        ServerSettings { address: ([127, 0, 0, 1], 0).into(), http_address: Some(([127, 0, 0, 1], 0).into()), ..ServerSettings::default() };
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "127.0.0.1:*".into(), allow_insecure: true }];
    settings
}

/// Whether lists and metrics say that the file of rules is refused.
async fn is_refused(http: SocketAddr) -> (bool, bool) {
    let (status, listed) = json_of(http, Method::GET, RULES, &Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    let (_, _, metrics) = text(http, request(http, Method::GET, "/metrics", &[], "")).await;
    let told = metrics.lines().find_map(|line| line.strip_prefix("sempre_alerts_file_refused ")).expect("the metric");
    (listed["fileRefusedTime"].is_string(), told == "1")
}

async fn names(http: SocketAddr) -> Vec<String> {
    let (status, listed) = json_of(http, Method::GET, RULES, &Value::Null).await;
    assert_eq!(status, 200, "{listed}");
    let rules = listed["rules"].as_array().cloned().unwrap_or_default();
    rules.iter().map(|info| info["rule"]["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn rules_are_set_listed_tested_and_deleted_over_http() {
    let server = TestServer::start_with(settings()).await;
    let http = server.http.expect("an HTTP port");
    let rule = json!({ "name": "failed/ones", "query": "ExecutionStatus = 'Failed'", "webhook": { "url": "http://127.0.0.1:1/x" } });
    let (status, made) = json_of(http, Method::POST, RULES, &json!({ "rule": rule })).await;
    assert_eq!(status, 200, "{made}");
    assert!(made["secret"].as_str().expect("told once").starts_with("whsec_"));
    assert_eq!(made["rule"]["rule"]["webhook"], json!({ "url": "http://127.0.0.1:1/…" }));
    assert_eq!(names(http).await, ["failed/ones"]);
    let (status, refused) = json_of(http, Method::POST, RULES, &json!({ "rule": { "name": "x", "query": "Nothing = 1" } })).await;
    assert_eq!((status, &refused["code"]), (400, &json!(3)), "{refused}");
    let (status, tested) = json_of(http, Method::POST, &format!("{RULES}/failed%2Fones/test"), &json!({})).await;
    assert_eq!((status, &tested["alert"]["state"]), (200, &json!("ALERT_STATE_TEST")), "{tested}");
    let (status, alerts) = json_of(http, Method::GET, "/api/v1/namespaces/default/alerts?pageSize=5", &Value::Null).await;
    assert_eq!((status, &alerts["alerts"][0]["alert"]["id"]), (200, &tested["alert"]["id"]), "{alerts}");
    let (status, notices) = json_of(http, Method::GET, "/api/v1/namespaces/default/notices", &Value::Null).await;
    assert_eq!(status, 200, "{notices}");
    let (status, _) = json_of(http, Method::DELETE, &format!("{RULES}/failed%2Fones"), &Value::Null).await;
    assert_eq!((status, names(http).await), (200, vec![]));
    assert_eq!(json_of(http, Method::DELETE, &format!("{RULES}/failed%2Fones"), &Value::Null).await.0, 404);
}

/// A file for one test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("sempre-alerts-{name}-{}.toml", std::process::id())))
    }

    fn write(&self, rules: &[(&str, &str)]) {
        let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
        let one = |(name, query): &(&str, &str)| {
            let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
            format!(
                "[[rule]]\nnamespace = \"{namespace}\"\nname = \"{name}\"\nquery = \"{query}\"\nurl = \"http://127.0.0.1:1/\"\nsecret = \"{secret}\"\n"
            )
        };
        std::fs::write(&self.0, rules.iter().map(one).collect::<String>()).expect("written");
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It is in the system's temporary folder.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Beyond this something is wrong; files are looked at every two seconds.
const PATIENCE: Duration = Duration::from_secs(30);

async fn until_refused(http: SocketAddr) {
    let begun = Instant::now();
    while is_refused(http).await != (true, true) {
        assert!(begun.elapsed() < PATIENCE, "nothing says that the file is refused");
        tokio::task::yield_now().await;
    }
}

async fn until_named(http: SocketAddr, expected: &[&str]) {
    let begun = Instant::now();
    while names(http).await != expected {
        assert!(begun.elapsed() < PATIENCE, "{:?}", names(http).await);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_file_that_is_refused_for_what_is_elsewhere_is_in_force_once_that_is_mended() {
    let (file, query) = (File::new("elsewhere"), "ExecutionStatus = 'Failed'");
    file.write(&[("a", query)]);
    let settings = ServerSettings { alerts_file: Some(file.0.clone()), ..settings() };
    let server = TestServer::serve(Server::bind(settings, Arc::new(MemoryStore::new())).await.expect("a server")).await;
    let http = server.http.expect("an HTTP port");
    // A name that a call has taken.
    let rule = json!({ "rule": { "name": "taken", "query": query, "webhook": { "url": "http://127.0.0.1:1/" } } });
    assert_eq!(json_of(http, Method::POST, RULES, &rule).await.0, 200);
    file.write(&[("b", query), ("taken", query)]);
    until_refused(http).await;
    assert_eq!(names(http).await, ["a", "taken"]);
    assert_eq!(json_of(http, Method::DELETE, &format!("{RULES}/taken"), &Value::Null).await.0, 200);
    until_named(http, &["b", "taken"]).await;
    assert_eq!(is_refused(http).await, (false, false));
    // A namespace that is not there.
    file.write(&[("d", query), ("later/c", query)]);
    until_refused(http).await;
    assert_eq!(names(http).await, ["b", "taken"]);
    let later = json!({ "namespace": "later", "workflowExecutionRetentionPeriod": "86400s" });
    let (status, made) = json_of(http, Method::POST, "/api/v1/namespaces", &later).await;
    assert_eq!(status, 200, "{made}");
    until_named(http, &["d"]).await;
    assert_eq!(is_refused(http).await, (false, false));
}

#[tokio::test]
async fn rules_of_a_file_follow_it_and_a_bad_file_changes_nothing() {
    let (file, query) = (File::new("follow"), "ExecutionStatus = 'Failed'");
    let settings = || ServerSettings { alerts_file: Some(file.0.clone()), ..settings() };
    let told = match Server::bind(settings(), Arc::new(MemoryStore::new())).await {
        Err(error @ ServerError::Alerts(_)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    };
    assert!(told.contains("sempre-alerts-follow") && told.contains("it cannot be read"), "{told}");
    file.write(&[("a", query), ("b", query)]);
    let server = Server::bind(settings(), Arc::new(MemoryStore::new())).await.expect("a server");
    let reloader = server.reloader().expect("it has files");
    let server = TestServer::serve(server).await;
    let http = server.http.expect("an HTTP port");
    assert_eq!(names(http).await, ["a", "b"]);
    let rule = json!({ "rule": { "name": "a", "query": query, "webhook": { "url": "http://127.0.0.1:1/" } } });
    let (status, refused) = json_of(http, Method::POST, RULES, &rule).await;
    assert!(status == 400 && refused["message"].as_str().is_some_and(|text| text.contains("--alerts-file")), "{refused}");
    assert_eq!(is_refused(http).await, (false, false));
    // One of two is bad.
    file.write(&[("c", query), ("d", "Nothing = 1")]);
    reloader.reload();
    until_refused(http).await;
    assert_eq!(names(http).await, ["a", "b"]);
    // Found without being asked.
    file.write(&[("b", query), ("c", query)]);
    until_named(http, &["b", "c"]).await;
    assert_eq!(is_refused(http).await, (false, false));
    let (_, listed) = json_of(http, Method::GET, RULES, &Value::Null).await;
    assert_eq!(listed["rules"][0]["fromFile"], true, "{listed}");
}

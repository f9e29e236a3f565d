//! Every series that is told moves when it should, and no other is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use http::{Method, StatusCode};
use prost::{Message, Name};
use sempre_api::{
    json::{Payloads, from_value},
    sempre::v1::{AlertRule, AlertWebhook, SetAlertRuleRequest, alert_service_client::AlertServiceClient},
    v1::workflowservice::{
        PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
    },
};
use sempre_core::validate::AddressRule;
use sempre_server::{Server, ServerSettings};
use sempre_store::embedded::{EmbeddedOptions, EmbeddedStore};
use serde_json::{Value, json};
use tonic::Request;

use crate::{
    http::{json_of, request, text},
    metrics_faults::FAULTS,
    metrics_trouble::TROUBLE,
    promql::Prometheus,
    queries,
    support::TestServer,
};

/// What a series does under the load below.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Does {
    /// It grows.
    Grows,
    /// There is a sample of it that is not zero.
    IsThere,
    /// It is told; this load has no reason to move it. These move in [`crate::metrics_trouble`] or [`crate::metrics_faults`].
    IsTold,
}

const FAMILIES: &[(&str, Does)] = &[
    ("service_requests", Does::Grows),
    ("service_errors", Does::Grows),
    ("service_error_with_type", Does::Grows),
    ("service_pending_requests", Does::IsThere),
    ("service_latency", Does::Grows),
    ("sempre_workflows_started_total", Does::Grows),
    ("workflow_success", Does::Grows),
    ("workflow_failed", Does::Grows),
    ("workflow_cancel", Does::Grows),
    ("workflow_terminate", Does::Grows),
    ("workflow_timeout", Does::Grows),
    ("workflow_continued_as_new", Does::Grows),
    ("sempre_workflow_duration_seconds", Does::Grows),
    ("sempre_workflows_open", Does::IsThere),
    ("sempre_workflows_hurt", Does::IsThere),
    ("activity_success", Does::Grows),
    ("activity_fail", Does::Grows),
    ("activity_timeout", Does::Grows),
    ("activity_cancel", Does::Grows),
    ("sempre_activity_attempts_total", Does::Grows),
    ("sempre_activity_retries_total", Does::Grows),
    ("sempre_task_schedule_to_start_seconds", Does::Grows),
    ("poll_success", Does::Grows),
    ("poll_timeouts", Does::Grows),
    ("poll_success_sync", Does::Grows),
    ("sempre_polls_waiting", Does::IsThere),
    ("approximate_backlog_count", Does::IsThere),
    ("approximate_backlog_age_seconds", Does::IsThere),
    ("sempre_task_queue_pollers", Does::IsThere),
    ("sempre_history_events_total", Does::Grows),
    ("sempre_transitions_total", Does::Grows),
    ("sempre_refusals_total", Does::Grows),
    ("sempre_overloads_total", Does::IsTold),
    ("sempre_deadlines_total", Does::Grows),
    ("sempre_deliveries_total", Does::Grows),
    ("sempre_scheduled_starts_total", Does::Grows),
    ("sempre_cache_hits_total", Does::Grows),
    ("sempre_cache_misses_total", Does::Grows),
    ("sempre_cache_evictions_total", Does::IsTold),
    ("sempre_lost_polls_total", Does::IsTold),
    ("sempre_commits_total", Does::Grows),
    ("sempre_commit_inputs_total", Does::Grows),
    ("sempre_commit_bytes_total", Does::Grows),
    ("sempre_commit_failures_total", Does::IsTold),
    ("sempre_commit_latency_seconds", Does::Grows),
    ("persistence_requests", Does::Grows),
    ("persistence_errors", Does::IsTold),
    ("persistence_latency", Does::Grows),
    ("sempre_call_bytes", Does::IsThere),
    ("sempre_call_bytes_limit", Does::IsThere),
    ("sempre_call_bytes_refused_total", Does::IsTold),
    ("sempre_starts_waiting", Does::IsTold),
    ("sempre_starts_at_once", Does::IsThere),
    ("sempre_starts_refused_total", Does::IsTold),
    ("sempre_namespace_open_runs", Does::IsThere),
    ("sempre_namespace_history_bytes", Does::IsThere),
    ("sempre_namespace_limit", Does::IsThere),
    ("sempre_namespace_refused_total", Does::IsTold),
    ("sempre_alert_deliveries_total", Does::Grows),
    ("sempre_alerts_waiting", Does::IsThere),
    ("sempre_alerts_file_refused", Does::IsTold),
    ("sempre_store_syncs_total", Does::Grows),
    ("sempre_store_log_bytes_total", Does::Grows),
    ("sempre_store_log_live_bytes", Does::IsThere),
    ("sempre_store_overlay_bytes", Does::IsThere),
    ("sempre_store_checkpoints_total", Does::IsTold),
    ("sempre_store_checkpoint_failures_total", Does::IsTold),
    ("sempre_store_held_back_seconds_total", Does::IsTold),
    ("sempre_visibility_waiting_records", Does::IsTold),
    ("sempre_data_bytes", Does::IsThere),
    ("sempre_build_info", Does::IsThere),
    ("process_resident_memory_bytes", Does::IsThere),
    ("process_cpu_seconds_total", Does::Grows),
    ("process_open_fds", Does::IsThere),
];

/// What the documentation's table names beside families.
const LABELS: &[&str] = &["error_type", "task_type"];
/// The documentation, with the table of families; `*` stands for anything.
const DOCS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http-api.md");

/// What a server tells that asks who calls, or is one of several nodes (`src/forward/tests/calls.rs`).
const ELSEWHERE: [&str; 12] = [
    "sempre_unauthorized_requests_total",
    "sempre_shards",
    "sempre_shard_moves_total",
    "sempre_shard_take_up_seconds",
    "sempre_node_calls_sent_total",
    "sempre_node_calls_taken_total",
    "sempre_node_calls_again_total",
    "sempre_node_calls_unavailable_total",
    "sempre_node_messages_sent_total",
    "sempre_node_messages_taken_total",
    "sempre_node_messages_lost_total",
    "sempre_node_unreached",
];

#[test]
fn the_documentation_names_every_family_and_no_other() {
    let docs = std::fs::read_to_string(DOCS).expect("the documentation");
    let (_, table) = docs.split_once("| about | families |").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let quoted = table.split('`').skip(1).step_by(2);
    let named: Vec<&str> = quoted.filter(|name| name.contains('_') && !name.contains('=') && !LABELS.contains(name)).collect();
    let is = |pattern: &str, family: &str| match pattern.split_once('*') {
        Some((head, tail)) => family.len() >= pattern.len() - 1 && family.starts_with(head) && family.ends_with(tail),
        None => pattern == family,
    };
    let families: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).chain(ELSEWHERE).collect();
    for family in &families {
        assert!(named.iter().any(|pattern| is(pattern, family)), "{family} is not named");
    }
    for pattern in named {
        assert!(families.iter().any(|family| is(pattern, family)), "there is no {pattern}");
    }
}

#[test]
fn what_the_usual_load_does_not_move_is_moved_by_another_test() {
    let told: BTreeSet<&str> = FAMILIES.iter().filter(|(_, does)| *does == Does::IsTold).map(|(name, _)| *name).collect();
    assert_eq!(told, TROUBLE.into_iter().chain(FAULTS).collect());
}

/// The sum of a family's samples (of histograms: their counts), by family, in one reading.
pub(crate) async fn read(address: SocketAddr) -> (BTreeMap<String, f64>, String) {
    read_with(address, &[]).await
}

/// The same with headers of the request.
pub(crate) async fn read_with(address: SocketAddr, headers: &[(&str, &str)]) -> (BTreeMap<String, f64>, String) {
    let (status, headers, text) = text(address, request(address, Method::GET, "/metrics", headers, "")).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let mut families: BTreeMap<String, f64> = BTreeMap::new();
    let mut histogram = String::new();
    let mut series_told = BTreeSet::new();
    for line in text.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["#", "TYPE", name, kind] => {
                histogram = if kind == "histogram" { name.to_owned() } else { String::new() };
                assert!(families.insert(name.to_owned(), 0.0).is_none(), "{name} is told twice");
            }
            ["#", ..] => {}
            _ => {
                let (series, value) = line.rsplit_once(' ').expect("a sample");
                assert!(series_told.insert(series.to_owned()), "{series} is told twice");
                let name = series.split('{').next().expect("a name");
                let value: f64 = value.parse().expect("a number");
                let family = match name.strip_suffix("_count").filter(|name| *name == histogram) {
                    Some(family) => family,
                    None if !histogram.is_empty() => continue,
                    None => name,
                };
                *families.get_mut(family).unwrap_or_else(|| panic!("{line}")) += value;
            }
        }
    }
    (families, text)
}

struct Load {
    server: TestServer,
    http: SocketAddr,
}

impl Load {
    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = json_of(self.http, Method::POST, &format!("/api/v1/namespaces/default/{path}"), &body).await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    async fn start(&self, id: &str, more: Value) {
        let mut body = json!({ "workflowType": { "name": "T" }, "taskQueue": { "name": "q" }, "requestId": id });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.post(&format!("workflows/{id}"), body).await;
    }

    async fn task(&self) -> PollWorkflowTaskQueueResponse {
        let mut poll: Request<PollWorkflowTaskQueueRequest> =
            Request::new(read_as(json!({ "namespace": "default", "taskQueue": { "name": "q" }, "identity": "w" })));
        poll.set_timeout(Duration::from_secs(30));
        self.server.workflow().poll_workflow_task_queue(poll).await.expect("a task").into_inner()
    }

    /// Completes the next workflow task with these commands.
    async fn work(&self, commands: Value) {
        let task = self.task().await;
        let mut done: sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest =
            read_as(json!({ "namespace": "default", "commands": commands }));
        done.task_token = task.task_token;
        self.server.workflow().respond_workflow_task_completed(done).await.expect("completed");
    }

    async fn attempt(&self) -> PollActivityTaskQueueResponse {
        let mut poll: Request<PollActivityTaskQueueRequest> =
            Request::new(read_as(json!({ "namespace": "default", "taskQueue": { "name": "q" }, "identity": "w" })));
        poll.set_timeout(Duration::from_secs(30));
        self.server.workflow().poll_activity_task_queue(poll).await.expect("an attempt").into_inner()
    }

    async fn end(&self, method: &str, token: bytes::Bytes, more: Value) {
        let mut body = json!({ "namespace": "default", "taskToken": base64(&token) });
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.post(method, body).await;
    }
}

fn base64(bytes: &[u8]) -> String {
    use std::fmt::Write;
    // As JSON of a message has it.
    let payload = sempre_api::v1::common::Payload { data: bytes.to_vec().into(), ..Default::default() };
    let value = sempre_api::json::to_value(&payload, Payloads::Full);
    let mut text = String::new();
    write!(text, "{}", value["data"].as_str().unwrap_or_default()).expect("a string");
    text
}

fn read_as<M: Message + Name + Default>(value: Value) -> M {
    from_value(value, Payloads::Shorthand).expect("the message")
}

fn activity(id: &str, more: Value) -> Value {
    let mut attributes =
        json!({ "activityId": id, "activityType": { "name": "A" }, "taskQueue": { "name": "q" }, "startToCloseTimeout": "60s" });
    attributes.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "commandType": "COMMAND_TYPE_SCHEDULE_ACTIVITY_TASK", "scheduleActivityTaskCommandAttributes": attributes })
}

fn close(kind: &str, field: &str, attributes: Value) -> Value {
    json!([{ "commandType": kind, field: attributes }])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_series_moves_when_it_should() {
    let folder = Folder::new("usual");
    let settings = ServerSettings {
        http_address: Some(([127, 0, 0, 1], 0).into()),
        metrics_address: Some(([127, 0, 0, 1], 0).into()),
        visibility_file: Some(folder.0.join("visibility.db")),
        ..ServerSettings::default()
    };
    let store = Arc::new(EmbeddedStore::open(&folder.0, EmbeddedOptions::default()).expect("a store"));
    let mut settings = ServerSettings { address: ([127, 0, 0, 1], 0).into(), ..settings };
    settings.engine.limits.callback_addresses = vec![AddressRule { pattern: "127.0.0.1:*".into(), allow_insecure: true }];
    let server = Server::bind(settings, store).await.expect("a server");
    let metrics = server.metrics_addr().expect("a port of metrics");
    let server = TestServer::serve(server).await;
    let load = Load { http: server.http.expect("an HTTP port"), server };
    let prometheus = Prometheus::start(metrics, &folder.0).await;
    let (before, _) = read(metrics).await;
    // Alerts that nobody takes.
    let webhook = AlertWebhook { url: "http://127.0.0.1:1/".into(), ..AlertWebhook::default() };
    let query = "ExecutionStatus = 'Terminated'".to_owned();
    let rule = AlertRule { name: "r".into(), query, webhook: Some(webhook), ..AlertRule::default() };
    let set = SetAlertRuleRequest { namespace: "default".into(), rule: Some(rule), version: 0 };
    AlertServiceClient::new(load.server.channel.clone()).set_alert_rule(set).await.expect("a rule");

    // Activities: one that works at the second attempt, one that fails for good, one that times out, one that is cancelled.
    load.start("w", json!({})).await;
    let once = json!({ "retryPolicy": { "maximumAttempts": 1 } });
    let retried = json!({ "retryPolicy": { "initialInterval": "0.010s" } });
    let late = json!({ "retryPolicy": { "maximumAttempts": 1 }, "startToCloseTimeout": "1s" });
    load.work(json!([activity("retried", retried)])).await;
    let failure = json!({ "failure": { "message": "no", "applicationFailureInfo": {} } });
    load.end("activity-fail", load.attempt().await.task_token, failure.clone()).await;
    load.end("activity-complete", load.attempt().await.task_token, json!({})).await;
    load.work(json!([activity("failing", once.clone())])).await;
    load.end("activity-fail", load.attempt().await.task_token, failure.clone()).await;
    load.work(json!([activity("late", late)])).await;
    load.attempt().await;
    load.work(json!([activity("cancelled", once)])).await;
    let token = load.attempt().await.task_token;
    load.post("workflows/w/signal/s", json!({})).await;
    let scheduled = load.task().await;
    let history = scheduled.history.expect("a history").events().expect("events");
    let id = history.iter().filter(|event| event.event_type == 10).last().expect("an activity").event_id;
    let mut cancel: sempre_api::v1::workflowservice::RespondWorkflowTaskCompletedRequest = read_as(json!({
        "namespace": "default",
        "commands": [{
            "commandType": "COMMAND_TYPE_REQUEST_CANCEL_ACTIVITY_TASK",
            "requestCancelActivityTaskCommandAttributes": { "scheduledEventId": id.to_string() },
        }],
    }));
    cancel.task_token = scheduled.task_token;
    load.server.workflow().respond_workflow_task_completed(cancel).await.expect("completed");
    load.end("activity-resolve-as-canceled", token, json!({})).await;
    // It tells another run, and completes.
    load.start("other", json!({})).await;
    load.post("workflows/other/terminate", json!({})).await;
    let tell = json!({ "commandType": "COMMAND_TYPE_SIGNAL_EXTERNAL_WORKFLOW_EXECUTION", "signalExternalWorkflowExecutionCommandAttributes": {
        "execution": { "workflowId": "nobody" }, "signalName": "s" } });
    load.work(json!([tell])).await;
    load.work(close("COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION", "completeWorkflowExecutionCommandAttributes", json!({}))).await;
    // All other ends.
    load.start("fails", json!({})).await;
    let attributes = json!({ "failure": { "message": "no", "applicationFailureInfo": { "nonRetryable": true } } });
    load.work(close("COMMAND_TYPE_FAIL_WORKFLOW_EXECUTION", "failWorkflowExecutionCommandAttributes", attributes)).await;
    load.start("goes-on", json!({})).await;
    let attributes = json!({ "workflowType": { "name": "T" }, "taskQueue": { "name": "q" } });
    load.work(close("COMMAND_TYPE_CONTINUE_AS_NEW_WORKFLOW_EXECUTION", "continueAsNewWorkflowExecutionCommandAttributes", attributes))
        .await;
    load.work(close("COMMAND_TYPE_COMPLETE_WORKFLOW_EXECUTION", "completeWorkflowExecutionCommandAttributes", json!({}))).await;
    load.start("cancelled", json!({})).await;
    load.post("workflows/cancelled/cancel", json!({})).await;
    load.work(close("COMMAND_TYPE_CANCEL_WORKFLOW_EXECUTION", "cancelWorkflowExecutionCommandAttributes", json!({}))).await;
    load.start("too-late", json!({ "workflowRunTimeout": "1s", "taskQueue": { "name": "nobody's" } })).await;
    // A schedule.
    let action =
        json!({ "startWorkflow": { "workflowId": "scheduled", "workflowType": { "name": "T" }, "taskQueue": { "name": "nobody's" } } });
    let schedule = json!({ "schedule": { "spec": {}, "action": action }, "initialPatch": { "triggerImmediately": {} }, "requestId": "r" });
    load.post("schedules/s", schedule).await;
    // Open and hurt: its activity is retried again and again.
    load.start("hurt", json!({})).await;
    load.work(json!([activity("hurt", json!({ "retryPolicy": { "initialInterval": "60s" } }))])).await;
    load.end("activity-fail", load.attempt().await.task_token, failure).await;
    // A poller that waits, and gets a task at once; one that waits in vain.
    let waiting = tokio::join!(load.task(), async {
        while load.server.engine.stats().pollers.get() == 0 {
            tokio::task::yield_now().await;
        }
        load.start("at-once", json!({})).await;
    });
    assert!(!waiting.0.task_token.is_empty());
    let mut poll: Request<PollActivityTaskQueueRequest> =
        Request::new(read_as(json!({ "namespace": "default", "taskQueue": { "name": "q2" } })));
    poll.set_timeout(Duration::from_secs(3));
    load.server.workflow().poll_activity_task_queue(poll).await.expect("empty");
    // A run that refuses, a call that is refused.
    assert_eq!(json_of(load.http, Method::POST, "/api/v1/namespaces/default/workflows/w/terminate", &json!({})).await.0, 404);
    // And one that waits while it is asked.
    let mut poll: Request<PollActivityTaskQueueRequest> =
        Request::new(read_as(json!({ "namespace": "default", "taskQueue": { "name": "q2" } })));
    poll.set_timeout(Duration::from_secs(60));
    let mut client = load.server.workflow();
    let poll = tokio::spawn(async move { client.poll_activity_task_queue(poll).await });
    let ends = |text: &str| text.contains("workflow_timeout{operation=\"CompletionStats\",namespace=\"default\",workflowType=\"T\"} 1");
    let (after, told) = loop {
        let (after, text) = read(metrics).await;
        if ends(&text)
            && after["sempre_polls_waiting"] > 0.0
            && after["sempre_scheduled_starts_total"] > 0.0
            && after["sempre_workflows_hurt"] > 0.0
            && after["sempre_alert_deliveries_total"] > 0.0
        {
            break (after, text);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    poll.abort();

    let mut wrong = Vec::new();
    for (name, does) in FAMILIES {
        let (Some(before), Some(after)) = (before.get(*name), after.get(*name)) else {
            wrong.push(format!("{name} is not told"));
            continue;
        };
        let right = match does {
            Does::Grows => after > before,
            Does::IsThere => *after > 0.0,
            Does::IsTold => after >= before,
        };
        if !right {
            wrong.push(format!("{name}: {does:?}, but {before} became {after}"));
        }
    }
    let known = |name: &&String| !FAMILIES.iter().any(|(known, _)| known == name);
    wrong.extend(after.keys().filter(known).map(|name| format!("{name} is not tested")));
    assert!(wrong.is_empty(), "{}\n{told}", wrong.join("\n"));
    let ours = FAMILIES.iter().filter(|(name, _)| name.starts_with("sempre_") || name.starts_with("process_"));
    assert!(ours.count() <= 60, "beside those that have names of Temporal's server");
    queries::all_have_series(&told);
    if let Some(prometheus) = &prometheus {
        prometheus.evaluate().await;
    }
    // At the HTTP port too; at the port of metrics nothing else.
    assert_eq!(read(load.http).await.0.len(), after.len());
    assert_eq!(json_of(metrics, Method::GET, "/api/v1/namespaces", &Value::Null).await.0, 404);
    for line in [
        r#"approximate_backlog_count{namespace="default",taskqueue="nobody's",task_type="Workflow"} 1"#,
        r#"sempre_activity_retries_total{namespace="default",activityType="A"} 1"#,
        r#"sempre_workflows_hurt{namespace="default",workflowType="T",health="activity-retrying"} 1"#,
        r#"workflow_success{operation="CompletionStats",namespace="default",workflowType="T"} 2"#,
    ] {
        assert!(told.contains(line), "{line}\n{told}");
    }
}

/// A folder for one test.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sempre-metrics-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left goes with the system's temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

//! Series that move when a server has more to do than it can, or refuses something.

use std::{collections::BTreeMap, sync::Arc};

use futures::future::join_all;
use sempre_api::v1::{
    common::{Payload, Payloads, WorkflowExecution},
    workflowservice::{
        SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest,
        workflow_service_client::WorkflowServiceClient,
    },
};
use sempre_server::{AuthSettings, Server, ServerSettings};
use sempre_store::embedded::{EmbeddedOptions, EmbeddedStore};
use tonic::{Code, transport::Channel};

use crate::{
    messages::start,
    metrics::{Folder, read, read_with},
    support::TestServer,
};

const RUNS: usize = 16;
const SIGNALS_AT_ONCE: usize = 32;
const SIGNAL_BYTES: usize = 8 << 10;

/// What is made to move.
pub(crate) const TROUBLE: [&str; 8] = [
    "sempre_overloads_total",
    "sempre_cache_evictions_total",
    "sempre_call_bytes_refused_total",
    "sempre_namespace_refused_total",
    "sempre_alerts_file_refused",
    "sempre_store_checkpoints_total",
    "sempre_store_held_back_seconds_total",
    "sempre_visibility_waiting_records",
];

fn started(id: &str, bytes: usize) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest { workflow_id: id.into(), request_id: id.into(), ..start(bytes) }
}

fn execution(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() })
}

/// More than fits: into the inbox, into the memory of the store, into the cache. What is refused of it is not sent again.
async fn load(client: WorkflowServiceClient<Channel>) {
    for round in 0.. {
        let signals = (0..SIGNALS_AT_ONCE).map(|n| {
            let mut client = client.clone();
            let input = Payloads { payloads: vec![Payload { data: vec![b'x'; SIGNAL_BYTES].into(), ..Payload::default() }] };
            let request = SignalWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_execution: execution(&format!("w{}", n % RUNS)),
                signal_name: "s".into(),
                input: Some(input),
                ..SignalWorkflowExecutionRequest::default()
            };
            async move { client.signal_workflow_execution(request).await.is_ok() }
        });
        let taken = join_all(signals).await;
        assert!(taken.contains(&true), "some are taken");
        // A run that begins and ends is news to lists.
        let mut client = client.clone();
        let id = format!("short-{round}");
        if client.start_workflow_execution(started(&id, 10)).await.is_ok() {
            let request = TerminateWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_execution: execution(&id),
                ..TerminateWorkflowExecutionRequest::default()
            };
            while client.terminate_workflow_execution(request.clone()).await.is_err() {
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_of_trouble_move_when_there_is_some() {
    let folder = Folder::new("trouble");
    let rules = folder.0.join("alerts.toml");
    std::fs::write(&rules, "").expect("written");
    let mut settings = ServerSettings {
        address: ([127, 0, 0, 1], 0).into(),
        metrics_address: Some(([127, 0, 0, 1], 0).into()),
        visibility_file: Some(folder.0.join("visibility.db")),
        alerts_file: Some(rules.clone()),
        call_bytes_max: 4 << 20,
        ..ServerSettings::default()
    };
    settings.engine.shards = 1;
    settings.engine.inbox_max = 4;
    settings.engine.cache_bytes_max = 1;
    settings.engine.limits.open_runs_max = RUNS as u64 + 1;
    let options = EmbeddedOptions { overlay_bytes: 256 << 10, ..EmbeddedOptions::default() };
    let store = Arc::new(EmbeddedStore::open(&folder.0.join("data"), options).expect("a store"));
    let server = TestServer::serve(Server::bind(settings, store).await.expect("a server")).await;
    let metrics = server.metrics.expect("a port of metrics");
    let before = read(metrics).await.0;
    for name in TROUBLE {
        assert!(before[name] == 0.0, "{name}: {}", before[name]);
    }

    for n in 0..RUNS {
        server.workflow().start_workflow_execution(started(&format!("w{n}"), 10)).await.expect("starts");
    }
    server.workflow().start_workflow_execution(started("last", 10)).await.expect("starts");
    let refused = server.workflow().start_workflow_execution(started("one too many", 10)).await.expect_err("there is a limit");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let end =
        TerminateWorkflowExecutionRequest { namespace: "default".into(), workflow_execution: execution("last"), ..Default::default() };
    server.workflow().terminate_workflow_execution(end).await.expect("it ends");
    let refused = server.workflow().start_workflow_execution(started("large", 1600 << 10)).await.expect_err("there is no memory");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    std::fs::write(&rules, "this is no rule").expect("written");
    let load = tokio::spawn(load(server.workflow()));
    let mut most: BTreeMap<String, f64> = BTreeMap::new();
    while TROUBLE.iter().any(|name| most.get(*name).is_none_or(|most| *most == 0.0)) {
        assert!(!load.is_finished(), "the load goes on");
        for (name, value) in read(metrics).await.0 {
            let most = most.entry(name).or_default();
            *most = most.max(value);
        }
    }
    load.abort();
}

#[tokio::test]
async fn callers_who_may_not_are_counted() {
    let folder = Folder::new("unauthorized");
    let key_file = folder.0.join("admin.key");
    let auth = Some(AuthSettings { admin_key_file: Some(key_file.clone()), rules_file: None });
    let metrics_address = Some(([127, 0, 0, 1], 0).into());
    let server = TestServer::start_with(ServerSettings { auth, metrics_address, ..ServerSettings::default() }).await;
    let metrics = server.metrics.expect("a port of metrics");
    let key = format!("Bearer {}", std::fs::read_to_string(key_file).expect("the server has made one").trim());
    let count = async || read_with(metrics, &[("authorization", &key)]).await.0["sempre_unauthorized_requests_total"];
    assert!(count().await == 0.0);
    let refused = server.workflow().start_workflow_execution(start(10)).await.expect_err("nobody is known");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(count().await == 1.0);
}

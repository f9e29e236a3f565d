//! Workers and task queues over the wire.
#![allow(deprecated, reason = "what older clients read is there as well")]

use std::time::Duration;

use sempre_api::v1::{
    enums::WorkerStatus,
    namespace::namespace_info::Capabilities,
    taskqueue::TaskQueue,
    worker::{WorkerHeartbeat, WorkerHostInfo},
    workflowservice::{
        CountWorkersRequest, DescribeNamespaceRequest, DescribeWorkerRequest, GetClusterInfoRequest, ListTaskQueuePartitionsRequest,
        ListWorkersRequest, PollWorkflowTaskQueueResponse, RecordWorkerHeartbeatRequest, ShutdownWorkerRequest,
    },
};
use sempre_server::{ServerSettings, dynamic::DynamicConfig};
use tonic::Code;

use crate::{
    polls::poll,
    support::{TestServer, until},
};

async fn capabilities(server: &TestServer) -> Capabilities {
    let request = DescribeNamespaceRequest { namespace: "default".into(), ..Default::default() };
    let described = server.workflow().describe_namespace(request).await.expect("described").into_inner();
    described.namespace_info.and_then(|info| info.capabilities).expect("capabilities")
}

#[tokio::test]
async fn shutdown_worker_ends_its_polls() {
    let server = TestServer::start().await;
    assert!(capabilities(&server).await.worker_poll_complete_on_shutdown);
    let mut client = server.workflow();
    let waiting = tokio::spawn(async move {
        let mut request = poll(Some(Duration::from_secs(60)));
        request.get_mut().worker_instance_key = "key".into();
        client.poll_workflow_task_queue(request).await
    });
    until(|| server.engine.stats().pollers.get() == 1).await;
    let request = ShutdownWorkerRequest {
        namespace: "default".into(),
        task_queue: "queue".into(),
        worker_instance_key: "key".into(),
        ..Default::default()
    };
    server.workflow().shutdown_worker(request).await.expect("taken");
    let answer = waiting.await.expect("no panic").expect("answered").into_inner();
    assert_eq!(answer, PollWorkflowTaskQueueResponse::default());
}

#[tokio::test]
async fn ending_polls_is_announced_only_when_it_is_done() {
    let mut settings = ServerSettings::default();
    let config = DynamicConfig::parse(["frontend.enableCancelWorkerPollsOnShutdown=false"]).expect("JSON");
    assert_eq!(config.apply(&mut settings).expect("a switch"), Vec::<String>::new());
    let server = TestServer::start_with(settings).await;
    assert!(!capabilities(&server).await.worker_poll_complete_on_shutdown);
}

#[tokio::test]
async fn workers_that_send_heartbeats_are_known_until_they_have_shut_down() {
    let server = TestServer::start().await;
    assert!(capabilities(&server).await.worker_heartbeats);
    let heartbeat = |key: &str, status: WorkerStatus| WorkerHeartbeat {
        worker_instance_key: key.into(),
        worker_identity: "me".into(),
        task_queue: "queue".into(),
        host_info: Some(WorkerHostInfo { host_name: "host".into(), ..Default::default() }),
        status: status as i32,
        ..Default::default()
    };
    let namespace = || "default".to_owned();
    let mut client = server.workflow();
    let worker_heartbeat = ["a", "b", "c"].map(|key| heartbeat(key, WorkerStatus::Running)).to_vec();
    let request = RecordWorkerHeartbeatRequest { namespace: namespace(), worker_heartbeat, ..Default::default() };
    client.record_worker_heartbeat(request).await.expect("taken");

    // Pages.
    let mut keys = Vec::new();
    let mut next_page_token = bytes::Bytes::new();
    loop {
        let request = ListWorkersRequest { namespace: namespace(), page_size: 2, next_page_token, ..Default::default() };
        let listed = client.list_workers(request).await.expect("listed").into_inner();
        assert!(listed.workers.len() <= 2 && listed.workers_info.len() == listed.workers.len());
        assert_eq!((listed.workers[0].host_name.as_str(), listed.workers[0].status()), ("host", WorkerStatus::Running));
        keys.extend(listed.workers.into_iter().map(|worker| worker.worker_instance_key));
        next_page_token = listed.next_page_token;
        if next_page_token.is_empty() {
            break;
        }
    }
    assert_eq!(keys, ["a", "b", "c"]);

    // A query, a count, one worker.
    let query = || "WorkerInstanceKey != 'b' AND WorkerStatus = 'Running'".to_owned();
    let request = ListWorkersRequest { namespace: namespace(), query: query(), ..Default::default() };
    assert_eq!(client.list_workers(request).await.expect("listed").into_inner().workers.len(), 2);
    let request = CountWorkersRequest { namespace: namespace(), query: query(), ..Default::default() };
    assert_eq!(client.count_workers(request).await.expect("counted").into_inner().count, 2);
    let describe = |key: &str| DescribeWorkerRequest { namespace: namespace(), worker_instance_key: key.into() };
    let described = client.describe_worker(describe("a")).await.expect("known").into_inner();
    assert_eq!(described.worker_info.and_then(|info| info.worker_heartbeat), Some(heartbeat("a", WorkerStatus::Running)));

    // Shutting down is still there, shut down is gone.
    for (key, status) in [("a", WorkerStatus::ShuttingDown), ("b", WorkerStatus::Shutdown)] {
        let request =
            ShutdownWorkerRequest { namespace: namespace(), worker_heartbeat: Some(heartbeat(key, status)), ..Default::default() };
        client.shutdown_worker(request).await.expect("taken");
    }
    let described = client.describe_worker(describe("a")).await.expect("known").into_inner();
    assert_eq!(described.worker_info.and_then(|info| info.worker_heartbeat).map(|h| h.status()), Some(WorkerStatus::ShuttingDown));
    let status = client.describe_worker(describe("b")).await.expect_err("gone");
    assert_eq!((status.code(), status.message()), (Code::NotFound, "Worker b not found"));

    // What is wrong with a list.
    for (request, text) in [
        (ListWorkersRequest { query: "TaskQueue = ".into(), ..Default::default() }, "malformed query: syntax error at position 13"),
        (ListWorkersRequest { next_page_token: "x".into(), ..Default::default() }, "invalid next_page_token"),
    ] {
        let status = client.list_workers(ListWorkersRequest { namespace: namespace(), ..request }).await.expect_err("refused");
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, text));
    }
}

#[tokio::test]
async fn heartbeats_are_taken_and_forgotten_where_they_are_switched_off() {
    let mut settings = ServerSettings::default();
    let config = DynamicConfig::parse(["frontend.WorkerHeartbeatsEnabled=false"]).expect("JSON");
    assert_eq!(config.apply(&mut settings).expect("a switch"), Vec::<String>::new());
    let server = TestServer::start_with(settings).await;
    assert!(!capabilities(&server).await.worker_heartbeats);
    let request = RecordWorkerHeartbeatRequest {
        namespace: "default".into(),
        worker_heartbeat: vec![WorkerHeartbeat::default()],
        ..Default::default()
    };
    server.workflow().record_worker_heartbeat(request).await.expect("taken");
    let request = CountWorkersRequest { namespace: "default".into(), ..Default::default() };
    assert_eq!(server.workflow().count_workers(request).await.expect("counted").into_inner().count, 0);
}

#[tokio::test]
async fn the_cluster_has_an_id_and_queues_an_owner() {
    let server = TestServer::start().await;
    let info = server.workflow().get_cluster_info(GetClusterInfoRequest {}).await.expect("told").into_inner();
    assert_eq!(info.cluster_id, server.engine.cluster_id());
    let request = ListTaskQueuePartitionsRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
    };
    let listed = server.workflow().list_task_queue_partitions(request).await.expect("told").into_inner();
    let owner = &listed.workflow_task_queue_partitions[0].owner_host_name;
    assert_eq!(format!("http://{owner}"), server.url);
}

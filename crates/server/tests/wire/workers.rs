//! Workers and task queues over the wire.

use std::time::Duration;

use sempre_api::v1::{
    namespace::namespace_info::Capabilities,
    taskqueue::TaskQueue,
    workflowservice::{
        DescribeNamespaceRequest, GetClusterInfoRequest, ListTaskQueuePartitionsRequest, PollWorkflowTaskQueueResponse,
        ShutdownWorkerRequest,
    },
};
use sempre_server::{ServerSettings, dynamic::DynamicConfig};

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
    assert_eq!(config.apply(&mut settings.engine).expect("a switch"), Vec::<String>::new());
    let server = TestServer::start_with(settings).await;
    assert!(!capabilities(&server).await.worker_poll_complete_on_shutdown);
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

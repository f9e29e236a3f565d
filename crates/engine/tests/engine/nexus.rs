//! Polls for Nexus tasks; what they bring is in `nexus_operations`.

use sempre_api::v1::{
    enums::WorkerStatus,
    taskqueue::TaskQueue,
    worker::WorkerHeartbeat,
    workflowservice::{CountWorkersRequest, PollNexusTaskQueueRequest, PollNexusTaskQueueResponse, ShutdownWorkerRequest},
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;
use tokio::task::JoinHandle;

use crate::support::*;

fn request(key: &str) -> PollNexusTaskQueueRequest {
    PollNexusTaskQueueRequest {
        namespace: NAMESPACE.into(),
        task_queue: Some(queue()),
        identity: "worker".into(),
        worker_instance_key: key.into(),
        ..Default::default()
    }
}

impl World {
    /// A poll beside the test.
    fn poll_nexus(&self, request: PollNexusTaskQueueRequest) -> JoinHandle<Result<PollNexusTaskQueueResponse, Refusal>> {
        let engine = self.engine.clone();
        tokio::spawn(async move { engine.poll_nexus_task(request, None).await })
    }

    async fn nexus_refusal(&self, request: PollNexusTaskQueueRequest) -> Refusal {
        soon(self.engine.poll_nexus_task(request, None)).await.unwrap_err()
    }
}

fn empty() -> Result<PollNexusTaskQueueResponse, Refusal> {
    Ok(PollNexusTaskQueueResponse::default())
}

#[tokio::test]
async fn a_nexus_poll_is_empty_after_the_wait_or_before_its_deadline() {
    let w = world_with(Settings { poll_wait: Span::seconds(20), ..settings() }).await;
    let poll = w.poll_nexus(request("k"));
    let (engine, deadline) = (w.engine.clone(), w.engine.now() + Span::seconds(11));
    let brief = tokio::spawn(async move { engine.poll_nexus_task(request("k"), Some(deadline)).await });
    w.advance(Span::millis(9_999)).await;
    assert!(!brief.is_finished());
    assert_eq!(w.engine.stats().pollers.get(), 2);
    w.advance(Span::millis(1)).await;
    assert_eq!(soon(brief).await.unwrap(), empty());
    // Up to a sixth before the end.
    w.advance(Span::millis(6_666)).await;
    assert!(!poll.is_finished());
    w.advance(Span::millis(3_334)).await;
    assert_eq!(soon(poll).await.unwrap(), empty());
    assert_eq!(w.engine.stats().pollers.get(), 0);
}

#[tokio::test]
async fn nexus_polls_end_when_their_worker_shuts_down() {
    let w = world().await;
    let (one, two, other, nameless) =
        (w.poll_nexus(request("k1")), w.poll_nexus(request("k1")), w.poll_nexus(request("k2")), w.poll_nexus(request("")));
    w.settle().await;
    let goodbye = ShutdownWorkerRequest {
        namespace: NAMESPACE.into(),
        task_queue: QUEUE.into(),
        worker_instance_key: "k1".into(),
        ..Default::default()
    };
    soon(w.engine.shutdown_worker(goodbye)).await.unwrap();
    assert_eq!((soon(one).await.unwrap(), soon(two).await.unwrap()), (empty(), empty()));
    assert_eq!(soon(w.poll_nexus(request("k1"))).await.unwrap(), empty(), "one that was on its way ends at once");
    w.settle().await;
    assert!(!other.is_finished() && !nameless.is_finished());
}

#[tokio::test]
async fn nexus_polls_end_when_the_engine_stops_or_their_caller_goes() {
    let w = world().await;
    let (given_up, poll) = (w.poll_nexus(request("k")), w.poll_nexus(request("k")));
    w.settle().await;
    assert_eq!(w.engine.stats().pollers.get(), 2);
    given_up.abort();
    w.settle().await;
    assert_eq!(w.engine.stats().pollers.get(), 1);
    soon(w.engine.shutdown()).await;
    assert_eq!(soon(poll).await.unwrap(), empty());
    assert!(matches!(w.nexus_refusal(request("k")).await, Refusal::Unavailable(_)));
}

#[tokio::test]
async fn nexus_polls_are_checked_like_the_others() {
    let w = world().await;
    let base = || request("k");
    let named = |name: &str| Some(TaskQueue { name: name.into(), ..queue() });
    let unknown = w.nexus_refusal(PollNexusTaskQueueRequest { namespace: "nowhere".into(), ..base() }).await;
    assert!(matches!(unknown, Refusal::NamespaceNotFound(_)), "{unknown:?}");
    for (request, text) in [
        (PollNexusTaskQueueRequest { identity: "i".repeat(1001), ..base() }, "Identity length exceeds limit."),
        (PollNexusTaskQueueRequest { task_queue: None, ..base() }, "taskQueue is not set"),
        (PollNexusTaskQueueRequest { task_queue: named(""), ..base() }, "missing task queue name"),
        (PollNexusTaskQueueRequest { task_queue: named(&"q".repeat(1001)), ..base() }, "taskQueue length exceeds limit"),
        (PollNexusTaskQueueRequest { task_queue: named("/_sys/q"), ..base() }, "task queue name cannot start with reserved prefix /_sys/"),
    ] {
        assert_eq!(w.nexus_refusal(request).await, Refusal::invalid(text));
    }
    assert_eq!(w.engine.stats().pollers.get(), 0);
}

#[tokio::test]
async fn heartbeats_that_come_with_a_nexus_poll_are_recorded_where_they_are_on() {
    for (worker_heartbeats, count) in [(true, 1), (false, 0)] {
        let w = world_with(Settings { worker_heartbeats, ..settings() }).await;
        let heartbeat = WorkerHeartbeat { worker_instance_key: "k".into(), status: WorkerStatus::Running as i32, ..Default::default() };
        let poll = w.poll_nexus(PollNexusTaskQueueRequest { worker_heartbeat: vec![heartbeat], ..request("k") });
        w.settle().await;
        assert!(!poll.is_finished());
        let counted = w.engine.count_workers(CountWorkersRequest { namespace: NAMESPACE.into(), ..Default::default() }).await;
        assert_eq!(counted.unwrap().count, count);
    }
}

#[tokio::test]
async fn endpoints_outlive_the_process_and_a_commit_in_doubt() {
    use sempre_api::v1::{
        nexus::{EndpointSpec, EndpointTarget, endpoint_target},
        operatorservice::{CreateNexusEndpointRequest, ListNexusEndpointsRequest},
    };
    let mut w = world().await;
    let create = |name: &str| {
        let external = endpoint_target::External { url: "http://x".into() };
        let target = EndpointTarget { variant: Some(endpoint_target::Variant::External(external)) };
        let spec = EndpointSpec { name: name.into(), target: Some(target), description: None };
        CreateNexusEndpointRequest { spec: Some(spec) }
    };
    let first = w.engine.create_nexus_endpoint(create("first")).await.unwrap();
    w.store.refuse.store(1, std::sync::atomic::Ordering::SeqCst);
    assert!(w.engine.create_nexus_endpoint(create("second")).await.is_err());
    w.store.doubt.store(1, std::sync::atomic::Ordering::SeqCst);
    assert!(w.engine.create_nexus_endpoint(create("third")).await.is_ok(), "it turns out to be there");
    w.reopen().await;
    let listed = w.engine.list_nexus_endpoints(ListNexusEndpointsRequest::default()).await.unwrap().endpoints;
    assert_eq!(listed.len(), 2);
    assert!(listed.contains(&first.endpoint.unwrap()));
}

#[tokio::test]
#[allow(deprecated, reason = "the old field is refused")]
async fn nexus_polls_say_which_version_they_are_of() {
    use sempre_api::v1::{
        common::WorkerVersionCapabilities,
        deployment::{WorkerDeploymentOptions, WorkerDeploymentVersion},
        enums::{TaskQueueType, WorkerVersioningMode},
        workflowservice::{DescribeWorkerDeploymentVersionRequest, SetWorkerDeploymentCurrentVersionRequest},
    };
    let w = world_with(Settings { poll_wait: Span::seconds(60), ..settings() }).await;
    let old = WorkerVersionCapabilities { build_id: "b".into(), use_versioning: true, ..Default::default() };
    let refused = w.nexus_refusal(PollNexusTaskQueueRequest { worker_version_capabilities: Some(old), ..request("k") }).await;
    assert!(matches!(refused, Refusal::PermissionDenied(_)), "{refused:?}");
    let options = |build: &str| WorkerDeploymentOptions {
        deployment_name: "d".into(),
        build_id: build.into(),
        worker_versioning_mode: WorkerVersioningMode::Versioned as i32,
    };
    let refused = w.nexus_refusal(PollNexusTaskQueueRequest { deployment_options: Some(options("")), ..request("k") }).await;
    assert_eq!(refused, Refusal::invalid("Both deployment name and build id must be set when versioning is enabled."));
    let of = |build: &str| w.poll_nexus(PollNexusTaskQueueRequest { deployment_options: Some(options(build)), ..request(build) });
    let (one, two, plain) = (of("1"), of("2"), w.poll_nexus(request("")));
    w.settle().await;
    let current = SetWorkerDeploymentCurrentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_name: "d".into(),
        build_id: "1".into(),
        ..Default::default()
    };
    soon(w.engine.set_current_version(current)).await.unwrap();
    let describe = DescribeWorkerDeploymentVersionRequest {
        namespace: NAMESPACE.into(),
        deployment_version: Some(WorkerDeploymentVersion { deployment_name: "d".into(), build_id: "1".into() }),
        report_task_queue_stats: true,
        ..Default::default()
    };
    let queues = soon(w.engine.describe_deployment_version(describe)).await.unwrap().version_task_queues;
    assert_eq!((queues.len(), queues[0].name.as_str(), queues[0].r#type()), (1, QUEUE, TaskQueueType::Nexus));
    let engine = w.engine.clone();
    let asked = tokio::spawn(async move {
        let destination = sempre_engine::nexus::Destination::Queue { namespace: NAMESPACE, task_queue: QUEUE };
        engine.dispatch_nexus(destination, Default::default(), None).await
    });
    let task = soon(one).await.unwrap().unwrap();
    assert!(!task.task_token.is_empty(), "the current version has it");
    w.settle().await;
    assert!(!two.is_finished() && !plain.is_finished());
    asked.abort();
}

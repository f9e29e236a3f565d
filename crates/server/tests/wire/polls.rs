//! Deadlines of polls.

use std::time::Duration;

use sempre_api::v1::{
    taskqueue::TaskQueue,
    workflowservice::{
        PollActivityTaskQueueRequest, PollNexusTaskQueueRequest, PollNexusTaskQueueResponse, PollWorkflowTaskQueueRequest,
        PollWorkflowTaskQueueResponse, ShutdownWorkerRequest, workflow_service_client::WorkflowServiceClient,
    },
};
use sempre_core::Span;
use sempre_server::ServerSettings;
use tonic::{Code, Request, transport::Endpoint};

use crate::support::{TestServer, until};

pub(crate) fn poll(timeout: Option<Duration>) -> Request<PollWorkflowTaskQueueRequest> {
    let mut request = Request::new(PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "queue".into(), ..TaskQueue::default() }),
        identity: "worker".into(),
        ..PollWorkflowTaskQueueRequest::default()
    });
    timeout.into_iter().for_each(|timeout| request.set_timeout(timeout));
    request
}

fn nexus_poll(timeout: Option<Duration>) -> Request<PollNexusTaskQueueRequest> {
    let mut request = Request::new(PollNexusTaskQueueRequest {
        namespace: "default".into(),
        task_queue: Some(TaskQueue { name: "queue".into(), ..TaskQueue::default() }),
        identity: "worker".into(),
        worker_instance_key: "key".into(),
        ..PollNexusTaskQueueRequest::default()
    });
    timeout.into_iter().for_each(|timeout| request.set_timeout(timeout));
    request
}

#[tokio::test]
async fn a_nexus_poll_waits_and_ends_with_its_deadline_its_worker_its_caller_or_the_server() {
    let server = TestServer::start().await;
    let pollers = || server.engine.stats().pollers.get();
    let beside = || {
        let mut client = server.workflow();
        tokio::spawn(async move { client.poll_nexus_task_queue(nexus_poll(Some(Duration::from_secs(60)))).await })
    };
    let status = server.workflow().poll_nexus_task_queue(nexus_poll(None)).await.expect_err("no deadline");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Context timeout is not set."));
    let answer = server.workflow().poll_nexus_task_queue(nexus_poll(Some(Duration::from_millis(2500)))).await;
    assert_eq!(answer.expect("in time").into_inner(), PollNexusTaskQueueResponse::default());

    let given_up = beside();
    until(|| pollers() == 1).await;
    given_up.abort();
    until(|| pollers() == 0).await;

    let waiting = beside();
    until(|| pollers() == 1).await;
    let mut other = nexus_poll(Some(Duration::from_secs(60)));
    other.get_mut().worker_instance_key = "other".into();
    let mut client = server.workflow();
    let other = tokio::spawn(async move { client.poll_nexus_task_queue(other).await });
    until(|| pollers() == 2).await;
    let goodbye = ShutdownWorkerRequest {
        namespace: "default".into(),
        task_queue: "queue".into(),
        worker_instance_key: "key".into(),
        ..Default::default()
    };
    server.workflow().shutdown_worker(goodbye).await.expect("taken");
    assert_eq!(waiting.await.expect("no panic").expect("answered").into_inner(), PollNexusTaskQueueResponse::default());
    assert!(!other.is_finished());

    let stopped = server.stop();
    assert_eq!(other.await.expect("no panic").expect("answered").into_inner(), PollNexusTaskQueueResponse::default());
    stopped.await.expect("no panic").expect("stops cleanly");
}

#[tokio::test]
async fn a_poll_needs_a_deadline_that_is_long_enough() {
    let server = TestServer::start().await;
    let status = server.workflow().poll_workflow_task_queue(poll(None)).await.expect_err("no deadline");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Context timeout is not set."));
    let short = poll(Some(Duration::from_millis(1500)));
    let status = server.workflow().poll_workflow_task_queue(short).await.expect_err("too short");
    assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "Context timeout is too short."));
    let request = PollActivityTaskQueueRequest { namespace: "default".into(), ..Default::default() };
    let status = server.workflow().poll_activity_task_queue(request).await.expect_err("no deadline");
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Context timeout is not set."));
}

#[tokio::test]
async fn an_empty_poll_answers_ok_before_its_deadline() {
    let server = TestServer::start().await;
    let answer = server.workflow().poll_workflow_task_queue(poll(Some(Duration::from_millis(2500)))).await;
    assert_eq!(answer.expect("in time").into_inner(), PollWorkflowTaskQueueResponse::default());
}

#[tokio::test]
async fn the_longest_wait_of_a_poll_is_a_setting() {
    let mut settings = ServerSettings::default();
    settings.engine.poll_wait = Span::millis(50);
    let server = TestServer::start_with(settings).await;
    let answer = server.workflow().poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await;
    assert_eq!(answer.expect("in time").into_inner(), PollWorkflowTaskQueueResponse::default());
}

#[tokio::test]
async fn a_namespace_has_only_so_many_polls_of_a_kind_open() {
    let mut settings = ServerSettings::default();
    settings.engine.poll_wait = Span::seconds(30);
    settings.engine.long_calls_max = 2;
    let server = TestServer::start_with(settings).await;
    let open = || {
        let mut client = server.workflow();
        tokio::spawn(async move { client.poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await })
    };
    let (first, _second) = (open(), open());
    until(|| server.engine.stats().pollers.get() == 2).await;
    let refused = server.workflow().poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await.expect_err("one too many");
    assert_eq!((refused.code(), refused.message()), (Code::ResourceExhausted, "namespace concurrent poller limit exceeded"));
    assert_eq!(refused.metadata().get("x-resource-exhausted-cause").expect("a cause"), "ConcurrentLimit");
    // Another kind has its own room, and a poll that has ended makes room.
    let nexus = server.workflow().poll_nexus_task_queue(nexus_poll(Some(Duration::from_millis(2100)))).await;
    assert!(nexus.is_ok());
    first.abort();
    until(|| server.engine.stats().pollers.get() == 1).await;
    let third = open();
    until(|| server.engine.stats().pollers.get() == 2).await;
    assert!(!third.is_finished());
}

#[tokio::test]
async fn a_poll_ends_when_its_caller_gives_it_up_or_is_gone() {
    let server = TestServer::start().await;
    let pollers = || server.engine.stats().pollers.get();

    let mut client = server.workflow();
    let given_up = tokio::spawn(async move { client.poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await });
    until(|| pollers() == 1).await;
    given_up.abort();
    until(|| pollers() == 0).await;

    // A connection of its own, broken off without a word: the task owns all that holds it.
    let url = server.url.clone();
    let gone = tokio::spawn(async move {
        let channel = Endpoint::new(url).expect("a URL").connect().await.expect("connects");
        let mut client = WorkflowServiceClient::new(channel);
        client.poll_workflow_task_queue(poll(Some(Duration::from_secs(60)))).await
    });
    until(|| pollers() == 1).await;
    gone.abort();
    until(|| pollers() == 0).await;
}

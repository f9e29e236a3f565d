//! TestService, and what a server for tests does with namespaces.
#![expect(clippy::disallowed_methods, reason = "a poll waits beside the test")]

use sempre_api::v1::{
    command::{Command, StartTimerCommandAttributes, command::Attributes},
    common::WorkflowType,
    enums::{CommandType, TaskQueueKind, TaskQueueType},
    taskqueue::TaskQueue,
    testservice::{test_service_client::TestServiceClient, *},
    workflowservice::*,
};
use sempre_core::{Span, Timestamp};
use sempre_server::{ServerSettings, TimeSkipping};
use tonic::{Code, Request, transport::Channel};

use crate::support::TestServer;

const DAY: Span = Span::seconds(24 * 3600);

async fn start(time_skipping: TimeSkipping) -> (TestServer, TestServiceClient<Channel>) {
    let settings = ServerSettings { time_skipping: Some(time_skipping), any_namespace: true, ..ServerSettings::default() };
    let server = TestServer::start_with(settings).await;
    let time = TestServiceClient::new(server.channel.clone());
    (server, time)
}

async fn now(time: &mut TestServiceClient<Channel>) -> Timestamp {
    let answer = time.get_current_time(()).await.expect("told").into_inner();
    Timestamp::from_api(&answer.time.expect("a time"))
}

fn sleep(span: Span) -> SleepRequest {
    SleepRequest { duration: Some(span.to_api()) }
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "queue".into(), kind: TaskQueueKind::Normal as i32, ..Default::default() })
}

async fn poll(server: &TestServer, namespace: &str) -> PollWorkflowTaskQueueResponse {
    let mut request = Request::new(PollWorkflowTaskQueueRequest {
        namespace: namespace.into(),
        task_queue: queue(),
        identity: "worker".into(),
        ..Default::default()
    });
    request.set_timeout(std::time::Duration::from_secs(30));
    server.workflow().poll_workflow_task_queue(request).await.expect("polled").into_inner()
}

/// Less than any test may take, and than anything here that is skipped.
fn near(span: Span, expected: Span) -> bool {
    (expected.0..expected.0 + Span::seconds(3600).0).contains(&span.0)
}

#[tokio::test]
async fn a_workflow_that_sleeps_a_year_goes_on_when_time_is_unlocked() {
    let (server, mut time) = start(TimeSkipping::Locked).await;
    let begin = now(&mut time).await;
    let namespace = "a name that nobody has registered";
    let request = StartWorkflowExecutionRequest {
        namespace: namespace.into(),
        workflow_id: "year".into(),
        workflow_type: Some(WorkflowType { name: "Year".into() }),
        task_queue: queue(),
        request_id: "r".into(),
        ..Default::default()
    };
    server.workflow().start_workflow_execution(request).await.expect("started");
    let task = poll(&server, namespace).await;
    let year = Span(DAY.0 * 365);
    let attributes = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(year.to_api()) };
    let command = Command {
        command_type: CommandType::StartTimer as i32,
        attributes: Some(Attributes::StartTimerCommandAttributes(attributes)),
        ..Default::default()
    };
    let completed = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands: vec![command], ..Default::default() };
    server.workflow().respond_workflow_task_completed(completed).await.expect("completed");
    assert!(near(now(&mut time).await.since(begin), Span::ZERO));
    time.unlock_time_skipping(UnlockTimeSkippingRequest {}).await.expect("unlocked");
    assert!(!poll(&server, namespace).await.task_token.is_empty());
    assert!(near(now(&mut time).await.since(begin), year));
    time.lock_time_skipping(LockTimeSkippingRequest {}).await.expect("locked");
}

#[tokio::test]
async fn sleeps_end_in_virtual_time() {
    let (_server, mut time) = start(TimeSkipping::Locked).await;
    let begin = now(&mut time).await;
    time.unlock_time_skipping_with_sleep(sleep(DAY)).await.expect("slept");
    let next = now(&mut time).await;
    assert!(near(next.since(begin), DAY));
    time.unlock_time_skipping(UnlockTimeSkippingRequest {}).await.expect("unlocked");
    time.sleep(sleep(DAY)).await.expect("slept");
    assert!(near(now(&mut time).await.since(next), DAY));
    let timestamp = Some((begin + Span(DAY.0 * 10)).to_api());
    time.sleep_until(SleepUntilRequest { timestamp }).await.expect("slept");
    assert!(near(now(&mut time).await.since(begin), Span(DAY.0 * 10)));
    time.sleep_until(SleepUntilRequest { timestamp }).await.expect("that time is there");
    for request in [SleepRequest { duration: Some(sempre_api::Duration { seconds: -1, nanos: 0 }) }] {
        let refused = time.sleep(request).await.expect_err("no time runs back");
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "invalid duration: negative duration"));
    }
}

#[tokio::test]
async fn an_unlock_too_many_is_refused() {
    let (_server, mut time) = start(TimeSkipping::Unlocked).await;
    let refused = time.unlock_time_skipping(UnlockTimeSkippingRequest {}).await.expect_err("not locked");
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "Unbalanced lock and unlock calls"));
    let refused = time.unlock_time_skipping_with_sleep(sleep(DAY)).await.expect_err("not locked");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    time.lock_time_skipping(LockTimeSkippingRequest {}).await.expect("locked");
    time.unlock_time_skipping(UnlockTimeSkippingRequest {}).await.expect("unlocked");
}

#[tokio::test]
async fn any_namespace_is_there_but_for_who_registers_one() {
    let (server, _) = start(TimeSkipping::Locked).await;
    let request = DescribeNamespaceRequest { namespace: "unheard-of".into(), ..Default::default() };
    let described = server.workflow().describe_namespace(request.clone()).await.expect("described").into_inner();
    let info = described.namespace_info.expect("info");
    assert_eq!((info.name.as_str(), info.state), ("unheard-of", 1));
    let again = server.workflow().describe_namespace(request).await.expect("described").into_inner();
    assert_eq!(again.namespace_info.expect("info").id, info.id);
    let request = RegisterNamespaceRequest {
        namespace: "mine".into(),
        workflow_execution_retention_period: Some(DAY.to_api()),
        ..Default::default()
    };
    server.workflow().register_namespace(request).await.expect("registered");
}

#[tokio::test]
async fn a_server_of_the_worlds_time_skips_nothing() {
    let server = TestServer::start().await;
    let mut time = TestServiceClient::new(server.channel.clone());
    let refused = time.get_current_time(()).await.expect_err("not virtual");
    assert_eq!((refused.code(), refused.message()), (Code::Unimplemented, "time cannot be skipped on this server"));
    let refused = time.lock_time_skipping(LockTimeSkippingRequest {}).await.expect_err("not virtual");
    assert_eq!(refused.code(), Code::Unimplemented);
}

/// A call of TestService for a namespace's clock.
fn of<T>(namespace: &str, body: T) -> Request<T> {
    let mut request = Request::new(body);
    request.metadata_mut().insert("temporal-namespace", namespace.parse().expect("metadata"));
    request
}

async fn now_of(time: &mut TestServiceClient<Channel>, namespace: &str) -> Timestamp {
    let answer = time.get_current_time(of(namespace, ())).await.expect("told").into_inner();
    Timestamp::from_api(&answer.time.expect("a time"))
}

/// Starts a workflow that sleeps for a year.
async fn sleeper(server: &TestServer, namespace: &str) {
    let request = StartWorkflowExecutionRequest {
        namespace: namespace.into(),
        workflow_id: "year".into(),
        workflow_type: Some(WorkflowType { name: "Year".into() }),
        task_queue: queue(),
        request_id: "r".into(),
        ..Default::default()
    };
    server.workflow().start_workflow_execution(request).await.expect("started");
    let attributes = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: Some(Span(DAY.0 * 365).to_api()) };
    let command = Command {
        command_type: CommandType::StartTimer as i32,
        attributes: Some(Attributes::StartTimerCommandAttributes(attributes)),
        ..Default::default()
    };
    let task_token = poll(server, namespace).await.task_token;
    // It names no namespace: the token tells the world.
    let completed = RespondWorkflowTaskCompletedRequest { task_token, commands: vec![command], ..Default::default() };
    server.workflow().respond_workflow_task_completed(completed).await.expect("completed");
}

async fn runs(server: &TestServer, namespace: &str) -> usize {
    let request = ListOpenWorkflowExecutionsRequest { namespace: namespace.into(), ..Default::default() };
    server.workflow().list_open_workflow_executions(request).await.expect("listed").into_inner().executions.len()
}

fn clock_per_namespace() -> ServerSettings {
    let time_skipping = Some(TimeSkipping::Locked);
    ServerSettings { time_skipping, any_namespace: true, clock_per_namespace: true, ..ServerSettings::default() }
}

#[tokio::test]
async fn namespaces_with_clocks_of_their_own_skip_time_beside_each_other() {
    let server = TestServer::start_with(clock_per_namespace()).await;
    let mut time = TestServiceClient::new(server.channel.clone());
    let begin = now(&mut time).await;
    for namespace in ["one", "other", "default"] {
        sleeper(&server, namespace).await;
        assert!(near(now_of(&mut time, namespace).await.since(begin), Span::ZERO), "{namespace}");
    }
    time.unlock_time_skipping(of("one", UnlockTimeSkippingRequest {})).await.expect("unlocked");
    assert!(!poll(&server, "one").await.task_token.is_empty());
    assert!(near(now_of(&mut time, "one").await.since(begin), Span(DAY.0 * 365)));
    for namespace in ["other", "default"] {
        assert!(near(now_of(&mut time, namespace).await.since(begin), Span::ZERO), "{namespace}");
    }
    time.unlock_time_skipping_with_sleep(of("other", sleep(Span(DAY.0 * 10)))).await.expect("slept");
    assert!(near(now_of(&mut time, "other").await.since(begin), Span(DAY.0 * 10)));
    // Without a name it is the clock of the server's own namespace.
    time.unlock_time_skipping_with_sleep(sleep(DAY)).await.expect("slept");
    assert!(near(now(&mut time).await.since(begin), DAY));
    assert!(near(now_of(&mut time, "default").await.since(begin), DAY));
    assert!(near(now_of(&mut time, "other").await.since(begin), Span(DAY.0 * 10)));
}

#[tokio::test]
async fn namespaces_with_clocks_of_their_own_share_nothing() {
    let server = TestServer::start_with(clock_per_namespace()).await;
    sleeper(&server, "one").await;
    assert_eq!((runs(&server, "one").await, runs(&server, "other").await, runs(&server, "default").await), (1, 0, 0));
    let described =
        |namespace: &str, id: &str| DescribeNamespaceRequest { namespace: namespace.into(), id: id.into(), ..Default::default() };
    let named = server.workflow().describe_namespace(described("one", "")).await.expect("described").into_inner();
    let id = named.namespace_info.expect("info").id;
    let by_id = server.workflow().describe_namespace(described("", &id)).await.expect("described").into_inner();
    assert_eq!(by_id.namespace_info.expect("info").name, "one");
    let long = "n".repeat(1001);
    let refused = server.workflow().describe_namespace(described(&long, "")).await.expect_err("too long");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "Namespace length exceeds limit."));
    let nameless = SignalWorkflowExecutionRequest::default();
    let refused = server.workflow().signal_workflow_execution(nameless).await.expect_err("no namespace");
    assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, "Namespace is empty."));
    let foreign = RespondWorkflowTaskCompletedRequest { task_token: "no token".into(), ..Default::default() };
    let refused = server.workflow().respond_workflow_task_completed(foreign).await.expect_err("no token");
    assert_eq!(refused.code(), Code::InvalidArgument);
    // Open polls of all worlds end when the server does.
    let mut client = server.workflow();
    let waited_for = Some(TaskQueue { name: "waited for".into(), ..Default::default() });
    let waiting = PollWorkflowTaskQueueRequest { namespace: "one".into(), task_queue: waited_for.clone(), ..Default::default() };
    let mut waiting = Request::new(waiting);
    waiting.set_timeout(std::time::Duration::from_secs(60));
    let waiting = tokio::spawn(async move { client.poll_workflow_task_queue(waiting).await });
    let task_queue_type = TaskQueueType::Workflow as i32;
    let asked = DescribeTaskQueueRequest { namespace: "one".into(), task_queue: waited_for, task_queue_type, ..Default::default() };
    while server.workflow().describe_task_queue(asked.clone()).await.expect("described").into_inner().pollers.is_empty() {}
    let stopped = server.stop();
    let answer = waiting.await.expect("no panic").expect("an answer, not a broken connection");
    assert_eq!(answer.into_inner(), PollWorkflowTaskQueueResponse::default());
    stopped.await.expect("no panic").expect("stops cleanly");
}

#[tokio::test]
async fn clocks_of_namespaces_want_virtual_time_in_memory_and_no_authentication() {
    let settings = ServerSettings { time_skipping: None, ..clock_per_namespace() };
    let refused = sempre_server::Service::open(&settings, std::sync::Arc::new(sempre_store::memory::MemoryStore::new())).await;
    let told = refused.err().map(|error| error.to_string());
    assert_eq!(told.as_deref(), Some("cannot prepare a clock for each namespace: time is that of the world"));
}

//! The line with which SDKs start Temporal's test server: `sempre PORT`.

use std::time::Duration;

use sempre_api::v1::{
    common::WorkflowType,
    taskqueue::TaskQueue,
    testservice::{UnlockTimeSkippingRequest, test_service_client::TestServiceClient},
    workflowservice::{PollWorkflowTaskQueueRequest, StartWorkflowExecutionRequest, workflow_service_client::WorkflowServiceClient},
};
use sempre_core::{Span, Timestamp};
use tonic::{
    Code, Request,
    transport::{Channel, Endpoint},
};

use crate::support::Running;

const YEAR: Span = Span::seconds(365 * 24 * 3600);

async fn now(time: &mut TestServiceClient<Channel>) -> Timestamp {
    let answer = time.get_current_time(()).await.expect("told").into_inner();
    Timestamp::from_api(&answer.time.expect("a time"))
}

/// A run whose first task is a year away.
async fn start(client: &mut WorkflowServiceClient<Channel>) {
    let request = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "later".into(),
        workflow_type: Some(WorkflowType { name: "Later".into() }),
        task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
        request_id: "r".into(),
        workflow_start_delay: Some(YEAR.to_api()),
        ..Default::default()
    };
    client.start_workflow_execution(request).await.expect("started");
}

#[tokio::test]
async fn a_test_server_skips_time_from_the_beginning_if_it_is_told_to() {
    for (line, skips) in [(&["0"][..], false), (&["0", "--enable-time-skipping"], true)] {
        let server = Running::start(line);
        let channel = Endpoint::new(format!("http://{}", server.address)).expect("a URL").connect().await.expect("it answers");
        let (mut time, mut client) = (TestServiceClient::new(channel.clone()), WorkflowServiceClient::new(channel));
        let unlocked = time.unlock_time_skipping(UnlockTimeSkippingRequest {}).await.map_err(|refused| refused.code());
        assert_eq!(unlocked.err(), skips.then_some(Code::FailedPrecondition), "{line:?}");
        // Both skip now: the one by itself, the other since it was asked to.
        let begin = now(&mut time).await;
        start(&mut client).await;
        let mut poll = Request::new(PollWorkflowTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
            ..Default::default()
        });
        poll.set_timeout(Duration::from_secs(60));
        let task = client.poll_workflow_task_queue(poll).await.expect("polled").into_inner();
        assert_eq!(task.workflow_execution.expect("a task").workflow_id, "later", "{line:?}");
        assert!(now(&mut time).await >= begin + YEAR, "{line:?}");
    }
}

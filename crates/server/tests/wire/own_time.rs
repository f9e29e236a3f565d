//! Single runs that skip time, on the wire: the poll for a fast-forward, and the refusal where the feature is off (spec 08 §6.2).
#![allow(deprecated, reason = "old fields that clients send")]
#![expect(clippy::disallowed_methods, reason = "a poll waits beside the test")]

use sempre_api::{
    Duration, FieldMask,
    v1::{
        batch::{BatchOperationReset, BatchOperationUpdateWorkflowExecutionOptions},
        command::{Command, StartTimerCommandAttributes, command::Attributes},
        common::{FastForwardConfig, TimeSkippingConfig, WorkflowExecution, WorkflowType},
        enums::{CommandType, FastForwardPollingResult as Polled},
        taskqueue::TaskQueue,
        workflow::{
            PostResetOperation, WorkflowExecutionOptions,
            post_reset_operation::{UpdateWorkflowOptions, Variant},
        },
        workflowservice::{start_batch_operation_request::Operation, *},
    },
};
use sempre_core::Timestamp;
use sempre_server::ServerSettings;
use tonic::{Code, Request, Response, Status};

use crate::support::{TestServer, read};

const HOUR: i64 = 3600;

fn hours(hours: i64) -> Option<Duration> {
    Some(Duration { seconds: hours * HOUR, nanos: 0 })
}

fn on() -> TimeSkippingConfig {
    TimeSkippingConfig { enabled: true, ..Default::default() }
}

fn ahead(id: &str, duration: Option<Duration>) -> TimeSkippingConfig {
    TimeSkippingConfig { fast_forward_config: Some(FastForwardConfig { id: id.into(), duration }), ..on() }
}

fn run() -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() })
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: "queue".into(), ..Default::default() })
}

fn start(time_skipping_config: Option<TimeSkippingConfig>) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "type".into() }),
        task_queue: queue(),
        request_id: "start".into(),
        time_skipping_config,
        ..Default::default()
    }
}

fn with_signal(workflow_id: &str, config: TimeSkippingConfig) -> SignalWithStartWorkflowExecutionRequest {
    SignalWithStartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: workflow_id.into(),
        workflow_type: Some(WorkflowType { name: "type".into() }),
        task_queue: queue(),
        request_id: "with signal".into(),
        signal_name: "s".into(),
        time_skipping_config: Some(config),
        ..Default::default()
    }
}

fn options(config: TimeSkippingConfig) -> (Option<WorkflowExecutionOptions>, Option<FieldMask>) {
    let options = WorkflowExecutionOptions { time_skipping_config: Some(config), ..Default::default() };
    (Some(options), Some(FieldMask { paths: vec!["time_skipping_config".into()] }))
}

fn update(config: TimeSkippingConfig) -> UpdateWorkflowExecutionOptionsRequest {
    let (workflow_execution_options, update_mask) = options(config);
    UpdateWorkflowExecutionOptionsRequest {
        namespace: "default".into(),
        workflow_execution: run(),
        workflow_execution_options,
        update_mask,
        ..Default::default()
    }
}

fn poll(id: &str) -> PollWorkflowExecutionTimeSkippingRequest {
    PollWorkflowExecutionTimeSkippingRequest { namespace: "default".into(), workflow_execution: run(), fast_forward_id: id.into() }
}

/// Takes the next workflow task, and starts a timer.
async fn work(server: &TestServer, timer: Option<Duration>) {
    let mut request = Request::new(PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        identity: "worker".into(),
        ..Default::default()
    });
    request.set_timeout(std::time::Duration::from_secs(30));
    let task = server.workflow().poll_workflow_task_queue(request).await.expect("polled").into_inner();
    assert!(!task.task_token.is_empty(), "there is a task");
    let attributes = StartTimerCommandAttributes { timer_id: "t".into(), start_to_fire_timeout: timer };
    let command = Command {
        command_type: CommandType::StartTimer as i32,
        attributes: Some(Attributes::StartTimerCommandAttributes(attributes)),
        ..Default::default()
    };
    let commands = timer.map(|_| command).into_iter().collect();
    let completed = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    server.workflow().respond_workflow_task_completed(completed).await.expect("completed");
}

#[tokio::test]
async fn a_poll_waits_for_the_end_of_a_fast_forward() {
    let mut settings = ServerSettings::default();
    settings.engine.limits.time_skipping = true;
    let server = TestServer::start_with(settings).await;
    let mut client = server.workflow();
    client.start_workflow_execution(start(Some(ahead("f", hours(2))))).await.expect("started");
    let mut waiter = server.workflow();
    let waiting = tokio::spawn(async move { waiter.poll_workflow_execution_time_skipping(poll("f")).await });
    work(&server, hours(1)).await;
    work(&server, None).await;
    let answer = waiting.await.expect("no panic").expect("polled").into_inner();
    assert_eq!((answer.fast_forward_polling_result(), answer.failed_reason.as_str()), (Polled::FastForwardCompleted, ""));

    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: run() };
    let described = client.describe_workflow_execution(describe).await.expect("described").into_inner();
    let begin = Timestamp::from_api(&described.workflow_execution_info.and_then(|info| info.start_time).expect("a start"));
    let info = described.workflow_extended_info.and_then(|info| info.time_skipping_info).expect("a clock of its own");
    assert_eq!(answer.fast_forward_info, info.fast_forward_info);
    let ended = answer.fast_forward_info.expect("told");
    let target = Timestamp::from_api(&ended.target_time.expect("a target"));
    assert_eq!((ended.has_completed, target.since(begin).to_api().seconds), (true, 2 * HOUR));
    assert_eq!((info.effective_config.expect("kept").enabled, info.current_session_skip_count), (false, 2));

    let answer = client.poll_workflow_execution_time_skipping(poll("other")).await.expect("polled").into_inner();
    let reason = "the requested fast_forward_id does not match the execution's current fast-forward";
    assert_eq!((answer.fast_forward_polling_result(), answer.failed_reason.as_str()), (Polled::FastForwardFailed, reason));
    let (code, message, _) = read(&client.poll_workflow_execution_time_skipping(poll("")).await.expect_err("no name"));
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "Time skipping config invalid: fast_forward_id must be set"));
    let nowhere = PollWorkflowExecutionTimeSkippingRequest {
        workflow_execution: Some(WorkflowExecution { workflow_id: "nowhere".into(), ..Default::default() }),
        ..poll("f")
    };
    let (code, ..) = read(&client.poll_workflow_execution_time_skipping(nowhere).await.expect_err("no run"));
    assert_eq!(code, Code::NotFound);
    // The answer to whoever sets options tells the run's time, not the world's.
    let answer = client.update_workflow_execution_options(update(on())).await.expect("set").into_inner();
    assert!(Timestamp::from_api(&answer.update_time.expect("a time")) >= target);
    let wrong = update(ahead("f", Some(Duration { seconds: -1, nanos: 0 })));
    let (code, message, _) = read(&client.update_workflow_execution_options(wrong).await.expect_err("backwards"));
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "Time skipping config invalid: fast_forward duration must be positive"));
}

#[tokio::test]
async fn a_signal_with_start_brings_it_to_the_run_that_it_starts() {
    let mut settings = ServerSettings::default();
    settings.engine.limits.time_skipping = true;
    let server = TestServer::start_with(settings).await;
    let mut client = server.workflow();
    client.signal_with_start_workflow_execution(with_signal("w", ahead("f", hours(2)))).await.expect("started");
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: run() };
    let described = client.describe_workflow_execution(describe).await.expect("described").into_inner();
    let info = described.workflow_extended_info.and_then(|info| info.time_skipping_info).expect("a clock of its own");
    assert_eq!(info.fast_forward_info.expect("told").fast_forward_id, "f");
}

#[tokio::test]
async fn every_call_with_a_configuration_is_refused_where_it_is_off() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    client.start_workflow_execution(start(None)).await.expect("started");
    fn refused<T>(answer: Result<Response<T>, Status>) {
        let (code, message, _) = read(&answer.map(drop).expect_err("off"));
        assert_eq!((code, message.as_str()), (Code::Unimplemented, "The Time-Skipping feature is not enabled for namespace."));
    }
    refused(client.start_workflow_execution(start(Some(on()))).await);
    let with_signal = with_signal("w", TimeSkippingConfig::default());
    refused(client.signal_with_start_workflow_execution(with_signal).await);
    refused(client.update_workflow_execution_options(update(on())).await);
    let (workflow_execution_options, update_mask) = options(on());
    let after = UpdateWorkflowOptions { workflow_execution_options: workflow_execution_options.clone(), update_mask: update_mask.clone() };
    let after = vec![PostResetOperation { variant: Some(Variant::UpdateWorkflowOptions(after)) }];
    let reset = ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: run(),
        workflow_task_finish_event_id: 3,
        request_id: "reset".into(),
        post_reset_operations: after.clone(),
        ..Default::default()
    };
    refused(client.reset_workflow_execution(reset).await);
    let batches = [
        Operation::UpdateWorkflowOptionsOperation(BatchOperationUpdateWorkflowExecutionOptions {
            workflow_execution_options,
            update_mask,
            ..Default::default()
        }),
        Operation::ResetOperation(BatchOperationReset { post_reset_operations: after, reset_type: 1, ..Default::default() }),
    ];
    for operation in batches {
        let batch = StartBatchOperationRequest {
            namespace: "default".into(),
            job_id: "job".into(),
            reason: "reason".into(),
            executions: run().into_iter().collect(),
            operation: Some(operation),
            ..Default::default()
        };
        refused(client.start_batch_operation(batch).await);
    }
    refused(client.poll_workflow_execution_time_skipping(poll("f")).await);
    // Without a configuration all of them are what they were.
    let described = client
        .describe_workflow_execution(DescribeWorkflowExecutionRequest { namespace: "default".into(), execution: run() })
        .await
        .expect("described")
        .into_inner();
    assert_eq!(described.workflow_extended_info.expect("told").time_skipping_info, None);
}

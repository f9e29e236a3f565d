//! Batch operations on the wire: texts and codes (spec 08 §4.1), and one job from start to end.

#![allow(deprecated, reason = "old fields that clients send")]

use sempre_api::v1::{
    activity::ActivityOptions,
    batch::*,
    common::{Execution, ResetOptions, WorkflowExecution, WorkflowType},
    enums::{BatchOperationState, BatchOperationType, ExecutionType},
    taskqueue::TaskQueue,
    workflow::WorkflowExecutionOptions,
    workflowservice::{start_batch_operation_request::Operation, *},
};
use tonic::Code;

use crate::support::{TestServer, read};

fn terminate() -> Operation {
    Operation::TerminationOperation(BatchOperationTermination::default())
}

fn start(operation: Option<Operation>) -> StartBatchOperationRequest {
    StartBatchOperationRequest {
        namespace: "default".into(),
        job_id: "job".into(),
        reason: "reason".into(),
        executions: vec![WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }],
        operation,
        ..Default::default()
    }
}

fn with(operation: Operation) -> StartBatchOperationRequest {
    start(Some(operation))
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_the_words_of_the_reference() {
    let server = TestServer::start().await;
    const REQUIRED: &str =
        "must provide required parameters: BatchType,Reason,Namespace, AND one of (Query OR Executions OR TargetExecutions)";
    const WHICH: &str = "Either activity type must be set, or match all should be set to true";
    let target = |kind: ExecutionType| Execution { r#type: kind as i32, business_id: "w".into(), run_id: String::new() };
    let reset = |o: BatchOperationReset| with(Operation::ResetOperation(o));
    let unpause =
        |activity| with(Operation::UnpauseActivitiesOperation(BatchOperationUnpauseActivities { activity, ..Default::default() }));
    let reset_activities =
        |activity| with(Operation::ResetActivitiesOperation(BatchOperationResetActivities { activity, ..Default::default() }));
    let update = |o: BatchOperationUpdateActivityOptions| with(Operation::UpdateActivityOptionsOperation(o));
    let options = |o: BatchOperationUpdateWorkflowExecutionOptions| with(Operation::UpdateWorkflowOptionsOperation(o));
    use batch_operation_reset_activities::Activity as ResetWhich;
    use batch_operation_unpause_activities::Activity as UnpauseWhich;
    use batch_operation_update_activity_options::Activity as UpdateWhich;
    let query = |query: &str| StartBatchOperationRequest { executions: vec![], visibility_query: query.into(), ..with(terminate()) };
    let cases = [
        (start(None), REQUIRED),
        (StartBatchOperationRequest { reason: String::new(), ..with(terminate()) }, REQUIRED),
        (StartBatchOperationRequest { executions: vec![], ..with(terminate()) }, REQUIRED),
        (StartBatchOperationRequest { job_id: String::new(), ..with(terminate()) }, "JobId is not set on request."),
        (
            StartBatchOperationRequest { visibility_query: "WorkflowId = 'w'".into(), ..with(terminate()) },
            "visibility query, executions, and target executions are mutually exclusive",
        ),
        (
            StartBatchOperationRequest {
                executions: vec![],
                target_executions: vec![target(ExecutionType::Workflow), target(ExecutionType::Activity)],
                ..with(terminate())
            },
            "target_executions[1] has type Activity, but operation *workflowservice.StartBatchOperationRequest_TerminationOperation requires Workflow",
        ),
        (with(Operation::SignalOperation(BatchOperationSignal::default())), "must provide signal name"),
        (options(BatchOperationUpdateWorkflowExecutionOptions::default()), "must provide UpdateOptions"),
        (
            options(BatchOperationUpdateWorkflowExecutionOptions {
                workflow_execution_options: Some(WorkflowExecutionOptions::default()),
                ..Default::default()
            }),
            "must provide UpdateMask",
        ),
        (reset(BatchOperationReset { options: Some(ResetOptions::default()), ..Default::default() }), "batch reset missing target"),
        (reset(BatchOperationReset::default()), "unknown batch reset type Unspecified"),
        (reset(BatchOperationReset { reset_type: 9, ..Default::default() }), "unknown batch reset type 9"),
        (unpause(None), "activity filter must be set"),
        (unpause(Some(UnpauseWhich::Type(String::new()))), WHICH),
        (unpause(Some(UnpauseWhich::MatchAll(false))), WHICH),
        (reset_activities(None), "must provide ActivityType or MatchAll"),
        (reset_activities(Some(ResetWhich::MatchAll(false))), WHICH),
        (
            update(BatchOperationUpdateActivityOptions {
                activity_options: Some(ActivityOptions::default()),
                restore_original: true,
                ..Default::default()
            }),
            "cannot set both activity options and restore original",
        ),
        (
            update(BatchOperationUpdateActivityOptions { activity: Some(UpdateWhich::MatchAll(true)), ..Default::default() }),
            "Either activity type must be set, or restore original should be set to true",
        ),
        (
            update(BatchOperationUpdateActivityOptions { restore_original: true, ..Default::default() }),
            "must provide ActivityType or MatchAll",
        ),
        (
            with(Operation::CancelActivitiesOperation(BatchOperationCancelActivities::default())),
            "executions are workflows, but operation *workflowservice.StartBatchOperationRequest_CancelActivitiesOperation requires Activity: use target_executions",
        ),
        (
            StartBatchOperationRequest { executions: vec![WorkflowExecution::default(); 1001], ..with(terminate()) },
            "Workflow executions count exceeded.",
        ),
        (query("WorkflowId === 'w'"), "invalid visibility query: syntax error at position 12 near '== 'w''"),
        (query("NoSuch = 1"), "invalid visibility query: invalid expression: column name 'NoSuch' is not a valid search attribute"),
        (query("WorkflowId = 'w' LIMIT 1"), "invalid visibility query: operation is not supported: 'LIMIT' clause"),
    ];
    let mut client = server.workflow();
    for (request, text) in cases {
        let (code, message, _) = read(&client.start_batch_operation(request).await.expect_err("refused"));
        assert_eq!((code, message.as_str()), (Code::InvalidArgument, text));
    }
    let nowhere = StartBatchOperationRequest { namespace: "nowhere".into(), ..with(terminate()) };
    let (code, message, detail) = read(&client.start_batch_operation(nowhere).await.expect_err("unknown"));
    assert_eq!((code, message.as_str()), (Code::NotFound, "Namespace nowhere is not found."));
    assert!(detail.is_some());
}

#[tokio::test]
async fn a_job_is_started_described_listed_and_over() {
    let server = TestServer::start().await;
    let mut client = server.workflow();
    for workflow_id in ["w", "v"] {
        let request = StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: workflow_id.into(),
            workflow_type: Some(WorkflowType { name: "type".into() }),
            task_queue: Some(TaskQueue { name: "queue".into(), ..Default::default() }),
            request_id: workflow_id.into(),
            ..Default::default()
        };
        client.start_workflow_execution(request).await.expect("starts");
    }
    client.start_batch_operation(with(terminate())).await.expect("starts");
    let describe = || DescribeBatchOperationRequest { namespace: "default".into(), job_id: "job".into() };
    let described = loop {
        let described = client.describe_batch_operation(describe()).await.expect("known").into_inner();
        if described.state() != BatchOperationState::Running {
            break described;
        }
    };
    assert_eq!(described.state(), BatchOperationState::Completed);
    assert_eq!((described.total_operation_count, described.complete_operation_count, described.failure_operation_count), (1, 1, 0));
    assert_eq!(described.operation_type(), BatchOperationType::TerminateWorkflow);
    let list = ListBatchOperationsRequest { namespace: "default".into(), ..Default::default() };
    let listed = client.list_batch_operations(list).await.expect("listed").into_inner().operation_info;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].job_id.as_str(), listed[0].state()), ("job", BatchOperationState::Completed));

    let (code, ..) = read(&client.start_batch_operation(with(terminate())).await.expect_err("known"));
    assert_eq!(code, Code::AlreadyExists);
    let stop = |job_id: &str, reason: &str| StopBatchOperationRequest {
        namespace: "default".into(),
        job_id: job_id.into(),
        reason: reason.into(),
        identity: String::new(),
    };
    for (request, code, text) in [
        (stop("", "r"), Code::InvalidArgument, "JobId is not set on request."),
        (stop("job", ""), Code::InvalidArgument, "Reason is not set on request."),
        (stop("job", "r"), Code::NotFound, "workflow execution already completed"),
        (stop("other", "r"), Code::NotFound, "workflow not found for ID: other"),
    ] {
        let (found, message, _) = read(&client.stop_batch_operation(request).await.expect_err("refused"));
        assert_eq!((found, message.as_str()), (code, text));
    }
    let unnamed = DescribeBatchOperationRequest { namespace: "default".into(), job_id: String::new() };
    let (code, message, _) = read(&client.describe_batch_operation(unnamed).await.expect_err("refused"));
    assert_eq!((code, message.as_str()), (Code::InvalidArgument, "JobId is not set on request."));
}

//! Queries, updates and several operations at once that are refused.

use sempre_api::v1::{
    common::WorkflowExecution,
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    query::WorkflowQuery,
    update::{self, UpdateRef, WaitPolicy},
    workflowservice::{
        execute_multi_operation_request::{Operation, operation::Operation as Op},
        *,
    },
};
use tonic::{Request, Status};

use super::{RUN, ask, long, tokens};
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene, payloads, secs},
};

scenarios!("refusals": queries, query_answers, updates, update_polls, update_refs, multi_operations);

async fn queries(s: Scene) -> Done {
    s.start("a").await?;
    s.query("a", |r| r.query = None).await.ok();
    s.query("a", |r| r.query = Some(WorkflowQuery::default())).await.ok();
    s.query("a", |r| r.query = Some(WorkflowQuery { query_type: long(), ..Default::default() })).await.ok();
    s.query("a", |r| {
        r.query = Some(WorkflowQuery { query_type: "q".into(), query_args: payloads(&"x".repeat(2 << 20)), ..Default::default() })
    })
    .await
    .ok();
    s.terminate("a").await?;
    Ok(())
}

async fn query_answers(s: Scene) -> Done {
    for (what, token) in tokens() {
        ask!(
            s,
            what,
            respond_query_task_completed,
            RespondQueryTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: token, ..Default::default() }
        );
    }
    Ok(())
}

async fn updates(s: Scene) -> Done {
    s.start("a").await?;
    let change = |change: fn(&mut update::Request)| {
        let mut request = s.an_update();
        change(request.request.get_or_insert_default());
        request
    };
    ask!(s, "no request", update_workflow_execution, UpdateWorkflowExecutionRequest { request: None, ..s.an_update() });
    ask!(s, "no meta", update_workflow_execution, change(|r| r.meta = None));
    ask!(s, "no input", update_workflow_execution, change(|r| r.input = None));
    ask!(s, "no name", update_workflow_execution, change(|r| r.input = Some(update::Input::default())));
    ask!(s, "long name", update_workflow_execution, change(|r| r.input = Some(update::Input { name: long(), ..Default::default() })));
    ask!(s, "long id", update_workflow_execution, change(|r| r.meta = Some(update::Meta { update_id: long(), ..Default::default() })));
    let stage = |stage: i32| UpdateWorkflowExecutionRequest { wait_policy: Some(WaitPolicy { lifecycle_stage: stage }), ..s.an_update() };
    ask!(s, "admitted", update_workflow_execution, stage(Stage::Admitted as i32));
    ask!(
        s,
        "other chain",
        update_workflow_execution,
        UpdateWorkflowExecutionRequest { first_execution_run_id: RUN.into(), ..s.an_update() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn update_polls(s: Scene) -> Done {
    s.start("a").await?;
    let poll = |update_ref, stage: Stage| PollWorkflowExecutionUpdateRequest {
        namespace: NAMESPACE.into(),
        update_ref,
        identity: "client".into(),
        wait_policy: Some(WaitPolicy { lifecycle_stage: stage as i32 }),
    };
    let of = |id: &str| Some(UpdateRef { workflow_execution: Some(s.execution("a")), update_id: id.into() });
    ask!(s, "no reference", poll_workflow_execution_update, poll(None, Stage::Completed));
    ask!(s, "unknown update", poll_workflow_execution_update, poll(of("nobody"), Stage::Completed));
    ask!(s, "unknown update, no wait", poll_workflow_execution_update, poll(of("nobody"), Stage::Unspecified));
    ask!(s, "admitted", poll_workflow_execution_update, poll(of("nobody"), Stage::Admitted));
    ask!(
        s,
        "no policy",
        poll_workflow_execution_update,
        PollWorkflowExecutionUpdateRequest { wait_policy: None, ..poll(of("nobody"), Stage::Completed) }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn update_refs(s: Scene) -> Done {
    s.start("a").await?;
    let poll = |execution, id: &str| PollWorkflowExecutionUpdateRequest {
        namespace: NAMESPACE.into(),
        update_ref: Some(UpdateRef { workflow_execution: execution, update_id: id.into() }),
        ..Default::default()
    };
    ask!(s, "no update id", poll_workflow_execution_update, poll(Some(s.execution("a")), ""));
    ask!(s, "long update id", poll_workflow_execution_update, poll(Some(s.execution("a")), &long()));
    s.terminate("a").await?;
    Ok(())
}

async fn multi_operations(s: Scene) -> Done {
    let start = || s.start_request("a");
    let with = |change: fn(&mut StartWorkflowExecutionRequest, &mut UpdateWorkflowExecutionRequest)| {
        let (mut start, mut update) = (start(), s.an_update());
        start.set_workflow_id_conflict_policy(sempre_api::v1::enums::WorkflowIdConflictPolicy::Fail);
        change(&mut start, &mut update);
        vec![Op::StartWorkflow(start), Op::UpdateWorkflow(update)]
    };
    let cases = vec![
        ("none", Vec::new()),
        ("start alone", vec![Op::StartWorkflow(start())]),
        ("two starts", vec![Op::StartWorkflow(start()), Op::StartWorkflow(start())]),
        ("update first", vec![Op::UpdateWorkflow(s.an_update()), Op::StartWorkflow(start())]),
        (
            "other workflow",
            with(|_, u| u.workflow_execution = Some(WorkflowExecution { workflow_id: "other".into(), run_id: String::new() })),
        ),
        ("run id", with(|_, u| u.workflow_execution.get_or_insert_default().run_id = RUN.into())),
        ("first run", with(|_, u| u.first_execution_run_id = RUN.into())),
        ("cron", with(|s, _| s.cron_schedule = "* * * * *".into())),
        ("eager", with(|s, _| s.request_eager_execution = true)),
        ("delay", with(|s, _| s.workflow_start_delay = secs(1))),
        ("other namespace", with(|s, _| s.namespace = "other".into())),
        ("update's other namespace", with(|_, u| u.namespace = "other".into())),
        ("no workflow id", with(|s, _| s.workflow_id.clear())),
        ("no workflow type", with(|s, _| s.workflow_type = None)),
        ("no queue", with(|s, _| s.task_queue = None)),
        ("no conflict policy", with(|s, _| s.workflow_id_conflict_policy = 0)),
        ("bad retry", with(|s, _| s.retry_policy = retry(-1))),
        ("no update", with(|_, u| u.request = None)),
        ("no update name", with(|_, u| u.request.get_or_insert_default().input = Some(update::Input::default()))),
        ("no execution", with(|_, u| u.workflow_execution = None)),
        ("admitted", with(|_, u| u.wait_policy = Some(WaitPolicy { lifecycle_stage: Stage::Admitted as i32 }))),
    ];
    for (what, operations) in cases {
        let operations = operations.into_iter().map(|operation| Operation { operation: Some(operation) }).collect();
        let request = ExecuteMultiOperationRequest { namespace: NAMESPACE.into(), operations, ..Default::default() };
        let answer = s.client().execute_multi_operation(request).await;
        if let Err(status) = &answer {
            s.note(format!("{what}: {}", inner(status)));
        }
        let answer = answer.map(|_| tonic::Response::new("it went through"));
        s.record(what, answer).ok();
    }
    s.terminate("a").await.ok();
    let empty = ExecuteMultiOperationRequest {
        namespace: NAMESPACE.into(),
        operations: vec![Operation::default(), Operation::default()],
        ..Default::default()
    };
    ask!(s, "empty operations", execute_multi_operation, empty);
    Ok(())
}

/// The statuses of the operations.
fn inner(status: &Status) -> String {
    use prost::Message;
    let details = sempre_api::google::rpc::Status::decode(status.details()).unwrap_or_default().details;
    let Some(detail) = details.first() else { return "no operations".into() };
    let failure = sempre_api::v1::errordetails::MultiOperationExecutionFailure::decode(detail.value.as_slice()).unwrap_or_default();
    let shown = failure.statuses.iter().map(|s| format!("{} {}", s.code, s.message));
    shown.collect::<Vec<_>>().join("; ")
}

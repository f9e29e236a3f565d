//! What every call refuses: runs that are not named, not there or closed, namespaces, names that are too long.

use sempre_api::v1::{
    common::WorkflowExecution,
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    query::WorkflowQuery,
    taskqueue::TaskQueue,
    update::{self, UpdateRef, WaitPolicy},
    workflowservice::*,
};
use tonic::Request;

use super::{RUN, ask, long};
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene},
};

scenarios!("refusals": executions, closed_runs, namespaces, names, identities);

/// Names of what is asked, with the execution that it is asked of.
type Cases = Vec<(&'static str, Option<WorkflowExecution>)>;

/// Every call that names a workflow, for each of these.
async fn each_call(s: &Scene, cases: Cases) {
    let namespace = || NAMESPACE.to_owned();
    for (what, execution) in cases {
        let e = || execution.clone();
        let (workflow_id, run_id) = e().map_or_else(Default::default, |e| (e.workflow_id, e.run_id));
        let signal = SignalWorkflowExecutionRequest {
            namespace: namespace(),
            workflow_execution: e(),
            signal_name: "s".into(),
            ..Default::default()
        };
        ask!(s, what, signal_workflow_execution, signal);
        ask!(
            s,
            what,
            request_cancel_workflow_execution,
            RequestCancelWorkflowExecutionRequest { namespace: namespace(), workflow_execution: e(), ..Default::default() }
        );
        ask!(
            s,
            what,
            terminate_workflow_execution,
            TerminateWorkflowExecutionRequest { namespace: namespace(), workflow_execution: e(), ..Default::default() }
        );
        ask!(s, what, delete_workflow_execution, DeleteWorkflowExecutionRequest { namespace: namespace(), workflow_execution: e() });
        // The reference's answer for an unknown run hangs on what its caches hold; `clients.history_refused` asks a fresh one.
        if what != "unknown run" {
            ask!(
                s,
                what,
                get_workflow_execution_history,
                GetWorkflowExecutionHistoryRequest { namespace: namespace(), execution: e(), ..Default::default() }
            );
        }
        ask!(
            s,
            what,
            get_workflow_execution_history_reverse,
            GetWorkflowExecutionHistoryReverseRequest { namespace: namespace(), execution: e(), ..Default::default() }
        );
        ask!(s, what, describe_workflow_execution, DescribeWorkflowExecutionRequest { namespace: namespace(), execution: e() });
        ask!(s, what, reset_sticky_task_queue, ResetStickyTaskQueueRequest { namespace: namespace(), execution: e() });
        let query = WorkflowQuery { query_type: "q".into(), ..Default::default() };
        ask!(
            s,
            what,
            query_workflow,
            QueryWorkflowRequest { namespace: namespace(), execution: e(), query: Some(query), ..Default::default() }
        );
        ask!(
            s,
            what,
            reset_workflow_execution,
            ResetWorkflowExecutionRequest {
                namespace: namespace(),
                workflow_execution: e(),
                workflow_task_finish_event_id: 4,
                request_id: "r".into(),
                ..Default::default()
            }
        );
        ask!(s, what, update_workflow_execution, UpdateWorkflowExecutionRequest { workflow_execution: e(), ..s.an_update() });
        let update_ref = Some(UpdateRef { workflow_execution: e(), update_id: "u".into() });
        ask!(
            s,
            what,
            poll_workflow_execution_update,
            PollWorkflowExecutionUpdateRequest { namespace: namespace(), update_ref, ..Default::default() }
        );
        ask!(
            s,
            what,
            update_workflow_execution_options,
            UpdateWorkflowExecutionOptionsRequest { namespace: namespace(), workflow_execution: e(), ..Default::default() }
        );
        let pause = PauseWorkflowExecutionRequest {
            namespace: namespace(),
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
            ..Default::default()
        };
        ask!(s, what, pause_workflow_execution, pause);
        let unpause = UnpauseWorkflowExecutionRequest {
            namespace: namespace(),
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
            ..Default::default()
        };
        ask!(s, what, unpause_workflow_execution, unpause);
        each_activity_call(s, what, &e, &workflow_id, &run_id).await;
    }
}

async fn each_activity_call(s: &Scene, what: &str, e: &(dyn Fn() -> Option<WorkflowExecution> + Sync), workflow_id: &str, run_id: &str) {
    let namespace = || NAMESPACE.to_owned();
    let (workflow_id, run_id) = (workflow_id.to_owned(), run_id.to_owned());
    let activity = Some(pause_activity_request::Activity::Id("x".into()));
    ask!(s, what, pause_activity, PauseActivityRequest { namespace: namespace(), execution: e(), activity, ..Default::default() });
    let activity = Some(unpause_activity_request::Activity::Id("x".into()));
    ask!(s, what, unpause_activity, UnpauseActivityRequest { namespace: namespace(), execution: e(), activity, ..Default::default() });
    let activity = Some(reset_activity_request::Activity::Id("x".into()));
    ask!(s, what, reset_activity, ResetActivityRequest { namespace: namespace(), execution: e(), activity, ..Default::default() });
    let activity = Some(update_activity_options_request::Activity::Id("x".into()));
    let options =
        UpdateActivityOptionsRequest { namespace: namespace(), execution: e(), activity, restore_original: true, ..Default::default() };
    ask!(s, what, update_activity_options, options);
    let by_id = RecordActivityTaskHeartbeatByIdRequest {
        namespace: namespace(),
        workflow_id: workflow_id.clone(),
        run_id: run_id.clone(),
        activity_id: "x".into(),
        ..Default::default()
    };
    ask!(s, what, record_activity_task_heartbeat_by_id, by_id);
    let by_id = RespondActivityTaskCompletedByIdRequest {
        namespace: namespace(),
        workflow_id: workflow_id.clone(),
        run_id: run_id.clone(),
        activity_id: "x".into(),
        ..Default::default()
    };
    ask!(s, what, respond_activity_task_completed_by_id, by_id);
    let by_id = RespondActivityTaskFailedByIdRequest {
        namespace: namespace(),
        workflow_id: workflow_id.clone(),
        run_id: run_id.clone(),
        activity_id: "x".into(),
        ..Default::default()
    };
    ask!(s, what, respond_activity_task_failed_by_id, by_id);
    let by_id = RespondActivityTaskCanceledByIdRequest {
        namespace: namespace(),
        workflow_id,
        run_id,
        activity_id: "x".into(),
        ..Default::default()
    };
    ask!(s, what, respond_activity_task_canceled_by_id, by_id);
}

impl Scene {
    /// An update that only lacks a run.
    pub(super) fn an_update(&self) -> UpdateWorkflowExecutionRequest {
        UpdateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(self.execution("a")),
            wait_policy: Some(WaitPolicy { lifecycle_stage: Stage::Accepted as i32 }),
            request: Some(update::Request {
                meta: Some(update::Meta { update_id: "u".into(), identity: "client".into() }),
                input: Some(update::Input { name: "handler".into(), args: None, header: None }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

async fn executions(s: Scene) -> Done {
    s.start("a").await?;
    let a = |change: fn(&mut WorkflowExecution)| {
        let mut execution = s.execution("a");
        change(&mut execution);
        Some(execution)
    };
    each_call(
        &s,
        vec![
            ("none", None),
            ("no id", Some(WorkflowExecution::default())),
            ("bad run", a(|e| e.run_id = "no-uuid".into())),
            ("unknown run", a(|e| e.run_id = RUN.into())),
            ("unknown", Some(s.execution("nobody"))),
            ("long id", a(|e| e.workflow_id = "i".repeat(1001))),
        ],
    )
    .await;
    s.terminate("a").await?;
    Ok(())
}

async fn closed_runs(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    let execution = Some(s.execution("a"));
    let namespace = || NAMESPACE.to_owned();
    ask!(
        s,
        "closed",
        signal_workflow_execution,
        SignalWorkflowExecutionRequest {
            namespace: namespace(),
            workflow_execution: execution.clone(),
            signal_name: "s".into(),
            ..Default::default()
        }
    );
    ask!(
        s,
        "closed",
        request_cancel_workflow_execution,
        RequestCancelWorkflowExecutionRequest { namespace: namespace(), workflow_execution: execution.clone(), ..Default::default() }
    );
    ask!(
        s,
        "closed",
        terminate_workflow_execution,
        TerminateWorkflowExecutionRequest { namespace: namespace(), workflow_execution: execution.clone(), ..Default::default() }
    );
    ask!(s, "closed", reset_sticky_task_queue, ResetStickyTaskQueueRequest { namespace: namespace(), execution: execution.clone() });
    ask!(s, "closed", update_workflow_execution, s.an_update());
    let update_ref = Some(UpdateRef { workflow_execution: execution.clone(), update_id: "u".into() });
    ask!(
        s,
        "closed",
        poll_workflow_execution_update,
        PollWorkflowExecutionUpdateRequest { namespace: namespace(), update_ref, ..Default::default() }
    );
    let id = s.id("a");
    ask!(
        s,
        "closed",
        pause_workflow_execution,
        PauseWorkflowExecutionRequest { namespace: namespace(), workflow_id: id.clone(), ..Default::default() }
    );
    ask!(
        s,
        "closed",
        unpause_workflow_execution,
        UnpauseWorkflowExecutionRequest { namespace: namespace(), workflow_id: id.clone(), ..Default::default() }
    );
    each_activity_call(&s, "closed", &|| execution.clone(), &id, "").await;
    Ok(())
}

async fn namespaces(s: Scene) -> Done {
    for (what, namespace) in [("empty", String::new()), ("unknown", "no-such-namespace".into()), ("long", "n".repeat(1001))] {
        let n = || namespace.clone();
        ask!(s, what, start_workflow_execution, StartWorkflowExecutionRequest { namespace: n(), ..s.start_request("a") });
        ask!(
            s,
            what,
            signal_with_start_workflow_execution,
            SignalWithStartWorkflowExecutionRequest { namespace: n(), ..Default::default() }
        );
        ask!(s, what, execute_multi_operation, ExecuteMultiOperationRequest { namespace: n(), ..Default::default() });
        ask!(s, what, poll_workflow_task_queue, PollWorkflowTaskQueueRequest { namespace: n(), ..Default::default() });
        ask!(s, what, poll_activity_task_queue, PollActivityTaskQueueRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_workflow_task_completed, RespondWorkflowTaskCompletedRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_workflow_task_failed, RespondWorkflowTaskFailedRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_activity_task_completed, RespondActivityTaskCompletedRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_activity_task_failed, RespondActivityTaskFailedRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_activity_task_canceled, RespondActivityTaskCanceledRequest { namespace: n(), ..Default::default() });
        ask!(s, what, record_activity_task_heartbeat, RecordActivityTaskHeartbeatRequest { namespace: n(), ..Default::default() });
        ask!(s, what, respond_query_task_completed, RespondQueryTaskCompletedRequest { namespace: n(), ..Default::default() });
        ask!(s, what, signal_workflow_execution, SignalWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, request_cancel_workflow_execution, RequestCancelWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, terminate_workflow_execution, TerminateWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, delete_workflow_execution, DeleteWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, describe_workflow_execution, DescribeWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, get_workflow_execution_history, GetWorkflowExecutionHistoryRequest { namespace: n(), ..Default::default() });
        ask!(
            s,
            what,
            get_workflow_execution_history_reverse,
            GetWorkflowExecutionHistoryReverseRequest { namespace: n(), ..Default::default() }
        );
        ask!(s, what, query_workflow, QueryWorkflowRequest { namespace: n(), ..Default::default() });
        ask!(s, what, reset_workflow_execution, ResetWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, reset_sticky_task_queue, ResetStickyTaskQueueRequest { namespace: n(), ..Default::default() });
        ask!(s, what, update_workflow_execution, UpdateWorkflowExecutionRequest { namespace: n(), ..s.an_update() });
        ask!(s, what, poll_workflow_execution_update, PollWorkflowExecutionUpdateRequest { namespace: n(), ..Default::default() });
        ask!(s, what, update_workflow_execution_options, UpdateWorkflowExecutionOptionsRequest { namespace: n(), ..Default::default() });
        ask!(s, what, pause_workflow_execution, PauseWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, unpause_workflow_execution, UnpauseWorkflowExecutionRequest { namespace: n(), ..Default::default() });
        ask!(s, what, pause_activity, PauseActivityRequest { namespace: n(), ..Default::default() });
        ask!(s, what, unpause_activity, UnpauseActivityRequest { namespace: n(), ..Default::default() });
        ask!(s, what, reset_activity, ResetActivityRequest { namespace: n(), ..Default::default() });
        ask!(s, what, update_activity_options, UpdateActivityOptionsRequest { namespace: n(), ..Default::default() });
        ask!(
            s,
            what,
            record_activity_task_heartbeat_by_id,
            RecordActivityTaskHeartbeatByIdRequest { namespace: n(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_activity_task_completed_by_id,
            RespondActivityTaskCompletedByIdRequest { namespace: n(), ..Default::default() }
        );
        ask!(s, what, respond_activity_task_failed_by_id, RespondActivityTaskFailedByIdRequest { namespace: n(), ..Default::default() });
        ask!(
            s,
            what,
            respond_activity_task_canceled_by_id,
            RespondActivityTaskCanceledByIdRequest { namespace: n(), ..Default::default() }
        );
        ask!(s, what, describe_task_queue, DescribeTaskQueueRequest { namespace: n(), ..Default::default() });
        ask!(s, what, list_task_queue_partitions, ListTaskQueuePartitionsRequest { namespace: n(), ..Default::default() });
        ask!(s, what, shutdown_worker, ShutdownWorkerRequest { namespace: n(), ..Default::default() });
    }
    Ok(())
}

async fn names(s: Scene) -> Done {
    s.start_with("a", |r| r.request_id = long()).await.ok();
    s.start_with("a", |r| r.task_queue = Some(TaskQueue::default())).await.ok();
    s.start_with("a", |r| r.task_queue = Some(TaskQueue { name: "/_sys/q".into(), ..Default::default() })).await.ok();
    s.start_with("a", |r| r.workflow_type = Some(Default::default())).await.ok();
    Ok(())
}

async fn identities(s: Scene) -> Done {
    s.start_with("b", |r| r.identity = long()).await.ok();
    s.signal_with_start("c", |r| r.identity = long()).await.ok();
    s.start("a").await?;
    let execution = || Some(s.execution("a"));
    ask!(
        s,
        "identity",
        signal_workflow_execution,
        SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(),
            signal_name: "s".into(),
            identity: long(),
            ..Default::default()
        }
    );
    ask!(
        s,
        "identity",
        request_cancel_workflow_execution,
        RequestCancelWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(),
            identity: long(),
            ..Default::default()
        }
    );
    ask!(
        s,
        "identity",
        terminate_workflow_execution,
        TerminateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(),
            identity: long(),
            ..Default::default()
        }
    );
    ask!(
        s,
        "identity",
        poll_workflow_task_queue,
        PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        poll_activity_task_queue,
        PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        reset_workflow_execution,
        ResetWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(),
            identity: long(),
            request_id: "r".into(),
            workflow_task_finish_event_id: 4,
            ..Default::default()
        }
    );
    ask!(
        s,
        "identity",
        update_workflow_execution_options,
        UpdateWorkflowExecutionOptionsRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(),
            identity: long(),
            ..Default::default()
        }
    );
    Ok(())
}

//! Refusals of calls: every call about runs and tasks, with what it needs missing, too long, malformed or unknown.

use bytes::Bytes;
use sempre_api::v1::{
    common::WorkflowExecution,
    enums::UpdateWorkflowExecutionLifecycleStage as Stage,
    query::WorkflowQuery,
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    update::{self, UpdateRef, WaitPolicy},
    workflow::WorkflowExecutionOptions,
    workflowservice::{
        execute_multi_operation_request::{Operation, operation::Operation as Op},
        *,
    },
};
use tonic::{Request, Status};

use super::{commands::*, scenarios};
use crate::scene::{Done, NAMESPACE, Scene, failure, payloads, secs};

scenarios!("refusals":
    executions, closed_runs, namespaces, names, identities, user_metadata, signals, signal_with_starts, starts_on_conflict, cancels_and_terminates, queries, query_answers, updates, update_polls, update_refs, multi_operations,
    resets, resets_of_unknown_type, options, pauses, pause_before_a_task, polls, poll_deadlines, task_tokens, activity_tokens, activities_by_id, activity_operators, activity_jitter,
    activity_options, activity_options_ignored, histories, sticky, stale_tasks, stale_activities,
);

const RUN: &str = "00000000-0000-4000-8000-000000000001";

/// Names of what is asked, with the execution that it is asked of.
type Cases = Vec<(&'static str, Option<WorkflowExecution>)>;

/// Calls, and writes down the answer.
macro_rules! ask {
    ($s:expr, $what:expr, $method:ident, $request:expr) => {
        let mut request = Request::new($request);
        request.set_timeout(std::time::Duration::from_secs(20));
        let answer = $s.client().$method(request).await;
        $s.record(&format!("{}: {}", stringify!($method), $what), answer).ok();
    };
}

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
    fn an_update(&self) -> UpdateWorkflowExecutionRequest {
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

/// What is longer than names may be.
fn long() -> String {
    "x".repeat(1001)
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

async fn signals(s: Scene) -> Done {
    s.start("a").await?;
    s.signal_with("a", "x", |r| r.signal_name.clear()).await.ok();
    s.signal_with("a", "x", |r| r.signal_name = long()).await.ok();
    s.signal_with("a", "x", |r| r.request_id = long()).await.ok();
    s.signal_with("a", "x", |r| r.input = payloads(&"x".repeat(2 << 20))).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn signal_with_starts(s: Scene) -> Done {
    s.signal_with_start("a", |r| r.signal_name = long()).await.ok();
    s.signal_with_start("a", |r| r.workflow_id = long()).await.ok();
    s.signal_with_start("a", |r| r.workflow_type = Some(sempre_api::v1::common::WorkflowType { name: long() })).await.ok();
    s.signal_with_start("a", |r| r.workflow_type = Some(Default::default())).await.ok();
    s.signal_with_start("a", |r| r.request_id = long()).await.ok();
    s.signal_with_start("a", |r| r.task_queue = Some(TaskQueue { name: long(), ..Default::default() })).await.ok();
    s.signal_with_start("a", |r| r.task_queue = Some(TaskQueue::default())).await.ok();
    s.signal_with_start("a", |r| r.workflow_execution_timeout = secs(-1)).await.ok();
    s.signal_with_start("a", |r| r.workflow_run_timeout = secs(-1)).await.ok();
    s.signal_with_start("a", |r| r.workflow_task_timeout = secs(-1)).await.ok();
    s.signal_with_start("a", |r| r.cron_schedule = "no cron".into()).await.ok();
    s.signal_with_start("a", |r| r.workflow_start_delay = secs(-1)).await.ok();
    s.signal_with_start("a", |r| {
        r.cron_schedule = "* * * * *".into();
        r.workflow_start_delay = secs(1);
    })
    .await
    .ok();
    s.signal_with_start("a", |r| r.retry_policy = retry(-1)).await.ok();
    s.signal_with_start("a", |r| r.search_attributes = Some(search_attributes(&[("NoSuchAttribute", "1")]))).await.ok();
    s.signal_with_start("a", |r| r.memo = Some(memo(&[("m", &"x".repeat(2 << 20))]))).await.ok();
    s.signal_with_start("a", |r| r.input = payloads(&"x".repeat(2 << 20))).await.ok();
    s.signal_with_start("a", |r| r.signal_input = payloads(&"x".repeat(2 << 20))).await.ok();
    s.signal_with_start("a", |r| r.priority = Some(priority(-1, ""))).await.ok();
    Ok(())
}

fn priority(key: i32, fairness: &str) -> sempre_api::v1::common::Priority {
    sempre_api::v1::common::Priority { priority_key: key, fairness_key: fairness.into(), fairness_weight: 0.0 }
}

async fn user_metadata(s: Scene) -> Done {
    let metadata = |summary: usize, details: usize| {
        let payload = |bytes: usize| payloads(&"x".repeat(bytes)).and_then(|mut p| p.payloads.pop());
        Some(sempre_api::v1::sdk::UserMetadata { summary: payload(summary), details: payload(details) })
    };
    s.start_with("a", |r| r.user_metadata = metadata(401, 1)).await.ok();
    s.start_with("b", |r| r.user_metadata = metadata(1, 20_001)).await.ok();
    Ok(())
}

async fn starts_on_conflict(s: Scene) -> Done {
    let options = |ids, callbacks| {
        Some(sempre_api::v1::workflow::OnConflictOptions {
            attach_request_id: ids,
            attach_completion_callbacks: callbacks,
            attach_links: false,
        })
    };
    s.start_with("a", |r| r.on_conflict_options = options(false, true)).await.ok();
    s.start_with("a", |r| {
        r.on_conflict_options = options(true, true);
        r.set_workflow_id_conflict_policy(sempre_api::v1::enums::WorkflowIdConflictPolicy::Fail);
    })
    .await
    .ok();
    s.terminate("a").await.ok();
    Ok(())
}

async fn cancels_and_terminates(s: Scene) -> Done {
    s.start("a").await?;
    s.cancel_with("a", |r| r.request_id = long()).await.ok();
    s.cancel_with("a", |r| r.reason = long()).await.ok();
    s.cancel_with("a", |r| r.first_execution_run_id = "no-uuid".into()).await.ok();
    s.terminate_with("a", |r| r.first_execution_run_id = "no-uuid".into()).await.ok();
    s.terminate_with("a", |r| r.first_execution_run_id = RUN.into()).await.ok();
    s.terminate_with("a", |r| r.reason = long()).await.ok();
    Ok(())
}

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

/// What is no token.
fn tokens() -> [(&'static str, Bytes); 2] {
    [("no token", Bytes::new()), ("garbage", Bytes::from_static(b"garbage"))]
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

async fn resets(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 0, |_| {}).await.ok();
    s.reset("a", 1, |_| {}).await.ok();
    s.reset("a", 2, |_| {}).await.ok();
    s.reset("a", 5, |_| {}).await.ok();
    s.reset("a", 99, |_| {}).await.ok();
    s.reset("a", -1, |_| {}).await.ok();
    s.reset("a", 4, |r| r.request_id.clear()).await.ok();
    s.reset("a", 4, |r| r.request_id = long()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn resets_of_unknown_type(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 4, |r| r.reset_reapply_type = 99).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn options(s: Scene) -> Done {
    s.start("a").await?;
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let request = |update_mask, options| UpdateWorkflowExecutionOptionsRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(s.execution("a")),
        workflow_execution_options: options,
        update_mask,
        identity: "operator".into(),
    };
    ask!(s, "no options", update_workflow_execution_options, request(mask(&["priority"]), None));
    ask!(s, "no mask", update_workflow_execution_options, request(None, Some(WorkflowExecutionOptions::default())));
    ask!(
        s,
        "unknown field",
        update_workflow_execution_options,
        request(mask(&["no_such_field"]), Some(WorkflowExecutionOptions::default()))
    );
    ask!(
        s,
        "bad priority",
        update_workflow_execution_options,
        request(mask(&["priority"]), Some(WorkflowExecutionOptions { priority: Some(priority(-1, "")), ..Default::default() }))
    );
    s.terminate("a").await?;
    Ok(())
}

async fn pause_before_a_task(s: Scene) -> Done {
    s.start("a").await?;
    let pause =
        PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: s.id("a"), request_id: "r".into(), ..Default::default() };
    ask!(s, "first", pause_workflow_execution, pause);
    let unpause = UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        request_id: "r".into(),
        ..Default::default()
    };
    ask!(s, "first", unpause_workflow_execution, unpause);
    s.terminate("a").await?;
    Ok(())
}

async fn pauses(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    let pause = || PauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        identity: "operator".into(),
        reason: "why".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    let unpause = || UnpauseWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        identity: "operator".into(),
        reason: "why".into(),
        request_id: "r".into(),
        ..Default::default()
    };
    ask!(s, "not paused", unpause_workflow_execution, unpause());
    ask!(s, "long reason", pause_workflow_execution, PauseWorkflowExecutionRequest { reason: long(), ..pause() });
    ask!(s, "long request", pause_workflow_execution, PauseWorkflowExecutionRequest { request_id: long(), ..pause() });
    ask!(s, "long identity", pause_workflow_execution, PauseWorkflowExecutionRequest { identity: long(), ..pause() });
    ask!(s, "first", pause_workflow_execution, pause());
    ask!(s, "same", pause_workflow_execution, pause());
    ask!(s, "another", pause_workflow_execution, PauseWorkflowExecutionRequest { request_id: "other".into(), ..pause() });
    ask!(s, "long reason", unpause_workflow_execution, UnpauseWorkflowExecutionRequest { reason: long(), ..unpause() });
    ask!(s, "first", unpause_workflow_execution, unpause());
    s.terminate("a").await?;
    Ok(())
}

async fn polls(s: Scene) -> Done {
    let queue = |name: &str| Some(TaskQueue { name: name.into(), ..Default::default() });
    let sticky = Some(TaskQueue { name: s.id("sticky"), kind: 2, ..Default::default() });
    for (what, queue) in [
        ("no queue", None),
        ("no name", queue("")),
        ("long name", queue(&long())),
        ("reserved", queue("/_sys/nobody/x/1")),
        ("sticky without normal", sticky),
    ] {
        let request = PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue.clone(), ..Default::default() };
        let mut timed = Request::new(request);
        timed.set_timeout(std::time::Duration::from_secs(3));
        s.record(&format!("workflow: {what}"), s.client().poll_workflow_task_queue(timed).await).ok();
        let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue.clone(), ..Default::default() };
        let mut timed = Request::new(request);
        timed.set_timeout(std::time::Duration::from_secs(3));
        s.record(&format!("activity: {what}"), s.client().poll_activity_task_queue(timed).await).ok();
    }
    Ok(())
}

async fn poll_deadlines(s: Scene) -> Done {
    let request = || PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), ..Default::default() };
    s.record("no deadline", s.client().poll_workflow_task_queue(request()).await).ok();
    let mut short = Request::new(request());
    short.set_timeout(std::time::Duration::from_millis(1500));
    s.record("short", s.client().poll_workflow_task_queue(short).await).ok();
    let request = || PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: s.queue(), ..Default::default() };
    s.record("no deadline", s.client().poll_activity_task_queue(request()).await).ok();
    let mut short = Request::new(request());
    short.set_timeout(std::time::Duration::from_millis(1500));
    s.record("short", s.client().poll_activity_task_queue(short).await).ok();
    Ok(())
}

async fn task_tokens(s: Scene) -> Done {
    for (what, token) in tokens() {
        ask!(
            s,
            what,
            respond_workflow_task_completed,
            RespondWorkflowTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: token.clone(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_workflow_task_failed,
            RespondWorkflowTaskFailedRequest { namespace: NAMESPACE.into(), task_token: token.clone(), ..Default::default() }
        );
    }
    s.start("a").await?;
    let task = s.task().await?;
    s.complete_with(&task, [], |r| r.identity = long()).await.ok();
    let sticky = |timeout, queue| Some(StickyExecutionAttributes { worker_task_queue: queue, schedule_to_start_timeout: timeout });
    let with_sticky = |attributes| {
        let (s, task) = (s.clone(), task.clone());
        async move { s.complete_with(&task, [], |r| r.sticky_attributes = attributes).await.ok() }
    };
    with_sticky(sticky(secs(-1), s.queue())).await;
    s.terminate("a").await.ok();
    Ok(())
}

async fn activity_tokens(s: Scene) -> Done {
    for (what, task_token) in tokens() {
        let t = || task_token.clone();
        ask!(
            s,
            what,
            respond_activity_task_completed,
            RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_activity_task_failed,
            RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            respond_activity_task_canceled,
            RespondActivityTaskCanceledRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
        ask!(
            s,
            what,
            record_activity_task_heartbeat,
            RecordActivityTaskHeartbeatRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
        );
    }
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let task = s.activity().await?;
    let t = || task.poll.task_token.clone();
    ask!(
        s,
        "identity",
        respond_activity_task_completed,
        RespondActivityTaskCompletedRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    ask!(
        s,
        "identity",
        respond_activity_task_canceled,
        RespondActivityTaskCanceledRequest { namespace: NAMESPACE.into(), task_token: t(), identity: long(), ..Default::default() }
    );
    let timeout = sempre_api::v1::failure::Failure {
        failure_info: Some(sempre_api::v1::failure::failure::FailureInfo::TimeoutFailureInfo(Default::default())),
        ..failure("no")
    };
    ask!(
        s,
        "no application failure",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), failure: Some(timeout), ..Default::default() }
    );
    ask!(
        s,
        "no failure",
        respond_activity_task_failed,
        RespondActivityTaskFailedRequest { namespace: NAMESPACE.into(), task_token: t(), ..Default::default() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activities_by_id(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    for (what, activity_id) in [("no id", String::new()), ("unknown", "nobody".into()), ("long", long()), ("not started", "x".into())] {
        let (namespace, workflow_id) = (|| NAMESPACE.to_owned(), || s.id("a"));
        let a = || activity_id.clone();
        ask!(
            s,
            what,
            record_activity_task_heartbeat_by_id,
            RecordActivityTaskHeartbeatByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        ask!(
            s,
            what,
            respond_activity_task_failed_by_id,
            RespondActivityTaskFailedByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        ask!(
            s,
            what,
            respond_activity_task_canceled_by_id,
            RespondActivityTaskCanceledByIdRequest {
                namespace: namespace(),
                workflow_id: workflow_id(),
                activity_id: a(),
                ..Default::default()
            }
        );
        if what != "not started" {
            ask!(
                s,
                what,
                respond_activity_task_completed_by_id,
                RespondActivityTaskCompletedByIdRequest {
                    namespace: namespace(),
                    workflow_id: workflow_id(),
                    activity_id: a(),
                    ..Default::default()
                }
            );
        }
    }
    s.terminate("a").await?;
    Ok(())
}

async fn activity_operators(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let (namespace, execution) = (|| NAMESPACE.to_owned(), || Some(s.execution("a")));
    ask!(s, "no activity", pause_activity, PauseActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() });
    ask!(
        s,
        "unknown",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "empty",
        pause_activity,
        PauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(pause_activity_request::Activity::Id(String::new())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "no activity",
        unpause_activity,
        UnpauseActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() }
    );
    ask!(
        s,
        "unknown",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "not paused",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("x".into())),
            ..Default::default()
        }
    );
    ask!(s, "no activity", reset_activity, ResetActivityRequest { namespace: namespace(), execution: execution(), ..Default::default() });
    ask!(
        s,
        "unknown",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Id("nobody".into())),
            ..Default::default()
        }
    );
    ask!(
        s,
        "unknown type",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Type("Nobody".into())),
            ..Default::default()
        }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_jitter(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let (namespace, execution) = (|| NAMESPACE.to_owned(), || Some(s.execution("a")));
    ask!(
        s,
        "jitter",
        unpause_activity,
        UnpauseActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(unpause_activity_request::Activity::Id("x".into())),
            jitter: secs(-1),
            ..Default::default()
        }
    );
    ask!(
        s,
        "jitter",
        reset_activity,
        ResetActivityRequest {
            namespace: namespace(),
            execution: execution(),
            activity: Some(reset_activity_request::Activity::Id("x".into())),
            jitter: secs(-1),
            ..Default::default()
        }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_options(s: Scene) -> Done {
    type R = UpdateActivityOptionsRequest;
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let id = |id: &str| Some(update_activity_options_request::Activity::Id(id.into()));
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let options = |change: fn(&mut sempre_api::v1::activity::ActivityOptions)| {
        let mut options = sempre_api::v1::activity::ActivityOptions::default();
        change(&mut options);
        Some(options)
    };
    let good = || R { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), activity: id("x"), ..Default::default() };
    ask!(s, "nothing", update_activity_options, good());
    ask!(
        s,
        "no activity",
        update_activity_options,
        R { activity: None, activity_options: options(|_| {}), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(
        s,
        "unknown",
        update_activity_options,
        R { activity: id("nobody"), activity_options: options(|_| {}), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(s, "no mask", update_activity_options, R { activity_options: options(|_| {}), ..good() });
    ask!(s, "both", update_activity_options, R { activity_options: options(|_| {}), restore_original: true, ..good() });
    ask!(
        s,
        "negative",
        update_activity_options,
        R { activity_options: options(|o| o.heartbeat_timeout = secs(-1)), update_mask: mask(&["heartbeat_timeout"]), ..good() }
    );
    ask!(
        s,
        "no timeouts",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["start_to_close_timeout", "schedule_to_close_timeout"]), ..good() }
    );
    ask!(
        s,
        "no queue name",
        update_activity_options,
        R { activity_options: options(|o| o.task_queue = Some(TaskQueue::default())), update_mask: mask(&["task_queue.name"]), ..good() }
    );
    ask!(
        s,
        "no retry policy",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["retry_policy.maximum_attempts"]), ..good() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn activity_options_ignored(s: Scene) -> Done {
    type R = UpdateActivityOptionsRequest;
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let id = |id: &str| Some(update_activity_options_request::Activity::Id(id.into()));
    let mask = |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() });
    let options = |change: fn(&mut sempre_api::v1::activity::ActivityOptions)| {
        let mut options = sempre_api::v1::activity::ActivityOptions::default();
        change(&mut options);
        Some(options)
    };
    let good = || R { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), activity: id("x"), ..Default::default() };
    ask!(
        s,
        "unknown field",
        update_activity_options,
        R { activity_options: options(|_| {}), update_mask: mask(&["no_such_field"]), ..good() }
    );
    ask!(s, "no queue", update_activity_options, R { activity_options: options(|_| {}), update_mask: mask(&["task_queue"]), ..good() });
    ask!(
        s,
        "bad retry",
        update_activity_options,
        R { activity_options: options(|o| o.retry_policy = retry(-1)), update_mask: mask(&["retry_policy"]), ..good() }
    );
    s.terminate("a").await?;
    Ok(())
}

async fn histories(s: Scene) -> Done {
    let old = s.start("a").await?;
    s.terminate("a").await?;
    let id = s.id("another-request");
    s.start_with("a", |r| r.request_id = id).await?;
    let request =
        || GetWorkflowExecutionHistoryRequest { namespace: NAMESPACE.into(), execution: Some(s.execution("a")), ..Default::default() };
    let first = s
        .client()
        .get_workflow_execution_history(GetWorkflowExecutionHistoryRequest { wait_new_event: true, ..request() })
        .await?
        .into_inner();
    let other = WorkflowExecution { run_id: old.run_id, ..s.execution("a") };
    ask!(
        s,
        "token of another run",
        get_workflow_execution_history,
        GetWorkflowExecutionHistoryRequest { execution: Some(other), next_page_token: first.next_page_token, ..request() }
    );
    let reverse = GetWorkflowExecutionHistoryReverseRequest {
        namespace: NAMESPACE.into(),
        execution: Some(s.execution("a")),
        next_page_token: "garbage".into(),
        ..Default::default()
    };
    ask!(s, "bad token", get_workflow_execution_history_reverse, reverse);
    s.terminate("a").await?;
    Ok(())
}

async fn sticky(s: Scene) -> Done {
    ask!(s, "nothing", shutdown_worker, ShutdownWorkerRequest { namespace: NAMESPACE.into(), ..Default::default() });
    ask!(s, "no queue", describe_task_queue, DescribeTaskQueueRequest { namespace: NAMESPACE.into(), ..Default::default() });
    let long_queue = Some(TaskQueue { name: long(), ..Default::default() });
    ask!(
        s,
        "long queue",
        describe_task_queue,
        DescribeTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: long_queue, ..Default::default() }
    );
    ask!(s, "no queue", list_task_queue_partitions, ListTaskQueuePartitionsRequest { namespace: NAMESPACE.into(), ..Default::default() });
    Ok(())
}

async fn stale_tasks(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.work([]).await?;
    s.complete(&task, []).await.ok();
    s.fail_task(&task, sempre_api::v1::enums::WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await.ok();
    s.terminate("a").await?;
    s.complete(&task, []).await.ok();
    s.fail_task(&task, sempre_api::v1::enums::WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await.ok();
    Ok(())
}

async fn stale_activities(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("x").command()]).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.complete_activity(&task).await.ok();
    s.fail_activity(&task, failure("late")).await.ok();
    s.cancel_activity(&task).await.ok();
    s.heartbeat(&task).await.ok();
    s.terminate("a").await?;
    s.complete_activity(&task).await.ok();
    s.fail_activity(&task, failure("late")).await.ok();
    s.cancel_activity(&task).await.ok();
    s.heartbeat(&task).await.ok();
    Ok(())
}

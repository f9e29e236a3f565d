//! Starts, signals, cancels and terminations that are refused.

use sempre_api::v1::{common::WorkflowExecution, taskqueue::TaskQueue, workflowservice::*};
use tonic::Request;

use super::{RUN, ask, long, priority};
use crate::{
    scenarios::{commands::*, scenarios},
    scene::{Done, NAMESPACE, Scene, payloads, secs},
};

scenarios!("refusals": signals, signal_with_starts, user_metadata, starts_on_conflict, cancels_and_terminates, histories);

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

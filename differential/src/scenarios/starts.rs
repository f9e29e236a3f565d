//! Starts: id policies, request ids, signal-with-start, timeouts of runs, refusals.

use sempre_api::v1::{
    enums::{WorkflowIdConflictPolicy as Conflict, WorkflowIdReusePolicy as Reuse},
    workflowservice::StartWorkflowExecutionRequest,
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, failure, payloads, secs};

scenarios!("starts":
    same_request_id, open_run_refuses, open_run_is_used, open_run_is_terminated, terminate_if_running, reuse_after_completion, reuse_rejected, reuse_failed_only, reuse_failed_only_after_failure,
    policies_that_contradict, everything_set, signal_with_start_new, signal_with_start_open, signal_with_start_closed, signal_with_start_refused, signal_with_start_terminates,
    run_timeout, run_timeout_during_a_task, timeouts_normalised, refused, delayed, delayed_and_signalled, eager, last_result,
);

async fn again(s: &Scene, name: &str, change: impl FnOnce(&mut StartWorkflowExecutionRequest)) {
    let id = s.id("another-request");
    s.start_with(name, |r| {
        r.request_id = id;
        change(r);
    })
    .await
    .ok();
}

async fn same_request_id(s: Scene) -> Done {
    s.start("a").await?;
    s.start("a").await?;
    s.work([done()]).await?;
    s.start("a").await?;
    Ok(())
}

async fn open_run_refuses(s: Scene) -> Done {
    s.start("a").await?;
    again(&s, "a", |_| {}).await;
    again(&s, "a", |r| r.workflow_id_conflict_policy = Conflict::Fail as i32).await;
    s.terminate("a").await?;
    Ok(())
}

async fn open_run_is_used(s: Scene) -> Done {
    s.start("a").await?;
    again(&s, "a", |r| r.workflow_id_conflict_policy = Conflict::UseExisting as i32).await;
    s.terminate("a").await?;
    Ok(())
}

async fn open_run_is_terminated(s: Scene) -> Done {
    s.start("a").await?;
    s.task().await?;
    again(&s, "a", |r| r.workflow_id_conflict_policy = Conflict::TerminateExisting as i32).await;
    s.work([done()]).await?;
    Ok(())
}

async fn terminate_if_running(s: Scene) -> Done {
    s.start("a").await?;
    again(&s, "a", |r| r.workflow_id_reuse_policy = Reuse::TerminateIfRunning as i32).await;
    s.terminate("a").await?;
    Ok(())
}

async fn reuse_after_completion(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    again(&s, "a", |_| {}).await;
    s.work([done()]).await?;
    Ok(())
}

async fn reuse_rejected(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    again(&s, "a", |r| r.workflow_id_reuse_policy = Reuse::RejectDuplicate as i32).await;
    Ok(())
}

async fn reuse_failed_only(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    again(&s, "a", |r| r.workflow_id_reuse_policy = Reuse::AllowDuplicateFailedOnly as i32).await;
    Ok(())
}

async fn reuse_failed_only_after_failure(s: Scene) -> Done {
    s.start("a").await?;
    s.work([fail("broken")]).await?;
    again(&s, "a", |r| r.workflow_id_reuse_policy = Reuse::AllowDuplicateFailedOnly as i32).await;
    s.terminate("a").await?;
    Ok(())
}

async fn policies_that_contradict(s: Scene) -> Done {
    let both = |reuse: Reuse, conflict: Conflict| {
        move |r: &mut StartWorkflowExecutionRequest| {
            r.workflow_id_reuse_policy = reuse as i32;
            r.workflow_id_conflict_policy = conflict as i32;
        }
    };
    s.start_with("a", both(Reuse::TerminateIfRunning, Conflict::Fail)).await.ok();
    s.start_with("a", both(Reuse::RejectDuplicate, Conflict::TerminateExisting)).await.ok();
    s.start_with("a", both(Reuse::TerminateIfRunning, Conflict::UseExisting)).await.ok();
    Ok(())
}

async fn everything_set(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.workflow_execution_timeout = secs(300);
        r.workflow_run_timeout = secs(200);
        r.workflow_task_timeout = secs(20);
        r.retry_policy = retry(3);
        r.memo = Some(memo(&[("m", "1"), ("gone", "null")]));
        r.search_attributes = Some(search_attributes(&[("DiffKeyword", "\"k\""), ("DiffInt", "4")]));
        r.header = Some(sempre_api::v1::common::Header { fields: memo(&[("trace", "\"1\"")]).fields });
        r.priority = Some(sempre_api::v1::common::Priority { priority_key: 2, fairness_key: "f".into(), fairness_weight: 1.5 });
    })
    .await?;
    s.describe("a").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_with_start_new(s: Scene) -> Done {
    s.signal_with_start("a", |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_with_start_open(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal_with_start("a", |_| {}).await?;
    s.signal_with_start("a", |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_with_start_closed(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    s.signal_with_start("a", |_| {}).await?;
    s.terminate("a").await?;
    let id = s.id("another");
    s.signal_with_start("a", |r| {
        r.request_id = id;
        r.workflow_id_reuse_policy = Reuse::RejectDuplicate as i32;
    })
    .await
    .ok();
    Ok(())
}

async fn signal_with_start_refused(s: Scene) -> Done {
    s.signal_with_start("a", |r| r.signal_name.clear()).await.ok();
    s.signal_with_start("a", |r| r.workflow_id.clear()).await.ok();
    s.signal_with_start("a", |r| r.workflow_type = None).await.ok();
    s.signal_with_start("a", |r| r.task_queue = None).await.ok();
    s.signal_with_start("a", |r| r.workflow_id_conflict_policy = Conflict::Fail as i32).await.ok();
    Ok(())
}

async fn signal_with_start_terminates(s: Scene) -> Done {
    s.start("a").await?;
    s.signal_with_start("a", |r| r.workflow_id_conflict_policy = Conflict::TerminateExisting as i32).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn run_timeout(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_run_timeout = secs(1)).await?;
    s.work([s.act("x").command()]).await?;
    s.closed("a").await
}

async fn run_timeout_during_a_task(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_run_timeout = secs(1)).await?;
    let task = s.task().await?;
    s.signal("a", "buffered").await?;
    s.closed("a").await?;
    s.complete(&task, [done()]).await.ok();
    Ok(())
}

async fn timeouts_normalised(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.workflow_execution_timeout = secs(30);
        r.workflow_run_timeout = secs(60);
        r.workflow_task_timeout = secs(90);
    })
    .await?;
    s.start_with("b", |r| r.workflow_task_timeout = secs(900)).await?;
    s.terminate("a").await?;
    s.terminate("b").await?;
    Ok(())
}

async fn refused(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_id.clear()).await.ok();
    s.start_with("a", |r| r.workflow_type = None).await.ok();
    s.start_with("a", |r| r.task_queue = None).await.ok();
    s.start_with("a", |r| r.namespace = "no-such-namespace".into()).await.ok();
    s.start_with("a", |r| r.namespace.clear()).await.ok();
    s.start_with("a", |r| r.workflow_execution_timeout = secs(-1)).await.ok();
    s.start_with("a", |r| r.workflow_run_timeout = secs(-1)).await.ok();
    s.start_with("a", |r| r.workflow_task_timeout = secs(-1)).await.ok();
    s.start_with("a", |r| r.cron_schedule = "no cron".into()).await.ok();
    s.start_with("a", |r| r.request_id = "r".repeat(1001)).await.ok();
    s.start_with("a", |r| r.workflow_start_delay = secs(-1)).await.ok();
    let bad_retry = |change: fn(&mut sempre_api::v1::common::RetryPolicy)| {
        let mut policy = retry(2).unwrap_or_default();
        change(&mut policy);
        Some(policy)
    };
    s.start_with("a", |r| r.retry_policy = bad_retry(|p| p.maximum_attempts = -1)).await.ok();
    s.start_with("a", |r| r.retry_policy = bad_retry(|p| p.backoff_coefficient = 0.5)).await.ok();
    s.start_with("a", |r| r.retry_policy = bad_retry(|p| p.initial_interval = secs(-1))).await.ok();
    s.start_with("a", |r| r.retry_policy = bad_retry(|p| p.maximum_interval = Some(sempre_api::Duration { seconds: 0, nanos: 1 })))
        .await
        .ok();
    s.start_with("a", |r| r.search_attributes = Some(search_attributes(&[("NoSuchAttribute", "1")]))).await.ok();
    s.start_with("a", |r| r.search_attributes = Some(search_attributes(&[("DiffInt", "\"text\"")]))).await.ok();
    Ok(())
}

async fn delayed(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_start_delay = secs(1)).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn delayed_and_signalled(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_start_delay = secs(60)).await?;
    s.signal("a", "now").await?;
    // It does not come earlier by that.
    s.sleep(1000).await;
    s.terminate("a").await?;
    Ok(())
}

async fn eager(s: Scene) -> Done {
    s.start_with("a", |r| r.request_eager_execution = true).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn last_result(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.last_completion_result = payloads("\"before\"");
        r.continued_failure = Some(failure("before"));
    })
    .await?;
    s.terminate("a").await?;
    Ok(())
}

//! Activities that belong to no workflow.

use sempre_api::v1::enums::{ActivityIdConflictPolicy as Conflict, ActivityIdReusePolicy as Reuse};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, failure, failure_with, secs};

scenarios!("standalone":
    completed, described, ids, same_request, refusals, failed_and_retried, not_retryable, times_out, nobody_takes_it, canceled_before_start, canceled_by_worker, cancel_refused, terminated, deleted, by_id,
    listed, long_polls,
);

async fn completed(s: Scene) -> Done {
    let run = s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.heartbeat(&task).await?;
    s.describe_activity("a", |_| {}).await?;
    s.complete_activity(&task).await?;
    s.poll_activity("a", &run).await?;
    s.describe_activity("a", |_| {}).await?;
    s.complete_activity(&task).await.ok();
    Ok(())
}

async fn described(s: Scene) -> Done {
    s.start_activity("a", |r| {
        r.schedule_to_close_timeout = secs(100);
        r.schedule_to_start_timeout = secs(90);
        r.heartbeat_timeout = secs(20);
        r.retry_policy = retry(3);
        r.header = Some(sempre_api::v1::common::Header { fields: memo(&[("trace", "\"1\"")]).fields });
        r.search_attributes = Some(search_attributes(&[("DiffKeyword", "\"k\""), ("DiffInt", "4")]));
        r.priority = Some(sempre_api::v1::common::Priority { priority_key: 2, fairness_key: "f".into(), fairness_weight: 1.5 });
    })
    .await?;
    s.describe_activity("a", |_| {}).await?;
    s.describe_activity("a", |r| {
        (r.include_input, r.include_outcome, r.include_heartbeat_details, r.include_last_failure) = (false, false, false, false);
    })
    .await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure("no")).await?;
    s.describe_activity("a", |_| {}).await?;
    s.terminate_activity("a", |_| {}).await?;
    s.describe_activity("none", |_| {}).await.ok();
    s.describe_activity("a", |r| r.run_id = "no-uuid".into()).await.ok();
    s.describe_activity("a", |r| r.run_id = "00000000-0000-4000-8000-000000000001".into()).await.ok();
    s.describe_activity("a", |r| r.activity_id.clear()).await.ok();
    Ok(())
}

/// A start meets a running activity of its id, and a closed one, with each policy.
async fn ids(s: Scene) -> Done {
    let other = |r: &mut sempre_api::v1::workflowservice::StartActivityExecutionRequest, n: u8| r.request_id = s.id(&format!("other-{n}"));
    let first = s.start_activity("a", |_| {}).await?;
    s.start_activity("a", |r| other(r, 1)).await.ok();
    s.start_activity("a", |r| (other(r, 2), r.set_id_conflict_policy(Conflict::Fail)).1).await.ok();
    let used = s.start_activity("a", |r| (other(r, 3), r.set_id_conflict_policy(Conflict::UseExisting)).1).await?;
    s.note(format!("the same run: {}", used == first));
    s.start_activity("a", |r| (other(r, 4), r.set_id_reuse_policy(Reuse::RejectDuplicate)).1).await.ok();
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.start_activity("a", |r| (other(r, 5), r.set_id_reuse_policy(Reuse::RejectDuplicate)).1).await.ok();
    s.start_activity("a", |r| (other(r, 6), r.set_id_reuse_policy(Reuse::AllowDuplicateFailedOnly)).1).await.ok();
    let second = s.start_activity("a", |r| (other(r, 7), r.set_id_reuse_policy(Reuse::AllowDuplicate)).1).await?;
    s.note(format!("another run: {}", second != first));
    s.terminate_activity("a", |_| {}).await?;
    s.start_activity("a", |r| (other(r, 8), r.set_id_reuse_policy(Reuse::AllowDuplicateFailedOnly)).1).await?;
    s.terminate_activity("a", |r| r.request_id = s.id("last")).await?;
    s.start_activity("a", |r| (other(r, 9), r.id_reuse_policy = 77).1).await.ok();
    s.start_activity("b", |r| (other(r, 10), r.id_conflict_policy = 77).1).await.ok();
    Ok(())
}

async fn same_request(s: Scene) -> Done {
    let first = s.start_activity("a", |_| {}).await?;
    let again = s.start_activity("a", |_| {}).await?;
    s.note(format!("the same run: {}", again == first));
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    let late = s.start_activity("a", |_| {}).await;
    s.note(format!("the same run: {}", late.is_ok_and(|late| late == first)));
    Ok(())
}

async fn refusals(s: Scene) -> Done {
    let long = "x".repeat(1001);
    s.start_activity("a", |r| r.activity_id.clear()).await.ok();
    s.start_activity("a", |r| r.activity_type = None).await.ok();
    s.start_activity("a", |r| r.task_queue = None).await.ok();
    s.start_activity("a", |r| r.start_to_close_timeout = None).await.ok();
    s.start_activity("a", |r| r.start_to_close_timeout = secs(-1)).await.ok();
    s.start_activity("a", |r| r.heartbeat_timeout = secs(-1)).await.ok();
    s.start_activity("a", |r| r.schedule_to_start_timeout = secs(-1)).await.ok();
    s.start_activity("a", |r| r.retry_policy = retry(-1)).await.ok();
    s.start_activity("a", |r| r.request_id.clone_from(&long)).await.ok();
    s.start_activity("a", |r| r.identity.clone_from(&long)).await.ok();
    s.start_activity("a", |r| r.activity_id.clone_from(&long)).await.ok();
    s.start_activity("a", |r| r.search_attributes = Some(search_attributes(&[("NoSuch", "1")]))).await.ok();
    s.start_activity("a", |r| r.search_attributes = Some(search_attributes(&[("DiffInt", "\"text\"")]))).await.ok();
    s.start_activity("a", |r| r.namespace = "no-such-namespace".into()).await.ok();
    s.poll_activity("none", "").await.ok();
    s.poll_activity("none", "no-uuid").await.ok();
    s.ask_to_cancel("none", |_| {}).await.ok();
    s.ask_to_cancel("none", |r| r.activity_id.clear()).await.ok();
    s.ask_to_cancel("none", |r| r.run_id = "no-uuid".into()).await.ok();
    s.ask_to_cancel("none", |r| r.request_id.clone_from(&long)).await.ok();
    s.terminate_activity("none", |_| {}).await.ok();
    s.terminate_activity("none", |r| r.activity_id.clear()).await.ok();
    s.terminate_activity("none", |r| r.identity.clone_from(&long)).await.ok();
    s.delete_activity("none", |_| {}).await.ok();
    s.delete_activity("none", |r| r.activity_id.clear()).await.ok();
    s.delete_activity("none", |r| r.run_id = "no-uuid".into()).await.ok();
    Ok(())
}

async fn failed_and_retried(s: Scene) -> Done {
    s.start_activity("a", |r| r.retry_policy = retry(2)).await?;
    let first = s.activity().await?;
    s.fail_activity(&first, failure("one")).await?;
    s.complete_activity(&first).await.ok();
    let second = s.activity().await?;
    s.fail_activity(&second, failure("two")).await?;
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    Ok(())
}

async fn not_retryable(s: Scene) -> Done {
    s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure_with("never", |f| f.non_retryable = true)).await?;
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    Ok(())
}

async fn times_out(s: Scene) -> Done {
    s.start_activity("a", |r| (r.start_to_close_timeout, r.retry_policy) = (secs(1), retry(1))).await?;
    let task = s.activity().await?;
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    s.complete_activity(&task).await.ok();
    Ok(())
}

async fn nobody_takes_it(s: Scene) -> Done {
    s.start_activity("a", |r| r.schedule_to_start_timeout = secs(1)).await?;
    s.start_activity("b", |r| (r.start_to_close_timeout, r.schedule_to_close_timeout) = (None, secs(1))).await?;
    for name in ["a", "b"] {
        s.poll_activity(name, "").await?;
        s.describe_activity(name, |_| {}).await?;
    }
    Ok(())
}

async fn canceled_before_start(s: Scene) -> Done {
    s.start_activity("a", |_| {}).await?;
    s.ask_to_cancel("a", |_| {}).await?;
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    Ok(())
}

async fn canceled_by_worker(s: Scene) -> Done {
    s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.cancel_activity(&task).await.ok();
    s.ask_to_cancel("a", |_| {}).await?;
    s.describe_activity("a", |_| {}).await?;
    s.heartbeat(&task).await?;
    s.cancel_activity(&task).await?;
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    Ok(())
}

async fn cancel_refused(s: Scene) -> Done {
    s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.ask_to_cancel("a", |_| {}).await?;
    s.ask_to_cancel("a", |_| {}).await.ok();
    s.ask_to_cancel("a", |r| r.request_id = s.id("another")).await.ok();
    s.complete_activity(&task).await?;
    s.ask_to_cancel("a", |_| {}).await.ok();
    s.ask_to_cancel("a", |r| r.request_id = s.id("late")).await.ok();
    Ok(())
}

async fn terminated(s: Scene) -> Done {
    s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.terminate_activity("a", |_| {}).await?;
    s.heartbeat(&task).await.ok();
    s.complete_activity(&task).await.ok();
    s.poll_activity("a", "").await?;
    s.describe_activity("a", |_| {}).await?;
    s.terminate_activity("a", |_| {}).await.ok();
    s.terminate_activity("a", |r| r.request_id = s.id("another")).await.ok();
    s.ask_to_cancel("a", |_| {}).await.ok();
    Ok(())
}

async fn deleted(s: Scene) -> Done {
    let run = s.start_activity("a", |_| {}).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.delete_activity("a", |r| r.run_id.clone_from(&run)).await?;
    s.activity_gone("a").await?;
    s.start_activity("b", |_| {}).await?;
    let task = s.activity().await?;
    s.delete_activity("b", |_| {}).await?;
    s.activity_gone("b").await?;
    s.complete_activity(&task).await.ok();
    s.start_activity("a", |r| r.request_id = s.id("again")).await?;
    s.terminate_activity("a", |_| {}).await?;
    Ok(())
}

/// Workers' answers without a token, and without a workflow.
async fn by_id(s: Scene) -> Done {
    let run = s.start_activity("a", |_| {}).await?;
    s.activity().await?;
    s.complete_activity_by_id("a", |r| r.activity_id.clear()).await.ok();
    s.complete_activity_by_id("none", |_| {}).await.ok();
    s.complete_activity_by_id("a", |r| r.run_id = "00000000-0000-4000-8000-000000000001".into()).await.ok();
    s.complete_activity_by_id("a", |r| r.run_id.clone_from(&run)).await?;
    s.describe_activity("a", |_| {}).await?;
    s.complete_activity_by_id("a", |_| {}).await.ok();
    Ok(())
}

async fn listed(s: Scene) -> Done {
    let keyword = format!("{:?}", s.id("list"));
    let listed = || Some(search_attributes(&[("DiffKeyword", &keyword)]));
    s.start_activity("a", |r| r.search_attributes = listed()).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    for name in ["b", "c"] {
        s.start_activity(name, |r| r.search_attributes = listed()).await?;
    }
    let all = format!("DiffKeyword = '{}'", s.id("list"));
    let running = format!("{all} AND ExecutionStatus = 'Running'");
    s.list_activities(&running, 2).await?;
    s.list_activities(&all, 3).await?;
    s.count_activities(&all).await.ok();
    s.count_activities(&format!("{all} GROUP BY ExecutionStatus")).await.ok();
    s.list_activities(&format!("{all} AND ActivityType = 'Act' AND ActivityId = '{}'", s.id("a")), 1).await?;
    s.list_activities("NoSuch = 1", 0).await?;
    s.count_activities("NoSuch = 1").await.ok();
    s.terminate_activity("b", |_| {}).await.ok();
    s.terminate_activity("c", |_| {}).await.ok();
    Ok(())
}

async fn long_polls(s: Scene) -> Done {
    let run = s.start_activity("a", |_| {}).await?;
    let seen = s.describe_activity("a", |_| {}).await?.long_poll_token;
    s.describe_activity("a", |r| r.long_poll_token = seen.clone()).await.ok();
    s.describe_activity("a", |r| (r.run_id, r.long_poll_token) = (run.clone(), b"nonsense".as_slice().into())).await.ok();
    let task = s.activity().await?;
    s.describe_activity("a", |r| (r.run_id, r.long_poll_token) = (run.clone(), seen)).await?;
    s.complete_activity(&task).await?;
    Ok(())
}

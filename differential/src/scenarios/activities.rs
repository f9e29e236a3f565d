//! Activities: attempts, the four timeouts, heartbeats, cancellation, completion by id.

use sempre_api::v1::{
    command::ScheduleActivityTaskCommandAttributes,
    workflowservice::{
        RecordActivityTaskHeartbeatByIdRequest, RespondActivityTaskCanceledByIdRequest, RespondActivityTaskCompletedByIdRequest,
        RespondActivityTaskFailedByIdRequest,
    },
};

use super::{commands::*, scenarios};
use crate::scene::{Done, NAMESPACE, Scene, failure, failure_with, payloads, secs};

scenarios!("activities":
    completes, fails, fails_without_retry, retried_then_completes, retried_to_the_end, non_retryable_type, next_retry_delay,
    start_to_close, schedule_to_start, schedule_to_close, heartbeat_timeout, heartbeats_and_completes, timeout_is_retried, schedule_to_close_bounds_retries,
    cancelled_before_start, cancelled_by_worker, cancel_not_asked_for, cancel_during_back_off, completed_after_cancel_request, cancel_twice, result_during_a_task,
    by_id, by_id_fails, by_id_cancelled, by_id_unknown, late_result, two_at_once, closes_with_pending, described, timeouts_normalised,
);

async fn begin(s: &Scene, activity: ScheduleActivityTaskCommandAttributes) -> Done {
    s.start("a").await?;
    s.work([activity.command()]).await?;
    Ok(())
}

async fn completes(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn fails(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure("broken")).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn fails_without_retry(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: retry(5), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure_with("broken", |info| info.non_retryable = true)).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn retried_then_completes(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: retry(3), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.heartbeat(&task).await?;
    s.fail_activity(&task, failure("broken")).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn retried_to_the_end(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: retry(2), ..s.act("x") }).await?;
    for _ in 0..2 {
        let task = s.activity().await?;
        s.fail_activity(&task, failure("broken")).await?;
    }
    s.work([done()]).await?;
    Ok(())
}

async fn non_retryable_type(s: Scene) -> Done {
    let mut policy = retry(5).unwrap_or_default();
    policy.non_retryable_error_types = vec!["Fatal".into()];
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: Some(policy), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure_with("broken", |info| info.r#type = "Fatal".into())).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn next_retry_delay(s: Scene) -> Done {
    let mut policy = retry(2).unwrap_or_default();
    policy.initial_interval = secs(60);
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: Some(policy), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure_with("broken", |info| info.next_retry_delay = secs(1))).await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn start_to_close(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { start_to_close_timeout: secs(1), ..s.act("x") }).await?;
    s.activity().await?;
    s.work([done()]).await?;
    Ok(())
}

async fn schedule_to_start(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { schedule_to_start_timeout: secs(1), retry_policy: retry(5), ..s.act("x") }).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn schedule_to_close(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { schedule_to_close_timeout: secs(1), retry_policy: retry(5), ..s.act("x") }).await?;
    s.activity().await?;
    s.work([done()]).await?;
    Ok(())
}

async fn heartbeat_timeout(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { heartbeat_timeout: secs(1), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.heartbeat(&task).await?;
    s.work([done()]).await?;
    s.heartbeat(&task).await.ok();
    Ok(())
}

async fn heartbeats_and_completes(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { heartbeat_timeout: secs(1), ..s.act("x") }).await?;
    let task = s.activity().await?;
    for _ in 0..3 {
        s.sleep(500).await;
        s.heartbeat(&task).await?;
    }
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn timeout_is_retried(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { start_to_close_timeout: secs(1), retry_policy: retry(2), ..s.act("x") }).await?;
    s.activity().await?;
    let task = s.activity().await?;
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

/// No attempt may begin after the end of the whole.
async fn schedule_to_close_bounds_retries(s: Scene) -> Done {
    let mut policy = retry(5).unwrap_or_default();
    policy.initial_interval = secs(5);
    begin(&s, ScheduleActivityTaskCommandAttributes { schedule_to_close_timeout: secs(3), retry_policy: Some(policy), ..s.act("x") })
        .await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure("broken")).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancelled_before_start(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    s.signal("a", "wake").await?;
    s.work([cancel_activity(5)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancelled_by_worker(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.signal("a", "wake").await?;
    s.work([cancel_activity(5)]).await?;
    s.heartbeat(&task).await?;
    s.cancel_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_not_asked_for(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.cancel_activity(&task).await.ok();
    s.complete_activity(&task).await.ok();
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_during_back_off(s: Scene) -> Done {
    let mut policy = retry(5).unwrap_or_default();
    policy.initial_interval = secs(60);
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: Some(policy), ..s.act("x") }).await?;
    let task = s.activity().await?;
    s.fail_activity(&task, failure("broken")).await?;
    s.signal("a", "wake").await?;
    s.work([cancel_activity(5)]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn completed_after_cancel_request(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.signal("a", "wake").await?;
    s.work([cancel_activity(5)]).await?;
    s.complete_activity(&task).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_twice(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    s.activity().await?;
    s.signal("a", "wake").await?;
    let task = s.task().await?;
    s.complete(&task, [cancel_activity(5), cancel_activity(5)]).await.ok();
    s.terminate("a").await?;
    Ok(())
}

/// The result waits for the started task, then follows its commands.
async fn result_during_a_task(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.signal("a", "wake").await?;
    let workflow_task = s.task().await?;
    s.complete_activity(&task).await?;
    s.signal("a", "more").await?;
    s.complete(&workflow_task, [marker("m")]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn by_id(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    s.activity().await?;
    let beat = RecordActivityTaskHeartbeatByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        activity_id: "x".into(),
        details: payloads("1"),
        identity: "other".into(),
        ..Default::default()
    };
    s.record("heartbeat by id", s.client().record_activity_task_heartbeat_by_id(beat).await)?;
    let request = RespondActivityTaskCompletedByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        activity_id: "x".into(),
        result: payloads("\"out\""),
        identity: "other".into(),
        ..Default::default()
    };
    s.record("complete by id", s.client().respond_activity_task_completed_by_id(request.clone()).await)?;
    s.record("complete by id", s.client().respond_activity_task_completed_by_id(request).await).ok();
    s.work([done()]).await?;
    Ok(())
}

async fn by_id_fails(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    s.activity().await?;
    let request = RespondActivityTaskFailedByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        activity_id: "x".into(),
        failure: Some(failure("broken")),
        identity: "other".into(),
        ..Default::default()
    };
    s.record("fail by id", s.client().respond_activity_task_failed_by_id(request).await)?;
    s.work([done()]).await?;
    Ok(())
}

async fn by_id_cancelled(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    s.activity().await?;
    s.signal("a", "wake").await?;
    s.work([cancel_activity(5)]).await?;
    let request = RespondActivityTaskCanceledByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: s.id("a"),
        activity_id: "x".into(),
        identity: "other".into(),
        ..Default::default()
    };
    s.record("cancel by id", s.client().respond_activity_task_canceled_by_id(request).await)?;
    s.work([done()]).await?;
    Ok(())
}

async fn by_id_unknown(s: Scene) -> Done {
    let request = |workflow: &str, activity: &str| RespondActivityTaskCompletedByIdRequest {
        namespace: NAMESPACE.into(),
        workflow_id: if workflow.is_empty() { String::new() } else { s.id(workflow) },
        activity_id: activity.into(),
        ..Default::default()
    };
    s.record("no such workflow", s.client().respond_activity_task_completed_by_id(request("a", "x")).await).ok();
    begin(&s, s.act("x")).await?;
    s.record("no such activity", s.client().respond_activity_task_completed_by_id(request("a", "y")).await).ok();
    s.record("not started", s.client().respond_activity_task_completed_by_id(request("a", "x")).await).ok();
    s.record("no activity id", s.client().respond_activity_task_completed_by_id(request("a", "")).await).ok();
    s.record("no workflow id", s.client().respond_activity_task_completed_by_id(request("", "x")).await).ok();
    s.terminate("a").await?;
    s.record("closed", s.client().respond_activity_task_completed_by_id(request("a", "x")).await).ok();
    Ok(())
}

async fn late_result(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { start_to_close_timeout: secs(1), ..s.act("x") }).await?;
    let task = s.activity().await?;
    let workflow_task = s.task().await?;
    s.complete_activity(&task).await.ok();
    s.fail_activity(&task, failure("late")).await.ok();
    s.cancel_activity(&task).await.ok();
    s.complete(&workflow_task, [done()]).await?;
    s.complete_activity(&task).await.ok();
    Ok(())
}

async fn two_at_once(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [s.act("x").command(), s.act("x").command()]).await.ok();
    s.work([s.act("x").command(), s.act("y").command()]).await?;
    let (x, y) = (s.activity().await?, s.activity().await?);
    s.complete_activity(&y).await?;
    s.work([]).await?;
    s.complete_activity(&x).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn closes_with_pending(s: Scene) -> Done {
    begin(&s, s.act("x")).await?;
    let task = s.activity().await?;
    s.signal("a", "wake").await?;
    s.work([done()]).await?;
    s.complete_activity(&task).await.ok();
    s.heartbeat(&task).await.ok();
    Ok(())
}

async fn described(s: Scene) -> Done {
    begin(&s, ScheduleActivityTaskCommandAttributes { retry_policy: retry(3), heartbeat_timeout: secs(5), ..s.act("x") }).await?;
    s.describe("a").await?;
    let task = s.activity().await?;
    s.heartbeat(&task).await?;
    s.describe("a").await?;
    s.fail_activity(&task, failure("broken")).await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    s.describe("a").await?;
    Ok(())
}

async fn timeouts_normalised(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_run_timeout = secs(40)).await?;
    let none = || ScheduleActivityTaskCommandAttributes { start_to_close_timeout: None, retry_policy: None, ..s.act("") };
    s.work([
        ScheduleActivityTaskCommandAttributes { activity_id: "close".into(), schedule_to_close_timeout: secs(5), ..none() }.command(),
        ScheduleActivityTaskCommandAttributes { activity_id: "start".into(), start_to_close_timeout: secs(5), ..none() }.command(),
        ScheduleActivityTaskCommandAttributes {
            activity_id: "long".into(),
            start_to_close_timeout: secs(500),
            schedule_to_start_timeout: secs(500),
            heartbeat_timeout: secs(500),
            ..none()
        }
        .command(),
    ])
    .await?;
    s.terminate("a").await?;
    Ok(())
}

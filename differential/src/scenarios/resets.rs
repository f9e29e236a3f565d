//! Resets, and what operators do to runs and activities.

use sempre_api::{
    FieldMask,
    v1::{
        activity::ActivityOptions,
        common::RetryPolicy,
        enums::{ParentClosePolicy, ResetReapplyExcludeType, UpdateWorkflowExecutionLifecycleStage::Accepted, WorkflowTaskFailedCause},
    },
};

use super::{commands::*, scenarios};
use crate::{
    messages::accept,
    scene::{Done, Scene, failure, secs},
};

scenarios!("resets":
    first_task, last_task, closed_run, signals_again, without_signals, without_anything, updates_again, without_updates, same_request_again, bad_points, unknown_run, before_an_update, before_a_retried_task, between_commands, no_task_there,
    pending_activity, pending_timer, pending_child, buffered_signal, completed_activity_kept, twice,
    activity_paused_and_unpaused, activity_paused_while_running, activity_reset, activity_options, unknown_activity, described_while_paused, failed_activity_reset, failed_activity_unpaused, running_activity_reset,
);

async fn first_task(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 3, |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn last_task(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "go").await?;
    s.work([]).await?;
    s.reset("a", 7, |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn closed_run(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    s.reset("a", 4, |_| {}).await?;
    s.work([fail("other")]).await?;
    Ok(())
}

async fn signals_again(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "one").await?;
    s.work([]).await?;
    s.signal("a", "two").await?;
    s.reset("a", 4, |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn without_signals(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "one").await?;
    s.work([]).await?;
    s.reset("a", 4, |r| r.set_exclude(ResetReapplyExcludeType::Signal)).await?;
    s.work([done()]).await?;
    Ok(())
}

trait Exclude {
    fn set_exclude(&mut self, what: ResetReapplyExcludeType);
}

impl Exclude for sempre_api::v1::workflowservice::ResetWorkflowExecutionRequest {
    fn set_exclude(&mut self, what: ResetReapplyExcludeType) {
        self.reset_reapply_exclude_types.push(what as i32);
    }
}

async fn without_anything(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "one").await?;
    s.work([]).await?;
    s.reset("a", 4, |r| r.reset_reapply_type = sempre_api::v1::enums::ResetReapplyType::None as i32).await?;
    s.work([done()]).await?;
    Ok(())
}

/// A run with an accepted update.
async fn accepted(s: &Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = s.task().await?;
    s.answer_updates(&task, [accept(&task, "u")], []).await?;
    s.updated("update", update).await?;
    Ok(())
}

async fn updates_again(s: Scene) -> Done {
    accepted(&s).await?;
    s.reset("a", 4, |_| {}).await?;
    s.task().await?;
    s.terminate("a").await?;
    Ok(())
}

async fn without_updates(s: Scene) -> Done {
    accepted(&s).await?;
    s.reset("a", 4, |r| r.set_exclude(ResetReapplyExcludeType::Update)).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn same_request_again(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.reset("a", 4, |_| {}).await?;
    s.reset("a", 4, |_| {}).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn bad_points(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    for finish in [0, 1, 2, 5, 9] {
        s.reset("a", finish, |r| r.request_id = format!("bad-{finish}")).await.ok();
    }
    s.reset("a", 3, |r| r.request_id.clear()).await.ok();
    s.terminate("a").await.ok();
    Ok(())
}

/// The task of the update was in memory only up to its completion.
async fn before_an_update(s: Scene) -> Done {
    accepted(&s).await?;
    s.reset("a", 6, |r| r.request_id = "six".into()).await.ok();
    s.reset("a", 7, |r| r.request_id = "seven".into()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

/// So was the second attempt of a task.
async fn before_a_retried_task(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    s.work([]).await?;
    s.reset("a", 6, |r| r.request_id = "six".into()).await.ok();
    s.reset("a", 7, |r| r.request_id = "seven".into()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn between_commands(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60), timer("u", 60)]).await?;
    s.reset("a", 6, |_| {}).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn no_task_there(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.signal("a", "go").await?;
    s.reset("a", 6, |r| r.request_id = "six".into()).await.ok();
    s.reset("a", 7, |r| r.request_id = "seven".into()).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn unknown_run(s: Scene) -> Done {
    s.reset("a", 4, |_| {}).await.ok();
    Ok(())
}

async fn pending_activity(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    s.signal("a", "go").await?;
    s.work([]).await?;
    s.reset("a", 8, |_| {}).await?;
    s.task().await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn pending_timer(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 600)]).await?;
    s.signal("a", "go").await?;
    s.work([]).await?;
    s.reset("a", 8, |_| {}).await?;
    s.work([cancel_timer("t"), done()]).await?;
    Ok(())
}

async fn pending_child(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.child("c", ParentClosePolicy::Abandon).command()]).await?;
    let (one, two) = (s.task().await?, s.task().await?);
    let (parent, child) =
        if one.poll.workflow_execution.as_ref().is_some_and(|e| e.workflow_id == s.id("a")) { (one, two) } else { (two, one) };
    s.complete(&parent, []).await?;
    s.reset("a", 8, |_| {}).await?;
    let task = s.task().await?;
    s.complete(&child, [done()]).await?;
    s.complete(&task, []).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn buffered_signal(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "go").await?;
    s.task().await?;
    s.signal("a", "buffered").await?;
    s.reset("a", 4, |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn completed_activity_kept(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 10, |_| {}).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn twice(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    s.reset("a", 4, |_| {}).await?;
    s.work([timer("u", 60)]).await?;
    s.signal("a", "go").await?;
    s.reset("a", 4, |r| r.request_id += "-2").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn activity_paused_and_unpaused(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    s.pause_activity("a", "1").await?;
    s.unpause_activity("a", "1", |_| {}).await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn activity_paused_while_running(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    let activity = s.activity().await?;
    s.pause_activity("a", "1").await?;
    s.heartbeat(&activity).await?;
    s.fail_activity(&activity, failure("once")).await?;
    s.describe("a").await?;
    s.unpause_activity("a", "1", |r| r.reset_attempts = true).await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn described_while_paused(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    s.pause_activity("a", "1").await?;
    s.describe("a").await?;
    s.terminate("a").await?;
    Ok(())
}

async fn activity_reset(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    let activity = s.activity().await?;
    s.heartbeat(&activity).await?;
    s.fail_activity(&activity, failure("once")).await?;
    s.reset_activity("a", "1", |r| r.reset_heartbeat = true).await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

/// A run with an activity that has failed once and will be tried again in a minute.
async fn failed_once(s: &Scene) -> Done {
    s.start("a").await?;
    let mut act = s.act("1");
    act.retry_policy = Some(RetryPolicy { initial_interval: secs(60), maximum_attempts: 3, ..Default::default() });
    s.work([act.command()]).await?;
    let activity = s.activity().await?;
    s.fail_activity(&activity, failure("once")).await?;
    Ok(())
}

async fn failed_activity_reset(s: Scene) -> Done {
    failed_once(&s).await?;
    s.reset_activity("a", "1", |_| {}).await?;
    s.describe("a").await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn failed_activity_unpaused(s: Scene) -> Done {
    failed_once(&s).await?;
    s.pause_activity("a", "1").await?;
    s.unpause_activity("a", "1", |r| r.reset_attempts = true).await?;
    s.describe("a").await?;
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn running_activity_reset(s: Scene) -> Done {
    s.start("a").await?;
    let mut act = s.act("1");
    act.retry_policy = Some(RetryPolicy { initial_interval: secs(1), maximum_attempts: 3, ..Default::default() });
    s.work([act.command()]).await?;
    let activity = s.activity().await?;
    s.fail_activity(&activity, failure("once")).await?;
    let activity = s.activity().await?;
    s.reset_activity("a", "1", |_| {}).await?;
    s.describe("a").await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn activity_options(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.act("1").command()]).await?;
    s.activity_options("a", "1", |r| {
        r.activity_options = Some(ActivityOptions { start_to_close_timeout: secs(77), heartbeat_timeout: secs(7), ..Default::default() });
        r.update_mask = Some(FieldMask { paths: vec!["start_to_close_timeout".into(), "heartbeat_timeout".into()] });
    })
    .await?;
    s.activity_options("a", "1", |r| r.update_mask = Some(FieldMask { paths: vec!["nothing".into()] })).await.ok();
    s.activity_options("a", "1", |_| {}).await.ok();
    let activity = s.activity().await?;
    s.complete_activity(&activity).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn unknown_activity(s: Scene) -> Done {
    s.start("a").await?;
    s.pause_activity("a", "x").await.ok();
    s.unpause_activity("a", "x", |_| {}).await.ok();
    s.reset_activity("a", "x", |_| {}).await.ok();
    s.terminate("a").await?;
    s.pause_activity("a", "x").await.ok();
    s.pause_activity("b", "x").await.ok();
    Ok(())
}

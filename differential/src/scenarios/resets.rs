//! Resets, and what operators do to runs and activities.

use sempre_api::v1::enums::{ParentClosePolicy, ResetReapplyExcludeType, UpdateWorkflowExecutionLifecycleStage::Accepted};

use super::{commands::*, scenarios};
use crate::{
    messages::accept,
    scene::{Done, Scene, failure},
};

scenarios!("resets":
    closed_run, signals_again, without_signals, without_anything, updates_again, without_updates, unknown_run,
    pending_child, buffered_signal, completed_activity_kept, twice,
    activity_paused_and_unpaused, activity_reset, unknown_activity, );

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

async fn unknown_run(s: Scene) -> Done {
    s.reset("a", 4, |_| {}).await.ok();
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

//! Children: starts, ends, close policies. Children have a queue of their own (`c`), so that polls do not race.

use sempre_api::v1::{
    command::StartChildWorkflowExecutionCommandAttributes,
    enums::{ParentClosePolicy as Policy, WorkflowIdReusePolicy as Reuse},
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, Task, secs};

scenarios!("children":
    completes, fails, cancelled_itself, terminated, times_out, continues_as_new, id_taken, id_reuse_rejected, closes_terminate, closes_abandon, closes_request_cancel, closes_default, cancelled_by_parent,
    signalled_by_parent, ends_during_parents_task, starts_before_parents_task, retried, parent_continues_as_new, parent_closes_in_the_same_task, everything_set, parent_terminated, described,
);

/// The parent has a child; gives the parent's task after the start (not completed) and the child's first task.
async fn begin(s: &Scene, child: StartChildWorkflowExecutionCommandAttributes) -> Result<(Task, Task), crate::Stop> {
    s.start("p").await?;
    s.work([child.command()]).await?;
    let parent = s.task().await?;
    let child = s.task_on(s.queue_named("c")).await?;
    Ok((parent, child))
}

async fn completes(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.complete(&child, [done()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn fails(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.complete(&child, [fail("broken")]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancelled_itself(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.complete(&child, [cancelled()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn terminated(s: Scene) -> Done {
    let (parent, _) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.terminate("c1").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn times_out(s: Scene) -> Done {
    let child = StartChildWorkflowExecutionCommandAttributes { workflow_run_timeout: secs(1), ..s.child("c1", Policy::Terminate) };
    let (parent, _) = begin(&s, child).await?;
    s.complete(&parent, []).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn continues_as_new(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.sleep(1100).await;
    s.complete(&child, [continue_as_new().command()]).await?;
    let child = s.task_on(s.queue_named("c")).await?;
    s.complete(&child, [done()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn id_taken(s: Scene) -> Done {
    s.start("c1").await?;
    s.work([]).await?;
    s.start("p").await?;
    s.work([s.child("c1", Policy::Terminate).command()]).await?;
    s.work([done()]).await?;
    s.terminate("c1").await?;
    Ok(())
}

async fn id_reuse_rejected(s: Scene) -> Done {
    s.start("c1").await?;
    s.work([done()]).await?;
    s.start("p").await?;
    let child = StartChildWorkflowExecutionCommandAttributes {
        workflow_id_reuse_policy: Reuse::RejectDuplicate as i32,
        ..s.child("c1", Policy::Terminate)
    };
    s.work([child.command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn closes_with(s: &Scene, policy: Policy) -> Done {
    let (parent, child) = begin(s, s.child("c1", policy)).await?;
    s.complete(&child, []).await?;
    s.complete(&parent, [done()]).await?;
    Ok(())
}

async fn closes_terminate(s: Scene) -> Done {
    closes_with(&s, Policy::Terminate).await?;
    s.closed("c1").await
}

async fn closes_abandon(s: Scene) -> Done {
    closes_with(&s, Policy::Abandon).await?;
    s.sleep(300).await;
    s.terminate("c1").await?;
    Ok(())
}

async fn closes_request_cancel(s: Scene) -> Done {
    closes_with(&s, Policy::RequestCancel).await?;
    let task = s.task_on(s.queue_named("c")).await?;
    s.complete(&task, [cancelled()]).await?;
    Ok(())
}

async fn closes_default(s: Scene) -> Done {
    closes_with(&s, Policy::Unspecified).await?;
    s.closed("c1").await
}

async fn cancelled_by_parent(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&child, []).await?;
    let mut cancel = s.cancel_to("c1");
    cancel.child_workflow_only = true;
    s.complete(&parent, [cancel.command()]).await?;
    let child = s.task_on(s.queue_named("c")).await?;
    s.work([]).await?;
    s.complete(&child, [cancelled()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signalled_by_parent(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&child, []).await?;
    let mut signal = s.signal_to("c1");
    signal.child_workflow_only = true;
    s.complete(&parent, [signal.command()]).await?;
    let child = s.task_on(s.queue_named("c")).await?;
    s.work([]).await?;
    s.complete(&child, [done()]).await?;
    s.work([done()]).await?;
    Ok(())
}

/// News of the child waits for the parent's started task.
async fn ends_during_parents_task(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&child, [done()]).await?;
    s.sleep(500).await;
    s.signal("p", "news").await?;
    s.complete(&parent, [marker("m")]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn starts_before_parents_task(s: Scene) -> Done {
    s.start("p").await?;
    let task = s.task().await?;
    s.complete_with(&task, [s.child("c1", Policy::Terminate).command()], |r| r.force_create_new_workflow_task = true).await?;
    // The child's start comes between the task's two events.
    s.sleep(700).await;
    let parent = s.task().await?;
    let child = s.task_on(s.queue_named("c")).await?;
    s.complete(&child, [done()]).await?;
    s.sleep(500).await;
    s.complete(&parent, []).await?;
    s.sleep(300).await;
    s.terminate("p").await?;
    Ok(())
}

async fn retried(s: Scene) -> Done {
    let child = StartChildWorkflowExecutionCommandAttributes { retry_policy: retry(2), ..s.child("c1", Policy::Terminate) };
    let (parent, child) = begin(&s, child).await?;
    s.complete(&parent, []).await?;
    s.complete(&child, [fail("broken")]).await?;
    let child = s.task_on(s.queue_named("c")).await?;
    s.complete(&child, [done()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn parent_continues_as_new(s: Scene) -> Done {
    let (parent, child) = begin(&s, s.child("c1", Policy::Abandon)).await?;
    s.sleep(1100).await;
    s.complete(&parent, [continue_as_new().command()]).await?;
    s.complete(&child, [done()]).await?;
    s.sleep(300).await;
    s.work([done()]).await?;
    Ok(())
}

/// The child is started in the task that ends its parent.
async fn parent_closes_in_the_same_task(s: Scene) -> Done {
    s.start("p").await?;
    s.work([s.child("c1", Policy::Abandon).command(), s.child("c2", Policy::Terminate).command(), done()]).await?;
    // Neither is ever started.
    s.sleep(1000).await;
    Ok(())
}

async fn everything_set(s: Scene) -> Done {
    let child = StartChildWorkflowExecutionCommandAttributes {
        workflow_execution_timeout: secs(300),
        workflow_run_timeout: secs(200),
        workflow_task_timeout: secs(20),
        retry_policy: retry(3),
        workflow_id_reuse_policy: Reuse::AllowDuplicateFailedOnly as i32,
        control: "control".into(),
        header: Some(sempre_api::v1::common::Header { fields: memo(&[("trace", "\"1\"")]).fields }),
        memo: Some(memo(&[("m", "1")])),
        search_attributes: Some(search_attributes(&[("DiffKeyword", "\"k\"")])),
        priority: Some(sempre_api::v1::common::Priority { priority_key: 4, ..Default::default() }),
        ..s.child("c1", Policy::RequestCancel)
    };
    let (parent, child) = begin(&s, child).await?;
    s.complete(&child, [done()]).await?;
    s.complete(&parent, []).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn parent_terminated(s: Scene) -> Done {
    let (parent, _) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.complete(&parent, []).await?;
    s.terminate("p").await?;
    s.closed("c1").await
}

async fn described(s: Scene) -> Done {
    let (parent, _) = begin(&s, s.child("c1", Policy::Terminate)).await?;
    s.describe("p").await?;
    s.describe("c1").await?;
    s.complete(&parent, [done()]).await?;
    s.closed("c1").await
}

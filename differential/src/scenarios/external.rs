//! Signals and cancel requests from one workflow to another.

use sempre_api::v1::common::WorkflowExecution;

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene};

scenarios!("external":
    signal, signal_to_nobody, signal_to_a_closed_one, signal_to_itself, signal_child_only, cancel, cancel_nobody, cancel_closed, cancel_twice, cancel_child_only,
);

/// `b` idles on the queue `c`; `a` is given its first task.
async fn two(s: &Scene) -> Result<crate::scene::Task, crate::Stop> {
    let queue = s.queue_named("c");
    s.start_with("b", |r| r.task_queue = queue).await?;
    let task = s.task_on(s.queue_named("c")).await?;
    s.complete(&task, []).await?;
    s.start("a").await?;
    s.task().await
}

async fn signal(s: Scene) -> Done {
    let task = two(&s).await?;
    s.complete(&task, [s.signal_to("b").command()]).await?;
    s.work([done()]).await?;
    let task = s.task_on(s.queue_named("c")).await?;
    s.complete(&task, [done()]).await?;
    Ok(())
}

async fn signal_to_nobody(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.signal_to("none").command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_to_a_closed_one(s: Scene) -> Done {
    let task = two(&s).await?;
    s.terminate("b").await?;
    s.complete(&task, [s.signal_to("b").command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn signal_to_itself(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.complete(&task, [s.signal_to("a").command()]).await.ok();
    s.sleep(500).await;
    s.terminate("a").await?;
    Ok(())
}

async fn signal_child_only(s: Scene) -> Done {
    let task = two(&s).await?;
    let mut signal = s.signal_to("b");
    signal.child_workflow_only = true;
    s.complete(&task, [signal.command()]).await?;
    s.work([done()]).await?;
    s.terminate("b").await?;
    Ok(())
}

async fn cancel(s: Scene) -> Done {
    let task = two(&s).await?;
    s.complete(&task, [s.cancel_to("b").command()]).await?;
    s.work([done()]).await?;
    let task = s.task_on(s.queue_named("c")).await?;
    s.complete(&task, [cancelled()]).await?;
    Ok(())
}

async fn cancel_nobody(s: Scene) -> Done {
    s.start("a").await?;
    s.work([s.cancel_to("none").command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_closed(s: Scene) -> Done {
    let task = two(&s).await?;
    s.terminate("b").await?;
    s.complete(&task, [s.cancel_to("b").command()]).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn cancel_twice(s: Scene) -> Done {
    let task = two(&s).await?;
    s.cancel("b").await?;
    s.complete(&task, [s.cancel_to("b").command()]).await?;
    s.work([done()]).await?;
    s.terminate("b").await?;
    Ok(())
}

async fn cancel_child_only(s: Scene) -> Done {
    let task = two(&s).await?;
    let mut cancel = s.cancel_to("b");
    cancel.child_workflow_only = true;
    s.complete(&task, [cancel.command()]).await?;
    s.work([done()]).await?;
    let mut signal = s.signal_to("b");
    signal.execution = Some(WorkflowExecution { run_id: "00000000-0000-4000-8000-000000000001".into(), ..s.execution("b") });
    s.start("d").await?;
    s.work([signal.command()]).await?;
    s.work([done()]).await?;
    s.terminate("b").await?;
    Ok(())
}

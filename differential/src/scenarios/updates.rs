//! Updates: stages, rejections, speculative tasks, repeated ids, with-start.

use sempre_api::v1::{
    enums::UpdateWorkflowExecutionLifecycleStage::{Accepted, Completed},
    enums::{WorkflowIdConflictPolicy, WorkflowTaskFailedCause},
};

use super::{commands::*, scenarios};
use crate::{
    messages::{accept, fail_update, place, reject, respond},
    scene::{Done, Scene, Stop, Task, secs},
};

scenarios!("updates":
    completed_at_once, accepted_then_completed, rejected, rejected_by_command_free_task, handler_fails, same_id_again, unknown_polled, polled_later, closed_with_it,
    closed_before_acceptance, continued_as_new_with_it, task_fails_with_it, ignored_by_worker, on_closed_run, wrong_first_run, no_name, no_meta, two_in_one_task,
    signal_beside_speculative, response_without_acceptance, with_start_new, with_start_existing, terminated_with_it, task_times_out_with_it, on_first_task,
);

/// A run that has done its first task.
async fn idle(s: &Scene) -> Result<(), Stop> {
    s.start("a").await?;
    s.work([]).await?;
    Ok(())
}

async fn task_with_update(s: &Scene, id: &str) -> Result<Task, Stop> {
    let task = s.task().await?;
    assert!(task.poll.messages.iter().any(|m| m.protocol_instance_id == id), "the task brings {id}");
    Ok(task)
}

async fn completed_at_once(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u"), respond("u")], []).await?;
    s.updated("update", update).await?;
    s.poll_update("a", "u", Completed).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn accepted_then_completed(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u")], [timer("t", 60)]).await?;
    s.updated("update", update).await?;
    let waits = s.poll_update_beside("a", "u", Completed);
    s.signal("a", "go").await?;
    let task = s.task().await?;
    s.answer_updates(&task, [respond("u")], []).await?;
    s.answered("poll update", waits).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn rejected(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [reject(&task, "u")], []).await?;
    s.updated("update", update).await?;
    s.poll_update("a", "u", Completed).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn rejected_by_command_free_task(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    let message = reject(&task, "u");
    s.complete_with(&task, [], |r| r.messages = vec![message]).await?;
    s.updated("update", update).await?;
    s.signal("a", "go").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn handler_fails(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u"), fail_update("u")], []).await?;
    s.updated("update", update).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn same_id_again(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u")], []).await?;
    s.updated("update", update).await?;
    let again = s.update_beside("a", "u", Accepted, |_| {});
    s.updated("again", again).await?;
    s.signal("a", "go").await?;
    let task = s.task().await?;
    s.answer_updates(&task, [respond("u")], [done()]).await?;
    let late = s.update_beside("a", "u", Completed, |_| {});
    s.updated("late", late).await?;
    Ok(())
}

async fn unknown_polled(s: Scene) -> Done {
    idle(&s).await?;
    s.poll_update("a", "u", Completed).await.ok();
    s.terminate("a").await?;
    s.poll_update("a", "u", Completed).await.ok();
    s.poll_update("b", "u", Completed).await.ok();
    Ok(())
}

async fn polled_later(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u")], []).await?;
    s.updated("update", update).await?;
    s.poll_update("a", "u", Accepted).await?;
    s.terminate("a").await?;
    s.poll_update("a", "u", Completed).await.ok();
    Ok(())
}

async fn closed_with_it(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u")], [done()]).await?;
    s.updated("update", update).await.ok();
    s.poll_update("a", "u", Completed).await.ok();
    Ok(())
}

async fn closed_before_acceptance(s: Scene) -> Done {
    idle(&s).await?;
    s.signal("a", "go").await?;
    let task = s.task().await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    s.sleep(300).await;
    s.complete(&task, [done()]).await?;
    s.updated("update", update).await.ok();
    Ok(())
}

async fn continued_as_new_with_it(s: Scene) -> Done {
    idle(&s).await?;
    // Long enough that the next run need not wait.
    s.sleep(1100).await;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u")], [continue_as_new().command()]).await?;
    s.updated("update", update).await.ok();
    s.task().await?;
    s.terminate("a").await?;
    Ok(())
}

async fn terminated_with_it(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    task_with_update(&s, "u").await?;
    s.terminate("a").await?;
    s.updated("update", update).await.ok();
    Ok(())
}

async fn task_fails_with_it(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u"), respond("u")], []).await?;
    s.updated("update", update).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn task_times_out_with_it(s: Scene) -> Done {
    s.start_with("a", |r| r.workflow_task_timeout = secs(1)).await?;
    s.work([]).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    task_with_update(&s, "u").await?;
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [reject(&task, "u")], []).await?;
    s.updated("update", update).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn ignored_by_worker(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.complete(&task, []).await?;
    s.updated("update", update).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn on_closed_run(s: Scene) -> Done {
    idle(&s).await?;
    s.terminate("a").await?;
    let update = s.update_beside("a", "u", Accepted, |_| {});
    s.updated("update", update).await.ok();
    Ok(())
}

async fn wrong_first_run(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |r| r.first_execution_run_id = "0197a000-0000-7000-8000-000000000001".into());
    s.updated("update", update).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn no_name(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |r| r.request.as_mut().expect("set").input.as_mut().expect("set").name.clear());
    s.updated("no name", update).await.ok();
    let update = s.update_beside("a", "u", Accepted, |r| r.request.as_mut().expect("set").input = None);
    s.updated("no input", update).await.ok();
    Ok(())
}

async fn no_meta(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Accepted, |r| r.request.as_mut().expect("set").meta = None);
    s.updated("no meta", update).await.ok();
    let update = s.update_beside("a", "u", Accepted, |r| r.workflow_execution = None);
    s.updated("no execution", update).await.ok();
    let update = s.update_beside("a", "u", sempre_api::v1::enums::UpdateWorkflowExecutionLifecycleStage::Admitted, |_| {});
    s.updated("admitted", update).await.ok();
    Ok(())
}

async fn two_in_one_task(s: Scene) -> Done {
    idle(&s).await?;
    s.signal("a", "go").await?;
    let first = s.update_beside("a", "u", Completed, |_| {});
    s.sleep(300).await;
    let second = s.update_beside("a", "v", Completed, |_| {});
    s.sleep(300).await;
    let task = task_with_update(&s, "v").await?;
    s.answer_updates(&task, [accept(&task, "v"), accept(&task, "u"), respond("u"), respond("v")], []).await?;
    s.updated("first", first).await?;
    s.updated("second", second).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn signal_beside_speculative(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.signal("a", "beside").await?;
    s.answer_updates(&task, [reject(&task, "u")], []).await?;
    s.updated("update", update).await?;
    s.work([done()]).await?;
    Ok(())
}

async fn response_without_acceptance(s: Scene) -> Done {
    idle(&s).await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [respond("u")], []).await.ok();
    s.updated("update", update).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn on_first_task(s: Scene) -> Done {
    s.start("a").await?;
    let update = s.update_beside("a", "u", Completed, |_| {});
    s.sleep(300).await;
    let task = task_with_update(&s, "u").await?;
    let accepted = accept(&task, "u");
    let places = vec![place(&accepted)];
    let messages = vec![accepted, respond("u")];
    s.complete_with(&task, places, |r| r.messages = messages).await?;
    s.updated("update", update).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn with_start_new(s: Scene) -> Done {
    let call = s.update_with_start_beside("a", "u", |_| {});
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u"), respond("u")], []).await?;
    s.update_with_start("update with start", call).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn with_start_existing(s: Scene) -> Done {
    idle(&s).await?;
    let call = s.update_with_start_beside("a", "u", |_| {});
    s.update_with_start("with policy fail", call).await.ok();
    let call = s.update_with_start_beside("a", "u", |r| r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting));
    let task = task_with_update(&s, "u").await?;
    s.answer_updates(&task, [accept(&task, "u"), respond("u")], []).await?;
    s.update_with_start("with policy use existing", call).await?;
    s.terminate("a").await?;
    Ok(())
}

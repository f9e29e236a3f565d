//! Chains of runs: continue-as-new, workflow retry, cron.

use sempre_api::v1::{
    command::{Command, ContinueAsNewWorkflowExecutionCommandAttributes},
    common::WorkflowExecution,
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, Stop, failure_with, secs};

scenarios!("chains":
    continues, continues_with_changes, continues_with_back_off, continues_with_buffered_signal, carries_memo_and_search_attributes, retried, retried_to_the_end, not_retryable, retried_after_timeout,
    execution_timeout_ends_the_chain, cron_goes_on, cron_after_failure, cron_is_cancelled, cron_is_terminated, cron_continues_as_new, addressed_by_the_first_run,
);

/// A run that continues within its first second is held back for the rest of it: waits, so that none is.
async fn work_late(s: &Scene, commands: impl IntoIterator<Item = Command>) -> Result<(), Stop> {
    let task = s.task().await?;
    s.sleep(1100).await;
    s.complete(&task, commands).await?;
    Ok(())
}

async fn continues(s: Scene) -> Done {
    s.start("a").await?;
    work_late(&s, [continue_as_new().command()]).await?;
    work_late(&s, [continue_as_new().command()]).await?;
    s.work([done()]).await?;
    s.closed("a").await
}

async fn continues_with_changes(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.workflow_run_timeout = secs(100);
        r.workflow_task_timeout = secs(20);
    })
    .await?;
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(sempre_api::v1::common::WorkflowType { name: "Other".into() }),
        task_queue: s.queue_named("c"),
        workflow_run_timeout: secs(50),
        workflow_task_timeout: secs(5),
        memo: Some(memo(&[("m", "2")])),
        ..continue_as_new()
    };
    work_late(&s, [attributes.command()]).await?;
    let task = s.task_on(s.queue_named("c")).await?;
    s.complete(&task, [done()]).await?;
    Ok(())
}

async fn continues_with_back_off(s: Scene) -> Done {
    s.start("a").await?;
    work_late(&s, [ContinueAsNewWorkflowExecutionCommandAttributes { backoff_start_interval: secs(1), ..continue_as_new() }.command()])
        .await?;
    s.work([done()]).await?;
    Ok(())
}

async fn continues_with_buffered_signal(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    s.signal("a", "news").await?;
    s.complete(&task, [continue_as_new().command()]).await.ok();
    work_late(&s, [continue_as_new().command()]).await?;
    s.signal("a", "to the next").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn carries_memo_and_search_attributes(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.memo = Some(memo(&[("m", "1")]));
        r.search_attributes = Some(search_attributes(&[("DiffKeyword", "\"k\"")]));
    })
    .await?;
    work_late(&s, [upsert(&[("DiffInt", "7")]), modify_memo(&[("n", "2")]), continue_as_new().command()]).await?;
    s.describe("a").await?;
    s.work([done()]).await?;
    Ok(())
}

async fn retried(s: Scene) -> Done {
    s.start_with("a", |r| r.retry_policy = retry(3)).await?;
    s.work([fail("broken")]).await?;
    s.work([done()]).await?;
    s.closed("a").await
}

async fn retried_to_the_end(s: Scene) -> Done {
    s.start_with("a", |r| r.retry_policy = retry(2)).await?;
    s.work([fail("broken")]).await?;
    s.work([fail("broken again")]).await?;
    s.closed("a").await
}

async fn not_retryable(s: Scene) -> Done {
    s.start_with("a", |r| r.retry_policy = retry(5)).await?;
    let attributes = sempre_api::v1::command::FailWorkflowExecutionCommandAttributes {
        failure: Some(failure_with("broken", |info| info.non_retryable = true)),
    };
    s.work([attributes.command()]).await?;
    s.closed("a").await
}

async fn retried_after_timeout(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.retry_policy = retry(2);
        r.workflow_run_timeout = secs(1);
    })
    .await?;
    s.work([]).await?;
    s.work([done()]).await?;
    s.closed("a").await
}

async fn execution_timeout_ends_the_chain(s: Scene) -> Done {
    s.start_with("a", |r| {
        r.retry_policy = retry(5);
        r.workflow_execution_timeout = secs(2);
    })
    .await?;
    s.work([fail("broken")]).await?;
    s.sleep(2500).await;
    s.closed("a").await
}

async fn cron_goes_on(s: Scene) -> Done {
    s.start_with("a", |r| r.cron_schedule = "@every 1s".into()).await?;
    s.work([done()]).await?;
    s.work([done()]).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn cron_after_failure(s: Scene) -> Done {
    s.start_with("a", |r| r.cron_schedule = "@every 1s".into()).await?;
    s.work([fail("broken")]).await?;
    s.work([done()]).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn cron_is_cancelled(s: Scene) -> Done {
    s.start_with("a", |r| r.cron_schedule = "@every 1s".into()).await?;
    let task = s.task().await?;
    s.complete(&task, []).await?;
    s.cancel("a").await?;
    s.work([cancelled()]).await?;
    s.closed("a").await
}

async fn cron_is_terminated(s: Scene) -> Done {
    s.start_with("a", |r| r.cron_schedule = "@every 1s".into()).await?;
    s.terminate("a").await?;
    s.closed("a").await
}

async fn cron_continues_as_new(s: Scene) -> Done {
    s.start_with("a", |r| r.cron_schedule = "@every 1s".into()).await?;
    work_late(&s, [continue_as_new().command()]).await?;
    s.work([done()]).await?;
    s.terminate("a").await?;
    Ok(())
}

/// With the first run's id it is the current run that is meant, whatever run is named beside.
async fn addressed_by_the_first_run(s: Scene) -> Done {
    s.start("a").await?;
    let first = s.current("a").await;
    work_late(&s, [continue_as_new().command()]).await?;
    let second = s.task().await?;
    s.complete(&second, [timer("t", 60)]).await?;
    let of = |run: &str| Some(WorkflowExecution { run_id: run.into(), ..s.execution("a") });
    let (known, unknown) = (second.poll.workflow_execution.clone().unwrap_or_default().run_id, "00000000-0000-4000-8000-000000000001");
    for run in [&first[..], unknown, "no-uuid"] {
        s.cancel_with("a", |r| (r.workflow_execution, r.first_execution_run_id) = (of(run), first.clone())).await.ok();
        s.cancel_with("a", |r| (r.workflow_execution, r.first_execution_run_id) = (of(run), known.clone())).await.ok();
    }
    s.terminate_with("a", |r| (r.workflow_execution, r.first_execution_run_id) = (of(&first), known.clone())).await.ok();
    s.terminate_with("a", |r| (r.workflow_execution, r.first_execution_run_id) = (of("no-uuid"), first.clone())).await.ok();
    s.terminate_with("a", |r| (r.workflow_execution, r.first_execution_run_id) = (of(&first), first.clone())).await.ok();
    // Of a closed run nobody asks whose it was.
    s.terminate_with("a", |r| r.first_execution_run_id = unknown.into()).await.ok();
    s.cancel_with("a", |r| r.first_execution_run_id = unknown.into()).await.ok();
    Ok(())
}

//! Queries: with a task, directly, rejected, failed.

use sempre_api::v1::{
    enums::{QueryRejectCondition as Reject, QueryResultType, WorkflowTaskFailedCause},
    query::WorkflowQueryResult,
    workflowservice::RespondWorkflowTaskCompletedRequest,
};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, Task, payloads};

scenarios!("queries":
    direct, direct_fails, of_a_closed_run, rides_on_a_task, rides_and_fails, buffered_then_released, rejected_when_closed, rejected_when_not_completed, refused, never_had_a_task, waits_while_the_task_fails, asked_while_the_task_fails,
);

/// Answers all queries of a task in its completion.
fn answers(task: &Task, kind: QueryResultType) -> impl FnOnce(&mut RespondWorkflowTaskCompletedRequest) + use<> {
    let ids: Vec<String> = task.poll.queries.keys().cloned().collect();
    move |r| {
        for id in ids {
            let mut result = WorkflowQueryResult { result_type: kind as i32, ..Default::default() };
            match kind {
                QueryResultType::Answered => result.answer = payloads("\"state\""),
                _ => result.error_message = "cannot say".into(),
            }
            r.query_results.insert(id, result);
        }
    }
}

async fn direct(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    let query = s.query_beside("a", |_| {});
    let task = s.task().await?;
    s.answer_query(&task, Ok("\"state\"")).await?;
    s.answered("query", query).await?;
    s.answer_query(&task, Ok("\"again\"")).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn direct_fails(s: Scene) -> Done {
    s.start("a").await?;
    s.work([timer("t", 60)]).await?;
    let query = s.query_beside("a", |_| {});
    let task = s.task().await?;
    s.answer_query(&task, Err("cannot say")).await?;
    s.answered("query", query).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn of_a_closed_run(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    let query = s.query_beside("a", |_| {});
    let task = s.task().await?;
    s.answer_query(&task, Ok("\"state\"")).await?;
    s.answered("query", query).await?;
    Ok(())
}

async fn rides_on_a_task(s: Scene) -> Done {
    s.start("a").await?;
    s.work([]).await?;
    s.signal("a", "news").await?;
    let query = s.query_beside("a", |_| {});
    s.sleep(300).await;
    let task = s.task().await?;
    s.complete_with(&task, [], answers(&task, QueryResultType::Answered)).await?;
    s.answered("query", query).await?;
    s.terminate("a").await?;
    Ok(())
}

/// As often as makes a query refused that comes then.
async fn waits_while_the_task_fails(s: Scene) -> Done {
    s.start("a").await?;
    let query = s.query_beside("a", |_| {});
    s.sleep(300).await;
    for _ in 0..2 {
        let task = s.task().await?;
        s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    }
    let task = s.task().await?;
    s.complete_with(&task, [], answers(&task, QueryResultType::Answered)).await?;
    s.answered("query", query).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn asked_while_the_task_fails(s: Scene) -> Done {
    s.start("a").await?;
    for _ in 0..2 {
        let task = s.task().await?;
        s.fail_task(&task, WorkflowTaskFailedCause::WorkflowWorkerUnhandledFailure).await?;
    }
    let query = s.query_beside("a", |_| {});
    s.answered("query", query).await.ok();
    s.terminate("a").await?;
    Ok(())
}

async fn rides_and_fails(s: Scene) -> Done {
    s.start("a").await?;
    let query = s.query_beside("a", |_| {});
    s.sleep(300).await;
    let task = s.task().await?;
    s.complete_with(&task, [timer("t", 60)], answers(&task, QueryResultType::Failed)).await?;
    s.answered("query", query).await.ok();
    s.terminate("a").await?;
    Ok(())
}

/// A query that comes while a task is started and that the completion does not answer.
async fn buffered_then_released(s: Scene) -> Done {
    s.start("a").await?;
    let task = s.task().await?;
    let query = s.query_beside("a", |_| {});
    s.sleep(300).await;
    s.complete(&task, [timer("t", 60)]).await?;
    let task = s.task().await?;
    s.answer_query(&task, Ok("\"state\"")).await?;
    s.answered("query", query).await?;
    s.terminate("a").await?;
    Ok(())
}

async fn rejected_when_closed(s: Scene) -> Done {
    s.start("a").await?;
    s.work([done()]).await?;
    s.query("a", |r| r.query_reject_condition = Reject::NotOpen as i32).await?;
    let query = s.query_beside("a", |r| r.query_reject_condition = Reject::NotCompletedCleanly as i32);
    let task = s.task().await?;
    s.answer_query(&task, Ok("\"state\"")).await?;
    s.answered("query", query).await?;
    Ok(())
}

async fn rejected_when_not_completed(s: Scene) -> Done {
    s.start("a").await?;
    s.work([fail("broken")]).await?;
    s.query("a", |r| r.query_reject_condition = Reject::NotCompletedCleanly as i32).await?;
    Ok(())
}

async fn refused(s: Scene) -> Done {
    s.query("none", |_| {}).await.ok();
    s.query("none", |r| r.query = None).await.ok();
    s.query("none", |r| r.execution = None).await.ok();
    s.query("none", |r| r.query.get_or_insert_default().query_type.clear()).await.ok();
    Ok(())
}

async fn never_had_a_task(s: Scene) -> Done {
    s.start("a").await?;
    s.terminate("a").await?;
    s.query("a", |_| {}).await.ok();
    Ok(())
}

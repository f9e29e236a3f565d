//! Rules about what hurts: activities that are tried again, tasks that wait for long.

use super::*;
use crate::attempts::{activity, fail_activity};

#[tokio::test]
async fn an_activity_is_told_of_when_its_attempts_reach_the_doubling_that_is_asked_for() {
    let w = world_with(allowing()).await;
    set(&w, rule("tries", "SempreActivityAttempt >= 4")).await;
    set(&w, rule("between", "SempreActivityAttempt = 3")).await;
    w.start("w").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![activity("a")]).await;
    for attempt in 1..=9 {
        let task = w.poll_activity().await;
        assert_eq!(task.attempt, attempt);
        fail_activity(&w, &task).await;
        w.settle().await;
        let expected: &[_] = if attempt < 3 { &[] } else { &[firing("tries", "w")] };
        assert_eq!(taken(&w), expected, "after attempt {attempt}: once, and nothing between the doublings");
        w.advance(Span::seconds(1 << (attempt - 1))).await;
    }
    let task = w.poll_activity().await;
    let done = RespondActivityTaskCompletedRequest { task_token: task.task_token, ..Default::default() };
    soon(w.engine.respond_activity_task_completed(done)).await.unwrap();
    w.settle().await;
    assert_eq!(info(&w, "tries").raised, 0, "it is told of again if it begins again");
}

#[tokio::test]
async fn a_queue_whose_oldest_task_waits_for_long_is_told_of_until_somebody_takes_it() {
    let w = world_with(allowing()).await;
    let query = "SempreTaskQueueBacklogAge > 60 AND TaskQueue = 'queue'";
    set(&w, AlertRule { scope: AlertScope::List as i32, ..rule("old backlog", query) }).await;
    w.start("w").await;
    w.advance(Span::seconds(6)).await;
    w.advance(Span::seconds(50)).await;
    assert_eq!(taken(&w), [], "it has not waited for long");
    w.advance(Span::seconds(10)).await;
    assert_eq!(taken(&w), [firing("old backlog", "w")]);
    w.advance(Span::seconds(60)).await;
    assert_eq!(taken(&w).len(), 1, "once");
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.advance(Span::seconds(6)).await;
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w)[1..], [("old backlog".into(), AlertState::Resolved, String::new())]);
}

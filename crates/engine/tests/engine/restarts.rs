use sempre_core::Span;

use crate::support::*;

#[tokio::test]
async fn a_backlog_comes_back_in_order_after_a_restart() {
    let mut settings = settings();
    settings.queue_window_max = 100;
    let mut w = world_with(settings).await;
    for n in 0..1000 {
        w.start(&format!("w{n}")).await;
        w.clock_tick();
    }
    w.reopen().await;
    for n in 0..1000 {
        let task = w.poll().await;
        assert_eq!(task.workflow_execution.unwrap().workflow_id, format!("w{n}"));
    }
}

#[tokio::test]
async fn runs_timers_and_sticky_tasks_go_on_after_a_restart() {
    let mut w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(400))]).await;
    w.reopen().await;
    w.advance(Span::seconds(395)).await;
    let poll = w.poll_beside();
    w.advance(Span::seconds(5)).await;
    let task = soon(poll).await.unwrap();
    assert!(names(&task.history.unwrap().events().unwrap()).contains(&"TIMER_FIRED"));
    // A token survives the restart.
    w.reopen().await;
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn overdue_deadlines_fire_after_a_restart_while_new_calls_are_served() {
    let mut w = world().await;
    for n in 0..300 {
        w.start(&format!("w{n}")).await;
        let task = w.poll().await;
        w.complete(&task.task_token, vec![timer("t", Span::seconds(5))]).await;
    }
    soon(w.engine.shutdown()).await;
    w.advance(Span::seconds(3600)).await;
    w.reopen().await;
    w.start("new").await;
    for _ in 0..301 {
        let task = w.poll().await;
        w.complete(&task.task_token, done()).await;
    }
}

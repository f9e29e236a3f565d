//! Whose turn it is while some are not taken, and what a rule remembers when it becomes another.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn an_alert_that_nobody_takes_does_not_hold_up_the_others() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    *w.outside.takes_none_of.lock().unwrap() = Some("odd");
    fail(&w, "odd").await;
    fail(&w, "one").await;
    fail(&w, "two").await;
    w.advance(Span::seconds(2)).await;
    w.advance(Span::seconds(2)).await;
    assert_eq!(taken(&w), [firing("failed", "one"), firing("failed", "two")]);
    let tries = || w.outside.alerts.lock().unwrap().iter().filter(|(_, taken)| !taken).count();
    // Others are taken all the time: it is not tried again with each of them.
    let before = tries();
    for n in 0..20 {
        fail(&w, &format!("w{n}")).await;
    }
    // Each time it is tried the rule pauses for a second.
    w.advance(Span::seconds(1)).await;
    assert_eq!((taken(&w).len(), tries()), (22, before));
    let history = w.engine.list_alerts(&ListAlertsRequest { namespace: NAMESPACE.into(), ..Default::default() }).unwrap().alerts;
    let odd = history.iter().find(|one| one.state() == AlertDeliveryState::Waiting).unwrap();
    assert_eq!((odd.attempts as usize, odd.last_error.as_str()), (before, "down"));
    // It is tried by itself, and goes when it is taken.
    *w.outside.takes_none_of.lock().unwrap() = None;
    w.advance(Span::seconds(61)).await;
    assert_eq!((taken(&w).len(), info(&w, "failed").waiting), (23, 0));
}

#[tokio::test]
async fn a_webhook_that_is_down_is_left_alone_longer_and_longer_while_more_waits() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    w.outside.takes_no_alerts.store(true, SeqCst);
    for _ in 0..60 {
        let test = TestAlertRuleRequest { namespace: NAMESPACE.into(), name: "failed".into() };
        soon(w.engine.test_alert_rule(test)).await.unwrap();
        w.advance(Span::seconds(1)).await;
    }
    let tries = w.outside.alerts.lock().unwrap().len();
    assert!((5..=16).contains(&tries), "{tries} in a minute");
    w.outside.takes_no_alerts.store(false, SeqCst);
    w.advance(Span::seconds(61)).await;
    assert_eq!((ids(&w).len(), info(&w, "failed").waiting), (60, 0), "once it is up, all go");
}

/// Alerts are this engine's, then another's, then its own again.
#[tokio::test]
async fn an_alert_under_way_ends_when_alerts_are_another_nodes_and_is_sent_when_they_come_back() {
    let w = world_with(allowing()).await;
    let owner = u32::MAX - 60;
    set(&w, rule("failed", FAILED)).await;
    let permits = Arc::new(Semaphore::new(0));
    *w.outside.alerts_held.lock().unwrap() = Some(permits.clone());
    fail(&w, "one").await;
    let sent = || w.outside.alerts.lock().unwrap().len();
    // Who waits for a permit has it too.
    assert_eq!((sent(), Arc::strong_count(&permits)), (1, 3), "it is under way");
    soon(w.engine.give_up(owner)).await.unwrap();
    w.settle().await;
    assert_eq!((sent(), Arc::strong_count(&permits)), (1, 2));
    permits.add_permits(10);
    soon(w.engine.take_up(owner)).await.unwrap();
    w.settle().await;
    assert_eq!((sent(), ids(&w).len()), (2, 1), "the same one");
    assert_eq!(w.engine.stats().alerts_taken.get(), 1);
}

#[tokio::test]
async fn a_rule_that_asks_for_something_else_begins_anew() {
    let mut w = world_with(allowing()).await;
    let list = |query: &str| AlertRule { scope: AlertScope::List as i32, ..rule("list", query) };
    set(&w, list("ExecutionStatus = 'Running' AND WorkflowId = 'a'")).await;
    set(&w, rule("run", "ExecutionStatus = 'Running' AND WorkflowId = 'a'")).await;
    w.start("a").await;
    w.settle().await;
    assert_eq!(taken(&w).len(), 2);
    // Both ask for the same run in other words; of the list it is told anew, of the run once it changes.
    set(&w, list("WorkflowId != 'b'")).await;
    set(&w, rule("run", "ExecutionStatus = 'Paused' OR WorkflowId = 'a'")).await;
    assert_eq!(info(&w, "run").raised, 0);
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w)[2..], [firing("list", "a")]);
    let pause = PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "a".into(), ..Default::default() };
    soon(w.engine.pause_workflow(pause)).await.unwrap();
    w.settle().await;
    assert_eq!(taken(&w)[3..], [firing("run", "a")]);
    // What was remembered before is gone from the store as well.
    let raised = || w.store.rows(Table::Notice).into_iter().filter(|(key, _)| key[0] == b'r').count();
    assert_eq!(raised(), 1);
    // Another webhook, or another secret, changes nothing of this.
    let mut other = rule("run", "ExecutionStatus = 'Paused' OR WorkflowId = 'a'");
    other.webhook.as_mut().unwrap().url = "https://hooks.test/y".into();
    set(&w, other).await;
    assert_eq!((info(&w, "run").raised, raised()), (1, 1));
    w.crash().await;
    w.settle().await;
    assert_eq!(info(&w, "run").raised, 1);
    // A rule that has told of nothing resolves nothing.
    set(&w, list("WorkflowId = 'nobody'")).await;
    w.advance(Span::seconds(6)).await;
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w).len(), 4);
}

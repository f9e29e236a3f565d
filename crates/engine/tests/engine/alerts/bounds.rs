//! What is much, what fails half way, and who gets the places.

use std::sync::Arc;

use sempre_api::v1::operatorservice::DeleteNamespaceRequest;
use sempre_store::{CommitBatch, Fence};
use tokio::sync::Semaphore;

use super::*;

async fn test(w: &World, name: &str, times: usize) {
    let request = || TestAlertRuleRequest { namespace: NAMESPACE.into(), name: name.into() };
    let calls = (0..times).map(|_| w.engine.test_alert_rule(request()));
    for answer in soon(futures::future::join_all(calls)).await {
        answer.unwrap();
    }
    w.settle().await;
}

fn rows(w: &World) -> usize {
    w.store.rows(Table::Notice).into_iter().filter(|(key, _)| key[0] == b'a').count()
}

/// Tries to send an alert of the rule.
fn tries(w: &World, rule: &str) -> usize {
    w.outside.alerts.lock().unwrap().iter().filter(|(call, _)| call.alert.rule == rule).count()
}

#[tokio::test]
async fn more_than_one_commit_takes_is_written_in_parts() {
    const RULES: usize = 20;
    const RUNS: usize = 450;
    let w = world_with(allowing()).await;
    w.outside.silent.store(true, SeqCst);
    for n in 0..RULES {
        set(&w, rule(&format!("r{n}"), &long_query(4096))).await;
    }
    w.store.notices_unreadable.store(usize::MAX, SeqCst);
    for n in 0..RUNS {
        w.start(&format!("w{n}")).await;
    }
    w.settle().await;
    assert_eq!(rows(&w), 0);
    w.store.notices_unreadable.store(0, SeqCst);
    w.clock_advance(Span::seconds(2));
    w.until("all are told of", || w.engine.alerts_waiting() == (RULES * RUNS) as u64).await;
    w.settle().await;
    assert_eq!(rows(&w), RULES * RUNS, "none twice");
    assert!((0..RULES).all(|n| info(&w, &format!("r{n}")).raised == RUNS as i64));
}

#[tokio::test]
async fn a_round_that_fails_before_it_has_noted_what_ended_loses_no_delivery_and_no_count() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    let open = || AlertRule { scope: AlertScope::List as i32, ..rule("open", "WorkflowType = 'Nothing'") };
    set(&w, open()).await;
    let permits = Arc::new(Semaphore::new(0));
    // The answer of the webhook, and a notice that cannot be read: in one of the rounds both are seen at once.
    for turns in 0..12 {
        *w.outside.alerts_held.lock().unwrap() = Some(permits.clone());
        fail(&w, &format!("w{turns}")).await;
        *w.outside.alerts_held.lock().unwrap() = None;
        let engine = w.engine.clone();
        w.store.held.store(true, SeqCst);
        let start = tokio::spawn(async move { engine.start_workflow(start_request(&format!("held{turns}"))).await });
        w.settle().await;
        w.store.held.store(false, SeqCst);
        w.store.notices_unreadable.store(1, SeqCst);
        w.store.permits.add_permits(1);
        for _ in 0..turns {
            tokio::task::yield_now().await;
        }
        permits.add_permits(1);
        soon(start).await.unwrap().unwrap();
        w.settle().await;
        w.store.notices_unreadable.store(0, SeqCst);
        for _ in 0..3 {
            w.advance(Span::seconds(6)).await;
        }
        assert_eq!(info(&w, "failed").waiting, 0, "after {turns} turns");
        let task = w.poll().await;
        w.complete(&task.task_token, done()).await;
    }
    assert_eq!(ids(&w).len(), 12);
}

#[tokio::test]
async fn a_rule_with_many_rows_goes_as_a_whole() {
    let w = world_with(allowing()).await;
    w.outside.silent.store(true, SeqCst);
    set(&w, rule("many", FAILED)).await;
    test(&w, "many", 1500).await;
    assert_eq!(rows(&w), 1500);
    let delete = DeleteAlertRuleRequest { namespace: NAMESPACE.into(), name: "many".into() };
    soon(w.engine.delete_alert_rule(delete)).await.unwrap();
    w.settle().await;
    assert_eq!((rows(&w), w.engine.alerts_waiting()), (0, 0));
}

#[tokio::test]
async fn with_all_places_taken_a_rule_in_trouble_waits_without_spinning() {
    let w = world_with(allowing()).await;
    set(&w, rule("trouble", FAILED)).await;
    w.outside.takes_no_alerts.store(true, SeqCst);
    test(&w, "trouble", 1).await;
    assert_eq!(tries(&w, "trouble"), 1);
    let permits = Arc::new(Semaphore::new(0));
    *w.outside.alerts_held.lock().unwrap() = Some(permits.clone());
    w.outside.takes_no_alerts.store(false, SeqCst);
    for n in 0..8 {
        set(&w, rule(&format!("r{n}"), FAILED)).await;
        test(&w, &format!("r{n}"), 4).await;
    }
    // A loop that never waits would not come back from here.
    w.advance(Span::seconds(2)).await;
    assert_eq!(tries(&w, "trouble"), 1, "there is no place");
    permits.add_permits(1);
    w.settle().await;
    assert_eq!(tries(&w, "trouble"), 2, "the first that is free");
}

#[tokio::test]
async fn every_rule_gets_its_turn_while_others_have_more_to_send_than_places() {
    let w = world_with(allowing()).await;
    let permits = Arc::new(Semaphore::new(0));
    *w.outside.alerts_held.lock().unwrap() = Some(permits.clone());
    for n in 0..10 {
        set(&w, rule(&format!("r{n}"), FAILED)).await;
        test(&w, &format!("r{n}"), 20).await;
    }
    assert_eq!((tries(&w, "r7"), tries(&w, "r8"), tries(&w, "r9")), (4, 0, 0), "32 places");
    permits.add_permits(8);
    w.settle().await;
    assert_eq!((tries(&w, "r8"), tries(&w, "r9")), (4, 4));
}

/// Alerts of a state that were taken: what they count.
fn counts(w: &World, state: AlertState) -> Vec<i64> {
    let sent = w.outside.alerts.lock().unwrap();
    sent.iter().filter(|(call, taken)| *taken && call.alert.state() == state).map(|(call, _)| call.alert.count).collect()
}

#[tokio::test]
async fn a_run_beyond_what_a_rule_remembers_is_counted_once_over_changes_and_starts() {
    const REMEMBERED: u128 = 100_000;
    let mut w = world_with(allowing()).await;
    set(&w, rule("all", "WorkflowType = 'Test'")).await;
    w.start("told").await;
    w.settle().await;
    // Of one it is written that it was told of; of others as if they were there.
    let (told, _) = w.store.rows(Table::Notice).into_iter().find(|(key, _)| key[0] == b'r').unwrap();
    let mut batch = CommitBatch::new(Fence { shard: u32::MAX - 999, epoch: w.store.inner.acquire(u32::MAX - 999).await.unwrap() });
    (1..REMEMBERED).for_each(|n| batch.put(Table::Notice, &[&told[..17], &n.to_be_bytes()].concat(), &[]));
    w.store.inner.commit(batch).await.unwrap();
    w.crash().await;
    w.settle().await;
    assert_eq!(info(&w, "all").raised as u128, REMEMBERED);
    let pause = || PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "left out".into(), ..Default::default() };
    let unpause = || UnpauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "left out".into(), ..Default::default() };
    w.start("left out").await;
    soon(w.engine.pause_workflow(pause())).await.unwrap();
    w.settle().await;
    w.crash().await;
    w.settle().await;
    soon(w.engine.unpause_workflow(unpause())).await.unwrap();
    w.settle().await;
    assert_eq!((counts(&w, AlertState::Firing), counts(&w, AlertState::LeftOut)), (vec![0], vec![]));
    // One that was told of ends: there is room.
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(sempre_api::v1::common::WorkflowExecution { workflow_id: "told".into(), run_id: String::new() }),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    w.settle().await;
    assert_eq!(counts(&w, AlertState::LeftOut), [1]);
    soon(w.engine.pause_workflow(pause())).await.unwrap();
    w.settle().await;
    assert_eq!(taken(&w).last(), Some(&firing("all", "left out")));
    assert_eq!(counts(&w, AlertState::LeftOut), [1]);
    assert!(w.store.rows(Table::Notice).iter().all(|(key, _)| key[0] != b'l'), "nothing is left of it");
}

#[tokio::test]
async fn a_namespace_with_many_alerts_can_be_removed() {
    let w = world_with(allowing()).await;
    w.outside.silent.store(true, SeqCst);
    set(&w, rule("many", FAILED)).await;
    test(&w, "many", 2500).await;
    let delete = DeleteNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let namespace = w.engine.delete_namespace(delete).await.unwrap().deleted_namespace;
    for _ in 0..5 {
        w.advance(Span::seconds(10)).await;
    }
    assert_eq!(rows(&w), 0);
    let describe = DescribeNamespaceRequest { namespace, ..Default::default() };
    assert!(matches!(w.engine.describe_namespace(describe).await, Err(Refusal::NamespaceNotFound(_))));
}

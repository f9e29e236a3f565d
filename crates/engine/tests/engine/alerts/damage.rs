//! Rows that cannot be read, a store that does not answer, settings that leave a rule blind.

use sempre_store::{CommitBatch, Fence};

use super::*;

async fn test_rule(w: &World, name: &str) -> Result<TestAlertRuleResponse, Refusal> {
    soon(w.engine.test_alert_rule(TestAlertRuleRequest { namespace: NAMESPACE.into(), name: name.into() })).await
}

/// Writes a row past everybody.
async fn put(w: &World, table: Table, key: &[u8], value: &[u8]) {
    const NOBODY: u32 = u32::MAX - 999;
    let epoch = w.store.inner.acquire(NOBODY).await.unwrap();
    let mut batch = CommitBatch::new(Fence { shard: NOBODY, epoch });
    batch.put(table, key, value);
    w.store.inner.commit(batch).await.unwrap();
}

#[tokio::test]
async fn a_test_is_refused_while_nothing_can_be_written_and_when_the_server_stops() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    // Nothing can be acquired: no round begins for a while.
    w.store.full.store(3, SeqCst);
    w.store.refuse.store(1, SeqCst);
    assert!(matches!(test_rule(&w, "failed").await, Err(Refusal::Unavailable(_))));
    let asked = w.engine.test_alert_rule(TestAlertRuleRequest { namespace: NAMESPACE.into(), name: "failed".into() });
    let (asked, ()) = soon(async { tokio::join!(asked, w.advance(Span::seconds(2))) }).await;
    assert!(matches!(asked, Err(Refusal::Unavailable(_))), "{asked:?}");
    for _ in 0..4 {
        w.advance(Span::seconds(2)).await;
    }
    test_rule(&w, "failed").await.unwrap();
    w.settle().await;
    assert_eq!(ids(&w).len(), 1, "those that were refused are not sent later");
    soon(w.engine.shutdown()).await;
    assert!(matches!(test_rule(&w, "failed").await, Err(Refusal::Unavailable(_))));
}

#[tokio::test]
async fn a_damaged_rule_loses_no_alert_and_a_damaged_alert_stops_no_other() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    set(&w, rule("other", FAILED)).await;
    w.outside.takes_no_alerts.store(true, SeqCst);
    fail(&w, "a").await;
    let alerts = |w: &World| w.store.rows(Table::Notice).into_iter().filter(|(key, _)| key[0] == b'a').collect::<Vec<_>>();
    assert_eq!(alerts(&w).len(), 2);
    let named = |w: &World, name: &str| {
        let rows = w.store.rows(Table::Meta).into_iter();
        rows.filter(|(key, _)| key[0] == b'a' && key.ends_with(name.as_bytes())).collect::<Vec<_>>().remove(0)
    };
    let (key, whole) = named(&w, "failed");
    put(&w, Table::Meta, &key, &[0xff; 8]).await;
    w.crash().await;
    w.advance(Span::seconds(2)).await;
    w.advance(Span::seconds(2)).await;
    assert_eq!(alerts(&w).len(), 2, "nothing of a rule that cannot be read goes");
    put(&w, Table::Meta, &key, &whole).await;
    w.outside.takes_no_alerts.store(false, SeqCst);
    w.crash().await;
    w.advance(Span::seconds(61)).await;
    let told: BTreeSet<String> = taken(&w).into_iter().map(|(rule, ..)| rule).collect();
    assert_eq!(told, ["failed".to_owned(), "other".into()].into());

    // The same of an alert.
    w.outside.takes_no_alerts.store(true, SeqCst);
    fail(&w, "b").await;
    let waiting = alerts(&w).split_off(2);
    put(&w, Table::Notice, &waiting[0].0, &[0xff; 8]).await;
    w.outside.takes_no_alerts.store(false, SeqCst);
    w.crash().await;
    w.advance(Span::seconds(61)).await;
    assert_eq!(taken(&w).len(), 3);
    fail(&w, "c").await;
    assert_eq!((taken(&w).len(), ids(&w).len()), (5, 5), "under numbers of their own");
    put(&w, Table::Notice, &waiting[0].0, &waiting[0].1).await;
}

#[tokio::test]
async fn rules_about_each_run_say_so_when_no_notices_are_kept() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    set(&w, AlertRule { scope: AlertScope::List as i32, ..rule("list", "ExecutionStatus = 'Running'") }).await;
    assert_eq!(info(&w, "failed").problem, "");
    w.change_settings(|settings| settings.notices_kept = 0);
    w.crash().await;
    w.settle().await;
    assert!(info(&w, "failed").problem.contains("--notices-kept"), "{}", info(&w, "failed").problem);
    assert_eq!(info(&w, "list").problem, "");
}

//! Rules and their alerts: what fires, what is sent again, crashes in between.

use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

use sempre_api::{
    sempre::v1::*,
    v1::{
        command::{FailWorkflowExecutionCommandAttributes, command::Attributes},
        enums::CommandType,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span, validate::AddressRule};
use sempre_engine::Settings;
use sempre_store::Table;

use crate::support::*;

mod bounds;
mod conditions;
mod damage;
mod declared;
mod turns;

const URL: &str = "https://me:pass@hooks.test/x";

fn rule(name: &str, query: &str) -> AlertRule {
    let webhook = Some(AlertWebhook { url: URL.into(), secret: "shh".into() });
    AlertRule { name: name.into(), query: query.into(), webhook, ..Default::default() }
}

fn allowing() -> Settings {
    let mut settings = settings();
    settings.limits.callback_addresses = vec![AddressRule { pattern: "hooks.test".into(), allow_insecure: false }];
    settings
}

async fn try_set(w: &World, rule: AlertRule) -> Result<SetAlertRuleResponse, Refusal> {
    let request = SetAlertRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 };
    soon(w.engine.set_alert_rule(request, "fresh".into())).await
}

async fn set(w: &World, rule: AlertRule) -> AlertRuleInfo {
    let info = try_set(w, rule).await.unwrap().rule.unwrap();
    w.settle().await;
    info
}

fn info(w: &World, name: &str) -> AlertRuleInfo {
    let rules = w.engine.list_alert_rules(&ListAlertRulesRequest { namespace: NAMESPACE.into() }).unwrap().rules;
    rules.into_iter().find(|info| info.rule.as_ref().unwrap().name == name).unwrap()
}

/// Alerts that were taken: rule, state, workflow id.
fn taken(w: &World) -> Vec<(String, AlertState, String)> {
    let sent = w.outside.alerts.lock().unwrap();
    let of = |alert: &Alert| {
        let run = alert.run.as_ref().and_then(|run| run.execution.clone()).unwrap_or_default();
        (alert.rule.clone(), alert.state(), run.workflow_id)
    };
    sent.iter().filter(|(_, taken)| *taken).map(|(call, _)| of(&call.alert)).collect()
}

fn ids(w: &World) -> BTreeSet<String> {
    w.outside.alerts.lock().unwrap().iter().filter(|(_, taken)| *taken).map(|(call, _)| call.alert.id.clone()).collect()
}

/// Starts a workflow and has it fail.
async fn fail(w: &World, workflow_id: &str) {
    w.start(workflow_id).await;
    let task = w.poll().await;
    let attributes = FailWorkflowExecutionCommandAttributes { failure: Some(Default::default()) };
    let commands = vec![command(CommandType::FailWorkflowExecution, Attributes::FailWorkflowExecutionCommandAttributes(attributes))];
    w.complete(&task.task_token, commands).await;
    w.settle().await;
}

fn firing(rule: &str, workflow_id: &str) -> (String, AlertState, String) {
    (rule.into(), AlertState::Firing, workflow_id.into())
}

/// Selects runs that are open, in so many bytes.
fn long_query(bytes: usize) -> String {
    let begin = "ExecutionStatus = 'Running' OR WorkflowId = '";
    format!("{begin}{}'", "x".repeat(bytes - begin.len() - 1))
}

const FAILED: &str = "WorkflowType = 'Test' AND ExecutionStatus = 'Failed'";

#[tokio::test]
async fn each_failed_run_is_told_once_and_none_from_before_the_rule() {
    let mut w = world_with(allowing()).await;
    fail(&w, "before").await;
    set(&w, rule("failed", FAILED)).await;
    fail(&w, "one").await;
    w.start("fine").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    fail(&w, "two").await;
    let expected = [firing("failed", "one"), firing("failed", "two")];
    assert_eq!(taken(&w), expected);
    w.crash().await;
    w.settle().await;
    w.reopen().await;
    w.settle().await;
    assert_eq!(taken(&w), expected, "what was delivered is not sent again");
    fail(&w, "three").await;
    assert_eq!(taken(&w).len(), 3);
    let call = w.outside.alerts.lock().unwrap()[0].0.clone();
    assert_eq!((call.url.as_str(), call.secret.as_str(), call.alert.namespace.as_str()), (URL, "shh", NAMESPACE));
    assert!(call.alert.notice > 0);
}

#[tokio::test]
async fn an_open_run_is_told_when_it_begins_to_be_selected_and_again_when_it_begins_anew() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("paused", "ExecutionStatus = 'Paused'")).await;
    w.start("w").await;
    let pause = || PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "w".into(), ..Default::default() };
    let unpause = || UnpauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "w".into(), ..Default::default() };
    soon(w.engine.pause_workflow(pause())).await.unwrap();
    w.settle().await;
    assert_eq!((taken(&w).len(), info(&w, "paused").raised), (1, 1));
    w.crash().await;
    w.settle().await;
    assert_eq!(info(&w, "paused").raised, 1);
    soon(w.engine.unpause_workflow(unpause())).await.unwrap();
    w.settle().await;
    assert_eq!((taken(&w).len(), info(&w, "paused").raised), (1, 0));
    soon(w.engine.pause_workflow(pause())).await.unwrap();
    w.settle().await;
    assert_eq!(taken(&w).len(), 2);
    assert_eq!(ids(&w).len(), 2, "it is another alert");
}

#[tokio::test]
async fn a_webhook_that_is_down_gets_everything_later_under_the_same_ids_over_crashes() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    w.outside.takes_no_alerts.store(true, SeqCst);
    for n in 0..6 {
        fail(&w, &format!("w{n}")).await;
        w.advance(Span::seconds(5)).await;
        if n % 2 == 1 {
            w.crash().await;
            w.settle().await;
        }
    }
    assert_eq!(info(&w, "failed").waiting, 6);
    assert_eq!(info(&w, "failed").last_error, "down");
    let tried = w.outside.alerts.lock().unwrap().len();
    w.advance(Span::seconds(1)).await;
    assert!(w.outside.alerts.lock().unwrap().len() <= tried + 1, "one at a time, and with pauses");
    let tried: BTreeSet<String> = w.outside.alerts.lock().unwrap().iter().map(|(call, _)| call.alert.id.clone()).collect();
    w.outside.takes_no_alerts.store(false, SeqCst);
    w.advance(Span::seconds(61)).await;
    assert_eq!(ids(&w).len(), 6);
    assert!(tried.is_subset(&ids(&w)));
    assert_eq!(info(&w, "failed").waiting, 0);
    assert_eq!(info(&w, "failed").last_error, "");
    let all = w.engine.list_alerts(&ListAlertsRequest { namespace: NAMESPACE.into(), ..Default::default() }).unwrap().alerts;
    assert_eq!(all.len(), 6);
    assert!(all.iter().all(|one| one.state() == AlertDeliveryState::Delivered));
}

#[tokio::test]
async fn a_crash_between_sending_and_noting_it_sends_the_same_again() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    w.outside.silent.store(true, SeqCst);
    fail(&w, "w").await;
    w.outside.silent.store(false, SeqCst);
    w.crash().await;
    w.settle().await;
    let sent: Vec<String> = w.outside.alerts.lock().unwrap().iter().map(|(call, _)| call.alert.id.clone()).collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0], sent[1]);
}

#[tokio::test]
async fn a_failed_commit_of_an_alert_sends_nothing_and_one_in_doubt_sends_what_is_there() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    let test = || w.engine.test_alert_rule(TestAlertRuleRequest { namespace: NAMESPACE.into(), name: "failed".into() });
    w.store.refuse.store(1, SeqCst);
    assert!(matches!(soon(test()).await, Err(Refusal::Unavailable(_))));
    w.advance(Span::seconds(2)).await;
    assert_eq!(ids(&w).len(), 0);
    w.store.doubt.store(1, SeqCst);
    assert!(matches!(soon(test()).await, Err(Refusal::Unavailable(_))));
    w.advance(Span::seconds(2)).await;
    assert_eq!(ids(&w).len(), 1, "it is there");
    soon(test()).await.unwrap();
    w.settle().await;
    assert_eq!(ids(&w).len(), 2, "under another id");
}

#[tokio::test]
async fn a_failed_commit_of_what_was_seen_loses_no_alert() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    for n in 0..5 {
        // Whichever commit it is: that of the run, of the alert, or of its delivery.
        fail(&w, &format!("a{n}")).await;
        w.store.refuse.store(1, SeqCst);
        assert!(w.try_start(start_request(&format!("refused{n}"))).await.is_err());
        w.advance(Span::seconds(5)).await;
        w.store.doubt.store(1, SeqCst);
        assert!(w.try_start(start_request(&format!("doubt{n}"))).await.is_err());
        w.advance(Span::seconds(5)).await;
        let task = w.poll().await;
        w.complete(&task.task_token, done()).await;
    }
    w.advance(Span::seconds(2)).await;
    assert_eq!(ids(&w).len(), 5);
}

#[tokio::test]
async fn a_store_that_breaks_under_an_alert_ends_the_engine_and_the_next_process_sends_what_is_due() {
    let mut w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    w.outside.takes_no_alerts.store(true, SeqCst);
    fail(&w, "noted").await;
    fail(&w, "next").await;
    // Shards take away what the index has taken over, and then have nothing to write.
    w.advance(Span::seconds(5)).await;
    w.store.broken.store(true, SeqCst);
    w.outside.takes_no_alerts.store(false, SeqCst);
    w.advance(Span::seconds(61)).await;
    assert!(!ids(&w).is_empty(), "it was sent");
    assert!(soon(w.engine.fatal()).await.contains("the store has failed: broken"));
    assert_eq!(w.engine.stats().commit_failures.get(), 0, "no shard has heard of it");
    w.store.broken.store(false, SeqCst);
    w.crash().await;
    w.advance(Span::seconds(61)).await;
    let told: BTreeSet<String> = taken(&w).into_iter().map(|(.., workflow_id)| workflow_id).collect();
    assert_eq!(told, ["next".into(), "noted".into()].into());
    assert_eq!(ids(&w).len(), 2, "what was taken before has come again under its id");
}

#[tokio::test]
async fn a_list_tells_when_it_fills_and_when_it_is_empty_again() {
    let mut w = world_with(allowing()).await;
    let open = AlertRule {
        scope: AlertScope::List as i32,
        hold: Some(Span::seconds(300).to_api()),
        ..rule("no pollers", "SempreTaskQueuePollers = 0 AND TaskQueue = 'queue'")
    };
    set(&w, open).await;
    w.start("w").await;
    w.advance(Span::seconds(6)).await;
    w.advance(Span::seconds(200)).await;
    w.crash().await;
    w.advance(Span::seconds(50)).await;
    assert_eq!(taken(&w), [], "it holds back");
    w.advance(Span::seconds(60)).await;
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w), [firing("no pollers", "w")]);
    assert!(info(&w, "no pollers").firing);
    w.advance(Span::seconds(6)).await;
    w.crash().await;
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w).len(), 1, "once");
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.advance(Span::seconds(6)).await;
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w)[1], ("no pollers".into(), AlertState::Resolved, String::new()));
    assert!(!info(&w, "no pollers").firing);
}

#[tokio::test]
async fn a_list_that_is_filled_for_a_moment_only_is_told_all_the_same() {
    let w = world_with(allowing()).await;
    set(&w, AlertRule { scope: AlertScope::List as i32, ..rule("open", "ExecutionStatus = 'Running'") }).await;
    w.advance(Span::seconds(6)).await;
    w.start("w").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    assert_eq!(taken(&w), [firing("open", "w")]);
    w.advance(Span::seconds(6)).await;
    assert_eq!(taken(&w)[1].1, AlertState::Resolved);
}

#[tokio::test]
async fn rules_are_checked_and_secrets_are_never_told() {
    let w = world_with(allowing()).await;
    let text = |result: Result<SetAlertRuleResponse, Refusal>| match result {
        Err(Refusal::InvalidArgument(text) | Refusal::FailedPrecondition(text)) => text,
        other => panic!("{other:?}"),
    };
    let elsewhere = AlertWebhook { url: "http://169.254.169.254/".into(), secret: String::new() };
    for (bad, why) in [
        (rule("", FAILED), "the name has 1 to 200 bytes"),
        (rule("r", " "), "it needs a query"),
        (rule("r", "Nothing = 1"), "Nothing"),
        (rule("r", &long_query(5000)), "the query has 5000 bytes, at most 4096 are allowed"),
        (rule("r", "SempreTaskQueuePollers = 0"), "needs the scope LIST"),
        (AlertRule { hold: Some(Span::seconds(1).to_api()), ..rule("r", FAILED) }, "hold needs the scope LIST"),
        (AlertRule { webhook: None, ..rule("r", FAILED) }, "it needs a webhook"),
        (AlertRule { webhook: Some(elsewhere), ..rule("r", FAILED) }, "url does not match any configured callback address"),
    ] {
        let told = text(try_set(&w, bad).await);
        assert!(told.contains(why), "{told}");
    }
    let mut plain = rule("r", FAILED);
    plain.webhook.as_mut().unwrap().secret.clear();
    let made = try_set(&w, plain.clone()).await.unwrap();
    assert_eq!(made.secret, "fresh", "told once");
    let webhook = made.rule.unwrap().rule.unwrap().webhook.unwrap();
    assert_eq!(webhook, AlertWebhook { url: "https://hooks.test/…".into(), secret: String::new() });
    assert_eq!(try_set(&w, plain).await.unwrap().secret, "", "it keeps its secret");
    assert_eq!(info(&w, "r").version, 2);
    assert_eq!(info(&w, "r").rule.unwrap().webhook, Some(webhook.clone()), "nor do lists tell it");
    let told = text(try_set(&w, AlertRule { webhook: Some(webhook), ..rule("r", FAILED) }).await);
    assert!(told.contains("give the whole one"), "{told}");
    let nowhere = world().await;
    assert!(text(try_set(&nowhere, rule("r", FAILED)).await).contains("component.callbacks.allowedAddresses"));
}

#[tokio::test]
async fn an_address_and_a_secret_that_are_not_given_stay() {
    let w = world_with(allowing()).await;
    let kept = || AlertRule { webhook: Some(AlertWebhook::default()), ..rule("r", "WorkflowType = 'Other'") };
    let refused = try_set(&w, kept()).await;
    assert!(matches!(&refused, Err(Refusal::InvalidArgument(text)) if text.contains("it needs a webhook")), "{refused:?}");
    set(&w, rule("r", FAILED)).await;
    let info = set(&w, kept()).await;
    assert_eq!((info.version, info.from_file), (2, false));
    let test = TestAlertRuleRequest { namespace: NAMESPACE.into(), name: "r".into() };
    soon(w.engine.test_alert_rule(test)).await.unwrap();
    w.settle().await;
    let call = w.outside.alerts.lock().unwrap()[0].0.clone();
    assert_eq!((call.url.as_str(), call.secret.as_str()), (URL, "shh"));
    assert_eq!(call.alert.query, "WorkflowType = 'Other'");
}

#[tokio::test]
async fn a_rule_that_is_taken_away_takes_its_alerts_along() {
    let w = world_with(allowing()).await;
    set(&w, rule("failed", FAILED)).await;
    let test = TestAlertRuleRequest { namespace: NAMESPACE.into(), name: "failed".into() };
    let alert = soon(w.engine.test_alert_rule(test)).await.unwrap().alert.unwrap();
    w.settle().await;
    assert_eq!(alert.state(), AlertState::Test);
    assert_eq!(ids(&w), [alert.id].into());
    w.outside.takes_no_alerts.store(true, SeqCst);
    fail(&w, "w").await;
    let delete = DeleteAlertRuleRequest { namespace: NAMESPACE.into(), name: "failed".into() };
    soon(w.engine.delete_alert_rule(delete.clone())).await.unwrap();
    w.settle().await;
    let alerts = w.store.rows(Table::Notice).into_iter().filter(|(key, _)| key[0] == b'a').count();
    assert_eq!(alerts, 0);
    assert!(matches!(soon(w.engine.delete_alert_rule(delete)).await, Err(Refusal::NotFound(_))));
}

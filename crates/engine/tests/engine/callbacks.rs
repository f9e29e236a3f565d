//! Completion callbacks: what is owed to the outside survives everything, and holds nothing up.

use std::sync::atomic::Ordering;

use sempre_api::v1::{
    common::{Callback, callback},
    enums::CallbackState,
    workflow::CallbackInfo,
    workflowservice::*,
};
use sempre_core::{Span, transition::CallbackResult, validate::AddressRule};
use sempre_engine::Settings;
use sempre_store::Table;

use crate::support::*;

fn settings_with_addresses() -> Settings {
    let mut settings = settings();
    settings.limits.callback_addresses = vec![AddressRule { pattern: "*".into(), allow_insecure: true }];
    settings
}

fn request(id: &str) -> StartWorkflowExecutionRequest {
    let nexus = callback::Nexus { url: "http://outside:80/".into(), ..Default::default() };
    let callback = Callback { variant: Some(callback::Variant::Nexus(nexus)), ..Default::default() };
    StartWorkflowExecutionRequest { completion_callbacks: vec![callback], ..start_request(id) }
}

async fn callback_of(w: &World, id: &str) -> CallbackInfo {
    w.describe(id).await.unwrap().callbacks.remove(0)
}

async fn run_to_the_end(w: &World, id: &str) {
    w.try_start(request(id)).await.unwrap();
    assert_eq!(callback_of(w, id).await.state(), CallbackState::Standby);
    w.complete(&w.poll().await.task_token, done()).await;
}

async fn until_state(w: &World, id: &str, state: CallbackState) -> CallbackInfo {
    for _ in 0..1000 {
        let info = callback_of(w, id).await;
        if info.state() == state {
            return info;
        }
        w.settle().await;
    }
    panic!("the callback never was {state:?}: {:?}", callback_of(w, id).await);
}

#[tokio::test]
async fn a_callback_is_tried_until_it_is_taken() {
    let w = world_with(settings_with_addresses()).await;
    w.outside.answers.lock().unwrap().push_back(CallbackResult::Undelivered("busy".into()));
    run_to_the_end(&w, "a").await;
    assert_eq!(until_state(&w, "a", CallbackState::BackingOff).await.attempt, 1);
    assert!(w.store.rows(Table::Outbox).is_empty(), "what waits is the run's own deadline");
    w.advance(Span::seconds(1)).await;
    assert_eq!(until_state(&w, "a", CallbackState::Succeeded).await.attempt, 2);
    assert_eq!(w.outside.calls.lock().unwrap().len(), 2);
    assert!(w.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn a_restart_forgets_no_callback() {
    let mut w = world_with(settings_with_addresses()).await;
    w.outside.silent.store(true, Ordering::SeqCst);
    run_to_the_end(&w, "a").await;
    w.until("the callback is on its way", || !w.outside.calls.lock().unwrap().is_empty()).await;
    w.reopen().await;
    w.until("it is sent again", || w.outside.calls.lock().unwrap().len() == 2).await;
    w.outside.silent.store(false, Ordering::SeqCst);
    w.outside.answers.lock().unwrap().push_back(CallbackResult::Undelivered("busy".into()));
    w.reopen().await;
    until_state(&w, "a", CallbackState::BackingOff).await;
    w.reopen().await;
    w.advance(Span::seconds(1)).await;
    until_state(&w, "a", CallbackState::Succeeded).await;
}

/// 64 messages between runs may be under way at once: those who do not answer are not among them.
#[tokio::test]
async fn a_silent_outside_does_not_hold_up_runs() {
    let w = world_with(Settings { shards: 1, ..settings_with_addresses() }).await;
    w.outside.silent.store(true, Ordering::SeqCst);
    for number in 0..70 {
        run_to_the_end(&w, &format!("w{number}")).await;
    }
    w.until("all are on their way", || w.outside.calls.lock().unwrap().len() == 70).await;
}

#[tokio::test]
async fn a_host_that_fails_too_often_is_left_alone_for_a_minute() {
    let w = world_with(settings_with_addresses()).await;
    for _ in 0..6 {
        w.outside.answers.lock().unwrap().push_back(CallbackResult::Undelivered("down".into()));
    }
    run_to_the_end(&w, "a").await;
    for wait in [1, 2, 4, 8, 16, 32] {
        until_state(&w, "a", CallbackState::BackingOff).await;
        w.advance(Span::seconds(wait)).await;
    }
    let info = until_state(&w, "a", CallbackState::Blocked).await;
    assert_eq!((info.attempt, info.blocked_reason.as_str()), (6, "The circuit breaker is open."));
    assert_eq!(info.last_attempt_failure.unwrap().message, "down");
    // Another run's callback to that host waits, too; nobody is asked.
    run_to_the_end(&w, "b").await;
    assert_eq!(until_state(&w, "b", CallbackState::Blocked).await.attempt, 0);
    assert_eq!(w.outside.calls.lock().unwrap().len(), 6);
    assert!(w.store.rows(Table::Outbox).is_empty(), "what waits is the run's own deadline");
    w.advance(Span::seconds(28)).await;
    until_state(&w, "b", CallbackState::Succeeded).await;
    // The one that has failed so often waits for as long as it would have without the breaker.
    w.advance(Span::seconds(36)).await;
    until_state(&w, "a", CallbackState::Succeeded).await;
    assert_eq!(w.outside.calls.lock().unwrap().len(), 8);
}

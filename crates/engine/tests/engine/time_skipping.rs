//! Time skipping of single runs: what the engine adds to core's rules. The clock stands still unless a test moves it.

use sempre_api::{
    FieldMask,
    v1::{
        command::{Command, ContinueAsNewWorkflowExecutionCommandAttributes, command::Attributes},
        common::{FastForwardConfig, TimeSkippingConfig, WorkflowType},
        enums::{CommandType, FastForwardPollingResult as Polled},
        workflow::WorkflowExecutionOptions,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};

use crate::support::*;

const HOUR: Span = Span::seconds(3600);

async fn skipping_world() -> World {
    let mut settings = settings();
    settings.limits.time_skipping = true;
    world_with(settings).await
}

fn ahead(id: &str, span: Span) -> TimeSkippingConfig {
    TimeSkippingConfig {
        enabled: true,
        fast_forward_config: Some(FastForwardConfig { id: id.into(), duration: Some(span.to_api()) }),
        ..Default::default()
    }
}

async fn start(w: &World, config: TimeSkippingConfig) {
    w.try_start(StartWorkflowExecutionRequest { time_skipping_config: Some(config), ..start_request("a") }).await.unwrap();
}

fn poll_request_of(id: &str) -> PollWorkflowExecutionTimeSkippingRequest {
    PollWorkflowExecutionTimeSkippingRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        fast_forward_id: id.into(),
    }
}

/// Begins to wait, and is surely waiting when it returns.
async fn wait_for(w: &World, id: &str) -> tokio::task::JoinHandle<PollWorkflowExecutionTimeSkippingResponse> {
    let (engine, request) = (w.engine.clone(), poll_request_of(id));
    let waiting = tokio::spawn(async move { engine.poll_time_skipping(request, None).await.unwrap() });
    w.settle().await;
    assert!(!waiting.is_finished(), "it waits");
    waiting
}

async fn polled(waiting: tokio::task::JoinHandle<PollWorkflowExecutionTimeSkippingResponse>) -> (Polled, String) {
    let answer = soon(waiting).await.unwrap();
    assert!(answer.fast_forward_info.is_some() || answer.failed_reason.contains("does not match"));
    (answer.fast_forward_polling_result(), answer.failed_reason)
}

async fn set(w: &World, config: Option<TimeSkippingConfig>) {
    let request = UpdateWorkflowExecutionOptionsRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        workflow_execution_options: Some(WorkflowExecutionOptions { time_skipping_config: config, ..Default::default() }),
        update_mask: Some(FieldMask { paths: vec!["time_skipping_config".into()] }),
        ..Default::default()
    };
    soon(w.engine.update_workflow_options(request)).await.unwrap();
}

#[tokio::test]
async fn a_run_skips_its_timers_and_nobody_elses() {
    let w = skipping_world().await;
    w.start("b").await;
    w.complete(&w.poll().await.task_token, vec![timer("t", HOUR)]).await;
    start(&w, TimeSkippingConfig { enabled: true, ..Default::default() }).await;
    for month in 0..12 {
        w.complete(&w.poll().await.task_token, vec![timer(&format!("t{month}"), Span(HOUR.0 * 24 * 30))]).await;
    }
    w.complete(&w.poll().await.task_token, done()).await;
    assert_eq!(w.names("a").await.iter().filter(|name| **name == "TIMER_FIRED").count(), 12);
    assert_eq!(w.names("b").await.last(), Some(&"TIMER_STARTED"));
}

#[tokio::test]
async fn a_poll_hears_of_the_end_of_a_fast_forward_across_a_chain() {
    let w = skipping_world().await;
    start(&w, ahead("f", HOUR)).await;
    let waiting = wait_for(&w, "f").await;
    let again = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType { name: "Type".into() }),
        task_queue: Some(queue()),
        ..Default::default()
    };
    let attributes = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(Box::new(again));
    let again: Command = command(CommandType::ContinueAsNewWorkflowExecution, attributes);
    w.complete(&w.poll().await.task_token, vec![again]).await;
    w.settle().await;
    assert!(!waiting.is_finished(), "the next run goes on with it");
    w.advance(Span::seconds(2)).await;
    w.complete(&w.poll().await.task_token, vec![]).await;
    assert_eq!(polled(waiting).await, (Polled::FastForwardCompleted, String::new()));
    // Whoever asks again is told at once.
    let answer = soon(w.engine.poll_time_skipping(poll_request_of("f"), None)).await.unwrap();
    assert_eq!(answer.fast_forward_polling_result(), Polled::FastForwardCompleted);
}

#[tokio::test]
async fn a_poll_says_why_a_fast_forward_will_not_end() {
    let w = skipping_world().await;
    start(&w, ahead("f", HOUR)).await;
    let (mismatch, failed) =
        ("the requested fast_forward_id does not match the execution's current fast-forward", Polled::FastForwardFailed);
    let answer = soon(w.engine.poll_time_skipping(poll_request_of("other"), None)).await.unwrap();
    assert_eq!((answer.fast_forward_polling_result(), answer.failed_reason.as_str()), (failed, mismatch));
    assert_eq!(answer.fast_forward_info.unwrap().fast_forward_id, "f");
    // While a worker has the task, what is asked for waits in the buffer: it is told all the same.
    let waiting = wait_for(&w, "f").await;
    let task = w.poll().await;
    w.clock_advance(Span::seconds(1));
    set(&w, Some(ahead("f", HOUR))).await;
    assert_eq!(polled(waiting).await, (failed, "the fast-forward was reset".into()));
    let waiting = wait_for(&w, "f").await;
    set(&w, None).await;
    assert_eq!(polled(waiting).await, (failed, mismatch.into()));
    set(&w, Some(ahead("g", HOUR))).await;
    let waiting = wait_for(&w, "g").await;
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
        ..Default::default()
    };
    soon(w.engine.terminate(terminate)).await.unwrap();
    assert_eq!(polled(waiting).await, (failed, "the execution ended before the fast-forward completed".into()));
    drop(task);
}

#[tokio::test]
async fn a_poll_that_waits_in_vain_says_so_in_time() {
    let w = skipping_world().await;
    start(&w, ahead("f", HOUR)).await;
    let waiting = wait_for(&w, "f").await;
    w.advance(Span::seconds(21)).await;
    assert_eq!(polled(waiting).await, (Polled::PollTimeout, String::new()));
}

#[tokio::test]
async fn polls_that_make_no_sense_are_refused() {
    let w = skipping_world().await;
    start(&w, ahead("f", HOUR)).await;
    let refusal = w.engine.poll_time_skipping(poll_request_of(" "), None).await.unwrap_err();
    assert_eq!(refusal, Refusal::InvalidArgument("Time skipping config invalid: fast_forward_id must be set".into()));
    let nowhere = PollWorkflowExecutionTimeSkippingRequest { workflow_execution: Some(execution("b", "")), ..poll_request_of("f") };
    assert!(matches!(w.engine.poll_time_skipping(nowhere, None).await, Err(Refusal::NotFound(_))));
    let w = world().await;
    let refusal = w.engine.poll_time_skipping(poll_request_of("f"), None).await.unwrap_err();
    assert!(matches!(refusal, Refusal::Unimplemented(_)));
}

#[tokio::test]
async fn a_run_ahead_of_time_goes_on_after_a_crash() {
    let mut w = skipping_world().await;
    start(&w, ahead("f", HOUR)).await;
    w.complete(&w.poll().await.task_token, vec![timer("t", Span(HOUR.0 * 2))]).await;
    w.crash().await;
    w.advance(Span(HOUR.0 - 1_000_000_000)).await;
    assert_eq!(*w.names("a").await.last().unwrap(), "WORKFLOW_EXECUTION_TIME_SKIPPING_TRANSITIONED");
    w.advance(Span::seconds(2)).await;
    assert!(w.names("a").await.contains(&"TIMER_FIRED"));
}

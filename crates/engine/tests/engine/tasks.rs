use std::sync::atomic::Ordering;

use sempre_api::v1::{command::Command, common::WorkflowExecution, workflowservice::*};
use sempre_core::{Refusal, Span};

use crate::support::*;

#[tokio::test]
async fn an_idle_poll_comes_back_empty_in_time() {
    let w = world().await;
    let poll = w.poll_beside();
    // Up to a sixth before the end.
    w.advance(Span::millis(49_999)).await;
    assert!(!poll.is_finished());
    w.advance(Span::millis(10_001)).await;
    assert!(soon(poll).await.unwrap().task_token.is_empty());
    // With a deadline, a second before it.
    let engine = w.engine.clone();
    let deadline = w.engine.now() + Span::seconds(10);
    let poll = tokio::spawn(async move { engine.poll_workflow_task(poll_request(), Some(deadline)).await.unwrap() });
    w.advance(Span::seconds(9)).await;
    assert!(soon(poll).await.unwrap().task_token.is_empty());
    // Without time to wait, at once.
    let now = w.engine.now();
    assert!(soon(w.engine.poll_workflow_task(poll_request(), Some(now))).await.unwrap().task_token.is_empty());
}

#[tokio::test]
async fn a_poll_that_was_dropped_takes_no_task_with_it() {
    let w = world().await;
    let poll = w.poll_beside();
    w.settle().await;
    poll.abort();
    w.settle().await;
    w.start("a").await;
    assert_eq!(w.poll().await.workflow_execution.unwrap().workflow_id, "a");
}

#[tokio::test]
async fn shutdown_answers_open_polls_and_refuses_new_calls() {
    let w = world().await;
    let poll = w.poll_beside();
    w.settle().await;
    soon(w.engine.shutdown()).await;
    assert!(soon(poll).await.unwrap().task_token.is_empty());
    assert!(matches!(w.try_start(start_request("a")).await, Err(Refusal::Unavailable(_))));
    // An empty answer would have a worker of this process ask again at once, for ever.
    let polled = soon(w.engine.poll_workflow_task(poll_request(), None)).await;
    assert!(matches!(polled, Err(Refusal::Unavailable(_))), "{polled:?}");
}

#[tokio::test]
async fn a_sticky_worker_gets_the_next_task_with_only_what_is_new() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    let sticky = w.poll_sticky_beside();
    w.settle().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(1))]).await;
    w.advance(Span::seconds(1)).await;
    let task = soon(sticky).await.unwrap();
    let events = task.history.unwrap().events().unwrap();
    assert_eq!(events[0].event_id, 4);
    assert_eq!(
        names(&events),
        ["WORKFLOW_TASK_COMPLETED", "TIMER_STARTED", "TIMER_FIRED", "WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED"]
    );
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_sticky_worker_that_is_gone_loses_the_task_to_the_normal_queue_at_once() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(20))]).await;
    // Nobody has polled the sticky queue.
    let normal = w.poll_beside();
    w.advance(Span::seconds(20)).await;
    let task = soon(normal).await.unwrap();
    assert_eq!(task.history.unwrap().events().unwrap()[0].event_id, 1, "full history");
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
}

#[tokio::test]
async fn an_offer_moved_before_it_was_written_leaves_no_row() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(20))]).await;
    // No poller anywhere: the offer is written, under the normal queue.
    w.advance(Span::seconds(20)).await;
    assert_eq!(w.store.rows(sempre_store::Table::Offer).len(), 1);
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
}

#[tokio::test]
async fn an_offer_that_moved_is_gone_with_its_run() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(20))]).await;
    // No poller anywhere: the offer is written, under the normal queue. Nobody ever takes it.
    w.advance(Span::seconds(20)).await;
    assert_eq!(w.store.rows(sempre_store::Table::Offer).len(), 1);
    let execution = Some(WorkflowExecution { workflow_id: "a".into(), run_id: String::new() });
    let request = TerminateWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: execution, ..Default::default() };
    soon(w.engine.terminate(request)).await.unwrap();
    w.settle().await;
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
    assert_eq!(w.engine.stats().backlog.get(), 0);
}

#[tokio::test]
async fn a_worker_that_says_goodbye_gives_its_tasks_back() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete_sticky(&task.task_token, vec![timer("t", Span::seconds(1))]).await;
    let sticky = w.poll_sticky_beside();
    w.settle().await;
    sticky.abort();
    w.advance(Span::seconds(1)).await;
    assert_eq!(w.engine.stats().backlog.get(), 1, "it waits for the sticky worker");
    let request = ShutdownWorkerRequest { namespace: NAMESPACE.into(), sticky_task_queue: "sticky-1".into(), ..Default::default() };
    soon(w.engine.shutdown_worker(request)).await.unwrap();
    let task = w.poll().await;
    assert_eq!(task.history.unwrap().events().unwrap()[0].event_id, 1);
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    assert!(w.store.rows(sempre_store::Table::Offer).is_empty());
}

#[tokio::test]
async fn tokens_are_checked() {
    let w = world().await;
    let complete = |task_token: &'static [u8]| RespondWorkflowTaskCompletedRequest {
        task_token: task_token.into(),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    let refusal = |r: Result<_, Refusal>| r.map(drop).unwrap_err();
    assert_eq!(refusal(w.engine.respond_workflow_task_completed(complete(b"")).await), Refusal::invalid("Task token not set on request."));
    assert_eq!(
        refusal(w.engine.respond_workflow_task_completed(complete(b"x")).await),
        Refusal::invalid("Error deserializing task token.")
    );
    w.engine.ensure_namespace("other", Span::seconds(3600)).await.unwrap();
    w.start("a").await;
    let task = w.poll().await;
    let other = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, namespace: "other".into(), ..Default::default() };
    assert_eq!(
        refusal(w.engine.respond_workflow_task_completed(other).await),
        Refusal::invalid("Operation requested with a token from a different namespace.")
    );
}

/// The task is on its way to a poll, which goes at any moment: the next one has it at once, with nothing lost or counted.
#[tokio::test]
async fn a_task_whose_poll_has_gone_goes_to_the_next_one_at_once() {
    let mut lost = 0;
    for seed in 0..60 {
        let w = world().await;
        w.start("a").await;
        let first = w.poll().await;
        w.complete(&first.task_token, vec![]).await;
        let polls: Vec<_> = (0..1 + seed % 3).map(|_| w.poll_beside()).collect();
        w.settle().await;
        w.store.held.store(seed % 2 == 0, Ordering::SeqCst);
        let engine = w.engine.clone();
        let signal = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(execution("a", "")),
            signal_name: "go".into(),
            ..Default::default()
        };
        let signalled = tokio::spawn(async move { engine.signal_workflow(signal).await });
        for _ in 0..seed / 3 {
            tokio::task::yield_now().await;
        }
        polls.iter().for_each(tokio::task::JoinHandle::abort);
        w.store.held.store(false, Ordering::SeqCst);
        w.store.permits.add_permits(100);
        let mut done = 0;
        for poll in polls {
            done += usize::from(soon(poll).await.is_ok_and(|task| !task.task_token.is_empty()));
        }
        soon(signalled).await.unwrap().unwrap();
        if done == 0 {
            let task = w.poll().await;
            lost += w.engine.stats().lost_polls.get();
            assert_eq!((task.attempt, task.workflow_execution.unwrap().workflow_id.as_str()), (1, "a"), "seed {seed}");
            w.complete(&task.task_token, crate::support::done()).await;
            let names = w.names("a").await;
            assert_eq!(names.iter().filter(|name| **name == "WORKFLOW_TASK_STARTED").count(), 2, "seed {seed}: {names:?}");
        }
    }
    assert!(lost > 0, "some seed cuts a poll off between the start and its answer");
}

#[tokio::test]
async fn an_activity_whose_poll_has_gone_goes_to_the_next_one_at_once() {
    use sempre_api::v1::{
        command::{ScheduleActivityTaskCommandAttributes, command::Attributes},
        common::{ActivityType, RetryPolicy},
        enums::CommandType,
    };
    let mut lost = 0;
    for seed in 0..60 {
        let w = world().await;
        w.start("a").await;
        let task = w.poll().await;
        let engine = w.engine.clone();
        let request = PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: Some(queue()),
            identity: "gone".into(),
            ..Default::default()
        };
        let poll = tokio::spawn(async move { engine.poll_activity_task(request, None).await });
        w.settle().await;
        let attributes = ScheduleActivityTaskCommandAttributes {
            activity_id: "1".into(),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: Some(queue()),
            start_to_close_timeout: Some(Span::seconds(3600).to_api()),
            retry_policy: Some(RetryPolicy { maximum_attempts: 1, ..Default::default() }),
            ..Default::default()
        };
        let schedule = command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)));
        let (engine, token) = (w.engine.clone(), task.task_token.clone());
        w.store.held.store(true, Ordering::SeqCst);
        let completed = tokio::spawn(async move {
            let request = RespondWorkflowTaskCompletedRequest { task_token: token, commands: vec![schedule], ..Default::default() };
            engine.respond_workflow_task_completed(request).await
        });
        for _ in 0..seed / 2 {
            tokio::task::yield_now().await;
        }
        poll.abort();
        w.store.held.store(false, Ordering::SeqCst);
        w.store.permits.add_permits(100);
        soon(completed).await.unwrap().unwrap();
        if soon(poll).await.is_ok() {
            continue;
        }
        let task = w.poll_activity().await;
        lost += w.engine.stats().lost_polls.get();
        assert_eq!((task.attempt, task.activity_id.as_str()), (1, "1"), "seed {seed}");
        let done = RespondActivityTaskCompletedRequest { task_token: task.task_token, identity: "worker".into(), ..Default::default() };
        soon(w.engine.respond_activity_task_completed(done)).await.unwrap();
    }
    assert!(lost > 0, "some seed cuts a poll off between the start and its answer");
}

fn page(token: &bytes::Bytes, number: i32, intermediate_page: bool, commands: Vec<Command>) -> RespondWorkflowTaskCompletedRequest {
    RespondWorkflowTaskCompletedRequest {
        task_token: token.clone(),
        commands,
        page_number: number,
        intermediate_page,
        ..Default::default()
    }
}

fn paged() -> sempre_engine::Settings {
    let mut settings = settings();
    settings.shards = 1;
    settings.limits.completion_pages = true;
    settings
}

#[tokio::test]
async fn pages_of_a_completion_stay_while_everything_else_is_evicted() {
    let w = world_with(sempre_engine::Settings { cache_bytes_max: 1, ..paged() }).await;
    w.start("a").await;
    let task = w.poll().await;
    let (first, last) = (page(&task.task_token, 0, true, vec![timer("t", Span::seconds(9))]), page(&task.task_token, 1, false, done()));
    soon(w.engine.respond_workflow_task_completed(first)).await.unwrap();
    for n in 0..20 {
        w.start(&format!("other-{n}")).await;
    }
    assert!(w.engine.stats().cache_evictions.get() > 10);
    soon(w.engine.respond_workflow_task_completed(last)).await.unwrap();
    assert_eq!(w.names("a").await[3..], ["WORKFLOW_TASK_COMPLETED", "TIMER_STARTED", "WORKFLOW_EXECUTION_COMPLETED"]);
}

#[tokio::test]
async fn pages_lost_with_a_failed_commit_are_sent_again() {
    let w = world_with(paged()).await;
    w.start("a").await;
    let task = w.poll().await;
    let first = page(&task.task_token, 0, true, vec![timer("t", Span::seconds(9))]);
    let last = page(&task.task_token, 1, false, done());
    soon(w.engine.respond_workflow_task_completed(first.clone())).await.unwrap();
    w.store.refuse.store(1, Ordering::SeqCst);
    assert!(matches!(w.try_start(start_request("b")).await, Err(Refusal::Unavailable(_))));
    let refused = soon(w.engine.respond_workflow_task_completed(last.clone())).await.unwrap_err();
    assert!(matches!(refused, Refusal::BufferLost(_)), "{refused:?}");
    soon(w.engine.respond_workflow_task_completed(first)).await.unwrap();
    soon(w.engine.respond_workflow_task_completed(last)).await.unwrap();
    assert_eq!(w.names("a").await.len(), 6);
}

#[tokio::test]
async fn pages_have_a_budget_that_is_free_again_when_their_tasks_have_ended() {
    let w = world_with(sempre_engine::Settings { completion_pages_bytes_max: 550, ..paged() }).await;
    w.start("a").await;
    let task = w.poll().await;
    let first = |token| page(token, 0, true, vec![timer("t", Span::seconds(9))]);
    soon(w.engine.respond_workflow_task_completed(first(&task.task_token))).await.unwrap();
    w.start("b").await;
    let other = w.poll().await;
    let refused = soon(w.engine.respond_workflow_task_completed(first(&other.task_token))).await.unwrap_err();
    assert_eq!(refused, Refusal::Overloaded("too many workflow task completions wait for their last page"));
    soon(w.engine.respond_workflow_task_completed(page(&task.task_token, 1, false, done()))).await.unwrap();
    soon(w.engine.respond_workflow_task_completed(first(&other.task_token))).await.unwrap();
}

use std::sync::atomic::Ordering::SeqCst;

use futures::FutureExt;
use sempre_api::{
    sempre::v1::{FlowMatch, FlowRule, SetFlowRuleRequest},
    v1::{
        enums::TaskQueueType,
        workflowservice::{
            RespondWorkflowTaskFailedRequest, UpdateTaskQueueConfigRequest, update_task_queue_config_request::RateLimitUpdate,
        },
    },
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;

use crate::support::*;

fn unavailable<T: std::fmt::Debug>(result: Result<T, Refusal>) {
    assert!(matches!(result, Err(Refusal::Unavailable(_))), "{result:?}");
}

#[tokio::test]
async fn a_refused_commit_changes_nothing_and_the_shard_goes_on() {
    let w = world().await;
    w.start("a").await;
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "lost").await);
    assert_eq!(w.engine.stats().commit_failures.get(), 1);
    assert_eq!(w.names("a").await.len(), 2, "what failed is not to be seen");
    w.signal("a", "kept").await.unwrap();
    let task = w.poll().await;
    assert_eq!(task.history.unwrap().events().unwrap().len(), 4);
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_namespace_whose_commit_is_in_doubt_is_read_again() {
    let mut w = world().await;
    w.store.doubt.store(1, SeqCst);
    w.engine.ensure_namespace("other", sempre_core::Span::seconds(24 * 3600)).await.unwrap();
    w.store.refuse.store(1, SeqCst);
    unavailable(w.engine.ensure_namespace("third", sempre_core::Span::seconds(24 * 3600)).await);
    w.engine.ensure_namespace("third", sempre_core::Span::seconds(24 * 3600)).await.unwrap();
    assert_eq!(w.store.rows(sempre_store::Table::Namespace).len(), 3);
    w.reopen().await;
    w.engine.ensure_namespace("other", sempre_core::Span::seconds(24 * 3600)).await.unwrap();
    assert_eq!(w.store.rows(sempre_store::Table::Namespace).len(), 3);
}

#[tokio::test]
async fn a_commit_in_doubt_is_read_again() {
    let w = world().await;
    w.store.doubt.store(1, SeqCst);
    unavailable(w.try_start(start_request("a")).await);
    // It was committed: its task must not be forgotten, and the repeated call finds it.
    let task = w.poll().await;
    assert_eq!(w.start("a").await, task.workflow_execution.unwrap().run_id);
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_poll_whose_task_failed_to_commit_waits_on() {
    let w = world().await;
    let poll = w.poll_beside();
    w.settle().await;
    w.store.refuse.store(1, SeqCst);
    unavailable(w.try_start(start_request("a")).await);
    w.settle().await;
    assert!(!poll.is_finished());
    w.start("a").await;
    assert_eq!(soon(poll).await.unwrap().started_event_id, 3);
}

#[tokio::test]
async fn timers_and_messages_survive_a_failed_commit() {
    let w = world().await;
    w.start("a").await;
    w.start("b").await;
    for _ in 0..2 {
        let task = w.poll().await;
        w.complete(&task.task_token, vec![timer("t", Span::seconds(5))]).await;
    }
    // Both shards fail once.
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "x").await);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("b", "x").await);
    w.advance(Span::seconds(5)).await;
    for _ in 0..2 {
        let task = w.poll().await;
        assert!(names(&task.history.unwrap().events().unwrap()).contains(&"TIMER_FIRED"));
        w.complete(&task.task_token, done()).await;
    }
}

#[tokio::test]
async fn a_poll_robbed_of_its_task_by_a_failed_commit_keeps_the_next_one() {
    let w = world_with(Settings { shards: 1, batch_inputs_max: 1, ..settings() }).await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, vec![timer("t", Span::seconds(3600))]).await;
    let poll = w.poll_beside();
    w.settle().await;
    w.store.slow.store(true, SeqCst);
    w.store.refuse.store(1, SeqCst);
    // The first gives its task to the poll, in a commit that fails; the second waits behind it, and so does the news that the
    // first task was lost.
    let (lost, kept) = tokio::join!(w.signal("a", "lost"), w.signal("a", "kept"));
    unavailable(lost);
    kept.unwrap();
    let task = soon(poll).await.unwrap();
    assert_eq!(task.started_event_id, 8);
    let other = w.poll_beside();
    w.settle().await;
    assert!(!other.is_finished(), "the task is in one pair of hands");
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_broken_store_ends_the_engine() {
    let w = world().await;
    w.start("a").await;
    w.store.broken.store(true, SeqCst);
    unavailable(w.signal("a", "x").await);
    assert!(soon(w.engine.fatal()).await.contains("broken"));
    unavailable(w.signal("a", "x").await);
    unavailable(soon(w.engine.poll_workflow_task(poll_request(), None)).await);
}

fn flow_rule() -> SetFlowRuleRequest {
    let rule =
        FlowRule { name: "one".into(), r#match: Some(FlowMatch { all: true, ..Default::default() }), max_open: 1, ..Default::default() };
    SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 }
}

/// One in which shards have nothing to write any more.
async fn quiet_world() -> World {
    let w = world().await;
    w.advance(Span::seconds(5)).await;
    w
}

#[tokio::test]
async fn a_broken_store_ends_the_engine_whoever_writes() {
    let namespace = quiet_world().await;
    namespace.store.broken.store(true, SeqCst);
    unavailable(soon(namespace.engine.ensure_namespace("other", Span::seconds(24 * 3600))).await);
    assert_eq!(soon(namespace.engine.fatal()).await, "the store has failed: broken");
    assert_eq!(namespace.engine.stats().commit_failures.get(), 0, "no shard has heard of it");

    let record = quiet_world().await;
    record.store.broken.store(true, SeqCst);
    unavailable(soon(record.engine.set_flow_rule(flow_rule())).await);
    assert_eq!(soon(record.engine.fatal()).await, "the store has failed: broken");
    assert_eq!(record.engine.stats().commit_failures.get(), 0, "no shard has heard of it");

    let settings = quiet_world().await;
    settings.store.broken.store(true, SeqCst);
    let request = UpdateTaskQueueConfigRequest {
        namespace: NAMESPACE.into(),
        task_queue: QUEUE.into(),
        task_queue_type: TaskQueueType::Activity as i32,
        update_queue_rate_limit: Some(RateLimitUpdate::default()),
        ..Default::default()
    };
    unavailable(soon(settings.engine.update_task_queue_config(request)).await);
    assert_eq!(soon(settings.engine.fatal()).await, "the store has failed: broken");
    assert_eq!(settings.engine.stats().commit_failures.get(), 0, "no shard has heard of it");
}

#[tokio::test]
async fn a_store_that_breaks_after_a_refusal_ends_the_engine() {
    let w = world().await;
    w.store.refuse.store(1, SeqCst);
    w.store.full.store(1, SeqCst);
    unavailable(soon(w.engine.set_flow_rule(flow_rule())).await);
    assert!(w.engine.fatal().now_or_never().is_none(), "the disk is full, no more");
    // Nothing is written any more: what is on the disk is to be read again, which needs a new epoch.
    w.store.broken.store(true, SeqCst);
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(w.engine.fatal()).await, "the store has failed: broken");
}

#[tokio::test]
async fn nothing_leaves_before_its_commit_is_acknowledged() {
    let mut settings = settings();
    settings.shards = 1;
    let w = world_with(settings).await;
    let poll = w.poll_beside();
    w.settle().await;
    w.store.held.store(true, SeqCst);
    let call = |id: &'static str| {
        let engine = w.engine.clone();
        tokio::spawn(async move { engine.start_workflow(start_request(id)).await })
    };
    let first = call("a");
    w.settle().await;
    // Reads of what is not durable yet wait too.
    let engine = w.engine.clone();
    let read = tokio::spawn(async move { engine.get_history(history_request("a"), Default::default(), None).await });
    let second = call("b");
    w.settle().await;
    assert!(!first.is_finished() && !poll.is_finished() && !read.is_finished() && !second.is_finished());
    w.store.permits.add_permits(1);
    w.settle().await;
    assert!(first.is_finished() && poll.is_finished() && !second.is_finished(), "one batch after the other");
    w.store.permits.add_permits(100);
    soon(second).await.unwrap().unwrap();
    assert_eq!(soon(read).await.unwrap().unwrap().history.unwrap().events().unwrap().len(), 3);
}

#[tokio::test]
async fn a_full_inbox_is_answered_at_once() {
    let mut settings = settings();
    settings.shards = 1;
    settings.inbox_max = 8;
    let w = world_with(settings).await;
    w.store.held.store(true, SeqCst);
    let calls: Vec<_> = (0..100)
        .map(|n| {
            let engine = w.engine.clone();
            tokio::spawn(async move { engine.start_workflow(start_request(&format!("w{n}"))).await })
        })
        .collect();
    w.settle().await;
    let refused = calls.iter().filter(|c| c.is_finished()).count();
    assert!(refused > 0 && refused < 100, "{refused} of 100");
    w.store.permits.add_permits(1000);
    let mut overloaded = 0;
    for call in calls {
        match soon(call).await.unwrap() {
            Ok(_) => {}
            Err(Refusal::Overloaded(_)) => overloaded += 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(overloaded, refused);
}

#[tokio::test]
async fn a_full_disk_is_waited_for() {
    let w = world().await;
    w.start("a").await;
    w.store.full.store(4, SeqCst);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "lost").await);
    for _ in 0..3 {
        let told = w.signal("a", "refused").await;
        assert!(matches!(&told, Err(Refusal::Unavailable(text)) if text.contains("full")), "{told:?}");
        w.advance(Span::millis(10)).await;
    }
    for _ in 0..10 {
        w.advance(Span::seconds(1)).await;
    }
    w.signal("a", "kept").await.unwrap();
    let task = w.poll().await;
    assert_eq!(task.history.unwrap().events().unwrap().len(), 4);
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn shutdown_does_not_wait_for_room_on_the_disk() {
    let w = world().await;
    w.start("a").await;
    w.store.full.store(usize::MAX, SeqCst);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "lost").await);
    soon(w.engine.shutdown()).await;
}

/// A database that is away may be asked for half a minute: nobody waits for that with the shard.
#[tokio::test]
async fn callers_are_refused_at_once_while_the_store_does_not_answer() {
    // As soon as it is asked, or when it is asked again.
    for refusals in [0, 1] {
        callers_are_refused(refusals).await;
    }
}

async fn callers_are_refused(refusals: usize) {
    let mut w = world_with(Settings { shards: 1, ..settings() }).await;
    w.start("a").await;
    w.store.full.store(refusals, SeqCst);
    w.store.silent.store(true, SeqCst);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "lost").await);
    // It might have answered in a moment.
    w.advance(Span::millis(100)).await;
    unavailable(w.signal("a", "refused").await);
    unavailable(w.try_start(start_request("b")).await);
    unavailable(w.describe("a").await);
    // Nor does the end of the server wait for it.
    soon(w.engine.shutdown()).await;
    w.store.silent.store(false, SeqCst);
    w.crash().await;
    w.signal("a", "kept").await.unwrap();
    assert_eq!(w.poll().await.history.unwrap().events().unwrap().len(), 4);
}

#[tokio::test]
async fn a_task_whose_poll_leaves_while_the_shard_begins_again_is_offered_to_the_next() {
    let w = world_with(Settings { shards: 1, ..settings() }).await;
    w.start("a").await;
    let mut left = Box::pin(w.engine.poll_workflow_task(poll_request(), None));
    assert!(left.as_mut().now_or_never().is_none());
    w.settle().await;
    assert_eq!(w.names("a").await.len(), 3, "the task is started, and lies where the poll has not looked yet");
    w.store.full.store(usize::MAX, SeqCst);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.signal("a", "lost").await);
    w.settle().await;
    drop(left);
    w.settle().await;
    w.store.full.store(0, SeqCst);
    // Much less than a worker has for a task.
    w.advance(Span::millis(200)).await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_panic_of_a_shard_ends_the_engine() {
    let w = world().await;
    w.store.panics.store(true, SeqCst);
    unavailable(w.try_start(start_request("a")).await);
    assert!(soon(w.engine.fatal()).await.contains("panic"));
}

#[tokio::test]
async fn many_large_inputs_at_once_fit_the_store() {
    let mut settings = settings();
    settings.shards = 1;
    let w = world_with(settings).await;
    for n in 0..120 {
        w.start(&format!("w{n}")).await;
        // Signals of a run whose task is under way are kept in its state rows.
        w.poll().await;
    }
    w.store.held.store(true, SeqCst);
    let text = "x".repeat(400_000);
    let calls: Vec<_> = (0..120)
        .map(|n| {
            let engine = w.engine.clone();
            let request = sempre_api::v1::workflowservice::SignalWorkflowExecutionRequest {
                namespace: NAMESPACE.into(),
                workflow_execution: Some(execution(&format!("w{n}"), "")),
                signal_name: "large".into(),
                input: Some(payloads(&text)),
                ..Default::default()
            };
            tokio::spawn(async move { engine.signal_workflow(request).await })
        })
        .collect();
    w.settle().await;
    w.store.permits.add_permits(100_000);
    for call in calls {
        soon(call).await.unwrap().unwrap();
    }
    assert_eq!(w.engine.stats().commit_failures.get(), 0);
}

#[tokio::test]
async fn a_run_that_cannot_be_read_does_not_hold_up_its_queue() {
    let mut w = world().await;
    let bad = w.start("a").await;
    w.advance(Span::seconds(1)).await;
    w.start("b").await;
    *w.store.unreadable.lock().unwrap() = sempre_core::RunId::parse(&bad);
    w.reopen().await;
    assert_eq!(w.poll().await.workflow_execution.unwrap().workflow_id, "b");
    let poll = w.poll_beside();
    w.settle().await;
    assert!(!poll.is_finished());
    // Whoever asks for it is told so, and not that there is none.
    let told = w.describe("a").await.map(drop);
    assert_eq!(told, Err(Refusal::Unavailable("the run could not be read".into())));
    *w.store.unreadable.lock().unwrap() = None;
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(poll).await.unwrap().workflow_execution.unwrap().workflow_id, "a");
}

#[tokio::test]
async fn a_deletion_is_acknowledged_when_it_is_durable() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    w.store.held.store(true, SeqCst);
    let engine = w.engine.clone();
    let request = sempre_api::v1::workflowservice::DeleteWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution("a", "")),
    };
    let call = tokio::spawn(async move { engine.delete_workflow(request).await });
    w.settle().await;
    assert!(!call.is_finished());
    w.store.permits.add_permits(100);
    soon(call).await.unwrap().unwrap();
    assert!(w.store.rows(sempre_store::Table::State).is_empty());
    assert!(matches!(w.describe("a").await, Err(Refusal::NotFound(_))));
}

#[tokio::test]
async fn a_run_is_found_under_its_own_workflow_id_only() {
    let mut w = world().await;
    let run = w.start("a").await;
    let request = sempre_api::v1::workflowservice::DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let id = w.engine.describe_namespace(request).await.unwrap().namespace_info.unwrap().id;
    let namespace = sempre_core::NamespaceId(sempre_core::ids::Uuid::parse(&id).unwrap());
    let slot = |workflow_id: &str| sempre_core::WorkflowKey { namespace, workflow_id: workflow_id.into() }.slot();
    let other = (0..).map(|n| format!("other-{n}")).find(|id| slot(id) == slot("a")).unwrap();
    w.reopen().await;
    let request = |id: &str| sempre_api::v1::workflowservice::TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(id, &run)),
        ..Default::default()
    };
    let told = soon(w.engine.terminate(request(&other))).await;
    assert!(matches!(told, Err(Refusal::NotFound(_))), "{told:?}");
    soon(w.engine.terminate(request("a"))).await.unwrap();
}

#[tokio::test]
async fn a_deletion_that_failed_is_repeated() {
    let w = world().await;
    let run = w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    *w.store.unreadable.lock().unwrap() = sempre_core::RunId::parse(&run);
    for _ in 0..4 {
        w.advance(Span::seconds(12 * 3600)).await;
    }
    assert!(!w.store.rows(sempre_store::Table::State).is_empty());
    *w.store.unreadable.lock().unwrap() = None;
    for _ in 0..3 {
        w.advance(Span::seconds(1)).await;
    }
    assert!(w.store.rows(sempre_store::Table::State).is_empty());
    assert!(w.store.rows(sempre_store::Table::Deadline).is_empty());
}

#[tokio::test]
async fn a_store_with_a_retry_that_news_have_overtaken_holds_together() {
    let w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    let failed = RespondWorkflowTaskFailedRequest { task_token: task.task_token, namespace: NAMESPACE.into(), ..Default::default() };
    w.engine.respond_workflow_task_failed(failed).await.unwrap();
    assert_eq!(problems(&*w.store.inner).1, [""; 0]);
    // It takes the event id that the retry was scheduled with.
    w.signal("a", "x").await.unwrap();
    assert_eq!(w.names("a").await.len(), 5);
    assert_eq!(problems(&*w.store.inner).1, [""; 0]);
    w.complete(&w.poll().await.task_token, done()).await;
}

/// What is known of lists and notices is read after the shard is owned again: callers are refused until it is, and nothing ends.
#[tokio::test]
async fn what_lists_show_is_read_again_as_often_as_it_takes() {
    let w = world().await;
    w.store.lists_unreadable.store(3, SeqCst);
    w.store.notices_unreadable.store(1, SeqCst);
    w.store.refuse.store(1, SeqCst);
    unavailable(w.try_start(start_request("a")).await);
    w.settle().await;
    unavailable(w.signal("a", "refused at once").await);
    for _ in 0..10 {
        w.advance(Span::seconds(1)).await;
    }
    assert_eq!((w.store.lists_unreadable.load(SeqCst), w.store.notices_unreadable.load(SeqCst)), (0, 0));
    w.start("a").await;
    let task = w.poll().await;
    assert_eq!(task.history.unwrap().events().unwrap().len(), 3);
    w.complete(&task.task_token, done()).await;
}

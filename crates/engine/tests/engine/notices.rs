//! The feed of notices: order, crashes, failed commits, bounds, namespaces.

use std::sync::atomic::Ordering::SeqCst;

use sempre_api::{
    sempre::v1::*,
    v1::{enums::WorkflowExecutionStatus, workflowservice::*},
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;

use crate::support::*;

async fn page(w: &World, after: i64, page_size: i32) -> Result<ListNoticesResponse, Refusal> {
    let request = ListNoticesRequest { namespace: NAMESPACE.into(), after, page_size, ..Default::default() };
    soon(w.engine.list_notices(request, None)).await
}

/// Everything behind a cursor, in pages of two: kind, workflow id, status.
async fn all(w: &World, mut after: i64) -> Vec<(NoticeKind, String, WorkflowExecutionStatus)> {
    let mut found = Vec::new();
    loop {
        let page = page(w, after, 2).await.unwrap();
        for notice in &page.notices {
            assert!(notice.number > after && notice.number <= page.next);
            after = notice.number;
            let run = notice.run.clone().unwrap();
            found.push((notice.kind(), run.execution.clone().unwrap().workflow_id, run.status()));
        }
        after = page.next;
        if !page.more {
            return found;
        }
    }
}

async fn end(w: &World, workflow_id: &str) {
    let workflow_execution = Some(execution(workflow_id, ""));
    let request = TerminateWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution, ..Default::default() };
    soon(w.engine.terminate(request)).await.unwrap();
}

use NoticeKind::{Changed, Closed, Deleted, Started};
use WorkflowExecutionStatus::{Completed, Paused, Running, Terminated, Unspecified};

fn told(kind: NoticeKind, workflow_id: &str, status: WorkflowExecutionStatus) -> (NoticeKind, String, WorkflowExecutionStatus) {
    (kind, workflow_id.into(), status)
}

#[tokio::test]
async fn each_change_that_lists_show_is_told_once_and_in_order_over_restarts_and_crashes() {
    let mut w = world().await;
    w.start("a").await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.start("b").await;
    let mut expected = vec![told(Started, "a", Running), told(Closed, "a", Completed), told(Started, "b", Running)];
    assert_eq!(all(&w, 0).await, expected);
    let cursor = page(&w, 0, 0).await.unwrap().next;
    w.crash().await;
    w.settle().await;
    assert_eq!(all(&w, 0).await, expected, "a crash loses nothing");
    let pause = PauseWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_id: "b".into(), ..Default::default() };
    soon(w.engine.pause_workflow(pause)).await.unwrap();
    w.reopen().await;
    end(&w, "b").await;
    let delete = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution("a", "")) };
    soon(w.engine.delete_workflow(delete)).await.unwrap();
    w.settle().await;
    let later = vec![told(Changed, "b", Paused), told(Closed, "b", Terminated), told(Deleted, "a", Unspecified)];
    assert_eq!(all(&w, cursor).await, later, "a cursor goes on where it was");
    expected.extend(later);
    assert_eq!(all(&w, 0).await, expected);
}

#[tokio::test]
async fn a_commit_that_fails_tells_nothing_and_one_in_doubt_tells_what_is_there() {
    let w = world().await;
    w.start("before").await;
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(start_request("refused")).await.is_err());
    // The shard waits a moment before it takes its slots again.
    w.advance(Span::seconds(5)).await;
    w.store.doubt.store(1, SeqCst);
    assert!(w.try_start(start_request("doubt")).await.is_err());
    w.advance(Span::seconds(5)).await;
    w.start("after").await;
    let names: Vec<String> = all(&w, 0).await.into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["before", "doubt", "after"]);
}

#[tokio::test]
async fn nothing_is_told_before_it_is_durable_nor_past_what_is_not() {
    let w = world_with(Settings { shards: 4, ..settings() }).await;
    w.store.held.store(true, SeqCst);
    let engine = w.engine.clone();
    let starts: Vec<_> = (0..8)
        .map(|n| {
            let engine = engine.clone();
            tokio::spawn(async move { engine.start_workflow(start_request(&format!("w{n}"))).await.unwrap() })
        })
        .collect();
    w.settle().await;
    assert_eq!(all(&w, 0).await, []);
    w.store.permits.add_permits(100);
    for start in starts {
        soon(start).await.unwrap();
    }
    w.settle().await;
    assert_eq!(all(&w, 0).await.len(), 8);
}

#[tokio::test]
async fn who_waits_hears_at_once_and_who_waits_in_vain_is_answered() {
    let w = world().await;
    w.start("old").await;
    let wait = |from_now| ListNoticesRequest { namespace: NAMESPACE.into(), from_now, wait: true, ..Default::default() };
    let engine = w.engine.clone();
    let waiting = tokio::spawn(async move { engine.list_notices(wait(true), None).await.unwrap() });
    w.settle().await;
    assert!(!waiting.is_finished());
    w.start("new").await;
    let heard = soon(waiting).await.unwrap();
    assert_eq!(heard.notices.len(), 1);
    assert_eq!(heard.notices[0].run.as_ref().unwrap().execution.as_ref().unwrap().workflow_id, "new");
    let engine = w.engine.clone();
    let waiting = tokio::spawn(async move { engine.list_notices(ListNoticesRequest { after: heard.next, ..wait(false) }, None).await });
    w.advance(Span::seconds(21)).await;
    assert_eq!(soon(waiting).await.unwrap().unwrap().notices, []);
}

#[tokio::test]
async fn who_waits_is_not_woken_by_other_namespaces_and_passes_over_what_they_were_told() {
    let w = world().await;
    w.engine.ensure_namespace("other", Span::seconds(24 * 3600)).await.unwrap();
    w.start("own").await;
    w.settle().await;
    let after = page(&w, 0, 0).await.unwrap().next;
    let wait = ListNoticesRequest { namespace: NAMESPACE.into(), after, wait: true, ..Default::default() };
    let engine = w.engine.clone();
    let waiting = tokio::spawn(async move { engine.list_notices(wait, None).await });
    w.settle().await;
    // Whoever reads is refused.
    w.store.notices_unreadable.store(1000, SeqCst);
    for n in 0..20 {
        let there = StartWorkflowExecutionRequest { namespace: "other".into(), ..start_request(&format!("w{n}")) };
        w.try_start(there).await.unwrap();
    }
    w.settle().await;
    assert!(!waiting.is_finished());
    w.advance(Span::seconds(21)).await;
    let answer = soon(waiting).await.unwrap().unwrap();
    assert_eq!((answer.notices.len(), answer.next), (0, after + 20));
}

#[tokio::test]
async fn who_waits_misses_nothing_while_what_others_were_told_goes() {
    let w = world_with(Settings { notices_kept: 10, ..settings() }).await;
    w.engine.ensure_namespace("other", Span::seconds(24 * 3600)).await.unwrap();
    w.start("own").await;
    w.settle().await;
    let after = page(&w, 0, 0).await.unwrap().next;
    let wait = ListNoticesRequest { namespace: NAMESPACE.into(), after, wait: true, ..Default::default() };
    let engine = w.engine.clone();
    let waiting = tokio::spawn(async move { engine.list_notices(wait, None).await });
    w.settle().await;
    for n in 0..50 {
        let there = StartWorkflowExecutionRequest { namespace: "other".into(), ..start_request(&format!("w{n}")) };
        w.try_start(there).await.unwrap();
        w.settle().await;
    }
    assert!(!waiting.is_finished());
    w.start("later").await;
    let heard = soon(waiting).await.unwrap().unwrap();
    assert_eq!(heard.notices[0].run.as_ref().unwrap().execution.as_ref().unwrap().workflow_id, "later");
}

#[tokio::test]
async fn old_ones_go_and_a_cursor_among_them_is_told_what_to_do() {
    let mut w = world_with(Settings { notices_kept: 10, ..settings() }).await;
    for n in 0..30 {
        w.start(&format!("w{n}")).await;
        w.settle().await;
    }
    let kept = all(&w, 0).await;
    assert!((10..=12).contains(&kept.len()), "{kept:?}");
    assert_eq!(kept.last().unwrap().1, "w29");
    let Err(Refusal::OutOfRange(text)) = page(&w, 3, 0).await else { panic!("it is too old") };
    assert!(
        text.starts_with("the cursor 3 is too old: notices up to ") && text.contains("list the runs anew, then go on after "),
        "{text}"
    );
    let Err(Refusal::OutOfRange(text)) = page(&w, 1000, 0).await else { panic!("there is none such") };
    assert!(text.contains("the last one is 30"), "{text}");
    w.crash().await;
    assert_eq!(all(&w, 0).await, kept);
    let Err(Refusal::OutOfRange(again)) = page(&w, 3, 0).await else { panic!("it is too old for the next process, too") };
    assert!(again.starts_with("the cursor 3 is too old: notices up to "), "{again}");
    w.start("next").await;
    assert_eq!(all(&w, 30).await.len(), 1, "numbers go on");
    assert_eq!(page(&w, -1, 0).await, Err(Refusal::invalid("after is a number of a notice, or 0")));
    assert_eq!(page(&w, 0, 1001).await, Err(Refusal::InvalidArgument("page_size is 0 to 1000".into())));
}

#[tokio::test]
async fn a_namespace_hears_of_its_own_runs_only() {
    let w = world().await;
    w.engine.ensure_namespace("other", Span::seconds(24 * 3600)).await.unwrap();
    for n in 0..3 {
        w.start(&format!("own{n}")).await;
        let other = StartWorkflowExecutionRequest { namespace: "other".into(), ..start_request(&format!("other{n}")) };
        w.try_start(other).await.unwrap();
    }
    let names: Vec<String> = all(&w, 0).await.into_iter().map(|(_, name, _)| name).collect();
    assert_eq!(names, ["own0", "own1", "own2"]);
}

#[tokio::test]
async fn a_cursor_before_the_first_notice_is_good_after_a_restart_if_nothing_was_taken_away() {
    let mut w = world().await;
    w.store.refuse.store(1, SeqCst);
    assert!(matches!(w.try_start(start_request("refused")).await, Err(Refusal::Unavailable(_))));
    w.start("a").await;
    let expected = vec![told(Started, "a", Running)];
    assert_eq!(page(&w, 0, 0).await.unwrap().next, 2, "1 is a gap");
    assert_eq!(all(&w, 1).await, expected);
    w.crash().await;
    assert_eq!(all(&w, 1).await, expected);
    assert_eq!(all(&w, 0).await, expected);
}

#[tokio::test]
async fn a_server_that_keeps_none_says_so() {
    let w = world_with(Settings { notices_kept: 0, ..settings() }).await;
    w.start("w").await;
    assert!(w.store.rows(sempre_store::Table::Notice).is_empty());
    assert!(matches!(page(&w, 0, 0).await, Err(Refusal::FailedPrecondition(_))));
}

#[tokio::test]
async fn what_could_not_be_taken_away_is_taken_away_later() {
    let w = world_with(Settings { notices_kept: 10, ..settings() }).await;
    let rows = || w.store.rows(sempre_store::Table::Notice).len();
    for n in 0..15 {
        w.start(&format!("w{n}")).await;
        w.settle().await;
    }
    let before = rows();
    w.store.notices_unreadable.store(1, SeqCst);
    w.start("last").await;
    w.settle().await;
    assert_eq!(rows(), before + 1);
    w.advance(Span::seconds(6)).await;
    assert_eq!(rows(), before, "without another notice");
}

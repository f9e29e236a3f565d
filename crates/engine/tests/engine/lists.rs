//! Lists and counts: they see every acknowledged change, and nothing else.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use sempre_api::v1::{
    common::{Memo, Payload},
    enums::WorkflowExecutionStatus as Status,
    filter::{StartTimeFilter, StatusFilter, WorkflowExecutionFilter, WorkflowTypeFilter},
    workflowservice::{list_closed_workflow_executions_request as closed, list_open_workflow_executions_request as open, *},
};
use sempre_core::{Refusal, Span, Timestamp};
use sempre_engine::{
    Components, Engine, ListChange,
    visibility::{
        index::{Change, Groups, Index, IndexError, IndexStats, Position},
        memory::MemoryIndex,
    },
};
use sempre_store::{Pending, Table};

use crate::support::*;

/// An index that outlives its engine, as a file does. So many of its next lists take too long.
pub(crate) struct Kept(pub(crate) Arc<MemoryIndex>, pub(crate) Arc<AtomicUsize>);

impl Index for Kept {
    fn apply(&self, changes: Vec<Change>) -> Pending<Result<(), IndexError>> {
        self.0.apply(changes)
    }
    fn purge(&self, namespace: sempre_core::NamespaceId) -> Pending<Result<bool, IndexError>> {
        self.0.purge(namespace)
    }
    fn list(
        &self,
        namespace: sempre_core::NamespaceId,
        filter: Option<&sempre_core::visibility::Filter>,
        after: Option<&Position>,
        limit: usize,
        hidden: &BTreeSet<sempre_core::RunId>,
    ) -> Pending<Result<Vec<Arc<sempre_core::visibility::Record>>, IndexError>> {
        if self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Box::pin(std::future::ready(Err(IndexError::TooLong { seconds: 10 })));
        }
        self.0.list(namespace, filter, after, limit, hidden)
    }
    fn count(
        &self,
        namespace: sempre_core::NamespaceId,
        filter: Option<&sempre_core::visibility::Filter>,
        hidden: &BTreeSet<sempre_core::RunId>,
    ) -> Pending<Result<u64, IndexError>> {
        self.0.count(namespace, filter, hidden)
    }
    fn count_by(
        &self,
        namespace: sempre_core::NamespaceId,
        filter: Option<&sempre_core::visibility::Filter>,
        field: &sempre_core::visibility::Field,
        hidden: &BTreeSet<sempre_core::RunId>,
    ) -> Pending<Result<Groups, IndexError>> {
        self.0.count_by(namespace, filter, field, hidden)
    }
    fn get(
        &self,
        namespace: sempre_core::NamespaceId,
        run: sempre_core::RunId,
    ) -> Pending<Result<Option<Arc<sempre_core::visibility::Record>>, IndexError>> {
        self.0.get(namespace, run)
    }
    fn needs_rebuild(&self) -> Option<String> {
        self.0.needs_rebuild()
    }
    fn begin_rebuild(&self) -> Pending<Result<(), IndexError>> {
        self.0.begin_rebuild()
    }
    fn finish_rebuild(&self) -> Pending<Result<(), IndexError>> {
        self.0.finish_rebuild()
    }
    fn stats(&self) -> Pending<Result<IndexStats, IndexError>> {
        self.0.stats()
    }
    fn close(&self) -> Pending<()> {
        Box::pin(std::future::ready(()))
    }
}

/// Opens another engine over the world's store, with this index. The one before is gone as after a crash.
async fn crash(w: &mut World, index: &Arc<MemoryIndex>) {
    let index = index.clone();
    let opened = std::future::ready(Ok(Arc::new(Kept(index, Arc::default())) as Arc<dyn Index>));
    let components = Components { index: Box::new(move |_| Box::pin(opened)), ..Components::default() };
    w.engine = Engine::open_with(w.store.clone(), w.clock.clone(), Arc::new(Tasks), 3, settings(), components).await.unwrap();
}

async fn list(w: &World, query: &str) -> Vec<(String, Status)> {
    let runs = soon(w.engine.list_workflows(request(query, 0, Bytes::new()))).await.unwrap();
    assert_eq!(runs.next_page_token, Bytes::new());
    runs.executions.into_iter().map(|info| (info.execution.clone().unwrap().workflow_id, info.status())).collect()
}

fn request(query: &str, page_size: i32, next_page_token: Bytes) -> ListWorkflowExecutionsRequest {
    ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), page_size, next_page_token, query: query.into() }
}

async fn count(w: &World, query: &str) -> i64 {
    let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: query.into() };
    soon(w.engine.count_workflows(request)).await.unwrap().count
}

async fn terminate(engine: &Engine, workflow_id: &str) {
    let request = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow_id, "")),
        ..Default::default()
    };
    soon(engine.terminate(request)).await.unwrap();
}

async fn delete(engine: &Engine, workflow_id: &str) {
    let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution(workflow_id, "")) };
    soon(engine.delete_workflow(request)).await.unwrap();
}

fn ids(runs: &[(String, Status)]) -> Vec<&str> {
    runs.iter().map(|(id, _)| id.as_str()).collect()
}

/// All that lists show, without order.
async fn picture(w: &World) -> BTreeSet<String> {
    let runs = soon(w.engine.list_workflows(request("", 0, Bytes::new()))).await.unwrap().executions;
    runs.into_iter().map(|info| format!("{info:?}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_64_writers_each_always_sees_its_own_writes() {
    let w = Arc::new(world().await);
    let writers = (0..64).map(|writer| {
        let w = w.clone();
        tokio::spawn(async move {
            for n in 0..8 {
                let id = format!("w-{writer}-{n}");
                let own = format!("WorkflowId = '{id}'");
                w.start(&id).await;
                assert_eq!(list(&w, &own).await, [(id.clone(), Status::Running)]);
                assert_eq!(count(&w, &format!("{own} AND ExecutionStatus = 'Running'")).await, 1);
                terminate(&w.engine, &id).await;
                assert_eq!(list(&w, &own).await, [(id.clone(), Status::Terminated)]);
                assert_eq!(count(&w, &format!("{own} AND CloseTime IS NULL")).await, 0);
                if n % 2 == 0 {
                    delete(&w.engine, &id).await;
                    assert_eq!(list(&w, &own).await, []);
                    assert_eq!(count(&w, &own).await, 0);
                }
                // What waits goes to the index now and then.
                w.clock_tick();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(count(&w, "").await, 64 * 4);
}

#[tokio::test]
async fn what_the_index_had_not_taken_is_listed_after_a_crash() {
    let mut w = world().await;
    let index = Arc::new(MemoryIndex::new());
    crash(&mut w, &index).await;
    w.start("before").await;
    w.start("gone").await;
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(index.stats()).await.unwrap().records, 2);
    // From here on nothing gets into the index.
    index.set_failing(true);
    w.start("after").await;
    terminate(&w.engine, "before").await;
    delete(&w.engine, "gone").await;
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(index.stats()).await.unwrap().records, 2);
    assert_eq!(w.store.rows(Table::Visibility).len(), 3);
    crash(&mut w, &index).await;
    assert_eq!(list(&w, "").await, [("after".to_owned(), Status::Running), ("before".to_owned(), Status::Terminated)]);
    assert_eq!(count(&w, "ExecutionStatus = 'Terminated'").await, 1);
    index.set_failing(false);
    w.advance(Span::seconds(60)).await;
    assert_eq!(soon(index.stats()).await.unwrap().records, 2, "two are there, one is gone");
    assert_eq!(list(&w, "").await.len(), 2);
    assert_eq!(w.store.rows(Table::Visibility), [], "the index has it all");
}

#[tokio::test]
async fn what_was_not_committed_is_not_listed_and_what_was_in_doubt_is() {
    let w = world().await;
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(start_request("refused")).await.is_err());
    assert_eq!(list(&w, "").await, []);
    // The second failure in a row has the shard wait.
    w.start("kept").await;
    w.advance(Span::seconds(1)).await;
    delete(&w.engine, "kept").await;
    w.store.doubt.store(1, SeqCst);
    assert!(w.try_start(start_request("doubt")).await.is_err());
    w.settle().await;
    assert_eq!(ids(&list(&w, "").await), ["doubt"]);
    w.store.refuse.store(1, SeqCst);
    assert!(w.signal("doubt", "s").await.is_err());
    assert_eq!(ids(&list(&w, "").await), ["doubt"]);
}

/// Runs of several kinds: with memo, closed, deleted.
async fn some_runs(w: &World) {
    for id in ["a", "b", "c", "d"] {
        let memo = Memo { fields: [("id".to_owned(), Payload { data: id.into(), ..Default::default() })].into() };
        w.try_start(StartWorkflowExecutionRequest { memo: Some(memo), ..start_request(id) }).await.unwrap();
        w.advance(Span::seconds(1)).await;
    }
    terminate(&w.engine, "b").await;
    w.advance(Span::seconds(1)).await;
    terminate(&w.engine, "a").await;
    delete(&w.engine, "d").await;
}

#[tokio::test]
async fn a_rebuild_gives_what_was_there() {
    let mut w = world().await;
    let index = Arc::new(MemoryIndex::new());
    crash(&mut w, &index).await;
    some_runs(&w).await;
    let before = picture(&w).await;
    assert_eq!(ids(&list(&w, "").await), ["c", "a", "b"]);
    // On demand, while lists are answered.
    assert!(w.engine.rebuild_visibility().unwrap().running);
    w.start("e").await;
    delete(&w.engine, "c").await;
    w.until("the rebuild ends", || !w.engine.visibility_progress().running).await;
    let progress = w.engine.visibility_progress();
    assert_eq!((progress.finished, progress.slots, progress.damaged), (1, 1024, 0));
    w.advance(Span::seconds(1)).await;
    assert_eq!(ids(&list(&w, "").await), ["e", "a", "b"], "nothing that was deleted meanwhile came back");
    delete(&w.engine, "e").await;
    // The index is lost: a new one is filled at the start, and lists wait for it.
    let whole = picture(&w).await;
    assert!(before.is_superset(&whole) && whole.len() == 2);
    crash(&mut w, &Arc::new(MemoryIndex::new())).await;
    assert_eq!(picture(&w).await, whole);
}

#[tokio::test]
async fn a_rebuild_shows_nothing_of_a_commit_that_it_has_read_and_that_fails() {
    let mut w = world().await;
    crash(&mut w, &Arc::new(MemoryIndex::new())).await;
    w.start("a").await;
    w.advance(Span::seconds(1)).await;
    w.store.read_then_refused.store(1, SeqCst);
    let engine = w.engine.clone();
    let refused = tokio::spawn(async move { engine.start_workflow(start_request("never")).await });
    w.settle().await;
    w.engine.rebuild_visibility().unwrap();
    w.settle().await;
    assert_eq!(ids(&list(&w, "").await), ["a"]);
    w.store.permits.add_permits(1);
    assert!(matches!(soon(refused).await.unwrap(), Err(Refusal::Unavailable(_))));
    for _ in 0..100 {
        if !w.engine.visibility_progress().running {
            break;
        }
        w.advance(Span::millis(50)).await;
    }
    let progress = w.engine.visibility_progress();
    assert_eq!((progress.running, progress.slots, progress.runs), (false, 1024, 1));
    assert_eq!(ids(&list(&w, "").await), ["a"]);
}

#[tokio::test]
async fn an_index_that_is_found_damaged_when_it_is_written_is_made_anew_and_again_if_need_be() {
    let mut w = world().await;
    let index = Arc::new(MemoryIndex::new());
    crash(&mut w, &index).await;
    some_runs(&w).await;
    w.until("the first rebuild ends", || !w.engine.visibility_progress().running).await;
    for (round, times) in [(1, 1), (2, 3)] {
        let before = picture(&w).await;
        let finished = w.engine.visibility_progress().finished;
        index.damage(times);
        w.start(&format!("found-{round}")).await;
        for _ in 0..100 {
            w.advance(Span::millis(500)).await;
            if w.engine.visibility_progress().finished > finished {
                break;
            }
        }
        let now = picture(&w).await;
        assert!(now.is_superset(&before) && now.len() == before.len() + 1, "{times}: {now:?}");
        w.until("the rebuild ends", || !w.engine.visibility_progress().running).await;
        assert_eq!(w.engine.visibility_progress().finished, finished + 1, "{times}");
        assert!(w.engine.visibility_status().await.failure.is_none());
    }
}

#[tokio::test]
async fn lists_say_that_they_wait_for_a_rebuild() {
    let mut w = world().await;
    w.start("a").await;
    let index = Arc::new(MemoryIndex::new());
    index.set_failing(true);
    crash(&mut w, &index).await;
    let engine = w.engine.clone();
    let asked = tokio::spawn(async move { engine.list_workflows(request("", 0, Bytes::new())).await });
    w.advance(Span::seconds(3)).await;
    let text = "the visibility index is being rebuilt, 0 of 1024 slots are done; lists and counts are answered when all are";
    assert_eq!(soon(asked).await.unwrap().unwrap_err(), Refusal::Unavailable(text.into()));
    index.set_failing(false);
    w.advance(Span::seconds(10)).await;
    assert_eq!(ids(&list(&w, "").await), ["a"]);
}

#[tokio::test]
async fn runs_are_found_by_what_their_task_queue_says_now() {
    let w = world().await;
    w.start("waits").await;
    let lost = "SempreTaskQueuePollers = 0 AND SempreTaskQueueBacklogAge >= 60";
    w.advance(Span::seconds(59)).await;
    assert_eq!(list(&w, lost).await, [], "not for long enough");
    let attributes = async || w.describe("waits").await.unwrap().workflow_execution_info.unwrap().search_attributes;
    assert!(!attributes().await.unwrap_or_default().indexed_fields.contains_key("SempreTaskQueuePollers"));
    w.advance(Span::seconds(1)).await;
    assert_eq!((ids(&list(&w, lost).await), count(&w, lost).await), (vec!["waits"], 1));
    assert_eq!(attributes().await.unwrap().indexed_fields["SempreTaskQueueBacklogAge"].data, Bytes::from_static(b"60"));
    assert_eq!(w.store.rows(Table::Visibility), [], "nothing is written for it");
    w.poll().await;
    assert_eq!(list(&w, lost).await, [], "the task is taken");
    assert_eq!(count(&w, "SempreTaskQueuePollers = 1 AND SempreTaskQueueBacklogAge IS NULL").await, 1);
    w.advance(Span::seconds(600)).await;
    assert_eq!(count(&w, "SempreTaskQueuePollers = 0").await, 1, "the worker has gone");
    terminate(&w.engine, "waits").await;
    assert_eq!(count(&w, "SempreTaskQueuePollers = 0").await, 0, "only open runs have it");
    assert_eq!(count(&w, "SempreTaskQueuePollers IS NULL").await, 1);
}

#[tokio::test]
async fn runs_are_found_and_counted_by_what_they_have_waited_for() {
    let mut settings = settings();
    settings.limits.waits_told_after = Span::seconds(60);
    let w = world_with(settings).await;
    for id in ["sleeps", "listens", "works"] {
        w.start(id).await;
        let task = w.poll().await;
        let commands = if id == "sleeps" { vec![timer("t", Span::seconds(86_400))] } else { Vec::new() };
        if id != "works" {
            w.complete(&task.task_token, commands).await;
        }
    }
    assert_eq!(list(&w, "SempreWaitingFor IS NOT NULL").await, []);
    w.advance(Span::seconds(60)).await;
    w.advance(Span::seconds(1)).await;
    assert_eq!(ids(&list(&w, "SempreWaitingFor = 'timer'").await), ["sleeps"]);
    assert_eq!(ids(&list(&w, "SempreWaitingFor = 'signal' AND SempreWaitingUntil IS NULL").await), ["listens"]);
    assert_eq!(ids(&list(&w, "SempreWaitingUntil > '1970-01-01T00:00:00Z'").await), ["sleeps"]);
    let request = CountWorkflowExecutionsRequest {
        namespace: NAMESPACE.into(),
        query: "SempreWaitingFor IS NOT NULL GROUP BY SempreWaitingFor".into(),
    };
    let counted = soon(w.engine.count_workflows(request)).await.unwrap();
    assert_eq!((counted.count, counted.groups.len()), (2, 2));
    w.signal("listens", "s").await.unwrap();
    assert_eq!(list(&w, "SempreWaitingFor = 'signal'").await, [], "it goes on");
}

#[tokio::test]
async fn deleted_runs_and_those_whose_retention_is_over_are_not_listed() {
    let w = world().await;
    w.start("kept").await;
    w.start("expires").await;
    terminate(&w.engine, "expires").await;
    assert_eq!(list(&w, "").await.len(), 2);
    for _ in 0..30 {
        w.advance(Span::seconds(3600)).await;
    }
    assert_eq!(ids(&list(&w, "").await), ["kept"]);
    delete(&w.engine, "kept").await;
    assert_eq!((list(&w, "").await, count(&w, "").await), (vec![], 0));
}

#[tokio::test]
async fn work_waits_while_the_index_is_far_behind() {
    let mut w = world().await;
    let index = Arc::new(MemoryIndex::new());
    crash(&mut w, &index).await;
    index.set_failing(true);
    let w = Arc::new(w);
    let starts: Vec<_> = (0..9000)
        .map(|n| {
            let w = w.clone();
            tokio::spawn(async move { w.engine.start_workflow(start_request(&format!("w-{n}"))).await })
        })
        .collect();
    for _ in 0..40 {
        w.settle().await;
    }
    let status = soon(w.engine.visibility_status()).await;
    assert!((8192..9000).contains(&status.waiting_records), "{status:?}");
    let failure = status.failure.unwrap();
    assert!(status.holds_work_back && failure.times > 0, "{failure:?}");
    let refused = w.try_start(start_request("refused")).await.unwrap_err();
    let text = format!(
        "the visibility index takes no records since {} (the visibility index failed to take changes: it was told to fail); \
         work goes on when it does, `sempre visibility status` tells more",
        sempre_core::visibility::format_datetime(failure.since)
    );
    assert_eq!(refused, Refusal::Unavailable(text));
    assert_eq!(w.engine.held_back(), Some(refused));
    index.set_failing(false);
    while w.engine.held_back().is_some() {
        w.advance(Span::seconds(1)).await;
    }
    soon(w.engine.until_held_back(false)).await;
    let mut started = 0;
    for start in starts {
        while !start.is_finished() {
            w.advance(Span::seconds(1)).await;
        }
        started += i64::from(start.await.unwrap().is_ok());
    }
    assert!(started >= 8192, "{started}");
    assert_eq!((soon(w.engine.visibility_status()).await.failure, w.engine.held_back()), (None, None));
    assert_eq!(count(&w, "").await, started, "nothing was dropped");
}

#[tokio::test]
async fn pages_go_on_where_they_were_whatever_happens_in_between() {
    let w = world().await;
    for n in 0..7 {
        w.start(&format!("w-{n}")).await;
        w.advance(Span::millis(10)).await;
    }
    let mut seen = Vec::new();
    let mut token = Bytes::new();
    for page in 0..4 {
        let answer = soon(w.engine.list_workflows(request("", 2, token))).await.unwrap();
        seen.extend(answer.executions.into_iter().map(|info| info.execution.unwrap().workflow_id));
        token = answer.next_page_token;
        if page == 0 {
            assert_eq!(seen, ["w-6", "w-5"]);
            w.start("late").await;
            delete(&w.engine, "w-5").await;
        }
    }
    assert_eq!(seen, ["w-6", "w-5", "w-4", "w-3", "w-2", "w-1", "w-0"]);
    assert_eq!(token, Bytes::new(), "the last page is not full");
    let exact = soon(w.engine.list_workflows(request("WorkflowId = 'late'", 1, Bytes::new()))).await.unwrap();
    let after = soon(w.engine.list_workflows(request("WorkflowId = 'late'", 1, exact.next_page_token))).await.unwrap();
    assert_eq!((after.executions.len(), after.next_page_token), (0, Bytes::new()));
    let forged = soon(w.engine.list_workflows(request("", 2, Bytes::from_static(b"forged")))).await;
    assert_eq!(forged.unwrap_err(), Refusal::invalid("Invalid NextPageToken."));
}

#[tokio::test]
async fn items_show_the_run() {
    let w = world().await;
    some_runs(&w).await;
    let request = request("WorkflowId = 'a'", 10, Bytes::new());
    let mut info = soon(w.engine.list_workflows(request)).await.unwrap().executions.remove(0);
    let described = w.describe("a").await.unwrap().workflow_execution_info.unwrap();
    // Lists know neither; the numbers are as of the last change that lists show, here the close.
    info.auto_reset_points = described.auto_reset_points.clone();
    info.priority = described.priority.clone();
    assert_eq!(info, described);
}

#[tokio::test]
async fn counts_by_status() {
    let w = world().await;
    some_runs(&w).await;
    let request = CountWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: "GROUP BY ExecutionStatus".into() };
    let answer = soon(w.engine.count_workflows(request)).await.unwrap();
    let groups: Vec<_> = answer
        .groups
        .iter()
        .map(|group| {
            let value = &group.group_values[0];
            assert_eq!((&value.metadata["encoding"][..], &value.metadata["type"][..]), (&b"json/plain"[..], &b"Keyword"[..]));
            (std::str::from_utf8(&value.data).unwrap(), group.count)
        })
        .collect();
    assert_eq!((answer.count, groups), (3, vec![("\"Terminated\"", 2), ("\"Running\"", 1)]));
}

#[tokio::test]
async fn the_old_lists() {
    let w = world().await;
    some_runs(&w).await;
    let open = |filters| ListOpenWorkflowExecutionsRequest { namespace: NAMESPACE.into(), filters, ..Default::default() };
    let of_type = |name: &str| WorkflowTypeFilter { name: name.into() };
    let of_id = |id: &str| WorkflowExecutionFilter { workflow_id: id.into(), run_id: String::new() };
    for (filters, expected) in [
        (None, 1),
        (Some(open::Filters::TypeFilter(of_type("Test"))), 1),
        (Some(open::Filters::TypeFilter(of_type("Other"))), 0),
        (Some(open::Filters::ExecutionFilter(of_id("c"))), 1),
        (Some(open::Filters::ExecutionFilter(of_id("a"))), 0),
    ] {
        assert_eq!(soon(w.engine.list_open_workflows(open(filters))).await.unwrap().executions.len(), expected);
    }
    let closed = |filters| ListClosedWorkflowExecutionsRequest { namespace: NAMESPACE.into(), filters, ..Default::default() };
    let of_status = |status: Status| Some(closed::Filters::StatusFilter(StatusFilter { status: status as i32 }));
    for (filters, expected) in [(None, 2), (of_status(Status::Terminated), 2), (of_status(Status::Completed), 0)] {
        assert_eq!(soon(w.engine.list_closed_workflows(closed(filters))).await.unwrap().executions.len(), expected);
    }
    for status in [Status::Unspecified, Status::Running] {
        let refusal = soon(w.engine.list_closed_workflows(closed(of_status(status)))).await.unwrap_err();
        assert_eq!(refusal, Refusal::invalid("StatusFilter must be specified and must be not Running."));
    }
    let time = |seconds: i64| Some((Timestamp::from_millis(1_700_000_000_000) + Span::seconds(seconds)).to_api());
    let between = |from, to| Some(StartTimeFilter { earliest_time: time(from), latest_time: time(to) });
    let mut request = closed(None);
    request.start_time_filter = between(0, 4);
    assert_eq!(soon(w.engine.list_closed_workflows(request.clone())).await.unwrap().executions.len(), 1, "closed, not started, by then");
    request.start_time_filter = between(2, 1);
    let refusal = soon(w.engine.list_closed_workflows(request)).await.unwrap_err();
    assert_eq!(refusal, Refusal::invalid("EarliestTime in StartTimeFilter should not be larger than LatestTime."));
    let mut request = open(None);
    request.start_time_filter = between(2, 5);
    assert_eq!(soon(w.engine.list_open_workflows(request)).await.unwrap().executions.len(), 1);
    let archived = ListArchivedWorkflowExecutionsRequest { namespace: NAMESPACE.into(), ..Default::default() };
    let refusal = soon(w.engine.list_archived_workflows(archived)).await.unwrap_err();
    assert_eq!(refusal, Refusal::invalid("Cluster is not configured for visibility archival."));
}

#[tokio::test]
async fn a_namespace_sees_its_own_runs_only() {
    let w = world().await;
    w.engine.ensure_namespace("other", Span::seconds(24 * 3600)).await.unwrap();
    w.start("a").await;
    let there = StartWorkflowExecutionRequest { namespace: "other".into(), ..start_request("b") };
    w.try_start(there).await.unwrap();
    assert_eq!(ids(&list(&w, "").await), ["a"]);
    let request = ListWorkflowExecutionsRequest { namespace: "other".into(), ..request("", 0, Bytes::new()) };
    let runs = soon(w.engine.list_workflows(request)).await.unwrap().executions;
    assert_eq!(runs[0].execution.as_ref().unwrap().workflow_id, "b");
    let nowhere = ListWorkflowExecutionsRequest { namespace: "nowhere".into(), ..Default::default() };
    assert_eq!(soon(w.engine.list_workflows(nowhere)).await.unwrap_err(), Refusal::NamespaceNotFound("nowhere".into()));
    let page = soon(w.engine.visit_runs(NAMESPACE, "WorkflowType = 'Test'", None, 10)).await.unwrap();
    assert_eq!((page.records.len(), page.next), (1, None));
    assert_eq!(soon(w.engine.count_runs(NAMESPACE, "")).await, Ok(1));
}

#[tokio::test]
async fn who_watches_a_list_and_falls_behind_gets_it_anew_a_second_later() {
    let w = world().await;
    w.start("first").await;
    let mut list = w.engine.watch_list("default", "", 2).await.unwrap();
    assert_eq!(soon(list.next()).await.unwrap().unwrap(), ListChange::Begin);
    assert!(matches!(soon(list.next()).await.unwrap().unwrap(), ListChange::Run(_)));
    assert_eq!(soon(list.next()).await.unwrap().unwrap(), ListChange::Ready);
    // More than wait for one who watches.
    for n in 0..4200 {
        w.start(&format!("w-{n}")).await;
    }
    assert!(matches!(soon(list.next()).await.unwrap().unwrap(), ListChange::Lagged(lost) if lost > 0));
    // Whoever asks and goes, as with a time limit, takes nothing along.
    for _ in 0..2 {
        assert!(tokio::time::timeout(Duration::from_millis(20), list.next()).await.is_err(), "not before its second is over");
    }
    w.advance(Span::seconds(1)).await;
    assert_eq!(soon(list.next()).await.unwrap().unwrap(), ListChange::Begin);
    for _ in 0..2 {
        assert!(matches!(soon(list.next()).await.unwrap().unwrap(), ListChange::Run(_)));
    }
    assert_eq!(soon(list.next()).await.unwrap().unwrap(), ListChange::Ready);
    w.start("last").await;
    match soon(list.next()).await.unwrap().unwrap() {
        ListChange::Run(info) => assert_eq!(info.execution.unwrap().workflow_id, "last"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let w = world().await;
    let data = Bytes::from(vec![b'x'; 1 << 20]);
    for n in 0..40 {
        let memo = Memo { fields: [("m".to_owned(), Payload { data: data.clone(), ..Default::default() })].into() };
        w.try_start(StartWorkflowExecutionRequest { memo: Some(memo), ..start_request(&format!("w{n}")) }).await.unwrap();
    }
    let (mut token, mut pages, mut seen) = (Bytes::new(), Vec::new(), BTreeSet::new());
    loop {
        let request = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), next_page_token: token, ..Default::default() };
        let page = w.engine.list_workflows(request).await.unwrap();
        pages.push(page.executions.len());
        seen.extend(page.executions.into_iter().map(|run| run.execution.unwrap().workflow_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((pages, seen.len()), (vec![15, 15, 10], 40));
}

//! Shards that come and go while engines run.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures::FutureExt;
use sempre_api::{
    sempre::v1::{FlowMatch, FlowRule, SetFlowRuleRequest},
    v1::{
        command::{Command, ScheduleActivityTaskCommandAttributes, StartChildWorkflowExecutionCommandAttributes, command::Attributes},
        common::{ActivityType, Memo, Payload, WorkflowType},
        enums::{CommandType, HistoryEventFilterType, UpdateWorkflowExecutionLifecycleStage as Stage},
        query::WorkflowQuery,
        update::{Input, Meta, Request, WaitPolicy},
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};
use sempre_engine::{
    Components, Engine, Lease, Limited, Settings,
    visibility::{Index, memory::MemoryIndex},
};
use sempre_store::{StoreError, Table};

use crate::{nodes::*, support::*};

fn activity() -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "act".into(),
        activity_type: Some(ActivityType { name: "Act".into() }),
        task_queue: Some(queue()),
        start_to_close_timeout: Some(Span::seconds(3600).to_api()),
        ..Default::default()
    };
    command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)))
}

pub(crate) fn child(id: &str) -> Command {
    let attributes = StartChildWorkflowExecutionCommandAttributes {
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Child".into() }),
        task_queue: Some(queue()),
        ..Default::default()
    };
    command(CommandType::StartChildWorkflowExecution, Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(attributes)))
}

pub(crate) fn id(task: &PollWorkflowTaskQueueResponse) -> &str {
    &task.workflow_execution.as_ref().unwrap().workflow_id
}

fn events(task: &PollWorkflowTaskQueueResponse) -> Vec<&'static str> {
    names(&task.history.clone().unwrap().events().unwrap())
}

/// A poll that finds nothing now.
async fn finds_nothing(w: &World) {
    let poll = w.poll_beside();
    w.settle().await;
    assert!(!poll.is_finished());
    poll.abort();
    w.settle().await;
}

async fn open_ids(w: &World) -> Vec<String> {
    let request =
        ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: "ExecutionStatus='Running'".into(), ..Default::default() };
    let listed = soon(w.engine.list_workflows(request)).await.unwrap();
    let mut ids: Vec<String> = listed.executions.into_iter().map(|info| info.execution.clone().unwrap().workflow_id).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn a_run_with_a_timer_and_an_activity_in_hand_goes_on_when_its_shard_has_moved_and_come_back() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    assert_eq!((a.engine.shards(), b.engine.shards()), (vec![0, 1], vec![]));
    let run = n.id(1, "run");
    elsewhere(b.try_start(start_request(&run)).await, 1);
    a.start(&run).await;
    let task = a.poll().await;
    a.complete(&task.task_token, vec![timer("t", Span::seconds(60)), activity()]).await;
    let in_hand = a.poll_activity().await;

    n.give(1, a, b).await;
    assert_eq!((a.engine.shards(), b.engine.shards()), (vec![0], vec![1]));
    elsewhere(a.signal(&run, "x").await, 1);
    elsewhere(a.describe(&run).await, 1);
    let completed = RespondActivityTaskCompletedRequest { task_token: in_hand.task_token, ..Default::default() };
    elsewhere(soon(a.engine.respond_activity_task_completed(completed.clone())).await, 1);
    soon(b.engine.respond_activity_task_completed(completed.clone())).await.unwrap();
    let again = soon(b.engine.respond_activity_task_completed(completed)).await;
    assert!(matches!(again, Err(Refusal::NotFound(_))), "{again:?}");
    finds_nothing(a).await;
    let task = b.poll().await;
    b.complete(&task.task_token, vec![timer("u", Span::seconds(600))]).await;
    n.advance(Span::seconds(60)).await;
    let task = b.poll().await;
    assert!(events(&task).contains(&"TIMER_FIRED"));

    // The worker has the task in hand while the shard goes back.
    n.give(1, b, a).await;
    elsewhere(b.try_complete(&task.task_token, vec![]).await, 1);
    a.complete(&task.task_token, vec![]).await;
    n.advance(Span::seconds(600)).await;
    let task = a.poll().await;
    a.complete(&task.task_token, done()).await;
    let workflow_task = ["WORKFLOW_TASK_SCHEDULED", "WORKFLOW_TASK_STARTED", "WORKFLOW_TASK_COMPLETED"];
    let wanted = [
        &["WORKFLOW_EXECUTION_STARTED"][..],
        &workflow_task,
        &["TIMER_STARTED", "ACTIVITY_TASK_SCHEDULED", "ACTIVITY_TASK_STARTED", "ACTIVITY_TASK_COMPLETED"],
        &workflow_task,
        &["TIMER_STARTED", "TIMER_FIRED"],
        &workflow_task,
        &["TIMER_FIRED"],
        &workflow_task,
        &["WORKFLOW_EXECUTION_COMPLETED"],
    ];
    assert_eq!(a.names(&run).await, wanted.concat());
}

#[tokio::test]
async fn tasks_that_wait_go_with_their_shard_in_their_order() {
    // The windows hold few of them: the rest is read from the store.
    let n = nodes_with(|settings| settings.queue_window_max = 4).await;
    let (a, b) = (&n.a, &n.b);
    let moved: Vec<String> = (0..10).map(|k| n.id(1, &format!("moved-{k}"))).collect();
    let staying: Vec<String> = (0..10).map(|k| n.id(0, &format!("staying-{k}"))).collect();
    for (moved, staying) in moved.iter().zip(&staying) {
        for run in [moved, staying] {
            a.start(run).await;
            a.clock_tick();
        }
    }
    n.give(1, a, b).await;
    for (moved, staying) in moved.iter().zip(&staying) {
        assert_eq!((id(&b.poll().await), id(&a.poll().await)), (moved.as_str(), staying.as_str()));
    }
    finds_nothing(a).await;
    finds_nothing(b).await;
    assert_eq!((a.engine.stats().backlog.get(), b.engine.stats().backlog.get()), (0, 0));
}

#[tokio::test]
async fn a_poll_that_waits_gets_what_a_shard_brings() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let (run, other) = (n.id(1, "run"), n.id(1, "other"));
    a.start(&run).await;
    let poll = b.poll_beside();
    b.settle().await;
    n.give(1, a, b).await;
    assert_eq!(id(&soon(poll).await.unwrap()), run);
    assert_eq!(a.engine.stats().backlog.get(), 0, "nothing is left of it here");
    // From now on as on a server alone: in the commit that makes the task.
    let poll = b.poll_beside();
    b.settle().await;
    b.start(&other).await;
    assert_eq!(id(&soon(poll).await.unwrap()), other);
    assert!(b.engine.stats().sync_matches.get() > 0);
}

#[tokio::test]
async fn who_waits_at_a_shard_that_leaves_is_told_that_it_is_elsewhere() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let run = n.id(1, "run");
    a.start(&run).await;
    let task = a.poll().await;
    let engine = a.engine.clone();
    let history = GetWorkflowExecutionHistoryRequest {
        wait_new_event: true,
        history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
        ..history_request(&run)
    };
    let history = tokio::spawn(async move { engine.get_history(history, Default::default(), None).await.map(drop) });
    let engine = a.engine.clone();
    let query = QueryWorkflowRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution(&run, "")),
        query: Some(WorkflowQuery { query_type: "state".into(), ..Default::default() }),
        ..Default::default()
    };
    let query = tokio::spawn(async move { engine.query_workflow(query, None).await.map(drop) });
    let engine = a.engine.clone();
    let update = UpdateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(&run, "")),
        wait_policy: Some(WaitPolicy { lifecycle_stage: Stage::Completed as i32 }),
        request: Some(Request {
            meta: Some(Meta { update_id: "u".into(), ..Default::default() }),
            input: Some(Input { name: "handler".into(), ..Default::default() }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let update = tokio::spawn(async move { engine.update_workflow(update, None).await.map(drop) });
    a.settle().await;
    assert!(!history.is_finished() && !query.is_finished() && !update.is_finished());
    n.give(1, a, b).await;
    elsewhere(soon(query).await.unwrap(), 1);
    // These ask again after a moment.
    n.advance(Span::seconds(1)).await;
    elsewhere(soon(history).await.unwrap(), 1);
    let update = soon(update).await.unwrap();
    assert!(matches!(update, Err(Refusal::Unavailable(_) | Refusal::Elsewhere { .. })), "{update:?}");
    b.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn what_is_on_its_way_to_the_disk_is_answered_and_what_comes_after_is_told_elsewhere() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let run = n.id(1, "run");
    a.start(&run).await;
    let task = a.poll().await;
    a.complete(&task.task_token, vec![]).await;
    a.store.held.store(true, SeqCst);
    let (engine, request) = (a.engine.clone(), run.clone());
    let signal = move |name: &'static str| {
        let (engine, run) = (engine.clone(), request.clone());
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(execution(&run, "")),
            signal_name: name.into(),
            request_id: name.into(),
            ..Default::default()
        };
        tokio::spawn(async move { engine.signal_workflow(request).await.map(drop) })
    };
    let first = signal("first");
    a.settle().await;
    let engine = a.engine.clone();
    let given = tokio::spawn(async move { engine.give_up(1).await });
    a.settle().await;
    let second = signal("second");
    elsewhere(soon(second).await.unwrap(), 1);
    assert!(!first.is_finished() && !given.is_finished(), "its commit is not durable");
    a.store.held.store(false, SeqCst);
    a.store.permits.add_permits(100);
    soon(first).await.unwrap().unwrap();
    soon(given).await.unwrap().unwrap();
    n.place(1, b);
    soon(b.engine.take_up(1)).await.unwrap();
    b.signal(&run, "second").await.unwrap();
    let task = b.poll().await;
    let signals = events(&task).into_iter().filter(|name| *name == "WORKFLOW_EXECUTION_SIGNALED").count();
    assert_eq!(signals, 2, "each once");
    b.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn a_late_commit_of_who_has_lost_a_shard_is_refused_and_he_knows_it_then() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let (run, other) = (n.id(1, "run"), n.id(0, "other"));
    a.start(&run).await;
    a.start(&other).await;
    // As if the lease of A had run out: it has not been asked.
    n.place(1, b);
    soon(b.engine.take_up(1)).await.unwrap();
    b.signal(&run, "at-b").await.unwrap();
    let late = a.signal(&run, "late").await;
    assert!(matches!(late, Err(Refusal::Unavailable(_))), "{late:?}");
    a.settle().await;
    assert_eq!((a.engine.shards(), a.engine.stats().backlog.get()), (vec![0], 1));
    elsewhere(a.signal(&run, "later").await, 1);
    assert!(a.engine.fatal().now_or_never().is_none());
    a.signal(&other, "goes-on").await.unwrap();
    let task = a.poll().await;
    assert_eq!(id(&task), other, "the task of the other run is no longer offered here");
    finds_nothing(a).await;
    let task = b.poll().await;
    let signals = events(&task).into_iter().filter(|name| *name == "WORKFLOW_EXECUTION_SIGNALED").count();
    assert_eq!((id(&task), signals), (run.as_str(), 1));
    // It can be taken up again.
    n.give(1, b, a).await;
    a.complete(&task.task_token, done()).await;
}

#[tokio::test]
async fn children_and_parents_find_each_other_when_both_have_moved() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let (parent, kid) = (n.id(0, "parent"), n.id(1, "child"));
    a.start(&parent).await;
    let task = a.poll().await;
    n.give(1, a, b).await;
    // The child's shard is elsewhere: its start is tried until it can be reached.
    a.complete(&task.task_token, vec![child(&kid)]).await;
    n.advance(Span::seconds(1)).await;
    assert!(!a.names(&parent).await.contains(&"CHILD_WORKFLOW_EXECUTION_STARTED"));
    n.give(0, a, b).await;
    let (first, second) = (b.poll().await, b.poll().await);
    let (of_parent, of_child) = if id(&first) == parent { (first, second) } else { (second, first) };
    assert_eq!((id(&of_parent), id(&of_child)), (parent.as_str(), kid.as_str()));
    b.complete(&of_parent.task_token, vec![]).await;
    // The child ends while its parent is elsewhere.
    n.give(0, b, a).await;
    b.complete(&of_child.task_token, done()).await;
    n.advance(Span::seconds(1)).await;
    finds_nothing(a).await;
    n.give(1, b, a).await;
    let task = a.poll().await;
    assert_eq!(id(&task), parent);
    a.complete(&task.task_token, done()).await;
    a.settle().await;
    let once = |name: &str, all: &[&str]| assert_eq!(all.iter().filter(|known| **known == name).count(), 1, "{name}: {all:?}");
    let all = a.names(&parent).await;
    once("CHILD_WORKFLOW_EXECUTION_STARTED", &all);
    once("CHILD_WORKFLOW_EXECUTION_COMPLETED", &all);
    once("WORKFLOW_EXECUTION_STARTED", &a.names(&kid).await);
    assert!(a.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn lists_show_the_runs_of_a_shard_wherever_it_is() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let (one, two) = (n.id(1, "a-run"), n.id(1, "b-run"));
    a.start(&one).await;
    a.clock_tick();
    a.start(&two).await;
    soon(a.engine.give_up(1)).await.unwrap();
    assert!(a.store.rows(Table::Visibility).is_empty(), "the index has them, and nothing is left to be taken over");
    assert_eq!(open_ids(a).await, [one.as_str(), two.as_str()]);
    n.place(1, b);
    soon(b.engine.take_up(1)).await.unwrap();
    assert_eq!(open_ids(b).await, [one.as_str(), two.as_str()]);
    let task = b.poll().await;
    b.complete(&task.task_token, done()).await;
    assert_eq!(open_ids(b).await, [two.as_str()], "as soon as the call has returned");
    n.give(1, b, a).await;
    assert_eq!(open_ids(a).await, [two.as_str()]);
    assert_eq!(open_ids(b).await, [two.as_str()], "it holds no older picture");
}

#[tokio::test]
async fn a_rebuild_of_the_index_reads_the_runs_of_a_shard_that_has_left_again() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let (here, gone, late) = (n.id(0, "here"), n.id(1, "gone"), n.id(0, "late"));
    a.start(&here).await;
    a.start(&gone).await;
    n.advance(Span::seconds(1)).await;
    // It has begun, and waits for a commit.
    a.store.held.store(true, SeqCst);
    let (engine, request) = (a.engine.clone(), start_request(&late));
    let started = tokio::spawn(async move { engine.start_workflow(request).await.map(drop) });
    a.settle().await;
    a.engine.rebuild_visibility().unwrap();
    a.settle().await;
    n.index.set_failing(true);
    a.store.held.store(false, SeqCst);
    a.store.permits.add_permits(100);
    soon(started).await.unwrap().unwrap();
    a.until("all is read, and waits for the index", || a.engine.visibility_progress().slots == 1024).await;
    // What waits of the shard goes with it. From then on the rebuild has nobody to ask for its commits.
    soon(a.engine.give_up(1)).await.unwrap();
    n.index.set_failing(false);
    for _ in 0..100 {
        if !a.engine.visibility_progress().running {
            break;
        }
        n.advance(Span::millis(500)).await;
    }
    let progress = a.engine.visibility_progress();
    assert_eq!((progress.running, progress.finished, progress.runs), (false, 1, 3));
    assert_eq!(open_ids(a).await, [gone.as_str(), here.as_str(), late.as_str()]);
    n.place(1, b);
    soon(b.engine.take_up(1)).await.unwrap();
    assert_eq!(open_ids(b).await, [gone.as_str(), here.as_str(), late.as_str()]);
}

/// A node whose lease has run out while the answer to a commit was on its way: others may have changed what it has in memory.
#[tokio::test]
async fn what_is_asked_behind_a_commit_in_flight_is_not_proved_by_it() {
    struct Lasts(AtomicBool);
    impl Lease for Lasts {
        fn is_current(&self) -> bool {
            self.0.load(SeqCst)
        }
    }
    let mut w = world_with(Settings { notices_kept: 0, ..settings() }).await;
    let lease = Arc::new(Lasts(AtomicBool::new(true)));
    let opened = std::future::ready(Ok(Arc::new(MemoryIndex::new()) as Arc<dyn Index>));
    let components = Components { index: Box::new(move |_| Box::pin(opened)), lease: Some(lease.clone()), ..Components::default() };
    w.engine = Engine::open_with(w.store.clone(), w.clock.clone(), Arc::new(Tasks), 5, w.settings.clone(), components).await.unwrap();
    w.start("w").await;
    assert!(w.describe("w").await.is_ok());
    let under_way = |w: &World| {
        let (engine, of) = (w.engine.clone(), Some(execution("w", "")));
        let signal = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: of.clone(),
            signal_name: "x".into(),
            ..Default::default()
        };
        let signalled = tokio::spawn(async move { engine.signal_workflow(signal).await.map(drop) });
        let (engine, describe) = (w.engine.clone(), DescribeWorkflowExecutionRequest { namespace: NAMESPACE.into(), execution: of });
        (signalled, async move { engine.describe_workflow(describe).await.map(drop) })
    };
    for lasts in [true, false] {
        w.store.held.store(true, SeqCst);
        let (signalled, describes) = under_way(&w);
        w.settle().await;
        let described = tokio::spawn(describes);
        w.settle().await;
        assert!(!signalled.is_finished() && !described.is_finished(), "both wait for the commit");
        lease.0.store(lasts, SeqCst);
        w.store.held.store(false, SeqCst);
        w.store.permits.add_permits(1);
        assert_eq!(soon(signalled).await.unwrap(), Ok(()), "the commit itself is proof");
        let described = soon(described).await.unwrap();
        assert!(if lasts { described.is_ok() } else { matches!(described, Err(Refusal::Unavailable(_))) }, "{described:?}");
    }
}

#[tokio::test]
async fn a_rebuild_of_the_index_ends_when_it_is_another_nodes_to_make_it_whole() {
    let n = nodes().await;
    let a = &n.a;
    let owner = u32::MAX - 70;
    let (here, late) = (n.id(0, "here"), n.id(0, "late"));
    a.start(&here).await;
    n.advance(Span::seconds(1)).await;
    // It has begun, and waits for a commit.
    a.store.held.store(true, SeqCst);
    let (engine, request) = (a.engine.clone(), start_request(&late));
    let started = tokio::spawn(async move { engine.start_workflow(request).await.map(drop) });
    a.settle().await;
    assert!(a.engine.rebuild_visibility().unwrap().running);
    a.settle().await;
    assert!(a.engine.visibility_progress().running);
    soon(a.engine.give_up(owner)).await.unwrap();
    a.until("it ends", || !a.engine.visibility_progress().running).await;
    assert_eq!(a.engine.visibility_progress().finished, 0);
    elsewhere(a.engine.rebuild_visibility(), owner);
    a.store.held.store(false, SeqCst);
    a.store.permits.add_permits(100);
    soon(started).await.unwrap().unwrap();
    soon(a.engine.take_up(owner)).await.unwrap();
    assert!(a.engine.rebuild_visibility().unwrap().running);
    a.until("it is done", || a.engine.visibility_progress().finished == 1).await;
    assert_eq!(open_ids(a).await, [here.as_str(), late.as_str()]);
}

#[tokio::test]
async fn an_index_that_takes_nothing_more_keeps_nobody_from_giving_up_a_shard_or_stopping() {
    let n = nodes().await;
    let a = &n.a;
    n.index.set_failing(true);
    // After some dozens of these no more may wait for it.
    let payload = Payload { data: vec![0u8; 1 << 20].into(), ..Default::default() };
    let memo = Memo { fields: [("m".to_owned(), payload)].into() };
    let mut started = 0;
    loop {
        let id = n.id(1, &format!("run-{started}"));
        let request = StartWorkflowExecutionRequest { memo: Some(memo.clone()), ..start_request(&id) };
        if a.try_start(request).await.is_err() {
            break;
        }
        started += 1;
    }
    assert!((1..100).contains(&started) && a.engine.held_back().is_some(), "{started}");
    soon(a.engine.give_up(1)).await.unwrap();
    assert_eq!((a.engine.shards(), a.engine.held_back()), (vec![0], None));
    assert_eq!(a.store.rows(Table::Visibility).len(), started, "whoever has it next shows them");
    soon(a.engine.take_up(1)).await.unwrap();
    a.settle().await;
    assert!(a.engine.held_back().is_some());
    soon(a.engine.shutdown()).await;
}

#[tokio::test]
async fn a_shard_that_leaves_counts_for_nothing_here() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let rule =
        FlowRule { name: "one".into(), r#match: Some(FlowMatch { all: true, ..Default::default() }), max_open: 1, ..Default::default() };
    soon(a.engine.set_flow_rule(SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 })).await.unwrap();
    let (gone, here, waits) = (n.id(1, "gone"), n.id(0, "here"), n.id(0, "waits"));
    a.start(&gone).await;
    a.settle().await;
    a.start(&here).await;
    a.clock_tick();
    a.start(&waits).await;
    assert_eq!(id(&a.poll().await), gone);
    finds_nothing(a).await;
    n.give(1, a, b).await;
    let task = a.poll().await;
    assert_eq!(id(&task), here, "its place is free, as far as this engine knows");
    finds_nothing(a).await;
    a.complete(&task.task_token, done()).await;
    // Back again it counts.
    n.give(1, b, a).await;
    a.settle().await;
    let open = |w: &World| {
        let used = w.engine.namespace_uses().into_iter().flat_map(|of| of.limits);
        used.filter(|of| of.of == Limited::OpenRuns).map(|of| of.used).sum::<u64>()
    };
    assert_eq!((open(a), open(b)), (2, 0));
}

#[tokio::test]
async fn a_shard_that_cannot_be_taken_up_stays_absent_and_can_be_taken_up_later() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let run = n.id(1, "run");
    a.start(&run).await;
    let refused = soon(b.engine.take_up(1)).await;
    assert!(matches!(refused, Err(StoreError::Elsewhere { shard: 1 })), "{refused:?}");
    a.signal(&run, "x").await.unwrap();
    soon(a.engine.give_up(1)).await.unwrap();
    // Twice is once.
    soon(a.engine.give_up(1)).await.unwrap();
    n.place(1, b);
    b.store.full.store(1, SeqCst);
    assert!(matches!(soon(b.engine.take_up(1)).await, Err(StoreError::Rejected { .. })));
    b.store.lists_unreadable.store(1, SeqCst);
    assert!(matches!(soon(b.engine.take_up(1)).await, Err(StoreError::Rejected { .. })));
    elsewhere(b.signal(&run, "x").await, 1);
    soon(b.engine.take_up(1)).await.unwrap();
    soon(b.engine.take_up(1)).await.unwrap();
    b.signal(&run, "x").await.unwrap();
    let task = b.poll().await;
    b.complete(&task.task_token, done()).await;
    assert!(matches!(soon(a.engine.take_up(7)).await, Err(StoreError::Rejected { .. })), "there is none");
    // An engine whose shards are absent ends like any other.
    soon(a.engine.give_up(0)).await.unwrap();
    soon(a.engine.shutdown()).await;
    assert!(matches!(soon(a.engine.take_up(0)).await, Err(StoreError::Closed)));
}

#[tokio::test]
async fn a_commit_that_fails_while_a_shard_leaves_is_settled_before_it_is_given() {
    let n = nodes().await;
    let (a, b) = (&n.a, &n.b);
    let run = n.id(1, "run");
    a.start(&run).await;
    a.store.held.store(true, SeqCst);
    let signal = {
        let (engine, run) = (a.engine.clone(), run.clone());
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(execution(&run, "")),
            signal_name: "held".into(),
            ..Default::default()
        };
        tokio::spawn(async move { engine.signal_workflow(request).await.map(drop) })
    };
    a.settle().await;
    let engine = a.engine.clone();
    let given = tokio::spawn(async move { engine.give_up(1).await });
    a.settle().await;
    // What it writes last, for lists, is refused.
    a.store.held.store(false, SeqCst);
    a.store.refuse.store(1, SeqCst);
    a.store.permits.add_permits(100);
    soon(signal).await.unwrap().unwrap();
    soon(given).await.unwrap().unwrap();
    assert_eq!(a.engine.stats().commit_failures.get(), 1);
    n.place(1, b);
    soon(b.engine.take_up(1)).await.unwrap();
    let task = b.poll().await;
    assert!(events(&task).contains(&"WORKFLOW_EXECUTION_SIGNALED"));
    b.complete(&task.task_token, done()).await;
    assert_eq!(open_ids(b).await, [""; 0]);
}

//! What the engines of two nodes have each other do: runs at both, and answers that are lost, late, or not to be had.

use std::{collections::BTreeSet, sync::atomic::Ordering::SeqCst};

use bytes::Bytes;
use sempre_api::v1::{
    command::{
        Command, RequestCancelExternalWorkflowExecutionCommandAttributes, SignalExternalWorkflowExecutionCommandAttributes,
        command::Attributes,
    },
    common::WorkflowExecution,
    enums::{BatchOperationState, CommandType, EventType, ScheduleOverlapPolicy as Policy, WorkflowExecutionStatus as Status},
    history::history_event::Attributes as Event,
    schedule::{SchedulePatch, TriggerImmediatelyRequest},
    workflowservice::*,
};
use sempre_core::Span;
use sempre_store::Table;

use crate::{
    batches,
    nodes::*,
    schedules::{by_hand, create, describe, patch_request},
    shards::{child, id},
    support::*,
};

fn to(id: &str) -> Option<WorkflowExecution> {
    Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() })
}

fn signal(id: &str, name: &str) -> Command {
    let attributes = SignalExternalWorkflowExecutionCommandAttributes { execution: to(id), signal_name: name.into(), ..Default::default() };
    command(CommandType::SignalExternalWorkflowExecution, Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes))
}

fn cancel(id: &str) -> Command {
    let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes { workflow_id: id.into(), ..Default::default() };
    let attributes = Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes);
    command(CommandType::RequestCancelExternalWorkflowExecution, attributes)
}

#[track_caller]
fn times(names: &[&str], name: &str, times: usize) {
    assert_eq!(names.iter().filter(|known| **known == name).count(), times, "{name}: {names:?}");
}

/// Names of the signals in a history, in their order.
async fn signals(w: &World, id: &str) -> Vec<String> {
    let events = w.history(id).await.into_iter().filter_map(|event| match event.attributes {
        Some(Event::WorkflowExecutionSignaledEventAttributes(signaled)) => Some(signaled.signal_name),
        _ => None,
    });
    events.collect()
}

async fn status(w: &World, id: &str) -> Status {
    w.describe(id).await.unwrap().workflow_execution_info.unwrap().status()
}

#[tokio::test]
async fn a_child_at_another_node_is_started_ends_and_tells_its_parent() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (parent, kid) = (n.id(0, "parent"), n.id(1, "child"));
    a.start(&parent).await;
    let (task, _) = n.poll().await;
    a.settle().await;
    let before = post.taken.load(SeqCst);
    a.complete(&task.task_token, vec![child(&kid)]).await;
    let (first, second) = (n.poll().await.0, n.poll().await.0);
    let (of_parent, of_child) = if id(&first) == parent { (first, second) } else { (second, first) };
    assert_eq!((id(&of_parent), id(&of_child)), (parent.as_str(), kid.as_str()));
    a.complete(&of_parent.task_token, vec![]).await;
    b.complete(&of_child.task_token, done()).await;
    let (task, _) = n.poll().await;
    a.complete(&task.task_token, done()).await;
    a.settle().await;
    let all = a.names(&parent).await;
    times(&all, "CHILD_WORKFLOW_EXECUTION_STARTED", 1);
    times(&all, "CHILD_WORKFLOW_EXECUTION_COMPLETED", 1);
    assert!(a.store.rows(Table::Outbox).is_empty());
    // The start, its release, the end; and offers of those tasks whose home is elsewhere, and claims of them.
    assert!(post.taken.load(SeqCst) >= before + 3);
}

#[tokio::test]
async fn the_end_of_a_parent_ends_its_child_at_another_node() {
    let (n, _post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (parent, kid) = (n.id(1, "parent"), n.id(0, "child"));
    b.start(&parent).await;
    let (task, _) = n.poll().await;
    b.complete(&task.task_token, vec![child(&kid)]).await;
    let (mut task, mut owner) = n.poll().await;
    if id(&task) == kid {
        // It stays with its worker.
        (task, owner) = n.poll().await;
    }
    owner.complete(&task.task_token, done()).await;
    a.settle().await;
    assert_eq!((status(b, &parent).await, status(a, &kid).await), (Status::Completed, Status::Terminated));
    assert!(a.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn messages_of_one_run_to_another_do_not_overtake_each_other_between_nodes() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (sender, target, other) = (n.id(0, "sender"), n.id(1, "target"), n.id(1, "other"));
    a.start(&sender).await;
    let (task, _) = n.poll().await;
    b.start(&target).await;
    b.start(&other).await;
    a.settle().await;
    post.taken.store(0, SeqCst);
    post.overtaking.store(true, SeqCst);
    let wanted: Vec<String> = (0..12).map(|n| format!("s{n}")).collect();
    let commands = wanted.iter().flat_map(|name| [signal(&target, name), signal(&other, name)]).chain([cancel(&target)]);
    a.complete(&task.task_token, commands.collect()).await;
    a.until("all are told", || a.store.rows(Table::Outbox).is_empty()).await;
    assert_eq!(signals(b, &target).await, wanted);
    assert_eq!(signals(b, &other).await, wanted);
    let all = b.names(&target).await;
    assert_eq!(all.last(), Some(&"WORKFLOW_EXECUTION_CANCEL_REQUESTED"));
    let all = a.names(&sender).await;
    times(&all, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", 24);
    times(&all, "EXTERNAL_WORKFLOW_EXECUTION_CANCEL_REQUESTED", 1);
    assert!(a.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn a_message_whose_answer_is_lost_is_sent_again_and_has_one_effect() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (sender, target, kid) = (n.id(0, "sender"), n.id(1, "target"), n.id(1, "child"));
    b.start(&target).await;
    let (task, _) = n.poll().await;
    b.complete(&task.task_token, vec![timer("t", Span::seconds(3600))]).await;
    a.start(&sender).await;
    let (task, _) = n.poll().await;
    a.settle().await;
    post.lost.store(2, SeqCst);
    a.complete(&task.task_token, vec![child(&kid), signal(&target, "s")]).await;
    for _ in 0..8 {
        n.advance(Span::millis(100)).await;
    }
    let given: BTreeSet<String> = [n.poll().await.0, n.poll().await.0, n.poll().await.0].iter().map(|task| id(task).to_owned()).collect();
    assert_eq!(given, BTreeSet::from([target.clone(), kid.clone(), sender.clone()]));
    assert_eq!(signals(b, &target).await, ["s"]);
    times(&b.names(&kid).await, "WORKFLOW_EXECUTION_STARTED", 1);
    let all = a.names(&sender).await;
    times(&all, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", 1);
    times(&all, "CHILD_WORKFLOW_EXECUTION_STARTED", 1);
    assert_eq!(post.lost.load(SeqCst), 0);
}

#[tokio::test]
async fn a_message_waits_until_somebody_has_the_shard_and_holds_up_no_other() {
    let (n, _post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (sender, target, near) = (n.id(0, "sender"), n.id(1, "target"), n.id(0, "near"));
    a.start(&sender).await;
    let (task, _) = n.poll().await;
    b.start(&target).await;
    a.start(&near).await;
    a.settle().await;
    soon(b.engine.give_up(1)).await.unwrap();
    // More than may be under way at once.
    let many = (0..3).map(|n| signal(&target, &format!("s{n}"))).chain((0..70).map(|k| signal(&n.id(1, &format!("gone-{k}")), "x")));
    a.complete(&task.task_token, many.chain([signal(&near, "here")]).collect()).await;
    // Nothing else happens in the meantime.
    n.advance(Span::millis(210)).await;
    assert_eq!(signals(a, &near).await, ["here"]);
    times(&a.names(&sender).await, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", 1);
    // It comes to the node that has sent it.
    n.place(1, a);
    soon(a.engine.take_up(1)).await.unwrap();
    for _ in 0..10 {
        n.advance(Span::millis(500)).await;
    }
    assert_eq!(signals(a, &target).await, ["s0", "s1", "s2"]);
    let all = a.names(&sender).await;
    times(&all, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", 4);
    times(&all, "SIGNAL_EXTERNAL_WORKFLOW_EXECUTION_FAILED", 70);
    assert!(a.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_and_nothing_is_done() {
    let (n, _post) = neighbours().await;
    let b = &n.b;
    assert_eq!(b.engine.receive(0, Bytes::new()).await, None, "it is not here");
    assert_eq!(b.engine.receive(7, Bytes::new()).await, None, "there is none");
    assert_eq!(b.engine.receive(u32::MAX - 500, Bytes::new()).await, None, "nor of this");
    // Nothing; junk; fields that nobody knows yet; a message that is cut off, or has nothing in it.
    let unreadable = [&b""[..], b"\xff\xff\xff", b"\xfa\x06\x00", b"\x0a\x05\x0a", b"\x0a\x00", b"\x12\x00", b"\x62\x02\x0a\x00"];
    for bytes in unreadable {
        let answer = soon(b.engine.receive(1, Bytes::from_static(bytes))).await.unwrap();
        // Field 2: it could not be read.
        assert_eq!(answer.as_ref(), b"\x12\x00", "{bytes:?}");
    }
}

#[tokio::test]
async fn a_batch_job_acts_on_runs_of_other_nodes() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let runs: Vec<(String, &World)> =
        (0..6).map(|k| if k % 2 == 0 { (n.id(0, &format!("here-{k}")), a) } else { (n.id(1, &format!("there-{k}")), b) }).collect();
    for (run, w) in &runs {
        w.start(run).await;
    }
    // What the targets are now cannot be found out: there is no job.
    post.lost.store(1, SeqCst);
    let ids = || runs.iter().map(|(id, _)| id.clone());
    soon(a.engine.start_batch(batches::job("signals", batches::signal("go"), ids(), 0.0))).await.unwrap_err();
    // Answers are lost: it is tried again, and done once.
    soon(a.engine.start_batch(batches::job("signals", batches::signal("go"), ids(), 0.0))).await.unwrap();
    post.lost.store(2, SeqCst);
    for _ in 0..10 {
        n.advance(Span::seconds(1)).await;
    }
    assert_eq!(batches::counts(a, "signals").await, (BatchOperationState::Completed, 6, 6, 0));
    for (run, w) in &runs {
        assert_eq!(signals(w, run).await, ["go"], "{run}");
    }
    // By a query, and with answers that are lost.
    post.lost.store(2, SeqCst);
    let query = StartBatchOperationRequest {
        visibility_query: "ExecutionStatus = 'Running'".into(),
        ..batches::job("ends", batches::terminate(), [], 0.0)
    };
    soon(a.engine.start_batch(query)).await.unwrap();
    for _ in 0..10 {
        n.advance(Span::seconds(1)).await;
    }
    assert_eq!(batches::counts(a, "ends").await, (BatchOperationState::Completed, 6, 6, 0));
    for (run, w) in &runs {
        assert_eq!(status(w, run).await, Status::Terminated, "{run}");
    }
    assert_eq!(post.lost.load(SeqCst), 0);
}

#[tokio::test]
async fn a_schedule_starts_stops_and_looks_at_runs_of_another_node() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let mut schedule = by_hand(Policy::TerminateOther);
    let name = n.id(1, "of-schedule");
    let action = schedule.action.as_mut().unwrap().action.as_mut().unwrap();
    let sempre_api::v1::schedule::schedule_action::Action::StartWorkflow(action) = action;
    action.workflow_id.clone_from(&name);
    create(a, "s", schedule).await;
    let trigger = || {
        let trigger_immediately = Some(TriggerImmediatelyRequest::default());
        patch_request("s", SchedulePatch { trigger_immediately, ..Default::default() })
    };
    // Each start by hand has the action's own workflow id, with its time behind it, so it is somewhere.
    post.lost.store(1, SeqCst);
    for _ in 0..8 {
        soon(a.engine.patch_schedule(trigger())).await.unwrap();
        n.advance(Span::seconds(2)).await;
    }
    n.advance(Span::seconds(2)).await;
    let info = describe(a, "s").await.info.unwrap();
    assert_eq!(info.action_count, 8);
    let mut statuses = Vec::new();
    let mut at_b = 0;
    for action in &info.recent_actions {
        let started = action.start_workflow_result.as_ref().unwrap();
        let w = if b.describe(&started.workflow_id).await.is_ok() { b } else { a };
        at_b += usize::from(std::ptr::eq(w, b));
        let events = w.history(&started.workflow_id).await;
        assert_eq!(events.iter().filter(|event| event.event_type == EventType::WorkflowExecutionStarted as i32).count(), 1);
        statuses.push(status(w, &started.workflow_id).await);
    }
    assert_eq!(statuses.len(), 8);
    assert!((1..8).contains(&at_b), "{at_b} of 8 at the other node");
    assert!(statuses[..7].iter().all(|status| *status == Status::Terminated), "{statuses:?}");
    assert_eq!(statuses[7], Status::Running);
    assert_eq!(post.lost.load(SeqCst), 0);
}

#[tokio::test]
async fn a_signal_that_is_sent_again_does_not_come_to_the_run_that_goes_on() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (sender, target) = (n.id(0, "sender"), n.id(1, "target"));
    b.start(&target).await;
    let (of_target, _) = n.poll().await;
    b.complete(&of_target.task_token, vec![timer("t", Span::seconds(3600))]).await;
    a.start(&sender).await;
    let (of_sender, _) = n.poll().await;
    a.settle().await;
    post.lost.store(1, SeqCst);
    a.complete(&of_sender.task_token, vec![signal(&target, "s")]).await;
    a.settle().await;
    assert_eq!(post.lost.load(SeqCst), 0);
    // Its worker has dealt with it, and the run goes on as another, before it is sent again.
    let (of_target, _) = n.poll().await;
    assert_eq!((id(&of_target), signals(b, &target).await), (target.as_str(), vec!["s".to_owned()]));
    b.complete(&of_target.task_token, vec![continue_as_new()]).await;
    for _ in 0..4 {
        n.advance(Span::millis(100)).await;
    }
    assert_eq!(signals(b, &target).await, [""; 0]);
    times(&a.names(&sender).await, "EXTERNAL_WORKFLOW_EXECUTION_SIGNALED", 1);
    assert!(a.store.rows(Table::Outbox).is_empty());
}

#[tokio::test]
async fn messages_keep_their_order_when_the_shard_of_their_sender_moves() {
    let (n, post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let (sender, target) = (n.id(0, "sender"), n.id(1, "target"));
    b.start(&target).await;
    let (task, _) = n.poll().await;
    b.complete(&task.task_token, vec![timer("t", Span::seconds(3600))]).await;
    a.start(&sender).await;
    let (of_sender, _) = n.poll().await;
    a.settle().await;
    // Nobody has the target's shard for a while.
    soon(b.engine.give_up(1)).await.unwrap();
    a.complete(&of_sender.task_token, vec![signal(&target, "first"), timer("t", Span::millis(1))]).await;
    a.settle().await;
    soon(a.engine.give_up(0)).await.unwrap();
    n.place(0, b);
    soon(b.engine.take_up(0)).await.unwrap();
    // At once: what it owes is still being read.
    n.a.clock_advance(Span::millis(1));
    n.place(1, a);
    soon(a.engine.take_up(1)).await.unwrap();
    let mut task = n.poll().await.0;
    while id(&task) != sender {
        task = n.poll().await.0;
    }
    b.complete(&task.task_token, vec![signal(&target, "second")]).await;
    for _ in 0..10 {
        n.advance(Span::millis(500)).await;
    }
    assert_eq!(signals(a, &target).await, ["first", "second"]);
    assert!(post.taken.load(SeqCst) > 0);
}

/// Lists of namespaces and versions are copies at the other node; here nobody reads them anew but who asks for them.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_node_that_does_not_know_a_namespace_yet_refuses_nothing_for_good() {
    let (n, _post) = neighbours().await;
    let (a, b) = (&n.a, &n.b);
    let request = RegisterNamespaceRequest {
        namespace: "new".into(),
        workflow_execution_retention_period: Some(Span::seconds(86_400).to_api()),
        ..Default::default()
    };
    soon(a.engine.register_namespace(request)).await.unwrap();
    assert!(b.engine.namespace_named("new").is_none(), "its copy is older");
    let create = CreateScheduleRequest {
        namespace: "new".into(),
        schedule_id: "s".into(),
        schedule: Some(by_hand(Policy::AllowAll)),
        request_id: "create".into(),
        ..Default::default()
    };
    soon(a.engine.create_schedule(create)).await.unwrap();
    let trigger = || {
        let trigger_immediately = Some(TriggerImmediatelyRequest::default());
        let patch = SchedulePatch { trigger_immediately, ..Default::default() };
        PatchScheduleRequest { namespace: "new".into(), ..patch_request("s", patch) }
    };
    for _ in 0..8 {
        soon(a.engine.patch_schedule(trigger())).await.unwrap();
        n.advance(Span::seconds(2)).await;
    }
    let request = DescribeScheduleRequest { namespace: "new".into(), schedule_id: "s".into() };
    let info = soon(a.engine.describe_schedule(request)).await.unwrap().info.unwrap();
    assert_eq!((info.action_count, info.recent_actions.len()), (8, 8), "each has started a run");
    assert_eq!(b.engine.namespace_named("new"), a.engine.namespace_named("new"));
}

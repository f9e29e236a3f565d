//! Children: spec 04 §4, its checks 4–5 of §9, and close policies (01 §14).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::enums::ParentClosePolicy;
use sempre_core::transition::OutboxMessage;

fn parent_of(world: &mut World, policy: ParentClosePolicy) {
    world.begin("parent", [child("kid", policy).command()]);
}

/// 04 §4.2, §4.3
#[test]
fn the_parent_learns_of_start_and_end() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver_one();
    assert!(world.poll_workflow(QUEUE).is_some_and(|task| {
        world.complete(&task, []);
        task.workflow_id == "parent"
    }));
    assert_history(&world, "kid", "1 WorkflowExecutionStarted {parent parent/1}");
    world.deliver();
    world.work([complete()]);
    world.deliver();
    assert_history(
        &world,
        "kid",
        "
        1 WorkflowExecutionStarted {parent parent/1}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionCompleted {wtc 4}
    ",
    );
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/1, result done}
        11 WorkflowTaskScheduled
    ",
    );
    assert!(world.outbox.is_empty());
}

/// 04 §4.2: each message may be delivered twice
#[test]
fn a_start_delivered_twice_is_one_child() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver_one_unheard();
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 1);
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
    ",
    );
}

/// 04 §9.4: the child is terminated before its parent has recorded the start
#[test]
fn an_end_known_before_the_start_writes_both() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver_one_unheard();
    world.terminate("kid", "away").unwrap();
    let news = world.outbox.pop().unwrap();
    world.outbox.insert(0, news);
    world.deliver();
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 ChildWorkflowExecutionTerminated {initiated 5, started 6, run kid/1}
        8 WorkflowTaskScheduled
    ",
    );
}

/// The answer to a start was lost, the child ended, somebody else used its workflow id: the repeated start makes a run that
/// nobody waits for, and that would wait for its parent for ever.
#[test]
fn a_start_repeated_after_the_end_leaves_no_child_behind() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Abandon);
    world.deliver_one_unheard();
    world.terminate("kid", "away").unwrap();
    let news = world.outbox.pop().unwrap();
    world.outbox.insert(0, news);
    world.deliver_one();
    let events = world.run("parent").events().len();
    world.start("kid");
    world.terminate("kid", "away").unwrap();
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 3);
    assert_history(&world, "kid", "1 WorkflowExecutionStarted {parent parent/1}\n2 WorkflowExecutionTerminated");
    assert_eq!(world.run("parent").events().len(), events, "the parent knows its child's end already");
    assert!(world.outbox.is_empty());
}

/// As before, while the parent's task runs: both wait in the buffer, and get each other's ids.
#[test]
fn start_and_end_of_a_child_wait_for_the_running_task() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.signal("parent", "go").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.deliver();
    world.work([fail("no")]);
    world.deliver();
    assert!(world.run("parent").execution.describe(world.now).pending_children.is_empty());
    world.complete(&task, []);
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 WorkflowExecutionSignaled {name go}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        11 ChildWorkflowExecutionFailed {initiated 5, started 10, run kid/1, failure 'no', RetryPolicyNotSet}
        12 WorkflowTaskScheduled
    ",
    );
}

/// 04 §9.5
#[test]
fn a_chain_of_runs_is_one_child() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    for _ in 0..2 {
        world.work([continue_as_new().command()]);
        world.deliver();
    }
    world.work([complete()]);
    world.deliver();
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/3, result done}
        11 WorkflowTaskScheduled
    ",
    );
}

/// 04 §4.2
#[test]
fn a_taken_workflow_id_fails_the_start() {
    let mut world = World::new();
    world.start("kid");
    world.poll_workflow(QUEUE).unwrap();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver();
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 StartChildWorkflowExecutionFailed {initiated 5, WorkflowAlreadyExists}
        7 WorkflowTaskScheduled
    ",
    );
}

/// 01 §14
#[test]
fn children_are_terminated_with_their_parent() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Unspecified);
    world.deliver();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [complete()]);
    world.deliver();
    assert_history(
        &world,
        "kid",
        "
        1 WorkflowExecutionStarted {parent parent/1}
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated {reason by parent close policy}
    ",
    );
    assert!(world.outbox.is_empty());
}

/// 01 §14
#[test]
fn children_are_asked_to_cancel_if_the_policy_says_so() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::RequestCancel);
    world.deliver();
    world.terminate("parent", "enough").unwrap();
    world.deliver();
    assert_history(
        &world,
        "kid",
        "
        1 WorkflowExecutionStarted {parent parent/1}
        2 WorkflowTaskScheduled
        3 WorkflowExecutionCancelRequested {from parent/1}
    ",
    );
}

/// 01 §14
#[test]
fn abandoned_children_go_on() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Abandon);
    world.deliver();
    world.terminate("parent", "enough").unwrap();
    world.deliver();
    world.work([complete()]);
    world.deliver();
    assert!(!world.run("kid").execution.is_open());
    assert!(world.outbox.is_empty());
}

/// 01 §14: the policy follows the child's own chain
#[test]
fn the_policy_reaches_the_childs_current_run() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    world.work([continue_as_new().command()]);
    world.terminate("parent", "enough").unwrap();
    world.deliver();
    assert_history(
        &world,
        "kid",
        "
        1 WorkflowExecutionStarted {Workflow, parent parent/1}
        2 WorkflowTaskScheduled
        3 WorkflowExecutionTerminated {reason by parent close policy}
    ",
    );
}

/// 01 §14: a workflow of that id which is no child of the parent is left alone
#[test]
fn the_policy_spares_a_stranger_of_the_same_id() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    world.deliver();
    world.terminate("kid", "away").unwrap();
    world.outbox.clear();
    world.start("kid");
    world.terminate("parent", "enough").unwrap();
    world.deliver();
    assert!(world.run("kid").execution.is_open());
}

/// 04 §4.2 step 4: the parent closes between the start and its recording
#[test]
fn the_policy_is_applied_when_the_start_is_learnt_after_the_end() {
    for (policy, expected) in [
        (ParentClosePolicy::Abandon, "2 WorkflowTaskScheduled"),
        (ParentClosePolicy::Terminate, "2 WorkflowExecutionTerminated {reason by parent close policy}"),
        // It must get a task to hear of the cancel request.
        (ParentClosePolicy::RequestCancel, "2 WorkflowExecutionCancelRequested {from parent/1}\n3 WorkflowTaskScheduled"),
    ] {
        let mut world = World::new();
        parent_of(&mut world, policy);
        world.deliver_one_unheard();
        world.terminate("parent", "enough").unwrap();
        world.deliver();
        assert_history(&world, "kid", &format!("1 WorkflowExecutionStarted {{parent parent/1}}\n{expected}"));
        assert!(world.outbox.is_empty());
    }
}

/// 01 §3.5: a cancel request has the first task come at once, also that of a child which is still held
#[test]
fn a_cancel_request_before_the_start_is_learnt_wakes_a_child_that_waits_for_its_tick() {
    let mut world = World::new();
    world.begin("parent", [with(child("kid", ParentClosePolicy::RequestCancel), |c| c.cron_schedule = "* * * * *".into()).command()]);
    world.deliver_one_unheard();
    world.terminate("parent", "enough").unwrap();
    world.deliver();
    assert_eq!(world.poll_workflow(QUEUE).map(|t| t.workflow_id), Some("kid".into()));
}

/// 04 §4.2 step 5
#[test]
fn a_child_asked_for_in_the_closing_completion_is_never_started() {
    let mut world = World::new();
    world.start("parent");
    let task = world.poll_workflow(QUEUE).unwrap();
    let commands = [child("kid", ParentClosePolicy::Abandon).command(), signal_external("other", "go").command(), complete()];
    world.complete(&task, commands);
    assert!(world.outbox.is_empty(), "{:?}", world.outbox);
    assert!(!world.chains.contains_key("kid"));
}

/// 04 §4.2: cron and delay hold the first task even after the parent recorded the start
#[test]
fn a_cron_child_waits_for_its_tick() {
    let mut world = World::new();
    world.begin("parent", [with(child("kid", ParentClosePolicy::Abandon), |c| c.cron_schedule = "* * * * *".into()).command()]);
    world.advance(secs(10));
    world.deliver();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "parent");
    world.complete(&task, []);
    assert!(world.poll_workflow(QUEUE).is_none());
    world.advance(secs(60));
    assert_eq!(world.poll_workflow(QUEUE).map(|t| t.workflow_id), Some("kid".into()));
}

/// Describe shows children that are pending, with their runs.
#[test]
fn pending_children_are_described() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Abandon);
    let kids = |world: &World| world.run("parent").execution.describe(world.now).pending_children;
    assert_eq!(kids(&world)[0].run_id, "");
    world.deliver();
    assert_eq!(kids(&world)[0].run_id, world.current_run("kid").to_string());
    assert_eq!(kids(&world)[0].parent_close_policy(), ParentClosePolicy::Abandon);
}

/// 04 §4.2: what the start carries
#[test]
fn a_child_is_started_as_its_parent_says() {
    let mut world = World::new();
    parent_of(&mut world, ParentClosePolicy::Terminate);
    let (_, entry) = &world.outbox[0];
    let OutboxMessage::StartChild(start) = &entry.message else { panic!("not a start: {entry:?}") };
    let run = world.current_run("parent");
    assert_eq!(start.request.request_id, format!("{run}:5:0"));
    assert_eq!(start.request.task_queue.as_ref().map(|q| q.name.as_str()), Some(QUEUE));
    assert_eq!(start.root, world.run("parent").execution.key().to_api());
    world.deliver();
    let info = world.run("kid").execution.describe(world.now).workflow_execution_info.unwrap();
    assert_eq!(info.root_execution, Some(world.run("parent").execution.key().to_api()));
    assert_eq!(info.parent_execution, Some(world.run("parent").execution.key().to_api()));
}

/// 04 §4.2: the answer to the start was lost, and the child's chain has gone on by the time the start is repeated
#[test]
fn a_start_repeated_after_the_child_went_on_is_the_same_child() {
    let mut world = World::new();
    let kid = with(child("kid", ParentClosePolicy::Terminate), |c| {
        c.workflow_run_timeout = duration(10);
        c.retry_policy = retry(0);
    });
    world.begin("parent", [kid.command()]);
    world.deliver_one_unheard();
    world.advance(secs(10));
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 2);
    assert_history(
        &world,
        "parent",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
    ",
    );
}

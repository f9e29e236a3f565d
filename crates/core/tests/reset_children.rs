//! What a reset does to children and to requests to other workflows: spec 01 §12.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, reset::reset_request, *};
use sempre_api::v1::{
    common::RetryPolicy,
    enums::{ParentClosePolicy, ResetReapplyExcludeType, WorkflowExecutionStatus},
};
use sempre_core::{
    RunKey,
    transition::{OutboxEntry, OutboxMessage},
};

/// 01 §12.3: a child of before the reset point stays, and its end is passed on to the new run
#[test]
fn a_child_started_before_the_point_belongs_to_the_new_run() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    let child_task = world.poll_workflow(QUEUE).unwrap();
    let (parent_task, child_task) = if child_task.workflow_id == "w" {
        (child_task, world.poll_workflow(QUEUE).unwrap())
    } else {
        (world.poll_workflow(QUEUE).unwrap(), child_task)
    };
    world.complete(&parent_task, [marker("seen")]);
    world.reset("w", 9);
    world.deliver();
    assert!(world.run("kid").execution.is_open(), "no close policy");
    world.complete(&child_task, [complete()]);
    world.deliver();
    world.work([]);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
        11 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/1, result done}
        12 WorkflowTaskStarted {scheduled 10}
        13 WorkflowTaskCompleted {scheduled 10, started 12}
    ",
    );
}

/// 01 §14 after a reset: the child knows the base run as its parent
#[test]
fn the_close_policy_of_the_new_run_reaches_a_child_of_the_base() {
    for policy in [ParentClosePolicy::Terminate, ParentClosePolicy::RequestCancel, ParentClosePolicy::Abandon] {
        let mut world = World::new();
        world.begin("w", [child("kid", policy).command()]);
        world.deliver();
        while let Some(task) = world.poll_workflow(QUEUE) {
            world.complete(&task, []);
        }
        world.reset("w", 9);
        world.terminate("w", "enough").unwrap();
        world.deliver();
        let kid = &world.run("kid").execution;
        match policy {
            ParentClosePolicy::Terminate => assert_eq!(kid.status(), WorkflowExecutionStatus::Terminated),
            ParentClosePolicy::RequestCancel => assert!(kid.state().derived.main.cancel_requested),
            _ => assert!(kid.is_open() && !kid.state().derived.main.cancel_requested),
        }
    }
}

/// 01 §12.3: news of a child that came after the reset point
#[test]
fn a_child_that_started_and_ended_after_the_point_is_told_again() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.signal("w", "s").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.deliver();
    world.complete(&task, []);
    // 8 started the task, then: 9 completed, 10 child started
    while let Some(task) = world.poll_workflow(QUEUE) {
        let commands = if task.workflow_id == "kid" { vec![complete()] } else { vec![] };
        world.complete(&task, commands);
        world.deliver();
    }
    world.reset("w", 9);
    assert!(world.outbox.is_empty(), "nothing is asked for again");
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 StartChildWorkflowExecutionInitiated {id kid, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 ChildWorkflowExecutionStarted {initiated 5, run kid/1}
        11 ChildWorkflowExecutionCompleted {initiated 5, started 10, run kid/1, result done}
        12 WorkflowTaskScheduled
    ",
    );
    assert_eq!(world.chains["kid"].len(), 1);
}

/// A start that was under way when the reset came is asked for again, and is the same child.
#[test]
fn a_child_whose_start_was_under_way_is_attached() {
    for late in [false, true] {
        let mut world = World::new();
        world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
        world.signal("w", "s").unwrap();
        if late {
            // The child runs, but its parent has not heard of it.
            world.deliver_one_unheard();
        }
        let task = world.poll_workflow(QUEUE).unwrap();
        world.complete(&task, []);
        world.reset("w", 9);
        world.deliver();
        assert_eq!(world.chains["kid"].len(), 1, "one child");
        assert_eq!(world.run("kid").execution.status(), WorkflowExecutionStatus::Running);
        let text = history_text(&world, world.current_run("w"));
        assert!(text.contains("11 ChildWorkflowExecutionStarted {initiated 5, run kid/1}"), "{text}");
        let task = loop {
            let task = world.poll_workflow(QUEUE).expect("the child's first task was let go");
            if task.workflow_id == "kid" {
                break task;
            }
            world.complete(&task, []);
        };
        world.complete(&task, [complete()]);
        world.deliver();
        assert!(history_text(&world, world.current_run("w")).contains("ChildWorkflowExecutionCompleted {initiated 5"));
    }
}

/// A child's start was under way when a reset ended the run that asked for it, at event 9. `world.outbox` has that message, and the new
/// run's behind it.
fn reset_while_a_child_starts(policy: ParentClosePolicy) -> World {
    let mut world = World::new();
    world.begin("w", [child("kid", policy).command()]);
    world.signal("w", "s").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, []);
    world.reset("w", 9);
    world
}

/// It comes after the new run's was refused: nobody would let it go
#[test]
fn a_child_whose_start_comes_too_late_is_ended() {
    let mut world = reset_while_a_child_starts(ParentClosePolicy::Abandon);
    world.start("kid");
    assert!(world.deliver_nth(1), "the new run's, and somebody else has the id");
    world.terminate("kid", "away").unwrap();
    assert_eq!(world.outbox.len(), 1);
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 2, "the first run's");
    assert_eq!(world.run("kid").execution.status(), WorkflowExecutionStatus::Terminated);
}

/// It comes after the new run was closed without having heard of any: as if the new run were told then
#[test]
fn a_child_whose_start_comes_after_the_end_of_the_new_run_is_left_to_its_policy() {
    for (policy, status) in [
        (ParentClosePolicy::Abandon, WorkflowExecutionStatus::Running),
        (ParentClosePolicy::RequestCancel, WorkflowExecutionStatus::Running),
        (ParentClosePolicy::Terminate, WorkflowExecutionStatus::Terminated),
    ] {
        let mut world = reset_while_a_child_starts(policy);
        world.start("kid");
        world.terminate("w", "enough").unwrap();
        assert!(world.deliver_nth(1), "the new run's, and somebody else has the id");
        world.terminate("kid", "away").unwrap();
        world.deliver();
        assert_eq!(world.chains["kid"].len(), 2);
        assert_eq!(world.run("kid").execution.status(), status, "{policy:?}");
        let runs = world.poll_workflow(QUEUE).is_some_and(|task| task.workflow_id == "kid");
        assert_eq!(runs, status == WorkflowExecutionStatus::Running, "it is let go");
    }
}

/// The new run has let it go, and is closed by the time when the first run is told: it runs on as that one has left it
#[test]
fn a_child_that_the_new_run_knew_is_left_alone() {
    let mut world = reset_while_a_child_starts(ParentClosePolicy::Abandon);
    // It is made, and the answer is lost.
    world.deliver_one_unheard();
    assert!(world.deliver_nth(1));
    world.terminate("w", "enough").unwrap();
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 1);
    assert!(world.run("kid").execution.is_open());
}

/// The first run is told while the new one has not heard of it yet: that one decides
#[test]
fn a_child_waits_for_the_new_run() {
    let mut world = reset_while_a_child_starts(ParentClosePolicy::Abandon);
    assert!(!world.deliver_nth(0), "it is told again");
    assert_eq!(world.outbox.len(), 2);
    assert!(world.deliver_nth(1));
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 1);
    assert!(history_text(&world, world.current_run("w")).contains("ChildWorkflowExecutionStarted {initiated 5, run kid/1}"));
}

/// 01 §12.3: children of after the reset point
#[test]
fn a_child_started_after_the_point_gives_way_to_its_like() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    while let Some(task) = world.poll_workflow(QUEUE) {
        world.complete(&task, []);
    }
    world.reset("w", 4);
    world.deliver();
    assert!(world.run("kid").execution.is_open(), "it runs on until it is in the way");
    world.work([child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    assert_eq!(world.chains["kid"].len(), 2);
    assert_eq!(world.runs[&world.chains["kid"][0]].execution.status(), WorkflowExecutionStatus::Terminated);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/2}
        5 WorkflowTaskScheduled
        6 WorkflowTaskStarted {scheduled 5}
        7 WorkflowTaskCompleted {scheduled 5, started 6}
        8 StartChildWorkflowExecutionInitiated {id kid, wtc 7}
        9 ChildWorkflowExecutionStarted {initiated 8, run kid/2}
        10 WorkflowTaskScheduled
    ",
    );
    // Once: a further child of that id is in the way of itself.
    world.work([child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    assert!(history_text(&world, world.current_run("w")).contains("WorkflowAlreadyExists"));
}

/// … but only a child of this workflow does
#[test]
fn a_stranger_with_the_childs_id_stays() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    world.terminate("kid", "away").unwrap();
    world.deliver();
    world.start("kid");
    while let Some(task) = world.poll_workflow(QUEUE) {
        world.complete(&task, []);
    }
    world.reset("w", 4);
    world.work([child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    assert!(world.run("kid").execution.is_open());
    assert!(history_text(&world, world.current_run("w")).contains("WorkflowAlreadyExists"));
}

/// 01 §12.2 step 5: a current run that is not the base has children of its own, and they end with it
#[test]
fn children_of_a_current_run_that_is_not_the_base_are_closed() {
    let mut world = World::new();
    world.begin("w", [continue_as_new().command()]);
    world.work([child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    world.reset_run("w", 1, 4);
    world.deliver();
    assert_eq!(world.run("kid").execution.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §12.2 step 5: the parent hears of the new run only
#[test]
fn the_parent_of_a_reset_child_waits_for_the_new_run() {
    let mut world = World::new();
    world.begin("parent", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    while let Some(task) = world.poll_workflow(QUEUE) {
        world.complete(&task, []);
    }
    world.reset("kid", 4);
    assert!(world.outbox.is_empty(), "the parent is not told");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "kid");
    world.complete(&task, [complete()]);
    world.deliver();
    assert!(
        history_text(&world, world.current_run("parent")).contains("ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/2")
    );
}

/// A request to another workflow that was not answered is sent again, with one effect
#[test]
fn a_pending_signal_to_another_workflow_is_sent_again_once() {
    for lost in [false, true] {
        let mut world = World::new();
        world.begin("other", []);
        world.begin("w", [signal_external("other", "hello").command(), cancel_external("other").command()]);
        if lost {
            world.deliver_one_unheard();
        }
        world.signal("w", "s").unwrap();
        while let Some(task) = world.poll_workflow(QUEUE) {
            world.complete(&task, []);
        }
        world.reset("w", 10);
        let sent = world.outbox.iter().filter(|(_, m)| matches!(m.message, OutboxMessage::Signal(_) | OutboxMessage::Cancel(_))).count();
        assert_eq!(sent, 4, "the base's own, and those of the new run");
        world.deliver();
        let text = history_text(&world, world.current_run("w"));
        assert!(text.contains("ExternalWorkflowExecutionSignaled {initiated 5, to other}"), "{text}");
        assert!(text.contains("ExternalWorkflowExecutionCancelRequested {initiated 6, to other}"), "{text}");
        let other = history_text(&world, world.current_run("other"));
        assert_eq!(other.matches("WorkflowExecutionSignaled").count(), 1, "{other}");
        assert_eq!(other.matches("WorkflowExecutionCancelRequested").count(), 1, "{other}");
    }
}

/// A restart in between: what a reset left is found again
#[test]
fn a_reset_run_survives_a_restart() {
    let mut world = World::new();
    world.begin("w", [activity("a").command(), timer("t", secs(30)), child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    world.work([]);
    world.reset("w", 11);
    world.restart();
    world.deliver();
    world.work([]);
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "x").unwrap();
    world.advance(secs(30));
    world.work([complete()]);
    world.deliver();
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::Completed);
    assert_eq!(world.run("kid").execution.status(), WorkflowExecutionStatus::Terminated);
}

/// A world in which `w` has begun the child `kid`, and what both have to do then. A reset to before event 9 finds the child started.
fn parent_and_child(policy: ParentClosePolicy, retry_policy: Option<RetryPolicy>) -> (World, WorkflowTask, WorkflowTask) {
    let mut world = World::new();
    world.begin("w", [with(child("kid", policy), |a| a.retry_policy = retry_policy).command()]);
    world.deliver();
    let (first, second) = (world.poll_workflow(QUEUE).unwrap(), world.poll_workflow(QUEUE).unwrap());
    if first.workflow_id == "w" { (world, first, second) } else { (world, second, first) }
}

/// The child completes its next task.
fn kid_completes(world: &mut World) {
    world.advance(secs(10));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "kid");
    world.complete(&task, [complete()]);
    world.deliver();
    assert!(!world.run("kid").execution.is_open());
}

fn parents_history(world: &World) -> String {
    history_text(world, world.current_run("w"))
}

const COMPLETED: &str = "ChildWorkflowExecutionCompleted {initiated 5, started 6";

/// The end of a child that nobody was there to hear: its parent was closed, and was not reset yet.
#[test]
fn a_child_that_ended_while_its_parent_was_closed_is_asked_for_its_end() {
    for policy in [ParentClosePolicy::Terminate, ParentClosePolicy::Abandon] {
        let (mut world, parent, kid) = parent_and_child(policy, None);
        let end = if policy == ParentClosePolicy::Terminate {
            world.complete(&parent, [continue_as_new().command()]);
            "11 ChildWorkflowExecutionTerminated {initiated 5, started 6, run kid/1}"
        } else {
            world.complete(&parent, [complete()]);
            world.complete(&kid, [complete()]);
            "11 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/1, result done}"
        };
        world.deliver();
        assert!(!world.run("kid").execution.is_open());
        world.reset_run("w", 1, 9);
        world.deliver();
        let text = parents_history(&world);
        assert!(text.contains(end), "{text}");
        assert_eq!(text.matches("ChildWorkflowExecution").count(), 3, "initiated, started, ended: {text}");
    }
}

/// As above, by the last run of a child's chain, however that came about.
#[test]
fn the_end_of_an_unheard_chain_is_that_of_its_last_run() {
    for (retried, first) in [(None, continue_as_new().command()), (retry(2), fail("once"))] {
        let (mut world, parent, kid) = parent_and_child(ParentClosePolicy::Abandon, retried);
        world.complete(&parent, [complete()]);
        world.complete(&kid, [first]);
        kid_completes(&mut world);
        assert_eq!(world.chains["kid"].len(), 2);
        world.reset("w", 9);
        world.deliver();
        let text = parents_history(&world);
        assert!(text.contains("11 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/2, result done}"), "{text}");
    }
}

/// The workflow id of the child is somebody else's by now; the child had gone on in another run, also by a reset.
#[test]
fn an_unheard_chain_is_found_behind_a_stranger_with_its_id() {
    for reset in [false, true] {
        let (mut world, parent, kid) = parent_and_child(ParentClosePolicy::Abandon, None);
        world.complete(&parent, [complete()]);
        if reset {
            world.complete(&kid, []);
            world.reset("kid", 4);
        } else {
            world.complete(&kid, [continue_as_new().command()]);
        }
        kid_completes(&mut world);
        world.start("kid");
        assert_eq!(world.chains["kid"].len(), 3);
        world.reset("w", 9);
        world.deliver();
        let text = parents_history(&world);
        assert!(text.contains("11 ChildWorkflowExecutionCompleted {initiated 5, started 6, run kid/2, result done}"), "{text}");
    }
}

/// A child that goes on is not spoken of, and its end comes once, whatever overtakes what.
#[test]
fn the_end_of_a_child_that_was_asked_is_told_once() {
    for asked_last in [false, true] {
        let (mut world, parent, kid) = parent_and_child(ParentClosePolicy::Abandon, None);
        world.complete(&parent, [complete()]);
        world.reset("w", 9);
        let asked = |(_, entry): &(RunKey, OutboxEntry)| matches!(entry.message, OutboxMessage::AskChild(_));
        assert_eq!(world.outbox.iter().map(asked).collect::<Vec<_>>(), [true]);
        if !asked_last {
            world.deliver_nth_told_twice(0);
            assert!(!parents_history(&world).contains(COMPLETED));
        }
        world.complete(&kid, [complete()]);
        if asked_last {
            // The answer overtakes the child's own news, and is lost the first time.
            world.deliver_nth_unheard(0);
            world.deliver_nth_told_twice(0);
            assert!(parents_history(&world).contains(COMPLETED));
        }
        world.restart();
        world.deliver();
        let text = parents_history(&world);
        assert_eq!(text.matches(COMPLETED).count(), 1, "{text}");
    }
}

/// Nothing is told again, not even what cannot be excluded by itself: the child's start and end are learnt anew.
#[test]
fn a_reset_that_applies_nothing_again_asks_too() {
    for start_known in [false, true] {
        let mut world = World::new();
        world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
        world.signal("w", "s").unwrap();
        if start_known {
            world.deliver();
        }
        let parent = world.poll_workflow(QUEUE).unwrap();
        assert_eq!(parent.workflow_id, "w");
        world.deliver();
        world.complete(&parent, []);
        while let Some(task) = world.poll_workflow(QUEUE) {
            let commands = if task.workflow_id == "kid" { vec![complete()] } else { vec![] };
            world.complete(&task, commands);
            world.deliver();
        }
        let mut request = reset_request(&mut world, "w", parent.response.started_event_id + 1);
        let all = [ResetReapplyExcludeType::Signal, ResetReapplyExcludeType::Update, ResetReapplyExcludeType::Nexus];
        request.reset_reapply_exclude_types = all.map(|kind| kind as i32).into();
        world.reset_with(request).unwrap();
        world.deliver();
        let text = parents_history(&world);
        assert_eq!(text.matches("ChildWorkflowExecutionStarted {initiated 5").count(), 1, "{text}");
        assert_eq!(text.matches("ChildWorkflowExecutionCompleted {initiated 5").count(), 1, "{text}");
        assert_eq!(world.chains["kid"].len(), 1, "one child");
    }
}

/// Retention has taken the child's last run: that it has ended is all that can be said.
#[test]
fn a_child_that_is_gone_has_failed_for_its_parent() {
    let (mut world, parent, kid) = parent_and_child(ParentClosePolicy::Abandon, None);
    world.complete(&parent, [complete()]);
    world.complete(&kid, [complete()]);
    world.deliver();
    let gone = world.current_run("kid");
    world.runs.remove(&gone);
    world.current.remove("kid");
    world.reset("w", 9);
    world.deliver();
    let text = parents_history(&world);
    let failed =
        "11 ChildWorkflowExecutionFailed {initiated 5, started 6, run kid/1, failure 'the child has ended; how is not known any more'";
    assert!(text.contains(failed), "{text}");
}

//! Resets: spec 01 §12.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, reset::*, *};
use sempre_api::v1::{
    enums::{ParentClosePolicy, ResetReapplyExcludeType, ResetReapplyType, WorkflowExecutionStatus},
    history::history_event::Attributes,
};
use sempre_core::{
    Refusal,
    transition::{OutboxMessage, UpdateStatus},
};

fn invalid<T>(text: &str) -> Result<T, Refusal> {
    Err(Refusal::InvalidArgument(text.into()))
}

/// A run whose second task waits: events 1–4, a marker, a signal, a second task.
fn two_tasks(world: &mut World) {
    world.begin("w", [marker("first")]);
    world.signal("w", "s").unwrap();
    world.work([marker("second")]);
}

/// 01 §12.2
#[test]
fn an_open_run_is_ended_and_a_new_one_goes_on_from_the_reset_point() {
    let mut world = World::new();
    two_tasks(&mut world);
    let base = world.current_run("w");
    let new = world.reset("w", 9);
    assert_eq!(world.current_run("w"), new);
    assert_history_of(
        &world,
        "w",
        1,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name first, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskCompleted {scheduled 7, started 8}
        10 MarkerRecorded {name second, wtc 9}
        11 WorkflowExecutionTerminated {reason again}
    ",
    );
    assert_history_of(
        &world,
        "w",
        2,
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name first, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
    ",
    );
    let described = world.runs[&base].execution.describe(world.now);
    assert_eq!(described.workflow_extended_info.unwrap().reset_run_id, new.to_string());
    let described = world.run("w").execution.describe(world.now);
    let info = described.workflow_execution_info.unwrap();
    let extended = described.workflow_extended_info.unwrap();
    assert_eq!(info.start_time, Some(world.now.to_api()));
    assert_eq!(extended.last_reset_time, Some(world.now.to_api()));
    assert_eq!(info.first_run_id, base.to_string());
    // The new run works like any other.
    world.work([complete()]);
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::Completed);
}

/// 01 §12.2 step 2: the task is only scheduled at the reset point
#[test]
fn a_task_that_was_only_scheduled_is_started_first() {
    let mut world = World::new();
    two_tasks(&mut world);
    world.reset("w", 8);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 MarkerRecorded {name first, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
    ",
    );
}

/// 01 §12.1, §12.2 step 2: the texts
#[test]
fn a_point_without_a_pending_task_is_refused() {
    let mut world = World::new();
    two_tasks(&mut world);
    let attempt = |world: &mut World, finish| {
        let request = reset_request(world, "w", finish);
        world.reset_with(request)
    };
    let outside = "Workflow task finish ID must be > 1 && <= workflow last event ID.";
    for finish in [-1, 0, 1, 11, 12] {
        assert_eq!(attempt(&mut world, finish), invalid(outside), "{finish}");
    }
    // Events that were written together are not parted.
    for finish in [2, 5, 7, 10] {
        let event = finish - 1;
        let text =
            format!("StateRebuilder unable to Rebuild mutable state to event ID: {event}, version: 0, this event must be at the boundary");
        assert_eq!(attempt(&mut world, finish), invalid(&text), "{finish}");
    }
    let text = "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: 6";
    assert_eq!(attempt(&mut world, 6), invalid(text));
    let nameless = with(reset_request(&mut world, "w", 9), |r| r.request_id = String::new());
    assert_eq!(world.reset_with(nameless), invalid("RequestId is not set on request."));
    let long = with(reset_request(&mut world, "w", 9), |r| r.request_id = "x".repeat(1001));
    assert_eq!(world.reset_with(long), invalid("RequestId length exceeds limit."));
    #[allow(deprecated)]
    let strange = with(reset_request(&mut world, "w", 9), |r| r.reset_reapply_type = 77);
    assert_eq!(world.reset_with(strange), invalid("unknown reset reapply type: 77"));
    assert_eq!(world.chains["w"].len(), 1);
}

/// 01 §12.1: the same request id, the same run
#[test]
fn a_repeated_request_is_answered_with_the_run_it_made() {
    let mut world = World::new();
    two_tasks(&mut world);
    let request = reset_request(&mut world, "w", 9);
    let first = world.reset_with(request.clone()).unwrap();
    assert_eq!(world.reset_with(request.clone()), Ok(first));
    // Also when that run has gone on in another one of its chain, if the request names the base.
    world.work([continue_as_new().command()]);
    let base = world.chains["w"][0].to_string();
    let named = with(request, |r| r.workflow_execution.as_mut().unwrap().run_id = base);
    assert_eq!(world.reset_with(named), Ok(first));
    assert_eq!(world.chains["w"].len(), 3);
}

/// 01 §12.2 step 5: a closed run is not touched but for the pointer to the new one
#[test]
fn a_closed_run_can_be_reset() {
    let mut world = World::new();
    two_tasks(&mut world);
    world.signal("w", "late").unwrap();
    world.work([complete()]);
    let old = history_text(&world, world.current_run("w"));
    world.reset("w", 4);
    assert_eq!(history_text(&world, world.chains["w"][0]), old);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/2}
        5 WorkflowExecutionSignaled {name s}
        6 WorkflowExecutionSignaled {name late}
        7 WorkflowTaskScheduled
    ",
    );
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::Running);
    // The base keeps its own end: its retention passes, the new run stays.
    world.advance(secs(86_400));
    assert!(!world.runs.contains_key(&world.chains["w"][0]));
    assert!(world.run("w").execution.is_open());
}

/// 01 §12.2 step 6: continued-as-new successors, the current run and its buffer
#[test]
fn signals_of_the_whole_chain_are_applied_again_in_order() {
    let mut world = World::new();
    world.begin("w", []);
    world.signal("w", "one").unwrap();
    world.work([continue_as_new().command()]);
    world.signal("w", "two").unwrap();
    world.work([continue_as_new().command()]);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.signal("w", "three").unwrap();
    world.signal("w", "buffered").unwrap();
    world.reset_run("w", 1, 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/4}
        5 WorkflowExecutionSignaled {name one}
        6 WorkflowExecutionSignaled {name two}
        7 WorkflowExecutionSignaled {name three}
        8 WorkflowExecutionSignaled {name buffered}
        9 WorkflowTaskScheduled
    ",
    );
    assert_history_of(
        &world,
        "w",
        3,
        "
        1 WorkflowExecutionStarted {Workflow}
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ForceCloseCommand}
        5 WorkflowExecutionSignaled {name three}
        6 WorkflowExecutionSignaled {name buffered}
        7 WorkflowExecutionTerminated {reason again}
    ",
    );
    assert!(world.complete_with(&task, [complete()], |_| {}).is_err(), "the old worker is told that its task is gone");
    let described = |run: &Run, now| run.execution.describe(now).workflow_extended_info.unwrap().reset_run_id;
    let runs = &world.chains["w"];
    assert_eq!(described(&world.runs[&runs[0]], world.now), runs[3].to_string());
    assert_eq!(described(&world.runs[&runs[2]], world.now), "", "only the base points to the new run");
}

/// A run that is no successor of the base gives way, but has nothing to say to the new run
#[test]
fn an_unrelated_current_run_is_ended_and_its_signals_are_not_applied() {
    let mut world = World::new();
    world.begin("w", [complete()]);
    world.begin("w", []);
    world.signal("w", "of another").unwrap();
    world.reset_run("w", 1, 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/3}
        5 WorkflowTaskScheduled
    ",
    );
    assert_eq!(world.runs[&world.chains["w"][1]].execution.status(), WorkflowExecutionStatus::Terminated);
}

/// 01 §12.3: what may be left out
#[test]
fn excluded_kinds_are_not_applied_again() {
    for (excluded, reapply_type) in [
        (vec![ResetReapplyExcludeType::Signal], ResetReapplyType::Unspecified),
        (vec![], ResetReapplyType::None),
        (
            vec![ResetReapplyExcludeType::Signal, ResetReapplyExcludeType::Update, ResetReapplyExcludeType::Nexus],
            ResetReapplyType::AllEligible,
        ),
    ] {
        let mut world = World::new();
        two_tasks(&mut world);
        #[allow(deprecated)]
        let request = with(reset_request(&mut world, "w", 4), |r| {
            r.set_reset_reapply_type(reapply_type);
            r.reset_reapply_exclude_types = excluded.iter().map(|e| *e as i32).collect();
        });
        world.reset_with(request).unwrap();
        assert_eq!(world.run("w").execution.next_event_id(), 6, "{excluded:?} {reapply_type:?}");
    }
    // "Signal" means: nothing but signals.
    let mut world = World::new();
    two_tasks(&mut world);
    #[allow(deprecated)]
    let request = with(reset_request(&mut world, "w", 4), |r| r.set_reset_reapply_type(ResetReapplyType::Signal));
    world.reset_with(request).unwrap();
    assert!(world.run("w").events().iter().any(|e| line(&world, e) == "WorkflowExecutionSignaled {name s}"));
}

/// 01 §12.3: header, links, request id; a signal is still one signal
#[test]
fn a_signal_keeps_its_request_id_and_is_not_taken_twice() {
    let mut world = World::new();
    world.begin("w", []);
    let signal = sempre_core::input::SignalRequest { name: "s".into(), request_id: "r".into(), ..Default::default() };
    world.signal_with("w", signal.clone()).unwrap();
    world.reset("w", 4);
    world.signal_with("w", signal.clone()).unwrap();
    world.work([]);
    // And when it came before the reset point.
    world.reset("w", 8);
    world.signal_with("w", signal).unwrap();
    let signals = world.run("w").events().iter().filter(|e| line(&world, e).contains("Signaled")).count();
    assert_eq!(signals, 1);
}

/// 01 §12.2 step 4: what waits for a worker is offered anew with its full time
#[test]
fn a_pending_activity_is_offered_again_with_fresh_timers() {
    let mut world = World::new();
    let slow = with(activity("a"), |a| {
        a.start_to_close_timeout = None;
        a.schedule_to_close_timeout = duration(60);
    });
    world.begin("w", [slow.command()]);
    let old = world.poll_activity().unwrap();
    world.signal("w", "s").unwrap();
    world.work([]);
    world.sleep(secs(50));
    world.reset("w", 8);
    assert!(world.complete_activity(&old, "late").is_err(), "the attempt of the old run counts no more");
    world.work([]);
    world.advance(secs(50));
    let task = world.poll_activity().expect("the activity is still wanted");
    assert_eq!(task.response.attempt, 1);
    world.complete_activity(&task, "done").unwrap();
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7}
        9 WorkflowTaskFailed {scheduled 7, started 8, ResetWorkflow, failure 'again', base w/1, new w/2}
        10 WorkflowTaskScheduled
        11 WorkflowTaskStarted {scheduled 10}
        12 WorkflowTaskCompleted {scheduled 10, started 11}
        13 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        14 ActivityTaskCompleted {scheduled 5, started 13, result done}
        15 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn a_taken_over_activity_times_out_counted_from_the_reset() {
    let mut world = World::new();
    let slow = with(activity("a"), |a| {
        a.start_to_close_timeout = None;
        a.schedule_to_close_timeout = duration(60);
    });
    world.begin("w", [slow.command()]);
    world.signal("w", "s").unwrap();
    world.work([]);
    world.sleep(secs(50));
    world.reset("w", 8);
    world.work([]);
    world.advance(secs(59));
    assert!(!history_text(&world, world.current_run("w")).contains("TimedOut"));
    world.advance(secs(1));
    assert!(history_text(&world, world.current_run("w")).contains("ActivityTaskTimedOut"));
}

/// 01 §12.2 step 4: an activity that history has as started
#[test]
fn an_activity_whose_start_is_copied_and_whose_end_is_not_has_failed() {
    // Only a fork parts the two: they were written together.
    let mut world = World::new();
    world.begin("w", [activity("a").command(), timer("t", secs(100))]);
    let task = world.poll_activity().unwrap();
    world.signal("w", "s").unwrap();
    world.complete_activity(&task, "done").unwrap();
    // 7 Signaled, 8 TaskScheduled, 9 ActivityTaskStarted, 10 ActivityTaskCompleted
    world.fork("w", 9, None).unwrap();
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 TimerStarted {id t, wtc 4}
        7 WorkflowExecutionSignaled {name s}
        8 WorkflowTaskScheduled
        9 ActivityTaskStarted {scheduled 5, attempt 1, by worker}
        10 WorkflowTaskStarted {scheduled 8}
        11 WorkflowTaskFailed {scheduled 8, started 10, ResetWorkflow, failure 'again', base w/1, new w/2}
        12 ActivityTaskFailed {scheduled 5, started 9, failure 'again', NonRetryableFailure}
        13 WorkflowTaskScheduled
    ",
    );
}

#[test]
fn timers_keep_their_time_and_a_passed_one_fires_at_once() {
    let mut world = World::new();
    world.begin("w", [timer("short", secs(10)), timer("long", secs(100))]);
    world.signal("w", "s").unwrap();
    world.work([cancel_timer("short")]);
    world.advance(secs(50));
    world.reset("w", 9);
    world.work([]);
    world.advance(secs(0));
    assert!(history_text(&world, world.current_run("w")).contains("TimerFired {id short, started 5}"));
    world.work([]);
    world.advance(secs(50));
    assert!(history_text(&world, world.current_run("w")).contains("TimerFired {id long, started 6}"));
}

/// 01 §7 with §12.2 step 1: the time of a run counts from the reset
#[test]
fn a_reset_run_has_its_full_run_and_execution_time() {
    let mut world = World::new();
    let request = with(start_request("w"), |r| {
        r.workflow_run_timeout = duration(60);
        r.workflow_execution_timeout = duration(100);
    });
    world.start_with(request).unwrap();
    world.work([]);
    world.advance(secs(60));
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::TimedOut);
    world.advance(secs(1000));
    world.reset("w", 4);
    let at = |seconds| Some((world.now + secs(seconds)).to_api());
    let info = world.run("w").execution.describe(world.now).workflow_extended_info.unwrap();
    assert_eq!((info.run_expiration_time, info.execution_expiration_time), (at(60), at(100)));
    world.work([timer("t", secs(70))]);
    world.advance(secs(59));
    assert!(world.run("w").execution.is_open());
    world.advance(secs(1));
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::TimedOut);
}

/// The chain goes on from the reset run: its successors have the refreshed time.
#[test]
fn a_reset_run_can_continue_as_new() {
    let mut world = World::new();
    world.start_with(with(start_request("w"), |r| r.workflow_execution_timeout = duration(100))).unwrap();
    world.work([]);
    world.advance(secs(90));
    world.reset("w", 4);
    world.work([continue_as_new().command()]);
    world.work([]);
    world.advance(secs(99));
    assert!(world.run("w").execution.is_open());
    world.advance(secs(1));
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::TimedOut);
    assert_eq!(world.run("w").execution.first_run_id(), world.chains["w"][0].to_string());
}

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

/// A reset of a reset, before and after the first reset's point
#[test]
fn a_reset_run_can_be_reset_again() {
    let mut world = World::new();
    world.begin("w", [child("kid", ParentClosePolicy::Terminate).command()]);
    world.deliver();
    while let Some(task) = world.poll_workflow(QUEUE) {
        world.complete(&task, []);
    }
    world.reset("w", 9);
    world.work([marker("third")]);
    let third = world.reset("w", 12);
    let reset = world.runs[&third].execution.state().progress.reset.clone().unwrap();
    let writers: Vec<_> = reset.earlier_runs.iter().map(|run| (run.run_id.clone(), run.last_event_id)).collect();
    let runs = world.chains["w"].clone();
    let name = |number: usize| runs[number - 1].to_string();
    assert_eq!(writers, [(name(1), 8), (name(2), 11)]);
    // The news of the child pass through both.
    world.terminate("kid", "done").unwrap();
    world.deliver();
    assert!(history_text(&world, third).contains("ChildWorkflowExecutionTerminated {initiated 5, started 6, run kid/1}"));
    // Back before the point of the first reset: those events are the first run's.
    let fourth = world.reset("w", 8);
    let reset = world.runs[&fourth].execution.state().progress.reset.clone().unwrap();
    assert_eq!(reset.writer_of(7), Some(name(1).as_str()));
    assert_eq!(reset.writer_of(8), None);
}

/// 01 §12.2 step 7
#[test]
fn operations_after_the_reset_come_before_the_first_task() {
    use sempre_api::{
        FieldMask,
        v1::{
            common::Priority,
            workflow::{
                PostResetOperation, WorkflowExecutionOptions,
                post_reset_operation::{SignalWorkflow, UpdateWorkflowOptions, Variant},
            },
        },
    };
    let operation = |variant| PostResetOperation { variant: Some(variant) };
    let priority = |paths: &[&str], priority| {
        operation(Variant::UpdateWorkflowOptions(UpdateWorkflowOptions {
            workflow_execution_options: Some(WorkflowExecutionOptions { priority: Some(priority), ..Default::default() }),
            update_mask: Some(FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
        }))
    };
    let mut world = World::new();
    two_tasks(&mut world);
    let request = with(reset_request(&mut world, "w", 9), |r| {
        r.post_reset_operations = vec![
            operation(Variant::SignalWorkflow(SignalWorkflow { signal_name: "after".into(), ..Default::default() })),
            priority(&["priority.priority_key"], Priority { priority_key: 1, ..Default::default() }),
            priority(&["priority.fairness_key"], Priority { fairness_key: "f".into(), ..Default::default() }),
        ];
    });
    world.reset_with(request.clone()).unwrap();
    let text = history_text(&world, world.current_run("w"));
    assert!(
        text.ends_with(
            "10 WorkflowExecutionSignaled {name after}\n11 WorkflowExecutionOptionsUpdated {priority 1}\n12 WorkflowExecutionOptionsUpdated {priority 1, fairness f}\n13 WorkflowTaskScheduled\n"
        ),
        "{text}"
    );
    assert_eq!(world.offers.iter().map(|o| o.key.priority).collect::<Vec<_>>(), [1]);
    let nothing = with(request.clone(), |r| r.post_reset_operations = vec![PostResetOperation { variant: None }]);
    assert_eq!(world.reset_with(nothing), invalid("unsupported post reset operation: <nil>"));
    let wrong = with(reset_request(&mut world, "w", 9), |r| {
        r.post_reset_operations = vec![priority(&["name"], Priority::default())];
    });
    assert!(world.reset_with(wrong).is_err());
}

/// A message that names the update a reset has admitted again: it came as an event, not as a message.
fn readmitted(id: &str, sequencing: i64) -> sempre_api::v1::protocol::Message {
    sempre_api::v1::protocol::Message {
        id: format!("{id}/request"),
        protocol_instance_id: id.into(),
        sequencing_id: Some(sempre_api::v1::protocol::message::SequencingId::EventId(sequencing)),
        ..Default::default()
    }
}

/// 01 §12.3: an update that was accepted with its request is admitted again
#[test]
fn accepted_updates_are_admitted_again_in_their_order() {
    use harness::updates::*;
    let mut world = World::new();
    world.begin("w", []);
    world.signal("w", "before").unwrap();
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let request = task.response.messages[0].clone();
    let (yes, answer) = (accept(&request), respond("u", "ok"));
    world.complete_with(&task, [place(&yes), place(&answer)], |r| r.messages = vec![yes.clone(), answer.clone()]).unwrap();
    world.signal("w", "after").unwrap();
    world.reset("w", 4);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/2}
        5 WorkflowExecutionSignaled {name before}
        6 WorkflowExecutionUpdateAdmitted {id u}
        7 WorkflowExecutionSignaled {name after}
        8 WorkflowTaskScheduled
    ",
    );
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(task.response.messages.is_empty(), "it came as an event");
    let (yes, answer) = (accept(&readmitted("u", task.response.started_event_id - 1)), respond("u", "again"));
    world.complete_with(&task, [place(&yes), place(&answer)], |r| r.messages = vec![yes.clone(), answer.clone()]).unwrap();
    assert!(history_text(&world, world.current_run("w")).contains("UpdateCompleted"));
    // Back once more: the admission is copied, or applied again.
    world.reset("w", 4);
    world.poll_workflow(QUEUE).unwrap();
    world.reset("w", 9);
    let text = history_text(&world, world.current_run("w"));
    assert_eq!(text.matches("UpdateAdmitted").count(), 1, "{text}");
}

/// 01 §12.3: ids of updates are a run's own. One that the new run knows from before the reset point is not admitted twice
#[test]
fn an_update_accepted_before_the_point_is_not_admitted_again_for_a_later_run() {
    use harness::updates::*;
    let mut world = World::new();
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&task.response.messages[0]), respond("u", "first")], []).unwrap();
    world.signal("w", "go").unwrap();
    world.work([continue_as_new().command()]);
    world.work([]);
    world.update("w", "u").unwrap();
    world.update("w", "v").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, task.response.messages.iter().map(accept), []).unwrap();
    world.reset_run("w", 1, 13);
    let text = history_text(&world, world.current_run("w"));
    assert!(text.contains("UpdateAdmitted {id v}") && !text.contains("UpdateAdmitted {id u}"), "{text}");
    world.restart();
    assert_eq!(world.poll_update("w", "u"), Ok(UpdateStatus::Completed { event_id: 9 }));
    assert_eq!(world.poll_update("w", "v"), Ok(UpdateStatus::Admitted));
}

/// An update `u` that an event admitted and that `answer` turns down has left the run for good.
fn turned_down(answer: fn(&mut World, &WorkflowTask)) {
    use harness::updates::*;
    let mut world = World::new();
    world.limits.updates_in_flight_max = 1;
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    world.answer_updates(&task, [accept(&task.response.messages[0])], []).unwrap();
    world.reset("w", 4);
    let task = world.poll_workflow(QUEUE).unwrap();
    answer(&mut world, &task);
    world.restart();
    let unknown = Refusal::NotFound("update \"u\" not found".into());
    assert_eq!(world.poll_update("w", "u"), Err(unknown), "it does not come back");
    // It counts no longer, and its id is free.
    assert_eq!(world.update("w", "u"), Ok(UpdateStatus::Admitted));
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.response.messages.len(), 1);
    world.answer_updates(&task, [accept(&task.response.messages[0])], []).unwrap();
    world.restart();
    assert_eq!(world.poll_update("w", "u"), Ok(UpdateStatus::Accepted));
    assert!(matches!(world.update("w", "v"), Err(Refusal::ResourceExhausted { .. })));
}

#[test]
fn an_update_admitted_by_an_event_that_is_rejected_does_not_come_back() {
    turned_down(|world, task| {
        let no = harness::updates::reject(&readmitted("u", task.response.started_event_id - 1), "no");
        world.answer_without_commands(task, [no]).unwrap();
    });
}

#[test]
fn an_update_admitted_by_an_event_that_is_ignored_does_not_come_back() {
    turned_down(|world, task| {
        world.complete(task, []);
    });
}

#[test]
fn excluded_updates_are_not_admitted_again() {
    use harness::updates::*;
    let mut world = World::new();
    world.begin("w", []);
    world.update("w", "u").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    let yes = accept(&task.response.messages[0]);
    world.complete_with(&task, [place(&yes)], |r| r.messages = vec![yes.clone()]).unwrap();
    let request = with(reset_request(&mut world, "w", 4), |r| r.reset_reapply_exclude_types = vec![ResetReapplyExcludeType::Update as i32]);
    world.reset_with(request).unwrap();
    assert!(!history_text(&world, world.current_run("w")).contains("UpdateAdmitted"));
}

/// What follows the events read is checked.
#[test]
fn a_gap_in_what_is_read_is_damage() {
    use sempre_api::v1::history::HistoryEvent;
    use sempre_core::reset::{Fork, ForkError, ResetRequest};
    let mut world = World::new();
    two_tasks(&mut world);
    let request = reset_request(&mut world, "w", 9);
    let key = world.run("w").execution.key().clone();
    let mut fork = Fork::new(key.clone(), key.run, &ResetRequest::new(request, &world.limits).unwrap());
    for frame in world.run("w").stored().1 {
        fork.read(frame).unwrap();
        assert_eq!(fork.read(frame), Ok(None), "events read before are skipped");
    }
    let mut frames = bytes::BytesMut::new();
    sempre_api::encode_event(&HistoryEvent { event_id: 99, ..Default::default() }, &mut frames);
    assert_eq!(fork.read(&frames.freeze()), Err(ForkError::Damaged));
}

/// 01 §12.3: what later starts attached to the base, the new run is known by too
#[test]
fn attached_request_ids_come_along() {
    use sempre_api::v1::{enums::WorkflowIdConflictPolicy, workflow::OnConflictOptions};
    let mut world = World::new();
    world.begin("w", []);
    let attach = with(start_request("w"), |r| {
        r.set_workflow_id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
        r.request_id = "later".into();
        r.on_conflict_options = Some(OnConflictOptions { attach_request_id: true, ..Default::default() });
    });
    world.start_with(attach.clone()).unwrap();
    world.reset("w", 4);
    assert!(history_text(&world, world.current_run("w")).contains("5 WorkflowExecutionOptionsUpdated {attached later}"));
    let again = world.start_with(attach).unwrap();
    assert_eq!(again.run_id, world.current_run("w").to_string());
    assert_eq!(world.run("w").events().len(), 6, "known already");
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

/// 01 §12.4
#[test]
#[allow(deprecated)]
fn the_first_completion_of_each_build_is_a_reset_point() {
    use sempre_api::v1::common::WorkerVersionStamp;
    let mut world = World::new();
    world.start("w");
    let work = |world: &mut World, build: &str, commands: Vec<_>| {
        let task = world.poll_workflow(QUEUE).unwrap();
        world
            .complete_with(&task, commands, |r| {
                r.binary_checksum = format!("sum-{build}");
                r.worker_version_stamp = Some(WorkerVersionStamp { build_id: build.into(), ..Default::default() });
            })
            .unwrap();
    };
    let points = |world: &World| {
        let info = world.run("w").execution.describe(world.now).workflow_execution_info.unwrap();
        info.auto_reset_points.map_or_else(Vec::new, |points| points.points)
    };
    let names = |world: &World| points(world).iter().map(|p| (p.build_id.clone(), p.first_workflow_task_completed_id)).collect::<Vec<_>>();
    work(&mut world, "a", vec![signal_external("nobody", "s").command()]);
    world.signal("w", "s").unwrap();
    work(&mut world, "a", vec![]);
    world.signal("w", "s").unwrap();
    work(&mut world, "b", vec![]);
    assert_eq!(names(&world), [("a".into(), 4), ("b".into(), 13)]);
    let all = points(&world);
    assert_eq!((all[0].binary_checksum.as_str(), all[0].run_id.clone()), ("sum-a", world.current_run("w").to_string()));
    assert_eq!(all.iter().map(|p| p.resettable).collect::<Vec<_>>(), [true, false], "a signal to another was pending");
    // The next run of the chain has them, with the time at which they go.
    world.signal("w", "s").unwrap();
    work(&mut world, "b", vec![continue_as_new().command()]);
    let all = points(&world);
    assert_eq!(
        all.iter().map(|p| p.run_id.clone()).collect::<Vec<_>>(),
        [world.chains["w"][0].to_string(), world.chains["w"][0].to_string()]
    );
    assert_eq!(all[0].expire_time, Some((world.now + secs(86_400)).to_api()));
    // A reset run has those of the events it begins with.
    work(&mut world, "c", vec![]);
    world.reset("w", 4);
    assert_eq!(points(&world).len(), 2);
    for n in 0..30 {
        work(&mut world, &format!("build-{n}"), vec![]);
        world.signal("w", "s").unwrap();
    }
    let all = points(&world);
    assert_eq!((all.len(), all[0].build_id.as_str()), (20, "build-10"));
}

/// As the reference has it
#[test]
fn a_task_that_no_poll_has_started_is_failed_under_a_request_id_that_says_so() {
    let mut world = World::new();
    world.begin("w", []);
    world.reset("w", 3);
    let started = world.run("w").events()[2].clone();
    let Some(Attributes::WorkflowTaskStartedEventAttributes(started)) = started.attributes else { panic!("{started:?}") };
    assert_eq!((started.request_id.as_str(), started.identity.as_str()), ("emptyUuid", "history-service"));
}

//! Resets: spec 01 §12. Children and other workflows are in `reset_children.rs`, what is applied again in `reset_reapply.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, reset::*, *};
use sempre_api::v1::{
    enums::{ParentClosePolicy, WorkflowExecutionStatus},
    history::history_event::Attributes,
};
use sempre_core::{Refusal, Timestamp, input::SignalRequest};

fn invalid<T>(text: &str) -> Result<T, Refusal> {
    Err(Refusal::InvalidArgument(text.into()))
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
    #[allow(deprecated, reason = "old fields that workers and clients still send and read")]
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

/// 01 §12.1, of a request that names the workflow only: the run it finds is another one by now
#[test]
fn a_repeated_request_finds_the_run_it_made_from_those_that_followed_it() {
    let mut world = World::new();
    two_tasks(&mut world);
    let request = reset_request(&mut world, "w", 9);
    let first = world.reset_with(request.clone()).unwrap();
    // This one has no event 9.
    world.work([continue_as_new().command()]);
    assert_eq!(world.reset_with(request.clone()), Ok(first));
    world.work([continue_as_new().command()]);
    assert_eq!(world.reset_with(request.clone()), Ok(first));
    assert_eq!(world.chains["w"].len(), 4);
    // Another reset of what followed does not make it new.
    world.work([]);
    let other = reset_request(&mut world, "w", 4);
    let second = world.reset_with(other.clone()).unwrap();
    assert_eq!(world.reset_with(request.clone()), Ok(first));
    world.work([continue_as_new().command()]);
    assert_eq!((world.reset_with(request), world.reset_with(other)), (Ok(first), Ok(second)));
    assert_eq!(world.chains["w"].len(), 6);
}

/// A run remembers so many resets before it; the oldest are forgotten.
#[test]
fn a_run_remembers_the_latest_resets_before_it() {
    let mut world = World::new();
    world.begin("w", []);
    let made: Vec<_> = (0..10)
        .map(|_| {
            let request = reset_request(&mut world, "w", 4);
            let run = world.reset_with(request.clone()).unwrap();
            world.work([]);
            (request, run)
        })
        .collect();
    // The last one made the current run, and eight are before that.
    for (request, run) in &made[1..] {
        assert_eq!(world.reset_with(request.clone()), Ok(*run));
    }
    assert_eq!(world.chains["w"].len(), 11);
    assert_ne!(world.reset_with(made[0].0.clone()), Ok(made[0].1));
    assert_eq!(world.chains["w"].len(), 12);
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

/// Neither the start delay of its base, which is over, nor the clock that its base began by counts.
#[test]
fn the_time_of_a_reset_run_counts_from_the_reset_after_a_delay_and_by_a_clock_that_was_set_back() {
    let mut world = World::new();
    let delayed = with(start_request("w"), |r| (r.workflow_start_delay, r.workflow_run_timeout) = (duration(100), duration(60)));
    world.start_with(delayed.clone()).unwrap();
    world.signal_with_start(delayed, SignalRequest { name: "go".into(), ..Default::default() }).unwrap();
    world.work([]);
    let of_base = world.run("w").execution.describe(world.now).workflow_extended_info.unwrap().run_expiration_time;
    assert_eq!(of_base, Some((world.now + secs(160)).to_api()));
    world.now = Timestamp(world.now.0 - secs(30).0);
    world.reset("w", 5);
    let info = world.run("w").execution.describe(world.now).workflow_extended_info.unwrap();
    assert_eq!(info.run_expiration_time, Some((world.now + secs(60)).to_api()));
    world.advance(secs(59));
    assert!(world.run("w").execution.is_open());
    world.advance(secs(1));
    assert_eq!(world.run("w").execution.status(), WorkflowExecutionStatus::TimedOut);
}

/// 01 §9: the tick for which the base's first task waited is over; the next one counts from the reset
#[test]
fn after_a_reset_of_a_cron_run_the_next_tick_is_not_passed_over() {
    let mut world = World::new();
    world.start_with(with(start_request("w"), |r| r.cron_schedule = "* * * * *".into())).unwrap();
    world.advance(secs(60));
    world.work([complete()]);
    world.advance(secs(60));
    world.work([]);
    world.advance(secs(10));
    world.reset("w", 4);
    let info = world.run("w").execution.describe(world.now).workflow_execution_info.unwrap();
    assert_eq!(info.execution_time, Some(world.now.to_api()));
    world.work([complete()]);
    assert_history(&world, "w", "1 WorkflowExecutionStarted {CronSchedule, backoff 50.0s, last result done}");
}

/// 01 §10: only a run that has just begun is held back; one that was reset has lived since then, whatever its base had to wait for
#[test]
fn a_reset_run_of_a_delayed_base_that_has_lived_continues_as_new_at_once() {
    let mut world = World::new();
    world.limits.continue_as_new_interval_min = secs(1);
    world.start_with(with(start_request("w"), |r| r.workflow_start_delay = duration(60))).unwrap();
    world.advance(secs(60));
    world.work([]);
    world.reset("w", 4);
    world.advance(secs(5));
    world.work([continue_as_new().command()]);
    assert_eq!(world.run("w").execution.describe(world.now).workflow_execution_info.unwrap().execution_time, Some(world.now.to_api()));
    assert!(world.poll_workflow(QUEUE).is_some(), "its task comes at once");
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
    use harness::options::options_after_reset;
    use sempre_api::v1::{
        common::Priority,
        workflow::{
            PostResetOperation, WorkflowExecutionOptions,
            post_reset_operation::{SignalWorkflow, Variant},
        },
    };
    let signal = Variant::SignalWorkflow(SignalWorkflow { signal_name: "after".into(), ..Default::default() });
    let priority =
        |paths: &[&str], priority| options_after_reset(paths, WorkflowExecutionOptions { priority: Some(priority), ..Default::default() });
    let mut world = World::new();
    two_tasks(&mut world);
    let request = with(reset_request(&mut world, "w", 9), |r| {
        r.post_reset_operations = vec![
            PostResetOperation { variant: Some(signal) },
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
    assert_eq!(world.offers.iter().map(|o| (o.key.level(), o.key.is_ranked())).collect::<Vec<_>>(), [(1, true)]);
    let nothing = with(request.clone(), |r| r.post_reset_operations = vec![PostResetOperation { variant: None }]);
    assert_eq!(world.reset_with(nothing), invalid("unsupported post reset operation: <nil>"));
    let wrong = with(reset_request(&mut world, "w", 9), |r| {
        r.post_reset_operations = vec![priority(&["name"], Priority::default())];
    });
    assert!(world.reset_with(wrong).is_err());
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

/// 01 §12.4
#[test]
#[allow(deprecated, reason = "old fields that workers and clients still send and read")]
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

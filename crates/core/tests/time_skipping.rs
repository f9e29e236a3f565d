//! Time skipping of single runs: spec 08 §6.2.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, own_time::*, *};
use sempre_api::v1::{
    command::ScheduleActivityTaskCommandAttributes,
    common::{TimeSkippingConfig, TimeSkippingInfo},
    enums::{EventType, ParentClosePolicy, WorkflowExecutionStatus as Status},
    history::{HistoryEvent, history_event::Attributes},
};
use sempre_core::{Span, Timestamp, time_skipping::FastForwardStatus};

const YEAR: i64 = 365 * 24 * HOUR;

fn start(config: TimeSkippingConfig) -> World {
    let mut world = skipping_world();
    world.start_with(skipping(config)).unwrap();
    world
}

fn info(world: &World) -> TimeSkippingInfo {
    let described = world.run("w").execution.describe(world.now);
    described.workflow_extended_info.unwrap().time_skipping_info.expect("it has a clock of its own")
}

fn own_time(world: &World) -> Timestamp {
    Timestamp::from_api(info(world).current_time.as_ref().unwrap())
}

fn is_on(world: &World) -> bool {
    info(world).effective_config.is_some_and(|config| config.enabled)
}

fn times(events: &[HistoryEvent], kind: EventType) -> Vec<Timestamp> {
    events.iter().filter(|e| e.event_type() == kind).map(|e| Timestamp::from_api(e.event_time.as_ref().unwrap())).collect()
}

/// Gives it to the run, or takes it away; what it has now.
fn set(world: &mut World, config: Option<TimeSkippingConfig>) -> Option<TimeSkippingConfig> {
    world.set_time_skipping(config).unwrap().workflow_execution_options.unwrap().time_skipping_config
}

#[test]
fn a_timer_of_a_year_fires_at_once_and_all_times_are_the_runs_own() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("t", secs(YEAR))]);
    assert_eq!(own_time(&world), begin + secs(YEAR));
    world.tick();
    world.work([complete()]);
    assert_eq!(world.now, begin, "nobody has waited");
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id t, wtc 4}
        6 WorkflowExecutionTimeSkippingTransitioned {by 31536000s}
        7 TimerFired {id t, started 5}
        8 WorkflowTaskScheduled
        9 WorkflowTaskStarted {scheduled 8}
        10 WorkflowTaskCompleted {scheduled 8, started 9}
        11 WorkflowExecutionCompleted {wtc 10}
    ",
    );
    let events = world.run("w").events();
    let ignorable: Vec<_> = events.iter().filter(|e| e.worker_may_ignore).map(|e| e.event_id).collect();
    assert_eq!(ignorable, [6]);
    assert_eq!(times(&events, EventType::TimerFired), [begin + secs(YEAR)]);
    assert_eq!(times(&events, EventType::WorkflowExecutionCompleted), [begin + secs(YEAR)]);
    let Some(Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(a)) = &events[5].attributes else { panic!() };
    assert_eq!(a.wall_clock_time, Some(begin.to_api()));
    assert_eq!(a.target_time, Some((begin + secs(YEAR)).to_api()));
    // Retention counts by the wall clock.
    assert_eq!(world.run("w").deadline, Some(begin + world.namespace.retention));
}

#[test]
fn tasks_of_a_run_ahead_of_its_time_stand_in_line_with_those_of_others() {
    let mut world = start(on());
    world.work([timer("t", secs(YEAR))]);
    world.tick();
    world.advance(secs(1));
    world.start("other");
    assert_eq!(world.poll_workflow(QUEUE).unwrap().workflow_id, "w", "its task has waited for longer");
    assert_eq!(world.poll_workflow(QUEUE).unwrap().workflow_id, "other");
}

#[test]
fn the_earliest_of_what_it_waits_for_comes_first() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("late", secs(3 * HOUR)), timer("early", secs(HOUR))]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
    world.tick();
    assert_eq!(info(&world).current_session_skip_count, 1);
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(3 * HOUR));
    world.tick();
    world.work([complete()]);
    assert_eq!(times(&world.run("w").events(), EventType::TimerFired), [begin + secs(HOUR), begin + secs(3 * HOUR)]);
}

#[test]
fn what_is_due_already_comes_before_a_skip() {
    let mut world = start(on());
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [timer("soon", secs(2)), timer("late", secs(HOUR))], |r| r.force_create_new_workflow_task = true).unwrap();
    world.sleep(secs(5));
    world.work([]);
    assert_eq!(info(&world).current_session_skip_count, 0);
    world.tick();
    let fired = world.run("w").events().iter().filter(|e| e.event_type() == EventType::TimerFired).count();
    assert_eq!(fired, 1);
}

#[test]
fn an_activity_in_hand_holds_time_until_it_is_done() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("t", secs(HOUR)), activity("a").command()]);
    let task = world.poll_activity().unwrap();
    world.advance(secs(5));
    assert_eq!(own_time(&world), begin + secs(5));
    world.complete_activity(&task, "x").unwrap();
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
}

fn retried() -> ScheduleActivityTaskCommandAttributes {
    with(activity("a"), |a| {
        a.retry_policy = with(retry(0), |policy| policy.as_mut().unwrap().initial_interval = duration(HOUR));
        a.schedule_to_close_timeout = duration(5 * HOUR);
    })
}

#[test]
fn a_retry_is_skipped_to_and_not_waited_for() {
    let mut world = start(on());
    let begin = world.now;
    world.work([retried().command()]);
    let task = world.poll_activity().unwrap();
    assert_eq!(own_time(&world), begin);
    world.fail_activity(&task, failure("no")).unwrap();
    assert_eq!(own_time(&world), begin + secs(HOUR));
    world.tick();
    let task = world.poll_activity().unwrap();
    assert_eq!(task.response.attempt, 2);
    assert_eq!(task.response.current_attempt_scheduled_time, Some((begin + secs(HOUR)).to_api()));
    world.complete_activity(&task, "x").unwrap();
    world.work([complete()]);
    assert_eq!(world.now, begin);
}

#[test]
fn children_and_messages_to_others_hold_time() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("t", secs(HOUR)), signal_external("nobody", "s").command()]);
    assert_eq!(own_time(&world), begin, "the signal is under way");
    world.deliver();
    world.work([child("c", ParentClosePolicy::Abandon).command()]);
    world.deliver();
    world.work([]);
    assert_eq!(own_time(&world), begin, "the child runs");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "c");
    world.complete(&task, [complete()]);
    world.deliver();
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
}

#[test]
fn an_operation_holds_time() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("t", secs(HOUR)), operation().command()]);
    world.deliver();
    assert_eq!(world.operations_started[0].scheduled_time, begin.0);
    world.work([]);
    assert_eq!(own_time(&world), begin, "the operation goes on");
}

#[test]
fn a_paused_run_does_not_skip() {
    let mut world = start(on());
    let begin = world.now;
    world.pause("w");
    let _ = world.poll_workflow(QUEUE);
    world.unpause("w");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.pause("w");
    world.complete(&task, [timer("t", secs(HOUR))]);
    assert_eq!(own_time(&world), begin);
    world.unpause("w");
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
}

#[test]
fn a_delayed_start_begins_at_once() {
    let mut world = skipping_world();
    let begin = world.now;
    world.start_with(with(skipping(on()), |r| r.workflow_start_delay = duration(HOUR))).unwrap();
    world.tick();
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted {backoff 3600.0s}
        2 WorkflowExecutionTimeSkippingTransitioned {by 3600s}
        3 WorkflowTaskScheduled
    ",
    );
    assert_eq!(own_time(&world), begin + secs(HOUR));
}

#[test]
fn a_run_that_waits_for_a_signal_only_is_skipped_to_its_end() {
    let mut world = skipping_world();
    world.start_with(with(skipping(on()), |r| r.workflow_run_timeout = duration(HOUR))).unwrap();
    assert_eq!(info(&world).current_session_skip_count, 0, "it has not begun");
    world.work([]);
    world.tick();
    assert_eq!(world.run("w").execution.status(), Status::TimedOut);
    // Without timeouts there is nothing to skip to.
    let mut world = start(on());
    world.work([]);
    assert_eq!(info(&world).current_session_skip_count, 0);
    assert_eq!(world.run("w").deadline, None);
}

#[test]
fn skips_of_a_session_are_counted_and_end() {
    let mut world = start(TimeSkippingConfig { max_session_skip_count: 2, ..on() });
    let begin = world.now;
    for skips in 1..=2 {
        world.work([timer("t", secs(HOUR))]);
        assert_eq!(info(&world).current_session_skip_count, skips);
        world.tick();
    }
    assert!(!is_on(&world));
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    assert!(world.poll_workflow(QUEUE).is_none(), "it waits like any other");
    assert_eq!(own_time(&world), begin + secs(2 * HOUR));
    // A new configuration, a new count.
    assert_eq!(set(&mut world, Some(on())).unwrap().max_session_skip_count, 200);
    assert_eq!((info(&world).current_session_skip_count, own_time(&world)), (1, begin + secs(3 * HOUR)));
}

#[test]
fn a_fast_forward_ends_where_it_was_to_end() {
    let mut world = start(ahead("f", HOUR));
    let begin = world.now;
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Pending);
    assert_eq!(world.fast_forward("other"), FastForwardStatus::Unknown);
    world.work([timer("before", secs(HOUR / 2)), timer("after", secs(2 * HOUR))]);
    world.tick();
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Completed);
    world.tick();
    assert!(world.poll_workflow(QUEUE).is_none());
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 TimerStarted {id before, wtc 4}
        6 TimerStarted {id after, wtc 4}
        7 WorkflowExecutionTimeSkippingTransitioned {by 1800s}
        8 TimerFired {id before, started 5}
        9 WorkflowTaskScheduled
        10 WorkflowTaskStarted {scheduled 9}
        11 WorkflowTaskCompleted {scheduled 9, started 10}
        12 WorkflowExecutionTimeSkippingTransitioned {by 1800s, ends fast-forward}
    ",
    );
    let shown = info(&world).fast_forward_info.unwrap();
    assert_eq!((shown.has_completed, shown.target_time), (true, Some((begin + secs(HOUR)).to_api())));
    // From then on it goes by the wall clock, an hour ahead.
    world.advance(secs(HOUR));
    assert!(world.poll_workflow(QUEUE).is_some());
    assert_eq!(own_time(&world), begin + secs(2 * HOUR));
}

#[test]
fn a_fast_forward_with_nothing_to_wait_for_is_a_skip() {
    let mut world = start(ahead("f", HOUR));
    let begin = world.now;
    world.work([]);
    assert_eq!((own_time(&world), world.fast_forward("f")), (begin + secs(HOUR), FastForwardStatus::Completed));
}

#[test]
fn a_fast_forward_ends_in_its_time_whatever_is_in_hand() {
    let mut world = start(ahead("f", 10));
    let task = world.poll_workflow(QUEUE).unwrap();
    // The worker's task outlives it.
    world.advance(secs(9));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Pending);
    world.advance(Span::millis(1000));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Completed, "although the event waits in the buffer");
    assert!(world.complete_with(&task, [], |_| ()).is_err(), "its task has timed out, at the same time");
    let events = world.run("w").events();
    let transitions: Vec<_> = events.iter().filter(|e| e.event_type() == EventType::WorkflowExecutionTimeSkippingTransitioned).collect();
    assert_eq!(transitions.len(), 1);
    let Some(Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(a)) = &transitions[0].attributes else { panic!() };
    assert_eq!((a.target_time, a.disabled_after_fast_forward), (None, true));
}

#[test]
fn options_set_while_a_worker_has_the_task_count_from_then() {
    let mut world = start(TimeSkippingConfig { enabled: false, ..Default::default() });
    let begin = world.now;
    let task = world.poll_workflow(QUEUE).unwrap();
    world.sleep(secs(2));
    set(&mut world, Some(ahead("f", HOUR)));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Pending, "it is buffered, and shown");
    world.restart();
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Pending);
    world.sleep(secs(3));
    world.complete(&task, []);
    world.work([]);
    assert_eq!(own_time(&world), begin + secs(HOUR + 2));
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionOptionsUpdated {priority 0, time skipping on}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskCompleted {scheduled 6, started 7}
        9 WorkflowExecutionTimeSkippingTransitioned {by 3597s, ends fast-forward}
    ",
    );
}

#[test]
fn options_are_set_as_a_whole_again_and_taken_away() {
    let mut world = skipping_world();
    world.begin("w", [timer("t", secs(YEAR))]);
    let events = |world: &World| world.run("w").events().len();
    assert!(world.run("w").execution.describe(world.now).workflow_extended_info.unwrap().time_skipping_info.is_none());
    assert_eq!(set(&mut world, None), None);
    assert_eq!(events(&world), 5, "nothing to take away");
    set(&mut world, Some(ahead("f", HOUR)));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Completed);
    // The same again is another hour.
    let begin = own_time(&world);
    set(&mut world, Some(ahead("f", HOUR)));
    assert_eq!(own_time(&world), begin + secs(HOUR));
    let off = TimeSkippingConfig { max_session_skip_count: 7, ..Default::default() };
    assert_eq!(set(&mut world, Some(off.clone())), Some(off.clone()));
    let before = events(&world);
    set(&mut world, Some(off));
    assert_eq!(events(&world), before, "the same without a fast-forward changes nothing");
    assert_eq!(set(&mut world, None), None);
    assert_eq!(own_time(&world), begin + secs(HOUR), "what is skipped is skipped");
    assert_eq!(info(&world).effective_config, None);
}

#[test]
fn an_idle_run_skips_as_soon_as_it_may() {
    let mut world = skipping_world();
    world.begin("w", [timer("t", secs(YEAR))]);
    set(&mut world, Some(on()));
    world.tick();
    assert!(world.poll_workflow(QUEUE).is_some());
}

#[test]
fn the_next_run_of_a_chain_goes_on_with_time_count_and_fast_forward() {
    let mut world = start(TimeSkippingConfig { max_session_skip_count: 9, ..ahead("f", 3 * HOUR) });
    let begin = world.now;
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    world.work([continue_as_new().command()]);
    let Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) = world.run("w").events()[0].attributes.clone() else { panic!() };
    let passed_on = a.time_skipping_state_propagation.unwrap();
    assert_eq!(passed_on.initial_skipped_duration, duration(HOUR));
    assert_eq!(passed_on.initial_skip_count, 1);
    assert_eq!(passed_on.fast_forward_target_time, Some((begin + secs(3 * HOUR)).to_api()));
    assert_eq!((own_time(&world), world.fast_forward("f")), (begin + secs(HOUR), FastForwardStatus::Pending));
    assert_eq!(times(&world.run("w").events(), EventType::WorkflowExecutionStarted), [begin + secs(HOUR)]);
    world.work([timer("t", secs(5 * HOUR))]);
    assert_eq!((own_time(&world), world.fast_forward("f")), (begin + secs(3 * HOUR), FastForwardStatus::Completed));
    assert_eq!(info(&world).current_session_skip_count, 2);
    // A fast-forward that is over stays over in the next run.
    world.signal("w", "s").unwrap();
    world.work([continue_as_new().command()]);
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Completed);
    assert!(!is_on(&world));
}

#[test]
fn a_retried_run_is_skipped_to() {
    let mut world = skipping_world();
    let begin = world.now;
    world.start_with(with(skipping(on()), |r| r.retry_policy = retry(0))).unwrap();
    for attempt in 0..4 {
        world.work([fail("again")]);
        world.tick();
        assert_eq!(own_time(&world), begin + secs((1 << (attempt + 1)) - 1));
    }
    assert_eq!(world.now, begin);
}

#[test]
fn cron_runs_come_one_after_the_other_without_a_wait() {
    let mut world = skipping_world();
    let begin = world.now;
    world
        .start_with(with(skipping(TimeSkippingConfig { max_session_skip_count: 3, ..on() }), |r| r.cron_schedule = "* * * * *".into()))
        .unwrap();
    for _ in 0..3 {
        world.tick();
        world.work([complete()]);
    }
    world.tick();
    assert!(world.poll_workflow(QUEUE).is_none(), "no more than three skips");
    assert_eq!(own_time(&world).since(begin), secs(180));
}

#[test]
fn a_child_begins_at_its_parents_time_and_skips_by_itself() {
    let mut world = start(TimeSkippingConfig { max_session_skip_count: 5, ..ahead("f", 9 * HOUR) });
    let begin = world.now;
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    world.work([child("c", ParentClosePolicy::Abandon).command()]);
    let initiated = world.run("w").events().into_iter().rev().find_map(|event| match event.attributes {
        Some(Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(a)) => Some(a),
        _ => None,
    });
    let initiated = initiated.unwrap();
    assert_eq!(initiated.time_skipping_state_propagation.unwrap().initial_skipped_duration, duration(HOUR));
    let config = initiated.time_skipping_config.unwrap();
    assert_eq!((config.enabled, config.max_session_skip_count, config.fast_forward_config), (true, 5, None));
    world.restart();
    world.deliver();
    let tasks = [world.poll_workflow(QUEUE).unwrap(), world.poll_workflow(QUEUE).unwrap()];
    let of = |id: &str| tasks.iter().find(|task| task.workflow_id == id).unwrap();
    world.complete(of("c"), [timer("own", secs(YEAR))]);
    world.complete(of("w"), []);
    assert_eq!(world.run("c").execution.own_time(begin), begin + secs(YEAR + HOUR));
    assert_eq!(own_time(&world), begin + secs(HOUR), "the parent waits for it by the wall clock");
    assert_eq!(times(&world.run("c").events(), EventType::WorkflowExecutionStarted), [begin + secs(HOUR)]);
    // Its parent's count is not its own.
    let described = world.run("c").execution.describe(begin).workflow_extended_info.unwrap().time_skipping_info.unwrap();
    assert_eq!(described.current_session_skip_count, 1);
}

#[test]
fn a_child_may_be_kept_from_skipping() {
    let mut world = start(TimeSkippingConfig { disable_propagation: true, ..on() });
    let begin = world.now;
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    world.work([child("c", ParentClosePolicy::Abandon).command()]);
    world.deliver();
    world.work([]);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [timer("own", secs(YEAR))]);
    let execution = &world.run("c").execution;
    let shown = execution.describe(begin).workflow_extended_info.unwrap().time_skipping_info.unwrap();
    assert_eq!((shown.effective_config, execution.own_time(begin)), (None, begin + secs(HOUR)), "the time is its parent's");
}

#[test]
fn a_reset_run_begins_at_the_time_of_its_events() {
    let mut world = start(on());
    let begin = world.now;
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    world.work([timer("u", secs(YEAR))]);
    assert_eq!(own_time(&world), begin + secs(HOUR + YEAR));
    world.reset("w", 10);
    assert_eq!(own_time(&world), begin + secs(HOUR), "the year was skipped after the reset point");
    assert!(is_on(&world));
    world.work([timer("v", secs(2 * HOUR))]);
    assert_eq!(own_time(&world), begin + secs(3 * HOUR));
}

#[test]
fn closed_runs_say_how_their_fast_forward_stood() {
    let mut world = start(ahead("f", HOUR));
    world.terminate("w", "why").unwrap();
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Closed);
    let mut world = start(ahead("f", HOUR));
    let task = world.poll_workflow(QUEUE).unwrap();
    set(&mut world, Some(TimeSkippingConfig { enabled: false, ..Default::default() }));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Unknown);
    world.complete(&task, []);
    // Skips are used up before it is over.
    let mut world = start(TimeSkippingConfig { max_session_skip_count: 1, ..ahead("f", 2 * HOUR) });
    world.work([timer("t", secs(HOUR))]);
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Disabled);
}

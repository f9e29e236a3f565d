//! Time skipping of single runs, spec 08 §6.2: every way to ask for it, what is refused, and where a fast-forward meets an end.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, own_time::*, reset::*, *};
use sempre_api::v1::{
    common::{TimeSkippingConfig, TimeSkippingInfo},
    enums::{EventType, WorkflowExecutionStatus as Status, WorkflowIdConflictPolicy},
    history::HistoryEvent,
};
use sempre_core::{Refusal, Timestamp, input::SignalRequest, time_skipping::FastForwardStatus};

const USE_EXISTING: i32 = WorkflowIdConflictPolicy::UseExisting as i32;

fn info(world: &World) -> Option<TimeSkippingInfo> {
    world.run("w").execution.describe(world.now).workflow_extended_info.unwrap().time_skipping_info
}

fn own_time(world: &World) -> Timestamp {
    world.run("w").execution.own_time(world.now)
}

fn names(events: &[HistoryEvent], count: usize) -> Vec<EventType> {
    events[events.len() - count..].iter().map(HistoryEvent::event_type).collect()
}

fn signal() -> SignalRequest {
    SignalRequest { name: "s".into(), ..Default::default() }
}

#[test]
fn a_signal_and_an_update_with_start_bring_it_to_the_run_that_they_start() {
    let mut world = skipping_world();
    let begin = world.now;
    world.signal_with_start(skipping(on()), signal()).unwrap();
    world.work([timer("t", secs(HOUR))]);
    assert_eq!(own_time(&world), begin + secs(HOUR));
    // The run is there: it keeps its own.
    let events = world.run("w").events().len();
    world.signal_with_start(skipping(ahead("f", HOUR)), signal()).unwrap();
    let news = world.run("w").events().split_off(events);
    assert_eq!(names(&news, news.len()), [EventType::WorkflowExecutionSignaled, EventType::WorkflowTaskScheduled]);
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Unknown);
    world.terminate("w", "why").unwrap();
    world.update_with_start(with(skipping(ahead("f", HOUR)), |r| r.workflow_id_conflict_policy = USE_EXISTING), "u").unwrap();
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Pending);
}

#[test]
fn a_start_that_meets_a_run_leaves_its_time_alone() {
    let mut world = skipping_world();
    world.start("w");
    let met = world.start_with(with(skipping(on()), |r| r.workflow_id_conflict_policy = USE_EXISTING)).unwrap();
    assert!(!met.started);
    assert_eq!((info(&world), world.run("w").events().len()), (None, 2));
}

#[test]
fn a_run_that_a_reset_makes_may_be_given_it() {
    let mut world = skipping_world();
    let begin = world.now;
    world.begin("w", [timer("t", secs(HOUR))]);
    let request = with(reset_request(&mut world, "w", 4), |r| r.post_reset_operations = skipping_after_reset(ahead("f", 2 * HOUR)));
    world.reset_with(request).unwrap();
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskFailed {scheduled 2, started 3, ResetWorkflow, failure 'again', base w/1, new w/2}
        5 WorkflowExecutionOptionsUpdated {priority 0, time skipping on}
        6 WorkflowTaskScheduled
    ",
    );
    world.work([timer("u", secs(HOUR))]);
    world.tick();
    world.work([]);
    assert_eq!((own_time(&world), world.fast_forward("f")), (begin + secs(2 * HOUR), FastForwardStatus::Completed));
}

#[test]
fn options_that_were_set_after_the_reset_point_are_set_again() {
    let mut world = skipping_world();
    world.begin("w", [timer("t", secs(HOUR))]);
    world.set_time_skipping(ahead("f", 3 * HOUR)).unwrap();
    world.tick();
    world.sleep(secs(10));
    world.reset("w", 4);
    let now = world.now;
    assert_eq!((own_time(&world), world.fast_forward("f")), (now, FastForwardStatus::Pending), "what was skipped was skipped later");
    world.work([]);
    assert_eq!(
        (own_time(&world), world.fast_forward("f")),
        (now + secs(3 * HOUR), FastForwardStatus::Completed),
        "it counts from the reset"
    );
}

#[test]
fn who_sets_options_is_told_the_runs_time_before_the_skip() {
    let mut world = skipping_world();
    world.start_with(skipping(on())).unwrap();
    let begin = world.now;
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    world.work([]);
    world.sleep(secs(5));
    let answer = world.set_time_skipping(ahead("f", HOUR)).unwrap();
    assert_eq!(answer.update_time, Some((begin + secs(HOUR + 5)).to_api()));
    assert_eq!(own_time(&world), begin + secs(2 * HOUR + 5));
}

#[test]
fn a_fast_forward_that_ends_with_the_run_is_told_before_its_timeout() {
    let mut world = skipping_world();
    world.start_with(with(skipping(ahead("f", HOUR)), |r| r.workflow_run_timeout = duration(HOUR))).unwrap();
    world.work([timer("t", secs(HOUR))]);
    world.tick();
    let events = world.run("w").events();
    assert_eq!(names(&events, 2), [EventType::WorkflowExecutionTimeSkippingTransitioned, EventType::WorkflowExecutionTimedOut]);
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Completed);
}

#[test]
fn a_fast_forward_beyond_the_end_of_its_chain_never_completes() {
    let mut world = skipping_world();
    let begin = world.now;
    world.start_with(with(skipping(ahead("f", 3 * HOUR)), |r| r.workflow_execution_timeout = duration(HOUR))).unwrap();
    world.work([timer("t", secs(2 * HOUR))]);
    world.tick();
    assert_eq!(world.run("w").execution.status(), Status::TimedOut);
    let last = world.run("w").events().pop().unwrap();
    assert_eq!(last.event_time, Some((begin + secs(HOUR)).to_api()));
    assert_eq!(world.fast_forward("f"), FastForwardStatus::Closed);
}

#[test]
fn a_pause_holds_skips_but_not_the_end_of_a_fast_forward() {
    let mut world = skipping_world();
    world.start_with(skipping(ahead("f", 10))).unwrap();
    world.work([timer("t", secs(4)), activity("a").command()]);
    world.pause("w");
    world.advance(secs(9));
    assert_eq!((world.fast_forward("f"), own_time(&world)), (FastForwardStatus::Pending, world.now));
    world.advance(secs(1));
    assert_eq!((world.fast_forward("f"), own_time(&world)), (FastForwardStatus::Completed, world.now));
    assert_eq!(info(&world).unwrap().current_session_skip_count, 1);
}

#[test]
fn configurations_that_make_no_sense_are_refused() {
    let mut world = skipping_world();
    world.begin("v", []);
    let invalid = |text: &str| Err(Refusal::InvalidArgument(text.into()));
    let cases = [
        (ahead("f", 0), "Time skipping config invalid: fast_forward duration must be positive"),
        (ahead("f", -5), "Time skipping config invalid: fast_forward duration must be positive"),
        (ahead(" ", 5), "Time skipping config invalid: fast_forward_id must be set"),
        (TimeSkippingConfig { enabled: false, ..ahead("f", 5) }, "time_skipping_config: cannot set fast_forward when enabled is false"),
    ];
    for (config, text) in cases {
        assert_eq!(world.start_with(skipping(config.clone())).map(drop), invalid(text));
        assert_eq!(world.signal_with_start(skipping(config.clone()), signal()).map(drop), invalid(text));
        world.start("w");
        assert_eq!(world.set_time_skipping(config.clone()).map(drop), invalid(text));
        let reset = with(reset_request(&mut world, "v", 4), |r| r.post_reset_operations = skipping_after_reset(config));
        assert_eq!(world.reset_with(reset).map(drop), invalid(text));
        world.terminate("w", "why").unwrap();
    }
}

#[test]
fn whoever_asks_where_it_is_off_is_told_so() {
    let mut world = World::new();
    world.begin("v", []);
    let refused = Err(Refusal::Unimplemented("The Time-Skipping feature is not enabled for namespace.".into()));
    // Even to say that nothing shall be skipped.
    for config in [on(), TimeSkippingConfig::default()] {
        assert_eq!(world.start_with(skipping(config.clone())).map(drop), refused);
        assert_eq!(world.signal_with_start(skipping(config.clone()), signal()).map(drop), refused);
        world.start("w");
        assert_eq!(world.set_time_skipping(config.clone()).map(drop), refused);
        let reset = with(reset_request(&mut world, "v", 4), |r| r.post_reset_operations = skipping_after_reset(config));
        assert_eq!(world.reset_with(reset).map(drop), refused);
        world.terminate("w", "why").unwrap();
    }
}

//! Signals and cancel requests from clients: spec 04 §2, 01 §3.5, §4.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, *};
use sempre_api::v1::{
    common::{Link, link},
    enums::EventType,
};
use sempre_core::{Input, Refusal, Reply, input::SignalRequest, limits::ATTACHED_REQUEST_IDS_MAX};

fn named(name: &str, request_id: &str) -> SignalRequest {
    SignalRequest { name: name.into(), request_id: request_id.into(), identity: "client".into(), ..Default::default() }
}

/// 04 §9.3
#[test]
fn a_signal_is_taken_once_even_after_the_end() {
    let mut world = World::new();
    world.begin("wf", []);
    world.signal_with("wf", named("go", "same")).unwrap();
    world.signal_with("wf", named("go", "same")).unwrap();
    world.work([complete()]);
    assert!(matches!(world.signal_with("wf", named("go", "same")), Ok(Reply::Signaled(_))));
    assert_eq!(world.signal_with("wf", named("go", "other")).unwrap_err(), Refusal::closed());
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionSignaled {name go}
        6 WorkflowTaskScheduled
        7 WorkflowTaskStarted {scheduled 6}
        8 WorkflowTaskCompleted {scheduled 6, started 7}
        9 WorkflowExecutionCompleted {wtc 8}
    ",
    );
}

#[test]
fn signals_without_a_request_id_are_all_taken() {
    let mut world = World::new();
    world.begin("wf", []);
    world.signal_with("wf", named("go", "")).unwrap();
    world.signal_with("wf", named("go", "")).unwrap();
    assert_eq!(world.run("wf").events().len(), 7);
}

/// 04 §2.1 (3)
#[test]
fn a_run_takes_so_many_signals() {
    let mut world = World::new();
    world.limits.signals_max = 2;
    world.start("wf");
    world.signal("wf", "1").unwrap();
    world.poll_workflow(QUEUE).unwrap();
    world.signal("wf", "2, buffered").unwrap();
    let refusal = world.signal("wf", "3").unwrap_err();
    assert_eq!(refusal, Refusal::InvalidArgument("exceeded workflow execution limit for signal events".into()));
}

/// 04 §2.1
#[test]
fn a_signal_too_large_is_refused() {
    let mut world = World::new();
    world.limits.blob_size_max = 100;
    world.start("wf");
    let request = SignalRequest { input: payloads(&"x".repeat(200)), ..named("go", "1") };
    assert_eq!(world.signal_with("wf", request).unwrap_err(), Refusal::InvalidArgument("Blob data size exceeds limit.".into()));
}

/// 01 §3.5
#[test]
fn a_signal_does_not_shorten_a_start_delay() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(60))).unwrap();
    world.signal("wf", "go").unwrap();
    assert!(world.poll_workflow(QUEUE).is_none());
    world.advance(secs(60));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {backoff 60.0s}
        2 WorkflowExecutionSignaled {name go}
        3 WorkflowTaskScheduled
    ",
    );
}

/// 01 §3.5
#[test]
fn a_signal_with_start_does() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(60))).unwrap();
    let response = world.signal_with_start(start_request("wf"), named("go", "1")).unwrap();
    assert!(!response.started);
    assert!(world.poll_workflow(QUEUE).is_some());
    world.advance(secs(5));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {backoff 60.0s}
        2 WorkflowExecutionSignaled {name go}
        3 WorkflowTaskScheduled
        4 WorkflowTaskStarted {scheduled 3}
    ",
    );
}

/// 01 §3.5
#[test]
fn a_cancel_request_does_too() {
    let mut world = World::new();
    world.start_with(with(start_request("wf"), |r| r.workflow_start_delay = duration(60))).unwrap();
    world.request_cancel("wf", "enough").unwrap();
    world.work([cancel()]);
    world.advance(secs(60));
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted {backoff 60.0s}
        2 WorkflowExecutionCancelRequested {cause enough}
        3 WorkflowTaskScheduled
        4 WorkflowTaskStarted {scheduled 3}
        5 WorkflowTaskCompleted {scheduled 3, started 4}
        6 WorkflowExecutionCanceled {wtc 5}
    ",
    );
}

/// 01 §4
#[test]
fn signal_with_start_of_nothing_starts() {
    let mut world = World::new();
    let response = world.signal_with_start(start_request("wf"), named("go", "1")).unwrap();
    assert!(response.started);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled {name go}
        3 WorkflowTaskScheduled
    ",
    );
}

/// 01 §4
#[test]
fn signal_with_start_of_a_closed_run_starts_again() {
    let mut world = World::new();
    world.begin("wf", [complete()]);
    assert!(world.signal_with_start(start_request("wf"), named("go", "1")).unwrap().started);
    assert_eq!(world.chains["wf"].len(), 2);
    assert_history(
        &world,
        "wf",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled {name go}
        3 WorkflowTaskScheduled
    ",
    );
}

/// 04 §2.2: the link of the answer names the event by the request id
#[test]
fn a_signal_with_links_can_be_found_by_its_request_id() {
    let mut world = World::new();
    world.begin("wf", []);
    let linked = |name: &str| SignalRequest {
        name: "go".into(),
        request_id: name.into(),
        links: vec![Link { variant: Some(link::Variant::BatchJob(link::BatchJob { job_id: "j".into() })) }],
        ..Default::default()
    };
    let known = |world: &World, id: &str| {
        let mut infos = world.run("wf").execution.describe(world.now).workflow_extended_info.unwrap().request_id_infos;
        infos.remove(id).map(|info| (info.event_type(), info.event_id, info.buffered))
    };
    let signaled = EventType::WorkflowExecutionSignaled;
    world.apply("wf", Input::Signal(Box::new(linked("one")))).unwrap();
    world.apply("wf", Input::Signal(Box::new(SignalRequest { links: Vec::new(), ..linked("unlinked") }))).unwrap();
    assert_eq!(known(&world, "one"), Some((signaled, 5, false)));
    assert_eq!(known(&world, "unlinked"), None, "nobody comes back to it");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.apply("wf", Input::Signal(Box::new(linked("two")))).unwrap();
    assert_eq!(known(&world, "two"), Some((signaled, 0, true)));
    world.complete(&task, []);
    assert_eq!(known(&world, "two"), Some((signaled, 10, false)));
    // It is no start: a start with that id is another.
    let refused = world.start_with(with(start_request("wf"), |r| r.request_id = "one".into())).unwrap_err();
    assert!(matches!(refused, Refusal::AlreadyStarted { .. }), "{refused:?}");
    for number in 0..ATTACHED_REQUEST_IDS_MAX {
        world.apply("wf", Input::Signal(Box::new(linked(&number.to_string())))).unwrap();
    }
    assert_eq!((known(&world, "one"), known(&world, "two")), (None, None), "the oldest are forgotten");
    assert!(known(&world, "0").is_some());
}

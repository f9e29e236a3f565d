//! UpdateWorkflowExecutionOptions: spec 01 §13.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, history::*, options::*, own_time::*, *};
use sempre_api::v1::{
    common::Priority,
    enums::EventType,
    workflow::{VersioningOverride, WorkflowExecutionOptions},
    workflowservice::UpdateWorkflowExecutionOptionsRequest,
};
use sempre_core::{
    Refusal,
    transition::{Offer, QueueKind},
};

fn request(paths: &[&str], priority: Option<Priority>) -> UpdateWorkflowExecutionOptionsRequest {
    options_request(paths, WorkflowExecutionOptions { priority, ..Default::default() })
}

fn key(priority_key: i32) -> Priority {
    Priority { priority_key, ..Default::default() }
}

fn update(world: &mut World, paths: &[&str], priority: Option<Priority>) -> Option<Priority> {
    let answer = world.set_options(paths, WorkflowExecutionOptions { priority, ..Default::default() }).unwrap();
    answer.workflow_execution_options.unwrap().priority
}

#[test]
fn a_changed_priority_is_one_event_and_moves_what_waits() {
    let mut world = World::new();
    world.begin("w", [activity("a").command()]);
    world.signal("w", "s").unwrap();
    assert!(world.offers.iter().all(|o| o.key.priority == 3));
    assert_eq!(update(&mut world, &["priority"], Some(key(1))), Some(key(1)));
    let mut places: Vec<_> = world.offers.iter().map(|o| (o.queue.kind, o.key.priority)).collect();
    places.sort_unstable();
    assert_eq!(places, [(QueueKind::Workflow, 1), (QueueKind::Activity, 1)]);
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
        8 WorkflowExecutionOptionsUpdated {priority 1}
    ",
    );
    assert!(world.run("w").events()[7].worker_may_ignore);
    // Both can still be taken.
    let task = world.poll_activity().unwrap();
    world.complete_activity(&task, "x").unwrap();
    world.work([]);
    let info = world.run("w").execution.describe(world.now).workflow_execution_info.unwrap();
    assert_eq!(info.priority, Some(key(1)));
}

#[test]
fn what_leaves_the_priority_as_it_is_moves_nothing() {
    let mut world = skipping_world();
    world.begin("w", [activity("a").command()]);
    world.signal("w", "s").unwrap();
    let before = world.offers.clone();
    world.advance(secs(1));
    // The event says the whole of the options, the priority that there is not as well.
    world.set_time_skipping(on()).unwrap();
    assert_eq!(world.run("w").events().last().unwrap().event_type(), EventType::WorkflowExecutionOptionsUpdated);
    assert_eq!(world.offers, before, "who waits keeps the place in the line");
}

#[test]
fn a_poll_that_was_given_the_former_place_of_a_moved_task_gets_it() {
    let mut world = World::new();
    world.begin("w", [activity("a").command()]);
    world.signal("w", "s").unwrap();
    let former = world.offers.clone();
    world.advance(secs(1));
    update(&mut world, &["priority"], Some(key(1)));
    let moved = world.offers.clone();
    let of = |offers: &[Offer], kind| offers.iter().find(|o| o.queue.kind == kind).unwrap().clone();
    let (workflow, activity) = (QueueKind::Workflow, QueueKind::Activity);
    let poller = world.poller();
    assert!(world.start_workflow_task(&of(&former, workflow), poller).is_some());
    let poller = world.poller();
    assert!(world.start_activity_task(&of(&former, activity), poller).is_some());
    // There is one of each, and both are taken.
    assert!(world.offers.is_empty());
    let poller = world.poller();
    assert!(world.start_workflow_task(&of(&moved, workflow), poller).is_none());
    let poller = world.poller();
    assert!(world.start_activity_task(&of(&moved, activity), poller).is_none());
}

#[test]
fn an_offer_of_a_sticky_task_stays_on_its_queue() {
    let mut world = World::new();
    world.start("w");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("own")).unwrap();
    world.signal("w", "s").unwrap();
    update(&mut world, &["priority"], Some(key(5)));
    let offer = &world.offers[0];
    assert_eq!((offer.queue.name.as_str(), offer.queue.sticky, offer.normal_name.as_str(), offer.key.priority), ("own", true, QUEUE, 5));
    assert!(world.poll_workflow("own").is_some());
}

#[test]
fn no_change_writes_nothing() {
    let mut world = World::new();
    world.begin("w", []);
    for (paths, priority) in [
        (&["priority"][..], None),
        (&["priority.priority_key"][..], Some(key(0))),
        (&["versioning_override", "time_skipping_config"][..], None),
        (&[][..], Some(key(2))),
    ] {
        let before = world.run("w").execution.next_event_id();
        update(&mut world, paths, priority);
        if paths != ["priority.priority_key"] {
            assert_eq!(world.run("w").execution.next_event_id(), before, "{paths:?}");
        }
    }
}

#[test]
fn fields_are_merged_also_with_what_waits_in_the_buffer() {
    let mut world = World::new();
    world.start("w");
    let task = world.poll_workflow(QUEUE).unwrap();
    update(
        &mut world,
        &["priority.priority_key"],
        Some(Priority { priority_key: 2, fairness_key: "ignored".into(), ..Default::default() }),
    );
    let all = update(
        &mut world,
        &["priority.fairness_key", "priority.fairness_weight"],
        Some(Priority { priority_key: 9, fairness_key: "tenant".into(), fairness_weight: 2.0 }),
    );
    let expected = Priority { priority_key: 2, fairness_key: "tenant".into(), fairness_weight: 2.0 };
    assert_eq!(all, Some(expected.clone()));
    world.complete(&task, []);
    assert_eq!(world.run("w").execution.state().derived.priority(), Some(&expected));
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3}
        5 WorkflowExecutionOptionsUpdated {priority 2}
        6 WorkflowExecutionOptionsUpdated {priority 2, fairness tenant}
        7 WorkflowTaskScheduled
    ",
    );
    // Taken away as a whole.
    assert_eq!(update(&mut world, &["priority"], None), None);
    assert_eq!(world.offers[0].key.priority, 3);
}

#[test]
fn successors_and_children_have_the_changed_priority() {
    let mut world = World::new();
    world.begin("w", []);
    update(&mut world, &["priority"], Some(key(4)));
    world.signal("w", "s").unwrap();
    world.work([child("kid", sempre_api::v1::enums::ParentClosePolicy::Abandon).command(), continue_as_new().command()]);
    assert_eq!(world.run("w").execution.state().derived.priority(), Some(&key(4)));
}

/// 01 §8: also one that was changed beside a task which its run's timeout ends
#[test]
fn a_retry_after_a_timeout_has_the_priority_that_was_changed_beside_a_task() {
    let mut world = World::new();
    world.start_with(with(start_request("w"), |r| (r.retry_policy, r.workflow_run_timeout) = (retry(2), duration(5)))).unwrap();
    let _taken = world.poll_workflow(QUEUE).unwrap();
    update(&mut world, &["priority"], Some(key(4)));
    world.advance(secs(5));
    assert_eq!(world.chains["w"].len(), 2);
    assert_eq!(world.run("w").execution.state().derived.priority(), Some(&key(4)));
}

#[test]
fn refusals() {
    let mut world = World::new();
    world.begin("w", []);
    let mut refused = |request| match world.update_options(request).unwrap_err() {
        Refusal::InvalidArgument(text) => text,
        Refusal::Unimplemented(text) => format!("unimplemented: {text}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(with(request(&[], None), |r| r.update_mask = None)), "UpdateMask is required");
    assert_eq!(refused(with(request(&[], None), |r| r.workflow_execution_options = None)), "WorkflowExecutionOptions is required");
    assert_eq!(
        refused(request(&["nonsense"], None)),
        "error parsing UpdateMask: proto: invalid path \"nonsense\" for message \"temporal.api.workflow.v1.WorkflowExecutionOptions\""
    );
    assert_eq!(
        refused(request(&["versioning_override.behavior"], None)),
        "error applying update_options: versioning_override fields must be updated together"
    );
    assert!(refused(request(&["priority"], Some(key(-1)))).starts_with("priority key can't be negative"));
    let over = with(request(&["versioning_override"], None), |r| {
        r.workflow_execution_options.as_mut().unwrap().versioning_override = Some(VersioningOverride::default());
    });
    assert_eq!(refused(over), "override behavior is required");
    world.signal("w", "s").unwrap();
    world.work([complete()]);
    let closed = world.update_options(request(&["priority"], Some(key(1))));
    assert_eq!(closed.unwrap_err(), Refusal::NotFound("workflow execution already completed".into()));
}

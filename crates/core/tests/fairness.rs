//! Priorities and fairness of tasks: what they inherit, and where their offers stand (spec 05 §5).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, *};
use sempre_api::v1::{common::Priority, enums::ParentClosePolicy, workflow::WorkflowExecutionOptions};
use sempre_core::transition::{Offer, QueueKind, RANKED};

fn priority(priority_key: i32, fairness_key: &str, fairness_weight: f32) -> Priority {
    Priority { priority_key, fairness_key: fairness_key.into(), fairness_weight }
}

fn start(world: &mut World, id: &str, own: Priority) {
    world.start_with(with(start_request(id), |r| r.priority = Some(own))).unwrap();
}

/// Level, whether it has a rank, key and weight of an offer.
fn standing(offer: &Offer) -> (u8, bool, &str, f32) {
    let (key, weight) = offer.fairness.as_ref().map_or(("", 0.0), |fairness| (fairness.key.as_str(), fairness.weight));
    (offer.key.level(), offer.key.is_ranked(), key, weight)
}

fn offer_of(world: &World, kind: QueueKind) -> &Offer {
    world.offers.iter().find(|offer| offer.queue.kind == kind).unwrap()
}

#[test]
fn a_task_that_names_a_key_has_a_rank_and_others_their_age() {
    let mut world = World::new();
    start(&mut world, "keyed", priority(2, "tenant", 2.5));
    start(&mut world, "weighted", priority(0, "", 4.0));
    world.start("plain");
    let shown: Vec<_> = world.offers.iter().map(|offer| (standing(offer), offer.key.time == offer.offered)).collect();
    assert_eq!(shown, [((2, true, "tenant", 2.5), false), ((3, false, "", 4.0), true), ((3, false, "", 0.0), true)]);
    assert!(world.offers.iter().all(|offer| offer.offered == world.now));
    assert_eq!(world.offers[0].key.priority, 2 | RANKED);
}

#[test]
fn activities_take_what_they_do_not_name_from_their_workflow() {
    let cases = [
        (priority(0, "", 0.0), (4, true, "tenant", 2.0)),
        (priority(1, "", 0.0), (1, true, "tenant", 2.0)),
        (priority(0, "own", 0.0), (4, true, "own", 2.0)),
        (priority(0, "", 7.0), (4, true, "tenant", 7.0)),
        (priority(5, "own", 7.0), (5, true, "own", 7.0)),
    ];
    for (own, expected) in cases {
        let mut world = World::new();
        start(&mut world, "w", priority(4, "tenant", 2.0));
        world.work([with(activity("a"), |a| a.priority = Some(own.clone())).command()]);
        assert_eq!(standing(offer_of(&world, QueueKind::Activity)), expected, "{own:?}");
        let task = world.poll_activity().unwrap();
        let shown = task.response.priority.unwrap();
        assert_eq!((shown.priority_key as u8, shown.fairness_key.as_str(), shown.fairness_weight), (expected.0, expected.2, expected.3));
    }
}

#[test]
fn children_and_the_next_run_take_what_they_do_not_name_from_their_workflow() {
    let mut world = World::new();
    start(&mut world, "w", priority(2, "tenant", 2.0));
    let inherits = child("all", ParentClosePolicy::Abandon).command();
    let own = with(child("part", ParentClosePolicy::Abandon), |c| c.priority = Some(priority(0, "own", 0.0))).command();
    world.work([inherits, own]);
    world.deliver();
    for (id, expected) in [("all", (2, true, "tenant", 2.0)), ("part", (2, true, "own", 2.0))] {
        let offer = world.offers.iter().find(|offer| offer.run.workflow.workflow_id == id).unwrap();
        assert_eq!(standing(offer), expected, "{id}");
    }
    let mut world = World::new();
    start(&mut world, "w", priority(2, "tenant", 2.0));
    world.work([continue_as_new().command()]);
    assert_eq!(standing(&world.offers[0]), (2, true, "tenant", 2.0));
}

#[test]
fn offers_with_ranks_are_taken_back_by_their_rank() {
    let mut world = World::new();
    start(&mut world, "w", priority(0, "tenant", 0.0));
    world.work([activity("a").command()]);
    world.signal("w", "s").unwrap();
    assert!(world.offers.iter().all(|offer| offer.key.is_ranked()));
    // The harness holds each withdrawal against the offers that are there.
    world.pause("w");
    assert!(world.offers.is_empty());
    world.unpause("w");
    assert_eq!(world.offers.len(), 2);
    let options = WorkflowExecutionOptions { priority: Some(priority(1, "", 0.0)), ..Default::default() };
    world.set_options(&["priority"], options).unwrap();
    assert!(world.offers.iter().all(|offer| standing(offer) == (1, false, "", 0.0)), "a key that was taken away");
    assert_eq!(world.offers.len(), 2);
    world.terminate("w", "").unwrap();
    assert!(world.offers.is_empty());
}

#[test]
fn an_attempt_after_the_first_has_a_rank_too() {
    let mut world = World::new();
    start(&mut world, "w", priority(0, "tenant", 0.0));
    world.work([with(activity("a"), |a| a.retry_policy = retry(2)).command()]);
    let task = world.poll_activity().unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    world.advance(sempre_core::Span::seconds(60));
    assert_eq!(standing(offer_of(&world, QueueKind::Activity)), (3, true, "tenant", 0.0));
}

#[test]
fn a_worker_s_own_queue_ranks_nothing() {
    let mut world = World::new();
    start(&mut world, "w", priority(0, "tenant", 0.0));
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("own")).unwrap();
    world.signal("w", "s").unwrap();
    assert_eq!(standing(&world.offers[0]), (3, false, "tenant", 0.0));
    assert!(world.offers[0].queue.sticky);
    // Its worker is gone: on the normal queue the task has a rank.
    world.advance(sempre_core::Span::seconds(60));
    assert_eq!(standing(&world.offers[0]), (3, true, "tenant", 0.0));
    assert!(!world.offers[0].queue.sticky);
}

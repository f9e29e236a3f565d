//! Workflow rules: activities that a predicate fits are paused before their next attempt.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, *};
use sempre_api::v1::{
    enums::PendingActivityState as State,
    rules::{
        WorkflowRule as Said, WorkflowRuleAction, WorkflowRuleSpec,
        workflow_rule_action::{ActionActivityPause, Variant},
        workflow_rule_spec::{ActivityStartingTrigger, Trigger},
    },
    workflow::{PendingActivityInfo, pending_activity_info::pause_info::PausedBy},
};
use sempre_core::{Input, input::ActivitySelector, rules::WorkflowRule, transition::QueueKind};

fn said(id: &str, predicate: &str, runs: &str) -> Said {
    let spec = WorkflowRuleSpec {
        id: id.into(),
        visibility_query: runs.into(),
        actions: vec![WorkflowRuleAction { variant: Some(Variant::ActivityPause(ActionActivityPause {})) }],
        trigger: Some(Trigger::ActivityStart(ActivityStartingTrigger { predicate: predicate.into() })),
        ..Default::default()
    };
    Said { spec: Some(spec), created_by_identity: "maker".into(), description: "because".into(), ..Default::default() }
}

fn rules(world: &mut World, all: &[Said]) {
    world.namespace.rules = all.iter().map(|rule| WorkflowRule::of(rule, &()).expect("a rule of a test is sound")).collect();
}

fn pending(world: &World) -> PendingActivityInfo {
    world.run("wf").execution.describe(world.now).pending_activities.remove(0)
}

/// A world with a pending activity `a` of type `Activity` that is tried again after 10 seconds.
fn world() -> World {
    let mut world = World::new();
    world.begin("wf", [with(activity("a"), |a| a.retry_policy = retry(0)).command()]);
    world
}

fn unpause(world: &mut World) {
    world.apply("wf", Input::UnpauseActivity(ActivitySelector::Id("a".into()), Box::default())).unwrap();
}

/// What a poll of the activity queue gets: offers that are paused over are gone.
fn poll(world: &mut World) -> Option<ActivityTask> {
    let offer = world.take_offer(QUEUE, QueueKind::Activity)?;
    let poller = world.poller();
    world.start_activity_task(&offer, poller)
}

#[test]
fn a_first_attempt_that_a_rule_fits_is_paused_when_a_worker_would_get_it() {
    let mut world = world();
    rules(&mut world, &[said("r", "ActivityId = 'a' AND ActivityState = 'Scheduled' AND Attempts = 1", "")]);
    assert!(poll(&mut world).is_none());
    assert!(world.take_offer(QUEUE, QueueKind::Activity).is_none());
    let info = pending(&world);
    assert_eq!((info.state(), info.attempt), (State::Paused, 1));
    let Some(PausedBy::Rule(by)) = info.pause_info.unwrap().paused_by else { panic!("not by a rule") };
    assert_eq!((by.rule_id.as_str(), by.identity.as_str(), by.reason.as_str()), ("r", "maker", "because"));
    // The rule still fits: who unpauses it first takes the rule away.
    unpause(&mut world);
    assert!(poll(&mut world).is_none());
    rules(&mut world, &[]);
    unpause(&mut world);
    let task = poll(&mut world).unwrap();
    world.complete_activity(&task, "done").unwrap();
}

#[test]
fn a_failed_attempt_is_paused_with_the_number_of_the_next() {
    let mut world = world();
    let task = poll(&mut world).unwrap();
    rules(&mut world, &[said("r", "ActivityType STARTS_WITH 'Act' AND (TaskQueue = 'queue' OR Attempts > 7)", "")]);
    world.fail_activity(&task, failure("no")).unwrap();
    let info = pending(&world);
    assert_eq!((info.state(), info.attempt), (State::Paused, 2));
    world.advance(secs(1000));
    assert!(world.take_offer(QUEUE, QueueKind::Activity).is_none());
    rules(&mut world, &[]);
    unpause(&mut world);
    assert_eq!(poll(&mut world).unwrap().response.attempt, 2);
}

#[test]
fn a_retry_whose_time_has_come_is_paused_instead_of_offered() {
    let mut world = world();
    let task = poll(&mut world).unwrap();
    world.fail_activity(&task, failure("no")).unwrap();
    rules(&mut world, &[said("r", "ActivityAttempt BETWEEN 2 AND 3 AND BackoffInterval >= 1", "")]);
    world.advance(secs(1000));
    assert!(world.take_offer(QUEUE, QueueKind::Activity).is_none());
    assert_eq!(pending(&world).state(), State::Paused);
}

#[test]
fn rules_are_about_the_runs_that_their_query_finds_until_they_expire() {
    for (predicate, runs, expires, fits) in [
        ("ActivityId = 'a'", "WorkflowType = 'Type' AND WorkflowId STARTS_WITH 'w'", None, true),
        ("ActivityId = 'a'", "WorkflowType = 'Other'", None, false),
        ("ActivityId = 'a'", "ExecutionStatus = 'Running'", None, true),
        ("ActivityId != 'a'", "", None, false),
        ("ActivityId = 'a'", "", Some(-1), false),
        ("ActivityId = 'a'", "", Some(1), true),
        // What was not there is neither.
        ("StartedTime > '2020-01-01T00:00:00Z'", "", None, false),
    ] {
        let mut world = world();
        let mut rule = said("r", predicate, runs);
        rule.spec.as_mut().unwrap().expiration_time = expires.map(|seconds| (world.now + secs(seconds)).to_api());
        rules(&mut world, &[rule]);
        assert_eq!(poll(&mut world).is_none(), fits, "{predicate}, {runs}, {expires:?}");
    }
}

#[test]
fn a_rule_without_trigger_or_action_does_nothing() {
    let mut world = world();
    let no_action = {
        let mut rule = said("a", "ActivityId = 'a'", "");
        rule.spec.as_mut().unwrap().actions.clear();
        rule
    };
    let no_trigger = {
        let mut rule = said("b", "ActivityId = 'a'", "");
        rule.spec.as_mut().unwrap().trigger = None;
        rule
    };
    rules(&mut world, &[no_action, no_trigger]);
    assert!(poll(&mut world).is_some());
}

#[test]
fn predicates_that_can_never_fit_are_refused() {
    let why = |predicate: &str, runs: &str| WorkflowRule::of(&said("r", predicate, runs), &()).unwrap_err().detail();
    assert!(why("", "").contains("the predicate of the trigger is empty"));
    assert!(why("Type = 'x'", "").contains("Type"));
    assert!(why("Attempts = 'many'", "").contains("Attempts"));
    assert!(why("Attempts = ", "").contains("syntax error"));
    assert!(why("ActivityId = 'a'", "Nothing = 1").contains("Nothing"));
}

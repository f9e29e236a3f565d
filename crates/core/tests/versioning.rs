//! Worker versioning of runs: spec 05 §9.2.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use std::{collections::BTreeSet, sync::Arc};

use harness::{commands::*, history::*, options::*, *};
use sempre_api::v1::{
    enums::{ContinueAsNewVersioningBehavior, ParentClosePolicy, VersioningBehavior},
    workflow::{
        VersioningOverride, WorkflowExecutionOptions,
        versioning_override::{OneTimeOverride, Override, PinnedOverride, PinnedOverrideBehavior},
    },
};
use sempre_core::{Deployments, Refusal, Reply, Route, Version, deployment::Ramp, input::Poller, transition::QueueKind};

fn version(build: &str) -> Arc<Version> {
    Arc::new(Version { deployment: "d".into(), build_id: build.into() })
}

/// The queues of both kinds have versions 1 and 2; new work goes to `current`, and by `ramp` to a share of the ids.
fn route(world: &mut World, current: Option<&str>, ramp: Option<(&str, f32)>, revision: i64) {
    let mut deployments = Deployments::default();
    for kind in [QueueKind::Workflow, QueueKind::Activity] {
        let versions: BTreeSet<_> = [version("1"), version("2")].into();
        deployments.members.entry(kind).or_default().insert(QUEUE.into(), versions);
        let ramp = ramp.map(|(build, percentage)| Ramp { version: Some(version(build)), percentage, revision });
        let route = Route { current: current.map(version), revision, ramp, ..Route::default() };
        deployments.routes.entry(kind).or_default().insert(QUEUE.into(), Arc::new(route));
    }
    world.namespace.deployments = Arc::new(deployments);
}

/// Version 1 is current, and its workers come.
fn world(behavior: VersioningBehavior) -> World {
    let mut world = World::new();
    route(&mut world, Some("1"), None, 1);
    worker(&mut world, "1", behavior);
    world
}

/// Workers of this version come from now on.
fn worker(world: &mut World, build: &str, behavior: VersioningBehavior) {
    world.worker = Some(version(build));
    world.behavior = behavior;
}

/// The lines that offers wait on.
fn lines(world: &World) -> Vec<(QueueKind, Option<String>)> {
    let line = |o: &sempre_core::transition::Offer| (o.queue.kind, o.queue.version.as_ref().map(|v| v.build_id.clone()));
    let mut lines: Vec<_> = world.offers.iter().map(line).collect();
    lines.sort();
    lines
}

fn pinned(build: &str) -> Option<VersioningOverride> {
    let pinned = PinnedOverride { behavior: PinnedOverrideBehavior::Pinned as i32, version: Some(version(build).to_api()) };
    Some(VersioningOverride { r#override: Some(Override::Pinned(pinned)), ..Default::default() })
}

fn once(build: &str) -> Option<VersioningOverride> {
    let once = OneTimeOverride { target_deployment_version: Some(version(build).to_api()) };
    Some(VersioningOverride { r#override: Some(Override::OneTime(once)), ..Default::default() })
}

fn update(world: &mut World, versioning_override: Option<VersioningOverride>) -> Result<Reply, Refusal> {
    let options = WorkflowExecutionOptions { versioning_override, ..Default::default() };
    world.update_options(options_request(&["versioning_override"], options))
}

/// Behavior, version and transition as described; with the search attributes.
fn described(world: &World, id: &str) -> String {
    let run = world.run(id);
    let info = run.execution.describe(world.now).workflow_execution_info.unwrap();
    let versions = info.versioning_info.unwrap_or_default();
    let mut text = format!("{:?} {}", versions.behavior(), versions.deployment_version.map_or("-".into(), |v| v.build_id));
    if let Some(transition) = versions.version_transition {
        text += &format!(" to {}", transition.deployment_version.map_or("-".into(), |v| v.build_id));
    }
    for (name, payload) in info.search_attributes.unwrap().indexed_fields {
        if name.contains("Version") || name == "BuildIds" {
            let short = name.trim_start_matches("Temporal").replace("Worker", "").replace("Deployment", "");
            text += &format!(", {short} {}", String::from_utf8_lossy(&payload.data));
        }
    }
    text
}

#[test]
fn a_run_is_pinned_by_its_first_completed_task_and_its_tasks_stay() {
    let mut world = world(VersioningBehavior::Pinned);
    world.start("w");
    assert_eq!(lines(&world), [(QueueKind::Workflow, None)], "the queue's route decides about the first");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(described(&world, "w"), "Unspecified - to 1");
    world.complete(&task, [activity("a").command()]);
    assert_eq!(
        described(&world, "w"),
        "Pinned 1, BuildIds [\"pinned:d:1\"], UsedVersions [\"d:1\"], Version \"d:1\", WorkflowVersioningBehavior \"Pinned\""
    );
    world.signal("w", "s").unwrap();
    assert_eq!(lines(&world), [(QueueKind::Workflow, Some("1".into())), (QueueKind::Activity, Some("1".into()))]);
    // Another version becomes current: this run's tasks stay where they are, and its worker is told.
    route(&mut world, Some("2"), None, 2);
    let obsolete = world.offers.iter().find(|o| o.queue.kind == QueueKind::Workflow).cloned().unwrap();
    let other = Poller { identity: WORKER.into(), request_id: "other".into(), version: Some(version("2")), ..Poller::default() };
    assert!(world.start_workflow_task(&obsolete, other).is_none(), "not for workers of another version");
    world.work([]);
    world.signal("w", "t").unwrap();
    world.work([complete()]);
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3, by 1, Pinned}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowTaskStarted {scheduled 7, could go elsewhere}
        9 WorkflowTaskCompleted {scheduled 7, started 8, by 1, Pinned}
        10 WorkflowExecutionSignaled {name t}
        11 WorkflowTaskScheduled
        12 WorkflowTaskStarted {scheduled 11, could go elsewhere}
        13 WorkflowTaskCompleted {scheduled 11, started 12, by 1, Pinned}
        14 WorkflowExecutionCompleted {wtc 13}
        ",
    );
}

#[test]
fn an_activity_whose_queue_joins_the_version_meanwhile_is_offered_to_the_version() {
    let mut world = world(VersioningBehavior::Pinned);
    let mut deployments = Deployments::clone(&world.namespace.deployments);
    let members = deployments.members.remove(&QueueKind::Activity).unwrap();
    world.namespace.deployments = Arc::new(deployments.clone());
    world.begin("w", [activity("a").command()]);
    assert_eq!(lines(&world), [(QueueKind::Activity, None)], "the version has never polled the queue");
    deployments.members.insert(QueueKind::Activity, members);
    world.namespace.deployments = Arc::new(deployments);
    // The offer that waits is no longer for anybody; a second poll finds it gone.
    let offer = world.offers[0].clone();
    for request in ["one", "two"] {
        let plain = Poller { identity: WORKER.into(), request_id: request.into(), ..Poller::default() };
        assert!(world.start_activity_task(&offer, plain).is_none(), "not for workers without a version");
        assert_eq!(lines(&world), [(QueueKind::Activity, Some("1".into()))]);
    }
    let task = world.poll_activity().expect("the version's worker gets it");
    world.complete_activity(&task, "done").unwrap();
    world.work([complete()]);
}

#[test]
fn automatic_upgrade_moves_the_run_and_its_activities_wait_for_it() {
    let mut world = world(VersioningBehavior::AutoUpgrade);
    world.begin("w", [activity("a").command()]);
    assert_eq!(
        described(&world, "w"),
        "AutoUpgrade 1, UsedVersions [\"d:1\"], Version \"d:1\", WorkflowVersioningBehavior \"AutoUpgrade\""
    );
    assert_eq!(lines(&world), [(QueueKind::Activity, None)]);
    route(&mut world, Some("2"), None, 2);
    worker(&mut world, "2", VersioningBehavior::AutoUpgrade);
    // An activity's poll is what finds out: it gets nothing, and a workflow task brings the run over first.
    let offer = world.offers[0].clone();
    let poller = world.poller();
    assert!(world.start_activity_task(&offer, poller).is_none());
    assert_eq!(lines(&world), [(QueueKind::Workflow, None)]);
    assert!(described(&world, "w").starts_with("AutoUpgrade 1 to 2"));
    world.sleep(secs(1));
    assert_eq!(lines(&world), [(QueueKind::Workflow, None)], "nothing is offered meanwhile");
    world.work([]);
    assert!(described(&world, "w").starts_with("AutoUpgrade 2, UsedVersions [\"d:1\",\"d:2\"]"));
    let task = world.poll_activity().expect("on offer again");
    world.complete_activity(&task, "done").unwrap();
    world.work([complete()]);
}

#[test]
fn a_run_that_goes_back_to_workers_without_a_version() {
    let mut world = world(VersioningBehavior::AutoUpgrade);
    world.begin("w", []);
    route(&mut world, None, None, 2);
    (world.worker, world.behavior) = (None, VersioningBehavior::Unspecified);
    world.signal("w", "s").unwrap();
    let task = world.poll_workflow(QUEUE).unwrap();
    assert!(described(&world, "w").starts_with("AutoUpgrade 1 to -"));
    world.complete(&task, []);
    assert_eq!(described(&world, "w"), "Unspecified -, UsedVersions [\"d:1\"]");
}

#[test]
fn a_sticky_worker_of_another_version_is_passed_over() {
    let mut world = world(VersioningBehavior::AutoUpgrade);
    world.start("w");
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("own")).unwrap();
    world.signal("w", "s").unwrap();
    assert!(world.offers[0].queue.sticky);
    let task = world.poll_workflow("own").unwrap();
    world.complete_with(&task, [], |r| r.sticky_attributes = sticky("own")).unwrap();
    route(&mut world, Some("2"), None, 2);
    world.signal("w", "t").unwrap();
    assert!(!world.offers[0].queue.sticky);
}

#[test]
fn an_override_moves_what_waits_and_is_taken_back() {
    let mut world = world(VersioningBehavior::AutoUpgrade);
    world.begin("w", [activity("a").command()]);
    world.signal("w", "s").unwrap();
    assert_eq!(lines(&world), [(QueueKind::Workflow, None), (QueueKind::Activity, None)]);
    let Ok(Reply::Options(answer)) = update(&mut world, pinned("2")) else { panic!("refused") };
    assert!(answer.workflow_execution_options.unwrap().versioning_override.is_some());
    assert_eq!(lines(&world), [(QueueKind::Workflow, Some("2".into())), (QueueKind::Activity, Some("2".into()))]);
    assert_eq!(
        described(&world, "w"),
        "AutoUpgrade 1, BuildIds [\"pinned:d:2\"], UsedVersions [\"d:1\"], Version \"d:2\", WorkflowVersioningBehavior \"Pinned\""
    );
    update(&mut world, None).unwrap();
    assert_eq!(lines(&world), [(QueueKind::Workflow, None), (QueueKind::Activity, None)]);
    let refused = update(&mut world, pinned("3")).unwrap_err();
    let text = format!("Pinned version 'd:3' is not present in task queue '{QUEUE}' of type 'Workflow'");
    assert_eq!(refused, Refusal::FailedPrecondition(text));
    assert_history(
        &world,
        "w",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
        3 WorkflowTaskStarted {scheduled 2}
        4 WorkflowTaskCompleted {scheduled 2, started 3, by 1, AutoUpgrade}
        5 ActivityTaskScheduled {id a, wtc 4}
        6 WorkflowExecutionSignaled {name s}
        7 WorkflowTaskScheduled
        8 WorkflowExecutionOptionsUpdated {priority 0, override pinned to 2}
        9 WorkflowExecutionOptionsUpdated {priority 0}
        ",
    );
}

#[test]
fn an_override_for_one_task_is_over_when_that_is_completed() {
    let mut world = world(VersioningBehavior::AutoUpgrade);
    world.start_with(with(start_request("w"), |r| r.versioning_override = once("2"))).unwrap();
    assert_eq!(lines(&world), [(QueueKind::Workflow, Some("2".into()))]);
    worker(&mut world, "2", VersioningBehavior::AutoUpgrade);
    world.work([]);
    assert!(described(&world, "w").starts_with("AutoUpgrade 2"));
    assert!(
        world
            .run("w")
            .execution
            .describe(world.now)
            .workflow_execution_info
            .unwrap()
            .versioning_info
            .unwrap()
            .versioning_override
            .is_none()
    );
    world.signal("w", "s").unwrap();
    assert_eq!(lines(&world), [(QueueKind::Workflow, None)]);
    worker(&mut world, "1", VersioningBehavior::AutoUpgrade);
    world.work([complete()]);
}

#[test]
fn children_and_successors_of_a_pinned_run_begin_pinned() {
    let mut world = world(VersioningBehavior::Pinned);
    world.begin("w", [child("c", ParentClosePolicy::Abandon).command()]);
    world.deliver();
    route(&mut world, Some("2"), None, 2);
    assert_history(&world, "c", "1 WorkflowExecutionStarted {parent w/1, pinned to 1}\n2 WorkflowTaskScheduled");
    let waiting: BTreeSet<_> = lines(&world).into_iter().collect();
    assert_eq!(waiting, [(QueueKind::Workflow, Some("1".into()))].into());
    while let Some(task) = world.poll_workflow(QUEUE) {
        let last = task.workflow_id == "w";
        world.complete(&task, last.then(|| continue_as_new().command()));
        if last {
            break;
        }
    }
    assert_history(&world, "w", "1 WorkflowExecutionStarted {Workflow, pinned to 1, declined 2}\n2 WorkflowTaskScheduled");
    // What was declined is not told again.
    while let Some(task) = world.poll_workflow(QUEUE) {
        world.complete(&task, []);
    }
    let started = world.run("w").events()[2].clone();
    assert!(format!("{started:?}").contains("target_worker_deployment_version_changed: false"));
}

#[test]
fn a_continue_as_new_may_leave_the_version() {
    let mut world = world(VersioningBehavior::Pinned);
    let leave = |to: ContinueAsNewVersioningBehavior| with(continue_as_new(), |a| a.initial_versioning_behavior = to as i32).command();
    world.start("w");
    route(&mut world, Some("1"), Some(("2", 0.0)), 2);
    world.work([leave(ContinueAsNewVersioningBehavior::UseRampingVersion)]);
    assert_history(&world, "w", "1 WorkflowExecutionStarted {Workflow, upgrades from 1, revision 2}\n2 WorkflowTaskScheduled");
    let routing = world.offers[0].routing.clone().unwrap();
    assert!(routing.ramping && routing.pinned.is_none());
    worker(&mut world, "2", VersioningBehavior::Pinned);
    route(&mut world, Some("1"), None, 3);
    world.work([leave(ContinueAsNewVersioningBehavior::AutoUpgrade)]);
    assert_history(&world, "w", "1 WorkflowExecutionStarted {Workflow}\n2 WorkflowTaskScheduled");
}

#[test]
fn behaviors_without_a_version_are_refused() {
    let mut world = World::new();
    world.start("w");
    let task = world.poll_workflow(QUEUE).unwrap();
    let refused = world.complete_with(&task, [], |r| r.versioning_behavior = VersioningBehavior::Pinned as i32).unwrap_err();
    let text = "versioning behavior cannot be specified without deployment options being set with versioned mode";
    assert_eq!(refused, Refusal::InvalidArgument(text.into()));
}

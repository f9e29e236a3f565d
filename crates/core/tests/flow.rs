//! Flow rules: which starts go, which wait, and what becomes of those that wait (docs/flow.md).

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod harness;

use harness::{commands::*, flow::*, history::*, *};
use sempre_api::{
    sempre::v1::{FlowDebounce, FlowKey, FlowKeyKind, FlowMatch, FlowRate, FlowRule, FlowSingleton},
    v1::{
        common::{Priority, RetryPolicy},
        enums::{ParentClosePolicy, WorkflowExecutionStatus as Status, WorkflowIdConflictPolicy},
        history::history_event::Attributes,
        workflowservice::StartWorkflowExecutionRequest,
    },
};
use sempre_core::{
    Input, Refusal, Timestamp,
    flow::{lines::Why, report::Reason, rule::check},
    input::{CancelRequest, SignalRequest},
    transition::{QueueKind, UpdateStatus},
};

fn max_open(name: &str, max: i32) -> FlowRule {
    FlowRule { max_open: max, ..rule(name) }
}

fn tenant(id: &str, key: &str) -> StartWorkflowExecutionRequest {
    let priority = Priority { fairness_key: key.into(), ..Default::default() };
    StartWorkflowExecutionRequest { priority: Some(priority), ..start_request(id) }
}

fn status(world: &World, id: &str) -> Status {
    world.run(id).execution.status()
}

/// Ends the run of a workflow that was let go.
fn finish(world: &mut World, id: &str) {
    world.terminate(id, "done").unwrap();
    world.turn();
}

#[test]
fn a_start_without_room_waits_for_its_turn_and_goes_when_a_run_closes() {
    let mut world = World::new();
    world.set_rules([max_open("two", 2)]);
    for id in ["a", "b", "c", "d"] {
        world.start(id);
    }
    world.turn();
    assert_eq!(world.going(), ["a", "b"]);
    assert_history(&world, "c", "1 WorkflowExecutionStarted");
    let (c, d) = (world.standing("c").unwrap(), world.standing("d").unwrap());
    assert_eq!((c.place, d.place, c.rule.as_str()), (1, 2, "two"));
    assert_eq!(c.reason, Reason::Blocked(Why::MaxOpen));
    assert_eq!(c.by.unwrap().workflow.workflow_id, "a");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "a");
    world.complete(&task, [complete()]);
    world.turn();
    assert_eq!(world.going(), ["b", "c"]);
    assert_history(
        &world,
        "c",
        "
        1 WorkflowExecutionStarted
        2 WorkflowTaskScheduled
    ",
    );
    assert!(world.standing("c").is_none());
    finish(&mut world, "b");
    finish(&mut world, "c");
    finish(&mut world, "d");
    assert!(world.flow_rows.is_empty());
}

#[test]
fn each_value_of_the_key_has_room_of_its_own() {
    let mut world = World::new();
    world.set_rules([FlowRule { key: by_fairness_key(), ..max_open("tenants", 1) }]);
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("none", "")] {
        world.start_with(tenant(id, key)).unwrap();
    }
    world.turn();
    // A start without the key is not of the rule.
    assert_eq!(world.going(), ["a1", "b1", "none"]);
    assert_eq!(world.standing("a2").unwrap().key, "a");
}

#[test]
fn a_rule_is_about_starts_that_meet_all_its_conditions() {
    let conditions = FlowMatch {
        workflow_types: vec!["Other".into(), "Type".into()],
        workflow_id_prefix: "order-".into(),
        search_attribute: "Number".into(),
        search_attribute_value: "7".into(),
        fairness_key: "a".into(),
        ..Default::default()
    };
    let says = FlowRule { name: "all".into(), r#match: Some(conditions), max_open: 1, ..Default::default() };
    let mut world = World::new();
    world.set_rules([says]);
    let fitting = |id: &str| {
        with(tenant(id, "a"), |r| {
            let number = sempre_api::v1::common::Payload { data: "7".into(), ..payload("") };
            let fields = [("Number".to_string(), number)].into();
            r.search_attributes = Some(sempre_api::v1::common::SearchAttributes { indexed_fields: fields });
        })
    };
    world.start_with(fitting("order-1")).unwrap();
    world.start_with(fitting("order-2")).unwrap();
    world.start_with(fitting("other")).unwrap();
    world.start_with(with(fitting("order-3"), |r| r.search_attributes = None)).unwrap();
    world.start_with(with(fitting("order-4"), |r| r.priority = None)).unwrap();
    world.start_with(with(fitting("order-5"), |r| r.workflow_type.as_mut().unwrap().name = "Third".into())).unwrap();
    world.turn();
    assert_eq!(world.going(), ["order-1", "order-3", "order-4", "order-5", "other"]);
}

#[test]
fn starts_go_no_faster_than_the_rate_and_a_burst_is_saved_up() {
    let rate = FlowRate { starts: 1, per: duration(10), burst: 2 };
    let mut world = World::new();
    world.set_rules([FlowRule { rate: Some(rate), ..rule("slow") }]);
    for id in ["a", "b", "c", "d"] {
        world.start(id);
    }
    world.turn();
    assert_eq!(world.going(), ["a", "b"]);
    assert_eq!(world.standing("c").unwrap().reason, Reason::Blocked(Why::Rate));
    assert_eq!(world.waits_for("c"), Some(10));
    world.pass(secs(10));
    assert_eq!(world.going(), ["a", "b", "c"]);
    world.pass(secs(9));
    assert_eq!(world.going(), ["a", "b", "c"]);
    world.pass(secs(1));
    assert_eq!(world.going(), ["a", "b", "c", "d"]);
    // Nothing counts of runs that went: there is no row of them.
    assert!(world.flow_rows.is_empty());
    world.pass(secs(20));
    for id in ["e", "f", "g"] {
        world.start(id);
    }
    world.turn();
    assert_eq!(world.going(), ["a", "b", "c", "d", "e", "f"]);
}

#[test]
fn after_a_restart_a_rate_has_nothing_saved_up_and_places_are_as_before() {
    let rate = FlowRate { starts: 1, per: duration(10), burst: 2 };
    let mut world = World::new();
    world.set_rules([FlowRule { rate: Some(rate), ..max_open("slow", 3) }]);
    for id in ["a", "b", "c", "d"] {
        world.start(id);
        world.pass(secs(1));
    }
    assert_eq!(world.going(), ["a", "b"]);
    world.restart_lines();
    assert_eq!(world.going(), ["a", "b"]);
    assert_eq!((world.standing("c").unwrap().place, world.standing("d").unwrap().place), (1, 2));
    world.pass(secs(10));
    assert_eq!(world.going(), ["a", "b", "c"]);
    world.pass(secs(60));
    // As many as may be are open.
    assert_eq!(world.going(), ["a", "b", "c"]);
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b", "c", "d"]);
}

#[test]
fn who_waits_takes_signals_queries_updates_and_describes_why() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start("b");
    world.turn();
    world.signal("b", "hello").unwrap();
    assert_eq!(world.update("b", "u").unwrap(), UpdateStatus::Admitted);
    let query = Input::Query { id: 1, query: Default::default(), reject_condition: 0, until: world.now + secs(10) };
    assert!(matches!(world.apply("b", query), Err(Refusal::WorkflowNotReady(_))));
    assert_history(
        &world,
        "b",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled {name hello}
    ",
    );
    let fields = world.run("b").record.search_attributes.clone();
    let text = |name: &str| fields.get(name).map(|payload| String::from_utf8(payload.data.to_vec()).unwrap());
    assert_eq!(text("SempreWaitingFor").as_deref(), Some("\"flow-rule\""));
    assert_eq!(text("SempreFlowRules").as_deref(), Some("[\"one\"]"));
    finish(&mut world, "a");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.workflow_id.as_str(), task.response.messages.len()), ("b", 1));
    assert!(!world.run("b").record.search_attributes.contains_key("SempreWaitingFor"));
    assert!(world.run("b").record.search_attributes.contains_key("SempreFlowRules"));
}

#[test]
fn a_cancel_request_ends_a_start_that_waits() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    for id in ["a", "b", "c"] {
        world.start(id);
    }
    world.request_cancel("b", "changed my mind").unwrap();
    world.turn();
    assert_history(
        &world,
        "b",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionCancelRequested {cause changed my mind}
        3 WorkflowExecutionCanceled {wtc 0}
    ",
    );
    // One that goes is asked, as ever.
    world.request_cancel("a", "enough").unwrap();
    assert_eq!(status(&world, "a"), Status::Running);
    assert_eq!(world.standing("c").unwrap().place, 1);
    world.terminate("c", "enough").unwrap();
    assert_eq!(world.flow_rows.len(), 1);
}

#[test]
fn a_singleton_lets_one_run_of_a_key_be_open_and_others_wait() {
    let mut world = World::new();
    world.set_rules([FlowRule { key: by_fairness_key(), singleton: FlowSingleton::Wait as i32, ..rule("single") }]);
    world.start_with(tenant("a", "x")).unwrap();
    world.start_with(tenant("b", "x")).unwrap();
    world.start_with(tenant("c", "y")).unwrap();
    world.turn();
    assert_eq!(world.going(), ["a", "c"]);
    assert_eq!(world.standing("b").unwrap().reason, Reason::Blocked(Why::Singleton));
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b", "c"]);
}

#[test]
fn a_refusing_singleton_names_the_run_in_the_way() {
    let mut world = World::new();
    world.set_rules([FlowRule { key: by_fairness_key(), singleton: FlowSingleton::Refuse as i32, ..rule("single") }]);
    world.start_with(tenant("a", "x")).unwrap();
    let run = world.current_run("a").to_string();
    match world.start_with(tenant("b", "x")) {
        Err(Refusal::AlreadyStarted { message, run_id, .. }) => {
            assert_eq!(run_id, run);
            assert_eq!(message, format!("Flow rule \"single\" lets one run be open for the key \"x\". WorkflowId: a, RunId: {run}."));
        }
        other => panic!("not refused: {other:?}"),
    }
    // Asked again by the same request, the first start has its answer.
    let again = with(tenant("c", "z"), |r| r.request_id = "again".into());
    world.start_with(again.clone()).unwrap();
    world.start_with(again).unwrap();
    // One that takes the place of a run of its own id does not stand in its own way.
    let takes = with(tenant("a", "x"), |r| r.workflow_id_conflict_policy = WorkflowIdConflictPolicy::TerminateExisting as i32);
    world.start_with(takes).unwrap();
    finish(&mut world, "a");
    world.start_with(tenant("b", "x")).unwrap();
}

#[test]
fn a_replacing_singleton_ends_the_older_run_and_never_has_two() {
    let mut world = World::new();
    world.set_rules([FlowRule { key: by_fairness_key(), singleton: FlowSingleton::Replace as i32, ..rule("latest") }]);
    world.start_with(tenant("a", "x")).unwrap();
    world.start_with(tenant("b", "x")).unwrap();
    assert_eq!(world.going(), ["a"]);
    world.turn();
    assert_eq!((status(&world, "a"), world.going()), (Status::Terminated, vec!["b".to_string()]));
    world.start_with(tenant("c", "x")).unwrap();
    world.start_with(tenant("d", "x")).unwrap();
    world.turn();
    assert_eq!(world.going(), ["d"]);
    assert_eq!((status(&world, "b"), status(&world, "c")), (Status::Terminated, Status::Terminated));
}

fn debounced(quiet: i64, max_wait: Option<i64>) -> FlowRule {
    let debounce = FlowDebounce { quiet: duration(quiet), max_wait: max_wait.and_then(duration) };
    FlowRule { key: by_fairness_key(), debounce: Some(debounce), ..rule("calm") }
}

#[test]
fn of_starts_in_quick_succession_the_newest_goes_when_it_is_quiet() {
    let mut world = World::new();
    world.set_rules([debounced(10, None)]);
    world.start_with(tenant("a", "x")).unwrap();
    world.pass(secs(6));
    world.start_with(tenant("b", "x")).unwrap();
    world.start_with(tenant("other", "y")).unwrap();
    world.turn();
    assert_eq!(status(&world, "a"), Status::Terminated);
    assert_history(
        &world,
        "a",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionTerminated {reason replaced by b (calm)}
    ",
    );
    assert_eq!((world.standing("b").unwrap().reason, world.waits_for("b")), (Reason::Blocked(Why::Debounce), Some(10)));
    world.pass(secs(9));
    assert!(world.going().is_empty());
    world.pass(secs(1));
    assert_eq!(world.going(), ["b", "other"]);
    // Who went is not replaced.
    world.start_with(tenant("c", "x")).unwrap();
    world.pass(secs(10));
    assert_eq!(world.going(), ["b", "c", "other"]);
}

#[test]
fn a_debounce_does_not_wait_longer_than_it_may() {
    let mut world = World::new();
    world.set_rules([debounced(10, Some(25))]);
    for id in ["a", "b", "c", "d"] {
        world.start_with(tenant(id, "x")).unwrap();
        world.pass(secs(7));
    }
    // The first came 28 s ago, the last 7 s ago.
    assert_eq!(world.going(), ["d"]);
    // What has begun before is remembered over a restart.
    world.start_with(tenant("e", "x")).unwrap();
    world.pass(secs(9));
    world.start_with(tenant("f", "x")).unwrap();
    world.turn();
    world.restart_lines();
    world.pass(secs(9));
    world.start_with(tenant("g", "x")).unwrap();
    world.pass(secs(7));
    assert_eq!(world.going(), ["d", "g"]);
}

#[test]
fn a_newer_start_of_the_same_id_takes_the_place_of_one_that_a_debounce_holds() {
    let by_id = Some(FlowKey { kind: FlowKeyKind::WorkflowId as i32, ..Default::default() });
    let mut world = World::new();
    world.set_rules([FlowRule { key: by_id, ..debounced(10, None) }]);
    world.start_with(with(start_request("a"), |r| r.input = payloads("old"))).unwrap();
    let first = world.current_run("a");
    world.pass(secs(6));
    world.start_with(with(start_request("a"), |r| r.input = payloads("new"))).unwrap();
    assert_ne!(world.current_run("a"), first);
    world.pass(secs(9));
    assert_eq!(world.going(), Vec::<String>::new());
    // Who wants to join the one that waits does, and a signal-with-start signals it.
    let joins = with(start_request("a"), |r| r.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting as i32);
    assert!(!world.start_with(joins).unwrap().started);
    let signal = SignalRequest { name: "go".into(), ..Default::default() };
    assert!(!world.signal_with_start(start_request("a"), signal).unwrap().started);
    world.pass(secs(1));
    assert_eq!(world.going(), ["a"]);
    assert_eq!(world.chains["a"].len(), 2);
    // It has begun: a further start is what it is without the rule.
    assert!(matches!(world.start_with(start_request("a")), Err(Refusal::AlreadyStarted { .. })));
}

#[test]
fn a_signal_with_start_and_an_update_with_start_wait_like_a_start() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.signal_with_start(start_request("b"), SignalRequest { name: "s".into(), ..Default::default() }).unwrap();
    world.signal_with_start(start_request("b"), SignalRequest { name: "t".into(), ..Default::default() }).unwrap();
    let (started, update) = world.update_with_start(start_request("c"), "u").unwrap();
    assert!(started.started && update == UpdateStatus::Admitted);
    world.turn();
    assert_eq!(world.going(), ["a"]);
    finish(&mut world, "a");
    assert_history(
        &world,
        "b",
        "
        1 WorkflowExecutionStarted
        2 WorkflowExecutionSignaled {name s}
        3 WorkflowExecutionSignaled {name t}
        4 WorkflowTaskScheduled
    ",
    );
    finish(&mut world, "b");
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!((task.workflow_id.as_str(), task.response.messages.len()), ("c", 1));
}

#[test]
fn an_eager_start_is_eager_if_it_need_not_wait() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    let eager = |id: &str| sempre_core::StartInput {
        request: Box::new(with(start_request(id), |r| r.request_eager_execution = true)),
        signal: None,
        child_of: None,
        watcher: None,
    };
    assert!(world.start_input(eager("a")).unwrap().1.is_some());
    assert!(world.start_input(eager("b")).unwrap().1.is_none());
    let accepted = |id: &str| match world.run(id).events()[0].attributes.clone() {
        Some(Attributes::WorkflowExecutionStartedEventAttributes(a)) => a.eager_execution_accepted,
        other => panic!("{other:?}"),
    };
    assert_eq!((accepted("a"), accepted("b")), (true, false));
    assert_eq!(world.going(), ["a"]);
}

#[test]
fn continue_as_new_and_retries_keep_the_place() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    let retry = RetryPolicy { initial_interval: duration(5), backoff_coefficient: 1.0, maximum_attempts: 3, ..Default::default() };
    world.start_with(with(start_request("a"), |r| r.retry_policy = Some(retry.clone()))).unwrap();
    world.start("b");
    world.work([continue_as_new().command()]);
    world.turn();
    assert_eq!(world.going(), ["a"]);
    let task = world.poll_workflow(QUEUE).unwrap();
    assert_eq!(task.workflow_id, "a");
    world.complete(&task, [complete()]);
    world.turn();
    assert_eq!(world.going(), ["b"]);
    finish(&mut world, "b");
    world.start_with(with(start_request("c"), |r| r.retry_policy = Some(retry))).unwrap();
    world.start("d");
    world.work([fail("once")]);
    world.turn();
    // It waits for its retry in its place.
    assert_eq!(world.going(), ["c"]);
    world.pass(secs(5));
    assert_eq!(world.poll_workflow(QUEUE).unwrap().workflow_id, "c");
    assert!(world.standing("d").is_some());
}

#[test]
fn a_delayed_start_and_each_run_of_cron_come_into_the_line_when_they_are_due() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start_with(with(start_request("later"), |r| r.workflow_start_delay = duration(30))).unwrap();
    world.start("a");
    world.turn();
    assert!(world.standing("later").is_none());
    assert_eq!(world.going(), ["a"]);
    world.pass(secs(30));
    assert_eq!(world.standing("later").unwrap().place, 1);
    finish(&mut world, "a");
    assert_eq!(world.going(), ["later"]);
    finish(&mut world, "later");
    world.start_with(with(start_request("cron"), |r| r.cron_schedule = "* * * * *".into())).unwrap();
    world.start("b");
    world.pass(secs(60));
    assert_eq!(world.standing("cron").unwrap().place, 1);
    finish(&mut world, "b");
    assert_eq!(world.poll_workflow(QUEUE).map(|task| world.complete(&task, [complete()])).map(|_| ()), Some(()));
    world.turn();
    // Until the next time it has no place.
    world.start("c");
    world.turn();
    assert!(world.going().contains(&"c".to_string()));
    world.pass(secs(60));
    assert_eq!(world.standing("cron").unwrap().place, 1);
}

#[test]
fn each_run_of_cron_comes_into_the_line_of_a_rate_too() {
    let rate = FlowRate { starts: 1, per: duration(600), burst: 0 };
    let mut world = World::new();
    world.set_rules([FlowRule { rate: Some(rate), ..rule("slow") }]);
    world.start_with(with(start_request("cron"), |r| r.cron_schedule = "* * * * *".into())).unwrap();
    world.pass(secs(60));
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [complete()]);
    world.turn();
    assert!(world.standing("cron").is_none(), "it is not due");
    world.pass(secs(60));
    assert_eq!(world.standing("cron").unwrap().reason, Reason::Blocked(Why::Rate));
    assert!(world.poll_workflow(QUEUE).is_none());
    let rest = world.waits_for("cron").unwrap();
    assert!((480..=540).contains(&rest), "ten minutes after the first: {rest}");
    world.pass(secs(rest + 1));
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [complete()]);
    world.pass(secs(60));
    assert_eq!(world.standing("cron").unwrap().reason, Reason::Blocked(Why::Rate));
    // The rule goes, and with it what it has to do with the chain.
    world.set_rules([]);
    let task = world.poll_workflow(QUEUE).unwrap();
    world.complete(&task, [complete()]);
    world.turn();
    world.pass(secs(60));
    assert!(world.poll_workflow(QUEUE).is_some());
    assert!(world.flow_rows.is_empty());
}

#[test]
fn a_start_that_knows_an_older_version_of_a_rule_is_of_the_one_that_has_counted_it() {
    let mut world = World::new();
    world.set_rules([FlowRule { rate: Some(FlowRate { starts: 1000, per: duration(1), burst: 1000 }), ..rule("one") }]);
    world.set_rules_of_gate([max_open("one", 1)]);
    world.start("a");
    world.start("b");
    world.turn();
    assert_eq!(world.going(), ["a"]);
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b"], "the place of a run that is gone is free");
    finish(&mut world, "b");
    world.start("c");
    assert_eq!(world.going(), ["c"]);
    // And the other way.
    world.set_rules([max_open("one", 1)]);
    finish(&mut world, "c");
    world.set_rules_of_gate([FlowRule { rate: Some(FlowRate { starts: 1000, per: duration(1), burst: 1000 }), ..rule("one") }]);
    world.start("d");
    assert!(world.flow_rows.is_empty(), "it was not counted");
}

#[test]
fn a_signal_with_start_ends_a_delay_but_not_the_wait() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start_with(with(start_request("b"), |r| r.workflow_start_delay = duration(30))).unwrap();
    world.signal_with_start(start_request("b"), SignalRequest { name: "s".into(), ..Default::default() }).unwrap();
    world.turn();
    assert_eq!(world.standing("b").unwrap().place, 1);
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b"]);
}

#[test]
fn a_child_waits_only_for_rules_that_are_about_children() {
    let own = |name: &str, children: bool| FlowRule {
        r#match: Some(FlowMatch { workflow_types: vec!["Child".into()], children, ..Default::default() }),
        ..max_open(name, 1)
    };
    let children = |world: &mut World| {
        world.begin(
            "parent",
            [child("one", ParentClosePolicy::Abandon), child("two", ParentClosePolicy::Abandon)].map(IntoCommand::command),
        );
        for _ in 0..10 {
            world.deliver();
            world.turn();
        }
    };
    let mut world = World::new();
    world.set_rules([own("not", false)]);
    children(&mut world);
    assert_eq!(world.going(), ["one", "parent", "two"]);
    let mut world = World::new();
    world.set_rules([own("these", true)]);
    children(&mut world);
    assert_eq!(world.going(), ["one", "parent"]);
    // The parent knows that its child is started; a cancel request that it sends ends it.
    assert_eq!(world.standing("two").unwrap().place, 1);
    let parent = world.run("parent").execution.key().clone();
    let request = CancelRequest { parent: Some(parent), ..Default::default() };
    world.apply("two", Input::RequestCancel(Box::new(request))).unwrap();
    assert_eq!(status(&world, "two"), Status::Canceled);
}

#[test]
fn the_time_of_a_run_begins_when_it_goes_and_that_of_its_chain_when_it_is_started() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start_with(with(start_request("run"), |r| r.workflow_run_timeout = duration(10))).unwrap();
    world.start_with(with(start_request("chain"), |r| r.workflow_execution_timeout = duration(60))).unwrap();
    world.pass(secs(50));
    assert_eq!(status(&world, "run"), Status::Running);
    finish(&mut world, "a");
    world.pass(secs(9));
    assert_eq!((status(&world, "run"), status(&world, "chain")), (Status::Running, Status::Running));
    world.pass(secs(1));
    assert_eq!((status(&world, "run"), status(&world, "chain")), (Status::TimedOut, Status::TimedOut));
}

#[test]
fn a_paused_run_that_waits_gets_its_turn_and_begins_when_the_pause_ends() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start("b");
    world.pause("b");
    world.unpause("b");
    world.pause("b");
    finish(&mut world, "a");
    assert!(world.take_offer(QUEUE, QueueKind::Workflow).is_none());
    world.unpause("b");
    assert_eq!(world.poll_workflow(QUEUE).unwrap().workflow_id, "b");
}

#[test]
fn several_rules_must_all_have_room() {
    let key = Some(FlowKey { kind: FlowKeyKind::FairnessKey as i32, ..Default::default() });
    let mut world = World::new();
    world.set_rules([max_open("all", 2), FlowRule { key, ..max_open("each", 1) }]);
    for (id, key) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b"), ("c1", "c")] {
        world.start_with(tenant(id, key)).unwrap();
    }
    world.turn();
    assert_eq!(world.going(), ["a1", "b1"]);
    assert_eq!(world.standing("a2").unwrap().rules, ["all", "each"]);
    // a2 and b2 are before it, but it is c's turn when only b has ended: a's room is taken.
    finish(&mut world, "b1");
    assert_eq!(world.going(), ["a1", "b2"]);
    finish(&mut world, "b2");
    assert_eq!(world.going(), ["a1", "c1"]);
    finish(&mut world, "a1");
    assert_eq!(world.going(), ["a2", "c1"]);
}

#[test]
fn rules_change_and_go_while_starts_wait() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    for id in ["a", "b", "c", "d"] {
        world.start(id);
    }
    world.turn();
    world.set_rules([max_open("one", 2)]);
    assert_eq!(world.going(), ["a", "b"]);
    // Less than there are: nobody goes before there is room.
    world.set_rules([max_open("one", 1)]);
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b"]);
    world.set_rules([]);
    assert_eq!(world.going(), ["b", "c", "d"]);
    // A rule that comes counts what starts from then on.
    world.set_rules([max_open("new", 1)]);
    world.start("e");
    world.start("f");
    world.turn();
    assert_eq!(world.going(), ["b", "c", "d", "e"]);
    for id in ["b", "c", "d", "e", "f"] {
        finish(&mut world, id);
    }
    assert!(world.flow_rows.is_empty());
}

#[test]
fn a_line_has_a_length_and_a_start_beyond_it_is_refused() {
    let mut world = World::new();
    world.set_rules([FlowRule { waiting_max: 2, ..max_open("one", 1) }]);
    for id in ["a", "b", "c"] {
        world.start(id);
    }
    match world.start_with(start_request("d")) {
        Err(Refusal::ResourceExhausted { message, .. }) => assert_eq!(
            message,
            "flow rule \"one\": 2 starts wait already, and no more may: start less, raise waiting_max, or let more go at once"
        ),
        other => panic!("not refused: {other:?}"),
    }
    assert!(!world.current.contains_key("d"));
    finish(&mut world, "a");
    world.start("d");
    // Who is not in line yet takes no place in it.
    finish(&mut world, "b");
    world.start_with(with(start_request("later"), |r| r.workflow_start_delay = duration(30))).unwrap();
    world.start("e");
    assert!(matches!(world.start_with(start_request("f")), Err(Refusal::ResourceExhausted { .. })));
}

#[test]
fn a_reset_of_an_open_run_has_its_place() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start("b");
    world.work([timer("t", secs(60))]);
    world.reset("a", 3);
    world.turn();
    assert_eq!((world.going(), world.flow_rows.len()), (vec!["a".to_string()], 2));
    finish(&mut world, "a");
    assert_eq!(world.going(), ["b"]);
}

#[test]
fn the_time_of_a_run_that_a_reset_put_into_the_line_begins_when_it_goes() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    let cron = with(start_request("cron"), |r| (r.cron_schedule, r.workflow_run_timeout) = ("* * * * *".into(), duration(10)));
    world.start_with(cron).unwrap();
    world.pass(secs(60));
    world.work([complete()]);
    world.turn();
    world.start("a");
    world.pass(secs(60));
    assert_eq!(world.standing("cron").unwrap().place, 1);
    // In the place of the second run, which waits, comes one that is made of the first.
    let made = world.reset_run("cron", 1, 4);
    world.pass(secs(50));
    assert_eq!(world.standing("cron").unwrap().place, 1);
    finish(&mut world, "a");
    let goes = world.now;
    assert_eq!(world.going(), ["cron"]);
    let info = world.runs[&made].execution.describe(goes).workflow_extended_info.unwrap();
    assert_eq!(info.run_expiration_time, Some((goes + secs(10)).to_api()));
    world.pass(secs(9));
    assert_eq!(world.runs[&made].execution.status(), Status::Running);
    world.pass(secs(1));
    assert_eq!(world.runs[&made].execution.status(), Status::TimedOut);
}

#[test]
fn a_reset_of_a_run_that_went_by_a_clock_that_was_set_back_counts_from_the_reset() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start_with(with(start_request("b"), |r| r.workflow_run_timeout = duration(600))).unwrap();
    world.pass(secs(100));
    finish(&mut world, "a");
    world.work([timer("t", secs(60))]);
    world.now = Timestamp(world.now.0 - secs(50).0);
    world.reset("b", 4);
    let info = world.run("b").execution.describe(world.now).workflow_extended_info.unwrap();
    assert_eq!(info.run_expiration_time, Some((world.now + secs(600)).to_api()));
}

#[test]
fn while_rows_are_read_nobody_goes_and_what_closes_meanwhile_stays_away() {
    let mut world = World::new();
    world.set_rules([max_open("one", 1)]);
    world.start("a");
    world.start("b");
    let rows = world.flow_rows.clone();
    world.gate.0.borrow_mut().begin_loading();
    world.gate.0.borrow_mut().forget(|_| true);
    world.start("c");
    world.terminate("a", "done").unwrap();
    world.turn();
    assert_eq!(world.going(), Vec::<String>::new());
    assert_eq!(world.standing("c").unwrap().reason, Reason::Loading);
    for (run, progress) in &rows {
        let key = world.runs[run].execution.key().clone();
        world.gate.0.borrow_mut().load(key, progress);
    }
    world.gate.0.borrow_mut().finish_loading();
    world.turn();
    assert_eq!(world.going(), ["b"]);
    assert_eq!(world.standing("c").unwrap().place, 1);
}

#[test]
fn rules_that_say_nothing_or_contradict_themselves_are_refused() {
    let wrong = |change: &dyn Fn(&mut FlowRule)| {
        let mut says = max_open("r", 1);
        change(&mut says);
        match check(&says) {
            Err(Refusal::InvalidArgument(message)) => message,
            other => panic!("not refused: {other:?}"),
        }
    };
    let said = [
        wrong(&|r| r.name.clear()),
        wrong(&|r| r.r#match = None),
        wrong(&|r| r.r#match = Some(FlowMatch::default())),
        wrong(&|r| r.r#match.as_mut().unwrap().all = true),
        wrong(&|r| r.max_open = 0),
        wrong(&|r| r.max_open = -1),
        wrong(&|r| r.waiting_max = 1_000_000),
        wrong(&|r| r.key = Some(FlowKey::default())),
        wrong(&|r| r.key = Some(FlowKey { kind: FlowKeyKind::SearchAttribute as i32, ..Default::default() })),
        wrong(&|r| (r.singleton, r.max_open) = (FlowSingleton::Wait as i32, 2)),
        wrong(&|r| r.debounce = Some(FlowDebounce { quiet: duration(1), max_wait: None })),
        wrong(&|r| (r.key, r.debounce) = (by_fairness_key(), Some(FlowDebounce { quiet: duration(9), max_wait: duration(1) }))),
        wrong(&|r| r.rate = Some(FlowRate { starts: 0, per: None, burst: 0 })),
        wrong(&|r| r.rate = Some(FlowRate { starts: 1, per: duration(-1), burst: 0 })),
    ];
    let said: Vec<String> = said.into_iter().map(|text| text.replace("flow rule \"r\": ", "")).collect();
    assert_eq!(
        said,
        [
            "flow rule \"\": a name has 1 to 200 bytes",
            "it does not say which starts it is about: set match",
            "it has no condition: set one, or match.all for every start of the namespace",
            "match.all is for rules without any other condition",
            "it limits nothing: set max_open, rate, debounce or singleton",
            "max_open and waiting_max are not negative",
            "at most 100000 starts may wait for a rule (waiting_max)",
            "its key has no known kind",
            "its key is a search attribute: set key.search_attribute",
            "singleton is one open run: it does not go with max_open above 1",
            "debounce needs a key: without one any start of the rule would take the place of any other",
            "debounce.max_wait is not below debounce.quiet, and at most 30 days",
            "rate.starts is 1 to 1000000, rate.burst 0 to 1000000",
            "rate.per is above 0 and at most 30 days",
        ]
    );
}

//! Flow rules in an engine: crashes, failed commits, schedules, children, virtual time.

use std::sync::atomic::Ordering::SeqCst;

use sempre_api::{
    sempre::v1::*,
    v1::{
        common::Priority,
        enums::{IndexedValueType, WorkflowExecutionStatus},
        operatorservice::AddSearchAttributesRequest,
        workflowservice::*,
    },
};
use sempre_core::{Refusal, Span};
use sempre_store::Table;

use crate::support::*;

fn rule(name: &str) -> FlowRule {
    let conditions = FlowMatch { workflow_types: vec!["Test".into()], ..Default::default() };
    FlowRule { name: name.into(), r#match: Some(conditions), ..Default::default() }
}

fn by_fairness_key() -> Option<FlowKey> {
    Some(FlowKey { kind: FlowKeyKind::FairnessKey as i32, ..Default::default() })
}

async fn set(w: &World, rule: FlowRule) -> FlowRuleInfo {
    let request = SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(rule), version: 0 };
    soon(w.engine.set_flow_rule(request)).await.unwrap().rule.unwrap()
}

fn info(w: &World, name: &str) -> FlowRuleInfo {
    let request = DescribeFlowRuleRequest { namespace: NAMESPACE.into(), name: name.into() };
    w.engine.describe_flow_rule(&request).unwrap().rule.unwrap()
}

fn counts(w: &World, name: &str) -> (i64, i64, i64) {
    let info = info(w, name);
    (info.open, info.waiting, info.delayed)
}

fn waiting(w: &World, rule: &str) -> Vec<(String, i64, FlowReason)> {
    let (mut all, mut token) = (Vec::new(), bytes::Bytes::new());
    loop {
        let request =
            ListWaitingStartsRequest { namespace: NAMESPACE.into(), rule: rule.into(), page_size: 2, next_page_token: token.clone() };
        let page = w.engine.list_waiting_starts(&request).unwrap();
        all.extend(page.starts.iter().map(|start| (start.workflow_id.clone(), start.place, start.reason())));
        token = page.next_page_token;
        if token.is_empty() {
            return all;
        }
    }
}

async fn why(w: &World, workflow_id: &str) -> Option<WaitingStart> {
    let request = DescribeWaitingStartRequest { namespace: NAMESPACE.into(), workflow_id: workflow_id.into(), run_id: String::new() };
    soon(w.engine.describe_waiting_start(request)).await.unwrap().start
}

fn tenant(workflow_id: &str, key: &str) -> StartWorkflowExecutionRequest {
    let priority = Priority { fairness_key: key.into(), ..Default::default() };
    StartWorkflowExecutionRequest { priority: Some(priority), ..start_request(workflow_id) }
}

async fn terminate(w: &World, workflow_id: &str) {
    let request = TerminateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: Some(execution(workflow_id, "")),
        ..Default::default()
    };
    soon(w.engine.terminate(request)).await.unwrap();
    w.settle().await;
}

async fn status(w: &World, workflow_id: &str) -> WorkflowExecutionStatus {
    w.describe(workflow_id).await.unwrap().workflow_execution_info.unwrap().status()
}

/// Takes the next task and ends its run. Its workflow id.
async fn work(w: &World) -> String {
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    w.settle().await;
    task.workflow_execution.unwrap().workflow_id
}

#[tokio::test]
async fn starts_wait_in_line_over_restarts_and_go_in_their_order() {
    let mut w = world().await;
    set(&w, FlowRule { max_open: 1, ..rule("one") }).await;
    for n in 0..5 {
        w.start(&format!("w{n}")).await;
        w.clock_tick();
    }
    w.settle().await;
    assert_eq!(counts(&w, "one"), (1, 4, 0));
    let line = |from: usize| (from..5).map(|n| (format!("w{n}"), (n - from) as i64 + 1, FlowReason::MaxOpen)).collect::<Vec<_>>();
    assert_eq!(waiting(&w, "one"), line(1));
    let start = why(&w, "w2").await.unwrap();
    assert_eq!((start.place, start.rule.as_str(), start.blocked_by_workflow_id.as_str()), (2, "one", "w0"));
    assert!(why(&w, "w0").await.is_none());
    assert_eq!(work(&w).await, "w0");
    assert_eq!(waiting(&w, "one"), line(2));
    w.reopen().await;
    w.settle().await;
    assert_eq!((counts(&w, "one"), waiting(&w, "one")), ((1, 3, 0), line(2)));
    w.crash().await;
    w.settle().await;
    assert_eq!((counts(&w, "one"), waiting(&w, "one")), ((1, 3, 0), line(2)));
    for n in 1..5 {
        assert_eq!(work(&w).await, format!("w{n}"));
    }
    assert_eq!(counts(&w, "one"), (0, 0, 0));
    assert!(w.store.rows(Table::Flow).is_empty());
}

#[tokio::test]
async fn a_crash_before_the_turn_was_told_loses_no_turn() {
    let mut w = world().await;
    set(&w, FlowRule { max_open: 1, ..rule("one") }).await;
    w.start("a").await;
    w.start("b").await;
    w.settle().await;
    let task = w.poll().await;
    w.complete(&task.task_token, done()).await;
    // What the end of `a` sets off is not carried out by this process any more.
    w.crash().await;
    w.settle().await;
    assert_eq!(counts(&w, "one"), (1, 0, 0));
    assert_eq!(work(&w).await, "b");
}

#[tokio::test]
async fn a_failed_commit_neither_lets_too_many_go_nor_leaves_room_unused() {
    let w = world().await;
    set(&w, FlowRule { max_open: 2, ..rule("two") }).await;
    w.start("a").await;
    w.store.refuse.store(1, SeqCst);
    assert!(matches!(w.try_start(start_request("b")).await, Err(Refusal::Unavailable(_))));
    w.settle().await;
    // The place that it would have had is free.
    assert_eq!(counts(&w, "two"), (1, 0, 0));
    w.store.doubt.store(1, SeqCst);
    assert!(matches!(w.try_start(start_request("b")).await, Err(Refusal::Unavailable(_))));
    // After one failure on another the shard is in no hurry.
    w.advance(Span::seconds(1)).await;
    assert_eq!(counts(&w, "two"), (2, 0, 0));
    w.start("c").await;
    w.start("d").await;
    w.settle().await;
    assert_eq!(counts(&w, "two"), (2, 2, 0));
    // The commit of the turn fails: it is told again.
    terminate(&w, "c").await;
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(start_request("e")).await.is_err());
    w.advance(Span::seconds(1)).await;
    w.start("e").await;
    terminate(&w, "a").await;
    w.advance(Span::seconds(1)).await;
    w.advance(Span::seconds(10)).await;
    assert_eq!(counts(&w, "two"), (2, 1, 0));
    for _ in 0..3 {
        work(&w).await;
    }
    assert_eq!(counts(&w, "two"), (0, 0, 0));
}

#[tokio::test]
async fn a_replaced_run_ends_only_when_the_newer_start_is_on_disk() {
    let w = world().await;
    set(&w, FlowRule { key: by_fairness_key(), singleton: FlowSingleton::Replace as i32, ..rule("latest") }).await;
    w.try_start(tenant("a", "x")).await.unwrap();
    w.store.refuse.store(1, SeqCst);
    assert!(w.try_start(tenant("b", "x")).await.is_err());
    w.settle().await;
    assert_eq!(status(&w, "a").await, WorkflowExecutionStatus::Running);
    w.try_start(tenant("c", "x")).await.unwrap();
    w.settle().await;
    assert_eq!(status(&w, "a").await, WorkflowExecutionStatus::Terminated);
    let end = w.history("a").await.pop().unwrap().attributes.unwrap();
    let sempre_api::v1::history::history_event::Attributes::WorkflowExecutionTerminatedEventAttributes(end) = end else {
        panic!("{end:?}")
    };
    assert!(end.reason.starts_with("replaced by a newer start: workflow c, run "), "{}", end.reason);
    assert_eq!(end.identity, "flow-rule");
    assert_eq!(work(&w).await, "c");
}

#[tokio::test]
async fn a_debounce_waits_by_the_clock_also_after_a_crash() {
    let mut w = world().await;
    let debounce = FlowDebounce { quiet: Some(Span::seconds(10).to_api()), max_wait: None };
    set(&w, FlowRule { key: by_fairness_key(), debounce: Some(debounce), ..rule("calm") }).await;
    w.try_start(tenant("a", "x")).await.unwrap();
    w.advance(Span::seconds(6)).await;
    w.try_start(tenant("b", "x")).await.unwrap();
    w.settle().await;
    assert_eq!(status(&w, "a").await, WorkflowExecutionStatus::Terminated);
    w.crash().await;
    w.advance(Span::seconds(9)).await;
    assert_eq!(waiting(&w, "calm"), [("b".into(), 1, FlowReason::Debounce)]);
    w.advance(Span::seconds(1)).await;
    assert_eq!(work(&w).await, "b");
    assert!(w.store.rows(Table::Flow).is_empty());
}

#[tokio::test]
async fn a_rate_goes_by_the_clock() {
    let w = world().await;
    let rate = FlowRate { starts: 2, per: Some(Span::seconds(10).to_api()), burst: 0 };
    set(&w, FlowRule { rate: Some(rate), ..rule("slow") }).await;
    for id in ["a", "b", "c"] {
        w.start(id).await;
        w.clock_tick();
    }
    w.settle().await;
    assert_eq!(waiting(&w, "slow"), [("b".into(), 1, FlowReason::Rate), ("c".into(), 2, FlowReason::Rate)]);
    w.advance(Span::seconds(5)).await;
    assert_eq!(waiting(&w, "slow"), [("c".into(), 1, FlowReason::Rate)]);
    w.advance(Span::seconds(5)).await;
    assert_eq!(waiting(&w, "slow"), []);
}

#[tokio::test]
async fn rules_have_versions_and_go_with_their_namespace() {
    let w = world().await;
    let made = set(&w, FlowRule { max_open: 1, ..rule("one") }).await;
    assert_eq!(made.version, 1);
    let ask =
        |version: i64| SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(FlowRule { max_open: 2, ..rule("one") }), version };
    assert!(matches!(w.engine.set_flow_rule(ask(-1)).await, Err(Refusal::AlreadyExists(_))));
    assert_eq!(
        w.engine.set_flow_rule(ask(7)).await.unwrap_err(),
        Refusal::FailedPrecondition("flow rule \"one\" has version 1, not 7: read it again".into())
    );
    assert_eq!(w.engine.set_flow_rule(ask(1)).await.unwrap().rule.unwrap().version, 2);
    let delete = |name: &str| DeleteFlowRuleRequest { namespace: NAMESPACE.into(), name: name.into() };
    assert_eq!(w.engine.delete_flow_rule(delete("none")).await.unwrap_err(), Refusal::NotFound("there is no flow rule \"none\"".into()));
    for id in ["a", "b", "c"] {
        w.start(id).await;
    }
    w.settle().await;
    assert_eq!(counts(&w, "one"), (2, 1, 0));
    w.engine.delete_flow_rule(delete("one")).await.unwrap();
    w.settle().await;
    for _ in 0..3 {
        work(&w).await;
    }
    for n in 0..100 {
        set(&w, FlowRule { max_open: 1, ..rule(&format!("r{n}")) }).await;
    }
    let request = SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(FlowRule { max_open: 1, ..rule("more") }), version: 0 };
    assert!(matches!(w.engine.set_flow_rule(request).await, Err(Refusal::FailedPrecondition(_))));
    let list = ListFlowRulesRequest { namespace: NAMESPACE.into() };
    assert_eq!(w.engine.list_flow_rules(&list).unwrap().rules.len(), 100);
}

#[tokio::test]
async fn a_rule_knows_search_attributes_by_the_names_of_its_namespace() {
    let w = world().await;
    let unknown =
        FlowRule { r#match: Some(FlowMatch { search_attribute: "Tenant".into(), ..Default::default() }), max_open: 1, ..rule("tenants") };
    let request = SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(unknown.clone()), version: 0 };
    assert_eq!(
        w.engine.set_flow_rule(request).await.unwrap_err(),
        Refusal::InvalidArgument("flow rule: namespace default has no search attribute \"Tenant\"".into())
    );
    let add = AddSearchAttributesRequest {
        search_attributes: [("Tenant".to_string(), IndexedValueType::Keyword as i32)].into(),
        namespace: NAMESPACE.into(),
    };
    w.engine.add_search_attributes(add).await.unwrap();
    let key = Some(FlowKey { kind: FlowKeyKind::SearchAttribute as i32, search_attribute: "Tenant".into() });
    set(&w, FlowRule { key, ..unknown }).await;
    for (id, value) in [("a", "\"x\""), ("b", "\"x\""), ("c", "\"y\"")] {
        let payload = sempre_api::v1::common::Payload { data: value.into(), ..Default::default() };
        let search_attributes = Some(sempre_api::v1::common::SearchAttributes { indexed_fields: [("Tenant".to_string(), payload)].into() });
        w.try_start(StartWorkflowExecutionRequest { search_attributes, ..start_request(id) }).await.unwrap();
    }
    w.settle().await;
    assert_eq!(waiting(&w, "tenants"), [("b".into(), 1, FlowReason::MaxOpen)]);
    assert_eq!(why(&w, "b").await.unwrap().key, "x");
    let request = DescribeFlowRuleRequest { namespace: NAMESPACE.into(), name: "tenants".into() };
    let keys = w.engine.describe_flow_rule(&request).unwrap().keys;
    let keys: Vec<_> = keys.iter().map(|key| (key.key.as_str(), key.open, key.waiting)).collect();
    assert_eq!(keys, [("x", 1, 1), ("y", 1, 0)]);
}

#[tokio::test]
async fn lists_find_who_waits_for_a_rule() {
    let w = world().await;
    set(&w, FlowRule { max_open: 1, ..rule("one") }).await;
    w.start("a").await;
    w.start("b").await;
    let list = async |query: &str| {
        let request = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: query.into(), ..Default::default() };
        let found = soon(w.engine.list_workflows(request)).await.unwrap().executions;
        let mut ids: Vec<String> = found.into_iter().map(|info| info.execution.unwrap().workflow_id).collect();
        ids.sort();
        ids
    };
    assert_eq!(list("SempreFlowRules = 'one'").await, ["a", "b"]);
    assert_eq!(list("SempreWaitingFor = 'flow-rule'").await, ["b"]);
    work(&w).await;
    assert_eq!(list("SempreWaitingFor = 'flow-rule'").await, Vec::<String>::new());
}

#[tokio::test]
async fn a_deleted_start_leaves_the_line() {
    let w = world().await;
    set(&w, FlowRule { max_open: 1, ..rule("one") }).await;
    for id in ["a", "b", "c"] {
        w.start(id).await;
        w.clock_tick();
    }
    for id in ["b", "a"] {
        let request = DeleteWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution: Some(execution(id, "")) };
        soon(w.engine.delete_workflow(request)).await.unwrap();
        w.settle().await;
    }
    assert_eq!(counts(&w, "one"), (1, 0, 0));
    assert_eq!(work(&w).await, "c");
}

#[tokio::test]
async fn in_virtual_time_a_wait_for_the_rate_is_skipped() {
    let (w, _time) = world_in_virtual_time(0).await;
    let rate = FlowRate { starts: 1, per: Some(Span::seconds(3600).to_api()), burst: 0 };
    set(&w, FlowRule { rate: Some(rate), ..rule("slow") }).await;
    let begun = w.engine.now();
    for id in ["a", "b", "c"] {
        w.start(id).await;
    }
    for _ in 0..3 {
        work(&w).await;
    }
    assert!(w.engine.now().since(begun) >= Span::seconds(7200), "the hours have passed");
}

#[tokio::test]
async fn many_starts_and_ends_at_once_keep_to_the_limit() {
    let w = world().await;
    set(&w, FlowRule { key: by_fairness_key(), max_open: 2, ..rule("tenants") }).await;
    for n in 0..60 {
        w.try_start(tenant(&format!("w{n}"), &format!("t{}", n % 3))).await.unwrap();
    }
    w.settle().await;
    assert_eq!(counts(&w, "tenants"), (6, 54, 0));
    for n in 0..60 {
        work(&w).await;
        let info = info(&w, "tenants");
        assert!(info.open <= 6, "{n}: {info:?}");
        assert!(info.waiting == 0 || info.open >= 2, "{n}: {info:?}");
    }
    assert_eq!(counts(&w, "tenants"), (0, 0, 0));
}

#[tokio::test]
async fn a_rule_whose_commit_stayed_in_doubt_comes_into_force_by_itself() {
    let w = world().await;
    let request =
        |max_open| SetFlowRuleRequest { namespace: NAMESPACE.into(), rule: Some(FlowRule { max_open, ..rule("one") }), version: 0 };
    // The commit is on disk, but nobody knows, and what there is cannot be read at once.
    w.store.doubt.store(1, SeqCst);
    w.store.full.store(2, SeqCst);
    assert!(matches!(soon(w.engine.set_flow_rule(request(1))).await, Err(Refusal::Unavailable(_))));
    assert!(w.engine.list_flow_rules(&ListFlowRulesRequest { namespace: NAMESPACE.into() }).unwrap().rules.is_empty());
    w.advance(Span::millis(100)).await;
    w.advance(Span::millis(200)).await;
    w.start("a").await;
    w.start("b").await;
    w.settle().await;
    assert_eq!(counts(&w, "one"), (1, 1, 0));
    // Whoever comes first reads it: a change of another rule.
    w.store.doubt.store(1, SeqCst);
    w.store.full.store(1, SeqCst);
    assert!(matches!(soon(w.engine.set_flow_rule(request(2))).await, Err(Refusal::Unavailable(_))));
    assert_eq!(counts(&w, "one"), (1, 1, 0));
    set(&w, FlowRule { max_open: 1, ..rule("other") }).await;
    w.settle().await;
    assert_eq!((counts(&w, "one"), info(&w, "one").version), ((2, 0, 0), 2));
}

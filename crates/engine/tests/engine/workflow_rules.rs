//! Workflow rules: the calls, and that they hold in every part of the engine and after a restart.

use sempre_api::v1::{
    command::{ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::ActivityType,
    enums::{CommandType, PendingActivityState as State},
    rules::{
        WorkflowRuleAction, WorkflowRuleSpec,
        workflow_rule_action::{ActionActivityPause, Variant},
        workflow_rule_spec::{ActivityStartingTrigger, Trigger},
    },
    workflowservice::*,
};
use sempre_core::{Refusal, Span};
use sempre_engine::Settings;

use crate::support::*;

fn spec(id: &str, predicate: &str) -> WorkflowRuleSpec {
    WorkflowRuleSpec {
        id: id.into(),
        actions: vec![WorkflowRuleAction { variant: Some(Variant::ActivityPause(ActionActivityPause {})) }],
        trigger: Some(Trigger::ActivityStart(ActivityStartingTrigger { predicate: predicate.into() })),
        ..Default::default()
    }
}

fn create(spec: WorkflowRuleSpec) -> CreateWorkflowRuleRequest {
    CreateWorkflowRuleRequest { namespace: NAMESPACE.into(), spec: Some(spec), identity: "maker".into(), ..Default::default() }
}

fn invalid<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    match result {
        Err(Refusal::InvalidArgument(text)) => text,
        other => panic!("not refused as invalid: {other:?}"),
    }
}

async fn rules() -> World {
    world_with(Settings { workflow_rules: true, workflow_rules_max: 2, ..settings() }).await
}

#[tokio::test]
async fn rules_are_off_unless_they_are_switched_on() {
    let w = world().await;
    let refused = w.engine.create_workflow_rule(create(spec("r", "ActivityId = 'a'"))).await.unwrap_err();
    assert_eq!(refused, Refusal::Unimplemented("method CreateWorkflowRule not supported".into()));
    let list = ListWorkflowRulesRequest { namespace: NAMESPACE.into(), ..Default::default() };
    assert_eq!(w.engine.list_workflow_rules(&list).unwrap_err(), Refusal::Unimplemented("method ListWorkflowRules not supported".into()));
}

#[tokio::test]
async fn rules_are_made_listed_and_deleted() {
    let w = rules().await;
    let list = || {
        let request = ListWorkflowRulesRequest { namespace: NAMESPACE.into(), ..Default::default() };
        let rules = w.engine.list_workflow_rules(&request).unwrap().rules;
        rules.into_iter().map(|rule| rule.spec.unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(list(), Vec::<String>::new());
    let made = w.engine.create_workflow_rule(create(spec("b", "ActivityId = 'a'"))).await.unwrap();
    assert_eq!((made.rule.unwrap().created_by_identity.as_str(), made.job_id.as_str()), ("maker", ""));
    let expired = WorkflowRuleSpec { expiration_time: Some((w.engine.now() + Span::seconds(5)).to_api()), ..spec("a", "Attempts > 3") };
    w.engine.create_workflow_rule(create(expired)).await.unwrap();
    assert_eq!(list(), ["a", "b"]);
    for (request, text) in [
        (CreateWorkflowRuleRequest { spec: None, ..create(spec("x", "")) }, "Rule Specification is not set."),
        (create(spec("", "ActivityId = 'a'")), "Workflow Rule ID is not set."),
        (create(spec(&"x".repeat(1001), "ActivityId = 'a'")), "Workflow Rule Id length exceeds limit."),
        (create(spec("c", "ActivityId = 'a'")), "Workflow Rule limit exceeded. Max: 2"),
        (create(spec("c", "")), "Workflow Rule cannot be used: invalid expression: the predicate of the trigger is empty"),
    ] {
        assert_eq!(invalid(w.engine.create_workflow_rule(request).await), text);
    }
    // One that has expired makes room.
    w.advance(Span::seconds(6)).await;
    w.engine.create_workflow_rule(create(spec("c", "ActivityId = 'a'"))).await.unwrap();
    assert_eq!(list(), ["b", "c"]);
    let describe = |id: &str| DescribeWorkflowRuleRequest { namespace: NAMESPACE.into(), rule_id: id.into() };
    assert_eq!(invalid(w.engine.describe_workflow_rule(&describe("a"))), "Workflow Rule with this ID not Found.");
    assert_eq!(invalid(w.engine.describe_workflow_rule(&describe(""))), "Workflow Rule ID is not set.");
    assert_eq!(w.engine.describe_workflow_rule(&describe("b")).unwrap().rule.unwrap().spec.unwrap().id, "b");
    let delete = |id: &str| DeleteWorkflowRuleRequest { namespace: NAMESPACE.into(), rule_id: id.into() };
    w.engine.delete_workflow_rule(delete("b")).await.unwrap();
    assert_eq!(invalid(w.engine.delete_workflow_rule(delete("b")).await), "Workflow Rule with this ID not Found.");
    assert_eq!(list(), ["c"]);
    let again = invalid(w.engine.create_workflow_rule(create(spec("c", "ActivityId = 'a'"))).await);
    assert_eq!(again, "Workflow Rule with this ID already exists.");
}

#[tokio::test]
async fn a_rule_pauses_what_a_worker_would_get_also_after_a_restart() {
    let mut w = rules().await;
    w.engine.create_workflow_rule(create(spec("r", "ActivityType = 'Pay'"))).await.unwrap();
    w.reopen().await;
    w.start("wf").await;
    let task = w.poll().await;
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "Pay".into() }),
        task_queue: Some(queue()),
        schedule_to_close_timeout: Some(Span::seconds(600).to_api()),
        ..Default::default()
    };
    let schedule = command(CommandType::ScheduleActivityTask, Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes)));
    w.complete(&task.task_token, vec![schedule]).await;
    let engine = w.engine.clone();
    let request = PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: Some(queue()), ..Default::default() };
    let poll = tokio::spawn(async move { engine.poll_activity_task(request, None).await.unwrap() });
    w.settle().await;
    assert!(!poll.is_finished());
    let info = w.describe("wf").await.unwrap().pending_activities.remove(0);
    assert_eq!((info.state(), info.paused), (State::Paused, true));
    w.engine.delete_workflow_rule(DeleteWorkflowRuleRequest { namespace: NAMESPACE.into(), rule_id: "r".into() }).await.unwrap();
    let unpause = UnpauseActivityRequest {
        namespace: NAMESPACE.into(),
        execution: Some(execution("wf", "")),
        activity: Some(unpause_activity_request::Activity::Id("a".into())),
        ..Default::default()
    };
    w.engine.unpause_activity(unpause).await.unwrap();
    assert_eq!(soon(poll).await.unwrap().activity_id, "a");
}

//! Search attributes that get another name: old runs, old code and old queries go on, the new name is seen everywhere.

use sempre_api::sempre::v1::RenameSearchAttributeRequest;
use sempre_api::v1::{
    command::{ContinueAsNewWorkflowExecutionCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes},
    common::{Payload, SearchAttributes},
    enums::{CommandType, IndexedValueType, ScheduleOverlapPolicy},
    history::{HistoryEvent, history_event::Attributes as Event},
    namespace::NamespaceConfig,
    operatorservice::{AddSearchAttributesRequest, ListSearchAttributesRequest, RemoveSearchAttributesRequest},
    schedule::schedule_action::Action,
    workflowservice::*,
};
use sempre_core::Refusal;
use sempre_engine::Settings;

use super::schedules::every_minute;
use crate::support::*;

fn keyword(text: &str) -> Payload {
    let metadata = [("encoding", "json/plain"), ("type", "Keyword")].map(|(name, value)| (name.to_owned(), value.into()));
    Payload { metadata: metadata.into(), data: format!("\"{text}\"").into(), ..Default::default() }
}

fn set(fields: &[(&str, &str)]) -> Option<SearchAttributes> {
    Some(SearchAttributes { indexed_fields: fields.iter().map(|(name, text)| ((*name).to_owned(), keyword(text))).collect() })
}

fn said(attributes: Option<&SearchAttributes>) -> Vec<(String, String)> {
    let fields = attributes.map(|attributes| &attributes.indexed_fields).into_iter().flatten();
    fields.map(|(name, payload)| (name.clone(), String::from_utf8(payload.data.to_vec()).unwrap().replace('"', ""))).collect()
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

async fn add(w: &World, name: &str) {
    let search_attributes = [(name.to_owned(), IndexedValueType::Keyword as i32)].into();
    w.engine.add_search_attributes(AddSearchAttributesRequest { search_attributes, namespace: NAMESPACE.into() }).await.unwrap();
}

async fn rename(w: &World, name: &str, new_name: &str) -> Result<(), Refusal> {
    let request = RenameSearchAttributeRequest { namespace: NAMESPACE.into(), name: name.into(), new_name: new_name.into() };
    w.engine.rename_search_attribute(request).await.map(drop)
}

async fn alias(w: &World, field: &str, name: &str) -> Result<(), Refusal> {
    let custom_search_attribute_aliases = [(field.to_owned(), name.to_owned())].into();
    let config = Some(NamespaceConfig { custom_search_attribute_aliases, ..Default::default() });
    w.engine.update_namespace(UpdateNamespaceRequest { namespace: NAMESPACE.into(), config, ..Default::default() }).await.map(drop)
}

async fn custom(w: &World) -> Vec<String> {
    let request = ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    w.engine.list_search_attributes(request).await.unwrap().custom_attributes.into_keys().collect()
}

async fn aliases(w: &World) -> Vec<(String, String)> {
    let request = DescribeNamespaceRequest { namespace: NAMESPACE.into(), ..Default::default() };
    w.engine.describe_namespace(request).await.unwrap().config.unwrap().custom_search_attribute_aliases.into_iter().collect()
}

async fn start(w: &World, workflow_id: &str, fields: &[(&str, &str)]) {
    w.try_start(StartWorkflowExecutionRequest { search_attributes: set(fields), ..start_request(workflow_id) }).await.unwrap();
}

fn upsert(fields: &[(&str, &str)]) -> Vec<sempre_api::v1::command::Command> {
    let upsert = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: set(fields) };
    vec![command(CommandType::UpsertWorkflowSearchAttributes, Attributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert))]
}

/// Runs that a query finds, each with its attributes.
async fn list(w: &World, query: &str) -> Vec<(String, Vec<(String, String)>)> {
    let request = ListWorkflowExecutionsRequest { namespace: NAMESPACE.into(), query: query.into(), ..Default::default() };
    let found = soon(w.engine.list_workflows(request)).await.unwrap().executions;
    found.into_iter().map(|info| (info.execution.clone().unwrap().workflow_id, said(info.search_attributes.as_ref()))).collect()
}

/// What the events say of attributes, in their order.
fn in_events(events: &[HistoryEvent]) -> Vec<Vec<(String, String)>> {
    let of = |event: &HistoryEvent| match event.attributes.as_ref()? {
        Event::WorkflowExecutionStartedEventAttributes(a) => Some(said(a.search_attributes.as_ref())),
        Event::UpsertWorkflowSearchAttributesEventAttributes(a) => Some(said(a.search_attributes.as_ref())),
        Event::WorkflowExecutionContinuedAsNewEventAttributes(a) => Some(said(a.search_attributes.as_ref())),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

async fn described(w: &World, workflow_id: &str) -> Vec<(String, String)> {
    said(w.describe(workflow_id).await.unwrap().workflow_execution_info.unwrap().search_attributes.as_ref())
}

#[tokio::test]
async fn old_runs_are_found_and_shown_by_the_new_name_at_once_and_for_good() {
    let mut w = world().await;
    add(&w, "Color").await;
    start(&w, "old", &[("Color", "red")]).await;
    let first = w.poll().await;
    w.complete(&first.task_token, upsert(&[("Color", "blue")])).await;
    rename(&w, "Color", "Hue").await.unwrap();
    w.advance(sempre_core::Span::seconds(1)).await;
    assert_eq!(custom(&w).await, ["Hue"]);
    assert_eq!(aliases(&w).await, pairs(&[("Color", "Hue")]), "as Temporal tells it");
    start(&w, "new", &[("Hue", "blue")]).await;
    let blue = pairs(&[("Hue", "blue")]);
    let both = [("new".to_owned(), blue.clone()), ("old".to_owned(), blue.clone())];
    for round in ["at once", "after a restart", "with an index made anew"] {
        assert_eq!(list(&w, "Hue = 'blue'").await, both, "{round}");
        assert_eq!(list(&w, "Color = 'blue'").await, both, "a saved query, {round}");
        assert_eq!(described(&w, "old").await, blue, "{round}");
        let events = in_events(&w.history("old").await);
        assert_eq!(events, [pairs(&[("Hue", "red")]), blue.clone()], "{round}");
        let request = GetWorkflowExecutionHistoryReverseRequest {
            namespace: NAMESPACE.into(),
            execution: Some(execution("old", "")),
            ..Default::default()
        };
        let reverse = soon(w.engine.get_history_reverse(request)).await.unwrap().history.unwrap().events().unwrap();
        assert_eq!(in_events(&reverse), [blue.clone(), pairs(&[("Hue", "red")])], "{round}");
        match round {
            "at once" => w.reopen().await,
            _ => {
                w.engine.rebuild_visibility().unwrap();
                w.until("the rebuild ends", || !w.engine.visibility_progress().running).await;
            }
        }
    }
    let problems = problems(&*w.store.inner).1;
    assert!(problems.is_empty(), "{problems:?}");
}

#[tokio::test]
async fn workers_see_the_new_name_and_may_still_say_the_old_one() {
    let w = world().await;
    add(&w, "Color").await;
    start(&w, "a", &[("Color", "red")]).await;
    rename(&w, "Color", "Hue").await.unwrap();
    let task = w.poll().await;
    assert_eq!(in_events(&task.history.unwrap().events().unwrap()), [pairs(&[("Hue", "red")])]);
    // Code from before the new name.
    w.complete(&task.task_token, upsert(&[("Color", "green")])).await;
    assert_eq!(described(&w, "a").await, pairs(&[("Hue", "green")]));
    // What a run hands on to its next one stays the same attribute.
    w.signal("a", "go").await.unwrap();
    let task = w.poll().await;
    let again = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: start_request("").workflow_type,
        task_queue: Some(queue()),
        search_attributes: set(&[("Color", "black")]),
        ..Default::default()
    };
    let again = Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(again.into());
    w.complete(&task.task_token, vec![command(CommandType::ContinueAsNewWorkflowExecution, again)]).await;
    assert_eq!(described(&w, "a").await, pairs(&[("Hue", "black")]));
    let refused = w.try_start(StartWorkflowExecutionRequest { search_attributes: set(&[("Shade", "x")]), ..start_request("b") }).await;
    let unknown = format!("Namespace {NAMESPACE} has no mapping defined for search attribute Shade");
    assert_eq!(refused.unwrap_err(), Refusal::invalid(unknown));
    let mut wrong = set(&[("Hue", "")]);
    wrong.as_mut().unwrap().indexed_fields.get_mut("Hue").unwrap().data = "7".into();
    let refused = w.try_start(StartWorkflowExecutionRequest { search_attributes: wrong, ..start_request("b") }).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("invalid value for search attribute Hue of type Keyword: 7"), "by the name of today");
}

#[tokio::test]
async fn a_name_that_was_given_up_can_be_given_to_another_attribute() {
    let w = world().await;
    add(&w, "Color").await;
    start(&w, "old", &[("Color", "red")]).await;
    rename(&w, "Color", "Hue").await.unwrap();
    add(&w, "Color").await;
    assert_eq!(custom(&w).await, ["Color", "Hue"]);
    assert_eq!(list(&w, "Color = 'red'").await, [], "it means the new one now");
    start(&w, "new", &[("Color", "red"), ("Hue", "dark")]).await;
    assert_eq!(list(&w, "Color = 'red'").await, [("new".to_owned(), pairs(&[("Color", "red"), ("Hue", "dark")]))]);
    assert_eq!(list(&w, "Hue = 'red'").await, [("old".to_owned(), pairs(&[("Hue", "red")]))]);
    assert_eq!(rename(&w, "Color", "Hue").await, Err(Refusal::invalid("Search attribute Hue already exists.")));
    assert_eq!(rename(&w, "RunId", "X").await, Err(Refusal::invalid("Unable to rename non-custom search attribute: RunId.")));
    assert_eq!(rename(&w, "None", "X").await, Err(Refusal::not_found("Search attribute None doesn't exist.")));
    let remove = RemoveSearchAttributesRequest { search_attributes: vec!["Hue".into()], namespace: NAMESPACE.into() };
    w.engine.remove_search_attributes(remove).await.unwrap();
    assert_eq!(custom(&w).await, ["Color"]);
    assert_eq!(described(&w, "old").await, pairs(&[("Hue", "red")]), "a run keeps what it has");
}

#[tokio::test]
async fn update_namespace_renames_in_the_two_steps_of_temporal() {
    let w = world().await;
    add(&w, "Color").await;
    start(&w, "old", &[("Color", "red")]).await;
    assert_eq!(alias(&w, "Color", "Hue").await, Err(Refusal::invalid("Custom search attribute field name already allocated.")));
    alias(&w, "Color", "").await.unwrap();
    assert!(custom(&w).await.is_empty());
    alias(&w, "Color", "Hue").await.unwrap();
    assert_eq!(aliases(&w).await, pairs(&[("Color", "Hue")]));
    assert_eq!(list(&w, "Hue = 'red'").await, [("old".to_owned(), pairs(&[("Hue", "red")]))]);
}

#[tokio::test]
async fn schedules_and_what_they_start_follow_the_name() {
    let w = world_with(Settings { schedules: true, ..settings() }).await;
    add(&w, "Color").await;
    let mut schedule = every_minute(ScheduleOverlapPolicy::AllowAll);
    let action = schedule.action.as_mut().and_then(|action| action.action.as_mut());
    if let Some(Action::StartWorkflow(start)) = action {
        start.search_attributes = set(&[("Color", "red")]);
    }
    let request = CreateScheduleRequest {
        namespace: NAMESPACE.into(),
        schedule_id: "s".into(),
        schedule: Some(schedule),
        request_id: "create".into(),
        search_attributes: set(&[("Color", "blue")]),
        ..Default::default()
    };
    soon(w.engine.create_schedule(request)).await.unwrap();
    rename(&w, "Color", "Hue").await.unwrap();
    let request = DescribeScheduleRequest { namespace: NAMESPACE.into(), schedule_id: "s".into() };
    let described = soon(w.engine.describe_schedule(request)).await.unwrap();
    assert_eq!(said(described.search_attributes.as_ref()), pairs(&[("Hue", "blue")]));
    let Some(Action::StartWorkflow(start)) = described.schedule.unwrap().action.unwrap().action else { panic!("a start") };
    assert_eq!(said(start.search_attributes.as_ref()), pairs(&[("Hue", "red")]));
    let request = ListSchedulesRequest { namespace: NAMESPACE.into(), query: "Hue = 'blue'".into(), ..Default::default() };
    let listed = soon(w.engine.list_schedules(request)).await.unwrap().schedules;
    assert_eq!(said(listed[0].search_attributes.as_ref()), pairs(&[("Hue", "blue")]));
    w.advance(sempre_core::Span::seconds(61)).await;
    w.until_started(1).await;
    assert_eq!(list(&w, "Hue = 'red'").await.len(), 1);
}

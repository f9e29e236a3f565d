use sempre_api::v1::{
    command::{UpsertWorkflowSearchAttributesCommandAttributes, command::Attributes},
    common::{Payload, SearchAttributes},
    enums::{CommandType, IndexedValueType, WorkflowTaskFailedCause},
    history::history_event::Attributes as EventAttributes,
    operatorservice::{AddSearchAttributesRequest, ListSearchAttributesRequest, RemoveSearchAttributesRequest},
    workflowservice::StartWorkflowExecutionRequest,
};
use sempre_core::Refusal;
use sempre_engine::Settings;

use crate::support::*;

fn value(json: &'static str, kind: &'static str) -> Payload {
    let mut metadata = std::collections::BTreeMap::from([("encoding".to_owned(), "json/plain".into())]);
    if !kind.is_empty() {
        metadata.insert("type".to_owned(), kind.into());
    }
    Payload { metadata, data: json.into(), ..Default::default() }
}

fn set(fields: &[(&str, Payload)]) -> Option<SearchAttributes> {
    Some(SearchAttributes { indexed_fields: fields.iter().map(|(name, payload)| ((*name).to_owned(), payload.clone())).collect() })
}

fn start(workflow_id: &str, fields: &[(&str, Payload)]) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest { search_attributes: set(fields), ..start_request(workflow_id) }
}

fn upsert(fields: &[(&str, Payload)]) -> Vec<sempre_api::v1::command::Command> {
    let upsert = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes: set(fields) };
    vec![command(CommandType::UpsertWorkflowSearchAttributes, Attributes::UpsertWorkflowSearchAttributesCommandAttributes(upsert))]
}

async fn custom(w: &World) -> Vec<(String, i32)> {
    let request = ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    w.engine.list_search_attributes(request).await.unwrap().custom_attributes.into_iter().collect()
}

#[tokio::test]
async fn the_server_s_own_attributes_are_listed_with_their_types() {
    let w = world().await;
    let request = ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    let system = w.engine.list_search_attributes(request).await.unwrap().system_attributes;
    for (name, kind) in [
        ("SempreHealth", IndexedValueType::Keyword),
        ("SempreWorkflowTaskFailures", IndexedValueType::Int),
        ("SempreActivityAttempt", IndexedValueType::Int),
        ("SempreLastFailure", IndexedValueType::Text),
        ("SempreWaitingFor", IndexedValueType::Keyword),
        ("SempreWaitingUntil", IndexedValueType::Datetime),
        ("TemporalReportedProblems", IndexedValueType::KeywordList),
        ("CloseTime", IndexedValueType::Datetime),
    ] {
        assert_eq!(system.get(name), Some(&(kind as i32)), "{name}");
    }
}

fn unknown(name: &str) -> String {
    format!("Namespace {NAMESPACE} has no mapping defined for search attribute {name}")
}

#[tokio::test]
async fn only_defined_attributes_with_values_of_their_type_can_be_set() {
    let w = world().await;
    let add = AddSearchAttributesRequest {
        search_attributes: [("Number".to_owned(), IndexedValueType::Int as i32)].into(),
        namespace: NAMESPACE.into(),
    };
    w.engine.add_search_attributes(add).await.unwrap();
    let refused = w.try_start(start("a", &[("Nobody", value("1", "Int"))])).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid(unknown("Nobody")));
    let refused = w.try_start(start("a", &[("Number", value("\"x\"", ""))])).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("invalid value for search attribute Number of type Int: x"));
    let refused = w.try_start(start("a", &[("RunId", value("\"x\"", ""))])).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("RunId attribute can't be set in SearchAttributes"));
    w.try_start(start("a", &[("Number", value("7", ""))])).await.unwrap();
    let shown = w.describe("a").await.unwrap().workflow_execution_info.unwrap().search_attributes.unwrap();
    assert_eq!(shown.indexed_fields["Number"], value("7", "Int"), "with its type");

    let task = w.poll().await;
    w.try_complete(&task.task_token, upsert(&[("Nobody", value("1", "Int"))])).await.unwrap_err();
    let failed = w.history("a").await.into_iter().find_map(|event| match event.attributes {
        Some(EventAttributes::WorkflowTaskFailedEventAttributes(failed)) => Some(failed),
        _ => None,
    });
    let failed = failed.unwrap();
    assert_eq!(failed.cause(), WorkflowTaskFailedCause::BadSearchAttributes);
    assert_eq!(failed.failure.clone().unwrap().message, format!("BadSearchAttributes: {}", unknown("Nobody")));

    // A run that has an attribute keeps it when the namespace loses it, and may say it again.
    let remove = RemoveSearchAttributesRequest { search_attributes: vec!["Number".into()], namespace: NAMESPACE.into() };
    w.engine.remove_search_attributes(remove).await.unwrap();
    let task = w.poll().await;
    w.complete(&task.task_token, upsert(&[("Number", value("8", ""))])).await;
    let shown = w.describe("a").await.unwrap().workflow_execution_info.unwrap().search_attributes.unwrap();
    assert_eq!(shown.indexed_fields["Number"], value("8", "Int"));
    assert!(w.try_start(start("b", &[("Number", value("7", ""))])).await.is_err());
}

#[tokio::test]
async fn unknown_attributes_are_defined_by_use_where_that_is_switched_on() {
    let mut w = world_with(Settings { auto_register_search_attributes: true, ..settings() }).await;
    let request = start("a", &[("Number", value("7", "Int")), ("Words", value("\"a b\"", "INDEXED_VALUE_TYPE_TEXT"))]);
    w.try_start(request).await.unwrap();
    let (int, text, keyword) = (IndexedValueType::Int as i32, IndexedValueType::Text as i32, IndexedValueType::Keyword as i32);
    assert_eq!(custom(&w).await, [("Number".to_owned(), int), ("Words".to_owned(), text)]);
    let task = w.poll().await;
    w.complete(&task.task_token, upsert(&[("Color", value("\"red\"", "Keyword"))])).await;
    let all = [("Color".to_owned(), keyword), ("Number".to_owned(), int), ("Words".to_owned(), text)];
    assert_eq!(custom(&w).await, all);

    // What exists keeps its type; what has no usable one, and what belongs to the server, stays unknown.
    let refused = w.try_start(start("b", &[("Number", value("\"x\"", "Keyword"))])).await.unwrap_err();
    assert_eq!(refused, Refusal::invalid("invalid value for search attribute Number of type Int: x"));
    for (name, kind, data) in [("Nothing", "", "null"), ("Odd", "Odd", "\"x\""), ("TemporalMine", "Keyword", "\"x\"")] {
        assert_eq!(w.try_start(start("b", &[(name, value(data, kind))])).await.unwrap_err(), Refusal::invalid(unknown(name)));
    }
    w.reopen().await;
    assert_eq!(custom(&w).await, all, "they were written");

    // A value that names no type has the one of its JSON.
    let untyped = [("Flag", "true"), ("Count", "7"), ("Share", "0.5"), ("Name", "\"7\""), ("Tags", "[\"a\",\"b\"]")];
    w.try_start(start("c", &untyped.map(|(name, data)| (name, value(data, ""))))).await.unwrap();
    let mut all: Vec<_> = all.into();
    all.extend([
        ("Flag".to_owned(), IndexedValueType::Bool as i32),
        ("Count".to_owned(), int),
        ("Share".to_owned(), IndexedValueType::Double as i32),
        ("Name".to_owned(), keyword),
        ("Tags".to_owned(), IndexedValueType::KeywordList as i32),
    ]);
    all.sort();
    assert_eq!(custom(&w).await, all);
}

//! Search attributes of schedules and of what they start.

use super::*;

fn payload(json: &'static str, kind: &'static str) -> Payload {
    let mut metadata = std::collections::BTreeMap::from([("encoding".to_owned(), "json/plain".into())]);
    if !kind.is_empty() {
        metadata.insert("type".to_owned(), kind.into());
    }
    Payload { metadata, data: json.into(), ..Default::default() }
}

fn attributes(fields: &[(&str, Payload)]) -> SearchAttributes {
    SearchAttributes { indexed_fields: fields.iter().map(|(name, payload)| ((*name).to_owned(), payload.clone())).collect() }
}

async fn define(w: &World, name: &str, kind: IndexedValueType) {
    let search_attributes = [(name.to_owned(), kind as i32)].into();
    w.engine.add_search_attributes(AddSearchAttributesRequest { search_attributes, namespace: NAMESPACE.into() }).await.unwrap();
}

fn with_attributes(mut schedule: Schedule, fields: &[(&str, Payload)]) -> Schedule {
    if let Some(Action::StartWorkflow(action)) = schedule.action.as_mut().and_then(|action| action.action.as_mut()) {
        action.search_attributes = Some(attributes(fields));
    }
    schedule
}

#[tokio::test]
async fn search_attributes_of_a_schedule_and_of_its_action_are_typed_like_those_of_a_start() {
    let w = world().await;
    let unknown = "Namespace default has no mapping defined for search attribute Number";
    let invalid = "invalid value for search attribute Number of type Int: x";
    let own = |value| CreateScheduleRequest {
        search_attributes: Some(attributes(&[("Number", value)])),
        ..create_request("s", every_minute(Policy::Skip))
    };
    let of_action = |value| create_request("s", with_attributes(every_minute(Policy::Skip), &[("Number", value)]));
    for request in [own(payload("7", "")), of_action(payload("7", ""))] {
        assert_eq!(soon(w.engine.create_schedule(request)).await, Err(Refusal::invalid(unknown)));
    }
    define(&w, "Number", IndexedValueType::Int).await;
    for request in [own(payload("\"x\"", "")), of_action(payload("\"x\"", ""))] {
        assert_eq!(soon(w.engine.create_schedule(request)).await, Err(Refusal::invalid(invalid)));
    }
    let mut both = of_action(payload("7", ""));
    both.search_attributes = own(payload("8", "")).search_attributes;
    soon(w.engine.create_schedule(both)).await.unwrap();
    let shown = describe(&w, "s").await;
    assert_eq!(shown.search_attributes, Some(attributes(&[("Number", payload("8", "Int"))])));
    let Some(Action::StartWorkflow(action)) = shown.schedule.unwrap().action.unwrap().action else { panic!("a start") };
    assert_eq!(action.search_attributes, Some(attributes(&[("Number", payload("7", "Int"))])));
    w.advance(Span::seconds(40)).await;
    until_actions(&w, "s", 1).await;
    let run = w.describe("wf-2023-11-14T22:14:00Z").await.unwrap().workflow_execution_info.unwrap();
    assert_eq!(run.search_attributes.unwrap().indexed_fields["Number"], payload("7", "Int"));

    // An update: unset leaves them as they are, an empty set clears them, others replace all.
    let update = async |search_attributes: Option<SearchAttributes>| {
        let request = UpdateScheduleRequest {
            namespace: NAMESPACE.into(),
            schedule_id: "s".into(),
            schedule: Some(every_minute(Policy::Skip)),
            search_attributes,
            ..Default::default()
        };
        soon(w.engine.update_schedule(request)).await.map(drop)
    };
    define(&w, "Other", IndexedValueType::Keyword).await;
    update(None).await.unwrap();
    assert_eq!(describe(&w, "s").await.search_attributes, Some(attributes(&[("Number", payload("8", "Int"))])));
    update(Some(attributes(&[("Other", payload("\"o\"", ""))]))).await.unwrap();
    assert_eq!(describe(&w, "s").await.search_attributes, Some(attributes(&[("Other", payload("\"o\"", "Keyword"))])));
    assert_eq!(
        update(Some(attributes(&[("Nobody", payload("1", ""))]))).await.unwrap_err(),
        Refusal::invalid(unknown.replace("Number", "Nobody"))
    );
    update(Some(SearchAttributes::default())).await.unwrap();
    assert_eq!(describe(&w, "s").await.search_attributes, None);
    assert_eq!(list(&w, 0, bytes::Bytes::new()).await.schedules[0].search_attributes, None);
}

#[tokio::test]
async fn unknown_search_attributes_are_registered_where_that_is_wanted() {
    let w = world_with(sempre_engine::Settings { auto_register_search_attributes: true, ..Default::default() }).await;
    let mut request = create_request("s", with_attributes(every_minute(Policy::Skip), &[("Number", payload("7", "Int"))]));
    request.search_attributes = Some(attributes(&[("Word", payload("\"w\"", "Keyword"))]));
    soon(w.engine.create_schedule(request)).await.unwrap();
    let request = ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    let known = w.engine.list_search_attributes(request).await.unwrap().custom_attributes;
    assert_eq!(known.keys().collect::<Vec<_>>(), ["Number", "Word"]);
}

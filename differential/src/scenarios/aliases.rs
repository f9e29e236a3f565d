//! Search attributes that are given another name, in a namespace of their own. What becomes of one that has no name, and of a
//! name that was given up, is each server's own business: Sempre goes on to know the old name.

use std::collections::BTreeMap;

use sempre_api::v1::{
    enums::IndexedValueType, namespace::NamespaceConfig, operatorservice::AddSearchAttributesRequest, workflowservice::*,
};
use tonic::{Request, Status};

use super::{commands::*, scenarios};
use crate::scene::{Done, Scene, Stop, secs};

scenarios!("aliases": renamed);

/// The reference's parts look at their namespaces every two seconds.
const SPREAD_MILLIS: u64 = 5000;

async fn aliases(s: &Scene) -> Result<BTreeMap<String, String>, Status> {
    let request = DescribeNamespaceRequest { namespace: s.id("ns"), ..Default::default() };
    let answer = s.client().describe_namespace(Request::new(request)).await?.into_inner();
    Ok(answer.config.unwrap_or_default().custom_search_attribute_aliases)
}

/// What the search attributes of the namespace are called.
#[derive(Debug)]
#[expect(dead_code, reason = "shown")]
struct Names(Vec<String>);

/// Gives the field that name; none takes its name away.
async fn alias(s: &Scene, field: &str, name: &str) -> Result<(), Status> {
    let custom_search_attribute_aliases = [(field.to_owned(), name.to_owned())].into();
    let config = NamespaceConfig { custom_search_attribute_aliases, ..Default::default() };
    let request = UpdateNamespaceRequest { namespace: s.id("ns"), config: Some(config), ..Default::default() };
    let answer = s.client().update_namespace(Request::new(request)).await;
    // Which fields there are is the server's business: only the names are told.
    let names = answer.map(|answer| {
        let aliases = answer.into_inner().config.unwrap_or_default().custom_search_attribute_aliases;
        tonic::Response::new(Names(aliases.into_values().collect()))
    });
    s.record(&format!("alias {name:?}"), names)?;
    s.sleep(SPREAD_MILLIS).await;
    Ok(())
}

async fn start(s: &Scene, name: &str, attribute: &str) {
    let search_attributes = Some(search_attributes(&[(attribute, "\"k\"")]));
    s.start_with(name, |r| (r.namespace, r.search_attributes) = (s.id("ns"), search_attributes)).await.ok();
}

/// The search attributes of a run, as they are shown.
async fn shown(s: &Scene, name: &str) -> Result<(), Status> {
    let request = DescribeWorkflowExecutionRequest { namespace: s.id("ns"), execution: Some(s.execution(name)) };
    let answer = s.client().describe_workflow_execution(Request::new(request)).await?.into_inner();
    let fields = answer.workflow_execution_info.and_then(|info| info.search_attributes).unwrap_or_default().indexed_fields;
    let fields: Vec<_> = fields.iter().map(|(name, payload)| format!("{name}={}", String::from_utf8_lossy(&payload.data))).collect();
    s.note(format!("shown {name}: {}", fields.join(" ")));
    Ok(())
}

/// Counts until there are so many, or as many as there are.
async fn count(s: &Scene, query: &str, wanted: i64) {
    let request = || CountWorkflowExecutionsRequest { namespace: s.id("ns"), query: query.into() };
    let mut answer = s.client().count_workflow_executions(Request::new(request())).await;
    for _ in 0..50 {
        if answer.as_ref().map_or(true, |answer| answer.get_ref().count == wanted) {
            break;
        }
        s.sleep(100).await;
        answer = s.client().count_workflow_executions(Request::new(request())).await;
    }
    s.record(&format!("count {query}"), answer).ok();
}

async fn renamed(s: Scene) -> Done {
    let namespace =
        RegisterNamespaceRequest { namespace: s.id("ns"), workflow_execution_retention_period: secs(86_400), ..Default::default() };
    s.client().register_namespace(Request::new(namespace)).await?;
    s.sleep(SPREAD_MILLIS).await;
    let search_attributes = [("DiffOld".to_owned(), IndexedValueType::Keyword as i32)].into();
    let add = AddSearchAttributesRequest { namespace: s.id("ns"), search_attributes };
    s.operator().add_search_attributes(Request::new(add)).await?;
    s.sleep(SPREAD_MILLIS).await;
    let field = aliases(&s).await?.into_iter().find(|(_, name)| name == "DiffOld").map(|(field, _)| field);
    let field = field.ok_or_else(|| Stop::from(Status::not_found("the new attribute has no field")))?;
    start(&s, "a", "DiffOld").await;
    shown(&s, "a").await?;
    count(&s, "DiffOld = 'k'", 1).await;
    alias(&s, &field, "DiffNew").await.ok();
    alias(&s, &field, "").await.ok();
    start(&s, "b", "DiffOld").await;
    count(&s, "DiffOld = 'k'", 0).await;
    alias(&s, &field, "DiffNew").await.ok();
    shown(&s, "a").await?;
    start(&s, "c", "DiffNew").await;
    count(&s, "DiffNew = 'k'", 2).await;
    Ok(())
}

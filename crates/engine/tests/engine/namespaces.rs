use sempre_api::v1::{
    enums::{IndexedValueType, NamespaceState},
    operatorservice::*,
    workflowservice::*,
};
use sempre_core::{Refusal, Span};

use crate::support::*;

fn register(name: &str, retention: i64) -> RegisterNamespaceRequest {
    RegisterNamespaceRequest {
        namespace: name.into(),
        workflow_execution_retention_period: Some(Span::seconds(retention).to_api()),
        ..Default::default()
    }
}

#[tokio::test]
async fn register_describe_update_list_deprecate_delete() {
    let mut w = world().await;
    let e = &w.engine;
    assert_eq!(e.register_namespace(register("", 3600)).await.unwrap_err(), Refusal::invalid("Namespace not set on request."));
    let short = e.register_namespace(register("n", 3599)).await.unwrap_err();
    assert_eq!(short, Refusal::invalid("A valid retention period is not set on request."));
    e.register_namespace(register("n", 3600)).await.unwrap();
    let twice = e.register_namespace(register("n", 3600)).await.unwrap_err();
    assert_eq!(twice, Refusal::NamespaceAlreadyExists("Namespace \"n\" already exists".into()));
    let by_name = e.describe_namespace(DescribeNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let id = by_name.namespace_info.clone().unwrap().id;
    let by_id = e.describe_namespace(DescribeNamespaceRequest { id: id.clone(), ..Default::default() }).await.unwrap();
    assert_eq!(by_name, by_id);
    let list = e.list_namespaces(ListNamespacesRequest { page_size: 1, ..Default::default() }).await.unwrap();
    assert_eq!((list.namespaces.len(), list.next_page_token.is_empty()), (1, false));
    let rest = e.list_namespaces(ListNamespacesRequest { next_page_token: list.next_page_token, ..Default::default() }).await.unwrap();
    assert_eq!((rest.namespaces.len(), rest.next_page_token.is_empty()), (1, true));
    e.deprecate_namespace(DeprecateNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let refused = w.try_start(StartWorkflowExecutionRequest { namespace: "n".into(), ..start_request("a") }).await.unwrap_err();
    assert_eq!(refused, Refusal::NamespaceInvalidState { namespace: "n".into(), state: "Deprecated", allowed: "Registered" });
    let deleted = w.engine.delete_namespace(DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    assert_eq!(deleted.deleted_namespace, format!("n-deleted-{id}"));
    w.engine.register_namespace(register("n", 3600)).await.unwrap();
    w.reopen().await;
    let again = w.engine.describe_namespace(DescribeNamespaceRequest { namespace: "n".into(), ..Default::default() }).await.unwrap();
    let info = again.namespace_info.unwrap();
    assert_ne!(info.id, id);
    assert_eq!(info.state, NamespaceState::Registered as i32);
    let unknown = w.try_start(StartWorkflowExecutionRequest { namespace: "m".into(), ..start_request("a") }).await.unwrap_err();
    assert_eq!(unknown, Refusal::NamespaceNotFound("m".into()));
}

#[tokio::test]
async fn search_attributes_are_registered_per_namespace() {
    let w = world().await;
    let add = |name: &str, kind: i32| AddSearchAttributesRequest {
        search_attributes: [(name.to_owned(), kind)].into(),
        namespace: NAMESPACE.into(),
    };
    let keyword = IndexedValueType::Keyword as i32;
    w.engine.add_search_attributes(add("Color", keyword)).await.unwrap();
    w.engine.add_search_attributes(add("Color", IndexedValueType::Int as i32)).await.unwrap();
    let reserved = w.engine.add_search_attributes(add("WorkflowId", keyword)).await.unwrap_err();
    assert_eq!(reserved, Refusal::invalid("Search attribute WorkflowId is reserved by system."));
    assert_eq!(w.engine.add_search_attributes(add("X", 99)).await.unwrap_err(), Refusal::invalid("Unknown search attribute type: 99."));
    let list = || ListSearchAttributesRequest { namespace: NAMESPACE.into() };
    let known = w.engine.list_search_attributes(list()).await.unwrap();
    assert_eq!(known.custom_attributes, [("Color".to_owned(), keyword)].into());
    assert!(known.system_attributes.contains_key("StartTime"));
    let remove = |name: &str| RemoveSearchAttributesRequest { search_attributes: vec![name.into()], namespace: NAMESPACE.into() };
    assert_eq!(
        w.engine.remove_search_attributes(remove("Nope")).await.unwrap_err(),
        Refusal::not_found("Search attribute Nope doesn't exist.")
    );
    w.engine.remove_search_attributes(remove("Color")).await.unwrap();
    assert!(w.engine.list_search_attributes(list()).await.unwrap().custom_attributes.is_empty());
}

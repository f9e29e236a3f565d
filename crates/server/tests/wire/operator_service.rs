//! OperatorService on the wire: the one cluster, records of Nexus endpoints, the deletion of namespaces.

use sempre_api::v1::{
    nexus::{
        Endpoint, EndpointSpec, EndpointTarget,
        endpoint_target::{External, Variant, Worker},
    },
    operatorservice::*,
    workflowservice::{GetClusterInfoRequest, RegisterNamespaceRequest},
};
use tonic::{Code, Status};

use crate::support::{TestServer, read};

fn external(name: &str, url: &str) -> Option<EndpointSpec> {
    let target = EndpointTarget { variant: Some(Variant::External(External { url: url.into() })) };
    Some(EndpointSpec { name: name.into(), target: Some(target), description: None })
}

fn worker(name: &str, namespace: &str) -> Option<EndpointSpec> {
    let worker = Worker { namespace: namespace.into(), task_queue: "queue".into() };
    Some(EndpointSpec { name: name.into(), target: Some(EndpointTarget { variant: Some(Variant::Worker(worker)) }), description: None })
}

async fn create(server: &TestServer, spec: Option<EndpointSpec>) -> Result<Endpoint, Status> {
    let answer = server.operator().create_nexus_endpoint(CreateNexusEndpointRequest { spec }).await?;
    Ok(answer.into_inner().endpoint.expect("an endpoint"))
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let (code, text, _) = read(&answer.expect_err("refused"));
    (code, text)
}

#[tokio::test]
async fn endpoints_are_made_changed_listed_and_deleted() {
    let server = TestServer::start().await;
    let mut client = server.operator();
    let made = create(&server, external("first", "http://localhost:1")).await.expect("made");
    assert_eq!((made.version, made.url_prefix.clone()), (1, format!("/nexus/endpoints/{}/services", made.id)));
    assert!(made.created_time.is_some() && made.last_modified_time.is_none());
    let taken = refused(create(&server, external("first", "http://localhost:2")).await);
    assert_eq!(taken, (Code::AlreadyExists, "error creating Nexus endpoint. Endpoint with name first already registered".into()));
    let wrong = refused(create(&server, external("1", "file:///etc")).await);
    let text = r#"endpoint name must match the regex: "^[a-zA-Z][a-zA-Z0-9\\-]*[a-zA-Z0-9]$", invalid target URL scheme: "file", expected http or https"#;
    assert_eq!(wrong, (Code::InvalidArgument, text.into()));
    let unknown = refused(create(&server, worker("second", "nowhere")).await);
    let text = "could not verify namespace referenced by target exists: Namespace nowhere is not found.";
    assert_eq!(unknown, (Code::FailedPrecondition, text.into()));

    let update = |id: &str, version, spec| UpdateNexusEndpointRequest { id: id.into(), version, spec };
    for (request, expected) in [
        (update("", 1, external("first", "http://x")), (Code::InvalidArgument, "endpoint ID not set".to_owned())),
        (update("x", 1, external("first", "http://x")), (Code::InvalidArgument, r#"malformed endpoint ID: "x""#.into())),
        (
            update("00000000-0000-4000-8000-000000000000", 1, external("first", "http://x")),
            (Code::NotFound, "error updating Nexus endpoint. endpoint ID 00000000-0000-4000-8000-000000000000 not found".into()),
        ),
        (
            update(&made.id, 2, external("first", "http://x")),
            (Code::FailedPrecondition, "nexus endpoint version mismatch. received: 2 expected 1".into()),
        ),
    ] {
        assert_eq!(refused(client.update_nexus_endpoint(request).await), expected);
    }
    let updated = client.update_nexus_endpoint(update(&made.id, 1, worker("renamed", "default"))).await.expect("updated").into_inner();
    let updated = updated.endpoint.expect("an endpoint");
    assert_eq!((updated.version, updated.created_time, updated.last_modified_time.is_some()), (2, made.created_time, true));
    let got = client.get_nexus_endpoint(GetNexusEndpointRequest { id: made.id.clone() }).await.expect("known").into_inner();
    assert_eq!(got.endpoint.as_ref(), Some(&updated));

    for n in 0..4 {
        create(&server, external(&format!("e{n}"), "http://x")).await.expect("made");
    }
    let mut seen = Vec::new();
    let mut token = Default::default();
    loop {
        let request = ListNexusEndpointsRequest { page_size: 2, next_page_token: token, name: String::new() };
        let page = client.list_nexus_endpoints(request).await.expect("listed").into_inner();
        seen.extend(page.endpoints.into_iter().map(|e| e.spec.expect("a spec").name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, ["e0", "e1", "e2", "e3", "renamed"]);
    let list = |page_size, name: &str| ListNexusEndpointsRequest { page_size, name: name.into(), ..Default::default() };
    let one = client.list_nexus_endpoints(list(0, "e2")).await.expect("listed").into_inner();
    assert_eq!(one.endpoints.len(), 1);
    assert_eq!(refused(client.list_nexus_endpoints(list(-1, "")).await), (Code::InvalidArgument, "page_size is negative".into()));
    let large = refused(client.list_nexus_endpoints(list(1001, "")).await);
    assert_eq!(large, (Code::InvalidArgument, "page_size exceeds limit of 1000".into()));

    let delete = |version| DeleteNexusEndpointRequest { id: made.id.clone(), version };
    let zero = refused(client.delete_nexus_endpoint(delete(0)).await);
    assert_eq!(zero, (Code::InvalidArgument, "endpoint version is non-positive".into()));
    let old = refused(client.delete_nexus_endpoint(delete(1)).await);
    assert_eq!(old, (Code::FailedPrecondition, "nexus endpoint version mismatch. received: 1 expected 2".into()));
    client.delete_nexus_endpoint(delete(2)).await.expect("deleted");
    assert_eq!(refused(client.get_nexus_endpoint(GetNexusEndpointRequest { id: made.id.clone() }).await).0, Code::NotFound);
}

#[tokio::test]
async fn a_namespace_that_is_a_target_stays() {
    let server = TestServer::start().await;
    let register = RegisterNamespaceRequest {
        namespace: "n".into(),
        workflow_execution_retention_period: Some(sempre_api::Duration { seconds: 86_400, nanos: 0 }),
        ..Default::default()
    };
    server.workflow().register_namespace(register).await.expect("registers");
    let endpoint = create(&server, worker("to-n", "n")).await.expect("made");
    let delete = || DeleteNamespaceRequest { namespace: "n".into(), ..Default::default() };
    let mut client = server.operator();
    let kept = refused(client.delete_namespace(delete()).await);
    let text = r#"cannot delete namespace "n": it is the target of the Nexus endpoint "to-n""#;
    assert_eq!(kept, (Code::FailedPrecondition, text.into()));
    client.delete_nexus_endpoint(DeleteNexusEndpointRequest { id: endpoint.id, version: 1 }).await.expect("deleted");
    let deleted = client.delete_namespace(delete()).await.expect("deleted").into_inner().deleted_namespace;
    assert!(deleted.starts_with("n-deleted-") && deleted.len() >= "n-deleted-".len() + 5);
}

#[tokio::test]
async fn the_one_cluster_is_listed_and_no_other_can_be_added() {
    let server = TestServer::start().await;
    let info = server.workflow().get_cluster_info(GetClusterInfoRequest {}).await.expect("answers").into_inner();
    let mut client = server.operator();
    let clusters = client.list_clusters(ListClustersRequest::default()).await.expect("listed").into_inner().clusters;
    assert_eq!(clusters.len(), 1);
    assert_eq!((&clusters[0].cluster_name, &clusters[0].cluster_id), (&info.cluster_name, &info.cluster_id));
    assert_eq!(clusters[0].history_shard_count, info.history_shard_count);
    assert!(clusters[0].is_connection_enabled && !clusters[0].address.is_empty());
    let text = "Unable connect to remote cluster with invalid config: Cannot add remote cluster as global namespace is not supported.";
    for (address, code, text) in [
        ("", Code::Unavailable, "Unable connect to remote cluster  with error: no address is given."),
        ("localhost:7233", Code::InvalidArgument, text),
    ] {
        let request = AddOrUpdateRemoteClusterRequest { frontend_address: address.into(), ..Default::default() };
        assert_eq!(refused(client.add_or_update_remote_cluster(request).await), (code, text.into()));
    }
    for (name, code, text) in [
        ("", Code::NotFound, "The cluster to be deleted cannot be found in clusters cache."),
        ("other", Code::NotFound, "The cluster to be deleted cannot be found in clusters cache."),
        (&info.cluster_name, Code::Internal, "Unable to delete cluster info with error: Cannot delete current cluster metadata."),
    ] {
        let removed = client.remove_remote_cluster(RemoveRemoteClusterRequest { cluster_name: name.to_owned() }).await;
        assert_eq!(refused(removed), (code, text.into()), "{name}");
    }
}

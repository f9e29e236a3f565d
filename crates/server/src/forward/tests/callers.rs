//! Who calls, and how often, is a matter of the first node.

use sempre_api::{
    sempre::v1::{CreateApiKeyRequest, CreateApiKeyResponse},
    v1::{
        common::WorkflowExecution,
        workflowservice::{DescribeWorkflowExecutionRequest, DescribeWorkflowExecutionResponse, StartWorkflowExecutionResponse},
    },
};
use tonic::Code;

use super::*;
use crate::{AuditTo, AuthSettings};

#[tokio::test]
async fn who_calls_is_asked_and_written_down_at_the_first_node_alone() {
    let folder = std::env::temp_dir().join(format!("sempre-forward-auth-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let log = |port: u16| folder.join(format!("audit-{port}"));
    let count = std::sync::atomic::AtomicU64::new(0);
    let n = Nodes::with(2, |settings| {
        settings.auth = Some(AuthSettings { admin_key_file: Some(folder.join("key")), rules_file: None });
        settings.audit = Some(AuditTo::File(log(count.fetch_add(1, Relaxed) as u16)));
    })
    .await;
    let key = format!("Bearer {}", std::fs::read_to_string(folder.join("key")).unwrap().trim());
    let path = "/sempre.v1.AccessService/CreateApiKey";
    let request = CreateApiKeyRequest { name: "ci".into(), grants: vec!["default:read".into()], ..Default::default() }.encode_to_vec();
    for forged in [&[][..], &[("sempre-caller", "CgVhZG1pbhIHKjphZG1pbg=="), ("sempre-hop", "1"), ("sempre-picture", "1")]] {
        let refused = raw(&n.nodes[0].service, path, &request, forged).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
    }
    assert_eq!(n.sent_and_taken(0).0, 0);
    let made = raw(&n.nodes[0].service, path, &request, &[("authorization", &key)]).await.unwrap();
    assert_eq!(CreateApiKeyResponse::decode(made).unwrap().key.unwrap().created_by, "admin key");
    assert_eq!(n.sent_and_taken(0).0, 1);
    let keys = |node: usize| n.nodes[node].service.engine().api_keys().len();
    assert_eq!((keys(0), keys(1)), (0, 1));
    let lines = |number: u16| std::fs::read_to_string(log(number)).unwrap_or_default();
    until(|| lines(0).lines().count() == 3).await;
    assert!(lines(0).contains(r#""result":"Ok""#) && lines(0).contains(r#""who":"admin key""#), "{}", lines(0));
    assert_eq!(lines(1), "");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_node_that_asks_nobody_who_he_is_is_no_way_round_one_that_does() {
    let folder = std::env::temp_dir().join(format!("sempre-forward-round-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    let n = Nodes::with(2, |settings| {
        let asks = count.fetch_add(1, Relaxed) == 1;
        settings.auth = asks.then(|| AuthSettings { admin_key_file: Some(folder.join("key")), rules_file: None });
    })
    .await;
    let refused = n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &start("x")).await.unwrap_err();
    assert_eq!((refused.code(), n.sent_and_taken(1)), (Code::PermissionDenied, (0, 0)));
    assert_eq!(n.sent_and_taken(0), (1, 0));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test]
async fn a_call_counts_for_its_namespaces_rate_at_the_first_node_alone() {
    let count = std::sync::atomic::AtomicU64::new(0);
    // The second has a rate, of so few that a second's calls are too many.
    let n = Nodes::with(2, |settings| {
        if count.fetch_add(1, Relaxed) == 1 {
            settings.engine.rates.calls = 1.0;
        }
    })
    .await;
    for k in 0..20 {
        n.call::<StartWorkflowExecutionResponse>(0, "StartWorkflowExecution", &start(&format!("x{k}"))).await.unwrap();
    }
    let execution = Some(WorkflowExecution { workflow_id: "x0".into(), run_id: String::new() });
    let describe = DescribeWorkflowExecutionRequest { namespace: "default".into(), execution };
    let mut refused = Vec::new();
    for _ in 0..20 {
        refused.extend(n.call::<DescribeWorkflowExecutionResponse>(1, "DescribeWorkflowExecution", &describe).await.err());
    }
    assert!(refused.iter().any(|refused| refused.code() == Code::ResourceExhausted), "{refused:?}");
}

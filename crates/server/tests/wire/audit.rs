//! What is written down of calls: who, what, before and after; and nothing that is secret.

use std::path::PathBuf;

use sempre_api::{
    sempre::v1::{CreateApiKeyRequest, RevokeApiKeyRequest, access_service_client::AccessServiceClient},
    v1::{
        common::{Payload, Payloads, WorkflowExecution, WorkflowType},
        namespace::UpdateNamespaceInfo,
        taskqueue::TaskQueue,
        workflowservice::{
            StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest, UpdateNamespaceRequest,
            workflow_service_client::WorkflowServiceClient,
        },
    },
};
use sempre_server::{AuditTo, AuthSettings, ServerSettings};
use serde_json::Value;
use tonic::{Code, Request};

use crate::support::TestServer;

const ADMIN: &str = "an-admins-key-of-enough-characters-here";

/// Waits for so many lines.
async fn lines(path: &PathBuf, count: usize) -> Vec<Value> {
    loop {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        if text.lines().count() >= count {
            return text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        }
        tokio::task::yield_now().await;
    }
}

/// A server that writes down what is done, in a folder of its own: that, and where it writes.
async fn audited(name: &str) -> (PathBuf, PathBuf, TestServer) {
    let folder = std::env::temp_dir().join(format!("sempre-audited-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("writable");
    let (log, admin_key_file) = (folder.join("audit.jsonl"), folder.join("admin"));
    std::fs::write(&admin_key_file, ADMIN).expect("writable");
    let settings = ServerSettings {
        auth: Some(AuthSettings { admin_key_file: Some(admin_key_file), rules_file: None }),
        audit: Some(AuditTo::File(log.clone())),
        ..ServerSettings::default()
    };
    let server = TestServer::start_with(settings).await;
    (folder, log, server)
}

fn as_admin<R>(request: R) -> Request<R> {
    let mut request = Request::new(request);
    request.metadata_mut().insert("authorization", format!("Bearer {ADMIN}").parse().expect("a header"));
    request
}

#[tokio::test]
async fn who_did_what_is_written_down() {
    let (folder, log, server) = audited("acts").await;
    let mut client = WorkflowServiceClient::new(server.channel.clone());
    let mut keys = AccessServiceClient::new(server.channel.clone());

    let update_info = Some(UpdateNamespaceInfo { description: "new".into(), ..Default::default() });
    let update = UpdateNamespaceRequest { namespace: "default".into(), update_info, ..Default::default() };
    assert_eq!(client.update_namespace(update.clone()).await.expect_err("refused").code(), Code::PermissionDenied);
    client.update_namespace(as_admin(update)).await.expect("changed");
    let create = CreateApiKeyRequest { name: "ci".into(), grants: vec!["default:write".into()], expire_time: None };
    let made = keys.create_api_key(as_admin(create)).await.expect("made").into_inner();
    let id = made.key.expect("told").id;
    // Starts are not written down, what operators do to runs is.
    let start = StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "t".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        request_id: "r".into(),
        ..Default::default()
    };
    client.start_workflow_execution(as_admin(start)).await.expect("started");
    let terminate = TerminateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }),
        reason: "stuck".into(),
        details: Some(Payloads { payloads: vec![Payload { data: b"private"[..].into(), ..Default::default() }] }),
        ..Default::default()
    };
    let mut by_key = Request::new(terminate);
    by_key.metadata_mut().insert("authorization", format!("Bearer {}", made.secret).parse().expect("a header"));
    client.terminate_workflow_execution(by_key).await.expect("terminated");
    keys.revoke_api_key(as_admin(RevokeApiKeyRequest { id: id.clone() })).await.expect("revoked");

    let lines = lines(&log, 5).await;
    let told: Vec<_> =
        lines.iter().map(|line| [&line["who"], &line["call"], &line["result"]].map(|text| text.as_str().expect("text"))).collect();
    let key = format!("key:{id} ci");
    let workflow = "temporal.api.workflowservice.v1.WorkflowService";
    let expected = [
        ["anybody", &format!("{workflow}/UpdateNamespace"), "PermissionDenied"],
        ["admin key", &format!("{workflow}/UpdateNamespace"), "Ok"],
        ["admin key", "sempre.v1.AccessService/CreateApiKey", "Ok"],
        [&key, &format!("{workflow}/TerminateWorkflowExecution"), "Ok"],
        ["admin key", "sempre.v1.AccessService/RevokeApiKey", "Ok"],
    ];
    assert_eq!(told, expected);
    let description = |state: &Value| state["namespaceInfo"]["description"].as_str().unwrap_or_default().to_owned();
    assert_eq!((description(&lines[1]["before"]), description(&lines[1]["after"])), (String::new(), "new".into()));
    assert!(lines[1]["from"].as_str().is_some_and(|from| from.starts_with("127.0.0.1:")) && lines[1]["time"].is_string());
    assert_eq!((&lines[2]["before"], &lines[2]["after"]["keys"][0]["id"]), (&serde_json::json!({}), &id.clone().into()));
    assert_eq!((&lines[4]["before"]["keys"][0]["id"], lines[4]["after"].get("keys")), (&id.into(), None));
    assert_eq!(lines[3]["request"]["workflowExecution"]["workflowId"], "w");
    assert_eq!(lines[3]["request"]["reason"], "stuck");
    let all = std::fs::read_to_string(&log).expect("there");
    for secret in ["private", "cHJpdmF0ZQ", ADMIN, &made.secret, &made.secret[7..]] {
        assert!(!all.contains(secret), "{secret}");
    }
    std::fs::remove_dir_all(&folder).expect("there");
}

/// Known callers who may not do what they ask for are no better than strangers: they do not fill the disk, nor push out what others did.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "lines of refused calls are counted by the wall clock")]
async fn acts_that_are_refused_to_known_callers_are_written_down_within_bounds() {
    const TRIES: usize = 300;
    let (folder, log, server) = audited("refusals").await;
    let mut client = WorkflowServiceClient::new(server.channel.clone());
    let mut keys = AccessServiceClient::new(server.channel.clone());
    let create = CreateApiKeyRequest { name: "other".into(), grants: vec!["other:write".into()], expire_time: None };
    let secret = keys.create_api_key(as_admin(create)).await.expect("made").into_inner().secret;
    let begun = std::time::Instant::now();
    for _ in 0..TRIES {
        let terminate = TerminateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(WorkflowExecution { workflow_id: "w".into(), run_id: String::new() }),
            ..Default::default()
        };
        let mut request = Request::new(terminate);
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().expect("a header"));
        assert_eq!(client.terminate_workflow_execution(request).await.expect_err("refused").code(), Code::PermissionDenied);
    }
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let update_info = Some(UpdateNamespaceInfo { description: "new".into(), ..Default::default() });
    let update = UpdateNamespaceRequest { namespace: "default".into(), update_info, ..Default::default() };
    client.update_namespace(as_admin(update)).await.expect("changed");
    let told = loop {
        let all = lines(&log, 1).await;
        if all.iter().any(|line| line["call"].as_str().is_some_and(|call| call.ends_with("UpdateNamespace"))) {
            break lines(&log, all.len()).await;
        }
    };
    let refused = told.iter().filter(|line| line["result"] == "PermissionDenied").count();
    let left_out: u64 = told.iter().filter_map(|line| line["refusals_left_out"].as_u64()).sum();
    assert!(refused > 0 && refused <= 50 * seconds, "{refused} lines in {seconds} s");
    assert_eq!(refused + left_out as usize, TRIES);
    std::fs::remove_dir_all(&folder).expect("there");
}

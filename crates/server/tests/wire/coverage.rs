//! Exactly the listed methods are built.

use sempre_server::{ServerSettings, TimeSkipping, coverage};
use tonic::Code;

use crate::support::{TestServer, raw_call};

#[tokio::test]
async fn exactly_the_listed_methods_do_not_answer_unimplemented() {
    let server = TestServer::start_with(ServerSettings { time_skipping: Some(TimeSkipping::Locked), ..ServerSettings::default() }).await;
    let mut wrong = Vec::new();
    for method in coverage::methods() {
        let answer = raw_call(&server.channel, &format!("/{}/{}", method.service, method.name), b"", false).await;
        let answers = !matches!(&answer, Err(status) if status.code() == Code::Unimplemented);
        if answers != (method.built || method.lacks.is_some()) {
            wrong.push((method, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn unknown_services_and_methods_answer_unimplemented() {
    let server = TestServer::start().await;
    for path in ["/no.such.Service/Method", "/temporal.api.workflowservice.v1.WorkflowService/NoSuchMethod", "/x"] {
        let status = raw_call(&server.channel, path, b"", false).await.expect_err("unknown");
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

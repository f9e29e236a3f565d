//! Exactly the listed methods are built.

use sempre_server::{ServerSettings, TimeSkipping, coverage};
use tonic::Code;

use crate::support::{TestServer, raw_call};

#[tokio::test]
async fn exactly_the_listed_methods_do_not_answer_unimplemented() {
    let server = TestServer::start_with(ServerSettings { time_skipping: Some(TimeSkipping::Locked), ..ServerSettings::default() }).await;
    let mut wrong = Vec::new();
    for method in coverage::methods() {
        // Methods that are refused to everybody are refused to those who name a namespace: field 1 of all of them.
        let body: &[u8] = if method.refused.is_some() { b"\x0a\x07default" } else { b"" };
        let answer = raw_call(&server.channel, &format!("/{}/{}", method.service, method.name), body, false).await;
        if let (Some(text), Err(status)) = (method.refused, &answer) {
            assert_eq!(status.message(), text, "{}", method.name);
        }
        let answers = !matches!(&answer, Err(status) if status.code() == Code::Unimplemented);
        if answers != (method.built || method.lacks.is_some()) {
            wrong.push((method, answer));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn what_temporal_refuses_is_refused_after_the_namespace_was_looked_at() {
    let server = TestServer::start().await;
    for (service, method, _) in coverage::REFUSED {
        for (body, code, text) in [
            (&b""[..], Code::InvalidArgument, "Namespace is empty."),
            (b"\x0a\x07nowhere", Code::NotFound, "Namespace nowhere is not found."),
        ] {
            let status = raw_call(&server.channel, &format!("/{service}/{method}"), body, false).await.expect_err("refused");
            assert_eq!((status.code(), status.message()), (code, text), "{method}");
        }
    }
}

#[tokio::test]
async fn unknown_services_and_methods_answer_unimplemented() {
    let server = TestServer::start().await;
    for path in ["/no.such.Service/Method", "/temporal.api.workflowservice.v1.WorkflowService/NoSuchMethod", "/x"] {
        let status = raw_call(&server.channel, path, b"", false).await.expect_err("unknown");
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
    }
}

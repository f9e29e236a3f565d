//! Pages over a server that answers little, late or not at all: whatever it says, a page comes out.

use std::sync::Arc;

use bytes::Bytes;
use futures::{FutureExt, executor::block_on, future::BoxFuture};
use http::{HeaderMap, Method, Request, Response};
use sempre_ui::{Backend, QueueSummary, Settings, Ui};
use tonic::{Code, Status};

/// Answers every call with nothing, or refuses those whose method ends so.
struct Server {
    refused: Vec<(&'static str, Code)>,
}

impl Backend for Server {
    fn call<'a>(&'a self, method: &'static str, metadata: HeaderMap, _: Vec<u8>) -> BoxFuture<'a, Result<Bytes, Status>> {
        assert!(metadata.contains_key("grpc-timeout"), "{method} may take for ever");
        let refused = self.refused.iter().find(|(end, _)| method.ends_with(end));
        let answer = refused.map_or(Ok(Bytes::new()), |(_, code)| Err(Status::new(*code, "<refused>")));
        async move { answer }.boxed()
    }

    fn history_from(&self, _: &str, _: i64) -> Option<Bytes> {
        Some(Bytes::from_static(b"token"))
    }

    fn queues(&self, _: &str) -> Vec<QueueSummary> {
        Vec::new()
    }

    fn now(&self) -> i64 {
        1_800_000_000_000_000_000
    }
}

fn get(refused: &[(&'static str, Code)], path: &str) -> Response<Bytes> {
    let ui = Ui::new(Arc::new(Server { refused: refused.to_vec() }), Settings::default()).expect("the files are in the program");
    assert!(ui.is_for(path), "{path}");
    let (parts, ()) = Request::builder().method(Method::GET).uri(path).body(()).expect("a request").into_parts();
    block_on(ui.answer(&parts, Bytes::new()))
}

fn text(answer: &Response<Bytes>) -> &str {
    std::str::from_utf8(answer.body()).expect("text")
}

const PAGES: [&str; 32] = [
    "/namespaces",
    "/settings",
    "/namespaces/n/workflows",
    "/namespaces/n/workflows?query=x&page=00ff&cols=id,@A&size=5",
    "/namespaces/n/counts?query=x",
    "/namespaces/n/welcome?language=go",
    "/namespaces/n/attention",
    "/namespaces/n/alerts?rule=r",
    "/namespaces/n/alerts/create",
    "/namespaces/n/alerts/r/do/test",
    "/namespaces/n/alerts/r/do/delete",
    "/namespaces/n/activities?query=x",
    "/namespaces/n/activities/a/r",
    "/namespaces/n/activities/a/r/do/terminate",
    "/namespaces/n/start-workflow",
    "/namespaces/n/bulk/terminate",
    "/namespaces/n/workflows/w/r",
    "/namespaces/n/workflows/w/r/history?view=compact&order=newest&event=7",
    "/namespaces/n/workflows/w/r/relationships",
    "/namespaces/n/workflows/w/r/queries",
    "/namespaces/n/workflows/w/r/updates",
    "/namespaces/n/workflows/w/r/metadata",
    "/namespaces/n/workflows/w/r/do/fork?event=5",
    "/namespaces/n/schedules",
    "/namespaces/n/schedules/create",
    "/namespaces/n/schedules/s",
    "/namespaces/n/task-queues/q",
    "/namespaces/n/workers/k",
    "/namespaces/n/worker-deployments",
    "/namespaces/n/worker-deployments/d",
    "/namespaces/n/worker-deployments/d/do/no-current",
    "/namespaces/n/batch-operations/b",
];

#[test]
fn every_page_stands_empty_answers() {
    for path in PAGES {
        let answer = get(&[], path);
        assert_eq!(answer.status(), 200, "{path}: {}", text(&answer));
        assert!(text(&answer).starts_with("<!DOCTYPE html>") && text(&answer).ends_with("</html>"), "{path}");
    }
}

#[test]
fn refusals_are_pages_with_their_code() {
    let codes = [
        (Code::NotFound, 404),
        (Code::InvalidArgument, 400),
        (Code::PermissionDenied, 403),
        (Code::Unauthenticated, 401),
        (Code::ResourceExhausted, 429),
        (Code::Unimplemented, 501),
        (Code::DeadlineExceeded, 504),
        (Code::Unavailable, 503),
        (Code::Internal, 500),
    ];
    for (code, status) in codes {
        let answer = get(&[("DescribeWorkflowExecution", code)], "/namespaces/n/workflows/w/r");
        assert_eq!(answer.status(), status, "{code:?}");
        assert!(text(&answer).contains("&lt;refused&gt;"), "{}", text(&answer));
    }
}

#[test]
fn a_list_does_not_wait_for_its_counts() {
    let late = get(&[("CountWorkflowExecutions", Code::DeadlineExceeded)], "/namespaces/n/workflows?query=x");
    assert_eq!(late.status(), 200);
    assert!(text(&late).contains("data-load=\"/namespaces/n/counts?query=x\""), "{}", text(&late));
    // A wrong filter stays in its field; without a filter there is nothing that the viewer could mend.
    let wrong = get(&[("ListWorkflowExecutions", Code::InvalidArgument)], "/namespaces/n/workflows?query=%22x");
    assert!(wrong.status() == 200 && text(&wrong).contains("value=\"&quot;x\"") && text(&wrong).contains("filter-error"));
    assert_eq!(get(&[("ListWorkflowExecutions", Code::InvalidArgument)], "/namespaces/n/workflows").status(), 400);
}

#[test]
fn a_path_that_is_none_is_refused() {
    assert_eq!(get(&[], "/namespaces/%ff/workflows").status(), 400);
}

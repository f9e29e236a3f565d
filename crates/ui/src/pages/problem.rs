//! What is shown where there is no page: why not, and where to go on.

use bytes::Bytes;
use http::{Response, StatusCode};
use maud::html;
use tonic::Code;

use crate::{
    layout::{Page, Section},
    visit::{Problem, Visit},
};

/// The page of a refusal.
pub(crate) fn page(visit: &Visit, problem: &Problem) -> Response<Bytes> {
    let status = &problem.0;
    let (title, code) = match status.code() {
        Code::NotFound => ("Not found", StatusCode::NOT_FOUND),
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => ("That does not work", StatusCode::BAD_REQUEST),
        Code::AlreadyExists | Code::Aborted => ("That is there already", StatusCode::CONFLICT),
        Code::PermissionDenied => ("Not allowed", StatusCode::FORBIDDEN),
        Code::Unauthenticated => ("Who are you?", StatusCode::UNAUTHORIZED),
        Code::ResourceExhausted => ("Too much at once", StatusCode::TOO_MANY_REQUESTS),
        Code::Unimplemented => ("Not built", StatusCode::NOT_IMPLEMENTED),
        Code::DeadlineExceeded => ("No answer in time", StatusCode::GATEWAY_TIMEOUT),
        Code::Unavailable | Code::Cancelled => ("Not right now", StatusCode::SERVICE_UNAVAILABLE),
        _ => ("Something went wrong", StatusCode::INTERNAL_SERVER_ERROR),
    };
    // What is below a namespace that is not there would not be there either.
    let namespace = match visit.segments.as_slice() {
        [first, name, ..] if first == "namespaces" && !status.message().starts_with("Namespace ") => name.as_str(),
        _ => "",
    };
    let up = match visit.segments.as_slice() {
        [_, name, section, _, ..] if !namespace.is_empty() => (visit.link(&["namespaces", name, section]), "Back to the list"),
        [_, name, ..] if !namespace.is_empty() => (visit.link(&["namespaces", name, "workflows"]), "Workflows of this namespace"),
        _ => (visit.link(&["namespaces"]), "All namespaces"),
    };
    let body = html! {
        div.problem {
            p.problem-code { (code.as_u16()) }
            h1 { (title) }
            p.problem-text { (status.message()) }
            p { a.button href=(up.0) { (up.1) } }
        }
    };
    Page::new(namespace, Section::Settings, title, body).answer_as(visit, code)
}

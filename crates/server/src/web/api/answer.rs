//! Answers in the form that was asked for, and refusals as `google.rpc.Status` in JSON.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use prost::Message;
use sempre_api::{
    google,
    json::{self, Payloads},
};
use serde_json::Value;
use std::convert::Infallible;
use tonic::{Code, Status};

/// A whole body, or one that goes on.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
pub(crate) type Answer = http::Response<Body>;

/// How JSON is written, and how payloads stand in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) pretty: bool,
    pub(crate) payloads: Payloads,
}

impl Form {
    pub(crate) const PLAIN: Self = Self { pretty: false, payloads: Payloads::Shorthand };
    const ALL: [(&'static str, Self); 4] = [
        ("application/json", Self::PLAIN),
        ("application/json+pretty", Self { pretty: true, ..Self::PLAIN }),
        ("application/json+no-payload-shorthand", Self { payloads: Payloads::Full, ..Self::PLAIN }),
        ("application/json+pretty+no-payload-shorthand", Self { pretty: true, payloads: Payloads::Full }),
    ];

    fn of_type(media: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == media).map(|(_, form)| *form)
    }

    fn content_type(self) -> &'static str {
        Self::ALL.iter().find(|(_, form)| *form == self).map_or("application/json", |(name, _)| name)
    }

    /// The form of a request's body, and of its answer: by content type, `Accept`, and the query's `pretty` and
    /// `noPayloadShorthand`, of which the later counts more.
    pub(crate) fn of_request(headers: &HeaderMap, query: &[(String, String)]) -> (Self, Self) {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let essence = |value: String| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let content = headers.get_all(header::CONTENT_TYPE).iter().find_map(|value| Self::of_type(&essence(text(value))));
        let inbound = content.unwrap_or(Self::PLAIN);
        let accepted = headers.get_all(header::ACCEPT).iter().find_map(|value| Self::of_type(text(value).trim()));
        let asked = |name: &str| query.iter().any(|(given, _)| given == name);
        let outbound = match (asked("pretty"), asked("noPayloadShorthand")) {
            (false, false) => accepted.unwrap_or(inbound),
            (pretty, full) => Self { pretty, payloads: if full { Payloads::Full } else { Payloads::Shorthand } },
        };
        (inbound, outbound)
    }
}

/// JSON with a status code.
pub(crate) fn json(code: StatusCode, form: Form, value: &Value) -> Answer {
    let text = if form.pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    // A value is always JSON.
    whole(code, form.content_type(), text.unwrap_or_default())
}

/// A whole answer.
pub(crate) fn whole(code: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = http::Response::new(Full::new(body.into()).boxed_unsync());
    *answer.status_mut() = code;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    // What is not said to be something must not be taken for a page.
    answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A refusal, under the HTTP code that goes with its own.
pub(crate) fn refusal(form: Form, status: &Status) -> Answer {
    refusal_as(http_code(status.code()), form, status)
}

/// A refusal under another code.
pub(crate) fn refusal_as(code: StatusCode, form: Form, status: &Status) -> Answer {
    json(code, form, &status_value(status, form.payloads))
}

pub(crate) fn status_value(status: &Status, payloads: Payloads) -> Value {
    let details = google::rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
    let told = google::rpc::Status { code: status.code().into(), message: status.message().to_owned(), details };
    // A detail that nobody here knows is left out.
    json::to_value(&told, payloads)
}

/// The HTTP code of a gRPC code, as gateways have it.
pub(crate) fn http_code(code: Code) -> StatusCode {
    let number = match code {
        Code::Ok => 200,
        Code::Cancelled => 499,
        Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange => 400,
        Code::DeadlineExceeded => 504,
        Code::NotFound => 404,
        Code::AlreadyExists | Code::Aborted => 409,
        Code::PermissionDenied => 403,
        Code::Unauthenticated => 401,
        Code::ResourceExhausted => 429,
        Code::Unimplemented => 501,
        Code::Unavailable => 503,
        Code::Unknown | Code::Internal | Code::DataLoss => 500,
    };
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(headers: &[(header::HeaderName, &'static str)], query: &[&str]) -> (Form, Form) {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let query: Vec<_> = query.iter().map(|name| ((*name).to_owned(), String::new())).collect();
        Form::of_request(&headers, &query)
    }

    #[test]
    fn the_form_is_what_was_asked_for() {
        let full = Form { payloads: Payloads::Full, ..Form::PLAIN };
        let pretty = Form { pretty: true, ..Form::PLAIN };
        assert_eq!(forms(&[], &[]), (Form::PLAIN, Form::PLAIN));
        let content = (header::CONTENT_TYPE, "application/json+no-payload-shorthand; charset=utf-8");
        assert_eq!(forms(std::slice::from_ref(&content), &[]), (full, full));
        assert_eq!(forms(&[content.clone(), (header::ACCEPT, "application/json")], &[]), (full, Form::PLAIN));
        assert_eq!(forms(&[content, (header::ACCEPT, "application/json")], &["pretty"]), (full, pretty));
        assert_eq!(forms(&[(header::ACCEPT, "text/html")], &["noPayloadShorthand"]), (Form::PLAIN, full));
        for (name, form) in Form::ALL {
            assert_eq!(form.content_type(), name);
        }
    }

    #[test]
    fn a_status_keeps_its_details() {
        let refusal = sempre_core::Refusal::NamespaceNotFound("n".into());
        let value = status_value(&crate::status::from_refusal(refusal), Payloads::Shorthand);
        assert_eq!(value["code"], 5);
        assert_eq!(value["details"][0]["@type"], "type.googleapis.com/temporal.api.errordetails.v1.NamespaceNotFoundFailure");
        assert_eq!(value["details"][0]["namespace"], "n");
    }
}

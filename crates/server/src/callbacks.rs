//! Completion callbacks over HTTP: a POST in the form of a finished Nexus operation (spec 08 §5.6–5.7).
//!
//! | answer | result |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 401, 403, 404, 409, 501 | refused for good |
//! | all others, no connection, no answer in time | undelivered: tried again |
//!
//! Header `nexus-request-retryable` of the answer (`true`, `false`) overrules the last two lines.
#![expect(clippy::disallowed_methods, reason = "the other side answers by the wall clock")]

pub(crate) mod failure;
mod request;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use sempre_core::transition::{CallbackCall, CallbackResult};
use sempre_engine::CallbackSender;
use tokio::time::timeout;

use crate::http_client::{self, Answer, Cut, Permits, Tls};

/// Time for one attempt (`component.callbacks.request.timeout`).
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Bytes of an answer's body that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's own words that are kept.
const MESSAGE_BYTES_MAX: usize = 1000;

/// See the module.
pub(crate) struct HttpCallbacks {
    permits: Arc<Permits>,
    tls: Arc<Tls>,
}

impl HttpCallbacks {
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Permits::new()), tls: Arc::default() }
    }
}

impl CallbackSender for HttpCallbacks {
    fn send(&self, call: CallbackCall) -> BoxFuture<'static, CallbackResult> {
        let (permits, tls) = (self.permits.clone(), self.tls.clone());
        async move {
            let Some(nexus) = request::nexus(&call) else {
                return CallbackResult::Refused("only Nexus callbacks can be delivered".into());
            };
            let (uri, request) = match request::of(nexus, &call) {
                Ok(request) => request,
                Err(text) => return CallbackResult::Refused(text),
            };
            // Waiting for it is no part of the attempt.
            let _permit = permits.of(&uri).await;
            match timeout(ATTEMPT_MAX, http_client::send(&uri, request, &tls, ANSWER_BYTES_MAX)).await {
                Ok(Ok(answer)) => judge(answer),
                Ok(Err(text)) => CallbackResult::Undelivered(text),
                Err(_) => CallbackResult::Undelivered(format!("no answer within {} seconds", ATTEMPT_MAX.as_secs())),
            }
        }
        .boxed()
    }
}

fn judge(answer: Answer) -> CallbackResult {
    // The body of a success says nothing: that the connection ended within it changes nothing.
    if answer.status.is_success() {
        return CallbackResult::Delivered;
    }
    if answer.body == Err(Cut::Broken) {
        return CallbackResult::Undelivered("the connection ended within the answer".into());
    }
    let (name, retryable) = match answer.status.as_u16() {
        400 => ("BAD_REQUEST", false),
        401 => ("UNAUTHENTICATED", false),
        403 => ("UNAUTHORIZED", false),
        404 => ("NOT_FOUND", false),
        408 => ("REQUEST_TIMEOUT", true),
        409 => ("CONFLICT", false),
        429 => ("RESOURCE_EXHAUSTED", true),
        500 => ("INTERNAL", true),
        501 => ("NOT_IMPLEMENTED", false),
        503 => ("UNAVAILABLE", true),
        520 => ("UPSTREAM_TIMEOUT", true),
        _ => ("", true),
    };
    let retryable = match answer.headers.get("nexus-request-retryable").map(|value| value.as_bytes().to_ascii_lowercase()) {
        Some(value) if value == b"true" => true,
        Some(value) if value == b"false" => false,
        _ => retryable,
    };
    let said = message(&answer);
    let text = if name.is_empty() { said } else { format!("handler error ({name}): {said}") };
    if retryable { CallbackResult::Undelivered(text) } else { CallbackResult::Refused(text) }
}

/// The other side's own words, or its status.
fn message(answer: &Answer) -> String {
    let words = serde_json::from_slice::<serde_json::Value>(answer.bytes()).ok();
    let words = words.and_then(|failure| Some(failure.get("message")?.as_str()?.to_owned())).filter(|words| !words.is_empty());
    let mut words = words.unwrap_or_else(|| format!("unexpected response status: \"{}\"", answer.status));
    let end = (0..=MESSAGE_BYTES_MAX.min(words.len())).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    words.truncate(end);
    words
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderMap, StatusCode};

    use super::*;

    fn answer(status: u16, retryable: Option<&'static str>, body: &'static str) -> CallbackResult {
        let mut headers = HeaderMap::new();
        retryable.map(|value| headers.insert("nexus-request-retryable", http::HeaderValue::from_static(value)));
        judge(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Ok(Bytes::from_static(body.as_bytes())) })
    }

    #[test]
    fn answers_are_judged_by_their_status() {
        assert_eq!(answer(200, None, ""), CallbackResult::Delivered);
        assert_eq!(answer(204, None, ""), CallbackResult::Delivered);
        let gone = CallbackResult::Refused("handler error (NOT_FOUND): gone".into());
        assert_eq!(answer(404, None, r#"{"message":"gone"}"#), gone);
        let busy =
            CallbackResult::Undelivered("handler error (UNAVAILABLE): unexpected response status: \"503 Service Unavailable\"".into());
        assert_eq!(answer(503, None, "not json"), busy);
        let cut = |status| judge(Answer { status, headers: HeaderMap::new(), body: Err(Cut::Broken) });
        assert_eq!(cut(StatusCode::OK), CallbackResult::Delivered);
        assert!(matches!(cut(StatusCode::BAD_REQUEST), CallbackResult::Undelivered(_)), "nobody knows what it would have said");
        assert!(matches!(answer(302, None, ""), CallbackResult::Undelivered(text) if text == "unexpected response status: \"302 Found\""));
        assert!(matches!(answer(404, Some("true"), ""), CallbackResult::Undelivered(_)));
        assert!(matches!(answer(500, Some("False"), ""), CallbackResult::Refused(_)));
    }
}

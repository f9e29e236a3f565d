//! Completion callbacks over HTTP: a POST in the form of a finished Nexus operation (spec 08 §5.6–5.7).
//!
//! | answer | result |
//! |---|---|
//! | 2xx | delivered |
//! | 400, 401, 403, 404, 409, 501 | refused for good |
//! | all others, no connection, no answer in time | undelivered: tried again |
//!
//! Header `nexus-request-retryable` of the answer (`true`, `false`) overrules the table.
#![expect(clippy::disallowed_methods, reason = "the other side answers by the wall clock")]

mod failure;
mod request;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sempre_core::{
    transition::{CallbackCall, CallbackResult},
    validate::SYSTEM_CALLBACK_URL,
};
use sempre_engine::CallbackSender;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, RootCertStore, crypto::ring, pki_types::ServerName},
};

/// Time for one attempt (`component.callbacks.request.timeout`).
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Attempts of one server under way at once; more wait.
const ATTEMPTS_MAX: usize = 64;
/// Bytes of an answer's body that are read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Bytes of an answer's own words that are kept.
const MESSAGE_BYTES_MAX: usize = 1000;

/// See the module.
pub(crate) struct HttpCallbacks {
    permits: Arc<Semaphore>,
    /// Made when the first `https` callback is sent: reading the system's certificates takes a while.
    tls: Arc<OnceLock<Result<TlsConnector, String>>>,
}

impl HttpCallbacks {
    pub(crate) fn new() -> Self {
        Self { permits: Arc::new(Semaphore::new(ATTEMPTS_MAX)), tls: Arc::default() }
    }
}

impl CallbackSender for HttpCallbacks {
    fn send(&self, call: CallbackCall) -> BoxFuture<'static, CallbackResult> {
        let (permits, tls) = (self.permits.clone(), self.tls.clone());
        async move {
            // The semaphore is never closed.
            let _permit = permits.acquire_owned().await;
            let Some(nexus) = request::nexus(&call) else {
                return CallbackResult::Refused("only Nexus callbacks can be delivered".into());
            };
            if nexus.url == SYSTEM_CALLBACK_URL {
                // No token of a Nexus operation is this server's: it gives none out yet.
                return CallbackResult::Refused("handler error (BAD_REQUEST): invalid callback token".into());
            }
            let (uri, request) = match request::of(nexus, &call) {
                Ok(request) => request,
                Err(text) => return CallbackResult::Refused(text),
            };
            match timeout(ATTEMPT_MAX, post(uri, request, &tls)).await {
                Ok(Ok(answer)) => judge(answer),
                Ok(Err(text)) => CallbackResult::Undelivered(text),
                Err(_) => CallbackResult::Undelivered(format!("no answer within {} seconds", ATTEMPT_MAX.as_secs())),
            }
        }
        .boxed()
    }
}

/// An answer, as far as it matters.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

async fn post(uri: Uri, request: Request<Full<Bytes>>, tls: &OnceLock<Result<TlsConnector, String>>) -> Result<Answer, String> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let secure = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| format!("cannot connect to {host}:{port}: {e}"))?;
    if !secure {
        return exchange(stream, request).await;
    }
    let connector = tls.get_or_init(connector).clone()?;
    let name = ServerName::try_from(host.clone()).map_err(|e| format!("{host} is no name of a server: {e}"))?;
    let stream = connector.connect(name, stream).await.map_err(|e| format!("no secure connection to {host}:{port}: {e}"))?;
    exchange(stream, request).await
}

fn connector() -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(format!("the system has no root certificates to check https callbacks with: {:?}", found.errors));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// One request on a connection of its own.
async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Full<Bytes>>) -> Result<Answer, String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let answer = async move {
        let response = sender.send_request(request).await.map_err(|e| format!("no answer: {e}"))?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    tokio::pin!(answer, connection);
    let mut connected = true;
    loop {
        tokio::select! {
            answer = &mut answer => return answer,
            // Its end is told through the answer.
            _ = &mut connection, if connected => connected = false,
        }
    }
}

fn judge(answer: Answer) -> CallbackResult {
    if answer.status.is_success() {
        return CallbackResult::Delivered;
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
    let words = serde_json::from_slice::<serde_json::Value>(&answer.body).ok();
    let words = words.and_then(|failure| Some(failure.get("message")?.as_str()?.to_owned())).filter(|words| !words.is_empty());
    let mut words = words.unwrap_or_else(|| format!("unexpected response status: \"{}\"", answer.status));
    let end = (0..=MESSAGE_BYTES_MAX.min(words.len())).rev().find(|at| words.is_char_boundary(*at)).unwrap_or(0);
    words.truncate(end);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retryable: Option<&'static str>, body: &'static str) -> CallbackResult {
        let mut headers = HeaderMap::new();
        retryable.map(|value| headers.insert("nexus-request-retryable", http::HeaderValue::from_static(value)));
        judge(Answer { status: StatusCode::from_u16(status).unwrap(), headers, body: Bytes::from_static(body.as_bytes()) })
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
        assert!(matches!(answer(302, None, ""), CallbackResult::Undelivered(text) if text == "unexpected response status: \"302 Found\""));
        assert!(matches!(answer(404, Some("true"), ""), CallbackResult::Undelivered(_)));
        assert!(matches!(answer(500, Some("False"), ""), CallbackResult::Refused(_)));
    }
}

//! What the HTTP port answers: the beginning of a path says whose it is, and that part answers in its own form.
//!
//! | path | part |
//! |---|---|
//! | `/nexus/…`, `/namespaces/…` | [`crate::nexus::routes`] |
//! | others | nobody's: 404 |
//!
//! A new part gets a line in [`WebRouter::dispatch`]. What holds for every request is done here: a panic becomes a masked
//! 500. Bodies are bounded by those who read them.

pub(crate) mod connection;

use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use sempre_engine::Engine;

use crate::{nexus::routes, router::panic_text};

/// An answer, whole.
pub(crate) type Answer = Response<Full<Bytes>>;

/// What a path without a part is told, in the form of gRPC's statuses as JSON.
const NOT_FOUND: &str = r#"{"code":5,"message":"Not Found","details":[]}"#;
const FAILED: &str = r#"{"code":13,"message":"internal error","details":[]}"#;

/// All that is answered over HTTP; cheap to clone.
#[derive(Clone)]
pub(crate) struct WebRouter {
    engine: Engine,
}

impl WebRouter {
    pub(crate) fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// Answers one request. Dropping the future gives it up.
    pub(crate) async fn call(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let answer = AssertUnwindSafe(self.dispatch(request)).catch_unwind().await;
        answer.unwrap_or_else(|panic| {
            tracing::error!(path, panic = panic_text(panic.as_ref()), "a request failed");
            json(StatusCode::INTERNAL_SERVER_ERROR, FAILED)
        })
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Answer {
        match request.uri().path().split('/').nth(1) {
            Some("nexus" | "namespaces") => routes::answer(&self.engine, request).await,
            _ => json(StatusCode::NOT_FOUND, NOT_FOUND),
        }
    }
}

/// An answer that is JSON.
pub(crate) fn json(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

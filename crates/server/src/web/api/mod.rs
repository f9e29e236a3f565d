//! The API as JSON, by the routes of its descriptors, and the document that describes it.
//!
//! ```text
//! request ─► routes ─► request (path, query, body → message) ─► call ─► router, as for gRPC
//!    JSON ◄─ answer (google.rpc.Status for refusals) ◄───────────────────── message ◄────────────────────┘
//! ```
//! Knows no method by name: routes and messages are read from descriptors.
#![expect(clippy::disallowed_methods, reason = "bodies are waited for by the wall clock")]

pub(crate) mod answer;
pub(crate) mod call;
mod openapi;
pub(crate) mod request;
pub(crate) mod routes;

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header, request::Parts};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use prost::Message;
use sempre_api::json::{self, reflect::DynamicMessage};
use tokio::time::timeout;
use tonic::Status;

use self::{
    answer::{Answer, Form, refusal, refusal_as, whole},
    routes::{Compiled, Found, Routes},
};
use crate::{classes::Kind, frames::MESSAGE_BYTES_MAX, room::Counted, router::Router};

/// Where the API is described, by OpenAPI 3. What is JSON is YAML too.
const DOCUMENT: [&str; 3] = ["/api/v1/openapi.json", "/openapi.json", "/openapi.yaml"];

/// How long a body may take to come.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// The API over HTTP; cheap to clone.
#[derive(Clone)]
pub(crate) struct JsonApi(Arc<Inner>);

struct Inner {
    router: Router,
    routes: Routes,
    /// Written at the first question.
    document: OnceLock<Bytes>,
}

impl JsonApi {
    pub(crate) fn new(router: Router) -> Self {
        Self(Arc::new(Inner { router, routes: Routes::new(), document: OnceLock::new() }))
    }

    /// Answers one request. Dropping the future gives the call up.
    pub(crate) async fn answer<B>(&self, request: http::Request<B>) -> Answer
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<tonic::codegen::StdError>,
    {
        let (parts, body) = request.into_parts();
        let query = routes::query_pairs(parts.uri.query().unwrap_or_default());
        let (inbound, form) = Form::of_request(&parts.headers, query.as_deref().unwrap_or_default());
        let Some(query) = query else { return refusal(form, &Status::invalid_argument("the query is not escaped as in URLs")) };
        if DOCUMENT.contains(&parts.uri.path()) {
            return match parts.method {
                Method::GET => whole(StatusCode::OK, "application/json", self.document()),
                _ => wrong_verb(form, &["GET"]),
            };
        }
        match self.0.routes.find(parts.method.as_str(), parts.uri.path()) {
            Found::Route(route, in_path) => {
                let called = self.call(route, in_path, &query, &parts, inbound, body).await;
                match called {
                    Ok(message) => answer::json(StatusCode::OK, form, &json::dynamic_to_value(&message, form.payloads)),
                    Err(status) => refusal(form, &status),
                }
            }
            Found::OtherVerbs(verbs) => wrong_verb(form, &verbs),
            Found::Nothing => refusal(form, &Status::not_found("Not Found")),
            Found::Malformed => refusal(form, &Status::invalid_argument("the path is not escaped as in URLs")),
        }
    }

    async fn call<B>(
        &self,
        route: &Compiled,
        in_path: Vec<(&'static str, String)>,
        query: &[(String, String)],
        parts: &Parts,
        inbound: Form,
        body: B,
    ) -> Result<DynamicMessage, Status>
    where
        B: http_body::Body<Data = Bytes>,
        B::Error: Into<tonic::codegen::StdError>,
    {
        let metadata = call::metadata(&parts.headers, call::peer(&parts.extensions))?;
        let router = &self.0.router;
        let (service, method) = route.method.trim_start_matches('/').split_once('/').unwrap_or_default();
        let held = router.room().enter(Kind::of(service, method), 0)?;
        let known = match router.access() {
            Some(access) => access.knows(&route.method, &metadata.headers, metadata.peer.as_ref()).await,
            None => true,
        };
        let body = match route.route.body {
            "" => Bytes::new(),
            // The call is refused whatever it says.
            _ if !known => Bytes::new(),
            _ => self::body(Counted::new(body, &held)).await?,
        };
        let message = request::build(route, in_path, query, &body, inbound.payloads)?;
        let answer = call::unary(router, &route.method, metadata, &message.encode_to_vec()).await?;
        DynamicMessage::decode(route.output.clone(), answer)
            .map_err(|error| Status::internal(format!("an answer that cannot be read: {error}")))
    }

    fn document(&self) -> Bytes {
        self.0.document.get_or_init(|| openapi::document(self.0.routes.all()).to_string().into()).clone()
    }
}

/// The whole body, if it comes in time and is not too large.
pub(crate) async fn body<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    timeout(BODY_WAIT, bounded(body)).await.map_err(|_| Status::deadline_exceeded("the body did not come in time"))?
}

/// The whole body, unless it is too large.
async fn bounded<B>(body: B) -> Result<Bytes, Status>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    let collected = Limited::new(body, MESSAGE_BYTES_MAX).collect().await;
    collected.map(http_body_util::Collected::to_bytes).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
        Some(_) => Status::invalid_argument("http: request body too large"),
        None => error.downcast::<Status>().map_or_else(|_| Status::cancelled("the body broke off"), |refused| *refused),
    })
}

fn wrong_verb(form: Form, verbs: &[&str]) -> Answer {
    // The code is that of gateways, the HTTP status what HTTP asks for.
    let mut answer = refusal_as(StatusCode::METHOD_NOT_ALLOWED, form, &Status::unimplemented("Method Not Allowed"));
    if let Ok(verbs) = HeaderValue::from_str(&verbs.join(", ")) {
        answer.headers_mut().insert(header::ALLOW, verbs);
    }
    answer
}

//! What the HTTP port answers: the beginning of a path says whose it is, and that part answers in its own form.
//!
//! | path | part |
//! |---|---|
//! | `/nexus/…`, `/namespaces/…/nexus…` | [`crate::nexus::routes`] |
//! | `…/history-stream`, `…/workflow-stream` | [`streams`] |
//! | `/metrics` | [`crate::metrics`] |
//! | at the port of the web UI: `/`, `/namespaces…`, `/ui/…`, `/settings` | [`ui`] |
//! | routes of the API, `/api/v1/openapi.json` | [`api`] |
//!
//! A new part gets a line in [`WebRouter::dispatch`]. What holds for every request is done here: browsers that were tricked
//! are refused, a panic becomes a masked 500. Bodies are bounded by those who read them.

pub(crate) mod api;
pub(crate) mod connection;
pub(crate) mod hosts;
mod stall;
mod streams;
pub(crate) mod ui;

use std::{net::SocketAddr, panic::AssertUnwindSafe, path::PathBuf, sync::Arc};

use futures::FutureExt;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sempre_engine::Engine;
use tokio::sync::{Semaphore, watch};
use tonic::Status;

use self::{
    api::{
        JsonApi,
        answer::{Answer, Form, refusal, whole},
        call, routes,
    },
    hosts::Hosts,
    streams::{Named, STREAMS_MAX, Streams},
    ui::Pages,
};
use crate::{
    access::{Roles, table::Need},
    metrics::Metrics,
    nexus,
    router::{Router, panic_text},
    status,
};

const METRICS: &str = "/metrics";
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is answered over HTTP; cheap to clone.
#[derive(Clone)]
pub(crate) struct WebRouter {
    hosts: Hosts,
    api: JsonApi,
    streams: Streams,
    metrics: Metrics,
    /// Nothing else is answered.
    only_metrics: bool,
    /// What else is answered, at the port of the web UI.
    pages: Option<Pages>,
}

impl WebRouter {
    /// `hosts` says who may ask; `folder` is that of the data, if there is one; `draining` turns true when the server shuts
    /// down.
    pub(crate) fn new(router: Router, engine: Engine, hosts: Hosts, folder: Option<PathBuf>, draining: watch::Receiver<bool>) -> Self {
        Self {
            hosts,
            api: JsonApi::new(router.clone()),
            metrics: Metrics::new(engine.clone(), router.clone(), folder),
            streams: Streams { router, engine, draining, free: Arc::new(Semaphore::new(STREAMS_MAX)) },
            only_metrics: false,
            pages: None,
        }
    }

    /// The same for a port of metrics.
    pub(crate) fn of_metrics(&self, hosts: Hosts) -> Self {
        Self { hosts, only_metrics: true, ..self.clone() }
    }

    /// The same, and pages.
    pub(crate) fn with_pages(&self, hosts: Hosts, pages: Pages) -> Self {
        Self { hosts, pages: Some(pages), ..self.clone() }
    }

    /// The same for a connection that arrived at this address.
    pub(crate) fn at(&self, address: SocketAddr) -> Self {
        Self { hosts: self.hosts.at(address), ..self.clone() }
    }

    /// Answers one request. Dropping the future gives it up.
    pub(crate) async fn call(&self, request: Request<Incoming>) -> Answer {
        let of_programs = self.only_metrics || is_nexus(request.uri().path()) || request.uri().path() == METRICS;
        if let Err(why) = self.hosts.check(request.uri(), request.headers(), of_programs) {
            return refusal(Form::PLAIN, &Status::permission_denied(why));
        }
        let path = request.uri().path().to_owned();
        let answer = AssertUnwindSafe(self.dispatch(request)).catch_unwind().await;
        answer.unwrap_or_else(|panic| refusal(Form::PLAIN, &status::masked(&path, panic_text(panic.as_ref()))))
    }

    async fn dispatch(&self, mut request: Request<Incoming>) -> Answer {
        if let Some(pages) = &self.pages {
            if pages.is_for(request.uri().path()) {
                // Pages show things of all namespaces, such as task queues, that no call of a single one tells.
                if let Some(access) = self.streams.router.access() {
                    let peer = call::peer(request.extensions());
                    if let Err(refused) = access.require(Need::System(Roles::READ), request.headers(), peer.as_ref()).await {
                        return refusal(Form::PLAIN, &refused);
                    }
                }
                return pages.answer(request).await;
            }
            pages.without_public_path(&mut request);
        }
        let path = request.uri().path();
        if !self.only_metrics && is_nexus(path) {
            let long_calls = self.streams.router.long_calls();
            let access = self.streams.router.access();
            let bounds = (long_calls, self.streams.router.room());
            return nexus::routes::answer(&self.streams.engine, access, bounds, request).await.map(BodyExt::boxed_unsync);
        }
        if request.method() == Method::GET && request.uri().path() == METRICS {
            if let Some(access) = self.streams.router.access() {
                let peer = call::peer(request.extensions());
                let allowed = access.require(Need::System(Roles::READ), request.headers(), peer.as_ref()).await;
                if let Err(refused) = allowed {
                    return refusal(Form::PLAIN, &refused);
                }
            }
            return whole(StatusCode::OK, METRICS_TYPE, self.metrics.text().await);
        }
        if self.only_metrics {
            return refusal(Form::PLAIN, &Status::not_found("Not Found"));
        }
        let named = routes::segments(request.uri().path()).and_then(|segments| Named::of(&segments));
        if let Some(named) = named.filter(|_| request.method() == Method::GET)
            && let Some(query) = routes::query_pairs(request.uri().query().unwrap_or_default())
        {
            let peer = call::peer(request.extensions());
            return self.streams.answer(named, request.headers(), peer, &query).await;
        }
        self.api.answer(request).await
    }
}

fn is_nexus(path: &str) -> bool {
    path.starts_with("/nexus/") || nexus::routes::is_route(path)
}

//! The web UI at a port of its own: the pages of `sempre-ui`, made of calls that go the way of all others.
//!
//! Without the feature `ui` there is none, and a server that is asked for it does not start.

use http::Request;
use hyper::body::Incoming;

use super::api::answer::Answer;
use crate::{Service, UiSettings};

#[cfg(feature = "ui")]
pub(crate) use built::Pages;
#[cfg(not(feature = "ui"))]
pub(crate) use left_out::Pages;

#[cfg(feature = "ui")]
mod built {
    use std::sync::Arc;

    use bytes::Bytes;
    use futures::{FutureExt, future::BoxFuture};
    use http::{HeaderMap, Uri};
    use http_body_util::{BodyExt, Full};
    use sempre_api::v1::enums::TaskQueueType;
    use sempre_core::transition::QueueKind;
    use sempre_engine::Engine;
    use sempre_ui::{Backend, QueueSummary, Settings, Ui};
    use tonic::Status;

    use super::{Answer, Incoming, Request, Service, UiSettings};
    use crate::{
        classes::Kind,
        ports::Peer,
        room::Counted,
        router::Router,
        web::api::{answer, body, call},
    };

    tokio::task_local! {
        /// Who asks for the page, as his connection tells: every call that the page makes is his.
        static PEER: Option<Arc<Peer>>;
    }

    /// The pages of a server; cheap to clone.
    #[derive(Clone)]
    pub(crate) struct Pages {
        ui: Ui,
        router: Router,
        /// In front of every path.
        public_path: String,
    }

    impl Pages {
        /// `grpc` is where workers find the server.
        pub(crate) fn new(service: &Service, settings: &UiSettings, grpc: String) -> Result<Self, String> {
            let router = service.router().clone();
            let backend = Arc::new(InProcess { router: router.clone(), engine: service.engine().clone() });
            let inside = settings.public_path.trim_matches('/');
            let public_path = if inside.is_empty() { String::new() } else { format!("/{inside}") };
            let settings = Settings {
                public_path: public_path.clone(),
                codec_endpoint: settings.codec_endpoint.clone(),
                grpc_address: grpc,
                asset_path: settings.asset_path.clone(),
            };
            let ui = Ui::new(backend, settings).map_err(|error| error.to_string())?;
            Ok(Self { ui, router, public_path })
        }

        pub(crate) fn is_for(&self, path: &str) -> bool {
            self.ui.is_for(path)
        }

        pub(crate) async fn answer(&self, request: Request<Incoming>) -> Answer {
            let (parts, incoming) = request.into_parts();
            // What is counted of it is held until the page is answered.
            let held = self.router.room().enter(Kind::OTHER, 0);
            let read = match &held {
                Ok(held) if parts.method == http::Method::POST => body(Counted::new(incoming, held)).await,
                Ok(_) => Ok(Bytes::new()),
                Err(full) => Err(full.clone()),
            };
            match read {
                Ok(body) => {
                    let peer = call::peer(&parts.extensions);
                    let answer = PEER.scope(peer, self.ui.answer(&parts, body)).await;
                    answer.map(|body| Full::new(body).boxed_unsync())
                }
                Err(status) => answer::refusal(answer::Form::PLAIN, &status),
            }
        }

        /// The API is below the public path as well: pages ask for it there.
        pub(crate) fn without_public_path(&self, request: &mut Request<Incoming>) {
            let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
            let inside = target.strip_prefix(self.public_path.as_str()).filter(|rest| rest.starts_with('/'));
            if let Some(uri) = inside.filter(|_| !self.public_path.is_empty()).and_then(|rest| rest.parse::<Uri>().ok()) {
                *request.uri_mut() = uri;
            }
        }
    }

    /// The server's own calls.
    struct InProcess {
        router: Router,
        engine: Engine,
    }

    impl Backend for InProcess {
        fn call<'a>(&'a self, method: &'static str, metadata: HeaderMap, message: Vec<u8>) -> BoxFuture<'a, Result<Bytes, Status>> {
            let peer = PEER.try_with(Clone::clone).ok().flatten();
            async move { call::unary(&self.router, method, call::Metadata { headers: metadata, peer }, &message).await }.boxed()
        }

        fn history_from(&self, run_id: &str, event_id: i64) -> Option<Bytes> {
            self.engine.history_from(run_id, event_id)
        }

        fn queues(&self, namespace: &str) -> Vec<QueueSummary> {
            let now = self.engine.now();
            let of_namespace =
                |queue: &sempre_engine::QueueSummary| self.engine.namespace_name(queue.namespace).as_deref() == Some(namespace);
            let queues = self.engine.queue_summaries().into_iter().filter(of_namespace);
            let summary = |queue: sempre_engine::QueueSummary| QueueSummary {
                kind: match queue.kind {
                    QueueKind::Workflow => TaskQueueType::Workflow,
                    QueueKind::Activity => TaskQueueType::Activity,
                    QueueKind::Nexus => TaskQueueType::Nexus,
                },
                name: queue.name,
                backlog: queue.backlog,
                oldest_seconds: queue.oldest.map(|oldest| now.since(oldest).0.max(0) / 1_000_000_000),
                pollers: queue.pollers,
            };
            queues.map(summary).collect()
        }

        fn now(&self) -> i64 {
            self.engine.wall_now().0
        }
    }
}

#[cfg(not(feature = "ui"))]
mod left_out {
    use super::{Answer, Incoming, Request, Service, UiSettings};

    /// There are none.
    #[derive(Clone)]
    pub(crate) enum Pages {}

    impl Pages {
        pub(crate) fn new(_: &Service, _: &UiSettings, _: String) -> Result<Self, String> {
            Err("this program was built without it".to_owned())
        }

        pub(crate) fn is_for(&self, _: &str) -> bool {
            match *self {}
        }

        pub(crate) async fn answer(&self, _: Request<Incoming>) -> Answer {
            match *self {}
        }

        pub(crate) fn without_public_path(&self, _: &mut Request<Incoming>) {
            match *self {}
        }
    }
}

//! An engine with all its services, for callers in the same process. No socket: that is [`crate::Server`]'s.

use std::{
    hash::{BuildHasher, RandomState},
    path::PathBuf,
    sync::Arc,
};

use bytes::Bytes;
use futures::FutureExt;
use http_body::Body;
use sempre_api::v1::operatorservice::{AddSearchAttributesRequest, ListSearchAttributesRequest};
use sempre_core::Refusal;
#[cfg(feature = "postgres")]
use sempre_engine::node::Node;
use sempre_engine::{
    Clock, Components, Engine, OpenIndex, Peers, VirtualTime,
    real::{SystemClock, TokioSpawner},
    visibility::{Index, sqlite::SqliteIndex},
};
use sempre_store::Store;

#[cfg(feature = "postgres")]
use crate::node::Joined;
use crate::{
    ServerError, ServerSettings,
    access::{Access, keys},
    alerts::HttpAlerts,
    alerts_file::AlertsFile,
    audit::Audit,
    callbacks::HttpCallbacks,
    forward::Forward,
    frontend::Frontend,
    metrics::Metrics,
    nexus::client::HttpOperations,
    router::Router,
    server::TimeSkipping,
    telemetry::{self, Telemetry},
    worlds::Worlds,
};

/// Where the engine of a service comes from.
pub(crate) enum Source {
    /// It is opened over this store. With forwarding it takes up no shard by itself, and what is elsewhere goes there.
    Store(Arc<dyn Store>, Option<OpenIndex>, Option<Arc<Forward>>),
    /// As that of a node.
    #[cfg(feature = "postgres")]
    Node(Box<Joined>, Arc<Forward>),
}

/// See the module. Clones are the same.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    store: Arc<dyn Store>,
    router: Router,
    telemetry: Option<Arc<Telemetry>>,
    alerts_file: Option<Arc<AlertsFile>>,
    /// What follows who is there and what is whose.
    #[cfg(feature = "postgres")]
    node: Option<Arc<Node>>,
}

impl Service {
    /// Opens the engine over `store` and prepares namespaces. Must be called in a tokio runtime.
    pub async fn open(settings: &ServerSettings, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        Self::open_with(settings, store, None).await
    }

    /// As [`Service::open`], with another index of runs than that in the settings' file or in memory.
    pub async fn open_with(settings: &ServerSettings, store: Arc<dyn Store>, index: Option<OpenIndex>) -> Result<Self, ServerError> {
        Self::open_at(settings, seed(settings), Source::Store(store, index, None)).await
    }

    /// As [`Service::open_with`], with an engine from elsewhere. A node's prepares nothing: not everything of it is here.
    pub(crate) async fn open_at(settings: &ServerSettings, seed: u64, source: Source) -> Result<Self, ServerError> {
        if let Some(reason) = Worlds::refused(settings) {
            return Err(ServerError::Prepare { what: "a clock for each namespace".into(), reason: reason.into() });
        }
        let wall = Arc::new(SystemClock::new());
        let clock: Arc<dyn Clock> = match settings.time_skipping {
            None => wall,
            Some(TimeSkipping::Locked) => Arc::new(VirtualTime::locked(wall)),
            Some(TimeSkipping::Unlocked) => Arc::new(VirtualTime::unlocked(wall)),
        };
        let spawner = Arc::new(TokioSpawner::current());
        let no_chance =
            || ServerError::Prepare { what: "the key of callback tokens".into(), reason: "the system gives no random bits".into() };
        let token_key = keys::random().ok_or_else(no_chance)?;
        let forward = match &source {
            Source::Store(_, _, forward) => forward.as_ref(),
            #[cfg(feature = "postgres")]
            Source::Node(_, forward) => Some(forward),
        };
        let peers = forward.map(|forward| Arc::new(forward.messages()) as Arc<dyn Peers>);
        let components = Components {
            callbacks: Arc::new(HttpCallbacks::new()),
            alerts: Arc::new(HttpAlerts::new()),
            operations: Arc::new(HttpOperations::new(settings.callback_template.clone())),
            peers,
            token_key,
            ..Components::default()
        };
        #[cfg(feature = "postgres")]
        let mut place = None;
        let (engine, store, forward) = match source {
            Source::Store(store, index, forward) => {
                let index = index.unwrap_or_else(|| open_index(settings.visibility_file.clone()));
                let components = Components { index, takes_shards: forward.is_none(), ..components };
                let engine = Engine::open_with(Arc::clone(&store), clock, spawner, seed, settings.engine.clone(), components).await?;
                prepare(&engine, settings).await?;
                (engine, store, forward)
            }
            #[cfg(feature = "postgres")]
            Source::Node(joined, forward) => {
                let node = joined.open(clock, spawner, seed, settings.engine.clone(), components).await?;
                let (engine, store) = (node.engine().clone(), node.store());
                place = Some(Arc::new(node));
                (engine, store, Some(forward))
            }
        };
        let alerts_file = settings.alerts_file.clone().map(|path| Arc::new(AlertsFile::new(path)));
        if let Some(file) = &alerts_file {
            file.apply(&engine, true).await.transpose()?;
        }
        let audit = settings.audit.clone().map(Audit::new).transpose().map_err(ServerError::Audit)?;
        let access = settings.auth.clone().map(|auth| Access::new(engine.clone(), auth)).transpose()?;
        let spans = settings.otlp.as_ref().and_then(telemetry::tracer);
        let tracer = spans.as_ref().map(|(tracer, _)| tracer.clone());
        let frontend = Frontend::new(engine.clone(), settings, access, audit);
        #[cfg(feature = "postgres")]
        let frontend = frontend.with_node(place.clone());
        let router = Router::new(frontend, tracer, Worlds::new(settings), forward);
        let telemetry = settings.otlp.as_ref().map(|otlp| {
            let metrics = Metrics::new(engine.clone(), router.clone(), settings.folder());
            Arc::new(Telemetry::start(otlp, engine.cluster_id(), spans, metrics))
        });
        Ok(Self {
            engine,
            store,
            router,
            telemetry,
            alerts_file,
            #[cfg(feature = "postgres")]
            node: place,
        })
    }

    /// Answers one call of gRPC. Dropping the future gives the call up.
    pub async fn call<B>(&self, request: http::Request<B>) -> http::Response<tonic::body::Body>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        self.router.call(request).await
    }

    /// The engine, for callers that need no gRPC: that of the server, if namespaces have their own.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// Takes no new calls, answers open polls empty, finishes what is in flight, closes the store.
    pub async fn close(&self) {
        self.stop().await;
        self.stop_telemetry().await;
        self.close_store().await;
    }

    /// What follows who is there and what is whose. `None`: it is none of several nodes.
    #[cfg(feature = "postgres")]
    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    /// A node gives what it has to the others, and answers meanwhile. A server alone has nothing to do.
    pub(crate) async fn hand_over(&self) {
        #[cfg(feature = "postgres")]
        if let Some(node) = &self.node {
            node.hand_over().await;
        }
    }

    /// Sends what there is still to tell.
    pub(crate) async fn stop_telemetry(&self) {
        if let Some(telemetry) = &self.telemetry {
            telemetry.stop().await;
        }
    }

    /// As [`Service::close`], but for the store.
    pub(crate) async fn stop(&self) {
        if let Some(forward) = self.router.forward() {
            // One that has lost its place reaches nobody any more.
            if self.engine.fatal().now_or_never().is_none() {
                forward.finish().await;
            }
            forward.stop();
        }
        self.engine.shutdown().await;
        if let Some(worlds) = self.router.worlds() {
            worlds.stop().await;
        }
    }

    pub(crate) async fn close_store(&self) {
        if let Err(error) = self.store.close().await {
            tracing::error!(%error, "the store did not close cleanly");
        }
    }

    /// The file of alert rules, if there is one.
    pub(crate) fn alerts_file(&self) -> Option<&Arc<AlertsFile>> {
        self.alerts_file.as_ref()
    }

    pub(crate) fn router(&self) -> &Router {
        &self.router
    }
}

/// A number that no other process has, as far as chance allows.
pub(crate) fn seed(settings: &ServerSettings) -> u64 {
    // The hasher's keys are the one source of chance in the standard library.
    RandomState::new().hash_one(settings.address)
}

/// The index belongs to the data of the id that it is given.
fn open_index(file: Option<PathBuf>) -> OpenIndex {
    Box::new(move |owner| {
        let index = match &file {
            Some(path) => SqliteIndex::open(path, owner),
            None => SqliteIndex::in_memory(owner),
        };
        futures::future::ready(index.map(|index| Arc::new(index) as Arc<dyn Index>)).boxed()
    })
}

/// Makes sure that the namespaces and search attributes of the settings exist.
async fn prepare(engine: &Engine, settings: &ServerSettings) -> Result<(), ServerError> {
    for namespace in &settings.namespaces {
        let refused = |what: String| move |refusal: Refusal| ServerError::Prepare { what, reason: reason(refusal) };
        let made = engine.ensure_namespace(namespace, settings.retention).await;
        made.map_err(refused(format!("namespace `{namespace}`")))?;
        if settings.search_attributes.is_empty() {
            continue;
        }
        let request = ListSearchAttributesRequest { namespace: namespace.clone() };
        let what = || format!("search attributes of namespace `{namespace}`");
        let known = engine.list_search_attributes(request).await.map_err(refused(what()))?.custom_attributes;
        let missing = settings.search_attributes.iter().filter(|(name, kind)| known.get(name) != Some(&i32::from(*kind)));
        let search_attributes: std::collections::BTreeMap<_, _> = missing.map(|(name, kind)| (name.clone(), i32::from(*kind))).collect();
        if !search_attributes.is_empty() {
            let request = AddSearchAttributesRequest { search_attributes, namespace: namespace.clone() };
            engine.add_search_attributes(request).await.map_err(refused(what()))?;
        }
    }
    Ok(())
}

fn reason(refusal: Refusal) -> String {
    crate::status::from_refusal(refusal).message().to_owned()
}

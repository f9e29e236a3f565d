//! A world for each namespace: an engine, data in memory and a clock of its own, so that tests in different namespaces hold time and
//! let it go without each other ([`ServerSettings::clock_per_namespace`]).
//!
//! | call | whose world answers |
//! |---|---|
//! | about a namespace | its own; it begins with the first call that names it |
//! | with a token of a task, or the id of a namespace, and no name | that which knows it |
//! | of TestService | that of the namespace in the metadata `temporal-namespace`; without it that of the server |
//! | any other, and about a namespace of the settings | that of the server |
//!
//! Nothing reaches out of a world: who starts a child in another namespace, signals there or calls a Nexus endpoint finds none.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body::Body;
use http_body_util::Full;
use sempre_core::Refusal;
use sempre_store::memory::MemoryStore;
use tokio::sync::OnceCell;
use tonic::Status;

use crate::{
    access::{
        scan,
        table::{Rule, Rules},
    },
    frames::{BoundedMessages, PREFIX_BYTES},
    router::{Response, Router, whole},
    server::ServerSettings,
    service::Service,
    status,
};

/// The metadata by which SDKs tell the namespace of a call.
const NAMESPACE_HEADER: &str = "temporal-namespace";
const TEST_SERVICE: &str = "/temporal.api.testservice.v1.TestService/";
/// Worlds at once: each has threads of its own.
const WORLDS_MAX: usize = 1000;

/// See the module.
pub(crate) struct Worlds {
    /// What each is opened with.
    settings: ServerSettings,
    /// Namespaces of the server's own world.
    home: Vec<String>,
    /// Where in a request its namespace is.
    rules: Rules,
    others: Mutex<BTreeMap<String, Arc<OnceCell<Service>>>>,
}

impl Worlds {
    /// `None`: all namespaces are in one world.
    pub(crate) fn new(settings: &ServerSettings) -> Option<Arc<Self>> {
        let home = settings.namespaces.clone();
        let world = ServerSettings { namespaces: Vec::new(), clock_per_namespace: false, ..settings.clone() };
        settings.clock_per_namespace.then(|| Arc::new(Self { settings: world, home, rules: Rules::new(), others: Mutex::default() }))
    }

    /// Why namespaces cannot have clocks of their own with these settings.
    pub(crate) fn refused(settings: &ServerSettings) -> Option<&'static str> {
        let refused = if settings.time_skipping.is_none() {
            "time is that of the world"
        } else if settings.auth.is_some() || settings.audit.is_some() {
            "it is for tests, without authentication and audit log"
        } else if settings.visibility_file.is_some() {
            "it is for data in memory"
        } else {
            return None;
        };
        settings.clock_per_namespace.then_some(refused)
    }

    /// Answers a call in the world it is about; `home` is the server's own.
    pub(crate) async fn answer<B>(&self, home: &Router, request: http::Request<BoundedMessages<B>>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let path = request.uri().path();
        if path.starts_with(TEST_SERVICE) {
            let named = request.headers().get(NAMESPACE_HEADER).map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned());
            return match self.of(named.unwrap_or_default()).await {
                Ok(None) => home.dispatch(request).await,
                Ok(Some(world)) => world.router().dispatch(request).await,
                Err(refused) => refused.into_http(),
            };
        }
        let Some(rule) = self.rules.of(path).filter(|rule| rule.name.is_some()).cloned() else { return home.dispatch(request).await };
        let (parts, body) = request.into_parts();
        let frame = match whole(body).await {
            Ok(frame) => frame,
            Err(refused) => return refused.into_http(),
        };
        let world = match named(&rule, frame.get(PREFIX_BYTES..).unwrap_or_default()) {
            Ok((name, ..)) if !name.is_empty() => self.of(name).await,
            Ok((_, id, token)) => Ok(self.knowing(&id, &token)),
            // The codec says what is wrong with it.
            Err(scan::Malformed) => Ok(None),
        };
        let request = BoundedMessages::new(http::Request::from_parts(parts, Full::new(frame)));
        match world {
            Ok(None) => home.dispatch(request).await,
            Ok(Some(world)) => world.router().dispatch(request).await,
            Err(refused) => refused.into_http(),
        }
    }

    /// Stops all engines but that of the server.
    pub(crate) async fn stop(&self) {
        futures::future::join_all(self.open().iter().map(|world| world.engine().shutdown())).await;
    }

    /// The world that has a namespace of this id, or gave the token. `None`: that of the server, or none.
    fn knowing(&self, id: &str, token: &Bytes) -> Option<Service> {
        let knows = |world: &Service| match (id.is_empty(), token.is_empty()) {
            (false, _) => world.engine().namespace_with_id(id).is_some(),
            (true, false) => !world.engine().namespaces_of_token(token).is_empty(),
            (true, true) => false,
        };
        self.open().into_iter().find(knows)
    }

    fn open(&self) -> Vec<Service> {
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.values().filter_map(|world| world.get().cloned()).collect()
    }

    /// The world of a namespace, which begins if there is none. `None`: that of the server.
    async fn of(&self, namespace: String) -> Result<Option<Service>, Status> {
        // One that cannot be is refused there.
        let cannot_be = namespace.is_empty() || namespace.len() > self.settings.engine.limits.id_length_max;
        if cannot_be || self.home.contains(&namespace) {
            return Ok(None);
        }
        let world = {
            let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
            if !others.contains_key(&namespace) && others.len() >= WORLDS_MAX {
                let text = format!("more than {WORLDS_MAX} namespaces have clocks of their own; start another test server");
                return Err(Status::resource_exhausted(text));
            }
            Arc::clone(others.entry(namespace).or_default())
        };
        let opened = world.get_or_try_init(|| Service::open(&self.settings, Arc::new(MemoryStore::new()))).await;
        opened.cloned().map(Some).map_err(|error| {
            tracing::error!(%error, "a namespace's world does not open");
            status::from_refusal(Refusal::Unavailable(error.to_string()))
        })
    }
}

/// Name and id of the namespace that a message is about, and the token of a task in it; empty where it has none.
fn named(rule: &Rule, message: &[u8]) -> Result<(String, String, Bytes), scan::Malformed> {
    let last = |path: &Option<scan::Path>| path.as_ref().map_or(Ok(&[][..]), |path| scan::last(message, path));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(last(&rule.name)?), text(last(&rule.id)?), Bytes::copy_from_slice(last(&rule.token)?)))
}

//! A server: a service behind a listening socket, until it is told to stop.
//!
//! Two servers can live in one process; nothing here is process-wide.
#![expect(clippy::disallowed_methods, reason = "a stop is bounded by the wall clock")]

use std::{future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use sempre_api::v1::enums::IndexedValueType;
use sempre_core::Span;
use sempre_engine::{Engine, OpenError, OpenIndex};
use sempre_store::Store;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

#[cfg(feature = "postgres")]
use crate::node::{self, NodeSettings};
use crate::{
    AlertsFileError, AuditTo, AuthError, AuthSettings, OtlpSettings, Service,
    connection::{self, ConnectionSettings},
    faults::FaultSettings,
    forward::{self, Forward, NodePort, Owners},
    http_ports::{self, Web},
    ports::{
        self, Answers, Ports,
        tls::{Tls, TlsError, TlsSettings},
    },
    reload::{self, Reloader},
    service::{self, Source},
};

/// Connections of workers and clients at once; more are closed as they come.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections of HTTP/1 at once, metrics included: they take no room from workers.
const HTTP_CONNECTIONS_MAX: usize = 4096;
/// How long calls in flight may take to finish when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// After so long without an answer another node is not reached, where no lease says how long a silent node is waited for.
const SILENCE: Duration = Duration::from_secs(3);
/// Pause after a failed accept: the usual reason is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How virtual time begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSkipping {
    /// Locked: it passes as fast as that of the world until somebody unlocks it.
    Locked,
    /// Unlocked: it jumps from the beginning.
    Unlocked,
}

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Namespaces that must exist.
    pub namespaces: Vec<String>,
    /// Retention of those that are made.
    pub retention: Span,
    /// Search attributes that each of these namespaces must have.
    pub search_attributes: Vec<(String, IndexedValueType)>,
    /// The engine's settings, limits included.
    pub engine: sempre_engine::Settings,
    /// Where it answers HTTP; port 0 takes a free one. `None`: nowhere.
    pub http_address: Option<SocketAddr>,
    /// Names by which it may be asked over HTTP, `*` standing for any text. Empty: all, but where only this machine can
    /// reach the address, addresses and `localhost` alone.
    pub http_hosts: Vec<String>,
    /// URL for callbacks of Nexus operations at endpoints elsewhere; `{{.NamespaceName}}` in it stands for the caller's
    /// namespace. Unset, it is a route of the HTTP address, if there is one and it is not that of all interfaces: no other
    /// machine could call that.
    pub callback_template: Option<String>,
    /// Where it tells metrics and nothing else; port 0 takes a free one. They are told at the HTTP address too.
    pub metrics_address: Option<SocketAddr>,
    /// Where and how it serves the web UI, with the API over HTTP beside the pages. `None`: nowhere.
    pub ui: Option<UiSettings>,
    /// TLS of all ports. `None`: there is none.
    pub tls: Option<TlsSettings>,
    /// How callers are known. `None`: nobody is asked who he is.
    pub auth: Option<AuthSettings>,
    /// Where it is written down who did what. `None`: nowhere.
    pub audit: Option<AuditTo>,
    /// File of alert rules that are in force beside those that calls set (docs/alerts.md). `None`: there is none.
    pub alerts_file: Option<PathBuf>,
    /// Who is told metrics and spans by OTLP. `None`: nobody.
    pub otlp: Option<OtlpSettings>,
    /// How long connections live.
    pub connections: ConnectionSettings,
    /// Bytes of memory that calls may hold: one more is answered with RESOURCE_EXHAUSTED.
    pub call_bytes_max: u64,
    /// What the store is, for GetClusterInfo.
    pub store_name: &'static str,
    /// File of the index that lists and counts are answered from; in memory without one.
    pub visibility_file: Option<PathBuf>,
    /// Time is virtual, for tests; only over an empty store. `None`: it is the world's.
    pub time_skipping: Option<TimeSkipping>,
    /// A namespace that nobody has made is made by the first call that names it. For tests.
    pub any_namespace: bool,
    /// Each namespace but those of `namespaces` has an engine, data in memory and time of its own, and nothing reaches from one into
    /// another. For tests: only where time is virtual and nobody is asked who he is, and over a store in memory.
    pub clock_per_namespace: bool,
    /// What goes wrong between workers and this server, by chance; only with virtual time. For tests.
    pub faults: Option<FaultSettings>,
}

/// How the web UI is served.
#[derive(Clone, Debug)]
pub struct UiSettings {
    /// Where it answers; port 0 takes a free one.
    pub address: SocketAddr,
    /// In front of every path, such as `/sempre`; empty: nothing.
    pub public_path: String,
    /// Where browsers have payloads decoded, unless the viewer says otherwise.
    pub codec_endpoint: Option<String>,
    /// A folder with files that are served instead of those in the program.
    pub asset_path: Option<PathBuf>,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 7233)),
            namespaces: vec!["default".into()],
            retention: Span::seconds(24 * 3600),
            search_attributes: Vec::new(),
            engine: sempre_engine::Settings::default(),
            http_address: None,
            http_hosts: Vec::new(),
            callback_template: None,
            metrics_address: None,
            ui: None,
            tls: None,
            auth: None,
            audit: None,
            alerts_file: None,
            otlp: None,
            connections: ConnectionSettings::default(),
            call_bytes_max: 1 << 30,
            store_name: "memory",
            visibility_file: None,
            time_skipping: None,
            any_namespace: false,
            clock_per_namespace: false,
            faults: None,
        }
    }
}

impl ServerSettings {
    /// The folder of the data, if there is one.
    pub(crate) fn folder(&self) -> Option<PathBuf> {
        self.visibility_file.as_ref().and_then(|file| file.parent()).map(PathBuf::from)
    }
}

/// Why a server did not start or stopped by itself. The texts are for an operator.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {}", listen_advice(.source, .option))]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The option that names its port.
        option: &'static str,
        /// The operating system's refusal.
        source: io::Error,
    },
    /// The certificates cannot be used.
    #[error("no TLS: {0}")]
    Tls(#[from] TlsError),
    /// How callers are known cannot be found out.
    #[error("no authentication: {0}")]
    Auth(#[from] AuthError),
    /// The audit log cannot be written.
    #[error("no audit log: {0}")]
    Audit(io::Error),
    /// The alert rules of the settings cannot be put in force.
    #[error("no alerts: {0}")]
    Alerts(#[from] AlertsFileError),
    /// The engine could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A namespace or search attribute of the settings was refused.
    #[error("cannot prepare {what}: {reason}")]
    Prepare {
        /// What was to be made.
        what: String,
        /// Why it was not.
        reason: String,
    },
    /// The engine cannot go on.
    #[error("the server had to stop: {0}")]
    Failed(String),
}

fn listen_advice(source: &io::Error, option: &str) -> String {
    match source.kind() {
        io::ErrorKind::AddrInUse => format!("the port is in use. Stop what uses it, or give another one with {option}."),
        io::ErrorKind::PermissionDenied => format!("this user may not use that port. Give one above 1023 with {option}."),
        io::ErrorKind::AddrNotAvailable if option == forward::OPTION => {
            "this machine does not have that address. Give one that it has with --node-ip.".into()
        }
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address. Give another one with --ip.".into(),
        _ => format!("{source}."),
    }
}

/// How a server comes to its data.
enum Way {
    /// It has it alone.
    Alone(Arc<dyn Store>, Option<OpenIndex>),
    /// It shares it, and is told what is whose.
    Among(Arc<dyn Store>, Option<OpenIndex>, NodePort, Arc<dyn Owners>),
    /// It comes among the nodes that share it.
    #[cfg(feature = "postgres")]
    Node(Box<NodeSettings>),
}

/// A server that listens but does not answer yet.
pub struct Server {
    ports: Ports,
    address: SocketAddr,
    web: Web,
    tls: Option<Arc<Tls>>,
    reloader: Reloader,
    service: Service,
    /// Where other nodes reach it.
    node_address: Option<String>,
    /// What answers other nodes, if there are any.
    node_tasks: JoinSet<()>,
    /// What goes on until everything is answered.
    beside: JoinSet<()>,
    /// Turns true when it shuts down.
    drain: watch::Sender<bool>,
    connections: Arc<ConnectionSettings>,
}

impl Server {
    /// Listens, opens the engine over `store` and prepares namespaces. Must be called in a tokio runtime.
    pub async fn bind(settings: ServerSettings, store: Arc<dyn Store>) -> Result<Self, ServerError> {
        Self::bind_with(settings, store, None).await
    }

    /// As [`Server::bind`], with another index of runs than that in the settings' file or in memory.
    pub async fn bind_with(settings: ServerSettings, store: Arc<dyn Store>, index: Option<OpenIndex>) -> Result<Self, ServerError> {
        Self::bind_at(settings, Way::Alone(store, index)).await
    }

    /// Listens, comes among the nodes that share a schema, opens the engine of this one, and prepares namespaces; answers the others
    /// from then on. It is ready when it reaches most of those that serve, and they reach it; that is waited for until `stop` resolves. `None`:
    /// it was told to stop before, and is closed. Must be called in a tokio runtime.
    #[cfg(feature = "postgres")]
    pub async fn bind_node(
        settings: ServerSettings,
        node: NodeSettings,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<Self>, ServerError> {
        if settings.time_skipping.is_some() {
            return Err(ServerError::Prepare { what: "a node".into(), reason: "nodes share no virtual time".into() });
        }
        let server = Self::bind_at(settings.clone(), Way::Node(Box::new(node))).await?;
        let ready = async {
            tokio::select! {
                ready = node::ready(&server.service) => ready.map(|()| true),
                () = stop => Ok(false),
            }
        };
        let is_ready = match ready.await {
            Ok(true) => node::prepare(&server.service, &settings).await.map(|()| true),
            stopped => stopped,
        };
        if !matches!(is_ready, Ok(true)) {
            server.service.close().await;
        }
        Ok(is_ready?.then_some(server))
    }

    /// As [`Server::bind_with`], as one of several nodes: `owners` says where the shards are, and `port` is where the others call this one.
    /// It has no shard until its engine takes one up ([`Engine::take_up`]).
    pub async fn bind_among(
        settings: ServerSettings,
        store: Arc<dyn Store>,
        index: Option<OpenIndex>,
        port: NodePort,
        owners: Arc<dyn Owners>,
    ) -> Result<Self, ServerError> {
        Self::bind_at(settings, Way::Among(store, index, port, owners)).await
    }

    async fn bind_at(mut settings: ServerSettings, way: Way) -> Result<Self, ServerError> {
        http_ports::check(&settings)?;
        // First the sockets and certificates: whoever finds a port taken should not have touched the data.
        let tls = settings.tls.clone().map(Tls::load).transpose()?.map(Arc::new);
        let mut ports = Ports::default();
        settings.address = ports.listen(Answers::Grpc, settings.address, "--port").await?;
        if let Some(address) = settings.http_address {
            let address = ports.listen(Answers::Http, address, "--http-port").await?;
            settings.callback_template = settings.callback_template.or_else(|| default_template(address, tls.is_some()));
        }
        if let Some(address) = settings.metrics_address {
            ports.listen(Answers::Metrics, address, "--metrics-port").await?;
        }
        if let Some(ui) = &settings.ui {
            ports.listen(Answers::Pages, ui.address, "--ui-port").await?;
        }
        let (seed, drain) = (service::seed(&settings), watch::Sender::new(false));
        let mut node_tasks = JoinSet::new();
        let mut node_address = None;
        let (source, nodes, beside): (_, Option<(NodePort, Arc<Forward>)>, _) = match way {
            Way::Alone(store, index) => (Source::Store(store, index, None), None, JoinSet::new()),
            Way::Among(store, index, port, owners) => {
                let forward = Arc::new(Forward::new(owners, port.key(), SILENCE));
                node_address = Some(port.address().to_string());
                (Source::Store(store, index, Some(Arc::clone(&forward))), Some((port, forward)), JoinSet::new())
            }
            #[cfg(feature = "postgres")]
            Way::Node(node) => {
                let (port, joined) = node.join(seed).await?;
                let mut beside = JoinSet::new();
                beside.spawn(Arc::clone(&joined.owners).follow());
                let forward = Arc::new(Forward::new(joined.owners.clone(), port.key(), joined.lease()));
                beside.spawn(joined.ask(Arc::clone(forward.reach())));
                node_address = Some(joined.address.clone());
                (Source::Node(Box::new(joined), Arc::clone(&forward)), Some((port, forward)), beside)
            }
        };
        let service = Service::open_at(&settings, seed, source).await?;
        if let Some((port, forward)) = nodes {
            let acceptor = port.acceptor(&forward)?;
            node_tasks.spawn(port.serve(acceptor, service.router().clone(), forward, drain.subscribe()));
        }
        Ok(Self {
            ports,
            address: settings.address,
            web: Web::new(&service, &settings)?,
            tls,
            reloader: Reloader::default(),
            service,
            node_address,
            node_tasks,
            beside,
            drain,
            connections: Arc::new(settings.connections),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Where it answers HTTP.
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.ports.address(Answers::Http)
    }

    /// Where it tells metrics and nothing else.
    pub fn metrics_addr(&self) -> Option<SocketAddr> {
        self.ports.address(Answers::Metrics)
    }

    /// Where other nodes reach it. `None`: there are none.
    pub fn node_address(&self) -> Option<&str> {
        self.node_address.as_deref()
    }

    /// True if its connections are under TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// True if callers are asked who they are.
    pub fn is_guarded(&self) -> bool {
        self.service.router().access().is_some()
    }

    /// Asks it to read its files again, while it serves. `None`: it has none.
    pub fn reloader(&self) -> Option<Reloader> {
        let has_files = self.is_secure() || self.is_guarded() || self.service.router().audit().is_some();
        (has_files || self.service.alerts_file().is_some()).then(|| self.reloader.clone())
    }

    /// Where it serves the web UI.
    pub fn ui_addr(&self) -> Option<SocketAddr> {
        self.ports.address(Answers::Pages)
    }

    /// What it serves, for callers in the same process.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// The engine, for callers in the same process.
    pub fn engine(&self) -> &Engine {
        self.service.engine()
    }

    /// Answers calls until `shutdown` resolves, then finishes what is in flight and closes the store.
    /// Fails when the engine could not go on.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { mut ports, address, web, tls, reloader, service, mut node_tasks, mut beside, drain, connections, .. } = self;
        let draining = drain.subscribe();
        let web = web.open(&service, &ports, address, draining.clone());
        let (mut tasks, mut web_tasks) = (JoinSet::new(), JoinSet::new());
        let access = service.router().access().cloned();
        if let Some(access) = &access {
            beside.spawn(access.clone().watch_key_sets());
        }
        let audit = service.router().audit().cloned();
        let tells_peers = access.is_some() || audit.is_some();
        let alerts = service.alerts_file().map(|file| (file.clone(), service.engine().clone()));
        if tls.is_some() || tells_peers || alerts.is_some() {
            beside.spawn(reload::watch(tls.clone(), access, audit, alerts, reloader));
        }
        // A node that is to stop gives what it has first, and answers meanwhile.
        let shutdown = async {
            shutdown.await;
            service.hand_over().await;
        };
        tokio::pin!(shutdown);
        let fatal = service.engine().fatal();
        tokio::pin!(fatal);
        let failure = loop {
            tokio::select! {
                () = &mut shutdown => break None,
                reason = &mut fatal => break Some(reason),
                (answers, accepted) = ports.accept() => {
                    let (open, max) = match answers {
                        Answers::Grpc => (tasks.len(), CONNECTIONS_MAX),
                        Answers::Http | Answers::Metrics | Answers::Pages => (web_tasks.len(), HTTP_CONNECTIONS_MAX),
                    };
                    let Some((stream, from)) = admitted(accepted, open, max).await else { continue };
                    let local = stream.local_addr().ok();
                    let secured = ports::secured(stream, from, answers, tls.clone());
                    if answers != Answers::Grpc {
                        web_tasks.spawn(http_ports::serve(&web, answers, local, secured, tells_peers));
                        continue;
                    }
                    let (router, settings, draining) = (service.router().clone(), Arc::clone(&connections), draining.clone());
                    tasks.spawn(async move {
                        let Some((stream, peer)) = secured.await else { return };
                        connection::run(stream, tells_peers.then(|| Arc::new(peer)), router, settings, draining).await;
                    });
                },
                Some(_) = tasks.join_next() => {}
                Some(_) = web_tasks.join_next() => {}
            }
        };
        drop(ports);
        // Connections learn first: no new calls while the engine answers the polls that wait.
        drain.send_replace(true);
        let finished = timeout(DRAIN_MAX, async {
            service.stop().await;
            while tasks.join_next().await.is_some() {}
            while web_tasks.join_next().await.is_some() {}
            // Nobody waits for what others have asked of a node that has lost its place: they may not reach it.
            while failure.is_none() && node_tasks.join_next().await.is_some() {}
        });
        if finished.await.is_err() {
            let connections = tasks.len() + web_tasks.len();
            tracing::warn!(connections, "calls did not finish in time and were broken off");
            tasks.shutdown().await;
            web_tasks.shutdown().await;
        }
        node_tasks.shutdown().await;
        beside.shutdown().await;
        service.stop_telemetry().await;
        service.close_store().await;
        failure.map_or(Ok(()), |reason| Err(ServerError::Failed(reason)))
    }
}

/// Where callbacks go unless the settings say so: to this server's own route, if its address names one machine.
fn default_template(http: SocketAddr, secure: bool) -> Option<String> {
    let scheme = if secure { "https" } else { "http" };
    let template = || format!("{scheme}://{http}/namespaces/{{{{.NamespaceName}}}}/nexus/callback");
    (!http.ip().is_unspecified()).then(template)
}

/// The connection, if there is room for it. Waits after a failure: the next one would fail as well.
async fn admitted(accepted: io::Result<(TcpStream, SocketAddr)>, open: usize, max: usize) -> Option<(TcpStream, SocketAddr)> {
    match accepted {
        Ok(_) if open >= max => {
            tracing::warn!("too many connections, one was closed");
            None
        }
        Ok((stream, from)) => {
            configure(&stream);
            Some((stream, from))
        }
        Err(error) => {
            tracing::warn!(%error, advice = accept_advice(&error), "cannot accept a connection");
            sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

/// What an operator can do about it.
fn accept_advice(error: &io::Error) -> &'static str {
    /// EMFILE and ENFILE: the process, or the system, has no file descriptors left.
    const NO_FILES: [i32; 2] = [24, 23];
    match error.raw_os_error() {
        Some(code) if NO_FILES.contains(&code) => {
            "raise the number of open files (ulimit -n); connections are taken in again when some have gone"
        }
        _ => "it is tried again",
    }
}

fn configure(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callbacks_have_a_url_where_the_address_names_a_machine() {
        let of = |text: &str| default_template(text.parse().unwrap(), text.ends_with("443"));
        assert_eq!(of("127.0.0.1:8080").as_deref(), Some("http://127.0.0.1:8080/namespaces/{{.NamespaceName}}/nexus/callback"));
        assert_eq!(of("[::1]:80").as_deref(), Some("http://[::1]:80/namespaces/{{.NamespaceName}}/nexus/callback"));
        assert_eq!(of("10.0.0.1:443").as_deref(), Some("https://10.0.0.1:443/namespaces/{{.NamespaceName}}/nexus/callback"));
        assert_eq!((of("0.0.0.0:8080"), of("[::]:8080")), (None, None));
    }
}

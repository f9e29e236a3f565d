//! Runs a server until a signal: what `server start`, `server start-dev` and `dev` share.
#![expect(clippy::disallowed_methods, reason = "the second signal must end the process whatever else hangs")]

use std::{
    fmt::Write,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use sempre_engine::OpenIndex;
use sempre_server::{Server, ServerSettings, dynamic::DynamicConfig};
use sempre_store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};

use super::{Failure, security, values, version};

/// Name of the index of runs in the data folder.
const VISIBILITY_FILE: &str = "visibility.db";
/// What background work may still take once the server has stopped.
const RUNTIME_STOP_MAX: Duration = Duration::from_secs(1);

/// Dynamic configuration by flags.
#[derive(Args, Clone)]
pub(crate) struct DynamicOptions {
    /// Dynamic configuration: a key and a JSON value; unknown keys are ignored with a warning
    #[arg(long = "dynamic-config-value", value_name = "KEY=JSON")]
    values: Vec<String>,
}

/// How much memory is used.
#[derive(Args, Clone)]
pub(crate) struct MemoryOptions {
    /// Memory that the server may use, such as 512MiB or 2GiB; calls for which there is none left are refused. At least
    /// 256MiB; without it, calls may hold 1GiB, and caches have fixed sizes
    #[arg(long, value_name = "BYTES", value_parser = values::parse_bytes)]
    memory_budget: Option<u64>,
}

/// The smallest budget: caches of the store and of the index, and the program itself, take most of it.
const BUDGET_MIN: u64 = 256 << 20;
/// What is left out of what is shared: the program, threads, the index of runs with its cache.
const BUDGET_FIXED: u64 = 160 << 20;

impl MemoryOptions {
    /// Writes the values into `settings`; gives what the store may use for rows that wait for a checkpoint, and for its cache.
    ///
    /// A message is there about three times while it is worked on: as it came, in the batch, and in the store's memory.
    pub(crate) fn apply(&self, settings: &mut ServerSettings) -> Result<EmbeddedOptions, Failure> {
        let mut store = EmbeddedOptions::default();
        let Some(budget) = self.memory_budget else { return Ok(store) };
        if budget < BUDGET_MIN {
            return Err(Failure::new(format_args!("--memory-budget {budget} is too little; give at least 256MiB ({BUDGET_MIN})")));
        }
        let shared = budget - BUDGET_FIXED;
        let eighth = usize::try_from(shared / 8).unwrap_or(usize::MAX);
        settings.call_bytes_max = shared / 4;
        settings.engine.cache_bytes_max = eighth;
        settings.engine.completion_pages_bytes_max = settings.engine.completion_pages_bytes_max.min(eighth);
        store.overlay_bytes = store.overlay_bytes.min(eighth / 2);
        store.cold_cache_bytes = store.cold_cache_bytes.min(eighth / 2);
        Ok(store)
    }
}

/// What is kept for those who follow, and whom to tell.
#[derive(Args, Clone)]
pub(crate) struct KeptOptions {
    /// Notices of changes of runs that are kept for those who follow them; 0 keeps none, and no alert tells of single runs
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
    notices_kept: u64,
    /// File of alert rules (docs/alerts.md), TOML: they are in force beside those of `alert set`. Read again when it changes, and
    /// at SIGHUP
    #[arg(long, value_name = "FILE")]
    alerts_file: Option<PathBuf>,
}

impl KeptOptions {
    /// Writes the values into `settings`.
    pub(crate) fn apply(&self, settings: &mut ServerSettings) {
        settings.engine.notices_kept = self.notices_kept;
        settings.alerts_file.clone_from(&self.alerts_file);
    }
}

impl DynamicOptions {
    /// Writes the values into `settings`.
    pub(crate) fn apply(&self, settings: &mut ServerSettings) -> Result<(), Failure> {
        let config = DynamicConfig::parse(self.values.iter().map(String::as_str)).map_err(Failure::new)?;
        let unknown = config.apply(settings).map_err(Failure::new)?;
        if !unknown.is_empty() {
            tracing::warn!(keys = unknown.join(", "), "dynamic configuration that nothing here obeys is ignored");
        }
        Ok(())
    }
}

/// Where the data lies.
pub(crate) enum Data {
    /// Nowhere: gone with the process.
    Memory,
    /// In a folder of the embedded store.
    Folder(PathBuf, EmbeddedOptions),
    /// In a database.
    #[cfg(feature = "postgres")]
    Postgres(Box<super::postgres::Place>),
    /// In a database that others use too.
    #[cfg(feature = "postgres")]
    Node(Box<super::postgres::Place>, Box<sempre_server::NodeSettings>),
}

impl Data {
    /// The folder, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Data::Folder(path, _) => Some(path),
            _ => None,
        }
    }

    /// The file of the index of runs, where it is one: beside the data it is made of.
    fn visibility_file(&self) -> Option<PathBuf> {
        self.folder().map(|path| path.join(VISIBILITY_FILE))
    }

    fn store_name(&self) -> &'static str {
        match self {
            Data::Memory => "memory",
            Data::Folder(..) => "embedded",
            #[cfg(feature = "postgres")]
            Data::Postgres(_) | Data::Node(..) => "postgres",
        }
    }
}

/// Serves until SIGINT or SIGTERM; a second signal ends the process at once.
pub(crate) fn run(mut settings: ServerSettings, data: &Data) -> Result<(), Failure> {
    complete(&mut settings, data);
    on_threads(async {
        let shutdown = signals()?;
        tokio::pin!(shutdown);
        let namespaces = settings.namespaces.join(", ");
        let Some(server) = bind(settings, data, shutdown.as_mut()).await? else { return Ok(()) };
        let reloading = security::reload_at_signal(&server);
        let reloading = reloading.map_err(|error| Failure::new(format_args!("cannot wait for SIGHUP: {error}")))?;
        print!("{}", banner(&server, &namespaces, data));
        tokio::select! {
            served = server.serve(shutdown) => served.map_err(Failure::new),
            () = reloading => Err(Failure::new("the signals have ended")),
        }
    })
}

/// Runs a server's work on a runtime of its own.
pub(crate) fn on_threads(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(RUNTIME_STOP_MAX);
    result
}

/// Writes into the settings what follows from the machine and from where the data lies.
pub(crate) fn complete(settings: &mut ServerSettings, data: &Data) {
    settings.engine.shards = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    settings.store_name = data.store_name();
    settings.visibility_file = data.visibility_file();
}

/// A server that listens. `None`: it waited for others as a node, and was told to stop.
pub(crate) async fn bind(settings: ServerSettings, data: &Data, stop: impl Future<Output = ()>) -> Result<Option<Server>, Failure> {
    #[cfg(not(feature = "postgres"))]
    drop(stop);
    let (store, index): (Arc<dyn Store>, Option<OpenIndex>) = match data {
        Data::Memory => (Arc::new(MemoryStore::new()), None),
        Data::Folder(path, options) => (Arc::new(EmbeddedStore::open(path, options.clone()).map_err(Failure::new)?), None),
        #[cfg(feature = "postgres")]
        Data::Postgres(place) => {
            let (store, index) = place.open().await?;
            (store, Some(index))
        }
        #[cfg(feature = "postgres")]
        Data::Node(_, node) => {
            tracing::warn!("several servers over one database are experimental: docs/cluster.md lists what does not work yet");
            return Server::bind_node(settings, (**node).clone(), stop).await.map_err(Failure::new);
        }
    };
    Server::bind_with(settings, store, index).await.map(Some).map_err(Failure::new)
}

/// What a server says of itself when it is ready.
pub(crate) fn banner(server: &Server, namespaces: &str, data: &Data) -> String {
    let mut text = String::new();
    let place = match data {
        Data::Memory => "in memory, gone when the server stops".to_owned(),
        Data::Folder(path, _) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
        #[cfg(feature = "postgres")]
        Data::Postgres(place) | Data::Node(place, _) => place.name().to_owned(),
    };
    let http = server.http_addr().map(|address| ("HTTP:", address.to_string()));
    let metrics = server.metrics_addr().map(|address| ("Metrics:", address.to_string()));
    let scheme = if server.is_secure() { "https" } else { "http" };
    let ui = server.ui_addr().map(|address| ("UI:", format!("{scheme}://{address}")));
    let node = server.node_address().map(|address| ("Node:", address.to_owned()));
    let lines = [("Server:", server.local_addr().to_string())].into_iter().chain(node).chain(ui).chain(http).chain(metrics);
    let security = match (server.is_secure(), server.is_guarded()) {
        (true, true) => Some("TLS at every port, every caller is asked who he is"),
        (true, false) => Some("TLS at every port, nobody is asked who he is"),
        (false, true) => Some("every caller is asked who he is, and nothing is encrypted"),
        (false, false) => None,
    };
    let lines =
        lines.chain(security.map(|text| ("Security:", text.to_owned()))).chain([("Namespace:", namespaces.to_owned()), ("Data:", place)]);
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{}", version::line());
    for (name, value) in lines {
        let _ = writeln!(text, "{name:<11} {value}");
    }
    text
}

/// Resolves at the first signal to stop. From then on a second one ends the process.
fn signals() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::new(format_args!("cannot wait for signals: {error}"));
    let mut stops = Stops::new().map_err(failed)?;
    Ok(async move {
        stops.next().await;
        tracing::info!("stopping; a second signal stops at once");
        tokio::spawn(async move {
            stops.next().await;
            std::process::exit(1);
        });
    })
}

/// The signals that mean stop.
#[cfg(unix)]
pub(crate) struct Stops {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stops {
    pub(crate) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// The signals that mean stop.
#[cfg(not(unix))]
pub(crate) struct Stops;

#[cfg(not(unix))]
impl Stops {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(crate) async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

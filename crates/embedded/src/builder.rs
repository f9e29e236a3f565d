//! What an embedded server is started with.

use std::{net::SocketAddr, num::NonZeroU32, path::PathBuf, sync::Arc, time::Duration};

use sempre_core::Span;
use sempre_engine::visibility::sqlite;
use sempre_server::{Server, ServerError, ServerSettings, Service, TimeSkipping};
use sempre_store::{
    Store, StoreError,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
};

use crate::Sempre;

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot serve.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Collects what a server is started with.
#[derive(Clone, Debug, Default)]
#[must_use = "nothing runs until it is started"]
pub struct Builder {
    folder: Option<PathBuf>,
    shards: Option<NonZeroU32>,
    listen: Option<SocketAddr>,
    /// As it was said; unless it was, it is on where data is in memory.
    time_skipping: Option<bool>,
    settings: ServerSettings,
}

impl Builder {
    /// Keeps the data in a folder; without one it is in memory and gone with the server.
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    /// Makes a namespace besides `default`, if it is not there.
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.settings.namespaces.push(name.into());
        self
    }

    /// How long closed runs are kept in namespaces that are made; at least an hour.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.settings.retention = Span(i64::try_from(retention.as_nanos()).unwrap_or(i64::MAX)).min(Span::MAX);
        self
    }

    /// Listens on an address too, for clients of other processes; port 0 takes a free one. There is neither TLS nor
    /// authentication: whoever reaches the address can do everything.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// How many shard runners there are; one, and for a folder as many as there are cores, unless this is said.
    pub fn shards(mut self, shards: NonZeroU32) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Whether runs that ask for it (`time_skipping_config`) skip time, each by itself. Unless this is said they do where data is in
    /// memory, which is for development; over a folder such a start is refused, as by `sempre server start`.
    pub fn time_skipping(mut self, may: bool) -> Self {
        self.time_skipping = Some(may);
        self
    }

    /// Changes any other setting of the engine.
    pub fn engine(mut self, change: impl FnOnce(&mut sempre_engine::Settings)) -> Self {
        change(&mut self.settings.engine);
        self
    }

    /// Time is virtual, data is in memory, and any namespace and search attribute is there when it is named.
    pub(crate) fn for_tests(mut self) -> Self {
        self.settings.time_skipping = Some(TimeSkipping::Locked);
        self.settings.any_namespace = true;
        self.settings.engine.auto_register_search_attributes = true;
        self.folder = None;
        self
    }

    /// Starts it. Must be called in a tokio runtime, which it needs for as long as it runs.
    pub async fn start(self) -> Result<Sempre, StartError> {
        let Self { folder, shards, listen, time_skipping, mut settings } = self;
        let cores = || std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
        let default = if folder.is_some() { cores() } else { 1 };
        settings.engine.shards = shards.map_or(default, NonZeroU32::get);
        // Over a folder it may be the engine's settings that say it.
        let may_skip = folder.is_none() || settings.engine.limits.time_skipping;
        settings.engine.limits.time_skipping = time_skipping.unwrap_or(may_skip);
        let store = match folder {
            None => Arc::new(MemoryStore::new()) as Arc<dyn Store>,
            Some(folder) => {
                settings.store_name = "embedded";
                settings.visibility_file = Some(folder.join(sqlite::FILE_NAME));
                Arc::new(EmbeddedStore::open(&folder, EmbeddedOptions::default())?)
            }
        };
        let Some(address) = listen else {
            return Ok(Sempre::new(Service::open(&settings, store).await?, None));
        };
        settings.address = address;
        let server = Server::bind(settings, store).await?;
        Ok(Sempre::new(server.service().clone(), Some(server)))
    }
}

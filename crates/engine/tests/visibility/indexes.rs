//! The indexes that every test of the contract is run on. Those in PostgreSQL are skipped, with a line that says so, where it is not
//! installed.

use std::sync::{Arc, LazyLock};

use sempre_core::ids::Uuid;
use sempre_engine::visibility::{
    Index,
    postgres::PostgresIndex,
    sqlite::{SqliteIndex, Tuning},
};
use sempre_postgres_cluster::Cluster;
use sempre_store::postgres::{PostgresOptions, PostgresStore};
use tokio::runtime::{Builder, Runtime};

pub(crate) const OWNER: Uuid = Uuid([9; 16]);

/// A server that the tests share, and what connections to it run on.
pub(crate) struct Server {
    pub(crate) cluster: Cluster,
    pub(crate) runtime: Runtime,
}

static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| {
    let cluster = Cluster::start()?.expect("it starts");
    Some(Server { cluster, runtime: Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap() })
});

pub(crate) fn server() -> Option<&'static Server> {
    SERVER.as_ref()
}

impl Server {
    pub(crate) fn open(&self, address: &str) -> PostgresStore {
        let options = PostgresOptions::parse(address, None).unwrap();
        self.runtime.block_on(PostgresStore::open(options, self.runtime.handle().clone())).unwrap()
    }

    pub(crate) fn index(&self, store: &PostgresStore, tuning: Tuning) -> PostgresIndex {
        self.runtime.block_on(PostgresIndex::open_tuned(store.beside(), OWNER, tuning)).unwrap()
    }
}

/// An index, and the store beside which it lies.
pub(crate) struct Made {
    pub(crate) index: Arc<dyn Index>,
    _store: Option<PostgresStore>,
}

pub(crate) fn sqlite(tuning: Tuning) -> Option<Made> {
    Some(Made { index: Arc::new(SqliteIndex::in_memory_tuned(OWNER, tuning).unwrap()), _store: None })
}

pub(crate) fn postgres(tuning: Tuning) -> Option<Made> {
    let server = server()?;
    let store = server.open(&server.cluster.address());
    Some(Made { index: Arc::new(server.index(&store, tuning)), _store: Some(store) })
}

/// How an index is made.
pub(crate) type Make = fn(Tuning) -> Option<Made>;

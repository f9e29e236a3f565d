//! Schemas of one PostgreSQL server that all tests of a binary share, and the runtime of their stores.

use std::sync::{LazyLock, Mutex, PoisonError};

use sempre_postgres_cluster::Cluster;
use sempre_store::{
    StoreError,
    postgres::{PostgresOptions, PostgresStore},
};
use tokio::runtime::Runtime;

/// Ends with the process, as the server does.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap());
static CLUSTER: Mutex<Option<Option<Cluster>>> = Mutex::new(None);

/// The server that tests share, if PostgreSQL is installed.
pub fn cluster() -> Option<Cluster> {
    let mut cluster = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    cluster.get_or_insert_with(|| Cluster::start().map(|started| started.expect("PostgreSQL starts"))).clone()
}

pub fn runtime() -> &'static Runtime {
    &RUNTIME
}

/// Opens a store at an address.
pub fn open_at(address: &str) -> Result<PostgresStore, StoreError> {
    RUNTIME.block_on(PostgresStore::open(PostgresOptions::parse(address, None)?, RUNTIME.handle().clone()))
}

/// A schema of its own.
pub struct Database {
    pub cluster: Cluster,
    pub address: String,
}

impl Database {
    pub fn new() -> Option<Self> {
        let cluster = cluster()?;
        let address = cluster.address();
        Some(Database { cluster, address })
    }

    pub fn open(&self) -> PostgresStore {
        open_at(&self.address).unwrap()
    }
}

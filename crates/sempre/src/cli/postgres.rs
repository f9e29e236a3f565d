//! Data in PostgreSQL: its address, and the index of runs, which lies beside the data.

use std::{path::Path, sync::Arc};

use futures::FutureExt;
use sempre_engine::{
    OpenIndex,
    visibility::{Index, postgres::PostgresIndex},
};
use sempre_store::{
    Store,
    postgres::{PostgresOptions, PostgresReader, PostgresStore},
};
use tokio::runtime::Handle;

use super::{Failure, environment::Environment};

/// Where the data is.
#[derive(Clone)]
pub(crate) struct Place {
    options: PostgresOptions,
}

/// Whether a place is an address of a database rather than a folder.
pub(crate) fn is_address(place: &Path) -> bool {
    let text = place.to_string_lossy();
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Reads an address. The password may be in the environment.
pub(crate) fn options(address: &str, environment: &dyn Environment) -> Result<PostgresOptions, Failure> {
    let options = PostgresOptions::parse(address, environment.variable("PGPASSWORD").as_deref()).map_err(Failure::new)?;
    if PostgresOptions::shows_password(address) {
        tracing::warn!("the list of processes shows the password in the address: give it in PGPASSWORD, or by password_file=FILE");
    }
    Ok(options)
}

impl Place {
    pub(crate) fn new(options: PostgresOptions) -> Self {
        Self { options }
    }

    /// Its address.
    pub(crate) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    /// What people are told of it.
    pub(crate) fn name(&self) -> &str {
        self.options.place()
    }

    /// Takes the data.
    pub(crate) async fn open(&self) -> Result<(Arc<dyn Store>, OpenIndex), Failure> {
        let store = PostgresStore::open(self.options.clone(), Handle::current()).await.map_err(Failure::new)?;
        let beside = store.beside();
        let open = |owner| {
            let opened = async move { PostgresIndex::open(beside, owner).await.map(|index| Arc::new(index) as Arc<dyn Index>) };
            opened.boxed()
        };
        Ok((Arc::new(store), Box::new(open)))
    }
}

/// Opens the data for reading, whether or not a server uses it. The runtime is that of the connection.
pub(crate) fn reader(address: &Path) -> Result<(PostgresReader, String, tokio::runtime::Runtime), Failure> {
    let options = options(&address.to_string_lossy(), &super::environment::Process)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let place = options.place().to_owned();
    let reader = runtime.block_on(PostgresReader::open(options, runtime.handle().clone())).map_err(Failure::new)?;
    Ok((reader, place, runtime))
}

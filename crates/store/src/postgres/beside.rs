//! What else lies in the schema and belongs to whoever has it, or has one shard of it: connections for it, and the proof that it is
//! still ours.

use tokio::runtime::Handle;
use tokio_postgres::Client;

use super::{PostgresOptions, connections::Connection, trouble::Trouble};

/// The way to a schema that this process has; see the module.
#[derive(Clone, Debug)]
pub struct Beside {
    options: PostgresOptions,
    runtime: Handle,
    /// See [`Beside::proof`].
    proof: String,
    is_shared: bool,
}

/// A connection for one user alone. Dropping it closes it.
pub struct Session(Connection);

impl Beside {
    pub(super) fn new(options: PostgresOptions, runtime: Handle, proof: String, is_shared: bool) -> Self {
        Self { options, runtime, proof, is_shared }
    }

    /// A new connection; else why there is none, without a password.
    pub async fn connect(&self) -> Result<Session, String> {
        Connection::open(&self.options, &self.runtime).await.map(Session).map_err(Trouble::into_reason)
    }

    /// What connections and their statements run on.
    #[must_use]
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// The name of the schema; letters, digits and `_` only.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.options.schema
    }

    /// What people are told of where it is.
    #[must_use]
    pub fn place(&self) -> &str {
        self.options.place()
    }

    /// Whether other nodes may change what lies there.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// The last statement of a transaction that writes: it gives no row when another server has it by now; then the
    /// transaction must be undone. When it gives one, nobody takes it before the transaction has ended.
    #[must_use]
    pub fn proof(&self) -> String {
        self.proof.clone()
    }
}

impl Session {
    /// What statements are sent by.
    #[must_use]
    pub fn client(&self) -> &Client {
        self.0.client()
    }

    /// Tells the database to stop the statement that is under way, if one is.
    pub fn cancel(&self) {
        self.0.cancel();
    }

    /// False when it is gone.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.0.is_usable()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Session").finish_non_exhaustive()
    }
}

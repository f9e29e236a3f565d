//! Idempotent activities: an activity runs at least once, its effect happens once.
//!
//! An attempt may be lost after its effect and before its answer: the worker died, the network was away, the answer came after
//! the timeout. The next attempt must find out. Three parts:
//!
//! - a [`Key`] that is the same for each attempt of the same effect, also after a reset of the workflow,
//! - a [`DedupStore`] that remembers which keys have had their effect, and with what result,
//! - [`once`], which puts them around an effect; or, if the effect is in the same SQLite database, [`sqlite::SqliteDedup::in_one`],
//!   which has effect and memory in one transaction: then it happens exactly once. `postgres::PostgresDedup` (feature `postgres`) is the
//!   same in PostgreSQL.
//!
//! ```
//! # use sempre_patterns::idempotent::{Attempt, Class, DedupStore, Key, once};
//! # use temporalio_sdk::activities::ActivityError;
//! # async fn bank_knows(_: &Key) -> Option<u64> { None }
//! # async fn bank_charge(_: &Key, _: u64) -> Result<u64, std::io::Error> { Ok(1) }
//! async fn charge(store: &impl DedupStore, key: &Key, cents: u64) -> Result<u64, ActivityError> {
//!     once(store, key, async |attempt| {
//!         // An earlier attempt got as far as the bank, or not: ask. If the bank takes keys itself, give it the key and do not ask.
//!         if attempt == Attempt::Again && let Some(receipt) = bank_knows(key).await {
//!             return Ok(receipt);
//!         }
//!         bank_charge(key, cents).await.map_err(|error| Class::Retryable.error(error))
//!     })
//!     .await
//! }
//! ```
//!
//! Errors are told apart by [`Class`]; long work goes on where the last attempt was by [`heartbeat`].

mod class;
pub mod heartbeat;
mod key;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod store;

pub use class::{Class, class_of};
pub use key::Key;
pub use store::{Attempt, Claim, DedupStore, Fenced, StoreError, once};

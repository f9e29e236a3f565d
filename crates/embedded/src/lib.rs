//! Sempre inside a Rust process.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sempre = sempre_embedded::Sempre::open("data").await?;
//! // A client of the official Rust SDK, for starting workflows and for workers. No socket is in between.
//! let client = sempre.client("default").await?;
//! # drop(client);
//! sempre.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! [`Sempre::in_memory`] keeps nothing. Any number of them may live in one process. A folder can be served by the
//! `sempre` program later, and the other way round; never by two at once. [`testing`] has servers whose time is
//! virtual: a workflow that sleeps for a year is tested in milliseconds.

mod builder;
#[cfg(feature = "client")]
mod client;
mod sempre;
#[cfg(feature = "client")]
pub mod testing;

pub use builder::{Builder, StartError};
#[cfg(feature = "client")]
pub use client::{Answer, Carry, ClientError, Wire};
pub use sempre::Sempre;

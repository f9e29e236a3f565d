//! What only a store in a database has to stand: other servers, lost answers, locks, restarts, poolers, TLS.
//!
//! Skipped, with a line that says so, where PostgreSQL is not installed.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, unreachable_pub, reason = "tests may unwrap, wait and measure")]

mod faults;
mod ledger;
mod nodes;
mod opening;
mod owners;
mod proxy;
#[path = "../support/mod.rs"]
mod support;
mod ways;

//! A slice of the engine's tests over the store and the index in PostgreSQL, with a clock that only tests move.
//!
//! Where PostgreSQL is not installed it says so, and runs in memory. Tests that hold answers back or give polls up are not among them: how
//! long they wait is counted in turns of tasks, and the threads of the database take none (`World::settle`).
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests spawn, wait by the wall clock against hangs, and fail by unwrap")]
#![allow(dead_code, reason = "what the tests that are not here need of what they share")]

/// Where the store is.
const ON_POSTGRES: bool = true;

mod support;

mod activities;
mod children;
mod histories;
mod restarts;
mod search_attributes;
mod workflows;

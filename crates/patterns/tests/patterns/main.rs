//! The patterns against the embedded server, with workers that die at every point.
#![allow(clippy::disallowed_methods, reason = "tests measure by the world's time, and run workers beside themselves")]
#![allow(clippy::unwrap_used, reason = "a failed one is a failed test")]
#![allow(unreachable_pub, reason = "the macros of the SDK make items as public as the workflow")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

mod abort;
mod callback;
mod entity;
mod fan_out;
mod idempotent;
mod life;
mod saga;
mod stories;
mod versioning;
mod world;

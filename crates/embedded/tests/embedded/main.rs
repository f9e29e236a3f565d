//! The official Rust SDK against servers in the same process.
#![allow(clippy::disallowed_methods, reason = "tests measure by the world's time, and run servers and workers beside themselves")]
#![allow(missing_docs, reason = "the macros of the SDK make public items for each workflow and activity")]

#[cfg(feature = "faults")]
mod faults;
mod folders;
mod own_time;
mod processes;
mod skipping;
mod workflows;

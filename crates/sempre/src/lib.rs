//! Sempre in one binary: a durable-execution server that official Temporal SDKs and tools talk to.
//!
//! The binary is a thin shell around [`cli::run`], so that other programs can carry the same commands.

pub mod cli;

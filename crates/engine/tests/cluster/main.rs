//! Nodes over one schema of a real PostgreSQL, in one process: engines that follow the picture (`sempre_engine::node`), while workflows
//! with timers, activities and signals go on. Each node has a runtime of its own, so that it can die or stand still like a process.
//!
//! Skipped, with a line that says so, where PostgreSQL is not installed. Nodes do not forward calls here: clients ask the picture who has
//! a run, and look again when they are told that it is elsewhere. What engines have each other do goes by the picture of the node that
//! sends it, to where that node would call; now and then an answer is lost.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests fail by unwrap, spawn and wait by the wall clock")]

mod chance;
mod clients;
mod homes;
mod host;
mod messages;
mod moves;

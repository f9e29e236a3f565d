//! The engine over the memory store, with a clock that only tests move.

mod support;

mod activities;
mod children;
mod failures;
mod histories;
mod namespaces;
mod queries;
mod restarts;
mod tasks;
mod workflows;

//! The binary as its users meet it: started, stopped, and told what it cannot do.

mod activities;
mod backups;
mod check;
mod cli;
mod commands;
mod dev;
mod failures;
mod lifecycle;
mod lists;
#[cfg(feature = "postgres")]
mod postgres;
mod store_check;
mod support;

//! The binary as its users meet it: started, stopped, and told what it cannot do.

mod activities;
mod alerts;
mod backups;
mod certificates;
mod check;
mod cli;
mod commands;
mod dev;
mod failures;
#[cfg(target_os = "linux")]
mod files;
#[cfg(unix)]
mod formats;
mod lifecycle;
mod lists;
#[cfg(target_os = "linux")]
mod memory;
#[cfg(all(target_os = "linux", feature = "postgres"))]
mod nodes;
#[cfg(feature = "postgres")]
mod postgres;
mod secure;
mod store_check;
mod support;
#[cfg(unix)]
mod telemetry;
mod test_server;

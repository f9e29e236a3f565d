//! `sempre doctor`: everything that can be found out about the data without changing it.

use std::{fs, path::Path, path::PathBuf};

use clap::Args;
use sempre_store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
};

use super::{Failure, backup::size, store::check};

/// Findings of SQLite that are printed.
const FINDINGS_MAX: usize = 20;

#[derive(Args)]
pub(crate) struct Options {
    /// Folder of the data, which no server may be using, or address of a database (postgres://…), which one may
    #[arg(value_name = "FOLDER|ADDRESS")]
    folder: PathBuf,
    /// Print at most this many problems of runs; all are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    problems_max: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if super::postgres::is_address(&options.folder) {
        return postgres(options);
    }
    let folder = options.folder.display();
    if !options.folder.join("FORMAT").is_file() {
        return Err(Failure::new(format_args!("{folder} is not a data folder. Nothing was changed")));
    }
    println!("size: {} in {folder}", size(bytes_below(&options.folder)));
    // Dropped, not closed: what a close would write is left to the next server.
    let store =
        EmbeddedStore::open(&options.folder, EmbeddedOptions { brings_up: false, ..EmbeddedOptions::default() }).map_err(Failure::new)?;
    let stats = store.stats();
    println!("format and lock: fine; no server uses it");
    println!("log: whole; a server that starts reads {} of it again", size(stats.log_bytes_live));
    // Damage that ends the check itself is a finding like others.
    let findings = store.cold_findings(FINDINGS_MAX).unwrap_or_else(|error| vec![error.to_string()]);
    for finding in &findings {
        println!("cold store: {finding}");
    }
    if !findings.is_empty() {
        return Err(Failure::new(format_args!(
            "the cold store of {folder} is damaged. Nothing was changed. Keep the folder as it is and restore the newest backup elsewhere"
        )));
    }
    println!("cold store: whole");
    check::look_through(&store, &check::Output { json: false, problems_max: options.problems_max })
        .map_err(|failure| Failure::new(format_args!("{folder}: {failure} Keep a copy of the folder before a server changes it")))?;
    println!("{folder} is healthy");
    Ok(())
}

/// Whether the database's own pages are whole is its own matter (`pg_amcheck`).
#[cfg(feature = "postgres")]
fn postgres(options: &Options) -> Result<(), Failure> {
    let (reader, place, _runtime) = super::postgres::reader(&options.folder)?;
    let report = futures::executor::block_on(reader.report()).map_err(Failure::new)?;
    println!("database: PostgreSQL {}, format and tables of {place}: fine", report.version);
    println!("size: {}", size(report.tables.iter().map(|(_, bytes)| bytes).sum()));
    for (table, bytes) in &report.tables {
        println!("  {table}: {}", size(*bytes));
    }
    println!("rows that wait for autovacuum: {}", report.dead_rows);
    println!("used by: {}", report.owner.as_deref().unwrap_or("no server"));
    println!("synchronous_commit: {} (off is overridden in every commit)", report.synchronous_commit);
    check::look_through(&reader, &check::Output { json: false, problems_max: options.problems_max })
        .map_err(|failure| Failure::new(format_args!("{place}: {failure} Take a backup of the database before a server changes it")))?;
    println!("{place} is healthy");
    Ok(())
}

/// Bytes of all files; those that vanish or cannot be read count as none.
fn bytes_below(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

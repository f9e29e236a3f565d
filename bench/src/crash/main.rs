//! Harm at random moments under load, a file each: [`kills`], [`stops`], [`errors`] of the disk, a [`full`] disk. Nothing acknowledged may
//! be missing afterwards.
//!
//! Starters, signallers and workers talk to the server by the raw API and write into a [`ledger::Ledger`]
//! what was acknowledged; a lost answer is *unknown* and tried again with the same request id. After every
//! restart, and at the end, [`verify`] holds the ledger against the histories.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

mod errors;
mod full;
mod kills;
mod ledger;
mod stops;
mod verify;
mod work;
mod world;

use std::{error::Error, path::PathBuf, process::ExitCode};

use clap::Parser;
use sempre_bench::process::{Launch, find_binary, free_port};
use sempre_postgres_cluster::Cluster;

/// Does harm to a server under load, at random moments, and verifies that nothing acknowledged is lost. Without a number of anything it is
/// killed 200 times.
#[derive(Parser)]
struct Arguments {
    /// How many times the server is killed.
    #[arg(long)]
    kills: Option<u32>,
    /// How many times its disk is full.
    #[arg(long)]
    full: Option<u32>,
    /// How many writes and syncs of its disk fail. Needs strace.
    #[arg(long)]
    io_errors: Option<u32>,
    /// How many times it is stopped for longer than its clients wait, and goes on.
    #[arg(long)]
    stops: Option<u32>,
    /// The disk is full by a limit on the sizes of files, for root as well.
    #[arg(long)]
    by_limit: bool,
    /// Workflows in flight.
    #[arg(long, default_value_t = 24)]
    in_flight: usize,
    /// Seed of the moments (printed; the same seed gives the same moments, not the same interleaving).
    #[arg(long)]
    seed: Option<u64>,
    /// The `sempre` executable (default: SEMPRE_BIN, or the one beside this).
    #[arg(long)]
    server: Option<PathBuf>,
    /// Data folder to use and keep (default: a temporary one).
    #[arg(long, conflicts_with = "full")]
    data_dir: Option<PathBuf>,
    /// Keep the data in a PostgreSQL server of its own, which is ended without warning too, at every tenth kill.
    #[arg(long, conflicts_with_all = ["full", "io_errors"])]
    postgres: bool,
}

/// Lines of the server that are shown when it did not go on.
const SAID_LINES: usize = 30;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Failure> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let binary = find_binary(arguments.server.as_deref())?;
    let in_flight = arguments.in_flight;
    let Arguments { mut kills, full, io_errors, stops, .. } = arguments;
    if full.or(io_errors).or(stops).is_none() {
        kills = kills.or(Some(200));
    }
    let database = match arguments.postgres {
        true => Some(Cluster::start().ok_or("PostgreSQL is not installed")??),
        false => None,
    };
    // Each kind of harm has data of its own, unless it is told where.
    let launch = |folder: &tempfile::TempDir| -> Result<Launch, Failure> {
        Ok(Launch {
            store: database.as_ref().map(Cluster::address),
            binary: binary.clone(),
            data_dir: arguments.data_dir.clone().unwrap_or_else(|| folder.path().join("data")),
            port: free_port()?,
            wrapper: Vec::new(),
            arguments: Vec::new(),
            log: None,
        })
    };
    if let Some(kills) = kills {
        let folder = tempfile::tempdir()?;
        kills::run(launch(&folder)?, database.as_ref(), seed, in_flight, kills).await?;
    }
    if let Some(stops) = stops {
        let folder = tempfile::tempdir()?;
        stops::run(launch(&folder)?, seed, in_flight, stops).await?;
    }
    if let Some(errors) = io_errors {
        let folder = tempfile::tempdir()?;
        errors::run(launch(&folder)?, folder.path(), seed, in_flight, errors).await?;
    }
    if let Some(rounds) = full {
        let folder = tempfile::tempdir()?;
        let disk = full::Disk::new(folder.path().join("disk"), arguments.by_limit)?;
        // It says much of the full disk.
        let said = folder.path().join("said");
        let log = Some(said.clone());
        let launch = Launch { data_dir: folder.path().join("disk/data"), wrapper: disk.wrapper(), log, ..launch(&folder)? };
        full::run(&disk, launch, seed, in_flight, rounds).await.map_err(|error| {
            let said = std::fs::read_to_string(&said).unwrap_or_default();
            let lines: Vec<_> = said.lines().collect();
            format!("{error}\nthe server said last:\n{}", lines[lines.len().saturating_sub(SAID_LINES)..].join("\n"))
        })?;
    }
    Ok(())
}

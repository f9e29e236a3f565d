//! SIGKILL at random moments under load: nothing acknowledged may be missing afterwards.
//!
//! Starters, signallers and workers talk to the server by the raw API and write into a [`ledger::Ledger`]
//! what was acknowledged; a lost answer is *unknown* and tried again with the same request id. After every
//! restart, and at the end, [`verify`] holds the ledger against the histories.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

mod ledger;
mod verify;
mod work;

use std::{error::Error, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Parser;
use sempre_bench::{
    api,
    process::{Launch, Server, find_binary, free_port},
};
use sempre_store::postgres::cluster::Cluster;

/// Kills the server at random moments under load and verifies that nothing acknowledged is lost.
#[derive(Parser)]
struct Arguments {
    /// How many times the server is killed.
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// Workflows in flight.
    #[arg(long, default_value_t = 24)]
    in_flight: usize,
    /// Seed of the kill moments (printed; the same seed gives the same moments, not the same interleaving).
    #[arg(long)]
    seed: Option<u64>,
    /// The `sempre` executable (default: SEMPRE_BIN, or the one beside this).
    #[arg(long)]
    server: Option<PathBuf>,
    /// Data folder to use and keep (default: a temporary one).
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Keep the data in a PostgreSQL server of its own, which is ended without warning too, at every tenth kill.
    #[arg(long)]
    postgres: bool,
}

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
    let mut moments = fastrand::Rng::with_seed(seed);
    println!("seed {seed}: {} kills, {} workflows in flight", arguments.kills, arguments.in_flight);
    let folder = tempfile::tempdir()?;
    let database = match arguments.postgres {
        true => Some(Cluster::start().ok_or("PostgreSQL is not installed")??),
        false => None,
    };
    let launch = Launch {
        store: database.as_ref().map(Cluster::address),
        binary: find_binary(arguments.server.as_deref())?,
        data_dir: arguments.data_dir.clone().unwrap_or_else(|| folder.path().join("data")),
        port: free_port()?,
        wrapper: Vec::new(),
    };
    let client = api::client(&format!("127.0.0.1:{}", launch.port))?;
    let ledger = Arc::new(ledger::Ledger::default());
    let mut server = Server::start(launch)?;
    let load = work::Load::begin(ledger.clone(), client.clone(), arguments.in_flight);
    let mut slowest_start = server.started_in;
    for kill in 1..=arguments.kills {
        tokio::time::sleep(Duration::from_millis(moments.u64(30..500))).await;
        if let Some(database) = database.as_ref().filter(|_| kill % 10 == 5) {
            // The server stays, and goes on when the database does.
            database.stop("immediate")?;
            database.start_again()?;
            tokio::time::sleep(Duration::from_millis(moments.u64(30..500))).await;
        }
        let launch = server.kill()?;
        server = Server::start(launch)?;
        slowest_start = slowest_start.max(server.started_in);
        ledger.check()?;
        let recent = ledger.recent(40);
        verify::acknowledged(&client, &ledger, &recent).await?;
        if kill % 20 == 0 || kill == arguments.kills {
            println!("kill {kill:>4}: {}", ledger.summary());
        }
    }
    println!("no more kills; every workflow has to end");
    load.finish().await?;
    let all = ledger.all();
    verify::acknowledged(&client, &ledger, &all).await?;
    verify::ended(&client, &ledger, &all).await?;
    ledger.check()?;
    println!("{}", ledger.summary());
    println!("slowest start to serving: {} ms", slowest_start.as_millis());
    println!("OK: nothing acknowledged is missing, every workflow ended with the right result, no attempt was handed out twice");
    Ok(())
}

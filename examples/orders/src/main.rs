//! An order saga that outlives the death of its server.
//!
//! One process is the shop: it starts orders and does their work with the official Temporal Rust SDK.
//! A second process, this same executable started again, is the Sempre server with its data in a folder.
//! The shop kills it in the middle of an order and starts it again on the same folder.

mod account;
mod ledger;
mod order;
mod server;
mod shop;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What can go wrong here is told to a person, who wants a sentence.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const DEMO_DURATION_MAX: Duration = Duration::from_secs(120);

const USAGE: &str = "usage: orders [--data-dir DIR] [--keep]

  --data-dir DIR  a new or empty folder for the data of server and shop
                  (default: ./sempre-data/orders-demo-PID)
  --keep          leave the folder behind";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1).peekable();
    if args.next_if(|arg| arg == server::SUBCOMMAND).is_some() {
        return server::serve(args);
    }
    match parse(args.map(|arg| arg.to_string_lossy().into_owned())).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nThe demo did not end as it should: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    data_dir: PathBuf,
    keep: bool,
}

fn parse(mut args: impl Iterator<Item = String>) -> Outcome<Options> {
    let default_dir = format!("sempre-data/orders-demo-{}", std::process::id());
    let mut options = Options { data_dir: default_dir.into(), keep: false };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--keep" => options.keep = true,
            "--data-dir" => options.data_dir = args.next().ok_or("--data-dir needs a folder")?.into(),
            other => return Err(format!("no such option: {other}\n\n{USAGE}").into()),
        }
    }
    Ok(options)
}

fn run(options: Options) -> Outcome {
    std::fs::create_dir_all(&options.data_dir)?;
    if std::fs::read_dir(&options.data_dir)?.next().is_some() {
        return Err(format!("{} is not empty", options.data_dir.display()).into());
    }
    let data_dir = options.data_dir.canonicalize()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        let demo = tokio::time::timeout(DEMO_DURATION_MAX, shop::demo(&data_dir));
        demo.await.unwrap_or_else(|_| Err(format!("still not done after {DEMO_DURATION_MAX:?}").into()))
    });
    // Whatever is still in flight belongs to a server that is gone.
    runtime.shutdown_background();
    leave(&data_dir, options.keep, outcome.is_ok());
    outcome
}

/// Removes the folder after a good end. After a bad one it is the evidence.
fn leave(data_dir: &Path, keep: bool, good: bool) {
    if keep || !good {
        println!("\nThe data is left in {}", data_dir.display());
        return;
    }
    match std::fs::remove_dir_all(data_dir) {
        Ok(()) => println!("\nRemoved {} (--keep leaves it)", data_dir.display()),
        Err(error) => println!("\nCould not remove {}: {error}", data_dir.display()),
    }
    // The parent goes only if this was the last run in it; otherwise it is not empty and stays.
    if let Some(parent) = data_dir.parent().filter(|parent| parent.ends_with("sempre-data")) {
        let _ = std::fs::remove_dir(parent);
    }
}

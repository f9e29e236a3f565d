//! Workloads A and B of docs/benchmarks.md for Restate: the service that its server calls, and the load on its ingress.
//! `bench/peers/restate` starts both.

#[path = "../../../sdk/drive.rs"]
mod drive;
mod load;
mod service;

use std::process::ExitCode;

use drive::{Failure, Plan};

const USAGE: &str = "usage: sempre-bench-restate serve HOST:PORT
       sempre-bench-restate load HOST:PORT short|steps IN_FLIGHT SECONDS STEPS";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(words: &[&str]) -> Result<(), Failure> {
    match words {
        ["serve", address] => service::serve(address).await,
        ["load", address, plan @ ..] => load::run(address, &Plan::parse(plan).ok_or(USAGE)?).await,
        _ => Err(USAGE.into()),
    }
}

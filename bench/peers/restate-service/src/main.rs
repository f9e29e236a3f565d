//! Workloads A and B of docs/benchmarks.md for Restate: the service that its server calls, and the load on its ingress.
//! `bench/peers/restate` starts both.

mod load;
mod service;

use std::{error::Error, process::ExitCode};

type Failure = Box<dyn Error + Send + Sync>;

const USAGE: &str = "usage: sempre-bench-restate serve HOST:PORT
       sempre-bench-restate load HOST:PORT short|steps IN_FLIGHT SECONDS STEPS";

#[tokio::main]
async fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", address] => service::serve(address).await,
        ["load", address, workload, in_flight, seconds, steps] => match load::Load::parse(address, workload, in_flight, seconds, steps) {
            Some(load) => load.run().await,
            None => Err(USAGE.into()),
        },
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

//! Measures a server by hand-made calls; see docs/benchmarks.md.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

mod compare;
mod crew;
mod options;
mod report;
mod target;
mod workload;

use std::error::Error;

use clap::Parser;
use sempre_bench::meter::Calibration;

use options::Options;
use report::{Figures, Report};
use target::{Data, Target};

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let options = Options::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(options))
}

async fn run(options: Options) -> Result<(), Failure> {
    if options.postgres {
        return compare::with_postgres(&options).await;
    }
    if let Some(full) = options.full.clone() {
        return compare::with_full(&options, full).await;
    }
    let own = (!options.only_peers).then_some(Target::Own(Data::Empty));
    let targets: Vec<Target> = own.into_iter().chain(options.peer.iter().cloned().map(Target::Peer)).collect();
    let mut all = Vec::new();
    for round in 1..=options.rounds {
        for in_flight in options.in_flights() {
            for target in &targets {
                let figures = measure(&options, target, in_flight, round).await?;
                if !options.json {
                    println!("{}", figures.line());
                }
                all.push(figures);
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&Report::new(&all))?);
    } else {
        println!("\n{}", report::markdown(&all));
    }
    Ok(())
}

/// One measurement.
async fn measure(options: &Options, target: &Target, in_flight: usize, round: usize) -> Result<Figures, Failure> {
    let mut server = target.open(options)?;
    let calibration = Calibration::take(server.folder())?;
    let outcome = workload::run(options, in_flight, &mut server).await?;
    Ok(Figures::new((options.workload.name(), target.name(), in_flight, round), calibration, outcome))
}

//! Short workflows on two stores of ours, in turn: what else the machine does hits both alike.

use std::{path::PathBuf, sync::Arc};

use sempre_postgres_cluster::Cluster;

use crate::{
    Failure, measure,
    options::Options,
    report::{Figures, median},
    target::{Data, Target},
};

/// An empty folder and the given one.
pub(crate) async fn with_full(options: &Options, full: PathBuf) -> Result<(), Failure> {
    let load = || std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load before: {}", load().trim());
    println!("| in flight | round | empty/s | full/s | ratio | CPU ms empty | CPU ms full | ratio | p99 ms empty | p99 ms full |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for in_flight in options.in_flights() {
        let (mut speed, mut cpu) = (Vec::new(), Vec::new());
        for round in 1..=options.rounds {
            let [empty, full] = pair(options, in_flight, round, Data::Folder(full.clone())).await?;
            speed.push(full.per_second / empty.per_second);
            cpu.push(empty.cpu_ms_per_unit / full.cpu_ms_per_unit);
            println!(
                "| {in_flight} | {round} | {:.0} | {:.0} | {:.3} | {:.3} | {:.3} | {:.3} | {:.1} | {:.1} |",
                empty.per_second,
                full.per_second,
                full.per_second / empty.per_second,
                empty.cpu_ms_per_unit,
                full.cpu_ms_per_unit,
                empty.cpu_ms_per_unit / full.cpu_ms_per_unit,
                empty.p99_ms,
                full.p99_ms
            );
        }
        println!("in flight {in_flight}: median ratio of workflows/s {:.3}, of workflows per CPU {:.3}", median(speed), median(cpu));
    }
    println!("load after: {}", load().trim());
    Ok(())
}

/// A folder and PostgreSQL.
pub(crate) async fn with_postgres(options: &Options) -> Result<(), Failure> {
    let cluster = Arc::new(Cluster::start().ok_or("PostgreSQL is not installed")??);
    println!(
        "| in flight | round | folder/s | PostgreSQL/s | ratio | CPU ms folder | CPU ms server + database | ratio | p50 ms folder | p50 ms PostgreSQL | statements/workflow |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for in_flight in options.in_flights() {
        for round in 1..=options.rounds {
            let [folder, postgres] = pair(options, in_flight, round, Data::Postgres(cluster.clone())).await?;
            let more = |name: &str| postgres.more.get(name).copied().unwrap_or_default();
            let (server, database) = (postgres.cpu_ms_per_unit, more("database CPU ms"));
            println!(
                "| {in_flight} | {round} | {:.0} | {:.0} | {:.3} | {:.3} | {server:.3} + {database:.3} | {:.3} | {:.2} | {:.2} | {:.2} |",
                folder.per_second,
                postgres.per_second,
                postgres.per_second / folder.per_second,
                folder.cpu_ms_per_unit,
                folder.cpu_ms_per_unit / (server + database),
                folder.p50_ms,
                postgres.p50_ms,
                more("statements"),
            );
        }
    }
    Ok(())
}

async fn pair(options: &Options, in_flight: usize, round: usize, other: Data) -> Result<[Figures; 2], Failure> {
    let empty = measure(options, &Target::Own(Data::Empty), in_flight, round).await?;
    Ok([empty, measure(options, &Target::Own(other), in_flight, round).await?])
}

//! SIGKILL at random moments.

use sempre_bench::process::Launch;
use sempre_postgres_cluster::Cluster;

use crate::{Failure, world::World};

/// Kills the server so many times; with a database, that too, at every tenth kill.
pub(crate) async fn run(launch: Launch, database: Option<&Cluster>, seed: u64, in_flight: usize, kills: u32) -> Result<(), Failure> {
    println!("seed {seed}: {kills} kills, {in_flight} workflows in flight");
    let mut world = World::begin(launch, seed, in_flight, None)?;
    for kill in 1..=kills {
        world.wait(30..500).await;
        if let Some(database) = database.filter(|_| kill % 10 == 5) {
            // The server stays, and goes on when the database does.
            database.stop("immediate")?;
            database.start_again()?;
            world.wait(30..500).await;
        }
        world.restart(|_| {})?;
        world.check().await?;
        if kill % 20 == 0 || kill == kills {
            println!("kill {kill:>4}: {}", world.ledger.summary());
        }
    }
    world.finish().await
}

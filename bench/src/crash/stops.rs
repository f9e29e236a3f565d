//! SIGSTOP for longer than clients wait, and SIGCONT: what a machine without time for the server looks like.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sempre_bench::process::Launch;

use crate::{Failure, world::World};

/// How long the calls of the load wait.
const TIMEOUT: Duration = Duration::from_millis(700);
/// After this the service has gone on.
const WITHIN: Duration = Duration::from_secs(10);

/// Stops the server so many times for one to four times as long as its clients wait.
pub(crate) async fn run(launch: Launch, seed: u64, in_flight: usize, stops: u32) -> Result<(), Failure> {
    println!("seed {seed}: {stops} stops, clients wait for {} ms, {in_flight} workflows in flight", TIMEOUT.as_millis());
    let mut world = World::begin(launch, seed, in_flight, Some(TIMEOUT))?;
    let mut slowest = Duration::ZERO;
    for stop in 1..=stops {
        world.wait(30..400).await;
        world.server()?.signal(Signal::STOP)?;
        world.wait(800..2800).await;
        let woken = Instant::now();
        world.server()?.signal(Signal::CONT)?;
        world.goes_on(WITHIN).await?;
        slowest = slowest.max(woken.elapsed());
        if world.moments.u8(..) < 64 {
            // What was in hand when it stopped is lost as well.
            world.server()?.signal(Signal::STOP)?;
            world.restart(|_| {})?;
        }
        world.check().await?;
        if stop % 20 == 0 || stop == stops {
            println!("stop {stop:>4}: {}", world.ledger.summary());
        }
    }
    println!("slowest to go on: {} ms", slowest.as_millis());
    world.finish().await
}

//! E: starts as fast as they come, and nobody there to take the tasks.

use std::time::Instant;

use super::{each, nonce, start};
use crate::{Failure, options::Options, report::Outcome, target::Running};

const STARTS: u64 = 60_000;

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let client = server.client()?;
    let word = nonce();
    let queue = format!("nobody-{word}");
    let meter = server.meter()?;
    let latencies_us = each(options.count.unwrap_or(STARTS), in_flight, |n| {
        let (mut client, queue, id) = (client.clone(), queue.clone(), format!("storm-{word}-{n}"));
        async move {
            let begun = Instant::now();
            start(&mut client, &queue, &id).await?;
            Ok(begun.elapsed().as_micros() as u64)
        }
    })
    .await?;
    let spent = meter.end()?;
    Ok(Outcome { unit: "start", units: latencies_us.len() as u64, latencies_us, spent, ..Outcome::default() })
}

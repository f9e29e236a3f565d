//! G: A on one server, again and again, while the closed runs in its store grow in number.
//!
//! The closed runs are A's own. Each stage measures A for the given seconds; between the stages A goes on, unmeasured, until the
//! next number of closed runs is reached. What is counted is the last stage; the ones before are told as parts of the first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{nonce, short};
use crate::{Failure, crew::Crew, options::Options, report::Outcome, target::Running};

/// Closed runs at which the stages after the first begin.
const STAGES: [(u64, &str, &str); 3] = [
    (100_000, "speed at 100 k", "per CPU at 100 k"),
    (1_000_000, "speed at 1 M", "per CPU at 1 M"),
    (3_000_000, "speed at 3 M", "per CPU at 3 M"),
];

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let most = options.count.unwrap_or(3_000_000);
    let mut outcome = short::run(options, in_flight, server).await?;
    let (speed, cpu) = (speed(&outcome), cpu(&outcome));
    let mut more = outcome.more.clone();
    let mut closed = outcome.units;
    for (goal, of_speed, of_cpu) in STAGES.into_iter().filter(|(goal, ..)| *goal <= most) {
        closed += fill(goal.saturating_sub(closed), in_flight, server).await?;
        outcome = short::run(options, in_flight, server).await?;
        closed += outcome.units;
        more.insert(of_speed, self::speed(&outcome) / speed);
        more.insert(of_cpu, cpu / self::cpu(&outcome));
    }
    outcome.more = more;
    Ok(outcome)
}

fn speed(outcome: &Outcome) -> f64 {
    outcome.units as f64 / outcome.spent.seconds
}

fn cpu(outcome: &Outcome) -> f64 {
    outcome.spent.cpu_seconds / outcome.units as f64
}

/// So many workflows of A, unmeasured.
async fn fill(count: u64, in_flight: usize, server: &Running) -> Result<u64, Failure> {
    let client = server.client()?;
    let crew = Arc::new(Crew::new(&client, in_flight, short::OneActivity));
    let next = Arc::new(AtomicU64::new(0));
    let word = nonce();
    let at_once = in_flight.max(64) as u64;
    super::each(at_once, at_once as usize, |_| {
        let (crew, mut client, next, word) = (crew.clone(), client.clone(), next.clone(), word.clone());
        async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= count {
                    return Ok(());
                }
                let id = format!("fill-{word}-{n}");
                let end = crew.end_of(&id);
                super::start(&mut client, crew.queue(), &id).await?;
                super::ended(end).await?;
            }
        }
    })
    .await?;
    // What runs on behind answers (lists, checkpoints) is not the next stage's.
    tokio::time::sleep(Duration::from_secs(2)).await;
    Ok(count)
}

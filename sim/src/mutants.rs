//! The proof that the simulator would find a bug: plants one after the other and counts the seeds until one fails.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use sempre_core::planted::{Bug, plant};

use crate::{Plan, run};

/// How a planted bug was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Seeds run until then, that one included.
    pub seeds: u64,
    /// What the seed said.
    pub violation: String,
}

/// A world in which the bug can show.
fn plan(bug: Bug, seed: u64) -> Plan {
    let plan = Plan::of(seed);
    if bug == Bug::LateCommitsTaken { Plan { nodes: 2, ..plan } } else { plan }
}

/// Plants `bug` and looks through seeds from 0; `None` if none below `seeds_max` fails.
#[must_use]
pub fn hunt(bug: Bug, seeds_max: u64, jobs: u64) -> Option<Found> {
    plant(Some(bug));
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let found: Mutex<Option<Found>> = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds_max || stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let outcome = run(&plan(bug, seed), false);
                    let Some(violation) = outcome.violations.into_iter().next() else { continue };
                    stop.store(true, Ordering::SeqCst);
                    if let Ok(mut found) = found.lock()
                        && found.as_ref().is_none_or(|found| found.seeds > seed)
                    {
                        *found = Some(Found { seeds: seed + 1, violation });
                    }
                }
            });
        }
    });
    plant(None);
    found.into_inner().ok().flatten()
}

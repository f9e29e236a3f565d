//! What there is once (namespaces, rules, keys, schedules …), and which of it is here.
//!
//! Each kind has a single shard, whose number is far from those of runs; who has it is the only one who changes the kind. A server
//! alone has all of them from the begin. Of several nodes each has some: the others keep what they have read, and refuse to change
//! it with [`Refusal::Elsewhere`].
//!
//! | a single shard is | |
//! |---|---|
//! | taken up ([`Engine::take_up`]) | acquired, and read anew; what works on it begins to |
//! | given up ([`Engine::give_up`]) | a change that is under way is finished; what works on it ends |
//! | elsewhere, and committed to there | what is in memory is read anew ([`reread`]) |
//! | lost | found out by the change that is refused; as if it had been given up |

use std::collections::BTreeSet;

use sempre_core::Refusal;
use sempre_store::{Store, StoreError};
use tokio::sync::watch;

use crate::{
    Engine, alerts,
    calls::queue_config::settings_of,
    listing, meta, namespaces,
    notices::keeper as notices,
    rebuild::Rebuild,
    records::{self, Kind},
    schedules,
    shared::Shared,
    singles,
};

/// Numbers from here on are those of single shards.
const FIRST: u32 = u32::MAX - 1023;

pub(crate) fn is_single(shard: u32) -> bool {
    shard >= FIRST
}

/// Which single shards are here.
pub(crate) struct Once {
    here: watch::Sender<BTreeSet<u32>>,
}

impl Once {
    /// None is.
    pub(crate) fn new() -> Self {
        Self { here: watch::Sender::default() }
    }

    pub(crate) fn has(&self, single: u32) -> bool {
        self.here.borrow().contains(&single)
    }

    /// Refuses what only its owner may do.
    pub(crate) fn check(&self, single: u32) -> Result<(), Refusal> {
        if self.has(single) { Ok(()) } else { Err(Refusal::Elsewhere { shard: single }) }
    }

    /// Resolves while it is here.
    pub(crate) async fn until(&self, single: u32) {
        let mut here = self.here.subscribe();
        // The sender lives as long as this.
        let _ = here.wait_for(|here| here.contains(&single)).await;
    }

    /// Resolves while it is not here.
    pub(crate) async fn until_gone(&self, single: u32) {
        let mut here = self.here.subscribe();
        // The sender lives as long as this.
        let _ = here.wait_for(|here| !here.contains(&single)).await;
    }

    pub(crate) fn come(&self, single: u32) {
        self.here.send_if_modified(|here| here.insert(single));
    }

    pub(crate) fn go(&self, single: u32) {
        if self.here.send_if_modified(|here| here.remove(&single)) {
            tracing::info!(shard = single, "the single shard is no longer here");
        }
    }

    fn list(&self) -> Vec<u32> {
        self.here.borrow().iter().copied().collect()
    }

    /// Acquires it when the engine opens; `None`: it is elsewhere.
    pub(crate) async fn acquire(&self, store: &dyn Store, single: u32) -> Result<Option<u64>, StoreError> {
        match store.acquire(single).await {
            Ok(epoch) => {
                self.come(single);
                Ok(Some(epoch))
            }
            Err(StoreError::Elsewhere { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Engine {
    /// The single shards that there are: what a node says it wants a share of.
    #[must_use]
    pub fn singles() -> Vec<u32> {
        singles::ALL.to_vec()
    }

    /// Those that are here.
    #[must_use]
    pub fn singles_here(&self) -> Vec<u32> {
        self.shared.once.list()
    }

    pub(crate) async fn take_up_single(&self, single: u32) -> Result<(), StoreError> {
        let shared = &self.shared;
        match single {
            namespaces::OWNER => {
                shared.namespaces.take_up().await?;
                shared.removal.notify_one();
            }
            meta::OWNER => set_up(shared, shared.meta.take_up().await?),
            schedules::OWNER => shared.schedules.take_up().await?,
            // They acquire it themselves, whenever they begin.
            alerts::runner::OWNER | notices::OWNER => shared.once.come(single),
            listing::OWNER => {
                shared.once.come(single);
                if let Some(reason) = shared.listing.visibility.needs_rebuild() {
                    Rebuild::start(shared, &reason);
                }
            }
            _ => {
                let of = of_records(shared, single).ok_or_else(|| unknown(single))?;
                of.take_up().await?;
                if single == records::BATCH_JOBS.owner {
                    self.resume_batches();
                }
            }
        }
        tracing::info!(shard = single, "the single shard is taken up");
        Ok(())
    }

    pub(crate) async fn give_up_single(&self, single: u32) -> Result<(), StoreError> {
        let shared = &self.shared;
        match single {
            namespaces::OWNER => shared.namespaces.give_up().await,
            meta::OWNER => shared.meta.give_up().await,
            schedules::OWNER => shared.schedules.give_up().await?,
            // What they commit from now on is refused as soon as another has it.
            alerts::runner::OWNER | notices::OWNER | listing::OWNER => shared.once.go(single),
            _ => {
                of_records(shared, single).ok_or_else(|| unknown(single))?.give_up().await;
                if single == records::BATCH_JOBS.owner {
                    shared.batches.halt_all();
                }
            }
        }
        Ok(())
    }
}

/// Another node has changed what is of this single shard: reads it, if there is a copy of it here.
#[cfg(feature = "postgres")]
pub(crate) async fn reread(shared: &Shared, single: u32) -> Result<(), StoreError> {
    match single {
        namespaces::OWNER => shared.namespaces.reread().await,
        meta::OWNER => {
            set_up(shared, shared.meta.reread().await?);
            Ok(())
        }
        _ => match of_records(shared, single) {
            Some(of) => of.reread().await,
            None => Ok(()),
        },
    }
}

/// Task queues have these settings from now on.
fn set_up(shared: &Shared, changed: Vec<meta::Config>) {
    for (queue, config) in changed {
        shared.matching.set_up(&queue, settings_of(&config));
    }
}

/// Records of any kind, as far as that makes no difference.
fn of_records(shared: &Shared, single: u32) -> Option<&dyn records::Single> {
    let all: [(Kind, &dyn records::Single); 6] = [
        (records::NEXUS_ENDPOINTS, &shared.endpoints),
        (records::BATCH_JOBS, &shared.batches.records),
        (records::DEPLOYMENTS, &shared.deployments),
        (records::FLOW_RULES, &shared.flow_rules),
        (records::API_KEYS, &shared.api_keys.records),
        (records::ALERT_RULES, &shared.alerts.rules),
    ];
    all.into_iter().find(|(kind, _)| kind.owner == single).map(|(_, of)| of)
}

fn unknown(single: u32) -> StoreError {
    StoreError::Rejected { reason: format!("there is no single shard {single}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_single_shard_has_a_number_of_its_own_far_from_those_of_runs() {
        let numbers: BTreeSet<u32> = singles::ALL.into_iter().collect();
        assert_eq!(numbers.len(), singles::ALL.len());
        assert!(numbers.iter().all(|single| is_single(*single)) && !is_single(FIRST - 1));
    }

    #[test]
    fn who_does_not_have_it_is_told_where_it_is_not() {
        let once = Once::new();
        assert_eq!(once.check(u32::MAX), Err(Refusal::Elsewhere { shard: u32::MAX }));
        once.come(u32::MAX);
        assert_eq!((once.check(u32::MAX), once.list()), (Ok(()), vec![u32::MAX]));
        once.go(u32::MAX);
        assert!(!once.has(u32::MAX));
    }
}

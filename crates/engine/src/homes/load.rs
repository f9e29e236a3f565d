//! The rows of a home that is taken up: offers to its queues of all runs, wherever these are. One read serves all homes that come
//! meanwhile.
//!
//! Nothing is missed: an offer that the last home was told of had its row before, and one that it was not told of is told to this one.

use std::{
    collections::BTreeSet,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
};

use futures::FutureExt;
use sempre_core::{Span, ids::SLOT_COUNT, keys};
use sempre_store::{StoreError, Table};

use super::Homes;
use crate::{
    matching::{Arrival, held::Queued, paging::offer_of},
    shared::Shared,
};

/// Rows read at once.
const ROWS: usize = 1000;
const RETRY: Span = Span::seconds(1);
/// Tries before the engine gives up: without its offers, work would stand still in silence.
const TRIES_MAX: usize = 30;

/// Homes whose rows are still to be read.
#[derive(Default)]
pub(super) struct Loads {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    homes: BTreeSet<u32>,
    is_reading: bool,
}

impl Loads {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a home's rows, beside what goes on.
pub(super) fn begin(homes: &Arc<Homes>, shared: &Arc<Shared>, home: u32) {
    let mut state = homes.loads.state();
    state.homes.insert(home);
    if !std::mem::replace(&mut state.is_reading, true) {
        shared.spawner.spawn("sempre offers of a home", read(homes.clone(), shared.clone()).boxed());
    }
}

async fn read(homes: Arc<Homes>, shared: Arc<Shared>) {
    if AssertUnwindSafe(read_on(homes, shared.clone())).catch_unwind().await.is_err() {
        shared.fail("the read of offers of a home has stopped by a panic".into());
    }
}

async fn read_on(homes: Arc<Homes>, shared: Arc<Shared>) {
    loop {
        let wanted = {
            let mut state = homes.loads.state();
            let wanted = std::mem::take(&mut state.homes);
            state.is_reading = !wanted.is_empty();
            wanted
        };
        if wanted.is_empty() {
            return;
        }
        for tries in 1.. {
            if shared.stopping.load(Ordering::Acquire) {
                return;
            }
            match read_all(&homes, &shared, &wanted).await {
                Ok(()) => break,
                Err(StoreError::Closed) => return,
                Err(error) if tries >= TRIES_MAX => return shared.fail(format!("the offers of a home could not be read: {error}")),
                Err(error) => {
                    tracing::warn!(%error, tries, "the offers of a home could not be read");
                    shared.clock.sleep_until(shared.now() + RETRY).await;
                }
            }
        }
    }
}

async fn read_all(homes: &Homes, shared: &Arc<Shared>, wanted: &BTreeSet<u32>) -> Result<(), StoreError> {
    let (mut from, to) = (keys::slot(0), keys::slot(SLOT_COUNT));
    loop {
        let rows = shared.store.scan(Table::Offer, &from, &to, ROWS).await?;
        let more = rows.len() == ROWS;
        if let Some((last, _)) = rows.last() {
            from = last.to_vec();
            from.push(0);
        }
        for (key, value) in rows {
            let Some(offer) = offer_of(&key, value) else {
                tracing::error!(key = ?key, "an offer row is damaged");
                continue;
            };
            if wanted.contains(&(homes.here.shard_of(offer.queue.home()) as u32)) {
                let row = offer.key.clone();
                shared.matching.recover(Queued { offer, row }, Arrival::Known);
            }
        }
        if !more {
            return Ok(());
        }
    }
}

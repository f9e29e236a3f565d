//! Offers that are in the store but not in memory: the backlog of the last process, and long lines.

use std::sync::{Arc, atomic::Ordering};

use prost::Message;
use sempre_core::{
    SlotId,
    ids::SLOT_COUNT,
    keys::{self, OfferRecord},
    transition::{Offer, OfferKey, QueueName},
};
use sempre_store::{Store, StoreError, Table};

use super::{
    Arrival, Matching,
    held::Queued,
    queue::Queue,
    window::{Claim, Place, Window},
};

/// Rows read at once while the backlog of the last process is loaded.
const LOAD_ROWS: usize = 1000;

/// The offer of a stored row. `None` when damaged.
pub(crate) fn offer_of(key: &[u8], value: bytes::Bytes) -> Option<Offer> {
    let key: OfferKey = keys::parse_offer(key)?;
    OfferRecord::decode(value).ok()?.offer(key)
}

/// The key right after `key`.
fn after(mut key: Vec<u8>) -> Vec<u8> {
    key.push(0);
    key
}

impl<S: Send + 'static> Matching<S> {
    /// Reads all offers of `slots` (from, to) into the windows. Offers that are there already stay as they are.
    pub(crate) async fn load(self: &Arc<Self>, store: &dyn Store, slots: (u16, u16)) -> Result<(), StoreError> {
        let mut from = keys::slot(slots.0);
        let to = keys::slot(slots.1);
        loop {
            let rows = store.scan(Table::Offer, &from, &to, LOAD_ROWS).await?;
            let last = rows.last().map(|(key, _)| after(key.to_vec()));
            let more = rows.len() == LOAD_ROWS;
            for (key, value) in rows {
                match offer_of(&key, value) {
                    Some(offer) => {
                        let row = offer.key.clone();
                        self.enqueue(Queued { offer, row }, Arrival::Known);
                    }
                    None => tracing::error!(key = ?key, "an offer row is damaged"),
                }
            }
            if let Some(homes) = &self.homes {
                homes.room().await;
            }
            match last {
                Some(next) if more => from = next,
                _ => return Ok(()),
            }
        }
    }

    /// Marks the windows of a queue as being paged that run low while the store has more and that nobody pages yet. The claim is for
    /// [`Matching::page`]; `None`: there is none.
    pub(crate) fn claim_page(&self, name: &QueueName) -> Option<Claim> {
        if !self.loaded.load(Ordering::Acquire) {
            return None;
        }
        let hash = name.hash64();
        let mut stripe = self.stripe(hash);
        let queue = stripe.get(hash, name)?;
        let (two, claim) = (queue.has_two_sides(), Claim(self.next_id.fetch_add(1, Ordering::Relaxed)));
        let plain = queue.plain.claim_page(claim, two, self.window_max);
        let ranked = queue.fair.as_mut().is_some_and(|fair| fair.window.claim_page(claim, two, self.window_max));
        (plain || ranked).then_some(claim)
    }

    /// Fills the windows that were claimed from the store, and no others. False: try again later.
    pub(crate) async fn page(self: &Arc<Self>, store: &dyn Store, name: &QueueName, claim: Claim) -> bool {
        let plain = self.page_line(store, name, claim, false).await;
        plain & self.page_line(store, name, claim, true).await
    }

    /// Merges the next rows of every slot, as far as all slots have been read.
    async fn page_line(self: &Arc<Self>, store: &dyn Store, name: &QueueName, claim: Claim, ranked: bool) -> bool {
        let hash = name.hash64();
        let start = {
            let mut stripe = self.stripe(hash);
            match stripe.get(hash, name).and_then(|queue| queue.window(ranked)) {
                Some(window) if window.is_paged_for(claim) => window.end(),
                _ => return true,
            }
        };
        let result = match start {
            Some(start) => read_page(store, self, name, start).await,
            None => Ok((Vec::new(), None)),
        };
        let now = self.clock.now();
        let mut stripe = self.stripe(hash);
        let Some(queue) = stripe.get(hash, name) else { return false };
        let before = queue.len();
        let failed = result.is_err();
        let route = queue.route.clone();
        let mut levels = std::mem::take(&mut queue.levels);
        let usable = queue.window(ranked).is_some_and(|window| window.page_read(claim, start, failed));
        match result {
            Ok((offers, read_to)) if usable => {
                // A shard may have gone since it was read.
                let stays = |offer: &Offer| self.keeps(offer);
                let page = offers.into_iter().filter(stays).map(|offer| Queued { row: offer.key.clone(), offer });
                if let Some(window) = queue.window(ranked) {
                    window.take_page(page, read_to, route.as_deref(), self.window_max, &mut levels, now);
                }
                if queue.is_whole() {
                    levels.all_in_memory();
                }
            }
            // The window has lost its end while this was read: what lies between is in the store only. The next poll
            // reads from the new end.
            Ok(_) => {}
            // The window stays low: the next poll tries again.
            Err(error) => tracing::warn!(%error, "a page of a task queue could not be read"),
        }
        queue.levels = levels;
        if usable {
            self.stats.backlog.add(queue.len().saturating_sub(before) as u64);
            self.pump_name(&mut stripe, hash, name);
        }
        usable
    }
}

impl<S: Send + 'static> Queue<S> {
    fn window(&mut self, ranked: bool) -> Option<&mut Window> {
        if ranked { self.fair.as_mut().map(|fair| &mut fair.window) } else { Some(&mut self.plain) }
    }
}

/// The offers of one line of a queue after `start`, and how far they reach (`None`: to the end).
async fn read_page<S: Send + 'static>(
    store: &dyn Store,
    matching: &Matching<S>,
    name: &QueueName,
    start: Place,
) -> Result<(Vec<Offer>, Option<Place>), StoreError> {
    let Matching { here, window_max, .. } = matching;
    // A home has the offers of all runs.
    let is_read = |slot: u16| matching.homes.is_some() || here.has(SlotId(slot));
    let hash = name.hash64();
    let per_slot = (window_max / usize::from(SLOT_COUNT)).max(16) * 2;
    let mut read_to: Option<Place> = None;
    let mut offers = Vec::new();
    for slot in (0..SLOT_COUNT).filter(|slot| is_read(*slot)) {
        let key = OfferKey {
            queue: hash,
            priority: start.priority,
            time: start.time,
            run: start.run,
            scheduled_event_id: start.scheduled_event_id,
        };
        let from = after(keys::offer(SlotId(slot), &key));
        let to = match hash.checked_add(1) {
            _ if !start.is_ranked() => keys::offer_queue_ranked(slot, hash),
            Some(next) => keys::offer_queue(slot, next),
            None => keys::slot(slot + 1),
        };
        let rows = store.scan(Table::Offer, &from, &to, per_slot).await?;
        if rows.len() == per_slot
            && let Some(last) = rows.last().and_then(|(key, _)| keys::parse_offer(key))
        {
            let last = Place::of(&last);
            read_to = Some(read_to.map_or(last, |to| to.min(last)));
        }
        // Another queue's name may have the same hash.
        offers.extend(rows.into_iter().filter_map(|(key, value)| offer_of(&key, value)).filter(|offer| offer.queue == *name));
    }
    if let Some(to) = read_to {
        offers.retain(|offer| Place::of(&offer.key) <= to);
    }
    Ok((offers, read_to))
}

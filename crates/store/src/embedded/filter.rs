//! Which keys are surely not in the cold store, so that a put and its delete within one checkpoint leave nothing to write.
//!
//! A Bloom filter over the keys of the tables whose rows mostly come and go; of other tables every key may be there. The checkpoint
//! thread adds what it has written while the overlay it wrote is still in place, and builds a new filter when this one is full.

use std::{
    hash::{DefaultHasher, Hasher},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{StoreError, Table};

use super::{
    cold::ColdWriter,
    limits::{FILTER_BITS_MIN, FILTER_KEYS_MAX},
};

const PROBES: u64 = 3;
const BITS_PER_KEY: usize = 16;

#[derive(Debug)]
pub(crate) struct Filter {
    /// A power of two of them; none if every key may be there.
    words: Vec<AtomicU64>,
}

impl Filter {
    pub(crate) const TABLES: [Table; 4] = [Table::Offer, Table::Outbox, Table::Deadline, Table::Visibility];

    /// Everything may be there.
    fn unknown() -> Self {
        Filter { words: Vec::new() }
    }

    fn for_keys(keys: usize) -> Self {
        let bits = (keys * 2 * BITS_PER_KEY).next_power_of_two().max(FILTER_BITS_MIN);
        Filter { words: (0..bits / 64).map(|_| AtomicU64::new(0)).collect() }
    }

    /// How many keys it takes before it is of little use.
    fn capacity(&self) -> usize {
        if self.words.is_empty() { FILTER_KEYS_MAX } else { self.words.len() * 64 / BITS_PER_KEY }
    }

    pub(crate) fn is_absent(&self, table: Table, key: &[u8]) -> bool {
        if self.words.is_empty() || !Filter::TABLES.contains(&table) {
            return false;
        }
        let is_set = |(word, bit): (usize, u64)| self.words[word].load(Ordering::Acquire) & bit != 0;
        !self.places(hash(table, key)).all(is_set)
    }

    fn add(&self, hash: u64) {
        if !self.words.is_empty() {
            for (word, bit) in self.places(hash) {
                self.words[word].fetch_or(bit, Ordering::Release);
            }
        }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = (usize, u64)> {
        let bits = self.words.len() as u64 * 64;
        (0..PROBES).map(move |probe| {
            let place = hash.wrapping_add(probe.wrapping_mul(hash >> 32 | 1)) & (bits - 1);
            ((place / 64) as usize, 1 << (place % 64))
        })
    }
}

fn hash(table: Table, key: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u8(table.id());
    hasher.write(key);
    hasher.finish()
}

/// The filter of a store.
#[derive(Debug)]
pub(crate) struct ColdKeys {
    filter: RwLock<Arc<Filter>>,
}

impl ColdKeys {
    pub(crate) fn new() -> Self {
        ColdKeys { filter: RwLock::new(Arc::new(Filter::unknown())) }
    }

    /// To be taken after the overlay that is being written was looked up: what is not in that one is in this.
    pub(crate) fn filter(&self) -> Arc<Filter> {
        self.filter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The checkpoint thread's end.
pub(crate) struct FilterKeeper<'a> {
    keys: &'a ColdKeys,
    added: usize,
}

impl<'a> FilterKeeper<'a> {
    pub(crate) fn new(keys: &'a ColdKeys) -> Self {
        FilterKeeper { keys, added: 0 }
    }

    /// Adds a key that was written.
    pub(crate) fn add(&mut self, filter: &Filter, table: Table, key: &[u8]) {
        filter.add(hash(table, key));
        self.added += 1;
    }

    pub(crate) fn is_full(&self) -> bool {
        self.added > self.keys.filter().capacity()
    }

    /// Makes a new filter of what is in the cold store; only while no checkpoint is being written.
    pub(crate) fn rebuild(&mut self, cold: &ColdWriter) -> Result<(), StoreError> {
        let mut hashes = Vec::new();
        for table in Filter::TABLES {
            cold.visit_keys(table, |key| {
                hashes.push(hash(table, key));
                hashes.len() <= FILTER_KEYS_MAX
            })?;
        }
        let filter = if hashes.len() > FILTER_KEYS_MAX {
            self.added = 0;
            Filter::unknown()
        } else {
            self.added = hashes.len();
            Filter::for_keys(hashes.len())
        };
        hashes.into_iter().for_each(|hash| filter.add(hash));
        *self.keys.filter.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filter);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_never_absent() {
        let filter = Filter::for_keys(1000);
        let key = |number: u32| number.to_be_bytes();
        (0..1000).for_each(|number| filter.add(hash(Table::Offer, &key(number))));
        assert!((0..1000).all(|number| !filter.is_absent(Table::Offer, &key(number))));
        let wrong = (1000..11_000).filter(|&number| !filter.is_absent(Table::Offer, &key(number))).count();
        assert!(wrong < 100, "{wrong} of 10000 keys are taken for present");
        assert!(!filter.is_absent(Table::State, &key(5000)), "not kept for this table");
        assert!(!Filter::unknown().is_absent(Table::Offer, &key(5000)), "nothing is known");
    }
}

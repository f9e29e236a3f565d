//! What was committed since the last checkpoint: the latest put or delete per key.
//!
//! Written by the committer thread only (and by recovery before it starts); read by everyone.

use std::{
    collections::BTreeMap,
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::{OpRef, Table};

use super::limits::ENTRY_BYTES;

/// The latest operation on a key.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// `None` for a delete.
    pub(crate) value: Option<Bytes>,
    /// Whether the key is surely in nothing older, so that a delete leaves nothing to do.
    fresh: bool,
}

pub(crate) type Rows = BTreeMap<Bytes, Entry>;

#[derive(Debug, Default)]
pub(crate) struct Overlay {
    tables: [RwLock<Rows>; Table::ALL.len()],
    bytes: AtomicUsize,
}

impl Overlay {
    pub(crate) fn table(&self, table: Table) -> RwLockReadGuard<'_, Rows> {
        self.tables[usize::from(table.id())].read().unwrap_or_else(PoisonError::into_inner)
    }

    /// An estimate of the memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn rows(&self) -> usize {
        Table::ALL.iter().map(|&table| self.table(table).len()).sum()
    }

    /// Applies one operation. `absent_below` says whether a key is surely in nothing older than this overlay.
    pub(crate) fn apply(&self, op: OpRef<'_>, absent_below: impl Fn(Table, &[u8]) -> bool) {
        match op {
            OpRef::Put { table, key, value } => self.put(table, key, value, absent_below),
            OpRef::Delete { table, key } => self.delete(table, key, absent_below),
        }
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8], absent_below: impl Fn(Table, &[u8]) -> bool) {
        let mut rows = self.write(table);
        let value = Some(Bytes::copy_from_slice(value));
        if let Some(entry) = rows.get_mut(key) {
            self.shrink(entry.value.as_ref().map_or(0, Bytes::len));
            self.grow(value.as_ref().map_or(0, Bytes::len));
            entry.value = value;
            return;
        }
        self.grow(ENTRY_BYTES + key.len() + value.as_ref().map_or(0, Bytes::len));
        rows.insert(Bytes::copy_from_slice(key), Entry { value, fresh: absent_below(table, key) });
    }

    fn delete(&self, table: Table, key: &[u8], absent_below: impl Fn(Table, &[u8]) -> bool) {
        let mut rows = self.write(table);
        match rows.get_mut(key) {
            Some(entry) if entry.fresh => {
                self.shrink(ENTRY_BYTES + key.len() + entry.value.as_ref().map_or(0, Bytes::len));
                rows.remove(key);
            }
            Some(entry) => self.shrink(entry.value.take().map_or(0, |value| value.len())),
            None if absent_below(table, key) => {}
            None => {
                self.grow(ENTRY_BYTES + key.len());
                rows.insert(Bytes::copy_from_slice(key), Entry { value: None, fresh: false });
            }
        }
    }

    fn write(&self, table: Table) -> std::sync::RwLockWriteGuard<'_, Rows> {
        self.tables[usize::from(table.id())].write().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn shrink(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// One bit per two-byte prefix and table: clear means that the cold store has no key with it.
///
/// Kept for tables whose rows are mostly gone before a checkpoint; for others every key may be there.
/// Written by the checkpoint while the overlay it has written is still in place.
#[derive(Debug)]
pub(crate) struct ColdPrefixes {
    tables: Vec<Option<Box<[AtomicU64; PREFIX_WORDS]>>>,
}

const PREFIX_WORDS: usize = (1 << 16) / 64;

impl ColdPrefixes {
    pub(crate) const TABLES: [Table; 3] = [Table::Offer, Table::Outbox, Table::Deadline];

    /// Everything may be there.
    pub(crate) fn new() -> Self {
        let bits = |table: &Table| ColdPrefixes::TABLES.contains(table).then(|| Box::new([const { AtomicU64::new(u64::MAX) }; PREFIX_WORDS]));
        ColdPrefixes { tables: Table::ALL.iter().map(bits).collect() }
    }

    pub(crate) fn is_absent(&self, table: Table, key: &[u8]) -> bool {
        let Some(bits) = &self.tables[usize::from(table.id())] else { return false };
        let prefix = prefix(key);
        bits[prefix / 64].load(Ordering::Acquire) & (1 << (prefix % 64)) == 0
    }

    /// Sets what is there; `None` if it is too much to know.
    pub(crate) fn replace(&self, table: Table, prefixes: Option<&[u16]>) {
        let Some(bits) = &self.tables[usize::from(table.id())] else { return };
        let mut words = vec![if prefixes.is_some() { 0u64 } else { u64::MAX }; PREFIX_WORDS];
        for &prefix in prefixes.unwrap_or_default() {
            words[usize::from(prefix) / 64] |= 1 << (prefix % 64);
        }
        for (bit, word) in bits.iter().zip(words) {
            bit.store(word, Ordering::Release);
        }
    }
}

/// The first two bytes of a key; missing ones count as zero.
pub(crate) fn prefix(key: &[u8]) -> usize {
    let byte = |index| usize::from(key.get(index).copied().unwrap_or(0));
    byte(0) << 8 | byte(1)
}


#[cfg(test)]
mod tests {
    use super::*;

    fn put(overlay: &Overlay, key: &[u8], absent: bool) {
        overlay.apply(OpRef::Put { table: Table::Offer, key, value: b"v" }, |_, _| absent);
    }

    fn delete(overlay: &Overlay, key: &[u8], absent: bool) {
        overlay.apply(OpRef::Delete { table: Table::Offer, key }, |_, _| absent);
    }

    #[test]
    fn a_fresh_row_and_its_delete_cancel() {
        let overlay = Overlay::default();
        put(&overlay, b"a", true);
        put(&overlay, b"a", true);
        delete(&overlay, b"a", true);
        delete(&overlay, b"never", true);
        assert_eq!((overlay.rows(), overlay.bytes()), (0, 0));
    }

    #[test]
    fn a_delete_is_kept_when_an_older_row_may_be_below() {
        let overlay = Overlay::default();
        put(&overlay, b"a", false);
        delete(&overlay, b"a", true);
        delete(&overlay, b"b", false);
        put(&overlay, b"b", true);
        delete(&overlay, b"b", true);
        assert_eq!(overlay.rows(), 2);
        assert!(overlay.table(Table::Offer).values().all(|entry| entry.value.is_none()));
    }

    #[test]
    fn prefixes_know_what_is_absent() {
        let prefixes = ColdPrefixes::new();
        assert!(!prefixes.is_absent(Table::Offer, b"ab"), "nothing is known at first");
        prefixes.replace(Table::Offer, Some(&[0x6162]));
        assert!(!prefixes.is_absent(Table::Offer, b"abc") && prefixes.is_absent(Table::Offer, b"ac"));
        prefixes.replace(Table::Offer, None);
        assert!(!prefixes.is_absent(Table::Offer, b"zz"));
        assert!(!prefixes.is_absent(Table::State, b"zz"), "not kept for this table");
    }
}

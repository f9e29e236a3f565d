//! What was committed since the last checkpoint: the latest put or delete per key.
//!
//! Written by the committer thread only (and by recovery before it starts); read by everyone.

use std::{
    collections::{BTreeMap, btree_map},
    sync::{
        PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
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

    // Both look up once, with an owned key: an allocation costs less than a second walk through cold memory.

    fn put(&self, table: Table, key: &[u8], value: &[u8], absent_below: impl Fn(Table, &[u8]) -> bool) {
        let value = Bytes::copy_from_slice(value);
        self.grow(value.len());
        match self.write(table).entry(Bytes::copy_from_slice(key)) {
            btree_map::Entry::Occupied(mut entry) => {
                let old = entry.get_mut().value.replace(value);
                self.shrink(old.map_or(0, |old| old.len()));
            }
            btree_map::Entry::Vacant(entry) => {
                self.grow(ENTRY_BYTES + key.len());
                entry.insert(Entry { value: Some(value), fresh: absent_below(table, key) });
            }
        }
    }

    fn delete(&self, table: Table, key: &[u8], absent_below: impl Fn(Table, &[u8]) -> bool) {
        match self.write(table).entry(Bytes::copy_from_slice(key)) {
            btree_map::Entry::Occupied(entry) if entry.get().fresh => {
                let old = entry.remove();
                self.shrink(ENTRY_BYTES + key.len() + old.value.map_or(0, |value| value.len()));
            }
            btree_map::Entry::Occupied(mut entry) => self.shrink(entry.get_mut().value.take().map_or(0, |value| value.len())),
            btree_map::Entry::Vacant(_) if absent_below(table, key) => {}
            btree_map::Entry::Vacant(entry) => {
                self.grow(ENTRY_BYTES + key.len());
                entry.insert(Entry { value: None, fresh: false });
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
}

//! The content of a store at one moment (contract 17).

use bytes::Bytes;

use crate::{StoreError, Table};

/// Some rows of a snapshot: table, key, value.
pub type SnapshotRows = Vec<(Table, Bytes, Bytes)>;

/// The content of a store at one moment, read from begin to end: tables in the order of their numbers, rows in the order of their keys.
pub trait Snapshot: Send {
    /// The next rows, at least one, until `max_bytes` of keys and values are passed; none when all have been given.
    fn next(&mut self, max_bytes: usize) -> Result<SnapshotRows, StoreError>;
}

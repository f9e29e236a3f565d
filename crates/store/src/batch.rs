//! The unit of change: rows of many runs, encoded as they are written to a log.
//!
//! The encoding is part of the disk format (`docs/storage-format.md`, "Batch").

use bytes::Bytes;

use crate::Table;

/// The longest key of any store.
pub const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// The length that a key may have in every store.
pub const KEY_BYTES_SAFE: usize = 2048;

/// The largest batch, by [`CommitBatch::bytes`].
pub const BATCH_BYTES_MAX: usize = 32 << 20;

/// Length of the header of an encoded batch: length of the operations, shard, epoch.
pub(crate) const HEADER_LEN: usize = 16;

const DELETE: u8 = 0x80;

/// Who commits: the shard and the epoch that [`crate::Store::acquire`] gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fence {
    /// The shard.
    pub shard: u32,
    /// The epoch.
    pub epoch: u64,
}

/// Changes that are committed together or not at all.
#[derive(Clone, Debug)]
pub struct CommitBatch {
    fence: Fence,
    /// Header and operations back to back; the header's length field is written by [`CommitBatch::into_encoded`].
    buffer: Vec<u8>,
    ops: usize,
    /// Length of the longest key.
    key_bytes: usize,
    /// Set when a key or value was too long to be encoded; the commit is refused.
    oversized: bool,
    /// Bytes that it is likely to take.
    expected: usize,
}

/// One operation of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpRef<'a> {
    /// Set the value of a row.
    Put {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
        /// The value.
        value: &'a [u8],
    },
    /// Remove a row.
    Delete {
        /// The table.
        table: Table,
        /// The key.
        key: &'a [u8],
    },
}

impl CommitBatch {
    /// An empty batch.
    #[must_use]
    pub fn new(fence: Fence) -> Self {
        let mut buffer = vec![0; HEADER_LEN];
        buffer[4..8].copy_from_slice(&fence.shard.to_le_bytes());
        buffer[8..16].copy_from_slice(&fence.epoch.to_le_bytes());
        CommitBatch { fence, buffer, ops: 0, key_bytes: 0, oversized: false, expected: 0 }
    }

    /// Says that the batch is likely to take so many bytes: it takes room for them with its next operation, not bit by bit.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = bytes.min(BATCH_BYTES_MAX);
    }

    /// Makes room for one operation more.
    fn reserve(&mut self, bytes: usize) {
        let expected = std::mem::take(&mut self.expected);
        self.buffer.reserve(bytes.max(expected));
    }

    /// Adds a put.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        let (Ok(key_len), Ok(value_len)) = (u16::try_from(key.len()), u32::try_from(value.len())) else {
            self.oversized = true;
            return;
        };
        self.reserve(7 + key.len() + value.len());
        self.buffer.push(table.id());
        self.buffer.extend_from_slice(&key_len.to_le_bytes());
        self.buffer.extend_from_slice(&value_len.to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        self.key_bytes = self.key_bytes.max(key.len());
        self.ops += 1;
    }

    /// Adds a delete.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        let Ok(key_len) = u16::try_from(key.len()) else {
            self.oversized = true;
            return;
        };
        self.reserve(3 + key.len());
        self.buffer.push(table.id() | DELETE);
        self.buffer.extend_from_slice(&key_len.to_le_bytes());
        self.buffer.extend_from_slice(key);
        self.key_bytes = self.key_bytes.max(key.len());
        self.ops += 1;
    }

    /// Who commits.
    #[must_use]
    pub fn fence(&self) -> Fence {
        self.fence
    }

    /// Whether no operation was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops == 0
    }

    /// How many operations were added.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ops
    }

    /// The size of the encoded batch, for the bound and for budgets of callers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The operations in the order in which they were added.
    pub fn ops(&self) -> impl Iterator<Item = OpRef<'_>> {
        Ops { rest: &self.buffer[HEADER_LEN..] }.map(|op| op.expect("a batch holds only what put and delete encoded"))
    }

    /// The length of the longest key.
    #[cfg(feature = "postgres")]
    pub(crate) fn key_bytes(&self) -> usize {
        self.key_bytes
    }

    /// Whether a key or value was too long to be encoded; such a batch is never committed.
    pub(crate) fn is_oversized(&self) -> bool {
        self.oversized
    }

    /// Header and operations, as a log holds them.
    pub(crate) fn into_encoded(mut self) -> Bytes {
        let len = u32::try_from(self.buffer.len() - HEADER_LEN).expect("the size of a batch is checked before it is encoded");
        self.buffer[..4].copy_from_slice(&len.to_le_bytes());
        Bytes::from(self.buffer)
    }
}

/// A batch was cut short or has a number that means nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Operations of an encoded batch; ends after the first `Err`.
pub(crate) struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    /// Over encoded operations without the header.
    pub(crate) fn new(ops: &'a [u8]) -> Self {
        Ops { rest: ops }
    }

    fn decode(&mut self) -> Option<OpRef<'a>> {
        let (&tag, rest) = self.rest.split_first()?;
        let table = Table::from_id(tag & !DELETE)?;
        let (key_len, rest) = rest.split_first_chunk::<2>()?;
        let key_len = usize::from(u16::from_le_bytes(*key_len));
        if tag & DELETE != 0 {
            let (key, rest) = rest.split_at_checked(key_len)?;
            self.rest = rest;
            return Some(OpRef::Delete { table, key });
        }
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let value_len = usize::try_from(u32::from_le_bytes(*value_len)).ok()?;
        let (key, rest) = rest.split_at_checked(key_len)?;
        let (value, rest) = rest.split_at_checked(value_len)?;
        self.rest = rest;
        Some(OpRef::Put { table, key, value })
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<OpRef<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = self.decode();
        if op.is_none() {
            self.rest = &[];
        }
        Some(op.ok_or(Malformed))
    }
}

/// Takes the first batch off a run of encoded batches: its fence, its operations, the rest.
pub(crate) fn split_encoded(bytes: &[u8]) -> Result<(Fence, &[u8], &[u8]), Malformed> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(Malformed)?;
    let [l0, l1, l2, l3, s0, s1, s2, s3, epoch @ ..] = *header;
    let len = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).map_err(|_| Malformed)?;
    let fence = Fence { shard: u32::from_le_bytes([s0, s1, s2, s3]), epoch: u64::from_le_bytes(epoch) };
    let (ops, rest) = rest.split_at_checked(len).ok_or(Malformed)?;
    Ok((fence, ops, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_with_the_first_operation_and_changes_nothing_of_what_is_encoded() {
        let fence = Fence { shard: 1, epoch: 2 };
        let (mut plain, mut sized) = (CommitBatch::new(fence), CommitBatch::new(fence));
        sized.expect(10_000);
        assert!(sized.buffer.capacity() < 100, "an idle batch holds nothing");
        for batch in [&mut plain, &mut sized] {
            batch.delete(Table::Offer, b"gone");
            batch.put(Table::State, b"key", b"value");
        }
        assert!(sized.buffer.capacity() >= 10_000);
        assert_eq!(plain.into_encoded(), sized.into_encoded());
        let mut huge = CommitBatch::new(fence);
        huge.expect(usize::MAX);
        huge.put(Table::State, b"key", b"value");
        assert_eq!(huge.len(), 1);
    }

    #[test]
    fn decodes_what_was_added() {
        let mut batch = CommitBatch::new(Fence { shard: 7, epoch: 9 });
        assert!(batch.is_empty());
        batch.put(Table::State, b"k", b"value");
        batch.delete(Table::Offer, b"gone");
        batch.put(Table::Meta, b"", b"");
        let expected = vec![
            OpRef::Put { table: Table::State, key: b"k", value: b"value" },
            OpRef::Delete { table: Table::Offer, key: b"gone" },
            OpRef::Put { table: Table::Meta, key: b"", value: b"" },
        ];
        assert_eq!(batch.ops().collect::<Vec<_>>(), expected);
        assert_eq!((batch.len(), batch.is_empty()), (3, false));

        let encoded = batch.into_encoded();
        let (fence, ops, rest) = split_encoded(&encoded).unwrap();
        assert_eq!((fence, rest), (Fence { shard: 7, epoch: 9 }, &[][..]));
        assert_eq!(Ops::new(ops).collect::<Result<Vec<_>, _>>().unwrap(), expected);
    }

    #[test]
    fn every_cut_is_noticed() {
        let mut batch = CommitBatch::new(Fence { shard: 1, epoch: 1 });
        batch.put(Table::State, b"key", b"value");
        let encoded = batch.into_encoded();
        for len in 0..encoded.len() {
            assert_eq!(split_encoded(&encoded[..len]).err(), Some(Malformed), "cut at {len}");
            if len > HEADER_LEN {
                assert!(Ops::new(&encoded[HEADER_LEN..len]).any(|op| op.is_err()), "cut at {len}");
            }
        }
        assert!(Ops::new(&[0x7f, 0, 0]).any(|op| op.is_err()), "unknown table");
    }
}

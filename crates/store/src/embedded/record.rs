//! One log record: how it is encoded and how a valid one is told from anything else (`docs/storage-format.md`, "Record").

use std::io;

use bytes::Bytes;

use super::{files::LogFile, limits::BLOCK_BYTES};

pub(crate) const MAGIC: [u8; 4] = *b"SLR1";
pub(crate) const HEADER_LEN: usize = 24;

/// Where a record begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The record's number; 0 means before the first.
    pub(crate) seq: u64,
    /// The segment.
    pub(crate) segment: u32,
    /// The offset of the record in the segment.
    pub(crate) offset: u64,
}

/// The length a record takes in the log.
pub(crate) fn padded_len(payload_len: usize) -> u64 {
    ((HEADER_LEN + payload_len) as u64).next_multiple_of(BLOCK_BYTES)
}

/// Encodes a record, padding included.
pub(crate) fn encode<'a>(buffer: &mut Vec<u8>, store_id: u64, seq: u64, batches: impl Iterator<Item = &'a Bytes>) {
    buffer.clear();
    buffer.extend_from_slice(&MAGIC);
    buffer.extend_from_slice(&[0; 4]);
    buffer.extend_from_slice(&seq.to_le_bytes());
    buffer.extend_from_slice(&[0; 8]);
    let mut count = 0u32;
    for batch in batches {
        buffer.extend_from_slice(batch);
        count += 1;
    }
    let payload_len = u32::try_from(buffer.len() - HEADER_LEN).expect("a record is smaller than a segment");
    buffer[16..20].copy_from_slice(&payload_len.to_le_bytes());
    buffer[20..24].copy_from_slice(&count.to_le_bytes());
    let crc = checksum(store_id, &buffer[8..]);
    buffer[4..8].copy_from_slice(&crc.to_le_bytes());
    buffer.resize(buffer.len().next_multiple_of(BLOCK_BYTES as usize), 0);
}

/// A valid record that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) seq: u64,
    pub(crate) batches: u32,
    /// The length it takes in the log.
    pub(crate) padded: u64,
}

/// Reads the record at an offset; `None` if there is no valid one. Its payload is left in the buffer.
pub(crate) fn read(file: &mut dyn LogFile, file_len: u64, offset: u64, store_id: u64, buffer: &mut Vec<u8>) -> io::Result<Option<Found>> {
    let mut header = [0; HEADER_LEN];
    if offset + BLOCK_BYTES > file_len || file.read_at(offset, &mut header)? < HEADER_LEN {
        return Ok(None);
    }
    let Some((seq, payload_len, batches)) = parse_header(&header) else { return Ok(None) };
    let padded = padded_len(payload_len);
    if padded > file_len - offset {
        return Ok(None);
    }
    buffer.clear();
    buffer.extend_from_slice(&header[8..]);
    buffer.resize(HEADER_LEN - 8 + payload_len, 0);
    if file.read_at(offset + HEADER_LEN as u64, &mut buffer[HEADER_LEN - 8..])? < payload_len {
        return Ok(None);
    }
    let [_, _, _, _, c0, c1, c2, c3, ..] = header;
    if checksum(store_id, buffer) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Ok(None);
    }
    buffer.drain(..HEADER_LEN - 8);
    Ok(Some(Found { seq, batches, padded }))
}

/// Whether a block may begin a record: cheap, no checksum.
pub(crate) fn looks_like_record(block: &[u8]) -> bool {
    block.starts_with(&MAGIC)
}

fn parse_header(header: &[u8; HEADER_LEN]) -> Option<(u64, usize, u32)> {
    let rest = header.strip_prefix(&MAGIC)?.get(4..)?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (payload_len, rest) = rest.split_first_chunk::<4>()?;
    let batches = u32::from_le_bytes(*rest.first_chunk::<4>()?);
    Some((u64::from_le_bytes(*seq), usize::try_from(u32::from_le_bytes(*payload_len)).ok()?, batches))
}

fn checksum(store_id: u64, rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&store_id.to_le_bytes());
    hasher.update(rest);
    hasher.finalize()
}

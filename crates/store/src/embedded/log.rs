//! The writer's end of the log: places records, grows and reuses segments. Owned by the committer thread.

use std::{collections::VecDeque, io, sync::Arc};

use bytes::Bytes;

use super::{
    files::{LogFile, LogFiles, is_full, is_out_of_files},
    limits::GROW_BYTES,
    record::{self, Position},
};

/// Why a record was not appended.
#[derive(Debug)]
pub(crate) enum AppendError {
    /// There is no room on the disk, or no file descriptor; no record was added and the log is as before.
    Full(io::Error),
    /// A write or a sync failed; what is on disk is unknown and the log must not be written again.
    Broken(io::Error),
}

pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) file: Box<dyn LogFile>,
    /// Up to here the file holds durable bytes (zeros or records), so that a write needs no new space.
    pub(crate) filled: u64,
    /// Where the next record goes.
    pub(crate) end: u64,
}

/// What recovery found and the writer goes on with.
#[derive(Default)]
pub(crate) struct Chain {
    /// The last record.
    pub(crate) last: Position,
    /// The segment that is written to.
    pub(crate) current: Option<Segment>,
    /// Full segments that are still needed, oldest first.
    pub(crate) live: VecDeque<u32>,
    /// Segments that may be overwritten.
    pub(crate) free: VecDeque<u32>,
    /// The highest number of a segment.
    pub(crate) number_max: u32,
}

pub(crate) struct Log {
    files: Arc<dyn LogFiles>,
    store_id: u64,
    segment_bytes: u64,
    chain: Chain,
    /// The record being encoded; kept for its capacity.
    buffer: Vec<u8>,
}

impl Log {
    pub(crate) fn new(files: Arc<dyn LogFiles>, store_id: u64, segment_bytes: u64, chain: Chain) -> Self {
        Log { files, store_id, segment_bytes, chain, buffer: Vec::new() }
    }

    /// The last record.
    pub(crate) fn last(&self) -> Position {
        self.chain.last
    }

    /// Writes one record and makes it durable; gives the bytes that it took.
    pub(crate) fn append<'a>(&mut self, batches: impl Iterator<Item = &'a Bytes>) -> Result<u64, AppendError> {
        let seq = self.chain.last.seq + 1;
        record::encode(&mut self.buffer, self.store_id, seq, batches);
        let len = self.buffer.len() as u64;
        self.make_room(len)?;
        let segment = self.chain.current.as_mut().expect("make_room leaves a current segment");
        if let Err(error) = segment.file.write_at(segment.end, &self.buffer) {
            return Err(not_written(segment, self.store_id, seq, error));
        }
        segment.file.sync().map_err(AppendError::Broken)?;
        self.chain.last = Position { seq, segment: segment.number, offset: segment.end };
        segment.end += len;
        if self.buffer.capacity() > 2 * super::limits::GROUP_BYTES_MAX {
            self.buffer = Vec::new();
        }
        Ok(len)
    }

    /// Makes the segments before a checkpoint's position free.
    pub(crate) fn release(&mut self, checkpoint: Position) {
        let current = self.chain.current.as_ref().map(|segment| segment.number);
        if current == Some(checkpoint.segment) || self.chain.live.contains(&checkpoint.segment) {
            while self.chain.live.front().is_some_and(|&number| number != checkpoint.segment) {
                self.chain.free.extend(self.chain.live.pop_front());
            }
        }
    }

    /// Makes `len` bytes at the end of the current segment writable, in a new current segment if need be.
    fn make_room(&mut self, len: u64) -> Result<(), AppendError> {
        if let Some(segment) = &mut self.chain.current
            && segment.end + len <= self.segment_bytes.max(segment.filled)
        {
            return grow(segment, segment.end + len, self.segment_bytes);
        }
        let mut next = self.next_segment()?;
        if let Err(error) = grow(&mut next, len, self.segment_bytes) {
            self.chain.free.push_front(next.number);
            return Err(error);
        }
        self.chain.live.extend(self.chain.current.replace(next).map(|segment| segment.number));
        Ok(())
    }

    fn next_segment(&mut self) -> Result<Segment, AppendError> {
        if let Some(number) = self.chain.free.pop_front() {
            let opened = self.files.open(number).and_then(|file| Ok((file.len()?, file)));
            return match opened {
                Ok((filled, file)) => Ok(Segment { number, file, filled: floor_block(filled), end: 0 }),
                Err(error) => {
                    self.chain.free.push_front(number);
                    Err(not_opened(error))
                }
            };
        }
        let number = self.chain.number_max + 1;
        let file = self.files.create(number).map_err(not_opened)?;
        self.chain.number_max = number;
        Ok(Segment { number, file, filled: 0, end: 0 })
    }
}

/// What it means that a segment could not be opened or made: nothing was written.
fn not_opened(error: io::Error) -> AppendError {
    if is_full(&error) || is_out_of_files(&error) { AppendError::Full(error) } else { AppendError::Broken(error) }
}

/// What became of a record whose write failed. Room that was reserved may be refused all the same: by a file system that copies what is
/// overwritten, or by a limit on the sizes of files that is below theirs. Then the log is as before if nobody can find the record later.
fn not_written(segment: &mut Segment, store_id: u64, seq: u64, error: io::Error) -> AppendError {
    if !is_full(&error) {
        return AppendError::Broken(error);
    }
    match erase(segment, store_id, seq) {
        Ok(()) => AppendError::Full(error),
        Err(error) => AppendError::Broken(error),
    }
}

/// Makes sure that no record of this number is behind the last: a write that failed may lack no more than the padding. If the record is
/// not whole in the system's memory it is nowhere, as the disk has of each of its parts what the memory has, or what was there before.
fn erase(segment: &mut Segment, store_id: u64, seq: u64) -> io::Result<()> {
    let found = record::read(&mut *segment.file, segment.filled, segment.end, store_id, &mut Vec::new())?;
    if found.is_some_and(|found| found.seq == seq) {
        segment.file.write_at(segment.end, &[0; record::HEADER_LEN])?;
        segment.file.sync()?;
    }
    Ok(())
}

/// Fills the segment with zeros at least up to `needed`, ahead if that is within its size.
fn grow(segment: &mut Segment, needed: u64, segment_bytes: u64) -> Result<(), AppendError> {
    if needed <= segment.filled {
        return Ok(());
    }
    let target = needed.max((segment.filled + GROW_BYTES).min(segment_bytes));
    match fill(segment, target) {
        Ok(()) => {
            segment.filled = target;
            Ok(())
        }
        Err(error) if is_full(&error) => {
            // Gives the disk back what did not suffice; if that fails too, the zeros are simply written again.
            let _ = segment.file.set_len(segment.filled);
            Err(AppendError::Full(error))
        }
        Err(error) => Err(AppendError::Broken(error)),
    }
}

fn fill(segment: &mut Segment, target: u64) -> io::Result<()> {
    let zeros = vec![0; usize::try_from((target - segment.filled).min(1 << 20)).unwrap_or(1 << 20)];
    let mut at = segment.filled;
    while at < target {
        let len = (target - at).min(zeros.len() as u64);
        segment.file.write_at(at, &zeros[..usize::try_from(len).unwrap_or(zeros.len())])?;
        at += len;
    }
    segment.file.sync()
}

pub(crate) fn floor_block(len: u64) -> u64 {
    len - len % super::limits::BLOCK_BYTES
}

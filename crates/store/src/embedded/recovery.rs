//! Reads the log after an opening: strict, and no byte of it becomes another (`docs/storage-format.md`, "Opening").

use std::{io, sync::Arc};

use crate::StoreError;

use super::{
    files::{LogFile, LogFiles},
    limits::BLOCK_BYTES,
    log::{Chain, Segment, floor_block},
    record::{self, Found, Position},
};

/// What the log held behind the checkpoint.
pub(crate) struct Recovered {
    /// For the writer to go on with.
    pub(crate) chain: Chain,
    /// Bytes of the log that were applied.
    pub(crate) bytes: u64,
}

struct Scanned {
    number: u32,
    file: Box<dyn LogFile>,
    len: u64,
    /// The number of the valid record at its begin.
    head: Option<u64>,
}

struct Recovery {
    files: Arc<dyn LogFiles>,
    store_id: u64,
    segments: Vec<Scanned>,
    buffer: Vec<u8>,
}

/// Applies every record behind the checkpoint, in order; `apply` gets the payload and the number of batches.
pub(crate) fn recover(
    files: Arc<dyn LogFiles>,
    store_id: u64,
    checkpoint: Position,
    mut apply: impl FnMut(&[u8], u32) -> Result<(), &'static str>,
) -> Result<Recovered, StoreError> {
    let mut recovery = Recovery { files, store_id, segments: Vec::new(), buffer: Vec::new() };
    recovery.open_segments()?;
    let (mut current, mut end) = recovery.start(checkpoint)?;
    let mut last = checkpoint;
    let mut bytes = 0;
    let mut chain = Chain::default();
    loop {
        let next_seq = last.seq + 1;
        let found = match current {
            Some(index) => recovery.read(index, end)?.filter(|found| found.seq == next_seq),
            None => None,
        };
        let Some(found) = found else {
            let Some(next) = recovery.segments.iter().position(|segment| segment.head == Some(next_seq)) else { break };
            chain.live.extend(current.map(|index| recovery.segments[index].number));
            (current, end) = (Some(next), 0);
            continue;
        };
        let index = current.expect("a record was found in a current segment");
        let number = recovery.segments[index].number;
        apply(&recovery.buffer, found.batches)
            .map_err(|what| recovery.damaged(number, format!("record {next_seq} at offset {end} is intact but {what}")))?;
        last = Position { seq: next_seq, segment: number, offset: end };
        end += found.padded;
        bytes += found.padded;
    }
    recovery.refuse_later_records(current, end, last.seq + 1)?;
    let files = recovery.files.clone();
    let io_error = |number, action| move |source| StoreError::Io { action, path: files.path(number), source };
    chain.last = last;
    for (index, segment) in recovery.segments.into_iter().enumerate() {
        chain.number_max = chain.number_max.max(segment.number);
        if Some(index) == current {
            let mut file = segment.file;
            let settled = if last == checkpoint { Ok(()) } else { write_again(&mut *file, last.offset, end) };
            settled.and_then(|()| file.sync()).map_err(io_error.clone()(segment.number, "sync"))?;
            chain.current = Some(Segment { number: segment.number, file, filled: floor_block(segment.len), end });
        } else if !chain.live.contains(&segment.number) {
            chain.free.push_back(segment.number);
        }
    }
    Ok(Recovered { chain, bytes })
}

/// Writes the last record where it is. If its sync has failed, the system's memory may have it as written although the disk has not, and
/// would leave it out of every later sync; what was written anew is not. The same bytes over the same bytes harm nothing.
fn write_again(file: &mut dyn LogFile, from: u64, to: u64) -> io::Result<()> {
    let mut record = vec![0; usize::try_from(to - from).map_err(io::Error::other)?];
    let count = file.read_at(from, &mut record)?;
    file.write_at(from, &record[..count])
}

impl Recovery {
    fn open_segments(&mut self) -> Result<(), StoreError> {
        let numbers = self.files.list().map_err(|source| self.io(0, "list", source))?;
        for number in numbers {
            let opened = self.files.open(number).and_then(|file| Ok((file.len()?, file)));
            let (len, file) = opened.map_err(|source| self.io(number, "open", source))?;
            self.segments.push(Scanned { number, file, len, head: None });
            let index = self.segments.len() - 1;
            self.segments[index].head = self.read(index, 0)?.map(|found| found.seq);
        }
        Ok(())
    }

    /// The segment and offset behind the record that the cold store has seen last.
    fn start(&mut self, checkpoint: Position) -> Result<(Option<usize>, u64), StoreError> {
        if checkpoint.seq == 0 {
            return Ok((None, 0));
        }
        let missing = |recovery: &Self| {
            let what = format!(
                "record {} at offset {}, which the cold store has already seen, is missing or broken: the log is older than the cold store, or damaged",
                checkpoint.seq, checkpoint.offset
            );
            recovery.damaged(checkpoint.segment, what)
        };
        let index = self.segments.iter().position(|segment| segment.number == checkpoint.segment).ok_or_else(|| missing(self))?;
        match self.read(index, checkpoint.offset)? {
            Some(found) if found.seq == checkpoint.seq => Ok((Some(index), checkpoint.offset + found.padded)),
            _ => Err(missing(self)),
        }
    }

    /// A valid record with the missing number or a higher one means that an acknowledged record is damaged.
    fn refuse_later_records(&mut self, current: Option<usize>, end: u64, missing: u64) -> Result<(), StoreError> {
        for index in 0..self.segments.len() {
            let from = match self.segments[index].head {
                _ if Some(index) == current => end,
                Some(head) if head < missing => continue,
                _ => 0,
            };
            if let Some((offset, seq)) = self.later_record(index, from, missing)? {
                let number = self.segments[index].number;
                let what = format!(
                    "record {missing} is missing or broken, but record {seq} at offset {offset} is intact: commits that were acknowledged are lost"
                );
                return Err(self.damaged(number, what));
            }
        }
        Ok(())
    }

    fn later_record(&mut self, index: usize, from: u64, missing: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let mut piece = vec![0; 1 << 20];
        let mut at = from;
        while at < self.segments[index].len {
            let segment = &mut self.segments[index];
            let number = segment.number;
            let read = segment.file.read_at(at, &mut piece);
            let count = read.map_err(|source| self.io(number, "read", source))?;
            if count == 0 {
                break;
            }
            for block in (0..count).step_by(BLOCK_BYTES as usize) {
                if !record::looks_like_record(&piece[block..count]) {
                    continue;
                }
                let offset = at + block as u64;
                if let Some(found) = self.read(index, offset)?.filter(|found| found.seq >= missing) {
                    return Ok(Some((offset, found.seq)));
                }
            }
            at += count as u64;
        }
        Ok(None)
    }

    fn read(&mut self, index: usize, offset: u64) -> Result<Option<Found>, StoreError> {
        let segment = &mut self.segments[index];
        let number = segment.number;
        let found = record::read(&mut *segment.file, segment.len, offset, self.store_id, &mut self.buffer);
        found.map_err(|source| self.io(number, "read", source))
    }

    fn damaged(&self, number: u32, what: String) -> StoreError {
        StoreError::Damaged { path: self.files.path(number), what }
    }

    fn io(&self, number: u32, action: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { action, path: self.files.path(number), source }
    }
}

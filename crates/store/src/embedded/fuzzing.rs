//! What the fuzz targets reach of the decoders below the store (feature `fuzzing`, `fuzz/`): each function takes any bytes, and
//! panics only if the code under test is wrong.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut, Bytes};

use super::{
    files::{LogFile, LogFiles},
    folder,
    limits::BLOCK_BYTES,
    overlay::Overlay,
    record::{self, Position},
    recovery, replay,
};
use crate::{
    CommitBatch, OpRef, StoreError,
    batch::{HEADER_LEN, Ops, split_encoded},
    fence::Fences,
};

/// The id in all checksums here.
const ID: u64 = 0x0123_4567_89ab_cdef;
/// The most that a made-up log holds.
const LOG_BYTES_MAX: usize = 1 << 20;

/// Text as the FORMAT file: what is read is what is written, and nothing else is.
pub fn format(text: &str) {
    match folder::parse_format(Path::new("folder"), text) {
        Ok((format, id)) => assert_eq!(text, format!("sempre-store {format}\nid {id:016x}\n"), "only what this program writes is read"),
        Err(StoreError::NewerFormat { found, supported, .. }) => assert!(found > supported),
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
    }
}

/// Bytes as the payload of a record: what decodes is encoded to the same bytes again, and what replays holds nothing else.
pub fn batches(payload: &[u8]) {
    let mut rest = payload;
    let mut count = 0;
    let mut whole = true;
    while !rest.is_empty() && whole {
        let Ok((fence, ops, behind)) = split_encoded(rest) else {
            whole = false;
            break;
        };
        let mut batch = CommitBatch::new(fence);
        for op in Ops::new(ops) {
            match op {
                Ok(OpRef::Put { table, key, value }) => batch.put(table, key, value),
                Ok(OpRef::Delete { table, key }) => batch.delete(table, key),
                Err(_) => whole = false,
            }
        }
        if whole {
            assert_eq!(batch.into_encoded(), rest[..HEADER_LEN + ops.len()]);
        }
        rest = behind;
        count += 1;
    }
    let replayed = replay(payload, count, &Overlay::default(), &mut Fences::default());
    assert_eq!(replayed.is_ok(), whole, "{replayed:?}");
}

/// Bytes as a story of how segments came to hold what they hold: records, whole and torn, of this use and of an earlier one, junk,
/// bits that turned over. What is applied is what was written, in order, from the first on.
pub fn log(mut story: &[u8]) {
    let mut segments: Vec<Vec<u8>> = vec![Vec::new()];
    // Number and payload of every record that was written as a whole.
    let mut written: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
    let mut seq = 0;
    let mut total = 0;
    while let Some((&[what, low, high], rest)) = story.split_first_chunk::<3>() {
        let len = (usize::from(high) << 8 | usize::from(low)) % 9000;
        let (bytes, rest) = rest.split_at(len.min(rest.len()));
        story = rest;
        let segment = segments.last_mut().expect("there is one");
        match what % 8 {
            // A record, the next or one of a former use; torn in the one case of four.
            0..=3 => {
                seq = if what & 0x40 == 0 { seq + 1 } else { u64::from(what >> 3) % (seq + 2) };
                let mut record = Vec::new();
                record::encode(&mut record, ID, seq, std::iter::once(&Bytes::copy_from_slice(bytes)));
                if what % 8 == 3 {
                    let end = record.len();
                    record[end.min(24 + bytes.len() / 2)..].fill(0);
                }
                written.entry(seq).or_default().push(bytes.to_vec());
                segment.extend_from_slice(&record);
            }
            4 => segments.push(Vec::new()),
            5 => {
                segment.put_slice(bytes);
                segment.resize(segment.len().next_multiple_of(BLOCK_BYTES as usize), 0);
            }
            6 if !segment.is_empty() => {
                let at = (usize::from(high) << 8 | usize::from(low)) % segment.len();
                segment[at] ^= 1 << (what >> 5);
            }
            _ => segment.resize(segment.len() + BLOCK_BYTES as usize, 0),
        }
        total = segments.iter().map(Vec::len).sum();
        if total > LOG_BYTES_MAX {
            break;
        }
    }
    let files: BTreeMap<u32, Vec<u8>> = (1..).zip(segments).collect();
    let before = files.clone();
    let files = Arc::new(Files(Mutex::new(files)));
    let mut applied = 0;
    let recovered = recovery::recover(files.clone(), ID, Position::default(), |payload, count| {
        applied += 1;
        assert_eq!(count, 1);
        let known = written.get(&applied).is_some_and(|all| all.iter().any(|one| one == payload));
        assert!(known, "record {applied} was never written like that");
        Ok(())
    });
    match recovered {
        Ok(recovered) => {
            assert_eq!(recovered.chain.last.seq, applied);
            assert!(recovered.bytes <= total as u64);
        }
        Err(error) => assert!(matches!(error, StoreError::Damaged { .. }), "{error}"),
    }
    assert_eq!(*files.0.lock().unwrap_or_else(PoisonError::into_inner), before, "reading changes nothing");
}

/// Segments in memory.
struct Files(Mutex<BTreeMap<u32, Vec<u8>>>);

struct OneFile(Vec<u8>);

impl LogFiles for Files {
    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().copied().collect())
    }

    fn open(&self, segment: u32) -> io::Result<Box<dyn LogFile>> {
        let files = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Box::new(OneFile(files.get(&segment).cloned().ok_or(io::ErrorKind::NotFound)?)))
    }

    fn create(&self, _: u32) -> io::Result<Box<dyn LogFile>> {
        Err(io::Error::other("reading makes no segment"))
    }

    fn path(&self, segment: u32) -> PathBuf {
        format!("{segment}.seg").into()
    }
}

impl LogFile for OneFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&mut self, _: u64) -> io::Result<()> {
        Err(io::Error::other("reading cuts nothing"))
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let count = buffer.len().min(self.0.len() - from);
        buffer[..count].copy_from_slice(&self.0[from..from + count]);
        Ok(count)
    }

    /// Recovery writes the last record once more where it is, and nothing else.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let there = &self.0[from..];
        assert_eq!(&there[..bytes.len().min(there.len())], bytes, "what is written is what is there");
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

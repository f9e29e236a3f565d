//! A whole store as one stream of bytes: written from a snapshot while the store is in use, read back with every byte checked.
//!
//! ```text
//! "SEMPREBK"  frame  frame  …  frame
//! frame = length of the payload (4) | CRC-32 of all that follows (4) | number from 0 (8) | kind (1) | payload
//! ```
//!
//! | kind | payload |
//! |---|---|
//! | 0, the first frame | format (4), tables known to the writer (1), time of the snapshot in ms since 1970 (8), program (rest, UTF-8) |
//! | 1, rows | for each: table (1), length of the key (2), key, length of the value (4), value |
//! | 2, the last frame | rows (8), bytes of keys and values (8) |
//!
//! Numbers are big-endian. A stream without the last frame, or with anything behind it, is not a backup: nothing that was cut,
//! reordered or changed passes. It holds no secrets of its own, but all that the store holds.

use std::io::{self, Read};

use bytes::{BufMut, Bytes, BytesMut};
use futures::{StreamExt, stream::FuturesOrdered};

use crate::{CommitBatch, CommitError, Fence, KEY_BYTES_MAX, Snapshot, SnapshotRows, Store, StoreError, Table};

const MAGIC: &[u8; 8] = b"SEMPREBK";
const FORMAT: u32 = 1;
const HEAD: u8 = 0;
const ROWS: u8 = 1;
const END: u8 = 2;
/// Bytes before the payload.
const FRAME_BYTES: usize = 17;
/// Keys and values that go into one frame, but for the row that passes it.
const FRAME_ROWS_BYTES: usize = 1 << 20;
/// The largest payload that is read.
const PAYLOAD_BYTES_MAX: usize = 256 << 20;
/// Bytes of rows committed at once by a restore, and commits on their way.
pub(crate) const RESTORE_BATCH_BYTES: usize = 1 << 20;
pub(crate) const RESTORE_COMMITS: usize = 4;
/// The number under which a restore commits; far from those of shards.
pub(crate) const RESTORE_OWNER: u32 = u32::MAX - 64;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// When its snapshot was taken, ms since 1970.
    pub taken_ms: i64,
    /// What wrote it.
    pub program: String,
}

/// How much a backup holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Bytes of their keys and values.
    pub bytes: u64,
}

/// Why a backup cannot be read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// It is something else.
    #[error("this is not a backup: it does not begin as one")]
    NotABackup,
    /// A newer program wrote it.
    #[error("the backup was written by a newer program ({what}); use that version or a later one")]
    Newer {
        /// What is newer.
        what: String,
    },
    /// It ends early.
    #[error("the backup is not whole: it ends after {frames} frames without its last one; take it again or use another")]
    Incomplete {
        /// Whole frames before the end.
        frames: u64,
    },
    /// It is not what was written.
    #[error("the backup is damaged in frame {frame}: {what}; use another")]
    Damaged {
        /// The frame, from 0.
        frame: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// It cannot be read.
    #[error("the backup cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The store it is restored to.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store it is restored to.
    #[error("the restored data cannot be written: {0}")]
    Commit(#[from] CommitError),
}

/// Turns a snapshot into the bytes of a backup.
pub struct Writer {
    snapshot: Box<dyn Snapshot>,
    head: Option<Head>,
    frames: u64,
    totals: Totals,
    ended: bool,
}

impl Writer {
    /// A backup of this snapshot.
    #[must_use]
    pub fn new(snapshot: Box<dyn Snapshot>, head: Head) -> Self {
        Writer { snapshot, head: Some(head), frames: 0, totals: Totals::default(), ended: false }
    }

    /// What has been given out so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next bytes, some MiB at most (a larger row is not cut); `None` at the end.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(head) = self.head.take() {
            let mut payload = BytesMut::new();
            payload.put_u32(FORMAT);
            payload.put_u8(Table::ALL.len() as u8);
            payload.put_i64(head.taken_ms);
            payload.put_slice(head.program.as_bytes());
            let frame = self.frame(HEAD, &payload);
            return Ok(Some([&MAGIC[..], &frame].concat().into()));
        }
        if self.ended {
            return Ok(None);
        }
        let rows = self.snapshot.next(FRAME_ROWS_BYTES)?;
        let mut payload = BytesMut::new();
        if rows.is_empty() {
            self.ended = true;
            payload.put_u64(self.totals.rows);
            payload.put_u64(self.totals.bytes);
            return Ok(Some(self.frame(END, &payload)));
        }
        for (table, key, value) in &rows {
            payload.put_u8(table.id());
            payload.put_u16(u16::try_from(key.len()).expect("a key is bounded"));
            payload.put_slice(key);
            payload.put_u32(u32::try_from(value.len()).expect("a batch is bounded, and so is a row"));
            payload.put_slice(value);
            self.totals.rows += 1;
            self.totals.bytes += (key.len() + value.len()) as u64;
        }
        Ok(Some(self.frame(ROWS, &payload)))
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> Bytes {
        let mut frame = BytesMut::with_capacity(FRAME_BYTES + payload.len());
        frame.put_u32(u32::try_from(payload.len()).expect("rows of a frame are bounded"));
        frame.put_u32(checksum(self.frames, kind, payload));
        frame.put_u64(self.frames);
        frame.put_u8(kind);
        frame.put_slice(payload);
        self.frames += 1;
        frame.freeze()
    }
}

fn checksum(number: u64, kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// Reads a backup and checks all of it.
pub struct Reader<R> {
    from: R,
    head: Head,
    frames: u64,
    totals: Totals,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the begin.
    pub fn open(mut from: R) -> Result<Self, BackupError> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BackupError::NotABackup),
            other => other?,
        }
        if magic != *MAGIC {
            return Err(BackupError::NotABackup);
        }
        let head = Head { taken_ms: 0, program: String::new() };
        let mut reader = Reader { from, head, frames: 0, totals: Totals::default(), ended: false };
        let (kind, payload) = reader.frame()?;
        let damaged = |what| BackupError::Damaged { frame: 0, what };
        let (numbers, program) = payload.split_first_chunk::<13>().filter(|_| kind == HEAD).ok_or(damaged("it is not the first one"))?;
        let format = u32::from_be_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]);
        if format > FORMAT || usize::from(numbers[4]) > Table::ALL.len() {
            let what = format!("format {format} with {} tables, this program knows {FORMAT} and {}", numbers[4], Table::ALL.len());
            return Err(BackupError::Newer { what });
        }
        let taken: [u8; 8] = numbers[5..].try_into().expect("eight of thirteen bytes");
        reader.head = Head { taken_ms: i64::from_be_bytes(taken), program: String::from_utf8_lossy(program).into_owned() };
        Ok(reader)
    }

    /// What it says of itself.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What has been read so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next rows; `None` only behind the last frame of a whole backup.
    pub fn next_rows(&mut self) -> Result<Option<SnapshotRows>, BackupError> {
        if self.ended {
            return Ok(None);
        }
        let (kind, payload) = self.frame()?;
        let frame = self.frames - 1;
        let damaged = |what| BackupError::Damaged { frame, what };
        match kind {
            ROWS => {
                let rows = rows(&payload).ok_or(damaged("its rows are cut"))?;
                self.totals.rows += rows.len() as u64;
                self.totals.bytes += rows.iter().map(|(_, key, value)| (key.len() + value.len()) as u64).sum::<u64>();
                Ok(Some(rows))
            }
            END => {
                let mut expected = Vec::with_capacity(16);
                expected.put_u64(self.totals.rows);
                expected.put_u64(self.totals.bytes);
                if payload != expected {
                    return Err(damaged("it counts other rows than there are"));
                }
                if self.from.read(&mut [0])? != 0 {
                    return Err(damaged("something follows the last frame"));
                }
                self.ended = true;
                Ok(None)
            }
            _ => Err(damaged("its kind is unknown")),
        }
    }

    fn frame(&mut self) -> Result<(u8, Bytes), BackupError> {
        let frames = self.frames;
        let incomplete = |error: io::Error| match error.kind() {
            io::ErrorKind::UnexpectedEof => BackupError::Incomplete { frames },
            _ => BackupError::Io(error),
        };
        let damaged = |what| BackupError::Damaged { frame: frames, what };
        let mut begin = [0; FRAME_BYTES];
        self.from.read_exact(&mut begin).map_err(incomplete)?;
        let word = |at: usize| u32::from_be_bytes([begin[at], begin[at + 1], begin[at + 2], begin[at + 3]]);
        let len = word(0) as usize;
        if len > PAYLOAD_BYTES_MAX {
            return Err(damaged("its length cannot be"));
        }
        // Grows as bytes arrive: a damaged length allocates nothing.
        let mut payload = Vec::new();
        Read::by_ref(&mut self.from).take(len as u64).read_to_end(&mut payload)?;
        if payload.len() < len {
            return Err(BackupError::Incomplete { frames });
        }
        let number = u64::from(word(8)) << 32 | u64::from(word(12));
        if word(4) != checksum(number, begin[16], &payload) {
            return Err(damaged("its checksum is wrong"));
        }
        if number != frames {
            return Err(damaged("it is not the next one"));
        }
        self.frames += 1;
        Ok((begin[16], payload.into()))
    }
}

fn rows(payload: &Bytes) -> Option<SnapshotRows> {
    let mut rest = payload.clone();
    let mut rows = SnapshotRows::new();
    while !rest.is_empty() {
        let head = rest.get(..3)?;
        let (table, key_len) = (Table::from_id(head[0])?, usize::from(u16::from_be_bytes([head[1], head[2]])));
        rest = rest.slice(3..);
        let key = split(&mut rest, key_len).filter(|key| key.len() <= KEY_BYTES_MAX)?;
        let len: [u8; 4] = rest.get(..4)?.try_into().ok()?;
        let value_len = u32::from_be_bytes(len) as usize;
        rest = rest.slice(4..);
        let value = split(&mut rest, value_len)?;
        rows.push((table, key, value));
    }
    Some(rows)
}

fn split(rest: &mut Bytes, len: usize) -> Option<Bytes> {
    (len <= rest.len()).then(|| rest.split_to(len))
}

/// Writes all rows of a backup to a store that is empty, and tells of each step how much it was. The caller throws the store
/// away when this fails.
pub async fn restore<R: Read>(mut from: Reader<R>, store: &dyn Store, mut tell: impl FnMut(Totals)) -> Result<Totals, BackupError> {
    let fence = Fence { shard: RESTORE_OWNER, epoch: store.acquire(RESTORE_OWNER).await? };
    let mut commits = FuturesOrdered::new();
    let mut batch = CommitBatch::new(fence);
    while let Some(rows) = from.next_rows()? {
        for (table, key, value) in rows {
            batch.put(table, &key, &value);
            if batch.bytes() >= RESTORE_BATCH_BYTES {
                commits.push_back(store.commit(std::mem::replace(&mut batch, CommitBatch::new(fence))));
            }
            if commits.len() > RESTORE_COMMITS
                && let Some(result) = commits.next().await
            {
                result?;
            }
        }
        tell(from.totals());
    }
    commits.push_back(store.commit(batch));
    while let Some(result) = commits.next().await {
        result?;
    }
    Ok(from.totals())
}

//! Every bound of the embedded store that nobody will tune; `docs/storage-format.md` says what happens at each.

use std::time::Duration;

/// The newest format this program reads and the one it writes.
pub(crate) const FORMAT: u32 = 2;

/// Alignment of log records.
pub(crate) const BLOCK_BYTES: u64 = 4096;

/// The smallest segment that an option may ask for.
pub(crate) const SEGMENT_BYTES_MIN: u64 = 64 << 10;

/// By how much a segment grows ahead of the writer.
pub(crate) const GROW_BYTES: u64 = 4 << 20;

/// How much of the queue goes into one record.
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;

/// How much may wait for the log.
pub(crate) const QUEUE_BYTES_MAX: usize = 64 << 20;

/// Bytes that a checkpoint writes in one transaction, whatever the number of rows.
pub(crate) const SLICE_BYTES: usize = 4 << 20;

/// The largest history row made by merging.
pub(crate) const CHUNK_BYTES_MAX: usize = 64 << 10;

/// How far the fill may run ahead of the progress of a checkpoint before commits are slowed.
pub(crate) const FILL_SLACK: f64 = 0.25;

/// The fill at which commits wait for the end of the checkpoint.
pub(crate) const FILL_MAX: f64 = 2.0;

/// The longest time for which one record is held back before the fill is looked at again.
pub(crate) const DELAY_MAX: Duration = Duration::from_millis(250);

/// Pauses between attempts at a checkpoint that failed; the last one repeats.
pub(crate) const RETRY_DELAYS: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];

/// Idle connections for reads that are kept.
pub(crate) const READERS_MAX: usize = 4;

/// Keys of the cold store that are remembered (in 4 bytes each) to know what is surely not there; with more nothing is known.
pub(crate) const FILTER_KEYS_MAX: usize = 1 << 20;

/// The smallest filter, in bits.
pub(crate) const FILTER_BITS_MIN: usize = 1 << 20;

/// What a row in memory costs beside its key and value.
pub(crate) const ENTRY_BYTES: usize = 128;

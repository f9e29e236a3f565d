//! Who owns which shard: the one place where contract 7 and 8 are decided, for every store.
//!
//! | state of the shard | acquire | batch of the newest epoch | batch of another epoch | a batch failed |
//! |---|---|---|---|---|
//! | never acquired | owned, epoch 1 | - | `Fenced` | - |
//! | owned | owned, epoch + 1 | taken | `Fenced` | broken |
//! | broken | owned, epoch + 1 | `Rejected` | `Fenced` | broken |
//!
//! Where epochs are given elsewhere, by a database that several processes use, a shard is nobody's ([`Fences::begin_acquire`])
//! until the newest call that asks for it has its answer ([`Fences::end_acquire`]), and again when another process turns out
//! to own it ([`Fences::lose`]).

use std::collections::BTreeMap;

use crate::{BATCH_BYTES_MAX, CommitBatch, CommitError, Fence, KEY_BYTES_MAX};

/// The text of a batch that was refused because an earlier one failed.
pub(crate) const EARLIER_FAILED: &str = "an earlier batch of this epoch was not committed; acquire the shard again";

#[derive(Debug, Default)]
pub(crate) struct Fences {
    shards: BTreeMap<u32, Shard>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The newest epoch given to anyone; 0, which is never given, while it is nobody's here.
    epoch: u64,
    /// Calls that asked for an epoch which is given elsewhere.
    #[cfg(feature = "postgres")]
    calls: u64,
    /// The newest epoch of which a batch failed.
    broken: Option<u64>,
}

impl Fences {
    /// The next epoch of a shard; from now on only it is taken.
    pub(crate) fn acquire(&mut self, shard: u32) -> u64 {
        let shard = self.shards.entry(shard).or_default();
        shard.epoch += 1;
        shard.epoch
    }

    /// Asks elsewhere for an epoch: until the answer nobody's batches are taken. Gives the number of the call.
    #[cfg(feature = "postgres")]
    pub(crate) fn begin_acquire(&mut self, shard: u32) -> u64 {
        let shard = self.shards.entry(shard).or_default();
        shard.epoch = 0;
        shard.calls += 1;
        shard.calls
    }

    /// The answer to a call, which counts unless a newer one is under way.
    #[cfg(feature = "postgres")]
    pub(crate) fn end_acquire(&mut self, shard: u32, call: u64, epoch: u64) {
        let shard = self.shards.entry(shard).or_default();
        if shard.calls == call {
            shard.epoch = epoch;
        }
    }

    /// Another process has it.
    #[cfg(feature = "postgres")]
    pub(crate) fn lose(&mut self, fence: Fence) {
        let shard = self.shards.entry(fence.shard).or_default();
        if shard.epoch == fence.epoch {
            shard.epoch = 0;
        }
    }

    /// Takes over an epoch read from disk.
    pub(crate) fn restore(&mut self, fence: Fence) {
        let shard = self.shards.entry(fence.shard).or_default();
        shard.epoch = shard.epoch.max(fence.epoch);
    }

    /// The newest epoch of every shard.
    pub(crate) fn epochs(&self) -> Vec<Fence> {
        self.shards.iter().map(|(&shard, state)| Fence { shard, epoch: state.epoch }).collect()
    }

    /// Whether a batch may be enqueued. A refusal for its size breaks the epoch.
    pub(crate) fn admit(&mut self, batch: &CommitBatch, bytes_max: usize) -> Result<(), CommitError> {
        let fence = batch.fence();
        match self.shards.get(&fence.shard) {
            Some(shard) if shard.epoch == fence.epoch && fence.epoch != 0 => {}
            _ => return Err(CommitError::Fenced),
        }
        self.check_unbroken(fence)?;
        let bytes_max = bytes_max.min(BATCH_BYTES_MAX);
        let refused = if batch.is_oversized() {
            CommitError::Rejected { reason: format!("a key is longer than {KEY_BYTES_MAX} bytes, or a value than 4 GiB") }
        } else if batch.bytes() > bytes_max {
            CommitError::TooLarge { bytes: batch.bytes(), max: bytes_max }
        } else {
            return Ok(());
        };
        self.fail(fence);
        Err(refused)
    }

    /// Refuses a batch of an epoch of which an earlier batch failed.
    pub(crate) fn check_unbroken(&self, fence: Fence) -> Result<(), CommitError> {
        match self.shards.get(&fence.shard).and_then(|shard| shard.broken) {
            Some(broken) if fence.epoch <= broken => Err(CommitError::Rejected { reason: EARLIER_FAILED.into() }),
            _ => Ok(()),
        }
    }

    /// Notes that a batch was not committed.
    pub(crate) fn fail(&mut self, fence: Fence) {
        let shard = self.shards.entry(fence.shard).or_default();
        shard.broken = shard.broken.max(Some(fence.epoch));
    }
}

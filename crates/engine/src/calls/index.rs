//! What operators see of the index of runs, and do to it.

use sempre_core::Refusal;

use crate::{
    Engine, RebuildProgress, listing,
    rebuild::Rebuild,
    visibility::{IndexFailure, IndexStats},
};

/// How the index of runs is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexStatus {
    /// What it holds; `None` while it cannot be read.
    pub stats: Option<IndexStats>,
    /// Records that wait to be taken by it. Lists show them all the same.
    pub waiting_records: usize,
    /// Their bytes.
    pub waiting_bytes: usize,
    /// Why it takes none, if it does not.
    pub failure: Option<IndexFailure>,
    /// It takes none and no more can wait: calls that change runs are refused.
    pub holds_work_back: bool,
    /// Why lists are refused until it is rebuilt, if they are.
    pub needs_rebuild: Option<String>,
    /// The rebuild under way, or the last one.
    pub rebuild: RebuildProgress,
}

impl Engine {
    /// Makes the index of runs anew, beside everything else. One that is under way goes on. Of several nodes one does that; the others
    /// refuse with [`Refusal::Elsewhere`].
    pub fn rebuild_visibility(&self) -> Result<RebuildProgress, Refusal> {
        self.shared.once.check(listing::OWNER)?;
        Rebuild::start(&self.shared, "an operator has asked for it");
        Ok(self.visibility_progress())
    }

    /// How far the rebuild of the index of runs is, or the last one was.
    pub fn visibility_progress(&self) -> RebuildProgress {
        self.shared.listing.rebuild.progress()
    }

    /// Records that wait to be taken by the index of runs, and their bytes.
    pub fn visibility_waiting(&self) -> (usize, usize) {
        self.shared.listing.visibility.waiting()
    }

    /// How the index of runs is doing.
    pub async fn visibility_status(&self) -> IndexStatus {
        let visibility = &self.shared.listing.visibility;
        let stats = visibility.index_stats().await.ok();
        let (waiting_records, waiting_bytes) = visibility.waiting();
        IndexStatus {
            stats,
            waiting_records,
            waiting_bytes,
            failure: visibility.failure(),
            holds_work_back: visibility.is_stuck(),
            needs_rebuild: visibility.needs_rebuild(),
            rebuild: self.visibility_progress(),
        }
    }

    /// Why calls that change runs are refused just now, if they are.
    pub fn held_back(&self) -> Option<Refusal> {
        self.shared.listing.visibility.is_stuck().then(|| self.shared.listing.held_back())
    }

    /// Resolves when that is so, or is not so any more.
    pub async fn until_held_back(&self, held_back: bool) {
        self.shared.listing.visibility.until_stuck(held_back).await;
    }
}

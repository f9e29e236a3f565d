//! Which patches of workflow code are still needed (`patched(id)`, Go's and Java's `GetVersion`).
//!
//! | what | from | bound |
//! |---|---|---|
//! | runs of a type, open and closed | counts of the index | [`TYPES_MAX`] types |
//! | which of them have met a patch | their search attribute `TemporalChangeVersion`, record by record | [`RECORDS_MAX`] a type |
//! | which met it as deprecated; runs of SDKs that do not set the attribute | markers in their histories, open runs first | as the call says, [`HISTORIES_DEFAULT`]; [`EVENTS_MAX`] events in all |
//!
//! What was not read is never taken for harmless: a run whose history was not read counts as one that met the patch as
//! not deprecated if its attribute names it, and as one that has not met it if not. What may be done follows from the
//! same counts as in `sempre_patterns::versioning`.

mod tally;
mod walk;

use futures::FutureExt;
use sempre_api::sempre::v1::{ListPatchesRequest, ListPatchesResponse};
use sempre_core::Refusal;
use tokio::sync::mpsc;

use crate::Engine;
use walk::Walk;

/// Workflow types of one call.
const TYPES_MAX: usize = 1000;
/// Records of a type that are looked at.
const RECORDS_MAX: i64 = 1_000_000;
/// Histories of a type that are read.
const HISTORIES_DEFAULT: i64 = 1000;
const HISTORIES_MAX: i64 = 100_000;
/// Events that one call reads.
const EVENTS_MAX: i64 = 20_000_000;
/// Patches of a type that are told apart.
const PATCHES_MAX: usize = 1000;
/// Messages made ahead of the reader.
const MESSAGES_AHEAD: usize = 16;

/// One message for each workflow type, others that tell how far it is. An `Err` is the last.
pub type PatchMessages = mpsc::Receiver<Result<ListPatchesResponse, Refusal>>;

impl Engine {
    /// `VersionService.ListPatches`.
    pub fn list_patches(&self, request: ListPatchesRequest) -> Result<PatchMessages, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        let Ok(turn) = self.shared.checks.clone().try_acquire_owned() else {
            return Err(Refusal::Overloaded("several such calls are being answered, try again when one has ended"));
        };
        let (sender, messages) = mpsc::channel(MESSAGES_AHEAD);
        let walk = Walk::new(self.clone(), namespace, request, sender);
        let run = async move {
            let _turn = turn;
            walk.run().await;
        };
        self.shared.spawner.spawn("sempre list of patches", run.boxed());
        Ok(messages)
    }
}

//! What open runs still need of a patch (`ctx.patched(id)`): whether a branch of the code can go.
//!
//! The SDK notes the patches that a run has met in its search attribute `TemporalChangeVersion`; this counts by it. On a Sempre
//! server, `sempre workflow patches` tells the same of all patches at once, and from histories which runs have met one as deprecated.

use temporalio_client::{Client, WorkflowCountOptions, errors::ClientError};

/// Open runs of a workflow type, by whether they have met a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchUse {
    /// They have its marker: they run the new branch.
    pub with: usize,
    /// They have not: they began before it, or have not come to it yet.
    pub without: usize,
}

/// What may be done to the code of a patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advice {
    /// Keep `if ctx.patched(id) { new } else { old }`: some run may be in the old branch.
    Keep,
    /// Remove the old branch, and put `ctx.deprecate_patch(id)` before the new one: runs have the marker and replay it.
    Deprecate,
    /// Remove the patch: no open run knows of it.
    Remove,
}

impl PatchUse {
    /// Counts the open runs of a workflow type, as the server's lists have them: where those lag, so does this.
    pub async fn count(client: &Client, workflow_type: &str, patch_id: &str) -> Result<Self, ClientError> {
        // By what they lack, not by their status: a paused run is open too.
        let open = format!("WorkflowType = {} AND CloseTime IS NULL", quoted(workflow_type));
        let (attribute, id) = ("TemporalChangeVersion", quoted(patch_id));
        let count = async |met: String| client.count_workflows(format!("{open} AND {met}"), WorkflowCountOptions::default()).await;
        // Each by itself, in this order: a run that meets the patch in between is in both, and one that closes hides no other.
        let without = count(format!("({attribute} IS NULL OR {attribute} != {id})")).await?.count();
        let with = count(format!("{attribute} = {id}")).await?.count();
        Ok(Self { with, without })
    }

    /// What may be done, as far as open runs are concerned. Closed ones need the code too if they are to be queried or reset: wait for their
    /// retention, if you do that.
    pub fn advice(self) -> Advice {
        match self {
            Self { without: 1.., .. } => Advice::Keep,
            Self { with: 1.., .. } => Advice::Deprecate,
            _ => Advice::Remove,
        }
    }
}

/// A string of a list query.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

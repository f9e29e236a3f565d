//! Workflows with planted faults. Every fault has a mark at the end of its line: its kind, who catches it (`walk`: the walk over
//! source; `types`: clippy, asked about the same functions), and a name. A line without a mark is innocent.
#![allow(warnings, clippy::all, clippy::disallowed_methods, clippy::disallowed_types, clippy::disallowed_macros, reason = "planted faults")]

pub mod clocks;
pub mod files;
pub mod globals;
pub mod innocent;
pub mod order;
pub mod process;
pub mod random;
pub mod reached;
pub mod sockets;
pub mod threads;
pub mod unordered;

use temporalio_sdk::activities::{ActivityContext, ActivityError};

/// An activity, for those who need one.
pub struct Acts;

#[temporalio_macros::activities]
impl Acts {
    #[activity]
    pub async fn act(_ctx: ActivityContext, what: String) -> Result<String, ActivityError> {
        Ok(what)
    }
}

//! Finds in the source of Rust workflows (of the official `temporalio-sdk`) what would make a replay differ from the run: clocks, chance,
//! threads, sockets, files, global state, unordered maps.
//!
//! Only workflow code is looked at: the methods of `#[workflow_methods]`, functions that take a workflow context, and whatever of the
//! same workspace they call. Activities in the same file may do what they like. The walk ([`check`]) reads source alone, so it takes
//! milliseconds and knows types only as far as they are written down; [`typed`] asks clippy about the same lines.
//! `docs/check.md` has a table of what each of them catches, made from the folder `planted`.

mod allow;
mod find;
mod index;
mod load;
mod names;
mod report;
mod rules;
mod typed;
mod types;
mod walk;

pub use load::LoadError;
pub use report::{Finding, Note, Report, Step};
pub use rules::Kind;
pub use typed::{TypedError, typed};

use std::path::PathBuf;

/// Checks packages (a folder with a `Cargo.toml`, of a package or a workspace) and single files, each of which is taken as the root of a
/// crate.
pub fn check(paths: &[PathBuf]) -> Result<Report, LoadError> {
    let sources = load::load(paths)?;
    let index = index::Index::build(sources);
    Ok(find::find(&index))
}

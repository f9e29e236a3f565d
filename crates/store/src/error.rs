//! The answers of a store that are not success, named by what the caller can do.

use std::path::PathBuf;

/// Why a batch was not acknowledged (contract 7 to 9).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another owner acquired the shard; surely not committed. The caller stops being its owner.
    #[error("the shard has another owner")]
    Fenced,
    /// Surely not committed. The caller may acquire the shard again and retry.
    #[error("the batch was rejected: {reason}")]
    Rejected {
        /// Why, in plain words.
        reason: String,
    },
    /// It may or may not be committed; a restart decides.
    #[error("the fate of the batch is unknown: {reason}")]
    Unknown {
        /// What went wrong.
        reason: String,
    },
    /// The store is broken until it is opened again; surely not committed. The process should stop.
    #[error("the store has failed: {reason}")]
    Failed {
        /// What went wrong at first.
        reason: String,
    },
    /// The batch is larger than the store takes; surely not committed.
    #[error("a batch of {bytes} bytes is larger than the bound of {max} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// Why a store could not be opened, read or acquired.
///
/// The texts are complete sentences: they are what an operator reads when the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// What is on disk cannot be what was written. Nothing was changed.
    #[error("the data in {} is damaged: {what}. Nothing was changed. Restore the folder from a backup, or ask for help before touching it.", path.display())]
    Damaged {
        /// The file or folder.
        path: PathBuf,
        /// What was found, and what was expected.
        what: String,
    },
    /// The folder was written by a newer program. Nothing was changed.
    #[error("the data in {} has format {found}, this program supports formats up to {supported}. Nothing was changed. Use a newer version of the program.", path.display())]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that this program knows.
        supported: u32,
    },
    /// The folder was written by an older program, and whoever only looks does not bring it up. Nothing was changed.
    #[error("the data in {} has format {found}; a server of this version brings it up to format {newest} when it starts on it, and older ones refuse it then. This only looks: use the version that wrote it, or start the server first. Nothing was changed.", path.display())]
    OlderFormat {
        /// The folder.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The format that it would get.
        newest: u32,
    },
    /// The path is not a data folder and cannot become one. Nothing was changed.
    #[error("{} cannot be used as a data folder: {what}. Nothing was changed. Give an empty or a new folder, or an existing data folder.", path.display())]
    NotOurs {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: String,
    },
    /// A schema of a database is not ours and cannot become so. Nothing was changed.
    #[error("{place} cannot be used: {what}. Nothing was changed. Name an empty or a new schema, or one that holds the data of a server.")]
    NotOurSchema {
        /// Schema and database.
        place: String,
        /// What is there.
        what: String,
    },
    /// Another server uses the schema.
    #[error("{place} is in use by another server ({holder}). Stop it first, or name another schema.")]
    Owned {
        /// Schema and database.
        place: String,
        /// The other server.
        holder: String,
    },
    /// A server that has the schema alone uses it, and this one was to be one of several.
    #[error("{place} is in use by a server that has it alone ({holder}). Stop it, and start it again as a node, or name another schema.")]
    Alone {
        /// Schema and database.
        place: String,
        /// The other server.
        holder: String,
    },
    /// Nodes share the schema, and this server was to have it alone.
    #[error(
        "{place} is shared by nodes ({holder} is one of them). Start this server as a node, or stop them first, or name another schema."
    )]
    Shared {
        /// Schema and database.
        place: String,
        /// One of them.
        holder: String,
    },
    /// A shard is another node's. The caller asks that one.
    #[error("shard {shard} is another node's")]
    Elsewhere {
        /// The shard.
        shard: u32,
    },
    /// The database refused something, or could not be asked.
    #[error("cannot {action} {place}: {reason}")]
    Database {
        /// What was tried.
        action: &'static str,
        /// Schema and database.
        place: String,
        /// Why not.
        reason: String,
    },
    /// Another process uses the folder.
    #[error("the data folder {} is in use by another process{}. Stop it first, or give another folder.", path.display(), pid_text(*pid))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process, if it could be read.
        pid: Option<u32>,
    },
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
    /// The cold store refused something.
    #[error("the cold store failed to {action}: {reason}")]
    Cold {
        /// What was tried.
        action: &'static str,
        /// The refusal.
        reason: String,
    },
    /// A record without which nobody may go on is stored, and is not what was written. Nothing was changed.
    #[error(
        "{what} cannot be read: what is stored of it is damaged. Nothing was changed. Restore the data from a backup, or ask for help before touching it."
    )]
    Unreadable {
        /// The record.
        what: String,
    },
    /// The options contradict each other.
    #[error("the store cannot be opened with these options: {what}")]
    Options {
        /// What contradicts what.
        what: String,
    },
    /// Not done, and surely without effect; may work later.
    #[error("the store refused: {reason}")]
    Rejected {
        /// Why, in plain words.
        reason: String,
    },
    /// The store is broken until it is opened again.
    #[error("the store has failed: {reason}")]
    Failed {
        /// What went wrong at first.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

fn pid_text(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
}

impl From<CommitError> for StoreError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Failed { reason } | CommitError::Unknown { reason } => StoreError::Failed { reason },
            other => StoreError::Rejected { reason: other.to_string() },
        }
    }
}

//! Data in PostgreSQL: its address, and the index of runs beside it.
//!
//! The index is a file of this machine, made of the data. It is kept from start to start as long as this folder's server was the
//! last to use the data; after any other it is made anew.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use sempre_store::{
    Store,
    postgres::{Holders, PostgresOptions, PostgresReader, PostgresStore},
};
use tokio::runtime::Handle;

use super::{Failure, environment::Environment};

/// Where the data is, and where the index of it is put.
#[derive(Clone)]
pub(crate) struct Place {
    options: PostgresOptions,
    folder: PathBuf,
}

/// Whether a place is an address of a database rather than a folder.
pub(crate) fn is_address(place: &Path) -> bool {
    let text = place.to_string_lossy();
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// Reads an address. The password may be in the environment.
pub(crate) fn options(address: &str, environment: &dyn Environment) -> Result<PostgresOptions, Failure> {
    PostgresOptions::parse(address, environment.variable("PGPASSWORD").as_deref()).map_err(Failure::new)
}

impl Place {
    pub(crate) fn new(options: PostgresOptions, folder: PathBuf) -> Self {
        Self { options, folder }
    }

    /// What people are told of it.
    pub(crate) fn name(&self) -> &str {
        self.options.place()
    }

    /// Takes the data. Then what is left of an index that is not of this data is removed.
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        let store = PostgresStore::open(self.options.clone(), Handle::current()).await.map_err(Failure::new)?;
        keep_or_remove(&self.index(), store.holders())
            .map_err(|error| Failure::new(format_args!("cannot prepare the index of runs in {}: {error}", self.folder.display())))?;
        Ok(Arc::new(store))
    }

    /// The file of the index.
    pub(crate) fn index(&self) -> PathBuf {
        let letter = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
        let name: String = self.options.place().chars().map(letter).collect();
        // Names of files have a bound, and what tells places apart is at the end.
        let begin = name.len().saturating_sub(200);
        self.folder.join(format!("visibility-{}.db", &name[begin..]))
    }
}

fn beside(index: &Path, suffix: &str) -> PathBuf {
    let mut name = index.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The index has all that it was told by the holder before and nobody else: if that was the one whose id is beside it, it goes on
/// being right.
fn keep_or_remove(index: &Path, holders: &Holders) -> io::Result<()> {
    if let Some(folder) = index.parent() {
        fs::create_dir_all(folder)?;
    }
    let note = beside(index, ".holder");
    let known = match fs::read_to_string(&note) {
        Ok(known) => Some(known),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if known.is_none() || known != holders.before {
        remove(&note)?;
        for suffix in ["", "-wal", "-shm", "-journal"] {
            remove(&beside(index, suffix))?;
        }
    }
    // A crash before this is written makes the next start make the index anew.
    fs::write(note, &holders.now)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens the data for reading, whether or not a server uses it. The runtime is that of the connection.
pub(crate) fn reader(address: &Path) -> Result<(PostgresReader, String, tokio::runtime::Runtime), Failure> {
    let options = options(&address.to_string_lossy(), &super::environment::Process)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(format_args!("cannot start threads: {error}")))?;
    let place = options.place().to_owned();
    let reader = runtime.block_on(PostgresReader::open(options, runtime.handle().clone())).map_err(Failure::new)?;
    Ok((reader, place, runtime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_stays_only_after_the_server_that_made_it() {
        let folder = std::env::temp_dir().join(format!("sempre-index-{}", std::process::id()));
        let index = folder.join("visibility-x.db");
        let holders = |before: Option<&str>, now: &str| Holders { before: before.map(Into::into), now: now.into() };
        let opened = |holders| {
            keep_or_remove(&index, &holders).unwrap();
            let kept = index.exists();
            fs::write(&index, "content").unwrap();
            kept
        };
        assert!(!opened(holders(None, "a")));
        assert!(opened(holders(Some("a"), "b")));
        assert!(opened(holders(Some("b"), "c")));
        assert!(!opened(holders(Some("somebody else"), "d")));
        assert!(opened(holders(Some("d"), "e")));
        fs::remove_file(beside(&index, ".holder")).unwrap();
        assert!(!opened(holders(None, "f")), "an index without a note is nobody's");
        fs::remove_dir_all(folder).unwrap();
    }
}

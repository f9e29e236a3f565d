//! The file of the index: its tables, and what is checked when it is opened (`docs/storage-format.md`, "Visibility").
//!
//! A run has one row of `run`, whose columns are the system fields and whose `record` is the whole picture. Lists go in
//! the order of `c`, `s`, `run_id`: close and start time with all bits turned, so that late times come first, and the
//! open runs before all. Every index ends with these three, so that a page of what it finds needs no sorting.
//!
//! Search attributes are rows of their own, by run (`attr_run`) and by value in list order (`attr_order`): one row for a
//! scalar, one for each element of a `KeywordList` and each word of a `Text`. A `Text` without words has the empty
//! word. Their number is not bounded by the schema. Texts are blobs: they are compared bytewise.
//!
//! A *part* is what belongs together of a namespace: the runs without a division, or those of one division. Every index
//! begins with it.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension, config::DbConfig};
use sempre_core::ids::Uuid;

use super::super::index::{IndexError, IndexStats};

/// The format that this program writes, and the newest one that it reads.
pub(super) const FORMAT: u32 = 2;
/// Says in the file's header that it is ours.
const APPLICATION_ID: u32 = 0x5345_5649;
const PAGE_BYTES: u32 = 8192;
/// Pages of SQLite's own log after which it is written back: 32 MiB.
const WAL_PAGES: u32 = 4000;
const WRITER_CACHE_KIB: i64 = 64 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;
/// Statements that a connection keeps prepared.
const STATEMENTS_KEPT: usize = 64;
/// Bytes of the file that are read through the page cache without copying.
const MMAP_BYTES: i64 = 1 << 30;
/// Where SQLite's header has the two numbers.
const HEADER_BYTES: usize = 100;
const VERSION_AT: usize = 60;
const APPLICATION_AT: usize = 68;

const TABLES: &str = "
CREATE TABLE info(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE part(id INTEGER PRIMARY KEY, namespace BLOB NOT NULL, division BLOB);
CREATE INDEX part_namespace ON part(namespace);
CREATE TABLE field(id INTEGER PRIMARY KEY, part INTEGER NOT NULL, name BLOB NOT NULL, kind INTEGER NOT NULL, UNIQUE(part, name, kind));
CREATE TABLE run(
  id INTEGER PRIMARY KEY, part INTEGER NOT NULL, c INTEGER NOT NULL, s INTEGER NOT NULL, run_id BLOB NOT NULL,
  version INTEGER NOT NULL, generation INTEGER NOT NULL,
  workflow_id BLOB NOT NULL, workflow_type BLOB NOT NULL, status INTEGER NOT NULL, task_queue BLOB NOT NULL,
  execution_time INTEGER NOT NULL, execution_duration INTEGER,
  history_length INTEGER NOT NULL, history_size_bytes INTEGER NOT NULL, state_transition_count INTEGER NOT NULL,
  parent_workflow_id BLOB, parent_run_id BLOB, root_workflow_id BLOB, root_run_id BLOB,
  record BLOB NOT NULL);
CREATE UNIQUE INDEX run_key ON run(run_id, part);
CREATE INDEX run_order ON run(part, c, s, run_id);
CREATE INDEX run_type ON run(part, workflow_type, status, c, s, run_id);
CREATE INDEX run_status ON run(part, status, c, s, run_id);
CREATE INDEX run_workflow ON run(part, workflow_id, c, s, run_id, status, workflow_type);
CREATE INDEX run_start ON run(part, s, c, run_id, status, workflow_type);
CREATE TABLE attr_run(run INTEGER NOT NULL, field INTEGER NOT NULL, value NOT NULL, PRIMARY KEY(run, field, value)) WITHOUT ROWID;
CREATE TABLE attr_order(field INTEGER NOT NULL, value NOT NULL, c INTEGER NOT NULL, s INTEGER NOT NULL, run_id BLOB NOT NULL,
  run INTEGER NOT NULL, PRIMARY KEY(field, value, c, s, run_id, run)) WITHOUT ROWID;
CREATE TABLE counter(part INTEGER NOT NULL, workflow_type BLOB NOT NULL, status INTEGER NOT NULL, runs INTEGER NOT NULL,
  PRIMARY KEY(part, workflow_type, status)) WITHOUT ROWID;
";

/// An index file that can be written, and why it does not hold everything, if so.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) needs_rebuild: Option<String>,
}

/// What the numbers in a file's header say, without touching it.
enum Header {
    Missing,
    Ours(u32),
    Foreign,
}

fn header(path: &Path) -> Result<Header, IndexError> {
    let failed = |error: std::io::Error| IndexError::Failed { action: "read its file", reason: error.to_string() };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Header::Missing),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(failed)?;
    let number = |at: usize| bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes);
    let ours = bytes.starts_with(b"SQLite format 3\0") && bytes.len() == HEADER_BYTES && number(APPLICATION_AT) == Some(APPLICATION_ID);
    Ok(if ours { Header::Ours(number(VERSION_AT).unwrap_or_default()) } else { Header::Foreign })
}

/// Opens the file for writing; what cannot be used is put aside (`.damaged`) and begun anew, empty and in need of a rebuild.
pub(super) fn open(path: &Path, owner: Uuid) -> Result<Opened, IndexError> {
    let reason = match header(path)? {
        Header::Ours(found) if found > FORMAT => {
            return Err(IndexError::NewerFormat { path: path.display().to_string(), found, supported: FORMAT });
        }
        Header::Ours(FORMAT) => match existing(path, owner) {
            Ok(opened) => return Ok(opened),
            Err(error) if is_damage(&error) => format!("its file was damaged: {error}"),
            Err(error) => return Err(failed("open its file")(error)),
        },
        Header::Ours(found) => format!("its file had the old format {found}"),
        Header::Foreign => "its file was damaged: it does not begin as it should".to_owned(),
        Header::Missing => "it is new".to_owned(),
    };
    recreate(path, owner)?;
    let opened = existing(path, owner).map_err(failed("open its new file"))?;
    Ok(Opened { needs_rebuild: Some(reason), ..opened })
}

/// Puts a file aside and makes a new one.
pub(super) fn recreate(path: &Path, owner: Uuid) -> Result<(), IndexError> {
    let io = |error: std::io::Error| IndexError::Failed { action: "put its file aside", reason: error.to_string() };
    if path.exists() {
        std::fs::rename(path, beside(path, ".damaged")).map_err(io)?;
    }
    for suffix in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(path, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
            _ => {}
        }
    }
    private(path).map_err(io)?;
    let make = || {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        create_tables(&connection, owner)?;
        // The header must be in the file itself: it is read without SQLite.
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    };
    make().map_err(failed("make its file"))
}

/// Makes an empty file that only its owner reads; SQLite gives the files beside it the same mode.
fn private(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn create_tables(connection: &Connection, owner: Uuid) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN; {TABLES}
         INSERT INTO info VALUES('owner', '{owner}'), ('generation', 1), ('complete', 0);
         PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT;"
    ))
}

fn existing(path: &Path, owner: Uuid) -> rusqlite::Result<Opened> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", 2 * WAL_PAGES * PAGE_BYTES)?;
    keep_statements(&connection)?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        return Err(rusqlite::Error::QueryReturnedNoRows);
    }
    let found: Option<String> = connection.query_row("SELECT value FROM info WHERE name='owner'", [], |row| row.get(0)).optional()?;
    let needs_rebuild = if found.as_deref() != Some(owner.to_string().as_str()) {
        connection.execute_batch(&format!(
            "BEGIN; INSERT OR REPLACE INTO info VALUES('owner', '{owner}'); UPDATE info SET value=0 WHERE name='complete'; COMMIT;"
        ))?;
        Some("its file was of another store".to_owned())
    } else {
        let complete: i64 = connection.query_row("SELECT value FROM info WHERE name='complete'", [], |row| row.get(0))?;
        (complete == 0).then(|| "the last rebuild was not finished".to_owned())
    };
    Ok(Opened { connection, needs_rebuild })
}

/// An index without a file.
pub(super) fn in_memory(owner: Uuid) -> Result<Opened, IndexError> {
    let make = || {
        let connection = Connection::open_in_memory()?;
        keep_statements(&connection)?;
        create_tables(&connection, owner)?;
        Ok(Opened { connection, needs_rebuild: Some("it is new".to_owned()) })
    };
    make().map_err(failed("make its tables"))
}

/// The writer's statements are prepared once. Left to itself, SQLite prepares one anew for each value bound, to look whether
/// another plan would suit the value better; these have only one plan.
fn keep_statements(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", MMAP_BYTES)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    Ok(connection)
}

/// What the whole file holds.
pub(super) fn stats(connection: &Connection) -> rusqlite::Result<IndexStats> {
    let records: i64 = connection.query_row("SELECT coalesce(sum(runs), 0) FROM counter", [], |row| row.get(0))?;
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let bytes = pragma("page_count")? * pragma("page_size")?;
    Ok(IndexStats { records: records.cast_unsigned(), bytes: bytes.cast_unsigned() })
}

/// True for errors that no repetition heals.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(inner, text) => {
            matches!(inner.code, DatabaseCorrupt | NotADatabase) || text.as_ref().is_some_and(|text| text.starts_with("no such table"))
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.starts_with("no such table"),
        // A row of ours is missing, or has another shape than it was written in.
        rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => true,
        _ => false,
    }
}

/// A failure that may pass, or damage.
pub(super) fn failed(action: &'static str) -> impl Fn(rusqlite::Error) -> IndexError {
    move |error| {
        if is_damage(&error) {
            IndexError::NeedsRebuild { reason: format!("its file is damaged: {error}") }
        } else {
            IndexError::Failed { action, reason: error.to_string() }
        }
    }
}

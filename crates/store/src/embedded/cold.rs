//! The cold store: SQLite, written by checkpoints only (`docs/storage-format.md`, "Cold store").

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, config::DbConfig, params};

use crate::{Fence, StoreError, Table};

use super::{
    limits::{FORMAT, READERS_MAX},
    record::Position,
};

pub(crate) const FILE_NAME: &str = "cold.sqlite";
const APPLICATION_ID: u32 = 0x5345_4D50;
const PAGE_BYTES: u32 = 8192;
/// Pages of SQLite's own log before it is written back; 32 MiB.
const WAL_PAGES: u32 = 4000;
const READER_CACHE_KIB: usize = 2048;
/// How long the end of a store waits for those who still read.
const CLOSE_PATIENCE: Duration = Duration::from_millis(500);

/// The texts that are needed for every row.
struct Sql {
    name: &'static str,
    put: &'static str,
    delete: &'static str,
    get: &'static str,
    page: &'static str,
}

macro_rules! sql {
    ($name:literal) => {
        Sql {
            name: $name,
            put: concat!("INSERT INTO ", $name, " VALUES(?,?,?) ON CONFLICT(k) DO UPDATE SET v=excluded.v, c=excluded.c"),
            delete: concat!("DELETE FROM ", $name, " WHERE k=?"),
            get: concat!("SELECT v, c FROM ", $name, " WHERE k=?"),
            page: concat!("SELECT k, v, c FROM ", $name, " WHERE k>=? AND k<? ORDER BY k LIMIT ?"),
        }
    };
}

fn sql(table: Table) -> &'static Sql {
    match table {
        Table::Meta => &sql!("meta"),
        Table::Current => &sql!("current"),
        Table::State => &sql!("state"),
        Table::History => &sql!("history"),
        Table::Offer => &sql!("offer"),
        Table::Outbox => &sql!("outbox"),
        Table::Deadline => &sql!("deadline"),
        Table::Namespace => &sql!("namespace"),
        Table::Visibility => &sql!("visibility"),
        Table::Schedule => &sql!("schedule"),
        Table::Flow => &sql!("flow"),
        Table::Notice => &sql!("notice"),
    }
}

fn cold_error(action: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| {
        let reason = match error.sqlite_error_code() {
            // By these words callers of any store know it.
            Some(ErrorCode::DiskFull) => format!("disk full ({error})"),
            // SQLite does not tell which; so it calls the want of room for what it shares with readers, too.
            Some(ErrorCode::SystemIoFailure) => format!("{error}: there is no room, or the disk fails"),
            _ => error.to_string(),
        };
        StoreError::Cold { action, reason }
    }
}

/// Whether an error says nothing of what is in the file.
fn is_of_the_system(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OutOfMemory, PermissionDenied, ReadOnly,
        SystemIoFailure,
    };
    matches!(
        error.sqlite_error_code(),
        Some(
            CannotOpen
                | DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        )
    )
}

/// What the cold store knows about itself.
#[derive(Debug)]
pub(crate) struct Info {
    /// The format, this one or an older one.
    pub(crate) format: u32,
    pub(crate) store_id: u64,
    pub(crate) checkpoint: Position,
    pub(crate) epochs: Vec<Fence>,
}

/// The one connection that writes.
#[derive(Debug)]
pub(crate) struct ColdWriter {
    connection: Connection,
}

/// One change of a slice.
#[derive(Debug)]
pub(crate) enum Change<'a> {
    Put {
        table: Table,
        key: &'a [u8],
        value: &'a [u8],
    },
    Delete {
        table: Table,
        key: &'a [u8],
    },
    /// A put of merged history rows, which first removes the keys behind the first up to the last.
    Chunk {
        first: &'a [u8],
        last: &'a [u8],
        value: Vec<u8>,
    },
}

/// Makes the tables that are not there: an older version knew fewer.
fn tables() -> String {
    let table = |table| {
        let suffix = if matches!(table, Table::State | Table::History | Table::Notice) { "" } else { " WITHOUT ROWID" };
        format!("CREATE TABLE IF NOT EXISTS {}(k BLOB PRIMARY KEY, v BLOB NOT NULL, c INTEGER){suffix};", sql(table).name)
    };
    Table::ALL.into_iter().map(table).collect()
}

/// Brings a cold store of format 1 up: its rows had no checksums, and have none until they are written again.
fn bring_up(connection: &Connection) -> rusqlite::Result<()> {
    let mut known = connection.prepare("SELECT 1 FROM sqlite_schema WHERE type='table' AND name=?")?;
    let mut script = String::from("BEGIN;");
    for table in Table::ALL {
        let name = sql(table).name;
        if known.exists([name])? {
            script += &format!("ALTER TABLE {name} ADD COLUMN c INTEGER;");
        }
    }
    script += &format!("PRAGMA user_version={FORMAT}; COMMIT;");
    connection.execute_batch(&script)
}

/// The checksum of a row: of its place, so that one which SQLite finds where another should be is seen, too.
fn checksum(table: Table, key: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[table.id()]);
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.finalize()
}

/// What scans give for the value of a row that is not what was written: nothing reads these bytes as anything.
const UNREADABLE: &[u8] = &[0xFF];

/// A row as it was written, or not: rows of format 1 have no checksum.
fn verify(path: &Path, table: Table, key: &[u8], value: &[u8], written: Option<u32>) -> Result<(), StoreError> {
    if written.is_none_or(|written| written == checksum(table, key, value)) {
        return Ok(());
    }
    let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let what = format!("the row {key} of table {} is not what was written: its checksum is another", sql(table).name);
    Err(StoreError::Damaged { path: path.to_owned(), what })
}

impl ColdWriter {
    /// Makes the tables in an empty file.
    pub(crate) fn create(path: &Path, store_id: u64) -> Result<(), StoreError> {
        let error = cold_error("create its tables");
        let connection = Connection::open(path).map_err(&error)?;
        connection.pragma_update(None, "page_size", PAGE_BYTES).map_err(&error)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(&error)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(&error)?;
        let mut script = String::from(
            "BEGIN; CREATE TABLE store_info(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
             CREATE TABLE store_shard(id INTEGER PRIMARY KEY, epoch INTEGER NOT NULL);",
        );
        script += &tables();
        script += &format!(
            "INSERT INTO store_info VALUES('id','{store_id:016x}'),('log_seq',0),('log_segment',0),('log_offset',0);
             PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT}; COMMIT;"
        );
        connection.execute_batch(&script).map_err(&error)
    }

    /// Opens what [`ColdWriter::create`] made, or an older program; changes nothing. [`ColdWriter::bring_up`] must come before rows are
    /// read or written.
    pub(crate) fn open(path: &Path, cache_bytes: usize) -> Result<(ColdWriter, Info), StoreError> {
        let error = cold_error("open");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(&error)?;
        let damaged = |what: String| StoreError::Damaged { path: path.to_owned(), what };
        let unreadable = |what: &str, cause: rusqlite::Error| match is_of_the_system(&cause) {
            true => error(cause),
            false => damaged(format!("{what}: {cause}")),
        };
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u32>(0));
        let application = pragma("application_id").map_err(|cause| unreadable("it cannot be read", cause))?;
        let version = pragma("user_version").map_err(&error)?;
        if application != APPLICATION_ID || !(1..=FORMAT).contains(&version) {
            return Err(damaged(format!("it is not a cold store of format {FORMAT} (application {application:#x}, version {version})")));
        }
        connection.pragma_update(None, "synchronous", "FULL").map_err(&error)?;
        connection.pragma_update(None, "cache_size", cache_kib(cache_bytes / 1024)).map_err(&error)?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES).map_err(&error)?;
        // Else SQLite writes its log back whenever the last connection goes, that of who only came to look included.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(&error)?;
        connection.pragma_update(None, "journal_size_limit", 2 * WAL_PAGES * PAGE_BYTES).map_err(&error)?;
        connection.set_prepared_statement_cache_capacity(32);
        let writer = ColdWriter { connection };
        let info = writer.info(version).map_err(|cause| unreadable("its own tables cannot be read", cause))?;
        Ok((writer, info))
    }

    /// Makes what the newest format has and an older program did not.
    pub(crate) fn bring_up(&self, info: &Info) -> Result<(), StoreError> {
        let error = cold_error("bring up to the newest format");
        if info.format < FORMAT {
            bring_up(&self.connection).map_err(&error)?;
        }
        self.connection.execute_batch(&tables()).map_err(&error)
    }

    fn info(&self, format: u32) -> rusqlite::Result<Info> {
        let number =
            |name: &str| self.connection.query_row("SELECT value FROM store_info WHERE name=?", [name], |row| row.get::<_, i64>(0));
        let id: String = self.connection.query_row("SELECT value FROM store_info WHERE name='id'", [], |row| row.get(0))?;
        let mut statement = self.connection.prepare("SELECT id, epoch FROM store_shard")?;
        let epochs = statement.query_map([], |row| Ok(Fence { shard: row.get(0)?, epoch: row.get::<_, i64>(1)?.cast_unsigned() }))?;
        let checkpoint = Position {
            seq: number("log_seq")?.cast_unsigned(),
            segment: u32::try_from(number("log_segment")?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, 0))?,
            offset: number("log_offset")?.cast_unsigned(),
        };
        let store_id = u64::from_str_radix(&id, 16).map_err(|_| rusqlite::Error::InvalidQuery)?;
        Ok(Info { format, store_id, checkpoint, epochs: epochs.collect::<rusqlite::Result<_>>()? })
    }

    /// Writes changes in one transaction.
    pub(crate) fn apply(&mut self, changes: &[Change<'_>]) -> Result<(), StoreError> {
        let error = cold_error("write a slice of a checkpoint");
        let transaction = self.connection.transaction().map_err(&error)?;
        for change in changes {
            apply_one(&transaction, change).map_err(&error)?;
        }
        transaction.commit().map_err(&error)
    }

    /// The end of a checkpoint: everything up to the position is here.
    pub(crate) fn finish(&mut self, position: Position, epochs: &[Fence]) -> Result<(), StoreError> {
        let error = cold_error("finish a checkpoint");
        let transaction = self.connection.transaction().map_err(&error)?;
        for fence in epochs {
            let row = params![fence.shard, fence.epoch.cast_signed()];
            transaction.prepare_cached("REPLACE INTO store_shard VALUES(?,?)").and_then(|mut sql| sql.execute(row)).map_err(&error)?;
        }
        let numbers = [
            ("log_seq", position.seq.cast_signed()),
            ("log_segment", position.segment.into()),
            ("log_offset", position.offset.cast_signed()),
        ];
        for (name, value) in numbers {
            transaction.execute("UPDATE store_info SET value=? WHERE name=?", params![value, name]).map_err(&error)?;
        }
        transaction.commit().map_err(&error)
    }

    /// Writes SQLite's log back and closes. A reader that takes its time keeps the log, which then is read again at the next opening.
    pub(crate) fn close(self) {
        let tidy = || {
            self.connection.busy_timeout(CLOSE_PATIENCE)?;
            self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
            self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
        };
        if let Err(error) = tidy() {
            tracing::debug!(%error, "the cold store's log stays as it is");
        }
    }

    /// Shows the keys of a table until told to stop.
    pub(crate) fn visit_keys(&self, table: Table, mut show: impl FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        let error = cold_error("look up keys");
        let mut statement = self.connection.prepare(&format!("SELECT k FROM {}", sql(table).name)).map_err(&error)?;
        let mut rows = statement.query([]).map_err(&error)?;
        while let Some(row) = rows.next().map_err(&error)? {
            let key = row.get_ref(0).map_err(&error)?;
            if !show(key.as_blob().unwrap_or_default()) {
                break;
            }
        }
        Ok(())
    }
}

fn apply_one(connection: &Connection, change: &Change<'_>) -> rusqlite::Result<()> {
    match change {
        Change::Put { table, key, value } => {
            connection.prepare_cached(sql(*table).put)?.execute(params![key, value, checksum(*table, key, value)])?;
        }
        Change::Delete { table, key } => {
            connection.prepare_cached(sql(*table).delete)?.execute([key])?;
        }
        Change::Chunk { first, last, value } => {
            let covered = params![first, last, key_len(first)];
            connection.prepare_cached("DELETE FROM history WHERE k>? AND k<=? AND length(k)=?")?.execute(covered)?;
            let checksum = checksum(Table::History, first, value);
            connection.prepare_cached(sql(Table::History).put)?.execute(params![first, value, checksum])?;
        }
    }
    Ok(())
}

fn blob(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<Bytes> {
    Ok(Bytes::copy_from_slice(row.get_ref(index)?.as_blob()?))
}

/// Length of SQLite's log; one that is not there is short.
fn log_bytes(log: &Path) -> u64 {
    fs::metadata(log).map_or(0, |log| log.len())
}

fn key_len(key: &[u8]) -> i64 {
    i64::try_from(key.len()).unwrap_or(i64::MAX)
}

/// SQLite takes a cache size in KiB as a negative number.
fn cache_kib(kib: usize) -> i64 {
    -i64::try_from(kib).unwrap_or(i64::MAX)
}

#[derive(Debug, Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Whoever comes back is closed.
    closed: bool,
}

/// Connections that read.
#[derive(Debug)]
pub(crate) struct ColdReader {
    path: PathBuf,
    snapshot_log_bytes: u64,
    idle: Mutex<Idle>,
}

impl ColdReader {
    pub(crate) fn new(path: PathBuf, snapshot_log_bytes: u64) -> Self {
        ColdReader { path, snapshot_log_bytes, idle: Mutex::default() }
    }

    /// Closes what is idle, and from now on whatever has been read with.
    pub(crate) fn close(&self) {
        let mut idle = self.idle();
        idle.closed = true;
        idle.connections.clear();
    }

    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let found = self.with("read a row", |connection| {
            let mut statement = connection.prepare_cached(sql(table).get)?;
            statement.query_row([key], |row| Ok((blob(row, 0)?, row.get(1)?))).optional()
        })?;
        let Some((value, written)) = found else { return Ok(None) };
        verify(&self.path, table, key, &value, written)?;
        Ok(Some(value))
    }

    /// At most `limit` rows with `from <= key < to` in key order. One that is damaged has a value that cannot be read: it keeps nobody
    /// from the others.
    pub(crate) fn page(&self, table: Table, from: &[u8], to: &[u8], limit: usize) -> Result<crate::Rows, StoreError> {
        let found: Vec<(Bytes, Bytes, Option<u32>)> = self.with("read rows", |connection| {
            let mut statement = connection.prepare_cached(sql(table).page)?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            statement.query_map(params![from, to, limit], |row| Ok((blob(row, 0)?, blob(row, 1)?, row.get(2)?)))?.collect()
        })?;
        let verified = |(key, value, written): (Bytes, Bytes, _)| match verify(&self.path, table, &key, &value, written) {
            Ok(()) => (key, value),
            Err(damaged) => {
                tracing::error!(%damaged, "a row cannot be read");
                (key, Bytes::from_static(UNREADABLE))
            }
        };
        Ok(found.into_iter().map(verified).collect())
    }

    /// The greatest history key with `from <= key <= to` that is as long as `from`.
    pub(crate) fn history_floor(&self, from: &[u8], to: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.with("find a row", |connection| {
            let sql = "SELECT k FROM history WHERE k>=? AND k<=? AND length(k)=? ORDER BY k DESC LIMIT 1";
            let mut statement = connection.prepare_cached(sql)?;
            let row = params![from, to, key_len(from)];
            statement.query_row(row, |row| blob(row, 0)).optional()
        })
    }

    /// What SQLite finds wrong in the file, and rows that are not what was written, at most `max` findings; reads all of it.
    pub(crate) fn findings(&self, max: usize) -> Result<Vec<String>, StoreError> {
        self.with("check", |connection| {
            let mut statement = connection.prepare(&format!("PRAGMA integrity_check({max})"))?;
            let found: Vec<String> = statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            let mut found: Vec<String> = found.into_iter().filter(|finding| finding != "ok").collect();
            for table in Table::ALL {
                // An error of SQLite in the midst of it is a finding like others: what was found before is not lost.
                if let Err(error) = self.rows_not_as_written(connection, table, max, &mut found) {
                    found.push(format!("table {} cannot be read to its end: {error}", sql(table).name));
                }
            }
            Ok(found)
        })
    }

    fn rows_not_as_written(&self, connection: &Connection, table: Table, max: usize, found: &mut Vec<String>) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!("SELECT k, v, c FROM {}", sql(table).name))?;
        let mut rows = statement.query([])?;
        while found.len() < max {
            let Some(row) = rows.next()? else { break };
            let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            found.extend(verify(&self.path, table, key, value, row.get(2)?).err().map(|damaged| damaged.to_string()));
        }
        Ok(())
    }

    /// The content as it is now, whatever is written later.
    pub(crate) fn snapshot(&self) -> Result<ColdSnapshot, StoreError> {
        let error = cold_error("begin a snapshot of");
        let connection = self.connect().map_err(&error)?;
        // SQLite takes its snapshot at the first read.
        connection.execute_batch("BEGIN; SELECT count(*) FROM store_info;").map_err(&error)?;
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        let log_bytes_max = log_bytes(&log).saturating_add(self.snapshot_log_bytes);
        Ok(ColdSnapshot { path: self.path.clone(), connection, log, log_bytes_max, table: 0, after: Vec::new() })
    }

    fn with<T>(&self, action: &'static str, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let idle = self.idle().connections.pop();
        let connection = idle.map_or_else(|| self.connect(), Ok).map_err(cold_error("open for reading"))?;
        let result = read(&connection).map_err(cold_error(action));
        let mut idle = self.idle();
        if !idle.closed && idle.connections.len() < READERS_MAX {
            idle.connections.push(connection);
        }
        result
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.pragma_update(None, "cache_size", cache_kib(READER_CACHE_KIB))?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(connection)
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The content at one moment, for as long as its transaction stands.
#[derive(Debug)]
pub(crate) struct ColdSnapshot {
    path: PathBuf,
    connection: Connection,
    /// SQLite's own log, which cannot be tidied up while this stands.
    log: PathBuf,
    log_bytes_max: u64,
    /// Number of the table being read.
    table: u8,
    /// First key that has not been given.
    after: Vec<u8>,
}

impl crate::Snapshot for ColdSnapshot {
    fn next(&mut self, max_bytes: usize) -> Result<crate::SnapshotRows, StoreError> {
        let error = cold_error("read a snapshot of");
        let log_bytes = log_bytes(&self.log);
        if log_bytes > self.log_bytes_max {
            let reason = format!("so much was written meanwhile that SQLite's log has {log_bytes} bytes, {} may be", self.log_bytes_max);
            return Err(StoreError::Cold { action: "go on with a snapshot of", reason });
        }
        let mut page = crate::SnapshotRows::new();
        let mut bytes = 0;
        while let Some(table) = Table::from_id(self.table) {
            let sql = format!("SELECT k, v, c FROM {} WHERE k>=? ORDER BY k", sql(table).name);
            let mut statement = self.connection.prepare_cached(&sql).map_err(&error)?;
            let mut rows = statement.query([&self.after]).map_err(&error)?;
            while let Some(row) = rows.next().map_err(&error)? {
                let (key, value) = (blob(row, 0).map_err(&error)?, blob(row, 1).map_err(&error)?);
                verify(&self.path, table, &key, &value, row.get(2).map_err(&error)?)?;
                bytes += key.len() + value.len();
                self.after.clear();
                self.after.extend_from_slice(&key);
                self.after.push(0);
                page.push((table, key, value));
                if bytes >= max_bytes {
                    return Ok(page);
                }
            }
            self.table += 1;
            self.after.clear();
        }
        Ok(page)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cold store of its own for each test, and away with it.
    struct Temporary(PathBuf);

    impl Temporary {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("sempre-cold-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            ColdWriter::create(&folder.join(FILE_NAME), 1).unwrap();
            Self(folder)
        }

        fn file(&self, suffix: &str) -> PathBuf {
            self.0.join(format!("{FILE_NAME}{suffix}"))
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// By these words commits that wait for the checkpoint are refused, and callers told.
    #[test]
    fn a_disk_without_room_for_a_checkpoint_is_called_full() {
        let place = Temporary::new("full");
        let (mut cold, _) = ColdWriter::open(&place.file(""), 1 << 20).unwrap();
        // SQLite's answer to this is that to a full disk.
        cold.connection.pragma_update(None, "max_page_count", 20).unwrap();
        let put = Change::Put { table: Table::State, key: b"k", value: &[7; 1 << 20] };
        let text = cold.apply(&[put]).unwrap_err().to_string();
        assert!(text.contains("disk full"), "{text}");
    }

    /// Else whoever reads it would take a backup where some room is all that lacks.
    #[test]
    fn a_file_that_cannot_be_had_is_not_called_damaged() {
        let place = Temporary::new("not-to-be-had");
        // Where SQLite makes its log.
        fs::create_dir(place.file("-wal")).unwrap();
        let error = ColdWriter::open(&place.file(""), 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::Cold { action: "open", .. }), "{error}");
        fs::remove_dir(place.file("-wal")).unwrap();
        fs::write(place.file(""), [7; 20_000]).unwrap();
        let error = ColdWriter::open(&place.file(""), 1 << 20).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}

//! The data folder: whether it is ours, who uses it, how a new one is made (`docs/storage-format.md`, "Opening" 1 to 4).

use std::{
    collections::BTreeSet,
    fs::{self, File, TryLockError},
    hash::{BuildHasher, Hasher, RandomState},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use crate::StoreError;

use super::{
    cold::{self, ColdWriter},
    files::{private_file, sync_folder},
    limits::FORMAT,
};

const FORMAT_FILE: &str = "FORMAT";
const FORMAT_DRAFT: &str = "FORMAT.tmp";
const LOCK_FILE: &str = "LOCK";
const LOG_FOLDER: &str = "log";
const MAGIC_WORD: &str = "sempre-store";

/// A folder that is ours, and locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    pub(crate) store_id: u64,
    /// The format that it has, this one or an older one.
    pub(crate) format: u32,
    lock: File,
}

impl Folder {
    /// Opens a data folder, or makes one of an empty or missing folder.
    pub(crate) fn open(path: &Path) -> Result<Folder, StoreError> {
        match fs::metadata(path) {
            Ok(metadata) if !metadata.is_dir() => {
                return Err(StoreError::NotOurs { path: path.to_owned(), what: "it is not a folder".into() });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => create_folders(path)?,
            Err(source) => return Err(io_error("read", path)(source)),
        }
        check(path)?;
        let lock = lock(path)?;
        // Another process may have been faster between the check and the lock.
        let (format, store_id) = match check(path)? {
            Some(found) => found,
            None => (FORMAT, create(path)?),
        };
        let log = path.join(LOG_FOLDER);
        if !log.is_dir() {
            create_folders(&log)?;
        }
        Ok(Folder { path: path.to_owned(), store_id, format, lock })
    }

    pub(crate) fn cold(&self) -> PathBuf {
        self.path.join(cold::FILE_NAME)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG_FOLDER)
    }

    /// Says that all of it is of the newest format, or is going to be: from then on an older program refuses it.
    pub(crate) fn bring_up(&self) -> Result<(), StoreError> {
        if self.format < FORMAT {
            tracing::info!(path = %self.path.display(), from = self.format, to = FORMAT, "the data folder is brought up to a newer format");
            write_format(&self.path, self.store_id)?;
        }
        Ok(())
    }

    /// Lets others use the folder.
    pub(crate) fn release(self) {
        // The lock ends with the file; nothing can be done about a failure.
        let _ = self.lock.unlock();
    }
}

/// The format and the store's id, or `None` if there is nothing yet. Changes nothing.
fn check(path: &Path) -> Result<Option<(u32, u64)>, StoreError> {
    let format = path.join(FORMAT_FILE);
    match fs::read_to_string(&format) {
        Ok(text) => {
            let found = parse_format(path, &text)?;
            if !path.join(cold::FILE_NAME).is_file() {
                let what = format!("{} is missing", cold::FILE_NAME);
                return Err(StoreError::Damaged { path: path.to_owned(), what });
            }
            Ok(Some(found))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => check_empty(path).map(|()| None),
        Err(source) => Err(io_error("read", &format)(source)),
    }
}

/// The format, this one or an older one, and the store's id.
pub(crate) fn parse_format(path: &Path, text: &str) -> Result<(u32, u64), StoreError> {
    let damaged = || StoreError::Damaged { path: path.join(FORMAT_FILE), what: "it is not the two lines that it should be".into() };
    let mut lines = text.lines();
    let first = lines.next().and_then(|line| line.strip_prefix(MAGIC_WORD)).map(str::trim);
    let found = first.and_then(|number| number.parse::<u32>().ok()).ok_or_else(damaged)?;
    if found > FORMAT {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found, supported: FORMAT });
    }
    let id = lines.next().and_then(|line| line.strip_prefix("id ")).filter(|id| id.len() == 16);
    let id = id.and_then(|id| u64::from_str_radix(id, 16).ok()).filter(|_| found > 0);
    // It has no checksum: whatever is not exactly what was written has been changed.
    id.filter(|id| text == format_text(found, *id)).map(|id| (found, id)).ok_or_else(damaged)
}

fn format_text(format: u32, store_id: u64) -> String {
    format!("{MAGIC_WORD} {format}\nid {store_id:016x}\n")
}

/// Refuses a folder with anything in it but the left-over of an interrupted creation.
fn check_empty(path: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(path).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let names: BTreeSet<_> = entries.map_err(io_error("read", path))?.into_iter().map(|entry| entry.file_name()).collect();
    let is_left_over = |name: &str| name == LOCK_FILE || name == FORMAT_DRAFT || name.starts_with(cold::FILE_NAME) || name == "lost+found";
    let foreign = names.iter().find(|name| !name.to_str().is_some_and(is_left_over));
    if let Some(foreign) = foreign {
        let what = format!("it has no {FORMAT_FILE} file but is not empty (it holds {})", foreign.display());
        return Err(StoreError::NotOurs { path: path.to_owned(), what });
    }
    let cold = path.join(cold::FILE_NAME);
    if fs::metadata(&cold).is_ok_and(|metadata| metadata.len() > 0)
        && ColdWriter::open(&cold, 0).is_ok_and(|(_, info)| info.checkpoint.seq > 0)
    {
        let what = format!("its {FORMAT_FILE} file is missing");
        return Err(StoreError::Damaged { path: path.to_owned(), what });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let name = path.join(LOCK_FILE);
    let error = io_error("lock", &name);
    let mut file = private_file().create(true).truncate(false).read(true).open(&name).map_err(&error)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(StoreError::Locked { path: path.to_owned(), pid: text.trim().parse().ok() });
        }
        Err(TryLockError::Error(source)) => return Err(error(source)),
    }
    // The process id is for people; without room for it the lock is as good.
    let _ = file.set_len(0).and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
    Ok(file)
}

fn create(path: &Path) -> Result<u64, StoreError> {
    let store_id = random_id();
    let cold = path.join(cold::FILE_NAME);
    for suffix in ["", "-wal", "-shm"] {
        let file = path.join(format!("{}{suffix}", cold::FILE_NAME));
        match fs::remove_file(&file) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => return Err(io_error("remove", &file)(source)),
            _ => {}
        }
    }
    // SQLite gives its other files the mode of this one.
    private_file().create_new(true).open(&cold).map_err(io_error("create", &cold))?;
    ColdWriter::create(&cold, store_id)?;
    write_format(path, store_id)?;
    Ok(store_id)
}

/// Says that the folder is of the newest format.
fn write_format(path: &Path, store_id: u64) -> Result<(), StoreError> {
    let draft = path.join(FORMAT_DRAFT);
    let text = format_text(FORMAT, store_id);
    let written = private_file().create(true).truncate(true).open(&draft).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(io_error("write", &draft))?;
    let format = path.join(FORMAT_FILE);
    sync_folder(path).and_then(|()| fs::rename(&draft, &format)).and_then(|()| sync_folder(path)).map_err(io_error("create", &format))
}

fn create_folders(path: &Path) -> Result<(), StoreError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    builder.create(path).and_then(|()| sync_folder(parent)).map_err(io_error("create", path))
}

fn io_error(action: &'static str, path: &Path) -> impl Fn(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path: path.clone(), source }
}

/// The standard library's hasher keys are random per process and instance; no more is asked of the id than that nobody guesses it.
fn random_id() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

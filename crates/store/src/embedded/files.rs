//! The files under the log, as a trait so that tests can put a disk with faults there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// The folder of segments. A segment is named by a number from 1.
pub trait LogFiles: Send + Sync + 'static {
    /// The numbers of the segments that exist, in ascending order.
    fn list(&self) -> io::Result<Vec<u32>>;
    /// Opens a segment.
    fn open(&self, segment: u32) -> io::Result<Box<dyn LogFile>>;
    /// Makes an empty segment; its name is durable.
    fn create(&self, segment: u32) -> io::Result<Box<dyn LogFile>>;
    /// Where a segment is, for messages.
    fn path(&self, segment: u32) -> PathBuf;
}

/// One segment.
pub trait LogFile: Send {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Cuts or extends it.
    fn set_len(&mut self, len: u64) -> io::Result<()>;
    /// Fills the buffer from `offset`; a short count means the end of the file.
    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
    /// Writes all bytes at `offset`.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes durable what was written, and the length.
    fn sync(&mut self) -> io::Result<()>;
}

/// Segments in a folder of the file system.
#[derive(Debug)]
pub(crate) struct DiskFiles {
    folder: PathBuf,
}

impl DiskFiles {
    pub(crate) fn new(folder: PathBuf) -> Self {
        DiskFiles { folder }
    }
}

impl LogFiles for DiskFiles {
    fn list(&self) -> io::Result<Vec<u32>> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|digits| digits.len() == 8);
            segments.extend(number.and_then(|digits| digits.parse::<u32>().ok()));
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn open(&self, segment: u32) -> io::Result<Box<dyn LogFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.path(segment))?;
        Ok(Box::new(DiskFile(file)))
    }

    fn create(&self, segment: u32) -> io::Result<Box<dyn LogFile>> {
        // Opened first: what cannot be opened then leaves no file behind.
        let folder = cfg!(unix).then(|| File::open(&self.folder)).transpose()?;
        let file = private_file().create_new(true).read(true).open(self.path(segment))?;
        folder.map_or(Ok(()), |folder| folder.sync_all())?;
        Ok(Box::new(DiskFile(file)))
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.folder.join(format!("{segment:08}.seg"))
    }
}

struct DiskFile(File);

impl LogFile for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.seek(SeekFrom::Start(offset))?;
        let mut filled = 0;
        while filled < buffer.len() {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(offset))?;
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// Options for a file that only its owner can read.
pub(crate) fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Whether the process, or the system, has as many open files as it may have: nothing was touched, and a later attempt may succeed.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    // ENFILE and EMFILE, the same numbers on all of them. The library's kinds do not tell them.
    cfg!(unix) && matches!(error.raw_os_error(), Some(23 | 24))
}

/// Whether there is no room: nothing was damaged and a later attempt may succeed.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}

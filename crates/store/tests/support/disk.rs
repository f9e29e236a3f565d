//! A log on a disk with faults: what was written but not synced may be lost, sector by sector and in any mixture, so in any order. What
//! a sync could not write stays in the system's memory, looks as if it were there, and no later sync writes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use sempre_store::embedded::files::{LogFile, LogFiles};

use super::Random;

const SECTOR: usize = 512;

/// What goes wrong at a write or sync; operations are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing of the operation happens and nothing works any more.
    Crash,
    /// A write stops in the middle, then nothing works any more.
    ShortWrite,
    /// The operation answers EIO and does half of its work; later ones work.
    Eio,
    /// The operation answers that the disk is full, and so do all later extensions; see also [`Disk::set_full`].
    Full,
}

#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<u32, FileState>,
    ops: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
    full: bool,
    limit: Option<usize>,
    out_of_files: bool,
    syncs: u64,
}

#[derive(Clone, Default)]
struct FileState {
    durable: Vec<u8>,
    current: Vec<u8>,
    /// Sectors that a sync could not write, and that nothing was written to since.
    lost: BTreeSet<usize>,
}

impl FileState {
    fn new(bytes: Vec<u8>) -> Self {
        FileState { durable: bytes.clone(), current: bytes, lost: BTreeSet::new() }
    }

    /// Sectors that the disk has otherwise.
    fn dirty(&self) -> Vec<usize> {
        let at = |bytes: &[u8], sector: usize| -> Vec<u8> {
            let end = (sector + 1) * SECTOR;
            bytes.get(sector * SECTOR..end.min(bytes.len())).unwrap_or_default().to_vec()
        };
        (0..self.current.len().div_ceil(SECTOR)).filter(|sector| at(&self.current, *sector) != at(&self.durable, *sector)).collect()
    }

    fn write_back(&mut self, sector: usize) {
        let range = sector * SECTOR..((sector + 1) * SECTOR).min(self.current.len());
        if self.durable.len() < range.end {
            self.durable.resize(range.end, 0);
        }
        self.durable[range.clone()].copy_from_slice(&self.current[range]);
    }

    fn sync(&mut self) {
        for sector in self.dirty() {
            if !self.lost.contains(&sector) {
                self.write_back(sector);
            }
        }
        // The length is written with what there is.
        self.durable.resize(self.current.len(), 0);
    }

    /// A sync that fails: every other sector is written, the others never will be.
    fn sync_half(&mut self) {
        for (at, sector) in self.dirty().into_iter().enumerate() {
            if at % 2 == 0 && !self.lost.contains(&sector) {
                self.write_back(sector);
            } else {
                self.lost.insert(sector);
            }
        }
    }
}

impl Disk {
    pub fn new() -> Self {
        Disk::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub fn ops(&self) -> u64 {
        self.state().ops
    }

    pub fn fail_at(&self, op: u64, fault: Fault) {
        self.state().fault = Some((op, fault));
    }

    /// Whether anything has gone wrong.
    pub fn has_failed(&self) -> bool {
        let state = self.state();
        state.dead || state.full || state.limit.is_some() || state.fault.is_some_and(|(at, _)| at < state.ops)
    }

    pub fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    pub fn is_full(&self) -> bool {
        self.state().full
    }

    /// No byte of a file from this on can be written, whether the file has it already or not: a write ends there, and finds the disk full.
    pub fn set_limit(&self, limit: Option<usize>) {
        self.state().limit = limit;
    }

    /// No segment can be opened or made: the process has as many open files as it may have.
    pub fn set_out_of_files(&self, out_of_files: bool) {
        self.state().out_of_files = out_of_files;
    }

    /// What is on the disk after a power loss: each sector that was not synced is there or not, by chance.
    pub fn after_power_loss(&self, random: &mut Random) -> Disk {
        let mut files = BTreeMap::new();
        for (&number, file) in &self.state().files {
            let mut file = file.clone();
            if random.below(2) == 0 {
                file.durable.resize(file.current.len(), 0);
            }
            let len = file.durable.len();
            for sector in file.dirty() {
                if (sector + 1) * SECTOR <= len && !file.lost.contains(&sector) && random.below(2) == 0 {
                    file.write_back(sector);
                }
            }
            files.insert(number, FileState::new(file.durable));
        }
        Disk(Arc::new(Mutex::new(State { files, ..State::default() })))
    }

    /// What there is after only the process died: the system's memory is as it was.
    pub fn after_kill(&self) -> Disk {
        Disk(Arc::new(Mutex::new(State { files: self.state().files.clone(), ..State::default() })))
    }

    /// The bytes of every segment.
    pub fn images(&self) -> BTreeMap<u32, Vec<u8>> {
        self.state().files.iter().map(|(&number, file)| (number, file.current.clone())).collect()
    }

    pub fn from_images(images: BTreeMap<u32, Vec<u8>>) -> Disk {
        let files = images.into_iter().map(|(number, bytes)| (number, FileState::new(bytes)));
        Disk(Arc::new(Mutex::new(State { files: files.collect(), ..State::default() })))
    }
}

impl State {
    /// Counts an operation and says what happens to it.
    fn step(&mut self) -> io::Result<Option<Fault>> {
        if self.dead {
            return Err(io::Error::other("the disk is gone"));
        }
        let op = self.ops;
        self.ops += 1;
        let fault = self.fault.filter(|(at, _)| *at == op).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Crash) => {
                self.dead = true;
                Err(io::Error::other("crash"))
            }
            Some(Fault::Full) => {
                self.full = true;
                Ok(None)
            }
            other => Ok(other),
        }
    }
}

impl State {
    fn may_open(&self) -> io::Result<()> {
        if self.out_of_files { Err(io::Error::from_raw_os_error(24)) } else { Ok(()) }
    }

    /// Like [`State::step`] for what cannot be half done.
    fn step_whole(&mut self) -> io::Result<()> {
        match self.step()? {
            None => Ok(()),
            Some(fault) => {
                self.dead |= fault == Fault::ShortWrite;
                Err(io::Error::from_raw_os_error(5))
            }
        }
    }
}

impl LogFiles for Disk {
    fn list(&self) -> io::Result<Vec<u32>> {
        Ok(self.state().files.keys().copied().collect())
    }

    fn open(&self, segment: u32) -> io::Result<Box<dyn LogFile>> {
        self.state().may_open()?;
        Ok(Box::new(Handle { disk: self.clone(), segment }))
    }

    fn create(&self, segment: u32) -> io::Result<Box<dyn LogFile>> {
        self.state().may_open()?;
        self.state().step_whole()?;
        if self.state().full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.state().files.insert(segment, FileState::default());
        self.open(segment)
    }

    fn path(&self, segment: u32) -> PathBuf {
        PathBuf::from(format!("{segment:08}.seg"))
    }
}

struct Handle {
    disk: Disk,
    segment: u32,
}

impl LogFile for Handle {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[&self.segment].current.len() as u64)
    }

    fn set_len(&mut self, len: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step_whole()?;
        state.files.get_mut(&self.segment).unwrap().current.resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = &state.files[&self.segment].current;
        let start = usize::try_from(offset).unwrap().min(bytes.len());
        let count = buffer.len().min(bytes.len() - start);
        buffer[..count].copy_from_slice(&bytes[start..start + count]);
        Ok(count)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step()?;
        let (full, limit) = (state.full, state.limit.unwrap_or(usize::MAX));
        let file = state.files.get_mut(&self.segment).unwrap();
        let start = usize::try_from(offset).unwrap();
        let count = if fault.is_some() { bytes.len() / 2 + 100 } else { bytes.len() }.min(bytes.len());
        if full && start + count > file.current.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let asked = count;
        let count = count.min(limit.saturating_sub(start));
        if count == 0 && asked > 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        if file.current.len() < start + count {
            file.current.resize(start + count, 0);
        }
        file.current[start..start + count].copy_from_slice(&bytes[..count]);
        for sector in start / SECTOR..(start + count).div_ceil(SECTOR) {
            file.lost.remove(&sector);
        }
        match fault {
            None if count < asked => Err(io::ErrorKind::FileTooLarge.into()),
            None => Ok(()),
            Some(Fault::ShortWrite) => {
                state.dead = true;
                Err(io::Error::other("crash in a write"))
            }
            Some(_) => Err(io::Error::from_raw_os_error(5)),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        let fault = state.step()?;
        state.syncs += 1;
        state.dead |= fault == Some(Fault::ShortWrite);
        let file = state.files.get_mut(&self.segment).unwrap();
        if fault.is_some() {
            file.sync_half();
            return Err(io::Error::from_raw_os_error(5));
        }
        file.sync();
        Ok(())
    }
}

//! What a server spends while something is measured, and what the machine is worth at that moment.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

use std::{
    fs,
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use serde::Serialize;

use crate::process::{DiskWrites, Usage, cpu_seconds_with_children};

/// Appends of the calibration.
const APPENDS: usize = 100;
/// One log block.
const APPEND_BYTES: usize = 4096;
/// Turns of the calibration's loop.
const TURNS: u64 = 20_000_000;

/// Reads the counters of processes and of a disk at its beginning and at its end.
#[derive(Debug)]
pub struct Meter {
    pids: Vec<u32>,
    folder: PathBuf,
    begun: Instant,
    cpu_seconds: f64,
    disk: Option<DiskWrites>,
}

/// What was spent between the two.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Wall time, seconds.
    pub seconds: f64,
    /// CPU of all the processes, their children included, seconds.
    pub cpu_seconds: f64,
    /// Bytes written to the disk, by everybody; 0 where it cannot be known.
    pub disk_bytes: u64,
    /// Flushes of the disk's cache, by everybody: what an `fdatasync` ends in. 0 where it cannot be known.
    pub flushes: u64,
    /// Resident memory at the end, MiB.
    pub rss_mib: f64,
    /// The largest so far, MiB.
    pub rss_peak_mib: f64,
}

impl Meter {
    /// Begins. The disk is that of `folder`.
    pub fn begin(pids: &[u32], folder: &Path) -> io::Result<Self> {
        let disk = DiskWrites::of(folder);
        Ok(Self { pids: pids.to_vec(), folder: folder.to_owned(), cpu_seconds: cpu_of(pids)?, disk, begun: Instant::now() })
    }

    /// Ends.
    pub fn end(self) -> io::Result<Spent> {
        let seconds = self.begun.elapsed().as_secs_f64();
        let cpu_seconds = cpu_of(&self.pids)? - self.cpu_seconds;
        let disk = self.disk.zip(DiskWrites::of(&self.folder));
        let mut spent = Spent { seconds, cpu_seconds, ..Spent::default() };
        if let Some((before, after)) = disk {
            spent.disk_bytes = after.bytes - before.bytes;
            spent.flushes = after.flushes - before.flushes;
        }
        for pid in &self.pids {
            let usage = Usage::of(*pid)?;
            spent.rss_mib += usage.rss_kib as f64 / 1024.0;
            spent.rss_peak_mib += usage.rss_peak_kib as f64 / 1024.0;
        }
        Ok(spent)
    }
}

fn cpu_of(pids: &[u32]) -> io::Result<f64> {
    pids.iter().map(|pid| cpu_seconds_with_children(*pid)).sum()
}

/// What the machine is worth now: figures of two moments compare only where these do.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Calibration {
    /// Median of overwriting 4 KiB of a preallocated file and `fdatasync`, microseconds.
    pub sync_us: f64,
    /// A fixed loop on one core, milliseconds.
    pub loop_ms: f64,
}

impl Calibration {
    /// Measures, in about 0.2 s. `folder` is on the disk that the server uses.
    pub fn take(folder: &Path) -> io::Result<Self> {
        let path = folder.join("calibration");
        let result = sync_us(&path);
        // What is left is in a temporary folder.
        let _ = fs::remove_file(&path);
        Ok(Self { sync_us: result?, loop_ms: loop_ms() })
    }
}

fn sync_us(path: &Path) -> io::Result<f64> {
    let mut file = fs::File::create(path)?;
    let block = vec![1; APPEND_BYTES];
    file.write_all(&vec![0; APPEND_BYTES * APPENDS])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let begun = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(begun.elapsed().as_micros() as u64);
    }
    times.sort_unstable();
    Ok(times[APPENDS / 2] as f64)
}

fn loop_ms() -> f64 {
    let begun = Instant::now();
    let mut x = 88_172_645_463_325_252_u64;
    for _ in 0..TURNS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    std::hint::black_box(x);
    begun.elapsed().as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_burns_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let meter = Meter::begin(&[std::process::id()], folder.path()).unwrap();
        let begun = Instant::now();
        while begun.elapsed().as_millis() < 200 {
            std::hint::black_box(loop_ms());
        }
        let spent = meter.end().unwrap();
        assert!(spent.cpu_seconds >= 0.03, "{spent:?}");
        assert!(spent.seconds >= 0.2 && spent.rss_mib > 0.0 && spent.rss_peak_mib >= spent.rss_mib, "{spent:?}");
    }

    #[test]
    fn a_calibration_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let calibration = Calibration::take(folder.path()).unwrap();
        assert!(calibration.sync_us > 0.0 && calibration.loop_ms > 0.0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

//! The outside world of the demo: a file in which each side effect leaves its lines.
//!
//! An activity may be run again when its result was lost, so an effect is done under a key, here the order and
//! the step, and the second attempt finds it done. Shops do the same with the idempotency keys of their bank.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The file, and the right to append to it.
pub(crate) struct Ledger {
    path: PathBuf,
    file: Mutex<File>,
}

/// What the ledger knows about one step.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) begun: usize,
    pub(crate) done: usize,
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { path: path.into(), file: Mutex::new(file) })
    }

    /// Notes that an attempt at `step` begins; false when the step is done already.
    pub(crate) fn begin(&self, order: &str, step: &str, attempt: u32) -> io::Result<bool> {
        if self.counts(order, step)?.done > 0 {
            return Ok(false);
        }
        self.append(&format!("{order} {step} begun (attempt {attempt})"))?;
        Ok(true)
    }

    /// Notes that `step` has had its effect.
    pub(crate) fn done(&self, order: &str, step: &str) -> io::Result<()> {
        self.append(&format!("{order} {step} done"))
    }

    pub(crate) fn counts(&self, order: &str, step: &str) -> io::Result<Counts> {
        let begun = format!("{order} {step} begun");
        let done = format!("{order} {step} done");
        let text = std::fs::read_to_string(&self.path)?;
        Ok(Counts {
            begun: text.lines().filter(|line| line.starts_with(&begun)).count(),
            done: text.lines().filter(|line| **line == done).count(),
        })
    }

    fn append(&self, line: &str) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(file, "{line}")?;
        file.sync_data()
    }
}

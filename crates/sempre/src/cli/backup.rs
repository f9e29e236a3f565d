//! `sempre backup`: a copy of all that a running server holds, and whether such a copy is whole.
//!
//! A backup gets its name only when it has been read back and found whole: a file with that name can be restored.
#![expect(clippy::disallowed_methods, reason = "progress is told by the wall clock; nothing is decided by it")]

use std::{
    fs::{self, File},
    io::{self, BufReader, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::{Args, Subcommand};
use sempre_api::sempre::v1::BackupRequest;
use sempre_core::Timestamp;
use sempre_store::backup::{Reader, Totals};

use super::{
    Failure,
    flags::{CommonFlags, Family},
    session::{self, Session},
};

#[derive(Subcommand)]
pub(crate) enum BackupCommand {
    /// Copy everything a running server holds, of all namespaces, into a file
    ///
    /// The server goes on meanwhile. The copy holds everything that was acknowledged before the command began, as it was at one
    /// moment; restore it with `sempre restore`. It is as secret as the data.
    Create(CreateOptions),
    /// Read a backup and prove that it is whole
    Verify(VerifyOptions),
}

#[derive(Args)]
pub(crate) struct CreateOptions {
    /// File to write; - for the standard output
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(crate) struct VerifyOptions {
    /// The backup; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(common: CommonFlags, family: Family<BackupCommand>) -> Result<(), Failure> {
    match family.command {
        BackupCommand::Create(options) => session::run(common, &family.client, async |session| create(session, &options).await),
        BackupCommand::Verify(options) => verify(&options),
    }
}

/// The name for standard input and output.
fn is_standard(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// A file that is no backup yet; gone when it has not become one.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It has its name by then, or is of no use.
        let _ = fs::remove_file(&self.0);
    }
}

async fn create(session: &mut Session, options: &CreateOptions) -> Result<(), Failure> {
    if is_standard(&options.file) {
        if io::stdout().is_terminal() {
            return Err(Failure::new("a backup is not text: send it to a file or another program"));
        }
        return receive(session, &mut io::stdout()).await;
    }
    let file = options.file.display();
    if options.file.exists() && !options.force {
        return Err(Failure::new(format_args!("{file} is there already; give another name, or --force to replace it")));
    }
    let mut partial = options.file.clone().into_os_string();
    partial.push(".partial");
    let partial = Partial(partial.into());
    let cannot = |what: &str, error: io::Error| Failure::new(format_args!("cannot {what} {}: {error}", partial.0.display()));
    let begun = Instant::now();
    let mut out = private(&partial.0).map_err(|error| cannot("create", error))?;
    receive(session, &mut out).await?;
    out.sync_all().map_err(|error| cannot("write", error))?;
    let totals = read(File::open(&partial.0).map_err(|error| cannot("read", error))?)?.1;
    fs::rename(&partial.0, &options.file).map_err(|error| cannot("rename", error))?;
    let folder = options.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot("make durable the name of", error))?;
    let took = begun.elapsed().as_secs_f64();
    session.out.line(format!("{file} is whole: {} rows, {} in {took:.1} s", totals.rows, size(totals.bytes)))
}

/// A file that only its owner reads.
fn private(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

async fn receive(session: &mut Session, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let mut chunks = session.client().await?.storage.backup(BackupRequest {}).await?.into_inner();
    let mut progress = Progress::new("received");
    let mut bytes = 0;
    while let Some(chunk) = chunks.message().await? {
        out.write_all(&chunk.data).map_err(|error| Failure::new(format_args!("the backup cannot be written: {error}")))?;
        bytes += chunk.data.len() as u64;
        progress.tell(|| size(bytes));
    }
    out.flush().map_err(|error| Failure::new(format_args!("the backup cannot be written: {error}")))
}

fn verify(options: &VerifyOptions) -> Result<(), Failure> {
    let (head, totals) = read(open(&options.file)?)?;
    let taken = rfc3339(head.taken_ms);
    println!("whole: taken {taken} by {}, {} rows, {}", head.program, totals.rows, size(totals.bytes));
    Ok(())
}

/// A backup to read.
pub(crate) fn open(file: &Path) -> Result<Box<dyn Read>, Failure> {
    if is_standard(file) {
        return Ok(Box::new(io::stdin().lock()));
    }
    let opened = File::open(file).map_err(|error| Failure::new(format_args!("cannot read {}: {error}", file.display())))?;
    Ok(Box::new(opened))
}

fn read(from: impl Read) -> Result<(sempre_store::backup::Head, Totals), Failure> {
    let mut reader = Reader::open(BufReader::with_capacity(1 << 20, from)).map_err(Failure::new)?;
    let mut progress = Progress::new("checked");
    while reader.next_rows().map_err(Failure::new)?.is_some() {
        progress.tell(|| size(reader.totals().bytes));
    }
    Ok((reader.head().clone(), reader.totals()))
}

/// A point in time for people.
fn rfc3339(ms: i64) -> String {
    sempre_core::visibility::format_datetime(Timestamp::from_millis(ms))
}

/// Bytes for people.
pub(crate) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

/// Tells on a terminal, once a second, how far something is.
pub(crate) struct Progress {
    what: &'static str,
    told: Instant,
    on_terminal: bool,
}

impl Progress {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, told: Instant::now(), on_terminal: io::stderr().is_terminal() }
    }

    pub(crate) fn tell(&mut self, how_far: impl FnOnce() -> String) {
        if self.on_terminal && self.told.elapsed() >= Duration::from_secs(1) {
            self.told = Instant::now();
            // Progress that cannot be told harms nobody.
            let _ = writeln!(io::stderr(), "{} {}", self.what, how_far());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!([size(0), size(1_500), size(2_340_000), size(5_000_000_000)], ["0.0 kB", "1.5 kB", "2.3 MB", "5.00 GB"]);
    }
}

//! `sempre restore`: a data folder out of a backup.
//!
//! The folder gets its name only when all of it is there and, unless told otherwise, every run in it has been proved to
//! follow from its history.

use std::{
    fs::{self, File},
    io::BufReader,
    path::{Path, PathBuf},
};

use clap::Args;
use sempre_store::{
    Store,
    backup::{self, Reader},
    embedded::{EmbeddedOptions, EmbeddedStore},
};

use super::{
    Failure,
    backup::{Progress, open, size},
    store::check,
};

#[derive(Args)]
pub(crate) struct Options {
    /// The backup; - for the standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Data folder to make; it must not be there, or be empty
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// Do not look through the restored runs
    #[arg(long)]
    no_check: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let folder = options.folder.display();
    if fs::read_dir(&options.folder).is_ok_and(|mut entries| entries.next().is_some()) || options.folder.is_file() {
        return Err(Failure::new(format_args!("{folder} is there already; give a folder that is not, or that is empty")));
    }
    // A relative name with a trailing slash has a parent too.
    let name = options.folder.file_name().ok_or_else(|| Failure::new(format_args!("{folder} is not a name for a new folder")))?;
    let parent = options.folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut draft_name = name.to_owned();
    draft_name.push(".restoring");
    let draft = parent.join(draft_name);
    if draft.exists() {
        return Err(Failure::new(format_args!(
            "{} is left of a restore that did not end or is under way; remove it if none is",
            draft.display()
        )));
    }
    let made = make(options, &draft).and_then(|()| {
        let named = || {
            if options.folder.is_dir() {
                fs::remove_dir(&options.folder)?;
            }
            fs::rename(&draft, &options.folder)?;
            File::open(parent)?.sync_all()
        };
        named().map_err(|error| Failure::new(format_args!("cannot name the restored folder {folder}: {error}")))
    });
    if made.is_err() {
        // Half a restore is of no use.
        let _ = fs::remove_dir_all(&draft);
        return made;
    }
    println!("{folder} is ready: sempre server start --data-dir {folder}");
    Ok(())
}

fn make(options: &Options, draft: &Path) -> Result<(), Failure> {
    let reader = Reader::open(BufReader::with_capacity(1 << 20, open(&options.file)?)).map_err(Failure::new)?;
    let store = EmbeddedStore::open(draft, EmbeddedOptions::default()).map_err(Failure::new)?;
    let mut progress = Progress::new("restored");
    let restored = backup::restore(reader, &store, |totals| progress.tell(|| size(totals.bytes)));
    let totals = futures::executor::block_on(restored).map_err(Failure::new)?;
    println!("{} rows, {} restored", totals.rows, size(totals.bytes));
    if !options.no_check {
        check::look_through(&store, &check::Output::default())?;
    }
    futures::executor::block_on(store.close()).map_err(Failure::new)
}

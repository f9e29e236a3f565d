//! `sempre store copy`: the data of a folder into a database, and back.
//!
//! The copy can be used only when all of it is there, has been compared with the original row by row and, unless told
//! otherwise, every run in it has been proved to follow from its history.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use sempre_store::{
    Store,
    copy::{copy, difference, is_empty},
    embedded::{EmbeddedOptions, EmbeddedStore},
    postgres::PostgresStore,
};

use super::check;
use crate::cli::{
    Failure,
    backup::{Progress, size},
    environment::Process,
    postgres, serve,
};

/// What a copy under way is to those who would open it.
const FILLING: &str = "it is being filled by `sempre store copy`";

#[derive(Args)]
pub(crate) struct Options {
    /// Folder or address of a database (postgres://…) to copy; no server may be using it
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// Folder or address of a database to make; it must be empty or not there
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Do not look through the copied runs
    #[arg(long)]
    no_check: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    serve::on_threads(async {
        let from = open(&options.from).await?;
        if postgres::is_address(&options.to) {
            let to = Arc::new(database(&options.to).await?);
            if !is_empty(&*to).await.map_err(Failure::new)? {
                return Err(Failure::new(format_args!("{} holds data already. Nothing was changed", to.place())));
            }
            to.set_incomplete(Some(FILLING)).await.map_err(Failure::new)?;
            fill(options, &from, to.clone()).await?;
            to.set_incomplete(None).await.map_err(Failure::new)?;
            return close(&[from, to]).await;
        }
        let folder = options.to.display();
        let draft = options.to.with_extension("copying");
        if fs::read_dir(&options.to).is_ok_and(|mut entries| entries.next().is_some()) || options.to.is_file() {
            return Err(Failure::new(format_args!("{folder} is there already; give a folder that is not, or that is empty")));
        }
        if draft.exists() {
            let draft = draft.display();
            return Err(Failure::new(format_args!("{draft} is left of a copy that did not end or is under way; remove it if none is")));
        }
        let made = into_folder(options, &from, &draft).await;
        if made.is_err() {
            // Half a copy is of no use.
            let _ = fs::remove_dir_all(&draft);
        }
        made?;
        close(&[from]).await
    })
}

async fn into_folder(options: &Options, from: &Arc<dyn Store>, draft: &Path) -> Result<(), Failure> {
    let to: Arc<dyn Store> = Arc::new(EmbeddedStore::open(draft, EmbeddedOptions::default()).map_err(Failure::new)?);
    fill(options, from, to.clone()).await?;
    close(&[to]).await?;
    let named = || {
        if options.to.is_dir() {
            fs::remove_dir(&options.to)?;
        }
        fs::rename(draft, &options.to)
    };
    named().map_err(|error| Failure::new(format_args!("cannot name the copied folder {}: {error}", options.to.display())))
}

async fn open(place: &Path) -> Result<Arc<dyn Store>, Failure> {
    if postgres::is_address(place) {
        return Ok(Arc::new(database(place).await?));
    }
    if !place.join("FORMAT").is_file() {
        return Err(Failure::new(format_args!("{} is not a data folder. Nothing was changed", place.display())));
    }
    Ok(Arc::new(EmbeddedStore::open(place, EmbeddedOptions { brings_up: false, ..EmbeddedOptions::default() }).map_err(Failure::new)?))
}

/// Taken as by a server: nobody changes it meanwhile.
async fn database(address: &Path) -> Result<PostgresStore, Failure> {
    let options = postgres::options(&address.to_string_lossy(), &Process)?;
    PostgresStore::open(options, tokio::runtime::Handle::current()).await.map_err(Failure::new)
}

/// Copies, compares, checks.
async fn fill(options: &Options, from: &Arc<dyn Store>, to: Arc<dyn Store>) -> Result<(), Failure> {
    let mut progress = Progress::new("copied");
    let snapshot = from.snapshot().await.map_err(Failure::new)?;
    let totals = copy(snapshot, &*to, |totals| progress.tell(|| size(totals.bytes))).await.map_err(Failure::new)?;
    let (one, other) = (from.snapshot().await.map_err(Failure::new)?, to.snapshot().await.map_err(Failure::new)?);
    let compared = tokio::task::spawn_blocking(move || difference(one, other)).await.map_err(Failure::new)?;
    if let Some(what) = compared.map_err(Failure::new)? {
        return Err(Failure::new(format_args!("the copy is not the original: {what}")));
    }
    println!("{} rows, {} copied and compared", totals.rows, size(totals.bytes));
    if options.no_check {
        return Ok(());
    }
    tokio::task::spawn_blocking(move || check::look_through(&*to, &check::Output::default())).await.map_err(Failure::new)?
}

async fn close(stores: &[Arc<dyn Store>]) -> Result<(), Failure> {
    for store in stores {
        store.close().await.map_err(Failure::new)?;
    }
    Ok(())
}

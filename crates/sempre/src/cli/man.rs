//! `sempre man FOLDER`: a manual page for each command.

use std::{fs, path::PathBuf};

use clap::{Args, Command};

use super::Failure;

#[derive(Args)]
pub(crate) struct Options {
    /// Folder to write the pages to, such as /usr/local/share/man/man1; made if it is not there
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn run(options: &Options, command: Command) -> Result<(), Failure> {
    let failed = |error| Failure::new(format_args!("cannot write to {}: {error}", options.folder.display()));
    fs::create_dir_all(&options.folder).map_err(failed)?;
    clap_mangen::generate_to(command, &options.folder).map_err(failed)
}

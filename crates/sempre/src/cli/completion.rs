//! `sempre completion SHELL`: what a shell needs to complete command lines.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::Shell;

use super::Failure;

#[derive(Args)]
pub(crate) struct Options {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn run(options: &Options, mut command: Command) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(options.shell, &mut command, "sempre", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

//! `workflow fix-history-json`: a saved history in the form of today.

use std::{fs, path::PathBuf};

use clap::Args;
use sempre_api::{
    History,
    json::{self, Payloads},
};
use serde_json::Value;

use crate::cli::{Failure, session::Session};

#[derive(Args)]
pub(crate) struct Options {
    /// File with the history
    #[arg(short, long, value_name = "FILE")]
    source: PathBuf,
    /// File to write; without it standard output
    #[arg(short, long, value_name = "FILE")]
    target: Option<PathBuf>,
}

pub(crate) fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let source = options.source.display();
    let text = fs::read(&options.source).map_err(|error| Failure::new(format_args!("cannot read {source}: {error}")))?;
    let value: Value = serde_json::from_slice(&text).map_err(|error| Failure::new(format_args!("{source} is not JSON: {error}")))?;
    let history: History =
        json::from_value(value, Payloads::Full).map_err(|error| Failure::new(format_args!("{source} is not a history: {error}")))?;
    match options.target.as_deref().filter(|target| target.as_os_str() != "-") {
        None => session.out.raw_message_full(&history),
        Some(target) => {
            let text = format!("{:#}\n", json::to_value(&history, Payloads::Full));
            fs::write(target, text).map_err(|error| Failure::new(format_args!("cannot write {}: {error}", target.display())))
        }
    }
}

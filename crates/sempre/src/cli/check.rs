//! `sempre check`: looks at the source of Rust workflows for what a replay would see differently.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use clap::Args;
use sempre_check::Report;

use super::{
    Failure,
    flags::{CommonFlags, Format},
};

#[derive(Args)]
pub(crate) struct Options {
    /// Folder of a package or a workspace, or a file that is the root of a crate [default: .]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How findings are written; --output says the same [default: text]
    #[arg(long, value_enum, value_name = "FORMAT", ignore_case = true)]
    format: Option<Format>,
    /// Ask clippy too, which knows types that the source does not write down; compiles the package
    #[arg(long)]
    types: bool,
}

pub(crate) fn run(common: &CommonFlags, options: Options) -> Result<(), Failure> {
    let paths = if options.paths.is_empty() { vec![PathBuf::from(".")] } else { options.paths };
    let mut report = sempre_check::check(&paths).map_err(Failure::undecided)?;
    if options.types {
        sempre_check::typed(&paths, &mut report).map_err(Failure::undecided)?;
    }
    write(&report, options.format.or(common.output).unwrap_or_default())?;
    match report.findings.len() {
        0 if report.functions == 0 => {
            Err(Failure::undecided("no workflow code was found: name the folder of a package whose workflows have `#[workflow_methods]`"))
        }
        0 if report.is_undecided() => {
            Err(Failure::undecided("nothing was found, but part of the source could not be looked at; see the notes"))
        }
        0 => Ok(()),
        1 => Err(Failure::new("1 thing in workflow code that a replay would see differently")),
        many => Err(Failure::new(format_args!("{many} things in workflow code that a replay would see differently"))),
    }
}

fn write(report: &Report, format: Format) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match format {
        Format::None => {}
        Format::Json => writeln!(out, "{:#}", report.to_json())?,
        Format::Jsonl => writeln!(out, "{}", report.to_json())?,
        Format::Text => {
            for finding in &report.findings {
                writeln!(out, "{finding}")?;
            }
            for note in &report.notes {
                writeln!(out, "{note}")?;
            }
            let Report { functions, workflows, files, allowed, .. } = report;
            writeln!(out, "workflows {workflows}, functions of theirs {functions}, files {files}, allowed by comments {allowed}")?;
        }
    }
    out.flush()
}

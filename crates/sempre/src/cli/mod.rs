//! The command line: one file per command. Parses, runs, and turns failures into one plain sentence.

mod activity;
mod api_coverage;
mod logging;
mod network;
mod serve;
mod start;
mod start_dev;
mod store;
mod version;

use std::{ffi::OsString, fmt, process::ExitCode};

use clap::{ArgAction, Parser, Subcommand};

/// Runs the command that `args` name (the first one is the program) and returns the exit code:
/// 0 done, 1 failed, 2 not understood.
pub fn run<I: IntoIterator<Item = OsString>>(args: I) -> ExitCode {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version come this way too. Nothing can be done when they cannot be printed.
            let _ = told.print();
            return if told.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Server { command: ServerCommand::StartDev(options) } => start_dev::run(*options),
        Command::Server { command: ServerCommand::Start(options) } => start::run(options),
        Command::Store { command } => store::run(command),
        Command::Activity { command } => activity::run(command),
        Command::ApiCoverage(options) => api_coverage::run(&options),
        Command::Version => {
            println!("{}", version::line());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Durable execution in one binary: a server for workflows written with any Temporal SDK.
#[derive(Parser)]
#[command(name = "sempre", version = version::text(), disable_version_flag = true, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Print the version
    #[arg(short = 'v', long, action = ArgAction::Version, global = true, display_order = 1000)]
    version: Option<bool>,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server
    #[command(arg_required_else_help = true)]
    Server {
        #[command(subcommand)]
        command: ServerCommand,
    },
    /// Look at the activities of a workflow
    #[command(arg_required_else_help = true)]
    Activity {
        #[command(subcommand)]
        command: activity::ActivityCommand,
    },
    /// Look at the data of a server that is not running
    #[command(arg_required_else_help = true)]
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// List which calls of the Temporal API are built and which are not
    ApiCoverage(api_coverage::Options),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum ServerCommand {
    /// Run a server for development: ready at once, everything in memory unless a file is named
    StartDev(Box<start_dev::Options>),
    /// Run a server that keeps its data in a folder
    Start(start::Options),
}

/// Why a command failed, as a sentence for the one who typed it.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(sentence: impl fmt::Display) -> Self {
        Self(sentence.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The last sentence of some causes has no full stop.
        let text = self.0.trim_end();
        f.write_str(text)?;
        if text.ends_with(['.', '!', '?']) { Ok(()) } else { f.write_str(".") }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn failures_end_in_a_full_stop() {
        assert_eq!(Failure::new("it is so").to_string(), "it is so.");
        assert_eq!(Failure::new("it is so.").to_string(), "it is so.");
    }
}

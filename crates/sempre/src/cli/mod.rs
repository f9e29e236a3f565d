//! The command line: one file per command. Parses, runs, and turns failures into one plain sentence.

mod activity;
mod alert;
mod alone;
mod api_coverage;
mod backup;
mod batch;
mod call;
mod check;
mod client;
mod cluster;
mod completion;
mod config;
mod deployment;
mod dev;
mod doctor;
mod env;
mod environment;
mod failure;
mod flags;
mod flow;
mod history;
mod input;
mod logging;
mod man;
mod network;
mod nexus;
#[cfg(feature = "postgres")]
mod node;
mod notices;
mod operator;
mod output;
mod pages;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
#[cfg(test)]
mod reference;
mod restore;
mod schedule;
mod security;
mod serve;
mod session;
mod settings;
mod start;
mod start_dev;
mod start_test;
mod store;
mod task_queue;
mod telemetry;
mod values;
mod version;
mod visibility;
mod worker;
mod workflow;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

pub(crate) use failure::Failure;
use flags::{CommonFlags, Family};

/// Runs the command that `args` name (the first one is the program) and returns the exit code:
/// 0 done, 1 failed, 2 not understood, 3 not found out.
pub fn run<I: IntoIterator<Item = OsString>>(args: I) -> ExitCode {
    let cli = match Cli::try_parse_from(start_test::with_command(args)) {
        Ok(cli) => cli,
        Err(told) => {
            // Help and version come this way too. Nothing can be done when they cannot be printed.
            let _ = told.print();
            return if told.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let result = match cli.command {
        Command::Dev(options) => dev::run(&cli.common, *options),
        Command::Server { command: ServerCommand::StartDev(options) } => start_dev::run(*options),
        Command::Server { command: ServerCommand::Start(options) } => start::run(*options),
        Command::Server { command: ServerCommand::StartTest(options) } => start_test::run(&options),
        Command::Store { command } => store::run(command),
        Command::Workflow(family) => workflow::run(cli.common, family),
        Command::Env { command } => env::run(cli.common, command),
        Command::Config { command } => config::run(cli.common, command),
        Command::Call(options) => call::run(cli.common, &options),
        Command::Completion(options) => completion::run(&options, Cli::command()),
        Command::Man(options) => man::run(&options, Cli::command()),
        Command::Activity(family) => activity::run(cli.common, family),
        Command::Nexus(family) => nexus::run(cli.common, family),
        Command::Schedule(family) => schedule::run(cli.common, family),
        Command::Batch(family) => batch::run(cli.common, family),
        Command::TaskQueue(family) => task_queue::run(cli.common, family),
        Command::Deployment(family) => deployment::run(cli.common, family),
        Command::Alert(family) => alert::run(cli.common, family),
        Command::Notices(options) => notices::run(cli.common, *options),
        Command::Flow(family) => flow::run(cli.common, family),
        Command::Worker(family) => worker::run(cli.common, family),
        Command::Operator(family) => operator::run(cli.common, family),
        Command::Backup(family) => backup::run(cli.common, family),
        Command::Restore(options) => restore::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Visibility(family) => visibility::run(cli.common, family),
        Command::Cluster(family) => cluster::run(cli.common, family),
        Command::Check(options) => check::run(&cli.common, options),
        Command::ApiCoverage(options) => api_coverage::run(&options),
        Command::Version => {
            println!("{}", version::line());
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads our output has seen enough, as `head` has after its lines.
        Err(failure) if failure.is_pipe_closed() => ExitCode::SUCCESS,
        Err(failure) => {
            // Where nothing can be written, the exit code tells.
            let _ = writeln!(io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
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
    #[arg(long, action = ArgAction::Version, global = true, display_order = 1000)]
    version: Option<bool>,
    /// Print the version; of the program alone, for some commands have a -v of their own
    #[arg(id = "v", short, action = ArgAction::Version, hide = true)]
    version_short: Option<bool>,
    #[command(flatten)]
    common: CommonFlags,
}

#[derive(Subcommand)]
enum Command {
    /// Run a server
    #[command(arg_required_else_help = true)]
    Server {
        #[command(subcommand)]
        command: ServerCommand,
    },
    /// Run a server for development and your worker, which is started again when its files change
    ///
    /// `sempre dev -- python worker.py` keeps everything in memory; give --db-filename to keep it. The worker finds the server by
    /// TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE. Each change of a run is a line. Ctrl-C stops the worker, then the server.
    Dev(Box<dev::Options>),
    /// Start a workflow on the task queue that has workers, show its progress, print its result
    Call(Box<call::Options>),
    /// Start workflows, look at them, steer them
    Workflow(Family<workflow::WorkflowCommand>),
    /// Look at the activities of workflows, steer them
    Activity(Family<activity::ActivityCommand>),
    /// Start Nexus operations that belong to no workflow, look at them, end them
    Nexus(Family<nexus::NexusCommand>),
    /// Start workflows by the clock
    Schedule(Family<schedule::ScheduleCommand>),
    /// Follow operations on many workflows
    Batch(Family<batch::BatchCommand>),
    /// See who polls, what waits, at which rate
    TaskQueue(Family<task_queue::TaskQueueCommand>),
    /// See the workers that tell the server of themselves
    Worker(Family<worker::WorkerCommand>),
    /// Check versions of workers against the runs that there are
    Deployment(Family<deployment::DeploymentCommand>),
    /// Say how many workflows run at once, how fast they start, and see who waits
    Flow(Family<flow::FlowCommand>),
    /// Say what webhooks are told of: runs that fail, queues without workers, lists that fill
    Alert(Family<alert::AlertCommand>),
    /// Print what happens to runs, each change once and in order, and follow it
    ///
    /// Each line begins with the number of the notice. `--after NUMBER` goes on behind it: nothing is missed and nothing told
    /// twice, whatever has stopped in between.
    #[command(alias = "events")]
    Notices(Box<notices::Options>),
    /// Manage namespaces, search attributes, the cluster, Nexus endpoints
    Operator(Family<operator::OperatorCommand>),
    /// Keep profiles for connecting in the configuration file
    #[command(arg_required_else_help = true)]
    Config {
        #[command(subcommand)]
        command: config::ConfigCommand,
    },
    /// Keep sets of flags in the environment file; `config` is the newer way
    #[command(arg_required_else_help = true)]
    Env {
        #[command(subcommand)]
        command: env::EnvCommand,
    },
    /// Look after the index that lists and counts are answered from
    Visibility(Family<visibility::VisibilityCommand>),
    /// See the servers that share one database (docs/cluster.md)
    Cluster(Family<cluster::ClusterCommand>),
    /// Look at the data of a server that is not running
    #[command(arg_required_else_help = true)]
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Copy the data of a running server
    Backup(Family<backup::BackupCommand>),
    /// Make a data folder out of a backup
    Restore(restore::Options),
    /// Tell whether the data of a folder or a database is healthy, changing nothing
    Doctor(doctor::Options),
    /// Look in the source of Rust workflows for what a replay would see differently
    ///
    /// Clocks, chance, threads, sockets, files, the environment, state that runs share, maps without order: in methods of
    /// `#[workflow_methods]`, in functions that take a workflow's context, and in what they call. A comment
    /// `// sempre: allow(KIND) REASON` on the line or above it allows one. Ends with 1 if something was found, with 3 if
    /// there was nothing to look at.
    Check(check::Options),
    /// Print a script with which a shell completes command lines
    Completion(completion::Options),
    /// Write a manual page for each command
    Man(man::Options),
    /// List which calls of the Temporal API are built and which are not
    ApiCoverage(api_coverage::Options),
    /// Print the version
    Version,
}

#[derive(Subcommand)]
enum ServerCommand {
    /// Run a server for development: ready at once, everything in memory unless a file is named
    StartDev(Box<start_dev::Options>),
    /// Run a server that keeps its data in a folder or in PostgreSQL
    Start(Box<start::Options>),
    /// Run a server for tests that skips time: a workflow that sleeps for a year ends at once. `sempre PORT` is the same
    StartTest(start_test::Options),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}

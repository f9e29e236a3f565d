//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::target::Peer;

/// Measures a Temporal-compatible server by hand-made calls: the server, not an SDK.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Options {
    /// What is measured.
    #[arg(value_enum, default_value_t = Workload::Short)]
    pub(crate) workload: Workload,
    /// How many at once, one measurement each (default: as suits the workload).
    #[arg(long, value_delimiter = ',')]
    pub(crate) in_flight: Vec<usize>,
    /// How many in all, where the workload has a number: steps, activities, starts, open workflows, events, closed runs.
    #[arg(long)]
    pub(crate) count: Option<u64>,
    /// Seconds that a measurement lasts which has no number, after one second of warming up.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
    /// Times each measurement is repeated, in rounds; with a peer, both in turn in each round.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: usize,
    /// The `sempre` executable (default: SEMPRE_BIN, or the one beside this).
    #[arg(long)]
    pub(crate) server: Option<PathBuf>,
    /// Measure another server too, by the same calls, in turn: NAME=HOST:PORT[,pid=PID+PID…]. Can be given several times.
    #[arg(long, value_name = "NAME=HOST:PORT[,pid=PID]")]
    pub(crate) peer: Vec<Peer>,
    /// Measure only the peers.
    #[arg(long, requires = "peer")]
    pub(crate) only_peers: bool,
    /// Where data folders are made (default: the system's temporary folder).
    #[arg(long)]
    pub(crate) folder: Option<PathBuf>,
    /// A program to run the server under, such as `strace -f -o trace.txt`.
    #[arg(long, default_value = "")]
    pub(crate) wrapper: String,
    /// Options of `sempre server start` that our own server is started with, such as `--memory-budget 1GiB`.
    #[arg(long, default_value = "", allow_hyphen_values = true)]
    pub(crate) server_args: String,
    /// The core on which the flood of `overload` is sent. Run the whole on the others: `taskset -c 1 sempre-bench overload --sender-core 0`.
    #[arg(long)]
    pub(crate) sender_core: Option<usize>,
    /// Starts of the flood that may be unanswered at once: a client that waits for nobody has an end, too.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) unanswered: u64,
    /// Bytes of the input of each start of the flood.
    #[arg(long, default_value_t = 0)]
    pub(crate) input_bytes: usize,
    /// Compare short workflows on a server on this data folder with those on an empty folder, in turn (`bench/full-store` fills one).
    #[arg(long, conflicts_with_all = ["peer", "json"])]
    pub(crate) full: Option<PathBuf>,
    /// Compare short workflows on a server on a PostgreSQL server of its own with those on a folder, in turn.
    #[arg(long, conflicts_with_all = ["peer", "json", "full"])]
    pub(crate) postgres: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    pub(crate) json: bool,
}

impl Options {
    /// How many at once.
    pub(crate) fn in_flights(&self) -> Vec<usize> {
        if self.in_flight.is_empty() { self.workload.in_flight().to_vec() } else { self.in_flight.clone() }
    }
}

/// What is measured. The letters are those of docs/benchmarks.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// A: short workflows with one activity each, some in flight.
    #[value(alias = "a")]
    Short,
    /// What the calls of A cost in the same gRPC library, with a server that does nothing.
    Bare,
    /// B: activities one after the other in one workflow.
    #[value(alias = "b")]
    Steps,
    /// C: signals to one workflow.
    #[value(alias = "c")]
    Signals,
    /// C: signals to 1,000 workflows.
    Entities,
    /// D: workflows with 1,000 activities at once.
    #[value(alias = "d")]
    FanOut,
    /// D: 100 workflows with 100 children each.
    Children,
    /// E: starts as fast as they come, without a worker.
    #[value(alias = "e")]
    Storm,
    /// F: open workflows that wait; start-up with them, and waking one in a hundred.
    #[value(alias = "f")]
    Idle,
    /// Ten times the starts that the server can take to their end: what is refused, what of the work is kept, and after it.
    Overload,
    /// G: A, again and again, as closed runs grow in number.
    #[value(alias = "g")]
    Growth,
    /// I: one workflow with a long history, replayed cold.
    #[value(alias = "i")]
    History,
}

impl Workload {
    /// How many at once, unless the command line says.
    pub(crate) fn in_flight(self) -> &'static [usize] {
        match self {
            Self::Short => &[1, 16, 64, 256],
            Self::Bare => &[1, 64, 256],
            Self::Signals | Self::Entities => &[64],
            Self::Storm | Self::Idle => &[256],
            Self::Growth | Self::Overload => &[64],
            Self::Children => &[100],
            Self::Steps | Self::FanOut | Self::History => &[1],
        }
    }

    /// As in the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn letters_stand_for_workloads_and_short_ones_go_without_saying() {
        let of = |words: &[&str]| Options::try_parse_from([&["sempre-bench"], words].concat()).map(|options| options.workload);
        assert_eq!(of(&["--in-flight", "1"]).unwrap(), Workload::Short);
        assert_eq!(of(&["b"]).unwrap(), Workload::Steps);
        assert_eq!(of(&["fan-out"]).unwrap(), Workload::FanOut);
        assert!(of(&["z"]).is_err());
    }
}

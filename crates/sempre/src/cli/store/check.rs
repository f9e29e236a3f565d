//! `sempre store check`: holds the data against itself, run by run.
//!
//! Nothing in a folder changes, except that reading it takes its lock, as a server does. Of a database one moment is read, and a
//! server may go on meanwhile.
#![expect(clippy::disallowed_methods, reason = "progress is told by the wall clock; nothing is decided by it")]

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use sempre_engine::check::{self, Counts, News};
use sempre_store::{
    Store,
    embedded::{EmbeddedOptions, EmbeddedStore},
};
use serde_json::json;

use crate::cli::Failure;

/// Between two lines of progress: on a terminal, and elsewhere.
const PROGRESS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

#[derive(Args)]
pub(crate) struct Options {
    /// Folder of the data, which no server may be using, or address of a database (postgres://…), which one may
    #[arg(value_name = "FOLDER|ADDRESS")]
    folder: PathBuf,
    #[command(flatten)]
    output: Output,
}

/// How problems are told.
#[derive(Args)]
pub(crate) struct Output {
    /// Print JSON: one object per problem and one with the counts, a line each
    #[arg(long)]
    pub(crate) json: bool,
    /// Print at most this many problems; all are counted
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub(crate) problems_max: u64,
}

impl Default for Output {
    fn default() -> Self {
        Self { json: false, problems_max: 100 }
    }
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    #[cfg(feature = "postgres")]
    if crate::cli::postgres::is_address(&options.folder) {
        let (reader, place, _runtime) = crate::cli::postgres::reader(&options.folder)?;
        return look_through(&reader, &options.output).map_err(|failure| Failure::new(format_args!("{place}: {failure}")));
    }
    let folder = options.folder.display();
    if !options.folder.join("FORMAT").is_file() {
        return Err(Failure::new(format_args!("{folder} is not a data folder. Nothing was changed")));
    }
    // Dropped, not closed: what a close would write is left to the next server.
    let store =
        EmbeddedStore::open(&options.folder, EmbeddedOptions { brings_up: false, ..EmbeddedOptions::default() }).map_err(Failure::new)?;
    look_through(&store, &options.output).map_err(|failure| Failure::new(format_args!("{folder}: {failure}")))
}

/// Looks through a store that no engine works on, or one moment of it, and tells what it finds; problems are a failure.
pub(crate) fn look_through(store: &dyn Store, output: &Output) -> Result<(), Failure> {
    let mut teller = Teller::new(output);
    let counts = futures::executor::block_on(check::check(store, &mut |news| teller.tell(&news))).map_err(Failure::new)?;
    teller.end(&counts);
    match counts.problems {
        0 => Ok(()),
        1 => Err(Failure::new("there is 1 problem")),
        problems => Err(Failure::new(format_args!("there are {problems} problems"))),
    }
}

struct Teller<'a> {
    options: &'a Output,
    began: Instant,
    told: Instant,
    every: Duration,
    /// Looking at the clock for each run would cost more than the run.
    runs: u64,
    problems: u64,
}

impl<'a> Teller<'a> {
    fn new(options: &'a Output) -> Self {
        let every = PROGRESS[usize::from(!std::io::stderr().is_terminal())];
        let now = Instant::now();
        Self { options, began: now, told: now, every, runs: 0, problems: 0 }
    }

    fn tell(&mut self, news: &News<'_>) {
        match news {
            News::Problem(problem) => {
                self.problems += 1;
                if self.problems > self.options.problems_max {
                    return;
                }
                if self.options.json {
                    let run = problem.run.map(|run| run.to_string());
                    let (what, detail) = (&problem.finding.what, &problem.finding.detail);
                    println!(
                        "{}",
                        json!({ "slot": problem.slot, "workflow_id": problem.workflow_id, "run_id": run, "what": what, "detail": detail })
                    );
                } else {
                    println!("{problem}");
                }
            }
            News::Run(counts) => {
                self.runs += 1;
                if self.runs.is_multiple_of(256) && self.told.elapsed() >= self.every {
                    self.told = Instant::now();
                    // Progress that cannot be told harms nobody.
                    let _ = writeln!(
                        std::io::stderr(),
                        "slot {} of {}: {} runs, {} events, {} problems",
                        counts.slots,
                        sempre_core::ids::SLOT_COUNT,
                        counts.runs,
                        counts.events,
                        counts.problems
                    );
                }
            }
        }
    }

    fn end(&self, counts: &Counts) {
        let Counts { runs, open, events, bytes, pointers, offers, deadlines, messages, listed, schedules, problems, .. } = counts;
        if self.options.json {
            let counts = json!({
                "runs": runs, "open": open, "events": events, "history_bytes": bytes, "pointers": pointers, "offers": offers,
                "deadlines": deadlines, "messages": messages, "listed": listed, "schedules": schedules,
                "problems": problems,
            });
            println!("{counts}");
            return;
        }
        println!("{runs} runs ({open} open), {events} events of {bytes} bytes rebuilt and compared");
        println!("{pointers} current-run pointers, {offers} offers, {deadlines} deadlines, {messages} messages, {schedules} schedules");
        println!("{problems} problems, {:.1} s", self.began.elapsed().as_secs_f64());
    }
}

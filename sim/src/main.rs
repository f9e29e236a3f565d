//! `sempre-sim run`: seeds, one or many. `sempre-sim mutants`: bugs planted on purpose, and in how many seeds each is found.

use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use sempre_sim::{Outcome, Plan, run, shrink};

const USAGE: &str = "usage: sempre-sim run --seeds A..B [--jobs N]
       sempre-sim run SEED [--log] [--set NAME=VALUE]...
       sempre-sim mutants [--seeds 0..B] [--jobs N] [--bug NAME]...      (with --features planted)";

/// Seeds after which a line tells how far it is.
const PROGRESS: u64 = 500;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("run") => match parse(&arguments[1..]) {
            Some(order) => order.carry_out(),
            None => usage(),
        },
        Some("mutants") => match parse(&arguments[1..]) {
            Some(order) => mutants(&order),
            None => usage(),
        },
        _ => usage(),
    }
}

#[cfg(not(feature = "planted"))]
fn mutants(_: &Order) -> ExitCode {
    eprintln!("no bugs are planted in this build: cargo run --release -p sempre-sim --features planted -- mutants --seeds 0..2000");
    ExitCode::from(2)
}

/// The table of planted bugs. Fails if one of them is not found.
#[cfg(feature = "planted")]
fn mutants(order: &Order) -> ExitCode {
    let (mut missed, mut hunted) = (0, 0);
    println!("| bug | found in seeds | by |\n|---|---|---|");
    for (bug, story) in sempre_core::planted::Bug::ALL {
        if !order.bugs.is_empty() && !order.bugs.contains(&format!("{bug:?}")) {
            continue;
        }
        hunted += 1;
        match sempre_sim::mutants::hunt(*bug, order.to, order.jobs) {
            Some(found) => {
                let by: String = found.violation.chars().take(110).collect();
                println!("| {bug:?}: {} | {} | {} |", story.trim(), found.seeds, by.replace('|', "/"));
            }
            None => {
                missed += 1;
                println!("| {bug:?}: {} | not in {} | - |", story.trim(), order.to);
            }
        }
    }
    println!("{hunted} bugs, {missed} not found");
    if missed == 0 && hunted >= order.bugs.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}

struct Order {
    from: u64,
    to: u64,
    jobs: u64,
    log: bool,
    set: Vec<(String, u64)>,
    /// Planted bugs to look for; none: all.
    bugs: Vec<String>,
}

fn parse(arguments: &[String]) -> Option<Order> {
    let mut order = Order { from: 0, to: 0, jobs: 1, log: false, set: Vec::new(), bugs: Vec::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seeds" => {
                let (from, to) = arguments.next()?.split_once("..")?;
                (order.from, order.to) = (from.parse().ok()?, to.parse().ok()?);
            }
            "--jobs" => order.jobs = arguments.next()?.parse().ok()?,
            "--log" => order.log = true,
            "--bug" => order.bugs.push(arguments.next()?.clone()),
            "--set" => {
                let (name, value) = arguments.next()?.split_once('=')?;
                order.set.push((name.to_owned(), value.parse().ok()?));
            }
            seed => {
                order.from = seed.parse().ok()?;
                order.to = order.from + 1;
            }
        }
    }
    (order.from < order.to && order.jobs > 0).then_some(order)
}

#[derive(Default)]
struct Sum {
    runs: u64,
    events: u64,
    turns: u64,
    processes: u64,
    unknown: u64,
    seconds: u64,
}

impl Order {
    fn carry_out(&self) -> ExitCode {
        let next = AtomicU64::new(self.from);
        let done = AtomicU64::new(0);
        let failed = Mutex::new(Vec::new());
        let sum = Mutex::new(Sum::default());
        thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::SeqCst);
                        if seed >= self.to {
                            return;
                        }
                        let mut plan = Plan::of(seed);
                        for (name, value) in &self.set {
                            if !plan.set(name, *value) {
                                eprintln!("a plan has no {name}");
                            }
                        }
                        let outcome = run(&plan, self.log);
                        if let Ok(mut sum) = sum.lock() {
                            sum.runs += outcome.numbers.runs;
                            sum.events += outcome.numbers.events;
                            sum.turns += outcome.numbers.turns;
                            sum.processes += outcome.numbers.processes;
                            sum.unknown += outcome.numbers.unknown;
                            sum.seconds += outcome.numbers.seconds;
                        }
                        if self.to - self.from == 1 {
                            println!("seed {seed}: hash {:016x}, {:?}", outcome.hash, outcome.numbers);
                        }
                        if !outcome.violations.is_empty() {
                            tell(&plan, &outcome);
                            if !self.log {
                                let (plan, outcome) = shrink::shrink(&plan, outcome);
                                println!("smaller:");
                                tell(&plan, &outcome);
                            }
                            if let Ok(mut failed) = failed.lock() {
                                failed.push(seed);
                            }
                        }
                        let done = done.fetch_add(1, Ordering::SeqCst) + 1;
                        if done.is_multiple_of(PROGRESS) {
                            eprintln!("{done} of {} seeds", self.to - self.from);
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().unwrap_or_default();
        let sum = sum.into_inner().unwrap_or_default();
        println!(
            "{} seeds, {} failed; {} runs, {} events, {} turns, {} processes, {} calls without an answer, {} virtual hours",
            self.to - self.from,
            failed.len(),
            sum.runs,
            sum.events,
            sum.turns,
            sum.processes,
            sum.unknown,
            sum.seconds / 3600
        );
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn tell(plan: &Plan, outcome: &Outcome) {
    println!("seed {} FAILED: {}", plan.seed, shrink::command(plan));
    for violation in outcome.violations.iter().take(5) {
        println!("    {violation}");
    }
}

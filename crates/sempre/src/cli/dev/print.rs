//! Lines of several sources on one terminal, each with who says it. One task writes: lines are never mixed.

use std::io::{self, IsTerminal, Write};

use tokio::sync::mpsc;

use crate::cli::{
    flags::{Color, CommonFlags},
    output::{Hue, paint},
};

/// Lines that wait to be written; who has more waits.
const LINES_MAX: usize = 256;

/// Who says a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// The worker, on its standard output.
    Worker,
    /// The worker, on its standard error.
    WorkerError,
    /// A run.
    Run,
    /// This command.
    Dev,
}

struct Line {
    who: Who,
    text: String,
    hue: Option<Hue>,
}

/// Takes lines. When the last one is gone, the task ends.
#[derive(Clone)]
pub(super) struct Printer(mpsc::Sender<Line>);

impl Printer {
    /// Prints the first text, and gives the task that writes lines.
    pub(super) fn new(common: &CommonFlags, first: &str) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, mut lines) = mpsc::channel::<Line>(LINES_MAX);
        let coloured = match common.color.unwrap_or_default() {
            Color::Auto => io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            Color::Always => true,
            Color::Never => false,
        };
        // Who does not read any more does not keep the server and the worker from going on.
        let _ = write!(io::stdout(), "{first}").and_then(|()| io::stdout().flush());
        let writing = async move {
            while let Some(line) = lines.recv().await {
                let _ = write(&line, coloured);
            }
        };
        (Self(sender), writing)
    }

    /// Writes a line; waits while too many wait.
    pub(super) async fn line(&self, who: Who, text: String, hue: Option<Hue>) {
        // The writer ends last.
        let _ = self.0.send(Line { who, text, hue }).await;
    }
}

fn write(line: &Line, coloured: bool) -> io::Result<()> {
    let Line { who, text, hue } = line;
    let name = match who {
        Who::Worker | Who::WorkerError => "worker",
        Who::Run => "run",
        Who::Dev => "dev",
    };
    let painted = paint(text, *hue, coloured);
    if *who == Who::WorkerError {
        return writeln!(io::stderr(), "{name:<6} | {painted}");
    }
    let mut out = io::stdout().lock();
    writeln!(out, "{name:<6} | {painted}")?;
    out.flush()
}

//! `sempre dev -- COMMAND`: a server for development and the user's worker beside it.
//!
//! | what happens | then |
//! |---|---|
//! | a watched file changes, and nothing more changes for a moment | the worker is stopped and started again |
//! | the worker ends with exit code 0 | it is started again at the next change |
//! | the worker ends otherwise | it is started again after a pause that grows, or at the next change |
//! | a signal to stop | the worker is stopped, then the server |
//! | a second signal | the worker is killed |
//! | a third one | the process ends at once |
//! | the server cannot go on | the worker is stopped; the command fails |
//!
//! The worker is stopped before the server: what it finishes on its way out is still taken.
#![expect(clippy::disallowed_methods, reason = "a person waits, by the wall clock; the third signal must end the process whatever hangs")]

mod print;
mod runs;
mod watch;
mod worker;

use std::{ffi::OsString, path::PathBuf, process::ExitStatus, time::Duration};

use clap::Args;
use tokio::{
    sync::{Notify, oneshot},
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{
    Failure,
    flags::CommonFlags,
    output::Hue,
    serve::{self, Stops},
    start_dev::{self, Serving},
    values,
};
use print::{Printer, Who};
use watch::Watch;
use worker::{Surroundings, Worker};

/// First and longest pause before a worker that has failed is started again.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A worker that has run so long fails for another reason than the one before.
const RAN_WELL: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Options {
    /// The worker: a program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Folder whose files the worker depends on; may be given several times [default: the current folder]
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_watch")]
    watch: Vec<PathBuf>,
    /// Do not start the worker again when files change
    #[arg(long)]
    no_watch: bool,
    /// How long the worker may take to stop before it is killed
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = values::parse_duration)]
    stop_timeout: sempre_api::Duration,
    #[command(flatten)]
    serving: Serving,
}

pub(crate) fn run(common: &CommonFlags, options: Options) -> Result<(), Failure> {
    let ip = options.serving.ip();
    let (mut settings, data) = options.serving.settle()?;
    start_dev::warn_if_open(ip, false);
    serve::complete(&mut settings, &data);
    let namespaces = settings.namespaces.clone();
    let watch = match options.no_watch {
        true => None,
        false => Some(Watch::new(options.watch, data.folder())?),
    };
    let grace = Duration::try_from(options.stop_timeout).map_err(|_| Failure::usage("--stop-timeout is not a length of time"))?;
    serve::on_threads(async {
        let mut stops = Stops::new().map_err(|error| Failure::new(format_args!("cannot wait for signals: {error}")))?;
        // It is no node, and waits for no others.
        let Some(server) = serve::bind(settings, &data, std::future::pending()).await? else { return Ok(()) };
        let names = namespaces.join(", ");
        let (printer, printing) = Printer::new(common, &serve::banner(&server, &names, &data));
        let (mut printing_task, mut telling) = (JoinSet::new(), JoinSet::new());
        printing_task.spawn(printing);
        telling.spawn(runs::tell(server.engine().clone(), namespaces.first().cloned().unwrap_or_default(), printer.clone()));
        let surroundings = Surroundings { address: server.local_addr(), namespace: namespaces.first().cloned().unwrap_or_default() };
        let engine = server.engine().clone();
        let (end, ended) = oneshot::channel::<()>();
        let served = Notify::new();
        let serving = async {
            let result = server.serve(async move {
                // The other side is dropped when the worker has stopped.
                let _ = ended.await;
            });
            let result = result.await;
            served.notify_one();
            result
        };
        let mut keeper = Keeper { command: options.command, surroundings, watch, grace, printer };
        let keeping = async {
            let fatal = engine.fatal();
            tokio::pin!(fatal);
            let kept = keeper.keep(&mut stops, &mut fatal).await;
            drop(end);
            tokio::select! {
                () = served.notified() => kept,
                () = stops.next() => std::process::exit(1),
            }
        };
        let (served, kept) = tokio::join!(serving, keeping);
        telling.shutdown().await;
        // With the last who prints, so that the last lines are written.
        drop(keeper);
        printing_task.join_next().await;
        served.map_err(Failure::new).and(kept)
    })
}

/// Keeps a worker running.
struct Keeper {
    command: Vec<OsString>,
    surroundings: Surroundings,
    watch: Option<Watch>,
    grace: Duration,
    printer: Printer,
}

/// Why a worker does not run any more.
enum End {
    Stop,
    Changed(PathBuf),
    /// By itself.
    Over(String, Hue),
}

impl Keeper {
    async fn keep(&mut self, stops: &mut Stops, fatal: &mut (impl Future<Output = String> + Unpin)) -> Result<(), Failure> {
        let mut pause = PAUSE_FIRST;
        let mut begun_once = false;
        loop {
            let began = Instant::now();
            let (end, failed) = match Worker::start(&self.command, &self.surroundings, &self.printer) {
                Ok(mut worker) => {
                    begun_once = true;
                    let end = tokio::select! {
                        status = worker.ended() => over(status),
                        path = changed(&mut self.watch) => End::Changed(path),
                        () = stops.next() => End::Stop,
                        _ = &mut *fatal => End::Stop,
                    };
                    if let End::Changed(path) = &end {
                        let text = format!("{} has changed, the worker is started again", path.display());
                        self.printer.line(Who::Dev, text, None).await;
                    }
                    let failed = matches!(end, End::Over(_, Hue::Bad));
                    let signalled = worker.stop(self.grace, stops).await;
                    (if signalled { End::Stop } else { end }, failed)
                }
                Err(error) if !begun_once => {
                    let program = self.command.first().cloned().unwrap_or_default();
                    return Err(Failure::new(format_args!("cannot start {}: {error}", program.display())));
                }
                Err(error) => (End::Over(format!("cannot be started: {error}"), Hue::Bad), true),
            };
            if began.elapsed() >= RAN_WELL {
                pause = PAUSE_FIRST;
            }
            match end {
                End::Stop => return Ok(()),
                End::Changed(_) => pause = PAUSE_FIRST,
                End::Over(how, hue) => {
                    let then = match (failed, self.watch.is_some()) {
                        (true, true) => format!("it is started again in {} s, or when a file changes", pause.as_secs()),
                        (true, false) => format!("it is started again in {} s", pause.as_secs()),
                        (false, true) => "it is started again when a file changes".to_owned(),
                        (false, false) => "the server goes on".to_owned(),
                    };
                    self.printer.line(Who::Dev, format!("the worker {how}; {then}"), Some(hue)).await;
                    let wait = async {
                        match failed {
                            true => sleep(pause).await,
                            false => std::future::pending().await,
                        }
                    };
                    tokio::select! {
                        () = wait => pause = (pause * 2).min(PAUSE_MAX),
                        path = changed(&mut self.watch) => {
                            pause = PAUSE_FIRST;
                            let text = format!("{} has changed, the worker is started again", path.display());
                            self.printer.line(Who::Dev, text, None).await;
                        }
                        () = stops.next() => return Ok(()),
                        _ = &mut *fatal => return Ok(()),
                    }
                }
            }
        }
    }
}

/// Resolves at the next change of a watched file.
async fn changed(watch: &mut Option<Watch>) -> PathBuf {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// How a worker has ended by itself.
fn over(status: std::io::Result<ExitStatus>) -> End {
    match status {
        Ok(status) if status.success() => End::Over("has ended".to_owned(), Hue::Odd),
        // "exit status: 3" or "signal: 9 (SIGKILL)".
        Ok(status) => End::Over(format!("has ended ({status})"), Hue::Bad),
        Err(error) => End::Over(format!("cannot be waited for: {error}"), Hue::Bad),
    }
}

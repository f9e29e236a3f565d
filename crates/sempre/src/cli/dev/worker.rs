//! The user's command: a process group of its own, its output line by line, its end.
#![expect(clippy::disallowed_methods, reason = "a process is given time to stop, by the wall clock")]

use std::{ffi::OsString, io, net::SocketAddr, process::ExitStatus, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader},
    process::{Child, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::print::{Printer, Who};
use crate::cli::serve::Stops;

/// Longer lines are cut into several.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// How often a stopping group is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// How long the last lines of a worker that is gone may take: a process that has left its group may hold on to its output.
const LAST_LINES_MAX: Duration = Duration::from_secs(1);
/// What would lead the worker's client elsewhere, or make it use TLS.
const REMOVED: &[&str] = &["TEMPORAL_API_KEY", "TEMPORAL_PROFILE", "TEMPORAL_CONFIG_FILE"];
const REMOVED_PREFIXES: &[&str] = &["TEMPORAL_TLS", "TEMPORAL_GRPC_META"];

/// What a worker is told of the server.
pub(super) struct Surroundings {
    pub(super) address: SocketAddr,
    pub(super) namespace: String,
}

/// A worker that runs, or has ended by itself.
pub(super) struct Worker {
    child: Child,
    group: Group,
    readers: JoinSet<()>,
}

impl Worker {
    pub(super) fn start(command: &[OsString], surroundings: &Surroundings, printer: &Printer) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if REMOVED.contains(&&*text) || REMOVED_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let mut address = surroundings.address;
        if address.ip().is_unspecified() {
            // Listens everywhere, and is reached here.
            address.set_ip(if address.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() });
        }
        command.env("TEMPORAL_ADDRESS", address.to_string()).env("TEMPORAL_NAMESPACE", &surroundings.namespace);
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn()?;
        let group = Group::of(&child);
        let mut readers = JoinSet::new();
        if let Some(output) = child.stdout.take() {
            readers.spawn(pass_on(output, Who::Worker, printer.clone()));
        }
        if let Some(output) = child.stderr.take() {
            readers.spawn(pass_on(output, Who::WorkerError, printer.clone()));
        }
        Ok(Self { child, group, readers })
    }

    /// Resolves when the command has ended by itself.
    pub(super) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Interrupts all its processes, as Ctrl-C would, and kills them when the time is over or a signal comes; true: one came.
    pub(super) async fn stop(mut self, grace: Duration, stops: &mut Stops) -> bool {
        self.group.interrupt();
        let gone = async {
            // What cannot be waited for is gone.
            let _ = self.child.wait().await;
            while self.group.is_there() {
                sleep(LOOK).await;
            }
        };
        let signalled = tokio::select! {
            () = gone => false,
            () = sleep(grace) => false,
            () = stops.next() => true,
        };
        self.group.kill();
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
        let last = async { while self.readers.join_next().await.is_some() {} };
        // Who still holds the output has left the group; its lines are not passed on.
        let _ = timeout(LAST_LINES_MAX, last).await;
        signalled
    }
}

/// The command and what it has started.
#[cfg(unix)]
struct Group(Option<rustix::process::Pid>);

#[cfg(unix)]
impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw))
    }

    fn signal(&self, signal: rustix::process::Signal) {
        if let Some(group) = self.0 {
            // Nobody is left to hear it.
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }

    fn interrupt(&self) {
        self.signal(rustix::process::Signal::INT);
    }

    fn kill(&self) {
        self.signal(rustix::process::Signal::KILL);
    }

    fn is_there(&self) -> bool {
        self.0.is_some_and(|group| rustix::process::test_kill_process_group(group).is_ok())
    }
}

/// Nothing but the command itself is known.
#[cfg(not(unix))]
struct Group;

#[cfg(not(unix))]
impl Group {
    fn of(_: &Child) -> Self {
        Self
    }

    fn interrupt(&self) {}

    fn kill(&self) {}

    fn is_there(&self) -> bool {
        false
    }
}

async fn pass_on(output: impl AsyncRead + Unpin, who: Who, printer: Printer) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line);
                printer.line(who, text.trim_end_matches(['\n', '\r']).to_owned(), None).await;
            }
        }
    }
}

//! A server process under test: started, killed, measured.

#![allow(clippy::disallowed_methods, reason = "a client of the server: it lives in real time")]

use std::{
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Ticks of `/proc/<pid>/stat` a second: 100 on every Linux that Rust supports.
const CLOCK_TICKS: f64 = 100.0;
/// How long a start may take before it counts as failed.
const START_MAX: Duration = Duration::from_secs(20);

/// How to start the server.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The `sempre` executable.
    pub binary: PathBuf,
    /// Its data folder.
    pub data_dir: PathBuf,
    /// Address of the database that has the data instead.
    pub store: Option<String>,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// A program to run it under (`strace …`), in front of the command line.
    pub wrapper: Vec<String>,
    /// Options of `sempre server start`, behind those that are given here.
    pub arguments: Vec<String>,
    /// What it says on its standard error is added to this file, by this process: no limit of the server's own files keeps it out.
    /// Without one it is this process' own.
    pub log: Option<PathBuf>,
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Writes down what it says; ends with it.
    listener: Option<JoinHandle<io::Result<u64>>>,
    /// How it was started.
    pub launch: Launch,
    /// From the start of the process to the first accepted connection.
    pub started_in: Duration,
}

/// A port that was free a moment ago.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// The `sempre` executable: `--server` or `SEMPRE_BIN`, else the one beside this executable.
pub fn find_binary(given: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(path) = given {
        return Ok(path.to_path_buf());
    }
    if let Some(path) = std::env::var_os("SEMPRE_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let beside = own.ancestors().skip(1).take(2).map(|folder| folder.join("sempre")).find(|path| path.is_file());
    beside.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no `sempre` executable beside this one: build it (cargo build -p sempre, same profile), or name it by --server or SEMPRE_BIN",
        )
    })
}

impl Server {
    /// Starts the durable single node and waits until it accepts connections.
    pub fn start(launch: Launch) -> io::Result<Self> {
        let mut words = launch.wrapper.iter();
        let mut command = match words.next() {
            Some(program) => {
                let mut command = Command::new(program);
                command.args(words).arg(&launch.binary);
                command
            }
            None => Command::new(&launch.binary),
        };
        command
            .args(["server", "start", "--ip", "127.0.0.1", "--log-level", "warn", "--port"])
            .arg(launch.port.to_string())
            .arg("--data-dir")
            .arg(&launch.data_dir)
            .args(launch.store.iter().flat_map(|address| ["--store", address.as_str()]))
            .args(&launch.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(if launch.log.is_some() { Stdio::piped() } else { Stdio::inherit() });
        if !launch.wrapper.is_empty() {
            // A group of their own, so that the server ends with its wrapper.
            std::os::unix::process::CommandExt::process_group(&mut command, 0);
        }
        let log = launch.log.as_ref().map(|path| fs::OpenOptions::new().create(true).append(true).open(path)).transpose()?;
        let begun = Instant::now();
        let mut child = command.spawn()?;
        let said = child.stderr.take();
        let listener = log.zip(said).map(|(mut log, mut said)| std::thread::spawn(move || io::copy(&mut said, &mut log)));
        let mut server = Self { child, listener, launch, started_in: Duration::ZERO };
        loop {
            if std::net::TcpStream::connect(("127.0.0.1", server.launch.port)).is_ok() {
                server.started_in = begun.elapsed();
                return Ok(server);
            }
            if let Some(status) = server.ended()? {
                return Err(io::Error::other(format!("the server ended at once: {status}")));
            }
            if begun.elapsed() > START_MAX {
                // It ends with this value.
                return Err(io::Error::other("the server did not listen within 20 s"));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// SIGKILL, and waits for the end.
    pub fn kill(mut self) -> io::Result<Launch> {
        let own = self.own_pid();
        self.end_group();
        self.child.kill()?;
        self.child.wait()?;
        // Under a wrapper it is no child of ours, and may be a moment behind.
        while own.is_some_and(is_running) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.hear_out()?;
        Ok(self.launch.clone())
    }

    /// How it has ended, if it has; then all that it has said is in its log.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        if status.is_some() {
            self.hear_out()?;
        }
        Ok(status)
    }

    /// Waits until everything is written down that a server has said which has ended.
    fn hear_out(&mut self) -> io::Result<()> {
        match self.listener.take() {
            Some(listener) => {
                listener.join().map_err(|_| io::Error::other("the thread that writes the server's log has panicked"))?.map(drop)
            }
            None => Ok(()),
        }
    }

    /// Sends the server a signal; not the program that it runs under.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = self.own_pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        Ok(kill_process(pid, signal)?)
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> io::Result<Launch> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        self.child.wait()?;
        self.hear_out()?;
        Ok(self.launch.clone())
    }

    /// The process id of what was started: the server, or the program that it runs under.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The server's own process id; under a wrapper, as its data folder has it.
    pub fn own_pid(&self) -> Option<u32> {
        if self.launch.wrapper.is_empty() {
            return Some(self.child.id());
        }
        fs::read_to_string(self.launch.data_dir.join("LOCK")).ok()?.trim().parse().ok()
    }

    /// Ends whatever runs under a wrapper, and the wrapper.
    fn end_group(&self) {
        if !self.launch.wrapper.is_empty() {
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end_group();
        // Already ended is fine; there is nobody to tell about anything else.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.hear_out();
    }
}

/// Whether any of its threads is there: the first one may have ended before the others, which hold the files still.
fn is_running(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    threads.flatten().any(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The state is behind the name, which may hold anything. A zombie has given everything back.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
    })
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system CPU, seconds.
    pub cpu_seconds: f64,
    /// Resident memory, KiB.
    pub rss_kib: u64,
    /// Largest resident memory, KiB.
    pub rss_peak_kib: u64,
}

impl Usage {
    /// Reads it from `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            cpu_seconds: (ticks(11) + ticks(12)) / CLOCK_TICKS,
            rss_kib: number_after(&status, "VmRSS:"),
            rss_peak_kib: number_after(&status, "VmHWM:"),
        })
    }
}

/// User and system CPU of a process and its children, those that have ended included, seconds.
pub fn cpu_seconds_with_children(pid: u32) -> io::Result<f64> {
    let mut ticks = 0.0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(number) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        // One that has ended meanwhile is counted by its parent.
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let fields: Vec<f64> = after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
        let is_child = fields.get(1).is_some_and(|parent| *parent == f64::from(pid));
        if number == pid {
            ticks += fields.get(11..15).unwrap_or_default().iter().sum::<f64>();
        } else if is_child {
            ticks += fields.get(11..13).unwrap_or_default().iter().sum::<f64>();
        }
    }
    Ok(ticks / CLOCK_TICKS)
}

/// What was written so far to a disk, by everybody: the kernel's count of bytes per process is of no use here, because it
/// counts a whole large folio for each small write into one, and it counts no flushes.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskWrites {
    /// Bytes.
    pub bytes: u64,
    /// Flushes of the disk's cache. Kernels before 5.5, and partitions, count none.
    pub flushes: u64,
}

impl DiskWrites {
    /// Of the disk that holds `folder`. `None` where it cannot be known (tmpfs).
    pub fn of(folder: &Path) -> Option<Self> {
        let device = std::os::unix::fs::MetadataExt::dev(&fs::metadata(folder).ok()?);
        let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xfff00);
        let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
        let fields: Vec<u64> = stat.split_whitespace().map_while(|field| field.parse().ok()).collect();
        Some(Self { bytes: fields.get(6)? * 512, flushes: fields.get(15).copied().unwrap_or(0) })
    }
}

fn number_after(text: &str, label: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(label))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

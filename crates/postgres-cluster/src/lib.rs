//! Private PostgreSQL servers in temporary folders, for tests and measurements.
//!
//! The programs are those of the system (Debian: `apt-get install postgresql`), or of the folder that `SEMPRE_POSTGRES_BIN` names.
//! A server ends, and its folder is removed, when its [`Cluster`] is dropped, and also when the process that made it dies in
//! any way: a shell beside it waits for the end of a pipe. PostgreSQL does not run as root; there it runs as the user
//! `postgres`.

use std::{
    ffi::OsStr,
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Makes sure that the server ends and the folder goes when nobody holds the other end of the pipe any more. Arguments: the
/// folder, then the server's command.
const GUARD: &str = r#"folder=$1; shift
"$@" >>"$folder/log" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -INT $server 2>/dev/null
wait $server
rm -rf "$folder""#;

/// The database that is made, and the role without any privileges that owns it.
const DATABASE: &str = "work";
const ROLE: &str = "plain";
/// The role that may do everything.
const ADMIN: &str = "admin";

/// A server; see the module. Clones are the same one.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    programs: Programs,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    running: Mutex<Option<Running>>,
    schemas: AtomicU32,
}

struct Running {
    guard: Child,
    /// Its end is the sign to stop.
    pipe: Option<ChildStdin>,
}

/// Where the programs are, and as whom they run.
#[derive(Clone)]
struct Programs {
    bin: PathBuf,
    as_other: bool,
}

impl Programs {
    fn find() -> Option<Self> {
        let bin = match std::env::var_os("SEMPRE_POSTGRES_BIN") {
            Some(bin) => PathBuf::from(bin),
            None => {
                let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
                let newest = versions.filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path()))).max();
                newest.map(|(_, path)| path.join("bin"))?
            }
        };
        // The owner of a folder of this process is the user it runs as.
        let id = Command::new("id").arg("-u").output().ok()?;
        bin.join("postgres").is_file().then(|| Self { bin, as_other: id.stdout.trim_ascii() == b"0" })
    }

    /// A command that runs as a user whom PostgreSQL accepts.
    fn command(&self, program: &OsStr) -> Command {
        if !self.as_other {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command
    }

    fn own(&self, program: &str) -> Command {
        self.command(self.bin.join(program).as_os_str())
    }
}

fn done(mut command: Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    Err(io::Error::other(format!("{command:?}: {}", String::from_utf8_lossy(&said))))
}

impl Cluster {
    /// A new server that answers. `None`, and a line on standard error, where the programs are not installed.
    pub fn start() -> Option<io::Result<Cluster>> {
        let Some(programs) = Programs::find() else {
            eprintln!("skipped: PostgreSQL is not installed (Debian: apt-get install postgresql)");
            return None;
        };
        Some(Self::start_with(programs, &[]))
    }

    /// As [`Cluster::start`], with other settings (`name=value`).
    pub fn start_set(settings: &[&str]) -> Option<io::Result<Cluster>> {
        Programs::find().map(|programs| Self::start_with(programs, settings))
    }

    fn start_with(programs: Programs, settings: &[&str]) -> io::Result<Cluster> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("sempre-postgres-{}-{number}", std::process::id()));
        // Made by the user it is for.
        let mut make = programs.command("mkdir".as_ref());
        make.arg("-m").arg("755").arg(&folder);
        done(make)?;
        let mut init = programs.own("initdb");
        init.args(["-A", "trust", "-U", ADMIN, "-E", "UTF8", "--locale=C", "-D"]).arg(folder.join("data"));
        done(init)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let settings = settings.iter().map(ToString::to_string).collect();
        let inner = Inner { programs, folder, port, settings, running: Mutex::default(), schemas: AtomicU32::new(0) };
        let cluster = Cluster(Arc::new(inner));
        cluster.run()?;
        cluster.sql_in("postgres", &format!("CREATE ROLE {ROLE} LOGIN; CREATE DATABASE {DATABASE} OWNER {ROLE}"))?;
        Ok(cluster)
    }

    fn run(&self) -> io::Result<()> {
        let inner = &self.0;
        let mut command = inner.programs.command("sh".as_ref());
        command.args(["-c", GUARD, "guard"]).arg(&inner.folder).arg(inner.programs.bin.join("postgres"));
        command.arg("-D").arg(inner.folder.join("data"));
        let sockets = format!("unix_socket_directories={}", inner.folder.display());
        let settings =
            ["fsync=on", "listen_addresses=127.0.0.1", "max_connections=300", "max_wal_size=4GB", "lock_timeout=0", sockets.as_str()];
        command.args(settings.into_iter().chain(inner.settings.iter().map(String::as_str)).flat_map(|setting| ["-c", setting]));
        command.arg("-p").arg(inner.port.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guard = command.spawn()?;
        let pipe = guard.stdin.take();
        *inner.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(Running { guard, pipe });
        self.wait()
    }

    /// Waits until it answers.
    fn wait(&self) -> io::Result<()> {
        let mut last = None;
        for _ in 0..600 {
            let mut ready = self.0.programs.own("pg_isready");
            ready.arg("-h").arg(&self.0.folder).arg("-p").arg(self.0.port.to_string());
            match done(ready) {
                Ok(_) => return Ok(()),
                Err(error) => last = Some(error),
            }
            pause();
        }
        let log = std::fs::read_to_string(self.0.folder.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("it does not answer: {last:?}\n{log}")))
    }

    /// The folder that is removed in the end; the server's log is in it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0.folder
    }

    /// Its port at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }

    /// The process of the server itself.
    pub fn pid(&self) -> io::Result<u32> {
        let file = std::fs::read_to_string(self.0.folder.join("data/postmaster.pid"))?;
        file.lines().next().and_then(|line| line.trim().parse().ok()).ok_or_else(|| io::Error::other("no pid"))
    }

    /// The address of a schema that nobody has had yet, for a role without privileges.
    #[must_use]
    pub fn address(&self) -> String {
        let number = self.0.schemas.fetch_add(1, Ordering::Relaxed);
        self.address_of(&format!("test_{number}"))
    }

    /// The address of a schema.
    #[must_use]
    pub fn address_of(&self, schema: &str) -> String {
        format!("postgres://{ROLE}@/{DATABASE}?host={}&port={}&schema={schema}&lease_ms=1000", self.0.folder.display(), self.0.port)
    }

    /// The address of a schema at a port of 127.0.0.1, which may be that of somebody in between.
    #[must_use]
    pub fn address_at(&self, port: u16, schema: &str) -> String {
        format!("postgres://{ROLE}@127.0.0.1:{port}/{DATABASE}?schema={schema}&lease_ms=1000")
    }

    /// Runs statements as somebody who may do everything; gives what they print.
    pub fn sql(&self, statements: &str) -> io::Result<String> {
        self.sql_in(DATABASE, statements)
    }

    fn sql_in(&self, database: &str, statements: &str) -> io::Result<String> {
        let mut command = self.0.programs.own("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", ADMIN, "-d", database, "-h"]).arg(&self.0.folder);
        command.arg("-p").arg(self.0.port.to_string());
        for statement in statements.split(';').map(str::trim).filter(|statement| !statement.is_empty()) {
            command.args(["-c", statement]);
        }
        Ok(String::from_utf8_lossy(&done(command)?.stdout).trim().to_owned())
    }

    /// Writes a file that only the server's user can read into its folder; gives its path.
    pub fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.0.folder.join(name);
        let mut command = self.0.programs.command("sh".as_ref());
        command.args(["-c", r#"umask 077; cat >"$1""#, "write"]).arg(&path).stdin(Stdio::piped());
        let mut writing = command.spawn()?;
        if let Some(mut pipe) = writing.stdin.take() {
            io::Write::write_all(&mut pipe, content.as_bytes())?;
        }
        if writing.wait()?.success() { Ok(path) } else { Err(io::Error::other(format!("{} cannot be written", path.display()))) }
    }

    /// A command that runs as the server's user.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.0.programs.command(program.as_ref())
    }

    /// Ends the server: `fast`, as an administrator does, or `immediate`, as a crash of the machine does, but for the disk.
    pub fn stop(&self, mode: &str) -> io::Result<()> {
        let mut stop = self.0.programs.own("pg_ctl");
        stop.args(["stop", "-w", "-m", mode, "-D"]).arg(self.0.folder.join("data"));
        done(stop).map(drop)
    }

    /// Starts a server that was stopped.
    pub fn start_again(&self) -> io::Result<()> {
        let old = self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut old) = old {
            // Without its pipe it would remove the folder.
            old.guard.kill()?;
            old.guard.wait()?;
        }
        self.run()
    }
}

#[expect(clippy::disallowed_methods, reason = "the start of a program is waited for by the wall clock")]
fn pause() {
    std::thread::sleep(std::time::Duration::from_millis(100));
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            drop(running.pipe.take());
            // The shell has nothing else to do than to end.
            let _ = running.guard.wait();
        }
    }
}

//! The server process: started, killed, started again on the same folder.

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// First argument that makes this executable a server.
pub(crate) const SUBCOMMAND: &str = "sempre-server";

const START_DURATION_MAX: Duration = Duration::from_secs(30);

/// A server process, killed at the latest when this is dropped.
pub(crate) struct Server {
    data_dir: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts a server on a free port of this machine with its data in `data_dir`.
    pub(crate) async fn start(data_dir: &Path, log: &Path) -> Outcome<Self> {
        std::fs::create_dir_all(data_dir)?;
        let address = free_address()?;
        let child = spawn(data_dir, log, address)?;
        let mut server = Self { data_dir: data_dir.into(), log: log.into(), address, child };
        server.wait_until_it_listens().await?;
        Ok(server)
    }

    /// Takes the process away without a warning: SIGKILL.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.kill()?;
        let status = self.child.wait()?;
        println!("     it ended with: {status}");
        Ok(())
    }

    /// Starts a new process on the same folder and the same port.
    pub(crate) async fn restart(&mut self) -> Outcome {
        self.child = spawn(&self.data_dir, &self.log, self.address)?;
        self.wait_until_it_listens().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn wait_until_it_listens(&mut self) -> Outcome {
        let begin = Instant::now();
        while tokio::net::TcpStream::connect(self.address).await.is_err() {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                return Err(format!("the server ended at once with {status}\n{log}").into());
            }
            if begin.elapsed() > START_DURATION_MAX {
                return Err(format!("the server does not listen on {}", self.address).into());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port nobody listens on, below those the system hands out: it stays free between death and restart.
fn free_address() -> Outcome<SocketAddr> {
    let seed = std::process::id() as u16 % 10_000;
    (0..10_000)
        .map(|step| SocketAddr::from((Ipv4Addr::LOCALHOST, 20_000 + (seed + step) % 10_000)))
        .find(|address| TcpListener::bind(address).is_ok())
        .ok_or_else(|| "no free port from 20000 to 29999".into())
}

fn spawn(data_dir: &Path, log: &Path, address: SocketAddr) -> Outcome<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = command(data_dir, address.port())?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(command.spawn()?)
}

/// `ORDERS_SERVER_BIN` names another Temporal-compatible dev server to run the demo against.
fn command(data_dir: &Path, port: u16) -> Outcome<Command> {
    let port = port.to_string();
    if let Some(binary) = std::env::var_os("ORDERS_SERVER_BIN") {
        let mut command = Command::new(binary);
        command.args(["server", "start-dev", "--headless", "--port", &port, "--db-filename"]);
        command.arg(data_dir.join("server.db"));
        return Ok(command);
    }
    let mut command = Command::new(std::env::current_exe()?);
    command.args([SUBCOMMAND, "server", "start", "--port", &port, "--data-dir"]).arg(data_dir);
    Ok(command)
}

/// What the server process does: all of it is the `sempre` command line.
pub(crate) fn serve(args: impl Iterator<Item = OsString>) -> ExitCode {
    sempre::cli::run(std::iter::once(OsString::from("sempre")).chain(args))
}

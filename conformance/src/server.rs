//! The server under test: a child process that lives as long as a test needs it, or an address somebody gave.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crate::Outcome;

const START_DURATION_MAX: Duration = Duration::from_secs(30);

/// A server that answers at [`Server::address`]; a child process is killed with the last handle.
pub struct Server {
    address: String,
    child: Option<Child>,
}

/// The tests of one process share a server as long as one of them runs.
static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    /// The server all tests of this process use.
    pub fn shared() -> Outcome<Arc<Self>> {
        let mut shared = SHARED.lock().map_err(|_| "the server did not start for another test")?;
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(match std::env::var("SEMPRE_ADDRESS") {
            Ok(address) => Self { address, child: None },
            Err(_) => Self::start()?,
        });
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// `host:port` of the gRPC endpoint.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn start() -> Outcome<Self> {
        let binary = binary()?;
        let port = free_port()?;
        let mut child = Command::new(&binary)
            .args(["server", "start-dev", "--ip", "127.0.0.1", "--headless", "--log-level", "error"])
            .args(["--port", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", binary.display()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let begin = Instant::now();
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = child.try_wait()? {
                return Err(format!("{} ended at once: {status}", binary.display()).into());
            }
            if begin.elapsed() > START_DURATION_MAX {
                child.kill()?;
                return Err(format!("{} does not listen on {address}", binary.display()).into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { address: address.to_string(), child: Some(child) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Both fail only when the process is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A port nobody listens on, below those the system hands out: between this probe and the start of the server no
/// connection can take it.
fn free_port() -> Outcome<u16> {
    let seed = std::process::id() as u16 % 10_000;
    (0..10_000)
        .map(|step| 20_000 + (seed + step) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .ok_or_else(|| "no free port from 20000 to 29999".into())
}

/// `SEMPRE_BIN`, or the `sempre` built beside this test.
pub fn binary() -> Outcome<PathBuf> {
    if let Some(path) = std::env::var_os("SEMPRE_BIN") {
        return Ok(path.into());
    }
    let test = std::env::current_exe()?;
    let folders = test.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join("sempre")).find(|path| path.is_file());
    found.ok_or_else(|| {
        "no server to test: build it with `cargo build -p sempre`, or set SEMPRE_BIN to a binary \
         or SEMPRE_ADDRESS to host:port"
            .into()
    })
}

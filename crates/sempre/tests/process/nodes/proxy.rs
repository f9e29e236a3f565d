//! What stands between processes, so that they can be cut off from each other.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// Takes connections at a port of 127.0.0.1 and passes on what is said. Ends when dropped.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    silent: watch::Sender<bool>,
    _accepts: JoinSet<()>,
}

impl Proxy {
    /// `to` is where it goes, given the own port.
    pub(crate) async fn new(to: impl FnOnce(u16) -> SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let (silent, to) = (watch::Sender::new(false), to(port));
        let mut accepts = JoinSet::new();
        accepts.spawn(accept(listener, to, silent.clone()));
        Self { port, silent, _accepts: accepts }
    }

    /// Nothing gets through, and nobody is told: what was said meanwhile comes when that is over.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.silent.send_replace(silent);
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, silent: watch::Sender<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let (from, _) = listener.accept().await.expect("a connection");
        let silent = silent.clone();
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            if let Ok(there) = TcpStream::connect(to).await {
                let ((from_read, from_write), (there_read, there_write)) = (from.into_split(), there.into_split());
                tokio::join!(pass(from_read, there_write, silent.subscribe()), pass(there_read, from_write, silent.subscribe()));
            }
        });
    }
}

/// One direction, until it ends.
async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut silent: watch::Receiver<bool>) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let read = from.read(&mut buffer).await.unwrap_or(0);
        // The sender lives as long as the connections.
        let _ = silent.wait_for(|silent| !*silent).await;
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            // The other side may have gone.
            let _ = to.shutdown().await;
            return;
        }
    }
}

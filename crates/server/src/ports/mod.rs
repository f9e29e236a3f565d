//! Where a server listens: a table of ports, each with what answers there. How connections are secured is the same at
//! all of them.
//!
//! | port | answers | protocol |
//! |---|---|---|
//! | `--port` | gRPC | HTTP/2 |
//! | `--http-port` | the API as JSON, streams, Nexus, metrics | HTTP/1 |
//! | `--metrics-port` | metrics alone | HTTP/1 |
//! | `--ui-port` | the web UI, and what `--http-port` answers | HTTP/1 |
//!
//! Those of HTTP/1 are there with the feature `http` ([`crate::http_ports`]). A new port is a line of [`Answers`] and one call of [`Ports::listen`].

mod peer;
mod stream;
pub(crate) mod tls;

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::net::{TcpListener, TcpStream};

pub(crate) use self::{
    peer::{Names, Peer},
    stream::Stream,
};
use crate::ServerError;

/// What answers at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// All services, over HTTP/2.
    Grpc,
    /// All that is answered over HTTP/1.
    Http,
    /// Of that, metrics alone.
    Metrics,
    /// That, and the pages of the web UI.
    Pages,
}

impl Answers {
    /// What clients may speak here, as TLS names it.
    pub(crate) fn protocol(self) -> &'static [u8] {
        match self {
            Self::Grpc => b"h2",
            Self::Http | Self::Metrics | Self::Pages => b"http/1.1",
        }
    }
}

/// One line of the table.
pub(crate) struct Port {
    pub(crate) answers: Answers,
    pub(crate) address: SocketAddr,
    listener: TcpListener,
}

/// All ports of a server.
#[derive(Default)]
pub(crate) struct Ports {
    all: Vec<Port>,
    /// The one that is asked first, so that a busy port does not shut the others out.
    first: usize,
}

impl Ports {
    /// Listens at an address; `option` names its port in what an operator is told.
    pub(crate) async fn listen(&mut self, answers: Answers, address: SocketAddr, option: &'static str) -> Result<SocketAddr, ServerError> {
        let failed = |source| ServerError::Listen { address, option, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        self.all.push(Port { answers, address, listener });
        Ok(address)
    }

    /// The address of the port where this is answered.
    pub(crate) fn address(&self, answers: Answers) -> Option<SocketAddr> {
        self.all.iter().find(|port| port.answers == answers).map(|port| port.address)
    }

    /// The next connection, and which port it came to. Nothing is lost when the future is dropped.
    pub(crate) async fn accept(&mut self) -> (Answers, io::Result<(TcpStream, SocketAddr)>) {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<(Answers, io::Result<(TcpStream, SocketAddr)>)> {
        let count = self.all.len();
        for place in (0..count).map(|n| (self.first + n) % count) {
            let port = &self.all[place];
            if let Poll::Ready(accepted) = port.listener.poll_accept(cx) {
                self.first = (place + 1) % count;
                return Poll::Ready((port.answers, accepted));
            }
        }
        Poll::Pending
    }
}

/// A connection that is ready to be served, secured if there is TLS. `None`: the two did not come to terms.
pub(crate) async fn secured(
    stream: TcpStream,
    address: SocketAddr,
    answers: Answers,
    tls: Option<Arc<tls::Tls>>,
) -> Option<(Stream, Peer)> {
    let Some(tls) = tls else { return Some((Stream::Plain(stream), Peer::new(address, None))) };
    match tls.accept(stream, answers).await {
        Ok((stream, certificate)) => Some((Stream::Secure(Box::new(stream)), Peer::new(address, certificate))),
        Err(reason) => {
            tracing::debug!(%address, reason, "no TLS with a client");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_port_has_its_turn() {
        let mut ports = Ports::default();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let grpc = ports.listen(Answers::Grpc, any, "--port").await.unwrap();
        let http = ports.listen(Answers::Http, any, "--http-port").await.unwrap();
        assert_eq!((ports.address(Answers::Http), ports.address(Answers::Metrics)), (Some(http), None));
        // Both have clients waiting; neither is asked twice before the other.
        let _clients = [
            TcpStream::connect(grpc).await.unwrap(),
            TcpStream::connect(grpc).await.unwrap(),
            TcpStream::connect(http).await.unwrap(),
            TcpStream::connect(http).await.unwrap(),
        ];
        let mut turns = Vec::new();
        for _ in 0..4 {
            let (answers, accepted) = ports.accept().await;
            accepted.unwrap();
            turns.push(answers);
        }
        assert_eq!(turns.iter().filter(|answers| **answers == Answers::Grpc).count(), 2);
        assert_ne!(turns[0], turns[1]);
    }

    #[tokio::test]
    async fn a_port_in_use_is_told_with_its_option() {
        let mut ports = Ports::default();
        let taken = ports.listen(Answers::Grpc, ([127, 0, 0, 1], 0).into(), "--port").await.unwrap();
        let refused = ports.listen(Answers::Metrics, taken, "--metrics-port").await.unwrap_err().to_string();
        assert!(refused.contains("--metrics-port") && refused.contains("in use"), "{refused}");
    }
}

//! The port where other nodes call this one. It is there for nodes alone: who does not show the key of a node of the picture gets no HTTP,
//! and no word why ([`super::identity`]).
#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

use super::{
    Forward, NodeKey, WELCOME, from_node,
    identity::{KeyPrint, is_of_nodes, shown},
    messages, no_node, reach,
};
use crate::{
    ServerError,
    connection::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, SEND_BUFFER_BYTES, STREAM_WINDOW_BYTES},
    router::Router,
};

/// The option that names it.
pub(crate) const OPTION: &str = "--node-address";
/// Connections at once, those of strangers included until they have shown that they are none.
const CONNECTIONS_MAX: usize = 1024;
/// How long both may take to come to terms. A node gives up earlier; longer is for strangers only, whose connections keep others out.
const HANDSHAKE_MAX: Duration = Duration::from_secs(3);
/// Pause after a failed accept: the usual reason is a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Calls of one connection: polls of all workers at the other node among them. How much memory they hold is counted in any case.
const CALLS_MAX: u32 = 1 << 20;
/// A node that was silent for so long is asked whether it is there, and has so long to answer.
const PING_AFTER: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(5);
/// Headers of a call, with what the first node says of its caller.
const HEADER_BYTES_MAX: u32 = 256 << 10;

/// A port for other nodes, and the key that this node has until it ends. It answers when a server is bound with it
/// ([`crate::Server::bind_among`]).
pub struct NodePort {
    listener: TcpListener,
    address: SocketAddr,
    key: NodeKey,
}

impl NodePort {
    /// Listens; port 0 takes a free one. Makes a new key.
    pub async fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Listen { address, option: OPTION, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, key: NodeKey::generate().map_err(no_node_here)? })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the others have to know this node by.
    pub fn key_print(&self) -> KeyPrint {
        self.key.print()
    }

    pub(crate) fn key(&self) -> NodeKey {
        self.key.clone()
    }

    /// By what the others' keys are looked at.
    pub(crate) fn acceptor(&self, forward: &Forward) -> Result<TlsAcceptor, ServerError> {
        self.key.acceptor(Arc::clone(&forward.owners)).map_err(no_node_here)
    }

    /// Answers other nodes until `draining` turns true, and what they have asked until then.
    pub(crate) async fn serve(self, acceptor: TlsAcceptor, router: Router, forward: Arc<Forward>, mut draining: watch::Receiver<bool>) {
        let router = Arc::new(router);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                _ = draining.wait_for(|draining| *draining) => break,
                accepted = self.listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok(_) if connections.len() >= CONNECTIONS_MAX => {
                    tracing::warn!("too many connections at the port for nodes, one was closed")
                }
                Ok((stream, from)) => {
                    let connection = serve(stream, acceptor.clone(), Arc::clone(&router), Arc::clone(&forward), draining.clone());
                    connections.spawn(async move {
                        if let Err(reason) = connection.await {
                            tracing::debug!(%from, %reason, "a connection at the port for nodes ended");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection at the port for nodes");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        while connections.join_next().await.is_some() {}
    }
}

fn no_node_here(error: impl std::fmt::Display) -> ServerError {
    ServerError::Prepare { what: "this node".into(), reason: error.to_string() }
}

/// Serves a connection until it ends.
async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Arc<Router>,
    forward: Arc<Forward>,
    mut draining: watch::Receiver<bool>,
) -> Result<(), tonic::codegen::StdError> {
    stream.set_nodelay(true)?;
    let welcomed = async {
        let mut stream = acceptor.accept(stream).await?;
        let session = stream.get_ref().1;
        let key = shown(session.peer_certificates()).filter(|_| is_of_nodes(session.alpn_protocol()));
        let key = key.ok_or("it is no node")?;
        stream.write_u8(WELCOME).await?;
        stream.flush().await?;
        Ok::<_, tonic::codegen::StdError>((stream, key))
    };
    let (stream, key) = timeout(HANDSHAKE_MAX, welcomed).await??;
    let served = Arc::clone(&forward);
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let (router, forward) = (Arc::clone(&router), Arc::clone(&served));
        async move {
            // One that was removed is none any more, though its connection is open.
            let sender = from_node(&mut request).filter(|_| forward.is_node(&key));
            Ok::<_, Infallible>(match sender {
                Some(_) if request.uri().path() == reach::PATH => forward.reach().answer(&key),
                Some(sender) if request.uri().path() == messages::PATH => forward.message(&router, request, sender).await,
                Some(sender) => router.call_of_node(request, sender).await,
                None => no_node(),
            })
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(CALLS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        // The calls of all clients of the other node come here: that many of them are given up says nothing against it.
        .max_pending_accept_reset_streams(CALLS_MAX as usize)
        .max_local_error_reset_streams(None)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // What a removed node still waits for is nobody's: it may be cut off, and not know who of its callers may not call any more.
    let removed = forward.until_removed(&key);
    tokio::pin!(removed);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        _ = &mut removed => return Err("it is no node any more".into()),
        _ = draining.wait_for(|draining| *draining) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection => Ok(ended?),
        _ = removed => Err("it is no node any more".into()),
    }
}

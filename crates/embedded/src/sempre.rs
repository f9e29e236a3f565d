//! A server in this process.
#![expect(clippy::disallowed_methods, reason = "the socket is served beside; its end is waited for")]

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use sempre_engine::Engine;
use sempre_server::{Server, ServerError, Service};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{Builder, StartError};

/// The part that listens, while it does.
struct Listening {
    stop: oneshot::Sender<()>,
    served: JoinHandle<Result<(), ServerError>>,
}

struct Inner {
    service: Service,
    address: Option<SocketAddr>,
    listening: Mutex<Option<Listening>>,
}

/// A server in this process. Clones are the same server; it stops by [`Sempre::shutdown`], and when no clone and no
/// client of it is left. What was acknowledged is on disk at any time, if there is one.
#[derive(Clone)]
pub struct Sempre {
    inner: Arc<Inner>,
}

impl Sempre {
    /// Starts a server that keeps its data in a folder, which is made if it is not there.
    pub async fn open(folder: impl Into<PathBuf>) -> Result<Self, StartError> {
        Self::builder().folder(folder).start().await
    }

    /// Starts a server that keeps nothing. Runs may skip time in it ([`Builder::time_skipping`]).
    pub async fn in_memory() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// With other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn new(service: Service, server: Option<Server>) -> Self {
        let address = server.as_ref().map(Server::local_addr);
        let listening = server.map(|server| {
            let (stop, stopped) = oneshot::channel();
            // A dropped sender stops it too.
            let served = tokio::spawn(server.serve(async { drop(stopped.await) }));
            Listening { stop, served }
        });
        Self { inner: Arc::new(Inner { service, address, listening: Mutex::new(listening) }) }
    }

    /// Where it listens, if it does.
    pub fn address(&self) -> Option<SocketAddr> {
        self.inner.address
    }

    /// The engine, for calls without the SDK.
    pub fn engine(&self) -> &Engine {
        self.inner.service.engine()
    }

    /// All services as gRPC has them, without a socket.
    pub fn service(&self) -> &Service {
        &self.inner.service
    }

    /// Takes no new calls, answers open polls empty, finishes what is in flight, closes the store. Stop workers first:
    /// they finish what they have in hand.
    pub async fn shutdown(&self) {
        let listening = self.inner.listening.lock().unwrap_or_else(PoisonError::into_inner).take();
        match listening {
            None => self.inner.service.close().await,
            Some(Listening { stop, served }) => {
                // One that has failed is gone already.
                let _ = stop.send(());
                match served.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "the server had failed before it was stopped"),
                    Err(panic) => tracing::error!(%panic, "the server has stopped by a panic"),
                }
            }
        }
    }
}

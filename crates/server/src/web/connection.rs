//! One HTTP/1 connection, from its first byte to its last.
#![expect(clippy::disallowed_methods, reason = "lives of connections are counted by the wall clock")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::watch, time::sleep};

use super::{WebRouter, stall::Patient};
use crate::ports::{Peer, Stream};

/// Time for a request's headers to come; also what a connection may be idle between two requests.
const HEADER_WAIT: Duration = Duration::from_secs(120);
/// How long a client may read nothing of what it is sent.
const WRITE_WAIT: Duration = Duration::from_secs(30);
/// What a connection that was told to go still has to finish its request.
const GRACE: Duration = Duration::from_secs(70);

/// Serves a connection until it ends. Requests are told of `peer`, if anybody wants to know; `draining` turns true when the
/// server shuts down.
pub(crate) async fn run(stream: Stream, peer: Option<Arc<Peer>>, router: WebRouter, mut draining: watch::Receiver<bool>) {
    let service = service_fn(move |mut request: http::Request<Incoming>| {
        let router = router.clone();
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        async move { Ok::<_, Infallible>(router.call(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        // Not `half_close`: who closes has given its request up, and what answers it is dropped.
        .serve_connection(TokioIo::new(Patient::new(stream, WRITE_WAIT)), service);
    tokio::pin!(connection);
    tokio::select! {
        ended = &mut connection => return log_end(ended),
        _ = draining.wait_for(|draining| *draining) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = &mut connection => log_end(ended),
        () = sleep(GRACE) => tracing::debug!("a connection did not finish its request in time"),
    }
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

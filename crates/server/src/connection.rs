//! One HTTP/2 connection, from its first byte to its last (spec 09 §4.2).
//!
//! Pings a silent peer, says goodbye to idle and old connections, and lets calls finish before it
//! closes. Knows nothing of gRPC.
#![expect(clippy::disallowed_methods, reason = "lives of connections are counted by the wall clock")]

use std::{
    convert::Infallible,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep},
};

use crate::{
    answers,
    ports::{Peer, Stream},
    router::Router,
    unread::ReadOn,
};

/// Calls of one connection under way at once; a worker holds some dozens, a load generator hundreds.
const CALLS_MAX: u32 = 10_000;
/// What a peer may send on one stream, and on all of them, before it is read. A message has at most 4 MiB.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 1 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Larger than the protocol's 16 KiB: fewer frames for large payloads.
pub(crate) const FRAME_BYTES_MAX: u32 = 64 << 10;
/// Answers that wait to be sent, per stream.
pub(crate) const SEND_BUFFER_BYTES: usize = 1 << 20;
/// Tokens of authorization can be long.
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// Calls given up before they were begun: a worker that stops gives up all its polls at once.
const EARLY_RESETS_MAX: usize = 1000;

/// How long a connection lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// A connection without calls for so long (and up to twice as long) is closed.
    pub idle_max: Duration,
    /// A connection of this age is told to go; new calls use a new one. `None`: it may stay. Moving on
    /// only helps where there is another server to move to, and some clients lose a call by it.
    pub age_max: Option<Duration>,
    /// What a connection that was told to go still has to finish its calls.
    pub grace: Duration,
    /// A peer that was silent for so long is asked whether it is there.
    pub ping_after: Duration,
    /// It has so long to answer.
    pub ping_timeout: Duration,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            idle_max: Duration::from_secs(120),
            age_max: None,
            grace: Duration::from_secs(70),
            ping_after: Duration::from_secs(60),
            ping_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves a connection until it ends. Calls are told of `peer`, if anybody wants to know; `draining` turns true when the
/// server shuts down.
pub(crate) async fn run(
    stream: Stream,
    peer: Option<Arc<Peer>>,
    router: Router,
    settings: Arc<ConnectionSettings>,
    draining: watch::Receiver<bool>,
) {
    after_others(pin!(serve(stream, peer, router, settings, draining))).await;
}

async fn serve(
    stream: Stream,
    peer: Option<Arc<Peer>>,
    router: Router,
    settings: Arc<ConnectionSettings>,
    mut draining: watch::Receiver<bool>,
) {
    let calls = Arc::new(Calls::default());
    // A router is a dozen counted pointers that all threads share: a call takes one of its own connection instead.
    let router = Arc::new(router);
    let service = service_fn({
        let calls = Arc::clone(&calls);
        move |request: http::Request<Incoming>| {
            let (router, call) = (Arc::clone(&router), Call::begin(&calls));
            let mut request = request.map(|body| ReadOn::new(body, &router));
            if let Some(peer) = &peer {
                request.extensions_mut().insert(peer.clone());
            }
            async move {
                let response = match (is_grpc(&request), answers::takes_gzip(request.headers())) {
                    (true, true) => answers::packed(router.call(request).await),
                    (true, false) => router.call(request).await,
                    (false, _) => not_grpc(),
                };
                drop(call);
                Ok::<_, Infallible>(response)
            }
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(settings.ping_after)
        .keep_alive_timeout(settings.ping_timeout)
        .max_concurrent_streams(CALLS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(EARLY_RESETS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);

    let mut idle = interval_at(Instant::now() + settings.idle_max, settings.idle_max);
    idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut begun_before = 0;
    let age = async {
        match settings.age_max {
            Some(age_max) => sleep(age_max).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(age);
    loop {
        let reason = tokio::select! {
            biased;
            ended = &mut connection => return log_end(ended),
            () = &mut age => "age",
            _ = draining.wait_for(|draining| *draining) => "shutdown",
            _ = idle.tick() => {
                let begun = calls.begun.load(Ordering::Relaxed);
                if calls.open.load(Ordering::Relaxed) > 0 || begun != begun_before {
                    begun_before = begun;
                    continue;
                }
                "idle"
            }
        };
        tracing::debug!(reason, "closing a connection");
        break;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = &mut connection => log_end(ended),
        () = sleep(settings.grace) => tracing::debug!("a connection did not finish its calls in time"),
    }
}

/// Polls a connection behind the other tasks that are ready, not before them.
///
/// A connection is woken by each of its calls that has an answer. The runtime would let it run at once, and it would
/// write one answer, be woken by the next call, and write the next. Behind the others it finds all their answers and
/// writes them with one system call; the same holds for what it reads.
fn after_others<F: Future>(mut work: Pin<&mut F>) -> impl Future<Output = F::Output> {
    let mut has_waited = false;
    std::future::poll_fn(move |cx| {
        has_waited = !has_waited;
        if has_waited {
            // A task that wakes itself goes to the end of the line.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        work.as_mut().poll(cx)
    })
}

/// Browsers cannot send this without asking first, which nobody answers here: a page elsewhere that makes a viewer's browser call
/// with the viewer's certificate is not heard.
fn is_grpc<B>(request: &http::Request<B>) -> bool {
    let kind = request.headers().get(http::header::CONTENT_TYPE).map(http::HeaderValue::as_bytes).unwrap_or_default();
    request.method() == http::Method::POST && kind.starts_with(b"application/grpc")
}

/// As gRPC has it.
fn not_grpc() -> http::Response<tonic::body::Body> {
    let mut response = http::Response::new(tonic::body::Body::empty());
    *response.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

fn log_end(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
    }
}

/// The calls of a connection.
#[derive(Default)]
struct Calls {
    open: AtomicUsize,
    begun: AtomicU64,
}

/// One call under way; ends when dropped.
struct Call(Arc<Calls>);

impl Call {
    fn begin(calls: &Arc<Calls>) -> Self {
        calls.open.fetch_add(1, Ordering::Relaxed);
        calls.begun.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(calls))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn a_connection_runs_behind_the_tasks_that_are_ready() {
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let say = |word: &'static str| {
            let order = Arc::clone(&order);
            async move { order.lock().unwrap().push(word) }
        };
        let (connection, first, second) = (say("connection"), say("first"), say("second"));
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { after_others(pin!(connection)).await });
        tasks.spawn(first);
        tasks.spawn(second);
        while tasks.join_next().await.is_some() {}
        assert_eq!(*order.lock().unwrap(), ["first", "second", "connection"]);
    }
}

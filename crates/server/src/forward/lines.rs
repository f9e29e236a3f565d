//! Connections to other nodes: few, kept, opened when they are needed.
//!
//! | a call | is |
//! |---|---|
//! | that no connection takes | [`Sent::Not`]: nothing was done, it may be sent again |
//! | whose connection ends before its answer | [`Sent::Lost`]: it may have been done or not |
//! | that is given up here | given up there: its stream is reset |
//! | for a node that is not reached ([`super::reach`]) | [`Sent::Not`], at once; those under way are lost at the moment in which that is so |
//! | for one that has not been for so long that nobody will take its place | [`Sent::GivenUp`] |
//!
//! A connection that is silent is asked whether its other side is there ([`PING_AFTER`], [`PING_TIMEOUT`]); if it does not say so, it ends, and
//! with it the calls that wait for it. Where no connection comes about, another is opened after [`REOPEN_AFTER`] at the earliest: whoever calls
//! until then is told the same.
//!
//! The other side is a node as this one, so nothing of HTTP/2's care for floods by strangers is wanted: calls are given up by the thousand when
//! their callers have too little time, and a connection that is closed for that would break the calls of all others ([`GIVEN_UP_MAX`]).
#![expect(clippy::disallowed_methods, reason = "other nodes are waited for by the wall clock")]

mod breakable;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture, future::Shared};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http2::{self, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::Notify,
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::rustls::pki_types::ServerName;

use self::breakable::{Breakable, Breaker};
use super::{
    OWNER_WAIT_MAX, WELCOME,
    call::Answered,
    identity::{KeyPrint, NodeKey},
    owners::{Node, Owners},
};
use crate::connection::{CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, STREAM_WINDOW_BYTES};

/// Connections to one node. More than one, as each is served by one processor at either end.
const LINES: usize = 4;
/// Until both sides have come to terms; less than what a call waits for an owner.
const OPEN_MAX: Duration = Duration::from_secs(2);
/// A node that was silent for so long is asked whether it is there.
const PING_AFTER: Duration = Duration::from_secs(1);
/// It has so long to answer. Together they are about what a lease lasts: by then it is not the owner of anything any more.
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// After a connection that did not come about.
const REOPEN_AFTER: Duration = Duration::from_millis(50);
/// Calls that were given up, and whose answers may be on their way: what comes of those is dropped in silence. Of more each answer is told to be
/// late.
const GIVEN_UP_MAX: usize = 4096;
/// Headers of an answer; statuses have their details in there.
const HEADER_BYTES_MAX: u32 = 256 << 10;

type Requests = SendRequest<Full<Bytes>>;
/// A connection that is being opened, is open, or was.
type Line = Shared<BoxFuture<'static, Result<Opened, Failed>>>;

/// A connection that came about.
#[derive(Clone)]
struct Opened {
    requests: Requests,
    breaker: Breaker,
}

/// A connection that did not come about.
#[derive(Clone)]
struct Failed {
    reason: Arc<str>,
    when: Instant,
}

/// What has become of a call.
pub(crate) enum Sent {
    Answered(Answered<Incoming>),
    Not(Arc<str>),
    Lost(String),
    /// As before, and the node has not been reached for as long as an owner is waited for.
    GivenUp,
}

/// See the module.
pub(crate) struct Lines {
    key: NodeKey,
    owners: Arc<dyn Owners>,
    nodes: Mutex<HashMap<KeyPrint, Arc<ToNode>>>,
    /// What drives the connections.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Default)]
struct ToNode {
    lines: [Mutex<Option<Line>>; LINES],
    next: AtomicUsize,
    /// Asked by each call.
    is_unreached: AtomicBool,
    /// Since when, if it is so.
    unreached_since: Mutex<Option<Instant>>,
    /// Tells those that are being opened when it becomes so.
    unreached: Notify,
}

impl ToNode {
    /// Calls are not sent any more, and those under way are lost.
    fn close(&self) {
        for line in &self.lines {
            let line = locked(line).take();
            if let Some(Ok(opened)) = line.as_ref().and_then(Line::peek) {
                opened.breaker.cut();
            }
        }
        self.unreached.notify_waiters();
    }
}

impl Lines {
    pub(crate) fn new(key: NodeKey, owners: Arc<dyn Owners>) -> Self {
        Self { key, owners, nodes: Mutex::default(), tasks: Arc::default() }
    }

    /// Sends a call and waits for its answer.
    pub(crate) async fn send(&self, node: &Node, request: http::Request<Full<Bytes>>) -> Sent {
        let to = self.to(node);
        if to.is_unreached.load(Ordering::Acquire) {
            let since = *locked(&to.unreached_since);
            return match since.is_some_and(|since| since.elapsed() >= OWNER_WAIT_MAX) {
                true => Sent::GivenUp,
                false => Sent::Not(format!("{node} is not reached").into()),
            };
        }
        let opened = match self.line(&to, node).await {
            Ok(_) if to.is_unreached.load(Ordering::Acquire) => return Sent::Not(format!("{node} is not reached").into()),
            opened => opened,
        };
        send_on(opened, request).await
    }

    /// The same, whether or not the node is reached: to find out.
    pub(super) async fn probe(&self, node: &Node, request: http::Request<Full<Bytes>>) -> Sent {
        let to = self.to(node);
        send_on(self.line(&to, node).await, request).await
    }

    /// The node is not reached from now on, or is again.
    pub(super) fn set_unreached(&self, node: &Node, is_unreached: bool) {
        let to = self.to(node);
        *locked(&to.unreached_since) = is_unreached.then(Instant::now);
        to.is_unreached.store(is_unreached, Ordering::Release);
        if is_unreached {
            to.close();
        }
    }

    fn to(&self, node: &Node) -> Arc<ToNode> {
        let mut nodes = locked(&self.nodes);
        if !nodes.contains_key(&node.key) {
            // Those that have gone are forgotten when others come.
            nodes.retain(|key, _| self.owners.is_node(key));
        }
        Arc::clone(nodes.entry(node.key).or_default())
    }

    /// One of the node's connections, opened if it is not open.
    fn line(&self, to: &Arc<ToNode>, node: &Node) -> Line {
        let place = to.next.fetch_add(1, Ordering::Relaxed) % LINES;
        let mut line = locked(&to.lines[place]);
        if let Some(line) = line.as_ref().filter(|line| !is_spent(line)) {
            return line.clone();
        }
        let opening = open(self.key.clone(), node.clone(), Arc::clone(to), Arc::clone(&self.tasks)).boxed().shared();
        *line = Some(opening.clone());
        // It goes on though whoever has called gives up: it is for those who come then, too.
        let mut tasks = locked(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(opening.clone().map(drop));
        drop(tasks);
        opening
    }

    /// Connections that are open.
    #[cfg(test)]
    pub(crate) fn open(&self) -> usize {
        let nodes = locked(&self.nodes);
        let lines = nodes.values().flat_map(|node| &node.lines);
        lines.filter(|line| locked(line).as_ref().is_some_and(|line| line.peek().is_some_and(Result::is_ok) && !is_spent(line))).count()
    }
}

/// It has ended, or could not be opened some time ago.
fn is_spent(line: &Line) -> bool {
    match line.peek() {
        None => false,
        Some(Ok(opened)) => opened.requests.is_closed(),
        Some(Err(failed)) => failed.when.elapsed() >= REOPEN_AFTER,
    }
}

async fn send_on(opened: Result<Opened, Failed>, request: http::Request<Full<Bytes>>) -> Sent {
    let mut opened = match opened {
        Ok(opened) => opened,
        Err(failed) => return Sent::Not(failed.reason),
    };
    match opened.requests.try_send_request(request).await {
        Ok(answer) => Sent::Answered(Answered::of(answer)),
        Err(mut refused) => match refused.take_message() {
            Some(_) => Sent::Not(refused.into_error().to_string().into()),
            None => Sent::Lost(refused.into_error().to_string()),
        },
    }
}

async fn open(key: NodeKey, node: Node, to: Arc<ToNode>, tasks: Arc<Mutex<JoinSet<()>>>) -> Result<Opened, Failed> {
    let opened = tokio::select! {
        opened = timeout(OPEN_MAX, open_now(&key, &node, &tasks)) => opened,
        () = to.unreached.notified() => Ok(Err("it is not reached".into())),
    };
    let opened = opened.unwrap_or_else(|_| Err("it takes too long to come to terms".into()));
    opened.map_err(|reason| {
        tracing::debug!(%node, %reason, "no connection to another node");
        Failed { reason: format!("no connection to {node}: {reason}").into(), when: Instant::now() }
    })
}

async fn open_now(key: &NodeKey, node: &Node, tasks: &Mutex<JoinSet<()>>) -> Result<Opened, String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let connector = key.connector(node.key).map_err(|error| told(&error))?;
    let stream = TcpStream::connect(&node.address).await.map_err(|error| told(&error))?;
    stream.set_nodelay(true).map_err(|error| told(&error))?;
    let (stream, breaker) = Breakable::new(stream);
    // Whose key it is matters, not what it is called.
    let name = ServerName::try_from("node").map_err(|error| told(&error))?;
    let mut stream = connector.connect(name, stream).await.map_err(|error| told(&error))?;
    // The other side looks at this one's key when all is said here: without its word a call could be sent to who does not take it.
    let welcome = stream.read_u8().await.map_err(|error| told(&error))?;
    if welcome != WELCOME {
        return Err("it is not welcome there".into());
    }
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_reset_streams(GIVEN_UP_MAX)
        .max_local_error_reset_streams(None)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| told(&error))?;
    let mut tasks = locked(tasks);
    while tasks.try_join_next().is_some() {}
    tasks.spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to another node broke");
        }
    });
    Ok(Opened { requests, breaker })
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

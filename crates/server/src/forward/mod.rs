//! Any node answers any call: one that belongs to another node's shard goes there, and its answer comes back through here.
//!
//! ```text
//! client ─► router: access, rates, audit ─► key (table) ─► Owners: who has the shard
//!                                                ├─ here ──────► service ─► engine
//!                                                └─ a node ─► line (TLS) ─► its port ─► router ─► service ─► its engine
//! ```
//!
//! | at the first node | it |
//! |---|---|
//! | the shard is here, and the engine says so | answers |
//! | another node has it | sends the call there, with what it has decided about the caller; the other does not ask again |
//! | that one says that it is elsewhere, or cannot be reached | nothing was done: looks for a newer picture, and tries again, at longer and longer pauses |
//! | nobody has it | waits for a newer picture; for [`OWNER_WAIT_MAX`] in all, then UNAVAILABLE |
//! | no node has the process that waits for it | looks once for a newer picture, then answers: that process has gone |
//! | it is for all nodes | does it, and has all others do it at once; UNAVAILABLE if one of them does not say that it has |
//! | it is a poll, and the home of its queue moves | gives it up there, and looks for the owner anew |
//! | the other node is not reached ([`reach`]) | nothing is sent; as if it could not be reached. UNAVAILABLE at once when that has lasted for long |
//! | the answer is lost | UNAVAILABLE: it may have been done. Request ids make it safe to send it again |
//! | the caller hangs up, or his time is over | gives the call up there too |
//! | this server stops | ends polls empty, as its own engine does, and what else may wait for long; waits for other calls ([`FINISH_MAX`]) |
//!
//! A start stands at the gate of the node that makes it, and at no other: nothing of a start that waits elsewhere, or for an owner, keeps
//! others out here. Its namespace's rate is asked at the first node, when its message has come.
//!
//! A node that was sent a call and is not the owner, but has a newer picture than the sender and finds the owner in it, sends it on, once:
//! [`HOPS_MAX`]. A server alone has none of this.
#![expect(clippy::disallowed_methods, reason = "callers and other nodes are waited for by the wall clock")]

mod answer;
mod call;
mod identity;
mod key;
mod lines;
mod messages;
mod owners;
mod port;
mod reach;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::join_all;
use http::{HeaderMap, request::Parts};
use http_body::Body;
use http_body_util::{BodyExt, Full};
use sempre_core::Refusal;
use sempre_engine::CallClass;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, timeout},
};
use tonic::{Code, Status};

use self::{
    call::Answered,
    key::{Key, Rules},
    lines::{Lines, Sent},
};
pub(crate) use self::{
    call::{Sender, from_node, no_node},
    identity::NodeKey,
    messages::Messages,
    port::OPTION,
    reach::{Apart, Reach},
};
pub use self::{
    identity::{KeyPrint, NoKeyPrint},
    owners::{Found, Node, Of, Owner, Owners},
    port::NodePort,
};
use crate::{
    classes::Kind,
    frames::{BoundedMessages, PREFIX_BYTES},
    room::{Held, Waiter},
    router::{Response, Router, code_of, whole},
    start_gate::Whose,
    status,
};

/// What a node says first to another whose key it takes.
const WELCOME: u8 = 1;
/// Nodes that send a call on: the first, and one that knows better.
const HOPS_MAX: u8 = 2;
/// How long a call waits for somebody to have its shard.
const OWNER_WAIT_MAX: Duration = Duration::from_secs(5);
/// After the first try, if there is no newer picture: the other node's may be older than this one's, or a shard is on its way to its engine.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest: each is twice the one before.
const PAUSE_MAX: Duration = Duration::from_millis(400);
/// How often it is looked again whether somebody has a shard, though there is no newer picture.
const NOBODY_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer waits for the picture to say where the process is that has asked: it may have joined just now.
const PROCESS_WAIT_MAX: Duration = Duration::from_millis(500);
/// How long a node that stops waits for calls that are at others; part of what all its calls have.
const FINISH_MAX: Duration = Duration::from_secs(5);
/// Pauses of calls that were sent at once differ, by so many steps.
const STEPS: u32 = 8;

/// What callers are told.
const NO_OWNER: &str = "no node has taken this call on, please backoff and retry";
const LOST: &str = "the node that has this call did not answer, it may have been done; please backoff and retry";
const NOT_ALL: &str = "not all nodes have heard of this, please backoff and retry";
const STOPPING: &str = "this node is shutting down, please backoff and retry";

/// When the caller stops waiting; beside a call.
#[derive(Clone, Copy)]
pub(crate) struct Until(pub(crate) Instant);

/// What has become of calls, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Sent to another node.
    pub(crate) sent: AtomicU64,
    /// Taken from another node.
    pub(crate) taken: AtomicU64,
    /// Tried again, as their shard was elsewhere, or its node not reached.
    pub(crate) again: AtomicU64,
    /// Whose answer was lost.
    pub(crate) lost: AtomicU64,
    /// For which there was no owner in time.
    pub(crate) unowned: AtomicU64,
    /// Not calls of clients: what this engine has others do.
    pub(crate) messages_sent: AtomicU64,
    /// What others have this engine do.
    pub(crate) messages_taken: AtomicU64,
    /// Of those sent, those whose answer was lost.
    pub(crate) messages_lost: AtomicU64,
}

/// Which calls are given up that wait at other nodes, or for an owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    /// None.
    Not,
    /// Polls, and what else waits for something that may take long.
    Waits,
    /// All.
    All,
}

/// How many calls there are of some kind.
#[derive(Default)]
struct UnderWay {
    calls: AtomicUsize,
    none: Notify,
}

/// One of them, until it is dropped.
struct OneMore(Arc<UnderWay>);

impl UnderWay {
    fn one_more(self: &Arc<Self>) -> OneMore {
        self.calls.fetch_add(1, Ordering::AcqRel);
        OneMore(Arc::clone(self))
    }

    async fn until_none(&self) {
        loop {
            let none = self.none.notified();
            if self.calls.load(Ordering::Acquire) == 0 {
                return;
            }
            none.await;
        }
    }
}

impl Drop for OneMore {
    fn drop(&mut self) {
        if self.0.calls.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none.notify_waiters();
        }
    }
}

/// See the module.
pub(crate) struct Forward {
    owners: Arc<dyn Owners>,
    rules: Rules,
    lines: Arc<Lines>,
    reach: Arc<Reach>,
    stopping: watch::Sender<Stopping>,
    /// Calls of clients that may be at other nodes, and end by themselves.
    under_way: Arc<UnderWay>,
    pub(crate) counts: Arc<Counts>,
}

/// A call that is being answered.
struct Call {
    parts: Parts,
    frame: Bytes,
    kind: Kind,
    /// In whose line it waits, if it is a start.
    whose: Whose,
    /// What it holds of this server; a start has its turn in there.
    held: Option<Arc<Held>>,
}

impl Call {
    /// For this node's own services.
    fn here(&self) -> http::Request<tonic::body::Body> {
        let mut parts = self.parts.clone();
        if let Some(left) = self.left() {
            // Its time is counted anew from here on.
            call::take_time(&mut parts.headers, self.kind, left);
            if let Some(waiter) = parts.extensions.get_mut::<Waiter>() {
                waiter.came = Instant::now();
            }
        }
        http::Request::from_parts(parts, tonic::body::Body::new(Full::new(self.frame.clone())))
    }

    /// It is not known where it is done: a start stands before the gate, and lets others in meanwhile.
    fn step_aside(&self, router: &Router) {
        if let Some(held) = &self.held {
            held.stand_before(router.start_gate(), self.left());
        }
    }

    /// It is done here: a start waits for its turn. Refused if none comes.
    async fn step_in(&mut self) -> Result<(), Status> {
        let Some(held) = &self.held else { return Ok(()) };
        let Some((gate, wait)) = held.needs_turn() else { return Ok(()) };
        match gate.enter(self.whose, held.bytes(), wait).await {
            Ok(turn) => {
                held.let_in(turn);
                return Ok(());
            }
            Err(refused) if refused.may_be_told() => {}
            Err(refused) => {
                // What it holds goes at once; it is told later, so that it does not come again at once.
                self.frame = Bytes::new();
                held.let_go_of_body();
                refused.wait().await;
            }
        }
        Err(status::starts_wait())
    }

    /// What is left of the caller's time.
    fn left(&self) -> Option<Duration> {
        let until = self.parts.extensions.get::<Until>()?;
        Some(until.0.saturating_duration_since(Instant::now()))
    }
}

/// What has become of one try.
enum Tried {
    Answered(Response),
    /// Whoever was asked has not the shard, by a picture of this version.
    Elsewhere(u64),
    /// Nobody was asked.
    NotSent,
}

impl Forward {
    /// A node that answers nothing for as long as `silence` is not reached.
    pub(crate) fn new(owners: Arc<dyn Owners>, key: NodeKey, silence: Duration) -> Self {
        let lines = Arc::new(Lines::new(key, Arc::clone(&owners)));
        let reach = Arc::new(Reach::new(Arc::clone(&owners), Arc::clone(&lines), silence));
        let stopping = watch::Sender::new(Stopping::Not);
        Self { owners, rules: Rules::new(), lines, reach, stopping, under_way: Arc::default(), counts: Arc::default() }
    }

    /// Which other nodes this one reaches.
    pub(crate) fn reach(&self) -> &Arc<Reach> {
        &self.reach
    }

    /// The other nodes that serve.
    pub(crate) fn serving(&self) -> Vec<Arc<Node>> {
        let mut others = self.owners.others();
        others.retain(|node| self.owners.serves(&node.key));
        others
    }

    /// The way of this node's engine to those of the others.
    pub(crate) fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.owners), Arc::clone(&self.lines), Arc::clone(&self.counts))
    }

    /// Has this node's engine answer what another's asks.
    pub(crate) async fn message<B>(&self, router: &Router, request: http::Request<B>, sender: Sender) -> Response
    where
        B: Body<Data = Bytes>,
        B::Error: Into<tonic::codegen::StdError>,
    {
        self.counts.messages_taken.fetch_add(1, Ordering::Relaxed);
        messages::answer(router, request, &*self.owners, sender).await
    }

    /// Whether the other side of a connection is a node now.
    pub(crate) fn is_node(&self, key: &KeyPrint) -> bool {
        self.owners.is_node(key)
    }

    /// Resolves when who has this key is no node any more.
    pub(crate) async fn until_removed(&self, key: &KeyPrint) {
        owners::until_removed(&*self.owners, key).await;
    }

    /// Polls that wait at other nodes are given up, and what else may wait for long; waits for the end of other calls, up to a point.
    pub(crate) async fn finish(&self) {
        self.stopping.send_replace(Stopping::Waits);
        if timeout(FINISH_MAX, self.under_way.until_none()).await.is_err() {
            tracing::warn!("calls that are at other nodes are given up");
        }
    }

    /// All calls that wait at other nodes are given up, and new ones are not sent.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(Stopping::All);
    }

    /// Resolves when this node stops, and a call of this kind is given up for that.
    async fn until_stopped(&self, kind: Kind) {
        let at = if kind.waits { Stopping::Waits } else { Stopping::All };
        let mut stopping = self.stopping.subscribe();
        // The sender lives as long as this.
        let _ = stopping.wait_for(|stopping| *stopping >= at).await;
    }

    /// Answers a call wherever its shard is. `sender` is the node that has sent it; `None`: it is of a client of this one.
    pub(crate) async fn answer<B>(&self, router: &Router, request: http::Request<BoundedMessages<B>>, sender: Option<Sender>) -> Response
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<tonic::codegen::StdError> + Send + 'static,
    {
        let Some(rule) = self.rules.of(request.uri().path()) else {
            return router.serve(request.map(tonic::body::Body::new)).await;
        };
        let (parts, body) = request.into_parts();
        let held = body.held();
        let frame = match whole(body).await {
            Ok(frame) => frame,
            Err(refused) => return refused.into_http(),
        };
        let message = frame.get(PREFIX_BYTES..).map(|message| frame.slice_ref(message)).unwrap_or_default();
        let whose = if rule.kind.class == CallClass::Start { rule.namespace(&message, router.engine()) } else { None };
        let mut call = Call { parts, frame, kind: rule.kind, whose, held };
        call.step_aside(router);
        let _counted = (sender.is_none() && !rule.kind.waits).then(|| self.under_way.one_more());
        let key = rule.key(&message, router.engine());
        drop(message);
        match (key, sender) {
            (None, _) => match call.step_in().await {
                Ok(()) => router.serve(call.here()).await,
                Err(refused) => refused.into_http(),
            },
            (Some(Key::One(of)), None) => self.seek(router, of, &mut call).await,
            (Some(Key::One(of)), Some(sender)) => self.pass(router, of, &mut call, sender).await,
            (Some(Key::All), None) => self.tell_all(router, &call).await,
            (Some(Key::All), Some(_)) => {
                self.counts.taken.fetch_add(1, Ordering::Relaxed);
                router.serve(call.here()).await
            }
        }
    }

    /// Finds the owner, however often that changes.
    async fn seek(&self, router: &Router, of: Of, call: &mut Call) -> Response {
        let mut found = self.owners.find(of);
        if found.owner == Owner::Here && matches!(of, Of::Process(process) if process != router.engine().process()) {
            self.owners.look();
            let _ = timeout(PROCESS_WAIT_MAX, self.owners.newer(found.version)).await;
            found = self.owners.find(of);
        }
        let (mut since, mut pause) = (Instant::now(), PAUSE);
        let polls = call.kind.class == CallClass::Poll;
        loop {
            let begun = Instant::now();
            let tried = tokio::select! {
                biased;
                tried = self.attempt(router, of, call, &found, 0) => tried,
                // Tasks of its queue come to another node now.
                () = self.moved(of, &found), if polls => {
                    (found, since, pause) = (self.owners.find(of), Instant::now(), PAUSE);
                    continue;
                }
            };
            let newest = match tried {
                Tried::Answered(answer) => return answer,
                Tried::Elsewhere(version) => version,
                Tried::NotSent => found.version,
            };
            // It had an owner for long, and lost it: that is another search.
            if begun.elapsed() >= OWNER_WAIT_MAX {
                (since, pause) = (begun, PAUSE);
            }
            let Some(left) = OWNER_WAIT_MAX.checked_sub(since.elapsed()) else {
                self.counts.unowned.fetch_add(1, Ordering::Relaxed);
                return unavailable(NO_OWNER);
            };
            let tries = self.counts.again.fetch_add(1, Ordering::Relaxed);
            if newest > found.version || found.owner == Owner::Nobody {
                self.owners.look();
            }
            call.step_aside(router);
            // Where nobody has it, another try needs another picture, or that this node's lease lasts again.
            let wait = if found.owner == Owner::Nobody { NOBODY_PAUSE } else { spread(pause, tries) }.min(left);
            tokio::select! {
                biased;
                () = self.until_stopped(call.kind) => return stopped(call.kind),
                _ = timeout(wait, self.owners.newer(found.version)) => {}
            }
            let newer = self.owners.find(of);
            pause = if newer.version > found.version { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            found = newer;
        }
    }

    /// Resolves when somebody else has the shard, or nobody.
    async fn moved(&self, of: Of, found: &Found) {
        let mut version = found.version;
        loop {
            self.owners.newer(version).await;
            let newer = self.owners.find(of);
            if newer.owner != found.owner {
                return;
            }
            version = newer.version;
        }
    }

    /// Answers a call of another node, or says where it is not.
    async fn pass(&self, router: &Router, of: Of, call: &mut Call, sender: Sender) -> Response {
        self.counts.taken.fetch_add(1, Ordering::Relaxed);
        let found = self.owners.find(of);
        if found.version < sender.version {
            self.owners.look();
        }
        let knows_better = found.version > sender.version && sender.hop < HOPS_MAX;
        if found.owner != Owner::Here && !knows_better {
            return call::elsewhere(found.version);
        }
        match self.attempt(router, of, call, &found, sender.hop).await {
            Tried::Answered(answer) => answer,
            Tried::Elsewhere(version) => call::elsewhere(version.max(found.version)),
            Tried::NotSent => call::elsewhere(found.version),
        }
    }

    /// Does a call here, and has each other node do it. That may be done twice without harm.
    async fn tell_all(&self, router: &Router, call: &Call) -> Response {
        let (version, others) = (self.owners.version(), self.owners.others());
        // They are the last to hear of it.
        let sender = Sender { hop: HOPS_MAX, version };
        let mut told = Vec::with_capacity(others.len());
        for node in &others {
            told.push(self.send(node, call, sender));
        }
        let (here, told) = tokio::join!(router.serve(call.here()), join_all(told));
        if code_of(&here) != Code::Ok {
            return here;
        }
        let mut answer = here;
        for told in told {
            match told {
                Tried::Answered(told) if code_of(&told) == Code::Ok => {}
                Tried::Answered(refused) => answer = refused,
                Tried::Elsewhere(_) | Tried::NotSent => return unavailable(NOT_ALL),
            }
        }
        answer
    }

    /// Asks whoever has the shard, once. `hops`: how many nodes have sent the call on.
    async fn attempt(&self, router: &Router, of: Of, call: &mut Call, found: &Found, hops: u8) -> Tried {
        match &found.owner {
            Owner::Nobody => Tried::NotSent,
            Owner::Here => {
                if let Err(refused) = call.step_in().await {
                    return Tried::Answered(refused.into_http());
                }
                let mut answer = router.serve(call.here()).await;
                let elsewhere = answer.headers_mut().remove(status::ELSEWHERE_HEADER);
                let elsewhere = elsewhere.and_then(|shard| shard.to_str().ok()?.parse().ok());
                // What it needed of another shard is another matter.
                if elsewhere.is_some_and(|shard| of == Of::Shard(shard)) {
                    Tried::Elsewhere(found.version)
                } else {
                    Tried::Answered(answer)
                }
            }
            Owner::At(node) => self.send(node, call, Sender { hop: hops + 1, version: found.version }).await,
        }
    }

    /// Has another node answer.
    async fn send(&self, node: &Node, call: &Call, sender: Sender) -> Tried {
        let request = match call::to_node(&call.parts, call.frame.clone(), call.kind, sender, call.left()) {
            Ok(request) => request,
            Err(error) => return Tried::Answered(status::masked(call.parts.uri.path(), &error.to_string()).into_http()),
        };
        self.counts.sent.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            biased;
            sent = self.lines.send(node, request) => self.tried(node, sent, sender),
            // A process that stands still keeps its connections. What it was asked others can do by now, and it may have done it.
            () = self.until_removed(&node.key) => self.lose(node, format_args!("it is no node any more")),
            () = self.until_stopped(call.kind) => Tried::Answered(stopped(call.kind)),
        }
    }

    fn tried(&self, node: &Node, sent: Sent, sender: Sender) -> Tried {
        let version = sender.version;
        match sent {
            Sent::Answered(Answered::Call(answer)) => Tried::Answered(answer::relayed(answer, &self.counts)),
            Sent::Answered(Answered::Elsewhere(version)) => Tried::Elsewhere(version),
            Sent::Answered(Answered::NoNode) => {
                tracing::debug!(%node, "another node does not take this one for a node");
                self.owners.look();
                Tried::Elsewhere(version)
            }
            Sent::Not(reason) => {
                tracing::debug!(%reason, "a call did not reach another node");
                self.owners.look();
                Tried::Elsewhere(version)
            }
            // The node that has sent the call here may reach it.
            Sent::GivenUp if sender.hop > 1 => Tried::Elsewhere(version),
            Sent::GivenUp => {
                self.counts.unowned.fetch_add(1, Ordering::Relaxed);
                Tried::Answered(unavailable(NO_OWNER))
            }
            Sent::Answered(Answered::Junk(status)) => self.lose(node, format_args!("HTTP status {status}")),
            Sent::Lost(reason) => self.lose(node, format_args!("{reason}")),
        }
    }

    fn lose(&self, node: &Node, reason: std::fmt::Arguments<'_>) -> Tried {
        tracing::debug!(%node, %reason, "the answer of another node was lost");
        self.counts.lost.fetch_add(1, Ordering::Relaxed);
        Tried::Answered(lost().into_http())
    }
}

/// A pause from three quarters of this length to five quarters: calls that wait for the same do not come at once.
fn spread(pause: Duration, tries: u64) -> Duration {
    pause * 3 / 4 + pause * (tries % u64::from(STEPS)) as u32 / (2 * STEPS)
}

fn lost() -> Status {
    status::from_refusal(Refusal::Unavailable(LOST.into()))
}

fn unavailable(text: &'static str) -> Response {
    status::from_refusal(Refusal::Unavailable(text.into())).into_http()
}

/// What a call is answered that waits elsewhere when this node stops. A worker polls again, somewhere else.
fn stopped(kind: Kind) -> Response {
    if kind.class != CallClass::Poll {
        return unavailable(STOPPING);
    }
    let nothing = Full::new(Bytes::from_static(&[0; PREFIX_BYTES]));
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static("0"))]);
    let mut answer = http::Response::new(tonic::body::Body::new(nothing.with_trailers(async { Some(Ok(trailers)) })));
    answer.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/grpc"));
    answer
}

#[cfg(test)]
mod tests;

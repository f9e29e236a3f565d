//! What engines have each other do ([`sempre_engine::Peers`]), over the lines between nodes: a method beside the calls of clients, of which
//! only the port for nodes knows.
//!
//! | header | is |
//! |---|---|
//! | `sempre-hop`, `sempre-picture` | as of a call; such a message is never sent on |
//! | `sempre-shard` | the shard that it is for |
//!
//! The body is the engine's, as it is. So is that of the answer, with status 200; 421 and 403 are those of calls, and say that nothing was
//! done. With anything else the message may have been taken or not.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use sempre_engine::{CallClass, Peers, Sent as Told};

use super::{
    Counts,
    call::{self, Answered, Sender},
    lines::{Lines, Sent},
    owners::{Node, Of, Owner, Owners, until_removed},
};
use crate::{
    classes::Kind,
    room::Counted,
    router::{Response, Router, header_bytes},
};

/// The path of the method.
pub(super) const PATH: &str = "/sempre.node/Deliver";
const SHARD: HeaderName = HeaderName::from_static("sempre-shard");
/// Longer than what a client may send, as what becomes of that has more with it.
const BYTES_MAX: usize = 16 << 20;
/// What was taken on from a client must be carried to its end.
const KIND: Kind = Kind { class: CallClass::Complete, waits: false, by_anybody: false };

/// The way of an engine to those of the other nodes.
#[derive(Clone)]
pub(crate) struct Messages {
    owners: Arc<dyn Owners>,
    lines: Arc<Lines>,
    counts: Arc<Counts>,
}

impl Messages {
    pub(super) fn new(owners: Arc<dyn Owners>, lines: Arc<Lines>, counts: Arc<Counts>) -> Self {
        Self { owners, lines, counts }
    }

    async fn send(self, shard: u32, message: Bytes) -> Told {
        let found = self.owners.find(Of::Shard(shard));
        let node = match found.owner {
            Owner::At(node) => node,
            // The engine says that it is not here: it is on its way.
            Owner::Here => return Told::Elsewhere,
            Owner::Nobody => {
                self.owners.look();
                return Told::Elsewhere;
            }
        };
        let mut request = call::between_nodes(PATH, message, Sender { hop: 1, version: found.version });
        request.headers_mut().insert(SHARD, HeaderValue::from(shard));
        self.counts.messages_sent.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            biased;
            told = self.ask(&node, request, found.version) => told,
            // A process that stands still keeps its connections; others have its shards by now.
            () = until_removed(&*self.owners, &node.key) => self.lose(&"it is no node any more"),
        }
    }

    /// By a picture of this version.
    async fn ask(&self, node: &Node, request: http::Request<Full<Bytes>>, version: u64) -> Told {
        let answer = match self.lines.send(node, request).await {
            Sent::Answered(Answered::Call(answer)) => answer,
            Sent::Answered(Answered::Elsewhere(newest)) => {
                if newest > version {
                    self.owners.look();
                }
                return Told::Elsewhere;
            }
            Sent::Answered(Answered::NoNode) => {
                self.owners.look();
                return Told::Elsewhere;
            }
            Sent::Not(reason) => {
                tracing::debug!(%node, %reason, "a message did not reach another node");
                self.owners.look();
                return Told::Elsewhere;
            }
            Sent::GivenUp => return Told::Elsewhere,
            Sent::Answered(Answered::Junk(status)) => return self.lose(&format_args!("HTTP status {status}")),
            Sent::Lost(reason) => return self.lose(&reason),
        };
        match Limited::new(answer.into_body(), BYTES_MAX).collect().await {
            Ok(body) => Told::Answered(body.to_bytes()),
            Err(reason) => self.lose(&reason),
        }
    }

    fn lose(&self, reason: &dyn std::fmt::Display) -> Told {
        tracing::debug!(%reason, "what another node says to a message was lost");
        self.counts.messages_lost.fetch_add(1, Ordering::Relaxed);
        Told::Lost
    }
}

impl Peers for Messages {
    fn deliver(&self, shard: u32, message: Bytes) -> BoxFuture<'static, Told> {
        self.clone().send(shard, message).boxed()
    }
}

/// Has this node's engine answer a message of another.
pub(super) async fn answer<B>(router: &Router, request: http::Request<B>, owners: &dyn Owners, sender: Sender) -> Response
where
    B: Body<Data = Bytes>,
    B::Error: Into<tonic::codegen::StdError>,
{
    let (parts, body) = request.into_parts();
    let Some(shard) = parts.headers.get(SHARD).and_then(|shard| shard.to_str().ok()?.parse().ok()) else {
        return only(StatusCode::BAD_REQUEST);
    };
    let Ok(held) = router.room().enter(KIND, header_bytes(&parts.headers)) else { return only(StatusCode::SERVICE_UNAVAILABLE) };
    let message = match Limited::new(Counted::new(body, &held), BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => {
            tracing::debug!(%error, "a message of another node did not come whole, or there is no room for it");
            return only(StatusCode::SERVICE_UNAVAILABLE);
        }
    };
    match router.engine().receive(shard, message).await {
        Some(answer) => http::Response::new(tonic::body::Body::new(Full::new(answer))),
        None => {
            let version = owners.version();
            if version < sender.version {
                owners.look();
            }
            call::elsewhere(version)
        }
    }
}

fn only(status: StatusCode) -> Response {
    let mut answer = http::Response::new(tonic::body::Body::empty());
    *answer.status_mut() = status;
    answer
}

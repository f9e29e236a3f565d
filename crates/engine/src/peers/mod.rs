//! What one node has another do: messages between runs whose shards are at different nodes, and what schedules, batch jobs and the removal
//! of namespaces do to runs that are not at their own node.
//!
//! ```text
//! outbox, schedule, batch job ─► Away::ask ─► Peers (given by hand) ─► the other node ─► Engine::receive ─► as if it were its own
//!                                     ◄──────────── answer, or refusal ────────────────────────┘
//! ```
//!
//! | it comes to | and then |
//! |---|---|
//! | the shard is at the other node | it is done there, once its commit is durable the answer comes back |
//! | the other node says that it is elsewhere, or nobody has it | nothing was done: it is sent again, at longer and longer pauses, for [`ELSEWHERE_MAX`]; then `Elsewhere` |
//! | the shard has come here meanwhile | `Elsewhere` at once: whoever asks looks again |
//! | the answer is lost | UNAVAILABLE: it may have been done. Whoever asks does so again, under the same request ids |
//! | the bytes cannot be read there (of a newer version, or damaged) | UNAVAILABLE, and a line in the log: nothing was done, and nobody may take it for done |
//!
//! Who asks is always one who asks again until he is answered: a row of his says so. What a client asks is not sent this way, but as the
//! call that it is (`docs/cluster.md`). A server alone has no [`Peers`], and asks its own shards as ever.

pub(crate) mod answer;
mod receive;
pub(crate) mod record;
mod refusal;

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use prost::Message as _;
use sempre_core::{Refusal, Span, WorkflowKey};

use self::{
    answer::{Answer, AnswerRecord},
    record::{Request, RequestRecord},
};
use crate::shared::{STOPPING, Shared, internal};

/// How long something is sent again while nobody has its shard.
pub(crate) const ELSEWHERE_MAX: Span = Span::seconds(5);
/// First and longest pause before that.
const PAUSE_FIRST: Span = Span::millis(25);
const PAUSE_MAX: Span = Span::millis(400);

const LOST: &str = "the node that has the shard did not answer";
const UNREADABLE: &str = "another node cannot read what it is asked";

/// What has become of bytes for another engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// They came, and this is the answer.
    Answered(Bytes),
    /// The shard is elsewhere, nobody has it, or no connection came about: nothing was done.
    Elsewhere,
    /// There is no answer: it may have been done or not.
    Lost,
}

/// The way to the engines of other nodes.
pub trait Peers: Send + Sync + 'static {
    /// Brings bytes to the engine that has the shard, spread or single ([`crate::Engine::receive`]), and its answer back. It asks once, and
    /// ends with [`Sent::Lost`] when there can be no answer any more.
    fn deliver(&self, shard: u32, message: Bytes) -> BoxFuture<'static, Sent>;
}

/// A shard that another node has.
pub(crate) struct Away<'a> {
    shared: &'a Shared,
    peers: &'a Arc<dyn Peers>,
    shard: u32,
}

impl Shared {
    /// The way to the shard of a workflow, if it is not here.
    pub(crate) fn away(&self, workflow: &WorkflowKey) -> Option<Away<'_>> {
        let peers = self.peers.as_ref()?;
        let here = &self.shards.here;
        let shard = here.shard_of(workflow.slot());
        (!here.is(shard)).then_some(Away { shared: self, peers, shard: shard as u32 })
    }

    /// As [`Shared::away`], of a spread shard.
    pub(crate) fn away_shard(&self, shard: u32) -> Option<Away<'_>> {
        let peers = self.peers.as_ref()?;
        (!self.shards.here.is(shard as usize)).then_some(Away { shared: self, peers, shard })
    }

    /// As [`Shared::away`], of what there is once.
    pub(crate) fn away_single(&self, single: u32) -> Option<Away<'_>> {
        let peers = self.peers.as_ref()?;
        (!self.once.has(single)).then_some(Away { shared: self, peers, shard: single })
    }
}

impl Away<'_> {
    /// Has it done there. What may pass is asked again by who asks.
    pub(crate) async fn ask(self, request: Request) -> Result<Answer, Refusal> {
        let Self { shared, peers, shard } = self;
        let message = Bytes::from(RequestRecord { request: Some(request) }.encode_to_vec());
        let ends = shared.wall_now() + ELSEWHERE_MAX;
        let mut pause = PAUSE_FIRST;
        loop {
            if shared.stopping.load(Ordering::Acquire) {
                return Err(Refusal::Unavailable(STOPPING.into()));
            }
            match peers.deliver(shard, message.clone()).await {
                Sent::Answered(answer) => return answered(answer),
                Sent::Lost => return Err(Refusal::Unavailable(LOST.into())),
                Sent::Elsewhere if shared.has_shard(shard) || shared.wall_now() + pause > ends => return Err(Refusal::Elsewhere { shard }),
                Sent::Elsewhere => {}
            }
            shared.wall.sleep_until(shared.wall_now() + pause).await;
            pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
        }
    }
}

impl Away<'_> {
    /// As [`Away::ask`], without looking again for whoever has it.
    pub(crate) async fn ask_once(self, request: Request) -> Result<Answer, Refusal> {
        let Self { peers, shard, .. } = self;
        let message = Bytes::from(RequestRecord { request: Some(request) }.encode_to_vec());
        match peers.deliver(shard, message).await {
            Sent::Answered(answer) => answered(answer),
            Sent::Lost => Err(Refusal::Unavailable(LOST.into())),
            Sent::Elsewhere => Err(Refusal::Elsewhere { shard }),
        }
    }
}

/// What the other node's bytes say.
fn answered(answer: Bytes) -> Result<Answer, Refusal> {
    match AnswerRecord::decode(answer).ok().and_then(|record| record.answer) {
        Some(Answer::Refused(refusal)) => Err(refusal.refusal()),
        Some(Answer::Unreadable(())) => {
            tracing::warn!("another node cannot read what this one asks of it; it is asked again");
            Err(Refusal::Unavailable(UNREADABLE.into()))
        }
        Some(answer) => Ok(answer),
        None => Err(internal("the answer of another node")),
    }
}

/// Any bytes: a question that can be read is written and read again as the same; an answer is one, or a refusal that may pass.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz(bytes: &Bytes) {
    if let Some(request) = receive::request_of(bytes.clone()) {
        let record = RequestRecord { request: Some(request.clone()) };
        let again = receive::request_of(record.encode_to_vec().into());
        let again = RequestRecord { request: again };
        // A number that is none is not equal to itself.
        assert!(again == record || again.encode_to_vec() == record.encode_to_vec());
        match request {
            Request::Letter(letter) => {
                if let Some((sender, message, _)) = letter.open() {
                    drop(record::Letter::new(&sender, message));
                }
            }
            Request::Offers(offers) => offers.offers.into_iter().for_each(|offer| drop(offer.queued())),
            Request::Claim(claim) => drop((claim.offer.map(|offer| offer.queued()), claim.poller.map(|poller| poller.poller()))),
            Request::Query(query) => drop(query.queue.map(|queue| queue.queue())),
            Request::Nexus(nexus) => drop(nexus.queue.map(|queue| queue.queue())),
            _ => {}
        }
    }
    match answered(bytes.clone()) {
        Ok(Answer::Delivery(delivery)) => drop(delivery.delivery()),
        Ok(Answer::Callback(result)) => drop(result.result()),
        Ok(Answer::Operation(result)) => drop(result.result()),
        Ok(Answer::News(news)) => drop(record::message_of(news)),
        Ok(Answer::Ended(ended)) => drop(ended.ended()),
        Ok(_) | Err(_) => {}
    }
}

#[cfg(test)]
mod tests;

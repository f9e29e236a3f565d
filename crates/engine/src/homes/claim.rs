//! A home has a poll, and an offer of a run that another node has: that one starts the task, and gives the whole answer of the poll.
//!
//! | what comes of it | and then |
//! |---|---|
//! | the task | goes to the poll as it came |
//! | it is not wanted any more | the offer was out of date |
//! | the run's shard is elsewhere, or refuses | the offer comes back to its line after a while |
//! | the answer is lost, or the poll hangs up before it comes | the offer comes back; and the run is told that the task of this poll, if it was started, is lost: it offers it anew |

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures::FutureExt;
use prost::Message as _;
use sempre_core::{Input, Refusal, Reply, RunKey, Span, input::Poller, transition::QueueKind};

use super::record::{OfferMessage, PollerRecord};
use crate::{
    Engine,
    matching::Arrival,
    peers::record::{Answer, Claim as ClaimRecord, Letterhead, Lost, Request},
    shard::{
        message::{Ask, Body, Started},
        taken::TakenOffer,
    },
    shared::{Shared, internal},
};

/// How long the owner of a task that did not reach its poll is looked for; then its timeout brings the task back.
const TELL_MAX: Span = Span::seconds(30);
const PAUSE_FIRST: Span = Span::millis(50);
const PAUSE_MAX: Span = Span::seconds(2);

/// A task that another node may have started for a poll here. Dropped before it is delivered, or found not to be there, the run is told.
pub(crate) struct Away {
    told: Option<(RunKey, Lost)>,
    shared: Arc<Shared>,
}

impl Away {
    fn new(shared: Arc<Shared>, run: RunKey, kind: QueueKind, scheduled_event_id: i64, request_id: String) -> Self {
        let lost = Lost { run: Some(Letterhead::new(&run)), is_activity: kind == QueueKind::Activity, scheduled_event_id, request_id };
        Self { told: Some((run, lost)), shared }
    }

    /// The poll is being answered with it; or there is none.
    pub(crate) fn settled(mut self) {
        self.told = None;
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        let Some((run, lost)) = self.told.take() else { return };
        if !self.shared.stopping.load(Ordering::Acquire) {
            self.shared.stats.lost_polls.add(1);
            let told = tell(self.shared.clone(), run, lost);
            self.shared.spawner.spawn("sempre lost poll", told.boxed());
        }
    }
}

/// Tells a run, wherever it is, that a task did not reach its poll.
async fn tell(shared: Arc<Shared>, run: RunKey, lost: Lost) {
    let ends = shared.wall_now() + TELL_MAX;
    let mut pause = PAUSE_FIRST;
    while shared.wall_now() < ends && !shared.stopping.load(Ordering::Acquire) {
        let told = match shared.away(&run.workflow) {
            None => shared.apply_to(run.clone(), input(&lost)).await.map(drop),
            Some(away) => away.ask(Request::Lost(lost.clone())).await.map(drop),
        };
        match told {
            Err(refusal) if refusal.may_pass() => {}
            // What is refused is over.
            _ => return,
        }
        shared.wall.sleep_until(shared.wall_now() + pause).await;
        pause = Span((pause.0 * 2).min(PAUSE_MAX.0));
    }
}

pub(crate) fn input(lost: &Lost) -> Input {
    let request_id = lost.request_id.clone();
    match lost.is_activity {
        true => Input::ActivityTaskLost { scheduled_event_id: lost.scheduled_event_id, request_id },
        false => Input::WorkflowTaskLost { request_id },
    }
}

/// Has the run's owner start the task of an offer for a poll. `None`: it was not wanted any more.
pub(crate) async fn claim(shared: &Arc<Shared>, taken: TakenOffer, poller: Poller) -> Result<Option<(Bytes, Away)>, Refusal> {
    let offer = &taken.queued().offer;
    let run = offer.run.clone();
    // It has come here just now.
    let here = || Refusal::Elsewhere { shard: shared.shard_of(run.workflow.slot()) as u32 };
    let away = shared.away(&run.workflow).ok_or_else(here)?;
    let guard = Away::new(shared.clone(), run.clone(), offer.queue.kind, offer.key.scheduled_event_id, poller.request_id.clone());
    let claim = ClaimRecord { offer: Some(OfferMessage::new(taken.queued(), Arrival::Known)), poller: Some(PollerRecord::new(&poller)) };
    match away.ask_once(Request::Claim(Box::new(claim))).await {
        Ok(Answer::Task(task)) => {
            drop(taken.decided());
            Ok(Some((task, guard)))
        }
        Ok(Answer::Done(())) => {
            guard.settled();
            shared.matching.not_needed(&taken.decided().offer);
            Ok(None)
        }
        Ok(_) => Err(internal("a task of another node")),
        Err(refusal @ Refusal::Elsewhere { .. }) => {
            // Nothing was done.
            guard.settled();
            Err(refusal)
        }
        Err(refusal) => Err(refusal),
    }
}

/// Starts the task of an offer for a poll at another node. `None`: it is not wanted any more.
pub(crate) async fn start(engine: &Engine, offer: OfferMessage, poller: Poller) -> Option<Result<Option<Bytes>, Refusal>> {
    let (queued, _) = offer.queued()?;
    Some(start_here(engine, TakenOffer::claimed(queued, engine.shared.clone()), poller).await)
}

async fn start_here(engine: &Engine, taken: TakenOffer, poller: Poller) -> Result<Option<Bytes>, Refusal> {
    let shared = &engine.shared;
    let run = taken.queued().offer.run.clone();
    let Started { run, reply, page, claim } =
        match shared.ask(run.workflow, Some(run.run), Ask::StartOffer(Box::new(taken), poller)).await?.body {
            Body::Task(started) => *started,
            Body::Reply(Reply::Obsolete, _) => return Ok(None),
            _ => return Err(internal("a task")),
        };
    let task = match reply {
        Reply::WorkflowTask { mut response, window } => {
            let (history, next_page_token) = shared.task_history(&run, window, page).await?;
            response.history = Some(history);
            response.next_page_token = next_page_token;
            response.encode_to_vec()
        }
        Reply::ActivityTask(response) => response.encode_to_vec(),
        _ => return Err(internal("a task")),
    };
    // From here on the home looks after it: it tells the run if the poll does not get it.
    claim.delivered();
    Ok(Some(task.into()))
}

//! What another node asks is done here, as if this node's own outbox, schedules or batch jobs asked it: the shard is here, or it is
//! refused. Nothing of it is sent on.

use bytes::Bytes;
use prost::Message as _;
use sempre_core::{NamespaceId, Refusal, WorkflowKey, keys::RunRecord, transition::OutboxMessage};
use sempre_store::StoreError;

use super::{
    answer::{Answer, AnswerRecord, CallbackRecord, DeliveryRecord, EndedRecord, OperationRecord},
    record::{Act, ChainOf, Letter, Request, RequestRecord, Start, row_of, run_bytes, workflow_of},
    refusal::RefusalRecord,
};
#[cfg(feature = "postgres")]
use crate::singles;
use crate::{
    Engine,
    batch::{self, Acts, OrderRecord},
    homes,
    nexus::system,
    once, removal,
    schedules::effects::{self, Found},
    shard::{child_end, delivery},
    shared::{SHARD_UNAVAILABLE, Shared, internal},
};

/// It is damaged, or of a newer version.
struct Unreadable;

impl Shared {
    /// The shard serves here, spread or single.
    pub(crate) fn has_shard(&self, shard: u32) -> bool {
        let here = &self.shards.here;
        if once::is_single(shard) { self.once.has(shard) } else { (shard as usize) < here.shards() && here.is(shard as usize) }
    }
}

impl Engine {
    /// Answers what another engine of the same data asks of a shard ([`crate::Peers`]). `None`: the shard is not here, and nothing was
    /// done. Dropping the future gives it up; what was done by then stays done.
    pub async fn receive(&self, shard: u32, message: Bytes) -> Option<Bytes> {
        if !self.shared.has_shard(shard) {
            return None;
        }
        let mut answer = self.answer(shard, message.clone()).await?;
        if is_final(&answer) {
            // The copies here may be older than those of who asks: nothing was done, and only what they say anew is final.
            answer = match self.shared.read_copies().await {
                Ok(()) => self.answer(shard, message).await?,
                Err(error) => {
                    tracing::warn!(%error, "copies of what there is once cannot be read for another node");
                    Answer::Refused(RefusalRecord::new(Refusal::Unavailable(SHARD_UNAVAILABLE.into())))
                }
            };
        }
        if matches!(answer, Answer::Unreadable(())) {
            tracing::warn!(shard, "what another node asks cannot be read");
        }
        Some(AnswerRecord { answer: Some(answer) }.encode_to_vec().into())
    }

    /// `None`: the shard is not here.
    async fn answer(&self, shard: u32, message: Bytes) -> Option<Answer> {
        let Some(request) = request_of(message) else { return Some(Answer::Unreadable(())) };
        match carry_out(self, request).await {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(Refusal::Elsewhere { shard: other })) if other == shard => None,
            Ok(Err(refusal)) => Some(Answer::Refused(RefusalRecord::new(refusal))),
            Err(Unreadable) => Some(Answer::Unreadable(())),
        }
    }
}

/// Nothing was done, for a reason that may be an old copy of what there is once, and whoever asks will not ask again.
fn is_final(answer: &Answer) -> bool {
    match answer {
        Answer::Refused(refusal) => match refusal.clone().refusal() {
            Refusal::NotFound(_) | Refusal::AlreadyStarted { .. } | Refusal::ActivityAlreadyStarted { .. } => false,
            refusal => !refusal.may_pass(),
        },
        Answer::Delivery(delivery) => delivery.is_refused(),
        Answer::Callback(result) => result.is_refused(),
        Answer::Operation(result) => result.is_refused(),
        _ => false,
    }
}

impl Shared {
    /// Reads namespaces and deployments anew, unless they are here.
    #[cfg(feature = "postgres")]
    async fn read_copies(&self) -> Result<(), StoreError> {
        once::reread(self, singles::NAMESPACES).await?;
        once::reread(self, singles::DEPLOYMENTS).await
    }

    /// There are nodes over PostgreSQL only.
    #[cfg(not(feature = "postgres"))]
    async fn read_copies(&self) -> Result<(), StoreError> {
        std::future::ready(Ok(())).await
    }

    /// A namespace that who asks knows. One that was deleted is known, as long as there is anything of it.
    async fn knows(&self, namespace: NamespaceId) -> Result<(), Refusal> {
        if self.namespaces.by_id(namespace).is_none() && (self.read_copies().await.is_err() || self.namespaces.by_id(namespace).is_none()) {
            return Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into()));
        }
        Ok(())
    }
}

pub(super) fn request_of(message: Bytes) -> Option<Request> {
    RequestRecord::decode(message).ok()?.request
}

type Answered = Result<Result<Answer, Refusal>, Unreadable>;

fn workflow(record: Option<&RunRecord>) -> Result<WorkflowKey, Unreadable> {
    workflow_of(record).ok_or(Unreadable)
}

/// `Done` for nothing.
fn text(found: Option<String>) -> Answer {
    found.map_or(Answer::Done(()), Answer::Text)
}

async fn carry_out(engine: &Engine, request: Request) -> Answered {
    let shared = &*engine.shared;
    if let Some(namespace) = request.namespace()
        && let Err(refusal) = shared.knows(namespace).await
    {
        return Ok(Err(refusal));
    }
    Ok(match request {
        Request::Letter(letter) => open(shared, *letter).await?,
        Request::StartedBy(asked) => {
            let workflow = workflow(asked.workflow.as_ref())?;
            let run = delivery::started_by_here(shared, workflow, asked.request_id).await;
            run.map(|run| run.map_or(Answer::Done(()), |run| Answer::Run(run_bytes(run))))
        }
        Request::Abandon(asked) => {
            let parent = asked.parent.as_ref().and_then(|parent| parent.key()).ok_or(Unreadable)?;
            let child = workflow(asked.workflow.as_ref())?;
            delivery::abandon_here(shared, &parent, child, &asked.run_id).await.map(|_| Answer::Done(()))
        }
        Request::Start(start) => {
            let Start { workflow: record, request, watcher } = *start;
            let workflow = workflow(record.as_ref())?;
            effects::start_here(shared, workflow, request.ok_or(Unreadable)?, watcher).await.map(Answer::Text)
        }
        Request::Find(asked) => {
            let workflow = workflow(asked.workflow.as_ref())?;
            effects::find_here(shared, workflow, asked.request_id).await.map(text)
        }
        Request::Stop(stop) => {
            let workflow = workflow(stop.workflow.as_ref())?;
            effects::stop_here(shared, workflow, stop).await.map(|()| Answer::Done(()))
        }
        Request::Chain(chain) => match effects::chain_here(shared, workflow(chain.workflow.as_ref())?, &chain.first_run_id).await {
            Ok(Found::Status(status)) => Ok(Answer::Status(status)),
            Ok(Found::Gone) => Ok(Answer::Done(())),
            Ok(Found::Unknown) => Err(internal("the state of a chain")),
            Err(refusal) => Err(refusal),
        },
        Request::End(chain) => {
            let workflow = workflow(chain.workflow.as_ref())?;
            let ended = effects::end_here(shared, workflow, &chain.first_run_id, chain.status).await;
            ended.map(|ended| ended.map_or(Answer::Done(()), |ended| Answer::Ended(EndedRecord::new(ended))))
        }
        Request::Act(act) => {
            let Act { namespace, token, reason, order, target } = *act;
            let target = target.ok_or(Unreadable)?.into();
            // One that a newer version has is not read: it is no order to do nothing.
            let order = order.filter(OrderRecord::has_operation).ok_or(Unreadable)?;
            let caller = batch::Caller { namespace, token, reason };
            let acted = batch::act_here(engine, &caller, &order, &target).await;
            acted.map(|acted| Answer::Acted(acted == batch::Acted::Before))
        }
        Request::ChainOf(ChainOf { target, is_activity }) => {
            let acts = if is_activity { Acts::OnActivities } else { Acts::OnWorkflows };
            batch::chain_here(engine, acts, &workflow(target.as_ref())?).await.map(Answer::Text)
        }
        Request::Offers(offers) => {
            homes::take(&shared.matching, offers).ok_or(Unreadable)?;
            // While the lease holds, whoever gets the home next reads the rows of these. After it, he may have read them before, and nobody
            // would know of them.
            if shared.is_current() { Ok(Answer::Done(())) } else { Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())) }
        }
        Request::Claim(claim) => {
            let (offer, poller) = claim.offer.zip(claim.poller).ok_or(Unreadable)?;
            let task = homes::claim::start(engine, offer, poller.poller()).await.ok_or(Unreadable)?;
            task.map(|task| task.map_or(Answer::Done(()), Answer::Task))
        }
        Request::Worker(line) => {
            let line = line.queue().ok_or(Unreadable)?;
            let version = line.version.as_ref().ok_or(Unreadable)?;
            match shared.namespaces.by_id(line.namespace) {
                Some(namespace) => engine.put_on_record(&namespace, version, line.kind, &line.name).await.map(|()| Answer::Done(())),
                // It will be known here in a moment.
                None => Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())),
            }
        }
        Request::Query(query) => homes::asks::query(&engine.shared, *query).await.ok_or(Unreadable)?,
        Request::Nexus(request) => homes::asks::nexus(&engine.shared, *request).await.ok_or(Unreadable)?,
        Request::Lines(lines) => homes::lines::told(shared, lines).ok_or(Unreadable)?,
        Request::Lost(lost) => {
            let run = lost.run.as_ref().and_then(|run| run.key()).ok_or(Unreadable)?;
            shared.apply_to(run, homes::claim::input(&lost)).await.map(|_| Answer::Done(()))
        }
        Request::Delete(run) => {
            let run = run.key().ok_or(Unreadable)?;
            removal::delete_here(shared, run.workflow, run.run).await.map(|()| Answer::Done(()))
        }
    })
}

/// A message of an outbox.
async fn open(shared: &Shared, letter: Letter) -> Answered {
    let (sender, message, tried) = letter.open().ok_or(Unreadable)?;
    Ok(match &message {
        OutboxMessage::Callback(call) => {
            let told = delivery::call_back_here(shared, &sender, call).await;
            told.map(|result| Answer::Callback(CallbackRecord::new(result)))
        }
        OutboxMessage::StartOperation(call) => match system::request_of(shared, &sender, call) {
            Ok(request) => Ok(Answer::Operation(OperationRecord::new(system::start_here(shared, request).await))),
            Err(refused) => Ok(Answer::Operation(OperationRecord::new(refused))),
        },
        OutboxMessage::AskChild(child) => child_end::news(shared, &sender, child).await.map(|news| match news {
            None => Answer::Done(()),
            Some(news) => Answer::News(row_of(&sender, OutboxMessage::ChildClosed { parent: sender.clone(), news: Box::new(news) })),
        }),
        // A handler is asked by who has the caller.
        OutboxMessage::CancelOperation(_) => return Err(Unreadable),
        // Its namespace is known to the sender, and will be here.
        message if delivery::target(shared, &sender, message).is_none() => Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())),
        message => match delivery::attempt_here(shared, &sender, message, tried).await {
            Ok(delivery) => DeliveryRecord::new(delivery).map(Answer::Delivery).ok_or_else(|| internal("what comes of a message to a run")),
            Err(refusal) => Err(refusal),
        },
    })
}

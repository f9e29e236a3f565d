//! What another node asks is done here, as if this node's own outbox, schedules or batch jobs asked it: the shard is here, or it is
//! refused. Nothing of it is sent on.

use bytes::Bytes;
use prost::Message as _;
use sempre_core::{
    Refusal, WorkflowKey,
    keys::{OutboxRecord, RunRecord},
    transition::{OutboxEntry, OutboxMessage},
};

use super::{
    record::{
        Act, Answer, AnswerRecord, CallbackRecord, ChainOf, DeliveryRecord, EndedRecord, Letter, OperationRecord, Request, RequestRecord,
        Start, run_bytes, workflow_of,
    },
    refusal::RefusalRecord,
};
use crate::{
    Engine,
    batch::{self, Acts},
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
        let answer = match request_of(message) {
            None => Answer::Unreadable(()),
            Some(request) => match carry_out(self, request).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(Refusal::Elsewhere { shard: other })) if other == shard => return None,
                Ok(Err(refusal)) => Answer::Refused(RefusalRecord::new(refusal)),
                Err(Unreadable) => Answer::Unreadable(()),
            },
        };
        if matches!(answer, Answer::Unreadable(())) {
            tracing::warn!(shard, "what another node asks cannot be read");
        }
        Some(AnswerRecord { answer: Some(answer) }.encode_to_vec().into())
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
            let caller = batch::Caller { namespace, token, reason };
            let acted = batch::act_here(engine, &caller, &order.ok_or(Unreadable)?, &target).await;
            acted.map(|acted| Answer::Acted(acted == batch::Acted::Before))
        }
        Request::ChainOf(ChainOf { target, is_activity }) => {
            let acts = if is_activity { Acts::OnActivities } else { Acts::OnWorkflows };
            batch::chain_here(engine, acts, &workflow(target.as_ref())?).await.map(Answer::Text)
        }
        Request::Delete(run) => {
            let run = run.key().ok_or(Unreadable)?;
            removal::delete_here(shared, run.workflow, run.run).await.map(|()| Answer::Done(()))
        }
    })
}

/// A message of an outbox.
async fn open(shared: &Shared, letter: Letter) -> Answered {
    let (sender, message) = letter.open().ok_or(Unreadable)?;
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
            Some(news) => {
                let message = OutboxMessage::ChildClosed { parent: sender.clone(), news: Box::new(news) };
                Answer::News(Box::new(OutboxRecord::new(&sender, &OutboxEntry { id: 0, message })))
            }
        }),
        // A handler is asked by who has the caller.
        OutboxMessage::CancelOperation(_) => return Err(Unreadable),
        // Its namespace is known to the sender, and will be here.
        message if delivery::target(shared, &sender, message).is_none() => Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())),
        message => match delivery::attempt_here(shared, &sender, message).await {
            Ok(delivery) => DeliveryRecord::new(delivery).map(Answer::Delivery).ok_or_else(|| internal("what comes of a message to a run")),
            Err(refusal) => Err(refusal),
        },
    })
}

//! What all parts of one engine share. No part of it is process-wide.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use futures::FutureExt;
use sempre_core::{Input, Refusal, Reply, RunId, RunKey, SlotId, Timestamp, WorkflowKey, flow::RuleRecord, transition::QueueName};
use sempre_store::Store;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};

use crate::{
    AlertSender, CallbackSender, Clock, Lease, Peers, Settings, Spawner, Stats, VirtualTime,
    alerts::Alerts,
    batch::Batches,
    calls::{access::ApiKeys, endpoints::EndpointRecord},
    cron::Cron,
    deployments::record::DeploymentRecord,
    flow::Flow,
    history::slice::Page,
    homes::Homes,
    listing::Listing,
    matching::{Matching, queries::Queries},
    meta::Meta,
    namespaces::Namespaces,
    nexus::{OperationSender, breaker::Breakers, calls::NexusCalls},
    notices::Notices,
    once::Once,
    records::Records,
    schedules::Schedules,
    shard::message::{Answer, Ask, Body, Message, RunMessage, Started},
    shards::Shards,
    virtual_time::Hold,
    workers::Workers,
};

/// Refusal while the engine stops or after it has failed.
pub(crate) const STOPPING: &str = "server is shutting down";
/// Refusal when a shard could not commit.
pub(crate) const SHARD_UNAVAILABLE: &str = "shard unavailable, please backoff and retry";

/// See the module.
pub(crate) struct Shared {
    pub(crate) store: Arc<dyn Store>,
    /// What happens to runs and schedules goes by it.
    pub(crate) clock: Arc<dyn Clock>,
    /// What callers wait goes by it: the same clock, unless that one is virtual.
    pub(crate) wall: Arc<dyn Clock>,
    /// The clock, if it is virtual.
    pub(crate) virtual_time: Option<VirtualTime>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
    /// Tells tokens of this process from those of others.
    pub(crate) process: u64,
    pub(crate) stats: Arc<Stats>,
    pub(crate) namespaces: Namespaces,
    pub(crate) meta: Meta,
    pub(crate) endpoints: Records<EndpointRecord>,
    pub(crate) deployments: Records<DeploymentRecord>,
    pub(crate) api_keys: ApiKeys,
    pub(crate) batches: Batches,
    pub(crate) flow_rules: Records<RuleRecord>,
    pub(crate) flow: Flow,
    pub(crate) notices: Notices,
    pub(crate) alerts: Alerts,
    pub(crate) alert_sender: Arc<dyn AlertSender>,
    pub(crate) workers: Workers,
    pub(crate) listing: Listing,
    pub(crate) schedules: Schedules,
    pub(crate) callbacks: Arc<dyn CallbackSender>,
    pub(crate) operations: Arc<dyn OperationSender>,
    pub(crate) nexus_calls: NexusCalls,
    /// Which Nexus endpoints seem to be down.
    pub(crate) breakers: Breakers,
    /// Those of the hosts that completion callbacks go to.
    pub(crate) callback_breakers: Breakers,
    pub(crate) matching: Arc<Matching<Started>>,
    /// Of a node among several: offers to queues whose home is another node.
    pub(crate) homes: Option<Arc<Homes>>,
    pub(crate) queries: Queries,
    pub(crate) cron: Cron,
    /// Resets under way: each holds a part of a history in memory.
    pub(crate) resets: Semaphore,
    /// Tells the removal of namespaces to look again.
    pub(crate) removal: Notify,
    /// Checks of versions under way.
    pub(crate) checks: Arc<Semaphore>,
    /// One backup at a time.
    pub(crate) backup: Arc<Semaphore>,
    /// Which of what there is once is here.
    pub(crate) once: Arc<Once>,
    /// Says whether what is known of shards is the newest there is. `None`: nobody else can have them.
    pub(crate) lease: Option<Arc<dyn Lease>>,
    /// The way to the engines of other nodes. `None`: there are none.
    pub(crate) peers: Option<Arc<dyn Peers>>,
    /// Which shards are here, and how they are reached.
    pub(crate) shards: Shards,
    pub(crate) stopping: AtomicBool,
    pub(crate) fatal: watch::Sender<Option<String>>,
}

impl Shared {
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time as callers feel it.
    pub(crate) fn wall_now(&self) -> Timestamp {
        self.wall.now()
    }

    /// Virtual time stands still until the guard is dropped.
    pub(crate) fn hold(&self) -> Option<Hold> {
        self.virtual_time.as_ref().map(VirtualTime::hold)
    }

    /// Nobody else can have changed what is said without a commit.
    pub(crate) fn is_current(&self) -> bool {
        self.lease.as_ref().is_none_or(|lease| lease.is_current())
    }

    /// The shard that owns a slot.
    pub(crate) fn shard_of(&self, slot: SlotId) -> usize {
        self.shards.here.shard_of(slot)
    }

    /// The engine cannot go on.
    pub(crate) fn fail(&self, reason: String) {
        tracing::error!(reason, "the engine has failed");
        self.stopping.store(true, Ordering::Release);
        self.matching.close();
        self.fatal.send_if_modified(|fatal| {
            let first = fatal.is_none();
            if first {
                *fatal = Some(reason);
            }
            first
        });
    }

    /// Asks a run's shard. `run` of `None` is the current run.
    pub(crate) async fn ask(&self, workflow: WorkflowKey, run: Option<RunId>, ask: Ask) -> Result<Answer, Refusal> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(Refusal::Unavailable(STOPPING.into()));
        }
        let _hold = self.hold();
        if self.listing.visibility.is_stuck() {
            return Err(self.listing.held_back());
        }
        let (sender, receiver) = oneshot::channel();
        let slot = workflow.slot();
        self.shards.check(slot)?;
        let message = Message::Run(Box::new(RunMessage { workflow, run, ask, reply: Some(sender) }));
        match self.shards.inbox_of(slot).try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.stats.overloads.add(1);
                return Err(Refusal::Overloaded("too many requests wait for this shard"));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(Refusal::Unavailable(STOPPING.into())),
        }
        receiver.await.unwrap_or_else(|_| Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into())))
    }

    /// Asks and expects a reply of core.
    pub(crate) async fn ask_reply(
        &self,
        workflow: WorkflowKey,
        run: Option<RunId>,
        ask: Ask,
    ) -> Result<(RunId, Reply, Option<Page>), Refusal> {
        let answer = self.ask(workflow, run, ask).await?;
        match answer.body {
            Body::Reply(reply, page) => Ok((answer.run, reply, page)),
            _ => Err(internal("a reply")),
        }
    }

    /// Applies an input.
    pub(crate) async fn apply(
        &self,
        workflow: WorkflowKey,
        run: Option<RunId>,
        input: Input,
    ) -> Result<(RunId, Reply, Option<Page>), Refusal> {
        self.ask_reply(workflow, run, Ask::Apply(input)).await
    }

    /// Applies an input to one run.
    pub(crate) async fn apply_to(&self, key: RunKey, input: Input) -> Result<(RunId, Reply, Option<Page>), Refusal> {
        self.apply(key.workflow, Some(key.run), input).await
    }

    /// Applies an input whose answer nobody waits for. Lost when the inbox is full, or the shard is elsewhere.
    pub(crate) fn order(&self, key: RunKey, input: Input) {
        let slot = key.workflow.slot();
        if !self.shards.here.has(slot) {
            return;
        }
        let inbox = self.shards.inbox_of(slot);
        let message = RunMessage { workflow: key.workflow, run: Some(key.run), ask: Ask::Apply(input), reply: None };
        if inbox.try_send(Message::Run(Box::new(message))).is_err() {
            self.stats.overloads.add(1);
        }
    }

    /// Starts reading more of a long line, if it runs low.
    pub(crate) fn page_in(self: &Arc<Self>, queue: &QueueName) {
        if let Some(mut claim) = self.matching.claim_page(queue) {
            let (shared, queue) = (self.clone(), queue.clone());
            let read = async move {
                // On while the polls that wait may want what is behind the window.
                while shared.matching.page(&*shared.store, &queue, claim).await
                    && let Some(next) = shared.matching.claim_page(&queue)
                {
                    claim = next;
                }
            };
            self.spawner.spawn("sempre task queue page", Box::pin(read));
        }
    }

    /// Carries something out to its end, even if the caller leaves.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        name: &'static str,
        work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let hold = self.hold();
        let work = async move {
            let _hold = hold;
            // The caller may have left.
            let _ = sender.send(work.await);
        };
        self.spawner.spawn(name, work.boxed());
        receiver.await.unwrap_or_else(|_| Err(Refusal::Unavailable(STOPPING.into())))
    }

    /// The end of a wait of `longest`, by the caller's clock, which must leave the caller a second to take the answer.
    pub(crate) fn wait_until(&self, longest: sempre_core::Span, deadline: Option<Timestamp>) -> Timestamp {
        let full = self.wall_now() + longest;
        deadline.map_or(full, |d| full.min(d - sempre_core::Span::seconds(1)))
    }
}

/// Lets other tasks run: reads are done in the call, and decoding takes its time.
pub(crate) async fn give_way() {
    let mut waited = false;
    futures::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return std::task::Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// A part of the engine answered with something that does not fit the question: a bug of ours.
pub(crate) fn internal(expected: &str) -> Refusal {
    tracing::error!(expected, "an answer does not fit its question");
    Refusal::Unavailable(SHARD_UNAVAILABLE.into())
}

//! Long polls for tasks (spec 05 §2, §12).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::atomic::Ordering,
};

use bytes::Bytes;
use prost::Message as _;
use sempre_api::{
    History,
    v1::{
        common::{WorkerVersionCapabilities, WorkerVersionStamp},
        enums::TaskQueueKind,
        taskqueue::{PollerScalingDecision, TaskQueue},
        workflowservice::{
            PollActivityTaskQueueRequest, PollActivityTaskQueueResponse, PollNexusTaskQueueRequest, PollNexusTaskQueueResponse,
            PollWorkflowTaskQueueRequest, PollWorkflowTaskQueueResponse,
        },
    },
};
use sempre_core::{
    Limits, Refusal, Reply, Span, Timestamp,
    input::{Poller, Sdk},
    planted::{self, Bug},
    transition::{QueueKind, QueueName},
    validate,
};

use crate::{
    Engine,
    homes::claim::{Away, claim},
    matching::{
        Handed, Polled,
        caller::{Caller, Instance},
        held::{HeldNexus, HeldOffer, HeldQuery},
        queries::{QueryTask, QueryToken, What},
        scaling::Advice,
    },
    namespaces::Namespace,
    shard::{
        message::{Ask, Body, Started},
        taken::TakenOffer,
    },
    shared::{STOPPING, Shared, internal},
};

/// Offers whose runs cannot be asked that one poll passes over.
const PASSED_MAX: usize = 16;

/// What a worker is told that polls for a version set.
const VERSION_SETS_DISABLED: &str = "Worker versioning v0.1 (Version Set-based, deprecated) is disabled on this namespace.";

/// What a poll asks for.
struct Poll {
    queue: QueueName,
    poller: Poller,
    caller: Caller,
    /// When it came.
    since: Timestamp,
}

/// What a poll came to.
#[allow(clippy::large_enum_variant, reason = "taken apart at once; a box would be one more allocation for every task")]
enum Task {
    Started(Started),
    /// The answer of this poll, which another node has made.
    Away(Bytes, Away),
    Query(HeldQuery<Started>),
    Nexus(HeldNexus<Started>),
}

/// The queue a poll names, if it may be named so.
fn checked_queue(queue: Option<TaskQueue>, limits: &Limits) -> Result<TaskQueue, Refusal> {
    let queue = queue.ok_or_else(|| Refusal::invalid("taskQueue is not set"))?;
    if queue.name.is_empty() {
        return Err(Refusal::invalid("missing task queue name"));
    }
    validate::at_most(&queue.name, "taskQueue length exceeds limit", limits)?;
    if queue.name.starts_with("/_sys/") {
        return Err(Refusal::invalid("task queue name cannot start with reserved prefix /_sys/"));
    }
    Ok(queue)
}

/// The build that a worker says it is. One that counts on version sets to be given only its own tasks is refused:
/// there are none (spec 05 §10).
fn version(capabilities: Option<&WorkerVersionCapabilities>, binary_checksum: String) -> Result<Option<WorkerVersionStamp>, Refusal> {
    let stamp = |build_id: &str| WorkerVersionStamp { build_id: build_id.into(), use_versioning: false };
    match capabilities {
        Some(capabilities) if capabilities.use_versioning => Err(Refusal::PermissionDenied(VERSION_SETS_DISABLED.into())),
        Some(capabilities) => Ok(Some(stamp(&capabilities.build_id))),
        None => Ok((!binary_checksum.is_empty()).then(|| stamp(&binary_checksum))),
    }
}

fn decision(advice: Advice) -> Option<PollerScalingDecision> {
    advice.polls.map(|poll_request_delta_suggestion| PollerScalingDecision { poll_request_delta_suggestion })
}

impl Engine {
    /// The queue a poll means.
    pub(super) fn queue_of(&self, namespace: &Namespace, queue: Option<TaskQueue>, kind: QueueKind) -> Result<QueueName, Refusal> {
        let queue = checked_queue(queue, &self.shared.settings.limits)?;
        let sticky = kind == QueueKind::Workflow && queue.kind == TaskQueueKind::Sticky as i32;
        Ok(QueueName { namespace: namespace.id(), name: queue.name, kind, sticky, version: None })
    }

    /// `PollWorkflowTaskQueue`. Empty (no token) when no task came in time.
    #[allow(deprecated, reason = "the old version fields are what workers still send")]
    pub async fn poll_workflow_task(
        &self,
        request: PollWorkflowTaskQueueRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollWorkflowTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        self.check_identity(&request.identity)?;
        let options = request.deployment_options.as_ref();
        let normal_name = request.task_queue.as_ref().map_or_else(String::new, |queue| queue.normal_name.clone());
        let queue = self.queue_of(&namespace, request.task_queue, QueueKind::Workflow)?;
        if namespace.view.bad_binaries.contains(&request.binary_checksum) {
            return Err(Refusal::invalid(format!("Binary {} already marked as bad deployment.", request.binary_checksum)));
        }
        let own = self.worker(&namespace, options, &queue, Some(&normal_name)).await?;
        let stamp = version(request.worker_version_capabilities.as_ref(), request.binary_checksum)?;
        let queue = if queue.sticky { queue } else { queue.line(own.as_ref()) };
        let poll = Poll {
            since: self.wall_now(),
            poller: Poller {
                identity: request.identity,
                request_id: self.poll_id(),
                worker_version: stamp.filter(|_| own.is_none()),
                version: own,
                sdk: Sdk::default(),
            },
            caller: Caller {
                instance: Instance::new(queue.namespace, &request.worker_instance_key),
                rate: None,
                capabilities: request.worker_version_capabilities,
                deployment: request.deployment_options,
            },
            queue,
        };
        let started = match self.next_task(&poll, deadline).await? {
            None => return Ok(PollWorkflowTaskQueueResponse::default()),
            Some(Task::Query(held)) => {
                let mut response = self.query_task(held).await?;
                if !response.task_token.is_empty() {
                    response.poller_scaling_decision = decision(self.shared.matching.advise(&poll.queue, poll.since));
                }
                return Ok(response);
            }
            Some(Task::Nexus(_)) => return Err(internal("a workflow task")),
            Some(Task::Away(answer, away)) => {
                let mut response = PollWorkflowTaskQueueResponse::decode(answer).map_err(|_| internal("a workflow task"))?;
                let advice = self.shared.matching.advise(&poll.queue, poll.since);
                response.backlog_count_hint = i64::try_from(advice.backlog).unwrap_or(i64::MAX);
                response.poller_scaling_decision = decision(advice);
                away.settled();
                return Ok(response);
            }
            Some(Task::Started(started)) => started,
        };
        let Started { run, reply, page, claim } = started;
        let Reply::WorkflowTask { mut response, window } = reply else { return Err(internal("a workflow task")) };
        let (history, next_page_token) = self.shared.task_history(&run, window, page).await?;
        response.history = Some(history);
        response.next_page_token = next_page_token;
        let advice = self.shared.matching.advise(&poll.queue, poll.since);
        response.backlog_count_hint = i64::try_from(advice.backlog).unwrap_or(i64::MAX);
        response.poller_scaling_decision = decision(advice);
        claim.delivered();
        Ok(*response)
    }

    /// `PollActivityTaskQueue`. Empty (no token) when no task came in time.
    pub async fn poll_activity_task(
        &self,
        request: PollActivityTaskQueueRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollActivityTaskQueueResponse, Refusal> {
        self.poll_activity_task_as(request, Sdk::default(), deadline).await
    }

    /// As [`Engine::poll_activity_task`], by a worker that says what SDK it has.
    #[allow(deprecated, reason = "the old version fields are what workers still send")]
    pub async fn poll_activity_task_as(
        &self,
        request: PollActivityTaskQueueRequest,
        sdk: Sdk,
        deadline: Option<Timestamp>,
    ) -> Result<PollActivityTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        self.check_identity(&request.identity)?;
        let queue = self.queue_of(&namespace, request.task_queue, QueueKind::Activity)?;
        let own = self.worker(&namespace, request.deployment_options.as_ref(), &queue, None).await?;
        let stamp = version(request.worker_version_capabilities.as_ref(), String::new())?;
        let queue = queue.line(own.as_ref());
        let poll = Poll {
            since: self.wall_now(),
            poller: Poller {
                identity: request.identity,
                request_id: self.poll_id(),
                worker_version: stamp.filter(|_| own.is_none()),
                version: own,
                sdk,
            },
            caller: Caller {
                instance: Instance::new(queue.namespace, &request.worker_instance_key),
                rate: request.task_queue_metadata.and_then(|metadata| metadata.max_tasks_per_second),
                capabilities: request.worker_version_capabilities,
                deployment: request.deployment_options,
            },
            queue,
        };
        match self.next_task(&poll, deadline).await? {
            None | Some(Task::Query(_) | Task::Nexus(_)) => Ok(PollActivityTaskQueueResponse::default()),
            Some(Task::Started(Started { reply: Reply::ActivityTask(mut response), claim, .. })) => {
                response.poller_scaling_decision = decision(self.shared.matching.advise(&poll.queue, poll.since));
                claim.delivered();
                Ok(*response)
            }
            Some(Task::Away(answer, away)) => {
                let mut response = PollActivityTaskQueueResponse::decode(answer).map_err(|_| internal("an activity task"))?;
                response.poller_scaling_decision = decision(self.shared.matching.advise(&poll.queue, poll.since));
                away.settled();
                Ok(response)
            }
            Some(Task::Started(_)) => Err(internal("an activity task")),
        }
    }

    /// `PollNexusTaskQueue`. Empty (no token) when no task came in time. Heartbeats of workers that come with it are recorded.
    #[allow(deprecated, reason = "the old version fields are what workers still send")]
    pub async fn poll_nexus_task(
        &self,
        request: PollNexusTaskQueueRequest,
        deadline: Option<Timestamp>,
    ) -> Result<PollNexusTaskQueueResponse, Refusal> {
        let namespace = self.namespace(&request.namespace)?;
        self.check_identity(&request.identity)?;
        let queue = self.queue_of(&namespace, request.task_queue, QueueKind::Nexus)?;
        let own = self.worker(&namespace, request.deployment_options.as_ref(), &queue, None).await?;
        let stamp = version(request.worker_version_capabilities.as_ref(), String::new())?;
        let queue = queue.line(own.as_ref());
        if self.shared.settings.worker_heartbeats && !request.worker_heartbeat.is_empty() {
            self.shared.workers.record(namespace.id(), request.worker_heartbeat, self.wall_now());
        }
        let poll = Poll {
            since: self.wall_now(),
            poller: Poller {
                identity: request.identity,
                request_id: self.poll_id(),
                worker_version: stamp.filter(|_| own.is_none()),
                version: own,
                sdk: Sdk::default(),
            },
            caller: Caller {
                instance: Instance::new(queue.namespace, &request.worker_instance_key),
                rate: None,
                capabilities: request.worker_version_capabilities,
                deployment: request.deployment_options,
            },
            queue,
        };
        let held = match self.next_task(&poll, deadline).await? {
            None => return Ok(PollNexusTaskQueueResponse::default()),
            Some(Task::Nexus(held)) => held,
            Some(Task::Query(_) | Task::Started(_) | Task::Away(..)) => return Err(internal("a Nexus task")),
        };
        let task = held.task();
        let response = PollNexusTaskQueueResponse {
            task_token: task.token(self.process()),
            request: Some(task.request(self.wall_now())),
            poller_scaling_decision: decision(self.shared.matching.advise(&poll.queue, poll.since)),
            ..Default::default()
        };
        held.told();
        Ok(response)
    }

    /// Waits for a task that was started for this poll.
    async fn next_task(&self, poll: &Poll, deadline: Option<Timestamp>) -> Result<Option<Task>, Refusal> {
        let task = self.wait_for_task(poll, deadline).await?;
        let stats = &self.shared.stats;
        if task.is_some() {
            stats.polls_answered.add(1)
        } else {
            stats.polls_empty.add(1)
        }
        Ok(task)
    }

    async fn wait_for_task(&self, poll: &Poll, deadline: Option<Timestamp>) -> Result<Option<Task>, Refusal> {
        let Poll { queue, poller, caller, .. } = poll;
        let shared = &self.shared;
        // Not empty, as those that wait are answered: in the process, where no port closes, a worker would ask again at once, for ever.
        if shared.stopping.load(Ordering::Acquire) {
            return Err(Refusal::Unavailable(STOPPING.into()));
        }
        let elsewhere = || Refusal::Elsewhere { shard: shared.shard_of(queue.home()) as u32 };
        if !shared.matching.is_home_of(queue) {
            return Err(elsewhere());
        }
        let until = shared.wait_until(wait_of(shared.settings.poll_wait, &poller.request_id), deadline);
        let mut timer = shared.wall.sleep_until(until);
        let mut passed = 0;
        while shared.wall_now() < until {
            // A name for each try: when a commit fails, the run is told that the task started by it is lost, and must not
            // take the next one of this poll for it.
            let mut poller = poller.clone();
            if !planted::is(Bug::PollsKeepTheirName) {
                poller.request_id = self.poll_id();
            }
            let polled = shared.matching.poll(queue, poller.clone(), caller);
            self.shared.page_in(queue);
            if queue.version.is_some() {
                self.shared.page_in(&queue.plain());
            }
            let handed = match polled {
                Polled::Handed(handed) => handed,
                Polled::Wait(mut waiting) => {
                    let handed = tokio::select! {
                        biased;
                        handed = waiting.handed() => handed,
                        () = &mut timer => {
                            if waiting.leave() {
                                return Ok(None);
                            }
                            // A task is being started for this poll: it comes, or the commit fails.
                            waiting.handed().await
                        }
                    };
                    match handed {
                        Some(handed) => handed,
                        None => continue,
                    }
                }
            };
            match handed {
                // Its queue has moved.
                Handed::Closed if !shared.matching.is_home_of(queue) => return Err(elsewhere()),
                Handed::Closed => return Ok(None),
                Handed::Started(started) => return Ok(Some(Task::Started(started))),
                Handed::Query(held) => return Ok(Some(Task::Query(held))),
                Handed::Nexus(held) => return Ok(Some(Task::Nexus(held))),
                Handed::Offer(held) => {
                    match self.start_task(held, poller).await {
                        Ok(Some(task)) => return Ok(Some(task)),
                        Ok(None) => {}
                        // The offer is in its queue again; a worker need not hear why.
                        Err(_) if shared.stopping.load(Ordering::Acquire) => return Ok(None),
                        // It comes back to the line later; others must not wait behind it.
                        Err(Refusal::Unavailable(_) | Refusal::Elsewhere { .. } | Refusal::Overloaded(_)) if passed < PASSED_MAX => {
                            passed += 1
                        }
                        Err(refusal) => return Err(refusal),
                    }
                }
            }
        }
        Ok(None)
    }

    /// Asks the run for the task of an offer. `None`: it was not wanted any more.
    async fn start_task(&self, held: HeldOffer<Started>, poller: Poller) -> Result<Option<Task>, Refusal> {
        let run = held.queued().offer.run.clone();
        let held = TakenOffer::new(held, self.shared.clone());
        if self.shared.away(&run.workflow).is_some() {
            let claimed = claim(&self.shared, held, poller).await?;
            return Ok(claimed.map(|(answer, away)| Task::Away(answer, away)));
        }
        match self.shared.ask(run.workflow, Some(run.run), Ask::StartOffer(Box::new(held), poller)).await?.body {
            Body::Task(started) => Ok(Some(Task::Started(*started))),
            Body::Reply(Reply::Obsolete, _) => Ok(None),
            _ => Err(internal("a task")),
        }
    }

    /// A poll's answer that asks a query.
    async fn query_task(&self, held: HeldQuery<Started>) -> Result<PollWorkflowTaskQueueResponse, Refusal> {
        let made = match &held.task().what {
            What::Away { answer, .. } => PollWorkflowTaskQueueResponse::decode(answer.clone()).map_err(|_| internal("a query")),
            What::Here { .. } => self.shared.query_response(held.task(), self.process()).await,
        };
        match made {
            Ok(response) => {
                held.told();
                Ok(response)
            }
            Err(refusal) => {
                // The asker is told; this poll comes back empty.
                self.shared.queries.resolve(held.task().id, crate::matching::queries::Outcome::Answer(Err(refusal), 0));
                held.told();
                Ok(PollWorkflowTaskQueueResponse::default())
            }
        }
    }
}

impl Shared {
    /// What a poll is answered that gets this query, which this node asks.
    pub(crate) async fn query_response(&self, task: &QueryTask, process: u64) -> Result<PollWorkflowTaskQueueResponse, Refusal> {
        let What::Here { run, route, sticky } = &task.what else { return Err(internal("a query of this node")) };
        let (history, next_page_token) =
            if *sticky { (History::default(), Bytes::new()) } else { self.task_history(run, route.window.clone(), None).await? };
        let mut response = (*route.task).clone();
        response.task_token = QueryToken::new(run.workflow.namespace, task.id, process).to_bytes();
        response.query = Some(route.query.clone());
        response.history = Some(history);
        response.next_page_token = next_page_token;
        Ok(response)
    }
}

/// How long a poll waits, up to a sixth less than the longest: polls that began together do not all end together (spec 05 §2).
fn wait_of(longest: Span, poll: &str) -> Span {
    let mut hasher = DefaultHasher::new();
    poll.hash(&mut hasher);
    let most = u64::try_from(longest.0 / 6).unwrap_or_default();
    Span(longest.0 - (hasher.finish() % (most + 1)) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_end_at_different_times_within_the_last_sixth() {
        let waits: Vec<i64> = (0..1000).map(|n| wait_of(Span::seconds(60), &format!("poll {n}")).0).collect();
        assert!(waits.iter().all(|wait| (Span::seconds(50).0..=Span::seconds(60).0).contains(wait)));
        assert!(
            waits.iter().filter(|wait| **wait > Span::seconds(59).0).count() < 200 && waits.iter().any(|wait| *wait < Span::seconds(51).0)
        );
        assert_eq!((wait_of(Span::ZERO, "poll"), wait_of(Span(-1), "poll")), (Span::ZERO, Span(-1)));
    }
}

//! What each kind of message does, once its run is in memory.

use prost::Message as _;
use sempre_api::v1::{
    enums::WorkflowExecutionStatus,
    workflowservice::{StartActivityExecutionRequest, StartNexusOperationExecutionRequest},
};
use sempre_core::{
    Execution, Input, NamespaceId, Refusal, Reply, RunId, RunKey, StartInput, StartOutcome, Timestamp, WorkflowKey,
    alone::{self, Alone},
    input::{Context, Poller, TerminateActivityRun, TerminateOperationRun, TerminateRequest},
    keys,
    nexus::alone as operation,
    standalone::{self, Shows},
    time_skipping::FastForwardStatus,
    transition::{CurrentRecord, Delivery, OfferKey, QueueKind},
};
use sempre_store::Table;
use tokio::sync::oneshot;

use super::{
    batch::Output,
    cache::Current,
    deadlines,
    load::no_such_run,
    message::{ActivityWatch, Answer, Ask, Body, FastForward, OperationWatch, ReplyTo, Resets, RunMessage, View, ViewRequest},
    runner::{Runner, is_open},
    settle::start_input,
    size,
    taken::TakenOffer,
};
use crate::{
    history::{read, slice::PageLimit},
    matching::held::Queued,
};

impl Runner {
    /// Carries out a message. Everything it needs is in memory.
    pub(crate) fn dispatch(&mut self, place: usize, message: Box<RunMessage>) {
        let RunMessage { workflow, run, ask, reply } = *message;
        let run = match (run, &ask, &self.cache.at(place).current) {
            (Some(run), ..) => run,
            (None, Ask::Start(_) | Ask::StartActivity(_) | Ask::StartOperation(_) | Ask::UpdateWithStart(..), _) => RunId::default(),
            (None, _, Current::Is(record)) => record.run(),
            (None, ..) => {
                let workflow_id = &workflow.workflow_id;
                let no_workflow = || Refusal::not_found(format!("workflow not found for ID: {workflow_id}"));
                return self.reply(reply, Err(alone::not_found(&workflow).unwrap_or_else(no_workflow)));
            }
        };
        let answer = match ask {
            Ask::Start(input) => self.start(place, *input),
            Ask::StartActivity(request) => self.start_activity(place, *request),
            Ask::StartOperation(request) => self.start_operation(place, *request),
            Ask::DescribeOperation(shows, watch) => self.describe_operation(place, run, shows, watch),
            Ask::DescribeActivity(shows, watch) => self.describe_activity(place, run, shows, watch),
            Ask::Apply(input) => self.apply_message(place, run, input),
            Ask::Update(input, watcher) => self.update(place, run, input, watcher),
            Ask::UpdateWithStart(input, watcher) => self.update_with_start(place, *input, watcher),
            Ask::StartOffer(held, poller) => match self.start_offer(place, *held, poller, reply.as_ref()) {
                Some(answer) => answer,
                None => return,
            },
            Ask::View(request) => self.view(place, run, request),
            Ask::Describe => self.describe(place, run),
            Ask::FastForward(id, watcher) => self.fast_forward(place, run, &id, watcher),
            Ask::PlanReset(request) => self.plan_reset(place, run, &request),
            Ask::Stage(new, batches) => self.stage(place, new, &batches),
            Ask::Reset(order) => self.reset(place, *order),
            Ask::Attempts => self.attempts(place, run),
            Ask::Delete => match self.delete(place, run) {
                Ok(()) => return self.purge_later(place, run, reply),
                Err(refusal) => Err(refusal),
            },
            Ask::Purge => return self.purge(place, run, reply),
            Ask::Delivered(id, delivery) => self.delivered(place, run, id, delivery),
            Ask::Wake(at) => return self.wake(place, run, at),
            Ask::WakeMemory => return self.wake_memory(place, run),
            Ask::ChildStart(initiated_event_id) => self.child_start(place, run, initiated_event_id),
            Ask::ChildHeir(initiated_event_id, run_id) => self.child_heir(place, run, initiated_event_id, &run_id),
            Ask::ChainPart => self.chain_part(place, run),
            Ask::WasStartedBy(request_id) => Ok(self.was_started_by(place, run, &request_id)),
            Ask::SawSignal(request_id) => self.saw_signal(place, run, &request_id),
            Ask::Release(permit) => self.release_start(place, run, permit),
            Ask::Replace(permit, request) => self.replace_start(place, run, permit, request),
        };
        self.reply(reply, answer);
    }

    fn reply(&mut self, reply: Option<ReplyTo>, answer: Result<Answer, Refusal>) {
        if let Some(reply) = reply {
            self.open.outputs.push(Output::Answer(reply, answer));
        }
    }

    pub(crate) fn execution(&mut self, place: usize, run: RunId) -> Option<&mut Execution> {
        self.cache.at(place).run(run)?.execution.as_deref_mut()
    }

    fn apply_message(&mut self, place: usize, run: RunId, input: Input) -> Result<Answer, Refusal> {
        let query = match &input {
            Input::Query { id, .. } => Some(*id),
            Input::DropQuery { id } => {
                self.buffered_queries.remove(id);
                None
            }
            _ => None,
        };
        let reply = self.apply_input(place, run, input)?;
        if let (Reply::QueryBuffered, Some(id)) = (&reply, query) {
            self.buffered_queries.insert(id);
        }
        Ok(self.answer(place, run, reply))
    }

    fn child_start(&mut self, place: usize, run: RunId, initiated_event_id: i64) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        Ok(Answer { run, body: Body::ChildStart(execution.child_start(initiated_event_id)) })
    }

    fn child_heir(&mut self, place: usize, run: RunId, initiated_event_id: i64, run_id: &str) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        Ok(Answer { run, body: Body::ChildHeir(execution.child_heir(initiated_event_id, run_id)) })
    }

    fn was_started_by(&mut self, place: usize, run: RunId, request_id: &str) -> Answer {
        let is = match &self.cache.at(place).current {
            Current::Is(record) => record.start_request_id == request_id || record.chain_was_begun_by(request_id),
            Current::None | Current::Unknown => false,
        };
        Answer { run, body: Body::Reply(if is { Reply::Done } else { Reply::Obsolete }, None) }
    }

    fn saw_signal(&mut self, place: usize, run: RunId, request_id: &str) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        Ok(Answer { run, body: Body::SawSignal(execution.saw_signal(request_id), execution.continues()) })
    }

    /// Lets a start go that flow rules held.
    fn release_start(&mut self, place: usize, run: RunId, permit: u64) -> Result<Answer, Refusal> {
        let obsolete = Answer { run, body: Body::Reply(Reply::Obsolete, None) };
        if !self.shared.flow.permits(run, permit) {
            return Ok(obsolete);
        }
        let answer = self.apply_message(place, run, Input::FlowRelease)?;
        if matches!(answer.body, Body::Reply(Reply::Obsolete, _)) {
            // It does not wait, whatever the lines thought.
            let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
            match self.execution(place, run).and_then(|execution| execution.flow().cloned()) {
                Some(progress) => self.shared.flow.note(key, &progress),
                None => self.shared.flow.gone(run),
            }
        }
        Ok(answer)
    }

    /// Ends a run whose place a newer start has taken, unless a change of the rule has saved it.
    fn replace_start(&mut self, place: usize, run: RunId, permit: u64, request: Box<TerminateRequest>) -> Result<Answer, Refusal> {
        if !self.shared.flow.permits(run, permit) {
            return Ok(Answer { run, body: Body::Reply(Reply::Obsolete, None) });
        }
        self.apply_message(place, run, Input::Terminate(request))
    }

    fn start(&mut self, place: usize, input: StartInput) -> Result<Answer, Refusal> {
        let now = self.now();
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        let current = match &workflow.current {
            Current::Is(record) => Some(record.clone()),
            Current::None | Current::Unknown => None,
        };
        self.refuse_if_gone(key.namespace)?;
        let namespace = self.shared.namespaces.view(key.namespace);
        let open = current.as_ref().filter(|record| is_open(record.status)).map(|record| record.run());
        let execution = open.and_then(|run| self.cache.at(place).run(run)).and_then(|run| run.execution.as_deref_mut());
        let shared = self.shared.clone();
        let mut cx = Context {
            now,
            ids: &mut self.ids,
            limits: shared.settings.limits_of(&namespace.name),
            cron: &shared.cron,
            endpoints: &shared.endpoints,
            ranks: &*shared.matching,
            gate: &*shared,
            namespace: &namespace,
        };
        self.open.inputs += 1;
        self.open.expected += size::start_bytes(&input);
        let outcome = match sempre_core::start(current.as_ref(), execution, &key, input, &mut cx) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                self.shared.stats.refusals.add(1);
                return Err(refusal);
            }
        };
        let mut run = current.map(|record| record.run()).unwrap_or_default();
        if let Some(transition) = outcome.existing {
            // The answer is the outcome's; the transition's own says nothing more.
            let _ = self.settle(place, run, transition);
        }
        if let Some(created) = outcome.created {
            let (execution, transition) = *created;
            run = self.adopt(place, execution, transition);
        }
        let reply = outcome.reply?;
        Ok(self.answer(place, run, reply))
    }

    fn start_activity(&mut self, place: usize, request: StartActivityExecutionRequest) -> Result<Answer, Refusal> {
        let bytes = request.encoded_len();
        self.start_alone(place, bytes, |current, open, key, cx| standalone::start(current, open, key, request, cx))
    }

    fn start_operation(&mut self, place: usize, request: StartNexusOperationExecutionRequest) -> Result<Answer, Refusal> {
        let bytes = request.encoded_len();
        self.start_alone(place, bytes, |current, open, key, cx| operation::start(current, open, key, request, cx))
    }

    /// Starts a run that has no workflow. `start` is given the last run of the id, and that run if it is open.
    fn start_alone(
        &mut self,
        place: usize,
        bytes: usize,
        start: impl FnOnce(Option<&CurrentRecord>, Option<&mut Execution>, &WorkflowKey, &mut Context<'_>) -> Result<StartOutcome, Refusal>,
    ) -> Result<Answer, Refusal> {
        let now = self.now();
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        let current = match &workflow.current {
            Current::Is(record) => Some(record.clone()),
            Current::None | Current::Unknown => None,
        };
        self.refuse_if_gone(key.namespace)?;
        let namespace = self.shared.namespaces.view(key.namespace);
        let open = current.as_ref().filter(|record| is_open(record.status)).map(|record| record.run());
        let open = open.and_then(|run| self.cache.at(place).run(run)).and_then(|run| run.execution.as_deref_mut());
        let shared = self.shared.clone();
        let mut cx = Context {
            now,
            ids: &mut self.ids,
            limits: shared.settings.limits_of(&namespace.name),
            cron: &shared.cron,
            endpoints: &shared.endpoints,
            ranks: &*shared.matching,
            gate: &*shared,
            namespace: &namespace,
        };
        self.open.inputs += 1;
        self.open.expected += bytes;
        let outcome = match start(current.as_ref(), open, &key, &mut cx) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                self.shared.stats.refusals.add(1);
                return Err(refusal);
            }
        };
        let mut run = current.map(|record| record.run()).unwrap_or_default();
        if let Some(transition) = outcome.existing {
            let _ = self.settle(place, run, transition);
        }
        if let Some(created) = outcome.created {
            let (execution, transition) = *created;
            run = self.adopt(place, execution, transition);
        }
        Ok(Answer { run, body: Body::Reply(outcome.reply?, None) })
    }

    fn describe_operation(
        &mut self,
        place: usize,
        run: RunId,
        shows: operation::Shows,
        watch: Option<(OperationWatch, oneshot::Sender<()>)>,
    ) -> Result<Answer, Refusal> {
        let now = self.now();
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let described = self.execution(place, run).and_then(|execution| execution.describe_operation(shows, now));
        let described = described.ok_or_else(|| operation::not_found(&key.workflow))?;
        if let Some((_, watcher)) = watch.filter(|(watch, _)| !watch.is_over(&described)) {
            self.watch(key, watcher);
        }
        Ok(Answer { run, body: Body::Operation(Box::new(described)) })
    }

    fn describe_activity(
        &mut self,
        place: usize,
        run: RunId,
        shows: Shows,
        watch: Option<(ActivityWatch, oneshot::Sender<()>)>,
    ) -> Result<Answer, Refusal> {
        let now = self.now();
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let described = self.execution(place, run).and_then(|execution| execution.describe_activity(shows, now));
        let described = described.ok_or_else(|| standalone::not_found(&key.workflow))?;
        if let Some((_, watcher)) = watch.filter(|(watch, _)| !watch.is_over(&described)) {
            self.watch(key, watcher);
        }
        Ok(Answer { run, body: Body::Activity(Box::new(described)) })
    }

    /// The namespace may have been deleted since the call was admitted: no run may begin behind the back of the removal.
    pub(crate) fn refuse_if_gone(&self, id: NamespaceId) -> Result<(), Refusal> {
        if self.shared.namespaces.is_gone(id) {
            return Err(Refusal::NamespaceNotFound(self.shared.namespaces.view(id).name.clone()));
        }
        Ok(())
    }

    /// `None`: the offer went back, nobody waits for an answer.
    fn start_offer(&mut self, place: usize, held: TakenOffer, poller: Poller, reply: Option<&ReplyTo>) -> Option<Result<Answer, Refusal>> {
        if reply.is_none_or(ReplyTo::is_closed) {
            // The poller has gone before anything was started.
            held.give_back();
            return None;
        }
        let run = held.queued().offer.run.run;
        let is_claimed = held.is_claimed();
        let request_id = poller.request_id.clone();
        let input = start_input(&held.queued().offer, poller);
        let said = self.open.outputs.len();
        let result = self.apply_input(place, run, input);
        let started = matches!(result, Ok(Reply::WorkflowTask { .. } | Reply::ActivityTask(_)));
        let unwanted = matches!(result, Ok(_) | Err(Refusal::NotFound(_)));
        if !started && !unwanted {
            return Some(result.map(|reply| self.answer(place, run, reply)));
        }
        let Queued { offer, row } = held.decided();
        let row_of_claim = row.clone();
        if !started && !is_claimed {
            self.shared.matching.not_needed(&offer);
        }
        let (volatile, activity) = (offer.volatile, offer.queue.kind == QueueKind::Activity);
        let body = match result {
            Ok(reply) if started => Body::Task(Box::new(self.started(place, offer, request_id, reply))),
            _ => Body::Reply(Reply::Obsolete, None),
        };
        let slot = self.cache.at(place).key.slot();
        // Core takes away the row it knows of. What it does not know of goes here.
        let mut gone = self.open.outputs[said..].iter().filter_map(|output| match output {
            Output::Withdraw(gone) if gone.run == run && gone.scheduled_event_id == row.scheduled_event_id => Some(gone),
            _ => None,
        });
        let left = if volatile {
            // It had no row, unless the task was written down since: under the sticky queue's name, or the normal one's.
            let cache = &mut self.cache;
            gone.find(|_| started).and_then(|gone| {
                let execution = cache.at(place).run(run)?.execution.as_deref()?;
                Some(OfferKey { queue: execution.normal_queue().hash64(), ..gone.clone() })
            })
        } else if gone.any(|gone| *gone == row) || !started && self.waits_at(place, &row, activity) {
            // The place of an attempt that is over may be that of the next.
            None
        } else {
            // Written under the normal queue's name, or left over.
            Some(row)
        };
        if is_claimed {
            // Its home has it in hand, and knows.
            let told = self.open.outputs.split_off(said);
            self.open.outputs.extend(told.into_iter().filter(|output| !matches!(output, Output::Withdraw(gone) if *gone == row_of_claim)));
        }
        if let Some(row) = left {
            self.pin(place);
            self.open.commit.delete(Table::Offer, &keys::offer(slot, &row));
            if volatile {
                self.open.outputs.push(Output::Withdraw(row));
            }
        }
        Some(Ok(Answer { run, body }))
    }

    /// The run has a task that waits for a worker at this place.
    fn waits_at(&mut self, place: usize, row: &OfferKey, activity: bool) -> bool {
        self.execution(place, row.run).is_some_and(|execution| execution.waits_at(row, activity))
    }

    fn view(&mut self, place: usize, run: RunId, request: ViewRequest) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let Some(cached) = self.cache.at(place).run(run) else { return Err(no_such_run(&key)) };
        let Some(execution) = &cached.execution else { return Err(no_such_run(&key)) };
        let (next_event_id, open) = (execution.next_event_id(), execution.is_open());
        let limit = PageLimit { events: request.events_max, bytes: read::PAGE_BYTES };
        let page = (request.events_max > 0 && request.from < next_event_id)
            .then(|| cached.tail.page(request.from, next_event_id, limit))
            .flatten();
        let virtual_events = if open { execution.virtual_events() } else { Vec::new() };
        let resets = execution.state().progress.reset.as_ref().map(|reset| {
            let (made_by, left_by) = (reset.request_id.clone(), reset.reset_request_id.clone());
            Box::new(Resets { made_by, kept_event_id: reset.kept_event_id(), left_by, earlier: reset.earlier_resets.clone() })
        });
        let waits = open && (request.until_closed || request.from >= next_event_id);
        if let Some(watcher) = request.watch.filter(|_| waits) {
            self.watch(key, watcher);
        }
        Ok(Answer { run, body: Body::View(View { next_event_id, open, virtual_events, page, resets }) })
    }

    fn describe(&mut self, place: usize, run: RunId) -> Result<Answer, Refusal> {
        let now = self.now();
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        let description = Box::new(execution.describe(now));
        Ok(Answer { run, body: Body::Description(description) })
    }

    fn fast_forward(&mut self, place: usize, run: RunId, id: &str, watcher: oneshot::Sender<()>) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        let (status, info) = execution.fast_forward(id);
        let successor = RunId::parse(&execution.state().derived.main.successor_run_id);
        if status == FastForwardStatus::Pending {
            self.watch(key, watcher);
        }
        Ok(Answer { run, body: Body::FastForward(Box::new(FastForward { status, info, successor })) })
    }

    fn attempts(&mut self, place: usize, run: RunId) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        let body = Body::Attempts(execution.pending_attempts());
        Ok(Answer { run, body })
    }

    /// Closes a run that is to be deleted.
    fn delete(&mut self, place: usize, run: RunId) -> Result<(), Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let execution = self.execution(place, run).ok_or_else(|| no_such_run(&key))?;
        if !execution.is_open() && execution.status() != WorkflowExecutionStatus::Running {
            return Ok(());
        }
        let terminate = match Alone::of(&key.workflow) {
            Some(Alone::Activity) => {
                let request = TerminateActivityRun { reason: "Delete activity execution".into(), ..Default::default() };
                Input::TerminateActivityRun(Box::new(request))
            }
            Some(Alone::Operation) => {
                let request = TerminateOperationRun { reason: "Delete nexus operation execution".into(), ..Default::default() };
                Input::TerminateOperationRun(Box::new(request))
            }
            None => {
                let reason = "Delete workflow execution".into();
                let request = TerminateRequest { reason, identity: "history-service".into(), ..Default::default() };
                Input::Terminate(Box::new(request))
            }
        };
        self.apply_input(place, run, terminate).map(drop)
    }

    /// Deletes the run when what was said of it so far is durable. The caller hears of it when its rows are gone.
    pub(crate) fn purge_later(&mut self, place: usize, run: RunId, reply: Option<ReplyTo>) {
        let workflow = self.cache.at(place).key.clone();
        let purge = RunMessage { workflow, run: Some(run), ask: Ask::Purge, reply };
        self.open.outputs.push(Output::Again(Box::new(purge)));
    }

    fn delivered(&mut self, place: usize, run: RunId, outbox_id: u64, delivery: Delivery) -> Result<Answer, Refusal> {
        if self.execution(place, run).is_none() {
            // The sender is gone; only its row is left.
            if matches!(delivery, Delivery::ChildStarted { .. }) {
                // It stays until the child, which nobody will let go, is gone too.
                return Ok(Answer { run, body: Body::Reply(Reply::Obsolete, None) });
            }
            let slot = self.cache.at(place).key.slot();
            self.pin(place);
            self.open.commit.delete(Table::Outbox, &keys::outbox(slot, run, outbox_id));
            return Ok(Answer { run, body: Body::Reply(Reply::Done, None) });
        }
        self.apply_message(place, run, Input::Delivered { outbox_id, delivery })
    }

    fn wake(&mut self, place: usize, run: RunId, at: Timestamp) {
        let key = self.cache.at(place).key.clone();
        if self.execution(place, run).is_none() {
            return self.drop_staged(place, run, at);
        }
        let armed = self.execution(place, run).and_then(|execution| execution.armed_deadline());
        // A deadline that was put off by a failed read comes back later than its row's time.
        let due = armed.is_some_and(|armed| armed <= self.now());
        if armed != Some(at) {
            self.pin(place);
            self.open.commit.delete(Table::Deadline, &deadlines::row_key(&key, at, run));
        }
        if !due {
            return;
        }
        self.shared.stats.deadlines.add(1);
        let said = self.open.outputs.len();
        if let Err(refusal) = self.apply_input(place, run, Input::Wake) {
            tracing::warn!(?refusal, %run, "a deadline was refused");
        }
        let armed_after = self.execution(place, run).and_then(|execution| execution.armed_deadline());
        let deleted = self.open.outputs[said..].iter().any(|output| matches!(output, Output::Again(_)));
        if armed_after.is_some() && armed_after == armed && !deleted {
            // Nothing came of it; looking at once again would be a busy loop.
            let again = self.now() + sempre_core::Span::seconds(1);
            self.deadlines.retry(&key, run, again);
        }
    }
}

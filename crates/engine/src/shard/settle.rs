//! Puts a transition into the open batch: rows, offers (with sync match), messages, successors.

use prost::Message as _;
use sempre_core::{
    Execution, Input, NamespaceView, Refusal, Reply, RunId, RunKey, Timestamp, Transition,
    alone::Alone,
    flow::{FlowChange, FlowRecord},
    input::Context,
    keys,
    planted::{self, Bug},
    transition::{Offer, OfferKey, QueueKind},
};
use sempre_store::Table;

use super::{
    batch::Output,
    cache::{Current, Run},
    claim::Claim,
    deadlines::Kind,
    load::no_such_run,
    message::{Answer, Ask, Body, RunMessage, Started, window},
    runner::Runner,
    size,
};
use crate::{
    history::{read::TASK_PAGE, slice::Page},
    ids::SeededIds,
    matching::{Reserved, held::make_normal},
    shared::Shared,
};

/// Applies one input to one execution.
pub(crate) fn apply(
    execution: &mut Execution,
    input: Input,
    shared: &Shared,
    ids: &mut SeededIds,
    now: Timestamp,
    namespace: &NamespaceView,
) -> Result<Transition, Refusal> {
    let mut cx = Context {
        now,
        ids,
        limits: shared.settings.limits_of(&namespace.name),
        cron: &shared.cron,
        endpoints: &shared.endpoints,
        ranks: &*shared.matching,
        gate: shared,
        namespace,
    };
    execution.apply(input, &mut cx)
}

impl Runner {
    /// Takes over everything that a transition of `run` says, except its reply, which is returned.
    pub(crate) fn settle(&mut self, place: usize, run: RunId, mut t: Transition) -> Result<Reply, Refusal> {
        let workflow = self.cache.at(place);
        let key = RunKey { workflow: workflow.key.clone(), run };
        let slot = key.workflow.slot();
        self.count(place, run, &t);
        if t.durable {
            self.shared.stats.transitions.add(1);
            self.touch(place, run);
            self.count_usage(place, run);
        }
        if t.listed && !t.delete_run {
            self.list(place, run);
        }
        for batch in t.history.drain(..) {
            let off = i64::from(planted::is(Bug::HistoryKeysOffByOne) && batch.first_event_id > 1);
            self.open.commit.put(Table::History, &keys::history(slot, run, batch.first_event_id - off), &batch.frames);
            if let Some(run) = self.cache.at(place).run(run) {
                run.tail.push(batch);
            }
        }
        if let Some(change) = t.flow.take() {
            self.flow(&key, change);
        }
        if let Some(record) = t.current.take() {
            self.set_current(place, Current::Is(record));
        }
        // A run that is to be deleted keeps its deadline row until its rows are gone: a crash in between must not leave them behind.
        if let Some(change) = t.deadline.filter(|_| !t.delete_run) {
            self.change_deadline(place, run, change.old, change.new);
        }
        let started = matches!(t.reply, Ok(Reply::WorkflowTask { .. } | Reply::ActivityTask(_)));
        for gone in t.offers_gone.drain(..) {
            // The poll that starts a task takes away the row it was given.
            let moved = if started { None } else { self.moved(place, &key, &gone) };
            self.remove_offer(&key, &gone);
            if let Some(moved) = moved {
                self.remove_offer(&key, &moved);
            }
        }
        for entry in t.outbox.drain(..) {
            let record = keys::OutboxRecord::new(&key, &entry);
            if !planted::is(Bug::MessageRowsLost) {
                self.open.commit.put(Table::Outbox, &keys::outbox(slot, run, entry.id), &record.encode_to_vec());
            }
            self.open.outputs.push(Output::Deliver(key.clone(), entry));
        }
        for id in t.outbox_gone.drain(..) {
            if !planted::is(Bug::MessageRowsStay) {
                self.open.commit.delete(Table::Outbox, &keys::outbox(slot, run, id));
            }
            self.outbox.forget(&key, id);
        }
        for (id, answer) in t.query_answers.drain(..) {
            self.buffered_queries.remove(&id);
            self.open.outputs.push(Output::QueryAnswer(id, answer));
        }
        for (id, route) in t.queries_released.drain(..) {
            self.buffered_queries.remove(&id);
            self.open.outputs.push(Output::QueryDirect(id, Box::new(route)));
        }
        if !t.update_news.is_empty() {
            for (id, news) in t.update_news.drain(..) {
                self.tell_update(&key, &id, news);
            }
            self.cache.reweigh(place);
        }
        // Who watches an activity or an operation without workflow waits for any change; most of them are no events. News of a
        // fast-forward may wait in the buffer.
        let any_change = t.durable && (Alone::of(&key.workflow).is_some() || self.has_own_clock(place, run));
        if (t.history_changed || any_change)
            && let Some(watchers) = self.watchers.remove(&key)
        {
            self.open.outputs.extend(watchers.into_iter().map(Output::Notify));
        }
        if let Some(successor) = t.successor.take() {
            let (execution, transition) = *successor;
            self.adopt(place, execution, transition);
        }
        self.remember_memory_deadline(place, run);
        for offer in t.offers.drain(..) {
            self.place_offer(place, offer);
        }
        if let Some(offer) = t.volatile_offer.take() {
            self.place_volatile(place, *offer);
        }
        self.note_in_hand(place, run);
        if t.delete_run {
            let purge = RunMessage { workflow: key.workflow, run: Some(run), ask: Ask::Purge, reply: None };
            self.open.outputs.push(Output::Again(Box::new(purge)));
        }
        t.reply
    }

    /// Writes what the flow rules know of a run, with the run.
    fn flow(&mut self, key: &RunKey, change: FlowChange) {
        let row = keys::run(key.workflow.slot(), key.run);
        match change {
            FlowChange::Is(progress) => {
                if !planted::is(Bug::FlowRowsLost) {
                    self.open.commit.put(Table::Flow, &row, &FlowRecord::new(key, &progress).encode_to_vec());
                }
                self.shared.flow.note(key.clone(), &progress);
                self.open.outputs.push(Output::FlowNoted(key.run));
            }
            FlowChange::Gone => {
                self.open.commit.delete(Table::Flow, &row);
                self.open.outputs.push(Output::FlowGone(key.run));
            }
        }
    }

    /// Takes in a new run with the transition that made it.
    pub(crate) fn adopt(&mut self, place: usize, execution: Execution, transition: Transition) -> RunId {
        let id = execution.key().run;
        let workflow = self.cache.at(place);
        // Such a run was looked for and not found.
        workflow.runs.retain(|r| r.id != id);
        workflow.runs.push(Run::new(id, Some(Box::new(execution)), 0));
        // The new run's transition has no reply of its own.
        let _ = self.settle(place, id, transition);
        id
    }

    /// Puts a run's rows on the list of the open batch.
    fn touch(&mut self, place: usize, run: RunId) {
        let number = self.batch_number;
        self.pin(place);
        if let Some(run) = self.cache.at(place).run(run)
            && run.batch != number
        {
            run.batch = number;
            self.open.expected += run.row_bytes;
            self.open.runs.push((place, run.id));
        }
    }

    /// Counts the open batch as one that has rows of this workflow.
    pub(crate) fn pin(&mut self, place: usize) {
        let number = self.batch_number;
        let workflow = self.cache.at(place);
        if workflow.batch != number {
            workflow.batch = number;
            workflow.in_flight += 1;
            self.open.workflows.push(place);
        }
    }

    pub(crate) fn set_current(&mut self, place: usize, current: Current) {
        let number = self.batch_number;
        self.pin(place);
        let workflow = self.cache.at(place);
        workflow.current = current;
        if workflow.current_batch != number {
            workflow.current_batch = number;
            self.open.currents.push(place);
        }
    }

    pub(crate) fn change_deadline(&mut self, place: usize, run: RunId, old: Option<Timestamp>, new: Option<Timestamp>) {
        self.pin(place);
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        let mut kind = Kind::Live;
        if let Some(run) = workflow.run(run) {
            kind = kind_of(run, new);
            match &mut run.deadline {
                Some((_, last)) => *last = new,
                None => {
                    run.deadline = Some((old, new));
                    self.open.deadlines.push((place, run.id));
                }
            }
        }
        self.deadlines.change(&key, run, old, new.map(|new| (new, kind)));
    }

    /// Where the row of a workflow task is that core knows under its sticky queue and that was written under the normal
    /// one, because the sticky worker was not there. Of other offers, a row that does not exist.
    fn moved(&mut self, place: usize, run: &RunKey, gone: &OfferKey) -> Option<OfferKey> {
        if self.open.offers.contains_key(gone) {
            return None;
        }
        let execution = self.cache.at(place).run(run.run)?.execution.as_ref()?;
        let normal = execution.normal_queue().hash64();
        (gone.queue != normal).then(|| OfferKey { queue: normal, ..gone.clone() })
    }

    /// An offer is not wanted any more. One that was made in this batch never becomes a row.
    fn remove_offer(&mut self, run: &RunKey, gone: &OfferKey) {
        if self.open.offers.remove(gone).is_none() {
            self.open.commit.delete(Table::Offer, &keys::offer(run.workflow.slot(), gone));
            self.open.outputs.push(Output::Withdraw(gone.clone()));
        }
    }

    /// A new offer: to a waiting poller in this very batch, or on the list of rows to write.
    fn place_offer(&mut self, place: usize, offer: Offer) {
        let core_key = offer.key.clone();
        let mut offer = offer;
        let mut reserved = self.shared.matching.reserve(&offer);
        if reserved.is_none() && offer.queue.sticky && !self.shared.matching.sticky_available(&offer.queue) {
            make_normal(&mut offer);
            reserved = self.shared.matching.reserve(&offer);
        }
        // On the list first, so that starting it takes it off again.
        self.open.offers.insert(core_key.clone(), offer.clone());
        let Some(reserved) = reserved else { return };
        self.start_at_once(place, offer, core_key, reserved);
    }

    /// The offer of a speculative task: to a waiting poller, or to matching; it never has a row.
    fn place_volatile(&mut self, place: usize, mut offer: Offer) {
        let matching = self.shared.matching.clone();
        let mut reserved = matching.reserve(&offer);
        if reserved.is_none() && offer.queue.sticky && !matching.sticky_available(&offer.queue) {
            make_normal(&mut offer);
            reserved = matching.reserve(&offer);
        }
        match reserved {
            Some(reserved) => self.start_at_once(place, offer.clone(), offer.key, reserved),
            None => self.open.outputs.push(Output::Offer(offer)),
        }
    }

    fn start_at_once(&mut self, place: usize, offer: Offer, core_key: OfferKey, reserved: Reserved<Started>) {
        let input = start_input(&offer, reserved.poller().clone());
        let run = offer.run.run;
        let request_id = reserved.poller().request_id.clone();
        match self.apply_input(place, run, input) {
            Ok(reply @ (Reply::WorkflowTask { .. } | Reply::ActivityTask(_))) => {
                self.open.offers.remove(&core_key);
                self.shared.stats.sync_matches.add(1);
                let started = self.started(place, offer, request_id, reply);
                self.open.outputs.push(Output::Hand(reserved, Box::new(started)));
            }
            Ok(_) => {
                self.open.offers.remove(&core_key);
                self.shared.matching.unreserve(reserved);
            }
            Err(refusal) => {
                // The offer stays on the list and is decided when somebody polls for it.
                tracing::debug!(?refusal, "a task could not be started at once");
                self.shared.matching.unreserve(reserved);
            }
        }
    }

    /// A task that was started for the poll of this request id.
    pub(crate) fn started(&mut self, place: usize, offer: Offer, request_id: String, reply: Reply) -> Started {
        let page = self.page_of(place, offer.run.run, &reply);
        let claim = Claim::new(self.shared.clone(), offer.run.clone(), offer.queue.kind, offer.key.scheduled_event_id, request_id);
        Started { run: offer.run, reply, page, claim }
    }

    /// Applies an input to a loaded run and settles the transition.
    pub(crate) fn apply_input(&mut self, place: usize, run: RunId, input: Input) -> Result<Reply, Refusal> {
        let now = self.now();
        let workflow = self.cache.at(place);
        let namespace = self.shared.namespaces.view(workflow.key.namespace);
        let page = size::page_bytes(&input);
        if page > 0 {
            self.take_page(place, run, page)?;
        }
        let workflow = self.cache.at(place);
        let Some(execution) = workflow.run(run).and_then(|r| r.execution.as_mut()) else {
            return Err(no_such_run(&RunKey { workflow: workflow.key.clone(), run }));
        };
        self.open.inputs += 1;
        self.open.expected += size::input_bytes(&input);
        match apply(execution, input, &self.shared, &mut self.ids, now, &namespace) {
            Ok(transition) => self.settle(place, run, transition),
            Err(refusal) => {
                self.shared.stats.refusals.add(1);
                Err(refusal)
            }
        }
    }

    /// The history of a reply, as far as it is in memory.
    pub(crate) fn page_of(&mut self, place: usize, run: RunId, reply: &Reply) -> Option<Page> {
        let window = window(reply)?;
        self.cache.at(place).run(run)?.tail.page(window.from, window.next, TASK_PAGE)
    }

    /// An answer with its history.
    pub(crate) fn answer(&mut self, place: usize, run: RunId, reply: Reply) -> Answer {
        let page = self.page_of(place, run, &reply);
        Answer { run, body: Body::Reply(reply, page) }
    }
}

impl Runner {
    /// The run's time may be another than everybody's.
    fn has_own_clock(&mut self, place: usize, run: RunId) -> bool {
        let execution = self.cache.at(place).run(run).and_then(|run| run.execution.as_deref());
        execution.is_some_and(|execution| execution.state().derived.main.time_skipping.is_some())
    }
}

/// What a deadline of a run is for.
pub(crate) fn kind_of(run: &Run, deadline: Option<Timestamp>) -> Kind {
    let end = run.execution.as_deref().and_then(Execution::retention_end);
    if end.is_some() && end == deadline { Kind::Retained } else { Kind::Live }
}

/// What a poller's start of an offer is to core.
pub(crate) fn start_input(offer: &Offer, poller: sempre_core::input::Poller) -> Input {
    let (scheduled_event_id, stamp) = (offer.key.scheduled_event_id, offer.stamp);
    match offer.queue.kind {
        QueueKind::Workflow => Input::StartWorkflowTask { scheduled_event_id, stamp, sticky: offer.queue.sticky, poller },
        // Nexus tasks are never offered.
        QueueKind::Activity | QueueKind::Nexus => Input::StartActivityTask { scheduled_event_id, stamp, poller },
    }
}

//! A transition in the making: what handlers write events, offers and messages through.
//!
//! Handlers first check, then change: a handler that returns a refusal must not have called anything
//! here that changes the run (completion of a workflow task, which can fail half-way, works on a copy).

use alloc::{boxed::Box, string::String, sync::Arc, vec::Vec};

use bytes::BytesMut;
use sempre_api::v1::{
    common::Priority,
    deployment::WorkerDeploymentVersion,
    enums::EventType,
    history::{HistoryEvent, history_event::Attributes},
};

use crate::{
    Context, Execution, Refusal, Reply, Routing, Span, Timestamp, Transition, Version, attach, deadline, event_type,
    flow::{self, FlowProgress},
    options,
    planted::{self, Bug},
    size,
    state::{
        buffer::{closed_operation, is_closing},
        rows::Kind,
    },
    task, time_skipping,
    transition::{
        CurrentRecord, DeadlineChange, Fairness, HistoryBatch, Offer, OfferKey, OutboxEntry, OutboxMessage, QueueKind, QueueName, RANKED,
    },
    update, versioning, visibility,
};

/// Priority of work that asked for none.
pub(crate) const PRIORITY_DEFAULT: u8 = 3;

/// A transition in the making.
pub(crate) struct Step<'r, 'c> {
    /// The run.
    pub(crate) run: &'r mut Execution,
    /// Time, ids, limits.
    pub(crate) cx: &'r mut Context<'c>,
    /// What has been decided so far.
    pub(crate) out: Transition,
    frames: BytesMut,
    first_event_id: i64,
    changed: bool,
    lazy_deadline: bool,
    /// What lists have shown of the run before.
    shown: visibility::Shown,
    /// Where it began, for [`size`].
    pub(crate) begin: size::Begin,
    /// This transition has scheduled a speculative task, after everything that it writes.
    pub(crate) made_speculative: bool,
    /// This transition has closed the run.
    pub(crate) closed: Option<Continues>,
    /// What the run's row in table Flow was before.
    flow: Option<FlowProgress>,
    /// How far the run's time is ahead of the wall clock.
    pub(crate) skipped: Span,
}

/// Whether a run that closes goes on as another run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Continues {
    /// The chain ends with it.
    No,
    /// By continue-as-new, a retry, cron.
    Chain,
    /// A reset has ended it and made another.
    ByReset,
}

impl<'r, 'c> Step<'r, 'c> {
    pub(crate) fn new(run: &'r mut Execution, cx: &'r mut Context<'c>) -> Self {
        let first_event_id = run.next_event_id().max(1);
        let shown = visibility::Shown::of(run);
        let flow = flow::hold::row(run).cloned();
        let skipped = time_skipping::skipped(&run.state);
        Self {
            run,
            cx,
            out: Transition::default(),
            frames: BytesMut::new(),
            first_event_id,
            changed: false,
            lazy_deadline: false,
            shown,
            begin: size::Begin::default(),
            made_speculative: false,
            closed: None,
            flow,
            skipped,
        }
    }

    /// The run's time: of all that it writes and waits for.
    pub(crate) fn now(&self) -> Timestamp {
        self.cx.now + self.skipped
    }

    /// Everybody's time: of what is compared with other runs.
    pub(crate) fn wall(&self) -> Timestamp {
        self.cx.now
    }

    /// The state has changed in a way that must be committed, even if no event is written.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
        self.run.state.dirty.main();
    }

    /// A later deadline need not replace the armed row: an early wake-up is harmless (heartbeats).
    pub(crate) fn lazy_deadline(&mut self) {
        self.lazy_deadline = true;
    }

    /// Lists show something of the run that has changed here; for what [`visibility::Shown`] does not see by itself.
    pub(crate) fn listed(&mut self) {
        self.out.listed = true;
        self.touch();
    }

    /// Refuses when the run is closed.
    pub(crate) fn require_open(&self) -> Result<(), Refusal> {
        if self.run.is_open() { Ok(()) } else { Err(Refusal::closed()) }
    }

    /// Writes an event now. Returns its id.
    pub(crate) fn event(&mut self, attributes: Attributes) -> i64 {
        let now = self.now();
        self.write(HistoryEvent { event_time: Some(now.to_api()), attributes: Some(attributes), ..Default::default() })
    }

    /// Writes an event that happened at that time. Returns its id.
    pub(crate) fn event_at(&mut self, time: Timestamp, attributes: Attributes) -> i64 {
        self.write(HistoryEvent { event_time: Some(time.to_api()), attributes: Some(attributes), ..Default::default() })
    }

    /// Writes a prepared event (its time, links, metadata set) now. Returns its id.
    pub(crate) fn write(&mut self, mut event: HistoryEvent) -> i64 {
        self.keep_speculative_ids();
        assert!(self.run.is_open(), "a close event is the last");
        let id = self.run.state.derived.main.next_event_id.max(1);
        event.event_id = id;
        event.task_id = id;
        if let Some(attributes) = &event.attributes {
            event.event_type = event_type::of(attributes) as i32;
        }
        debug_assert_ne!(event.event_type, EventType::Unspecified as i32);
        let before = self.frames.len();
        sempre_api::encode_event(&event, &mut self.frames);
        let state = &mut self.run.state;
        state.derived.apply_event(&event, self.frames.len() - before, &mut state.dirty);
        self.changed = true;
        id
    }

    /// A pending speculative task counts on the next free ids: before they are given to others it becomes a normal one.
    fn keep_speculative_ids(&mut self) {
        if self.run.state.progress.main.task.as_ref().is_some_and(|task| task.speculative) {
            debug_assert!(!self.made_speculative, "a speculative task is made after everything that is written");
            task::speculative::convert(self);
        }
    }

    /// Writes the event that closes the run, and returns it as written (for the parent).
    pub(crate) fn closing_event(&mut self, attributes: Attributes) -> HistoryEvent {
        let now = self.now();
        self.write_closing(HistoryEvent { event_time: Some(now.to_api()), attributes: Some(attributes), ..Default::default() })
    }

    /// As [`Step::closing_event`], with links already set.
    pub(crate) fn write_closing(&mut self, event: HistoryEvent) -> HistoryEvent {
        let copy = event.clone();
        let id = self.write(event);
        HistoryEvent { event_id: id, task_id: id, ..copy }
    }

    /// An event that waits while a workflow task is started (spec 01 §2.2); written at the end of the
    /// transition otherwise.
    pub(crate) fn buffer(&mut self, attributes: Attributes) {
        let now = self.now();
        self.buffer_event(HistoryEvent { event_time: Some(now.to_api()), attributes: Some(attributes), ..Default::default() });
    }

    /// As [`Step::buffer`], with time, links or metadata already set.
    pub(crate) fn buffer_event(&mut self, mut event: HistoryEvent) {
        if let Some(attributes) = &event.attributes {
            event.event_type = event_type::of(attributes) as i32;
        }
        self.run.state.progress.buffer.events.push(event);
        self.touch();
    }

    /// A workflow task is in a worker's hands.
    pub(crate) fn task_started(&self) -> bool {
        self.run.state.progress.main.task.as_ref().is_some_and(|t| t.is_started())
    }

    /// Gives the buffered events their ids: closings last, started ids patched (spec 01 §2.3).
    pub(crate) fn flush(&mut self) {
        let buffer = &mut self.run.state.progress.buffer;
        if buffer.events.is_empty() {
            return;
        }
        let mut events = buffer.take();
        if events.len() > 1 && planted::is(Bug::BufferLosesLast) {
            events.pop();
        }
        let (closings, others): (Vec<_>, Vec<_>) = events.into_iter().partition(|e| e.attributes.as_ref().is_some_and(is_closing));
        for event in others {
            if let Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(a)) = &event.attributes {
                let updates = a.workflow_update_options.clone();
                options::write(self, event);
                update::flushed(self, &updates);
            } else {
                self.write(event);
            }
        }
        for mut event in closings {
            self.patch_started_id(&mut event);
            let activity = closed_activity(&event);
            let operation = event.attributes.as_ref().and_then(closed_operation);
            self.write(event);
            if let Some(id) = operation {
                self.forget_operation(id);
            }
            if let Some(id) = activity {
                self.forget_activity(id);
            }
        }
        self.touch();
    }

    /// Drops an activity's progress (its closing event has been written or the run is closed).
    pub(crate) fn forget_activity(&mut self, scheduled_event_id: i64) {
        if self.run.state.progress.activities.remove(&scheduled_event_id).is_some() {
            self.run.state.dirty.mark(Kind::Attempt, scheduled_event_id);
        }
    }

    /// Drops the requests for a Nexus operation (its closing event has been written or the run is closed).
    pub(crate) fn forget_operation(&mut self, scheduled_event_id: i64) {
        if self.run.state.progress.operations.remove(&scheduled_event_id).is_some() {
            self.run.state.dirty.mark(Kind::OperationRequests, scheduled_event_id);
        }
    }

    fn patch_started_id(&self, event: &mut HistoryEvent) {
        let derived = &self.run.state.derived;
        let activity = |id: i64| derived.activities.get(&id).map_or(0, |a| a.started_event_id);
        let child = |id: i64| derived.children.get(&id).map_or(0, |c| c.started_event_id);
        match &mut event.attributes {
            Some(Attributes::ActivityTaskCompletedEventAttributes(a)) => a.started_event_id = activity(a.scheduled_event_id),
            Some(Attributes::ActivityTaskFailedEventAttributes(a)) => a.started_event_id = activity(a.scheduled_event_id),
            Some(Attributes::ActivityTaskTimedOutEventAttributes(a)) => a.started_event_id = activity(a.scheduled_event_id),
            Some(Attributes::ActivityTaskCanceledEventAttributes(a)) => a.started_event_id = activity(a.scheduled_event_id),
            Some(Attributes::ChildWorkflowExecutionCompletedEventAttributes(a)) => a.started_event_id = child(a.initiated_event_id),
            Some(Attributes::ChildWorkflowExecutionFailedEventAttributes(a)) => a.started_event_id = child(a.initiated_event_id),
            Some(Attributes::ChildWorkflowExecutionTimedOutEventAttributes(a)) => a.started_event_id = child(a.initiated_event_id),
            Some(Attributes::ChildWorkflowExecutionCanceledEventAttributes(a)) => a.started_event_id = child(a.initiated_event_id),
            Some(Attributes::ChildWorkflowExecutionTerminatedEventAttributes(a)) => a.started_event_id = child(a.initiated_event_id),
            _ => {}
        }
    }

    /// A fresh stamp: offers and started attempts made before it are obsolete.
    pub(crate) fn next_stamp(&mut self) -> u32 {
        let main = &mut self.run.state.progress.main;
        main.stamp = main.stamp.wrapping_add(1).max(1);
        main.stamp
    }

    /// A message to another run, delivered after the commit.
    pub(crate) fn message(&mut self, message: OutboxMessage) {
        self.numbered_message(message);
    }

    /// As [`Step::message`]. Returns its number in the run's outbox.
    pub(crate) fn numbered_message(&mut self, message: OutboxMessage) -> u64 {
        let main = &mut self.run.state.progress.main;
        main.outbox += 1;
        let id = main.outbox;
        self.out.outbox.push(OutboxEntry { id, message });
        self.touch();
        id
    }

    /// Offers a task to a queue: the row is written, and matching gets it after the commit. Its rank, if it is to have one, it
    /// gets when the step ends.
    pub(crate) fn offer(&mut self, queue: QueueName, normal_name: String, scheduled_event_id: i64, stamp: u32, standing: Standing) {
        self.offer_at(self.wall(), queue, normal_name, scheduled_event_id, stamp, standing);
    }

    /// As [`Step::offer`], for a task that was offered before without a row.
    pub(crate) fn offer_at(
        &mut self,
        time: Timestamp,
        queue: QueueName,
        normal_name: String,
        scheduled_event_id: i64,
        stamp: u32,
        standing: Standing,
    ) {
        let Standing { priority, fairness } = standing;
        let key = OfferKey { queue: queue.hash64(), priority, time, run: self.run.key.run, scheduled_event_id };
        let routing = self.routing(&queue.name, queue.kind);
        let run = self.run.key.clone();
        self.out.offers.push(Offer { key, queue, normal_name, run, stamp, volatile: false, routing, fairness, offered: time });
        self.touch();
    }

    /// Gives the offers of this step that name a fairness key their ranks. A sticky queue is one worker's, where nobody waits
    /// for a turn; what a worker was offered without a row keeps the place it had.
    fn rank_offers(&mut self) {
        let progress = &mut self.run.state.progress;
        for offer in &mut self.out.offers {
            let Some(fairness) = offer.fairness.as_deref().filter(|fairness| !fairness.key.is_empty()) else { continue };
            if offer.queue.sticky || offer.key.is_ranked() || offer.offered != self.cx.now {
                continue;
            }
            let id = offer.key.scheduled_event_id;
            let (offered_at, ranked) = match offer.queue.kind {
                QueueKind::Activity => match progress.activities.get_mut(&id) {
                    Some(activity) => {
                        let activity = Arc::make_mut(activity);
                        (&mut activity.offered_at, &mut activity.ranked)
                    }
                    None => continue,
                },
                QueueKind::Workflow | QueueKind::Nexus => match progress.main.task.as_deref_mut() {
                    Some(task) if task.scheduled_event_id == id => (&mut task.offered_at, &mut task.ranked),
                    _ => continue,
                },
            };
            let rank = self.cx.ranks.rank(&offer.queue, offer.key.priority, fairness);
            offer.key.time = rank;
            offer.key.priority |= RANKED;
            (*offered_at, *ranked) = (rank.0, true);
        }
    }

    /// Takes an offer back: its row goes. An offer made in this same transition just disappears.
    pub(crate) fn withdraw(&mut self, queue: &QueueName, priority: u8, ranked: bool, offered_at: i64, scheduled_event_id: i64) {
        let priority = if ranked { priority | RANKED } else { priority };
        let key = OfferKey { queue: queue.hash64(), priority, time: Timestamp(offered_at), run: self.run.key.run, scheduled_event_id };
        let before = self.out.offers.len();
        self.out.offers.retain(|o| o.key != key);
        if self.out.offers.len() == before {
            self.out.offers_gone.push(key);
        }
        self.touch();
    }

    /// A queue of this run's namespace, or its line for the version that the run is pinned to.
    pub(crate) fn queue(&self, name: &str, kind: QueueKind, sticky: bool) -> QueueName {
        let version = if sticky { None } else { self.routing(name, kind).and_then(|routing| routing.pinned.clone()) };
        QueueName { namespace: self.run.key.workflow.namespace, name: name.into(), kind, sticky, version }
    }

    /// A queue of this run's namespace, or the line of it that an offer was made on.
    pub(crate) fn offered_queue(&self, name: &str, kind: QueueKind, sticky: bool, line: Option<&WorkerDeploymentVersion>) -> QueueName {
        let version = line.map(|version| Arc::new(Version::from_api(version)));
        QueueName { namespace: self.run.key.workflow.namespace, name: name.into(), kind, sticky, version }
    }

    /// How the run's tasks on a queue find their workers.
    pub(crate) fn routing(&self, name: &str, kind: QueueKind) -> Option<Arc<Routing>> {
        match kind {
            QueueKind::Workflow => versioning::workflow_routing(&self.run.state),
            QueueKind::Activity => versioning::activity_routing(self, name),
            QueueKind::Nexus => None,
        }
    }

    /// How the workflow's tasks stand in line.
    pub(crate) fn workflow_standing(&self) -> Standing {
        Standing::new(self.run.state.derived.priority(), None)
    }

    /// The pointer record of this run as it stands.
    pub(crate) fn current_record(&self) -> CurrentRecord {
        let (derived, progress) = (&self.run.state.derived, &self.run.state.progress);
        CurrentRecord {
            run_id: bytes::Bytes::copy_from_slice(&self.run.key.run.0.0),
            status: self.run.status() as i32,
            start_request_id: progress.main.start_request_id.clone(),
            first_run_id: derived.start.event().first_execution_run_id.clone(),
            start_time: derived.start_time().0,
            attached_request_ids: attach::request_ids(&self.run.state),
            chain_request_id: progress.main.chain_request_id.clone(),
        }
    }

    /// Ends the transition: flushes what may be flushed, enforces buffer limits, arms the deadline.
    pub(crate) fn finish(mut self, mut reply: Result<Reply, Refusal>) -> Transition {
        if self.run.is_open() {
            if self.changed && !self.made_speculative {
                self.keep_speculative_ids();
            }
            task::enforce_buffer_limits(&mut self);
            if !self.task_started() {
                self.flush();
            }
            if let Some(answer) = size::enforce(&mut self) {
                reply = answer;
            }
            if self.changed {
                time_skipping::look(&mut self);
                self.skipped = time_skipping::skipped(&self.run.state);
            }
        }
        if let Some(continues) = self.closed {
            update::run_closed(&mut self, continues);
        }
        task::pages::drop_ended(self.run);
        self.out.reply = reply;
        if !self.out.offers.is_empty() && self.run.is_open() {
            self.rank_offers();
        }
        let before = self.flow.take();
        self.out.flow = flow::hold::look(&mut self, before.as_ref());
        if self.changed {
            self.run.state.progress.main.transitions += 1;
            visibility::waits::look(&mut self);
            self.arm();
        }
        if !self.frames.is_empty() {
            self.out.history.push(HistoryBatch {
                first_event_id: self.first_event_id,
                last_event_id: self.run.next_event_id() - 1,
                frames: self.frames.split().freeze(),
            });
            self.out.history_changed = true;
        }
        self.out.durable = self.changed
            || !self.run.state.dirty.is_clean()
            || !self.out.outbox_gone.is_empty()
            || self.out.delete_run
            || self.out.successor.is_some();
        self.out.listed |= self.out.durable && self.shown.is_outdated(self.run);
        self.out
    }

    fn arm(&mut self) {
        if self.out.delete_run {
            return;
        }
        let armed = self.run.armed_deadline();
        let next = deadline::on_the_wall(&self.run.state);
        let keep = match (armed, next) {
            (Some(armed), Some(next)) => armed == next || self.lazy_deadline && armed <= next && armed > self.cx.now,
            (None, None) => true,
            _ => false,
        };
        if !keep {
            self.run.state.progress.main.armed = next.map_or(0, |t| t.0);
            self.run.state.dirty.main();
            self.out.deadline = Some(DeadlineChange { old: armed, new: next });
        }
    }

    /// What a copy needs to undo events written after it (see [`Step::restore`]).
    pub(crate) fn save(&self) -> Box<Saved> {
        Box::new(Saved {
            state: self.run.state.clone(),
            updates: self.run.updates.clone(),
            frames: self.frames.len(),
            offers: self.out.offers.len(),
            offers_gone: self.out.offers_gone.len(),
            outbox: self.out.outbox.len(),
            outbox_gone: self.out.outbox_gone.len(),
            changed: self.changed,
            listed: self.out.listed,
        })
    }

    /// Bytes of history written since.
    pub(crate) fn written_since(&self, saved: &Saved) -> usize {
        self.frames.len() - saved.frames
    }

    /// Undoes everything since `saved`: events, offers, messages, state.
    pub(crate) fn restore(&mut self, saved: Saved) {
        for (_, id) in self.run.state.dirty.signal_ids.iter().skip(saved.state.dirty.signal_ids.len()) {
            self.run.signal_ids.remove(id);
        }
        self.run.state = saved.state;
        self.run.updates = saved.updates;
        self.out.update_news.clear();
        self.out.volatile_offer = None;
        self.made_speculative = false;
        self.closed = None;
        self.frames.truncate(saved.frames);
        self.out.offers.truncate(saved.offers);
        self.out.offers_gone.truncate(saved.offers_gone);
        self.out.outbox.truncate(saved.outbox);
        self.out.outbox_gone.truncate(saved.outbox_gone);
        self.out.current = None;
        self.out.successor = None;
        self.changed = saved.changed;
        self.out.listed = saved.listed;
    }
}

/// A point to go back to.
pub(crate) struct Saved {
    pub(crate) state: crate::state::State,
    updates: Vec<crate::update::Waiting>,
    frames: usize,
    offers: usize,
    offers_gone: usize,
    outbox: usize,
    outbox_gone: usize,
    changed: bool,
    listed: bool,
}

/// Where an offer stands in line (spec 05 §5).
pub(crate) struct Standing {
    /// 1 (first) to 5 (last).
    pub(crate) priority: u8,
    fairness: Option<Box<Fairness>>,
}

impl Standing {
    /// The activity's words over the workflow's, field by field.
    pub(crate) fn new(workflow: Option<&Priority>, own: Option<&Priority>) -> Self {
        let key = own.map_or(0, |p| p.priority_key);
        let key = if key > 0 { key } else { workflow.map_or(0, |p| p.priority_key) };
        let priority = if key > 0 { key.min(5) as u8 } else { PRIORITY_DEFAULT };
        let named = |p: &&Priority| !p.fairness_key.is_empty();
        let fairness_key = own.filter(named).or(workflow.filter(named)).map_or("", |p| p.fairness_key.as_str());
        let weight = [own, workflow].into_iter().flatten().map(|p| p.fairness_weight).find(|weight| *weight != 0.0).unwrap_or(0.0);
        let fair = !fairness_key.is_empty() || weight != 0.0;
        let fairness = fair.then(|| Box::new(Fairness { key: fairness_key.into(), weight }));
        Self { priority, fairness }
    }

    /// For an offer that is made elsewhere.
    pub(crate) fn into_parts(self) -> (u8, Option<Box<Fairness>>) {
        (self.priority, self.fairness)
    }
}

fn closed_activity(event: &HistoryEvent) -> Option<i64> {
    match event.attributes.as_ref()? {
        Attributes::ActivityTaskCompletedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskFailedEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskTimedOutEventAttributes(a) => Some(a.scheduled_event_id),
        Attributes::ActivityTaskCanceledEventAttributes(a) => Some(a.scheduled_event_id),
        _ => None,
    }
}

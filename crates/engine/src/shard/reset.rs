//! A shard's part in a reset: what is read and rebuilt for it beside the loop becomes a run in one commit.
//!
//! | step | where | written |
//! |---|---|---|
//! | plan: which runs, allowed at all | shard | - |
//! | read the base's events, and those of its successors | caller | - |
//! | stage the copied events of a large history, in pieces | shard, a commit each | history rows of the new run, a deadline row |
//! | make the run, end the current one | shard, one commit | everything else; the deadline row of the stage goes |
//!
//! A staged run cannot be seen: it has no state rows, and no pointer names it. Should its reset never come, the deadline
//! row has its events deleted. Events that the runs get while they are read come out of memory in the last step; if that
//! does not have them, the caller reads on and tries again.

use sempre_core::{
    IdSource, Refusal, Reply, RunId, RunKey, Span, Timestamp,
    input::Context,
    keys,
    refusal::text,
    reset::{self, Fork, ResetRequest},
    transition::HistoryBatch,
};
use sempre_store::Table;

use prost::Message as _;

use super::{
    cache::Current,
    deadlines,
    load::no_such_run,
    message::{Answer, Body},
    runner::Runner,
};
use crate::{
    history::slice::PageLimit,
    shared::{SHARD_UNAVAILABLE, internal},
};

/// How long copied events wait for their run.
const STAGED_FOR: Span = Span::seconds(600);
/// Events that came while the runs were read, taken from memory.
const LATE: PageLimit = PageLimit { events: 10_000, bytes: 1 << 20 };

/// The runs a reset is about.
#[derive(Debug)]
pub(crate) struct ResetPlan {
    /// The run that this very request has made already, textual.
    pub(crate) made: Option<String>,
    pub(crate) base: RunId,
    pub(crate) current: RunId,
    /// Id for the new run.
    pub(crate) new: RunId,
}

/// A reset with everything read for it.
#[derive(Debug)]
pub(crate) struct ResetOrder {
    pub(crate) request: ResetRequest,
    pub(crate) fork: Fork,
    pub(crate) base: RunId,
    /// The current run when it was planned.
    pub(crate) current: RunId,
    /// Copied events that were not staged.
    pub(crate) copied: Vec<HistoryBatch>,
    /// The first of the copied events are staged.
    pub(crate) staged: bool,
}

impl Runner {
    fn current_of(&mut self, place: usize) -> Result<RunId, Refusal> {
        let workflow = self.cache.at(place);
        match &workflow.current {
            Current::Is(record) => Ok(record.run()),
            _ => Err(Refusal::not_found(format!("workflow not found for ID: {}", workflow.key.workflow_id))),
        }
    }

    /// Whether the reset is allowed, and what it will be about.
    pub(crate) fn plan_reset(&mut self, place: usize, base: RunId, request: &ResetRequest) -> Result<Answer, Refusal> {
        let current = self.current_of(place)?;
        let made = self.check_reset(place, base, current, request)?;
        let now = self.now();
        let new = self.ids.run_id(now);
        Ok(Answer { run: base, body: Body::ResetPlan(ResetPlan { made, base, current, new }) })
    }

    fn check_reset(&mut self, place: usize, base: RunId, current: RunId, request: &ResetRequest) -> Result<Option<String>, Refusal> {
        let workflow = &*self.cache.at(place);
        let loaded = |id: RunId| {
            let found = workflow.runs.iter().find(|run| run.id == id).and_then(|run| run.execution.as_deref());
            found.ok_or_else(|| no_such_run(&RunKey { workflow: workflow.key.clone(), run: id }))
        };
        let current_execution = loaded(current)?;
        let other = if base == current { None } else { Some(loaded(base)?) };
        reset::check(other, current_execution, request)
    }

    /// Writes copied events of a run to come.
    pub(crate) fn stage(&mut self, place: usize, run: RunId, batches: &[HistoryBatch]) -> Result<Answer, Refusal> {
        self.pin(place);
        let key = self.cache.at(place).key.clone();
        if !self.staged.contains_key(&run) {
            let at = self.now() + STAGED_FOR;
            let record = keys::RunRecord { staged: true, ..keys::RunRecord::new(&key) };
            self.open.commit.put(Table::Deadline, &deadlines::row_key(&key, at, run), &record.encode_to_vec());
            self.deadlines.change(&key, run, None, Some((at, deadlines::Kind::Live)));
            self.staged.insert(run, at);
        }
        for batch in batches {
            self.open.commit.put(Table::History, &keys::history(key.slot(), run, batch.first_event_id), &batch.frames);
        }
        Ok(Answer { run, body: Body::Reply(Reply::Done, None) })
    }

    /// A deadline of a run that does not exist: its copied events were waited for in vain.
    pub(crate) fn drop_staged(&mut self, place: usize, run: RunId, at: Timestamp) {
        self.staged.remove(&run);
        let key = self.cache.at(place).key.clone();
        self.pin(place);
        self.open.commit.delete(Table::Deadline, &deadlines::row_key(&key, at, run));
        // Behind this batch and those before it.
        self.purge_later(place, run, None);
    }

    /// Makes the new run and ends the current one, unless the runs have gone on.
    pub(crate) fn reset(&mut self, place: usize, mut order: ResetOrder) -> Result<Answer, Refusal> {
        // A batch of its own: it may be large. What came before must not take along rows that this changes.
        self.commit_batch();
        let current = self.current_of(place)?;
        if current != order.current || !self.catch_up(place, current, &mut order.fork)? {
            return Ok(Answer { run: current, body: Body::ResetBehind(Box::new(order)) });
        }
        if let Some(made) = self.check_reset(place, order.base, current, &order.request)? {
            let run = RunId::parse(&made).ok_or_else(|| internal("a run id"))?;
            return Ok(Answer { run, body: Body::Reply(Reply::Done, None) });
        }
        let new = order.fork.run();
        if order.staged && !self.staged.contains_key(&new) {
            // The shard started over, or the copied events were given up: they may be gone.
            return Err(Refusal::Unavailable(SHARD_UNAVAILABLE.into()));
        }
        let (now, shared) = (self.now(), self.shared.clone());
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        let namespace = shared.namespaces.view(key.namespace);
        let Some(mut ending) = workflow.run(current).and_then(|run| run.execution.take()) else {
            return Err(Refusal::not_found(text::EXECUTION_NOT_FOUND));
        };
        let base = (order.base != current).then(|| workflow.run(order.base).and_then(|run| run.execution.as_deref_mut())).flatten();
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
        let outcome = reset::reset(order.fork, base, &mut ending, &order.request, &mut cx);
        if let Some(run) = workflow.run(current) {
            run.execution = Some(ending);
        }
        let outcome = outcome.inspect_err(|_| self.shared.stats.refusals.add(1))?;
        self.open.inputs += 1;
        if let Some(at) = self.staged.remove(&new) {
            self.open.commit.delete(Table::Deadline, &deadlines::row_key(&key, at, new));
            self.deadlines.change(&key, new, Some(at), None);
        }
        for batch in &order.copied {
            self.open.commit.put(Table::History, &keys::history(key.slot(), new, batch.first_event_id), &batch.frames);
        }
        // Transitions of a reset have no replies of their own.
        if let Some(transition) = outcome.base {
            let _ = self.settle(place, order.base, transition);
        }
        if let Some(transition) = outcome.current {
            let _ = self.settle(place, current, transition);
        }
        let (execution, transition) = *outcome.created;
        self.open.expected += execution.weight();
        let run = self.adopt(place, execution, transition);
        self.count_reset(place, run);
        Ok(Answer { run, body: Body::Reply(Reply::Done, None) })
    }

    /// Reads what the current run got since it was read, out of memory. False: it is not there.
    fn catch_up(&mut self, place: usize, current: RunId, fork: &mut Fork) -> Result<bool, Refusal> {
        let Some(run) = self.cache.at(place).run(current) else { return Ok(false) };
        let Some(execution) = run.execution.as_deref() else { return Ok(false) };
        if !fork.is_behind(execution) {
            return Ok(true);
        }
        let Some(page) = run.tail.page(fork.reading().1, execution.next_event_id(), LATE) else { return Ok(false) };
        for frames in &page.chunks {
            fork.read(frames).map_err(|error| refused(error, &RunKey { run: current, ..RunKey::default() }))?;
        }
        Ok(!fork.is_behind(execution))
    }
}

/// What a caller is told when events cannot be taken.
pub(crate) fn refused(error: reset::ForkError, run: &RunKey) -> Refusal {
    match error {
        reset::ForkError::Refused(refusal) => refusal,
        reset::ForkError::Damaged => {
            tracing::error!(run = %run.run, "stored history is damaged");
            Refusal::Unavailable("internal history service error".into())
        }
    }
}

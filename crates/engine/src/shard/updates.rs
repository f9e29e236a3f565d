//! Those who wait for updates, and the deadlines of speculative workflow tasks.

use std::collections::HashMap;

use sempre_core::{
    Input, Refusal, Reply, RunId, RunKey, Span, StartInput,
    input::{Context, UpdateRequest},
    transition::{UpdateNews, UpdateStatus},
};

use super::{
    batch::Output,
    cache::{Current, Workflow},
    message::{Answer, UpdateWatcher},
    runner::Runner,
    size,
};

/// Watchers of one update; further callers are told nothing and look again by themselves.
const WATCHERS_MAX: usize = 100;
/// Number of runs with watchers from which those whose callers have gone are looked for.
const SWEEP_FROM: usize = 1024;
/// How long after the last call about it a run keeps updates that nobody waits for. Longer than any pause between two
/// calls of a client that waits.
const KEPT_UNWATCHED: Span = Span::seconds(60);

/// Who waits for which update of which run.
#[derive(Default)]
pub(crate) struct UpdateWatchers {
    runs: HashMap<RunKey, HashMap<String, Vec<UpdateWatcher>>>,
}

impl UpdateWatchers {
    fn add(&mut self, run: RunKey, update_id: String, watcher: UpdateWatcher) {
        let watchers = self.runs.entry(run).or_default().entry(update_id).or_default();
        watchers.retain(|w| !w.is_closed());
        if watchers.len() < WATCHERS_MAX {
            watchers.push(watcher);
        }
        if self.runs.len() > SWEEP_FROM && self.runs.len().is_power_of_two() {
            self.runs.retain(|_, updates| {
                updates.retain(|_, watchers| {
                    watchers.retain(|w| !w.is_closed());
                    !watchers.is_empty()
                });
                !updates.is_empty()
            });
        }
    }

    fn is_watched(&mut self, run: &RunKey, update_id: &str) -> bool {
        let Some(updates) = self.runs.get_mut(run) else { return false };
        let Some(watchers) = updates.get_mut(update_id) else { return false };
        watchers.retain(|w| !w.is_closed());
        let watched = !watchers.is_empty();
        if !watched {
            updates.remove(update_id);
            if updates.is_empty() {
                self.runs.remove(run);
            }
        }
        watched
    }

    /// Drops the updates that only memory has and nobody waits for. Says whether there were any in memory.
    pub(crate) fn relieve(&mut self, workflow: &mut Workflow) -> bool {
        let mut any = false;
        let Workflow { key, runs, .. } = workflow;
        for run in runs {
            let Some(execution) = run.execution.as_mut().filter(|execution| execution.has_updates_in_memory()) else { continue };
            let key = RunKey { workflow: key.clone(), run: run.id };
            execution.forget_updates(|id| self.is_watched(&key, id));
            any = true;
        }
        any
    }

    /// The memory of the shard is lost: whoever waits sends again.
    pub(crate) fn lose_all(&mut self) {
        for watcher in self.runs.drain().flat_map(|(_, updates)| updates).flat_map(|(_, watchers)| watchers) {
            // The caller may have gone.
            let _ = watcher.send(UpdateNews::Lost);
        }
    }

    fn take(&mut self, run: &RunKey, update_id: &str) -> Vec<UpdateWatcher> {
        let Some(updates) = self.runs.get_mut(run) else { return Vec::new() };
        let watchers = updates.remove(update_id).unwrap_or_default();
        if updates.is_empty() {
            self.runs.remove(run);
        }
        watchers
    }
}

/// The update that an input is about.
fn update_id(input: &Input) -> Option<String> {
    match input {
        Input::Update(request) => request.request.meta.as_ref().map(|meta| meta.update_id.clone()),
        Input::PollUpdate { update_id } => Some(update_id.clone()),
        _ => None,
    }
}

impl Runner {
    /// Applies an input about an update. The watcher is kept while the update is on its way.
    pub(crate) fn update(&mut self, place: usize, run: RunId, input: Input, watcher: UpdateWatcher) -> Result<Answer, Refusal> {
        let key = RunKey { workflow: self.cache.at(place).key.clone(), run };
        let id = update_id(&input).unwrap_or_default();
        let reply = self.apply_input(place, run, input)?;
        if matches!(reply, Reply::Update(UpdateStatus::Admitted | UpdateStatus::Accepted)) {
            self.updates.add(key, id, watcher);
            self.update_asked(place, run);
        }
        Ok(self.answer(place, run, reply))
    }

    /// Updates the current run or starts one for it. The watcher is kept while the update is on its way.
    pub(crate) fn update_with_start(
        &mut self,
        place: usize,
        (start, update): (StartInput, UpdateRequest),
        watcher: UpdateWatcher,
    ) -> Result<Answer, Refusal> {
        let now = self.now();
        let workflow = self.cache.at(place);
        let key = workflow.key.clone();
        self.refuse_if_gone(key.namespace)?;
        let workflow = self.cache.at(place);
        let current = match &workflow.current {
            Current::Is(record) => Some(record.clone()),
            Current::None | Current::Unknown => None,
        };
        let id = update.request.meta.as_ref().map(|meta| meta.update_id.clone()).unwrap_or_default();
        let namespace = self.shared.namespaces.view(key.namespace);
        let mut run = current.as_ref().map(|record| record.run()).unwrap_or_default();
        let execution = workflow.run(run).and_then(|run| run.execution.as_deref_mut());
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
        self.open.expected += size::start_bytes(&start);
        let outcome = match sempre_core::update::update_with_start(current.as_ref(), execution, &key, start, update, &mut cx) {
            Ok(outcome) => outcome,
            Err(refusal) => {
                self.shared.stats.refusals.add(1);
                return Err(refusal);
            }
        };
        if let Some(transition) = outcome.existing {
            let _ = self.settle(place, run, transition);
        }
        if let Some(created) = outcome.created {
            let (execution, transition) = *created;
            run = self.adopt(place, execution, transition);
        }
        if matches!(outcome.update, UpdateStatus::Admitted | UpdateStatus::Accepted) {
            self.updates.add(RunKey { workflow: key, run }, id, watcher);
            self.update_asked(place, run);
        }
        Ok(self.answer(place, run, Reply::UpdateWithStart { started: outcome.started, update: outcome.update }))
    }

    /// News of an update for all who wait for it.
    pub(crate) fn tell_update(&mut self, run: &RunKey, update_id: &str, news: UpdateNews) {
        for watcher in self.updates.take(run, update_id) {
            self.open.outputs.push(Output::UpdateNews(watcher, news.clone()));
        }
    }

    /// Somebody has asked for an update of the run: its weight has changed, and it is looked at later whether anybody
    /// still waits.
    fn update_asked(&mut self, place: usize, run: RunId) {
        let look = self.now() + KEPT_UNWATCHED;
        if let Some(cached) = self.cache.at(place).run(run) {
            cached.updates_look = Some(look);
        }
        self.remember_memory_deadline(place, run);
        self.cache.reweigh(place);
    }

    /// Keeps the deadline of what the run has in memory only.
    pub(crate) fn remember_memory_deadline(&mut self, place: usize, run: RunId) {
        let workflow = self.cache.at(place);
        let Some(cached) = workflow.run(run) else { return };
        let execution = cached.execution.as_ref();
        if !execution.is_some_and(|execution| execution.has_updates_in_memory()) {
            cached.updates_look = None;
        }
        let task = execution.and_then(|execution| execution.memory_deadline());
        let new = task.into_iter().chain(cached.updates_look).min();
        let old = std::mem::replace(&mut cached.memory_deadline, new);
        if old != new {
            self.deadlines.change_memory(&workflow.key, run, old, new);
        }
    }

    /// A speculative task may have timed out, or updates have had nobody who waits for them for long.
    pub(crate) fn wake_memory(&mut self, place: usize, run: RunId) {
        let now = self.now();
        let Some(cached) = self.cache.at(place).run(run) else { return };
        cached.memory_deadline = None;
        let looks = cached.updates_look.is_some_and(|at| at <= now);
        if looks {
            // Those that stay are looked at again.
            cached.updates_look = Some(now + KEPT_UNWATCHED);
        }
        let due = cached.execution.as_ref().and_then(|execution| execution.memory_deadline()).is_some_and(|at| at <= now);
        if due && let Err(refusal) = self.apply_input(place, run, Input::Wake) {
            tracing::warn!(?refusal, %run, "a deadline was refused");
        }
        if looks && self.updates.relieve(self.cache.at(place)) {
            self.cache.reweigh(place);
        }
        self.remember_memory_deadline(place, run);
    }
}

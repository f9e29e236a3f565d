//! What a transition does, for metrics: counted where it is put into the batch.

use sempre_api::v1::{enums::WorkflowExecutionStatus, workflowservice::PollActivityTaskQueueResponse};
use sempre_core::{NamespaceId, Reply, RunId, Span, Timestamp, Transition};

use super::runner::Runner;
use crate::stats::Typed;

impl Runner {
    /// Counts a transition of `run`.
    pub(super) fn count(&mut self, place: usize, run: RunId, transition: &Transition) {
        let stats = &self.shared.stats;
        let (mut started, mut closed) = (false, false);
        for batch in &transition.history {
            let seen = stats.events.count(&batch.frames);
            (started, closed) = (started | seen.started, closed | seen.closed);
        }
        match &transition.reply {
            Ok(Reply::ActivityTask(task)) => self.count_attempt(place, task),
            Ok(Reply::WorkflowTask { response, .. }) => {
                stats.workflow_task_waits.observe(between(response.scheduled_time.as_ref(), response.started_time.as_ref()));
            }
            _ => {}
        }
        if started || closed {
            self.count_run(place, run, started, closed);
        }
    }

    /// Counts a run that a reset has made. Its events that are copies happened once, and were counted then.
    pub(super) fn count_reset(&mut self, place: usize, run: RunId) {
        self.count_run(place, run, true, false);
    }

    fn count_attempt(&mut self, place: usize, task: &PollActivityTaskQueueResponse) {
        let stats = &self.shared.stats;
        stats.activity_task_waits.observe(between(task.current_attempt_scheduled_time.as_ref(), task.started_time.as_ref()));
        let namespace = self.cache.at(place).key.namespace;
        let name = task.activity_type.as_ref().map_or("", |kind| kind.name.as_str());
        let kind = self.types.get(&stats.types, namespace, Typed::Activity, name);
        kind.begun.add(1);
        if task.attempt > 1 {
            kind.retried.add(1);
        }
    }

    fn count_run(&mut self, place: usize, run: RunId, started: bool, closed: bool) {
        let workflow = self.cache.at(place);
        let namespace: NamespaceId = workflow.key.namespace;
        if sempre_core::alone::Alone::of(&workflow.key).is_some() {
            // It is no workflow. Attempts of activities are counted.
            return;
        }
        let Some(execution) = workflow.run(run).and_then(|run| run.execution.as_deref()) else { return };
        let derived = &execution.state().derived;
        let kind = self.types.get(&self.shared.stats.types, namespace, Typed::Workflow, derived.start.workflow_type());
        if started {
            kind.begun.add(1);
        }
        if closed && execution.status() != WorkflowExecutionStatus::Running {
            kind.count_closed(execution.status() as i32);
            kind.lives.observe(Timestamp(derived.main.close_time).since(derived.start_time()));
        }
    }
}

fn between(scheduled: Option<&sempre_api::Timestamp>, started: Option<&sempre_api::Timestamp>) -> Span {
    match (scheduled, started) {
        (Some(scheduled), Some(started)) => Timestamp::from_api(started).since(Timestamp::from_api(scheduled)),
        _ => Span::ZERO,
    }
}

//! Resets, as an engine carries them out.

use sempre_api::v1::{
    common::{Payloads, WorkflowExecution},
    workflowservice::ResetWorkflowExecutionRequest,
};
use sempre_core::{
    Context, Refusal, RunId, RunKey,
    reset::{self, Cut, Fork, ForkOrder, ResetRequest},
};

use super::{Endpoints, EveryMinute, IdSource, World, commands::marker};

/// A reset of `id`'s current run to `finish`; the request id is new each time.
pub fn reset_request(world: &mut World, id: &str, finish: i64) -> ResetWorkflowExecutionRequest {
    world.polls += 1;
    ResetWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(WorkflowExecution { workflow_id: id.into(), run_id: String::new() }),
        reason: "again".into(),
        workflow_task_finish_event_id: finish,
        request_id: format!("reset-{}", world.polls),
        ..Default::default()
    }
}

/// A run `w` whose second task waits: events 1–4, a marker, a signal, a second task.
pub fn two_tasks(world: &mut World) {
    world.begin("w", [marker("first")]);
    world.signal("w", "s").expect("an open run takes a signal");
    world.work([marker("second")]);
}

impl World {
    /// Resets the current run of `id` to before event `finish`.
    pub fn reset(&mut self, id: &str, finish: i64) -> RunId {
        let request = reset_request(self, id, finish);
        self.reset_with(request).expect("a plain reset")
    }

    /// Resets the `number`th run (from 1) of `id`.
    pub fn reset_run(&mut self, id: &str, number: usize, finish: i64) -> RunId {
        let mut request = reset_request(self, id, finish);
        request.workflow_execution.as_mut().expect("set").run_id = self.chains[id][number - 1].to_string();
        self.reset_with(request).expect("a reset of an older run")
    }

    /// Resets; every step as an engine does it.
    pub fn reset_with(&mut self, request: ResetWorkflowExecutionRequest) -> Result<RunId, Refusal> {
        let target = request.workflow_execution.clone().expect("set");
        let request = ResetRequest::new(request, &self.limits)?;
        self.carry_out(&target, request)
    }

    /// Forks the current run of `id` at an event, with another input if one is given.
    pub fn fork(&mut self, id: &str, event_id: i64, input: Option<Payloads>) -> Result<RunId, Refusal> {
        self.fork_with(id, event_id, input, false)
    }

    /// As [`World::fork`]; later events are told again if `later`.
    pub fn fork_with(&mut self, id: &str, event_id: i64, input: Option<Payloads>, later: bool) -> Result<RunId, Refusal> {
        let mut cut = Cut::new(event_id, input.is_some());
        let events = self.run(id).events();
        let _ = events.iter().all(|event| cut.read(event));
        let plain = reset_request(self, id, cut.found().expect("there is something to keep"));
        let target = plain.workflow_execution.clone().expect("set");
        let mut request = ResetRequest::new(plain, &self.limits)?;
        request.fork = Some(ForkOrder { until: (!later).then_some(event_id), input });
        self.carry_out(&target, request)
    }

    fn carry_out(&mut self, target: &WorkflowExecution, request: ResetRequest) -> Result<RunId, Refusal> {
        let current_id = self.current_run(&target.workflow_id);
        let base_id = if target.run_id.is_empty() { current_id } else { RunId::parse(&target.run_id).expect("a run id") };
        let other_base = (base_id != current_id).then(|| &self.runs[&base_id].execution);
        if let Some(made) = reset::check(other_base, &self.runs[&current_id].execution, &request)? {
            return Ok(RunId::parse(&made).expect("a run id"));
        }
        let run = self.ids.run_id(self.now);
        let mut fork = Fork::new(RunKey { workflow: self.key(&target.workflow_id), run }, base_id, &request);
        let (mut copied, mut ends) = (Vec::new(), Vec::new());
        loop {
            for frames in self.runs[&fork.reading().0].batches() {
                if let Some(batch) = fork.read(&frames).expect("a history that can be read") {
                    assert_eq!(batch.first_event_id, copied.len() as i64 + 1, "copied batches have no gaps");
                    let mut rest = batch.frames;
                    while let Some(frame) = sempre_api::next_frame(&mut rest).expect("frames") {
                        copied.push(frame);
                    }
                    assert_eq!(batch.last_event_id, copied.len() as i64);
                    ends.push(copied.len());
                }
            }
            if fork.follow().is_none() {
                break;
            }
        }
        let mut current = self.runs.remove(&current_id).expect("the current run");
        assert!(!fork.is_behind(&current.execution));
        let before = current.execution.state().clone();
        let base = self.runs.get_mut(&base_id).map(|base| &mut base.execution);
        let base_before = base.as_ref().map(|base| base.state().clone());
        let cx = &mut Context {
            now: self.now,
            ids: &mut self.ids,
            limits: &self.limits,
            cron: &EveryMinute,
            endpoints: &Endpoints,
            ranks: &sempre_core::transition::NoRanks,
            gate: &self.gate,
            namespace: &self.namespace,
        };
        let outcome = reset::reset(fork, base, &mut current.execution, &request, cx);
        let after = current.execution.state().clone();
        self.runs.insert(current_id, current);
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(refusal) => {
                assert_eq!(before, after, "a refusal changes nothing");
                assert_eq!(base_before, self.runs.get(&base_id).filter(|_| base_id != current_id).map(|b| b.execution.state().clone()));
                return Err(refusal);
            }
        };
        if let Some(transition) = outcome.base {
            self.commit(base_id, transition).expect("the base takes note");
        }
        if let Some(transition) = outcome.current {
            self.commit(current_id, transition).expect("the current run ends");
        }
        let (execution, transition) = *outcome.created;
        Ok(self.insert_with(execution, transition, copied, ends))
    }
}

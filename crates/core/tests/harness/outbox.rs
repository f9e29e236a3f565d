//! Delivery of messages between runs, as an engine does it.

use sempre_core::{
    ChildHeir, Input, Refusal, Reply, RunId, RunKey, StartInput,
    chain_end::{self, AskedChild, ChainLink},
    input::{CancelRequest, ChildClosed, ExternalSource, SignalRequest, TerminateRequest},
    transition::{CallbackResult, Delivery, OperationCancelResult, OperationResult, OutboxEntry, OutboxMessage},
};

use super::World;

/// EXTERNAL_WORKFLOW_EXECUTION_NOT_FOUND.
const NOT_FOUND: i32 = 1;
/// SIGNAL_COUNT_LIMIT_EXCEEDED.
const SIGNAL_LIMIT: i32 = 3;
/// WORKFLOW_ALREADY_EXISTS.
const ALREADY_EXISTS: i32 = 1;

impl World {
    /// Delivers messages, the oldest that can be first, until there are none.
    pub fn deliver(&mut self) {
        while !self.outbox.is_empty() {
            assert!((0..self.outbox.len()).any(|n| self.deliver_nth(n)), "all targets are busy");
        }
    }

    /// Delivers the oldest message.
    pub fn deliver_one(&mut self) {
        assert!(self.deliver_nth(0), "the target is busy");
    }

    /// Delivers the `n`th of the messages (from 0, oldest first); false when its target is busy, or nobody can say yet what is to become of it: it stays.
    pub fn deliver_nth(&mut self, n: usize) -> bool {
        let (from, entry) = self.outbox[n].clone();
        let Some(delivery) = self.carry(from.run, &entry) else { return false };
        self.report(&from, &entry, delivery)
    }

    /// Delivers the `n`th message, and its sender is told of it twice.
    pub fn deliver_nth_told_twice(&mut self, n: usize) {
        let (from, entry) = self.outbox[n].clone();
        let Some(delivery) = self.carry(from.run, &entry) else { return };
        if self.report(&from, &entry, delivery.clone()) {
            self.outbox.push((from.clone(), entry.clone()));
            self.report(&from, &entry, delivery);
        }
    }

    /// Does what the oldest message asks, but the answer gets lost.
    pub fn deliver_one_unheard(&mut self) {
        self.deliver_nth_unheard(0);
    }

    /// Does what the `n`th message asks, but the answer gets lost.
    pub fn deliver_nth_unheard(&mut self, n: usize) {
        let (from, entry) = self.outbox[n].clone();
        self.carry(from.run, &entry);
    }

    /// False when the sender cannot say yet what is to become of it: it stays.
    fn report(&mut self, from: &RunKey, entry: &OutboxEntry, delivery: Delivery) -> bool {
        let ended = match &delivery {
            Delivery::ChildStarted { run_id, .. } => RunId::parse(run_id),
            _ => None,
        };
        let initiated = match &delivery {
            Delivery::ChildStarted { initiated_event_id, .. } => *initiated_event_id,
            _ => 0,
        };
        let reply = self.apply_to(from.run, Input::Delivered { outbox_id: entry.id, delivery });
        let child = || ended.expect("only of a child's start");
        let mut next = Delivery::Ok;
        let ends = match reply.expect("a delivery is never refused") {
            Reply::Obsolete => true,
            Reply::ResetTo(heir) => match self.heir_says(heir, initiated, &child().to_string()) {
                // It is told again later.
                ChildHeir::Undecided => return false,
                ChildHeir::Closed => {
                    next = Delivery::ChildLeft { initiated_event_id: initiated, run_id: child().to_string() };
                    false
                }
                said => said == ChildHeir::Ends,
            },
            _ => return true,
        };
        if ends {
            let request = TerminateRequest { identity: "history-service".into(), parent: Some(from.clone()), ..Default::default() };
            gone_is_fine(self.apply_to(child(), Input::Terminate(Box::new(request))));
        }
        let reply = self.apply_to(from.run, Input::Delivered { outbox_id: entry.id, delivery: next });
        reply.expect("a delivery is never refused");
        true
    }

    fn heir_says(&self, mut heir: RunId, initiated_event_id: i64, run_id: &str) -> ChildHeir {
        loop {
            match self.runs[&heir].execution.child_heir(initiated_event_id, run_id) {
                ChildHeir::ResetTo(run) => heir = run,
                said => return said,
            }
        }
    }

    /// Does what a message asks; `None` when its target is busy.
    fn carry(&mut self, from: RunId, entry: &OutboxEntry) -> Option<Delivery> {
        let sender = self.runs[&from].execution.key().clone();
        Some(match entry.message.clone() {
            OutboxMessage::StartChild(child) => {
                let initiated_event_id = child.initiated_event_id;
                let input = StartInput { request: Box::default(), signal: None, child_of: Some(child), watcher: None };
                match self.start_input(input) {
                    Ok((response, _)) => Delivery::ChildStarted { initiated_event_id, run_id: response.run_id },
                    Err(Refusal::AlreadyStarted { .. }) => Delivery::ChildNotStarted { initiated_event_id, cause: ALREADY_EXISTS },
                    Err(other) => panic!("a child's start is refused: {other:?}"),
                }
            }
            OutboxMessage::Signal(signal) => {
                let initiated_event_id = signal.initiated_event_id;
                let input = Input::Signal(Box::new(SignalRequest {
                    name: signal.name,
                    input: signal.input,
                    header: signal.header,
                    identity: "history-service".into(),
                    request_id: signal.request_id,
                    source: Some(ExternalSource {
                        run: sender.clone(),
                        initiated_event_id,
                        child_only: signal.child_only,
                        reset_parent: signal.parent,
                    }),
                    ..Default::default()
                }));
                let own = signal.workflow_id == sender.workflow.workflow_id;
                self.tell_external(own, &signal.workflow_id, &signal.run_id, initiated_event_id, input)?
            }
            OutboxMessage::Cancel(cancel) => {
                let initiated_event_id = cancel.initiated_event_id;
                let input = Input::RequestCancel(Box::new(CancelRequest {
                    reason: cancel.reason,
                    identity: "history-service".into(),
                    request_id: cancel.request_id,
                    source: Some(ExternalSource {
                        run: sender.clone(),
                        initiated_event_id,
                        child_only: cancel.child_only,
                        reset_parent: cancel.parent,
                    }),
                    ..Default::default()
                }));
                let own = cancel.workflow_id == sender.workflow.workflow_id;
                self.tell_external(own, &cancel.workflow_id, &cancel.run_id, initiated_event_id, input)?
            }
            OutboxMessage::ReleaseChild { run_id, .. } => {
                let run = RunId::parse(&run_id).expect("a run id");
                gone_is_fine(self.apply_to(run, Input::ReleaseFirstTask));
                Delivery::Ok
            }
            OutboxMessage::ChildClosed { parent, news } => {
                let mut parent = parent.run;
                while let Ok(Reply::ResetTo(run)) = self.apply_to_if_there(parent, Input::ChildClosed(news.clone())) {
                    parent = run;
                }
                Delivery::Ok
            }
            OutboxMessage::AskChild(child) => {
                if let Some(news) = self.end_of_chain(&child) {
                    let mut parent = from;
                    while let Ok(Reply::ResetTo(run)) = self.apply_to_if_there(parent, Input::ChildClosed(Box::new(news.clone()))) {
                        parent = run;
                    }
                }
                Delivery::Ok
            }
            OutboxMessage::TerminateChild { workflow_id, first_run_id, parent } => {
                let request = TerminateRequest {
                    reason: "by parent close policy".into(),
                    identity: "history-service".into(),
                    first_run_id,
                    parent: Some(sender),
                    reset_parent: parent,
                    ..Default::default()
                };
                gone_is_fine(self.apply(&workflow_id, Input::Terminate(Box::new(request))));
                Delivery::Ok
            }
            OutboxMessage::CancelChild { workflow_id, first_run_id, parent } => {
                let request = CancelRequest {
                    identity: "history-service".into(),
                    first_run_id,
                    parent: Some(sender),
                    reset_parent: parent,
                    ..Default::default()
                };
                gone_is_fine(self.apply(&workflow_id, Input::RequestCancel(Box::new(request))));
                Delivery::Ok
            }
            OutboxMessage::StartOperation(call) => {
                let (scheduled_event_id, attempt) = (call.scheduled_event_id, call.attempt);
                self.operations_started.push(*call);
                let result = self.operation_answers.pop_front();
                let result = result.unwrap_or_else(|| OperationResult::Started { token: "token".into(), links: Vec::new() });
                Delivery::Operation { scheduled_event_id, attempt, result }
            }
            OutboxMessage::CancelOperation(call) => {
                let (scheduled_event_id, attempt) = (call.scheduled_event_id, call.attempt);
                self.operations_canceled.push(*call);
                let result = self.operation_cancel_answers.pop_front().unwrap_or(OperationCancelResult::Taken);
                Delivery::OperationCancel { scheduled_event_id, attempt, result }
            }
            OutboxMessage::Callback(call) => {
                let (number, attempt) = (call.number, call.attempt);
                self.called_back.push(*call);
                let result = self.callback_answers.pop_front().unwrap_or(CallbackResult::Delivered);
                Delivery::Callback { number, attempt, result }
            }
        })
    }

    fn tell_external(&mut self, own: bool, workflow_id: &str, run_id: &str, initiated_event_id: i64, input: Input) -> Option<Delivery> {
        let run = if run_id.is_empty() { self.current.get(workflow_id).map(|r| r.run()) } else { RunId::parse(run_id) };
        let Some(run) = run.filter(|run| !own && self.runs.contains_key(run)) else {
            return Some(Delivery::Failed { initiated_event_id, cause: NOT_FOUND });
        };
        match self.apply_to(run, input) {
            Ok(_) => Some(Delivery::Done { initiated_event_id }),
            Err(Refusal::NotFound(_)) => Some(Delivery::Failed { initiated_event_id, cause: NOT_FOUND }),
            Err(Refusal::InvalidArgument(_)) => Some(Delivery::Failed { initiated_event_id, cause: SIGNAL_LIMIT }),
            Err(Refusal::ResourceExhausted { .. }) => None,
            Err(other) => panic!("an external request is refused: {other:?}"),
        }
    }
}

impl World {
    /// How the child's chain has ended; `None`: it goes on.
    fn end_of_chain(&self, child: &AskedChild) -> Option<ChildClosed> {
        let current = self.current.get(&child.workflow_id).filter(|current| current.first_run_id == child.first_run_id);
        let mut run = current.map_or_else(|| RunId::parse(&child.first_run_id).expect("a run id"), |current| current.run());
        loop {
            let Some(found) = self.runs.get(&run) else { return Some(chain_end::news(child, None)) };
            match found.execution.chain_link() {
                ChainLink::Open => return None,
                ChainLink::GoesOn(next) => run = next,
                ChainLink::Ended => return Some(chain_end::news(child, found.events().pop().map(|event| (run, event)))),
            }
        }
    }

    /// Applies an input; a run that is not there or not interested is fine.
    fn apply_to_if_there(&mut self, run: RunId, input: Input) -> Result<Reply, Refusal> {
        let answer = self.apply_to(run, input);
        if let Ok(reply) = answer {
            return Ok(reply);
        }
        gone_is_fine(answer);
        Ok(Reply::Done)
    }
}

fn gone_is_fine(answer: Result<sempre_core::Reply, Refusal>) {
    match answer {
        Ok(_) | Err(Refusal::NotFound(_)) => {}
        Err(other) => panic!("a message is refused: {other:?}"),
    }
}

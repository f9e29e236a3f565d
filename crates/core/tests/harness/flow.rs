//! The lines of flow rules in a world of runs: what an engine does with them, at once.

use std::{cell::RefCell, collections::BTreeMap, sync::Arc};

use sempre_api::sempre::v1::{FlowKey, FlowKeyKind, FlowMatch, FlowRule};
use sempre_core::{
    Input, Refusal, RunId, RunKey, Span, Timestamp,
    flow::{Admission, Admitted, FlowChange, FlowProgress, FlowRules, Gate, Order, Rule, lines, report::Standing, rule},
    ids::Uuid,
    input::TerminateRequest,
};

use super::World;

/// The lines as core asks them.
#[derive(Default)]
pub struct Lines(pub RefCell<lines::Lines>);

impl Gate for Lines {
    fn admit(&self, admission: &Admission<'_>) -> Result<Admitted, Refusal> {
        self.0.borrow_mut().admit(admission)
    }
}

impl Lines {
    /// What a transition has written of a run.
    pub fn changed(&self, run: &RunKey, change: Option<&FlowChange>, rows: &mut BTreeMap<RunId, FlowProgress>) {
        let mut lines = self.0.borrow_mut();
        match change {
            Some(FlowChange::Is(progress)) => {
                rows.insert(run.run, (**progress).clone());
                lines.note(run.clone(), progress);
                lines.settled(run.run);
            }
            Some(FlowChange::Gone) => {
                rows.remove(&run.run);
                lines.gone(run.run);
            }
            None => {}
        }
    }
}

/// A rule about all workflows of type `Type`.
pub fn rule(name: &str) -> FlowRule {
    let conditions = FlowMatch { workflow_types: vec!["Type".into()], ..Default::default() };
    FlowRule { name: name.into(), r#match: Some(conditions), ..Default::default() }
}

/// A key that is the fairness key of starts.
pub fn by_fairness_key() -> Option<FlowKey> {
    Some(FlowKey { kind: FlowKeyKind::FairnessKey as i32, ..Default::default() })
}

fn uid(name: &str) -> Uuid {
    let mut uid = [0; 16];
    uid[..name.len().min(16)].copy_from_slice(&name.as_bytes()[..name.len().min(16)]);
    Uuid(uid)
}

impl World {
    /// Puts rules in force, in the place of those before.
    pub fn set_rules(&mut self, rules: impl IntoIterator<Item = FlowRule>) {
        self.namespace.flow = self.set_rules_of_gate(rules);
        self.turn();
    }

    /// As [`World::set_rules`], but runs do not know of them yet.
    pub fn set_rules_of_gate(&mut self, rules: impl IntoIterator<Item = FlowRule>) -> Arc<FlowRules> {
        let rules: Vec<Arc<Rule>> = rules
            .into_iter()
            .map(|says| {
                rule::check(&says).expect("a rule of a test is sound");
                Arc::new(Rule { uid: uid(&says.name), says })
            })
            .collect();
        let rules: Arc<FlowRules> = rules.into();
        self.gate.0.borrow_mut().set_rules(self.now, self.namespace.id, &rules, false);
        rules
    }

    /// Carries out what the lines say now.
    pub fn turn(&mut self) {
        loop {
            let orders = self.gate.0.borrow_mut().pump(self.now, 10);
            if orders.is_empty() {
                return;
            }
            for order in orders {
                self.obey(&order);
            }
        }
    }

    fn obey(&mut self, order: &Order) {
        let run = order.run().run;
        if !self.gate.0.borrow().permits(run, order.permit()) {
            return;
        }
        let input = match order {
            Order::Release { .. } => Input::FlowRelease,
            Order::Replace { by, rule, .. } => Input::Terminate(Box::new(TerminateRequest {
                reason: format!("replaced by {} ({rule})", by.workflow.workflow_id),
                ..Default::default()
            })),
        };
        // It may have closed.
        let _ = self.apply_to(run, input);
    }

    /// Moves the clock; lines and runs do what is due on the way.
    pub fn pass(&mut self, span: Span) {
        let end = self.now + span;
        self.turn();
        while self.now < end {
            let line = self.gate.0.borrow().next_time().unwrap_or(end);
            let run = self.runs.values().filter_map(|run| run.deadline).min().unwrap_or(end);
            let next = line.min(run).min(end).max(self.now);
            self.advance(next.since(self.now));
            self.turn();
        }
    }

    /// The process dies and comes back: lines are made out of rows.
    pub fn restart_lines(&mut self) {
        let mut lines = lines::Lines::default();
        lines.begin_loading();
        lines.set_rules(self.now, self.namespace.id, &self.namespace.flow, true);
        for (run, progress) in &self.flow_rows {
            lines.load(self.runs[run].execution.key().clone(), progress);
        }
        lines.finish_loading();
        self.gate = Lines(RefCell::new(lines));
        self.restart();
        self.turn();
    }

    /// Why the current run of a workflow waits.
    pub fn standing(&self, id: &str) -> Option<Standing> {
        self.gate.0.borrow().standing(self.now, self.current_run(id))
    }

    /// Workflow ids of runs that are open and let go.
    pub fn going(&self) -> Vec<String> {
        let going = self.runs.values().filter(|run| run.execution.is_open() && !run.execution.flow().is_some_and(|flow| flow.held));
        let mut ids: Vec<String> = going.map(|run| run.execution.key().workflow.workflow_id.clone()).collect();
        ids.sort();
        ids
    }

    /// When the wait that blocks a start ends, in seconds from now.
    pub fn waits_for(&self, id: &str) -> Option<i64> {
        let until: Timestamp = self.standing(id)?.until?;
        Some(until.since(self.now).0 / 1_000_000_000)
    }
}

//! What became of the steps of a saga.

use std::fmt;

use serde::{Deserialize, Serialize};
use temporalio_client::errors::WorkflowGetResultError;
use temporalio_common::error::IncomingError;

/// Each step that has begun, in the order in which they did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One per step.
    pub steps: Vec<StepReport>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// Its name.
    pub step: String,
    /// How the step went.
    pub forward: Forward,
    /// How its compensation went.
    pub undo: Undo,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Forward {
    /// It runs; in the end: the body did not wait for it.
    Running,
    /// It has had its effect.
    Done,
    /// It failed with this. It may have had its effect.
    Failed(String),
    /// It was cancelled. It may have had its effect.
    Cancelled,
}

/// How a compensation went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// The step has no compensation.
    Nothing,
    /// Nobody asked for it, or it has not had its turn.
    NotAsked,
    /// It has had its effect.
    Undone,
    /// It failed with this, for good.
    Failed(String),
}

impl Report {
    /// The report in what a client is told of a workflow whose saga failed or was cancelled.
    pub fn of(ended: &WorkflowGetResultError) -> Option<Self> {
        match ended {
            WorkflowGetResultError::Failed(error) => match &**error {
                IncomingError::Application(failure) => failure.details().ok().flatten(),
                _ => None,
            },
            WorkflowGetResultError::Cancelled { details } => details.deserialize().ok(),
            _ => None,
        }
    }

    /// Steps that are done and stay done.
    pub fn done(&self) -> impl Iterator<Item = &str> {
        self.names(|it| it.forward == Forward::Done && it.undo != Undo::Undone)
    }

    /// Steps that have been undone.
    pub fn undone(&self) -> impl Iterator<Item = &str> {
        self.names(|it| it.undo == Undo::Undone)
    }

    /// Steps whose compensation failed: a person has to look.
    pub fn not_undone(&self) -> impl Iterator<Item = &str> {
        self.names(|it| matches!(it.undo, Undo::Failed(_)))
    }

    /// Steps that failed, were cancelled or were not waited for, and that no compensation was for: they may have had their effect.
    pub fn unknown(&self) -> impl Iterator<Item = &str> {
        self.names(|it| it.forward != Forward::Done && matches!(it.undo, Undo::Nothing | Undo::NotAsked))
    }

    fn names(&self, which: impl Fn(&StepReport) -> bool) -> impl Iterator<Item = &str> {
        self.steps.iter().filter(move |it| which(it)).map(|it| it.step.as_str())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: Vec<&str>| if names.is_empty() { "nothing".to_owned() } else { names.join(", ") };
        write!(f, "done: {}; undone: {}", list(self.done().collect()), list(self.undone().collect()))?;
        if self.not_undone().next().is_some() {
            write!(f, "; not undone: {}", list(self.not_undone().collect()))?;
        }
        if self.unknown().next().is_some() {
            write!(f, "; unknown: {}", list(self.unknown().collect()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_told_of() {
        let forwards = [Forward::Running, Forward::Done, Forward::Failed("no".into()), Forward::Cancelled];
        let undos = [Undo::Nothing, Undo::NotAsked, Undo::Undone, Undo::Failed("stuck".into())];
        for forward in forwards {
            for undo in &undos {
                let step = StepReport { step: "pay".into(), forward: forward.clone(), undo: undo.clone() };
                let report = Report { steps: vec![step] };
                let told = [report.done().count(), report.undone().count(), report.not_undone().count(), report.unknown().count()];
                let expected = match (&forward, undo) {
                    // It is done, and stays so because its compensation failed.
                    (Forward::Done, Undo::Failed(_)) => [1, 0, 1, 0],
                    (_, Undo::Undone) => [0, 1, 0, 0],
                    (_, Undo::Failed(_)) => [0, 0, 1, 0],
                    (Forward::Done, _) => [1, 0, 0, 0],
                    _ => [0, 0, 0, 1],
                };
                assert_eq!(told, expected, "{report:?}");
            }
        }
    }
}

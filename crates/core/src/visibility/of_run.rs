//! Takes the picture of a run, and says when a new one is due.
//!
//! A new picture is due when a transition has changed something that lists show or filters look for: the run has begun
//! or closed, memo or search attributes have changed, it or one of its activities was paused or resumed, problems of its
//! workflow tasks were reported or are over, it began to hurt or hurts twice as much ([`super::health`]), it has
//! waited for long or does not wait any more ([`super::waits`]). Numbers that change with every event (length and size of history,
//! transitions) are as of the last picture.

use alloc::{string::String, sync::Arc, vec::Vec};

use bytes::Bytes;
use sempre_api::v1::enums::WorkflowExecutionStatus;

use super::Record;
use crate::{
    Execution, NamespaceId, RunId, RunKey, WorkflowKey, alone,
    ids::Uuid,
    planted::{self, Bug},
    state::{Fields, State, progress::TaskProblem, rows::LoadError},
};

/// What lists show of a run, as it was when a transition began. What is not in here is told by [`crate::step::Step::listed`].
#[derive(Clone)]
pub(crate) struct Shown {
    status: WorkflowExecutionStatus,
    /// Held, so that a change of them makes new ones.
    attributes: Arc<Fields>,
    problem: Option<TaskProblem>,
    /// Workflow tasks fail.
    failing: bool,
    /// What it waits for is told.
    wait_told: bool,
}

impl Shown {
    /// As it is now.
    pub(crate) fn of(run: &Execution) -> Self {
        let state = &run.state;
        let main = &state.progress.main;
        let attributes = state.derived.attributes.clone();
        Self { status: run.status(), attributes, problem: main.problem, failing: main.task_problems > 0, wait_told: main.wait_told }
    }

    /// The run does not look like this any more.
    pub(crate) fn is_outdated(&self, run: &Execution) -> bool {
        let state = &run.state;
        self.status != run.status()
            || self.problem != state.progress.main.problem
            || self.failing != (state.progress.main.task_problems > 0)
            || self.wait_told != state.progress.main.wait_told
            || !Arc::ptr_eq(&self.attributes, &state.derived.attributes) && !planted::is(Bug::AttributesNotListed)
    }
}

impl Execution {
    /// Puts a run together from the rows that were found under its id, whatever workflow it is of.
    pub fn found(run: RunId, rows: Vec<(u8, u64, Bytes)>) -> Result<Self, LoadError> {
        let (state, _) = State::load(rows.clone())?;
        let namespace = NamespaceId(Uuid(state.progress.main.namespace_id.as_ref().try_into().unwrap_or_default()));
        let workflow_id = state.derived.start.event().workflow_id.clone();
        Self::load(RunKey { workflow: WorkflowKey { namespace, workflow_id }, run }, rows)
    }

    /// What lists show of the run. To be taken when a transition says so ([`crate::Transition::listed`]).
    pub fn record(&self) -> Record {
        let derived = &self.state.derived;
        let (start, main, event) = (&derived.start, &derived.main, derived.start.event());
        let parent = event.parent_workflow_execution.clone().unwrap_or_default();
        let root = event.root_workflow_execution.clone().unwrap_or_default();
        Record {
            namespace_id: Bytes::copy_from_slice(&self.key.workflow.namespace.0.0),
            workflow_id: alone::id(&self.key.workflow).into(),
            run_id: Bytes::copy_from_slice(&self.key.run.0.0),
            workflow_type: start.workflow_type().into(),
            task_queue: start.task_queue().into(),
            status: self.status() as i32,
            start_time: derived.start_time().0,
            execution_time: derived.execution_time().0,
            close_time: main.close_time,
            history_length: main.next_event_id - 1,
            history_size_bytes: main.history_size,
            state_transition_count: self.state.progress.main.transitions,
            parent_workflow_id: parent.workflow_id,
            parent_run_id: parent.run_id,
            parent_namespace_id: match event.parent_workflow_execution {
                Some(_) => event.parent_workflow_namespace_id.clone(),
                None => String::new(),
            },
            root_workflow_id: root.workflow_id,
            root_run_id: root.run_id,
            first_run_id: event.first_execution_run_id.clone(),
            memo: derived.attributes.memo.clone(),
            search_attributes: self.search_attributes(),
            activity: self.is_standalone(),
            operation: self.is_operation(),
        }
    }

    /// Grows with every committed change of the run: of two records of it, the one with the higher version is newer.
    pub fn version(&self) -> u64 {
        self.state.progress.main.transitions.unsigned_abs()
    }
}

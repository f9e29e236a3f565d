//! What workers have in hand, as their calls show it, and when the server has given that up. For tests under faults.

use std::collections::BTreeMap;

use bytes::Bytes;
use sempre_api::{
    Timestamp,
    v1::{
        common::WorkflowExecution,
        enums::{PendingActivityState, PendingWorkflowTaskState},
        workflowservice::{
            DescribeWorkflowExecutionRequest, PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse,
            RespondWorkflowTaskCompletedResponse,
        },
    },
};
use sempre_core::Span;
use sempre_engine::{Engine, VirtualTime};

/// Between two looks.
const LOOK: Span = Span(1_000_000);

/// A task that a worker has.
#[derive(Clone, Debug)]
pub struct Task {
    namespace: String,
    execution: WorkflowExecution,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Activity { id: String, attempt: i32 },
    Workflow { started: Option<Timestamp> },
}

impl Task {
    /// Whose it is, for people.
    pub fn name(&self) -> String {
        let workflow = &self.execution.workflow_id;
        match &self.what {
            What::Activity { id, attempt } => format!("activity {id} of `{workflow}`, attempt {attempt}"),
            What::Workflow { .. } => format!("a workflow task of `{workflow}`"),
        }
    }

    /// The server still believes that a worker has it.
    pub async fn is_in_hand(&self, engine: &Engine) -> bool {
        let request = DescribeWorkflowExecutionRequest { namespace: self.namespace.clone(), execution: Some(self.execution.clone()) };
        let Ok(run) = engine.describe_workflow(request).await else { return false };
        match &self.what {
            What::Activity { id, attempt } => run.pending_activities.iter().any(|pending| {
                let states = [PendingActivityState::Started, PendingActivityState::CancelRequested, PendingActivityState::PauseRequested];
                pending.activity_id == *id && pending.attempt == *attempt && states.contains(&pending.state())
            }),
            What::Workflow { started } => run
                .pending_workflow_task
                .is_some_and(|pending| pending.state() == PendingWorkflowTaskState::Started && pending.started_time == *started),
        }
    }
}

/// The tasks in workers' hands, by token.
#[derive(Debug, Default)]
pub struct Hands {
    tasks: BTreeMap<Bytes, Task>,
}

impl Hands {
    /// Takes a workflow task that a poll has brought; says whether it is one.
    pub fn take_workflow_task(&mut self, namespace: &str, task: &PollWorkflowTaskQueueResponse) -> bool {
        // A query alone has no task behind it that could time out.
        if let Some(execution) = task.workflow_execution.clone().filter(|_| task.query.is_none()) {
            let what = What::Workflow { started: task.started_time };
            self.tasks.insert(task.task_token.clone(), Task { namespace: namespace.to_owned(), execution, what });
        }
        !task.task_token.is_empty()
    }

    /// Takes an activity that a poll has brought; says whether it is one of a workflow.
    pub fn take_activity(&mut self, namespace: &str, task: &PollActivityTaskQueueResponse) -> bool {
        let Some(execution) = task.workflow_execution.clone().filter(|execution| !execution.workflow_id.is_empty()) else { return false };
        let what = What::Activity { id: task.activity_id.clone(), attempt: task.attempt };
        self.tasks.insert(task.task_token.clone(), Task { namespace: namespace.to_owned(), execution, what });
        true
    }

    /// Takes what comes back with the answer to a workflow task; says whether there was anything.
    pub fn take_eager(&mut self, namespace: &str, answer: &RespondWorkflowTaskCompletedResponse) -> bool {
        let next = answer.workflow_task.as_ref().is_some_and(|task| self.take_workflow_task(namespace, task));
        answer.activity_tasks.iter().fold(next, |any, task| self.take_activity(namespace, task) || any)
    }

    /// The worker has answered.
    pub fn give_back(&mut self, token: &[u8]) -> Option<Task> {
        self.tasks.remove(token)
    }

    /// One that a worker has.
    pub fn get(&self, token: &[u8]) -> Option<&Task> {
        self.tasks.get(token)
    }

    /// All of them; there are none any more.
    pub fn drop_all(&mut self) -> Vec<Task> {
        std::mem::take(&mut self.tasks).into_values().collect()
    }
}

/// Moves virtual time on until the server has given up all of these; with `alone`, only while it waits for nothing else.
pub async fn time_out(engine: &Engine, time: &VirtualTime, mut tasks: Vec<Task>, alone: bool) {
    while let Some(task) = tasks.last() {
        if !task.is_in_hand(engine).await {
            tasks.pop();
            continue;
        }
        let (calls, others) = time.in_hand();
        let busy = alone && (calls > 0 || others > 1);
        if busy || !time.advance_to_next().await {
            let wall = time.wall();
            wall.sleep_until(wall.now() + LOOK).await;
        }
    }
}

//! A null worker: it polls, and answers at once with what its script says. No SDK, no replay.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sempre_api::v1::{
    command::{Command, command::Attributes},
    enums::TaskQueueKind,
    taskqueue::{StickyExecutionAttributes, TaskQueue},
    workflowservice::{
        PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RespondActivityTaskCompletedRequest,
        RespondWorkflowTaskCompletedRequest,
    },
};
use sempre_bench::api::{self, Client, NAMESPACE};
use tokio::{sync::oneshot, task::JoinHandle};
use tonic::{Code, Status};

use crate::Failure;

/// Polls open at once, of each kind, at most.
const POLLS_MAX: usize = 64;
/// Between two tries of a call that the server has no room for.
const FULL_PAUSE: Duration = Duration::from_millis(100);
/// How long a task waits for the worker that has its run.
const STICKY_WAIT: Duration = Duration::from_secs(10);

/// What the worker answers.
pub(crate) trait Script: Send + Sync + 'static {
    /// To a workflow task.
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision;

    /// An activity is about to be completed.
    fn activity(&self, _task: &PollActivityTaskQueueResponse) {}
}

/// An answer to a workflow task.
#[derive(Default)]
pub(crate) struct Decision {
    pub(crate) commands: Vec<Command>,
    /// The run is over with it: who waits for its workflow is told when the answer is acknowledged.
    pub(crate) closes: bool,
}

impl Decision {
    /// Goes on.
    pub(crate) fn of(commands: Vec<Command>) -> Self {
        Self { commands, closes: false }
    }

    /// Completes the workflow.
    pub(crate) fn done() -> Self {
        Self { commands: vec![api::complete_workflow("\"done\"")], closes: true }
    }
}

/// The worker's tasks; they end when it is dropped.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: String,
    sticky: Option<String>,
    script: Box<dyn Script>,
    /// Who waits for the end of which workflow.
    waiting: Mutex<HashMap<String, oneshot::Sender<()>>>,
    /// Workflow tasks whose answer was taken.
    answered: AtomicU64,
    /// Answers that the server refused because of news that came meanwhile.
    refused: AtomicU64,
    /// Why a poller has ended.
    failure: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Crew {
    /// Puts a worker to work that knows no run from one task to the next.
    pub(crate) fn new(client: &Client, polls: usize, script: impl Script) -> Self {
        Self::start(client, polls, &new_queue(), false, script)
    }

    /// As [`Crew::new`], at a queue that there is.
    pub(crate) fn at(client: &Client, polls: usize, queue: &str, script: impl Script) -> Self {
        Self::start(client, polls, queue, false, script)
    }

    /// Puts a worker to work that keeps its runs, as SDKs do.
    pub(crate) fn sticky(client: &Client, polls: usize, script: impl Script) -> Self {
        Self::start(client, polls, &new_queue(), true, script)
    }

    fn start(client: &Client, polls: usize, queue: &str, sticky: bool, script: impl Script) -> Self {
        let shared = Arc::new(Shared {
            sticky: sticky.then(|| format!("{queue}-sticky")),
            queue: queue.to_owned(),
            script: Box::new(script),
            waiting: Mutex::default(),
            answered: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failure: Mutex::default(),
        });
        let mut tasks = Vec::new();
        for _ in 0..polls.clamp(2, POLLS_MAX) {
            tasks.push(spawn(&shared, workflow_tasks(shared.clone(), client.clone(), api::queue(&shared.queue))));
            if let Some(name) = &shared.sticky {
                let sticky = TaskQueue { name: name.clone(), kind: TaskQueueKind::Sticky as i32, normal_name: shared.queue.clone() };
                tasks.push(spawn(&shared, workflow_tasks(shared.clone(), client.clone(), sticky)));
            }
            tasks.push(spawn(&shared, activity_tasks(shared.clone(), client.clone())));
        }
        Self { shared, tasks }
    }

    /// Where it polls.
    pub(crate) fn queue(&self) -> &str {
        &self.shared.queue
    }

    /// Resolves when the workflow is over. To be called before it is started.
    pub(crate) fn end_of(&self, workflow_id: &str) -> oneshot::Receiver<()> {
        let (done, end) = oneshot::channel();
        lock(&self.shared.waiting).insert(workflow_id.to_owned(), done);
        end
    }

    /// Workflow tasks whose answer was taken.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Why a wait for it has failed: what broke the worker, if that is known.
    pub(crate) fn reason(&self, error: Failure) -> Failure {
        lock(&self.shared.failure).take().map_or(error, Failure::from)
    }

    /// Answers that were refused because of news that came meanwhile; or why the worker is broken.
    pub(crate) fn refused(&self) -> Result<u64, Failure> {
        match lock(&self.shared.failure).take() {
            Some(failure) => Err(failure.into()),
            None => Ok(self.shared.refused.load(Ordering::Relaxed)),
        }
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn new_queue() -> String {
    format!("bench-{:x}", fastrand::u64(..))
}

fn spawn(shared: &Arc<Shared>, work: impl Future<Output = Result<(), Failure>> + Send + 'static) -> JoinHandle<()> {
    let shared = shared.clone();
    tokio::spawn(async move {
        if let Err(error) = work.await {
            lock(&shared.failure).get_or_insert_with(|| format!("a worker's call failed: {error}"));
            // Nobody waits for ever.
            lock(&shared.waiting).clear();
        }
    })
}

/// Makes a call until the server has room for it, as SDKs do.
async fn until_taken<T, C>(call: impl Fn() -> C) -> Result<T, Status>
where
    C: Future<Output = Result<tonic::Response<T>, Status>>,
{
    loop {
        match call().await {
            Err(status) if status.code() == Code::ResourceExhausted => tokio::time::sleep(FULL_PAUSE).await,
            told => return told.map(tonic::Response::into_inner),
        }
    }
}

async fn workflow_tasks(shared: Arc<Shared>, client: Client, queue: TaskQueue) -> Result<(), Failure> {
    let sticky_attributes = shared.sticky.as_ref().map(|name| StickyExecutionAttributes {
        worker_task_queue: Some(TaskQueue { name: name.clone(), kind: TaskQueueKind::Sticky as i32, normal_name: shared.queue.clone() }),
        schedule_to_start_timeout: Some(api::duration(STICKY_WAIT)),
    });
    loop {
        let task = until_taken(|| {
            let (mut client, poll) = (client.clone(), api::poll_workflow_at(queue.clone()));
            async move { client.poll_workflow_task_queue(poll).await }
        })
        .await?;
        if task.task_token.is_empty() {
            continue;
        }
        let mut decision = shared.script.decide(&task);
        name_queues(&mut decision.commands, &shared.queue);
        let answer = RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            commands: decision.commands,
            identity: "bench-worker".into(),
            sticky_attributes: sticky_attributes.clone().filter(|_| !decision.closes),
            ..Default::default()
        };
        let answered = until_taken(|| {
            let (mut client, answer) = (client.clone(), answer.clone());
            async move { client.respond_workflow_task_completed(answer).await }
        })
        .await;
        match answered {
            Ok(_) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(status) if is_overtaken(&status) => {
                shared.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            Err(status) => return Err(status.into()),
        }
        if decision.closes
            && let Some(execution) = task.workflow_execution
        {
            let waiting = lock(&shared.waiting).remove(&execution.workflow_id);
            if let Some(waiting) = waiting {
                // The starter may have been stopped meanwhile.
                let _ = waiting.send(());
            }
        }
    }
}

/// Temporal's server refuses activities whose queue has no name; ours takes the workflow's for them.
fn name_queues(commands: &mut [Command], queue: &str) {
    for command in commands {
        if let Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)) = &mut command.attributes {
            let named = activity.task_queue.get_or_insert_default();
            if named.name.is_empty() {
                named.name = queue.to_owned();
            }
        }
    }
}

/// News came meanwhile, or more of them than a server keeps for a started task: the task comes again, with them.
fn is_overtaken(status: &Status) -> bool {
    match status.code() {
        Code::InvalidArgument => status.message().contains("UnhandledCommand"),
        Code::NotFound => status.message().contains("Workflow task not found"),
        _ => false,
    }
}

async fn activity_tasks(shared: Arc<Shared>, client: Client) -> Result<(), Failure> {
    loop {
        let task = until_taken(|| {
            let (mut client, poll) = (client.clone(), api::poll_activity(&shared.queue));
            async move { client.poll_activity_task_queue(poll).await }
        })
        .await?;
        if task.task_token.is_empty() {
            continue;
        }
        shared.script.activity(&task);
        let answer = RespondActivityTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            result: Some(api::payloads("\"done\"")),
            identity: "bench-worker".into(),
            ..Default::default()
        };
        until_taken(|| {
            let (mut client, answer) = (client.clone(), answer.clone());
            async move { client.respond_activity_task_completed(answer).await }
        })
        .await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activities_name_their_queue() {
        let mut commands = [api::schedule_activity("1", Duration::from_secs(1), None), api::complete_workflow("1")];
        name_queues(&mut commands, "q");
        let Some(Attributes::ScheduleActivityTaskCommandAttributes(activity)) = &commands[0].attributes else { panic!("{commands:?}") };
        assert_eq!(activity.task_queue.as_ref().map(|queue| queue.name.as_str()), Some("q"));
    }

    #[test]
    fn an_answer_that_news_have_overtaken_is_no_failure() {
        assert!(is_overtaken(&Status::invalid_argument("UnhandledCommand")));
        assert!(is_overtaken(&Status::not_found("Workflow task not found.")));
        assert!(!is_overtaken(&Status::not_found("workflow execution already completed")));
        assert!(!is_overtaken(&Status::invalid_argument("BadScheduleActivityAttributes")));
        assert!(!is_overtaken(&Status::unavailable("UnhandledCommand")));
    }
}

//! The load: each workflow gets three signals and runs one heartbeating activity.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sempre_api::v1::{
    command::Command,
    common::WorkflowExecution,
    history::{HistoryEvent, history_event::Attributes},
    workflowservice::{
        PollActivityTaskQueueResponse, PollWorkflowTaskQueueResponse, RecordActivityTaskHeartbeatRequest,
        RespondActivityTaskCompletedRequest, RespondWorkflowTaskCompletedRequest, SignalWorkflowExecutionRequest,
    },
};
use sempre_bench::api::{self, Client, NAMESPACE};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::{
    Failure,
    ledger::{Ledger, number, workflow_id},
};

/// Queue of the load.
const QUEUE: &str = "crash";
/// Signals each workflow waits for.
pub(crate) const SIGNALS: usize = 3;
/// Heartbeats of each activity.
const HEARTBEATS: u64 = 3;
/// Tasks lost in a crash come back after this.
const TASK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a call is tried again: on a slow machine a server may be killed many times before it has answered any.
const TRIED_FOR: Duration = Duration::from_secs(120);
/// How long everything may take to end once the kills are over.
const END_MAX: Duration = Duration::from_secs(60);

/// The running load.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    starters: Vec<JoinHandle<Result<(), Failure>>>,
    workers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts clients and workers.
    pub(crate) fn begin(ledger: Arc<Ledger>, client: Client, in_flight: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(0));
        let starters = (0..in_flight).map(|_| tokio::spawn(starter(ledger.clone(), client.clone(), stop.clone(), next.clone()))).collect();
        let workers = (0..8)
            .flat_map(|_| {
                let (l, c) = (ledger.clone(), client.clone());
                [tokio::spawn(workflow_worker(l.clone(), c.clone())), tokio::spawn(activity_worker(l, c))]
            })
            .collect();
        Self { stop, starters, workers }
    }

    /// No new workflows; waits until those begun have ended.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        self.stop.store(true, Ordering::Relaxed);
        let all = async {
            for starter in self.starters {
                starter.await??;
            }
            Ok::<_, Failure>(())
        };
        let ended = tokio::time::timeout(END_MAX, all).await;
        for worker in self.workers {
            worker.abort();
        }
        ended.map_err(|_| "60 s after the last kill there are still open workflows")?
    }
}

/// The same call may be answered otherwise later: by the codes of what passes in a server, and of what a client makes of a connection that
/// broke.
pub(crate) fn may_pass(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
    )
}

/// Tries a call until it has an answer that does not pass.
async fn insist<T, F: Future<Output = Result<T, Status>>>(ledger: &Ledger, call: impl Fn() -> F) -> Result<T, Status> {
    let begun = Instant::now();
    loop {
        let status = match call().await {
            Ok(answer) => return Ok(answer),
            Err(status) => status,
        };
        if !may_pass(&status) || begun.elapsed() > TRIED_FOR {
            return Err(status);
        }
        ledger.unknown(status.message());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn starter(ledger: Arc<Ledger>, client: Client, stop: Arc<AtomicBool>, next: Arc<AtomicU64>) -> Result<(), Failure> {
    while !stop.load(Ordering::Relaxed) {
        let workflow = next.fetch_add(1, Ordering::Relaxed);
        let id = workflow_id(workflow);
        let request = api::start_request(&id, QUEUE, &format!("start-{id}"), TASK_TIMEOUT);
        let started = insist(&ledger, || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.start_workflow_execution(request).await }
        })
        .await
        .map_err(|status| format!("start of {id}: {status}"))?;
        ledger.acknowledged(workflow, |known| known.run_id = Some(started.into_inner().run_id));
        for signal in 0..SIGNALS {
            let request_id = format!("signal-{id}-{signal}");
            let request = SignalWorkflowExecutionRequest {
                namespace: NAMESPACE.into(),
                workflow_execution: Some(WorkflowExecution { workflow_id: id.clone(), run_id: String::new() }),
                signal_name: "go".into(),
                input: Some(api::payloads("\"signal\"")),
                identity: "crash".into(),
                request_id: request_id.clone(),
                ..Default::default()
            };
            insist(&ledger, || {
                let (mut client, request) = (client.clone(), request.clone());
                async move { client.signal_workflow_execution(request).await }
            })
            .await
            .map_err(|status| format!("signal to {id}: {status}"))?;
            ledger.acknowledged(workflow, |known| {
                known.signals.insert(request_id);
            });
        }
        wait_for_end(&ledger, &client, &id).await?;
    }
    Ok(())
}

/// Asks for the history until its last event closes the run.
async fn wait_for_end(ledger: &Ledger, client: &Client, id: &str) -> Result<(), Failure> {
    loop {
        let events = insist(ledger, || {
            let mut client = client.clone();
            async move { api::history(&mut client, id, "").await }
        })
        .await
        .map_err(|status| format!("history of {id}: {status}"))?;
        let ended = events.last().is_some_and(|e| matches!(e.attributes, Some(Attributes::WorkflowExecutionCompletedEventAttributes(_))));
        if ended {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn workflow_worker(ledger: Arc<Ledger>, client: Client) {
    loop {
        let task = match client.clone().poll_workflow_task_queue(api::poll_workflow(QUEUE)).await {
            Ok(task) => task.into_inner(),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if !task.task_token.is_empty() {
            workflow_task(&ledger, &client, task).await;
        }
    }
}

async fn workflow_task(ledger: &Ledger, client: &Client, task: PollWorkflowTaskQueueResponse) {
    let Some(workflow) = task.workflow_execution.as_ref().and_then(|e| number(&e.workflow_id)) else { return };
    ledger.workflow_task(workflow, task.started_event_id, task.attempt);
    let events = task.history.as_ref().and_then(|h| h.events().ok()).unwrap_or_default();
    let commands = decide(&events);
    let closes = commands.iter().any(|c| c.command_type == sempre_api::v1::enums::CommandType::CompleteWorkflowExecution as i32);
    let request = RespondWorkflowTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token,
        commands,
        identity: "crash".into(),
        ..Default::default()
    };
    let answer = insist(ledger, || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.respond_workflow_task_completed(request).await }
    })
    .await;
    if answer.is_ok() {
        ledger.acknowledged(workflow, |known| {
            known.completed_tasks.insert(task.started_event_id);
            known.closed |= closes;
        });
    }
}

/// The workflow: one activity, then wait for it and for the signals, then the result.
fn decide(events: &[HistoryEvent]) -> Vec<Command> {
    let attributes = || events.iter().filter_map(|e| e.attributes.as_ref());
    let scheduled = attributes().any(|a| matches!(a, Attributes::ActivityTaskScheduledEventAttributes(_)));
    if !scheduled {
        return vec![api::schedule_activity("1", Duration::from_secs(5), Some(TASK_TIMEOUT))];
    }
    let result = attributes().find_map(|a| match a {
        Attributes::ActivityTaskCompletedEventAttributes(a) => Some(api::text(a.result.as_ref())),
        _ => None,
    });
    let signals = attributes().filter(|a| matches!(a, Attributes::WorkflowExecutionSignaledEventAttributes(_))).count();
    match result {
        Some(result) if signals >= SIGNALS => vec![api::complete_workflow(&outcome(signals, &result))],
        _ => Vec::new(),
    }
}

/// The result of a workflow.
pub(crate) fn outcome(signals: usize, activity: &str) -> String {
    format!("{{\"signals\":{signals},\"activity\":{activity}}}")
}

/// The result of its activity.
pub(crate) fn activity_result(workflow: u64) -> String {
    format!("\"done {}\"", workflow_id(workflow))
}

async fn activity_worker(ledger: Arc<Ledger>, client: Client) {
    loop {
        let task = match client.clone().poll_activity_task_queue(api::poll_activity(QUEUE)).await {
            Ok(task) => task.into_inner(),
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            }
        };
        if !task.task_token.is_empty() {
            activity_task(&ledger, &client, task).await;
        }
    }
}

/// Heartbeats on from where the last attempt was, then completes.
async fn activity_task(ledger: &Ledger, client: &Client, task: PollActivityTaskQueueResponse) {
    let Some(workflow) = task.workflow_execution.as_ref().and_then(|e| number(&e.workflow_id)) else { return };
    let told = api::text(task.heartbeat_details.as_ref()).parse().unwrap_or(0);
    ledger.activity_task(workflow, task.attempt, told);
    for beat in told + 1..=HEARTBEATS.max(told) {
        let request = RecordActivityTaskHeartbeatRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token.clone(),
            details: Some(api::payloads(&beat.to_string())),
            identity: "crash".into(),
            ..Default::default()
        };
        let answer = insist(ledger, || {
            let (mut client, request) = (client.clone(), request.clone());
            async move { client.record_activity_task_heartbeat(request).await }
        })
        .await;
        if answer.is_err() {
            return;
        }
        ledger.acknowledged(workflow, |known| known.heartbeat = known.heartbeat.max(beat));
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..40))).await;
    }
    let request = RespondActivityTaskCompletedRequest {
        namespace: NAMESPACE.into(),
        task_token: task.task_token,
        result: Some(api::payloads(&activity_result(workflow))),
        identity: "crash".into(),
        ..Default::default()
    };
    let answer = insist(ledger, || {
        let (mut client, request) = (client.clone(), request.clone());
        async move { client.respond_activity_task_completed(request).await }
    })
    .await;
    if answer.is_ok() {
        ledger.acknowledged(workflow, |known| known.activity_completed = true);
    }
}

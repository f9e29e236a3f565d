//! I: one workflow with a long history, read whole by a worker that does not have it.
//!
//! The history is of markers, 1,000 a task. The server (if it is ours) is started anew before each read, so that nothing of the
//! run is in its memory; the read is a signal, the poll of the task that it makes, with the first page, and all further
//! pages. What is counted is events.

use std::time::{Duration, Instant};

use sempre_api::v1::{
    command::{Command, RecordMarkerCommandAttributes, command::Attributes},
    enums::CommandType,
    workflowservice::{GetWorkflowExecutionHistoryRequest, PollWorkflowTaskQueueResponse, RespondWorkflowTaskCompletedRequest},
};
use sempre_bench::{
    api::{self, Client, NAMESPACE},
    meter::Spent,
};

use super::{nonce, signals::signal, start};
use crate::{Failure, options::Options, report::Outcome, target::Running};

const EVENTS: u64 = 40_000;
/// Markers of one task.
const MARKERS: u64 = 1000;
/// Reads of a measurement.
const READS: u64 = 3;

fn marker(n: u64) -> Command {
    Command {
        command_type: CommandType::RecordMarker as i32,
        attributes: Some(Attributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
            marker_name: "step".into(),
            details: [("result".to_owned(), api::payloads(&format!("\"the result of step {n}, some hundred bytes as they come\"")))].into(),
            ..Default::default()
        })),
        ..Default::default()
    }
}

pub(super) async fn run(options: &Options, _: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let events = options.count.unwrap_or(EVENTS);
    let word = nonce();
    let (id, queue) = (format!("long-{word}"), format!("bench-{word}"));
    let mut client = server.client()?;
    let meter = server.meter()?;
    start(&mut client, &queue, &id).await?;
    let mut written = 0;
    let mut first = true;
    while written < events {
        if !first {
            signal(&mut client, &id, written).await?;
        }
        first = false;
        let task = task(&mut client, &queue).await?;
        written = task.started_event_id.unsigned_abs() + MARKERS;
        respond(&mut client, task, (0..MARKERS).map(|n| marker(written + n)).collect()).await?;
    }
    let made = meter.end()?;

    let mut outcome = Outcome { unit: "event", ..Outcome::default() };
    outcome.more.insert("CPU us to write one", made.cpu_seconds * 1e6 / written as f64);
    let (mut first_page_ms, mut bytes) = (Vec::new(), 0);
    for read in 0..READS {
        server.restart()?;
        let mut client = server.client()?;
        let meter = server.meter()?;
        let begun = Instant::now();
        signal(&mut client, &id, events + read).await?;
        let mut task = task(&mut client, &queue).await?;
        first_page_ms.push(begun.elapsed().as_secs_f64() * 1000.0);
        let (seen, size) = rest(&mut client, &mut task).await?;
        outcome.latencies_us.push(begun.elapsed().as_micros() as u64);
        let spent = meter.end()?;
        if seen != task.started_event_id.unsigned_abs() {
            return Err(format!("the history has {} events, {seen} were read", task.started_event_id).into());
        }
        bytes = size;
        outcome.units += seen;
        outcome.spent = Spent {
            seconds: outcome.spent.seconds + spent.seconds,
            cpu_seconds: outcome.spent.cpu_seconds + spent.cpu_seconds,
            disk_bytes: outcome.spent.disk_bytes + spent.disk_bytes,
            flushes: outcome.spent.flushes + spent.flushes,
            ..spent
        };
        respond(&mut client, task, Vec::new()).await?;
    }
    outcome.more.insert("first page ms", crate::report::median(first_page_ms));
    outcome.more.insert("history MiB", bytes as f64 / f64::from(1 << 20));
    Ok(outcome)
}

async fn task(client: &mut Client, queue: &str) -> Result<PollWorkflowTaskQueueResponse, Failure> {
    let mut request = api::poll_workflow(queue);
    request.set_timeout(Duration::from_secs(60));
    let task = client.poll_workflow_task_queue(request).await?.into_inner();
    if task.task_token.is_empty() { Err("no task came".into()) } else { Ok(task) }
}

async fn respond(client: &mut Client, task: PollWorkflowTaskQueueResponse, commands: Vec<Command>) -> Result<(), Failure> {
    client
        .respond_workflow_task_completed(RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            commands,
            identity: "bench-worker".into(),
            ..Default::default()
        })
        .await?;
    Ok(())
}

/// Reads what the task's first page has not; events and bytes of all.
async fn rest(client: &mut Client, task: &mut PollWorkflowTaskQueueResponse) -> Result<(u64, usize), Failure> {
    let mut page = task.history.take();
    let mut token = std::mem::take(&mut task.next_page_token);
    let (mut events, mut bytes) = (0, 0);
    loop {
        if let Some(history) = page.take() {
            events += history.events()?.len() as u64;
            bytes += history.size();
        }
        if token.is_empty() {
            return Ok((events, bytes));
        }
        let answer = client
            .get_workflow_execution_history(GetWorkflowExecutionHistoryRequest {
                namespace: NAMESPACE.into(),
                execution: task.workflow_execution.clone(),
                next_page_token: token,
                ..Default::default()
            })
            .await?
            .into_inner();
        (page, token) = (answer.history, answer.next_page_token);
    }
}

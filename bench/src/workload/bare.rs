//! What the seven calls of A cost in the same gRPC library, with the same messages, when nothing is done.
//!
//! The calls of one workflow are recorded at the server; `sempre-echo` answers them again and again. CPU is that of the echo.

use std::{
    io,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use prost::Message;
use sempre_api::v1::workflowservice::{
    RespondActivityTaskCompletedRequest, RespondWorkflowTaskCompletedRequest, StartWorkflowExecutionRequest,
};
use sempre_bench::{
    api::{self, Client, NAMESPACE},
    meter::Meter,
    process::{find_binary, free_port},
    recording::{self, Recorded},
};

use super::{TASK_TIMEOUT, each, nonce};
use crate::{Failure, options::Options, report::Outcome, target::Running};

/// How long the echo may take to listen.
const START_MAX: Duration = Duration::from_secs(10);

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let calls = record(&mut server.client()?).await?;
    let file = server.folder().join("calls");
    recording::write(&file, &calls)?;
    let beside = find_binary(options.server.as_deref())?.with_file_name("sempre-echo");
    let port = free_port()?;
    let child = Command::new(&beside).arg(&file).arg(port.to_string()).stdin(Stdio::null()).spawn();
    let child = child.map_err(|error| format!("cannot start {} (cargo build -p sempre-bench, same profile): {error}", beside.display()))?;
    let echo = Echo(child);
    let begun = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        if begun.elapsed() > START_MAX {
            return Err("the echo did not listen in time".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let client = api::client(&format!("127.0.0.1:{port}"))?;
    let turn = Turn::of(&calls)?;
    turn.go(&mut client.clone()).await?;
    let meter = Meter::begin(&[echo.0.id()], server.folder())?;
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let latencies = each(in_flight as u64, in_flight, |_| {
        let (mut client, turn) = (client.clone(), turn.clone());
        async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                turn.go(&mut client).await?;
                latencies.push(begun.elapsed().as_micros() as u64);
            }
            Ok(latencies)
        }
    })
    .await?;
    let spent = meter.end()?;
    let latencies_us = latencies.concat();
    Ok(Outcome { unit: "workflow", units: latencies_us.len() as u64, latencies_us, spent, ..Outcome::default() })
}

/// Ends with its guard.
struct Echo(Child);

impl Drop for Echo {
    fn drop(&mut self) {
        // Already ended is fine.
        let _: io::Result<()> = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs one short workflow and keeps what was said.
async fn record(client: &mut Client) -> Result<Vec<Recorded>, Failure> {
    let word = nonce();
    let queue = format!("bench-{word}");
    let mut calls = Vec::new();
    let request = api::start_request(&format!("wf-bench-64-{word}-1234"), &queue, &format!("r-{word}"), TASK_TIMEOUT);
    let answer = client.start_workflow_execution(request.clone()).await?.into_inner();
    calls.push(Recorded::new("StartWorkflowExecution", &request, &answer));
    for last in [false, true] {
        let request = api::poll_workflow(&queue);
        let asked = request.get_ref().clone();
        let task = client.poll_workflow_task_queue(request).await?.into_inner();
        calls.push(Recorded::new("PollWorkflowTaskQueue", &asked, &task));
        let command = if last { api::complete_workflow("\"done\"") } else { api::schedule_activity("1", Duration::from_secs(10), None) };
        let request = RespondWorkflowTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            commands: vec![command],
            identity: "bench-worker".into(),
            ..Default::default()
        };
        let answer = client.respond_workflow_task_completed(request.clone()).await?.into_inner();
        calls.push(Recorded::new("RespondWorkflowTaskCompleted", &request, &answer));
        if last {
            break;
        }
        let request = api::poll_activity(&queue);
        let asked = request.get_ref().clone();
        let task = client.poll_activity_task_queue(request).await?.into_inner();
        calls.push(Recorded::new("PollActivityTaskQueue", &asked, &task));
        let request = RespondActivityTaskCompletedRequest {
            namespace: NAMESPACE.into(),
            task_token: task.task_token,
            result: Some(api::payloads("\"done\"")),
            identity: "bench-worker".into(),
            ..Default::default()
        };
        let answer = client.respond_activity_task_completed(request.clone()).await?.into_inner();
        calls.push(Recorded::new("RespondActivityTaskCompleted", &request, &answer));
    }
    Ok(calls)
}

/// The calls of one workflow, to be made one after the other.
#[derive(Clone)]
struct Turn {
    queue: String,
    start: StartWorkflowExecutionRequest,
    tasks: Vec<RespondWorkflowTaskCompletedRequest>,
    activity: RespondActivityTaskCompletedRequest,
}

impl Turn {
    fn of(calls: &[Recorded]) -> Result<Self, Failure> {
        let of =
            |method: &str| calls.iter().filter(|call| call.path.ends_with(method)).map(|call| call.request.clone()).collect::<Vec<_>>();
        let first = |method: &str| of(method).into_iter().next().ok_or("a call was not recorded");
        let start = StartWorkflowExecutionRequest::decode(first("/StartWorkflowExecution")?)?;
        let tasks = of("/RespondWorkflowTaskCompleted");
        Ok(Self {
            queue: start.task_queue.as_ref().map(|queue| queue.name.clone()).unwrap_or_default(),
            start,
            tasks: tasks.into_iter().map(RespondWorkflowTaskCompletedRequest::decode).collect::<Result<_, _>>()?,
            activity: RespondActivityTaskCompletedRequest::decode(first("/RespondActivityTaskCompleted")?)?,
        })
    }

    async fn go(&self, client: &mut Client) -> Result<(), Failure> {
        client.start_workflow_execution(self.start.clone()).await?;
        for (at, task) in self.tasks.iter().enumerate() {
            client.poll_workflow_task_queue(api::poll_workflow(&self.queue)).await?;
            client.respond_workflow_task_completed(task.clone()).await?;
            if at == 0 {
                client.poll_activity_task_queue(api::poll_activity(&self.queue)).await?;
                client.respond_activity_task_completed(self.activity.clone()).await?;
            }
        }
        Ok(())
    }
}

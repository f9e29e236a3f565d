//! Work of a fixed size, for counting instructions: `bench/instructions`.
//!
//! `fixed_work short N` runs N short workflows with one activity each through the engine over a store in memory, on one
//! thread and one after the other; `fixed_work signals N` sends N signals to one workflow whose worker takes each;
//! `fixed_work store N` commits N transitions, eight at a time, into a store in a temporary folder. Nothing is measured here.
#![allow(clippy::disallowed_methods, reason = "its worker and its clock are those of the world")]

use std::{process::ExitCode, sync::Arc};

use sempre_api::v1::{
    command::{Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes, command::Attributes},
    common::{ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType},
    enums::CommandType,
    taskqueue::TaskQueue,
    workflowservice::*,
};
use sempre_core::Span;
use sempre_engine::{
    Engine, Settings,
    real::{SystemClock, TokioSpawner},
};
use sempre_store::{
    CommitBatch, Fence, Store, Table,
    embedded::{EmbeddedOptions, EmbeddedStore},
    memory::MemoryStore,
    stream_key,
};

const NAMESPACE: &str = "default";
const QUEUE: &str = "queue";
/// Transitions of one commit.
const BATCH: u64 = 8;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let (kind, count) = (words.next().unwrap_or_default(), words.next().and_then(|word| word.parse().ok()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let done = match (kind.as_str(), count) {
        ("short", Some(count)) => runtime.block_on(short(count)),
        ("signals", Some(count)) => runtime.block_on(signals(count)),
        ("store", Some(count)) => runtime.block_on(store(count)),
        _ => Err("usage: fixed_work short|signals|store N".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn open() -> Result<Engine, Failure> {
    let settings = Settings { shards: 1, ..Settings::default() };
    let spawner = Arc::new(TokioSpawner::current());
    let engine = Engine::open(Arc::new(MemoryStore::new()), Arc::new(SystemClock::new()), spawner, 1, settings).await?;
    engine.ensure_namespace(NAMESPACE, Span::seconds(86_400)).await.map_err(|refusal| format!("{refusal:?}"))?;
    Ok(engine)
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue { name: QUEUE.into(), ..Default::default() })
}

fn payloads(text: &'static str) -> Option<Payloads> {
    let metadata = [("encoding".to_owned(), bytes::Bytes::from_static(b"json/plain"))].into();
    Some(Payloads { payloads: vec![Payload { metadata, data: bytes::Bytes::from_static(text.as_bytes()), ..Default::default() }] })
}

fn start(id: &str) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        request_id: format!("request-{id}"),
        workflow_id: id.into(),
        workflow_type: Some(WorkflowType { name: "Fixed".into() }),
        task_queue: queue(),
        input: payloads("\"a short input, as an order number would be\""),
        identity: "starter".into(),
        ..Default::default()
    }
}

fn activity() -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "1".into(),
        activity_type: Some(ActivityType { name: "Work".into() }),
        task_queue: queue(),
        input: payloads("\"what to do\""),
        start_to_close_timeout: Some(Span::seconds(30).to_api()),
        ..Default::default()
    };
    Command {
        command_type: CommandType::ScheduleActivityTask as i32,
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(Box::new(attributes))),
        ..Default::default()
    }
}

fn complete() -> Command {
    let attributes = CompleteWorkflowExecutionCommandAttributes { result: payloads("\"done\"") };
    Command {
        command_type: CommandType::CompleteWorkflowExecution as i32,
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(attributes)),
        ..Default::default()
    }
}

/// Polls for a workflow task and answers it.
async fn workflow_task(engine: &Engine, commands: Vec<Command>) -> Result<(), Failure> {
    let poll =
        PollWorkflowTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue(), identity: "worker".into(), ..Default::default() };
    let task = engine.poll_workflow_task(poll, None).await.map_err(|refusal| format!("{refusal:?}"))?;
    if task.task_token.is_empty() {
        return Err("no workflow task came".into());
    }
    let answer = RespondWorkflowTaskCompletedRequest { task_token: task.task_token, commands, ..Default::default() };
    engine.respond_workflow_task_completed(answer).await.map_err(|refusal| format!("{refusal:?}"))?;
    Ok(())
}

async fn activity_task(engine: &Engine) -> Result<(), Failure> {
    let poll =
        PollActivityTaskQueueRequest { namespace: NAMESPACE.into(), task_queue: queue(), identity: "worker".into(), ..Default::default() };
    let task = engine.poll_activity_task(poll, None).await.map_err(|refusal| format!("{refusal:?}"))?;
    let answer = RespondActivityTaskCompletedRequest { task_token: task.task_token, result: payloads("\"done\""), ..Default::default() };
    engine.respond_activity_task_completed(answer).await.map_err(|refusal| format!("{refusal:?}"))?;
    Ok(())
}

async fn short(count: u64) -> Result<(), Failure> {
    let engine = open().await?;
    for n in 0..count {
        let request = start(&format!("workflow-{n:08}"));
        engine.start_workflow(request).await.map_err(|refusal| format!("{refusal:?}"))?;
        workflow_task(&engine, vec![activity()]).await?;
        activity_task(&engine).await?;
        workflow_task(&engine, vec![complete()]).await?;
    }
    engine.shutdown().await;
    Ok(())
}

async fn signals(count: u64) -> Result<(), Failure> {
    let engine = open().await?;
    engine.start_workflow(start("entity")).await.map_err(|refusal| format!("{refusal:?}"))?;
    workflow_task(&engine, Vec::new()).await?;
    for n in 0..count {
        let request = SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: Some(WorkflowExecution { workflow_id: "entity".into(), run_id: String::new() }),
            signal_name: "news".into(),
            input: payloads("\"a short piece of news\""),
            identity: "starter".into(),
            request_id: format!("signal-{n:08}"),
            ..Default::default()
        };
        engine.signal_workflow(request).await.map_err(|refusal| format!("{refusal:?}"))?;
        workflow_task(&engine, Vec::new()).await?;
    }
    engine.shutdown().await;
    Ok(())
}

/// Six transitions a run, as those of a short workflow: history, state, an offer that comes and goes, a deadline that stays.
async fn store(count: u64) -> Result<(), Failure> {
    let folder = std::env::temp_dir().join(format!("sempre-fixed-work-{}", std::process::id()));
    let result = fill(&folder, count).await;
    std::fs::remove_dir_all(&folder)?;
    result
}

async fn fill(folder: &std::path::Path, count: u64) -> Result<(), Failure> {
    let store = EmbeddedStore::open(folder, EmbeddedOptions { segment_bytes: 4 << 20, ..EmbeddedOptions::default() })?;
    let fence = Fence { shard: 0, epoch: store.acquire(0).await? };
    let bytes = [b'x'; 1024];
    let mut n = 0;
    while n < count {
        let mut batch = CommitBatch::new(fence);
        for _ in 0..BATCH {
            let (run, step) = (n / 6, n % 6);
            let key = [&[(run % 4) as u8, run as u8][..], &run.to_be_bytes(), &[7; 8]].concat();
            let offer = |step: u64| [&key[..], &step.to_be_bytes()].concat();
            batch.put(Table::History, &stream_key(&key, step + 1), &bytes[..400]);
            batch.put(Table::State, &key, &bytes);
            if step > 0 {
                batch.delete(Table::Offer, &offer(step - 1));
            }
            if step < 5 {
                batch.put(Table::Offer, &offer(step), &bytes[..20]);
            } else {
                batch.put(Table::Deadline, &offer(99), &bytes[..20]);
            }
            n += 1;
        }
        store.commit(batch).await?;
    }
    store.close().await?;
    Ok(())
}

//! Fills a data folder with closed and open runs, for benchmarks of a store that is not empty.
//!
//! `fill FOLDER [CLOSED] [OPEN]`; by default 1,000,000 closed and 100,000 open runs of 10 types, each with three search
//! attributes, in the namespace `default` of a server's data folder. Made by the engine's own calls (a start; for the
//! closed ones a terminate), without a wire between. A folder that has runs is left as it is.
#![allow(clippy::disallowed_methods, reason = "a benchmark lives in real time")]

use std::{error::Error, path::PathBuf, sync::Arc, time::Instant};

use futures::{StreamExt, stream};
use sempre_api::v1::{
    common::{Payload, SearchAttributes, WorkflowExecution, WorkflowType},
    operatorservice::AddSearchAttributesRequest,
    taskqueue::TaskQueue,
    workflowservice::{StartWorkflowExecutionRequest, TerminateWorkflowExecutionRequest},
};
use sempre_core::{Refusal, Span, visibility::AttributeType};
use sempre_engine::{
    Components, Engine, Settings,
    real::{SystemClock, TokioSpawner},
    visibility::{
        Index,
        sqlite::{FILE_NAME, SqliteIndex},
    },
};
use sempre_store::embedded::{EmbeddedOptions, EmbeddedStore};

const NAMESPACE: &str = "default";
/// Calls at once.
const AT_ONCE: usize = 1024;
/// Runs between two lines of progress.
const TOLD: usize = 100_000;

fn attribute(name: &str, data: String) -> (String, Payload) {
    (name.to_owned(), Payload { metadata: [("encoding".to_owned(), "json/plain".into())].into(), data: data.into(), ..Payload::default() })
}

fn start(n: usize) -> StartWorkflowExecutionRequest {
    StartWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        request_id: format!("r-{n}"),
        workflow_id: format!("order-{n:08}"),
        workflow_type: Some(WorkflowType { name: format!("OrderWorkflow{}", n % 10) }),
        task_queue: Some(TaskQueue { name: "nobody-polls".into(), ..TaskQueue::default() }),
        search_attributes: Some(SearchAttributes {
            indexed_fields: [
                attribute("Region", format!("\"region-{}\"", n % 5)),
                attribute("Customer", format!("\"customer-{}\"", n * 7919 % 10_000)),
                attribute("Amount", (n * 104_729 % 1_000_000).to_string()),
            ]
            .into(),
        }),
        ..Default::default()
    }
}

async fn make(engine: &Engine, n: usize, closed: bool) -> Result<(), Refusal> {
    let run_id = engine.start_workflow(start(n)).await?.run_id;
    if closed {
        let workflow_execution = Some(WorkflowExecution { workflow_id: format!("order-{n:08}"), run_id });
        engine
            .terminate(TerminateWorkflowExecutionRequest { namespace: NAMESPACE.into(), workflow_execution, ..Default::default() })
            .await?;
    }
    Ok(())
}

/// Overload is an answer: a little later there is room.
async fn make_in_the_end(engine: &Engine, n: usize, closed: bool) -> Result<(), String> {
    loop {
        match make(engine, n, closed).await {
            Ok(()) => return Ok(()),
            Err(Refusal::Overloaded(_) | Refusal::AlreadyStarted { .. }) => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            Err(refusal) => return Err(format!("{refusal:?}")),
        }
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("which folder?")?);
    let mut number = |default: usize| arguments.next().map_or(Ok(default), |n| n.parse());
    let (closed, open) = (number(1_000_000)?, number(100_000)?);
    let store = Arc::new(EmbeddedStore::open(&folder, EmbeddedOptions::default())?);
    let file = folder.join(FILE_NAME);
    let index = move |owner| SqliteIndex::open(&file, owner).map(|index| Arc::new(index) as Arc<dyn Index>);
    let components = Components { index: Box::new(move |owner| Box::pin(std::future::ready(index(owner)))), ..Components::default() };
    let settings = Settings { shards: 2, ..Settings::default() };
    let (clock, spawner) = (Arc::new(SystemClock::new()), Arc::new(TokioSpawner::current()));
    let engine = Engine::open_with(store, clock, spawner, 7, settings, components).await?;
    engine.ensure_namespace(NAMESPACE, Span::seconds(30 * 86_400)).await.map_err(|refusal| format!("{refusal:?}"))?;
    let count = async || engine.count_runs(NAMESPACE, "").await.map_err(|refusal| format!("{refusal:?}"));
    let there = count().await?;
    if there > 0 {
        println!("{there} runs are there already");
        engine.shutdown().await;
        return Ok(());
    }
    let types = [("Region", AttributeType::Keyword), ("Customer", AttributeType::Keyword), ("Amount", AttributeType::Int)];
    let search_attributes = types.map(|(name, kind)| (name.to_owned(), kind.to_api() as i32)).into();
    let request = AddSearchAttributesRequest { namespace: NAMESPACE.into(), search_attributes };
    engine.add_search_attributes(request).await.map_err(|refusal| format!("{refusal:?}"))?;
    let runs = closed + open;
    // The open ones are spread over the time.
    let every = runs.checked_div(open).unwrap_or(usize::MAX).max(1);
    let (begun, mut made) = (Instant::now(), 0);
    let mut all = stream::iter(0..runs).map(|n| make_in_the_end(&engine, n, n % every != 0)).buffer_unordered(AT_ONCE);
    while let Some(one) = all.next().await {
        one?;
        made += 1;
        if made % TOLD == 0 {
            println!("{made} runs after {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    drop(all);
    println!("{} runs in lists, {} of them running", count().await?, {
        let running = engine.count_runs(NAMESPACE, "ExecutionStatus = 'Running'").await;
        running.map_err(|refusal| format!("{refusal:?}"))?
    });
    engine.shutdown().await;
    Ok(())
}

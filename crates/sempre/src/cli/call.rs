//! `sempre call TYPE INPUT`: starts a workflow on the task queue that there is, shows its progress, prints its result.

use std::collections::BTreeSet;

use clap::Args;
use sempre_api::{
    sempre::v1::ListPolledQueuesRequest,
    v1::{
        common::WorkflowExecution,
        enums::TaskQueueType,
        workflowservice::{ListWorkersRequest, ListWorkflowExecutionsRequest, StartWorkflowExecutionRequest},
    },
};
use serde_json::Value;
use tonic::{Code, Status};

use super::{
    Failure,
    flags::{ClientFlags, CommonFlags},
    history::{self, Events, Read},
    input,
    output::Hue,
    progress::Story,
    session::{self, Session, request_id},
    task_queue,
    workflow::{result_value, start},
};

/// Runs that are looked at for their task queues.
const RUNS_LOOKED_AT: i32 = 100;

#[derive(Args)]
pub(crate) struct Options {
    /// Type of the workflow
    #[arg(value_name = "TYPE")]
    kind: String,
    /// Its arguments as JSON
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    input: Vec<String>,
    /// Task queue; without it the only one whose workers are there
    #[arg(short, long, value_name = "NAME")]
    task_queue: Option<String>,
    /// The workflow; without it a new id is made
    #[arg(short, long, value_name = "ID")]
    workflow_id: Option<String>,
    #[command(flatten)]
    client: ClientFlags,
}

pub(crate) fn run(common: CommonFlags, options: &Options) -> Result<(), Failure> {
    session::run(common, &options.client, async |session| call(session, options).await)
}

async fn call(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let payloads = input::build(&options.input, &[], &[], false)?;
    let task_queue = match &options.task_queue {
        Some(name) => name.clone(),
        None => only_queue(session).await?,
    };
    let workflow_id = options.workflow_id.clone().unwrap_or_else(|| format!("{}-{}", options.kind, request_id()));
    let request = StartWorkflowExecutionRequest {
        namespace: session.namespace(),
        workflow_id,
        workflow_type: Some(sempre_api::v1::common::WorkflowType { name: options.kind.clone() }),
        task_queue: Some(sempre_api::v1::taskqueue::TaskQueue { name: task_queue.clone(), ..Default::default() }),
        input: payloads,
        identity: session.identity(),
        request_id: request_id(),
        ..Default::default()
    };
    // The caller wants the result of this input, not of a run that is there already.
    let execution = start::start(session, request, true).await?;
    session.out.line(format!("{} on task queue {task_queue}", execution.workflow_id))?;
    progress(session, execution.clone()).await?;
    let client = session.client().await?;
    let close = history::close_event(&client, &session.settings.namespace, &execution).await?;
    let value = result_value(session, &close)?;
    if session.out.is_json() {
        return session.out.value(&value);
    }
    session.out.line_in(Hue::Good, shown(&value))
}

/// Strings as they are: the result is often a text to go on with.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "done".to_owned(),
        other => format!("{other:#}"),
    }
}

/// One line for each event that matters, until the run is closed.
async fn progress(session: &mut Session, mut execution: WorkflowExecution) -> Result<(), Failure> {
    if !session.out.is_text() {
        return Ok(());
    }
    loop {
        let mut events = Events::new(session.client().await?, session.namespace(), execution.clone(), Read::Follow);
        let (mut story, mut next) = (Story::default(), None);
        while let Some(event) = events.next().await? {
            if let Some((text, hue)) = story.tell(&event) {
                match hue {
                    Some(hue) => session.out.line_in(hue, format!("  {text}"))?,
                    None => session.out.line(format!("  {text}"))?,
                }
            }
            next = history::continued_as(&event);
        }
        match next {
            Some(run_id) => execution.run_id = run_id,
            None => return Ok(()),
        }
    }
}

/// The only task queue whose workers are there.
async fn only_queue(session: &mut Session) -> Result<String, Failure> {
    let request = ListPolledQueuesRequest { namespace: session.namespace() };
    if let Some(answer) = absent(session.client().await?.inspect.list_polled_queues(request).await.map(tonic::Response::into_inner))? {
        return choose(answer.queues.into_iter().map(|queue| queue.name).collect(), &session.settings.namespace);
    }
    // Another server than ours.
    let mut polled = Vec::new();
    for name in known_queues(session).await? {
        if !task_queue::ask(session, &name, TaskQueueType::Workflow, false).await?.pollers.is_empty() {
            polled.push(name);
        }
    }
    choose(polled, &session.settings.namespace)
}

fn choose(mut polled: Vec<String>, namespace: &str) -> Result<String, Failure> {
    match (polled.pop(), polled.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => Err(Failure::new(format_args!(
            "no worker is known in namespace {namespace}; start one, or name its task queue with --task-queue"
        ))),
        (Some(last), false) => {
            polled.push(last);
            Err(Failure::new(format_args!("several task queues have workers; choose one with --task-queue: {}", polled.join(", "))))
        }
    }
}

/// Task queues that workers tell of by their heartbeats, and those of the newest workflows.
async fn known_queues(session: &mut Session) -> Result<BTreeSet<String>, Failure> {
    let mut client = session.client().await?.workflow;
    let request = ListWorkersRequest { namespace: session.namespace(), ..Default::default() };
    let workers = absent(client.list_workers(request).await.map(tonic::Response::into_inner))?.unwrap_or_default().workers;
    let request = ListWorkflowExecutionsRequest { namespace: session.namespace(), page_size: RUNS_LOOKED_AT, ..Default::default() };
    let runs = absent(client.list_workflow_executions(request).await.map(tonic::Response::into_inner))?.unwrap_or_default().executions;
    let names = workers.into_iter().map(|worker| worker.task_queue).chain(runs.into_iter().map(|run| run.task_queue));
    Ok(names.filter(|name| !name.is_empty()).collect())
}

/// What a server does not have is nothing to find a queue by.
fn absent<T>(answer: Result<T, Status>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(status.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_queue_or_a_question() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(names(&["a"]), "n").expect("one"), "a");
        let several = choose(names(&["a", "b"]), "n").expect_err("two").to_string();
        assert_eq!(several, "several task queues have workers; choose one with --task-queue: a, b.");
        let none = choose(Vec::new(), "n").expect_err("none").to_string();
        assert!(none.starts_with("no worker is known in namespace n;"), "{none}");
    }
}

//! `workflow trace`: a run and its children as they go, one line for each event that matters, children further in.

use std::collections::VecDeque;

use clap::Args;
use sempre_api::v1::{
    common::WorkflowExecution,
    history::{HistoryEvent, history_event::Attributes},
};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::Reference;
use crate::cli::{
    Failure,
    client::Client,
    history::{self, Events, Read},
    output::Hue,
    progress::Story,
    session::Session,
};

/// Lines that wait to be printed.
const LINES_MAX: usize = 256;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
    /// How deep to follow children; -1 is all the way
    #[arg(long, value_name = "NUMBER", default_value_t = -1, allow_hyphen_values = true)]
    depth: i32,
    /// How many runs to follow at once
    #[arg(long, value_name = "NUMBER", default_value_t = 10)]
    concurrency: usize,
    /// Accepted for scripts: lines are not folded
    #[arg(long, value_name = "STATUS", hide = true)]
    fold: Vec<String>,
    /// Accepted for scripts: lines are not folded
    #[arg(long, hide = true)]
    no_fold: bool,
}

/// A run to follow.
struct Run {
    execution: WorkflowExecution,
    depth: i32,
}

/// What is heard of the runs.
enum Heard {
    Line { depth: i32, workflow_id: String, text: String, hue: Option<Hue> },
    Child(Run),
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    if session.out.is_json() {
        return Err(Failure::usage("a trace is for people; `workflow show --follow` gives JSON"));
    }
    let client = session.client().await?;
    let namespace = session.namespace();
    let (tell, mut hear) = mpsc::channel(LINES_MAX);
    let (end, ended) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let root = Run { execution: options.reference.execution(), depth: 0 };
    let root_id = tasks.spawn(follow(client.clone(), namespace.clone(), root, tell.clone(), ended.clone())).id();
    let mut waiting = VecDeque::new();
    while !(tasks.is_empty() && waiting.is_empty() && hear.is_empty()) {
        while tasks.len() < options.concurrency.max(1) {
            let Some(run) = waiting.pop_front() else { break };
            tasks.spawn(follow(client.clone(), namespace.clone(), run, tell.clone(), ended.clone()));
        }
        tokio::select! {
            biased;
            Some(heard) = hear.recv() => match heard {
                Heard::Line { depth, workflow_id, text, hue } => print(session, depth, &workflow_id, &text, hue)?,
                Heard::Child(run) if options.depth < 0 || run.depth <= options.depth => waiting.push_back(run),
                Heard::Child(_) => {}
            },
            Some(joined) = tasks.join_next_with_id() => {
                let (id, result) = joined.map_err(|error| Failure::new(format_args!("a run could not be followed: {error}")))?;
                if id == root_id {
                    result?;
                    // The others tell what they have done up to here.
                    end.send_replace(true);
                }
                // A child that cannot be read is gone, or in another namespace.
            }
        }
    }
    Ok(())
}

fn print(session: &mut Session, depth: i32, workflow_id: &str, text: &str, hue: Option<Hue>) -> Result<(), Failure> {
    let indent = "  ".repeat(usize::try_from(depth).unwrap_or(0) + 1);
    session.out.text(&format!("{indent}{workflow_id}  "))?;
    match hue {
        Some(hue) => session.out.line_in(hue, text),
        None => session.out.line(text),
    }
}

/// Tells the events of a run, and of those it continues as, until it is closed. When the root has ended, what is there.
async fn follow(
    client: Client,
    namespace: String,
    run: Run,
    tell: mpsc::Sender<Heard>,
    mut ended: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let Run { mut execution, depth } = run;
    loop {
        let mut read = if *ended.borrow() { Read::All } else { Read::Follow };
        let mut events = Events::new(client.clone(), namespace.clone(), execution.clone(), read);
        let mut story = Story::default();
        let (mut next, mut told) = (None, 0);
        loop {
            let event = tokio::select! {
                biased;
                event = events.next() => event?,
                // The other end stays until all have ended.
                _ = ended.wait_for(|ended| *ended), if read == Read::Follow => {
                    read = Read::All;
                    events = Events::new(client.clone(), namespace.clone(), execution.clone(), read);
                    continue;
                }
            };
            let Some(event) = event else { break };
            if event.event_id <= told {
                continue;
            }
            told = event.event_id;
            if let Some((text, hue)) = story.tell(&event) {
                let line = Heard::Line { depth, workflow_id: execution.workflow_id.clone(), text, hue };
                // Nobody listens any more when printing has failed.
                if tell.send(line).await.is_err() {
                    return Ok(());
                }
            }
            if let Some(execution) = child(&event)
                && tell.send(Heard::Child(Run { execution, depth: depth + 1 })).await.is_err()
            {
                return Ok(());
            }
            next = history::continued_as(&event);
        }
        match next {
            Some(run_id) => execution.run_id = run_id,
            None => return Ok(()),
        }
    }
}

fn child(event: &HistoryEvent) -> Option<WorkflowExecution> {
    match event.attributes.as_ref()? {
        Attributes::ChildWorkflowExecutionStartedEventAttributes(started) => started.workflow_execution.clone(),
        _ => None,
    }
}

//! D: workflows that start a hundred children at once and end when all have ended.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use sempre_api::v1::{
    command::{Command, StartChildWorkflowExecutionCommandAttributes, command::Attributes},
    common::WorkflowType,
    enums::CommandType,
    workflowservice::PollWorkflowTaskQueueResponse,
};
use sempre_bench::api;

use super::{each, ended, nonce, start};
use crate::{
    Failure,
    crew::{Crew, Decision, Script},
    options::Options,
    report::Outcome,
    target::Running,
};

const CHILDREN: u64 = 100;
/// Between the parent's name and the child's number.
const MARK: &str = ".child-";

/// Parents start children and wait for all; children end at once.
struct Family {
    width: u64,
    /// Children ended, by parent. One counts as ended before its answer is sent, as in [`super::fan_out`].
    ended: Mutex<HashMap<String, u64>>,
}

impl Script for Family {
    fn decide(&self, task: &PollWorkflowTaskQueueResponse) -> Decision {
        let id = task.workflow_execution.as_ref().map_or("", |execution| execution.workflow_id.as_str());
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((parent, _)) = id.split_once(MARK) {
            *ended.entry(parent.to_owned()).or_default() += 1;
            return Decision::done();
        }
        if task.previous_started_event_id == 0 {
            return Decision::of((1..=self.width).map(|n| start_child(&format!("{id}{MARK}{n}"))).collect());
        }
        if ended.get(id).is_some_and(|ended| *ended >= self.width) { Decision::done() } else { Decision::default() }
    }
}

fn start_child(id: &str) -> Command {
    Command {
        command_type: CommandType::StartChildWorkflowExecution as i32,
        attributes: Some(Attributes::StartChildWorkflowExecutionCommandAttributes(Box::new(
            StartChildWorkflowExecutionCommandAttributes {
                workflow_id: id.to_owned(),
                workflow_type: Some(WorkflowType { name: "child".into() }),
                input: Some(api::payloads("\"one of many\"")),
                ..Default::default()
            },
        ))),
        ..Default::default()
    }
}

pub(super) async fn run(options: &Options, in_flight: usize, server: &mut Running) -> Result<Outcome, Failure> {
    let width = options.count.unwrap_or(CHILDREN);
    let client = server.client()?;
    let crew = Arc::new(Crew::sticky(&client, 64, Family { width, ended: Mutex::default() }));
    let word = nonce();
    let meter = server.meter()?;
    let latencies_us: Vec<u64> = each(in_flight as u64, in_flight, |n| {
        let (crew, mut client, id) = (crew.clone(), client.clone(), format!("parent-{word}-{n}"));
        async move {
            let end = crew.end_of(&id);
            let begun = Instant::now();
            start(&mut client, crew.queue(), &id).await?;
            ended(end).await.map_err(|error| crew.reason(error))?;
            Ok(begun.elapsed().as_micros() as u64)
        }
    })
    .await?;
    let spent = meter.end()?;
    let refused = crew.refused()?;
    // Latency is that of a parent; the unit is a child.
    let units = latencies_us.len() as u64 * width;
    Ok(Outcome { unit: "child run", units, latencies_us, spent, more: [("refused", refused as f64)].into_iter().collect() })
}

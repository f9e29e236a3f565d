//! `workflow why`: what a run waits for, in one sentence.

use clap::Args;
use sempre_api::{
    Timestamp,
    v1::{history::history_event::Attributes, workflowservice::DescribeWorkflowExecutionResponse},
};
use sempre_ui::why::{self, Around, Reader};
use serde_json::json;

use super::{Reference, describe};
use crate::cli::{
    Failure,
    history::{Events, Read},
    session::Session,
    task_queue,
};

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    reference: Reference,
}

pub(crate) async fn run(session: &mut Session, options: &Options) -> Result<(), Failure> {
    let description = describe::ask(session, options.reference.execution()).await?;
    let around = look_around(session, &description).await?;
    let time = |time: &Timestamp| session.out.time(Some(time));
    let sentence = why::sentence(&description, &around, &time, Reader::Terminal);
    if session.out.is_json() {
        return session.out.record(vec![("why", json!(sentence))]);
    }
    session.out.line(sentence)
}

async fn look_around(session: &mut Session, description: &DescribeWorkflowExecutionResponse) -> Result<Around, Failure> {
    let mut around = Around::default();
    let info = description.workflow_execution_info.clone().unwrap_or_default();
    if !why::is_open(&info) {
        return Ok(around);
    }
    if let Some((name, kind)) = why::queue(description) {
        let pollers = task_queue::ask(session, &name, kind, false).await?.pollers.len();
        around.pollers = Some((name, pollers));
    }
    let execution = info.execution.unwrap_or_default();
    if why::has_failing_task(description) {
        let mut events = Events::new(session.client().await?, session.namespace(), execution, Read::Reverse);
        while let Some(event) = events.next().await? {
            if let Some(Attributes::WorkflowTaskFailedEventAttributes(failed)) = event.attributes {
                around.task_failure = failed.failure.map(|failure| failure.message);
                break;
            }
        }
    } else if why::may_wait_for_timer(description) {
        // Timers are in history only.
        let mut open = std::collections::BTreeMap::new();
        let mut events = Events::new(session.client().await?, session.namespace(), execution, Read::All);
        while let Some(event) = events.next().await? {
            match event.attributes {
                Some(Attributes::TimerStartedEventAttributes(timer)) => {
                    let due = event
                        .event_time
                        .zip(timer.start_to_fire_timeout)
                        .map(|(at, length)| Timestamp { seconds: at.seconds + length.seconds, nanos: 0 });
                    open.insert(event.event_id, due);
                }
                Some(Attributes::TimerFiredEventAttributes(timer)) => drop(open.remove(&timer.started_event_id)),
                Some(Attributes::TimerCanceledEventAttributes(timer)) => drop(open.remove(&timer.started_event_id)),
                _ => {}
            }
        }
        around.next_timer = open.into_values().flatten().min_by_key(|time| time.seconds);
    }
    Ok(around)
}
